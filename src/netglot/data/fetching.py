"""Fetches the known data sets from their public homes, with checksums."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from netglot.data.catalogue import KNOWN, Known, Remote
from netglot.errors import UserError, unknown

if TYPE_CHECKING:
    from rich.progress import Progress

SECONDS = 30  # without a byte, before a server counts as silent


def fetch(
    name: str, folder: Path, mirror: str | None = None, progress: bool = True
) -> tuple[Path, ...]:
    """The files of a known data set in `folder`, downloaded where they are missing.

    `mirror` replaces the public homes by an address that has the same files. A file
    is written whole, after its checksum agreed, or not at all; one that is there with
    other contents is never overwritten.

    UserError for an unknown name, no network, a missing file, a wrong checksum.
    """
    if name not in KNOWN:
        raise unknown("data set", name, KNOWN)
    entry = KNOWN[name]
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made: {error}.") from error
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        disable=not progress,
        transient=True,
    ) as bars:
        return tuple(
            _fetch_file(remote, entry, folder, mirror, bars) for remote in entry.remote
        )


class _Bar:
    """What pooch asks of a progress bar, drawn by rich."""

    def __init__(self, bars: "Progress", remote: Remote) -> None:
        self.bars = bars
        self.total = remote.bytes
        self.task = bars.add_task(remote.name, total=remote.bytes)

    def update(self, count: int) -> None:
        self.bars.update(self.task, advance=count)

    def reset(self) -> None:
        # pooch goes back to the start before it reports the whole as done.
        self.bars.reset(self.task)

    def close(self) -> None:
        # Called by pooch after a good end, and by us after any.
        self.bars.update(self.task, visible=False)


def _fetch_file(
    remote: Remote, entry: Known, folder: Path, mirror: str | None, bars: "Progress"
) -> Path:
    import pooch
    import requests

    path = folder / remote.name
    if path.exists():
        algorithm, _, digest = remote.checksum.partition(":")
        if pooch.file_hash(str(path), alg=algorithm) == digest:
            return path
        raise UserError(
            f"{path} is there already, but is not the published file (its {algorithm} "
            "is another). Move it away to fetch the published one."
        )
    pooch.get_logger().setLevel(logging.WARNING)
    reasons = []
    for home in (mirror,) if mirror else remote.homes:
        address = home.rstrip("/") + "/" + remote.name
        bar = _Bar(bars, remote)
        try:
            pooch.retrieve(
                address,
                known_hash=remote.checksum,
                fname=remote.name,
                path=folder,
                downloader=pooch.HTTPDownloader(
                    progressbar=bar, chunk_size=1 << 16, timeout=SECONDS
                ),
            )
            return path
        # ValueError: pooch found another checksum, and removed what it had got.
        except (requests.RequestException, OSError, ValueError) as error:
            reasons.append(f"{address}: {_reason(error)}")
        finally:
            bar.close()
    files = ", ".join(each.name for each in entry.remote)
    raise UserError(
        f"{remote.name} could not be fetched ({'; '.join(reasons)}). On a machine "
        f"without a network, fetch these files elsewhere and put them into {folder}: "
        f"{files}; from {' or '.join(remote.homes)}."
    )


def _reason(error: Exception) -> str:
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return f"no answer within {SECONDS} seconds"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off before the end"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    if isinstance(error, ValueError) and not isinstance(
        error, requests.RequestException
    ):
        return "what came has another checksum than the published file"
    return str(error)

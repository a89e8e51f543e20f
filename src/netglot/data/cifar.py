"""Reads CIFAR-10: its pickled ("python") batches, its binary batches, and archives."""

import tarfile
import zlib
from pathlib import Path

import numpy as np

from netglot.data import pickles
from netglot.data.types import Arrays, DataSpec
from netglot.errors import UserError

CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
BATCHES = (*TRAIN, "test_batch")
ARCHIVES = (".tar.gz", ".tgz", ".tar")
RECORD = 3 * 32 * 32


def find(place: Path, spec: DataSpec) -> tuple[Path, ...] | None:
    """The six batches in a folder or beside one of them, or an archive of them."""
    if spec.kind == "tokens":
        return None
    if place.is_file():
        if place.name.endswith(ARCHIVES):
            return (place,)
        if place.name.removesuffix(".bin") not in BATCHES:
            return None
        place = place.parent
    for ending in ("", ".bin"):
        files = tuple(place / (name + ending) for name in BATCHES)
        missing = [file.name for file in files if not file.is_file()]
        if len(missing) < len(files):
            if missing:
                raise UserError(
                    f"{place} lacks {', '.join(missing)}: CIFAR-10 is the six files "
                    f"{', '.join(file.name for file in files)}."
                )
            meta = place / ("batches.meta.txt" if ending else "batches.meta")
            return (*files, meta) if meta.is_file() else files
    archives = [
        path
        for path in sorted(place.iterdir())
        if path.name.startswith("cifar-10-") and path.name.endswith(ARCHIVES)
    ]
    return (archives[0],) if archives else None


def read(files: tuple[Path, ...], spec: DataSpec) -> Arrays:
    """Images uint8 (N, 3, 32, 32) and labels, in the order of the batches.

    UserError for a missing, truncated or hostile batch; nothing in it is executed.
    """
    del spec
    if len(files) == 1:
        return _arrays(*_archive(files[0]), f"archive {files[0]}")
    try:
        contents = {path.name: path.read_bytes() for path in files}
    except OSError as error:
        raise UserError(f"CIFAR-10 cannot be read: {error}.") from error
    folder = files[0].parent
    return _arrays(contents, str(folder), f"batches in {folder}")


def _archive(path: Path) -> tuple[dict[str, bytes], str]:
    wanted = {name + ending for name in BATCHES for ending in ("", ".bin")}
    wanted |= {"batches.meta", "batches.meta.txt"}
    contents = {}
    try:
        with tarfile.open(path) as archive:
            # In the order of the file: going back would unpack it again.
            for member in archive:
                name = Path(member.name).name
                file = archive.extractfile(member) if name in wanted else None
                if file:
                    contents[name] = file.read()
    except (OSError, tarfile.TarError, EOFError, zlib.error) as error:
        raise UserError(
            f"{path} is damaged or truncated: {error}. Fetch or copy it again."
        ) from error
    return contents, str(path)


def _arrays(contents: dict[str, bytes], where: str, source: str) -> Arrays:
    binary = "data_batch_1.bin" in contents
    ending = ".bin" if binary else ""
    missing = [name + ending for name in BATCHES if name + ending not in contents]
    if missing:
        raise UserError(f"{where} lacks {', '.join(missing)}: no complete CIFAR-10.")
    one = _binary if binary else _pickled
    parts = {
        name: one(contents[name + ending], f"{where}/{name}{ending}")
        for name in BATCHES
    }
    return Arrays(
        name=Path(where).name,
        x_train=np.concatenate([parts[name][0] for name in TRAIN]),
        y_train=np.concatenate([parts[name][1] for name in TRAIN]),
        x_test=parts["test_batch"][0],
        y_test=parts["test_batch"][1],
        classes=_classes(contents, where),
        source=source,
    )


def _pickled(data: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    value = pickles.load(data, where)
    batch = _keys(value, where)
    images, labels = batch.get("data"), batch.get("labels")
    if not isinstance(images, np.ndarray) or not isinstance(labels, list):
        raise UserError(f"{where} is no batch of CIFAR-10: no data or no labels in it.")
    if images.dtype != np.uint8 or images.shape != (len(labels), RECORD):
        raise UserError(
            f"{where}: {len(labels):,} labels, but images of shape {images.shape} and "
            f"type {images.dtype}; uint8 ({len(labels)}, {RECORD}) was expected."
        )
    if not all(type(label) is int for label in labels):
        raise UserError(f"{where}: a label is not an integer.")
    return images.reshape(-1, 3, 32, 32), np.array(labels, np.int64)


def _binary(data: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    # One record: a byte for the label, then 1024 bytes each of red, green and blue.
    if len(data) % (RECORD + 1):
        raise UserError(
            f"{where} is truncated: {len(data):,} bytes are not a multiple of "
            f"{RECORD + 1}, the size of one labelled image."
        )
    records = np.frombuffer(data, np.uint8).reshape(-1, RECORD + 1)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].astype(np.int64)


def _classes(contents: dict[str, bytes], where: str) -> tuple[str, ...]:
    if "batches.meta.txt" in contents:
        return tuple(contents["batches.meta.txt"].decode("latin-1").split())
    if "batches.meta" in contents:
        place = f"{where}/batches.meta"
        names = _keys(pickles.load(contents["batches.meta"], place), place)
        labels = names.get("label_names")
        if isinstance(labels, list):
            return tuple(
                name.decode("latin-1") if isinstance(name, bytes) else str(name)
                for name in labels
            )
    return CLASSES


def _keys(value: object, where: str) -> dict[str, object]:
    """The dictionary with text for keys: Python 2 wrote bytes."""
    if not isinstance(value, dict):
        raise UserError(f"{where} is no batch of CIFAR-10: no dictionary in it.")
    return {
        key.decode("latin-1") if isinstance(key, bytes) else str(key): each
        for key, each in value.items()
    }

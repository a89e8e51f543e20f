"""Reads MNIST's idx files: a magic number, the sizes, then the bytes; gzip or not."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from netglot.data.types import Arrays, DataSpec
from netglot.errors import UserError

ROLES = (
    (("train-images", "train_images"), 3),
    (("train-labels", "train_labels"), 1),
    (("t10k-images", "test-images", "test_images"), 3),
    (("t10k-labels", "test-labels", "test_labels"), 1),
)


def find(place: Path, spec: DataSpec) -> tuple[Path, ...] | None:
    """The four idx files in a folder, or beside one of them; None without any."""
    del spec
    folder = place if place.is_dir() else place.parent
    if place.is_file() and not _is_idx(place):
        return None
    names = sorted(path for path in folder.iterdir() if _is_idx(path))
    found = [_one(names, stems) for stems, _ in ROLES]
    if not any(found):
        return None
    missing = [
        stems[0] for path, (stems, _) in zip(found, ROLES, strict=True) if not path
    ]
    if missing:
        raise UserError(
            f"{folder} lacks {' and '.join(missing)}: MNIST's idx form is four files, "
            "train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, "
            "t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz."
        )
    return tuple(path for path in found if path)


def read(files: tuple[Path, ...], spec: DataSpec) -> Arrays:
    """Images uint8 (N, 1, H, W) and labels of the four files `find` gave.

    UserError for a wrong magic number, sizes that do not agree, a truncated file.
    """
    del spec
    parts = [read_idx(path, rank) for path, (_, rank) in zip(files, ROLES, strict=True)]
    for images, labels in ((0, 1), (2, 3)):
        if len(parts[images]) != len(parts[labels]):
            raise UserError(
                f"{files[images]} has {len(parts[images]):,} images, but "
                f"{files[labels]} has {len(parts[labels]):,} labels."
            )
    return Arrays(
        name=files[0].resolve().parent.name,
        x_train=parts[0][:, None],
        y_train=parts[1].astype(np.int64),
        x_test=parts[2][:, None],
        y_test=parts[3].astype(np.int64),
        classes=(),
        source=f"idx files in {files[0].parent}",
    )


def read_idx(path: Path, rank: int) -> np.ndarray:
    """The bytes of one idx file as a uint8 array with `rank` dimensions.

    Format: two zero bytes, the type (8: unsigned byte), the number of dimensions, each
    size as a big-endian 32-bit integer, the values in row-major order.
    """
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(
            f"{path} cannot be unpacked: {error}. It seems truncated or damaged; fetch "
            "or copy it again."
        ) from error
    wanted = bytes([0, 0, 8, rank])
    if data[:4] != wanted:
        raise UserError(
            f"{path} is no idx file of bytes with {rank} dimension(s): it starts with "
            f"{data[:4].hex(' ') or 'nothing'}, not {wanted.hex(' ')}."
        )
    start = 4 + 4 * rank
    if len(data) < start:
        raise UserError(f"{path} is truncated: it ends within its header.")
    shape = tuple(int(size) for size in np.frombuffer(data, ">u4", rank, 4))
    if len(data) - start != math.prod(shape):
        state = "truncated" if len(data) - start < math.prod(shape) else "too long"
        sizes = " x ".join(str(size) for size in shape)
        raise UserError(
            f"{path} is {state}: its header says {sizes} bytes, it has "
            f"{len(data) - start:,} after the header."
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _is_idx(path: Path) -> bool:
    stems = [stem for stems, _ in ROLES for stem in stems]
    return (
        "ubyte" in path.name
        and "idx" in path.name
        and any(stem in path.name for stem in stems)
    )


def _one(names: list[Path], stems: tuple[str, ...]) -> Path | None:
    fitting = [path for path in names if any(stem in path.name for stem in stems)]
    if len({path.name.removesuffix(".gz") for path in fitting}) > 1:
        raise UserError(
            f"{fitting[0].parent} has several idx files of {stems[0]}: "
            f"{', '.join(path.name for path in fitting)}. Leave one set in a folder."
        )
    return fitting[0] if fitting else None

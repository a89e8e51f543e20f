"""Reads `.npz` files with x_train, y_train, x_test and y_test; also Keras' layouts."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from netglot.data import pickles
from netglot.data.types import Arrays, DataSpec
from netglot.errors import UserError

NAMES = ("x_train", "y_train", "x_test", "y_test")


def find(place: Path, spec: DataSpec) -> tuple[Path, ...] | None:
    """The `.npz` file itself, or the one in a folder that holds x_train."""
    if place.is_file():
        return (place,) if place.suffix == ".npz" else None
    files = [path for path in sorted(place.glob("*.npz")) if _suits(path, spec)]
    if len(files) > 1:
        raise UserError(
            f"{place} has several .npz files ({', '.join(path.name for path in files)})"
            ": name the one to read."
        )
    return tuple(files) or None


def read(files: tuple[Path, ...], spec: DataSpec) -> Arrays:
    """The four arrays, in the layout that `spec` asks for.

    Images may be (N, H, W), (N, H, W, C), (N, C, H, W) or (N, C*H*W), integers from 0
    to 255. Labels may be (N,) or (N, 1). Without classes, labels may be absent.
    UserError for a damaged file, a missing array, another shape or type.
    """
    path = files[0]
    try:
        with zipfile.ZipFile(path) as archive:
            held = {name.removesuffix(".npy") for name in archive.namelist()}
            optional = set() if spec.classes is not None else {"y_train", "y_test"}
            missing = [name for name in NAMES if name not in held | optional]
            if missing:
                raise UserError(
                    f"{path} lacks {', '.join(missing)}: a data set is an .npz with "
                    f"{', '.join(NAMES)}. It holds {', '.join(sorted(held)) or 'none'}."
                )
            found = {
                name: pickles.read_npy(archive, name, str(path))
                for name in NAMES
                if name in held
            }
    except pickles.BROKEN as error:
        raise UserError(
            f"{path} is truncated or no .npz file: {error}. Write or fetch it again."
        ) from error
    x_train, x_test = (
        _observations(found[name], spec, f"{path}, {name}") for name in NAMES[::2]
    )
    y_train, y_test = (
        _labels(found.get(name), len(x), f"{path}, {name}")
        for name, x in zip(NAMES[1::2], (x_train, x_test), strict=True)
    )
    return Arrays(path.stem, x_train, y_train, x_test, y_test, (), f".npz file {path}")


def _suits(path: Path, spec: DataSpec) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            if "x_train.npy" not in archive.namelist():
                return False
            shape, dtype = pickles.npy_header(archive, "x_train", str(path))
            # Reviews of unequal length are the business of the reader of IMDB.
            return not dtype.hasobject and (spec.kind != "tokens" or len(shape) == 2)
    except (*pickles.BROKEN, UserError):
        # Broken, but perhaps the only one: reading it says what is wrong.
        return True


def _observations(x: Any, spec: DataSpec, where: str) -> np.ndarray:
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "uifb":
        raise UserError(f"{where} does not hold numbers in one rectangular array.")
    shape = x.shape[1:]
    if spec.kind == "images":
        channels, height, width = spec.shape
        if shape == (height, width, channels) and shape != spec.shape:
            x = x.transpose(0, 3, 1, 2)
        elif shape in ((spec.size,), spec.shape[1:]) and x[:1].size == spec.size:
            x = x.reshape(len(x), *spec.shape)
        elif x.ndim == 4 and shape != spec.shape and shape[-1] in (1, 3):
            x = x.transpose(0, 3, 1, 2)
        elif x.ndim == 3:
            x = x[:, None]
        return _integers(x, 256, np.uint8, where, "pixels, unscaled,")
    if spec.kind == "tokens":
        return _integers(x, spec.vocabulary, np.int32, where, "indices of words")
    x = x.reshape(len(x), -1)
    if not np.isfinite(x).all():
        raise UserError(f"{where} holds a value that is not a finite number.")
    return x.astype(np.float32)


def _integers(
    x: np.ndarray, below: int, dtype: Any, where: str, what: str
) -> np.ndarray:
    good = (x >= 0) & (x < below)
    if x.dtype.kind == "f":
        good &= x == np.floor(x)
    if not good.all():
        position = tuple(int(index) for index in np.argwhere(~good)[0])
        raise UserError(
            f"{where}: {x[position]} at {list(position)}; {what} are integers from 0 "
            f"to {below - 1}."
        )
    return np.ascontiguousarray(x, dtype)


def _labels(y: Any, count: int, where: str) -> np.ndarray:
    if y is None:
        return np.zeros(count, np.int64)
    y = np.asarray(y)
    if y.shape not in ((count,), (count, 1)) or y.dtype.kind not in "uib":
        raise UserError(
            f"{where} is {y.dtype} of shape {y.shape}; one integer label for each "
            f"of the {count:,} observations was expected."
        )
    return y.reshape(count).astype(np.int64)

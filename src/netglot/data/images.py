"""Reads a folder of images: one sub-folder per class, below train and test or not."""

from pathlib import Path

import numpy as np

from netglot.data.split import split
from netglot.data.types import Arrays, DataSpec
from netglot.errors import UserError

ENDINGS = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"))
MODES = {1: "L", 3: "RGB"}


def find(place: Path, spec: DataSpec) -> tuple[Path, ...] | None:
    """The folder, where it (or its `train`) has sub-folders with images in them."""
    if spec.kind != "images" or not place.is_dir():
        return None
    top = place / "train" if (place / "train").is_dir() else place
    return (place,) if any(_has_image(folder) for folder in _folders(top)) else None


def read(files: tuple[Path, ...], spec: DataSpec) -> Arrays:
    """Images uint8 (N, C, H, W); classes are the sub-folders in alphabetic order.

    Without `train` and `test` folders every fifth image of each class is for testing.
    Colours become what `spec` asks for (grey for 1 channel, RGB for 3), sizes do not
    change. UserError naming the file that is damaged or of another size, and the folder
    that is empty.
    """
    place = files[0]
    if (place / "train").is_dir():
        if not (place / "test").is_dir():
            raise UserError(f"{place} has a folder train, but no folder test.")
        classes = [folder.name for folder in _folders(place / "train")]
        x, y = _read_classes(place / "train", classes, spec)
        arrays = (x, y, *_read_classes(place / "test", classes, spec))
        source = f"images in {place}"
    else:
        classes = [folder.name for folder in _folders(place)]
        x, y = _read_classes(place, classes, spec)
        train, test = split(y, spec, str(place))
        arrays = x[train], y[train], x[test], y[test]
        source = f"images in {place}, every fifth for testing"
    return Arrays(place.resolve().name, *arrays, classes=tuple(classes), source=source)


def _folders(place: Path) -> list[Path]:
    return [
        path
        for path in sorted(place.iterdir())
        if path.is_dir() and not path.name.startswith(".")
    ]


def _images(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.suffix.lower() in ENDINGS]


def _has_image(folder: Path) -> bool:
    return any(path.suffix.lower() in ENDINGS for path in folder.iterdir())


def _read_classes(
    place: Path, classes: list[str], spec: DataSpec
) -> tuple[np.ndarray, np.ndarray]:
    other = {folder.name for folder in _folders(place)} - set(classes)
    if other:
        raise UserError(
            f"{place} has a folder {sorted(other)[0]}, which is no class of the "
            f"training set ({', '.join(classes)})."
        )
    paths, labels = [], []
    for label, name in enumerate(classes):
        found = _images(place / name) if (place / name).is_dir() else []
        if not found:
            raise UserError(
                f"{place / name} holds no image ({', '.join(sorted(ENDINGS))}): a "
                "class needs at least one."
            )
        paths += found
        labels += [label] * len(found)
    # Shuffled, because the first observations of a sorted set are all of one class.
    order = np.random.RandomState(0).permutation(len(paths))
    x = np.stack([_image(paths[position], spec) for position in order])
    return x, np.array(labels, np.int64)[order]


def _image(path: Path, spec: DataSpec) -> np.ndarray:
    from PIL import Image

    channels, height, width = spec.shape
    if channels not in MODES:
        raise UserError(f"{path}: images have 1 or 3 channels, not {channels}.")
    try:
        with Image.open(path) as image:
            if image.size != (width, height):
                raise UserError(
                    f"{path} is {image.size[0]} pixels wide and {image.size[1]} high; "
                    f"{width} x {height} is asked for. Images are not resized here: "
                    "bring them all to that size first."
                )
            pixels = np.asarray(image.convert(MODES[channels]))
    # Image.open refuses huge images by an error of its own.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} is no readable image: {error}.") from error
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)

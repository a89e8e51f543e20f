"""The embedded data set: 1,797 real handwritten digits of 8x8 pixels.

They are the test part of "Optical Recognition of Handwritten Digits" (E. Alpaydin,
C. Kaynak, UCI Machine Learning Repository, 1998) as scikit-learn distributes it.
"""

import math
from importlib import resources

import numpy as np

from netglot.data.types import Arrays, DataSpec
from netglot.errors import UserError

SIDE, TEST = 8, 297


def read(spec: DataSpec) -> Arrays:
    """The digits, enlarged to what `spec` asks for; the last 297 are for testing.

    Each pixel (0 to 16, scaled to 0 to 255) is repeated as often as fits, the rest is
    black on all sides; channels are equal. Features are such an image, flattened.
    UserError where digits cannot serve.
    """
    if spec.kind == "tokens":
        raise UserError(
            f"The embedded digits cannot serve a workload on text: {spec.name} needs "
            "reviews. Give --data a folder with Keras' imdb.npz, or with aclImdb and "
            "imdb_word_index.json; `netglot data fetch imdb` gets the first."
        )
    channels, height, width = _image_shape(spec)
    factor = min(height, width) // SIDE
    if factor < 1 or (spec.classes is not None and spec.classes != 10):
        raise UserError(
            f"The embedded digits (10 classes, 8x8) cannot serve {spec.words()} with "
            f"{spec.classes} classes. Give --data your own data."
        )
    file = resources.files("netglot.data").joinpath("digits.npz")
    with file.open("rb") as stream, np.load(stream) as held:
        pixels, labels = held["x"], held["y"].astype(np.int64)
    large = ((pixels.astype(np.float64) * 255 / 16) + 0.5).astype(np.uint8)
    large = large.repeat(factor, axis=1).repeat(factor, axis=2)
    top, left = (height - SIDE * factor) // 2, (width - SIDE * factor) // 2
    x = np.zeros((len(large), channels, height, width), np.uint8)
    inner = slice(top, top + SIDE * factor), slice(left, left + SIDE * factor)
    x[:, :, *inner] = large[:, None]
    return Arrays(
        name="digits",
        x_train=x[:-TEST],
        y_train=labels[:-TEST],
        x_test=x[-TEST:],
        y_test=labels[-TEST:],
        classes=tuple("0123456789"),
        source="embedded: 1,797 digits of 8x8 pixels (UCI, from scikit-learn), "
        f"each pixel repeated {factor}x{factor}",
    )


def _image_shape(spec: DataSpec) -> tuple[int, int, int]:
    if spec.kind == "images":
        return spec.shape[0], spec.shape[1], spec.shape[2]
    side = math.isqrt(spec.size)
    if side * side == spec.size:
        return 1, side, side
    side = math.isqrt(spec.size // 3)
    return (3, side, side) if 3 * side * side == spec.size else (1, 1, spec.size)

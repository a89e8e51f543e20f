"""Axis letters and what follows from them: the only place that transposes.

Letters: N batch, C channels, D H W depth, height, width, T time, F features; of
weights: O output and I input channels, G gates x units, H the units of a recurrent
layer, V vocabulary.
"""

from __future__ import annotations

import numpy as np

SPATIAL = {1: "W", 2: "HW", 3: "DHW"}


def permutation(source: str, target: str) -> tuple[int, ...]:
    """Positions in ``source`` of the letters of ``target``: ``OIHW -> HWIO`` is 2310.

    Raises ``ValueError`` where the two do not hold the same letters once each.
    """
    if sorted(source) != sorted(target) or len(set(source)) != len(source):
        raise ValueError(f"axes {source!r} cannot be ordered as {target!r}")
    return tuple(source.index(letter) for letter in target)


def transpose(array: np.ndarray, source: str, target: str) -> np.ndarray:
    """The array with axes ``source`` as a contiguous array with axes ``target``."""
    return np.ascontiguousarray(np.transpose(array, permutation(source, target)))


def channels_last(axes: str) -> str:
    """The storage order of a channels-last framework: ``NCHW -> NHWC``."""
    return axes.replace("C", "") + "C" if axes.startswith("NC") else axes


def channels_first(axes: str) -> str:
    """The storage order of a channels-first framework, which is the canonical one."""
    return axes

"""How far two arrays are apart, and how far they may be."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

#: Largest relative difference that still counts as the same, by element type: for
#: values of one forward pass, and for parameters after some optimizer steps.
VALUES = {"float32": 1e-5, "float64": 1e-10}
STEPS = {"float32": 1e-4, "float64": 1e-9}
#: After steps in float32 they may also be off by this many times the error that float32
#: makes in these steps. The reference measures it: it takes the steps this often, from
#: weights that differ by up to this much, relatively. Single weights need it: where
#: rounding flips a relu or a maximum, or the sign of a gradient near zero under Adam, a
#: bias near zero is off by 1e-4 and more, in some realizations and not in others.
ROUNDING = 4
REALIZATIONS = 6
NUDGE = 1e-6


@dataclass(frozen=True)
class Difference:
    """What was compared, how far it is off (relative), and how far it may be."""

    what: str
    size: float
    allowed: float

    @property
    def equal(self) -> bool:
        """Whether it is within what is allowed; not where it is NaN."""
        return self.size <= self.allowed

    def __str__(self) -> str:
        """As in ``conv1.kernel after step 3 differs by 2.1e-2 (allowed 1e-4)``."""
        verb = "agrees to" if self.equal else "differs by"
        return f"{self.what} {verb} {self.size:.1e} (allowed {self.allowed:.0e})"


def relative(value: np.ndarray, reference: np.ndarray) -> float:
    """``|value - reference| / |reference|`` with Euclidean norms over all elements.

    Infinite where shapes differ or a value is not finite; an all-zero reference is
    compared with 1.
    """
    return ratio(*apart(value, reference))


def apart(value: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """``|value - reference|`` and ``|reference|``, squared: sums over parts add up.

    The first is infinite where shapes differ or a value is not finite.
    """
    value, reference = np.asarray(value), np.asarray(reference)
    if value.shape != reference.shape:
        return math.inf, 0.0
    off = np.subtract(value, reference, dtype=np.float64).ravel("K")
    size = np.asarray(reference, np.float64).ravel("K")
    square = float(off @ off)
    return (square if math.isfinite(square) else math.inf), float(size @ size)


def ratio(off: float, size: float) -> float:
    """The relative difference of what ``apart`` gives."""
    return math.sqrt(off) / (math.sqrt(size) or 1.0)


def like(a: np.ndarray, b: np.ndarray, limit: float = 1e-6) -> bool:
    """Whether two arrays are the same but for the rounding of float32."""
    return a.shape == b.shape and relative(a, b) < limit

"""From which distribution initial weights were drawn.

A statistical test (Kolmogorov and Smirnov) against the distributions that frameworks
draw from, with the fans of the weight, and of the two sides against each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from netglot import reference
from netglot.errors import UserError
from netglot.ops import WeightType

#: With less than so many numbers nothing is said.
LEAST = 60
#: Two draws with a smaller p-value are not from one distribution.
LEVEL = 1e-4


@dataclass(frozen=True)
class Law:
    """A distribution in words, as ``Glorot uniform``, and its numbers."""

    name: str
    numbers: str = ""

    def __str__(self) -> str:
        """Both."""
        return f"{self.name}, {self.numbers}" if self.numbers else self.name


@dataclass(frozen=True)
class Drawn:
    """Initial weights that are not from one distribution.

    ``left`` and ``right`` name the distributions, with their numbers; ``p`` is the
    probability of so large a difference between draws from one.
    """

    weight: str
    left: Law
    right: Law
    p: float


def compare_initial(
    pairs: Mapping[str, tuple[np.ndarray, np.ndarray, WeightType]],
) -> Iterator[Drawn]:
    """The weights that two models draw otherwise, of those that are drawn at all.

    By name: both draws, and the kernel whose fans count: a bias has none of its own.
    """
    for name, (left, right, kernel) in pairs.items():
        ours, theirs = left.reshape(-1), right.reshape(-1)
        constant = [np.ptp(array) == 0 for array in (ours, theirs)]
        if any(constant):
            if not all(constant) or ours[0] != theirs[0]:
                yield Drawn(name, named(left, kernel), named(right, kernel), 0.0)
            continue
        if ours.size < LEAST:
            continue
        p = float(stats.ks_2samp(ours, theirs).pvalue)
        if p < LEVEL:
            yield Drawn(name, named(left, kernel), named(right, kernel), p)


def named(array: np.ndarray, weight: WeightType) -> Law:
    """The distribution of one draw: the known one that fits best."""
    numbers = array.reshape(-1).astype(np.float64)
    if np.ptp(numbers) == 0:
        return Law(f"all {numbers[0]:g}")
    fits = [
        (float(stats.kstest(numbers, known.cdf).pvalue), law)
        for law, known in _known(array, weight)
    ]
    best, law = max(fits, key=lambda fit: fit[0])
    if array.size < LEAST:
        # Many fit a few numbers: the usual one is listed first.
        best, law = next(((p, law) for p, law in fits if p > 0.2), (best, law))
    if best > 0.01:
        return law
    spread = f"mean {numbers.mean():.3g}, standard deviation {numbers.std():.3g}"
    return Law("none that is known", spread)


def _known(array: np.ndarray, weight: WeightType) -> Iterator[tuple[Law, Any]]:
    try:
        fan_in, fan_out = reference.fans(weight)
    except UserError:
        fan_in, fan_out = array.size, array.size
    scales = {
        # PyTorch's default: kaiming_uniform with a = sqrt(5).
        "1 / sqrt(fan in)": 1 / (3 * fan_in),
        "Glorot": 2 / (fan_in + fan_out),
        "He": 2 / fan_in,
        "LeCun": 1 / fan_in,
        "He, of the outputs": 2 / fan_out,
        "1 / sqrt(outputs)": 1 / (3 * fan_out),
    }
    for name, variance in scales.items():
        limit = math.sqrt(3 * variance)
        uniform = stats.uniform(-limit, 2 * limit)
        yield Law(f"{name} uniform", f"within {limit:.3g}"), uniform
        if "sqrt" in name:
            continue
        deviation = math.sqrt(variance)
        numbers = f"deviation {deviation:.3g}"
        yield Law(f"{name} normal", numbers), stats.norm(0, deviation)
        # Cut at two deviations and widened so that its own deviation is right.
        wide = deviation / 0.87962566103423978
        truncated = stats.truncnorm(-2, 2, 0, wide)
        yield Law(f"{name} normal, truncated", numbers), truncated
    for limit in (0.05, 0.1, 0.01, 1.0):
        yield Law("uniform", f"within {limit:g}"), stats.uniform(-limit, 2 * limit)
    for deviation in (1.0, 0.05, 0.02, 0.01, 0.1):
        yield Law("normal", f"deviation {deviation:g}"), stats.norm(0, deviation)

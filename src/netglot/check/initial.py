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
class Drawn:
    """Initial weights that are not from one distribution.

    ``left`` and ``right`` name the distributions; ``p`` is the probability of so large
    a difference between draws from one.
    """

    weight: str
    left: str
    right: str
    p: float


def compare_initial(
    pairs: Mapping[str, tuple[np.ndarray, np.ndarray, WeightType]],
) -> Iterator[Drawn]:
    """The weights that two models draw otherwise, of those that are drawn at all."""
    for name, (left, right, weight) in pairs.items():
        ours, theirs = left.reshape(-1), right.reshape(-1)
        constant = [np.ptp(array) == 0 for array in (ours, theirs)]
        if any(constant):
            if not all(constant) or ours[0] != theirs[0]:
                yield Drawn(name, named(left, weight), named(right, weight), 0.0)
            continue
        if ours.size < LEAST:
            continue
        p = float(stats.ks_2samp(ours, theirs).pvalue)
        if p < LEVEL:
            yield Drawn(name, named(left, weight), named(right, weight), p)


def named(array: np.ndarray, weight: WeightType) -> str:
    """The distribution of one draw, in words: the known one that fits best."""
    numbers = array.reshape(-1).astype(np.float64)
    if np.ptp(numbers) == 0:
        return f"all {numbers[0]:g}"
    fits = [
        (float(stats.kstest(numbers, law.cdf).pvalue), words)
        for words, law in _known(array, weight)
    ]
    p, words = max(fits)
    if p > 0.01:
        return words
    spread = f"mean {numbers.mean():.3g}, standard deviation {numbers.std():.3g}"
    return f"none that is known ({spread})"


def _known(array: np.ndarray, weight: WeightType) -> Iterator[tuple[str, Any]]:
    try:
        fan_in, fan_out = reference.fans(weight)
    except UserError:
        fan_in, fan_out = array.size, array.size
    scales = {
        "Glorot": 2 / (fan_in + fan_out),
        "He": 2 / fan_in,
        "LeCun": 1 / fan_in,
        "He, of the outputs": 2 / fan_out,
        # PyTorch's default: kaiming_uniform with a = sqrt(5).
        "1 / sqrt(fan in)": 1 / (3 * fan_in),
        "1 / sqrt(outputs)": 1 / (3 * fan_out),
    }
    for name, variance in scales.items():
        limit = math.sqrt(3 * variance)
        uniform = stats.uniform(-limit, 2 * limit)
        yield f"{name} uniform, within {limit:.3g}", uniform
        if "sqrt" in name:
            continue
        deviation = math.sqrt(variance)
        yield f"{name} normal, deviation {deviation:.3g}", stats.norm(0, deviation)
        # Cut at two deviations and widened so that its own deviation is right.
        wide = deviation / 0.87962566103423978
        yield (
            f"{name} normal, truncated, deviation {deviation:.3g}",
            stats.truncnorm(-2, 2, 0, wide),
        )
    for limit in (0.05, 0.1, 0.01, 1.0):
        yield f"uniform, within {limit:g}", stats.uniform(-limit, 2 * limit)
    for deviation in (1.0, 0.05, 0.02, 0.01, 0.1):
        yield f"normal, deviation {deviation:g}", stats.norm(0, deviation)

"""What repeated runs say: medians, intervals, ranks with ties, ratios, the noise floor.

Every value counts: outliers are marked and never removed, and a run that did not
converge is infinitely slow (``math.inf``).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

#: An interval from fewer runs than this would say nothing.
ENOUGH = 3
LEVEL = 0.95
_RESAMPLES = 9999
_LARGE = 1e100


@dataclass(frozen=True)
class Estimate:
    """The median of some runs, its 95 % interval, and every value behind it.

    ``low`` and ``high`` are None for fewer than 3 values. ``outliers`` are positions in
    ``values``.
    """

    median: float
    low: float | None
    high: float | None
    values: tuple[float, ...]
    outliers: tuple[int, ...] = ()

    @property
    def n(self) -> int:
        """The number of runs."""
        return len(self.values)

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends, or None where there are too few runs."""
        if self.low is None or self.high is None:
            return None
        return self.low, self.high


@dataclass(frozen=True)
class Rank:
    """A place, counted from 1; ``shared`` where several frameworks have it."""

    place: int
    shared: bool

    def __str__(self) -> str:
        """``2``, or ``=2`` where it is shared."""
        return f"={self.place}" if self.shared else str(self.place)


@dataclass(frozen=True)
class Noise:
    """How much a framework differs from itself, as shares (0.02 is 2 %).

    ``typical`` is the median of the differences, ``floor`` their 95th percentile,
    ``ratios`` the number of pairs of runs.
    """

    typical: float
    floor: float
    ratios: int


def median(values: Sequence[float]) -> float:
    """The middle value. Raises ``ValueError`` for no values."""
    if not values:
        raise ValueError("the median of no values")
    return float(np.median(np.asarray(values, float)))


def bootstrap(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % percentile bootstrap interval of the median; None for fewer than 3.

    Always the same for the same values. Efron, "Bootstrap methods: another look at the
    jackknife", 1979; the percentile form, because the corrected one is not defined for
    medians of few values.
    """
    if len(values) < ENOUGH:
        return None
    if len(set(values)) == 1:
        return float(values[0]), float(values[0])
    from scipy import stats

    # Percentiles between infinities are not numbers: a number too large stands in.
    finite = np.nan_to_num(np.asarray(values, float), posinf=_LARGE)
    interval = stats.bootstrap(
        (finite,),
        np.median,
        confidence_level=LEVEL,
        n_resamples=_RESAMPLES,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    low, high = float(interval.low), float(interval.high)
    return _infinite(low), _infinite(high)


def _infinite(value: float) -> float:
    return math.inf if value > _LARGE / 1e20 else value


def outliers(values: Sequence[float]) -> tuple[int, ...]:
    """Positions of the values that stand far from the others; never for fewer than 4.

    Far is a modified z-score above 3.5 (Iglewicz and Hoaglin, "How to Detect and Handle
    Outliers", 1993), and more than 5 % away from the median: with few runs that happen
    to agree, the score alone would mark half of the others.
    """
    if len(values) < 4:
        return ()
    middle = median(values)
    if math.isinf(middle):
        return ()
    distances = [abs(value - middle) for value in values]
    limit = max(3.5 / 0.6745 * median(distances), 0.05 * abs(middle))
    return tuple(i for i, distance in enumerate(distances) if distance > limit)


def estimate(values: Sequence[float]) -> Estimate | None:
    """Median, interval and outliers of some runs; None for none."""
    if not values:
        return None
    low, high = bootstrap(values) or (None, None)
    return Estimate(
        median(values), low, high, tuple(map(float, values)), outliers(values)
    )


def is_narrow(values: Sequence[float], percent: float) -> bool:
    """Whether half the interval is at most this much of the median.

    False for fewer than 3 values; true where a value is infinite, which more runs do
    not make finite.
    """
    if not all(map(math.isfinite, values)):
        return True
    interval = bootstrap(values)
    if interval is None:
        return False
    low, high = interval
    return (high - low) / 2 <= percent / 100 * median(values)


def overlap(a: Estimate, b: Estimate) -> bool:
    """Whether two cannot be told apart: their intervals meet.

    Where one has no interval, only equal medians do.
    """
    if a.interval is None or b.interval is None:
        return a.median == b.median
    return a.interval[0] <= b.interval[1] and b.interval[0] <= a.interval[1]


def ranks(estimates: Mapping[str, Estimate]) -> dict[str, Rank]:
    """Places, the smallest median first; in the order of the places.

    The first is the leader of a group. Each of the following shares the leader's place
    if their intervals overlap; the first that does not is the leader of the next group,
    and its place is its position in the list (1, 1, 3). Overlap with the *leader*
    counts, not with a neighbour: otherwise a chain of neighbours would tie the first
    with the last. Without intervals (fewer than 3 runs) medians alone decide.
    """
    order = sorted(estimates, key=lambda name: (estimates[name].median, name))
    places: dict[str, int] = {}
    leader = ""
    for position, name in enumerate(order, start=1):
        if leader and overlap(estimates[leader], estimates[name]):
            places[name] = places[leader]
        else:
            leader, places[name] = name, position
    taken = list(places.values())
    return {name: Rank(place, taken.count(place) > 1) for name, place in places.items()}


def paired_ratio(
    values: Mapping[int, float], against: Mapping[int, float]
) -> Estimate | None:
    """How many times as long: the ratios of runs with the same repeat number.

    None where no repeat is in both. Pairs were run near each other in time, so that
    what disturbed one disturbed the other.
    """
    ratios = [
        values[repeat] / against[repeat]
        for repeat in sorted(values.keys() & against.keys())
        if against[repeat] > 0 and math.isfinite(against[repeat])
    ]
    return estimate(ratios)


def noise(runs: Mapping[str, Mapping[int, float]]) -> Noise | None:
    """The same framework raced against itself; None where none was run twice.

    ``runs`` maps a framework to seconds by repeat. Each run is divided by the one
    before it of the same framework; the differences from 1, folded (0.5 and 2 are
    equally far), are pooled over the frameworks. A difference between two frameworks
    under ``floor`` says nothing.
    """
    differences = []
    for seconds in runs.values():
        ordered = [seconds[repeat] for repeat in sorted(seconds)]
        for before, after in itertools.pairwise(ordered):
            if before > 0 and after > 0 and math.isfinite(before + after):
                differences.append(math.exp(abs(math.log(after / before))) - 1)
    if not differences:
        return None
    return Noise(
        median(differences), float(np.percentile(differences, 95)), len(differences)
    )

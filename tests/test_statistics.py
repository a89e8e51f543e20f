"""Medians, intervals, ranks with ties, paired ratios, the noise floor."""

import math

import numpy as np
import pytest

from netglot.race.statistics import (
    Estimate,
    Noise,
    bootstrap,
    estimate,
    is_narrow,
    median,
    noise,
    outliers,
    overlap,
    paired_ratio,
    ranks,
)

pytestmark = pytest.mark.text


def made(middle, low=None, high=None):
    return Estimate(middle, low, high, (middle,))


def test_median():
    assert median([3.0, 1.0, 2.0]) == 2
    assert median([1.0, 2.0]) == 1.5
    with pytest.raises(ValueError):
        median([])


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0]])
def test_no_interval_from_fewer_than_three_runs(values):
    assert bootstrap(values) is None


def test_interval_holds_the_median_and_lies_within_the_values():
    values = [10.0, 10.4, 9.8, 10.1, 12.0]
    low, high = bootstrap(values)
    assert min(values) <= low <= median(values) <= high <= max(values)
    assert bootstrap(values) == (low, high), "the same values give the same interval"


def test_interval_of_equal_values_is_a_point():
    assert bootstrap([2.0, 2.0, 2.0]) == (2.0, 2.0)


def test_interval_covers_the_true_median_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(60):
        low, high = bootstrap(list(rng.normal(10, 1, 25)))
        held += low <= 10 <= high
    assert held >= 52


def test_interval_narrows_with_more_runs():
    rng = np.random.default_rng(1)
    few, many = (
        bootstrap(list(rng.normal(10, 1, 5))),
        bootstrap(list(rng.normal(10, 1, 100))),
    )
    assert many[1] - many[0] < few[1] - few[0]


def test_a_run_that_did_not_converge_is_infinitely_slow():
    found = estimate([10.0, 10.2, 10.1, math.inf, 9.9])
    assert found.median == 10.1
    assert found.high == math.inf and math.isfinite(found.low)
    assert math.isinf(estimate([1.0, math.inf, math.inf]).median)


def test_estimate_of_nothing():
    assert estimate([]) is None


def test_outliers_are_marked_and_kept():
    found = estimate([10.0, 10.1, 9.9, 10.0, 25.0])
    assert found.outliers == (4,)
    assert 25.0 in found.values and found.n == 5


@pytest.mark.parametrize(
    "values", [[10.0, 10.1, 9.9, 10.0], [10.0, 10.0, 10.0, 10.2], [1.0, 50.0, 2.0]]
)
def test_no_outliers_in_near_or_few_values(values):
    assert outliers(values) == ()


def test_overlap():
    assert overlap(made(1, 0.9, 1.1), made(1.2, 1.1, 1.3))
    assert not overlap(made(1, 0.9, 1.1), made(1.2, 1.11, 1.3))
    assert not overlap(made(1), made(1.001))
    assert not overlap(made(1, 0.5, 2), made(1.5)), "no interval, no tie"
    assert overlap(made(1), made(1))


def test_ranks_are_shared_with_the_leader_only():
    # c overlaps b but not the leader a: it leads the next group, which d shares.
    found = ranks(
        {
            "d": made(12.5, 11.0, 13.0),
            "a": made(10.0, 9.5, 10.5),
            "c": made(11.0, 10.6, 11.4),
            "b": made(10.4, 10.0, 10.8),
        }
    )
    assert {name: str(rank) for name, rank in found.items()} == {
        "a": "=1",
        "b": "=1",
        "c": "=3",
        "d": "=3",
    }
    assert next(iter(found)) == "a"


def test_ranks_without_ties_or_intervals():
    found = ranks({"a": made(3), "b": made(1), "c": made(2)})
    assert [(n, str(r)) for n, r in found.items()] == [
        ("b", "1"),
        ("c", "2"),
        ("a", "3"),
    ]
    assert ranks({}) == {}


def test_equal_medians_without_intervals_share_a_rank():
    assert {str(r) for r in ranks({"a": made(1), "b": made(1)}).values()} == {"=1"}


def test_ratios_are_of_the_same_repeat():
    found = paired_ratio({0: 2.0, 1: 4.0, 2: 6.0, 5: 99.0}, {0: 1.0, 1: 2.0, 2: 3.0})
    assert found.median == 2 and found.n == 3
    assert found.interval == (2.0, 2.0)
    assert paired_ratio({0: 1.0}, {1: 1.0}) is None


def test_noise_is_the_difference_of_a_framework_from_itself():
    assert noise({"a": {0: 1.0}, "b": {0: 2.0}}) is None
    found = noise({"a": {0: 10.0, 1: 10.0, 2: 10.0}, "b": {0: 50.0}})
    assert found == Noise(0.0, 0.0, 2)
    # Half and double are equally far.
    up, down = noise({"a": {0: 1.0, 1: 2.0}}), noise({"a": {0: 2.0, 1: 1.0}})
    assert up.floor == pytest.approx(1.0) and down.floor == pytest.approx(up.floor)


def test_noise_is_pooled_and_in_the_order_of_the_runs():
    found = noise({"a": {2: 12.0, 0: 10.0, 1: 11.0}, "b": {0: 5.0, 3: 5.0}})
    assert found.ratios == 3
    assert found.floor == pytest.approx(0.1, abs=0.01)
    assert 0 <= found.typical <= found.floor


def test_an_interval_is_narrow_or_wide_from_three_values_on():
    assert not is_narrow([10.0, 10.0], 2)
    assert is_narrow([10.0, 10.0, 10.0], 2)
    assert is_narrow([10.0, 10.2, 10.1, 10.1], 2)
    assert not is_narrow([10.0, 12.0, 14.0], 2)
    # More runs would not make it finite.
    assert is_narrow([10.0, math.inf], 2)

"""A sample of the exam (``make exam``): mistakes are named, correct pairs are not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exam.desk import Desk
from exam.mistakes import BASES, mistakes
from exam.taking import Planted, compare_correct, judge, planted

pytestmark = [pytest.mark.framework, pytest.mark.xdist_group("exam")]

#: Kinds of which one is tried each, from PyTorch to Flax or the other way round.
SAMPLE = (
    "padding of stride 2 on both sides",
    "epsilon of batch norm",
    "momentum of batch norm",
    "kernel in the other order of flattening",
    "residual missing",
    "first step for the last",
    "causal mask missing",
    "GELU by tanh",
    "scores not scaled",
    "weight decay in the gradient (Adam)",
    "labels smoothed",
    "square kernel not transposed",
)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with Desk(tmp_path_factory.mktemp("exam")) as desk:
        yield desk


@pytest.mark.parametrize("kind", SAMPLE)
def test_a_mistake_is_named_first(kind: str, desk: Desk) -> None:
    (mistake,) = (m for m in mistakes() if m.kind == kind)
    right = "flax" if "flax" in mistake.edits else "pytorch"
    left = "pytorch" if right == "flax" else "flax"
    answer = judge(desk, Planted(mistake, left, right))
    assert answer.right_answer, answer


@pytest.mark.parametrize("name", ["images", "attention", "ported lstm", "adamw"])
def test_nothing_is_found_in_a_correct_pair(name: str, desk: Desk) -> None:
    base = BASES[name]
    pair = compare_correct(desk, base, "flax", "pytorch", base.shape, 2)
    assert not pair.alarms


@pytest.mark.text
def test_what_is_planted() -> None:
    kinds = {(mistake.base, mistake.kind) for mistake in mistakes()}
    assert len(kinds) >= 100
    assert len({case.right for case in planted()}) == 6

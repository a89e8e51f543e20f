"""The exam itself: planted mistakes, correct pairs, and what became of each."""

from __future__ import annotations

import itertools
import re
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass

from exam.answers import alarms, answers
from exam.desk import HANDS, Desk, compared
from exam.mistakes import BASES, Base, Mistake, mistakes

#: The hands that the correct side of a planted mistake is by, tried in turn; a
#: framework's own now and then.
TURNS = {
    "pytorch": ("flax", "keras", "flax", "keras", "pytorch"),
    "flax": ("pytorch", "keras", "pytorch", "keras", "flax"),
    "keras": ("pytorch", "flax", "pytorch", "flax", "keras"),
    "linen": ("pytorch", "keras", "flax"),
}
#: Networks whose mistakes are planted in Keras on other engines as well, now and then.
EVERY = 6


@dataclass(frozen=True)
class Planted:
    """A mistake in one framework's file, and the hand of the correct side."""

    mistake: Mistake
    left: str
    right: str


@dataclass(frozen=True)
class Judged:
    """What came of a planted mistake.

    ``first`` is what the report says first; ``layer`` and ``cause`` whether that is
    right. ``fault`` is the traceback of a comparison that itself failed.
    """

    kind: str
    base: str
    left: str
    right: str
    found: bool
    layer: bool
    cause: bool
    first: str
    seconds: float
    fault: str = ""

    @property
    def right_answer(self) -> bool:
        """Whether the first thing said is the right layer and the right cause."""
        return self.found and self.layer and self.cause


@dataclass(frozen=True)
class Pair:
    """A correct pair, and what was said of it that should not be."""

    what: str
    left: str
    right: str
    alarms: tuple[str, ...]
    seconds: float
    #: Empty, or why the two are not to be compared.
    left_out: str = ""


def planted() -> Iterator[Planted]:
    """Every mistake in every framework that can make it."""
    turn = 0
    for number, mistake in enumerate(mistakes()):
        base = BASES[mistake.base]
        for right in mistake.edits:
            turn += 1
            given = [
                left
                for left in TURNS[right]
                if left in (*base.frameworks, right)
                and (not mistake.lefts or left in mistake.lefts)
            ]
            yield Planted(mistake, given[turn % len(given)], right)
            if right == "keras" and number % EVERY == 0 and given[0] != "keras":
                engine = ("keras-jax", "keras-torch")[number // EVERY % 2]
                yield Planted(mistake, given[0], engine)


def judge(desk: Desk, case: Planted) -> Judged:
    """Compare, and look at what is said first."""
    mistake = case.mistake
    for hand in (case.left, case.right):
        # What a framework takes to start is no part of a comparison.
        desk.worker(HANDS[hand][1])
    start = time.perf_counter()
    fault, found = "", []
    try:
        base = BASES[mistake.base]
        report = compared(desk, base, case.left, case.right, mistake=mistake)
        # What belongs to the frameworks is said as well, and is not what is asked.
        found = [a for a in answers(report) if a.says(mistake.cause) or not a.a_form]
    except Exception:
        fault = traceback.format_exc()
    first = found[0] if found else None
    return Judged(
        mistake.kind,
        mistake.base,
        case.left,
        case.right,
        bool(found),
        first is not None and first.at(mistake.layer),
        first is not None and first.says(mistake.cause),
        f"{'/'.join(first.names)}: {first.cause[-400:]}" if first else "",
        round(time.perf_counter() - start, 2),
        fault,
    )


def pairs(base: Base) -> Iterator[tuple[str, str, tuple[int, ...], int]]:
    """Correct pairs of a network: left, right, shape, seed."""
    hands = [*base.frameworks]
    hands += [h for h in ("keras-jax", "keras-torch") if "keras" in hands]
    shapes = (base.shape, *base.shapes)
    for number, (left, right) in enumerate(itertools.product(hands, repeat=2)):
        chosen = shapes if number % 3 == 0 else (shapes[number % len(shapes)],)
        for shape in chosen:
            yield left, right, shape, number


def compare_correct(
    desk: Desk, base: Base, left: str, right: str, shape: tuple[int, ...], seed: int
) -> Pair:
    """One correct pair of hand-written models."""
    start = time.perf_counter()
    try:
        report = compared(desk, base, left, right, shape=shape, seed=seed)
        said = tuple(alarms(report))
    except Exception:
        said = (traceback.format_exc(),)
    seconds = round(time.perf_counter() - start, 2)
    return Pair(f"{base.name} {shape}", left, right, said, seconds)


def chosen(pattern: str, hand: str = "") -> list[Planted]:
    """Planted mistakes whose network or kind fits a pattern."""
    return [
        case
        for case in planted()
        if re.search(pattern, f"{case.mistake.base}: {case.mistake.kind}")
        and (not hand or case.right == hand)
    ]


__all__ = ["HANDS", "Judged", "Pair", "Planted", "chosen", "judge", "pairs", "planted"]

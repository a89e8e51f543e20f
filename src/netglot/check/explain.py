"""Why two models differ: the cause of each difference, found and verified.

What differs is explained by the smallest change that reproduces it: first the
differences that can be read off the two models, then the known variants.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from netglot import ops
from netglot.check.causes import Cause
from netglot.check.changes import known_variants, read_off
from netglot.check.compare import relative
from netglot.check.edits import Edit, edited
from netglot.check.evaluate import Known, chain, known
from netglot.check.segment import Segment
from netglot.check.variants import COARSER, round_to
from netglot.check.wording import numbers, title
from netglot.frontends.reading import Layer, Relabel

#: Causes, and what is left of the difference with them.
Explained = tuple[tuple[Cause, ...], float]
Tried = TypeVar("Tried")
#: What the rounding of a coarser type may leave when it is taken into account.
COARSE = 4e-3
#: So many numbers tell in which type they are.
DISTINCT = 8
#: More combinations of variants are not tried.
TRIED = 4000


def explain(
    segment: Segment, target: np.ndarray, allowed: float, until: float
) -> Explained | None:
    """The smallest set of changes that gives what was seen.

    ``until`` is when the search ends, on the clock of ``time.monotonic``.
    """
    allowed = max(allowed, segment.both.held)
    dropped = _dropped(segment, target)
    if dropped is not None and dropped[1] <= allowed:
        return dropped
    read, single = list(read_off(segment)), list(known_variants(segment))
    for edit in _in_time((*read, *single), until):
        if "rounded" not in edit.cause.what:
            size = _explained(segment, (edit,), target, allowed)
            if size is not None:
                return (edit.cause,), size
    for edits in _in_time(itertools.islice(_several(read), TRIED), until):
        size = _explained(segment, edits, target, allowed)
        if size is not None:
            causes = (edit.cause for edit in edits)
            return tuple(sorted(causes, key=_follows)), size
    rounded = [
        (_tried(segment, (edit,), target)[0], edit.cause)
        for edit in _in_time(single, until)
        if "rounded" in edit.cause.what
    ]
    plain = _tried(segment, (), target)[0]
    least, cause = min(rounded, key=lambda one: one[0], default=(plain, Cause("")))
    if least <= min(COARSE, plain / 2):
        # How it adds up is not known: no more than what is left can be asked.
        return (cause,), least
    pairs: Iterable[tuple[Edit, ...]] = itertools.combinations(
        [edit for edit in (*read, *single) if "rounded" not in edit.cause.what], 2
    )
    for edits in _in_time(itertools.islice(pairs, TRIED), until):
        if edits[0].place == edits[1].place and _clash(edits):
            continue
        size = _explained(segment, edits, target, allowed)
        if size is not None:
            return tuple(edit.cause for edit in edits), size
    return None


def _in_time(found: Iterable[Tried], until: float) -> Iterator[Tried]:
    """Candidates, as long as there is time."""
    for one in found:
        if time.monotonic() > until:
            return
        yield one


def _explained(
    segment: Segment, edits: Sequence[Edit], target: np.ndarray, allowed: float
) -> float | None:
    """What is left of the difference with some changes; None where too much is."""
    size, own = _tried(segment, edits, target)
    return size if math.isfinite(size) and size <= max(allowed, own) else None


def _tried(
    segment: Segment, edits: Sequence[Edit], target: np.ndarray
) -> tuple[float, float]:
    """What is left of the difference with some changes, and what is allowed."""
    steps = edited(segment.plain, edits)
    if steps is None:
        return float("inf"), 0.0
    reads = next((edit.reads for edit in edits if edit.reads), ())
    return segment.difference(steps, target, reads)


def _dropped(segment: Segment, target: np.ndarray) -> Explained | None:
    """Whether a dropout is at work on the right, by what it has left over."""
    last = segment.other[-1] if segment.other else None
    if last is None or not isinstance(last.op, ops.Dropout):
        return None
    rate: Any = last.op.rate
    if not 0 < rate < 1 or not (target == 0).any():
        return None
    try:
        _, array = chain(segment.plain, segment.inputs())
    except (ValueError, KeyError, IndexError, TypeError):
        return None
    if array.shape != target.shape:
        return None
    kept = np.where(target != 0, array / (1 - rate), 0.0)
    at = segment.chain[-1] if segment.chain else None
    cause = Cause("dropout is active in evaluation on the right", layer=at)
    return (cause,), relative(target, kept)


def coarse(segment: Segment, target: np.ndarray) -> Cause | None:
    """Whether the right side's numbers are those of a coarser type, and the left's not.

    In which order it adds and rounds nobody knows: that is seen, and not verified.
    """
    ours = segment.both.left.value(segment.ours) if segment.chain else None
    if ours is None or target.dtype.kind != "f" or ours.dtype.kind != "f":
        return None
    some = np.unique(target[np.isfinite(target) & (target != np.rint(target))])
    for name, bits in COARSER.items():
        # Short numbers, as of a mean of integers, are in every type.
        needed = (round_to(some, bits - 1) != some).any()
        if len(some) < DISTINCT or not needed or (round_to(some, bits) != some).any():
            continue
        if (round_to(ours, bits) != ours).any():
            layer = next((a for a in segment.chain if a.weights), segment.chain[-1])
            words = f"all numbers that it gives are rounded to {name} on the right"
            return Cause(words, layer=layer)
    return None


def _clash(edits: Sequence[Edit]) -> bool:
    """Whether all of them put other steps in the place of the same."""
    return all(edit.steps is not None and not edit.cause.attribute for edit in edits)


def given_otherwise(
    segment: Segment, target: np.ndarray, allowed: float
) -> Explained | None:
    """Whether it is right about what the right side gives its first layer.

    Then what makes that is the cause.
    """
    allowed = max(allowed, segment.both.held)
    pairs = [
        (a, b) for a in segment.chain for b in segment.other if segment.paired(a, b)
    ]
    if not pairs or pairs[0][0] is not segment.chain[0]:
        return None
    a, b = pairs[0]
    both, makers, inputs = segment.both, list[Layer](), list[Known]()
    for ours, theirs in zip(a.inputs, b.inputs, strict=False):
        array = both.right.value(theirs)
        if array is None or array.ndim != len(both.left.types[ours].axes):
            return None
        inputs.append(known(both.left.types[ours].axes, array))
        if both.values.get(ours) != theirs and theirs in both.made_right:
            makers.append(both.right.layers[both.made_right[theirs]])
    try:
        _, array = chain(segment.plain, tuple(inputs))
    except (ValueError, KeyError, IndexError, TypeError):
        return None
    if array.size != target.size or not makers:
        return None
    size = relative(target, array.reshape(target.shape))
    if size > allowed:
        return None
    while any(isinstance(m.op, Relabel) for m in makers):
        before = [m.inputs[0] if isinstance(m.op, Relabel) else "" for m in makers]
        if any(name and name not in both.made_right for name in before):
            return None
        makers = [
            both.right.layers[both.made_right[name]] if name else m
            for m, name in zip(makers, before, strict=True)
        ]
    names = " and ".join(f"{title(m)}{numbers(m.op) if m.op else ''}" for m in makers)
    words = f"what it reads is made by {names} on the right"
    return (Cause(words, layer=a, other=makers[0]),), size


def _follows(cause: Cause) -> bool:
    """Whether it may be no more than what follows from another cause.

    The padding of ``same`` is another one for another kernel, stride or dilation.
    """
    return cause.attribute == "padding" or cause.what.startswith("Pad (")


def _several(edits: Sequence[Edit]) -> Iterator[tuple[Edit, ...]]:
    """Two and three at a time, then all."""
    for count in range(2, min(3, len(edits)) + 1):
        yield from itertools.combinations(edits, count)
    if len(edits) > 3:
        yield tuple(edits)

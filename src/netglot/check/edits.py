"""Possible changes of the left side's steps, and the steps after some of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from netglot.check.causes import Cause
from netglot.check.evaluate import Step


@dataclass(frozen=True)
class Edit:
    """A possible change of the left side's steps, by their place.

    ``reads``: the values that the first of them reads instead. ``instead`` takes the
    place of them all; ``gone`` are others that it takes the place of.
    """

    cause: Cause
    place: tuple[int, ...]
    steps: tuple[Step, ...] | None
    before: tuple[Step, ...] = ()
    reads: tuple[str, ...] = ()
    instead: tuple[Step, ...] = ()
    gone: tuple[int, ...] = ()
    #: Weights of the step that are others, where that is all.
    weights: Mapping[str, np.ndarray] | None = None


def edited(plain: Sequence[Step], edits: Sequence[Edit]) -> list[Step] | None:
    """Steps after some edits; None where two change the same in two ways."""
    whole = [edit.instead for edit in edits if edit.instead]
    if whole:
        return list(whole[0]) if len(edits) == 1 else None
    result: list[Step] = []
    gone = {index for edit in edits for index in edit.gone}
    for index, step in enumerate(plain):
        if index in gone:
            continue
        mine = [edit for edit in edits if edit.place == (index,)]
        replaced: tuple[Step, ...] = (step,)
        for edit in mine:
            if edit.weights is not None and replaced:
                held = {**replaced[0].weights, **edit.weights}
                first = dataclasses.replace(replaced[0], weights=held)
                replaced = (first, *replaced[1:])
                continue
            if edit.steps is None:
                continue
            if edit.cause.attribute and len(replaced) == 1 and edit.steps:
                # Attributes are independent: each is set on what the others made.
                value = getattr(edit.steps[0].op, edit.cause.attribute, None)
                if hasattr(replaced[0].op, edit.cause.attribute):
                    op: Any = replaced[0].op
                    op = dataclasses.replace(op, **{edit.cause.attribute: value})
                    weights = replaced[0].weights
                    if edit.steps[0].shapes != replaced[0].shapes:
                        weights = edit.steps[0].weights
                    new = dataclasses.replace(replaced[0], op=op, weights=weights)
                    replaced = (new,)
                else:
                    replaced = edit.steps
            else:
                replaced = edit.steps
        result += [s for edit in mine for s in edit.before]
        result += replaced
    result += [s for edit in edits if edit.place == (len(plain),) for s in edit.before]
    return result

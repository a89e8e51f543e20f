"""How two layers differ, in words: their attributes, and one weight made of another."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from netglot import ops
from netglot.check.causes import Cause
from netglot.check.compare import like
from netglot.frontends.reading import Layer, Relabel
from netglot.ops import Op


def title(layer: Layer) -> str:
    """A layer by its kind and name."""
    kind = type(layer.op).__name__ if layer.op else layer.kind.rpartition(".")[2]
    return f"{kind} ({layer.name})" if layer.name else kind


def attributes(a: Op, b: Op) -> Iterator[tuple[Cause, Op]]:
    """Each attribute that differs, and the left operation with the right one's."""
    for field in dataclasses.fields(a):
        ours, theirs = getattr(a, field.name), getattr(b, field.name)
        if ours != theirs:
            words = (
                f"{field.name} {_word(theirs)} on the right, {_word(ours)} on the left"
            )
            op = dataclasses.replace(a, **{field.name: theirs})
            yield Cause(words, field.name, ours, theirs), op


def counts(layer: Layer) -> bool:
    """Whether it does more than to order numbers in another way."""
    order = ops.Dropout | ops.Reshape | ops.Flatten | Relabel
    return layer.op is not None and not isinstance(layer.op, order)


def numbers(op: Op) -> str:
    """The numbers of an operation that is only numbers."""
    if not isinstance(op, ops.Scale):
        return ""
    return f", factor {op.factor:g} and offset {op.offset:g},"


def maps(op: Op) -> bool:
    """Whether it maps a value number by number."""
    return isinstance(op, ops.Elementwise)


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def forgotten(op: ops.LSTM, ours: np.ndarray, theirs: np.ndarray) -> str:
    """Whether the bias of the forget gate alone is another one, by one number."""
    units: Any = op.units
    place = slice(op.gates.index("f") * units, (op.gates.index("f") + 1) * units)
    off = theirs - ours
    more = float(off[place].mean())
    off[place] -= more
    if np.abs(off).max() > 1e-6 * max(1.0, abs(more)):
        return ""
    return f": {more:+.3g} in the forget gate"


def relation(ours: np.ndarray, theirs: np.ndarray) -> str:
    """How one weight was made from the other, where that can be seen."""
    if ours.ndim == 2 and ours.shape[0] == ours.shape[1] and like(ours.T, theirs):
        return ": transposed"
    if ours.ndim > 2:
        if like(np.flip(ours, tuple(range(2, ours.ndim))), theirs):
            return ": flipped"
        if (
            ours.ndim == 4
            and ours.shape[2] == ours.shape[3]
            and like(np.swapaxes(ours, 2, 3), theirs)
        ):
            return ": height and width swapped"
    for axis in range(ours.ndim):
        a = np.sort(ours.astype(np.float32).sum(tuple(set(range(ours.ndim)) - {axis})))
        b = np.sort(
            theirs.astype(np.float32).sum(tuple(set(range(ours.ndim)) - {axis}))
        )
        if like(a, b, 1e-4) and not like(ours, theirs):
            same = np.sort(ours.reshape(-1)), np.sort(theirs.reshape(-1))
            if like(*same):
                return f": the same numbers in another order along axis {axis}"
    if not theirs.any():
        return ": zeros"
    return ""

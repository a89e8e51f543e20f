"""Which layer of one model is which of another.

By what they do, the shapes of their weights and of what they give, and their order;
never by name alone. Layers may be on one side only: an activation that the other has
fused, a reshape more, a dropout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from netglot import ops
from netglot.frontends.reading import Layer, Reading, Relabel

#: Kinds that stand for each other where somebody took the wrong one.
FAMILIES: tuple[tuple[type[ops.Op], ...], ...] = (
    (ops.MaxPool, ops.AvgPool),
    (ops.BatchNorm, ops.LayerNorm, ops.GroupNorm, ops.RMSNorm),
    (ops.SimpleRNN, ops.LSTM, ops.GRU),
    (
        ops.GlobalAvgPool,
        ops.GlobalMaxPool,
        ops.ReduceMean,
        ops.ReduceMax,
        ops.ReduceSum,
    ),
    (ops.Softmax, ops.LogSoftmax),
    (ops.Add, ops.Subtract, ops.Multiply, ops.Divide, ops.Maximum, ops.Minimum),
    (ops.Flatten, ops.Reshape),
    (ops.Conv, ops.ConvTranspose),
)
_NEVER = -1e9


@dataclass(frozen=True)
class Match:
    """Layers by index: pairs, and those that only one side has."""

    pairs: tuple[tuple[int, int], ...]
    left: tuple[int, ...]
    right: tuple[int, ...]


def match(left: Reading, right: Reading) -> Match:
    """The alignment of all layers with the largest score (Needleman and Wunsch)."""
    a, b = left.layers, right.layers
    best = [[0.0] * (len(b) + 1) for _ in range(len(a) + 1)]
    step = [[""] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        best[i][0], step[i][0] = best[i - 1][0] + _gap(a[i - 1]), "left"
    for j in range(1, len(b) + 1):
        best[0][j], step[0][j] = best[0][j - 1] + _gap(b[j - 1]), "right"
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            options = (
                (best[i - 1][j - 1] + _score(left, a[i - 1], right, b[j - 1]), "both"),
                (best[i - 1][j] + _gap(a[i - 1]), "left"),
                (best[i][j - 1] + _gap(b[j - 1]), "right"),
            )
            best[i][j], step[i][j] = max(options, key=lambda option: option[0])
    pairs, only_left, only_right = [], [], []
    i, j = len(a), len(b)
    while i or j:
        move = step[i][j]
        if move == "both":
            i, j = i - 1, j - 1
            pairs.append((i, j))
        elif move == "left":
            i -= 1
            only_left.append(i)
        else:
            j -= 1
            only_right.append(j)
    return _crossed(left, right, pairs[::-1], only_left[::-1], only_right[::-1])


def _crossed(
    left: Reading,
    right: Reading,
    pairs: list[tuple[int, int]],
    only_left: list[int],
    only_right: list[int],
) -> Match:
    """Layers with weights that stand in another order (branches) are pairs as well."""
    for i in list(only_left):
        layer = left.layers[i]
        if not layer.weights:
            continue
        like = [
            j for j in only_right if _same_weights(layer, left, right.layers[j], right)
        ]
        if len(like) == 1:
            pairs.append((i, like[0]))
            only_left.remove(i)
            only_right.remove(like[0])
    known = dict(zip(left.inputs, right.inputs, strict=False))
    for i, j in sorted(pairs):
        outputs = left.layers[i].outputs, right.layers[j].outputs
        known |= dict(zip(*outputs, strict=False))
    for i in list(only_left):
        # And such without weights that do the same with the same values.
        layer = left.layers[i]
        given = tuple(known.get(value) for value in layer.inputs)
        alike = [
            j
            for j in only_right
            if right.layers[j].op == layer.op and right.layers[j].inputs == given
        ]
        if layer.op is not None and len(alike) == 1:
            pairs.append((i, alike[0]))
            only_left.remove(i)
            only_right.remove(alike[0])
            known |= dict(
                zip(layer.outputs, right.layers[alike[0]].outputs, strict=False)
            )
    return Match(tuple(sorted(pairs)), tuple(only_left), tuple(only_right))


def _gap(layer: Layer) -> float:
    return -1.5 if layer.weights else -0.1


def _score(left: Reading, a: Layer, right: Reading, b: Layer) -> float:
    if a.op is None or b.op is None:
        # Somebody's own layer in the place of one of ours: by its shape.
        if _shape(left, a) != _shape(right, b):
            return _NEVER
        return 0.4 if a.op is b.op else 0.05
    if isinstance(a.op, Relabel) or isinstance(b.op, Relabel):
        return 0.0 if type(a.op) is type(b.op) else _NEVER
    shape = 1.0 if _shape(left, a) == _shape(right, b) else 0.0
    if type(a.op) is type(b.op):
        score = 2.0 + shape
        if a.weights:
            score += 4.0 if _same_weights(a, left, b, right) else 0.0
        return score + (0.2 if a.name == b.name else 0.0)
    if any(isinstance(a.op, f) and isinstance(b.op, f) for f in FAMILIES):
        # Less than half of what the right one is worth, which may stand beside it.
        return 0.8 + 0.5 * shape
    single = len(a.inputs) == len(b.inputs) == 1 and not a.weights and not b.weights
    if single and a.op.elementwise and b.op.elementwise and shape:
        dropout = isinstance(a.op, ops.Dropout) or isinstance(b.op, ops.Dropout)
        return _NEVER if dropout else 0.5
    return _NEVER


def _shape(reading: Reading, layer: Layer) -> tuple[object, ...]:
    type_ = reading.types.get(layer.outputs[0])
    return type_.shape if type_ else ()


def _same_weights(a: Layer, left: Reading, b: Layer, right: Reading) -> bool:
    return type(a.op) is type(b.op) and _weights(a, left) == _weights(b, right)


def _weights(layer: Layer, reading: Reading) -> tuple[object, ...]:
    assert layer.op is not None
    types = (reading.types[name] for name in layer.inputs)
    found = layer.op.weights(*types)
    kernels = {n: w.shape for n, w in found.items() if w.role not in ("bias", "shift")}
    return tuple(kernels.items())


def carried(
    left: Reading,
    right: Reading,
    pairs: Sequence[tuple[int, int]],
    arrays: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """The right side's weights made from the left side's, both canonical.

    Those whose shapes differ are left out. What has two biases on one side and one on
    the other is given their sum, as far as it is the same function.
    """
    shapes = {name: array.shape for name, array in right.weights().items()}
    found = {b: arrays[a] for a, b in paired_weights(left, right, pairs)}
    for i, j in pairs:
        a, b = left.layers[i], right.layers[j]
        found |= {f"{b.name}.{n}": w for n, w in other_biases(a, b, arrays).items()}
    return {b: w for b, w in found.items() if shapes.get(b) == w.shape}


def other_biases(
    a: Layer, b: Layer, arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The biases of a recurrent layer in the form that the right side's layer has.

    By their names in the operation; empty where both have the same form.
    """
    if not isinstance(a.op, ops.SimpleRNN) or type(a.op) is not type(b.op):
        return {}
    theirs: Any = b.op
    if a.op.bias == theirs.bias or "none" in (a.op.bias, theirs.bias):
        return {}
    # The candidate of a GRU has a bias within what the reset gate lets through.
    after = isinstance(a.op, ops.GRU) and theirs.reset == "after"
    found = {}
    for end in ("", "_back"):
        own = arrays.get(f"{a.name}.bias{end}")
        if own is None:
            continue
        inner = np.zeros_like(own)
        held = arrays.get(f"{a.name}.recurrent_bias{end}")
        if held is not None:
            inner[len(own) - len(held) :] = held
        kept = np.zeros_like(own)
        if after:
            kept[2 * len(own) // 3 :] = inner[2 * len(own) // 3 :]
        found[f"bias{end}"] = own + inner - kept
        candidate = theirs.bias == "candidate"
        found[f"recurrent_bias{end}"] = kept[2 * len(own) // 3 :] if candidate else kept
    return found


def converts(a: Layer, b: Layer, arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether nothing is lost in ``other_biases``: the function stays the same."""
    found = other_biases(a, b, arrays)
    bias = getattr(b.op, "bias", "")
    lost = [w for n, w in found.items() if "recurrent" in n and bias == "one"]
    return bool(found) and not any(w.any() for w in lost)


def paired_weights(
    left: Reading, right: Reading, pairs: Sequence[tuple[int, int]]
) -> list[tuple[str, str]]:
    """Weights of pairs that hold the same: names on the left, on the right."""
    result = []
    for i, j in pairs:
        a, b = left.layers[i], right.layers[j]
        if type(a.op) is not type(b.op):
            continue
        ours = {s for weight in a.weights for s in weight.sources}
        theirs = {s for weight in b.weights for s in weight.sources}
        for source in sorted(ours):
            other = f"{b.name}.{source.removeprefix(a.name + '.')}"
            if other in theirs:
                result.append((source, other))
    return result

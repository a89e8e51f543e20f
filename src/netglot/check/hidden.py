"""What differs between two models, though one run of them does not show it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Set

import numpy as np

from netglot import ops
from netglot.check.both import Both
from netglot.check.causes import Cause
from netglot.check.compare import relative
from netglot.check.evaluate import Step, compute, known, step_of
from netglot.check.segment import Segment
from netglot.check.wording import attributes, maps, title
from netglot.frontends.reading import Layer, Relabel
from netglot.ops import Op

#: Attributes that an evaluation does not show.
TRAINING = ("momentum", "unbiased", "rate", "forget_bias")


def hidden(
    both: Both, agreed: Set[int], used: Set[tuple[int, str]]
) -> Iterator[tuple[Layer, Layer | None, Cause]]:
    """Layers, their partners and what differs there.

    ``agreed`` are layers that give the same, by their place on the left; ``used`` the
    attributes by place that are causes already.
    """
    for i, j in both.match.pairs:
        a, b = both.left.layers[i], both.right.layers[j]
        if a.op is None or b.op is None or a.outputs[0] not in both.values:
            continue
        if isinstance(a.op, Relabel):
            continue
        if maps(a.op) and maps(b.op):
            # Where each is one of several they may be the same all together.
            pieces = _beside(both, a, b)
            if i in agreed and not pieces and _elsewhere(a.op, b.op):
                words = f"{title(b)} on the right, {title(a)} on the left"
                cause = Cause(words)
                if type(a.op) is type(b.op):
                    cause, _ = next(attributes(a.op, b.op))
                yield a, b, cause
            continue
        if type(a.op) is not type(b.op):
            continue
        for cause, op in attributes(a.op, b.op):
            if (i, cause.attribute) in used:
                continue
            if isinstance(op, ops.Slice | ops.MaxPool):
                # Only where sizes are others.
                continue
            if cause.attribute in TRAINING or _unseen(both, a, b, op):
                yield a, b, cause
    sides = (
        (both.left, both.match.left, "left"),
        (both.right, both.match.right, "right"),
    )
    for reading, only, side in sides:
        for index in only:
            layer = reading.layers[index]
            if isinstance(layer.op, ops.Dropout) and layer.op.rate:
                words = f"dropout {layer.op.rate:g} on the {side} only"
                yield layer, None, Cause(words)


def _beside(both: Both, a: Layer, b: Layer) -> bool:
    """Whether a map stands beside one of two that the other side does not have."""
    return any(
        set(layer.inputs) & set(pair.outputs) or set(layer.outputs) & set(pair.inputs)
        for reading, only, pair in (
            (both.left, both.match.left, a),
            (both.right, both.match.right, b),
        )
        for layer in (reading.layers[k] for k in only)
        if layer.op is not None and maps(layer.op)
    )


def _unseen(both: Both, a: Layer, b: Layer, op: Op) -> bool:
    """Whether another attribute changes nothing here.

    Else what it does is taken back elsewhere, as padding by a layer before.
    """
    target = both.right.value(b.outputs[0])
    segment = Segment(both, a.outputs[0], b.outputs[0])
    place = next((k for k, layer in enumerate(segment.chain) if layer is a), None)
    if target is None or place is None:
        return False
    steps = list(segment.plain)
    # A weight that only the right side has is its own.
    held = {**step_of(b, both.theirs).weights, **steps[place].weights}
    steps[place] = dataclasses.replace(steps[place], op=op, weights=held)
    size, allowed = segment.difference(steps, target)
    return size <= allowed


def _elsewhere(a: Op, b: Op) -> bool:
    """Whether two maps differ on numbers that may not have occurred."""
    if a == b:
        return False
    x = known("NF", np.linspace(-40.0, 40.0, 641)[None])
    (_, ours), (_, theirs) = compute(Step(a), x), compute(Step(b), x)
    fine = np.isfinite(ours) & np.isfinite(theirs)
    return relative(theirs[fine], ours[fine]) > 1e-6

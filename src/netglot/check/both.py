"""Two models side by side: which values both have, and what each layer is given.

A layer of the left side is given what the *right* side really had there, so that one
difference does not hide the next, and rounding that has gathered on the way does not
count.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from netglot.check.compare import like, relative
from netglot.check.evaluate import Known, Step, chain, known, step_of
from netglot.check.matching import (
    converts,
    match,
    other_biases,
    paired_weights,
)
from netglot.frontends.reading import Layer, Reading, Relabel

#: Relative difference within which the inputs of a layer that is none of our operations
#: are the same, and over which its outputs differ.
UNREAD = 1e-6


class Both:
    """Two readings side by side: which values correspond, and what layers are given.

    ``weights`` are the left side's, canonical; ``values`` says which value of the right
    side is which of the left; ``made`` and ``made_right`` which layer gives a value.
    """

    def __init__(
        self, left: Reading, right: Reading, weights: Mapping[str, np.ndarray]
    ) -> None:
        """Find which layers and values correspond."""
        self.left, self.right = left, right
        self.weights, self.theirs = weights, right.weights()
        self.match = match(left, right)
        self.partner = dict(self.match.pairs)
        self.values = dict(zip(left.inputs, right.inputs, strict=False))
        for i, j in self.match.pairs:
            a, b = left.layers[i], right.layers[j]
            returns = {getattr(layer.op, "returns", "") for layer in (a, b)} - {""}
            if len(returns) < 2:
                # Else one takes the last step later: what follows is compared.
                self.values |= dict(zip(a.outputs, b.outputs, strict=False))
        self.made = {v: i for i, a in enumerate(left.layers) for v in a.outputs}
        self.made_right = {v: j for j, b in enumerate(right.layers) for v in b.outputs}
        outputs = zip(left.outputs, right.outputs, strict=False)
        self.ends = [(a, b) for a, b in outputs if self.values.get(a) != b]
        self.shown: dict[str, Known] = {}
        self.exact = any(right.recording.dtype(v) == "float64" for v in right.outputs)
        # Weights that are kept may be rounded to float32, each in its own way.
        pairs = paired_weights(left, right, self.match.pairs)
        kept = any(not np.array_equal(weights[a], self.theirs[b]) for a, b in pairs)
        self.held = UNREAD if kept else 0.0
        self.engines = {_engine(reading) for reading in (left, right)}

    def whole(self) -> float:
        """The difference of the outputs themselves."""
        sizes = [0.0]
        for a, b in zip(self.left.outputs, self.right.outputs, strict=False):
            ours, theirs = self.left.value(a), self.right.value(b)
            if ours is not None and theirs is not None:
                sizes.append(relative(theirs, ours))
        return max(sizes)

    # What a layer is given.

    def value(self, name: str) -> Known:
        """A value of the left side as the right side has it, computed where it has not.

        Raises ``ValueError`` where it cannot be had.
        """
        other = self.values.get(name)
        if other is not None and self.right.recording.seen(other):
            if name not in self.shown:
                array = self.right.value(other)
                assert array is not None
                type_ = self.left.types[name]
                theirs = self.right.types[other].axes
                axes = type_.axes if len(type_.axes) == array.ndim else theirs
                self.shown[name] = known(axes, array, type_)
            return self.shown[name]
        if name not in self.made:
            raise ValueError(f"{name} is an input that the other side does not have")
        layer = self.left.layers[self.made[name]]
        if layer.op is None:
            array = self.left.value(name)
            if array is None:
                raise ValueError(f"{layer} is not known")
            return known(self.left.types[name].axes, array, self.left.types[name])
        return self.output(layer, name, [self.step(layer)])

    def output(self, layer: Layer, name: str, steps: Sequence[Step]) -> Known:
        """What a layer of the left side gives on the right side's values."""
        place = layer.outputs.index(name)
        current = tuple(self.value(v) for v in layer.inputs)
        if place:
            raise ValueError("only the first output of a layer is computed")
        return chain(steps, current)

    def step(self, layer: Layer) -> Step:
        """A layer with its weights.

        With the right side's where only their sizes differ: those follow from what the
        layer is given, and that is a finding of another layer. Also where they are the
        same but for the rounding of float32, in which weights are kept.
        """
        own = step_of(layer, self.weights)
        j = self.partner.get(self.left.layers.index(layer))
        other = self.right.layers[j] if j is not None else None
        if other is None or not own.weights or type(other.op) is not type(layer.op):
            return own
        theirs = step_of(other, self.theirs)
        same = other.op == layer.op and own.weights.keys() == theirs.weights.keys()
        if same and own.shapes != theirs.shapes:
            return theirs
        if self.same_biases(layer, other):
            # In another form.
            op: Any = layer.op
            bias: Any = other.op
            held = {n: w for n, w in own.weights.items() if "bias" not in n}
            held |= {n: w for n, w in theirs.weights.items() if "bias" in n}
            op = dataclasses.replace(op, bias=bias.bias)
            own = dataclasses.replace(own, op=op, weights=held)
        elif converts(layer, other, self.weights):
            op, bias = layer.op, other.op
            found = other_biases(layer, other, self.weights)
            found = {n: w for n, w in found.items() if n in theirs.weights}
            held = {n: w for n, w in own.weights.items() if "bias" not in n}
            op = dataclasses.replace(op, bias=bias.bias)
            own = dataclasses.replace(own, op=op, weights={**held, **found})
        near = {
            name: theirs.weights[name]
            for name, array in own.weights.items()
            if name in theirs.weights and like(theirs.weights[name], array)
        }
        return dataclasses.replace(own, weights={**own.weights, **near})

    def same_biases(self, layer: Layer, other: Layer) -> bool:
        """Whether two recurrent layers have the same biases in two forms."""
        there = other_biases(layer, other, self.weights)
        back = other_biases(other, layer, self.theirs)
        return any(
            found
            and all(
                like(held[f"{name}.{n}"], array)
                for n, array in found.items()
                if f"{name}.{n}" in held
            )
            for found, held, name in (
                (there, self.theirs, other.name),
                (back, self.weights, layer.name),
            )
        )

    def giver(self, name: str) -> str:
        """The name of the layer that gives a value, be it with other axes."""
        while name in self.made:
            layer = self.left.layers[self.made[name]]
            if not isinstance(layer.op, Relabel):
                return layer.name
            (name,) = layer.inputs
        return "the input"

    def givers(self, names: Sequence[str]) -> str:
        """The layers that give values of the left side, in words."""
        layers = [self.giver(name) for name in names]
        *first, last = layers
        return f"{', '.join(first)} and {last}" if first else last

    def apart(self, a: str, b: str) -> float:
        """How far what both sides have seen of a value is apart."""
        ours, theirs = self.left.value(a), self.right.value(b)
        if ours is None or theirs is None:
            return float("inf")
        return relative(theirs, ours)


def _engine(reading: Reading) -> str:
    """What a side computes with."""
    known = {"pytorch": "torch", "flax": "jax"}
    framework = reading.recording.framework
    return known.get(framework) or reading.recording.version.rpartition(" ")[2]

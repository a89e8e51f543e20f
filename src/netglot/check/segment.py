"""The layers between values that two models both have, and how far they are apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from netglot.check.both import Both
from netglot.check.causes import Cause
from netglot.check.compare import relative
from netglot.check.evaluate import Known, Step, chain, narrow
from netglot.check.wording import maps
from netglot.frontends.reading import Layer, Reading

#: Relative difference within which float64 values of one layer are the same.
EXACT = 1e-9
#: In float32: this many times the error that float32 makes in that layer on that input,
#: and at least so much.
ROUNDING, LEAST = 8.0, 2e-6


class Segment:
    """The layers between values that both sides have, up to one such value."""

    def __init__(self, both: Both, a: str, b: str, without: Sequence[str] = ()) -> None:
        """``without``: values from which it does not start, though both have them."""
        self.both = both
        left, right = both.left, both.right
        self.ours, self.theirs = a, b
        # An output that both sides compute, after which the right one goes on.
        beyond = a in both.values and both.values[a] != b
        # What was not seen on the right is computed, and may be where it differs.
        known = {
            ours: theirs
            for ours, theirs in both.values.items()
            if right.recording.seen(theirs) and ours not in without
        }
        names = set(known)
        self.chain = [] if beyond else self.upstream(left, both.made, a, names, True)
        shared = set(known.values())
        self.other = self.upstream(right, both.made_right, b, shared)
        self.plain: tuple[Step, ...] = tuple(map(both.step, self.chain))
        self.given: dict[tuple[str, ...], tuple[Known, ...]] = {}

    @staticmethod
    def upstream(
        reading: Reading,
        made: Mapping[str, int],
        value: str,
        shared: set[str],
        stops: bool = False,
    ) -> list[Layer]:
        """The layers that lead to a value, back to what both sides have.

        ``stops``: or to what is none of our operations.
        """
        chain: list[Layer] = []
        while value in made:
            layer = reading.layers[made[value]]
            if layer.op is None and stops:
                break
            chain.append(layer)
            if len(layer.inputs) != 1 or layer.inputs[0] in shared:
                break
            value = layer.inputs[0]
        return chain[::-1]

    def spoilt(self, target: np.ndarray) -> bool:
        """Whether values are no numbers because what was given were none."""
        if target.dtype.kind != "f" or np.isfinite(target).all():
            return False
        try:
            given = [array for _, array in self.inputs()]
        except ValueError:
            return False
        return any(x.dtype.kind == "f" and not np.isfinite(x).all() for x in given)

    def inputs(self, names: tuple[str, ...] = ()) -> tuple[Known, ...]:
        """What its first layer is given; ``names``: other values of the left side.

        Raises ``ValueError`` where that cannot be had.
        """
        names = names or (self.chain[0].inputs if self.chain else (self.ours,))
        if names not in self.given:
            # What the right side has not seen is computed, once.
            self.given[names] = tuple(self.both.value(v) for v in names)
        return self.given[names]

    def only_map(self) -> set[int]:
        """The one layer, by its place on the left, that maps numbers on both sides.

        Of several only the whole is known to be the same.
        """
        found = [
            [layer for layer in layers if layer.op is not None and maps(layer.op)]
            for layers in (self.chain, self.other)
        ]
        if [len(layers) for layers in found] != [1, 1]:
            return set()
        (a,), (b,) = found
        if not self.paired(a, b):
            return set()
        return {self.both.left.layers.index(a)}

    def difference(
        self, steps: Sequence[Step], target: np.ndarray, reads: tuple[str, ...] = ()
    ) -> tuple[float, float]:
        """How far the steps are from what was seen, and how far they may be.

        ``reads``: of other values than the left side's.
        """
        try:
            inputs = self.inputs(reads)
            _, array = chain(steps, inputs)
        except (ValueError, KeyError, IndexError, TypeError):
            return float("inf"), EXACT
        if array.shape != target.shape and array.size == target.size:
            array = array.reshape(target.shape)
        size = relative(target, array)
        if self.both.exact:
            return size, self.exactly(steps, inputs, array)
        try:
            _, rough = chain(steps, inputs, np.float32)
            error = relative(rough.reshape(array.shape), array)
        except (ValueError, KeyError, IndexError, TypeError):
            error = 0.0
        return size, max(LEAST, ROUNDING * error)

    def exactly(
        self, steps: Sequence[Step], inputs: tuple[Known, ...], array: np.ndarray
    ) -> float:
        """What float64 may be off: more where a framework keeps numbers in float32.

        How much, is measured: by how far the layer's own numbers move it when they are
        rounded.
        """
        if self.both.engines == {"torch"}:
            return EXACT
        numbers = "tensorflow" in self.both.engines
        narrowed = [narrow(step, numbers) for step in steps]
        if all(a is b for a, b in zip(steps, narrowed, strict=True)):
            return EXACT
        try:
            _, rough = chain(narrowed, inputs)
        except (ValueError, KeyError, IndexError, TypeError):
            return EXACT
        return max(EXACT, ROUNDING * relative(rough.reshape(array.shape), array))

    def read_there(self) -> tuple[str, ...]:
        """What the right side reads first, by the left side's names; "" for unknown."""
        back = {theirs: ours for ours, theirs in self.both.values.items()}
        given = self.other[0].inputs if self.other else (self.theirs,)
        return tuple(back.get(value, "") for value in given)

    def at(self, i: int, cause: Cause) -> Cause:
        """A cause with the layer that it is about."""
        layer = self.chain[i]
        types = tuple(self.both.left.types[v] for v in layer.inputs)
        return dataclasses.replace(cause, wanted=layer.op, inputs=types, layer=layer)

    def paired(self, a: Layer, b: Layer) -> bool:
        """Whether two layers are each other's partners."""
        left, right = self.both.left.layers, self.both.right.layers
        i = next(k for k, layer in enumerate(left) if layer is a)
        j = self.both.partner.get(i)
        return j is not None and right[j] is b

    def example(self, target: np.ndarray) -> str:
        """Where it differs most, for what nothing explains."""
        try:
            _, array = chain(self.plain, self.inputs())
        except (ValueError, KeyError, IndexError, TypeError) as error:
            return f"the left side's layer cannot be computed on these inputs: {error}"
        if array.shape != target.shape:
            return f"shapes {array.shape} on the left, {target.shape} on the right"
        if not np.isfinite(target).all():
            bad = int((~np.isfinite(target)).sum())
            return f"{bad} of {target.size} values on the right are no numbers"
        distance = np.abs(array - target)
        place = np.unravel_index(int(np.nanargmax(distance)), distance.shape)
        where = ", ".join(map(str, place))
        count = int((distance > 1e-6 * np.abs(array).max()).sum())
        return (
            f"{count} of {array.size} values differ; most at [{where}]: "
            f"{array[place]:.6g} on the left, {target[place]:.6g} on the right"
        )

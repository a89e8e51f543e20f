"""Why two models differ: the cause of each difference, found and verified.

Every layer is judged by itself: the left side's operation is computed, in float64, on
what the *right* side's layer was really given, and compared with what that gave. So one
difference does not hide the next, and rounding that has gathered on the way does not
count. What differs is explained by the smallest change that reproduces it: first the
differences that can be read off the two models, then the known variants.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from netglot import ops
from netglot.check.compare import relative
from netglot.check.evaluate import Known, Step, compute, known, narrow
from netglot.check.matching import (
    Match,
    converts,
    match,
    other_biases,
    paired_weights,
)
from netglot.check.variants import Variant, variants
from netglot.frontends.reading import Layer, Reading, Relabel
from netglot.ops import Op, Type

#: Relative difference within which float64 values of one layer are the same.
EXACT = 1e-9
#: In float32: this many times the error that float32 makes in that layer on that input,
#: and at least so much.
ROUNDING, LEAST = 8.0, 2e-6
#: softmax of an attention.
NARROW = ("on tensorflow", "on jax")
#: Attributes that an evaluation does not show.
TRAINING = ("momentum", "unbiased", "rate", "forget_bias")
#: Relative difference within which the inputs of a layer that is none of our operations
#: are the same, and over which its outputs differ.
UNREAD = 1e-6
#: What the rounding of a coarser type may leave when it is taken into account.
COARSE = 4e-3
#: So many layers may be one on the other side.
GROUPED = 4
#: More combinations of variants are not tried.
TRIED = 4000


@dataclass(frozen=True)
class Cause:
    """One change that turns the left side's layer into the right side's.

    ``what`` says it in words; ``attribute`` with its values on both sides where it is
    one. ``wanted`` is the operation that the right side would have to have, and what it
    reads; ``layer`` the left side's layer that is meant, ``other`` the right side's.
    """

    what: str
    attribute: str = ""
    left: Any = None
    right: Any = None
    wanted: Op | None = None
    inputs: tuple[Type, ...] = ()
    layer: Layer | None = None
    other: Layer | None = None


@dataclass(frozen=True)
class Finding:
    """A layer that differs.

    ``size`` is the difference of its outputs for equal inputs, ``allowed`` what
    rounding may do there, ``left_over`` what remains when the causes are taken into
    account. Without ``causes`` nothing that is known reproduces it.
    """

    left: Layer | None
    right: Layer | None
    number: int
    of: int
    size: float
    allowed: float
    causes: tuple[Cause, ...] = ()
    left_over: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Compared:
    """All that was found of two recordings of the same weights and inputs.

    ``findings`` are layers that differ, in order; ``hidden`` are differences that this
    run does not show; ``checked`` is how many layers were compared; ``layers`` has each
    one's difference and what is allowed. ``unread`` are layers that are none of our
    operations.
    """

    findings: tuple[Finding, ...]
    hidden: tuple[tuple[Layer, Layer | None, Cause], ...]
    layers: tuple[tuple[str, str, float, float], ...]
    unread: tuple[tuple[str, Layer], ...]
    match: Match
    whole: float

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not self.findings


@dataclass(frozen=True)
class _Edit:
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


def compare(
    left: Reading,
    right: Reading,
    *,
    weights: Mapping[str, np.ndarray] | None = None,
) -> Compared:
    """Compare two readings of models that were given the same.

    ``weights`` are the left side's, canonical (default: those that it was recorded
    with). Raises nothing for models that differ, however much.
    """
    return _Comparison(left, right, weights or left.weights()).compared()


class _Comparison:
    """The work of ``compare``: which values correspond, and each layer in turn."""

    def __init__(
        self, left: Reading, right: Reading, weights: Mapping[str, np.ndarray]
    ) -> None:
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
        self.used: set[tuple[int, str]] = set()
        #: Layers that give the same, by their place on the left.
        self.agreed: set[int] = set()
        self.exact = any(right.recording.dtype(v) == "float64" for v in right.outputs)
        # Weights that are kept may be rounded to float32, each in its own way.
        pairs = paired_weights(left, right, self.match.pairs)
        kept = any(not np.array_equal(weights[a], self.theirs[b]) for a, b in pairs)
        self.held = UNREAD if kept else 0.0
        self.engines = {_engine(reading) for reading in (left, right)}

    def compared(self) -> Compared:
        findings, layers = [], []
        order = sorted(
            (self.made[a], a, b)
            for a, b in (*self.values.items(), *self.ends)
            if a in self.made
        )
        order = [
            (i, a, b)
            for i, a, b in order
            if self.right.recording.seen(b) and self.compared_at_all(i)
        ]
        for number, (i, a, b) in enumerate(order, start=1):
            if self.values.get(a) is None and (a, b) not in self.ends:
                continue
            later = [
                one
                for one in order[number : number + GROUPED]
                if self.computable(one[0])
            ]
            if self.computable(i):
                finding, size, allowed = self.judge(i, a, b, number, len(order), later)
            else:
                finding, size, allowed = self.valued(i, a, b, number, len(order))
            name = self.left.layers[i].name
            j = self.made_right.get(b)
            other = self.right.layers[j].name if j is not None else b
            layers.append((name, other, size, allowed))
            if finding:
                findings.append(finding)
        unread = [("left", a) for a in self.left.layers if a.op is None]
        unread += [("right", b) for b in self.right.layers if b.op is None]
        return Compared(
            tuple(findings),
            tuple(self.hidden()),
            tuple(layers),
            tuple(unread),
            self.match,
            self.whole(),
        )

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
        return _through(steps, current)

    def step(self, layer: Layer) -> Step:
        """A layer with its weights.

        With the right side's where only their sizes differ: those follow from what the
        layer is given, and that is a finding of another layer. Also where they are the
        same but for the rounding of float32, in which weights are kept.
        """
        own = _step(layer, self.weights)
        j = self.partner.get(self.left.layers.index(layer))
        other = self.right.layers[j] if j is not None else None
        if other is None or not own.weights or type(other.op) is not type(layer.op):
            return own
        theirs = _step(other, self.theirs)
        same = other.op == layer.op and own.weights.keys() == theirs.weights.keys()
        if same and _shapes(own) != _shapes(theirs):
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
            if name in theirs.weights and _like(theirs.weights[name], array)
        }
        return dataclasses.replace(own, weights={**own.weights, **near})

    def same_biases(self, layer: Layer, other: Layer) -> bool:
        """Whether two recurrent layers have the same biases in two forms."""
        there = other_biases(layer, other, self.weights)
        back = other_biases(other, layer, self.theirs)
        return any(
            found
            and all(
                _like(held[f"{name}.{n}"], array)
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

    # One layer.

    def computable(self, i: int) -> bool:
        """Whether a layer of the left side can be computed."""
        return self.left.layers[i].op is not None

    def compared_at_all(self, i: int) -> bool:
        """Whether a layer of the left side is compared, be it by its values alone.

        One that only names axes is, where what it names was not seen by itself.
        """
        layer = self.left.layers[i]
        if not isinstance(layer.op, Relabel):
            return True
        (value,) = layer.inputs
        made = self.made.get(value)
        if made is None or self.left.layers[made].op is None:
            return False
        other = self.values.get(value)
        return other is None or not self.right.recording.seen(other)

    def valued(
        self, i: int, a: str, b: str, number: int, total: int
    ) -> tuple[Finding | None, float, float]:
        """A layer that is none of our operations, where both were given the same."""
        layer = self.left.layers[i]
        j = self.made_right.get(b)
        pairs = [(v, self.values.get(v)) for v in layer.inputs]
        limit = UNREAD if self.exact else ROUNDING**2 * LEAST
        if not all(w and self.apart(v, w) <= limit for v, w in pairs):
            return None, 0.0, limit
        size = self.apart(a, b)
        if size <= limit:
            return None, size, limit
        note = f"it is none of netglot's operations ({layer.why})"
        theirs = self.right.layers[j] if j is not None else None
        found = Finding(layer, theirs, number, total, size, limit, note=note)
        return found, size, limit

    def apart(self, a: str, b: str) -> float:
        """How far what both sides have seen of a value is apart."""
        ours, theirs = self.left.value(a), self.right.value(b)
        if ours is None or theirs is None:
            return float("inf")
        return relative(theirs, ours)

    def grouped(self, a: str, later: Sequence[tuple[int, str, str]]) -> bool:
        """Whether both sides do the same in other pieces, as ``x / 2`` and ``x * 0.5``.

        Then the layers up to some later value agree as a whole, and the pieces between
        are no pairs.
        """
        taken = {a: self.values[a]}
        for _, next_a, next_b in later:
            for name in taken:
                self.values.pop(name, None)
            segment = _Segment(self, next_a, next_b)
            inside = {v for layer in segment.chain for v in layer.outputs}
            target = self.right.value(next_b)
            if a in inside and target is not None:
                size, allowed = segment.difference(segment.plain, target)
                if size <= allowed:
                    return True
            if self.left.layers[self.made[next_a]].weights or next_a not in self.values:
                break
            taken[next_a] = next_b
        self.values |= taken
        return False

    def judge(
        self,
        i: int,
        a: str,
        b: str,
        number: int,
        total: int,
        later: Sequence[tuple[int, str, str]],
    ) -> tuple[Finding | None, float, float]:
        layer = self.left.layers[i]
        j = self.made_right.get(b)
        theirs = self.right.layers[j] if j is not None else None
        target = self.right.value(b)
        assert target is not None
        segment = _Segment(self, a, b)
        if segment.spoilt(target):
            # What makes a number of none is a finding; what is given none is not.
            return None, 0.0, EXACT
        size, allowed = segment.difference(segment.plain, target)
        if size <= allowed:
            if len(segment.chain) == len(segment.other) == 1:
                self.agreed.add(i)
            return None, size, allowed
        resized = (
            j is not None and self.left.types[a].shape != self.right.types[b].shape
        )
        loose = not layer.weights or resized
        if loose and a in self.values and self.grouped(a, later):
            return None, 0.0, allowed
        named = (c for c in reversed(segment.chain) if not isinstance(c.op, Relabel))
        layer = next(named, layer)
        finding = Finding(layer, theirs, number, total, size, allowed)
        found = segment.explain(target, allowed)
        if found is None and segment.chain:
            # What stands there may belong to the layer before.
            before = _Segment(self, a, b, segment.chain[0].inputs)
            if len(before.chain) > len(segment.chain):
                found = before.explain(target, allowed)
        if found is None:
            found = segment.given_otherwise(target, allowed)
        if found is not None:
            causes, left_over = found
            for cause in causes:
                if cause.attribute:
                    self.used.add((i, cause.attribute))
            at = causes[0].layer or layer
            k = self.partner.get(self.left.layers.index(at))
            finding = dataclasses.replace(
                finding,
                left=at,
                right=causes[0].other
                or (theirs if k is None else self.right.layers[k]),
                causes=causes,
                left_over=left_over,
            )
        else:
            # What is none of our operations says so; that is not verified.
            why = theirs.why if theirs is not None and theirs.op is None else ""
            unread = (Cause(f"{theirs}: {why}", layer=layer),) if why else ()
            finding = dataclasses.replace(
                finding, causes=unread, note=segment.example(target)
            )
        return finding, size, allowed

    # What this run does not show.

    def hidden(self) -> Iterator[tuple[Layer, Layer | None, Cause]]:
        for i, j in self.match.pairs:
            a, b = self.left.layers[i], self.right.layers[j]
            if a.op is None or b.op is None or a.outputs[0] not in self.values:
                continue
            if isinstance(a.op, Relabel):
                continue
            if _maps(a.op) and _maps(b.op):
                # Where each is one of several they may be the same all together.
                pieces = self.beside(a, b)
                if i in self.agreed and not pieces and _elsewhere(a.op, b.op):
                    words = f"{_name(b)} on the right, {_name(a)} on the left"
                    cause = Cause(words)
                    if type(a.op) is type(b.op):
                        cause, _ = next(_attributes(a.op, b.op))
                    yield a, b, cause
                continue
            if type(a.op) is not type(b.op):
                continue
            for cause, op in _attributes(a.op, b.op):
                if (i, cause.attribute) in self.used:
                    continue
                if isinstance(op, ops.Slice):
                    # Only where sizes are others.
                    continue
                if cause.attribute in TRAINING or self.unseen(a, b, op):
                    yield a, b, cause
        sides = (
            (self.left, self.match.left, "left"),
            (self.right, self.match.right, "right"),
        )
        for reading, only, side in sides:
            for index in only:
                layer = reading.layers[index]
                if isinstance(layer.op, ops.Dropout) and layer.op.rate:
                    words = f"dropout {layer.op.rate:g} on the {side} only"
                    yield layer, None, Cause(words)

    def beside(self, a: Layer, b: Layer) -> bool:
        """Whether a map stands beside one of two that the other side does not have."""
        return any(
            set(layer.inputs) & set(pair.outputs)
            or set(layer.outputs) & set(pair.inputs)
            for reading, only, pair in (
                (self.left, self.match.left, a),
                (self.right, self.match.right, b),
            )
            for layer in (reading.layers[k] for k in only)
            if layer.op is not None and _maps(layer.op)
        )

    def unseen(self, a: Layer, b: Layer, op: Op) -> bool:
        """Whether another attribute changes nothing here.

        Else what it does is taken back elsewhere, as padding by a layer before.
        """
        target = self.right.value(b.outputs[0])
        segment = _Segment(self, a.outputs[0], b.outputs[0])
        place = next((k for k, layer in enumerate(segment.chain) if layer is a), None)
        if target is None or place is None:
            return False
        steps = list(segment.plain)
        # A weight that only the right side has is its own.
        held = {**_step(b, self.theirs).weights, **steps[place].weights}
        steps[place] = dataclasses.replace(steps[place], op=op, weights=held)
        size, allowed = segment.difference(steps, target)
        return size <= allowed


class _Segment:
    """The layers between values that both sides have, up to one such value."""

    def __init__(
        self, whole: _Comparison, a: str, b: str, without: Sequence[str] = ()
    ) -> None:
        """``without``: values from which it does not start, though both have them."""
        self.whole = whole
        left, right = whole.left, whole.right
        self.start, self.end = a, b
        # An output that both sides compute, after which the right one goes on.
        beyond = a in whole.values and whole.values[a] != b
        # What was not seen on the right is computed, and may be where it differs.
        known = {
            ours: theirs
            for ours, theirs in whole.values.items()
            if right.recording.seen(theirs) and ours not in without
        }
        names = set(known)
        self.chain = [] if beyond else self.upstream(left, whole.made, a, names, True)
        shared = set(known.values())
        self.other = self.upstream(right, whole.made_right, b, shared)
        self.plain: tuple[Step, ...] = tuple(map(whole.step, self.chain))

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
        names = names or (self.chain[0].inputs if self.chain else (self.start,))
        return tuple(self.whole.value(v) for v in names)

    def given_otherwise(
        self, target: np.ndarray, allowed: float
    ) -> tuple[tuple[Cause, ...], float] | None:
        """Whether it is right about what the right side gives its first layer.

        Then what makes that is the cause.
        """
        allowed = max(allowed, self.whole.held)
        pairs = [(a, b) for a in self.chain for b in self.other if self.paired(a, b)]
        if not pairs or pairs[0][0] is not self.chain[0]:
            return None
        a, b = pairs[0]
        whole, makers, inputs = self.whole, list[Layer](), list[Known]()
        for ours, theirs in zip(a.inputs, b.inputs, strict=False):
            array = whole.right.value(theirs)
            if array is None or array.ndim != len(whole.left.types[ours].axes):
                return None
            inputs.append(known(whole.left.types[ours].axes, array))
            if whole.values.get(ours) != theirs and theirs in whole.made_right:
                makers.append(whole.right.layers[whole.made_right[theirs]])
        try:
            _, array = _through(self.plain, tuple(inputs))
        except (ValueError, KeyError, IndexError, TypeError):
            return None
        size = relative(target, array.reshape(target.shape))
        if not makers or size > allowed:
            return None
        while any(isinstance(m.op, Relabel) for m in makers):
            before = [m.inputs[0] if isinstance(m.op, Relabel) else "" for m in makers]
            if any(name and name not in whole.made_right for name in before):
                return None
            makers = [
                whole.right.layers[whole.made_right[name]] if name else m
                for m, name in zip(makers, before, strict=True)
            ]
        names = " and ".join(
            f"{_name(m)}{_numbers(m.op) if m.op else ''}" for m in makers
        )
        words = f"what it reads is made by {names} on the right"
        return (Cause(words, layer=a, other=makers[0]),), size

    def difference(
        self, steps: Sequence[Step], target: np.ndarray, reads: tuple[str, ...] = ()
    ) -> tuple[float, float]:
        """How far the steps are from what was seen, and how far they may be.

        ``reads``: of other values than the left side's.
        """
        try:
            inputs = self.inputs(reads)
            _, array = _through(steps, inputs)
        except (ValueError, KeyError, IndexError, TypeError):
            return float("inf"), EXACT
        if array.shape != target.shape and array.size == target.size:
            array = array.reshape(target.shape)
        size = relative(target, array)
        if self.whole.exact:
            return size, self.exactly(steps, inputs, array)
        try:
            _, rough = _through(steps, inputs, np.float32)
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
        if self.whole.engines == {"torch"}:
            return EXACT
        numbers = "tensorflow" in self.whole.engines
        narrowed = [narrow(step, numbers) for step in steps]
        if all(a is b for a, b in zip(steps, narrowed, strict=True)):
            return EXACT
        try:
            _, rough = _through(narrowed, inputs)
        except (ValueError, KeyError, IndexError, TypeError):
            return EXACT
        return max(EXACT, ROUNDING * relative(rough.reshape(array.shape), array))

    def explain(
        self, target: np.ndarray, allowed: float
    ) -> tuple[tuple[Cause, ...], float] | None:
        """The smallest set of changes that gives what was seen."""
        allowed = max(allowed, self.whole.held)
        dropped = self.dropped(target)
        if dropped is not None and dropped[1] <= allowed:
            return dropped
        read, single = list(self.read()), list(self.known())
        for edit in (*read, *single):
            if "rounded" not in edit.cause.what:
                size = self.explained((edit,), target, allowed)
                if size is not None:
                    return (edit.cause,), size
        for edits in itertools.islice(_several(read), TRIED):
            size = self.explained(edits, target, allowed)
            if size is not None:
                causes = (edit.cause for edit in edits)
                return tuple(sorted(causes, key=_follows)), size
        rounded = [
            (self.size_of((edit,), target), edit.cause)
            for edit in single
            if "rounded" in edit.cause.what
        ]
        plain = self.size_of((), target)
        least, cause = min(rounded, key=lambda one: one[0], default=(plain, Cause("")))
        if least <= min(COARSE, plain / 2):
            # How it adds up is not known: no more than what is left can be asked.
            return (cause,), least
        pairs: Iterable[tuple[_Edit, ...]] = itertools.combinations(
            [edit for edit in (*read, *single) if "rounded" not in edit.cause.what], 2
        )
        for edits in itertools.islice(pairs, TRIED):
            if edits[0].place == edits[1].place and self.clash(edits):
                continue
            size = self.explained(edits, target, allowed)
            if size is not None:
                return tuple(edit.cause for edit in edits), size
        return None

    def explained(
        self, edits: Sequence[_Edit], target: np.ndarray, allowed: float
    ) -> float | None:
        """What is left of the difference with some changes; None where too much is."""
        steps = self.edited(edits)
        if steps is None:
            return None
        reads = next((edit.reads for edit in edits if edit.reads), ())
        size, own = self.difference(steps, target, reads)
        return size if size <= max(allowed, own) else None

    def dropped(self, target: np.ndarray) -> tuple[tuple[Cause, ...], float] | None:
        """Whether a dropout is at work on the right, by what it has left over."""
        last = self.other[-1] if self.other else None
        if last is None or not isinstance(last.op, ops.Dropout):
            return None
        rate: Any = last.op.rate
        if not 0 < rate < 1 or not (target == 0).any():
            return None
        try:
            _, array = _through(self.plain, self.inputs())
        except (ValueError, KeyError, IndexError, TypeError):
            return None
        if array.shape != target.shape:
            return None
        kept = np.where(target != 0, array / (1 - rate), 0.0)
        at = self.chain[-1] if self.chain else None
        cause = Cause("dropout is active in evaluation on the right", layer=at)
        return (cause,), relative(target, kept)

    @staticmethod
    def clash(edits: Sequence[_Edit]) -> bool:
        return all(
            edit.steps is not None and not edit.cause.attribute for edit in edits
        )

    def size_of(self, edits: Sequence[_Edit], target: np.ndarray) -> float:
        steps = self.edited(edits)
        if steps is None:
            return float("inf")
        reads = next((edit.reads for edit in edits if edit.reads), ())
        return self.difference(steps, target, reads)[0]

    def edited(self, edits: Sequence[_Edit]) -> list[Step] | None:
        """The steps after some edits; None where two change the same in two ways."""
        whole = [edit.instead for edit in edits if edit.instead]
        if whole:
            return list(whole[0]) if len(edits) == 1 else None
        result: list[Step] = []
        gone = {index for edit in edits for index in edit.gone}
        for index, step in enumerate(self.plain):
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
                        if _shapes(edit.steps[0]) != _shapes(replaced[0]):
                            weights = edit.steps[0].weights
                        new = dataclasses.replace(replaced[0], op=op, weights=weights)
                        replaced = (new,)
                    else:
                        replaced = edit.steps
                else:
                    replaced = edit.steps
            result += [s for edit in mine for s in edit.before]
            result += replaced
        result += [
            s for edit in edits if edit.place == (len(self.plain),) for s in edit.before
        ]
        return result

    # What could be changed.

    def read(self) -> Iterator[_Edit]:
        """Differences that can be read off the two sides' layers."""
        yield from self.wired()
        yield from self.scaled()
        partner = {
            i: j
            for i, a in enumerate(self.chain)
            for j, b in enumerate(self.other)
            if self.paired(a, b)
        }
        ending = self.ending(partner)
        end, last = len(self.chain) - 1, len(self.other) - 1
        loose = end not in partner and last not in partner.values()
        if self.chain and self.other and loose:
            partner[end] = last
        yield from self.replaced(partner)
        for i, a in enumerate(self.chain):
            if i not in partner:
                if not isinstance(a.op, ops.Dropout | Relabel) and a not in ending:
                    cause = self.at(i, Cause(f"{_name(a)} is missing on the right"))
                    reads = self.read_there() if len(a.inputs) > 1 else ()
                    yield _Edit(cause, (i,), (), reads=reads if all(reads) else ())
                continue
            b = self.other[partner[i]]
            if a.op is None or b.op is None:
                continue
            if type(a.op) is type(b.op):
                theirs_held = _step(b, self.whole.theirs)
                resized = _shapes(self.step(i)) != _shapes(theirs_held)
                for cause, op in _attributes(self.step(i).op, b.op):
                    if cause.attribute == "returns" and ending:
                        continue
                    if cause.attribute == "bias" and isinstance(b.op, ops.SimpleRNN):
                        yield self.biased(i, b, cause, op)
                        continue
                    # Weights of another size cannot have been carried over.
                    held = theirs_held if resized else self.step(i)
                    step = dataclasses.replace(held, op=op)
                    yield _Edit(self.at(i, cause), (i,), (step,))
                if a.training != b.training:
                    yield self.trains(i, a, b)
                if len(self.chain) == 1 and isinstance(self.other[0].op, Relabel):
                    yield from self.turned(a, self.other[0].op)
            else:
                words = f"{_name(b)} on the right, {_name(a)} on the left"
                step = _step(b, self.whole.theirs)
                cause = Cause(words, "", type(a.op).__name__, type(b.op).__name__)
                yield _Edit(self.at(i, cause), (i,), (step,))
                if len(self.chain) == 1 < len(self.other):
                    # Its axes have other letters.
                    steps = tuple(_step(c, self.whole.theirs) for c in self.other)
                    if sum(not isinstance(one.op, Relabel) for one in steps) == 1:
                        yield _Edit(self.at(i, cause), (i,), steps)
            yield from self.held(i, a, b)
        inverse = {j: i for i, j in partner.items()}
        for j, b in enumerate(self.other):
            if j in inverse or b.op is None or isinstance(b.op, ops.Dropout | Relabel):
                continue
            if b in ending:
                continue
            later = [inverse[k] for k in range(j + 1, len(self.other)) if k in inverse]
            place = later[0] if later else len(self.chain)
            cause = Cause(f"{_name(b)}{_numbers(b.op)} on the right only", other=b)
            yield _Edit(cause, (place,), None, (_step(b, self.whole.theirs),))

    def turned(self, a: Layer, relabel: Relabel) -> Iterator[_Edit]:
        """Other axes that a layer acts on, as a norm of rows in place of channels."""
        given = self.whole.left.types[a.inputs[0]].axes
        if len(given) != len(relabel.axes):
            return
        others = {
            letter: given[place]
            for letter, place in zip(relabel.axes, relabel.order, strict=True)
            if letter != given[place]
        }
        if not others:
            return
        theirs, ours = ", ".join(others.values()), ", ".join(others)
        words = f"it takes the axes {theirs} on the right for {ours}"
        steps = tuple(_step(c, self.whole.theirs) for c in self.other)
        cause = self.at(0, Cause(words, "", ours, theirs))
        yield _Edit(cause, (0,), None, instead=steps)

    def biased(self, i: int, b: Layer, cause: Cause, op: Op) -> _Edit:
        """The biases that a recurrent layer has on the right; its kernels stay."""
        theirs = _step(b, self.whole.theirs).weights
        held = {n: w for n, w in self.step(i).weights.items() if "bias" not in n}
        held |= {n: w for n, w in theirs.items() if "bias" in n}
        step = dataclasses.replace(self.step(i), op=op, weights=held)
        return _Edit(
            dataclasses.replace(self.at(i, cause), attribute=""), (i,), (step,)
        )

    def ending(self, partner: Mapping[int, int]) -> list[Layer]:
        """What takes the last step of a recurrent layer that itself gives the last one
        on the other side: no difference.
        """
        for i, j in partner.items():
            returns = [
                getattr(layer.op, "returns", "")
                for layer in (self.chain[i], self.other[j])
            ]
            if sorted(returns) != ["last", "sequence"]:
                continue
            longer = self.chain[i:] if returns[0] == "sequence" else self.other[j:]
            after = [c for c in longer[1:3] if not isinstance(c.op, Relabel)]
            if after and after[0].op == ops.Slice("T", -1, None):
                return after[:2]
        return []

    def wired(self) -> Iterator[_Edit]:
        """Other values that the first layer reads on the right."""
        if not self.chain or not self.other:
            return
        a, b = self.chain[0], self.other[0]
        reads = self.read_there()
        if type(a.op) is not type(b.op) or reads == a.inputs or not all(reads):
            return
        ours, theirs = (self.whole.givers(names) for names in (a.inputs, reads))
        words = f"it reads {theirs} on the right, {ours} on the left"
        cause = Cause(words, "", ours, theirs, layer=a)
        yield _Edit(cause, (0,), None, reads=reads)

    def read_there(self) -> tuple[str, ...]:
        """What the right side reads first, by the left side's names; "" for unknown."""
        back = {theirs: ours for ours, theirs in self.whole.values.items()}
        given = self.other[0].inputs if self.other else (self.end,)
        return tuple(back.get(value, "") for value in given)

    def replaced(self, partner: Mapping[int, int]) -> Iterator[_Edit]:
        """Layers that stand in the place of others, as a mean in that of a slice."""
        pairs = [(-1, -1), *sorted(partner.items())]
        pairs.append((len(self.chain), len(self.other)))
        for (i, j), (next_i, next_j) in itertools.pairwise(pairs):
            ours, theirs = self.chain[i + 1 : next_i], self.other[j + 1 : next_j]
            names = [
                " and ".join(_name(layer) for layer in layers if _counts(layer))
                for layers in (ours, theirs)
            ]
            if not all(names) or any(layer.op is None for layer in theirs):
                continue
            cause = Cause(f"{names[1]} on the right, {names[0]} on the left")
            place = next(k for k, a in enumerate(ours, i + 1) if _counts(a))
            yield _Edit(
                self.at(place, cause),
                (i + 1,),
                tuple(_step(layer, self.whole.theirs) for layer in theirs),
                gone=tuple(range(i + 2, next_i)),
            )

    def scaled(self) -> Iterator[_Edit]:
        """Multiplications and additions of numbers, in other pieces: as one."""
        both = [layer.op for layer in (*self.chain, *self.other)]
        if not all(isinstance(op, ops.Scale) for op in both):
            return
        if len(self.chain) == len(self.other) or not self.chain or not self.other:
            return
        ours, theirs = _scale(self.chain), _scale(self.other)
        words = (
            f"factor {theirs.factor:g} and offset {theirs.offset:g} on the right, "
            f"{ours.factor:g} and {ours.offset:g} on the left"
        )
        cause = self.at(len(self.chain) - 1, Cause(words, "", ours, theirs))
        yield _Edit(cause, (), None, instead=(Step(theirs),))

    def at(self, i: int, cause: Cause) -> Cause:
        """A cause with the layer that it is about."""
        layer = self.chain[i]
        types = tuple(self.whole.left.types[v] for v in layer.inputs)
        return dataclasses.replace(cause, wanted=layer.op, inputs=types, layer=layer)

    def step(self, i: int) -> Step:
        return self.plain[i]

    def paired(self, a: Layer, b: Layer) -> bool:
        left, right = self.whole.left.layers, self.whole.right.layers
        i = next(k for k, layer in enumerate(left) if layer is a)
        j = self.whole.partner.get(i)
        return j is not None and right[j] is b

    def trains(self, i: int, a: Layer, b: Layer) -> _Edit:
        state = {True: "in training", False: "in evaluation"}
        words = (
            f"it is {state[b.training]} on the right, {state[a.training]} on the left"
        )
        step = self.step(i)
        if not b.training:
            # A pass in training has moved the left side's running statistics.
            theirs = _step(b, self.whole.theirs).weights
            moved = {n: theirs[n] for n in ("mean", "variance") if n in theirs}
            step = dataclasses.replace(step, weights={**step.weights, **moved})
        return _Edit(
            dataclasses.replace(
                self.at(i, Cause(words, "", a.training, b.training)), wanted=None
            ),
            (i,),
            (dataclasses.replace(step, training=b.training),),
        )

    def held(self, i: int, a: Layer, b: Layer) -> Iterator[_Edit]:
        """The right side's weights, where they are others."""
        ours, theirs = self.step(i).weights, _step(b, self.whole.theirs).weights
        if type(a.op) is not type(b.op):
            return
        for name in sorted(set(ours) & set(theirs)):
            if ours[name].shape != theirs[name].shape:
                continue
            # Both were in one precision or the other.
            if relative(theirs[name], ours[name]) > 1e-6:
                how = _relation(ours[name], theirs[name])
                if isinstance(a.op, ops.LSTM) and name == "bias":
                    how = _forgotten(a.op, ours[name], theirs[name])
                cause = Cause(
                    f"the {name} is another one on the right{how}", layer=self.chain[i]
                )
                yield _Edit(cause, (i,), None, weights={name: theirs[name]})

    def known(self) -> Iterator[_Edit]:
        """The known variants of every operation of the segment."""
        inputs: tuple[Known, ...]
        try:
            inputs = self.inputs()
        except ValueError:
            return
        for i, step in enumerate(self.plain):
            types = tuple(type_ for type_, _ in inputs)
            for variant in variants(step, *types):
                cause = self.at(i, self.cause(i, step, variant))
                yield _Edit(cause, (i,), variant.steps)
            try:
                inputs = (compute(step, *inputs),)
            except (ValueError, KeyError):
                return

    @staticmethod
    def cause(i: int, step: Step, variant: Variant) -> Cause:
        if len(variant.steps) == 1 and type(variant.steps[0].op) is type(step.op):
            found = [c for c, _ in _attributes(step.op, variant.steps[0].op)]
            if len(found) == 1:
                return dataclasses.replace(found[0], attribute="")
        return Cause(f"{variant.what} on the right")

    def example(self, target: np.ndarray) -> str:
        """Where it differs most, for what nothing explains."""
        try:
            _, array = _through(self.plain, self.inputs())
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


def _through(
    steps: Sequence[Step], inputs: tuple[Known, ...], dtype: Any = np.float64
) -> Known:
    current = inputs
    for step in steps:
        current = (compute(step, *current, dtype=dtype),)
    if len(current) != 1:
        raise ValueError("several values are left")
    return current[0]


def _step(layer: Layer, weights: Mapping[str, np.ndarray]) -> Step:
    assert layer.op is not None
    prefix = f"{layer.name}."
    own = {
        source.removeprefix(prefix): weights[source]
        for weight in layer.weights
        for source in weight.sources
        if source in weights
    }
    return Step(layer.op, own, layer.training)


def _shapes(step: Step) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in step.weights.items()}


def _name(layer: Layer) -> str:
    kind = type(layer.op).__name__ if layer.op else layer.kind.rpartition(".")[2]
    return f"{kind} ({layer.name})" if layer.name else kind


def _attributes(a: Op, b: Op) -> Iterator[tuple[Cause, Op]]:
    """Each attribute that differs, and the left operation with the right one's."""
    for field in dataclasses.fields(a):
        ours, theirs = getattr(a, field.name), getattr(b, field.name)
        if ours != theirs:
            words = (
                f"{field.name} {_word(theirs)} on the right, {_word(ours)} on the left"
            )
            op = dataclasses.replace(a, **{field.name: theirs})
            yield Cause(words, field.name, ours, theirs), op


def _counts(layer: Layer) -> bool:
    """Whether it does more than to order numbers in another way."""
    order = ops.Dropout | ops.Reshape | ops.Flatten | Relabel
    return layer.op is not None and not isinstance(layer.op, order)


def _numbers(op: Op) -> str:
    """The numbers of an operation that is only numbers."""
    if not isinstance(op, ops.Scale):
        return ""
    return f", factor {op.factor:g} and offset {op.offset:g},"


def _engine(reading: Reading) -> str:
    """What a side computes with."""
    known = {"pytorch": "torch", "flax": "jax"}
    framework = reading.recording.framework
    return known.get(framework) or reading.recording.version.rpartition(" ")[2]


def _maps(op: Op) -> bool:
    """Whether it maps a value number by number."""
    return isinstance(op, ops.Elementwise)


def _elsewhere(a: Op, b: Op) -> bool:
    """Whether two maps differ on numbers that may not have occurred."""
    if a == b:
        return False
    x = known("NF", np.linspace(-40.0, 40.0, 641)[None])
    (_, ours), (_, theirs) = compute(Step(a), x), compute(Step(b), x)
    fine = np.isfinite(ours) & np.isfinite(theirs)
    return relative(theirs[fine], ours[fine]) > 1e-6


def _scale(layers: Sequence[Layer]) -> ops.Scale:
    """Scales one after the other, as one."""
    factor, offset = 1.0, 0.0
    for layer in layers:
        op: Any = layer.op
        factor, offset = factor * op.factor, offset * op.factor + op.offset
    return ops.Scale(factor, offset)


def _follows(cause: Cause) -> bool:
    """Whether it may be no more than what follows from another cause.

    The padding of ``same`` is another one for another kernel, stride or dilation.
    """
    return cause.attribute == "padding" or cause.what.startswith("Pad (")


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _forgotten(op: ops.LSTM, ours: np.ndarray, theirs: np.ndarray) -> str:
    """Whether the bias of the forget gate alone is another one, by one number."""
    units: Any = op.units
    place = slice(op.gates.index("f") * units, (op.gates.index("f") + 1) * units)
    off = theirs - ours
    more = float(off[place].mean())
    off[place] -= more
    if np.abs(off).max() > 1e-6 * max(1.0, abs(more)):
        return ""
    return f": {more:+.3g} in the forget gate"


def _relation(ours: np.ndarray, theirs: np.ndarray) -> str:
    """How one weight was made from the other, where that can be seen."""
    if ours.ndim == 2 and ours.shape[0] == ours.shape[1] and _like(ours.T, theirs):
        return ": transposed"
    if ours.ndim > 2:
        if _like(np.flip(ours, tuple(range(2, ours.ndim))), theirs):
            return ": flipped"
        if (
            ours.ndim == 4
            and ours.shape[2] == ours.shape[3]
            and _like(np.swapaxes(ours, 2, 3), theirs)
        ):
            return ": height and width swapped"
    for axis in range(ours.ndim):
        a = np.sort(ours.astype(np.float32).sum(tuple(set(range(ours.ndim)) - {axis})))
        b = np.sort(
            theirs.astype(np.float32).sum(tuple(set(range(ours.ndim)) - {axis}))
        )
        if _like(a, b, 1e-4) and not _like(ours, theirs):
            same = np.sort(ours.reshape(-1)), np.sort(theirs.reshape(-1))
            if _like(*same):
                return f": the same numbers in another order along axis {axis}"
    if not theirs.any():
        return ": zeros"
    return ""


def _like(a: np.ndarray, b: np.ndarray, limit: float = 1e-6) -> bool:
    return a.shape == b.shape and relative(a, b) < limit


def _several(edits: Sequence[_Edit]) -> Iterator[tuple[_Edit, ...]]:
    """Two and three at a time, then all."""
    for count in range(2, min(3, len(edits)) + 1):
        yield from itertools.combinations(edits, count)
    if len(edits) > 3:
        yield tuple(edits)


__all__ = ["Cause", "Compared", "Finding", "compare", "paired_weights"]

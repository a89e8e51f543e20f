"""From recorded calls to operations, whatever the framework.

A frontend says what each call is (``Said``); here the axes of every value are found
out, weights get their layouts, and what a value is in canonical order. Axes are letters
also where nobody wrote any: a convolution says what its input is, and values that are
linked (an activation, a transposition) follow.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from netglot import axes, weights
from netglot.backend import ProgramWeight, Weight
from netglot.frontends.recording import Call, Recording
from netglot.ops import Flatten, Op, ShapeError, Type

#: Canonical order of letters.
_ORDER = "NPQRSCDHWTF"


@dataclass(frozen=True)
class Relabel(Op):
    """The same numbers with other letters: ``order`` permutes canonical axes."""

    order: tuple[int, ...]
    axes: str

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """The shape permuted."""
        (x,) = inputs
        shape = tuple(x.shape[i] for i in self.order)
        return (Type(self.axes, shape, x.dtype),)


@dataclass(frozen=True)
class Said:
    """What a call is: operations one after the other, and how its values are laid out.

    ``inputs`` are the values that the first operation reads, ``axes`` their letters in
    the framework's order (``None``: as they are). ``out`` are the letters of the
    output (``None``: those of the first input, link and all). ``weights`` says where
    the weights of each operation are, by the index of the operation; their paths are
    whole paths in the model. ``output`` is the index of the call's output. ``call`` is
    the call that it really is, where that is another one. ``more``: values that an
    operation reads besides the result before it, by its index. ``merged``: the letters
    that it flattens, in the order in which it does so where that is not theirs.
    """

    ops: tuple[Op, ...]
    inputs: tuple[str, ...]
    axes: tuple[str | None, ...] = ()
    out: str | None = None
    weights: Mapping[int, tuple[Weight, ...]] = field(default_factory=dict)
    output: int = 0
    call: Call | None = None
    more: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    merged: str = ""


@dataclass(frozen=True)
class Layout:
    """A call that only moves axes: ``order`` as of ``transpose``; None: no change."""

    value: str
    order: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Unknown:
    """A call that is none of our operations, and why."""

    why: str


Reader = Callable[["Site"], Any]


@dataclass(frozen=True)
class Frontend:
    """How a framework's calls are read.

    ``readers``: full name of the layer or function -> what it is (``Said``, a tuple of
    them, ``Layout`` or ``Unknown``). ``storage``: canonical letters -> those of the
    framework. ``final`` reads the call of a recurrent layer as one that gives its last
    state alone, for frameworks that give both.
    """

    name: str
    title: str
    readers: Mapping[str, Reader]
    storage: Callable[[str], str]
    final: Reader | None = None


@dataclass(frozen=True)
class Layer:
    """One operation that was seen in a model.

    ``op`` is None where it is none of ours: ``why`` says so, and its values are only
    compared. ``inputs`` and ``outputs`` name values. ``weights`` are the model's
    arrays, their sources named ``NAME.kernel``.
    """

    name: str
    op: Op | None
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    kind: str
    weights: tuple[ProgramWeight, ...] = ()
    training: bool = False
    source: str = ""
    made: str = ""
    why: str = ""

    def __str__(self) -> str:
        """As in ``norm2 (BatchNorm2d)``."""
        short = self.kind.rpartition(".")[2]
        return f"{self.name} ({short})" if self.name else short


@dataclass(frozen=True)
class Reading:
    """A model as operations, over the values of a recording."""

    recording: Recording
    frontend: Frontend
    layers: tuple[Layer, ...]
    native: Mapping[str, str]
    types: Mapping[str, Type]
    merged: Mapping[str, str]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the values from outside."""
        return self.recording.inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the model's results."""
        return self.recording.outputs

    def value(self, name: str) -> np.ndarray | None:
        """A value in canonical axes; None where it was not seen."""
        if not self.recording.seen(name):
            return None
        array, type_ = self.recording.array(name), self.types[name]
        array = axes.transpose(array, self.native[name], type_.axes)
        if type_.merged and name in self.merged:
            sizes: Any = dict(type_.merged)
            given = tuple((a, sizes[a]) for a in self.merged[name])
            order = "".join(a for a, _ in type_.merged)
            array = weights.unmerge(array, array.ndim - 1, given, order)
        return array

    def weights(
        self, arrays: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, np.ndarray]:
        """The weights (or gradients) in canonical layouts, as ``NAME.kernel``."""
        own = self.recording.weights() if arrays is None else arrays
        return weights.take_in(
            [w for layer in self.layers for w in layer.weights if w.path in own], own
        )

    def lay_out(self, canonical: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Canonical weights as the model has them, by its own paths."""
        found = [
            w
            for layer in self.layers
            for w in layer.weights
            if all(source in canonical for source in w.sources)
        ]
        return weights.lay_out(found, canonical)


@dataclass
class Site:
    """A call at the place where it is read; what readers ask."""

    call: Call
    state: _State

    def argument(self, index: int, name: str, default: Any = None) -> Any:
        """An argument by position or name; values and weights as encoded."""
        if index < len(self.call.positional):
            return self.call.positional[index]
        return self.call.keyword.get(name, default)

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute of the layer."""
        return self.call.attributes.get(name, default)

    def value(self, index: int = 0, name: str = "input") -> str:
        """The name of a value that is an argument; raises ``LookupError``."""
        item = self.argument(index, name)
        if not isinstance(item, dict) or "value" not in item:
            raise LookupError(f"argument {index} ({name}) is no value: {item!r}")
        return str(item["value"])

    def values(self) -> list[str]:
        """All values among the arguments, in order."""
        return list(_values_in([list(self.call.positional), dict(self.call.keyword)]))

    def rank(self, value: str) -> int:
        """Number of axes."""
        return len(self.state.recording.shape(value))

    def shape(self, value: str) -> tuple[int, ...]:
        """Sizes, in the framework's order."""
        return self.state.recording.shape(value)

    def letters(self, value: str) -> str | None:
        """The letters of a value in the framework's order, as far as known."""
        return self.state.native.get(value)

    def letter(self, value: str, axis: int) -> str | None:
        """The letter of an axis by number (negative from the end)."""
        found = self.letters(value)
        return found[axis] if found else None

    def weight(self, name: str) -> str | None:
        """The model's path of a layer's weight; None where the layer has none."""
        return self.call.weights.get(name)

    def final(self, value: str) -> Any:
        """What the last state of a recurrent layer is, of which this takes a part."""
        call = next(c for c in self.state.recording.calls if value in c.outputs)
        if self.state.frontend.final is None:
            raise LookupError("no final state is known")
        said = self.state.frontend.final(Site(call, self.state))
        return dataclasses.replace(said, call=call) if isinstance(said, Said) else said

    def image(self, value: str) -> str:
        """The framework's letters of an image with as many axes as the value."""
        return self.state.frontend.storage("NC" + axes.SPATIAL[self.rank(value) - 2])


def _values_in(item: Any) -> Sequence[str]:
    if isinstance(item, dict):
        if "value" in item and isinstance(item["value"], str):
            return [item["value"]]
        return [found for part in item.values() for found in _values_in(part)]
    if isinstance(item, list | tuple):
        return [found for part in item for found in _values_in(part)]
    return []


@dataclass
class _State:
    """What is known of the values while calls are read."""

    frontend: Frontend
    recording: Recording
    native: dict[str, str] = field(default_factory=dict)
    changed: bool = False

    def learn(self, value: str, letters: str) -> None:
        """The first that says what a value is has it."""
        if value not in self.native and len(letters) == len(
            self.recording.shape(value)
        ):
            self.native[value] = letters
            self.changed = True

    @functools.cached_property
    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the model's weights by path."""
        return {path: a.shape for path, a in self.recording.weights().items()}

    def default(self, value: str) -> str:
        """What a value is when nobody says it: by its number of axes."""
        shape, dtype = self.recording.shape(value), self.recording.dtype(value)
        if len(shape) == 2:
            return "NT" if dtype.startswith(("int", "uint")) else "NF"
        if len(shape) in (4, 5):
            return self.frontend.storage("NC" + axes.SPATIAL[len(shape) - 2])
        return {0: "", 1: "N", 3: "NTF"}.get(len(shape), "NPQRSCDHWTF"[: len(shape)])


def read_with(frontend: Frontend, recording: Recording) -> Reading:
    """Read a recording; what is not understood becomes a layer without operation."""
    state = _State(frontend, recording)
    _settle(state)
    for value in recording.inputs:
        state.learn(value, state.default(value))
    _settle(state)
    for value in recording.values:
        # The first that nobody knows; others may follow from it.
        if value not in state.native:
            state.learn(value, state.default(value))
            _settle(state)
    return _Assembly(state).reading()


def _said(site: Site) -> Any:
    """What the frontend says of a call; its lack of words as ``Unknown``."""
    reader = site.state.frontend.readers.get(site.call.kind)
    if reader is None:
        return Unknown(f"{site.call.kind} is not known")
    try:
        return reader(site)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        return Unknown(f"{site.call.kind}: {error}")


def _settle(state: _State) -> None:
    """Letters spread along the calls, both ways, until nothing changes."""
    state.changed = True
    while state.changed:
        state.changed = False
        for call in state.recording.calls:
            said = _said(Site(call, state))
            if isinstance(said, Layout):
                _spread_layout(state, said, call)
            for item in said if isinstance(said, tuple) else (said,):
                if isinstance(item, Said):
                    _spread(state, item, call)


def _spread_layout(state: _State, said: Layout, call: Call) -> None:
    output = call.outputs[0]
    known = state.native.get(said.value)
    order = said.order or tuple(range(len(state.recording.shape(output))))
    if known:
        state.learn(output, "".join(known[i] for i in order))
    elif output in state.native:
        back = [""] * len(order)
        for place, letter in zip(order, state.native[output], strict=True):
            back[place] = letter
        state.learn(said.value, "".join(back))


def _spread(state: _State, said: Said, call: Call) -> None:
    given = said.axes or (None,) * len(said.inputs)
    for value, letters in zip(said.inputs, given, strict=True):
        if letters:
            state.learn(value, letters)
    output = call.outputs[said.output]
    if said.out is not None:
        state.learn(output, said.out)
        return
    rank = len(state.recording.shape(output))
    like = [v for v in said.inputs if len(state.recording.shape(v)) == rank]
    for value in like:
        if value in state.native:
            state.learn(output, state.native[value])
        elif output in state.native:
            state.learn(value, state.native[output])


class _Assembly:
    """Layers with types and weights, once all letters are known."""

    def __init__(self, state: _State) -> None:
        self.state, self.recording = state, state.recording
        self.layers: list[Layer] = []
        self.types: dict[str, Type] = {}
        self.native = dict(state.native)
        #: The order in which a flattened axis was merged.
        self.orders: dict[str, str] = {}
        #: How often a name was given.
        self.names: dict[str, int] = {}
        #: Values that somebody reads.
        self.wanted = set(self.recording.outputs).union(
            *(Site(call, state).values() for call in self.recording.calls)
        )

    def reading(self) -> Reading:
        for value in self.recording.values:
            if value in self.native:
                self.types[value] = self.type_of(value, self.native[value])
        for call in self.recording.calls:
            self.add(call)
        return Reading(
            self.recording,
            self.state.frontend,
            tuple(self.used()),
            self.native,
            self.types,
            self.orders,
        )

    def used(self) -> list[Layer]:
        """The layers that an output depends on."""
        wanted, kept = set(self.recording.outputs), []
        for layer in reversed(self.layers):
            if wanted & set(layer.outputs):
                kept.append(layer)
                wanted |= set(layer.inputs)
        return kept[::-1]

    def type_of(self, value: str, letters: str) -> Type:
        canonical = "".join(sorted(letters, key=_ORDER.index))
        shape = self.recording.shape(value)
        sizes = dict(zip(letters, shape, strict=True))
        dtype = self.recording.dtype(value)
        dtype = "int64" if dtype.startswith(("int", "uint", "bool")) else "float32"
        return Type(canonical, tuple(sizes[a] for a in canonical), dtype)

    def add(self, call: Call) -> None:
        site = Site(call, self.state)
        said = _said(site)
        if isinstance(said, Layout):
            self.layout(call, said)
            return
        items = said if isinstance(said, tuple) else (said,)
        for item in items:
            if isinstance(item, Said) and call.outputs[item.output] in self.wanted:
                self.said(call, item)
            elif isinstance(item, Unknown):
                inputs = tuple(dict.fromkeys(site.values()))
                self.append(call, None, inputs, call.outputs, why=item.why)

    def layout(self, call: Call, said: Layout) -> None:
        """Axes moved: nothing in canonical order, unless the letters do not follow."""
        source, output = said.value, call.outputs[0]
        order = said.order or tuple(range(len(self.native[output])))
        moved = "".join(self.native[source][i] for i in order)
        if source in self.orders:
            self.orders[output] = self.orders[source]
            self.types[output] = self.types[source]
        if moved == self.native[output]:
            op = Relabel(tuple(range(len(order))), self.types[output].axes)
        else:
            op = self.relabel(self.types[source], moved, self.native[output])
        self.append(call, op, (source,), (output,))

    @staticmethod
    def relabel(source: Type, before: str, after: str) -> Relabel:
        """The canonical permutation where the same axes have other letters."""
        names = dict(zip(before, after, strict=True))
        renamed = [names[a] for a in source.axes]
        target = "".join(sorted(after, key=_ORDER.index))
        return Relabel(tuple(renamed.index(a) for a in target), target)

    def said(self, call: Call, said: Said) -> None:
        given = said.axes or (None,) * len(said.inputs)
        first = given[0] or self.native[said.inputs[0]]
        inputs: list[str] = []
        for value, letters in zip(said.inputs, given, strict=True):
            if letters and letters != self.native[value]:
                value = self.dressed(call, value, letters)
            elif not letters:
                value = self.alike(call, value, first)
            inputs.append(value)
        output, named = call.outputs[said.output], said.call or call
        chain = said.ops
        written = said.out or first
        if len(written) == len(self.native[output]) and written != self.native[output]:
            # Who reads the output says that it has other letters.
            source = self.type_of(output, written)
            chain = (*chain, self.relabel(source, written, self.native[output]))
        # What lies between operations of one call was not seen.
        steps = [f"{output}~{i}" for i in range(1, len(chain))] + [output]
        read = tuple(inputs)
        for number, (op, result) in enumerate(zip(chain, steps, strict=True)):
            types = tuple(self.types[v] for v in read)
            try:
                (found, *_) = op.infer(*types)
            except (ShapeError, ValueError, TypeError) as error:
                self.append(named, None, read, (output,), why=f"{call.kind}: {error}")
                return
            if result != output:
                self.types[result], self.native[result] = found, found.axes
            elif found.shape != self.types[output].shape:
                why = (
                    f"{call.kind}: its shape {self.types[output].shape} is not "
                    f"{found.shape}, that of {type(op).__name__}"
                )
                self.append(named, None, read, (output,), why=why)
                return
            self.follow_merged(op, read, result, found, said.merged)
            listed = said.weights.get(number, ())
            self.append(named, op, read, (result,), listed=listed)
            more = said.more.get(number + 1, ())
            read = (result, *(self.alike(call, v, first) for v in more))

    def alike(self, call: Call, value: str, letters: str) -> str:
        """A value with the letters of a call's first one, if it has as many."""
        if len(self.native[value]) != len(letters) or self.native[value] == letters:
            return value
        return self.dressed(call, value, letters)

    def dressed(self, call: Call, value: str, letters: str) -> str:
        """A value read with other letters than it was written with."""
        name = f"{value}@{letters}"
        if name not in self.types:
            op = self.relabel(self.types[value], self.native[value], letters)
            (self.types[name],) = op.infer(self.types[value])
            self.native[name] = self.types[name].axes
            self.append(call, op, (value,), (name,))
        return name

    def follow_merged(
        self, op: Op, read: Sequence[str], result: str, found: Type, merged: str = ""
    ) -> None:
        """How a flattened axis was merged goes along with it."""
        if isinstance(op, Flatten):
            native = merged or self.native[read[0]]
            self.orders[result] = "".join(a for a in native if a != "N")
            self.types[result] = dataclasses.replace(
                self.types[result], merged=found.merged
            )
            return
        source = next((v for v in read if self.types[v].merged), None)
        if source and found.axes == self.types[source].axes:
            if found.size("F") != self.types[source].size("F"):
                return
            if op.elementwise or not op.weights(*(self.types[v] for v in read)):
                self.types[result] = dataclasses.replace(
                    self.types[result], merged=self.types[source].merged
                )
                self.orders[result] = self.orders[source]

    def append(
        self,
        call: Call,
        op: Op | None,
        inputs: Sequence[str],
        outputs: Sequence[str],
        why: str = "",
        listed: Sequence[Weight] = (),
    ) -> None:
        base = call.path or call.kind.rpartition(".")[2]
        if not call.weights and not call.attributes:
            # A function: named by what it does, below where it stands.
            short = call.kind.rpartition(".")[2].strip("_")
            base = f"{call.path}.{short}" if call.path else short
        count = self.names[base] = self.names.get(base, 0) + 1
        name = base if count == 1 else f"{base}_{count}"
        held: tuple[ProgramWeight, ...] = ()
        if op is not None and listed:
            held = tuple(self.weight(name, op, weight, inputs) for weight in listed)
        self.layers.append(
            Layer(
                name,
                op,
                tuple(inputs),
                tuple(outputs),
                call.kind,
                held,
                call.training,
                call.source,
                call.made,
                why,
            )
        )

    def weight(
        self, name: str, op: Op, weight: Weight, inputs: Sequence[str]
    ) -> ProgramWeight:
        """The model's array as a place for canonical weights."""
        types = (self.types[value] for value in inputs)
        source = op.weights(*types)[weight.sources[0]]
        gates = (source.gates, weight.gates or source.gates)
        merged: dict[str, Any] = {}
        order = self.orders.get(inputs[0], "")
        for letter, parts in source.merged.items():
            if order and order != "".join(a for a, _ in parts):
                merged[letter] = (parts, order)
        return ProgramWeight(
            weight.path,
            weight.axes,
            (),
            tuple(f"{name}.{s}" for s in weight.sources),
            source.axes,
            source.trained,
            gates,
            weight.join,
            merged,
            weight.split,
            weight.flip,
        )

"""The network: nodes in order, blocks that are used many times, building and saving."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netglot.errors import UserError, unknown
from netglot.ops import OPERATIONS, Op, ShapeError, Split, Type, WeightType
from netglot.symbols import Size, Symbol


@dataclass(frozen=True)
class Node:
    """One use of an operation: ``inputs`` and ``outputs`` are names of values.

    ``source`` says where it came from ("line 12 of net.prototxt"), for messages.
    """

    name: str
    op: Op
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    source: str = ""

    def __str__(self) -> str:
        """As in ``Conv (node conv1, from line 12 of net.prototxt)``."""
        origin = f", from {self.source}" if self.source else ""
        return f"{type(self.op).__name__} (node {self.name}{origin})"


@dataclass(frozen=True)
class Block:
    """A named sub-graph with parameters: the class or function of a network.

    Operations inside may hold ``Symbol`` expressions over ``parameters``.
    """

    name: str
    parameters: tuple[str, ...]
    inputs: tuple[tuple[str, Type], ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Call(Op):
    """The use of a block, with a size for each of its parameters."""

    block: Block
    arguments: tuple[tuple[str, Size], ...] = ()

    def resolve(self, arguments: Mapping[str, Size]) -> Op:
        """The arguments may themselves be expressions of an enclosing block."""
        values = tuple(
            (name, size.value(arguments) if isinstance(size, Symbol) else size)
            for name, size in self.arguments
        )
        return dataclasses.replace(self, arguments=values)

    def expand(
        self, inputs: tuple[str, ...], path: str
    ) -> tuple[list[Node], list[str]]:
        """The nodes inside, named under ``path``, and the names of the outputs."""
        values = dict(zip((name for name, _ in self.block.inputs), inputs, strict=True))
        nodes = []
        for node in self.block.nodes:
            outputs = {name: f"{path}.{name}" for name in node.outputs}
            nodes.append(
                Node(
                    f"{path}.{node.name}",
                    node.op.resolve(dict(self.arguments)),
                    tuple(values[name] for name in node.inputs),
                    tuple(outputs.values()),
                    node.source,
                )
            )
            values |= outputs
        return nodes, [values[name] for name in self.block.outputs]

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """Types of the block's outputs for these inputs."""
        names = tuple(f"input {i}" for i in range(len(inputs)))
        nodes, outputs = self.expand(names, "call")
        types = infer_nodes(nodes, dict(zip(names, inputs, strict=True)))
        return tuple(types[name] for name in outputs)


@dataclass(frozen=True)
class Repeat(Call):
    """A block used ``times`` times, each reading what the one before it wrote."""

    times: int = 1

    def expand(
        self, inputs: tuple[str, ...], path: str
    ) -> tuple[list[Node], list[str]]:
        """As ``Call``, the uses numbered from 0: ``path.0``, ``path.1``."""
        nodes: list[Node] = []
        values = list(inputs)
        for index in range(self.times):
            inside, values = super().expand(tuple(values), f"{path}.{index}")
            nodes += inside
        return nodes, values


def infer_nodes(nodes: Iterable[Node], types: Mapping[str, Type]) -> dict[str, Type]:
    """Type of every value; raises ``ShapeError`` naming the node that does not fit."""
    result = dict(types)
    for node in nodes:
        try:
            outputs = node.op.infer(*(result[name] for name in node.inputs))
        except ShapeError as error:
            given = "; ".join(str(result[name]) for name in node.inputs)
            raise ShapeError(f"{node} with input {given}: {error}") from None
        except (TypeError, ValueError) as error:
            raise ShapeError(
                f"{node} is given {len(node.inputs)} inputs that do not fit: {error}"
            ) from error
        result |= zip(node.outputs, outputs, strict=True)
    return result


@dataclass(frozen=True)
class Graph:
    """A network: inputs with their types, nodes in order of computation, outputs."""

    name: str
    inputs: tuple[tuple[str, Type], ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]

    def types(self) -> dict[str, Type]:
        """Type of every value of the graph itself (not inside its blocks)."""
        return infer_nodes(self.nodes, dict(self.inputs))

    def blocks(self) -> list[Block]:
        """Every block that is used, inner ones before those that use them."""
        return _blocks(self.nodes)

    def flat(self) -> Graph:
        """The same network with every block expanded; names joined by dots."""
        nodes: list[Node] = []
        outputs = list(self.outputs)
        for node in self.nodes:
            nodes += _expand(node)
        return Graph(self.name, self.inputs, tuple(nodes), tuple(outputs))

    def weights(self) -> dict[str, WeightType]:
        """Every weight by path (``layer1.0.conv1.kernel``), in order of computation."""
        flat = self.flat()
        types = flat.types()
        return {
            f"{node.name}.{name}": weight
            for node in flat.nodes
            for name, weight in node.op.weights(
                *(types[value] for value in node.inputs)
            ).items()
        }

    def map_ops(self, change: Any) -> Graph:
        """The same graph with ``change(op)`` in place of every operation."""
        nodes = tuple(_map_node(node, change) for node in self.nodes)
        return dataclasses.replace(self, nodes=nodes)

    def save(self, path: Path) -> None:
        """Write the graph as JSON."""
        path.write_text(json.dumps(to_json(self), indent=1) + "\n")

    @staticmethod
    def load(path: Path) -> Graph:
        """Read what ``save`` wrote; raises ``UserError`` where it is not that."""
        try:
            graph = from_json(json.loads(path.read_text()))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path} is not a saved netglot graph: {error!r}"
            ) from error
        if not isinstance(graph, Graph):
            raise UserError(f"{path} holds a {type(graph).__name__}, not a Graph")
        return graph


def _blocks(nodes: Iterable[Node]) -> list[Block]:
    found: dict[str, Block] = {}
    for node in nodes:
        if isinstance(node.op, Call):
            for block in (*_blocks(node.op.block.nodes), node.op.block):
                if found.setdefault(block.name, block) != block:
                    raise UserError(f"two different blocks have the name {block.name}")
    return list(found.values())


def _expand(node: Node) -> Iterator[Node]:
    if not isinstance(node.op, Call):
        yield node
        return
    nodes, outputs = node.op.expand(node.inputs, node.name)
    # The outputs of the call keep their own names, by which others read them.
    names = dict(zip(outputs, node.outputs, strict=True))
    for inside in nodes:
        yield from _expand(
            dataclasses.replace(
                inside,
                inputs=tuple(names.get(name, name) for name in inside.inputs),
                outputs=tuple(names.get(name, name) for name in inside.outputs),
            )
        )


def _map_node(node: Node, change: Any) -> Node:
    op = node.op
    if isinstance(op, Call):
        inside = tuple(_map_node(inner, change) for inner in op.block.nodes)
        block = dataclasses.replace(op.block, nodes=inside)
        return dataclasses.replace(node, op=dataclasses.replace(op, block=block))
    return dataclasses.replace(node, op=change(op))


# --- Building -------------------------------------------------------------------------


@dataclass(frozen=True)
class Value:
    """A value while a network is being built; ``type`` is what is known of it."""

    name: str
    type: Type


@dataclass
class Builder:
    """Writes a network down, node by node, checking each as it comes.

    >>> net = Builder("tiny")
    >>> x = net.input("image", "NCHW", (1, 28, 28))
    >>> x = net.add(Conv(8, (3, 3)), x, name="conv1")
    >>> x = net.add(Relu(), x, name="relu1")
    >>> graph = net.graph(x)
    """

    name: str
    parameters: tuple[str, ...] = ()
    _inputs: list[tuple[str, Type]] = field(default_factory=list)
    _nodes: list[Node] = field(default_factory=list)
    _types: dict[str, Type] = field(default_factory=dict)

    def parameter(self, name: str) -> Symbol:
        """A size that each use of the block gives: makes this network a block."""
        self.parameters = (*self.parameters, name)
        return Symbol(name)

    def input(
        self,
        name: str,
        axes: str,
        shape: tuple[Size | None, ...],
        dtype: str = "float32",
    ) -> Value:
        """A value from outside; ``shape`` is without the batch ``N``."""
        type_ = Type(axes, (None, *shape), dtype)
        self._inputs.append((name, type_))
        self._types[name] = type_
        return Value(name, type_)

    def add(
        self, op: Op, *inputs: Value, name: str | None = None, source: str = ""
    ) -> Any:
        """Apply an operation: its value, or a tuple where it has several outputs."""
        if name is None:
            kind = type(op).__name__.lower()
            taken = {node.name for node in self._nodes} | set(self._types)
            count = sum(node.name.startswith(kind) for node in self._nodes)
            while f"{kind}{count + 1}" in taken:
                count += 1
            name = f"{kind}{count + 1}"
        if any(node.name == name for node in self._nodes) or name in self._types:
            raise UserError(f"{self.name}: the name {name!r} is used twice")
        for value in inputs:
            if not isinstance(value, Value) or value.name not in self._types:
                raise UserError(
                    f"{self.name}: {value!r} is not a value of this network"
                )
        node = Node(name, op, tuple(v.name for v in inputs), (), source)
        names = tuple(value.name for value in inputs)
        count = len(op.sizes) if isinstance(op, Split) else 1
        if isinstance(op, Call):
            count = len(op.block.outputs)
        outputs = (name,) if count == 1 else tuple(f"{name}_{i}" for i in range(count))
        node = dataclasses.replace(node, inputs=names, outputs=outputs)
        try:
            self._types = infer_nodes([node], self._types)
        except ShapeError as error:
            raise ShapeError(f"{self.name}: {error}") from None
        self._nodes.append(node)
        values = tuple(Value(output, self._types[output]) for output in outputs)
        return values[0] if count == 1 else values

    def call(
        self, block: Block, *inputs: Value, name: str, times: int = 0, **sizes: Size
    ) -> Any:
        """Use a block, once, or ``times`` times in a row."""
        missing = [p for p in block.parameters if p not in sizes]
        for extra in sizes:
            if extra not in block.parameters:
                raise unknown(
                    f"parameter of block {block.name}", extra, block.parameters
                )
        if missing:
            raise UserError(f"block {block.name} needs a size for {', '.join(missing)}")
        arguments = tuple((p, sizes[p]) for p in block.parameters)
        op = Repeat(block, arguments, times) if times else Call(block, arguments)
        return self.add(op, *inputs, name=name)

    def graph(self, *outputs: Value) -> Graph:
        """The finished network."""
        names = tuple(value.name for value in outputs)
        return Graph(self.name, tuple(self._inputs), tuple(self._nodes), names)

    def block(self, *outputs: Value) -> Block:
        """The finished network as a block."""
        names = tuple(value.name for value in outputs)
        distinct = {*names, *(name for name, _ in self._inputs)}
        if len(distinct) < len(names) + len(self._inputs):
            raise UserError(
                f"{self.name}: a block gives every output a value of its own, not one "
                "of its inputs, and not one value twice"
            )
        return Block(
            self.name, self.parameters, tuple(self._inputs), tuple(self._nodes), names
        )


# --- Saving ---------------------------------------------------------------------------

_CLASSES: dict[str, type] = {
    **OPERATIONS,
    **{c.__name__: c for c in (Type, Node, Block, Graph, Call, Repeat, Symbol)},
}


def to_json(value: Any) -> Any:
    """Dataclasses of this file and ``ops.py`` as JSON objects, tuples as lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = {
            f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)
        }
        return {"is": type(value).__name__, **items}
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    return value


def from_json(value: Any) -> Any:
    """What ``to_json`` wrote; raises ``UserError`` for an unknown operation."""
    if isinstance(value, list):
        return tuple(from_json(item) for item in value)
    if isinstance(value, dict):
        items = {key: from_json(item) for key, item in value.items() if key != "is"}
        if value["is"] not in _CLASSES:
            raise unknown("operation", value["is"], _CLASSES)
        return _CLASSES[value["is"]](**items)
    return value

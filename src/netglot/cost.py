"""Parameters, FLOPs, bytes and live memory of a graph, from its shapes alone.

What counts as a FLOP: every addition, multiplication, comparison or elementary function
(exp, log, root, tanh, sigmoid, erf) of one number is one, so that a multiply-add is
two, as in Golub and Van Loan, "Matrix Computations", 2013, chapter 1. Papers on
networks often count multiply-adds instead: half of this. The formula of each operation
stands in ``FLOPS``; it counts the operation as its docstring in ``ops.py`` writes it,
in evaluation.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from netglot import ops, recipe
from netglot.errors import UserError
from netglot.graph import Call, Graph, Node, Repeat, infer_nodes
from netglot.ops import Op, Type

_WEIGHT_BYTES = np.dtype("float32").itemsize

#: What only looks at its input in another way, and moves nothing.
_VIEWS = (ops.Flatten, ops.Reshape)


@dataclass(frozen=True)
class Row:
    """One node, or one block with all that is in it, for a batch.

    ``level`` is the depth of nesting in blocks; ``operation`` the name of the operation
    or block. ``parameters`` are trained numbers, ``statistics`` the running ones of
    batch norms. ``training_flops`` are those of the forward and the backward pass.
    ``bytes_read`` and ``bytes_written`` are those of the forward pass, every input and
    weight read once and every output written once.
    """

    name: str
    level: int
    operation: str
    outputs: tuple[Type, ...]
    parameters: int
    statistics: int
    flops: int
    training_flops: int
    bytes_read: int
    bytes_written: int


@dataclass(frozen=True)
class Memory:
    """Bytes that are alive.

    ``inference_values``: the most that is alive at one node, when nodes run in order
    and a value is dropped after its last reader. ``training_values``: every value, all
    kept for the backward pass. Values made by flattening share their input's memory, as
    do those of dropout in inference; frameworks that write in place need less, those
    that unfold convolutions more. ``optimizer`` is its state beside weights and
    gradients.
    """

    weights: int
    gradients: int
    optimizer: int
    inference_values: int
    training_values: int

    @property
    def inference(self) -> int:
        """All that is alive at the peak of a forward pass."""
        return self.weights + self.inference_values

    @property
    def training(self) -> int:
        """All that is alive when the backward pass begins, and the gradients."""
        fixed = self.weights + self.gradients + self.optimizer
        return fixed + self.training_values


@dataclass(frozen=True)
class Summary:
    """A graph's costs for a batch: a row per node and block, totals, memory."""

    name: str
    batch: int
    rows: tuple[Row, ...]
    parameters: int
    statistics: int
    flops: int
    training_flops: int
    bytes_read: int
    bytes_written: int
    memory: Memory


# --- FLOPs ----------------------------------------------------------------------------

Types = tuple[Type, ...]


def _elements(type_: Type) -> int:
    return math.prod(type_.shape)  # type: ignore[arg-type]


def _bytes(type_: Type) -> int:
    return _elements(type_) * np.dtype(type_.dtype).itemsize


def _dense(op: ops.Dense, x: Types, y: Types) -> int:
    """A multiply-add per weight, and the bias."""
    return _elements(y[0]) * (2 * x[0].size("F") + op.bias)


def _conv(op: ops.Conv, x: Types, y: Types) -> int:
    """Per output a multiply-add for each weight of its kernel, and the bias."""
    products: Any = x[0].size("C") // op.groups * math.prod(op.kernel)  # type: ignore
    return _elements(y[0]) * (2 * products + int(op.bias))


def _conv_transpose(op: ops.ConvTranspose, x: Types, y: Types) -> int:
    """Per input a multiply-add for each weight of its kernel, and the bias."""
    products: Any = op.channels // op.groups * math.prod(op.kernel)  # type: ignore
    return _elements(x[0]) * 2 * products + _elements(y[0]) * op.bias


def _pool(op: ops.MaxPool, x: Types, y: Types) -> int:
    """One per element of each window."""
    return _elements(y[0]) * math.prod(op.kernel)  # type: ignore[arg-type,return-value]


def _norm(fixed: int) -> Callable[[Any, Types, Types], int]:
    """``fixed`` per element, and one each for scale and shift where there are any."""

    def count(op: Any, x: Types, y: Types) -> int:
        more = getattr(op, "scale", False) + getattr(op, "shift", False)
        return _elements(x[0]) * (fixed + more)

    return count


#: Per unit and step, after the products: the activation; three gates, two activations,
#: three products and a sum; two gates, an activation and four to reset and to mix.
_CELL = {ops.SimpleRNN: 1, ops.LSTM: 9, ops.GRU: 7}


def _recurrent(op: ops.SimpleRNN, x: Types, y: Types) -> int:
    """Per step: both products, their sum, the biases, and what the cell computes."""
    units: Any = op.units
    batch, steps, features = x[0].shape
    gates = len(op.gates) * units
    biases = {"none": 0, "one": gates, "two": 2 * gates, "candidate": gates + units}
    step = 2 * gates * (features + units) + gates + biases[op.bias]
    step += _CELL[type(op)] * units
    return batch * steps * step * (2 if op.direction == "both" else 1)  # type: ignore


def _attention(op: ops.MultiHeadAttention, x: Types, y: Types) -> int:
    """Four Dense maps; scores, their scaling and softmax (six), and the mixture."""
    query, key, value = x[0], x[:2][-1], x[-1]
    width = query.size("F")
    maps = 0
    for source in (query, key, value, query):
        rows = source.shape[0] * source.size("T")  # type: ignore[operator]
        maps += rows * width * (2 * source.size("F") + op.bias)
    heads: Any = op.heads
    scores = query.shape[0] * query.size("T") * key.size("T")  # type: ignore[operator]
    return maps + scores * (4 * width + 6 * heads)


def _matmul(op: ops.MatMul, x: Types, y: Types) -> int:
    """A multiply-add for each pair of numbers that meet."""
    inner: Any = x[0].shape[-1]
    return _elements(y[0]) * 2 * inner


def _upsample(op: ops.Upsample, x: Types, y: Types) -> int:
    """Bilinear: two products and a sum per output and axis."""
    return 0 if op.mode == "nearest" else 3 * len(op.scale) * _elements(y[0])


def _each(count: int) -> Callable[[Op, Types, Types], int]:
    """So many per element of the output."""
    return lambda op, x, y: count * _elements(y[0])


def _all(op: Op, x: Types, y: Types) -> int:
    """One per element of the input."""
    return _elements(x[0])


def _nothing(op: Op, x: Types, y: Types) -> int:
    """Moves numbers, and computes none."""
    return 0


#: ``(operation, input types, output types) -> FLOPs``; all sizes are known.
FLOPS: dict[type[Op], Callable[[Any, Types, Types], int]] = {
    ops.Dense: _dense,
    ops.Conv: _conv,
    ops.ConvTranspose: _conv_transpose,
    ops.MaxPool: _pool,
    ops.AvgPool: _pool,
    ops.GlobalAvgPool: _all,
    ops.GlobalMaxPool: _all,
    ops.BatchNorm: _norm(2),  # less the mean, over the deviation
    ops.LayerNorm: _norm(5),  # mean; centre; square, sum; over the deviation
    ops.GroupNorm: _norm(5),
    ops.RMSNorm: _norm(3),  # square, sum; over the root
    ops.Dropout: _nothing,
    ops.Embedding: _nothing,
    ops.SimpleRNN: _recurrent,
    ops.LSTM: _recurrent,
    ops.GRU: _recurrent,
    ops.MultiHeadAttention: _attention,
    ops.Relu: _each(1),
    ops.LeakyRelu: _each(2),
    ops.Elu: _each(4),  # compare, exp, minus 1, times alpha
    ops.Selu: _each(5),
    ops.Gelu: lambda op, x, y: (9 if op.approximate else 5) * _elements(y[0]),
    ops.Silu: _each(2),
    ops.Sigmoid: _each(1),
    ops.Tanh: _each(1),
    ops.Softplus: _each(3),
    ops.Softmax: _each(5),  # largest, minus it, exp, sum, over it
    ops.LogSoftmax: _each(5),
    ops.Negative: _each(1),
    ops.Exp: _each(1),
    ops.Log: _each(1),
    ops.Sqrt: _each(1),
    ops.Abs: _each(1),
    ops.Square: _each(1),
    ops.Clip: _each(2),
    ops.Scale: _each(2),
    ops.Add: _each(1),
    ops.Subtract: _each(1),
    ops.Multiply: _each(1),
    ops.Divide: _each(1),
    ops.Maximum: _each(1),
    ops.Minimum: _each(1),
    ops.MatMul: _matmul,
    ops.Concat: _nothing,
    ops.Split: _nothing,
    ops.Slice: _nothing,
    ops.Reshape: _nothing,
    ops.Flatten: _nothing,
    ops.Transpose: _nothing,
    ops.Pad: _nothing,
    ops.ReduceMean: _all,
    ops.ReduceSum: _all,
    ops.ReduceMax: _all,
    ops.Upsample: _upsample,
}

#: Operations that multiply two things, both of which may need a gradient.
_PRODUCTS = (
    ops.Dense,
    ops.Conv,
    ops.ConvTranspose,
    ops.SimpleRNN,
    ops.MultiHeadAttention,
    ops.MatMul,
)


# --- Rows -----------------------------------------------------------------------------


def _node_row(node: Node, types: dict[str, Type], reached: set[str]) -> Row:
    """``reached`` are the values that depend on a trained weight; the node's are added.

    Backward: a product costs as much again for each factor that needs a gradient (its
    weights; its input, unless nothing trained lies before it), anything else as much as
    forward, where a gradient passes it. A network of products comes to three times its
    forward pass, less the first layer's gradient in the data. The optimizer's few FLOPs
    per parameter are not counted.
    """
    x = tuple(types[name] for name in node.inputs)
    y = tuple(types[name] for name in node.outputs)
    weights = node.op.weights(*x)
    parameters = sum(w.size for w in weights.values() if w.trained)
    flops = FLOPS[type(node.op)](node.op, x, y)
    before = sum(name in reached for name in node.inputs)
    if isinstance(node.op, _PRODUCTS):
        factors = min(before, 2) if not weights else 1 + (before > 0)
    else:
        factors = int(before > 0 or parameters > 0)
    if before or parameters:
        reached.update(node.outputs)
    size = sum(w.size for w in weights.values())
    read, written = sum(map(_bytes, x)), sum(map(_bytes, y))
    if isinstance(node.op, ops.Embedding):
        read += written  # only the rows that are looked up
    else:
        read += size * _WEIGHT_BYTES
    if isinstance(node.op, (*_VIEWS, ops.Dropout)):
        read = written = 0
    return Row(
        name=node.name,
        level=0,
        operation=type(node.op).__name__,
        outputs=y,
        parameters=parameters,
        statistics=size - parameters,
        flops=flops,
        training_flops=flops * (1 + factors),
        bytes_read=read,
        bytes_written=written,
    )


_ADDED = (
    "parameters",
    "statistics",
    "flops",
    "training_flops",
    "bytes_read",
    "bytes_written",
)


def _totals(rows: list[Row]) -> dict[str, int]:
    return {name: sum(getattr(row, name) for row in rows) for name in _ADDED}


def _nested(
    nodes: tuple[Node, ...], path: str, level: int, flat: Iterator[Row]
) -> list[Row]:
    """Rows of nodes with their blocks; takes the rows of operations from ``flat``."""
    rows: list[Row] = []
    for node in nodes:
        op, name = node.op, f"{path}{node.name}"
        if isinstance(op, Repeat):
            uses: list[Row] = []
            for index in range(op.times):
                uses += _use(op, f"{name}.{index}", level + 1, flat)
            last = next(row for row in uses if row.name == f"{name}.{op.times - 1}")
            title = f"{op.block.name} x {op.times}"
            rows += [_heading(name, title, level, last.outputs, uses), *uses]
        elif isinstance(op, Call):
            rows += _use(op, name, level, flat)
        else:
            rows.append(dataclasses.replace(next(flat), level=level))
    return rows


def _use(op: Call, name: str, level: int, flat: Iterator[Row]) -> list[Row]:
    """A block's row, and those inside it."""
    inside = _nested(op.block.nodes, f"{name}.", level + 1, flat)
    written = {row.name: row.outputs for row in inside}
    types = {
        value: type_
        for node in op.block.nodes
        for value, type_ in zip(
            node.outputs, written[f"{name}.{node.name}"], strict=True
        )
    }
    outputs = tuple(types[value] for value in op.block.outputs)
    return [_heading(name, op.block.name, level, outputs, inside), *inside]


def _heading(
    name: str, title: str, level: int, outputs: Types, inside: list[Row]
) -> Row:
    # It sums up the operations, not the rows of blocks within.
    operations = [row for row in inside if row.operation in ops.OPERATIONS]
    return Row(name, level, title, outputs, **_totals(operations))


# --- Memory ---------------------------------------------------------------------------


def _alive(flat: Graph, types: dict[str, Type], training: bool) -> int:
    """Bytes of the values at the peak; see ``Memory``."""
    views = _VIEWS if training else (*_VIEWS, ops.Dropout)
    owner = {name: name for name, _ in flat.inputs}
    last: dict[str, int] = dict.fromkeys(owner, 0)
    for step, node in enumerate(flat.nodes):
        for name in node.outputs:
            shared = isinstance(node.op, views)
            owner[name] = owner[node.inputs[0]] if shared else name
        for name in (*node.inputs, *node.outputs):
            last[owner[name]] = step
    for name in flat.outputs:
        last[owner[name]] = len(flat.nodes)
    owners = set(owner.values())
    if training:
        return sum(_bytes(types[name]) for name in owners)
    alive = {name for name, _ in flat.inputs}
    peak = 0
    for step, node in enumerate(flat.nodes):
        alive |= {owner[name] for name in node.outputs}
        peak = max(peak, sum(_bytes(types[name]) for name in alive))
        alive = {name for name in alive if last[name] > step}
    return peak


def _state_copies(optimizer: recipe.Optimizer | None) -> int:
    """How many numbers an optimizer keeps per parameter."""
    if isinstance(optimizer, recipe.Adam):
        return 2
    if isinstance(optimizer, recipe.SGD):
        return int(optimizer.momentum != 0)
    return 0


def summarize(
    graph: Graph, batch: int, optimizer: recipe.Optimizer | None = None
) -> Summary:
    """What a graph costs for a batch of so many observations.

    ``optimizer`` counts its state into ``memory.optimizer``; without one that is 0.
    Raises ``UserError`` where a size other than the batch is not known.
    """
    flat = graph.flat()
    given = {
        name: Type(type_.axes, (batch, *type_.shape[1:]), type_.dtype, type_.merged)
        for name, type_ in flat.inputs
    }
    types = infer_nodes(flat.nodes, given)
    for name, type_ in types.items():
        if not all(isinstance(size, int) for size in type_.shape):
            raise UserError(
                f"the cost of {graph.name} cannot be told: a size of its value {name} "
                f"is not known ({type_}). Give its inputs a fixed size"
            )
    reached: set[str] = set()
    rows = [_node_row(node, types, reached) for node in flat.nodes]
    totals = _totals(rows)
    trained = totals["parameters"] * _WEIGHT_BYTES
    memory = Memory(
        weights=trained + totals["statistics"] * _WEIGHT_BYTES,
        gradients=trained,
        optimizer=trained * _state_copies(optimizer),
        inference_values=_alive(flat, types, training=False),
        training_values=_alive(flat, types, training=True),
    )
    nested = tuple(_nested(graph.nodes, "", 0, iter(rows)))
    return Summary(graph.name, batch, nested, **totals, memory=memory)

"""Every value inside a network, as one output that any program can give.

The flat graph is given one more layer: all its values, flattened and joined. What is
written, run and compared is then an ordinary network that is run forward, in the words
of the same rules; no framework is asked to show what is inside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from netglot import reference
from netglot.check.compare import relative
from netglot.graph import Graph, Node
from netglot.ops import Concat, Flatten, Type
from netglot.workloads import Workload

#: Observations are left out rather than more numbers than this compared at once.
LARGEST = 20_000_000
_JOINED = "all_values"


def traced(workload: Workload) -> Workload:
    """The workload whose network gives every value of the flat network, joined."""
    graph = _plain(workload.graph.flat())
    types = graph.types()
    seen = [
        output
        for node in graph.nodes
        for output in node.outputs
        if _is_compared(types[output])
    ]
    flattened = tuple(f"{name}_flat" for name in seen)
    nodes = [
        *graph.nodes,
        *(
            Node(flat, Flatten(), (name,), (flat,))
            for flat, name in zip(flattened, seen, strict=True)
        ),
        Node(_JOINED, Concat("F"), flattened, (_JOINED,)),
    ]
    whole = Graph(graph.name, graph.inputs, tuple(nodes), (_JOINED,))
    return replace(
        workload,
        graph=whole,
        recipe=None,
        batch_size=workload.batch,
        # Drawn as those of the network that is trained: compiled once for both.
        initializers=workload.initial,
    )


def pieces(graph: Graph) -> tuple[tuple[str, int], ...]:
    """Name and size of each value in the output of a traced graph; none of another."""
    last = graph.nodes[-1]
    if last.outputs != (_JOINED,):
        return ()
    types = graph.types()
    sizes = [types[name].size("F") for name in last.inputs]
    return tuple(
        (name.removesuffix("_flat"), int(size))  # type: ignore[arg-type]
        for name, size in zip(last.inputs, sizes, strict=True)
    )


def rounding(
    graph: Graph, weights: Mapping[str, np.ndarray], x: np.ndarray
) -> dict[str, float]:
    """The relative error that float32 makes in each value of a traced graph.

    Measured: the reference in float32 against the reference in float64, on ``x``.
    """
    name = graph.inputs[0][0]
    exact = reference.forward(graph, weights, {name: x}).outputs[0]
    rough = reference.forward(graph, weights, {name: x}, dtype=np.float32).outputs[0]
    errors, begin = {}, 0
    for value, size in pieces(graph):
        columns = slice(begin, begin + size)
        errors[value] = relative(rough[:, columns], exact[:, columns])
        begin += size
    return errors


def observations(graph: Graph, most: int) -> int:
    """How many observations are compared: fewer than ``most`` of a large traced one."""
    each = sum(size for _, size in pieces(graph))
    return max(1, min(most, LARGEST // each)) if each else most


def _is_compared(type_: Type) -> bool:
    """Whether a value has a row per observation and a known size."""
    known = all(isinstance(size, int) for size in type_.shape[1:])
    return type_.axes.startswith("N") and known and not type_.dtype.startswith("int")


def _plain(graph: Graph) -> Graph:
    """The flat graph with names that a program can have: no dots in them."""

    def plain(name: str) -> str:
        return name.replace(".", "_")

    nodes = tuple(
        Node(
            plain(node.name),
            node.op,
            tuple(map(plain, node.inputs)),
            tuple(map(plain, node.outputs)),
        )
        for node in graph.nodes
    )
    return Graph(graph.name, graph.inputs, nodes, tuple(map(plain, graph.outputs)))

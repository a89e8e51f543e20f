"""Makes a graph sayable in one framework: forms, rewrites, storage order.

The one place that knows that frameworks store values in different orders.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from netglot.backend import Backend, Gap
from netglot.graph import Block, Call, Graph, Node, Repeat, infer_nodes
from netglot.ops import (
    BatchNorm,
    Conv,
    Dense,
    Flatten,
    GroupNorm,
    MatMul,
    Op,
    Pad,
    ReduceMean,
    Reshape,
    Transpose,
    Type,
)
from netglot.recipe import Optimizer, Recipe
from netglot.symbols import Symbol
from netglot.workloads import Workload

#: Forms that are accepted of every workload, where a framework has one of its own.
FORMS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "MaxPool": ({"ties": "first"}, {"ties": "all"}, {"ties": "shared"}),
}

#: Letters that stand for no axis in particular: stored as they are in every framework.
PLAIN = "PQRS"


@dataclass(frozen=True)
class Restore(Op):
    """Puts a value into canonical order; its axes then have letters without meaning."""

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """``NCHW -> NPQR``."""
        (x,) = inputs
        return (Type("N" + PLAIN[: len(x.axes) - 1], x.shape, x.dtype),)


@dataclass(frozen=True)
class Arrange(Op):
    """Reads a value in canonical order as one with the given axes."""

    axes: str

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """``NPQR -> NCHW``."""
        return (Type(self.axes, inputs[0].shape, inputs[0].dtype),)


@dataclass(frozen=True)
class Lowered:
    """A graph as it will be ``written``, and the ``same`` network before the rewrites.

    ``forms`` says which form of an operation or optimizer was taken, where there are
    several.
    """

    written: Graph
    same: Graph
    recipe: Recipe | None
    forms: Mapping[str, str]


def lower(workload: Workload, backend: Backend, exact_form: bool = False) -> Lowered:
    """Graph and recipe as the backend will write them, and the forms that it took.

    A backend's own form of an operation is taken in the workload's order of preference;
    ``exact_form`` insists on the first. A form of the optimizer is the backend's.
    """
    taken: dict[str, str] = {}
    graph = workload.graph.map_ops(
        lambda op: _choose(op, workload.forms, backend, exact_form, taken)
    )
    nodes: Sequence[Node] = graph.nodes
    if not backend.infers_sizes:
        nodes = _with_sizes(nodes, dict(graph.inputs))
    nodes = _rewrite(nodes, backend)
    nodes = _storage(nodes, dict(graph.inputs), graph.outputs, backend)
    recipe = workload.recipe
    if recipe is not None:
        optimizer = _optimizer(recipe.optimizer, backend, taken)
        recipe = dataclasses.replace(recipe, optimizer=optimizer)
    written = dataclasses.replace(graph, nodes=tuple(nodes))
    return Lowered(written, graph, recipe, taken)


def _choose(
    op: Op,
    accepted: Mapping[str, tuple[Mapping[str, Any], ...]],
    backend: Backend,
    exact_form: bool,
    taken: dict[str, str],
) -> Op:
    name = type(op).__name__
    own = backend.forms.get(type(op))
    forms = accepted.get(name) or (FORMS.get(name) if own else None)
    if not forms:
        return op
    form = forms[0]
    if own is not None and not exact_form:
        form = next((form for form in forms if dict(form) in map(dict, own)), form)
    taken[name] = ", ".join(f"{key} {value}" for key, value in form.items())
    return dataclasses.replace(op, **form)


def _optimizer(
    optimizer: Optimizer, backend: Backend, taken: dict[str, str]
) -> Optimizer:
    for form in backend.forms.get(type(optimizer), ()):
        if all(getattr(optimizer, key) == value for key, value in form.items()):
            return optimizer
    for form in backend.forms.get(type(optimizer), ())[:1]:
        taken[type(optimizer).__name__] = ", ".join(
            f"{key.replace('_', ' ')} {value}" for key, value in form.items()
        )
        return dataclasses.replace(optimizer, **form)
    return optimizer


_SIZES = {"C": "in_channels", "F": "in_features"}


def _with_sizes(nodes: Sequence[Node], types: dict[str, Type]) -> list[Node]:
    """Gives blocks a parameter for each size of their inputs that they leave open.

    Frameworks that make weights before they see a value have to be told it.
    """
    types = infer_nodes(nodes, types)
    result = []
    for node in nodes:
        if isinstance(node.op, Call):
            node = dataclasses.replace(
                node, op=_sized(node.op, tuple(types[name] for name in node.inputs))
            )
        result.append(node)
    return result


def _sized(op: Call, given: tuple[Type, ...]) -> Call:
    block = op.block
    inputs, added = [], []
    for i, ((name, type_), outer) in enumerate(zip(block.inputs, given, strict=True)):
        for letter, size in zip(type_.axes, type_.shape, strict=True):
            if size is None and letter in _SIZES:
                parameter = _SIZES[letter] + (str(i) if i else "")
                added.append((parameter, outer.size(letter)))
                type_ = type_.replace(**{letter: Symbol(parameter)})
        inputs.append((name, type_))
    nodes = tuple(_with_sizes(block.nodes, dict(inputs)))
    if isinstance(op, Repeat) and added and op.infer(*given)[0] != given[0]:
        raise Gap(
            f"block {block.name} is repeated, and its first use reads another size "
            "than the others: write the first use as a call of its own"
        )
    parameters = tuple(name for name, _ in added)
    block = dataclasses.replace(
        block,
        parameters=(*parameters, *block.parameters),
        inputs=tuple(inputs),
        nodes=nodes,
    )
    return dataclasses.replace(op, block=block, arguments=(*added, *op.arguments))


def _inside(node: Node, change: Callable[[Block], Sequence[Node]]) -> Node:
    """The node with the nodes of its block changed, where it uses one."""
    if not isinstance(node.op, Call):
        return node
    block = dataclasses.replace(node.op.block, nodes=tuple(change(node.op.block)))
    return dataclasses.replace(node, op=dataclasses.replace(node.op, block=block))


def _rewrite(nodes: Sequence[Node], backend: Backend) -> list[Node]:
    """Replaces an operation by the chain that ``Backend.rewrites`` gives for it.

    The last operation of the chain that is of the same class keeps the node's name, and
    with it the names of its weights.
    """
    result: list[Node] = []
    for node in nodes:
        node = _inside(node, lambda block: _rewrite(block.nodes, backend))
        rule = backend.rewrites.get(type(node.op))
        chain = list(rule(node.op)) if rule else [node.op]
        value = node.inputs
        for i, op in enumerate(chain):
            last = i == len(chain) - 1
            kind = type(op).__name__.lower()
            name = node.name if type(op) is type(node.op) else f"{node.name}_{kind}"
            outputs = node.outputs if last else (name + "_out",)
            result.append(Node(name, op, value, outputs, node.source))
            value = outputs
    return result


# Operations through which the features of a flattened value may pass in any order,
# because their weights follow (``weights.to_program``).
_ANY_ORDER = (Dense, BatchNorm)


def _storage(
    nodes: Sequence[Node],
    types: dict[str, Type],
    outputs: Sequence[str],
    backend: Backend,
) -> list[Node]:
    """Restores the canonical order where an operation depends on it.

    A ``Flatten`` of a value that the framework stores otherwise is left alone as long
    as only operations read it whose weights can follow its order.
    """
    types = infer_nodes(nodes, types)
    result: list[Node] = []
    for node in nodes:
        if isinstance(node.op, Call):
            inputs = tuple(types[name] for name in node.inputs)
            node = _inside(
                node,
                lambda block, inputs=inputs: _storage(  # type: ignore[misc]
                    block.nodes,
                    {
                        name: type_ if block.parameters else given
                        for (name, type_), given in zip(
                            block.inputs, inputs, strict=True
                        )
                    },
                    block.outputs,
                    backend,
                ),
            )
        if isinstance(node.op, Flatten | Reshape):
            x, y = types[node.inputs[0]], types[node.outputs[0]]
            follows = isinstance(node.op, Flatten) and _may_follow(
                node.outputs[0], nodes, outputs
            )
            if not follows and _reorders(x, backend):
                restored = f"{node.name}_order"
                result.append(Node(restored, Restore(), node.inputs, (restored,)))
                node = dataclasses.replace(node, inputs=(restored,))
            if _reorders(y, backend):
                # Only a Reshape gives channels.
                letters = PLAIN[: len(y.axes) - 1]
                plain = dataclasses.replace(node.op, axes=letters)  # type: ignore
                flat = f"{node.name}_plain"
                result.append(
                    dataclasses.replace(node, op=plain, name=flat, outputs=(flat,))
                )
                node = Node(node.name, Arrange(y.axes), (flat,), node.outputs)
        if isinstance(node.op, BatchNorm | GroupNorm):
            result += _norm_in_place(node, types[node.inputs[0]].axes, backend)
            continue
        if isinstance(node.op, MatMul):
            result += _matmul_in_order(node, types, backend)
            continue
        if isinstance(node.op, ReduceMean):
            x, y = types[node.inputs[0]], types[node.outputs[0]]
            left = "".join(a for a in backend.storage(x.axes) if a in y.axes)
            if left != backend.storage(y.axes):
                # Without the axes that vanish, channels come to stand elsewhere.
                moved = f"{node.name}_order"
                turn = Transpose(_channels_second(x.axes))
                result.append(Node(moved, turn, node.inputs, (moved,)))
                node = dataclasses.replace(node, inputs=(moved,))
        result.append(node)
    return result


def _channels_second(axes: str) -> str:
    return "NC" + axes.replace("N", "").replace("C", "")


def _norm_in_place(node: Node, axes: str, backend: Backend) -> list[Node]:
    """A norm over channels that are not where its layer looks for them.

    They are moved there and back: behind the batch, or to the end.
    """
    if "C" in axes:
        usual = _channels_second(axes)
    elif backend.storage("NCW") == "NCW":
        usual = "NF" + axes.replace("N", "").replace("F", "")
    else:
        usual = axes.replace("F", "") + "F"
    if usual == axes:
        return [node]
    before, after = f"{node.name}_order", f"{node.name}_moved"
    return [
        Node(before, Transpose(usual), node.inputs, (before,)),
        dataclasses.replace(node, inputs=(before,), outputs=(after,)),
        Node(f"{node.name}_back", Transpose(axes), (after,), node.outputs),
    ]


def _matmul_in_order(
    node: Node, types: Mapping[str, Type], backend: Backend
) -> list[Node]:
    """The last two axes are those of the canonical order, whatever they stand for."""
    given = [types[name].axes for name in node.inputs]
    if all(backend.storage(axes) == axes for axes in given):
        return [node]
    names = tuple(f"{node.name}_{end}" for end in ("first", "second"))
    plain = f"{node.name}_plain"
    return [
        *(
            Node(name, Restore(), (value,), (name,))
            for name, value in zip(names, node.inputs, strict=True)
        ),
        dataclasses.replace(node, inputs=names, outputs=(plain,)),
        Node(
            f"{node.name}_axes",
            Arrange(types[node.outputs[0]].axes),
            (plain,),
            node.outputs,
        ),
    ]


def _reorders(type_: Type, backend: Backend) -> bool:
    """Whether the framework's order of the elements is another one."""

    def moving(axes: str) -> str:
        return "".join(a for a in axes if a == "N" or type_.size(a) != 1)

    return moving(backend.storage(type_.axes)) != moving(type_.axes)


def _may_follow(value: str, nodes: Sequence[Node], outputs: Sequence[str]) -> bool:
    if value in outputs:
        return False
    for node in nodes:
        if value in node.inputs and not isinstance(node.op, Dense):
            passes = len(node.inputs) == 1 and (
                node.op.elementwise or isinstance(node.op, _ANY_ORDER)
            )
            if not passes or not _may_follow(node.outputs[0], nodes, outputs):
                return False
    return True


# --- Rewrites that several backends share ---------------------------------------------


def pad_first(op: Any) -> Sequence[Op]:
    """Padding as an operation of its own, for layers that cannot pad as asked."""
    if all(pair == (0, 0) for pair in op.padding):
        return (op,)
    none = ((0, 0),) * len(op.padding)
    return (Pad(op.padding), dataclasses.replace(op, padding=none))


def overhang(op: Any) -> tuple[tuple[int, int], ...]:
    """Padding of a pool after which windows that are dropped without ceil all fit."""
    if not op.ceil:
        return op.padding  # type: ignore[no-any-return]
    triples = zip(op.kernel, op.stride, op.padding, strict=True)
    return tuple((b, min(a + n - 1, k - 1)) for k, n, (b, a) in triples)


def pad_average(op: Any) -> Sequence[Op]:
    """Padding that counts is part of the values; the overhang never is.

    Without ``ceil``, whose rule about windows that begin in the padding after the
    values would take the padded ones for values.
    """
    padding = overhang(op)
    plain = {"ceil": False, "count_padding": False}
    if not op.count_padding or not any(map(any, op.padding)):
        return (dataclasses.replace(op, padding=padding, **plain),)
    more = tuple(
        a - given for (_, a), (_, given) in zip(padding, op.padding, strict=True)
    )
    if min(more) < 0:
        return (op,)
    rest = tuple((0, n) for n in more)
    return (Pad(op.padding), dataclasses.replace(op, padding=rest, **plain))


def pad_first_if_uneven(op: Conv) -> Sequence[Op]:
    """The same where the two sides of an axis differ."""
    if all(before == after for before, after in op.padding):
        return (op,)
    return pad_first(op)

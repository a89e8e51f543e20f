"""Turns a lowered graph, a backend's rules and its frame into a program.

Names, nesting, line breaks, gaps and the bookkeeping of lines are decided here; a
backend says words only. ``emit`` watches which attributes a rule reads: a rule that
ignores an attribute with a value of its own is a fault, so none is dropped in silence.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from netglot.backend import (
    STEPS,
    Backend,
    Engine,
    Gap,
    Parts,
    Program,
    ProgramWeight,
    Rule,
    Scope,
    Section,
    Site,
    Weight,
)
from netglot.errors import UserError
from netglot.graph import Block, Call, Graph, Node, Repeat, infer_nodes
from netglot.lower import lower
from netglot.ops import Dropout, LogSoftmax, Op, Type
from netglot.recipe import Initializers, Recipe, SoftmaxCrossEntropy
from netglot.source import WIDTH, Expression, Line, Statements, call, inline, layout
from netglot.workloads import Workload


@dataclass(frozen=True)
class Settings:
    """Which variant of a program is written.

    ``dtype``: ``float32`` or ``float64``; ``dropout`` off writes every rate as 0;
    ``exact_form`` insists on the workload's first form of each operation; ``parallel``
    is for several processes, each of which takes its share of every batch.
    """

    dtype: str = "float32"
    dropout: bool = True
    exact_form: bool = False
    parallel: bool = False


class GapError(UserError):
    """Operations of a network that a backend cannot write; ``gaps`` has a line each."""

    def __init__(self, backend: str, gaps: Sequence[str]) -> None:
        """Gaps by node."""
        self.backend, self.gaps = backend, tuple(gaps)
        super().__init__(f"{backend} cannot write " + "; ".join(gaps))


class RuleError(Exception):
    """A rule is wrong: netglot's own fault, not the user's."""


def emit(
    workload: Workload, backend: Backend, settings: Settings | None = None
) -> Program:
    """The program of a workload in a framework.

    Raises ``GapError``, which lists every operation that the framework cannot say.
    """
    settings = settings or Settings()
    if settings.dtype not in backend.dtypes:
        known = " and ".join(backend.dtypes)
        raise GapError(backend.name, [f"{settings.dtype}: its programs are {known}"])
    engine = _engine(workload, backend) if settings.parallel else None
    if not settings.dropout:
        graph = workload.graph.map_ops(
            lambda op: (
                dataclasses.replace(op, rate=0.0) if isinstance(op, Dropout) else op
            )
        )
        workload = dataclasses.replace(workload, graph=graph)
    if backend.log_scores:
        workload = _with_log_scores(workload)
    try:
        lowered = lower(workload, backend, settings.exact_form)
    except Gap as gap:
        raise GapError(backend.name, [str(gap)]) from None
    graph, recipe = lowered.written, lowered.recipe
    writer = _Writer(backend, recipe, workload.initial, settings.dtype)
    blocks = tuple(writer.block(block) for block in graph.blocks())
    network = writer.scope(
        _own_name(class_name(workload.name), graph, backend),
        (),
        graph.inputs,
        graph.nodes,
        graph.outputs,
    )
    if writer.gaps:
        raise GapError(backend.name, list(dict.fromkeys(writer.gaps)))
    parts = Parts(
        workload,
        graph,
        backend,
        recipe,
        settings.dtype,
        network,
        blocks,
        frozenset(type(node.op) for node in graph.flat().nodes),
        _needed(writer.needs, backend),
        engine,
    )
    try:
        lines = _assemble(backend.frame(parts), backend)
    except Gap as gap:
        raise GapError(backend.name, [str(gap)]) from None
    return Program(
        parts.file + backend.script.suffix,
        workload.name,
        backend.name,
        "".join(line.text + "\n" for _, line in lines),
        _spans((line.node for _, line in lines), ""),
        {s: r for s, r in _spans((s for s, _ in lines), "").items() if s in STEPS},
        tuple(_weights(writer, graph)),
        lowered.same,
        recipe,
        lowered.forms,
        settings.dtype,
        settings.parallel,
        tuple((step, tuple(line.node.split())) for step, line in lines),
        backend.script,
    )


def _engine(workload: Workload, backend: Backend) -> Engine:
    """What trains it on several processes; raises ``GapError`` where nothing does."""
    engine = backend.engine
    if isinstance(engine, str):
        raise GapError(backend.name, [f"training on several processes: {engine}"])
    if workload.recipe is None:
        raise GapError(
            backend.name,
            ["training on several processes: this network is only run forward"],
        )
    reasons = [
        (node, engine.missing.get(type(node.op)))
        for node in workload.graph.flat().nodes
    ]
    gaps = [f"{node} on several processes: {why}" for node, why in reasons if why]
    if gaps:
        raise GapError(backend.name, gaps)
    return engine


def _with_log_scores(workload: Workload) -> Workload:
    """A classifier that gives logarithms of probabilities; its loss is the same."""
    recipe, graph = workload.recipe, workload.graph
    if recipe is None or not isinstance(recipe.loss, SoftmaxCrossEntropy):
        return workload
    name = "log_softmax"
    node = Node(name, LogSoftmax("F"), graph.outputs, (name,))
    graph = Graph(graph.name, graph.inputs, (*graph.nodes, node), (name,))
    return dataclasses.replace(workload, graph=graph)


def class_name(name: str) -> str:
    """``cifar-vgg`` -> ``CifarVgg``."""
    return "".join(part.capitalize() for part in re.split(r"[^A-Za-z0-9]+", name))


def _own_name(name: str, graph: Graph, backend: Backend) -> str:
    """The network's name, other than that of each of its blocks and of each helper."""
    taken = [*(block.name for block in graph.blocks()), *backend.helpers]
    clash = function_name(name) in map(function_name, taken)
    return f"{name}Network" if clash else name


def function_name(name: str) -> str:
    """``ProjectionBottleneck`` -> ``projection_bottleneck``."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+", "_", name)
    return words.strip("_").lower()


# --- The network ----------------------------------------------------------------------


class _Watch:
    """An operation that remembers which of its attributes were read."""

    def __init__(self, op: Op) -> None:
        self._op = op
        self._read: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self._read.add(name)
        return getattr(self._op, name)

    def unread(self) -> list[str]:
        """Attributes with a value of their own that nobody asked for."""
        return [
            f.name
            for f in dataclasses.fields(self._op)
            if f.name not in self._read and not _is_default(self._op, f)
        ]


def _is_default(op: Op, f: dataclasses.Field[Any]) -> bool:
    if f.default is dataclasses.MISSING:
        return False
    value = getattr(op, f.name)
    if isinstance(value, tuple) and isinstance(f.default, int):
        # One number stood for each axis.
        flat = [
            n for item in value for n in (item if isinstance(item, tuple) else (item,))
        ]
        return all(n == f.default for n in flat)
    if f.name == "stride" and f.default is None:
        return bool(value == getattr(op, "kernel", None))
    return bool(value == f.default)


@dataclass
class _Writer:
    """Writes scopes with one backend's rules; collects gaps and needed helpers."""

    backend: Backend
    recipe: Recipe | None
    initializers: Initializers | None
    dtype: str
    gaps: list[str] = field(default_factory=list)
    needs: set[str] = field(default_factory=set)
    parameters: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def block(self, block: Block) -> Scope:
        """A block as a class or function of the program.

        It keeps only the parameters that its text uses; so do its uses.
        """
        scope = self.scope(
            block.name,
            block.parameters,
            block.inputs,
            block.nodes,
            block.outputs,
            in_block=True,
        )
        text = "\n".join(line.text for line in (*scope.make, *scope.apply))
        used = tuple(p for p in block.parameters if re.search(rf"\b{p}\b", text))
        self.parameters[block.name] = used
        return dataclasses.replace(scope, parameters=used)

    def scope(
        self,
        name: str,
        parameters: tuple[str, ...],
        inputs: tuple[tuple[str, Type], ...],
        nodes: tuple[Node, ...],
        outputs: tuple[str, ...],
        in_block: bool = False,
    ) -> Scope:
        """The lines that make the layers, and those that compute."""
        margin = self.backend.margin
        types = infer_nodes(nodes, dict(inputs))
        last_use = {value: i for i, n in enumerate(nodes) for value in n.inputs}
        last_use |= dict.fromkeys(outputs, len(nodes))
        uses: dict[str, int] = dict.fromkeys(outputs, 1)
        for node in nodes:
            for value in node.inputs:
                uses[value] = uses.get(value, 0) + 1
        single = "x" if in_block else self.backend.input
        taken = {*self.backend.helpers, *self.backend.script.keywords}
        names = tuple(_identifier(name, taken) for name, _ in inputs)
        arguments = (single,) if len(inputs) == 1 else names
        kept = set() if in_block or self.backend.input == "x" else set(arguments)
        variables = dict(zip((n for n, _ in inputs), arguments, strict=True))
        make: list[Line] = []
        written: list[_Written] = []
        skip = -1
        for i, node in enumerate(nodes):
            if i == skip:
                continue
            rule = self._rule(node)
            if rule is None:
                for value in node.outputs:
                    variables[value] = value
                continue
            node_types = tuple(types[v] for v in node.inputs)
            outputs_of, activation = node.outputs, None
            fused = self._fused(nodes, i, uses)
            if fused:
                activation = self.backend.activations[type(fused.op)]
                outputs_of, skip = fused.outputs, i + 1
            end = i + 1 if fused else i
            live = {variables[v] for v in variables if last_use.get(v, -1) > end}
            live |= kept
            named = None if in_block else self.backend.variable
            if named and not isinstance(node.op, Call):
                target = ", ".join(named(name) for name in _names(node, outputs_of))
            else:
                target = _variable(node, variables, live, taken)
            if len(outputs_of) > 1 and not named:
                target = ", ".join(_identifier(name, taken) for name in outputs_of)
            site = Site(
                _Watch(self._called(node.op)),
                node.name,
                self.backend.object.format(name=node.name),
                node_types,
                tuple(types[v] for v in node.outputs),
                tuple(variables[v] for v in node.inputs),
                target,
                activation,
                self.backend,
                self.recipe,
                self.dtype,
                in_block,
                _before(nodes, i, uses),
                tuple(n.op for n in nodes if set(n.inputs) & set(outputs_of)),
                self.initializers,
            )
            # An activation is written around the layer that it follows.
            before = written[-1] if written else None
            nests = (
                before is not None
                and node.op.elementwise
                and len(node.inputs) == 1
                and rule.make is None
                and not self.backend.in_place
                and before.nestable
                and before.outputs == node.inputs
                and uses[node.inputs[0]] == 1
                and node.inputs[0] not in outputs
            )
            if nests and before is not None:
                nested = dataclasses.replace(site, arguments=(before.expression,))
                result = self._apply(rule, nested, node)
                self._complain(nested, node)
                plain = result is not None and not isinstance(result, Statements)
                if plain and margin + len(f"{target} = {inline(result)}") <= WIDTH:
                    written[-1] = _Written(
                        (*before.nodes, node.name), outputs_of, target, result, False
                    )
                    variables[outputs_of[0]] = target
                    continue
            if self.backend.in_place and rule.apply is None:
                made, result = [], self._in_place(rule, site, node)
            else:
                made = self._make(rule, site, node)
                result = self._apply(rule, site, node)
            self._complain(site, node)
            make += made
            if result is None:
                result = "None"
            names = (node.name, fused.name) if fused else (node.name,)
            if written and written[-1].silent:
                # What is not written is part of what reads it.
                names = (*written.pop().nodes, *names)
            written.append(
                _Written(
                    names,
                    outputs_of,
                    target,
                    result,
                    not isinstance(result, Statements) and not fused,
                )
            )
            for value, variable in zip(outputs_of, target.split(", "), strict=True):
                variables[value] = variable
            if isinstance(result, Statements) and (
                named or _used_next(nodes, end, uses)
            ):
                # ``h[-1]`` is read where it stands.
                variables[outputs_of[0]] = inline(result.value)
                written[-1] = dataclasses.replace(written[-1], keep=False)
        result_text = ", ".join(variables[v] for v in outputs)
        lines = [line for item in written for line in item.lines(margin)]
        body, value = tuple(lines), result_text
        # ``x = f(x)`` followed by ``return x`` is one line.
        if written and result_text == written[-1].target:
            final = written[-1]
            one = inline(final.expression) if not final.statements else ""
            if one and margin + len(f"return {one}") <= WIDTH:
                lines = [line for item in written[:-1] for line in item.lines(margin)]
                result_text = one
                lines.append(Line("return " + one, " ".join(final.nodes)))
            else:
                lines.append(Line("return " + result_text))
        else:
            lines.append(Line("return " + result_text))
        return Scope(
            name,
            function_name(name),
            parameters,
            arguments,
            tuple(make),
            tuple(lines),
            result_text,
            body,
            value,
        )

    def _called(self, op: Op) -> Op:
        """The use of a block without the sizes that its text does not need."""
        if not isinstance(op, Call):
            return op
        used = self.parameters[op.block.name]
        arguments = tuple((n, size) for n, size in op.arguments if n in used)
        return dataclasses.replace(op, arguments=arguments)

    def _rule(self, node: Node) -> Rule | None:
        rule = self.backend.rules.get(type(node.op))
        if rule is None:
            reason = self.backend.missing.get(type(node.op), "there is no rule for it")
            self.gaps.append(f"{node}: {reason}")
        return rule

    def _fused(
        self, nodes: Sequence[Node], i: int, uses: Mapping[str, int]
    ) -> Node | None:
        """The activation after node i, where the layer takes it as an argument."""
        if type(nodes[i].op) not in self.backend.fuses or i + 1 == len(nodes):
            return None
        after = nodes[i + 1]
        if type(after.op) not in self.backend.activations:
            return None
        if after.inputs != nodes[i].outputs or uses[nodes[i].outputs[0]] != 1:
            return None
        return after

    def _make(self, rule: Rule, site: Site, node: Node) -> list[Line]:
        self.needs |= set(rule.needs)
        if rule.make is None:
            return []
        try:
            made = rule.make(site)
        except Gap as gap:
            self.gaps.append(f"{node}: {gap}")
            return []
        if isinstance(made, Statements):
            return [Line(text, node.name) for text in made.lines]
        prefix = self.backend.assign.format(name=node.name)
        margin = self.backend.make_margin or self.backend.margin
        return [Line(text, node.name) for text in _fit(prefix, made, margin)]

    def _in_place(self, rule: Rule, site: Site, node: Node) -> Any:
        """``Dense(10)(x)``: the layer, applied where it is made."""
        self.needs |= set(rule.needs)
        try:
            made = rule.make(site) if rule.make else site.object
        except Gap as gap:
            self.gaps.append(f"{node}: {gap}")
            return None
        return call(made, *site.arguments)

    def _apply(self, rule: Rule, site: Site, node: Node) -> Any:
        self.needs |= set(rule.needs)
        if rule.apply is None:
            arguments = ", ".join(inline(a) for a in site.arguments)
            return f"{site.object}({arguments})"
        try:
            return rule.apply(site)
        except Gap as gap:
            self.gaps.append(f"{node}: {gap}")
            return None

    def _complain(self, site: Site, node: Node) -> None:
        unread = site.op.unread()
        if unread and not any(g.startswith(str(node)) for g in self.gaps):
            raise RuleError(
                f"the rule of {self.backend.name} for {node} does not look at "
                f"{', '.join(unread)}"
            )


@dataclass(frozen=True)
class _Written:
    """One statement of a network's body: the nodes in it, and what it computes."""

    nodes: tuple[str, ...]
    outputs: tuple[str, ...]
    target: str
    expression: Any
    nestable: bool
    keep: bool = True

    @property
    def statements(self) -> bool:
        return isinstance(self.expression, Statements)

    @property
    def silent(self) -> bool:
        return self.statements and not self.expression.lines and not self.keep

    def lines(self, margin: int) -> list[Line]:
        node = " ".join(self.nodes)
        if isinstance(self.expression, Statements):
            lines = [Line(text, node) for text in self.expression.lines]
            value = inline(self.expression.value)
            if self.keep and value != self.target:
                lines.append(Line(f"{self.target} = {value}", node))
            return lines
        fitted = _fit(f"{self.target} = ", self.expression, margin)
        return [Line(text, node) for text in fitted]


def _fit(prefix: str, expression: Expression, margin: int) -> list[str]:
    """Lines that fit once they are indented by so many columns."""
    lines = layout(" " * margin + prefix, expression)
    return [line[margin:] for line in lines]


def _names(node: Node, values: Sequence[str]) -> Sequence[str]:
    """A value is called as its node, or by its own name where a node has several."""
    return (node.name,) if len(values) == 1 else values


def _before(nodes: Sequence[Node], i: int, uses: Mapping[str, int]) -> Op | None:
    """What makes the value that node i alone reads, where it reads one."""
    if len(nodes[i].inputs) != 1 or uses[nodes[i].inputs[0]] != 1:
        return None
    return next((n.op for n in nodes[:i] if nodes[i].inputs[0] in n.outputs), None)


def _used_next(nodes: Sequence[Node], i: int, uses: Mapping[str, int]) -> bool:
    """Whether the one value of node i is read once, by the node after it."""
    values = nodes[i].outputs
    return (
        len(values) == 1
        and uses.get(values[0]) == 1
        and i + 1 < len(nodes)
        and values[0] in nodes[i + 1].inputs
    )


def _identifier(name: str, taken: Iterable[str]) -> str:
    """A name as a variable; not that of a function of the program, and no keyword."""
    name = re.sub(r"\W", "_", name)
    return f"{name}_" if name in taken else name


def _variable(
    node: Node, variables: Mapping[str, str], live: set[str], taken: Iterable[str]
) -> str:
    """A name for a node's value: the one it reads, if that is free, else a new one."""
    for value in node.inputs:
        if variables[value] not in live and variables[value].isidentifier():
            return variables[value]
    for name in ("x", "y", "z"):
        if name not in live:
            return name
    return _identifier(node.name, taken)


# --- Weights --------------------------------------------------------------------------


def _weights(writer: _Writer, graph: Graph) -> list[ProgramWeight]:
    """Every array of the program, in the order of the network."""
    backend = writer.backend
    return list(_walk(writer, graph.nodes, dict(graph.inputs), "", "", backend))


def _walk(
    writer: _Writer,
    nodes: Iterable[Node],
    types: dict[str, Type],
    canonical: str,
    path: str,
    backend: Backend,
) -> Iterable[ProgramWeight]:
    nodes = tuple(nodes)
    types = infer_nodes(nodes, types)
    for node in nodes:
        inputs = tuple(types[v] for v in node.inputs)
        if isinstance(node.op, Call):
            times = range(node.op.times) if isinstance(node.op, Repeat) else (None,)
            for index in times:
                name, own = node.name, node.name
                if index is not None:
                    name = f"{node.name}.{index}"
                    own = backend.repeated.format(name=node.name, index=index)
                arguments = dict(node.op.arguments)
                inside = tuple(
                    dataclasses.replace(n, op=n.op.resolve(arguments))
                    for n in node.op.block.nodes
                )
                names = (n for n, _ in node.op.block.inputs)
                yield from _walk(
                    writer,
                    inside,
                    dict(zip(names, inputs, strict=True)),
                    f"{canonical}{name}.",
                    f"{path}{own}{backend.inside or backend.separator}",
                    backend,
                )
                inside_types = infer_nodes(
                    inside,
                    dict(
                        zip((n for n, _ in node.op.block.inputs), inputs, strict=True)
                    ),
                )
                inputs = tuple(inside_types[v] for v in node.op.block.outputs)
            continue
        rule = backend.rules[type(node.op)]
        own_weights = node.op.weights(*inputs)
        if callable(rule.weights):
            outputs = tuple(types[v] for v in node.outputs)
            site = Site(
                node.op, node.name, "", inputs, outputs, (), "", None, backend, None
            )
            listed = rule.weights(site)
        else:
            listed = tuple(
                w for w in rule.weights if all(s in own_weights for s in w.sources)
            )
        covered = {source for weight in listed for source in weight.sources}
        if covered != set(own_weights):
            raise RuleError(
                f"the rule of {backend.name} for {node} has weights {sorted(covered)}, "
                f"the operation {sorted(own_weights)}"
            )
        for weight in listed:
            source = own_weights[weight.sources[0]]
            letters = weight.axes if len(weight.sources) == 1 else weight.axes[1:]
            sizes = dict(zip(source.axes, source.shape, strict=True))
            sizes |= {a: n for cut in weight.split.values() for a, n in cut}
            if not set(weight.gates) <= set(source.gates):
                raise RuleError(f"gates {weight.gates!r} of {node}")
            if weight.gates:
                units: Any = sizes["G"]
                sizes["G"] = units // len(source.gates) * len(weight.gates)
            shape = tuple(sizes[a] for a in letters)
            parts_of: tuple[Any, ...] = ()
            if weight.join:
                parts_of = tuple(
                    own_weights[name].shape[source.axes.index(letters[0])]
                    for name in weight.sources
                )
                shape = (sum(parts_of), *shape[1:])
            elif len(weight.sources) > 1:
                shape = (len(weight.sources), *shape)
            merged = {
                letter: (parts, backend.storage("N" + "".join(a for a, _ in parts))[1:])
                for letter, parts in source.merged.items()
            }
            yield ProgramWeight(
                f"{path}{node.name}{_between(weight, backend)}{weight.path}",
                weight.axes,
                shape,  # type: ignore[arg-type]
                tuple(f"{canonical}{node.name}.{s}" for s in weight.sources),
                source.axes,
                source.trained,
                (source.gates, weight.gates or source.gates),
                weight.join,
                merged,  # type: ignore[arg-type]
                weight.split,
                weight.flip,
                parts_of,
                weight.offset,
                weight.negative,
            )


def _between(weight: Weight, backend: Backend) -> str:
    """What stands between the name of a node and that of its weight."""
    together = not weight.path or weight.continues
    return "" if together else backend.separator


# --- The frame ------------------------------------------------------------------------


def _needed(needs: set[str], backend: Backend) -> tuple[str, ...]:
    """Texts of the helpers that are needed, with those that they call, in order."""
    names, wanted = list(backend.helpers), set(needs)
    for name in reversed(names):
        if name in wanted:
            text = backend.helpers[name]
            wanted |= {n for n in names if n != name and re.search(rf"\b{n}\b", text)}
    for name in names:
        if name in wanted:
            text = backend.helpers[name]
            wanted |= {n for n in names if re.search(rf"\b{n}\b", text)}
    return tuple(backend.helpers[name] for name in names if name in wanted)


_SLOT = re.compile(r"\$([a-z_]+)")


def _assemble(sections: Sequence[Section], backend: Backend) -> list[tuple[str, Line]]:
    """Fills the slots; drops imports that nothing uses; one step per line."""
    lines: list[tuple[str, Line]] = []
    for i, section in enumerate(sections):
        gap = [Line(""), Line("")] if i else []
        lines += [(section.step, line) for line in (*gap, *_fill(section))]
    body = "\n".join(
        line.text
        for step, line in lines
        if not line.text.startswith(("import ", "from "))
    )
    dropped = {
        text
        for text, name in backend.imports
        if not re.search(rf"(?<![\w.]){re.escape(name)}\b", body)
    }
    return [(step, line) for step, line in lines if line.text not in dropped]


def _fill(section: Section) -> Iterable[Line]:
    text = section.text.strip("\n")
    for row in text.split("\n"):
        alone = re.fullmatch(r"( *)\$([a-z_]+)", row)
        value = section.slots.get(alone[2]) if alone else None
        if alone and value is not None and not isinstance(value, str):
            for item in value:
                line = item if isinstance(item, Line) else Line(item)
                yield Line((alone[1] + line.text).rstrip(), line.node)
            continue
        yield Line(_SLOT.sub(lambda m: _word(section, m[1]), row).rstrip())


def _word(section: Section, name: str) -> str:
    value = section.slots[name]
    if not isinstance(value, str):
        raise RuleError(
            f"slot ${name} takes lines and stands inside one: {section.text}"
        )
    return value


def _spans(labels: Iterable[str], none: str) -> dict[str, tuple[int, int]]:
    """First and last line of every label; a label may hold several, by spaces."""
    spans: dict[str, tuple[int, int]] = {}
    for number, label in enumerate(labels, start=1):
        for name in label.split():
            first, _ = spans.get(name, (number, number))
            spans[name] = (first, number)
    return spans

"""What differs between two models, in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from netglot import backends, ops
from netglot.backend import Gap
from netglot.check.causes import Cause, Compared, Finding
from netglot.check.initial import Drawn
from netglot.check.models import ModelReport
from netglot.check.precision import in_words
from netglot.check.training import Learned
from netglot.emit import GapError, emit
from netglot.errors import UserError
from netglot.frontends.reading import Layer
from netglot.graph import Builder
from netglot.report import words

if TYPE_CHECKING:
    from rich.console import Console

#: The backend in whose words a framework's fix is written.
BACKENDS = {"pytorch": "pytorch", "flax": "flax", "keras": "keras-tensorflow"}
#: Findings that are written out; more are counted.
WRITTEN = 8


def show_findings(report: ModelReport, console: Console | None = None) -> None:
    """Print the verdict, then each difference with its cause."""
    from rich.console import Console

    console = console or Console()
    for line in lines(report):
        style = ""
        if line.startswith("DIFFERENT"):
            style = "bold red"
        elif line.startswith("THE SAME"):
            style = "bold green"
        console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def lines(report: ModelReport) -> Iterator[str]:
    """The whole answer, line by line."""
    left, right = report.left, report.right
    yield (
        f"left: {left.name} ({left.framework} {left.version}); "
        f"right: {right.name} ({right.framework} {right.version})"
    )
    for line in report.unstable:
        yield f"NOT DETERMINISTIC {line}"
    for line in report.broken:
        yield f"NO NUMBER {line}"
    findings = report.findings
    if report.same:
        judged = report.evaluated.judged
        count = len(judged)
        done = ", gradients and running statistics" if report.trained else ""
        if report.learned:
            count_of = words.count(len(report.learned.losses), "optimizer step")
            done = f"{done.replace(' and', ',')} and {count_of}"
        worst = max((layer.size for layer in judged), default=0.0)
        yield (
            f"THE SAME: {words.count(count, 'layer')}{done}; largest difference "
            f"{worst:.0e}"
        )
    for finding in findings[:WRITTEN]:
        yield from _finding(finding, report)
    if len(findings) > WRITTEN:
        yield f"and {len(findings) - WRITTEN} more layers (--json has them all)"
    wrong = [moved for moved in report.moved if not moved.form]
    for moved in wrong[:WRITTEN]:
        size = "" if moved.size == float("inf") else f" by {moved.size:.1e}"
        yield f"DIFFERENT in training: {moved.what} of {moved.left} differs{size}"
        if moved.cause:
            yield f"  cause: {moved.cause}"
    if report.learned:
        yield from _learned(report.learned)
    if len(wrong) > WRITTEN:
        yield f"and {len(wrong) - WRITTEN} more gradients (--json has them all)"
    yield from _also(report)
    yield from _forms(report)
    for side, settings in zip(("left", "right"), report.settings, strict=True):
        for line in in_words(settings):
            yield f"Also: shorter than float32 on the {side}: {line}"
    for side, layer in report.evaluated.unread:
        yield f"not read: {side} {layer} ({layer.why}); only its values are compared"
    for note in report.notes:
        yield f"note: {note}"


def _learned(learned: Learned) -> Iterator[str]:
    """What optimizer steps have shown."""
    if not learned.alike:
        left, right = learned.losses[0]
        yield (
            "DIFFERENT in training: the loss of the same weights and batch is "
            f"{left:.6g} on the left, {right:.6g} on the right"
        )
        ours, theirs = (text or "none that is known" for text in learned.formulas)
        if ours != theirs:
            yield f"  cause: right: {theirs}"
            yield f"         left:  {ours}"
    ruled = learned.ruled
    if not ruled.same:
        yield (
            "DIFFERENT in training: for the same gradients the optimizers' steps "
            f"differ by {ruled.size:.1e}"
        )
        for index, cause in enumerate(ruled.causes):
            line = f"  cause: {cause}" if index == 0 else f"    and: {cause}"
            if index == len(ruled.causes) - 1:
                line += (
                    "   [verified: with it the difference is "
                    f"{ruled.left_over or 0.0:.0e}]"
                )
            yield line
        if ruled.unknown:
            yield f"  cause: {ruled.unknown}"
    elif learned.unexplained:
        yield (
            f"DIFFERENT in training: after {words.count(len(learned.losses), 'step')} "
            f"the weights differ by {learned.size:.1e}, though losses and optimizers "
            "agree"
        )


def _also(report: ModelReport) -> Iterator[str]:
    """What this comparison could not show, a line for what several layers share."""
    told = {(moved.left.name, moved.cause) for moved in report.moved}
    layers: dict[str, list[str]] = {}
    for layer, other, cause in report.evaluated.hidden:
        shown = cause.attribute == "unbiased" and report.trained is not None
        if not shown and (layer.name, cause.what) not in told:
            both = other is not None and other.name != layer.name
            name = f"{layer.name} / {other.name}" if both and other else layer.name
            layers.setdefault(cause.what, []).append(name)
    for what, names in layers.items():
        yield f"Also: {what} ({', '.join(names)}); not visible in this forward pass"
    starts: dict[tuple[str, str, str], list[Drawn]] = {}
    for drawn in report.drawn:
        weight = drawn.weight.rpartition(".")[2]
        key = (weight, drawn.right.name, drawn.left.name)
        starts.setdefault(key, []).append(drawn)
    for (weight, right, left), found in starts.items():
        of = ", ".join(drawn.weight.removesuffix(f".{weight}") for drawn in found)
        largest = max(drawn.p for drawn in found)
        p = f" (p < {largest:.0e})" if largest else ""
        words_of = f"{right} on the right, {left} on the left{p}"
        yield f"Also: initial {weight} ({of}): {words_of}"


def _forms(report: ModelReport) -> Iterator[str]:
    """How the frameworks do it, which nobody can choose."""
    found: dict[str, list[str]] = {}
    for moved in report.moved:
        if moved.form:
            found.setdefault(moved.cause, []).append(moved.left.name)
    for form in report.learned.ruled.forms if report.learned else ():
        found[form] = ["the optimizer"]
    for form, names in found.items():
        yield f"note: {form} ({', '.join(names)}): the frameworks' own forms"


def _finding(finding: Finding, report: ModelReport) -> Iterator[str]:
    layer, other = finding.left, finding.right
    kind = type(layer.op).__name__ if layer and layer.op else ""
    names = [f"{report.left.framework} `{layer.name}`"] if layer else []
    if other:
        names.append(f"{report.right.framework} `{other.name}`")
    yield (
        f"DIFFERENT at layer {finding.number} of {finding.of}: "
        f"{layer.name if layer else ''} ({kind}; {', '.join(names)})"
    )
    yield (
        f"  its inputs agree, its outputs differ by {finding.size:.1e} "
        f"(rounding: up to {finding.allowed:.0e})"
    )
    for index, cause in enumerate(finding.causes):
        line = f"  cause: {cause.what}" if index == 0 else f"    and: {cause.what}"
        if index == len(finding.causes) - 1 and finding.left_over is not None:
            line += f"   [verified: with it the difference is {finding.left_over:.0e}]"
        yield line
    if not finding.causes:
        yield "  cause: nothing that is known gives this"
    if finding.left_over is None and finding.note:
        yield f"    {finding.note}"
    place = other.made or other.source if other else ""
    wanted = next((cause for cause in finding.causes if cause.wanted), None)
    change = next((cause.change for cause in finding.causes if cause.change), "")
    fix = ""
    if change:
        fix = change
    elif wanted and wanted.wanted:
        backend = BACKENDS[report.right.framework]
        op = _mended(finding) or wanted.wanted
        fix = written(op, wanted.inputs, backend)
    if fix or place:
        yield f"  fix:   {fix or 'see'}   {place}".rstrip()


def _mended(finding: Finding) -> ops.Op | None:
    """The right side's own operation but for what the causes name.

    None where they are no attributes of it. What else the left side's operation has may
    be nothing that the right side's framework can say.
    """
    attributes = {cause.attribute: cause.left for cause in finding.causes}
    op = finding.right.op if finding.right else None
    if "" in attributes or not attributes or op is None:
        return None
    if not all(hasattr(op, name) for name in attributes):
        return None
    # A layer of the left side that is meant may be another one of several.
    if finding.left is None or type(finding.left.op) is not type(op):
        return None
    mended: Any = op
    return dataclasses.replace(mended, **attributes)  # type: ignore[no-any-return]


def written(op: ops.Op, inputs: tuple[ops.Type, ...], backend: str) -> str:
    """The line that makes an operation in a framework; empty where it cannot."""
    from netglot.data import DataSpec
    from netglot.workloads import Workload

    net = Builder("fix")
    try:
        values = [
            net.input(f"x{i}" if i else "x", t.axes, t.shape[1:], t.dtype)
            for i, t in enumerate(inputs)
        ]
        graph = net.graph(net.add(op, *values, name="layer"))
        spec = DataSpec("fix", "features", (1,), 2)
        program = emit(
            Workload("fix", "", graph, None, spec, batch_size=1), backends.get(backend)
        )
    except (GapError, Gap, UserError, ValueError, TypeError):
        return ""
    texts = program.source.splitlines()
    found = [
        text.strip()
        for text, (_, nodes) in zip(texts, program.labels, strict=False)
        if "layer" in nodes
    ]
    line = found[0] if found else ""
    return line.partition(" = ")[2] or line


def to_json(report: ModelReport) -> dict[str, Any]:
    """Every number."""

    def layer(item: Layer | None) -> Any:
        if item is None:
            return None
        return {"name": item.name, "kind": item.kind, "op": repr(item.op)}

    def cause(item: Cause) -> dict[str, Any]:
        return {
            "what": item.what,
            "attribute": item.attribute,
            "left": repr(item.left),
            "right": repr(item.right),
            "change": item.change,
        }

    def compared(found: Compared) -> list[dict[str, Any]]:
        return [
            {"left": item.left, "right": item.right, "not judged": item.why}
            if item.why
            else {
                "left": item.left,
                "right": item.right,
                "difference": item.size,
                "allowed": item.allowed,
            }
            for item in found.layers
        ]

    return {
        "same": report.same,
        "left": vars(report.left),
        "right": vars(report.right),
        "layers": compared(report.evaluated),
        "layers in training": compared(report.trained) if report.trained else None,
        "findings": [
            {
                "left": layer(finding.left),
                "right": layer(finding.right),
                "difference": finding.size,
                "allowed": finding.allowed,
                "causes": [cause(item) for item in finding.causes],
                "left_over": finding.left_over,
                "note": finding.note,
            }
            for finding in report.findings
        ],
        "training": [
            {
                "what": item.what,
                "left": layer(item.left),
                "right": layer(item.right),
                "difference": item.size,
                "allowed": item.allowed,
                "same": item.same,
                "cause": item.cause,
                "form": item.form,
            }
            for item in report.passed
        ],
        "steps": None
        if report.learned is None
        else {
            "losses": [list(pair) for pair in report.learned.losses],
            "formulas": list(report.learned.formulas),
            "weights": report.learned.size,
            "weights allowed": report.learned.allowed,
            "weights by layer": {k: list(v) for k, v in report.learned.layers.items()},
            "first loss": dict(
                zip(("difference", "allowed"), report.learned.apart, strict=True)
            ),
            "rule": dataclasses.asdict(report.learned.ruled),
        },
        "drawn": [dataclasses.asdict(item) for item in report.drawn],
        "hidden": [
            {"left": layer(a), "right": layer(b), "cause": cause(item)}
            for a, b, item in report.evaluated.hidden
        ],
        "unread": [
            {"side": side, "layer": layer(item), "why": item.why}
            for side, item in report.evaluated.unread
        ],
        "unstable": list(report.unstable),
        "broken": list(report.broken),
        "notes": list(report.notes),
        "settings": {
            side: [dataclasses.asdict(setting) for setting in settings]
            for side, settings in zip(("left", "right"), report.settings, strict=True)
        },
    }

"""A page per framework: what it is, how it is had, what it says and what it cannot."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from netglot import workloads
from netglot.backend import Backend
from netglot.defaults.table import Table
from netglot.emit import GapError, emit
from netglot.report import words
from netglot.report.defaults import value

#: The program that a page shows.
SHOWN = "mnist-lenet"
LAYOUTS = {"NCHW": "channels first", "NHWC": "channels last"}


def facts(backend: Backend) -> dict[str, str]:
    """What is known of a framework without running it."""
    layout = backend.storage("NCHW")
    return {
        "home": backend.home,
        "since": backend.since,
        "licence": backend.licence,
        "written in": backend.language,
        "style of its programs": backend.style,
        "layout of images": LAYOUTS.get(layout, layout),
        "precisions": ", ".join(backend.dtypes),
    }


def page(backend: Backend, defaults: Mapping[str, Table]) -> str:
    """The page in Markdown; ``defaults`` are the stored tables by framework."""
    sections = [
        ("", _facts(backend)),
        ("Install", _install(backend)),
        ("A program", _program(backend)),
        ("Forms", _forms(backend)),
        ("What it cannot say", _missing(backend)),
        ("Said in other operations", _rewrites(backend)),
        ("Quirks", _quirks(backend)),
        ("What it does when told nothing", _defaults(defaults.get(backend.name))),
    ]
    lines = [f"# {backend.title}", ""]
    for title, body in sections:
        content = list(body)
        if content:
            lines += [f"## {title}", ""] if title else []
            lines += [*content, ""]
    return "\n".join(lines)


def _facts(backend: Backend) -> Iterator[str]:
    yield "| | |"
    yield "|---|---|"
    for name, text in facts(backend).items():
        yield f"| {name} | {text} |"


def _install(backend: Backend) -> Iterator[str]:
    env = backend.env
    yield f"    netglot env add {backend.name}"
    yield ""
    pinned = " ".join(f"`{requirement}`" for requirement in env.requirements)
    yield f"- Python {' or '.join(env.python)}: {pinned}"
    if env.pip_arguments:
        yield f"- pip is given {' '.join(f'`{a}`' for a in env.pip_arguments)}"
    for need in env.needs:
        yield f"- the command `{need.command}`: {need.why} (`{need.get}`)"
    for shim in env.shims:
        yield f"- shim `{shim.name}`: {shim.reason}"
    for name, text in env.variables.items():
        yield f"- `{name}={text}`"
    yield f"- threads are limited by {words.listing(f'`{n}`' for n in env.threads)}"


def _program(backend: Backend) -> Iterator[str]:
    try:
        program = emit(workloads.get(SHOWN), backend)
    except GapError as gap:
        yield f"`{SHOWN}`: {gap}."
        return
    yield f"`netglot show {SHOWN} --in {backend.name}`:"
    yield ""
    yield f"```{backend.script.name}"
    yield program.source.rstrip()
    yield "```"


def _forms(backend: Backend) -> Iterator[str]:
    """Of operations that come in several forms, those that it has as its own."""
    for kind, forms in backend.forms.items():
        told = (
            ", ".join(f"{name} {_word(given)}" for name, given in form.items())
            for form in forms
        )
        yield f"- {kind.__name__}: {'; or '.join(told)}"


def _word(given: Any) -> str:
    return {True: "yes", False: "no"}.get(given, str(given))


def _missing(backend: Backend) -> Iterator[str]:
    for kind, why in backend.missing.items():
        yield f"- {kind.__name__}: {why}"
    for name in workloads.names():
        try:
            emit(workloads.get(name), backend)
        except GapError as gap:
            yield f"- the workload `{name}`: {'; '.join(gap.gaps)}"


def _rewrites(backend: Backend) -> Iterator[str]:
    for kind, rewrite in backend.rewrites.items():
        first = (inspect.getdoc(rewrite) or "").split("\n\n")[0].replace("\n", " ")
        yield f"- {kind.__name__}: {first or 'by a rewrite'}"


def _quirks(backend: Backend) -> Iterator[str]:
    """The comments in the functions of its drawers, by what these are about."""
    found: dict[str, dict[str, None]] = {}
    for kind, function in _functions(backend):
        for comment in _comments(inspect.getsource(function)):
            found.setdefault(comment, {})[kind] = None
    for comment, kinds in found.items():
        yield f"- {words.listing(kinds)}: {comment}"


def _functions(backend: Backend) -> Iterator[tuple[str, Any]]:
    """Every function of the rules and the rewrites, and what it is about."""
    for kind, rule in backend.rules.items():
        for part in (rule.make, rule.apply, rule.weights):
            if inspect.isfunction(part):
                yield kind.__name__, part
    drawers: tuple[Mapping[type, Any], ...] = (
        backend.losses,
        backend.optimizers,
        backend.initializers,
        backend.rewrites,
    )
    for drawer in drawers:
        for kind, part in drawer.items():
            if inspect.isfunction(part):
                yield kind.__name__, part


def _comments(source: str) -> Iterator[str]:
    """Comments on lines of their own; lines that follow each other are one."""
    text = ""
    for line in (*map(str.strip, source.splitlines()), ""):
        if line.startswith("# ") and not line.startswith("# type:"):
            text = f"{text} {line[2:]}".strip()
        elif text:
            yield text
            text = ""


def _defaults(table: Table | None) -> Iterator[str]:
    if table is None:
        return
    version = ", ".join(f"{name} {told}" for name, told in table.versions.items())
    yield f"Read by running it ({version}, {table.date})."
    yield ""
    yield "| operation | attribute | value |"
    yield "|---|---|---|"
    for name, rows in table.facts.items():
        for attribute, fact in rows.items():
            if fact.value is not None:
                yield f"| {name} | {attribute} | {value(fact.value)} |"


def index(every: Iterable[Backend]) -> str:
    """The list of all pages, in Markdown."""
    lines = [
        "# Frameworks",
        "",
        "Each page is printed from the backend's own file: `make docs`.",
        "",
        "| framework | since | style | layout | Python |",
        "|---|---|---|---|---|",
    ]
    for backend in every:
        found = facts(backend)
        items = (
            f"[{backend.title}]({backend.name}.md)",
            backend.since,
            backend.style,
            found["layout of images"],
            ", ".join(backend.env.python),
        )
        lines.append(f"| {' | '.join(items)} |")
    return "\n".join([*lines, ""])

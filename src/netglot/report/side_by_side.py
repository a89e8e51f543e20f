"""Programs beside each other, layer by layer: text, Markdown, HTML, and the notebook.

Every line of a program knows its step and its nodes (``Program.labels``). Consecutive
lines of the same nodes are a piece; the pieces of all programs are aligned in order, so
that a layer stands on the same row everywhere and no program is rearranged.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from netglot.backend import STEPS, Program
from netglot.emit import function_name
from netglot.errors import UserError, unknown
from netglot.report import pages

if TYPE_CHECKING:
    from rich.text import Text

TITLES = {
    "head": "Imports and constants",
    "data": "Load the data",
    "network": "The network",
    "setup": "Loss, optimizer, initial weights",
    "train": "Train",
    "predict": "Predict",
    "evaluate": "Evaluate",
    "main": "The command line",
}
FORMATS = ("text", "markdown", "html", "ipynb", "py")
#: A column narrower than this breaks too many lines.
NARROWEST = 56
_GAP = " │ "
_TITLE = re.compile(r"(#|--) \d+\. .+")


@dataclass(frozen=True)
class Piece:
    """Consecutive lines (both ends included, from 1) of a program, of one subject.

    ``nodes`` are the layers they write, as (block, node) with "" for the network
    itself; where there are none, ``about`` says what the lines are: the name of a
    function, of a block, or "". ``apart``: a blank line stands before them.
    """

    step: str
    nodes: frozenset[tuple[str, str]]
    about: str
    first: int
    last: int
    apart: bool


@dataclass(frozen=True)
class Row:
    """Pieces of several programs that say the same; None where a program has none."""

    step: str
    pieces: tuple[Piece | None, ...]

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of the layers in any of the pieces, in the order of the programs."""
        names: dict[str, None] = {}
        for piece in self.pieces:
            for _, name in sorted(piece.nodes if piece else ()):
                names[name] = None
        return tuple(names)


def show(
    programs: Sequence[Program],
    format: str = "text",
    width: int = 100,
    colour: bool = False,
    steps: Sequence[str] = (),
) -> str:
    """Programs of one workload beside each other.

    ``format``: ``text`` (as many columns as fit into ``width``, else one program after
    the other; ``colour`` adds the terminal's codes), ``markdown``, ``html`` (one page
    that needs nothing else), ``ipynb`` (one program), ``py`` (the sources). ``steps``
    (of ``netglot.backend.STEPS``) leaves the others out. Raises ``UserError`` for an
    unknown format or step, and for a notebook of several programs.
    """
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    for step in steps:
        if step not in STEPS:
            raise unknown("step of a program", step, STEPS)
    if format == "ipynb":
        if len(programs) != 1:
            names = ", ".join(program.backend for program in programs)
            raise UserError(
                f"A notebook holds one program, not {len(programs)} ({names}). "
                "Name one framework with --in."
            )
        return notebook(programs[0])
    if format == "py":
        return _sources(programs)
    wanted = tuple(step for step in STEPS if not steps or step in steps)
    if format == "markdown":
        return _markdown(programs, wanted)
    if format == "html":
        return _html(programs, wanted)
    return _text(programs, wanted, width, colour)


def notebook(program: Program) -> str:
    """The program as a Jupyter notebook: a heading per step, a cell per function.

    The cells of ``main`` have the defaults of its command line.
    """
    from netglot.report.notebooks import notebook as write

    return write(program)


def _sources(programs: Sequence[Program]) -> str:
    if len(programs) == 1:
        return programs[0].source
    return "\n\n".join(
        f"{p.script.comment} ---- {p.name}\n\n{p.source}" for p in programs
    )


# --- Alignment ------------------------------------------------------------------------


def pieces(program: Program) -> list[Piece]:
    """The pieces of a program, in order."""
    lines = program.source.splitlines()
    places = _definitions(program)
    blocks = [function_name(block.name) for block in program.graph.blocks()]
    known = _nodes(program)
    found: list[Piece] = []
    apart = True
    for number, (text, (step, nodes)) in enumerate(
        zip(lines, _labels(program), strict=True), start=1
    ):
        if not text.strip():
            apart = True
            continue
        definition = places.get(number, "")
        block = _block(definition, blocks) if step == "network" else ""
        key = frozenset((block, _origin(node, known)) for node in nodes)
        about = "" if nodes else block if step == "network" else definition
        if _TITLE.fullmatch(text):
            about = "title"
        before = found[-1] if found else None
        # A function or the imports may hold blank lines, the network's pieces not.
        whole = step == "head" or (step != "network" and bool(definition))
        continues = (
            before is not None
            and (before.step, before.nodes, before.about) == (step, key, about)
            and (whole or not apart)
        )
        if before is not None and continues:
            found[-1] = replace(before, last=number)
        else:
            found.append(Piece(step, key, about, number, number, apart))
        apart = False
    return found


def _nodes(program: Program) -> frozenset[str]:
    """Names of the nodes of the network and its blocks."""
    owners: list[Any] = [program.graph, *program.graph.blocks()]
    return frozenset(node.name for owner in owners for node in owner.nodes)


def _origin(node: str, known: frozenset[str]) -> str:
    """The node that a rewritten one came from: ``conv2_pad`` is of ``conv2``."""
    if node in known:
        return node
    starts = [name for name in known if node.startswith(name + "_")]
    return max(starts, key=len, default=node)


def _joined(
    found: Sequence[Piece], together: Sequence[frozenset[tuple[str, str]]]
) -> list[Piece]:
    """Neighbours become one piece where another program writes their layers in one."""
    result: list[Piece] = []
    for piece in found:
        before = result[-1] if result else None
        if (
            before is not None
            and before.nodes
            and piece.nodes
            and before.step == piece.step
            and not piece.apart
            and any(before.nodes | piece.nodes <= group for group in together)
        ):
            result[-1] = replace(
                before, nodes=before.nodes | piece.nodes, last=piece.last
            )
        else:
            result.append(piece)
    return result


def _labels(program: Program) -> Sequence[tuple[str, tuple[str, ...]]]:
    """Step and nodes of every line; the step alone where the program has no labels."""
    if program.labels:
        return program.labels
    steps = {
        number: step
        for step, (first, last) in program.steps.items()
        for number in range(first, last + 1)
    }
    count = program.source.count("\n")
    return [(steps.get(number, "main"), ()) for number in range(1, count + 1)]


def _definitions(program: Program) -> dict[int, str]:
    """The top-level function or class that each line is in, its comment included."""
    return {
        number: name
        for first, last, name in program.script.definitions(program.source)
        for number in range(first, last + 1)
    }


def _block(definition: str, blocks: Sequence[str]) -> str:
    """The block that a class or function writes; "" for the network itself."""
    name = function_name(definition)
    return max((block for block in blocks if block in name), key=len, default="")


def align(programs: Sequence[Program]) -> list[Row]:
    """Rows of pieces that say the same, in the order of every program."""
    everything = [pieces(program) for program in programs]
    together = [p.nodes for found in everything for p in found if len(p.nodes) > 1]
    rows: list[Row] = []
    for count, found in enumerate(everything):
        rows = _merge(rows, _joined(found, together), count)
    return rows


def _merge(rows: Sequence[Row], added: Sequence[Piece], count: int) -> list[Row]:
    """The rows with one more program: step by step, by the best alignment in order."""
    result: list[Row] = []
    for step in STEPS:
        old = [row for row in rows if row.step == step]
        new = [piece for piece in added if piece.step == step]
        for row, piece in _best(old, new):
            before = row.pieces if row else (None,) * count
            result.append(Row(step, (*before, piece)))
    return result


def _best(
    rows: Sequence[Row], added: Sequence[Piece]
) -> Iterable[tuple[Row | None, Piece | None]]:
    """Needleman and Wunsch's alignment (1970), gaps free, likeness by ``_likeness``."""
    best = [[0.0] * (len(added) + 1) for _ in range(len(rows) + 1)]
    for i in range(len(rows) - 1, -1, -1):
        for j in range(len(added) - 1, -1, -1):
            together = _likeness(rows[i], added[j]) + best[i + 1][j + 1]
            best[i][j] = max(together, best[i + 1][j], best[i][j + 1])
    i = j = 0
    # As late as possible: a layer that is made in one place and applied in another
    # stands, where it is written once elsewhere, beside the place where it is applied.
    while i < len(rows) or j < len(added):
        if i < len(rows) and best[i][j] == best[i + 1][j]:
            yield rows[i], None
            i += 1
        elif j < len(added) and best[i][j] == best[i][j + 1]:
            yield None, added[j]
            j += 1
        else:
            yield rows[i], added[j]
            i, j = i + 1, j + 1


def _likeness(row: Row, piece: Piece) -> float:
    """How much a piece says the same as those of a row; 0 where it does not."""
    nodes = _keys(row)
    about = {p.about for p in row.pieces if p}
    if nodes and piece.nodes:
        common = len(nodes & piece.nodes)
        # Every layer counts more than any line without one.
        return 10.0 * common if common else 0.0
    if nodes or piece.nodes:
        return 0.0
    return 1.0 if piece.about in about else 0.0


# --- Text -----------------------------------------------------------------------------


def _text(
    programs: Sequence[Program], steps: Sequence[str], width: int, colour: bool
) -> str:
    from rich.console import Console
    from rich.text import Text

    file = io.StringIO()
    console = Console(
        file=file,
        width=max(width, 20),
        force_terminal=colour,
        no_color=not colour,
        color_system="truecolor" if colour else None,
        highlight=False,
        legacy_windows=False,
    )
    start = 0
    while start < len(programs):
        group = programs[start : start + _columns(programs[start:], width)]
        if start:
            console.print()
        lines = _beside(group, steps, width) if len(group) > 1 else _alone(group, steps)
        for line in lines:
            console.print(line, soft_wrap=True)
        start += len(group)
    if not programs:
        console.print(Text("no programs"))
    return "\n".join(line.rstrip() for line in file.getvalue().split("\n"))


def _columns(programs: Sequence[Program], width: int) -> int:
    """How many of the programs stand beside each other."""
    for count in range(len(programs), 1, -1):
        room = width - len(_GAP) * (count - 1)
        needed = sum(_longest(program) for program in programs[:count])
        if needed <= room or room // count >= NARROWEST:
            return count
    return 1


def _longest(program: Program) -> int:
    return max((len(line) for line in program.source.splitlines()), default=0)


def _alone(programs: Sequence[Program], steps: Sequence[str]) -> Iterable[Text]:
    """One program over the whole width."""
    from rich.text import Text

    for program in programs:
        yield Text(f"{_title(program)}: {program.name}", "bold")
        yield Text("")
        highlighted = _highlighted(program)
        labels = _labels(program)
        shown = [
            line
            for line, (step, _) in zip(highlighted, labels, strict=True)
            if step in steps
        ]
        while shown and not shown[0].plain.strip():
            shown = shown[1:]
        yield from shown


def _beside(
    programs: Sequence[Program], steps: Sequence[str], width: int
) -> Iterable[Text]:
    """Programs in columns, a rule above each step."""
    from rich.text import Text

    widths = _widths(programs, width)
    texts = [_highlighted(program) for program in programs]
    heads = [Text(_title(program), "bold") for program in programs]
    yield _join([[head] for head in heads], widths, 0)
    total = sum(widths) + len(_GAP) * (len(widths) - 1)
    rows = align(programs)
    for step in steps:
        of_step = [row for row in rows if row.step == step]
        if not of_step:
            continue
        rule = f"── {TITLES[step]} "
        yield Text(rule + "─" * max(0, total - len(rule)), "dim")
        for i, row in enumerate(of_step):
            if i and any(piece and piece.apart for piece in row.pieces):
                yield _join([[] for _ in programs], widths, 0)
            cells = [
                _wrapped(text[p.first - 1 : p.last], room) if p else []
                for text, p, room in zip(texts, row.pieces, widths, strict=True)
            ]
            for line in range(max(map(len, cells))):
                yield _join(cells, widths, line)


def _widths(programs: Sequence[Program], width: int) -> list[int]:
    """The columns' widths: what each needs, or equal shares of what there is."""
    room = width - len(_GAP) * (len(programs) - 1)
    needed = [_longest(program) for program in programs]
    if sum(needed) <= room:
        return needed
    share = room // len(programs)
    # What short programs leave is for the others.
    spare = sum(max(0, share - need) for need in needed)
    wide = sum(need > share for need in needed)
    return [min(need, share + spare // max(1, wide)) for need in needed]


def _highlighted(program: Program) -> list[Text]:
    """The lines of a program with its syntax in colour."""
    from rich.syntax import Syntax

    syntax = Syntax(program.source, program.script.name, theme="ansi_dark")
    lines = syntax.highlight(program.source).split("\n", allow_blank=True)
    return list(lines)[: len(program.source.splitlines())]


def _wrapped(lines: Sequence[Text], width: int) -> list[Text]:
    """The lines, those too long broken; an arrow begins what continues a line."""
    from rich.text import Text

    result = []
    for line in lines:
        margin = len(line.plain) - len(line.plain.lstrip())
        indent = " " * min(margin + 2, width // 2)
        while len(line) > width:
            # At the last space, where that leaves at least half a line.
            cut = line.plain.rfind(" ", width // 2, width + 1)
            cut = cut if cut > margin else width
            result.append(line[:cut])
            rest = line[cut:]
            spaces = len(rest.plain) - len(rest.plain.lstrip())
            line = Text.assemble((f"{indent}↪ ", "dim"), rest[spaces:])
        result.append(line)
    return result


def _join(cells: Sequence[Sequence[Text]], widths: Sequence[int], line: int) -> Text:
    """One line of the terminal: the line of each column, filled up to its width."""
    from rich.text import Text

    whole = Text()
    for i, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        if i:
            whole.append(_GAP, "dim")
        piece = cell[line].copy() if line < len(cell) else Text()
        piece.pad_right(max(0, width - len(piece)))
        whole.append_text(piece)
    return whole


def _title(program: Program) -> str:
    """The framework's title: ``PyTorch``."""
    from netglot import backends

    try:
        return backends.get(program.backend).title
    except UserError:
        return program.backend


# --- Markdown and HTML ----------------------------------------------------------------


def _code(program: Program, piece: Piece) -> list[str]:
    return program.source.splitlines()[piece.first - 1 : piece.last]


def _step(program: Program, step: str) -> str:
    """The lines of a step, without blank lines around them."""
    lines = program.source.splitlines()
    chosen = [t for t, (s, _) in zip(lines, _labels(program), strict=True) if s == step]
    return "\n".join(chosen).strip("\n")


def _heading(programs: Sequence[Program]) -> str:
    names = dict.fromkeys(program.workload for program in programs)
    return f"{', '.join(names)} in {', '.join(map(_title, programs))}"


def _markdown(programs: Sequence[Program], steps: Sequence[str]) -> str:
    """A table of the layers, and the steps of all programs in blocks."""
    lines = [f"# {_heading(programs)}", ""]
    rows = align(programs)
    for step in steps:
        if not any(_step(program, step) for program in programs):
            continue
        lines += [f"## {TITLES[step]}", ""]
        if step == "network" and len(programs) > 1:
            lines += ["| layer | " + " | ".join(map(_title, programs)) + " |"]
            lines += ["| --- |" + " --- |" * len(programs)]
            for names, parts in _layers([row for row in rows if row.step == step]):
                cells = [
                    "<br>".join(_cell(_code(program, piece)) for piece in cell)
                    for program, cell in zip(programs, parts, strict=True)
                ]
                lines.append(f"| {names} | " + " | ".join(cells) + " |")
            lines.append("")
        for program in programs:
            code = _step(program, step)
            if code:
                lines += [
                    f"**{_title(program)}**",
                    "",
                    f"```{program.script.name}",
                    code,
                    "```",
                    "",
                ]
    return "\n".join(lines)


def _layers(rows: Sequence[Row]) -> list[tuple[str, list[list[Piece]]]]:
    """A row per layer: its names, and of each program all pieces that write it.

    What only some programs write apart (the layer's construction) goes to the row of
    the same layer that more programs share.
    """
    layers = [row for row in rows if row.nodes]
    homes = []
    for row in layers:
        wider = [
            r for r in layers if _filled(r) > _filled(row) and _keys(r) & _keys(row)
        ]
        homes.append(wider[0] if wider else row)
    result = []
    for row in layers:
        mine = [r for r, home in zip(layers, homes, strict=True) if home is row]
        if mine:
            blocks = {block for block, _ in _keys(row) if block}
            names = ", ".join([*row.nodes])
            if blocks:
                names = f"{', '.join(sorted(blocks))}: {names}"
            columns = zip(*(r.pieces for r in mine), strict=True)
            result.append((names, [[p for p in column if p] for column in columns]))
    return result


def _filled(row: Row) -> int:
    return sum(piece is not None for piece in row.pieces)


def _keys(row: Row) -> frozenset[tuple[str, str]]:
    return frozenset().union(*(piece.nodes for piece in row.pieces if piece))


def _cell(code: Sequence[str]) -> str:
    """Lines of code inside a cell of a Markdown table."""
    joined = re.sub(r"([(\[{]) | ([)\]}])", r"\1\2", " ".join(map(str.strip, code)))
    if len(code) > 1 and not code[-1].strip().startswith((")", "]", "}")):
        return "<br>".join(_cell([line]) for line in code)
    return "`" + joined.replace(",)", ")").replace("|", "\\|") + "`"


def _html(programs: Sequence[Program], steps: Sequence[str]) -> str:
    """One page: a table with a column per program and a row per layer."""
    from netglot.report.code import highlighted, style

    # Highlighted whole, so that strings of several lines keep their colour.
    lines = [
        _spans_closed(highlighted(p.source, p.script.name).split("\n"))
        for p in programs
    ]
    sections: list[dict[str, Any]] = []
    rows = align(programs)
    for step in steps:
        of_step = [row for row in rows if row.step == step]
        if of_step:
            cells = [
                {
                    "nodes": row.nodes,
                    "apart": i > 0 and any(p and p.apart for p in row.pieces),
                    "cells": [
                        "\n".join(text[p.first - 1 : p.last]) if p else ""
                        for text, p in zip(lines, row.pieces, strict=True)
                    ],
                }
                for i, row in enumerate(of_step)
            ]
            sections.append({"title": TITLES[step], "rows": cells})
    return pages.render(
        "side_by_side.html",
        heading=_heading(programs),
        titles=[_title(program) for program in programs],
        sections=sections,
        code_style=style(),
    )


def _spans_closed(lines: Sequence[str]) -> list[str]:
    """Lines of HTML, each with its own spans: what is open at an end opens again."""
    result, open_spans = [], list[str]()
    for line in lines:
        text = "".join(open_spans) + line
        for tag in re.findall(r"<span[^>]*>|</span>", line):
            if tag == "</span>":
                open_spans.pop()
            else:
                open_spans.append(tag)
        result.append(text + "</span>" * len(open_spans))
    return result

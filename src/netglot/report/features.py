"""The table of features: terminal, Markdown, CSV, JSON and a page; one cell in full."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netglot import backends, places
from netglot.features import rows
from netglot.features.cells import MEANINGS, Cell, State
from netglot.features.rows import Row
from netglot.report import words

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

Cells = Mapping[tuple[str, str], Cell]

_COLOURS: Mapping[State, str] = {
    "yes": "green",
    "partial": "yellow",
    "no": "red",
    "fallback": "yellow",
    "not here": "dim",
    "error": "bold white on red",
    "timeout": "bold white on red",
    "declared": "",
    "unasked": "dim",
}
#: What a group of rows is called.
TITLES = {"ancestors": "What the tables of 2016 and 2017 asked", "today": "Today"}
#: Columns that a terminal needs for the titles of rows and for a framework.
_TITLE, _COLUMN = 30, 15


def words_of(cell: Cell) -> str:
    """What stands in the table: the state in words, and what belongs to it."""
    if cell.state == "unasked":
        return words.NOTHING
    if cell.state == "declared":
        return cell.text
    if cell.state == "partial":
        return cell.text
    if cell.state == "yes" and rows.get(cell.row).kind == "own":
        return cell.text
    return f"{cell.state} {cell.text}".strip()


def chosen(cells: Cells) -> tuple[list[Row], list[str]]:
    """The rows and the frameworks of a table, in order."""
    asked = {row for row, _ in cells}
    names = list(dict.fromkeys(name for _, name in cells))
    return [row for row in rows.ROWS.values() if row.name in asked], names


def counts(cells: Cells) -> dict[str, Any]:
    """How much of the table is filled, how much of that was run, how much failed."""
    states = Counter(cell.state for cell in cells.values())
    filled = len(cells) - states["unasked"]
    executed = sum(cell.executed for cell in cells.values())
    return {
        "cells": len(cells),
        "filled": filled,
        "executed": executed,
        "states": {state: states[state] for state in MEANINGS if states[state]},
    }


def sentence(cells: Cells) -> str:
    """``24 rows x 7 frameworks: 160 of 168 cells filled, 140 executed; ...``."""
    asked, names = chosen(cells)
    found = counts(cells)
    states = ", ".join(f"{n} {state}" for state, n in found["states"].items())
    return (
        f"{words.count(len(asked), 'row')}, {words.count(len(names), 'framework')}: "
        f"{found['filled']} of {found['cells']} cells filled, {found['executed']} by "
        f"running something ({states})."
    )


def show(cells: Cells, console: Console | None = None) -> None:
    """Print the table, in blocks of as many frameworks as fit side by side."""
    from rich.console import Console

    console = console or Console()
    asked, names = chosen(cells)
    fit = max(1, (console.width - _TITLE) // _COLUMN)
    for at in range(0, len(names), fit):
        console.print(_grid(cells, asked, names[at : at + fit]))
        console.print()
    console.print(sentence(cells), highlight=False)
    if any(cell.state in ("error", "timeout") for cell in cells.values()):
        console.print("netglot features why FRAMEWORK ROW says what went wrong.")


def _grid(cells: Cells, asked: Sequence[Row], names: Sequence[str]) -> Table:
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False)
    grid.add_column("", max_width=_TITLE, overflow="fold")
    for name in names:
        grid.add_column(backends.get(name).title, overflow="fold", max_width=_COLUMN)
    for row in asked:
        marked = (_marked(cells[row.name, name]) for name in names)
        grid.add_row(Text(row.title), *marked)
    return grid


def _marked(cell: Cell) -> Text:
    from rich.text import Text

    return Text(words_of(cell), _COLOURS[cell.state])


def show_cell(cell: Cell, console: Console | None = None) -> None:
    """Print one cell: its checks, what was printed, its source, where it ran."""
    from rich.console import Console
    from rich.syntax import Syntax
    from rich.text import Text

    console = console or Console()
    row, title = rows.get(cell.row), backends.get(cell.framework).title
    head = Text(f"{row.title}, {title}: ", "bold")
    console.print(head + Text(f"{cell.state} {cell.text}", _COLOURS[cell.state]))
    if cell.state == "unasked":
        console.print("There is no probe of this row for this framework yet.")
        return
    if cell.state == "declared":
        console.print(f"declared, from {cell.source}, {cell.date}", highlight=False)
        return
    for check in cell.checks:
        line = Text(f"  {check.state:<9}", _COLOURS[check.state]) + Text(check.name)
        if check.value:
            line += Text(f": {check.value}")
        console.print(line)
        for note in check.notes:
            console.print(Text(f"{'':<11}{note}", "dim"))
    for about, text in (("printed", cell.printed), ("log", cell.log)):
        if text.strip() and (about == "printed" or not cell.checks):
            console.print(f"\n{about}:", style="bold")
            console.print(Text(text.rstrip()))
    for check in cell.checks:
        if check.traceback:
            console.print(f"\n{check.name}:", style="bold")
            console.print(Text(check.traceback.rstrip()))
    console.print()
    console.print(Syntax(cell.source, "python", background_color="default"))
    console.print(Text("\n" + provenance(cell), "dim"))


def provenance(cell: Cell) -> str:
    """Versions, machine, milliseconds and date of a cell, in a line."""
    version = ", ".join(f"{name} {v}" for name, v in list(cell.versions.items())[:4])
    parts = [version, str(cell.machine.get("cpu", "")), f"{cell.ms:.0f} ms", cell.date]
    return "; ".join(part for part in parts if part)


def markdown(cells: Cells) -> str:
    """The table in Markdown, a section per group of rows."""
    asked, names = chosen(cells)
    lines = ["# What each framework can do", "", sentence(cells), ""]
    for group, members in rows.GROUPS.items():
        part = [row for row in members if row in asked]
        if not part:
            continue
        lines += [f"## {TITLES[group]}", ""]
        lines.append(words.row(["", *(backends.get(name).title for name in names)]))
        lines.append(words.row([":--", *("--" for _ in names)]))
        for row in part:
            found = (words_of(cells[row.name, name]) for name in names)
            lines.append(words.row([row.title, *found]))
        lines.append("")
    lines += [f"- {state}: {text}" for state, text in MEANINGS.items()]
    return "\n".join(lines) + "\n"


def as_csv(cells: Cells) -> str:
    """A line per cell."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["row", "framework", "state", "text", "ms", "date", "notes"])
    for cell in cells.values():
        notes = "; ".join(note for check in cell.checks for note in check.notes)
        writer.writerow(
            [
                *(cell.row, cell.framework, cell.state, cell.text),
                *(f"{cell.ms:.1f}", cell.date, notes),
            ]
        )
    return out.getvalue()


def as_json(cells: Cells) -> str:
    """Everything that is known of every cell."""
    content = {
        "counts": counts(cells),
        "cells": [dataclasses.asdict(cell) for cell in cells.values()],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, default=str)


def html(cells: Cells) -> str:
    """The page: the table, and behind each cell its probe and what that answered."""
    from netglot.report.pages import render

    asked, names = chosen(cells)
    return render(
        "features.html",
        sentence=sentence(cells),
        groups=[
            (TITLES[group], [row for row in members if row in asked])
            for group, members in rows.GROUPS.items()
        ],
        names=names,
        titles={name: backends.get(name).title for name in names},
        cells=cells,
        words_of=words_of,
        provenance=provenance,
        meanings=MEANINGS,
    )


def write(cells: Cells, folder: Path) -> list[Path]:
    """``features.html``, ``.md``, ``.csv`` and ``.json`` in a folder; their paths."""
    written = []
    for suffix, text in (
        ("html", html(cells)),
        ("md", markdown(cells)),
        ("csv", as_csv(cells)),
        ("json", as_json(cells)),
    ):
        path = folder / f"features.{suffix}"
        places.write_text(path, text)
        written.append(path)
    return written

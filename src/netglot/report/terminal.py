"""The table of a race in the terminal, at 80 columns and at 200, with colour or not."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from netglot.race.statistics import Estimate
from netglot.report import words
from netglot.report.summary import Row, Summary

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


def show_race(summary: Summary, console: Console | None = None) -> None:
    """Print the title, the conditions, the table and the footnotes."""
    from rich.console import Console

    console = console or Console()
    console.print(report(summary, console.width))


def text(summary: Summary, width: int = 80, colour: bool = False) -> str:
    """What ``show_race`` prints, as text."""
    from rich.console import Console

    file = io.StringIO()
    console = Console(
        file=file,
        width=width,
        force_terminal=colour,
        no_color=not colour,
        color_system="truecolor" if colour else None,
        legacy_windows=False,
    )
    show_race(summary, console)
    return "\n".join(line.rstrip() for line in file.getvalue().split("\n"))


def report(summary: Summary, width: int) -> RenderableType:
    """The report for a terminal of this many columns."""
    from rich.console import Group
    from rich.text import Text

    heading = Text(summary.heading, "bold")
    facts = Text(" · ".join(f"{name}: {value}" for name, value in summary.facts), "dim")
    notes = [_note(note.about, note.text) for note in summary.notes]
    return Group(heading, facts, _fitting(summary, width), *notes)


def _note(about: str, content: str) -> RenderableType:
    """A footnote; what follows its first line is indented."""
    from rich.padding import Padding
    from rich.text import Text

    loud = {"not equivalent", "failed", "timeout", "out of memory", "damaged record"}
    line = Text.assemble((about, "red" if about in loud else "cyan"), ": ", content)
    return Padding(line, (0, 0, 0, 1))


def _fitting(summary: Summary, width: int) -> RenderableType:
    """The wide table, or the one with intervals under their medians."""
    from rich.console import Console
    from rich.measure import Measurement

    table = _table(summary, wide=True)
    console = Console(width=1000)
    needed = Measurement.get(console, console.options, table).maximum
    return table if needed <= width else _table(summary, wide=False)


def _table(summary: Summary, wide: bool) -> RenderableType:
    """With every figure on one line, or in as few columns as possible."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1) if wide else (0, 0, 0, 1),
        show_edge=False,
        expand=False,
    )
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("framework", min_width=12 if wide else 10, overflow="fold")
    if wide:
        table.add_column("version", no_wrap=True)
    titles = [*([summary.measure] if summary.measure else []), *_titles(summary, wide)]
    for title in titles:
        # As text: rich would take "[s]" for a style.
        table.add_column(Text(title), justify="right", no_wrap=wide)
    for row in summary.rows:
        style = "" if row.rank else "dim"
        name = row.title if wide else "\n".join(filter(None, (row.title, row.version)))
        if row.unranked:
            name += f"\n({row.unranked})"
        cells = [row.place, name]
        if wide:
            cells.append(row.version or words.NOTHING)
        if summary.measure:
            cells.append(words.score(row.score, summary.metric))
        cells += [
            _estimate(row.train, wide),
            *([_ratio(row)] if wide else []),
            _estimate(row.step_ms, wide),
            _plain(row.first_step),
            _plain(row.imports),
            words.size(row.memory.median if row.memory else None),
        ]
        first = row.rank is not None and row.rank.place == 1
        table.add_row(
            *(Text(cell) for cell in cells),
            style="bold green" if first else style,
        )
    return table


def _titles(summary: Summary, wide: bool) -> list[str]:
    if wide:
        return [
            f"{summary.timed} [s]",
            "× fastest",
            "steady step [ms]",
            "first step [s]",
            "import [s]",
            "peak memory",
        ]
    return [
        "training\n[s]" if summary.metric else "one pass\n[s]",
        "step\n[ms]",
        "first\nstep [s]",
        "import\n[s]",
        "memory",
    ]


def _estimate(estimate: Estimate | None, wide: bool) -> str:
    """The median, its interval beside or under it; a star where a run is far off."""
    if estimate is None:
        return words.NOTHING
    star = "*" if estimate.outliers else ""
    median, interval = words.number(estimate.median) + star, words.interval(estimate)
    if not interval:
        return median
    return f"{median} ({interval})" if wide else f"{median}\n{interval}"


def _ratio(row: Row) -> str:
    """How many times as long as the fastest, by paired runs, with its interval."""
    if row.ratio is None:
        return words.NOTHING
    interval = words.interval(row.ratio, lambda value: f"{value:.2f}")
    text = f"{row.ratio.median:.2f}"
    return (
        f"{text} ({interval})" if interval and row.ratio.low != row.ratio.high else text
    )


def _plain(estimate: Estimate | None) -> str:
    return words.number(estimate.median if estimate else None)

"""Growth: seconds to the second step, milliseconds per step and memory against size."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from netglot.race.growth import size_of
from netglot.report import figures, words
from netglot.report.plots import COLOURS, STYLES, plain_numbers
from netglot.report.summary import Row, Summary

if TYPE_CHECKING:
    from rich.console import RenderableType

#: Key of a measure -> what it is, with its unit.
MEASURES = {
    "compile_seconds": "network built and first step beyond a steady one (s)",
    "step_ms": "steady step (ms)",
    "memory_mb": "memory above the import (MB)",
}


def measured(row: Row) -> dict[str, float | None]:
    """The measures of a framework at one size; None where it did not get there."""
    found: dict[str, float | None] = dict.fromkeys(MEASURES)
    if row.step_ms and row.first_step:
        step = row.step_ms.median
        beyond = max(0.0, row.first_step.median - step / 1000)
        found["step_ms"] = step
        found["compile_seconds"] = row.phases.get("build", 0.0) + beyond
    if row.typical:
        memory = row.typical.record.get("memory") or {}
        above = memory.get("above_import")
        found["memory_mb"] = None if above is None else above / 1e6
    return found


def curves(summaries: Sequence[Summary]) -> dict[str, dict[str, Any]]:
    """Framework -> title, and measure -> {size: value}."""
    found: dict[str, dict[str, Any]] = {}
    for summary in summaries:
        size = size_of(summary.race["workload"])
        for row in summary.rows:
            line = found.setdefault(
                row.label, {"title": row.name, **{key: {} for key in MEASURES}}
            )
            for key, value in measured(row).items():
                line[key][size] = value
    return found


def _sizes(lines: Mapping[str, Mapping[str, Any]]) -> list[int]:
    return sorted({size for line in lines.values() for size in line["step_ms"]})


def tables(what: str, summaries: Sequence[Summary]) -> RenderableType:
    """A table per measure for the terminal."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    lines = curves(summaries)
    parts: list[RenderableType] = []
    for key, meaning in MEASURES.items():
        grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        grid.add_column(what)
        for size in _sizes(lines):
            grid.add_column(str(size), justify="right")
        for line in lines.values():
            values = (words.number(line[key].get(size)) for size in _sizes(lines))
            grid.add_row(line["title"], *values)
        parts += [Text(meaning, "bold"), grid]
    return Group(*parts)


def markdown(what: str, summaries: Sequence[Summary], failed: Mapping[str, str]) -> str:
    """The tables as GitHub's Markdown; ``failed`` says why a size has no race."""
    lines = curves(summaries)
    sizes = _sizes(lines)
    text = [f"# Growth with {what}", "", f"![growth with {what}](growth.png)", ""]
    for key, meaning in MEASURES.items():
        text += [f"## {meaning[0].upper()}{meaning[1:]}", ""]
        text.append(words.row([what, *map(str, sizes)]))
        text.append(words.row([":--", *["--:"] * len(sizes)]))
        for line in lines.values():
            values = [words.number(line[key].get(size)) for size in sizes]
            text.append(words.row([line["title"], *values]))
        text.append("")
    for summary in summaries:
        task = summary.race["workload"]
        text.append(f"- the race: [{task}]({task}/report.md)")
    text += [f"- {task}: {why}" for task, why in failed.items()]
    return "\n".join(text) + "\n"


def as_json(
    what: str, summaries: Sequence[Summary], failed: Mapping[str, str]
) -> dict[str, Any]:
    """Every number, and why a size has none."""
    return {
        "grows": what,
        "measures": MEASURES,
        "frameworks": curves(summaries),
        "failed": dict(failed),
    }


def picture(
    what: str, summaries: Sequence[Summary], look: figures.Look = figures.LIGHT
) -> bytes:
    """A PNG with a panel per measure, both axes in logarithms."""
    lines = curves(summaries)
    sizes = _sizes(lines)
    figure, panels = figures.panels(12.0, 4.6, len(MEASURES), look)
    looks = list(itertools.product(STYLES, COLOURS))
    for axes, (key, meaning) in zip(panels, MEASURES.items(), strict=True):
        for line, (style, colour) in zip(lines.values(), itertools.cycle(looks)):
            points = [(s, v) for s, v in sorted(line[key].items()) if v]
            axes.plot(
                [size for size, _ in points],
                [value for _, value in points],
                color=colour,
                linestyle=style,
                marker="o",
                markersize=4,
                linewidth=1.8,
                label=line["title"],
            )
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(sizes, [str(size) for size in sizes], minor=False)
        axes.minorticks_off()
        plain_numbers(axes.yaxis)
        axes.set_xlabel(what)
        axes.set_title(meaning, fontsize=10, color=look.ink, loc="left")
        axes.grid(True, color=look.faint, linewidth=0.6, alpha=0.7)
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize=9,
        labelcolor=look.ink,
    )
    return figures.png(figure)

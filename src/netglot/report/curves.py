"""Measures of frameworks over one quantity: tables and a picture of several races."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from netglot.report import figures, words
from netglot.report.plots import COLOURS, STYLES, plain_numbers

if TYPE_CHECKING:
    from rich.console import RenderableType

#: Framework -> title, and key of a measure -> {size: value}.
Curves = Mapping[str, Mapping[str, Any]]


def sizes(lines: Curves) -> list[int]:
    """Where any of them has a time of a step."""
    return sorted({size for line in lines.values() for size in line["step_ms"]})


def tables(what: str, lines: Curves, measures: Mapping[str, str]) -> RenderableType:
    """A table per measure for the terminal."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[RenderableType] = []
    for key, meaning in measures.items():
        grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        grid.add_column(what)
        for size in sizes(lines):
            grid.add_column(str(size), justify="right")
        for line in lines.values():
            values = (words.number(line[key].get(size)) for size in sizes(lines))
            grid.add_row(line["title"], *values)
        parts += [Text(meaning, "bold"), grid]
    return Group(*parts)


def markdown(what: str, lines: Curves, measures: Mapping[str, str]) -> list[str]:
    """The tables as lines of GitHub's Markdown, each under a heading."""
    text = []
    for key, meaning in measures.items():
        text += [f"## {meaning[0].upper()}{meaning[1:]}", ""]
        text.append(words.row([what, *map(str, sizes(lines))]))
        text.append(words.row([":--", *["--:"] * len(sizes(lines))]))
        for line in lines.values():
            values = [words.number(line[key].get(size)) for size in sizes(lines)]
            text.append(words.row([line["title"], *values]))
        text.append("")
    return text


def picture(
    what: str,
    lines: Curves,
    measures: Mapping[str, str],
    look: figures.Look = figures.LIGHT,
) -> bytes:
    """A PNG with a panel per measure, both axes in logarithms."""
    ticks = sizes(lines)
    figure, panels = figures.panels(12.0, 4.6, len(measures), look)
    looks = list(itertools.product(STYLES, COLOURS))
    for axes, (key, meaning) in zip(panels, measures.items(), strict=True):
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
        axes.set_xticks(ticks, [str(size) for size in ticks], minor=False)
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

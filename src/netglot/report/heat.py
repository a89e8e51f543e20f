"""How far programs are from their definition: values by frameworks, as colour.

The unit of a cell is the error that float32 itself makes in that value. About 1 is what
every correct program has; what begins at one layer and stays is a mistake there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netglot import places
from netglot.check.models import ModelReport
from netglot.check.programs import Checked, Report
from netglot.check.segment import ROUNDING
from netglot.report import figures, findings, pages, verdicts, words

#: A unit is never less than half a step of float32.
LEAST = 2.0**-25
#: Up to so many units a cell has no colour; from so many on it has all of it.
PALE, FULL = 4.0, 4e6
#: With more values than this the cells of the picture have no numbers.
NUMBERED = 60


@dataclass(frozen=True)
class Grid:
    """A row per value in the order of computation, a column per framework.

    A cell is the difference in units of float32's own error; None where there is none.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[float | None, ...], ...]


def grid(report: Report) -> Grid:
    """The grid of a report whose rounding was measured."""
    seen = {item.title: dict(_values(item)) for item in report.checked}
    columns = tuple(title for title, values in seen.items() if values)
    rows = tuple(
        name for name in report.rounding if any(name in v for v in seen.values())
    )
    cells = tuple(
        tuple(_units(seen[title].get(name), report.rounding[name]) for title in columns)
        for name in rows
    )
    return Grid(rows, columns, cells)


def _values(item: Checked) -> Iterator[tuple[str, float]]:
    """Each value of the forward pass in float32, and how far it is off."""
    for found in item.verdict.differences if item.verdict else ():
        name = found.what.removeprefix(verdicts.VALUE)
        if name != found.what and not name.endswith(verdicts.TWIN):
            yield name, found.size


def _units(size: float | None, error: float) -> float | None:
    return None if size is None else size / max(error, LEAST)


def share(units: float) -> float:
    """How much of the colour a cell has, from 0 to 1."""
    if not math.isfinite(units):
        return 1.0
    steps = math.log(FULL / PALE)
    return min(max(math.log(max(units, 1e-9) / PALE) / steps, 0.0), 1.0)


def draw(found: Grid, heading: str, look: figures.Look = figures.LIGHT) -> bytes:
    """The grid as a PNG."""
    height = 1.6 + 0.23 * len(found.rows)
    longest = max((len(name) for name in found.rows), default=0)
    figure, axes = figures.figure(
        1.6 + 0.085 * longest + 0.95 * len(found.columns), min(height, 60.0), look
    )
    colours = [[_colour(units, look) for units in line] for line in found.cells]
    axes.imshow(colours, aspect="auto", interpolation="nearest")
    axes.set_xticks(range(len(found.columns)), found.columns, rotation=30, ha="left")
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(found.rows)), found.rows)
    axes.tick_params(length=0, labelsize=8 if len(found.rows) <= NUMBERED else 5)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if len(found.rows) <= NUMBERED:
        for i, line in enumerate(found.cells):
            for j, units in enumerate(line):
                axes.text(
                    j,
                    i,
                    "" if units is None else word(units),
                    ha="center",
                    va="center",
                    fontsize=7,
                    color=look.ink,
                )
    figures.title(figure, heading, look)
    figures.footnote(
        figure,
        "Difference in units of the error that the precision itself makes there.",
        look,
    )
    return figures.png(figure)


def word(units: float) -> str:
    """A number of units in few letters."""
    if not math.isfinite(units):
        return "∞"
    return f"{units:.1f}" if units < 100 else f"{units:.0e}".replace("e+0", "e")


def _colour(units: float | None, look: figures.Look) -> tuple[float, float, float]:
    """From the paper to orange."""
    from matplotlib.colors import to_rgb

    if units is None:
        return to_rgb(look.faint)
    part = share(units)
    pairs = zip(to_rgb(look.paper), to_rgb("#D55E00"), strict=True)
    red, green, blue = ((1 - part) * a + part * b for a, b in pairs)
    return red, green, blue


def write(report: Report | ModelReport, folder: Path) -> Path:
    """Write ``report.html``, ``heat.png`` and ``check.json``; the page's path."""
    if isinstance(report, ModelReport):
        found, heading, content = pair_grid(report), "", findings.to_json(report)
        heading = f"{report.left.name} and {report.right.name}"
        text = pages.render(
            "models.html",
            heading=heading,
            lines=list(findings.lines(report)),
            grid=found,
            share=share,
            word=word,
        )
    else:
        found, heading = grid(report), verdicts.heading(report)
        content, text = report.to_json(), html(report, found)
    folder.mkdir(parents=True, exist_ok=True)
    places.write_json(folder / "check.json", content)
    if found.rows:
        (folder / "heat.png").write_bytes(draw(found, heading))
    page = folder / "report.html"
    page.write_text(text)
    return page


def pair_grid(report: ModelReport) -> Grid:
    """The layers of two models, in evaluation and, where it was run, in training."""
    passes = {"evaluation": report.evaluated}
    if report.trained:
        passes["training"] = report.trained
    rows: dict[str, dict[str, float]] = {}
    for title, compared in passes.items():
        for left, right, size, allowed in compared.layers:
            name = left if left == right else f"{left} / {right}"
            rows.setdefault(name, {})[title] = size / (allowed / ROUNDING)
    cells = tuple(
        tuple(found.get(title) for title in passes) for found in rows.values()
    )
    return Grid(tuple(rows), tuple(passes), cells)


def html(report: Report, found: Grid) -> str:
    """The verdicts and the grid as a page."""
    rows: list[dict[str, Any]] = []
    for item in report.checked:
        rows.append({"item": item, "lines": verdicts.reasons(item)})
    return pages.render(
        "check.html",
        heading=verdicts.heading(report),
        report=report,
        rows=rows,
        forms=list(verdicts.forms(report)),
        grid=found,
        share=share,
        word=word,
        count=words.count,
    )

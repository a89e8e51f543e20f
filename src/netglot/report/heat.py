"""How far programs are from their definition, or two models apart, as colour.

Values by frameworks, or the layers of two models by what was judged of them. The unit
of a cell is what rounding makes there: what every correct program has is about 1, and
what is 1 for two models is where their judgement begins to call them different.
"""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netglot import places
from netglot.check.causes import Compared
from netglot.check.models import ModelReport
from netglot.check.programs import Checked, Report
from netglot.report import figures, findings, pages, verdicts, words

#: A unit is never less than half a step of float32.
LEAST = 2.0**-25
#: Up to so many units a program's cell has no colour; from so many on it has all of it.
PALE, FULL = 4.0, 4e6
#: With more values than this the cells of the picture have no numbers.
NUMBERED = 60
#: A number of units, or why there is none.
Cell = float | str
#: Why there is no number where there is nothing to compare; it needs no letter.
NOTHING = "there is nothing of that kind"
MISSING = "the program gives no such value by itself"
#: Why later numbers of two models are not judged.
FOLLOWS = "not judged: a layer differs already, and this follows from it"
STEPPED = "not judged: the loss or the optimizer differs, and weights follow from them"
FORMS = "not judged: the optimizers have forms of their frameworks"
ALIKE = "not judged: what the loss is given differs, its formula does not"


@dataclass(frozen=True)
class Grid:
    """A row per value in the order of computation; a column per what was compared.

    A cell is a number of ``unit``, or says why there is none. Up to ``pale`` it has no
    colour.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[Cell, ...], ...]
    unit: str
    pale: float = PALE

    @property
    def marks(self) -> dict[str, str]:
        """What stands in the cells without a number, by why there is none."""
        cells = (cell for line in self.cells for cell in line)
        found = dict.fromkeys(cell for cell in cells if isinstance(cell, str))
        others = [why for why in found if why != NOTHING]
        marks = {why: _letter(number) for number, why in enumerate(others)}
        return {why: marks.get(why, "·") for why in found}

    def word(self, cell: Cell) -> str:
        """A cell in few letters."""
        return self.marks[cell] if isinstance(cell, str) else word(cell)

    def share(self, units: float) -> float:
        """How much of the colour a number has, from 0 to 1."""
        return share(units, self.pale)


def _letter(number: int) -> str:
    return "abcdefghijklmnopqrstuvwxyz"[number % 26]


def grid(report: Report) -> Grid:
    """The values of programs whose rounding was measured, by frameworks."""
    seen = {item.title: dict(_values(item)) for item in report.checked}
    columns = tuple(title for title, values in seen.items() if values)
    rows = tuple(
        name for name in report.rounding if any(name in v for v in seen.values())
    )
    cells = tuple(
        tuple(_units(seen[title].get(name), report.rounding[name]) for title in columns)
        for name in rows
    )
    unit = "the error that float32 itself makes in that value"
    return Grid(rows, columns, cells, unit)


def _values(item: Checked) -> Iterator[tuple[str, float]]:
    """Each value of the forward pass in float32, and how far it is off."""
    for found in item.verdict.differences if item.verdict else ():
        name = found.what.removeprefix(verdicts.VALUE)
        if name != found.what and not name.endswith(verdicts.TWIN):
            yield name, found.size


def _units(size: float | None, error: float) -> Cell:
    return MISSING if size is None else size / max(error, LEAST)


#: A row of two models: the layer's names, and which one of these names it is.
Place = tuple[str, str, int]


def pair_grid(report: ModelReport) -> Grid:
    """The layers of two models, by what was judged of them."""
    columns: dict[str, dict[Place, Cell]] = {"evaluation": _layers(report.evaluated)}
    if report.trained:
        columns["training"] = _layers(report.trained)
    rows = _merged([list(cells) for cells in columns.values()])
    first = {left: (left, right, n) for left, right, n in reversed(rows) if left}
    if report.trained:
        columns |= _passed(report, first, rows)
    if report.learned:
        more = _steps(report, first)
        rows += [row for cells in more.values() for row in cells if row not in rows]
        columns |= more
    return Grid(
        tuple(_title(left, right) for left, right, _ in rows),
        tuple(columns),
        tuple(tuple(c.get(row, NOTHING) for c in columns.values()) for row in rows),
        "what rounding may make there: over 1 is a difference",
        pale=1.0,
    )


def _title(left: str, right: str) -> str:
    return left if left == right else f"{left or '–'} / {right or '–'}"


def _layers(found: Compared) -> dict[Place, Cell]:
    """Each layer's units, or why it was not judged."""
    count = Counter[tuple[str, str]]()
    cells: dict[Place, Cell] = {}
    for item in found.layers:
        names = (item.left, item.right)
        cells[*names, count[names]] = item.why or item.size / item.allowed
        count[names] += 1
    return cells


def _merged(parts: Sequence[Sequence[Place]]) -> list[Place]:
    """All rows; one that only a later part has comes after what it has before it."""
    rows: list[Place] = []
    for part in parts:
        place = 0
        for row in part:
            if row not in rows:
                rows.insert(place, row)
            place = rows.index(row) + 1
    return rows


def _passed(
    report: ModelReport, first: Mapping[str, Place], rows: Sequence[Place]
) -> dict[str, dict[Place, Cell]]:
    """Gradients and running statistics, a column for each kind of weight."""
    columns: dict[str, dict[Place, Cell]] = {}
    # The statistics were looked at first; a reader wants them last.
    passed = sorted(report.passed, key=lambda item: item.what.startswith("running"))
    for item in passed:
        row = first.get(item.left.name)
        if row is not None:
            units: Cell = item.size / item.allowed
            form = f"{item.cause}: the frameworks' own forms"
            columns.setdefault(item.what, {})[row] = form if item.form else units
    if not (report.evaluated.same and report.trained and report.trained.same):
        columns["gradients"] = dict.fromkeys(rows, FOLLOWS)
    return columns


def _steps(
    report: ModelReport, first: Mapping[str, Place]
) -> dict[str, dict[Place, Cell]]:
    """The weights after the first and the last step, the loss and the optimizer."""
    learned = report.learned
    assert learned is not None
    why = ""
    if not (report.evaluated.same and report.trained and report.trained.same):
        why = FOLLOWS
    elif not (learned.alike and learned.ruled.same):
        why = STEPPED
    elif learned.ruled.forms:
        why = FORMS
    last = len(learned.losses)
    columns: dict[str, dict[Place, Cell]] = {}
    for step in sorted({1, last}):
        title = f"after {words.count(step, 'step')}"
        columns[title] = {
            first[name]: why or sizes[step - 1] / learned.allowed
            for name, sizes in learned.layers.items()
            if name in first
        }
    size, allowed = learned.apart
    alike = learned.alike and size > allowed
    titles = list(columns)
    columns[titles[0]]["the loss", "the loss", 0] = ALIKE if alike else size / allowed
    ruled = learned.ruled
    optimizer = ("the optimizer", "the optimizer", 0)
    form = f"{'; '.join(ruled.forms)}: the frameworks' own forms"
    excused = ruled.same and ruled.size > ruled.allowed
    columns[titles[-1]][optimizer] = form if excused else ruled.size / ruled.allowed
    return columns


def share(units: float, pale: float = PALE) -> float:
    """How much of the colour a cell has, from 0 to 1."""
    if not math.isfinite(units):
        return 1.0
    steps = math.log(FULL / pale)
    return min(max(math.log(max(units, 1e-9) / pale) / steps, 0.0), 1.0)


def word(units: float) -> str:
    """A number of units in few letters."""
    if not math.isfinite(units):
        return "∞"
    return f"{units:.1f}" if units < 100 else f"{units:.0e}".replace("e+0", "e")


def draw(found: Grid, heading: str, look: figures.Look = figures.LIGHT) -> bytes:
    """The grid as a PNG."""
    longest = max((len(name) for name in found.rows), default=0)
    width = max(1.6 + 0.085 * longest + 0.95 * len(found.columns), 5.0)
    above = 0.065 * max((len(title) for title in found.columns), default=0)
    notes = [f"Difference in units of {found.unit}."]
    notes += [f"{mark}  {why}" for why, mark in found.marks.items()]
    notes = [line for note in notes for line in textwrap.wrap(note, int(width * 14))]
    lines = textwrap.wrap(heading, int(width * 10.5))
    height = 0.8 + above + 0.23 * len(found.rows) + 0.17 * (len(notes) + len(lines))
    figure, axes = figures.figure(width, min(height, 60.0), look)
    colours = [[_colour(cell, found, look) for cell in line] for line in found.cells]
    axes.imshow(colours, aspect="auto", interpolation="nearest")
    axes.set_xticks(range(len(found.columns)), found.columns, rotation=30, ha="left")
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(found.rows)), found.rows)
    axes.tick_params(length=0, labelsize=8 if len(found.rows) <= NUMBERED else 5)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for i, line in enumerate(found.cells):
        for j, cell in enumerate(line):
            if len(found.rows) <= NUMBERED or isinstance(cell, str):
                axes.text(
                    j,
                    i,
                    found.word(cell),
                    ha="center",
                    va="center",
                    fontsize=7 if len(found.rows) <= NUMBERED else 5,
                    color=look.ink,
                )
    figures.title(figure, "\n".join(lines), look)
    figures.footnote(figure, "\n".join(notes), look)
    return figures.png(figure)


def _colour(cell: Cell, found: Grid, look: figures.Look) -> tuple[float, float, float]:
    """From the paper to orange."""
    from matplotlib.colors import to_rgb

    if isinstance(cell, str):
        return to_rgb(look.paper if cell == NOTHING else look.faint)
    part = found.share(cell)
    pairs = zip(to_rgb(look.paper), to_rgb("#D55E00"), strict=True)
    red, green, blue = ((1 - part) * a + part * b for a, b in pairs)
    return red, green, blue


def write(report: Report | ModelReport, folder: Path) -> Path:
    """Write ``report.html``, ``heat.png`` and ``check.json``; the page's path."""
    content: dict[str, Any]
    if isinstance(report, ModelReport):
        found, content = pair_grid(report), findings.to_json(report)
        left, right = report.left, report.right
        heading = f"{left.name} ({left.framework}) and {right.name} ({right.framework})"
        lines = list(findings.lines(report))
        text = pages.render("models.html", heading=heading, lines=lines, grid=found)
    else:
        found, content = grid(report), report.to_json()
        heading, text = verdicts.heading(report), html(report, found)
    folder.mkdir(parents=True, exist_ok=True)
    places.write_json(folder / "check.json", content)
    if found.rows:
        (folder / "heat.png").write_bytes(draw(found, heading))
    page = folder / "report.html"
    page.write_text(text)
    return page


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
        count=words.count,
    )

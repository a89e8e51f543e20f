"""Verdicts on programs in the terminal: a table, and below it what differs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from netglot.check.compare import Difference
from netglot.check.precision import Setting, in_words
from netglot.check.programs import Checked, Report
from netglot.report import words

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

#: What is summed up in a column each, and how its differences begin.
GROUPS = (
    ("values", ("output of", "scores")),
    ("gradients", ("all gradients",)),
    ("weights", ("all weights",)),
)
#: The largest number of differences that are listed of one framework.
LISTED = 8
#: Relative errors of one layer whose numbers are rounded to 11 or to 8 bits.
COARSE = (2e-5, 2e-2)
#: How the name of a difference in float64 ends, and that of a value begins.
TWIN, VALUE = " (float64)", "output of "


def show_report(report: Report, console: Console | None = None) -> None:
    """Print the verdicts, then the differences that are too large."""
    from rich.console import Console

    console = console or Console()
    console.print(heading(report), style="bold", highlight=False)
    console.print(_table(report))
    for item in report.checked:
        for line in reasons(item):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    for text in forms(report):
        console.print(text, style="dim", highlight=False)


def forms(report: Report) -> Iterator[str]:
    """The forms of operations in which some frameworks were compared, a line each."""
    found: dict[str, list[str]] = {}
    for item in report.checked:
        told = (item.verdict and item.verdict.forms) or {}
        for name, form in told.items():
            found.setdefault(f"{name}: {form}", []).append(item.title)
    for form, titles in found.items():
        yield f"form: {form} ({words.listing(titles)}); the reference computes it too"


def heading(report: Report) -> str:
    """The workload, its data and what was compared."""
    done = f"{words.count(report.steps, 'step')} of {report.size} observations"
    if not report.steps:
        done = "forward"
    return f"{report.workload} on {report.data.get('name')}: {done}"


def _table(report: Report) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    groups = [title for title, _ in GROUPS][: None if report.steps else 1]
    for title in ("framework", "version", "verdict", "", *groups):
        right = "right" if title in groups else "left"
        table.add_column(title, justify=right, no_wrap=title != "framework")  # type: ignore[arg-type]
    for item in report.checked:
        found = item.verdict.differences if item.verdict else ()
        rows = [_row(found, dtype, groups) for dtype in ("float32", "float64")]
        rows = [row for row in rows if any(row[1:])] or [[""] * (1 + len(groups))]
        color = {"equal": "green", "forward": "yellow"}.get(item.status, "red")
        said = item.status.upper() if color == "red" else item.status
        verdict = Text(said, color)
        for number, row in enumerate(rows):
            # The name once, however many precisions there are.
            first = (item.title, item.version, verdict) if number == 0 else ("", "", "")
            table.add_row(*first, *row)
    return table


def _row(found: Sequence[Difference], dtype: str, groups: Sequence[str]) -> list[str]:
    """The largest difference of each group in one precision."""
    cells = [dtype]
    for title, names in GROUPS:
        if title not in groups:
            continue
        sizes = [
            item.size
            for item in found
            if item.what.startswith(names)
            and item.what.endswith(TWIN) == (dtype == "float64")
        ]
        cells.append(f"{max(sizes):.0e}" if sizes else "")
    return cells


def reasons(item: Checked) -> list[str]:
    """Why a framework is not equal: the error, or the first differences."""
    if item.error:
        return [f"{item.title}: {item.error}"]
    found = item.verdict.differences if item.verdict else ()
    wrong = [difference for difference in found if not difference.equal]
    if not wrong:
        return []
    # Where the float64 twin differs, a formula is wrong, and the rest follows from it.
    twins = [difference for difference in wrong if difference.what.endswith(TWIN)]
    shown = (twins or wrong)[:LISTED]
    lines = [f"{item.title}: {len(wrong)} of {len(found)} compared differ"]
    lines += _place(item)
    lines += _rounded(item)
    lines += [f"    {difference}" for difference in shown]
    if len(wrong) > len(shown):
        lines.append(f"    and {len(wrong) - len(shown)} more (--json has them all)")
    return lines


def _rounded(item: Checked) -> list[str]:
    """A line where only float32 differs, and by as much as a shorter mantissa does."""
    found = item.verdict.differences if item.verdict else ()
    values = [d for d in found if d.what.startswith((VALUE, "scores"))]
    twins = [d for d in values if d.what.endswith(TWIN)]
    wrong = [d for d in values if not d.what.endswith(TWIN) and not d.equal]
    if not twins or not wrong or not all(d.equal for d in twins):
        return []
    size = wrong[0].size
    if not COARSE[0] <= size <= COARSE[1]:
        return []
    bits = round(-math.log2(size))
    said = [f"    {line}" for line in in_words(_single(item))]
    return [
        f"    float64 agrees; the first such value is right to {bits} bits, where "
        "float32 has 24, TF32 and float16 11, bfloat16 8: a shorter type is on",
        *said,
    ]


def _single(item: Checked) -> list[Setting]:
    """The settings that act on float32 alone, as what differs does."""
    found = Setting.read(item.verdict.settings if item.verdict else ())
    return [setting for setting in found if setting.single]


def _place(item: Checked) -> list[str]:
    """Where the forward pass goes wrong, in the most telling precision."""
    found = item.verdict.differences if item.verdict else ()
    for twin in (True, False):
        values = [
            difference
            for difference in found
            if difference.what.startswith(VALUE)
            and difference.what.endswith(TWIN) == twin
        ]
        for number, difference in enumerate(values, start=1):
            if not difference.equal:
                name = difference.what.removeprefix(VALUE).removesuffix(TWIN)
                before = "all before it agree" if number > 1 else "its input is given"
                place = f"value {number} of {len(values)}"
                return [f"    first at {name} ({place}; {before})"]
    return []

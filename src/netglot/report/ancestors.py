"""Ours beside theirs: what earlier projects reported of a task, and what was raced."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from netglot.report import words
from netglot.report.summary import Row, Summary

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class Beside:
    """One framework: figures as text, "–" where there is none.

    ``theirs`` is the name that the source uses, ``ours`` the framework and the version
    that was raced. Times of different machines are no ratio of anything.
    """

    theirs: str
    ours: str
    their_accuracy: str
    accuracy: str
    their_seconds: str
    seconds: str

    def cells(self) -> tuple[str, ...]:
        """In the order of ``HEADER``."""
        return (
            self.theirs,
            self.ours,
            self.their_accuracy,
            self.accuracy,
            self.their_seconds,
            self.seconds,
        )


#: (title, above it) of each column.
HEADER = (
    ("reported of", ""),
    ("raced here", ""),
    ("theirs", "accuracy"),
    ("ours", "accuracy"),
    ("theirs", "training"),
    ("ours", "training"),
)


def beside(summary: Summary) -> list[Beside]:
    """A row for each framework of the source that was raced, then for the others."""
    reported: Sequence[Mapping[str, Any]] = summary.race.get("expected") or ()
    rows = {row.label: row for row in summary.rows}
    names = {item["framework"]: item["backend"] for item in reported if item["backend"]}
    found = [
        _row(summary, name, rows[label], reported)
        for name, label in names.items()
        if label in rows
    ]
    shown = set(names.values())
    return found + [
        _row(summary, "", row, ()) for label, row in rows.items() if label not in shown
    ]


def _row(
    summary: Summary, name: str, row: Row, reported: Iterable[Mapping[str, Any]]
) -> Beside:
    theirs = {
        item["measure"]: item["value"] for item in reported if item["framework"] == name
    }
    accuracy, seconds = theirs.get("accuracy"), theirs.get("seconds")
    score = words.score(row.score, summary.metric)
    return Beside(
        name or words.NOTHING,
        row.name,
        f"{accuracy} %" if accuracy else words.NOTHING,
        score if row.n else row.status,
        f"{seconds} s" if seconds else words.NOTHING,
        words.seconds(row.train.median if row.train else None),
    )


def sources(summary: Summary) -> str:
    """Where their figures stand, and the machine on which they were measured."""
    found = dict.fromkeys(
        ", ".join(str(item[key]) for key in ("source", "machine", "year") if item[key])
        for item in summary.race.get("expected") or ()
        if item["framework"]
    )
    return "; ".join(found)


def markdown(summaries: Iterable[Summary], failed: Mapping[str, str]) -> str:
    """All tables as GitHub's Markdown; ``failed`` says why a task has none."""
    lines = ["# The tables of the projects before netglot, raced again", ""]
    for summary in summaries:
        lines += [f"## {summary.heading}", ""]
        lines += [f"- {name}: {value}" for name, value in summary.facts]
        titles = [f"{above} {title}".strip() for title, above in HEADER]
        lines += ["", words.row(titles), words.row([":--", ":--", *["--:"] * 4])]
        lines += [words.row(row.cells()) for row in beside(summary)]
        lines += ["", f"Theirs: {sources(summary)}.", ""]
        task = summary.race["workload"]
        lines += [f"The whole race: [{task}]({task}/report.md).", ""]
    for task, why in failed.items():
        lines += [f"## {task}", "", why, ""]
    return "\n".join(lines)


def as_json(summaries: Iterable[Summary], failed: Mapping[str, str]) -> dict[str, Any]:
    """Every row by task, and why a task has none."""
    tables = {
        summary.race["workload"]: {
            "source": sources(summary),
            "rows": [asdict(row) for row in beside(summary)],
        }
        for summary in summaries
    }
    return {"tables": tables, "failed": dict(failed)}


def table(summary: Summary) -> RenderableType:
    """One task for the terminal."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    found = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, (title, above) in enumerate(HEADER):
        found.add_column(f"{above}\n{title}", justify="left" if index < 2 else "right")
    for row in beside(summary):
        found.add_row(*row.cells())
    heading = Text(f"{summary.heading}, theirs and ours", "bold")
    return Group(heading, found, Text(f"Theirs: {sources(summary)}.", "dim"))

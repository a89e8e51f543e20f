"""Scaling: milliseconds per step and memory against the number of processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from netglot.report import curves, figures
from netglot.report.summary import Summary

if TYPE_CHECKING:
    from rich.console import RenderableType

#: Key of a measure -> what it is, with its unit. The batch stays the same: with more
#: processes each has a smaller share.
MEASURES = {
    "step_ms": "steady step (ms)",
    "speedup": "times as fast as with the fewest processes",
    "memory_mb": "memory above the import, of all processes (MB)",
}
_WHAT = "processes"


def lines(summaries: Sequence[Summary]) -> dict[str, dict[str, Any]]:
    """Framework -> title, and measure -> {number of processes: value}."""
    found: dict[str, dict[str, Any]] = {}
    for summary in summaries:
        workers = summary.race["workers"]
        for row in summary.rows:
            line = found.setdefault(
                row.label, {"title": row.name, **{key: {} for key in MEASURES}}
            )
            memory = row.memory.median / 1e6 if row.memory else None
            line["step_ms"][workers] = row.step_ms.median if row.step_ms else None
            line["memory_mb"][workers] = memory
    for line in found.values():
        steps = {n: ms for n, ms in sorted(line["step_ms"].items()) if ms}
        first = next(iter(steps.values()), None)
        line["speedup"] = {n: first / ms for n, ms in steps.items() if first}
    return found


def tables(summaries: Sequence[Summary]) -> RenderableType:
    """A table per measure for the terminal."""
    return curves.tables(_WHAT, lines(summaries), MEASURES)


def markdown(
    workload: str, summaries: Sequence[Summary], failed: Mapping[str, str]
) -> str:
    """The tables as GitHub's Markdown; ``failed`` says why a number has no race."""
    text = [f"# {workload} on several processes", "", "![scaling](scaling.png)", ""]
    text += [
        "The batch is the same for all: each process takes its share of it, and of the "
        "processor's threads.",
        "",
        *curves.markdown(_WHAT, lines(summaries), MEASURES),
    ]
    for summary in summaries:
        race = f"workers-{summary.race['workers']}"
        text.append(f"- the race: [{race}]({race}/report.md)")
    text += [f"- {race}: {why}" for race, why in failed.items()]
    return "\n".join(text) + "\n"


def as_json(
    workload: str, summaries: Sequence[Summary], failed: Mapping[str, str]
) -> dict[str, Any]:
    """Every number, and why one of processes has none."""
    return {
        "workload": workload,
        "measures": MEASURES,
        "frameworks": lines(summaries),
        "failed": dict(failed),
    }


def picture(summaries: Sequence[Summary], look: figures.Look = figures.LIGHT) -> bytes:
    """A PNG with a panel per measure, both axes in logarithms."""
    return curves.picture(_WHAT, lines(summaries), MEASURES, look)

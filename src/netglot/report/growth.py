"""Growth: seconds to the second step, milliseconds per step and memory against size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from netglot.race.growth import size_of
from netglot.report import curves, figures
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


def lines(summaries: Sequence[Summary]) -> dict[str, dict[str, Any]]:
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


def tables(what: str, summaries: Sequence[Summary]) -> RenderableType:
    """A table per measure for the terminal."""
    return curves.tables(what, lines(summaries), MEASURES)


def markdown(what: str, summaries: Sequence[Summary], failed: Mapping[str, str]) -> str:
    """The tables as GitHub's Markdown; ``failed`` says why a size has no race."""
    text = [f"# Growth with {what}", "", f"![growth with {what}](growth.png)", ""]
    text += curves.markdown(what, lines(summaries), MEASURES)
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
        "frameworks": lines(summaries),
        "failed": dict(failed),
    }


def picture(
    what: str, summaries: Sequence[Summary], look: figures.Look = figures.LIGHT
) -> bytes:
    """A PNG with a panel per measure, both axes in logarithms."""
    return curves.picture(what, lines(summaries), MEASURES, look)

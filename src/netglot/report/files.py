"""The files of a race: Markdown, CSV, JSON, pictures, and a page that stands alone."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from netglot import places
from netglot.race.records import read_race
from netglot.race.statistics import Estimate
from netglot.report import figures, pages, plots, words
from netglot.report.summary import Row, Run, Summary, summarize


def read(folder: Path) -> Summary:
    """The summary of a race's folder.

    A damaged record is named in ``Summary.damaged`` and left out. Raises ``UserError``
    where the folder has no readable ``race.json``.
    """
    race = read_race(folder)
    records, damaged = [], []
    for path in sorted((folder / "records").glob("*.json")):
        name = path.relative_to(folder).as_posix()
        try:
            record = json.loads(path.read_text())
            fault = _fault(record)
        except (OSError, ValueError) as error:
            record, fault = None, f"not JSON ({error})"
        if fault:
            damaged.append((name, fault))
        else:
            records.append({**record, "path": name})
    return summarize(race, records, damaged)


def _fault(record: Any) -> str:
    """What is wrong with a record; "" for nothing."""
    if not isinstance(record, dict):
        return "not a record"
    lacking = [name for name in ("label", "repeat", "status") if name not in record]
    if lacking:
        return f"has no {words.listing(lacking)}"
    if not isinstance(record["repeat"], int):
        return f"repeat is {record['repeat']!r}, not a number"
    for name in ("phases", "program", "forms", "data"):
        if not isinstance(record.get(name) or {}, dict):
            return f"{name} is not an object"
    losses = record.get("losses") or []
    numbers = isinstance(losses, list) and all(
        loss is None or isinstance(loss, int | float) for loss in losses
    )
    return "" if numbers else "losses are not numbers"


def write_report(folder: Path) -> Summary:
    """Write ``report.md``, ``.csv``, ``.json`` and ``.html``, and two pictures.

    Reads ``race.json`` and ``records/*.json`` of the same folder, and nothing else but
    the programs. Raises ``UserError`` where the folder is not that of a race.
    """
    summary = read(folder)
    pictures = {"loss.png": plots.loss(summary), "phases.png": plots.phases(summary)}
    for name, content in pictures.items():
        if content:
            places.write_bytes(folder / name, content)
        else:
            (folder / name).unlink(missing_ok=True)
    drawn = tuple(name for name, content in pictures.items() if content)
    texts = {
        "report.md": markdown(summary, drawn),
        "report.csv": table(summary),
        "report.json": as_json(summary),
        "report.html": html(summary, programs(folder, summary)),
    }
    for name, text in texts.items():
        places.write_text(folder / name, text)
    return summary


def programs(folder: Path, summary: Summary) -> dict[str, str]:
    """The sources of the raced programs by label, as far as the folder has them."""
    found = {}
    for row in summary.rows:
        for run in row.runs:
            name = (run.record.get("program") or {}).get("name")
            path = folder / "programs" / Path(str(name)).name
            if name and path.is_file():
                found[row.label] = path.read_text(errors="replace")
    return found


# --- Markdown -------------------------------------------------------------------------


def markdown(summary: Summary, pictures: Iterable[str] = ()) -> str:
    """The report as GitHub's Markdown; pictures are linked by name."""
    lines = [f"# {summary.heading}", ""]
    if summary.title:
        lines += [summary.title + ".", ""]
    lines += [f"- {name}: {value}" for name, value in summary.facts]
    columns = header(summary)
    marks = ["--:", ":--", *["--:"] * (len(columns) - 2)]
    lines += ["", words.row(columns), words.row(marks)]
    for row in summary.rows:
        items = cells(summary, row)
        if row.unranked:
            items[1] += f" ({row.unranked})"
        lines.append(words.row(items))
    lines.append("")
    for name in pictures:
        title = {"loss.png": "Loss over time", "phases.png": "Where the time goes"}
        lines += [f"![{title.get(name, name)}]({name})", ""]
    lines += [f"- **{note.about}**: {note.text}" for note in summary.notes]
    commands = dict.fromkeys(_command(row) for row in summary.rows if _command(row))
    if commands:
        lines += ["", "To make it again:", "", "```sh", *commands, "```"]
    links = [
        f"- {row.name}: " + ", ".join(f"[{run.repeat}]({run.path})" for run in row.runs)
        for row in summary.rows
        if row.runs
    ]
    return "\n".join([*lines, "", "Records:", "", *links, ""])


def header(summary: Summary) -> list[str]:
    """Titles of the columns of ``cells``."""
    return [
        "#",
        "framework",
        "version",
        *([summary.measure] if summary.measure else []),
        f"{summary.timed} (s)",
        "× fastest",
        "steady step (ms)",
        "first step (s)",
        "import (s)",
        "peak memory",
        "lines of code",
        "runs",
    ]


def cells(summary: Summary, row: Row) -> list[str]:
    """A row of the table, as text."""
    score = words.score(row.score, summary.metric)
    if row.spread and row.spread[0] != row.spread[1]:
        ends = [words.score(value, summary.metric) for value in row.spread]
        score += f" ({ends[0].removesuffix(' %')}–{ends[1].removesuffix(' %')})"
    return [
        row.place,
        row.title,
        row.version or words.NOTHING,
        *([score] if summary.measure else []),
        _with_interval(row.train),
        _with_interval(row.ratio, 2),
        _with_interval(row.step_ms),
        words.number(row.first_step.median if row.first_step else None),
        words.number(row.imports.median if row.imports else None),
        words.size(row.memory.median if row.memory else None),
        str(row.code_lines or words.NOTHING),
        str(row.n),
    ]


def _with_interval(estimate: Estimate | None, places: int | None = None) -> str:
    if estimate is None:
        return words.NOTHING

    def write(value: float) -> str:
        return words.number(value) if places is None else f"{value:.{places}f}"

    interval = words.interval(estimate, write)
    if not interval or estimate.low == estimate.high:
        return write(estimate.median)
    return f"{write(estimate.median)} ({interval})"


def _command(row: Row) -> str:
    shown = row.typical or (row.runs[-1] if row.runs else None)
    return str(shown.record.get("command") or "") if shown else ""


# --- CSV and JSON ---------------------------------------------------------------------

_FIELDS = (
    "workload",
    "label",
    "backend",
    "version",
    "repeat",
    "status",
    "metric",
    "score",
    "train_seconds",
    "first_step_seconds",
    "step_ms",
    "steps",
    "peak_memory_bytes",
    "wall_seconds",
    "threads",
    "workers",
    "device",
    "date",
)
_PHASES = (
    "start",
    "import_framework",
    "import_program",
    "load_data",
    "build",
    "load_weights",
    "settle",
    "first_step",
    "steps",
    "barrier",
    "evaluate",
    "confusion",
)


def table(summary: Summary) -> str:
    """CSV (RFC 4180): a line per run, raw values, seconds and bytes."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(
        [
            *_FIELDS,
            "data",
            "equal",
            "rank",
            "outlier",
            *(f"seconds_{name}" for name in _PHASES),
            "record",
            "error",
        ]
    )
    for row in summary.rows:
        for run in row.runs:
            record = run.record
            phases = record.get("phases") or {}
            writer.writerow(
                [
                    *(record.get(name, "") for name in _FIELDS),
                    (record.get("data") or {}).get("name", ""),
                    _equal(run),
                    row.place if row.rank else "",
                    run.outlier,
                    *(phases.get(name, "") for name in _PHASES),
                    run.path,
                    record.get("error", ""),
                ]
            )
    return file.getvalue()


def _equal(run: Run) -> Any:
    verdict = run.record.get("equal")
    return verdict.get("equal") if isinstance(verdict, Mapping) else verdict


def as_json(summary: Summary) -> str:
    """One object: ``race`` as asked for, ``runs`` as they went, ``table`` as ranked.

    Numbers are raw: seconds, milliseconds, bytes, accuracy from 0 to 1. What is not a
    number is null.
    """
    runs = [_run(row, run) for row in summary.rows for run in row.runs]
    ranked = [_ranked(row) for row in summary.rows]
    noise = summary.noise
    content = {
        "race": summary.race,
        "runs": runs,
        "table": ranked,
        "noise_floor": noise.floor if noise else None,
        "damaged": [{"record": p, "reason": reason} for p, reason in summary.damaged],
    }
    return json.dumps(_finite(content), indent=1, allow_nan=False) + "\n"


def _run(row: Row, run: Run) -> dict[str, Any]:
    record = run.record
    metric = record.get("metric", "")
    return {
        "workload": record.get("workload"),
        "backend": record.get("backend"),
        "label": row.label,
        "version": record.get("version"),
        "repeat": run.repeat,
        "status": record.get("status"),
        "error": record.get("error", ""),
        "accuracy": record.get("score") if metric == "accuracy" else None,
        "metric": metric,
        "score": record.get("score"),
        "train_seconds": record.get("train_seconds"),
        "seconds": record.get("phases") or {},
        "steps": record.get("steps"),
        "step_ms": record.get("step_ms"),
        "peak_memory_bytes": record.get("peak_memory_bytes"),
        "losses": record.get("losses") or [],
        "equal": _equal(run),
        "outlier": run.outlier,
        "record": run.path,
    }


def _ranked(row: Row) -> dict[str, Any]:
    return {
        "label": row.label,
        "framework": row.title,
        "version": row.version,
        "status": row.status,
        "rank": row.rank.place if row.rank else None,
        "shared": bool(row.rank and row.rank.shared),
        "unranked": row.unranked,
        "equal": row.equal,
        "n": row.n,
        "score": row.score,
        "train_seconds": _estimate(row.train),
        "ratio_to_fastest": _estimate(row.ratio),
        "step_ms": _estimate(row.step_ms),
        "first_step_seconds": _estimate(row.first_step),
        "import_seconds": _estimate(row.imports),
        "peak_memory_bytes": _estimate(row.memory),
        "code_lines": row.code_lines,
        "forms": dict(row.forms),
    }


def _estimate(estimate: Estimate | None) -> dict[str, Any] | None:
    if estimate is None:
        return None
    return {
        "median": estimate.median,
        "low": estimate.low,
        "high": estimate.high,
        "values": list(estimate.values),
    }


def _finite(value: Any) -> Any:
    """The same with null for what JSON has no number for."""
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


# --- HTML -----------------------------------------------------------------------------


def html(summary: Summary, sources: Mapping[str, str]) -> str:
    """A page that stands alone: pictures, sources and style are inside it.

    ``sources`` are the programs by label.
    """
    from netglot.report.code import highlighted, style

    pictures = []
    for title, draw in (
        ("Loss over time", plots.loss),
        ("Where the time goes", plots.phases),
    ):
        light, dark = draw(summary, figures.LIGHT), draw(summary, figures.DARK)
        if light and dark:
            pictures.append((title, figures.uri(light), figures.uri(dark)))
    details = [
        {
            "row": row,
            "run": row.typical.record if row.typical else _last(row),
            "cells": cells(summary, row),
            "command": _command(row),
            "confusion": _confusion(row),
            "source": highlighted(sources[row.label]) if row.label in sources else "",
            "phases": [(t, words.seconds(s)) for t, s in row.phases.items()],
        }
        for row in summary.rows
    ]
    return pages.render(
        "report.html",
        summary=summary,
        header=header(summary),
        details=details,
        pictures=pictures,
        code_style=style(),
        source=(summary.race.get("data") or {}).get("source", ""),
        number=words.number,
        seconds=words.seconds,
        score=words.score,
        statuses=sorted({row.status for row in summary.rows}),
    )


def _last(row: Row) -> Mapping[str, Any]:
    return row.runs[-1].record if row.runs else {}


def _confusion(row: Row) -> dict[str, Any] | None:
    """Counts with their share of the row, which shades them; names of the classes."""
    record = row.typical.record if row.typical else {}
    matrix = record.get("confusion")
    if not matrix:
        return None
    names = list((record.get("data") or {}).get("classes") or ())
    if len(names) != len(matrix):
        names = [str(i) for i in range(len(matrix))]
    lines = []
    for i, (name, counts) in enumerate(zip(names, matrix, strict=True)):
        total = sum(counts)
        items = [
            {
                "count": int(count),
                "right": i == j,
                "share": round(count / total, 3) if total else 0.0,
            }
            for j, count in enumerate(counts)
        ]
        recall = f"{100 * counts[i] / total:.1f} %" if total else words.NOTHING
        lines.append({"name": name, "items": items, "recall": recall})
    return {"names": names, "lines": lines}

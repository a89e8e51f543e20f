"""What a terminal shows while environments are built and programs race."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any


def _progress(quiet: bool) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, quiet=quiet)
    return Progress(
        TextColumn("{task.fields[label]:<17}"),
        TextColumn("{task.fields[stage]:<12}"),
        BarColumn(20),
        TextColumn("{task.fields[detail]}", table_column=None),
        TimeElapsedColumn(),
        console=console,
        disable=quiet,
    )


@contextlib.contextmanager
def building() -> Iterator[Any]:
    """The progress of environments: called with name, phase and pip's last line."""
    board = _Board(quiet=False)
    with board:
        yield lambda name, phase, line: board(
            name, "environment", phase=phase, line=line
        )


@contextlib.contextmanager
def filling(rows: int) -> Iterator[Any]:
    """The progress of a table of features with so many rows."""
    done: dict[str, int] = {}
    board = _Board(quiet=not sys.stderr.isatty())

    def watch(name: str, cell: Any) -> None:
        done[name] = done.get(name, 0) + 1
        board(name, "cell", cell=cell, share=done[name] / rows)

    with board:
        yield watch


@contextlib.contextmanager
def watching(quiet: bool, runs: str = "1") -> Iterator[Any]:
    """The progress of a check or of a race of so many ``runs``: ``lineup.Watch``."""
    board = _Board(quiet, runs)
    with board:
        yield board


class _Board:
    """A line per framework; on a pipe, a line of text per change of stage."""

    def __init__(self, quiet: bool, runs: str = "1") -> None:
        self._quiet = quiet
        self._runs = runs
        self._live = sys.stderr.isatty() and not quiet
        self._progress = _progress(not self._live)
        self._tasks: dict[str, Any] = {}
        self._stages: dict[str, str] = {}
        self._begin = time.monotonic()

    def __enter__(self) -> _Board:
        self._progress.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._progress.stop()

    def __call__(self, label: str, event: str, **details: Any) -> None:
        """An event of ``check.lineup.Watch``."""
        stage, text, share = self._words(event, details)
        if self._live:
            if label not in self._tasks:
                self._tasks[label] = self._progress.add_task(
                    "", total=1.0, label=label, stage="", detail=""
                )
            self._progress.update(
                self._tasks[label], completed=share, stage=stage, detail=text[:60]
            )
        elif (
            not self._quiet
            and event != "step"
            and self._stages.get(label) != (stage + text)
        ):
            seconds = time.monotonic() - self._begin
            line = f"{seconds:7.1f} s  {label:<17} {stage:<12} {text}"
            if event != "environment" or details.get("phase") != "installing":
                print(line.rstrip()[:160], file=sys.stderr, flush=True)
            self._stages[label] = stage + text

    def _words(self, event: str, details: dict[str, Any]) -> tuple[str, str, float]:
        if event == "environment":
            return str(details["phase"]), str(details.get("line", "")).strip(), 0.0
        if event == "gate":
            return "comparing", "with the reference", 0.0
        if event == "cell":
            return details["cell"].state, details["cell"].row, details["share"]
        if event == "judged":
            verdict = details["verdict"]
            stage = "equal" if verdict.equal else "NOT EQUAL"
            return stage, str(verdict).removeprefix("equal: "), 0.0
        if event == "run":
            run = details["repeat"] + 1
            return "starting", f"run {run} of {self._runs}", 0.0
        if event == "step":
            step, steps = details["step"] or 0, max(details["steps"], 1)
            loss = details.get("loss")
            text = f"step {step} of {steps}"
            if loss is not None:
                text += f", loss {loss:.4f}"
            return "training", text, step / steps
        record = details["record"]
        if record["status"] != "done":
            first = (record["error"] or "").splitlines()
            return str(record["status"]), first[0] if first else "", 1.0
        text = ""
        if record.get("score") is not None:
            value = record["score"]
            text = f"{record['metric']} {value:.4f}, "
            if record["metric"] == "accuracy":
                text = f"accuracy {100 * value:.2f} %, "
        seconds = record.get("train_seconds")
        text += f"{seconds:.1f} s" if seconds is not None else ""
        return "done", text, 1.0

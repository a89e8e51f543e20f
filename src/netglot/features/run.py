"""Fills cells: one worker per framework, one cell at a time in it.

A probe that raises is an error in its checks; one that ends, crashes or blocks its
worker costs its own cell, and the next gets a new worker.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import inspect
import json
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import netglot
from netglot import backends, places
from netglot.features import cells, declared, own, rows
from netglot.features.cells import Cell, Check, State
from netglot.features.rows import Kind, Row
from netglot.runtime import envs, machine
from netglot.runtime.jobs import Failure, Worker

CHECKING = Path(__file__).parent / "checking.py"
#: Frameworks that are asked at the same time.
AT_ONCE = 2
#: Threads of a framework while it is probed.
THREADS = 1

Watch = Callable[[str, Cell], None]


def fill(
    names: Sequence[str],
    wanted: Sequence[Row],
    *,
    environments: Mapping[str, envs.Environment | envs.EnvError],
    again: bool = False,
    watch: Watch = lambda name, cell: None,
) -> dict[tuple[str, str], Cell]:
    """The cells of these rows for these frameworks, by row and framework.

    What was found before is used again while probe, environment and machine are the
    same, unless asked ``again``; errors and timeouts are never kept. What takes the
    time of something (the rows of kind ``own``) is asked when all else has ended.
    """

    def columns(kinds: tuple[Kind, ...], at_once: int) -> list[Cell]:
        chosen = [row for row in wanted if row.kind in kinds]
        with ThreadPoolExecutor(at_once) as pool:
            parts = pool.map(
                lambda name: _column(name, chosen, environments[name], again, watch),
                names,
            )
            return [cell for part in parts for cell in part]

    found = columns(("declared", "probe"), AT_ONCE) + columns(("own",), 1)
    return {(cell.row, cell.framework): cell for cell in found}


def _column(
    name: str,
    wanted: Sequence[Row],
    environment: envs.Environment | envs.EnvError,
    again: bool,
    watch: Watch,
) -> list[Cell]:
    found = []
    with tempfile.TemporaryDirectory(prefix="netglot-features-") as folder:
        column = _Column(name, environment, Path(folder))
        try:
            for row in wanted:
                cell = column.cell(row, again)
                watch(name, cell)
                found.append(cell)
        finally:
            column.close()
    return found


class _Column:
    """The cells of one framework, and its worker."""

    def __init__(
        self, name: str, environment: envs.Environment | envs.EnvError, folder: Path
    ) -> None:
        self.name = name
        self.env = backends.get(name).env
        self.environment = environment
        self.folder = folder
        self._worker: Worker | None = None

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()

    def cell(self, row: Row, again: bool) -> Cell:
        if row.kind == "declared":
            return declared.cell(row.name, self.name)
        variant = rows.variant(row, self.name)
        if row.kind == "probe" and variant is None:
            return Cell(row.name, self.name, "unasked")
        if isinstance(self.environment, envs.EnvError):
            lacks = isinstance(self.environment, envs.LackError)
            state: State = "not here" if lacks else "error"
            return Cell(row.name, self.name, state, log=str(self.environment))
        key = self._key(row)
        path = kept(self.name, row.name)
        before = None if again else read(path)
        if before is not None and before.key == key:
            return before
        found = self._own(row) if variant is None else self._ask(row, variant)
        cell = dataclasses.replace(found, key=key)
        if cell.state not in ("error", "timeout"):
            places.write_json(path, dataclasses.asdict(cell))
        return cell

    def _key(self, row: Row) -> str:
        """What a kept answer depends on."""
        assert isinstance(self.environment, envs.Environment)
        asked = row.path
        written = ""
        if row.kind == "own":
            asked, written = Path(own.__file__), own.written(self.name)
        parts = (
            asked.read_text(),
            written,
            CHECKING.read_text(),
            netglot.__version__,
            self.environment.key,
            repr(sorted(self.environment.versions.items())),
            machine.cpu_model(),
        )
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    def _ask(self, row: Row, variant: str) -> Cell:
        assert isinstance(self.environment, envs.Environment)
        probe = rows.probe(row.path)
        worker = self._started(row, probe)
        result = worker.ask(
            "probe",
            timeout=probe.timeout,
            checking=str(CHECKING),
            path=str(row.path),
            variant=variant,
        )
        common = self._common(probe.sources[variant])
        common["log"] = "\n".join(worker.log_tail())
        if probe.alone:
            worker.close()
        if result.error is not None:
            return self._failed(row, result.error, common)
        checks = tuple(map(Check.read, result.answer["checks"]))
        state, text = cells.of_checks(checks)
        return Cell(
            row.name,
            self.name,
            state,
            text,
            checks,
            printed=result.answer["printed"],
            ms=sum(check.ms for check in checks),
            **common,
        )

    def _own(self, row: Row) -> Cell:
        assert isinstance(self.environment, envs.Environment)
        source = inspect.getsource(own.ANSWERS[row.name])
        begin = time.perf_counter()
        try:
            state, text, checks = own.answer(row.name, self.name, self.environment)
        except Exception:
            told = traceback.format_exc()
            return Cell(row.name, self.name, "error", **self._common(source), log=told)
        ms = 1000 * (time.perf_counter() - begin)
        return Cell(
            row.name, self.name, state, text, checks, ms=ms, **self._common(source)
        )

    def _common(self, source: str) -> dict[str, Any]:
        """What was asked, of what, where and when."""
        assert isinstance(self.environment, envs.Environment)
        return {
            "source": source,
            "versions": self.environment.versions_of(self.env),
            "machine": dataclasses.asdict(machine.describe()),
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }

    def _failed(self, row: Row, error: Failure, common: Mapping[str, Any]) -> Cell:
        state: State = "timeout" if error.kind == "timeout" else "error"
        told = error.traceback or error.message
        log = "\n".join(part for part in (told, common["log"]) if part)
        return Cell(row.name, self.name, state, error.kind, **{**common, "log": log})

    def _started(self, row: Row, probe: rows.Probe) -> Worker:
        """The framework's worker, or one for this probe alone."""
        assert isinstance(self.environment, envs.Environment)
        if not probe.alone and self._worker is not None and self._worker.alive:
            return self._worker
        env = self.env
        if probe.variables:
            env = dataclasses.replace(
                env, variables={**env.variables, **probe.variables}
            )
        # As users run it, but for the threads without which it does not run.
        least = {n: v for n, v in env.judged.items() if n in env.threads}
        worker = Worker.start_for(
            env,
            self.environment,
            log=self.folder / f"{self.name}-{row.name}.log",
            threads=THREADS,
            more=least,
            name=self.name,
        )
        if not probe.alone:
            self._worker = worker
        return worker


def kept(framework: str, row: str) -> Path:
    """Where the answer of a cell is kept."""
    return places.cache("features") / framework / f"{row}.json"


def read(path: Path) -> Cell | None:
    """A kept cell; None where there is none that can be read."""
    try:
        return cells.from_json(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError):
        return None

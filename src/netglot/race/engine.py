"""Races the programs: environments, the gate, the runs one by one, their records."""

from __future__ import annotations

import dataclasses
import random
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import netglot
from netglot import data, places, workloads
from netglot.backend import Program
from netglot.check import Verdict
from netglot.check.gatekeeper import Exam, Gatekeeper, initial
from netglot.check.lineup import Start, Watch, line_up
from netglot.check.settings import Entry, entries
from netglot.errors import UserError
from netglot.race import records, statistics
from netglot.race.settings import Settings
from netglot.runtime import hosts, machine
from netglot.runtime.jobs import Result
from netglot.runtime.seats import Seat, facts, started, threads_each
from netglot.runtime.team import Asked, threads_of
from netglot.weights import to_program
from netglot.workloads import Workload


@dataclass(frozen=True)
class Outcome:
    """The race's folder, and whether every run was done and every program equal."""

    folder: Path
    clean: bool


def _no_class_is_empty(prepared: data.DataSet, limit: int) -> None:
    """Raise ``UserError`` where the first observations leave a class out."""
    with np.load(prepared.path) as arrays:
        for name in ("y_train", "y_test"):
            if not prepared.classes or name not in arrays.files:
                continue
            labels = arrays[name]
            lost = sorted(set(labels.tolist()) - set(labels[:limit].tolist()))
            if lost:
                part = "training" if name == "y_train" else "test"
                label = prepared.classes[lost[0]]
                raise UserError(
                    f"--limit {limit} leaves no {part} observation of class "
                    f"{label} of {prepared.name}: the first {limit} are of "
                    "other classes. Give a larger limit, or shuffle the file."
                )


def race(
    settings: Settings,
    watch: Watch,
    resume: bool = False,
    seats: Sequence[Seat] = (),
) -> Outcome:
    """Run a race and write its records.

    ``seats`` are where its workers run, in a job that a launcher started.

    Raises ``UserError`` for what makes the whole race impossible (an unknown name, data
    that cannot be read); what befalls one entry is told in its record. On
    ``KeyboardInterrupt`` the records of finished runs stay; ``resume`` goes on from
    them.
    """
    workload = workloads.get(settings.workload)
    chosen = entries(settings.labels)
    prepared = data.prepare(workload.data, settings.data)
    if workload.recipe:
        size = min(prepared.train, settings.limit or prepared.train)
        if workload.batch % settings.workers:
            raise UserError(
                f"{workload.name} is trained in batches of {workload.batch}, which "
                f"{settings.workers} processes cannot share evenly (--workers)."
            )
        if size < workload.batch:
            raise UserError(
                f"{workload.name} is trained in batches of {workload.batch}, and "
                f"{size} observations"
                + (f" are left by --limit {settings.limit}." if settings.limit else ".")
            )
    if settings.limit:
        _no_class_is_empty(prepared, settings.limit)
    with hosts.opened(settings.hosts, settings.workers) as opened:
        seats = seats or opened
        common = _common(settings, workload, prepared)
        if not resume:
            asked = _race(settings, workload, prepared) | _where(seats)
            places.write_json(settings.out / "race.json", asked)
        runner = _Runner(settings, workload, prepared, common, watch, resume, seats)
        starts = runner.line_up(chosen)
        most = settings.at_most if settings.until else settings.repeats
        for repeat in range(most):
            # Interleaved and shuffled, so that a warm machine favours nobody.
            order = [start for start in starts if runner.wants(start, repeat)]
            random.Random(f"{settings.seed}-{repeat}").shuffle(order)
            for start in order:
                runner.run(start, repeat)
    return Outcome(settings.out, runner.clean)


def _where(seats: Sequence[Seat]) -> dict[str, Any]:
    """The machines of a race whose processes run in seats, and that of the first."""
    found = facts(seats)
    return {"ran_on": found, "machine": found[0]["machine"]} if found else {}


def _race(
    settings: Settings, workload: Workload, prepared: data.DataSet
) -> dict[str, Any]:
    asked = dataclasses.asdict(settings) | {
        "out": str(settings.out),
        "data": prepared.to_json(),
        "data_source": str(settings.data.absolute()) if settings.data else None,
        "python": str(settings.python) if settings.python else None,
        "labels": list(settings.labels),
    }
    recipe = workload.recipe
    return asked | {
        "schema": records.SCHEMA,
        "netglot": netglot.__version__,
        "workload": workload.name,
        "workload_source": settings.workload,
        "title": workload.title,
        "epochs": settings.epochs or (recipe.epochs if recipe else 1),
        "date": records.now(),
        "machine": dataclasses.asdict(machine.describe()),
        "expected": [dataclasses.asdict(item) for item in workload.expected],
    }


def settings_of(folder: Path) -> Settings:
    """The settings of a race that was begun in a folder; ``UserError`` if none was."""
    asked = records.read_race(folder)
    return Settings(
        workload=asked["workload_source"],
        labels=tuple(asked["labels"]),
        out=folder,
        data=Path(asked["data_source"]) if asked["data_source"] else None,
        python=Path(asked["python"]) if asked["python"] else None,
        **{
            name: asked[name]
            for name in (
                "repeats",
                "epochs",
                "limit",
                "threads",
                "device",
                "seed",
                "start",
                "timeout",
                "exact_form",
                "until",
                "at_most",
            )
        },
        # Races of before there were several.
        workers=asked.get("workers", 1),
        hosts=tuple(asked.get("hosts", ())),
    )


def _common(
    settings: Settings, workload: Workload, prepared: data.DataSet
) -> dict[str, Any]:
    """What all records of a race share."""
    recipe = workload.recipe
    return {
        "schema": records.SCHEMA,
        "netglot": netglot.__version__,
        "workload": workload.name,
        "title": workload.title,
        "metric": workload.metric,
        "data": prepared.to_json(),
        "limit": settings.limit,
        "epochs": settings.epochs or (recipe.epochs if recipe else 1),
        "batch_size": workload.batch,
        "seed": settings.seed,
        "start": settings.start,
        "threads": settings.threads,
        "workers": settings.workers,
        "device": settings.device,
    }


@dataclass
class _Runner:
    settings: Settings
    workload: Workload
    data: data.DataSet
    common: Mapping[str, Any]
    watch: Watch
    resume: bool
    seats: Sequence[Seat] = ()
    clean: bool = True
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def line_up(self, chosen: Sequence[Entry]) -> list[Start]:
        """All that can take part, their files laid out; the others have a record."""
        exams = [Exam(self.workload)]
        keeper = Gatekeeper(self.data, self.settings, exams, self.seats)
        starts = line_up(
            self.settings,
            self.workload,
            chosen,
            keeper.judge,
            self.out,
            self.watch,
            self.seats,
        )
        taking_part = []
        for start in starts:
            self.clean = self.clean and start.verdict.equal
            self.lay_out(start.entry, start.program)
            untimed = start.environment.not_timed(start.entry.env)
            if start.verdict.not_here or untimed:
                self.out(start.entry, "not here", start.verdict.not_here or untimed)
            else:
                taking_part.append(start)
        return taking_part

    def lay_out(self, entry: Entry, program: Program) -> None:
        """The program and its initial weights as files of the race."""
        folder = self.settings.out
        for room in ("programs", "weights", "logs"):
            (folder / room).mkdir(parents=True, exist_ok=True)
        (folder / "programs" / program.name).write_text(program.source)
        if self.settings.start == "same":
            weights = to_program(program, initial(program, self.settings.seed))
            np.savez(folder / "weights" / f"{entry.label}.npz", **weights)  # type: ignore

    def out(self, entry: Entry, status: str, error: str) -> None:
        """A record for an entry that cannot take part."""
        self.clean = False
        record = {
            **self.common,
            **_names(entry),
            "repeat": 0,
            "status": status,
            "error": error,
            "equal": None,
            "date": records.now(),
        }
        places.write_json(records.path_of(self.settings.out, entry.label, 0), record)
        self.watch(entry.label, "out", record=record)

    def wants(self, start: Start, repeat: int) -> bool:
        """Whether an entry is to run once more."""
        if repeat < self.settings.repeats:
            return True
        seconds = self.seconds.get(start.entry.label, [])
        # What failed once would fail again.
        whole = len(seconds) == repeat and self.settings.until is not None
        return whole and not statistics.is_narrow(seconds, self.settings.until or 0)

    def run(self, start: Start, repeat: int) -> None:
        """One run in a process of its own, and its record."""
        entry, program = start.entry, start.program
        path = records.path_of(self.settings.out, entry.label, repeat)
        if self.resume:
            before = records.read_done(path)
            if before and before["program"]["sha256"] == program.digest:
                self.note(before)
                self.watch(entry.label, "done", record=before)
                return
        self.watch(entry.label, "run", repeat=repeat)
        log = Path("logs") / f"{entry.label}-{repeat}.log"
        environment = start.environment
        record: dict[str, Any] = {
            **self.common,
            **_names(entry),
            "version": environment.version_of(entry.env),
            "repeat": repeat,
            "date": records.now(),
            "equal": _equal(start.verdict),
            "program": {
                "name": program.name,
                "sha256": program.digest,
                "lines": program.lines,
                "code_lines": program.code_lines,
            },
            "forms": dict(program.forms),
            "environment": {
                "key": environment.key,
                "provider": environment.provider,
                "python": environment.python,
                "interpreter": str(environment.interpreter),
                "versions": dict(environment.versions),
            },
            "machine": dataclasses.asdict(machine.describe()),
            "disturbance": dataclasses.asdict(machine.disturbance()),
            "threads_each": threads_of(self.settings.workers, self.settings.threads),
            "log": str(log),
            "command": self.command(entry),
            **_where(self.seats),
        }
        if self.seats:
            each = threads_each(self.seats, self.settings.threads)
            record["threads_each"] = each[0]
        usage = machine.usage()
        begin = time.perf_counter()
        result = Result(False)
        try:
            with self.start(start, self.settings.out / log) as worker:
                record["start_seconds"] = time.perf_counter() - begin
                result = self.ask(worker, start, begin)
        finally:
            record["wall_seconds"] = time.perf_counter() - begin
        # On seats its processes are not this one's children, and may be elsewhere.
        others = None if self.seats else machine.others(usage, machine.usage())
        record["others_cpus"] = others
        if result.ok:
            record |= self.measured(result.answer, entry)
            record["phases"]["start"] = record.pop("start_seconds")
            record |= {"status": "done", "error": ""}
        else:
            failure = result.error
            kinds = {"timeout": "timeout", "memory": "memory"}
            kind = failure.kind if failure else "protocol"
            record |= {
                "status": kinds.get(kind, "failed"),
                "error": failure.message if failure else "no answer",
                "traceback": failure.traceback if failure else None,
            }
            self.clean = False
        places.write_json(path, record)
        self.note(record)
        self.watch(entry.label, "done", record=record)

    def start(self, start: Start, log: Path) -> Asked:
        """A process of its own for a run, or several that train together."""
        return started(
            self.seats,
            start.entry.env,
            start.environment,
            start.entry.backend.engine,
            self.settings.workers,
            log=log,
            threads=self.settings.threads,
            accelerator=self.settings.device != "cpu",
            timed=True,
            name=start.entry.label,
        )

    def note(self, record: Mapping[str, Any]) -> None:
        """Keep the seconds of a run, by which it is decided whether more are wanted."""
        seconds = records.training_seconds(record)
        if seconds is not None:
            self.seconds.setdefault(record["label"], []).append(seconds)

    def ask(self, worker: Asked, start: Start, begin: float) -> Result:
        """Import, build, train, evaluate: the whole run within the timeout."""
        entry, settings = start.entry, self.settings

        def ask(verb: str, **arguments: Any) -> Result:
            left = None
            if settings.timeout:
                left = settings.timeout - (time.perf_counter() - begin)
                left = max(left, 0.001)
            return worker.ask(verb, timeout=left, **arguments)

        weights = settings.out / "weights" / f"{entry.label}.npz"
        result = ask(
            "import",
            program=(settings.out / "programs" / start.program.name).absolute(),
            imports=list(entry.backend.env.imports),
        )
        if result.ok:
            given = {"weights": weights.absolute()} if settings.start == "same" else {}
            result = ask("build", seed=settings.seed, **given)
        if not result.ok:
            return result
        common = {"data": self.data.path, "limit": settings.limit}
        if self.workload.recipe is None:
            return ask("extract", barrier=entry.backend.barrier, **common)
        epochs = self.common["epochs"]
        observations = min(self.data.train, settings.limit or self.data.train)
        steps = epochs * (observations // self.workload.batch)
        return ask(
            "train",
            epochs=epochs,
            seed=settings.seed,
            barrier=entry.backend.barrier,
            on_event=lambda event: self.watch(
                entry.label,
                "step",
                step=event.get("step"),
                steps=steps,
                loss=event.get("loss"),
            ),
            **common,
        )

    def measured(self, answer: Mapping[str, Any], entry: Entry) -> dict[str, Any]:
        """The fields of a record that the worker's answer fills."""
        answer = _together(answer)
        losses = list(answer.get("losses", []))
        if entry.backend.reports == "mean":
            losses = _single(losses, self.common["epochs"])
        return {
            "score": answer.get("metric"),
            "confusion": answer.get("confusion"),
            "phases": dict(answer["phases"]),
            "losses": losses,
            "peak_memory_bytes": answer["memory"]["above_import"],
            **{
                name: answer.get(name)
                for name in (
                    "train_seconds",
                    "first_step_seconds",
                    "step_ms",
                    "steps",
                    "memory",
                    "threads_used",
                    "threads_used_steady",
                    "checksum",
                    "sizes",
                    "ranks",
                )
                if name != "ranks" or name in answer
            },
            "load": answer.get("machine"),
        }

    def command(self, entry: Entry) -> str:
        """The line that makes the run again."""
        s = self.settings
        words = ["netglot", "race", s.workload, "--on", entry.label]
        for flag, value in (
            ("--data", s.data),
            ("--epochs", s.epochs),
            ("--limit", s.limit),
            ("--threads", s.threads),
            ("--python", s.python),
            ("--workers", s.workers if s.workers > 1 else None),
            ("--hosts", ",".join(s.hosts) or None),
        ):
            if value is not None:
                words += [flag, str(value)]
        if s.device != "cpu":
            words += ["--device", s.device]
        if s.start != "same":
            words += ["--native-init"]
        words += ["--seed", str(s.seed)]
        return shlex.join(words)


def _names(entry: Entry) -> dict[str, Any]:
    return {
        "label": entry.label,
        "backend": entry.backend.name,
        "backend_title": entry.backend.title,
        "version": "",
    }


def _equal(verdict: Verdict) -> dict[str, Any]:
    worst = verdict.worst
    return {
        "equal": verdict.equal,
        "summary": str(verdict),
        "worst": worst.what if worst else "",
        "size": worst.size if worst else None,
        "allowed": worst.allowed if worst else None,
        "compared": len(verdict.differences),
    }


def _together(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """One answer of those of several processes that trained together.

    They end together, but for what each does last: the longest time counts. Losses
    are the mean of those of their shares, memory and CPU time the sum.
    """
    ranks = answer.get("ranks")
    if not ranks:
        return answer
    longest = {
        name: max(each[name] for each in ranks)
        for name in ("train_seconds", "first_step_seconds", "step_ms")
        if answer.get(name) is not None
    }
    summed = {
        name: sum(each[name] for each in ranks)
        for name in ("threads_used", "threads_used_steady", "cpu_seconds")
    }
    memory = {
        name: sum(each["memory"][name] for each in ranks)
        for name in ("peak", "after_import", "above_import", "children")
    }
    losses = zip(*(each["losses"] for each in ranks), strict=True)
    kept = ("train_seconds", "step_ms", "threads_used", "cpus", "checksum", "memory")
    return {
        **answer,
        **longest,
        **summed,
        "memory": {**answer["memory"], **memory},
        "losses": [sum(each) / len(each) for each in losses],
        "ranks": [{name: each.get(name) for name in kept} for each in ranks],
    }


def _single(means: Sequence[float], epochs: int) -> list[float]:
    """The loss of each step from the running means of each epoch."""
    count = len(means) // epochs
    result = []
    for i, mean in enumerate(means):
        k = i % count
        before = means[i - 1] * k if k else 0.0
        result.append(mean * (k + 1) - before)
    return result

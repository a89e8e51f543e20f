"""A workload's programs against their definition, value by value."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from netglot import backends, data, workloads
from netglot.check.gate import Verdict
from netglot.check.gatekeeper import STEPS, Exam, Gatekeeper, initial, shared
from netglot.check.gradients import descending, of_gradients
from netglot.check.lineup import Watch, line_up
from netglot.check.settings import Entry, Settings, entries
from netglot.check.values import rounding, traced
from netglot.emit import Settings as Variant
from netglot.emit import emit

#: Observations of a step: a difference shows in few, and many take long.
FEW = 4


@dataclass(frozen=True)
class Checked:
    """What was found of a framework; no verdict where it could not take part.

    ``status`` is ``equal``, ``different``, ``forward`` (equal as far as it was run: its
    environment does not train), ``failed`` (it raised, or hung), ``gap`` (it cannot say
    the network) or ``lacking`` (no environment, or not a whole one); ``error`` says
    why.
    """

    label: str
    title: str
    version: str
    status: str
    error: str = ""
    verdict: Verdict | None = None

    def to_json(self) -> dict[str, Any]:
        """Every number."""
        found = self.verdict.differences if self.verdict else ()
        forms = self.verdict.forms if self.verdict else None
        return {
            "framework": self.label,
            "version": self.version,
            "status": self.status,
            "error": self.error,
            "forms": dict(forms or {}),
            "settings": [dict(item) for item in self.verdict.settings]
            if self.verdict
            else [],
            "differences": [asdict(item) | {"equal": item.equal} for item in found],
        }


@dataclass(frozen=True)
class Report:
    """What was compared, and what was found of each framework, as asked for.

    ``steps`` optimizer steps of ``size`` observations each; 0 for a network that is
    only run forward. ``rounding`` is the relative error that float32 itself makes in
    each value, where that was measured.
    """

    workload: str
    data: Mapping[str, Any]
    steps: int
    size: int
    checked: tuple[Checked, ...]
    rounding: Mapping[str, float] = field(default_factory=dict)

    @property
    def equal(self) -> bool:
        """Whether every framework took part and is equal."""
        return all(item.status == "equal" for item in self.checked)

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {
            "workload": self.workload,
            "data": dict(self.data),
            "steps": self.steps,
            "size": self.size,
            "equal": self.equal,
            "rounding": dict(self.rounding),
            "checks": [item.to_json() for item in self.checked],
        }


def check_programs(
    settings: Settings,
    watch: Watch,
    *,
    steps: int = STEPS,
    size: int = FEW,
    measured: bool = False,
) -> Report:
    """Compare the programs of a workload with the reference.

    Compared are every value of the forward pass, the loss, the gradient of every
    parameter, and every weight after each of ``steps`` optimizer steps on ``size`` real
    observations, with dropout rates 0; in float32, and in float64 where the framework
    has it. With ``measured`` the report has the error of float32 itself in every value
    as well. Raises ``UserError`` for what makes all of it impossible; what befalls one
    framework stands in its row.
    """
    workload = workloads.get(settings.workload)
    chosen = entries(settings.labels)
    prepared = data.prepare(workload.data, settings.data)
    size = shared(size, settings.workers)
    exams = [Exam(workload, steps, size)]
    if settings.workers == 1:
        # Several processes share a training; forward they are like one.
        exams.append(Exam(traced(workload), size=size))
    if workload.recipe:
        read = functools.partial(of_gradients, workload)
        exams.append(Exam(descending(workload), 1, size, read, scores=False))
    keeper = Gatekeeper(prepared, settings, exams)
    found: dict[str, Checked] = {}

    def out(entry: Entry, status: str, error: str) -> None:
        title = entry.backend.title
        found[entry.label] = Checked(entry.label, title, "", status, error)
        watch(entry.label, "out", record={"status": status, "error": error})

    for start in line_up(settings, workload, chosen, keeper.judge, out, watch):
        verdict, entry = start.verdict, start.entry
        equal = "forward" if verdict.not_here else "equal"
        status = equal if verdict.equal else "different"
        if verdict.error:
            status = "lacking" if verdict.not_here else "failed"
        found[entry.label] = Checked(
            entry.label,
            entry.backend.title,
            start.environment.version_of(entry.env),
            status,
            verdict.error or verdict.not_here,
            verdict,
        )
    return Report(
        workload.name,
        prepared.to_json(),
        steps if workload.recipe else 0,
        size,
        tuple(found[entry.label] for entry in chosen),
        _rounding(exams[1], prepared, settings.seed)
        if measured and settings.workers == 1
        else {},
    )


def _rounding(exam: Exam, prepared: data.DataSet, seed: int) -> dict[str, float]:
    """Of the network in its first forms, as the backend of the reference has it."""
    program = emit(exam.workload, backends.get("numpy"), Variant("float64", False))
    (x, _), *_ = exam.batches(program, prepared)
    return rounding(program.graph, initial(program, seed), x)

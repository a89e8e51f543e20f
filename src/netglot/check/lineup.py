"""Who can take part: programs, environments, and which equal their definition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from threadpoolctl import threadpool_limits

from netglot.backend import Engine, Program
from netglot.check.gate import Verdict
from netglot.check.gatekeeper import AT_ONCE, share
from netglot.check.settings import Entry, Settings
from netglot.emit import GapError, emit
from netglot.emit import Settings as Variant
from netglot.runtime import envs
from netglot.runtime.envs import EnvError, Environment
from netglot.runtime.seats import Seat, environment_on
from netglot.workloads import Workload

#: Called with a label, what happens to it, and details: ``environment`` (``phase``,
#: ``line``), ``gate``, ``judged`` (``verdict``), ``run`` (``repeat``), ``step``
#: (``step``, ``steps``, ``loss``), ``evaluate``, ``done`` (``record``), ``out``
#: (``record``).
Watch = Callable[..., None]
#: Called with an entry that cannot take part, a status and the reason.
Out = Callable[[Entry, str, str], None]
#: The verdict on an entry in its environment; files go into the folder.
Judge = Callable[[Entry, Environment, Path], Verdict]


@dataclass(frozen=True)
class Start:
    """An entry on the starting line."""

    entry: Entry
    program: Program
    environment: Environment
    verdict: Verdict


def line_up(
    settings: Settings,
    workload: Workload,
    chosen: Sequence[Entry],
    judge: Judge,
    out: Out,
    watch: Watch,
    seats: Sequence[Seat] = (),
) -> list[Start]:
    """Programs, environments and verdicts of all that can take part, as asked for.

    Where workers run in ``seats``, their environments are there.
    """
    programs: dict[str, Program] = {}
    for entry in chosen:
        try:
            variant = Variant(
                exact_form=settings.exact_form, parallel=settings.workers > 1
            )
            programs[entry.label] = emit(workload, entry.backend, variant)
        except GapError as error:
            out(entry, "gap", str(error))
            continue
        engine = entry.backend.engine
        if seats and isinstance(engine, Engine) and engine.alone:
            del programs[entry.label]
            out(entry, "gap", f"on seats of a job or of other hosts: {engine.alone}")
    writable = [entry for entry in chosen if entry.label in programs]
    environments = _environments(settings, writable, out, watch, seats)
    ready = [entry for entry in writable if entry.label in environments]

    def judged(entry: Entry) -> Verdict:
        watch(entry.label, "gate")
        verdict = judge(entry, environments[entry.label], settings.out)
        watch(entry.label, "judged", verdict=verdict)
        return verdict

    # What compiles for long starts first, so that none is left to run alone. The
    # reference counts in here, and shares the processors with the workers.
    with threadpool_limits(share()), ThreadPoolExecutor(AT_ONCE) as pool:
        slow_first = sorted(ready, key=lambda entry: not entry.env.hurry)
        verdicts = {entry.label: pool.submit(judged, entry) for entry in slow_first}
    return [
        Start(
            entry,
            programs[entry.label],
            environments[entry.label],
            verdicts[entry.label].result(),
        )
        for entry in ready
    ]


def _environments(
    settings: Settings,
    chosen: Sequence[Entry],
    out: Out,
    watch: Watch,
    seats: Sequence[Seat],
) -> dict[str, Environment]:
    """Environments by label; entries without one are out."""
    found: dict[str, Environment | EnvError] = {}
    if seats:
        for entry in chosen:
            try:
                found[entry.label] = environment_on(
                    seats, entry.env, entry.label, settings.python
                )
            except EnvError as error:
                found[entry.label] = error
    elif settings.python:
        for entry in chosen:
            try:
                found[entry.label] = envs.here(entry.env, settings.python, entry.label)
            except EnvError as error:
                found[entry.label] = error
    else:
        found = envs.prepare_all(
            {entry.label: entry.env for entry in chosen},
            progress=lambda label, phase, line: watch(
                label, "environment", phase=phase, line=line
            ),
        )
    result = {}
    for entry in chosen:
        environment = found[entry.label]
        if isinstance(environment, EnvError):
            out(entry, "lacking", str(environment))
        else:
            result[entry.label] = environment
    return result

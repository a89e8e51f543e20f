"""Rows that netglot's own verbs answer: no probe, but programs, races, environments."""

from __future__ import annotations

import functools
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from netglot import backends, workloads
from netglot.backend import Backend
from netglot.emit import GapError, emit
from netglot.features.cells import Check, State
from netglot.race import engine, records
from netglot.race.settings import Settings
from netglot.runtime import envs
from netglot.runtime.envs import Environment
from netglot.runtime.jobs import Worker

#: The network whose lines are counted and whose types are checked, and the one raced.
COUNTED = "mnist-cnn"
RACED = "mnist-lenet"
#: Observations and epochs of the race: ten steps are enough for a steady one.
LIMIT = 640

Answer = tuple[State, str, tuple[Check, ...]]


def _lines(backend: Backend, environment: Environment) -> Answer:
    """Lines of code of ``mnist-cnn`` at the highest level that the framework has."""
    try:
        program = emit(workloads.get(COUNTED), backend)
    except GapError as gap:
        return "no", "", (Check(COUNTED, "no", notes=gap.gaps),)
    lines = str(program.code_lines)
    note = f"{program.lines} with comments, docstrings and blank lines"
    return "yes", lines, (Check("lines of code", "yes", lines, (note,)),)


def _pythons(backend: Backend, environment: Environment) -> Answer:
    """The versions of Python that the package asks for, and the one it ran in."""
    package = envs.package_of(backend.env.requirements[0])
    asked = _requires(environment, package)
    ran = Check("ran in", "yes", environment.python)
    declared = Check(
        "what the package asks for",
        "declared",
        asked or "nothing",
        (f"Requires-Python of {package}",),
    )
    return "yes", asked or environment.python, (ran, declared)


def _requires(environment: Environment, package: str) -> str:
    """``Requires-Python`` of an installed package; "" where it says nothing."""
    code = (
        "import sys\n"
        "try:\n    from importlib.metadata import distribution\n"
        "    text = distribution(sys.argv[1]).read_text('METADATA')\n"
        "except ImportError:\n    from pkg_resources import get_distribution\n"
        "    text = get_distribution(sys.argv[1]).get_metadata('METADATA')\n"
        "sys.stdout.write(text or '')"
    )
    done = subprocess.run(
        [str(environment.interpreter), "-c", code, package],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    return HeaderParser().parsestr(done.stdout).get("Requires-Python", "")


def _size(backend: Backend, environment: Environment) -> Answer:
    """What building the environment took, as it was noted then."""
    if environment.provider != "venv":
        return "not here", "", (Check("built", "not here", notes=("not built by us",)),)
    size, seconds = f"{environment.megabytes:.0f} MB", f"{environment.seconds:.0f} s"
    checks = (Check("size", "yes", size), Check("seconds", "yes", seconds))
    return "yes", f"{size}, {seconds}", checks


def _import(backend: Backend, environment: Environment) -> Answer:
    """The import in a fresh process, the second of two: the files are in memory."""
    found = []
    for _ in range(2):
        with (
            tempfile.TemporaryDirectory() as folder,
            Worker.start_for(
                backend.env,
                environment,
                log=Path(folder) / "log",
                threads=1,
                name=backend.name,
            ) as worker,
        ):
            result = worker.ask(
                "import", imports=list(backend.env.imports), timeout=300
            )
        if result.error is not None:
            return "error", "", (Check("import", "error", result.error.message),)
        found.append(sum(result.answer["seconds"].values()))
    text = f"{1000 * found[-1]:.0f} ms"
    note = f"{1000 * found[0]:.0f} ms the first time"
    return "yes", text, (Check("import", "yes", text, (note,)),)


def _types(backend: Backend, environment: Environment) -> Answer:
    """What mypy says of the program with the framework's own types."""
    if importlib.util.find_spec("mypy") is None:
        lack = Check("types", "not here", notes=("mypy is not beside netglot",))
        return "not here", "", (lack,)
    try:
        program = emit(workloads.get(COUNTED), backend)
    except GapError as gap:
        return "no", "", (Check(COUNTED, "no", notes=gap.gaps),)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / program.name
        path.write_text(program.source)
        command = [sys.executable, "-m", "mypy", "--check-untyped-defs", "--no-color"]
        command += ["--python-executable", str(environment.interpreter)]
        command += ["--config-file", "", "--cache-dir", f"{folder}/cache", str(path)]
        done = subprocess.run(
            [*command, "--no-error-summary"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
    told = [line for line in done.stdout.splitlines() if ": error:" in line]
    if done.returncode not in (0, 1):
        return "error", "", (Check("mypy", "error", notes=(done.stderr[-400:],)),)
    untyped = [line for line in told if "import-untyped" in line]
    faults = [line for line in told if line not in untyped]
    has: State = "no" if untyped else "yes"
    clean: State = "no" if faults or untyped else "yes"
    shown = tuple(line.split(": ", 1)[-1] for line in faults[:5])
    checks = (
        Check("the package has types", has, notes=tuple(untyped[:1])),
        Check("no fault found with them", clean, str(len(faults)), shown),
    )
    right = [has, clean].count("yes")
    state: State = "yes" if right == 2 else "partial" if right else "no"
    return state, f"{right} of 2" if state == "partial" else "", checks


@functools.cache
def _race(name: str) -> Mapping[str, Any] | str:
    """The record of a short race of one; why there is none."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            RACED,
            (name,),
            Path(folder),
            threads=1,
            timeout=900,
            epochs=1,
            limit=LIMIT,
        )
        engine.race(settings, lambda *given, **details: None)
        path = records.path_of(Path(folder), name, 0)
        record: dict[str, Any] = json.loads(path.read_text())
    if record["status"] != "done":
        return str(record["error"]).splitlines()[0]
    return record


def _performance(backend: Backend, environment: Environment) -> Answer:
    """Milliseconds of a steady step and memory above the import, one thread."""
    record = _race(backend.name)
    if isinstance(record, str):
        return _lost(backend, record)
    step = f"{record['step_ms']:.3g} ms"
    memory = f"{record['memory']['above_import'] / 1e6:.0f} MB"
    checks = (Check("steady step", "yes", step), Check("memory", "yes", memory))
    return "yes", f"{step}, {memory}", checks


def _compile_time(backend: Backend, environment: Environment) -> Answer:
    """What the first step takes beyond a steady one."""
    record = _race(backend.name)
    if isinstance(record, str):
        return _lost(backend, record)
    phases = record["phases"]
    first = record["first_step_seconds"]
    build = phases["build"]
    extra = max(first - record["step_ms"] / 1000, 0.0)
    text = f"{extra + build:.2f} s"
    checks = (
        Check("building the network", "yes", f"{build:.2f} s"),
        Check("first step beyond a steady one", "yes", f"{extra:.2f} s"),
    )
    return "yes", text, checks


def _lost(backend: Backend, why: str) -> Answer:
    """No race: a gap of the framework, or a fault."""
    try:
        emit(workloads.get(RACED), backend)
    except GapError as gap:
        return "no", "", (Check(RACED, "no", notes=gap.gaps),)
    return "error", "", (Check(RACED, "error", notes=(why,)),)


ANSWERS: Mapping[str, Callable[[Backend, Environment], Answer]] = {
    "program-lines": _lines,
    "python-versions": _pythons,
    "install-size": _size,
    "import-time": _import,
    "type-stubs": _types,
    "performance": _performance,
    "compile-time": _compile_time,
}


def written(framework: str) -> str:
    """The programs that these answers are about; a gap where there is none."""
    sources = []
    for name in (COUNTED, RACED):
        try:
            sources.append(emit(workloads.get(name), backends.get(framework)).source)
        except GapError as gap:
            sources.append(str(gap))
    return "\0".join(sources)


def answer(row: str, framework: str, environment: Environment) -> Answer:
    """The answer of one of these rows for a framework."""
    return ANSWERS[row](backends.get(framework), environment)

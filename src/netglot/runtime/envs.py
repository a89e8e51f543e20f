"""Environments: one per specification, built once, never half-finished."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import filelock
import psutil

from netglot.backend import Env
from netglot.errors import UserError
from netglot.runtime import interpreters

Progress = Callable[[str, str, str], None]
"""Called with an environment's name, the phase (``waiting``, ``creating``,
``installing``, ``importing``, ``ready``, ``failed``) and the last line of pip."""

LOCKS = Path(__file__).parent / "locks"
"""The lists of every package of an environment that was built and checked."""

_READY = "ready.json"
_TOOLS = ("pip", "setuptools", "wheel", "cython")
_TAIL = 12

_VERSIONS = """
import json, sys
try:
    from importlib.metadata import distributions
    pairs = [(d.metadata["Name"], d.version) for d in distributions()]
except ImportError:
    import pkg_resources
    pairs = [(d.project_name, d.version) for d in pkg_resources.working_set]
found = dict((n.lower().replace("_", "-"), v) for n, v in pairs if n)
print("versions " + json.dumps({"python": "%d.%d.%d" % sys.version_info[:3],
                                "versions": found}))
"""


class EnvError(UserError):
    """An environment cannot be had: who, what, why, and what next, in one message."""


@dataclass(frozen=True)
class Specification:
    """Everything that decides what is installed; environments of one specification are
    one environment. ``lock`` holds the pins (``name==version``) of the whole list.
    """

    python: str
    requirements: tuple[str, ...]
    pip_arguments: tuple[str, ...]
    lock: tuple[str, ...]

    @property
    def key(self) -> str:
        """The name of the environment's folder: the main package, then a hash."""
        text = json.dumps(asdict(self), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]
        first = re.sub(r"[^A-Za-z0-9.]+", "-", self.requirements[0]).strip("-")
        return f"{first}-py{self.python}-{digest}"


@dataclass(frozen=True)
class Environment:
    """An environment that is ready. ``versions`` are those of its packages by name;
    ``seconds`` and ``megabytes`` are what building it took; ``provider`` is ``venv`` or
    ``here`` (an interpreter the user named).
    """

    key: str
    interpreter: Path
    python: str
    versions: Mapping[str, str]
    seconds: float
    megabytes: float
    date: str
    provider: str = "venv"


@dataclass(frozen=True)
class State:
    """What ``netglot env list`` shows: ``state`` is ``ready``, ``can be built`` or
    ``lacking``; ``detail`` says more in words.
    """

    state: str
    detail: str
    environment: Environment | None = None


def envs_folder() -> Path:
    """``$NETGLOT_CACHE/envs``, else ``~/.cache/netglot/envs``."""
    cache = os.environ.get("NETGLOT_CACHE")
    if cache:
        return Path(cache).expanduser().absolute() / "envs"
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "netglot" / "envs"


def lock_pins(env: Env, series: str) -> tuple[str, ...]:
    """The pins of ``locks/<env.lock>.txt``, where it was written for Python ``series``.

    Empty where the environment names no list, or the list is for another Python.
    """
    path = LOCKS / f"{env.lock}.txt"
    if not env.lock or not path.exists():
        return ()
    lines = path.read_text().splitlines()
    if f"# python {series}" not in lines:
        return ()
    return tuple(line for line in lines if line and not line.startswith("#"))


def specification(env: Env, series: str) -> Specification:
    """What would be installed for ``env`` under Python ``series`` (``3.11``)."""
    return Specification(
        series, env.requirements, env.pip_arguments, lock_pins(env, series)
    )


def with_version(env: Env, version: str) -> Env:
    """``env`` with another version of its framework, the first requirement.

    The list of pins does not apply then: pip chooses what goes with that version.
    """
    package = _package(env.requirements[0])
    return replace(
        env,
        requirements=(f"{package}=={version}", *env.requirements[1:]),
        lock="",
    )


def _package(requirement: str) -> str:
    """``torch`` of ``torch==2.13.0``, ``mlx[cpu]`` of ``mlx[cpu]==0.32.0``."""
    match = re.match(r"\s*([A-Za-z0-9._-]+(?:\[[^\]]*\])?)", requirement)
    if match is None:
        raise UserError(f"{requirement!r} is not a requirement such as torch==2.13.0")
    return match.group(1)


def ready(env: Env) -> Environment | None:
    """The environment of ``env`` if one is ready, for any of its Pythons."""
    for series in env.python:
        folder = envs_folder() / specification(env, series).key
        found = _read_ready(folder)
        if found is not None:
            return found
    return None


def _read_ready(folder: Path) -> Environment | None:
    try:
        answer = json.loads((folder / _READY).read_text())
        found = Environment(
            interpreter=Path(answer.pop("interpreter")),
            **{k: v for k, v in answer.items() if k != "specification"},
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # The link of a virtual environment breaks when its Python is taken away.
    return found if found.interpreter.exists() else None


def prepare(env: Env, name: str, progress: Progress | None = None) -> Environment:
    """The environment of ``env``, built now if it is not ready.

    ``name`` is how messages call it. Several processes may ask at once: one builds, the
    others wait. Raises ``EnvError`` where it cannot be built; the next call starts
    clean.
    """
    tell = progress or (lambda name, phase, line: None)
    found = ready(env)
    if found is not None:
        tell(name, "ready", "")
        return found
    interpreter = interpreters.find_interpreter(env.python)
    if interpreter is None:
        tell(name, "failed", "")
        raise EnvError(f"{name} {interpreters.advice(env.python)}.")
    spec = specification(env, interpreter.series)
    folder = envs_folder() / spec.key
    try:
        envs_folder().mkdir(parents=True, exist_ok=True)
        tell(name, "waiting", "")
        with filelock.FileLock(_beside(folder, ".lock")):
            found = _read_ready(folder)
            if found is None:
                found = _build(env, spec, folder, interpreter, name, tell)
    except EnvError:
        tell(name, "failed", "")
        raise
    except OSError as error:
        tell(name, "failed", "")
        raise EnvError(
            f"The environment of {name} cannot be kept in {envs_folder()}: "
            f"{error.strerror or error}. Make room or rights there, or name another "
            "folder in NETGLOT_CACHE."
        ) from error
    tell(name, "ready", "")
    return found


def prepare_all(
    envs: Mapping[str, Env], parallel: int = 2, progress: Progress | None = None
) -> dict[str, Environment | EnvError]:
    """Environments of several backends, ``parallel`` at a time, each with its own fate:
    by name the environment, or the error that says why there is none.
    """

    def one(name: str) -> Environment | EnvError:
        try:
            return prepare(envs[name], name, progress)
        except EnvError as error:
            return error

    with ThreadPoolExecutor(max(1, parallel)) as pool:
        return dict(zip(envs, pool.map(one, envs), strict=True))


def _beside(folder: Path, suffix: str) -> Path:
    return folder.parent / (folder.name + suffix)


def _build(
    env: Env,
    spec: Specification,
    folder: Path,
    interpreter: interpreters.Interpreter,
    name: str,
    tell: Progress,
) -> Environment:
    start = time.perf_counter()
    _wipe(folder)
    log = _beside(folder, ".log")
    steps = _Steps(env, folder, log, name, tell)
    python = folder / "bin" / "python"
    steps.run("creating", [str(interpreter.path), "-I", "-m", "venv", str(folder)])
    pip = [str(python), "-m", "pip", "install", "--no-input"]
    asked = {re.split(r"[^A-Za-z0-9]", r)[0].lower() for r in env.requirements}
    if "pip" not in asked and tuple(map(int, spec.python.split("."))) < (3, 9):
        # The pip that comes with an old Python does not know today's wheels.
        steps.run("installing", [*pip, "--upgrade", "pip", "setuptools", "wheel"])
    # What builds other packages has to be there before them.
    tools = [r for r in env.requirements if _package(r).lower() in _TOOLS]
    others = [r for r in env.requirements if _package(r).lower() not in _TOOLS]
    constraints: list[str] = []
    if spec.lock:
        listed = folder / "constraints.txt"
        listed.write_text("\n".join(spec.lock) + "\n")
        constraints = ["-c", str(listed)]
    if tools:
        steps.run("installing", [*pip, *constraints, *tools])
    steps.run("installing", [*pip, *constraints, *env.pip_arguments, *others])
    answer = steps.run(
        "importing",
        [str(python), "-c", _import_text(env.imports) + _VERSIONS],
    )
    try:
        told = _versions(answer)
    except ValueError as error:
        raise EnvError(
            f"The environment of {name} did not name its packages"
        ) from error
    environment = Environment(
        key=spec.key,
        interpreter=python,
        python=told["python"],
        versions=told["versions"],
        seconds=round(time.perf_counter() - start, 1),
        megabytes=round(_megabytes(folder), 1),
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    record = {
        **asdict(environment),
        "interpreter": str(python),
        "specification": asdict(spec),
    }
    partial = folder / (_READY + ".partial")
    with partial.open("w") as file:
        json.dump(record, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    # Last of all: from here on the environment counts as built.
    partial.rename(folder / _READY)
    return environment


def _import_text(imports: Sequence[str]) -> str:
    return "".join(f"import {module}\n" for module in imports)


def _versions(lines: Sequence[str]) -> dict:
    for line in reversed(lines):
        if line.startswith("versions "):
            return json.loads(line.removeprefix("versions "))
    raise ValueError("no line of versions")


def _megabytes(folder: Path) -> float:
    total = 0
    for place, _, files in os.walk(folder):
        for file in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, file)).st_size
    return total / 1e6


def _wipe(folder: Path) -> None:
    """Removes what an interrupted build left; first ends its pip if that still runs."""
    note = _beside(folder, ".building")
    with contextlib.suppress(OSError, ValueError, psutil.Error):
        left = json.loads(note.read_text())
        process = psutil.Process(left["pid"])
        if abs(process.create_time() - left["created"]) < 1:
            family = [process, *process.children(recursive=True)]
            for member in family:
                with contextlib.suppress(psutil.Error):
                    member.kill()
            psutil.wait_procs(family, timeout=10)
    note.unlink(missing_ok=True)
    if folder.exists():
        # Not ready before the first file goes.
        (folder / _READY).unlink(missing_ok=True)
        shutil.rmtree(folder)


class _Steps:
    """The commands of one build: each is logged, told of, and ended with its parent."""

    def __init__(
        self, env: Env, folder: Path, log: Path, name: str, tell: Progress
    ) -> None:
        self.env, self.folder, self.log = env, folder, log
        self.name, self.tell = name, tell
        log.write_text("")

    def run(self, phase: str, command: list[str]) -> list[str]:
        """Runs a command to its end and returns its lines; raises ``EnvError``."""
        self.tell(self.name, phase, "")
        lines: list[str] = []
        note = _beside(self.folder, ".building")
        with self.log.open("a") as log:
            log.write("$ " + " ".join(command) + "\n")
            log.flush()
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                text=True,
                errors="replace",
                env=_variables(self.env),
                start_new_session=True,
            )
            try:
                with contextlib.suppress(psutil.Error):
                    created = psutil.Process(process.pid).create_time()
                    note.write_text(
                        json.dumps({"pid": process.pid, "created": created})
                    )
                assert process.stdout is not None
                for line in process.stdout:
                    log.write(line)
                    log.flush()
                    lines.append(line.rstrip())
                    if line.strip() and not line.startswith("versions "):
                        self.tell(self.name, phase, line.strip())
                process.wait()
            finally:
                if process.poll() is None:
                    with contextlib.suppress(OSError):
                        os.killpg(process.pid, 9)
                    process.wait()
                note.unlink(missing_ok=True)
        if process.returncode != 0:
            raise self._error(phase, lines, process.returncode)
        return lines

    def _error(self, phase: str, lines: list[str], status: int) -> EnvError:
        tail = "\n".join("    " + line for line in lines[-_TAIL:])
        return EnvError(
            f"The environment of {self.name} could not be built: {phase} failed "
            f"(status {status}).\n{tail}\n"
            f"The whole log: {self.log}. Environments that are ready stay usable; the "
            "next try starts clean."
        )


def _variables(env: Env) -> dict[str, str]:
    """The variables of a build: the user's, without what leaks other packages in."""
    kept = {
        k: v
        for k, v in os.environ.items()
        if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
    }
    return {
        **kept,
        "PYTHONNOUSERSITE": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PYTHONUNBUFFERED": "1",
        **env.variables,
        **env.cpu,
    }

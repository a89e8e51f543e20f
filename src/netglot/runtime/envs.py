"""Environments: one per specification, built once, never half-finished."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import filelock
import psutil

from netglot.backend import Env
from netglot.errors import UserError
from netglot.runtime import interpreters, shims

Progress = Callable[[str, str, str], None]
"""Called with an environment's name, the phase (``waiting``, ``creating``,
``installing``, ``importing``, ``ready``, ``failed``) and the last line of pip."""

LOCKS = Path(__file__).parent / "locks"
"""The lists of every package of an environment that was built and checked."""

_READY = "ready.json"
_TOOLS = ("pip", "setuptools", "wheel", "cython")
# What comes with an old Python does not know today's wheels; the newest that still run
# there, because the pip of that day would take newer ones that do not.
_OLD_TOOLS = {
    "3.6": ("pip==21.3.1", "setuptools==59.6.0", "wheel==0.37.1"),
    "3.7": ("pip==24.0", "setuptools==68.0.0", "wheel==0.42.0"),
    "3.8": ("pip==25.0.1",),
}
_TAIL = 12
# Megabytes that an empty environment takes.
_ROOM = 30
_MARK = "versions "

_VERSIONS = """
import json, re, sys
try:
    from importlib.metadata import distributions
    pairs = [(d.metadata["Name"], d.version) for d in distributions()]
except ImportError:
    import pkg_resources
    pairs = [(d.project_name, d.version) for d in pkg_resources.working_set]
found = dict((re.sub("[-_.]+", "-", n).lower(), v) for n, v in pairs if n)
print("versions " + json.dumps({"python": "%d.%d.%d" % sys.version_info[:3],
                                "versions": found}))
"""


class EnvError(UserError):
    """An environment cannot be had: who, what, why, and what next, in one message."""


class LackError(EnvError):
    """The machine lacks an interpreter or a command that an environment needs."""


@dataclass(frozen=True)
class Specification:
    """Everything that decides what is installed; environments of one specification are
    one environment. ``lock`` holds the pins (``name==version``) of the whole list,
    ``shims`` a hash of the text of each.
    """

    python: str
    requirements: tuple[str, ...]
    pip_arguments: tuple[str, ...]
    lock: tuple[str, ...]
    shims: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The name of the environment's folder: what is pinned, then a hash."""
        fields = asdict(self)
        if not self.shims:
            # The name of an environment without any does not depend on there being any.
            del fields["shims"]
        text = json.dumps(fields, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:10]
        pinned = [r for r in self.requirements if "==" in r] or list(self.requirements)
        words = [re.sub(r"[^A-Za-z0-9.]+", "-", r).strip("-") for r in pinned]
        return f"{'_'.join(words)[:60]}-py{self.python}-{digest}"


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

    def version_of(self, env: Env) -> str:
        """The version of the framework itself; "" where it is not told."""
        versions = {_canonical(name): told for name, told in self.versions.items()}
        for name in (package_of(env.requirements[0]), *env.imports):
            if _canonical(name) in versions:
                return versions[_canonical(name)]
        return ""

    def versions_of(self, env: Env) -> dict[str, str]:
        """The versions of the packages that ``env`` asks for by name."""
        asked = {_canonical(package_of(text)) for text in env.requirements}
        return {n: told for n, told in self.versions.items() if _canonical(n) in asked}

    def not_trained(self, env: Env) -> str:
        """Why nothing is trained in it; "" where it is, as in one of the user's own."""
        return env.forward_only if self.provider == "venv" else ""

    def not_timed(self, env: Env) -> str:
        """Why nothing is raced in it; "" where it is, as in one of the user's own."""
        return env.untimed if self.provider == "venv" else ""


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
    # Sorted: the frameworks that share an environment each name themselves first.
    requirements = tuple(sorted(env.requirements))
    return Specification(
        series,
        requirements,
        env.pip_arguments,
        lock_pins(env, series),
        tuple(shims.digest(shim) for shim in env.shims),
    )


def folder_of(interpreter: Path) -> Path | None:
    """The folder of the environment of an interpreter; None for one of the user's."""
    folder = interpreter.parent.parent
    return folder if folder.parent == envs_folder() else None


#: How a program is run: as it is, to be judged, or to be judged once and soon.
Pace = Literal["raced", "judged", "hurried"]


def variables_of(env: Env, folder: Path | None, pace: Pace = "raced") -> dict[str, str]:
    """``env.variables`` where the environment is in ``folder``, and those of a pace."""
    chosen = dict(env.variables)
    if pace != "raced":
        chosen.update(env.judged)
    if pace == "hurried":
        chosen.update(env.hurry)
    return {
        name: value.replace("{folder}", str(folder))
        for name, value in chosen.items()
        if folder is not None or "{folder}" not in value
    }


def lacks(env: Env) -> str:
    """What a machine lacks for ``env`` beside packages, and how to get it; or ""."""
    missing = [need for need in env.needs if shutil.which(need.command) is None]
    return "; ".join(
        f"needs the command {need.command} ({need.why}): for example `{need.get}`"
        for need in missing
    )


def with_version(env: Env, version: str) -> Env:
    """``env`` with another version of its framework, the first requirement.

    The list of pins does not apply then: pip chooses what goes with that version. The
    version that is pinned anyway is the same environment.
    Raises ``UserError`` for what is no version.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+!_-]*", version):
        raise UserError(f"{version!r} is not a version such as 2.12.1.")
    asked = f"{package_of(env.requirements[0])}=={version}"
    if asked == env.requirements[0]:
        return env
    return replace(
        env,
        requirements=(asked, *env.requirements[1:]),
        lock="",
    )


def ready(env: Env) -> Environment | None:
    """The environment of ``env`` if one is ready, for any of its Pythons."""
    for series in env.python:
        found = _read_ready(envs_folder() / specification(env, series).key)
        if found is not None:
            return found
    return None


def everything() -> tuple[Environment, ...]:
    """All environments on this machine that are ready, whosever they are."""
    folder = envs_folder()
    if not folder.is_dir():
        return ()
    found = (_read_ready(place) for place in sorted(folder.iterdir()))
    return tuple(environment for environment in found if environment is not None)


def state(env: Env) -> State:
    """Whether ``env`` is ready, can be built, or what it lacks."""
    if lacking := lacks(env):
        return State("lacking", lacking)
    found = ready(env)
    if found is not None:
        detail = f"{found.megabytes:.0f} MB, Python {found.python}, {found.date[:10]}"
        return State("ready", detail, found)
    interpreter = interpreters.find_interpreter(env.python)
    if interpreter is None:
        return State("lacking", interpreters.advice(env.python))
    return State(
        "can be built", f"with Python {interpreter.version} ({interpreter.path})"
    )


def prepare(env: Env, name: str, progress: Progress | None = None) -> Environment:
    """The environment of ``env``, built now if it is not ready.

    ``name`` is how messages call it. Several processes may ask at once: one builds, the
    others wait. Raises ``EnvError`` where it cannot be built; the next call starts
    clean.
    """
    return _prepare(env, name, progress or _silent, _Running())


def prepare_all(
    envs: Mapping[str, Env], parallel: int = 2, progress: Progress | None = None
) -> dict[str, Environment | EnvError]:
    """Environments of several backends, ``parallel`` at a time, each with its own fate.

    The answer holds by name the environment, or the error that says why there is none.
    Backends with the same specification share one build. ``progress`` is called from
    several threads.
    """
    tell, running = progress or _silent, _Running()
    groups: dict[tuple[Specification, ...], list[str]] = {}
    for name, env in envs.items():
        specifications = tuple(specification(env, series) for series in env.python)
        groups.setdefault(specifications, []).append(name)

    def one(names: list[str]) -> dict[str, Environment | EnvError]:
        results: dict[str, Environment | EnvError] = {}
        for name in names:
            try:
                results[name] = _prepare(envs[name], name, tell, running)
            except EnvError as error:
                results[name] = error
        return results

    results: dict[str, Environment | EnvError] = {}
    with ThreadPoolExecutor(max(1, parallel)) as pool:
        futures = [pool.submit(one, names) for names in groups.values()]
        try:
            for future in futures:
                results.update(future.result())
        except BaseException:
            # Ctrl-C: neither wait for pip nor begin with what is still to come.
            running.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {name: results[name] for name in envs}


def here(env: Env, python: Path | str, name: str) -> Environment:
    """The interpreter the user names, with whatever is installed in it.

    Every one of ``env.imports`` is imported. Raises ``EnvError`` for an interpreter
    that does not run and for a package that is missing or broken.
    """
    path = Path(python).expanduser().absolute()
    start = time.perf_counter()
    told = interpreters.ask(path)
    if told is None:
        raise EnvError(
            f"{path}, named for {name}, is not a Python that can be run. Name the "
            "executable itself, for example /opt/env/bin/python."
        )
    missing = {}
    for module in dict.fromkeys((*env.imports, "numpy")):
        status, lines = _listen([str(path), "-c", f"import {module}"], env)
        if status != 0:
            missing[module] = lines[-1] if lines else f"status {status}"
    if missing:
        reasons = "; ".join(f"{module}: {why}" for module, why in missing.items())
        wanted = " ".join(f"'{r}'" for r in env.requirements)
        raise EnvError(
            f"{path} cannot be used for {name}: it does not import "
            f"{', '.join(missing)} ({reasons}). For example: {path} -m pip install "
            f"{wanted}"
        )
    status, lines = _listen([str(path), "-c", _VERSIONS], env)
    versions = _versions(lines)
    return Environment(
        key="here",
        interpreter=path,
        python=versions["python"],
        versions=versions["versions"],
        seconds=round(time.perf_counter() - start, 1),
        megabytes=0.0,
        date=_now(),
        provider="here",
    )


def remove(env: Env) -> bool:
    """Removes the environments of ``env``; False where there was nothing.

    Backends that share it have to build it anew.
    """
    keys = [specification(env, series).key for series in env.python]
    return any([remove_key(key) for key in keys])


def remove_key(key: str) -> bool:
    """Removes the environment of that folder name; False where there was none."""
    folder = envs_folder() / key
    if folder.parent != envs_folder() or not folder.exists():
        return False
    with filelock.FileLock(_beside(folder, ".lock")):
        _wipe(folder)
    _beside(folder, ".log").unlink(missing_ok=True)
    return True


def write_lock(env: Env, environment: Environment) -> Path:
    """Writes the list of all pins of ``env`` from an environment that was built.

    Local parts of versions (``+cpu``) are dropped: they name a build, not a version.
    pip itself is listed only where ``env`` asks for it.
    """
    if not env.lock:
        raise UserError(f"{env.requirements[0]} names no list of pins (Env.lock).")
    asked = {_canonical(package_of(r)) for r in env.requirements}
    lines = [
        "# Every package of this environment, as it was built and imported.",
        f"# python {'.'.join(environment.python.split('.')[:2])}",
    ]
    for package, version in sorted(environment.versions.items()):
        if package == "pip" and package not in asked:
            continue
        lines.append(f"{package}=={version.split('+')[0]}")
    LOCKS.mkdir(exist_ok=True)
    path = LOCKS / f"{env.lock}.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def _silent(name: str, phase: str, line: str) -> None:
    """The progress of those who do not want to know."""


def package_of(requirement: str) -> str:
    """``torch`` of ``torch==2.13.0``, ``mlx[cpu]`` of ``mlx[cpu]==0.32.0``."""
    match = re.match(r"\s*([A-Za-z0-9._-]+(?:\[[^\]]*\])?)", requirement)
    if match is None:
        raise UserError(f"{requirement!r} is not a requirement such as torch==2.13.0.")
    return match.group(1)


def _canonical(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package.split("[")[0]).lower()


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _beside(folder: Path, suffix: str) -> Path:
    return folder.parent / (folder.name + suffix)


def _read_ready(folder: Path) -> Environment | None:
    try:
        answer = json.loads((folder / _READY).read_text())
        del answer["specification"]
        found = Environment(interpreter=Path(answer.pop("interpreter")), **answer)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # The link of a virtual environment breaks when its Python is taken away.
    return found if found.interpreter.exists() else None


class _Running:
    """The commands that this process's builds are running, so that all can be ended."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[str]] = set()

    def add(self, process: subprocess.Popen[str]) -> None:
        with self._lock:
            self._processes.add(process)
            if self.stopped.is_set():
                _kill(process)

    def discard(self, process: subprocess.Popen[str]) -> None:
        with self._lock:
            self._processes.discard(process)

    def stop(self) -> None:
        with self._lock:
            self.stopped.set()
            for process in self._processes:
                _kill(process)


def _kill(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)


def _prepare(env: Env, name: str, tell: Progress, running: _Running) -> Environment:
    try:
        if lacking := lacks(env):
            raise LackError(f"{name} {lacking}.")
        found = ready(env)
        if found is None:
            found = _locked_build(env, name, tell, running)
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


def _locked_build(
    env: Env, name: str, tell: Progress, running: _Running
) -> Environment:
    interpreter = interpreters.find_interpreter(env.python)
    if interpreter is None:
        raise LackError(f"{name} {interpreters.advice(env.python)}.")
    spec = specification(env, interpreter.series)
    folder = envs_folder() / spec.key
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(_beside(folder, ".lock"))
    while True:
        if running.stopped.is_set():
            raise EnvError(f"The environment of {name} was not built: stopped.")
        try:
            lock.acquire(timeout=0.5)
            break
        except filelock.Timeout:
            tell(name, "waiting", "somebody else is building it")
    try:
        # Somebody may have built it while this process waited.
        found = _read_ready(folder)
        if found is not None:
            return found
        try:
            return _build(env, spec, folder, interpreter, name, tell, running)
        except BaseException:
            # What is left of it would only take up the disk.
            with contextlib.suppress(OSError):
                _wipe(folder)
            raise
    finally:
        lock.release()


def _build(
    env: Env,
    spec: Specification,
    folder: Path,
    interpreter: interpreters.Interpreter,
    name: str,
    tell: Progress,
    running: _Running,
) -> Environment:
    start = time.perf_counter()
    _wipe(folder)
    steps = _Steps(env, folder, name, tell, running)
    python = folder / "bin" / "python"
    steps.run("creating", [str(interpreter.path), "-I", "-m", "venv", str(folder)])
    pip = [str(python), "-m", "pip", "install", "--no-input"]
    # What builds other packages has to be there before them.
    tools = [r for r in env.requirements if _canonical(package_of(r)) in _TOOLS]
    others = [r for r in env.requirements if r not in tools]
    asked = {_canonical(package_of(r)) for r in tools}
    newer = [r for r in _OLD_TOOLS.get(spec.python, ()) if package_of(r) not in asked]
    if newer:
        steps.run("installing", [*pip, *newer])
    constraints: list[str] = []
    if spec.lock:
        listed = folder / "constraints.txt"
        listed.write_text("\n".join(spec.lock) + "\n")
        constraints = ["-c", str(listed)]
    if tools:
        steps.run("installing", [*pip, *constraints, *tools])
    steps.run("installing", [*pip, *constraints, *env.pip_arguments, *others])
    for shim in env.shims:
        if shim.when == "build":
            steps.run("installing", [str(python), str(shims.path(shim)), str(folder)])
    shims.install(folder, env.shims)
    text = "".join(f"import {module}\n" for module in env.imports) + _VERSIONS
    told = _versions(steps.run("importing", [str(python), "-c", text]))
    environment = Environment(
        key=spec.key,
        interpreter=python,
        python=told["python"],
        versions=told["versions"],
        seconds=round(time.perf_counter() - start, 1),
        megabytes=round(_megabytes(folder), 1),
        date=_now(),
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


def _versions(lines: Sequence[str]) -> dict[str, Any]:
    """What ``_VERSIONS`` printed, among whatever else was printed."""
    told = [line for line in lines if line.startswith(_MARK)]
    return json.loads(told[-1].removeprefix(_MARK))


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
    with contextlib.suppress(OSError, ValueError, KeyError, psutil.Error):
        left = json.loads(note.read_text())
        process = psutil.Process(left["pid"])
        # The number alone may be another process's by now.
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
    """The commands of one build: each is logged, told of, and ended with its build."""

    def __init__(
        self, env: Env, folder: Path, name: str, tell: Progress, running: _Running
    ) -> None:
        self.env, self.folder = env, folder
        self.name, self.tell, self.running = name, tell, running
        self.log = _beside(folder, ".log")
        self.log.write_text("")

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
                env=_build_variables(self.env, self.folder),
                start_new_session=True,
            )
            self.running.add(process)
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
                    # What a framework says when it is imported is for the log.
                    if line.strip() and phase != "importing":
                        self.tell(self.name, phase, line.strip())
                process.wait()
            finally:
                self.running.discard(process)
                _kill(process)
                process.wait()
                note.unlink(missing_ok=True)
        if process.returncode != 0:
            raise EnvError(
                failure(self.name, phase, lines, process.returncode, self.log)
            )
        return lines


def failure(name: str, phase: str, lines: Sequence[str], status: int, log: Path) -> str:
    """The message for a step of a build that failed: what, why, and what next."""
    tail = "\n".join("    " + line for line in lines[-_TAIL:])
    usable = len(everything())
    return (
        f"The environment of {name} could not be built: {phase} failed (status "
        f"{status}). {_reason(phase, lines, status, log.parent)}\n{tail}\n"
        f"The whole log: {log}. What was installed of it has been removed, so the next "
        f"try starts clean; the environments that are ready ({usable}) stay usable."
    )


def _reason(phase: str, lines: Sequence[str], status: int, folder: Path) -> str:
    """The likely cause, from what pip prints."""
    text = "\n".join(lines)
    free = shutil.disk_usage(folder).free / 1e6
    # The making of an environment hides what its pip said.
    hidden = phase == "creating" and free < _ROOM
    if hidden or "No space left on device" in text or "Errno 28" in text:
        return (
            f"The disk is full ({free:.0f} MB are free now in {folder}): make room, or "
            "name another folder in NETGLOT_CACHE."
        )
    if status == -signal.SIGKILL:
        return "It was killed, most probably because memory ran out."
    if phase == "creating":
        return "The Python that was found cannot make virtual environments."
    if phase == "importing":
        return "It was installed, but it does not import."
    network = (
        "NewConnectionError",
        "ConnectTimeoutError",
        "ReadTimeoutError",
        "Temporary failure in name resolution",
        "Connection refused",
        "Network is unreachable",
        "ProxyError",
        "connection broken by",
    )
    if any(sign in text for sign in network):
        return "The package index cannot be reached: look at the network and the proxy."
    missing = re.search(r"No matching distribution found for (\S+)", text)
    if missing:
        return (
            f"The package index has no {missing.group(1)} for this Python on this "
            "system."
        )
    if "ResolutionImpossible" in text or "conflicting dependencies" in text:
        return "The versions that are asked for contradict each other."
    return ""


def _listen(command: list[str], env: Env) -> tuple[int, list[str]]:
    """The status and the lines of a short command in somebody's interpreter."""
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            env={**clean_variables(), **variables_of(env, folder_of(Path(command[0])))},
            timeout=600,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, [str(error)]
    return done.returncode, [line for line in done.stdout.splitlines() if line.strip()]


def clean_variables() -> dict[str, str]:
    """The user's variables, without those that leak other packages into a Python."""
    leaking = (
        "PYTHONPATH",
        "PYTHONHOME",
        "PYTHONSTARTUP",
        "VIRTUAL_ENV",
        "__PYVENV_LAUNCHER__",
    )
    kept = {k: v for k, v in os.environ.items() if k not in leaking}
    return {**kept, "PYTHONNOUSERSITE": "1"}


def _build_variables(env: Env, folder: Path) -> dict[str, str]:
    return {
        **clean_variables(),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PYTHONUNBUFFERED": "1",
        **variables_of(env, folder),
        **env.cpu,
    }

"""Finds the Pythons of this machine: PATH, pyenv, uv, conda, and the running one."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROBE = """
import json, sys
try:
    import ensurepip, venv
    builds = True
except ImportError:
    builds = False
print(json.dumps({"version": list(sys.version_info[:3]), "builds": builds,
                  "implementation": sys.implementation.name}))
"""


@dataclass(frozen=True)
class Interpreter:
    """A Python that was found and asked: ``version`` is ``3.11.7``; ``builds`` says
    whether it can make virtual environments (it has ``venv`` and ``ensurepip``).
    """

    path: Path
    version: str
    builds: bool

    @property
    def series(self) -> str:
        """The version without its last number: ``3.11``."""
        return ".".join(self.version.split(".")[:2])


@functools.cache
def ask(path: Path) -> Interpreter | None:
    """What the executable at ``path`` says of itself; None where it is no CPython.

    A shim of pyenv for a version that is not switched on, a broken link and a program
    that hangs all count as "no Python here".
    """
    try:
        done = subprocess.run(
            [str(path), "-I", "-c", _PROBE],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        answer = json.loads(done.stdout.strip().splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
    if answer["implementation"] != "cpython":
        return None
    version = ".".join(str(part) for part in answer["version"])
    return Interpreter(path, version, answer["builds"])


def candidates(series: str) -> Iterator[Path]:
    """Where a Python of ``series`` (``3.11``) may be, likeliest first.

    The paths exist; whether they are of that series is for ``ask`` to say.
    """
    name = f"python{series}"
    home = Path.home()
    if sys.version_info[:2] == tuple(int(part) for part in series.split(".")):
        # The Python below netglot's own virtual environment.
        yield Path(getattr(sys, "_base_executable", sys.executable))
    for command in (name, "python3", "python"):
        found = shutil.which(command)
        if found is not None:
            yield Path(found)
    folders = [
        (Path(os.environ.get("PYENV_ROOT", home / ".pyenv")) / "versions", "*"),
        (
            Path(
                os.environ.get(
                    "UV_PYTHON_INSTALL_DIR",
                    Path(os.environ.get("XDG_DATA_HOME", home / ".local/share"))
                    / "uv/python",
                )
            ),
            "*",
        ),
    ]
    for conda in ("miniconda3", "anaconda3", "miniforge3", "mambaforge", ".conda"):
        folders.append((home / conda, "."))
        folders.append((home / conda / "envs", "*"))
    if "CONDA_PREFIX" in os.environ:
        folders.append((Path(os.environ["CONDA_PREFIX"]), "."))
    for folder, pattern in folders:
        if not folder.is_dir():
            continue
        places = [folder] if pattern == "." else sorted(folder.glob(pattern))
        # The newest patch release first.
        for place in sorted(places, key=_release, reverse=True):
            executable = place / "bin" / name
            if executable.exists():
                yield executable


def _release(place: Path) -> tuple[int, ...]:
    digits = "".join(c if c.isdigit() else " " for c in place.name).split()
    return tuple(int(part) for part in digits[:3])


@functools.cache
def find_interpreter(versions: tuple[str, ...]) -> Interpreter | None:
    """The first Python of the first of ``versions`` (``("3.11", "3.10")``) that is on
    this machine and can make virtual environments; None where there is none.
    """
    for series in versions:
        seen: set[Path] = set()
        for path in candidates(series):
            if path in seen:
                continue
            seen.add(path)
            found = ask(path)
            if found is not None and found.series == series and found.builds:
                return found
    return None


def advice(versions: tuple[str, ...]) -> str:
    """How to get a missing Python, in words."""
    named = versions[0] if len(versions) == 1 else "one of " + ", ".join(versions)
    tool = "uv python install" if shutil.which("uv") else "pyenv install"
    return f"needs Python {named}: for example `{tool} {versions[0]}`"

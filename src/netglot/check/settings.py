"""Which programs, on what data, and how they are run; the entries that take part."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from netglot import backends
from netglot.backend import Backend, Env
from netglot.errors import UserError
from netglot.runtime import envs


@dataclass(frozen=True)
class Entry:
    """A framework, in a version of its own where ``label`` names one."""

    label: str
    backend: Backend
    env: Env


@dataclass(frozen=True)
class Settings:
    """Programs of a workload, one per label, run side by side.

    ``labels`` are names of frameworks, each with ``==version`` or without; ``data`` a
    folder or file of the user's, ``None`` for the embedded digits. ``threads`` ``None``
    is all. ``timeout`` is in seconds, for the whole of one program. ``python`` is an
    interpreter to use as it is. ``out`` is the folder for all files. With more than one
    of ``workers`` a program is several processes, which share the threads.
    """

    workload: str
    labels: tuple[str, ...]
    out: Path
    data: Path | None = None
    threads: int | None = None
    device: str = "cpu"
    seed: int = 0
    timeout: float | None = None
    python: Path | None = None
    exact_form: bool = False
    workers: int = 1

    def __post_init__(self) -> None:
        """Reject numbers that make no sense; raises ``UserError``."""
        self.at_least_one("threads", "workers")
        if self.timeout is not None and self.timeout <= 0:
            raise UserError(f"--timeout {self.timeout:g}: more than 0 s are needed.")
        if len(set(self.labels)) != len(self.labels):
            raise UserError("A framework is named twice in --on.")

    def at_least_one(self, *names: str) -> None:
        """Raise ``UserError`` where one of these options is a number under 1."""
        for name in names:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"--{name} {value}: at least 1 is needed.")


def entries(labels: tuple[str, ...]) -> list[Entry]:
    """The entries of ``pytorch,flax==0.12.7``; raises ``UserError`` for a wrong one."""
    found = []
    for label in labels:
        name, _, version = label.partition("==")
        backend = backends.get(name)
        env = envs.with_version(backend.env, version) if version else backend.env
        found.append(Entry(label, backend, env))
    if not found:
        raise UserError("No framework is named to race.")
    return found

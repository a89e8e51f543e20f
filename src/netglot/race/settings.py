"""What is asked of a race, and the entries that take part."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from netglot import backends
from netglot.backend import Backend, Env
from netglot.errors import UserError
from netglot.race.statistics import ENOUGH
from netglot.runtime import envs


@dataclass(frozen=True)
class Entry:
    """A framework, in a version of its own where ``label`` names one."""

    label: str
    backend: Backend
    env: Env


@dataclass(frozen=True)
class Settings:
    """A race.

    ``labels`` are names of frameworks, each with ``==version`` or without; ``data`` a
    folder or file of the user's, ``None`` for the embedded digits. ``epochs`` and
    ``limit`` (observations) are the recipe's and the data set's unless given;
    ``threads`` ``None`` is all. ``start``: ``same`` initial weights for all, or
    ``native`` ones of each framework's own generator. ``timeout`` is in seconds per
    run. ``python`` is an interpreter to use as it is. ``out`` is the folder of the
    race. ``repeats`` runs of each framework, and with ``until`` more of those whose
    95 % interval of the time of training is wider than this many percent of the median
    to either side, ``at_most`` in all.
    """

    workload: str
    labels: tuple[str, ...]
    out: Path
    data: Path | None = None
    repeats: int = 1
    epochs: int | None = None
    limit: int | None = None
    threads: int | None = None
    device: str = "cpu"
    seed: int = 0
    start: str = "same"
    timeout: float | None = None
    python: Path | None = None
    exact_form: bool = False
    until: float | None = None
    at_most: int = 20

    def __post_init__(self) -> None:
        """Reject numbers that make no race; raises ``UserError``."""
        for name in ("repeats", "epochs", "limit", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"--{name} {value}: at least 1 is needed.")
        if self.until is not None and self.until <= 0:
            raise UserError(f"--until {self.until:g}: more than 0 percent are needed.")
        if self.until is not None and self.at_most < max(self.repeats, ENOUGH):
            raise UserError(
                f"--at-most {self.at_most}: an interval needs {ENOUGH} runs, and "
                f"--repeats asks for {self.repeats}."
            )
        if self.timeout is not None and self.timeout <= 0:
            raise UserError(f"--timeout {self.timeout:g}: more than 0 s are needed.")
        if len(set(self.labels)) != len(self.labels):
            raise UserError("A framework is named twice in --on.")


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

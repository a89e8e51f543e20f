"""A cell of the table: what was found, by what, when and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal[
    "yes",
    "partial",
    "no",
    "fallback",
    "not here",
    "error",
    "timeout",
    "declared",
    "unasked",
]

#: What each state means, for legends.
MEANINGS: Mapping[State, str] = {
    "yes": "ran, and the value was right",
    "partial": "some of the checks are right",
    "no": "ran; refused, or wrong",
    "fallback": "right, but not by the framework's own means",
    "not here": "this machine lacks a device, a compiler or a package",
    "error": "the probe itself failed",
    "timeout": "took too long and was ended",
    "declared": "a fact that cannot be run, with its source",
    "unasked": "no probe for this framework yet",
}


@dataclass(frozen=True)
class Check:
    """One question of a row: its state, the value seen, what was noted on the way."""

    name: str
    state: State
    value: str = ""
    notes: tuple[str, ...] = ()
    ms: float = 0.0
    traceback: str = ""

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Check:
        """As a worker or a file has it."""
        return cls(**{**content, "notes": tuple(content["notes"])})


@dataclass(frozen=True)
class Cell:
    """The answer of one row for one framework.

    ``text`` is what stands in the table beside the state (``3 of 4``, a number).
    ``source`` is the probe as it was run, or where a declared fact is from.
    """

    row: str
    framework: str
    state: State
    text: str = ""
    checks: tuple[Check, ...] = ()
    source: str = ""
    printed: str = ""
    log: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    ms: float = 0.0
    date: str = ""
    key: str = ""

    @property
    def executed(self) -> bool:
        """Whether something was run for it."""
        return self.state not in ("declared", "unasked")


def of_checks(checks: Sequence[Check]) -> tuple[State, str]:
    """The state of a cell and its words.

    A fault in one check is a fault of the cell. What this machine lacks does not count
    against the framework: the others decide, and the words say how many there were.
    """
    states = [check.state for check in checks]
    if "error" in states:
        return "error", f"{states.count('error')} of {len(states)}"
    asked = [state for state in states if state != "not here"]
    if not asked:
        return "not here", ""
    right = sum(state in ("yes", "fallback") for state in asked)
    left_out = "" if len(asked) == len(states) else f" ({len(asked)} of {len(states)})"
    if not right:
        return "no", left_out.strip()
    if right < len(asked):
        return "partial", f"{right} of {len(asked)}"
    if "fallback" in asked:
        return "fallback", left_out.strip()
    return "yes", left_out.strip()


def from_json(content: Mapping[str, Any]) -> Cell:
    """A cell as ``dataclasses.asdict`` wrote it."""
    checks = tuple(map(Check.read, content["checks"]))
    return Cell(**{**content, "checks": checks})

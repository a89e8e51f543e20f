"""Reads the defaults from the frameworks themselves, each in its own environment."""

from __future__ import annotations

import datetime
import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netglot import backends
from netglot.defaults.rows import ROWS
from netglot.defaults.table import Fact, Table
from netglot.errors import unknown
from netglot.runtime import envs
from netglot.runtime.jobs import variables_for

FOLDER = Path(__file__).parent / "probes"

#: Framework -> the script that reads it. NumPy has no defaults of its own.
PROBES: Mapping[str, str] = {
    "pytorch": "read_pytorch.py",
    "flax": "read_flax.py",
    "tensorflow": "read_tensorflow.py",
    "keras-tensorflow": "read_keras.py",
    "keras-jax": "read_keras.py",
    "keras-torch": "read_keras.py",
}

TIMEOUT = 900.0
"""Seconds after which a framework is given up; what it answered until then counts."""

_TAIL = 400


@dataclass(frozen=True)
class Reading:
    """What was read: tables by framework, and why others have none."""

    tables: Mapping[str, Table]
    failures: Mapping[str, str] = field(default_factory=dict)


def chosen(names: Sequence[str]) -> tuple[str, ...]:
    """The frameworks to read; raises ``UserError`` for one that has no probes."""
    for name in names:
        if name not in PROBES:
            raise unknown("framework with defaults to read", name, PROBES)
    return tuple(name for name in PROBES if name in names)


def read(names: Sequence[str], progress: envs.Progress | None = None) -> Reading:
    """The defaults of frameworks, one after the other, each with its own fate.

    A framework without an environment, or whose probes do not even start, has no table
    but a reason; a probe that fails is a reason in its cells.
    """
    environments = envs.prepare_all(
        {name: backends.get(name).env for name in names}, progress=progress
    )
    tables, failures = {}, {}
    for name, environment in environments.items():
        if isinstance(environment, envs.EnvError):
            failures[name] = str(environment)
            continue
        found = _read_one(name, environment)
        if isinstance(found, str):
            failures[name] = found
        else:
            tables[name] = found
    return Reading(tables, failures)


def _read_one(name: str, environment: envs.Environment) -> Table | str:
    """The table of a framework, or why there is none."""
    script = FOLDER / PROBES[name]
    with tempfile.TemporaryDirectory() as folder:
        answers = Path(folder) / "answers.jsonl"
        ended = ""
        try:
            done = subprocess.run(
                [str(environment.interpreter), "-B", str(script), str(answers)],
                env=variables_for(
                    backends.get(name).env, environment.interpreter, threads=1
                ),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT,
            )
            if done.returncode:
                told = done.stderr.strip()[-_TAIL:]
                ended = f"the probes ended with status {done.returncode}: {told}"
        except subprocess.TimeoutExpired:
            ended = f"the probes took more than {TIMEOUT:g} s"
        lines = answers.read_text().splitlines() if answers.exists() else []
    if not lines:
        return f"{name}: {ended or 'the probes answered nothing'}"
    first, *others = (json.loads(line) for line in lines)
    return table(name, first["versions"], others, ended)


def table(
    name: str,
    versions: Mapping[str, str],
    answers: Sequence[Mapping[str, Any]],
    ended: str = "",
) -> Table:
    """The table of what the probes of a framework answered.

    Every row gets a fact: one that was not answered gets the reason, which is ``ended``
    where the probes did not come to their end.
    """
    by_operation = {answer["operation"]: answer for answer in answers}
    facts = {}
    for operation, rows in ROWS.items():
        answer = by_operation.get(operation, {})
        found = answer.get("facts", {})
        reason = answer.get("reason") or (ended if not answer else "")
        facts[operation] = {
            key: _fact(found[key], row.how)
            if key in found
            else Fact(None, None, reason=reason or "the probe did not answer")
            for key, row in rows.items()
        }
    called = {
        operation: answer["called"]
        for operation, answer in by_operation.items()
        if answer["called"]
    }
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return Table(name, dict(versions), today, called, facts)


def _fact(answer: Mapping[str, Any], how: str) -> Fact:
    """As answered, with the experiment of its row."""
    if answer["value"] is None:
        return Fact(None, None, reason=answer["reason"])
    if answer["source"] == "signature":
        how = "declared as the default of the argument"
    return Fact(answer["value"], answer["source"], how)

"""The stored facts: what frameworks do when told nothing, and where they differ."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from netglot.defaults.rows import ROWS
from netglot.errors import UserError, unknown
from netglot.places import write_json

STORED = Path(__file__).parent / "defaults.json"
"""The file that comes with netglot, written by ``netglot defaults --run``."""

Value = str | int | float | bool | None


@dataclass(frozen=True)
class Fact:
    """One default of one framework, in netglot's meaning.

    ``source`` is ``executed`` (found by running it) or ``signature`` (only declared);
    ``how`` names the experiment. A ``value`` of ``None`` is a fact that cannot be had:
    there is no source then, and ``reason`` says why.
    """

    value: Value
    source: str | None
    how: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Table:
    """All facts of one framework.

    ``versions`` by package, the framework's own first after Python's; ``date`` is the
    day (UTC) on which they were read; ``called`` says by which name the framework has
    an operation, ``facts`` is operation -> attribute -> fact.
    """

    framework: str
    versions: Mapping[str, str]
    date: str
    called: Mapping[str, str]
    facts: Mapping[str, Mapping[str, Fact]]

    @property
    def version(self) -> str:
        """As in ``keras 3.15.1, jax 0.10.2``."""
        told = self.versions.items()
        return ", ".join(f"{name} {v}" for name, v in told if name != "python")


@dataclass(frozen=True)
class Pair:
    """An attribute that two frameworks have, and what each of them puts there."""

    operation: str
    attribute: str
    first: Fact
    second: Fact


def load(path: Path = STORED) -> dict[str, Table]:
    """The stored tables by framework; raises ``UserError`` where there are none."""
    if not path.exists():
        raise UserError(f"There are no defaults in {path}: netglot defaults --run")
    content = json.loads(path.read_text())
    return {
        name: Table(
            name,
            one["versions"],
            one["date"],
            one["called"],
            {
                operation: {key: Fact(**fact) for key, fact in facts.items()}
                for operation, facts in one["facts"].items()
            },
        )
        for name, one in content["frameworks"].items()
    }


def save(tables: Mapping[str, Table], path: Path = STORED) -> None:
    """Write all tables, whole or not at all; raises ``UserError`` where that fails."""
    content = {
        "about": "What each framework does when told nothing: netglot defaults --run",
        "frameworks": {
            name: {key: v for key, v in asdict(table).items() if key != "framework"}
            for name, table in tables.items()
        },
    }
    try:
        write_json(path, content)
    except OSError as error:
        raise UserError(f"The defaults cannot be written: {error}.") from error


def update(tables: Mapping[str, Table], path: Path = STORED) -> None:
    """Put these tables in the place of the stored ones of the same frameworks."""
    known = load(path) if path.exists() else {}
    # In the order of old; what is new comes last.
    save({**known, **tables}, path)


def operation(name: str) -> str:
    """The name of an operation in its own spelling; raises ``UserError``."""
    for known in ROWS:
        if known.lower() == name.lower():
            return known
    raise unknown("table of defaults", name, ROWS)


def framework(name: str, tables: Mapping[str, Table]) -> Table:
    """The table of a framework; raises ``UserError`` for a name that has none."""
    if name not in tables:
        raise unknown("framework with a table of defaults", name, tables)
    return tables[name]


def differences(first: Table, second: Table) -> list[Pair]:
    """All attributes that they fill differently, where it bites.

    What one of them lacks is no difference: see ``comparable``.
    """
    found = []
    for pair in _pairs(first, second):
        row = ROWS[pair.operation][pair.attribute]
        if row.bites and not _equal(pair.first.value, pair.second.value):
            found.append(pair)
    return found


def comparable(first: Table, second: Table) -> int:
    """How many attributes both of them have."""
    return sum(1 for _ in _pairs(first, second))


def _pairs(first: Table, second: Table) -> Iterable[Pair]:
    """Attributes that both have."""
    for name, rows in ROWS.items():
        for attribute in rows:
            one, other = (t.facts[name][attribute] for t in (first, second))
            if one.value is not None and other.value is not None:
                yield Pair(name, attribute, one, other)


def _equal(first: Value, second: Value) -> bool:
    """Whether two values are the same: ``True`` is not 1."""
    return isinstance(first, bool) == isinstance(second, bool) and first == second


def contents() -> dict[str, list[str]]:
    """Everything that has a table, with its attributes."""
    return {name: list(rows) for name, rows in ROWS.items()}


def differences_to_json(first: Table, second: Table) -> dict[str, Any]:
    """The differences of two frameworks, as JSON has them."""
    return {
        "first": {"framework": first.framework, "versions": dict(first.versions)},
        "second": {"framework": second.framework, "versions": dict(second.versions)},
        "comparable": comparable(first, second),
        "differences": [asdict(item) for item in differences(first, second)],
    }


def to_json(name: str, tables: Mapping[str, Table]) -> dict[str, Any]:
    """One operation in all frameworks, as JSON has it."""
    return {
        "operation": name,
        "attributes": {key: asdict(row) for key, row in ROWS[name].items()},
        "frameworks": {
            table.framework: {
                "versions": dict(table.versions),
                "date": table.date,
                "called": table.called.get(name),
                "facts": {key: asdict(f) for key, f in table.facts[name].items()},
            }
            for table in tables.values()
        },
    }

"""Several races that belong together, each in a folder of its own below one.

All that holds for a race holds here: what is finished stays, and a series that was
interrupted goes on.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netglot import places
from netglot.check.lineup import Watch
from netglot.errors import UserError
from netglot.race.engine import Outcome, race, settings_of
from netglot.race.settings import Settings

_FILE = "series.json"


@dataclass(frozen=True)
class Table:
    """One of them: the task, and the frameworks that race it.

    ``folder`` is its own below that of the series, called as the workload unless it is
    named; ``workers`` the number of processes.
    """

    workload: str
    labels: tuple[str, ...]
    folder: str = ""
    workers: int = 1

    @property
    def name(self) -> str:
        """Of its folder, and in messages."""
        return self.folder or self.workload


def begun(folder: Path) -> dict[str, Any] | None:
    """What was asked for in a folder; None where it was not begun there.

    Raises ``UserError`` for a damaged file.
    """
    path = folder / _FILE
    if not path.is_file():
        return None
    try:
        asked: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}.") from error
    return asked


def begin(settings: Settings, tables: Sequence[Table]) -> None:
    """Writes down what is asked for, so that it can be gone on with.

    The ``workload`` of ``settings`` is the name of the series.
    """
    asked = [dataclasses.asdict(table) for table in tables]
    content = dataclasses.asdict(settings) | {"tables": asked}
    places.write_json(settings.out / _FILE, content)


def settings_from(
    asked: dict[str, Any], folder: Path
) -> tuple[Settings, tuple[Table, ...]]:
    """The settings and the tables of a folder in which a series was begun."""
    names = {field.name for field in dataclasses.fields(Settings)}
    given = {name: value for name, value in asked.items() if name in names}
    paths = {
        name: Path(given[name]) if given[name] else None for name in ("data", "python")
    }
    given["hosts"] = tuple(given.get("hosts", ()))
    tables = tuple(
        Table(**{**table, "labels": tuple(table["labels"])})
        for table in asked["tables"]
    )
    return Settings(**{**given, **paths, "labels": (), "out": folder}), tables


def race_one(settings: Settings, table: Table, watch: Watch) -> Outcome:
    """Races a table in its folder below ``settings.out``, from where it stands.

    ``settings`` holds for it but for the workload, the labels and the folder. Raises
    ``UserError`` as ``race`` does.
    """
    folder = settings.out / table.name
    if (folder / "race.json").exists():
        return race(settings_of(folder), watch, resume=True)
    own = dataclasses.replace(
        settings,
        workload=table.workload,
        labels=table.labels,
        workers=table.workers,
        out=folder,
    )
    return race(own, watch)

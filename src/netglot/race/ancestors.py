"""The tables of the projects before netglot, raced again: every task in its frameworks.

Each table is a race of its own in a folder of its own, so all that holds for a race
holds here: what is finished stays, and a race that was interrupted goes on.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netglot import backends, places, workloads
from netglot.check.lineup import Watch
from netglot.errors import UserError
from netglot.race.engine import Outcome, race, settings_of
from netglot.race.settings import Settings

#: In the place of a workload's name.
NAME = "ancestors"
#: The blog's network, the polyglot repository's pair, the Rosetta Stone repository's.
TASKS = ("mnist-lenet", "mnist-fcn", "mnist-cnn", "cifar-vgg", "imdb-gru")
_FILE = "ancestors.json"


@dataclass(frozen=True)
class Table:
    """One of them: the task, and the frameworks in which it was reported."""

    workload: str
    labels: tuple[str, ...]


def tables(labels: tuple[str, ...] | None = None) -> list[Table]:
    """Every table, in the frameworks of its source or in ``labels``."""
    found = []
    for name in TASKS:
        named = [item.backend for item in workloads.get(name).expected if item.backend]
        known = [label for label in backends.names() if label in named]
        found.append(Table(name, labels or tuple(known)))
    return found


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


def begin(settings: Settings, labels: tuple[str, ...] | None) -> None:
    """Writes down what is asked for, so that it can be gone on with."""
    content = dataclasses.asdict(settings) | {"labels": labels}
    places.write_json(settings.out / _FILE, content)


def race_one(settings: Settings, table: Table, watch: Watch) -> Outcome:
    """Races a table in its folder below ``settings.out``, from where it stands.

    ``settings`` holds for it but for the workload, the labels and the folder. Raises
    ``UserError`` as ``race`` does.
    """
    folder = settings.out / table.workload
    if (folder / "race.json").exists():
        return race(settings_of(folder), watch, resume=True)
    own = dataclasses.replace(
        settings, workload=table.workload, labels=table.labels, out=folder
    )
    return race(own, watch)


def settings_from(asked: dict[str, Any], folder: Path) -> Settings:
    """The settings of a folder in which such races were begun."""
    names = {field.name for field in dataclasses.fields(Settings)}
    given = {name: value for name, value in asked.items() if name in names}
    paths = {
        name: Path(given[name]) if given[name] else None for name in ("data", "python")
    }
    return Settings(**{**given, **paths, "labels": (), "out": folder})

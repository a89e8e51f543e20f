"""Records on disk: written whole or not at all, never edited. See docs/records.md."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from netglot.errors import UserError

SCHEMA = 1


def now() -> str:
    """The time as records have it: ISO 8601, UTC, in milliseconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def path_of(folder: Path, label: str, repeat: int) -> Path:
    """Where the record of a run stands."""
    return folder / "records" / f"{label}-{repeat}.json"


def read_race(folder: Path) -> dict[str, Any]:
    """``race.json`` of a race's folder; raises ``UserError`` where there is none."""
    try:
        race: dict[str, Any] = json.loads((folder / "race.json").read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder} is not the folder of a race: {error}. "
            "Name a folder that `netglot race` wrote."
        ) from error
    return race


def read_done(path: Path) -> dict[str, Any] | None:
    """A record of a run that was finished, else ``None``."""
    try:
        record: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return record if record.get("status") == "done" else None


def training_seconds(record: Mapping[str, Any]) -> float | None:
    """Seconds of training; infinite where it did not converge, None where not done."""
    told = real(record.get("train_seconds"))
    if record.get("status") != "done" or told is None:
        return None
    losses = record.get("losses") or ()
    diverged = any(loss is None or not math.isfinite(loss) for loss in losses)
    return math.inf if diverged else told


def real(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None

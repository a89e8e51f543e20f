"""Facts that cannot be run: who made a framework, under which licence, for what."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from netglot import backends
from netglot.features.cells import Cell

_FILE = Path(__file__).parent / "declared.json"


@functools.cache
def _facts() -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(_FILE.read_text())
    return facts


def cell(row: str, framework: str) -> Cell:
    """The declared fact with its source and the date on which it was written down."""
    backend, facts = backends.get(framework), _facts()
    own = {"licence": backend.licence, "written-in": backend.language}
    text = own.get(row) or facts["facts"].get(framework, {}).get(row, "")
    if not text:
        return Cell(row, framework, "unasked")
    return Cell(
        row, framework, "declared", text, source=backend.home, date=facts["date"]
    )

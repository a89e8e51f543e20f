"""Models that people have, read into operations.

``watch/`` runs beside a live model and writes a recording of it; a file per framework
here says what the recorded calls are in operations of ``ops.py``. Loaded by name.
"""

from __future__ import annotations

import importlib

from netglot.frontends.reading import Frontend, Reading, read_with
from netglot.frontends.recording import Recording

#: Framework of a recording -> the file here that reads it.
NAMES = ("pytorch", "flax", "keras")


def get(name: str) -> Frontend:
    """The frontend of a framework's recordings."""
    found: Frontend = importlib.import_module(f"netglot.frontends.{name}").frontend
    return found


def read(recording: Recording) -> Reading:
    """What was recorded of a model, as operations."""
    return read_with(get(recording.framework), recording)

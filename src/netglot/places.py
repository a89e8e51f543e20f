"""Where netglot keeps what it can make again, and how a file is written whole."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def cache(room: str) -> Path:
    """A folder below ``$NETGLOT_CACHE``, or ``~/.cache/netglot``; made if need be."""
    root = os.environ.get("NETGLOT_CACHE")
    folder = (Path(root) if root else Path.home() / ".cache" / "netglot") / room
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON under another name and rename it, so that nobody reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    with unfinished.open("w") as file:
        json.dump(content, file, indent=1, default=str)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)

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
    """Write JSON, whole; what it does not know becomes text."""
    write_text(path, json.dumps(content, indent=1, default=str))


def write_text(path: Path, content: str) -> None:
    """Write under another name and rename, so that nobody reads half of it."""
    write_bytes(path, content.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """The same of bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)

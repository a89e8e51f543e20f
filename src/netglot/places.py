"""Where netglot keeps what it can make again."""

from __future__ import annotations

import os
from pathlib import Path


def cache(room: str) -> Path:
    """A folder below ``$NETGLOT_CACHE``, or ``~/.cache/netglot``; made if need be."""
    root = os.environ.get("NETGLOT_CACHE")
    folder = (Path(root) if root else Path.home() / ".cache" / "netglot") / room
    folder.mkdir(parents=True, exist_ok=True)
    return folder

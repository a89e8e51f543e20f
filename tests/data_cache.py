"""Unpacks the real data sets once, into a cache beside the repository's own files."""

import os
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

REPOSITORY = Path(__file__).resolve().parent.parent
CACHE = Path.home() / ".cache" / "netglot" / "test-data"


def shared_folder() -> Path:
    """$NETGLOT_SHARED, or the folder `shared` beside the repository."""
    named = os.environ.get("NETGLOT_SHARED")
    return Path(named) if named else REPOSITORY.parent / "shared"


def unpacked() -> Path | None:
    """The folder with mnist/, cifar10/ and imdb/; None where there is no source."""
    script = shared_folder() / "data" / "unpack.py"
    if not script.is_file():
        return None
    CACHE.mkdir(parents=True, exist_ok=True)
    ready = CACHE / ".ready"
    with FileLock(CACHE / ".lock"):
        if not ready.exists():
            subprocess.run([sys.executable, str(script), str(CACHE)], check=True)
            ready.touch()
    return CACHE

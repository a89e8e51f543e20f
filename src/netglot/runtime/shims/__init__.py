"""Small mends of environments, so that old programs run as they were written.

Each file beside this one is a shim, and runs in the environment, never in netglot. One
of the build is a script that is given the environment's folder. One of the start is a
module that is imported whenever the environment's Python starts: it is copied there,
and should be quick; what concerns a package waits for its import with
``netglot_after.call``. A folder is a package for programs to import. Syntax of Python
3.6.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from netglot.backend import Shim

FOLDER = Path(__file__).parent
#: What shims of the start may import there.
AFTER = "netglot_after"


def path(shim: Shim) -> Path:
    """Its file, or the folder of a package."""
    return FOLDER / (shim.name if shim.when == "package" else f"{shim.name}.py")


def digest(shim: Shim) -> str:
    """Its name, when it acts, and a hash of what it does."""
    files = sorted(path(shim).rglob("*.py")) or [path(shim)]
    text = b"".join(file.read_bytes() for file in files)
    if shim.when == "start":
        text += (FOLDER / f"{AFTER}.py").read_bytes()
    return f"{shim.name} {shim.when} {hashlib.sha256(text).hexdigest()[:10]}"


def install(folder: Path, shims: Sequence[Shim]) -> None:
    """Copies packages and the shims of the start into the environment in ``folder``."""
    if all(shim.when == "build" for shim in shims):
        return
    (packages,) = folder.glob("lib/python*/site-packages")
    for shim in shims:
        if shim.when == "package":
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(path(shim), packages / shim.name, ignore=ignored)
    names = [shim.name for shim in shims if shim.when == "start"]
    if not names:
        return
    shutil.copy(FOLDER / f"{AFTER}.py", packages)
    for name in names:
        shutil.copy(FOLDER / f"{name}.py", packages / f"netglot_shim_{name}.py")
    lines = [f"import netglot_shim_{name}" for name in names]
    (packages / "netglot_shims.pth").write_text("\n".join(lines) + "\n")

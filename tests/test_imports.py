"""The house has one direction: a room imports only rooms before it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import netglot

pytestmark = pytest.mark.text

ROOT = Path(netglot.__file__).parent

#: Rooms from the bottom to the top. A file imports from its own room and from earlier.
ORDER = (
    ("errors", "places", "script"),
    ("axes", "symbols"),
    ("ops",),
    ("graph",),
    ("recipe", "source"),
    ("reference", "cost"),
    ("data",),
    ("workloads",),
    ("backend",),
    ("lower",),
    ("emit", "weights"),
    ("frontends",),
    ("backends",),
    ("runtime",),
    ("check", "defaults"),
    ("writing",),
    ("race",),
    ("features",),
    ("report",),
    ("cli", "testing"),
)
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}
#: Packages that only these files may import, because they are heavy or peculiar.
RESERVED = {"autograd": {"reference.py"}}
#: What runs in the framework's interpreter, or is handed a live model.
ELSEWHERE = (
    ROOT / "frontends/watch",
    ROOT / "defaults/probes",
    ROOT / "features/probes",
    ROOT / "runtime/shims/torch7",
)
FRAMEWORKS = {"torch", "jax", "flax", "tensorflow", "keras", "optax", "mxnet"}


def _imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def _room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def _files() -> list[Path]:
    return [p for p in ROOT.rglob("*.py") if _room(p) not in ("__init__", "__main__")]


def test_every_room_has_its_place() -> None:
    missing = {_room(path) for path in _files()} - set(LEVEL)
    assert not missing, f"add to ORDER, where it belongs: {missing}"


def test_nothing_imports_upwards() -> None:
    wrong = []
    for path in _files():
        for name in _imports(path):
            parts = name.split(".")
            if parts[0] != "netglot" or len(parts) < 2 or parts[1] not in LEVEL:
                continue
            if LEVEL[parts[1]] > LEVEL[_room(path)]:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong, wrong


def test_no_framework_in_netglots_own_process() -> None:
    wrong = [
        (str(path.relative_to(ROOT)), name)
        for path in _files()
        for name in _imports(path)
        if name.split(".")[0] in FRAMEWORKS and path.parent not in ELSEWHERE
    ]
    assert not wrong


def test_reserved_packages() -> None:
    for package, allowed in RESERVED.items():
        users = {
            path.name
            for path in _files()
            for name in _imports(path)
            if name.split(".")[0] == package and path.parent not in ELSEWHERE
        }
        assert users <= allowed


@pytest.mark.parametrize(
    "place",
    [
        "runtime/worker.py",
        "frontends/watch",
        "features/checking.py",
        "features/probes",
    ],
)
def test_what_runs_elsewhere_imports_nothing_of_netglot(place: str) -> None:
    path = ROOT / place
    files = [path] if path.is_file() else sorted(path.glob("*.py"))
    names = [name for file in files for name in _imports(file)]
    assert names
    assert not [name for name in names if name.startswith("netglot")]


def test_help_loads_nothing_heavy() -> None:
    """Nothing that takes long to import is imported before it is needed."""
    code = (
        "import sys; from netglot.cli import run; run(['--help']);"
        "print([m for m in ('numpy', 'rich', 'matplotlib', 'scipy', 'autograd',"
        " 'pyarrow', 'jinja2', 'nbformat') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"

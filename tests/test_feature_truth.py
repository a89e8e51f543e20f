"""A probe that cannot fail is a defect: what it looks at is made false, and it notices.

Each lie is told in the framework's own process, before the probe: a gradient that is
wrong by a hundredth, a name that is said to be absent and is there, a compiler that is
gone, a package that is a hollow stub.
"""

from __future__ import annotations

import ast
import functools
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netglot import backends
from netglot.features import rows, run
from netglot.features.cells import Cell
from netglot.features.rows import Row
from netglot.runtime import envs

pytestmark = [pytest.mark.framework, pytest.mark.xdist_group("features")]

WRONG_GRADIENT = {
    "numpy": """
        import autograd

        def wrong(function):
            def gradient(*given, **named):
                honest = function(*given, **named)
                return lambda *x, **also: more(honest(*x, **also))

            return gradient

        def more(found):
            return (found[0], more(found[1])) if type(found) is tuple else 1.01 * found

        for name in ("grad", "elementwise_grad", "value_and_grad"):
            setattr(autograd, name, wrong(getattr(autograd, name)))
    """,
    "pytorch": """
        import torch

        backward, grad = torch.Tensor.backward, torch.autograd.grad

        def wrong_backward(self, *given, **named):
            return backward(1.01 * self, *given, **named)

        def wrong_grad(outputs, *given, **named):
            found = grad(outputs, *given, **named)
            return tuple(None if g is None else 1.01 * g for g in found)

        torch.Tensor.backward, torch.autograd.grad = wrong_backward, wrong_grad
    """,
}
#: Rows whose truth is a gradient.
SLOPES = {
    "numpy": (
        *("autodiff", "custom-gradient", "second-order", "linear-algebra"),
        *("custom-op-python", "custom-op-c", "checkpointing", "recurrent"),
        *("convolution", "control-flow", "optimizers"),
        *("per-sample-gradients", "gradient-accumulation", "sparse-gradients"),
    ),
    "pytorch": (
        *("autodiff", "custom-gradient", "control-flow", "recurrent", "convolution"),
        *("custom-op-python", "second-order", "linear-algebra", "optimizers"),
        *("gradient-accumulation", "checkpointing"),
    ),
}
#: What these frameworks are told to be, by row.
TOLD = {
    ("numpy", "checkpointing"): "import autograd; autograd.checkpoint = lambda f: f",
    ("numpy", "dlpack"): "import numpy; numpy.from_dlpack = numpy.array",
    ("pytorch", "vmap"): (
        "import torch; torch.func.vmap = torch.vmap = "
        "lambda f, *a, **k: lambda *x: f(x[0][0], *x[1:])[None]"
    ),
    ("pytorch", "rbm"): "import torch; torch.sigmoid = lambda x: x.clamp(0, 1)",
    ("pytorch", "cuda"): "import torch; torch.cuda.is_available = lambda: True",
    ("pytorch", "normalizations"): (
        "import torch; torch.sqrt = torch.rsqrt = torch.zeros_like; "
        "torch.nn.functional.layer_norm = lambda x, *a, **k: x"
    ),
}
#: What is `not here` for want of a package, which is there now, and hollow.
HOLLOW = (("numpy", "safetensors"), ("pytorch", "safetensors"))
HOLLOW_LIE = """
    import sys, types

    for name in ("safetensors", "safetensors.numpy", "safetensors.torch"):
        sys.modules[name] = types.ModuleType(name)
"""


@functools.cache
def _environment(name: str) -> Any:
    return envs.prepare(backends.get(name).env, name)


def _cell(name: str, row: Row) -> Cell:
    found = run.fill([name], [row], environments={name: _environment(name)})
    return found[row.name, name]


def _cell_with(
    lie: str, name: str, row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Cell:
    """The cell as it is where the probe is lied to."""
    variant = rows.variant(row, name)
    told = textwrap.indent(textwrap.dedent(lie).strip(), "    ")
    text = row.path.read_text() + (
        f"\n\nALONE = True\n_honest = {variant}\n\n\n"
        f"def {variant}(check):\n{told}\n    _honest(check)\n"
    )
    for shared in rows.FOLDER.glob("_[!_]*.py"):
        shutil.copy(shared, tmp_path)
    monkeypatch.setattr(rows, "FOLDER", tmp_path)
    row.path.write_text(text)
    return _cell(name, row)


def _noticed(
    lie: str, name: str, row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = rows.get(row)
    before = _cell(name, asked)
    assert before.state not in ("error", "timeout", "unasked"), before
    after = _cell_with(lie, name, asked, tmp_path, monkeypatch)
    states = [[check.state for check in cell.checks] for cell in (before, after)]
    assert states[0] != states[1], after.checks


@pytest.mark.parametrize(
    ("name", "row"), [(name, row) for name, many in SLOPES.items() for row in many]
)
def test_a_wrong_gradient(
    name: str, row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _noticed(WRONG_GRADIENT[name], name, row, tmp_path, monkeypatch)


@pytest.mark.parametrize(("name", "row"), list(TOLD))
def test_what_it_is_told(
    name: str, row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _noticed(TOLD[name, row], name, row, tmp_path, monkeypatch)


@pytest.mark.parametrize(("name", "row"), HOLLOW)
def test_a_hollow_package(
    name: str, row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _noticed(HOLLOW_LIE, name, row, tmp_path, monkeypatch)


@pytest.mark.parametrize("name", ["numpy", "pytorch"])
def test_a_compiler_off_the_path(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = rows.get("custom-op-c")
    assert _cell(name, row).state == "yes"
    lie = "import os; os.environ['PATH'] = ''"
    cell = _cell_with(lie, name, row, tmp_path, monkeypatch)
    assert any(check.state == "not here" for check in cell.checks), cell
    assert cell.state != "no"


def _lacking() -> Iterator[Any]:
    """Every row of NumPy's with the names that it is said not to have."""
    for row in rows.ROWS.values():
        if row.kind != "probe" or rows.variant(row, "numpy") != "numpy":
            continue
        names = []
        for node in ast.walk(ast.parse(rows.probe(row.path).sources["numpy"])):
            if not isinstance(node, ast.Call):
                continue
            called = getattr(node.func, "attr", "")
            given = {k.arg: k.value for k in node.keywords}.get("lacks")
            if called == "lacks":
                given = node.args[0]
            if called in ("lacks", "nothing") and isinstance(given, ast.Constant):
                names.append(given.value)
        if names:
            yield pytest.param(row.name, sorted(set(names)), id=row.name)


@pytest.mark.parametrize(("row", "names"), list(_lacking()))
def test_a_name_that_is_there_after_all(
    row: str, names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["import importlib, sys, types"]
    for name in names:
        parts = name.split(".")
        for count in range(1, len(parts)):
            module, rest = ".".join(parts[:count]), parts[count]
            lines += [
                f"module = importlib.import_module({module!r})",
                f"setattr(module, {rest!r}, types.ModuleType({rest!r}))"
                f" if not hasattr(module, {rest!r}) else None",
                f"sys.modules.setdefault({module + '.' + rest!r},"
                f" getattr(module, {rest!r}))",
            ]
        if len(parts) == 1:
            lines.append(
                f"sys.modules.setdefault({name!r}, types.ModuleType({name!r}))"
            )
    asked = rows.get(row)
    cell = _cell_with("\n".join(lines), "numpy", asked, tmp_path, monkeypatch)
    assert cell.state == "error", cell.checks

"""Whole programs: on disk as they are meant to be, formatted, running nothing foreign.

Where a framework cannot say a network, what is on disk is the reason, in ``.gap``.
``make golden`` writes them anew; a review reads the difference.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from netglot import backends, workloads
from netglot.backend import STEPS, Engine, Program
from netglot.emit import GapError, Settings, emit
from netglot.script import PYTHON

pytestmark = pytest.mark.text

GOLDEN = Path(__file__).parent / "golden"
ALL = [(task, name) for task in workloads.names() for name in backends.names()]
#: A program of several processes for each framework that has an engine for them.
PARALLEL = GOLDEN.with_name("golden_parallel")
ENGINES = [n for n in backends.names() if isinstance(backends.get(n).engine, Engine)]
#: What every program offers; see docs/architecture.md.
CONTRACT = {
    "load_data": ["path"],
    "build": ["seed"],
    "load_weights": ["model", "path"],
    "save_weights": ["model", "path"],
    "predict": ["model", "x"],
    "main": [],
}
TRAINED = {"evaluate": ["model", "x", "y"]}


def _program(task: str, name: str) -> Program:
    return emit(workloads.get(task), backends.get(name))


def _written(task: str, name: str) -> tuple[str, str]:
    """A file's name and text: the program, or why there is none."""
    try:
        program = _program(task, name)
    except GapError as gap:
        return f"{task}_{name}.gap".replace("-", "_"), "\n".join(gap.gaps) + "\n"
    return program.name, program.source


PAIRS = [
    (task, name) for task, name in ALL if not _written(task, name)[0].endswith(".gap")
]
#: Those that are Python.
OF_PYTHON = [pair for pair in PAIRS if backends.get(pair[1]).script is PYTHON]


@pytest.mark.parametrize(("task", "name"), ALL)
def test_golden(task: str, name: str) -> None:
    name, text = _written(task, name)
    path = GOLDEN / name
    if os.environ.get("NETGLOT_GOLDEN") == "write":
        path.write_text(text)
    assert path.is_file(), f"{path} is not there: make golden"
    assert text == path.read_text(), "read the difference, then make golden"


@pytest.mark.parametrize("name", ENGINES)
def test_golden_of_several_processes(name: str) -> None:
    program = emit(
        workloads.get("mnist-cnn"), backends.get(name), Settings(parallel=True)
    )
    path = PARALLEL / program.name
    if os.environ.get("NETGLOT_GOLDEN") == "write":
        path.write_text(program.source)
    assert path.is_file(), f"{path} is not there: make golden"
    assert program.source == path.read_text(), "read the difference, then make golden"


def test_no_golden_program_is_left_over() -> None:
    files = {f"mnist_cnn_{n.replace('-', '_')}_parallel.py" for n in ENGINES}
    assert {path.name for path in PARALLEL.iterdir()} == files
    names = {_written(*pair)[0] for pair in ALL}
    assert {path.name for path in GOLDEN.iterdir()} == names


def test_a_formatter_would_change_nothing() -> None:
    ruff = [sys.executable, "-m", "ruff"]
    options = ["--isolated", "--line-length", "88", str(GOLDEN), str(PARALLEL)]
    form = subprocess.run(
        [*ruff, "format", "--check", *options], capture_output=True, text=True
    )
    assert form.returncode == 0, form.stdout + form.stderr
    # What autograd calls np is NumPy to the reader as well.
    lint = subprocess.run([*ruff, "check", *options], capture_output=True, text=True)
    assert lint.returncode == 0, lint.stdout + lint.stderr


@pytest.mark.parametrize(("task", "name"), OF_PYTHON)
def test_contract(task: str, name: str) -> None:
    program = _program(task, name)
    tree = ast.parse(program.source)
    functions = {
        node.name: [a.arg for a in node.args.args]
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
    }
    for function, arguments in CONTRACT.items():
        assert functions[function] == arguments, function
    if program.recipe is None:
        assert "train" not in functions and "extract" in functions
        return
    for function, arguments in TRAINED.items():
        assert functions[function] == arguments
    assert functions["train_step"][-2:] == ["x", "y"]
    assert functions["train"][-6:] == [
        "x",
        "y",
        "epochs",
        "seed",
        "validation",
        "on_step",
    ]


@pytest.mark.parametrize(("task", "name"), OF_PYTHON)
def test_a_program_knows_nothing_of_netglot(task: str, name: str) -> None:
    tree = ast.parse(_program(task, name).source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            module = getattr(node, "module", "") or ""
            assert "netglot" not in [module, *names]


@pytest.mark.parametrize(("task", "name"), PAIRS)
def test_bookkeeping(task: str, name: str) -> None:
    """Every node has its lines, every step too, every weight of the graph its place."""
    program = _program(task, name)
    workload = workloads.get(task)
    covered = {source for weight in program.weights for source in weight.sources}
    assert covered == set(program.graph.weights())
    assert len({weight.path for weight in program.weights}) == len(program.weights)
    lines = program.source.splitlines()
    assert len(program.labels) == len(lines)
    steps = [step for step, _ in program.labels]
    assert sorted(set(steps), key=STEPS.index) == list(dict.fromkeys(steps))
    for node in workload.graph.nodes:
        assert any(node.name in nodes for _, nodes in program.labels), node.name


def test_the_readme_shows_what_is_written() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    shown = re.findall(r"```python\n(.*?)\n```", readme, re.DOTALL)
    assert len(shown) == 2
    for block, name in zip(shown, ("pytorch", "flax"), strict=True):
        program = (GOLDEN / f"mnist_lenet_{name}.py").read_text()
        for piece in block.split("\n\n\n"):
            assert piece in program, piece

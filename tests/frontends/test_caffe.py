"""Files of Caffe: what is written is read back as the same network; a hand-made one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netglot import backends, ops, reference, workloads
from netglot.check.gatekeeper import initial
from netglot.emit import GapError, emit
from netglot.errors import UserError
from netglot.frontends import caffe
from netglot.recipe import SGD, Adam
from netglot.runtime import shims
from netglot.weights import to_program

pytest.importorskip("google.protobuf", reason="pip install 'netglot[caffe]'")
pytestmark = pytest.mark.text

MODELS = Path(__file__).parent / "models"


def _sayable() -> list[str]:
    found = []
    for task in workloads.names():
        try:
            emit(workloads.get(task), backends.get("caffe"))
        except GapError:
            continue
        found.append(task)
    return found


def _run(program: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The program as a module, with the package that its environment has."""
    monkeypatch.syspath_prepend(str(shims.FOLDER))
    for name in [n for n in sys.modules if n.split(".")[0] == "caffe"]:
        monkeypatch.delitem(sys.modules, name)
    module: dict[str, Any] = {"__name__": "program", "__file__": str(folder / "x.py")}
    exec(compile(program.source, "x.py", "exec"), module)
    return module


@pytest.mark.parametrize("task", _sayable())
def test_what_is_written_is_read_back(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = emit(workloads.get(task), backends.get("caffe"))
    module = _run(program, tmp_path, monkeypatch)
    state = module["build"]()
    model = state[0] if program.recipe else state
    weights = initial(program, seed=1)
    np.savez(tmp_path / "weights.npz", **to_program(program, weights))  # type: ignore
    module["load_weights"](model, tmp_path / "weights.npz")
    model.save(str(tmp_path / "x.caffemodel"))
    (deploy,) = tmp_path.glob("*_deploy.prototxt")
    found = caffe.read(deploy, tmp_path / "x.caffemodel")
    wanted = program.graph.flat()
    assert [n.op for n in found.graph.nodes] == _in_training(wanted.nodes, program)
    (_, type_) = found.graph.inputs[0]
    x = np.random.default_rng(0).random((1, *type_.shape[1:]))
    one = reference.forward(found.graph, found.weights, {found.graph.inputs[0][0]: x})
    other = reference.forward(wanted, weights, {wanted.inputs[0][0]: x})
    np.testing.assert_allclose(one.outputs[0], other.outputs[0], rtol=1e-5, atol=1e-6)
    if program.recipe:
        (solver,) = tmp_path.glob("*_solver.prototxt")
        assert caffe.read_solver(solver) == program.recipe.optimizer


def _in_training(nodes: Any, program: Any) -> list[ops.Op]:
    """What a network that is not trained does not say is as Caffe has it."""
    if program.recipe:
        return [node.op for node in nodes]
    return [
        ops.BatchNorm(0.999, n.op.epsilon, unbiased=True)
        if isinstance(n.op, ops.BatchNorm)
        else n.op
        for n in nodes
    ]


def test_a_prototxt_of_the_first_days() -> None:
    with pytest.raises(UserError, match=r"layer mnist .*give their shape"):
        caffe.read(MODELS / "lenet.prototxt")
    graph = caffe.read(MODELS / "lenet.prototxt", shape=(1, 28, 28)).graph
    assert [node.op for node in graph.nodes] == [
        ops.Conv(6, (5, 5)),
        ops.MaxPool((3, 3), 2, ceil=True),
        ops.Conv(8, (5, 3), groups=2, bias=False),
        ops.AvgPool((2, 2)),
        ops.Flatten(),
        ops.Dense(30),
        ops.Relu(),
        ops.Dropout(0.4),
        ops.Dense(10),
    ]
    assert graph.types()["pool1"].shape == (None, 6, 12, 12)
    assert graph.outputs == ("ip2",)


def test_what_cannot_be_said_is_named(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    start = 'layer { name: "data" type: "Input" top: "data" input_param { '
    start += 'shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }\nlayer { name: "a" '
    path.write_text(start + 'type: "LRN" bottom: "data" top: "a" }')
    with pytest.raises(UserError, match=r"layer a .LRN.: netglot has no operation"):
        caffe.read(path)
    path.write_text(start + 'type: "ReLU" nonsense: 1 }')
    with pytest.raises(UserError, match="nonsense"):
        caffe.read(path)


def test_solvers(tmp_path: Path) -> None:
    path = tmp_path / "solver.prototxt"
    path.write_text('type: "Nesterov" base_lr: 0.05 momentum: 0.9 weight_decay: 5e-4')
    assert caffe.read_solver(path) == SGD(0.05, 0.9, True, 5e-4)
    path.write_text('type: "Adam" base_lr: 0.001 momentum: 0.9')
    assert caffe.read_solver(path) == Adam(1e-3, epsilon_form="before")
    path.write_text('base_lr: 0.1 lr_policy: "step" gamma: 0.1')
    with pytest.raises(UserError, match="lr_policy step"):
        caffe.read_solver(path)

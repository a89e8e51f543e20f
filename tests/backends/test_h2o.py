"""What is peculiar to H2O: one estimator, its dropout, its momentum, its Java."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import marks
from cases import ROW, Case, _chain
from netglot import backends, workloads
from netglot.backend import Program
from netglot.check.gate import gate
from netglot.check.gatekeeper import initial
from netglot.data import DataSpec
from netglot.emit import GapError, emit
from netglot.ops import Dense, Dropout, Relu, Sigmoid, Tanh
from netglot.recipe import SGD, Adam, MeanSquaredError, Recipe, SoftmaxCrossEntropy
from netglot.runtime import envs
from netglot.runtime.jobs import Worker
from netglot.workloads import Workload


def _program(case: Case, optimizer: Any = None, loss: Any = None) -> Program:
    loss = loss or SoftmaxCrossEntropy()
    recipe = Recipe(loss, optimizer or SGD(0.1), batch_size=3, epochs=1)
    data = DataSpec("case", "features", (1,), 2)
    workload = Workload(case.name, case.name, case.graph, recipe, data)
    return emit(workload, backends.get("h2o"))


def _net(*layers: Any) -> Case:
    return _chain("net", ROW, *layers)


@pytest.mark.text
def test_a_network_is_an_argument() -> None:
    source = _program(_net(Dense(5), Tanh(), Dense(4), Tanh(), Dense(3))).source
    assert 'hidden=[5, 4],\n        activation="Tanh",\n' in source
    assert "Dropout" not in source and "KEPT" not in source


@pytest.mark.text
@pytest.mark.parametrize(
    ("layers", "why"),
    [
        ((Dense(5), Dense(3)), "each hidden layer has an activation"),
        ((Dense(5), Relu(), Dense(4), Tanh(), Dense(3)), "share one activation"),
        ((Dense(5), Relu()), "ends with the scores"),
        ((Dense(3),), "ends with the scores"),
        ((Dense(5, bias=False), Relu(), Dense(3)), "has a bias"),
        ((Dropout(0.5), Dense(5), Relu(), Dense(3)), "dropout of what it reads"),
        ((Dense(5), Sigmoid(), Dense(3)), "fully connected"),
    ],
)
def test_what_is_no_chain_of_its_layers(layers: Any, why: str) -> None:
    with pytest.raises(GapError, match=why):
        _program(_net(*layers))


@pytest.mark.text
def test_it_learns_classes() -> None:
    with pytest.raises(GapError, match="a class, or one number"):
        _program(_net(Dense(5), Relu(), Dense(3)), loss=MeanSquaredError())


@pytest.mark.text
def test_what_it_calls_the_rate_and_nesterov() -> None:
    case = _net(Dense(5), Relu(), Dense(3))
    source = _program(case, SGD(0.1, momentum=0.9)).source
    # It multiplies the rate by 1 - momentum.
    assert "adaptive_rate=False,\n        rate=1.0,\n        momentum_start=0.9," in (
        source
    )
    with pytest.raises(GapError, match="plain momentum"):
        _program(case, SGD(0.1, momentum=0.9, nesterov=True))
    assert "It has no Adam: this is ADADELTA" in _program(case, Adam(1e-3)).source


@pytest.mark.text
def test_scores_are_logarithms_of_probabilities() -> None:
    program = emit(workloads.get("mnist-fcn"), backends.get("h2o"))
    assert program.graph.outputs == ("log_softmax",)
    assert "return np.log(probabilities" in program.source
    other = emit(workloads.get("mnist-fcn"), backends.get("numpy"))
    assert other.graph.outputs != ("log_softmax",)


def _running() -> set[str]:
    """The processes of Java that run H2O."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if b"h2o.jar" in line:
            found.add(folder.name)
    return found


@pytest.mark.framework
@pytest.mark.parametrize(
    "ends", [pytest.param(ends, marks=marks.of("h2o", usual=True)) for ends in (0, 9)]
)
def test_dropout_is_undone_and_no_java_is_left(ends: int, tmp_path: Path) -> None:
    """With dropout, which is nothing in evaluation; also where the worker is killed."""
    backend, workload = backends.get("h2o"), workloads.get("mnist-fcn")
    program = emit(workload, backend)
    assert "KEPT = (1, 0.8, 0.8)" in program.source
    before = _running()
    worker = Worker.start_for(
        backend.env,
        envs.prepare(backend.env, "h2o"),
        log=tmp_path / "worker.log",
        threads=1,
        name="h2o",
    )
    with worker:
        rng = np.random.default_rng(0)
        batches = [(rng.random((6, 784)), rng.integers(0, 10, 6))]
        verdict = gate(
            program,
            backend,
            worker,
            initial(program, seed=0),
            batches,
            not_here=backend.own_training,
            folder=tmp_path,
        )
        assert verdict.equal, str(verdict)
        assert verdict.not_here == backend.own_training
        assert _running() > before
        if ends:
            os.kill(worker.hello["pid"], ends)
    deadline = time.monotonic() + 20
    while _running() > before and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not _running() - before

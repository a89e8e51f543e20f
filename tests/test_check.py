"""Checking a workload's programs: verdicts, gradients, what is printed."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from netglot import backends, workloads
from netglot.backend import Program
from netglot.check import gatekeeper
from netglot.check.compare import Difference
from netglot.check.gate import Verdict, gate
from netglot.check.gradients import descending, of_gradients
from netglot.check.programs import Checked, Report
from netglot.check.values import pieces, traced
from netglot.cli import run
from netglot.emit import emit
from netglot.recipe import SGD
from netglot.report.verdicts import show_report
from netglot.runtime import envs
from netglot.runtime.jobs import Worker


def _printed(report: Report, width: int = 100) -> str:
    file = io.StringIO()
    show_report(report, Console(file=file, width=width))
    return file.getvalue()


def _verdict(*differences: Difference, **more: Any) -> Verdict:
    return Verdict(all(d.equal for d in differences), differences, **more)


@pytest.mark.text
def test_what_is_only_run_forward_is_neither_equal_nor_different() -> None:
    part = _verdict(Difference("scores", 1e-7, 1e-5), not_here="nothing trains here")
    whole = Verdict.of_all([part, part])
    assert whole.not_here == "nothing trains here"
    assert str(whole).startswith("forward equal: scores")
    assert str(whole).endswith("; nothing trains here")
    found = Checked("caffe", "Caffe", "1", "forward", whole.not_here, whole)
    report = Report("mnist-cnn", {"name": "digits"}, 10, 8, (found,))
    assert not report.equal
    assert "Caffe: nothing trains here" in _printed(report)
    assert "DIFFERENT" not in _printed(report) and "FORWARD" not in _printed(report)


@pytest.mark.framework
def test_a_program_is_compared_forward_where_nothing_is_trained(tmp_path: Path) -> None:
    backend, workload = backends.get("numpy"), workloads.get("mnist-fcn")
    environment = envs.prepare(backend.env, "numpy")
    env = dataclasses.replace(backend.env, forward_only="nothing trains here")
    assert environment.not_trained(env) == "nothing trains here"
    assert not environment.not_trained(backend.env)
    # An interpreter of the user's has the framework itself.
    here = dataclasses.replace(environment, provider="here")
    assert not here.not_trained(env)
    program = emit(workload, backend)
    rng = np.random.default_rng(0)
    batches = [(rng.random((4, 784)), rng.integers(0, 10, 4))]
    weights = gatekeeper.initial(program, 0)
    log = tmp_path / "log"
    with Worker.start_for(env, environment, log=log, threads=1, name="n") as worker:
        verdict = gate(
            program,
            backend,
            worker,
            weights,
            batches,
            not_here=environment.not_trained(env),
            folder=tmp_path / "gate",
        )
        assert verdict.equal and verdict.not_here
        assert [d.what for d in verdict.differences] == ["scores"]
        lack = "class NotHere(Exception):\n    pass\n\n\n"
        raising = lack + "def build(seed=0):\n    raise NotHere('a part')\n"
        part = dataclasses.replace(program, source=raising)
        verdict = gate(part, backend, worker, weights, batches, folder=tmp_path / "b")
    assert not verdict.equal and "a part" in verdict.not_here


@pytest.mark.text
def test_gradients_are_read_off_a_step() -> None:
    workload = workloads.get("cifar-vgg")
    steep = descending(workload)
    assert steep.graph is workload.graph
    assert steep.recipe and steep.recipe.optimizer == SGD(rate=2.0**20)
    step = _verdict(
        Difference("scores (float64)", 1e-3, 1e-10),
        Difference("loss of step 1 (float64)", 1e-3, 1e-9),
        Difference("all weights after step 1 (float64)", 1e-13, 1e-9),
        Difference("conv1.kernel after step 1 (float64)", 5e-10, 1e-9),
        Difference("conv1.bias after step 1", 5e-5, 1e-4),
        Difference("nobody after step 1", 1.0, 1e-4),
        Difference("conv1.bias after step 2", 1.0, 1e-4),
    )
    verdict = of_gradients(workload, step)
    assert [d.what for d in verdict.differences] == [
        "all gradients (float64)",
        "gradient of conv1.kernel (float64)",
        "gradient of conv1.bias",
    ]
    # Good enough for a step, not for a gradient.
    assert not verdict.equal and verdict.first is verdict.differences[1]


@pytest.mark.text
@pytest.mark.parametrize("name", workloads.names())
def test_a_traced_network_gives_every_value(name: str) -> None:
    workload = workloads.get(name)
    flat = workload.graph.flat()
    whole = traced(workload)
    inside = pieces(whole.graph)
    assert len(inside) == len(flat.nodes)
    assert sum(size for _, size in inside) == whole.graph.types()["all_values"].size(
        "F"
    )
    assert pieces(workload.graph) == ()
    # The same weights, in the same order: the same numbers are drawn for them.
    kinds = [(w.axes, w.shape) for w in whole.graph.weights().values()]
    assert kinds == [(w.axes, w.shape) for w in flat.weights().values()]


@pytest.mark.text
def test_the_place_of_a_difference() -> None:
    found = [
        Difference(f"output of {name}{twin}", size, 1e-5)
        for twin in ("", " (float64)")
        for name, size in (("a", 1e-7), ("b", 0.1), ("c", 0.2))
    ]
    verdict = _verdict(*found)
    checked = Checked("x", "X", "1", "different", "", verdict)
    told = _printed(Report("mine", {"name": "mnist"}, 0, 4, (checked,)))
    assert told.startswith("mine on mnist: forward\n")
    assert "    first at b (value 2 of 3; all before it agree)\n" in told


@pytest.mark.text
def test_verdicts_as_a_table() -> None:
    good = (
        Difference("scores", 3e-7, 1e-5),
        Difference("all weights after step 1", 1e-6, 1e-4),
        Difference("all weights after step 2", 2e-6, 1e-4),
        Difference("scores (float64)", 3e-16, 1e-10),
        Difference("all weights after step 2 (float64)", 1e-15, 1e-9),
        Difference("all gradients", 4e-7, 1e-4),
    )
    bad = [
        Difference(f"fc{i}.bias after step 1 (float64)", 0.1, 1e-9) for i in range(20)
    ]
    forms = {"Adam": "epsilon form before"}
    told = _printed(
        Report(
            "mnist-fcn",
            {"name": "digits"},
            2,
            32,
            (
                Checked("a", "Good", "1.0", "equal", "", _verdict(*good, forms=forms)),
                Checked("b", "Bad", "2.0", "different", "", _verdict(*good, *bad)),
                Checked("c", "Gap", "", "gap", "Gap cannot write Conv: no such thing."),
            ),
        )
    )
    lines = told.splitlines()
    assert lines[0] == "mnist-fcn on digits: 2 steps of 32 observations"
    assert lines[2].split() == [
        "Good",
        "1.0",
        "equal",
        "float32",
        "3e-07",
        "4e-07",
        "2e-06",
    ]
    assert lines[3].split() == ["float64", "3e-16", "1e-15"]
    assert lines[4].split()[:3] == ["Bad", "2.0", "DIFFERENT"]
    assert "Bad: 20 of 26 compared differ" in told
    assert "    fc0.bias after step 1 (float64) differs by 1.0e-01 (allowed" in told
    assert told.count("differs by") == 8 and "and 12 more" in told
    assert "Gap: Gap cannot write Conv: no such thing." in told
    assert "form: Adam: epsilon form before (Good)" in told


@pytest.mark.text
def test_misuse_of_check(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["check", "mnist-fnc"]) == 2
    assert "Did you mean mnist-fcn" in capfd.readouterr().err
    assert run(["check", "mnist-fcn", "--train", "0"]) == 2
    assert "--train 0: at least 1 is needed" in capfd.readouterr().err


@pytest.mark.framework
def test_a_program_is_checked(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["check", "mnist-lenet", "--on", "numpy", "--train", "2", "--size", "8"]
    assert run([*words, "--json"]) == 0
    said = json.loads(capfd.readouterr().out)
    assert said["equal"] and said["steps"] == 2
    (checked,) = said["checks"]
    assert checked["status"] == "equal" and checked["version"]
    whats = [difference["what"] for difference in checked["differences"]]
    for what in (
        "scores",
        "output of pool2",
        "loss of step 2",
        "gradient of conv1.kernel",
        "fc2.bias",
    ):
        assert any(name.startswith(what) for name in whats), what
        assert any(
            name.startswith(what) and name.endswith("(float64)") for name in whats
        ), what

    def wrong(*args: Any) -> Program:
        program = emit(*args)
        source = program.source.replace("np.tanh(", "np.sin(")
        assert source != program.source
        return dataclasses.replace(program, source=source)

    monkeypatch.setattr(gatekeeper, "emit", wrong)
    assert run(words) == 1
    out = capfd.readouterr().out
    assert "DIFFERENT" in out and "scores (float64) differs by" in out
    # The first of its layers that says tanh.
    assert "first at tanh1 (value 2 of 10; all before it agree)" in out

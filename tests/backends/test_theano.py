"""What is peculiar to Theano: slopes where values tie, padding, shapes, its BLAS."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cases import CASES, IMAGE, ROW, STEPS, Case, _chain, _one
from netglot import backends, workloads
from netglot.backend import Program
from netglot.data import DataSpec
from netglot.emit import GapError, Settings, emit
from netglot.ops import LSTM, Conv, Dense, Dropout, MaxPool, Negative, Relu
from netglot.recipe import (
    SGD,
    Adam,
    Initializers,
    MeanSquaredError,
    Optimizer,
    Recipe,
    Uniform,
)
from netglot.runtime import shims
from netglot.workloads import Workload

pytestmark = pytest.mark.text


def _workload(
    case: Case,
    optimizer: Optimizer | None = None,
    initializers: Initializers | None = None,
) -> Workload:
    recipe = Recipe(
        MeanSquaredError(),
        optimizer or SGD(0.1),
        3,
        1,
        initializers or Initializers(),
    )
    data = DataSpec("case", "features", (1,), 2)
    return Workload(case.name, case.name, case.graph, recipe, data)


def _program(case: Case, optimizer: Optimizer | None = None) -> Program:
    return emit(_workload(case, optimizer), backends.get("theano"))


def test_the_slope_of_a_relu_at_zero_is_zero() -> None:
    """That of T.nnet.relu is 0.5, that of T.maximum(x, 0) is 1."""
    source = _program(_chain("relu", ROW, Dense(3), Relu())).source
    assert "T.maximum(0, T.dot(x, self.dense1_W) + self.dense1_b)" in source
    assert "T.nnet.relu" not in source


def test_every_largest_value_of_a_pool_has_the_gradient() -> None:
    pool = _workload(_chain("pool", IMAGE, Conv(2, (2, 2)), MaxPool((2, 2))))
    backend = backends.get("theano")
    program = emit(pool, backend)
    assert program.forms == {"MaxPool": "ties all"}
    assert program.graph.nodes[-1].op.ties == "all"  # type: ignore[attr-defined]
    with pytest.raises(GapError, match="ties='all'"):
        emit(pool, backend, Settings(exact_form=True))


def test_filters_are_not_turned_round() -> None:
    for name in ("conv-1d", "conv-2d", "conv-3d", "conv-transpose-2d"):
        assert "filter_flip=False" in _program(CASES[name]).source, name


def test_padding_is_said_as_shortly_as_it_can_be() -> None:
    assert "border_mode=1)" in _program(CASES["conv-2d-same"]).source
    assert "border_mode=((2, 0), (1, 3))" in _program(CASES["conv-2d-uneven"]).source
    line = _program(CASES["conv-1d-odd"]).source
    assert "border_mode=((0, 0), (2, 1))" in line
    assert "subsample=(1, 2)" in line


def test_an_axis_of_one_is_repeated_where_it_is_told() -> None:
    """Theano does not look whether a size happens to be 1."""
    source = emit(_workload(CASES["squeeze-excite"]), backends.get("theano")).source
    assert "T.addbroadcast(y, 2, 3)" in source


def test_a_sum_is_put_in_brackets() -> None:
    source = _program(_chain("minus", ROW, Dense(3), Negative())).source
    assert "-(T.dot(x, self.dense1_W) + self.dense1_b)" in source


def test_the_forget_gate_starts_open() -> None:
    case = _one("forget", LSTM(3), STEPS)
    assert (
        "shared(np.repeat([0, 1, 0, 0], 3))  # gates i, f, g, o"
        in _program(case).source
    )
    drawn = Initializers(bias=Uniform(0.1))
    with pytest.raises(GapError, match="start at 0"):
        emit(_workload(case, None, drawn), backends.get("theano"))


def test_only_what_reads_backwards_can_be_told_to() -> None:
    assert "go_backwards" not in _program(CASES["gru"]).source
    assert "go_backwards=True" in _program(CASES["gru-backward"]).source


def test_noise_is_drawn_in_training_alone() -> None:
    source = _program(_chain("noise", ROW, Dense(3), Dropout(0.3))).source
    assert "model.scores = theano.function([x], model(x))" in source
    # A seed of 0 is refused.
    assert "srng = MRG_RandomStreams(rng.randint(1, 2**30))" in source
    assert "scores = model(x, srng=srng)" in source


def test_running_statistics_are_updated_and_not_trained() -> None:
    source = _program(CASES["batch-norm"]).source
    assert "scores = model(x, updates=updates)" in source
    assert "if v not in statistics]" in source
    untrained = emit(workloads.get("resnet50-features"), backends.get("theano"))
    assert "updates" not in untrained.source


def test_batch_norm_is_written_out() -> None:
    """Theano's own refuses an epsilon of 1e-5 in float32."""
    for task in (_program(CASES["batch-norm"]), _program(CASES["residual"])):
        assert "def batch_norm(" in task.source
        assert "batch_normalization" not in task.source


def test_small_cases_do_not_need_a_compiler() -> None:
    flags = backends.get("theano").env.hurry["THEANO_FLAGS"]
    # Convolution in Python is taken for a mistake unless that is told.
    assert ",cxx=," in flags and "optimizer_excluding=AbstractConvCheck" in flags


def test_a_block_keeps_the_sizes_that_it_computes_with() -> None:
    source = _program(CASES["residual"]).source
    assert "self.stride = stride" in source
    assert "subsample=(self.stride, self.stride)" in source
    assert "self.channels = channels" not in source


def test_optimizers_are_written_as_they_are_used() -> None:
    plain = _program(CASES["dense"], SGD(0.1)).source
    assert "def sgd(loss, parameters, rate):" in plain and "momentum" not in plain
    nesterov = _program(CASES["dense"], SGD(0.1, 0.9, nesterov=True)).source
    assert "p - rate * (g + momentum * velocity)" in nesterov
    before = _program(CASES["dense"], Adam(0.1, epsilon_form="before")).source
    assert "scale = T.sqrt(1 - beta2**t) / (1 - beta1**t)" in before
    decayed = _program(CASES["dense"], Adam(0.1, weight_decay=0.01)).source
    assert "(1 - rate * weight_decay) * p - rate" in decayed


def test_its_blas_is_that_of_scipy_or_an_error(tmp_path: Path) -> None:
    (shim, *_) = backends.get("theano").env.shims
    command = [sys.executable, str(shims.path(shim)), str(tmp_path)]
    failed = subprocess.run(command, capture_output=True, text=True)
    assert failed.returncode == 1
    assert "no OpenBLAS in SciPy's wheel" in failed.stderr
    libraries = tmp_path / "lib" / "python3.10" / "site-packages" / "scipy.libs"
    libraries.mkdir(parents=True)
    (libraries / "libopenblasp-r0.so").write_text("here")
    subprocess.run(command, check=True)
    # By the name that is linked, and by that which is looked for when it runs.
    for name in ("libopenblas.so", "libopenblasp-r0.so"):
        assert (tmp_path / "lib" / name).read_text() == "here"
    assert "-lopenblas" in backends.get("theano").env.variables["THEANO_FLAGS"]

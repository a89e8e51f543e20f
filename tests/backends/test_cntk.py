"""What is peculiar to CNTK: sequences, its own padding, its learners, and Open MPI."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cases import CASES, EVEN, IMAGE, ROW, STEPS, Case, _chain, _one
from netglot import backends, reference, workloads
from netglot.backend import Program
from netglot.data import DataSpec
from netglot.emit import GapError, Settings, emit
from netglot.ops import (
    GRU,
    LSTM,
    AvgPool,
    BatchNorm,
    Conv,
    Dense,
    Flatten,
    LayerNorm,
    MaxPool,
    Reshape,
    Slice,
)
from netglot.recipe import SGD, Adam, Initializers, MeanSquaredError, Optimizer, Recipe
from netglot.runtime import shims
from netglot.weights import to_program
from netglot.workloads import Workload

pytestmark = pytest.mark.text


def _program(
    case: Case, optimizer: Optimizer | None = None, dtype: str = "float32"
) -> Program:
    recipe = Recipe(MeanSquaredError(), optimizer or SGD(0.1), batch_size=3, epochs=1)
    data = DataSpec("case", "features", (1,), 2)
    workload = Workload(case.name, case.name, case.graph, recipe, data)
    return emit(workload, backends.get("cntk"), Settings(dtype=dtype))


def test_padding_is_its_own_where_that_is_the_same() -> None:
    same = _program(_one("same", Conv(4, (3, 3), padding=1), IMAGE)).source
    assert "Convolution2D((3, 3), 4, pad=True, name=" in same
    # Rather in front: with a stride of 2 that depends on the size.
    strided = Conv(4, (3, 3), stride=2, padding=1)
    assert "pad=True, strides=2" in _program(_one("even", strided, EVEN)).source
    wide = _program(_one("wide", Conv(4, (3, 3), padding=2), IMAGE)).source
    assert "C.pad(x, [(0, 0), (2, 2), (2, 2)])" in wide and "pad=True" not in wide
    some = Conv(4, (3, 1), padding=((1, 1), (0, 0)))
    assert "pad=(True, False)" in _program(_one("some", some, IMAGE)).source


def test_padding_never_wins_and_never_counts() -> None:
    maximum = _program(_one("max", MaxPool((2, 2), 2, 1), IMAGE)).source
    assert "constant_value=-np.inf" in maximum
    counted = AvgPool((3, 3), 1, 1, count_padding=True)
    assert "C.pad(x, " in _program(_one("mean", counted, IMAGE)).source
    left_out = _program(_one("mean", AvgPool((3, 3), 1, 1), IMAGE)).source
    assert "AveragePooling((3, 3), pad=True)(x)" in left_out


def test_a_last_window_that_does_not_fit() -> None:
    source = _program(_one("keeps", MaxPool((2, 2), ceil=True), IMAGE)).source
    assert "C.pooling(x, C.MAX_POOLING, (2, 2), (2, 2), ceil_out_dim=True)" in source


def test_steps_are_an_axis_only_where_they_are_asked_for() -> None:
    features = _program(_chain("features", STEPS, Dense(3), LayerNorm())).source
    assert "features = C.sequence.input_variable(4)" in features
    assert "unpack" not in features
    flat = _program(_chain("flat", STEPS, Flatten(), Dense(3))).source
    assert "x = C.reshape(unpack(x, 5), 20)" in flat
    late = _program(_one("late", Slice("T", 2), STEPS)).source
    assert "C.to_sequence(unpack(x, 5)[2:])" in late


def test_dense_layers_leave_axes_before_the_features() -> None:
    assert "map_rank" not in _program(_chain("steps", STEPS, Dense(3))).source
    net = _chain("ranks", IMAGE, Reshape("PQF", (3, 7, 5)), Dense(3))
    assert "Dense(3, map_rank=2, name=" in _program(net).source


def test_what_it_has_on_a_gpu_alone() -> None:
    with pytest.raises(GapError, match="on a GPU alone"):
        _program(_one("dilated", Conv(4, (3, 3), dilation=2), IMAGE))


def test_groups_are_beyond_its_layers_library() -> None:
    grouped = Conv(4, (3, 3), groups=2)
    source = _program(_one("grouped", grouped, EVEN)).source
    assert "def GroupConvolution(" in source and "groups=2, " in source
    plain = _program(_one("plain", Conv(4, (3, 3)), EVEN)).source
    assert "GroupConvolution" not in plain


def test_learners_take_the_gradient_of_the_batch_whole() -> None:
    mlp = CASES["mlp"]
    momentum = _program(mlp, SGD(0.1, momentum=0.9)).source
    assert "momentum=0.9, unit_gain=False" in momentum
    nesterov = _program(mlp, SGD(0.1, momentum=0.9, nesterov=True)).source
    assert "C.nesterov(" in nesterov
    # Left out, the rate would be divided by the size of the batch.
    assert "minibatch_size=C.learners.IGNORE" in _program(mlp, Adam(1e-3)).source
    with pytest.raises(GapError, match="part of the gradient"):
        _program(mlp, Adam(1e-3, weight_decay=0.1))


def test_running_statistics_start_like_those_of_others() -> None:
    norm = BatchNorm(momentum=0.8, unbiased=True)
    source = _program(_one("norm", norm, IMAGE)).source
    assert "normalization_time_constant=-BATCH_SIZE / np.log(0.8)" in source
    assert 'in ("aggregate_variance", "aggregate_count"):' in source
    steps = _program(_one("norm", norm, STEPS)).source
    # Steps are moved behind the features, which are then what is normalized.
    assert "BatchNormalization(\n        map_rank=1," in steps
    row = _program(_one("norm", norm, ROW)).source
    assert "map_rank" not in row
    with pytest.raises(GapError, match="unbiased"):
        _program(_one("norm", BatchNorm(), IMAGE))
    with pytest.raises(GapError, match="both a scale and a shift"):
        _program(_one("norm", BatchNorm(unbiased=True, scale=False), IMAGE))
    # Nothing of it where nothing is trained.
    forward = emit(workloads.get("resnet50-features"), backends.get("cntk")).source
    assert "normalization_time_constant" not in forward
    assert 'p.name not in ("", "aggregate_count")' in forward


def test_its_own_layer_norm_adds_epsilon_elsewhere() -> None:
    source = _program(_one("norm", LayerNorm(), STEPS)).source
    assert "def LayerNormalization(" in source
    assert "C.sqrt(C.reduce_mean(C.square(x)) + epsilon)" in source


def test_gates() -> None:
    gru = GRU(2, bias="one", reset="before")
    program = _program(_one("gru", gru, STEPS))
    weights = reference.initial_weights(program.graph, Initializers(), 0)
    weights["op.bias"] = np.arange(6.0)
    arrays = to_program(program, weights)
    # z, r, n; the product that the reset gate precedes is a matrix of its own.
    assert arrays["op/b"].tolist() == [2, 3, 0, 1, 4, 5]
    assert arrays["op/H"].shape == (2, 4)
    assert np.allclose(arrays["op/H1"], weights["op.recurrent"][4:].T)
    with pytest.raises(GapError, match="before the product"):
        _program(_one("gru", GRU(2, bias="one"), STEPS))


def test_only_the_biases_of_a_forget_gate_start_at_one() -> None:
    source = _program(_one("lstm", LSTM(3), STEPS)).source
    assert "bias = np.repeat(np.float32([0, 0, 1, 0]), 3)  # gates i, g, f, o" in source
    closed = _program(_one("closed", LSTM(3, forget_bias=0.0), STEPS)).source
    assert "init_bias" not in closed


def test_indices_are_numbers_and_rows_have_dense_gradients() -> None:
    source = emit(workloads.get("imdb-gru"), backends.get("cntk")).source
    assert "features = C.sequence.input_variable(())" in source
    assert "return C.gather(E, x)" in source
    assert "features: x.astype(np.float32)" in source


def test_a_sequence_of_the_network_has_steps_of_its_own() -> None:
    source = _program(_one("late", Slice("T", 2), STEPS)).source
    assert "C.reconcile_dynamic_axes(model, targets) - targets" in source


def _build(folder: Path, name: str, source: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "source.c").write_text(source)
    command = ["gcc", "-shared", "-fPIC", "-w", "-o", name, "source.c"]
    subprocess.run(command, check=True, cwd=folder)
    return folder / name


@pytest.mark.parametrize("installed", [False, True])
def test_a_place_is_taken_for_open_mpi(installed: bool, tmp_path: Path) -> None:
    """What asks for its functions is loaded: they work, or say why they do not."""
    libraries = tmp_path / "lib" / "python3.6" / "site-packages" / "cntk" / "libs"
    core = _build(
        libraries,
        "libCntk.Core.so",
        "int f(void) { return MPI_Imaginary(); } int g(void) { return MPI_Old(); }",
    )
    if installed:
        text = "int MPI_Imaginary(void) { return 7; }"
        _build(tmp_path / "lib", "libmpi.so.40", text)
    (shim,) = backends.get("cntk").env.shims
    subprocess.run([sys.executable, str(shims.path(shim)), str(tmp_path)], check=True)
    program = (
        "import ctypes, sys; ctypes.CDLL(sys.argv[1], ctypes.RTLD_GLOBAL); "
        "print(getattr(ctypes.CDLL(sys.argv[2]), sys.argv[3])())"
    )
    for name in ("libmpi.so.12", "libmpi_cxx.so.1"):
        for function, asked in (("f", "MPI_Imaginary"), ("g", "MPI_Old")):
            given = [str(libraries / name), str(core), function]
            command = [sys.executable, "-c", program, *given]
            done = subprocess.run(command, capture_output=True, text=True)
            if installed and function == "f":
                assert done.stdout == "7\n"
                continue
            assert done.returncode != 0
            assert f"{asked}: CNTK runs in several processes only" in done.stderr


def test_its_absence_of_symbols_is_an_error(tmp_path: Path) -> None:
    (shim,) = backends.get("cntk").env.shims
    command = [sys.executable, str(shims.path(shim)), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0 and "looked for" in done.stderr

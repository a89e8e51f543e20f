"""What is peculiar to MLX: its windows, its biases, its Adam, and its slow BLAS."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cases import CASES, EVEN, IMAGE, STEPS, VOLUME, Case, _chain, _one
from netglot import backends, workloads
from netglot.backend import Program
from netglot.data import DataSpec
from netglot.emit import GapError, Settings, emit
from netglot.ops import (
    GRU,
    LSTM,
    AvgPool,
    BatchNorm,
    Conv,
    ConvTranspose,
    Dense,
    LayerNorm,
    MaxPool,
    MultiHeadAttention,
    RMSNorm,
    Slice,
)
from netglot.recipe import SGD, Adam, MeanSquaredError, Optimizer, Recipe
from netglot.runtime import shims
from netglot.workloads import Workload

pytestmark = pytest.mark.text


def _program(
    case: Case, optimizer: Optimizer | None = None, dtype: str = "float32"
) -> Program:
    recipe = Recipe(MeanSquaredError(), optimizer or SGD(0.1), batch_size=3, epochs=1)
    data = DataSpec("case", "features", (1,), 2)
    workload = Workload(case.name, case.name, case.graph, recipe, data)
    return emit(workload, backends.get("mlx"), Settings(dtype=dtype))


def test_equal_values_share_the_gradient_of_a_maximum() -> None:
    program = emit(workloads.get("mnist-lenet"), backends.get("mlx"))
    assert program.forms["MaxPool"] == "ties shared"


def test_windows_that_its_pools_do_not_have() -> None:
    ceil = _program(_one("ceil", MaxPool((2, 2), ceil=True), IMAGE)).source
    assert "[(0, 0), (0, 1), (0, 1), (0, 0)], constant_values=-mx.inf" in ceil
    uneven = MaxPool((2, 2), 2, ((1, 0), (0, 0)))
    assert "constant_values=-mx.inf" in _program(_one("uneven", uneven, IMAGE)).source
    even = _program(_one("even", MaxPool((2, 2), 2, 1), IMAGE)).source
    assert "nn.MaxPool2d(2, padding=1)" in even and "mx.pad" not in even


def test_padding_counts_in_a_mean_unless_it_is_divided_out() -> None:
    counted = AvgPool((3, 3), 2, 1, count_padding=True)
    source = _program(_one("counted", counted, IMAGE)).source
    assert "nn.AvgPool2d(3, stride=2, padding=1)" in source
    ignored = _program(_one("ignored", AvgPool((3, 3), 2, 1), IMAGE)).source
    assert "x = avg_pool(self.op, x, [(1, 1), (1, 1)])" in ignored.replace(
        "return ", "x = "
    )
    assert "nn.AvgPool2d(3, stride=2)\n" in ignored


def test_biases_of_a_gru() -> None:
    program = emit(workloads.get("imdb-gru"), backends.get("mlx"))
    assert program.forms["GRU"] == "reset after, bias candidate"
    found = {w.path: w.shape for w in program.weights if w.path.startswith("gru")}
    assert found["gru.b"] == (300,) and found["gru.bhn"] == (100,)
    with pytest.raises(GapError, match="candidate"):
        _program(_one("gru", GRU(3), STEPS))


def test_an_lstm_gives_its_cells_too() -> None:
    source = _program(_one("last", LSTM(3), STEPS)).source
    assert "x, _ = self.op(x)\n        x = x[:, -1]\n" in source
    back = _program(_one("back", LSTM(3, direction="backward"), STEPS)).source
    assert "self.op(x[:, ::-1])" in back
    both = _program(_one("both", LSTM(3, direction="both"), STEPS)).source
    assert "x[:, -1, :3], x[:, 0, 3:]" in both


def test_initial_weights_are_the_recipes() -> None:
    plain = emit(workloads.get("mnist-cnn"), backends.get("mlx")).source
    assert "kernel(w) if w.ndim > 1 else mx.zeros_like(w)" in plain
    assert "isinstance" not in plain
    lstm = _program(_one("lstm", LSTM(3), STEPS)).source
    forget = "layer.bias[layer.hidden_size : 2 * layer.hidden_size] = 1"
    assert forget in lstm
    open_ = _program(_one("open", LSTM(3, forget_bias=0.0), STEPS)).source
    assert "hidden_size" not in open_
    norm = _program(_chain("norm", IMAGE, Conv(4, (1, 1)), BatchNorm())).source
    # Neither its scale nor its running variance is to become 0.
    assert "nn.Module.trainable_parameter_filter" in norm
    assert "layer.weight = mx.ones_like(layer.weight)" in norm


def test_the_first_steps_of_adam_are_corrected() -> None:
    mlp = CASES["mlp"]
    assert "bias_correction=True" in _program(mlp, Adam(1e-3)).source
    decayed = _program(mlp, Adam(1e-3, weight_decay=0.1)).source
    assert "optim.AdamW(" in decayed and "weight_decay=0.1" in decayed
    hat = _program(mlp, Adam(1e-3, epsilon_form="before"))
    assert hat.forms["Adam"] == "epsilon form after"


def test_momentum_is_the_share_of_the_new_statistics() -> None:
    source = _program(_one("norm", BatchNorm(momentum=0.8), IMAGE)).source
    assert "nn.BatchNorm(3, momentum=0.2)" in source
    usual = _program(_one("norm", BatchNorm(momentum=0.9), IMAGE)).source
    assert "nn.BatchNorm(3)" in usual


def test_norms_that_learn_less() -> None:
    source = _program(_one("norm", LayerNorm(shift=False), STEPS)).source
    assert "nn.LayerNorm(4, bias=False)" in source
    with pytest.raises(GapError, match="only beside a scale"):
        _program(_one("norm", LayerNorm(scale=False), STEPS))
    fixed = _program(_chain("norm", STEPS, Dense(4), RMSNorm(scale=False))).source
    assert "mx.fast.rms_norm(x, None, 1e-6)" in fixed and "nn.RMSNorm" not in fixed


def test_attention_has_biases_only_when_told() -> None:
    source = _program(_one("attention", MultiHeadAttention(2), STEPS)).source
    assert "nn.MultiHeadAttention(4, 2, bias=True)" in source
    causal = MultiHeadAttention(2, causal=True, bias=False)
    without = _program(_one("causal", causal, STEPS)).source
    assert "nn.MultiHeadAttention(4, 2)" in without
    assert "self.op.create_additive_causal_mask(x.shape[1])" in without


def test_convolutions_that_it_does_not_have() -> None:
    with pytest.raises(GapError, match="no groups"):
        _program(_one("groups", Conv(4, (1, 1, 1), groups=2), VOLUME))
    with pytest.raises(GapError, match="no groups"):
        _program(_one("groups", ConvTranspose(4, (2, 2), groups=2), EVEN))


def test_its_numbers_are_short() -> None:
    with pytest.raises(GapError, match="float64"):
        _program(CASES["mlp"], dtype="float64")


def _libraries(folder: Path) -> tuple[Path, Path]:
    packages = folder / "lib" / "python3.11" / "site-packages"
    own, scipy = packages / "mlx_cpu.libs", packages / "scipy.libs"
    own.mkdir(parents=True)
    scipy.mkdir()
    return own, scipy


def test_openblas_takes_the_place_of_the_slow_blas(tmp_path: Path) -> None:
    own, scipy = _libraries(tmp_path)
    (own / "libblas-1.so.3").write_text("slow")
    (scipy / "libopenblasp-r0.so").write_text("fast")
    (scipy / "libgfortran-2.so").write_text("needed")
    (shim,) = backends.get("mlx").env.shims
    subprocess.run([sys.executable, str(shims.path(shim)), str(tmp_path)], check=True)
    assert (own / "libblas-1.so.3").read_text() == "fast"
    assert (own / "libgfortran-2.so").read_text() == "needed"


def test_an_environment_without_openblas_is_not_one(tmp_path: Path) -> None:
    own, _ = _libraries(tmp_path)
    (own / "libblas-1.so.3").write_text("slow")
    (shim,) = backends.get("mlx").env.shims
    command = [sys.executable, str(shims.path(shim)), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0 and "no OpenBLAS of SciPy" in done.stderr


def test_one_element_read_backwards_keeps_its_gradient() -> None:
    one = _program(_one("one", Slice("F", 0, None, -1), STEPS)).source
    assert "x[:, :, 0:1]" in one
    two = _program(_one("two", Slice("F", 1, None, -1), STEPS)).source
    assert "x[:, :, 1::-1]" in two

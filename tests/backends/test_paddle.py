"""What is peculiar to the programs in PaddlePaddle."""

from __future__ import annotations

import pytest

from cases import CASES, IMAGE, LINE, ROW, STEPS, Case, _chain, _one
from netglot import backends, workloads
from netglot.backend import Program
from netglot.data import DataSpec
from netglot.emit import GapError, emit
from netglot.ops import (
    GRU,
    LSTM,
    BatchNorm,
    Conv,
    Dense,
    MaxPool,
    RMSNorm,
    Upsample,
)
from netglot.recipe import SGD, Adam, Initializers, MeanSquaredError, Recipe, Uniform
from netglot.workloads import Workload

pytestmark = pytest.mark.text

PADDLE = backends.get("paddle")


def _program(case: Case, recipe: Recipe | None = None) -> Program:
    recipe = recipe or Recipe(MeanSquaredError(), SGD(0.1), batch_size=3, epochs=1)
    data = DataSpec("case", "features", (1,), 2)
    return emit(Workload(case.name, case.name, case.graph, recipe, data), PADDLE)


def _workload(name: str) -> str:
    return emit(workloads.get(name), PADDLE).source


def test_only_what_begins_otherwise_is_told_how() -> None:
    source = _workload("cifar-vgg")
    assert "nn.Conv2D(3, 50, 3, padding=1, weight_attr=XavierUniform())" in source
    # A Linear begins so by itself, and no bias of any layer is anything but 0.
    assert "nn.Linear(6400, 512)" in source and "bias_attr" not in source
    assert "import XavierUniform\n" in source
    forward = _workload("resnet50-features")
    assert "initializer" not in forward and "weight_attr" not in forward


def test_another_distribution_reaches_every_layer() -> None:
    inits = Initializers(kernel=Uniform(0.1), bias=Uniform(0.2))
    recipe = Recipe(MeanSquaredError(), Adam(0.1), 3, 1, inits)
    source = _program(CASES["mlp"], recipe).source
    told = "weight_attr=Uniform(-0.1, 0.1), bias_attr=Uniform(-0.2, 0.2)"
    assert source.count(told) == 3


def test_weights_of_a_recurrent_layer_are_read_by_name() -> None:
    # A state_dict has each of them twice, and would warn of those not found.
    source = _workload("imdb-gru")
    assert "for name, parameter in model.named_parameters():" in source
    assert "state_dict" not in source
    assert "model.set_state_dict(dict(np.load(path)))" in _workload("mnist-cnn")


def test_layers_with_two_biases_and_cells_with_fewer() -> None:
    whole = _program(_one("whole", GRU(3), STEPS))
    assert "self.op = nn.GRU(" in whole.source
    assert {w.path for w in whole.weights} >= {"op.weight_ih_l0", "op.bias_hh_l0"}
    # nn.GRU without one of its biases ends the process.
    cell = _program(_one("cell", GRU(3, bias="one"), STEPS))
    assert "nn.RNN(" in cell.source and "nn.GRUCell(" in cell.source
    assert "bias_hh_attr=False" in cell.source
    assert {w.path for w in cell.weights} >= {"op.cell.weight_ih", "op.cell.bias_ih"}
    assert "if name in arrays:" in cell.source
    assert "if name in arrays:" not in whole.source


def test_backwards_is_a_reversed_cell() -> None:
    back = GRU(3, direction="backward")
    assert "is_reverse=True" in _program(_one("back", back, STEPS)).source


def test_a_forget_gate_starts_open() -> None:
    source = _program(_one("lstm", LSTM(3, bias="two"), STEPS)).source
    assert "bias_ih_attr=Assign(np.repeat([0.0, 1.0, 0.0, 0.0], 3))" in source
    closed = LSTM(3, bias="two", forget_bias=0.0)
    assert "Assign" not in _program(_one("lstm", closed, STEPS)).source


def test_padding_of_each_side() -> None:
    uneven = ((2, 0), (1, 3))
    conv = _program(_one("conv", Conv(4, (3, 2), 1, uneven), IMAGE)).source
    assert "padding=[2, 0, 1, 3]" in conv
    pool = MaxPool((3, 3), 2, ((2, 0), (0, 1)))
    assert "padding=[2, 0, 0, 1]" in _program(_one("pool", pool, IMAGE)).source


def test_the_running_variance_is_biased() -> None:
    with pytest.raises(GapError, match="running variance is the biased one"):
        _program(_one("norm", BatchNorm(unbiased=True), IMAGE))


def test_nearest_in_one_dimension() -> None:
    # F.interpolate takes images and volumes alone.
    source = _program(_one("up", Upsample((3,)), LINE)).source
    assert "x.repeat_interleave(3, axis=2)" in source


def test_a_norm_that_paddle_has_no_layer_for() -> None:
    source = _program(_one("norm", RMSNorm(), STEPS)).source
    assert "class RMSNorm(nn.Layer):" in source
    assert "import Constant" in source


def test_decoupled_decay_has_an_optimizer_of_its_own() -> None:
    decayed = Recipe(MeanSquaredError(), Adam(0.1, weight_decay=0.02), 3, 1)
    source = _program(_chain("dense", ROW, Dense(3)), decayed).source
    assert "paddle.optimizer.AdamW(" in source and "weight_decay=0.02" in source
    plain = Recipe(MeanSquaredError(), Adam(0.1), 3, 1)
    source = _program(_chain("dense", ROW, Dense(3)), plain).source
    assert "paddle.optimizer.Adam(" in source and "weight_decay" not in source


def test_a_maximum_over_five_axes_is_taken_one_by_one() -> None:
    # Its gradient is wrong otherwise.
    source = _program(CASES["global-max-pool-3d"]).source
    assert "x.max(axis=4).max(axis=3).max(axis=2)" in source
    assert "x.max(axis=[2, 3])" in _program(CASES["global-max-pool"]).source


def test_a_last_window_begins_inside() -> None:
    # With ceil_mode alone Paddle keeps one that begins in the padding at the end.
    source = _program(CASES["max-pool-2d-ceil-padding"]).source
    assert 'value=float("-inf")' in source and "ceil_mode" not in source
    assert "ceil_mode=True" in _program(CASES["max-pool-2d-ceil"]).source


def test_scale_and_shift_are_trained_together() -> None:
    with pytest.raises(GapError, match="trains neither"):
        _program(_one("norm", BatchNorm(scale=False), IMAGE))
    plain = _program(_one("norm", BatchNorm(scale=False, shift=False), IMAGE))
    assert "weight_attr=False, bias_attr=False" in plain.source


def test_numbers_are_float32() -> None:
    assert PADDLE.dtypes == ("float32",)

"""What is peculiar to Chainer: its defaults, its stacks of recurrent layers."""

from __future__ import annotations

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
    Dense,
    LayerNorm,
    MaxPool,
    Upsample,
)
from netglot.recipe import SGD, Adam, Initializers, MeanSquaredError, Optimizer, Recipe
from netglot.weights import to_program
from netglot.workloads import Workload

pytestmark = pytest.mark.text


def _program(
    case: Case, optimizer: Optimizer | None = None, dtype: str = "float32"
) -> Program:
    recipe = Recipe(MeanSquaredError(), optimizer or SGD(0.1), batch_size=3, epochs=1)
    data = DataSpec("case", "features", (1,), 2)
    workload = Workload(case.name, case.name, case.graph, recipe, data)
    return emit(workload, backends.get("chainer"), Settings(dtype=dtype))


def test_a_pool_drops_a_window_that_does_not_fit() -> None:
    fits = _program(_one("fits", MaxPool((2, 2)), EVEN)).source
    assert "F.max_pooling_2d(x, 2)" in fits
    drops = _program(_one("drops", MaxPool((2, 2)), IMAGE)).source
    assert "F.max_pooling_2d(x, 2, cover_all=False)" in drops
    keeps = _program(_one("keeps", MaxPool((2, 2), ceil=True), IMAGE)).source
    assert "F.max_pooling_2d(x, 2)" in keeps


def test_a_last_window_does_not_begin_in_the_padding() -> None:
    source = _program(CASES["max-pool-2d-ceil-padding"]).source
    assert "constant_values=-np.inf\n" in source
    assert "F.max_pooling_2d(x, 2, cover_all=False)" in source


def test_padding_that_does_not_count_in_a_mean() -> None:
    ignored = _program(_one("mean", AvgPool((3, 3), 2, 1), IMAGE)).source
    assert "F.average_pooling_nd(x, 3, stride=2, pad=1, pad_value=None)" in ignored
    counted = AvgPool((3, 3), 2, 1, count_padding=True)
    source = _program(_one("mean", counted, IMAGE)).source
    assert "F.average_pooling_2d(x, 3, stride=2, pad=1)" in source


def test_only_the_biases_of_a_forget_gate_start_at_one() -> None:
    source = _program(_one("lstm", LSTM(3, bias="two"), STEPS)).source
    assert "self.op[0].b1.array[...] = 1\n" in source
    closed = LSTM(3, bias="two", forget_bias=0.0)
    assert ".array[...]" not in _program(_one("closed", closed, STEPS)).source
    both = LSTM(3, bias="two", direction="both")
    assert (
        "self.op[1].b1.array[...] = 1\n" in _program(_one("both", both, STEPS)).source
    )


def test_each_gate_has_a_matrix_of_its_own() -> None:
    program = _program(CASES["gru"])
    weights = reference.initial_weights(program.graph, Initializers(), 0)
    weights["op.bias"] = np.arange(9.0)
    arrays = to_program(program, weights)
    order = [arrays[f"op/0/b{i}"].tolist() for i in range(3)]
    assert order == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert np.allclose(arrays["op/0/w5"], weights["op.recurrent"][6:])
    assert "inputs + 3 * outputs" in program.source


def test_bias_vectors_that_cannot_be_left_out() -> None:
    with pytest.raises(GapError, match="two bias vectors"):
        _program(_one("one", GRU(3, bias="one"), STEPS))


def test_repeated_blocks_are_numbered_as_they_are_called() -> None:
    program = emit(workloads.get("resnet50-features"), backends.get("chainer"))
    assert "chainer.ChainList(" in program.source
    assert "Sequential" not in program.source
    assert "for block in self.stage1:\n            x = block(x)" in program.source
    assert "stage1/1/conv1/W" in {weight.path for weight in program.weights}


def test_a_transposed_convolution_of_the_data() -> None:
    source = _program(CASES["conv-transpose-2d-padding"]).source
    assert "L.DeconvolutionND(\n                2,\n" in source
    assert "outsize=(14, 10)," in source
    assert "L.Deconvolution1D(" in _program(CASES["conv-transpose-1d"]).source


def test_axes_before_the_features() -> None:
    source = _program(_chain("steps", STEPS, Dense(4), LayerNorm())).source
    assert "(x, n_batch_axes=2)" in source
    assert ".reshape(-1, x.shape[2])).reshape(x.shape)" in source
    flat = _program(_chain("row", ROW, Dense(4), LayerNorm())).source
    assert "n_batch_axes" not in flat and "x.reshape" not in flat


def test_what_a_batch_norm_counts_is_not_asked_for() -> None:
    norm = _program(_one("norm", BatchNorm(unbiased=True), IMAGE)).source
    assert "load_npz(path, model, strict=False)" in norm
    assert "strict" not in _program(CASES["mlp"]).source
    with pytest.raises(GapError, match="unbiased"):
        _program(_one("norm", BatchNorm(), IMAGE))


def test_optimizers() -> None:
    decoupled = Adam(1e-3, epsilon_form="before", weight_decay=0.1)
    source = _program(CASES["mlp"], decoupled).source
    assert "chainer.optimizers.AdamW(" in source
    assert "weight_decay_rate=0.001 * 0.1" in source
    coupled = _program(CASES["mlp"], SGD(0.1, 0.9, weight_decay=0.01)).source
    assert "optimizer.add_hook(chainer.optimizer_hooks.WeightDecay(0.01))" in coupled
    with pytest.raises(GapError, match="NesterovAG"):
        _program(CASES["mlp"], SGD(0.1, 0.9, nesterov=True))
    adam = emit(workloads.get("mnist-fcn"), backends.get("chainer"))
    assert adam.forms["Adam"] == "epsilon form before"


def test_images_are_resized_in_float32() -> None:
    case = _one("bilinear", Upsample((2, 2), "bilinear"), IMAGE)
    assert "F.resize_images(x, (14, 10), align_corners=False)" in _program(case).source
    with pytest.raises(GapError, match="float32 alone"):
        _program(case, dtype="float64")

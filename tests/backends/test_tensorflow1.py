"""What is peculiar to TensorFlow 1: its cells, its graph, what it does to numbers."""

from __future__ import annotations

import ast

import numpy as np
import pytest

from cases import CASES, EVEN, IMAGE, ROW, STEPS, Case, _chain, _one, _words
from netglot import backends, reference, workloads
from netglot.backend import Program
from netglot.data import DataSpec
from netglot.emit import GapError, Settings, emit
from netglot.ops import (
    GRU,
    LSTM,
    BatchNorm,
    Conv,
    ConvTranspose,
    Dense,
    Dropout,
    Embedding,
    LayerNorm,
    Relu,
)
from netglot.recipe import (
    SGD,
    Adam,
    Initializers,
    MeanSquaredError,
    Optimizer,
    Recipe,
    Uniform,
)
from netglot.weights import from_program, to_program
from netglot.workloads import Workload

pytestmark = pytest.mark.text


def _program(
    case: Case,
    optimizer: Optimizer | None = None,
    dtype: str = "float32",
    initializers: Initializers | None = None,
) -> Program:
    recipe = Recipe(
        MeanSquaredError(),
        optimizer or SGD(0.1),
        batch_size=3,
        epochs=1,
        initializers=initializers or Initializers(),
    )
    data = DataSpec("case", "features", (1,), 2)
    workload = Workload(case.name, case.name, case.graph, recipe, data)
    return emit(workload, backends.get("tensorflow1"), Settings(dtype=dtype))


def _arrays(program: Program) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The graph's weights, all different, and what the program makes of them."""
    random = np.random.default_rng(0)
    weights = {
        path: random.normal(size=weight.shape)
        for path, weight in program.graph.weights().items()
    }
    return weights, to_program(program, weights, "float64")


def test_programs_are_of_python_3_7() -> None:
    for name in workloads.names():
        program = emit(workloads.get(name), backends.get("tensorflow1"))
        ast.parse(program.source, feature_version=(3, 7))


def test_a_cell_has_one_matrix_for_what_it_reads_and_holds() -> None:
    program = _program(_one("gru", GRU(3, reset="before", bias="one"), STEPS))
    shapes = {weight.path: weight.shape for weight in program.weights}
    assert shapes == {
        "op/gru_cell/gates/kernel": (4 + 3, 6),
        "op/gru_cell/gates/bias": (6,),
        "op/gru_cell/candidate/kernel": (4 + 3, 3),
        "op/gru_cell/candidate/bias": (3,),
    }
    weights, arrays = _arrays(program)
    candidate = arrays["op/gru_cell/candidate/kernel"]
    assert np.array_equal(candidate[:4], weights["op.kernel"][6:].T)
    assert np.array_equal(candidate[4:], weights["op.recurrent"][6:].T)
    again = from_program(program, arrays)
    assert all(np.array_equal(again[path], weights[path]) for path in weights)


def test_gates_of_a_gru_start_at_0() -> None:
    source = _program(_one("gru", GRU(3, reset="before", bias="one"), STEPS)).source
    assert "GRUCell(3, bias_initializer=tf.zeros_initializer())" in source
    with pytest.raises(GapError, match="reset gate of its GRUCell acts before"):
        _program(CASES["gru"])


def test_an_lstm_adds_to_its_forget_gate_by_itself() -> None:
    program = _program(_one("lstm", LSTM(3), STEPS))
    assert "LSTMCell(3)" in program.source
    weights = reference.initial_weights(program.graph, Initializers(), 0)
    assert weights["op.bias"].tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    arrays = to_program(program, weights)
    assert not arrays["op/lstm_cell/bias"].any()
    again = from_program(program, arrays)
    assert all(np.allclose(again[path], weights[path]) for path in weights)
    closed = _program(_one("lstm", LSTM(3, forget_bias=0.0), STEPS))
    assert "LSTMCell(3, forget_bias=0.0)" in closed.source
    with pytest.raises(GapError, match="does not decay"):
        _program(_one("lstm", LSTM(3), STEPS), SGD(0.1, weight_decay=0.01))


def test_gates_of_an_lstm_are_i_g_f_o() -> None:
    program = _program(_one("lstm", LSTM(1, forget_bias=0.0), STEPS))
    weights, arrays = _arrays(program)
    i, f, g, o = weights["op.bias"]
    assert arrays["op/lstm_cell/bias"].tolist() == [i, g, f, o]


def test_initializers_of_a_cell() -> None:
    case = _one("lstm", LSTM(3), STEPS)
    same = Initializers(kernel=Uniform(0.1), recurrent=Uniform(0.1))
    source = _program(case, initializers=same).source
    assert "initializer=tf.random_uniform_initializer(-0.1, 0.1)" in source
    with pytest.raises(GapError, match="one initializer for both kernels"):
        _program(case, initializers=Initializers(kernel=Uniform(0.1)))


def test_running_statistics_are_updated_beside_the_step() -> None:
    source = _program(_one("norm", BatchNorm(), IMAGE)).source
    assert "tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE" in source
    assert "UPDATE_OPS" not in _program(CASES["mlp"]).source


def test_running_variance_in_both_forms() -> None:
    biased = _program(_one("norm", BatchNorm(), IMAGE)).source
    assert "fused=False" in biased
    unbiased = _one("norm", BatchNorm(unbiased=True), IMAGE)
    assert "fused" not in _program(unbiased).source
    with pytest.raises(GapError, match="no float64"):
        _program(unbiased, dtype="float64")
    with pytest.raises(GapError, match="is the biased"):
        _program(_one("norm", BatchNorm(unbiased=True), ROW))


def test_only_what_differs_in_training_is_told_of_it() -> None:
    dropped = _program(_chain("drop", ROW, Dense(4), Relu(), Dropout(0.2), Dense(3)))
    assert "def drop(x, training):" in dropped.source
    assert "model.training: True" in dropped.source
    assert "training" not in _program(CASES["dense"]).source
    forward = emit(workloads.get("resnet50-features"), backends.get("tensorflow1"))
    assert "training=" not in forward.source


def test_all_rows_of_an_embedding_move() -> None:
    net = _words("words", Embedding(11, 4), LSTM(3), Dense(2))
    line = "pairs = [(tf.convert_to_tensor(g), v) for g, v in pairs]"
    assert line in _program(net, SGD(0.1, momentum=0.9)).source
    # Its Adam moves them all, and a step without momentum moves what it should.
    assert line not in _program(net, Adam(1e-3)).source
    assert line not in _program(net, SGD(0.1)).source


def test_decay() -> None:
    coupled = _program(CASES["mlp"], SGD(0.1, 0.9, weight_decay=0.01)).source
    assert "optimizer.minimize(loss + 0.01 * tf.add_n(squares))" in coupled
    # AdamW's is not multiplied by the rate.
    decoupled = _program(CASES["mlp"], Adam(0.01, weight_decay=0.5)).source
    assert "AdamWOptimizer(weight_decay=0.005, learning_rate=0.01)" in decoupled


def test_numbers_that_would_be_rounded_in_float64() -> None:
    source = _program(CASES["mlp"], Adam(1e-3), dtype="float64").source
    assert "learning_rate=np.float64(0.001)" in source
    assert "beta2=np.float64(0.999)" in source
    norm = _program(_one("norm", BatchNorm(0.8), ROW), dtype="float64").source
    assert "momentum=np.float64(0.8)" in norm
    assert "def leaky_relu(x" in _program(CASES["leaky-relu"], dtype="float64").source
    assert "tf.nn.leaky_relu(x" in _program(CASES["leaky-relu"]).source


def test_padding_that_is_not_called_same() -> None:
    strided = _program(_one("strided", Conv(4, (3, 3), 2, 1), EVEN)).source
    assert "tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])" in strided
    same = _program(_one("same", Conv(4, (3, 3), padding=1), EVEN)).source
    assert 'padding="same"' in same and "tf.pad" not in same


def test_convolutions_that_no_layer_says() -> None:
    depthwise = _program(_one("depthwise", Conv(4, (3, 3), groups=4), EVEN)).source
    assert "tf.contrib.layers.separable_conv2d(\n        x, None, 3," in depthwise
    grouped = _program(CASES["conv-2d-groups"]).source
    assert "x = group_conv(" in grouped or "return group_conv(" in grouped
    longer = ConvTranspose(4, (3, 3), 2, output_padding=1)
    assert "conv_transpose(x, 4, (3, 3), (" in _program(_one("t", longer, EVEN)).source


def test_a_network_does_not_take_the_name_of_a_helper() -> None:
    source = _program(_one("layer-norm", LayerNorm(), ROW)).source
    assert "def layer_norm_network(x):" in source
    assert "scores = layer_norm_network(x)" in source

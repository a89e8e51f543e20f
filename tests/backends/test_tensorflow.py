"""What is peculiar to TensorFlow: the layers that its programs define themselves."""

from __future__ import annotations

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
    Dense,
    Dropout,
    Embedding,
    MaxPool,
    Relu,
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
    return emit(workload, backends.get("tensorflow"), Settings(dtype=dtype))


def test_layers_have_the_options_that_are_used() -> None:
    plain = _program(_chain("plain", ROW, Dense(4), Dense(3))).source
    assert "def __init__(self, inputs, outputs):" in plain
    assert "class Conv2D" not in plain
    mixed = _program(_chain("mixed", ROW, Dense(4, bias=False), Dense(3))).source
    assert "def __init__(self, inputs, outputs, bias=True):" in mixed
    assert "Dense(6, 4, bias=False)" in mixed


def test_no_mark_of_a_template_is_left() -> None:
    for name in workloads.names():
        for dtype in ("float32", "float64"):
            settings = Settings(dtype=dtype)
            program = emit(workloads.get(name), backends.get("tensorflow"), settings)
            assert "#?" not in program.source and "$" not in program.source


def test_gates_of_a_gru_keep_their_order() -> None:
    program = _program(CASES["gru"])
    weights = reference.initial_weights(program.graph, Initializers(), 0)
    weights["op.bias"] = np.arange(9.0)
    arrays = to_program(program, weights)
    assert arrays["op.bias"].tolist() == list(range(9))
    assert np.allclose(arrays["op.kernel"], weights["op.kernel"].T)
    assert "x_r, x_z, x_n = tf.split(x, 3, axis=-1)" in program.source


def test_the_form_of_a_gru_is_written_out() -> None:
    after = _program(_one("after", GRU(3, bias="candidate"), STEPS)).source
    assert "n = tf.tanh(x_n + r * (h_n + self.recurrent_bias))" in after
    before = _program(_one("before", GRU(3, reset="before", bias="one"), STEPS)).source
    assert "n = tf.tanh(x_n + (r * h) @ u_n)" in before
    assert "recurrent_bias" not in before


def test_layers_of_one_name_have_one_form() -> None:
    first = GRU(3, returns="sequence")
    with pytest.raises(GapError, match="every GRU of a network is written with one"):
        _program(_chain("two", STEPS, first, GRU(3, bias="one")))


def test_a_forget_gate_starts_open() -> None:
    source = _program(_one("lstm", LSTM(3), STEPS)).source
    assert "bias = tf.constant([0.0, 1.0, 0.0, 0.0])" in source
    closed = _program(_one("lstm", LSTM(3, forget_bias=0.0), STEPS)).source
    assert "tf.constant" not in closed


def test_padding_that_tensorflow_has_a_word_for() -> None:
    same = _program(_one("same", Conv(4, (3, 3), padding=1), IMAGE)).source
    assert 'padding="SAME"' in same
    # At stride 2 SAME pads an even size after the image alone.
    after = Conv(4, (3, 3), 2, ((0, 1), (0, 1)))
    assert 'padding="SAME"' in _program(_one("after", after, EVEN)).source
    both = Conv(4, (3, 3), 2, 1)
    explicit = "padding=[[0, 0], [1, 1], [1, 1], [0, 0]]"
    assert explicit in _program(_one("both", both, EVEN)).source
    pool = _program(_one("pool", MaxPool((3, 3), 2, 1), EVEN)).source
    assert explicit in pool


def test_a_stride_after_a_dilation() -> None:
    source = _program(_one("both", Conv(4, (3, 3), 2, 2, 2), IMAGE)).source
    assert "[:, ::2, ::2]" in source and "strides=2" not in source


def test_only_what_differs_in_training_is_told_of_it() -> None:
    dropped = _program(_chain("drop", ROW, Dense(4), Relu(), Dropout(0.2), Dense(3)))
    assert "def __call__(self, x, training=False):" in dropped.source
    assert "if training:\n            x = tf.nn.dropout(x, 0.2)" in dropped.source
    assert "model(x, training=True)" in dropped.source
    plain = _program(_chain("plain", ROW, Dense(4), Relu(), Dense(3)))
    assert "training" not in plain.source
    forward = emit(workloads.get("resnet50-features"), backends.get("tensorflow"))
    assert "training" not in forward.source and "momentum" not in forward.source


def test_running_variance_in_both_forms() -> None:
    biased = _program(_one("norm", BatchNorm(), IMAGE)).source
    assert "correction" not in biased
    unbiased = _program(_one("norm", BatchNorm(unbiased=True), IMAGE)).source
    assert "correction = count / (count - 1)" in unbiased


def test_adam_gets_one_gradient_per_word() -> None:
    net = _words("words", Embedding(11, 4), GRU(3), Dense(2))
    line = "gradients = [tf.convert_to_tensor(g) for g in gradients]"
    assert line in _program(net, Adam(1e-3)).source
    assert line not in _program(net, SGD(0.1)).source


def test_coupled_decay_goes_through_the_velocity() -> None:
    source = _program(CASES["mlp"], SGD(0.1, 0.9, weight_decay=0.01)).source
    assert "gradients = [0.01 * v + g for v, g in zip(variables, gradients)]" in source
    assert "learning_rate=0.1, momentum=0.9)" in source


def test_numbers_that_would_be_rounded_in_float64() -> None:
    source = _program(CASES["mlp"], Adam(1e-3), dtype="float64").source
    assert 'tf.keras.config.set_floatx("float64")' in source
    assert "beta_2=np.float64(0.999)" in source
    exact = _program(CASES["gelu"], dtype="float64").source
    assert "def gelu(x" in exact
    assert "tf.nn.gelu(x)" in _program(CASES["gelu"]).source


def test_a_network_does_not_take_the_name_of_a_layer() -> None:
    assert "class DenseNetwork(tf.Module):" in _program(CASES["dense"]).source

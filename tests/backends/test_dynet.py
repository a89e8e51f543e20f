"""What is peculiar to DyNet: columns first, the batch apart, lists of steps."""

from __future__ import annotations

import numpy as np
import pytest

from cases import CASES, EVEN, IMAGE, STEPS, Case, _chain, _one, _words
from netglot import backends, reference, workloads
from netglot.backend import Program
from netglot.data import DataSpec
from netglot.emit import GapError, emit
from netglot.ops import (
    GRU,
    LSTM,
    Conv,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    MaxPool,
    Relu,
    SimpleRNN,
)
from netglot.recipe import SGD, Adam, Initializers, MeanSquaredError, Optimizer, Recipe
from netglot.weights import from_program, to_program
from netglot.workloads import Workload

pytestmark = pytest.mark.text


def _program(case: Case, optimizer: Optimizer | None = None) -> Program:
    recipe = Recipe(MeanSquaredError(), optimizer or SGD(0.1), batch_size=3, epochs=1)
    data = DataSpec("case", "features", (1,), 2)
    workload = Workload(case.name, case.name, case.graph, recipe, data)
    return emit(workload, backends.get("dynet"))


def _arrays(program: Program) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    weights = reference.initial_weights(program.graph, Initializers(), 0)
    for path, array in weights.items():
        weights[path] = np.arange(1.0, array.size + 1).reshape(array.shape)
    return weights, to_program(program, weights)


def test_dimensions_are_the_axes_read_backwards() -> None:
    layers = Conv(4, (3, 2), (2, 1)), MaxPool((1, 2), (1, 3)), Flatten(), Dense(2)
    program = _program(_chain("backwards", IMAGE, *layers))
    assert "x = dy.inputTensor(x.T, batched=True)" in program.source
    assert "add_parameters((2, 3, 3, 4))" in program.source
    assert "self.conv1_b, [1, 2])" in program.source
    assert "dy.maxpooling2d(x, [2, 1], [3, 1])" in program.source
    weights, arrays = _arrays(program)
    assert np.array_equal(arrays["conv1_W"], weights["conv1.kernel"].T)
    # The features of a flattened image lie as in NumPy.
    assert np.array_equal(arrays["dense1_W"], weights["dense1.kernel"])


def test_factors_change_places() -> None:
    assert "return b * a" in _program(CASES["matmul"]).source
    turned = _program(CASES["matmul-transpose"]).source
    assert "return dy.transpose(b) * a" in turned


def test_gradients_are_not_clipped() -> None:
    for name in workloads.names():
        if name != "resnet50-features":
            source = emit(workloads.get(name), backends.get("dynet")).source
            assert "trainer.set_clip_threshold(0)" in source


def test_moments_of_all_words_decay() -> None:
    net = _words("words", Embedding(11, 4), GRU(3, "tanh", "one", reset="before"))
    line = "trainer.set_sparse_updates(False)"
    assert line in _program(net, Adam(1e-3)).source
    assert line in _program(net, SGD(0.1, 0.9)).source
    assert line not in _program(net, SGD(0.1)).source
    assert line not in _program(CASES["mlp"], Adam(1e-3)).source


def test_the_collection_lives_as_long_as_the_model() -> None:
    source = _program(CASES["mlp"]).source
    assert "self.pc = dy.ParameterCollection()" in source
    assert 'if k != "pc"' in source


def test_the_update_gate_of_a_gru_is_the_other_way_round() -> None:
    layer = GRU(3, bias="one", reset="before")
    program = _program(_one("gru", layer, STEPS))
    weights, arrays = _arrays(program)
    reset, update, candidate = np.split(weights["op.kernel"], 3)
    assert np.array_equal(arrays["op_0"], -update)
    assert np.array_equal(arrays["op_3"], reset)
    assert np.array_equal(arrays["op_6"], candidate)
    back = from_program(program, arrays)
    assert all(np.array_equal(back[path], weights[path]) for path in weights)
    assert "glorot_of_gates(self.op)" in program.source


def test_an_lstm_adds_the_forget_bias_itself() -> None:
    program = _program(_one("lstm", LSTM(3), STEPS))
    weights, arrays = _arrays(program)
    i, f, g, o = np.split(weights["op.bias"], 4)
    assert np.array_equal(arrays["op_2"], np.concatenate([i, f - 1, o, g]))
    assert "forget_bias" not in program.source
    closed = _program(_one("lstm", LSTM(3, forget_bias=0.0), STEPS))
    assert "dy.LSTMBuilder(1, 4, 3, self.pc, forget_bias=0.0)" in closed.source
    weights, arrays = _arrays(closed)
    assert arrays["op_2"].sum() == weights["op.bias"].sum()


def test_steps_stay_a_list_between_layers_that_read_one() -> None:
    words = Embedding(11, 4), LSTM(3, returns="sequence"), LSTM(2), Dense(2)
    source = _program(_words("words", *words)).source
    assert "for words in x.T]" in source
    assert "inputTensor(x.T" not in source
    assert "dy.pick(" not in source and "concatenate_cols" not in source
    rows = _program(_one("rnn", SimpleRNN(3), STEPS)).source
    assert "steps = [dy.pick(x, t, 1) for t in range(5)]" in rows


def test_padding_is_finite() -> None:
    source = _program(_one("pool", MaxPool((3, 3), 2, 1), EVEN)).source
    assert "x = pad(x, [(1, 1), (1, 1)], np.finfo(np.float32).min)" in source
    assert "inf" not in source.replace("finfo", "")


def test_padding_that_dynet_has_a_word_for() -> None:
    same = _program(_one("same", Conv(4, (3, 3), padding=1), IMAGE)).source
    assert "[1, 1], is_valid=False)" in same and "def pad" not in same
    strided = _program(_one("stride", Conv(4, (3, 3), 2, 1), IMAGE)).source
    assert "x = pad(x, [(1, 1), (1, 1)])" in strided and "is_valid" not in strided


def test_only_training_drops() -> None:
    source = _program(CASES["mlp"]).source
    assert "def __call__(self, x, training=False):" in source
    assert "        if training:\n            x = dy.dropout(x, 0.2)" in source
    assert "model(x, training=True)" in source
    plain = _program(_chain("plain", STEPS, Dense(4), Relu())).source
    assert "training=" not in plain
    first = _program(_one("drop", Dropout(0.4), STEPS)).source
    assert "        if training:\n            x = dy.dropout(x, 0.4)" in first


def test_what_dynet_lacks() -> None:
    with pytest.raises(GapError, match="no batch normalization"):
        emit(workloads.get("resnet50-features"), backends.get("dynet"))
    for optimizer in (
        SGD(0.1, 0.9, nesterov=True),
        SGD(0.1, weight_decay=0.1),
        Adam(0.1, weight_decay=0.1),
    ):
        with pytest.raises(GapError):
            _program(CASES["mlp"], optimizer)
    with pytest.raises(GapError, match="dilation"):
        _program(CASES["conv-2d-dilation"])
    assert backends.get("dynet").dtypes == ("float32",)

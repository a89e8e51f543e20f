"""What is peculiar to the programs in Caffe2."""

from __future__ import annotations

import re
from typing import Any

import pytest

from cases import CASES
from netglot import backends, workloads
from netglot.data import DataSpec
from netglot.emit import GapError, Settings, emit
from netglot.graph import Builder, Graph
from netglot.ops import GRU, LSTM, Dense
from netglot.recipe import (
    SGD,
    Adam,
    Initializers,
    MeanSquaredError,
    Optimizer,
    Recipe,
    SoftmaxCrossEntropy,
    Uniform,
)
from netglot.workloads import Workload

CAFFE2 = backends.get("caffe2")


def _source(name: str, **settings: Any) -> str:
    return emit(workloads.get(name), CAFFE2, Settings(**settings)).source


def _workload(graph: Graph, recipe: Recipe | None = None) -> Workload:
    recipe = recipe or Recipe(MeanSquaredError(), SGD(0.1), batch_size=3, epochs=1)
    data = DataSpec("case", "features", (1,), None)
    return Workload(graph.name, graph.name, graph, recipe, data)


def _case(name: str, optimizer: Optimizer | None = None) -> str:
    recipe = Recipe(MeanSquaredError(), optimizer or SGD(0.1), batch_size=3, epochs=1)
    return emit(_workload(CASES[name].graph, recipe), CAFFE2).source


def test_two_nets_share_their_weights() -> None:
    """Operators are for training or for testing, so there is a net for each."""
    source = _source("mnist-cnn")
    assert 'model_helper.ModelHelper("train", arg_scope={"is_test": False})' in source
    assert '"predict", arg_scope={"is_test": True}, init_params=False' in source
    # Nothing of LeNet asks.
    assert "is_test" not in _source("mnist-lenet")


def test_momentum_is_not_nesterovs_unless_asked() -> None:
    plain, nesterov = SGD(0.1, momentum=0.9), SGD(0.1, momentum=0.9, nesterov=True)
    assert "momentum=0.9, nesterov=False)" in _case("mlp", plain)
    assert "momentum=0.9)" in _case("mlp", nesterov)
    assert "nesterov" not in _case("mlp")


def test_the_iteration_of_adam_grows_after_the_update() -> None:
    source = _source("mnist-fcn")
    start = source.index('"optimizer_iteration"')
    update = source.index("optimizer.build_adam(")
    assert start < update < source.index("trainer.net.Iter(iteration, iteration)")
    assert "iteration" not in _source("cifar-vgg")


def test_every_operator_draws_its_own_random_numbers() -> None:
    assert "op.device_option.random_seed = rng.randint(2**31)" in _source("cifar-vgg")


def test_it_does_not_tell_how_it_was_compiled() -> None:
    for name in ("cifar-vgg", "resnet50-features"):
        line = 'core.GlobalInit(["caffe2", "--caffe2_log_level=3"])'
        assert line in _source(name)


def test_a_layer_without_bias_freezes_it() -> None:
    assert "freeze_bias=True" in _case("dense-no-bias")
    assert "freeze_bias" not in _case("dense")


def test_all_rows_of_an_embedding_have_a_gradient() -> None:
    source = _source("imdb-gru")
    assert "FlattenToVec" in source and "dense_gradient=True" in source
    assert 'embedding(model, x, "embedding", 30000, 125, steps=150)' in source


def test_gates_of_a_gru_have_matrices_of_their_own() -> None:
    program = emit(workloads.get("imdb-gru"), CAFFE2)
    assert program.forms["GRU"] == "reset after, bias two"
    held = {w.path: w for w in program.weights}
    assert held["gru/i2h_w"].sources == ("gru.kernel",)
    gates = {"reset": "r", "update": "z", "output": "n"}
    for name, gate in gates.items():
        weight = held[f"gru/{name}_gate_t_w"]
        assert weight.gates == ("rzn", gate) and weight.shape == (100, 100)
    # They are drawn as parts of one matrix.
    assert "fan_out *= 3" in program.source
    assert "fan_out *= 3" not in _source("imdb-lstm")


def test_a_gru_in_its_older_form() -> None:
    net = Builder("older")
    x = net.input("x", "NTF", (5, 4))
    x = net.add(GRU(3, reset="before"), x, name="gru")
    assert "linear_before_reset" not in emit(_workload(net.graph(x)), CAFFE2).source
    assert "linear_before_reset=True" in _source("imdb-gru")


def test_the_forget_gate_of_an_lstm_is_opened_by_an_argument() -> None:
    program = emit(workloads.get("imdb-lstm"), CAFFE2)
    assert "forget_bias=1.0" in program.source
    held = {w.path: w for w in program.weights}
    assert held["lstm/i2h_b"].offset == {"f": 1.0}
    assert held["lstm/i2h_b"].gates == ("ifgo", "ifog")
    assert not held["lstm/gates_t_b"].offset


def test_a_cell_is_told_which_of_its_outputs_is_read() -> None:
    net = Builder("last")
    x = net.input("x", "NTF", (5, 4))
    x = net.add(LSTM(3, bias="two", returns="sequence"), x, name="first")
    x = net.add(LSTM(3, bias="two"), x, name="second")
    source = emit(_workload(net.graph(x)), CAFFE2).source
    assert source.count("outputs_with_grads=[1]") == 1
    assert "x, _, _, _ = rnn_cell.LSTM(" in source
    assert "_, x, _, _ = rnn_cell.LSTM(" in source


def test_only_what_reads_backwards_is_reversed() -> None:
    net = Builder("backwards")
    x = net.input("x", "NTF", (5, 4))
    x = net.add(GRU(3, direction="backward"), x, name="gru")
    assert "def reverse(" in emit(_workload(net.graph(x)), CAFFE2).source
    assert "def reverse(" not in _source("imdb-gru")


def test_batch_norm_of_rows_has_one_pixel() -> None:
    source = _case("batch-norm-features")
    assert 'model.net.ExpandDims(x, "op_pixel", dims=[2])' in source
    assert "ExpandDims" not in _case("batch-norm-odd")


def test_of_equal_values_in_a_window_each_has_the_gradient() -> None:
    assert emit(workloads.get("mnist-cnn"), CAFFE2).forms["MaxPool"] == "ties all"
    with pytest.raises(GapError, match="ties='all'"):
        _source("mnist-cnn", exact_form=True)


def test_windows_that_hang_over_are_padding() -> None:
    assert "pads=[0, 0, 1, 1]" in _case("max-pool-2d-ceil")
    counted = _case("avg-pool-2d-ceil-counted")
    assert "PadImage" in counted and "count_include_pad" not in counted
    assert "count_include_pad=True" in _case("avg-pool-2d-counted")


def test_minus_one_is_the_end_of_a_slice() -> None:
    assert "starts=[0, -2, 0], ends=[-1, -1, -1]" in _case("slice-last")


def test_the_rate_is_stated_where_dropout_is_off() -> None:
    assert "ratio=0.0)" in _source("mnist-cnn", dropout=False)


def test_blobs_of_the_program_keep_clear_of_those_of_the_network() -> None:
    net = Builder("names")
    x = net.input("x", "NF", (4,))
    for name in ("data", "label", "softmax", "loss"):
        x = net.add(Dense(4), x, name=name)
    recipe = Recipe(SoftmaxCrossEntropy(), SGD(0.1), batch_size=3, epochs=1)
    source = emit(_workload(net.graph(x), recipe), CAFFE2).source
    assert 'AddExternalInputs("data_", "label_")' in source
    assert '["softmax_", "loss_"]' in source
    assert source.count('"data"') == 1
    assert 'workspace.FetchBlob("loss_")' in source
    assert 'workspace.FetchBlob("loss")' in source  # The scores.


def test_a_network_may_be_called_as_a_layer_is() -> None:
    source = _case("embedding")
    assert "def embedding_network(model, x):" in source
    assert re.search(r"scores = embedding_network\(trainer, data\)", source)


def test_other_initial_weights_are_given_to_the_layers() -> None:
    inits = Initializers(kernel=Uniform(0.1), bias=Uniform(0.2))
    recipe = Recipe(MeanSquaredError(), SGD(0.1), 3, 1, inits)
    source = emit(_workload(CASES["mlp"].graph, recipe), CAFFE2).source
    assert 'weight_init=("UniformFill", {"min": -0.1, "max": 0.1})' in source
    assert 'bias_init=("UniformFill", {"min": -0.2, "max": 0.2})' in source
    assert "GlorotUniform" not in source


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("upsample-bilinear", "corners on corners"),
        ("slice-step", "every value"),
        ("pad-1d", "images alone"),
        ("rnn", "bias on each product"),
        ("conv-transpose-2d-dilation", "no dilation"),
        ("batch-norm-plain", "both a scale and a shift"),
        ("attention", "no multi-head attention"),
    ],
)
def test_gaps(name: str, reason: str) -> None:
    with pytest.raises(GapError, match=reason):
        _case(name)


@pytest.mark.parametrize(
    ("optimizer", "reason"),
    [
        (SGD(0.1, weight_decay=0.1), "leaves biases alone"),
        (Adam(0.1, weight_decay=0.1), "no decoupled weight decay"),
    ],
)
def test_gaps_of_optimizers(optimizer: Optimizer, reason: str) -> None:
    with pytest.raises(GapError, match=reason):
        _case("mlp", optimizer)

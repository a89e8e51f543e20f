"""What is peculiar to Gluon: sizes found out, layers that default otherwise."""

from __future__ import annotations

import pytest

from cases import CASES, IMAGE, STEPS, Case, _chain, _one
from netglot import backends, workloads
from netglot.backend import Program
from netglot.data import DataSpec
from netglot.emit import GapError, emit
from netglot.ops import (
    GRU,
    LSTM,
    AvgPool,
    Dense,
    Gelu,
    MaxPool,
    SimpleRNN,
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
from netglot.workloads import Workload

pytestmark = pytest.mark.text

GLUON = backends.get("gluon")


def _program(
    case: Case,
    optimizer: Optimizer | None = None,
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
    return emit(Workload(case.name, case.name, case.graph, recipe, data), GLUON)


def test_layers_are_told_no_sizes_and_find_them_out_in_a_first_batch() -> None:
    source = emit(workloads.get("cifar-vgg"), GLUON).source
    assert "nn.Conv2D(100, kernel_size=3" in source and "in_channels" not in source
    assert "model(nd.zeros((1, 3, 32, 32), ctx=CTX))" in source
    groups = _program(CASES["conv-transpose-2d-groups"]).source
    assert "groups=2, in_channels=4" in groups


def test_a_dense_layer_flattens_unless_told_otherwise() -> None:
    assert "nn.Dense(3, flatten=False)" in _program(CASES["dense-sequence"]).source
    assert "nn.Dense(4)" in _program(CASES["dense"]).source


def test_half_of_the_squared_error_is_its_own_loss() -> None:
    source = emit(workloads.get("mnist-autoencoder"), GLUON).source
    assert "gluon.loss.L2Loss(weight=2)" in source


def test_the_step_divides_by_the_batch() -> None:
    source = emit(workloads.get("mnist-lenet"), GLUON).source
    assert "trainer.step(len(x))" in source


def test_the_loss_is_taken_of_float64() -> None:
    """In float32 the gradient would be off by 5e-6, and Adam makes much of it."""
    source = emit(workloads.get("mnist-rnn"), GLUON).source
    assert 'loss_fn(model(x).astype("float64"), y)' in source


def test_weights_are_set_to_arrays_of_its_own() -> None:
    """OneDNN may hold them in a layout that a NumPy array cannot be written into."""
    source = emit(workloads.get("mnist-cnn"), GLUON).source
    assert "set_data(nd.array(arrays[name]))" in source


def test_selu_is_made_of_elu_whose_gradient_is_right() -> None:
    source = _program(CASES["selu"]).source
    assert 'act_type="elu", slope=1.6732632423543772' in source
    assert '"selu"' not in source


def test_a_plain_recurrent_layer_has_relu_unless_told_otherwise() -> None:
    tanh = _program(_one("plain", SimpleRNN(3, bias="two"), STEPS)).source
    assert 'rnn.RNN(3, activation="tanh", layout="NTC")' in tanh
    relu = _program(_one("plain", SimpleRNN(3, "relu", bias="two"), STEPS)).source
    assert 'rnn.RNN(3, layout="NTC")' in relu


@pytest.mark.parametrize(("bias", "fixed"), [("one", ".*h2h_bias"), ("none", ".*bias")])
def test_a_bias_that_is_not_there_is_not_trained(bias: str, fixed: str) -> None:
    program = _program(_one("bias", GRU(3, bias=bias), STEPS))
    line = f'self.op.collect_params("{fixed}").setattr("grad_req", "null")'
    assert line in program.source
    saved = {weight.path for weight in program.weights}
    assert "op._unfused.0.h2h_bias" not in saved
    assert ("op._unfused.0.i2h_bias" in saved) == (bias == "one")


def test_the_forget_gate_opens_where_there_is_a_bias() -> None:
    def start(layer: LSTM) -> str:
        return _program(_one("forget", layer, STEPS)).source

    assert "i2h_bias_initializer=mx.init.LSTMBias()" in start(LSTM(3, bias="two"))
    half = LSTM(3, bias="two", forget_bias=0.5)
    assert "i2h_bias_initializer=mx.init.LSTMBias(0.5)" in start(half)
    assert "LSTMBias" not in start(LSTM(3, bias="none"))


def test_the_last_step_is_sliced() -> None:
    """``SequenceLast`` writes where it must not in training."""
    source = emit(workloads.get("imdb-gru"), GLUON).source
    assert "x.slice_axis(axis=1, begin=-1, end=None).squeeze(axis=1)" in source


def test_the_gru_of_another_form_is_a_gap() -> None:
    for name in ("gru-before-two", "gru-after-candidate"):
        with pytest.raises(GapError, match="GRU"):
            _program(CASES[name])


def test_a_last_window_does_not_begin_in_the_padding() -> None:
    source = _program(CASES["max-pool-2d-ceil-padding"]).source
    assert "constant_value=-np.inf" in source and "ceil_mode" not in source
    plain = _program(_one("ceil", MaxPool((2, 3), 2, ceil=True), IMAGE)).source
    assert "ceil_mode=True" in plain
    with pytest.raises(GapError, match="begins outside"):
        _program(_one("ceil", AvgPool((2, 2), 2, 1, ceil=True), IMAGE))


def test_padding_counts_in_a_mean_unless_told_otherwise() -> None:
    ignored = _program(_one("mean", AvgPool((3, 3), 2, 1), IMAGE)).source
    assert "count_include_pad=False" in ignored
    counted = AvgPool((3, 3), 2, 1, count_padding=True)
    assert "count_include_pad" not in _program(_one("mean", counted, IMAGE)).source


def test_series_are_padded_as_images() -> None:
    source = _program(CASES["pad-1d"]).source
    assert "x.expand_dims(axis=2)" in source and "x.squeeze(axis=2)" in source
    assert "pad_width=(0, 0, 0, 0, 0, 0, 2, 1)" in source


def test_what_has_different_shapes_is_repeated_by_a_function_of_its_own() -> None:
    assert "F.broadcast_add(" in _program(CASES["add-broadcast"]).source
    assert "F.broadcast" not in _program(CASES["add"]).source


def test_what_is_read_three_times_is_computed_once() -> None:
    case = _chain("gelu", STEPS, Dense(4), Gelu(approximate=True))
    source = _program(case).source
    assert source.count("self.dense1(x)") == 1


def test_a_network_is_not_named_as_a_helper() -> None:
    source = _program(CASES["group-norm"]).source
    assert "class GroupNorm(nn.HybridBlock):" in source
    assert "class GroupNormNetwork(nn.HybridBlock):" in source


def test_initializers_by_role() -> None:
    inits = Initializers(kernel=Uniform(0.1), embedding=Uniform(0.2))
    source = _program(CASES["words-gru"], initializers=inits).source
    assert "model.initialize(mx.init.Uniform(0.1), ctx=CTX)" in source
    assert "weight_initializer=mx.init.Uniform(0.2)" in source
    assert "h2h_weight_initializer=mx.init.Xavier()" in source
    same = Initializers(Uniform(0.1), Uniform(0.1), embedding=Uniform(0.1))
    source = _program(CASES["words-gru"], initializers=same).source
    assert source.count("mx.init.") == 1


@pytest.mark.parametrize(
    ("optimizer", "written"),
    [
        (SGD(0.1), '"sgd", {"learning_rate": 0.1}'),
        (SGD(0.1, 0.9), '"sgd", {"learning_rate": 0.1, "momentum": 0.9}'),
        (SGD(0.1, 0.9, True), '"nag", {"learning_rate": 0.1, "momentum": 0.9}'),
        (SGD(0.1, weight_decay=0.3), '"sgd", {"learning_rate": 0.1, "wd": 0.3}'),
        (Adam(0.1, 0.5), '"adam", {"learning_rate": 0.1, "beta1": 0.5}'),
    ],
)
def test_optimizers(optimizer: Optimizer, written: str) -> None:
    source = " ".join(_program(CASES["mlp"], optimizer).source.split())
    assert written in source


@pytest.mark.parametrize(
    "optimizer", [SGD(0.1, 0.9, True, 0.3), Adam(0.1, weight_decay=0.1)]
)
def test_decay_that_its_optimizers_do_not_have(optimizer: Optimizer) -> None:
    with pytest.raises(GapError, match="weight decay"):
        _program(CASES["mlp"], optimizer)


def test_it_is_judged_in_float32() -> None:
    """Its operators round rates, momentum and slopes, whatever the arrays are."""
    assert GLUON.dtypes == ("float32",)

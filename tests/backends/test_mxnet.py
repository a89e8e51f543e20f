"""What is peculiar to MXNet's symbols and its Module."""

from __future__ import annotations

import pytest

from cases import CASES, STEPS, Case, _one
from netglot import backends, workloads
from netglot.backend import Program
from netglot.data import DataSpec
from netglot.emit import GapError, emit
from netglot.ops import LSTM, BatchNorm, LayerNorm
from netglot.recipe import (
    SGD,
    Initializers,
    MeanSquaredError,
    Optimizer,
    Recipe,
    Uniform,
)
from netglot.workloads import Workload

pytestmark = pytest.mark.text

MXNET = backends.get("mxnet")


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
    return emit(Workload(case.name, case.name, case.graph, recipe, data), MXNET)


def test_it_shares_the_environment_of_gluon() -> None:
    assert MXNET.env == backends.get("gluon").env


def test_a_dense_layer_is_not_made_one_with_its_relu() -> None:
    """Where another layer reads it too, as in a trace, the relu would be wrong."""
    assert MXNET.env.variables["MXNET_DISABLE_MKLDNN_FUSE_FC_ELTWISE"] == "1"


def test_the_scale_of_a_batch_norm_is_learned() -> None:
    """``fix_gamma`` is true unless told otherwise, and epsilon 1e-3."""
    source = emit(workloads.get("resnet50-features"), MXNET).source
    assert 'mx.sym.BatchNorm(x, fix_gamma=False, eps=1e-5, name="norm1")' in source
    own = _program(_one("norm", BatchNorm(0.9, 1e-3), ("NF", (4,)))).source
    assert 'mx.sym.BatchNorm(data, fix_gamma=False, name="op")' in own


@pytest.mark.parametrize("norm", [BatchNorm, LayerNorm])
def test_what_is_not_learned_is_no_variable(norm: type) -> None:
    case = _one("norm", norm(scale=False, shift=False), ("NF", (4,)))
    program = _program(case)
    assert "gamma=mx.sym.ones((4,))" in program.source
    assert "beta=mx.sym.zeros((4,))" in program.source
    assert not any("gamma" in weight.path for weight in program.weights)


def test_a_transposed_convolution_is_told_of_its_bias() -> None:
    assert "no_bias=False" in _program(CASES["conv-transpose-2d"]).source
    without = _program(CASES["conv-transpose-2d-uneven"]).source
    assert "no_bias" not in without
    assert "no_bias" not in _program(CASES["conv-2d"]).source


def test_the_gradient_of_a_mean_is_not_divided_again() -> None:
    source = emit(workloads.get("cifar-vgg"), MXNET).source
    assert '"rescale_grad": 1}' in source


def test_biases_decay_as_other_weights() -> None:
    source = _program(CASES["mlp"], SGD(0.1, 0.9, weight_decay=0.3)).source
    assert "optimizer=mx.optimizer.SGD(" in source and "wd=0.3" in source
    assert "optimizer_params" not in source


def test_a_loss_is_kept_though_the_next_batch_overwrites_it() -> None:
    source = emit(workloads.get("mnist-autoencoder"), MXNET).source
    assert "return error.copy()" in source
    source = emit(workloads.get("mnist-cnn"), MXNET).source
    assert "return -nd.pick(probabilities, y).log().mean()" in source


def test_the_gradient_of_a_softmax_is_exact() -> None:
    """That of oneDNN's log_softmax would be off by 5e-6."""
    source = emit(workloads.get("mnist-rnn"), MXNET).source
    assert (
        'mx.sym.SoftmaxOutput(scores, normalization="batch", name="softmax")' in source
    )
    assert "log_softmax" not in source


def test_the_stride_of_a_pool_is_stated() -> None:
    """Left out, it is 1."""
    assert "kernel=(2, 2), stride=(2, 2)" in _program(CASES["max-pool-2d"]).source


def test_weights_of_the_fused_layer_are_matrices_of_their_own() -> None:
    program = emit(workloads.get("imdb-gru"), MXNET)
    paths = {weight.path: weight for weight in program.weights}
    assert paths["gru_i2h_weight"].shape == (300, 125)
    assert paths["gru_h2h_bias"].sources == ("gru.recurrent_bias",)
    assert 'x = gru(x, 125, 100, name="gru")' in program.source
    both = _program(CASES["gru-both"])
    assert {"op_l_i2h_weight", "op_r_i2h_weight"} <= {w.path for w in both.weights}


def test_a_bias_that_is_not_there_is_zeros() -> None:
    one, none = (_program(CASES[f"gru-after-{n}"]).source for n in ("one", "none"))
    assert "def gru_one_bias(" in one and one.count("mx.sym.zeros((3 * units,))") == 1
    assert "def gru_no_bias(" in none and none.count("mx.sym.zeros((3 * units,))") == 2
    assert "LSTMBias" not in _program(CASES["lstm-no-bias"]).source


def test_the_forget_gate_opens() -> None:
    source = _program(_one("forget", LSTM(3, forget_bias=0.5), STEPS)).source
    assert "forget_bias=0.5" in source and "mx.init.LSTMBias(forget_bias)" in source


def test_a_network_is_not_named_as_a_helper() -> None:
    source = _program(CASES["gru"]).source
    assert "def gru(x, features, units, name):" in source
    assert "def gru_network():" in source


def test_initializers_by_role() -> None:
    inits = Initializers(Uniform(0.1), Uniform(0.1), bias=Uniform(0.3))
    source = _program(CASES["mlp"], initializers=inits).source
    assert "model.init_params(mx.init.Uniform(0.1))" in source
    assert 'mx.sym.Variable("dense1_bias", init=mx.init.Uniform(0.3))' in source
    with pytest.raises(GapError, match="start at 0"):
        _program(CASES["gru"], initializers=inits)

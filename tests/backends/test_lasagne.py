"""What is peculiar to Lasagne: turned filters, its gates, names, what it lacks."""

from __future__ import annotations

import numpy as np
import pytest

from cases import CASES, IMAGE, ROW, STEPS, Case, _chain, _one
from netglot import backends, reference, workloads
from netglot.backend import Program
from netglot.data import DataSpec
from netglot.emit import GapError, emit
from netglot.ops import GRU, LSTM, Conv, Dense, LayerNorm, Relu, Silu
from netglot.recipe import SGD, Adam, Initializers, MeanSquaredError, Optimizer, Recipe
from netglot.weights import from_program, to_program
from netglot.workloads import Workload

pytestmark = pytest.mark.text


def _program(case: Case, optimizer: Optimizer | None = None) -> Program:
    recipe = Recipe(MeanSquaredError(), optimizer or SGD(0.1), batch_size=3, epochs=1)
    data = DataSpec("case", "features", (1,), 2)
    workload = Workload(case.name, case.name, case.graph, recipe, data)
    return emit(workload, backends.get("lasagne"))


def test_filters_are_kept_turned_round() -> None:
    program = _program(_one("turned", Conv(4, (3, 2)), IMAGE))
    weights = reference.initial_weights(program.graph, Initializers(), 0)
    arrays = to_program(program, weights)
    kernel = weights["op.kernel"][:, :, ::-1, ::-1]
    assert np.allclose(arrays["op.W"], kernel)
    back = from_program(program, {k: v.astype(float) for k, v in arrays.items()})
    assert np.allclose(back["op.kernel"], weights["op.kernel"])


def test_its_update_gate_says_how_much_is_new() -> None:
    program = _program(_one("gru", GRU(3, bias="one"), STEPS))
    weights = reference.initial_weights(program.graph, Initializers(), 0)
    arrays = to_program(program, weights)
    reset, update, new = np.split(weights["op.kernel"].T, 3, axis=1)
    assert np.allclose(arrays["op.W_in_to_resetgate"], reset)
    assert np.allclose(arrays["op.W_in_to_updategate"], -update)
    assert np.allclose(arrays["op.W_in_to_hidden_update"], new)
    back = from_program(program, arrays)
    assert all(np.allclose(back[k], weights[k], atol=1e-6) for k in weights)
    # Its initial state would be learned.
    assert "learn_init=False" in program.source


def test_an_lstm_has_no_peepholes_and_starts_open() -> None:
    source = _program(_one("lstm", LSTM(3), STEPS)).source
    assert "peepholes=False" in source
    assert "forgetgate=gate(4, 3, 4, b=Constant(1.0))" in source
    assert "cell=gate(4, 3, 4, nonlinearity=tanh)" in source


def test_a_layer_has_no_activation_unless_it_is_told() -> None:
    source = _program(_chain("plain", ROW, Dense(4), Relu(), Dense(3))).source
    assert 'num_units=4, nonlinearity=rectify, name="dense1")' in source
    assert 'num_units=3, nonlinearity=None, name="dense2")' in source
    # The slope of its own at 0 is 0.5.
    assert "return T.maximum(0, x)" in source


def test_activations_without_a_layer_are_functions() -> None:
    source = _program(_chain("silu", ROW, Dense(3), Silu())).source
    assert "NonlinearityLayer(x, nonlinearity=lambda x: x * sigmoid(x))" in source


def test_every_weight_has_a_name_of_its_own() -> None:
    """Its RecurrentLayer would call two weights the same."""
    for name in ("rnn-relu", "rnn-both", "lstm-both", "residual"):
        program = _program(CASES[name])
        paths = [weight.path for weight in program.weights]
        assert len(set(paths)) == len(paths)
    assert "CustomRecurrentLayer(" in _program(CASES["rnn-relu"]).source


def test_a_dense_layer_would_flatten_a_sequence() -> None:
    source = _program(CASES["dense-sequence"]).source
    assert "x = ReshapeLayer(x, (-1, 4))" in source
    assert "ReshapeLayer(x, (-1, 5, 3))" in source


def test_batch_norm_is_a_layer_of_the_program() -> None:
    trained = _program(CASES["batch-norm"]).source
    assert 'updates.update(getattr(layer, "updates", []))' in trained
    forward = emit(workloads.get("resnet50-features"), backends.get("lasagne")).source
    assert "class BatchNormLayer(Layer):" in forward and "updates" not in forward


def test_only_what_is_used_is_imported() -> None:
    source = emit(workloads.get("mnist-autoencoder"), backends.get("lasagne")).source
    assert "from lasagne.layers import DenseLayer, InputLayer" in source
    assert "from lasagne.updates import adam\n" in source
    assert "momentum" not in source and "tanh" not in source


def test_decay_is_a_penalty() -> None:
    source = _program(CASES["dense"], SGD(0.1, weight_decay=0.02)).source
    assert "loss + 0.01 * apply_penalty(parameters, l2)" in source
    with pytest.raises(GapError, match="no weight decay"):
        _program(CASES["dense"], Adam(0.1, weight_decay=0.01))


def test_what_it_lacks_is_said() -> None:
    with pytest.raises(GapError, match="no layer for it"):
        _program(_one("norm", LayerNorm(), ROW))
    with pytest.raises(GapError, match="form reset='after'"):
        _program(CASES["gru-before-one"])


def test_a_border_that_never_wins_is_one_of_numpys() -> None:
    source = _program(CASES["max-pool-2d-uneven"]).source
    assert "PadLayer(" in source and "val=-np.inf" in source

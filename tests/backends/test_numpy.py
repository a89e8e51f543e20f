"""What is peculiar to the programs in NumPy: their layers are written in them."""

from __future__ import annotations

import types
from collections import Counter
from typing import Any

import autograd.core
import numpy as np
import pytest

from cases import CASES
from netglot import backends, workloads
from netglot.data import DataSpec
from netglot.emit import Settings, emit
from netglot.graph import Builder
from netglot.ops import BatchNorm, Conv, Dropout, GlobalAvgPool, Multiply, Relu
from netglot.recipe import SGD, MeanSquaredError, Recipe
from netglot.workloads import Workload

NUMPY = backends.get("numpy")


def _source(name: str, **settings: Any) -> str:
    return emit(workloads.get(name), NUMPY, Settings(**settings)).source


def _workload(graph: Any, optimizer: Any = None) -> Workload:
    recipe = Recipe(MeanSquaredError(), optimizer or SGD(0.1), batch_size=3, epochs=1)
    data = DataSpec("case", "features", (1,), None)
    return Workload(graph.name, graph.name, graph, recipe, data)


def _module(workload: Workload, **settings: Any) -> Any:
    module = types.ModuleType("program")
    exec(emit(workload, NUMPY, Settings(**settings)).source, module.__dict__)
    return module


def _net(*ops: Any) -> Any:
    net = Builder("net")
    x = net.input("x", "NCHW", (4, 6, 5))
    for op in ops:
        x = net.add(op, x)
    return net.graph(x)


def test_a_layer_is_one_line():
    source = _source("cifar-vgg")
    assert 'x = relu(conv(x, w["conv1.kernel"], w["conv1.bias"], padding=1))' in source
    assert "x = dropout(x, 0.25, noise)" in source


def test_only_the_layers_that_are_used():
    source = _source("mnist-fcn")
    assert "def dense(" in source
    assert "def conv(" not in source
    assert "primitive" not in source


def test_nothing_is_traced_where_nothing_is_trained():
    source = _source("resnet50-features")
    assert "autograd" not in source
    assert "training" not in source
    assert "import numpy as np" in source


def test_blocks_are_told_what_they_read():
    source = _source("resnet50-features")
    assert "def projection_bottleneck(w, x, stride):" in source
    assert "def projection_bottleneck_weights(rng, in_channels, channels):" in source
    assert 'x = bottleneck(part(w, f"stage1.{i}"), x)' in source


def test_a_value_is_not_named_like_a_layer():
    net = Builder("net")
    x = net.input("x", "NCHW", (4, 6, 5))
    y = net.add(Relu(), x, name="first")
    z = net.add(Conv(4, (1, 1)), x, name="second")
    mean = net.add(Conv(4, (1, 1)), x, name="mean")
    y = net.add(Multiply(), net.add(Multiply(), y, z), mean)
    y = net.add(Multiply(), y, x)
    source = emit(_workload(net.graph(net.add(GlobalAvgPool(), y))), NUMPY).source
    assert "mean_ = conv(" in source


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_weight_is_an_array_of_its_own(dtype):
    graph = _net(Conv(3, (1, 1)), BatchNorm(), Relu(), BatchNorm())
    model, _ = _module(_workload(graph), dtype=dtype).build()
    arrays = list(model.values())
    assert {array.dtype.name for array in arrays} == {dtype}
    assert not any(
        np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i]
    )


def test_decay_leaves_running_statistics_alone():
    graph = _net(Conv(3, (1, 1)), BatchNorm(momentum=1.0))
    module = _module(_workload(graph, SGD(0.1, weight_decay=0.5)))
    model, optimizer = module.build()
    x = np.ones((3, 6, 5, 4), np.float32)
    module.train_step(model, optimizer, x, module.predict(model, x) + 1)
    assert (model["batchnorm1.variance"] == 1).all()
    assert (model["batchnorm1.scale"] < 1).all()


def test_dropout_drops_in_training_alone():
    module = _module(_workload(_net(Conv(2, (1, 1)), Dropout(0.25))))
    model, _, noise = module.build()
    x = np.ones((50, 6, 5, 4), np.float32)
    whole = module.network(model, x)
    dropped = module.network(model, x, noise=noise)
    assert 0.2 < (dropped == 0).mean() < 0.3
    np.testing.assert_allclose(dropped.mean(), whole.mean(), rtol=0.1)


@pytest.mark.parametrize(
    "name", ["vgg", "branches", "words-gru", "lstm-both", "encoder", "autoencoder"]
)
def test_gradients_stay_in_float32(name, monkeypatch):
    case = CASES[name]
    module = _module(_workload(case.graph))
    found: Counter[str] = Counter()
    add = autograd.core.add_outgrads

    def watch(before: Any, gradient: Any) -> Any:
        found[str(getattr(gradient, "dtype", ""))] += 1
        return add(before, gradient)

    monkeypatch.setattr(autograd.core, "add_outgrads", watch)
    (x,) = case.inputs().values()
    if x.ndim == 4:
        x = x.transpose(0, 2, 3, 1)
    x = x.astype(np.float32) if x.dtype.kind == "f" else x
    state = module.build()
    y = np.zeros_like(module.predict(state[0], x))
    module.train_step(*state, x, y)
    assert found["float32"]
    assert not found["float64"]


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("gru", "n = np.tanh(xn + r * hn)"),
        ("gru-after-candidate", 'n = np.tanh(xn + r * (hn + w["recurrent_bias"]))'),
        ("gru-before-one", "n = np.tanh(xn + (r * h) @ candidate)"),
        ("gru-before-two", "n = np.tanh(xn + (r * h) @ candidate + candidate_bias)"),
        ("rnn-relu", "h = relu("),
    ],
)
def test_recurrent_layers_say_their_form(form, text):
    assert text in emit(_workload(CASES[form].graph), NUMPY).source

"""What is peculiar to the programs in Caffe."""

from __future__ import annotations

from typing import Any

import pytest

from cases import CASES
from netglot import backends, workloads
from netglot.data import DataSpec
from netglot.emit import GapError, emit
from netglot.graph import Builder, Graph
from netglot.ops import (
    AvgPool,
    BatchNorm,
    Conv,
    Dense,
    Flatten,
    MaxPool,
    Op,
    Relu,
    Sigmoid,
    Softplus,
    Tanh,
)
from netglot.recipe import SGD, Adam, MeanSquaredError, Optimizer, Recipe
from netglot.workloads import Workload

CAFFE = backends.get("caffe")
pytestmark = pytest.mark.text


def _workload(graph: Graph, optimizer: Optimizer | None = None) -> Workload:
    recipe = Recipe(MeanSquaredError(), optimizer or SGD(0.1), batch_size=3, epochs=1)
    data = DataSpec("case", "features", (1,), None)
    forms: Any = {"BatchNorm": ({"unbiased": True},)}
    return Workload(graph.name, graph.name, graph, recipe, data, forms=forms)


def _case(name: str, optimizer: Optimizer | None = None) -> str:
    return emit(_workload(CASES[name].graph, optimizer), CAFFE).source


def _chain(shape: tuple[int, ...], *ops: Op) -> str:
    net = Builder("chain")
    x = net.input("x", "NF" if len(shape) == 1 else "NCHW", shape)
    for op in ops:
        x = net.add(op, x)
    return emit(_workload(net.graph(x)), CAFFE).source


def _source(name: str) -> str:
    return emit(workloads.get(name), CAFFE).source


def test_a_pool_keeps_the_window_that_hangs_over_unless_told() -> None:
    assert "round_mode" not in _chain((3, 8, 8), MaxPool((2, 2)))
    assert "round_mode=P.Pooling.FLOOR" in _chain((3, 8, 7), MaxPool((2, 2)))
    assert "round_mode" not in _chain((3, 8, 7), MaxPool((2, 2), ceil=True))


def test_padding_counts_in_a_mean() -> None:
    assert "pad=1" in _chain((3, 8, 8), AvgPool((2, 2), 2, 1, count_padding=True))
    with pytest.raises(GapError, match="padding counts in its means"):
        _chain((3, 8, 8), AvgPool((2, 2), 2, 1))


def test_an_activation_is_written_over_what_nobody_looks_at() -> None:
    assert "L.ReLU(n.dense1, in_place=True)" in _chain((4,), Dense(3), Relu(), Dense(2))
    # The last value is the network's output, and called as its layer.
    assert "n.relu1 = L.ReLU(n.dense1)\n" in _chain((4,), Dense(3), Relu())
    # What a softplus read, and whether a ReLU was 0, the gradients look at again.
    assert "L.BNLL(n.dense1)" in _chain((4,), Dense(3), Softplus(), Dense(2))
    chain = _chain((4,), Dense(3), Relu(), Sigmoid(), Dense(2))
    assert "L.Sigmoid(n.relu1)" in chain
    assert "L.TanH(n.relu1, in_place=True)" in _chain(
        (4,), Dense(3), Relu(), Tanh(), Dense(2)
    )


def test_a_fully_connected_layer_reads_images() -> None:
    chain = _chain((3, 8, 8), Conv(2, (3, 3)), Flatten(), Dense(2))
    assert "Flatten" not in chain
    assert "n.dense1 = L.InnerProduct(n.conv1" in chain
    assert "n.flatten1 = L.Flatten(n.conv1)" in _chain(
        (3, 8, 8), Conv(2, (3, 3)), Flatten()
    )


def test_a_normalisation_is_two_layers_and_keeps_sums() -> None:
    chain = _chain((3, 4, 4), Conv(2, (1, 1)), BatchNorm(0.7, unbiased=True), Relu())
    assert (
        "n.batchnorm1 = L.BatchNorm("
        "n.conv1, moving_average_fraction=0.7, in_place=True)" in chain
    )
    assert "L.Scale(n.batchnorm1, bias_term=True, in_place=True)" in chain
    # So many batches that each next one keeps the share of 0.7.
    assert "weight = blobs[2].data[...] = 1 / (1 - 0.7)" in chain
    assert 'arrays[f"{layer}.{i}"] = blob.data / weight' in chain
    assert "BatchNorm divides its statistics" in _source("resnet50-features")


def test_the_mean_squared_error_is_a_mean_over_features_too() -> None:
    source = _source("mnist-autoencoder")
    assert "L.EuclideanLoss(n.relu4, n.label, loss_weight=2 / 784)" in source
    # The blob holds the loss before its weight.
    assert 'return float(blobs["loss"].data) * 2 / 784' in source


def test_optimizers() -> None:
    nesterov = _case("mlp", SGD(0.1, momentum=0.9, nesterov=True, weight_decay=5e-4))
    assert 'type="Nesterov"' in nesterov
    assert "weight_decay=0.0005" in nesterov
    adam = _case("mlp", Adam(1e-3))
    assert 'type="Adam"' in adam
    # Without a momentum told, Adam's first beta would be 0.
    assert "momentum=0.9" in adam
    assert emit(_workload(CASES["mlp"].graph, Adam(1e-3)), CAFFE).recipe == Recipe(
        MeanSquaredError(), Adam(1e-3, epsilon_form="before"), batch_size=3, epochs=1
    )
    with pytest.raises(GapError, match="adds the decay to the gradient"):
        _case("mlp", Adam(1e-3, weight_decay=0.01))


def test_names_that_a_net_spec_has_itself() -> None:
    net = Builder("names")
    x = net.input("x", "NF", (4,))
    x = net.add(Dense(3), x, name="update")
    x = net.add(Dense(2), x, name="lambda")
    source = emit(_workload(net.graph(x)), CAFFE).source
    assert 'n["update"] = L.InnerProduct(' in source
    assert 'n["lambda"] = L.InnerProduct(' in source


def test_a_block_names_its_layers_under_each_use() -> None:
    source = _source("resnet50-features")
    assert 'y = n[f"{name}/conv1"] = L.Convolution(' in source
    assert 'x = bottleneck(n, f"stage1_{i}", x, channels=64)' in source
    paths = [
        weight.path
        for weight in emit(workloads.get("resnet50-features"), CAFFE).weights
    ]
    assert "stage1_1/norm1_scale.0" in paths


def test_what_knows_four_axes_alone_is_not_written() -> None:
    """Caffe 1.0 does not raise there: it aborts."""
    with pytest.raises(GapError, match="Xavier filler"):
        _case("conv-3d-flatten-dense")
    with pytest.raises(GapError, match="Euclidean loss"):
        _case("batch-norm-3d")


def test_training_is_not_here() -> None:
    assert "only Caffe itself trains" in CAFFE.env.forward_only

"""What is peculiar to the programs in bare JAX."""

from __future__ import annotations

from typing import Any

import pytest

from cases import CASES
from netglot import backends, workloads
from netglot.data import DataSpec
from netglot.emit import Settings, emit
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

JAX = backends.get("jax")


def _source(name: str, **settings: Any) -> str:
    return emit(workloads.get(name), JAX, Settings(**settings)).source


def _case(
    name: str, optimizer: Optimizer | None = None, inits: Initializers | None = None
) -> str:
    recipe = Recipe(
        MeanSquaredError(), optimizer or SGD(0.1), 3, 1, inits or Initializers()
    )
    data = DataSpec("case", "features", (1,), None)
    return emit(Workload(name, name, CASES[name].graph, recipe, data), JAX).source


def test_it_shares_the_environment_of_flax() -> None:
    flax = backends.get("flax")
    assert sorted(JAX.env.requirements) == sorted(flax.env.requirements)
    assert JAX.env.requirements[0].startswith("jax==")
    assert JAX.env.lock == flax.env.lock


def test_layers_have_the_arguments_that_some_use_has() -> None:
    assert "def conv(params, x):" in _source("cifar-vgg")
    assert 'def conv(params, x, padding="SAME"):' in _source("mnist-cnn")
    assert 'conv(params["conv1"], x, padding="VALID")' in _source("mnist-cnn")
    assert ', strides=(1, 1), padding="SAME", **options):' in _case(
        "conv-2d-stride-dilation"
    )
    assert "def max_pool(x, window, strides):" in _source("cifar-vgg")


def test_arrays_that_only_some_layers_have() -> None:
    assert 'params.get("bias", 0)' in _case("residual")
    assert "bias" not in _source("resnet50-features").split("# 4.")[0]
    assert 'params["kernel"] + params["bias"]' in _source("mnist-fcn")


def test_every_random_part_has_a_key_of_its_own() -> None:
    three, one, none = (_source(n) for n in ("cifar-vgg", "mnist-rnn", "mnist-lenet"))
    assert "key1, key2, key3 = split_key(key, 3)" in three
    assert "x = dropout(x, 0.5, key3)" in three
    assert "x = dropout(x, 0.2, key)" in one and "split_key" not in one
    assert "def train_step(model, opt_state, key, x, y):" in one
    assert "def train_step(model, opt_state, x, y):" in none
    assert 'in zip(params["layers"], split_key(key, 2)):' in _case("encoder")


def test_running_statistics_are_new_parameters() -> None:
    trained = _case("residual")
    assert 'y, new["bn1"] = batch_norm(params["bn1"], y, training)' in trained
    assert "optax.apply_updates(new, updates)" in trained
    assert "has_aux=True" in trained
    assert "training" not in _source("resnet50-features").split("# 4.")[0]


@pytest.mark.parametrize(
    "optimizer", [SGD(0.1, weight_decay=0.01), Adam(0.1, weight_decay=0.01)]
)
def test_running_statistics_do_not_decay(optimizer: Optimizer) -> None:
    assert "mask=decays" in _case("batch-norm", optimizer)
    assert "def decays(params):" in _case("batch-norm", optimizer)
    assert "decays" not in _case("dense", optimizer)


def test_adam_has_the_form_of_optax() -> None:
    recipe = Recipe(MeanSquaredError(), Adam(0.1, epsilon_form="before"), 3, 1)
    data = DataSpec("case", "features", (1,), None)
    program = emit(Workload("dense", "", CASES["dense"].graph, recipe, data), JAX)
    assert program.forms["Adam"] == "epsilon form after"


def test_float64_is_that_of_the_whole_program() -> None:
    wide, narrow = _source("imdb-lstm", dtype="float64"), _source("imdb-lstm")
    assert 'jax.config.update("jax_enable_x64", True)' in wide
    assert "float64" not in narrow
    program = Workload(
        "attention",
        "attention",
        CASES["attention"].graph,
        Recipe(MeanSquaredError(), SGD(0.1), 3, 1),
        DataSpec("case", "features", (1,), None),
    )
    assert (
        "x = exact_attention(q, k, v)"
        in emit(program, JAX, Settings(dtype="float64")).source
    )
    assert "x = jax.nn.dot_product_attention(q, k, v)" in emit(program, JAX).source


def test_padding_of_means() -> None:
    assert "avg_pool_inside(x, (3, 3), (2, 2), padding=" in _case("avg-pool-2d-padding")
    counted = _case("avg-pool-2d-counted")
    assert "jnp.pad(" in counted and "avg_pool_inside" not in counted


def test_every_form_of_a_recurrent_layer() -> None:
    assert "x = gru(params[" in _source("imdb-gru")
    assert "(r * h) @ candidate" in _case("gru-before-one")
    assert "jax.nn.sigmoid(x + h @ params" in _case("rnn-sigmoid")
    assert 'gru(params["op"]["backward"], x[:, ::-1])[:, ::-1]' in _case("gru-both")


def test_forget_gates_start_open() -> None:
    bias = '"bias": jnp.zeros(400).at[100:200].set(1.0),  # the forget gate'
    assert bias in _source("imdb-lstm")


def test_random_biases_have_keys_of_their_own() -> None:
    uniform = Uniform(0.1)
    source = _case("dense", inits=Initializers(kernel=uniform, bias=uniform))
    assert "init_layer" not in source
    assert "keys = iter(jax.random.split(key, 2))" in source


def test_kernels_of_transposed_convolutions_are_those_of_the_convolution() -> None:
    assert "transpose_kernel=True" in _case("conv-transpose-2d")
    assert "for x, k in zip(xs, kernels)" in _case("conv-transpose-2d-groups")

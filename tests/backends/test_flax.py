"""What is peculiar to the programs in Flax NNX."""

from __future__ import annotations

from typing import Any

import pytest

from cases import CASES
from netglot import backends, workloads
from netglot.data import DataSpec
from netglot.emit import GapError, Settings, emit
from netglot.recipe import SGD, Adam, Initializers, MeanSquaredError, Recipe, Uniform
from netglot.workloads import Workload

FLAX = backends.get("flax")


def _source(name: str, **settings: Any) -> str:
    return emit(workloads.get(name), FLAX, Settings(**settings)).source


def _case(name: str, recipe: Recipe | None = None) -> Workload:
    recipe = recipe or Recipe(MeanSquaredError(), SGD(0.1), batch_size=3, epochs=1)
    data = DataSpec("case", "features", (1,), None)
    return Workload(name, name, CASES[name].graph, recipe, data)


def test_padding_is_left_out_where_it_is_same() -> None:
    assert "nnx.Conv(3, 50, (3, 3), kernel_init=glorot, rngs=rngs)" in _source(
        "cifar-vgg"
    )
    assert '1, 32, (3, 3), padding="VALID", kernel_init' in _source("mnist-cnn")


def test_view_tells_layers_only_what_one_of_them_asks() -> None:
    source = _source("cifar-vgg")
    assert "nnx.view(model, deterministic=False)(x)" in source
    assert "nnx.view(model, deterministic=True)(x)" in source
    assert "nnx.view" not in _source("mnist-lenet")
    assert "nnx.view(model, use_running_average=True)(x)" in _source(
        "resnet50-features"
    )


def test_gru_in_its_own_form_and_in_the_first() -> None:
    own = emit(workloads.get("imdb-gru"), FLAX)
    assert own.forms["GRU"] == "reset after, bias one"
    assert "two_biases" not in own.source
    exact = emit(workloads.get("imdb-gru"), FLAX, Settings(exact_form=True))
    paths = {w.path: w.sources for w in exact.weights}
    assert paths["gru.cell.dense_i.bias"] == ("gru.bias",)
    assert paths["gru.cell.dense_h.bias"] == ("gru.recurrent_bias",)


def test_bias_of_an_lstm_stands_beside_the_recurrent_product() -> None:
    program = emit(workloads.get("imdb-lstm"), FLAX)
    paths = {w.path: w for w in program.weights}
    assert paths["lstm.cell.dense_h.bias"].sources == ("lstm.bias",)
    assert paths["lstm.cell.dense_h.bias"].gates == ("ifgo", "ifgo")
    assert "bias_init=lstm_bias" in program.source


def test_float64_reaches_every_layer() -> None:
    wide, narrow = _source("imdb-lstm", dtype="float64"), _source("imdb-lstm")
    assert wide.count("param_dtype=jnp.float64") == 3
    assert 'jax.config.update("jax_enable_x64", True)' in wide
    assert "float64" not in narrow
    attention = emit(_case("attention"), FLAX, Settings(dtype="float64")).source
    assert "attention_fn=exact_attention" in attention
    assert "attention_fn" not in emit(_case("attention"), FLAX).source


def test_ceil_is_padding_after_the_values() -> None:
    source = emit(_case("max-pool-2d-ceil"), FLAX).source
    assert "strides=(2, 2), padding=((0, 1), (0, 0))" in source


def test_two_uniform_distributions_are_a_gap() -> None:
    inits = Initializers(kernel=Uniform(0.1), embedding=Uniform(0.2))
    recipe = Recipe(MeanSquaredError(), Adam(0.1), 3, 1, inits)
    with pytest.raises(GapError, match="one uniform distribution"):
        emit(_case("words-mean", recipe), FLAX)

"""What is peculiar to the programs in Equinox."""

from __future__ import annotations

from typing import Any

import pytest

from cases import CASES
from netglot import backends, workloads
from netglot.backend import Program
from netglot.data import DataSpec
from netglot.emit import GapError, Settings, emit
from netglot.recipe import SGD, MeanSquaredError, Recipe
from netglot.workloads import Workload

EQUINOX = backends.get("equinox")


def _source(name: str, **settings: Any) -> str:
    return emit(workloads.get(name), EQUINOX, Settings(**settings)).source


def _program(name: str) -> Program:
    recipe = Recipe(MeanSquaredError(), SGD(0.1), batch_size=3, epochs=1)
    data = DataSpec("case", "features", (1,), None)
    return emit(Workload(name, name, CASES[name].graph, recipe, data), EQUINOX)


def _case(name: str) -> str:
    return _program(name).source


def test_stride_of_a_pool_is_said_because_its_default_is_1() -> None:
    assert "eqx.nn.MaxPool2d(2, stride=2)" in _source("cifar-vgg")
    assert "eqx.nn.MaxPool2d(3, stride=2, padding=1)" in _source("resnet50-features")


def test_a_module_sees_one_observation() -> None:
    assert "jnp.concatenate((" in _case("concat") and "axis=0)" in _case("concat")
    assert "jax.nn.softmax(x, axis=0)" in _case("softmax-channels")
    assert "x[1:3]" in _case("slice")
    assert "x.transpose(2, 0, 1)" in _case("transpose-image")
    assert "jax.vmap(self.op)(x)" in _case("dense-sequence")
    assert "jax.vmap(self.embedding)(x)" in _source("imdb-gru")
    assert "keys = jax.random.split(key, len(x))" in _source("cifar-vgg")


def test_padding_of_means_does_not_count() -> None:
    assert "self.op(x) / self.op(jnp.ones_like(x))" in _case("avg-pool-2d-padding")
    counted = _case("avg-pool-2d-counted")
    assert "jnp.pad(" in counted and "ones_like" not in counted


def test_every_random_part_has_a_key_of_its_own() -> None:
    three, one = _source("cifar-vgg"), _source("mnist-rnn")
    assert "key1, key2, key3 = split_key(key, 3)" in three
    assert "x = self.dropout3(x, key=key3)" in three
    assert "x = self.dropout(x, key=key)" in one and "split_key" not in one


def test_dropout_and_norms_are_told_that_it_is_evaluation() -> None:
    assert "jax.vmap(eqx.nn.inference_mode(model))(x)" in _source("cifar-vgg")
    assert "eqx.nn.inference_mode(model.network)" in _source("resnet50-features")
    assert "inference_mode" not in _source("mnist-lenet")


def test_batch_norm_in_the_mode_that_trains_with_the_batch() -> None:
    source = _source("resnet50-features")
    assert '"batch", momentum=0.9, mode="batch")' in source
    assert "x, state = self.norm1(x, state)" in source
    assert "for block in self.stage1:\n            x, state = block(x, state)" in source


def test_young_statistics_are_not_divided() -> None:
    trained = _case("branches")
    assert "state = state.set(norm.batch_counter, jnp.array(0))" in trained
    assert "batch_counter" not in _source("resnet50-features")


def test_statistics_are_named_beside_the_weights() -> None:
    paths = {w.path for w in _program("branches").weights}
    assert {"norm.weight", "norm.bias", "norm.mean", "norm.variance"} <= paths
    assert 'arrays |= {f"{name}.mean": mean' in _case("branches")


def test_gru_has_a_second_bias_of_the_candidate() -> None:
    program = emit(workloads.get("imdb-gru"), EQUINOX)
    assert program.forms["GRU"] == "reset after, bias candidate"
    paths = {w.path: w.sources for w in program.weights}
    assert paths["gru.bias_n"] == ("gru.recurrent_bias",)
    assert 'if path[-1].name.startswith("bias"):' in program.source
    with pytest.raises(GapError, match="form bias='candidate'"):
        emit(workloads.get("imdb-gru"), EQUINOX, Settings(exact_form=True))


def test_forget_gates_start_open() -> None:
    source = _source("imdb-lstm")
    assert 'if name == "lstm.bias":' in source
    assert "return jnp.zeros(array.shape).at[100:200].set(1.0)" in source


def test_cells_of_both_directions() -> None:
    paths = {w.path for w in _program("lstm-both").weights}
    assert {"op.0.weight_ih", "op.1.weight_hh"} <= paths


def test_it_has_no_plain_recurrent_cell() -> None:
    assert "class RNNCell(eqx.Module):" in _case("rnn")
    assert "RNNCell" not in _source("imdb-gru")


def test_kernels_of_transposed_convolutions_are_turned_round() -> None:
    weights = {w.path: w for w in _program("conv-transpose-2d").weights}
    assert weights["op.weight"].flip == "HW"
    assert weights["op.bias"].shape == (4, 1, 1)


def test_output_padding_over_the_stride_is_less_padding() -> None:
    assert "padding=((0, -1), (0, 0))" in _case("conv-transpose-2d-dilation-more")


def test_scales_of_norms_stay_1() -> None:
    assert "return array  # the scale of a norm" in _case("layer-norm-sequence")
    assert "scale of a norm" not in _source("imdb-lstm")


def test_float64_is_that_of_the_whole_program() -> None:
    assert 'jax.config.update("jax_enable_x64", True)' in _source(
        "imdb-lstm", dtype="float64"
    )
    assert "float64" not in _source("imdb-lstm")

"""What is peculiar to Keras: its names, its gates, what TensorFlow does to Adam."""

from __future__ import annotations

import numpy as np
import pytest

from cases import CASES, EVEN, STEPS, Case, _one
from netglot import backends, reference, workloads
from netglot.backend import Program
from netglot.data import DataSpec
from netglot.emit import GapError, Settings, emit
from netglot.graph import Graph, Node
from netglot.ops import Add, Conv, ConvTranspose, MultiHeadAttention, ReduceMax, Type
from netglot.recipe import SGD, Initializers, MeanSquaredError, Recipe
from netglot.weights import from_program, to_program
from netglot.workloads import Workload

pytestmark = pytest.mark.text

NAMES = ("keras-tensorflow", "keras-jax", "keras-torch")


def _program(case: Case, name: str = "keras-jax", **settings: str) -> Program:
    recipe = Recipe(MeanSquaredError(), SGD(0.1), batch_size=3, epochs=1)
    data = DataSpec("case", "features", (1,), 2)
    workload = Workload(case.name, case.name, case.graph, recipe, data)
    return emit(workload, backends.get(name), Settings(**settings))  # type: ignore


@pytest.mark.parametrize("name", NAMES)
def test_programs_differ_in_the_engine_alone(name: str) -> None:
    engine = name.removeprefix("keras-")
    source = emit(workloads.get("cifar-vgg"), backends.get(name)).source
    assert f'os.environ["KERAS_BACKEND"] = "{engine}"\n\nimport keras\n' in source
    body = source[source.index("# 2.") :]
    other = emit(workloads.get("cifar-vgg"), backends.get("keras-jax")).source
    assert body == other[other.index("# 2.") :]


def test_gates_of_a_gru_are_z_r_n() -> None:
    program = _program(CASES["gru"])
    weights = reference.initial_weights(program.graph, Initializers(), 0)
    weights["op.bias"] = np.arange(9.0)
    weights["op.recurrent_bias"] = np.arange(9.0) + 100
    arrays = to_program(program, weights)
    # Three units; the graph has r, z, n, and two vectors.
    bias = arrays["op/gru_cell/bias"]
    assert bias[0].tolist() == [3, 4, 5, 0, 1, 2, 6, 7, 8]
    assert bias[1].tolist() == [103, 104, 105, 100, 101, 102, 106, 107, 108]
    assert np.array_equal(from_program(program, arrays)["op.bias"], np.arange(9))


def test_heads_are_axes_of_their_own() -> None:
    program = _program(_one("heads", MultiHeadAttention(2), STEPS))
    shapes = {weight.path: weight.shape for weight in program.weights}
    assert shapes["op/query/kernel"] == (4, 2, 2)
    assert shapes["op/attention_output/kernel"] == (2, 2, 4)
    weights = reference.initial_weights(program.graph, Initializers(), 0)
    arrays = to_program(program, weights)
    kernel = weights["op.query_kernel"]
    # Output 3 is the second feature of the second head.
    assert np.allclose(arrays["op/query/kernel"][:, 1, 1], kernel[3])
    again = from_program(program, arrays)
    assert all(np.allclose(again[path], weights[path]) for path in weights)


def test_a_depthwise_kernel_has_no_input_axis() -> None:
    program = _program(_one("depthwise", Conv(4, (3, 2), groups=4), EVEN))
    assert "layers.DepthwiseConv2D((3, 2)" in program.source
    assert {w.path: w.shape for w in program.weights}["op/kernel"] == (3, 2, 4, 1)


def test_padding_that_keras_has_a_word_for() -> None:
    same = _program(_one("same", ConvTranspose(4, (4, 4), 2, 1), EVEN)).source
    assert 'padding="same"' in same and "Cropping2D" not in same
    other = _program(_one("other", ConvTranspose(4, (3, 3), 2, 1), EVEN)).source
    assert "layers.Cropping2D(1" in other


def test_adam_on_tensorflow_gets_one_gradient_per_word() -> None:
    task = workloads.get("imdb-gru")
    helper = "class Embedding(layers.Embedding):"
    assert helper in emit(task, backends.get("keras-tensorflow")).source
    assert helper not in emit(task, backends.get("keras-torch")).source


def test_float64_where_keras_rounds() -> None:
    task, wide = workloads.get("mnist-fcn"), Settings(dtype="float64")
    source = emit(task, backends.get("keras-tensorflow"), wide).source
    assert "beta_1=np.float64(0.9)" in source and "dtypes" not in source
    source = emit(task, backends.get("keras-torch"), wide).source
    assert 'dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"' in source
    with pytest.raises(GapError, match="float32"):
        _program(CASES["attention"], "keras-jax", dtype="float64")


def test_on_tensorflow_nothing_can_be_taken_for_a_bias_that_is_none() -> None:
    nodes = (
        Node("largest", ReduceMax("CHW", keep=True), ("x",), ("largest",)),
        Node("sum", Add(), ("x", "largest"), ("sum",)),
    )
    graph = Graph("bias", (("x", Type("NCHW", (None, *EVEN[1]))),), nodes, ("sum",))
    case = Case("bias", graph)
    assert "([x, inputs])" in _program(case, "keras-tensorflow").source
    assert "([inputs, x])" in _program(case, "keras-torch").source
    narrow = _one("narrow", MultiHeadAttention(4), STEPS)
    with pytest.raises(GapError, match="heads of width 1"):
        _program(narrow, "keras-tensorflow")
    assert "MultiHeadAttention" in _program(narrow, "keras-torch").source

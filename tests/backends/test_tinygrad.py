"""What is peculiar to the programs in tinygrad."""

from __future__ import annotations

import pytest

from cases import CASES, EVEN, IMAGE, ROW, STEPS, VOLUME, Case, _chain, _one
from netglot import backends, workloads
from netglot.backend import Program
from netglot.data import DataSpec
from netglot.emit import GapError, emit
from netglot.ops import (
    AvgPool,
    BatchNorm,
    Conv,
    Dense,
    Gelu,
    LayerNorm,
    Negative,
    Relu,
    Scale,
    Upsample,
)
from netglot.recipe import SGD, Adam, Initializers, MeanSquaredError, Recipe, Uniform
from netglot.workloads import Workload

pytestmark = pytest.mark.text

TINYGRAD = backends.get("tinygrad")


def _program(case: Case, recipe: Recipe | None = None) -> Program:
    recipe = recipe or Recipe(MeanSquaredError(), SGD(0.1), batch_size=3, epochs=1)
    data = DataSpec("case", "features", (1,), 2)
    return emit(Workload(case.name, case.name, case.graph, recipe, data), TINYGRAD)


def _workload(name: str) -> str:
    return emit(workloads.get(name), TINYGRAD).source


def test_the_step_is_jitted_for_each_network_that_is_built() -> None:
    # What is compiled reads and writes the weights of one network.
    source = _workload("mnist-cnn")
    build = source[source.index("def build") : source.index("def load_weights")]
    assert "    @TinyJit\n    @Context(TRAINING=1)\n    def step(x, y):" in build
    # The result of a jitted function is overwritten by the next call.
    assert "return step(Tensor(x), Tensor(y)).item()" in source


def test_kernels_of_a_convolution_begin_as_told() -> None:
    source = _workload("mnist-lenet")
    assert "limit = (6 / ((inputs + outputs) * math.prod(kernel))) ** 0.5" in source
    dense = _workload("mnist-fcn")
    assert "Tensor.glorot_uniform(*weight.shape)" in dense
    assert "import math" not in dense


def test_scales_of_norms_begin_as_their_layers_say() -> None:
    case = _chain("norm", ROW, Dense(4), LayerNorm(), Dense(3))
    source = _program(case).source
    assert "elif weight.ndim > 1:" in source and "else:" not in source


def test_an_embedding_has_a_distribution_of_its_own() -> None:
    source = _program(CASES["words-mean"]).source
    assert 'elif name == "embedding1.weight":' in source
    assert "Tensor.uniform(*weight.shape, low=-0.05, high=0.05)" in source
    inits = Initializers(kernel=Uniform(0.1), bias=Uniform(0.2))
    recipe = Recipe(MeanSquaredError(), Adam(0.1), 3, 1, inits)
    source = _program(CASES["mlp"], recipe).source
    assert "low=-0.1, high=0.1" in source and "low=-0.2, high=0.2" in source


def test_recurrent_layers_are_missing() -> None:
    for name in ("mnist-rnn", "imdb-gru", "imdb-lstm"):
        with pytest.raises(GapError, match="compiles every step of a loop"):
            _workload(name)


def test_padding_is_given_from_the_last_axis_on() -> None:
    uneven = Conv(4, (3, 2), 1, ((2, 0), (1, 3)))
    source = _program(_one("conv", uneven, IMAGE)).source
    assert "nn.Conv2d(3, 4, (3, 2), padding=(1, 3, 2, 0))" in source
    even = Conv(4, (3, 2), 1, ((1, 1), (0, 0)))
    assert "padding=(1, 0))" in _program(_one("conv", even, IMAGE)).source


def test_three_dimensions_are_those_of_the_kernel() -> None:
    source = _program(_one("conv", Conv(3, (2, 2, 2)), VOLUME)).source
    assert "nn.Conv2d(2, 3, (2, 2, 2))" in source


def test_padded_zeros_are_counted_unless_told_not_to() -> None:
    pool = _program(_one("pool", AvgPool((3, 3), 2, 1), EVEN)).source
    assert "count_include_pad=False" in pool
    counted = AvgPool((3, 3), 2, 1, count_padding=True)
    assert "count_include_pad" not in _program(_one("pool", counted, EVEN)).source


def test_the_running_variance_is_unbiased() -> None:
    source = _program(_one("norm", BatchNorm(0.8, unbiased=True), IMAGE)).source
    assert "nn.BatchNorm(3, momentum=0.2)" in source
    assert "weights, strict=False, verbose=False" in source
    with pytest.raises(GapError, match="running variance is the unbiased one"):
        _program(_one("norm", BatchNorm(), IMAGE))


def test_gelu_is_the_exact_one_where_asked() -> None:
    assert 'x.gelu(approximate="none")' in _program(_one("gelu", Gelu(), ROW)).source
    rough = _program(_one("gelu", Gelu(approximate=True), ROW)).source
    assert "x.gelu()" in rough


def test_a_network_without_layers_makes_none() -> None:
    source = _program(_chain("bare", ROW, Relu())).source
    assert "class Bare:\n    def __call__(self, x):" in source


def test_a_method_of_an_expression_stands_behind_brackets() -> None:
    negated = _program(_chain("negated", ROW, Negative(), Relu())).source
    assert "(-x).relu()" in negated
    scaled = _program(_chain("scaled", ROW, Scale(2.0, 0.5), Relu())).source
    assert "(2.0 * x + 0.5).relu()" in scaled


def test_enlarging() -> None:
    source = _program(_one("up", Upsample((2, 3)), IMAGE)).source
    assert "x.repeat_interleave(2, dim=2).repeat_interleave(3, dim=3)" in source
    smooth = _program(_one("up", Upsample((2, 2), "bilinear"), IMAGE)).source
    assert "x.interpolate((14, 10))" in smooth


def test_attention_is_written_out() -> None:
    source = _program(_one("attention", CASES["attention"].graph.nodes[0].op, STEPS))
    assert "class MultiHeadAttention:" in source.source
    assert {w.path for w in source.weights} >= {"op.query.weight", "op.out.bias"}


def test_what_the_environment_needs() -> None:
    assert [need.command for need in TINYGRAD.env.needs] == ["clang"]
    assert TINYGRAD.env.variables["CACHEDB"].startswith("{folder}")
    # Moments of the optimizers stay in float32.
    assert TINYGRAD.dtypes == ("float32",)

"""What is peculiar to Keras 2: layers by name, Theano's kernels, its padding."""

from __future__ import annotations

import ast

import numpy as np
import pytest

from cases import CASES, EVEN, IMAGE, ROW, STEPS, Case, _chain, _one
from netglot import backends, workloads
from netglot.backend import Program
from netglot.data import DataSpec
from netglot.emit import GapError, Settings, emit
from netglot.ops import (
    GRU,
    LSTM,
    BatchNorm,
    Conv,
    Dense,
    LogSoftmax,
    MaxPool,
    Relu,
    Scale,
    Slice,
)
from netglot.recipe import SGD, Adam, MeanSquaredError, Optimizer, Recipe
from netglot.weights import from_program, to_program
from netglot.workloads import Workload

pytestmark = pytest.mark.text

NAMES = ("keras2-tensorflow", "keras2-theano")
CNTK = "keras2-cntk"


def _program(
    case: Case, name: str = "keras2-theano", optimizer: Optimizer | None = None
) -> Program:
    recipe = Recipe(MeanSquaredError(), optimizer or SGD(0.1), batch_size=3, epochs=1)
    data = DataSpec("case", "features", (1,), 2)
    workload = Workload(case.name, case.name, case.graph, recipe, data)
    return emit(workload, backends.get(name))


@pytest.mark.parametrize("name", [*NAMES, CNTK])
def test_programs_differ_in_the_engine_and_the_names_of_weights(name: str) -> None:
    source = emit(workloads.get("cifar-vgg"), backends.get(name)).source
    engine = name.removeprefix("keras2-")
    assert f'os.environ["KERAS_BACKEND"] = "{engine}"\n\nimport keras\n' in source
    ast.parse(source, feature_version=(3, 6))
    # TensorFlow numbers what an operation gives, and has one graph for everything.
    assert ('.name.split(":")[0]' in source) == (engine == "tensorflow")
    assert ("K.clear_session()" in source) == (engine == "tensorflow")


def test_layers_are_imported_by_name() -> None:
    source = emit(workloads.get("imdb-gru"), backends.get("keras2-theano")).source
    assert "from keras.layers import GRU, Dense, Embedding, Input\n" in source
    assert "layers." not in source.replace("keras.layers", "")
    features = emit(workloads.get("resnet50-features"), backends.get("keras2-theano"))
    assert "\nimport keras\n" not in features.source


def test_theano_reads_a_kernel_from_its_end() -> None:
    case = _one("conv", Conv(2, (3, 2)), IMAGE)
    kernel = np.random.default_rng(0).normal(size=(2, 3, 3, 2))
    weights = {"op.kernel": kernel, "op.bias": np.zeros(2)}
    turned = kernel.transpose(2, 3, 1, 0)
    for name, expected in zip(NAMES, (turned, turned[::-1, ::-1]), strict=True):
        program = _program(case, name)
        arrays = to_program(program, weights, "float64")
        assert np.array_equal(arrays["op/kernel"], expected), name
        assert np.array_equal(from_program(program, arrays)["op.kernel"], kernel)


def test_same_means_the_same_in_every_backend() -> None:
    same = _program(_one("same", Conv(4, (3, 3), padding=1), EVEN)).source
    assert 'padding="same"' in same and "ZeroPadding2D" not in same
    # An even kernel has one more on the left in Theano, on the right in TensorFlow.
    uneven = Conv(4, (2, 2), padding=((0, 1), (0, 1)))
    assert "ZeroPadding2D" in _program(_one("uneven", uneven, EVEN)).source
    # Theano's pools of 5 are padded by 3.
    wide = _program(_one("wide", MaxPool((5, 5), 1, 2), EVEN)).source
    assert (
        'padding="same"' not in wide and "pad(inputs, ((2, 2), (2, 2)), -1e30)" in wide
    )
    assert "def pad(x, padding, value):" in wide


def test_the_form_of_a_gru() -> None:
    after = _program(_one("after", GRU(3), STEPS))
    assert "reset_after=True" in after.source
    assert {w.path: w.shape for w in after.weights}["op/bias"] == (2, 9)
    before = _program(_one("before", GRU(3, reset="before", bias="one"), STEPS))
    assert "reset_after" not in before.source
    kernel = {w.path: w for w in before.weights}["op/kernel"]
    assert kernel.gates == ("rzn", "zrn")


def test_names_of_both_directions() -> None:
    program = _program(_one("both", LSTM(3, direction="both"), STEPS))
    assert 'LSTM(3, recurrent_initializer="glorot_uniform", name="lstm")' in (
        program.source
    )
    assert "op/forward_lstm/kernel" in {w.path for w in program.weights}


def test_what_is_no_layer() -> None:
    source = _program(_chain("scaled", ROW, Dense(4), Relu(), Scale(2.0, 1.0))).source
    assert "x = Activation(lambda x: 2.0 * x + 1.0)(x)" in source
    assert "from keras.layers import Activation, Dense, Input" in source
    # On Theano a Lambda that is not told gives the shape that it reads.
    mean = "x = Lambda(lambda x: K.mean(x, 1)"
    theano, tensorflow = (
        _program(CASES["reduce-mean-steps"], name).source for name in reversed(NAMES)
    )
    assert f"{mean}, output_shape=(4,))(inputs)" in theano
    assert f"{mean})(inputs)" in tensorflow


def test_theano_turns_no_depthwise_kernel() -> None:
    (kernel,) = _program(CASES["conv-2d-depthwise"]).weights
    assert kernel.path == "op/depthwise_kernel" and not kernel.flip


def test_theano_is_told_of_what_it_repeats() -> None:
    told = "[inputs, broadcast(x, (False, True, True, False))]"
    assert told in _program(CASES["squeeze-excite"]).source
    assert "broadcast" not in _program(CASES["squeeze-excite"], NAMES[0]).source
    assert "broadcast" not in _program(CASES["add"]).source


def test_float64_is_said_twice_to_theano() -> None:
    recipe = Recipe(MeanSquaredError(), SGD(0.1), batch_size=3, epochs=1)
    data = DataSpec("case", "features", (1,), 2)
    task = Workload("mlp", "mlp", CASES["mlp"].graph, recipe, data)
    wide = emit(task, backends.get("keras2-theano"), Settings("float64")).source
    assert 'theano.config.floatX = "float64"\nK.set_floatx("float64")' in wide


def test_batch_norm_is_read_but_not_trained() -> None:
    with pytest.raises(GapError, match=r"n / \(n - 1 - epsilon\)"):
        _program(_one("norm", BatchNorm(), IMAGE))
    source = emit(workloads.get("resnet50-features"), backends.get(NAMES[0])).source
    assert "BatchNormalization(momentum=0.9, epsilon=1e-5" in source


def test_threads_are_those_of_tensorflow() -> None:
    threads = backends.get(NAMES[0]).env.threads
    assert "TF_NUM_INTRAOP_THREADS" in threads and "OMP_NUM_THREADS" not in threads


def test_adam_on_tensorflow_is_its_own() -> None:
    source = emit(workloads.get("imdb-gru"), backends.get(NAMES[0])).source
    assert "import tensorflow as tf\nfrom keras" in source
    assert "optimizer=tf.train.AdamOptimizer(learning_rate=0.001)," in source
    wide = emit(
        workloads.get("imdb-gru"), backends.get(NAMES[0]), Settings(dtype="float64")
    )
    assert "beta2=np.float64(0.999)" in wide.source
    theano = emit(workloads.get("imdb-gru"), backends.get(NAMES[1])).source
    assert "keras.optimizers.Adam(learning_rate=0.001, epsilon=1e-8)" in theano


def test_batch_norm_in_float64_is_not_fused() -> None:
    task = workloads.get("resnet50-features")
    plain, wide = (
        emit(task, backends.get(NAMES[0]), Settings(dtype=dtype)).source
        for dtype in ("float32", "float64")
    )
    assert "class BatchNorm(" not in plain and "= BatchNormalization(" in plain
    assert "class BatchNorm(keras.layers.BatchNormalization)" in wide
    theano = emit(task, backends.get(NAMES[1]), Settings(dtype="float64")).source
    assert "class BatchNorm(" not in theano


def test_of_equal_values_each_has_theanos_gradient() -> None:
    program = _program(_one("pool", MaxPool((2, 2), 2), EVEN))
    assert program.graph.nodes[0].op.ties == "all"
    program = _program(_one("pool", MaxPool((2, 2), 2), EVEN), NAMES[0])
    assert program.graph.nodes[0].op.ties == "first"


def test_adam_has_no_decay_of_its_own() -> None:
    with pytest.raises(GapError, match="no weight decay"):
        _program(CASES["mlp"], optimizer=Adam(1e-3, weight_decay=0.1))


def test_an_lstm_on_cntk_is_unrolled() -> None:
    """Else what it hands on is its memory."""
    last = _program(_one("last", LSTM(3), STEPS), CNTK).source
    assert 'LSTM(3, recurrent_initializer="glorot_uniform", unroll=True, name=' in last
    both = _program(_one("both", LSTM(3, direction="both"), STEPS), CNTK)
    assert "unroll=True" in both.source
    # Its scopes are joined by another sign.
    assert "op_forward_lstm/kernel" in {w.path for w in both.weights}
    assert "unroll" not in _program(_one("gru", GRU(3), STEPS), CNTK).source
    assert "unroll" not in _program(_one("last", LSTM(3), STEPS), NAMES[0]).source


def test_cntk_counts_no_axis_of_the_batch() -> None:
    source = _program(_one("log", LogSoftmax("F"), ROW), CNTK).source
    assert "K.log(K.softmax(x))" in source
    inner = _program(_one("log", LogSoftmax("T"), STEPS), CNTK).source
    assert "K.softmax(x, axis=-2)" in inner


def test_what_cntk_does_not() -> None:
    with pytest.raises(GapError, match="dilates its convolutions on a GPU"):
        _program(_one("wide", Conv(2, (3, 3), dilation=2), IMAGE), CNTK)
    with pytest.raises(GapError, match="step backwards end elsewhere"):
        _program(_one("back", Slice("W", 3, None, -2), IMAGE), CNTK)
    with pytest.raises(GapError, match="slice of one"):
        _program(_one("last", Slice("T", -1), STEPS), CNTK)


def test_numbers_of_cntk_are_float32() -> None:
    assert backends.get(CNTK).dtypes == ("float32",)

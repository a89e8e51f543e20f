"""One table of small networks, on which the reference and every backend are tested.

Sizes are small, odd and unequal, so that axes that are mixed up cannot go unnoticed;
weights are random for every role, so that a bias that is left out cannot either. Every
operation stands here at least once, with attributes that are not its defaults.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from netglot.graph import Builder, Graph
from netglot.ops import (
    GRU,
    LSTM,
    Abs,
    Add,
    AvgPool,
    BatchNorm,
    Clip,
    Concat,
    Conv,
    ConvTranspose,
    Dense,
    Divide,
    Dropout,
    Elu,
    Embedding,
    Exp,
    Flatten,
    Gelu,
    GlobalAvgPool,
    GlobalMaxPool,
    GroupNorm,
    LayerNorm,
    LeakyRelu,
    Log,
    LogSoftmax,
    MatMul,
    Maximum,
    MaxPool,
    Minimum,
    MultiHeadAttention,
    Multiply,
    Negative,
    Op,
    Pad,
    ReduceMax,
    ReduceMean,
    ReduceSum,
    Relu,
    Reshape,
    RMSNorm,
    Scale,
    Selu,
    Sigmoid,
    Silu,
    SimpleRNN,
    Slice,
    Softmax,
    Softplus,
    Split,
    Sqrt,
    Square,
    Subtract,
    Tanh,
    Transpose,
    Upsample,
)

VOCABULARY = 11


@dataclass(frozen=True)
class Case:
    """A network to compute, and why it is in the table."""

    name: str
    graph: Graph
    notes: str = ""
    batch: int = 3

    def inputs(self, seed: int = 0) -> dict[str, np.ndarray]:
        """Float64 arrays by name; indices are int64 below ``VOCABULARY``."""
        generator = np.random.default_rng([seed, 1])
        result: dict[str, np.ndarray] = {}
        for name, type_ in self.graph.inputs:
            shape = (self.batch, *type_.shape[1:])
            if type_.dtype.startswith("int"):
                result[name] = generator.integers(0, VOCABULARY, shape)
            else:
                result[name] = generator.normal(size=shape)
        return result

    def weights(self, seed: int = 0) -> dict[str, np.ndarray]:
        """Float64 arrays by path, none of them trivial."""
        generator = np.random.default_rng([seed, 2])
        draw: dict[str, Callable[[Any], np.ndarray]] = {
            "scale": lambda shape: generator.uniform(0.5, 1.5, shape),
            "variance": lambda shape: generator.uniform(0.5, 1.5, shape),
        }
        return {
            path: draw.get(
                weight.role, lambda shape: generator.normal(size=shape) * 0.4
            )(weight.shape)
            for path, weight in self.graph.weights().items()
        }

    def masks(self, seed: int = 0) -> dict[str, np.ndarray]:
        """What each dropout keeps: an array of 0 and 1 by the flat name of its node."""
        generator = np.random.default_rng([seed, 3])
        flat = self.graph.flat()
        types = flat.types()
        result = {}
        for node in flat.nodes:
            if isinstance(node.op, Dropout):
                shape = (self.batch, *types[node.inputs[0]].shape[1:])
                result[node.name] = generator.uniform(size=shape) >= node.op.rate
        return result


IMAGE = ("NCHW", (3, 7, 5))
EVEN = ("NCHW", (4, 6, 8))
LINE = ("NCW", (3, 9))
VOLUME = ("NCDHW", (2, 5, 4, 6))
STEPS = ("NTF", (5, 4))
ROW = ("NF", (6,))


def _one(name: str, op: Op, input_: tuple[str, Any], notes: str = "") -> Case:
    """A network of one operation with one input."""
    net = Builder(name.replace("-", "_"))
    x = net.input("x", *input_)
    return Case(name, net.graph(net.add(op, x, name="op")), notes)


def _two(
    name: str, op: Op, a: tuple[str, Any], b: tuple[str, Any], notes: str = ""
) -> Case:
    """A network of one operation with two inputs."""
    net = Builder(name.replace("-", "_"))
    first, second = net.input("a", *a), net.input("b", *b)
    return Case(name, net.graph(net.add(op, first, second, name="op")), notes)


def _chain(name: str, input_: tuple[str, Any], *ops: Op, notes: str = "") -> Case:
    """Operations one after the other."""
    net = Builder(name.replace("-", "_"))
    x = net.input("x", *input_)
    for op in ops:
        x = net.add(op, x)
    return Case(name, net.graph(x), notes)


def _words(name: str, *ops: Op, notes: str = "") -> Case:
    """Operations one after the other on word indices ``NT``."""
    net = Builder(name.replace("-", "_"))
    x = net.input("x", "NT", (5,), "int32")
    for op in ops:
        x = net.add(op, x)
    return Case(name, net.graph(x), notes)


# --- One operation each ---------------------------------------------------------------

_SINGLE = [
    _one("dense", Dense(4), ROW),
    _one("dense-no-bias", Dense(4, bias=False), ROW),
    _one("dense-sequence", Dense(3), STEPS, "acts on the last of three axes"),
    _one("conv-1d", Conv(4, (3,)), LINE),
    _one("conv-1d-odd", Conv(4, (2,), 2, ((2, 1),), 3), LINE, "dilated, asymmetric"),
    _one("conv-2d", Conv(4, (3, 2)), IMAGE),
    _one("conv-2d-same", Conv(4, (3, 3), padding=1), IMAGE),
    _one("conv-2d-pointwise", Conv(4, (1, 1), bias=False), IMAGE),
    _one("conv-2d-stride", Conv(4, (3, 3), (2, 1), (1, 0)), IMAGE, "unequal strides"),
    _one(
        "conv-2d-asymmetric",
        Conv(4, (3, 3), 2, ((0, 1), (0, 1))),
        EVEN,
        "what TensorFlow calls same at stride 2",
    ),
    _one("conv-2d-uneven", Conv(4, (3, 2), 1, ((2, 0), (1, 3))), IMAGE),
    _one("conv-2d-dilation", Conv(4, (3, 2), dilation=(2, 3)), IMAGE),
    _one(
        "conv-2d-stride-dilation",
        Conv(4, (2, 2), 2, ((0, 1), (0, 1)), 2),
        EVEN,
        "padding that is the same only at this stride",
    ),
    _one("conv-2d-groups", Conv(6, (3, 3), padding=1, groups=2), EVEN),
    _one("conv-2d-depthwise", Conv(4, (3, 2), groups=4, bias=False), EVEN),
    _one(
        "conv-2d-multiplier",
        Conv(8, (3, 3), 2, groups=4),
        EVEN,
        "depthwise with two outputs per channel",
    ),
    _one("conv-3d", Conv(3, (2, 3, 2), (1, 2, 1), (0, 1, 0)), VOLUME),
    _one("conv-transpose-1d", ConvTranspose(4, (3,), 2), LINE),
    _one("conv-transpose-2d", ConvTranspose(4, (3, 2), (2, 3)), IMAGE),
    _one(
        "conv-transpose-2d-padding",
        ConvTranspose(4, (3, 4), 2, 1, output_padding=(1, 0)),
        IMAGE,
        "as decoders use it",
    ),
    _one(
        "conv-transpose-2d-uneven",
        ConvTranspose(4, (3, 3), 2, ((0, 1), (1, 2)), bias=False),
        IMAGE,
    ),
    _one(
        "conv-transpose-2d-crop",
        ConvTranspose(4, (3, 3), (1, 2), ((2, 0), (1, 0))),
        IMAGE,
        "more is cropped on one side than a stride",
    ),
    _one(
        "conv-transpose-2d-crop-after",
        ConvTranspose(4, (3, 3), 2, ((0, 1), (0, 2))),
        IMAGE,
    ),
    _one("conv-transpose-2d-groups", ConvTranspose(6, (3, 2), 2, groups=2), EVEN),
    _one("conv-transpose-2d-dilation", ConvTranspose(2, (3, 2), 1, 0, 0, 2), IMAGE),
    _one(
        "conv-transpose-2d-dilation-more",
        ConvTranspose(2, (3, 2), 1, 0, (1, 0), (2, 1)),
        IMAGE,
        "more at the end than a stride, less than the dilation",
    ),
    _one("conv-transpose-3d", ConvTranspose(3, (2, 3, 2), 2), VOLUME),
    _one("max-pool-1d", MaxPool((2,)), LINE, "the ninth value is dropped"),
    _one("max-pool-2d", MaxPool((2, 2)), EVEN),
    _one(
        "max-pool-2d-drop", MaxPool((2, 2)), IMAGE, "the last row and column fall out"
    ),
    _one("max-pool-2d-overlap", MaxPool((3, 3), 2), EVEN),
    _one("max-pool-2d-padding", MaxPool((3, 3), 2, 1), EVEN, "as in ResNet"),
    _one("max-pool-2d-uneven", MaxPool((3, 2), (2, 1), ((0, 1), (1, 0))), EVEN),
    _one("max-pool-2d-ceil", MaxPool((2, 3), 2, ceil=True), IMAGE),
    _one(
        "max-pool-2d-ceil-padding",
        MaxPool((2, 2), 2, 1, ceil=True),
        IMAGE,
        "a window that would begin in the padding after the values is not kept",
    ),
    _one(
        "max-pool-2d-ceil-uneven",
        MaxPool((3, 3), (2, 3), ((2, 0), (0, 1)), ceil=True),
        EVEN,
        "more padding than half a window on one side",
    ),
    _one("max-pool-3d", MaxPool((2, 2, 3)), VOLUME),
    _one("avg-pool-1d", AvgPool((3,), 2), LINE),
    _one("avg-pool-2d", AvgPool((2, 2)), EVEN),
    _one("avg-pool-2d-padding", AvgPool((3, 3), 2, 1), IMAGE, "padding not counted"),
    _one(
        "avg-pool-2d-counted",
        AvgPool((3, 3), 2, 1, count_padding=True),
        IMAGE,
        "padding counted",
    ),
    _one(
        "avg-pool-2d-uneven",
        AvgPool((3, 2), 2, ((0, 2), (1, 0))),
        IMAGE,
        "not counted",
    ),
    _one(
        "avg-pool-2d-wide",
        AvgPool((3, 3), 1, 2, count_padding=True),
        IMAGE,
        "counted, and more than half a window",
    ),
    _one("avg-pool-2d-ceil", AvgPool((3, 2), 2, ceil=True), IMAGE),
    _one(
        "avg-pool-2d-ceil-counted",
        AvgPool((3, 3), 2, 1, ceil=True, count_padding=True),
        EVEN,
        "padding counts, the overhang does not",
    ),
    _one(
        "avg-pool-2d-ceil-dropped",
        AvgPool((2, 2), 2, 1, ceil=True),
        IMAGE,
        "a window that would begin in the padding after the values is not kept",
    ),
    _one(
        "avg-pool-2d-ceil-counted-dropped",
        AvgPool((2, 2), 2, 1, ceil=True, count_padding=True),
        IMAGE,
        "a window that would begin in the padding after the values is not kept",
    ),
    _one("avg-pool-3d", AvgPool((2, 2, 2), (1, 2, 2)), VOLUME),
    _one("global-avg-pool-1d", GlobalAvgPool(), LINE),
    _one("global-avg-pool", GlobalAvgPool(), IMAGE),
    _one("global-max-pool", GlobalMaxPool(), IMAGE),
    _one("global-max-pool-3d", GlobalMaxPool(), VOLUME),
    _one("batch-norm", BatchNorm(), IMAGE),
    _one("batch-norm-odd", BatchNorm(0.7, 1e-3, unbiased=True), IMAGE),
    _one("batch-norm-plain", BatchNorm(scale=False, shift=False), IMAGE),
    _one("batch-norm-no-scale", BatchNorm(scale=False), IMAGE),
    _one("batch-norm-features", BatchNorm(0.8, unbiased=True), ROW),
    _one("batch-norm-1d", BatchNorm(0.8), LINE),
    _one("batch-norm-3d", BatchNorm(0.8), VOLUME),
    _one("batch-norm-moved", BatchNorm(0.8), ("NWCH", (5, 3, 4)), "channels elsewhere"),
    _one("batch-norm-sequence", BatchNorm(0.8), STEPS),
    _one("batch-norm-turned", BatchNorm(0.8), ("NFT", (4, 5)), "features not last"),
    _one("layer-norm", LayerNorm(), ROW),
    _one("layer-norm-sequence", LayerNorm(1e-3), STEPS),
    _one("layer-norm-plain", LayerNorm(scale=False, shift=False), STEPS),
    _one("rms-norm", RMSNorm(), STEPS),
    _one("rms-norm-plain", RMSNorm(1e-3, scale=False), STEPS),
    _one("group-norm", GroupNorm(2), EVEN),
    _one("group-norm-odd", GroupNorm(4, 1e-3, shift=False), EVEN, "instance norm"),
    _one("group-norm-moved", GroupNorm(2), ("NWCH", (5, 4, 3)), "channels elsewhere"),
    _one("dropout", Dropout(0.4), ROW, "evaluation does not drop"),
    _words("embedding", Embedding(VOCABULARY, 3)),
    _one("relu", Relu(), IMAGE),
    _one("leaky-relu", LeakyRelu(0.2), IMAGE),
    _one("leaky-relu-default", LeakyRelu(), ROW),
    _one("elu", Elu(), ROW),
    _one("elu-alpha", Elu(0.7), ROW),
    _one("selu", Selu(), ROW),
    _one("gelu", Gelu(), ROW),
    _one("gelu-tanh", Gelu(approximate=True), ROW),
    _one("silu", Silu(), ROW),
    _one("sigmoid", Sigmoid(), ROW),
    _one("tanh", Tanh(), ROW),
    _one("softplus", Softplus(), ROW),
    _one("softmax", Softmax(), ROW),
    _one("softmax-channels", Softmax("C"), IMAGE),
    _one("softmax-steps", Softmax("T"), STEPS),
    _one("log-softmax", LogSoftmax(), ROW),
    _one("log-softmax-channels", LogSoftmax("C"), IMAGE),
    _one("negative", Negative(), ROW),
    _one("exp", Exp(), ROW),
    _chain("log", ROW, Square(), Scale(1.0, 0.5), Log()),
    _chain("sqrt", ROW, Square(), Scale(1.0, 0.5), Sqrt()),
    _one("abs", Abs(), ROW),
    _one("square", Square(), IMAGE),
    _one("clip", Clip(-0.5, 0.75), IMAGE),
    _chain("relu6", IMAGE, Scale(4.0, 1.0), Clip(), notes="Clip(0, 6)"),
    _one("scale", Scale(-1.5, 0.25), ROW),
    _two("add", Add(), IMAGE, IMAGE),
    _two("add-broadcast", Add(), IMAGE, ("NCHW", (3, 1, 1))),
    _two("subtract", Subtract(), ROW, ROW),
    _two("multiply", Multiply(), IMAGE, IMAGE),
    _two("multiply-channels", Multiply(), IMAGE, ("NCHW", (3, 1, 1))),
    _two("multiply-space", Multiply(), ("NCHW", (1, 7, 5)), IMAGE, "one map for all"),
    _two("maximum", Maximum(), ROW, ROW),
    _two("minimum", Minimum(), ROW, ROW),
    _two("matmul", MatMul(), STEPS, ("NFS", (4, 6))),
    _two("matmul-transpose", MatMul(transpose_b=True), STEPS, ("NTF", (3, 4))),
    _two("matmul-image", MatMul(), IMAGE, ("NCWS", (3, 5, 4)), "of height and width"),
    _two("matmul-image-transpose", MatMul(transpose_b=True), LINE, ("NCW", (2, 9))),
    _two("concat", Concat(), IMAGE, ("NCHW", (4, 7, 5))),
    _two("concat-height", Concat("H"), IMAGE, ("NCHW", (3, 2, 5))),
    _two("concat-features", Concat("F"), ROW, ("NF", (3,))),
    _two("concat-steps", Concat("T"), STEPS, ("NTF", (2, 4))),
    _one("slice", Slice("C", 1, 3), EVEN),
    _one("slice-step", Slice("W", 1, None, 2), IMAGE),
    _one("slice-backwards", Slice("W", 3, None, -2), IMAGE),
    _one("slice-backwards-first", Slice("W", 0, None, -1), IMAGE, "one value"),
    _one("slice-last", Slice("T", -1), STEPS, "the last step, its axis kept"),
    _one("reshape", Reshape("TF", (4, 3)), ("NF", (12,))),
    _one("flatten", Flatten(), IMAGE, "canonical order for every layout"),
    _one("flatten-sequence", Flatten(), STEPS),
    _one("transpose", Transpose("NFT"), STEPS),
    _one("transpose-image", Transpose("NWCH"), IMAGE),
    _one("pad", Pad(((1, 2), (0, 3))), IMAGE),
    _one("pad-value", Pad(((1, 0), (2, 1)), -0.5), IMAGE),
    _one("pad-1d", Pad(((2, 1),)), LINE),
    _one("reduce-mean", ReduceMean("HW"), IMAGE),
    _one("reduce-mean-keep", ReduceMean("C", keep=True), IMAGE),
    _one("reduce-mean-steps", ReduceMean("T"), STEPS),
    _one("reduce-sum", ReduceSum("CW"), IMAGE, "axes that are not neighbours"),
    _one("reduce-sum-keep", ReduceSum("HW", keep=True), IMAGE),
    _chain(
        "reduce-to-channels",
        IMAGE,
        Transpose("NWCH"),
        ReduceSum("W"),
        notes="leaves NCH: channels come to stand where images have them",
    ),
    _one("reduce-max", ReduceMax("CW"), IMAGE),
    _one("reduce-max-keep", ReduceMax("F", keep=True), STEPS),
    _one("upsample-1d", Upsample((3,)), LINE),
    _one("upsample-nearest", Upsample((2, 3)), IMAGE),
    _one("upsample-bilinear", Upsample((2, 2), "bilinear"), IMAGE),
    _one("upsample-bilinear-odd", Upsample((3, 2), "bilinear"), IMAGE),
]

# --- Recurrent layers -----------------------------------------------------------------

_RECURRENT = [
    _one("rnn", SimpleRNN(3), STEPS),
    _one("rnn-relu", SimpleRNN(3, activation="relu", bias="two"), STEPS),
    _one("rnn-sigmoid", SimpleRNN(3, activation="sigmoid", bias="two"), STEPS),
    _one("rnn-sequence", SimpleRNN(3, returns="sequence", bias="none"), STEPS),
    _one("rnn-backward", SimpleRNN(3, direction="backward"), STEPS),
    _one("rnn-both", SimpleRNN(3, direction="both", returns="sequence"), STEPS),
    _one("lstm", LSTM(3), STEPS),
    _one("lstm-two", LSTM(3, bias="two", returns="sequence"), STEPS),
    _one("lstm-no-bias", LSTM(3, bias="none", forget_bias=0.0), STEPS),
    _one("lstm-no-bias-forget", LSTM(3, bias="none"), STEPS, "no gate to start open"),
    _one("lstm-backward", LSTM(3, direction="backward"), STEPS, "last is step 0"),
    _one(
        "lstm-backward-sequence",
        LSTM(3, direction="backward", returns="sequence"),
        STEPS,
        "the output for step t stands at step t",
    ),
    _one("lstm-both", LSTM(3, direction="both"), STEPS),
    _one("lstm-both-sequence", LSTM(3, direction="both", returns="sequence"), STEPS),
    _one("gru", GRU(3), STEPS, "after, two: the form of cuDNN"),
    _one("gru-sequence", GRU(3, returns="sequence"), STEPS),
    _one("gru-after-one", GRU(3, bias="one"), STEPS),
    _one("gru-after-none", GRU(3, bias="none"), STEPS),
    _one("gru-after-candidate", GRU(3, bias="candidate"), STEPS),
    _one("gru-before-two", GRU(3, reset="before"), STEPS),
    _one("gru-before-one", GRU(3, reset="before", bias="one"), STEPS),
    _one("gru-before-none", GRU(3, reset="before", bias="none"), STEPS),
    _one("gru-before-candidate", GRU(3, reset="before", bias="candidate"), STEPS),
    _one("gru-backward", GRU(3, direction="backward"), STEPS),
    _one("gru-both", GRU(3, direction="both", returns="sequence"), STEPS),
    _chain(
        "lstm-stacked",
        STEPS,
        LSTM(3, returns="sequence"),
        Dropout(0.3),
        LSTM(2),
        Dense(2),
    ),
    _words("words-gru", Embedding(VOCABULARY, 4), GRU(3), Dense(2)),
    _words("words-lstm", Embedding(VOCABULARY, 4), LSTM(3), Dense(2)),
    _words("words-mean", Embedding(VOCABULARY, 4), ReduceMean("T"), Dense(2)),
]


# --- Attention ------------------------------------------------------------------------


def _attention() -> list[Case]:
    heads = MultiHeadAttention(2)
    return [
        _one("attention", heads, STEPS),
        _one("attention-causal", MultiHeadAttention(2, causal=True), STEPS),
        _one("attention-no-bias", MultiHeadAttention(4, bias=False), STEPS),
        _chain(
            "attention-no-bias-dense",
            STEPS,
            MultiHeadAttention(2, bias=False),
            Dense(3),
            notes="a layer with a bias beside one that has none",
        ),
        _long_name(),
        _two("attention-cross", heads, STEPS, ("NTF", (3, 6)), "key is value"),
        _attention_three(),
        _attention_by_hand(),
        _encoder(),
    ]


def _long_name() -> Case:
    net = Builder("long_name")
    x = net.input("x", *STEPS)
    y = net.add(Dense(4), x, name="another_sequence")
    y = net.add(
        MultiHeadAttention(2), x, y, name="attention_of_one_whole_sequence_to_another"
    )
    x = net.add(Add(), x, y, name="sum")
    return Case("attention-long-name", net.graph(x), "no causal mask on a long line")


def _attention_three() -> Case:
    net = Builder("attention_three")
    query = net.input("query", "NTF", (5, 4))
    key = net.input("key", "NTF", (3, 6))
    value = net.input("value", "NTF", (3, 2))
    x = net.add(MultiHeadAttention(2), query, key, value, name="op")
    return Case("attention-three", net.graph(x), "key and value of other widths")


def _attention_by_hand() -> Case:
    net = Builder("attention_by_hand")
    x = net.input("x", *STEPS)
    query, key, value = (
        net.add(Dense(4), x, name=name) for name in ("query", "key", "value")
    )
    scores = net.add(MatMul(transpose_b=True), query, key, name="scores")
    scores = net.add(Scale(0.5), scores, name="scaled")
    shares = net.add(Softmax("S"), scores, name="shares")
    return Case(
        "attention-by-hand", net.graph(net.add(MatMul(), shares, value, name="mixed"))
    )


def _encoder() -> Case:
    block = Builder("EncoderLayer")
    width = block.parameter("width")
    x = block.input("x", "NTF", (None, width))
    y = block.add(LayerNorm(), x, name="norm1")
    y = block.add(MultiHeadAttention(2), y, name="attention")
    x = block.add(Add(), x, y, name="add1")
    y = block.add(LayerNorm(), x, name="norm2")
    y = block.add(Dense(2 * width), y, name="dense1")
    y = block.add(Gelu(), y, name="gelu")
    y = block.add(Dropout(0.1), block.add(Dense(width), y, name="dense2"), name="drop")
    layer = block.block(block.add(Add(), x, y, name="add2"))
    net = Builder("encoder")
    z = net.input("x", *STEPS)
    z = net.call(layer, z, name="layers", times=2, width=4)
    z = net.add(ReduceMean("T"), z, name="mean")
    return Case("encoder", net.graph(net.add(Dense(3), z, name="head")))


# --- Networks -------------------------------------------------------------------------


def _divide() -> Case:
    net = Builder("divide")
    a, b = net.input("a", *ROW), net.input("b", *ROW)
    b = net.add(Scale(1.0, 1.0), net.add(Square(), b))
    return Case("divide", net.graph(net.add(Divide(), a, b, name="op")))


def _split() -> Case:
    net = Builder("split")
    x = net.input("x", "NCHW", (6, 3, 5))
    a, b, c = net.add(Split("C", (1, 2, 3)), x, name="split")
    b = net.add(Conv(3, (1, 1)), b, name="conv")
    a = net.add(Multiply(), a, c, name="multiply")
    return Case("split", net.graph(net.add(Concat(), b, a, name="concat")))


def _split_outputs() -> Case:
    net = Builder("split_outputs")
    x = net.input("x", *ROW)
    pieces = net.add(Split("F", (2, 4)), net.add(Dense(6), x, name="dense"), name="cut")
    return Case("split-outputs", net.graph(*pieces), "two outputs")


def _branches() -> Case:
    net = Builder("branches")
    x = net.input("x", *EVEN)
    one = net.add(Conv(2, (1, 1)), x, name="one")
    three = net.add(Conv(3, (3, 3), padding=1), x, name="three")
    pool = net.add(MaxPool((3, 3), 1, 1), x, name="pool")
    x = net.add(Concat(), one, three, pool, name="concat")
    x = net.add(Relu(), net.add(BatchNorm(0.8), x, name="norm"), name="relu")
    x = net.add(GlobalAvgPool(), x, name="mean")
    return Case("branches", net.graph(net.add(Dense(3), x, name="head")), "Inception")


def _residual() -> Case:
    block = Builder("Bottleneck")
    channels, stride = block.parameter("channels"), block.parameter("stride")
    x = block.input("x", "NCHW", (None, None, None))
    y = block.add(Conv(channels, (1, 1), bias=False), x, name="conv1")
    y = block.add(Relu(), block.add(BatchNorm(), y, name="bn1"), name="relu1")
    y = block.add(
        Conv(channels, (3, 3), (stride, stride), 1, bias=False), y, name="conv2"
    )
    y = block.add(Relu(), block.add(BatchNorm(), y, name="bn2"), name="relu2")
    y = block.add(Conv(2 * channels, (1, 1), bias=False), y, name="conv3")
    y = block.add(BatchNorm(unbiased=True), y, name="bn3")
    first = block.add(
        Conv(2 * channels, (1, 1), (stride, stride), bias=False), x, name="shortcut"
    )
    down = block.block(
        block.add(Relu(), block.add(Add(), y, first, name="add"), name="relu3")
    )
    same = Builder("Residual")
    width = same.parameter("width")
    x = same.input("x", "NCHW", (width, None, None))
    y = same.add(Conv(width, (3, 3), padding=1), x, name="conv")
    y = same.add(Add(), y, x, name="add")
    plain = same.block(same.add(Tanh(), y, name="tanh"))
    net = Builder("residual")
    x = net.input("x", "NCHW", (3, 8, 6))
    x = net.call(down, x, name="down", channels=2, stride=2)
    x = net.call(plain, x, name="stage", times=2, width=4)
    x = net.add(GlobalAvgPool(), x, name="pool")
    return Case(
        "residual",
        net.graph(net.add(Dense(3), x, name="head")),
        "a block with two sizes, and one used twice in a row",
    )


def _nested() -> Case:
    inner = Builder("Unit")
    width = inner.parameter("width")
    x = inner.input("x", "NF", (None,))
    x = inner.add(Dense(width), x, name="dense")
    unit = inner.block(inner.add(Elu(), x, name="elu"))
    outer = Builder("Stage")
    size = outer.parameter("size")
    x = outer.input("x", "NF", (None,))
    x = outer.call(unit, x, name="wide", width=2 * size)
    x = outer.call(unit, x, name="units", times=2, width=size)
    stage = outer.block(x)
    net = Builder("nested")
    x = net.input("x", *ROW)
    x = net.call(stage, x, name="first", size=3)
    x = net.call(stage, x, name="more", times=2, size=2)
    return Case("nested", net.graph(x), "blocks in blocks, sizes handed down")


def _flatten_concat() -> Case:
    net = Builder("flatten_concat")
    image, row = net.input("image", *IMAGE), net.input("row", *ROW)
    flat = net.add(Flatten(), net.add(Conv(2, (2, 2)), image, name="conv"), name="flat")
    x = net.add(Concat("F"), row, flat, name="concat")
    return Case(
        "flatten-concat-dense",
        net.graph(net.add(Dense(3), x, name="dense")),
        "part of the features was flattened from an image",
    )


def _squeeze() -> Case:
    net = Builder("squeeze")
    x = net.input("x", *EVEN)
    s = net.add(ReduceMean("HW", keep=True), x, name="mean")
    s = net.add(Silu(), net.add(Conv(2, (1, 1)), s, name="reduce"), name="silu")
    s = net.add(Sigmoid(), net.add(Conv(4, (1, 1)), s, name="expand"), name="gate")
    x = net.add(Multiply(), x, s, name="scale")
    return Case("squeeze-excite", net.graph(x), "a channel's share of all of space")


_NETWORKS = [
    _divide(),
    _split(),
    _split_outputs(),
    _branches(),
    _residual(),
    _nested(),
    _flatten_concat(),
    _squeeze(),
    _chain("conv-flatten-dense", IMAGE, Conv(4, (2, 3)), Relu(), Flatten(), Dense(3)),
    _chain(
        "conv-flatten-norm-dense",
        IMAGE,
        Conv(4, (2, 3)),
        Flatten(),
        BatchNorm(0.8),
        Dropout(0.3),
        Dense(3),
        notes="weights of the norm follow the order of the flattened image",
    ),
    _chain(
        "conv-flatten-layer-norm-dense",
        IMAGE,
        Conv(4, (2, 3)),
        Flatten(),
        LayerNorm(),
        Tanh(),
        Dense(3),
    ),
    _chain("conv-1d-flatten-dense", LINE, Conv(4, (2,)), Flatten(), Dense(3)),
    _chain("conv-3d-flatten-dense", VOLUME, Conv(2, (2, 2, 2)), Flatten(), Dense(3)),
    _chain(
        "lenet",
        ("NCHW", (1, 13, 11)),
        Conv(3, (3, 3)),
        Tanh(),
        MaxPool((2, 2)),
        Conv(4, (3, 2)),
        Tanh(),
        MaxPool((2, 2)),
        Flatten(),
        Dense(5),
        Tanh(),
        Dense(3),
    ),
    _chain(
        "vgg",
        ("NCHW", (3, 8, 12)),
        Conv(4, (3, 3), padding=1),
        Relu(),
        Conv(4, (3, 3), padding=1),
        Relu(),
        MaxPool((2, 2)),
        Dropout(0.25),
        Flatten(),
        Dense(7),
        Relu(),
        Dropout(0.5),
        Dense(3),
    ),
    _chain("mlp", ROW, Dense(7), Relu(), Dropout(0.2), Dense(5), Relu(), Dense(3)),
    _chain(
        "autoencoder",
        EVEN,
        Conv(3, (3, 3), 2, 1),
        LeakyRelu(0.1),
        ConvTranspose(4, (3, 3), 2, 1, output_padding=1),
        Sigmoid(),
    ),
    _chain(
        "image-to-sequence",
        IMAGE,
        Conv(4, (3, 1)),
        ReduceMax("H"),
        Transpose("NWC"),
        Reshape("TF", (5, 4)),
        GRU(3),
        notes="columns of an image read as steps",
    ),
]

CASES: dict[str, Case] = {
    case.name: case for case in (*_SINGLE, *_RECURRENT, *_attention(), *_NETWORKS)
}

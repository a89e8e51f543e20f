"""Operations: shapes that infer() promises, weights, attributes, messages."""

from __future__ import annotations

import re

import pytest

from cases import CASES, Case
from netglot import ops, reference
from netglot.graph import infer_nodes
from netglot.ops import ShapeError, Type
from netglot.symbols import Symbol

pytestmark = pytest.mark.text

EVERY = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def image(channels=3, height=7, width=5) -> Type:
    return Type("NCHW", (None, channels, height, width))


# --- Shapes ---------------------------------------------------------------------------


@EVERY
def test_shapes_are_those_the_reference_computes(case: Case):
    trace = reference.forward(case.graph, case.weights(), case.inputs())
    flat = case.graph.flat()
    given = {
        name: Type(type_.axes, (case.batch, *type_.shape[1:]), type_.dtype)
        for name, type_ in flat.inputs
    }
    types = infer_nodes(flat.nodes, given)
    assert types.keys() == trace.values.keys()
    for name, type_ in types.items():
        assert trace.values[name].shape == type_.shape, name
    for name, type_ in flat.types().items():
        assert type_.axes == types[name].axes
        assert type_.shape[1:] == types[name].shape[1:], name


@pytest.mark.parametrize(
    ("op", "given", "expected"),
    [
        # By PyTorch 2.13.0.
        (ops.Conv(8, (3, 3)), image(), "C 8 x H 5 x W 3"),
        (ops.Conv(8, (3, 3), 2, 1), image(), "C 8 x H 4 x W 3"),
        (ops.Conv(8, (3, 2), dilation=(2, 3)), image(), "C 8 x H 3 x W 2"),
        (ops.Conv(64, (7, 7), 2, 3), image(3, 224, 224), "C 64 x H 112 x W 112"),
        (ops.ConvTranspose(2, (3, 4), 2, 1, (1, 0)), image(), "C 2 x H 14 x W 10"),
        (ops.MaxPool((3, 3), 2, 1), image(64, 112, 112), "C 64 x H 56 x W 56"),
        (ops.MaxPool((2, 2)), image(), "C 3 x H 3 x W 2"),
        (ops.MaxPool((2, 2), ceil=True), image(), "C 3 x H 4 x W 3"),
        (ops.MaxPool((2, 2), 2, 1, ceil=True), image(), "C 3 x H 4 x W 3"),
        (ops.AvgPool((3, 3), 2, 1, ceil=True), image(1, 4, 4), "C 1 x H 3 x W 3"),
        (ops.Flatten(), image(), "F 105"),
        (ops.GlobalAvgPool(), image(), "F 3"),
        (ops.ReduceSum("CW"), image(), "H 7"),
        (ops.ReduceMean("HW", keep=True), image(), "C 3 x H 1 x W 1"),
        (ops.Slice("W", -1, None, -2), image(), "C 3 x H 7 x W 3"),
        (ops.Slice("H", 1, -1), image(), "C 3 x H 5 x W 5"),
        (ops.Upsample((2, 3)), image(), "C 3 x H 14 x W 15"),
        (ops.Pad(((1, 2), (0, 3))), image(), "C 3 x H 10 x W 8"),
        (ops.LSTM(4, direction="both"), Type("NTF", (None, 5, 3)), "F 8"),
        (
            ops.GRU(4, returns="sequence"),
            Type("NTF", (None, None, 3)),
            "T ? x F 4",
        ),
    ],
    ids=str,
)
def test_known_shapes(op: ops.Op, given: Type, expected: str):
    assert str(op.infer(given)[0]) == expected


def test_unknown_sizes_stay_unknown():
    x = image(3, None, 5)
    for op in (ops.Conv(2, (3, 3)), ops.MaxPool((2, 2)), ops.ConvTranspose(2, (2, 2))):
        assert op.infer(x)[0].shape[2] is None
        assert op.infer(x)[0].shape[3] is not None
    assert ops.Flatten().infer(x)[0].shape == (None, None)
    assert ops.Slice("H", 1).infer(x)[0].shape[2] is None


def test_symbols_go_through():
    channels = Symbol("channels")
    (y,) = ops.Conv(4 * channels, (1, 1)).infer(image(channels))
    assert str(y.size("C")) == "4 * channels"
    weights = ops.Conv(channels, (3, 3), groups=channels).weights(image(channels))
    assert str(weights["kernel"].shape[1]) == "channels // channels"
    (z,) = ops.Concat("C").infer(y, image(3))
    assert str(z.size("C")) == "4 * channels + 3"
    resolved = ops.Conv(4 * channels, (3, 3), (channels, 1)).resolve({"channels": 2})
    assert resolved == ops.Conv(8, (3, 3), (2, 1))


# --- Attributes -----------------------------------------------------------------------


def test_attributes_are_given_per_axis():
    conv = ops.Conv(8, (3, 3), 2, 1)
    assert conv == ops.Conv(8, (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1))
    assert ops.Conv(8, (3, 3), padding=(1, 0)).padding == ((1, 1), (0, 0))
    assert ops.MaxPool((3, 2)).stride == (3, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ops.Conv(8, (3, 3), (1, 2, 3)), "for each of 2 axes"),
        (lambda: ops.Conv(8, (3,), padding=(1, 1)), "for each of 1 axes"),
        (lambda: ops.Dropout(1.0), "0 <= rate < 1"),
        (lambda: ops.LSTM(3, direction="bidirectional"), "forward, backward, both"),
        (lambda: ops.LSTM(3, bias="candidate"), "LSTM has no bias 'candidate'"),
        (lambda: ops.GRU(3, bias="candidat"), "two, one, none, candidate"),
        (lambda: ops.GRU(3, reset="late"), "GRU has no reset 'late'"),
        (lambda: ops.SimpleRNN(3, activation="swish"), "tanh, relu, sigmoid"),
        (lambda: ops.SimpleRNN(3, returns="all"), "sequence, last"),
        (lambda: ops.Upsample((2,), "cubic"), "nearest, bilinear"),
    ],
)
def test_attributes_that_mean_nothing(make, message: str):
    with pytest.raises(ShapeError, match=message):
        make()


@pytest.mark.parametrize(
    ("op", "given", "message"),
    [
        (ops.Dense(3), [image()], "put Flatten() before it"),
        (ops.Conv(4, (3,)), [image()], "Conv reads 'NCW', and is given 'NCHW'"),
        (ops.Conv(4, (8, 3)), [image()], "a window of 8 does not fit into 7"),
        (ops.Conv(4, (3, 3), groups=2), [image()], "3 channels do not divide into 2"),
        (ops.Conv(3, (1, 1), groups=2), [image(4)], "3 channels do not divide into 2"),
        (ops.MaxPool((2, 6)), [image()], "a window of 6 does not fit into 5"),
        (ops.GroupNorm(2), [image()], "3 channels do not divide into 2 groups"),
        (ops.GlobalAvgPool(), [Type("NC", (None, 4))], "NC and axes of space"),
        (ops.LayerNorm(), [Type("NFT", (None, 4, 5))], "on the last axis F"),
        (ops.RMSNorm(), [Type("NFT", (None, 4, 5))], "on the last axis F"),
        (ops.LSTM(3), [Type("NF", (None, 4))], "LSTM reads 'NTF'"),
        (ops.Embedding(9, 2), [Type("NF", (None, 4))], "Embedding reads 'NT'"),
        (ops.Softmax("T"), [image()], "has no axis 'T': its axes are 'NCHW'"),
        (ops.Split("C", (1, 1)), [image()], "(1, 1) do not add up to 3"),
        (ops.Reshape("TF", (5, 5)), [image()], "105 elements do not fill"),
        (ops.Transpose("NHW"), [image()], "is not an order of 'NCHW'"),
        (ops.Slice("C", 3), [image()], "nothing is left of 3 along C"),
        (ops.Add(), [image(), image(4)], "sizes 3 and 4 along C do not match"),
        (ops.Add(), [image(), Type("NF", (None, 3))], "'NCHW' and 'NF' do not match"),
        (ops.Concat("C"), [image(), image(3, 6)], "does not match"),
        (
            ops.MultiHeadAttention(3),
            [Type("NTF", (None, 5, 4))],
            "4 features do not divide into 3 heads",
        ),
        (
            ops.MultiHeadAttention(2),
            [Type("NTF", (None, t, 4)) for t in (5, 3, 2)],
            "key and value differ in their steps",
        ),
        (ops.MatMul(), [Type("NTF", (None, 5, 4))] * 2, "sizes 4 and 5 do not match"),
    ],
    ids=lambda value: str(value) if isinstance(value, ops.Op) else "",
)
def test_inputs_that_do_not_fit(op: ops.Op, given: list[Type], message: str):
    with pytest.raises(ShapeError, match=re.escape(message)):
        op.infer(*given)


# --- Weights --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dense", {"kernel": "OI", "bias": "O"}),
        ("conv-2d", {"kernel": "OIHW", "bias": "O"}),
        ("conv-transpose-3d", {"kernel": "IODHW", "bias": "O"}),
        ("batch-norm", dict.fromkeys(("scale", "shift", "mean", "variance"), "C")),
        ("batch-norm-features", dict.fromkeys(("scale", "shift"), "F")),
        ("layer-norm", {"scale": "F", "shift": "F"}),
        ("embedding", {"table": "VF"}),
        ("gru", {"kernel": "GI", "recurrent": "GH", "recurrent_bias": "G"}),
        ("lstm-both", {"kernel": "GI", "kernel_back": "GI", "recurrent_back": "GH"}),
    ],
)
def test_axes_of_weights(name: str, expected: dict[str, str]):
    weights = CASES[name].graph.weights()
    found = {path.rpartition(".")[2]: weight.axes for path, weight in weights.items()}
    assert expected.items() <= found.items()


def test_weights_of_a_candidate_bias():
    weights = CASES["gru-after-candidate"].graph.weights()
    assert weights["op.bias"].shape == (9,)
    assert weights["op.recurrent_bias"].shape == (3,)
    assert weights["op.recurrent_bias"].gates == "n"
    assert weights["op.kernel"].gates == "rzn"


def test_weights_of_attention_follow_their_inputs():
    shapes = {k: w.shape for k, w in CASES["attention-three"].graph.weights().items()}
    assert shapes["op.query_kernel"] == shapes["op.output_kernel"] == (4, 4)
    assert shapes["op.key_kernel"] == (4, 6)
    assert shapes["op.value_kernel"] == (4, 2)


def test_only_statistics_are_not_trained():
    for case in CASES.values():
        for path, weight in case.graph.weights().items():
            statistic = path.rpartition(".")[2] in ("mean", "variance")
            assert weight.trained is not statistic, path


def test_a_flattened_axis_is_remembered():
    merged = (("C", 4), ("H", 6), ("W", 3))
    for name in ("conv-flatten-norm-dense", "conv-flatten-layer-norm-dense"):
        weights = CASES[name].graph.weights()
        assert weights["dense1.kernel"].merged == {"I": merged}
        for path, weight in weights.items():
            if "norm" in path:
                assert weight.merged == {"F": merged}, path


def test_a_second_flatten_forgets_nothing():
    (once,) = ops.Flatten().infer(image())
    assert ops.Flatten().infer(once) == (once,)

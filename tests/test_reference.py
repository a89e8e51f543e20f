"""The reference: against PyTorch's numbers, plain loops, and central differences."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest

from cases import CASES, Case
from netglot import ops, reference
from netglot.errors import UserError
from netglot.graph import Builder, Graph
from netglot.recipe import (
    SGD,
    Adam,
    GlorotUniform,
    Initializers,
    MeanSquaredError,
    Recipe,
    SoftmaxCrossEntropy,
    Uniform,
    Zeros,
)
from netglot.reference import OptimizerState

pytestmark = pytest.mark.text

EVERY = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())

#: What PyTorch 2.13.0 computed for a case in float64: the first output in evaluation,
#: and all gradients of its mean square in training, with the case's masks; each as a
#: sum weighted by ``cos(0.7 i + 0.3)``. GRU forms that PyTorch has not are left out.
TORCH = {
    "dense": (-3.16485577901, -0.0169714123639),
    "dense-no-bias": (-3.97542183385, -0.663552123098),
    "dense-sequence": (6.3024781488, -0.169531382509),
    "conv-1d": (12.9576514344, -1.52056501698),
    "conv-1d-odd": (1.71928808067, 0.238408780832),
    "conv-2d": (4.04720231807, -3.76051380793),
    "conv-2d-same": (-0.108875455595, -2.72749390253),
    "conv-2d-pointwise": (-2.14911969601, 0.289893755293),
    "conv-2d-stride": (17.2952642588, -2.09843855597),
    "conv-2d-asymmetric": (8.02690444492, 0.722139316754),
    "conv-2d-uneven": (20.6122947552, -1.74438767012),
    "conv-2d-dilation": (-0.727857917217, -2.69753790153),
    "conv-2d-groups": (5.60922207056, -0.929958528653),
    "conv-2d-depthwise": (-18.4763502942, -0.141375360548),
    "conv-2d-multiplier": (11.6263579609, -0.736176275101),
    "conv-3d": (17.4467753744, -1.96138889131),
    "conv-transpose-1d": (12.4610497302, -0.341738570358),
    "conv-transpose-2d": (10.459656676, -0.374919712729),
    "conv-transpose-2d-padding": (1.36284856557, -0.502510586881),
    "conv-transpose-2d-uneven": (-24.3141190467, -0.591074848826),
    "conv-transpose-2d-groups": (26.5525187344, -0.582858379544),
    "conv-transpose-2d-dilation": (21.1776315734, -1.00159157311),
    "conv-transpose-3d": (0.452543523993, -0.541629184748),
    "max-pool-1d": (-4.16084551212, -0.365780640133),
    "max-pool-2d": (8.07413308563, 0.00870446465511),
    "max-pool-2d-drop": (1.27219822892, -0.0141068724954),
    "max-pool-2d-overlap": (-1.84264951156, -0.0971658581417),
    "max-pool-2d-padding": (6.14055563814, 0.0925159106417),
    "max-pool-2d-uneven": (15.5712900772, 0.0556764580328),
    "max-pool-2d-ceil": (7.55108820498, -0.0810734922175),
    "max-pool-2d-ceil-padding": (2.36082044478, 0.0134421057948),
    "max-pool-3d": (3.46824265756, 0.470236541583),
    "avg-pool-1d": (-1.11422865092, -0.0248813841637),
    "avg-pool-2d": (6.00750089219, -0.00402272903083),
    "avg-pool-2d-padding": (2.80313466129, 0.010111569072),
    "avg-pool-2d-counted": (1.17644791928, -0.0015608826555),
    "avg-pool-2d-ceil": (1.22228396828, -0.00664864501173),
    "avg-pool-2d-ceil-counted": (1.29894697812, 0.000745635393678),
    "avg-pool-3d": (0.813555924594, 0.00799853522032),
    "global-avg-pool-1d": (-0.942468378066, -0.00014108729064),
    "global-avg-pool": (0.144578215072, 0.000312624259261),
    "global-max-pool": (0.561080618096, 0.0857701720665),
    "global-max-pool-3d": (-2.50503611678, 1.85139647706),
    "batch-norm": (-6.30602237084, 0.48208637972),
    "batch-norm-odd": (-6.30353616412, 0.48140869173),
    "batch-norm-plain": (-10.5224098716, -5.88475581365e-07),
    "batch-norm-no-scale": (-9.78665774861, -0.168826733366),
    "batch-norm-features": (-4.55281429029, -0.509376902339),
    "batch-norm-1d": (-3.16556262438, 0.482087825359),
    "batch-norm-3d": (2.9824555046, 0.721635513941),
    "layer-norm": (-3.03902502246, -1.07373421047),
    "layer-norm-sequence": (4.21450634053, 0.0612607565814),
    "layer-norm-plain": (7.53073398164, 6.99604215608e-06),
    "rms-norm": (-3.51717398603, 0.239723518441),
    "rms-norm-plain": (-1.93318543642, -0.00044144834507),
    "group-norm": (-6.47421962557, -0.1338880892),
    "group-norm-odd": (-6.67778125524, 0.212238748378),
    "dropout": (-2.56745705337, -0.822988903537),
    "embedding": (-1.80965198542, -0.123786804955),
    "relu": (-4.22225810058, -0.0268079879402),
    "leaky-relu": (-5.09795381829, -0.0279199825024),
    "leaky-relu-default": (-0.724077787588, -0.0784048883256),
    "elu": (-1.143500185, -0.0588220653434),
    "elu-alpha": (-1.012087468, -0.0687987537352),
    "selu": (-1.51134723886, -0.0260691453834),
    "gelu": (-0.455414873257, -0.0724584151076),
    "gelu-tanh": (-0.454890851587, -0.0723904580419),
    "silu": (-0.485620786058, -0.0463002907548),
    "sigmoid": (-0.405367268781, -0.00877623971149),
    "tanh": (-0.962693891692, 0.0169336200757),
    "softplus": (-0.741411064946, -0.0614362368292),
    "softmax": (-0.270252121033, -0.0073610394514),
    "softmax-channels": (-1.3157302602, -0.00356975171956),
    "softmax-steps": (-0.217967762944, 0.00212118082168),
    "log-softmax": (-3.08338242983, -0.529944412658),
    "log-softmax-channels": (-4.01349663646, -0.0661722519093),
    "negative": (2.56745705337, -0.28527300593),
    "exp": (-1.51732367073, -0.358554646933),
    "log": (1.17107613076, -0.23076083597),
    "sqrt": (1.31644420895, -0.28527300593),
    "abs": (1.15654146336, -0.28527300593),
    "square": (-0.780062681901, 0.0695346647493),
    "clip": (-6.34518357212, -0.00726874591223),
    "relu6": (-24.4760685418, -0.254874339155),
    "scale": (3.86343751248, -0.643906252079),
    "add": (-31.0959938258, -0.394869762868),
    "add-broadcast": (-7.4294814719, -0.350026478656),
    "subtract": (0.708980868799, 0),
    "multiply": (-8.02096700887, -0.205672382828),
    "multiply-channels": (16.0240073109, -0.452722515604),
    "multiply-space": (-1.16878828568, -0.00872947666949),
    "maximum": (-5.00557507973, -0.556175008859),
    "minimum": (-0.838319895806, -0.0931466550895),
    "matmul": (-5.36197045515, -0.379709160471),
    "matmul-transpose": (5.14785922686, -1.7267422936),
    "concat": (1.60458804675, -0.0654790999633),
    "concat-height": (0.671465565842, -0.0696634562995),
    "concat-features": (-0.653565553316, -0.5010829456),
    "concat-steps": (5.32158907578, -0.0805305045937),
    "slice": (16.7211511497, -0.0621618390376),
    "slice-step": (17.783207735, -0.0535597421435),
    "slice-last": (-1.43381348065, 0.057277763995),
    "reshape": (-6.08691009459, -0.338161671922),
    "flatten": (-8.6007366891, -0.0546078519943),
    "flatten-sequence": (-1.23734838031, -0.0412449460103),
    "transpose": (-0.0316315871059, -0.0412449460103),
    "transpose-image": (-9.67144390537, -0.0546078519943),
    "pad": (13.2369186766, -0.0238909352475),
    "pad-value": (-20.0836125011, -0.0298636690594),
    "pad-1d": (-5.58481622657, -0.0683430184703),
    "reduce-mean": (0.144578215072, 0.000312624259261),
    "reduce-mean-keep": (-1.79584729632, -0.0412945811215),
    "reduce-mean-steps": (-0.331209745936, -0.000286274064958),
    "reduce-sum": (21.5189849472, -12.4339791178),
    "reduce-sum-keep": (5.06023752753, 0.382964717594),
    "reduce-max": (3.2866753831, -0.118793213148),
    "reduce-max-keep": (0.66653336914, -0.00758759336193),
    "upsample-1d": (6.28223692132, -0.0911240246271),
    "upsample-nearest": (10.8931688616, -0.0546078519943),
    "upsample-bilinear": (42.992424965, -0.00660170756989),
    "upsample-bilinear-odd": (40.5948403742, -0.01523350366),
    "rnn": (2.28430463355, -0.421737483541),
    "rnn-relu": (1.86512294638, -3.14772323526),
    "rnn-sequence": (5.13828065456, -0.298237842257),
    "rnn-both": (0.992328058499, -0.0751467258532),
    "lstm": (-0.48230846689, -0.0296452746925),
    "lstm-two": (0.548305039517, -0.00627387576846),
    "lstm-no-bias": (-0.293113190092, 0.0085882924666),
    "lstm-backward": (-0.049201178614, -0.0669113132502),
    "lstm-backward-sequence": (0.955349336784, -0.0073002726102),
    "lstm-both": (-0.275281941454, -0.00549162901887),
    "lstm-both-sequence": (1.39817812901, 0.00733160889573),
    "gru": (-0.618414219236, -0.147457743954),
    "gru-sequence": (0.494066227913, 0.0624975936563),
    "gru-after-none": (-0.902453090859, 0.00891470307005),
    "gru-backward": (0.192421266148, 0.128007726243),
    "gru-both": (-0.366614615684, 0.0733084633799),
    "lstm-stacked": (0.435890716084, -0.540219772118),
    "words-gru": (0.927399811561, -1.41851028311),
    "words-lstm": (0.578140675079, -0.582545072362),
    "words-mean": (0.721689747529, -0.716270654057),
    "attention": (-1.81881965145, -0.263324343119),
    "attention-causal": (0.443007140595, -1.02387254281),
    "attention-no-bias": (-1.1906769421, 1.15475725579),
    "attention-cross": (-0.307623674413, -1.11632043508),
    "attention-three": (0.487743725016, 0.192709654003),
    "attention-by-hand": (-2.30280112841, 0.42390223115),
    "encoder": (4.1470948347, 3.67865918064),
    "divide": (-0.898308631937, -0.113756927724),
    "split": (10.1792702206, -0.28112575418),
    "split-outputs": (0.894682512386, 1.4389160874),
    "branches": (0.588480016606, 1.17066818848),
    "residual": (0.198866357903, 0.0688063864423),
    "nested": (0.42997557699, -0.359626759326),
    "flatten-concat-dense": (-9.16507936967, -8.94008165519),
    "squeeze-excite": (-3.45483293681, 0.0470568894022),
    "conv-flatten-dense": (-9.46444451551, -30.1711695459),
    "conv-flatten-norm-dense": (21.6866432561, 7.84560200156),
    "conv-flatten-layer-norm-dense": (-4.43501603999, 2.99743890381),
    "conv-1d-flatten-dense": (-11.1779687822, -16.847060976),
    "conv-3d-flatten-dense": (-2.094691655, 18.6794549219),
    "lenet": (0.336580977023, -0.586890838335),
    "vgg": (12.6407487436, -819.575917091),
    "mlp": (0.777193608434, 0.953735903014),
    "autoencoder": (1.44243415002, 0.0277996204974),
    "image-to-sequence": (-0.170589889231, -0.879690234238),
}


def project(array: np.ndarray) -> float:
    """The sum that ``TORCH`` holds."""
    flat = np.asarray(array, np.float64).reshape(-1)
    return float(flat @ np.cos(np.arange(flat.size) * 0.7 + 0.3))


def slopes(case: Case, dtype: type = np.float64, training: bool = True):
    target = np.zeros(output(case).shape)
    return reference.gradients(
        case.graph,
        MeanSquaredError(),
        case.weights(),
        case.inputs(),
        target,
        training=training,
        dropout=case.masks(),
        of_inputs=True,
        dtype=dtype,
    )


def output(case: Case) -> np.ndarray:
    trace = reference.forward(case.graph, case.weights(), case.inputs())
    return trace.outputs[0]


def single(op: ops.Op, axes: str, shape: tuple[int, ...], dtype: str = "float32"):
    net = Builder("net")
    return net.graph(net.add(op, net.input("x", axes, shape, dtype), name="op"))


def compute(op: ops.Op, axes: str, x: np.ndarray, weights=None, **keywords):
    """One operation without a graph around it."""
    given = {f"op.{name}": value for name, value in (weights or {}).items()}
    graph = single(op, axes, x.shape[1:])
    return reference.forward(graph, given, {"x": x}, **keywords).outputs[0]


def derivative(op: ops.Op, *values: float) -> list[float]:
    """Of the sum of an operation's outputs, in each of the numbers it reads."""
    net = Builder("net")
    inputs = [net.input(f"x{i}", "NF", (1,)) for i in range(len(values))]
    graph = net.graph(net.add(op, *inputs))
    given = {f"x{i}": np.array([[value]]) for i, value in enumerate(values)}
    scores = reference.forward(graph, {}, given).outputs[0]
    # With the target half below the scores the slope of the loss in them is 1.
    _, result, _ = reference.gradients(
        graph, MeanSquaredError(), {}, given, scores - 0.5, of_inputs=True
    )
    return [float(result[name][0, 0]) for name in given]


# --- Every operation ------------------------------------------------------------------


def test_every_operation_has_a_meaning():
    assert set(reference.MEANING) == set(ops.OPERATIONS.values())


def test_every_operation_has_a_case():
    used = {type(n.op) for c in CASES.values() for n in c.graph.flat().nodes}
    assert set(ops.OPERATIONS.values()) - used == set()


@pytest.mark.parametrize("name", TORCH)
def test_case_is_what_torch_computes(name: str):
    case = CASES[name]
    _, gradients, _ = slopes(case)
    found = project(output(case)), sum(project(g) for g in gradients.values())
    assert found == pytest.approx(TORCH[name], rel=1e-10, abs=1e-10)


@EVERY
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_gradient_is_central_difference(case: Case, training: bool):
    weights, inputs = case.weights(), case.inputs()
    value, gradients, _ = slopes(case, training=training)
    generator, step = np.random.default_rng(7), 1e-5

    def loss(path: str, move: np.ndarray) -> float:
        moved = {p: a + move if p == path else a for p, a in weights.items()}
        read = {p: a + move if p == path else a for p, a in inputs.items()}
        trace = reference.forward(
            case.graph, moved, read, training=training, dropout=case.masks()
        )
        return float(np.mean(trace.outputs[0] ** 2))

    trained = {p for p, w in case.graph.weights().items() if w.trained}
    assert set(gradients) >= trained
    for path, gradient in gradients.items():
        direction = generator.normal(size=gradient.shape)
        up, down = loss(path, step * direction), loss(path, -step * direction)
        slope = float(np.sum(gradient * direction))
        assert (up - down) / (2 * step) == pytest.approx(slope, rel=1e-6, abs=1e-8), (
            path
        )
    # gradients() and forward() compute one network.
    assert value == pytest.approx(loss("", np.zeros(())), rel=1e-12)


@EVERY
def test_single_precision_stays_and_is_close(case: Case):
    exact = reference.forward(case.graph, case.weights(), case.inputs())
    trace = reference.forward(
        case.graph, case.weights(), case.inputs(), dtype=np.float32
    )
    for name, value in trace.values.items():
        if value.dtype.kind == "f":
            assert value.dtype == np.float32, name
            np.testing.assert_allclose(value, exact.values[name], 1e-4, 1e-5)
    _, gradients, _ = slopes(case, np.float32)
    assert {g.dtype for g in gradients.values()} <= {np.dtype(np.float32)}


# --- Plain loops ----------------------------------------------------------------------


def convolve(op: ops.Conv, x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """A convolution as its definition reads, one number at a time."""
    dims = len(op.kernel)
    sizes = tuple(
        (n + sum(p) - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(
            x.shape[2:], op.padding, op.dilation, op.kernel, op.stride, strict=True
        )
    )
    y = np.zeros((x.shape[0], op.channels, *sizes))
    per_group = op.channels // op.groups
    for place in np.ndindex(*y.shape):
        n, channel, *position = place
        first = channel // per_group * kernel.shape[1]
        for inside in np.ndindex(*kernel.shape[1:]):
            i, *offset = inside
            at = [
                position[a] * op.stride[a]
                + offset[a] * op.dilation[a]
                - op.padding[a][0]
                for a in range(dims)
            ]
            if all(0 <= a < size for a, size in zip(at, x.shape[2:], strict=True)):
                y[place] += kernel[(channel, *inside)] * x[(n, first + i, *at)]
    return y


CONVOLUTIONS = [
    name for name in CASES if name.startswith("conv-") and "transpose" not in name
]


@pytest.mark.parametrize(
    "name",
    [name for name in CONVOLUTIONS if type(CASES[name].graph.nodes[-1].op) is ops.Conv],
)
def test_convolution_is_its_definition(name: str):
    case = CASES[name]
    weights, x = case.weights(), case.inputs()["x"]
    op = case.graph.nodes[0].op
    expected = convolve(op, x, weights["op.kernel"])
    if op.bias:
        bias = weights["op.bias"]
        expected += bias.reshape(-1, *[1] * (expected.ndim - 2))
    np.testing.assert_allclose(output(case), expected, 1e-12, 1e-12)


@pytest.mark.parametrize("name", [n for n in CASES if n.startswith("conv-transpose")])
def test_transposed_convolution_is_the_adjoint(name: str):
    case = CASES[name]
    op = case.graph.nodes[0].op
    weights, x = case.weights(), case.inputs()["x"]
    plain = dataclasses.replace(op, bias=False)
    y = compute(
        plain, case.graph.inputs[0][1].axes, x, {"kernel": weights["op.kernel"]}
    )
    forward = ops.Conv(
        x.shape[1],
        op.kernel,
        op.stride,
        op.padding,
        op.dilation,
        op.groups,
        bias=False,
    )
    other = np.random.default_rng(5).normal(size=y.shape)
    # A kernel IO of the transposed one is a kernel OI of the convolution.
    back = convolve(forward, other, weights["op.kernel"])
    back = back[(..., *(slice(n) for n in x.shape[2:]))]
    assert np.sum(y * other) == pytest.approx(np.sum(x * back), rel=1e-12)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("reset", ["after", "before"])
@pytest.mark.parametrize("bias", ["two", "one", "none", "candidate"])
def test_gru_forms(reset: str, bias: str):
    op = ops.GRU(3, bias=bias, reset=reset)
    graph = single(op, "NTF", (5, 4))
    case = Case("gru", graph)
    w, x = case.weights(), case.inputs()["x"]
    kernels = np.split(w["op.kernel"], 3)
    r_u, z_u, n_u = np.split(w["op.recurrent"], 3)
    zero = np.zeros(9)
    first = w.get("op.bias", zero)
    second = w.get("op.recurrent_bias", zero)
    if bias == "candidate":
        second = np.concatenate([zero[:6], second])
    h = np.zeros((3, 3))
    for step in range(5):
        r, z, n = (
            x[:, step] @ k.T + b
            for k, b in zip(kernels, np.split(first, 3), strict=True)
        )
        r_b, z_b, n_b = np.split(second, 3)
        r = sigmoid(r + h @ r_u.T + r_b)
        z = sigmoid(z + h @ z_u.T + z_b)
        if reset == "after":
            n = np.tanh(n + r * (h @ n_u.T + n_b))
        else:
            n = np.tanh(n + (r * h) @ n_u.T + n_b)
        h = (1 - z) * n + z * h
    np.testing.assert_allclose(output(case), h, 1e-12, 1e-14)


def test_lstm_gates_stand_in_the_order_i_f_g_o():
    # One unit; only one gate's bias moves the result away from these.
    big = 50.0
    weights = {
        "kernel": np.zeros((4, 1)),
        "recurrent": np.zeros((4, 1)),
        "bias": np.array([big, -big, 0.5, big]),
    }
    x = np.zeros((1, 3, 1))
    h = compute(ops.LSTM(1), "NTF", x, weights)
    assert h == pytest.approx(np.tanh(np.tanh(0.5)))  # nothing kept, all let in and out
    weights["bias"] = np.array([big, big, 0.5, big])
    h = compute(ops.LSTM(1), "NTF", x, weights)
    assert h == pytest.approx(np.tanh(3 * np.tanh(0.5)))  # all kept: three times


def test_causal_attention_does_not_see_ahead():
    case = CASES["attention-causal"]
    before = output(case)
    inputs = case.inputs()
    inputs["x"][:, 3:] += 1.0
    after = reference.forward(case.graph, case.weights(), inputs).outputs[0]
    np.testing.assert_array_equal(after[:, :3], before[:, :3])
    assert np.abs(after[:, 3:] - before[:, 3:]).min() > 0


def test_average_pool_divisors():
    ones = np.ones((1, 1, 4, 4))
    counted = ops.AvgPool((3, 3), 2, 1, ceil=True, count_padding=True)
    # Windows begin at -1, 1 and 3: 2, 3 and 1 values; 3, 3 and 2 with the padding.
    share = np.array([2 / 3, 1, 1 / 2])
    np.testing.assert_allclose(
        compute(counted, "NCHW", ones)[0, 0], np.outer(share, share)
    )
    plain = dataclasses.replace(counted, count_padding=False)
    np.testing.assert_allclose(compute(plain, "NCHW", ones), np.ones((1, 1, 3, 3)))


# --- Where there is no derivative -----------------------------------------------------


@pytest.mark.parametrize(
    ("op", "x", "expected"),
    [
        (ops.Relu(), 0.0, 0.0),
        (ops.LeakyRelu(0.2), 0.0, 0.2),
        (ops.Elu(0.7), 0.0, 0.7),
        (ops.Abs(), 0.0, 0.0),
        (ops.Clip(-1.0, 2.0), -1.0, 1.0),
        (ops.Clip(-1.0, 2.0), 2.0, 1.0),
        (ops.Clip(-1.0, 2.0), 2.5, 0.0),
    ],
    ids=str,
)
def test_derivative_at_a_kink(op: ops.Op, x: float, expected: float):
    assert derivative(op, x) == [pytest.approx(expected)]


@pytest.mark.parametrize("op", [ops.Maximum(), ops.Minimum()], ids=str)
def test_equal_values_share_the_gradient(op: ops.Op):
    assert derivative(op, 1.5, 1.5) == [0.5, 0.5]


@pytest.mark.parametrize(
    "op", [ops.MaxPool((2, 2)), ops.GlobalMaxPool(), ops.ReduceMax("HW")], ids=str
)
def test_first_of_equal_values_gets_the_gradient(op: ops.Op):
    graph = single(op, "NCHW", (1, 2, 2))
    given = {"x": np.array([[[[1.0, 3.0], [3.0, 3.0]]]])}
    shape = reference.forward(graph, {}, given).outputs[0].shape
    target = np.full(shape, 2.5)
    _, result, _ = reference.gradients(
        graph, MeanSquaredError(), {}, given, target, of_inputs=True
    )
    assert result["x"].reshape(-1) == pytest.approx([0, 1, 0, 0])


@pytest.mark.parametrize(
    "op", [ops.Elu(), ops.Selu(), ops.Sigmoid(), ops.Softplus(), ops.Silu()], ids=str
)
@pytest.mark.parametrize("x", [-1e4, 1e4])
def test_nothing_overflows(op: ops.Op, x: float):
    assert np.isfinite(compute(op, "NF", np.array([[x]]))).all()
    assert np.isfinite(derivative(op, x)).all()


def test_softmax_of_large_scores():
    x = np.array([[1e4, 1e4, -1e4]])
    assert compute(ops.Softmax(), "NF", x)[0] == pytest.approx([0.5, 0.5, 0])


# --- Training and evaluation ----------------------------------------------------------


@pytest.mark.parametrize("unbiased", [False, True])
def test_running_statistics(unbiased: bool):
    graph = single(ops.BatchNorm(0.75, unbiased=unbiased), "NF", (1,))
    weights = {
        "op.scale": np.ones(1),
        "op.shift": np.zeros(1),
        "op.mean": np.array([4.0]),
        "op.variance": np.array([8.0]),
    }
    x = {"x": np.array([[1.0], [3.0], [5.0], [7.0]])}
    trace = reference.forward(graph, weights, x, training=True)
    # The mean is 4, the sum of squares about it 20.
    assert trace.running["op.mean"] == pytest.approx(4.0)
    variance = 20 / 3 if unbiased else 5.0
    assert trace.running["op.variance"] == pytest.approx(0.75 * 8 + 0.25 * variance)
    assert trace.outputs[0][0, 0] == pytest.approx(-3 / math.sqrt(5 + 1e-5))
    still = reference.forward(graph, weights, x)
    assert still.running == {}
    assert still.outputs[0][0, 0] == pytest.approx(-3 / math.sqrt(8 + 1e-5))


def test_unbiased_variance_of_one_value_is_refused():
    graph = single(ops.BatchNorm(unbiased=True, scale=False, shift=False), "NF", (1,))
    weights = {"op.mean": np.zeros(1), "op.variance": np.ones(1)}
    with pytest.raises(ValueError, match=r"BatchNorm \(node op\).*more than one value"):
        reference.forward(graph, weights, {"x": np.ones((1, 1))}, training=True)


def test_dropout_drops_by_its_mask_in_training_only():
    graph = single(ops.Dropout(0.2), "NF", (3,))
    x, mask = {"x": np.array([[1.0, 2.0, 3.0]])}, {"op": np.array([[1, 0, 1]])}
    for keywords, expected in (
        ({"training": True, "dropout": mask}, [1.25, 0, 3.75]),
        ({"training": True}, [1, 2, 3]),
        ({"training": False, "dropout": mask}, [1, 2, 3]),
    ):
        found = reference.forward(graph, {}, x, **keywords).outputs[0]
        assert found[0] == pytest.approx(expected)
    with pytest.raises(UserError, match=r"no mask is given for Dropout \(node op\)"):
        reference.forward(graph, {}, x, training=True, dropout={})
    with pytest.raises(UserError, match="mask has the shape"):
        reference.forward(graph, {}, x, training=True, dropout={"op": np.ones(3)})


def test_trace_holds_every_value_by_flat_name():
    case = CASES["residual"]
    trace = reference.forward(case.graph, case.weights(), case.inputs(), training=True)
    names = [value for node in case.graph.flat().nodes for value in node.outputs]
    assert list(trace.values) == ["x", *names]
    assert "stage.0.add" in trace.values
    assert set(trace.running) == {
        path for path, w in case.graph.weights().items() if not w.trained
    }


# --- What does not fit ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w, x: w.pop("dense1.kernel"), "needs an array for its weight dense1.k"),
        (
            lambda w, x: w.update(dense1_kernel=w["dense1.bias"]),
            "Did you mean dense1.k",
        ),
        (
            lambda w, x: w.update({"dense1.kernel": w["dense1.kernel"].T}),
            r"dense1.kernel has the shape \(6, 7\), and is to be \(7, 6\) \(OI\)",
        ),
        (lambda w, x: x.pop("x"), "needs an array for its input x"),
        (lambda w, x: x.update(y=x["x"]), "no input of mlp"),
        (lambda w, x: x.update(x=x["x"][:, :5]), r"input x has the shape \(3, 5\)"),
        (lambda w, x: x.update(x=x["x"] * np.nan), "input x holds NaN"),
    ],
)
def test_arrays_that_do_not_fit_are_named(change, message: str):
    case = CASES["mlp"]
    weights, inputs = case.weights(), case.inputs()
    change(weights, inputs)
    with pytest.raises(UserError, match=message):
        reference.forward(case.graph, weights, inputs)


def test_batches_of_two_inputs_must_agree():
    case = CASES["subtract"]
    inputs = case.inputs()
    inputs["b"] = inputs["b"][:2]
    with pytest.raises(UserError, match=r"input b has the shape .*batch 3"):
        reference.forward(case.graph, {}, inputs)


def test_first_node_with_nan_is_named():
    net = Builder("net")
    x = net.add(ops.Relu(), net.input("x", "NF", (2,)), name="positive")
    x = net.add(ops.Log(), x, name="zero", source="line 7 of net.prototxt")
    x = net.add(ops.Multiply(), x, net.add(ops.Exp(), x, name="exp"), name="culprit")
    graph = net.graph(net.add(ops.Square(), x, name="later"))
    with pytest.raises(
        FloatingPointError, match=r"Multiply \(node culprit\) is the fir"
    ):
        reference.forward(graph, {}, {"x": np.array([[-1.0, 2.0]])})


def test_index_beyond_the_vocabulary_names_the_node():
    graph = single(ops.Embedding(5, 2), "NT", (2,), "int32")
    weights = {"op.table": np.zeros((5, 2))}
    for index in (-1, 5):
        with pytest.raises(ValueError, match=r"Embedding \(node op\).*vocabulary of 5"):
            reference.forward(graph, weights, {"x": np.array([[0, index]])})
    with pytest.raises(UserError, match="holds indices"):
        reference.forward(graph, weights, {"x": np.array([[0.0, 1.0]])})


# --- Losses ---------------------------------------------------------------------------


def test_softmax_cross_entropy():
    scores = np.array([[0.0, 0.0, 0.0, 0.0], [math.log(3), 0, -1e3, -1e3]])
    value = reference.loss(SoftmaxCrossEntropy(), scores, np.array([2, 0]))
    assert value == pytest.approx((math.log(4) + math.log(4 / 3)) / 2)


def test_mean_squared_error_is_a_mean_over_everything():
    scores = np.array([[1.0, 2.0], [3.0, 4.0]])
    value = reference.loss(
        MeanSquaredError(), scores, np.array([[1.0, 0.0], [0.0, 4.0]])
    )
    assert value == pytest.approx((4 + 9) / 4)


@pytest.mark.parametrize(
    ("kind", "target", "message"),
    [
        (SoftmaxCrossEntropy(), np.array([0.0, 1.0]), "integer label"),
        (SoftmaxCrossEntropy(), np.array([0, 2]), "labels from 0 to 2 do not fit"),
        (SoftmaxCrossEntropy(), np.array([[0], [1]]), "integer label"),
        (MeanSquaredError(), np.zeros((2, 1)), "compares"),
    ],
)
def test_target_that_does_not_fit(kind, target, message: str):
    with pytest.raises(UserError, match=message):
        reference.loss(kind, np.zeros((2, 2)), target)


# --- Optimizers -----------------------------------------------------------------------


def walk(optimizer, gradients: list[float], start: float = 1.0) -> list[float]:
    """One weight under given gradients."""
    state, weights, path = OptimizerState(), {"w": np.array([start])}, []
    for gradient in gradients:
        state, weights = reference.optimizer_step(
            optimizer, state, weights, {"w": np.array([gradient])}
        )
        path.append(float(weights["w"][0]))
    return path


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (SGD(0.1), [0.8, 0.9, 0.5]),
        # Velocities 2, 1.5 - .5 ... : 2; .5 * 2 - 1 = 0; .5 * 0 + 4 = 4.
        (SGD(0.1, 0.5), [0.8, 0.8, 0.4]),
        # Moves g + .5 v: 2 + 1 = 3; -1 + 0 = -1; 4 + 2 = 6.
        (SGD(0.1, 0.5, nesterov=True), [0.7, 0.8, 0.2]),
        # g + .5 w: 2.5; -1 + .375; 4 + .40625.
        (SGD(0.1, weight_decay=0.5), [0.75, 0.8125, 0.371875]),
    ],
    ids=str,
)
def test_sgd_by_hand(optimizer: SGD, expected: list[float]):
    assert walk(optimizer, [2.0, -1.0, 4.0]) == pytest.approx(expected)


def test_adam_by_hand():
    # beta1 = .5, beta2 = .75. Step 1: m' = g, v' = g^2, so the move is g / (|g| + eps).
    rule = Adam(0.1, 0.5, 0.75, 0.5)
    first = 1 - 0.1 * 2 / (2 + 0.5)
    # Step 2: m = .5 * 1 - .5 * 1 = 0.
    # Step 3: m = 2, m' = 2 / .875; v = .75 + .25 * 16, v' = v / (1 - .75^3).
    third = first - 0.1 * (2 / 0.875) / (math.sqrt(4.75 / (1 - 0.75**3)) + 0.5)
    assert walk(rule, [2.0, -1.0, 4.0]) == pytest.approx([first, first, third])


def test_adam_with_epsilon_before_the_correction():
    rule = Adam(0.1, 0.5, 0.75, 0.5, "before")
    # Step 1: sqrt(.25) / .5 * (.5 * 2) / (sqrt(.25 * 4) + .5) = 1 / 1.5.
    first = 1 - 0.1 / 1.5
    third = first - 0.1 * math.sqrt(1 - 0.75**3) / 0.875 * 2 / (math.sqrt(4.75) + 0.5)
    assert walk(rule, [2.0, -1.0, 4.0]) == pytest.approx([first, first, third])


def test_adam_with_factors_that_are_counted_in_float32():
    kinds = ("exact", "float32")
    moves = [1 - walk(Adam(0.001, factors=kind), [2.0])[0] for kind in kinds]
    # 1 - 0.999 is 1.3e-5 too small in float32, and its root is divided by.
    assert moves[1] / moves[0] - 1 == pytest.approx(6.4e-6, rel=0.1)


def test_adam_decay_is_decoupled():
    plain = walk(Adam(0.1, 0.5, 0.75, 0.5), [2.0])
    decayed = walk(Adam(0.1, 0.5, 0.75, 0.5, weight_decay=0.25), [2.0])
    assert decayed[0] == pytest.approx(plain[0] - 0.1 * 0.25 * 1.0)


#: Where PyTorch 2.13.0 takes a weight of 1 in five steps with gradients sin(step).
TORCH_OPTIMIZERS = [
    (SGD(0.1, 0.9), 0.544143211316563),
    (SGD(0.1, 0.9, nesterov=True), 0.572112725212668),
    (SGD(0.1, 0.9, weight_decay=0.3), 0.242474875279758),
    (SGD(0.1, 0.9, nesterov=True, weight_decay=0.3), 0.255750065695374),
    (Adam(0.05), 0.848370411873254),
    (Adam(0.05, 0.8, 0.95, 0.1), 0.878398701874452),
    (Adam(0.05, weight_decay=0.2), 0.803798331184691),
]


@pytest.mark.parametrize(("optimizer", "expected"), TORCH_OPTIMIZERS, ids=str)
def test_optimizer_is_torchs(optimizer, expected: float):
    gradients = [math.sin(step) for step in range(1, 6)]
    assert walk(optimizer, gradients)[-1] == pytest.approx(expected, rel=1e-12)


def test_optimizer_step_changes_nothing_given():
    weights = {"w": np.ones(2), "mean": np.zeros(2)}
    state = OptimizerState()
    for _ in range(2):
        before = {path: array.copy() for path, array in weights.items()}
        moments = {p: [m.copy() for m in ms] for p, ms in state.moments.items()}
        new_state, new = reference.optimizer_step(
            Adam(0.1), state, weights, {"w": np.ones(2)}
        )
        for path, array in before.items():
            np.testing.assert_array_equal(weights[path], array)
        for path, arrays in moments.items():
            np.testing.assert_array_equal(state.moments[path], arrays)
        assert new["mean"] is weights["mean"]
        state, weights = new_state, new


# --- Steps ----------------------------------------------------------------------------


def steps(
    graph: Graph, optimizer, case: Case, count: int = 3, dtype: type = np.float64
):
    recipe = Recipe(SoftmaxCrossEntropy(), optimizer, case.batch, 1)
    batches = [(case.inputs(seed), np.array([0, 2, 1])) for seed in range(count)]
    return reference.train_steps(graph, recipe, case.weights(), batches, dtype=dtype)


def test_train_steps_are_gradient_then_step():
    case = CASES["branches"]
    optimizer = SGD(0.1, 0.9)
    state, weights = OptimizerState(), case.weights()
    for seed, (value, after) in enumerate(steps(case.graph, optimizer, case)):
        loss, gradients, trace = reference.gradients(
            case.graph,
            SoftmaxCrossEntropy(),
            weights,
            case.inputs(seed),
            np.array([0, 2, 1]),
        )
        assert value == loss
        state, weights = reference.optimizer_step(optimizer, state, weights, gradients)
        assert not np.array_equal(weights["norm.mean"], trace.running["norm.mean"])
        weights |= trace.running
        assert weights.keys() == after.keys()
        for path, array in weights.items():
            np.testing.assert_array_equal(after[path], array, path)


def test_training_makes_the_loss_small():
    case = CASES["lenet"]
    recipe = Recipe(SoftmaxCrossEntropy(), Adam(0.03), 3, 1)
    batch = (case.inputs(), np.array([0, 2, 1]))
    result = reference.train_steps(case.graph, recipe, case.weights(), [batch] * 40)
    assert result[0][0] > 1 > 0.05 > result[-1][0]


def test_steps_in_single_precision():
    exact = steps(CASES["vgg"].graph, Adam(1e-3), CASES["vgg"])
    single_ = steps(CASES["vgg"].graph, Adam(1e-3), CASES["vgg"], dtype=np.float32)
    for (loss, weights), (other, arrays) in zip(exact, single_, strict=True):
        assert loss == pytest.approx(other, rel=1e-4)
        assert {a.dtype for a in arrays.values()} == {np.dtype(np.float32)}
        for path, array in weights.items():
            np.testing.assert_allclose(arrays[path], array, 1e-2, 1e-4)


# --- Initial weights ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "axes", "shape", "name", "fans"),
    [
        (ops.Dense(30), "NF", (20,), "kernel", 20 + 30),
        (ops.Conv(8, (3, 5)), "NCHW", (4, 9, 9), "kernel", (4 + 8) * 15),
        (ops.Conv(8, (3, 5), groups=2), "NCHW", (4, 9, 9), "kernel", (2 + 8) * 15),
        (ops.ConvTranspose(8, (3, 5)), "NCHW", (4, 9, 9), "kernel", (4 + 8) * 15),
        (ops.GRU(10), "NTF", (3, 20), "kernel", 20 + 30),
        (ops.GRU(10), "NTF", (3, 20), "recurrent", 10 + 30),
        (ops.LSTM(10), "NTF", (3, 20), "recurrent", 10 + 40),
        (ops.MultiHeadAttention(2), "NTF", (3, 20), "query_kernel", 20 + 20),
    ],
    ids=str,
)
def test_glorot_fans(op: ops.Op, axes: str, shape, name: str, fans: int):
    weights = reference.initial_weights(single(op, axes, shape), Initializers(), 3)
    array, limit = weights[f"op.{name}"], math.sqrt(6 / fans)
    assert array.dtype == np.float32
    assert 0.9 * limit < np.abs(array).max() <= limit
    assert np.abs(array).mean() == pytest.approx(limit / 2, rel=0.15)


def test_other_initial_weights():
    graph = CASES["conv-flatten-norm-dense"].graph
    weights = reference.initial_weights(graph, Initializers(), 0)
    for path, value in {
        "batchnorm1.scale": 1,
        "batchnorm1.shift": 0,
        "batchnorm1.mean": 0,
        "batchnorm1.variance": 1,
        "dense1.bias": 0,
    }.items():
        assert (weights[path] == value).all(), path
    words = reference.initial_weights(CASES["words-gru"].graph, Initializers(), 0)
    table = words["embedding1.table"]
    assert 0.04 < np.abs(table).max() <= 0.05
    chosen = Initializers(kernel=Uniform(0.25), recurrent=Zeros())
    words = reference.initial_weights(CASES["words-gru"].graph, chosen, 0)
    assert (words["gru1.recurrent"] == 0).all()
    assert 0.2 < np.abs(words["gru1.kernel"]).max() <= 0.25


@pytest.mark.parametrize("direction", ["forward", "both"])
def test_forget_gate_starts_open(direction: str):
    op = ops.LSTM(2, bias="two", direction=direction, forget_bias=1.5)
    weights = reference.initial_weights(single(op, "NTF", (3, 4)), Initializers(), 0)
    for end in ("", "_back") if direction == "both" else ("",):
        assert weights[f"op.bias{end}"].tolist() == [0, 0, 1.5, 1.5, 0, 0, 0, 0]
        assert not weights[f"op.recurrent_bias{end}"].any()


def test_seeds():
    draw = [
        reference.initial_weights(CASES["vgg"].graph, Initializers(), seed)
        for seed in (1, 1, 2)
    ]
    for path in CASES["vgg"].graph.weights():
        np.testing.assert_array_equal(draw[0][path], draw[1][path])
    assert not np.array_equal(draw[0]["conv1.kernel"], draw[2]["conv1.kernel"])


def test_a_bias_has_no_fans():
    with pytest.raises(UserError, match="has no fans"):
        reference.initial_weights(
            CASES["dense"].graph, Initializers(bias=GlorotUniform()), 0
        )


def test_nothing_given_is_changed():
    for case in CASES.values():
        weights, inputs = case.weights(), case.inputs()
        slopes(case)
        for path, array in itertools.chain(weights.items(), inputs.items()):
            copy = {**case.weights(), **case.inputs()}[path]
            np.testing.assert_array_equal(array, copy)

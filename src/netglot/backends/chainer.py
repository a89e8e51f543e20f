"""Chainer: chains of links, functions for what has no weights, a plain loop."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from netglot import axes, ops, recipe
from netglot.backend import (
    Backend,
    Engine,
    Env,
    Gap,
    Parts,
    Rule,
    Section,
    Site,
    Weight,
)
from netglot.backends import common
from netglot.graph import Call as BlockCall
from netglot.graph import Repeat
from netglot.lower import (
    Arrange,
    Restore,
    overhang,
    pad_first,
    pad_first_if_uneven,
)
from netglot.source import (
    Line,
    Statements,
    call,
    inline,
    layout,
    quoted,
    squeeze,
    unless,
)

# --- Facts ----------------------------------------------------------------------------

ENV = Env(
    python=("3.11",),
    # It is built from source, with the names that NumPy 1.24 has taken away.
    requirements=(
        *("chainer==7.8.1", "numpy==1.23.5", "setuptools<81", "wheel"),
        *("mpi4py==4.1.2", "mpich==5.0.2"),
    ),
    imports=("chainer",),
    pip_arguments=("--no-build-isolation",),
    lock="chainer",
)
ENGINE = Engine(
    name="ChainerMN over MPI",
    command="mpiexec -n 2 python {file}",
    # Its processes are introduced through a port, not an inherited descriptor.
    launcher="mpiexec -pmi-port -localhost 127.0.0.1",
    missing={
        ops.BatchNorm: "ChainerMN's MultiNodeBatchNormalization corrects the running "
        "variance for the size of one process's share of the batch"
    },
)
#: What a process knows once it has joined the others.
JOINED = (
    "",
    'COMM = chainermn.create_communicator("naive")',
    "RANK, WORKERS = COMM.rank, COMM.size",
)

# --- Rules ----------------------------------------------------------------------------


def _dims(s: Site) -> int:
    return len(s.inputs[0].axes) - 2


def _initial(s: Site, role: str, default: str = "") -> Any:
    """The recipe's initializer, where there is one and it is not that of the link."""
    if s.initializers is None:
        return None
    initializer = s.initializers.of(role)
    return unless(default, INITIALIZERS[type(initializer)](initializer))


def _initials(s: Site) -> dict[str, Any]:
    bias = _initial(s, "bias", "0") if s.op.bias else None
    return {"initialW": _initial(s, "kernel"), "initial_bias": bias}


def _dense(s: Site) -> Any:
    size, nobias = s.inputs[0].size("F"), unless(False, not s.op.bias)
    return call("L.Linear", size, s.op.features, nobias=nobias, **_initials(s))


def _apply_dense(s: Site) -> Any:
    # A link of Chainer reads all axes after the first as features.
    axes_before = unless(1, len(s.inputs[0].axes) - 1)
    return call(s.object, s.x, n_batch_axes=axes_before)


def _convolve(s: Site, link: str, *dims: int, **more: Any) -> Any:
    return call(
        f"L.{link}",
        *dims,
        s.inputs[0].size("C"),
        s.op.channels,
        ksize=squeeze(s.op.kernel),
        stride=unless(1, squeeze(s.op.stride)),
        pad=unless(0, squeeze(tuple(before for before, _ in s.op.padding))),
        nobias=unless(False, not s.op.bias),
        **more,
        **_initials(s),
        dilate=unless(1, squeeze(s.op.dilation)),
        groups=unless(1, s.op.groups),
    )


def _extra(op: ops.ConvTranspose) -> tuple[int, ...]:
    """How much larger the result is than with the padding before on both sides."""
    pairs = zip(op.padding, op.output_padding, strict=True)
    return tuple(more + before - after for (before, after), more in pairs)


def _is_croppable(op: ops.ConvTranspose) -> bool:
    return all(0 <= n < step for n, step in zip(_extra(op), op.stride, strict=True))


def _transposed(s: Site) -> Any:
    if not _is_croppable(s.op):
        raise Gap("output padding must be smaller than the stride")
    size = None
    if any(_extra(s.op)):
        size = tuple(s.outputs[0].size(a) for a in axes.SPATIAL[_dims(s)])
        if None in size:
            raise Gap("output padding asks for a known size")
    if _dims(s) == 2:
        # Deconvolution2D breaks on data, which asks for no gradient.
        return _convolve(s, "DeconvolutionND", 2, outsize=size)
    return _convolve(s, f"Deconvolution{_dims(s)}D", outsize=size)


def _kernel(letters: str) -> Any:
    def weights(s: Site) -> tuple[Weight, ...]:
        kernel = Weight("W", letters + axes.SPATIAL[_dims(s)], ("kernel",))
        return (kernel, Weight("b", "O", ("bias",))) if s.op.bias else (kernel,)

    return weights


def _covers(s: Site) -> bool | None:
    """Whether a last window is kept that does not fit; ``None`` where it is alike."""
    letters, ceil = axes.SPATIAL[_dims(s)], bool(s.op.ceil)
    rows = zip(letters, s.op.kernel, s.op.stride, s.op.padding, strict=True)
    sizes = ((s.inputs[0].size(a), k, n, pad) for a, k, n, pad in rows)
    fits = all(
        size is not None and (size + sum(pad) - k) % n == 0 for size, k, n, pad in sizes
    )
    return None if fits else ceil


def _pool(s: Site, name: str, **more: Any) -> Any:
    return call(
        f"F.{name}",
        s.x,
        squeeze(s.op.kernel),
        stride=unless(s.op.kernel, s.op.stride) and squeeze(s.op.stride),
        pad=unless(0, squeeze(tuple(before for before, _ in s.op.padding))),
        **more,
    )


def _max_pool(s: Site) -> Any:
    return _pool(s, f"max_pooling_{_dims(s)}d", cover_all=unless(True, _covers(s)))


def _avg_pool(s: Site) -> Any:
    if _covers(s):
        raise Gap("its average pools drop a last window that does not fit")
    if any(before != after for before, after in s.op.padding):
        raise Gap(
            "its pools add the same on both sides: a mean can be taken otherwise only "
            "where padding counts"
        )
    counts = s.op.count_padding
    if any(map(any, s.op.padding)) and not counts:
        return _pool(s, "average_pooling_nd", pad_value="None")
    return _pool(s, f"average_pooling_{_dims(s)}d")


def _batch_norm(s: Site) -> Any:
    if not s.op.unbiased:
        raise Gap("its running variance is the unbiased one (form unbiased=True)")
    return call(
        "L.BatchNormalization",
        s.inputs[0].size("C" if "C" in s.inputs[0].axes else "F"),
        decay=unless(0.9, s.op.momentum),
        eps=unless(2e-5, s.op.epsilon),
        use_gamma=unless(True, s.op.scale),
        use_beta=unless(True, s.op.shift),
    )


def _affine(s: Site) -> tuple[Weight, ...]:
    letter = "C" if "C" in s.inputs[0].axes else "F"
    names = {"scale": "gamma", "shift": "beta"}
    found = [(role, name) for role, name in names.items() if getattr(s.op, role)]
    if isinstance(s.op, ops.BatchNorm):
        found += [("mean", "avg_mean"), ("variance", "avg_var")]
    return tuple(Weight(name, letter, (role,)) for role, name in found)


def _layer_norm(s: Site) -> Any:
    _expect_affine(s)
    eps = unless(1e-6, s.op.epsilon)
    return call("L.LayerNormalization", s.inputs[0].size("F"), eps=eps)


def _apply_layer_norm(s: Site) -> Any:
    if s.inputs[0].axes == "NF":
        return f"{s.object}({s.x})"
    # It normalises all axes after the first together.
    x, lines = s.x, tuple[str, ...]()
    if not str(x).isidentifier():
        x, lines = s.target, (f"{s.target} = {x}",)
    rows = f"{x}.reshape(-1, {x}.shape[{len(s.inputs[0].axes) - 1}])"
    value = f"{s.object}({rows}).reshape({x}.shape)"
    return Statements(lines, value) if lines else value


def _group_norm(s: Site) -> Any:
    _expect_affine(s)
    eps = unless(1e-5, s.op.epsilon)
    channels = s.inputs[0].size("C")
    return call("L.GroupNormalization", s.op.groups, channels, eps=eps)


def _expect_affine(s: Site) -> None:
    if not (s.op.scale and s.op.shift):
        raise Gap("it learns both a scale and a shift")


def _rms_norm(s: Site) -> Any:
    size = s.inputs[0].size("F")
    last = len(s.inputs[0].axes) - 1
    scale = call("L.Scale", axis=last, W_shape=(size,))
    return scale if s.op.scale else Statements((), "")


def _apply_rms_norm(s: Site) -> Any:
    normed = call("rms_norm", s.x, s.op.epsilon)
    return call(s.object, normed) if s.op.scale else normed


def _recurrent(kind: str) -> Rule:
    """One layer of Chainer's stacks; ``F.separate`` gives it a list of sequences."""

    def make(s: Site) -> Any:
        if s.op.bias != "two":
            raise Gap("its NStep layers have two bias vectors (form bias='two')")
        if getattr(s.op, "reset", "after") != "after":
            raise Gap("its reset gate acts after the product (form reset='after')")
        name = kind
        if kind == "RNN":
            if s.op.activation == "sigmoid":
                raise Gap("its activation is tanh or relu")
            name = "RNNTanh" if s.op.activation == "tanh" else "RNNReLU"
        elif s.op.activation != "tanh":
            raise Gap("its activation is tanh")
        both = s.op.direction == "both"
        initial = _initial(s, "kernel")
        if initial != _initial(s, "recurrent"):
            raise Gap("all its matrices are drawn from one distribution")
        if initial == "glorot" and kind != "RNN":
            initial = f"glorot_of_{kind.lower()}"
        made = call(
            f"L.NStep{'Bi' if both else ''}{name}",
            1,
            s.inputs[0].size("F"),
            s.op.units,
            dropout=0,
            initialW=initial,
            initial_bias=_initial(s, "bias", "0"),
        )
        forget = getattr(s.op, "forget_bias", 0)
        lines = layout(" " * s.backend.make_margin + f"self.{s.name} = ", made)
        lines = [line[s.backend.make_margin :] for line in lines]
        if forget and s.recipe:
            lines.append("# The biases of the forget gate.")
            for i in range(1 + both):
                lines.append(f"{s.object}[{i}].b1.array[...] = {forget:g}")
        return Statements(tuple(lines), "")

    def apply(s: Site) -> Any:
        backward = s.op.direction == "backward"
        xs = call("F.separate", f"{s.x}[:, ::-1]" if backward else s.x)
        states = "None, None" if kind == "LSTM" else "None"
        run = f"{s.object}({states}, {inline(xs)})"
        cell = "_, " if kind == "LSTM" else ""
        if s.op.returns == "sequence":
            value = "F.stack(xs)[:, ::-1]" if backward else "F.stack(xs)"
            return Statements((f"_, {cell}xs = {run}",), value)
        left = "h, " + cell + "_"
        value = "F.concat((h[0], h[1]))" if s.op.direction == "both" else "h[0]"
        return Statements((f"{left} = {run}",), value)

    def weights(s: Site) -> tuple[Weight, ...]:
        gates = s.op.gates
        result = []
        for direction, end in (("forward", ""), ("backward", "_back")):
            if s.op.direction not in (direction, "both"):
                continue
            link = int(direction == "backward" and s.op.direction == "both")
            pairs = (("kernel", "GI", "bias"), ("recurrent", "GH", "recurrent_bias"))
            numbered = ((*pair, gate) for pair in pairs for gate in gates)
            for i, (kernel, letters, bias, gate) in enumerate(numbered):
                kept = gate if len(gates) > 1 else ""
                matrix = Weight(f"{link}/w{i}", letters, (kernel + end,), gates=kept)
                vector = Weight(f"{link}/b{i}", "G", (bias + end,), gates=kept)
                result += [matrix, vector]
        return tuple(result)

    return Rule(apply, make, weights, needs=("glorot_of_lstm", "glorot_of_gru"))


def _attention(s: Site) -> Any:
    sizes = [(s.inputs * 3)[:3], (*s.inputs, s.inputs[-1])][len(s.inputs) == 2]
    query, key, value = (x.size("F") for x in sizes)
    return call(
        "MultiHeadAttention",
        s.op.heads,
        query,
        key_size=unless(query, key),
        value_size=unless(query, value),
        nobias=unless(False, not s.op.bias),
    )


def _attend(s: Site) -> Any:
    query, key, value = s.arguments[0], s.arguments[:2][-1], s.arguments[-1]
    return call(s.object, query, key, value, causal=unless(False, s.op.causal))


def _attention_weights(s: Site) -> tuple[Weight, ...]:
    result = []
    for name in ("query", "key", "value", "output"):
        result.append(Weight(f"{name}/W", "OI", (f"{name}_kernel",)))
        if s.op.bias:
            result.append(Weight(f"{name}/b", "O", (f"{name}_bias",)))
    return tuple(result)


def _along(name: str) -> Rule:
    """A function along one axis, which is the second unless it is told."""
    return Rule(lambda s: call(name, s.x, axis=unless(1, s.axis(s.op.axis))))


def _split(s: Site) -> Any:
    ends = [sum(s.op.sizes[: i + 1]) for i in range(len(s.op.sizes) - 1)]
    pieces = call("F.split_axis", s.x, str(ends), axis=s.axis(s.op.axis))
    return Statements((f"{s.target} = {inline(pieces)}",), s.target)


def _flatten(s: Site) -> Any:
    size = s.outputs[0].size("F")
    known = isinstance(size, int)
    return f"{s.x}.reshape(-1, {size})" if known else f"{s.x}.reshape(len({s.x}), -1)"


def _permute(s: Site) -> Any:
    getattr(s.op, "axes", None)
    return call(f"{s.x}.transpose", *s.order())


def _pad(s: Site) -> Any:
    if any(n < 0 for pair in s.op.padding for n in pair):
        if any(n > 0 for pair in s.op.padding for n in pair):
            raise Gap("it pads or crops, not both at once")
        cuts = [f"{-b or ''}:{a or ''}" for b, a in s.op.padding]
        getattr(s.op, "value", None)
        return f"{s.x}[:, :, {', '.join(cuts)}]"
    value = s.op.value if abs(s.op.value) != float("inf") else f"{s.op.value:+}"[:1]
    if isinstance(value, str):
        value = "-np.inf" if value == "-" else "np.inf"
    amounts = ((0, 0), (0, 0), *s.op.padding)
    given = unless(0.0, value)
    return call("F.pad", s.x, amounts, quoted("constant"), constant_values=given)


def _reduce(name: str) -> Rule:
    def write(s: Site) -> Any:
        over = tuple(s.axis(letter) for letter in s.op.over)
        return call(name, s.x, axis=squeeze(over), keepdims=unless(False, s.op.keep))

    return Rule(write)


def _global(name: str) -> Rule:
    return Rule(lambda s: call(name, s.x, axis=tuple(range(2, len(s.inputs[0].axes)))))


def _upsample(s: Site) -> Any:
    if s.op.mode == "nearest":
        size = squeeze(s.op.scale)
        return call(f"F.unpooling_{_dims(s)}d", s.x, size, cover_all=False)
    if _dims(s) != 2:
        raise Gap("it resizes images alone")
    if s.dtype != "float32":
        raise Gap("its resize_images computes in float32 alone")
    sizes = [s.outputs[0].size(letter) for letter in "HW"]
    shape = tuple(
        f"{n} * {s.x}.shape[{i}]" if size is None else size
        for i, (n, size) in enumerate(zip(s.op.scale, sizes, strict=True), start=2)
    )
    return call("F.resize_images", s.x, shape, align_corners=False)


def _block(s: Site) -> Any:
    return call(s.op.block.name, **dict(s.op.arguments))


def _repeat(s: Site) -> Any:
    # The links of a Sequential are numbered in another order than they are called.
    uses = f"*({inline(_block(s))} for _ in range({s.op.times}))"
    return call("chainer.ChainList", uses)


def _loop(s: Site) -> Any:
    start = [] if s.x == s.target else [f"{s.target} = {s.x}"]
    loop = (f"for block in {s.object}:", f"    {s.target} = block({s.target})")
    return Statements((*start, *loop), s.target)


HELPERS = {
    "glorot_of_lstm": '''
def glorot_of_lstm(array):
    """Glorot's uniform distribution, for one gate: the outputs of all four count."""
    outputs, inputs = array.shape
    chainer.initializers.Uniform(np.sqrt(6 / (inputs + 4 * outputs)))(array)
''',
    "glorot_of_gru": '''
def glorot_of_gru(array):
    """Glorot's uniform distribution, for one gate: the outputs of all three count."""
    outputs, inputs = array.shape
    chainer.initializers.Uniform(np.sqrt(6 / (inputs + 3 * outputs)))(array)
''',
    "silu": '''
def silu(x):
    """Sigmoid linear unit."""
    return x * F.sigmoid(x)
''',
    "gelu": '''
def gelu(x):
    """Gaussian error linear unit."""
    return x * F.ndtr(x)
''',
    "gelu_by_tanh": '''
def gelu_by_tanh(x):
    """Gaussian error linear unit, approximated by tanh."""
    return 0.5 * x * (1 + F.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3)))
''',
    "rms_norm": '''
def rms_norm(x, eps):
    """Divide the features by the root of their mean square."""
    return x / F.sqrt(F.mean(F.square(x), axis=-1, keepdims=True) + eps)
''',
    "MultiHeadAttention": """
class MultiHeadAttention(chainer.Chain):
    def __init__(self, heads, size, key_size=None, value_size=None, nobias=False):
        super().__init__()
        self.heads = heads
        with self.init_scope():
            self.query = L.Linear(size, size, nobias$initial)
            self.key = L.Linear(key_size or size, size, nobias$initial)
            self.value = L.Linear(value_size or size, size, nobias$initial)
            self.output = L.Linear(size, size, nobias$initial)

    def split_heads(self, x):
        n, t, size = x.shape
        return x.reshape(n, t, self.heads, size // self.heads).transpose(0, 2, 1, 3)

    def forward(self, query, key, value, causal=False):
        q = self.split_heads(self.query(query, n_batch_axes=2))
        k = self.split_heads(self.key(key, n_batch_axes=2))
        v = self.split_heads(self.value(value, n_batch_axes=2))
        scores = F.matmul(q, k, transb=True) / q.shape[3] ** 0.5
        if causal:
            future = np.triu(np.full(scores.shape[2:], -np.inf, scores.dtype), 1)
            scores += np.broadcast_to(future, scores.shape)
        x = F.matmul(F.softmax(scores, axis=3), v)
        x = x.transpose(0, 2, 1, 3).reshape(query.shape)
        return self.output(x, n_batch_axes=2)
""",
}

DENSE = (Weight("W", "OI", ("kernel",)), Weight("b", "O", ("bias",)))

RULES: dict[type[ops.Op], Rule] = {
    ops.Dense: Rule(_apply_dense, _dense, DENSE),
    ops.Conv: Rule(
        make=lambda s: _convolve(s, f"Convolution{_dims(s)}D"), weights=_kernel("OI")
    ),
    ops.ConvTranspose: Rule(make=_transposed, weights=_kernel("IO")),
    ops.MaxPool: Rule(_max_pool),
    ops.AvgPool: Rule(_avg_pool),
    ops.GlobalAvgPool: _global("F.mean"),
    ops.GlobalMaxPool: _global("F.max"),
    ops.BatchNorm: Rule(make=_batch_norm, weights=_affine),
    ops.LayerNorm: Rule(_apply_layer_norm, _layer_norm, _affine),
    ops.GroupNorm: Rule(make=_group_norm, weights=_affine),
    ops.RMSNorm: Rule(
        _apply_rms_norm, _rms_norm, (Weight("W", "F", ("scale",)),), ("rms_norm",)
    ),
    ops.Dropout: Rule(lambda s: call("F.dropout", s.x, s.op.rate)),
    ops.Embedding: Rule(
        make=lambda s: call(
            "L.EmbedID",
            s.op.vocabulary,
            s.op.features,
            initialW=_initial(s, "embedding"),
        ),
        weights=(Weight("W", "VF", ("table",)),),
    ),
    ops.SimpleRNN: _recurrent("RNN"),
    ops.LSTM: _recurrent("LSTM"),
    ops.GRU: _recurrent("GRU"),
    ops.MultiHeadAttention: Rule(
        _attend, _attention, _attention_weights, ("MultiHeadAttention",)
    ),
    ops.Relu: common.function("F.relu"),
    ops.LeakyRelu: Rule(lambda s: call("F.leaky_relu", s.x, unless(0.2, s.op.slope))),
    ops.Elu: Rule(lambda s: call("F.elu", s.x, unless(1.0, s.op.alpha))),
    ops.Selu: common.function("F.selu"),
    ops.Gelu: Rule(
        lambda s: call("gelu_by_tanh" if s.op.approximate else "gelu", s.x),
        needs=("gelu", "gelu_by_tanh"),
    ),
    ops.Silu: dataclasses.replace(common.function("silu"), needs=("silu",)),
    ops.Sigmoid: common.function("F.sigmoid"),
    ops.Tanh: common.function("F.tanh"),
    ops.Softplus: common.function("F.softplus"),
    ops.Softmax: _along("F.softmax"),
    ops.LogSoftmax: _along("F.log_softmax"),
    ops.Negative: Rule(lambda s: f"-{common.operand(s.x)}"),
    ops.Exp: common.function("F.exp"),
    ops.Log: common.function("F.log"),
    ops.Sqrt: common.function("F.sqrt"),
    ops.Abs: common.function("F.absolute"),
    ops.Square: common.function("F.square"),
    ops.Clip: Rule(lambda s: call("F.clip", s.x, s.op.low, s.op.high)),
    ops.Scale: Rule(common.scale),
    ops.Add: common.binary("+"),
    ops.Subtract: common.binary("-"),
    ops.Multiply: common.binary("*"),
    ops.Divide: common.binary("/"),
    ops.Maximum: common.function("F.maximum"),
    ops.Minimum: common.function("F.minimum"),
    ops.MatMul: Rule(
        lambda s: call("F.matmul", *s.arguments, transb=unless(False, s.op.transpose_b))
    ),
    ops.Concat: Rule(
        lambda s: call("F.concat", s.arguments, axis=unless(1, s.axis(s.op.axis)))
    ),
    ops.Split: Rule(_split),
    ops.Slice: Rule(common.sliced),
    ops.Reshape: Rule(
        lambda s: call(f"{s.x}.reshape", -1, *s.op.shape) if s.op.axes else None
    ),
    ops.Flatten: Rule(_flatten),
    ops.Transpose: Rule(_permute),
    Restore: Rule(_permute),
    Arrange: Rule(_permute),
    ops.Pad: Rule(_pad),
    ops.ReduceMean: _reduce("F.mean"),
    ops.ReduceSum: _reduce("F.sum"),
    ops.ReduceMax: _reduce("F.max"),
    ops.Upsample: Rule(_upsample),
    BlockCall: Rule(make=_block),
    Repeat: Rule(_loop, _repeat),
}

LOSSES = {
    recipe.SoftmaxCrossEntropy: "F.softmax_cross_entropy",
    recipe.MeanSquaredError: "F.mean_squared_error",
}


def _sgd(o: recipe.SGD) -> Any:
    if o.nesterov:
        # v = m v - rate g; w += m^2 v - (1 + m) rate g, with the new v, not the old.
        raise Gap("its NesterovAG takes another step than Nesterov's formula")
    if o.momentum:
        return call("chainer.optimizers.MomentumSGD", lr=o.rate, momentum=o.momentum)
    return call("chainer.optimizers.SGD", lr=o.rate)


def _adam(o: recipe.Adam) -> Any:
    if o.epsilon_form != "before":
        raise Gap("its Adam adds epsilon before the correction")
    return call(
        "chainer.optimizers.AdamW" if o.weight_decay else "chainer.optimizers.Adam",
        alpha=o.rate,
        beta1=unless(0.9, o.beta1),
        beta2=unless(0.999, o.beta2),
        eps=unless(1e-8, o.epsilon),
        # Its share of a weight is not multiplied by the rate.
        weight_decay_rate=f"{o.rate} * {o.weight_decay}" if o.weight_decay else None,
    )


OPTIMIZERS: dict[type[recipe.Optimizer], Any] = {recipe.SGD: _sgd, recipe.Adam: _adam}

#: Numbers, and the names of ``_definitions``.
INITIALIZERS: dict[type[recipe.Initializer], Any] = {
    recipe.GlorotUniform: lambda i: "glorot",
    recipe.Zeros: lambda i: "0",
    recipe.Ones: lambda i: "1",
    recipe.Uniform: lambda i: "uniform",
}

# --- Rewrites -------------------------------------------------------------------------


def _crop_transposed(op: ops.ConvTranspose) -> Sequence[ops.Op]:
    """The whole result, of which what the padding takes away is cut off."""
    if _is_croppable(op):
        return (op,)
    none = ((0, 0),) * len(op.kernel)
    crop = tuple((-before, -after) for before, after in op.padding)
    return (dataclasses.replace(op, padding=none), ops.Pad(crop))


def _uneven_max(op: Any) -> Sequence[ops.Op]:
    """Padding that never wins, where the layer cannot pad as asked.

    With ``ceil`` its last window may begin in the padding after the values.
    """
    even = all(before == after for before, after in op.padding)
    steps = any(n > k for k, n in zip(op.kernel, op.stride, strict=True))
    if even and not (op.ceil and (steps or any(map(any, op.padding)))):
        return (op,)
    none = ((0, 0),) * len(op.kernel)
    return (
        ops.Pad(overhang(op), float("-inf")),
        ops.MaxPool(op.kernel, op.stride, none),
    )


def _average(op: ops.AvgPool) -> Sequence[ops.Op]:
    """Zeros that count may be added beforehand."""
    uneven = any(before != after for before, after in op.padding)
    return pad_first(op) if op.count_padding and uneven else (op,)


REWRITES: dict[type[ops.Op], Any] = {
    ops.Conv: pad_first_if_uneven,
    ops.ConvTranspose: _crop_transposed,
    ops.MaxPool: _uneven_max,
    ops.AvgPool: _average,
}

# --- The frame ------------------------------------------------------------------------

CLASS = """
class $name(chainer.Chain):
    def __init__(self$parameters):
        super().__init__()
        with self.init_scope():
            $make

    def forward(self, $inputs):
        $apply
"""

WITHOUT_LINKS = """
class $name(chainer.Chain):
    def forward(self, $inputs):
        $apply
"""

SETUP = '''
# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network$and_optimizer."""
    $seed
    $build


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    $load


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    chainer.serializers.save_npz(path, model)
'''

STEP = '''
def train_step(model, optimizer, x, y):
    """Make one optimizer step on $batch; return its loss."""
    loss = $loss(model(x), y)
    model.cleargrads()
    loss.backward()
    optimizer.update()
    return loss.array
'''

PREDICT = '''
# $number. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    with chainer.using_config("train", False), chainer.no_backprop_mode():
        return model(x).array
'''

IMPORTS = (
    ("import chainer.functions as F", "F"),
    ("import chainer.links as L", "L"),
)


def _definitions(parts: Parts, text: str) -> list[str]:
    """The initializers that the links name."""
    if parts.initializers is None:
        return []
    inits = parts.initializers
    roles = (inits.kernel, inits.recurrent, inits.bias, inits.embedding)
    limits = {i.limit for i in roles if isinstance(i, recipe.Uniform)}
    if len(limits) > 1:
        raise Gap("initial weights are drawn from one uniform distribution")
    values = {"glorot": "chainer.initializers.GlorotUniform()"}
    for limit in limits:
        values["uniform"] = f"chainer.initializers.Uniform({limit})"
    used = {name for name in values if re.search(rf"={name}\b", text)}
    return [f"{name} = {values[name]}" for name in values if name in used]


def frame(parts: Parts) -> list[Section]:
    """The program around the network."""
    classes: list[str | Line] = []
    for scope in (*parts.blocks, parts.network):
        template = CLASS if scope.make else WITHOUT_LINKS
        classes += [*common.class_lines(scope, template), "", ""]
    written = "\n".join(c if isinstance(c, str) else c.text for c in classes)
    helpers: list[str] = []
    for name, text in HELPERS.items():
        if text in parts.helpers and re.search(rf"\b{name}\b", written):
            initial = ", initialW=glorot" if parts.recipe else ""
            helpers += [*text.replace("$initial", initial).strip().split("\n"), "", ""]
    definitions = _definitions(parts, written + "\n".join(helpers))
    if definitions:
        definitions += ["", ""]
    constants = list(JOINED) if parts.parallel else []
    if parts.dtype == "float64":
        constants.append("chainer.global_config.dtype = np.float64")
    made = f"{parts.network.name}()"
    build = [f"return {made}"]
    if parts.recipe:
        optimizer = parts.recipe.optimizer
        rule = OPTIMIZERS[type(optimizer)](optimizer)
        setup = layout("    optimizer = ", rule, ".setup(model)")
        if parts.parallel:
            joint = call("chainermn.create_multi_node_optimizer", rule, "COMM")
            setup = layout("    optimizer = ", joint, ".setup(model)")
        build = [
            f"model = {made}",
            *(line[4:] for line in setup),
            "return model, optimizer",
        ]
        if isinstance(optimizer, recipe.SGD) and optimizer.weight_decay:
            decay = f"chainer.optimizer_hooks.WeightDecay({optimizer.weight_decay})"
            build.insert(-1, f"optimizer.add_hook({decay})")
        if parts.parallel:
            note = "# The first update only hands the weights of the first to all."
            build[-1:-1] = [note, "optimizer.update()"]
    # Its batch norms also count steps of fine-tuning, which no other framework does.
    strict = False if ops.BatchNorm in parts.operations else None
    load = call("chainer.serializers.load_npz", "path", "model", strict=strict)
    several = parts.parallel
    sections = [
        common.head(
            parts,
            (
                "import chainer",
                "import chainer.functions as F",
                "import chainer.links as L",
                *(("import chainermn",) if several else ()),
                "import numpy as np",
            ),
            constants,
            first=("import argparse", *(() if parts.recipe else ("import time",)), ""),
        ),
        common.load_data(parts),
        Section(
            "network",
            "# 2. The network\n$classes",
            {"classes": [*definitions, *helpers, *classes[:-2]]},
        ),
        Section(
            "setup",
            SETUP,
            {
                "and_optimizer": " and its optimizer" if parts.recipe else "",
                "seed": common.seeds("np.random.seed", several),
                "build": build,
                "load": [inline(load)],
            },
        ),
    ]
    if not parts.recipe:
        predict = Section("predict", PREDICT, {"number": "4"})
        return [*sections, predict, common.extract(), common.main(parts)]
    return [
        *sections,
        common.batches(several),
        Section(
            "train",
            STEP,
            {
                "loss": LOSSES[type(parts.recipe.loss)],
                "batch": "this process's share of a batch" if several else "a batch",
            },
        ),
        common.train(
            parts,
            "loss" if several else "np.mean(losses)",
            summary=("loss = COMM.allreduce_obj(np.mean(losses)) / WORKERS",) * several,
        ),
        Section("predict", PREDICT, {"number": "5"}),
        common.evaluate(parts),
        common.main(parts),
    ]


backend = Backend(
    name="chainer",
    title="Chainer",
    home="https://chainer.org",
    since="2015",
    licence="MIT",
    language="Python; CUDA",
    style="module classes",
    storage=axes.channels_first,
    env=ENV,
    barrier="lambda: sum(p.array.sum() for p in model.params())",
    rules=RULES,
    losses=LOSSES,
    optimizers=OPTIMIZERS,
    initializers=INITIALIZERS,
    frame=frame,
    rewrites=REWRITES,
    forms={
        ops.SimpleRNN: ({"bias": "two"},),
        ops.LSTM: ({"bias": "two"},),
        ops.GRU: ({"reset": "after", "bias": "two"},),
        ops.BatchNorm: ({"unbiased": True},),
        recipe.Adam: ({"epsilon_form": "before"},),
    },
    helpers=HELPERS,
    imports=IMPORTS,
    separator="/",
    repeated="{name}/{index}",
    make_margin=12,
    engine=ENGINE,
)

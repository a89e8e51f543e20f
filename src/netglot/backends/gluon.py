"""Gluon, MXNet's imperative side: hybrid blocks, a recorded step, a Trainer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
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
from netglot.backends import common, pytorch
from netglot.graph import Call as BlockCall
from netglot.graph import Repeat
from netglot.lower import Arrange, Restore, overhang, pad_first_if_uneven
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
    requirements=("mxnet==1.9.1", "numpy==1.23.5"),
    imports=("mxnet",),
    variables={
        # Otherwise it tells of every network that it gives to oneDNN.
        "MXNET_SUBGRAPH_VERBOSE": "0",
        # A dense layer and its relu are made one even where others read the layer too,
        # and then the relu is wrong.
        "MXNET_DISABLE_MKLDNN_FUSE_FC_ELTWISE": "1",
    },
    lock="mxnet",
)
ENGINE = Engine(
    name="the dist_sync KVStore",
    command="launch.py -n 2 --launcher local python {file}",
    variables={
        "DMLC_ROLE": "worker",
        "DMLC_NUM_WORKER": "{workers}",
        "DMLC_NUM_SERVER": "1",
        "DMLC_PS_ROOT_URI": "127.0.0.1",
        "DMLC_PS_ROOT_PORT": "{server}",
        "DMLC_NODE_HOST": "127.0.0.1",
        # By their ports the scheduler decides which worker is the first.
        "PORT": "{port}",
    },
    beside=({"DMLC_ROLE": "scheduler"}, {"DMLC_ROLE": "server"}),
    missing={
        ops.BatchNorm: "each process would normalize by its own share of the batch, "
        "and MXNet's SyncBatchNorm knows the devices of one process alone"
    },
)
#: What a process knows once it has joined the others.
JOINED = (
    'KV = mx.kv.create("dist_sync")',
    "RANK, WORKERS = KV.rank, KV.num_workers",
)
#: The initial weights are the same in all.
DROPPING = ("mx.random.seed(seed + RANK)  # each drops other values",)
#: What the loss of an epoch says.
OWN_LOSS = ("# The loss is that of this process's rows.",)

# --- Rules ----------------------------------------------------------------------------


def _dims(s: Site) -> int:
    return len(s.inputs[0].axes) - 2


def initial(s: Site, role: str, default: str) -> str | None:
    """The recipe's initializer, where it is not the one that comes by itself."""
    initializers = s.initializers or recipe.Initializers()
    initializer = initializers.of(role)
    return unless(default, INITIALIZERS[type(initializer)](initializer))


def kernels(given: recipe.Initializers | None) -> str:
    """The initializer of all that no layer names another for."""
    inits = given or recipe.Initializers()
    return str(INITIALIZERS[type(inits.kernel)](inits.kernel))


def _biased(s: Site) -> dict[str, Any]:
    """Whether there is a bias, and where it starts."""
    starts = initial(s, "bias", "mx.init.Zero()") if s.op.bias else None
    return {"use_bias": unless(True, s.op.bias), "bias_initializer": starts}


def _dense(s: Site) -> Any:
    # It flattens all axes but the first, unless told otherwise.
    flatten = None if s.inputs[0].axes == "NF" else False
    return call(
        "nn.Dense",
        s.op.features,
        activation=s.activation,
        flatten=flatten,
        **_biased(s),
    )


def sides(op: Any) -> Any:
    """Padding of each axis, whose two sides are equal: see the rewrites."""
    return tuple(before for before, _ in op.padding)


def _convolution(s: Site) -> Any:
    return call(
        f"nn.Conv{_dims(s)}D",
        s.op.channels,
        kernel_size=squeeze(s.op.kernel),
        strides=unless(1, squeeze(s.op.stride)),
        padding=unless(0, squeeze(sides(s.op))),
        dilation=unless(1, squeeze(s.op.dilation)),
        groups=unless(1, s.op.groups),
        activation=s.activation,
        **_biased(s),
    )


def extra(op: Any) -> Any:
    """Output padding of a transposed convolution, which crops the rest evenly."""
    pairs = zip(op.padding, op.output_padding, strict=True)
    found = tuple(more + before - after for (before, after), more in pairs)
    if any(not 0 <= n < step for n, step in zip(found, op.stride, strict=True)):
        raise Gap("its output padding is smaller than the stride")
    return found


def _transposed(s: Site) -> Any:
    return call(
        f"nn.Conv{_dims(s)}DTranspose",
        s.op.channels,
        kernel_size=squeeze(s.op.kernel),
        strides=unless(1, squeeze(s.op.stride)),
        padding=unless(0, squeeze(sides(s.op))),
        output_padding=unless(0, squeeze(extra(s.op))),
        dilation=unless(1, squeeze(s.op.dilation)),
        groups=unless(1, s.op.groups),
        # It finds out what it reads, but not in groups.
        in_channels=known(s, "C") if s.op.groups != 1 else None,
        activation=s.activation,
        **_biased(s),
    )


def check_windows(s: Site) -> None:
    """Refuse a pool whose windows are not those that MXNet takes."""
    if not is_even(s.op):
        raise Gap(
            "its pools add the same on both sides; a mean can be taken otherwise only "
            "where padding counts"
        )
    if s.op.ceil and not _begins_inside(s.op):
        raise Gap("its mean keeps a last window that begins outside of the values")


def _begins_inside(op: Any) -> bool:
    """Whether the last window begins in the values, whatever their number."""
    pairs = zip(op.stride, op.kernel, op.padding, strict=True)
    return all(step + after <= k for step, k, (_, after) in pairs)


def _pool(kind: str) -> Rule:
    def make(s: Site) -> Any:
        check_windows(s)
        size = squeeze(s.op.kernel)
        counts = getattr(s.op, "count_padding", True) or not any(sides(s.op))
        return call(
            f"nn.{kind}Pool{_dims(s)}D",
            unless(2, size),
            strides=unless(s.op.kernel, s.op.stride) and squeeze(s.op.stride),
            padding=unless(0, squeeze(sides(s.op))),
            ceil_mode=unless(False, s.op.ceil),
            count_include_pad=unless(True, counts),
        )

    return Rule(make=make)


def _global(kind: str) -> Rule:
    """A pool that leaves axes of size 1, and without them."""
    return Rule(
        lambda s: f"F.flatten({s.object}({inline(s.x)}))",
        lambda s: call(f"nn.Global{kind}Pool{_dims(s)}D"),
    )


def is_even(op: Any) -> bool:
    """Whether a pool's padding is one that the layer takes."""
    pairs = zip(op.padding, op.kernel, strict=True)
    return all(before == after < k for (before, after), k in pairs)


def _batch_norm(s: Site) -> Any:
    if s.op.unbiased:
        raise Gap("its running variance is the biased one (form unbiased=False)")
    return _norm(s, "BatchNorm", momentum=unless(0.9, s.op.momentum))


def _norm(s: Site, kind: str, *arguments: Any, **keywords: Any) -> Any:
    return call(
        f"nn.{kind}",
        *arguments,
        **keywords,
        epsilon=unless(1e-5, s.op.epsilon),
        center=unless(True, s.op.shift),
        scale=unless(True, s.op.scale),
    )


def affine(s: Site) -> tuple[Weight, ...]:
    """The arrays of a norm, by the names of all of MXNet's."""
    letter = "C" if "C" in s.inputs[0].axes else "F"
    names = {"scale": "gamma", "shift": "beta"}
    found = [(role, name) for role, name in names.items() if getattr(s.op, role, False)]
    if hasattr(s.op, "momentum"):
        found += [("mean", "running_mean"), ("variance", "running_var")]
    return tuple(Weight(name, letter, (role,)) for role, name in found)


def _embedding(s: Site) -> Any:
    return call(
        "nn.Embedding",
        s.op.vocabulary,
        s.op.features,
        weight_initializer=initial(s, "embedding", kernels(s.initializers)),
    )


def check_recurrent(s: Site, activations: Sequence[str]) -> None:
    """Refuse the forms that no recurrent layer of MXNet has."""
    if s.op.bias not in ("two", "one", "none"):
        raise Gap("its recurrent layers have two bias vectors (form bias='two')")
    if getattr(s.op, "reset", "after") != "after":
        raise Gap("the reset gate of its GRU acts after the product")
    if s.op.activation not in activations:
        raise Gap(f"its activation is {' or '.join(activations)}")


def _recurrent(kind: str) -> Rule:
    def make(s: Site) -> Any:
        plain = kind == "RNN"
        check_recurrent(s, ("tanh", "relu") if plain else ("tanh",))
        start = initial(s, "bias", "mx.init.Zero()")
        forget = getattr(s.op, "forget_bias", 0)
        opened = call("mx.init.LSTMBias", unless(1, forget)) if forget else None
        layer = call(
            f"rnn.{kind}",
            s.op.units,
            # Left out, it is relu.
            activation=quoted("tanh") if plain and s.op.activation == "tanh" else None,
            layout=quoted("NTC"),
            bidirectional=unless(False, s.op.direction == "both"),
            h2h_weight_initializer=initial(s, "recurrent", kernels(s.initializers)),
            i2h_bias_initializer=None if s.op.bias == "none" else opened or start,
            h2h_bias_initializer=start if s.op.bias == "two" else None,
        )
        if s.op.bias == "two":
            return layer
        fixed = ".*h2h_bias" if s.op.bias == "one" else ".*bias"
        margin = s.backend.margin
        lines = layout(" " * margin + f"{s.object} = ", layer)
        return Statements(
            (
                *(line[margin:] for line in lines),
                "# It has two biases; what is not trained stays 0.",
                f'{s.object}.collect_params("{fixed}").setattr("grad_req", "null")',
            ),
            "",
        )

    return Rule(_run, make, _recurrent_weights)


def last(x: Any, index: int = -1) -> str:
    """One step of a sequence, in symbols as in arrays."""
    end = "None" if index == -1 else index + 1
    return f"{x}.slice_axis(axis=1, begin={index}, end={end}).squeeze(axis=1)"


def _run(s: Site) -> Any:
    """Outputs of every step, or what is computed last."""
    if s.op.direction == "backward":
        outputs = f"{s.object}({inline(s.x)}.flip(axis=1))"
        if s.op.returns == "sequence":
            return f"{outputs}.flip(axis=1)"
    else:
        outputs = f"{s.object}({inline(s.x)})"
        if s.op.returns == "sequence":
            return outputs
    if s.op.direction == "both":
        lines: tuple[str, ...] = (
            f"forward, backward = F.split({outputs}, num_outputs=2, axis=2)",
            f"forward = {last('forward')}",
            f"backward = {last('backward', 0)}",
            f"{s.target} = F.concat(forward, backward, dim=1)",
        )
        return Statements(lines, s.target)
    lines = (f"{s.target} = {outputs}", f"{s.target} = {last(s.target)}")
    return Statements(lines, s.target)


def _recurrent_weights(s: Site) -> tuple[Weight, ...]:
    pairs = [("kernel", "i2h_weight", "GI"), ("recurrent", "h2h_weight", "GH")]
    pairs += [("bias", "i2h_bias", "G"), ("recurrent_bias", "h2h_bias", "G")]
    result = []
    for end, cell in (("", "l_cell."), ("_back", "r_cell.")):
        if s.op.direction in ("backward" if end else "forward", "both"):
            place = f"_unfused.0.{cell if s.op.direction == 'both' else ''}"
            result += [
                Weight(f"{place}{name}", letters, (source + end,))
                for source, name, letters in pairs
                if source != "recurrent_bias" or s.op.bias == "two"
                if source != "bias" or s.op.bias != "none"
            ]
    return tuple(result)


def known(s: Site, letter: str) -> Any:
    """A size that is told, where it is not found out."""
    size = s.inputs[0].size(letter)
    if size is None:
        raise Gap("this layer has to be told a size that is not known here")
    return size


def _group_norm(s: Site) -> Any:
    given = _norm(s, "GroupNorm", s.op.groups, known(s, "C"))
    return dataclasses.replace(given, function="GroupNorm")


def _rms_norm(s: Site) -> Any:
    epsilon, scale = unless(1e-6, s.op.epsilon), unless(True, s.op.scale)
    return call("RMSNorm", known(s, "F"), epsilon=epsilon, scale=scale)


def _attention(s: Site) -> Any:
    return call(
        "MultiHeadAttention",
        known(s, "F"),
        s.op.heads,
        causal=unless(False, s.op.causal),
        use_bias=unless(True, s.op.bias),
    )


def _attend(s: Site) -> Any:
    query, value = s.arguments[0], s.arguments[-1]
    return call(s.object, query, s.arguments[:2][-1], value)


def _attention_weights(s: Site) -> tuple[Weight, ...]:
    return tuple(
        Weight(f"{name}.{own}", letters, (f"{name}_{role}",))
        for name in ("query", "key", "value", "output")
        for own, letters, role in (("weight", "OI", "kernel"), ("bias", "O", "bias"))
        if role == "kernel" or s.op.bias
    )


# --- Rules that symbols and arrays share: the functions of both have the same names ---


def _alike(s: Site) -> bool:
    """Whether nothing is repeated, for which symbols have functions of their own."""
    first, second = (x.shape[1:] for x in s.inputs)
    return first == second


def broadcast(f: str, symbol: str, name: str) -> Rule:
    """``x + y``, or ``F.broadcast_add(x, y)`` where shapes differ."""
    plain = common.binary(symbol).apply

    def write(s: Site) -> Any:
        if _alike(s):
            return plain(s)  # type: ignore[misc]
        return call(f"{f}.broadcast_{name}", *s.arguments)

    return Rule(write)


def _pad(f: str) -> Rule:
    def write(s: Site) -> Any:
        pairs = s.op.padding
        if min(n for pair in pairs for n in pair) < 0:
            # What is left of a transposed convolution: see the rewrites.
            if max(n for pair in pairs for n in pair) > 0:
                raise Gap("a value is cropped on one side and padded on the other")
            begin = ("None", "None", *(unless(0, -b) or "None" for b, _ in pairs))
            end = ("None", "None", *(unless(0, a) or "None" for _, a in pairs))
            return call(f"{f}.slice", s.x, begin=begin, end=end)
        value = "-np.inf" if s.op.value == float("-inf") else s.op.value
        line = len(pairs) == 1
        # It pads images and volumes alone.
        widths = (0, 0, 0, 0, *((0, 0) * line), *(n for pair in pairs for n in pair))
        padded = call(
            f"{f}.pad",
            s.target if line else s.x,
            mode=quoted("constant"),
            pad_width=widths,
            constant_value=unless(0.0, value),
        )
        if not line:
            return padded
        image = f"{s.target} = {inline(s.x)}.expand_dims(axis=2)"
        lines = image, f"{s.target} = {inline(padded)}"
        return Statements(lines, f"{s.target}.squeeze(axis=2)")

    return Rule(write)


def _slice(f: str) -> Rule:
    def write(s: Site) -> Any:
        stop = "None" if s.op.stop is None else s.op.stop
        axis = s.axis(s.op.axis)
        if s.op.step == 1:
            given = {"axis": axis, "begin": s.op.start, "end": stop}
            return call(f"{f}.slice_axis", s.x, **given)
        before = ("None",) * axis
        return call(
            f"{f}.slice",
            s.x,
            begin=(*before, s.op.start),
            end=(*before, stop),
            step=(*before, s.op.step),
        )

    return Rule(write)


def _split(f: str) -> Rule:
    def write(s: Site) -> Any:
        axis, sizes = s.axis(s.op.axis), s.op.sizes
        if len(set(sizes)) == 1:
            pieces = call(f"{f}.split", s.x, num_outputs=len(sizes), axis=axis)
        else:
            ends = tuple(sum(sizes[:i]) for i in range(1, len(sizes)))
            pieces = call(f"{f}.split_v2", s.x, ends, axis=axis)
        return Statements((f"{s.target} = {inline(pieces)}",), s.target)

    return Rule(write)


def _reshape(s: Site) -> Any:
    getattr(s.op, "axes", None)
    return call(f"{inline(s.x)}.reshape", (0, *s.op.shape))


def _permute(s: Site) -> Any:
    getattr(s.op, "axes", None)
    return call(f"{inline(s.x)}.transpose", s.order())


def _along(name: str) -> Rule:
    """A function along one axis, which is the last unless it is told."""

    def write(s: Site) -> Any:
        axis = s.axis(s.op.axis)
        last_axis = len(s.inputs[0].axes) - 1
        return call(name, s.x, axis=unless(last_axis, axis))

    return Rule(write)


def _reduce(name: str) -> Rule:
    def write(s: Site) -> Any:
        over = tuple(s.axis(letter) for letter in s.op.over)
        axis = over[0] if len(over) == 1 else over
        return call(
            f"{inline(s.x)}.{name}", axis=axis, keepdims=unless(False, s.op.keep)
        )

    return Rule(write)


def _matmul(f: str) -> Rule:
    def write(s: Site) -> Any:
        name = "batch_dot" if len(s.inputs[0].axes) == 3 else "linalg_gemm2"
        turned = unless(False, s.op.transpose_b)
        return call(f"{f}.{name}", *s.arguments, transpose_b=turned)

    return Rule(write)


def _upsample(f: str) -> Rule:
    def write(s: Site) -> Any:
        scale = s.op.scale
        if s.op.mode == "nearest":
            if len(set(scale)) == 1 and len(scale) == 2:
                kind = quoted("nearest")
                return call(f"{f}.UpSampling", s.x, scale=scale[0], sample_type=kind)
            text = inline(s.x)
            for axis, times in enumerate(scale, start=2):
                text += f".repeat({times}, axis={axis})" if times != 1 else ""
            return text
        if len(scale) != 2:
            raise Gap("it enlarges images smoothly, not series and volumes")
        height, width = (s.outputs[0].size(a) for a in "HW")
        if height is None or width is None:
            raise Gap("an image is enlarged smoothly to a size that is known")
        return call(
            f"{f}.contrib.BilinearResize2D",
            s.x,
            height=height,
            width=width,
            align_corners=False,
        )

    return Rule(write)


def _leaky(f: str, kind: str, attribute: str) -> Rule:
    def write(s: Site) -> Any:
        slope = unless(0.25, getattr(s.op, attribute))
        return call(f"{f}.LeakyReLU", s.x, act_type=quoted(kind), slope=slope)

    return Rule(write)


def _gelu(f: str) -> Rule:
    def write(s: Site) -> Any:
        if not s.op.approximate:
            return call(f"{f}.LeakyReLU", s.x, act_type=quoted("gelu"))
        x = inline(s.x)
        inner = f"np.sqrt(2 / np.pi) * ({x} + 0.044715 * {x}**3)"
        text = f"0.5 * {x} * (1 + {f}.tanh({inner}))"
        # What is read three times is not to be computed three times.
        return text if x.isidentifier() else Statements((), text)

    return Rule(write)


def functions(f: str) -> dict[type[ops.Op], Rule]:
    """Rules of what has no weights; ``f`` is where the functions are: ``mx.sym``."""
    return {
        ops.Relu: common.function(f"{f}.relu"),
        ops.LeakyRelu: _leaky(f, "leaky", "slope"),
        ops.Elu: _leaky(f, "elu", "alpha"),
        # The gradient of its own selu is wrong: 1.05 (1.67 + y) where y is negative.
        ops.Selu: Rule(
            lambda s: (
                f"1.0507009873554805 * {f}.LeakyReLU("
                f'{s.x}, act_type="elu", slope=1.6732632423543772)'
            )
        ),
        ops.Gelu: _gelu(f),
        ops.Silu: Rule(lambda s: f"{s.x} * {f}.sigmoid({s.x})"),
        ops.Sigmoid: common.function(f"{f}.sigmoid"),
        ops.Tanh: common.function(f"{f}.tanh"),
        ops.Softplus: Rule(
            lambda s: call(f"{f}.Activation", s.x, act_type=quoted("softrelu"))
        ),
        ops.Softmax: _along(f"{f}.softmax"),
        ops.LogSoftmax: _along(f"{f}.log_softmax"),
        ops.Negative: Rule(lambda s: f"-{common.operand(s.x)}"),
        ops.Exp: common.function(f"{f}.exp"),
        ops.Log: common.function(f"{f}.log"),
        ops.Sqrt: common.function(f"{f}.sqrt"),
        ops.Abs: common.function(f"{f}.abs"),
        ops.Square: common.function(f"{f}.square"),
        ops.Clip: Rule(lambda s: call(f"{f}.clip", s.x, s.op.low, s.op.high)),
        ops.Scale: Rule(common.scale),
        ops.Add: broadcast(f, "+", "add"),
        ops.Subtract: broadcast(f, "-", "sub"),
        ops.Multiply: broadcast(f, "*", "mul"),
        ops.Divide: broadcast(f, "/", "div"),
        ops.Maximum: common.function(f"{f}.broadcast_maximum"),
        ops.Minimum: common.function(f"{f}.broadcast_minimum"),
        ops.MatMul: _matmul(f),
        ops.Concat: Rule(
            lambda s: call(f"{f}.concat", *s.arguments, dim=s.axis(s.op.axis))
        ),
        ops.Split: _split(f),
        ops.Slice: _slice(f),
        ops.Reshape: Rule(_reshape),
        ops.Flatten: common.function(f"{f}.flatten"),
        ops.Transpose: Rule(_permute),
        Restore: Rule(_permute),
        Arrange: Rule(_permute),
        ops.Pad: _pad(f),
        ops.ReduceMean: _reduce("mean"),
        ops.ReduceSum: _reduce("sum"),
        ops.ReduceMax: _reduce("max"),
        ops.Upsample: _upsample(f),
    }


def _block(s: Site) -> Any:
    return call(s.op.block.name, **dict(s.op.arguments))


def _repeat(s: Site) -> Any:
    """A sequence of uses of a block, filled in a loop."""
    lines = (
        f"{s.object} = nn.HybridSequential()",
        f"for _ in range({s.op.times}):",
        f"    {s.object}.add({inline(_block(s))})",
    )
    return Statements(lines, "")


RULES: dict[type[ops.Op], Rule] = {
    ops.Dense: Rule(make=_dense, weights=pytorch.RULES[ops.Dense].weights),
    ops.Conv: Rule(make=_convolution, weights=pytorch.RULES[ops.Conv].weights),
    ops.ConvTranspose: Rule(
        make=_transposed, weights=pytorch.RULES[ops.ConvTranspose].weights
    ),
    ops.MaxPool: _pool("Max"),
    ops.AvgPool: _pool("Avg"),
    ops.GlobalAvgPool: _global("Avg"),
    ops.GlobalMaxPool: _global("Max"),
    ops.BatchNorm: Rule(make=_batch_norm, weights=affine),
    ops.LayerNorm: Rule(make=lambda s: _norm(s, "LayerNorm"), weights=affine),
    ops.GroupNorm: Rule(make=_group_norm, weights=affine, needs=("GroupNorm",)),
    ops.RMSNorm: Rule(make=_rms_norm, weights=affine, needs=("RMSNorm",)),
    ops.Dropout: Rule(make=lambda s: call("nn.Dropout", s.op.rate)),
    ops.Embedding: Rule(make=_embedding, weights=pytorch.RULES[ops.Embedding].weights),
    ops.SimpleRNN: _recurrent("RNN"),
    ops.LSTM: _recurrent("LSTM"),
    ops.GRU: _recurrent("GRU"),
    ops.MultiHeadAttention: Rule(
        _attend, _attention, _attention_weights, needs=("MultiHeadAttention",)
    ),
    **functions("F"),
    ops.LeakyRelu: Rule(make=lambda s: call("nn.LeakyReLU", s.op.slope)),
    ops.Elu: Rule(make=lambda s: call("nn.ELU", unless(1.0, s.op.alpha))),
    ops.Silu: Rule(make=lambda s: call("nn.Swish")),
    BlockCall: Rule(make=_block),
    Repeat: Rule(make=_repeat),
}

LOSSES = {
    recipe.SoftmaxCrossEntropy: call("gluon.loss.SoftmaxCrossEntropyLoss"),
    recipe.MeanSquaredError: call("gluon.loss.L2Loss", weight=2),
}


def optimizer(o: recipe.Optimizer) -> tuple[str, dict[str, float]]:
    """The name of an optimizer, and its arguments where they are not its own."""
    given = {"learning_rate": o.rate}
    if isinstance(o, recipe.SGD):
        given |= {"momentum": o.momentum} if o.momentum else {}
        given |= {"wd": o.weight_decay} if o.weight_decay else {}
        if o.nesterov and o.weight_decay:
            # Its velocity takes the decay of the weight that the step has moved.
            raise Gap("SGD: its Nesterov momentum goes wrong with weight decay")
        return "nag" if o.nesterov else "sgd", given
    assert isinstance(o, recipe.Adam)
    if o.weight_decay:
        raise Gap("Adam: its weight decay is part of the gradient")
    own = {"beta1": (o.beta1, 0.9), "beta2": (o.beta2, 0.999)}
    own["epsilon"] = (o.epsilon, 1e-8)
    return "adam", given | {n: v for n, (v, usual) in own.items() if v != usual}


def arguments(given: Mapping[str, float]) -> str:
    """A dictionary of the program."""
    return "{" + ", ".join(f"{quoted(n)}: {inline(v)}" for n, v in given.items()) + "}"


INITIALIZERS: dict[type[recipe.Initializer], Any] = {
    recipe.GlorotUniform: lambda i: "mx.init.Xavier()",
    recipe.Zeros: lambda i: "mx.init.Zero()",
    recipe.Ones: lambda i: "mx.init.One()",
    recipe.Uniform: lambda i: f"mx.init.Uniform({i.limit})",
}

HELPERS = {
    "GroupNorm": '''
class GroupNorm(nn.HybridBlock):
    """Group normalization; Gluon's own has a scale per group, not per channel."""

    def __init__(self, groups, channels, epsilon=1e-5, center=True, scale=True):
        super().__init__()
        self.groups, self.channels, self.epsilon = groups, channels, epsilon
        if scale:
            self.gamma = self.params.get("gamma", shape=(channels,), init="ones")
        if center:
            self.beta = self.params.get("beta", shape=(channels,), init="zeros")

    def hybrid_forward(self, F, x, gamma=None, beta=None):
        y = x.reshape((0, self.groups, -1))
        y = F.broadcast_sub(y, y.mean(axis=2, keepdims=True))
        variance = F.square(y).mean(axis=2, keepdims=True)
        y = F.broadcast_div(y, F.sqrt(variance + self.epsilon))
        y = y.reshape((0, self.channels, -1))
        if gamma is not None:
            y = F.broadcast_mul(y, gamma.reshape((1, -1, 1)))
        if beta is not None:
            y = F.broadcast_add(y, beta.reshape((1, -1, 1)))
        return y.reshape_like(x)
''',
    "RMSNorm": '''
class RMSNorm(nn.HybridBlock):
    """Divides features by the root of their mean square."""

    def __init__(self, features, epsilon=1e-6, scale=True):
        super().__init__()
        self.epsilon = epsilon
        if scale:
            self.gamma = self.params.get("gamma", shape=(features,), init="ones")

    def hybrid_forward(self, F, x, gamma=None):
        square = F.square(x).mean(axis=-1, keepdims=True)
        x = F.broadcast_div(x, F.sqrt(square + self.epsilon))
        return x if gamma is None else F.broadcast_mul(x, gamma)
''',
    "MultiHeadAttention": '''
class MultiHeadAttention(nn.HybridBlock):
    """Scaled dot-product attention; where causal, no step sees a later one."""

    def __init__(self, units, heads, causal=False, use_bias=True):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.root = (units // heads) ** 0.5
        self.query = nn.Dense(units, flatten=False, use_bias=use_bias)
        self.key = nn.Dense(units, flatten=False, use_bias=use_bias)
        self.value = nn.Dense(units, flatten=False, use_bias=use_bias)
        self.output = nn.Dense(units, flatten=False, use_bias=use_bias)

    def split_heads(self, x):
        """N x T x units -> N heads x T x units of a head."""
        x = x.reshape((0, 0, self.heads, -1)).transpose((0, 2, 1, 3))
        return x.reshape((-3, 0, 0))

    def hybrid_forward(self, F, query, key, value):
        query = self.split_heads(self.query(query))
        key = self.split_heads(self.key(key))
        value = self.split_heads(self.value(value))
        scores = F.batch_dot(query, key, transpose_b=True) / self.root
        if self.causal:
            rows, columns = (F.contrib.arange_like(scores, axis=i) for i in (1, 2))
            later = F.broadcast_lesser(rows.reshape((-1, 1)), columns.reshape((1, -1)))
            scores = F.broadcast_sub(scores, 1e9 * later.expand_dims(axis=0))
        x = F.batch_dot(F.softmax(scores), value)
        x = x.reshape((-4, -1, self.heads, 0, 0)).transpose((0, 2, 1, 3))
        return self.output(x.reshape((0, 0, -3)))
''',
}

# --- Rewrites -------------------------------------------------------------------------


def _max_pool(op: Any) -> Sequence[ops.Op]:
    """Padding that never wins, where the layer cannot pad as asked."""
    if is_even(op) and (not op.ceil or _begins_inside(op)):
        return (op,)
    none = ((0, 0),) * len(op.kernel)
    return (
        ops.Pad(overhang(op), float("-inf")),
        ops.MaxPool(op.kernel, op.stride, none),
    )


REWRITES: dict[type[ops.Op], Any] = {
    ops.Conv: pad_first_if_uneven,
    ops.ConvTranspose: pytorch.REWRITES[ops.ConvTranspose],
    ops.MaxPool: _max_pool,
    ops.AvgPool: pytorch.REWRITES[ops.AvgPool],
}

# --- The frame ------------------------------------------------------------------------

CLASS = """
class $name(nn.HybridBlock):
    def __init__(self$parameters):
        super().__init__()
        $make

    def hybrid_forward(self, F, $inputs):
        $apply
"""
BARE = """
class $name(nn.HybridBlock):
    def hybrid_forward(self, F, $inputs):
        $apply
"""

SETUP = '''
# 3. Loss, optimizer, initial weights
$loss
def build(seed=0):
    """Create the network$and_optimizer."""
    mx.random.seed(seed)
    model = $network()
    model.initialize($initializer, ctx=CTX)
    model.hybridize(static_alloc=True, static_shape=True)
    # The first batch tells the layers what sizes they read.
    model($first)
    $dropping
    $trainer


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    parameters = model._collect_params_with_prefix()
    for name in arrays:
        parameters[name].set_data(nd.array(arrays[name]))


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    parameters = model._collect_params_with_prefix()
    np.savez(path, **{name: p.data().asnumpy() for name, p in parameters.items()})
'''

STEP = '''
def train_step(model, trainer, x, y):
    """Make one optimizer step on $batch; return its loss."""
    x, y = nd.array(x, ctx=CTX), nd.array(y, ctx=CTX)
    with autograd.record():
        $loss
    loss.backward()
    trainer.step($size)
    return loss.mean()
'''

STEP_LOSSES = {
    recipe.SoftmaxCrossEntropy: (
        "# The log_softmax of oneDNN is only right to five digits in float32.",
        'loss = loss_fn(model(x).astype("float64"), y)',
    ),
    recipe.MeanSquaredError: ("loss = loss_fn(model(x), y)",),
}

PREDICT = '''
# $number. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return model(nd.array(x, ctx=CTX)).asnumpy()
'''

IMPORTS = (
    ("from mxnet import autograd, gluon, nd", "gluon"),
    ("from mxnet import nd", "nd"),
    ("from mxnet.gluon import nn", "nn"),
    ("from mxnet.gluon import nn, rnn", "rnn"),
)


def frame(parts: Parts) -> list[Section]:
    """The program around the network."""
    classes: list[str | Line] = []
    for text in parts.helpers:
        classes += [*text.strip("\n").split("\n"), "", ""]
    for scope in (*parts.blocks, parts.network):
        template = CLASS if scope.make else BARE
        classes += [*common.class_lines(scope, template), "", ""]
    written = "\n".join(c if isinstance(c, str) else c.text for c in classes)
    layers = "nn, rnn" if "rnn." in written else "nn"
    type_ = parts.graph.inputs[0][1]
    shape = (1, *type_.shape[1:])
    trained = parts.recipe is not None
    trainer = ["return model"]
    if parts.recipe:
        name, given = optimizer(parts.recipe.optimizer)
        named = quoted(name), arguments(given)
        # The servers make the steps: where they only add up gradients, the first may
        # take the place of the initial weights before all have read these.
        store = "KV" if parts.parallel else None
        made = call("gluon.Trainer", "model.collect_params()", *named, kvstore=store)
        rows = layout("    trainer = ", made)
        trainer = [*(row[4:] for row in rows), "return model, trainer"]
    first = call("nd.zeros", shape, ctx="CTX")
    loss = []
    if parts.recipe:
        loss = [f"loss_fn = {inline(LOSSES[type(parts.recipe.loss)])}", "", ""]
        if isinstance(parts.recipe.loss, recipe.MeanSquaredError):
            loss[0] += "  # it takes half of the square otherwise"
    setup = Section(
        "setup",
        SETUP,
        {
            "loss": loss,
            "and_optimizer": " and its optimizer" if trained else "",
            "network": parts.network.name,
            "dropping": DROPPING * parts.parallel,
            "initializer": kernels(parts.initializers),
            "first": inline(first),
            "trainer": trainer,
        },
    )
    used = "autograd, gluon, nd" if trained else "nd"
    imports = [
        "import mxnet as mx",
        "import numpy as np",
        f"from mxnet import {used}",
        f"from mxnet.gluon import {layers}",
    ]
    first_imports = ["import argparse", *([] if trained else ["import time"]), ""]
    constants = ["CTX = mx.gpu() if mx.context.num_gpus() else mx.cpu()"]
    if parts.parallel:
        constants += ["", *JOINED]
    sections = [
        common.head(parts, imports, constants, first_imports),
        common.load_data(parts),
        Section("network", "# 2. The network\n$classes", {"classes": classes[:-2]}),
        setup,
    ]
    predict = {"number": "5" if trained else "4"}
    if not parts.recipe:
        return [
            *sections,
            Section("predict", PREDICT, predict),
            common.extract(),
            common.main(parts),
        ]
    state = "model, trainer"
    return [
        *sections,
        common.batches(parts.parallel),
        Section(
            "train",
            STEP,
            {
                "loss": STEP_LOSSES[type(parts.recipe.loss)],
                "batch": "this process's share of a batch"
                if parts.parallel
                else "a batch",
                "size": "len(x) * WORKERS" if parts.parallel else "len(x)",
            },
        ),
        common.train(
            parts,
            "sum(losses).asscalar() / len(losses)",
            state,
            summary=OWN_LOSS * parts.parallel,
        ),
        Section("predict", PREDICT, predict),
        common.evaluate(parts),
        common.main(parts, state),
    ]


backend = Backend(
    name="gluon",
    title="Gluon",
    home="https://mxnet.apache.org",
    since="2017",
    licence="Apache-2.0",
    language="C++, CUDA and Python",
    style="module classes",
    storage=axes.channels_first,
    env=ENV,
    barrier="lambda: sum(p.data().sum() for p in model.collect_params().values())",
    rules=RULES,
    losses=LOSSES,
    optimizers={recipe.SGD: optimizer, recipe.Adam: optimizer},
    initializers=INITIALIZERS,
    frame=frame,
    rewrites=REWRITES,
    forms={
        ops.SimpleRNN: ({"bias": "two"},),
        ops.LSTM: ({"bias": "two"},),
        ops.GRU: ({"reset": "after", "bias": "two"},),
        ops.BatchNorm: ({"unbiased": False},),
        # Its kernel subtracts from 1 in float32.
        recipe.Adam: ({"epsilon_form": "before", "factors": "float32"},),
    },
    helpers=HELPERS,
    fuses=frozenset((ops.Dense, ops.Conv, ops.ConvTranspose)),
    activations={
        ops.Relu: quoted("relu"),
        ops.Sigmoid: quoted("sigmoid"),
        ops.Softplus: quoted("softrelu"),
        ops.Tanh: quoted("tanh"),
    },
    # It has arrays of float64, but takes rates, momentum and slopes as float32.
    dtypes=("float32",),
    infers_sizes=True,
    engine=ENGINE,
)

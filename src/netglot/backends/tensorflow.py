"""TensorFlow without Keras layers: modules with variables, tf.nn, GradientTape."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Sequence
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
from netglot.backends import common, keras
from netglot.backends.tensorflow_layers import (
    FUNCTIONS,
    INITIALIZERS,
    LAYERS,
    Uses,
    function,
    layer,
)
from netglot.graph import Call as BlockCall
from netglot.graph import Graph, Node, Repeat, infer_nodes
from netglot.lower import Arrange, Restore
from netglot.source import (
    WIDTH,
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
    requirements=("tensorflow-cpu==2.21.0", "keras==3.15.1"),
    imports=("tensorflow",),
    # Its banner about instruction sets is no news to anybody.
    variables={"TF_CPP_MIN_LOG_LEVEL": "2", **common.KERAS_AT_HOME},
    threads=(
        "TF_NUM_INTRAOP_THREADS",
        "TF_NUM_INTEROP_THREADS",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
    ),
    accelerator=common.TENSORFLOW_ON_GPU,
    lock="tensorflow",
)
ENGINE = Engine(
    name="MultiWorkerMirroredStrategy over gRPC",
    command="TF_CONFIG=... python {file}",
    variables={
        "TF_CONFIG": '{"cluster": {"worker": {addresses}}, '
        '"task": {"type": "worker", "index": {rank}}}'
    },
    missing={
        ops.BatchNorm: "each process would normalize by its own share of the batch"
    },
)
#: What a process knows once it has joined the others.
JOINED = (
    "",
    "strategy = tf.distribute.MultiWorkerMirroredStrategy()",
    "RANK = strategy.cluster_resolver.task_id",
    "WORKERS = strategy.num_replicas_in_sync",
)

# --- Rules ----------------------------------------------------------------------------

Pads = tuple[tuple[int, int], ...]


def _dims(s: Site) -> int:
    return len(s.inputs[0].axes) - 2


def _axis(s: Site, letter: str, index: int = 0) -> int:
    """Position of a letter; the last one is counted from the end."""
    position = s.axis(letter, index)
    return -1 if position == len(s.storage(index)) - 1 else position


def space_sizes(s: Site) -> tuple[Any, ...]:
    """Spatial sizes of the input; ``None`` or a symbol where unknown."""
    return tuple(s.inputs[0].size(letter) for letter in axes.SPATIAL[_dims(s)])


def around(pads: Pads) -> str:
    """Padding of every axis, batch and channels included, as tf.pad reads it."""
    inside = [list(pair) for pair in pads]
    return str([[0, 0], *inside, [0, 0]])


def is_same(
    sizes: Sequence[Any], windows: Sequence[int], strides: Sequence[Any], pads: Pads
) -> bool:
    """Whether the padding is what TensorFlow calls SAME."""
    for size, window, stride, pair in zip(sizes, windows, strides, pads, strict=True):
        if stride != 1 and not (isinstance(size, int) and isinstance(stride, int)):
            return False
        # At stride 1 the size makes no difference.
        size = window if stride == 1 else size
        total = max((-(-size // stride) - 1) * stride + window - size, 0)
        if pair != (total // 2, total - total // 2):
            return False
    return True


def _windows(op: Any) -> tuple[int, ...]:
    return tuple(d * (k - 1) + 1 for k, d in zip(op.kernel, op.dilation, strict=True))


def _conv_class(op: ops.Conv, x: ops.Type) -> str:
    dims, plain = len(op.kernel), squeeze(op.dilation) == 1
    if op.groups != 1:
        channels = x.size("C")
        each = op.groups == op.channels == channels and squeeze(op.stride) != op.stride
        return (
            "DepthwiseConv2D" if each and plain and dims == 2 else f"GroupConv{dims}D"
        )
    return f"Conv{dims}D" if plain or dims != 2 else "DilatedConv2D"


def _conv_padding(s: Site, kind: str) -> tuple[str | None, bool]:
    """The layer's argument, and whether tf.pad does the work before the layer."""
    if not any(map(any, s.op.padding)):
        return None, False
    # How much SAME adds depends on the stride that the layer itself is given.
    stride = (1,) * len(s.op.stride) if _strided_afterwards(s.op) else s.op.stride
    if is_same(space_sizes(s), _windows(s.op), stride, s.op.padding):
        return quoted("SAME"), False
    if kind in ("Conv2D", "DepthwiseConv2D"):
        return around(s.op.padding), False
    return None, True


def _strided_afterwards(op: ops.Conv) -> bool:
    """tf.nn.convolution knows strides or dilations, not both."""
    return squeeze(op.stride) != 1 and squeeze(op.dilation) != 1


def _convolution(s: Site) -> Any:
    kind = _conv_class(s.op, s.inputs[0])
    depthwise = kind == "DepthwiseConv2D"
    return call(
        kind,
        s.inputs[0].size("C"),
        None if depthwise else s.op.channels,
        kernel_size=s.op.kernel,
        strides=None if _strided_afterwards(s.op) else unless(1, squeeze(s.op.stride)),
        padding=_conv_padding(s, kind)[0],
        dilations=unless(1, squeeze(s.op.dilation)),
        groups=s.op.groups if kind.startswith("Group") else None,
        bias=unless(True, s.op.bias),
    )


def _convolve(s: Site) -> Any:
    kind = _conv_class(s.op, s.inputs[0])
    x = s.x
    if _conv_padding(s, kind)[1]:
        x = call("tf.pad", x, around(s.op.padding))
    if _strided_afterwards(s.op):
        steps = ", ".join(f"::{n}" if n != 1 else ":" for n in s.op.stride)
        return f"{inline(call(s.object, x))}[:, {steps}]"
    return call(s.object, x)


def _transposed(s: Site) -> Any:
    if s.op.groups != 1:
        raise Gap("a transposed convolution has no groups")
    if squeeze(s.op.dilation) != 1:
        raise Gap("a transposed convolution cannot be dilated on a CPU")
    sizes, padding = _uncropped(s)
    if not all(isinstance(size, int) for size in sizes):
        raise Gap("a transposed convolution must know its output size")
    if any(m >= n for m, n in zip(s.op.output_padding, s.op.stride, strict=True)):
        raise Gap("output padding must be smaller than the stride")
    return call(
        f"Conv{_dims(s)}DTranspose",
        s.inputs[0].size("C"),
        s.op.channels,
        kernel_size=s.op.kernel,
        output_size=sizes,
        strides=unless(1, squeeze(s.op.stride)),
        padding=padding,
        bias=unless(True, s.op.bias),
    )


def _uncropped(s: Site) -> tuple[tuple[Any, ...], str | None]:
    """Output sizes of the layer, and its padding; what that cannot say is cut off."""
    letters = axes.SPATIAL[_dims(s)]
    sizes = tuple(s.outputs[0].size(letter) for letter in letters)
    if not any(map(any, s.op.padding)) or None in sizes:
        return sizes, None
    if is_same(sizes, s.op.kernel, s.op.stride, s.op.padding):
        return sizes, quoted("SAME")
    if _dims(s) == 2:
        return sizes, around(s.op.padding)
    return tuple(n + sum(p) for n, p in zip(sizes, s.op.padding, strict=True)), None


def _transpose_and_cut(s: Site) -> Any:
    if not any(map(any, s.op.padding)) or _uncropped(s)[1]:
        return call(s.object, s.x)
    cuts = [f"{a or ''}:{-b or ''}" for a, b in s.op.padding]
    return f"{inline(call(s.object, s.x))}[:, {', '.join(cuts)}]"


def _overhang(s: Site) -> Pads:
    """What the last windows of a ceil pool need after the padding."""
    none = ((0, 0),) * len(s.op.kernel)
    if not s.op.ceil:
        return none
    letters = axes.SPATIAL[_dims(s)]
    counts = tuple(s.outputs[0].size(letter) for letter in letters)
    known = (*counts, *space_sizes(s))
    if not all(isinstance(n, int) for n in known):
        raise Gap("a pool whose last window may hang over must know its input size")
    op = s.op
    rows = zip(counts, space_sizes(s), op.kernel, op.stride, op.padding, strict=True)
    return tuple(
        (0, max((n - 1) * stride + k - size - sum(pads), 0))
        for n, size, k, stride, pads in rows
    )


def _no_volume_in_doubles(s: Site) -> None:
    if _dims(s) == 3 and s.dtype == "float64":
        raise Gap("pools in three dimensions have no kernel for float64")


def _plus(first: Pads, second: Pads) -> Pads:
    pairs = zip(first, second, strict=True)
    return tuple((a + c, b + d) for (a, b), (c, d) in pairs)


def _window(s: Site) -> dict[str, Any]:
    return {"ksize": squeeze(s.op.kernel), "strides": squeeze(s.op.stride)}


def _max_pool(s: Site) -> Any:
    _no_volume_in_doubles(s)
    pads = _plus(s.op.padding, _overhang(s))
    name, x = f"tf.nn.max_pool{_dims(s)}d", s.x
    padding = quoted("VALID")
    if any(map(any, pads)):
        small = all(max(p) < k for p, k in zip(pads, s.op.kernel, strict=True))
        if is_same(space_sizes(s), s.op.kernel, s.op.stride, pads):
            padding = quoted("SAME")
        elif _dims(s) == 2 and small:
            padding = around(pads)
        else:
            lowest = f"{inline(x)}.dtype.min"
            x = call("tf.pad", x, around(pads), constant_values=lowest)
    return call(name, x, **_window(s), padding=padding)


def _avg_pool(s: Site) -> Any:
    _no_volume_in_doubles(s)
    pads, x = _plus(s.op.padding, _overhang(s)), s.x
    if s.op.count_padding and any(map(any, s.op.padding)):
        pads, x = _overhang(s), call("tf.pad", x, around(s.op.padding))
    name = f"tf.nn.avg_pool{_dims(s)}d"
    if not any(map(any, pads)):
        return call(name, x, **_window(s), padding=quoted("VALID"))
    if x == s.x and is_same(space_sizes(s), s.op.kernel, s.op.stride, pads):
        # SAME leaves the padding out of the mean.
        return call(name, x, **_window(s), padding=quoted("SAME"))
    return call("avg_pool", x, **_window(s), paddings=around(pads))


def _training(s: Site) -> str | None:
    """A network that is not trained does not ask whether it is."""
    return "training" if s.recipe else None


def _norm(s: Site) -> Any:
    return call(
        "BatchNorm",
        s.inputs[0].size("C" if "C" in s.inputs[0].axes else "F"),
        momentum=unless(0.9, s.op.momentum) if s.recipe else None,
        epsilon=unless(1e-5, s.op.epsilon),
        unbiased=unless(False, s.op.unbiased) if s.recipe else None,
        scale=unless(True, s.op.scale),
        shift=unless(True, s.op.shift),
    )


def _trained_norm(s: Site) -> Any:
    if not s.recipe:
        # Only training looks at these.
        _ = s.op.momentum, s.op.unbiased
    return call(s.object, s.x, _training(s))


def _observation_norm(name: str, epsilon: float) -> Any:
    def write(s: Site) -> Any:
        shift = unless(True, s.op.shift) if hasattr(s.op, "shift") else None
        return call(
            name,
            s.inputs[0].size("C" if name == "GroupNorm" else "F"),
            s.op.groups if name == "GroupNorm" else None,
            epsilon=unless(epsilon, s.op.epsilon),
            scale=unless(True, s.op.scale),
            shift=shift,
        )

    return write


def _affine(s: Site) -> tuple[Weight, ...]:
    letter = "C" if "C" in s.inputs[0].axes else "F"
    names = [name for name in ("scale", "shift") if getattr(s.op, name, False)]
    if hasattr(s.op, "momentum"):
        names += ["mean", "variance"]
    return tuple(Weight(name, letter, (name,)) for name in names)


def _dropout(s: Site) -> Any:
    rate = s.op.rate
    if not s.recipe:
        return Statements((), s.x)
    dropped = inline(call("tf.nn.dropout", s.x, rate))
    if s.target == s.x:
        lines = ("if training:", f"    {s.target} = {dropped}")
        return Statements(lines, s.target)
    line = f"{s.target} = {dropped} if training else {inline(s.x)}"
    return Statements((line,), s.target)


def _recurrent(s: Site) -> Any:
    for attribute in ("activation", "bias", "reset", "forget_bias"):
        # Written into the layer: see ``_words``.
        getattr(s.op, attribute, None)
    layer = call(_RECURRENT[s.op.gates], s.inputs[0].size("F"), s.op.units)
    return call("Bidirectional", layer, layer) if s.op.direction == "both" else layer


def _run(s: Site) -> Any:
    """The layers give the states of all steps."""
    last, direction = s.op.returns == "last", s.op.direction
    if direction == "both" and last:
        # The layer for the other direction has read everything at the first step.
        ends = (f"{s.target}[:, -1, :{s.op.units}]", f"{s.target}[:, 0, {s.op.units}:]")
        join = inline(call("tf.concat", f"[{', '.join(ends)}]", axis=-1))
        lines = (f"{s.target} = {s.object}({s.x})", f"{s.target} = {join}")
        return Statements(lines, s.target)
    if direction == "backward":
        states = f"{s.object}(tf.reverse({s.x}, [1]))"
        return f"{states}[:, -1]" if last else f"tf.reverse({states}, [1])"
    return f"{s.object}({s.x}){'[:, -1]' if last else ''}"


def _recurrent_weights(s: Site) -> tuple[Weight, ...]:
    pairs = {"kernel": "IG", "recurrent": "HG", "bias": "G", "recurrent_bias": "G"}
    if s.op.bias in ("one", "none"):
        del pairs["recurrent_bias"]
    if s.op.bias == "none":
        del pairs["bias"]
    result = []
    for direction, end in (("forward", ""), ("backward", "_back")):
        if s.op.direction in (direction, "both"):
            inside = f"{direction}." if s.op.direction == "both" else ""
            result += [
                Weight(inside + name, letters, (name + end,))
                for name, letters in pairs.items()
            ]
    return tuple(result)


_RECURRENT = {"h": "SimpleRNN", "ifgo": "LSTM", "rzn": "GRU"}


def _attention(s: Site) -> Any:
    width = s.inputs[0].size("F")
    return call(
        "MultiHeadAttention",
        width,
        s.op.heads,
        causal=unless(False, s.op.causal),
        key_features=unless(width, s.inputs[:2][-1].size("F")),
        value_features=unless(width, s.inputs[-1].size("F")),
        bias=unless(True, s.op.bias),
    )


def _attend(s: Site) -> Any:
    query, *others = s.arguments
    key, value = (others or [query])[0], (others or [query])[-1]
    return call(s.object, query, key, value)


def _attention_weights(s: Site) -> tuple[Weight, ...]:
    result = []
    for name in ("query", "key", "value", "output"):
        result.append(Weight(f"{name}.kernel", "IO", (f"{name}_kernel",)))
        if s.op.bias:
            result.append(Weight(f"{name}.bias", "O", (f"{name}_bias",)))
    return tuple(result)


def _exact(s: Site, name: str) -> str:
    """An activation whose numbers tf.nn rounds to float32, whatever it is given."""
    return f"tf.nn.{name}" if s.dtype == "float32" else name


def _elu(s: Site) -> Any:
    if s.op.alpha == 1:
        return call("tf.nn.elu", s.x)
    value = f"tf.where({s.x} > 0, {s.x}, {s.op.alpha} * tf.nn.elu({s.x}))"
    # Its argument stands there three times, and so has to be a variable.
    return Statements((f"{s.target} = {value}",), s.target)


def _along(name: str) -> Rule:
    """A function along one axis, which is the last unless it is told."""
    return Rule(lambda s: call(name, s.x, axis=unless(-1, _axis(s, s.op.axis))))


def _matmul(s: Site) -> Any:
    if s.op.transpose_b:
        return call("tf.matmul", *s.arguments, transpose_b=True)
    return f"{common.operand(s.x)} @ {common.operand(s.arguments[1])}"


def _list(values: Sequence[Any]) -> str:
    return f"[{', '.join(map(inline, values))}]"


def _concat(s: Site) -> Any:
    return call("tf.concat", _list(s.arguments), axis=_axis(s, s.op.axis))


def _split(s: Site) -> Any:
    pieces = call("tf.split", s.x, _list(s.op.sizes), axis=_axis(s, s.op.axis))
    return Statements((f"{s.target} = {inline(pieces)}",), s.target)


def _slice(s: Site) -> Any:
    if s.op.step < 0:
        raise Gap("a slice cannot step backwards")
    return common.sliced(s)


def _reshape(s: Site) -> Any:
    # The letters may stand in another order where all but one size is 1.
    sizes = dict(zip("N" + s.op.axes.lstrip("N"), (-1, *s.op.shape), strict=True))
    stored = s.backend.storage("".join(sizes))
    return call("tf.reshape", s.x, _list([sizes[letter] for letter in stored]))


def _flatten(s: Site) -> Any:
    size = s.outputs[0].size("F")
    if isinstance(size, int):
        return call("tf.reshape", s.x, _list((-1, size)))
    return call("tf.reshape", s.x, _list((f"tf.shape({s.x})[0]", -1)))


def _permute(s: Site) -> Any:
    getattr(s.op, "axes", None)
    return call("tf.transpose", s.x, _list(s.order()))


def _pad(s: Site) -> Any:
    value = f'float("{s.op.value}")' if math.isinf(s.op.value) else s.op.value
    pads = around(s.op.padding)
    return call("tf.pad", s.x, pads, constant_values=unless(0.0, value))


def _reduce(name: str) -> Rule:
    def write(s: Site) -> Any:
        over = [_axis(s, letter) for letter in s.op.over]
        axis = over[0] if len(over) == 1 else _list(over)
        return call(name, s.x, axis=axis, keepdims=unless(False, s.op.keep))

    return Rule(write)


def _global(name: str) -> Rule:
    def write(s: Site) -> Any:
        space = list(range(1, len(s.inputs[0].axes) - 1))
        return call(name, s.x, axis=space[0] if len(space) == 1 else _list(space))

    return Rule(write)


def _upsample(s: Site) -> Any:
    if s.op.mode == "nearest":
        value = s.x
        for axis, times in enumerate(s.op.scale, start=1):
            value = call("tf.repeat", value, times, axis=axis) if times != 1 else value
        return value
    if _dims(s) != 2:
        raise Gap("it resizes smoothly in two dimensions only")
    if s.dtype != "float32":
        raise Gap("tf.image.resize computes in float32, whatever it is given")
    _ = s.op.scale  # The output is so many times as large.
    sizes = [s.outputs[0].size(letter) for letter in "HW"]
    if not all(isinstance(size, int) for size in sizes):
        raise Gap("it resizes to a size that must be known")
    return call("tf.image.resize", s.x, _list(sizes))


# --- Blocks ---------------------------------------------------------------------------


def _class_name(name: str) -> str:
    """The name of a network or block, other than that of a layer."""
    return f"{name}Network" if name in LAYERS else name


def trains(nodes: Sequence[Node], trained: bool) -> bool:
    """Whether nodes compute something else in training."""
    for node in nodes:
        if isinstance(node.op, BlockCall) and trains(node.op.block.nodes, trained):
            return True
        if trained and isinstance(node.op, ops.Dropout | ops.BatchNorm):
            return True
    return False


def _block(s: Site) -> Any:
    return call(_class_name(s.op.block.name), **dict(s.op.arguments))


def _call_block(s: Site) -> Any:
    told = trains(s.op.block.nodes, s.recipe is not None)
    return call(s.object, *s.arguments, "training" if told else None)


def _repeat(s: Site) -> Any:
    made = f"{inline(_block(s))} for _ in range({s.op.times})"
    if len(f"        {s.object} = [{made}]") <= WIDTH:
        return f"[{made}]"
    return Statements((f"{s.object} = [", f"    {made}", "]"), s.object)


def _call_blocks(s: Site) -> Any:
    # As often as there are blocks in the list.
    _ = s.op.times
    told = trains(s.op.block.nodes, s.recipe is not None)
    first = [] if s.target == s.x else [f"{s.target} = {inline(s.x)}"]
    used = call("block", s.target, "training" if told else None)
    loop = (f"for block in {s.object}:", f"    {s.target} = {inline(used)}")
    return Statements((*first, *loop), s.target)


def _kernel(s: Site) -> tuple[Weight, ...]:
    letters = "IO"
    if hasattr(s.op, "output_padding"):
        letters = "OI"
    elif _conv_class(s.op, s.inputs[0]) == "DepthwiseConv2D":
        # One kernel for each channel: O counts them, and I is 1.
        letters = "OI"
    kernel = Weight("kernel", axes.SPATIAL[_dims(s)] + letters, ("kernel",))
    return (kernel, Weight("bias", "O", ("bias",))) if s.op.bias else (kernel,)


DENSE = (Weight("kernel", "IO", ("kernel",)), Weight("bias", "O", ("bias",)))
RECURRENT = Rule(_run, _recurrent, _recurrent_weights)

RULES: dict[type[ops.Op], Rule] = {
    ops.Dense: Rule(
        make=lambda s: call(
            "Dense",
            s.inputs[0].size("F"),
            s.op.features,
            bias=unless(True, s.op.bias),
        ),
        weights=DENSE,
    ),
    ops.Conv: Rule(_convolve, _convolution, _kernel),
    ops.ConvTranspose: Rule(_transpose_and_cut, _transposed, _kernel),
    ops.MaxPool: Rule(_max_pool),
    ops.AvgPool: Rule(_avg_pool),
    ops.GlobalAvgPool: _global("tf.reduce_mean"),
    ops.GlobalMaxPool: _global("tf.reduce_max"),
    ops.BatchNorm: Rule(_trained_norm, _norm, _affine),
    ops.LayerNorm: Rule(make=_observation_norm("LayerNorm", 1e-5), weights=_affine),
    ops.GroupNorm: Rule(make=_observation_norm("GroupNorm", 1e-5), weights=_affine),
    ops.RMSNorm: Rule(make=_observation_norm("RMSNorm", 1e-6), weights=_affine),
    ops.Dropout: Rule(_dropout),
    ops.Embedding: Rule(
        make=lambda s: call("Embedding", s.op.vocabulary, s.op.features),
        weights=(Weight("table", "VF", ("table",)),),
    ),
    ops.SimpleRNN: RECURRENT,
    ops.LSTM: RECURRENT,
    ops.GRU: RECURRENT,
    ops.MultiHeadAttention: Rule(_attend, _attention, _attention_weights),
    ops.Relu: common.function("tf.nn.relu"),
    ops.LeakyRelu: Rule(
        lambda s: call(_exact(s, "leaky_relu"), s.x, alpha=unless(0.2, s.op.slope))
    ),
    ops.Elu: Rule(_elu),
    ops.Selu: common.function("tf.nn.selu"),
    ops.Gelu: Rule(
        lambda s: call(
            _exact(s, "gelu"), s.x, approximate=unless(False, s.op.approximate)
        )
    ),
    ops.Silu: common.function("tf.nn.silu"),
    ops.Sigmoid: common.function("tf.sigmoid"),
    ops.Tanh: common.function("tf.tanh"),
    ops.Softplus: common.function("tf.nn.softplus"),
    ops.Softmax: _along("tf.nn.softmax"),
    ops.LogSoftmax: _along("tf.nn.log_softmax"),
    ops.Negative: Rule(lambda s: f"-{common.operand(s.x)}"),
    ops.Exp: common.function("tf.exp"),
    ops.Log: common.function("tf.math.log"),
    ops.Sqrt: common.function("tf.sqrt"),
    ops.Abs: common.function("tf.abs"),
    ops.Square: common.function("tf.square"),
    ops.Clip: Rule(lambda s: call("tf.clip_by_value", s.x, s.op.low, s.op.high)),
    ops.Scale: Rule(common.scale),
    ops.Add: common.binary("+"),
    ops.Subtract: common.binary("-"),
    ops.Multiply: common.binary("*"),
    ops.Divide: common.binary("/"),
    ops.Maximum: common.function("tf.maximum"),
    ops.Minimum: common.function("tf.minimum"),
    ops.MatMul: Rule(_matmul),
    ops.Concat: Rule(_concat),
    ops.Split: Rule(_split),
    ops.Slice: Rule(_slice),
    ops.Reshape: Rule(_reshape),
    ops.Flatten: Rule(_flatten),
    ops.Transpose: Rule(_permute),
    Restore: Rule(_permute),
    Arrange: Rule(_permute),
    ops.Pad: Rule(_pad),
    ops.ReduceMean: _reduce("tf.reduce_mean"),
    ops.ReduceSum: _reduce("tf.reduce_sum"),
    ops.ReduceMax: _reduce("tf.reduce_max"),
    ops.Upsample: Rule(_upsample),
    BlockCall: Rule(_call_block, _block),
    Repeat: Rule(_call_blocks, _repeat),
}

LOSSES: dict[type[recipe.Loss], Any] = {
    recipe.SoftmaxCrossEntropy: call(
        "tf.nn.sparse_softmax_cross_entropy_with_logits", labels="y", logits="scores"
    ),
    recipe.MeanSquaredError: "(scores - y) ** 2",
}


def _optimizer(o: recipe.Optimizer) -> Any:
    written = keras.OPTIMIZERS[type(o)](o)
    return dataclasses.replace(written, function=f"tf.{written.function}")


OPTIMIZERS: dict[type[recipe.Optimizer], Any] = {
    # Decay that goes through the velocity stands in ``train_step``.
    recipe.SGD: lambda o: _optimizer(dataclasses.replace(o, weight_decay=0.0)),
    recipe.Adam: _optimizer,
}

# --- Rewrites -------------------------------------------------------------------------

# None: what a layer cannot pad, crop or skip is said around its call.

# --- Missing --------------------------------------------------------------------------

# Nothing is missing altogether; what is missing in part the rules say.

# --- The frame ------------------------------------------------------------------------

CLASS = """
class $name(tf.Module):
    def __init__(self$parameters):
        super().__init__()
        $make

    def __call__(self, $inputs):
        $apply
"""

SETUP = '''
# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network$and_optimizer."""
    tf.random.set_seed(seed)
    $build


def named_variables(module, prefix=""):
    """All variables by path, joined with dots."""
    variables = {}
    for name, child in tf.train.TrackableView.children(module).items():
        if isinstance(child, tf.Variable):
            variables[prefix + name] = child
        else:
            variables |= named_variables(child, f"{prefix}{name}.")
    return variables


def load_weights(model, path):
    """Set the variables to the named arrays of an .npz file."""
    arrays = np.load(path)
    for name, variable in named_variables(model).items():
        variable.assign(arrays[name])


def save_weights(model, path):
    """Write the variables as named arrays of an .npz file."""
    np.savez(path, **{name: v.numpy() for name, v in named_variables(model).items()})
'''

STEP = """
$head
    with tf.GradientTape() as tape:
        scores = $scores
        $loss
    variables = model.trainable_variables
    gradients = tape.gradient(loss, variables)
    $change
    optimizer.apply_gradients(zip(gradients, variables))
    return loss
$joint
"""

ALONE = [
    "@tf.function",
    "def train_step(model, optimizer, x, y):",
    '    """Make one optimizer step on a batch; return its loss."""',
]
UPDATE = [
    "def update(model, optimizer, x, y):",
    '    """Make this process\'s part of a step; return its part of the loss."""',
]
JOINT = [
    "",
    "",
    "@tf.function",
    "def train_step(model, optimizer, x, y):",
    '    """Make one optimizer step; x and y are this process\'s share of a batch."""',
    "    loss = strategy.run(update, args=(model, optimizer, x, y))",
    '    return strategy.reduce("SUM", loss, axis=None)',
]

PREDICT = '''
# $number. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return model(x).numpy()
'''

IMPORTS = (("import math", "math"),)


def _scopes(graph: Graph) -> Iterator[tuple[Sequence[Node], dict[str, ops.Type]]]:
    """The nodes of the network and of each block, with the types of their values."""
    yield graph.nodes, graph.types()
    for block in graph.blocks():
        yield block.nodes, infer_nodes(block.nodes, dict(block.inputs))


def _uses(graph: Graph) -> dict[str, Uses]:
    """Every use of each layer that the program has to define."""
    uses: dict[str, Uses] = {}
    for nodes, types in _scopes(graph):
        for node in nodes:
            op: Any = node.op
            name = type(op).__name__
            inputs = tuple(types[value] for value in node.inputs)
            if isinstance(op, ops.Conv):
                name = _conv_class(op, inputs[0])
            elif isinstance(op, ops.ConvTranspose):
                name = f"Conv{len(op.kernel)}DTranspose"
            elif isinstance(op, ops.MultiHeadAttention):
                uses.setdefault("Dense", []).append((op, inputs))
            elif isinstance(op, ops.SimpleRNN) and op.direction == "both":
                uses.setdefault("Bidirectional", []).append((op, inputs))
            if name in LAYERS:
                uses.setdefault(name, []).append((op, inputs))
    return {name: uses[name] for name in LAYERS if name in uses}


def _layers(parts: Parts) -> list[str]:
    """The functions and layers that the network uses, with two blank lines after."""
    initializers = parts.initializers or recipe.Initializers()
    texts = [
        layer(name, uses, initializers, parts.dtype, trained=parts.recipe is not None)
        for name, uses in _uses(parts.graph).items()
    ]
    scopes = (*parts.blocks, parts.network)
    lines = [line.text for scope in scopes for line in scope.apply]
    called = set(re.findall(r"(?<![\w.])\w+(?=\()", "\n".join([*texts, *lines])))
    functions = [function(name, parts.dtype) for name in FUNCTIONS if name in called]
    return [row for text in (*functions, *texts) for row in (*text.split("\n"), "", "")]


def _build(parts: Parts) -> list[str]:
    made = f"{_class_name(parts.network.name)}()"
    if parts.recipe is None:
        return [f"return {made}"]
    optimizer = OPTIMIZERS[type(parts.recipe.optimizer)](parts.recipe.optimizer)
    lines = [f"model = {made}"]
    if parts.dtype == "float64":
        optimizer = keras.exact(optimizer)
        if "np.float64" in inline(optimizer):
            lines.append("# TensorFlow would round plain numbers to float32.")
    margin = 8 if parts.parallel else 4
    prefix = " " * margin + "optimizer = "
    lines += [line[margin:] for line in layout(prefix, optimizer)]
    lines.append("optimizer.build(model.trainable_variables)")
    if parts.parallel:
        lines = ["with strategy.scope():", *("    " + line for line in lines)]
    return [*lines, "return model, optimizer"]


def _changed_gradients(parts: Parts) -> list[str]:
    """What happens to gradients before Keras's optimizer gets them."""
    optimizer = parts.recipe.optimizer if parts.recipe else None
    if isinstance(optimizer, recipe.SGD) and optimizer.weight_decay:
        # The optimizer adds up what all processes give it.
        share = " / WORKERS" * parts.parallel
        decayed = f"{optimizer.weight_decay}{share} * v + g"
        return [f"gradients = [{decayed} for v, g in zip(variables, gradients)]"]
    if isinstance(optimizer, recipe.Adam) and ops.Embedding in parts.operations:
        return [
            "# Add up the rows of repeated words before Adam squares them.",
            "gradients = [tf.convert_to_tensor(g) for g in gradients]",
        ]
    return []


def frame(parts: Parts) -> list[Section]:
    """The program around the network."""
    trained = parts.recipe is not None
    classes: list[str | Line] = [*_layers(parts)]
    nodes = {block.name: block.nodes for block in parts.graph.blocks()}
    for scope in (*parts.blocks, parts.network):
        template = CLASS if scope.make else CLASS.replace("        $make\n", "")
        if trains(nodes.get(scope.name, parts.graph.nodes), trained):
            template = template.replace("$inputs", "$inputs, training=False")
        if scope is parts.network:
            compiled = "    @tf.function(reduce_retracing=True)\n    def __call__"
            template = template.replace("    def __call__", compiled)
        named = dataclasses.replace(scope, name=_class_name(scope.name))
        classes += [*common.class_lines(named, template), "", ""]
    wide = parts.dtype == "float64"
    constants = ['tf.keras.config.set_floatx("float64")'] if trained and wide else []
    if parts.parallel:
        constants += JOINED
    first = ["import argparse", "import math", *([] if trained else ["import time"])]
    setup = Section(
        "setup",
        SETUP,
        {
            "and_optimizer": " and its optimizer" if trained else "",
            "build": _build(parts),
        },
    )
    sections = [
        common.head(
            parts,
            ("", "import numpy as np", "import tensorflow as tf"),
            constants,
            first=first,
        ),
        common.load_data(parts),
        Section("network", "# 2. The network\n$classes", {"classes": classes[:-2]}),
        setup,
    ]
    if parts.recipe is None:
        predict = Section("predict", PREDICT, {"number": "4"})
        return [*sections, predict, common.extract(), common.main(parts)]
    loss = call("tf.reduce_mean", LOSSES[type(parts.recipe.loss)])
    shared = []
    if parts.parallel:
        shared = ["# The optimizer adds up the gradients of all.", "loss /= WORKERS"]
    step = {
        "head": UPDATE if parts.parallel else ALONE,
        "joint": JOINT if parts.parallel else [],
        "scores": "model(x, training=True)"
        if trains(parts.graph.nodes, trained)
        else "model(x)",
        "loss": [line[8:] for line in layout("        loss = ", loss)] + shared,
        "change": _changed_gradients(parts),
    }
    return [
        *sections,
        common.batches(parts.parallel),
        Section("train", STEP, step),
        common.train(parts, "tf.reduce_mean(losses)"),
        Section("predict", PREDICT, {"number": "5"}),
        common.evaluate(parts),
        common.main(parts),
    ]


backend = Backend(
    name="tensorflow",
    title="TensorFlow",
    home="https://www.tensorflow.org",
    since="2015",
    licence="Apache-2.0",
    language="C++, CUDA and Python",
    style="module classes over bare operations",
    storage=axes.channels_last,
    env=ENV,
    barrier="tf.function("
    "lambda: tf.add_n([tf.reduce_sum(v) for v in model.variables]), jit_compile=True)",
    rules=RULES,
    losses=LOSSES,
    optimizers=OPTIMIZERS,
    initializers=INITIALIZERS,
    frame=frame,
    # Recurrent layers and batch norm are written by hand, in any form.
    forms={recipe.Adam: ({"epsilon_form": "before"},)},
    helpers=FUNCTIONS,
    imports=IMPORTS,
    engine=ENGINE,
)

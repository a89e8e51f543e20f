"""Caffe2: brew's layers on a ModelHelper, nets that are created once and then run."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from netglot import axes, ops, recipe
from netglot.backend import Backend, Env, Gap, Parts, Rule, Section, Site, Weight
from netglot.backends import common
from netglot.emit import function_name
from netglot.graph import Call as BlockCall
from netglot.graph import Node, Repeat
from netglot.lower import overhang, pad_average
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
    python=("3.9",),
    # The last wheel of PyTorch whose Caffe2 is whole.
    requirements=(
        "torch==1.10.2",
        "numpy==1.23.5",
        "protobuf==3.20.3",
        "future==1.0.0",
        "six==1.17.0",
    ),
    imports=("caffe2.python.workspace",),
    lock="caffe2",
)

# --- Rules ----------------------------------------------------------------------------


def _dims(s: Site) -> int:
    return len(s.inputs[0].axes) - 2


def _list(values: Sequence[Any]) -> str:
    return f"[{', '.join(map(inline, values))}]"


def _inputs(s: Site) -> str:
    return inline(s.x) if len(s.arguments) == 1 else _list(s.arguments)


def _layer(s: Site, function: str, *sizes: Any, **keywords: Any) -> Any:
    """A layer with its weights; ``sizes`` are those of input and output."""
    return call(function, "model", _inputs(s), quoted(s.name), *sizes, **keywords)


def _brew(s: Site, helper: str, *sizes: Any, **keywords: Any) -> Any:
    return _layer(s, f"brew.{helper}", *sizes, **keywords)


def _net(s: Site, operator: str, **keywords: Any) -> Any:
    """An operator without weights."""
    return call(f"model.net.{operator}", _inputs(s), quoted(s.name), **keywords)


def _brewed(helper: str) -> Rule:
    return Rule(lambda s: _brew(s, helper))


def _operator(name: str) -> Rule:
    return Rule(lambda s: _net(s, name))


def _set(s: Site, target: str, value: Any) -> list[str]:
    """The lines of an assignment, as long as they may be inside a function."""
    margin = " " * s.backend.margin
    return [row[len(margin) :] for row in layout(f"{margin}{target} = ", value)]


def _steps(s: Site, target: str, *values: Any) -> Statements:
    """Several assignments to one variable, one after the other."""
    return Statements(tuple(row for v in values for row in _set(s, target, v)), target)


def _dense(s: Site) -> Any:
    return _brew(
        s,
        "fc",
        s.inputs[0].size("F"),
        s.op.features,
        # A fully connected layer has a bias, which may stay 0.
        freeze_bias=None if s.op.bias else True,
        axis=unless(1, s.axis("F")),
    )


def _each(name: str, values: tuple[Any, ...], default: int, whole: bool) -> Any:
    """``stride=2``, or ``strides=[2, 1]`` where they differ or are not two."""
    one = squeeze(values)
    if whole or isinstance(one, tuple):
        return {} if one == default else {f"{name}s": _list(values)}
    return {} if one == default else {name: one}


def _window(s: Site, pads: Any) -> dict[str, Any]:
    """Kernel, strides and pads: before all axes, then after them."""
    whole = _dims(s) != 2
    sides = tuple(pair[side] for side in (0, 1) for pair in pads)
    return {
        **_each("kernel", s.op.kernel, 0, whole),
        **_each("stride", s.op.stride, 1, whole),
        **_each("pad", sides, 0, whole),
    }


def _convolution(s: Site) -> Any:
    window = _window(s, s.op.padding)
    # Its helpers read one or several by the same name.
    kernel = window.pop("kernels", None) or window.pop("kernel")
    return _brew(
        s,
        "conv" if _dims(s) == 2 else "conv_nd",
        s.inputs[0].size("C"),
        s.op.channels,
        kernel=kernel,
        **window,
        **_each("dilation", s.op.dilation, 1, _dims(s) != 2),
        group=unless(1, s.op.groups),
        no_bias=None if s.op.bias else True,
    )


def _transposed(s: Site) -> Any:
    if _dims(s) != 2:
        raise Gap("its transposed convolution is for images alone")
    if squeeze(s.op.dilation) != 1:
        raise Gap("its transposed convolution has no dilation")
    window = {**_window(s, s.op.padding), "kernels": _list(s.op.kernel)}
    window.pop("kernel", None)
    return _layer(
        s,
        "conv_transpose",
        s.inputs[0].size("C"),
        s.op.channels,
        **window,
        **_each("adj", s.op.output_padding, 0, whole=False),
        group=unless(1, s.op.groups),
        bias=unless(True, s.op.bias),
    )


def _pool(helper: str) -> Any:
    def write(s: Site) -> Any:
        if helper == "max_pool" and s.op.ties != "all":
            raise Gap("of equal values each has the gradient (form ties='all')")
        return _brew(
            s,
            helper,
            # Padding after the values stands for windows that hang over.
            **_window(s, overhang(s.op)),
            count_include_pad=True
            if getattr(s.op, "count_padding", False) and any(map(any, s.op.padding))
            else None,
        )

    return write


def _global(helper: str) -> Rule:
    def write(s: Site) -> Any:
        name = quoted(f"{s.name}_map")
        pool = call(f"brew.{helper}", "model", s.x, name, global_pooling=True)
        flat = call("model.net.Flatten", s.target, quoted(s.name))
        return _steps(s, s.target, pool, flat)

    return Rule(write)


def _both(s: Site) -> None:
    if not (s.op.scale and s.op.shift):
        raise Gap("its normalisation learns both a scale and a shift")


def _batch_norm(s: Site) -> Any:
    _both(s)
    if s.recipe and not s.op.unbiased:
        raise Gap("its running variance is the unbiased one (form unbiased=True)")
    letter = "C" if "C" in s.inputs[0].axes else "F"
    _ = s.op.unbiased
    row = len(s.inputs[0].axes) == 2
    norm = call(
        "brew.spatial_bn",
        "model",
        s.target if row else s.x,
        quoted(s.name),
        s.inputs[0].size(letter),
        momentum=unless(0.9, s.op.momentum),
        epsilon=unless(1e-5, s.op.epsilon),
    )
    if not row:
        return norm
    # Its gradient wants space, if only of one pixel.
    pixel = call("model.net.ExpandDims", s.x, quoted(f"{s.name}_pixel"), dims="[2]")
    back = call("model.net.Squeeze", s.target, quoted(s.name), dims="[2]")
    return _steps(s, s.target, pixel, norm, back)


def _layer_norm(s: Site) -> Any:
    _both(s)
    norm = _brew(
        s,
        "layer_norm",
        s.inputs[0].size("F"),
        axis=unless(1, s.axis("F")),
        epsilon=unless(1e-4, s.op.epsilon),
    )
    return Statements(tuple(_set(s, f"{s.target}, _, _", norm)), s.target)


def _group_norm(s: Site) -> Any:
    _both(s)
    return _brew(
        s,
        "spatial_gn",
        s.inputs[0].size("C"),
        group=unless(32, s.op.groups),
        epsilon=unless(1e-5, s.op.epsilon),
    )


_CELLS = {
    "h": ("rnn_cell.BasicRNN", ("h",)),
    "ifgo": ("rnn_cell.LSTM", ("h", "c")),
    "rzn": ("gru_cell.GRU", ("h",)),
}
#: From steps that come first to observations that come first, and back.
_TURN = "[1, 0, 2]"


def _recurrent(s: Site) -> Any:
    if s.op.bias != "two":
        raise Gap("its cells have a bias on each product (form bias='two')")
    known = ("tanh", "relu") if s.op.gates == "h" else ("tanh",)
    if s.op.activation not in known:
        raise Gap(f"its activation is {' or '.join(known)}")
    x, name, sequence = s.target, s.name, s.op.returns == "sequence"
    size = s.inputs[0].size("T")
    if s.op.direction != "forward" and not isinstance(size, int):
        raise Gap("backwards it must know the number of steps")

    def turned(source: Any, blob: str) -> Any:
        return call("brew.transpose", "model", source, quoted(blob), axes=_TURN)

    def backwards(source: str, blob: str) -> Any:
        return call("reverse", "model", source, quoted(blob), steps=size)

    lines = _set(s, x, turned(s.x, f"{name}_steps"))
    if s.op.direction == "both":
        lines += _cell(s, x, "forward", name, sequence)
        lines += _set(s, "backward", backwards(x, f"{name}_reversed"))
        lines += _cell(s, "backward", "backward", f"{name}_back", sequence)
        if sequence:
            lines += _set(s, "backward", backwards("backward", f"{name}_restored"))
        pair = "[forward, backward]"
        blob = quoted(f"{name}_both")
        lines += _set(s, x, call("brew.concat", "model", pair, blob, axis=2))
    elif s.op.direction == "backward":
        lines += _set(s, x, backwards(x, f"{name}_reversed"))
        lines += _cell(s, x, x, name, sequence)
        if sequence:
            lines += _set(s, x, backwards(x, f"{name}_restored"))
    else:
        lines += _cell(s, x, x, name, sequence)
    if sequence:
        lines += _set(s, x, turned(x, name))
    else:
        lines += _set(s, x, call("model.net.Squeeze", x, quoted(name), dims="[0]"))
    return Statements(tuple(lines), x)


def _cell(s: Site, source: str, target: str, name: str, sequence: bool) -> list[str]:
    """A layer in one direction: the states of all steps, or of the last."""
    function, states = _CELLS[s.op.gates]
    lines = []
    for state in states:
        blob = quoted(f"{name}_{state}0")
        fill = "model.param_init_net.ConstantFill"
        lines += _set(s, f"{state}0", call(fill, "[]", blob, shape=_list([s.op.units])))
    after = getattr(s.op, "reset", "") == "after"
    forget = getattr(s.op, "forget_bias", 0.0)
    layer = call(
        function,
        "model",
        source,
        seq_lengths="None",
        initial_states=_list([f"{state}0" for state in states]),
        dim_in=s.inputs[0].size("F"),
        dim_out=s.op.units,
        scope=quoted(name),
        activation=quoted(s.op.activation) if s.op.gates == "h" else None,
        # Added at every step; the bias itself starts at 0.
        forget_bias=unless(0.0, forget),
        linear_before_reset=True if after else None,
        # Told the others, it would expect gradients of all of them.
        outputs_with_grads=None if sequence else "[1]",
    )
    results = ["_"] * (2 * len(states))
    results[0 if sequence else 1] = target
    return [*lines, *_set(s, ", ".join(results), layer)]


def _recurrent_weights(s: Site) -> tuple[Weight, ...]:
    result = []
    for direction, end in (("forward", ""), ("backward", "_back")):
        if s.op.direction not in (direction, "both"):
            continue
        scope = f"{end}/" if s.op.direction == "both" else "/"
        order = {"ifgo": "ifog"}.get(s.op.gates, "")
        offset = {"f": s.op.forget_bias} if order else {}
        result += [
            Weight(f"{scope}i2h_w", "GI", (f"kernel{end}",), order),
            Weight(f"{scope}i2h_b", "G", (f"bias{end}",), order, offset=offset),
        ]
        gates = {"gates_t": order}
        if s.op.gates == "rzn":
            gates = {"reset_gate_t": "r", "update_gate_t": "z", "output_gate_t": "n"}
        for gate, letters in gates.items():
            result += [
                Weight(f"{scope}{gate}_w", "GH", (f"recurrent{end}",), letters),
                Weight(f"{scope}{gate}_b", "G", (f"recurrent_bias{end}",), letters),
            ]
    return tuple(result)


def _softmax(logarithm: bool) -> Rule:
    """Along the last axis, to which another one is moved and back."""

    def write(s: Site) -> Any:
        axis, last = s.axis(s.op.axis), len(s.storage()) - 1
        order = list(range(last + 1))
        order[axis], order[last] = last, axis
        turn = call("brew.transpose", "model", "{x}", "{blob}", axes=_list(order))
        share = call("brew.softmax", "model", "{x}", "{blob}", axis=unless(1, last))
        steps = {"shares": share}
        if logarithm:
            steps["logs"] = call("model.net.Log", "{x}", "{blob}")
        if axis != last:
            steps = {"turned": turn, **steps, "back": turn}
        values: list[Any] = []
        for i, (word, value) in enumerate(steps.items(), start=1):
            blob = s.name if i == len(steps) else f"{s.name}_{word}"
            words = {"{x}": s.target if values else s.x, "{blob}": quoted(blob)}
            given = tuple(words.get(a, a) for a in value.arguments)
            values.append(dataclasses.replace(value, arguments=given))
        return values[0] if len(values) == 1 else _steps(s, s.target, *values)

    return Rule(write)


def _scale(s: Site) -> Any:
    if not s.op.offset:
        return _net(s, "Scale", scale=s.op.factor)
    lines, x = [], inline(s.x)
    if s.op.factor != 1:
        scaled = call(
            "model.net.Scale", x, quoted(f"{s.name}_scaled"), scale=s.op.factor
        )
        lines += _set(s, s.target, scaled)
        x = s.target
    blob = quoted(f"{s.name}_offset")
    fill = "model.param_init_net.ConstantFill"
    offset = call(fill, "[]", blob, shape="[1]", value=s.op.offset)
    lines += _set(s, "offset", offset)
    total = call("model.net.Add", f"[{x}, offset]", quoted(s.name))
    return Statements((*lines, *_set(s, s.target, total)), s.target)


def _add(s: Site) -> Any:
    same = s.inputs[0].shape == s.inputs[1].shape
    return _brew(s, "sum") if same else _net(s, "Add")


def _split(s: Site) -> Any:
    blobs = _list([quoted(name) for name in s.target.split(", ")])
    cut = call(
        "model.net.Split", s.x, blobs, split=_list(s.op.sizes), axis=s.axis(s.op.axis)
    )
    return Statements(tuple(_set(s, s.target, cut)), s.target)


def _slice(s: Site) -> Any:
    if s.op.step != 1:
        raise Gap("its slices take every value, from first to last")

    def bound(value: int | None) -> int:
        # -1 is the end, not the last value.
        return -1 if value is None else value - (value < 0)

    axis, count = s.axis(s.op.axis), len(s.storage())
    starts, ends = [0] * count, [-1] * count
    starts[axis], ends[axis] = bound(s.op.start), bound(s.op.stop)
    return _net(s, "Slice", starts=_list(starts), ends=_list(ends))


def _reshape(s: Site) -> Any:
    _ = s.op.axes
    blobs = _list([quoted(s.name), quoted(f"{s.name}_old_shape")])
    value = call("model.net.Reshape", s.x, blobs, shape=_list((-1, *s.op.shape)))
    return Statements(tuple(_set(s, f"{s.target}, _", value)), s.target)


def _transpose(s: Site) -> Any:
    _ = s.op.axes
    return _brew(s, "transpose", axes=_list(s.order()))


def _pad(s: Site) -> Any:
    if _dims(s) != 2:
        raise Gap("it pads images alone, in two dimensions")
    (top, bottom), (left, right) = s.op.padding
    return _net(
        s,
        "PadImage",
        pad_t=top,
        pad_l=left,
        pad_b=bottom,
        pad_r=right,
        value=unless(0.0, s.op.value),
    )


def _reduce(name: str) -> Rule:
    def write(s: Site) -> Any:
        over = _list(sorted(s.axis(letter) for letter in s.op.over))
        return _net(s, name, axes=over, keepdims=None if s.op.keep else False)

    return Rule(write)


def _upsample(s: Site) -> Any:
    if s.op.mode != "nearest":
        raise Gap("its bilinear upsampling lays corners on corners, not half pixels")
    if _dims(s) != 2:
        raise Gap("it enlarges images alone, in two dimensions")
    height, width = (float(n) for n in s.op.scale)
    return _net(s, "ResizeNearest", height_scale=height, width_scale=width)


def _block(s: Site) -> Any:
    """Its blobs are named in a scope of their own."""
    name = function_name(s.op.block.name)
    use = call(name, "model", *s.arguments, **dict(s.op.arguments))
    return Statements(
        (f'with core.NameScope("{s.name}"):', *_indented(s, use, 1)), s.target
    )


def _repeat(s: Site) -> Any:
    name = function_name(s.op.block.name)
    use = call(name, "model", s.target, **dict(s.op.arguments))
    first = [f"{s.target} = {inline(s.x)}"] if s.target != s.x else []
    return Statements(
        (
            *first,
            f"for i in range({s.op.times}):",
            f'    with core.NameScope(f"{s.name}_{{i}}"):',
            *_indented(s, use, 2),
        ),
        s.target,
    )


def _indented(s: Site, use: Any, depth: int) -> list[str]:
    margin = s.backend.margin
    rows = layout(" " * (margin + 4 * depth) + f"{s.target} = ", use)
    return [row[margin:] for row in rows]


def _embedding(s: Site) -> Any:
    steps = s.inputs[0].size("T")
    if not isinstance(steps, int):
        raise Gap("an embedding must know the number of steps")
    return _layer(s, "embedding", s.op.vocabulary, s.op.features, steps=steps)


def _kernel(letters: str) -> Any:
    def weights(s: Site) -> tuple[Weight, ...]:
        kernel = Weight("_w", letters + axes.SPATIAL[_dims(s)], ("kernel",))
        return (kernel, Weight("_b", "O", ("bias",))) if s.op.bias else (kernel,)

    return weights


def _affine(scale: str, shift: str) -> Any:
    def weights(s: Site) -> tuple[Weight, ...]:
        letter = "C" if "C" in s.inputs[0].axes else "F"
        pairs = {"scale": scale, "shift": shift}
        names = {role: name for role, name in pairs.items() if getattr(s.op, role)}
        if hasattr(s.op, "momentum"):
            names |= {"mean": "_rm", "variance": "_riv"}
        return tuple(Weight(name, letter, (role,)) for role, name in names.items())

    return weights


RECURRENT = Rule(_recurrent, weights=_recurrent_weights, needs=("reverse",))

RULES: dict[type[ops.Op], Rule] = {
    ops.Dense: Rule(
        _dense, weights=(Weight("_w", "OI", ("kernel",)), Weight("_b", "O", ("bias",)))
    ),
    ops.Conv: Rule(_convolution, weights=_kernel("OI")),
    ops.ConvTranspose: Rule(
        _transposed, weights=_kernel("IO"), needs=("conv_transpose",)
    ),
    ops.MaxPool: Rule(_pool("max_pool")),
    ops.AvgPool: Rule(_pool("average_pool")),
    ops.GlobalAvgPool: _global("average_pool"),
    ops.GlobalMaxPool: _global("max_pool"),
    ops.BatchNorm: Rule(_batch_norm, weights=_affine("_s", "_b")),
    ops.LayerNorm: Rule(_layer_norm, weights=_affine("_scale", "_bias")),
    ops.RMSNorm: Rule(
        lambda s: _layer(
            s,
            "rms_norm",
            s.inputs[0].size("F"),
            axis=s.axis("F"),
            epsilon=s.op.epsilon,
            scale=unless(True, s.op.scale),
        ),
        weights=lambda s: (Weight("_s", "F", ("scale",)),) if s.op.scale else (),
        needs=("rms_norm",),
    ),
    ops.GroupNorm: Rule(_group_norm, weights=_affine("_s", "_b")),
    ops.Dropout: Rule(lambda s: _brew(s, "dropout", ratio=s.op.rate)),
    ops.Embedding: Rule(
        _embedding,
        weights=(Weight("_w", "VF", ("table",)),),
        needs=("embedding",),
    ),
    ops.SimpleRNN: RECURRENT,
    ops.LSTM: RECURRENT,
    ops.GRU: RECURRENT,
    ops.Relu: _brewed("relu"),
    ops.LeakyRelu: Rule(lambda s: _net(s, "LeakyRelu", alpha=unless(0.01, s.op.slope))),
    ops.Elu: Rule(lambda s: _net(s, "Elu", alpha=unless(1.0, s.op.alpha))),
    ops.Selu: _operator("Selu"),
    ops.Gelu: Rule(
        lambda s: _net(s, "Gelu", fast_gelu=unless(False, s.op.approximate))
    ),
    ops.Silu: _operator("Swish"),
    ops.Sigmoid: _operator("Sigmoid"),
    ops.Tanh: _brewed("tanh"),
    ops.Softplus: _operator("Softplus"),
    ops.Softmax: _softmax(logarithm=False),
    ops.LogSoftmax: _softmax(logarithm=True),
    ops.Negative: _operator("Negative"),
    ops.Exp: _operator("Exp"),
    ops.Log: _operator("Log"),
    ops.Sqrt: _operator("Sqrt"),
    ops.Abs: _operator("Abs"),
    ops.Square: _operator("Sqr"),
    ops.Clip: Rule(lambda s: _net(s, "Clip", min=s.op.low, max=s.op.high)),
    ops.Scale: Rule(_scale),
    ops.Add: Rule(_add),
    ops.Subtract: _brewed("sub"),
    ops.Multiply: _operator("Mul"),
    ops.Divide: _operator("Div"),
    ops.Maximum: _operator("Max"),
    ops.Minimum: _operator("Min"),
    ops.MatMul: Rule(
        lambda s: _brew(s, "batch_mat_mul", trans_b=unless(False, s.op.transpose_b))
    ),
    ops.Concat: Rule(lambda s: _brew(s, "concat", axis=s.axis(s.op.axis))),
    ops.Split: Rule(_split),
    ops.Slice: Rule(_slice),
    ops.Reshape: Rule(_reshape),
    ops.Flatten: _operator("Flatten"),
    ops.Transpose: Rule(_transpose),
    ops.Pad: Rule(_pad),
    ops.ReduceMean: _reduce("ReduceMean"),
    ops.ReduceSum: _reduce("ReduceSum"),
    ops.ReduceMax: _reduce("ReduceMax"),
    ops.Upsample: Rule(_upsample),
    BlockCall: Rule(_block),
    Repeat: Rule(_repeat),
}

LOSSES: dict[type[recipe.Loss], tuple[str, ...]] = {
    recipe.SoftmaxCrossEntropy: (
        "_, loss = trainer.net.SoftmaxWithLoss("
        '[scores, label], ["{softmax}", "{loss}"])',
    ),
    recipe.MeanSquaredError: (
        'error = trainer.net.Sub([scores, label], "error")',
        'loss = trainer.net.AveragedLoss(trainer.net.Sqr(error, "square"), "{loss}")',
    ),
}


def _sgd(o: recipe.SGD) -> Any:
    if o.weight_decay:
        raise Gap("SGD: its weight decay leaves biases alone")
    return call(
        "optimizer.build_sgd",
        "trainer",
        base_learning_rate=o.rate,
        momentum=unless(0.0, o.momentum),
        # What its momentum is unless told otherwise.
        nesterov=False if o.momentum and not o.nesterov else None,
    )


def _adam(o: recipe.Adam) -> Any:
    if o.weight_decay:
        raise Gap("Adam: it has no decoupled weight decay")
    return call(
        "optimizer.build_adam",
        "trainer",
        base_learning_rate=o.rate,
        beta1=unless(0.9, o.beta1),
        beta2=unless(0.999, o.beta2),
        epsilon=unless(1e-8, o.epsilon),
    )


#: Around ``build_adam``, whose t is one more than the iteration.
COUNT = (
    "# Adam's t is the iteration + 1: so that is counted after the update.",
    "iteration = trainer.param_init_net.ConstantFill(",
    '    [], "optimizer_iteration", shape=[1], dtype=core.DataType.INT64',
    ")",
)

OPTIMIZERS: dict[type[recipe.Optimizer], Any] = {recipe.SGD: _sgd, recipe.Adam: _adam}

INITIALIZERS: dict[type[recipe.Initializer], Any] = {
    recipe.GlorotUniform: lambda i: "GlorotUniform()",
    recipe.Zeros: lambda i: 'Initializer("ConstantFill")',
    recipe.Ones: lambda i: 'Initializer("ConstantFill", value=1.0)',
    recipe.Uniform: lambda i: (
        f'Initializer("UniformFill", min=-{i.limit}, max={i.limit})'
    ),
}

# --- Rewrites -------------------------------------------------------------------------


def _average(op: ops.AvgPool) -> Sequence[ops.Op]:
    """Zeros that count come first where windows hang over, which never count."""
    return pad_average(op) if op.count_padding and op.ceil else (op,)


REWRITES: dict[type[ops.Op], Any] = {ops.AvgPool: _average}

# --- Missing --------------------------------------------------------------------------

MISSING: dict[type[ops.Op], str] = {
    ops.MultiHeadAttention: "Caffe2 has no multi-head attention",
}

# --- The frame ------------------------------------------------------------------------

FUNCTION = """
def $function(model, $inputs$parameters):
    $apply
"""

GLOROT = '''
class GlorotUniform(Initializer):
    """Uniform within sqrt(6 / (fan_in + fan_out)) of 0."""

    def create_param(self, param_name, init_net, shape):
        fan_out, fan_in = shape[:2]
        $gates
        limit = float(np.sqrt(6 / (np.prod(shape[2:]) * (fan_in + fan_out))))
        uniform = Initializer("UniformFill", min=-limit, max=limit)
        return uniform.create_param(param_name, init_net, shape)
'''

HELPERS = {
    "embedding": '''
def embedding(model, blob_in, blob_out, dim_in, dim_out, steps):
    """Rows of a table (dim_in x dim_out) for words (N x steps)."""
    table = model.create_param(
        blob_out + "_w",
        shape=[dim_in, dim_out],
        initializer=$embedding,
    )
    # Words in one dimension: only then can the gradient of the table be dense.
    words = model.net.FlattenToVec(blob_in, blob_out + "_words")
    rows = model.net.Gather([table, words], blob_out + "_rows", dense_gradient=True)
    vectors, _ = model.net.Reshape(
        rows, [blob_out, blob_out + "_old_shape"], shape=[-1, steps, dim_out]
    )
    return vectors
''',
    "rms_norm": '''
def rms_norm(model, blob_in, blob_out, dim_in, axis, epsilon, scale=True):
    """Divide by the root mean square from an axis on; the shift stays 0."""
    ones = Initializer("ConstantFill", value=1.0)
    factor = model.create_param(
        blob_out + "_s",
        shape=[dim_in],
        initializer=ones,
        tags=None if scale else ParameterTags.COMPUTED_PARAM,
    )
    shift = model.param_init_net.ConstantFill([], blob_out + "_b", shape=[dim_in])
    normalized, _ = model.net.RMSNorm(
        [blob_in, factor, shift], [blob_out, blob_out + "_rrms"], axis=axis, eps=epsilon
    )
    return normalized
''',
    "reverse": '''
def reverse(model, blob_in, blob_out, steps):
    """A sequence (steps x N x ...) from its last step to its first."""
    order = model.param_init_net.GivenTensorIntFill(
        [], blob_out + "_order", shape=[steps], values=np.arange(steps)[::-1]
    )
    return model.net.Gather([blob_in, order], blob_out, dense_gradient=True)
''',
    "conv_transpose": '''
def conv_transpose(
    model, blob_in, blob_out, dim_in, dim_out, kernels, group=1, bias=True, **kwargs
):
    """As of brew, whose kernels are square and which has a bias and no groups."""
    weight = model.create_param(
        blob_out + "_w",
        shape=[dim_in, dim_out // group, *kernels],
        initializer=$kernel,
    )
    blobs = [blob_in, weight]
    if bias:
        blobs.append(
            model.create_param(
                blob_out + "_b", shape=[dim_out], initializer=$bias
            )
        )
    return model.net.ConvTranspose(
        blobs, blob_out, kernels=kernels, group=group, **kwargs
    )
''',
}

TRAINED = '''
# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the nets that predict and train; they share their weights."""
    workspace.ResetWorkspace()
    $trainer
    data, label = trainer.net.AddExternalInputs("$data", "$label")
    $scores
    $loss
    trainer.AddGradientOperators([loss])
    $optimizer
    # Every operator draws random numbers of its own.
    rng = np.random.RandomState(seed)
    for op in [*trainer.param_init_net.Proto().op, *trainer.net.Proto().op]:
        op.device_option.random_seed = rng.randint(2**31)
    workspace.RunNetOnce(trainer.param_init_net)
    workspace.CreateNet(trainer.net, input_blobs=["$data", "$label"])
    $model
    $function(model, model.net.AddExternalInput("$data"))
    workspace.CreateNet(model.net)
    return model, trainer
'''

FORWARD = '''
# 3. Initial weights
def build(seed=0):
    """Create the net."""
    workspace.ResetWorkspace()
    $model
    data = model.net.AddExternalInput("$data")
    $scores
    rng = np.random.RandomState(seed)
    for op in model.param_init_net.Proto().op:
        op.device_option.random_seed = rng.randint(2**31)
    workspace.RunNetOnce(model.param_init_net)
    workspace.CreateNet(model.net, input_blobs=["$data"])
    return model
'''

WEIGHTS = '''
def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    for name in arrays.files:
        workspace.FeedBlob(name, arrays[name])


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    np.savez(path, **{str(p): workspace.FetchBlob(p) for p in model.GetAllParams()})
'''

STEP = '''
def train_step(model, trainer, x, y):
    """Make one optimizer step on a batch; return its loss."""
    workspace.FeedBlob("$data", x)
    workspace.FeedBlob("$label", $y)
    workspace.RunNet(trainer.net)
    return workspace.FetchBlob("$loss")
'''

PREDICT = '''
# $number. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    workspace.FeedBlob("$data", x)
    workspace.RunNet(model.net)
    return workspace.FetchBlob("$scores")
'''


def _output(nodes: Sequence[Node], value: str) -> str:
    """The blob that holds a value: named as its node, in the scopes of its blocks."""
    node = next(node for node in nodes if value in node.outputs)
    if isinstance(node.op, BlockCall):
        block = node.op.block
        scope = node.name
        if isinstance(node.op, Repeat):
            scope += f"_{node.op.times - 1}"
        return f"{scope}/{_output(block.nodes, block.outputs[0])}"
    return node.name if len(node.outputs) == 1 else value


def _brewed_layers(parts: Parts) -> list[str]:
    """The helpers of brew that draw weights, as the network uses them."""
    flat = parts.graph.flat()
    found = set()
    for node in flat.nodes:
        if isinstance(node.op, ops.Conv):
            found.add("brew.conv" if len(node.op.kernel) == 2 else "brew.conv_nd")
        elif isinstance(node.op, ops.Dense | ops.SimpleRNN):
            found.add("brew.fc")
    return sorted(found)


def _scores(parts: Parts, model: str) -> list[str]:
    """Adds the network to a model, with the recipe's initial weights."""
    inits = parts.initializers or recipe.Initializers()
    recurrent = parts.operations & {ops.SimpleRNN, ops.LSTM, ops.GRU}
    if recurrent and inits.recurrent != inits.kernel:
        raise Gap("both kernels of a recurrent layer are drawn alike")
    given: dict[str, Any] = {}
    if isinstance(inits.kernel, recipe.GlorotUniform):
        given["WeightInitializer"] = "GlorotUniform"
    else:
        given["weight_init"] = FILLS[type(inits.kernel)](inits.kernel)
    if not isinstance(inits.bias, recipe.Zeros):
        given["bias_init"] = FILLS[type(inits.bias)](inits.bias)
    target = "scores = " if parts.recipe else ""
    use = f"{target}{parts.network.function}({model}, data)"
    layers = _brewed_layers(parts)
    if not layers:
        return [use]
    names = layers[0] if len(layers) == 1 else _list(layers)
    scope = layout("    with ", call("brew.arg_scope", names, **given), ":")
    return [*(row[4:] for row in scope), f"    {use}"]


FILLS: dict[type[recipe.Initializer], Any] = {
    recipe.Zeros: lambda i: '("ConstantFill", {})',
    recipe.Ones: lambda i: '("ConstantFill", {"value": 1.0})',
    recipe.Uniform: lambda i: (
        f'("UniformFill", {{"min": -{i.limit}, "max": {i.limit}}})'
    ),
}


def _helpers(parts: Parts) -> list[str]:
    """The layers that brew does not have, and how weights are drawn."""
    inits = parts.initializers or recipe.Initializers()
    scopes = (*parts.blocks, parts.network)
    body = "\n".join(line.text for scope in scopes for line in scope.apply)
    texts = []
    for text in parts.helpers:
        if not re.search(rf"\b{text.split('(')[0].split()[-1]}\(", body):
            continue  # Only a layer that reads backwards reverses anything.
        for role in ("embedding", "kernel", "bias"):
            initial = inits.of(role)
            text = text.replace(f"${role}", INITIALIZERS[type(initial)](initial))
        texts.append(text)
    layers = _brewed_layers(parts)
    if (layers and inits.kernel == recipe.GlorotUniform()) or any(
        "GlorotUniform()" in text for text in texts
    ):
        gates = ""
        if ops.GRU in parts.operations:
            gates = (
                '        if str(param_name).endswith("_gate_t_w"):\n'
                "            fan_out *= 3  # Three gates, each with its own matrix.\n"
            )
        texts.insert(0, GLOROT.replace("        $gates\n", gates))
    return [row for text in texts for row in (*text.strip("\n").split("\n"), "", "")]


def frame(parts: Parts) -> list[Section]:
    """The program around the network."""
    network = parts.network
    if network.function in HELPERS:
        network = dataclasses.replace(network, function=f"{network.function}_network")
        parts = dataclasses.replace(parts, network=network)
    lines: list[str | Line] = [*_helpers(parts)]
    for scope in (*parts.blocks, network):
        lines += [*common.class_lines(scope, FUNCTION), "", ""]
    taken = {node.name for node in parts.graph.nodes}
    names = {
        name: name if name not in taken else f"{name}_"
        for name in ("data", "label", "softmax", "loss")
    }
    changing = bool(parts.operations & {ops.Dropout, ops.BatchNorm})

    def helper(variable: str, name: str, test: bool, init: str | None = None) -> Any:
        mode = f'{{"is_test": {test}}}' if changing else None
        made = call(
            "model_helper.ModelHelper", quoted(name), arg_scope=mode, init_params=init
        )
        return [row[4:] for row in layout(f"    {variable} = ", made)]

    slots: dict[str, Any] = {
        **names,
        "function": parts.network.function,
        "scores": _scores(parts, "trainer" if parts.recipe else "model"),
    }
    if parts.recipe is None:
        slots["model"] = helper("model", parts.workload.name, True)
        setup = Section("setup", FORWARD + "\n" + WEIGHTS, slots)
    else:
        rule = OPTIMIZERS[type(parts.recipe.optimizer)](parts.recipe.optimizer)
        update = [row[4:] for row in layout("    ", rule)]
        if isinstance(parts.recipe.optimizer, recipe.Adam):
            update = [*COUNT, *update, "trainer.net.Iter(iteration, iteration)"]
        slots |= {
            "trainer": helper("trainer", "train", False),
            "loss": [row.format(**names) for row in LOSSES[type(parts.recipe.loss)]],
            "optimizer": update,
            "model": helper("model", "predict", True, "False"),
        }
        setup = Section("setup", TRAINED + "\n" + WEIGHTS, slots)
    output = _output(parts.graph.nodes, parts.graph.outputs[0])
    forward = {"data": names["data"], "scores": output}
    written = Section("network", "# 2. The network\n$classes", {"classes": lines[:-2]})
    data = common.load_data(parts)
    if parts.recipe is None:
        sections = [
            data,
            written,
            setup,
            Section("predict", PREDICT, {**forward, "number": "4"}),
            common.extract(),
            common.main(parts),
        ]
    else:
        labels = isinstance(parts.recipe.loss, recipe.SoftmaxCrossEntropy)
        fed = {**names, "y": "y.astype(np.int32)" if labels else "y"}
        sections = [
            data,
            written,
            setup,
            common.batches(),
            Section("train", STEP, fed),
            common.train(parts, state="model, trainer"),
            Section("predict", PREDICT, {**forward, "number": "5"}),
            common.evaluate(parts),
            common.main(parts, state="model, trainer"),
        ]
    return [common.head(parts, _imports(sections), ()), *sections]


def _imports(sections: Sequence[Section]) -> list[str]:
    """The modules of Caffe2 that the program names."""
    text = "\n".join(
        str(row)
        for section in sections
        for row in (section.text, *section.slots.values())
    )
    modules = ("brew", "gru_cell", "model_helper", "optimizer", "rnn_cell", "workspace")
    used = sorted(["core", *(name for name in modules if f"{name}." in text)])
    lines = [f"from caffe2.python import {', '.join(used)}"]
    if "Initializer(" in text:
        lines.append("from caffe2.python.modeling.initializers import Initializer")
    if "ParameterTags" in text:
        lines.append("from caffe2.python.modeling.parameter_info import ParameterTags")
    # Mistakes are raised; below this level it tells how it was compiled.
    return [*lines, "", 'core.GlobalInit(["caffe2", "--caffe2_log_level=3"])']


backend = Backend(
    name="caffe2",
    title="Caffe2",
    home="https://caffe2.ai",
    since="2017 to 2018",
    licence="Apache-2.0",
    language="C++, CUDA and Python",
    style="operators on named blobs, with helpers that make layers",
    storage=axes.channels_first,
    env=ENV,
    barrier="lambda: sum(workspace.FetchBlob(p).sum() for p in model.GetAllParams())",
    rules=RULES,
    losses=LOSSES,
    optimizers=OPTIMIZERS,
    initializers=INITIALIZERS,
    frame=frame,
    rewrites=REWRITES,
    missing=MISSING,
    forms={
        ops.SimpleRNN: ({"bias": "two"},),
        ops.LSTM: ({"bias": "two"},),
        ops.GRU: (
            {"reset": "after", "bias": "two"},
            {"reset": "before", "bias": "two"},
        ),
        ops.MaxPool: ({"ties": "all"},),
        ops.BatchNorm: ({"unbiased": True},),
        recipe.Adam: ({"epsilon_form": "before"},),
    },
    helpers=HELPERS,
    separator="",
    inside="/",
    repeated="{name}_{index}",
    # Its layers know no double precision.
    dtypes=("float32",),
    in_place=True,
    margin=4,
)

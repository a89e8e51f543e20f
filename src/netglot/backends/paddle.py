"""PaddlePaddle: layer classes, functions for what has no weights, dynamic graph."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from netglot import axes, ops, recipe
from netglot.backend import Backend, Env, Gap, Parts, Rule, Section, Site, Weight
from netglot.backends import common, pytorch
from netglot.graph import Call as BlockCall
from netglot.graph import Repeat
from netglot.lower import Arrange, Restore, overhang, pad_average
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
    requirements=("paddlepaddle==3.3.1", "numpy==2.4.6"),
    imports=("paddle",),
    # Nothing here is compiled, so that a cache of compilers is not missed.
    variables={"PYTHONWARNINGS": "ignore:No ccache found:UserWarning"},
    lock="paddle",
)

# --- Rules ----------------------------------------------------------------------------


def _dims(s: Site) -> int:
    return len(s.inputs[0].axes) - 2


def _list(values: Any) -> str:
    """Paddle's own way to write shapes, axes and pieces."""
    return f"[{', '.join(inline(value) for value in values)}]"


def _padding(op: Any) -> Any:
    """One number per axis, or one per side where the two differ."""
    if all(before == after for before, after in op.padding):
        return unless(0, squeeze(tuple(before for before, _ in op.padding)))
    return _list(n for pair in op.padding for n in pair)


def _attribute(s: Site, weight: str, default: str = "") -> Any:
    """How a weight begins, or that there is none; where it is not the layer's own."""
    if weight not in s.op.weights(*s.inputs):
        return False
    return unless(default, s.initial(weight)) if s.recipe else None


def _dense(s: Site) -> Any:
    return call(
        "nn.Linear",
        s.inputs[0].size("F"),
        s.op.features,
        weight_attr=_attribute(s, "kernel", "XavierUniform()"),
        bias_attr=_attribute(s, "bias", "Constant(0.0)") if s.op.bias else False,
    )


def _convolution(transposed: bool = False) -> Any:
    def write(s: Site) -> Any:
        extra = None
        if transposed:
            pairs = zip(s.op.output_padding, s.op.stride, strict=True)
            if any(more >= stride for more, stride in pairs):
                raise Gap("output padding must be smaller than the stride")
            extra = unless(0, squeeze(s.op.output_padding))
        return call(
            f"nn.Conv{_dims(s)}D{'Transpose' if transposed else ''}",
            s.inputs[0].size("C"),
            s.op.channels,
            squeeze(s.op.kernel),
            stride=unless(1, squeeze(s.op.stride)),
            padding=_padding(s.op),
            output_padding=extra,
            dilation=unless(1, squeeze(s.op.dilation)),
            groups=unless(1, s.op.groups),
            weight_attr=_attribute(s, "kernel"),
            bias_attr=_attribute(s, "bias", "Constant(0.0)") if s.op.bias else False,
        )

    return write


def _pool(name: str) -> Any:
    return lambda s: call(
        f"F.{name}_pool{_dims(s)}d",
        s.x,
        squeeze(s.op.kernel),
        stride=unless(s.op.kernel, s.op.stride) and squeeze(s.op.stride),
        padding=_padding(s.op),
        ceil_mode=unless(False, s.op.ceil),
        # Paddle leaves padded zeros out of the count unless told not to.
        exclusive=False if getattr(s.op, "count_padding", False) else None,
    )


def _affine(s: Site) -> dict[str, Any]:
    """What all norms have in common."""
    return {
        "epsilon": unless(1e-5, s.op.epsilon),
        "weight_attr": unless(True, s.op.scale),
        "bias_attr": unless(True, s.op.shift),
    }


def _norm(s: Site) -> Any:
    if s.op.unbiased:
        raise Gap("its running variance is the biased one (form unbiased=False)")
    if s.op.scale != s.op.shift:
        raise Gap("it trains neither a scale nor a shift where it has only one of them")
    letter = "C" if "C" in s.inputs[0].axes else "F"
    return call(
        f"nn.BatchNorm{max(_dims(s), 1)}D",
        s.inputs[0].size(letter),
        # The share of the old value.
        momentum=unless(0.9, s.op.momentum),
        **_affine(s),
    )


def _layer_norm(s: Site) -> Any:
    return call("nn.LayerNorm", s.inputs[0].size("F"), **_affine(s))


def _group_norm(s: Site) -> Any:
    return call("nn.GroupNorm", s.op.groups, s.inputs[0].size("C"), **_affine(s))


def _rms_norm(s: Site) -> Any:
    return call(
        "RMSNorm",
        s.inputs[0].size("F"),
        epsilon=unless(1e-6, s.op.epsilon),
        scale=unless(True, s.op.scale),
    )


def _embedding(s: Site) -> Any:
    return call(
        "nn.Embedding",
        s.op.vocabulary,
        s.op.features,
        weight_attr=_attribute(s, "table", "XavierUniform()"),
    )


def _is_whole(op: Any) -> bool:
    """Whether nn.GRU and its like can say it; else a cell is run by nn.RNN."""
    return op.bias == "two" and op.direction != "backward"


def _recurrent(name: str) -> Any:
    def write(s: Site) -> Any:
        if s.op.bias == "candidate":
            raise Gap("it has two bias vectors, one or none (form bias='two')")
        if getattr(s.op, "reset", "after") != "after":
            raise Gap("its reset gate acts after the product (form reset='after')")
        known = ("tanh", "relu") if name == "SimpleRNN" else ("tanh",)
        if s.op.activation not in known:
            raise Gap(f"its activation is {' or '.join(known)}")
        end = "_back" if s.op.direction == "backward" else ""
        attributes = {
            f"{own}_attr": _attribute(s, weight + end)
            for own, weight in (
                ("weight_ih", "kernel"),
                ("weight_hh", "recurrent"),
                ("bias_ih", "bias"),
                ("bias_hh", "recurrent_bias"),
            )
        }
        forget = getattr(s.op, "forget_bias", 0.0)
        opened = bool(forget and s.recipe and s.op.bias != "none")
        if opened:
            starts = call("np.repeat", f"[0.0, {forget}, 0.0, 0.0]", s.op.units)
            attributes["bias_ih_attr"] = call("Assign", starts)
        whole, both = _is_whole(s.op), s.op.direction == "both"
        made = call(
            f"nn.{name}{'' if whole else 'Cell'}",
            s.inputs[0].size("F"),
            s.op.units,
            direction=quoted("bidirectional") if whole and both else None,
            activation=unless(quoted("tanh"), quoted(s.op.activation)),
            **attributes,
        )
        if not whole:
            wrapper = ("nn.BiRNN", made, made) if both else ("nn.RNN", made)
            made = call(*wrapper, is_reverse=True if end else None)
        if not opened:
            return made
        margin = " " * s.backend.margin
        lines = layout(f"{margin}{s.object} = ", made)
        order = "# The gates lie in the order i, f, g, o."
        return Statements((order, *(line[len(margin) :] for line in lines)), "")

    return write


def _run(s: Site) -> Any:
    """Outputs of every step, or of the last: the final hidden state."""
    if s.op.returns == "sequence":
        return Statements((f"{s.target}, _ = {s.object}({s.x})",), s.target)
    whole, both = _is_whole(s.op), s.op.direction == "both"
    paired = pytorch.isinstance_lstm(s)
    state, value = "h", "h[-1]" if whole else "h"
    if both:
        # A layer stacks the states of both directions, BiRNN keeps a pair.
        state = state if whole else "(h, h_back)"
        value = f"paddle.concat({'h' if whole else '[h, h_back]'}, axis=1)"
        value = value.replace("(h,", "([h[0], h[1]],")
    if paired:
        state = "((h, _), (h_back, _))" if both and not whole else "(h, _)"
    return Statements((f"_, {state} = {s.object}({s.x})",), value)


def _recurrent_weights(s: Site) -> tuple[Weight, ...]:
    if _is_whole(s.op):
        listed = pytorch.RULES[type(s.op)].weights
        return listed(s) if callable(listed) else listed
    names = {"kernel": "weight_ih", "recurrent": "weight_hh"}
    names |= {"bias": "bias_ih", "recurrent_bias": "bias_hh"}
    result = []
    for weight, type_ in s.op.weights(*s.inputs).items():
        cell = "cell"
        if s.op.direction == "both":
            cell = "cell_bw" if weight.endswith("_back") else "cell_fw"
        own = names[weight.removesuffix("_back")]
        result.append(Weight(f"{cell}.{own}", type_.axes, (weight,)))
    return tuple(result)


def _attention(s: Site) -> Any:
    width = s.inputs[0].size("F")
    bias = _attribute(s, "query_bias", "Constant(0.0)") if s.op.bias else False
    return call(
        "nn.MultiHeadAttention",
        width,
        s.op.heads,
        kdim=unless(width, s.inputs[:2][-1].size("F")),
        vdim=unless(width, s.inputs[-1].size("F")),
        weight_attr=_attribute(s, "query_kernel", "XavierUniform()"),
        bias_attr=bias,
    )


def _attend(s: Site) -> Any:
    given = s.arguments if len(s.arguments) != 2 else (*s.arguments, s.arguments[1])
    if not s.op.causal:
        return call(s.object, *given)
    steps = f"{inline(given[0])}.shape[1]"
    # What is true is seen.
    mask = f'mask = paddle.tril(paddle.ones([{steps}, {steps}], dtype="bool"))'
    return Statements((mask,), call(s.object, *given, attn_mask="mask"))


def _attention_weights(s: Site) -> tuple[Weight, ...]:
    maps = {"query": "q_proj", "key": "k_proj", "value": "v_proj"}
    result = []
    for weight in s.op.weights(*s.inputs):
        role, kind = weight.split("_")
        name = maps.get(role, "out_proj")
        own = ("weight", "IO") if kind == "kernel" else ("bias", "O")
        result.append(Weight(f"{name}.{own[0]}", own[1], (weight,)))
    return tuple(result)


def _matmul(s: Site) -> Any:
    if not s.op.transpose_b:
        return f"{s.x} @ {s.arguments[1]}"
    return call("paddle.matmul", s.x, s.arguments[1], transpose_y=True)


def _split(s: Site) -> Any:
    pieces = call("paddle.split", s.x, _list(s.op.sizes), axis=s.axis(s.op.axis))
    return Statements((f"{s.target} = {inline(pieces)}",), s.target)


def _reshape(s: Site) -> Any:
    return call(f"{s.x}.reshape", _list((-1, *s.op.shape))) if s.op.axes else None


def _permute(s: Site) -> Any:
    getattr(s.op, "axes", None)
    return call(f"{s.x}.transpose", _list(s.order()))


def _pad(s: Site) -> Any:
    amounts = _list(n for pair in reversed(s.op.padding) for n in pair)
    value = 'float("-inf")' if s.op.value == float("-inf") else s.op.value
    return call("F.pad", s.x, amounts, value=unless(0.0, value))


def _reduced(s: Site, method: str, letters: str, keep: bool = False) -> Any:
    over = sorted(s.axis(letter) for letter in letters)
    if method == "max" and len(over) > 1 and len(s.storage()) > 4:
        # The gradient of a maximum over several of five axes is wrong in Paddle.
        singles = [[axis] for axis in reversed(over)]
    else:
        singles = [over]
    x = s.x
    for axes_ in singles:
        axis = axes_[0] if len(axes_) == 1 else _list(axes_)
        x = call(f"{inline(x)}.{method}", axis=axis, keepdim=unless(False, keep))
    return x


def _reduce(method: str) -> Rule:
    return Rule(lambda s: _reduced(s, method, s.op.over, s.op.keep))


def _global(method: str) -> Rule:
    return Rule(lambda s: _reduced(s, method, axes.SPATIAL[_dims(s)]))


def _upsample(s: Site) -> Any:
    if s.op.mode == "nearest" and _dims(s) == 1:
        return call(f"{s.x}.repeat_interleave", s.op.scale[0], axis=2)
    smooth = {1: "linear", 2: "bilinear", 3: "trilinear"}[_dims(s)]
    mode = smooth if s.op.mode == "bilinear" else s.op.mode
    scale = squeeze(s.op.scale)
    return call(
        "F.interpolate",
        s.x,
        scale_factor=_list(scale) if isinstance(scale, tuple) else scale,
        mode=unless(quoted("nearest"), quoted(mode)),
    )


def _axis_function(name: str) -> Rule:
    """A function along one axis, the last of which is the default."""
    return Rule(
        lambda s: call(name, s.x, axis=unless(len(s.storage()) - 1, s.axis(s.op.axis)))
    )


SHARED = (
    *(ops.Relu, ops.LeakyRelu, ops.Elu, ops.Selu, ops.Silu, ops.Softplus),
    *(ops.Negative, ops.Scale, ops.Add, ops.Subtract, ops.Multiply, ops.Divide),
    *(BlockCall, Repeat),
)
NORM_NAMES = {
    "scale": "weight",
    "shift": "bias",
    "mean": "_mean",
    "variance": "_variance",
}


def _norm_weights(s: Site) -> tuple[Weight, ...]:
    listed = s.op.weights(*s.inputs).items()
    return tuple(Weight(NORM_NAMES[name], w.axes, (name,)) for name, w in listed)


RULES: dict[type[ops.Op], Rule] = {
    **{operation: pytorch.RULES[operation] for operation in SHARED},
    ops.Dense: Rule(
        make=_dense,
        weights=(Weight("weight", "IO", ("kernel",)), Weight("bias", "O", ("bias",))),
    ),
    ops.Conv: Rule(make=_convolution(), weights=pytorch.RULES[ops.Conv].weights),
    ops.ConvTranspose: Rule(
        make=_convolution(transposed=True),
        weights=pytorch.RULES[ops.ConvTranspose].weights,
    ),
    ops.MaxPool: Rule(_pool("max")),
    ops.AvgPool: Rule(_pool("avg")),
    ops.GlobalAvgPool: _global("mean"),
    ops.GlobalMaxPool: _global("max"),
    ops.BatchNorm: Rule(make=_norm, weights=_norm_weights),
    ops.LayerNorm: Rule(make=_layer_norm, weights=_norm_weights),
    ops.GroupNorm: Rule(make=_group_norm, weights=_norm_weights),
    ops.RMSNorm: Rule(make=_rms_norm, weights=_norm_weights, needs=("RMSNorm",)),
    ops.Dropout: Rule(make=lambda s: call("nn.Dropout", s.op.rate)),
    ops.Embedding: Rule(make=_embedding, weights=(Weight("weight", "VF", ("table",)),)),
    ops.SimpleRNN: Rule(_run, _recurrent("SimpleRNN"), _recurrent_weights),
    ops.LSTM: Rule(_run, _recurrent("LSTM"), _recurrent_weights),
    ops.GRU: Rule(_run, _recurrent("GRU"), _recurrent_weights),
    ops.MultiHeadAttention: Rule(_attend, _attention, _attention_weights),
    ops.Gelu: Rule(
        lambda s: call("F.gelu", s.x, approximate=unless(False, s.op.approximate))
    ),
    ops.Sigmoid: common.function("F.sigmoid"),
    ops.Tanh: common.function("F.tanh"),
    ops.Softmax: _axis_function("F.softmax"),
    ops.LogSoftmax: _axis_function("F.log_softmax"),
    ops.Exp: common.function("paddle.exp"),
    ops.Log: common.function("paddle.log"),
    ops.Sqrt: common.function("paddle.sqrt"),
    ops.Abs: common.function("paddle.abs"),
    ops.Square: common.function("paddle.square"),
    ops.Clip: Rule(lambda s: call("paddle.clip", s.x, s.op.low, s.op.high)),
    ops.Maximum: common.function("paddle.maximum"),
    ops.Minimum: common.function("paddle.minimum"),
    ops.MatMul: Rule(_matmul),
    ops.Concat: Rule(
        lambda s: call("paddle.concat", _list(s.arguments), axis=s.axis(s.op.axis))
    ),
    ops.Split: Rule(_split),
    ops.Slice: Rule(common.sliced),
    ops.Reshape: Rule(_reshape),
    ops.Flatten: Rule(lambda s: call("paddle.flatten", s.x, 1)),
    ops.Transpose: Rule(_permute),
    Restore: Rule(_permute),
    Arrange: Rule(_permute),
    ops.Pad: Rule(_pad),
    ops.ReduceMean: _reduce("mean"),
    ops.ReduceSum: _reduce("sum"),
    ops.ReduceMax: _reduce("max"),
    ops.Upsample: Rule(_upsample),
}


def _sgd(o: recipe.SGD) -> Any:
    return call(
        "paddle.optimizer.Momentum" if o.momentum else "paddle.optimizer.SGD",
        learning_rate=o.rate,
        momentum=o.momentum or None,
        parameters="model.parameters()",
        use_nesterov=unless(False, o.nesterov),
        weight_decay=unless(0.0, o.weight_decay),
    )


def _adam(o: recipe.Adam) -> Any:
    return call(
        "paddle.optimizer.AdamW" if o.weight_decay else "paddle.optimizer.Adam",
        learning_rate=o.rate,
        beta1=unless(0.9, o.beta1),
        beta2=unless(0.999, o.beta2),
        epsilon=unless(1e-8, o.epsilon),
        parameters="model.parameters()",
        weight_decay=unless(0.0, o.weight_decay),
    )


INITIALIZERS: dict[type[recipe.Initializer], Any] = {
    recipe.GlorotUniform: lambda i: "XavierUniform()",
    recipe.Zeros: lambda i: "Constant(0.0)",
    recipe.Ones: lambda i: "Constant(1.0)",
    recipe.Uniform: lambda i: f"Uniform(-{i.limit}, {i.limit})",
}

# --- Rewrites -------------------------------------------------------------------------


def _whole_windows(op: ops.MaxPool) -> Sequence[ops.Op]:
    """With ceil, Paddle also keeps a window that begins in the padding at the end."""
    if not (op.ceil and any(map(any, op.padding))):
        return (op,)
    none = ((0, 0),) * len(op.kernel)
    return (
        ops.Pad(overhang(op), float("-inf")),
        ops.MaxPool(op.kernel, op.stride, none),
    )


def _average(op: ops.AvgPool) -> Sequence[ops.Op]:
    """The same of means."""
    return pad_average(op) if op.ceil and any(map(any, op.padding)) else (op,)


REWRITES: dict[type[ops.Op], Any] = {
    ops.MaxPool: _whole_windows,
    ops.AvgPool: _average,
}

# --- The frame ------------------------------------------------------------------------

CLASS = pytorch.CLASS.replace("nn.Module", "nn.Layer")

RMS_NORM = '''
class RMSNorm(nn.Layer):
    """Divides by the root of the mean square of the last axis."""

    def __init__(self, features, epsilon=1e-6, scale=True):
        super().__init__()
        self.epsilon = epsilon
        self.weight = self.create_parameter(
            [features], attr=scale, default_initializer=Constant(1.0)
        )

    def forward(self, x):
        square = x.square().mean(axis=-1, keepdim=True)
        x = x * paddle.rsqrt(square + self.epsilon)
        return x if self.weight is None else x * self.weight
'''

SETUP = '''
# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network$and_optimizer."""
    paddle.seed(seed)
    $build


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    $load


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    np.savez(path, **{$saved})
'''

STEP = '''
def train_step(model, optimizer, x, y):
    """Make one optimizer step on a batch; return its loss."""
    model.train()
    loss = $loss(model(paddle.to_tensor(x)), paddle.to_tensor(y))
    loss.backward()
    optimizer.step()
    optimizer.clear_grad()
    return loss.detach()
'''

PREDICT = '''
# $number. Predict
@paddle.no_grad()
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    model.eval()
    return model(paddle.to_tensor(x)).numpy()
'''

LOADED = ("model.set_state_dict(dict(np.load(path)))",)
# A state_dict names the weights of a recurrent layer twice.
LOADED_BY_NAME = (
    "arrays = np.load(path)",
    "for name, parameter in model.named_parameters():",
    "    parameter.set_value(arrays[name])",
)
# A cell without a bias keeps one of zeros.
LOADED_IF_THERE = (
    *LOADED_BY_NAME[:2],
    "    if name in arrays:",
    "        parameter.set_value(arrays[name])",
)


def _loading(parts: Parts) -> tuple[tuple[str, ...], str]:
    """How weights are read, and what is saved."""
    found = [n.op for n in parts.graph.flat().nodes if isinstance(n.op, ops.SimpleRNN)]
    if not found:
        return LOADED, "k: v.numpy() for k, v in model.state_dict().items()"
    bare = any(op.bias != "two" for op in found)
    load = LOADED_IF_THERE if bare else LOADED_BY_NAME
    return load, "name: p.numpy() for name, p in model.named_parameters()"


def frame(parts: Parts) -> list[Section]:
    """The program around the network."""
    network: list[str | Line] = []
    for helper in parts.helpers:
        network += [*helper.strip("\n").split("\n"), "", ""]
    for scope in (*parts.blocks, parts.network):
        network += [*common.class_lines(scope, CLASS), "", ""]
    text = "\n".join(str(getattr(line, "text", line)) for line in network)
    names = ("Assign", "Constant", "Uniform", "XavierUniform")
    used = ", ".join(n for n in names if re.search(rf"\b{n}\(", text))
    build = [f"return {parts.network.name}()"]
    if parts.recipe:
        rule = OPTIMIZERS[type(parts.recipe.optimizer)]
        build = [
            f"model = {parts.network.name}()",
            *(
                row[4:]
                for row in layout("    optimizer = ", rule(parts.recipe.optimizer))
            ),
            "return model, optimizer",
        ]
    load, saved = _loading(parts)
    setup = {
        "and_optimizer": " and its optimizer" if parts.recipe else "",
        "build": build,
        "load": load,
        "saved": saved,
    }
    imports = ["import paddle", "import paddle.nn.functional as F"]
    imports += ["from paddle import nn"]
    imports += [f"from paddle.nn.initializer import {used}"] if used else []
    sections = [
        common.head(parts, imports, ()),
        common.load_data(parts),
        Section("network", "# 2. The network\n$classes", {"classes": network[:-2]}),
        Section("setup", SETUP, setup),
    ]
    if not parts.recipe:
        predict = Section("predict", PREDICT, {"number": "4"})
        return [*sections, predict, common.extract(), common.main(parts)]
    return [
        *sections,
        common.batches(),
        Section("train", STEP, {"loss": pytorch.LOSSES[type(parts.recipe.loss)]}),
        common.train(parts, "paddle.stack(losses).mean()"),
        Section("predict", PREDICT, {"number": "5"}),
        common.evaluate(parts),
        common.main(parts),
    ]


OPTIMIZERS: dict[type[recipe.Optimizer], Any] = {recipe.SGD: _sgd, recipe.Adam: _adam}

backend = Backend(
    name="paddle",
    title="PaddlePaddle",
    home="https://www.paddlepaddle.org.cn/en",
    since="2016",
    licence="Apache-2.0",
    language="C++, CUDA and Python",
    style="module classes",
    storage=axes.channels_first,
    env=ENV,
    barrier="lambda: sum(p.detach().sum() for p in model.parameters())",
    rules=RULES,
    losses=pytorch.LOSSES,
    optimizers=OPTIMIZERS,
    initializers=INITIALIZERS,
    frame=frame,
    rewrites=REWRITES,
    forms={
        ops.SimpleRNN: ({"bias": "two"},),
        ops.LSTM: ({"bias": "two"},),
        ops.GRU: ({"reset": "after", "bias": "two"},),
        ops.BatchNorm: ({"unbiased": False},),
        recipe.Adam: ({"epsilon_form": "after"},),
    },
    helpers={"RMSNorm": RMS_NORM},
    imports=(("import paddle.nn.functional as F", "F"),),
    # A momentum or an epsilon is a float32, whatever the values are.
    dtypes=("float32",),
)

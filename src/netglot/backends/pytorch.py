"""PyTorch: module classes, functions for what has no weights, a plain training loop."""

from __future__ import annotations

import dataclasses
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
    requirements=("torch==2.13.0", "numpy==2.4.6"),
    imports=("torch",),
    lock="pytorch",
)

# --- Rules ----------------------------------------------------------------------------


def _dims(s: Site) -> int:
    return len(s.inputs[0].axes) - 2


def _convolution(s: Site) -> Any:
    return call(
        f"nn.Conv{_dims(s)}d",
        s.inputs[0].size("C"),
        s.op.channels,
        kernel_size=squeeze(s.op.kernel),
        stride=unless(1, squeeze(s.op.stride)),
        # The two sides of an axis are equal: see the rewrites.
        padding=unless(0, squeeze(tuple(before for before, _ in s.op.padding))),
        dilation=unless(1, squeeze(s.op.dilation)),
        groups=unless(1, s.op.groups),
        bias=unless(True, s.op.bias),
    )


def _extra(op: Any) -> tuple[int, ...]:
    """Output padding: also what is cropped before and not after."""
    pairs = zip(op.padding, op.output_padding, strict=True)
    return tuple(more + before - after for (before, after), more in pairs)


def _is_croppable(op: Any) -> bool:
    """Whether the layer itself can crop what the padding takes away."""
    most = (max(pair) for pair in zip(op.stride, op.dilation, strict=True))
    return all(0 <= n < m for n, m in zip(_extra(op), most, strict=True))


def _crop_transposed(op: ops.ConvTranspose) -> Sequence[ops.Op]:
    """The whole result, of which what the padding takes away is cut off."""
    if _is_croppable(op):
        return (op,)
    none = ((0, 0),) * len(op.kernel)
    crop = tuple((-before, -after) for before, after in op.padding)
    return (dataclasses.replace(op, padding=none), ops.Pad(crop))


def _transposed(s: Site) -> Any:
    if not _is_croppable(s.op):
        raise Gap("output padding must be smaller than the stride or the dilation")
    return call(
        f"nn.ConvTranspose{_dims(s)}d",
        s.inputs[0].size("C"),
        s.op.channels,
        kernel_size=squeeze(s.op.kernel),
        stride=unless(1, squeeze(s.op.stride)),
        padding=unless(0, squeeze(tuple(before for before, _ in s.op.padding))),
        output_padding=unless(0, squeeze(_extra(s.op))),
        groups=unless(1, s.op.groups),
        bias=unless(True, s.op.bias),
        dilation=unless(1, squeeze(s.op.dilation)),
    )


def _pool(name: str) -> Any:
    def write(s: Site) -> Any:
        padded = any(map(any, s.op.padding))
        if padded and not _is_even(s.op):
            raise Gap(
                "its pools add the same on both sides, and at most half a window; a "
                "mean can be taken otherwise only where padding counts"
            )
        count = getattr(s.op, "count_padding", True)
        return call(
            f"F.{name}_pool{_dims(s)}d",
            s.x,
            squeeze(s.op.kernel),
            stride=unless(s.op.kernel, s.op.stride) and squeeze(s.op.stride),
            padding=unless(0, squeeze(tuple(before for before, _ in s.op.padding))),
            ceil_mode=unless(False, s.op.ceil),
            # PyTorch counts padded zeros unless told not to.
            count_include_pad=False if padded and not count else None,
        )

    return write


def _is_even(op: Any) -> bool:
    """Whether a pool's padding is one that the function takes."""
    pairs = zip(op.padding, op.kernel, strict=True)
    return all(before == after <= k // 2 for (before, after), k in pairs)


def _uneven_max(op: Any) -> Sequence[ops.Op]:
    """Padding that never wins, where the layer cannot pad as asked."""
    if _is_even(op):
        return (op,)
    none = ((0, 0),) * len(op.kernel)
    return (
        ops.Pad(overhang(op), float("-inf")),
        ops.MaxPool(op.kernel, op.stride, none),
    )


def _norm(s: Site) -> Any:
    if s.op.scale != s.op.shift:
        raise Gap("it learns scale and shift both or neither")
    if not s.op.unbiased:
        raise Gap("its running variance is the unbiased one (form unbiased=True)")
    letter = "C" if "C" in s.inputs[0].axes else "F"
    return call(
        f"nn.BatchNorm{max(_dims(s), 1)}d",
        s.inputs[0].size(letter),
        eps=unless(1e-5, s.op.epsilon),
        # The share of the new value.
        momentum=unless(0.1, round(1 - s.op.momentum, 10)),
        affine=unless(True, s.op.scale),
    )


def _layer_norm(s: Site) -> Any:
    if s.op.shift and not s.op.scale:
        raise Gap("it has no shift without a scale")
    return call(
        "nn.LayerNorm",
        s.inputs[0].size("F"),
        eps=unless(1e-5, s.op.epsilon),
        elementwise_affine=unless(True, s.op.scale),
        bias=False if s.op.scale and not s.op.shift else None,
    )


def _group_norm(s: Site) -> Any:
    if s.op.scale != s.op.shift:
        raise Gap("it learns scale and shift both or neither")
    return call(
        "nn.GroupNorm",
        s.op.groups,
        s.inputs[0].size("C"),
        eps=unless(1e-5, s.op.epsilon),
        affine=unless(True, s.op.scale),
    )


def _rms_norm(s: Site) -> Any:
    return call(
        "nn.RMSNorm",
        s.inputs[0].size("F"),
        eps=s.op.epsilon,
        elementwise_affine=unless(True, s.op.scale),
    )


def _recurrent(name: str) -> Any:
    def write(s: Site) -> Any:
        if s.op.bias not in ("two", "none"):
            raise Gap("it has two bias vectors or none (form bias='two')")
        if getattr(s.op, "reset", "after") != "after":
            raise Gap("its reset gate acts after the product (form reset='after')")
        known = ("tanh", "relu") if name == "RNN" else ("tanh",)
        if s.op.activation not in known:
            raise Gap(f"its activation is {' or '.join(known)}")
        # Where the bias starts is said in ``initialize``.
        getattr(s.op, "forget_bias", None)
        return call(
            f"nn.{name}",
            s.inputs[0].size("F"),
            s.op.units,
            nonlinearity=None if s.op.activation == "tanh" else quoted(s.op.activation),
            bias=unless(True, s.op.bias != "none"),
            batch_first=True,
            bidirectional=unless(False, s.op.direction == "both"),
        )

    return write


def _run(s: Site) -> Any:
    """Outputs of every step, or of the last: the final hidden state."""
    backward = s.op.direction == "backward"
    x = f"{s.x}.flip(1)" if backward else s.x
    if s.op.returns == "sequence":
        value = f"{s.target}.flip(1)" if backward else s.target
        return Statements((f"{s.target}, _ = {s.object}({x})",), value)
    state = "(h, _)" if isinstance_lstm(s) else "h"
    value = "torch.cat((h[0], h[1]), dim=1)" if s.op.direction == "both" else "h[-1]"
    return Statements((f"_, {state} = {s.object}({x})",), value)


def isinstance_lstm(s: Site) -> bool:
    """Whether the state is a pair."""
    return s.op.gates == "ifgo"


def _recurrent_weights(s: Site) -> tuple[Weight, ...]:
    pairs = [("kernel", "weight_ih", "GI"), ("recurrent", "weight_hh", "GH")]
    if s.op.bias == "two":
        pairs += [("bias", "bias_ih", "G"), ("recurrent_bias", "bias_hh", "G")]
    result = []
    for direction in ("forward", "backward"):
        if s.op.direction in (direction, "both"):
            end = "_back" if direction == "backward" else ""
            reverse = "_reverse" if end and s.op.direction == "both" else ""
            result += [
                Weight(f"{name}_l0{reverse}", letters, (source + end,))
                for source, name, letters in pairs
            ]
    return tuple(result)


def _attention(s: Site) -> Any:
    width, other = s.inputs[0].size("F"), s.inputs[-1].size("F")
    if width != other:
        raise Gap("query, key and value have one width")
    return call(
        "nn.MultiheadAttention",
        width,
        s.op.heads,
        bias=unless(True, s.op.bias),
        batch_first=True,
    )


def _attend(s: Site) -> Any:
    query, key, value = (
        (s.arguments * 3)[:3]
        if len(s.arguments) == 1
        else (
            s.arguments[0],
            s.arguments[1],
            s.arguments[-1],
        )
    )
    mask = None
    if s.op.causal:
        length = f"{inline(query)}.size(1)"
        mask = call("nn.Transformer.generate_square_subsequent_mask", length)
    # The second value would be the attention weights.
    attend = call(
        s.object,
        query,
        key,
        value,
        need_weights=False,
        attn_mask=mask,
        is_causal=True if mask else None,
    )
    lines = layout(" " * s.backend.margin + f"{s.target}, _ = ", attend)
    lines = [line[s.backend.margin :] for line in lines]
    if mask and len(lines) > 1:
        lines = [
            f"mask = {inline(mask)}",  # type: ignore[arg-type]
            f"{s.target}, _ = {s.object}(",
            f"    {query}, {key}, {value}, need_weights=False, attn_mask=mask, "
            "is_causal=True",
            ")",
        ]
    return Statements(tuple(lines), s.target)


def _attention_weights(s: Site) -> tuple[Weight, ...]:
    maps = ("query", "key", "value")
    result = [
        Weight("in_proj_weight", "SOI", tuple(f"{m}_kernel" for m in maps), join=True),
        Weight("out_proj.weight", "OI", ("output_kernel",)),
    ]
    if s.op.bias:
        result.insert(
            1, Weight("in_proj_bias", "SO", tuple(f"{m}_bias" for m in maps), join=True)
        )
        result.append(Weight("out_proj.bias", "O", ("output_bias",)))
    return tuple(result)


def _matmul(s: Site) -> Any:
    return f"{s.x} @ {s.arguments[1]}{'.mT' if s.op.transpose_b else ''}"


def _slice(s: Site) -> Any:
    if s.op.step < 0:
        raise Gap("a slice cannot step backwards")
    return common.sliced(s)


def _split(s: Site) -> Any:
    pieces = call("torch.split", s.x, s.op.sizes, dim=s.axis(s.op.axis))
    return Statements((f"{s.target} = {inline(pieces)}",), s.target)


def _reshape(s: Site) -> Any:
    return call(f"{s.x}.reshape", -1, *s.op.shape) if s.op.axes else None


def _permute(s: Site) -> Any:
    getattr(s.op, "axes", None)
    return call(f"{s.x}.permute", *s.order())


def _pad(s: Site) -> Any:
    amounts = tuple(n for pair in reversed(s.op.padding) for n in pair)
    value = 'float("-inf")' if s.op.value == float("-inf") else s.op.value
    return call("F.pad", s.x, amounts, value=unless(0.0, value))


def _reduce(method: str) -> Rule:
    def write(s: Site) -> Any:
        over = tuple(s.axis(letter) for letter in s.op.over)
        return call(
            f"{s.x}.{method}", dim=squeeze(over), keepdim=unless(False, s.op.keep)
        )

    return Rule(write)


def _global(method: str) -> Rule:
    def write(s: Site) -> Any:
        return call(f"{s.x}.{method}", dim=tuple(range(2, len(s.inputs[0].axes))))

    return Rule(write)


def _upsample(s: Site) -> Any:
    smooth = {1: "linear", 2: "bilinear", 3: "trilinear"}[_dims(s)]
    mode = smooth if s.op.mode == "bilinear" else s.op.mode
    return call(
        "F.interpolate",
        s.x,
        scale_factor=squeeze(s.op.scale),
        mode=unless(quoted("nearest"), quoted(mode)),
    )


def _block(s: Site) -> Any:
    return call(s.op.block.name, **dict(s.op.arguments))


def _repeat(s: Site) -> Any:
    return f"nn.Sequential(*({inline(_block(s))} for _ in range({s.op.times})))"


KERNEL = {1: "OIW", 2: "OIHW", 3: "OIDHW"}
AFFINE = (Weight("weight", "C", ("scale",)), Weight("bias", "C", ("shift",)))
STATISTICS = (
    Weight("running_mean", "C", ("mean",)),
    Weight("running_var", "C", ("variance",)),
)


def _kernel(letters: str) -> Any:
    def weights(s: Site) -> tuple[Weight, ...]:
        kernel = Weight("weight", letters + axes.SPATIAL[_dims(s)], ("kernel",))
        bias = (Weight("bias", "O", ("bias",)),) if s.op.bias else ()
        return (kernel, *bias)

    return weights


def _affine(statistics: bool = False) -> Any:
    def weights(s: Site) -> tuple[Weight, ...]:
        letter = "C" if "C" in s.inputs[0].axes else "F"
        pairs = [("scale", "weight"), ("shift", "bias")]
        pairs = [(role, name) for role, name in pairs if getattr(s.op, role, False)]
        if statistics:
            pairs += [("mean", "running_mean"), ("variance", "running_var")]
        return tuple(Weight(name, letter, (role,)) for role, name in pairs)

    return weights


DENSE = (Weight("weight", "OI", ("kernel",)), Weight("bias", "O", ("bias",)))

RULES: dict[type[ops.Op], Rule] = {
    ops.Dense: Rule(
        make=lambda s: call(
            "nn.Linear",
            s.inputs[0].size("F"),
            s.op.features,
            bias=unless(True, s.op.bias),
        ),
        weights=DENSE,
    ),
    ops.Conv: Rule(make=_convolution, weights=_kernel("OI")),
    ops.ConvTranspose: Rule(make=_transposed, weights=_kernel("IO")),
    ops.MaxPool: Rule(_pool("max")),
    ops.AvgPool: Rule(_pool("avg")),
    ops.GlobalAvgPool: _global("mean"),
    ops.GlobalMaxPool: _global("amax"),
    ops.BatchNorm: Rule(make=_norm, weights=_affine(statistics=True)),
    ops.LayerNorm: Rule(make=_layer_norm, weights=_affine()),
    ops.GroupNorm: Rule(make=_group_norm, weights=_affine()),
    ops.RMSNorm: Rule(make=_rms_norm, weights=_affine()),
    ops.Dropout: Rule(make=lambda s: call("nn.Dropout", s.op.rate)),
    ops.Embedding: Rule(
        make=lambda s: call("nn.Embedding", s.op.vocabulary, s.op.features),
        weights=(Weight("weight", "VF", ("table",)),),
    ),
    ops.SimpleRNN: Rule(_run, _recurrent("RNN"), _recurrent_weights),
    ops.LSTM: Rule(_run, _recurrent("LSTM"), _recurrent_weights),
    ops.GRU: Rule(_run, _recurrent("GRU"), _recurrent_weights),
    ops.MultiHeadAttention: Rule(_attend, _attention, _attention_weights),
    ops.Relu: common.function("F.relu"),
    ops.LeakyRelu: Rule(
        lambda s: call("F.leaky_relu", s.x, unless(0.01, s.op.slope)),
    ),
    ops.Elu: Rule(lambda s: call("F.elu", s.x, unless(1.0, s.op.alpha))),
    ops.Selu: common.function("F.selu"),
    ops.Gelu: Rule(
        lambda s: call(
            "F.gelu", s.x, approximate=quoted("tanh") if s.op.approximate else None
        )
    ),
    ops.Silu: common.function("F.silu"),
    ops.Sigmoid: common.function("torch.sigmoid"),
    ops.Tanh: common.function("torch.tanh"),
    ops.Softplus: common.function("F.softplus"),
    ops.Softmax: Rule(lambda s: call("F.softmax", s.x, dim=s.axis(s.op.axis))),
    ops.LogSoftmax: Rule(lambda s: call("F.log_softmax", s.x, dim=s.axis(s.op.axis))),
    ops.Negative: Rule(lambda s: f"-{common.operand(s.x)}"),
    ops.Exp: common.function("torch.exp"),
    ops.Log: common.function("torch.log"),
    ops.Sqrt: common.function("torch.sqrt"),
    ops.Abs: common.function("torch.abs"),
    ops.Square: common.function("torch.square"),
    ops.Clip: Rule(lambda s: call("torch.clamp", s.x, s.op.low, s.op.high)),
    ops.Scale: Rule(common.scale),
    ops.Add: common.binary("+"),
    ops.Subtract: common.binary("-"),
    ops.Multiply: common.binary("*"),
    ops.Divide: common.binary("/"),
    ops.Maximum: common.function("torch.maximum"),
    ops.Minimum: common.function("torch.minimum"),
    ops.MatMul: Rule(_matmul),
    ops.Concat: Rule(
        lambda s: call("torch.cat", s.arguments, dim=s.axis(s.op.axis)),
    ),
    ops.Split: Rule(_split),
    ops.Slice: Rule(_slice),
    ops.Reshape: Rule(_reshape),
    ops.Flatten: Rule(lambda s: call("torch.flatten", s.x, 1)),
    ops.Transpose: Rule(_permute),
    Restore: Rule(_permute),
    Arrange: Rule(_permute),
    ops.Pad: Rule(_pad),
    ops.ReduceMean: _reduce("mean"),
    ops.ReduceSum: _reduce("sum"),
    ops.ReduceMax: _reduce("amax"),
    ops.Upsample: Rule(_upsample),
    BlockCall: Rule(make=_block),
    Repeat: Rule(make=_repeat),
}

LOSSES = {
    recipe.SoftmaxCrossEntropy: "F.cross_entropy",
    recipe.MeanSquaredError: "F.mse_loss",
}


def _sgd(o: recipe.SGD) -> Any:
    return call(
        "torch.optim.SGD",
        "model.parameters()",
        lr=o.rate,
        momentum=unless(0.0, o.momentum),
        nesterov=unless(False, o.nesterov),
        weight_decay=unless(0.0, o.weight_decay),
    )


def _adam(o: recipe.Adam) -> Any:
    return call(
        "torch.optim.AdamW" if o.weight_decay else "torch.optim.Adam",
        "model.parameters()",
        lr=o.rate,
        betas=unless((0.9, 0.999), (o.beta1, o.beta2)),
        eps=unless(1e-8, o.epsilon),
        weight_decay=unless(0.0, o.weight_decay),
    )


# --- Rewrites -------------------------------------------------------------------------


def _average(op: ops.AvgPool) -> Sequence[ops.Op]:
    """Zeros that count may be added beforehand; others only evenly."""
    first = op.count_padding and not op.ceil and not _is_even(op)
    return pad_first(op) if first else (op,)


REWRITES: dict[type[ops.Op], Any] = {
    ops.Conv: pad_first_if_uneven,
    ops.ConvTranspose: _crop_transposed,
    ops.MaxPool: _uneven_max,
    ops.AvgPool: _average,
}

# --- The frame ------------------------------------------------------------------------

CLASS = """
class $name(nn.Module):
    def __init__(self$parameters):
        super().__init__()
        $make

    def forward(self, $inputs):
        $apply
"""


def _initialize(parts: Parts) -> list[str]:
    """The body of ``initialize``: a clause per kind of layer that has weights."""
    used = parts.operations
    inits = parts.initializers or recipe.Initializers()

    def fill(role: str, what: str) -> str:
        return str(INITIALIZERS[type(inits.of(role))](inits.of(role))).format(what)

    flat = parts.graph.flat()
    types = flat.types()
    # The last map of an attention is an nn.Linear of its own.
    layered = ops.Dense | ops.Conv | ops.ConvTranspose | ops.MultiHeadAttention
    layers = sorted(
        {
            "nn.Linear"
            if isinstance(node.op, ops.Dense | ops.MultiHeadAttention)
            else f"nn.{type(node.op).__name__}{len(types[node.inputs[0]].axes) - 2}d"
            for node in flat.nodes
            if isinstance(node.op, layered)
        }
    )
    clauses: list[tuple[str, list[str]]] = []
    if layers:
        biased = {node.op.bias for node in flat.nodes if isinstance(node.op, layered)}
        body = [fill("kernel", "module.weight")]
        if biased == {True}:
            body.append(fill("bias", "module.bias"))
        elif True in biased:
            body += [
                "if module.bias is not None:",
                "    " + fill("bias", "module.bias"),
            ]
        kinds = layers[0] if len(layers) == 1 else f"({', '.join(layers)})"
        clauses.append((kinds, body))
    if ops.Embedding in used:
        clauses.append(("nn.Embedding", [fill("embedding", "module.weight")]))
    for kind, name in ((ops.SimpleRNN, "RNN"), (ops.LSTM, "LSTM"), (ops.GRU, "GRU")):
        if kind not in used:
            continue
        body = [
            "for name, parameter in module.named_parameters():",
            '    if name.startswith("bias"):',
            "        " + fill("bias", "parameter"),
            "    else:",
            "        " + fill("kernel", "parameter"),
        ]
        if kind is ops.LSTM:
            body += _forget([n.op for n in flat.nodes if isinstance(n.op, ops.LSTM)])
        clauses.append((f"nn.{name}", body))
    if ops.MultiHeadAttention in used:
        body = [
            "for kernel in module.in_proj_weight.chunk(3):",
            "    " + fill("kernel", "kernel"),
        ]
        clauses.append(("nn.MultiheadAttention", body))
    lines = []
    for i, (kinds, body) in enumerate(clauses):
        lines.append(f"{'el' if i else ''}if isinstance(module, {kinds}):")
        lines += ["    " + line for line in body]
    return lines or ["pass"]


def _forget(layers: Sequence[ops.LSTM]) -> list[str]:
    """Sets the bias of the forget gates, in the one of two vectors, which are added."""
    starts = {op.forget_bias for op in layers if op.bias != "none"}
    if len(starts) > 1:
        raise Gap("every LSTM starts with the same forget bias")
    if not any(starts):
        return []
    (start,) = starts
    order = "# The gates lie in the order i, f, g, o."
    if all(op.bias != "none" and op.direction != "both" for op in layers):
        return [
            order,
            "_, forget, _, _ = module.bias_ih_l0.chunk(4)",
            f"nn.init.constant_(forget, {start})",
        ]
    return [
        order,
        "for name, parameter in module.named_parameters():",
        '    if name.startswith("bias_ih"):',
        "        _, forget, _, _ = parameter.chunk(4)",
        f"        nn.init.constant_(forget, {start})",
    ]


INITIALIZERS: dict[type[recipe.Initializer], Any] = {
    recipe.GlorotUniform: lambda i: "nn.init.xavier_uniform_({})",
    recipe.Zeros: lambda i: "nn.init.zeros_({})",
    recipe.Ones: lambda i: "nn.init.ones_({})",
    recipe.Uniform: lambda i: f"nn.init.uniform_({{}}, -{i.limit}, {i.limit})",
}


SETUP = '''
# 3. Loss, optimizer, initial weights
def initialize(module):
    """$about"""
    $initialize


def build(seed=0):
    """Create the network$and_optimizer."""
    $seed
    $build


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    $load


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    $save
'''

STEP = '''
def train_step(model, optimizer, x, y):
    """Make one optimizer step on $batch; return its loss."""
    model.train()
    x, y = torch.from_numpy(x).to(DEVICE), torch.from_numpy(y).to(DEVICE)
    loss = $loss(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()
'''

PREDICT = '''
# $number. Predict
@torch.no_grad()
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    model.eval()
    return $model(torch.from_numpy(x).to(DEVICE)).numpy(force=True)
'''

IMPORTS = (("import torch.nn.functional as F", "F"),)


def frame(parts: Parts) -> list[Section]:
    """The program around the network."""
    trained = parts.recipe is not None
    constants = ['DEVICE = "cuda" if torch.cuda.is_available() else "cpu"']
    imports = [
        "import torch",
        "import torch.nn.functional as F",
        "from torch import nn",
    ]
    first, model = None, "model"
    if parts.parallel:
        constants = list(_JOINED)
        imports = ["import torch", "import torch.distributed as dist", *imports[1:]]
        imports.append("from torch.nn.parallel import DistributedDataParallel")
        first = ("import argparse", "import os", "", "import numpy as np")
        model = "model.module"
    if parts.dtype == "float64":
        constants.append("torch.set_default_dtype(torch.float64)")
    classes: list[str | Line] = []
    for scope in (*parts.blocks, parts.network):
        classes += [*common.class_lines(scope, CLASS), "", ""]
    # Its batch norms also count batches, which no other framework does.
    strict = False if ops.BatchNorm in parts.operations else None
    weights = "{name: torch.from_numpy(arrays[name]) for name in arrays}"
    made = f"{parts.network.name}().apply(initialize).to(DEVICE)"
    build = [f"return {made}"]
    if parts.recipe:
        rule = OPTIMIZERS[type(parts.recipe.optimizer)]
        if parts.parallel:
            made = f"DistributedDataParallel({made})"
        build = [
            f"model = {made}",
            f"optimizer = {inline(rule(parts.recipe.optimizer))}",
            "return model, optimizer",
        ]
    load = call(f"{model}.load_state_dict", weights, strict=strict)
    array = "k: v.numpy(force=True)"
    state, states = "model.state_dict().items()", []
    if parts.parallel:
        state, states = "state.items()", ["state = model.module.state_dict()"]
    setup = Section(
        "setup",
        SETUP,
        {
            "about": "Set the initial weights of a layer.",
            "initialize": _initialize(parts),
            "and_optimizer": " and its optimizer" if trained else "",
            "build": build,
            "seed": common.seeds("torch.manual_seed", parts.parallel),
            "load": [row[4:] for row in layout("    ", load)],
            "save": [*states, f"np.savez(path, **{{{array} for k, v in {state}}})"],
        },
    )
    sections = [
        common.head(
            parts,
            imports,
            constants,
            first,
        ),
        common.load_data(parts),
        Section("network", "# 2. The network\n$classes", {"classes": classes[:-2]}),
        setup,
    ]
    if not parts.recipe:
        predict = Section("predict", PREDICT, {"number": "4", "model": model})
        return [*sections, predict, common.extract(), common.main(parts)]
    return [
        *sections,
        common.batches(parts.parallel),
        Section(
            "train",
            STEP,
            {
                "loss": LOSSES[type(parts.recipe.loss)],
                "batch": "this process's share of a batch"
                if parts.parallel
                else "a batch",
            },
        ),
        common.train(
            parts,
            "loss" if parts.parallel else "torch.stack(losses).mean()",
            summary=_MEAN if parts.parallel else (),
        ),
        Section("predict", PREDICT, {"number": "5", "model": model}),
        common.evaluate(parts),
        common.main(parts, end=["dist.destroy_process_group()"] * parts.parallel),
    ]


#: What a process knows once it has joined the others.
_JOINED = (
    "",
    "dist.init_process_group()",
    "RANK, WORKERS = dist.get_rank(), dist.get_world_size()",
    "DEVICE = f\"cuda:{os.environ['LOCAL_RANK']}\" "
    'if torch.cuda.is_available() else "cpu"',
)
#: The mean of the losses of all processes.
_MEAN = (
    "loss = torch.stack(losses).mean() / WORKERS",
    "dist.all_reduce(loss)",
)
ENGINE = Engine(
    name="DistributedDataParallel over gloo or NCCL",
    command="torchrun --nproc-per-node 2 {file}",
    missing={
        ops.BatchNorm: "each process would normalize by its own share of the batch, "
        "and PyTorch's SyncBatchNorm runs on GPUs alone"
    },
)


OPTIMIZERS: dict[type[recipe.Optimizer], Any] = {recipe.SGD: _sgd, recipe.Adam: _adam}

backend = Backend(
    name="pytorch",
    title="PyTorch",
    home="https://pytorch.org",
    since="2016",
    licence="BSD-3-Clause",
    language="C++, CUDA and Python",
    style="module classes",
    storage=axes.channels_first,
    env=ENV,
    barrier="lambda: sum(p.detach().sum() for p in model.parameters())",
    rules=RULES,
    losses=LOSSES,
    optimizers=OPTIMIZERS,
    initializers=INITIALIZERS,
    frame=frame,
    rewrites=REWRITES,
    forms={
        ops.SimpleRNN: ({"bias": "two"}, {"bias": "none"}),
        ops.LSTM: ({"bias": "two"}, {"bias": "none"}),
        ops.GRU: (
            {"reset": "after", "bias": "two"},
            {"reset": "after", "bias": "none"},
        ),
        ops.BatchNorm: ({"unbiased": True},),
        recipe.Adam: ({"epsilon_form": "after"},),
    },
    imports=IMPORTS,
    engine=ENGINE,
)

"""MLX: modules and gradients of functions, computed when a value is asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from netglot import axes, ops, recipe
from netglot.backend import (
    Backend,
    Env,
    Gap,
    Parts,
    Rule,
    Section,
    Shim,
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
    python=("3.11", "3.12", "3.10"),
    # Of SciPy only its OpenBLAS is used: later ones call its functions by other names.
    requirements=("mlx[cpu]==0.32.0", "numpy==1.26.4", "scipy==1.11.4"),
    imports=("mlx.core", "mlx.nn"),
    lock="mlx",
    shims=(
        Shim("mlx_openblas", "MLX comes with a slow BLAS: OpenBLAS instead", "build"),
    ),
    # Where there is a g++ it compiles what is computed element by element; small cases
    # need not wait for that.
    hurry={"MLX_DISABLE_COMPILE": "1"},
)

# --- Rules ----------------------------------------------------------------------------


def _dims(s: Site) -> int:
    return len(s.inputs[0].axes) - 2


def _axis(s: Site, letter: str) -> int:
    position = s.axis(letter)
    return -1 if position == len(s.storage()) - 1 else position


def _sides(op: Any) -> Any:
    """The padding of both sides of each axis: a number where all are alike."""
    return unless(0, squeeze(tuple(before for before, _ in op.padding)))


def _convolution(s: Site) -> Any:
    groups = unless(1, s.op.groups)
    if groups and _dims(s) == 3:
        raise Gap("its convolutions in three dimensions have no groups")
    return call(
        f"nn.Conv{_dims(s)}d",
        s.inputs[0].size("C"),
        s.op.channels,
        kernel_size=squeeze(s.op.kernel),
        stride=unless(1, squeeze(s.op.stride)),
        padding=_sides(s.op),
        dilation=unless(1, squeeze(s.op.dilation)),
        groups=groups,
        bias=unless(True, s.op.bias),
    )


def _transposed(s: Site) -> Any:
    if s.op.groups != 1:
        raise Gap("its transposed convolutions have no groups")
    pairs = zip(s.op.padding, s.op.output_padding, strict=True)
    # What is not cropped at the end is added there.
    added = tuple(more + before - after for (before, after), more in pairs)
    if any(n < 0 for n in added):
        raise Gap("its transposed convolutions crop the same from both sides")
    return call(
        f"nn.ConvTranspose{_dims(s)}d",
        s.inputs[0].size("C"),
        s.op.channels,
        kernel_size=squeeze(s.op.kernel),
        stride=unless(1, squeeze(s.op.stride)),
        padding=_sides(s.op),
        dilation=unless(1, squeeze(s.op.dilation)),
        output_padding=unless(0, squeeze(added)),
        bias=unless(True, s.op.bias),
    )


def _kernel(s: Site) -> tuple[Weight, ...]:
    kernel = Weight("weight", f"O{axes.SPATIAL[_dims(s)]}I", ("kernel",))
    return (kernel, Weight("bias", "O", ("bias",))) if s.op.bias else (kernel,)


def _pool(kind: str) -> Callable[[Site], Any]:
    def make(s: Site) -> Any:
        if s.op.ceil:
            raise Gap("its pools drop a window that does not fit")
        if kind == "Max":
            if s.op.ties != "shared":
                raise Gap("equal values share the gradient (form ties='shared')")
        elif not s.op.count_padding and any(map(any, s.op.padding)):
            raise Gap("what its mean pools pad counts")
        return call(
            f"nn.{kind}Pool{_dims(s)}d",
            squeeze(s.op.kernel),
            stride=unless(squeeze(s.op.kernel), squeeze(s.op.stride)),
            padding=_sides(s.op),
        )

    return make


def _plain_mean(op: Any) -> bool:
    """Whether the layer computes it: what it pads counts, both sides alike."""
    even = all(before == after for before, after in op.padding)
    padded = any(map(any, op.padding))
    return not op.ceil and (not padded or (op.count_padding and even))


def _make_avg_pool(s: Site) -> Any:
    if _plain_mean(s.op):
        return _pool("Avg")(s)
    return call(
        f"nn.AvgPool{_dims(s)}d",
        squeeze(s.op.kernel),
        stride=unless(squeeze(s.op.kernel), squeeze(s.op.stride)),
    )


def _apply_avg_pool(s: Site) -> Any:
    if _plain_mean(s.op):
        return call(s.object, s.x)
    if s.op.count_padding and any(map(any, s.op.padding)):
        raise Gap("a last window that hangs over counts no padding")
    pads = overhang(s.op)
    return call("avg_pool", s.object, s.x, _listed(pads))


def _global(name: str) -> Rule:
    def apply(s: Site) -> Any:
        space = tuple(range(1, len(s.inputs[0].axes) - 1))
        return call(f"{s.x}.{name}", axis=squeeze(space) if len(space) == 1 else space)

    return Rule(apply)


def _both_or_none(s: Site) -> bool | None:
    if s.op.scale != s.op.shift:
        raise Gap("it learns a scale and a shift, or neither")
    return unless(True, s.op.scale)


def _batch_norm(s: Site) -> Any:
    if len(s.inputs[0].axes) > 4:
        raise Gap("its batch normalization reads at most two axes of space")
    if s.op.unbiased:
        raise Gap("its running variance is the biased one (form unbiased=False)")
    # The share of the new value, not of the old.
    share = round(1 - s.op.momentum, 12)
    return call(
        "nn.BatchNorm",
        s.inputs[0].size("C" if "C" in s.inputs[0].axes else "F"),
        eps=unless(1e-5, s.op.epsilon),
        momentum=unless(0.1, share),
        affine=_both_or_none(s),
    )


def _layer_norm(s: Site) -> Any:
    if s.op.shift and not s.op.scale:
        raise Gap("it learns a shift only beside a scale")
    return call(
        "nn.LayerNorm",
        s.inputs[0].size("F"),
        eps=unless(1e-5, s.op.epsilon),
        affine=unless(True, s.op.scale),
        bias=unless(True, s.op.shift or not s.op.scale),
    )


def _group_norm(s: Site) -> Any:
    return call(
        "nn.GroupNorm",
        s.op.groups,
        s.inputs[0].size("C"),
        eps=unless(1e-5, s.op.epsilon),
        affine=_both_or_none(s),
        # Else channels of one group are not neighbours.
        pytorch_compatible=True,
    )


def _rms_norm(s: Site) -> Any:
    if not s.op.scale:
        _ = s.op.epsilon
        return Statements((), "")
    eps = unless(1e-5, s.op.epsilon)
    return call("nn.RMSNorm", s.inputs[0].size("F"), eps=eps)


def _apply_rms_norm(s: Site) -> Any:
    if s.op.scale:
        return f"{s.object}({inline(s.x)})"
    return call("mx.fast.rms_norm", s.x, "None", s.op.epsilon)


def _affine(s: Site) -> tuple[Weight, ...]:
    letter = "C" if "C" in s.inputs[0].axes else "F"
    names = {"scale": "weight", "shift": "bias"}
    found = [(role, name) for role, name in names.items() if getattr(s.op, role, False)]
    if hasattr(s.op, "momentum"):
        found += [("mean", "running_mean"), ("variance", "running_var")]
    return tuple(Weight(name, letter, (role,)) for role, name in found)


def _recurrent(kind: str) -> Rule:
    """Layers that give the states of all steps; an LSTM also its cells."""

    def make(s: Site) -> Any:
        form = "candidate" if kind == "GRU" else "one"
        if s.op.bias not in (form, "none"):
            raise Gap(f"its {kind} has other bias vectors (form bias={form!r})")
        if getattr(s.op, "reset", "after") != "after":
            raise Gap("its reset gate acts after the product (form reset='after')")
        activation = None
        if kind == "RNN":
            activation = unless("tanh", s.op.activation)
            modules = {"sigmoid": "mx.sigmoid", "relu": "nn.relu"}
            activation = modules[activation] if activation else None
        elif s.op.activation != "tanh":
            raise Gap("its activation is tanh")
        getattr(s.op, "forget_bias", None)
        layer = call(
            f"nn.{kind}",
            s.inputs[0].size("F"),
            s.op.units,
            bias=unless(True, s.op.bias != "none"),
            nonlinearity=activation,
        )
        return (
            call("Bidirectional", layer, layer) if s.op.direction == "both" else layer
        )

    def apply(s: Site) -> Any:
        last, direction = s.op.returns == "last", s.op.direction
        first = "[0]" if kind == "LSTM" else ""
        if direction == "both":
            states = f"{s.object}({inline(s.x)})"
            if not last:
                return states
            # The layer for the other direction has read everything at the first step.
            ends = (
                f"[{s.target}[:, -1, :{s.op.units}], {s.target}[:, 0, {s.op.units}:]]"
            )
            join = inline(call("mx.concatenate", ends, axis=-1))
            lines = (f"{s.target} = {states}", f"{s.target} = {join}")
            return Statements(lines, s.target)
        backward = direction == "backward"
        x = f"{s.x}[:, ::-1]" if backward else inline(s.x)
        end = "[:, -1]" if last else "[:, ::-1]" if backward else ""
        if not first:
            return f"{s.object}({x}){end}"
        states = s.target
        line = f"{states}, _ = {s.object}({x})"
        return Statements((line,), f"{states}{end}")

    def weights(s: Site) -> tuple[Weight, ...]:
        names = {"kernel": "Wx", "recurrent": "Wh", "bias": "bias"}
        if kind == "RNN":
            names |= {"kernel": "Wxh", "recurrent": "Whh"}
        if kind == "GRU":
            names |= {"bias": "b", "recurrent_bias": "bhn"}
        letters = {"kernel": "GI", "recurrent": "GH"}
        if s.op.bias == "none":
            names = {source: names[source] for source in letters}
        result = []
        for direction, end in (("forward", ""), ("backward", "_back")):
            if s.op.direction in (direction, "both"):
                inside = f"{direction}." if s.op.direction == "both" else ""
                result += [
                    Weight(inside + name, letters.get(source, "G"), (source + end,))
                    for source, name in names.items()
                ]
        return tuple(result)

    return Rule(apply, make, weights, needs=("Bidirectional",))


def _attention(s: Site) -> Any:
    width, key = s.inputs[0].size("F"), s.inputs[:2][-1].size("F")
    return call(
        "nn.MultiHeadAttention",
        width,
        s.op.heads,
        key_input_dims=unless(width, key),
        value_input_dims=unless(key, s.inputs[-1].size("F")),
        bias=unless(False, s.op.bias),
    )


def _attend(s: Site) -> Any:
    query, key, value = s.x, s.arguments[:2][-1], s.arguments[-1]
    mask = None
    if s.op.causal:
        steps = f"{inline(query)}.shape[1]"
        if s.inputs[0].size("T") != s.inputs[:2][-1].size("T"):
            raise Gap("its causal mask is a square")
        mask = call(f"{s.object}.create_additive_causal_mask", steps)
    return call(s.object, query, key, value, mask)


def _attention_weights(s: Site) -> tuple[Weight, ...]:
    result = []
    names = {"query": "query_proj", "key": "key_proj", "value": "value_proj"}
    for source, name in {**names, "output": "out_proj"}.items():
        result.append(Weight(f"{name}.weight", "OI", (f"{source}_kernel",)))
        if s.op.bias:
            result.append(Weight(f"{name}.bias", "O", (f"{source}_bias",)))
    return tuple(result)


def _along(name: str) -> Rule:
    return Rule(lambda s: call(name, s.x, axis=_axis(s, s.op.axis)))


def _matmul(s: Site) -> str:
    a, b = map(common.operand, s.arguments)
    return f"{a} @ {b}.swapaxes(-1, -2)" if s.op.transpose_b else f"{a} @ {b}"


def _listed(items: Sequence[Any]) -> str:
    return f"[{', '.join(map(inline, items))}]"


def _split(s: Site) -> Any:
    ends, total = [], 0
    for size in s.op.sizes[:-1]:
        total += size
        ends.append(total)
    axis = unless(0, _axis(s, s.op.axis))
    pieces = call("mx.split", s.x, _listed(ends), axis=axis)
    return Statements((f"{s.target} = {inline(pieces)}",), s.target)


def _slice(s: Site) -> Any:
    size = s.inputs[0].size(s.op.axis)
    if s.op.step < 0 and isinstance(size, int):
        start, stop, step = slice(s.op.start, s.op.stop, s.op.step).indices(size)
        if len(range(start, stop, step)) == 1:
            # One element that is read backwards loses its gradient in MLX.
            return f"{s.x}[{':, ' * s.axis(s.op.axis)}{start}:{start + 1}]"
    return common.sliced(s)


def _reshape(s: Site) -> Any:
    # The letters may stand in another order where all but one size is 1.
    sizes = dict(zip("N" + s.op.axes.lstrip("N"), (-1, *s.op.shape), strict=True))
    stored = s.backend.storage("".join(sizes))
    shape = (sizes[letter] for letter in stored)
    return call(f"{common.operand(s.x)}.reshape", *shape)


def _flatten(s: Site) -> Any:
    return call(f"{common.operand(s.x)}.flatten", 1)


def _permute(s: Site) -> Any:
    getattr(s.op, "axes", None)
    order = s.order()
    if order == tuple(range(len(order))):
        return s.x
    return call(f"{common.operand(s.x)}.transpose", *order)


def _pad(s: Site) -> Any:
    letters = axes.SPATIAL[_dims(s)]
    pads = dict(zip(letters, s.op.padding, strict=True))
    x = s.x
    if any(n < 0 for pair in s.op.padding for n in pair):
        if any(n > 0 for pair in s.op.padding for n in pair):
            raise Gap("it pads or crops, not both at once")
        cuts = [f"{-a or ''}:{b or ''}" for a, b in s.op.padding]
        _ = s.op.value
        return f"{common.operand(x)}[:, {', '.join(cuts)}]"
    around = [pads.get(letter, (0, 0)) for letter in s.storage()]
    value = str(s.op.value).replace("inf", "mx.inf")
    value = unless("0.0", value.replace("-mx.inf", "-mx.inf"))
    return call("mx.pad", x, _listed(around), constant_values=value)


def _reduce(name: str) -> Rule:
    def apply(s: Site) -> Any:
        over = tuple(sorted(s.axis(letter) for letter in s.op.over))
        axis: Any = over[0] if len(over) == 1 else over
        keep = unless(False, s.op.keep)
        return call(f"{common.operand(s.x)}.{name}", axis=axis, keepdims=keep)

    return Rule(apply)


def _upsample(s: Site) -> Any:
    mode = unless("nearest", s.op.mode)
    if mode and _dims(s) != 2:
        raise Gap("its linear upsampling of other than images is not bilinear")
    return call("nn.Upsample", squeeze(s.op.scale), mode='"linear"' if mode else None)


def _block(s: Site) -> Any:
    return call(s.op.block.name, **dict(s.op.arguments))


def _repeat(s: Site) -> Any:
    return f"[{inline(_block(s))} for _ in range({s.op.times})]"


def _loop(s: Site) -> Any:
    start = [] if s.x == s.target else [f"{s.target} = {s.x}"]
    loop = (f"for block in {s.object}:", f"    {s.target} = block({s.target})")
    return Statements((*start, *loop), s.target)


HELPERS = {
    "Bidirectional": '''
class Bidirectional(nn.Module):
    """Features of a layer that reads forward, then of one that reads backward."""

    def __init__(self, forward, backward):
        super().__init__()
        self.forward = forward
        self.backward = backward

    def __call__(self, x):
        ahead, back = self.forward(x), self.backward(x[:, ::-1])
        if isinstance(ahead, tuple):  # an LSTM gives its cells as well
            ahead, back = ahead[0], back[0]
        return mx.concatenate([ahead, back[:, ::-1]], axis=-1)
''',
    "avg_pool": '''
def avg_pool(pool, x, padding):
    """Means over windows, in which padding does not count."""
    padding = [(0, 0), *padding, (0, 0)]
    return pool(mx.pad(x, padding)) / pool(mx.pad(mx.ones_like(x), padding))
''',
}

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
    ops.Conv: Rule(make=_convolution, weights=_kernel),
    ops.ConvTranspose: Rule(make=_transposed, weights=_kernel),
    ops.MaxPool: Rule(make=_pool("Max")),
    ops.AvgPool: Rule(_apply_avg_pool, _make_avg_pool, needs=("avg_pool",)),
    ops.GlobalAvgPool: _global("mean"),
    ops.GlobalMaxPool: _global("max"),
    ops.BatchNorm: Rule(make=_batch_norm, weights=_affine),
    ops.LayerNorm: Rule(make=_layer_norm, weights=_affine),
    ops.GroupNorm: Rule(make=_group_norm, weights=_affine),
    ops.RMSNorm: Rule(_apply_rms_norm, _rms_norm, _affine),
    ops.Dropout: Rule(make=lambda s: call("nn.Dropout", s.op.rate)),
    ops.Embedding: Rule(
        make=lambda s: call("nn.Embedding", s.op.vocabulary, s.op.features),
        weights=(Weight("weight", "VF", ("table",)),),
    ),
    ops.SimpleRNN: _recurrent("RNN"),
    ops.LSTM: _recurrent("LSTM"),
    ops.GRU: _recurrent("GRU"),
    ops.MultiHeadAttention: Rule(_attend, _attention, _attention_weights),
    ops.Relu: common.function("nn.relu"),
    ops.LeakyRelu: Rule(
        lambda s: call("nn.leaky_relu", s.x, negative_slope=unless(0.01, s.op.slope))
    ),
    ops.Elu: Rule(lambda s: call("nn.elu", s.x, alpha=unless(1.0, s.op.alpha))),
    ops.Selu: common.function("nn.selu"),
    ops.Gelu: Rule(
        lambda s: call("nn.gelu_approx" if s.op.approximate else "nn.gelu", s.x)
    ),
    ops.Silu: common.function("nn.silu"),
    ops.Sigmoid: common.function("mx.sigmoid"),
    ops.Tanh: common.function("mx.tanh"),
    ops.Softplus: common.function("nn.softplus"),
    ops.Softmax: _along("mx.softmax"),
    ops.LogSoftmax: _along("nn.log_softmax"),
    ops.Negative: Rule(lambda s: f"-{common.operand(s.x)}"),
    ops.Exp: common.function("mx.exp"),
    ops.Log: common.function("mx.log"),
    ops.Sqrt: common.function("mx.sqrt"),
    ops.Abs: common.function("mx.abs"),
    ops.Square: common.function("mx.square"),
    ops.Clip: Rule(lambda s: call("mx.clip", s.x, s.op.low, s.op.high)),
    ops.Scale: Rule(common.scale),
    ops.Add: common.binary("+"),
    ops.Subtract: common.binary("-"),
    ops.Multiply: common.binary("*"),
    ops.Divide: common.binary("/"),
    ops.Maximum: common.function("mx.maximum"),
    ops.Minimum: common.function("mx.minimum"),
    ops.MatMul: Rule(_matmul),
    ops.Concat: Rule(
        lambda s: call(
            "mx.concatenate", _listed(s.arguments), axis=unless(0, _axis(s, s.op.axis))
        )
    ),
    ops.Split: Rule(_split),
    ops.Slice: Rule(_slice),
    ops.Reshape: Rule(_reshape),
    ops.Flatten: Rule(_flatten),
    ops.Transpose: Rule(_permute),
    Restore: Rule(_permute),
    Arrange: Rule(_permute),
    ops.Pad: Rule(_pad),
    ops.ReduceMean: _reduce("mean"),
    ops.ReduceSum: _reduce("sum"),
    ops.ReduceMax: _reduce("max"),
    ops.Upsample: Rule(make=_upsample),
    BlockCall: Rule(make=_block),
    Repeat: Rule(_loop, _repeat),
}

LOSSES = {
    recipe.SoftmaxCrossEntropy: call(
        "nn.losses.cross_entropy", "model(x)", "y", reduction=quoted("mean")
    ),
    recipe.MeanSquaredError: call("nn.losses.mse_loss", "model(x)", "y"),
}


def _sgd(o: recipe.SGD) -> Any:
    return call(
        "optim.SGD",
        learning_rate=o.rate,
        momentum=o.momentum or None,
        weight_decay=o.weight_decay or None,
        nesterov=unless(False, o.nesterov),
    )


def _adam(o: recipe.Adam) -> Any:
    if o.epsilon_form != "after":
        raise Gap("its Adam adds epsilon after the correction")
    betas = unless((0.9, 0.999), (o.beta1, o.beta2))
    return call(
        "optim.AdamW" if o.weight_decay else "optim.Adam",
        learning_rate=o.rate,
        betas=_listed(betas) if betas else None,
        eps=unless(1e-8, o.epsilon),
        weight_decay=o.weight_decay or None,
        # Left out, the first steps are too long.
        bias_correction=True,
    )


OPTIMIZERS: dict[type[recipe.Optimizer], Any] = {recipe.SGD: _sgd, recipe.Adam: _adam}

INITIALIZERS: dict[type[recipe.Initializer], Any] = {
    recipe.GlorotUniform: lambda i: "nn.init.glorot_uniform()",
    recipe.Zeros: lambda i: "nn.init.constant(0)",
    recipe.Ones: lambda i: "nn.init.constant(1)",
    recipe.Uniform: lambda i: f"nn.init.uniform(-{i.limit}, {i.limit})",
}

# --- Rewrites -------------------------------------------------------------------------


def _max_first(op: ops.MaxPool) -> Sequence[ops.Op]:
    """Padding that never wins, where the layer cannot pad as asked."""
    even = all(before == after for before, after in op.padding)
    if even and not op.ceil:
        return (op,)
    none = ((0, 0),) * len(op.kernel)
    lowest = ops.Pad(overhang(op), float("-inf"))
    return (lowest, ops.MaxPool(op.kernel, op.stride, none, ties=op.ties))


def _mean_first(op: ops.AvgPool) -> Sequence[ops.Op]:
    """Padding that counts may be added beforehand."""
    uneven = any(before != after for before, after in op.padding)
    return pad_first(op) if op.count_padding and uneven and not op.ceil else (op,)


REWRITES: dict[type[ops.Op], Any] = {
    ops.Conv: pad_first_if_uneven,
    ops.MaxPool: _max_first,
    ops.AvgPool: _mean_first,
}

# --- The frame ------------------------------------------------------------------------

CLASS = """
class $name(nn.Module):
    def __init__(self$parameters):
        super().__init__()
        $make

    def __call__(self, $inputs):
        $apply
"""

WITHOUT_LAYERS = """
class $name(nn.Module):
    def __call__(self, $inputs):
        $apply
"""

INITIALIZE = '''
# 3. Loss, optimizer, initial weights
def initialize(model):
    """$about"""
    $initialize


'''

SETUP = '''
$first
def build(seed=0):
    """Create the network$and_optimizer."""
    mx.random.seed(seed)
    $build


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    model.load_weights(path)


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    np.savez(path, **dict(tree_flatten(model.parameters())))
'''

STEP = '''
def loss_fn(model, x, y):
    return $loss


def train_step(model, optimizer, x, y):
    """Make one optimizer step on a batch; return its loss."""
    model.train()
    loss_and_grad = nn.value_and_grad(model, loss_fn)
    loss, gradients = loss_and_grad(model, mx.array(x), mx.array(y))
    optimizer.update(model, gradients)
    mx.eval(loss, model.parameters(), optimizer.state)
    return loss
'''

PREDICT = '''
# $number. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    model.eval()
    return np.array(model(mx.array(x)))
'''


def _initialize(parts: Parts) -> list[str]:
    """What the layers of MLX draw themselves is drawn anew by the recipe."""
    assert parts.recipe is not None
    inits = parts.recipe.initializers
    found = [node.op for node in parts.graph.flat().nodes]
    if any(isinstance(op, ops.SimpleRNN) for op in found) and (
        inits.kernel != inits.recurrent
    ):
        raise Gap("all kernels are drawn from one distribution")
    kernel = INITIALIZERS[type(inits.kernel)](inits.kernel)
    bias = "mx.zeros_like(w)"
    if not isinstance(inits.bias, recipe.Zeros):
        bias = INITIALIZERS[type(inits.bias)](inits.bias) + "(w)"
    norms = [
        name
        for kind, name in (
            (ops.BatchNorm, "nn.BatchNorm"),
            (ops.GroupNorm, "nn.GroupNorm"),
            (ops.LayerNorm, "nn.LayerNorm"),
            (ops.RMSNorm, "nn.RMSNorm"),
        )
        if any(isinstance(op, kind) and op.scale for op in found)
    ]
    special: list[tuple[str, list[str]]] = []
    if any(isinstance(op, ops.Embedding) for op in found):
        rule = INITIALIZERS[type(inits.embedding)](inits.embedding)
        special.append(("nn.Embedding", [f"layer.weight = {rule}(layer.weight)"]))
    forget = {
        op.forget_bias for op in found if isinstance(op, ops.LSTM) and op.bias != "none"
    }
    if len(forget) > 1:
        raise Gap("all forget gates start with one bias")
    if forget and forget != {0.0}:
        number = inline(forget.pop()).removesuffix(".0")
        line = f"layer.bias[layer.hidden_size : 2 * layer.hidden_size] = {number}"
        special.append(("nn.LSTM", [f"{line}  # the forget gate"]))
    if norms:
        names = norms[0] if len(norms) == 1 else f"({', '.join(norms)})"
        special.append((names, ["layer.weight = mx.ones_like(layer.weight)"]))
    lines = [
        f"kernel = {kernel}",
        *(
            row[4:]
            for row in layout(
                "    ",
                call(
                    "model.apply",
                    f"lambda w: kernel(w) if w.ndim > 1 else {bias}",
                    "nn.Module.trainable_parameter_filter"
                    if ops.BatchNorm in parts.operations
                    else None,
                ),
            )
        ),
    ]
    if special:
        lines.append("for layer in model.modules():")
        word = "if"
        for names, body in special:
            lines.append(f"    {word} isinstance(layer, {names}):")
            lines += [f"        {line}" for line in body]
            word = "elif"
    return lines


def frame(parts: Parts) -> list[Section]:
    """The program around the network."""
    classes: list[str | Line] = []
    for scope in (*parts.blocks, parts.network):
        template = CLASS if scope.make else WITHOUT_LAYERS
        classes += [*common.class_lines(scope, template), "", ""]
    written = "\n".join(c if isinstance(c, str) else c.text for c in classes)
    helpers: list[str | Line] = []
    for name, text in HELPERS.items():
        if re.search(rf"(?<![\w.]){name}\(", written):
            helpers += [*text.strip().split("\n"), "", ""]
    made = f"{parts.network.name}()"
    build = [f"return {made}"]
    initialize: list[str] = []
    if parts.recipe:
        initialize = _initialize(parts)
        optimizer = OPTIMIZERS[type(parts.recipe.optimizer)](parts.recipe.optimizer)
        rows = [row[4:] for row in layout("    optimizer = ", optimizer)]
        build = [
            f"model = {made}",
            "initialize(model)",
            *rows,
            "return model, optimizer",
        ]
    imports = ["import mlx.core as mx"]
    if parts.recipe:
        imports.append("import mlx.optimizers as optim")
    imports += ["import numpy as np", "from mlx import nn"]
    imports.append("from mlx.utils import tree_flatten")
    step = "# 3. Loss, optimizer, initial weights"
    setup = SETUP
    if initialize:
        setup = (
            INITIALIZE.rstrip("\n")
            + "\n\n\n"
            + SETUP.replace("$first\n", "").strip("\n")
        )
    setup = setup.replace("$first", step)
    sections = [
        common.head(
            parts,
            imports,
            (),
            first=("import argparse", *(() if parts.recipe else ("import time",)), ""),
        ),
        common.load_data(parts),
        Section(
            "network",
            "# 2. The network\n$classes",
            {"classes": [*helpers, *classes[:-2]]},
        ),
        Section(
            "setup",
            setup,
            {
                "about": "Draw the weights anew: MLX has distributions of its own.",
                "initialize": initialize,
                "and_optimizer": " and its optimizer" if parts.recipe else "",
                "build": build,
            },
        ),
    ]
    if not parts.recipe:
        predict = Section("predict", PREDICT, {"number": "4"})
        return [*sections, predict, common.extract(), common.main(parts, "model")]
    return [
        *sections,
        common.batches(),
        Section(
            "train",
            STEP,
            {"loss": inline(LOSSES[type(parts.recipe.loss)])},
        ),
        common.train(parts, "mx.stack(losses).mean().item()"),
        Section("predict", PREDICT, {"number": "5"}),
        common.evaluate(parts),
        common.main(parts),
    ]


backend = Backend(
    name="mlx",
    title="MLX",
    home="https://ml-explore.github.io/mlx",
    since="2023",
    licence="MIT",
    language="C++, Metal and Python",
    style="module classes",
    storage=axes.channels_last,
    env=ENV,
    barrier="lambda: sum(p.sum() for _, p in tree_flatten(model.parameters())).item()",
    rules=RULES,
    losses=LOSSES,
    optimizers=OPTIMIZERS,
    initializers=INITIALIZERS,
    frame=frame,
    rewrites=REWRITES,
    forms={
        ops.SimpleRNN: ({"bias": "one"}, {"bias": "none"}),
        ops.LSTM: ({"bias": "one"}, {"bias": "none"}),
        ops.GRU: (
            {"reset": "after", "bias": "candidate"},
            {"reset": "after", "bias": "none"},
        ),
        ops.MaxPool: ({"ties": "shared"},),
        ops.BatchNorm: ({"unbiased": False},),
        recipe.Adam: ({"epsilon_form": "after"},),
    },
    helpers=HELPERS,
    # The numbers in its layers and optimizers are float32, whatever the arrays are.
    dtypes=("float32",),
)

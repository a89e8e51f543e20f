"""Caffe: a NetSpec that is written as prototxt, a solver, nets that share weights."""

from __future__ import annotations

import dataclasses
import keyword
import math
from collections.abc import Sequence
from typing import Any

from netglot import axes, ops, recipe
from netglot.backend import Backend, Env, Gap, Parts, Rule, Section, Shim, Site, Weight
from netglot.backends import common
from netglot.emit import function_name
from netglot.graph import Call as BlockCall
from netglot.graph import Node, Repeat
from netglot.source import Line, Statements, call, inline, layout, squeeze, unless

# --- Facts ----------------------------------------------------------------------------

ENV = Env(
    python=("3.11",),
    # Version 5 no longer reads networks of Caffe.
    requirements=(
        "opencv-python-headless==4.14.0.94",
        "protobuf==7.36.2",
        "numpy==2.4.6",
    ),
    imports=("caffe",),
    variables={"GLOG_minloglevel": "2"},
    lock="caffe",
    shims=(
        Shim(
            "caffe",
            "Caffe has no wheels: its NetSpec, and its Net on the DNN module of OpenCV",
            "package",
        ),
    ),
    forward_only="OpenCV runs Caffe's networks forward; only Caffe itself trains them",
)

# --- Rules ----------------------------------------------------------------------------

#: What never looks again at the value that it gave, so that a next layer may change it.
_FORGETS = (
    ops.Conv,
    ops.ConvTranspose,
    ops.Dense,
    ops.MaxPool,
    ops.AvgPool,
    ops.BatchNorm,
    ops.Add,
    ops.Relu,
    ops.Dropout,
)
#: The variable of the program that holds the filler of Glorot and Bengio.
XAVIER = "XAVIER"
#: What a NetSpec has besides its layers.
_METHODS = ("keys", "to_proto", "tops", "update", "vals")


def variable(name: str) -> str:
    """``n.conv1``: a layer of the network, by its name."""
    plain = name.isidentifier() and not keyword.iskeyword(name)
    return f"n.{name}" if plain and name not in _METHODS else f'n["{name}"]'


def _list(values: Sequence[Any]) -> str:
    return f"[{', '.join(map(inline, values))}]"


def _dict(**items: Any) -> str:
    pairs = (f'"{name}": {inline(value)}' for name, value in items.items())
    return f"{{{', '.join(pairs)}}}"


def _written(s: Site, *layers: tuple[str, Any]) -> Any:
    """Layers one after the other; each is called as the node and what is given."""
    if not s.in_block and len(layers) == 1:
        return layers[0][1]
    lines: list[str] = []
    value = ""
    for end, layer in layers:
        value = variable(s.name + end)
        target = value
        if s.in_block:
            value = s.target
            target = f'{value} = n[f"{{name}}/{s.name}{end}"]'
        rows = layout(f"    {target} = ", layer)
        lines += [row[4:] for row in rows]
    return Statements(tuple(lines), value)


def _so_far(s: Site, end: str) -> str:
    """What the layer before the last of ``_written`` gives."""
    return s.target if s.in_block else variable(s.name + end)


def _layer(layer: str, **fixed: Any) -> Rule:
    """A layer without weights."""
    return Rule(lambda s: _written(s, ("", call(f"L.{layer}", *s.arguments, **fixed))))


def _in_place(s: Site) -> Any:
    """Written over what it reads, where nobody looks at that again."""
    return True if isinstance(s.before, _FORGETS) and s.readers else None


def _activation(layer: str, **fixed: Any) -> Rule:
    """One whose gradient is known from what it gives."""

    def write(s: Site) -> Any:
        keywords = {name: make(s) for name, make in fixed.items()}
        over = _in_place(s)
        if layer == "Sigmoid" and isinstance(s.before, ops.Relu):
            # A ReLU that is written over must still be seen to be 0 where it was.
            over = None
        made = call(f"L.{layer}", s.x, **keywords, in_place=over)
        return _written(s, ("", made))

    return Rule(write)


def _fillers(s: Site, bias: bool) -> dict[str, Any]:
    fillers = {"weight_filler": s.initial("kernel")}
    if fillers["weight_filler"] == XAVIER and len(s.inputs[0].axes) > 4:
        raise Gap("its Xavier filler ends the process at a kernel of five axes")
    if bias:
        fillers["bias_filler"] = s.initial("bias")
    return fillers


def _dense(s: Site) -> Any:
    layer = call(
        "L.InnerProduct",
        s.x,
        num_output=s.op.features,
        axis=unless(1, s.axis("F")),
        bias_term=unless(True, s.op.bias),
        **_fillers(s, s.op.bias),
    )
    return _written(s, ("", layer))


def _each(name: str, values: tuple[Any, ...], default: int = -1) -> dict[str, Any]:
    """``pad=1``, or ``pad_h=2, pad_w=1`` where they differ."""
    one = squeeze(values)
    if not isinstance(one, tuple):
        return {} if one == default else {name: one}
    if len(values) != 2:
        return {name: _list(values)}
    stem = "kernel" if name == "kernel_size" else name
    return {f"{stem}_h": values[0], f"{stem}_w": values[1]}


def _window(s: Site) -> dict[str, Any]:
    if any(before != after for before, after in s.op.padding):
        raise Gap("it pads both sides alike")
    pads = tuple(before for before, _ in s.op.padding)
    return {
        **_each("kernel_size", s.op.kernel),
        **_each("stride", s.op.stride, 1),
        **_each("pad", pads, 0),
    }


def _convolution(s: Site) -> Any:
    dilation = squeeze(s.op.dilation)
    layer = call(
        "L.Convolution",
        s.x,
        num_output=s.op.channels,
        **_window(s),
        dilation=_list(dilation)
        if isinstance(dilation, tuple)
        else unless(1, dilation),
        group=unless(1, s.op.groups),
        bias_term=unless(True, s.op.bias),
        **_fillers(s, s.op.bias),
    )
    return _written(s, ("", layer))


def _transposed(s: Site) -> Any:
    if squeeze(s.op.output_padding) != 0:
        raise Gap("its deconvolution has no output padding")
    dilation = squeeze(s.op.dilation)
    inner = call(
        "dict",
        num_output=s.op.channels,
        **_window(s),
        dilation=_list(dilation)
        if isinstance(dilation, tuple)
        else unless(1, dilation),
        group=unless(1, s.op.groups),
        bias_term=unless(True, s.op.bias),
        **_fillers(s, s.op.bias),
    )
    return _written(s, ("", call("L.Deconvolution", s.x, convolution_param=inner)))


def _overhangs(s: Site) -> bool:
    """Whether some last window may not fit, which Caffe keeps unless told otherwise."""
    for letter, k, n, pads in zip(
        s.inputs[0].axes[2:], s.op.kernel, s.op.stride, s.op.padding, strict=True
    ):
        size = s.inputs[0].size(letter)
        if not isinstance(size, int) or (size + sum(pads) - k) % n:
            return True
    return False


def _pool(method: str) -> Any:
    def write(s: Site) -> Any:
        if len(s.op.kernel) != 2:
            raise Gap("it pools images alone")
        if method == "MAX" and s.op.ties != "first":
            raise Gap("of equal values the first has the gradient (form ties='first')")
        padded = any(before for before, _ in s.op.padding)
        if method == "AVE" and not s.op.count_padding and padded:
            raise Gap("padding counts in its means")
        window = _window(s)
        if any(b >= k for k, (b, _) in zip(s.op.kernel, s.op.padding, strict=True)):
            raise Gap("it pads by less than a window")
        if s.op.ceil and any(
            n > k for k, n in zip(s.op.kernel, s.op.stride, strict=True)
        ):
            raise Gap("a last window of it may lie outside of the values")
        floor = not s.op.ceil and _overhangs(s)
        layer = call(
            "L.Pooling",
            s.x,
            pool=f"P.Pooling.{method}",
            **window,
            round_mode="P.Pooling.FLOOR" if floor else None,
        )
        return _written(s, ("", layer))

    return write


def _global(method: str) -> Rule:
    def write(s: Site) -> Any:
        if len(s.inputs[0].axes) != 4:
            raise Gap("it pools images alone")
        pool = call("L.Pooling", s.x, pool=f"P.Pooling.{method}", global_pooling=True)
        if s.readers and all(isinstance(op, ops.Dense) for op in s.readers):
            return _written(s, ("", pool))
        flat = call("L.Flatten", _so_far(s, "_map"))
        return _written(s, ("_map", pool), ("", flat))

    return Rule(write)


def _flatten(s: Site) -> Any:
    # A fully connected layer reads an image as it is.
    if s.readers and all(isinstance(op, ops.Dense) for op in s.readers):
        return Statements((), s.x)
    return _written(s, ("", call("L.Flatten", s.x)))


def _batch_norm(s: Site) -> Any:
    if s.recipe and not s.op.unbiased:
        raise Gap("its running variance is the unbiased one (form unbiased=True)")
    _, momentum = s.op.unbiased, s.op.momentum
    # As a network that is trained or not, it is the same before and after.
    norm = call(
        "L.BatchNorm",
        s.x,
        moving_average_fraction=unless(0.999, momentum) if s.recipe else None,
        eps=unless(1e-5, s.op.epsilon),
        in_place=_in_place(s),
    )
    if not (s.op.scale or s.op.shift):
        return _written(s, ("", norm))
    x = _so_far(s, "")
    over = True if s.readers else None
    if s.op.scale:
        bias = True if s.op.shift else None
        affine = call("L.Scale", x, bias_term=bias, in_place=over)
    else:
        affine = call("L.Bias", x, in_place=over)
    return _written(s, ("", norm), (_AFFINE, affine))


#: What is added to the name of a normalisation for the layer with what it learns.
_AFFINE = "_scale"


def _statistics(s: Site) -> tuple[Weight, ...]:
    letter = "C" if "C" in s.inputs[0].axes else "F"
    learned = [name for name in ("scale", "shift") if getattr(s.op, name)]
    return (
        Weight(".0", letter, ("mean",)),
        Weight(".1", letter, ("variance",)),
        *(Weight(f"{_AFFINE}.{i}", letter, (name,)) for i, name in enumerate(learned)),
    )


def _softmax(logarithm: bool) -> Rule:
    def write(s: Site) -> Any:
        shares = call("L.Softmax", s.x, axis=unless(1, s.axis(s.op.axis)))
        if not logarithm:
            return _written(s, ("", shares))
        log = call("L.Log", _so_far(s, "_shares"))
        return _written(s, ("_shares", shares), ("", log))

    return Rule(write)


def _power(s: Site) -> Any:
    layer = call(
        "L.Power", s.x, scale=unless(1, s.op.factor), shift=unless(0, s.op.offset)
    )
    return _written(s, ("", layer))


def _selu(s: Site) -> Any:
    elu = call("L.ELU", s.x, alpha=1.6732632423543772)
    scaled = call("L.Power", _so_far(s, "_elu"), scale=1.0507009873554805)
    return _written(s, ("_elu", elu), ("", scaled))


def _silu(s: Site) -> Any:
    # Both layers read the one value.
    gate = call("L.Sigmoid", s.x)
    product = call("L.Eltwise", s.x, gate, operation="P.Eltwise.PROD")
    return _written(s, ("", product))


def _eltwise(operation: str = "", **keywords: Any) -> Rule:
    def write(s: Site) -> Any:
        if s.inputs[0].shape != s.inputs[1].shape:
            raise Gap("it repeats no axes of size 1")
        named = f"P.Eltwise.{operation}" if operation else None
        return _written(
            s, ("", call("L.Eltwise", *s.arguments, operation=named, **keywords))
        )

    return Rule(write)


def _divide(s: Site) -> Any:
    if s.inputs[0].shape != s.inputs[1].shape:
        raise Gap("it repeats no axes of size 1")
    inverse = call("L.Power", s.arguments[1], power=-1)
    product = call("L.Eltwise", s.x, inverse, operation="P.Eltwise.PROD")
    return _written(s, ("", product))


def _concat(s: Site) -> Any:
    axis = unless(1, s.axis(s.op.axis))
    return _written(s, ("", call("L.Concat", *s.arguments, axis=axis)))


def _split(s: Site) -> Any:
    points = [sum(s.op.sizes[:i]) for i in range(1, len(s.op.sizes))]
    if not points:
        raise Gap("it cuts into two pieces or more")
    if s.in_block:
        raise Gap("the pieces of a block that is used many times have no names")
    return call(
        "L.Slice",
        s.x,
        axis=unless(1, s.axis(s.op.axis)),
        slice_point=squeeze(tuple(points)) if len(points) == 1 else _list(points),
        ntop=len(points) + 1,
    )


def _slice(s: Site) -> Any:
    size = s.inputs[0].size(s.op.axis)
    if s.op.step != 1 or not isinstance(size, int):
        raise Gap("it cuts where it is told, without steps between")
    start, stop, _ = slice(s.op.start, s.op.stop).indices(size)
    points = [p for p in (start, stop) if 0 < p < size]
    if not points:
        raise Gap("it cuts into two pieces or more")
    pieces = call(
        "L.Slice",
        s.x,
        axis=unless(1, s.axis(s.op.axis)),
        slice_point=_list(points) if len(points) > 1 else points[0],
        ntop=len(points) + 1,
    )
    return _written(s, ("", f"{inline(pieces)}[{1 if start else 0}]"))


def _reshape(s: Site) -> Any:
    _ = s.op.axes
    dims = _dict(dim=_list([0, *s.op.shape]))
    return _written(s, ("", call("L.Reshape", s.x, shape=dims)))


def _reduce(operation: str) -> Any:
    def write(s: Site) -> Any:
        gone = sorted(s.axis(letter) for letter in s.op.over)
        rank = len(s.inputs[0].axes)
        if gone != list(range(gone[0], rank)):
            raise Gap("it reduces an axis and all after it")
        reduced = call(
            "L.Reduction", s.x, operation=f"P.Reduction.{operation}", axis=gone[0]
        )
        if not s.op.keep:
            return _written(s, ("", reduced))
        dims = _dict(dim=_list([0] * gone[0] + [1] * len(gone)))
        kept = call("L.Reshape", _so_far(s, "_sum"), shape=dims)
        return _written(s, ("_sum", reduced), ("", kept))

    return write


def _embedding(s: Site) -> Any:
    layer = call(
        "L.Embed",
        s.x,
        input_dim=s.op.vocabulary,
        num_output=s.op.features,
        bias_term=False,
        weight_filler=s.initial("table"),
    )
    return _written(s, ("", layer))


def _block(s: Site) -> Any:
    """``bottleneck(n, "stage1_first", x, channels=64)``."""
    function, sizes = function_name(s.op.block.name), dict(s.op.arguments)
    scope = "{name}/" if s.in_block else ""
    times = getattr(s.op, "times", None)
    if times is None:
        name = f'"{scope}{s.name}"'
        return call(function, "n", f"f{name}" if scope else name, *s.arguments, **sizes)
    name = f'f"{scope}{s.name}_{{i}}"'
    use = call(function, "n", name, s.target, **sizes)
    lines = [] if inline(s.x) == s.target else [f"{s.target} = {inline(s.x)}"]
    rows = layout(f"        {s.target} = ", use)
    lines += [f"for i in range({times}):", *(row[4:] for row in rows)]
    return Statements(tuple(lines), s.target)


_KERNEL = (Weight(".0", "OI", ("kernel",)), Weight(".1", "O", ("bias",)))


def _kernel(order: str) -> Any:
    def weights(s: Site) -> tuple[Weight, ...]:
        kernel = Weight(".0", order + s.inputs[0].axes[2:], ("kernel",))
        return (kernel, *_KERNEL[1:]) if s.op.bias else (kernel,)

    return weights


RULES: dict[type[ops.Op], Rule] = {
    ops.Dense: Rule(_dense, weights=_KERNEL),
    ops.Conv: Rule(_convolution, weights=_kernel("OI")),
    ops.ConvTranspose: Rule(_transposed, weights=_kernel("IO")),
    ops.MaxPool: Rule(_pool("MAX")),
    ops.AvgPool: Rule(_pool("AVE")),
    ops.GlobalAvgPool: _global("AVE"),
    ops.GlobalMaxPool: _global("MAX"),
    ops.BatchNorm: Rule(_batch_norm, weights=_statistics),
    ops.Dropout: _activation("Dropout", dropout_ratio=lambda s: s.op.rate),
    ops.Embedding: Rule(_embedding, weights=(Weight(".0", "VF", ("table",)),)),
    ops.Relu: _activation("ReLU"),
    ops.LeakyRelu: _activation("ReLU", negative_slope=lambda s: s.op.slope),
    ops.Elu: _activation("ELU", alpha=lambda s: unless(1.0, s.op.alpha)),
    ops.Selu: Rule(_selu),
    ops.Silu: Rule(_silu),
    ops.Sigmoid: _activation("Sigmoid"),
    ops.Tanh: _activation("TanH"),
    # Its gradient looks at what it read: it is never written over that.
    ops.Softplus: _layer("BNLL"),
    ops.Softmax: _softmax(False),
    ops.LogSoftmax: _softmax(True),
    ops.Negative: _layer("Power", scale=-1),
    ops.Exp: _layer("Exp"),
    ops.Log: _layer("Log"),
    ops.Sqrt: _layer("Power", power=0.5),
    ops.Square: _layer("Power", power=2),
    ops.Abs: _layer("AbsVal"),
    ops.Scale: Rule(_power),
    ops.Add: _eltwise(),
    ops.Subtract: _eltwise(coeff="[1, -1]"),
    ops.Multiply: _eltwise("PROD"),
    ops.Divide: Rule(_divide),
    ops.Maximum: _eltwise("MAX"),
    ops.Concat: Rule(_concat),
    ops.Split: Rule(_split),
    ops.Slice: Rule(_slice),
    ops.Reshape: Rule(_reshape),
    ops.Flatten: Rule(_flatten),
    ops.ReduceMean: Rule(_reduce("MEAN")),
    ops.ReduceSum: Rule(_reduce("SUM")),
    BlockCall: Rule(_block),
    Repeat: Rule(_block),
}

#: Also how the scores and the target are called; a mean over the batch alone, halved.
LOSSES: dict[type[recipe.Loss], str] = {
    recipe.SoftmaxCrossEntropy: "SoftmaxWithLoss",
    recipe.MeanSquaredError: "EuclideanLoss",
}


def _sgd(o: recipe.SGD) -> dict[str, Any]:
    if o.nesterov and not o.momentum:
        raise Gap("its Nesterov solver has momentum")
    return {
        "type": '"Nesterov"' if o.nesterov else '"SGD"',
        "base_lr": o.rate,
        "lr_policy": '"fixed"',
        "momentum": unless(0.0, o.momentum),
        "weight_decay": unless(0.0, o.weight_decay),
    }


def _adam(o: recipe.Adam) -> dict[str, Any]:
    if o.weight_decay:
        raise Gap("its Adam adds the decay to the gradient")
    if o.epsilon_form != "before":
        raise Gap("its Adam corrects the rate alone (form epsilon_form='before')")
    return {
        "type": '"Adam"',
        "base_lr": o.rate,
        "lr_policy": '"fixed"',
        "momentum": o.beta1,
        "momentum2": unless(0.999, o.beta2),
        "delta": unless(1e-8, o.epsilon),
    }


OPTIMIZERS: dict[type[recipe.Optimizer], Any] = {recipe.SGD: _sgd, recipe.Adam: _adam}

INITIALIZERS: dict[type[recipe.Initializer], Any] = {
    recipe.GlorotUniform: lambda i: XAVIER,
    recipe.Zeros: lambda i: None,
    recipe.Ones: lambda i: _dict(type='"constant"', value=1),
    recipe.Uniform: lambda i: _dict(type='"uniform"', min=-i.limit, max=i.limit),
}

# --- Missing --------------------------------------------------------------------------

_STEPS = (
    "its recurrent layers read the steps of all sequences before the next, beside a "
    "marker of where each begins, and it has no layer that turns axes"
)
MISSING: dict[type[ops.Op], str] = {
    ops.LayerNorm: "Caffe's MVN adds its epsilon to the deviation, not to the variance",
    ops.RMSNorm: "Caffe has no RMS normalisation",
    ops.GroupNorm: "Caffe has no group normalisation",
    ops.SimpleRNN: f"Caffe: {_STEPS}",
    ops.LSTM: f"Caffe: {_STEPS}",
    ops.GRU: "Caffe has no GRU",
    ops.MultiHeadAttention: "Caffe has no attention",
    ops.Gelu: "Caffe has no GELU",
    ops.Clip: "Caffe 1.0 has no layer that clips values",
    ops.Minimum: "Caffe's Eltwise has a maximum and no minimum",
    ops.MatMul: "Caffe has no product of two values that are matrices",
    ops.Transpose: "Caffe has no layer that turns axes",
    ops.Pad: "Caffe pads inside of convolutions and pools alone",
    ops.ReduceMax: "Caffe's Reduction sums, and takes no maximum",
    ops.Upsample: "Caffe has no upsampling layer",
}

# --- The frame ------------------------------------------------------------------------

FUNCTION = """
def $function(n, name, $inputs$parameters):
    $apply
"""

NETWORK = '''
def $function($train):
    """$about"""
    n = caffe.NetSpec()
    n.$data = L.Input($shape)
    $body
    $loss
    return n.to_proto()
'''

PROTOTXT = '''
def prototxt(name, message):
    """Write $what beside this file, as text; return the path."""
    path = Path(__file__).with_name(f"$stem_{name}.prototxt")
    path.write_text(str(message))
    return str(path)
'''

TRAINED = '''
# 3. Loss, optimizer, initial weights
$prototxt


def build(seed=0):
    """Create the net that predicts and the solver, whose net has the same weights."""
    $solver
    solver = caffe.get_solver(prototxt("solver", parameters))
    $statistics
    model = caffe.Net(prototxt("deploy", $function()), caffe.TEST)
    model.share_with(solver.net)
    return model, solver
'''

FORWARD = '''
# 3. Initial weights
$prototxt


def build(seed=0):
    """Create the net."""
    caffe.set_random_seed(seed)
    return caffe.Net(prototxt("deploy", $function()), caffe.TEST)
'''

WEIGHTS = '''
def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    for layer, blobs in model.params.items():
        for i, blob in enumerate(blobs):
            blob.data[...] = arrays[f"{layer}.{i}"]


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    arrays = {}
    for layer, blobs in model.params.items():
        for i, blob in enumerate(blobs):
            arrays[f"{layer}.{i}"] = blob.data
    np.savez(path, **arrays)
'''

#: With normalisations, in a network that is only run forward.
STATISTICS = '''
def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    for layer, blobs in model.params.items():
        for i, blob in enumerate(blobs[:2]):
            blob.data[...] = arrays[f"{layer}.{i}"]
        if len(blobs) == 3:  # BatchNorm divides its statistics by the third.
            blobs[2].data[...] = 1


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    arrays = {}
    for layer, blobs in model.params.items():
        for i, blob in enumerate(blobs[:2]):
            arrays[f"{layer}.{i}"] = blob.data
    np.savez(path, **arrays)
'''

#: With normalisations, whose statistics are sums over batches.
SUMS = '''
def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    for layer, blobs in model.params.items():
        weight = 1
        if len(blobs) == 3:  # BatchNorm: sums over batches, and of how many.
            weight = blobs[2].data[...] = $count
        for i, blob in enumerate(blobs[:2]):
            blob.data[...] = arrays[f"{layer}.{i}"] * weight


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    arrays = {}
    for layer, blobs in model.params.items():
        weight = blobs[2].data if len(blobs) == 3 else 1
        for i, blob in enumerate(blobs[:2]):
            arrays[f"{layer}.{i}"] = blob.data / weight
    np.savez(path, **arrays)
'''

STEP = '''
def train_step(model, solver, x, y):
    """Make one optimizer step on a batch; return its loss."""
    blobs = solver.net.blobs
    for name, array in (("$data", x), ("$label", y)):
        blobs[name].reshape(*array.shape)
        blobs[name].data[...] = array
    solver.step(1)
    return $value
'''

PREDICT = '''
# $number. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    model.blobs["$data"].reshape(*x.shape)
    return model.forward($data=x)["$scores"].copy()
'''


def _output(nodes: Sequence[Node], value: str) -> str:
    """The blob that holds a value: named as its layer, in the scopes of its blocks."""
    node = next(node for node in nodes if value in node.outputs)
    if isinstance(node.op, BlockCall):
        scope = node.name
        if isinstance(node.op, Repeat):
            scope += f"_{node.op.times - 1}"
        block = node.op.block
        return f"{scope}/{_output(block.nodes, block.outputs[0])}"
    if isinstance(node.op, ops.BatchNorm) and (node.op.scale or node.op.shift):
        return node.name + _AFFINE
    return node.name if len(node.outputs) == 1 else value


def _network(parts: Parts, names: dict[str, str]) -> list[str | Line]:
    """The function that writes the network, for training as well."""
    type_ = parts.graph.inputs[0][1]
    shape = ["BATCH_SIZE", *type_.shape[1:]]
    slots: dict[str, Any] = {
        "function": parts.network.function,
        "train": "train=False" if parts.recipe else "",
        "about": "The network, in training with its loss."
        if parts.recipe
        else "The network.",
        "data": names["data"],
        "shape": f"shape={_dict(dim=_list(shape))}",
    }
    lines: list[str | Line] = []
    for row in NETWORK.strip("\n").split("\n"):
        if row == "    $body":
            lines += [
                Line(f"    {line.text}", line.node) for line in parts.network.body
            ]
        elif row == "    $loss":
            lines += [f"    {text}" for text in _loss(parts, names)]
        else:
            for name, value in slots.items():
                row = row.replace(f"${name}", value)
            lines.append(row)
    return lines


def _loss(parts: Parts, names: dict[str, str]) -> list[str]:
    if parts.recipe is None:
        return []
    label, loss = names["label"], names["loss"]
    output = parts.graph.types()[parts.graph.outputs[0]]
    labels = isinstance(parts.recipe.loss, recipe.SoftmaxCrossEntropy)
    if not labels and len(output.axes) > 4:
        raise Gap("its Euclidean loss ends the process at values of five axes")
    shape = ["BATCH_SIZE", *(() if labels else output.shape[1:])]
    made = call(
        f"L.{LOSSES[type(parts.recipe.loss)]}",
        parts.network.value,
        f"n.{label}",
        # It is half of the sum over the features.
        loss_weight=None if labels else f"2 / {_features(parts)}",
    )
    rows = layout(f"        n.{loss} = ", made)
    given = call("L.Input", shape=_dict(dim=_list(shape)))
    return [
        "if train:",
        *(row[4:] for row in layout(f"        n.{label} = ", given)),
        *(row[4:] for row in rows),
    ]


def _features(parts: Parts) -> int:
    shape: Any = parts.graph.types()[parts.graph.outputs[0]].shape[1:]
    return math.prod(shape)


def _normalisations(parts: Parts) -> set[float]:
    """The shares of running statistics that the network keeps."""
    flat = parts.graph.flat().nodes
    return {n.op.momentum for n in flat if isinstance(n.op, ops.BatchNorm)}


def _count(parts: Parts) -> str:
    """Of how many batches a running statistic is the sum."""
    found = _normalisations(parts)
    if len(found) > 1:
        raise Gap("all its normalisations keep the same share of their statistics")
    # So many that each step keeps the share: Caffe would begin with none.
    return f"1 / (1 - {found.pop()})"


def frame(parts: Parts) -> list[Section]:
    """The program around the network."""
    taken = {node.name for node in parts.graph.nodes}
    names = {
        name: name if name not in taken else f"{name}_"
        for name in ("data", "label", "loss")
    }
    if names["data"] != "data":
        raise Gap("a node has the name of the network's input")
    lines: list[str | Line] = []
    for scope in parts.blocks:
        lines += [*common.class_lines(scope, FUNCTION), "", ""]
    lines += _network(parts, names)
    stem = parts.workload.name.replace("-", "_")
    slots: dict[str, Any] = {
        **names,
        "function": parts.network.function,
        "prototxt": PROTOTXT.replace("$stem", stem)
        .replace("$what", "a net or a solver" if parts.recipe else "a net")
        .strip("\n")
        .split("\n"),
    }
    text = WEIGHTS
    if _normalisations(parts):
        text = SUMS if parts.recipe else STATISTICS
        slots["count"] = _count(parts) if parts.recipe else ""
    data = common.load_data(parts)
    written = Section("network", "# 2. The network\n$classes", {"classes": lines})
    output = _output(parts.graph.nodes, parts.graph.outputs[0])
    forward = {"data": names["data"], "scores": output}
    imports = [
        "import caffe",
        "import numpy as np",
        "from caffe import layers as L",
        "from caffe import params as P",
    ]
    first = ["import argparse", *(["import time"] if parts.recipe is None else [])]
    first += ["from pathlib import Path", ""]
    constants = []
    if _uses(lines, XAVIER):
        constants = [
            "",
            'XAVIER = {"type": "xavier", "variance_norm": P.Filler.AVERAGE}',
        ]
    if parts.recipe is None:
        head = common.head(parts, imports, constants, first)
        return [
            head,
            data,
            written,
            Section("setup", FORWARD + "\n" + text, slots),
            Section("predict", PREDICT, {**forward, "number": "4"}),
            common.extract(),
            common.main(parts),
        ]
    imports.append("from caffe.proto import caffe_pb2")
    optimizer = OPTIMIZERS[type(parts.recipe.optimizer)](parts.recipe.optimizer)
    parameters = call(
        "caffe_pb2.SolverParameter",
        train_net=f'prototxt("train", {parts.network.function}(train=True))',
        **optimizer,
        random_seed="seed",
    )
    slots["solver"] = [row[4:] for row in layout("    parameters = ", parameters)]
    slots["statistics"] = []
    if _normalisations(parts):
        slots["statistics"] = [
            "for blobs in solver.net.params.values():",
            "    if len(blobs) == 3:  # BatchNorm: its variances start at 1.",
            f"        blobs[1].data[...] = blobs[2].data[...] = {slots['count']}",
        ]
    value = f'float(blobs["{names["loss"]}"].data)'
    if isinstance(parts.recipe.loss, recipe.MeanSquaredError):
        value += f" * 2 / {_features(parts)}"
    return [
        common.head(parts, imports, constants, first),
        data,
        written,
        Section("setup", TRAINED + "\n" + text, slots),
        common.batches(),
        Section("train", STEP, {**names, "value": value}),
        common.train(parts, state="model, solver"),
        Section("predict", PREDICT, {**forward, "number": "5"}),
        common.evaluate(parts),
        _main(parts),
    ]


def _main(parts: Parts) -> Section:
    """What is trained is saved as Caffe saves it."""
    section = common.main(parts, state="model, solver")
    text = section.text.replace(
        "where to write the trained weights (.npz)", "the trained weights (.caffemodel)"
    )
    text = text.replace("save_weights(model, args.save)", "model.save(args.save)")
    return dataclasses.replace(section, text=text)


def _uses(lines: Sequence[str | Line], word: str) -> bool:
    texts = (line.text if isinstance(line, Line) else line for line in lines)
    return any(word in text for text in texts)


backend = Backend(
    name="caffe",
    title="Caffe",
    home="https://caffe.berkeleyvision.org",
    since="2013 to 2017",
    licence="BSD-2-Clause",
    language="C++ and CUDA",
    style="layers in a prototxt, here written by its Python NetSpec",
    storage=axes.channels_first,
    env=ENV,
    barrier=(
        "lambda: sum(blob.data.sum() for blobs in model.params.values() "
        "for blob in blobs)"
    ),
    rules=RULES,
    losses=LOSSES,
    optimizers=OPTIMIZERS,
    initializers=INITIALIZERS,
    frame=frame,
    missing=MISSING,
    forms={
        ops.BatchNorm: ({"unbiased": True},),
        recipe.Adam: ({"epsilon_form": "before"},),
    },
    imports=(("from caffe import params as P", "P"),),
    separator="",
    inside="/",
    repeated="{name}_{index}",
    # Its Python interface is compiled for one precision.
    dtypes=("float32",),
    infers_sizes=True,
    in_place=True,
    input="n.data",
    margin=4,
    variable=variable,
    engine="Caffe shares a batch among the GPUs of one process",
)

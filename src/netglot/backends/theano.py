"""Theano: expressions of shared variables, compiled with their updates."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from netglot import axes, ops, recipe
from netglot.backend import (
    Backend,
    Env,
    Gap,
    Need,
    Parts,
    Rule,
    Scope,
    Section,
    Shim,
    Site,
    Weight,
)
from netglot.backends import common
from netglot.backends.theano_helpers import BACK, CELLS, EVALUATED, HELPERS, optimizer
from netglot.graph import Call as BlockCall
from netglot.graph import Node, Repeat
from netglot.lower import Arrange, Restore, overhang
from netglot.source import (
    WIDTH,
    Call,
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

FLAGS = "base_compiledir={folder}/compiled,blas.ldflags=-L{folder}/lib -lopenblas"
# Without a compiler Theano computes in Python, convolution too if that is let through:
# a small case then takes a tenth of a second, and not one for each operation.
IN_PYTHON = ",mode=FAST_COMPILE,cxx="

ENV = Env(
    # The C code of its scan is that of Python 3.10 at the latest.
    python=("3.10",),
    requirements=(
        "Theano==1.0.5",
        "Lasagne==0.1",
        "numpy==1.21.6",
        # The last one that has what its convolution in Python calls.
        "scipy==1.7.3",
        "setuptools==65.5.0",
        "wheel==0.48.0",
    ),
    imports=("theano",),
    variables={"THEANO_FLAGS": FLAGS},
    hurry={
        "THEANO_FLAGS": FLAGS + IN_PYTHON + ",optimizer_excluding=AbstractConvCheck"
    },
    # It is older than the standard that pip builds packages by.
    pip_arguments=("--no-build-isolation",),
    lock="theano",
    shims=(
        Shim("openblas", "Theano's own code calls the BLAS that is in SciPy", "build"),
        Shim("lasagne_downsample", "Lasagne looks for a pool where Theano had it"),
    ),
    needs=(Need("g++", "Theano compiles what it computes", "apt install g++"),),
)

MARGIN = 8

# --- Rules: weights -------------------------------------------------------------------

#: What Theano's own tutorials call the weights of a layer.
NAMES = {
    "kernel": "W",
    "table": "W",
    "recurrent": "U",
    "bias": "b",
    "recurrent_bias": "c",
    "scale": "gamma",
    "shift": "beta",
    "mean": "mean",
    "variance": "var",
}


def _name(source: str) -> str:
    """``kernel_back -> W_back``, ``query_kernel -> query_W``."""
    words = source.replace("recurrent_bias", "c").split("_")
    return "_".join(NAMES.get(word, word) for word in words)


def _stored(op: ops.Op, letters: str) -> str:
    """A matrix as ``T.dot(x, W)`` reads it; a kernel as Theano's convolution does."""
    matrix = letters in ("OI", "GI", "GH")
    return letters[::-1] if matrix else letters


def weights(s: Site) -> tuple[Weight, ...]:
    """Every weight of the operation, by the names of the tutorials."""
    return tuple(
        Weight(_name(source), _stored(s.op, weight.axes), (source,))
        for source, weight in s.op.weights(*s.inputs).items()
    )


def array(s: Site, source: str) -> str | None:
    """``self.fc1_W``, where the operation has it."""
    has = source in s.op.weights(*s.inputs)
    return f"{s.object}_{_name(source)}" if has else None


#: Attributes that only say what the shapes of the weights say.
SIZES = ("features", "channels", "units", "vocabulary", "kernel", "heads")


def initial(s: Site) -> Statements:
    """``self.fc1_W = glorot_uniform(rng, (784, 512))`` for every weight."""
    for name in (*SIZES, "scale", "shift", "bias"):
        getattr(s.op, name, None)
    forget: float = getattr(s.op, "forget_bias", 0.0)
    lines: list[str] = []
    for source, weight in s.op.weights(*s.inputs).items():
        sizes = dict(zip(weight.axes, weight.shape, strict=True))
        shape = tuple(sizes[letter] for letter in _stored(s.op, weight.axes))
        value = s.initial(source)(shape[0] if len(shape) == 1 else shape)
        after = ""
        if source in ("bias", "bias_back") and forget:
            if inline(value) != f"shared(np.zeros({inline(shape[0])}))":
                raise Gap("the biases of an LSTM start at 0, but for the forget gate's")
            gates = f"[0, {inline(forget).removesuffix('.0')}, 0, 0]"
            value = call("shared", call("np.repeat", gates, s.op.units))
            after = "  # gates i, f, g, o"
        rows = layout(" " * MARGIN + f"{array(s, source)} = ", value)
        lines += [row[MARGIN:] for row in rows]
        lines[-1] += after
    return Statements(tuple(lines), "")


# --- Rules: layers --------------------------------------------------------------------


def _dims(s: Site) -> int:
    return len(s.inputs[0].axes) - 2


def _dense(t: str) -> Callable[[Site], str]:
    def write(s: Site) -> str:
        return _affine_map(t, s.x, array(s, "kernel"), array(s, "bias"))

    return write


def _affine_map(t: str, x: Any, kernel: Any, bias: Any) -> str:
    return f"{t}.dot({inline(x)}, {kernel})" + (f" + {bias}" if bias else "")


def _sides(pads: ops.Pads) -> Any:
    """A number, one for each axis, or a pair for each."""
    if all(before == after for before, after in pads):
        return squeeze(tuple(before for before, _ in pads))
    return pads


def _flat(values: tuple[Any, ...], none: Any) -> tuple[Any, ...]:
    """What is said of a line, as of an image that is one pixel high."""
    return (none, *values) if len(values) == 1 else values


def _options(op: Any) -> dict[str, Any]:
    """The arguments of every convolution."""
    stride, dilation = _flat(op.stride, 1), _flat(op.dilation, 1)
    plain = (1,) * len(stride)
    return {
        "border_mode": unless(0, _sides(_flat(op.padding, (0, 0)))),
        "subsample": unless(plain, stride),
        "filter_dilation": unless(plain, dilation),
        "num_groups": unless(1, op.groups),
    }


def _convolution(s: Site) -> Any:
    name = f"conv{_dims(s)}d"
    arrays = (array(s, "kernel"), array(s, "bias"))
    return call(name, s.x, *arrays, **_options(s.op))


def _transposed(s: Site) -> Any:
    # What is added at the end stands in the size of the result.
    if any(m >= n for m, n in zip(s.op.output_padding, s.op.stride, strict=True)):
        raise Gap("output padding must be smaller than the stride")
    size = tuple(s.outputs[0].size(letter) for letter in axes.SPATIAL[_dims(s)])
    if not all(isinstance(number, int) for number in size):
        raise Gap("a transposed convolution must know the size of its result")
    name = f"conv{_dims(s)}d_transpose"
    arrays = (array(s, "kernel"), array(s, "bias"))
    given = size[0] if len(size) == 1 else size
    return call(name, s.x, *arrays, size=given, **_options(s.op))


def _pool(s: Site, mode: str | None) -> Any:
    pads = tuple(before for before, _ in s.op.padding)
    window, stride = _flat(s.op.kernel, 1), _flat(s.op.stride, 1)
    return call(
        "pool_3d" if _dims(s) == 3 else "pool_2d",
        s.x,
        window,
        # Drops a window that does not fit.
        ignore_border=not s.op.ceil,
        stride=unless(window, stride),
        pad=_flat(pads, 0) if any(pads) else None,
        mode=quoted(mode) if mode else None,
    )


def one_tie(op: Any) -> None:
    """Complains of a pool that Theano's gradient does not fit."""
    if op.ties != "all":
        raise Gap("of equal values each has the gradient (form ties='all')")


def _max_pool(s: Site) -> Any:
    one_tie(s.op)
    return _pool(s, None)


def _avg_pool(s: Site) -> Any:
    if not any(map(any, s.op.padding)):
        getattr(s.op, "count_padding", None)
        # A window that hangs over counts what is inside.
        return _pool(s, "average_exc_pad" if s.op.ceil else "average_inc_pad")
    if _is_even(s.op) and not s.op.ceil and s.op.count_padding:
        return _pool(s, "average_inc_pad")
    if _dims(s) != 2:
        raise Gap("a mean over windows that hang over is of images")
    return call(
        "avg_pool",
        s.x,
        s.op.kernel,
        s.op.stride,
        padding=overhang(s.op),
        counted=s.op.padding if s.op.count_padding else None,
    )


def _is_even(op: Any) -> bool:
    """Whether a pool's padding is one that Theano's takes."""
    pairs = zip(op.padding, op.kernel, strict=True)
    return all(before == after < k for (before, after), k in pairs)


def _norm(s: Site) -> Any:
    # Theano's own refuses an epsilon of 1e-5, which is less than that in float32.
    if not s.recipe:
        # Only training looks at these.
        _ = s.op.momentum, s.op.unbiased
    given: Any = _scale_and_shift(s)
    places = list(given.values()) if all(given.values()) else []
    updates = "updates" if s.recipe else None
    if not places and updates:
        given["updates"] = updates
    return call(
        "batch_norm",
        s.x,
        array(s, "mean"),
        array(s, "variance"),
        *([*places, updates] if places else []),
        **({} if places else given),
        momentum=unless(0.9, s.op.momentum) if s.recipe else None,
        epsilon=unless(1e-5, s.op.epsilon),
        unbiased=unless(False, s.op.unbiased) if s.recipe else None,
    )


def _scale_and_shift(s: Site) -> dict[str, Any]:
    _ = s.op.scale, getattr(s.op, "shift", None)
    return {"gamma": array(s, "scale"), "beta": array(s, "shift")}


def _observation_norm(name: str, epsilon: float) -> Callable[[Site], Any]:
    def write(s: Site) -> Any:
        groups = s.op.groups if name == "group_norm" else None
        given = unless(epsilon, s.op.epsilon)
        return call(name, s.x, groups, **_scale_and_shift(s), epsilon=given)

    return write


def _dropout(s: Site) -> Any:
    return call("dropout", s.x, s.op.rate, "srng")


def form(op: Any) -> tuple[Any, ...]:
    """What tells the texts of a recurrent layer apart."""
    return (op.gates, getattr(op, "reset", ""), op.bias, op.activation)


def _recurrent(s: Site) -> Any:
    """The states after all steps (steps, N, units), or what of them is wanted."""
    name, found = CELLS[form(s.op)].name, {}
    for direction, end in (("forward", ""), ("backward", "_back")):
        if s.op.direction not in (direction, "both"):
            continue
        given = ("kernel", "recurrent", "bias", "recurrent_bias")
        arrays = [array(s, source + end) for source in given]
        # Backwards, what was read last stands at the first step.
        turned = "[::-1]" if end else ""
        after = "[-1]" if s.op.returns == "last" else f"{turned}.dimshuffle(1, 0, 2)"
        found[direction] = (
            call(name, s.x, *arrays, go_backwards=bool(end) or None),
            after,
        )
    if len(found) == 1:
        ((states, after),) = found.values()
        rows = layout(" " * MARGIN + f"{s.target} = ", states, after)
        if len(rows) == 1:
            return f"{inline(states)}{after}"
        return Statements(tuple(row[MARGIN:] for row in rows), s.target)
    lines: list[str] = []
    for way, (states, after) in found.items():
        rows = layout(" " * MARGIN + f"{way} = ", states, after)
        lines += [row[MARGIN:] for row in rows]
    axis = len(s.outputs[0].axes) - 1
    joined = call(_t(s, "concatenate"), f"[{', '.join(found)}]", axis=axis)
    return Statements((*lines, f"{s.target} = {inline(joined)}"), s.target)


def _t(s: Site, name: str) -> str:
    """A function of the module of tensors, by the name that the backend gives it."""
    return f"{TENSORS.get(s.backend.name, 'T')}.{name}"


TENSORS = {"pytensor": "pt"}


def _attention(s: Site) -> Any:
    t = TENSORS.get(s.backend.name, "T")
    given = {"query": s.x, "key": s.arguments[:2][-1], "value": s.arguments[-1]}
    maps = [
        _affine_map(t, x, array(s, f"{name}_kernel"), array(s, f"{name}_bias"))
        for name, x in given.items()
    ]
    mixed = call("attention", *maps, heads=s.op.heads, causal=s.op.causal or None)
    rows = layout(" " * MARGIN + f"{s.target} = ", mixed)
    kernel, bias = array(s, "output_kernel"), array(s, "output_bias")
    value = _affine_map(t, s.target, kernel, bias)
    return Statements(tuple(row[MARGIN:] for row in rows), value)


# --- Rules: arithmetic, shape ---------------------------------------------------------


def _broadcast(s: Site) -> list[Any]:
    """Both inputs; axes of size 1 are repeated only where they are known to be."""
    result: list[Any] = []
    for i, argument in enumerate(s.arguments):
        pairs = zip(s.inputs[i].shape, s.inputs[1 - i].shape, strict=True)
        over = [axis for axis, (own, other) in enumerate(pairs) if own == 1 != other]
        result.append(
            call(_t(s, "addbroadcast"), argument, *over) if over else argument
        )
    return result


def _binary(symbol: str) -> Rule:
    def write(s: Site) -> str:
        first, second = map(common.operand, _broadcast(s))
        return f"{first} {symbol} {second}"

    return Rule(write)


def _greater(name: str) -> Rule:
    return Rule(lambda s: call(name, *_broadcast(s)))


def _matmul(s: Site) -> Any:
    a, b = s.arguments
    rank = len(s.inputs[0].axes)
    if s.op.transpose_b:
        order = (*range(rank - 2), rank - 1, rank - 2)
        b = call(f"{inline(b)}.dimshuffle", *order)
    return call(_t(s, "batched_dot") if rank == 3 else "matmul", a, b)


def _along(library: str, helper: str) -> Callable[[Site], Any]:
    """A function along one axis; Theano's own knows rows of a matrix alone."""

    def write(s: Site) -> Any:
        axis = s.axis(s.op.axis)
        if len(s.inputs[0].axes) == 2 and axis == 1:
            return call(library, s.x)
        return call(helper, s.x, axis=axis)

    return write


def _concat(s: Site) -> Any:
    pieces = f"[{', '.join(map(inline, s.arguments))}]"
    return call(_t(s, "concatenate"), pieces, axis=s.axis(s.op.axis))


def _split(s: Site) -> Any:
    sizes = f"[{', '.join(map(inline, s.op.sizes))}]"
    # PyTensor counts them itself.
    count = None if s.backend.name == "pytensor" else len(s.op.sizes)
    pieces = call(_t(s, "split"), s.x, sizes, count, axis=s.axis(s.op.axis))
    return Statements((f"{s.target} = {inline(pieces)}",), s.target)


def _reshape(s: Site) -> Any:
    _ = s.op.axes
    return call(f"{common.operand(s.x)}.reshape", (-1, *s.op.shape))


def _permute(s: Site) -> Any:
    getattr(s.op, "axes", None)
    return call(f"{common.operand(s.x)}.dimshuffle", *s.order())


def border(op: ops.Pad) -> Any:
    """The value of a border, where it is not 0."""
    return "-np.inf" if op.value == float("-inf") else unless(0.0, op.value)


def _pad(s: Site) -> Any:
    return call("pad", s.x, s.op.padding, border(s.op))


def _reduce(method: str) -> Rule:
    def write(s: Site) -> Any:
        over = tuple(sorted(s.axis(letter) for letter in s.op.over))
        axis = over[0] if len(over) == 1 else over
        keep = unless(False, s.op.keep)
        return call(f"{common.operand(s.x)}.{method}", axis=axis, keepdims=keep)

    return Rule(write)


def _global(method: str) -> Rule:
    def write(s: Site) -> Any:
        over = tuple(range(2, len(s.inputs[0].axes)))
        axis = over[0] if len(over) == 1 else over
        return call(f"{common.operand(s.x)}.{method}", axis=axis)

    return Rule(write)


def _upsample(s: Site) -> Any:
    if s.op.mode != "nearest":
        return call("upsample_bilinear", s.x, s.op.scale)
    value = s.x
    for axis, times in enumerate(s.op.scale, start=2):
        if times != 1:
            value = call(_t(s, "repeat"), value, times, axis=axis)
    return value


# --- Rules: blocks --------------------------------------------------------------------


def flags(nodes: Iterable[Node], trained: bool) -> tuple[str, ...]:
    """What a network or block is told in training, besides values."""
    kinds: set[str] = set()
    for node in nodes:
        if isinstance(node.op, BlockCall):
            kinds |= set(flags(node.op.block.nodes, trained))
        elif isinstance(node.op, ops.BatchNorm) and trained:
            kinds.add("updates")
        elif isinstance(node.op, ops.Dropout):
            kinds.add("srng")
    return tuple(flag for flag in ("srng", "updates") if flag in kinds)


def _block(s: Site) -> Any:
    return call(s.op.block.name, "rng", **dict(s.op.arguments))


def _call_block(s: Site) -> Any:
    return call(s.object, *s.arguments, *flags(s.op.block.nodes, bool(s.recipe)))


def _repeat(s: Site) -> Any:
    made = f"{inline(_block(s))} for _ in range({s.op.times})"
    if MARGIN + len(f"{s.object} = [{made}]") <= WIDTH:
        return f"[{made}]"
    return Statements((f"{s.object} = [", f"    {made}", "]"), s.object)


def _call_blocks(s: Site) -> Any:
    # As often as there are blocks in the list.
    _ = s.op.times
    first = [] if s.target == s.x else [f"{s.target} = {inline(s.x)}"]
    used = call("block", s.target, *flags(s.op.block.nodes, bool(s.recipe)))
    loop = (f"for block in {s.object}:", f"    {s.target} = {inline(used)}")
    return Statements((*first, *loop), s.target)


# --- Rules: the table -----------------------------------------------------------------


def layer(apply: Any) -> Rule:
    """A rule for what has weights, which all are made in one way."""
    return Rule(apply, initial, weights)


def rules(t: str) -> dict[type[ops.Op], Rule]:
    """What every framework of the family says, with its module of tensors."""
    recurrent = layer(_recurrent)
    return {
        ops.Dense: layer(_dense(t)),
        ops.BatchNorm: layer(_norm),
        ops.LayerNorm: layer(_observation_norm("layer_norm", 1e-5)),
        ops.GroupNorm: layer(_observation_norm("group_norm", 1e-5)),
        ops.RMSNorm: layer(_observation_norm("rms_norm", 1e-6)),
        # It has no weights, and so stands on a line of its own.
        ops.Dropout: Rule(_dropout, lambda s: Statements((), "")),
        ops.Embedding: layer(lambda s: f"{array(s, 'table')}[{inline(s.x)}]"),
        ops.SimpleRNN: recurrent,
        ops.LSTM: recurrent,
        ops.GRU: recurrent,
        ops.MultiHeadAttention: layer(_attention),
        ops.GlobalAvgPool: _global("mean"),
        ops.GlobalMaxPool: _global("max"),
        # Of equal values the first one has the slope: that of a relu at 0 is 0.
        ops.Relu: Rule(lambda s: call(f"{t}.maximum", 0, s.x)),
        ops.LeakyRelu: Rule(
            lambda s: call("leaky_relu", s.x, unless(0.01, s.op.slope))
        ),
        ops.Gelu: Rule(
            lambda s: call("gelu_tanh" if s.op.approximate else "gelu", s.x)
        ),
        ops.Silu: Rule(lambda s: call("silu", s.x)),
        ops.Tanh: common.function(f"{t}.tanh"),
        ops.Negative: Rule(lambda s: f"-{common.operand(s.x)}"),
        ops.Exp: common.function(f"{t}.exp"),
        ops.Log: common.function(f"{t}.log"),
        ops.Sqrt: common.function(f"{t}.sqrt"),
        ops.Abs: common.function("abs"),
        ops.Square: common.function(f"{t}.sqr"),
        ops.Clip: Rule(lambda s: call(f"{t}.clip", s.x, s.op.low, s.op.high)),
        ops.Scale: Rule(common.scale),
        ops.Add: _binary("+"),
        ops.Subtract: _binary("-"),
        ops.Multiply: _binary("*"),
        ops.Divide: _binary("/"),
        ops.Maximum: _greater("maximum"),
        ops.Minimum: _greater("minimum"),
        ops.MatMul: Rule(_matmul),
        ops.Concat: Rule(_concat),
        ops.Split: Rule(_split),
        ops.Slice: Rule(common.sliced),
        ops.Reshape: Rule(_reshape),
        ops.Flatten: Rule(lambda s: call(f"{common.operand(s.x)}.flatten", 2)),
        ops.Transpose: Rule(_permute),
        Restore: Rule(_permute),
        Arrange: Rule(_permute),
        ops.Pad: Rule(_pad),
        ops.ReduceMean: _reduce("mean"),
        ops.ReduceSum: _reduce("sum"),
        ops.ReduceMax: _reduce("max"),
        ops.Upsample: Rule(_upsample),
        BlockCall: Rule(_call_block, _block),
        Repeat: Rule(_call_blocks, _repeat),
    }


def _windows(t: str = "T") -> dict[type[ops.Op], Rule]:
    return {
        ops.Conv: layer(_convolution),
        ops.ConvTranspose: layer(_transposed),
        ops.MaxPool: Rule(_max_pool),
        ops.AvgPool: Rule(_avg_pool),
        ops.Elu: Rule(lambda s: call("T.nnet.elu", s.x, alpha=unless(1.0, s.op.alpha))),
        ops.Selu: common.function("T.nnet.selu"),
        ops.Sigmoid: common.function("T.nnet.sigmoid"),
        ops.Softplus: common.function("T.nnet.softplus"),
        ops.Softmax: Rule(_along("T.nnet.softmax", "softmax")),
        ops.LogSoftmax: Rule(_along("T.nnet.logsoftmax", "log_softmax")),
    }


RULES = {**rules("T"), **_windows()}

LOSSES: dict[type[recipe.Loss], str] = {
    recipe.SoftmaxCrossEntropy: (
        "T.nnet.categorical_crossentropy(T.nnet.softmax(scores), y).mean()"
    ),
    recipe.MeanSquaredError: "T.sqr(scores - y).mean()",
}

#: Shape -> the shared variable that a weight starts as.
INITIALIZERS: dict[type[recipe.Initializer], Any] = {
    recipe.GlorotUniform: lambda i: lambda shape: call("glorot_uniform", "rng", shape),
    recipe.Zeros: lambda i: lambda shape: call("shared", call("np.zeros", shape)),
    recipe.Ones: lambda i: lambda shape: call("shared", call("np.ones", shape)),
    recipe.Uniform: lambda i: (
        lambda shape: call("shared", call("rng.uniform", -i.limit, i.limit, shape))
    ),
}


def _sgd(o: recipe.SGD) -> Call:
    return call(
        "sgd",
        "loss",
        "parameters",
        rate=o.rate,
        momentum=unless(0.0, o.momentum),
        weight_decay=unless(0.0, o.weight_decay),
    )


def _adam(o: recipe.Adam) -> Call:
    return call(
        "adam",
        "loss",
        "parameters",
        rate=o.rate,
        beta1=unless(0.9, o.beta1),
        beta2=unless(0.999, o.beta2),
        epsilon=unless(1e-8, o.epsilon),
        weight_decay=unless(0.0, o.weight_decay),
    )


OPTIMIZERS: dict[type[recipe.Optimizer], Any] = {recipe.SGD: _sgd, recipe.Adam: _adam}

# --- Rewrites -------------------------------------------------------------------------


def _uneven_max(op: ops.MaxPool) -> Sequence[ops.Op]:
    """Padding that never wins, where the pool cannot pad as asked."""
    if not any(map(any, op.padding)) or (_is_even(op) and not op.ceil):
        return (op,)
    none = ((0, 0),) * len(op.kernel)
    return (
        ops.Pad(overhang(op), float("-inf")),
        ops.MaxPool(op.kernel, op.stride, none, ties=op.ties),
    )


REWRITES: dict[type[ops.Op], Any] = {ops.MaxPool: _uneven_max}

# --- The frame ------------------------------------------------------------------------

CLASS = """
class $name:
    def __init__(self, rng$parameters):
        $make

    def __call__(self, $inputs$flags):
        $apply
"""

BUILD = '''
def build(seed=0):
    """Create the network, and compile $what."""
    rng = np.random.RandomState(seed)
    model = $name(rng)
    $body


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    for name, variable in weights(model).items():
        variable.set_value(arrays[name])


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    np.savez(path, **{name: v.get_value() for name, v in weights(model).items()})
'''

STEP = '''
def train_step(model, step, x, y):
    """Make one optimizer step on a batch; return its loss."""
    return step(x, y)
'''

PREDICT = '''
# $number. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return model.scores(x)
'''

FLAT = '''
def weights(model):
    """The shared variables of the network, by name."""
    return {k: v for k, v in vars(model).items() if isinstance(v, SharedVariable)}
'''

NESTED = '''
def weights(block, prefix=""):
    """The shared variables of the network or of a block of it, by name."""
    found = {}
    for name, value in vars(block).items():
        if isinstance(value, SharedVariable):
            found[prefix + name] = value
        elif isinstance(value, list):
            for i, item in enumerate(value):
                found.update(weights(item, f"{prefix}{name}.{i}."))
        elif isinstance(value, $blocks):
            found.update(weights(value, f"{prefix}{name}."))
    return found
'''

IMPORTS = (
    (
        "from theano.tensor.nnet.abstract_conv import conv2d_grad_wrt_inputs",
        "conv2d_grad_wrt_inputs",
    ),
    (
        "from theano.tensor.nnet.abstract_conv import conv3d_grad_wrt_inputs",
        "conv3d_grad_wrt_inputs",
    ),
    ("from theano.sandbox.rng_mrg import MRG_RandomStreams", "MRG_RandomStreams"),
    ("from theano.tensor.signal.pool import pool_2d", "pool_2d"),
    ("from theano.tensor.signal.pool import pool_3d", "pool_3d"),
)


def variable(type_: ops.Type, name: str) -> str:
    """``T.tensor4("x")``: the symbol of an input."""
    kinds = ("vector", "matrix", "tensor3", "tensor4", "tensor5")
    # What has fewer bits than the symbol is taken as well.
    integer = "l" if type_.dtype.startswith("int") else ""
    return f'T.{integer}{kinds[len(type_.axes) - 1]}("{name}")'


def target(parts: Parts) -> str:
    """The symbol of what the scores are compared with."""
    assert parts.recipe is not None
    if isinstance(parts.recipe.loss, recipe.SoftmaxCrossEntropy):
        return 'T.lvector("y")'
    return variable(parts.graph.types()[parts.graph.outputs[0]], "y")


def _build(parts: Parts) -> list[str]:
    """What ``build`` does once the network is there."""
    graph, backend = parts.graph, parts.backend
    x = variable(graph.inputs[0][1], "x")
    compiled = "model.scores = theano.function([x], model(x))"
    if parts.recipe is None:
        return [f"x = {x}", compiled, "return model"]
    told = flags(graph.nodes, True)
    arguments = ", ".join(["x", *(f"{flag}={flag}" for flag in told)])
    written = OPTIMIZERS[type(parts.recipe.optimizer)](parts.recipe.optimizer)
    lines = [f"x, y = {x}, {target(parts)}", compiled]
    own = backend.name == "pytensor"
    if "srng" in told:
        made = "[T.random.shared_rng(seed=seed)]"
        made = made if own else "MRG_RandomStreams(rng.randint(1, 2**30))"
        lines.append(f"srng = {made}")
    if "updates" in told:
        lines.append("updates = []")
    lines += [
        f"scores = model({arguments})",
        f"loss = {backend.losses[type(parts.recipe.loss)]}",
    ]
    trained = "list(weights(model).values())"
    if "updates" in told:
        lines.append("statistics = [variable for variable, _ in updates]")
        trained = "[v for v in weights(model).values() if v not in statistics]"
    lines.append(f"parameters = {trained}")
    sign = "+=" if "updates" in told else "="
    lines += [row[4:] for row in layout(f"    updates {sign} ", written)]
    if "srng" in told and own:
        lines.append("updates.append((srng[0], srng[-1]))")
    lines.append("step = theano.function([x, y], loss, updates=updates)")
    return [*lines, "return model, step"]


def _classes(parts: Parts) -> list[str | Line]:
    """The blocks and the network."""
    nodes = {block.name: block.nodes for block in parts.graph.blocks()}
    lines: list[str | Line] = []
    for scope in (*parts.blocks, parts.network):
        told = flags(nodes.get(scope.name, parts.graph.nodes), bool(parts.recipe))
        template = CLASS.replace("$flags", "".join(f", {f}=None" for f in told))
        if not scope.make:
            template = template.replace("$make", "pass")
        lines += [*common.class_lines(_keeping(scope), template), "", ""]
    return lines[:-2]


def _keeping(scope: Scope) -> Scope:
    """A block that keeps those of its sizes that it computes with."""
    make, apply = scope.make, scope.apply
    for name in scope.parameters:
        word = re.compile(rf"(?<![\w.\"]){name}\b(?!=)")
        if any(word.search(line.text) for line in apply):
            make = (Line(f"self.{name} = {name}"), *make)
            apply = tuple(
                Line(word.sub(f"self.{name}", line.text), line.node) for line in apply
            )
    return dataclasses.replace(scope, make=make, apply=apply)


def _walk(parts: Parts) -> str:
    """The function that finds all weights."""
    names = [scope.name for scope in parts.blocks]
    if not names:
        return FLAT
    blocks = names[0] if len(names) == 1 else f"({', '.join(names)})"
    return NESTED.replace("$blocks", blocks)


def helpers(text: str, table: Mapping[str, str]) -> dict[str, str]:
    """Those that a text calls, and those that these call, in the table's order."""
    found: set[str] = set()
    waiting = {name for name in table if _calls(text, name)}
    while waiting:
        found |= waiting
        bodies = "\n".join(table[name].split(":\n", 1)[1] for name in waiting)
        waiting = {name for name in table if _calls(bodies, name)} - found
    return {name: table[name].strip() for name in table if name in found}


def _calls(text: str, name: str) -> bool:
    return re.search(rf"(?<![\w.\"]){name}\(", text) is not None


def _spaced(texts: Iterable[str]) -> list[str]:
    return [row for text in texts for row in (*text.strip().split("\n"), "", "")]


def frame(parts: Parts) -> list[Section]:
    """The program around the network."""
    trained = parts.recipe is not None
    classes = _classes(parts)
    scopes = (*parts.blocks, parts.network)
    made = "\n".join(line.text for scope in scopes for line in scope.make)
    used = "\n".join(line.text for scope in scopes for line in scope.apply)
    table = dict(parts.backend.helpers)
    if not trained:
        table.update(EVALUATED)
    if "go_backwards" in used:
        ways = {name: text for name, text in table.items() if name.endswith(BACK)}
        table.update({name.removesuffix(BACK): text for name, text in ways.items()})
    layers = helpers(used, table)
    first = {k: v for k, v in helpers(made, table).items() if k not in layers}
    setup = [_walk(parts)]
    if parts.recipe:
        setup.append(optimizer(parts.recipe.optimizer))
    about = "Loss, optimizer, compiled functions" if trained else "Compiled functions"
    imports = [
        "import theano",
        "import theano.tensor as T",
        "from theano.compile.sharedvalue import SharedVariable",
        *(line for line, _ in parts.backend.imports),
    ]
    sections = [
        common.head(parts, imports, [f'theano.config.floatX = "{parts.dtype}"']),
        common.load_data(parts),
        Section(
            "network",
            "# 2. The network\n$layers\n$classes",
            {
                "layers": _spaced([*first.values(), *layers.values()]),
                "classes": classes,
            },
        ),
        Section(
            "setup",
            f"# 3. {about}\n$functions\n" + BUILD.strip("\n"),
            {
                "functions": _spaced(setup),
                "what": "what runs and trains it" if trained else "what runs it",
                "name": parts.network.name,
                "body": _build(parts),
            },
        ),
    ]
    return whole(parts, sections)


def whole(parts: Parts, sections: Sequence[Section]) -> list[Section]:
    """The program, of whose steps the first three are given."""
    if not parts.recipe:
        predict = Section("predict", PREDICT, {"number": "4"})
        return [*sections, predict, common.extract(), common.main(parts)]
    state = "model, step"
    return [
        *sections,
        common.batches(),
        Section("train", STEP),
        common.train(parts, state=state),
        Section("predict", PREDICT, {"number": "5"}),
        common.evaluate(parts),
        common.main(parts, state),
    ]


backend = Backend(
    name="theano",
    title="Theano",
    home="https://github.com/Theano/Theano",
    since="2007",
    licence="BSD-3-Clause",
    language="Python, C and CUDA",
    style="bare tensor operations",
    storage=axes.channels_first,
    env=ENV,
    barrier="lambda: sum(v.get_value().sum() for v in weights(model).values())",
    rules=RULES,
    losses=LOSSES,
    optimizers=OPTIMIZERS,
    initializers=INITIALIZERS,
    frame=frame,
    rewrites=REWRITES,
    forms={
        ops.MaxPool: ({"ties": "all"},),
        recipe.Adam: ({"epsilon_form": "after"}, {"epsilon_form": "before"}),
    },
    helpers=HELPERS,
    imports=IMPORTS,
    separator="_",
    inside=".",
    engine="Theano has no engine of its own (Platoon was a project beside it)",
)

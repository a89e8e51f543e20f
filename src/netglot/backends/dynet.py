"""DyNet: parameters in a collection, a new graph of expressions for every batch.

DyNet stores columns first and keeps the batch apart. So the dimensions of a value are
the axes of the same numbers in NumPy, read backwards: N x C x H x W is W x H x C of N.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from netglot import axes, ops, recipe
from netglot.backend import Backend, Env, Gap, Parts, Rule, Section, Site, Weight
from netglot.backends import common
from netglot.graph import Block, Repeat
from netglot.graph import Call as BlockCall
from netglot.lower import overhang, pad_first
from netglot.source import (
    Expression,
    Line,
    Statements,
    call,
    inline,
    layout,
    unless,
)

# --- Facts ----------------------------------------------------------------------------

ENV = Env(
    python=("3.8",),
    requirements=("dyNET==2.1.2", "cython==3.2.9", "numpy==1.24.4"),
    imports=("dynet",),
    lock="dynet",
)

# --- Rules ----------------------------------------------------------------------------


def _dim(s: Site, letter: str, index: int = 0) -> int:
    """The dimension of DyNet's that an axis is."""
    return len(s.inputs[index].axes) - 1 - s.axis(letter, index)


def _shape(sizes: Sequence[Any]) -> Any:
    return tuple(reversed(sizes))


def _listed(values: Sequence[Any]) -> str:
    return f"[{', '.join(map(inline, values))}]"


def _images(s: Site) -> None:
    if s.inputs[0].axes != "NCHW":
        raise Gap("its convolutions and pools are those of images")


def _pc(s: Site) -> str:
    return "pc" if s.in_block else "self.pc"


def _lines(s: Site, name: str, made: Expression) -> list[str]:
    margin = s.backend.margin
    rows = layout(" " * margin + f"{s.object}{name} = ", made)
    return [row[margin:] for row in rows]


def _initial(s: Site, role: str) -> Any:
    initializers = s.initializers or recipe.Initializers()
    initializer = initializers.of(role)
    return INITIALIZERS[type(initializer)](initializer)


def _parameters(s: Site, shape: tuple[Any, ...], outputs: Any) -> Statements:
    """A matrix or kernel, and a vector where there is a bias."""
    add = f"{_pc(s)}.add_parameters"
    lines = _lines(s, "_W", call(add, shape, init=_initial(s, "kernel")))
    if s.op.bias:
        # A vector, too, would be drawn from Glorot's distribution.
        initial = _initial(s, "bias") or "dy.GlorotInitializer()"
        lines += _lines(s, "_b", call(add, outputs, init=initial))
    return Statements(tuple(lines), "")


def _dense(s: Site) -> Any:
    return _parameters(s, (s.op.features, s.inputs[0].size("F")), s.op.features)


def _apply_dense(s: Site) -> Any:
    if s.inputs[0].axes not in ("NF", "NTF"):
        raise Gap("it multiplies matrices, and a sequence is one already")
    if not s.op.bias:
        return f"{s.object}_W * {common.operand(s.x)}"
    given = f"[{s.object}_b, {s.object}_W, {inline(s.x)}]"
    return call("dy.affine_transform", given)


def _convolution(s: Site) -> Any:
    _images(s)
    if set(s.op.dilation) != {1}:
        raise Gap("its convolution has no dilation")
    if s.op.groups != 1:
        raise Gap("its convolution has no groups")
    shape = (*_shape(s.op.kernel), s.inputs[0].size("C"), s.op.channels)
    return _parameters(s, shape, s.op.channels)


def _convolve(s: Site) -> Any:
    return call(
        "dy.conv2d_bias" if s.op.bias else "dy.conv2d",
        s.x,
        f"{s.object}_W",
        f"{s.object}_b" if s.op.bias else None,
        _listed(_shape(s.op.stride)),
        is_valid=unless(True, not any(map(any, s.op.padding))),
    )


def _max_pool(s: Site) -> Any:
    _images(s)
    # With ceil the values are padded beforehand: see the rewrites.
    getattr(s.op, "ceil", None)
    getattr(s.op, "padding", None)
    sizes, steps = _shape(s.op.kernel), _shape(s.op.stride)
    return call("dy.maxpooling2d", s.x, _listed(sizes), _listed(steps))


def _dropout(s: Site) -> Any:
    x = s.target
    start = [] if inline(s.x) == x else [f"{x} = {inline(s.x)}"]
    return Statements(
        (*start, "if training:", f"    {x} = dy.dropout({x}, {s.op.rate})"), x
    )


def _steps(s: Site) -> tuple[tuple[str, ...], str]:
    """The list of a sequence's steps: the line that makes it, and its name."""
    made = re.fullmatch(r"dy\.concatenate_cols\((\w+)\)", inline(s.x))
    if made:
        return (), made[1]
    count = s.inputs[0].size("T")
    count = f"{s.x}.dim()[0][1]" if count is None else count
    return (f"steps = [dy.pick({s.x}, t, 1) for t in range({count})]",), "steps"


def _recurrent(builder: str) -> Rule:
    """A builder of DyNet: it makes the parameters, and runs over a list of steps."""

    def names(s: Site) -> tuple[tuple[str, str], ...]:
        """What its builders' names end in, and the weights of the operation."""
        both = s.op.direction == "both"
        pairs = (("forward", ""), ("backward", "_back"))
        return tuple(
            (f"_{direction}" if both else "", end)
            for direction, end in pairs
            if s.op.direction in (direction, "both")
        )

    def make(s: Site) -> Any:
        if s.op.bias != "one":
            raise Gap("its recurrent layers have one bias vector (form bias='one')")
        if s.op.activation != "tanh":
            raise Gap("its activation is tanh")
        if getattr(s.op, "reset", "before") != "before":
            raise Gap("its reset gate acts before the product (form reset='before')")
        kernels = _initial(s, "kernel"), _initial(s, "recurrent")
        if any(kernels) or _initial(s, "bias") != "0":
            raise Gap("its builders draw from Glorot's distribution; biases are 0")
        sizes = (1, s.inputs[0].size("F"), s.op.units, _pc(s))
        forget = unless(1.0, getattr(s.op, "forget_bias", 1.0))
        made: Any = call(f"dy.{builder}", *sizes, forget_bias=forget)
        lines: list[str] = []
        for name, _ in names(s):
            lines += _lines(s, name, made)
            if builder == "GRUBuilder" and s.recipe:
                lines.append(f"glorot_of_gates({s.object}{name})")
        return Statements(tuple(lines), "")

    def apply(s: Site) -> Any:
        lines, steps = _steps(s)
        if s.op.direction == "both":
            run = "{} = {}_{}.initial_state().transduce({})"
            lines += (
                run.format("forward", s.object, "forward", steps),
                run.format("backward", s.object, "backward", f"{steps}[::-1]"),
            )
            if s.op.returns == "last":
                return Statements(lines, "dy.concatenate([forward[-1], backward[-1]])")
            pairs = "for f, b in zip(forward, backward[::-1])"
            lines += (f"steps = [dy.concatenate([f, b]) {pairs}]",)
            return Statements(lines, "dy.concatenate_cols(steps)")
        backward = s.op.direction == "backward"
        given = f"{steps}[::-1]" if backward else steps
        run = f"{s.object}.initial_state().transduce({given})"
        if s.op.returns == "last":
            return Statements(lines, f"{run}[-1]") if lines else f"{run}[-1]"
        lines += (f"steps = {run}{'[::-1]' if backward else ''}",)
        return Statements(lines, "dy.concatenate_cols(steps)")

    def weights(s: Site) -> tuple[Weight, ...]:
        result = []
        for name, end in names(s):
            kinds = (("kernel", "GI"), ("recurrent", "GH"), ("bias", "G"))
            groups: Sequence[str] = {"rzn": ("z", "r", "n"), "ifgo": ("ifog",)}.get(
                s.op.gates, ("",)
            )
            rows = [(gates, *kind) for gates in groups for kind in kinds]
            start = f"{name[1:]}_" if name else ""
            for i, (gates, source, letters) in enumerate(rows):
                # Its LSTM adds the forget bias itself. Its GRU keeps the share 1 - z.
                lstm = s.op.gates == "ifgo" and source == "bias"
                offset = {"f": s.op.forget_bias} if lstm else {}
                weight = Weight(
                    f"{start}{i}",
                    letters,
                    (source + end,),
                    gates=gates,
                    offset=offset,
                    negative=gates == "z",
                )
                result.append(weight)
        return tuple(result)

    return Rule(apply, make, weights, needs=("glorot_of_gates",))


def _embedding(s: Site) -> Any:
    shape = (s.op.vocabulary, s.op.features)
    initial = _initial(s, "embedding")
    return call(f"{_pc(s)}.add_lookup_parameters", shape, init=initial)


def _look_up(s: Site) -> Any:
    look = f"[dy.lookup_batch({s.object}, words) for words in {s.x}.T]"
    return Statements((f"steps = {look}",), "dy.concatenate_cols(steps)")


def _along(name: str, most: int) -> Rule:
    def write(s: Site) -> Any:
        d = _dim(s, s.op.axis)
        if len(s.inputs[0].axes) > 3 or d > most:
            raise Gap("it works on a vector, or on the columns of a matrix")
        return call(name, s.x, d=unless(0, d))

    return Rule(write)


def _concat(s: Site) -> Any:
    return call(
        "dy.concatenate",
        f"[{', '.join(map(inline, s.arguments))}]",
        d=unless(0, _dim(s, s.op.axis)),
    )


def _split(s: Site) -> Any:
    d, start, pieces = _dim(s, s.op.axis), 0, []
    for size in s.op.sizes:
        pieces.append(inline(call("dy.pick_range", s.x, start, start + size, d)))
        start += size
    names = s.target.split(", ")
    lines = (f"{n} = {piece}" for n, piece in zip(names, pieces, strict=True))
    return Statements(tuple(lines), s.target)


def _slice(s: Site) -> Any:
    size, d = s.inputs[0].size(s.op.axis), _dim(s, s.op.axis)
    if s.op.step < 0:
        raise Gap("it selects forwards")
    if size is None:
        raise Gap("it selects from a known size")
    start, stop, step = slice(s.op.start, s.op.stop, s.op.step).indices(size)
    if step == 1:
        return call("dy.pick_range", s.x, start, stop, d)
    steps, first = [1] * d + [step], [0] * d + [start]
    sizes = [n for n in reversed(s.inputs[0].shape[1:])][:d]
    if None in sizes:
        raise Gap("it selects from a known size")
    return call("dy.strided_select", s.x, str(steps), str(first), str([*sizes, stop]))


def _reshape(s: Site) -> Any:
    getattr(s.op, "axes", None)
    return call("dy.reshape", s.x, _shape(s.op.shape))


def _flatten(s: Site) -> Any:
    size = s.outputs[0].size("F")
    if size is None:
        raise Gap("it reshapes to a known size")
    return call("dy.reshape", s.x, (size,))


def _transpose(s: Site) -> Any:
    # From the axes' order to the dimensions', which is the other way round.
    last = len(s.inputs[0].axes) - 1
    order = [last - i for i in reversed(s.order())][:-1]
    if s.order()[0] != 0:
        raise Gap("it keeps the batch apart from the other dimensions")
    getattr(s.op, "axes", None)
    return call("dy.transpose", s.x, str(order))


def _pad(s: Site) -> Any:
    value = unless(0.0, s.op.value)
    if abs(s.op.value) == float("inf"):
        # What is infinite stays in memory, and a product takes it up 0 times: nan.
        end = "min" if s.op.value < 0 else "max"
        value = f"np.finfo(np.float32).{end}"
    return call("pad", s.x, str(list(_shape(s.op.padding))), value)


def _over(s: Site, name: str, dims: list[int]) -> Any:
    """Reduced dimensions: two at a time, or one where DyNet knows no more."""
    text = s.x
    dims = sorted(dims, reverse=True)
    while dims:
        if name == "max":
            text, dims = call("dy.max_dim", text, d=unless(0, dims[0])), dims[1:]
        else:
            now, dims = sorted(dims[:2]), dims[2:]
            text = call(f"dy.{name}_dim", text, str(now), b=False)
    return text


def _reduce(name: str) -> Rule:
    def write(s: Site) -> Any:
        text = _over(s, name, [_dim(s, letter) for letter in s.op.over])
        if not s.op.keep:
            return text
        shape = s.outputs[0].shape[1:]
        if None in shape:
            raise Gap("it reshapes to a known size")
        return call("dy.reshape", text, _shape(shape))

    return Rule(write)


def _global(name: str) -> Rule:
    return Rule(lambda s: _over(s, name, list(range(len(s.inputs[0].axes) - 2))))


def _matmul(s: Site) -> Any:
    if len(s.inputs[0].axes) > 3:
        raise Gap("it multiplies matrices, one for each observation")
    # Rows and columns are the other way round, and so are the factors.
    first, second = s.arguments
    left = f"dy.transpose({inline(second)})" if s.op.transpose_b else second
    return f"{common.operand(left)} * {common.operand(first)}"


def _drops(block: Block) -> bool:
    """Whether a block computes something else in training."""
    return any(
        isinstance(node.op, ops.Dropout)
        or (isinstance(node.op, BlockCall) and _drops(node.op.block))
        for node in block.nodes
    )


def _block(s: Site) -> Any:
    return call(s.op.block.name, _pc(s), **dict(s.op.arguments))


def _use(s: Site) -> Any:
    training = "training" if _drops(s.op.block) else None
    return call(s.object, *s.arguments, training)


def _repeat(s: Site) -> Any:
    return f"[{inline(_block(s))} for _ in range({s.op.times})]"


def _loop(s: Site) -> Any:
    start = [] if s.x == s.target else [f"{s.target} = {inline(s.x)}"]
    use = inline(call("block", s.target, "training" if _drops(s.op.block) else None))
    loop = (f"for block in {s.object}:", f"    {s.target} = {use}")
    return Statements((*start, *loop), s.target)


HELPERS = {
    "glorot_of_gates": '''
def glorot_of_gates(builder):
    """Draw the matrices of a GRU from Glorot's distribution: all three gates count."""
    for parameter in builder.get_parameters()[0]:
        shape = parameter.shape()
        if len(shape) == 2:
            limit = np.sqrt(6 / (3 * shape[0] + shape[1]))
            parameter.set_value(np.random.uniform(-limit, limit, shape))
''',
    "leaky_relu": '''
def leaky_relu(x, slope=0.01):
    """Leaky rectifier."""
    return dy.rectify(x) - slope * dy.rectify(-x)
''',
    "gelu": '''
def gelu(x):
    """Gaussian error linear unit."""
    return 0.5 * dy.cmult(x, 1 + dy.erf(0.5**0.5 * x))
''',
    "gelu_by_tanh": '''
def gelu_by_tanh(x):
    """Gaussian error linear unit, approximated by tanh."""
    inner = (2 / np.pi) ** 0.5 * (x + 0.044715 * dy.cube(x))
    return 0.5 * dy.cmult(x, 1 + dy.tanh(inner))
''',
    "clip": '''
def clip(x, low, high):
    """Bound the values below and above."""
    return low + dy.rectify(x - low) - dy.rectify(x - high)
''',
    "pad": '''
def pad(x, padding, value=0.0):
    """Add constants before and after the values, by dimension."""
    for d, (before, after) in enumerate(padding):
        pieces, shape = [x], list(x.dim()[0])
        if before:
            shape[d] = before
            pieces.insert(0, dy.constant(tuple(shape), value))
        if after:
            shape[d] = after
            pieces.append(dy.constant(tuple(shape), value))
        x = dy.concatenate(pieces, d) if len(pieces) > 1 else x
    return x
''',
}


def _helper(name: str, *attributes: str) -> Rule:
    def write(s: Site) -> Any:
        return call(name, s.x, *(getattr(s.op, a) for a in attributes))

    return Rule(write, needs=(name,))


def _gelu(s: Site) -> Any:
    return call("gelu_by_tanh" if s.op.approximate else "gelu", s.x)


MATRIX = (Weight("W", "OI", ("kernel",)), Weight("b", "O", ("bias",)))
KERNEL = (Weight("W", "WHIO", ("kernel",)), Weight("b", "O", ("bias",)))

RULES: dict[type[ops.Op], Rule] = {
    ops.Dense: Rule(_apply_dense, _dense, MATRIX),
    ops.Conv: Rule(_convolve, _convolution, KERNEL),
    ops.MaxPool: Rule(_max_pool),
    ops.GlobalAvgPool: _global("mean"),
    ops.GlobalMaxPool: _global("max"),
    ops.Dropout: Rule(_dropout),
    ops.Embedding: Rule(_look_up, _embedding, (Weight("", "VF", ("table",)),)),
    ops.SimpleRNN: _recurrent("SimpleRNNBuilder"),
    ops.LSTM: _recurrent("LSTMBuilder"),
    ops.GRU: _recurrent("GRUBuilder"),
    ops.Relu: common.function("dy.rectify"),
    ops.LeakyRelu: Rule(
        lambda s: call("leaky_relu", s.x, unless(0.01, s.op.slope)),
        needs=("leaky_relu",),
    ),
    ops.Elu: Rule(lambda s: call("dy.elu", s.x, unless(1.0, s.op.alpha))),
    ops.Selu: common.function("dy.selu"),
    ops.Gelu: Rule(_gelu, needs=("gelu", "gelu_by_tanh")),
    ops.Silu: common.function("dy.silu"),
    ops.Sigmoid: common.function("dy.logistic"),
    ops.Tanh: common.function("dy.tanh"),
    ops.Softplus: Rule(lambda s: f"-dy.log_sigmoid(-{common.operand(s.x)})"),
    ops.Softmax: _along("dy.softmax", 1),
    ops.LogSoftmax: _along("dy.log_softmax", 0),
    ops.Negative: Rule(lambda s: f"-{common.operand(s.x)}"),
    ops.Exp: common.function("dy.exp"),
    ops.Log: common.function("dy.log"),
    ops.Sqrt: common.function("dy.sqrt"),
    ops.Abs: common.function("dy.abs"),
    ops.Square: common.function("dy.square"),
    ops.Clip: _helper("clip", "low", "high"),
    ops.Scale: Rule(common.scale),
    ops.Add: common.binary("+"),
    ops.Subtract: common.binary("-"),
    ops.Multiply: common.function("dy.cmult"),
    ops.Divide: common.function("dy.cdiv"),
    ops.Maximum: common.function("dy.bmax"),
    ops.Minimum: common.function("dy.bmin"),
    ops.MatMul: Rule(_matmul),
    ops.Concat: Rule(_concat),
    ops.Split: Rule(_split),
    ops.Slice: Rule(_slice),
    ops.Reshape: Rule(_reshape),
    ops.Flatten: Rule(_flatten),
    ops.Transpose: Rule(_transpose),
    ops.Pad: Rule(_pad, needs=("pad",)),
    ops.ReduceMean: _reduce("mean"),
    ops.ReduceSum: _reduce("sum"),
    ops.ReduceMax: _reduce("max"),
    BlockCall: Rule(_use, _block),
    Repeat: Rule(_loop, _repeat),
}

SCORES = "model(x$training)"
LOSSES = {
    recipe.SoftmaxCrossEntropy: (
        f"losses = dy.pickneglogsoftmax_batch({SCORES}, y)",
        "loss = dy.mean_batches(losses)",
    ),
    recipe.MeanSquaredError: (
        "target = dy.inputTensor(y.T, batched=True)",
        f"losses = dy.squared_distance({SCORES}, target) / y[0].size",
        "loss = dy.mean_batches(losses)",
    ),
}


def _sgd(o: recipe.SGD) -> Any:
    if o.nesterov:
        raise Gap("it has no Nesterov momentum")
    if o.weight_decay:
        raise Gap("its weight decay is a factor on the weights, not on the gradient")
    if o.momentum:
        given = {"learning_rate": o.rate, "mom": o.momentum}
        return call("dy.MomentumSGDTrainer", "model.pc", **given)
    return call("dy.SimpleSGDTrainer", "model.pc", learning_rate=o.rate)


def _adam(o: recipe.Adam) -> Any:
    if o.epsilon_form != "before":
        raise Gap("its Adam adds epsilon before the correction")
    if o.weight_decay:
        raise Gap("its weight decay is the same at every rate, and for all trainers")
    return call(
        "dy.AdamTrainer",
        "model.pc",
        alpha=o.rate,
        beta_1=unless(0.9, o.beta1),
        beta_2=unless(0.999, o.beta2),
        eps=unless(1e-8, o.epsilon),
    )


OPTIMIZERS: dict[type[recipe.Optimizer], Any] = {recipe.SGD: _sgd, recipe.Adam: _adam}

#: ``None``: Glorot's is what DyNet draws from when told nothing.
INITIALIZERS: dict[type[recipe.Initializer], Any] = {
    recipe.GlorotUniform: lambda i: None,
    recipe.Zeros: lambda i: "0",
    recipe.Ones: lambda i: "1",
    recipe.Uniform: lambda i: call("dy.UniformInitializer", i.limit),
}

# --- Rewrites -------------------------------------------------------------------------


def _same_or_valid(op: ops.Conv) -> Sequence[ops.Op]:
    """Padding first, where it is not half a kernel at stride 1, which has a name."""
    rows = zip(op.kernel, op.stride, op.padding, strict=True)
    same = all(
        step == 1 and pair == ((k - 1) // 2, k // 2)  # type: ignore[operator]
        for k, step, pair in rows
        if isinstance(k, int)
    )
    return (op,) if same else pad_first(op)


def _padded_max(op: ops.MaxPool) -> Sequence[ops.Op]:
    """Padding that never wins."""
    if not op.ceil and not any(map(any, op.padding)):
        return (op,)
    none = ((0, 0),) * len(op.kernel)
    padded = ops.Pad(overhang(op), float("-inf"))
    return (padded, ops.MaxPool(op.kernel, op.stride, none))


REWRITES: dict[type[ops.Op], Any] = {
    ops.Conv: _same_or_valid,
    ops.MaxPool: _padded_max,
}

# --- Missing --------------------------------------------------------------------------

MISSING: dict[type[ops.Op], str] = {
    ops.ConvTranspose: "DyNet has no transposed convolution",
    ops.AvgPool: "DyNet has no average pooling over windows",
    ops.BatchNorm: "DyNet has no batch normalization",
    ops.LayerNorm: "DyNet's layer normalization adds no epsilon to the variance",
    ops.GroupNorm: "DyNet has no group normalization",
    ops.RMSNorm: "DyNet has no RMS normalization",
    ops.MultiHeadAttention: "DyNet has no layer of attention",
    ops.Upsample: "DyNet does not enlarge images",
}

# --- The frame ------------------------------------------------------------------------

CLASS = """
class $name:
    def __init__(self):
        self.pc = dy.ParameterCollection()
        $make

    def __call__(self, $inputs):
        # Dimensions of DyNet are axes of NumPy read backwards; its batch comes last.
        x = dy.inputTensor(x.T, batched=True)
        $apply
"""

BLOCK = """
class $name:
    def __init__(self, pc$parameters):
        $make

    def __call__(self, $inputs):
        $apply
"""

SETUP = '''
# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network$and_optimizer."""
    $build


def parameters(model):
    """Every parameter by name."""
    $parameters


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    for name, parameter in parameters(model).items():
        $load


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    np.savez(path, **{name: p.as_array() for name, p in parameters(model).items()})
'''

STEP = '''
def train_step(model, trainer, x, y):
    """Make one optimizer step on a batch; return its loss."""
    dy.renew_cg()
    $loss
    value = loss.value()
    loss.backward()
    trainer.update()
    return value
'''

PREDICT = '''
# $number. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    dy.renew_cg()
    return model(x).npvalue().T.reshape$shape
'''


def _named(parts: Parts) -> list[str]:
    """The body of ``parameters``."""
    builders = [
        f"dy.{name}"
        for kind, name in (
            (ops.SimpleRNN, "SimpleRNNBuilder"),
            (ops.LSTM, "LSTMBuilder"),
            (ops.GRU, "GRUBuilder"),
        )
        if kind in parts.operations
    ]
    blocks = [scope.name for scope in parts.blocks]
    lists = any(isinstance(n.op, Repeat) for n in _nodes(parts.graph.nodes))
    if not builders and not blocks:
        return ['return {k: v for k, v in vars(model).items() if k != "pc"}']
    clauses: list[tuple[str, ...]] = []
    if builders:
        clauses += [
            (
                f"isinstance(value, {_kinds(builders)})",
                "inside = enumerate(value.get_parameters()[0])",
                'named.update((f"{name}_{i}", p) for i, p in inside)',
            )
        ]
    if lists:
        clauses += [
            (
                "isinstance(value, list)",
                "for i, block in enumerate(value):",
                "    inside = parameters(block).items()",
                '    named.update((f"{name}.{i}.{k}", p) for k, p in inside)',
            )
        ]
    if blocks:
        clauses += [
            (
                f"isinstance(value, {_kinds(blocks)})",
                "inside = parameters(value).items()",
                'named.update((f"{name}.{k}", p) for k, p in inside)',
            )
        ]
    lines = ["named = {}", "for name, value in vars(model).items():"]
    for i, (test, *body) in enumerate(clauses):
        lines.append(f"    {'el' if i else ''}if {test}:")
        lines += ["        " + line for line in body]
    lines += ['    elif name != "pc":', "        named[name] = value"]
    return [*lines, "return named"]


def _kinds(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"({', '.join(names)})"


def _nodes(nodes: Any) -> Any:
    for node in nodes:
        yield node
        if isinstance(node.op, BlockCall):
            yield from _nodes(node.op.block.nodes)


def frame(parts: Parts) -> list[Section]:
    """The program around the network."""
    classes: list[str | Line] = []
    first = parts.graph.inputs[0][1]
    tokens = first.dtype.startswith("int")
    for scope in (*parts.blocks, parts.network):
        template = BLOCK if scope in parts.blocks else CLASS
        written = "\n".join(line.text for line in scope.apply)
        if re.search(r"\btraining\b", written):
            template = template.replace("$inputs", "$inputs, training=False")
        if first.axes == "NF" or tokens:
            template = re.sub(" +# Dim.*\n", "", template)
        if tokens:
            template = re.sub(" +x = dy.input.*\n", "", template)
        if not scope.make and scope in parts.blocks:
            template = template.replace("$make", "pass")
        classes += [*common.class_lines(scope, template), "", ""]
    helpers: list[str] = []
    text = "\n".join(c if isinstance(c, str) else c.text for c in classes)
    for name, helper in HELPERS.items():
        if helper in parts.helpers and re.search(rf"\b{name}\(", text):
            helpers += [*helper.strip().split("\n"), "", ""]
    output = parts.graph.types()[parts.graph.outputs[0]]
    sizes = output.shape[1:]
    shape = inline((-1, *sizes) if None not in sizes else (-1,))
    if output.axes == "NF":
        shape = "(len(x), -1)"
    training = ", training=True" if "training=False" in text else ""
    embeds = ops.Embedding in parts.operations
    load = ["parameter.set_value(arrays[name])"]
    if embeds:
        load = [
            "if isinstance(parameter, dy.LookupParameters):",
            "    parameter.init_from_array(arrays[name])",
            "else:",
            "    parameter.set_value(arrays[name])",
        ]
    build = ["dy.reset_random_seed(seed)"]
    if any("glorot_of_gates" in line for line in helpers):
        build.append("np.random.seed(seed)")
    made = f"{parts.network.name}()"
    if parts.recipe is None:
        build.append(f"return {made}")
    else:
        optimizer = parts.recipe.optimizer
        trainer = OPTIMIZERS[type(optimizer)](optimizer)
        build += [
            f"model = {made}",
            *(line[4:] for line in layout("    trainer = ", trainer)),
            "trainer.set_clip_threshold(0)  # no clipping of gradients",
        ]
        plain = isinstance(optimizer, recipe.SGD) and not optimizer.momentum
        if embeds and not plain:
            build += [
                "# Moments decay for all words, not for those of the batch alone.",
                "trainer.set_sparse_updates(False)",
            ]
        build.append("return model, trainer")
    sections = [
        common.head(
            parts,
            ("import dynet as dy", "import numpy as np"),
            (),
            first=("import argparse", *(() if parts.recipe else ("import time",)), ""),
        ),
        common.load_data(parts),
        Section(
            "network", "# 2. The network\n$classes", {"classes": helpers + classes[:-2]}
        ),
        Section(
            "setup",
            SETUP,
            {
                "and_optimizer": " and its trainer" if parts.recipe else "",
                "build": build,
                "parameters": _named(parts),
                "load": load,
            },
        ),
    ]
    predict = {"number": "5" if parts.recipe else "4", "shape": shape}
    if not parts.recipe:
        section = Section("predict", PREDICT, predict)
        return [*sections, section, common.extract(), common.main(parts)]
    loss = [
        line.replace("$training", training) for line in LOSSES[type(parts.recipe.loss)]
    ]
    state = "model, trainer"
    return [
        *sections,
        common.batches(),
        Section("train", STEP, {"loss": loss}),
        common.train(parts, state=state),
        Section("predict", PREDICT, predict),
        common.evaluate(parts),
        common.main(parts, state=state),
    ]


backend = Backend(
    name="dynet",
    title="DyNet",
    home="https://dynet.readthedocs.io",
    since="2016",
    licence="Apache-2.0",
    language="C++",
    style="expressions",
    storage=axes.channels_first,
    env=ENV,
    barrier="lambda: sum(p.as_array().sum() for p in parameters(model).values())",
    rules=RULES,
    losses=LOSSES,
    optimizers=OPTIMIZERS,
    initializers=INITIALIZERS,
    frame=frame,
    rewrites=REWRITES,
    missing=MISSING,
    forms={
        ops.SimpleRNN: ({"bias": "one"},),
        ops.LSTM: ({"bias": "one"},),
        ops.GRU: ({"reset": "before", "bias": "one"},),
        recipe.Adam: ({"epsilon_form": "before"},),
    },
    helpers=HELPERS,
    separator="_",
    inside=".",
    repeated="{name}.{index}",
    dtypes=("float32",),
    engine="DyNet's engine for that is for programs in C++ alone",
)

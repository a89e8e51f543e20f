"""NumPy with autograd's gradients: the program that shows what every layer does."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import Any

from netglot import axes, ops, recipe
from netglot.backend import Backend, Env, Gap, Parts, Rule, Section, Site, Weight
from netglot.backends import common
from netglot.backends.numpy_layers import CELLS, EVALUATED, GRADIENTS, LAYERS, NORMS
from netglot.emit import function_name
from netglot.graph import Block, Repeat, infer_nodes
from netglot.graph import Call as BlockCall
from netglot.lower import Arrange, Restore
from netglot.source import (
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
from netglot.symbols import Symbol

# --- Facts ----------------------------------------------------------------------------

ENV = Env(
    python=("3.11",),
    requirements=("numpy==2.4.6", "autograd==1.9.1"),
    imports=("numpy", "autograd"),
    lock="numpy",
)

MARGIN = 4

# --- Rules: weights -------------------------------------------------------------------


def _stored(letters: str) -> str:
    """A kernel as its use multiplies by it: ``OIHW -> HWIO``, ``GH -> HG``."""
    return letters if letters == "VF" else letters[2:] + letters[1::-1]


def _path(name: str) -> str:
    """``kernel_back -> back.kernel``: a direction is a part of its own."""
    return f"back.{name.removesuffix('_back')}" if name.endswith("_back") else name


def _weights(s: Site) -> tuple[Weight, ...]:
    return tuple(
        Weight(_path(name), _stored(weight.axes), (name,))
        for name, weight in s.op.weights(*s.inputs).items()
    )


#: Attributes that only say what the shapes of the weights say.
SIZES = ("features", "channels", "units", "vocabulary")


def _initial(s: Site) -> Statements:
    """``w["fc1.kernel"] = glorot_uniform(rng, (784, 512))`` for every weight."""
    lines = []
    for name in (*SIZES, "kernel"):
        getattr(s.op, name, None)
    forget: float = getattr(s.op, "forget_bias", 0.0)
    weights = s.op.weights(*s.inputs)
    if {"scale", "shift", "mean"} <= set(weights):
        made = call("batch_norm_weights", weights["scale"].shape[0])
        rows = _fitted("w |= ", call("prefixed", quoted(s.name), made))
        return Statements(tuple(rows), "")
    for name, weight in weights.items():
        sizes = dict(zip(weight.axes, weight.shape, strict=True))
        shape = tuple(sizes[letter] for letter in _stored(weight.axes))
        array = f'w["{s.name}.{_path(name)}"]'
        lines += _fitted(f"{array} = ", s.initial(name)(_one(shape)))
        if name in ("bias", "bias_back") and forget:
            place = f"{s.op.units}:{2 * s.op.units}"
            lines.append(f"{array}[{place}] = {forget}  # the forget gate")
    return Statements(tuple(lines), "")


def _one(shape: tuple[Any, ...]) -> Any:
    """``(10,)`` is written as ``10``."""
    return shape[0] if len(shape) == 1 else shape


def _fitted(prefix: str, expression: Any, depth: int = 1) -> list[str]:
    """Lines of a function's body, without its indentation."""
    rows = layout(" " * depth * MARGIN + prefix, expression)
    return [row[MARGIN:] for row in rows]


def _array(s: Site, name: str) -> str | None:
    """``w["fc1.bias"]``, where the operation has it."""
    return f'w["{s.name}.{name}"]' if getattr(s.op, name, True) else None


def _affine(s: Site) -> tuple[list[Any], dict[str, Any]]:
    """Scale and shift as arguments: in their places, or a shift alone by name."""
    scale = _array(s, "scale")
    shift = _array(s, "shift") if getattr(s.op, "shift", False) else None
    return ([scale, shift], {}) if scale else ([], {"shift": shift})


def _part(name: str) -> Call:
    return call("part", "w", quoted(name))


# --- Rules: layers --------------------------------------------------------------------


def _dense(s: Site) -> Any:
    return call("dense", s.x, _array(s, "kernel"), _array(s, "bias"))


def _pads(pads: ops.Pads) -> Any:
    """One number for all sides, or a pair for each axis."""
    one = {n for pair in pads for n in pair}
    return one.pop() if len(one) == 1 else pads


def _convolution(name: str) -> Any:
    def write(s: Site) -> Any:
        kernel: Any = _array(s, "kernel")
        if squeeze(s.op.dilation) != 1:
            kernel = call("dilate", kernel, squeeze(s.op.dilation))
        grouped = s.op.groups != 1
        return call(
            f"grouped_{name}" if grouped else name,
            s.x,
            kernel,
            s.op.groups if grouped else None,
            _array(s, "bias"),
            stride=unless(1, squeeze(s.op.stride)),
            padding=unless(0, _pads(s.op.padding)),
            output_padding=unless(0, squeeze(getattr(s.op, "output_padding", (0,)))),
        )

    return write


def _window_pads(s: Site, pads: ops.Pads) -> ops.Pads:
    """Padding up to the last window that ``ceil`` keeps."""
    if not s.op.ceil:
        return pads
    letters = s.inputs[0].axes[2:]
    result = []
    for i, (letter, (before, after)) in enumerate(zip(letters, pads, strict=True)):
        size, count = s.inputs[0].size(letter), s.outputs[0].size(letter)
        if not isinstance(size, int):
            raise Gap("ceil needs an image of a fixed size")
        reach = (count - 1) * s.op.stride[i] + s.op.kernel[i]
        result.append((before, max(after, reach - before - size)))
    return tuple(result)


def _max_pool(s: Site) -> Any:
    pads = _pads(_window_pads(s, s.op.padding))
    x = call("pad", s.x, pads, "-np.inf") if pads else s.x
    size, stride = squeeze(s.op.kernel), squeeze(s.op.stride)
    return call("max_pool", x, size=size, stride=stride)


def _average_pool(s: Site) -> Any:
    pads, x = _window_pads(s, s.op.padding), s.x
    if s.op.count_padding and any(map(any, s.op.padding)):
        # The padding counts as values do; what ceil adds beyond it does not.
        x = call("pad", x, _pads(s.op.padding))
        pairs = zip(pads, s.op.padding, strict=True)
        pads = tuple((0, more - after) for (_, more), (_, after) in pairs)
    size, stride, rest = squeeze(s.op.kernel), squeeze(s.op.stride), _pads(pads)
    if not rest:
        return call("avg_pool", x, size=size, stride=stride)
    return call("avg_pool_inside", x, size=size, stride=stride, padding=rest)


def _batch_norm(s: Site) -> Any:
    form = (s.op.unbiased, s.op.scale, s.op.shift)
    momentum = unless(0.9, s.op.momentum)
    return call(
        NORMS[form],
        _part(s.name),
        s.x,
        "training" if s.recipe else None,
        momentum=momentum if s.recipe else None,
        epsilon=unless(1e-5, s.op.epsilon),
    )


def _norm(name: str, epsilon: float) -> Any:
    def write(s: Site) -> Any:
        places, names = _affine(s)
        groups = s.op.groups if name == "group_norm" else None
        names |= {"epsilon": unless(epsilon, s.op.epsilon)}
        return call(name, s.x, groups, *places, **names)

    return write


def _recurrent(s: Site) -> Any:
    """The state after the last step, or those after every step on an axis of theirs."""
    layer = CELLS[_form(s.op)]
    results: dict[str, Any] = {}
    for direction, part, way in (("forward", "", ""), ("backward", ".back", "::-1")):
        if s.op.direction not in (direction, "both"):
            continue
        x = f"{inline(s.x)}[:, {way}]" if way else s.x
        states = call(layer, _part(s.name + part), x)
        if s.op.returns == "last":
            results[direction] = f"{inline(states)}[-1]"
        else:
            # Backwards, what was read last stands at the first step.
            ordered: Any = f"{inline(states)}[{way}]" if way else states
            results[direction] = call("np.stack", ordered, axis=1)
    if len(results) == 1:
        return results.popitem()[1]
    lines = [row for k, result in results.items() for row in _fitted(f"{k} = ", result)]
    joined = call("np.concatenate", "(forward, backward)", axis=-1)
    return Statements((*lines, f"{s.target} = {inline(joined)}"), s.target)


def _form(op: Any) -> tuple[Any, ...]:
    return (op.gates, getattr(op, "reset", ""), op.bias, op.activation)


def _attention(s: Site) -> Any:
    query, key, value = s.arguments[0], s.arguments[:2][-1], s.arguments[-1]
    return call(
        "attention" if s.op.bias else "attention_no_bias",
        _part(s.name),
        query,
        key,
        value,
        heads=s.op.heads,
        causal=unless(False, s.op.causal),
    )


# --- Rules: arithmetic, shape ---------------------------------------------------------


def _matmul(s: Site) -> Any:
    b = s.arguments[1]
    if s.op.transpose_b:
        b = call("np.swapaxes", b, -1, -2)
    return f"{s.x} @ {inline(b)}"


def _split(s: Site) -> Any:
    ends: list[Any] = [s.op.sizes[0]]
    for size in s.op.sizes[1:-1]:
        ends.append(ends[-1] + size)
    cuts = f"[{', '.join(map(str, ends))}]"
    pieces = call("np.split", s.x, cuts, axis=s.axis(s.op.axis))
    return Statements(tuple(_fitted(f"{s.target} = ", pieces)), s.target)


def _reshape(s: Site) -> Any:
    """In the order of storage, which differs in axes of size 1 alone: see ``lower``."""
    getattr(s.op, "axes", None), getattr(s.op, "shape", None)
    y = s.outputs[0]
    sizes = tuple(y.size(letter) for letter in s.backend.storage(y.axes)[1:])
    return call(f"{inline(s.x)}.reshape", -1, *sizes)


def _permute(s: Site) -> Any:
    getattr(s.op, "axes", None)
    return call("np.transpose", s.x, s.order())


def _pad(s: Site) -> Any:
    value = "-np.inf" if s.op.value == float("-inf") else s.op.value
    return call("pad", s.x, _pads(s.op.padding), unless(0.0, value))


def _reduce(name: str) -> Rule:
    def write(s: Site) -> Any:
        over = tuple(
            s.axis(letter) for letter in s.inputs[0].axes if letter in s.op.over
        )
        keep = unless(False, s.op.keep)
        reduce = _mean(s) if name == "mean" else name
        return call(reduce, s.x, _one(over), keepdims=keep)

    return Rule(write)


def _mean(s: Site) -> str:
    # Without a gradient to take, NumPy's own will do.
    return "mean" if s.recipe else "np.mean"


def _global(name: str) -> Rule:
    def write(s: Site) -> Any:
        over = tuple(range(1, len(s.inputs[0].axes) - 1))
        return call(_mean(s) if name == "mean" else name, s.x, _one(over))

    return Rule(write)


def _upsample(s: Site) -> Any:
    name = "upsample" if s.op.mode == "nearest" else "upsample_bilinear"
    return call(name, s.x, squeeze(s.op.scale))


# --- Rules: blocks --------------------------------------------------------------------


def _names(value: Any) -> set[str]:
    """Parameters of a block in sizes."""
    if isinstance(value, Symbol):
        return set(re.findall(r"[A-Za-z_]\w*", value.text))
    if isinstance(value, tuple):
        return {name for item in value for name in _names(item)}
    return set()


def _read(block: Block, made: bool) -> tuple[str, ...]:
    """Parameters that making the weights of a block reads, or that computing does."""
    found: set[str] = set()
    types = infer_nodes(block.nodes, dict(block.inputs))
    for node in block.nodes:
        if isinstance(node.op, BlockCall):
            inner = _read(node.op.block, made)
            found |= _names(tuple(size for n, size in node.op.arguments if n in inner))
        elif made:
            given = (types[value] for value in node.inputs)
            weights = node.op.weights(*given).values()
            found |= _names(tuple(weight.shape for weight in weights))
        else:
            kernel = (
                ("kernel",) if isinstance(node.op, ops.Conv | ops.ConvTranspose) else ()
            )
            found |= {
                name
                for f in dataclasses.fields(node.op)
                if f.name not in (*SIZES, *kernel)
                for name in _names(getattr(node.op, f.name))
            }
    return tuple(name for name in block.parameters if name in found)


def _flags(nodes: Iterable[Any], trained: bool) -> tuple[str, ...]:
    """What a network or block is told besides weights and values."""
    kinds = set()
    for node in nodes:
        if isinstance(node.op, BlockCall):
            kinds |= set(_flags(node.op.block.nodes, trained))
        elif isinstance(node.op, ops.BatchNorm) and trained:
            kinds.add("training")
        elif isinstance(node.op, ops.Dropout):
            kinds.add("noise")
    return tuple(flag for flag in ("training", "noise") if flag in kinds)


def _function_of(name: str) -> str:
    function = function_name(name)
    return f"{function}_block" if function in RESERVED else function


def _block_weights(s: Site) -> Any:
    read = _read(s.op.block, made=True)
    sizes = {name: size for name, size in s.op.arguments if name in read}
    if not any(n.op.weights(*t) for n, t in _inside(s.op.block)):
        return Statements((), "")
    made = call(f"{_function_of(s.op.block.name)}_weights", "rng", **sizes)
    if not hasattr(s.op, "times"):
        return Statements(
            tuple(_fitted("w |= ", call("prefixed", quoted(s.name), made))), ""
        )
    use = call("prefixed", f'f"{s.name}.{{i}}"', made)
    rows = _fitted("w |= ", use, depth=2)
    return Statements((f"for i in range({s.op.times}):", *rows), "")


def _inside(block: Block) -> list[tuple[Any, tuple[Any, ...]]]:
    """Nodes of a block and of those that it uses, with the types that they read."""
    types = infer_nodes(block.nodes, dict(block.inputs))
    result = []
    for node in block.nodes:
        if isinstance(node.op, BlockCall):
            result += _inside(node.op.block)
        else:
            result.append((node, tuple(types[value] for value in node.inputs)))
    return result


def _use(s: Site, part: str, arguments: Sequence[Any]) -> Call:
    read = _read(s.op.block, made=False)
    sizes = {name: size for name, size in s.op.arguments if name in read}
    flags = _flags(s.op.block.nodes, s.recipe is not None)
    name = _function_of(s.op.block.name)
    return call(name, call("part", "w", part), *arguments, *flags, **sizes)


def _block(s: Site) -> Any:
    return _use(s, quoted(s.name), s.arguments)


def _repeat(s: Site) -> Any:
    use = _use(s, f'f"{s.name}.{{i}}"', (s.target,))
    rows = _fitted(f"{s.target} = ", use, depth=2)
    first = [] if inline(s.x) == s.target else [f"{s.target} = {inline(s.x)}"]
    loop = (*first, f"for i in range({s.op.times}):", *rows)
    return Statements(loop, s.target)


# --- Rules: the table -----------------------------------------------------------------

WEIGHTED: dict[type[ops.Op], Any] = {
    ops.Dense: _dense,
    ops.Conv: _convolution("conv"),
    ops.ConvTranspose: _convolution("conv_transpose"),
    ops.BatchNorm: _batch_norm,
    ops.LayerNorm: _norm("layer_norm", 1e-5),
    ops.RMSNorm: _norm("rms_norm", 1e-6),
    ops.GroupNorm: _norm("group_norm", 1e-5),
    ops.Embedding: lambda s: f'w["{s.name}.table"][{inline(s.x)}]',
    ops.SimpleRNN: _recurrent,
    ops.LSTM: _recurrent,
    ops.GRU: _recurrent,
    ops.MultiHeadAttention: _attention,
}

RULES: dict[type[ops.Op], Rule] = {
    **{op: Rule(apply, _initial, _weights) for op, apply in WEIGHTED.items()},
    ops.MaxPool: Rule(_max_pool),
    ops.AvgPool: Rule(_average_pool),
    ops.GlobalAvgPool: _global("mean"),
    ops.GlobalMaxPool: _global("reduce_max"),
    # It makes nothing, and so stands on a line of its own.
    ops.Dropout: Rule(
        lambda s: call("dropout", s.x, s.op.rate, "noise"),
        make=lambda s: Statements((), ""),
    ),
    ops.Relu: common.function("relu"),
    ops.LeakyRelu: Rule(lambda s: call("leaky_relu", s.x, unless(0.01, s.op.slope))),
    ops.Elu: Rule(lambda s: call("elu", s.x, unless(1.0, s.op.alpha))),
    ops.Selu: common.function("selu"),
    ops.Gelu: Rule(lambda s: call("gelu_tanh" if s.op.approximate else "gelu", s.x)),
    ops.Silu: common.function("silu"),
    ops.Sigmoid: common.function("sigmoid"),
    ops.Tanh: common.function("np.tanh"),
    ops.Softplus: Rule(lambda s: call("np.logaddexp", s.x, 0)),
    ops.Softmax: Rule(lambda s: call("softmax", s.x, axis=s.axis(s.op.axis))),
    ops.LogSoftmax: Rule(lambda s: call("log_softmax", s.x, axis=s.axis(s.op.axis))),
    ops.Negative: Rule(lambda s: f"-{common.operand(s.x)}"),
    ops.Exp: common.function("np.exp"),
    ops.Log: common.function("np.log"),
    ops.Sqrt: common.function("np.sqrt"),
    ops.Abs: common.function("np.abs"),
    ops.Square: common.function("np.square"),
    ops.Clip: Rule(lambda s: call("clip", s.x, s.op.low, s.op.high)),
    ops.Scale: Rule(common.scale),
    ops.Add: common.binary("+"),
    ops.Subtract: common.binary("-"),
    ops.Multiply: common.binary("*"),
    ops.Divide: common.binary("/"),
    ops.Maximum: common.function("maximum"),
    ops.Minimum: common.function("minimum"),
    ops.MatMul: Rule(_matmul),
    ops.Concat: Rule(
        lambda s: call("np.concatenate", s.arguments, axis=s.axis(s.op.axis))
    ),
    ops.Split: Rule(_split),
    ops.Slice: Rule(common.sliced),
    ops.Reshape: Rule(_reshape),
    ops.Flatten: Rule(lambda s: call(f"{s.x}.reshape", f"len({s.x})", -1)),
    ops.Transpose: Rule(_permute),
    Restore: Rule(_permute),
    Arrange: Rule(_permute),
    ops.Pad: Rule(_pad),
    ops.ReduceMean: _reduce("mean"),
    ops.ReduceSum: _reduce("np.sum"),
    ops.ReduceMax: _reduce("reduce_max"),
    ops.Upsample: Rule(_upsample),
    BlockCall: Rule(_block, _block_weights),
    Repeat: Rule(_repeat, _block_weights),
}

LOSSES = {
    recipe.SoftmaxCrossEntropy: "cross_entropy",
    recipe.MeanSquaredError: "squared_error",
}

#: Shape -> the array that a weight starts as.
INITIALIZERS = {
    recipe.GlorotUniform: lambda i: lambda shape: call("glorot_uniform", "rng", shape),
    recipe.Zeros: lambda i: lambda shape: call("np.zeros", shape),
    recipe.Ones: lambda i: lambda shape: call("np.ones", shape),
    recipe.Uniform: lambda i: (
        lambda shape: call("rng.uniform", -i.limit, i.limit, shape)
    ),
}


def _sgd(o: recipe.SGD) -> Any:
    return call(
        "SGD",
        "model",
        rate=o.rate,
        momentum=unless(0.0, o.momentum),
        weight_decay=unless(0.0, o.weight_decay),
    )


def _adam(o: recipe.Adam) -> Any:
    return call(
        "Adam",
        "model",
        rate=o.rate,
        beta1=unless(0.9, o.beta1),
        beta2=unless(0.999, o.beta2),
        epsilon=unless(1e-8, o.epsilon),
        weight_decay=unless(0.0, o.weight_decay),
    )


OPTIMIZERS: dict[type[recipe.Optimizer], Any] = {
    recipe.SGD: _sgd,
    recipe.Adam: _adam,
}

# --- The frame ------------------------------------------------------------------------

#: A step leaves running statistics alone, which have a gradient of 0 but would decay.
SKIP = """
if name.endswith((".mean", ".variance")):
    continue  # not trained
"""


def _sgd_class(o: recipe.SGD, statistics: bool) -> str:
    names = [
        "rate",
        *["momentum"] * bool(o.momentum),
        *["weight_decay"] * bool(o.weight_decay),
    ]
    start = [f"{', '.join(f'self.{n}' for n in names)} = {', '.join(names)}"]
    about, step = "Steps down the gradient", list[str]()
    if o.weight_decay:
        step += SKIP.strip().split("\n") if statistics else []
        step.append("g = g + self.weight_decay * w[name]")
    move = "g"
    if o.momentum:
        about = "Steps down a velocity, to which every gradient adds"
        start.append("self.v = {name: np.zeros_like(w[name]) for name in w}")
        step.append("self.v[name] = self.momentum * self.v[name] + g")
        move = "(g + self.momentum * self.v[name])" if o.nesterov else "self.v[name]"
    step.append(f"w[name] -= self.rate * {move}")
    return _class("SGD", about, ["w", *names], start, [], step)


def _adam_class(o: recipe.Adam, statistics: bool) -> str:
    names = ["rate", "beta1=0.9", "beta2=0.999", "epsilon=1e-8"]
    start = [
        "self.rate, self.beta1, self.beta2 = rate, beta1, beta2",
        "self.epsilon = epsilon",
        "self.t = 0",
        "self.m = {name: np.zeros_like(w[name]) for name in w}",
        "self.v = {name: np.zeros_like(w[name]) for name in w}",
    ]
    first = ["self.t += 1"]
    step = []
    if o.weight_decay:
        names.append("weight_decay=0.0")
        start[1] = "self.epsilon, self.weight_decay = epsilon, weight_decay"
        step += SKIP.strip().split("\n") if statistics else []
        step.append("w[name] -= self.rate * self.weight_decay * w[name]")
    step += [
        "m = self.m[name] = self.beta1 * self.m[name] + (1 - self.beta1) * g",
        "v = self.v[name] = self.beta2 * self.v[name] + (1 - self.beta2) * g * g",
    ]
    if o.epsilon_form == "after":
        step += [
            "# Both began at 0, which this makes up for.",
            "m_hat = m / (1 - self.beta1**self.t)",
            "v_hat = v / (1 - self.beta2**self.t)",
            "w[name] -= self.rate * m_hat / (np.sqrt(v_hat) + self.epsilon)",
        ]
    else:
        first += [
            "# m and v began at 0, which this makes up for.",
            "scale = (1 - self.beta2**self.t) ** 0.5 / (1 - self.beta1**self.t)",
        ]
        step.append("w[name] -= self.rate * scale * m / (np.sqrt(v) + self.epsilon)")
    about = "Steps of m / sqrt(v): running means of the gradient and of its square"
    return _class("Adam", about, ["w", *names], start, first, step)


def _class(
    name: str,
    about: str,
    arguments: Sequence[str],
    start: Sequence[str],
    first: Sequence[str],
    step: Sequence[str],
) -> str:
    rows = [
        f"class {name}:",
        f'    """{about}."""',
        "",
        *layout("    def ", call("__init__", "self", *arguments), ":"),
        *(f"        {row}" for row in start),
        "",
        "    def step(self, w, gradient):",
        '        """Move every weight."""',
        *(f"        {row}" for row in first),
        "        for name, g in gradient.items():",
        *(f"            {row}" for row in step),
    ]
    return "\n".join(rows)


CLASSES: dict[type[recipe.Optimizer], Any] = {
    recipe.SGD: _sgd_class,
    recipe.Adam: _adam_class,
}


def _function_lines(head: Call, about: str, body: Sequence[Line]) -> list[str | Line]:
    """A function of the program, with two empty lines after it."""
    margin = " " * MARGIN
    return [
        *layout("def ", head, ":"),
        f'{margin}"""{about}"""',
        *(Line(margin + line.text, line.node) for line in body),
        "",
        "",
    ]


def _calls(text: str) -> set[str]:
    """Names of the layers that a text calls, its docstrings aside."""
    code = re.sub(r'"""(?:.|\n)*?"""', "", text)
    return set(re.findall(r"(?<![\w.\"])([a-z]\w*)(?=[(,)])", code)) & set(LAYERS)


def _layers(text: str, trained: bool) -> dict[str, str]:
    """The layers that a text calls, and those that these call."""
    found: dict[str, str] = {}
    waiting = sorted(_calls(text))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = _layer(name, trained)
            waiting += sorted(_calls(found[name]))
    # A gradient is told of what the network itself computes with, not of a gradient.
    for name, user in (("slide", "conv"), ("unslide", "conv_transpose")):
        if name in found and user not in found:
            found[name] = LAYERS[name].strip()
    return {name: found[name] for name in LAYERS if name in found}


def _layer(name: str, trained: bool) -> str:
    if trained and name in GRADIENTS:
        gradient = GRADIENTS[name].strip()
        return f"@primitive\n{LAYERS[name].strip()}\n\n\n{gradient}"
    text = LAYERS[name].strip()
    if not trained:
        # Nothing is traced, and NumPy's own mean will do.
        text = EVALUATED.get(name, text).strip()
        text = re.sub(r"(?<![\w.])mean\(", "np.mean(", text.replace("getval(x)", "x"))
    return text


BUILD = '''
def build(seed=0):
    """Create the weights, by name$and_optimizer."""
    $make
    return $state


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    model.update(np.load(path))


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    np.savez(path, **model)
'''

STEP = '''
def loss_function(w, x, y$noise):
    """Loss of a batch in training, by the weights w."""
    return $loss(network(w, x$flags), y)


def train_step($state, x, y):
    """Make one optimizer step on a batch; return its loss."""
    loss, gradient = value_and_grad(loss_function)(model, x, y$noise)
    optimizer.step(model, gradient)
    return loss
'''

PREDICT = '''
# $number. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return network(model, x)
'''

FIRST = (
    "import argparse",
    "import math",
    "",
    "import autograd.numpy as np  # NumPy whose results know their gradients",
    "from autograd import value_and_grad",
    "from autograd.extend import defvjp, primitive",
    "from autograd.tracer import getval",
)
FORWARD = ("import argparse", "import math", "import time", "", "import numpy as np")
IMPORTS = (
    ("import math", "math"),
    ("from autograd.extend import defvjp, primitive", "primitive"),
    ("from autograd.tracer import getval", "getval"),
)


def _text(lines: Iterable[str | Line]) -> str:
    return "\n".join(line.text if isinstance(line, Line) else line for line in lines)


def _network(parts: Parts, flags: tuple[str, ...]) -> list[str | Line]:
    """The functions of the blocks and of the network."""
    lines: list[str | Line] = []
    trained = parts.recipe is not None
    for scope, block in zip(parts.blocks, parts.graph.blocks(), strict=True):
        head = call(
            _function_of(scope.name),
            "w",
            *scope.inputs,
            *_flags(block.nodes, trained),
            *_read(block, made=False),
        )
        about = f"Block {scope.name}, by its own weights w."
        lines += _function_lines(head, about, scope.apply)
    defaults = {"training": "False", "noise": "None"}
    head = call(
        "network",
        "w",
        *parts.network.inputs,
        **{flag: defaults[flag] for flag in flags},
    )
    about = "Scores of a batch, by the weights w"
    about += "; noise draws what is dropped in training." if "noise" in flags else "."
    return [*lines, *_function_lines(head, about, parts.network.apply)][:-2]


def _makers(parts: Parts) -> list[str | Line]:
    """The functions that make the weights of blocks."""
    lines: list[str | Line] = []
    for scope, block in zip(parts.blocks, parts.graph.blocks(), strict=True):
        if scope.make:
            name = f"{_function_of(scope.name)}_weights"
            body = (Line("w = {}"), *scope.make, Line("return w"))
            head = call(name, "rng", *_read(block, made=True))
            lines += _function_lines(head, f"Initial weights of {scope.name}.", body)
    return lines


def frame(parts: Parts) -> list[Section]:
    """The program around the network."""
    trained = parts.recipe is not None
    flags = _flags(parts.graph.nodes, trained)
    network = _network(parts, flags)
    layers = _layers(_text(network), trained)

    made: list[str | Line] = [
        "rng = np.random.default_rng(seed)",
        "w = {}",
        *parts.network.make,
    ]
    makers = _makers(parts)
    setup = _text((*makers, *made))
    draws = "rng" in _text((*makers, *parts.network.make)) or "noise" in flags
    if not draws:
        made = made[1:]
    state, result = "model", "w"
    if parts.dtype != "float64":
        result = (
            f"{{name: array.astype(np.{parts.dtype}) for name, array in w.items()}}"
        )
    pieces = []
    if parts.recipe:
        optimizer = parts.recipe.optimizer
        statistics = ops.BatchNorm in parts.operations
        pieces.append(CLASSES[type(optimizer)](optimizer, statistics))
        made += [
            f"model = {result}",
            *_fitted("optimizer = ", OPTIMIZERS[type(optimizer)](optimizer)),
        ]
        state = "model, optimizer" + ", noise" * ("noise" in flags)
        result = state.replace("noise", "rng")
        setup += f"\n{LOSSES[type(parts.recipe.loss)]}("
    more = {k: v for k, v in _layers(setup, trained).items() if k not in layers}
    pieces = [*more.values(), *pieces]
    about = "Loss, optimizer, initial weights" if trained else "Initial weights"
    gap = ["", ""]
    body: list[str | Line] = []
    for piece in pieces:
        body += [*piece.split("\n"), *gap]
    body += makers

    sections = [
        common.head(parts, (), (), FIRST if trained else FORWARD),
        common.load_data(parts),
        Section(
            "network",
            "# 2. The network\n$layers\n$functions",
            {
                "layers": [
                    row for text in layers.values() for row in (*text.split("\n"), *gap)
                ],
                "functions": network,
            },
        ),
        Section(
            "setup",
            f"# 3. {about}\n$functions\n" + BUILD.strip(),
            {
                "functions": body,
                "and_optimizer": ", and their optimizer" if trained else "",
                "make": made,
                "state": result,
            },
        ),
    ]
    if not parts.recipe:
        predict = Section("predict", PREDICT, {"number": "4"})
        return [*sections, predict, common.extract(), common.main(parts)]
    said = {"training": ", training=True", "noise": ", noise=noise"}
    step = Section(
        "train",
        STEP,
        {
            "loss": LOSSES[type(parts.recipe.loss)],
            "noise": ", noise" * ("noise" in flags),
            "flags": "".join(said[flag] for flag in flags),
            "state": state,
        },
    )
    return [
        *sections,
        common.batches(),
        step,
        common.train(parts, state=state),
        Section("predict", PREDICT, {"number": "5"}),
        common.evaluate(parts),
        common.main(parts, state),
    ]


#: Names that a function of a block cannot have.
RESERVED = {*LAYERS, "network", "build", "train", "predict", "evaluate", "main"}

backend = Backend(
    name="numpy",
    title="NumPy",
    home="https://numpy.org",
    since="2006",
    licence="BSD-3-Clause",
    language="C and Python",
    style="bare functions",
    storage=axes.channels_last,
    env=ENV,
    barrier="lambda: sum(array.sum() for array in model.values())",
    rules=RULES,
    losses=LOSSES,
    optimizers=OPTIMIZERS,
    initializers=INITIALIZERS,
    frame=frame,
    forms={recipe.Adam: ({"epsilon_form": "after"}, {"epsilon_form": "before"})},
    helpers=LAYERS,
    imports=IMPORTS,
    object="{name}",
    margin=MARGIN,
    engine="NumPy and autograd know one process",
)

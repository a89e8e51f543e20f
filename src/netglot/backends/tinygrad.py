"""tinygrad: plain classes of layers, methods of tensors, a jitted training step."""

from __future__ import annotations

from typing import Any

from netglot import axes, ops, recipe
from netglot.backend import (
    Backend,
    Env,
    Gap,
    Need,
    Parts,
    Rule,
    Section,
    Site,
    Weight,
)
from netglot.backends import common, pytorch
from netglot.graph import Call as BlockCall
from netglot.graph import Repeat
from netglot.lower import Arrange, Restore
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
    requirements=("tinygrad==0.14.0", "numpy==2.4.6"),
    imports=("tinygrad",),
    # Kernels would be kept in the home folder, and gcc compiles them wrongly.
    variables={"CACHEDB": "{folder}/tinygrad.db", "CC": "clang"},
    cpu={"DEV": "CPU"},
    threads=(
        "NUM_CPU_THREADS",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
    ),
    lock="tinygrad",
    needs=(
        Need("clang", "tinygrad compiles every kernel with it", "apt install clang"),
    ),
)

# --- Rules ----------------------------------------------------------------------------


def _dims(s: Site) -> int:
    return len(s.inputs[0].axes) - 2


def _on(x: Any, method: str, *arguments: Any, **keywords: Any) -> Any:
    """A method of a value, which is bracketed where a dot would bind more tightly."""
    text = common.operand(x)
    if text.startswith("-"):
        text = f"({text})"
    return call(f"{text}.{method}", *arguments, **keywords)


def _method(name: str) -> Rule:
    return Rule(lambda s: _on(s.x, name, *s.arguments[1:]))


def _padding(op: Any) -> Any:
    """One number per axis, or left, right, top, bottom where two sides differ."""
    if all(before == after for before, after in op.padding):
        return unless(0, squeeze(tuple(before for before, _ in op.padding)))
    return tuple(n for pair in reversed(op.padding) for n in pair)


def _convolution(transposed: bool = False) -> Any:
    def write(s: Site) -> Any:
        count = _dims(s)
        # A kernel of three sizes makes a layer of three dimensions.
        name = f"nn.Conv{'Transpose' if transposed else ''}{min(count, 2)}d"
        extra = unless(0, squeeze(s.op.output_padding)) if transposed else None
        return call(
            name,
            s.inputs[0].size("C"),
            s.op.channels,
            squeeze(s.op.kernel) if count < 3 else s.op.kernel,
            stride=unless(1, squeeze(s.op.stride)),
            padding=_padding(s.op),
            output_padding=extra,
            dilation=unless(1, squeeze(s.op.dilation)),
            groups=unless(1, s.op.groups),
            bias=unless(True, s.op.bias),
        )

    return write


def _pool(name: str) -> Any:
    def write(s: Site) -> Any:
        padded = any(map(any, s.op.padding))
        count = getattr(s.op, "count_padding", True)
        return _on(
            s.x,
            f"{name}_pool2d",
            s.op.kernel,
            stride=unless(s.op.kernel, s.op.stride) and squeeze(s.op.stride),
            padding=_padding(s.op),
            ceil_mode=unless(False, s.op.ceil),
            # It counts padded zeros unless told not to.
            count_include_pad=False if padded and not count else None,
        )

    return write


def _both_or_neither(s: Site) -> Any:
    if s.op.scale != s.op.shift:
        raise Gap("it learns scale and shift both or neither")
    return unless(True, s.op.scale)


def _norm(s: Site) -> Any:
    if not s.op.unbiased:
        raise Gap("its running variance is the unbiased one (form unbiased=True)")
    return call(
        "nn.BatchNorm",
        s.inputs[0].size("C" if "C" in s.inputs[0].axes else "F"),
        eps=unless(1e-5, s.op.epsilon),
        affine=_both_or_neither(s),
        # The share of the new value.
        momentum=unless(0.1, round(1 - s.op.momentum, 10)),
    )


def _layer_norm(s: Site) -> Any:
    return call(
        "nn.LayerNorm",
        s.inputs[0].size("F"),
        eps=unless(1e-5, s.op.epsilon),
        elementwise_affine=_both_or_neither(s),
    )


def _group_norm(s: Site) -> Any:
    return call(
        "nn.GroupNorm",
        s.op.groups,
        s.inputs[0].size("C"),
        eps=unless(1e-5, s.op.epsilon),
        affine=_both_or_neither(s),
    )


def _rms_norm(s: Site) -> Any:
    return call(
        "nn.RMSNorm",
        s.inputs[0].size("F"),
        eps=unless(1e-6, s.op.epsilon),
        elementwise_affine=unless(True, s.op.scale),
    )


def _attention(s: Site) -> Any:
    query, key, value = (x.size("F") for x in (s.inputs * 3)[:3])
    if len(s.inputs) == 2:
        value = key
    return call(
        "MultiHeadAttention",
        query,
        s.op.heads,
        key_features=unless(query, key),
        value_features=unless(query, value),
        bias=unless(True, s.op.bias),
    )


def _attend(s: Site) -> Any:
    given = (*s.arguments, s.arguments[-1], s.arguments[-1])[:3]
    return call(s.object, *given, is_causal=unless(False, s.op.causal))


def _attention_weights(s: Site) -> tuple[Weight, ...]:
    result = []
    for weight in s.op.weights(*s.inputs):
        role, kind = weight.split("_")
        own = ("weight", "OI") if kind == "kernel" else ("bias", "O")
        name = role.replace("output", "out")
        result.append(Weight(f"{name}.{own[0]}", own[1], (weight,)))
    return tuple(result)


def _matmul(s: Site) -> Any:
    other = s.arguments[1]
    return f"{s.x} @ {other}{'.transpose(-2, -1)' if s.op.transpose_b else ''}"


def _concat(s: Site) -> Any:
    return _on(s.x, "cat", *s.arguments[1:], dim=s.axis(s.op.axis))


def _split(s: Site) -> Any:
    pieces = _on(s.x, "split", s.op.sizes, dim=s.axis(s.op.axis))
    return Statements((f"{s.target} = {inline(pieces)}",), s.target)


def _pad(s: Site) -> Any:
    amounts = tuple(n for pair in reversed(s.op.padding) for n in pair)
    value = '-float("inf")' if s.op.value == float("-inf") else s.op.value
    return _on(s.x, "pad", amounts, value=unless(0.0, value))


def _reduce(method: str) -> Rule:
    def write(s: Site) -> Any:
        over = tuple(s.axis(letter) for letter in s.op.over)
        return _on(s.x, method, squeeze(over), keepdim=unless(False, s.op.keep))

    return Rule(write)


def _global(method: str) -> Rule:
    return Rule(
        lambda s: _on(s.x, method, squeeze(tuple(range(2, len(s.inputs[0].axes)))))
    )


def _upsample(s: Site) -> Any:
    letters = axes.SPATIAL[_dims(s)]
    if s.op.mode == "nearest":
        x = s.x
        for letter, times in zip(letters, s.op.scale, strict=True):
            if times != 1:
                x = inline(_on(x, "repeat_interleave", times, dim=s.axis(letter)))
        return x
    sizes = [s.inputs[0].size(letter) for letter in letters]
    if all(isinstance(size, int) for size in sizes):
        size = tuple(n * times for n, times in zip(sizes, s.op.scale, strict=True))
    else:
        scaled = zip(s.op.scale, letters, strict=True)
        size = tuple(f"{n} * {s.x}.shape[{s.axis(a)}]" for n, a in scaled)
    return _on(s.x, "interpolate", size)


def _permute(s: Site) -> Any:
    getattr(s.op, "axes", None)
    return _on(s.x, "permute", *s.order())


def _reshape(s: Site) -> Any:
    return _on(s.x, "reshape", -1, *s.op.shape) if s.op.axes else None


def _axis(name: str) -> Rule:
    """A method along one axis, the last of which is the default."""
    return Rule(
        lambda s: _on(s.x, name, axis=unless(len(s.storage()) - 1, s.axis(s.op.axis)))
    )


def _repeat(s: Site) -> Any:
    block = call(s.op.block.name, **dict(s.op.arguments))
    return f"[{inline(block)} for _ in range({s.op.times})]"


SHARED = (
    *(ops.Dense, ops.Conv, ops.ConvTranspose),
    *(ops.BatchNorm, ops.LayerNorm, ops.GroupNorm, ops.RMSNorm, ops.Embedding),
)
WEIGHTS = {operation: pytorch.RULES[operation].weights for operation in SHARED}

RULES: dict[type[ops.Op], Rule] = {
    ops.Dense: pytorch.RULES[ops.Dense],
    ops.Conv: Rule(make=_convolution(), weights=WEIGHTS[ops.Conv]),
    ops.ConvTranspose: Rule(
        make=_convolution(transposed=True), weights=WEIGHTS[ops.ConvTranspose]
    ),
    ops.MaxPool: Rule(_pool("max")),
    ops.AvgPool: Rule(_pool("avg")),
    ops.GlobalAvgPool: _global("mean"),
    ops.GlobalMaxPool: _global("max"),
    ops.BatchNorm: Rule(make=_norm, weights=WEIGHTS[ops.BatchNorm]),
    ops.LayerNorm: Rule(make=_layer_norm, weights=WEIGHTS[ops.LayerNorm]),
    ops.GroupNorm: Rule(make=_group_norm, weights=WEIGHTS[ops.GroupNorm]),
    ops.RMSNorm: Rule(make=_rms_norm, weights=WEIGHTS[ops.RMSNorm]),
    ops.Dropout: Rule(lambda s: _on(s.x, "dropout", s.op.rate)),
    ops.Embedding: pytorch.RULES[ops.Embedding],
    ops.MultiHeadAttention: Rule(
        _attend, _attention, _attention_weights, needs=("MultiHeadAttention",)
    ),
    ops.Relu: _method("relu"),
    ops.LeakyRelu: Rule(lambda s: _on(s.x, "leaky_relu", unless(0.01, s.op.slope))),
    ops.Elu: Rule(lambda s: _on(s.x, "elu", unless(1.0, s.op.alpha))),
    ops.Selu: _method("selu"),
    ops.Gelu: Rule(
        lambda s: _on(
            s.x, "gelu", approximate=None if s.op.approximate else quoted("none")
        )
    ),
    ops.Silu: _method("silu"),
    ops.Sigmoid: _method("sigmoid"),
    ops.Tanh: _method("tanh"),
    ops.Softplus: _method("softplus"),
    ops.Softmax: _axis("softmax"),
    ops.LogSoftmax: _axis("log_softmax"),
    ops.Negative: Rule(lambda s: f"-{common.operand(s.x)}"),
    ops.Exp: _method("exp"),
    ops.Log: _method("log"),
    ops.Sqrt: _method("sqrt"),
    ops.Abs: _method("abs"),
    ops.Square: _method("square"),
    ops.Clip: Rule(lambda s: _on(s.x, "clip", s.op.low, s.op.high)),
    ops.Scale: Rule(common.scale),
    ops.Add: common.binary("+"),
    ops.Subtract: common.binary("-"),
    ops.Multiply: common.binary("*"),
    ops.Divide: common.binary("/"),
    ops.Maximum: _method("maximum"),
    ops.Minimum: _method("minimum"),
    ops.MatMul: Rule(_matmul),
    ops.Concat: Rule(_concat),
    ops.Split: Rule(_split),
    ops.Slice: Rule(common.sliced),
    ops.Reshape: Rule(_reshape),
    ops.Flatten: Rule(lambda s: _on(s.x, "flatten", 1)),
    ops.Transpose: Rule(_permute),
    Restore: Rule(_permute),
    Arrange: Rule(_permute),
    ops.Pad: Rule(_pad),
    ops.ReduceMean: _reduce("mean"),
    ops.ReduceSum: _reduce("sum"),
    ops.ReduceMax: _reduce("max"),
    ops.Upsample: Rule(_upsample),
    BlockCall: pytorch.RULES[BlockCall],
    Repeat: Rule(lambda s: _on(s.x, "sequential", s.object), _repeat),
}

LOSSES = {
    recipe.SoftmaxCrossEntropy: "model(x).sparse_categorical_crossentropy(y)",
    recipe.MeanSquaredError: "(model(x) - y).square().mean()",
}


def _sgd(o: recipe.SGD) -> Any:
    return call(
        "nn.optim.SGD",
        "nn.state.get_parameters(model)",
        lr=o.rate,
        momentum=unless(0.0, o.momentum),
        weight_decay=unless(0.0, o.weight_decay),
        nesterov=unless(False, o.nesterov),
    )


def _adam(o: recipe.Adam) -> Any:
    return call(
        "nn.optim.AdamW" if o.weight_decay else "nn.optim.Adam",
        "nn.state.get_parameters(model)",
        lr=o.rate,
        b1=unless(0.9, o.beta1),
        b2=unless(0.999, o.beta2),
        eps=unless(1e-8, o.epsilon),
        weight_decay=unless(0.0, o.weight_decay),
    )


OPTIMIZERS: dict[type[recipe.Optimizer], Any] = {recipe.SGD: _sgd, recipe.Adam: _adam}

INITIALIZERS: dict[type[recipe.Initializer], Any] = {
    recipe.Zeros: lambda i: ("Tensor.zeros(*weight.shape)",),
    recipe.Ones: lambda i: ("Tensor.ones(*weight.shape)",),
    recipe.Uniform: lambda i: (
        f"Tensor.uniform(*weight.shape, low=-{i.limit}, high={i.limit})",
    ),
    recipe.GlorotUniform: lambda i: ("Tensor.glorot_uniform(*weight.shape)",),
}

# --- Rewrites and what is missing -----------------------------------------------------

UNROLLED = (
    "tinygrad has no layer that reads a sequence, and compiles every step of a loop: "
    "ten steps of a GRU took two minutes to compile"
)
MISSING: dict[type[ops.Op], str] = {
    ops.SimpleRNN: UNROLLED,
    ops.LSTM: UNROLLED,
    ops.GRU: UNROLLED,
}

# --- The frame ------------------------------------------------------------------------

INIT = """    def __init__(self$parameters):
        $make

"""
CLASS = f"""
class $name:
{INIT}    def __call__(self, $inputs):
        $apply
"""

ATTENTION = '''
class MultiHeadAttention:
    """Scaled dot-product attention of several heads."""

    def __init__(
        self, features, heads, key_features=None, value_features=None, bias=True
    ):
        self.heads = heads
        self.query = nn.Linear(features, features, bias=bias)
        self.key = nn.Linear(key_features or features, features, bias=bias)
        self.value = nn.Linear(value_features or features, features, bias=bias)
        self.out = nn.Linear(features, features, bias=bias)

    def __call__(self, query, key, value, is_causal=False):
        maps = (self.query(query), self.key(key), self.value(value))
        q, k, v = (
            x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2) for x in maps
        )
        x = q.scaled_dot_product_attention(k, v, is_causal=is_causal)
        return self.out(x.transpose(1, 2).flatten(2))
'''

INITIALIZE = '''
# 3. Loss, optimizer, initial weights
def initialize(model):
    """Set the initial weights."""
    for name, weight in nn.state.get_state_dict(model).items():
        $initialize
'''

BUILD = '''
def build(seed=0):
    """Create the network$and_step."""
    Tensor.manual_seed(seed)
    $build


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    $load


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    weights = nn.state.get_state_dict(model)
    np.savez(path, **{name: weight.numpy() for name, weight in weights.items()})
'''

JITTED = """
@TinyJit
@Context(TRAINING=1)
def step(x, y):
    optimizer.zero_grad()
    loss = $loss.backward()
    return loss.realize(*optimizer.schedule_step())
"""

STEP = '''
def train_step(model, step, x, y):
    """Make one optimizer step on a batch; return its loss."""
    return step(Tensor(x), Tensor(y)).item()
'''

PREDICT = '''
# $number. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return model(Tensor(x)).numpy()
'''


def _initialize(parts: Parts, recipe_: recipe.Recipe) -> list[str]:
    """A clause per kind of weight; scales and shifts of norms begin as they should."""
    inits, used = recipe_.initializers, parts.operations
    nodes = parts.graph.flat().nodes
    kernels = "weight.ndim > 1"

    def fill(role: str) -> str:
        value = INITIALIZERS[type(inits.of(role))](inits.of(role))[0]
        return f"weight.assign({value})"

    lines: list[str] = []
    clauses = [('name.endswith("bias")', [fill("bias")])]
    if ops.Embedding in used:
        names = [n.name for n in nodes if isinstance(n.op, ops.Embedding)]
        tests = " or ".join(f'name == "{name}.weight"' for name in names)
        clauses.append((tests, [fill("embedding")]))
    body = [fill("kernel")]
    if isinstance(inits.kernel, recipe.GlorotUniform) and used & {
        ops.Conv,
        ops.ConvTranspose,
    }:
        body = [
            "# glorot_uniform counts the sizes of a kernel on one side only.",
            "outputs, inputs, *kernel = weight.shape",
            "limit = (6 / ((inputs + outputs) * math.prod(kernel))) ** 0.5",
            "weight.assign(Tensor.uniform(*weight.shape, low=-limit, high=limit))",
        ]
    clauses.append((kernels, body))
    for i, (test, body) in enumerate(clauses):
        last = i == len(clauses) - 1 and not used & NORMS
        lines.append("else:" if last else f"{'el' if i else ''}if {test}:")
        lines += ["    " + line for line in body]
    return lines


NORMS = {ops.BatchNorm, ops.LayerNorm, ops.GroupNorm, ops.RMSNorm}


def frame(parts: Parts) -> list[Section]:
    """The program around the network."""
    classes: list[str | Line] = []
    for helper in parts.helpers:
        classes += [*helper.strip("\n").split("\n"), "", ""]
    for scope in (*parts.blocks, parts.network):
        # A class without layers makes none.
        text = CLASS if scope.make else CLASS.replace(INIT, "")
        classes += [*common.class_lines(scope, text), "", ""]
    made = f"{parts.network.name}()"
    # A batch norm counts its batches, which no other framework does.
    strict = False if ops.BatchNorm in parts.operations else None
    arrays = "{name: Tensor(array) for name, array in np.load(path).items()}"
    load = call(
        "nn.state.load_state_dict", "model", "weights", strict=strict, verbose=False
    )
    slots = {
        "and_step": " and its jitted training step" if parts.recipe else "",
        "build": [f"return {made}"],
        "load": [f"weights = {arrays}", *layout("", load)],
    }
    first = None
    setup = []
    if parts.recipe:
        rule = OPTIMIZERS[type(parts.recipe.optimizer)]
        jitted = JITTED.replace("$loss", LOSSES[type(parts.recipe.loss)])
        slots["build"] = [
            f"model = {made}",
            "initialize(model)",
            *layout("optimizer = ", rule(parts.recipe.optimizer)),
            "",
            *jitted.strip("\n").split("\n"),
            "",
            "return model, step",
        ]
        initialize = _initialize(parts, parts.recipe)
        setup.append(Section("setup", INITIALIZE, {"initialize": initialize}))
        first = ("import argparse", "import math", "", "import numpy as np")
    else:
        slots["build"] = [f"return {made}"]
    setup.append(Section("setup", BUILD, slots))
    imports = ["from tinygrad import Tensor, nn"]
    if parts.recipe:
        imports = ["from tinygrad import Context, Tensor, TinyJit, nn"]
    sections = [
        common.head(parts, imports, (), first),
        common.load_data(parts),
        Section("network", "# 2. The network\n$classes", {"classes": classes[:-2]}),
        *setup,
    ]
    if not parts.recipe:
        predict = Section("predict", PREDICT, {"number": "4"})
        return [*sections, predict, common.extract(), common.main(parts)]
    return [
        *sections,
        common.batches(),
        Section("train", STEP),
        common.train(parts, state="model, step"),
        Section("predict", PREDICT, {"number": "5"}),
        common.evaluate(parts),
        common.main(parts, state="model, step"),
    ]


backend = Backend(
    name="tinygrad",
    title="tinygrad",
    home="https://tinygrad.org",
    since="2020",
    licence="MIT",
    language="Python",
    style="module classes",
    storage=axes.channels_first,
    env=ENV,
    barrier="lambda: sum(p.sum().item() for p in nn.state.get_parameters(model))",
    rules=RULES,
    losses=LOSSES,
    optimizers=OPTIMIZERS,
    initializers=INITIALIZERS,
    frame=frame,
    missing=MISSING,
    forms={
        ops.BatchNorm: ({"unbiased": True},),
        recipe.Adam: ({"epsilon_form": "after"},),
    },
    helpers={"MultiHeadAttention": ATTENTION},
    imports=(("import math", "math"),),
    # The moments of its optimizers stay in float32.
    dtypes=("float32",),
    engine="tinygrad shares a batch among the devices of one process",
)

"""Keras 2 on TensorFlow, Theano or CNTK: the layers that were one in all of them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

from netglot import axes, ops, recipe
from netglot.backend import Backend, Env, Gap, Parts, Rule, Section, Site, Weight
from netglot.backends import cntk, common, keras, tensorflow1, theano
from netglot.backends.common import head, load_data, main, sliced
from netglot.lower import Arrange, Restore, overhang, pad_first
from netglot.source import (
    Call,
    Line,
    Statements,
    call,
    inline,
    squeeze,
    unless,
)

# --- Facts ----------------------------------------------------------------------------

TENSORFLOW = dataclasses.replace(
    tensorflow1.ENV,
    requirements=(
        "keras==2.3.1",
        "tensorflow==1.15.5",
        *tensorflow1.ENV.requirements[2:],
    ),
    imports=("keras", "tensorflow"),
    variables={**tensorflow1.ENV.variables, "KERAS_BACKEND": "tensorflow"},
    # Its sessions heed TensorFlow's own, and warn of OpenMP's.
    threads=tuple(n for n in tensorflow1.ENV.threads if n != "OMP_NUM_THREADS"),
)
THEANO = dataclasses.replace(
    theano.ENV,
    # The newest that has the names of collections where Keras looks for them.
    python=("3.7",),
    requirements=(
        "keras==2.3.1",
        "Theano==1.0.5",
        "numpy==1.21.6",
        "scipy==1.7.3",
        "h5py==2.10.0",
    ),
    imports=("keras", "theano"),
    variables={
        **theano.ENV.variables,
        **common.KERAS_AT_HOME,
        "KERAS_BACKEND": "theano",
    },
    # What is run a few times is compiled sooner where nothing is optimized.
    judged={"THEANO_FLAGS": theano.FLAGS + ",gcc.cxxflags=-O0"},
    pip_arguments=(),
    lock="keras2-theano",
    shims=tuple(shim for shim in theano.ENV.shims if shim.name == "openblas"),
)
CNTK = dataclasses.replace(
    cntk.ENV,
    requirements=("keras==2.3.1", *cntk.ENV.requirements, "h5py==2.10.0"),
    imports=("keras", "cntk"),
    variables={
        **cntk.ENV.variables,
        **common.KERAS_AT_HOME,
        "KERAS_BACKEND": "cntk",
    },
    lock="keras2-cntk",
)

# --- Rules ----------------------------------------------------------------------------


def _engine(s: Site) -> str:
    return s.backend.env.variables["KERAS_BACKEND"]


def _dims(s: Site) -> int:
    return len(s.inputs[0].axes) - 2


def _short(value: Any) -> Any:
    """``layers.Dense(10)`` as ``Dense(10)``."""
    if isinstance(value, str):
        return re.sub(r"(?<![\w.])layers\.(?=[A-Z])", "", value)
    if isinstance(value, Call):
        keywords = tuple((name, _short(v)) for name, v in value.keywords)
        arguments = tuple(map(_short, value.arguments))
        return Call(_short(value.function), arguments, keywords)
    if isinstance(value, Statements):
        return Statements(tuple(map(_short, value.lines)), _short(value.value))
    return value


def _shortened(rule: Rule) -> Rule:
    """A rule of Keras 3 in the words of Keras 2."""

    def short(text: Any) -> Any:
        return text and (lambda s: _short(text(s)))

    return dataclasses.replace(rule, make=short(rule.make), apply=short(rule.apply))


def _same(op: type[ops.Op], s: Site) -> Any:
    """The layer that Keras 3 has for it."""
    return _short(keras.RULES[op].make(s))  # type: ignore[misc]


def _each(expression: Callable[[Site], str] | str) -> Rule:
    """An activation of one's own: a function of the backend or an expression of x."""

    def write(s: Site) -> Any:
        if isinstance(expression, str):
            return call("Activation", expression)
        return call("Activation", f"lambda x: {expression(s)}")

    return Rule(make=write)


def _lambda(s: Site, expression: str, index: int = 0) -> Call:
    """A layer of an expression of x that gives another shape."""
    shape = None
    if _engine(s) == "theano":
        # The others find it out.
        type_ = s.outputs[index]
        sizes = [type_.size(letter) for letter in s.backend.storage(type_.axes)[1:]]
        shape = tuple("None" if size is None else size for size in sizes)
    return call("Lambda", f"lambda x: {expression}", output_shape=shape)


def _layer(s: Site, kind: str, *arguments: Any, **keywords: Any) -> Any:
    return call(kind, *arguments, **keywords, name=keras.layer_name(s))


def _convolution(s: Site) -> Any:
    depthwise = _is_depthwise(s)
    if s.op.groups != 1 and not depthwise:
        raise Gap("its convolution has no groups")
    if _engine(s) == "cntk" and squeeze(s.op.dilation) != 1:
        raise Gap("CNTK dilates its convolutions on a GPU alone")
    if depthwise and squeeze(s.op.dilation) != 1:
        raise Gap("its depthwise convolution has no dilation in every backend")
    return _same(ops.Conv, s)


def _is_depthwise(s: Site) -> bool:
    """One kernel for each channel."""
    single = s.op.groups == s.op.channels == s.inputs[0].size("C")
    plain = len({*s.op.stride}) == 1
    return bool(single and s.op.groups != 1 and plain and _dims(s) == 2)


def _convolution_weights(s: Site) -> tuple[Weight, ...]:
    kernel, *bias = keras.RULES[ops.Conv].weights(s)  # type: ignore
    if _is_depthwise(s):
        kernel = dataclasses.replace(kernel, path="depthwise_kernel")
    return (_flipped(s, kernel), *bias)


def _flipped(s: Site, kernel: Weight) -> Weight:
    """Theano's convolution runs through the kernel from its end."""
    turned = _engine(s) == "theano" and not _is_depthwise(s)
    flip = axes.SPATIAL[_dims(s)] if turned else ""
    return dataclasses.replace(kernel, flip=flip)


def _transposed(s: Site) -> Any:
    if _dims(s) == 1:
        raise Gap("it has no transposed convolution of series")
    if any(d != 1 for d in s.op.dilation):
        raise Gap("its transposed convolution has no dilation in every backend")
    if _dims(s) == 3 and any(s.op.output_padding):
        raise Gap("its transposed convolution of volumes has no output padding")
    return _same(ops.ConvTranspose, s)


def _transposed_weights(s: Site) -> tuple[Weight, ...]:
    kernel, *bias = keras.RULES[ops.ConvTranspose].weights(s)  # type: ignore
    return (_flipped(s, kernel), *bias)


def _max_pool(s: Site) -> Any:
    if s.op.ties == "first" and _engine(s) == "theano":
        raise Gap("of equal values each has Theano's gradient (form ties='all')")
    return _same(ops.MaxPool, s)


def _average_pool(s: Site) -> Any:
    if s.op.ceil:
        raise Gap("windows of an average hang over less than the padding that counts")
    getattr(s.op, "count_padding", None)
    size = squeeze(s.op.kernel)
    strides = unless(size, squeeze(s.op.stride))
    if any(map(any, s.op.padding)):
        if _dims(s) != 2:
            raise Gap("padding counts in its averages of series and volumes")
        return call("average_pool", s.x, size, squeeze(s.op.stride), s.op.padding)
    return call(_layer(s, f"AveragePooling{_dims(s)}D", size, strides=strides), s.x)


def _batch_norm(s: Site) -> Any:
    if s.recipe:
        raise Gap(
            "its running variance is the batch's times n / (n - 1 - epsilon), and "
            "depends on the backend"
        )
    _ = s.op.unbiased  # Read forward, a network does not tell.
    momentum = unless(0.99, s.op.momentum)
    layer = _short(keras.norm(s, "BatchNormalization", momentum=momentum))
    if s.dtype == "float64" and _engine(s) == "tensorflow" and _dims(s) == 2:
        return dataclasses.replace(layer, function="BatchNorm")
    return layer


def _recurrent(kind: str) -> Rule:
    def flip(x: Any) -> Any:
        return call(call("Activation", "lambda x: K.reverse(x, 1)"), x)

    rule = _shortened(keras.recurrent(kind, kind.lower(), "", "before", flip))

    def write(s: Site) -> Any:
        result = rule.apply(s)  # type: ignore[misc]
        # Else CNTK's engine hands on the memory in place of the output.
        return _unrolled(s, result) if kind == "LSTM" else result

    def weights(s: Site) -> tuple[Weight, ...]:
        own = rule.weights(s)  # type: ignore[operator]
        if _engine(s) != "cntk" or s.op.direction != "both":
            return tuple(own)
        # Its names of scopes are joined by another sign.
        return tuple(
            dataclasses.replace(w, path=f"_{w.path}", continues=True) for w in own
        )

    return dataclasses.replace(rule, apply=write, weights=weights)


def _unrolled(s: Site, value: Any) -> Any:
    """A recurrent layer, and what is around it, whose steps CNTK counts one by one."""
    if not isinstance(value, Call) or _engine(s) != "cntk":
        return value
    function, *arguments = (
        _unrolled(s, part) for part in (value.function, *value.arguments)
    )
    keywords = value.keywords
    if function == "LSTM":
        if s.inputs[0].size("T") is None:
            raise Gap("of an LSTM over unknown steps CNTK's engine gives the memory")
        name = [pair for pair in keywords if pair[0] == "name"]
        rest = [pair for pair in keywords if pair[0] != "name"]
        keywords = (*rest, ("unroll", True), *name)
    return Call(function, tuple(arguments), tuple(keywords))


def _spread(s: Site) -> tuple[Any, ...]:
    """The inputs; Theano must be told of an axis along which one is repeated."""
    if _engine(s) != "theano":
        return s.arguments
    shapes = []
    for type_ in s.inputs:
        shapes.append([type_.size(letter) for letter in s.backend.storage(type_.axes)])
    result: list[Any] = []
    for shape, argument in zip(shapes, s.arguments, strict=True):
        columns = zip(shape, *shapes, strict=True)
        pattern = tuple(own == 1 and {*all_} != {1} for own, *all_ in columns)
        if any(pattern):
            argument = call("broadcast", argument, pattern)
        result.append(argument)
    return tuple(result)


def _merge(op: type[ops.Op]) -> Rule:
    def write(s: Site) -> Any:
        s = dataclasses.replace(s, arguments=_spread(s))
        return _short(keras.RULES[op].apply(s))  # type: ignore[misc]

    return Rule(write, needs=("broadcast",))


def _divide(s: Site) -> Any:
    one, other = _spread(s)
    over = call(call("Activation", "lambda x: 1 / x"), other)
    return call(_layer(s, "Multiply"), f"[{inline(one)}, {inline(over)}]")


def _leaky_relu(s: Site) -> Any:
    if s.dtype == "float64" and _engine(s) == "tensorflow":
        # Its own rounds the slope to float32.
        return call("Activation", f"lambda x: K.relu(x) - {s.op.slope} * K.relu(-x)")
    return _layer(s, "LeakyReLU", alpha=s.op.slope)


def _flatten(s: Site) -> Any:
    if len(s.inputs[0].axes) == 2:
        # It refuses what is flat already.
        return Statements((), s.x)
    return call(_layer(s, "Flatten"), s.x)


def _matmul(s: Site) -> Any:
    if _dims(s) != 1:
        raise Gap("its product of matrices is one for each observation")
    axis = 2 if s.op.transpose_b else 1
    layer = _layer(s, "Dot", (2, axis))
    return call(layer, f"[{', '.join(map(inline, s.arguments))}]")


def _split(s: Site) -> Any:
    before = ":, " * s.axis(s.op.axis)
    lines, start = [], 0
    # The value keeps its name until its last piece is cut off.
    names = s.target.split(", ")
    for name, size in zip(names, s.op.sizes, strict=True):
        cut = _lambda(s, f"x[{before}{start}:{start + size}]", names.index(name))
        lines.append((name, inline(call(cut, s.x))))
        start += size
    lines.sort(key=lambda line: line[0] == inline(s.x))
    return Statements(tuple(f"{name} = {text}" for name, text in lines), s.target)


def _slice(s: Site) -> Any:
    if _engine(s) == "cntk" and s.op.step < 0:
        raise Gap("CNTK's slices that step backwards end elsewhere")
    if _engine(s) == "cntk" and s.outputs[0].size(s.op.axis) == 1:
        raise Gap("the losses of CNTK's engine do not find the axis of a slice of one")
    text = sliced(dataclasses.replace(s, arguments=("x",)))
    return call(_lambda(s, text), s.x)


def _permute(s: Site) -> Any:
    getattr(s.op, "axes", None)
    order = s.order()
    if order[0]:
        raise Gap("its layers leave the batch where it is")
    return call(_layer(s, "Permute", order[1:]), s.x)


def _pad(s: Site) -> Any:
    if not s.op.value:
        return _short(keras.RULES[ops.Pad].apply(s))  # type: ignore[misc]
    if _dims(s) != 2:
        raise Gap("it pads series and volumes with 0 alone")
    # Infinity times 0 would not be 0.
    value = max(s.op.value, -1e30)
    return call("pad", s.x, s.op.padding, value)


def _reduce(name: str) -> Rule:
    def write(s: Site) -> Any:
        over = squeeze(tuple(s.axis(letter) for letter in s.op.over))
        keep = unless(False, s.op.keep)
        return _lambda(s, inline(call(name, "x", over, keepdims=keep)))

    return Rule(make=write)


def _upsample(s: Site) -> Any:
    if s.op.mode != "nearest":
        raise Gap("where pixels lie when it enlarges smoothly depends on the backend")
    return _same(ops.Upsample, s)


RULES: dict[type[ops.Op], Rule] = {
    **{
        op: _shortened(rule)
        for op, rule in keras.RULES.items()
        if op not in (ops.GroupNorm, ops.RMSNorm, ops.MultiHeadAttention)
    },
    ops.Conv: Rule(make=_convolution, weights=_convolution_weights),
    ops.ConvTranspose: Rule(make=_transposed, weights=_transposed_weights),
    ops.MaxPool: Rule(make=_max_pool),
    ops.AvgPool: Rule(_average_pool, needs=("average_pool",)),
    ops.BatchNorm: dataclasses.replace(
        keras.RULES[ops.BatchNorm], make=_batch_norm, needs=("BatchNorm",)
    ),
    ops.LayerNorm: dataclasses.replace(
        _shortened(keras.RULES[ops.LayerNorm]), needs=("LayerNormalization",)
    ),
    ops.Embedding: Rule(
        make=lambda s: _layer(
            s,
            "Embedding",
            s.op.vocabulary,
            s.op.features,
            embeddings_initializer=keras.initial(
                s, "embedding", "keras.initializers.RandomUniform(-0.05, 0.05)"
            ),
        ),
        weights=keras.RULES[ops.Embedding].weights,
    ),
    ops.SimpleRNN: _recurrent("SimpleRNN"),
    ops.LSTM: _recurrent("LSTM"),
    ops.GRU: _recurrent("GRU"),
    ops.LeakyRelu: Rule(make=_leaky_relu),
    ops.Gelu: Rule(
        make=lambda s: _layer(s, "Activation", _gelu(s)),
        needs=("gelu",),
    ),
    ops.Silu: _each(lambda s: "x * K.sigmoid(x)"),
    ops.LogSoftmax: _each(lambda s: f"K.log({inline(_softmax(s))})"),
    ops.Negative: _each(lambda s: "-x"),
    ops.Exp: _each("K.exp"),
    ops.Log: _each("K.log"),
    ops.Sqrt: _each("K.sqrt"),
    ops.Abs: _each("K.abs"),
    ops.Square: _each("K.square"),
    ops.Clip: _each(lambda s: f"K.clip(x, {s.op.low}, {s.op.high})"),
    ops.Scale: _each(lambda s: _scale(s)),
    **{
        op: _merge(op)
        for op in (ops.Add, ops.Subtract, ops.Multiply, ops.Maximum, ops.Minimum)
    },
    ops.Divide: Rule(_divide, needs=("broadcast",)),
    ops.MatMul: Rule(_matmul),
    ops.Split: Rule(_split),
    ops.Slice: Rule(_slice),
    ops.Flatten: Rule(_flatten),
    ops.Transpose: Rule(_permute),
    Restore: Rule(_permute),
    Arrange: Rule(_permute),
    ops.Pad: Rule(_pad, needs=("pad",)),
    ops.ReduceMean: _reduce("K.mean"),
    ops.ReduceSum: _reduce("K.sum"),
    ops.ReduceMax: _reduce("K.max"),
    ops.Upsample: Rule(make=_upsample),
}


def _gelu(s: Site) -> str:
    if not s.op.approximate:
        raise Gap("its backends have no error function")
    return "gelu"


def _softmax(s: Site) -> Call:
    # From the end: CNTK's does not count the axis of the batch.
    axis = s.axis(s.op.axis) - len(s.inputs[0].axes)
    return call("K.softmax", "x", axis=unless(-1, axis))


def _scale(s: Site) -> str:
    text = f"{s.op.factor} * x" if s.op.factor != 1 else "x"
    return f"{text} + {s.op.offset}" if s.op.offset else text


def _adam(o: recipe.Adam) -> Any:
    if o.weight_decay:
        raise Gap("Adam: it has no weight decay that leaves the gradient alone")
    return keras.OPTIMIZERS[recipe.Adam](o)


def _tensorflow_adam(o: recipe.Adam) -> Any:
    """TensorFlow's own; which step it is, Keras's reads before or after it counts."""
    _adam(o)
    return tensorflow1.OPTIMIZERS[recipe.Adam](o)


OPTIMIZERS: dict[type[recipe.Optimizer], Any] = {
    **keras.OPTIMIZERS,
    recipe.Adam: _adam,
}

HELPERS = {
    "gelu": '''
def gelu(x):
    """Gaussian error linear unit, by tanh."""
    inside = (x + 0.044715 * K.pow(x, 3)) * np.sqrt(2 / np.pi)
    return 0.5 * x * (1 + K.tanh(inside))
''',
    "pad": '''
def pad(x, padding, value):
    """Padding by another value than 0."""
    inside = ZeroPadding2D(padding)(Activation(K.ones_like)(x))
    outside = Activation(lambda x: value * (1 - x))(inside)
    return Add()([ZeroPadding2D(padding)(x), outside])
''',
    "broadcast": '''
def broadcast(x, pattern):
    """Tell Theano along which axes x is repeated."""
    return Activation(lambda x: K.pattern_broadcast(x, pattern))(x)
''',
    "average_pool": '''
def average_pool(x, size, strides, padding):
    """Mean of the values in each window, where padding does not count."""
    pad, pool = ZeroPadding2D(padding), AveragePooling2D(size, strides=strides)
    shares = pool(pad(Activation(K.ones_like)(x)))
    return Multiply()([pool(pad(x)), Activation(lambda x: 1 / x)(shares)])
''',
    "BatchNorm": '''
class BatchNorm(keras.layers.BatchNormalization):
    """The fused one of TensorFlow has no float64."""

    def call(self, x, training=None):
        x = (x - self.moving_mean) / K.sqrt(self.moving_variance + self.epsilon)
        x = x * self.gamma if self.scale else x
        return x + self.beta if self.center else x
''',
    "LayerNormalization": '''
class LayerNormalization(Layer):
    """Ba et al., 2016."""

    def __init__(self, epsilon=1e-3, center=True, scale=True, **kwargs):
        super().__init__(**kwargs)
        self.epsilon, self.center, self.scale = epsilon, center, scale

    def build(self, input_shape):
        size = input_shape[-1:]
        if self.scale:
            self.gamma = self.add_weight("gamma", size, initializer="ones")
        if self.center:
            self.beta = self.add_weight("beta", size, initializer="zeros")
        super().build(input_shape)

    def call(self, x):
        x -= K.mean(x, axis=-1, keepdims=True)
        variance = K.mean(K.square(x), axis=-1, keepdims=True)
        x /= K.sqrt(variance + self.epsilon)
        if self.scale:
            x *= self.gamma
        return x + self.beta if self.center else x
''',
}

# --- Rewrites -------------------------------------------------------------------------


def _is_even(op: Any) -> bool:
    """Whether all that is called same means the same in every backend."""
    odd = all(isinstance(k, int) and k % 2 for k in op.kernel)
    pool = isinstance(op, ops.MaxPool) and not {*op.kernel} <= {1, 3}
    even = all(
        pair == (k // 2, k // 2) for k, pair in zip(op.kernel, op.padding, strict=True)
    )
    dilated = any(d != 1 for d in getattr(op, "dilation", ()))
    return odd and even and not pool and not dilated and squeeze(op.stride) == 1


def _unless_even(op: Any) -> Sequence[ops.Op]:
    """Padding where only some backends have a word for it."""
    if _is_even(op) and not getattr(op, "ceil", False):
        return (op,)
    if isinstance(op, ops.Conv):
        return pad_first(op)
    padding, none = overhang(op), ((0, 0),) * len(op.kernel)
    plain = dataclasses.replace(op, padding=none, ceil=False)
    if not any(map(any, padding)):
        return (plain,)
    return (ops.Pad(padding, float("-inf")), plain)


def _crop(op: ops.ConvTranspose) -> Sequence[ops.Op]:
    """The whole result, of which padding is cut off."""
    if not any(map(any, op.padding)):
        return (op,)
    pairs = list(zip(op.padding, op.output_padding, strict=True))
    crop = tuple((-b, min(more - a, 0)) for (b, a), more in pairs)
    rest = tuple(max(more - a, 0) for (_, a), more in pairs)
    none = ((0, 0),) * len(pairs)
    whole = dataclasses.replace(op, padding=none, output_padding=rest)
    return (whole, ops.Pad(crop))


REWRITES = {
    **keras.REWRITES,
    ops.Conv: _unless_even,
    ops.ConvTranspose: _crop,
    ops.MaxPool: _unless_even,
}

# --- Missing --------------------------------------------------------------------------

_NONE = "Keras 2 has no such layer"
MISSING = dict.fromkeys((ops.GroupNorm, ops.RMSNorm, ops.MultiHeadAttention), _NONE)

# --- The frame ------------------------------------------------------------------------

SETUP = '''
# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network$and_optimizer."""
    $fresh
    np.random.seed(seed)
    $build


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    for weight in model.weights:
        K.set_value(weight, arrays[$name])


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    np.savez(path, **{$each: K.get_value(w) for w in model.weights})
'''

TRAIN = '''
# 4. Train
def batches(x, y, seed):
    """Yield complete batches without end, every epoch in a new random order."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(x))
        for start in range(0, len(x) - BATCH_SIZE + 1, BATCH_SIZE):
            rows = order[start : start + BATCH_SIZE]
            yield x[rows], y[rows]


def train_step(model, x, y):
    """Make one optimizer step on a batch; return its loss."""
    return model.train_on_batch(x, y)


def train(model, x, y, epochs=EPOCHS, seed=0, validation=None, on_step=None):
    """Train for some epochs; print the mean loss of each."""
    callbacks = []
    if on_step:
        report = LambdaCallback(on_batch_end=lambda step, logs: on_step(logs["loss"]))
        callbacks.append(report)
    if validation:
        report = LambdaCallback(
            on_epoch_end=lambda epoch, logs: print(
                f"val_$metric: {evaluate(model, *validation):.4f}"
            )
        )
        callbacks.append(report)
    model.fit_generator(
        batches(x, y, seed),
        steps_per_epoch=len(x) // BATCH_SIZE,
        epochs=epochs,
        callbacks=callbacks,
        verbose=2,
    )
'''


# It says nothing unless it is told to.
EXTRACT = keras.EXTRACT.replace(", verbose=0", "")
EVALUATE = keras.EVALUATE.replace(", verbose=0", "")


def _imports(parts: Parts, text: str) -> list[str]:
    """KERAS_BACKEND is read when Keras is imported."""
    engine = parts.backend.env.variables["KERAS_BACKEND"]
    own = set(re.findall(r"^class (\w+)\(", text, re.MULTILINE))
    named = set(re.findall(r"(?<![\w.\"])([A-Z][a-z]\w*|[A-Z]+\d?[A-Za-z]*)\(", text))
    named |= {name for name in re.findall(r"\((Layer)\):", text)}
    # As formatters sort them: GRU before Dense.
    layers = sorted(named - own - {"Model"}, key=lambda n: (not n.isupper(), n.lower()))
    line = f"from keras.layers import {', '.join(layers)}"
    lines = [line]
    if len(line) > 88:
        lines = ["from keras.layers import (", *(f"    {n}," for n in layers), ")"]
    return [
        "import argparse",
        "import os",
        *(() if parts.recipe else ("import time",)),
        "",
        f'os.environ["KERAS_BACKEND"] = "{engine}"',
        "",
        "import keras",
        "import numpy as np",
        *(("import tensorflow as tf",) if "tf.train." in text else ()),
        *(
            ("import theano",)
            if parts.dtype == "float64" and engine == "theano"
            else ()
        ),
        "from keras import backend as K",
        *(("from keras.callbacks import LambdaCallback",) if parts.recipe else ()),
        *lines,
        "from keras.models import Model",
    ]


def _network(parts: Parts) -> Section:
    section = keras.network_section(parts)
    lines: list[str | Line] = []
    for line in section.slots["lines"]:
        text = line if isinstance(line, str) else line.text
        text = re.sub(r"(?<![\w.])keras\.(?=Input\(|Model\()", "", text)
        lines.append(text if isinstance(line, str) else Line(text, line.node))
    return dataclasses.replace(section, slots={"lines": lines})


def _text(section: Section) -> str:
    lines = section.slots["lines"]
    return "\n".join(line if isinstance(line, str) else line.text for line in lines)


def frame(parts: Parts) -> list[Section]:
    """The program around the network."""
    engine = parts.backend.env.variables["KERAS_BACKEND"]
    network = _network(parts)
    text = _text(network)  # type: ignore[arg-type]
    build = keras.made(parts)
    if "tf.train." in "".join(build):
        if parts.dtype == "float64":
            build = keras.made(parts, tensorflow1.exact)
        build.insert(
            1, "# Keras's own Adam races with its step counter; the outcome is chance."
        )
    wide = ['K.set_floatx("float64")'] if parts.dtype == "float64" else []
    if wide and engine == "theano":
        wide.insert(0, 'theano.config.floatX = "float64"')
    setup = {
        "and_optimizer": " and its optimizer" if parts.recipe else "",
        # Else the names of its layers would be taken.
        "fresh": ["K.clear_session()"] if engine == "tensorflow" else [],
        "build": build,
        "name": "weight.name"
        if engine != "tensorflow"
        else 'weight.name.split(":")[0]',
        "each": "w.name" if engine != "tensorflow" else 'w.name.split(":")[0]',
    }
    sections = [
        head(parts, _imports(parts, text + "".join(build)), wide, first=()),
        load_data(parts),
        network,
        Section("setup", SETUP, setup),
    ]
    number = "5" if parts.recipe else "4"
    predict = Section("predict", keras.PREDICT, {"number": number})
    if not parts.recipe:
        extract = Section("evaluate", EXTRACT)
        return [*sections, predict, extract, main(parts, "model")]
    train = Section("train", TRAIN, {"metric": parts.workload.metric})
    return [
        *sections,
        train,
        predict,
        keras.measure(parts, EVALUATE),
        main(parts, "model"),
    ]


def _on(name: str, engine: str, env: Env) -> Backend:
    return dataclasses.replace(
        keras.on_tensorflow,
        name=name,
        title=f"Keras 2 on {engine}",
        home="https://keras.io/2.3.1/",
        env=env,
        barrier="lambda: sum(K.get_value(w).sum() for w in model.weights)",
        rules=RULES,
        optimizers=OPTIMIZERS
        if engine != "TensorFlow"
        else {**OPTIMIZERS, recipe.Adam: _tensorflow_adam},
        frame=frame,
        rewrites=REWRITES,
        missing=MISSING,
        helpers=HELPERS,
        forms={
            **keras.on_tensorflow.forms,
            ops.BatchNorm: ({"unbiased": True}, {"unbiased": False}),
            **({ops.MaxPool: ({"ties": "all"},)} if engine == "Theano" else {}),
        },
        activations={
            op: text
            for op, text in keras.on_tensorflow.activations.items()
            if op is not ops.Silu
        },
        imports=(("import keras", "keras"),),
        reports="step",
        # To CNTK's engine whole numbers are float32, whatever they are cast to.
        dtypes=("float32",) if engine == "CNTK" else keras.on_tensorflow.dtypes,
    )


on_tensorflow = _on("keras2-tensorflow", "TensorFlow", TENSORFLOW)
on_theano = _on("keras2-theano", "Theano", THEANO)
on_cntk = _on("keras2-cntk", "CNTK", CNTK)

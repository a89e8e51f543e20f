"""TensorFlow 1: a graph of tf.layers and tf.nn, fed and fetched through a session."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from netglot import axes, ops, recipe
from netglot.backend import Backend, Env, Gap, Parts, Rule, Scope, Section, Site, Weight
from netglot.backends import common, keras, tensorflow
from netglot.emit import function_name
from netglot.graph import Call as BlockCall
from netglot.graph import Repeat
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

# --- Facts ----------------------------------------------------------------------------

ENV = Env(
    python=("3.7",),
    requirements=(
        "tensorflow==1.15.5",
        "keras==2.3.1",
        "protobuf<3.21",
        "numpy<1.19",
        "h5py<3",
    ),
    imports=("tensorflow",),
    # Its banner about instruction sets is no news to anybody.
    variables={"TF_CPP_MIN_LOG_LEVEL": "2", **common.KERAS_AT_HOME},
    threads=tensorflow.ENV.threads,
    lock="tensorflow1",
)

# --- Rules ----------------------------------------------------------------------------


def _dims(s: Site) -> int:
    return len(s.inputs[0].axes) - 2


def _wide(s: Site, value: float) -> Any:
    """A number that TensorFlow would otherwise round to float32."""
    return call("np.float64", value) if s.dtype == "float64" else value


def _written(s: Site, prefix: str, expression: Any, inside: int = 0) -> tuple[str, ...]:
    """The lines of a statement; ``inside`` so many blocks."""
    margin = s.backend.margin
    rows = layout(" " * (margin + 4 * inside) + prefix, expression)
    return tuple(row[margin:] for row in rows)


def _initial(s: Site, role: str, default: type[recipe.Initializer]) -> Any:
    """The recipe's initializer, where it is not that of the layer."""
    initializers = s.initializers or recipe.Initializers()
    initializer = initializers.of(role)
    return None if type(initializer) is default else s.initial(_WEIGHT[role])


_WEIGHT = {"kernel": "kernel", "bias": "bias", "embedding": "table"}


def _only_defaults(s: Site, *roles: str) -> None:
    """Of what takes no initializer: kernels are Glorot's, biases 0."""
    initializers = s.initializers or recipe.Initializers()
    for role in roles:
        wanted = recipe.Zeros if role == "bias" else recipe.GlorotUniform
        if type(initializers.of(role)) is not wanted:
            raise Gap(f"the initializer of its {role} cannot be chosen")


def _layer(s: Site, function: str, *arguments: Any, **keywords: Any) -> Call:
    """A layer of tf.layers with weights: how they start, and its name."""
    bias = _initial(s, "bias", recipe.Zeros) if s.op.bias else None
    return call(
        f"tf.layers.{function}",
        s.x,
        *arguments,
        **keywords,
        activation=s.activation,
        use_bias=unless(True, s.op.bias),
        kernel_initializer=_initial(s, "kernel", recipe.GlorotUniform),
        bias_initializer=bias,
        name=quoted(s.name),
    )


def _own(s: Site, function: str, *arguments: Any, **keywords: Any) -> Any:
    """A layer that the program defines, and an activation around it."""
    _only_defaults(s, "kernel", *(("bias",) if s.op.bias else ()))
    keywords |= {"use_bias": unless(True, s.op.bias), "name": quoted(s.name)}
    made = call(function, s.x, *arguments, **keywords)
    return call(s.activation, made) if s.activation else made


def _same(s: Site) -> str | None:
    # Any other padding comes before the layer: see the rewrites.
    return quoted("same") if any(map(any, s.op.padding)) else None


def _is_depthwise(s: Site) -> bool:
    """One kernel for each channel; several for one have another initial scale."""
    single = s.op.groups == s.op.channels == s.inputs[0].size("C")
    plain = squeeze(s.op.dilation) == 1 and squeeze(s.op.stride) != s.op.stride
    return bool(single and s.op.groups != 1 and plain and _dims(s) == 2)


def _convolution(s: Site) -> Any:
    stride, dilation = squeeze(s.op.stride), squeeze(s.op.dilation)
    if _is_depthwise(s):
        _only_defaults(s, "kernel", "bias")
        # The one that leaves out the second half, as MobileNets use it.
        return call(
            "tf.contrib.layers.separable_conv2d",
            s.x,
            "None",
            squeeze(s.op.kernel),
            stride=unless(1, stride),
            padding=None if _same(s) else quoted("VALID"),
            activation_fn=s.activation or "None",
            biases_initializer=None if s.op.bias else "None",
            scope=quoted(s.name),
        )
    # It knows strides or dilation, not both.
    afterwards = stride != 1 and dilation != 1
    given = {
        "strides": None if afterwards else unless(1, stride),
        "padding": _same(s),
        "dilation_rate": unless(1, dilation),
    }
    if s.op.groups != 1:
        if afterwards:
            raise Gap("a convolution in groups has either strides or dilation")
        kernel = s.op.kernel, s.op.groups
        return _own(s, "group_conv", s.op.channels, *kernel, **given)
    size = s.op.channels, squeeze(s.op.kernel)
    made = _layer(s, f"conv{_dims(s)}d", *size, **given)
    if afterwards:
        steps = ", ".join(f"::{n}" if n != 1 else ":" for n in s.op.stride)
        return f"{inline(made)}[:, {steps}]"
    return made


def _convolution_weights(s: Site) -> tuple[Weight, ...]:
    letters = axes.SPATIAL[_dims(s)]
    kernel, bias = Weight("kernel", letters + "IO", ("kernel",)), "bias"
    if _is_depthwise(s):
        # O counts the channels, and I is 1.
        kernel = Weight("depthwise_weights", letters + "OI", ("kernel",))
        bias = "biases"
    return (kernel, Weight(bias, "O", ("bias",))) if s.op.bias else (kernel,)


def _transposed(s: Site) -> Any:
    if s.op.groups != 1:
        raise Gap("its transposed convolution has no groups")
    if squeeze(s.op.dilation) != 1:
        raise Gap("its transposed convolution has no dilation on a CPU")
    triples = list(zip(s.op.kernel, s.op.stride, s.op.output_padding, strict=True))
    if any(more >= stride for _, stride, more in triples):
        raise Gap("its output padding is smaller than the stride")
    padding = _same(s)
    # Left alone, a layer fills up to a multiple of the stride, and not more.
    usual = all(more == max(stride - k, 0) for k, stride, more in triples)
    if _dims(s) > 1 and (padding or usual):
        return _layer(
            s,
            f"conv{_dims(s)}d_transpose",
            s.op.channels,
            squeeze(s.op.kernel),
            strides=unless(1, squeeze(s.op.stride)),
            padding=padding,
        )
    sizes = tuple(s.outputs[0].size(a) for a in axes.SPATIAL[_dims(s)])
    if not all(isinstance(size, int) for size in sizes):
        raise Gap("a transposed convolution with output padding must know its size")
    return _own(
        s,
        "conv_transpose",
        s.op.channels,
        s.op.kernel,
        sizes,
        strides=s.op.stride,
        padding=padding and quoted("SAME"),
    )


def _max_pool(s: Site) -> Any:
    if _dims(s) == 3 and s.dtype == "float64":
        raise Gap("its maximum over windows of a volume has no float64")
    # The rewrites leave neither padding nor ceil, but for what is called same.
    getattr(s.op, "ceil", None)
    size, stride = squeeze(s.op.kernel), squeeze(s.op.stride)
    name = f"tf.layers.max_pooling{_dims(s)}d"
    return call(name, s.x, size, stride, padding=_same(s))


def _average_pool(s: Site) -> Any:
    if s.op.ceil:
        raise Gap("windows of an average hang over less than the padding that counts")
    # Padding that counts was added by a rewrite.
    getattr(s.op, "count_padding", None)
    if any(map(any, s.op.padding)):
        sizes = tensorflow.space_sizes(s)
        if not tensorflow.is_same(sizes, s.op.kernel, s.op.stride, s.op.padding):
            pads = tensorflow.around(s.op.padding)
            return call("average_pool", s.x, s.op.kernel, s.op.stride, pads)
    size, stride = squeeze(s.op.kernel), squeeze(s.op.stride)
    name = f"tf.layers.average_pooling{_dims(s)}d"
    return call(name, s.x, size, stride, padding=_same(s))


def _batch_norm(s: Site) -> Any:
    fused = len(s.inputs[0].axes) == 4
    if s.op.unbiased and s.recipe and not fused:
        raise Gap("its running variance of features, series and volumes is the biased")
    if s.op.unbiased and s.recipe and s.dtype == "float64":
        raise Gap("its fused batch norm, whose variance is unbiased, has no float64")
    # The fused one is faster, and its running variance the unbiased one.
    plain = fused and (s.dtype == "float64" or (s.recipe and not s.op.unbiased))
    momentum = unless(0.99, s.op.momentum)
    return call(
        "tf.layers.batch_normalization",
        s.x,
        momentum=None if momentum is None else _wide(s, momentum),
        epsilon=unless(1e-3, s.op.epsilon),
        center=unless(True, s.op.shift),
        scale=unless(True, s.op.scale),
        training="training" if s.recipe else None,
        name=quoted(s.name),
        fused=False if plain else None,
    )


def _norm(function: str, *read: str, **given: Any) -> Any:
    """A norm of single observations; ``given`` are names of its own for arguments."""

    def write(s: Site) -> Any:
        space = len(s.inputs[0].axes) - 2
        return call(
            function,
            s.x,
            *(getattr(s.op, name) for name in read),
            epsilon=s.op.epsilon,
            scale=unless(True, s.op.scale),
            center=unless(True, getattr(s.op, "shift", True)),
            # An image's own are the default.
            reduction_axes=unless((-3, -2), tuple(range(-1 - space, -1)))
            if read
            else None,
            **{given.get("name", "name"): quoted(s.name)},
        )

    return write


def _dropout(s: Site) -> Any:
    rate = s.op.rate
    if not s.recipe:
        return Statements((), s.x)
    dropped = call("tf.layers.dropout", s.x, rate, training="training")
    return Statements((f"{s.target} = {inline(dropped)}",), s.target)


def _embedding(s: Site) -> Any:
    table = call(
        "tf.get_variable",
        quoted(s.name),
        f"[{s.op.vocabulary}, {s.op.features}]",
        dtype=unless("tf.float32", f"tf.{s.dtype}"),
        initializer=_initial(s, "embedding", recipe.GlorotUniform),
    )
    lines = _written(s, "embedding = ", table)
    found = inline(call("tf.nn.embedding_lookup", "embedding", s.x))
    return Statements((*lines, f"{s.target} = {found}"), s.target)


# --- Recurrent layers -----------------------------------------------------------------


def _cell(s: Site) -> Any:
    """A cell: one matrix for what it reads and for its state, and one bias."""
    initializers = s.initializers or recipe.Initializers()
    if initializers.kernel != initializers.recurrent:
        raise Gap("its cells have one initializer for both kernels")
    given: dict[str, Any] = {"activation": unless("tf.tanh", _CELL[s.op.activation])}
    kernel = _initial(s, "kernel", recipe.GlorotUniform)
    if s.op.gates == "rzn":
        if (s.op.reset, s.op.bias) != ("before", "one"):
            raise Gap(
                "the reset gate of its GRUCell acts before the product, and it has one "
                "bias; its cell in cuDNN's form starts the bias of the gates at 1"
            )
        return call(
            "tf.nn.rnn_cell.GRUCell",
            s.op.units,
            **given,
            kernel_initializer=kernel,
            # Left out, the bias of its gates starts at 1.
            bias_initializer=s.initial("bias"),
        )
    if s.op.bias != "one":
        raise Gap("its cells have one bias")
    _only_defaults(s, "bias")
    if s.op.gates == "ifgo":
        optimizer = s.recipe.optimizer if s.recipe else None
        if s.op.forget_bias and getattr(optimizer, "weight_decay", 0):
            raise Gap("what its cell adds to the forget gate itself does not decay")
        given = {"forget_bias": unless(1.0, s.op.forget_bias), **given}
        return call("tf.nn.rnn_cell.LSTMCell", s.op.units, **given, initializer=kernel)
    _only_defaults(s, "kernel")
    return call("tf.nn.rnn_cell.BasicRNNCell", s.op.units, **given)


_CELL = {"tanh": "tf.tanh", "relu": "tf.nn.relu", "sigmoid": "tf.sigmoid"}


def _recurrent(s: Site) -> Any:
    cell, kind = _cell(s), f"tf.{s.dtype}"
    keywords = {"dtype": kind, "scope": quoted(s.name)}
    last, direction = s.op.returns == "last", s.op.direction
    end = ".h" if s.op.gates == "ifgo" else ""
    if direction == "both":
        # Two cells, one for each direction.
        lines = [*_written(s, "cell = ", cell), *_written(s, "back = ", cell)]
        run = call("tf.nn.bidirectional_dynamic_rnn", "cell", "back", s.x, **keywords)
        names = "_, states" if last else "outputs, _"
        lines += _written(s, f"{names} = ", run)
        joined: Any = call("tf.concat", "outputs", axis=2)
        if last:
            states = f"[state{end} for state in states]" if end else "states"
            joined = call("tf.concat", states, axis=1)
        return Statements((*lines, f"{s.target} = {inline(joined)}"), s.target)
    x = call("tf.reverse", s.x, "[1]") if direction == "backward" else s.x
    run = call("tf.nn.dynamic_rnn", "cell", x, **keywords)
    names = "_, state" if last else f"{s.target}, _"
    lines = [*_written(s, "cell = ", cell), *_written(s, f"{names} = ", run)]
    if last:
        return Statements(tuple(lines), f"state{end}")
    if direction == "backward":
        lines.append(f"{s.target} = tf.reverse({s.target}, [1])")
    return Statements(tuple(lines), s.target)


def _recurrent_weights(s: Site) -> tuple[Weight, ...]:
    result: list[Weight] = []
    cells = {"h": "basic_rnn_cell", "ifgo": "lstm_cell", "rzn": "gru_cell"}
    place = cells[s.op.gates]
    for direction, back in (("forward", ""), ("backward", "_back")):
        if s.op.direction not in (direction, "both"):
            continue
        inside = place
        if s.op.direction == "both":
            inside = f"{'bw' if back else 'fw'}/{place}"
        both, bias = (f"kernel{back}", f"recurrent{back}"), (f"bias{back}",)
        whole = Weight(f"{inside}/kernel", "SIG", both, join=True)
        if s.op.gates == "rzn":
            for name, gates in (("gates", "rz"), ("candidate", "n")):
                path = f"{inside}/{name}"
                joined = dataclasses.replace(whole, path=f"{path}/kernel", gates=gates)
                result += [joined, Weight(f"{path}/bias", "G", bias, gates)]
            continue
        lstm = s.op.gates == "ifgo"
        order = "igfo" if lstm else ""
        # The cell adds this to the forget gate itself.
        offset = {"f": s.op.forget_bias} if lstm else {}
        result += [
            dataclasses.replace(whole, gates=order),
            Weight(f"{inside}/bias", "G", bias, order, offset=offset),
        ]
    return tuple(result)


def _attention(s: Site) -> Any:
    _only_defaults(s, "kernel", "bias")
    query, *others = s.arguments
    key, value = (others or [query])[0], (others or [query])[-1]
    return call(
        "attention",
        *(query, key, value),
        s.op.heads,
        causal=unless(False, s.op.causal),
        use_bias=unless(True, s.op.bias),
        name=quoted(s.name),
    )


def _attention_weights(s: Site) -> tuple[Weight, ...]:
    shared: Any = tensorflow.RULES[ops.MultiHeadAttention].weights
    return tuple(
        dataclasses.replace(w, path=w.path.replace(".", "/")) for w in shared(s)
    )


# --- Shapes and blocks ----------------------------------------------------------------


def _upsample(s: Site) -> Any:
    if _dims(s) == 2:
        smooth = s.op.mode != "nearest"
        if smooth and s.dtype != "float32":
            raise Gap("it enlarges images smoothly in float32 alone")
        _ = s.op.scale  # The output is so many times as large.
        sizes = [s.outputs[0].size(letter) for letter in "HW"]
        if not all(isinstance(size, int) for size in sizes):
            raise Gap("it resizes to a size that must be known")
        kind = "bilinear" if smooth else "nearest_neighbor"
        return call(
            f"tf.image.resize_{kind}",
            s.x,
            str(sizes),
            # Without it, pixels have corners and no centres.
            half_pixel_centers=True if smooth else None,
        )
    if s.op.mode != "nearest":
        raise Gap("it enlarges images smoothly, not series and volumes")
    value = s.x
    for axis, times in enumerate(s.op.scale, start=1):
        value = call("tf.repeat", value, times, axis=axis) if times != 1 else value
    return value


def _pad(s: Site) -> Any:
    if min(min(pair) for pair in s.op.padding) >= 0:
        return tensorflow.RULES[ops.Pad].apply(s)  # type: ignore[misc]
    # What is left of a transposed convolution: see the rewrites.
    cuts = ", ".join(f"{-a or ''}:{b or ''}" for a, b in s.op.padding)
    return f"{inline(s.x)}[:, {cuts}]"


def _name(name: str) -> str:
    """The function of a network or block, other than those that a program defines."""
    name = function_name(name)
    return f"{name}_network" if name in HELPERS else name


def _use(s: Site, target: str) -> Call:
    told = tensorflow.trains(s.op.block.nodes, s.recipe is not None)
    training = {"training": "training"} if told else {}
    arguments = s.arguments if target == "" else (target,)
    name = _name(s.op.block.name)
    return call(name, *arguments, **dict(s.op.arguments), **training)


def _block(s: Site) -> Any:
    scope = f"with tf.variable_scope({quoted(s.name)}):"
    lines = _written(s, f"{s.target} = ", _use(s, ""), inside=1)
    return Statements((scope, *lines), s.target)


def _repeat(s: Site) -> Any:
    first = [f"{s.target} = {inline(s.x)}"] if s.target != s.x else []
    return Statements(
        (
            *first,
            f"for i in range({s.op.times}):",
            f'    with tf.variable_scope(f"{s.name}_{{i}}"):',
            *_written(s, f"{s.target} = ", _use(s, s.target), inside=2),
        ),
        s.target,
    )


#: gamma, beta, moving_mean, moving_variance: as in Keras.
AFFINE = keras.RULES[ops.BatchNorm].weights

RULES: dict[type[ops.Op], Rule] = {
    # Operations, in the same words.
    **tensorflow.RULES,
    ops.Dense: Rule(
        lambda s: _layer(s, "dense", s.op.features),
        weights=(Weight("kernel", "IO", ("kernel",)), Weight("bias", "O", ("bias",))),
    ),
    ops.Conv: Rule(_convolution, weights=_convolution_weights),
    ops.ConvTranspose: Rule(
        _transposed, weights=keras.RULES[ops.ConvTranspose].weights
    ),
    ops.MaxPool: Rule(_max_pool),
    ops.AvgPool: Rule(_average_pool),
    ops.BatchNorm: Rule(_batch_norm, weights=AFFINE),
    ops.LayerNorm: Rule(_norm("layer_norm"), weights=AFFINE),
    ops.RMSNorm: Rule(_norm("rms_norm"), weights=(Weight("gamma", "F", ("scale",)),)),
    ops.GroupNorm: Rule(
        _norm("tf.contrib.layers.group_norm", "groups", name="scope"), weights=AFFINE
    ),
    ops.Dropout: Rule(_dropout),
    ops.Embedding: Rule(_embedding, weights=(Weight("", "VF", ("table",)),)),
    ops.SimpleRNN: Rule(_recurrent, weights=_recurrent_weights),
    ops.LSTM: Rule(_recurrent, weights=_recurrent_weights),
    ops.GRU: Rule(_recurrent, weights=_recurrent_weights),
    ops.MultiHeadAttention: Rule(_attention, weights=_attention_weights),
    ops.Gelu: Rule(
        lambda s: call("gelu", s.x, approximate=unless(False, s.op.approximate))
    ),
    ops.Silu: common.function("tf.nn.swish"),
    ops.Slice: Rule(common.sliced),
    ops.Pad: Rule(_pad),
    ops.Flatten: common.function("tf.layers.flatten"),
    ops.Upsample: Rule(_upsample),
    BlockCall: Rule(_block),
    Repeat: Rule(_repeat),
}

LOSSES: dict[type[recipe.Loss], Any] = {
    recipe.SoftmaxCrossEntropy: call(
        "tf.nn.sparse_softmax_cross_entropy_with_logits", labels="y", logits="scores"
    ),
    recipe.MeanSquaredError: call("tf.square", "scores - y"),
}


def _sgd(o: recipe.SGD) -> Any:
    if not o.momentum:
        return call("tf.train.GradientDescentOptimizer", learning_rate=o.rate)
    return call(
        "tf.train.MomentumOptimizer",
        learning_rate=o.rate,
        momentum=o.momentum,
        use_nesterov=unless(False, o.nesterov),
    )


def _adam(o: recipe.Adam) -> Any:
    given = {
        "learning_rate": o.rate,
        "beta1": unless(0.9, o.beta1),
        "beta2": unless(0.999, o.beta2),
        "epsilon": unless(1e-8, o.epsilon),
    }
    if o.weight_decay:
        # What it takes away is not multiplied by the rate.
        decay = o.rate * o.weight_decay
        return call("tf.contrib.opt.AdamWOptimizer", weight_decay=decay, **given)
    return call("tf.train.AdamOptimizer", **given)


OPTIMIZERS: dict[type[recipe.Optimizer], Any] = {recipe.SGD: _sgd, recipe.Adam: _adam}

INITIALIZERS: dict[type[recipe.Initializer], Any] = {
    recipe.GlorotUniform: lambda i: call("tf.glorot_uniform_initializer"),
    recipe.Zeros: lambda i: call("tf.zeros_initializer"),
    recipe.Ones: lambda i: call("tf.ones_initializer"),
    recipe.Uniform: lambda i: call("tf.random_uniform_initializer", -i.limit, i.limit),
}

HELPERS = {
    "leaky_relu": tensorflow.FUNCTIONS["leaky_relu"],
    "gelu": '''
def gelu(x, approximate=False):
    """Gaussian error linear unit."""
    if approximate:
        inner = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
        return 0.5 * x * (1 + tf.tanh(inner))
    return 0.5 * x * (1 + tf.erf(x / np.sqrt(2)))
''',
    "average_pool": '''
def average_pool(x, size, strides, paddings):
    """Mean of the values in each window, where padding does not count."""
    ones = tf.pad(tf.ones_like(x), paddings)
    means = tf.nn.pool(tf.pad(x, paddings), size, "AVG", "VALID", strides=strides)
    return means / tf.nn.pool(ones, size, "AVG", "VALID", strides=strides)
''',
    "group_conv": '''
def group_conv(
    x,
    filters,
    kernel_size,
    groups,
    strides=1,
    padding="valid",
    dilation_rate=1,
    use_bias=True,
    name=None,
):
    """Convolution of each group of channels by itself, as in AlexNet."""
    space = len(kernel_size)
    with tf.variable_scope(name):
        shape = [*kernel_size, x.shape[-1] // groups, filters]
        kernel = tf.get_variable("kernel", shape, x.dtype)
        y = [
            tf.nn.convolution(
                part,
                own,
                padding.upper(),
                strides=np.broadcast_to(strides, space),
                dilation_rate=np.broadcast_to(dilation_rate, space),
            )
            for part, own in zip(tf.split(x, groups, -1), tf.split(kernel, groups, -1))
        ]
        y = tf.concat(y, axis=-1)
        if use_bias:
            zeros = tf.zeros_initializer()
            y += tf.get_variable("bias", [filters], x.dtype, zeros)
        return y
''',
    "conv_transpose": '''
def conv_transpose(
    x,
    filters,
    kernel_size,
    output_size,
    strides,
    padding="VALID",
    use_bias=True,
    name=None,
):
    """Transposed convolution to a given size."""
    with tf.variable_scope(name):
        shape = [*kernel_size, filters, x.shape[-1]]
        kernel = tf.get_variable("kernel", shape, x.dtype)
        shape = [tf.shape(x)[0], *output_size, filters]
        y = tf.nn.conv_transpose(x, kernel, shape, strides, padding)
        if use_bias:
            zeros = tf.zeros_initializer()
            y += tf.get_variable("bias", [filters], x.dtype, zeros)
        return y
''',
    "layer_norm": '''
def layer_norm(x, epsilon, scale=True, center=True, name=None):
    """Ba et al., 2016; the one in tf.contrib has an epsilon of its own."""
    mean, variance = tf.nn.moments(x, [-1], keep_dims=True)
    gamma = beta = None
    with tf.variable_scope(name):
        if scale:
            ones = tf.ones_initializer()
            gamma = tf.get_variable("gamma", [x.shape[-1]], x.dtype, ones)
        if center:
            zeros = tf.zeros_initializer()
            beta = tf.get_variable("beta", [x.shape[-1]], x.dtype, zeros)
    return tf.nn.batch_normalization(x, mean, variance, beta, gamma, epsilon)
''',
    "rms_norm": '''
def rms_norm(x, epsilon, scale=True, name=None):
    """Zhang and Sennrich, 2019."""
    x *= tf.rsqrt(tf.reduce_mean(tf.square(x), -1, keepdims=True) + epsilon)
    if not scale:
        return x
    with tf.variable_scope(name):
        ones = tf.ones_initializer()
        return x * tf.get_variable("gamma", [x.shape[-1]], x.dtype, ones)
''',
    "attention": '''
def attention(query, key, value, heads, causal=False, use_bias=True, name=None):
    """Attention of several heads; Vaswani et al., 2017."""
    width = query.shape[-1].value

    def project(x, name):
        return tf.layers.dense(x, width, use_bias=use_bias, name=name)

    def split_heads(x, name):
        x = tf.reshape(project(x, name), [-1, x.shape[1], heads, width // heads])
        return tf.transpose(x, [0, 2, 1, 3])

    with tf.variable_scope(name):
        q = split_heads(query, "query")
        k = split_heads(key, "key")
        v = split_heads(value, "value")
        scores = tf.matmul(q, k, transpose_b=True) / np.sqrt(width // heads)
        if causal:
            # Step t does not see the steps after it.
            seen = tf.linalg.band_part(tf.ones_like(scores), -1, 0)
            scores += (1 - seen) * -1e30
        x = tf.transpose(tf.matmul(tf.nn.softmax(scores), v), [0, 2, 1, 3])
        return project(tf.reshape(x, [-1, x.shape[1], width]), "output")
''',
}

# --- Rewrites -------------------------------------------------------------------------

# Padding that no layer has a word for, and cropping, stand beside it: as in Keras.

# --- Missing --------------------------------------------------------------------------

# Nothing is missing altogether; what is missing in part the rules say.

# --- The frame ------------------------------------------------------------------------

FUNCTION = """
def $function($arguments):
    $apply
"""

SETUP = '''
# 3. Loss, optimizer, initial weights
Model = namedtuple("Model", "$fields")


def build(seed=0):
    """Create the graph, and a session that holds its variables."""
    tf.reset_default_graph()
    tf.set_random_seed(seed)
    $build
    session = tf.Session()
    session.run(tf.global_variables_initializer())
    $result


def load_weights(model, path):
    """Set the variables to the named arrays of an .npz file."""
    arrays = np.load(path)
    for variable in model.variables:
        variable.load(arrays[variable.op.name], model.session)


def save_weights(model, path):
    """Write the variables as named arrays of an .npz file."""
    np.savez(path, **model.session.run({v.op.name: v for v in model.variables}))
'''

STEP = '''
def train_step(model, x, y):
    """Make one optimizer step on a batch; return its loss."""
    feed_dict = {model.x: x, model.y: y$training}
    _, loss = model.session.run([model.train_op, model.loss], feed_dict)
    return loss
'''

PREDICT = '''
# $number. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return model.session.run(model.scores, {model.x: x})
'''


def _function(scope: Scope, told: bool) -> list[str | Line]:
    """A network or block as a function of its inputs."""
    arguments = [*scope.inputs, *scope.parameters, *(["training"] if told else [])]
    template = FUNCTION.replace("$arguments", ", ".join(arguments))
    scope = dataclasses.replace(scope, function=_name(scope.function))
    return [*common.class_lines(scope, template), "", ""]


def _network(parts: Parts, told: bool) -> Section:
    trained = parts.recipe is not None
    nodes = {block.name: block.nodes for block in parts.graph.blocks()}
    lines: list[str | Line] = []
    for block in parts.blocks:
        lines += _function(block, tensorflow.trains(nodes[block.name], trained))
    lines += _function(parts.network, told)[:-2]
    text = "\n".join(line if isinstance(line, str) else line.text for line in lines)
    for name, helper in reversed(HELPERS.items()):
        if re.search(rf"(?<![\w.]){name}\(", text):
            lines = [*helper.strip("\n").split("\n"), "", "", *lines]
    return Section("network", "# 2. The network\n$lines", {"lines": lines})


def _placeholder(name: str, dtype: str, shape: Sequence[Any]) -> str:
    text = f"[{', '.join(map(str, shape))}]"
    made = call("tf.placeholder", f"tf.{dtype}", text, name=quoted(name))
    return f"{name} = {inline(made)}"


def _stored_shape(parts: Parts, type_: ops.Type) -> list[Any]:
    return [type_.size(letter) for letter in parts.backend.storage(type_.axes)]


def exact(optimizer: Call) -> Call:
    """The same with the numbers that would become float32."""
    given = dict(optimizer.keywords)
    if "Adam" in inline(optimizer.function):
        given = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, **given}
    wide = {
        name: value if isinstance(value, bool) else call("np.float64", value)
        for name, value in given.items()
    }
    return call(optimizer.function, **wide)


def _step(parts: Parts) -> list[str]:
    """From the loss to the operation that trains."""
    assert parts.recipe is not None
    optimizer = parts.recipe.optimizer
    made = OPTIMIZERS[type(optimizer)](optimizer)
    cost, decay = "loss", getattr(optimizer, "weight_decay", 0.0)
    if parts.dtype == "float64":
        made = exact(made)
    lines = [row[4:] for row in layout("    optimizer = ", made)]
    if isinstance(optimizer, recipe.SGD) and decay:
        lines.append("squares = [tf.nn.l2_loss(v) for v in tf.trainable_variables()]")
        cost = f"loss + {decay} * tf.add_n(squares)"
    minimize = [f"train_op = optimizer.minimize({cost})"]
    lazy = isinstance(optimizer, recipe.SGD) and optimizer.momentum
    if ops.Embedding in parts.operations and (lazy or "AdamW" in made.function):
        minimize = [
            "# All rows of an embedding move, not only those that were read.",
            f"pairs = optimizer.compute_gradients({cost})",
            "pairs = [(tf.convert_to_tensor(g), v) for g, v in pairs]",
            "train_op = optimizer.apply_gradients(pairs)",
        ]
    if ops.BatchNorm in parts.operations:
        # The running statistics are not part of the loss.
        updates = "tf.get_collection(tf.GraphKeys.UPDATE_OPS)"
        minimize = [
            f"with tf.control_dependencies({updates}):",
            *(f"    {line}" for line in minimize),
        ]
    return [*lines, *minimize]


def frame(parts: Parts) -> list[Section]:
    """The program around the network."""
    trained = parts.recipe is not None
    told = tensorflow.trains(parts.graph.nodes, trained)
    _, type_ = parts.graph.inputs[0]
    kind = type_.dtype if type_.dtype.startswith("int") else parts.dtype
    build = [_placeholder("x", kind, _stored_shape(parts, type_))]
    fields = ["session", "variables", "x"]
    if parts.recipe:
        output = parts.graph.types()[parts.graph.outputs[0]]
        target = ("int64", [None])
        if not isinstance(parts.recipe.loss, recipe.SoftmaxCrossEntropy):
            target = (parts.dtype, _stored_shape(parts, output))
        build.append(_placeholder("y", *target))
        fields.append("y")
    if told:
        default = call(
            "tf.placeholder_with_default", False, "[]", name=quoted("training")
        )
        build.append(f"training = {inline(default)}")
        fields.append("training")
    build += [
        f"scores = {_name(parts.network.function)}(x{', training' * told})",
        "variables = tf.global_variables()" + "  # the optimizer adds others" * trained,
    ]
    fields.append("scores")
    first = ["import argparse", *([] if trained else ["import time"])]
    first += ["from collections import namedtuple", "", "import numpy as np"]
    if parts.recipe:
        loss = call("tf.reduce_mean", LOSSES[type(parts.recipe.loss)])
        build += [row[4:] for row in layout("    loss = ", loss)]
        build += _step(parts)
        fields += ["loss", "train_op"]
    result = layout("    return ", call("Model", *fields))
    setup = {
        "fields": " ".join(fields),
        "build": build,
        "result": [row[4:] for row in result],
    }
    sections = [
        common.head(parts, ["import tensorflow as tf"], [], first=first),
        common.load_data(parts),
        _network(parts, told),
        Section("setup", SETUP, setup),
    ]
    number = "5" if trained else "4"
    predict = Section("predict", PREDICT, {"number": number})
    main = common.main(parts, "model")
    if not trained:
        return [*sections, predict, common.extract(), main]
    feed = ", model.training: True" if told else ""
    return [
        *sections,
        common.batches(),
        Section("train", STEP, {"training": feed}),
        common.train(parts, state="model"),
        predict,
        common.evaluate(parts),
        main,
    ]


backend = Backend(
    name="tensorflow1",
    title="TensorFlow 1",
    home="https://www.tensorflow.org/versions/r1.15/api_docs/python/tf",
    since="2015",
    licence="Apache-2.0",
    language="C++, CUDA and Python",
    style="layer functions in a graph",
    storage=axes.channels_last,
    env=ENV,
    # Made once; a session gives numbers, so there is nothing left to wait for.
    barrier="(lambda total: lambda: model.session.run(total))"
    "(tf.add_n([tf.reduce_sum(v) for v in model.variables]))",
    rules=RULES,
    losses=LOSSES,
    optimizers=OPTIMIZERS,
    initializers=INITIALIZERS,
    frame=frame,
    rewrites=keras.REWRITES,
    forms={
        ops.SimpleRNN: ({"bias": "one"},),
        ops.LSTM: ({"bias": "one"},),
        ops.GRU: ({"reset": "before", "bias": "one"},),
        ops.BatchNorm: ({"unbiased": False}, {"unbiased": True}),
        recipe.Adam: ({"epsilon_form": "before"},),
    },
    helpers=HELPERS,
    fuses=frozenset((ops.Dense, ops.Conv, ops.ConvTranspose)),
    activations={
        ops.Relu: "tf.nn.relu",
        ops.Selu: "tf.nn.selu",
        ops.Silu: "tf.nn.swish",
        ops.Sigmoid: "tf.sigmoid",
        ops.Softplus: "tf.nn.softplus",
        ops.Tanh: "tf.tanh",
    },
    separator="/",
    repeated="{name}_{index}",
    margin=4,
)

"""Keras 3 on TensorFlow, JAX or PyTorch: layers applied in place, compile and fit."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
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
from netglot.emit import function_name
from netglot.graph import Call as BlockCall
from netglot.graph import Repeat
from netglot.lower import Arrange, Restore, overhang, pad_average, pad_first
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

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
#: Keras makes keys for threefry alone; so at least it is unrolled less.
JAX_JUDGED = {"JAX_THREEFRY_PARTITIONABLE": "0", **common.JAX_COMPILED}


def _env(engine: str, package: str, lock: str, threads: tuple[str, ...] = ()) -> Env:
    return Env(
        python=("3.11",),
        requirements=("keras==3.15.1", package),
        imports=("keras", engine),
        variables={"KERAS_BACKEND": engine, **common.KERAS_AT_HOME},
        threads=(*THREADS, *threads),
        cpu={"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"},
        accelerator={**common.JAX_ON_GPU, **common.TENSORFLOW_ON_GPU},
        judged=JAX_JUDGED if engine == "jax" else {},
        hurry=common.JAX_IN_A_HURRY if engine == "jax" else {},
        # The policy for element types is fixed by the first network.
        forget="keras.utils:clear_session",
        lock=lock,
    )


# --- Rules ----------------------------------------------------------------------------


def _dims(s: Site) -> int:
    return len(s.inputs[0].axes) - 2


def _axis(s: Site, letter: str) -> int:
    position = s.axis(letter)
    return -1 if position == len(s.storage()) - 1 else position


def layer_name(s: Site) -> str:
    """The name of a layer, by which its weights are found."""
    return f'f"{{name}}_{s.name}"' if s.in_block else quoted(s.name)


def _is_rounded(s: Site) -> bool:
    """Whether TensorFlow would round the numbers in a layer to float32."""
    return s.dtype == "float64" and _engine(s.backend) == "tensorflow"


def _layer(s: Site, kind: str, *arguments: Any, **keywords: Any) -> Any:
    return call(f"layers.{kind}", *arguments, **keywords, name=layer_name(s))


def initial(s: Site, role: str, default: str) -> str | None:
    """The recipe's initializer, where it is not that of the layer."""
    initializers = s.initializers or recipe.Initializers()
    initializer = initializers.of(role)
    return unless(default, INITIALIZERS[type(initializer)](initializer))


def _initials(s: Site, kernel: str = "kernel_initializer") -> dict[str, Any]:
    bias = initial(s, "bias", '"zeros"') if s.op.bias else None
    return {
        kernel: initial(s, "kernel", '"glorot_uniform"'),
        "bias_initializer": bias,
    }


def _dense(s: Site) -> Any:
    return _layer(
        s,
        "Dense",
        s.op.features,
        activation=s.activation,
        use_bias=unless(True, s.op.bias),
        **_initials(s),
    )


def _is_same(op: Any) -> bool:
    """Whether the padding is what Keras calls same; at other strides sizes decide."""
    if any(step != 1 for step in op.stride):
        return False
    dilation = getattr(op, "dilation", (1,) * len(op.kernel))
    totals = [d * (k - 1) for k, d in zip(op.kernel, dilation, strict=True)]
    return op.padding == tuple((n // 2, n - n // 2) for n in totals)


def _same(s: Site) -> str | None:
    # Any other padding comes before the layer: see the rewrites.
    return quoted("same") if any(map(any, s.op.padding)) else None


def _is_depthwise(s: Site) -> bool:
    """One kernel for each channel; several for one have another initial scale."""
    single = s.op.groups == s.op.channels == s.inputs[0].size("C")
    return bool(
        single and s.op.groups != 1 and len({*s.op.stride}) == 1 and _dims(s) < 3
    )


def _convolution(s: Site) -> Any:
    if any(d != 1 for d in s.op.dilation) and any(n != 1 for n in s.op.stride):
        raise Gap("its convolution has either strides or dilation")
    given = {
        "strides": unless(1, squeeze(s.op.stride)),
        "padding": _same(s),
        "dilation_rate": unless(1, squeeze(s.op.dilation)),
        "activation": s.activation,
        "use_bias": unless(True, s.op.bias),
    }
    size = squeeze(s.op.kernel)
    if _is_depthwise(s):
        initials = _initials(s, "depthwise_initializer")
        return _layer(s, f"DepthwiseConv{_dims(s)}D", size, **given, **initials)
    given["groups"] = unless(1, s.op.groups)
    kind = f"Conv{_dims(s)}D"
    return _layer(s, kind, s.op.channels, size, **given, **_initials(s))


def _convolution_weights(s: Site) -> tuple[Weight, ...]:
    letters, bias = axes.SPATIAL[_dims(s)], Weight("bias", "O", ("bias",))
    kernel = Weight("kernel", letters + "IO", ("kernel",))
    if _is_depthwise(s):
        cut = {"O": (("C", s.op.channels), ("M", 1)), "I": ()}
        kernel = Weight("kernel", letters + "CM", ("kernel",), split=cut)
    return (kernel, bias) if s.op.bias else (kernel,)


def _transposed(s: Site) -> Any:
    if s.op.groups != 1:
        raise Gap("its transposed convolution has no groups")
    if any(d != 1 for d in s.op.dilation) and any(n != 1 for n in s.op.stride):
        raise Gap("its transposed convolution has either strides or dilation")
    if any(d != 1 for d in s.op.dilation) and _engine(s.backend) == "tensorflow":
        raise Gap("TensorFlow's transposed convolution has no dilation on a CPU")
    if any(m >= n for m, n in zip(s.op.output_padding, s.op.stride, strict=True)):
        raise Gap("its output padding is smaller than the stride")
    gaps = any(k < n for k, n in zip(s.op.kernel, s.op.stride, strict=True))
    return _layer(
        s,
        f"Conv{_dims(s)}DTranspose",
        s.op.channels,
        squeeze(s.op.kernel),
        strides=unless(1, squeeze(s.op.stride)),
        padding=_same(s),
        # Left out, it fills up to a multiple of the stride.
        output_padding=squeeze(s.op.output_padding)
        if gaps or any(s.op.output_padding)
        else None,
        dilation_rate=unless(1, squeeze(s.op.dilation)),
        activation=s.activation,
        use_bias=unless(True, s.op.bias),
        **_initials(s),
    )


def _transposed_weights(s: Site) -> tuple[Weight, ...]:
    kernel = Weight("kernel", axes.SPATIAL[_dims(s)] + "OI", ("kernel",))
    return (kernel, Weight("bias", "O", ("bias",))) if s.op.bias else (kernel,)


def _max_pool(s: Site) -> Any:
    if _dims(s) == 3 and _is_rounded(s):
        raise Gap("TensorFlow has no pooling in three dimensions in float64")
    # The rewrites leave neither padding nor ceil, but for what Keras calls same.
    getattr(s.op, "ceil", None)
    return _layer(
        s,
        f"MaxPooling{_dims(s)}D",
        squeeze(s.op.kernel),
        strides=unless(squeeze(s.op.kernel), squeeze(s.op.stride)),
        padding=_same(s),
    )


def _average_pool(s: Site) -> Any:
    if s.op.ceil:
        raise Gap("windows of an average hang over less than the padding that counts")
    if _dims(s) == 3 and _is_rounded(s):
        raise Gap("TensorFlow has no pooling in three dimensions in float64")
    # Padding that counts was added by a rewrite.
    getattr(s.op, "count_padding", None)
    size = squeeze(s.op.kernel)
    strides = unless(size, squeeze(s.op.stride))
    padding = None
    if any(map(any, s.op.padding)):
        # An uneven one repeats the border on PyTorch, and the mean counts it.
        even = all(before == after for before, after in s.op.padding)
        if s.op.padding != _padding_of_same(s) or not even:
            size, strides = s.op.kernel, s.op.stride
            return call("average_pool", s.x, size, strides, s.op.padding)
        padding = quoted("same")
    layer = _layer(
        s, f"AveragePooling{_dims(s)}D", size, strides=strides, padding=padding
    )
    return call(layer, s.x)


def _padding_of_same(s: Site) -> tuple[tuple[int, int], ...]:
    """What Keras adds before and after each axis to fill the last window."""
    result = []
    letters = axes.SPATIAL[_dims(s)]
    for letter, k, step in zip(letters, s.op.kernel, s.op.stride, strict=True):
        size = s.inputs[0].size(letter)
        if not isinstance(size, int):
            return ()
        total = max((-(-size // step) - 1) * step + k - size, 0)
        result.append((total // 2, total - total // 2))
    return tuple(result)


def _batch_norm(s: Site) -> Any:
    if s.op.unbiased:
        raise Gap("its running variance is the biased one (form unbiased=False)")
    return norm(s, "BatchNormalization", momentum=unless(0.99, s.op.momentum))


def norm(s: Site, kind: str, *arguments: Any, **keywords: Any) -> Any:
    """A layer that divides by a deviation: Keras has the same defaults for all."""
    return _layer(
        s,
        kind,
        *arguments,
        **keywords,
        epsilon=unless(1e-3, s.op.epsilon),
        center=unless(True, s.op.shift),
        scale=unless(True, s.op.scale),
    )


def _rms_norm(s: Site) -> Any:
    if not s.op.scale:
        return call("ops.rms_normalization", s.x, epsilon=s.op.epsilon)
    layer = _layer(s, "RMSNormalization", epsilon=unless(1e-6, s.op.epsilon))
    return call(layer, s.x)


def _affine(s: Site) -> tuple[Weight, ...]:
    letter = "C" if "C" in s.inputs[0].axes else "F"
    names = {"scale": "gamma", "shift": "beta"}
    found = [(role, name) for role, name in names.items() if getattr(s.op, role)]
    if hasattr(s.op, "momentum"):
        found += [("mean", "moving_mean"), ("variance", "moving_variance")]
    return tuple(Weight(name, letter, (role,)) for role, name in found)


def _embedding(s: Site) -> Any:
    uniform = "keras.initializers.RandomUniform(-0.05, 0.05)"
    size = s.op.vocabulary, s.op.features
    layer = _layer(
        s,
        "Embedding",
        *size,
        embeddings_initializer=initial(s, "embedding", uniform),
    )
    if _engine(s.backend) == "tensorflow" and isinstance(_optimizer(s), recipe.Adam):
        # TensorFlow gives a gradient for each occurrence of a word, and Keras squares
        # them before it adds them up: see the helper.
        return dataclasses.replace(layer, function="Embedding")
    return layer


def _engine(backend: Backend) -> str:
    return backend.env.variables["KERAS_BACKEND"]


def _optimizer(s: Site) -> recipe.Optimizer | None:
    return s.recipe.optimizer if s.recipe else None


def recurrent(
    kind: str,
    cell: str,
    inside: str,
    usual: str = "after",
    flip: Callable[[Any], Any] = lambda x: call("ops.flip", x, axis=1),
) -> Rule:
    """A rule for the layer ``kind``, called ``cell`` in one of both directions.

    Its weights are ``inside`` of it. ``usual`` is where a reset gate acts that is told
    nothing, ``flip`` turns time round.
    """

    def write(s: Site) -> Any:
        reset = getattr(s.op, "reset", "")
        if s.op.bias not in ("two" if reset == "after" else "one", "none"):
            raise Gap(
                "it has no such bias: one vector, and two where the reset gate of a "
                "GRU acts after the product"
            )
        forget = getattr(s.op, "forget_bias", 1.0)
        if forget not in (0.0, 1.0) and s.op.bias != "none":
            raise Gap("the bias of its forget gate starts at 0 or 1")
        both, sequence = s.op.direction == "both", s.op.returns == "sequence"
        layer = call(
            f"layers.{kind}",
            s.op.units,
            activation=unless(quoted("tanh"), quoted(s.op.activation)),
            use_bias=unless(True, s.op.bias != "none"),
            kernel_initializer=initial(s, "kernel", '"glorot_uniform"'),
            recurrent_initializer=initial(s, "recurrent", '"orthogonal"'),
            bias_initializer=initial(s, "bias", '"zeros"'),
            unit_forget_bias=unless(True, bool(forget) or s.op.bias == "none"),
            return_sequences=unless(False, sequence),
            go_backwards=unless(False, s.op.direction == "backward"),
            reset_after=unless(usual == "after", reset == "after") if reset else None,
            name=quoted(cell) if both else layer_name(s),
        )
        if both:
            layer = _layer(s, "Bidirectional", layer)
        result = call(layer, s.x)
        if s.op.direction == "backward" and sequence:
            return flip(result)
        return result

    return Rule(write, weights=_recurrent_weights(kind, cell, inside))


def _recurrent_weights(kind: str, cell: str, inside: str) -> Any:
    def weights(s: Site) -> tuple[Weight, ...]:
        gates = "zrn" if kind == "GRU" else ""
        result = []
        for direction in ("forward", "backward"):
            if s.op.direction not in (direction, "both"):
                continue
            back = "_back" if direction == "backward" else ""
            place = inside
            if s.op.direction == "both":
                place = f"{direction}_{cell}/{place}"
            recurrent = (f"recurrent{back}",)
            result += [
                Weight(f"{place}kernel", "IG", (f"kernel{back}",), gates),
                Weight(f"{place}recurrent_kernel", "HG", recurrent, gates),
            ]
            if s.op.bias == "two":
                pair = (f"bias{back}", f"recurrent_bias{back}")
                result.append(Weight(f"{place}bias", "SG", pair, gates))
            elif s.op.bias != "none":
                result.append(Weight(f"{place}bias", "G", (f"bias{back}",), gates))
        return tuple(result)

    return weights


def _attention(s: Site) -> Any:
    width = s.inputs[0].size("F")
    if _is_rounded(s) and width not in [s.op.heads * 4**n for n in range(8)]:
        raise Gap("TensorFlow rounds the root of a head's width to float32")
    if s.dtype == "float64" and _engine(s.backend) == "jax":
        raise Gap("JAX computes the scores of its attention in float32")
    if _engine(s.backend) == "tensorflow" and s.op.bias and width == s.op.heads:
        raise Gap("on TensorFlow, Keras adds the bias of heads of width 1 to the steps")
    kernel = initial(s, "kernel", "")
    if kernel == quoted("glorot_uniform"):
        # Its own would count the heads among the inputs, and their width as outputs.
        if any(x.size("F") != width for x in s.inputs):
            raise Gap(
                "its kernels share one initializer, which cannot suit different widths"
            )
        kernel = call("glorot_uniform", width, width)  # type: ignore[assignment]
    layer = _layer(
        s,
        "MultiHeadAttention",
        s.op.heads,
        width // s.op.heads,
        use_bias=unless(True, s.op.bias),
        kernel_initializer=kernel,
        bias_initializer=initial(s, "bias", '"zeros"'),
    )
    query, value = s.arguments[0], s.arguments[-1]
    key = s.arguments[1] if len(s.arguments) == 3 else None
    return call(
        layer, query, value, key=key, use_causal_mask=unless(False, s.op.causal)
    )


def _attention_weights(s: Site) -> tuple[Weight, ...]:
    heads = (("A", s.op.heads), ("K", s.inputs[0].size("F") // s.op.heads))
    result = []
    for name in ("query", "key", "value"):
        place = f"{name}/kernel"
        result.append(Weight(place, "IAK", (f"{name}_kernel",), split={"O": heads}))
        if s.op.bias:
            bias = (f"{name}_bias",)
            result.append(Weight(f"{name}/bias", "AK", bias, split={"O": heads}))
    place = "attention_output"
    kernel = ("output_kernel",)
    result.append(Weight(f"{place}/kernel", "AKO", kernel, split={"I": heads}))
    if s.op.bias:
        result.append(Weight(f"{place}/bias", "O", ("output_bias",)))
    return tuple(result)


def _activation(name: str) -> Rule:
    return Rule(make=lambda s: _layer(s, "Activation", quoted(name)))


def _leaky_relu(s: Site) -> Any:
    if _is_rounded(s):
        return call("ops.where", f"{s.x} > 0", s.x, f"{s.op.slope} * {s.x}")
    return call(_layer(s, "LeakyReLU", negative_slope=s.op.slope), s.x)


def _gelu(s: Site) -> Any:
    if s.op.approximate:
        if _is_rounded(s):
            raise Gap("TensorFlow rounds the numbers in its approximation to float32")
        return call("ops.gelu", s.x)
    if _is_rounded(s):
        return f"0.5 * {s.x} * (1 + ops.erf({s.x} / np.sqrt(2)))"
    return call(_layer(s, "Activation", quoted("gelu")), s.x)


def _merge(kind: str) -> Rule:
    """A layer that reads a list of values."""

    def write(s: Site) -> Any:
        axis = _axis(s, s.op.axis) if kind == "Concatenate" else None
        layer = _layer(s, kind, axis=unless(-1, axis))
        arguments = list(zip(s.inputs, s.arguments, strict=True))
        if kind == "Add" and _engine(s.backend) == "tensorflow":
            # One number for each observation is taken for a bias of the channels, if
            # it comes second and there are as many of both.
            arguments.sort(key=lambda pair: any(n != 1 for n in pair[0].shape[1:]))
        return call(layer, f"[{', '.join(inline(x) for _, x in arguments)}]")

    return Rule(write)


def _matmul(s: Site) -> Any:
    b: Any = s.arguments[1]
    if s.op.transpose_b:
        b = call("ops.swapaxes", b, -1, -2)
    return call("ops.matmul", s.x, b)


def _split(s: Site) -> Any:
    ends = [sum(s.op.sizes[: i + 1]) for i in range(len(s.op.sizes) - 1)]
    axis = _axis(s, s.op.axis)
    pieces = call("ops.split", s.x, f"[{', '.join(map(str, ends))}]", axis=axis)
    return Statements((f"{s.target} = {inline(pieces)}",), s.target)


def _slice(s: Site) -> Any:
    if s.op.step < 0:
        raise Gap("a slice cannot step backwards")
    return common.sliced(s)


def _reshape(s: Site) -> Any:
    getattr(s.op, "axes", None)
    getattr(s.op, "shape", None)
    letters = s.backend.storage(s.outputs[0].axes)[1:]
    return _layer(s, "Reshape", tuple(s.outputs[0].size(a) for a in letters))


def _permute(s: Site) -> Any:
    getattr(s.op, "axes", None)
    order = s.order()
    if order[0]:
        return call("ops.transpose", s.x, order)
    return call(_layer(s, "Permute", order[1:]), s.x)


def _pad(s: Site) -> Any:
    amounts = [n for pair in s.op.padding for n in pair]
    if s.op.value:
        value = "-np.inf" if s.op.value == float("-inf") else s.op.value
        width = ((0, 0), *s.op.padding, (0, 0))
        return call("ops.pad", s.x, width, constant_values=value)
    kind = "ZeroPadding"
    if min(amounts) < 0:
        # What is left of a transposed convolution: see the rewrites.
        kind, amounts = "Cropping", [-n for n in amounts]
        if min(amounts) < 0:
            raise Gap("a value is cropped on one side and padded on the other")
    pairs = tuple(zip(amounts[::2], amounts[1::2], strict=True))
    size: Any = pairs if len(pairs) > 1 else pairs[0]
    if len(set(amounts)) == 1:
        size = amounts[0]
    return call(_layer(s, f"{kind}{_dims(s)}D", size), s.x)


def _reduce(name: str) -> Rule:
    def write(s: Site) -> Any:
        over = squeeze(tuple(s.axis(letter) for letter in s.op.over))
        keep = unless(False, s.op.keep)
        return call(f"ops.{name}", s.x, axis=over, keepdims=keep)

    return Rule(write)


def _global(kind: str) -> Rule:
    return Rule(make=lambda s: _layer(s, f"Global{kind}Pooling{_dims(s)}D"))


def _upsample(s: Site) -> Any:
    smooth = s.op.mode != "nearest"
    if smooth and _dims(s) != 2:
        raise Gap("it enlarges images smoothly, not series and volumes")
    if smooth and _is_rounded(s):
        raise Gap("TensorFlow enlarges images in float32 alone")
    mode = quoted("bilinear") if smooth else None
    return _layer(s, f"UpSampling{_dims(s)}D", squeeze(s.op.scale), interpolation=mode)


def _block(s: Site) -> Any:
    name = function_name(s.op.block.name)
    return call(name, *s.arguments, **dict(s.op.arguments), name=layer_name(s))


def _repeat(s: Site) -> Any:
    """A loop; each use of the block has its number in its name."""
    place = f'f"{"{name}_" if s.in_block else ""}{s.name}_{{i}}"'
    name = function_name(s.op.block.name)
    use = call(name, s.target, **dict(s.op.arguments), name=place)
    margin = s.backend.margin
    body = layout(" " * (margin + 4) + f"{s.target} = ", use)
    first = [f"{s.target} = {inline(s.x)}"] if s.target != s.x else []
    lines = [f"for i in range({s.op.times}):", *(line[margin:] for line in body)]
    return Statements((*first, *lines), s.target)


RULES: dict[type[ops.Op], Rule] = {
    ops.Dense: Rule(
        make=_dense,
        weights=(Weight("kernel", "IO", ("kernel",)), Weight("bias", "O", ("bias",))),
    ),
    ops.Conv: Rule(make=_convolution, weights=_convolution_weights),
    ops.ConvTranspose: Rule(make=_transposed, weights=_transposed_weights),
    ops.MaxPool: Rule(make=_max_pool),
    ops.AvgPool: Rule(_average_pool, needs=("average_pool",)),
    ops.GlobalAvgPool: _global("Average"),
    ops.GlobalMaxPool: _global("Max"),
    ops.BatchNorm: Rule(make=_batch_norm, weights=_affine),
    ops.LayerNorm: Rule(make=lambda s: norm(s, "LayerNormalization"), weights=_affine),
    ops.GroupNorm: Rule(
        make=lambda s: norm(s, "GroupNormalization", s.op.groups), weights=_affine
    ),
    ops.RMSNorm: Rule(_rms_norm, weights=(Weight("scale", "F", ("scale",)),)),
    ops.Dropout: Rule(make=lambda s: _layer(s, "Dropout", s.op.rate)),
    ops.Embedding: Rule(
        make=_embedding,
        weights=(Weight("embeddings", "VF", ("table",)),),
        needs=("Embedding",),
    ),
    ops.SimpleRNN: recurrent("SimpleRNN", "simple_rnn", "simple_rnn_cell/"),
    ops.LSTM: recurrent("LSTM", "lstm", "lstm_cell/"),
    ops.GRU: recurrent("GRU", "gru", "gru_cell/"),
    ops.MultiHeadAttention: Rule(
        _attention, weights=_attention_weights, needs=("glorot_uniform",)
    ),
    ops.Relu: _activation("relu"),
    ops.LeakyRelu: Rule(_leaky_relu),
    ops.Elu: Rule(make=lambda s: _layer(s, "ELU", alpha=unless(1.0, s.op.alpha))),
    ops.Selu: _activation("selu"),
    ops.Gelu: Rule(_gelu),
    ops.Silu: _activation("silu"),
    ops.Sigmoid: _activation("sigmoid"),
    ops.Tanh: _activation("tanh"),
    ops.Softplus: _activation("softplus"),
    ops.Softmax: Rule(
        make=lambda s: _layer(s, "Softmax", axis=unless(-1, _axis(s, s.op.axis)))
    ),
    ops.LogSoftmax: Rule(
        lambda s: call("ops.log_softmax", s.x, axis=unless(-1, _axis(s, s.op.axis)))
    ),
    ops.Negative: Rule(lambda s: f"-{s.x}"),
    ops.Exp: common.function("ops.exp"),
    ops.Log: common.function("ops.log"),
    ops.Sqrt: common.function("ops.sqrt"),
    ops.Abs: common.function("ops.abs"),
    ops.Square: common.function("ops.square"),
    ops.Clip: Rule(lambda s: call("ops.clip", s.x, s.op.low, s.op.high)),
    ops.Scale: Rule(common.scale),
    ops.Add: _merge("Add"),
    ops.Subtract: _merge("Subtract"),
    ops.Multiply: _merge("Multiply"),
    ops.Divide: common.binary("/"),
    ops.Maximum: _merge("Maximum"),
    ops.Minimum: _merge("Minimum"),
    ops.MatMul: Rule(_matmul),
    ops.Concat: _merge("Concatenate"),
    ops.Split: Rule(_split),
    ops.Slice: Rule(_slice),
    ops.Reshape: Rule(make=_reshape),
    ops.Flatten: Rule(make=lambda s: _layer(s, "Flatten")),
    ops.Transpose: Rule(_permute),
    Restore: Rule(_permute),
    Arrange: Rule(_permute),
    ops.Pad: Rule(_pad),
    ops.ReduceMean: _reduce("mean"),
    ops.ReduceSum: _reduce("sum"),
    ops.ReduceMax: _reduce("max"),
    ops.Upsample: Rule(make=_upsample),
    BlockCall: Rule(_block),
    Repeat: Rule(_repeat),
}

LOSSES = {
    recipe.SoftmaxCrossEntropy: call(
        "keras.losses.SparseCategoricalCrossentropy", from_logits=True
    ),
    recipe.MeanSquaredError: call("keras.losses.MeanSquaredError"),
}


def _sgd(o: recipe.SGD) -> Any:
    if o.weight_decay:
        raise Gap("SGD: its weight decay is decoupled from the gradient")
    return call(
        "keras.optimizers.SGD",
        learning_rate=o.rate,
        momentum=unless(0.0, o.momentum),
        nesterov=unless(False, o.nesterov),
    )


def _adam(o: recipe.Adam) -> Any:
    return call(
        "keras.optimizers.AdamW" if o.weight_decay else "keras.optimizers.Adam",
        learning_rate=o.rate,
        weight_decay=o.weight_decay or None,
        beta_1=unless(0.9, o.beta1),
        beta_2=unless(0.999, o.beta2),
        # The bias correction is in the rate: this is "epsilon hat".
        epsilon=unless(1e-7, o.epsilon),
    )


INITIALIZERS = {
    recipe.GlorotUniform: lambda i: quoted("glorot_uniform"),
    recipe.Zeros: lambda i: quoted("zeros"),
    recipe.Ones: lambda i: quoted("ones"),
    recipe.Uniform: lambda i: (
        f"keras.initializers.RandomUniform(-{i.limit}, {i.limit})"
    ),
}
OPTIMIZERS: dict[type[recipe.Optimizer], Callable[[Any], Any]] = {
    recipe.SGD: _sgd,
    recipe.Adam: _adam,
}

HELPERS = {
    "Embedding": '''
class Embedding(layers.Embedding):
    """Sums the gradients of all occurrences of a word.

    Adam would square those that TensorFlow gives for each of them one by one.
    """

    def call(self, inputs):
        return ops.take(1 * self.embeddings, inputs, axis=0)
''',
    "glorot_uniform": '''
def glorot_uniform(fan_in, fan_out):
    """Initializer of a kernel that is stored in several axes."""
    limit = np.sqrt(6 / (fan_in + fan_out))
    return keras.initializers.RandomUniform(-limit, limit)
''',
    "average_pool": '''
def average_pool(x, size, strides, padding):
    """Mean of the values in each window, where padding does not count."""
    padding = ((0, 0), *padding, (0, 0))
    means = ops.average_pool(ops.pad(x, padding), size, strides)
    shares = ops.average_pool(ops.pad(ops.ones_like(x), padding), size, strides)
    return means / shares
''',
}

# --- Rewrites -------------------------------------------------------------------------


def _pad_convolution(op: ops.Conv) -> Sequence[ops.Op]:
    return (op,) if _is_same(op) else pad_first(op)


def _crop_transposed(op: ops.ConvTranspose) -> Sequence[ops.Op]:
    """The whole result, of which what the padding takes away is cut off."""
    axes: list[Any] = list(
        zip(op.kernel, op.stride, op.padding, op.output_padding, strict=True)
    )
    same = [
        (pair == ((k - n) // 2, k - n - (k - n) // 2) and not more)
        for k, n, pair, more in axes
    ]
    if (all(same) and set(op.dilation) == {1}) or not any(map(any, op.padding)):
        return (op,)
    crop = tuple((-b, min(more - a, 0)) for _, _, (b, a), more in axes)
    rest = tuple(max(more - a, 0) for _, _, (_, a), more in axes)
    none = ((0, 0),) * len(axes)
    return (
        dataclasses.replace(op, padding=none, output_padding=rest),
        ops.Pad(crop),
    )


def _pad_max(op: ops.MaxPool) -> Sequence[ops.Op]:
    """Padding that never wins."""
    padding, none = overhang(op), ((0, 0),) * len(op.kernel)
    if not any(map(any, padding)) or (_is_same(op) and not op.ceil):
        return (dataclasses.replace(op, padding=padding, ceil=False),)
    return (
        ops.Pad(padding, float("-inf")),
        dataclasses.replace(op, padding=none, ceil=False),
    )


REWRITES: dict[type[ops.Op], Callable[[Any], Sequence[ops.Op]]] = {
    ops.Conv: _pad_convolution,
    ops.ConvTranspose: _crop_transposed,
    ops.MaxPool: _pad_max,
    ops.AvgPool: pad_average,
}

# --- The frame ------------------------------------------------------------------------

#: What float64 takes on JAX and PyTorch, where Keras goes back to float32 on its own.
WIDE = (
    "keras.src.backend.common import dtypes",
    "# Left as it is, Keras multiplies and averages in float32 even so.",
    'dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"',
)


def exact(optimizer: Any) -> Any:
    """The same with the numbers that Keras would round to float32 on TensorFlow."""
    given = dict(optimizer.keywords)
    if "Adam" in optimizer.function:
        rate = {"learning_rate": given["learning_rate"]}
        given = {**rate, "beta_1": 0.9, "beta_2": 0.999, **given}
    rounded = ("momentum", "beta_1", "beta_2")
    wide = {n: call("np.float64", v) if n in rounded else v for n, v in given.items()}
    return call(optimizer.function, **wide)


BLOCK = """
def $function($inputs$parameters, name):
    $apply
"""

SETUP = '''
# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network$and_optimizer."""
    keras.utils.set_random_seed(seed)
    $build


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    for weight in model.weights:
        weight.assign(arrays[weight.path])


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    np.savez(path, **{weight.path: weight.numpy() for weight in model.weights})
'''

TRAIN = '''
# 4. Train
def batches(x, y, seed):
    """Yield $batches without end, every epoch in a new random order."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(x))
        for start in range(0, len(x) - BATCH_SIZE + 1, BATCH_SIZE):
            rows = order[$rows]
            yield x[rows], y[rows]


class Validation(keras.callbacks.Callback):
    """The $metric on other observations, in the report of every epoch."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def on_epoch_end(self, epoch, logs):
        logs["val_$metric"] = evaluate(self.model, self.x, self.y)


def train_step(model, x, y):
    """Make one optimizer step on $batch; return its loss."""
    return model.train_on_batch(x, y)


def train(model, x, y, epochs=EPOCHS, seed=0, validation=None, on_step=None):
    """Train for some epochs; print the mean loss of each."""
    callbacks = []
    if validation:
        callbacks.append(Validation(*validation))
    if on_step:
        # Keras gives the mean of the epoch so far.
        report = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda step, logs: on_step(logs["loss"])
        )
        callbacks.append(report)
    model.fit(
        batches(x, y, seed),
        epochs=epochs,
        steps_per_epoch=len(x) // BATCH_SIZE,
        callbacks=callbacks,
        shuffle=False,
        verbose=$verbose,
    )
'''

PREDICT = '''
# $number. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return model.predict_on_batch(x)
'''

EXTRACT = '''
# 5. All observations
def extract(model, x):
    """Features of all observations, batch by batch."""
    return model.predict(x, batch_size=BATCH_SIZE, verbose=0)
'''

EVALUATE = '''
# 6. Evaluate
def evaluate(model, x, y):
    """$about"""
    scores = model.predict(x, batch_size=BATCH_SIZE, verbose=0)
    return $value
'''


def network_section(parts: Parts) -> Section:
    """Blocks and network as functions; helpers before them."""
    scope, graph = parts.network, parts.graph
    made = []
    for variable, (_, type_) in zip(scope.inputs, graph.inputs, strict=True):
        letters = parts.backend.storage(type_.axes)[1:]
        shape = tuple(
            "None" if type_.size(a) is None else type_.size(a) for a in letters
        )
        dtype = quoted(type_.dtype) if type_.dtype.startswith("int") else None
        made.append(f"{variable} = {inline(call('keras.Input', shape, dtype=dtype))}")
    ends = [f"[{', '.join(scope.inputs)}]", f"[{scope.value}]"]
    if len(scope.inputs) == 1:
        ends[0] = scope.inputs[0]
    if len(graph.outputs) == 1:
        ends[1] = scope.value
    lines: list[str | Line] = []
    for block in parts.blocks:
        lines += [*common.class_lines(block, BLOCK), "", ""]
    lines += [
        f"def {scope.function}():",
        *(f"    {line}" for line in made),
        *(Line(f"    {line.text}", line.node) for line in scope.body),
        f"    return keras.Model({', '.join(ends)})",
    ]
    text = _text(lines)
    for name, helper in parts.backend.helpers.items():
        if helper in parts.helpers and re.search(rf"(?<![\w.]){name}[(,)]", text):
            lines = [*helper.strip("\n").split("\n"), "", "", *lines]
    return Section("network", "# 2. The network\n$lines", {"lines": lines})


def _text(lines: Sequence[str | Line]) -> str:
    return "\n".join(line.text if isinstance(line, Line) else line for line in lines)


def _imports(parts: Parts, network: Section) -> list[str]:
    """KERAS_BACKEND is read when Keras is imported."""
    engine, wide = _engine(parts.backend), parts.dtype == "float64"
    uses_ops = "ops." in _text(network.slots["lines"])  # type: ignore[arg-type]
    return [
        "import argparse",
        "import os",
        *(() if parts.recipe else ("import time",)),
        "",
        f'os.environ["KERAS_BACKEND"] = "{engine}"',
        "",
        *(("import jax",) if (wide and engine == "jax") or parts.parallel else ()),
        "import keras",
        "import numpy as np",
        f"from keras import layers{', ops' if uses_ops else ''}",
        *((f"from {WIDE[0]}",) if wide and engine != "tensorflow" else ()),
    ]


def made(parts: Parts, change: Callable[[Any], Any] = lambda o: o) -> list[str]:
    """The lines that make the model and compile it; ``change`` is of its optimizer."""
    network = f"{parts.network.function}()"
    if not parts.recipe:
        return [f"return {network}"]
    optimizer = parts.backend.optimizers[type(parts.recipe.optimizer)]
    compile_ = call(
        "model.compile",
        optimizer=change(optimizer(parts.recipe.optimizer)),
        loss=LOSSES[type(parts.recipe.loss)],
    )
    lines = [line[4:] for line in layout("    ", compile_)]
    return [f"model = {network}", *lines, "return model"]


def frame(parts: Parts) -> list[Section]:
    """The program around the network."""
    engine, wide = _engine(parts.backend), parts.dtype == "float64"
    constants = ['jax.config.update("jax_enable_x64", True)'] * (engine == "jax")
    constants.append('keras.config.set_floatx("float64")')
    constants += WIDE[1:] if engine != "tensorflow" else ()
    constants *= wide
    if parts.parallel:
        constants += JOINED
    build = made(parts)
    if parts.recipe and wide and engine == "tensorflow":
        build = made(parts, exact)
        if "np.float64" in "".join(build):
            build.insert(1, "# TensorFlow would round plain numbers to float32.")
    network = network_section(parts)
    about = " and its optimizer" if parts.recipe else ""
    sections = [
        common.head(parts, _imports(parts, network), constants, first=()),
        common.load_data(parts),
        network,
        Section("setup", SETUP, {"and_optimizer": about, "build": build}),
    ]
    if not parts.recipe:
        predict = Section("predict", PREDICT, {"number": "4"})
        extract = Section("evaluate", EXTRACT)
        return [*sections, predict, extract, common.main(parts, "model")]
    return [
        *sections,
        Section("train", TRAIN, _training(parts)),
        Section("predict", PREDICT, {"number": "5"}),
        # Keras's predict takes what each process gives it for another part of the data.
        common.evaluate(parts) if parts.parallel else measure(parts),
        common.main(parts, "model"),
    ]


def _training(parts: Parts) -> dict[str, str]:
    """What differs where several processes train together."""
    shared = parts.parallel
    rows = "start + RANK : start + BATCH_SIZE : WORKERS"
    return {
        "metric": parts.workload.metric,
        "rows": rows if shared else "start : start + BATCH_SIZE",
        "batches": "this process's batches" if shared else "complete batches",
        "batch": "this process's part of a batch" if shared else "a batch",
        "verbose": "2 if RANK == 0 else 0" if shared else "2",
    }


def measure(parts: Parts, text: str = EVALUATE) -> Section:
    """Accuracy or mean squared error."""
    slots = {
        "about": "Share of observations whose highest score is that of their label.",
        "value": "np.mean(scores.argmax(axis=1) == y)",
    }
    if parts.workload.metric != "accuracy":
        slots = {"about": "Mean squared error.", "value": "np.mean((scores - y) ** 2)"}
    return Section("evaluate", text, slots)


#: The sum of all weights, as an array of the host: the engine's may be a promise.
BARRIER = (
    "lambda: keras.ops.convert_to_numpy(sum(keras.ops.sum(w) for w in model.weights))"
)


#: What a process knows once it has joined the others.
JOINED = (
    "",
    "keras.distribution.initialize()",
    "parallel = keras.distribution.DataParallel(auto_shard_dataset=False)",
    "keras.distribution.set_distribution(parallel)",
    "RANK, WORKERS = jax.process_index(), jax.process_count()",
)
ENGINE = Engine(
    name="keras.distribution.DataParallel over jax.distributed",
    command="KERAS_DISTRIBUTION_PROCESS_ID=... python {file}",
    variables={
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": "{first}",
        "KERAS_DISTRIBUTION_NUM_PROCESSES": "{workers}",
        "KERAS_DISTRIBUTION_PROCESS_ID": "{rank}",
    },
)


def _on(
    name: str,
    engine: str,
    env: Env,
    barrier: str = BARRIER,
    *,
    several: Engine | str,
) -> Backend:
    return Backend(
        name=name,
        title=f"Keras on {engine}",
        home="https://keras.io",
        since="2015",
        licence="Apache-2.0",
        language="Python",
        style="layer functions",
        storage=axes.channels_last,
        env=env,
        barrier=barrier,
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
                {"reset": "after", "bias": "two"},
                {"reset": "after", "bias": "none"},
                {"reset": "before", "bias": "one"},
                {"reset": "before", "bias": "none"},
            ),
            ops.BatchNorm: ({"unbiased": False},),
            recipe.Adam: ({"epsilon_form": "before"},),
        },
        helpers=HELPERS,
        fuses=frozenset((ops.Dense, ops.Conv, ops.ConvTranspose)),
        activations={
            ops.Relu: quoted("relu"),
            ops.Selu: quoted("selu"),
            ops.Silu: quoted("silu"),
            ops.Sigmoid: quoted("sigmoid"),
            ops.Softplus: quoted("softplus"),
            ops.Tanh: quoted("tanh"),
        },
        separator="/",
        inside="_",
        repeated="{name}_{index}",
        reports="mean",
        in_place=True,
        input="inputs",
        margin=4,
        engine=several,
    )


on_tensorflow = _on(
    "keras-tensorflow",
    "TensorFlow",
    _env(
        "tensorflow",
        "tensorflow-cpu==2.21.0",
        "tensorflow",
        ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"),
    ),
    # Sum by sum would take 1 to 2 % of a short step.
    barrier="__import__('tensorflow').function("
    "lambda: sum(keras.ops.sum(w) for w in model.weights), jit_compile=True)",
    several="below MultiWorkerMirroredStrategy Keras's train_on_batch fails: it "
    "averages a loss that is one number along an axis",
)
# NPROC is how many threads XLA starts.
on_jax = _on(
    "keras-jax",
    "JAX",
    _env("jax", "jax==0.10.2", "keras-jax", ("NPROC",)),
    several=ENGINE,
)
on_torch = _on(
    "keras-torch",
    "PyTorch",
    _env("torch", "torch==2.13.0", "keras-torch"),
    several="Keras's fit knows nothing of PyTorch's DistributedDataParallel",
)

"""The layers that a TensorFlow program defines: small modules with variables.

TensorFlow without Keras has variables and operations, and no layers; its guides write
modules for them. A template holds every line that a layer may have: one that ends in
``#? word`` stays where the network has such a use, ``#? not word`` where it has none;
on a line of its own it holds for all lines up to the next such one, or ``#? end``.
``$kernel([inputs, outputs])`` is the recipe's initial value of that shape.
"""

from __future__ import annotations

import re
from typing import Any

from netglot import recipe
from netglot.backend import Gap
from netglot.ops import Type
from netglot.source import call, layout

#: Operations that a layer stands for, and the types that each of them reads.
Uses = list[tuple[Any, tuple[Type, ...]]]

INITIALIZERS: dict[type[recipe.Initializer], Any] = {
    recipe.GlorotUniform: lambda i, shape: f"glorot_uniform({shape})",
    recipe.Zeros: lambda i, shape: f"tf.zeros({shape}$dtype)",
    recipe.Ones: lambda i, shape: f"tf.ones({shape}$dtype)",
    recipe.Uniform: lambda i, shape: (
        f"tf.random.uniform({shape}, -{i.limit}, {i.limit}$dtype)"
    ),
}

FUNCTIONS = {
    "glorot_uniform": '''
def glorot_uniform(shape):
    """Values within sqrt(6 / (fan_in + fan_out)) of 0."""
    *space, inputs, outputs = shape
    limit = math.sqrt(6 / (math.prod(space) * (inputs + outputs)))
    return tf.random.uniform(shape, -limit, limit$dtype)
''',
    "avg_pool": '''
def avg_pool(x, ksize, strides, paddings):
    """Mean over windows; padding does not count."""
    ones = tf.pad(tf.ones_like(x), paddings)
    x = tf.nn.avg_pool(tf.pad(x, paddings), ksize, strides, "VALID")
    return x / tf.nn.avg_pool(ones, ksize, strides, "VALID")
''',
    "gelu": '''
def gelu(x, approximate=False):
    """As tf.nn.gelu, which rounds its constants to float32."""
    if approximate:
        return 0.5 * x * (1 + tf.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + tf.math.erf(x / math.sqrt(2)))
''',
    "leaky_relu": '''
def leaky_relu(x, alpha=0.2):
    """As tf.nn.leaky_relu, which rounds alpha to float32."""
    return tf.where(x > 0, x, alpha * x)
''',
}

DENSE = """
class Dense(tf.Module):
    def __init__(self, inputs, outputs):  #? not optional_bias
    def __init__(self, inputs, outputs, bias=True):  #? optional_bias
        super().__init__()
        self.kernel = tf.Variable($kernel([inputs, outputs]))
        self.bias = tf.Variable($bias([outputs]))  #? not optional_bias
        self.bias = tf.Variable($bias([outputs])) if bias else None  #? optional_bias

    def __call__(self, x):
        return x @ self.kernel + self.bias  #? not optional_bias
        y = x @ self.kernel  #? optional_bias
        return y if self.bias is None else y + self.bias  #? optional_bias
"""

# tf.nn.conv2d takes any padding, tf.nn.convolution dilations and all dimensions.
CONV = """
class Conv2D(tf.Module):
    def __init__(
        self,
        inputs,
        outputs,
        kernel_size,
        strides=1,
        padding="VALID",
        bias=True,  #? optional_bias
    ):
        super().__init__()
        self.kernel = tf.Variable($kernel([*kernel_size, inputs, outputs]))
        self.bias = tf.Variable($bias([outputs]))  #? not optional_bias
        self.bias = tf.Variable($bias([outputs])) if bias else None  #? optional_bias
        self.strides, self.padding = strides, padding

    def __call__(self, x):
#? not optional_bias
        return tf.nn.conv2d(x, self.kernel, self.strides, self.padding) + self.bias
#? optional_bias
        y = tf.nn.conv2d(x, self.kernel, self.strides, self.padding)
        return y if self.bias is None else y + self.bias
"""

CONVOLUTION = """
class $name(tf.Module):
    def __init__(
        self,
        inputs,
        outputs,
        kernel_size,
        strides=1,
        padding="VALID",
        dilations=1,  #? dilated
        bias=True,  #? optional_bias
    ):
        super().__init__()
        self.kernel = tf.Variable($kernel([*kernel_size, inputs, outputs]))
        self.bias = tf.Variable($bias([outputs]))  #? not optional_bias
        self.bias = tf.Variable($bias([outputs])) if bias else None  #? optional_bias
        self.strides, self.padding = strides, padding
        self.dilations = dilations  #? dilated

    def __call__(self, x):
#? dilated
        y = tf.nn.convolution(
            x, self.kernel, self.strides, self.padding, dilations=self.dilations
        )
#? not dilated
        y = tf.nn.convolution(x, self.kernel, self.strides, self.padding)
#? end
        return y + self.bias  #? not optional_bias
        return y if self.bias is None else y + self.bias  #? optional_bias
"""

GROUPED = '''
class $name(tf.Module):
    """TensorFlow has no gradient of a grouped convolution on a CPU: one by one."""

    def __init__(
        self,
        inputs,
        outputs,
        kernel_size,
        groups,
        strides=1,
        padding="VALID",
        dilations=1,  #? dilated
        bias=True,  #? optional_bias
    ):
        super().__init__()
        shape = [*kernel_size, inputs // groups, outputs]
        self.kernel = tf.Variable($kernel(shape))
        self.bias = tf.Variable($bias([outputs]))  #? not optional_bias
        self.bias = tf.Variable($bias([outputs])) if bias else None  #? optional_bias
        self.groups, self.strides, self.padding = groups, strides, padding
        self.dilations = dilations  #? dilated

    def __call__(self, x):
        xs = tf.split(x, self.groups, axis=-1)
        kernels = tf.split(self.kernel, self.groups, axis=-1)
        ys = [
#? dilated
            tf.nn.convolution(
                x, kernel, self.strides, self.padding, dilations=self.dilations
            )
#? not dilated
            tf.nn.convolution(x, kernel, self.strides, self.padding)
#? end
            for x, kernel in zip(xs, kernels)
        ]
        y = tf.concat(ys, axis=-1)
        return y + self.bias  #? not optional_bias
        return y if self.bias is None else y + self.bias  #? optional_bias
'''

DEPTHWISE = """
class DepthwiseConv2D(tf.Module):
    def __init__(
        self,
        channels,
        kernel_size,
        strides=1,
        padding="VALID",
        bias=True,  #? optional_bias
    ):
        super().__init__()
        self.kernel = tf.Variable($kernel([*kernel_size, channels, 1]))
        self.bias = tf.Variable($bias([channels]))  #? not optional_bias
        self.bias = tf.Variable($bias([channels])) if bias else None  #? optional_bias
        self.strides, self.padding = [1, strides, strides, 1], padding

    def __call__(self, x):
        y = tf.nn.depthwise_conv2d(x, self.kernel, self.strides, self.padding)
        return y + self.bias  #? not optional_bias
        return y if self.bias is None else y + self.bias  #? optional_bias
"""

TRANSPOSED = """
class $name(tf.Module):
    def __init__(
        self,
        inputs,
        outputs,
        kernel_size,
        output_size,
        strides=1,
        padding="VALID",
        bias=True,  #? optional_bias
    ):
        super().__init__()
        self.kernel = tf.Variable($kernel([*kernel_size, outputs, inputs]))
        self.bias = tf.Variable($bias([outputs]))  #? not optional_bias
        self.bias = tf.Variable($bias([outputs])) if bias else None  #? optional_bias
        self.output_shape = [*output_size, outputs]
        self.strides, self.padding = strides, padding

    def __call__(self, x):
        shape = [tf.shape(x)[0], *self.output_shape]
        y = tf.nn.conv_transpose(x, self.kernel, shape, self.strides, self.padding)
        return y + self.bias  #? not optional_bias
        return y if self.bias is None else y + self.bias  #? optional_bias
"""

BATCH_NORM = """
class BatchNorm(tf.Module):
    def __init__(
        self,
        size,
        momentum=0.9,  #? trained
        epsilon=1e-5,
        unbiased=False,  #? trained, unbiased
        scale=True,  #? optional_scale
        shift=True,  #? optional_shift
    ):
        super().__init__()
        self.scale = tf.Variable($ones)  #? not optional_scale
        self.scale = tf.Variable($ones) if scale else None  #? optional_scale
        self.shift = tf.Variable($zeros)  #? not optional_shift
        self.shift = tf.Variable($zeros) if shift else None  #? optional_shift
        self.mean = tf.Variable($zeros, trainable=False)
        self.variance = tf.Variable($ones, trainable=False)
        self.momentum, self.epsilon = momentum, epsilon  #? trained
        self.epsilon = epsilon  #? not trained
        self.unbiased = unbiased  #? trained, unbiased

#? trained
    def __call__(self, x, training):
        mean, variance = self.mean, self.variance
        if training:
            mean, variance = tf.nn.moments(x, list(range(len(x.shape) - 1)))
            self.mean.assign(self.momentum * self.mean + (1 - self.momentum) * mean)
#? trained, not unbiased
            self.variance.assign(
                self.momentum * self.variance + (1 - self.momentum) * variance
            )
#? trained, unbiased
            count = tf.cast(tf.size(x) / tf.size(mean), x.dtype)
            correction = count / (count - 1) if self.unbiased else 1.0
            self.variance.assign(
                self.momentum * self.variance
                + (1 - self.momentum) * correction * variance
            )
#? trained
        return tf.nn.batch_normalization(
            x, mean, variance, self.shift, self.scale, self.epsilon
        )
#? not trained
    def __call__(self, x):
        return tf.nn.batch_normalization(
            x, self.mean, self.variance, self.shift, self.scale, self.epsilon
        )
"""

LAYER_NORM = """
class LayerNorm(tf.Module):
    def __init__(
        self,
        size,
        epsilon=1e-5,
        scale=True,  #? optional_scale
        shift=True,  #? optional_shift
    ):
        super().__init__()
        self.scale = tf.Variable($ones)  #? not optional_scale
        self.scale = tf.Variable($ones) if scale else None  #? optional_scale
        self.shift = tf.Variable($zeros)  #? not optional_shift
        self.shift = tf.Variable($zeros) if shift else None  #? optional_shift
        self.epsilon = epsilon

    def __call__(self, x):
        mean, variance = tf.nn.moments(x, [-1], keepdims=True)
        return tf.nn.batch_normalization(
            x, mean, variance, self.shift, self.scale, self.epsilon
        )
"""

GROUP_NORM = """
class GroupNorm(tf.Module):
    def __init__(
        self,
        size,
        groups,
        epsilon=1e-5,
        scale=True,  #? optional_scale
        shift=True,  #? optional_shift
    ):
        super().__init__()
        self.scale = tf.Variable($ones)  #? not optional_scale
        self.scale = tf.Variable($ones) if scale else 1.0  #? optional_scale
        self.shift = tf.Variable($zeros)  #? not optional_shift
        self.shift = tf.Variable($zeros) if shift else 0.0  #? optional_shift
        self.groups, self.epsilon = groups, epsilon

    def __call__(self, x):
        shape = tf.shape(x)
        x = tf.reshape(x, [shape[0], -1, self.groups, shape[-1] // self.groups])
        mean, variance = tf.nn.moments(x, [1, 3], keepdims=True)
        x = (x - mean) * tf.math.rsqrt(variance + self.epsilon)
        return tf.reshape(x, shape) * self.scale + self.shift
"""

RMS_NORM = """
class RMSNorm(tf.Module):
    def __init__(self, size, epsilon=1e-6):  #? not optional_scale
    def __init__(self, size, epsilon=1e-6, scale=True):  #? optional_scale
        super().__init__()
        self.scale = tf.Variable($ones)  #? not optional_scale
        self.scale = tf.Variable($ones) if scale else 1.0  #? optional_scale
        self.epsilon = epsilon

    def __call__(self, x):
        square = tf.reduce_mean(x**2, axis=-1, keepdims=True)
        return x * tf.math.rsqrt(square + self.epsilon) * self.scale
"""

EMBEDDING = """
class Embedding(tf.Module):
    def __init__(self, vocabulary, features):
        super().__init__()
        self.table = tf.Variable($embedding([vocabulary, features]))

    def __call__(self, x):
        return tf.nn.embedding_lookup(self.table, x)
"""

SIMPLE_RNN = '''
class SimpleRNN(tf.Module):
    def __init__(self, inputs, units):
        super().__init__()
        self.kernel = tf.Variable($kernel([inputs, units]))
        self.recurrent = tf.Variable($recurrent([units, units]))
        self.bias = tf.Variable($bias([units]))  #? one
        self.recurrent_bias = tf.Variable($bias([units]))  #? two

    def step(self, h, x):
        """The next state; x is the product of a step with the kernel."""
        return $activation(x + h @ self.recurrent$second)

    def __call__(self, x):
        """The states of all steps, N x T x units."""
        x = tf.transpose(x @ self.kernel$first, [1, 0, 2])
        h = tf.zeros([tf.shape(x)[1], self.recurrent.shape[0]]$dtype)
        return tf.transpose(tf.scan(self.step, x, h), [1, 0, 2])
'''

LSTM = '''
class LSTM(tf.Module):
    """The gates lie in the order input, forget, memory, output."""

    def __init__(self, inputs, units):
        super().__init__()
        self.kernel = tf.Variable($kernel([inputs, 4 * units]))
        self.recurrent = tf.Variable($recurrent([units, 4 * units]))
        self.bias = tf.Variable($bias([4 * units]))  #? one, not forget
        # The forget gate starts open.  #? forget
        bias = tf.constant($forget$dtype)  #? forget
        self.bias = tf.Variable(tf.repeat(bias, units))  #? forget
        self.recurrent_bias = tf.Variable($bias([4 * units]))  #? two

    def step(self, state, x):
        """The next state; x is the product of a step with the kernel."""
        h, c = state
        i, f, g, o = tf.split(x + h @ self.recurrent$second, 4, axis=-1)
        c = tf.sigmoid(f) * c + tf.sigmoid(i) * $activation(g)
        return tf.sigmoid(o) * $activation(c), c

    def __call__(self, x):
        """The outputs of all steps, N x T x units."""
        x = tf.transpose(x @ self.kernel$first, [1, 0, 2])
        zeros = tf.zeros([tf.shape(x)[1], self.recurrent.shape[0]]$dtype)
        h, _ = tf.scan(self.step, x, (zeros, zeros))
        return tf.transpose(h, [1, 0, 2])
'''

GRU = '''
class GRU(tf.Module):
    """The gates lie in the order reset, update, candidate."""

    def __init__(self, inputs, units):
        super().__init__()
        self.kernel = tf.Variable($kernel([inputs, 3 * units]))
        self.recurrent = tf.Variable($recurrent([units, 3 * units]))
        self.bias = tf.Variable($bias([3 * units]))  #? one
        self.recurrent_bias = tf.Variable($bias([3 * units]))  #? two
        self.recurrent_bias = tf.Variable($bias([units]))  #? candidate

    def step(self, h, x):
        """The next state; x is the product of a step with the kernel."""
        x_r, x_z, x_n = tf.split(x, 3, axis=-1)
        h_r, h_z, h_n = tf.split(h @ self.recurrent$second, 3, axis=-1)  #? after
        r, z = tf.sigmoid(x_r + h_r), tf.sigmoid(x_z + h_z)  #? after
        n = $activation(x_n + r * h_n)  #? after, not candidate
        n = $activation(x_n + r * (h_n + self.recurrent_bias))  #? after, candidate
        u_r, u_z, u_n = tf.split(self.recurrent, 3, axis=-1)  #? not after
        b_r, b_z, b_n = tf.split(self.recurrent_bias, 3)  #? not after, two
        r = tf.sigmoid(x_r + h @ u_r$b_r)  #? not after
        z = tf.sigmoid(x_z + h @ u_z$b_z)  #? not after
        n = $activation(x_n + (r * h) @ u_n$b_n)  #? not after
        return (1 - z) * n + z * h

    def __call__(self, x):
        """The states of all steps, N x T x units."""
        x = tf.transpose(x @ self.kernel$first, [1, 0, 2])
        h = tf.zeros([tf.shape(x)[1], self.recurrent.shape[0]]$dtype)
        return tf.transpose(tf.scan(self.step, x, h), [1, 0, 2])
'''

BIDIRECTIONAL = """
class Bidirectional(tf.Module):
    def __init__(self, forward, backward):
        super().__init__()
        self.forward, self.backward = forward, backward

    def __call__(self, x):
        backward = tf.reverse(self.backward(tf.reverse(x, [1])), [1])
        return tf.concat([self.forward(x), backward], axis=-1)
"""

ATTENTION = """
class MultiHeadAttention(tf.Module):
    def __init__(
        self,
        features,
        heads,
        causal=False,  #? causal
        key_features=None,  #? widths
        value_features=None,  #? widths
        bias=True,  #? optional_bias
    ):
        super().__init__()
        self.query = Dense(features, features$biased)
        self.key = Dense(features, features$biased)  #? not widths
        self.value = Dense(features, features$biased)  #? not widths
        self.key = Dense(key_features or features, features$biased)  #? widths
        self.value = Dense(value_features or features, features$biased)  #? widths
        self.output = Dense(features, features$biased)
        self.heads = heads
        self.causal = causal  #? causal

    def split_heads(self, x):
        shape = tf.shape(x)
        x = tf.reshape(x, [shape[0], shape[1], self.heads, x.shape[2] // self.heads])
        return tf.transpose(x, [0, 2, 1, 3])

    def __call__(self, query, key, value):
        q = self.split_heads(self.query(query))
        k = self.split_heads(self.key(key))
        v = self.split_heads(self.value(value))
        scores = tf.matmul(q, k, transpose_b=True) / math.sqrt(q.shape[3])
        if self.causal:  #? causal
            seen = tf.linalg.band_part(tf.ones_like(scores), -1, 0)  #? causal
            scores = tf.where(seen > 0, scores, scores.dtype.min)  #? causal
        x = tf.transpose(tf.nn.softmax(scores) @ v, [0, 2, 1, 3])
        return self.output(tf.reshape(x, tf.shape(query)))
"""

CONVOLUTIONS = {
    "Conv1D": CONVOLUTION,
    "Conv2D": CONV,
    "Conv3D": CONVOLUTION,
    "DilatedConv2D": CONVOLUTION,
    "GroupConv1D": GROUPED,
    "GroupConv2D": GROUPED,
    "GroupConv3D": GROUPED,
    "DepthwiseConv2D": DEPTHWISE,
    "Conv1DTranspose": TRANSPOSED,
    "Conv2DTranspose": TRANSPOSED,
    "Conv3DTranspose": TRANSPOSED,
}

#: Every layer that a program may define, in the order in which it does.
LAYERS = {
    "Dense": DENSE,
    **CONVOLUTIONS,
    "BatchNorm": BATCH_NORM,
    "LayerNorm": LAYER_NORM,
    "GroupNorm": GROUP_NORM,
    "RMSNorm": RMS_NORM,
    "Embedding": EMBEDDING,
    "SimpleRNN": SIMPLE_RNN,
    "LSTM": LSTM,
    "GRU": GRU,
    "Bidirectional": BIDIRECTIONAL,
    "MultiHeadAttention": ATTENTION,
}


def layer(
    name: str,
    uses: Uses,
    initializers: recipe.Initializers,
    dtype: str,
    trained: bool,
) -> str:
    """A layer as these uses need it; raises ``Gap`` where one cannot serve them all."""
    words = _words(name, uses) | ({"trained"} if trained else set())
    slots = {"name": name, **_SIZED}
    slots["biased"] = ", bias" if "optional_bias" in words else ""
    if name in ("SimpleRNN", "LSTM", "GRU"):
        slots |= _recurrent(name, uses, initializers, words)
    kept, around = [], ""
    for row in LAYERS[name].strip().split("\n"):
        line, _, conditions = row.partition("#? ")
        if row.startswith("#? "):
            around = conditions.removesuffix("end")
        elif _holds(around, words) and _holds(conditions, words):
            kept.append(line.rstrip())
    text = _SIGNATURE.sub(_signature, "\n".join(kept))
    text = _INITIAL.sub(lambda m: _initial(initializers, m[1], m[2]), text)
    for slot, value in slots.items():
        text = re.sub(rf"\${slot}\b", value, text)
    return _typed(text, dtype)


def function(name: str, dtype: str) -> str:
    """One of ``FUNCTIONS``."""
    return _typed(FUNCTIONS[name].strip(), dtype)


def _words(name: str, uses: Uses) -> set[str]:
    """What the uses of a layer ask of its text."""
    words = set()
    for op, inputs in uses:
        for attribute in ("bias", "scale", "shift"):
            if getattr(op, attribute, True) is False:
                words.add(f"optional_{attribute}")
        for attribute in ("unbiased", "causal"):
            if getattr(op, attribute, False):
                words.add(attribute)
        if any(n != 1 for n in getattr(op, "dilation", ())):
            words.add("dilated")
        if name == "MultiHeadAttention" and len({x.size("F") for x in inputs}) > 1:
            words.add("widths")
    return words


def _recurrent(
    name: str, uses: Uses, initializers: recipe.Initializers, words: set[str]
) -> dict[str, str]:
    """Slots of a recurrent layer, which has one form; adds the words of that form."""
    op = uses[0][0]
    for attribute in ("activation", "bias", "reset", "forget_bias"):
        if len({getattr(use, attribute, None) for use, _ in uses}) > 1:
            what = attribute.replace("_", " ")
            raise Gap(f"every {name} of a network is written with one {what}")
    words |= {op.bias, getattr(op, "reset", "")}
    two, candidate = op.bias == "two", op.bias == "candidate"
    if op.bias != "none":
        words.add("one")
    slots = {
        "activation": "tf.nn.relu"
        if op.activation == "relu"
        else f"tf.{op.activation}",
        "first": "" if op.bias == "none" else " + self.bias",
        "second": " + self.recurrent_bias" if two else "",
        "b_r": " + b_r" if two else "",
        "b_z": " + b_z" if two else "",
        "b_n": " + b_n" if two else " + self.recurrent_bias" if candidate else "",
    }
    if getattr(op, "forget_bias", 0) and op.bias != "none":
        if not isinstance(initializers.bias, recipe.Zeros):
            raise Gap("biases other than that of a forget gate start at 0")
        words.add("forget")
        slots["forget"] = f"[0.0, {float(op.forget_bias)}, 0.0, 0.0]"
    return slots


def _holds(conditions: str, words: set[str]) -> bool:
    each = [condition for condition in conditions.split(", ") if condition]
    return all((c.removeprefix("not ") in words) != c.startswith("not ") for c in each)


_SIGNATURE = re.compile(r"    def __init__\(\n((?: {8}.*\n)+?)    \):")
_INITIAL = re.compile(r"\$(kernel|recurrent|bias|embedding)\(([^()]*)\)")
_VARIABLE = re.compile(r"^( +self\.\w+ = )(tf\.Variable)\((.*)\)$", re.MULTILINE)
_SIZED = {"ones": "tf.ones([size]$dtype)", "zeros": "tf.zeros([size]$dtype)"}


def _signature(match: re.Match[str]) -> str:
    """The parameters that are left, on one line where they fit."""
    parameters = [row.strip().rstrip(",") for row in match[1].strip().split("\n")]
    return "\n".join(layout("    ", call("def __init__", *parameters), ":"))


def _typed(text: str, dtype: str) -> str:
    text = text.replace("$dtype", "" if dtype == "float32" else f", tf.{dtype}")
    return _VARIABLE.sub(lambda m: "\n".join(layout(m[1], call(m[2], m[3]))), text)


def _initial(initializers: recipe.Initializers, role: str, shape: str) -> str:
    initializer = initializers.of(role)
    text: str = INITIALIZERS[type(initializer)](initializer, shape)
    return text

"""The layers of a bare JAX program: functions of the parameters and a batch, as text.

A program holds those that it calls. ``$bias``, ``$scale`` and ``$shift`` stand for what
is done with that array: nothing where no layer has it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from netglot import axes
from netglot.backends import flax
from netglot.backends.numpy_layers import ABOUT, CELLS
from netglot.backends.numpy_layers import _steps as steps
from netglot.source import WIDTH, call, inline, layout, quoted

LAYERS: dict[str, str] = {}

LAYERS["dense"] = '''
def dense(params, x):
    """Every output is a weighted sum of all inputs."""
    return x @ params["kernel"]$bias
'''

#: Names of the convolutions in one, two and three dimensions.
CONVOLUTIONS = {1: "conv_1d", 2: "conv", 3: "conv_3d"}

for _name in CONVOLUTIONS.values():
    LAYERS[_name] = ""  # written for the uses: see ``_convolution``

LAYERS["conv_transpose"] = '''
def conv_transpose(params, x, strides, padding="VALID", **options):
    """Convolution backwards: every pixel writes a whole kernel, ... x out x in."""
    y = lax.conv_transpose(
        x, params["kernel"], strides, padding, transpose_kernel=True, **options
    )
    return y$bias
'''

LAYERS["grouped_conv_transpose"] = '''
def grouped_conv_transpose(params, x, groups, strides, padding="VALID", **options):
    """The channels in groups, and a convolution backwards for each."""
    xs = jnp.split(x, groups, axis=-1)
    kernels = jnp.split(params["kernel"], groups, axis=-1)
    ys = [
        lax.conv_transpose(x, k, strides, padding, transpose_kernel=True, **options)
        for x, k in zip(xs, kernels)
    ]
    return jnp.concatenate(ys, axis=-1)$bias
'''

LAYERS["max_pool"] = '''
def max_pool(x, window, strides$padding):
    """The largest value that each window sees."""
    sizes, steps = (1, *window, 1), (1, *strides, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, sizes, steps, $pads)
'''

LAYERS["avg_pool"] = '''
def avg_pool(x, window, strides):
    """The mean of what each window sees."""
    sizes, steps = (1, *window, 1), (1, *strides, 1)
    total = lax.reduce_window(x, 0.0, lax.add, sizes, steps, "VALID")
    return total / math.prod(window)
'''

LAYERS["avg_pool_inside"] = '''
def avg_pool_inside(x, window, strides, padding):
    """The mean of what each window sees of x, leaving out the border around it."""

    def add_up(x):
        sizes, steps = (1, *window, 1), (1, *strides, 1)
        return lax.reduce_window(x, 0.0, lax.add, sizes, steps, padding)

    return add_up(x) / add_up(jnp.ones_like(x))
'''

LAYERS["batch_norm"] = '''
def batch_norm(params, x, epsilon=1e-5):
    """Bring channels from their mean and variance to 0 and 1$ending."""
    mean, variance = params["mean"], params["variance"]
    x = jax.nn.standardize(x, mean=mean, variance=variance, epsilon=epsilon)
    return x$scale$shift
'''

#: The same where it is trained.
TRAINED_NORM = '''
def batch_norm(params, x, training, momentum=0.9, epsilon=1e-5$unbiased):
    """Bring channels from their mean and variance to 0 and 1$ending.

    In training these are of the batch, and the running ones, which are used afterwards,
    move a little towards them: the parameters are returned as well.
    """
    mean, variance = params["mean"], params["variance"]
    if training:
        axes = tuple(range(x.ndim - 1))
        mean, variance = x.mean(axes), x.var(axes)
        moved = {"mean": mean, "variance": $variance}
        params = params | {
            name: momentum * params[name] + (1 - momentum) * value
            for name, value in moved.items()
        }
    x = jax.nn.standardize(x, mean=mean, variance=variance, epsilon=epsilon)
    return x$scale$shift, params
'''

LAYERS["layer_norm"] = '''
def layer_norm(params, x, epsilon=1e-5):
    """Bring the features to mean 0 and variance 1$ending."""
    x = jax.nn.standardize(x, epsilon=epsilon, algorithm="stable")
    return x$scale$shift
'''

LAYERS["group_norm"] = '''
def group_norm(params, x, groups, epsilon=1e-5):
    """Bring groups of channels to mean 0 and variance 1 in every image$ending."""
    y = x.reshape(len(x), -1, groups, x.shape[-1] // groups)
    y = jax.nn.standardize(y, axis=(1, 3), epsilon=epsilon, algorithm="stable")
    return y.reshape(x.shape)$scale$shift
'''

LAYERS["rms_norm"] = '''
def rms_norm(params, x, epsilon=1e-6):
    """Bring the mean square of the features to 1$ending."""
    x = x * lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + epsilon)
    return x$scale
'''

LAYERS["split_key"] = '''
def split_key(key, count):
    """A key for each random part of a network; none outside training."""
    return [None] * count if key is None else jax.random.split(key, count)
'''

LAYERS["dropout"] = '''
def dropout(x, rate, key):
    """Drop a share of the values and scale the others up; without a key, nothing."""
    if key is None:
        return x
    keep = jax.random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(keep, x / (1 - rate), 0)
'''


def _recurrent(form: tuple[str, str, str, str]) -> str:
    """The text of a recurrent layer in one of its forms: a scan over the steps."""
    gates, _, bias, activation = form
    before, body = steps(*form)
    function = "jnp.tanh" if activation == "tanh" else f"jax.nn.{activation}"
    changes = {
        r"\bsigmoid\(": "jax.nn.sigmoid(",
        r"(?<!\.)\btanh\(": f"{function}(",
        r"\bnp\.": "jnp.",
        r"\bw\[": "params[",
        r"given\[:, t\]": "x",
    }
    for pattern, text in changes.items():
        before, body = re.sub(pattern, text, before), re.sub(pattern, text, body)
    lstm = gates == "ifgo"
    given = 'x @ params["kernel"]' + ' + params["bias"]' * (bias != "none")
    rows = [
        f"def step({'state' if lstm else 'h'}, x):",
        *["    h, c = state"] * lstm,
        *(f"    {row}" for row in body.strip().split("\n")),
        f"    return {'(h, c)' if lstm else 'h'}, h",
        "",
        *(row for row in before.split("\n") if row),
        f"x = {given}  # of all steps at once",
        'h = jnp.zeros((len(x), len(params["recurrent"])), x.dtype)',
        f"_, states = lax.scan(step, {'(h, h)' if lstm else 'h'}, x.swapaxes(0, 1))",
        "return states.swapaxes(0, 1)",
    ]
    rows = [line for row in rows for line in _broken(row)]
    written = "\n".join(f"    {row}" if row else "" for row in rows)
    about = f"{ABOUT[gates]}.\n\n    Reads (N, steps, features), returns every state"
    return f'\ndef {CELLS[form]}(params, x):\n    """{about}.\n    """\n\n{written}\n'


def _broken(row: str) -> list[str]:
    """A split in three lines where it is too long for one."""
    match = re.fullmatch(r"( *[a-z_, ]+ = jnp\.split\()(.*)\)", row)
    if match is None or len(row) + 4 <= WIDTH:
        return [row]
    margin = " " * (len(row) - len(row.lstrip()))
    return [match[1], f"{margin}    {match[2]}", f"{margin})"]


LAYERS |= {name: _recurrent(form) for form, name in CELLS.items()}

LAYERS["attention"] = '''
def attention(params, query, key, value, heads$causal):
    """Each step of the query mixes the values, most of them those whose key fits."""

    def cut(x, params):
        """A map of x, cut into heads: (N, steps, heads, features)."""
        return dense(params, x).reshape(*x.shape[:2], heads, -1)

    q = cut(query, params["query"])
    k = cut(key, params["key"])
    v = cut(value, params["value"])
    x = $attend(q, k, v$is_causal)
    return dense(params["output"], x.reshape(query.shape))
'''

# --- Initial weights ------------------------------------------------------------------

LAYERS["init_layer"] = '''
def init_layer(key, *shape):
    """Weights of a dense layer or a convolution; the last axes are in and out."""
    return $weights
'''

LAYERS["init_norm"] = '''
def init_norm(channels):
    """Weights of a batch norm; mean and variance are running ones."""
    learned = {"scale": jnp.ones(channels), "shift": jnp.zeros(channels)}
    return {**learned, "mean": jnp.zeros(channels), "variance": jnp.ones(channels)}
'''


def layer(name: str, ops: Sequence[Any], trained: bool, dtype: str) -> str:
    """The text of a layer as the operations that it stands for need it."""
    if name in CONVOLUTIONS.values():
        text = _convolution(name, ops)
    elif name == "batch_norm" and trained:
        text = TRAINED_NORM
    else:
        text = LAYERS[name]
    arrays = {
        word: _array(word, sign, ops)
        for word, sign in (("bias", "+"), ("scale", "*"), ("shift", "+"))
    }
    said = [word for word in ("scale", "shift") if arrays[word]]
    padded = any(any(map(any, op.padding)) or op.ceil for op in ops if _pools(op))
    unbiased = any(getattr(op, "unbiased", False) for op in ops)
    causal = any(getattr(op, "causal", False) for op in ops)
    slots = {
        **arrays,
        "ending": f"; then {' and '.join(said)}" if said else "",
        "padding": ', padding="VALID"' if padded else "",
        "pads": "padding" if padded else quoted("VALID"),
        "unbiased": ", unbiased=False" if unbiased else "",
        "variance": "variance * (count / (count - 1) if unbiased else 1)"
        if unbiased
        else "variance",
        "causal": ", is_causal=False" if causal else "",
        "is_causal": ", is_causal=is_causal" if causal else "",
        # JAX's own takes the softmax in float32, whatever it is given.
        "attend": "exact_attention"
        if dtype == "float64"
        else "jax.nn.dot_product_attention",
    }
    if unbiased:
        text = text.replace(
            "        moved =", "        count = x.size // x.shape[-1]\n        moved ="
        )
    return re.sub(r"\$([a-z_]+)", lambda m: slots.get(m[1], m[0]), text).strip()


def _pools(op: Any) -> bool:
    return hasattr(op, "ceil")


def _array(name: str, sign: str, ops: Sequence[Any]) -> str:
    """What is done with an array that all, some or none of the layers have."""
    has = {bool(getattr(op, name, False)) for op in ops}
    if has == {True, False}:
        return f' {sign} params.get("{name}", {1 if sign == "*" else 0})'
    return f' {sign} params["{name}"]' if has == {True} else ""


def _convolution(name: str, ops: Sequence[Any]) -> str:
    """A convolution with the arguments that some use has."""
    (dims,) = (n for n, own in CONVOLUTIONS.items() if own == name)
    space = axes.SPATIAL[dims]
    options = any(op.groups != 1 or set(op.dilation) != {1} for op in ops)
    strided = any(set(op.stride) != {1} for op in ops)
    padded = any(flax.padding(op) is not None for op in ops)
    ones = f"({', '.join('1' * dims)}{',' * (dims == 1)})"
    head = call(
        f"def {name}",
        "params",
        "x",
        f"strides={ones}" if strided else None,
        'padding="SAME"' if padded else None,
        "**options" if options else None,
    )
    orders = tuple(quoted(text) for text in (f"N{space}C", f"{space}IO", f"N{space}C"))
    value = call(
        "lax.conv_general_dilated",
        "x",
        'params["kernel"]',
        "strides" if strided else ones,
        "padding" if padded else quoted("SAME"),
        f"dimension_numbers={inline(orders)}",
        "**options" if options else None,
    )
    shape = " x ".join(f"N{space}C")
    about = (
        f"Convolution of images {shape}; the kernel is {' x '.join(space)} x in x out"
    )
    if dims == 1:
        about = "Convolution of sequences N x W x C; the kernel is W x in x out"
    rows = [*layout("    y = ", value), "    return y$bias"]
    if not any(op.bias for op in ops):
        rows = layout("    return ", value)
    return "\n".join([*layout("", head, ":"), f'    """{about}."""', *rows])


def called(text: str) -> set[str]:
    """Names of the layers that a text calls, its docstrings aside."""
    code = re.sub(r'"""(?:.|\n)*?"""', "", text)
    return set(re.findall(r"(?<![\w.\"])([a-z]\w*)(?=[(,)])", code)) & set(LAYERS)

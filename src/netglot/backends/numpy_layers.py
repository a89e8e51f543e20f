"""The layers of a NumPy program: functions by name, as text, each written to be read.

``LAYERS`` holds what is computed, ``GRADIENTS`` what autograd is told of those that it
cannot differentiate itself, or only slowly. A program holds those that it calls.
"""

from __future__ import annotations

import itertools

LAYERS: dict[str, str] = {}

# --- Weights by name ------------------------------------------------------------------

LAYERS["part"] = '''
def part(w, name):
    """The weights of one part of the network, by the names that they have in it."""
    return {k.removeprefix(f"{name}."): w[k] for k in w if k.startswith(f"{name}.")}
'''

LAYERS["prefixed"] = '''
def prefixed(name, w):
    """The weights of a part by the names that they have in the network."""
    return {f"{name}.{k}": array for k, array in w.items()}
'''

# --- Sums, dense layers, convolutions -------------------------------------------------

LAYERS["mean"] = '''
def mean(x, axis=None, keepdims=False):
    """The mean; unlike that of np.mean, its gradient keeps the precision of x."""
    total = np.sum(x, axis=axis, keepdims=keepdims)
    return total / (x.size // total.size)
'''

LAYERS["dense"] = '''
def dense(x, kernel, bias=0):
    """Every output is a weighted sum of all inputs: (N, in) @ (in, out) + (out)."""
    return x @ kernel + bias
'''

LAYERS["pad"] = '''
def pad(x, padding, value=0):
    """Put a border around images: one width, or (before, after) for each axis."""
    space = np.broadcast_to(padding, (x.ndim - 2, 2)).tolist()
    return np.pad(x, [(0, 0), *space, (0, 0)], "constant", constant_values=value)
'''

LAYERS["shifts"] = '''
def shifts(shape, size, stride):
    """For every place in a window: the place, and what all windows see of x there.

    An image of 5 x 5 has 3 x 3 windows of 3 x 3. At place (0, 1) of theirs, at the top
    and in the middle, they see x[:, 0:3, 1:4].
    """
    axes = len(shape) - 2
    size, stride = np.broadcast_to(size, axes), np.broadcast_to(stride, axes)
    counts = (np.array(shape[1:-1]) - size) // stride + 1
    for place in np.ndindex(*size):
        yield place, (slice(None), *map(slice, place, place + counts * stride, stride))
'''

LAYERS["slide"] = '''
def slide(x, kernel, stride):
    """Slide a kernel over x: add up, place by place, what it sees times its weights."""
    y = 0
    for place, seen in shifts(x.shape, kernel.shape[:-2], stride):
        y += x[seen] @ kernel[place]
    return y
'''

LAYERS["unslide"] = '''
def unslide(y, kernel, stride, shape):
    """The way back: every y goes to all x (an array of a shape) that it was made of."""
    x = np.zeros(shape, y.dtype)
    for place, seen in shifts(shape, kernel.shape[:-2], stride):
        x[seen] += y @ kernel[place].T
    return x
'''

LAYERS["kernel_slope"] = '''
def kernel_slope(x, y, stride, shape):
    """The gradient of a kernel (of a shape) over x, where that of the result is y."""
    slope = np.zeros(shape, x.dtype)
    for place, seen in shifts(x.shape, shape[:-2], stride):
        slope[place] = x[seen].reshape(-1, shape[-2]).T @ y.reshape(-1, shape[-1])
    return slope
'''

LAYERS["dilate"] = '''
def dilate(kernel, dilation):
    """Spread a kernel out, with zeros between its elements."""
    size = (np.array(kernel.shape[:-2]) - 1) * dilation + 1
    result = np.zeros((*size, *kernel.shape[-2:]), kernel.dtype)
    result[every(dilation, len(size))] = kernel
    return result
'''

LAYERS["every"] = '''
def every(steps, axes):
    """The slices that take one element of as many along each axis."""
    return tuple(slice(None, None, step) for step in np.broadcast_to(steps, axes))
'''

LAYERS["conv"] = '''
def conv(x, kernel, bias=0, stride=1, padding=0):
    """Convolution of images (N, H, W, in) with a kernel (H, W, in, out)."""
    if padding:
        x = pad(x, padding)
    return slide(x, kernel, stride) + bias
'''

LAYERS["grouped_conv"] = '''
def grouped_conv(x, kernel, groups, bias=0, **options):
    """The channels in groups, and a convolution for each."""
    pairs = zip(np.split(x, groups, axis=-1), np.split(kernel, groups, axis=-1))
    return np.concatenate([conv(*pair, **options) for pair in pairs], axis=-1) + bias
'''

LAYERS["conv_transpose"] = '''
def conv_transpose(x, kernel, bias=0, stride=1, padding=0, output_padding=0):
    """A convolution backwards: every pixel writes a whole kernel; padding crops.

    The kernel is (H, W, out, in), that of the convolution that is turned round.
    """
    *size, out, _ = kernel.shape
    space = (np.array(x.shape[1:-1]) - 1) * stride + size
    y = unslide(x, kernel, stride, (len(x), *space, out))
    more = np.broadcast_to(output_padding, len(space))
    y = pad(y, [(0, n) for n in more])
    crops = np.broadcast_to(padding, (len(space), 2))
    kept = [slice(a, n - b) for (a, b), n in zip(crops, space + more)]
    return y[(slice(None), *kept)] + bias
'''

LAYERS["grouped_conv_transpose"] = '''
def grouped_conv_transpose(x, kernel, groups, bias=0, **options):
    """The channels in groups, and a transposed convolution for each."""
    pairs = zip(np.split(x, groups, axis=-1), np.split(kernel, groups, axis=-1))
    parts = [conv_transpose(*pair, **options) for pair in pairs]
    return np.concatenate(parts, axis=-1) + bias
'''

# --- Pooling --------------------------------------------------------------------------

LAYERS["max_pool"] = '''
def max_pool(x, size, stride):
    """The largest value that each window sees."""
    y = -np.inf
    for _, seen in shifts(x.shape, size, stride):
        y = np.maximum(y, x[seen])
    return y
'''

LAYERS["sum_pool"] = '''
def sum_pool(x, size, stride):
    """The sum of what each window sees."""
    return sum(x[seen] for _, seen in shifts(x.shape, size, stride))
'''

LAYERS["avg_pool"] = '''
def avg_pool(x, size, stride):
    """The mean of what each window sees."""
    places = list(shifts(x.shape, size, stride))
    return sum_pool(x, size, stride) / len(places)
'''

LAYERS["avg_pool_inside"] = '''
def avg_pool_inside(x, size, stride, padding):
    """The mean of what each window sees of x, leaving out the border around it."""
    inside = pad(np.ones((1, *x.shape[1:-1], 1), x.dtype), padding)
    count = sum_pool(inside, size, stride)
    return sum_pool(pad(x, padding), size, stride) / count
'''

LAYERS["largest"] = '''
def largest(x):
    """The largest value along the last axis."""
    return np.max(x, axis=-1)
'''

LAYERS["reduce_max"] = '''
def reduce_max(x, axes, keepdims=False):
    """The largest value over some axes."""
    axes = np.atleast_1d(axes)
    last = np.moveaxis(x, axes, range(-len(axes), 0))
    y = largest(last.reshape(*last.shape[: -len(axes)], -1))
    shape = [1 if i in axes else n for i, n in enumerate(x.shape)]
    return y.reshape(shape) if keepdims else y
'''

LAYERS["upsample"] = '''
def upsample(x, scale):
    """Repeat every pixel along each axis."""
    for axis, times in enumerate(np.broadcast_to(scale, x.ndim - 2), start=1):
        x = np.repeat(x, int(times), axis=axis)
    return x
'''

LAYERS["upsample_bilinear"] = '''
def upsample_bilinear(x, scale):
    """Put new pixels between the old ones, each a mix of its two neighbours."""
    for axis, times in enumerate(np.broadcast_to(scale, x.ndim - 2), start=1):
        old = np.arange(x.shape[axis])
        # Where the centre of every new pixel lies, counted in old ones.
        new = (np.arange(len(old) * times) + 0.5) / times - 0.5
        distance = np.abs(np.clip(new, 0, len(old) - 1) - old[:, None])
        mix = np.maximum(0, 1 - distance).astype(x.dtype)
        x = np.moveaxis(np.moveaxis(x, axis, -1) @ mix, -1, axis)
    return x
'''

# --- Normalisation, dropout -----------------------------------------------------------


def _batch_norm(unbiased: bool, scale: bool, shift: bool, trained: bool) -> str:
    """The text of ``batch_norm`` in one of its forms, with its training or without."""
    result = "(x - average) / np.sqrt(variance + epsilon)"
    result += ' * w["scale"]' * scale + ' + w["shift"]' * shift
    words = [word for word, said in (("scale", scale), ("shift", shift)) if said]
    ending = f"; then {' and '.join(words)}" if words else ""
    if not trained:
        return f'''
def {NORMS[unbiased, scale, shift]}(w, x, epsilon=1e-5):
    """Bring channels from their mean and variance to 0 and 1{ending}."""
    average, variance = w["mean"], w["variance"]
    return {result}
'''
    spread = "getval(variance)"
    count = ""
    if unbiased:
        spread += " * count / (count - 1)"
        count = "        count = x.size // x.shape[-1]\n"
    return f'''
def {NORMS[unbiased, scale, shift]}(w, x, training, momentum=0.9, epsilon=1e-5):
    """Bring channels from their mean and variance to 0 and 1{ending}.

    In training these are of the batch, and the running ones, which are used afterwards,
    move a little towards them.
    """
    average, variance = w["mean"], w["variance"]
    if training:
        old_mean, old_variance = getval(average), getval(variance)
        axes = tuple(range(x.ndim - 1))
        average = mean(x, axes)
        variance = mean((x - average) ** 2, axes)
{count}        old_mean[:] = momentum * old_mean + (1 - momentum) * getval(average)
        new_variance = {spread}
        old_variance[:] = momentum * old_variance + (1 - momentum) * new_variance
    return {result}
'''


#: (unbiased, scale, shift) -> name of the function.
NORMS = {
    (unbiased, scale, shift): "batch_norm"
    + "_unbiased" * unbiased
    + {(True, True): "", (True, False): "_no_shift", (False, True): "_no_scale"}.get(
        (scale, shift), "_plain"
    )
    for unbiased, scale, shift in itertools.product((False, True), repeat=3)
}
LAYERS |= {name: _batch_norm(*form, True) for form, name in NORMS.items()}
#: The same in programs that are not trained.
EVALUATED = {name: _batch_norm(*form, False) for form, name in NORMS.items()}

LAYERS["batch_norm_weights"] = '''
def batch_norm_weights(channels):
    """The weights that a batch norm starts with; mean and variance are running ones."""
    learned = {"scale": np.ones(channels), "shift": np.zeros(channels)}
    return {**learned, "mean": np.zeros(channels), "variance": np.ones(channels)}
'''

LAYERS["standardize"] = '''
def standardize(x, axes, epsilon):
    """Mean 0 and variance 1 over some axes."""
    x = x - mean(x, axes, keepdims=True)
    return x / np.sqrt(mean(x * x, axes, keepdims=True) + epsilon)
'''

LAYERS["layer_norm"] = '''
def layer_norm(x, scale=1, shift=0, epsilon=1e-5):
    """Bring the features to mean 0 and variance 1; then scale and shift them."""
    return standardize(x, -1, epsilon) * scale + shift
'''

LAYERS["rms_norm"] = '''
def rms_norm(x, scale=1, epsilon=1e-6):
    """Bring the mean square of the features to 1; then scale them."""
    return x / np.sqrt(mean(x * x, -1, keepdims=True) + epsilon) * scale
'''

LAYERS["group_norm"] = '''
def group_norm(x, groups, scale=1, shift=0, epsilon=1e-5):
    """Bring groups of channels to mean 0 and variance 1 in every image."""
    grouped = x.reshape(len(x), -1, groups, x.shape[-1] // groups)
    return standardize(grouped, (1, 3), epsilon).reshape(x.shape) * scale + shift
'''

LAYERS["dropout"] = '''
def dropout(x, rate, noise):
    """In training, drop a share of the values and scale the others up to make up."""
    if noise is None:
        return x
    return x * (noise.random(x.shape) >= rate) / (1 - rate)
'''

# --- Activations ----------------------------------------------------------------------

LAYERS["relu"] = '''
def relu(x):
    """Keep what is positive; the rest becomes 0."""
    return x * (x > 0)
'''

LAYERS["leaky_relu"] = '''
def leaky_relu(x, slope=0.01):
    """Keep what is positive; make the rest small."""
    return x * (x > 0) + slope * x * (x <= 0)
'''

LAYERS["elu"] = '''
def elu(x, alpha=1.0):
    """Keep what is positive; the rest goes down to -alpha."""
    return x * (x > 0) + alpha * np.expm1(x * (x <= 0))
'''

LAYERS["selu"] = '''
def selu(x):
    """An elu that keeps mean 0 and variance 1 (Klambauer et al., 2017)."""
    return 1.0507009873554805 * elu(x, 1.6732632423543772)
'''

LAYERS["erf"] = '''
def erf(x):
    """The error function, which NumPy lacks: Python's, element by element."""
    return np.vectorize(math.erf, otypes=[x.dtype])(x)
'''

LAYERS["gelu"] = '''
def gelu(x):
    """x times the share of a normal distribution that lies below x."""
    return 0.5 * x * (1 + erf(x / 2**0.5))
'''

LAYERS["gelu_tanh"] = '''
def gelu_tanh(x):
    """x times about the share of a normal distribution that lies below x."""
    return 0.5 * x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x * x * x)))
'''

LAYERS["sigmoid"] = '''
def sigmoid(x):
    """1 / (1 + exp(-x)), without an exponential that could overflow."""
    return 0.5 * (np.tanh(0.5 * x) + 1)
'''

LAYERS["silu"] = '''
def silu(x):
    """x times its sigmoid."""
    return x * sigmoid(x)
'''

LAYERS["softmax"] = '''
def softmax(x, axis):
    """Shares that add up to 1; taking the largest x out keeps exp from overflowing."""
    e = np.exp(x - getval(x).max(axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)
'''

LAYERS["log_softmax"] = '''
def log_softmax(x, axis):
    """Logarithm of the softmax; the largest x is taken out lest exp overflows."""
    x = x - getval(x).max(axis=axis, keepdims=True)
    return x - np.log(np.sum(np.exp(x), axis=axis, keepdims=True))
'''

LAYERS["clip"] = '''
def clip(x, low, high):
    """Bring what is below low to low, and what is above high to high."""
    return np.clip(x, low, high)
'''

LAYERS["maximum"] = '''
def maximum(a, b):
    """The larger one; of equal values each gets half of the gradient."""
    return a * (a > b) + b * (a < b) + (a + b) * (a == b) / 2
'''

LAYERS["minimum"] = '''
def minimum(a, b):
    """The smaller one; of equal values each gets half of the gradient."""
    return a * (a < b) + b * (a > b) + (a + b) * (a == b) / 2
'''

# --- Recurrent layers -----------------------------------------------------------------

ABOUT = {
    "h": "Every state is made of what is read and of the state before it",
    "ifgo": "Long short-term memory: gates let in, forget and let out what it keeps",
    "rzn": "Gated recurrent unit: r resets, z keeps the state, n is the new one",
}


def _steps(gates: str, reset: str, bias: str, activation: str) -> tuple[str, str]:
    """What is done before the first step, and at every step."""
    two = ' + w["recurrent_bias"]' * (bias == "two")
    if gates == "h":
        return "", f'h = tanh(given[:, t] + h @ w["recurrent"]{two})'
    if gates == "ifgo":
        return (
            "",
            f"""
sums = given[:, t] + h @ w["recurrent"]{two}
i, f, g, o = np.split(sums, 4, axis=1)
c = sigmoid(f) * c + sigmoid(i) * tanh(g)
h = sigmoid(o) * tanh(c)
""",
        )
    own = ' + w["recurrent_bias"]' * (bias == "candidate")
    if reset == "after":
        inner = f"r * (hn{own})" if own else "r * hn"
        return (
            "",
            f"""
xr, xz, xn = np.split(given[:, t], 3, axis=1)
hr, hz, hn = np.split(h @ w["recurrent"]{two}, 3, axis=1)
r, z = sigmoid(xr + hr), sigmoid(xz + hz)
n = tanh(xn + {inner})
h = (1 - z) * n + z * h
""",
        )
    before = """
gates, candidate = np.split(w["recurrent"], [2 * len(w["recurrent"])], axis=1)
"""
    gate_bias, candidate_bias = "", own
    if two:
        before += """
gate_bias, candidate_bias = np.split(w["recurrent_bias"], [2 * len(candidate)])
"""
        gate_bias, candidate_bias = " + gate_bias", " + candidate_bias"
    return (
        before,
        f"""
xr, xz, xn = np.split(given[:, t], 3, axis=1)
hr, hz = np.split(h @ gates{gate_bias}, 2, axis=1)
r, z = sigmoid(xr + hr), sigmoid(xz + hz)
n = tanh(xn + (r * h) @ candidate{candidate_bias})
h = (1 - z) * n + z * h
""",
    )


def _recurrent(gates: str, reset: str, bias: str, activation: str) -> str:
    """The text of a recurrent layer in one of its forms."""
    name = CELLS[gates, reset, bias, activation]
    before, step = _steps(gates, reset, bias, activation)
    function = {"tanh": "np.tanh"}.get(activation, activation)
    step = step.replace("tanh(", f"{function}(")
    state = "h = c" if gates == "ifgo" else "h"
    given = 'x @ w["kernel"]' + ' + w["bias"]' * (bias != "none")
    lines = [
        f"{given}  # of all steps at once",
        *before.split("\n"),
        f'{state} = np.zeros((len(x), len(w["recurrent"])), x.dtype)',
        "states = []",
        "for t in range(x.shape[1]):",
        *(f"    {row}" for row in step.strip().split("\n")),
        "    states.append(h)",
        "return states",
    ]
    body = "\n".join(f"    {row}" for row in lines if row).replace(
        "    x @", "    given = x @", 1
    )
    return f'''
def {name}(w, x):
    """{ABOUT[gates]}.

    Reads (N, steps, features) and returns the state after every step.
    """
{body}
'''


def _cells() -> dict[tuple[str, str, str, str], str]:
    """(gates, reset, bias, activation) -> name of the function."""
    found = {}
    usual = {"h": "one", "ifgo": "one", "rzn": "two"}
    names = {"h": "rnn", "ifgo": "lstm", "rzn": "gru"}
    biases = ("two", "one", "none", "candidate")
    for gates, bias, activation in itertools.product(
        names, biases, ("tanh", "relu", "sigmoid")
    ):
        for reset in ("after", "before") if gates == "rzn" else ("",):
            if bias == "candidate" and gates != "rzn":
                continue
            name = names[gates]
            name += "_before" * (reset == "before")
            name += f"_{bias}" * (bias != usual[gates])
            name += f"_{activation}" * (activation != "tanh")
            found[gates, reset, bias, activation] = name.replace("none", "no_bias")
    return found


CELLS = _cells()
LAYERS |= {name: _recurrent(*form) for form, name in CELLS.items()}

# --- Attention ------------------------------------------------------------------------

_ATTENTION = '''
def attention(w, query, key, value, heads, causal=False):
    """Each step of the query mixes the values, most of them those whose key fits."""

    def cut(x, name):
        """A map of x, cut into heads: (N, heads, steps, features)."""
        x = dense(x, w[f"{name}_kernel"], w[f"{name}_bias"])
        return np.swapaxes(x.reshape(*x.shape[:2], heads, -1), 1, 2)

    query, key, value = cut(query, "query"), cut(key, "key"), cut(value, "value")
    scores = query @ np.swapaxes(key, 2, 3) / query.shape[-1] ** 0.5
    if causal:  # no step sees a later one
        scores = scores + np.triu(np.full(scores.shape[2:], -np.inf, scores.dtype), 1)
    mixed = np.swapaxes(softmax(scores, -1) @ value, 1, 2)
    joined = mixed.reshape(*mixed.shape[:2], -1)
    return dense(joined, w["output_kernel"], w["output_bias"])
'''
LAYERS["attention"] = _ATTENTION
LAYERS["attention_no_bias"] = (
    _ATTENTION.replace("def attention(", "def attention_no_bias(")
    .replace(', w[f"{name}_bias"]', "")
    .replace(', w["output_bias"]', "")
)

# --- Losses, initial weights ----------------------------------------------------------

LAYERS["cross_entropy"] = '''
def cross_entropy(scores, labels):
    """Mean of -log(share of the true label)."""
    return -mean(log_softmax(scores, axis=1)[np.arange(len(labels)), labels])
'''

LAYERS["squared_error"] = '''
def squared_error(values, targets):
    """Mean of the squared differences."""
    return mean((values - targets) ** 2)
'''

LAYERS["glorot_uniform"] = '''
def glorot_uniform(rng, shape):
    """Uniform within sqrt(6 / (fan in + fan out)): the last axes are in and out."""
    fans = sum(shape[-2:]) * np.prod(shape[:-2])
    limit = np.sqrt(6 / fans)
    return rng.uniform(-limit, limit, shape)
'''

# --- Gradients ------------------------------------------------------------------------

#: What follows a function that is a ``@primitive``.
GRADIENTS = {
    "slide": """
# Its gradients in x and in the kernel, where g is the gradient of y.
defvjp(
    slide,
    lambda y, x, kernel, stride: lambda g: unslide(g, kernel, stride, x.shape),
    lambda y, x, kernel, stride: lambda g: kernel_slope(x, g, stride, kernel.shape),
)
""",
    "unslide": """
# Its gradients in y and in the kernel.
defvjp(
    unslide,
    lambda x, y, kernel, stride, shape: lambda g: slide(g, kernel, stride),
    lambda x, y, kernel, stride, shape: (
        lambda g: kernel_slope(g, y, stride, kernel.shape)
    ),
)
""",
    "dilate": """
defvjp(
    dilate,
    lambda y, kernel, dilation: lambda g: g[every(dilation, g.ndim - 2)],
    argnums=(0,),
)
""",
    "max_pool": '''
def max_pool_slope(y, x, size, stride):
    """The gradient goes to the value that was the largest; the first one of several."""

    def back(g):
        slope = np.zeros_like(x)
        waiting = np.ones(y.shape, bool)
        for _, seen in shifts(x.shape, size, stride):
            found = waiting & (x[seen] == y)
            slope[seen] += g * found
            waiting &= ~found
        return slope

    return back


defvjp(max_pool, max_pool_slope, argnums=(0,))
''',
    "sum_pool": '''
def sum_pool_slope(y, x, size, stride):
    """The gradient goes to all that was added up."""

    def back(g):
        slope = np.zeros_like(x)
        for _, seen in shifts(x.shape, size, stride):
            slope[seen] += g
        return slope

    return back


defvjp(sum_pool, sum_pool_slope, argnums=(0,))
''',
    "largest": '''
def largest_slope(y, x):
    """The gradient goes to the value that was the largest; the first one of several."""

    def back(g):
        slope = np.zeros_like(x)
        place = np.argmax(x, axis=-1, keepdims=True)
        np.put_along_axis(slope, place, np.expand_dims(g, -1), axis=-1)
        return slope

    return back


defvjp(largest, largest_slope)
''',
    "erf": """
defvjp(erf, lambda y, x: lambda g: g * 2 / np.pi**0.5 * np.exp(-x * x))
""",
    "clip": """
# At low and high themselves the gradient is 1.
defvjp(
    clip,
    lambda y, x, low, high: lambda g: g * ((low <= x) & (x <= high)),
    argnums=(0,),
)
""",
}

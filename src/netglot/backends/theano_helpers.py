"""The functions that a Theano program defines where Theano has none of its own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from netglot import recipe
from netglot.source import call, layout

#: Name of a function -> its text; those that others call stand before them.
HELPERS: dict[str, str] = {}

# --- Weights --------------------------------------------------------------------------

HELPERS["shared"] = '''
def shared(values):
    """A weight: a variable that keeps its value between calls."""
    return theano.shared(np.asarray(values, dtype=theano.config.floatX))
'''

HELPERS["glorot_uniform"] = '''
def glorot_uniform(rng, shape):
    """Uniform within sqrt(6 / (fan in + fan out)): the first two axes, times space."""
    limit = np.sqrt(6 / (sum(shape[:2]) * np.prod(shape[2:])))
    return shared(rng.uniform(-limit, limit, shape))
'''

# --- Convolution, pooling -------------------------------------------------------------

HELPERS["pad"] = '''
def pad(x, padding, value=0):
    """Put a border around images: (before, after) for each axis."""
    sizes = [x.shape[axis + 2] + sum(pair) for axis, pair in enumerate(padding)]
    inside = [slice(b, b + x.shape[a + 2]) for a, (b, _) in enumerate(padding)]
    border = T.alloc(np.asarray(value, x.dtype), x.shape[0], x.shape[1], *sizes)
    return T.set_subtensor(border[(slice(None), slice(None), *inside)], x)
'''

HELPERS["conv1d"] = '''
def conv1d(x, W, b=None, **options):
    """Convolution of lines, as of images that are one pixel high."""
    x, W = x.dimshuffle(0, 1, "x", 2), W.dimshuffle(0, 1, "x", 2)
    y = T.nnet.conv2d(x, W, filter_flip=False, **options)[:, :, 0]
    return y if b is None else y + b.dimshuffle("x", 0, "x")
'''

HELPERS["conv2d"] = '''
def conv2d(x, W, b=None, **options):
    """Convolution that does not turn its filters round, and a bias."""
    y = T.nnet.conv2d(x, W, filter_flip=False, **options)
    return y if b is None else y + b.dimshuffle("x", 0, "x", "x")
'''

HELPERS["conv3d"] = '''
def conv3d(x, W, b=None, **options):
    """Convolution that does not turn its filters round, and a bias."""
    y = T.nnet.conv3d(x, W, filter_flip=False, **options)
    return y if b is None else y + b.dimshuffle("x", 0, "x", "x", "x")
'''

HELPERS["conv1d_transpose"] = '''
def conv1d_transpose(x, W, b=None, size=None, **options):
    """The way back through a convolution of lines; size is that of the result."""
    x, W = x.dimshuffle(0, 1, "x", 2), W.dimshuffle(0, 1, "x", 2)
    shape = (None, None, 1, size)
    y = conv2d_grad_wrt_inputs(x, W, shape, filter_flip=False, **options)[:, :, 0]
    return y if b is None else y + b.dimshuffle("x", 0, "x")
'''

HELPERS["conv2d_transpose"] = '''
def conv2d_transpose(x, W, b=None, size=None, **options):
    """The way back through a convolution; size is that of the result."""
    shape = (None, None, *size)
    y = conv2d_grad_wrt_inputs(x, W, shape, filter_flip=False, **options)
    return y if b is None else y + b.dimshuffle("x", 0, "x", "x")
'''

HELPERS["conv3d_transpose"] = '''
def conv3d_transpose(x, W, b=None, size=None, **options):
    """The way back through a convolution; size is that of the result."""
    shape = (None, None, *size)
    y = conv3d_grad_wrt_inputs(x, W, shape, filter_flip=False, **options)
    return y if b is None else y + b.dimshuffle("x", 0, "x", "x", "x")
'''

HELPERS["avg_pool"] = '''
def avg_pool(x, window, stride, padding, counted=((0, 0), (0, 0))):
    """Mean of the values in each window, and of that padding which is counted."""
    rest = [(a - c, b - d) for (a, b), (c, d) in zip(padding, counted)]
    inside = pad(pad(T.ones_like(x[:1, :1]), counted, 1), rest)
    options = {"ignore_border": True, "stride": stride, "mode": "sum"}
    total = pool_2d(pad(x, padding), window, **options)
    return total / T.addbroadcast(pool_2d(inside, window, **options), 0, 1)
'''

#: What stands in for them where no network is trained.
EVALUATED: dict[str, str] = {}

# --- Normalisation, dropout -----------------------------------------------------------

HELPERS["batch_norm"] = '''
def batch_norm(
    x,
    mean,
    var,
    gamma=None,
    beta=None,
    updates=None,
    momentum=0.9,
    epsilon=1e-5,
    unbiased=False,
):
    """Normalise channels; in training by the batch, which updates mean and var."""
    if updates is not None:
        running = mean, var
        axes = [0] + list(range(2, x.ndim))
        mean, var = x.mean(axes), x.var(axes)
        count = T.cast(x.size // x.shape[1], x.dtype)
        new = mean, var * count / (count - 1) if unbiased else var
        for old, value in zip(running, new):
            updates.append((old, momentum * old + (1 - momentum) * value))
    beside = ("x", 0) + ("x",) * (x.ndim - 2)
    y = (x - mean.dimshuffle(*beside)) / T.sqrt(var + epsilon).dimshuffle(*beside)
    if gamma is not None:
        y = y * gamma.dimshuffle(*beside)
    return y if beta is None else y + beta.dimshuffle(*beside)
'''

EVALUATED["batch_norm"] = '''
def batch_norm(x, mean, var, gamma=None, beta=None, epsilon=1e-5):
    """Normalise channels by their running mean and variance."""
    beside = ("x", 0) + ("x",) * (x.ndim - 2)
    y = (x - mean.dimshuffle(*beside)) / T.sqrt(var + epsilon).dimshuffle(*beside)
    if gamma is not None:
        y = y * gamma.dimshuffle(*beside)
    return y if beta is None else y + beta.dimshuffle(*beside)
'''

HELPERS["layer_norm"] = '''
def layer_norm(x, gamma=1, beta=0, epsilon=1e-5):
    """Normalise each observation over its features, which are last."""
    centred = x - x.mean(axis=-1, keepdims=True)
    var = T.sqr(centred).mean(axis=-1, keepdims=True)
    return centred / T.sqrt(var + epsilon) * gamma + beta
'''

HELPERS["rms_norm"] = '''
def rms_norm(x, gamma=1, epsilon=1e-6):
    """Divide each observation by the root mean square of its features."""
    return x / T.sqrt(T.sqr(x).mean(axis=-1, keepdims=True) + epsilon) * gamma
'''

HELPERS["group_norm"] = '''
def group_norm(x, groups, gamma=None, beta=None, epsilon=1e-5):
    """Normalise each observation over groups of channels and space."""
    parts = x.reshape((x.shape[0], groups, -1))
    y = layer_norm(parts, epsilon=epsilon).reshape(x.shape, ndim=x.ndim)
    beside = ("x", 0) + ("x",) * (x.ndim - 2)
    if gamma is not None:
        y = y * gamma.dimshuffle(*beside)
    return y if beta is None else y + beta.dimshuffle(*beside)
'''

HELPERS["dropout"] = '''
def dropout(x, rate, srng):
    """In training, drop a share of the values and scale the others up to make up."""
    if srng is None:
        return x
    kept = srng.binomial(x.shape, p=1 - rate, dtype=theano.config.floatX)
    return x * kept / (1 - rate)
'''

# --- Activations, arithmetic, shape ---------------------------------------------------

HELPERS["leaky_relu"] = '''
def leaky_relu(x, slope=0.01):
    """What is positive, and a share of what is not."""
    return T.switch(x > 0, x, slope * x)
'''

HELPERS["gelu"] = '''
def gelu(x):
    """x times the share of a normal distribution that lies below it."""
    return 0.5 * x * (1 + T.erf(x / np.sqrt(2).item()))
'''

HELPERS["gelu_tanh"] = '''
def gelu_tanh(x):
    """x times the share of a normal distribution below it, nearly."""
    return 0.5 * x * (1 + T.tanh(np.sqrt(2 / np.pi).item() * (x + 0.044715 * x**3)))
'''

HELPERS["silu"] = '''
def silu(x):
    """x times its sigmoid."""
    return x * T.nnet.sigmoid(x)
'''

HELPERS["softmax"] = '''
def softmax(x, axis):
    """Shares that add up to 1 along an axis."""
    e = T.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)
'''

HELPERS["log_softmax"] = '''
def log_softmax(x, axis):
    """Logarithm of the softmax along an axis."""
    x = x - x.max(axis=axis, keepdims=True)
    return x - T.log(T.exp(x).sum(axis=axis, keepdims=True))
'''

for _name, _other in (("maximum", "larger"), ("minimum", "smaller")):
    HELPERS[_name] = f'''
def {_name}(x, y):
    """The {_other} one; of equal values each has half of the slope."""
    return (T.{_name}(x, y) + T.{_name}(y, x)) / 2
'''

HELPERS["matmul"] = '''
def matmul(x, y):
    """Products of the matrices on the last two axes."""
    z = T.batched_dot(
        x.reshape((-1, x.shape[-2], x.shape[-1])),
        y.reshape((-1, y.shape[-2], y.shape[-1])),
    )
    return z.reshape((*[x.shape[i] for i in range(x.ndim - 1)], y.shape[-1]))
'''

HELPERS["upsample_bilinear"] = '''
def upsample_bilinear(x, scale):
    """Enlarge images; between two pixels a new one takes of both."""
    for axis, times in enumerate(scale, start=2):
        size = x.shape[axis]
        place = (T.arange(size * times) + 0.5) / times - 0.5
        place = T.clip(place, 0, size - 1)
        low = T.cast(T.floor(place), "int64")
        high = T.minimum(low + 1, size - 1)
        share = T.cast(place - low, x.dtype)
        if axis == 2:
            share = share.dimshuffle(0, "x")
        x = x.take(low, axis) * (1 - share) + x.take(high, axis) * share
    return x
'''

HELPERS["attention"] = '''
def attention(query, key, value, heads, causal=False):
    """Each step of the query mixes the values, most of them those whose key fits."""

    def cut(x):
        """Heads as observations of their own: (N x heads, steps, features)."""
        x = x.reshape((x.shape[0], x.shape[1], heads, x.shape[2] // heads))
        x = x.dimshuffle(0, 2, 1, 3)
        return x.reshape((-1, x.shape[2], x.shape[3]))

    q, k, v = cut(query), cut(key), cut(value)
    scores = T.batched_dot(q, k.dimshuffle(0, 2, 1))
    scores = scores / T.sqrt(T.cast(q.shape[2], q.dtype))
    if causal:  # no step sees a later one
        scores = T.switch(T.tril(T.ones_like(scores[0])), scores, -np.inf)
    mixed = T.batched_dot(softmax(scores, axis=2), v)
    mixed = mixed.reshape((-1, heads, mixed.shape[1], mixed.shape[2]))
    return mixed.dimshuffle(0, 2, 1, 3).reshape(query.shape, ndim=3)
'''

# --- Recurrent layers -----------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """A recurrent layer in one form: the function, and the one that reads backwards."""

    name: str
    text: str
    both: str


_ABOUT = {
    "h": "Recurrent layer",
    "ifgo": "Long short-term memory",
    "rzn": "Gated recurrent unit",
}


def _cell(
    name: str,
    gates: str,
    reset: str,
    bias: str,
    activation: str,
    back: bool,
    updates: bool,
) -> str:
    """The function of a recurrent layer; with ``back`` it can read backwards.

    ``updates``: beside the states, scan gives updates, which here are none.
    """
    signature = ["x", "W", "U", *({"none": [], "one": ["b"]}.get(bias, ["b", "c"]))]
    given = "T.dot(x, W)" if bias == "none" else "(T.dot(x, W) + b)"
    act = {"sigmoid": "T.nnet.sigmoid(", "relu": "T.maximum(0, "}.get(
        activation, "T.tanh("
    )
    inner = "T.dot(h, U)" + " + c" * (bias == "two")
    state = ["h"]
    if gates == "h":
        step = [f"return {act}x + {inner})"]
    elif gates == "ifgo":
        state = ["h", "c"]
        step = [
            f"i, f, g, o = gates(x + {inner.replace(' + c', ' + d')}, 4)",
            f"c = T.nnet.sigmoid(f) * c + T.nnet.sigmoid(i) * {act}g)",
            f"return T.nnet.sigmoid(o) * {act}c), c",
        ]
        signature = ["d" if name == "c" else name for name in signature]
    elif reset == "after":
        more = "(h_n + c)" if bias == "candidate" else "h_n"
        step = [
            "x_r, x_z, x_n = gates(x, 3)",
            f"h_r, h_z, h_n = gates({inner}, 3)",
            "r, z = T.nnet.sigmoid(x_r + h_r), T.nnet.sigmoid(x_z + h_z)",
            f"n = {act}x_n + r * {more})",
            "return (1 - z) * n + z * h",
        ]
    else:
        step = [
            "x_r, x_z, x_n = gates(x, 3)",
            "U_r, U_z, U_n = gates(U, 3)",
            *(["c_r, c_z, c_n = gates(c, 3)"] if bias == "two" else []),
        ]
        more = {"two": " + c_{}", "candidate": ""}.get(bias, "")
        own = {"two": " + c_n", "candidate": " + c"}.get(bias, "")
        step += [
            f"r = T.nnet.sigmoid(x_r + T.dot(h, U_r){more.format('r')})",
            f"z = T.nnet.sigmoid(x_z + T.dot(h, U_z){more.format('z')})",
            f"n = {act}x_n + T.dot(r * h, U_n){own})",
            "return (1 - z) * n + z * h",
        ]
    used = [n for n in signature[2:] if n in ("U", "c", "d")]
    used = [n for n in used if n in " ".join(step).replace("dot", "")]
    zeros = "T.zeros((x.shape[0], U.shape[0]))"
    starts = f"[{', '.join([zeros if len(state) == 1 else 'zeros'] * len(state))}]"
    scan = call(
        "theano.scan",
        "step",
        sequences=f"{given}.dimshuffle(1, 0, 2)",
        outputs_info=starts if len(state) > 1 else zeros,
        go_backwards="go_backwards" if back else None,
        return_updates=None if updates else False,
    )
    target = "states, _" if len(state) > 1 else "states"
    if updates:
        target = f"({target}), _" if len(state) > 1 else "states, _"
    rows = layout(f"    {target} = ", scan)
    way = False if back else None
    head = layout("def ", call(name, *signature, go_backwards=way), ":")
    body = [
        *head,
        f'    """{_ABOUT[gates]}: the states after all steps, (steps, N, units)."""',
        "",
        f"    def step(x, {', '.join(state)}):",
        *(f"        {row}" for row in step),
        "",
        *([f"    zeros = {zeros}"] if len(state) > 1 else []),
        *rows,
        "    return states",
    ]
    return "\n" + "\n".join(body) + "\n"


def cells(updates: bool = True) -> dict[tuple[str, str, str, str], Cell]:
    """(gates, reset, bias, activation) -> the function of that form."""
    usual = {"h": "one", "ifgo": "one", "rzn": "two"}
    names = {"h": "rnn", "ifgo": "lstm", "rzn": "gru"}
    found = {}
    for gates, name in names.items():
        for reset in ("after", "before") if gates == "rzn" else ("",):
            for bias in ("two", "one", "none", "candidate"):
                for activation in ("tanh", "relu", "sigmoid"):
                    full = name + "_before" * (reset == "before")
                    full += f"_{bias}" * (bias != usual[gates])
                    full += f"_{activation}" * (activation != "tanh")
                    full = full.replace("none", "no_bias")
                    form = (gates, reset, bias, activation)
                    texts = [
                        _cell(full, *form, back, updates) for back in (False, True)
                    ]
                    found[form] = Cell(full, *texts)
    return found


HELPERS["gates"] = '''
def gates(x, count):
    """The parts of the last axis that belong to each gate."""
    units = x.shape[-1] // count
    return [x[..., i * units : (i + 1) * units] for i in range(count)]
'''

CELLS = cells()
#: After the name of one that can read backwards.
BACK = " back"


def both(found: Collection[Cell]) -> dict[str, str]:
    """The functions, and those that can also read backwards."""
    result = {cell.name: cell.text for cell in found}
    return result | {cell.name + BACK: cell.both for cell in found}


HELPERS.update(both(CELLS.values()))

# --- Optimizers -----------------------------------------------------------------------


def optimizer(o: recipe.Optimizer, module: str = "theano", t: str = "T") -> str:
    """The function that makes the updates of a step."""
    return _sgd(o, module, t) if isinstance(o, recipe.SGD) else _adam(o, module, t)


def _sgd(o: recipe.SGD, module: str, t: str) -> str:
    names = ["rate", *["momentum"] * bool(o.momentum)]
    names += ["weight_decay"] * bool(o.weight_decay)
    about, step = "Steps down the gradient", []
    if o.weight_decay:
        step.append("g += weight_decay * p")
    if o.momentum:
        about = "Steps down a velocity, to which every gradient adds"
        step += [
            f"v = {module}.shared(np.zeros_like(p.get_value()))",
            "velocity = momentum * v + g",
        ]
        move = "(g + momentum * velocity)" if o.nesterov else "velocity"
        step.append(f"updates += [(v, velocity), (p, p - rate * {move})]")
    else:
        step.append("updates.append((p, p - rate * g))")
    return _updates("sgd", about, names, ["updates = []"], step, t)


def _adam(o: recipe.Optimizer, module: str, t: str) -> str:
    assert isinstance(o, recipe.Adam)
    names = ["rate", "beta1=0.9", "beta2=0.999", "epsilon=1e-8"]
    names += ["weight_decay=0.0"] * bool(o.weight_decay)
    first = [
        f"t = {module}.shared(np.asarray(1, dtype={module}.config.floatX))",
        "updates = [(t, t + 1)]",
    ]
    step = [
        f"m = {module}.shared(np.zeros_like(p.get_value()))",
        f"v = {module}.shared(np.zeros_like(p.get_value()))",
        "new_m = beta1 * m + (1 - beta1) * g",
        f"new_v = beta2 * v + (1 - beta2) * {t}.sqr(g)",
    ]
    if o.epsilon_form == "after":
        step += [
            "# Both began at 0, which this makes up for.",
            "m_hat = new_m / (1 - beta1**t)",
            "v_hat = new_v / (1 - beta2**t)",
            f"new_p = p - rate * m_hat / ({t}.sqrt(v_hat) + epsilon)",
        ]
    else:
        first += [
            "# m and v began at 0, which this makes up for.",
            f"scale = {t}.sqrt(1 - beta2**t) / (1 - beta1**t)",
        ]
        step.append(f"new_p = p - rate * scale * new_m / ({t}.sqrt(new_v) + epsilon)")
    if o.weight_decay:
        step[-1] = step[-1].replace("p - rate", "(1 - rate * weight_decay) * p - rate")
    step.append("updates += [(m, new_m), (v, new_v), (p, new_p)]")
    about = "Steps of m / sqrt(v): running means of the gradient and of its square"
    return _updates("adam", about, names, first, step, t)


def _updates(
    name: str,
    about: str,
    names: Sequence[str],
    first: Sequence[str],
    step: Sequence[str],
    t: str,
) -> str:
    rows = [
        *layout("def ", call(name, "loss", "parameters", *names), ":"),
        f'    """{about}."""',
        *(f"    {row}" for row in first),
        f"    for p, g in zip(parameters, {t}.grad(loss, parameters)):",
        *(f"        {row}" for row in step),
        "    return updates",
    ]
    return "\n".join(rows)

"""What Flax NNX, optax and jax.nn do when told nothing: ``read_flax.py ANSWERS``."""

import itertools
import platform

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import solving
from answering import has_no, lacking, to_be_told, write_answers
from flax import nnx

_SEEDS = itertools.count()


def rngs():
    """Fresh random numbers, other ones at every call."""
    return nnx.Rngs(next(_SEEDS))


def single(values):
    """Single precision, as JAX has it."""
    return jnp.asarray(values, "float32")


def put(parameter, values):
    """Set a parameter; returns the values."""
    parameter[...] = single(values).reshape(parameter.shape)
    return np.asarray(values)


# --- Dense, convolution, pooling ------------------------------------------------------


def dense():
    """Linear."""
    return {
        "bias": nnx.Linear(3, 4, rngs=rngs()).bias is not None,
        "kernel_init": solving.distribution(
            lambda i, o: nnx.Linear(i, o, rngs=rngs()).kernel[...],
            solving.MATRICES,
            solving.fans,
        ),
        "bias_init": solving.distribution(
            lambda i, o: nnx.Linear(i, o, rngs=rngs()).bias[...],
            solving.WIDE,
            solving.fans,
        ),
    }


def nine(inputs, outputs):
    """Fans of a 3 x 3 kernel."""
    return solving.fans(inputs, outputs, 9)


def conv():
    """Conv."""
    shape = nnx.Conv(2, 11, (3, 3), rngs=rngs())(jnp.zeros((1, 9, 9, 2))).shape
    layer = nnx.Conv(1, 1, (3, 3), rngs=rngs())
    put(layer.kernel, solving.KERNEL)
    centre = solving.middle(
        layer(single(solving.IMAGE)[None, :, :, None])[0, ..., 0], 1
    )
    return {
        **solving.conv_geometry(shape, 11),
        "bias": layer.bias is not None,
        "flipped": solving.flips(centre.item()),
        "kernel_init": solving.distribution(
            lambda i, o: nnx.Conv(i, o, (3, 3), rngs=rngs()).kernel[...],
            solving.KERNELS,
            nine,
        ),
        "bias_init": solving.distribution(
            lambda i, o: nnx.Conv(i, o, (3, 3), rngs=rngs()).bias[...],
            solving.KERNELS,
            nine,
        ),
    }


def conv_transpose():
    """ConvTranspose."""
    layer = nnx.ConvTranspose(1, 1, (3, 3), rngs=rngs())
    put(layer.kernel, solving.KERNEL)
    once = layer(jnp.zeros((1, 5, 5, 1)).at[0, 2, 2, 0].set(1))[0, ..., 0]
    twice = nnx.ConvTranspose(1, 1, (3, 3), strides=(2, 2), rngs=rngs())
    return {
        **solving.transposed_geometry(once, twice(jnp.zeros((1, 4, 4, 1))).shape[1]),
        "bias": layer.bias is not None,
        "stride": 1 if layer(jnp.zeros((1, 9, 9, 1))).shape[1] < 13 else 2,
        "kernel_init": solving.distribution(
            lambda i, o: nnx.ConvTranspose(i, o, (3, 3), rngs=rngs()).kernel[...],
            solving.KERNELS,
            nine,
        ),
    }


def pool(function):
    """What both pools have in common."""
    count = function(jnp.zeros((1, 9, 9, 1)), (3, 3)).shape[1]
    stride, padding = solving.window_geometry(count)
    apart = function(jnp.zeros((1, 8, 8, 1)), (3, 3), strides=(3, 3)).shape[1]
    return {
        "kernel": to_be_told(lambda: function(jnp.zeros((1, 9, 9, 1)))),
        "stride": "kernel" if stride == 3 else stride,
        "padding": padding,
        "ceil": apart == 3,
    }


def max_pool():
    """max_pool."""
    padded = nnx.max_pool(-jnp.ones((1, 9, 9, 1)), (3, 3), padding="SAME")
    return {**pool(nnx.max_pool), "padding_wins": bool(padded.max() == 0)}


def avg_pool():
    """avg_pool."""
    padded = nnx.avg_pool(jnp.ones((1, 9, 9, 1)), (3, 3), padding="SAME")
    return {**pool(nnx.avg_pool), "count_padding": bool(padded.min() < 0.9)}


# --- Normalisation, dropout, embedding ------------------------------------------------


def batch_norm():
    """BatchNorm."""
    x = solving.RANDOM.normal(1, 2, size=(4, 2, 2, 3))
    layer = nnx.BatchNorm(3, rngs=rngs())
    by_batch = layer(single(x))
    signs = single(solving.signs((4, 2, 2, 3), 0))
    other = nnx.BatchNorm(3, rngs=rngs())
    return {
        **solving.running(x[..., 0], layer.mean[0], layer.var[0]),
        "epsilon": solving.norm_epsilon(lambda s: other(s * signs).max()),
        "scale": layer.scale is not None,
        "shift": layer.bias is not None,
        "mode": "training" if abs(float(by_batch.mean())) < 1e-3 else "evaluation",
    }


def layer_norm():
    """LayerNorm."""
    layer = nnx.LayerNorm(6, rngs=rngs())
    signs = single(solving.signs((2, 6), 1))
    return {
        "epsilon": solving.norm_epsilon(lambda s: layer(s * signs).max()),
        "axes": solving.normalised_axes(layer, "NTF"),
        "scale": layer.scale is not None,
        "shift": layer.bias is not None,
    }


def group_norm():
    """GroupNorm: told nothing of groups it makes 32, told 32 it gives the same."""
    layer = nnx.GroupNorm(64, rngs=rngs())
    x = single(solving.RANDOM.normal(size=(1, 2, 2, 64)))
    answer = layer(x)
    forms = [
        (n, nnx.GroupNorm(64, num_groups=n, rngs=rngs())(x)) for n in (8, 16, 32, 64)
    ]
    signs = single(solving.signs((1, 2, 2, 64), 1))
    return {
        "groups": solving.which(answer, forms),
        "epsilon": solving.norm_epsilon(lambda s: layer(s * signs).max()),
        "scale": layer.scale is not None,
        "shift": layer.bias is not None,
    }


def rms_norm():
    """RMSNorm."""
    layer = nnx.RMSNorm(6, rngs=rngs())
    signs = single(solving.signs((2, 6), 1))
    return {
        "epsilon": solving.norm_epsilon(lambda s: layer(s * signs).max()),
        "axes": solving.root_mean_axes(layer, "NTF"),
        "scale": layer.scale is not None,
    }


def dropout():
    """Dropout."""
    ones = jnp.ones(10000)
    layer = nnx.Dropout(0.75, rngs=rngs())
    kept = layer(ones)
    assert bool((nnx.view(layer, deterministic=True)(ones) == 1).all())
    return {
        "rate": to_be_told(lambda: nnx.Dropout(rngs=rngs())),
        "scaling": solving.dropped(kept, 0.75),
        "mode": "training" if bool((kept == 0).any()) else "evaluation",
        "switch": "nnx.view(model, deterministic=True)",
    }


def embedding():
    """Embed."""
    layer = nnx.Embed(5, 3, rngs=rngs())
    slopes = nnx.grad(lambda e: e(jnp.array([[0, 1]])).sum())(layer)
    rows = slopes["embedding"][...]
    beyond = np.asarray(layer(jnp.array([7])))[0]
    if np.isnan(beyond).all():
        told = "NaN"
    else:
        ends = [("last row", layer.embedding[4]), ("0", np.zeros(3))]
        told = solving.which(beyond, ends)

    def draw(vocabulary, features):
        return nnx.Embed(vocabulary, features, rngs=rngs()).embedding[...]

    return {
        "table_init": solving.distribution(
            draw, solving.MATRICES, lambda v, f: {"vocabulary": v, "features": f}
        ),
        "padding_index": "none" if bool((rows[0] == 1).all()) else 0,
        "out_of_range": told,
    }


# --- Recurrent layers, attention ------------------------------------------------------


def recurrent(kind, gates):
    """What the cells have in common; the layer is ``nnx.RNN`` of a cell."""
    cell = kind(2, 3, rngs=rngs())
    biases = [d.bias for d in (cell.dense_i, cell.dense_h) if d.bias is not None]
    shape = nnx.RNN(cell, rngs=rngs())(jnp.zeros((7, 5, 2))).shape
    fans = solving.gate_fans(gates)

    def draw(place):
        return lambda i, h: getattr(kind(i, h, rngs=rngs()), place).kernel[...]

    def bias(inputs, units):
        cell = kind(inputs, units, rngs=rngs())
        return (cell.dense_h if cell.dense_i.bias is None else cell.dense_i).bias[...]

    return {
        "bias": ("none", "one", "two")[len(biases)],
        "returns": solving.returned(shape, 5, 3),
        "kernel_init": solving.distribution(draw("dense_i"), solving.CELLS, fans, 0),
        "recurrent_init": solving.distribution(
            draw("dense_h"), solving.CELLS, fans, gates
        ),
        "bias_init": solving.distribution(bias, solving.CELLS, fans, 0),
    }


def run_recurrent(kind):
    """States of random steps, the steps, kernel, recurrent kernel, bias.

    The steps are on the second axis; were they on the first, the states would be those
    of single steps, which no form fits.
    """
    cell = kind(2, 3, rngs=rngs())
    x = solving.RANDOM.normal(size=(5, 2))
    found = []
    for dense in (cell.dense_i, cell.dense_h):
        values = solving.RANDOM.normal(size=dense.kernel.shape)
        found.append(put(dense.kernel, values).T)
    for dense in (cell.dense_i, cell.dense_h):
        if dense.bias is not None:
            found.append(put(dense.bias, solving.RANDOM.normal(size=dense.bias.shape)))
    states = nnx.RNN(cell, rngs=rngs())(single(x)[None])[0]
    return states, x, found


def simple_rnn():
    """SimpleCell."""
    states, x, (kernel, hidden, *biases) = run_recurrent(nnx.SimpleCell)
    return {
        "activation": solving.rnn_activation(states, x, kernel, hidden, sum(biases)),
        "order": "NTF",
        **recurrent(nnx.SimpleCell, 1),
    }


def lstm():
    """OptimizedLSTMCell."""
    states, x, (kernel, hidden, *biases) = run_recurrent(nnx.OptimizedLSTMCell)
    gates = solving.lstm_gates(states, x, kernel, hidden, sum(biases))
    fresh = nnx.OptimizedLSTMCell(2, 3, rngs=rngs()).dense_h.bias[...]
    return {
        "gates": gates,
        "order": "NTF",
        "forget_bias": float(np.split(np.asarray(fresh), 4)[gates.index("f")].mean()),
        **recurrent(nnx.OptimizedLSTMCell, 4),
    }


def gru():
    """GRUCell."""
    states, x, (kernel, hidden, bias) = run_recurrent(nnx.GRUCell)
    form = solving.gru_form(states, x, kernel, hidden, bias, np.zeros(9))
    return {**form, "order": "NTF", **recurrent(nnx.GRUCell, 3)}


def attention():
    """MultiHeadAttention."""
    layer = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs())
    x = solving.RANDOM.normal(size=(3, 8))
    kernels, biases = [], []
    for dense in (layer.query, layer.key, layer.value, layer.out):
        kernels.append(put(dense.kernel, solving.RANDOM.normal(size=(8, 8))))
        biases.append(put(dense.bias, solving.RANDOM.normal(size=8)))
    answer = layer(single(x)[None])[0]
    assert bool((answer == layer(single(x)[None])[0]).all())
    return {
        "bias": layer.query.bias is not None,
        "scale": solving.attention_scale(answer, x, kernels, biases, 2),
        "order": "NTF",
        "dropout": 0.0,
        "kernel_init": solving.distribution(
            lambda e: nnx.MultiHeadAttention(
                4, e, decode=False, rngs=rngs()
            ).query.kernel[...],
            ((256,), (128,), (512,)),
            lambda e: {"features": e},
        ),
    }


# --- Activations, shape ---------------------------------------------------------------


def gelu():
    """jax.nn.gelu."""
    return {"approximate": solving.gelu_approximate(nnx.gelu(single(solving.POINTS)))}


def leaky_relu():
    """jax.nn.leaky_relu."""
    return {
        "slope": solving.slope(nnx.leaky_relu(single(solving.POINTS))),
        "function_slope": lacking("the one named above is all there is"),
    }


def elu():
    """jax.nn.elu."""
    return {"alpha": solving.elu_alpha(nnx.elu(single(solving.POINTS)))}


def softmax():
    """jax.nn.softmax."""
    return {"axis": solving.softmax_axis(lambda x: nnx.softmax(single(x)))}


def flatten():
    """A reshape, of pictures as ``nnx.Conv`` reads them."""
    return {
        "order": solving.flattened(lambda x: single(x).reshape(2, -1), "NHWC")["order"],
        "keeps_batch": lacking("jnp.reshape is told the whole shape"),
    }


def upsample():
    """jax.image.resize."""
    row = jnp.broadcast_to(jnp.array([0.0, 4.0, 4.0, 8.0]), (4, 4))
    bilinear = jax.image.resize(row, (8, 8), "bilinear")[0]
    return {
        "scale": lacking("has no default: it is told the size of the output"),
        "mode": to_be_told(lambda: jax.image.resize(row, (8, 8))),
        "bilinear": solving.enlarged(bilinear),
    }


# --- Losses ---------------------------------------------------------------------------


def cross_entropy():
    """softmax_cross_entropy_with_integer_labels."""
    function = optax.softmax_cross_entropy_with_integer_labels
    answer = function(single(solving.SCORES), jnp.asarray(solving.LABELS))
    return solving.cross_entropy(answer)


def squared_error(function):
    """squared_error and l2_loss."""
    return solving.squared_error(function(single(solving.SCORES), solving.TARGETS))


def binary_cross_entropy():
    """sigmoid_binary_cross_entropy."""
    return solving.binary_cross_entropy(
        lambda values, targets: optax.sigmoid_binary_cross_entropy(
            single(values), single(targets)
        )
    )


# --- Optimizers -----------------------------------------------------------------------

CHAINED = "has no such argument: optax.add_decayed_weights is chained before it"
NAMES = {"rate": "learning_rate", "accumulator": "initial_accumulator_value"}


def walk(optimizer):
    """``walk`` of solving.py for a function of optax."""

    def run(gradients, start=0.0, rates=None, **arguments):
        told = {NAMES.get(name, name): value for name, value in arguments.items()}
        if rates:
            told["learning_rate"] = lambda count: jnp.array(rates)[count]
        made = optimizer(**told)
        weight = jnp.array([start])
        state, path = made.init(weight), [start]
        for gradient in gradients:
            change, state = made.update(jnp.array([gradient]), state, weight)
            weight = optax.apply_updates(weight, change)
            path.append(weight.item())
        return path

    return run


def sgd():
    """``optax.sgd``."""
    steps = walk(optax.sgd)
    no_decay = has_no(lambda: optax.sgd(0.1, weight_decay=0.1), CHAINED)
    return {
        "rate": to_be_told(lambda: optax.sgd()),
        **solving.sgd(steps),
        "weight_decay": no_decay,
        "decay_form": no_decay,
    }


def adam():
    """``optax.adam``."""
    steps = walk(optax.adam)
    no_decay = has_no(lambda: optax.adam(0.1, weight_decay=0.1), CHAINED)
    return {
        "rate": to_be_told(lambda: optax.adam()),
        **solving.adam(steps, takes_decay=False),
        "weight_decay": no_decay,
        "decay_form": no_decay,
    }


def adamw():
    """``optax.adamw``."""
    steps = walk(optax.adamw)
    return {
        "rate": to_be_told(lambda: optax.adamw()),
        **solving.adam(steps),
        **solving.adam_decay(steps),
    }


def rmsprop():
    """``optax.rmsprop``."""
    found = solving.rmsprop(walk(optax.rmsprop))
    return {"rate": to_be_told(lambda: optax.rmsprop()), **found}


def adagrad():
    """``optax.adagrad``."""
    found = solving.adagrad(walk(optax.adagrad))
    return {"rate": to_be_told(lambda: optax.adagrad()), **found}


# --- Initializers ---------------------------------------------------------------------


def initializer(make):
    """The distribution of an initializer of nnx.initializers."""

    def draw(inputs, outputs):
        return make()(jax.random.key(next(_SEEDS)), (inputs, outputs))

    words = solving.distribution(draw, solving.MATRICES, solving.fans)
    return {"distribution": words}


def truncated_normal():
    """truncated_normal."""
    make = nnx.initializers.truncated_normal
    key = jax.random.key(0)
    return {
        **initializer(make),
        "cut": solving.cut(lambda n: make(0.1)(key, (n,)), 0.1),
    }


def _of(name):
    return lambda: initializer(getattr(nnx.initializers, name))


PROBES = [
    ("Dense", "nnx.Linear", dense),
    ("Conv", "nnx.Conv", conv),
    ("ConvTranspose", "nnx.ConvTranspose", conv_transpose),
    ("MaxPool", "nnx.max_pool", max_pool),
    ("AvgPool", "nnx.avg_pool", avg_pool),
    ("BatchNorm", "nnx.BatchNorm", batch_norm),
    ("LayerNorm", "nnx.LayerNorm", layer_norm),
    ("GroupNorm", "nnx.GroupNorm", group_norm),
    ("RMSNorm", "nnx.RMSNorm", rms_norm),
    ("Dropout", "nnx.Dropout", dropout),
    ("Embedding", "nnx.Embed", embedding),
    ("SimpleRNN", "nnx.RNN(nnx.SimpleCell)", simple_rnn),
    ("LSTM", "nnx.RNN(nnx.OptimizedLSTMCell)", lstm),
    ("GRU", "nnx.RNN(nnx.GRUCell)", gru),
    ("MultiHeadAttention", "nnx.MultiHeadAttention", attention),
    ("Gelu", "nnx.gelu", gelu),
    ("LeakyRelu", "nnx.leaky_relu", leaky_relu),
    ("Elu", "nnx.elu", elu),
    ("Softmax", "nnx.softmax", softmax),
    ("Flatten", "jnp.reshape", flatten),
    ("Upsample", "jax.image.resize", upsample),
    (
        "SoftmaxCrossEntropy",
        "optax.softmax_cross_entropy_with_integer_labels",
        cross_entropy,
    ),
    (
        "MeanSquaredError",
        "optax.squared_error",
        lambda: squared_error(optax.squared_error),
    ),
    ("L2Loss", "optax.l2_loss", lambda: squared_error(optax.l2_loss)),
    ("BinaryCrossEntropy", "optax.sigmoid_binary_cross_entropy", binary_cross_entropy),
    ("SGD", "optax.sgd", sgd),
    ("Adam", "optax.adam", adam),
    ("AdamW", "optax.adamw", adamw),
    ("RMSprop", "optax.rmsprop", rmsprop),
    ("Adagrad", "optax.adagrad", adagrad),
    ("Normal", "nnx.initializers.normal", _of("normal")),
    ("Uniform", "nnx.initializers.uniform", _of("uniform")),
    ("TruncatedNormal", "nnx.initializers.truncated_normal", truncated_normal),
    ("GlorotUniform", "nnx.initializers.glorot_uniform", _of("glorot_uniform")),
    ("GlorotNormal", "nnx.initializers.glorot_normal", _of("glorot_normal")),
    ("HeUniform", "nnx.initializers.he_uniform", _of("he_uniform")),
    ("HeNormal", "nnx.initializers.he_normal", _of("he_normal")),
    ("Orthogonal", "nnx.initializers.orthogonal", _of("orthogonal")),
]

if __name__ == "__main__":
    versions = {
        "python": platform.python_version(),
        "flax": flax.__version__,
        "jax": jax.__version__,
        "optax": optax.__version__,
    }
    write_answers(versions, PROBES, {})

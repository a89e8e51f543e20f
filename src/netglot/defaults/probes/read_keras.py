"""What Keras does when told nothing, on any of its backends: ``read_keras.py ANSWERS``.

``KERAS_BACKEND`` names the backend. Layers are called outside of ``fit``.
"""

# Old interpreters know no ``zip(strict=True)``.
# ruff: noqa: B905

import importlib
import platform

import keras
import keras_walk
import numpy as np
import solving
from answering import to_be_told, write_answers
from keras import layers


def array(values):
    """A tensor as NumPy has it."""
    return np.asarray(keras.ops.convert_to_numpy(values))


def single(values):
    """Single precision."""
    return np.asarray(values, "float32")


def built(layer, shape):
    """The layer with weights for inputs of this shape."""
    layer.build(shape)
    return layer


# --- Dense, convolution, pooling ------------------------------------------------------


def dense():
    """Dense."""

    def make(inputs, outputs):
        return built(layers.Dense(outputs), (None, inputs))

    return {
        "bias": len(make(3, 4).get_weights()) == 2,
        "kernel_init": solving.distribution(
            lambda i, o: make(i, o).get_weights()[0], solving.MATRICES, solving.fans
        ),
        "bias_init": solving.distribution(
            lambda i, o: make(i, o).get_weights()[1], solving.WIDE, solving.fans
        ),
    }


def nine(inputs, outputs):
    """Fans of a 3 x 3 kernel."""
    return solving.fans(inputs, outputs, 9)


def conv():
    """Conv2D."""

    def make(inputs, outputs):
        return built(layers.Conv2D(outputs, 3), (None, 9, 9, inputs))

    layer = make(1, 1)
    layer.set_weights([single(solving.KERNEL).reshape(3, 3, 1, 1), single([0.0])])
    answer = array(layer(single(solving.IMAGE)[None, :, :, None]))[0, ..., 0]
    shape = array(layers.Conv2D(11, 3)(np.zeros((1, 9, 9, 2), "float32"))).shape
    return {
        **solving.conv_geometry(shape, 11),
        "bias": len(layer.get_weights()) == 2,
        "flipped": solving.flips(solving.middle(answer, 1).item()),
        "kernel_init": solving.distribution(
            lambda i, o: make(i, o).get_weights()[0], solving.KERNELS, nine
        ),
        "bias_init": solving.distribution(
            lambda i, o: make(i, o).get_weights()[1], solving.KERNELS, nine
        ),
    }


def conv_transpose():
    """Conv2DTranspose."""

    def make(inputs, outputs):
        return built(layers.Conv2DTranspose(outputs, 3), (None, 9, 9, inputs))

    layer = make(1, 1)
    layer.set_weights([single(solving.KERNEL).reshape(3, 3, 1, 1), single([0.0])])
    point = np.zeros((1, 5, 5, 1), "float32")
    point[0, 2, 2, 0] = 1
    doubled = layers.Conv2DTranspose(1, 3, strides=2)(np.zeros((1, 4, 4, 1), "float32"))
    wide = array(layer(np.zeros((1, 9, 9, 1), "float32"))).shape[1]
    return {
        **solving.transposed_geometry(array(layer(point))[0, ..., 0], doubled.shape[1]),
        "bias": len(layer.get_weights()) == 2,
        "stride": 1 if wide < 13 else 2,
        "kernel_init": solving.distribution(
            lambda i, o: make(i, o).get_weights()[0], solving.KERNELS, nine
        ),
    }


def pool(kind):
    """What both pools have in common."""
    zeros = np.zeros((1, 9, 9, 1), "float32")
    stride, padding = solving.window_geometry(array(kind(3)(zeros)).shape[1])
    return {
        "stride": "kernel" if stride == 3 else stride,
        "padding": padding,
        "ceil": array(kind(3)(zeros[:, :8, :8])).shape[1] == 3,
    }


def ramp():
    """A picture whose columns count 0, 1, 2 ..."""
    return np.tile(np.arange(9, dtype="float32"), (9, 1))[None, :, :, None]


def max_pool():
    """MaxPooling2D: the untold window of a ramp ends at its size less 1."""
    reach = int(array(layers.MaxPooling2D()(ramp())).min()) + 1
    padded = layers.MaxPooling2D(3, strides=1, padding="same")(-1 - ramp())
    wins = bool(array(padded).max() == 0)
    return {**pool(layers.MaxPooling2D), "kernel": reach, "padding_wins": wins}


def avg_pool():
    """AveragePooling2D."""
    ones = np.ones((1, 9, 9, 1), "float32")
    padded = layers.AveragePooling2D(3, strides=1, padding="same")(ones)
    return {
        **pool(layers.AveragePooling2D),
        "kernel": to_be_told(lambda: layers.AveragePooling2D()),
        "count_padding": bool(array(padded).min() < 0.9),
    }


# --- Normalisation, dropout, embedding ------------------------------------------------


def batch_norm():
    """BatchNormalization."""
    x = solving.RANDOM.normal(1, 2, size=(4, 2, 2, 3))
    layer = layers.BatchNormalization()
    untold = array(layer(single(x)))
    layer(single(x), training=True)
    mean, variance = array(layer.moving_mean)[0], array(layer.moving_variance)[0]
    signs = solving.signs((4, 2, 2, 3), 0)

    def run(scale):
        return array(other(scale * signs, training=True)).max()

    other = layers.BatchNormalization()
    return {
        **solving.running(x[..., 0], mean, variance),
        "epsilon": solving.norm_epsilon(run),
        "scale": layer.gamma is not None,
        "shift": layer.beta is not None,
        "mode": "training" if abs(float(untold.mean())) < 1e-3 else "evaluation",
    }


def layer_norm():
    """LayerNormalization."""
    layer = layers.LayerNormalization()
    signs = solving.signs((2, 6), 1)
    untold = layers.LayerNormalization()
    return {
        "epsilon": solving.norm_epsilon(lambda s: array(layer(s * signs)).max()),
        "axes": solving.normalised_axes(lambda x: array(untold(x)), "NTF"),
        "scale": layer.gamma is not None,
        "shift": layer.beta is not None,
    }


def group_norm():
    """GroupNormalization."""
    layer = layers.GroupNormalization()
    x = single(solving.RANDOM.normal(size=(1, 2, 2, 64)))
    answer = array(layer(x))
    forms = [(n, array(layers.GroupNormalization(n)(x))) for n in (8, 16, 32, 64)]
    signs = solving.signs((1, 2, 2, 64), 1)
    return {
        "groups": solving.which(answer, forms, 1e-3),
        "epsilon": solving.norm_epsilon(lambda s: array(layer(s * signs)).max()),
        "scale": layer.gamma is not None,
        "shift": layer.beta is not None,
    }


def rms_norm():
    """RMSNormalization."""
    layer = layers.RMSNormalization()
    signs = solving.signs((2, 6), 1)
    untold = layers.RMSNormalization()
    return {
        "epsilon": solving.norm_epsilon(lambda s: array(layer(s * signs)).max()),
        "axes": solving.root_mean_axes(lambda x: array(untold(x)), "NTF"),
        "scale": layer.scale is not None,
    }


def dropout():
    """Dropout."""
    ones = np.ones((10000,), "float32")
    layer = layers.Dropout(0.75)
    untold = array(layer(ones))
    assert bool((array(layer(ones, training=False)) == 1).all())
    return {
        "rate": to_be_told(lambda: layers.Dropout()),
        "scaling": solving.dropped(array(layer(ones, training=True)), 0.75),
        "mode": "training" if bool((untold == 0).any()) else "evaluation",
        "switch": "model(x, training=False)",
    }


def embedding():
    """Embedding."""
    layer = built(layers.Embedding(5, 3), (None, None))
    masked = layer.compute_mask(np.array([[0, 1]])) is not None
    try:
        found = array(layer(np.array([[7]])))[0, 0]
        ends = [("last row", layer.get_weights()[0][4]), ("0", np.zeros(3))]
        beyond = "NaN" if np.isnan(found).all() else solving.which(found, ends)
    except Exception as error:
        # Which it is depends on the backend; anything else is a fault of the probe.
        if type(error).__name__ not in ("IndexError", "InvalidArgumentError"):
            raise
        beyond = "raises"

    def draw(vocabulary, features):
        layer = built(layers.Embedding(vocabulary, features), (None, None))
        return layer.get_weights()[0]

    return {
        "table_init": solving.distribution(
            draw, solving.MATRICES, lambda v, f: {"vocabulary": v, "features": f}
        ),
        "padding_index": 0 if masked else "none",
        "out_of_range": beyond,
    }


# --- Recurrent layers, attention ------------------------------------------------------


def recurrent(kind, gates, drawn=("kernel", "recurrent", "bias")):
    """What the recurrent layers have in common; of ``drawn`` the distribution."""

    def weights(inputs, units):
        return built(kind(units), (None, None, inputs)).get_weights()

    shape = array(kind(3)(np.zeros((7, 5, 2), "float32"))).shape
    bias = weights(2, 3)[2:]
    vectors = bias[0].size // (gates * 3) if bias else 0
    fans = solving.gate_fans(gates)
    found = {
        "bias": ("none", "one", "two")[vectors],
        "returns": solving.returned(shape, 5, 3),
    }
    for place, name in enumerate(drawn):
        found[name + "_init"] = solving.distribution(
            lambda i, h, p=place: weights(i, h)[p],
            solving.CELLS,
            fans,
            gates if name == "recurrent" else 0,
        )
    return found


def run_recurrent(kind):
    """States of random steps, the steps, kernel, recurrent kernel, bias.

    The steps are on the second axis; were they on the first, the states would be those
    of single steps, which no form fits.
    """
    layer = built(kind(3, return_sequences=True), (None, None, 2))
    weights = [single(solving.RANDOM.normal(size=w.shape)) for w in layer.get_weights()]
    layer.set_weights(weights)
    x = solving.RANDOM.normal(size=(5, 2))
    kernel, hidden, bias = weights
    return array(layer(single(x)[None]))[0], x, (kernel.T, hidden.T, bias)


def simple_rnn():
    """SimpleRNN."""
    states, x, weights = run_recurrent(layers.SimpleRNN)
    activation = solving.rnn_activation(states, x, *weights)
    return {
        "activation": activation,
        "order": "NTF",
        **recurrent(layers.SimpleRNN, 1),
    }


def lstm():
    """LSTM: its bias is 1 for the forget gate and 0 for the others."""
    states, x, weights = run_recurrent(layers.LSTM)
    gates = solving.lstm_gates(states, x, *weights)
    fresh = built(layers.LSTM(3), (None, None, 2)).get_weights()[2]
    by_gate = dict(zip(gates, np.split(fresh, 4)))
    found = {"gates": gates, "order": "NTF"}
    found["forget_bias"] = solving.agreed(by_gate.pop("f"))
    others = solving.agreed(np.concatenate(list(by_gate.values())) + 1) - 1
    shared = recurrent(layers.LSTM, 4, ("kernel", "recurrent"))
    return {**found, **shared, "bias_init": f"all {others:g}"}


def gru():
    """GRU: its two biases are the rows of one array."""
    states, x, (kernel, hidden, bias) = run_recurrent(layers.GRU)
    form = solving.gru_form(states, x, kernel, hidden, bias[0], bias[1])
    return {**form, "order": "NTF", **recurrent(layers.GRU, 3)}


def attention():
    """MultiHeadAttention of 2 heads of 4 features."""
    layer = layers.MultiHeadAttention(2, 4)
    x = solving.RANDOM.normal(size=(3, 8))
    steps = single(x)[None]
    layer(steps, steps)
    weights = [solving.RANDOM.normal(size=w.shape) for w in layer.get_weights()]
    layer.set_weights([single(values) for values in weights])
    bias = len(weights) == 8
    kernels = [values.reshape(8, 8) for values in weights[::2]]
    answer = array(layer(steps, steps, training=True))[0]
    assert np.array_equal(answer, array(layer(steps, steps, training=True))[0])

    def draw(width):
        layer = layers.MultiHeadAttention(4, width // 4)
        layer.build((None, 3, width), (None, 3, width))
        return layer.get_weights()[0]

    return {
        "bias": bias,
        "scale": solving.attention_scale(
            answer, x, kernels, [values.reshape(8) for values in weights[1::2]], 2
        ),
        "order": "NTF",
        "dropout": 0.0,
        "kernel_init": solving.distribution(
            draw,
            ((256,), (128,), (512,)),
            lambda e: {
                "features": e,
                "(features (heads + head width))": e * (4 + e // 4),
            },
        ),
    }


# --- Activations, shape ---------------------------------------------------------------


def gelu():
    """activations.gelu."""
    values = array(keras.activations.gelu(single(solving.POINTS)))
    return {"approximate": solving.gelu_approximate(values)}


def leaky_relu():
    """The layer; the function of the same name has a slope of its own."""
    function = array(keras.activations.leaky_relu(single(solving.POINTS)))
    return {
        "slope": solving.slope(array(layers.LeakyReLU()(single(solving.POINTS)))),
        "function_slope": solving.slope(function),
    }


def elu():
    """ELU."""
    return {"alpha": solving.elu_alpha(array(layers.ELU()(single(solving.POINTS))))}


def softmax():
    """Softmax."""
    return {"axis": solving.softmax_axis(lambda x: array(layers.Softmax()(single(x))))}


def flatten():
    """Flatten."""
    return solving.flattened(lambda x: array(layers.Flatten()(single(x))), "NHWC")


def upsample():
    """UpSampling2D."""
    row = np.broadcast_to(np.array([0, 4, 4, 8], "float32"), (4, 4))[None, ..., None]
    untold = array(layers.UpSampling2D()(row))[0, 0, :, 0]
    bilinear = array(layers.UpSampling2D(interpolation="bilinear")(row))[0, 0, :, 0]
    return {
        "scale": len(untold) // 4,
        "mode": solving.enlarged(untold),
        "bilinear": solving.enlarged(bilinear),
    }


# --- Losses ---------------------------------------------------------------------------


def cross_entropy():
    """SparseCategoricalCrossentropy."""
    function = keras.losses.SparseCategoricalCrossentropy()
    answer = function(solving.LABELS, single(solving.SCORES))
    return solving.cross_entropy(array(answer))


def squared_error():
    """MeanSquaredError."""
    answer = keras.losses.MeanSquaredError()(solving.TARGETS, solving.SCORES)
    return solving.squared_error(array(answer))


def binary_cross_entropy():
    """BinaryCrossentropy."""
    function = keras.losses.BinaryCrossentropy()
    return solving.binary_cross_entropy(
        lambda values, targets: array(function(single(targets), single(values)))
    )


# --- Initializers ---------------------------------------------------------------------


def initializer(name):
    """The distribution of a class of keras.initializers."""

    def draw(inputs, outputs):
        return array(getattr(keras.initializers, name)()((inputs, outputs)))

    words = solving.distribution(draw, solving.MATRICES, solving.fans)
    return {"distribution": words}


def truncated_normal():
    """TruncatedNormal."""
    make = keras.initializers.TruncatedNormal(stddev=0.1)
    return {
        **initializer("TruncatedNormal"),
        "cut": solving.cut(lambda n: array(make((n,))), 0.1),
    }


def _of(operation, name):
    called = "keras.initializers." + name
    return operation, called, lambda: initializer(name)


PROBES = [
    ("Dense", "layers.Dense", dense),
    ("Conv", "layers.Conv2D", conv),
    ("ConvTranspose", "layers.Conv2DTranspose", conv_transpose),
    ("MaxPool", "layers.MaxPooling2D", max_pool),
    ("AvgPool", "layers.AveragePooling2D", avg_pool),
    ("BatchNorm", "layers.BatchNormalization", batch_norm),
    ("LayerNorm", "layers.LayerNormalization", layer_norm),
    ("GroupNorm", "layers.GroupNormalization", group_norm),
    ("RMSNorm", "layers.RMSNormalization", rms_norm),
    ("Dropout", "layers.Dropout", dropout),
    ("Embedding", "layers.Embedding", embedding),
    ("SimpleRNN", "layers.SimpleRNN", simple_rnn),
    ("LSTM", "layers.LSTM", lstm),
    ("GRU", "layers.GRU", gru),
    ("MultiHeadAttention", "layers.MultiHeadAttention", attention),
    ("Gelu", "keras.activations.gelu", gelu),
    ("LeakyRelu", "layers.LeakyReLU", leaky_relu),
    ("Elu", "layers.ELU", elu),
    ("Softmax", "layers.Softmax", softmax),
    ("Flatten", "layers.Flatten", flatten),
    ("Upsample", "layers.UpSampling2D", upsample),
    (
        "SoftmaxCrossEntropy",
        "keras.losses.SparseCategoricalCrossentropy",
        cross_entropy,
    ),
    ("MeanSquaredError", "keras.losses.MeanSquaredError", squared_error),
    ("BinaryCrossEntropy", "keras.losses.BinaryCrossentropy", binary_cross_entropy),
    *keras_walk.probes(keras, "keras.optimizers"),
    _of("Normal", "RandomNormal"),
    _of("Uniform", "RandomUniform"),
    ("TruncatedNormal", "keras.initializers.TruncatedNormal", truncated_normal),
    _of("GlorotUniform", "GlorotUniform"),
    _of("GlorotNormal", "GlorotNormal"),
    _of("HeUniform", "HeUniform"),
    _of("HeNormal", "HeNormal"),
    _of("Orthogonal", "Orthogonal"),
]
LACKS = {"L2Loss": "Keras has no half squared error"}

if __name__ == "__main__":
    engine = importlib.import_module(keras.backend.backend())
    versions = {
        "python": platform.python_version(),
        "keras": keras.__version__,
        engine.__name__: engine.__version__,
    }
    write_answers(versions, PROBES, LACKS)

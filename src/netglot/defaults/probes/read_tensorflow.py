"""What TensorFlow without Keras layers does: ``read_tensorflow.py ANSWERS``.

Of Keras only the optimizers, as TensorFlow programs use them.
"""

import platform

import keras_walk
import numpy as np
import solving
import tensorflow as tf
from answering import has_no, lacking, to_be_told, write_answers

NO_WEIGHTS = lacking("takes a kernel that is made elsewhere")
NO_BIAS = lacking("has no bias: it is added apart")
KERNEL = solving.KERNEL.reshape(3, 3, 1, 1).astype("float32")
ZEROS = np.zeros((1, 9, 9, 1), "float32")


def single(values):
    """Single precision."""
    return tf.constant(np.asarray(values, "float32"))


# --- Convolution and pooling ----------------------------------------------------------


def conv():
    """nn.conv2d."""
    image = single(solving.IMAGE)[None, :, :, None]
    kernels = np.zeros((3, 3, 2, 11), "float32")
    shape = tf.nn.conv2d(np.zeros((1, 9, 9, 2), "float32"), kernels, 1, "VALID").shape
    centre = tf.nn.conv2d(image, KERNEL, 1, "VALID").numpy().item()
    return {
        "layout": solving.conv_geometry(shape, 11)["layout"],
        "stride": to_be_told(lambda: tf.nn.conv2d(ZEROS, KERNEL, padding="VALID")),
        "padding": to_be_told(lambda: tf.nn.conv2d(ZEROS, KERNEL, 1)),
        "flipped": solving.flips(centre),
        "bias": NO_BIAS,
        "kernel_init": NO_WEIGHTS,
        "bias_init": NO_BIAS,
    }


def conv_transpose():
    """nn.conv_transpose: at stride 1 without padding 5 x 5 could not stay 5 x 5."""
    point = np.zeros((1, 5, 5, 1), "float32")
    point[0, 2, 2, 0] = 1
    once = tf.nn.conv_transpose(point, KERNEL, [1, 5, 5, 1], 1).numpy()[0, ..., 0]
    found = solving.transposed_geometry(once, 0)
    return {
        "padding": found["padding"],
        "flipped": found["flipped"],
        "output_size": to_be_told(
            lambda: tf.nn.conv_transpose(point, KERNEL, strides=1)
        ),
        "stride": to_be_told(lambda: tf.nn.conv_transpose(point, KERNEL, [1, 5, 5, 1])),
        "bias": NO_BIAS,
        "kernel_init": NO_WEIGHTS,
    }


def pool(function):
    """What both pools have in common."""
    eight = ZEROS[:, :8, :8]
    return {
        "kernel": to_be_told(lambda: function(ZEROS, strides=1, padding="VALID")),
        "stride": to_be_told(lambda: function(ZEROS, 3, padding="VALID")),
        "padding": to_be_told(lambda: function(ZEROS, 3, 3)),
        "ceil": function(eight, 3, 3, "VALID").shape[1] == 3,
    }


def max_pool():
    """nn.max_pool2d."""
    padded = tf.nn.max_pool2d(ZEROS - 1, 3, 1, "SAME").numpy()
    return {**pool(tf.nn.max_pool2d), "padding_wins": bool(padded.max() == 0)}


def avg_pool():
    """nn.avg_pool2d."""
    padded = tf.nn.avg_pool2d(ZEROS + 1, 3, 1, "SAME").numpy()
    return {**pool(tf.nn.avg_pool2d), "count_padding": bool(padded.min() < 0.9)}


# --- Dropout, embedding ---------------------------------------------------------------


def dropout():
    """nn.dropout: a function that drops whenever it is called."""
    ones = np.ones(10000, "float32")
    kept = tf.nn.dropout(ones, 0.75).numpy()
    return {
        "rate": to_be_told(lambda: tf.nn.dropout(ones)),
        "scaling": solving.dropped(kept, 0.75),
        "mode": "training" if bool((kept == 0).any()) else "evaluation",
        "switch": has_no(
            lambda: tf.nn.dropout(ones, 0.75, training=False),
            "has no switch: it is not called in evaluation",
        ),
    }


def embedding():
    """nn.embedding_lookup."""
    table = tf.Variable(np.ones((5, 3), "float32"))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(tf.nn.embedding_lookup(table, [[0, 1]]))
    rows = tf.convert_to_tensor(tape.gradient(total, table)).numpy()
    try:
        beyond = str(tf.nn.embedding_lookup(table, [7]).numpy())
    except tf.errors.InvalidArgumentError:
        beyond = "raises"
    return {
        "table_init": lacking("takes a table that is made elsewhere"),
        "padding_index": "none" if bool((rows[0] == 1).all()) else 0,
        "out_of_range": beyond,
    }


# --- Activations, shape ---------------------------------------------------------------


def gelu():
    """nn.gelu."""
    points = tf.nn.gelu(single(solving.POINTS)).numpy()
    return {"approximate": solving.gelu_approximate(points)}


def leaky_relu():
    """nn.leaky_relu."""
    return {
        "slope": solving.slope(tf.nn.leaky_relu(single(solving.POINTS)).numpy()),
        "function_slope": lacking("the one named above is all there is"),
    }


def elu():
    """nn.elu."""
    return {"alpha": solving.elu_alpha(tf.nn.elu(single(solving.POINTS)).numpy())}


def softmax():
    """nn.softmax."""
    axis = solving.softmax_axis(lambda x: tf.nn.softmax(single(x)).numpy())
    return {"axis": axis}


def flatten():
    """reshape, of pictures as ``nn.conv2d`` reads them."""
    order = solving.flattened(
        lambda x: tf.reshape(single(x), [2, -1]).numpy(), conv()["layout"]
    )
    return {
        "order": order["order"],
        "keeps_batch": lacking("tf.reshape is told the whole shape"),
    }


def upsample():
    """image.resize."""
    row = np.broadcast_to(np.array([0, 4, 4, 8], "float32"), (4, 4))[None, ..., None]
    answer = tf.image.resize(row, (8, 8)).numpy()[0, 0, :, 0]
    bilinear = tf.image.resize(row, (8, 8), "bilinear").numpy()[0, 0, :, 0]
    return {
        "scale": lacking("has no default: it is told the size of the output"),
        "mode": solving.enlarged(answer).split(",")[0],
        "bilinear": solving.enlarged(bilinear),
    }


# --- Losses ---------------------------------------------------------------------------


def cross_entropy():
    """nn.sparse_softmax_cross_entropy_with_logits."""
    function = tf.nn.sparse_softmax_cross_entropy_with_logits
    answer = function(labels=solving.LABELS, logits=single(solving.SCORES))
    return solving.cross_entropy(answer.numpy())


def half_squared_error():
    """nn.l2_loss, of the difference."""
    answer = tf.nn.l2_loss(single(solving.SCORES - solving.TARGETS)).numpy()
    return solving.squared_error(answer)


def binary_cross_entropy():
    """nn.sigmoid_cross_entropy_with_logits."""
    return solving.binary_cross_entropy(
        lambda values, targets: tf.nn.sigmoid_cross_entropy_with_logits(
            labels=single(targets), logits=single(values)
        ).numpy()
    )


# --- Initializers ---------------------------------------------------------------------


def initializer(function):
    """The distribution of a function of tf.random."""

    def draw(inputs, outputs):
        return function([inputs, outputs]).numpy()

    words = solving.distribution(draw, solving.MATRICES, solving.fans)
    return {"distribution": words}


def truncated_normal():
    """random.truncated_normal."""
    make = tf.random.truncated_normal
    return {
        **initializer(make),
        "cut": solving.cut(lambda n: make([n], stddev=0.1).numpy(), 0.1),
    }


PROBES = [
    ("Conv", "tf.nn.conv2d", conv),
    ("ConvTranspose", "tf.nn.conv_transpose", conv_transpose),
    ("MaxPool", "tf.nn.max_pool2d", max_pool),
    ("AvgPool", "tf.nn.avg_pool2d", avg_pool),
    ("Dropout", "tf.nn.dropout", dropout),
    ("Embedding", "tf.nn.embedding_lookup", embedding),
    ("Gelu", "tf.nn.gelu", gelu),
    ("LeakyRelu", "tf.nn.leaky_relu", leaky_relu),
    ("Elu", "tf.nn.elu", elu),
    ("Softmax", "tf.nn.softmax", softmax),
    ("Flatten", "tf.reshape", flatten),
    ("Upsample", "tf.image.resize", upsample),
    (
        "SoftmaxCrossEntropy",
        "tf.nn.sparse_softmax_cross_entropy_with_logits",
        cross_entropy,
    ),
    ("L2Loss", "tf.nn.l2_loss", half_squared_error),
    (
        "BinaryCrossEntropy",
        "tf.nn.sigmoid_cross_entropy_with_logits",
        binary_cross_entropy,
    ),
    *keras_walk.probes(tf.keras, "tf.keras.optimizers"),
    ("Normal", "tf.random.normal", lambda: initializer(tf.random.normal)),
    ("Uniform", "tf.random.uniform", lambda: initializer(tf.random.uniform)),
    ("TruncatedNormal", "tf.random.truncated_normal", truncated_normal),
]
NO_LAYER = "TensorFlow without Keras has no such layer"
NO_INITIALIZER = "tf.random has no such distribution: programs write it out"
LACKS = {
    "Dense": NO_LAYER,
    "BatchNorm": NO_LAYER + ": tf.nn.batch_normalization is told everything",
    "LayerNorm": NO_LAYER,
    "GroupNorm": NO_LAYER,
    "RMSNorm": NO_LAYER,
    "SimpleRNN": NO_LAYER,
    "LSTM": NO_LAYER,
    "GRU": NO_LAYER,
    "MultiHeadAttention": NO_LAYER,
    "MeanSquaredError": "tf.nn has no such loss: programs write it out",
    "GlorotUniform": NO_INITIALIZER,
    "GlorotNormal": NO_INITIALIZER,
    "HeUniform": NO_INITIALIZER,
    "HeNormal": NO_INITIALIZER,
    "Orthogonal": NO_INITIALIZER,
}

if __name__ == "__main__":
    versions = {"python": platform.python_version(), "tensorflow": tf.__version__}
    write_answers(versions, PROBES, LACKS)

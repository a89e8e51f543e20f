"""Small Keras models, of odd sizes, for any engine."""

import keras
from keras import layers, ops


def image():
    """Convolutions, norms and pools, with activations inside of layers."""
    inputs = keras.Input((13, 11, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = layers.Conv2D(6, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.BatchNormalization(momentum=0.8)(x)
    x = layers.MaxPooling2D(2, padding="same")(x)
    x = layers.ZeroPadding2D(((1, 0), (2, 1)))(x)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same")(x)
    x = layers.SeparableConv2D(8, (3, 2), depth_multiplier=2, activation="elu")(x)
    x = layers.GroupNormalization(4)(x)
    x = layers.Conv2DTranspose(5, 3, strides=2, padding="same")(x)
    x = layers.AveragePooling2D((2, 3))(x)
    x = layers.Flatten()(x)
    x = layers.Dropout(0.4)(x)
    x = layers.Dense(7, activation="gelu")(x)
    return keras.Model(inputs, layers.Dense(4, activation="softmax")(x))


def first():
    """Channels first, as far as the engine can."""
    inputs = keras.Input((3, 10, 9))
    x = layers.Conv2D(4, 3, data_format="channels_first", padding="same")(inputs)
    x = layers.BatchNormalization(axis=1)(x)
    x = layers.LeakyReLU(negative_slope=0.25)(x)
    x = layers.MaxPooling2D(2, data_format="channels_first")(x)
    x = layers.Flatten(data_format="channels_first")(x)
    return keras.Model(inputs, layers.Dense(5)(x))


def words():
    """An embedding and a GRU."""
    return keras.Sequential(
        [
            layers.Embedding(40, 6),
            layers.GRU(5, return_sequences=True),
            layers.Bidirectional(layers.LSTM(4)),
            layers.Dense(3),
        ]
    )


def series():
    """All kinds of recurrent layers and one-dimensional ones."""
    inputs = keras.Input((11, 5))
    x = layers.Conv1D(6, 3, padding="causal", dilation_rate=2, activation="tanh")(
        inputs
    )
    x = layers.MaxPooling1D(2)(x)
    x = layers.SimpleRNN(4, return_sequences=True, go_backwards=True)(x)
    x = layers.GRU(5, reset_after=False, return_sequences=True)(x)
    x = layers.Bidirectional(layers.GRU(3, return_sequences=True, dropout=0.3))(x)
    a = layers.GlobalAveragePooling1D()(x)
    b = layers.LSTM(6, use_bias=False)(x)
    x = layers.Concatenate()([a, b])
    return keras.Model(inputs, layers.Dense(2)(x))


class Residual(layers.Layer):
    """A block with functions between its layers."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.norm = layers.BatchNormalization()
        self.inside = layers.Dense(2 * width)
        self.outside = layers.Dense(width)

    def call(self, x):
        y = ops.relu(self.inside(self.norm(x)))
        return x + 0.5 * self.outside(y)


class Net(keras.Model):
    """Subclassed, with functions between its blocks."""

    def __init__(self):
        super().__init__()
        self.start = layers.Dense(6)
        self.blocks = [Residual(6), Residual(6)]
        self.end = layers.Dense(3)

    def call(self, x):
        x = self.start(x)
        for block in self.blocks:
            x = block(x)
        x = ops.gelu(ops.reshape(x, (-1, 2, 3)), approximate=False)
        x = ops.concatenate([x[:, 0], ops.mean(x, axis=1)], axis=-1)
        return ops.log_softmax(self.end(1 - x))


def net():
    return Net()


class Attentive(keras.Model):
    """Norms and attention over a sequence."""

    def __init__(self):
        super().__init__()
        self.norm = layers.LayerNormalization(epsilon=1e-5)
        self.attention = layers.MultiHeadAttention(2, 4)
        self.norm2 = layers.RMSNormalization()
        self.dense = layers.Dense(8, activation="silu")
        self.add = layers.Add()

    def call(self, x, training=False):
        y = self.norm(x)
        y = self.attention(y, y, use_causal_mask=True)
        x = self.add([x, y])
        x = self.add([x, self.dense(self.norm2(x)), x])
        return ops.max(x, axis=1)


def attentive():
    return Attentive()


class Broken(keras.Model):
    """Raises in the middle."""

    def __init__(self):
        super().__init__()
        self.first = layers.Dense(4)
        self.second = layers.Dense(5)

    def call(self, x):
        x = self.first(x)
        if x.shape[-1] == 4:
            raise KeyError("no such thing as a second layer")
        return self.second(x)


def broken():
    return Broken()


class Foreign(keras.Model):
    """Uses a function that is not of Keras."""

    def __init__(self):
        super().__init__()
        self.first = layers.Dense(4)
        self.second = layers.Dense(5)

    def call(self, x):
        engine = keras.config.backend()
        x = self.first(x)
        if engine == "tensorflow":
            import tensorflow

            x = tensorflow.nn.relu(x)
        elif engine == "jax":
            import jax

            x = jax.nn.relu(x)
        else:
            import torch

            x = torch.relu(x)
        return self.second(x)


def foreign():
    return Foreign()


def trained():
    """Compiled, with a penalty, dropout and batch norm."""
    model = keras.Sequential(
        [
            keras.Input((5,)),
            layers.Dense(6, activation="relu", kernel_regularizer="l2"),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Dense(3),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.SGD(0.1, momentum=0.9),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def volume():
    """Three dimensions."""
    inputs = keras.Input((7, 6, 5, 2))
    x = layers.Conv3D(4, (3, 2, 3), padding="same", strides=(2, 1, 1))(inputs)
    x = layers.ReLU(max_value=6)(x)
    x = layers.Cropping3D(((1, 0), (0, 1), (1, 1)))(x)
    x = layers.MaxPooling3D((1, 2, 1))(x)
    x = layers.UpSampling3D(2)(x)
    x = layers.Conv3DTranspose(3, 2, strides=2)(x)
    return keras.Model(inputs, layers.GlobalMaxPooling3D()(x))


def odd():
    """Functions and merges in a model of layers, and a model within a model."""
    inputs = keras.Input((6, 8, 4))
    inner_input = keras.Input((6, 8, 4))
    y = layers.Dense(4, activation=keras.layers.LeakyReLU(negative_slope=0.1))(
        inner_input
    )
    inner = keras.Model(inner_input, layers.Softmax()(y), name="inner")
    x = inner(inputs) * inputs
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(4, 1, activation="sigmoid", name="gate")(gate)
    x = layers.Multiply()([x, gate])
    x = layers.Average()([x, inputs, inner(x)])
    x = ops.pad(x, [[0, 0], [1, 0], [0, 2], [0, 0]])
    a, b = ops.split(x, 2, axis=-1)
    x = layers.Maximum()([a, ops.tanh(b)])
    x = layers.Permute((2, 1, 3))(x)
    x = ops.transpose(x, (0, 3, 2, 1))
    x = ops.leaky_relu(x, negative_slope=0.3) / 2 - 1
    x = keras.activations.hard_sigmoid(ops.power(x, 2))
    x = layers.Lambda(lambda z: ops.expand_dims(ops.mean(z, axis=(2, 3)), 1))(x)
    return keras.Model(inputs, layers.Reshape((2,))(x))


def shared():
    """One layer used three times; two inputs and two outputs."""
    a, b = keras.Input((4,)), keras.Input((4,))
    dense = layers.Dense(3)
    difference = layers.Subtract()([dense(a), dense(b)])
    return keras.Model([a, b], [difference, ops.softmax(dense(a) * 2)])


class Mixed(keras.Model):
    """Takes two values; has weights of its own and a layer in a layer."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)
        self.each = layers.TimeDistributed(layers.Dense(2))
        self.kernel = self.add_weight(shape=(3, 5), name="kernel")
        self.table = self.add_weight(shape=(9, 6), name="table")
        self.state = layers.LSTM(5, return_state=True, return_sequences=True)

    def call(self, x, words, training=None):
        x = ops.matmul(self.dense(x), self.kernel)
        sequence, last, _ = self.state(ops.take(self.table, words, axis=0))
        return ops.maximum(x, 0.0) + last, self.each(sequence)


def mixed():
    return Mixed()


def masked():
    """An embedding that masks the word 0."""
    return keras.Sequential(
        [
            layers.Embedding(30, 4, mask_zero=True),
            layers.GRU(3, name="masked"),
            layers.Dense(2),
        ]
    )


class Dropping(keras.Model):
    """Drops by a function, in evaluation as well."""

    def __init__(self):
        super().__init__()
        self.out = layers.Dense(2)

    def call(self, x):
        return self.out(keras.random.dropout(x, 0.25))


def dropping():
    return Dropping()

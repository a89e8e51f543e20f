"""Networks with the weights of a checkpoint, in Keras."""

import keras
import numpy as np
from checkpoint import GATES, IMAGES, MEMORY
from keras import layers


def images():
    inputs = keras.Input((6, 8, 2))
    x = layers.Conv2D(5, 3, padding="same", name="conv")(inputs)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name="norm")(x)
    x = layers.MaxPooling2D(2)(layers.ReLU()(x))
    x = layers.Flatten()(x)
    x = layers.Dense(9, activation="tanh", name="fc1")(x)
    model = keras.Model(inputs, layers.Dense(9, name="fc2")(x))

    state = IMAGES
    kernel = state["conv.weight"].transpose(2, 3, 1, 0)
    model.get_layer("conv").set_weights([kernel, state["conv.bias"]])
    names = ("weight", "bias", "running_mean", "running_var")
    model.get_layer("norm").set_weights([state["norm." + name] for name in names])
    kernel = state["fc1.weight"].reshape(9, 5, 3, 4)
    kernel = kernel.transpose(2, 3, 1, 0).reshape(60, 9)
    model.get_layer("fc1").set_weights([kernel, state["fc1.bias"]])
    kernel = state["fc2.weight"].T
    model.get_layer("fc2").set_weights([kernel, state["fc2.bias"]])
    return model


def memory():
    tokens = keras.Input((None,), dtype="int32")
    x = layers.Embedding(30, 6, name="embedding")(tokens)
    x = layers.LSTM(6, name="lstm")(x)
    model = keras.Model(tokens, layers.Dense(3, name="fc")(x))

    state = MEMORY
    model.get_layer("embedding").set_weights([state["embedding.weight"]])
    kernel, recurrent = state["lstm.weight_ih_l0"].T, state["lstm.weight_hh_l0"].T
    bias = state["lstm.bias_ih_l0"] + state["lstm.bias_hh_l0"]
    model.get_layer("lstm").set_weights([kernel, recurrent, bias])
    kernel = state["fc.weight"].T
    model.get_layer("fc").set_weights([kernel, state["fc.bias"]])
    return model


def turned(weight):
    """Gates from the order r, z, n to z, r, n."""
    r, z, n = np.split(weight, 3)
    return np.concatenate([z, r, n])


def gates():
    tokens = keras.Input((None,), dtype="int32")
    x = layers.Embedding(30, 6, name="embedding")(tokens)
    x = layers.GRU(5, name="gru")(x)
    model = keras.Model(tokens, layers.Dense(3, name="fc")(x))

    state = GATES
    model.get_layer("embedding").set_weights([state["embedding.weight"]])
    kernel = turned(state["gru.weight_ih_l0"]).T
    recurrent = turned(state["gru.weight_hh_l0"]).T
    bias = [turned(state["gru.bias_ih_l0"]), turned(state["gru.bias_hh_l0"])]
    model.get_layer("gru").set_weights([kernel, recurrent, np.stack(bias)])
    kernel = state["fc.weight"].T
    model.get_layer("fc").set_weights([kernel, state["fc.bias"]])
    return model

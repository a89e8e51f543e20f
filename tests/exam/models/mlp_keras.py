"""A perceptron with its optimizers and losses, in Keras."""

import keras
from keras import layers


def build():
    inputs = keras.Input((11,))
    x = layers.Dense(16, activation="gelu", name="fc1")(inputs)
    x = layers.Dense(16, activation="tanh", name="fc2")(x)
    x = layers.Dropout(0.25)(x)
    return keras.Model(inputs, layers.Dense(4, name="fc3")(x))


loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def adam():
    return build(), keras.optimizers.Adam(0.01, epsilon=1e-8), loss


def adamw():
    optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.1, epsilon=1e-8)
    return build(), optimizer, loss


def sgd():
    return build(), keras.optimizers.SGD(0.05, momentum=0.9), loss


def rmsprop():
    return build(), keras.optimizers.RMSprop(0.01, rho=0.9, epsilon=1e-8), loss


def regression():
    return build(), keras.optimizers.SGD(0.05), keras.losses.MeanSquaredError()

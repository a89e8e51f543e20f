"""A convolutional classifier, in Keras."""

import keras
from keras import layers


def build():
    inputs = keras.Input((20, 27, 3))
    x = layers.Rescaling(1 / 0.22, offset=-0.45 / 0.22)(inputs)
    x = layers.Conv2D(8, 5, padding="same", name="conv1")(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name="bn1")(x)
    x = layers.ReLU()(x)
    x = layers.MaxPooling2D(2)(x)
    x = layers.Conv2D(12, 3, strides=2, padding="same", name="conv2")(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name="bn2")(x)
    x = layers.LeakyReLU(negative_slope=0.2)(x)
    x = layers.Conv2D(
        10, 3, dilation_rate=2, padding="same", activation="elu", name="conv3"
    )(x)
    x = layers.AveragePooling2D(3, strides=2, padding="same")(x)
    x = layers.Permute((3, 1, 2))(x)
    x = layers.Flatten()(x)
    x = layers.Dense(16, activation="relu", name="fc1")(x)
    x = layers.Dropout(0.4)(x)
    return keras.Model(inputs, layers.Dense(5, name="fc2")(x))

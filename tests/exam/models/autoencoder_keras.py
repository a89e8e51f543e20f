"""An autoencoder of images, in Keras."""

import keras
from keras import layers


def build():
    inputs = keras.Input((12, 20, 2))
    x = layers.ZeroPadding2D(1)(inputs)
    x = layers.Conv2D(8, 4, strides=2, activation="softplus", name="down1")(x)
    x = layers.Conv2D(12, 2, strides=2, name="down2")(x)
    x = layers.GroupNormalization(-1, epsilon=1e-5, name="norm")(x)
    x = layers.Activation("relu")(x)
    x = layers.Conv2DTranspose(9, 4, strides=2, padding="same", name="up1")(x)
    x = layers.ReLU(max_value=6)(x)
    x = layers.Conv2DTranspose(6, 3, strides=2, name="up2")(x)
    x = layers.Cropping2D(((1, 0), (1, 0)))(x)
    x = layers.Activation("tanh")(x)
    x = layers.UpSampling2D(2)(x)
    x = layers.Conv2D(5, 3, padding="same", activation="selu", name="smooth")(x)
    x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    x = layers.Conv2D(2, 3, padding="same", activation="sigmoid", name="out")(x)
    return keras.Model(inputs, x)

"""A residual network with group norm, for images of any size, in Keras."""

import keras
from keras import layers


class Block(layers.Layer):
    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.norm1 = layers.GroupNormalization(4, epsilon=1e-5, name="norm1")
        self.conv1 = layers.Conv2D(
            width, 3, padding="same", use_bias=False, name="conv1"
        )
        self.norm2 = layers.GroupNormalization(4, epsilon=1e-5, name="norm2")
        self.conv2 = layers.Conv2D(width, 3, padding="same", name="conv2")

    def call(self, x):
        y = self.conv1(keras.activations.silu(self.norm1(x)))
        y = self.conv2(keras.activations.silu(self.norm2(y)))
        return x + y


class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.edge = layers.ZeroPadding2D(2)
        self.stem = layers.Conv2D(12, 5, strides=2, name="stem")
        self.pool = layers.MaxPooling2D(3, strides=2, padding="same")
        self.block1 = Block(12, name="block1")
        self.block2 = Block(12, name="block2")
        self.wide = layers.Conv2D(18, 3, padding="same", groups=3, name="wide")
        self.pool2 = layers.AveragePooling2D(2)
        self.norm = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name="norm")
        self.mean = layers.GlobalAveragePooling2D()
        self.most = layers.GlobalMaxPooling2D()
        self.join = layers.Concatenate()
        self.head = layers.Dense(4, name="head")

    def call(self, x, training=False):
        x = self.pool(self.stem(self.edge(x)))
        x = self.block2(self.block1(x))
        x = self.norm(self.pool2(self.wide(x)), training=training)
        x = keras.activations.relu(x)
        return self.head(self.join([self.mean(x), self.most(x)]))

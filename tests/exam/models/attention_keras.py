"""Two blocks of a transformer, in Keras."""

import keras
from keras import layers, ops


class Block(layers.Layer):
    def __init__(self, width, heads, **kwargs):
        super().__init__(**kwargs)
        self.norm1 = layers.LayerNormalization(epsilon=1e-5, name="norm1")
        self.attention = layers.MultiHeadAttention(
            heads, width // heads, name="attention"
        )
        self.norm2 = layers.LayerNormalization(epsilon=1e-5, name="norm2")
        self.wide = layers.Dense(20, activation="gelu", name="wide")
        self.narrow = layers.Dense(width, name="narrow")

    def call(self, x):
        y = self.norm1(x)
        y = self.attention(y, y, use_causal_mask=True)
        x = x + y
        y = self.wide(self.norm2(x))
        return x + self.narrow(y)


class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.embedding = layers.Embedding(45, 12, name="embedding")
        self.block1 = Block(12, 3, name="block1")
        self.block2 = Block(12, 3, name="block2")
        self.norm = layers.LayerNormalization(epsilon=1e-5, name="norm")
        self.fc = layers.Dense(5, name="fc")

    def call(self, tokens):
        x = self.embedding(tokens) * 12**0.5
        x = self.block2(self.block1(x))
        x = ops.mean(self.norm(x), axis=1)
        return ops.softmax(self.fc(x), axis=-1)

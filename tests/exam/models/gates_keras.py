"""A GRU in two layers, the second in both directions, in Keras."""

import keras
from keras import layers, ops


class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.embedding = layers.Embedding(40, 8, name="embedding")
        self.gru1 = layers.GRU(7, return_sequences=True, name="gru1")
        self.gru2 = layers.Bidirectional(
            layers.GRU(5, return_sequences=True), name="gru2"
        )
        self.fc = layers.Dense(4, name="fc")

    def call(self, tokens):
        x = self.embedding(tokens)
        x = self.gru1(x)
        x = self.gru2(x)
        return ops.log_softmax(self.fc(ops.mean(x, axis=1)), axis=-1)

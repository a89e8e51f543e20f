"""A recurrent classifier of texts, in Keras."""

import keras
from keras import layers


def build():
    tokens = keras.Input((None,), dtype="int32")
    x = layers.Embedding(50, 9, name="embedding")(tokens)
    x = layers.LSTM(7, return_sequences=True, name="lstm")(x)
    x = layers.Dropout(0.3)(x)
    x = layers.SimpleRNN(6, return_sequences=True, name="rnn")(x)
    x = x[:, -1]
    return keras.Model(tokens, layers.Dense(3, name="fc")(x))

"""GRU on IMDB reviews, in Keras on TensorFlow.

python imdb_gru_keras_tensorflow.py --data imdb.npz
"""

import argparse
import os

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
from keras import layers, ops

BATCH_SIZE = 64
EPOCHS = 3


# 1. Load the data
def load_data(path):
    """Read words (N x 150 indices) and labels."""
    data = np.load(path)
    return data["x_train"], data["y_train"], data["x_test"], data["y_test"]


# 2. The network
class Embedding(layers.Embedding):
    """Sums the gradients of all occurrences of a word.

    Adam would square those that TensorFlow gives for each of them one by one.
    """

    def call(self, inputs):
        return ops.take(1 * self.embeddings, inputs, axis=0)


def imdb_gru():
    inputs = keras.Input((150,), dtype="int32")
    x = Embedding(30000, 125, name="embedding")(inputs)
    x = layers.GRU(100, recurrent_initializer="glorot_uniform", name="gru")(x)
    x = layers.Dense(2, name="fc")(x)
    return keras.Model(inputs, x)


# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network and its optimizer."""
    keras.utils.set_random_seed(seed)
    model = imdb_gru()
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate=0.001, epsilon=1e-8),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    for weight in model.weights:
        weight.assign(arrays[weight.path])


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    np.savez(path, **{weight.path: weight.numpy() for weight in model.weights})


# 4. Train
def batches(x, y, seed):
    """Yield complete batches without end, every epoch in a new random order."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(x))
        for start in range(0, len(x) - BATCH_SIZE + 1, BATCH_SIZE):
            rows = order[start : start + BATCH_SIZE]
            yield x[rows], y[rows]


class Validation(keras.callbacks.Callback):
    """The accuracy on other observations, in the report of every epoch."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def on_epoch_end(self, epoch, logs):
        logs["val_accuracy"] = evaluate(self.model, self.x, self.y)


def train_step(model, x, y):
    """Make one optimizer step on a batch; return its loss."""
    return model.train_on_batch(x, y)


def train(model, x, y, epochs=EPOCHS, seed=0, validation=None, on_step=None):
    """Train for some epochs; print the mean loss of each."""
    callbacks = []
    if validation:
        callbacks.append(Validation(*validation))
    if on_step:
        # Keras gives the mean of the epoch so far.
        report = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda step, logs: on_step(logs["loss"])
        )
        callbacks.append(report)
    model.fit(
        batches(x, y, seed),
        epochs=epochs,
        steps_per_epoch=len(x) // BATCH_SIZE,
        callbacks=callbacks,
        shuffle=False,
        verbose=2,
    )


# 5. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return model.predict_on_batch(x)


# 6. Evaluate
def evaluate(model, x, y):
    """Share of observations whose highest score is that of their label."""
    scores = model.predict(x, batch_size=BATCH_SIZE, verbose=0)
    return np.mean(scores.argmax(axis=1) == y)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="imdb.npz")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", help="initial weights (.npz)")
    parser.add_argument("--save", help="where to write the trained weights (.npz)")
    args = parser.parse_args()

    x_train, y_train, *test = load_data(args.data)
    model = build(args.seed)
    if args.weights:
        load_weights(model, args.weights)
    train(model, x_train, y_train, args.epochs, args.seed, validation=test)
    if args.save:
        save_weights(model, args.save)


if __name__ == "__main__":
    main()

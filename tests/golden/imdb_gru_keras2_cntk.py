"""GRU on IMDB reviews, in Keras 2 on CNTK.

python imdb_gru_keras2_cntk.py --data imdb.npz
"""

import argparse
import os

os.environ["KERAS_BACKEND"] = "cntk"

import keras
import numpy as np
from keras import backend as K
from keras.callbacks import LambdaCallback
from keras.layers import GRU, Dense, Embedding, Input
from keras.models import Model

BATCH_SIZE = 64
EPOCHS = 3


# 1. Load the data
def load_data(path):
    """Read words (N x 150 indices) and labels."""
    data = np.load(path)
    return data["x_train"], data["y_train"], data["x_test"], data["y_test"]


# 2. The network
def imdb_gru():
    inputs = Input((150,), dtype="int32")
    x = Embedding(30000, 125, name="embedding")(inputs)
    x = GRU(100, recurrent_initializer="glorot_uniform", reset_after=True, name="gru")(
        x
    )
    x = Dense(2, name="fc")(x)
    return Model(inputs, x)


# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network and its optimizer."""
    np.random.seed(seed)
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
        K.set_value(weight, arrays[weight.name])


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    np.savez(path, **{w.name: K.get_value(w) for w in model.weights})


# 4. Train
def batches(x, y, seed):
    """Yield complete batches without end, every epoch in a new random order."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(x))
        for start in range(0, len(x) - BATCH_SIZE + 1, BATCH_SIZE):
            rows = order[start : start + BATCH_SIZE]
            yield x[rows], y[rows]


def train_step(model, x, y):
    """Make one optimizer step on a batch; return its loss."""
    return model.train_on_batch(x, y)


def train(model, x, y, epochs=EPOCHS, seed=0, validation=None, on_step=None):
    """Train for some epochs; print the mean loss of each."""
    callbacks = []
    if on_step:
        report = LambdaCallback(on_batch_end=lambda step, logs: on_step(logs["loss"]))
        callbacks.append(report)
    if validation:
        report = LambdaCallback(
            on_epoch_end=lambda epoch, logs: print(
                f"val_accuracy: {evaluate(model, *validation):.4f}"
            )
        )
        callbacks.append(report)
    model.fit_generator(
        batches(x, y, seed),
        steps_per_epoch=len(x) // BATCH_SIZE,
        epochs=epochs,
        callbacks=callbacks,
        verbose=2,
    )


# 5. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return model.predict_on_batch(x)


# 6. Evaluate
def evaluate(model, x, y):
    """Share of observations whose highest score is that of their label."""
    scores = model.predict(x, batch_size=BATCH_SIZE)
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

"""Convolutional network on MNIST, in Keras on JAX, on several processes.

KERAS_DISTRIBUTION_PROCESS_ID=... python mnist_cnn_keras_jax_parallel.py --data mnist.npz
"""

import argparse
import os

os.environ["KERAS_BACKEND"] = "jax"

import jax
import keras
import numpy as np
from keras import layers

BATCH_SIZE = 128
EPOCHS = 5

keras.distribution.initialize()
parallel = keras.distribution.DataParallel(auto_shard_dataset=False)
keras.distribution.set_distribution(parallel)
RANK, WORKERS = jax.process_index(), jax.process_count()


# 1. Load the data
def load_data(path):
    """Read images (N x 28 x 28 x 1, values from 0 to 1) and labels."""
    data = np.load(path)
    x_train = data["x_train"].reshape(-1, 28, 28, 1).astype(np.float32) / 255
    x_test = data["x_test"].reshape(-1, 28, 28, 1).astype(np.float32) / 255
    return x_train, data["y_train"], x_test, data["y_test"]


# 2. The network
def mnist_cnn():
    inputs = keras.Input((28, 28, 1))
    x = layers.Conv2D(32, 3, activation="relu", name="conv1")(inputs)
    x = layers.Conv2D(64, 3, activation="relu", name="conv2")(x)
    x = layers.MaxPooling2D(2, name="pool")(x)
    x = layers.Dropout(0.25, name="dropout1")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(128, activation="relu", name="fc1")(x)
    x = layers.Dropout(0.5, name="dropout2")(x)
    x = layers.Dense(10, name="fc2")(x)
    return keras.Model(inputs, x)


# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network and its optimizer."""
    keras.utils.set_random_seed(seed)
    model = mnist_cnn()
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
    """Yield this process's batches without end, every epoch in a new random order."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(x))
        for start in range(0, len(x) - BATCH_SIZE + 1, BATCH_SIZE):
            rows = order[start + RANK : start + BATCH_SIZE : WORKERS]
            yield x[rows], y[rows]


class Validation(keras.callbacks.Callback):
    """The accuracy on other observations, in the report of every epoch."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def on_epoch_end(self, epoch, logs):
        logs["val_accuracy"] = evaluate(self.model, self.x, self.y)


def train_step(model, x, y):
    """Make one optimizer step on this process's part of a batch; return its loss."""
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
        verbose=2 if RANK == 0 else 0,
    )


# 5. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return model.predict_on_batch(x)


# 6. Evaluate
def evaluate(model, x, y):
    """Share of observations whose highest score is that of their label."""
    correct = 0
    for start in range(0, len(x), BATCH_SIZE):
        rows = slice(start, start + BATCH_SIZE)
        correct += np.sum(predict(model, x[rows]).argmax(axis=1) == y[rows])
    return correct / len(x)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="mnist.npz")
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
    if args.save and RANK == 0:
        save_weights(model, args.save)


if __name__ == "__main__":
    main()

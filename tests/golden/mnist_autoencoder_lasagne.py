"""Autoencoder on MNIST, in Lasagne.

python mnist_autoencoder_lasagne.py --data mnist.npz
"""

import argparse

import lasagne
import numpy as np
import theano
import theano.tensor as T
from lasagne.layers import DenseLayer, InputLayer, get_all_params, get_output
from lasagne.objectives import squared_error
from lasagne.updates import adam

BATCH_SIZE = 128
EPOCHS = 10
theano.config.floatX = "float32"


# 1. Load the data
def load_data(path):
    """Read images (N x 784, values from 0 to 1); the target is the image itself."""
    data = np.load(path)
    x_train = data["x_train"].reshape(-1, 784).astype(np.float32) / 255
    x_test = data["x_test"].reshape(-1, 784).astype(np.float32) / 255
    return x_train, x_train, x_test, x_test


# 2. The network
def rectify(x):
    """The slope at 0 is 0; that of Lasagne's own is 0.5."""
    return T.maximum(0, x)


def network():
    """The last layer of the network, which knows those before it."""
    x = InputLayer((None, 784))
    x = DenseLayer(x, num_units=256, nonlinearity=rectify, name="fc1")
    x = DenseLayer(x, num_units=2, nonlinearity=rectify, name="fc2")
    x = DenseLayer(x, num_units=256, nonlinearity=rectify, name="fc3")
    return DenseLayer(x, num_units=784, nonlinearity=rectify, name="fc4")


# 3. Loss, optimizer, compiled functions
def build(seed=0):
    """Create the network, and compile what runs and trains it."""
    lasagne.random.set_rng(np.random.RandomState(seed))
    model = network()
    x, y = T.matrix("x"), T.matrix("y")
    model.scores = theano.function([x], get_output(model, x, deterministic=True))
    scores = get_output(model, x)
    loss = squared_error(scores, y).mean()
    parameters = get_all_params(model, trainable=True)
    updates = adam(loss, parameters, learning_rate=0.001)
    step = theano.function([x, y], loss, updates=updates)
    return model, step


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    for parameter in get_all_params(model, trainable=True):
        parameter.set_value(arrays[parameter.name])


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    parameters = get_all_params(model, trainable=True)
    np.savez(path, **{p.name: p.get_value() for p in parameters})


# 4. Train
def batches(count, rng):
    """Yield the rows of each complete batch, in a new random order."""
    order = rng.permutation(count)
    for start in range(0, count - BATCH_SIZE + 1, BATCH_SIZE):
        yield order[start : start + BATCH_SIZE]


def train_step(model, step, x, y):
    """Make one optimizer step on a batch; return its loss."""
    return step(x, y)


def train(model, step, x, y, epochs=EPOCHS, seed=0, validation=None, on_step=None):
    """Train for some epochs; print the mean loss of each."""
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        losses = []
        for rows in batches(len(x), rng):
            losses.append(train_step(model, step, x[rows], y[rows]))
            if on_step:
                on_step(losses[-1])
        report = f"epoch {epoch + 1}: loss {np.mean(losses):.4f}"
        if validation:
            report += f", error {evaluate(model, *validation):.4f}"
        print(report)


# 5. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return model.scores(x)


# 6. Evaluate
def evaluate(model, x, y):
    """Mean squared error."""
    total = 0
    for start in range(0, len(x), BATCH_SIZE):
        rows = slice(start, start + BATCH_SIZE)
        total += np.sum((predict(model, x[rows]) - y[rows]) ** 2)
    return total / y.size


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="mnist.npz")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", help="initial weights (.npz)")
    parser.add_argument("--save", help="where to write the trained weights (.npz)")
    args = parser.parse_args()

    x_train, y_train, *test = load_data(args.data)
    model, step = build(args.seed)
    if args.weights:
        load_weights(model, args.weights)
    train(model, step, x_train, y_train, args.epochs, args.seed, validation=test)
    if args.save:
        save_weights(model, args.save)


if __name__ == "__main__":
    main()

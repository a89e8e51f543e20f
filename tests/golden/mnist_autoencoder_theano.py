"""Autoencoder on MNIST, in Theano.

python mnist_autoencoder_theano.py --data mnist.npz
"""

import argparse

import numpy as np
import theano
import theano.tensor as T
from theano.compile.sharedvalue import SharedVariable

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
def shared(values):
    """A weight: a variable that keeps its value between calls."""
    return theano.shared(np.asarray(values, dtype=theano.config.floatX))


def glorot_uniform(rng, shape):
    """Uniform within sqrt(6 / (fan in + fan out)): the first two axes, times space."""
    limit = np.sqrt(6 / (sum(shape[:2]) * np.prod(shape[2:])))
    return shared(rng.uniform(-limit, limit, shape))


class MnistAutoencoder:
    def __init__(self, rng):
        self.fc1_W = glorot_uniform(rng, (784, 256))
        self.fc1_b = shared(np.zeros(256))
        self.fc2_W = glorot_uniform(rng, (256, 2))
        self.fc2_b = shared(np.zeros(2))
        self.fc3_W = glorot_uniform(rng, (2, 256))
        self.fc3_b = shared(np.zeros(256))
        self.fc4_W = glorot_uniform(rng, (256, 784))
        self.fc4_b = shared(np.zeros(784))

    def __call__(self, x):
        x = T.maximum(0, T.dot(x, self.fc1_W) + self.fc1_b)
        x = T.maximum(0, T.dot(x, self.fc2_W) + self.fc2_b)
        x = T.maximum(0, T.dot(x, self.fc3_W) + self.fc3_b)
        return T.maximum(0, T.dot(x, self.fc4_W) + self.fc4_b)


# 3. Loss, optimizer, compiled functions
def weights(model):
    """The shared variables of the network, by name."""
    return {k: v for k, v in vars(model).items() if isinstance(v, SharedVariable)}


def adam(loss, parameters, rate, beta1=0.9, beta2=0.999, epsilon=1e-8):
    """Steps of m / sqrt(v): running means of the gradient and of its square."""
    t = theano.shared(np.asarray(1, dtype=theano.config.floatX))
    updates = [(t, t + 1)]
    for p, g in zip(parameters, T.grad(loss, parameters)):
        m = theano.shared(np.zeros_like(p.get_value()))
        v = theano.shared(np.zeros_like(p.get_value()))
        new_m = beta1 * m + (1 - beta1) * g
        new_v = beta2 * v + (1 - beta2) * T.sqr(g)
        # Both began at 0, which this makes up for.
        m_hat = new_m / (1 - beta1**t)
        v_hat = new_v / (1 - beta2**t)
        new_p = p - rate * m_hat / (T.sqrt(v_hat) + epsilon)
        updates += [(m, new_m), (v, new_v), (p, new_p)]
    return updates


def build(seed=0):
    """Create the network, and compile what runs and trains it."""
    rng = np.random.RandomState(seed)
    model = MnistAutoencoder(rng)
    x, y = T.matrix("x"), T.matrix("y")
    model.scores = theano.function([x], model(x))
    scores = model(x)
    loss = T.sqr(scores - y).mean()
    parameters = list(weights(model).values())
    updates = adam(loss, parameters, rate=0.001)
    step = theano.function([x, y], loss, updates=updates)
    return model, step


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    for name, variable in weights(model).items():
        variable.set_value(arrays[name])


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    np.savez(path, **{name: v.get_value() for name, v in weights(model).items()})


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

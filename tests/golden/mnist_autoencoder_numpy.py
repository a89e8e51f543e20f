"""Autoencoder on MNIST, in NumPy.

python mnist_autoencoder_numpy.py --data mnist.npz
"""

import argparse

import autograd.numpy as np  # NumPy whose results know their gradients
from autograd import value_and_grad

BATCH_SIZE = 128
EPOCHS = 10


# 1. Load the data
def load_data(path):
    """Read images (N x 784, values from 0 to 1); the target is the image itself."""
    data = np.load(path)
    x_train = data["x_train"].reshape(-1, 784).astype(np.float32) / 255
    x_test = data["x_test"].reshape(-1, 784).astype(np.float32) / 255
    return x_train, x_train, x_test, x_test


# 2. The network
def dense(x, kernel, bias=0):
    """Every output is a weighted sum of all inputs: (N, in) @ (in, out) + (out)."""
    return x @ kernel + bias


def relu(x):
    """Keep what is positive; the rest becomes 0."""
    return x * (x > 0)


def network(w, x):
    """Scores of a batch, by the weights w."""
    x = relu(dense(x, w["fc1.kernel"], w["fc1.bias"]))
    x = relu(dense(x, w["fc2.kernel"], w["fc2.bias"]))
    x = relu(dense(x, w["fc3.kernel"], w["fc3.bias"]))
    return relu(dense(x, w["fc4.kernel"], w["fc4.bias"]))


# 3. Loss, optimizer, initial weights
def mean(x, axis=None, keepdims=False):
    """The mean; unlike that of np.mean, its gradient keeps the precision of x."""
    total = np.sum(x, axis=axis, keepdims=keepdims)
    return total / (x.size // total.size)


def squared_error(values, targets):
    """Mean of the squared differences."""
    return mean((values - targets) ** 2)


def glorot_uniform(rng, shape):
    """Uniform within sqrt(6 / (fan in + fan out)): the last axes are in and out."""
    fans = sum(shape[-2:]) * np.prod(shape[:-2])
    limit = np.sqrt(6 / fans)
    return rng.uniform(-limit, limit, shape)


class Adam:
    """Steps of m / sqrt(v): running means of the gradient and of its square."""

    def __init__(self, w, rate, beta1=0.9, beta2=0.999, epsilon=1e-8):
        self.rate, self.beta1, self.beta2 = rate, beta1, beta2
        self.epsilon = epsilon
        self.t = 0
        self.m = {name: np.zeros_like(w[name]) for name in w}
        self.v = {name: np.zeros_like(w[name]) for name in w}

    def step(self, w, gradient):
        """Move every weight."""
        self.t += 1
        for name, g in gradient.items():
            m = self.m[name] = self.beta1 * self.m[name] + (1 - self.beta1) * g
            v = self.v[name] = self.beta2 * self.v[name] + (1 - self.beta2) * g * g
            # Both began at 0, which this makes up for.
            m_hat = m / (1 - self.beta1**self.t)
            v_hat = v / (1 - self.beta2**self.t)
            w[name] -= self.rate * m_hat / (np.sqrt(v_hat) + self.epsilon)


def build(seed=0):
    """Create the weights, by name, and their optimizer."""
    rng = np.random.default_rng(seed)
    w = {}
    w["fc1.kernel"] = glorot_uniform(rng, (784, 256))
    w["fc1.bias"] = np.zeros(256)
    w["fc2.kernel"] = glorot_uniform(rng, (256, 2))
    w["fc2.bias"] = np.zeros(2)
    w["fc3.kernel"] = glorot_uniform(rng, (2, 256))
    w["fc3.bias"] = np.zeros(256)
    w["fc4.kernel"] = glorot_uniform(rng, (256, 784))
    w["fc4.bias"] = np.zeros(784)
    model = {name: array.astype(np.float32) for name, array in w.items()}
    optimizer = Adam(model, rate=0.001)
    return model, optimizer


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    model.update(np.load(path))


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    np.savez(path, **model)


# 4. Train
def batches(count, rng):
    """Yield the rows of each complete batch, in a new random order."""
    order = rng.permutation(count)
    for start in range(0, count - BATCH_SIZE + 1, BATCH_SIZE):
        yield order[start : start + BATCH_SIZE]


def loss_function(w, x, y):
    """Loss of a batch in training, by the weights w."""
    return squared_error(network(w, x), y)


def train_step(model, optimizer, x, y):
    """Make one optimizer step on a batch; return its loss."""
    loss, gradient = value_and_grad(loss_function)(model, x, y)
    optimizer.step(model, gradient)
    return loss


def train(model, optimizer, x, y, epochs=EPOCHS, seed=0, validation=None, on_step=None):
    """Train for some epochs; print the mean loss of each."""
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        losses = []
        for rows in batches(len(x), rng):
            losses.append(train_step(model, optimizer, x[rows], y[rows]))
            if on_step:
                on_step(losses[-1])
        report = f"epoch {epoch + 1}: loss {np.mean(losses):.4f}"
        if validation:
            report += f", error {evaluate(model, *validation):.4f}"
        print(report)


# 5. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return network(model, x)


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
    model, optimizer = build(args.seed)
    if args.weights:
        load_weights(model, args.weights)
    train(model, optimizer, x_train, y_train, args.epochs, args.seed, validation=test)
    if args.save:
        save_weights(model, args.save)


if __name__ == "__main__":
    main()

"""LSTM over the rows of MNIST, in NumPy.

python mnist_rnn_numpy.py --data mnist.npz
"""

import argparse

import autograd.numpy as np  # NumPy whose results know their gradients
from autograd import value_and_grad
from autograd.tracer import getval

BATCH_SIZE = 128
EPOCHS = 5


# 1. Load the data
def load_data(path):
    """Read rows (N x 28 x 28, values from 0 to 1) and labels."""
    data = np.load(path)
    x_train = data["x_train"].reshape(-1, 28, 28).astype(np.float32) / 255
    x_test = data["x_test"].reshape(-1, 28, 28).astype(np.float32) / 255
    return x_train, data["y_train"], x_test, data["y_test"]


# 2. The network
def part(w, name):
    """The weights of one part of the network, by the names that they have in it."""
    return {k.removeprefix(f"{name}."): w[k] for k in w if k.startswith(f"{name}.")}


def dense(x, kernel, bias=0):
    """Every output is a weighted sum of all inputs: (N, in) @ (in, out) + (out)."""
    return x @ kernel + bias


def dropout(x, rate, noise):
    """In training, drop a share of the values and scale the others up to make up."""
    if noise is None:
        return x
    return x * (noise.random(x.shape) >= rate) / (1 - rate)


def sigmoid(x):
    """1 / (1 + exp(-x)), without an exponential that could overflow."""
    return 0.5 * (np.tanh(0.5 * x) + 1)


def lstm(w, x):
    """Long short-term memory: gates let in, forget and let out what it keeps.

    Reads (N, steps, features) and returns the state after every step.
    """
    given = x @ w["kernel"] + w["bias"]  # of all steps at once
    h = c = np.zeros((len(x), len(w["recurrent"])), x.dtype)
    states = []
    for t in range(x.shape[1]):
        sums = given[:, t] + h @ w["recurrent"]
        i, f, g, o = np.split(sums, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        states.append(h)
    return states


def network(w, x, noise=None):
    """Scores of a batch, by the weights w; noise draws what is dropped in training."""
    x = lstm(part(w, "lstm"), x)[-1]
    x = dropout(x, 0.2, noise)
    return dense(x, w["fc.kernel"], w["fc.bias"])


# 3. Loss, optimizer, initial weights
def mean(x, axis=None, keepdims=False):
    """The mean; unlike that of np.mean, its gradient keeps the precision of x."""
    total = np.sum(x, axis=axis, keepdims=keepdims)
    return total / (x.size // total.size)


def log_softmax(x, axis):
    """Logarithm of the softmax; the largest x is taken out lest exp overflows."""
    x = x - getval(x).max(axis=axis, keepdims=True)
    return x - np.log(np.sum(np.exp(x), axis=axis, keepdims=True))


def cross_entropy(scores, labels):
    """Mean of -log(share of the true label)."""
    return -mean(log_softmax(scores, axis=1)[np.arange(len(labels)), labels])


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
    w["lstm.kernel"] = glorot_uniform(rng, (28, 2048))
    w["lstm.recurrent"] = glorot_uniform(rng, (512, 2048))
    w["lstm.bias"] = np.zeros(2048)
    w["lstm.bias"][512:1024] = 1.0  # the forget gate
    w["fc.kernel"] = glorot_uniform(rng, (512, 10))
    w["fc.bias"] = np.zeros(10)
    model = {name: array.astype(np.float32) for name, array in w.items()}
    optimizer = Adam(model, rate=0.001)
    return model, optimizer, rng


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


def loss_function(w, x, y, noise):
    """Loss of a batch in training, by the weights w."""
    return cross_entropy(network(w, x, noise=noise), y)


def train_step(model, optimizer, noise, x, y):
    """Make one optimizer step on a batch; return its loss."""
    loss, gradient = value_and_grad(loss_function)(model, x, y, noise)
    optimizer.step(model, gradient)
    return loss


def train(
    model, optimizer, noise, x, y, epochs=EPOCHS, seed=0, validation=None, on_step=None
):
    """Train for some epochs; print the mean loss of each."""
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        losses = []
        for rows in batches(len(x), rng):
            losses.append(train_step(model, optimizer, noise, x[rows], y[rows]))
            if on_step:
                on_step(losses[-1])
        report = f"epoch {epoch + 1}: loss {np.mean(losses):.4f}"
        if validation:
            report += f", accuracy {evaluate(model, *validation):.4f}"
        print(report)


# 5. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return network(model, x)


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
    model, optimizer, noise = build(args.seed)
    if args.weights:
        load_weights(model, args.weights)
    train(
        model,
        optimizer,
        noise,
        x_train,
        y_train,
        args.epochs,
        args.seed,
        validation=test,
    )
    if args.save:
        save_weights(model, args.save)


if __name__ == "__main__":
    main()

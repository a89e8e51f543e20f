"""LSTM on IMDB reviews, in Theano.

python imdb_lstm_theano.py --data imdb.npz
"""

import argparse

import numpy as np
import theano
import theano.tensor as T
from theano.compile.sharedvalue import SharedVariable

BATCH_SIZE = 64
EPOCHS = 3
theano.config.floatX = "float32"


# 1. Load the data
def load_data(path):
    """Read words (N x 150 indices) and labels."""
    data = np.load(path)
    return data["x_train"], data["y_train"], data["x_test"], data["y_test"]


# 2. The network
def shared(values):
    """A weight: a variable that keeps its value between calls."""
    return theano.shared(np.asarray(values, dtype=theano.config.floatX))


def glorot_uniform(rng, shape):
    """Uniform within sqrt(6 / (fan in + fan out)): the first two axes, times space."""
    limit = np.sqrt(6 / (sum(shape[:2]) * np.prod(shape[2:])))
    return shared(rng.uniform(-limit, limit, shape))


def gates(x, count):
    """The parts of the last axis that belong to each gate."""
    units = x.shape[-1] // count
    return [x[..., i * units : (i + 1) * units] for i in range(count)]


def lstm(x, W, U, b):
    """Long short-term memory: the states after all steps, (steps, N, units)."""

    def step(x, h, c):
        i, f, g, o = gates(x + T.dot(h, U), 4)
        c = T.nnet.sigmoid(f) * c + T.nnet.sigmoid(i) * T.tanh(g)
        return T.nnet.sigmoid(o) * T.tanh(c), c

    zeros = T.zeros((x.shape[0], U.shape[0]))
    (states, _), _ = theano.scan(
        step,
        sequences=(T.dot(x, W) + b).dimshuffle(1, 0, 2),
        outputs_info=[zeros, zeros],
    )
    return states


class ImdbLstm:
    def __init__(self, rng):
        self.embedding_W = shared(rng.uniform(-0.05, 0.05, (30000, 125)))
        self.lstm_W = glorot_uniform(rng, (125, 400))
        self.lstm_U = glorot_uniform(rng, (100, 400))
        self.lstm_b = shared(np.repeat([0, 1, 0, 0], 100))  # gates i, f, g, o
        self.fc_W = glorot_uniform(rng, (100, 2))
        self.fc_b = shared(np.zeros(2))

    def __call__(self, x):
        x = self.embedding_W[x]
        x = lstm(x, self.lstm_W, self.lstm_U, self.lstm_b)[-1]
        return T.dot(x, self.fc_W) + self.fc_b


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
    model = ImdbLstm(rng)
    x, y = T.lmatrix("x"), T.lvector("y")
    model.scores = theano.function([x], model(x))
    scores = model(x)
    loss = T.nnet.categorical_crossentropy(T.nnet.softmax(scores), y).mean()
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
            report += f", accuracy {evaluate(model, *validation):.4f}"
        print(report)


# 5. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return model.scores(x)


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
    parser.add_argument("--data", default="imdb.npz")
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

"""LSTM on IMDB reviews, in Flax NNX.

python imdb_lstm_flax.py --data imdb.npz
"""

import argparse
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

BATCH_SIZE = 64
EPOCHS = 3


# 1. Load the data
def load_data(path):
    """Read words (N x 150 indices) and labels."""
    data = np.load(path)
    return data["x_train"], data["y_train"], data["x_test"], data["y_test"]


# 2. The network
glorot = nnx.initializers.glorot_uniform()
uniform = partial(jax.random.uniform, minval=-0.05, maxval=0.05)


def lstm_bias(key, shape, dtype, forget=1.0):
    """Zeros, but for the forget gate; the gates lie in the order i, f, g, o."""
    return jnp.repeat(jnp.array([0.0, forget, 0.0, 0.0], dtype), shape[0] // 4)


class ImdbLstm(nnx.Module):
    def __init__(self, *, rngs):
        self.embedding = nnx.Embed(30000, 125, embedding_init=uniform, rngs=rngs)
        self.lstm = nnx.RNN(
            nnx.OptimizedLSTMCell(
                125,
                100,
                kernel_init=glorot,
                recurrent_kernel_init=glorot,
                bias_init=lstm_bias,
                rngs=rngs,
            )
        )
        self.fc = nnx.Linear(100, 2, kernel_init=glorot, rngs=rngs)

    def __call__(self, x):
        x = self.embedding(x)
        x = self.lstm(x)[:, -1]
        return self.fc(x)


# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network and its optimizer."""
    model = ImdbLstm(rngs=nnx.Rngs(seed))
    optimizer = nnx.Optimizer(model, optax.adam(0.001), wrt=nnx.Param)
    return model, optimizer


def named_weights(model):
    """Every weight by its path, joined with dots."""
    weights = nnx.to_flat_state(nnx.state(model, nnx.Param))
    return {".".join(map(str, path)): weight for path, weight in weights}


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    for name, weight in named_weights(model).items():
        weight[...] = arrays[name]


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    np.savez(path, **{name: w[...] for name, w in named_weights(model).items()})


# 4. Train
def batches(count, rng):
    """Yield the rows of each complete batch, in a new random order."""
    order = rng.permutation(count)
    for start in range(0, count - BATCH_SIZE + 1, BATCH_SIZE):
        yield order[start : start + BATCH_SIZE]


@nnx.jit
def train_step(model, optimizer, x, y):
    """Make one optimizer step on a batch; return its loss."""

    def loss_fn(model):
        return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()

    loss, grads = nnx.value_and_grad(loss_fn)(model)
    optimizer.update(model, grads)
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
            report += f", accuracy {evaluate(model, *validation):.4f}"
        print(report)


# 5. Predict
@nnx.jit
def forward(model, x):
    """Scores of a batch, in evaluation mode."""
    return model(x)


def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return np.asarray(forward(model, x))


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
    model, optimizer = build(args.seed)
    if args.weights:
        load_weights(model, args.weights)
    train(model, optimizer, x_train, y_train, args.epochs, args.seed, validation=test)
    if args.save:
        save_weights(model, args.save)


if __name__ == "__main__":
    main()

"""LSTM on IMDB reviews, in Equinox.

python imdb_lstm_equinox.py --data imdb.npz
"""

import argparse

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

BATCH_SIZE = 64
EPOCHS = 3


# 1. Load the data
def load_data(path):
    """Read words (N x 150 indices) and labels."""
    data = np.load(path)
    return data["x_train"], data["y_train"], data["x_test"], data["y_test"]


# 2. The network
def scan_lstm(cell, xs):
    """The output of an LSTM cell after every step."""

    def step(state, x):
        h, c = cell(x, state)
        return (h, c), h

    zeros = jnp.zeros(cell.hidden_size)
    _, outputs = jax.lax.scan(step, (zeros, zeros), xs)
    return outputs


class ImdbLstm(eqx.Module):
    embedding: eqx.nn.Embedding
    lstm: eqx.nn.LSTMCell
    fc: eqx.nn.Linear

    def __init__(self, key):
        key1, key2, key3 = jax.random.split(key, 3)
        self.embedding = eqx.nn.Embedding(30000, 125, key=key1)
        self.lstm = eqx.nn.LSTMCell(125, 100, key=key2)
        self.fc = eqx.nn.Linear(100, 2, key=key3)

    def __call__(self, x):
        x = jax.vmap(self.embedding)(x)
        x = scan_lstm(self.lstm, x)[-1]
        return self.fc(x)


# 3. Loss, optimizer, initial weights
optimizer = optax.adam(0.001)
glorot = jax.nn.initializers.glorot_uniform(in_axis=1, out_axis=0)


def loss_fn(model, x, y):
    """Mean loss of a batch."""
    scores = jax.vmap(model)(x)
    return optax.softmax_cross_entropy_with_integer_labels(scores, y).mean()


def dotted(path):
    """A place in a network as a name: its fields, joined with dots."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def initialize(model, key):
    """Draw the initial weights."""
    arrays, rest = eqx.partition(model, eqx.is_array)
    keys = iter(jax.random.split(key, len(jax.tree.leaves(arrays))))

    def initial(path, array):
        name = dotted(path)
        if name == "embedding.weight":
            return jax.random.uniform(
                next(keys), array.shape, minval=-0.05, maxval=0.05
            )
        if name == "lstm.bias":  # its gates lie in the order i, f, g, o
            return jnp.zeros(array.shape).at[100:200].set(1.0)
        if path[-1].name == "bias":
            return jnp.zeros(array.shape)
        return glorot(next(keys), array.shape)

    return eqx.combine(jax.tree.map_with_path(initial, arrays), rest)


def load_weights(model, path):
    """The network with the named arrays of an .npz file as its weights."""
    stored = np.load(path)
    arrays, rest = eqx.partition(model, eqx.is_array)
    arrays = jax.tree.map_with_path(lambda p, _: jnp.asarray(stored[dotted(p)]), arrays)
    return eqx.combine(arrays, rest)


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    arrays = jax.tree.leaves_with_path(eqx.filter(model, eqx.is_array))
    np.savez(path, **{dotted(p): array for p, array in arrays})


def build(seed=0):
    """Create the network and the state of its optimizer."""
    model_key, weights_key = jax.random.split(jax.random.key(seed))
    model = initialize(ImdbLstm(model_key), weights_key)
    return model, optimizer.init(eqx.filter(model, eqx.is_array))


# 4. Train
def batches(count, rng):
    """Yield the rows of each complete batch, in a new random order."""
    order = rng.permutation(count)
    for start in range(0, count - BATCH_SIZE + 1, BATCH_SIZE):
        yield order[start : start + BATCH_SIZE]


@eqx.filter_jit
def train_step(model, opt_state, x, y):
    """Make one optimizer step on a batch; return the new state and the loss."""
    loss, grads = eqx.filter_value_and_grad(loss_fn)(model, x, y)
    params = eqx.filter(model, eqx.is_array)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    model = eqx.apply_updates(model, updates)
    return model, opt_state, loss


def train(model, opt_state, x, y, epochs=EPOCHS, seed=0, validation=None, on_step=None):
    """Train for some epochs; print the mean loss of each."""
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        losses = []
        for rows in batches(len(x), rng):
            model, opt_state, loss = train_step(model, opt_state, x[rows], y[rows])
            losses.append(loss)
            if on_step:
                on_step(losses[-1])
        report = f"epoch {epoch + 1}: loss {np.mean(losses):.4f}"
        if validation:
            report += f", accuracy {evaluate(model, *validation):.4f}"
        print(report)
    return model, opt_state


# 5. Predict
@eqx.filter_jit
def forward(model, x):
    """Scores of a batch, in evaluation mode."""
    return jax.vmap(model)(x)


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
    model, opt_state = build(args.seed)
    if args.weights:
        model = load_weights(model, args.weights)
    model, *_ = train(
        model, opt_state, x_train, y_train, args.epochs, args.seed, validation=test
    )
    if args.save:
        save_weights(model, args.save)


if __name__ == "__main__":
    main()

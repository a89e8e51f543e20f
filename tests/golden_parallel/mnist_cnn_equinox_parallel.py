"""Convolutional network on MNIST, in Equinox, on several processes.

mpirun -n 2 python mnist_cnn_equinox_parallel.py --data mnist.npz
"""

import argparse

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

BATCH_SIZE = 128
EPOCHS = 5

jax.distributed.initialize()
RANK, WORKERS = jax.process_index(), jax.process_count()
MESH = Mesh(jax.devices(), "rows")
# Every device holds all weights, and its share of the rows of a batch.
jax.set_mesh(MESH)
ROWS = NamedSharding(MESH, PartitionSpec("rows"))


# 1. Load the data
def load_data(path):
    """Read images (N x 1 x 28 x 28, values from 0 to 1) and labels."""
    data = np.load(path)
    x_train = data["x_train"].astype(np.float32) / 255
    x_test = data["x_test"].astype(np.float32) / 255
    return x_train, data["y_train"], x_test, data["y_test"]


# 2. The network
def split_key(key, count):
    """A key for each random part of a network; none outside training."""
    return [None] * count if key is None else jax.random.split(key, count)


class MnistCnn(eqx.Module):
    conv1: eqx.nn.Conv2d
    conv2: eqx.nn.Conv2d
    pool: eqx.nn.MaxPool2d
    dropout1: eqx.nn.Dropout
    fc1: eqx.nn.Linear
    dropout2: eqx.nn.Dropout
    fc2: eqx.nn.Linear

    def __init__(self, key):
        key1, key2, key3, key4 = jax.random.split(key, 4)
        self.conv1 = eqx.nn.Conv2d(1, 32, 3, key=key1)
        self.conv2 = eqx.nn.Conv2d(32, 64, 3, key=key2)
        self.pool = eqx.nn.MaxPool2d(2, stride=2)
        self.dropout1 = eqx.nn.Dropout(0.25)
        self.fc1 = eqx.nn.Linear(9216, 128, key=key3)
        self.dropout2 = eqx.nn.Dropout(0.5)
        self.fc2 = eqx.nn.Linear(128, 10, key=key4)

    def __call__(self, x, key=None):
        key1, key2 = split_key(key, 2)
        x = jax.nn.relu(self.conv1(x))
        x = jax.nn.relu(self.conv2(x))
        x = self.pool(x)
        x = self.dropout1(x, key=key1)
        x = jnp.ravel(x)
        x = jax.nn.relu(self.fc1(x))
        x = self.dropout2(x, key=key2)
        return self.fc2(x)


# 3. Loss, optimizer, initial weights
optimizer = optax.adam(0.001)
glorot = jax.nn.initializers.glorot_uniform(in_axis=1, out_axis=0)


def loss_fn(model, x, y, key):
    """Mean loss of a batch."""
    keys = jax.random.split(key, len(x))
    scores = jax.vmap(model)(x, keys)
    return optax.softmax_cross_entropy_with_integer_labels(scores, y).mean()


def dotted(path):
    """A place in a network as a name: its fields, joined with dots."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def initialize(model, key):
    """Draw the initial weights."""
    arrays, rest = eqx.partition(model, eqx.is_array)
    keys = iter(jax.random.split(key, len(jax.tree.leaves(arrays))))

    def initial(path, array):
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
    """Create the network, the state of its optimizer and a random key."""
    model_key, weights_key, key = jax.random.split(jax.random.key(seed), 3)
    model = initialize(MnistCnn(model_key), weights_key)
    return model, optimizer.init(eqx.filter(model, eqx.is_array)), key


# 4. Train
def batches(count, rng):
    """Yield this process's rows of each complete batch, in a new random order."""
    order = rng.permutation(count)
    for start in range(0, count - BATCH_SIZE + 1, BATCH_SIZE):
        yield order[start + RANK : start + BATCH_SIZE : WORKERS]


@eqx.filter_jit
def update(model, opt_state, key, x, y):
    """Make one optimizer step on a batch; return the new state and the loss."""
    key, dropout_key = jax.random.split(key)
    loss, grads = eqx.filter_value_and_grad(loss_fn)(model, x, y, dropout_key)
    params = eqx.filter(model, eqx.is_array)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    model = eqx.apply_updates(model, updates)
    return model, opt_state, key, loss


def train_step(model, opt_state, key, x, y):
    """Make one optimizer step; x and y are this process's share."""
    x = jax.make_array_from_process_local_data(ROWS, x)
    y = jax.make_array_from_process_local_data(ROWS, y)
    return update(model, opt_state, key, x, y)


def train(
    model, opt_state, key, x, y, epochs=EPOCHS, seed=0, validation=None, on_step=None
):
    """Train for some epochs; print the mean loss of each."""
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        losses = []
        for rows in batches(len(x), rng):
            model, opt_state, key, loss = train_step(
                model, opt_state, key, x[rows], y[rows]
            )
            losses.append(loss)
            if on_step:
                on_step(losses[-1])
        report = f"epoch {epoch + 1}: loss {np.mean(losses):.4f}"
        if validation:
            report += f", accuracy {evaluate(model, *validation):.4f}"
        if RANK == 0:
            print(report)
    return model, opt_state, key


# 5. Predict
@eqx.filter_jit
def forward(model, x):
    """Scores of a batch, in evaluation mode."""
    return jax.vmap(eqx.nn.inference_mode(model))(x)


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
    parser.add_argument("--data", default="mnist.npz")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", help="initial weights (.npz)")
    parser.add_argument("--save", help="where to write the trained weights (.npz)")
    args = parser.parse_args()

    x_train, y_train, *test = load_data(args.data)
    model, opt_state, key = build(args.seed)
    if args.weights:
        model = load_weights(model, args.weights)
    model, *_ = train(
        model, opt_state, key, x_train, y_train, args.epochs, args.seed, validation=test
    )
    if args.save and RANK == 0:
        save_weights(model, args.save)


if __name__ == "__main__":
    main()

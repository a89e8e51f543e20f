"""Convolutional network on MNIST, in Flax NNX, on several processes.

mpirun -n 2 python mnist_cnn_flax_parallel.py --data mnist.npz
"""

import argparse

import jax
import numpy as np
import optax
from flax import nnx
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
    """Read images (N x 28 x 28 x 1, values from 0 to 1) and labels."""
    data = np.load(path)
    x_train = data["x_train"].reshape(-1, 28, 28, 1).astype(np.float32) / 255
    x_test = data["x_test"].reshape(-1, 28, 28, 1).astype(np.float32) / 255
    return x_train, data["y_train"], x_test, data["y_test"]


# 2. The network
glorot = nnx.initializers.glorot_uniform()


class MnistCnn(nnx.Module):
    def __init__(self, *, rngs):
        self.conv1 = nnx.Conv(
            1, 32, (3, 3), padding="VALID", kernel_init=glorot, rngs=rngs
        )
        self.conv2 = nnx.Conv(
            32, 64, (3, 3), padding="VALID", kernel_init=glorot, rngs=rngs
        )
        self.dropout1 = nnx.Dropout(0.25, rngs=rngs)
        self.fc1 = nnx.Linear(9216, 128, kernel_init=glorot, rngs=rngs)
        self.dropout2 = nnx.Dropout(0.5, rngs=rngs)
        self.fc2 = nnx.Linear(128, 10, kernel_init=glorot, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.conv1(x))
        x = nnx.relu(self.conv2(x))
        x = nnx.max_pool(x, (2, 2), strides=(2, 2))
        x = self.dropout1(x)
        x = x.reshape(x.shape[0], -1)
        x = nnx.relu(self.fc1(x))
        x = self.dropout2(x)
        return self.fc2(x)


# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network and its optimizer."""
    model = MnistCnn(rngs=nnx.Rngs(seed))
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
    """Yield this process's rows of each complete batch, in a new random order."""
    order = rng.permutation(count)
    for start in range(0, count - BATCH_SIZE + 1, BATCH_SIZE):
        yield order[start + RANK : start + BATCH_SIZE : WORKERS]


@nnx.jit
def update(model, optimizer, x, y):
    """Make one optimizer step on a batch; return its loss."""

    def loss_fn(model):
        scores = nnx.view(model, deterministic=False)(x)
        return optax.softmax_cross_entropy_with_integer_labels(scores, y).mean()

    loss, grads = nnx.value_and_grad(loss_fn)(model)
    optimizer.update(model, grads)
    return loss


def train_step(model, optimizer, x, y):
    """Make one optimizer step; x and y are this process's share."""
    x = jax.make_array_from_process_local_data(ROWS, x)
    y = jax.make_array_from_process_local_data(ROWS, y)
    return update(model, optimizer, x, y)


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
        if RANK == 0:
            print(report)


# 5. Predict
@nnx.jit
def forward(model, x):
    """Scores of a batch, in evaluation mode."""
    return nnx.view(model, deterministic=True)(x)


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
    model, optimizer = build(args.seed)
    if args.weights:
        load_weights(model, args.weights)
    train(model, optimizer, x_train, y_train, args.epochs, args.seed, validation=test)
    if args.save and RANK == 0:
        save_weights(model, args.save)


if __name__ == "__main__":
    main()

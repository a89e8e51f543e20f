"""Convolutional network on MNIST, in JAX, on several processes.

mpirun -n 2 python mnist_cnn_jax_parallel.py --data mnist.npz
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
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
def dense(params, x):
    """Every output is a weighted sum of all inputs."""
    return x @ params["kernel"] + params["bias"]


def conv(params, x, padding="SAME"):
    """Convolution of images N x H x W x C; the kernel is H x W x in x out."""
    y = lax.conv_general_dilated(
        x, params["kernel"], (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return y + params["bias"]


def max_pool(x, window, strides):
    """The largest value that each window sees."""
    sizes, steps = (1, *window, 1), (1, *strides, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, sizes, steps, "VALID")


def split_key(key, count):
    """A key for each random part of a network; none outside training."""
    return [None] * count if key is None else jax.random.split(key, count)


def dropout(x, rate, key):
    """Drop a share of the values and scale the others up; without a key, nothing."""
    if key is None:
        return x
    keep = jax.random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(keep, x / (1 - rate), 0)


@jax.jit
def network(params, x, key=None):
    """Scores of a batch; the key draws what is dropped in training."""
    key1, key2 = split_key(key, 2)
    x = jax.nn.relu(conv(params["conv1"], x, padding="VALID"))
    x = jax.nn.relu(conv(params["conv2"], x, padding="VALID"))
    x = max_pool(x, (2, 2), (2, 2))
    x = dropout(x, 0.25, key1)
    x = x.reshape(x.shape[0], -1)
    x = jax.nn.relu(dense(params["fc1"], x))
    x = dropout(x, 0.5, key2)
    return dense(params["fc2"], x)


# 3. Loss, optimizer, initial weights
optimizer = optax.adam(0.001)
glorot = jax.nn.initializers.glorot_uniform()


def loss_fn(params, x, y, key):
    """Mean loss of a batch."""
    scores = network(params, x, key=key)
    return optax.softmax_cross_entropy_with_integer_labels(scores, y).mean()


def init_layer(key, *shape):
    """Weights of a dense layer or a convolution; the last axes are in and out."""
    return {"kernel": glorot(key, shape), "bias": jnp.zeros(shape[-1])}


def init(key):
    """Initial parameters, by layer."""
    keys = iter(jax.random.split(key, 4))
    return {
        "conv1": init_layer(next(keys), 3, 3, 1, 32),
        "conv2": init_layer(next(keys), 3, 3, 32, 64),
        "fc1": init_layer(next(keys), 9216, 128),
        "fc2": init_layer(next(keys), 128, 10),
    }


def build(seed=0):
    """Create the parameters, the state of their optimizer and a random key."""
    init_key, key = jax.random.split(jax.random.key(seed))
    model = init(init_key)
    return model, optimizer.init(model), key


def dotted(path):
    """A place in the tree of parameters as a name: its keys, joined with dots."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def load_weights(model, path):
    """The parameters with the named arrays of an .npz file as their values."""
    arrays = np.load(path)
    return jax.tree.map_with_path(lambda p, _: jnp.asarray(arrays[dotted(p)]), model)


def save_weights(model, path):
    """Write the parameters as named arrays of an .npz file."""
    np.savez(path, **{dotted(p): w for p, w in jax.tree.leaves_with_path(model)})


# 4. Train
def batches(count, rng):
    """Yield this process's rows of each complete batch, in a new random order."""
    order = rng.permutation(count)
    for start in range(0, count - BATCH_SIZE + 1, BATCH_SIZE):
        yield order[start + RANK : start + BATCH_SIZE : WORKERS]


@jax.jit
def update(model, opt_state, key, x, y):
    """Make one optimizer step on a batch; return the new state and the loss."""
    key, dropout_key = jax.random.split(key)
    loss, grads = jax.value_and_grad(loss_fn)(model, x, y, dropout_key)
    updates, opt_state = optimizer.update(grads, opt_state, model)
    return optax.apply_updates(model, updates), opt_state, key, loss


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
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return np.asarray(network(model, x))


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

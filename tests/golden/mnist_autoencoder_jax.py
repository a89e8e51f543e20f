"""Autoencoder on MNIST, in JAX.

python mnist_autoencoder_jax.py --data mnist.npz
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import optax

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
def dense(params, x):
    """Every output is a weighted sum of all inputs."""
    return x @ params["kernel"] + params["bias"]


@jax.jit
def network(params, x):
    """Scores of a batch."""
    x = jax.nn.relu(dense(params["fc1"], x))
    x = jax.nn.relu(dense(params["fc2"], x))
    x = jax.nn.relu(dense(params["fc3"], x))
    return jax.nn.relu(dense(params["fc4"], x))


# 3. Loss, optimizer, initial weights
optimizer = optax.adam(0.001)
glorot = jax.nn.initializers.glorot_uniform()


def loss_fn(params, x, y):
    """Mean loss of a batch."""
    scores = network(params, x)
    return optax.squared_error(scores, y).mean()


def init_layer(key, *shape):
    """Weights of a dense layer or a convolution; the last axes are in and out."""
    return {"kernel": glorot(key, shape), "bias": jnp.zeros(shape[-1])}


def init(key):
    """Initial parameters, by layer."""
    keys = iter(jax.random.split(key, 4))
    return {
        "fc1": init_layer(next(keys), 784, 256),
        "fc2": init_layer(next(keys), 256, 2),
        "fc3": init_layer(next(keys), 2, 256),
        "fc4": init_layer(next(keys), 256, 784),
    }


def build(seed=0):
    """Create the parameters and the state of their optimizer."""
    model = init(jax.random.key(seed))
    return model, optimizer.init(model)


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
    """Yield the rows of each complete batch, in a new random order."""
    order = rng.permutation(count)
    for start in range(0, count - BATCH_SIZE + 1, BATCH_SIZE):
        yield order[start : start + BATCH_SIZE]


@jax.jit
def train_step(model, opt_state, x, y):
    """Make one optimizer step on a batch; return the new state and the loss."""
    loss, grads = jax.value_and_grad(loss_fn)(model, x, y)
    updates, opt_state = optimizer.update(grads, opt_state, model)
    return optax.apply_updates(model, updates), opt_state, loss


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
            report += f", error {evaluate(model, *validation):.4f}"
        print(report)
    return model, opt_state


# 5. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return np.asarray(network(model, x))


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

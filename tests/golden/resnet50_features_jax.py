"""ResNet-50 features, in JAX.

python resnet50_features_jax.py --data cifar10.npz
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

BATCH_SIZE = 32


# 1. Load the data
def load_data(path):
    """Read images (N x 224 x 224 x 3, values from 0 to 1)."""
    data = np.load(path)
    x = data["x_test"][:1000].repeat(7, axis=2).repeat(7, axis=3)
    return x.transpose(0, 2, 3, 1).astype(np.float32, order="C") / 255


# 2. The network
def conv(params, x, strides=(1, 1), padding="SAME"):
    """Convolution of images N x H x W x C; the kernel is H x W x in x out."""
    return lax.conv_general_dilated(
        x,
        params["kernel"],
        strides,
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def max_pool(x, window, strides, padding="VALID"):
    """The largest value that each window sees."""
    sizes, steps = (1, *window, 1), (1, *strides, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, sizes, steps, padding)


def batch_norm(params, x, epsilon=1e-5):
    """Bring channels from their mean and variance to 0 and 1; then scale and shift."""
    mean, variance = params["mean"], params["variance"]
    x = jax.nn.standardize(x, mean=mean, variance=variance, epsilon=epsilon)
    return x * params["scale"] + params["shift"]


def projection_bottleneck(params, x, stride):
    """Block ProjectionBottleneck, by its own parameters."""
    y = conv(params["conv1"], x)
    y = jax.nn.relu(batch_norm(params["norm1"], y))
    y = conv(params["conv2"], y, strides=(stride, stride), padding=((1, 1), (1, 1)))
    y = jax.nn.relu(batch_norm(params["norm2"], y))
    y = conv(params["conv3"], y)
    y = batch_norm(params["norm3"], y)
    x = conv(params["project"], x, strides=(stride, stride))
    x = batch_norm(params["project_norm"], x)
    return jax.nn.relu(y + x)


def bottleneck(params, x):
    """Block Bottleneck, by its own parameters."""
    y = conv(params["conv1"], x)
    y = jax.nn.relu(batch_norm(params["norm1"], y))
    y = conv(params["conv2"], y)
    y = jax.nn.relu(batch_norm(params["norm2"], y))
    y = conv(params["conv3"], y)
    y = batch_norm(params["norm3"], y)
    return jax.nn.relu(y + x)


@jax.jit
def network(params, x):
    """Scores of a batch."""
    x = conv(params["conv1"], x, strides=(2, 2), padding=((3, 3), (3, 3)))
    x = jax.nn.relu(batch_norm(params["norm1"], x))
    x = max_pool(x, (3, 3), (2, 2), padding=((0, 0), (1, 1), (1, 1), (0, 0)))
    x = projection_bottleneck(params["stage1_first"], x, stride=1)
    for block in params["stage1"]:
        x = bottleneck(block, x)
    x = projection_bottleneck(params["stage2_first"], x, stride=2)
    for block in params["stage2"]:
        x = bottleneck(block, x)
    x = projection_bottleneck(params["stage3_first"], x, stride=2)
    for block in params["stage3"]:
        x = bottleneck(block, x)
    x = projection_bottleneck(params["stage4_first"], x, stride=2)
    for block in params["stage4"]:
        x = bottleneck(block, x)
    return x.mean(axis=(1, 2))


# 3. Initial weights
glorot = jax.nn.initializers.glorot_uniform()


def init_norm(channels):
    """Weights of a batch norm; mean and variance are running ones."""
    learned = {"scale": jnp.ones(channels), "shift": jnp.zeros(channels)}
    return {**learned, "mean": jnp.zeros(channels), "variance": jnp.ones(channels)}


def init_projection_bottleneck(key, in_channels, channels):
    """Initial parameters of ProjectionBottleneck."""
    keys = iter(jax.random.split(key, 4))
    return {
        "conv1": {"kernel": glorot(next(keys), (1, 1, in_channels, channels))},
        "norm1": init_norm(channels),
        "conv2": {"kernel": glorot(next(keys), (3, 3, channels, channels))},
        "norm2": init_norm(channels),
        "conv3": {"kernel": glorot(next(keys), (1, 1, channels, 4 * channels))},
        "norm3": init_norm(4 * channels),
        "project": {"kernel": glorot(next(keys), (1, 1, in_channels, 4 * channels))},
        "project_norm": init_norm(4 * channels),
    }


def init_bottleneck(key, channels):
    """Initial parameters of Bottleneck."""
    keys = iter(jax.random.split(key, 3))
    return {
        "conv1": {"kernel": glorot(next(keys), (1, 1, 4 * channels, channels))},
        "norm1": init_norm(channels),
        "conv2": {"kernel": glorot(next(keys), (3, 3, channels, channels))},
        "norm2": init_norm(channels),
        "conv3": {"kernel": glorot(next(keys), (1, 1, channels, 4 * channels))},
        "norm3": init_norm(4 * channels),
    }


def init(key):
    """Initial parameters, by layer."""
    keys = iter(jax.random.split(key, 9))
    return {
        "conv1": {"kernel": glorot(next(keys), (7, 7, 3, 64))},
        "norm1": init_norm(64),
        "stage1_first": init_projection_bottleneck(
            next(keys), in_channels=64, channels=64
        ),
        "stage1": [
            init_bottleneck(key, channels=64) for key in jax.random.split(next(keys), 2)
        ],
        "stage2_first": init_projection_bottleneck(
            next(keys), in_channels=256, channels=128
        ),
        "stage2": [
            init_bottleneck(key, channels=128)
            for key in jax.random.split(next(keys), 3)
        ],
        "stage3_first": init_projection_bottleneck(
            next(keys), in_channels=512, channels=256
        ),
        "stage3": [
            init_bottleneck(key, channels=256)
            for key in jax.random.split(next(keys), 5)
        ],
        "stage4_first": init_projection_bottleneck(
            next(keys), in_channels=1024, channels=512
        ),
        "stage4": [
            init_bottleneck(key, channels=512)
            for key in jax.random.split(next(keys), 2)
        ],
    }


def build(seed=0):
    """Create the parameters."""
    return init(jax.random.key(seed))


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


# 4. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return np.asarray(network(model, x))


# 5. All observations
def extract(model, x):
    """Features of all observations, batch by batch."""
    starts = range(0, len(x), BATCH_SIZE)
    return np.concatenate([predict(model, x[i : i + BATCH_SIZE]) for i in starts])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="cifar10.npz")
    parser.add_argument("--weights", help="weights (.npz)")
    parser.add_argument("--save", default="features.npy")
    args = parser.parse_args()

    x = load_data(args.data)
    model = build()
    if args.weights:
        model = load_weights(model, args.weights)
    start = time.perf_counter()
    features = extract(model, x)
    print(f"{len(x)} observations in {time.perf_counter() - start:.2f} seconds")
    np.save(args.save, features)


if __name__ == "__main__":
    main()

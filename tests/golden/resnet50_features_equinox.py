"""ResNet-50 features, in Equinox.

python resnet50_features_equinox.py --data cifar10.npz
"""

import argparse
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

BATCH_SIZE = 32


# 1. Load the data
def load_data(path):
    """Read images (N x 3 x 224 x 224, values from 0 to 1)."""
    data = np.load(path)
    x = data["x_test"][:1000].repeat(7, axis=2).repeat(7, axis=3)
    return x.astype(np.float32) / 255


# 2. The network
class ProjectionBottleneck(eqx.Module):
    conv1: eqx.nn.Conv2d
    norm1: eqx.nn.BatchNorm
    conv2: eqx.nn.Conv2d
    norm2: eqx.nn.BatchNorm
    conv3: eqx.nn.Conv2d
    norm3: eqx.nn.BatchNorm
    project: eqx.nn.Conv2d
    project_norm: eqx.nn.BatchNorm

    def __init__(self, in_channels, channels, stride, *, key):
        key1, key2, key3, key4 = jax.random.split(key, 4)
        self.conv1 = eqx.nn.Conv2d(in_channels, channels, 1, use_bias=False, key=key1)
        self.norm1 = eqx.nn.BatchNorm(channels, "batch", momentum=0.9, mode="batch")
        self.conv2 = eqx.nn.Conv2d(
            channels, channels, 3, stride=stride, padding=1, use_bias=False, key=key2
        )
        self.norm2 = eqx.nn.BatchNorm(channels, "batch", momentum=0.9, mode="batch")
        self.conv3 = eqx.nn.Conv2d(channels, 4 * channels, 1, use_bias=False, key=key3)
        self.norm3 = eqx.nn.BatchNorm(4 * channels, "batch", momentum=0.9, mode="batch")
        self.project = eqx.nn.Conv2d(
            in_channels, 4 * channels, 1, stride=stride, use_bias=False, key=key4
        )
        self.project_norm = eqx.nn.BatchNorm(
            4 * channels, "batch", momentum=0.9, mode="batch"
        )

    def __call__(self, x, state):
        y = self.conv1(x)
        y, state = self.norm1(y, state)
        y = jax.nn.relu(y)
        y = self.conv2(y)
        y, state = self.norm2(y, state)
        y = jax.nn.relu(y)
        y = self.conv3(y)
        y, state = self.norm3(y, state)
        x = self.project(x)
        x, state = self.project_norm(x, state)
        y = jax.nn.relu(y + x)
        return y, state


class Bottleneck(eqx.Module):
    conv1: eqx.nn.Conv2d
    norm1: eqx.nn.BatchNorm
    conv2: eqx.nn.Conv2d
    norm2: eqx.nn.BatchNorm
    conv3: eqx.nn.Conv2d
    norm3: eqx.nn.BatchNorm

    def __init__(self, channels, *, key):
        key1, key2, key3 = jax.random.split(key, 3)
        self.conv1 = eqx.nn.Conv2d(4 * channels, channels, 1, use_bias=False, key=key1)
        self.norm1 = eqx.nn.BatchNorm(channels, "batch", momentum=0.9, mode="batch")
        self.conv2 = eqx.nn.Conv2d(
            channels, channels, 3, padding=1, use_bias=False, key=key2
        )
        self.norm2 = eqx.nn.BatchNorm(channels, "batch", momentum=0.9, mode="batch")
        self.conv3 = eqx.nn.Conv2d(channels, 4 * channels, 1, use_bias=False, key=key3)
        self.norm3 = eqx.nn.BatchNorm(4 * channels, "batch", momentum=0.9, mode="batch")

    def __call__(self, x, state):
        y = self.conv1(x)
        y, state = self.norm1(y, state)
        y = jax.nn.relu(y)
        y = self.conv2(y)
        y, state = self.norm2(y, state)
        y = jax.nn.relu(y)
        y = self.conv3(y)
        y, state = self.norm3(y, state)
        y = jax.nn.relu(y + x)
        return y, state


class Resnet50Features(eqx.Module):
    conv1: eqx.nn.Conv2d
    norm1: eqx.nn.BatchNorm
    pool1: eqx.nn.MaxPool2d
    stage1_first: ProjectionBottleneck
    stage1: list
    stage2_first: ProjectionBottleneck
    stage2: list
    stage3_first: ProjectionBottleneck
    stage3: list
    stage4_first: ProjectionBottleneck
    stage4: list

    def __init__(self, key):
        keys = jax.random.split(key, 9)
        self.conv1 = eqx.nn.Conv2d(
            3, 64, 7, stride=2, padding=3, use_bias=False, key=keys[0]
        )
        self.norm1 = eqx.nn.BatchNorm(64, "batch", momentum=0.9, mode="batch")
        self.pool1 = eqx.nn.MaxPool2d(3, stride=2, padding=1)
        self.stage1_first = ProjectionBottleneck(
            in_channels=64, channels=64, stride=1, key=keys[1]
        )
        self.stage1 = [
            Bottleneck(channels=64, key=key) for key in jax.random.split(keys[2], 2)
        ]
        self.stage2_first = ProjectionBottleneck(
            in_channels=256, channels=128, stride=2, key=keys[3]
        )
        self.stage2 = [
            Bottleneck(channels=128, key=key) for key in jax.random.split(keys[4], 3)
        ]
        self.stage3_first = ProjectionBottleneck(
            in_channels=512, channels=256, stride=2, key=keys[5]
        )
        self.stage3 = [
            Bottleneck(channels=256, key=key) for key in jax.random.split(keys[6], 5)
        ]
        self.stage4_first = ProjectionBottleneck(
            in_channels=1024, channels=512, stride=2, key=keys[7]
        )
        self.stage4 = [
            Bottleneck(channels=512, key=key) for key in jax.random.split(keys[8], 2)
        ]

    def __call__(self, x, state):
        x = self.conv1(x)
        x, state = self.norm1(x, state)
        x = jax.nn.relu(x)
        x = self.pool1(x)
        x, state = self.stage1_first(x, state)
        for block in self.stage1:
            x, state = block(x, state)
        x, state = self.stage2_first(x, state)
        for block in self.stage2:
            x, state = block(x, state)
        x, state = self.stage3_first(x, state)
        for block in self.stage3:
            x, state = block(x, state)
        x, state = self.stage4_first(x, state)
        for block in self.stage4:
            x, state = block(x, state)
        x = x.mean(axis=(1, 2))
        return x, state


class Stateful(eqx.Module):
    """A network and the running statistics of its batch norms."""

    network: eqx.Module
    state: eqx.nn.State


# 3. Initial weights
def dotted(path):
    """A place in a network as a name: its fields, joined with dots."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def batch_norms(network):
    """The batch norms of a network, by their places in it."""

    def is_norm(node):
        return isinstance(node, eqx.nn.BatchNorm)

    nodes = jax.tree.leaves_with_path(network, is_leaf=is_norm)
    return {dotted(path): node for path, node in nodes if is_norm(node)}


def load_weights(model, path):
    """The network with the named arrays of an .npz file as its weights."""
    stored = np.load(path)
    arrays, rest = eqx.partition(model.network, eqx.is_array)
    arrays = jax.tree.map_with_path(lambda p, _: jnp.asarray(stored[dotted(p)]), arrays)
    state = model.state
    for name, norm in batch_norms(model.network).items():
        statistics = (stored[f"{name}.mean"], stored[f"{name}.variance"])
        state = state.set(norm.batch_state_index, statistics)
    return Stateful(eqx.combine(arrays, rest), state)


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    leaves = jax.tree.leaves_with_path(eqx.filter(model.network, eqx.is_array))
    arrays = {dotted(p): array for p, array in leaves}
    for name, norm in batch_norms(model.network).items():
        mean, variance = model.state.get(norm.batch_state_index)
        arrays |= {f"{name}.mean": mean, f"{name}.variance": variance}
    np.savez(path, **arrays)


def build(seed=0):
    """Create the network."""
    return Stateful(*eqx.nn.make_with_state(Resnet50Features)(jax.random.key(seed)))


# 4. Predict
@eqx.filter_jit
def forward(model, x):
    """Scores of a batch, in evaluation mode."""
    network = eqx.nn.inference_mode(model.network)
    batched = jax.vmap(
        network, axis_name="batch", in_axes=(0, None), out_axes=(0, None)
    )
    scores, _ = batched(x, model.state)
    return scores


def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return np.asarray(forward(model, x))


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

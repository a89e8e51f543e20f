"""ResNet-50 features, in NumPy.

python resnet50_features_numpy.py --data cifar10.npz
"""

import argparse
import time

import numpy as np

BATCH_SIZE = 32


# 1. Load the data
def load_data(path):
    """Read images (N x 224 x 224 x 3, values from 0 to 1)."""
    data = np.load(path)
    x = data["x_test"][:1000].repeat(7, axis=2).repeat(7, axis=3)
    return x.transpose(0, 2, 3, 1).astype(np.float32, order="C") / 255


# 2. The network
def part(w, name):
    """The weights of one part of the network, by the names that they have in it."""
    return {k.removeprefix(f"{name}."): w[k] for k in w if k.startswith(f"{name}.")}


def pad(x, padding, value=0):
    """Put a border around images: one width, or (before, after) for each axis."""
    space = np.broadcast_to(padding, (x.ndim - 2, 2)).tolist()
    return np.pad(x, [(0, 0), *space, (0, 0)], "constant", constant_values=value)


def shifts(shape, size, stride):
    """For every place in a window: the place, and what all windows see of x there.

    An image of 5 x 5 has 3 x 3 windows of 3 x 3. At place (0, 1) of theirs, at the top
    and in the middle, they see x[:, 0:3, 1:4].
    """
    axes = len(shape) - 2
    size, stride = np.broadcast_to(size, axes), np.broadcast_to(stride, axes)
    counts = (np.array(shape[1:-1]) - size) // stride + 1
    for place in np.ndindex(*size):
        yield place, (slice(None), *map(slice, place, place + counts * stride, stride))


def slide(x, kernel, stride):
    """Slide a kernel over x: add up, place by place, what it sees times its weights."""
    y = 0
    for place, seen in shifts(x.shape, kernel.shape[:-2], stride):
        y += x[seen] @ kernel[place]
    return y


def conv(x, kernel, bias=0, stride=1, padding=0):
    """Convolution of images (N, H, W, in) with a kernel (H, W, in, out)."""
    if padding:
        x = pad(x, padding)
    return slide(x, kernel, stride) + bias


def max_pool(x, size, stride):
    """The largest value that each window sees."""
    y = -np.inf
    for _, seen in shifts(x.shape, size, stride):
        y = np.maximum(y, x[seen])
    return y


def batch_norm(w, x, epsilon=1e-5):
    """Bring channels from their mean and variance to 0 and 1; then scale and shift."""
    average, variance = w["mean"], w["variance"]
    return (x - average) / np.sqrt(variance + epsilon) * w["scale"] + w["shift"]


def relu(x):
    """Keep what is positive; the rest becomes 0."""
    return x * (x > 0)


def projection_bottleneck(w, x, stride):
    """Block ProjectionBottleneck, by its own weights w."""
    y = conv(x, w["conv1.kernel"])
    y = relu(batch_norm(part(w, "norm1"), y))
    y = conv(y, w["conv2.kernel"], stride=stride, padding=1)
    y = relu(batch_norm(part(w, "norm2"), y))
    y = conv(y, w["conv3.kernel"])
    y = batch_norm(part(w, "norm3"), y)
    x = conv(x, w["project.kernel"], stride=stride)
    x = batch_norm(part(w, "project_norm"), x)
    return relu(y + x)


def bottleneck(w, x):
    """Block Bottleneck, by its own weights w."""
    y = conv(x, w["conv1.kernel"])
    y = relu(batch_norm(part(w, "norm1"), y))
    y = conv(y, w["conv2.kernel"], padding=1)
    y = relu(batch_norm(part(w, "norm2"), y))
    y = conv(y, w["conv3.kernel"])
    y = batch_norm(part(w, "norm3"), y)
    return relu(y + x)


def network(w, x):
    """Scores of a batch, by the weights w."""
    x = conv(x, w["conv1.kernel"], stride=2, padding=3)
    x = relu(batch_norm(part(w, "norm1"), x))
    x = max_pool(pad(x, 1, -np.inf), size=3, stride=2)
    x = projection_bottleneck(part(w, "stage1_first"), x, stride=1)
    for i in range(2):
        x = bottleneck(part(w, f"stage1.{i}"), x)
    x = projection_bottleneck(part(w, "stage2_first"), x, stride=2)
    for i in range(3):
        x = bottleneck(part(w, f"stage2.{i}"), x)
    x = projection_bottleneck(part(w, "stage3_first"), x, stride=2)
    for i in range(5):
        x = bottleneck(part(w, f"stage3.{i}"), x)
    x = projection_bottleneck(part(w, "stage4_first"), x, stride=2)
    for i in range(2):
        x = bottleneck(part(w, f"stage4.{i}"), x)
    return np.mean(x, (1, 2))


# 3. Initial weights
def prefixed(name, w):
    """The weights of a part by the names that they have in the network."""
    return {f"{name}.{k}": array for k, array in w.items()}


def batch_norm_weights(channels):
    """The weights that a batch norm starts with; mean and variance are running ones."""
    learned = {"scale": np.ones(channels), "shift": np.zeros(channels)}
    return {**learned, "mean": np.zeros(channels), "variance": np.ones(channels)}


def glorot_uniform(rng, shape):
    """Uniform within sqrt(6 / (fan in + fan out)): the last axes are in and out."""
    fans = sum(shape[-2:]) * np.prod(shape[:-2])
    limit = np.sqrt(6 / fans)
    return rng.uniform(-limit, limit, shape)


def projection_bottleneck_weights(rng, in_channels, channels):
    """Initial weights of ProjectionBottleneck."""
    w = {}
    w["conv1.kernel"] = glorot_uniform(rng, (1, 1, in_channels, channels))
    w |= prefixed("norm1", batch_norm_weights(channels))
    w["conv2.kernel"] = glorot_uniform(rng, (3, 3, channels, channels))
    w |= prefixed("norm2", batch_norm_weights(channels))
    w["conv3.kernel"] = glorot_uniform(rng, (1, 1, channels, 4 * channels))
    w |= prefixed("norm3", batch_norm_weights(4 * channels))
    w["project.kernel"] = glorot_uniform(rng, (1, 1, in_channels, 4 * channels))
    w |= prefixed("project_norm", batch_norm_weights(4 * channels))
    return w


def bottleneck_weights(rng, channels):
    """Initial weights of Bottleneck."""
    w = {}
    w["conv1.kernel"] = glorot_uniform(rng, (1, 1, 4 * channels, channels))
    w |= prefixed("norm1", batch_norm_weights(channels))
    w["conv2.kernel"] = glorot_uniform(rng, (3, 3, channels, channels))
    w |= prefixed("norm2", batch_norm_weights(channels))
    w["conv3.kernel"] = glorot_uniform(rng, (1, 1, channels, 4 * channels))
    w |= prefixed("norm3", batch_norm_weights(4 * channels))
    return w


def build(seed=0):
    """Create the weights, by name."""
    rng = np.random.default_rng(seed)
    w = {}
    w["conv1.kernel"] = glorot_uniform(rng, (7, 7, 3, 64))
    w |= prefixed("norm1", batch_norm_weights(64))
    w |= prefixed(
        "stage1_first", projection_bottleneck_weights(rng, in_channels=64, channels=64)
    )
    for i in range(2):
        w |= prefixed(f"stage1.{i}", bottleneck_weights(rng, channels=64))
    w |= prefixed(
        "stage2_first",
        projection_bottleneck_weights(rng, in_channels=256, channels=128),
    )
    for i in range(3):
        w |= prefixed(f"stage2.{i}", bottleneck_weights(rng, channels=128))
    w |= prefixed(
        "stage3_first",
        projection_bottleneck_weights(rng, in_channels=512, channels=256),
    )
    for i in range(5):
        w |= prefixed(f"stage3.{i}", bottleneck_weights(rng, channels=256))
    w |= prefixed(
        "stage4_first",
        projection_bottleneck_weights(rng, in_channels=1024, channels=512),
    )
    for i in range(2):
        w |= prefixed(f"stage4.{i}", bottleneck_weights(rng, channels=512))
    return {name: array.astype(np.float32) for name, array in w.items()}


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    model.update(np.load(path))


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    np.savez(path, **model)


# 4. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return network(model, x)


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
        load_weights(model, args.weights)
    start = time.perf_counter()
    features = extract(model, x)
    print(f"{len(x)} observations in {time.perf_counter() - start:.2f} seconds")
    np.save(args.save, features)


if __name__ == "__main__":
    main()

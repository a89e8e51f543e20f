"""ResNet-50 features, in Flax NNX.

python resnet50_features_flax.py --data cifar10.npz
"""

import argparse
import time

import numpy as np
from flax import nnx

BATCH_SIZE = 32


# 1. Load the data
def load_data(path):
    """Read images (N x 224 x 224 x 3, values from 0 to 1)."""
    data = np.load(path)
    x = data["x_test"][:1000].repeat(7, axis=2).repeat(7, axis=3)
    return x.transpose(0, 2, 3, 1).astype(np.float32, order="C") / 255


# 2. The network
class ProjectionBottleneck(nnx.Module):
    def __init__(self, in_channels, channels, stride, *, rngs):
        self.conv1 = nnx.Conv(in_channels, channels, (1, 1), use_bias=False, rngs=rngs)
        self.norm1 = nnx.BatchNorm(channels, momentum=0.9, rngs=rngs)
        self.conv2 = nnx.Conv(
            channels,
            channels,
            (3, 3),
            strides=stride,
            padding=1,
            use_bias=False,
            rngs=rngs,
        )
        self.norm2 = nnx.BatchNorm(channels, momentum=0.9, rngs=rngs)
        self.conv3 = nnx.Conv(channels, 4 * channels, (1, 1), use_bias=False, rngs=rngs)
        self.norm3 = nnx.BatchNorm(4 * channels, momentum=0.9, rngs=rngs)
        self.project = nnx.Conv(
            in_channels, 4 * channels, (1, 1), strides=stride, use_bias=False, rngs=rngs
        )
        self.project_norm = nnx.BatchNorm(4 * channels, momentum=0.9, rngs=rngs)

    def __call__(self, x):
        y = self.conv1(x)
        y = nnx.relu(self.norm1(y))
        y = self.conv2(y)
        y = nnx.relu(self.norm2(y))
        y = self.conv3(y)
        y = self.norm3(y)
        x = self.project(x)
        x = self.project_norm(x)
        return nnx.relu(y + x)


class Bottleneck(nnx.Module):
    def __init__(self, channels, *, rngs):
        self.conv1 = nnx.Conv(4 * channels, channels, (1, 1), use_bias=False, rngs=rngs)
        self.norm1 = nnx.BatchNorm(channels, momentum=0.9, rngs=rngs)
        self.conv2 = nnx.Conv(channels, channels, (3, 3), use_bias=False, rngs=rngs)
        self.norm2 = nnx.BatchNorm(channels, momentum=0.9, rngs=rngs)
        self.conv3 = nnx.Conv(channels, 4 * channels, (1, 1), use_bias=False, rngs=rngs)
        self.norm3 = nnx.BatchNorm(4 * channels, momentum=0.9, rngs=rngs)

    def __call__(self, x):
        y = self.conv1(x)
        y = nnx.relu(self.norm1(y))
        y = self.conv2(y)
        y = nnx.relu(self.norm2(y))
        y = self.conv3(y)
        y = self.norm3(y)
        return nnx.relu(y + x)


class Resnet50Features(nnx.Module):
    def __init__(self, *, rngs):
        self.conv1 = nnx.Conv(
            3, 64, (7, 7), strides=2, padding=3, use_bias=False, rngs=rngs
        )
        self.norm1 = nnx.BatchNorm(64, momentum=0.9, rngs=rngs)
        self.stage1_first = ProjectionBottleneck(
            in_channels=64, channels=64, stride=1, rngs=rngs
        )
        self.stage1 = nnx.Sequential(
            *(Bottleneck(channels=64, rngs=rngs) for _ in range(2))
        )
        self.stage2_first = ProjectionBottleneck(
            in_channels=256, channels=128, stride=2, rngs=rngs
        )
        self.stage2 = nnx.Sequential(
            *(Bottleneck(channels=128, rngs=rngs) for _ in range(3))
        )
        self.stage3_first = ProjectionBottleneck(
            in_channels=512, channels=256, stride=2, rngs=rngs
        )
        self.stage3 = nnx.Sequential(
            *(Bottleneck(channels=256, rngs=rngs) for _ in range(5))
        )
        self.stage4_first = ProjectionBottleneck(
            in_channels=1024, channels=512, stride=2, rngs=rngs
        )
        self.stage4 = nnx.Sequential(
            *(Bottleneck(channels=512, rngs=rngs) for _ in range(2))
        )

    def __call__(self, x):
        x = self.conv1(x)
        x = nnx.relu(self.norm1(x))
        x = nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        x = self.stage1_first(x)
        x = self.stage1(x)
        x = self.stage2_first(x)
        x = self.stage2(x)
        x = self.stage3_first(x)
        x = self.stage3(x)
        x = self.stage4_first(x)
        x = self.stage4(x)
        return x.mean(axis=(1, 2))


# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network."""
    return Resnet50Features(rngs=nnx.Rngs(seed))


def named_weights(model):
    """Every weight by its path, joined with dots."""
    weights = nnx.to_flat_state(nnx.state(model, (nnx.Param, nnx.BatchStat)))
    return {".".join(map(str, path)): weight for path, weight in weights}


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    for name, weight in named_weights(model).items():
        weight[...] = arrays[name]


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    np.savez(path, **{name: w[...] for name, w in named_weights(model).items()})


# 4. Predict
@nnx.jit
def forward(model, x):
    """Scores of a batch, in evaluation mode."""
    return nnx.view(model, use_running_average=True)(x)


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
        load_weights(model, args.weights)
    start = time.perf_counter()
    features = extract(model, x)
    print(f"{len(x)} observations in {time.perf_counter() - start:.2f} seconds")
    np.save(args.save, features)


if __name__ == "__main__":
    main()

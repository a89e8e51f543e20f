"""ResNet-50 features, in MLX.

python resnet50_features_mlx.py --data cifar10.npz
"""

import argparse
import time

import mlx.core as mx
import numpy as np
from mlx import nn
from mlx.utils import tree_flatten

BATCH_SIZE = 32


# 1. Load the data
def load_data(path):
    """Read images (N x 224 x 224 x 3, values from 0 to 1)."""
    data = np.load(path)
    x = data["x_test"][:1000].repeat(7, axis=2).repeat(7, axis=3)
    return x.transpose(0, 2, 3, 1).astype(np.float32, order="C") / 255


# 2. The network
class ProjectionBottleneck(nn.Module):
    def __init__(self, in_channels, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, kernel_size=1, bias=False)
        self.norm1 = nn.BatchNorm(channels)
        self.conv2 = nn.Conv2d(
            channels, channels, kernel_size=3, stride=stride, padding=1, bias=False
        )
        self.norm2 = nn.BatchNorm(channels)
        self.conv3 = nn.Conv2d(channels, 4 * channels, kernel_size=1, bias=False)
        self.norm3 = nn.BatchNorm(4 * channels)
        self.project = nn.Conv2d(
            in_channels, 4 * channels, kernel_size=1, stride=stride, bias=False
        )
        self.project_norm = nn.BatchNorm(4 * channels)

    def __call__(self, x):
        y = self.conv1(x)
        y = nn.relu(self.norm1(y))
        y = self.conv2(y)
        y = nn.relu(self.norm2(y))
        y = self.conv3(y)
        y = self.norm3(y)
        x = self.project(x)
        x = self.project_norm(x)
        return nn.relu(y + x)


class Bottleneck(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(4 * channels, channels, kernel_size=1, bias=False)
        self.norm1 = nn.BatchNorm(channels)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm(channels)
        self.conv3 = nn.Conv2d(channels, 4 * channels, kernel_size=1, bias=False)
        self.norm3 = nn.BatchNorm(4 * channels)

    def __call__(self, x):
        y = self.conv1(x)
        y = nn.relu(self.norm1(y))
        y = self.conv2(y)
        y = nn.relu(self.norm2(y))
        y = self.conv3(y)
        y = self.norm3(y)
        return nn.relu(y + x)


class Resnet50Features(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, kernel_size=7, stride=2, padding=3, bias=False)
        self.norm1 = nn.BatchNorm(64)
        self.pool1 = nn.MaxPool2d(3, stride=2, padding=1)
        self.stage1_first = ProjectionBottleneck(in_channels=64, channels=64, stride=1)
        self.stage1 = [Bottleneck(channels=64) for _ in range(2)]
        self.stage2_first = ProjectionBottleneck(
            in_channels=256, channels=128, stride=2
        )
        self.stage2 = [Bottleneck(channels=128) for _ in range(3)]
        self.stage3_first = ProjectionBottleneck(
            in_channels=512, channels=256, stride=2
        )
        self.stage3 = [Bottleneck(channels=256) for _ in range(5)]
        self.stage4_first = ProjectionBottleneck(
            in_channels=1024, channels=512, stride=2
        )
        self.stage4 = [Bottleneck(channels=512) for _ in range(2)]

    def __call__(self, x):
        x = self.conv1(x)
        x = nn.relu(self.norm1(x))
        x = self.pool1(x)
        x = self.stage1_first(x)
        for block in self.stage1:
            x = block(x)
        x = self.stage2_first(x)
        for block in self.stage2:
            x = block(x)
        x = self.stage3_first(x)
        for block in self.stage3:
            x = block(x)
        x = self.stage4_first(x)
        for block in self.stage4:
            x = block(x)
        return x.mean(axis=(1, 2))


# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network."""
    mx.random.seed(seed)
    return Resnet50Features()


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    model.load_weights(path)


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    np.savez(path, **dict(tree_flatten(model.parameters())))


# 4. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    model.eval()
    return np.array(model(mx.array(x)))


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

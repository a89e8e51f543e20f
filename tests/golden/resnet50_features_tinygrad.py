"""ResNet-50 features, in tinygrad.

python resnet50_features_tinygrad.py --data cifar10.npz
"""

import argparse
import time

import numpy as np
from tinygrad import Tensor, nn

BATCH_SIZE = 32


# 1. Load the data
def load_data(path):
    """Read images (N x 3 x 224 x 224, values from 0 to 1)."""
    data = np.load(path)
    x = data["x_test"][:1000].repeat(7, axis=2).repeat(7, axis=3)
    return x.astype(np.float32) / 255


# 2. The network
class ProjectionBottleneck:
    def __init__(self, in_channels, channels, stride):
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.norm1 = nn.BatchNorm(channels)
        self.conv2 = nn.Conv2d(
            channels, channels, 3, stride=stride, padding=1, bias=False
        )
        self.norm2 = nn.BatchNorm(channels)
        self.conv3 = nn.Conv2d(channels, 4 * channels, 1, bias=False)
        self.norm3 = nn.BatchNorm(4 * channels)
        self.project = nn.Conv2d(
            in_channels, 4 * channels, 1, stride=stride, bias=False
        )
        self.project_norm = nn.BatchNorm(4 * channels)

    def __call__(self, x):
        y = self.conv1(x)
        y = self.norm1(y).relu()
        y = self.conv2(y)
        y = self.norm2(y).relu()
        y = self.conv3(y)
        y = self.norm3(y)
        x = self.project(x)
        x = self.project_norm(x)
        return (y + x).relu()


class Bottleneck:
    def __init__(self, channels):
        self.conv1 = nn.Conv2d(4 * channels, channels, 1, bias=False)
        self.norm1 = nn.BatchNorm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm(channels)
        self.conv3 = nn.Conv2d(channels, 4 * channels, 1, bias=False)
        self.norm3 = nn.BatchNorm(4 * channels)

    def __call__(self, x):
        y = self.conv1(x)
        y = self.norm1(y).relu()
        y = self.conv2(y)
        y = self.norm2(y).relu()
        y = self.conv3(y)
        y = self.norm3(y)
        return (y + x).relu()


class Resnet50Features:
    def __init__(self):
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.norm1 = nn.BatchNorm(64)
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
        x = self.norm1(x).relu()
        x = x.max_pool2d((3, 3), stride=2, padding=1)
        x = self.stage1_first(x)
        x = x.sequential(self.stage1)
        x = self.stage2_first(x)
        x = x.sequential(self.stage2)
        x = self.stage3_first(x)
        x = x.sequential(self.stage3)
        x = self.stage4_first(x)
        x = x.sequential(self.stage4)
        return x.mean((2, 3))


def build(seed=0):
    """Create the network."""
    Tensor.manual_seed(seed)
    return Resnet50Features()


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    weights = {name: Tensor(array) for name, array in np.load(path).items()}
    nn.state.load_state_dict(model, weights, strict=False, verbose=False)


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    weights = nn.state.get_state_dict(model)
    np.savez(path, **{name: weight.numpy() for name, weight in weights.items()})


# 4. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return model(Tensor(x)).numpy()


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

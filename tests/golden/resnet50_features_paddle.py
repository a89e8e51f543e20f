"""ResNet-50 features, in PaddlePaddle.

python resnet50_features_paddle.py --data cifar10.npz
"""

import argparse
import time

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

BATCH_SIZE = 32


# 1. Load the data
def load_data(path):
    """Read images (N x 3 x 224 x 224, values from 0 to 1)."""
    data = np.load(path)
    x = data["x_test"][:1000].repeat(7, axis=2).repeat(7, axis=3)
    return x.astype(np.float32) / 255


# 2. The network
class ProjectionBottleneck(nn.Layer):
    def __init__(self, in_channels, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2D(in_channels, channels, 1, bias_attr=False)
        self.norm1 = nn.BatchNorm2D(channels)
        self.conv2 = nn.Conv2D(
            channels, channels, 3, stride=stride, padding=1, bias_attr=False
        )
        self.norm2 = nn.BatchNorm2D(channels)
        self.conv3 = nn.Conv2D(channels, 4 * channels, 1, bias_attr=False)
        self.norm3 = nn.BatchNorm2D(4 * channels)
        self.project = nn.Conv2D(
            in_channels, 4 * channels, 1, stride=stride, bias_attr=False
        )
        self.project_norm = nn.BatchNorm2D(4 * channels)

    def forward(self, x):
        y = self.conv1(x)
        y = F.relu(self.norm1(y))
        y = self.conv2(y)
        y = F.relu(self.norm2(y))
        y = self.conv3(y)
        y = self.norm3(y)
        x = self.project(x)
        x = self.project_norm(x)
        return F.relu(y + x)


class Bottleneck(nn.Layer):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2D(4 * channels, channels, 1, bias_attr=False)
        self.norm1 = nn.BatchNorm2D(channels)
        self.conv2 = nn.Conv2D(channels, channels, 3, padding=1, bias_attr=False)
        self.norm2 = nn.BatchNorm2D(channels)
        self.conv3 = nn.Conv2D(channels, 4 * channels, 1, bias_attr=False)
        self.norm3 = nn.BatchNorm2D(4 * channels)

    def forward(self, x):
        y = self.conv1(x)
        y = F.relu(self.norm1(y))
        y = self.conv2(y)
        y = F.relu(self.norm2(y))
        y = self.conv3(y)
        y = self.norm3(y)
        return F.relu(y + x)


class Resnet50Features(nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2D(3, 64, 7, stride=2, padding=3, bias_attr=False)
        self.norm1 = nn.BatchNorm2D(64)
        self.stage1_first = ProjectionBottleneck(in_channels=64, channels=64, stride=1)
        self.stage1 = nn.Sequential(*(Bottleneck(channels=64) for _ in range(2)))
        self.stage2_first = ProjectionBottleneck(
            in_channels=256, channels=128, stride=2
        )
        self.stage2 = nn.Sequential(*(Bottleneck(channels=128) for _ in range(3)))
        self.stage3_first = ProjectionBottleneck(
            in_channels=512, channels=256, stride=2
        )
        self.stage3 = nn.Sequential(*(Bottleneck(channels=256) for _ in range(5)))
        self.stage4_first = ProjectionBottleneck(
            in_channels=1024, channels=512, stride=2
        )
        self.stage4 = nn.Sequential(*(Bottleneck(channels=512) for _ in range(2)))

    def forward(self, x):
        x = self.conv1(x)
        x = F.relu(self.norm1(x))
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        x = self.stage1_first(x)
        x = self.stage1(x)
        x = self.stage2_first(x)
        x = self.stage2(x)
        x = self.stage3_first(x)
        x = self.stage3(x)
        x = self.stage4_first(x)
        x = self.stage4(x)
        return x.mean(axis=[2, 3])


# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network."""
    paddle.seed(seed)
    return Resnet50Features()


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    model.set_state_dict(dict(np.load(path)))


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    np.savez(path, **{k: v.numpy() for k, v in model.state_dict().items()})


# 4. Predict
@paddle.no_grad()
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    model.eval()
    return model(paddle.to_tensor(x)).numpy()


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

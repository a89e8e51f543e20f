"""ResNet-50 features, in Chainer.

python resnet50_features_chainer.py --data cifar10.npz
"""

import argparse
import time

import chainer
import chainer.functions as F
import chainer.links as L
import numpy as np

BATCH_SIZE = 32


# 1. Load the data
def load_data(path):
    """Read images (N x 3 x 224 x 224, values from 0 to 1)."""
    data = np.load(path)
    x = data["x_test"][:1000].repeat(7, axis=2).repeat(7, axis=3)
    return x.astype(np.float32) / 255


# 2. The network
class ProjectionBottleneck(chainer.Chain):
    def __init__(self, in_channels, channels, stride):
        super().__init__()
        with self.init_scope():
            self.conv1 = L.Convolution2D(in_channels, channels, ksize=1, nobias=True)
            self.norm1 = L.BatchNormalization(channels, eps=1e-5)
            self.conv2 = L.Convolution2D(
                channels, channels, ksize=3, stride=stride, pad=1, nobias=True
            )
            self.norm2 = L.BatchNormalization(channels, eps=1e-5)
            self.conv3 = L.Convolution2D(channels, 4 * channels, ksize=1, nobias=True)
            self.norm3 = L.BatchNormalization(4 * channels, eps=1e-5)
            self.project = L.Convolution2D(
                in_channels, 4 * channels, ksize=1, stride=stride, nobias=True
            )
            self.project_norm = L.BatchNormalization(4 * channels, eps=1e-5)

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


class Bottleneck(chainer.Chain):
    def __init__(self, channels):
        super().__init__()
        with self.init_scope():
            self.conv1 = L.Convolution2D(4 * channels, channels, ksize=1, nobias=True)
            self.norm1 = L.BatchNormalization(channels, eps=1e-5)
            self.conv2 = L.Convolution2D(
                channels, channels, ksize=3, pad=1, nobias=True
            )
            self.norm2 = L.BatchNormalization(channels, eps=1e-5)
            self.conv3 = L.Convolution2D(channels, 4 * channels, ksize=1, nobias=True)
            self.norm3 = L.BatchNormalization(4 * channels, eps=1e-5)

    def forward(self, x):
        y = self.conv1(x)
        y = F.relu(self.norm1(y))
        y = self.conv2(y)
        y = F.relu(self.norm2(y))
        y = self.conv3(y)
        y = self.norm3(y)
        return F.relu(y + x)


class Resnet50Features(chainer.Chain):
    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.conv1 = L.Convolution2D(3, 64, ksize=7, stride=2, pad=3, nobias=True)
            self.norm1 = L.BatchNormalization(64, eps=1e-5)
            self.stage1_first = ProjectionBottleneck(
                in_channels=64, channels=64, stride=1
            )
            self.stage1 = chainer.ChainList(
                *(Bottleneck(channels=64) for _ in range(2))
            )
            self.stage2_first = ProjectionBottleneck(
                in_channels=256, channels=128, stride=2
            )
            self.stage2 = chainer.ChainList(
                *(Bottleneck(channels=128) for _ in range(3))
            )
            self.stage3_first = ProjectionBottleneck(
                in_channels=512, channels=256, stride=2
            )
            self.stage3 = chainer.ChainList(
                *(Bottleneck(channels=256) for _ in range(5))
            )
            self.stage4_first = ProjectionBottleneck(
                in_channels=1024, channels=512, stride=2
            )
            self.stage4 = chainer.ChainList(
                *(Bottleneck(channels=512) for _ in range(2))
            )

    def forward(self, x):
        x = self.conv1(x)
        x = F.relu(self.norm1(x))
        x = F.max_pooling_2d(x, 3, stride=2, pad=1, cover_all=False)
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
        return F.mean(x, axis=(2, 3))


# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network."""
    np.random.seed(seed)
    return Resnet50Features()


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    chainer.serializers.load_npz(path, model, strict=False)


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    chainer.serializers.save_npz(path, model)


# 4. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    with chainer.using_config("train", False), chainer.no_backprop_mode():
        return model(x).array


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

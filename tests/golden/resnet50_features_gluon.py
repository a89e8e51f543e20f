"""ResNet-50 features, in Gluon.

python resnet50_features_gluon.py --data cifar10.npz
"""

import argparse
import time

import mxnet as mx
import numpy as np
from mxnet import nd
from mxnet.gluon import nn

BATCH_SIZE = 32
CTX = mx.gpu() if mx.context.num_gpus() else mx.cpu()


# 1. Load the data
def load_data(path):
    """Read images (N x 3 x 224 x 224, values from 0 to 1)."""
    data = np.load(path)
    x = data["x_test"][:1000].repeat(7, axis=2).repeat(7, axis=3)
    return x.astype(np.float32) / 255


# 2. The network
class ProjectionBottleneck(nn.HybridBlock):
    def __init__(self, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2D(channels, kernel_size=1, use_bias=False)
        self.norm1 = nn.BatchNorm()
        self.conv2 = nn.Conv2D(
            channels, kernel_size=3, strides=stride, padding=1, use_bias=False
        )
        self.norm2 = nn.BatchNorm()
        self.conv3 = nn.Conv2D(4 * channels, kernel_size=1, use_bias=False)
        self.norm3 = nn.BatchNorm()
        self.project = nn.Conv2D(
            4 * channels, kernel_size=1, strides=stride, use_bias=False
        )
        self.project_norm = nn.BatchNorm()

    def hybrid_forward(self, F, x):
        y = self.conv1(x)
        y = F.relu(self.norm1(y))
        y = self.conv2(y)
        y = F.relu(self.norm2(y))
        y = self.conv3(y)
        y = self.norm3(y)
        x = self.project(x)
        x = self.project_norm(x)
        return F.relu(y + x)


class Bottleneck(nn.HybridBlock):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2D(channels, kernel_size=1, use_bias=False)
        self.norm1 = nn.BatchNorm()
        self.conv2 = nn.Conv2D(channels, kernel_size=3, padding=1, use_bias=False)
        self.norm2 = nn.BatchNorm()
        self.conv3 = nn.Conv2D(4 * channels, kernel_size=1, use_bias=False)
        self.norm3 = nn.BatchNorm()

    def hybrid_forward(self, F, x):
        y = self.conv1(x)
        y = F.relu(self.norm1(y))
        y = self.conv2(y)
        y = F.relu(self.norm2(y))
        y = self.conv3(y)
        y = self.norm3(y)
        return F.relu(y + x)


class Resnet50Features(nn.HybridBlock):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2D(64, kernel_size=7, strides=2, padding=3, use_bias=False)
        self.norm1 = nn.BatchNorm()
        self.pool1 = nn.MaxPool2D(3, strides=2, padding=1)
        self.stage1_first = ProjectionBottleneck(channels=64, stride=1)
        self.stage1 = nn.HybridSequential()
        for _ in range(2):
            self.stage1.add(Bottleneck(channels=64))
        self.stage2_first = ProjectionBottleneck(channels=128, stride=2)
        self.stage2 = nn.HybridSequential()
        for _ in range(3):
            self.stage2.add(Bottleneck(channels=128))
        self.stage3_first = ProjectionBottleneck(channels=256, stride=2)
        self.stage3 = nn.HybridSequential()
        for _ in range(5):
            self.stage3.add(Bottleneck(channels=256))
        self.stage4_first = ProjectionBottleneck(channels=512, stride=2)
        self.stage4 = nn.HybridSequential()
        for _ in range(2):
            self.stage4.add(Bottleneck(channels=512))
        self.pool = nn.GlobalAvgPool2D()

    def hybrid_forward(self, F, x):
        x = self.conv1(x)
        x = F.relu(self.norm1(x))
        x = self.pool1(x)
        x = self.stage1_first(x)
        x = self.stage1(x)
        x = self.stage2_first(x)
        x = self.stage2(x)
        x = self.stage3_first(x)
        x = self.stage3(x)
        x = self.stage4_first(x)
        x = self.stage4(x)
        return F.flatten(self.pool(x))


# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network."""
    mx.random.seed(seed)
    model = Resnet50Features()
    model.initialize(mx.init.Xavier(), ctx=CTX)
    model.hybridize(static_alloc=True, static_shape=True)
    # The first batch tells the layers what sizes they read.
    model(nd.zeros((1, 3, 224, 224), ctx=CTX))
    return model


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    parameters = model._collect_params_with_prefix()
    for name in arrays:
        parameters[name].set_data(nd.array(arrays[name]))


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    parameters = model._collect_params_with_prefix()
    np.savez(path, **{name: p.data().asnumpy() for name, p in parameters.items()})


# 4. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return model(nd.array(x, ctx=CTX)).asnumpy()


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

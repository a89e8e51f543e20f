"""ResNet-50 features, in TensorFlow.

python resnet50_features_tensorflow.py --data cifar10.npz
"""

import argparse
import math
import time

import numpy as np
import tensorflow as tf

BATCH_SIZE = 32


# 1. Load the data
def load_data(path):
    """Read images (N x 224 x 224 x 3, values from 0 to 1)."""
    data = np.load(path)
    x = data["x_test"][:1000].repeat(7, axis=2).repeat(7, axis=3)
    return x.transpose(0, 2, 3, 1).astype(np.float32, order="C") / 255


# 2. The network
def glorot_uniform(shape):
    """Values within sqrt(6 / (fan_in + fan_out)) of 0."""
    *space, inputs, outputs = shape
    limit = math.sqrt(6 / (math.prod(space) * (inputs + outputs)))
    return tf.random.uniform(shape, -limit, limit)


class Conv2D(tf.Module):
    def __init__(
        self, inputs, outputs, kernel_size, strides=1, padding="VALID", bias=True
    ):
        super().__init__()
        self.kernel = tf.Variable(glorot_uniform([*kernel_size, inputs, outputs]))
        self.bias = tf.Variable(tf.zeros([outputs])) if bias else None
        self.strides, self.padding = strides, padding

    def __call__(self, x):
        y = tf.nn.conv2d(x, self.kernel, self.strides, self.padding)
        return y if self.bias is None else y + self.bias


class BatchNorm(tf.Module):
    def __init__(self, size, epsilon=1e-5):
        super().__init__()
        self.scale = tf.Variable(tf.ones([size]))
        self.shift = tf.Variable(tf.zeros([size]))
        self.mean = tf.Variable(tf.zeros([size]), trainable=False)
        self.variance = tf.Variable(tf.ones([size]), trainable=False)
        self.epsilon = epsilon

    def __call__(self, x):
        return tf.nn.batch_normalization(
            x, self.mean, self.variance, self.shift, self.scale, self.epsilon
        )


class ProjectionBottleneck(tf.Module):
    def __init__(self, in_channels, channels, stride):
        super().__init__()
        self.conv1 = Conv2D(in_channels, channels, kernel_size=(1, 1), bias=False)
        self.norm1 = BatchNorm(channels)
        self.conv2 = Conv2D(
            channels,
            channels,
            kernel_size=(3, 3),
            strides=stride,
            padding=[[0, 0], [1, 1], [1, 1], [0, 0]],
            bias=False,
        )
        self.norm2 = BatchNorm(channels)
        self.conv3 = Conv2D(channels, 4 * channels, kernel_size=(1, 1), bias=False)
        self.norm3 = BatchNorm(4 * channels)
        self.project = Conv2D(
            in_channels, 4 * channels, kernel_size=(1, 1), strides=stride, bias=False
        )
        self.project_norm = BatchNorm(4 * channels)

    def __call__(self, x):
        y = self.conv1(x)
        y = tf.nn.relu(self.norm1(y))
        y = self.conv2(y)
        y = tf.nn.relu(self.norm2(y))
        y = self.conv3(y)
        y = self.norm3(y)
        x = self.project(x)
        x = self.project_norm(x)
        return tf.nn.relu(y + x)


class Bottleneck(tf.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = Conv2D(4 * channels, channels, kernel_size=(1, 1), bias=False)
        self.norm1 = BatchNorm(channels)
        self.conv2 = Conv2D(
            channels, channels, kernel_size=(3, 3), padding="SAME", bias=False
        )
        self.norm2 = BatchNorm(channels)
        self.conv3 = Conv2D(channels, 4 * channels, kernel_size=(1, 1), bias=False)
        self.norm3 = BatchNorm(4 * channels)

    def __call__(self, x):
        y = self.conv1(x)
        y = tf.nn.relu(self.norm1(y))
        y = self.conv2(y)
        y = tf.nn.relu(self.norm2(y))
        y = self.conv3(y)
        y = self.norm3(y)
        return tf.nn.relu(y + x)


class Resnet50Features(tf.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = Conv2D(
            3,
            64,
            kernel_size=(7, 7),
            strides=2,
            padding=[[0, 0], [3, 3], [3, 3], [0, 0]],
            bias=False,
        )
        self.norm1 = BatchNorm(64)
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

    @tf.function(reduce_retracing=True)
    def __call__(self, x):
        x = self.conv1(x)
        x = tf.nn.relu(self.norm1(x))
        x = tf.nn.max_pool2d(
            x, ksize=3, strides=2, padding=[[0, 0], [1, 1], [1, 1], [0, 0]]
        )
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
        return tf.reduce_mean(x, axis=[1, 2])


# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network."""
    tf.random.set_seed(seed)
    return Resnet50Features()


def named_variables(module, prefix=""):
    """All variables by path, joined with dots."""
    variables = {}
    for name, child in tf.train.TrackableView.children(module).items():
        if isinstance(child, tf.Variable):
            variables[prefix + name] = child
        else:
            variables |= named_variables(child, f"{prefix}{name}.")
    return variables


def load_weights(model, path):
    """Set the variables to the named arrays of an .npz file."""
    arrays = np.load(path)
    for name, variable in named_variables(model).items():
        variable.assign(arrays[name])


def save_weights(model, path):
    """Write the variables as named arrays of an .npz file."""
    np.savez(path, **{name: v.numpy() for name, v in named_variables(model).items()})


# 4. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return model(x).numpy()


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

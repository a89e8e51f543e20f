"""ResNet-50 features, in Theano.

python resnet50_features_theano.py --data cifar10.npz
"""

import argparse
import time

import numpy as np
import theano
import theano.tensor as T
from theano.compile.sharedvalue import SharedVariable
from theano.tensor.signal.pool import pool_2d

BATCH_SIZE = 32
theano.config.floatX = "float32"


# 1. Load the data
def load_data(path):
    """Read images (N x 3 x 224 x 224, values from 0 to 1)."""
    data = np.load(path)
    x = data["x_test"][:1000].repeat(7, axis=2).repeat(7, axis=3)
    return x.astype(np.float32) / 255


# 2. The network
def shared(values):
    """A weight: a variable that keeps its value between calls."""
    return theano.shared(np.asarray(values, dtype=theano.config.floatX))


def glorot_uniform(rng, shape):
    """Uniform within sqrt(6 / (fan in + fan out)): the first two axes, times space."""
    limit = np.sqrt(6 / (sum(shape[:2]) * np.prod(shape[2:])))
    return shared(rng.uniform(-limit, limit, shape))


def conv2d(x, W, b=None, **options):
    """Convolution that does not turn its filters round, and a bias."""
    y = T.nnet.conv2d(x, W, filter_flip=False, **options)
    return y if b is None else y + b.dimshuffle("x", 0, "x", "x")


def batch_norm(x, mean, var, gamma=None, beta=None, epsilon=1e-5):
    """Normalise channels by their running mean and variance."""
    beside = ("x", 0) + ("x",) * (x.ndim - 2)
    y = (x - mean.dimshuffle(*beside)) / T.sqrt(var + epsilon).dimshuffle(*beside)
    if gamma is not None:
        y = y * gamma.dimshuffle(*beside)
    return y if beta is None else y + beta.dimshuffle(*beside)


class ProjectionBottleneck:
    def __init__(self, rng, in_channels, channels, stride):
        self.stride = stride
        self.conv1_W = glorot_uniform(rng, (channels, in_channels, 1, 1))
        self.norm1_gamma = shared(np.ones(channels))
        self.norm1_beta = shared(np.zeros(channels))
        self.norm1_mean = shared(np.zeros(channels))
        self.norm1_var = shared(np.ones(channels))
        self.conv2_W = glorot_uniform(rng, (channels, channels, 3, 3))
        self.norm2_gamma = shared(np.ones(channels))
        self.norm2_beta = shared(np.zeros(channels))
        self.norm2_mean = shared(np.zeros(channels))
        self.norm2_var = shared(np.ones(channels))
        self.conv3_W = glorot_uniform(rng, (4 * channels, channels, 1, 1))
        self.norm3_gamma = shared(np.ones(4 * channels))
        self.norm3_beta = shared(np.zeros(4 * channels))
        self.norm3_mean = shared(np.zeros(4 * channels))
        self.norm3_var = shared(np.ones(4 * channels))
        self.project_W = glorot_uniform(rng, (4 * channels, in_channels, 1, 1))
        self.project_norm_gamma = shared(np.ones(4 * channels))
        self.project_norm_beta = shared(np.zeros(4 * channels))
        self.project_norm_mean = shared(np.zeros(4 * channels))
        self.project_norm_var = shared(np.ones(4 * channels))

    def __call__(self, x):
        y = conv2d(x, self.conv1_W)
        y = batch_norm(
            y, self.norm1_mean, self.norm1_var, self.norm1_gamma, self.norm1_beta
        )
        y = T.maximum(0, y)
        y = conv2d(y, self.conv2_W, border_mode=1, subsample=(self.stride, self.stride))
        y = batch_norm(
            y, self.norm2_mean, self.norm2_var, self.norm2_gamma, self.norm2_beta
        )
        y = T.maximum(0, y)
        y = conv2d(y, self.conv3_W)
        y = batch_norm(
            y, self.norm3_mean, self.norm3_var, self.norm3_gamma, self.norm3_beta
        )
        x = conv2d(x, self.project_W, subsample=(self.stride, self.stride))
        x = batch_norm(
            x,
            self.project_norm_mean,
            self.project_norm_var,
            self.project_norm_gamma,
            self.project_norm_beta,
        )
        return T.maximum(0, y + x)


class Bottleneck:
    def __init__(self, rng, channels):
        self.conv1_W = glorot_uniform(rng, (channels, 4 * channels, 1, 1))
        self.norm1_gamma = shared(np.ones(channels))
        self.norm1_beta = shared(np.zeros(channels))
        self.norm1_mean = shared(np.zeros(channels))
        self.norm1_var = shared(np.ones(channels))
        self.conv2_W = glorot_uniform(rng, (channels, channels, 3, 3))
        self.norm2_gamma = shared(np.ones(channels))
        self.norm2_beta = shared(np.zeros(channels))
        self.norm2_mean = shared(np.zeros(channels))
        self.norm2_var = shared(np.ones(channels))
        self.conv3_W = glorot_uniform(rng, (4 * channels, channels, 1, 1))
        self.norm3_gamma = shared(np.ones(4 * channels))
        self.norm3_beta = shared(np.zeros(4 * channels))
        self.norm3_mean = shared(np.zeros(4 * channels))
        self.norm3_var = shared(np.ones(4 * channels))

    def __call__(self, x):
        y = conv2d(x, self.conv1_W)
        y = batch_norm(
            y, self.norm1_mean, self.norm1_var, self.norm1_gamma, self.norm1_beta
        )
        y = T.maximum(0, y)
        y = conv2d(y, self.conv2_W, border_mode=1)
        y = batch_norm(
            y, self.norm2_mean, self.norm2_var, self.norm2_gamma, self.norm2_beta
        )
        y = T.maximum(0, y)
        y = conv2d(y, self.conv3_W)
        y = batch_norm(
            y, self.norm3_mean, self.norm3_var, self.norm3_gamma, self.norm3_beta
        )
        return T.maximum(0, y + x)


class Resnet50Features:
    def __init__(self, rng):
        self.conv1_W = glorot_uniform(rng, (64, 3, 7, 7))
        self.norm1_gamma = shared(np.ones(64))
        self.norm1_beta = shared(np.zeros(64))
        self.norm1_mean = shared(np.zeros(64))
        self.norm1_var = shared(np.ones(64))
        self.stage1_first = ProjectionBottleneck(
            rng, in_channels=64, channels=64, stride=1
        )
        self.stage1 = [Bottleneck(rng, channels=64) for _ in range(2)]
        self.stage2_first = ProjectionBottleneck(
            rng, in_channels=256, channels=128, stride=2
        )
        self.stage2 = [Bottleneck(rng, channels=128) for _ in range(3)]
        self.stage3_first = ProjectionBottleneck(
            rng, in_channels=512, channels=256, stride=2
        )
        self.stage3 = [Bottleneck(rng, channels=256) for _ in range(5)]
        self.stage4_first = ProjectionBottleneck(
            rng, in_channels=1024, channels=512, stride=2
        )
        self.stage4 = [Bottleneck(rng, channels=512) for _ in range(2)]

    def __call__(self, x):
        x = conv2d(x, self.conv1_W, border_mode=3, subsample=(2, 2))
        x = batch_norm(
            x, self.norm1_mean, self.norm1_var, self.norm1_gamma, self.norm1_beta
        )
        x = T.maximum(0, x)
        x = pool_2d(x, (3, 3), ignore_border=True, stride=(2, 2), pad=(1, 1))
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
        return x.mean(axis=(2, 3))


# 3. Compiled functions
def weights(block, prefix=""):
    """The shared variables of the network or of a block of it, by name."""
    found = {}
    for name, value in vars(block).items():
        if isinstance(value, SharedVariable):
            found[prefix + name] = value
        elif isinstance(value, list):
            for i, item in enumerate(value):
                found.update(weights(item, f"{prefix}{name}.{i}."))
        elif isinstance(value, (ProjectionBottleneck, Bottleneck)):
            found.update(weights(value, f"{prefix}{name}."))
    return found


def build(seed=0):
    """Create the network, and compile what runs it."""
    rng = np.random.RandomState(seed)
    model = Resnet50Features(rng)
    x = T.tensor4("x")
    model.scores = theano.function([x], model(x))
    return model


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    for name, variable in weights(model).items():
        variable.set_value(arrays[name])


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    np.savez(path, **{name: v.get_value() for name, v in weights(model).items()})


# 4. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return model.scores(x)


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

"""ResNet-50 features, in Lasagne.

python resnet50_features_lasagne.py --data cifar10.npz
"""

import argparse
import time

import lasagne
import numpy as np
import theano
import theano.tensor as T
from lasagne.init import Constant
from lasagne.layers import (
    Conv2DLayer,
    ElemwiseSumLayer,
    GlobalPoolLayer,
    InputLayer,
    Layer,
    MaxPool2DLayer,
    NonlinearityLayer,
    get_all_params,
    get_output,
)

BATCH_SIZE = 32
theano.config.floatX = "float32"


# 1. Load the data
def load_data(path):
    """Read images (N x 3 x 224 x 224, values from 0 to 1)."""
    data = np.load(path)
    x = data["x_test"][:1000].repeat(7, axis=2).repeat(7, axis=3)
    return x.astype(np.float32) / 255


# 2. The network
def rectify(x):
    """The slope at 0 is 0; that of Lasagne's own is 0.5."""
    return T.maximum(0, x)


class BatchNormLayer(Layer):
    """Normalises channels by their running mean and variance."""

    def __init__(self, incoming, epsilon=1e-5, gamma=1, beta=0, **kwargs):
        super().__init__(incoming, **kwargs)
        self.epsilon = epsilon
        self.gamma = self.parameter(gamma, "gamma")
        self.beta = self.parameter(beta, "beta")
        self.mean = self.parameter(0, "mean")
        self.var = self.parameter(1, "var")

    def parameter(self, value, name):
        if value is not None:
            value = self.add_param(Constant(value), self.input_shape[1:2], name)
        return value

    def get_output_for(self, input, **kwargs):
        def channels(v):
            return v.dimshuffle("x", 0, *["x"] * (input.ndim - 2))

        y = (input - channels(self.mean)) / channels(T.sqrt(self.var + self.epsilon))
        if self.gamma is not None:
            y = y * channels(self.gamma)
        return y if self.beta is None else y + channels(self.beta)


def projection_bottleneck(x, channels, stride, name):
    """Block ProjectionBottleneck; the names of its layers begin with name."""
    y = Conv2DLayer(
        x,
        num_filters=channels,
        filter_size=1,
        b=None,
        nonlinearity=None,
        name=f"{name}.conv1",
    )
    y = BatchNormLayer(y, name=f"{name}.norm1")
    y = NonlinearityLayer(y, nonlinearity=rectify)
    y = Conv2DLayer(
        y,
        num_filters=channels,
        filter_size=3,
        stride=stride,
        pad=1,
        b=None,
        nonlinearity=None,
        name=f"{name}.conv2",
    )
    y = BatchNormLayer(y, name=f"{name}.norm2")
    y = NonlinearityLayer(y, nonlinearity=rectify)
    y = Conv2DLayer(
        y,
        num_filters=4 * channels,
        filter_size=1,
        b=None,
        nonlinearity=None,
        name=f"{name}.conv3",
    )
    y = BatchNormLayer(y, name=f"{name}.norm3")
    x = Conv2DLayer(
        x,
        num_filters=4 * channels,
        filter_size=1,
        stride=stride,
        b=None,
        nonlinearity=None,
        name=f"{name}.project",
    )
    x = BatchNormLayer(x, name=f"{name}.project_norm")
    y = ElemwiseSumLayer([y, x])
    return NonlinearityLayer(y, nonlinearity=rectify)


def bottleneck(x, channels, name):
    """Block Bottleneck; the names of its layers begin with name."""
    y = Conv2DLayer(
        x,
        num_filters=channels,
        filter_size=1,
        b=None,
        nonlinearity=None,
        name=f"{name}.conv1",
    )
    y = BatchNormLayer(y, name=f"{name}.norm1")
    y = NonlinearityLayer(y, nonlinearity=rectify)
    y = Conv2DLayer(
        y,
        num_filters=channels,
        filter_size=3,
        pad=1,
        b=None,
        nonlinearity=None,
        name=f"{name}.conv2",
    )
    y = BatchNormLayer(y, name=f"{name}.norm2")
    y = NonlinearityLayer(y, nonlinearity=rectify)
    y = Conv2DLayer(
        y,
        num_filters=4 * channels,
        filter_size=1,
        b=None,
        nonlinearity=None,
        name=f"{name}.conv3",
    )
    y = BatchNormLayer(y, name=f"{name}.norm3")
    y = ElemwiseSumLayer([y, x])
    return NonlinearityLayer(y, nonlinearity=rectify)


def network():
    """The last layer of the network, which knows those before it."""
    x = InputLayer((None, 3, 224, 224))
    x = Conv2DLayer(
        x,
        num_filters=64,
        filter_size=7,
        stride=2,
        pad=3,
        b=None,
        nonlinearity=None,
        name="conv1",
    )
    x = BatchNormLayer(x, name="norm1")
    x = NonlinearityLayer(x, nonlinearity=rectify)
    x = MaxPool2DLayer(x, pool_size=3, stride=2, pad=1)
    x = projection_bottleneck(x, channels=64, stride=1, name="stage1_first")
    for i in range(2):
        x = bottleneck(x, channels=64, name=f"stage1.{i}")
    x = projection_bottleneck(x, channels=128, stride=2, name="stage2_first")
    for i in range(3):
        x = bottleneck(x, channels=128, name=f"stage2.{i}")
    x = projection_bottleneck(x, channels=256, stride=2, name="stage3_first")
    for i in range(5):
        x = bottleneck(x, channels=256, name=f"stage3.{i}")
    x = projection_bottleneck(x, channels=512, stride=2, name="stage4_first")
    for i in range(2):
        x = bottleneck(x, channels=512, name=f"stage4.{i}")
    return GlobalPoolLayer(x)


# 3. Compiled functions
def build(seed=0):
    """Create the network, and compile what runs it."""
    lasagne.random.set_rng(np.random.RandomState(seed))
    model = network()
    x = T.tensor4("x")
    model.scores = theano.function([x], get_output(model, x, deterministic=True))
    return model


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    for parameter in get_all_params(model):
        parameter.set_value(arrays[parameter.name])


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    parameters = get_all_params(model)
    np.savez(path, **{p.name: p.get_value() for p in parameters})


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

"""ResNet-50 features, in MXNet.

python resnet50_features_mxnet.py --data cifar10.npz
"""

import argparse
import time

import mxnet as mx
import numpy as np
from mxnet import nd

BATCH_SIZE = 32
CTX = mx.gpu() if mx.context.num_gpus() else mx.cpu()


# 1. Load the data
def load_data(path):
    """Read images (N x 3 x 224 x 224, values from 0 to 1)."""
    data = np.load(path)
    x = data["x_test"][:1000].repeat(7, axis=2).repeat(7, axis=3)
    return x.astype(np.float32) / 255


# 2. The network
def projection_bottleneck(x, channels, stride, name):
    y = mx.sym.Convolution(
        x, num_filter=channels, kernel=(1, 1), no_bias=True, name=f"{name}_conv1"
    )
    y = mx.sym.BatchNorm(y, fix_gamma=False, eps=1e-5, name=f"{name}_norm1")
    y = mx.sym.Activation(y, act_type="relu")
    y = mx.sym.Convolution(
        y,
        num_filter=channels,
        kernel=(3, 3),
        stride=(stride, stride),
        pad=(1, 1),
        no_bias=True,
        name=f"{name}_conv2",
    )
    y = mx.sym.BatchNorm(y, fix_gamma=False, eps=1e-5, name=f"{name}_norm2")
    y = mx.sym.Activation(y, act_type="relu")
    y = mx.sym.Convolution(
        y, num_filter=4 * channels, kernel=(1, 1), no_bias=True, name=f"{name}_conv3"
    )
    y = mx.sym.BatchNorm(y, fix_gamma=False, eps=1e-5, name=f"{name}_norm3")
    x = mx.sym.Convolution(
        x,
        num_filter=4 * channels,
        kernel=(1, 1),
        stride=(stride, stride),
        no_bias=True,
        name=f"{name}_project",
    )
    x = mx.sym.BatchNorm(x, fix_gamma=False, eps=1e-5, name=f"{name}_project_norm")
    y = y + x
    return mx.sym.Activation(y, act_type="relu")


def bottleneck(x, channels, name):
    y = mx.sym.Convolution(
        x, num_filter=channels, kernel=(1, 1), no_bias=True, name=f"{name}_conv1"
    )
    y = mx.sym.BatchNorm(y, fix_gamma=False, eps=1e-5, name=f"{name}_norm1")
    y = mx.sym.Activation(y, act_type="relu")
    y = mx.sym.Convolution(
        y,
        num_filter=channels,
        kernel=(3, 3),
        pad=(1, 1),
        no_bias=True,
        name=f"{name}_conv2",
    )
    y = mx.sym.BatchNorm(y, fix_gamma=False, eps=1e-5, name=f"{name}_norm2")
    y = mx.sym.Activation(y, act_type="relu")
    y = mx.sym.Convolution(
        y, num_filter=4 * channels, kernel=(1, 1), no_bias=True, name=f"{name}_conv3"
    )
    y = mx.sym.BatchNorm(y, fix_gamma=False, eps=1e-5, name=f"{name}_norm3")
    y = y + x
    return mx.sym.Activation(y, act_type="relu")


def resnet50_features():
    data = mx.sym.Variable("data")
    x = mx.sym.Convolution(
        data,
        num_filter=64,
        kernel=(7, 7),
        stride=(2, 2),
        pad=(3, 3),
        no_bias=True,
        name="conv1",
    )
    x = mx.sym.BatchNorm(x, fix_gamma=False, eps=1e-5, name="norm1")
    x = mx.sym.Activation(x, act_type="relu")
    x = mx.sym.Pooling(x, pool_type="max", kernel=(3, 3), stride=(2, 2), pad=(1, 1))
    x = projection_bottleneck(x, channels=64, stride=1, name="stage1_first")
    for i in range(2):
        x = bottleneck(x, channels=64, name=f"stage1_{i}")
    x = projection_bottleneck(x, channels=128, stride=2, name="stage2_first")
    for i in range(3):
        x = bottleneck(x, channels=128, name=f"stage2_{i}")
    x = projection_bottleneck(x, channels=256, stride=2, name="stage3_first")
    for i in range(5):
        x = bottleneck(x, channels=256, name=f"stage3_{i}")
    x = projection_bottleneck(x, channels=512, stride=2, name="stage4_first")
    for i in range(2):
        x = bottleneck(x, channels=512, name=f"stage4_{i}")
    return mx.sym.Flatten(mx.sym.Pooling(x, pool_type="avg", global_pool=True))


# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network."""
    mx.random.seed(seed)
    model = mx.mod.Module(resnet50_features(), label_names=None, context=CTX)
    model.bind([("data", (BATCH_SIZE, 3, 224, 224))], for_training=False)
    model.init_params(mx.init.Xavier())
    return model


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = {name: nd.array(array) for name, array in np.load(path).items()}
    model.set_params(arrays, arrays, allow_extra=True)


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    weights, statistics = model.get_params()
    arrays = {**weights, **statistics}
    np.savez(path, **{name: array.asnumpy() for name, array in arrays.items()})


# 4. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    model.forward(mx.io.DataBatch([nd.array(x)]))
    (scores,) = model.get_outputs()
    return scores.asnumpy()


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

"""ResNet-50 features, in Caffe2.

python resnet50_features_caffe2.py --data cifar10.npz
"""

import argparse
import time

import numpy as np
from caffe2.python import brew, core, model_helper, workspace
from caffe2.python.modeling.initializers import Initializer

core.GlobalInit(["caffe2", "--caffe2_log_level=3"])

BATCH_SIZE = 32


# 1. Load the data
def load_data(path):
    """Read images (N x 3 x 224 x 224, values from 0 to 1)."""
    data = np.load(path)
    x = data["x_test"][:1000].repeat(7, axis=2).repeat(7, axis=3)
    return x.astype(np.float32) / 255


# 2. The network
class GlorotUniform(Initializer):
    """Uniform within sqrt(6 / (fan_in + fan_out)) of 0."""

    def create_param(self, param_name, init_net, shape):
        fan_out, fan_in = shape[:2]
        limit = float(np.sqrt(6 / (np.prod(shape[2:]) * (fan_in + fan_out))))
        uniform = Initializer("UniformFill", min=-limit, max=limit)
        return uniform.create_param(param_name, init_net, shape)


def projection_bottleneck(model, x, in_channels, channels, stride):
    y = brew.conv(model, x, "conv1", in_channels, channels, kernel=1, no_bias=True)
    y = brew.spatial_bn(model, y, "norm1", channels)
    y = brew.relu(model, y, "relu1")
    y = brew.conv(
        model,
        y,
        "conv2",
        channels,
        channels,
        kernel=3,
        stride=stride,
        pad=1,
        no_bias=True,
    )
    y = brew.spatial_bn(model, y, "norm2", channels)
    y = brew.relu(model, y, "relu2")
    y = brew.conv(model, y, "conv3", channels, 4 * channels, kernel=1, no_bias=True)
    y = brew.spatial_bn(model, y, "norm3", 4 * channels)
    x = brew.conv(
        model,
        x,
        "project",
        in_channels,
        4 * channels,
        kernel=1,
        stride=stride,
        no_bias=True,
    )
    x = brew.spatial_bn(model, x, "project_norm", 4 * channels)
    y = brew.sum(model, [y, x], "add")
    return brew.relu(model, y, "relu3")


def bottleneck(model, x, channels):
    y = brew.conv(model, x, "conv1", 4 * channels, channels, kernel=1, no_bias=True)
    y = brew.spatial_bn(model, y, "norm1", channels)
    y = brew.relu(model, y, "relu1")
    y = brew.conv(model, y, "conv2", channels, channels, kernel=3, pad=1, no_bias=True)
    y = brew.spatial_bn(model, y, "norm2", channels)
    y = brew.relu(model, y, "relu2")
    y = brew.conv(model, y, "conv3", channels, 4 * channels, kernel=1, no_bias=True)
    y = brew.spatial_bn(model, y, "norm3", 4 * channels)
    y = brew.sum(model, [y, x], "add")
    return brew.relu(model, y, "relu3")


def resnet50_features(model, x):
    x = brew.conv(model, x, "conv1", 3, 64, kernel=7, stride=2, pad=3, no_bias=True)
    x = brew.spatial_bn(model, x, "norm1", 64)
    x = brew.relu(model, x, "relu1")
    x = brew.max_pool(model, x, "pool1", kernel=3, stride=2, pad=1)
    with core.NameScope("stage1_first"):
        x = projection_bottleneck(model, x, in_channels=64, channels=64, stride=1)
    for i in range(2):
        with core.NameScope(f"stage1_{i}"):
            x = bottleneck(model, x, channels=64)
    with core.NameScope("stage2_first"):
        x = projection_bottleneck(model, x, in_channels=256, channels=128, stride=2)
    for i in range(3):
        with core.NameScope(f"stage2_{i}"):
            x = bottleneck(model, x, channels=128)
    with core.NameScope("stage3_first"):
        x = projection_bottleneck(model, x, in_channels=512, channels=256, stride=2)
    for i in range(5):
        with core.NameScope(f"stage3_{i}"):
            x = bottleneck(model, x, channels=256)
    with core.NameScope("stage4_first"):
        x = projection_bottleneck(model, x, in_channels=1024, channels=512, stride=2)
    for i in range(2):
        with core.NameScope(f"stage4_{i}"):
            x = bottleneck(model, x, channels=512)
    x = brew.average_pool(model, x, "pool_map", global_pooling=True)
    x = model.net.Flatten(x, "pool")
    return x


# 3. Initial weights
def build(seed=0):
    """Create the net."""
    workspace.ResetWorkspace()
    model = model_helper.ModelHelper("resnet50-features", arg_scope={"is_test": True})
    data = model.net.AddExternalInput("data")
    with brew.arg_scope(brew.conv, WeightInitializer=GlorotUniform):
        resnet50_features(model, data)
    rng = np.random.RandomState(seed)
    for op in model.param_init_net.Proto().op:
        op.device_option.random_seed = rng.randint(2**31)
    workspace.RunNetOnce(model.param_init_net)
    workspace.CreateNet(model.net, input_blobs=["data"])
    return model


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    for name in arrays.files:
        workspace.FeedBlob(name, arrays[name])


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    np.savez(path, **{str(p): workspace.FetchBlob(p) for p in model.GetAllParams()})


# 4. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    workspace.FeedBlob("data", x)
    workspace.RunNet(model.net)
    return workspace.FetchBlob("pool")


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

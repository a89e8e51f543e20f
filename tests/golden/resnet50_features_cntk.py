"""ResNet-50 features, in CNTK.

python resnet50_features_cntk.py --data cifar10.npz
"""

import argparse
import time

import cntk as C
import numpy as np
from cntk.layers import (
    BatchNormalization,
    Convolution2D,
    GlobalAveragePooling,
    MaxPooling,
)
from cntk.logging.graph import depth_first_search

BATCH_SIZE = 32


# 1. Load the data
def load_data(path):
    """Read images (N x 3 x 224 x 224, values from 0 to 1)."""
    data = np.load(path)
    x = data["x_test"][:1000].repeat(7, axis=2).repeat(7, axis=3)
    return x.astype(np.float32) / 255


# 2. The network
def projection_bottleneck(x, channels, stride, name):
    y = Convolution2D((1, 1), channels, bias=False, name=f"{name}_conv1")(x)
    y = BatchNormalization(map_rank=1, name=f"{name}_norm1")(y)
    y = C.relu(y)
    y = Convolution2D(
        (3, 3), channels, strides=stride, bias=False, name=f"{name}_conv2"
    )(C.pad(y, [(0, 0), (1, 1), (1, 1)]))
    y = BatchNormalization(map_rank=1, name=f"{name}_norm2")(y)
    y = C.relu(y)
    y = Convolution2D((1, 1), 4 * channels, bias=False, name=f"{name}_conv3")(y)
    y = BatchNormalization(map_rank=1, name=f"{name}_norm3")(y)
    x = Convolution2D(
        (1, 1), 4 * channels, strides=stride, bias=False, name=f"{name}_project"
    )(x)
    x = BatchNormalization(map_rank=1, name=f"{name}_project_norm")(x)
    y = y + x
    return C.relu(y)


def bottleneck(x, channels, name):
    y = Convolution2D((1, 1), channels, bias=False, name=f"{name}_conv1")(x)
    y = BatchNormalization(map_rank=1, name=f"{name}_norm1")(y)
    y = C.relu(y)
    y = Convolution2D((3, 3), channels, pad=True, bias=False, name=f"{name}_conv2")(y)
    y = BatchNormalization(map_rank=1, name=f"{name}_norm2")(y)
    y = C.relu(y)
    y = Convolution2D((1, 1), 4 * channels, bias=False, name=f"{name}_conv3")(y)
    y = BatchNormalization(map_rank=1, name=f"{name}_norm3")(y)
    y = y + x
    return C.relu(y)


def resnet50_features(x):
    x = Convolution2D((7, 7), 64, pad=True, strides=2, bias=False, name="conv1")(x)
    x = BatchNormalization(map_rank=1, name="norm1")(x)
    x = C.relu(x)
    x = MaxPooling((3, 3), 2, pad=True)(x)
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
    return C.reshape(GlobalAveragePooling()(x), 2048)


# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network."""
    C.cntk_py.set_fixed_random_seed(seed)
    features = C.input_variable((3, 224, 224))
    return resnet50_features(features)


def weights(model):
    """Parameters by the name of their layer and their own."""
    layers = depth_first_search(model, lambda f: getattr(f, "is_block", False))
    return {
        f"{f.name}/{p.name}": p
        for f in layers
        for p in f.parameters + f.constants
        if p.name not in ("", "aggregate_count")
    }


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    for name, weight in weights(model).items():
        weight.value = arrays[name]


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    np.savez(path, **{name: weight.value for name, weight in weights(model).items()})


# 4. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return model.eval(x)


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

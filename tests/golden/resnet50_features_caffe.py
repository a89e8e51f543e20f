"""ResNet-50 features, in Caffe.

python resnet50_features_caffe.py --data cifar10.npz
"""

import argparse
import time
from pathlib import Path

import caffe
import numpy as np
from caffe import layers as L
from caffe import params as P

BATCH_SIZE = 32

XAVIER = {"type": "xavier", "variance_norm": P.Filler.AVERAGE}


# 1. Load the data
def load_data(path):
    """Read images (N x 3 x 224 x 224, values from 0 to 1)."""
    data = np.load(path)
    x = data["x_test"][:1000].repeat(7, axis=2).repeat(7, axis=3)
    return x.astype(np.float32) / 255


# 2. The network
def projection_bottleneck(n, name, x, channels, stride):
    y = n[f"{name}/conv1"] = L.Convolution(
        x, num_output=channels, kernel_size=1, bias_term=False, weight_filler=XAVIER
    )
    y = n[f"{name}/norm1"] = L.BatchNorm(y, in_place=True)
    y = n[f"{name}/norm1_scale"] = L.Scale(y, bias_term=True, in_place=True)
    y = n[f"{name}/relu1"] = L.ReLU(y, in_place=True)
    y = n[f"{name}/conv2"] = L.Convolution(
        y,
        num_output=channels,
        kernel_size=3,
        stride=stride,
        pad=1,
        bias_term=False,
        weight_filler=XAVIER,
    )
    y = n[f"{name}/norm2"] = L.BatchNorm(y, in_place=True)
    y = n[f"{name}/norm2_scale"] = L.Scale(y, bias_term=True, in_place=True)
    y = n[f"{name}/relu2"] = L.ReLU(y, in_place=True)
    y = n[f"{name}/conv3"] = L.Convolution(
        y, num_output=4 * channels, kernel_size=1, bias_term=False, weight_filler=XAVIER
    )
    y = n[f"{name}/norm3"] = L.BatchNorm(y, in_place=True)
    y = n[f"{name}/norm3_scale"] = L.Scale(y, bias_term=True, in_place=True)
    x = n[f"{name}/project"] = L.Convolution(
        x,
        num_output=4 * channels,
        kernel_size=1,
        stride=stride,
        bias_term=False,
        weight_filler=XAVIER,
    )
    x = n[f"{name}/project_norm"] = L.BatchNorm(x, in_place=True)
    x = n[f"{name}/project_norm_scale"] = L.Scale(x, bias_term=True, in_place=True)
    y = n[f"{name}/add"] = L.Eltwise(y, x)
    y = n[f"{name}/relu3"] = L.ReLU(y)
    return y


def bottleneck(n, name, x, channels):
    y = n[f"{name}/conv1"] = L.Convolution(
        x, num_output=channels, kernel_size=1, bias_term=False, weight_filler=XAVIER
    )
    y = n[f"{name}/norm1"] = L.BatchNorm(y, in_place=True)
    y = n[f"{name}/norm1_scale"] = L.Scale(y, bias_term=True, in_place=True)
    y = n[f"{name}/relu1"] = L.ReLU(y, in_place=True)
    y = n[f"{name}/conv2"] = L.Convolution(
        y,
        num_output=channels,
        kernel_size=3,
        pad=1,
        bias_term=False,
        weight_filler=XAVIER,
    )
    y = n[f"{name}/norm2"] = L.BatchNorm(y, in_place=True)
    y = n[f"{name}/norm2_scale"] = L.Scale(y, bias_term=True, in_place=True)
    y = n[f"{name}/relu2"] = L.ReLU(y, in_place=True)
    y = n[f"{name}/conv3"] = L.Convolution(
        y, num_output=4 * channels, kernel_size=1, bias_term=False, weight_filler=XAVIER
    )
    y = n[f"{name}/norm3"] = L.BatchNorm(y, in_place=True)
    y = n[f"{name}/norm3_scale"] = L.Scale(y, bias_term=True, in_place=True)
    y = n[f"{name}/add"] = L.Eltwise(y, x)
    y = n[f"{name}/relu3"] = L.ReLU(y)
    return y


def resnet50_features():
    """The network."""
    n = caffe.NetSpec()
    n.data = L.Input(shape={"dim": [BATCH_SIZE, 3, 224, 224]})
    n.conv1 = L.Convolution(
        n.data,
        num_output=64,
        kernel_size=7,
        stride=2,
        pad=3,
        bias_term=False,
        weight_filler=XAVIER,
    )
    n.norm1 = L.BatchNorm(n.conv1, in_place=True)
    n.norm1_scale = L.Scale(n.norm1, bias_term=True, in_place=True)
    n.relu1 = L.ReLU(n.norm1_scale, in_place=True)
    n.pool1 = L.Pooling(
        n.relu1,
        pool=P.Pooling.MAX,
        kernel_size=3,
        stride=2,
        pad=1,
        round_mode=P.Pooling.FLOOR,
    )
    x = projection_bottleneck(n, "stage1_first", n.pool1, channels=64, stride=1)
    for i in range(2):
        x = bottleneck(n, f"stage1_{i}", x, channels=64)
    x = projection_bottleneck(n, "stage2_first", x, channels=128, stride=2)
    for i in range(3):
        x = bottleneck(n, f"stage2_{i}", x, channels=128)
    x = projection_bottleneck(n, "stage3_first", x, channels=256, stride=2)
    for i in range(5):
        x = bottleneck(n, f"stage3_{i}", x, channels=256)
    x = projection_bottleneck(n, "stage4_first", x, channels=512, stride=2)
    for i in range(2):
        x = bottleneck(n, f"stage4_{i}", x, channels=512)
    n.pool_map = L.Pooling(x, pool=P.Pooling.AVE, global_pooling=True)
    n.pool = L.Flatten(n.pool_map)
    return n.to_proto()


# 3. Initial weights
def prototxt(name, message):
    """Write a net beside this file, as text; return the path."""
    path = Path(__file__).with_name(f"resnet50_features_{name}.prototxt")
    path.write_text(str(message))
    return str(path)


def build(seed=0):
    """Create the net."""
    caffe.set_random_seed(seed)
    return caffe.Net(prototxt("deploy", resnet50_features()), caffe.TEST)


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    for layer, blobs in model.params.items():
        for i, blob in enumerate(blobs[:2]):
            blob.data[...] = arrays[f"{layer}.{i}"]
        if len(blobs) == 3:  # BatchNorm divides its statistics by the third.
            blobs[2].data[...] = 1


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    arrays = {}
    for layer, blobs in model.params.items():
        for i, blob in enumerate(blobs[:2]):
            arrays[f"{layer}.{i}"] = blob.data
    np.savez(path, **arrays)


# 4. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    model.blobs["data"].reshape(*x.shape)
    return model.forward(data=x)["pool"].copy()


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

"""ResNet-50 features, in Keras 2 on CNTK.

python resnet50_features_keras2_cntk.py --data cifar10.npz
"""

import argparse
import os
import time

os.environ["KERAS_BACKEND"] = "cntk"

import numpy as np
from keras import backend as K
from keras.layers import (
    Activation,
    Add,
    BatchNormalization,
    Conv2D,
    GlobalAveragePooling2D,
    Input,
    MaxPooling2D,
    ZeroPadding2D,
)
from keras.models import Model

BATCH_SIZE = 32


# 1. Load the data
def load_data(path):
    """Read images (N x 224 x 224 x 3, values from 0 to 1)."""
    data = np.load(path)
    x = data["x_test"][:1000].repeat(7, axis=2).repeat(7, axis=3)
    return x.transpose(0, 2, 3, 1).astype(np.float32, order="C") / 255


# 2. The network
def pad(x, padding, value):
    """Padding by another value than 0."""
    inside = ZeroPadding2D(padding)(Activation(K.ones_like)(x))
    outside = Activation(lambda x: value * (1 - x))(inside)
    return Add()([ZeroPadding2D(padding)(x), outside])


def projection_bottleneck(x, channels, stride, name):
    y = Conv2D(channels, 1, use_bias=False, name=f"{name}_conv1")(x)
    y = BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm1")(y)
    y = Activation("relu", name=f"{name}_relu1")(y)
    y = ZeroPadding2D(1, name=f"{name}_conv2_pad")(y)
    y = Conv2D(channels, 3, strides=stride, use_bias=False, name=f"{name}_conv2")(y)
    y = BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm2")(y)
    y = Activation("relu", name=f"{name}_relu2")(y)
    y = Conv2D(4 * channels, 1, use_bias=False, name=f"{name}_conv3")(y)
    y = BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm3")(y)
    x = Conv2D(4 * channels, 1, strides=stride, use_bias=False, name=f"{name}_project")(
        x
    )
    x = BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_project_norm")(x)
    y = Add(name=f"{name}_add")([y, x])
    return Activation("relu", name=f"{name}_relu3")(y)


def bottleneck(x, channels, name):
    y = Conv2D(channels, 1, use_bias=False, name=f"{name}_conv1")(x)
    y = BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm1")(y)
    y = Activation("relu", name=f"{name}_relu1")(y)
    y = Conv2D(channels, 3, padding="same", use_bias=False, name=f"{name}_conv2")(y)
    y = BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm2")(y)
    y = Activation("relu", name=f"{name}_relu2")(y)
    y = Conv2D(4 * channels, 1, use_bias=False, name=f"{name}_conv3")(y)
    y = BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm3")(y)
    y = Add(name=f"{name}_add")([y, x])
    return Activation("relu", name=f"{name}_relu3")(y)


def resnet50_features():
    inputs = Input((224, 224, 3))
    x = ZeroPadding2D(3, name="conv1_pad")(inputs)
    x = Conv2D(64, 7, strides=2, use_bias=False, name="conv1")(x)
    x = BatchNormalization(momentum=0.9, epsilon=1e-5, name="norm1")(x)
    x = Activation("relu", name="relu1")(x)
    x = pad(x, ((1, 1), (1, 1)), -1e30)
    x = MaxPooling2D(3, strides=2, name="pool1")(x)
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
    x = GlobalAveragePooling2D(name="pool")(x)
    return Model(inputs, x)


# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network."""
    np.random.seed(seed)
    return resnet50_features()


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    for weight in model.weights:
        K.set_value(weight, arrays[weight.name])


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    np.savez(path, **{w.name: K.get_value(w) for w in model.weights})


# 4. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return model.predict_on_batch(x)


# 5. All observations
def extract(model, x):
    """Features of all observations, batch by batch."""
    return model.predict(x, batch_size=BATCH_SIZE)


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

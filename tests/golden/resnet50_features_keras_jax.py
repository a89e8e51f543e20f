"""ResNet-50 features, in Keras on JAX.

python resnet50_features_keras_jax.py --data cifar10.npz
"""

import argparse
import os
import time

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np
from keras import layers, ops

BATCH_SIZE = 32


# 1. Load the data
def load_data(path):
    """Read images (N x 224 x 224 x 3, values from 0 to 1)."""
    data = np.load(path)
    x = data["x_test"][:1000].repeat(7, axis=2).repeat(7, axis=3)
    return x.transpose(0, 2, 3, 1).astype(np.float32, order="C") / 255


# 2. The network
def projection_bottleneck(x, channels, stride, name):
    y = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_conv1")(x)
    y = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm1")(y)
    y = layers.Activation("relu", name=f"{name}_relu1")(y)
    y = layers.ZeroPadding2D(1, name=f"{name}_conv2_pad")(y)
    y = layers.Conv2D(
        channels, 3, strides=stride, use_bias=False, name=f"{name}_conv2"
    )(y)
    y = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm2")(y)
    y = layers.Activation("relu", name=f"{name}_relu2")(y)
    y = layers.Conv2D(4 * channels, 1, use_bias=False, name=f"{name}_conv3")(y)
    y = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm3")(y)
    x = layers.Conv2D(
        4 * channels, 1, strides=stride, use_bias=False, name=f"{name}_project"
    )(x)
    x = layers.BatchNormalization(
        momentum=0.9, epsilon=1e-5, name=f"{name}_project_norm"
    )(x)
    y = layers.Add(name=f"{name}_add")([y, x])
    return layers.Activation("relu", name=f"{name}_relu3")(y)


def bottleneck(x, channels, name):
    y = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_conv1")(x)
    y = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm1")(y)
    y = layers.Activation("relu", name=f"{name}_relu1")(y)
    y = layers.Conv2D(
        channels, 3, padding="same", use_bias=False, name=f"{name}_conv2"
    )(y)
    y = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm2")(y)
    y = layers.Activation("relu", name=f"{name}_relu2")(y)
    y = layers.Conv2D(4 * channels, 1, use_bias=False, name=f"{name}_conv3")(y)
    y = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm3")(y)
    y = layers.Add(name=f"{name}_add")([y, x])
    return layers.Activation("relu", name=f"{name}_relu3")(y)


def resnet50_features():
    inputs = keras.Input((224, 224, 3))
    x = layers.ZeroPadding2D(3, name="conv1_pad")(inputs)
    x = layers.Conv2D(64, 7, strides=2, use_bias=False, name="conv1")(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name="norm1")(x)
    x = layers.Activation("relu", name="relu1")(x)
    x = ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    x = layers.MaxPooling2D(3, strides=2, name="pool1")(x)
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
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, x)


# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network."""
    keras.utils.set_random_seed(seed)
    return resnet50_features()


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    for weight in model.weights:
        weight.assign(arrays[weight.path])


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    np.savez(path, **{weight.path: weight.numpy() for weight in model.weights})


# 4. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return model.predict_on_batch(x)


# 5. All observations
def extract(model, x):
    """Features of all observations, batch by batch."""
    return model.predict(x, batch_size=BATCH_SIZE, verbose=0)


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

"""ResNet-50 features, in TensorFlow 1.

python resnet50_features_tensorflow1.py --data cifar10.npz
"""

import argparse
import time
from collections import namedtuple

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
def projection_bottleneck(x, channels, stride):
    y = tf.layers.conv2d(x, channels, 1, use_bias=False, name="conv1")
    y = tf.layers.batch_normalization(y, momentum=0.9, epsilon=1e-5, name="norm1")
    y = tf.nn.relu(y)
    y = tf.pad(y, [[0, 0], [1, 1], [1, 1], [0, 0]])
    y = tf.layers.conv2d(y, channels, 3, strides=stride, use_bias=False, name="conv2")
    y = tf.layers.batch_normalization(y, momentum=0.9, epsilon=1e-5, name="norm2")
    y = tf.nn.relu(y)
    y = tf.layers.conv2d(y, 4 * channels, 1, use_bias=False, name="conv3")
    y = tf.layers.batch_normalization(y, momentum=0.9, epsilon=1e-5, name="norm3")
    x = tf.layers.conv2d(
        x, 4 * channels, 1, strides=stride, use_bias=False, name="project"
    )
    x = tf.layers.batch_normalization(
        x, momentum=0.9, epsilon=1e-5, name="project_norm"
    )
    return tf.nn.relu(y + x)


def bottleneck(x, channels):
    y = tf.layers.conv2d(x, channels, 1, use_bias=False, name="conv1")
    y = tf.layers.batch_normalization(y, momentum=0.9, epsilon=1e-5, name="norm1")
    y = tf.nn.relu(y)
    y = tf.layers.conv2d(y, channels, 3, padding="same", use_bias=False, name="conv2")
    y = tf.layers.batch_normalization(y, momentum=0.9, epsilon=1e-5, name="norm2")
    y = tf.nn.relu(y)
    y = tf.layers.conv2d(y, 4 * channels, 1, use_bias=False, name="conv3")
    y = tf.layers.batch_normalization(y, momentum=0.9, epsilon=1e-5, name="norm3")
    return tf.nn.relu(y + x)


def resnet50_features(x):
    x = tf.pad(x, [[0, 0], [3, 3], [3, 3], [0, 0]])
    x = tf.layers.conv2d(x, 64, 7, strides=2, use_bias=False, name="conv1")
    x = tf.layers.batch_normalization(x, momentum=0.9, epsilon=1e-5, name="norm1")
    x = tf.nn.relu(x)
    x = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], constant_values=float("-inf"))
    x = tf.layers.max_pooling2d(x, 3, 2)
    with tf.variable_scope("stage1_first"):
        x = projection_bottleneck(x, channels=64, stride=1)
    for i in range(2):
        with tf.variable_scope(f"stage1_{i}"):
            x = bottleneck(x, channels=64)
    with tf.variable_scope("stage2_first"):
        x = projection_bottleneck(x, channels=128, stride=2)
    for i in range(3):
        with tf.variable_scope(f"stage2_{i}"):
            x = bottleneck(x, channels=128)
    with tf.variable_scope("stage3_first"):
        x = projection_bottleneck(x, channels=256, stride=2)
    for i in range(5):
        with tf.variable_scope(f"stage3_{i}"):
            x = bottleneck(x, channels=256)
    with tf.variable_scope("stage4_first"):
        x = projection_bottleneck(x, channels=512, stride=2)
    for i in range(2):
        with tf.variable_scope(f"stage4_{i}"):
            x = bottleneck(x, channels=512)
    return tf.reduce_mean(x, axis=[1, 2])


# 3. Loss, optimizer, initial weights
Model = namedtuple("Model", "session variables x scores")


def build(seed=0):
    """Create the graph, and a session that holds its variables."""
    tf.reset_default_graph()
    tf.set_random_seed(seed)
    x = tf.placeholder(tf.float32, [None, 224, 224, 3], name="x")
    scores = resnet50_features(x)
    variables = tf.global_variables()
    session = tf.Session()
    session.run(tf.global_variables_initializer())
    return Model(session, variables, x, scores)


def load_weights(model, path):
    """Set the variables to the named arrays of an .npz file."""
    arrays = np.load(path)
    for variable in model.variables:
        variable.load(arrays[variable.op.name], model.session)


def save_weights(model, path):
    """Write the variables as named arrays of an .npz file."""
    np.savez(path, **model.session.run({v.op.name: v for v in model.variables}))


# 4. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return model.session.run(model.scores, {model.x: x})


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

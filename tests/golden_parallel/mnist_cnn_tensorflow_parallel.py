"""Convolutional network on MNIST, in TensorFlow, on several processes.

TF_CONFIG=... python mnist_cnn_tensorflow_parallel.py --data mnist.npz
"""

import argparse
import math

import numpy as np
import tensorflow as tf

BATCH_SIZE = 128
EPOCHS = 5

strategy = tf.distribute.MultiWorkerMirroredStrategy()
RANK = strategy.cluster_resolver.task_id
WORKERS = strategy.num_replicas_in_sync


# 1. Load the data
def load_data(path):
    """Read images (N x 28 x 28 x 1, values from 0 to 1) and labels."""
    data = np.load(path)
    x_train = data["x_train"].reshape(-1, 28, 28, 1).astype(np.float32) / 255
    x_test = data["x_test"].reshape(-1, 28, 28, 1).astype(np.float32) / 255
    return x_train, data["y_train"], x_test, data["y_test"]


# 2. The network
def glorot_uniform(shape):
    """Values within sqrt(6 / (fan_in + fan_out)) of 0."""
    *space, inputs, outputs = shape
    limit = math.sqrt(6 / (math.prod(space) * (inputs + outputs)))
    return tf.random.uniform(shape, -limit, limit)


class Dense(tf.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.kernel = tf.Variable(glorot_uniform([inputs, outputs]))
        self.bias = tf.Variable(tf.zeros([outputs]))

    def __call__(self, x):
        return x @ self.kernel + self.bias


class Conv2D(tf.Module):
    def __init__(self, inputs, outputs, kernel_size, strides=1, padding="VALID"):
        super().__init__()
        self.kernel = tf.Variable(glorot_uniform([*kernel_size, inputs, outputs]))
        self.bias = tf.Variable(tf.zeros([outputs]))
        self.strides, self.padding = strides, padding

    def __call__(self, x):
        return tf.nn.conv2d(x, self.kernel, self.strides, self.padding) + self.bias


class MnistCnn(tf.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = Conv2D(1, 32, kernel_size=(3, 3))
        self.conv2 = Conv2D(32, 64, kernel_size=(3, 3))
        self.fc1 = Dense(9216, 128)
        self.fc2 = Dense(128, 10)

    @tf.function(reduce_retracing=True)
    def __call__(self, x, training=False):
        x = tf.nn.relu(self.conv1(x))
        x = tf.nn.relu(self.conv2(x))
        x = tf.nn.max_pool2d(x, ksize=2, strides=2, padding="VALID")
        if training:
            x = tf.nn.dropout(x, 0.25)
        x = tf.reshape(x, [-1, 9216])
        x = tf.nn.relu(self.fc1(x))
        if training:
            x = tf.nn.dropout(x, 0.5)
        return self.fc2(x)


# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network and its optimizer."""
    tf.random.set_seed(seed)
    with strategy.scope():
        model = MnistCnn()
        optimizer = tf.keras.optimizers.Adam(learning_rate=0.001, epsilon=1e-8)
        optimizer.build(model.trainable_variables)
    return model, optimizer


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


# 4. Train
def batches(count, rng):
    """Yield this process's rows of each complete batch, in a new random order."""
    order = rng.permutation(count)
    for start in range(0, count - BATCH_SIZE + 1, BATCH_SIZE):
        yield order[start + RANK : start + BATCH_SIZE : WORKERS]


def update(model, optimizer, x, y):
    """Make this process's part of a step; return its part of the loss."""
    with tf.GradientTape() as tape:
        scores = model(x, training=True)
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=scores)
        )
        # The optimizer adds up the gradients of all.
        loss /= WORKERS
    variables = model.trainable_variables
    gradients = tape.gradient(loss, variables)
    optimizer.apply_gradients(zip(gradients, variables))
    return loss


@tf.function
def train_step(model, optimizer, x, y):
    """Make one optimizer step; x and y are this process's share of a batch."""
    loss = strategy.run(update, args=(model, optimizer, x, y))
    return strategy.reduce("SUM", loss, axis=None)


def train(model, optimizer, x, y, epochs=EPOCHS, seed=0, validation=None, on_step=None):
    """Train for some epochs; print the mean loss of each."""
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        losses = []
        for rows in batches(len(x), rng):
            losses.append(train_step(model, optimizer, x[rows], y[rows]))
            if on_step:
                on_step(losses[-1])
        report = f"epoch {epoch + 1}: loss {tf.reduce_mean(losses):.4f}"
        if validation:
            report += f", accuracy {evaluate(model, *validation):.4f}"
        if RANK == 0:
            print(report)


# 5. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return model(x).numpy()


# 6. Evaluate
def evaluate(model, x, y):
    """Share of observations whose highest score is that of their label."""
    correct = 0
    for start in range(0, len(x), BATCH_SIZE):
        rows = slice(start, start + BATCH_SIZE)
        correct += np.sum(predict(model, x[rows]).argmax(axis=1) == y[rows])
    return correct / len(x)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="mnist.npz")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", help="initial weights (.npz)")
    parser.add_argument("--save", help="where to write the trained weights (.npz)")
    args = parser.parse_args()

    x_train, y_train, *test = load_data(args.data)
    model, optimizer = build(args.seed)
    if args.weights:
        load_weights(model, args.weights)
    train(model, optimizer, x_train, y_train, args.epochs, args.seed, validation=test)
    if args.save and RANK == 0:
        save_weights(model, args.save)


if __name__ == "__main__":
    main()

"""Autoencoder on MNIST, in TensorFlow.

python mnist_autoencoder_tensorflow.py --data mnist.npz
"""

import argparse
import math

import numpy as np
import tensorflow as tf

BATCH_SIZE = 128
EPOCHS = 10


# 1. Load the data
def load_data(path):
    """Read images (N x 784, values from 0 to 1); the target is the image itself."""
    data = np.load(path)
    x_train = data["x_train"].reshape(-1, 784).astype(np.float32) / 255
    x_test = data["x_test"].reshape(-1, 784).astype(np.float32) / 255
    return x_train, x_train, x_test, x_test


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


class MnistAutoencoder(tf.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = Dense(784, 256)
        self.fc2 = Dense(256, 2)
        self.fc3 = Dense(2, 256)
        self.fc4 = Dense(256, 784)

    @tf.function(reduce_retracing=True)
    def __call__(self, x):
        x = tf.nn.relu(self.fc1(x))
        x = tf.nn.relu(self.fc2(x))
        x = tf.nn.relu(self.fc3(x))
        return tf.nn.relu(self.fc4(x))


# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network and its optimizer."""
    tf.random.set_seed(seed)
    model = MnistAutoencoder()
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
    """Yield the rows of each complete batch, in a new random order."""
    order = rng.permutation(count)
    for start in range(0, count - BATCH_SIZE + 1, BATCH_SIZE):
        yield order[start : start + BATCH_SIZE]


@tf.function
def train_step(model, optimizer, x, y):
    """Make one optimizer step on a batch; return its loss."""
    with tf.GradientTape() as tape:
        scores = model(x)
        loss = tf.reduce_mean((scores - y) ** 2)
    variables = model.trainable_variables
    gradients = tape.gradient(loss, variables)
    optimizer.apply_gradients(zip(gradients, variables))
    return loss


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
            report += f", error {evaluate(model, *validation):.4f}"
        print(report)


# 5. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return model(x).numpy()


# 6. Evaluate
def evaluate(model, x, y):
    """Mean squared error."""
    total = 0
    for start in range(0, len(x), BATCH_SIZE):
        rows = slice(start, start + BATCH_SIZE)
        total += np.sum((predict(model, x[rows]) - y[rows]) ** 2)
    return total / y.size


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
    if args.save:
        save_weights(model, args.save)


if __name__ == "__main__":
    main()

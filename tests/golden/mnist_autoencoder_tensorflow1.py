"""Autoencoder on MNIST, in TensorFlow 1.

python mnist_autoencoder_tensorflow1.py --data mnist.npz
"""

import argparse
from collections import namedtuple

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
def mnist_autoencoder(x):
    x = tf.layers.dense(x, 256, activation=tf.nn.relu, name="fc1")
    x = tf.layers.dense(x, 2, activation=tf.nn.relu, name="fc2")
    x = tf.layers.dense(x, 256, activation=tf.nn.relu, name="fc3")
    return tf.layers.dense(x, 784, activation=tf.nn.relu, name="fc4")


# 3. Loss, optimizer, initial weights
Model = namedtuple("Model", "session variables x y scores loss train_op")


def build(seed=0):
    """Create the graph, and a session that holds its variables."""
    tf.reset_default_graph()
    tf.set_random_seed(seed)
    x = tf.placeholder(tf.float32, [None, 784], name="x")
    y = tf.placeholder(tf.float32, [None, 784], name="y")
    scores = mnist_autoencoder(x)
    variables = tf.global_variables()  # the optimizer adds others
    loss = tf.reduce_mean(tf.square(scores - y))
    optimizer = tf.train.AdamOptimizer(learning_rate=0.001)
    train_op = optimizer.minimize(loss)
    session = tf.Session()
    session.run(tf.global_variables_initializer())
    return Model(session, variables, x, y, scores, loss, train_op)


def load_weights(model, path):
    """Set the variables to the named arrays of an .npz file."""
    arrays = np.load(path)
    for variable in model.variables:
        variable.load(arrays[variable.op.name], model.session)


def save_weights(model, path):
    """Write the variables as named arrays of an .npz file."""
    np.savez(path, **model.session.run({v.op.name: v for v in model.variables}))


# 4. Train
def batches(count, rng):
    """Yield the rows of each complete batch, in a new random order."""
    order = rng.permutation(count)
    for start in range(0, count - BATCH_SIZE + 1, BATCH_SIZE):
        yield order[start : start + BATCH_SIZE]


def train_step(model, x, y):
    """Make one optimizer step on a batch; return its loss."""
    feed_dict = {model.x: x, model.y: y}
    _, loss = model.session.run([model.train_op, model.loss], feed_dict)
    return loss


def train(model, x, y, epochs=EPOCHS, seed=0, validation=None, on_step=None):
    """Train for some epochs; print the mean loss of each."""
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        losses = []
        for rows in batches(len(x), rng):
            losses.append(train_step(model, x[rows], y[rows]))
            if on_step:
                on_step(losses[-1])
        report = f"epoch {epoch + 1}: loss {np.mean(losses):.4f}"
        if validation:
            report += f", error {evaluate(model, *validation):.4f}"
        print(report)


# 5. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return model.session.run(model.scores, {model.x: x})


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
    model = build(args.seed)
    if args.weights:
        load_weights(model, args.weights)
    train(model, x_train, y_train, args.epochs, args.seed, validation=test)
    if args.save:
        save_weights(model, args.save)


if __name__ == "__main__":
    main()

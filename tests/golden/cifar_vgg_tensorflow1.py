"""VGG-style network on CIFAR-10, in TensorFlow 1.

python cifar_vgg_tensorflow1.py --data cifar10.npz
"""

import argparse
from collections import namedtuple

import numpy as np
import tensorflow as tf

BATCH_SIZE = 64
EPOCHS = 10


# 1. Load the data
def load_data(path):
    """Read images (N x 32 x 32 x 3, values from 0 to 1) and labels."""
    data = np.load(path)
    x_train = data["x_train"].transpose(0, 2, 3, 1).astype(np.float32, order="C") / 255
    x_test = data["x_test"].transpose(0, 2, 3, 1).astype(np.float32, order="C") / 255
    return x_train, data["y_train"], x_test, data["y_test"]


# 2. The network
def cifar_vgg(x, training):
    x = tf.layers.conv2d(x, 50, 3, padding="same", activation=tf.nn.relu, name="conv1")
    x = tf.layers.conv2d(x, 50, 3, padding="same", activation=tf.nn.relu, name="conv2")
    x = tf.layers.max_pooling2d(x, 2, 2)
    x = tf.layers.dropout(x, 0.25, training=training)
    x = tf.layers.conv2d(x, 100, 3, padding="same", activation=tf.nn.relu, name="conv3")
    x = tf.layers.conv2d(x, 100, 3, padding="same", activation=tf.nn.relu, name="conv4")
    x = tf.layers.max_pooling2d(x, 2, 2)
    x = tf.layers.dropout(x, 0.25, training=training)
    x = tf.layers.flatten(x)
    x = tf.layers.dense(x, 512, activation=tf.nn.relu, name="fc1")
    x = tf.layers.dropout(x, 0.5, training=training)
    return tf.layers.dense(x, 10, name="fc2")


# 3. Loss, optimizer, initial weights
Model = namedtuple("Model", "session variables x y training scores loss train_op")


def build(seed=0):
    """Create the graph, and a session that holds its variables."""
    tf.reset_default_graph()
    tf.set_random_seed(seed)
    x = tf.placeholder(tf.float32, [None, 32, 32, 3], name="x")
    y = tf.placeholder(tf.int64, [None], name="y")
    training = tf.placeholder_with_default(False, [], name="training")
    scores = cifar_vgg(x, training)
    variables = tf.global_variables()  # the optimizer adds others
    loss = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=scores)
    )
    optimizer = tf.train.MomentumOptimizer(learning_rate=0.01, momentum=0.9)
    train_op = optimizer.minimize(loss)
    session = tf.Session()
    session.run(tf.global_variables_initializer())
    return Model(session, variables, x, y, training, scores, loss, train_op)


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
    feed_dict = {model.x: x, model.y: y, model.training: True}
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
            report += f", accuracy {evaluate(model, *validation):.4f}"
        print(report)


# 5. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return model.session.run(model.scores, {model.x: x})


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
    parser.add_argument("--data", default="cifar10.npz")
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

"""GRU on IMDB reviews, in TensorFlow.

python imdb_gru_tensorflow.py --data imdb.npz
"""

import argparse
import math

import numpy as np
import tensorflow as tf

BATCH_SIZE = 64
EPOCHS = 3


# 1. Load the data
def load_data(path):
    """Read words (N x 150 indices) and labels."""
    data = np.load(path)
    return data["x_train"], data["y_train"], data["x_test"], data["y_test"]


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


class Embedding(tf.Module):
    def __init__(self, vocabulary, features):
        super().__init__()
        self.table = tf.Variable(tf.random.uniform([vocabulary, features], -0.05, 0.05))

    def __call__(self, x):
        return tf.nn.embedding_lookup(self.table, x)


class GRU(tf.Module):
    """The gates lie in the order reset, update, candidate."""

    def __init__(self, inputs, units):
        super().__init__()
        self.kernel = tf.Variable(glorot_uniform([inputs, 3 * units]))
        self.recurrent = tf.Variable(glorot_uniform([units, 3 * units]))
        self.bias = tf.Variable(tf.zeros([3 * units]))
        self.recurrent_bias = tf.Variable(tf.zeros([3 * units]))

    def step(self, h, x):
        """The next state; x is the product of a step with the kernel."""
        x_r, x_z, x_n = tf.split(x, 3, axis=-1)
        h_r, h_z, h_n = tf.split(h @ self.recurrent + self.recurrent_bias, 3, axis=-1)
        r, z = tf.sigmoid(x_r + h_r), tf.sigmoid(x_z + h_z)
        n = tf.tanh(x_n + r * h_n)
        return (1 - z) * n + z * h

    def __call__(self, x):
        """The states of all steps, N x T x units."""
        x = tf.transpose(x @ self.kernel + self.bias, [1, 0, 2])
        h = tf.zeros([tf.shape(x)[1], self.recurrent.shape[0]])
        return tf.transpose(tf.scan(self.step, x, h), [1, 0, 2])


class ImdbGru(tf.Module):
    def __init__(self):
        super().__init__()
        self.embedding = Embedding(30000, 125)
        self.gru = GRU(125, 100)
        self.fc = Dense(100, 2)

    @tf.function(reduce_retracing=True)
    def __call__(self, x):
        x = self.embedding(x)
        x = self.gru(x)[:, -1]
        return self.fc(x)


# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network and its optimizer."""
    tf.random.set_seed(seed)
    model = ImdbGru()
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
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=scores)
        )
    variables = model.trainable_variables
    gradients = tape.gradient(loss, variables)
    # Add up the rows of repeated words before Adam squares them.
    gradients = [tf.convert_to_tensor(g) for g in gradients]
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
            report += f", accuracy {evaluate(model, *validation):.4f}"
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
    parser.add_argument("--data", default="imdb.npz")
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

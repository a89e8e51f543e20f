"""GRU on IMDB reviews, in Chainer.

python imdb_gru_chainer.py --data imdb.npz
"""

import argparse

import chainer
import chainer.functions as F
import chainer.links as L
import numpy as np

BATCH_SIZE = 64
EPOCHS = 3


# 1. Load the data
def load_data(path):
    """Read words (N x 150 indices) and labels."""
    data = np.load(path)
    return data["x_train"], data["y_train"], data["x_test"], data["y_test"]


# 2. The network
glorot = chainer.initializers.GlorotUniform()
uniform = chainer.initializers.Uniform(0.05)


def glorot_of_gru(array):
    """Glorot's uniform distribution, for one gate: the outputs of all three count."""
    outputs, inputs = array.shape
    chainer.initializers.Uniform(np.sqrt(6 / (inputs + 3 * outputs)))(array)


class ImdbGru(chainer.Chain):
    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.embedding = L.EmbedID(30000, 125, initialW=uniform)
            self.gru = L.NStepGRU(1, 125, 100, dropout=0, initialW=glorot_of_gru)
            self.fc = L.Linear(100, 2, initialW=glorot)

    def forward(self, x):
        x = self.embedding(x)
        h, _ = self.gru(None, F.separate(x))
        return self.fc(h[0])


# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network and its optimizer."""
    np.random.seed(seed)
    model = ImdbGru()
    optimizer = chainer.optimizers.Adam(alpha=0.001).setup(model)
    return model, optimizer


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    chainer.serializers.load_npz(path, model)


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    chainer.serializers.save_npz(path, model)


# 4. Train
def batches(count, rng):
    """Yield the rows of each complete batch, in a new random order."""
    order = rng.permutation(count)
    for start in range(0, count - BATCH_SIZE + 1, BATCH_SIZE):
        yield order[start : start + BATCH_SIZE]


def train_step(model, optimizer, x, y):
    """Make one optimizer step on a batch; return its loss."""
    loss = F.softmax_cross_entropy(model(x), y)
    model.cleargrads()
    loss.backward()
    optimizer.update()
    return loss.array


def train(model, optimizer, x, y, epochs=EPOCHS, seed=0, validation=None, on_step=None):
    """Train for some epochs; print the mean loss of each."""
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        losses = []
        for rows in batches(len(x), rng):
            losses.append(train_step(model, optimizer, x[rows], y[rows]))
            if on_step:
                on_step(losses[-1])
        report = f"epoch {epoch + 1}: loss {np.mean(losses):.4f}"
        if validation:
            report += f", accuracy {evaluate(model, *validation):.4f}"
        print(report)


# 5. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    with chainer.using_config("train", False), chainer.no_backprop_mode():
        return model(x).array


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

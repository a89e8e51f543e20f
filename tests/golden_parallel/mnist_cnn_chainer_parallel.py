"""Convolutional network on MNIST, in Chainer, on several processes.

mpiexec -n 2 python mnist_cnn_chainer_parallel.py --data mnist.npz
"""

import argparse

import chainer
import chainer.functions as F
import chainer.links as L
import chainermn
import numpy as np

BATCH_SIZE = 128
EPOCHS = 5

COMM = chainermn.create_communicator("naive")
RANK, WORKERS = COMM.rank, COMM.size


# 1. Load the data
def load_data(path):
    """Read images (N x 1 x 28 x 28, values from 0 to 1) and labels."""
    data = np.load(path)
    x_train = data["x_train"].astype(np.float32) / 255
    x_test = data["x_test"].astype(np.float32) / 255
    return x_train, data["y_train"], x_test, data["y_test"]


# 2. The network
glorot = chainer.initializers.GlorotUniform()


class MnistCnn(chainer.Chain):
    def __init__(self):
        super().__init__()
        with self.init_scope():
            self.conv1 = L.Convolution2D(1, 32, ksize=3, initialW=glorot)
            self.conv2 = L.Convolution2D(32, 64, ksize=3, initialW=glorot)
            self.fc1 = L.Linear(9216, 128, initialW=glorot)
            self.fc2 = L.Linear(128, 10, initialW=glorot)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        x = F.dropout(F.max_pooling_2d(x, 2), 0.25)
        x = x.reshape(-1, 9216)
        x = F.relu(self.fc1(x))
        x = F.dropout(x, 0.5)
        return self.fc2(x)


# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network and its optimizer."""
    # Each drops other values; the initial weights are those of the first.
    np.random.seed(seed + RANK)
    model = MnistCnn()
    optimizer = chainermn.create_multi_node_optimizer(
        chainer.optimizers.Adam(alpha=0.001), COMM
    ).setup(model)
    # The first update only hands the weights of the first to all.
    optimizer.update()
    return model, optimizer


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    chainer.serializers.load_npz(path, model)


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    chainer.serializers.save_npz(path, model)


# 4. Train
def batches(count, rng):
    """Yield this process's rows of each complete batch, in a new random order."""
    order = rng.permutation(count)
    for start in range(0, count - BATCH_SIZE + 1, BATCH_SIZE):
        yield order[start + RANK : start + BATCH_SIZE : WORKERS]


def train_step(model, optimizer, x, y):
    """Make one optimizer step on this process's share of a batch; return its loss."""
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
        loss = COMM.allreduce_obj(np.mean(losses)) / WORKERS
        report = f"epoch {epoch + 1}: loss {loss:.4f}"
        if validation:
            report += f", accuracy {evaluate(model, *validation):.4f}"
        if RANK == 0:
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

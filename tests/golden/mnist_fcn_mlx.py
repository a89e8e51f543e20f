"""Fully connected network on MNIST, in MLX.

python mnist_fcn_mlx.py --data mnist.npz
"""

import argparse

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
from mlx import nn
from mlx.utils import tree_flatten

BATCH_SIZE = 128
EPOCHS = 10


# 1. Load the data
def load_data(path):
    """Read images (N x 784, values from 0 to 1) and labels."""
    data = np.load(path)
    x_train = data["x_train"].reshape(-1, 784).astype(np.float32) / 255
    x_test = data["x_test"].reshape(-1, 784).astype(np.float32) / 255
    return x_train, data["y_train"], x_test, data["y_test"]


# 2. The network
class MnistFcn(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(784, 512)
        self.dropout1 = nn.Dropout(0.2)
        self.fc2 = nn.Linear(512, 256)
        self.dropout2 = nn.Dropout(0.2)
        self.fc3 = nn.Linear(256, 10)

    def __call__(self, x):
        x = nn.relu(self.fc1(x))
        x = self.dropout1(x)
        x = nn.relu(self.fc2(x))
        x = self.dropout2(x)
        return self.fc3(x)


# 3. Loss, optimizer, initial weights
def initialize(model):
    """Draw the weights anew: MLX has distributions of its own."""
    kernel = nn.init.glorot_uniform()
    model.apply(lambda w: kernel(w) if w.ndim > 1 else mx.zeros_like(w))


def build(seed=0):
    """Create the network and its optimizer."""
    mx.random.seed(seed)
    model = MnistFcn()
    initialize(model)
    optimizer = optim.Adam(learning_rate=0.001, bias_correction=True)
    return model, optimizer


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    model.load_weights(path)


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    np.savez(path, **dict(tree_flatten(model.parameters())))


# 4. Train
def batches(count, rng):
    """Yield the rows of each complete batch, in a new random order."""
    order = rng.permutation(count)
    for start in range(0, count - BATCH_SIZE + 1, BATCH_SIZE):
        yield order[start : start + BATCH_SIZE]


def loss_fn(model, x, y):
    return nn.losses.cross_entropy(model(x), y, reduction="mean")


def train_step(model, optimizer, x, y):
    """Make one optimizer step on a batch; return its loss."""
    model.train()
    loss_and_grad = nn.value_and_grad(model, loss_fn)
    loss, gradients = loss_and_grad(model, mx.array(x), mx.array(y))
    optimizer.update(model, gradients)
    mx.eval(loss, model.parameters(), optimizer.state)
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
        report = f"epoch {epoch + 1}: loss {mx.stack(losses).mean().item():.4f}"
        if validation:
            report += f", accuracy {evaluate(model, *validation):.4f}"
        print(report)


# 5. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    model.eval()
    return np.array(model(mx.array(x)))


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
    if args.save:
        save_weights(model, args.save)


if __name__ == "__main__":
    main()

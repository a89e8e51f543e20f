"""Fully connected network on MNIST, in PaddlePaddle.

python mnist_fcn_paddle.py --data mnist.npz
"""

import argparse

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

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
class MnistFcn(nn.Layer):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(784, 512)
        self.dropout1 = nn.Dropout(0.2)
        self.fc2 = nn.Linear(512, 256)
        self.dropout2 = nn.Dropout(0.2)
        self.fc3 = nn.Linear(256, 10)

    def forward(self, x):
        x = F.relu(self.fc1(x))
        x = self.dropout1(x)
        x = F.relu(self.fc2(x))
        x = self.dropout2(x)
        return self.fc3(x)


# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network and its optimizer."""
    paddle.seed(seed)
    model = MnistFcn()
    optimizer = paddle.optimizer.Adam(
        learning_rate=0.001, parameters=model.parameters()
    )
    return model, optimizer


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    model.set_state_dict(dict(np.load(path)))


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    np.savez(path, **{k: v.numpy() for k, v in model.state_dict().items()})


# 4. Train
def batches(count, rng):
    """Yield the rows of each complete batch, in a new random order."""
    order = rng.permutation(count)
    for start in range(0, count - BATCH_SIZE + 1, BATCH_SIZE):
        yield order[start : start + BATCH_SIZE]


def train_step(model, optimizer, x, y):
    """Make one optimizer step on a batch; return its loss."""
    model.train()
    loss = F.cross_entropy(model(paddle.to_tensor(x)), paddle.to_tensor(y))
    loss.backward()
    optimizer.step()
    optimizer.clear_grad()
    return loss.detach()


def train(model, optimizer, x, y, epochs=EPOCHS, seed=0, validation=None, on_step=None):
    """Train for some epochs; print the mean loss of each."""
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        losses = []
        for rows in batches(len(x), rng):
            losses.append(train_step(model, optimizer, x[rows], y[rows]))
            if on_step:
                on_step(losses[-1])
        report = f"epoch {epoch + 1}: loss {paddle.stack(losses).mean():.4f}"
        if validation:
            report += f", accuracy {evaluate(model, *validation):.4f}"
        print(report)


# 5. Predict
@paddle.no_grad()
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    model.eval()
    return model(paddle.to_tensor(x)).numpy()


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

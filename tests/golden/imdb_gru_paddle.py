"""GRU on IMDB reviews, in PaddlePaddle.

python imdb_gru_paddle.py --data imdb.npz
"""

import argparse

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn
from paddle.nn.initializer import Constant, Uniform, XavierUniform

BATCH_SIZE = 64
EPOCHS = 3


# 1. Load the data
def load_data(path):
    """Read words (N x 150 indices) and labels."""
    data = np.load(path)
    return data["x_train"], data["y_train"], data["x_test"], data["y_test"]


# 2. The network
class ImdbGru(nn.Layer):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(30000, 125, weight_attr=Uniform(-0.05, 0.05))
        self.gru = nn.GRU(
            125,
            100,
            weight_ih_attr=XavierUniform(),
            weight_hh_attr=XavierUniform(),
            bias_ih_attr=Constant(0.0),
            bias_hh_attr=Constant(0.0),
        )
        self.fc = nn.Linear(100, 2)

    def forward(self, x):
        x = self.embedding(x)
        _, h = self.gru(x)
        return self.fc(h[-1])


# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network and its optimizer."""
    paddle.seed(seed)
    model = ImdbGru()
    optimizer = paddle.optimizer.Adam(
        learning_rate=0.001, parameters=model.parameters()
    )
    return model, optimizer


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    for name, parameter in model.named_parameters():
        parameter.set_value(arrays[name])


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    np.savez(path, **{name: p.numpy() for name, p in model.named_parameters()})


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

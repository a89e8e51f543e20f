"""Convolutional network on MNIST, in tinygrad.

python mnist_cnn_tinygrad.py --data mnist.npz
"""

import argparse
import math

import numpy as np
from tinygrad import Context, Tensor, TinyJit, nn

BATCH_SIZE = 128
EPOCHS = 5


# 1. Load the data
def load_data(path):
    """Read images (N x 1 x 28 x 28, values from 0 to 1) and labels."""
    data = np.load(path)
    x_train = data["x_train"].astype(np.float32) / 255
    x_test = data["x_test"].astype(np.float32) / 255
    return x_train, data["y_train"], x_test, data["y_test"]


# 2. The network
class MnistCnn:
    def __init__(self):
        self.conv1 = nn.Conv2d(1, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.fc1 = nn.Linear(9216, 128)
        self.fc2 = nn.Linear(128, 10)

    def __call__(self, x):
        x = self.conv1(x).relu()
        x = self.conv2(x).relu()
        x = x.max_pool2d((2, 2)).dropout(0.25)
        x = x.flatten(1)
        x = self.fc1(x).relu()
        x = x.dropout(0.5)
        return self.fc2(x)


# 3. Loss, optimizer, initial weights
def initialize(model):
    """Set the initial weights."""
    for name, weight in nn.state.get_state_dict(model).items():
        if name.endswith("bias"):
            weight.assign(Tensor.zeros(*weight.shape))
        else:
            # glorot_uniform counts the sizes of a kernel on one side only.
            outputs, inputs, *kernel = weight.shape
            limit = (6 / ((inputs + outputs) * math.prod(kernel))) ** 0.5
            weight.assign(Tensor.uniform(*weight.shape, low=-limit, high=limit))


def build(seed=0):
    """Create the network and its jitted training step."""
    Tensor.manual_seed(seed)
    model = MnistCnn()
    initialize(model)
    optimizer = nn.optim.Adam(nn.state.get_parameters(model), lr=0.001)

    @TinyJit
    @Context(TRAINING=1)
    def step(x, y):
        optimizer.zero_grad()
        loss = model(x).sparse_categorical_crossentropy(y).backward()
        return loss.realize(*optimizer.schedule_step())

    return model, step


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    weights = {name: Tensor(array) for name, array in np.load(path).items()}
    nn.state.load_state_dict(model, weights, verbose=False)


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    weights = nn.state.get_state_dict(model)
    np.savez(path, **{name: weight.numpy() for name, weight in weights.items()})


# 4. Train
def batches(count, rng):
    """Yield the rows of each complete batch, in a new random order."""
    order = rng.permutation(count)
    for start in range(0, count - BATCH_SIZE + 1, BATCH_SIZE):
        yield order[start : start + BATCH_SIZE]


def train_step(model, step, x, y):
    """Make one optimizer step on a batch; return its loss."""
    return step(Tensor(x), Tensor(y)).item()


def train(model, step, x, y, epochs=EPOCHS, seed=0, validation=None, on_step=None):
    """Train for some epochs; print the mean loss of each."""
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        losses = []
        for rows in batches(len(x), rng):
            losses.append(train_step(model, step, x[rows], y[rows]))
            if on_step:
                on_step(losses[-1])
        report = f"epoch {epoch + 1}: loss {np.mean(losses):.4f}"
        if validation:
            report += f", accuracy {evaluate(model, *validation):.4f}"
        print(report)


# 5. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return model(Tensor(x)).numpy()


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
    model, step = build(args.seed)
    if args.weights:
        load_weights(model, args.weights)
    train(model, step, x_train, y_train, args.epochs, args.seed, validation=test)
    if args.save:
        save_weights(model, args.save)


if __name__ == "__main__":
    main()

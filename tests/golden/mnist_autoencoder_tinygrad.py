"""Autoencoder on MNIST, in tinygrad.

python mnist_autoencoder_tinygrad.py --data mnist.npz
"""

import argparse

import numpy as np
from tinygrad import Context, Tensor, TinyJit, nn

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
class MnistAutoencoder:
    def __init__(self):
        self.fc1 = nn.Linear(784, 256)
        self.fc2 = nn.Linear(256, 2)
        self.fc3 = nn.Linear(2, 256)
        self.fc4 = nn.Linear(256, 784)

    def __call__(self, x):
        x = self.fc1(x).relu()
        x = self.fc2(x).relu()
        x = self.fc3(x).relu()
        return self.fc4(x).relu()


# 3. Loss, optimizer, initial weights
def initialize(model):
    """Set the initial weights."""
    for name, weight in nn.state.get_state_dict(model).items():
        if name.endswith("bias"):
            weight.assign(Tensor.zeros(*weight.shape))
        else:
            weight.assign(Tensor.glorot_uniform(*weight.shape))


def build(seed=0):
    """Create the network and its jitted training step."""
    Tensor.manual_seed(seed)
    model = MnistAutoencoder()
    initialize(model)
    optimizer = nn.optim.Adam(nn.state.get_parameters(model), lr=0.001)

    @TinyJit
    @Context(TRAINING=1)
    def step(x, y):
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean().backward()
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
            report += f", error {evaluate(model, *validation):.4f}"
        print(report)


# 5. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return model(Tensor(x)).numpy()


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
    model, step = build(args.seed)
    if args.weights:
        load_weights(model, args.weights)
    train(model, step, x_train, y_train, args.epochs, args.seed, validation=test)
    if args.save:
        save_weights(model, args.save)


if __name__ == "__main__":
    main()

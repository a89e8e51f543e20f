"""Autoencoder on MNIST, in DyNet.

python mnist_autoencoder_dynet.py --data mnist.npz
"""

import argparse

import dynet as dy
import numpy as np

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
        self.pc = dy.ParameterCollection()
        self.fc1_W = self.pc.add_parameters((256, 784))
        self.fc1_b = self.pc.add_parameters(256, init=0)
        self.fc2_W = self.pc.add_parameters((2, 256))
        self.fc2_b = self.pc.add_parameters(2, init=0)
        self.fc3_W = self.pc.add_parameters((256, 2))
        self.fc3_b = self.pc.add_parameters(256, init=0)
        self.fc4_W = self.pc.add_parameters((784, 256))
        self.fc4_b = self.pc.add_parameters(784, init=0)

    def __call__(self, x):
        x = dy.inputTensor(x.T, batched=True)
        x = dy.rectify(dy.affine_transform([self.fc1_b, self.fc1_W, x]))
        x = dy.rectify(dy.affine_transform([self.fc2_b, self.fc2_W, x]))
        x = dy.rectify(dy.affine_transform([self.fc3_b, self.fc3_W, x]))
        return dy.rectify(dy.affine_transform([self.fc4_b, self.fc4_W, x]))


# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network and its trainer."""
    dy.reset_random_seed(seed)
    model = MnistAutoencoder()
    trainer = dy.AdamTrainer(model.pc, alpha=0.001)
    trainer.set_clip_threshold(0)  # no clipping of gradients
    return model, trainer


def parameters(model):
    """Every parameter by name."""
    return {k: v for k, v in vars(model).items() if k != "pc"}


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    for name, parameter in parameters(model).items():
        parameter.set_value(arrays[name])


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    np.savez(path, **{name: p.as_array() for name, p in parameters(model).items()})


# 4. Train
def batches(count, rng):
    """Yield the rows of each complete batch, in a new random order."""
    order = rng.permutation(count)
    for start in range(0, count - BATCH_SIZE + 1, BATCH_SIZE):
        yield order[start : start + BATCH_SIZE]


def train_step(model, trainer, x, y):
    """Make one optimizer step on a batch; return its loss."""
    dy.renew_cg()
    target = dy.inputTensor(y.T, batched=True)
    losses = dy.squared_distance(model(x), target) / y[0].size
    loss = dy.mean_batches(losses)
    value = loss.value()
    loss.backward()
    trainer.update()
    return value


def train(model, trainer, x, y, epochs=EPOCHS, seed=0, validation=None, on_step=None):
    """Train for some epochs; print the mean loss of each."""
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        losses = []
        for rows in batches(len(x), rng):
            losses.append(train_step(model, trainer, x[rows], y[rows]))
            if on_step:
                on_step(losses[-1])
        report = f"epoch {epoch + 1}: loss {np.mean(losses):.4f}"
        if validation:
            report += f", error {evaluate(model, *validation):.4f}"
        print(report)


# 5. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    dy.renew_cg()
    return model(x).npvalue().T.reshape(len(x), -1)


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
    model, trainer = build(args.seed)
    if args.weights:
        load_weights(model, args.weights)
    train(model, trainer, x_train, y_train, args.epochs, args.seed, validation=test)
    if args.save:
        save_weights(model, args.save)


if __name__ == "__main__":
    main()

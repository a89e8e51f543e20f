"""Convolutional network on MNIST, in DyNet.

python mnist_cnn_dynet.py --data mnist.npz
"""

import argparse

import dynet as dy
import numpy as np

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
        self.pc = dy.ParameterCollection()
        self.conv1_W = self.pc.add_parameters((3, 3, 1, 32))
        self.conv1_b = self.pc.add_parameters(32, init=0)
        self.conv2_W = self.pc.add_parameters((3, 3, 32, 64))
        self.conv2_b = self.pc.add_parameters(64, init=0)
        self.fc1_W = self.pc.add_parameters((128, 9216))
        self.fc1_b = self.pc.add_parameters(128, init=0)
        self.fc2_W = self.pc.add_parameters((10, 128))
        self.fc2_b = self.pc.add_parameters(10, init=0)

    def __call__(self, x, training=False):
        # Dimensions of DyNet are axes of NumPy read backwards; its batch comes last.
        x = dy.inputTensor(x.T, batched=True)
        x = dy.rectify(dy.conv2d_bias(x, self.conv1_W, self.conv1_b, [1, 1]))
        x = dy.rectify(dy.conv2d_bias(x, self.conv2_W, self.conv2_b, [1, 1]))
        x = dy.maxpooling2d(x, [2, 2], [2, 2])
        if training:
            x = dy.dropout(x, 0.25)
        x = dy.reshape(x, (9216,))
        x = dy.rectify(dy.affine_transform([self.fc1_b, self.fc1_W, x]))
        if training:
            x = dy.dropout(x, 0.5)
        return dy.affine_transform([self.fc2_b, self.fc2_W, x])


# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network and its trainer."""
    dy.reset_random_seed(seed)
    model = MnistCnn()
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
    losses = dy.pickneglogsoftmax_batch(model(x, training=True), y)
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
            report += f", accuracy {evaluate(model, *validation):.4f}"
        print(report)


# 5. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    dy.renew_cg()
    return model(x).npvalue().T.reshape(len(x), -1)


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
    model, trainer = build(args.seed)
    if args.weights:
        load_weights(model, args.weights)
    train(model, trainer, x_train, y_train, args.epochs, args.seed, validation=test)
    if args.save:
        save_weights(model, args.save)


if __name__ == "__main__":
    main()

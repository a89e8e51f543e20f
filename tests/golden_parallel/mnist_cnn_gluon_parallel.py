"""Convolutional network on MNIST, in Gluon, on several processes.

launch.py -n 2 --launcher local python mnist_cnn_gluon_parallel.py --data mnist.npz
"""

import argparse

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon, nd
from mxnet.gluon import nn

BATCH_SIZE = 128
EPOCHS = 5
CTX = mx.gpu() if mx.context.num_gpus() else mx.cpu()

KV = mx.kv.create("dist_sync")
RANK, WORKERS = KV.rank, KV.num_workers


# 1. Load the data
def load_data(path):
    """Read images (N x 1 x 28 x 28, values from 0 to 1) and labels."""
    data = np.load(path)
    x_train = data["x_train"].astype(np.float32) / 255
    x_test = data["x_test"].astype(np.float32) / 255
    return x_train, data["y_train"], x_test, data["y_test"]


# 2. The network
class MnistCnn(nn.HybridBlock):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2D(32, kernel_size=3, activation="relu")
        self.conv2 = nn.Conv2D(64, kernel_size=3, activation="relu")
        self.pool = nn.MaxPool2D()
        self.dropout1 = nn.Dropout(0.25)
        self.fc1 = nn.Dense(128, activation="relu")
        self.dropout2 = nn.Dropout(0.5)
        self.fc2 = nn.Dense(10)

    def hybrid_forward(self, F, x):
        x = self.conv1(x)
        x = self.conv2(x)
        x = self.pool(x)
        x = self.dropout1(x)
        x = F.flatten(x)
        x = self.fc1(x)
        x = self.dropout2(x)
        return self.fc2(x)


# 3. Loss, optimizer, initial weights
loss_fn = gluon.loss.SoftmaxCrossEntropyLoss()


def build(seed=0):
    """Create the network and its optimizer."""
    mx.random.seed(seed)
    model = MnistCnn()
    model.initialize(mx.init.Xavier(), ctx=CTX)
    model.hybridize(static_alloc=True, static_shape=True)
    # The first batch tells the layers what sizes they read.
    model(nd.zeros((1, 1, 28, 28), ctx=CTX))
    mx.random.seed(seed + RANK)  # each drops other values
    trainer = gluon.Trainer(
        model.collect_params(), "adam", {"learning_rate": 0.001}, kvstore=KV
    )
    return model, trainer


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    parameters = model._collect_params_with_prefix()
    for name in arrays:
        parameters[name].set_data(nd.array(arrays[name]))


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    parameters = model._collect_params_with_prefix()
    np.savez(path, **{name: p.data().asnumpy() for name, p in parameters.items()})


# 4. Train
def batches(count, rng):
    """Yield this process's rows of each complete batch, in a new random order."""
    order = rng.permutation(count)
    for start in range(0, count - BATCH_SIZE + 1, BATCH_SIZE):
        yield order[start + RANK : start + BATCH_SIZE : WORKERS]


def train_step(model, trainer, x, y):
    """Make one optimizer step on this process's share of a batch; return its loss."""
    x, y = nd.array(x, ctx=CTX), nd.array(y, ctx=CTX)
    with autograd.record():
        # The log_softmax of oneDNN is only right to five digits in float32.
        loss = loss_fn(model(x).astype("float64"), y)
    loss.backward()
    trainer.step(len(x) * WORKERS)
    return loss.mean()


def train(model, trainer, x, y, epochs=EPOCHS, seed=0, validation=None, on_step=None):
    """Train for some epochs; print the mean loss of each."""
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        losses = []
        for rows in batches(len(x), rng):
            losses.append(train_step(model, trainer, x[rows], y[rows]))
            if on_step:
                on_step(losses[-1])
        # The loss is that of this process's rows.
        report = f"epoch {epoch + 1}: loss {sum(losses).asscalar() / len(losses):.4f}"
        if validation:
            report += f", accuracy {evaluate(model, *validation):.4f}"
        if RANK == 0:
            print(report)


# 5. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return model(nd.array(x, ctx=CTX)).asnumpy()


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
    if args.save and RANK == 0:
        save_weights(model, args.save)


if __name__ == "__main__":
    main()

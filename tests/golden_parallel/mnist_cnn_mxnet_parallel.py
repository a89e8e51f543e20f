"""Convolutional network on MNIST, in MXNet, on several processes.

launch.py -n 2 --launcher local python mnist_cnn_mxnet_parallel.py --data mnist.npz
"""

import argparse
import os

import mxnet as mx
import numpy as np
from mxnet import nd

BATCH_SIZE = 128
EPOCHS = 5
CTX = mx.gpu() if mx.context.num_gpus() else mx.cpu()

# The servers add up gradients; each process makes the step itself.
os.environ["MXNET_UPDATE_ON_KVSTORE"] = "0"
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
def mnist_cnn():
    data = mx.sym.Variable("data")
    x = mx.sym.Convolution(data, num_filter=32, kernel=(3, 3), name="conv1")
    x = mx.sym.Activation(x, act_type="relu")
    x = mx.sym.Convolution(x, num_filter=64, kernel=(3, 3), name="conv2")
    x = mx.sym.Activation(x, act_type="relu")
    x = mx.sym.Pooling(x, pool_type="max", kernel=(2, 2), stride=(2, 2))
    x = mx.sym.Dropout(x, p=0.25)
    x = mx.sym.Flatten(x)
    x = mx.sym.FullyConnected(x, num_hidden=128, name="fc1")
    x = mx.sym.Activation(x, act_type="relu")
    x = mx.sym.Dropout(x, p=0.5)
    return mx.sym.FullyConnected(x, num_hidden=10, name="fc2")


# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network and its optimizer."""
    mx.random.seed(seed)
    scores = mnist_cnn()
    softmax = mx.sym.SoftmaxOutput(scores, normalization="batch", name="softmax")
    outputs = mx.sym.Group([softmax, mx.sym.BlockGrad(scores)])
    model = mx.mod.Module(outputs, context=CTX)
    model.bind(
        [("data", (BATCH_SIZE // WORKERS, 1, 28, 28))],
        [("softmax_label", (BATCH_SIZE // WORKERS,))],
    )
    model.init_params(mx.init.Xavier())
    mx.random.seed(seed + RANK)  # each drops other values
    # The loss is a mean; the gradients of all processes are added up.
    params = {"learning_rate": 0.001, "rescale_grad": 1 / WORKERS}
    model.init_optimizer(kvstore=KV, optimizer="adam", optimizer_params=params)
    return model


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = {name: nd.array(array) for name, array in np.load(path).items()}
    model.set_params(arrays, arrays, allow_extra=True)


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    weights, statistics = model.get_params()
    arrays = {**weights, **statistics}
    np.savez(path, **{name: array.asnumpy() for name, array in arrays.items()})


# 4. Train
def batches(count, rng):
    """Yield this process's rows of each complete batch, in a new random order."""
    order = rng.permutation(count)
    for start in range(0, count - BATCH_SIZE + 1, BATCH_SIZE):
        yield order[start + RANK : start + BATCH_SIZE : WORKERS]


def train_step(model, x, y):
    """Make one optimizer step on this process's share of a batch; return its loss."""
    x, y = nd.array(x), nd.array(y)
    model.forward_backward(mx.io.DataBatch([x], [y]))
    model.update()
    probabilities, _ = model.get_outputs()
    return -nd.pick(probabilities, y).log().mean()


def train(model, x, y, epochs=EPOCHS, seed=0, validation=None, on_step=None):
    """Train for some epochs; print the mean loss of each."""
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        losses = []
        for rows in batches(len(x), rng):
            losses.append(train_step(model, x[rows], y[rows]))
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
    labels = nd.zeros(len(x))  # asked for, though they play no part
    model.forward(mx.io.DataBatch([nd.array(x)], [labels]), is_train=False)
    _, scores = model.get_outputs()
    return scores.asnumpy()


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
    model = build(args.seed)
    if args.weights:
        load_weights(model, args.weights)
    train(model, x_train, y_train, args.epochs, args.seed, validation=test)
    if args.save and RANK == 0:
        save_weights(model, args.save)


if __name__ == "__main__":
    main()

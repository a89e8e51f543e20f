"""LeNet on MNIST, in Caffe.

python mnist_lenet_caffe.py --data mnist.npz
"""

import argparse
from pathlib import Path

import caffe
import numpy as np
from caffe import layers as L
from caffe import params as P
from caffe.proto import caffe_pb2

BATCH_SIZE = 128
EPOCHS = 10

XAVIER = {"type": "xavier", "variance_norm": P.Filler.AVERAGE}


# 1. Load the data
def load_data(path):
    """Read images (N x 1 x 28 x 28, values from 0 to 1) and labels."""
    data = np.load(path)
    x_train = data["x_train"].astype(np.float32) / 255
    x_test = data["x_test"].astype(np.float32) / 255
    return x_train, data["y_train"], x_test, data["y_test"]


# 2. The network
def mnist_lenet(train=False):
    """The network, in training with its loss."""
    n = caffe.NetSpec()
    n.data = L.Input(shape={"dim": [BATCH_SIZE, 1, 28, 28]})
    n.conv1 = L.Convolution(n.data, num_output=20, kernel_size=5, weight_filler=XAVIER)
    n.tanh1 = L.TanH(n.conv1, in_place=True)
    n.pool1 = L.Pooling(n.tanh1, pool=P.Pooling.MAX, kernel_size=2, stride=2)
    n.conv2 = L.Convolution(n.pool1, num_output=50, kernel_size=5, weight_filler=XAVIER)
    n.tanh2 = L.TanH(n.conv2, in_place=True)
    n.pool2 = L.Pooling(n.tanh2, pool=P.Pooling.MAX, kernel_size=2, stride=2)
    n.fc1 = L.InnerProduct(n.pool2, num_output=500, weight_filler=XAVIER)
    n.tanh3 = L.TanH(n.fc1, in_place=True)
    n.fc2 = L.InnerProduct(n.tanh3, num_output=10, weight_filler=XAVIER)
    if train:
        n.label = L.Input(shape={"dim": [BATCH_SIZE]})
        n.loss = L.SoftmaxWithLoss(n.fc2, n.label)
    return n.to_proto()


# 3. Loss, optimizer, initial weights
def prototxt(name, message):
    """Write a net or a solver beside this file, as text; return the path."""
    path = Path(__file__).with_name(f"mnist_lenet_{name}.prototxt")
    path.write_text(str(message))
    return str(path)


def build(seed=0):
    """Create the net that predicts and the solver, whose net has the same weights."""
    parameters = caffe_pb2.SolverParameter(
        train_net=prototxt("train", mnist_lenet(train=True)),
        type="SGD",
        base_lr=0.1,
        lr_policy="fixed",
        random_seed=seed,
    )
    solver = caffe.get_solver(prototxt("solver", parameters))
    model = caffe.Net(prototxt("deploy", mnist_lenet()), caffe.TEST)
    model.share_with(solver.net)
    return model, solver


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    for layer, blobs in model.params.items():
        for i, blob in enumerate(blobs):
            blob.data[...] = arrays[f"{layer}.{i}"]


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    arrays = {}
    for layer, blobs in model.params.items():
        for i, blob in enumerate(blobs):
            arrays[f"{layer}.{i}"] = blob.data
    np.savez(path, **arrays)


# 4. Train
def batches(count, rng):
    """Yield the rows of each complete batch, in a new random order."""
    order = rng.permutation(count)
    for start in range(0, count - BATCH_SIZE + 1, BATCH_SIZE):
        yield order[start : start + BATCH_SIZE]


def train_step(model, solver, x, y):
    """Make one optimizer step on a batch; return its loss."""
    blobs = solver.net.blobs
    for name, array in (("data", x), ("label", y)):
        blobs[name].reshape(*array.shape)
        blobs[name].data[...] = array
    solver.step(1)
    return float(blobs["loss"].data)


def train(model, solver, x, y, epochs=EPOCHS, seed=0, validation=None, on_step=None):
    """Train for some epochs; print the mean loss of each."""
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        losses = []
        for rows in batches(len(x), rng):
            losses.append(train_step(model, solver, x[rows], y[rows]))
            if on_step:
                on_step(losses[-1])
        report = f"epoch {epoch + 1}: loss {np.mean(losses):.4f}"
        if validation:
            report += f", accuracy {evaluate(model, *validation):.4f}"
        print(report)


# 5. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    model.blobs["data"].reshape(*x.shape)
    return model.forward(data=x)["fc2"].copy()


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
    parser.add_argument("--save", help="the trained weights (.caffemodel)")
    args = parser.parse_args()

    x_train, y_train, *test = load_data(args.data)
    model, solver = build(args.seed)
    if args.weights:
        load_weights(model, args.weights)
    train(model, solver, x_train, y_train, args.epochs, args.seed, validation=test)
    if args.save:
        model.save(args.save)


if __name__ == "__main__":
    main()

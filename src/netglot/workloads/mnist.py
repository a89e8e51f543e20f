"""Handwritten digits: the polyglot repository's four networks, and the blog's LeNet."""

from __future__ import annotations

from netglot.data import DataSpec
from netglot.graph import Builder
from netglot.ops import LSTM, Conv, Dense, Dropout, Flatten, MaxPool, Relu, Tanh
from netglot.recipe import SGD, Adam, MeanSquaredError, Recipe, SoftmaxCrossEntropy
from netglot.workloads import Expected, Workload, reported

DIGITS = DataSpec("mnist", "images", (1, 28, 28), classes=10)


def fcn() -> Workload:
    """Two hidden layers."""
    net = Builder("mnist-fcn")
    x = net.input("image", "NF", (784,))
    for i, width in enumerate((512, 256), start=1):
        x = net.add(Dense(width), x, name=f"fc{i}")
        x = net.add(Relu(), x, name=f"relu{i}")
        x = net.add(Dropout(0.2), x, name=f"dropout{i}")
    x = net.add(Dense(10), x, name="fc3")
    return Workload(
        "mnist-fcn",
        "Fully connected network on MNIST",
        net.graph(x),
        Recipe(SoftmaxCrossEntropy(), Adam(1e-3), batch_size=128, epochs=10),
        DIGITS,
        expected=reported.polyglot(
            {
                "Keras": "98.2",
                "PyTorch": "97.8",
                "MXNet": "94.0",
                "TensorFlow": "92.8",
                "Theano": "79.7",
            }
        ),
        origin=reported.POLYGLOT,
    )


def cnn() -> Workload:
    """Two convolutions and two dense layers."""
    net = Builder("mnist-cnn")
    x = net.input("image", "NCHW", (1, 28, 28))
    x = net.add(Conv(32, (3, 3)), x, name="conv1")
    x = net.add(Relu(), x, name="relu1")
    x = net.add(Conv(64, (3, 3)), x, name="conv2")
    x = net.add(Relu(), x, name="relu2")
    x = net.add(MaxPool((2, 2)), x, name="pool")
    x = net.add(Dropout(0.25), x, name="dropout1")
    x = net.add(Flatten(), x, name="flatten")
    x = net.add(Dense(128), x, name="fc1")
    x = net.add(Relu(), x, name="relu3")
    x = net.add(Dropout(0.5), x, name="dropout2")
    x = net.add(Dense(10), x, name="fc2")
    return Workload(
        "mnist-cnn",
        "Convolutional network on MNIST",
        net.graph(x),
        Recipe(SoftmaxCrossEntropy(), Adam(1e-3), batch_size=128, epochs=5),
        DIGITS,
        expected=reported.polyglot(
            {"Keras": "99.0", "PyTorch": "98.6", "MXNet": "96.9", "TensorFlow": "96.2"}
        ),
        origin=reported.POLYGLOT,
    )


def lenet() -> Workload:
    """LeNet with tanh, as the blog raced it."""
    net = Builder("mnist-lenet")
    x = net.input("image", "NCHW", (1, 28, 28))
    for i, channels in enumerate((20, 50), start=1):
        x = net.add(Conv(channels, (5, 5)), x, name=f"conv{i}")
        x = net.add(Tanh(), x, name=f"tanh{i}")
        x = net.add(MaxPool((2, 2)), x, name=f"pool{i}")
    x = net.add(Flatten(), x, name="flatten")
    x = net.add(Dense(500), x, name="fc1")
    x = net.add(Tanh(), x, name="tanh3")
    x = net.add(Dense(10), x, name="fc2")
    return Workload(
        "mnist-lenet",
        "LeNet on MNIST",
        net.graph(x),
        Recipe(SoftmaxCrossEntropy(), SGD(0.1), batch_size=128, epochs=10),
        DIGITS,
        expected=(
            Expected("accuracy", ">= 98.8", "netglot's own expectation"),
            *reported.blog(),
        ),
        origin=reported.BLOG,
    )


def rnn() -> Workload:
    """An LSTM that reads an image row by row."""
    net = Builder("mnist-rnn")
    x = net.input("rows", "NTF", (28, 28))
    x = net.add(LSTM(512), x, name="lstm")
    x = net.add(Dropout(0.2), x, name="dropout")
    x = net.add(Dense(10), x, name="fc")
    return Workload(
        "mnist-rnn",
        "LSTM over the rows of MNIST",
        net.graph(x),
        Recipe(SoftmaxCrossEntropy(), Adam(1e-3), batch_size=128, epochs=5),
        DIGITS,
        forms={"LSTM": ({"bias": "one"}, {"bias": "two"})},
        expected=reported.polyglot(
            {"Keras": "98.4", "PyTorch": "98.4", "TensorFlow": "95.4"}
        ),
        origin=reported.POLYGLOT,
    )


def autoencoder() -> Workload:
    """784 - 256 - 2 - 256 - 784, trained to give back its input."""
    net = Builder("mnist-autoencoder")
    x = net.input("image", "NF", (784,))
    for i, width in enumerate((256, 2, 256, 784), start=1):
        x = net.add(Dense(width), x, name=f"fc{i}")
        x = net.add(Relu(), x, name=f"relu{i}")
    return Workload(
        "mnist-autoencoder",
        "Autoencoder on MNIST",
        net.graph(x),
        Recipe(MeanSquaredError(), Adam(1e-3), batch_size=128, epochs=10),
        DIGITS,
        target="input",
        origin=reported.POLYGLOT,
    )


WORKLOADS = {
    "mnist-fcn": fcn,
    "mnist-cnn": cnn,
    "mnist-lenet": lenet,
    "mnist-rnn": rnn,
    "mnist-autoencoder": autoencoder,
}

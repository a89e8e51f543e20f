"""CIFAR-10: the Rosetta Stone repository's VGG-style network."""

from __future__ import annotations

from netglot.data import DataSpec
from netglot.graph import Builder
from netglot.ops import Conv, Dense, Dropout, Flatten, MaxPool, Relu
from netglot.recipe import SGD, Recipe, SoftmaxCrossEntropy
from netglot.workloads import Expected, Workload

SOURCE = "the Rosetta Stone repository"
#: Seconds of ten epochs on a K80, as the repository reported them.
SECONDS = {
    "Caffe2": 149,
    "MXNet": 149,
    "Gluon": 157,
    "CNTK": 166,
    "PyTorch": 168,
    "TensorFlow": 173,
    "Keras (CNTK)": 200,
    "Chainer": 240,
    "Keras (TensorFlow)": 252,
    "Lasagne (Theano)": 253,
    "Keras (Theano)": 269,
}


def vgg() -> Workload:
    """Four convolutions of 50 and 100 channels, two dense layers."""
    net = Builder("cifar-vgg")
    x = net.input("image", "NCHW", (3, 32, 32))
    for stage, channels in enumerate((50, 100), start=1):
        for i in (2 * stage - 1, 2 * stage):
            x = net.add(Conv(channels, (3, 3), padding=1), x, name=f"conv{i}")
            x = net.add(Relu(), x, name=f"relu{i}")
        x = net.add(MaxPool((2, 2)), x, name=f"pool{stage}")
        x = net.add(Dropout(0.25), x, name=f"dropout{stage}")
    x = net.add(Flatten(), x, name="flatten")
    x = net.add(Dense(512), x, name="fc1")
    x = net.add(Relu(), x, name="relu5")
    x = net.add(Dropout(0.5), x, name="dropout3")
    x = net.add(Dense(10), x, name="fc2")
    reported = tuple(
        Expected("seconds on a K80", str(seconds), f"{SOURCE}: {name}")
        for name, seconds in SECONDS.items()
    )
    return Workload(
        "cifar-vgg",
        "VGG-style network on CIFAR-10",
        net.graph(x),
        Recipe(
            SoftmaxCrossEntropy(), SGD(0.01, momentum=0.9), batch_size=64, epochs=10
        ),
        DataSpec("cifar10", "images", (3, 32, 32), classes=10),
        expected=(Expected("accuracy", "77 to 79", SOURCE), *reported),
        origin=SOURCE,
    )


WORKLOADS = {"cifar-vgg": vgg}

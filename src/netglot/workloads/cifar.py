"""CIFAR-10: the Rosetta Stone repository's VGG-style network."""

from __future__ import annotations

from netglot.data import DataSpec
from netglot.graph import Builder
from netglot.ops import Conv, Dense, Dropout, Flatten, MaxPool, Relu
from netglot.recipe import SGD, Recipe, SoftmaxCrossEntropy
from netglot.workloads import Workload, reported

#: Of ten epochs, as the repository reported them.
SECONDS = {
    "MXNet": 145,
    "Caffe2": 148,
    "Gluon": 152,
    "Knet (Julia)": 153,
    "Chainer": 162,
    "CNTK": 163,
    "PyTorch": 169,
    "TensorFlow": 173,
    "Keras (CNTK)": 194,
    "Keras (TensorFlow)": 241,
    "Lasagne (Theano)": 253,
    "Keras (Theano)": 269,
}
ACCURACIES = {
    "MXNet": 77,
    "Caffe2": 79,
    "Gluon": 76,
    "Knet (Julia)": 78,
    "Chainer": 79,
    "CNTK": 78,
    "PyTorch": 78,
    "TensorFlow": 78,
    "Keras (CNTK)": 77,
    "Keras (TensorFlow)": 77,
    "Lasagne (Theano)": 77,
    "Keras (Theano)": 78,
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
    return Workload(
        "cifar-vgg",
        "VGG-style network on CIFAR-10",
        net.graph(x),
        Recipe(
            SoftmaxCrossEntropy(), SGD(0.01, momentum=0.9), batch_size=64, epochs=10
        ),
        DataSpec("cifar10", "images", (3, 32, 32), classes=10),
        expected=(
            *reported.rosetta("accuracy", ACCURACIES),
            *reported.rosetta("seconds", SECONDS),
        ),
        origin=reported.ROSETTA,
    )


WORKLOADS = {"cifar-vgg": vgg}

"""What the projects before netglot reported of the same tasks, with its source."""

from __future__ import annotations

from collections.abc import Mapping

from netglot.workloads import Expected

POLYGLOT = "the polyglot repository (MNIST from CSV)"
BLOG = "the blog (Theano, TensorFlow and MXNet, LeNet on MNIST)"
ROSETTA = "the Rosetta Stone repository (ilkarman/DeepLearningFrameworks)"
#: Where and when the Rosetta Stone repository measured: its page of 24 November 2017.
K80, YEAR = "half an NVIDIA K80", 2017
#: Their frameworks by the names that they use, and which of ours each is.
OURS = {
    "Caffe2": "caffe2",
    "Chainer": "chainer",
    "CNTK": "cntk",
    "Gluon": "gluon",
    "Keras": "keras2-tensorflow",
    "Keras (CNTK)": "keras2-cntk",
    "Keras (TensorFlow)": "keras2-tensorflow",
    "Keras (Theano)": "keras2-theano",
    "Knet (Julia)": "",
    "Lasagne (Theano)": "lasagne",
    "MXNet": "mxnet",
    "PyTorch": "pytorch",
    "TensorFlow": "tensorflow1",
    "Theano": "theano",
}


def polyglot(accuracies: Mapping[str, str]) -> tuple[Expected, ...]:
    """Accuracies in percent, by framework; it names neither machine nor year."""
    return tuple(
        Expected("accuracy", value, POLYGLOT, name, OURS[name])
        for name, value in accuracies.items()
    )


def rosetta(measure: str, values: Mapping[str, float]) -> tuple[Expected, ...]:
    """Accuracies in percent, or seconds, by framework."""
    machine = "" if measure == "accuracy" else K80
    return tuple(
        Expected(measure, f"{value:g}", ROSETTA, name, OURS[name], machine, YEAR)
        for name, value in values.items()
    )


def blog() -> tuple[Expected, ...]:
    """The frameworks that it compared; it gives no figure that could stand here."""
    return tuple(
        Expected("seconds", "", BLOG, name, OURS[name])
        for name in ("Theano", "TensorFlow", "MXNet")
    )

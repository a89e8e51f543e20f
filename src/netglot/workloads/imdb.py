"""Film reviews: the Rosetta Stone repository's GRU, and the same with an LSTM."""

from __future__ import annotations

from netglot.data import DataSpec
from netglot.graph import Builder
from netglot.ops import GRU, LSTM, Dense, Embedding
from netglot.recipe import Adam, Recipe, SoftmaxCrossEntropy
from netglot.workloads import Workload, reported

REVIEWS = DataSpec("imdb", "tokens", (150,), classes=2, vocabulary=30000)
RECIPE = Recipe(SoftmaxCrossEntropy(), Adam(1e-3), batch_size=64, epochs=3)
#: Of three epochs of the GRU, as the repository reported them.
SECONDS = {
    "MXNet": 29,
    "TensorFlow": 30,
    "Knet (Julia)": 30,
    "PyTorch": 31,
    "CNTK": 32,
    "Keras (TensorFlow)": 35,
    "Keras (CNTK)": 86,
}
ACCURACIES = {
    "MXNet": 86,
    "TensorFlow": 86,
    "Knet (Julia)": 85,
    "PyTorch": 86,
    "CNTK": 85,
    "Keras (TensorFlow)": 86,
    "Keras (CNTK)": 86,
}


def gru() -> Workload:
    """Embedding, GRU of 100 units, two classes."""
    net = Builder("imdb-gru")
    x = net.input("words", "NT", (150,), "int32")
    x = net.add(Embedding(30000, 125), x, name="embedding")
    x = net.add(GRU(100), x, name="gru")
    x = net.add(Dense(2), x, name="fc")
    return Workload(
        "imdb-gru",
        "GRU on IMDB reviews",
        net.graph(x),
        RECIPE,
        REVIEWS,
        forms={
            "GRU": (
                {"reset": "after", "bias": "two"},
                {"reset": "after", "bias": "candidate"},
                {"reset": "after", "bias": "one"},
                {"reset": "before", "bias": "one"},
            )
        },
        expected=(
            *reported.rosetta("accuracy", ACCURACIES),
            *reported.rosetta("seconds", SECONDS),
        ),
        origin=reported.ROSETTA,
    )


def lstm() -> Workload:
    """Embedding, LSTM of 100 units, two classes."""
    net = Builder("imdb-lstm")
    x = net.input("words", "NT", (150,), "int32")
    x = net.add(Embedding(30000, 125), x, name="embedding")
    x = net.add(LSTM(100), x, name="lstm")
    x = net.add(Dense(2), x, name="fc")
    return Workload(
        "imdb-lstm",
        "LSTM on IMDB reviews",
        net.graph(x),
        RECIPE,
        REVIEWS,
        forms={"LSTM": ({"bias": "one"}, {"bias": "two"})},
        origin=reported.ROSETTA,
    )


WORKLOADS = {"imdb-gru": gru, "imdb-lstm": lstm}

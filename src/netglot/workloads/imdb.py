"""Film reviews: the Rosetta Stone repository's GRU, and the same with an LSTM."""

from __future__ import annotations

from netglot.data import DataSpec
from netglot.graph import Builder
from netglot.ops import GRU, LSTM, Dense, Embedding
from netglot.recipe import Adam, Recipe, SoftmaxCrossEntropy
from netglot.workloads import Expected, Workload

SOURCE = "the Rosetta Stone repository"
REVIEWS = DataSpec("imdb", "tokens", (150,), classes=2, vocabulary=30000)
RECIPE = Recipe(SoftmaxCrossEntropy(), Adam(1e-3), batch_size=64, epochs=3)
#: Seconds of three epochs on a K80, as the repository reported them.
SECONDS = {"MXNet": 12, "PyTorch": 36, "TensorFlow": 79, "Keras (CNTK)": 223}


def gru() -> Workload:
    """Embedding, GRU of 100 units, two classes."""
    net = Builder("imdb-gru")
    x = net.input("words", "NT", (150,), "int32")
    x = net.add(Embedding(30000, 125), x, name="embedding")
    x = net.add(GRU(100), x, name="gru")
    x = net.add(Dense(2), x, name="fc")
    reported = tuple(
        Expected("seconds on a K80", str(seconds), f"{SOURCE}: {name}")
        for name, seconds in SECONDS.items()
    )
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
        expected=(Expected("accuracy", "86 to 88", SOURCE), *reported),
        origin=SOURCE,
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
        origin=SOURCE,
    )


WORKLOADS = {"imdb-gru": gru, "imdb-lstm": lstm}

"""The tables of the projects before netglot: every task in its frameworks."""

from __future__ import annotations

from netglot import backends, workloads
from netglot.race.series import Table

#: In the place of a workload's name.
NAME = "ancestors"
#: The blog's network, the polyglot repository's pair, the Rosetta Stone repository's.
TASKS = ("mnist-lenet", "mnist-fcn", "mnist-cnn", "cifar-vgg", "imdb-gru")


def tables(labels: tuple[str, ...] | None = None) -> list[Table]:
    """Every table, in the frameworks of its source or in ``labels``."""
    found = []
    for name in TASKS:
        named = [item.backend for item in workloads.get(name).expected if item.backend]
        known = [label for label in backends.names() if label in named]
        found.append(Table(name, labels or tuple(known)))
    return found

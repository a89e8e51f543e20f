"""Races of networks that grow: how time and memory follow depth and width."""

from __future__ import annotations

from collections.abc import Sequence

from netglot import workloads
from netglot.race.series import Table

#: What grows -> the sizes that are raced unless others are asked for.
SIZES = {
    "depth": (2, 8, 32, 128),
    "width": (64, 256, 1024, 2048),
}
#: Observations of a race, unless told: ten steps.
LIMIT = 1280


def name_of(what: str) -> str:
    """In the place of a workload's name: ``mnist-depth``."""
    return f"mnist-{what}"


def tables(
    what: str, labels: tuple[str, ...], sizes: Sequence[int] = ()
) -> list[Table]:
    """A race per size; raises ``UserError`` for a size that makes no network."""
    names = [f"{name_of(what)}-{size}" for size in sizes or SIZES[what]]
    for name in names:
        workloads.get(name)
    return [Table(name, labels) for name in names]


def size_of(workload: str) -> int:
    """16 of ``mnist-depth-16``."""
    return int(workload.rpartition("-")[2])

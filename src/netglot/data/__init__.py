"""Data: readers of the files people have; each becomes one prepared `.npz`."""

from netglot.data.catalogue import Known, known
from netglot.data.fetching import fetch
from netglot.data.preparation import Description, cache_folder, describe, prepare
from netglot.data.sources import read
from netglot.data.types import Arrays, DataSet, DataSpec

__all__ = [
    "Arrays",
    "DataSet",
    "DataSpec",
    "Description",
    "Known",
    "cache_folder",
    "describe",
    "fetch",
    "known",
    "prepare",
    "read",
]

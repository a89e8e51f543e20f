"""What a workload asks of its data, the arrays that are read, what is prepared."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from netglot.errors import unknown

DIMENSIONS = {"images": 3, "tokens": 1, "features": 1}


@dataclass(frozen=True)
class DataSpec:
    """What a workload asks for.

    `name` is a known data set ("mnist", "cifar10", "imdb") or any other word for one's
    own data. `shape` is one observation's: (channels, height, width) of "images",
    (length,) of "tokens", (count,) of "features". `classes` is None where the target is
    the input. `vocabulary` counts the indices of "tokens" and is read for those only.

    Raises UserError for an unknown kind, ValueError for a shape that does not fit it.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    classes: int | None
    vocabulary: int = 30000

    def __post_init__(self) -> None:
        """Refuse what no reader could serve."""
        if self.kind not in DIMENSIONS:
            raise unknown("kind of data", self.kind, DIMENSIONS)
        object.__setattr__(self, "shape", tuple(int(size) for size in self.shape))
        if len(self.shape) != DIMENSIONS[self.kind] or min(self.shape) < 1:
            raise ValueError(f"{self.kind} of {self.name}: no such shape {self.shape}")
        if self.classes is not None and self.classes < 1:
            raise ValueError(f"{self.name}: {self.classes} classes")

    @property
    def size(self) -> int:
        """How many numbers one observation has."""
        return math.prod(self.shape)

    def words(self) -> str:
        """What is asked for, as messages say it: "images of 1x28x28"."""
        return f"{self.kind} of {'x'.join(str(size) for size in self.shape)}"


@dataclass(frozen=True, eq=False)
class Arrays:
    """The observations of a data set.

    `x_train`, `x_test`: uint8 (N, C, H, W) images, int32 (N, T) indices or float32
    (N, F) features. `y_train`, `y_test`: int64 (N,) labels. `classes`: the names of
    the classes in the order of their labels, empty where there are none. `source` says
    in words where the observations come from.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class DataSet:
    """A prepared data set: an uncompressed `.npz` at `path`, and what it holds.

    `name` is the actual one: "digits" where the embedded digits stand in for MNIST.
    `train` and `test` count observations; `sha256` is of the file.
    """

    name: str
    kind: str
    path: str
    shape: tuple[int, ...]
    train: int
    test: int
    classes: tuple[str, ...]
    sha256: str
    source: str

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON has them (tuples become lists)."""
        record = asdict(self)
        return record | {"shape": list(self.shape), "classes": list(self.classes)}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "DataSet":
        """The inverse of `to_json`; TypeError or KeyError for another record."""
        shape, classes = tuple(record["shape"]), tuple(record["classes"])
        return cls(**(record | {"shape": shape, "classes": classes}))

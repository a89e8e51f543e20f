"""Seconds to read and to prepare the real data sets in each of their forms.

    python benchmarks/read_csv.py DIR

DIR holds mnist/, cifar10/ and imdb/. The best of three runs is printed; prepared files
go to a folder that is removed afterwards.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from netglot.data import DataSpec, prepare, read

MNIST = DataSpec("mnist", "images", (1, 28, 28), 10)
CIFAR = DataSpec("cifar10", "images", (3, 32, 32), 10)
IMDB = DataSpec("imdb", "tokens", (150,), 2)
CASES = (
    ("MNIST, CSV", MNIST, "mnist/mnist_train.csv"),
    ("MNIST, idx", MNIST, "mnist/train-images-idx3-ubyte.gz"),
    ("CIFAR-10, batches", CIFAR, "cifar10/cifar-10-batches-py"),
    ("IMDB, Keras", IMDB, "imdb/imdb.npz"),
    ("IMDB, texts", IMDB, "imdb/aclImdb"),
)


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def main(folder: Path) -> None:
    print(f"{'':20}{'read':>8}{'prepare':>9}{'again':>8}")
    for title, spec, name in CASES:
        source = folder / name
        reading = min(seconds(lambda: read(spec, source)) for _ in range(3))  # noqa: B023
        with tempfile.TemporaryDirectory() as cache:
            os.environ["NETGLOT_CACHE"] = cache
            first = seconds(lambda: prepare(spec, source))  # noqa: B023
            again = min(seconds(lambda: prepare(spec, source)) for _ in range(3))  # noqa: B023
        print(f"{title:20}{reading:8.2f}{first:9.2f}{again:8.3f}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))

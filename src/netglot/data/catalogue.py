"""The known data sets: their forms, their public homes, how they are recognised."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from netglot.data.types import Arrays


@dataclass(frozen=True)
class Remote:
    """A file at its public home: name, checksum, bytes, homes to try in order."""

    name: str
    checksum: str  # "sha256:..." or "md5:...", as its publisher states it
    bytes: int
    homes: tuple[str, ...]


@dataclass(frozen=True)
class Known:
    """A data set that netglot knows by name.

    `forms` says which files are read; `remote` which are fetched (none: embedded).
    `content` recognises it: the count and the sum of x of both parts.
    """

    name: str
    title: str
    forms: tuple[str, ...]
    terms: str
    remote: tuple[Remote, ...] = ()
    content: tuple[tuple[int, int], tuple[int, int]] | None = None


_MNIST = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
_KERAS = ("https://storage.googleapis.com/tensorflow/tf-keras-datasets/",)

_ALL = (
    Known(
        name="digits",
        title="1,797 digits of 8x8 pixels, embedded",
        forms=("nothing: it is in the package",),
        terms="UCI Machine Learning Repository, CC BY 4.0",
    ),
    Known(
        name="mnist",
        title="60,000 + 10,000 digits of 28x28 pixels",
        forms=(
            "the four idx files (train-images-idx3-ubyte.gz, ...)",
            "mnist_train.csv and mnist_test.csv",
            "Keras' mnist.npz",
        ),
        terms="LeCun, Cortes, Burges; CC BY-SA 3.0",
        content=((60000, 1567298545), (10000, 264923200)),
        remote=(
            Remote(
                "train-images-idx3-ubyte.gz",
                "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
                9912422,
                _MNIST,
            ),
            Remote(
                "train-labels-idx1-ubyte.gz",
                "md5:d53e105ee54ea40749a09fcbcd1e9432",
                28881,
                _MNIST,
            ),
            Remote(
                "t10k-images-idx3-ubyte.gz",
                "md5:9fb629c4189551a2d022fa330f9573f3",
                1648877,
                _MNIST,
            ),
            Remote(
                "t10k-labels-idx1-ubyte.gz",
                "md5:ec29112dd5afa0611ce80d1b7f02629c",
                4542,
                _MNIST,
            ),
        ),
    ),
    Known(
        name="cifar10",
        title="50,000 + 10,000 photographs of 32x32 pixels, 10 classes",
        forms=(
            "cifar-10-batches-py (data_batch_1, ..., test_batch)",
            "cifar-10-batches-bin (data_batch_1.bin, ...)",
            "cifar-10-python.tar.gz or cifar-10-binary.tar.gz",
            "an .npz with x_train, y_train, x_test, y_test",
        ),
        terms="Krizhevsky 2009; no licence stated: research, do not redistribute",
        content=((50000, 18540682003), (10000, 3733375634)),
        remote=(
            Remote(
                "cifar-10-python.tar.gz",
                "sha256:"
                "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
                170498071,
                ("https://www.cs.toronto.edu/~kriz/",),
            ),
        ),
    ),
    Known(
        name="imdb",
        title="25,000 + 25,000 film reviews, positive or negative",
        forms=(
            "Keras' imdb.npz",
            "the folder aclImdb with imdb_word_index.json beside it",
        ),
        terms="Maas et al. 2011; no licence stated: research, do not redistribute",
        remote=(
            Remote(
                "imdb.npz",
                "sha256:"
                "69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f",
                17464789,
                _KERAS,
            ),
            Remote(
                "imdb_word_index.json",
                "md5:bfafd718b763782e994055a2d397834f",
                1641221,
                _KERAS,
            ),
        ),
    ),
)

KNOWN: Mapping[str, Known] = MappingProxyType({each.name: each for each in _ALL})


def known() -> tuple[Known, ...]:
    """The data sets that are known by name."""
    return _ALL


def identify(arrays: Arrays) -> str | None:
    """The name of the known set whose observations these are, in whatever order.

    None for others: files named like MNIST's also hold other people's images.
    """
    for each in _ALL:
        if each.content is None:
            continue
        counts = (len(arrays.x_train), len(arrays.x_test))
        if counts == (each.content[0][0], each.content[1][0]):
            sums = (
                int(arrays.x_train.sum(dtype=np.float64)),
                int(arrays.x_test.sum(dtype=np.float64)),
            )
            if sums == (each.content[0][1], each.content[1][1]):
                return each.name
    return None

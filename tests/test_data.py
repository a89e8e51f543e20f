"""Data: every form that is read, every mistake that is named, and fetching."""

import gzip
import hashlib
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from netglot.data import (
    DataSet,
    DataSpec,
    catalogue,
    describe,
    fetch,
    imdb,
    known,
    prepare,
    read,
)
from netglot.errors import UserError, unknown

MNIST = DataSpec("mnist", "images", (1, 28, 28), 10)
CIFAR = DataSpec("cifar10", "images", (3, 32, 32), 10)
IMDB = DataSpec("imdb", "tokens", (150,), 2)
SMALL = DataSpec("own", "images", (1, 2, 3), 2)
FLOWERS = DataSpec("flowers", "features", (2,), 2)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "netglot-cache"
    monkeypatch.setenv("NETGLOT_CACHE", str(folder))
    return folder


def load(data: DataSet) -> dict[str, np.ndarray]:
    with np.load(data.path) as file:
        return {name: file[name] for name in file.files}


def refused(spec: DataSpec, source: Path | None, *parts: str) -> None:
    """Reading fails with one message that has all the parts."""
    with pytest.raises(UserError) as caught:
        read(spec, source)
    for part in parts:
        assert part in str(caught.value), str(caught.value)


# --- small files of every form -------------------------------------------------------


def write_idx(folder: Path, train: int = 20, test: int = 10) -> None:
    folder.mkdir(exist_ok=True)
    for part, count in (("train", train), ("t10k", test)):
        x = np.arange(count * 6, dtype=np.uint8)
        y = np.arange(count, dtype=np.uint8) % 2
        name = folder / f"{part}-images-idx3-ubyte.gz"
        name.write_bytes(
            gzip.compress(b"\0\0\x08\3" + struct.pack(">3I", count, 2, 3) + x.tobytes())
        )
        name = folder / f"{part}-labels-idx1-ubyte"
        name.write_bytes(b"\0\0\x08\1" + struct.pack(">I", count) + y.tobytes())


def cifar_arrays(count: int = 20) -> tuple[np.ndarray, list[int]]:
    x = np.random.RandomState(3).randint(0, 256, (count, 3072)).astype(np.uint8)
    return x, [index % 10 for index in range(count)]


def write_cifar(folder: Path, binary: bool = False) -> None:
    folder.mkdir(exist_ok=True)
    x, y = cifar_arrays()
    for name in ("test_batch", *(f"data_batch_{n}" for n in range(1, 6))):
        if binary:
            data = np.concatenate([np.array(y, np.uint8)[:, None], x], 1).tobytes()
            (folder / f"{name}.bin").write_bytes(data)
        else:
            data = pickle.dumps({"labels": y, "data": x}, protocol=2)
            (folder / name).write_bytes(data)


def write_reviews(path: Path, hostile: bool = False) -> None:
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {path.parent / 'executed'}",)

    reviews = np.empty(3, object)
    reviews[:] = [[1, 2, 3], list(range(1, 200)), [40000, 5]]
    if hostile:
        reviews[1] = Evil()
    labels = np.array([0, 1, 1])
    np.savez_compressed(
        path, x_train=reviews, y_train=labels, x_test=reviews, y_test=labels
    )


def write_images(folder: Path, count: int = 5) -> None:
    for shade, name in ((10, "cat"), (200, "dog")):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.full((2, 3), shade + number, np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


# --- the embedded digits -------------------------------------------------------------


def test_digits_are_the_default() -> None:
    data = prepare(MNIST, None)
    assert (data.name, data.train, data.test) == ("digits", 1500, 297)
    arrays = load(data)
    x = arrays["x_train"]
    assert x.shape == (1500, 1, 28, 28) and x.dtype == np.uint8
    assert arrays["y_train"].dtype == np.int64
    # A frame of two black pixels around 8 x 3 = 24; every value 3 x 3 times.
    assert x[:, :, :2].max() == 0 and x[:, :, :, 26:].max() == 0
    inner = x[:, 0, 2:26, 2:26].reshape(-1, 8, 3, 8, 3)
    assert (inner == inner[:, :, :1, :, :1]).all()
    assert inner.max() == 255
    # scikit-learn's first digit, a nought: its first line is 0 0 5 13 9 1 0 0.
    assert inner[0, 0, 0, :, 0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]
    assert arrays["y_train"][:10].tolist() == list(range(10))


def test_digits_for_three_channels() -> None:
    x = read(CIFAR, None).x_train
    assert x.shape == (1500, 3, 32, 32)
    assert (x[:, 0] == x[:, 2]).all()


def test_digits_as_features() -> None:
    x = read(DataSpec("mnist", "features", (784,), None), None).x_train
    assert x.shape == (1500, 784) and x.dtype == np.float32


def test_digits_cannot_serve_text() -> None:
    refused(IMDB, None, "imdb.npz", "aclImdb", "data fetch imdb")


def test_digits_cannot_serve_another_number_of_classes() -> None:
    refused(replace(CIFAR, classes=100), None, "10 classes", "100")


# --- prepared files ------------------------------------------------------------------


def test_prepared_file_is_used_again_until_its_source_changes(tmp_path: Path) -> None:
    write_idx(tmp_path / "set")
    spec = replace(SMALL, name="mnist")
    first = prepare(spec, tmp_path)
    before = os.stat(first.path).st_mtime_ns
    assert prepare(spec, tmp_path) == first
    assert os.stat(first.path).st_mtime_ns == before
    write_idx(tmp_path / "set", train=30)
    assert prepare(spec, tmp_path).train == 30
    Path(first.path).write_bytes(b"half")
    write_idx(tmp_path / "set")
    again = prepare(spec, tmp_path)
    assert load(again)["x_train"].shape == (20, 1, 2, 3)


def test_prepared_file_goes_where_it_is_asked(tmp_path: Path) -> None:
    data = prepare(MNIST, None, tmp_path / "deep" / "x.npz")
    assert data.path == str(tmp_path / "deep" / "x.npz")
    digest = hashlib.sha256(Path(data.path).read_bytes()).hexdigest()
    assert data.sha256 == digest
    assert prepare(MNIST, None).sha256 == digest
    assert DataSet.from_json(json.loads(json.dumps(data.to_json()))) == data
    with zipfile.ZipFile(data.path) as archive:
        assert all(each.compress_type == 0 for each in archive.infolist())
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == [
        "x.npz",
        "x.npz.json",
    ]


def test_nothing_is_left_behind_by_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        prepare(MNIST, None, tmp_path / "file" / "x.npz")


def test_describe_lists_what_is_prepared() -> None:
    assert [each.known.name for each in describe()] == [each.name for each in known()]
    data = prepare(MNIST, None)
    digits = next(each for each in describe() if each.known.name == "digits")
    assert digits.prepared == (data,)
    assert digits.bytes == os.stat(data.path).st_size


def test_package_import_is_light() -> None:
    code = "import sys, netglot.data; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"pyarrow", "PIL", "pooch", "rich", "requests"} & set(run.stdout.split())


# --- idx -----------------------------------------------------------------------------


def test_idx(tmp_path: Path) -> None:
    write_idx(tmp_path / "set")
    for source in (tmp_path, tmp_path / "set" / "train-labels-idx1-ubyte"):
        arrays = read(replace(SMALL, name="mnist"), source)
        assert arrays.x_train.shape == (20, 1, 2, 3)
        assert arrays.x_train[1].ravel().tolist() == [6, 7, 8, 9, 10, 11]
        assert arrays.y_test.tolist() == [0, 1] * 5
        # Named like MNIST's files, but not MNIST.
        assert arrays.name == "set"


def test_idx_mistakes(tmp_path: Path) -> None:
    write_idx(tmp_path)
    spec = replace(SMALL, name="mnist")
    labels = tmp_path / "train-labels-idx1-ubyte"
    images = tmp_path / "train-images-idx3-ubyte.gz"
    good, good_images = labels.read_bytes(), images.read_bytes()
    labels.write_bytes(good[:-3])
    refused(spec, tmp_path, str(labels), "truncated", "20 bytes, it has 17")
    labels.write_bytes(good[:6])
    refused(spec, tmp_path, str(labels), "truncated")
    labels.write_bytes(good + b"x")
    refused(spec, tmp_path, str(labels), "too long")
    labels.write_bytes(b"\0\0\x0d\1" + good[4:])
    refused(spec, tmp_path, str(labels), "00 00 0d 01")
    labels.write_bytes(b"")
    refused(spec, tmp_path, str(labels), "nothing")
    labels.write_bytes(good[:4] + struct.pack(">I", 19) + good[8:-1])
    refused(spec, tmp_path, "20 images", "19 labels")
    labels.write_bytes(good)
    images.write_bytes(good_images[:-9])
    refused(spec, tmp_path, str(images), "truncated")
    images.unlink()
    refused(spec, tmp_path, "lacks train-images")
    write_idx(tmp_path, train=0)
    refused(spec, tmp_path, "no observation for training")


# --- CSV -----------------------------------------------------------------------------


def test_csv_pair_of_images(tmp_path: Path) -> None:
    (tmp_path / "my_train.csv").write_text("0,1,2,3,4,5,6\n1,255,0,0,0,0,9\n")
    (tmp_path / "my_test.csv").write_text("1,6,5,4,3,2,1\n")
    for source in (tmp_path, tmp_path / "my_test.csv", tmp_path / "my_train.csv"):
        arrays = read(SMALL, source)
        assert arrays.x_train.tolist() == [
            [[[1, 2, 3], [4, 5, 6]]],
            [[[255, 0, 0], [0, 0, 9]]],
        ]
        assert arrays.x_train.dtype == np.uint8
        assert arrays.y_train.tolist() == [0, 1]
        assert arrays.y_test.tolist() == [1]


@pytest.mark.parametrize(
    "text",
    [
        "label,a,b\n0,1.5,2\n",
        "a,label,b\n1.5,0,2\n",
        "a;b;label\n1.5;2;0\n",
        "﻿label,a,b\r\n0,1.5,2\r\n",
        "0,1.5,2\n",
        "label,0,1\n\n0, 1.5 ,2\n\n",
    ],
)
def test_csv_headers(tmp_path: Path, text: str) -> None:
    lines = text.strip().splitlines()
    rows = "\n".join([lines[-1]] * 10)
    (tmp_path / "x.csv").write_text(text + rows + "\n", encoding="utf-8")
    arrays = read(replace(FLOWERS, classes=1), tmp_path / "x.csv")
    assert arrays.x_train.dtype == np.float32
    assert (arrays.x_train == [1.5, 2]).all()
    assert (len(arrays.x_train), len(arrays.x_test)) == (9, 2)


def test_csv_labels_that_are_words(tmp_path: Path) -> None:
    rows = [f"{'tulip' if i % 3 else 'rose'},{i},{i / 2}" for i in range(30)]
    (tmp_path / "flowers.csv").write_text("\n".join(rows))
    arrays = read(FLOWERS, tmp_path)
    assert arrays.classes == ("rose", "tulip")
    assert arrays.y_train.tolist()[:4] == [0, 1, 1, 0]
    # Every fifth of each class is for testing.
    assert Counter(arrays.y_test.tolist()) == {0: 2, 1: 4}


def test_csv_without_labels_where_none_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("1,2\n" * 10)
    arrays = read(replace(FLOWERS, classes=None), tmp_path)
    assert len(arrays.x_train) == 8


CSV_MISTAKES = {
    "short line": ("0,1,2\n1,3,4\n0,5\n", ["line 3", "2 columns", "has 3"]),
    "long line": ("0,1,2\n1,3,4,9\n", ["line 2", "4 columns"]),
    "letter": ("0,1,2\n1,3,x\n", ["line 2, column 3", "'x'"]),
    "letter in line 1": ("0,l,2\n1,3,4\n", ["line 1, column 2", "'l'"]),
    "named": ("label,width,height\n0,1,2\n1,1,o\n", ["line 3, column 3 (height)"]),
    "after the label": ("w,label,h\n0,1,2\n1,1,\n", ["line 3, column 3 (h)", "''"]),
    "infinite": ("0,1,2\n1,inf,3\n", ["line 2, column 2", "finite"]),
    "no label": ("1,2\n3,4\n", ["line 1", "no label column"]),
    "no label, header": ("width,height\n3,4\n", ["line 1", "no label column"]),
    "other width": ("0,1,2,3\n", ["line 1", "4 columns", "3 columns"]),
    "label no integer": ("0,1,2\n1.5,3,4\n", ["line 2, column 1", "'1.5'"]),
    "label outside": (
        "label,a,b\n0,1,2\n\n1,3,4\n7,1,1\n",
        ["line 5, column 1 (label)", "label 7", "0 to 1"],
    ),
    "empty": ("", ["is empty"]),
    "header alone": ("label,a,b\n", ["0 observations"]),
    "one class": ("0,1,2\n" * 10, ["no training observation of class 1"]),
    "too few": ("0,1,2\n1,1,2\n", ["2 observations", "at least 5"]),
}


@pytest.mark.parametrize("case", CSV_MISTAKES)
def test_csv_mistakes(tmp_path: Path, case: str) -> None:
    text, parts = CSV_MISTAKES[case]
    path = tmp_path / "x.csv"
    path.write_text(text)
    refused(FLOWERS, path, str(path), *parts)


def test_csv_pixels_and_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("0,1,2,3,4,5,6\n1,1,2,3,4,5,256\n")
    refused(SMALL, path, "line 2, column 7", "'256'", "0 to 255")
    path.write_bytes(b"0,1,2,3,4,5,\xff\n")
    refused(SMALL, path, str(path), "UTF-8")
    path.write_text("0,1,2,3,4,5,6.0\n1,1,2,3,4,5,25\n" * 5)
    assert read(SMALL, path).x_train[0, 0, 1, 2] == 6


def test_several_csv_files(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("0,1,2\n")
    (tmp_path / "b.csv").write_text("0,1,2\n")
    refused(FLOWERS, tmp_path, "a.csv, b.csv", "name the one")


# --- CIFAR-10 ------------------------------------------------------------------------


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_cifar(tmp_path: Path, binary: bool, packed: bool) -> None:
    folder = tmp_path / "in" / "cifar-10-batches"
    folder.parent.mkdir()
    write_cifar(folder, binary)
    source = folder.parent
    if packed:
        source = tmp_path / "cifar-10-python.tar.gz"
        with tarfile.open(source, "w:gz") as archive:
            archive.add(folder, "cifar-10-batches")
    x, y = cifar_arrays()
    arrays = read(CIFAR, source)
    assert (arrays.x_train == np.tile(x, (5, 1)).reshape(-1, 3, 32, 32)).all()
    assert arrays.y_test.tolist() == y
    assert arrays.classes[0] == "airplane"
    if packed:
        source.write_bytes(source.read_bytes()[:-2000])
        refused(CIFAR, source, str(source), "truncated")


def test_cifar_mistakes(tmp_path: Path) -> None:
    write_cifar(tmp_path)
    batch = tmp_path / "data_batch_3"
    good = batch.read_bytes()
    batch.write_bytes(good[:-100])
    refused(CIFAR, tmp_path, str(batch), "damaged")
    x, y = cifar_arrays()
    batch.write_bytes(pickle.dumps({"labels": y[1:], "data": x}, 2))
    refused(CIFAR, tmp_path, str(batch), "19 labels")
    batch.write_bytes(pickle.dumps([1], 2))
    refused(CIFAR, tmp_path, str(batch), "no batch of CIFAR-10")
    batch.write_bytes(pickle.dumps({"labels": [11, *y[1:]], "data": x}, 2))
    refused(CIFAR, tmp_path, "observation 40", "label 11", "0 to 9")
    batch.unlink()
    refused(CIFAR, tmp_path, "lacks data_batch_3")
    folder = tmp_path / "binary"
    write_cifar(folder, binary=True)
    (folder / "test_batch.bin").write_bytes(b"x" * 3072)
    refused(CIFAR, folder, "test_batch.bin", "truncated")


def test_cifar_of_other_shape(tmp_path: Path) -> None:
    write_cifar(tmp_path)
    refused(replace(MNIST, name="own"), tmp_path, "3x32x32", "1x28x28")


@pytest.mark.parametrize("protocol", range(6))
def test_hostile_pickle_in_a_batch(tmp_path: Path, protocol: int) -> None:
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'executed'}",)

    write_cifar(tmp_path)
    batch = tmp_path / "data_batch_2"
    batch.write_bytes(pickle.dumps({"labels": Evil()}, protocol))
    refused(CIFAR, tmp_path, str(batch), "refused", "system", "Nothing of it was run")
    assert not (tmp_path / "executed").exists()


def test_pickle_cannot_forge_an_array_of_objects(tmp_path: Path) -> None:
    # A dtype of objects with its "is a list" flag cleared made of raw bytes: NumPy
    # itself would take the bytes for pointers.
    forged = (
        b"\x80\x02}(U\x06labels]U\x04datacnumpy.core.multiarray\n_reconstruct\n"
        b"cnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x01\x85cnumpy\ndtype\n"
        b"U\x02O8K\x00K\x01\x87R(K\x03U\x01|NNNK\x08K\x08K\x00tb\x89"
        b"U\x08AAAAAAAAtbu."
    )
    write_cifar(tmp_path)
    (tmp_path / "test_batch").write_bytes(forged)
    refused(CIFAR, tmp_path, "test_batch", "not a list")


# --- IMDB ----------------------------------------------------------------------------


def test_index_form() -> None:
    spec = replace(IMDB, shape=(4,), vocabulary=10)
    reviews = [[1, 2], [1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4, 5], [6, 7], []]
    assert imdb.index_form(reviews, spec, "x").tolist() == [
        [1, 4, 5, 0],
        [1, 4, 5, 6],
        [4, 5, 6, 7],
        [5, 6, 7, 8],
        [1, 9, 2, 0],
        [1, 0, 0, 0],
    ]


def test_imdb_keras_form(tmp_path: Path) -> None:
    write_reviews(tmp_path / "imdb.npz")
    arrays = read(IMDB, tmp_path)
    assert arrays.x_train.dtype == np.int32
    # They are shuffled, with their labels.
    reviews = {
        row[1]: (row, y) for row, y in zip(arrays.x_train, arrays.y_train, strict=True)
    }
    assert reviews[4][0][:5].tolist() == [1, 4, 5, 6, 0]
    assert reviews[54][0].tolist() == list(range(53, 203))
    assert reviews[2][0][:4].tolist() == [1, 2, 8, 0]
    assert {word: y for word, (_, y) in reviews.items()} == {4: 0, 54: 1, 2: 1}
    assert arrays.classes == ("negative", "positive")


def test_imdb_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "imdb.npz"
    write_reviews(path)
    path.write_bytes(path.read_bytes()[:-200])
    refused(IMDB, path, str(path), "truncated")
    odd = np.empty(2, object)
    odd[:] = [[1, 2], ["a"]]
    np.savez(path, x_train=odd, y_train=[0, 1], x_test=odd, y_test=[0, 1])
    refused(IMDB, path, str(path), "word ranks")
    odd[:] = [[1, 2], [3]]
    np.savez(path, x_train=odd, y_train=[0], x_test=odd, y_test=[0, 1])
    refused(IMDB, path, "y_train", "2 reviews")
    np.savez(path, x_train=odd, y_train=[0, 2], x_test=odd, y_test=[0, 1])
    refused(IMDB, path, "label 2", "outside the 2 classes")


def test_hostile_pickle_in_reviews(tmp_path: Path) -> None:
    path = tmp_path / "imdb.npz"
    write_reviews(path, hostile=True)
    refused(IMDB, tmp_path, str(path), "refused", "system", "Nothing of it was run")
    own = DataSpec("own", "features", (3,), 2)
    refused(own, path, str(path), "refused")
    assert not (tmp_path / "executed").exists()


def test_imdb_texts(tmp_path: Path) -> None:
    folder = tmp_path / "aclImdb"
    for part in ("train", "test"):
        for name, text in (("neg", "Bad, BAD film!<br />"), ("pos", "good... Ümlaut")):
            (folder / part / name).mkdir(parents=True)
            (folder / part / name / "0_1.txt").write_text(text, "utf-8")
    refused(IMDB, folder, "imdb_word_index.json", "put it into")
    index = {"bad": 1, "film": 2, "br": 3, "good": 4, "ümlaut": 5, "Ümlaut": 6}
    (tmp_path / "imdb_word_index.json").write_text(json.dumps(index))
    arrays = read(replace(IMDB, shape=(6,)), tmp_path)
    rows = {
        int(y): x.tolist() for x, y in zip(arrays.x_train, arrays.y_train, strict=True)
    }
    assert rows == {0: [1, 4, 4, 5, 6, 0], 1: [1, 7, 9, 0, 0, 0]}
    (folder / "test" / "pos" / "0_1.txt").unlink()
    refused(IMDB, folder, str(folder / "test" / "pos"), "no review")
    (tmp_path / "imdb_word_index.json").write_text("{")
    refused(IMDB, folder, "no index of words")


# --- .npz ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        (MNIST, (28, 28)),
        (MNIST, (1, 28, 28)),
        (MNIST, (28, 28, 1)),
        (MNIST, (784,)),
        (CIFAR, (32, 32, 3)),
        (CIFAR, (3, 32, 32)),
    ],
)
def test_npz_layouts(tmp_path: Path, spec: DataSpec, shape: tuple[int, ...]) -> None:
    x = np.random.RandomState(1).randint(0, 256, (20, *shape)).astype(np.uint8)
    y = (np.arange(20) % 10)[:, None]
    np.savez(tmp_path / "own.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    arrays = read(spec, tmp_path)
    assert arrays.x_test.shape == (20, *spec.shape)
    expected = x.transpose(0, 3, 1, 2) if shape[-1] == 3 else x.reshape(20, *spec.shape)
    assert (arrays.x_train == expected).all()
    assert arrays.y_train.shape == (20,)


def test_npz_tokens_and_features(tmp_path: Path) -> None:
    y = np.array([0, 1])
    x = np.array([[1, 2, 0], [1, 9, 9]])
    np.savez(tmp_path / "own.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    spec = DataSpec("text", "tokens", (3,), 2, vocabulary=10)
    assert read(spec, tmp_path).x_train.dtype == np.int32
    refused(replace(spec, vocabulary=9), tmp_path, "9 at [1, 1]", "0 to 8")
    assert read(DataSpec("own", "features", (3,), 2), tmp_path).x_test.sum() == 22


def test_npz_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    x, y = np.zeros((4, 2, 3), np.uint8), np.array([0, 1, 0, 1])

    def write(**changes: object) -> None:
        arrays: dict = {"x_train": x, "y_train": y, "x_test": x, "y_test": y} | changes
        np.savez(path, **{k: v for k, v in arrays.items() if v is not None})

    write(y_test=None)
    refused(SMALL, path, str(path), "lacks y_test")
    write(x_train=x / 2 + 0.5)
    refused(SMALL, path, "x_train", "0.5 at [0, 0, 0, 0]", "0 to 255")
    write(y_train=y[:3])
    refused(SMALL, path, "y_train", "4 observations")
    write(y_train=np.array([0, 1, 0, 5]))
    refused(SMALL, path, "observation 3", "label 5")
    write(y_test=np.array([0, 1, 0, -1]))
    refused(SMALL, path, "test observation 3", "label -1")
    write(y_train=np.zeros(4, int))
    refused(SMALL, path, "no training observation of class 1")
    write(x_train=x[:0], y_train=y[:0])
    refused(SMALL, path, "no observation for training")
    write(x_test=x[:0], y_test=y[:0])
    refused(SMALL, path, "no observation for testing")
    write(x_train=np.zeros((4, 5, 5), np.uint8))
    refused(SMALL, path, "1x5x5", "1x2x3")
    write()
    path.write_bytes(path.read_bytes()[:-30])
    refused(SMALL, path, str(path), "truncated")
    data = bytearray(path.read_bytes())
    path.write_bytes(b"PK" + bytes(data[2:40]))
    refused(SMALL, tmp_path, str(path), "truncated")


# --- image folders -------------------------------------------------------------------


def test_images(tmp_path: Path) -> None:
    write_images(tmp_path / "pets")
    arrays = read(SMALL, tmp_path)
    assert (arrays.name, arrays.classes) == ("pets", ("cat", "dog"))
    assert (len(arrays.x_train), len(arrays.x_test)) == (8, 2)
    for x, y in zip(arrays.x_train, arrays.y_train, strict=True):
        assert (x.min() >= 200) == (y == 1)
    assert (read(SMALL, tmp_path / "pets").x_train == arrays.x_train).all()
    colour = read(replace(SMALL, shape=(3, 2, 3)), tmp_path)
    assert colour.x_train.shape == (8, 3, 2, 3)


def test_images_with_train_and_test(tmp_path: Path) -> None:
    write_images(tmp_path / "pets" / "train", 3)
    write_images(tmp_path / "pets" / "test", 2)
    arrays = read(SMALL, tmp_path / "pets")
    assert (len(arrays.x_train), len(arrays.x_test)) == (6, 4)
    (tmp_path / "pets" / "test" / "cow").mkdir()
    refused(SMALL, tmp_path / "pets", "folder cow")


def test_images_mistakes(tmp_path: Path) -> None:
    write_images(tmp_path)
    refused(replace(SMALL, classes=3), tmp_path, "2 classes (cat, dog)", "has 3")
    odd = tmp_path / "dog" / "9.png"
    Image.new("L", (4, 4)).save(odd)
    refused(SMALL, tmp_path, str(odd), "4 pixels wide and 4 high", "3 x 2")
    odd.write_bytes(b"no image")
    refused(SMALL, tmp_path, str(odd), "no readable image")
    Image.new("L", (3, 2)).save(odd)
    odd.write_bytes(odd.read_bytes()[:43])
    refused(SMALL, tmp_path, str(odd), "no readable image")
    odd.unlink()
    (tmp_path / "bird").mkdir()
    refused(SMALL, tmp_path, str(tmp_path / "bird"), "no image")


# --- where things are looked for -----------------------------------------------------


def test_nothing_there(tmp_path: Path) -> None:
    refused(MNIST, tmp_path / "no", "does not exist", "train-images-idx3-ubyte.gz")
    refused(MNIST, tmp_path, "Nothing below", "data fetch mnist")
    (tmp_path / "x.txt").write_text("")
    refused(SMALL, tmp_path / "x.txt", "in no form", "CSV")


def test_two_sets_in_one_place(tmp_path: Path) -> None:
    write_idx(tmp_path / "a")
    write_idx(tmp_path / "b")
    refused(replace(SMALL, name="mnist"), tmp_path, "several data sets", "name the one")


def test_the_named_set_wins(tmp_path: Path) -> None:
    write_cifar(tmp_path / "batches")
    write_idx(tmp_path / "digits")
    assert read(CIFAR, tmp_path).name == "batches"
    assert read(replace(SMALL, name="mnist"), tmp_path).name == "digits"


def test_unknown_names() -> None:
    with pytest.raises(UserError, match="Did you mean mnist"):
        fetch("mnits", Path("nowhere"))
    with pytest.raises(UserError, match="Did you mean images"):
        DataSpec("x", "image", (1, 2, 3), 2)
    assert "Known: a, b" in str(unknown("thing", "zzz", ["b", "a"]))
    with pytest.raises(ValueError, match="no such shape"):
        DataSpec("x", "images", (784,), 2)


# --- fetching ------------------------------------------------------------------------


CONTENT = b"observations" * 1000


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server with good/, bad/, short/ and nothing else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            folder = self.path.split("/")[1]
            if folder not in ("good", "bad", "short"):
                self.send_error(404)
                return
            body = CONTENT if folder == "good" else CONTENT[:-5]
            self.send_response(200)
            promised = len(body) if folder == "bad" else len(CONTENT)
            self.send_header("Content-Length", str(promised))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    remote = catalogue.Remote(
        "toy.bin",
        "md5:" + hashlib.md5(CONTENT).hexdigest(),
        len(CONTENT),
        ("http://x/",),
    )
    toy = catalogue.Known("toy", "toy", ("toy.bin",), "none", (remote,))
    monkeypatch.setattr("netglot.data.fetching.KNOWN", {"toy": toy})
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    http = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    http.server_close()
    thread.join()


def test_fetch(server: str, tmp_path: Path) -> None:
    (path,) = fetch("toy", tmp_path / "new", mirror=f"{server}/good")
    assert path.read_bytes() == CONTENT
    # There already: no server is asked.
    assert fetch("toy", tmp_path / "new", mirror="http://127.0.0.1:9") == (path,)
    path.write_bytes(b"mine")
    with pytest.raises(UserError, match="Move it away"):
        fetch("toy", tmp_path / "new", mirror=f"{server}/good")
    assert path.read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("bad", "another checksum"),
        ("short", "broke off"),
        ("missing", "answered 404"),
        (None, "no connection"),
    ],
)
def test_fetch_failures(
    server: str, tmp_path: Path, folder: str | None, reason: str
) -> None:
    mirror = f"{server}/{folder}" if folder else "http://127.0.0.1:9"
    with pytest.raises(UserError) as caught:
        fetch("toy", tmp_path / "new", mirror=mirror)
    for part in (reason, "toy.bin", str(tmp_path / "new"), "without a network"):
        assert part in str(caught.value)
    assert list((tmp_path / "new").iterdir()) == []


# --- the real files ------------------------------------------------------------------


@pytest.mark.data
def test_real_mnist(real_data: Path) -> None:
    data = prepare(MNIST, real_data)
    assert (data.name, data.train, data.test) == ("mnist", 60000, 10000)
    arrays = load(data)
    assert arrays["x_train"].mean() == pytest.approx(33.318421, abs=1e-6)
    assert arrays["x_train"].std() == pytest.approx(78.567, abs=1e-3)
    assert np.bincount(arrays["y_train"]).tolist() == [
        *(5923, 6742, 5958, 6131, 5842),
        *(5421, 5918, 6265, 5851, 5949),
    ]
    # The two forms have the same content, in the same order.
    table = prepare(MNIST, real_data / "mnist" / "mnist_train.csv")
    assert (table.name, table.sha256) == ("mnist", data.sha256)
    start = time.perf_counter()
    assert prepare(MNIST, real_data) == data
    assert time.perf_counter() - start < 1


@pytest.mark.data
def test_real_cifar(real_data: Path) -> None:
    data = prepare(CIFAR, real_data)
    assert (data.name, data.train, data.test) == ("cifar10", 50000, 10000)
    arrays = load(data)
    # The means of red, green and blue that are widely published.
    means = arrays["x_train"].mean((0, 2, 3)) / 255
    assert means == pytest.approx([0.4914, 0.4822, 0.4465], abs=1e-4)
    assert np.bincount(arrays["y_train"]).tolist() == [5000] * 10
    assert data.classes[arrays["y_train"][0]] == "frog"


@pytest.mark.data
def test_real_imdb_forms_agree(real_data: Path) -> None:
    spec = replace(IMDB, shape=(2500,), vocabulary=100000)
    keras = read(spec, real_data / "imdb")
    texts = read(spec, real_data / "imdb" / "aclImdb")
    assert keras.name == texts.name == "imdb"
    for part in ("train", "test"):
        one, two = (
            Counter(
                (int(y), x.tobytes())
                for x, y in zip(
                    getattr(each, f"x_{part}"), getattr(each, f"y_{part}"), strict=True
                )
            )
            for each in (keras, texts)
        )
        assert one == two
    assert np.bincount(keras.y_train).tolist() == [12500, 12500]
    # Both are sorted by class; what is prepared is not.
    assert min(np.bincount(keras.y_train[:100])) > 30
    assert min(np.bincount(texts.y_test[:100])) > 30


@pytest.mark.data
def test_real_imdb_as_the_workload_wants_it(real_data: Path) -> None:
    data = prepare(IMDB, real_data)
    x = load(data)["x_train"]
    assert (data.name, x.shape, x.dtype) == ("imdb", (25000, 150), np.int32)
    assert x.max() < 30000
    short = x[:, -1] == 0
    assert (x[short, 0] == 1).all()
    # A 0 is only ever behind the words.
    assert ((x == 0) == (np.cumsum(x[:, ::-1], 1)[:, ::-1] == 0)).all()


def test_python_2_pickles_are_read() -> None:
    # As CIFAR-10's own batches are written: text as bytes, numbers column by column.
    from netglot.data import pickles

    data = np.asfortranarray(np.arange(6, dtype=">i2").reshape(2, 3))
    for protocol in range(2, 5):
        value = pickles.load(pickle.dumps({b"x": data}, protocol), "file")
        assert value[b"x"].tolist() == data.tolist()
    buffer = io.BytesIO(pickle.dumps({"x": np.ones(3, "complex64")}, 2))
    with pytest.raises(UserError, match="c8"):
        pickles.load(buffer.getvalue(), "file")

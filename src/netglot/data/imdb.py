"""Reads the IMDB reviews: Keras' `imdb.npz`, or the `aclImdb` folder of text files.

Both become the Keras index form: 0 pads, 1 starts a review, 2 stands for a word beyond
the vocabulary, the word of rank i is i + 3.
"""

import itertools
import json
import zipfile
from pathlib import Path

import numpy as np

from netglot.data import pickles
from netglot.data.types import Arrays, DataSpec
from netglot.errors import UserError

START, UNKNOWN, OFFSET = 1, 2, 3
CLASSES = ("negative", "positive")
WORD_INDEX = "imdb_word_index.json"
# What Keras' Tokenizer turns into spaces.
FILTERS = b'!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
# Reviews and their words in the published data set, before any cut.
REVIEWS = ((25000, 5942841), (25000, 5745105))


def find(place: Path, spec: DataSpec) -> tuple[Path, ...] | None:
    """Keras' file, or the folder of texts and the word index beside it."""
    if spec.kind != "tokens":
        return None
    if place.is_file():
        return (place,) if place.suffix == ".npz" and _has_objects(place) else None
    if (place / "train" / "pos").is_dir() and (place / "train" / "neg").is_dir():
        places = [place / WORD_INDEX, place.parent / WORD_INDEX]
        index = next((path for path in places if path.is_file()), None)
        if index is None:
            raise UserError(
                f"{place} holds the texts of the reviews, but no {WORD_INDEX} lies in "
                "it or beside it. It says which index a word has; get it from "
                "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
                f"{WORD_INDEX} and put it into {place.parent}."
            )
        return (place, index)
    for path in sorted(place.glob("*.npz")):
        if _has_objects(path):
            return (path,)
    return None


def read(files: tuple[Path, ...], spec: DataSpec) -> Arrays:
    """Indices int32 (N, T) and labels (0 negative, 1 positive).

    UserError for a damaged or hostile file (nothing in it is executed), an empty folder
    and a folder without its word index.
    """
    if files[0].is_dir():
        sorted_parts, source = _texts(files[0], files[1]), f"texts in {files[0]}"
    else:
        sorted_parts, source = _keras(files[0]), f"Keras' form, {files[0]}"
    parts = tuple(map(_shuffled, sorted_parts))
    known = tuple((len(x), sum(map(len, x))) for x, _ in parts) == REVIEWS
    (x_train, y_train), (x_test, y_test) = parts
    return Arrays(
        name="imdb" if known else files[0].resolve().stem,
        x_train=index_form(x_train, spec, str(files[0])),
        y_train=y_train,
        x_test=index_form(x_test, spec, str(files[0])),
        y_test=y_test,
        classes=CLASSES,
        source=source,
    )


def index_form(reviews: list[list[int]], spec: DataSpec, where: str) -> np.ndarray:
    """Lists of word ranks (from 1) as indices, int32 (N, T).

    A review keeps its last T indices; a shorter one is padded with 0 after its words.
    """
    length = spec.shape[0]
    lengths = np.array([len(review) for review in reviews], np.int64)
    kept = [review[-length:] for review in reviews]
    try:
        words = np.array(list(itertools.chain.from_iterable(kept)) or [1])
    except (ValueError, OverflowError) as error:
        raise UserError(f"{where}: a review is not a list of word ranks.") from error
    if words.dtype.kind not in "iu" or words.ndim != 1 or words.min() < 1:
        raise UserError(f"{where}: a review is not a list of word ranks from 1.")
    words = words + OFFSET
    words[words >= spec.vocabulary] = UNKNOWN
    indices = np.zeros((len(reviews), length), np.int32)
    # The start is one more index in front: only a shorter review still has it.
    starts = (lengths < length).astype(np.int64)
    indices[starts == 1, 0] = START
    columns = np.arange(length)
    ends = starts + np.minimum(lengths, length)
    mask = (columns >= starts[:, None]) & (columns < ends[:, None])
    indices[mask] = words[: int(mask.sum())]
    return indices


def _has_objects(path: Path) -> bool:
    """Whether an `.npz` holds reviews of unequal length, as Keras' file does."""
    try:
        with zipfile.ZipFile(path) as archive:
            return bool(pickles.npy_header(archive, "x_train", str(path))[1].hasobject)
    except (*pickles.BROKEN, KeyError, UserError):
        # Not this form; the reader of other .npz files says what is wrong with it.
        return False


Part = tuple[list[list[int]], np.ndarray]


def _keras(path: Path) -> tuple[Part, Part]:
    try:
        with zipfile.ZipFile(path) as archive:
            train = _keras_part(archive, path, "train")
            test = _keras_part(archive, path, "test")
    except pickles.BROKEN as error:
        raise UserError(f"{path} is damaged: {error}. Fetch it again.") from error
    return train, test


def _keras_part(archive: zipfile.ZipFile, path: Path, part: str) -> Part:
    reviews = pickles.read_npy(archive, f"x_{part}", str(path))
    labels = np.asarray(pickles.read_npy(archive, f"y_{part}", str(path)))
    if not isinstance(reviews, list) or not all(type(each) is list for each in reviews):
        raise UserError(f"{path}: x_{part} is not a list of reviews.")
    if labels.shape != (len(reviews),) or labels.dtype.kind not in "iub":
        raise UserError(
            f"{path}: y_{part} is not one integer label for each of the "
            f"{len(reviews):,} reviews."
        )
    return reviews, labels.astype(np.int64)


def _texts(folder: Path, index_path: Path) -> tuple[Part, Part]:
    try:
        index = json.loads(index_path.read_text("utf-8"))
        ranks = {word.encode(): int(rank) for word, rank in index.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{index_path} is no index of words: {error}.") from error
    # Spaces for the filters and small for capital letters, in one pass. Only ASCII
    # letters: Keras' index was made from bytes, in which a capital A-umlaut stayed one.
    capitals = bytes(range(ord("A"), ord("Z") + 1))
    table = bytes.maketrans(FILTERS + capitals, b" " * len(FILTERS) + capitals.lower())
    train = _text_part(folder / "train", ranks, table)
    return train, _text_part(folder / "test", ranks, table)


def _text_part(folder: Path, ranks: dict[bytes, int], table: bytes) -> Part:
    reviews, labels = [], []
    for label, name in enumerate(("neg", "pos")):
        try:
            paths = sorted((folder / name).glob("*.txt"))
            texts = [path.read_bytes() for path in paths]
        except OSError as error:
            raise UserError(f"A review cannot be read: {error}.") from error
        if not texts:
            raise UserError(
                f"{folder / name} holds no review (*.txt). The folder aclImdb has "
                "train/neg, train/pos, test/neg and test/pos."
            )
        for text in texts:
            # A word that is not in the index is left out, as Keras does.
            words = map(ranks.get, text.translate(table).split(b" "))
            reviews.append([rank for rank in words if rank])
        labels += [label] * len(texts)
    return reviews, np.array(labels, np.int64)


def _shuffled(part: Part) -> Part:
    """Both forms are sorted: the first observations would be all of one class."""
    reviews, labels = part
    order = np.random.RandomState(0).permutation(len(reviews))
    return [reviews[i] for i in order], labels[order]

"""Finds which of the known forms a source is, and reads it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from netglot.data import cifar, digits, idx, images, imdb, npz, table
from netglot.data.catalogue import KNOWN, identify
from netglot.data.types import Arrays, DataSpec
from netglot.errors import UserError

Files = tuple[Path, ...]


@dataclass(frozen=True)
class Form:
    """A form of data on disk: `find` gives its files at a place, `read` their arrays.

    `set` names the known data set that comes in this form and no other does.
    """

    title: str
    set: str | None
    find: Callable[[Path, DataSpec], Files | None]
    read: Callable[[Files, DataSpec], Arrays]


# The order is the preference where one folder has the same data in several forms.
FORMS = (
    Form("idx files", "mnist", idx.find, idx.read),
    Form("CIFAR-10 batches", "cifar10", cifar.find, cifar.read),
    Form("IMDB reviews", "imdb", imdb.find, imdb.read),
    Form(".npz file", None, npz.find, npz.read),
    Form("CSV files", None, table.find, table.read),
    Form("folder of images per class", None, images.find, images.read),
)


@dataclass(frozen=True)
class Found:
    """A form and the files of it that were found."""

    form: Form
    files: Files


def find(spec: DataSpec, source: Path) -> Found:
    """The data at `source`: a file, or a folder searched two levels down.

    UserError where nothing is found, or several data sets between which neither the
    name of the data set nor the depth decides.
    """
    try:
        if not source.exists():
            raise UserError(f"{source} does not exist. {_wanted(spec)}")
        if source.is_file():
            candidates = _at(source, spec)
            if not candidates:
                raise UserError(
                    f"{source} is in no form that can serve {spec.words()}. "
                    f"{_wanted(spec)}"
                )
            return candidates[0]
        for named in (True, False):
            for level in _levels(source):
                found = [each for place in level for each in _at(place, spec)]
                if named:
                    found = [each for each in found if _is_named(each, spec.name)]
                if found:
                    return _only(found, source)
    except OSError as error:
        raise UserError(f"{source} cannot be read: {error}.") from error
    raise UserError(
        f"Nothing below {source} can serve {spec.words()} (it was searched two levels "
        f"down). {_wanted(spec)}"
    )


def read(spec: DataSpec, source: Path | None) -> Arrays:
    """The observations of `source` as `spec` wants them; None: the embedded digits.

    UserError for what cannot be found or read, or does not fit the workload.
    """
    if source is None:
        return check(digits.read(spec), spec)
    return read_found(find(spec, source), spec)


def read_found(found: Found, spec: DataSpec) -> Arrays:
    """The observations of files that were found, under the name they deserve."""
    arrays = found.form.read(found.files, spec)
    return check(replace(arrays, name=identify(arrays) or arrays.name), spec)


def check(arrays: Arrays, spec: DataSpec) -> Arrays:
    """The arrays with features flattened and classes named, when they fit `spec`.

    UserError for no observations, another shape, a label outside the classes, a class
    without an observation for training.
    """
    where = arrays.source
    x_train, x_test = arrays.x_train, arrays.x_test
    if spec.kind == "features":
        flat = (len(x_train), -1), (len(x_test), -1)
        if len(x_train) and len(x_test):
            x_train, x_test = x_train.reshape(flat[0]), x_test.reshape(flat[1])
        x_train, x_test = x_train.astype(np.float32), x_test.astype(np.float32)
    for part, x in (("training", x_train), ("testing", x_test)):
        if not len(x):
            raise UserError(f"{where}: no observation for {part}.")
        if x.shape[1:] != spec.shape:
            raise UserError(
                f"{where}: an observation is {'x'.join(map(str, x.shape[1:]))}, but "
                f"{spec.name} works on {spec.words()}."
            )
    classes = arrays.classes
    if spec.classes is not None:
        if classes and len(classes) != spec.classes:
            raise UserError(
                f"{where}: {len(classes)} classes ({_list(classes)}), but {spec.name} "
                f"has {spec.classes}."
            )
        _check_labels(arrays, spec.classes, classes)
        classes = classes or tuple(str(label) for label in range(spec.classes))
    return replace(arrays, x_train=x_train, x_test=x_test, classes=classes)


def _check_labels(arrays: Arrays, count: int, names: tuple[str, ...]) -> None:
    for part, y in (("training", arrays.y_train), ("test", arrays.y_test)):
        bad = np.flatnonzero((y < 0) | (y >= count))
        if len(bad):
            raise UserError(
                f"{arrays.source}: {part} observation {bad[0]} (counted from 0) has "
                f"the label {y[bad[0]]}, which is outside the {count} classes, 0 to "
                f"{count - 1}."
            )
    empty = np.flatnonzero(np.bincount(arrays.y_train, minlength=count) == 0)
    if len(empty):
        titles = [names[label] if names else str(label) for label in empty]
        raise UserError(
            f"{arrays.source}: no training observation of class {_list(titles)}; the "
            f"workload has {count} classes."
        )


def _at(place: Path, spec: DataSpec) -> list[Found]:
    found = ((form, form.find(place, spec)) for form in FORMS)
    return [Found(form, files) for form, files in found if files]


def _levels(source: Path) -> Iterator[list[Path]]:
    level = [source]
    for _ in range(3):
        yield level
        level = [
            path
            for place in level
            for path in sorted(place.iterdir())
            if path.is_dir() and not path.name.startswith(".")
        ]


def _is_named(found: Found, name: str) -> bool:
    if name not in KNOWN:
        return True
    file = found.files[0]
    return found.form.set == name or name in (file.stem + file.parent.name).lower()


def _only(found: list[Found], source: Path) -> Found:
    places = {each.files[0].parent for each in found}
    if len(places) > 1 and len({each.files for each in found}) > 1:
        listing = ", ".join(str(each.files[0]) for each in found)
        raise UserError(
            f"There are several data sets below {source} ({listing}): name the one to "
            "read."
        )
    return found[0]


def _wanted(spec: DataSpec) -> str:
    if spec.name in KNOWN:
        forms = " or ".join(KNOWN[spec.name].forms)
        return (
            f"Wanted: {forms}. `netglot data fetch {spec.name}` fetches it from its "
            "public home."
        )
    return (
        "Wanted: a CSV file (label, numbers), an .npz with x_train, y_train, x_test, "
        "y_test, or a folder of images per class."
    )


def _list(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")

"""Reads CSV files: a label and the numbers of one observation per line.

The good path is pyarrow's reader. Where it stumbles, a slow and exact one finds the
line and the column to name.
"""

import csv
import gzip
import re
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from netglot.data.split import split
from netglot.data.types import Arrays, DataSpec
from netglot.errors import UserError

ENDINGS = (".csv", ".csv.gz")
LABEL = "label"
TEST_NAMES = (("train", "test"), ("Train", "Test"), ("TRAIN", "TEST"))


def find(place: Path, spec: DataSpec) -> tuple[Path, ...] | None:
    """The file with its "test" partner where its name says "train", or a single one."""
    if spec.kind == "tokens":
        return None
    if place.is_file():
        return _partners(place) if place.name.endswith(ENDINGS) else None
    files = [path for path in sorted(place.iterdir()) if path.name.endswith(ENDINGS)]
    sets = sorted({_partners(path) for path in files})
    if len(sets) > 1:
        raise UserError(
            f"{place} has several CSV files ({', '.join(path.name for path in files)}):"
            " name the one to read."
        )
    return sets[0] if sets else None


def read(files: tuple[Path, ...], spec: DataSpec) -> Arrays:
    """Images uint8 (N, C, H, W) or features float32 (N, F), and labels.

    The label is in the column named `label`, or else in the first; labels that are
    words become classes in alphabetic order. A first line without any number, or with
    the word `label`, is a header. A single file is split: every fifth observation of
    each class is for testing.

    UserError naming file, line and column for a line of another length, for what is no
    number or out of range, and for a missing label column.
    """
    parts = [_read_table(path, spec) for path in files]
    words = sorted({word for part in parts for word in part.words})
    labels = [_labels(part, words) for part in parts]
    source = " and ".join(str(path) for path in files)
    x, y = parts[0].x, labels[0]
    if len(parts) == 1:
        train, test = split(y, spec, str(files[0]))
        arrays = x[train], y[train], x[test], y[test]
        source += ", every fifth observation for testing"
    else:
        arrays = x, y, parts[1].x, labels[1]
    name = files[0].name.removesuffix(".gz").removesuffix(".csv")
    return Arrays(name, *arrays, classes=tuple(words), source=f"CSV {source}")


@dataclass(frozen=True)
class _Layout:
    """Where things are in a CSV file, told from its first line."""

    path: Path
    delimiter: str
    columns: tuple[str, ...]
    header: bool
    label: int | None
    pixels: bool

    def title(self, column: int) -> str:
        title = self.columns[column] if self.header else ""
        return f"column {column + 1}" + (f" ({title})" if title else "")


@dataclass(frozen=True, eq=False)
class _Table:
    path: Path
    x: np.ndarray
    y: np.ndarray  # int64, or text where labels are words
    words: frozenset[str]


def _partners(path: Path) -> tuple[Path, ...]:
    for train, test in TEST_NAMES:
        if train in path.name:
            partner = path.with_name(path.name.replace(train, test))
            return (path, partner) if partner.is_file() else (path,)
        if test in path.name:
            partner = path.with_name(path.name.replace(test, train))
            if partner.is_file():
                return (partner, path)
    return (path,)


def _open(path: Path) -> IO[str]:
    if path.name.endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return open(path, encoding="utf-8-sig", newline="")


def _read_table(path: Path, spec: DataSpec) -> _Table:
    try:
        layout = _layout(path, spec)
        table = _fast(layout) or _exact(layout)
    except (OSError, EOFError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no CSV file in UTF-8: {error}.") from error
    except csv.Error as error:
        raise UserError(f"{path} is no CSV file: {error}.") from error
    if not table.words and spec.classes is not None and layout.label is not None:
        _check_labels(layout, table.y, spec.classes)
    shape = (-1, *spec.shape)
    return _Table(path, table.x.reshape(shape), table.y, table.words)


def _layout(path: Path, spec: DataSpec) -> _Layout:
    with _open(path) as file:
        line = next((line for line in file if line.strip()), "")
    if not line:
        raise UserError(f"{path} is empty: it has no observation.")
    delimiter = max(",;\t", key=line.count)
    first = [field.strip() for field in next(csv.reader([line], delimiter=delimiter))]
    named = [field.lower() for field in first]
    header = LABEL in named or not any(_is_number(field) for field in first)
    has_label = LABEL in named or len(first) != spec.size
    if not has_label and spec.classes is not None:
        raise UserError(
            f"{path}, line 1: no label column. There are {len(first)} columns, and "
            f"{spec.words()} need {spec.size} beside the label, which is the first "
            f"column or the one named {LABEL!r}."
        )
    if len(first) != spec.size + has_label:
        raise UserError(
            f"{path}, line 1: {len(first)} columns, but {spec.words()} need a label "
            f"and {spec.size} numbers, {spec.size + 1} columns."
        )
    label = (named.index(LABEL) if LABEL in named else 0) if has_label else None
    pixels = spec.kind == "images"
    return _Layout(path, delimiter, tuple(first), header, label, pixels)


def _fast(layout: _Layout) -> _Table | None:
    """The table as pyarrow reads it; None where anything is unusual."""
    import pyarrow as pa
    import pyarrow.csv

    names = [str(number) for number in range(len(layout.columns))]
    number = pa.uint8() if layout.pixels else pa.float32()
    types = dict.fromkeys(names, number)
    if layout.label is not None:
        types[str(layout.label)] = pa.string()
    try:
        table = pyarrow.csv.read_csv(
            layout.path,
            pyarrow.csv.ReadOptions(
                column_names=names, skip_rows=int(layout.header), block_size=8 << 20
            ),
            pyarrow.csv.ParseOptions(delimiter=layout.delimiter),
            # Nothing is a missing value: an empty field is a mistake to be named.
            pyarrow.csv.ConvertOptions(column_types=types, null_values=[]),
        )
        y: Any = np.zeros(table.num_rows, np.int64)
        if layout.label is not None:
            texts = table.column(layout.label)
            y = texts.cast(pa.int64()).to_numpy()
            table = table.remove_column(layout.label)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    x = np.empty((table.num_columns, table.num_rows), number.to_pandas_dtype())
    for row, column in zip(x, table.columns, strict=True):
        row[:] = column.to_numpy()
    if not layout.pixels and not np.isfinite(x).all():
        return None
    return _Table(layout.path, np.ascontiguousarray(x.T), y, frozenset())


def _exact(layout: _Layout) -> _Table:
    """The table, line by line, and an error that names line and column."""
    rows, labels, lines = [], [], []
    wanted = len(layout.columns)
    with _open(layout.path) as file:
        reader = csv.reader(file, delimiter=layout.delimiter)
        waiting = layout.header
        for fields in reader:
            if not any(field.strip() for field in fields):
                continue
            if waiting:
                waiting = False
                continue
            place = f"{layout.path}, line {reader.line_num}"
            if len(fields) != wanted:
                raise UserError(
                    f"{place}: {len(fields)} columns, but the first line has {wanted}."
                )
            if layout.label is not None:
                labels.append(fields.pop(layout.label).strip())
            rows.append(_numbers(fields, layout, place))
            lines.append(reader.line_num)
    x = np.array(rows, np.uint8 if layout.pixels else np.float32)
    x = x.reshape(len(rows), wanted - (layout.label is not None))
    if layout.label is None:
        return _Table(layout.path, x, np.zeros(len(x), np.int64), frozenset())
    words = {label for label in labels if not re.fullmatch(r"[+-]?\d+", label)}
    if words and len(words) == len(set(labels)) and "" not in words:
        return _Table(layout.path, x, np.array(labels), frozenset(words))
    for label, line in zip(labels, lines, strict=True):
        if label in words:
            raise UserError(
                f"{layout.path}, line {line}, {layout.title(layout.label)}: the label "
                f"{label!r} is no integer."
            )
    return _Table(layout.path, x, np.array(labels).astype(np.int64), frozenset())


def _numbers(fields: list[str], layout: _Layout, place: str) -> list[float]:
    numbers = []
    for position, field in enumerate(fields):
        try:
            number = float(field)
        except ValueError:
            number = float("nan")
        good = number == number and abs(number) != float("inf")
        if layout.pixels:
            good = good and 0 <= number <= 255 and number == int(number)
        if not good:
            after = layout.label is not None and position >= layout.label
            what = "an integer from 0 to 255" if layout.pixels else "a finite number"
            raise UserError(
                f"{place}, {layout.title(position + after)}: {field!r} is not {what}."
            )
        numbers.append(number)
    return numbers


def _check_labels(layout: _Layout, labels: np.ndarray, classes: int) -> None:
    bad = np.flatnonzero((labels < 0) | (labels >= classes))
    if not len(bad) or layout.label is None:
        return
    with _open(layout.path) as file:
        reader = csv.reader(file, delimiter=layout.delimiter)
        lines = [reader.line_num for fields in reader if any(fields)]
    raise UserError(
        f"{layout.path}, line {lines[bad[0] + layout.header]}, "
        f"{layout.title(layout.label)}: the label {labels[bad[0]]} is outside the "
        f"{classes} classes, 0 to {classes - 1}."
    )


def _labels(table: _Table, words: list[str]) -> np.ndarray:
    if not words:
        return table.y
    if not table.words:
        raise UserError(f"{table.path}: its labels are numbers, its partner's words.")
    return np.searchsorted(np.array(words), table.y).astype(np.int64)


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True

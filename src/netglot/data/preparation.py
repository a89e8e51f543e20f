"""Writes a source as one uncompressed `.npz` that programs load, once per source."""

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import numpy as np

from netglot.data import sources, t7
from netglot.data.catalogue import Known, known
from netglot.data.types import DataSet, DataSpec
from netglot.errors import UserError

# Part of every key: raise it when the same source gives another file.
VERSION = 2


def cache_folder() -> Path:
    """Where prepared files lie: $NETGLOT_CACHE/data, or ~/.cache/netglot/data."""
    root = os.environ.get("NETGLOT_CACHE")
    return (Path(root) if root else Path.home() / ".cache" / "netglot") / "data"


def prepare(spec: DataSpec, source: Path | None, output: Path | None = None) -> DataSet:
    """The data at `source` as one `.npz` in the form that `spec` asks for.

    `source` is a file or a folder (searched two levels down); None takes the embedded
    digits. The file has x_train, y_train, x_test and y_test: images uint8
    (N, C, H, W), indices int32 (N, T), features float32 (N, F); labels int64 (N,). It
    goes to `output` (a `.t7` is a table of Torch7 with the same tensors), or into the
    cache; one that was made from the same files (path, size, time of change) and the
    same `spec` is used again.

    UserError for what cannot be found or read, does not fit, or cannot be written.
    """
    found = sources.find(spec, Path(source)) if source is not None else None
    key = _key(spec, found)
    path = output or cache_folder() / f"{spec.name}-{key[:16]}.npz"
    path = Path(path).absolute()
    if path.suffix not in (".npz", ".t7"):
        raise UserError(
            f"{path}: prepared data is an .npz file, or a .t7 for Torch7; name it so."
        )
    ready = _ready(path, key)
    if ready:
        return ready
    arrays = sources.read_found(found, spec) if found else sources.read(spec, None)
    contents = {
        "x_train": arrays.x_train,
        "y_train": arrays.y_train,
        "x_test": arrays.x_test,
        "y_test": arrays.y_test,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The record goes first and comes last: it never describes another file.
        _record(path).unlink(missing_ok=True)
        if path.suffix == ".t7":
            _write(path, lambda file: t7.write(file, contents))
        else:
            _write(path, lambda file: np.savez(file, allow_pickle=False, **contents))
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        data = DataSet(
            name=arrays.name,
            kind=spec.kind,
            path=str(path),
            shape=spec.shape,
            train=len(arrays.x_train),
            test=len(arrays.x_test),
            classes=arrays.classes,
            sha256=digest,
            source=arrays.source,
        )
        record = {"key": key, "bytes": path.stat().st_size, "data": data.to_json()}
        text = json.dumps(record, indent=1).encode()
        _write(_record(path), lambda file: file.write(text))
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error}.") from error
    return data


@dataclass(frozen=True)
class Description:
    """A known data set, and the prepared files of it that lie in the cache."""

    known: Known
    prepared: tuple[DataSet, ...]
    bytes: int


def describe() -> tuple[Description, ...]:
    """Every known data set with its prepared files and their bytes; then others.

    Other people's data, prepared before, comes last under its own names.
    """
    records = list(_records(cache_folder()))
    sets = {each.name: each for each in known()}
    for _, data in records:
        if data.name not in sets:
            sets[data.name] = Known(data.name, data.source, ("your own",), "yours")
    return tuple(
        Description(
            entry,
            tuple(data for _, data in records if data.name == name),
            sum(size for size, data in records if data.name == name),
        )
        for name, entry in sets.items()
    )


def _key(spec: DataSpec, found: sources.Found | None) -> str:
    """What a prepared file is made from, as a hash."""
    files: list[tuple[str, int, int]] = []
    for place in found.files if found else ():
        files += [
            (path, stat.st_size, stat.st_mtime_ns)
            for path, stat in _walk(place.resolve())
        ]
    form = found.form.title if found else "digits"
    text = json.dumps([VERSION, asdict(spec), form, sorted(files)])
    return hashlib.sha256(text.encode()).hexdigest()


def _walk(place: Path) -> Iterator[tuple[str, os.stat_result]]:
    if place.is_dir():
        for entry in os.scandir(place):
            if entry.is_dir():
                yield from _walk(Path(entry.path))
            else:
                yield entry.path, entry.stat()
    else:
        yield str(place), place.stat()


def _record(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _ready(path: Path, key: str) -> DataSet | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        record = json.loads(_record(path).read_text("utf-8"))
        if record["key"] == key and record["bytes"] == path.stat().st_size:
            return DataSet.from_json(record["data"] | {"path": str(path)})
    return None


def _records(folder: Path) -> Iterator[tuple[int, DataSet]]:
    for path in sorted(folder.glob("*.npz.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            record = json.loads(path.read_text("utf-8"))
            data = DataSet.from_json(record["data"])
            if Path(data.path).is_file():
                yield record["bytes"], data


def _write(path: Path, fill: Callable[[IO[bytes]], object]) -> None:
    """Writes a file whole or not at all."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with open(part, "xb") as file:
            fill(file)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)

"""Files of Torch7: its binary serialization, written and read.

A file holds one object: a number, a string, a boolean, nothing, a table or a tensor. In
Python a table is a dictionary, or a list where its keys are 1, 2, 3 and so on, and a
tensor an array. See ``File.lua`` and ``Tensor.c`` of Torch7.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from netglot.errors import UserError

_NIL, _NUMBER, _STRING, _TABLE, _TORCH, _BOOLEAN = range(6)
#: What a tensor of Torch7 can hold.
_KINDS = {
    "float64": "Double",
    "float32": "Float",
    "int64": "Long",
    "int32": "Int",
    "int16": "Short",
    "int8": "Char",
    "uint8": "Byte",
}
_DTYPES = {kind: np.dtype(name).newbyteorder("<") for name, kind in _KINDS.items()}


def write(file: IO[bytes], value: Any) -> None:
    """Write an object; raises ``TypeError`` for what Torch7 does not have."""
    _Writer(file).write(value)


def read(path: Path) -> Any:
    """The object in a file; of another class than a tensor the fields, as a dictionary.

    Its class is then the value of ``torch.type``. Raises ``UserError`` for what is no
    such file.
    """
    try:
        return _Reader(path.read_bytes()).read()
    except (struct.error, ValueError, KeyError, IndexError) as error:
        raise UserError(
            f"{path} is no file that Torch7 wrote as binary on a 64-bit machine: "
            f"{error}."
        ) from error


class _Writer:
    """Writes objects one after the other; tables, tensors and storages are counted."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.count = 0

    def write(self, value: Any) -> None:
        if value is None:
            self._numbers("i", _NIL)
        elif isinstance(value, bool):
            self._numbers("ii", _BOOLEAN, value)
        elif isinstance(value, int | float):
            self._numbers("<id", _NUMBER, value)
        elif isinstance(value, str):
            self._numbers("i", _STRING)
            self._text(value)
        elif isinstance(value, np.ndarray):
            self._tensor(value)
        elif isinstance(value, Mapping):
            self._table(list(value.items()))
        elif isinstance(value, Sequence):
            self._table(list(enumerate(value, start=1)))
        else:
            raise TypeError(f"Torch7 has no {type(value).__name__}")

    def _numbers(self, form: str, *values: Any) -> None:
        self.file.write(struct.pack("<" + form.lstrip("<"), *values))

    def _text(self, text: str) -> None:
        data = text.encode()
        self._numbers("i", len(data))
        self.file.write(data)

    def _index(self) -> None:
        self.count += 1
        self._numbers("i", self.count)

    def _table(self, items: Sequence[tuple[Any, Any]]) -> None:
        self._numbers("i", _TABLE)
        self._index()
        self._numbers("i", len(items))
        for key, value in items:
            self.write(key)
            self.write(value)

    def _class(self, name: str) -> None:
        self._numbers("i", _TORCH)
        self._index()
        self._text("V 1")
        self._text(name)

    def _tensor(self, array: np.ndarray) -> None:
        kind = _KINDS.get(array.dtype.name)
        if kind is None:
            raise TypeError(f"Torch7 has no tensor of {array.dtype.name}")
        # A tensor of one number has one axis: Torch7 has none of no axes.
        array = np.ascontiguousarray(array, dtype=_DTYPES[kind])
        strides = [stride // array.itemsize for stride in array.strides]
        self._class(f"torch.{kind}Tensor")
        self._numbers("i", array.ndim)
        self._numbers(f"{array.ndim}q", *array.shape)
        self._numbers(f"{array.ndim}q", *strides)
        self._numbers("q", 1)
        self._class(f"torch.{kind}Storage")
        self._numbers("q", array.size)
        self.file.write(array.data)


class _Reader:
    """Reads objects one after the other; one that was read is known by its number."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0
        self.known: dict[int, Any] = {}

    def read(self) -> Any:
        kind = self._number("i")
        if kind == _NIL:
            return None
        if kind == _NUMBER:
            number = self._number("d")
            return int(number) if number.is_integer() else number
        if kind == _BOOLEAN:
            return bool(self._number("i"))
        if kind == _STRING:
            return self._text()
        if kind not in (_TABLE, _TORCH):
            raise ValueError(f"an object of type {kind} at byte {self.place - 4}")
        index = self._number("i")
        if index not in self.known:
            if kind == _TABLE:
                self._table(index)
            else:
                self._object(index)
        return self.known[index]

    def _number(self, form: str) -> Any:
        return self._numbers(form)[0]

    def _numbers(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + form, self.data, self.place)
        self.place += struct.calcsize("<" + form)
        return values

    def _text(self) -> str:
        size = self._number("i")
        if size < 0 or self.place + size > len(self.data):
            raise ValueError(f"a text of {size} bytes at byte {self.place}")
        self.place += size
        return self.data[self.place - size : self.place].decode("utf-8", "replace")

    def _table(self, index: int) -> None:
        table: dict[Any, Any] = {}
        self.known[index] = table
        for _ in range(self._number("i")):
            key = self.read()
            table[key] = self.read()
        if table and list(table) == list(range(1, len(table) + 1)):
            self.known[index] = list(table.values())

    def _object(self, index: int) -> None:
        name = self._text()
        if name.startswith("V "):
            name = self._text()
        kind = (
            name.removeprefix("torch.").removesuffix("Tensor").removesuffix("Storage")
        )
        if name.endswith("Storage"):
            count, dtype = self._number("q"), _DTYPES[kind]
            array = np.frombuffer(self.data, dtype, count, self.place)
            self.place += array.nbytes
            self.known[index] = array
        elif name.endswith("Tensor"):
            rank = self._number("i")
            sizes, strides = self._numbers(f"{rank}q"), self._numbers(f"{rank}q")
            offset = self._number("q") - 1
            storage = self.read()
            self.known[index] = _view(storage, offset, sizes, strides, _DTYPES[kind])
        else:
            self.known[index] = {}
            fields = self.read()
            self.known[index] |= {"torch.type": name, **fields}


def _view(
    storage: np.ndarray | None,
    offset: int,
    sizes: Sequence[int],
    strides: Sequence[int],
    dtype: np.dtype[Any],
) -> np.ndarray:
    """A copy of what a tensor shows of its storage."""
    if storage is None or not sizes:
        return np.zeros(0, dtype.newbyteorder("="))
    last = offset + sum((n - 1) * step for n, step in zip(sizes, strides, strict=True))
    if offset < 0 or min(strides) < 0 or last >= len(storage):
        raise ValueError("a tensor that is larger than its storage")
    steps = [step * dtype.itemsize for step in strides]
    view = np.lib.stride_tricks.as_strided(storage[offset:], sizes, steps)
    return view.astype(dtype.newbyteorder("="))

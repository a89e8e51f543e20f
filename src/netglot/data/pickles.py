"""Reads the pickles of old data files without running what a pickle may ask for.

A pickle is a program: unpickling a hostile file runs any command. The files that are
read here need NumPy arrays, lists, dictionaries, numbers and text, so nothing else is
admitted. Even NumPy's own classes are kept away from the file, because a forged dtype
can make NumPy take raw bytes for object pointers: harmless records stand in for them,
and arrays are made from the records afterwards.
"""

import io
import math
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from netglot.errors import UserError

NUMBERS = {"u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8", "b1"}
# What reading a damaged zip archive (an `.npz`) raises.
BROKEN = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
)


def load(data: bytes, where: str) -> Any:
    """The value pickled in `data`; text of Python 2 comes as bytes.

    `where` names the file in messages. UserError for anything but plain values and
    NumPy arrays of numbers or of plain values, and for a damaged pickle.
    """
    try:
        return _plain(_unpickler(data, where).load(), where)
    except UserError:
        raise
    # The documentation of pickle: a damaged pickle may raise any exception.
    except Exception as error:
        raise UserError(
            f"{where} is damaged: {type(error).__name__}: {error}. "
            "Fetch or copy the file again."
        ) from error


def read_npy(archive: zipfile.ZipFile, member: str, where: str) -> Any:
    """An array of an `.npz`; a list of plain values where the file holds objects.

    UserError for a damaged file and for objects that are not plain values.
    """
    try:
        data = archive.read(member + ".npy")
    except KeyError as error:
        raise UserError(f"{where} holds no array named {member}.") from error
    except BROKEN as error:
        raise _damaged(where, member, error) from error
    shape, _, dtype, rest = _header(io.BytesIO(data), where, member)
    if not dtype.hasobject:
        try:
            return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
        except ValueError as error:
            raise _damaged(where, member, error) from error
    items = load(data[rest:], f"{where} ({member})")
    if not isinstance(items, list) or len(shape) != 1 or len(items) != shape[0]:
        raise UserError(f"{where}: {member} is not a list of {shape} objects.")
    return items


def npy_header(archive: zipfile.ZipFile, member: str, where: str) -> tuple[Any, Any]:
    """Shape and dtype of an array of an `.npz`, without reading its values."""
    with archive.open(member + ".npy") as file:
        shape, _, dtype, _ = _header(io.BytesIO(file.read(4096)), where, member)
    return shape, dtype


def _header(file: io.BytesIO, where: str, member: str) -> tuple[Any, bool, Any, int]:
    try:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(file)
    except ValueError as error:
        raise _damaged(where, member, error) from error
    return shape, fortran, dtype, file.tell()


def _damaged(where: str, member: str, error: Exception) -> UserError:
    return UserError(
        f"{where} is damaged: its array {member} cannot be read ({error}). "
        "Fetch or copy the file again."
    )


class _Record:
    """What a pickle says about an array or a dtype: the arguments and the state."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _unpickler(data: bytes, where: str) -> pickle.Unpickler:
    # Made anew for every file: a pickle may write attributes into what it is given.
    class Dtype(_Record):
        pass

    class Array(_Record):
        pass

    def reconstruct(*arguments: Any) -> Array:
        return Array(*arguments)

    def encode(text: str, encoding: str) -> bytes:
        # How Python 3 writes bytes in protocol 2.
        if encoding not in ("latin1", "latin-1"):
            raise UserError(f"{where}: bytes encoded as {encoding!r} are not read.")
        return text.encode("latin-1")

    admitted: dict[tuple[str, str], Callable[..., Any]] = {
        ("numpy", "ndarray"): Array,
        ("numpy", "dtype"): Dtype,
        ("numpy.core.multiarray", "_reconstruct"): reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): reconstruct,
        ("_codecs", "encode"): encode,
    }

    class Restricted(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if (module, name) not in admitted:
                raise UserError(
                    f"{where} is refused: its pickle asks for {module}.{name}, which "
                    "no data file needs. Nothing of it was run. Do not open the file "
                    "with other programs; fetch it again from its public home."
                )
            return admitted[module, name]

    return Restricted(io.BytesIO(data), encoding="bytes")


def _plain(value: Any, where: str) -> Any:
    """`value` with real arrays (and lists, for arrays of objects) for the records."""
    if isinstance(value, dict):
        return {key: _plain(each, where) for key, each in value.items()}
    if isinstance(value, _Record):
        return _array(value, where)
    return value


def _array(record: _Record, where: str) -> Any:
    # State of an array: version, shape, dtype, column-major, bytes or list of objects.
    _, shape, dtype, fortran, content = record.state
    code = _text(dtype.arguments[0])
    if code in ("O", "O8", "O4"):
        if not isinstance(content, list) or len(content) != math.prod(shape):
            raise UserError(f"{where}: an array of objects is not a list of them.")
        return content
    if code not in NUMBERS:
        raise UserError(f"{where}: arrays of type {code!r} are not read.")
    # State of a dtype: version, byte order ("<", ">", "|"), ...
    order = _text(dtype.state[1])
    numbers = np.frombuffer(content, np.dtype((">" if order == ">" else "<") + code))
    return numbers.reshape(shape, order="F" if fortran else "C")


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)

"""The frameworks that programs are written for: one file each, listed here."""

from __future__ import annotations

import importlib

from netglot.backend import Backend
from netglot.errors import unknown

#: Name of a backend -> the file (and the value in it) that describes it.
_FILES = {
    "numpy": "numpy:backend",
    "pytorch": "pytorch:backend",
    "flax": "flax:backend",
    "tensorflow": "tensorflow:backend",
    "keras-tensorflow": "keras:on_tensorflow",
    "keras-jax": "keras:on_jax",
    "keras-torch": "keras:on_torch",
}


def names() -> list[str]:
    """Every backend, in the order in which tables show them."""
    return list(_FILES)


def get(name: str) -> Backend:
    """A backend by name; raises ``UserError`` with the nearest names for an unknown."""
    if name not in _FILES:
        raise unknown("framework", name, _FILES)
    file, value = _FILES[name].split(":")
    backend: Backend = getattr(
        importlib.import_module(f"netglot.backends.{file}"), value
    )
    return backend

"""The frameworks that programs are written for: one file each, listed here."""

from __future__ import annotations

import importlib
from types import ModuleType

from netglot.backend import Backend
from netglot.errors import unknown

#: Name of a backend -> the file (and the value in it) that describes it.
_FILES = {
    "numpy": "numpy:backend",
    "pytorch": "pytorch:backend",
    "paddle": "paddle:backend",
    "tinygrad": "tinygrad:backend",
    "mlx": "mlx:backend",
    "flax": "flax:backend",
    "jax": "jax:backend",
    "equinox": "equinox:backend",
    "tensorflow": "tensorflow:backend",
    "keras-tensorflow": "keras:on_tensorflow",
    "keras-jax": "keras:on_jax",
    "keras-torch": "keras:on_torch",
    "mxnet": "mxnet:backend",
    "gluon": "gluon:backend",
    "tensorflow1": "tensorflow1:backend",
    "keras2-tensorflow": "keras2:on_tensorflow",
    "keras2-theano": "keras2:on_theano",
    "keras2-cntk": "keras2:on_cntk",
    "cntk": "cntk:backend",
    "chainer": "chainer:backend",
    "dynet": "dynet:backend",
    "caffe2": "caffe2:backend",
    "caffe": "caffe:backend",
    "torch7": "torch7:backend",
    "theano": "theano:backend",
    "lasagne": "lasagne:backend",
    "pytensor": "pytensor:backend",
    "h2o": "h2o:backend",
}

#: Names for several: those that are raced when nothing is named, and the frameworks of
#: 2016 to 2018 and what was theirs.
GROUPS = {
    "main": (
        "numpy",
        "pytorch",
        "flax",
        "tensorflow",
        "keras-tensorflow",
        "keras-jax",
        "keras-torch",
    ),
    "ancestors": (
        "theano",
        "lasagne",
        "keras2-theano",
        "keras2-cntk",
        "keras2-tensorflow",
        "cntk",
        "mxnet",
        "gluon",
        "chainer",
        "caffe2",
        "tensorflow1",
        "dynet",
        "caffe",
        "torch7",
    ),
}


def names() -> list[str]:
    """Every backend, in the order in which tables show them."""
    return list(_FILES)


def group(name: str) -> tuple[str, ...]:
    """The backends of a group, ``all`` of them, or the one of that name."""
    if name == "all":
        return tuple(_FILES)
    return tuple(n for n in GROUPS[name] if n in _FILES) if name in GROUPS else (name,)


def get(name: str) -> Backend:
    """A backend by name; raises ``UserError`` with the nearest names for an unknown."""
    if name not in _FILES:
        raise unknown("framework", name, _FILES)
    value = _FILES[name].partition(":")[2]
    backend: Backend = getattr(module(name), value)
    return backend


def module(name: str) -> ModuleType:
    """The file that describes a backend."""
    file = _FILES[name].partition(":")[0]
    return importlib.import_module(f"netglot.backends.{file}")

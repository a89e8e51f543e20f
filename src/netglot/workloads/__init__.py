"""The tasks that are raced: network, recipe, data, and the result to expect."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netglot.data import DataSpec
from netglot.errors import UserError, unknown
from netglot.graph import Graph
from netglot.recipe import Initializers, Recipe


@dataclass(frozen=True)
class Expected:
    """A result that somebody reported: what, how much, and where it stands.

    ``framework`` is how the source names what it was reported of, ``backend`` the one
    of ours that is that framework. ``machine`` and ``year`` are the source's, where it
    tells them.
    """

    measure: str
    value: str
    source: str
    framework: str = ""
    backend: str = ""
    machine: str = ""
    year: int = 0


@dataclass(frozen=True)
class Workload:
    """A network, how it is trained, on what, and what others reported.

    ``recipe`` is ``None`` for a network that is only run forward, ``batch_size`` then
    says how many observations at a time, and ``initializers`` how its weights are drawn
    (``None``: each framework has its own way). ``target`` is ``label``, or ``input``
    where the network is trained to give back what it is given. ``forms`` lists, per
    operation, the attributes of the forms that are accepted, in order of preference.
    """

    name: str
    title: str
    graph: Graph
    recipe: Recipe | None
    data: DataSpec
    target: str = "label"
    batch_size: int = 0
    initializers: Initializers | None = None
    forms: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    expected: tuple[Expected, ...] = ()
    origin: str = ""

    @property
    def batch(self) -> int:
        """Observations per batch."""
        return self.recipe.batch_size if self.recipe else self.batch_size

    @property
    def initial(self) -> Initializers | None:
        """How its weights are drawn, trained or not."""
        return self.recipe.initializers if self.recipe else self.initializers

    @property
    def metric(self) -> str:
        """What ``evaluate`` gives: ``accuracy``, ``error`` or (no recipe) nothing."""
        if self.recipe is None:
            return ""
        return "accuracy" if self.target == "label" else "error"


def names() -> list[str]:
    """The workloads that come with netglot."""
    return list(_FILES)


def get(name: str) -> Workload:
    """A workload by name, or from a user's file: ``net.py`` or ``net.py:function``.

    ``mnist-depth-16`` and ``mnist-width-512`` are as deep or as wide as they say. The
    file's function (``workload`` unless named) takes nothing and returns a
    ``Workload``. Raises ``UserError`` for an unknown name or a file without one.
    """
    if ".py" in name:
        return _from_file(name)
    family, _, size = name.rpartition("-")
    if family in GROWING and size.isdigit():
        from netglot.workloads import growing

        return growing.workload(family, int(size))
    if name not in _FILES:
        raise unknown("workload", name, _FILES)
    module = importlib.import_module(f"netglot.workloads.{_FILES[name]}")
    workload: Workload = module.WORKLOADS[name]()
    return workload


#: Families of workloads of any size: ``mnist-depth-16``.
GROWING = ("mnist-depth", "mnist-width")

_FILES = {
    "mnist-fcn": "mnist",
    "mnist-cnn": "mnist",
    "mnist-lenet": "mnist",
    "mnist-rnn": "mnist",
    "mnist-autoencoder": "mnist",
    "cifar-vgg": "cifar",
    "imdb-gru": "imdb",
    "imdb-lstm": "imdb",
    "resnet50-features": "resnet",
}


def _from_file(name: str) -> Workload:
    file, _, function = name.partition(":")
    path, function = Path(file), function or "workload"
    if not path.is_file():
        raise UserError(f"There is no file {path} to read the workload {name!r} from.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, function):
        raise UserError(
            f"{path} has no function {function!r}. A workload file defines "
            "workload(), which returns a netglot.Workload; another name is given "
            f"as {path}:name."
        )
    workload = getattr(module, function)()
    if not isinstance(workload, Workload):
        raise UserError(
            f"{path}: {function}() returned a {type(workload).__name__}, "
            "not a netglot.Workload."
        )
    return workload

"""Correct pairs that netglot writes: one network, the programs of two backends."""

from __future__ import annotations

import functools
import itertools
import time
import traceback
from collections.abc import Iterator, Sequence

import numpy as np

from exam.answers import alarms
from exam.desk import Desk, native
from exam.taking import Pair
from netglot import backends, workloads
from netglot.backend import Program
from netglot.check.models import check_models
from netglot.check.sides import SideError
from netglot.emit import GapError, emit
from netglot.workloads import Workload
from random_graphs import batches_of, sample, workload

BACKENDS = ("pytorch", "flax", "keras-tensorflow")
#: Networks whose programs take long, or that are like others.
SKIPPED = ("resnet50-features", "cifar-vgg")
#: So many random networks.
RANDOM = 30


@functools.cache
def _random() -> tuple[Workload, ...]:
    return tuple(workload(graph) for graph in sample(RANDOM, 11))


def names() -> list[str]:
    """Workloads by name, random networks by number."""
    known = [name for name in workloads.names() if name not in SKIPPED]
    return known + [f"random {number}" for number in range(RANDOM)]


def _network(name: str) -> tuple[Workload, np.ndarray]:
    kind, _, number = name.partition(" ")
    if kind == "random":
        task = _random()[int(number)]
        ((x, _),) = batches_of(task.graph, 0)
        return task, x
    task = workloads.get(name)
    _, type_ = task.graph.inputs[0]
    random = np.random.default_rng(3)
    sizes = [2 if i == 0 else int(n) for i, n in enumerate(type_.shape)]  # type: ignore
    if type_.dtype.startswith("int"):
        return task, random.integers(0, task.data.vocabulary, sizes)
    return task, random.standard_normal(sizes)


def compare_all(desk: Desk, chosen: Sequence[str]) -> Iterator[Pair]:
    """Every pair of backends whose programs of a network have the same forms."""
    for name in chosen:
        task, x = _network(name)
        programs = {}
        for backend in BACKENDS:
            try:
                programs[backend] = emit(task, backends.get(backend))
            except GapError:
                yield Pair(name, backend, backend, (), 0.0, "no program")
        for left, right in itertools.permutations(programs, 2):
            if programs[left].forms != programs[right].forms:
                yield Pair(name, left, right, (), 0.0, "other forms")
                continue
            axes = task.graph.inputs[0][1].axes
            yield _compare(desk, name, (left, right), programs, x, axes)


def _compare(
    desk: Desk,
    name: str,
    pair: tuple[str, str],
    programs: dict[str, Program],
    x: np.ndarray,
    axes: str,
) -> Pair:
    start = time.perf_counter()
    left, right = pair
    if axes == "NCW":
        # Where no layer says what it is, such an input is taken for a sequence.
        return Pair(name, left, right, (), 0.0, "one-dimensional images")
    try:
        path = desk.written(programs[left].source, f"left_{_word(name)}_{_word(left)}")
        one = desk.left(left, name, path, "build", 0)
        path = desk.written(programs[right].source, f"right_{_word(name)}")
        two = desk.open(right, path, "build", "right", 1)
        said = tuple(alarms(check_models(one, two, [native(x, axes, left)])))
    except SideError as error:
        if "right" in str(error) and "float64" in str(error):
            return Pair(name, left, right, (), 0.0, "not in float64")
        said = (str(error),)
    except Exception:
        said = (traceback.format_exc(),)
    return Pair(name, left, right, said, round(time.perf_counter() - start, 2))


def _word(text: str) -> str:
    return text.replace(" ", "_").replace("-", "_")

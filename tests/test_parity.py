"""Every case and every workload in every backend, in its environment, in float64.

A framework that has no float64 is judged in float32, by what that does to the
reference. What a backend cannot say is read from the ``GapError`` that it raises: such
a case is skipped with the reason, and the table of gaps is the sum of them. Where an
environment only runs programs forward, that is what is compared, and a test of its own
is skipped with the reason why nothing is trained there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import marks
from cases import CASES, Case
from netglot import backends, workloads
from netglot.backend import Backend
from netglot.check import gate, gatekeeper
from netglot.check.gate import Answer, answer
from netglot.check.gatekeeper import Exam, Gatekeeper, initial
from netglot.check.settings import Entry
from netglot.check.settings import Settings as Asked
from netglot.data import DataSpec, prepare
from netglot.emit import GapError, Settings, emit
from netglot.graph import Graph, Node
from netglot.ops import Concat, Conv, Dense, Flatten, Op, Reshape, Split, Type
from netglot.recipe import SGD, MeanSquaredError, Recipe
from netglot.runtime import envs
from netglot.runtime.envs import Pace
from netglot.runtime.jobs import Worker, variables_for
from netglot.workloads import Workload

pytestmark = pytest.mark.framework

STEPS = 2
#: What of the workloads is usual everywhere; ``cases.py`` has small networks of all
#: kinds.
USUAL = "mnist-fcn"


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Worker]]:
    """The workers of one backend, kept alive while it is tested.

    Two where small cases need not be compiled as well as what is raced. Those of the
    backend before are closed: two dozen frameworks side by side fill the memory.
    """
    started: dict[str, Worker] = {}
    yield started
    for worker in started.values():
        worker.close()


def _worker(
    name: str, workers: dict[str, Worker], tmp_path: Path, pace: Pace = "judged"
) -> Worker:
    backend = backends.get(name)
    for other in [key for key in workers if key.split()[0] != name]:
        workers.pop(other).close()
    key = f"{name} {pace}"
    if key not in workers or not workers[key].alive:
        environment = envs.prepare(backend.env, name)
        workers[key] = Worker.start_for(
            backend.env,
            environment,
            log=tmp_path / "worker.log",
            threads=1,
            pace=pace,
            name=name,
        )
    return workers[key]


def _not_here(backend: Backend) -> str:
    """Why its training is not compared."""
    return backend.own_training or backend.env.forward_only


def _variant(backend: Backend) -> Settings:
    """The widest precision that a framework has."""
    return Settings(dtype=max(backend.dtypes), dropout=False)


def _one_input(graph: Graph) -> Graph:
    """Several inputs cut out of one, because a program has one; outputs joined."""
    nodes = list(graph.nodes)
    inputs = graph.inputs
    if len(inputs) > 1:
        sizes = tuple(int(np.prod(t.shape[1:])) for _, t in inputs)  # type: ignore
        pieces = tuple(f"piece_{name}" for name, _ in inputs)
        cut: list[Node] = [Node("cut", Split("F", sizes), ("all",), pieces)]
        for piece, (name, type_) in zip(pieces, inputs, strict=True):
            shape = Reshape(type_.axes[1:], type_.shape[1:])  # type: ignore[arg-type]
            cut.append(Node(f"shape_{name}", shape, (piece,), (name,)))
        nodes = cut + nodes
        inputs = (("all", Type("NF", (None, sum(sizes)))),)
    outputs = graph.outputs
    if len(outputs) > 1:
        flat = tuple(f"flat_{name}" for name in outputs)
        for name, piece in zip(outputs, flat, strict=True):
            nodes.append(Node(piece, Flatten(), (name,), (piece,)))
        nodes.append(Node("join", Concat("F"), flat, ("joined",)))
        outputs = ("joined",)
    return Graph(graph.name, inputs, tuple(nodes), outputs)


def _with_weights(graph: Graph) -> Graph:
    """A layer before a network that has none, so that its gradient is seen."""
    name, type_ = graph.inputs[0]
    if any(w.trained for w in graph.weights().values()) or type_.dtype.startswith(
        "int"
    ):
        return graph
    if type_.axes.startswith("NC"):
        size = type_.size("C")
        layer: Op = Conv(size, (1,) * (len(type_.axes) - 2))
    else:
        layer = Dense(type_.size("F"))
    nodes = [Node("before", layer, ("given",), (name,)), *graph.nodes]
    return Graph(graph.name, (("given", type_),), tuple(nodes), graph.outputs)


def _workload(case: Case) -> Workload:
    return Workload(
        case.name,
        case.name,
        _with_weights(_one_input(case.graph)),
        Recipe(MeanSquaredError(), SGD(0.1), batch_size=case.batch, epochs=1),
        DataSpec("case", "features", (1,), 2),
        # Both are tested: each backend in the form that it has.
        forms={"BatchNorm": ({"unbiased": False}, {"unbiased": True})}
        if "unbiased" not in case.name
        else {},
    )


def _batches(case: Case, graph: Graph) -> list[tuple[np.ndarray, np.ndarray]]:
    shape = graph.types()[graph.outputs[0]].shape[1:]
    result = []
    for seed in range(STEPS):
        arrays = list(case.inputs(seed).values())
        x = arrays[0]
        if len(arrays) > 1:
            x = np.concatenate([a.reshape(len(a), -1) for a in arrays], axis=1)
        target = np.random.default_rng(seed).normal(size=(len(x), *shape))  # type: ignore
        result.append((x, target))
    return result


def _weights(case: Case, graph: Graph) -> dict[str, np.ndarray]:
    """The case's weights; those that only another form has are left out."""
    wanted = graph.weights()
    formed = dataclasses.replace(case, graph=graph)
    return {path: a for path, a in formed.weights().items() if path in wanted}


def _pairs() -> Iterator[Any]:
    """Every backend with every case.

    Outside of those that are raced by default, only the first case of each operation
    and the small networks are part of the usual tests.
    """
    for name in backends.names():
        seen: set[type] = set()
        for key, case in CASES.items():
            kinds = {
                type(node.op) for node in case.graph.nodes if isinstance(node, Node)
            }
            usual = not kinds <= seen or len(case.graph.nodes) > 2
            seen |= kinds
            own = marks.of(name, usual=usual)
            yield pytest.param(name, case, id=f"{name}-{key}", marks=own)


@pytest.mark.parametrize(("name", "case"), list(_pairs()))
def test_case(
    name: str, case: Case, workers: dict[str, Worker], tmp_path: Path
) -> None:
    backend, workload = backends.get(name), _workload(case)
    try:
        program = emit(workload, backend, _variant(backend))
    except GapError as gap:
        pytest.skip(str(gap))
    worker = _worker(name, workers, tmp_path, "hurried")
    weights = _weights(case, program.graph)
    batches = _batches(case, program.graph)
    verdict = gate(
        program,
        backend,
        worker,
        weights,
        batches,
        not_here=_not_here(backend),
        folder=tmp_path,
    )
    if verdict.error and verdict.not_here:
        pytest.skip(verdict.not_here)
    assert verdict.equal, _explain(verdict)
    # What is only run forward says so.
    assert verdict.not_here == _not_here(backend)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=marks.of(name)) for name in backends.names()]
)
def test_one_process_counts_in_every_precision(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Asked anew, whatever is known.
    monkeypatch.setattr(gatekeeper, "_read", lambda path: None)
    backend, workload = backends.get(name), workloads.get("mnist-fcn")
    if len(backend.dtypes) == 1:
        pytest.skip(f"{backend.title} has {backend.dtypes[0]} alone")
    exams = [Exam(workload, STEPS, 8), Exam(workload, 1, 8)]
    settings = Asked(workload.name, (name,), tmp_path)
    keeper = Gatekeeper(prepare(workload.data, None), settings, exams)
    entry = Entry(name, backend, backend.env)
    verdict = keeper.judge(entry, envs.prepare(backend.env, name), tmp_path)
    assert verdict.equal, _explain(verdict)
    assert any("float64" in d.what for d in verdict.differences)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=marks.of(name)) for name in backends.names()]
)
def test_nothing_is_read_from_the_home_folder_or_left_there(
    name: str, tmp_path: Path
) -> None:
    """Settings of the user's would make other programs of those that are shown."""
    backend, home = backends.get(name), tmp_path / "home"
    (home / ".keras").mkdir(parents=True)
    (home / ".keras/keras.json").write_text(
        '{"floatx": "float16", "image_data_format": "channels_first"}'
    )
    program = emit(workloads.get("mnist-fcn"), backend)
    (tmp_path / program.name).write_text(program.source)
    interpreter = envs.prepare(backend.env, name).interpreter
    told = variables_for(backend.env, interpreter, 1, pace="hurried")
    told = {**told, "HOME": str(home)}
    with Worker.start(
        interpreter, log=tmp_path / "log", variables=told, name=name
    ) as worker:
        path = str(tmp_path / program.name)
        assert worker.ask("import", imports=list(backend.env.imports), program=path).ok
        assert worker.ask("build").ok
        assert worker.ask("save", output=str(tmp_path / "weights.npz")).ok
    with np.load(tmp_path / "weights.npz") as arrays:
        assert np.dtype("float16") not in {arrays[path].dtype for path in arrays}
    left = [path for path in home.rglob("*") if path.is_file()]
    assert left == [home / ".keras/keras.json"]


def _explain(verdict: Any) -> str:
    if verdict.error:
        return str(verdict.error)
    return "\n".join(str(d) for d in verdict.differences if not d.equal)


#: The reference's answers, once per workload and form.
_ANSWERS: dict[str, Answer] = {}


def _tasks() -> Iterator[Any]:
    """Every backend with every workload.

    Outside of those that are raced by default, one network is part of the usual tests.
    """
    for name in backends.names():
        for task in workloads.names():
            own = marks.of(name, usual=task == USUAL)
            yield pytest.param(name, task, id=f"{name}-{task}", marks=own)


@pytest.mark.parametrize(("name", "task"), list(_tasks()))
def test_workload(
    name: str, task: str, workers: dict[str, Worker], tmp_path: Path
) -> None:
    """Forward, loss and optimizer steps of the raced networks, float64."""
    backend, workload = backends.get(name), workloads.get(task)
    try:
        program = emit(workload, backend, _variant(backend))
    except GapError as gap:
        pytest.skip(str(gap))
    weights = initial(program, seed=0)
    rng = np.random.default_rng(0)
    type_ = program.graph.inputs[0][1]
    size = 2 if task == "resnet50-features" else 6
    shape: Any = (size, *type_.shape[1:])
    batches = []
    for _ in range(STEPS if program.recipe else 1):
        x: np.ndarray = rng.random(shape)
        if type_.dtype.startswith("int"):
            x = rng.integers(0, workload.data.vocabulary, shape).astype(np.int32)
        y = x if workload.target == "input" else rng.integers(0, 2, size)
        batches.append((x, y))

    def expected() -> Answer:
        key = f"{task} {program.forms} {program.recipe} {backend.log_scores}"
        if key not in _ANSWERS:
            _ANSWERS[key] = answer(program, weights, batches)
        return _ANSWERS[key]

    main = name in backends.GROUPS["main"]
    worker = _worker(name, workers, tmp_path, "judged" if main else "hurried")
    verdict = gate(
        program,
        backend,
        worker,
        weights,
        batches,
        expected=expected,
        not_here=_not_here(backend),
        folder=tmp_path,
    )
    assert verdict.equal, _explain(verdict)

"""The gate before a race: same weights, same batches, forward and optimizer steps.

The program is run without dropout, everything else as it will be raced, and compared
with the reference in float64: the scores of a batch, the loss and every weight after
every step. Its float64 twin is where a wrong formula shows; in float32 it may be off by
a few times what float32 itself does to the same steps, measured by taking them several
times in ways that differ by rounding alone.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from netglot import axes, reference
from netglot.backend import Backend, Program
from netglot.check.compare import (
    NUDGE,
    REALIZATIONS,
    ROUNDING,
    STEPS,
    VALUES,
    Difference,
    apart,
    ratio,
    relative,
)
from netglot.check.sides import WATCH
from netglot.check.values import pieces
from netglot.graph import Graph
from netglot.ops import Type
from netglot.runtime.jobs import Result
from netglot.runtime.team import Asked
from netglot.weights import from_program, to_program

#: Batches ``(inputs, target)`` in canonical axes.
Batches = Sequence[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Verdict:
    """Whether a program is equal to its definition, and everything compared.

    ``error`` says in words why nothing could be compared; ``forms`` in which forms of
    its operations and optimizer the program and the reference were compared;
    ``not_here`` what was not compared and why: its training where its environment only
    runs it forward, or all of it where that lacks a part of its framework;
    ``settings`` have float32 computed with a shorter type, as the worker says it.
    """

    equal: bool
    differences: tuple[Difference, ...] = ()
    error: str = ""
    forms: Mapping[str, str] | None = None
    not_here: str = ""
    settings: Sequence[Mapping[str, Any]] = ()

    @property
    def worst(self) -> Difference | None:
        """The difference that uses up most of what is allowed."""
        return max(self.differences, key=lambda d: d.size / d.allowed, default=None)

    @property
    def first(self) -> Difference | None:
        """The first one that is too large, in order of computation."""
        return next((d for d in self.differences if not d.equal), None)

    @classmethod
    def of_all(cls, verdicts: Sequence[Verdict]) -> Verdict:
        """One verdict of several on the same program; equal where all are."""
        settings = [found for verdict in verdicts for found in verdict.settings]
        return cls(
            all(verdict.equal for verdict in verdicts),
            tuple(d for verdict in verdicts for d in verdict.differences),
            "\n".join(verdict.error for verdict in verdicts if verdict.error),
            verdicts[0].forms,
            verdicts[0].not_here,
            tuple(
                found
                for number, found in enumerate(settings)
                if found not in settings[:number]
            ),
        )

    def __str__(self) -> str:
        """One line."""
        if self.error:
            return self.error.splitlines()[0]
        if self.equal:
            equal = f"equal: {self.worst}" if self.worst else "equal"
            return f"forward {equal}; {self.not_here}" if self.not_here else equal
        count = sum(not d.equal for d in self.differences)
        return f"{self.first} ({count} of {len(self.differences)} differ)"


#: The loss of an optimizer step, and the weights after it.
Step = tuple[float, Mapping[str, np.ndarray]]
Steps = tuple[Step, ...]
_LOSS, _ALL = "loss", "all weights"
#: What an environment raises where it lacks a part of its framework.
NOT_HERE = "NotHere"


class Rounding:
    """The largest relative error that float32 makes at any of some optimizer steps.

    In the loss, in all weights as one vector, and in any single weight: one for all
    single weights, because what makes the largest errors are rare events, and which
    weight they strike is chance. ``realize(number)`` takes the steps once more and
    yields what and how far it is off; it is asked only as often as a difference needs.
    """

    def __init__(self, realize: Callable[[int], Iterable[tuple[str, float]]]) -> None:
        """No realization is computed yet."""
        self._realize, self._count = realize, 0
        self._largest: dict[str, float] = {}
        self._lock = threading.Lock()

    def allowed(self, what: str, size: float, least: float) -> float:
        """How far ``what`` may be off, at least ``least``.

        Where ``size`` is within what the realizations so far allow, more would only
        allow more; else all of them are computed.
        """
        kind = what if what in (_LOSS, _ALL) else "single weight"
        with self._lock:
            while True:
                found = max(least, ROUNDING * self._largest.get(kind, 0.0))
                if size <= found or self._count == REALIZATIONS:
                    return found
                for each, off in self._realize(self._count):
                    each = each if each in (_LOSS, _ALL) else "single weight"
                    self._largest[each] = max(off, self._largest.get(each, 0.0))
                self._count += 1


@dataclass(frozen=True)
class Answer:
    """What the reference computed: scores, and (loss, weights) after every step.

    ``steps`` are computed in float64; ``rounding`` is what float32 does to them.
    """

    scores: np.ndarray
    steps: Steps
    rounding: Rounding


def answer(
    program: Program, weights: Mapping[str, np.ndarray], batches: Batches
) -> Answer:
    """The reference's scores of the first batch, and its optimizer steps."""
    graph, name = program.graph, program.graph.inputs[0][0]
    trace = reference.forward(graph, weights, {name: batches[0][0]})
    scores = np.asarray(trace.outputs[0])
    if program.recipe is None:
        return Answer(scores, (), Rounding(lambda number: ()))

    def steps(weights: Mapping[str, np.ndarray], batches: Batches, dtype: Any) -> Steps:
        pairs = [({name: x}, y) for x, y in batches]
        training = program.recipe
        assert training is not None
        return tuple(
            reference.train_steps(graph, training, weights, pairs, dtype=dtype)
        )

    exact = steps(weights, batches, np.float64)

    def realize(number: int) -> Iterator[tuple[str, float]]:
        varied = _vary(weights, batches, np.random.default_rng(number))
        for own, exactly in zip(steps(*varied, np.float32), exact, strict=True):
            yield from _distances(own, exactly)

    return Answer(scores, exact, Rounding(realize))


def _vary(
    weights: Mapping[str, np.ndarray], batches: Batches, random: np.random.Generator
) -> tuple[Mapping[str, np.ndarray], Batches]:
    """The same task but for rounding.

    Weights that are off by as much as float32 leaves in a forward pass, so that a relu
    or a maximum falls differently as often as it does between frameworks; and sums over
    the batch in another order.
    """
    near = {
        path: array * (1 + NUDGE * random.uniform(-1, 1, np.shape(array)))
        for path, array in weights.items()
    }
    orders = [random.permutation(len(x)) for x, _ in batches]
    return near, [
        (x[order], y[order]) for order, (x, y) in zip(orders, batches, strict=True)
    ]


def _outputs(
    graph: Graph, own: np.ndarray, wanted: np.ndarray
) -> Iterable[tuple[str, np.ndarray, np.ndarray]]:
    """The scores; of a traced graph every value in the order of computation."""
    inside = pieces(graph)
    if not inside or own.shape != wanted.shape:
        yield "scores", own, wanted
        return
    begin = 0
    for name, size in inside:
        columns = slice(begin, begin + size)
        yield f"output of {name}", own[:, columns], wanted[:, columns]
        begin += size


def _distances(own: Step, wanted: Step) -> Iterator[tuple[str, float]]:
    """How far a step is off in the loss, in all weights as one vector, and in each."""
    yield _LOSS, relative(np.array(own[0]), np.array(wanted[0]))
    parts = {path: apart(own[1][path], wanted[1][path]) for path in sorted(wanted[1])}
    together = np.sum(list(parts.values()), axis=0) if parts else (0.0, 0.0)
    yield _ALL, ratio(*together)
    for path, part in parts.items():
        yield path, ratio(*part)


def gate(
    program: Program,
    backend: Backend,
    worker: Asked,
    weights: Mapping[str, np.ndarray],
    batches: Batches,
    *,
    expected: Callable[[], Answer] | None = None,
    scores: bool = True,
    not_here: str = "",
    folder: Path | None = None,
    timeout: float | None = None,
) -> Verdict:
    """Compare a program, in a worker that has its environment, with the reference.

    ``weights`` are the graph's initial weights by path; ``batches`` complete batches in
    canonical axes, one per optimizer step. ``expected`` gives the reference's answer,
    where it may have been computed before for a program of the same form. Without
    ``scores`` only the steps of a network that is trained are. ``not_here`` says why
    the worker's environment cannot train: then such a network is compared forward
    alone. Files go into ``folder``.
    """
    not_here = not_here if program.recipe else ""
    if not_here:
        program = dataclasses.replace(program, recipe=None)
    scores = scores or program.recipe is None
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(folder or temporary)
        place.mkdir(parents=True, exist_ok=True)
        # The reference counts while the program runs; one that fails does not wait.
        pool = ThreadPoolExecutor(1)
        counting = pool.submit(
            expected or functools.partial(answer, program, weights, batches)
        )
        pool.shutdown(wait=False)
        result = _ask(
            program, backend, worker, weights, batches, scores, place, timeout
        )
        if not result.ok:
            message = result.error.message if result.error else "no answer"
            if result.error and result.error.type == NOT_HERE:
                not_here = message
            return Verdict(False, (), message, program.forms, not_here)
        wanted = counting.result()
        differences = tuple(_compare(program, backend, wanted, result, scores, place))
    equal = all(difference.equal for difference in differences)
    settings = _settings(worker, timeout)
    return Verdict(equal, differences, "", program.forms, not_here, settings)


def _settings(worker: Asked, timeout: float | None) -> Sequence[Mapping[str, Any]]:
    """What shortens float32 in the worker; nothing where that cannot be asked."""
    result = worker.ask(
        "look", package=str(WATCH), function="settings", arguments={}, timeout=timeout
    )
    return tuple(result.answer["settings"]) if result.ok else ()


def _ask(
    program: Program,
    backend: Backend,
    worker: Asked,
    weights: Mapping[str, np.ndarray],
    batches: Batches,
    scores: bool,
    place: Path,
    timeout: float | None,
) -> Result:
    source = place / program.name
    source.write_text(program.source)
    np.savez(place / "weights.npz", **to_program(program, weights))  # type: ignore
    xs = np.stack([_stored(program, backend, x, 0) for x, _ in batches])
    arrays = {"x": xs}
    if program.recipe:
        arrays["y"] = np.stack([_stored(program, backend, y, 1) for _, y in batches])
    np.savez(place / "inputs.npz", **arrays)  # type: ignore[arg-type]
    result = worker.ask(
        "import",
        program=source,
        imports=list(backend.env.imports),
        forget=backend.env.forget,
        timeout=timeout,
    )
    if result.ok:
        result = worker.ask("build", weights=place / "weights.npz", timeout=timeout)
    if not result.ok:
        return result
    if program.recipe:
        return worker.ask(
            "steps",
            inputs=place / "inputs.npz",
            output=place / "steps",
            scores=scores,
            timeout=timeout,
        )
    np.savez(place / "inputs.npz", x=xs[0])
    (place / "steps").mkdir(exist_ok=True)
    return worker.ask(
        "predict",
        inputs=place / "inputs.npz",
        output=place / "steps" / "scores.npz",
        timeout=timeout,
    )


def _stored(
    program: Program, backend: Backend, array: np.ndarray, index: int
) -> np.ndarray:
    """An input (0) or target (1) in the order and precision of the program."""
    array = np.asarray(array)
    if array.dtype.kind == "f":
        array = array.astype(program.dtype)
    elif backend.script.first:
        # Words and classes, in a language that counts from 1.
        array = array + backend.script.first
    type_ = program.graph.inputs[0][1] if index == 0 else _output(program)
    if array.ndim != len(type_.axes):
        return array
    return axes.transpose(array, type_.axes, backend.storage(type_.axes))


def _output(program: Program) -> Type:
    return program.graph.types()[program.graph.outputs[0]]


def _compare(
    program: Program,
    backend: Backend,
    expected: Answer,
    result: Result,
    scores: bool,
    place: Path,
) -> list[Difference]:
    values, steps = VALUES[program.dtype], STEPS[program.dtype]
    twin = " (float64)" if program.dtype == "float64" else ""
    found = []
    if scores:
        with np.load(place / "steps" / "scores.npz") as arrays:
            given = arrays["scores"]
        type_ = _output(program)
        if given.ndim == len(type_.axes):
            given = axes.transpose(given, backend.storage(type_.axes), type_.axes)
        found = [
            Difference(what + twin, relative(own, wanted), values)
            for what, own, wanted in _outputs(program.graph, given, expected.scores)
        ]
    answers = result.answer.get("ranks", [result.answer])
    taken = expected.steps if program.recipe else ()
    for (number, wanted), rank in itertools.product(
        enumerate(taken, start=1), range(len(answers))
    ):
        room = place / "steps" / (f"rank_{rank}" if rank else "")
        with np.load(room / f"step_{number}.npz") as arrays:
            own = from_program(program, arrays)
        # The shares are of one size: the loss of the batch is the mean of theirs.
        loss = np.mean([answer["losses"][number - 1] for answer in answers])
        for what, size in _distances((float(loss), own), wanted):
            allowed = steps
            if program.dtype == "float32":
                allowed = expected.rounding.allowed(what, size, steps)
            when = f"{'of' if what == _LOSS else 'after'} step {number}"
            where = f" in process {rank}" if rank else ""
            found.append(Difference(f"{what} {when}{where}{twin}", size, allowed))
    return found

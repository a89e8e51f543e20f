"""The gate before a race: same weights, same batches, forward and optimizer steps.

The program is run without dropout, everything else as it will be raced, and compared
with the reference in float64: the scores of a batch, the loss and every weight after
every step. Its float64 twin is where a wrong formula shows; in float32 it may be off by
a few times what float32 itself does to the same steps.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from netglot import axes, reference
from netglot.backend import Backend, Program
from netglot.check.compare import ROUNDING, STEPS, VALUES, Difference, relative
from netglot.ops import Type
from netglot.runtime.jobs import Result, Worker
from netglot.weights import from_program, to_program

#: Batches ``(inputs, target)`` in canonical axes.
Batches = Sequence[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Verdict:
    """Whether a program is equal to its definition, and everything compared.

    ``error`` says in words why nothing could be compared; ``forms`` in which forms of
    its operations and optimizer the program and the reference were compared.
    """

    equal: bool
    differences: tuple[Difference, ...] = ()
    error: str = ""
    forms: Mapping[str, str] | None = None

    @property
    def worst(self) -> Difference | None:
        """The difference that uses up most of what is allowed."""
        return max(self.differences, key=lambda d: d.size / d.allowed, default=None)

    @property
    def first(self) -> Difference | None:
        """The first one that is too large, in order of computation."""
        return next((d for d in self.differences if not d.equal), None)

    def __str__(self) -> str:
        """One line."""
        if self.error:
            return self.error.splitlines()[0]
        if self.equal:
            return f"equal: {self.worst}" if self.worst else "equal"
        count = sum(not d.equal for d in self.differences)
        return f"{self.first} ({count} of {len(self.differences)} differ)"


Steps = tuple[tuple[float, Mapping[str, np.ndarray]], ...]


@dataclass(frozen=True)
class Answer:
    """What the reference computed: scores, and (loss, weights) after every step.

    ``steps`` are computed in float64, ``rounded`` the same steps in float32: how far
    the two are apart is the error that float32 itself makes here.
    """

    scores: np.ndarray
    steps: Steps
    rounded: Steps


def answer(
    program: Program, weights: Mapping[str, np.ndarray], batches: Batches
) -> Answer:
    """The reference's scores of the first batch, and its optimizer steps."""
    graph, name = program.graph, program.graph.inputs[0][0]
    trace = reference.forward(graph, weights, {name: batches[0][0]})
    scores = np.asarray(trace.outputs[0])
    if program.recipe is None:
        return Answer(scores, (), ())
    pairs = [({name: x}, y) for x, y in batches]
    exact, rounded = (
        tuple(reference.train_steps(graph, program.recipe, weights, pairs, dtype=dtype))
        for dtype in (np.float64, np.float32)
    )
    return Answer(scores, exact, rounded)


def gate(
    program: Program,
    backend: Backend,
    worker: Worker,
    weights: Mapping[str, np.ndarray],
    batches: Batches,
    *,
    expected: Callable[[], Answer] | None = None,
    folder: Path | None = None,
    timeout: float | None = None,
) -> Verdict:
    """Compare a program, in a worker that has its environment, with the reference.

    ``weights`` are the graph's initial weights by path; ``batches`` complete batches in
    canonical axes, one per optimizer step. ``expected`` gives the reference's answer,
    where it may have been computed before for a program of the same form. Files go into
    ``folder``.
    """
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(folder or temporary)
        place.mkdir(parents=True, exist_ok=True)
        result = _ask(program, backend, worker, weights, batches, place, timeout)
        if not result.ok:
            message = result.error.message if result.error else "no answer"
            return Verdict(False, error=message, forms=program.forms)
        wanted = expected() if expected else answer(program, weights, batches)
        differences = tuple(_compare(program, backend, wanted, result, place))
    equal = all(difference.equal for difference in differences)
    return Verdict(equal, differences, forms=program.forms)


def _ask(
    program: Program,
    backend: Backend,
    worker: Worker,
    weights: Mapping[str, np.ndarray],
    batches: Batches,
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
        "import", program=source, imports=list(backend.env.imports), timeout=timeout
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
    type_ = program.graph.inputs[0][1] if index == 0 else _output(program)
    if array.ndim != len(type_.axes):
        return array
    return axes.transpose(array, type_.axes, backend.storage(type_.axes))


def _output(program: Program) -> Type:
    return program.graph.types()[program.graph.outputs[0]]


def _compare(
    program: Program, backend: Backend, expected: Answer, result: Result, place: Path
) -> list[Difference]:
    values, steps = VALUES[program.dtype], STEPS[program.dtype]
    twin = " (float64)" if program.dtype == "float64" else ""
    with np.load(place / "steps" / "scores.npz") as arrays:
        scores = arrays["scores"]
    type_ = _output(program)
    if scores.ndim == len(type_.axes):
        scores = axes.transpose(scores, backend.storage(type_.axes), type_.axes)
    found = [Difference("scores" + twin, relative(scores, expected.scores), values)]
    losses = result.answer.get("losses", [])
    for number, (loss, weights) in enumerate(expected.steps, start=1):
        rounded_loss, rounded = expected.rounded[number - 1]

        def allowed(value: Any, exact: Any) -> float:
            if program.dtype == "float64":
                return steps
            return max(steps, ROUNDING * relative(value, exact))

        size = relative(np.array(losses[number - 1]), np.array(loss))
        limit = allowed(np.array(rounded_loss), np.array(loss))
        found.append(Difference(f"loss of step {number}{twin}", size, limit))
        with np.load(place / "steps" / f"step_{number}.npz") as arrays:
            own = from_program(program, arrays)
        together = _vector(weights, weights)
        size = relative(_vector(own, weights), together)
        limit = allowed(_vector(rounded, weights), together)
        found.append(Difference(f"all weights after step {number}{twin}", size, limit))
        for path, exact in weights.items():
            size = relative(own[path], exact)
            limit = allowed(rounded[path], exact)
            found.append(Difference(f"{path} after step {number}{twin}", size, limit))
    return found


def _vector(arrays: Mapping[str, np.ndarray], order: Iterable[str]) -> np.ndarray:
    return np.concatenate([np.ravel(arrays[path]) for path in order])

"""Verdicts on the programs of a workload, kept as long as nothing changes."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from netglot import places, reference
from netglot.backend import Program
from netglot.check.compare import Difference
from netglot.check.gate import Answer, Batches, Verdict, answer, gate
from netglot.check.inputs import batches
from netglot.check.settings import Entry, Settings
from netglot.check.values import observations
from netglot.data import DataSet
from netglot.emit import Settings as Variant
from netglot.emit import emit
from netglot.recipe import Initializers
from netglot.runtime import machine
from netglot.runtime.envs import Environment
from netglot.runtime.seats import Seat, started
from netglot.runtime.team import Asked
from netglot.workloads import Workload

#: Optimizer steps that are compared, and observations in each.
STEPS, SIZE = 10, 32
#: The same for networks that are only run forward.
FORWARD_SIZE = 4
#: Programs that are judged at the same time: nothing is timed, and while one waits for
#: the reference two others count.
AT_ONCE = 3


def initial(program: Program, seed: int) -> dict[str, np.ndarray]:
    """The weights from which every framework starts, by path of the graph."""
    recipe = program.recipe
    initializers = recipe.initializers if recipe else Initializers()
    return reference.initial_weights(program.graph, initializers, seed)


def share() -> int:
    """The threads of one of the programs that are judged at the same time.

    With more, those that wait for a processor keep it from those that count.
    """
    return max(1, len(machine.allowed_cpus()) // AT_ONCE)


def shared(size: int, workers: int) -> int:
    """So many observations, or a few more, that ``workers`` can share them evenly."""
    return -(-size // workers) * workers


def _as_it_is(verdict: Verdict) -> Verdict:
    return verdict


@dataclass(frozen=True)
class Exam:
    """A workload, and how many optimizer steps of how many observations are compared.

    ``read`` makes of the verdict what is told of it. ``scores`` says whether a network
    that is trained is run forward, too.
    """

    workload: Workload
    steps: int = STEPS
    size: int = SIZE
    read: Callable[[Verdict], Verdict] = _as_it_is
    scores: bool = True
    _batches: dict[tuple[str, int, int], Batches] = field(
        default_factory=dict, repr=False, compare=False
    )

    def batches(self, program: Program, data: DataSet, workers: int = 1) -> Batches:
        """What the program and the reference are given; ``workers`` share it evenly."""
        size, count = shared(self.size, workers), self.steps
        if not program.recipe:
            size, count = observations(program.graph, FORWARD_SIZE), 1
        key = (data.path, count, size)
        if key not in self._batches:
            self._batches[key] = batches(self.workload, *key)
        return self._batches[key]


@dataclass
class Gatekeeper:
    """Asks whether programs equal their definition; computes each answer once."""

    data: DataSet
    settings: Settings
    exams: Sequence[Exam]
    seats: Sequence[Seat] = ()
    _answers: dict[str, Answer] = field(default_factory=dict)
    _locks: dict[str, threading.Lock] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def judge(self, entry: Entry, environment: Environment, folder: Path) -> Verdict:
        """The verdict on an entry: all exams, in every precision it has.

        What is known already is not asked again; one worker answers the rest, in the
        backend's order of precisions: told to count in float64, few can go back.
        """
        verdicts: list[Verdict] = []
        log = folder / "logs" / f"{entry.label}-gate.log"
        with contextlib.ExitStack() as stack:
            # Not started where every answer is known.
            start = functools.partial(self._start, entry, environment, log, stack)
            # Programs of several processes join each other when they are imported.
            worker = functools.cache(start) if self.settings.workers == 1 else start
            # Where training is its own, there are no gradients or inner values to ask.
            exams = self.exams[:1] if entry.backend.own_training else self.exams
            for dtype, exam in itertools.product(entry.backend.dtypes, exams):
                verdict = self._sit(exam, entry, environment, dtype, worker)
                verdicts.append(exam.read(verdict))
                if verdict.error:
                    break
        return Verdict.of_all(verdicts)

    def _start(
        self,
        entry: Entry,
        environment: Environment,
        log: Path,
        stack: contextlib.ExitStack,
    ) -> Asked:
        """A worker, or several that train together, ended with the stack."""
        # Those of the exam before, where each has its own.
        stack.close()
        return stack.push(
            started(
                self.seats,
                entry.env,
                environment,
                entry.backend.engine,
                self.settings.workers,
                log=log,
                threads=self.settings.threads or share(),
                accelerator=self.settings.device != "cpu",
                pace="judged",
                name=entry.label,
            )
        )

    def _sit(
        self,
        exam: Exam,
        entry: Entry,
        environment: Environment,
        dtype: str,
        worker: Callable[[], Asked],
    ) -> Verdict:
        """The verdict of one exam in one precision, from the cache where it stands."""
        workers = self.settings.workers
        variant = Variant(
            dtype,
            dropout=False,
            exact_form=self.settings.exact_form,
            parallel=workers > 1,
        )
        program = emit(exam.workload, entry.backend, variant)
        path = self._path(exam, program, environment)
        known = _read(path)
        if known is not None:
            return known
        weights = initial(program, self.settings.seed)
        given = exam.batches(program, self.data, workers)
        verdict = gate(
            program,
            entry.backend,
            worker(),
            weights,
            given,
            expected=lambda: self._answer(exam, program, weights, given),
            scores=exam.scores,
            not_here=entry.backend.own_training or environment.not_trained(entry.env),
            timeout=self.settings.timeout,
        )
        if not verdict.error:
            _write(path, verdict)
        return verdict

    def _answer(
        self, exam: Exam, program: Program, weights: Any, given: Batches
    ) -> Answer:
        """The reference's answer, once per exam and form of the network."""
        ends = [str(node.op) for node in program.graph.nodes[-1:]]
        form = [dict(program.forms), repr(program.recipe), ends]
        key = json.dumps([self.exams.index(exam), *form], sort_keys=True)
        with self._guard:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._answers:
                self._answers[key] = answer(program, weights, given)
            return self._answers[key]

    def _path(self, exam: Exam, program: Program, environment: Environment) -> Path:
        parts = [
            program.digest,
            dict(program.forms),
            environment.key,
            str(environment.interpreter),
            sorted(environment.versions.items()),
            self.data.sha256,
            self.settings.seed,
            self.settings.device,
            [exam.steps, exam.size, exam.scores, self.settings.workers],
            _own_source(),
            *([seat.label for seat in self.seats],) * bool(self.seats),
        ]
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]
        return places.cache("verdicts") / f"{digest}.json"


def _own_source() -> str:
    """A hash of what the verdict depends on in netglot itself."""
    root = Path(reference.__file__).parent
    inside = ("compare", "gate", "inputs")
    names = ["reference", "weights", "runtime/team", *(f"check/{n}" for n in inside)]
    texts = b"".join((root / f"{name}.py").read_bytes() for name in names)
    return hashlib.sha256(texts).hexdigest()


def _read(path: Path) -> Verdict | None:
    try:
        content = json.loads(path.read_text())
        differences = tuple(Difference(**item) for item in content.pop("differences"))
        return Verdict(differences=differences, **content)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, verdict: Verdict) -> None:
    places.write_json(path, asdict(verdict))

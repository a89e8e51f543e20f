"""The two sides of a comparison: models in interpreters of their own, or at hand."""

from __future__ import annotations

import ast
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from netglot import backends, frontends
from netglot.errors import UserError, unknown
from netglot.frontends import Reading, Recording
from netglot.runtime import envs
from netglot.runtime.jobs import Worker

WATCH = Path(frontends.__file__).parent / "watch"
#: The framework whose environment has what a file imports; the first that fits.
NEEDS = (
    ("keras", "keras-tensorflow"),
    ("flax", "flax"),
    ("torch", "pytorch"),
    ("jax", "flax"),
    ("tensorflow", "tensorflow"),
)


class SideError(UserError):
    """A model cannot be made, run or trained; says which side and shows its own words.

    ``reached`` is the last layer that it ran, where it ran any.
    """


class Asked(Protocol):
    """Who answers the functions of ``watch/session.py``."""

    def ask(self, function: str, **arguments: Any) -> dict[str, Any]:
        """The answer of a function."""


@dataclass
class Elsewhere:
    """A model in a worker."""

    worker: Worker
    side: str
    timeout: float | None = None

    def ask(self, function: str, **arguments: Any) -> dict[str, Any]:
        """The worker's answer; raises ``SideError`` with its traceback."""
        result = self.worker.ask(
            "look",
            package=str(WATCH),
            function=function,
            arguments=arguments,
            timeout=self.timeout,
        )
        if result.ok:
            return dict(result.answer)
        error = result.error
        assert error is not None
        if error.type == "ModuleNotFoundError":
            raise SideError(
                f"{self.side}: {error.message.rpartition(': ')[2]}. Its environment "
                f"lacks that package; name an interpreter that has it by "
                f"--{self.side}-python."
            )
        if error.type == "Mistake":
            raise SideError(f"{self.side}: {error.message.rpartition('Mistake: ')[2]}")
        text = error.traceback or error.message
        raise SideError(f"{self.side}: the model raised.\n{text}")


@dataclass
class AtHand:
    """A live model object of this process."""

    side: str

    def ask(self, function: str, **arguments: Any) -> dict[str, Any]:
        """The answer, computed here."""
        from netglot.frontends.watch import session

        try:
            found: dict[str, Any] = getattr(session, function)(**arguments)
        except session.Mistake as error:
            raise SideError(f"{self.side}: {error}") from error
        return found


@dataclass
class Side:
    """One of two models, opened.

    ``name`` is how it is called in messages (``theirs.py:build``); ``side`` is ``left``
    or ``right``.
    """

    side: str
    name: str
    asked: Asked
    number: int
    framework: str
    version: str
    weights: Mapping[str, tuple[int, ...]]
    trains: bool
    folder: Path
    runs: int = field(default=0)

    @classmethod
    def opened(
        cls, side: str, name: str, asked: Asked, answer: Mapping[str, Any], folder: Path
    ) -> Self:
        """Of what ``session.open_file`` or ``open_model`` answered."""
        shapes = {path: tuple(shape) for path, shape in answer["weights"].items()}
        return cls(
            side,
            name,
            asked,
            answer["number"],
            answer["framework"],
            answer["version"],
            shapes,
            answer["trains"],
            folder,
        )

    def get_weights(self) -> Path:
        """The model's weights as they are now, in a file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"held-{self.runs}.npz"
        self.asked.ask("get_weights", number=self.number, path=str(path))
        return path

    def set_weights(self, path: Path) -> None:
        """The weights of a file into the model."""
        self.asked.ask("set_weights", number=self.number, path=str(path))

    def record(
        self,
        inputs: Sequence[np.ndarray],
        weights: Mapping[str, np.ndarray] | None = None,
        training: bool = False,
        full: bool = False,
    ) -> Reading:
        """Run the model once and read what it did; raises ``SideError``.

        With ``full`` without whatever shortens float32, as far as that can be changed.
        """
        self.runs += 1
        folder = self.folder / f"{self.side}-{self.runs}"
        folder.mkdir(parents=True)
        np.savez(folder / "inputs.npz", *inputs)
        if weights is not None:
            np.savez(folder / "given.npz", **weights)  # type: ignore[arg-type]
        answer = self.asked.ask(
            "record",
            number=self.number,
            inputs=str(folder / "inputs.npz"),
            folder=str(folder),
            weights=str(folder / "given.npz") if weights is not None else None,
            training=training,
            full=full,
        )
        if "error" in answer:
            error = answer["error"]
            reached = f" after {error['last']}" if error["last"] else " at its start"
            raise SideError(
                f"{self.side}: {self.name} raised{reached}.\n{error['traceback']}"
            )
        return frontends.read(Recording.load(folder))

    def steps(
        self,
        batches: Mapping[str, np.ndarray],
        weights: Mapping[str, np.ndarray] | None = None,
    ) -> tuple[Path, dict[str, Any]]:
        """Optimizer steps; the folder of weights and gradients, and the answer."""
        self.runs += 1
        folder = self.folder / f"{self.side}-{self.runs}"
        folder.mkdir(parents=True)
        np.savez(folder / "inputs.npz", **batches)  # type: ignore[arg-type]
        if weights is not None:
            np.savez(folder / "given.npz", **weights)  # type: ignore[arg-type]
        answer = self.asked.ask(
            "steps",
            number=self.number,
            inputs=str(folder / "inputs.npz"),
            folder=str(folder / "steps"),
            weights=str(folder / "given.npz") if weights is not None else None,
        )
        return folder / "steps", answer


def at_hand(side: str, model: Any, folder: Path) -> Side:
    """A live model object of this process."""
    asked = AtHand(side)
    answer = asked.ask("open_model", built=model)
    name = f"{type(model).__module__}.{type(model).__qualname__}"
    return Side.opened(side, name, asked, answer, folder)


def split_name(text: str) -> tuple[Path, str]:
    """``theirs.py:build`` as file and name; raises ``UserError``."""
    file, _, name = text.rpartition(":")
    path = Path(file)
    if not name or not file:
        raise UserError(
            f"{text}: name a function or class of a file, as in theirs.py:build."
        )
    if not path.is_file():
        raise UserError(f"{file}: there is no such file.")
    return path, name


def framework_for(path: Path) -> str:
    """The backend whose environment a file needs, by what it imports."""
    try:
        tree = ast.parse(path.read_text())
    except SyntaxError as error:
        raise UserError(f"{path} line {error.lineno}: {error.msg}") from error
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    chosen = [
        node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and "KERAS_BACKEND" in ast.unparse(node.targets[0])
        and isinstance(node.value, ast.Constant)
    ]
    if "keras" in found and chosen:
        name = f"keras-{chosen[-1]!s}"
        if name not in backends.names():
            raise unknown(
                "Keras backend", str(chosen[-1]), ("jax", "tensorflow", "torch")
            )
        return name
    for package, name in NEEDS:
        if package in found:
            return name
    raise UserError(
        f"{path} imports none of {', '.join(package for package, _ in NEEDS)}: netglot "
        "does not know in which environment it runs."
    )


def open_file(
    side: str,
    text: str,
    folder: Path,
    *,
    python: Path | None = None,
    dtype: str = "float32",
    seed: int = 0,
    threads: int | None = None,
    timeout: float | None = None,
) -> tuple[Side, Worker]:
    """The model that ``theirs.py:build`` makes, in a worker of its framework."""
    path, _ = split_name(text)
    backend = backends.get(framework_for(path))
    if python:
        environment = envs.here(backend.env, python, side)
    else:
        environment = envs.prepare(backend.env, side)
    worker = Worker.start_for(
        backend.env,
        environment,
        log=folder / f"{side}-{dtype}.log",
        threads=threads,
        name=text,
    )
    try:
        opened = open_in(
            worker, side, text, folder, dtype=dtype, seed=seed, timeout=timeout
        )
    except BaseException:
        worker.close()
        raise
    return opened, worker


def open_in(
    worker: Worker,
    side: str,
    text: str,
    folder: Path,
    *,
    dtype: str = "float32",
    seed: int = 0,
    timeout: float | None = None,
) -> Side:
    """The model that ``theirs.py:build`` makes, in a worker that is already there.

    A worker can hold many; files of one name are one module to it.
    """
    path, name = split_name(text)
    asked = Elsewhere(worker, side, timeout)
    answer = asked.ask(
        "open_file", path=str(path.resolve()), name=name, seed=seed, dtype=dtype
    )
    inside = Path(tempfile.mkdtemp(dir=folder, prefix=f"{side}-{dtype}-"))
    return Side.opened(side, text, asked, answer, inside)

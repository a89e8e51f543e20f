"""Where the exam is taken: workers that stay, sides that are run once, comparisons."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from exam.mistakes import Base, Mistake
from netglot import backends, frontends
from netglot.check.models import ModelReport, check_models
from netglot.check.sides import Side, SideError, open_in
from netglot.frontends import Reading
from netglot.runtime import envs
from netglot.runtime.jobs import Worker

MODELS = Path(__file__).parent / "models"
#: What a model can be written in: the end of its file's name, and whose environment.
HANDS = {
    "pytorch": ("pytorch", "pytorch"),
    "flax": ("flax", "flax"),
    "linen": ("linen", "flax"),
    "keras": ("keras", "keras-tensorflow"),
    "keras-jax": ("keras", "keras-jax"),
    "keras-torch": ("keras", "keras-torch"),
}


class Remembered(Side):
    """A side that is run once for the same weights and inputs."""

    def record(
        self,
        inputs: Sequence[np.ndarray],
        weights: Mapping[str, np.ndarray] | None = None,
        training: bool = False,
        full: bool = False,
    ) -> Reading:
        """As ``Side.record``."""
        given = _digest(("", *inputs), weights or {}, training, weights is None, full)
        known = self._known()
        if given not in known:
            known[given] = super().record(inputs, weights, training, full)
        return known[given]  # type: ignore[no-any-return]

    def steps(
        self,
        batches: Mapping[str, np.ndarray],
        weights: Mapping[str, np.ndarray] | None = None,
    ) -> tuple[Path, dict[str, Any]]:
        """As ``Side.steps``."""
        given = _digest((), {**batches, **(weights or {})}, "steps")
        known = self._known()
        if given not in known:
            known[given] = super().steps(batches, weights)
        return known[given]  # type: ignore[no-any-return]

    def _known(self) -> dict[str, Any]:
        return self.__dict__.setdefault("known", {})  # type: ignore[no-any-return]


def _digest(
    arrays: Sequence[Any], named: Mapping[str, np.ndarray], *more: object
) -> str:
    found = hashlib.sha256(repr(more).encode())
    for array in arrays:
        found.update(np.asarray(array).tobytes())
    for name in sorted(named):
        found.update(name.encode() + np.asarray(named[name]).tobytes())
    return found.hexdigest()


class Desk:
    """Workers by backend, and models that are open in them."""

    def __init__(self, folder: Path, dtype: str = "float64") -> None:
        self.folder, self.dtype = folder, dtype
        self.workers: dict[str, Worker] = {}
        self.lefts: dict[tuple[Any, ...], Remembered] = {}
        self.count = 0
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(MODELS / "checkpoint.py", folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        for worker in self.workers.values():
            worker.close()

    def worker(self, name: str) -> Worker:
        """The worker of a backend; a new one where the old one has ended."""
        if name not in self.workers or not self.workers[name].alive:
            backend = backends.get(name)
            self.workers[name] = Worker.start_for(
                backend.env,
                envs.prepare(backend.env, name),
                log=self.folder / f"{name}.log",
                threads=1,
                name=name,
            )
            self.lefts = {k: v for k, v in self.lefts.items() if k[0] != name}
            self.workers[name].ask("import", imports=list(backend.env.imports))
        return self.workers[name]

    def written(self, source: str, stem: str) -> Path:
        """A file of a name that no other has: modules are known by theirs."""
        self.count += 1
        path = self.folder / f"{stem.replace('-', '_')}_{self.count}.py"
        path.write_text(source)
        return path

    def open(self, backend: str, path: Path, name: str, side: str, seed: int) -> Side:
        """A model of a file in the worker of a backend."""
        return open_in(
            self.worker(backend),
            side,
            f"{path}:{name}",
            self.folder,
            dtype=self.dtype,
            seed=seed,
            timeout=300,
        )

    def left(self, backend: str, key: object, path: Path, name: str, seed: int) -> Side:
        """An opened model that stays; ``key`` names it."""
        known = (backend, key, seed)
        self.worker(backend)
        if known not in self.lefts:
            side = self.open(backend, path, name, "left", seed)
            fields = {f.name: getattr(side, f.name) for f in dataclasses.fields(side)}
            self.lefts[known] = Remembered(**fields)
        return self.lefts[known]


def source(base: Base, hand: str) -> tuple[str, str]:
    """The text of a network, and the name of what makes it."""
    text = (MODELS / f"{base.file or base.name}_{HANDS[hand][0]}.py").read_text()
    return text, base.build or ("build" if "\ndef build()" in text else "Net")


def edited(text: str, mistake: Mistake, hand: str) -> str:
    """A text with a mistake in it."""
    for old, new in mistake.changes(HANDS[hand][0]):
        assert old in text, f"{mistake.kind} ({hand}): {old!r} does not occur"
        text = text.replace(old, new)
    return text


def inputs(base: Base, shape: Sequence[int], number: int) -> np.ndarray:
    """Random numbers or indices, in canonical order of the axes."""
    random = np.random.default_rng([number, *shape])
    if base.vocabulary:
        tokens = random.integers(0, base.vocabulary, shape)
        tokens[:, ::4] = 0
        return tokens
    return random.standard_normal(shape)


def native(x: np.ndarray, axes: str, backend: str) -> np.ndarray:
    """An array in canonical order as a backend's frontend has it."""
    framework = backend.partition("-")[0]
    order = frontends.get(framework).storage(axes)
    return np.transpose(x, [axes.index(letter) for letter in order])


def letters(x: np.ndarray) -> str:
    """The axes of an input by their number."""
    if x.dtype.kind == "i":
        return "NT"
    return {2: "NF", 3: "NTF", 4: "NCHW"}[x.ndim]


def livened(side: Side, x: np.ndarray, number: int) -> None:
    """Gives a model weights as training leaves them: none all zeros or ones.

    A bias that is zero is no different from none.
    """
    random = np.random.default_rng(number)
    held = side.record([x]).recording.weights()
    new = {}
    for path, array in held.items():
        if array.dtype.kind == "f" and np.ptp(array) == 0:
            low = 0.5 if array.reshape(-1)[0] else -0.5
            array = random.uniform(low, low + 1, array.shape).astype(array.dtype)
        new[path] = array
    path = side.folder / "livened.npz"
    np.savez(path, **new)  # type: ignore[arg-type]
    side.set_weights(path)
    if isinstance(side, Remembered):
        side._known().clear()


def compared(
    desk: Desk,
    base: Base,
    left: str,
    right: str,
    *,
    mistake: Mistake | None = None,
    shape: Sequence[int] = (),
    seed: int = 0,
) -> ModelReport | SideError:
    """Two models of one network, of which the right one may have a mistake."""
    x = inputs(base, shape or base.shape, seed)
    axes = letters(x)
    text, name = source(base, left)
    backend = HANDS[left][1]
    key = (base.name, left, tuple(shape))
    path = desk.folder / f"left_{_word(base.name)}_{_word(left)}.py"
    path.write_text(text)
    one = desk.left(backend, key, path, name, seed)
    given = native(x, axes, backend)
    if not base.keep and not one.__dict__.get("livened"):
        livened(one, given, seed)
        one.__dict__["livened"] = True
    text, name = source(base, right)
    if mistake is not None:
        text = edited(text, mistake, right)
    path = desk.written(text, f"right_{_word(base.name)}_{_word(right)}")
    try:
        two = desk.open(HANDS[right][1], path, name, "right", seed + 1)
        steps = mistake.steps if mistake else base.steps
        return check_models(one, two, [given], keep=base.keep, steps=steps)
    except SideError as error:
        return error
    finally:
        with contextlib.suppress(OSError):
            _tidy(desk.folder)


def _word(text: str) -> str:
    return text.replace(" ", "_").replace("-", "_")


def _tidy(folder: Path) -> None:
    """Away with what right sides have recorded; it is large."""
    for found in folder.glob("right-*"):
        shutil.rmtree(found, ignore_errors=True)

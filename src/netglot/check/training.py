"""Two models trained by their own losses and optimizers, step by step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from netglot.check import compare, losses
from netglot.check.sides import Side, SideError
from netglot.check.updates import Ruled, Trajectory, compare_rules
from netglot.frontends import optimizers
from netglot.frontends.reading import Reading

#: Relative difference of two losses of the same weights and batch, by precision.
LOSSES = {True: 1e-9, False: 1e-4}
#: Relative difference of all weights after the last step that counts as the same.
WEIGHTS = {True: 1e-7, False: 1e-2}


@dataclass(frozen=True)
class Learned:
    """What optimizer steps from the same weights on the same batches came to.

    ``losses`` are both sides' before every step, ``formulas`` by which they were
    computed (empty: none that is known); ``size`` is the relative difference of all
    weights after the last step, ``layers`` each layer's part of it after every step.
    ``alike`` says that the losses agree in the first step, where the weights are still
    the same, or are of one formula.
    """

    losses: tuple[tuple[float, float], ...]
    formulas: tuple[str, str]
    alike: bool
    ruled: Ruled
    size: float
    exact: bool
    layers: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def apart(self) -> tuple[float, float]:
        """How far the first losses are apart, and how far they may be."""
        left, right = self.losses[0]
        return abs(left - right) / max(abs(left), 1e-12), LOSSES[self.exact]

    @property
    def allowed(self) -> float:
        """How far all weights may be apart after the last step."""
        return WEIGHTS[self.exact]

    @property
    def same(self) -> bool:
        """Whether both train the same, but for forms that belong to the frameworks."""
        if not (self.alike and self.ruled.same):
            return False
        return bool(self.ruled.forms) or self.size <= self.allowed

    @property
    def unexplained(self) -> bool:
        """Whether the weights differ though losses and rules do not."""
        return self.alike and self.ruled.same and not self.same


def train(
    left: tuple[Side, Reading, np.ndarray, np.ndarray],
    right: tuple[Side, Reading, np.ndarray, np.ndarray],
    pairs: Sequence[tuple[str, str]],
    target: np.ndarray | None,
    steps: int,
) -> tuple[Learned, str]:
    """Train both; what came of it, and a line on the targets.

    Each side with its reading (whose weights are the start), what it gives in training
    for its batch, and that batch. ``pairs`` are the weights that hold the same. Raises
    ``SideError`` where a side cannot be trained on any targets that fit its outputs.
    """
    (one, ours, outputs, x), (two, theirs, seen, z) = left, right
    refused: SideError | None = None
    for words, y in _targets(target, outputs):
        try:
            mine = _trajectory(one, ours, x, y, steps)
        except SideError as error:
            refused = refused or error
            continue
        other = _trajectory(two, theirs, z, y, steps)
        exact = theirs.recording.dtype(theirs.outputs[0]) == "float64"
        first = (mine.losses[0], other.losses[0])
        formulas = (
            losses.named(first[0], outputs, y, exact),
            losses.named(first[1], seen, y, exact),
        )
        near = abs(first[0] - first[1]) <= LOSSES[exact] * max(abs(first[0]), 1e-12)
        # Of outputs that differ the losses do too, by whatever formula.
        alike = formulas[0] == formulas[1] and (near or formulas[0] != "")
        learned = Learned(
            tuple(zip(mine.losses, other.losses, strict=True)),
            formulas,
            near or alike,
            compare_rules(mine, other, exact),
            _apart(mine.weights[-1], other.weights[-1], pairs),
            exact,
            _by_layer(mine, other, pairs),
        )
        return learned, words
    assert refused is not None
    raise refused


def _targets(
    target: np.ndarray | None, outputs: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """The targets that were given, or such as losses are usually handed."""
    if target is not None:
        yield "", target
        return
    random = np.random.default_rng(7)
    if outputs.ndim > 1 and outputs.shape[-1] > 1:
        classes = outputs.shape[-1]
        labels = random.integers(0, classes, outputs.shape[:-1])
        yield f"labels under {classes} were drawn as targets", labels
        rows = np.eye(classes, dtype=outputs.dtype)[labels]
        yield f"one-hot rows of {classes} were drawn as targets", rows
    zeros = random.integers(0, 2, outputs.shape).astype(outputs.dtype)
    yield f"zeros and ones {outputs.shape} were drawn as targets", zeros


def _trajectory(
    side: Side, reading: Reading, x: np.ndarray, y: np.ndarray, steps: int
) -> Trajectory:
    batches = {
        "x": np.stack([_batch(x, number) for number in range(steps)]),
        "y": np.stack([np.roll(y, number, 0) for number in range(steps)]),
    }
    folder, answer = side.steps(batches, reading.recording.weights())

    def read(name: str) -> Mapping[str, np.ndarray]:
        with np.load(Path(folder) / name) as file:
            return reading.weights(dict(file))

    described: Mapping[str, Any] = answer["optimizer"]
    return Trajectory(
        [read(f"step_{i}.npz") for i in range(steps + 1)],
        [read(f"gradients_{i}.npz") for i in range(1, steps + 1)],
        [float(loss) for loss in answer["losses"]],
        optimizers.read(described),
        str(described["kind"]).rpartition(".")[2],
        side.framework,
    )


def _batch(x: np.ndarray, number: int) -> np.ndarray:
    """The batch of a step: the same observations, turned round and a little larger."""
    x = np.roll(x, number, 0)
    return x * x.dtype.type(1 + number / 8) if x.dtype.kind == "f" else x


def _by_layer(
    left: Trajectory, right: Trajectory, pairs: Sequence[tuple[str, str]]
) -> dict[str, tuple[float, ...]]:
    """How far each layer's weights are off after every step, relative to all weights.

    By its name on the left; the root of the sum of their squares is that of all.
    """
    layers: dict[str, list[float]] = {}
    for mine, other in zip(left.weights[1:], right.weights[1:], strict=True):
        off: dict[str, float] = {}
        total = 0.0
        for a, b in pairs:
            if a in mine and b in other and mine[a].shape == other[b].shape:
                part, size = compare.apart(other[b], mine[a])
                name = a.rpartition(".")[0]
                off[name] = off.get(name, 0.0) + part
                total += size
        for name, part in off.items():
            layers.setdefault(name, []).append(compare.ratio(part, total))
    return {name: tuple(sizes) for name, sizes in layers.items()}


def _apart(
    left: Mapping[str, np.ndarray],
    right: Mapping[str, np.ndarray],
    pairs: Sequence[tuple[str, str]],
) -> float:
    found = [
        (left[a].reshape(-1), right[b].reshape(-1))
        for a, b in pairs
        if a in left and b in right and left[a].shape == right[b].shape
    ]
    if not found:
        return float("inf")
    ours, theirs = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    return compare.relative(theirs, ours)

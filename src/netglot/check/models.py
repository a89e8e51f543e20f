"""Two models by any hands: whether they are the same, and where and why not."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from netglot import axes, frontends, ops
from netglot.check.backward import Moved, gradients, statistics, weight_pairs
from netglot.check.causes import Compared, Finding
from netglot.check.initial import Drawn, compare_initial
from netglot.check.layers import compare
from netglot.check.matching import Match, carried, match, paired_weights
from netglot.check.precision import Setting, named, settings_of
from netglot.check.sides import Side, SideError, at_hand
from netglot.check.training import Learned, train
from netglot.errors import UserError, unknown
from netglot.frontends.reading import Reading

#: So many single observations are tried for the smallest input that differs.
SMALLER = 4


@dataclass(frozen=True)
class Described:
    """A side, for messages."""

    name: str
    framework: str
    version: str
    layers: int


@dataclass(frozen=True)
class ModelReport:
    """What was found of two models.

    ``evaluated`` compares one pass in evaluation, ``trained`` one in training (``None``
    where it was not asked for); ``passed`` are the gradients and running statistics of
    that; ``learned`` is what optimizer steps came to. ``drawn`` are initial weights
    of other distributions, which is no difference of the networks. ``unstable`` says of
    a side that gives something else each time; ``broken`` where the first value that is
    no number appears. ``notes`` are for people: what was carried over, how the input
    was given, what was not looked at. ``settings`` are those of either side that have
    float32 computed with a shorter type.
    """

    left: Described
    right: Described
    evaluated: Compared
    trained: Compared | None = None
    passed: tuple[Moved, ...] = ()
    learned: Learned | None = None
    drawn: tuple[Drawn, ...] = ()
    unstable: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    settings: tuple[tuple[Setting, ...], tuple[Setting, ...]] = ((), ())

    @property
    def same(self) -> bool:
        """Whether nothing at all differs."""
        later = self.trained is None or self.trained.same
        steps = self.learned is None or self.learned.same
        moved = any(not item.form for item in self.moved)
        plain = not (moved or self.unstable or self.broken)
        return self.evaluated.same and later and steps and plain

    @property
    def moved(self) -> tuple[Moved, ...]:
        """The gradients and running statistics that differ."""
        return tuple(item for item in self.passed if not item.same)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All layers that differ; those of training that evaluation does not show."""
        if self.trained is None:
            return self.evaluated.findings
        known = {id(f.left) for f in self.evaluated.findings}
        names = {f.left.name for f in self.evaluated.findings if f.left and known}
        more = [f for f in self.trained.findings if f.left and f.left.name not in names]
        return (*self.evaluated.findings, *more)


def check_models(
    left: Side,
    right: Side,
    inputs: Sequence[np.ndarray],
    *,
    keep: bool = False,
    steps: int = 0,
    target: np.ndarray | None = None,
) -> ModelReport:
    """Compare two opened models on one batch.

    ``inputs`` are the arrays of one call, in the left side's layout; images are turned
    for a right side that stores channels elsewhere. The left side's weights are carried
    over to the right, unless ``keep``: then differing weights are findings. With
    ``steps`` also a pass in training, its gradients and running statistics, and, where
    both models came with optimizer and loss, so many steps of these on ``target``
    (drawn where there is none). Raises ``SideError`` for a model that cannot be run.
    """
    ours = left.record(inputs)
    given, notes, theirs = _first(right, inputs, left.framework)
    unstable = tuple(_unstable(left, inputs, ours))
    unstable += tuple(_unstable(right, given, theirs))
    found = match(ours, theirs)
    drawn = () if keep else tuple(_drawn(ours, theirs, found))
    laid = None
    if not keep:
        laid, more = _carried(ours, theirs, found)
        notes += more
        if laid:
            laid = {**theirs.recording.weights(), **laid}
            theirs = right.record(given, weights=laid)
    evaluated = compare(ours, theirs)
    if any(finding.left_over is None for finding in evaluated.findings):
        evaluated = _with_example(evaluated, left, right, inputs, given)
    shorter = (settings_of(ours), settings_of(theirs))

    def in_full(training: bool, before: Reading) -> Callable[[], Compared | None]:
        held = laid or theirs.recording.weights()

        def again() -> Compared | None:
            try:
                return compare(before, right.record(given, held, training, full=True))
            except SideError:
                return None

        return again

    evaluated = named(evaluated, shorter[1], in_full(False, ours))
    broken = tuple(
        line
        for side, reading in ((left, ours), (right, theirs))
        for line in _broken(side, reading)
    )
    trained: Compared | None = None
    passed: tuple[Moved, ...] = ()
    learned: Learned | None = None
    if steps:
        before = ours.recording.weights()
        ours_t = left.record(inputs, weights=before, training=True)
        theirs_t = right.record(
            given, weights=laid or theirs.recording.weights(), training=True
        )
        found_t = settings_of(theirs_t)
        trained = named(compare(ours_t, theirs_t), found_t, in_full(True, ours_t))
        passed = tuple(statistics(ours_t, theirs_t, theirs))
        if evaluated.same and trained.same:
            # Else they follow from what differs already.
            passed += tuple(gradients(ours_t, theirs_t))
        if left.trains and right.trains and len(inputs) == 1:
            pairs = [(a, b) for *_, a, b in weight_pairs(ours, theirs)]
            learned, said = train(
                (left, ours, _result(ours_t), inputs[0]),
                (right, theirs, _result(theirs_t), given[0]),
                pairs,
                target,
                steps,
            )
            notes += [said] if said else []
        else:
            notes.append(_untrained(left, right))
    return ModelReport(
        _described(left, ours),
        _described(right, theirs),
        evaluated,
        trained,
        passed,
        learned,
        drawn,
        unstable,
        broken,
        tuple(notes),
        shorter,
    )


def check(
    left: Any,
    right: Any,
    inputs: Any,
    *,
    weights: str = "carry",
    train_steps: int = 0,
    target: Any = None,
) -> ModelReport:
    """Compare two live models of frameworks that the caller has imported.

    ``left`` and ``right`` are models of PyTorch, Flax or Keras; ``inputs`` one array or
    a list of them, in the left side's layout. ``weights``: ``carry`` the left side's to
    the right (and give the right one's back in the end), or ``keep``. With
    ``train_steps`` a pass in training is compared as well, and so many optimizer steps
    where each is given as ``(model, optimizer, loss)``; ``target`` is what the loss is
    handed. Raises ``UserError`` where a model cannot be run.
    """
    if weights not in ("carry", "keep"):
        raise unknown("way of weights", weights, ("carry", "keep"))
    given = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
    arrays = [np.asarray(array) for array in given]
    with tempfile.TemporaryDirectory() as folder:
        one = at_hand("left", left, Path(folder) / "left")
        two = at_hand("right", right, Path(folder) / "right")
        before = [(side, side.get_weights()) for side in (one, two)]
        try:
            return check_models(
                one,
                two,
                arrays,
                keep=weights == "keep",
                steps=train_steps,
                target=None if target is None else np.asarray(target),
            )
        finally:
            for side, held in before:
                side.set_weights(held)


def _described(side: Side, reading: Reading) -> Described:
    return Described(side.name, side.framework, side.version, len(reading.layers))


def _first(
    right: Side, inputs: Sequence[np.ndarray], framework: str
) -> tuple[list[np.ndarray], list[str], Reading]:
    """The right side's first run; the input as it takes it, and what to say of that."""
    plain = list(inputs)
    images = [turned(x, framework, right.framework) for x in plain]
    notes: list[str] = []
    if any(a is not b for a, b in zip(plain, images, strict=True)):
        try:
            reading = right.record(images)
            where = frontends.get(right.framework).storage("NCHW")
            notes.append(f"the images were given to the right as {where}")
            return images, notes, reading
        except SideError as refused:
            # It may do the turning itself.
            try:
                return plain, notes, right.record(plain)
            except SideError:
                raise refused from None
    return plain, notes, right.record(plain)


def turned(x: np.ndarray, source: str, target: str) -> np.ndarray:
    """An image in the layout of another framework; what is no image as it is."""
    if x.ndim not in (4, 5) or x.dtype.kind != "f":
        return x
    letters = "NC" + axes.SPATIAL[x.ndim - 2]
    before = frontends.get(source).storage(letters)
    after = frontends.get(target).storage(letters)
    return x if before == after else axes.transpose(x, before, after)


def _result(reading: Reading) -> np.ndarray:
    """The first output of a model."""
    found = reading.value(reading.outputs[0])
    assert found is not None
    return found


def _with_example(
    evaluated: Compared,
    left: Side,
    right: Side,
    inputs: Sequence[np.ndarray],
    given: Sequence[np.ndarray],
) -> Compared:
    """The same findings; what nothing explains with a smallest input that shows it.

    Both sides are run on single observations, as they are and with all numbers but the
    first half set to 0, and so on, as long as the layer still differs.
    """
    as_given = all(a is b for a, b in zip(inputs, given, strict=True))

    def other(x: np.ndarray) -> np.ndarray:
        return x if as_given else turned(x, left.framework, right.framework)

    wanted = {f.left.name for f in evaluated.findings if f.left and f.left_over is None}
    found: dict[str, str] = {}
    for index in range(min(len(inputs[0]), SMALLER)):
        row = slice(index, index + 1)
        for kept in (1.0, 0.5, 0.25):
            rows = [_thinned(x[row], kept) for x in inputs]
            try:
                less = compare(left.record(rows), right.record(list(map(other, rows))))
            except SideError:
                break
            names = {f.left.name for f in less.findings if f.left}
            if not names & wanted:
                break
            much = "" if kept == 1 else f", {kept:.0%} of its numbers, the others 0,"
            for name in names & wanted:
                found[name] = f"observation {index}{much} alone shows it"
        if wanted <= found.keys():
            break
    findings = [
        dataclasses.replace(
            f, note="; ".join(filter(None, (f.note, found[f.left.name])))
        )
        if f.left and f.left.name in found and f.left_over is None
        else f
        for f in evaluated.findings
    ]
    return dataclasses.replace(evaluated, findings=tuple(findings))


def _thinned(x: np.ndarray, kept: float) -> np.ndarray:
    """The first numbers of an observation, the others 0; indices stay."""
    if kept == 1 or x.dtype.kind != "f":
        return x
    flat = x.reshape(-1).copy()
    flat[max(1, int(kept * flat.size)) :] = 0
    return flat.reshape(x.shape)


def _untrained(left: Side, right: Side) -> str:
    lacking = [side.side for side in (left, right) if not side.trains]
    if not lacking:
        return "no optimizer steps: they are taken of models with one input"
    return (
        f"no optimizer steps: {' and '.join(lacking)} came without optimizer and loss "
        "(give model, optimizer, loss)"
    )


def _drawn(ours: Reading, theirs: Reading, found: Match) -> Iterator[Drawn]:
    """Weights that the two sides draw from other distributions."""
    mine, other = ours.weights(), theirs.weights()
    kinds = {
        f"{layer.name}.{name}": weight
        for layer in ours.layers
        if layer.op is not None
        for name, weight in layer.op.weights(
            *(ours.types[value] for value in layer.inputs)
        ).items()
    }
    return compare_initial(
        {
            a: (mine[a], other[b], kinds.get(_kernel(a), kinds[a]))
            for a, b in paired_weights(ours, theirs, found.pairs)
            if a in kinds and kinds[a].trained and mine[a].shape == other[b].shape
        }
    )


def _kernel(bias: str) -> str:
    """The name of the kernel that has a bias."""
    return bias.removesuffix("bias") + "kernel"


def _unstable(
    side: Side, inputs: Sequence[np.ndarray], first: Reading
) -> Iterator[str]:
    """Whether a second run gives the same, and where it first does not."""
    second = side.record(inputs, weights=first.recording.weights())
    if len(first.layers) != len(second.layers):
        yield f"{side.side}: another run of {side.name} takes other steps"
        return
    for a, b in zip(first.layers, second.layers, strict=True):
        for one, two in zip(a.outputs, b.outputs, strict=True):
            if not first.recording.seen(one):
                continue
            x, y = first.recording.array(one), second.recording.array(two)
            if x.shape != y.shape or not np.array_equal(
                x, y, equal_nan=x.dtype.kind == "f"
            ):
                words = f"{side.side}: two runs differ, first at {a}"
                if isinstance(a.op, ops.Dropout):
                    words += ": dropout is active in evaluation"
                elif isinstance(a.op, ops.BatchNorm) and a.training:
                    words += ": it updates its statistics in evaluation"
                yield words + (f" ({a.source})" if a.source else "")
                return


def _broken(side: Side, reading: Reading) -> Iterator[str]:
    for layer in reading.layers:
        for name in layer.outputs:
            if not reading.recording.seen(name):
                continue
            array = reading.recording.array(name)
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                what = "NaN" if np.isnan(array).any() else "infinity"
                yield (
                    f"{side.side}: {layer} is the first to give {what} ({layer.source})"
                )
                return


def _carried(
    ours: Reading, theirs: Reading, found: Match
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The right side's weights made from the left side's, and what was left out."""
    other = theirs.weights()
    canonical = carried(ours, theirs, found.pairs, ours.weights())
    notes = []
    count = len(canonical)
    left_out = sorted(set(other) - set(canonical))
    if count:
        notes.append(f"{count} weights were carried over from left to right")
    if left_out:
        shapes = [f"{name} {other[name].shape}" for name in left_out[:4]]
        notes.append(f"no partner was found for {', '.join(shapes)} on the right")
    return theirs.lay_out(canonical), notes


def same_inputs(found: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The arrays of an input file, in order, without the targets ``y``."""
    arrays = [array for name, array in found.items() if name != "y"]
    if not arrays:
        raise UserError("The input file holds no array but y.")
    return arrays

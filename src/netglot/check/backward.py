"""One pass of two models in training: gradients and running statistics."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from netglot import ops, reference
from netglot.check.compare import relative
from netglot.check.matching import match, paired_weights
from netglot.frontends.reading import Layer, Reading

#: Relative difference of gradients and running statistics that counts as the same.
GRADIENTS = {True: 1e-8, False: 1e-3}
#: The same of running statistics.
STATISTICS = {True: 1e-9, False: 1e-5}


@dataclass(frozen=True)
class Moved:
    """A gradient or a running statistic after one pass in training, on both sides.

    ``form`` says that the cause is how the framework does it, which nobody can choose.
    """

    what: str
    left: Layer
    right: Layer
    size: float
    allowed: float
    cause: str = ""
    form: bool = False

    @property
    def same(self) -> bool:
        """Whether it does not differ; not where it is NaN."""
        return self.size <= self.allowed


def gradients(ours: Reading, theirs: Reading) -> Iterator[Moved]:
    """Gradients of matched weights; with a cause where they differ and it is known."""
    limit = GRADIENTS[_is_exact(theirs)]
    mine = ours.weights(ours.recording.gradients())
    other = theirs.weights(theirs.recording.gradients())
    total = np.sqrt(sum(float((g**2).sum()) for g in mine.values())) or 1.0
    for one, two, a, b in weight_pairs(ours, theirs):
        what = f"gradient of the {a.rpartition('.')[2]}"
        if a in mine and b not in other:
            cause = "none on the right: it is frozen, or the gradient is stopped"
            yield Moved(what, one, two, float("inf"), limit, cause)
        elif b in other and a not in mine:
            cause = "none on the left: it is frozen, or the gradient is stopped"
            yield Moved(what, one, two, float("inf"), limit, cause)
        elif a in mine and mine[a].shape == other[b].shape:
            # A gradient that should be zero is compared with all of them.
            norm = max(float(np.linalg.norm(mine[a])), 1e-6 * total)
            size = float(np.linalg.norm(other[b].astype(np.float64) - mine[a])) / norm
            gone = "" if size <= limit else _gone(mine[a], other[b])
            yield Moved(what, one, two, size, limit, gone)


def _gone(left: np.ndarray, right: np.ndarray) -> str:
    """What is zero on the right alone, in words; empty where nothing is."""
    if not right.any():
        return "zero on the right: the gradient is stopped"
    if right.ndim < 2:
        return ""
    rows = [k for k in range(len(right)) if left[k].any() and not right[k].any()]
    rest = [k for k in range(len(right)) if k not in rows]
    if rows and np.allclose(left[rest], right[rest]):
        return f"row {rows[0]} gets none on the right, as of a padding index"
    return ""


def weight_pairs(
    ours: Reading, theirs: Reading
) -> Iterator[tuple[Layer, Layer, str, str]]:
    """Weights that hold the same: both layers, both names."""
    layers = {layer.name: layer for layer in ours.layers}
    others = {layer.name: layer for layer in theirs.layers}
    for a, b in paired_weights(ours, theirs, match(ours, theirs).pairs):
        yield layers[a.rpartition(".")[0]], others[b.rpartition(".")[0]], a, b


def statistics(ours: Reading, theirs: Reading, before: Reading) -> Iterator[Moved]:
    """Running statistics against what the left side's layer would have made.

    With a cause where they differ and it is known. ``before`` is
    the right side before its pass in training.
    """
    held, after = before.weights(), theirs.weights()
    limit = STATISTICS[_is_exact(theirs)]
    for one, two, a, b in weight_pairs(ours, theirs):
        weight = a.rpartition(".")[2]
        if weight not in ("mean", "variance") or not isinstance(one.op, ops.BatchNorm):
            continue
        x = theirs.value(two.inputs[0])
        if x is None or b not in held:
            continue
        type_ = dataclasses.replace(theirs.types[two.inputs[0]], shape=x.shape)
        own = {name: held[f"{two.name}.{name}"] for name in ("mean", "variance")}

        def made(op: ops.BatchNorm, own: Any = own, t: Any = type_, x: Any = x) -> Any:
            site = reference.Site(own, (t,), (t,))
            return reference.running_statistics(op, site, x.astype(np.float64))

        size = relative(after[b], made(one.op)[weight])
        if size <= limit:
            yield Moved(f"running {weight}", one, two, size, limit)
            continue
        if np.array_equal(held[b], after[b]):
            words = "it is not updated in training on the right"
            yield Moved(f"running {weight}", one, two, size, limit, words)
            continue
        for words, op in _kept(one.op, two.op):
            if relative(after[b], made(op)[weight]) <= limit:
                # No framework lets people choose this one.
                form = op == dataclasses.replace(one.op, unbiased=op.unbiased)
                yield Moved(f"running {weight}", one, two, size, limit, words, form)
                break
        else:
            yield Moved(f"running {weight}", one, two, size, limit)


def _kept(a: ops.BatchNorm, b: ops.Op | None) -> Iterator[tuple[str, ops.BatchNorm]]:
    """Ways to keep running statistics, in words, likeliest first."""
    momenta = {round(1 - a.momentum, 10), 0.9, 0.99, 0.1, 0.01, 0.999, a.momentum}
    if isinstance(b, ops.BatchNorm):
        momenta.add(b.momentum)
    for unbiased in (a.unbiased, not a.unbiased):
        for momentum in sorted(momenta, key=lambda m: m != a.momentum):
            said = []
            if momentum != a.momentum:
                said.append(
                    f"momentum {momentum:g} on the right, {a.momentum:g} on the left"
                )
            if unbiased != a.unbiased:
                word = {True: "unbiased", False: "biased"}
                said.append(
                    f"the running variance is {word[unbiased]} on the right, "
                    f"{word[a.unbiased]} on the left"
                )
            op = dataclasses.replace(a, momentum=momentum, unbiased=unbiased)
            yield "; ".join(said), op


def _is_exact(reading: Reading) -> bool:
    return any(reading.recording.dtype(v) == "float64" for v in reading.outputs)

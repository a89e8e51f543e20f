"""Single operations in the reference, on arrays that somebody else has computed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from netglot import reference
from netglot.frontends.reading import Layer, Relabel
from netglot.ops import Gelu, MultiHeadAttention, Op, Type, Upsample

#: A value: canonical axes, and the numbers.
Known = tuple[Type, np.ndarray]


@dataclass(frozen=True)
class Step:
    """An operation with its weights, as it is to be computed.

    ``how`` computes something else in its place, for what no attribute can say: it is
    called with the operation, a ``reference.Site`` and the inputs.
    """

    op: Op
    weights: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    training: bool = False
    how: Any = None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of its weights."""
        return {name: array.shape for name, array in self.weights.items()}


def step_of(layer: Layer, weights: Mapping[str, np.ndarray]) -> Step:
    """A layer that was seen, with its own of these weights."""
    assert layer.op is not None
    prefix = f"{layer.name}."
    own = {
        source.removeprefix(prefix): weights[source]
        for weight in layer.weights
        for source in weight.sources
        if source in weights
    }
    return Step(layer.op, own, layer.training)


def known(axes: str, array: np.ndarray, like: Type | None = None) -> Known:
    """A value with its type; what a flattened axis was made of as in ``like``."""
    dtype = "float32" if array.dtype.kind == "f" else "int64"
    merged = like.merged if like is not None and like.axes == axes else ()
    sizes: Any = [size for _, size in merged]
    if merged and math.prod(sizes) != array.shape[-1]:
        merged = ()
    return Type(axes, array.shape, dtype, merged), array


def compute(step: Step, *inputs: Known, dtype: Any = np.float64) -> Known:
    """The first output of an operation; raises ``ValueError`` where it cannot be.

    Numbers are taken in ``dtype``.
    """
    types = tuple(type_ for type_, _ in inputs)
    arrays = [
        array.astype(dtype) if array.dtype.kind == "f" else array for _, array in inputs
    ]
    try:
        (output, *_) = step.op.infer(*types)
    except (IndexError, KeyError, TypeError) as error:
        raise ValueError(f"{type(step.op).__name__}: {error!r}") from error
    if isinstance(step.op, Relabel):
        return output, np.transpose(arrays[0], step.op.order)
    wanted = step.op.weights(*types)
    missing = [name for name in wanted if name not in step.weights]
    if missing:
        raise ValueError(f"{type(step.op).__name__} has no {missing[0]}")
    own = {name: np.asarray(step.weights[name], dtype) for name in wanted}
    for name, weight in wanted.items():
        if own[name].shape != weight.shape:
            raise ValueError(f"{name} is {own[name].shape}, and not {weight.shape}")
    site = reference.Site(own, types, (output,), step.training)
    how = step.how or reference.MEANING[type(step.op)]
    with np.errstate(all="ignore"):
        result = how(step.op, site, *arrays)
    first = result[0] if isinstance(result, tuple) else result
    return dataclasses.replace(output, shape=first.shape), np.asarray(first)


def chain(
    steps: Sequence[Step], inputs: tuple[Known, ...], dtype: Any = np.float64
) -> Known:
    """Operations one after the other; the first takes all inputs.

    Raises ``ValueError`` where one cannot be, or several values are left.
    """
    current = inputs
    for step in steps:
        current = (compute(step, *current, dtype=dtype),)
    if len(current) != 1:
        raise ValueError("several values are left")
    return current[0]


def narrow(step: Step, numbers: bool = True) -> Step:
    """A step as it is where numbers of float32 get in though all else is float64.

    An attention, whose softmax may be one of float32, is computed in float32. With
    ``numbers`` so is a bilinear enlargement, and the step's own numbers are rounded.
    """
    if step.how is None and isinstance(step.op, MultiHeadAttention):
        return dataclasses.replace(step, how=_single)
    if not numbers:
        return step
    changed: dict[str, Any] = {
        field.name: float(np.float32(value))
        for field in dataclasses.fields(step.op)
        if isinstance(value := getattr(step.op, field.name), float)
        and value != float(np.float32(value))
    }
    if isinstance(step.op, Gelu) and step.how is None:
        return dataclasses.replace(step, how=_narrow_gelu)
    bilinear = isinstance(step.op, Upsample) and step.op.mode == "bilinear"
    if bilinear and step.how is None:
        return dataclasses.replace(step, how=_single)
    if not changed:
        return step
    return dataclasses.replace(step, op=dataclasses.replace(step.op, **changed))


def _single(op: Op, site: reference.Site, *xs: np.ndarray) -> Any:
    """All of it in float32, as some do whatever they are given."""
    held = {name: array.astype(np.float32) for name, array in site.weights.items()}
    site = dataclasses.replace(site, weights=held)
    return reference.MEANING[type(op)](op, site, *(x.astype(np.float32) for x in xs))


def _narrow_gelu(op: Gelu, site: reference.Site, x: np.ndarray) -> np.ndarray:
    # The root of two (or of two over pi) moves the argument by as much.
    return reference.MEANING[Gelu](op, site, x * float(np.float32(2**0.5)) / 2**0.5)

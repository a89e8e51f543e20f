"""What people do otherwise: the known variants of every operation.

Each is a way to compute an operation that some framework, paper or port has; where a
layer differs, the one that gives what was seen is the cause.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from netglot import ops, reference
from netglot.check.evaluate import Step
from netglot.ops import Op, Type

EPSILONS = (1e-3, 1e-5, 1e-6, 1e-7, 1e-8, 1e-12, 1e-4, 1e-2, 2e-5, 0.0)
ACTIVATIONS: Mapping[str, Op] = {
    "relu": ops.Relu(),
    "gelu, exact": ops.Gelu(),
    "gelu by tanh": ops.Gelu(True),
    "silu": ops.Silu(),
    "tanh": ops.Tanh(),
    "sigmoid": ops.Sigmoid(),
    "elu": ops.Elu(),
    "selu": ops.Selu(),
    "leaky relu, slope 0.01": ops.LeakyRelu(0.01),
    "leaky relu, slope 0.2": ops.LeakyRelu(0.2),
    "leaky relu, slope 0.3": ops.LeakyRelu(0.3),
    "softplus": ops.Softplus(),
    "relu6": ops.Clip(),
}

#: Coarser numbers by their bits of mantissa.
COARSER = {"bfloat16": 8, "TF32 or float16": 11}


@dataclass(frozen=True)
class Variant:
    """Another way to compute an operation: steps in its place, and its name."""

    what: str
    steps: tuple[Step, ...]


def variants(step: Step, *types: Type) -> Iterator[Variant]:
    """The known variants of an operation on inputs of these types, likeliest first."""
    for kind, found in _TABLE:
        if isinstance(step.op, kind):
            yield from found(step, *types)
    yield from _everywhere(step)


def _changed(step: Step, **attributes: Any) -> tuple[Step, ...]:
    return (dataclasses.replace(step, op=dataclasses.replace(step.op, **attributes)),)


def _weights(step: Step, change: Callable[[str, Any], Any]) -> tuple[Step, ...]:
    new = {name: change(name, array) for name, array in step.weights.items()}
    return (dataclasses.replace(step, weights=new),)


def _only(step: Step, name: str, change: Callable[[Any], Any]) -> tuple[Step, ...]:
    """The steps with one weight changed."""
    return _weights(step, lambda n, w: change(w) if n == name else w)


def _how(step: Step, how: Any) -> tuple[Step, ...]:
    return (dataclasses.replace(step, how=how),)


def _everywhere(step: Step) -> Iterator[Variant]:
    name = type(step.op).__name__
    if step.op.elementwise or isinstance(step.op, ops.Softmax):
        yield Variant(f"{name} is left out", ())
        yield Variant(f"{name} is applied twice", (step, step))
    for title, keep in COARSER.items():
        if step.weights:

            def rounded(op: Any, site: Any, *xs: Any, keep: int = keep) -> Any:
                held = {n: round_to(w, keep) for n, w in site.weights.items()}
                site = dataclasses.replace(site, weights=held)
                given = (round_to(x, keep) if x.dtype.kind == "f" else x for x in xs)
                return reference.MEANING[type(op)](op, site, *given)

            def wholly(op: Any, site: Any, *xs: Any, keep: int = keep) -> Any:
                # The result as well, before the bias is added and after.
                full = rounded(op, site, *xs, keep=keep)
                held = dict(site.weights)
                if "bias" in held:
                    held["bias"] = np.zeros_like(held["bias"])
                bare = dataclasses.replace(site, weights=held)
                plain = rounded(op, bare, *xs, keep=keep)
                return round_to(round_to(plain, keep) + (full - plain), keep)

            yield Variant(f"numbers are rounded to {title}", _how(step, rounded))
            yield Variant(
                f"numbers and results are rounded to {title}", _how(step, wholly)
            )


def round_to(array: np.ndarray, bits: int) -> np.ndarray:
    """To the nearest number with so many bits of mantissa."""
    mantissa, exponent = np.frexp(array)
    return np.ldexp(np.round(mantissa * 2.0**bits) / 2.0**bits, exponent)


# --- Kernels --------------------------------------------------------------------------


def _dense(step: Step, *types: Type) -> Iterator[Variant]:
    yield from _bias(step)
    kernel = step.weights["kernel"]
    if kernel.shape[0] == kernel.shape[1]:
        turned = _only(step, "kernel", np.transpose)
        yield Variant("the kernel is transposed", turned)
    merged = types[0].merged
    if len(merged) > 1:
        letters = "".join(a for a, _ in merged)
        sizes: Any = [size for _, size in merged]
        for order in itertools.permutations(range(len(merged))):
            if order == tuple(range(len(merged))):
                continue
            # The values arrive in another order, the kernel stays.
            index = (
                np.arange(kernel.shape[1]).reshape(sizes).transpose(order).reshape(-1)
            )
            back = functools.partial(_inverse, index=index)
            moved = _only(step, "kernel", back)
            name = "".join(letters[i] for i in order)
            yield Variant(f"flattened in the order {name}, not {letters}", moved)
    for activation, op in ACTIVATIONS.items():
        yield Variant(f"{activation} follows", (step, Step(op)))
    yield Variant("softmax follows", (step, Step(ops.Softmax("F"))))


def _inverse(kernel: np.ndarray, index: np.ndarray) -> np.ndarray:
    new = np.empty_like(kernel)
    new[:, index] = kernel
    return new


def _bias(step: Step) -> Iterator[Variant]:
    if "bias" in step.weights:
        none = _only(step, "bias", np.zeros_like)
        yield Variant("the bias is missing", none)
        twice = _only(step, "bias", lambda w: 2 * w)
        yield Variant("the bias is added twice", twice)


def _conv(step: Step, *types: Type) -> Iterator[Variant]:
    op: Any = step.op
    dims = len(op.kernel)
    yield from _bias(step)
    flip = _only(step, "kernel", lambda w: np.flip(w, tuple(range(2, w.ndim))))
    yield Variant("the kernel is flipped (a true convolution)", flip)
    if dims > 1 and len(set(op.kernel)) == 1:
        turned = _only(step, "kernel", lambda w: np.swapaxes(w, 2, 3))
        yield Variant("height and width of the kernel are swapped", turned)
    if isinstance(op, ops.ConvTranspose):
        for change in (0, 1):
            yield Variant(
                f"output_padding {change}", _changed(step, output_padding=change)
            )
        for pads in _paddings(op):
            yield Variant(f"padding {pads}", _changed(step, padding=pads))
        return
    sizes: Any = types[0].shape[2:]
    for pads in _paddings(op, sizes):
        yield Variant(f"padding {pads}", _changed(step, padding=pads))
    for stride in ((1,) * dims, (2,) * dims):
        yield Variant(f"stride {stride}", _changed(step, stride=stride))
        for pads in _paddings(dataclasses.replace(op, stride=stride), sizes):
            yield Variant(
                f"stride {stride} and padding {pads}",
                _changed(step, stride=stride, padding=pads),
            )
    yield Variant("dilation 1", _changed(step, dilation=1))
    yield Variant("dilation 2", _changed(step, dilation=2))
    for activation, after in ACTIVATIONS.items():
        yield Variant(f"{activation} follows", (step, Step(after)))


def _paddings(op: Any, sizes: Any = ()) -> Iterator[tuple[tuple[int, int], ...]]:
    """None, even, and what ``same`` means, the odd one after or before."""
    dilation = getattr(op, "dilation", (1,) * len(op.kernel))
    reach = [d * (k - 1) for k, d in zip(op.kernel, dilation, strict=True)]
    found = [
        ((0, 0),) * len(reach),
        tuple((n // 2, n // 2) for n in reach),
        tuple((n // 2, n - n // 2) for n in reach),
        tuple((n - n // 2, n // 2) for n in reach),
        tuple((n, n) for n in reach),
        tuple((0, n) for n in reach),
        tuple((n, 0) for n in reach),
        tuple((after, before) for before, after in op.padding),
        ((1, 1),) * len(reach),
    ]
    if sizes:
        totals = [
            max(0, (math.ceil(n / s) - 1) * s + r + 1 - n)
            for n, s, r in zip(sizes, op.stride, reach, strict=True)
        ]
        found += [
            tuple((t // 2, t - t // 2) for t in totals),
            tuple((t - t // 2, t // 2) for t in totals),
        ]
    return iter([pads for pads in dict.fromkeys(found) if pads != op.padding])


# --- Pooling --------------------------------------------------------------------------


def _pool(step: Step, *types: Type) -> Iterator[Variant]:
    op: Any = step.op
    dims = len(op.kernel)
    sizes: Any = types[0].shape[2:]
    other: Any = ops.MaxPool if isinstance(op, ops.AvgPool) else ops.AvgPool
    plain = (op.kernel, op.stride, op.padding, op.ceil)
    swapped = dataclasses.replace(step, op=other(*plain))
    yield Variant(f"{other.__name__} instead", (swapped,))
    yield Variant(f"ceil {not op.ceil}", _changed(step, ceil=not op.ceil))
    for stride in (op.kernel, (1,) * dims, (2,) * dims):
        if stride != op.stride:
            yield Variant(f"stride {stride}", _changed(step, stride=stride))
    if isinstance(op, ops.AvgPool):
        count = not op.count_padding
        words = "the padding is counted" if count else "the padding is not counted"
        yield Variant(words, _changed(step, count_padding=count))
    for pads in _paddings(op, sizes):
        yield Variant(f"padding {pads}", _changed(step, padding=pads))
        if isinstance(op, ops.AvgPool):
            both = _changed(step, padding=pads, count_padding=True)
            yield Variant(f"padding {pads}, which is counted", both)
    # Kernel and stride in each other's place.
    if op.kernel != op.stride:
        both = _changed(step, kernel=op.stride, stride=op.kernel)
        yield Variant("kernel and stride are swapped", both)


# --- Normalisation --------------------------------------------------------------------


def _norm(step: Step, *types: Type) -> Iterator[Variant]:
    op: Any = step.op
    for epsilon in EPSILONS:
        if epsilon != op.epsilon:
            yield Variant(f"epsilon {epsilon:g}", _changed(step, epsilon=epsilon))
    if isinstance(op, ops.BatchNorm):
        other = dataclasses.replace(step, training=not step.training)
        words = "running statistics" if step.training else "statistics of the batch"
        yield Variant(f"it uses {words}", (other,))
    for name, neutral in (("scale", 1.0), ("shift", 0.0)):
        if name in step.weights:
            flat = functools.partial(np.full_like, fill_value=neutral)
            none = _only(step, name, flat)
            yield Variant(f"the {name} is missing", none)
    if "scale" in step.weights:
        more = _only(step, "scale", lambda w: 1 + w)
        yield Variant("the scale is added to 1", more)
    yield Variant(
        "epsilon is added to the standard deviation, not to the variance",
        _how(step, _outside),
    )
    yield Variant("the variance is divided by n - 1", _how(step, _unbiased))
    if isinstance(op, ops.GroupNorm):
        channels: Any = types[0].size("C")
        for groups in (n for n in range(1, channels + 1) if channels % n == 0):
            if groups != op.groups:
                yield Variant(f"{groups} groups", _changed(step, groups=groups))
    if isinstance(op, ops.LayerNorm):
        square = dataclasses.replace(step, how=_no_mean)
        yield Variant("the mean is not taken off (RMSNorm)", (square,))
        yield Variant("it normalises time and features together", _how(step, _all_axes))


def _statistics_axes(op: Any, site: Any, x: Any) -> Any:
    if isinstance(op, ops.BatchNorm):
        axis = site.types[0].axes.index("C" if "C" in site.types[0].axes else "F")
        return tuple(i for i in range(x.ndim) if i != axis)
    return -1


def _spread(weights: Any, name: str, op: Any, site: Any, x: Any) -> Any:
    array = weights[name]
    axes = site.types[0].axes
    letter = "C" if "C" in axes and not isinstance(op, ops.LayerNorm) else "F"
    shape = [1] * x.ndim
    shape[axes.index(letter)] = -1
    return array.reshape(shape)


def _with_affine(op: Any, site: Any, x: Any, y: Any) -> Any:
    if "scale" in site.weights:
        y = y * _spread(site.weights, "scale", op, site, x)
    if "shift" in site.weights:
        y = y + _spread(site.weights, "shift", op, site, x)
    return y


def _moments(op: Any, site: Any, x: Any, less: int = 0) -> tuple[Any, Any]:
    if isinstance(op, ops.BatchNorm) and not site.training:
        return (
            _spread(site.weights, "mean", op, site, x),
            _spread(site.weights, "variance", op, site, x),
        )
    axes = _statistics_axes(op, site, x)
    return x.mean(axes, keepdims=True), x.var(axes, keepdims=True, ddof=less)


def _outside(op: Any, site: Any, x: Any) -> Any:
    mean, variance = _moments(op, site, x)
    return _with_affine(op, site, x, (x - mean) / (np.sqrt(variance) + op.epsilon))


def _unbiased(op: Any, site: Any, x: Any) -> Any:
    mean, variance = _moments(op, site, x, 1)
    return _with_affine(op, site, x, (x - mean) / np.sqrt(variance + op.epsilon))


def _no_mean(op: Any, site: Any, x: Any) -> Any:
    square = (x * x).mean(-1, keepdims=True)
    return _with_affine(op, site, x, x / np.sqrt(square + op.epsilon))


def _all_axes(op: Any, site: Any, x: Any) -> Any:
    axes = tuple(range(1, x.ndim))
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return _with_affine(op, site, x, (x - mean) / np.sqrt(variance + op.epsilon))


# --- Recurrent layers, attention ------------------------------------------------------


def _recurrent(step: Step, *types: Type) -> Iterator[Variant]:
    op: Any = step.op
    if isinstance(op, ops.GRU):
        other = "before" if op.reset == "after" else "after"
        turned = dataclasses.replace(step, op=dataclasses.replace(op, reset=other))
        yield Variant(f"the reset gate acts {other} the recurrent product", (turned,))
        yield Variant("the update gate keeps the new state", _how(step, _update_kept))
    if len(op.gates) > 1:
        for order in itertools.permutations(op.gates):
            name = "".join(order)
            if name != op.gates:
                new = {n: _gates(w, op.gates, name) for n, w in step.weights.items()}
                moved = (dataclasses.replace(step, weights=new),)
                yield Variant(f"gates in the order {name}, not {op.gates}", moved)
    for name in ("bias", "recurrent_bias"):
        if name in step.weights:
            none = _only(step, name, np.zeros_like)
            yield Variant(f"the {name.replace('_', ' ')} is missing", none)
    if isinstance(op, ops.LSTM) and "bias" in step.weights:
        units = op.units
        place = op.gates.index("f") * units

        def more(name: str, array: Any) -> Any:
            if name != "bias":
                return array
            new = np.array(array)
            new[place : place + units] += 1
            return new

        yield Variant("1 is added to the forget gate", _weights(step, more))
    for activation in ("relu", "tanh", "sigmoid"):
        if activation != op.activation:
            yield Variant(
                f"activation {activation}", _changed(step, activation=activation)
            )
    if op.direction in ("forward", "backward"):
        other = "backward" if op.direction == "forward" else "forward"
        back = {
            name + "_back" if other == "backward" else name.removesuffix("_back"): array
            for name, array in step.weights.items()
        }
        turned = dataclasses.replace(
            step, op=dataclasses.replace(op, direction=other), weights=back
        )
        yield Variant(f"it runs {other}", (turned,))


def _gates(array: np.ndarray, before: str, after: str) -> np.ndarray:
    pieces = dict(zip(before, np.split(array, len(before)), strict=True))
    return np.concatenate([pieces[gate] for gate in after])


def _update_kept(op: Any, site: Any, x: Any) -> Any:
    """``h = z n + (1 - z) h``: with the sign of the update gate turned round."""
    units = op.units
    weights = {}
    for name, array in site.weights.items():
        new = np.array(array)
        if new.shape[0] == 3 * units:
            new[units : 2 * units] *= -1
        weights[name] = new
    site = dataclasses.replace(site, weights=weights)
    return reference.MEANING[type(op)](op, site, x)


def _attention(step: Step, *types: Type) -> Iterator[Variant]:
    op: Any = step.op
    words = "a causal mask" if not op.causal else "no mask"
    yield Variant(f"it has {words}", _changed(step, causal=not op.causal))
    width: Any = types[0].size("F")
    for heads in (n for n in range(1, width + 1) if width % n == 0):
        if heads != op.heads:
            yield Variant(f"{heads} heads", _changed(step, heads=heads))
    for words, factor in (
        ("the scores are not scaled", math.sqrt(width // op.heads)),
        ("the scores are scaled by the whole width", 1 / math.sqrt(op.heads)),
        ("the scores are scaled twice", 1 / math.sqrt(width // op.heads)),
    ):
        new = {
            name: factor * array if name.startswith("query_") else array
            for name, array in step.weights.items()
        }
        scaled = (dataclasses.replace(step, weights=new),)
        yield Variant(words, scaled)
    for name in ("query", "key", "value", "output"):
        if f"{name}_bias" in step.weights:
            none = _only(step, f"{name}_bias", np.zeros_like)
            yield Variant(f"the bias of the {name} is missing", none)


# --- The rest -------------------------------------------------------------------------


def _activation(step: Step, *types: Type) -> Iterator[Variant]:
    yield Variant(f"{type(step.op).__name__} is left out", ())
    for name, op in ACTIVATIONS.items():
        if op != step.op:
            yield Variant(f"{name} instead", (Step(op),))


def _softmax(step: Step, *types: Type) -> Iterator[Variant]:
    other = ops.LogSoftmax if type(step.op) is ops.Softmax else ops.Softmax
    axis: Any = step.op.axis  # type: ignore[attr-defined]
    yield Variant("it is left out", ())
    yield Variant(f"{other.__name__} instead", (Step(other(axis)),))
    yield Variant("softmax is applied twice", (step, Step(ops.Softmax(axis))))
    for letter in types[0].axes:
        if letter != axis:
            over = "the batch" if letter == "N" else letter
            yield Variant(f"its axis is {over}", _changed(step, axis=letter))


def _embedding(step: Step, *types: Type) -> Iterator[Variant]:
    op: Any = step.op
    for shift in (1, -1, 2, 3):

        def shifted(op: Any, site: Any, x: Any, shift: int = shift) -> Any:
            return site.weights["table"][np.clip(x + shift, 0, op.vocabulary - 1)]

        yield Variant(f"indices are shifted by {shift}", _how(step, shifted))
    root = Step(ops.Scale(math.sqrt(op.features), 0.0))
    yield Variant("values are multiplied by the root of the width", (step, root))

    def padded(op: Any, site: Any, x: Any) -> Any:
        return site.weights["table"][x] * (x != 0)[..., None]

    yield Variant("index 0 gives zeros (padding)", _how(step, padded))


def _upsample(step: Step, *types: Type) -> Iterator[Variant]:
    op: Any = step.op
    other = "bilinear" if op.mode == "nearest" else "nearest"
    yield Variant(f"mode {other}", _changed(step, mode=other))
    yield Variant("the corners are aligned", _how(step, _corners))


def _corners(op: Any, site: Any, x: Any) -> Any:
    for axis, scale in enumerate(op.scale, 2):
        size = x.shape[axis]
        place = np.linspace(0, size - 1, size * scale)
        matrix = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(size)))
        x = np.moveaxis(np.moveaxis(x, axis, -1) @ matrix.T, -1, axis)
    return x


def _dropout(step: Step, *types: Type) -> Iterator[Variant]:
    yield from ()


def _scale(step: Step, *types: Type) -> Iterator[Variant]:
    op: Any = step.op
    if op.factor:
        yield Variant("it divides", _changed(step, factor=1 / op.factor))


def _pair(step: Step, *types: Type) -> Iterator[Variant]:
    for kind in (ops.Add, ops.Multiply, ops.Subtract, ops.Maximum):
        if kind is not type(step.op):
            yield Variant(f"{kind.__name__} instead", (Step(kind()),))

    def first(op: Any, site: Any, a: Any, b: Any) -> Any:
        return a

    def second(op: Any, site: Any, a: Any, b: Any) -> Any:
        return b

    yield Variant("only the first of its inputs arrives", _how(step, first))
    yield Variant("only the second of its inputs arrives", _how(step, second))
    if isinstance(step.op, ops.Subtract | ops.Divide):

        def turned(op: Any, site: Any, a: Any, b: Any) -> Any:
            return reference.MEANING[type(op)](op, site, b, a)

        yield Variant("its inputs are swapped", _how(step, turned))


def _concat(step: Step, *types: Type) -> Iterator[Variant]:
    def turned(op: Any, site: Any, *xs: Any) -> Any:
        return np.concatenate(xs[::-1], axis=site.types[0].axes.index(op.axis))

    yield Variant("its inputs are in the other order", _how(step, turned))


def _global(step: Step, *types: Type) -> Iterator[Variant]:
    for kind in (ops.GlobalAvgPool, ops.GlobalMaxPool):
        if kind is not type(step.op):
            yield Variant(f"{kind.__name__} instead", (Step(kind()),))

    def total(op: Any, site: Any, x: Any) -> Any:
        return x.reshape(*x.shape[:2], -1).sum(-1)

    yield Variant("the sum is taken, not the mean", _how(step, total))


def _slice(step: Step, *types: Type) -> Iterator[Variant]:
    op: Any = step.op
    if op.axis == "T":
        yield Variant("the first step is taken", _changed(step, start=0, stop=1))
        yield Variant("the last step is taken", _changed(step, start=-1, stop=None))


_TABLE: tuple[tuple[Any, Callable[..., Iterator[Variant]]], ...] = (
    (ops.Dense, _dense),
    ((ops.Conv, ops.ConvTranspose), _conv),
    (ops.MaxPool, _pool),
    ((ops.BatchNorm, ops.LayerNorm, ops.RMSNorm, ops.GroupNorm), _norm),
    (ops.SimpleRNN, _recurrent),
    (ops.MultiHeadAttention, _attention),
    (ops.Softmax, _softmax),
    (ops.Embedding, _embedding),
    (ops.Upsample, _upsample),
    (ops.Scale, _scale),
    (ops.Dropout, _dropout),
    (ops.Concat, _concat),
    (ops.GlobalAvgPool, _global),
    (ops.Slice, _slice),
    (ops.Add, _pair),
    (
        tuple(type(op) for op in ACTIVATIONS.values()),
        _activation,
    ),
)

"""Every operation in NumPy, and its gradient: the judge that is no framework.

``MEANING`` makes the docstrings of ``ops.py`` executable. Everything is written for
``autograd.numpy``, so that one text gives values and gradients. Where an operation has
no derivative, the choice made here is the one that its docstring states.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd import value_and_grad
from autograd.extend import defvjp, primitive
from autograd.scipy.special import erf, expit, logsumexp
from autograd.tracer import getval
from scipy.sparse import csr_matrix

from netglot import ops, recipe
from netglot.errors import UserError, unknown
from netglot.graph import Graph, Node, infer_nodes
from netglot.ops import Op, Type, WeightType

#: A NumPy array, or autograd's stand-in for one while a gradient is taken.
Array = Any
Arrays = Mapping[str, Array]


# --- Linear primitives ----------------------------------------------------------------


@primitive
def windows(
    x: Array,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    count: tuple[int, ...],
) -> Array:
    """Sliding windows: ``(N, C, sizes) -> (N, C, kernel, count)``, a view.

    Element ``[n, c, k, p]`` is ``x[n, c, p * stride + k * dilation]`` on every axis;
    ``x`` has to be large enough for ``count`` positions.
    """
    steps = x.strides[2:]
    strides = (
        *x.strides[:2],
        *(s * d for s, d in zip(steps, dilation, strict=True)),
        *(s * d for s, d in zip(steps, stride, strict=True)),
    )
    shape = (*x.shape[:2], *kernel, *count)
    return np.lib.stride_tricks.as_strided(x, shape, strides, writeable=False)


@primitive
def unwindows(
    parts: Array,
    sizes: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Array:
    """The adjoint of ``windows``: ``(N, C, kernel, count) -> (N, C, sizes)``."""
    dims = len(sizes)
    kernel, count = parts.shape[2 : 2 + dims], parts.shape[2 + dims :]
    total = np.zeros((*parts.shape[:2], *sizes), parts.dtype)
    for offset in itertools.product(*(range(k) for k in kernel)):
        places = tuple(
            slice(o * d, o * d + (n - 1) * s + 1, s)
            for o, d, n, s in zip(offset, dilation, count, stride, strict=True)
        )
        whole = slice(None)
        total[(whole, whole, *places)] += parts[(whole, whole, *offset)]
    return total


def _windows_vjp(
    ans: Array, x: Array, kernel: Any, stride: Any, dilation: Any, count: Any
) -> Callable[[Array], Array]:
    return lambda g: unwindows(g, x.shape[2:], stride, dilation)


def _unwindows_vjp(
    ans: Array, parts: Array, sizes: Any, stride: Any, dilation: Any
) -> Callable[[Array], Array]:
    dims = len(sizes)
    kernel, count = parts.shape[2 : 2 + dims], parts.shape[2 + dims :]
    return lambda g: windows(g, kernel, stride, dilation, count)


defvjp(windows, _windows_vjp, argnums=(0,))
defvjp(unwindows, _unwindows_vjp, argnums=(0,))


@primitive
def _take(x: Array, axis: int, part: slice) -> Array:
    """``x[part]`` along an axis; autograd's own indexing is slow backwards."""
    return x[(slice(None),) * axis + (part,)]


def _take_vjp(ans: Array, x: Array, axis: int, part: slice) -> Callable[[Array], Array]:
    def back(g: Array) -> Array:
        result = np.zeros(x.shape, x.dtype)
        result[(slice(None),) * axis + (part,)] = g
        return result

    return back


defvjp(_take, _take_vjp, argnums=(0,))


@primitive
def _first_max(x: Array, axis: int) -> Array:
    """Maximum along an axis; the first of equal values gets the gradient."""
    return np.max(x, axis)


def _first_max_vjp(ans: Array, x: Array, axis: int) -> Callable[[Array], Array]:
    def back(g: Array) -> Array:
        place = np.expand_dims(np.argmax(x, axis), axis)
        result = np.zeros(x.shape, x.dtype)
        np.put_along_axis(result, place, np.expand_dims(g, axis), axis)
        return result

    return back


defvjp(_first_max, _first_max_vjp, argnums=(0,))


@primitive
def _every_max(x: Array, axis: int) -> Array:
    """Maximum along an axis; each of equal values gets the gradient."""
    return np.max(x, axis)


def _every_max_vjp(ans: Array, x: Array, axis: int) -> Callable[[Array], Array]:
    largest = np.expand_dims(ans, axis)
    return lambda g: np.where(x == largest, np.expand_dims(g, axis), 0)


defvjp(_every_max, _every_max_vjp, argnums=(0,))


@primitive
def _rows(table: Array, index: np.ndarray) -> Array:
    """``table[index]``; a row that is read often adds its gradients up."""
    return table[index]


def _rows_vjp(ans: Array, table: Array, index: np.ndarray) -> Callable[[Array], Array]:
    def back(g: Array) -> Array:
        count = index.size
        ones = np.ones(count, g.dtype)
        shape = (table.shape[0], count)
        chosen = csr_matrix((ones, (index.reshape(-1), np.arange(count))), shape)
        return np.asarray(chosen @ g.reshape(count, -1))

    return back


defvjp(_rows, _rows_vjp, argnums=(0,))


# --- Pieces that several operations share ---------------------------------------------


@dataclass(frozen=True)
class Site:
    """What an operation knows besides its attributes and the values that it reads.

    ``weights`` by the operation's own names; ``types`` of the inputs and ``outputs``,
    with the batch size filled in; ``kept`` is the mask of a dropout (1 stays, 0 is
    dropped), or ``None`` where nothing is dropped.
    """

    weights: Arrays
    types: tuple[Type, ...]
    outputs: tuple[Type, ...]
    training: bool = False
    kept: np.ndarray | None = None


def _linear(x: Array, kernel: Array, bias: Array | None) -> Array:
    """``x kernel^T + bias`` over the last axis, as one matrix product."""
    flat = anp.matmul(anp.reshape(x, (-1, x.shape[-1])), kernel.T)
    if bias is not None:
        flat = flat + bias
    return anp.reshape(flat, (*x.shape[:-1], kernel.shape[0]))


def _pad(x: Array, pads: Iterable[tuple[int, int]], value: float = 0.0) -> Array:
    width = ((0, 0), (0, 0), *pads)
    if not any(itertools.chain(*width)):
        return x
    return anp.pad(x, width, "constant", constant_values=value)


def _along(vector: Array, axis: int, dims: int) -> Array:
    """A vector shaped so that it runs along one of ``dims`` axes."""
    return anp.reshape(vector, tuple(-1 if i == axis else 1 for i in range(dims)))


def _relu(x: Array) -> Array:
    # Not maximum(x, 0), of which autograd gives 1/2 at 0; NaN passes through.
    return anp.where(x <= 0, anp.zeros_like(getval(x)), x)


def _elu(x: Array, alpha: float) -> Array:
    # The exponential is kept from overflowing where its value is not used.
    below = anp.where(x > 0, anp.zeros_like(getval(x)), x)
    return anp.where(x > 0, x, alpha * anp.expm1(below))


def _log_softmax(x: Array, axis: int) -> Array:
    return x - logsumexp(x, axis=axis, keepdims=True)


def _normalise(x: Array, axes: Any, epsilon: float) -> Array:
    centred = x - anp.mean(x, axes, keepdims=True)
    variance = anp.mean(centred * centred, axes, keepdims=True)
    return centred / anp.sqrt(variance + epsilon)


def _affine(x: Array, site: Site, axis: int) -> Array:
    if "scale" in site.weights:
        x = x * _along(site.weights["scale"], axis, x.ndim)
    if "shift" in site.weights:
        x = x + _along(site.weights["shift"], axis, x.ndim)
    return x


# --- Dense, convolution ---------------------------------------------------------------


def _dense(op: ops.Dense, site: Site, x: Array) -> Array:
    return _linear(x, site.weights["kernel"], site.weights.get("bias"))


def _grouped(x: Array, axis: int, groups: int) -> Array:
    """An axis cut into ``groups`` parts and the rest; whole where there is one group.

    One group gets no axis of its own: autograd would copy the whole array to sum along
    an axis of size 1.
    """
    cut = (groups,) if groups > 1 else ()
    return anp.reshape(x, (*x.shape[:axis], *cut, x.shape[axis] // groups, -1))


def _conv(op: ops.Conv, site: Site, x: Array) -> Array:
    groups: Any = op.groups
    count: Any = site.outputs[0].shape[2:]
    parts = windows(_pad(x, op.padding), op.kernel, op.stride, op.dilation, count)
    inside = (x.shape[0], x.shape[1] * math.prod(parts.shape[2 : 2 + len(count)]))
    columns = anp.reshape(parts, (*inside, math.prod(count)))
    rows = _grouped(site.weights["kernel"], 0, groups)
    y = anp.matmul(rows, _grouped(columns, 1, groups))
    y = anp.reshape(y, site.outputs[0].shape)
    if op.bias:
        y = y + _along(site.weights["bias"], 1, y.ndim)
    return y


def _conv_transpose(op: ops.ConvTranspose, site: Site, x: Array) -> Array:
    groups: Any = op.groups
    rows = _grouped(site.weights["kernel"], 0, groups)
    columns = anp.matmul(anp.swapaxes(rows, -1, -2), _grouped(x, 1, groups))
    parts = anp.reshape(columns, (x.shape[0], op.channels, *op.kernel, *x.shape[2:]))
    sizes: Any = site.outputs[0].shape[2:]
    whole = tuple(n + sum(pads) for n, pads in zip(sizes, op.padding, strict=True))
    y = unwindows(parts, whole, op.stride, op.dilation)
    for axis, (before, _) in enumerate(op.padding, 2):
        y = _take(y, axis, slice(before, before + sizes[axis - 2]))
    if op.bias:
        y = y + _along(site.weights["bias"], 1, y.ndim)
    return y


# --- Pooling --------------------------------------------------------------------------


def _pool_windows(op: ops.MaxPool, site: Site, x: Array, value: float) -> Array:
    """``(N, C, kernel elements, count)``; ``value`` stands outside the values."""
    count: Any = site.outputs[0].shape[2:]
    stride: Any = op.stride
    pads = []
    for i, (before, _) in enumerate(op.padding):
        reach: Any = (count[i] - 1) * stride[i] + op.kernel[i]
        pads.append((before, max(0, reach - before - x.shape[2 + i])))
    padded = _pad(x, pads, value)
    parts = windows(padded, op.kernel, stride, (1,) * len(count), count)
    return anp.reshape(parts, (*x.shape[:2], math.prod(op.kernel), *count))  # type: ignore


def _max_pool(op: ops.MaxPool, site: Site, x: Array) -> Array:
    largest = {"first": _first_max, "all": _every_max, "shared": anp.max}[op.ties]
    return largest(_pool_windows(op, site, x, -math.inf), 2)


def _avg_pool(op: ops.AvgPool, site: Site, x: Array) -> Array:
    total = anp.sum(_pool_windows(op, site, x, 0.0), axis=2)
    ones = np.ones((1, 1, *x.shape[2:]), total.dtype)
    if op.count_padding:
        # The padding counts, what ceil adds beyond it does not.
        ones = np.pad(ones, ((0, 0), (0, 0), *op.padding), constant_values=1)
        inner = ops.AvgPool(op.kernel, op.stride, 0, op.ceil)  # type: ignore[arg-type]
    else:
        inner = op
    return total / np.sum(_pool_windows(inner, site, ones, 0.0), axis=2)


def _space(x: Array) -> Array:
    return anp.reshape(x, (*x.shape[:2], -1))


# --- Normalisation, embedding ---------------------------------------------------------


def _batch_axes(type_: Type) -> tuple[int, tuple[int, ...]]:
    """Where the channels are, and all other axes."""
    axis = type_.axes.index("C" if "C" in type_.axes else "F")
    return axis, tuple(i for i in range(len(type_.axes)) if i != axis)


def _batch_norm(op: ops.BatchNorm, site: Site, x: Array) -> Array:
    axis, others = _batch_axes(site.types[0])
    if site.training:
        return _affine(_normalise(x, others, op.epsilon), site, axis)
    mean, variance = (
        _along(site.weights[name], axis, x.ndim) for name in ("mean", "variance")
    )
    return _affine((x - mean) / anp.sqrt(variance + op.epsilon), site, axis)


def running_statistics(op: ops.BatchNorm, site: Site, x: Array) -> dict[str, Array]:
    """The running ``mean`` and ``variance`` after a batch ``x``."""
    _, others = _batch_axes(site.types[0])
    if op.unbiased and math.prod(x.shape[i] for i in others) < 2:
        raise ValueError("an unbiased variance needs more than one value per channel")
    new = {
        "mean": np.mean(x, others),
        "variance": np.var(x, others, ddof=int(op.unbiased)),
    }
    return {
        name: op.momentum * site.weights[name] + (1 - op.momentum) * value
        for name, value in new.items()
    }


def _layer_norm(op: ops.LayerNorm, site: Site, x: Array) -> Array:
    return _affine(_normalise(x, -1, op.epsilon), site, x.ndim - 1)


def _rms_norm(op: ops.RMSNorm, site: Site, x: Array) -> Array:
    square = anp.mean(x * x, -1, keepdims=True)
    return _affine(x / anp.sqrt(square + op.epsilon), site, x.ndim - 1)


def _group_norm(op: ops.GroupNorm, site: Site, x: Array) -> Array:
    axis = site.types[0].axes.index("C")
    grouped = anp.reshape(anp.moveaxis(x, axis, 1), (x.shape[0], op.groups, -1))
    flat = _normalise(grouped, -1, op.epsilon)
    moved = anp.moveaxis(getval(x), axis, 1).shape
    return _affine(anp.moveaxis(anp.reshape(flat, moved), 1, axis), site, axis)


def _dropout(op: ops.Dropout, site: Site, x: Array) -> Array:
    if site.kept is None:
        return x
    return x * (site.kept / (1 - op.rate)).astype(getval(x).dtype)


def _embedding(op: ops.Embedding, site: Site, x: Array) -> Array:
    index = np.asarray(x)
    # NumPy would read a negative index from the end.
    if index.size and not 0 <= index.min() <= index.max() < op.vocabulary:  # type: ignore
        raise ValueError(
            f"indices from {index.min()} to {index.max()} do not fit a vocabulary "
            f"of {op.vocabulary}"
        )
    return _rows(site.weights["table"], index.astype(np.int64))


# --- Recurrent layers -----------------------------------------------------------------

_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": anp.tanh,
    "relu": _relu,
    "sigmoid": expit,
}

#: ``(what the input adds, (h, ...)) -> (h, ...)`` of the next step.
Cell = Callable[[Array, tuple[Array, ...]], tuple[Array, ...]]


def _product(recurrent: Array, bias: Array | None) -> Callable[[Array], Array]:
    turned = recurrent.T
    if bias is None:
        return lambda h: anp.matmul(h, turned)
    return lambda h: anp.matmul(h, turned) + bias


def _rnn_cell(op: ops.SimpleRNN, recurrent: Array, bias: Array | None) -> Cell:
    product, activation = _product(recurrent, bias), _ACTIVATIONS[op.activation]
    return lambda x, state: (activation(x + product(state[0])),)


def _lstm_cell(op: ops.LSTM, recurrent: Array, bias: Array | None) -> Cell:
    product, activation = _product(recurrent, bias), _ACTIVATIONS[op.activation]
    units: Any = op.units

    def cell(x: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        h, c = state
        sums = x + product(h)
        enter, forget, candidate, leave = (
            _take(sums, 1, slice(start, start + units))
            for start in range(0, 4 * units, units)
        )
        c = expit(forget) * c + expit(enter) * activation(candidate)
        return expit(leave) * activation(c), c

    return cell


def _gru_cell(op: ops.GRU, recurrent: Array, bias: Array | None) -> Cell:
    activation = _ACTIVATIONS[op.activation]
    units: Any = op.units
    gate_bias = candidate_bias = None
    if bias is not None:
        # The bias of form ``candidate`` has no part for the two gates.
        gate_bias = bias[: 2 * units] if op.bias == "two" else None
        candidate_bias = bias[-units:]
    gates = _product(recurrent[: 2 * units], gate_bias)
    candidate = _product(recurrent[2 * units :], candidate_bias)

    def cell(x: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        (h,) = state
        opened = expit(_take(x, 1, slice(2 * units)) + gates(h))
        reset = _take(opened, 1, slice(units))
        update = _take(opened, 1, slice(units, None))
        inner = reset * candidate(h) if op.reset == "after" else candidate(reset * h)
        new = activation(_take(x, 1, slice(2 * units, None)) + inner)
        return (new + update * (h - new),)

    return cell


_CELLS: dict[type[Op], Any] = {
    ops.SimpleRNN: _rnn_cell,
    ops.LSTM: _lstm_cell,
    ops.GRU: _gru_cell,
}


def _recurrent(op: ops.SimpleRNN, site: Site, x: Array) -> Array:
    ends = {"forward": [""], "backward": ["_back"], "both": ["", "_back"]}
    results = []
    for end in ends[op.direction]:
        weights = {
            name: site.weights.get(name + end)
            for name in ("kernel", "recurrent", "bias", "recurrent_bias")
        }
        # All steps at once: only the recurrent product has to wait.
        given = _linear(x, weights["kernel"], weights["bias"])
        given = anp.transpose(given, (1, 0, 2))
        cell = _CELLS[type(op)](op, weights["recurrent"], weights["recurrent_bias"])
        units: Any = op.units
        start = np.zeros((x.shape[0], units), getval(x).dtype)
        state: tuple[Array, ...] = (start, start) if type(op) is ops.LSTM else (start,)
        order = range(x.shape[1])
        hidden = []
        for step in reversed(order) if end else order:
            state = cell(given[step], state)
            hidden.append(state[0])
        if op.returns == "last":
            results.append(state[0])
        else:
            results.append(anp.stack(hidden[::-1] if end else hidden, axis=1))
    return results[0] if len(results) == 1 else anp.concatenate(results, axis=-1)


# --- Attention ------------------------------------------------------------------------


def _attention(op: ops.MultiHeadAttention, site: Site, *inputs: Array) -> Array:
    sources = {"query": inputs[0], "key": inputs[:2][-1], "value": inputs[-1]}
    heads: Any = op.heads

    def cut(name: str) -> Array:
        weights = site.weights
        x = _linear(
            sources[name], weights[f"{name}_kernel"], weights.get(f"{name}_bias")
        )
        return anp.swapaxes(anp.reshape(x, (*x.shape[:2], heads, -1)), 1, 2)

    query, key, value = (cut(name) for name in sources)
    scores = anp.matmul(query, anp.swapaxes(key, 2, 3)) / math.sqrt(query.shape[-1])
    if op.causal:
        seen = np.tril(np.ones(scores.shape[2:], bool))
        scores = anp.where(seen, scores, -math.inf)
    mixed = anp.matmul(anp.exp(_log_softmax(scores, -1)), value)
    joined = anp.reshape(anp.swapaxes(mixed, 1, 2), inputs[0].shape)
    return _linear(
        joined, site.weights["output_kernel"], site.weights.get("output_bias")
    )


# --- Activations, arithmetic ----------------------------------------------------------


def _gelu(op: ops.Gelu, site: Site, x: Array) -> Array:
    if op.approximate:
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)
        return 0.5 * x * (1 + anp.tanh(inner))
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


def _selu(op: ops.Selu, site: Site, x: Array) -> Array:
    # The two constants of Klambauer et al., 2017.
    return 1.0507009873554805 * _elu(x, 1.6732632423543772)


def _clip(op: ops.Clip, site: Site, x: Array) -> Array:
    like = getval(x)
    x = anp.where(x < op.low, np.full_like(like, op.low), x)
    return anp.where(x > op.high, np.full_like(like, op.high), x)


def _matmul(op: ops.MatMul, site: Site, a: Array, b: Array) -> Array:
    return anp.matmul(a, anp.swapaxes(b, -1, -2) if op.transpose_b else b)


# --- Shape ----------------------------------------------------------------------------


def _split(op: ops.Split, site: Site, x: Array) -> tuple[Array, ...]:
    axis = site.types[0].axes.index(op.axis)
    ends = list(itertools.accumulate(op.sizes, initial=0))
    pieces = itertools.pairwise(ends)
    return tuple(_take(x, axis, slice(start, end)) for start, end in pieces)


def _slice(op: ops.Slice, site: Site, x: Array) -> Array:
    axis = site.types[0].axes.index(op.axis)
    return _take(x, axis, slice(op.start, op.stop, op.step))


def _transpose(op: ops.Transpose, site: Site, x: Array) -> Array:
    return anp.transpose(x, tuple(site.types[0].axes.index(a) for a in op.axes))


def _over(op: ops.ReduceMean, site: Site) -> tuple[int, ...]:
    return tuple(i for i, a in enumerate(site.types[0].axes) if a in op.over)


def _reduce_max(op: ops.ReduceMax, site: Site, x: Array) -> Array:
    over = _over(op, site)
    stay = tuple(i for i in range(x.ndim) if i not in over)
    last = anp.transpose(x, (*stay, *over))
    flat = anp.reshape(last, (*(x.shape[i] for i in stay), -1))
    return anp.reshape(_first_max(flat, flat.ndim - 1), site.outputs[0].shape)


def _enlarge(size: int, scale: int, mode: str) -> np.ndarray:
    """Matrix ``(size * scale, size)`` that enlarges one axis."""
    place = np.arange(size * scale)
    if mode == "nearest":
        return np.eye(size)[place // scale]
    centre = np.clip((place + 0.5) / scale - 0.5, 0, size - 1)
    return np.maximum(0, 1 - np.abs(centre[:, None] - np.arange(size)))


def _upsample(op: ops.Upsample, site: Site, x: Array) -> Array:
    for axis, scale in enumerate(op.scale, 2):
        matrix = _enlarge(x.shape[axis], scale, op.mode).astype(getval(x).dtype)
        last = _linear(anp.moveaxis(x, axis, -1), matrix, None)
        x = anp.moveaxis(last, -1, axis)
    return x


# --- The table ------------------------------------------------------------------------

#: ``(operation, site, *inputs) -> output``, or a tuple where there are several.
MEANING: dict[type[Op], Callable[..., Any]] = {
    ops.Dense: _dense,
    ops.Conv: _conv,
    ops.ConvTranspose: _conv_transpose,
    ops.MaxPool: _max_pool,
    ops.AvgPool: _avg_pool,
    ops.GlobalAvgPool: lambda op, site, x: anp.mean(_space(x), 2),
    ops.GlobalMaxPool: lambda op, site, x: _first_max(_space(x), 2),
    ops.BatchNorm: _batch_norm,
    ops.LayerNorm: _layer_norm,
    ops.RMSNorm: _rms_norm,
    ops.GroupNorm: _group_norm,
    ops.Dropout: _dropout,
    ops.Embedding: _embedding,
    ops.SimpleRNN: _recurrent,
    ops.LSTM: _recurrent,
    ops.GRU: _recurrent,
    ops.MultiHeadAttention: _attention,
    ops.Relu: lambda op, site, x: _relu(x),
    ops.LeakyRelu: lambda op, site, x: anp.where(x > 0, x, op.slope * x),
    ops.Elu: lambda op, site, x: _elu(x, op.alpha),
    ops.Selu: _selu,
    ops.Gelu: _gelu,
    ops.Silu: lambda op, site, x: x * expit(x),
    ops.Sigmoid: lambda op, site, x: expit(x),
    ops.Tanh: lambda op, site, x: anp.tanh(x),
    ops.Softplus: lambda op, site, x: anp.logaddexp(x, np.zeros_like(getval(x))),
    ops.Softmax: lambda op, site, x: anp.exp(
        _log_softmax(x, site.types[0].axes.index(op.axis))
    ),
    ops.LogSoftmax: lambda op, site, x: _log_softmax(
        x, site.types[0].axes.index(op.axis)
    ),
    ops.Negative: lambda op, site, x: -x,
    ops.Exp: lambda op, site, x: anp.exp(x),
    ops.Log: lambda op, site, x: anp.log(x),
    ops.Sqrt: lambda op, site, x: anp.sqrt(x),
    ops.Abs: lambda op, site, x: anp.abs(x),
    ops.Square: lambda op, site, x: x * x,
    ops.Clip: _clip,
    ops.Scale: lambda op, site, x: op.factor * x + op.offset,
    ops.Add: lambda op, site, a, b: a + b,
    ops.Subtract: lambda op, site, a, b: a - b,
    ops.Multiply: lambda op, site, a, b: a * b,
    ops.Divide: lambda op, site, a, b: a / b,
    ops.Maximum: lambda op, site, a, b: anp.maximum(a, b),
    ops.Minimum: lambda op, site, a, b: anp.minimum(a, b),
    ops.MatMul: _matmul,
    ops.Concat: lambda op, site, *inputs: anp.concatenate(
        inputs, axis=site.types[0].axes.index(op.axis)
    ),
    ops.Split: _split,
    ops.Slice: _slice,
    ops.Reshape: lambda op, site, x: anp.reshape(x, (x.shape[0], *op.shape)),
    ops.Flatten: lambda op, site, x: anp.reshape(x, (x.shape[0], -1)),
    ops.Transpose: _transpose,
    ops.Pad: lambda op, site, x: _pad(x, op.padding, op.value),
    ops.ReduceMean: lambda op, site, x: anp.mean(x, _over(op, site), keepdims=op.keep),
    ops.ReduceSum: lambda op, site, x: anp.sum(x, _over(op, site), keepdims=op.keep),
    ops.ReduceMax: _reduce_max,
    ops.Upsample: _upsample,
}


# --- A whole network ------------------------------------------------------------------


@dataclass(frozen=True)
class Trace:
    """What a network computed.

    ``values`` holds every value of the flat graph by name, the inputs among them, in
    order of computation; ``outputs`` those that the graph names as its outputs;
    ``running`` the new running statistics by weight path (empty in evaluation).
    """

    values: dict[str, Array]
    outputs: tuple[Array, ...]
    running: dict[str, Array] = field(default_factory=dict)


def _cast(array: Array, dtype: Any) -> np.ndarray:
    """Floating numbers in the given precision; indices stay what they are."""
    array = np.asarray(array)
    return array.astype(dtype) if array.dtype.kind == "f" else array


def _prepared(
    flat: Graph, weights: Arrays, inputs: Arrays, dtype: Any
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, Type]]:
    """Weights and inputs in one precision, and the type of every value, all checked.

    Raises ``UserError`` for arrays that are missing, unknown or of another shape.
    """
    given: dict[str, np.ndarray] = {}
    types: dict[str, Type] = {}
    batch: int | None = None
    for name in inputs:
        if name not in dict(flat.inputs):
            raise unknown(f"input of {flat.name}", name, dict(flat.inputs))
    for name, type_ in flat.inputs:
        if name not in inputs:
            raise UserError(f"{flat.name} needs an array for its input {name}")
        array = _cast(inputs[name], dtype)
        if array.dtype.kind not in "iu" and type_.dtype.startswith("int"):
            raise UserError(f"{flat.name}: input {name} holds indices, not numbers")
        if array.dtype.kind != "f" and not type_.dtype.startswith("int"):
            array = array.astype(dtype)
        expected = (batch, *type_.shape[1:])
        if array.ndim != len(expected) or any(
            size not in (None, given_size)
            for size, given_size in zip(expected, array.shape, strict=True)
        ):
            raise UserError(
                f"{flat.name}: input {name} has the shape {array.shape}, and is to be "
                f"{type_.axes}: {type_}"
                + (f", batch {batch}" if batch is not None else "")
            )
        if np.isnan(array).any():
            raise UserError(f"{flat.name}: input {name} holds NaN")
        batch = array.shape[0]
        given[name] = array
        types[name] = Type(type_.axes, array.shape, type_.dtype, type_.merged)
    expected_weights = flat.weights()
    for path in weights:
        if path not in expected_weights:
            raise unknown(f"weight of {flat.name}", path, expected_weights)
    for path, weight in expected_weights.items():
        if path not in weights:
            raise UserError(f"{flat.name} needs an array for its weight {path}")
        shape = np.shape(weights[path])
        if shape != weight.shape:
            raise UserError(
                f"{flat.name}: weight {path} has the shape {shape}, and is to be "
                f"{weight.shape} ({weight.axes})"
            )
    cast = {path: np.asarray(weights[path], dtype) for path in expected_weights}
    return cast, given, infer_nodes(flat.nodes, types)


def _is_nan(value: np.ndarray) -> bool:
    # A sum is quick, and not finite where a NaN is in it.
    with np.errstate(all="ignore"):
        return not np.isfinite(np.sum(value)) and bool(np.isnan(value).any())


def _mask(node: Node, dropout: Arrays, shape: tuple[Any, ...]) -> np.ndarray:
    if node.name not in dropout:
        raise UserError(f"dropout is on, but no mask is given for {node}")
    if np.shape(dropout[node.name]) != shape:
        raise UserError(
            f"{node}: the mask has the shape {np.shape(dropout[node.name])}, "
            f"the values have {shape}"
        )
    return np.asarray(dropout[node.name])


def _run(
    flat: Graph,
    weights: Arrays,
    inputs: Arrays,
    types: Mapping[str, Type],
    training: bool,
    dropout: Arrays | None,
) -> Trace:
    values: dict[str, Array] = dict(inputs)
    running: dict[str, Array] = {}
    for node in flat.nodes:
        given = [values[name] for name in node.inputs]
        read = tuple(types[name] for name in node.inputs)
        written = tuple(types[name] for name in node.outputs)
        kept = None
        if isinstance(node.op, ops.Dropout) and training and dropout is not None:
            kept = _mask(node, dropout, read[0].shape)
        names = node.op.weights(*read)
        own = {name: weights[f"{node.name}.{name}"] for name in names}
        site = Site(own, read, written, training, kept)
        try:
            with np.errstate(all="ignore"):
                result = MEANING[type(node.op)](node.op, site, *given)
                if training and isinstance(node.op, ops.BatchNorm):
                    plain = Site({k: getval(v) for k, v in own.items()}, read, written)
                    new = running_statistics(node.op, plain, getval(given[0]))
                    running |= {f"{node.name}.{k}": v for k, v in new.items()}
        except (ValueError, IndexError, TypeError) as error:
            shapes = ", ".join(str(np.shape(value)) for value in given)
            raise ValueError(f"{node} with inputs {shapes}: {error}") from error
        outputs = result if isinstance(result, tuple) else (result,)
        for name, type_, value in zip(node.outputs, written, outputs, strict=True):
            if value.shape != type_.shape:
                raise ValueError(
                    f"{node}: computed the shape {value.shape}, and infer() says "
                    f"{type_.shape}"
                )
            if _is_nan(getval(value)):
                raise FloatingPointError(
                    f"{node} is the first to compute NaN (value {name})"
                )
            values[name] = value
    return Trace(values, tuple(values[name] for name in flat.outputs), running)


def forward(
    graph: Graph,
    weights: Arrays,
    inputs: Arrays,
    *,
    training: bool = False,
    dropout: Arrays | None = None,
    dtype: Any = np.float64,
) -> Trace:
    """Compute a network.

    ``weights`` are arrays by path and ``inputs`` by name, in canonical axes; all are
    taken in ``dtype`` (indices stay integers). ``dropout`` gives, by the flat name of
    each ``Dropout`` node, a mask of its input's shape (1 stays, 0 is dropped); where it
    is ``None``, or ``training`` is false, nothing is dropped.

    Raises ``UserError`` for arrays that do not fit the graph, ``ValueError`` where a
    node cannot be computed and ``FloatingPointError`` at the first NaN; both name the
    node.
    """
    flat = graph.flat()
    cast, given, types = _prepared(flat, weights, inputs, dtype)
    return _run(flat, cast, given, types, training, dropout)


def loss(kind: recipe.Loss, scores: Array, target: Array) -> Array:
    """The loss of a batch, a scalar; meanings in ``recipe.py``."""
    if type(kind) is recipe.SoftmaxCrossEntropy:
        labels = np.asarray(target)
        if labels.dtype.kind not in "iu" or labels.shape != scores.shape[:1]:
            raise UserError(
                f"softmax cross-entropy compares scores {scores.shape} with one "
                f"integer label per row, and is given {labels.dtype} {labels.shape}"
            )
        if not 0 <= labels.min() <= labels.max() < scores.shape[1]:
            raise UserError(
                f"labels from {labels.min()} to {labels.max()} do not fit "
                f"{scores.shape[1]} scores"
            )
        rows = np.arange(len(labels))
        return -anp.mean(_log_softmax(scores, -1)[rows, labels])
    if type(kind) is recipe.MeanSquaredError:
        goal = _cast(target, getval(scores).dtype)
        if goal.shape != scores.shape:
            raise UserError(
                f"mean squared error compares {scores.shape} with {goal.shape}"
            )
        difference = scores - goal
        return anp.mean(difference * difference)
    raise UserError(f"the reference has no loss {type(kind).__name__}")


def gradients(
    graph: Graph,
    kind: recipe.Loss,
    weights: Arrays,
    inputs: Arrays,
    target: Array,
    *,
    training: bool = True,
    dropout: Arrays | None = None,
    of_inputs: bool = False,
    dtype: Any = np.float64,
) -> tuple[float, dict[str, np.ndarray], Trace]:
    """The loss on the graph's first output, and its gradient in every trained weight.

    With ``of_inputs`` the dictionary also holds, by name, the gradient in every input
    that is not of indices. The rest, and the ``Trace``, as in ``forward``.
    """
    flat = graph.flat()
    cast, given, types = _prepared(flat, weights, inputs, dtype)
    trained = {
        path: cast[path] for path, weight in flat.weights().items() if weight.trained
    }
    moved = dict(trained)
    if of_inputs:
        moved |= {name: x for name, x in given.items() if x.dtype.kind == "f"}
    traces = []

    def run(point: Any) -> Array:
        arrays = {path: point[path] for path in moved}
        read = {name: arrays.get(name, value) for name, value in given.items()}
        used = {path: arrays.get(path, value) for path, value in cast.items()}
        trace = _run(flat, used, read, types, training, dropout)
        traces.append(
            Trace(
                {name: getval(value) for name, value in trace.values.items()},
                tuple(getval(value) for value in trace.outputs),
                trace.running,
            )
        )
        return loss(kind, trace.outputs[0], target)

    # A network without weights has a loss, but no gradient to ask autograd for.
    with np.errstate(all="ignore"):
        value, slopes = value_and_grad(run)(moved) if moved else (run({}), {})
    return float(value), {path: np.asarray(g) for path, g in slopes.items()}, traces[0]


# --- Training -------------------------------------------------------------------------


@dataclass(frozen=True)
class OptimizerState:
    """What an optimizer remembers: steps taken, and its moments by weight path.

    ``OptimizerState()`` is the state before the first step: moments of 0.
    """

    step: int = 0
    moments: Mapping[str, tuple[np.ndarray, ...]] = field(default_factory=dict)


def _sgd(
    rule: recipe.SGD, step: int, moments: tuple[Array, ...], weight: Array, g: Array
) -> tuple[Array, tuple[Array, ...]]:
    g = g + rule.weight_decay * weight
    (velocity,) = moments or (np.zeros_like(weight),)
    velocity = rule.momentum * velocity + g
    move = g + rule.momentum * velocity if rule.nesterov else velocity
    return weight - rule.rate * move, (velocity,)


def _adam(
    rule: recipe.Adam, step: int, moments: tuple[Array, ...], weight: Array, g: Array
) -> tuple[Array, tuple[Array, ...]]:
    first, second = moments or (np.zeros_like(weight), np.zeros_like(weight))
    number = float if rule.factors == "exact" else np.float32
    factor1, factor2 = (float(1 - number(beta)) for beta in (rule.beta1, rule.beta2))
    first = rule.beta1 * first + factor1 * g
    second = rule.beta2 * second + factor2 * g * g
    share1, share2 = 1 - rule.beta1**step, 1 - rule.beta2**step
    if rule.epsilon_form == "after":
        move = (first / share1) / (np.sqrt(second / share2) + rule.epsilon)
    else:
        move = math.sqrt(share2) / share1 * first / (np.sqrt(second) + rule.epsilon)
    decayed = weight - rule.rate * rule.weight_decay * weight
    return decayed - rule.rate * move, (first, second)


_OPTIMIZERS: dict[type[recipe.Optimizer], Callable[..., Any]] = {
    recipe.SGD: _sgd,
    recipe.Adam: _adam,
}


def optimizer_step(
    optimizer: recipe.Optimizer, state: OptimizerState, weights: Arrays, slopes: Arrays
) -> tuple[OptimizerState, dict[str, Array]]:
    """One step: the new state, and all weights.

    Weights without a gradient in ``slopes`` (running statistics) stay. Weight decay
    acts on every weight that has one, biases too. Nothing given is changed.
    """
    if type(optimizer) not in _OPTIMIZERS:
        raise UserError(f"the reference has no optimizer {type(optimizer).__name__}")
    move, step = _OPTIMIZERS[type(optimizer)], state.step + 1
    new, moments = dict(weights), {}
    for path, g in slopes.items():
        before = state.moments.get(path, ())
        new[path], moments[path] = move(optimizer, step, before, weights[path], g)
    return OptimizerState(step, moments), new


def train_steps(
    graph: Graph,
    training: recipe.Recipe,
    weights: Arrays,
    batches: Iterable[tuple[Arrays, Array]],
    *,
    dtype: Any = np.float64,
) -> list[tuple[float, dict[str, np.ndarray]]]:
    """Train on ``(inputs, target)`` batches; nothing is dropped out.

    For every batch the loss before its step and all weights after it, running
    statistics of batch norms among them.
    """
    state = OptimizerState()
    current = {path: np.asarray(array, dtype) for path, array in weights.items()}
    result = []
    for inputs, target in batches:
        value, slopes, trace = gradients(
            graph, training.loss, current, inputs, target, dtype=dtype
        )
        state, current = optimizer_step(training.optimizer, state, current, slopes)
        current |= trace.running
        result.append((value, dict(current)))
    return result


# --- Initial weights ------------------------------------------------------------------


def fans(weight: WeightType) -> tuple[int, int]:
    """Fan in and fan out of a stored weight; see ``recipe.GlorotUniform``."""
    sizes: Any = dict(zip(weight.axes, weight.shape, strict=True))
    pairs = {"GH": ("H", "G"), "GI": ("I", "G"), "VF": ("V", "F")}
    into, out = pairs.get(weight.axes, ("I", "O"))
    if into not in sizes or out not in sizes:
        raise UserError(
            f"a weight with the axes {weight.axes!r} has no fans: Glorot's "
            "initial weights are for kernels"
        )
    space = math.prod(size for a, size in sizes.items() if a not in (into, out))
    return sizes[into] * space, sizes[out] * space


def _drawn(
    initializer: recipe.Initializer,
    weight: WeightType,
    generator: np.random.Generator,
) -> np.ndarray:
    shape: Any = weight.shape
    if type(initializer) is recipe.Zeros:
        return np.zeros(shape)
    if type(initializer) is recipe.Ones:
        return np.ones(shape)
    if type(initializer) is recipe.GlorotUniform:
        limit = math.sqrt(6 / sum(fans(weight)))
    elif type(initializer) is recipe.Uniform:
        limit = initializer.limit
    else:
        raise UserError(
            f"the reference has no initializer {type(initializer).__name__}"
        )
    return generator.uniform(-limit, limit, shape)


def initial_weights(
    graph: Graph, initializers: recipe.Initializers, seed: int, dtype: Any = np.float32
) -> dict[str, np.ndarray]:
    """Initial weights by path, drawn in order of computation from one generator."""
    generator = np.random.default_rng(seed)
    result = {
        path: _drawn(initializers.of(weight.role), weight, generator).astype(dtype)
        for path, weight in graph.weights().items()
    }
    for node in graph.flat().nodes:
        if isinstance(node.op, ops.LSTM):
            units: Any = node.op.units
            for name in ("bias", "bias_back"):
                path = f"{node.name}.{name}"
                if path in result:
                    place = node.op.gates.index("f") * units
                    result[path][place : place + units] = node.op.forget_bias
    return result

"""Caffe's files: a prototxt as a graph, a caffemodel as its weights, a solver.

They are parsed by the protobuf package (``pip install 'netglot[caffe]'``). What is read
is the network that is run forward: what feeds it, measures it or trains it is left out.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import netglot
from netglot import ops
from netglot.errors import UserError
from netglot.graph import Builder, Graph, Value
from netglot.recipe import SGD, Adam, Optimizer

#: Layers that are no part of the network itself.
_OUTSIDE = ("Accuracy", "EuclideanLoss", "Silence", "SoftmaxWithLoss")
#: Layers that read data; what these look like stands in no prototxt.
_DATA = ("Data", "DummyData", "HDF5Data", "ImageData", "MemoryData", "WindowData")
#: Letters of a value by the number of its axes.
_AXES = {1: "N", 2: "NF", 3: "NTF", 4: "NCHW", 5: "NCDHW"}


@dataclass(frozen=True)
class Network:
    """A network, and its weights by path; none where no caffemodel was given."""

    graph: Graph
    weights: Mapping[str, np.ndarray]


def read(
    prototxt: Path | str,
    caffemodel: Path | str | None = None,
    shape: tuple[int, ...] = (),
) -> Network:
    """The network of a prototxt, with the weights of a caffemodel.

    ``shape`` is that of an observation, for a prototxt whose data layer does not tell
    it. Raises ``UserError`` for files that cannot be read and for layers that are none
    of our operations.
    """
    messages = _messages()
    net = _parsed(Path(prototxt), messages.NetParameter())
    arrays: dict[str, list[np.ndarray]] = {}
    if caffemodel is not None:
        model = messages.NetParameter()
        try:
            model.ParseFromString(Path(caffemodel).read_bytes())
        except Exception as error:
            raise UserError(f"{caffemodel} is not a caffemodel: {error}") from error
        arrays = {
            layer.name: [
                np.array(blob.data, np.float32).reshape(_dims(blob))
                for blob in layer.blobs
            ]
            for layer in model.layer
        }
    return _Reader(Path(prototxt), net, arrays, shape).read()


def read_solver(prototxt: Path | str) -> Optimizer:
    """The optimizer of a solver; ``UserError`` for what a recipe cannot say."""
    path = Path(prototxt)
    told = _parsed(path, _messages().SolverParameter())
    for name, usual in (
        ("lr_policy", "fixed"),
        ("iter_size", 1),
        ("clip_gradients", -1),
        ("regularization_type", "L2"),
    ):
        if told.HasField(name) and getattr(told, name) != usual:
            raise UserError(f"{path}: {name} {getattr(told, name)} cannot be said here")
    rate, decay = _short(told.base_lr), _short(told.weight_decay)
    if told.type == "Adam" and not decay:
        betas = _short(told.momentum), _short(told.momentum2)
        return Adam(rate, *betas, _short(told.delta), epsilon_form="before")
    if told.type in ("SGD", "Nesterov"):
        return SGD(rate, _short(told.momentum), told.type == "Nesterov", decay)
    raise UserError(f"{path}: a solver of type {told.type} cannot be said here")


@functools.cache
def _messages() -> Any:
    # The file that the environment of Caffe's programs has as well.
    shims = Path(netglot.__file__).parent / "runtime" / "shims"
    spec = importlib.util.spec_from_file_location(
        "netglot_caffe_pb2", shims / "caffe" / "proto" / "caffe_pb2.py"
    )
    assert spec is not None and spec.loader is not None
    messages = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(messages)
    except ImportError as error:
        raise UserError(
            "Files of Caffe are parsed by the package protobuf: "
            "pip install 'netglot[caffe]'."
        ) from error
    return messages


def _parsed(path: Path, message: Any) -> Any:
    from google.protobuf import text_format

    try:
        return text_format.Parse(path.read_text(), message)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    except text_format.ParseError as error:
        raise UserError(f"{path}: {error}") from error


def _short(value: float) -> float:
    """The number that was written: a float of the message has 24 bits."""
    return float(np.format_float_positional(np.float32(value), trim="-"))


def _dims(blob: Any) -> tuple[int, ...]:
    if blob.HasField("shape"):
        return tuple(blob.shape.dim)
    return blob.num, blob.channels, blob.height, blob.width


def _pair(message: Any, name: str, count: int, default: int) -> tuple[int, ...]:
    """A size per axis, however it is told."""
    stem = "kernel" if name == "kernel_size" else name
    if message.HasField(f"{stem}_h"):
        return getattr(message, f"{stem}_h"), getattr(message, f"{stem}_w")
    told = getattr(message, name)
    if not hasattr(told, "append"):
        return (told,) * count
    values = tuple(told) or (default,)
    return values * count if len(values) == 1 else values


class _Reader:
    """Adds layer after layer to a graph."""

    def __init__(
        self,
        path: Path,
        net: Any,
        arrays: Mapping[str, list[np.ndarray]],
        shape: tuple[int, ...],
    ) -> None:
        self.path, self.shape, self.arrays = path, shape, arrays
        test = 1
        self.layers = [
            layer
            for layer in net.layer
            if (not layer.include or any(_holds(r, test) for r in layer.include))
            and not any(_holds(r, test) for r in layer.exclude)
            and layer.type not in _OUTSIDE
        ]
        self.net = net
        self.builder = Builder(net.name or path.stem.replace("-", "_"))
        self.values: dict[str, Value] = {}
        self.weights: dict[str, np.ndarray] = {}

    def read(self) -> Network:
        for name, dims in self._inputs():
            axes = _AXES[len(dims) + 1]
            self.values[name] = self.builder.input(name, axes, dims)
        last = ""
        done: set[int] = set()
        for i, layer in enumerate(self.layers):
            if layer.type == "Input" or layer.type in _DATA or i in done:
                continue
            if layer.type not in _RULES:
                self.fail(layer, f"netglot has no operation for {layer.type}")
            done |= _RULES[layer.type](self, i, layer) or set()
            last = layer.top[0]
        if not last:
            raise UserError(f"{self.path} has no layers.")
        read = {b for x in self.layers for b in x.bottom if b not in x.top}
        ends = [top for top in self.values if top not in read]
        graph = self.builder.graph(*(self.values[top] for top in ends or [last]))
        return Network(graph, self.weights)

    def _inputs(self) -> list[tuple[str, tuple[int, ...]]]:
        """Inputs that the network reads, with the sizes of an observation."""
        given: dict[str, tuple[int, ...]] = {}
        shapes = [tuple(shape.dim) for shape in self.net.input_shape]
        told = tuple(self.net.input_dim)
        shapes += [told[i : i + 4] for i in range(0, len(told), 4)]
        given.update(zip(self.net.input, shapes, strict=False))
        for layer in self.layers:
            if layer.type == "Input":
                dims = [tuple(shape.dim) for shape in layer.input_param.shape]
                given.update(zip(layer.top, dims, strict=False))
            elif layer.type in _DATA:
                if not self.shape:
                    self.fail(layer, "its data are elsewhere: give their shape")
                given[layer.top[0]] = (0, *self.shape)
        read = {bottom for layer in self.layers for bottom in layer.bottom}
        return [(name, dims[1:]) for name, dims in given.items() if name in read]

    def fail(self, layer: Any, why: str) -> None:
        raise UserError(f"{self.path}, layer {layer.name} ({layer.type}): {why}.")

    def x(self, layer: Any, index: int = 0) -> Value:
        return self.values[layer.bottom[index]]

    def letter(self, layer: Any, axis: int) -> str:
        return self.x(layer).type.axes[axis]

    def add(self, layer: Any, op: ops.Op, *inputs: Value) -> None:
        """The operation of a layer, whose first top it is."""
        made = self.builder.add(
            op, *(inputs or (self.x(layer),)), name=layer.name, source=str(self.path)
        )
        tops = made if isinstance(made, tuple) else (made,)
        self.values.update(zip(layer.top, tops, strict=False))

    def before(self, layer: Any, op: ops.Op, what: str) -> Value:
        """An operation that a layer does not name, before its own."""
        name = f"{layer.name}_{what}"
        added: Value = self.builder.add(op, self.x(layer), name=name)
        return added

    def hold(self, layer: Any, *names: str) -> None:
        """The weights of a layer, in the order of the caffemodel."""
        if not self.arrays:
            return
        held = self.arrays.get(layer.name, [])
        if len(held) < len(names):
            self.fail(layer, f"the caffemodel has {len(held)} of {len(names)} arrays")
        for name, array in zip(names, held, strict=False):
            self.weights[f"{layer.name}.{name}"] = array

    def readers(self, i: int) -> list[Any]:
        """Layers that read what layer i gives, until another writes over that."""
        top, found = self.layers[i].top[0], []
        for layer in self.layers[i + 1 :]:
            if top in layer.bottom:
                found.append(layer)
            if top in layer.top:
                break
        return found


def _holds(rule: Any, phase: int) -> bool:
    return not rule.HasField("phase") or rule.phase == phase


def _inner_product(r: _Reader, i: int, layer: Any) -> None:
    p, x = layer.inner_product_param, r.x(layer)
    if p.transpose:
        r.fail(layer, "its kernel is stored transposed")
    if p.axis != len(x.type.axes) - 1:
        if p.axis != 1:
            r.fail(layer, "it joins some axes and keeps others")
        x = r.before(layer, ops.Flatten(), "flatten")
    r.add(layer, ops.Dense(p.num_output, p.bias_term), x)
    r.hold(layer, *("kernel", "bias")[: 1 + p.bias_term])


def _convolution(r: _Reader, i: int, layer: Any) -> None:
    p, count = layer.convolution_param, len(r.x(layer).type.axes) - 2
    kind: Any = ops.Conv if layer.type == "Convolution" else ops.ConvTranspose
    op = kind(
        p.num_output,
        _pair(p, "kernel_size", count, 0),
        stride=_pair(p, "stride", count, 1),
        padding=_pair(p, "pad", count, 0),
        dilation=(tuple(p.dilation) or (1,)) * (1 if len(p.dilation) > 1 else count),
        groups=p.group,
        bias=p.bias_term,
    )
    r.add(layer, op)
    r.hold(layer, *("kernel", "bias")[: 1 + p.bias_term])


def _pooling(r: _Reader, i: int, layer: Any) -> None:
    p, x = layer.pooling_param, r.x(layer)
    if p.pool == p.STOCHASTIC:
        r.fail(layer, "netglot has no stochastic pooling")
    mean = p.pool == p.AVE
    if p.global_pooling:
        # Caffe keeps two axes of size 1, which a layer that flattens does not see.
        flat = all(n.type in ("Flatten", "InnerProduct") for n in r.readers(i))
        reduce: Any = ops.ReduceMean if mean else ops.ReduceMax
        whole: Any = ops.GlobalAvgPool if mean else ops.GlobalMaxPool
        r.add(layer, whole() if flat else reduce("HW", keep=True))
        return
    kernel, stride = _pair(p, "kernel_size", 2, 0), _pair(p, "stride", 2, 1)
    pad = _pair(p, "pad", 2, 0)
    sizes: Any = x.type.shape[2:]
    rows = zip(sizes, kernel, stride, pad, strict=True)
    hangs = any((size + 2 * a - k) % s for size, k, s, a in rows)
    ceil = hangs and p.round_mode == p.CEIL
    if mean:
        counted = any(pad)
        op = ops.AvgPool(kernel, stride, pad, ceil, count_padding=counted)
    else:
        op = ops.MaxPool(kernel, stride, pad, ceil)  # type: ignore[assignment]
    r.add(layer, op)


def _batch_norm(r: _Reader, i: int, layer: Any) -> set[int]:
    """With the layer after it that scales, where that alone reads it."""
    p, readers = layer.batch_norm_param, r.readers(i)
    after: Any = readers[0] if len(readers) == 1 else None
    affine = after is not None and after.type in ("Scale", "Bias")
    scale = affine and after.type == "Scale"
    shift = affine and (after.type == "Bias" or after.scale_param.bias_term)
    momentum, epsilon = _short(p.moving_average_fraction), _short(p.eps)
    r.add(layer, ops.BatchNorm(momentum, epsilon, scale, shift, unbiased=True))
    if r.arrays:
        mean, variance, count = r.arrays[layer.name]
        by = float(count.ravel()[0]) or 1.0
        r.weights[f"{layer.name}.mean"] = mean / by
        r.weights[f"{layer.name}.variance"] = variance / by
        if affine:
            names = [n for n, has in (("scale", scale), ("shift", shift)) if has]
            for name, array in zip(names, r.arrays[after.name], strict=True):
                r.weights[f"{layer.name}.{name}"] = array
    if not affine:
        return set()
    r.values[after.top[0]] = r.values[layer.top[0]]
    return {r.layers.index(after)}


def _flatten(r: _Reader, i: int, layer: Any) -> None:
    if len(r.x(layer).type.axes) == 2:
        # What was pooled over all of space is flat already.
        r.values[layer.top[0]] = r.x(layer)
        return
    if (layer.flatten_param.axis, layer.flatten_param.end_axis) != (1, -1):
        r.fail(layer, "it keeps some axes")
    r.add(layer, ops.Flatten())


def _eltwise(r: _Reader, i: int, layer: Any) -> None:
    p = layer.eltwise_param
    kinds: dict[int, Any] = {p.SUM: ops.Add, p.PROD: ops.Multiply, p.MAX: ops.Maximum}
    kind, factors = kinds[p.operation], list(p.coeff)
    if factors == [1, -1]:
        kind = ops.Subtract
    elif any(factor != 1 for factor in factors):
        r.fail(layer, "it is a weighted sum")
    if len(layer.bottom) != 2:
        r.fail(layer, "it reads more than two values")
    r.add(layer, kind(), r.x(layer), r.x(layer, 1))


def _power(r: _Reader, i: int, layer: Any) -> None:
    p = layer.power_param
    plain: dict[float, ops.Op] = {2: ops.Square(), 0.5: ops.Sqrt()}
    if p.power == 1:
        op: ops.Op = ops.Scale(_short(p.scale), _short(p.shift))
        r.add(layer, ops.Negative() if op == ops.Scale(-1.0, 0.0) else op)
    elif p.power in plain and (p.scale, p.shift) == (1, 0):
        r.add(layer, plain[p.power])
    else:
        r.fail(layer, "it is no power of 1, 2 or a half")


def _slice(r: _Reader, i: int, layer: Any) -> None:
    p = layer.slice_param
    letter = r.letter(layer, p.axis)
    ends = [0, *p.slice_point, r.x(layer).type.size(letter)]
    if not p.slice_point:
        step = ends[-1] // len(layer.top)
        ends = list(range(0, ends[-1] + 1, step))
    sizes = tuple(b - a for a, b in itertools.pairwise(ends))
    r.add(layer, ops.Split(letter, sizes))


def _reshape(r: _Reader, i: int, layer: Any) -> None:
    dims = tuple(layer.reshape_param.shape.dim)
    if len(dims) < 2 or dims[0] != 0 or min(dims[1:]) < 1:
        r.fail(layer, "it does not keep the observations, or leaves sizes open")
    r.add(layer, ops.Reshape(_AXES[len(dims)][1:], dims[1:]))


def _reduction(r: _Reader, i: int, layer: Any) -> None:
    p = layer.reduction_param
    kinds: dict[int, Any] = {p.SUM: ops.ReduceSum, p.MEAN: ops.ReduceMean}
    if p.operation not in kinds or p.axis < 1 or p.coeff != 1:
        r.fail(layer, "it reduces observations, or by neither sum nor mean")
    r.add(layer, kinds[p.operation](r.x(layer).type.axes[p.axis :]))


def _embed(r: _Reader, i: int, layer: Any) -> None:
    p, x = layer.embed_param, r.x(layer)
    if p.bias_term:
        r.fail(layer, "it has a bias")
    r.add(layer, ops.Embedding(p.input_dim, p.num_output), x)
    r.hold(layer, "table")


def _relu(r: _Reader, i: int, layer: Any) -> None:
    slope = _short(layer.relu_param.negative_slope)
    r.add(layer, ops.LeakyRelu(slope) if slope else ops.Relu())


def _plain(make: Callable[[Any], ops.Op]) -> Callable[[_Reader, int, Any], None]:
    """A layer that is one operation of one value."""
    return lambda r, i, layer: r.add(layer, make(layer))


def _natural(op: ops.Op) -> Callable[[_Reader, int, Any], None]:
    def rule(r: _Reader, i: int, layer: Any) -> None:
        p = layer.exp_param if layer.type == "Exp" else layer.log_param
        if (p.base, p.scale, p.shift) != (-1, 1, 0):
            r.fail(layer, "its base is not e, or it scales")
        r.add(layer, op)

    return rule


def _softmax(r: _Reader, i: int, layer: Any) -> None:
    r.add(layer, ops.Softmax(r.letter(layer, layer.softmax_param.axis)))


def _concat(r: _Reader, i: int, layer: Any) -> None:
    values = [r.values[bottom] for bottom in layer.bottom]
    r.add(layer, ops.Concat(r.letter(layer, layer.concat_param.axis)), *values)


_RULES: dict[str, Callable[[_Reader, int, Any], set[int] | None]] = {
    "AbsVal": _plain(lambda layer: ops.Abs()),
    "BatchNorm": _batch_norm,
    "BNLL": _plain(lambda layer: ops.Softplus()),
    "Concat": _concat,
    "Convolution": _convolution,
    "Deconvolution": _convolution,
    "Dropout": _plain(lambda x: ops.Dropout(_short(x.dropout_param.dropout_ratio))),
    "ELU": _plain(lambda layer: ops.Elu(_short(layer.elu_param.alpha))),
    "Eltwise": _eltwise,
    "Embed": _embed,
    "Exp": _natural(ops.Exp()),
    "Flatten": _flatten,
    "InnerProduct": _inner_product,
    "Log": _natural(ops.Log()),
    "Pooling": _pooling,
    "Power": _power,
    "ReLU": _relu,
    "Reduction": _reduction,
    "Reshape": _reshape,
    "Sigmoid": _plain(lambda layer: ops.Sigmoid()),
    "Slice": _slice,
    "Softmax": _softmax,
    "TanH": _plain(lambda layer: ops.Tanh()),
}

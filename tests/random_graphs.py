"""Random networks: drawn with Hypothesis, checked in any framework's program.

``graphs()`` draws valid networks of every operation in ``ops.py``, with attributes from
their whole valid range; small, odd and mostly unequal sizes. ``Examiner`` has the
programs of a network run and compares them with the reference: every value of the
forward pass, and every gradient of those that end in a classifier.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from cases import VOCABULARY, Case
from netglot import backends, reference
from netglot.check.compare import VALUES, relative
from netglot.check.gate import Answer, Batches, Verdict, answer, gate
from netglot.check.gradients import descending, of_gradients
from netglot.check.values import traced
from netglot.data import DataSpec
from netglot.emit import GapError, Settings, emit
from netglot.graph import Builder, Graph, Node, Value
from netglot.ops import (
    GRU,
    LSTM,
    Abs,
    Add,
    AvgPool,
    BatchNorm,
    Clip,
    Concat,
    Conv,
    ConvTranspose,
    Dense,
    Divide,
    Dropout,
    Elu,
    Embedding,
    Exp,
    Flatten,
    Gelu,
    GlobalAvgPool,
    GlobalMaxPool,
    GroupNorm,
    LayerNorm,
    LeakyRelu,
    Log,
    LogSoftmax,
    MatMul,
    Maximum,
    MaxPool,
    Minimum,
    MultiHeadAttention,
    Multiply,
    Negative,
    Op,
    Pad,
    ReduceMax,
    ReduceMean,
    ReduceSum,
    Relu,
    Reshape,
    RMSNorm,
    Scale,
    Selu,
    ShapeError,
    Sigmoid,
    Silu,
    SimpleRNN,
    Slice,
    Softmax,
    Softplus,
    Split,
    Sqrt,
    Square,
    Subtract,
    Tanh,
    Transpose,
    Type,
    Upsample,
)
from netglot.recipe import SGD, Recipe, SoftmaxCrossEntropy
from netglot.runtime import envs
from netglot.runtime.envs import Pace
from netglot.runtime.jobs import Worker
from netglot.workloads import Workload

Draw = Callable[[Any], Any]

#: Elements per observation that no value has more of.
LARGEST = 400
EPSILONS = (1e-5, 1e-3, 0.02)

# --- Attributes -----------------------------------------------------------------------


def _whole(draw: Draw, low: int, high: int) -> int:
    return int(draw(st.integers(low, high)))


def _pick(draw: Draw, *choices: Any) -> Any:
    """One of the choices; shrinks towards the first."""
    return draw(st.sampled_from(choices))


def _flag(draw: Draw) -> bool:
    return bool(draw(st.booleans()))


def _number(draw: Draw, low: float, high: float) -> float:
    """A number with two decimals, so that programs are readable."""
    return _whole(draw, round(low * 100), round(high * 100)) / 100


def _space(type_: Type) -> str:
    """The spatial letters of an image; none of another value."""
    rest = type_.axes[2:]
    return rest if type_.axes[:2] == "NC" and rest in ("W", "HW", "DHW") else ""


def _count(type_: Type) -> int:
    return math.prod(type_.shape[1:])  # type: ignore[arg-type]


def _letter(draw: Draw, type_: Type) -> str:
    return str(_pick(draw, *type_.axes[1:]))


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def _images(draw: Draw, type_: Type) -> Op | None:
    """A convolution with every attribute of its own."""
    sizes = [type_.size(a) for a in _space(type_)]
    channels = type_.size("C")
    groups = _pick(draw, *_divisors(channels))
    kernel, padding, dilation = [], [], []
    for size in sizes:
        pads = (_pick(draw, 0, 0, 1, 2), _pick(draw, 0, 0, 1, 2))
        room = size + sum(pads)
        kernel.append(_whole(draw, 1, min(3, room)))
        most = (room - 1) // (kernel[-1] - 1) if kernel[-1] > 1 else 2
        dilation.append(_pick(draw, 1, 1, min(2, most)))
        padding.append(pads)
    stride = _strides(draw, len(sizes))
    if _flag(draw):
        # More often what a layer can say: the same on both sides, one of both.
        padding = [(min(p), min(p)) for p in padding]
        room = [n + sum(p) for n, p in zip(sizes, padding, strict=True)]
        kernel = [min(k, n) for k, n in zip(kernel, room, strict=True)]
        dilation = [1] * len(sizes)
    return Conv(
        groups * _whole(draw, 1, max(1, 4 // groups)),
        tuple(kernel),
        stride,
        tuple(padding),
        tuple(dilation),
        groups,
        _flag(draw),
    )


def _strides(draw: Draw, count: int) -> tuple[int, ...]:
    if _flag(draw):
        return (_pick(draw, 1, 1, 2, 3),) * count
    return tuple(_whole(draw, 1, 3) for _ in range(count))


def _transposed(draw: Draw, type_: Type) -> Op | None:
    sizes = [type_.size(a) for a in _space(type_)]
    channels = type_.size("C")
    groups = _pick(draw, 1, 1, *_divisors(channels))
    stride = _strides(draw, len(sizes))
    kernel, padding, more, dilation = [], [], [], []
    even = _flag(draw)
    for size, step in zip(sizes, stride, strict=True):
        kernel.append(_whole(draw, 1, 3))
        dilation.append(1 if even else _pick(draw, 1, 1, 2))
        more.append(_whole(draw, 0, max(step, dilation[-1]) - 1))
        whole = (size - 1) * step + dilation[-1] * (kernel[-1] - 1) + 1 + more[-1]
        most = min(2, (whole - 1) // 2)
        before = _whole(draw, 0, most)
        padding.append((before, before if even else _whole(draw, 0, most)))
    return ConvTranspose(
        groups * _whole(draw, 1, max(1, 4 // groups)),
        tuple(kernel),
        stride,
        tuple(padding),
        tuple(more),
        tuple(dilation),
        groups,
        _flag(draw),
    )


def _pool(kind: type[MaxPool]) -> Callable[[Draw, Type], Op | None]:
    def make(draw: Draw, type_: Type) -> Op | None:
        sizes = [type_.size(a) for a in _space(type_)]
        kernel, padding = [], []
        even = _flag(draw)
        for size in sizes:
            k = _whole(draw, 1, min(3, size))
            # A window that lies in the padding alone has no maximum and no mean.
            before = _whole(draw, 0, k // 2 if even else k - 1)
            padding.append((before, before if even else _whole(draw, 0, k - 1)))
            kernel.append(k)
        more = {"count_padding": _flag(draw)} if kind is AvgPool else {}
        stride = None if _flag(draw) else _strides(draw, len(sizes))
        return kind(tuple(kernel), stride, tuple(padding), _flag(draw), **more)

    return make


def _batch_norm(draw: Draw, type_: Type) -> Op:
    return BatchNorm(
        _pick(draw, 0.9, 0.99, 0.7, 0.25),
        _pick(draw, *EPSILONS),
        *_affine(draw),
        unbiased=_flag(draw),
    )


def _affine(draw: Draw) -> tuple[bool, bool]:
    return _pick(draw, (True, True), (False, False), (True, False), (False, True))


def _group_norm(draw: Draw, type_: Type) -> Op | None:
    several = [n for n in _divisors(type_.size("C")) if n < _count(type_)]
    if not several:
        return None
    groups = _pick(draw, *several)
    return GroupNorm(groups, _pick(draw, *EPSILONS), *_affine(draw))


def _recurrent(draw: Draw, type_: Type) -> Op:
    kind = _pick(draw, SimpleRNN, LSTM, GRU)
    words: dict[str, Any] = {
        "activation": _pick(draw, "tanh", "tanh", "tanh", "sigmoid", "relu"),
        "bias": _pick(draw, "two", "one", "none"),
        "direction": _pick(draw, "forward", "backward", "both"),
        "returns": _pick(draw, "last", "sequence"),
    }
    if kind is GRU:
        words["reset"] = _pick(draw, "after", "after", "before")
        if not _whole(draw, 0, 4):
            words["bias"] = "candidate"
    if kind is LSTM:
        words["forget_bias"] = _pick(draw, 1.0, 1.0, 0.0, 0.5)
    return kind(_whole(draw, 1, 3), **words)  # type: ignore[no-any-return]


def _upsample(draw: Draw, type_: Type) -> Op | None:
    scale = tuple(_whole(draw, 1, 3) for _ in _space(type_))
    return Upsample(scale, _pick(draw, "nearest", "bilinear"))


def _slice(draw: Draw, type_: Type) -> Op | None:
    letter = _letter(draw, type_)
    size = type_.size(letter)
    start = _whole(draw, -size, size - 1)
    stop = _pick(draw, None, _whole(draw, -size, size))
    step = _pick(draw, 1, 1, 2, 3, -1)
    op = Slice(letter, start, stop, step)
    try:
        op.infer(type_)
    except ShapeError:
        return Slice(letter, 0, None, step if step > 0 else 1)
    return op


def _reshape(draw: Draw, type_: Type) -> Op:
    axes = _pick(draw, "F", "TF", "CW", "CHW", "CDHW", "HWF")
    rest, shape = _count(type_), []
    for _ in axes[1:]:
        shape.append(_pick(draw, *reversed(_divisors(rest))))
        rest //= shape[-1]
    return Reshape(axes, (*shape, rest))


def _reduce(draw: Draw, type_: Type) -> Op:
    keep = _flag(draw)
    letters = draw(st.permutations(type_.axes[1:]))
    most = len(letters) if keep else len(letters) - 1
    over = "".join(letters[: _whole(draw, 1, most)])
    return _pick(draw, ReduceMean, ReduceSum, ReduceMax)(over, keep)  # type: ignore


def _pad(draw: Draw, type_: Type) -> Op:
    pads = tuple((_whole(draw, 0, 2), _whole(draw, 0, 2)) for _ in _space(type_))
    return Pad(pads, _pick(draw, 0.0, -0.5, 1.5))


#: Ways to map a value element by element. Where a function is not defined, or too
#: steep, everywhere, others before it see to what it is given.
MAPS: tuple[Callable[[Draw], tuple[Op, ...]], ...] = (
    lambda draw: (Relu(),),
    lambda draw: (Tanh(),),
    lambda draw: (Sigmoid(),),
    lambda draw: (LeakyRelu(_number(draw, 0.01, 0.9)),),
    lambda draw: (Elu(_pick(draw, 1.0, _number(draw, 0.1, 2))),),
    lambda draw: (Selu(),),
    lambda draw: (Gelu(_flag(draw)),),
    lambda draw: (Silu(),),
    lambda draw: (Softplus(),),
    lambda draw: (Negative(),),
    lambda draw: (Abs(),),
    lambda draw: (Square(),),
    lambda draw: (Dropout(_number(draw, 0, 0.9)),),
    lambda draw: (Scale(_number(draw, -2, 2), _number(draw, -1, 1)),),
    lambda draw: (Clip(_number(draw, -1, 0), _number(draw, 0.1, 6)),),
    lambda draw: (_pick(draw, Tanh(), Clip(-2.0, 1.5)), Exp()),
    lambda draw: (Square(), Scale(1.0, 0.5), Log()),
    lambda draw: (Square(), Scale(1.0, 0.5), Sqrt()),
)


def _same(draw: Draw, type_: Type) -> tuple[Op, ...]:
    """Operations after which a value has the type that it had."""
    choices: list[Callable[[Draw], tuple[Op, ...]]] = [_mapped]
    if type_.axes.endswith("F"):
        width = type_.size("F")
        choices.append(lambda draw: (Dense(width, _flag(draw)),))
    if _has_several_features(type_):
        choices.append(lambda draw: (LayerNorm(_pick(draw, *EPSILONS)),))
    if _space(type_):
        choices.append(lambda draw: (_same_conv(draw, type_, type_.size("C")),))
    if type_.axes == "NTF":
        width = type_.size("F")
        words = {"returns": "sequence", "bias": "two"}
        choices.append(lambda draw: (GRU(width, **words),))
    return _pick(draw, *choices)(draw)  # type: ignore[no-any-return]


def _same_conv(draw: Draw, type_: Type, channels: Any) -> Op:
    """A convolution that leaves the sizes of space."""
    kernel = tuple(_pick(draw, 1, 2, 3) for _ in _space(type_))
    pads = tuple(((k - 1) // 2, k - 1 - (k - 1) // 2) for k in kernel)
    return Conv(channels, kernel, 1, pads, bias=_flag(draw))


def _mapped(draw: Draw) -> tuple[Op, ...]:
    return _pick(draw, *MAPS)(draw)  # type: ignore[no-any-return]


# --- Steps ----------------------------------------------------------------------------


@dataclass
class Sketch:
    """A network while it is being drawn: its builder, and every value so far."""

    net: Builder
    values: list[Value] = field(default_factory=list)

    def add(self, op: Op, *inputs: Value) -> Any:
        """As ``Builder.add``; remembers the value."""
        made = self.net.add(op, *inputs)
        self.values += made if isinstance(made, tuple) else (made,)
        return made

    def chain(self, ops: Sequence[Op], x: Value) -> Value:
        """One after the other."""
        for op in ops:
            x = self.add(op, x)
        return x


Step = Callable[[Draw, Sketch, Value], Value]


def _one(make: Callable[[Draw, Type], Op | None]) -> Step:
    """A step that is one operation; none where its output would be too large."""

    def step(draw: Draw, sketch: Sketch, x: Value) -> Value:
        op = make(draw, x.type)
        if op is None or _count(op.infer(x.type)[0]) > LARGEST:
            return x
        return sketch.add(op, x)  # type: ignore[no-any-return]

    return step


def _branch(draw: Draw, sketch: Sketch, x: Value) -> Value:
    """A value of the same type: earlier, or computed beside ``x``."""
    alike = [v for v in sketch.values if v.type.replace() == x.type.replace()]
    if _flag(draw):
        return sketch.chain(_same(draw, x.type), _pick(draw, *alike))
    return _pick(draw, *reversed(alike))  # type: ignore[no-any-return]


def _narrow(draw: Draw, sketch: Sketch, x: Value) -> Value:
    """The same with a size of 1 along some letters: it will be repeated."""
    letters = draw(st.permutations(x.type.axes[1:]))
    if _flag(draw):
        return sketch.add(Slice(letters[0], -1), x)  # type: ignore[no-any-return]
    over = "".join(letters[: _whole(draw, 1, len(letters))])
    return sketch.add(_pick(draw, ReduceMean, ReduceMax)(over, keep=True), x)  # type: ignore


def _join(draw: Draw, sketch: Sketch, x: Value) -> Value:
    """Arithmetic with two values."""
    op = _pick(draw, Add(), Multiply(), Subtract(), Maximum(), Minimum(), Divide())
    a, b = x, _branch(draw, sketch, x)
    if not _whole(draw, 0, 3):
        b = _narrow(draw, sketch, b)
    if _flag(draw):
        a, b = b, a
    if isinstance(op, Divide):
        b = sketch.chain((Square(), Scale(1.0, 1.0)), b)
    return sketch.add(op, a, b)  # type: ignore[no-any-return]


def _concat(draw: Draw, sketch: Sketch, x: Value) -> Value:
    letter = _letter(draw, x.type)
    parts = [x, *(_branch(draw, sketch, x) for _ in range(_whole(draw, 1, 2)))]
    if _flag(draw) and x.type.size(letter) > 1:
        parts[-1] = sketch.add(Slice(letter, 1), parts[-1])
    if _count(x.type) * len(parts) > LARGEST:
        return x
    return sketch.add(Concat(letter), *draw(st.permutations(parts)))  # type: ignore


def _split(draw: Draw, sketch: Sketch, x: Value) -> Value:
    """Pieces, of which one goes on, or all in another order."""
    letter = _letter(draw, x.type)
    size = x.type.size(letter)
    if size < 2:
        return x
    first = _whole(draw, 1, size - 1)
    sizes = [first, size - first]
    if sizes[1] > 1 and _flag(draw):
        middle = _whole(draw, 1, sizes[1] - 1)
        sizes[1:] = [middle, sizes[1] - middle]
    pieces = sketch.add(Split(letter, tuple(sizes)), x)
    if _flag(draw):
        return _pick(draw, *pieces)  # type: ignore[no-any-return]
    pieces = [sketch.chain(_mapped(draw), pieces[0]), *pieces[1:]]
    return sketch.add(Concat(letter), *reversed(pieces))  # type: ignore[no-any-return]


def _transpose(draw: Draw, sketch: Sketch, x: Value) -> Value:
    """Another order of the axes; the batch moves only for a while."""
    if not _whole(draw, 0, 4):
        away = "".join(draw(st.permutations(x.type.axes)))
        x = sketch.chain(_mapped(draw), sketch.add(Transpose(away), x))
    rest = draw(st.permutations(x.type.axes.replace("N", "")))
    return sketch.add(Transpose("N" + "".join(rest)), x)  # type: ignore[no-any-return]


def _matmul(draw: Draw, sketch: Sketch, x: Value) -> Value:
    """With a value of the same type, the last two axes of one of them turned."""
    *rest, rows, columns = x.type.axes
    if len(rest) < 1 or "S" in x.type.axes:
        return x
    b = _branch(draw, sketch, x)
    if _flag(draw):
        b = sketch.add(Slice(rows, 0, _whole(draw, 1, x.type.size(rows))), b)
    turned = _flag(draw)
    if not turned:
        b = sketch.add(Transpose("".join((*rest, columns, rows))), b)
    y = MatMul(turned).infer(x.type, b.type)[0]
    if len(set(y.axes)) < len(y.axes) or _count(y) > LARGEST:
        return x
    return sketch.add(MatMul(turned), x, b)  # type: ignore[no-any-return]


def _attention(draw: Draw, sketch: Sketch, x: Value) -> Value:
    heads = _pick(draw, *_divisors(x.type.size("F")))
    given = [x]
    for _ in range(_pick(draw, 0, 0, 1, 2)):
        other = given[1] if len(given) > 1 else x
        if len(given) == 1 and x.type.size("T") > 1 and _flag(draw):
            other = sketch.add(Slice("T", 1), other)
        width = other.type.size("F") + _pick(draw, 0, 0, 1)
        given.append(sketch.add(Dense(width), other))
    causal = _flag(draw) and len(given) == 1
    return sketch.add(  # type: ignore[no-any-return]
        MultiHeadAttention(heads, causal, _flag(draw)), *given
    )


def _block(draw: Draw, sketch: Sketch, x: Value) -> Value:
    """A small block, used once, or several times in a row."""
    letter = "F" if x.type.axes.endswith("F") else "C"
    times = _pick(draw, 0, 1, 2, 3)
    taken = sum(node.name.startswith("part") for node in sketch.net._nodes) + 1
    block = Builder(f"Block{taken}")
    size: Any = x.type.size(letter) if times else _whole(draw, 1, 4)
    width: Any = block.parameter("width") if _flag(draw) else size
    shape: list[Any] = list(x.type.shape[1:])
    place = x.type.axes.index(letter) - 1
    if isinstance(width, int):
        pass
    elif times:
        shape[place] = width
    else:
        shape[place] = None
    if _space(x.type) and _flag(draw):
        shape = [n if i == place else None for i, n in enumerate(shape)]
    first = y = block.input("x", x.type.axes, tuple(shape))
    for _ in range(_whole(draw, 1, 2)):
        same = _same_conv(draw, x.type, width) if _space(x.type) else Dense(width)
        y = block.add(same, y)
        if _flag(draw):
            y = block.add(_batch_norm(draw, y.type), y)
        for op in _mapped(draw):
            y = block.add(op, y)
    if times and _flag(draw):
        y = block.add(Add(), y, first)
    sizes = {} if isinstance(width, int) else {"width": size}
    made = sketch.net.call(block.block(y), x, name=f"part{taken}", times=times, **sizes)
    sketch.values.append(made)
    return made  # type: ignore[no-any-return]


def _anything(type_: Type) -> bool:
    return True


def _has_image(type_: Type) -> bool:
    return bool(_space(type_))


def _has_features(type_: Type) -> bool:
    return type_.axes.endswith("F")


def _has_several_features(type_: Type) -> bool:
    # One number minus its mean is 0, or what rounding leaves of it, times 300.
    return _has_features(type_) and type_.size("F") > 1


def _has_channels(type_: Type) -> bool:
    return "C" in type_.axes


def _is_sequence(type_: Type) -> bool:
    return type_.axes == "NTF"


def _has_several(type_: Type) -> bool:
    return len(type_.axes) > 2


def _dense(draw: Draw, type_: Type) -> Op:
    return Dense(_whole(draw, 1, 6), _flag(draw))


def _layer_norm(draw: Draw, type_: Type) -> Op:
    return LayerNorm(_pick(draw, *EPSILONS), *_affine(draw))


def _rms_norm(draw: Draw, type_: Type) -> Op:
    return RMSNorm(_pick(draw, 1e-6, *EPSILONS), _flag(draw))


def _softmax(draw: Draw, type_: Type) -> Op:
    return _pick(draw, Softmax, LogSoftmax)(_letter(draw, type_))  # type: ignore


def _global(draw: Draw, type_: Type) -> Op:
    return _pick(draw, GlobalAvgPool, GlobalMaxPool)()  # type: ignore[no-any-return]


def _map(draw: Draw, sketch: Sketch, x: Value) -> Value:
    return sketch.chain(_mapped(draw), x)


#: What can come next: how often it is drawn, of what it is possible, what it is.
STEPS: tuple[tuple[int, Callable[[Type], bool], Step], ...] = (
    (4, _anything, _map),
    (2, _has_features, _one(_dense)),
    (5, _has_image, _one(_images)),
    (3, _has_image, _one(_transposed)),
    (2, _has_image, _one(_pool(MaxPool))),
    (3, _has_image, _one(_pool(AvgPool))),
    (1, _has_image, _one(_global)),
    (2, lambda t: "C" in t.axes or "F" in t.axes, _one(_batch_norm)),
    (1, _has_several_features, _one(_layer_norm)),
    (1, _has_features, _one(_rms_norm)),
    (2, _has_channels, _one(_group_norm)),
    (5, _is_sequence, _one(_recurrent)),
    (2, _is_sequence, _attention),
    (2, _anything, _one(_softmax)),
    (4, _anything, _join),
    (2, _anything, _concat),
    (2, _anything, _split),
    (2, _anything, _one(_slice)),
    (1, _has_several, _matmul),
    (2, _anything, _one(_reshape)),
    (1, _has_several, _one(lambda draw, type_: Flatten())),
    (2, _has_several, _transpose),
    (2, _has_several, _one(_reduce)),
    (1, _has_image, _one(_pad)),
    (2, _has_image, _one(_upsample)),
    (2, lambda t: t.axes in ("NF", "NTF") or _has_image(t), _block),
)


def _start(draw: Draw, sketch: Sketch) -> Value:
    """The input: features, an image of 1 to 3 dimensions, a sequence, or words."""
    kind = _pick(draw, "F", "CHW", "CHW", "TF", "TF", "CW", "CDHW", "T")
    high = {1: 7, 2: 7, 3: 6, 4: 4}[len(kind)]
    sizes = st.lists(
        st.integers(1, high), min_size=len(kind), max_size=len(kind), unique=True
    )
    shape = tuple(draw(sizes))
    if kind == "T":
        words = sketch.net.input("words", "NT", shape, "int32")
        width = _whole(draw, 1, 4)
        return sketch.add(Embedding(VOCABULARY, width), words)  # type: ignore
    x = sketch.net.input("x", "N" + kind, shape)
    sketch.values.append(x)
    return x


@st.composite
def graphs(draw: Draw, most: int = 5) -> Graph:
    """A valid network with one input and one output, in at most ``most`` steps.

    Most end in the scores of a classifier (``is_classifier``). Every node is of use to
    the output.
    """
    sketch = Sketch(Builder("random"))
    x = _start(draw, sketch)
    for _ in range(_pick(draw, *range(1, most + 1), *range(most, 1, -1))):
        fitting = [step for n, fits, step in STEPS if fits(x.type) for _ in range(n)]
        x = _pick(draw, *fitting)(draw, sketch, x)
    if x.name in ("x", "words") or _whole(draw, 0, 3):
        if x.type.axes != "NF":
            x = sketch.add(Flatten(), x)
        x = sketch.net.add(Dense(_whole(draw, 2, 4)), x, name="scores")
    return _without_dead_ends(sketch.net.graph(x))


def _without_dead_ends(graph: Graph) -> Graph:
    needed, nodes = set(graph.outputs), list[Node]()
    for node in reversed(graph.nodes):
        if needed & set(node.outputs):
            needed |= set(node.inputs)
            nodes.append(node)
    return dataclasses.replace(graph, nodes=tuple(reversed(nodes)))


def is_classifier(graph: Graph) -> bool:
    """Whether it ends in the scores of some classes."""
    return graph.outputs == ("scores",)


#: A network may take a while to check, and none is kept from one run for the next.
QUIET = {
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}


def sample(count: int, number: int, most: int = 5) -> list[Graph]:
    """``count`` networks, always the same ones for a number."""
    found: list[Graph] = []

    @seed(number)
    @settings(max_examples=count, phases=[Phase.generate], **QUIET)
    @given(graphs(most))
    def collect(graph: Graph) -> None:
        found.append(graph)

    collect()
    return found


# --- What can be asked of a network ---------------------------------------------------

#: Weights and inputs are changed by this much, relatively, and no value or gradient may
#: change by more than that: of a network that would, no 10 digits can be asked.
NUDGE, STEADY = 1e-14, 1e-11
#: A gradient that is less than this share of the largest one of a network vanishes: it
#: is what rounding leaves of sums that are 0, as of a bias before a norm.
VANISHING = 1e-10
#: Below it a loss is the small difference of a score and the logarithm of a sum.
CERTAIN = 1e-4
#: The share of what is allowed that float32 may take up in the reference itself.
SINGLE = 0.1


@dataclass(frozen=True)
class Exam:
    """A workload to be written, and what of its program is compared."""

    kind: str
    workload: Workload
    dtype: str = "float64"


def workload(graph: Graph) -> Workload:
    """A network as a task: a classifier where it ends as one."""
    _, type_ = graph.inputs[0]
    words = type_.dtype.startswith("int")
    size = math.prod(type_.shape[1:])  # type: ignore[arg-type]
    recipe = Recipe(SoftmaxCrossEntropy(), SGD(0.1), batch_size=3, epochs=1)
    return Workload(
        "random",
        "A random network",
        graph,
        recipe if is_classifier(graph) else None,
        DataSpec("random", "tokens" if words else "features", (size,), 4, VOCABULARY),
        batch_size=3,
        forms={"BatchNorm": ({"unbiased": False}, {"unbiased": True})},
    )


def exams(graph: Graph, dtypes: Sequence[str] = ("float64",)) -> Iterator[Exam]:
    """Every value; and every gradient of a classifier."""
    task = workload(graph)
    for dtype in dtypes:
        yield Exam("values", traced(task), dtype)
        if task.recipe:
            yield Exam("gradients", descending(task), dtype)


def weights_of(graph: Graph, number: int) -> dict[str, np.ndarray]:
    """Random weights by path."""
    return Case("random", graph).weights(number)


def batches_of(graph: Graph, number: int) -> Batches:
    """One batch, and labels where it is a classifier's."""
    (x,) = Case("random", graph).inputs(number).values()
    type_ = graph.types()[graph.outputs[0]]
    classes = type_.size("F") if is_classifier(graph) else 1
    return [(x, np.random.default_rng([number, 4]).integers(0, classes, len(x)))]


def unasked(exam: Exam, number: int) -> str:
    """Why a program cannot be expected to agree to so many digits; empty: it can.

    The network is computed once more from weights and inputs that differ in their last
    digits. Where that alone moves a value or gradient by more than a share of what is
    allowed (a division by a difference that is nothing but rounding; the gradient of a
    bias whose effect a norm takes away again), two right programs may differ.
    """
    graph = exam.workload.graph
    weights, batches = weights_of(graph, number), batches_of(graph, number)
    try:
        exact = _quantities(exam, weights, batches)
        rng = np.random.default_rng([number, 5])
        moved = _quantities(exam, *_nudged(weights, batches, NUDGE, rng))
        if exam.workload.recipe:
            if exact["loss"] < CERTAIN:
                return "the scores are certain, and the loss is what rounding leaves"
            # Sums that happen to be 0 exactly are not for slightly other weights.
            other = _nudged(weights, batches, 1e-3, rng)
            if _vanish(exam, weights, batches) or _vanish(exam, *other):
                return "a gradient vanishes but for rounding"
        single = exact
        if exam.dtype == "float32":
            single = _quantities(exam, weights, batches, np.float32)
    except FloatingPointError:
        return "the reference computes NaN"
    for name, wanted in exact.items():
        if not np.isfinite(wanted).all():
            return "a value is infinite"
        if relative(moved[name], wanted) > STEADY:
            return f"{exam.kind} depend on the last digits"
        if relative(single[name], wanted) > SINGLE * VALUES["float32"]:
            return f"{exam.kind} are out of float32's reach"
    return ""


def _nudged(
    weights: Mapping[str, np.ndarray],
    batches: Batches,
    size: float,
    rng: np.random.Generator,
) -> tuple[dict[str, np.ndarray], Batches]:
    def change(array: np.ndarray) -> np.ndarray:
        if array.dtype.kind != "f":
            return array
        changed: np.ndarray = array * (1 + size * rng.uniform(-1, 1, array.shape))
        return changed

    near = {path: change(array) for path, array in weights.items()}
    return near, [(change(x), y) for x, y in batches]


def _vanish(exam: Exam, weights: Mapping[str, np.ndarray], batches: Batches) -> bool:
    """Whether a gradient is next to nothing; one of exactly 0 is what it is."""
    after = _quantities(exam, weights, batches)
    trained = exam.workload.graph.weights()
    sizes = [
        float(np.linalg.norm(after[path] - weights[path]))
        for path, weight in trained.items()
        if weight.trained
    ]
    return any(0 < size < VANISHING * max(sizes) for size in sizes)


def _quantities(
    exam: Exam,
    weights: Mapping[str, np.ndarray],
    batches: Batches,
    dtype: Any = np.float64,
) -> dict[str, np.ndarray]:
    """What the exam compares, as the reference computes it."""
    graph, recipe = exam.workload.graph, exam.workload.recipe
    pairs = [({graph.inputs[0][0]: x}, y) for x, y in batches]
    if recipe is None:
        values = reference.forward(graph, weights, pairs[0][0], dtype=dtype).values
        return {name: np.asarray(values[name]) for name in values}
    ((loss, after),) = reference.train_steps(graph, recipe, weights, pairs, dtype=dtype)
    return {"loss": np.array(loss), **after}


# --- Programs -------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What came of one exam in one framework.

    ``status`` is ``equal``, ``different`` (also where the program fails), ``gap``,
    ``unasked`` or ``defect``: a known one of the framework, by which it fails.
    ``reason`` says what differs, or why nothing could be compared.
    """

    backend: str
    kind: str
    dtype: str
    status: str
    reason: str = ""
    source: str = ""


#: What a framework raises for programs that are right: see docs/method.md.
DEFECTS = {
    "keras-torch": (
        "grad_weight needs to be contiguous",
        "grad_weight must be contiguous",
    )
}
#: Bytes above which a worker is started anew: frameworks keep what they have compiled.
MEMORY = 2_500_000_000


@dataclass
class Examiner:
    """Has programs run by one worker per framework and precision, which stay alive."""

    folder: Path
    pace: Pace = "judged"
    timeout: float = 300.0
    restarts: int = 0
    _workers: dict[tuple[str, str], Worker] = field(default_factory=dict)
    _answers: dict[tuple[str, str], Answer] = field(default_factory=dict)
    _answered: Any = None
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()

    def judge(self, exam: Exam, name: str, number: int) -> Outcome:
        """One program against the reference; ``unasked`` has to be asked before."""

        def outcome(status: str, reason: str = "", source: str = "") -> Outcome:
            return Outcome(name, exam.kind, exam.dtype, status, reason, source)

        backend = backends.get(name)
        variant = Settings(dtype=exam.dtype, dropout=False)
        try:
            program = emit(exam.workload, backend, variant)
        except GapError as gap:
            return outcome("gap", "; ".join(gap.gaps))
        weights = weights_of(program.graph, number)
        batches = batches_of(program.graph, number)

        def expected() -> Answer:
            key = (exam.kind, str(program.forms))
            with self._turn:
                # Only what the other frameworks ask about the same network is of use.
                if self._answered != (number, exam.workload.graph):
                    self._answered = (number, exam.workload.graph)
                    self._answers.clear()
                if key not in self._answers:
                    self._answers[key] = answer(program, weights, batches)
                return self._answers[key]

        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            verdict = gate(
                program,
                backend,
                self._worker(name, exam.dtype),
                weights,
                batches,
                expected=expected,
                folder=Path(folder),
                timeout=self.timeout,
            )
        verdict = _strict(exam, verdict)
        for words in DEFECTS.get(name, ()):
            if words in verdict.error:
                return outcome("defect", words, program.source)
        if verdict.equal:
            return outcome("equal")
        return outcome("different", explained(verdict), program.source)

    def _worker(self, name: str, dtype: str) -> Worker:
        key = (name, dtype)
        worker = self._workers.get(key)
        if worker is not None and worker.alive and _resident(worker) > MEMORY:
            worker.close()
            self.restarts += 1
        if worker is None or not worker.alive:
            backend = backends.get(name)
            worker = self._workers[key] = Worker.start_for(
                backend.env,
                envs.prepare(backend.env, name),
                log=self.folder / "logs" / f"{name}-{dtype}.log",
                threads=1,
                pace=self.pace,
                name=name,
            )
        return worker


def _resident(worker: Worker) -> int:
    try:
        return int(psutil.Process(worker.pid).memory_info().rss)
    except psutil.Error:
        return 0


def _strict(exam: Exam, verdict: Verdict) -> Verdict:
    """Gradients held to the limit of values; all else of a step as it is."""
    if exam.kind == "values" or verdict.error:
        return verdict
    slopes = of_gradients(exam.workload, verdict)
    renamed = {item.size for item in slopes.differences}
    rest = [item for item in verdict.differences if item.size not in renamed]
    found = (*slopes.differences, *rest)
    equal = all(item.equal for item in found)
    return dataclasses.replace(verdict, equal=equal, differences=found)


def explained(verdict: Verdict) -> str:
    """The error, or everything that differs."""
    if verdict.error:
        return verdict.error
    return "\n".join(str(d) for d in verdict.differences if not d.equal)

"""Every operation once: its attributes, weights, shape rule and meaning.

The docstring of an operation fixes its meaning where frameworks disagree;
``reference.py`` makes the same meaning executable. Shapes are written with axis letters
(``axes.py``); the batch size is ``None``, as is any size that is not known yet.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from netglot.axes import SPATIAL
from netglot.symbols import Size, Symbol, resolve

Dim = Size | None
Pads = tuple[tuple[int, int], ...]
#: Given as one number or one per axis (a padding also as one pair per axis); kept as
#: one per axis.
PerAxis = Any


@dataclass(frozen=True)
class Type:
    """What is known of a value: axis letters, sizes, element type.

    ``merged`` remembers of what a flattened last axis was made, slowest first
    (``(("C", 50), ("H", 8), ("W", 8))``): frameworks that store channels last flatten
    in another order, and weights that read the axis must follow.
    """

    axes: str
    shape: tuple[Dim, ...]
    dtype: str = "float32"
    merged: tuple[tuple[str, Dim], ...] = ()

    def __post_init__(self) -> None:
        """Reject a shape that does not go with the letters."""
        if len(self.axes) != len(self.shape):
            raise ValueError(f"shape {self.shape} does not have the axes {self.axes!r}")

    def __str__(self) -> str:
        """As in ``C 32 x H 28 x W 28``, without the batch."""
        pairs = zip(self.axes, self.shape, strict=True)
        return " x ".join(
            f"{letter} {'?' if size is None else size}"
            for letter, size in pairs
            if letter != "N"
        )

    def size(self, letter: str) -> Any:
        """The size along one letter; raises ``ShapeError`` where there is none."""
        if letter not in self.axes:
            raise ShapeError(f"has no axis {letter!r}: its axes are {self.axes!r}")
        return self.shape[self.axes.index(letter)]

    def replace(self, **sizes: Dim) -> Type:
        """The same with other sizes along some letters."""
        pairs = zip(self.axes, self.shape, strict=True)
        return Type(self.axes, tuple(sizes.get(a, s) for a, s in pairs), self.dtype)


class ShapeError(ValueError):
    """An operation cannot read the values that it is given."""


@dataclass(frozen=True)
class WeightType:
    """Axes, shape and role of a weight.

    Roles: ``kernel``, ``recurrent``, ``embedding``, ``bias``, ``scale``, ``shift`` are
    trained and initialised by the recipe (``recipe.Initializers``); ``mean`` and
    ``variance`` are running statistics. ``merged`` maps a letter to what it was
    flattened from (``Type.merged``). ``gates`` are the letters of the gates that the
    axis ``G`` holds one after the other.
    """

    axes: str
    shape: tuple[Dim, ...]
    role: str
    merged: Mapping[str, tuple[tuple[str, Dim], ...]] = field(default_factory=dict)
    gates: str = ""

    @property
    def trained(self) -> bool:
        """Whether the optimizer moves it."""
        return self.role not in ("mean", "variance")

    @property
    def size(self) -> int:
        """Number of elements."""
        total = 1
        for dim in self.shape:
            total *= dim  # type: ignore[operator,assignment]
        return total


@dataclass(frozen=True)
class Op:
    """An operation of a network. Attributes are the fields of the subclass."""

    #: Whether every element of the output depends on one element of each input alone.
    elementwise: ClassVar[bool] = False

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """Types of the outputs; raises ``ShapeError`` where the inputs do not fit."""
        raise NotImplementedError

    def weights(self, *inputs: Type) -> dict[str, WeightType]:
        """Weights by name, in the order in which they are stored."""
        return {}

    def resolve(self, arguments: Mapping[str, Size]) -> Op:
        """The same operation with the symbols of a block replaced."""
        changes = {
            f.name: resolve(getattr(self, f.name), arguments) for f in fields(self)
        }
        return dataclasses.replace(self, **changes)


def _pairs(value: Any, count: int) -> Pads:
    """One number, one per axis, or one pair per axis -> one pair per axis."""
    if isinstance(value, int):
        return ((value, value),) * count
    if len(value) != count:
        raise ShapeError(f"{value!r} does not give a padding for each of {count} axes")
    return tuple((v, v) if isinstance(v, int) else tuple(v) for v in value)


def _each(value: Any, count: int) -> tuple[Size, ...]:
    """One number, or one per axis -> one per axis."""
    values = (value,) * count if isinstance(value, int | Symbol) else tuple(value)
    if len(values) != count:
        raise ShapeError(f"{value!r} does not give a number for each of {count} axes")
    return values


def _set(op: Op, **values: Any) -> None:
    for name, value in values.items():
        object.__setattr__(op, name, value)


def _choice(op: Op, name: str, choices: tuple[str, ...]) -> None:
    if getattr(op, name) not in choices:
        raise ShapeError(
            f"{type(op).__name__} has no {name} {getattr(op, name)!r}: "
            f"choose from {', '.join(choices)}"
        )


def _expect(type_: Type, axes: str, what: str) -> None:
    if type_.axes != axes:
        raise ShapeError(
            f"{what} reads {axes!r}, and is given {type_.axes!r} ({type_})"
        )


def _expect_features(type_: Type, what: str) -> None:
    if not type_.axes.endswith("F"):
        raise ShapeError(
            f"{what} reads features on the last axis F, and is given {type_.axes!r}"
        )


def _spatial(type_: Type, count: int, what: str) -> str:
    letters = SPATIAL[count]
    _expect(type_, "NC" + letters, what)
    return letters


# --- Dense, convolution ---------------------------------------------------------------


@dataclass(frozen=True)
class Dense(Op):
    """``y = x kernel^T + bias`` over the last axis ``F``; kernel ``OI``."""

    features: Size
    bias: bool = True

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """``(..., F) -> (..., features)``."""
        (x,) = inputs
        if not x.axes.endswith("F"):
            raise ShapeError(
                f"Dense reads features (a last axis F), and is given {x.axes!r}: "
                "put Flatten() before it"
            )
        return (x.replace(F=self.features),)

    def weights(self, *inputs: Type) -> dict[str, WeightType]:
        """``kernel`` OI, ``bias`` O."""
        (x,) = inputs
        merged = {"I": x.merged} if x.merged else {}
        shape = (self.features, x.size("F"))
        result = {"kernel": WeightType("OI", shape, "kernel", merged)}
        if self.bias:
            result["bias"] = WeightType("O", (self.features,), "bias")
        return result


@dataclass(frozen=True)
class Conv(Op):
    """Cross-correlation (the kernel is not flipped) in 1, 2 or 3 dimensions.

    ``padding`` adds zeros, per axis and side. Kernel ``OI`` + spatial letters, where
    ``I`` counts the channels of one group. Output size: ``(size + pads - dilation *
    (kernel - 1) - 1) // stride + 1``.
    """

    channels: Size
    kernel: tuple[Size, ...]
    stride: PerAxis = 1
    padding: PerAxis = 0
    dilation: PerAxis = 1
    groups: Size = 1
    bias: bool = True

    def __post_init__(self) -> None:
        """Give every axis its own stride, dilation and padding."""
        count = len(self.kernel)
        _set(
            self,
            stride=_each(self.stride, count),
            dilation=_each(self.dilation, count),
            padding=_pairs(self.padding, count),
        )

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """``NC... -> NC...`` with ``channels`` channels."""
        (x,) = inputs
        letters = _spatial(x, len(self.kernel), "Conv")
        for channels in (x.size("C"), self.channels):
            if (
                isinstance(channels, int)
                and isinstance(self.groups, int)
                and channels % self.groups
            ):
                raise ShapeError(
                    f"{channels} channels do not divide into {self.groups} groups"
                )
        sizes = {
            letter: _window(x.size(letter), k, s, p, d)
            for letter, k, s, p, d in zip(
                letters,
                self.kernel,
                self.stride,
                self.padding,
                self.dilation,
                strict=True,
            )
        }
        return (x.replace(C=self.channels, **sizes),)

    def weights(self, *inputs: Type) -> dict[str, WeightType]:
        """``kernel`` OI..., ``bias`` O."""
        (x,) = inputs
        axes = "OI" + SPATIAL[len(self.kernel)]
        inside = x.size("C") if self.groups == 1 else x.size("C") // self.groups
        shape = (self.channels, inside, *self.kernel)
        result = {"kernel": WeightType(axes, shape, "kernel")}
        if self.bias:
            result["bias"] = WeightType("O", (self.channels,), "bias")
        return result


@dataclass(frozen=True)
class ConvTranspose(Op):
    """The adjoint of ``Conv`` in its input, plus a bias; kernel ``IO`` + spatial.

    Output size: ``(size - 1) * stride - pads + dilation * (kernel - 1) +
    output_padding + 1``; ``padding`` is what the convolution would have added, so it
    crops here. ``O`` counts the channels of one group.
    """

    channels: Size
    kernel: tuple[Size, ...]
    stride: PerAxis = 1
    padding: PerAxis = 0
    output_padding: PerAxis = 0
    dilation: PerAxis = 1
    groups: Size = 1
    bias: bool = True

    def __post_init__(self) -> None:
        """Give every axis its own stride, dilation and padding."""
        count = len(self.kernel)
        _set(
            self,
            stride=_each(self.stride, count),
            dilation=_each(self.dilation, count),
            output_padding=_each(self.output_padding, count),
            padding=_pairs(self.padding, count),
        )

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """``NC... -> NC...`` with ``channels`` channels."""
        (x,) = inputs
        letters = _spatial(x, len(self.kernel), "ConvTranspose")
        sizes: dict[str, Dim] = {}
        for i, letter in enumerate(letters):
            size = x.size(letter)
            if size is not None:
                reach = self.dilation[i] * (self.kernel[i] - 1) + 1  # type: ignore
                size = (size - 1) * self.stride[i] - sum(self.padding[i]) + reach
                size += self.output_padding[i]
            sizes[letter] = size
        return (x.replace(C=self.channels, **sizes),)

    def weights(self, *inputs: Type) -> dict[str, WeightType]:
        """``kernel`` IO..., ``bias`` O."""
        (x,) = inputs
        axes = "IO" + SPATIAL[len(self.kernel)]
        inside: Any = self.channels
        if self.groups != 1:
            inside = inside // self.groups
        result = {
            "kernel": WeightType(axes, (x.size("C"), inside, *self.kernel), "kernel")
        }
        if self.bias:
            result["bias"] = WeightType("O", (self.channels,), "bias")
        return result


def _window(
    size: Dim,
    kernel: Any,
    stride: Any,
    pads: Any,
    dilation: Any = 1,
    ceil: bool = False,
) -> Dim:
    """Number of positions of a window along one axis; ``None`` where unknown."""
    if size is None or any(isinstance(v, Symbol) for v in (size, kernel, stride)):
        return None
    reach = size + sum(pads) - dilation * (kernel - 1) - 1  # type: ignore[operator]
    if reach < 0:
        raise ShapeError(
            f"a window of {dilation * (kernel - 1) + 1} does not fit into {size} "
            f"with a padding of {pads}"
        )
    if not ceil:
        return reach // stride + 1
    count = -(-reach // stride) + 1
    # A window that would begin in the padding after the values does not count.
    if (count - 1) * stride >= size + pads[0]:  # type: ignore[operator]
        count -= 1
    return count


# --- Pooling --------------------------------------------------------------------------


@dataclass(frozen=True)
class MaxPool(Op):
    """Maximum over windows; padding never wins; of equal values the first one counts.

    A last window that does not fit is dropped, unless ``ceil``: then it is kept, as
    long as it begins inside the values or the padding before them. With ``ties='all'``
    every one of equal values has the whole gradient, with ``shared`` an equal part.
    """

    kernel: tuple[Size, ...]
    stride: PerAxis = None
    padding: PerAxis = 0
    ceil: bool = False
    ties: str = "first"

    def __post_init__(self) -> None:
        """The stride is the kernel unless given."""
        count = len(self.kernel)
        stride = self.kernel if self.stride is None else _each(self.stride, count)
        _set(self, stride=stride, padding=_pairs(self.padding, count))
        _choice(self, "ties", ("first", "all", "shared"))

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """``NC... -> NC...``."""
        (x,) = inputs
        letters = _spatial(x, len(self.kernel), type(self).__name__)
        sizes = {
            letter: _window(x.size(letter), k, s, p, ceil=self.ceil)
            for letter, k, s, p in zip(
                letters,
                self.kernel,
                self.stride,  # type: ignore[arg-type]
                self.padding,
                strict=True,
            )
        }
        return (x.replace(**sizes),)


@dataclass(frozen=True)
class AvgPool(MaxPool):
    """Mean over windows; windows as in ``MaxPool``.

    ``count_padding``: whether padded zeros (never the overhang of ``ceil``) count in
    the divisor.
    """

    count_padding: bool = False


@dataclass(frozen=True)
class GlobalAvgPool(Op):
    """Mean over all spatial axes: ``NC... -> NF``."""

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """``NC... -> NF``."""
        (x,) = inputs
        if not x.axes.startswith("NC") or len(x.axes) < 3:
            raise ShapeError(
                f"a global pool reads NC and axes of space, and is given {x.axes!r}"
            )
        return (Type("NF", (x.shape[0], x.size("C")), x.dtype),)


@dataclass(frozen=True)
class GlobalMaxPool(GlobalAvgPool):
    """Maximum over all spatial axes: ``NC... -> NF``; of equal values the first."""


# --- Normalisation, dropout, embedding ------------------------------------------------


@dataclass(frozen=True)
class BatchNorm(Op):
    """``(x - mean) / sqrt(variance + epsilon) * scale + shift`` per channel.

    In training mean and variance are those of the batch (variance divided by n); in
    evaluation the running ones. ``momentum`` is the share of the old running value that
    is kept; ``unbiased``: the running variance takes the batch's variance divided by
    n - 1. The axis is ``C``, or ``F`` where there is no ``C``.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    scale: bool = True
    shift: bool = True
    unbiased: bool = False

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """The shape stays."""
        return (inputs[0],)

    def weights(self, *inputs: Type) -> dict[str, WeightType]:
        """``scale``, ``shift``, ``mean``, ``variance``, each of one axis."""
        letter = "C" if "C" in inputs[0].axes else "F"
        return _affine(self, inputs[0], letter, ("mean", "variance"))


def _affine(
    op: Any, x: Type, letter: str, more: tuple[str, ...] = ()
) -> dict[str, WeightType]:
    merged = {letter: x.merged} if letter == "F" and x.merged else {}
    names = [name for name in ("scale", "shift") if getattr(op, name, False)]
    return {
        name: WeightType(letter, (x.size(letter),), name, merged)
        for name in (*names, *more)
    }


@dataclass(frozen=True)
class LayerNorm(Op):
    """Normalises each observation over the last axis ``F``; variance divided by n."""

    epsilon: float = 1e-5
    scale: bool = True
    shift: bool = True

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """The shape stays."""
        _expect_features(inputs[0], "LayerNorm")
        return (inputs[0],)

    def weights(self, *inputs: Type) -> dict[str, WeightType]:
        """``scale`` and ``shift`` of axis F."""
        return _affine(self, inputs[0], "F")


@dataclass(frozen=True)
class RMSNorm(Op):
    """``x / sqrt(mean(x^2) + epsilon) * scale`` over the last axis ``F``."""

    epsilon: float = 1e-6
    scale: bool = True

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """The shape stays."""
        _expect_features(inputs[0], "RMSNorm")
        return (inputs[0],)

    def weights(self, *inputs: Type) -> dict[str, WeightType]:
        """``scale`` of axis F."""
        return _affine(self, inputs[0], "F")


@dataclass(frozen=True)
class GroupNorm(Op):
    """Normalises each observation over groups of neighbouring channels and space."""

    groups: Size
    epsilon: float = 1e-5
    scale: bool = True
    shift: bool = True

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """The shape stays."""
        channels = inputs[0].size("C")
        if isinstance(channels, int) and channels % self.groups:  # type: ignore
            raise ShapeError(
                f"{channels} channels do not divide into {self.groups} groups"
            )
        return (inputs[0],)

    def weights(self, *inputs: Type) -> dict[str, WeightType]:
        """``scale`` and ``shift`` of axis C."""
        return _affine(self, inputs[0], "C")


@dataclass(frozen=True)
class Dropout(Op):
    """In training drops the share ``rate`` and divides the rest by ``1 - rate``."""

    elementwise: ClassVar[bool] = True
    rate: float

    def __post_init__(self) -> None:
        """Reject a share outside 0 to 1."""
        if not 0 <= self.rate < 1:
            raise ShapeError(f"rate is the share dropped, 0 <= rate < 1: {self.rate}")

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """The shape stays."""
        return (inputs[0],)


@dataclass(frozen=True)
class Embedding(Op):
    """Row ``x[n, t]`` of a table ``VF``: ``NT -> NTF``."""

    vocabulary: Size
    features: Size

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """Indices ``NT`` -> ``NTF``."""
        (x,) = inputs
        _expect(x, "NT", "Embedding")
        return (Type("NTF", (*x.shape, self.features)),)

    def weights(self, *inputs: Type) -> dict[str, WeightType]:
        """``table`` VF."""
        shape = (self.vocabulary, self.features)
        return {"table": WeightType("VF", shape, "embedding")}


# --- Recurrent layers -----------------------------------------------------------------


@dataclass(frozen=True)
class SimpleRNN(Op):
    """``h = activation(kernel x + bias + recurrent h + recurrent_bias)``, h from 0 on.

    ``bias``: ``two`` vectors (one on each product), ``one`` (``bias`` alone), ``none``.
    ``direction``: ``forward``, ``backward`` (reads from the last step to the first, and
    its output for step t stands at step t) or ``both`` (features of forward, then of
    backward). ``returns``: ``sequence`` (``NTF``) or ``last`` (``NF``: what is computed
    last, which for backward is step 0). Weights: ``kernel`` GI, ``recurrent`` GH,
    ``bias`` G, ``recurrent_bias`` G; those of the backward direction end in ``_back``.
    """

    gates: ClassVar[str] = "h"
    units: Size
    activation: str = "tanh"
    bias: str = "one"
    direction: str = "forward"
    returns: str = "last"

    def __post_init__(self) -> None:
        """Reject words that are not among the choices."""
        biases = ("two", "one", "none", "candidate")
        _choice(self, "activation", ("tanh", "relu", "sigmoid"))
        _choice(self, "bias", biases if isinstance(self, GRU) else biases[:3])
        _choice(self, "direction", ("forward", "backward", "both"))
        _choice(self, "returns", ("sequence", "last"))

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """``NTF -> NTF`` or ``NF``."""
        (x,) = inputs
        _expect(x, "NTF", type(self).__name__)
        width = 2 * self.units if self.direction == "both" else self.units
        n, t, _ = x.shape
        if self.returns == "last":
            return (Type("NF", (n, width)),)
        return (Type("NTF", (n, t, width)),)

    def weights(self, *inputs: Type) -> dict[str, WeightType]:
        """See the class."""
        (x,) = inputs
        gates = self.gates
        g, h = len(gates) * self.units if len(gates) > 1 else self.units, self.units
        one = {
            "kernel": WeightType("GI", (g, x.size("F")), "kernel", {}, gates),
            "recurrent": WeightType("GH", (g, h), "recurrent", {}, gates),
        }
        if self.bias != "none":
            one["bias"] = WeightType("G", (g,), "bias", {}, gates)
        if self.bias == "two":
            one["recurrent_bias"] = WeightType("G", (g,), "bias", {}, gates)
        elif self.bias == "candidate":
            one["recurrent_bias"] = WeightType("G", (h,), "bias", {}, gates[-1])
        if self.direction == "forward":
            return one
        back = {f"{name}_back": weight for name, weight in one.items()}
        return back if self.direction == "backward" else {**one, **back}


@dataclass(frozen=True)
class LSTM(SimpleRNN):
    """Long short-term memory; gates i, f, g, o in this order along ``G``.

    ``c = sigmoid(f) c + sigmoid(i) tanh(g)``, ``h = sigmoid(o) tanh(c)``. The rest as
    in ``SimpleRNN``; ``activation`` is that of g and of c. The forget gate's ``bias``
    starts at ``forget_bias``.
    """

    gates: ClassVar[str] = "ifgo"
    forget_bias: float = 1.0


@dataclass(frozen=True)
class GRU(SimpleRNN):
    """Gated recurrent unit; gates r, z, n in this order along ``G``.

    ``h = (1 - z) n + z h``. ``reset='after'``: ``n = tanh(W x + b + r (U h + b'))``,
    the form of cuDNN; ``reset='before'``: ``n = tanh(W x + b + U (r h) + b')``.
    ``bias``: ``two``, ``one``, ``none`` as in ``SimpleRNN``, or ``candidate``: ``bias``
    plus a ``recurrent_bias`` of the candidate n alone.
    """

    gates: ClassVar[str] = "rzn"
    bias: str = "two"
    reset: str = "after"

    def __post_init__(self) -> None:
        """Reject words that are not among the choices."""
        super().__post_init__()
        _choice(self, "reset", ("after", "before"))


# --- Attention ------------------------------------------------------------------------


@dataclass(frozen=True)
class MultiHeadAttention(Op):
    """Scaled dot-product attention of ``heads`` heads over ``NTF``.

    Inputs: query, and optionally key and value (one more input: both). Four Dense maps
    ``query``, ``key``, ``value``, ``output`` of the query's width, heads cut from their
    features one after the other, scores divided by the root of a head's width.
    ``causal``: step t sees steps 0 to t alone.
    """

    heads: Size
    causal: bool = False
    bias: bool = True

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """The shape of the query."""
        for x in inputs:
            _expect(x, "NTF", "MultiHeadAttention")
        if not 1 <= len(inputs) <= 3:
            raise ShapeError(f"reads query, key and value, not {len(inputs)} inputs")
        if inputs[:2][-1].size("T") != inputs[-1].size("T"):
            raise ShapeError("key and value differ in their steps T")
        width = inputs[0].size("F")
        if isinstance(width, int) and width % self.heads:  # type: ignore[operator]
            raise ShapeError(f"{width} features do not divide into {self.heads} heads")
        return (inputs[0],)

    def weights(self, *inputs: Type) -> dict[str, WeightType]:
        """``query_kernel`` OI, ``query_bias`` O, and so on for key, value, output."""
        width = inputs[0].size("F")
        read = {"key": inputs[:2][-1].size("F"), "value": inputs[-1].size("F")}
        result = {}
        for name in ("query", "key", "value", "output"):
            shape = (width, read.get(name, width))
            result[f"{name}_kernel"] = WeightType("OI", shape, "kernel")
            if self.bias:
                result[f"{name}_bias"] = WeightType("O", (width,), "bias")
        return result


# --- Activations ----------------------------------------------------------------------


@dataclass(frozen=True)
class Elementwise(Op):
    """Family of the operations that map one value element by element."""

    elementwise: ClassVar[bool] = True

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """The shape stays."""
        return (inputs[0],)


@dataclass(frozen=True)
class Relu(Elementwise):
    """``max(x, 0)``; the derivative at 0 is 0."""


@dataclass(frozen=True)
class LeakyRelu(Elementwise):
    """``x`` where positive, else ``slope * x``; the derivative at 0 is ``slope``."""

    slope: float = 0.01


@dataclass(frozen=True)
class Elu(Elementwise):
    """``x`` where positive, else ``alpha * (exp(x) - 1)``; at 0 the slope is alpha."""

    alpha: float = 1.0


@dataclass(frozen=True)
class Selu(Elementwise):
    """Scaled ELU with the constants of Klambauer et al., 2017."""


@dataclass(frozen=True)
class Gelu(Elementwise):
    """``x * Phi(x)`` by the error function, or by tanh where ``approximate``."""

    approximate: bool = False


@dataclass(frozen=True)
class Silu(Elementwise):
    """``x * sigmoid(x)``, also called swish."""


@dataclass(frozen=True)
class Sigmoid(Elementwise):
    """``1 / (1 + exp(-x))``."""


@dataclass(frozen=True)
class Tanh(Elementwise):
    """Hyperbolic tangent."""


@dataclass(frozen=True)
class Softplus(Elementwise):
    """``log(1 + exp(x))``."""


@dataclass(frozen=True)
class Softmax(Op):
    """``exp(x) / sum(exp(x))`` along one letter."""

    axis: str = "F"

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """The shape stays."""
        inputs[0].size(self.axis)
        return (inputs[0],)


@dataclass(frozen=True)
class LogSoftmax(Softmax):
    """Logarithm of ``Softmax``."""


# --- Arithmetic -----------------------------------------------------------------------


@dataclass(frozen=True)
class Negative(Elementwise):
    """``-x``."""


@dataclass(frozen=True)
class Exp(Elementwise):
    """``e`` to the power ``x``."""


@dataclass(frozen=True)
class Log(Elementwise):
    """Natural logarithm."""


@dataclass(frozen=True)
class Sqrt(Elementwise):
    """Square root."""


@dataclass(frozen=True)
class Abs(Elementwise):
    """Absolute value; the derivative at 0 is 0."""


@dataclass(frozen=True)
class Square(Elementwise):
    """``x * x``."""


@dataclass(frozen=True)
class Clip(Elementwise):
    """Values below ``low`` become ``low``, above ``high`` become ``high``.

    The derivative at ``low`` and at ``high`` is 1, as of PyTorch's and TensorFlow's.
    """

    low: float = 0.0
    high: float = 6.0


@dataclass(frozen=True)
class Scale(Elementwise):
    """``factor * x + offset`` with fixed numbers."""

    factor: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class Add(Op):
    """Sum of two values of one type; a size of 1 is repeated."""

    elementwise: ClassVar[bool] = True

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """Sizes must agree, or be 1."""
        a, b = inputs
        if a.axes != b.axes:
            raise ShapeError(f"axes {a.axes!r} and {b.axes!r} do not match")
        sizes: list[Dim] = []
        for letter, m, n in zip(a.axes, a.shape, b.shape, strict=True):
            if isinstance(m, int) and isinstance(n, int) and m != n and 1 not in (m, n):
                raise ShapeError(f"sizes {m} and {n} along {letter} do not match")
            sizes.append(n if m == 1 else m)
        merged = a.merged if a.merged == b.merged else ()
        return (Type(a.axes, tuple(sizes), a.dtype, merged),)


@dataclass(frozen=True)
class Subtract(Add):
    """First minus second."""


@dataclass(frozen=True)
class Multiply(Add):
    """Product element by element."""


@dataclass(frozen=True)
class Divide(Add):
    """First over second."""


@dataclass(frozen=True)
class Maximum(Add):
    """The larger one; of equal values each gets half of the gradient."""


@dataclass(frozen=True)
class Minimum(Add):
    """The smaller one; of equal values each gets half of the gradient."""


@dataclass(frozen=True)
class MatMul(Op):
    """Matrix product over the last two axes; ``transpose_b`` turns the second first.

    ``(N, T, F) x (N, F, S)``: the letters of the result are those of the first but for
    the last, which is the second's.
    """

    transpose_b: bool = False

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """``(..., m, k) x (..., k, n) -> (..., m, n)``."""
        a, b = inputs
        rows, columns = (-1, -2) if self.transpose_b else (-2, -1)
        if a.shape[-1] != b.shape[rows]:
            raise ShapeError(f"sizes {a.shape[-1]} and {b.shape[rows]} do not match")
        letter = b.axes[columns]
        if letter in a.axes[:-1]:
            letter = "S"
        shape = (*a.shape[:-1], b.shape[columns])
        return (Type(a.axes[:-1] + letter, shape, a.dtype),)


# --- Shape ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Concat(Op):
    """Values one after the other along one letter."""

    axis: str = "C"

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """All but one size must agree."""
        first = inputs[0]
        sizes = [x.size(self.axis) for x in inputs]
        for x in inputs:
            if (
                x.replace(**{self.axis: 1}).shape
                != first.replace(**{self.axis: 1}).shape
            ):
                raise ShapeError(f"{x} does not match {first} beside {self.axis}")
        total: Dim = None if None in sizes else sum(sizes[1:], sizes[0])
        return (first.replace(**{self.axis: total}),)


@dataclass(frozen=True)
class Split(Op):
    """Pieces of the given sizes along one letter."""

    axis: str
    sizes: tuple[Size, ...]

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """One output per size; the sizes add up."""
        (x,) = inputs
        if isinstance(x.size(self.axis), int) and sum(self.sizes) != x.size(self.axis):
            raise ShapeError(f"{self.sizes} do not add up to {x.size(self.axis)}")
        return tuple(x.replace(**{self.axis: size}) for size in self.sizes)


@dataclass(frozen=True)
class Slice(Op):
    """``x[start:stop:step]`` along one letter; negative numbers count from the end."""

    axis: str
    start: int = 0
    stop: int | None = None
    step: int = 1

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """One size changes."""
        (x,) = inputs
        size = x.size(self.axis)
        if not isinstance(size, int):
            return (x.replace(**{self.axis: None}),)
        count = len(range(*slice(self.start, self.stop, self.step).indices(size)))
        if not count:
            raise ShapeError(f"nothing is left of {size} along {self.axis}")
        return (x.replace(**{self.axis: count}),)


@dataclass(frozen=True)
class Reshape(Op):
    """Other axes over the same elements, in canonical (row-major) order; keeps N."""

    axes: str
    shape: tuple[Size, ...]

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """``shape`` goes with ``axes`` without N."""
        (x,) = inputs
        inside, outside = _count(x.shape[1:]), _count(self.shape)
        if inside is not None and outside is not None and inside != outside:
            raise ShapeError(f"{inside} elements do not fill the shape {self.shape}")
        return (Type("N" + self.axes.lstrip("N"), (x.shape[0], *self.shape), x.dtype),)


def _count(shape: tuple[Dim, ...]) -> int | None:
    total = 1
    for size in shape:
        if not isinstance(size, int):
            return None
        total *= size
    return total


@dataclass(frozen=True)
class Flatten(Op):
    """All axes but the batch in one, ``F``, in canonical order: ``NCHW -> NF``."""

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """Sizes multiply."""
        (x,) = inputs
        if x.axes == "NF":
            return (x,)  # nothing to do; a second flatten keeps what the first merged
        total: Any = 1
        for size in x.shape[1:]:
            total = None if size is None or total is None else total * size
        merged = tuple(zip(x.axes[1:], x.shape[1:], strict=True))
        return (Type("NF", (x.shape[0], total), x.dtype, merged),)


@dataclass(frozen=True)
class Transpose(Op):
    """The same values with their axes in another order, given by letters."""

    axes: str

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """Sizes follow their letters."""
        (x,) = inputs
        if sorted(self.axes) != sorted(x.axes):
            raise ShapeError(f"{self.axes!r} is not an order of {x.axes!r}")
        return (Type(self.axes, tuple(x.size(a) for a in self.axes), x.dtype),)


@dataclass(frozen=True)
class Pad(Op):
    """Adds ``before`` and ``after`` elements of ``value`` per spatial axis."""

    padding: Pads
    value: float = 0.0

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """Spatial sizes grow."""
        (x,) = inputs
        letters = _spatial(x, len(self.padding), "Pad")
        sizes = {
            a: None if x.size(a) is None else x.size(a) + sum(p)
            for a, p in zip(letters, self.padding, strict=True)
        }
        return (x.replace(**sizes),)


@dataclass(frozen=True)
class ReduceMean(Op):
    """Mean over some letters; ``keep`` leaves their axes with size 1."""

    over: str
    keep: bool = False

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """Axes vanish, or become 1."""
        (x,) = inputs
        for letter in self.over:
            x.size(letter)
        if self.keep:
            return (x.replace(**dict.fromkeys(self.over, 1)),)
        axes = "".join(a for a in x.axes if a not in self.over)
        return (Type(axes, tuple(x.size(a) for a in axes), x.dtype),)


@dataclass(frozen=True)
class ReduceSum(ReduceMean):
    """Sum over some letters."""


@dataclass(frozen=True)
class ReduceMax(ReduceMean):
    """Maximum over some letters; of equal values the first one counts."""


@dataclass(frozen=True)
class Upsample(Op):
    """Enlarges space by whole factors; ``nearest``, or ``bilinear`` on half pixels.

    Half pixels: the centre of output pixel i lies at ``(i + 0.5) / scale - 0.5`` of the
    input, clamped at the border (``align_corners=False``).
    """

    scale: tuple[int, ...]
    mode: str = "nearest"

    def __post_init__(self) -> None:
        """Reject a mode that is not among the choices."""
        _choice(self, "mode", ("nearest", "bilinear"))

    def infer(self, *inputs: Type) -> tuple[Type, ...]:
        """Spatial sizes multiply."""
        (x,) = inputs
        letters = _spatial(x, len(self.scale), "Upsample")
        sizes = {
            a: None if x.size(a) is None else x.size(a) * s
            for a, s in zip(letters, self.scale, strict=True)
        }
        return (x.replace(**sizes),)


def _operations(base: type[Op]) -> dict[str, type[Op]]:
    found: dict[str, type[Op]] = {}
    for operation in base.__subclasses__():
        if operation is not Elementwise:
            found[operation.__name__] = operation
        found |= _operations(operation)
    return found


#: Operation by name, for saving, loading and messages.
OPERATIONS: dict[str, type[Op]] = _operations(Op)

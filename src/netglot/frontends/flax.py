"""Layers of Flax (NNX and Linen), functions and equations of JAX as operations."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from netglot import axes, ops
from netglot.backend import Weight
from netglot.frontends.reading import Frontend, Layout, Reader, Said, Site, Unknown
from netglot.frontends.shaping import index, product, reshape
from netglot.ops import Op

Pads = tuple[tuple[int, int], ...]


def _each(value: Any, count: int, default: int = 1) -> tuple[int, ...]:
    if value is None:
        return (default,) * count
    return tuple(value) if isinstance(value, list | tuple) else (value,) * count


def _held(site: Site, **names: tuple[str, str]) -> tuple[Weight, ...]:
    """``kernel=("kernel", "IO")``: weights that the layer has, by the operation's."""
    return tuple(
        Weight(path, letters, (source,))
        for source, (own, letters) in names.items()
        if (path := site.weight(own)) is not None
    )


def _last(site: Site, value: str) -> str:
    """Letters of a value whose last axis is features; channels count as such."""
    known = {2: "NF", 3: "NTF"}.get(site.rank(value))
    if known:
        return known
    return (site.letters(value) or site.image(value))[:-1] + "F"


def _number(item: Any) -> float | None:
    """An argument that is a number, else None."""
    if isinstance(item, dict) and "number" in item:
        return float(item["number"])
    if isinstance(item, int | float) and not isinstance(item, bool):
        return float(item)
    return None


def _value(item: Any) -> str | None:
    return item["value"] if isinstance(item, dict) and "value" in item else None


def _given(site: Site, position: int, *names: str, default: Any = None) -> Any:
    """An argument by its place, or by one of its names."""
    if position < len(site.call.positional):
        return site.call.positional[position]
    return next(
        (site.call.keyword[n] for n in names if n in site.call.keyword), default
    )


def _first(site: Site) -> str:
    """The value that a layer reads first, however it was given."""
    return site.values()[0]


# --- Dense, convolution ---------------------------------------------------------------


def _dense(site: Site) -> Any:
    x = _first(site)
    letters = _last(site, x)
    features = site.shape(site.call.outputs[0])[-1]
    op = ops.Dense(features, site.weight("bias") is not None)
    held = _held(site, kernel=("kernel", "IO"), bias=("bias", "O"))
    return Said((op,), (x,), (letters,), letters, {0: held})


def same_padding(
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Pads:
    """``SAME`` as XLA pads: the last side gets more where the sum is odd."""
    pads = []
    for size, k, s, d in zip(sizes, kernel, stride, dilation, strict=True):
        total = max((-(-size // s) - 1) * s + d * (k - 1) + 1 - size, 0)
        pads.append((total // 2, total - total // 2))
    return tuple(pads)


def _pairs(padding: Any, count: int) -> Pads:
    return tuple(
        (p, p) if isinstance(p, int) else (p[0], p[-1]) for p in _each(padding, count)
    )


def _window_padding(
    padding: Any,
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> Pads:
    """Explicit pads; raises ``ValueError`` for those that are no zeros."""
    if padding == "SAME":
        return same_padding(sizes, kernel, stride, dilation)
    if padding == "VALID":
        return ((0, 0),) * len(kernel)
    if padding == "CAUSAL" and len(kernel) == 1:
        return ((dilation[0] * (kernel[0] - 1), 0),)
    if isinstance(padding, str):
        raise ValueError(f"padding {padding}")
    return _pairs(padding, len(kernel))


def _conv(site: Site) -> Any:
    x = _first(site)
    kernel = _each(site.attribute("kernel_size"), site.rank(x) - 2)
    dims = len(kernel)
    if site.rank(x) != dims + 2:
        return Unknown(f"it reads {site.rank(x)} axes")
    if any(n != 1 for n in _each(site.attribute("input_dilation"), dims)):
        return Unknown("a dilated input")
    if site.attribute("mask") is not None or len(site.values()) > 1:
        return Unknown("a mask")
    letters = site.image(x)
    stride = _each(site.attribute("strides"), dims)
    dilation = _each(site.attribute("kernel_dilation"), dims)
    pads = _window_padding(
        site.attribute("padding"), site.shape(x)[1:-1], kernel, stride, dilation
    )
    op = ops.Conv(
        site.shape(site.call.outputs[0])[-1],
        kernel,
        stride,
        pads,
        dilation,
        site.attribute("feature_group_count", 1),
        site.weight("bias") is not None,
    )
    space = axes.SPATIAL[dims]
    held = _held(site, kernel=("kernel", space + "IO"), bias=("bias", "O"))
    return Said((op,), (x,), (letters,), letters, {0: held})


def _transposed_padding(padding: Any, reach: int, stride: int) -> tuple[int, int]:
    """What ``lax.conv_transpose`` adds around the spread image, for a kernel's reach.

    ``reach`` is its size less one.
    """
    if padding == "SAME":
        total = reach + stride - 1
        before = reach if stride > reach else -(-total // 2)
        return before, total - before
    if padding == "VALID":
        total = reach + stride - 1 + max(reach + 1 - stride, 0)
        return reach, total - reach
    if isinstance(padding, str):
        raise ValueError(f"padding {padding}")
    return padding


def _conv_transpose(site: Site) -> Any:
    x = _first(site)
    kernel = _each(site.attribute("kernel_size"), site.rank(x) - 2)
    dims = len(kernel)
    if site.rank(x) != dims + 2 or len(site.values()) > 1:
        return Unknown("it reads other axes, or a mask")
    letters, space = site.image(x), axes.SPATIAL[dims]
    stride = _each(site.attribute("strides"), dims)
    dilation = _each(site.attribute("kernel_dilation"), dims)
    padding = site.attribute("padding")
    given = (padding,) * dims if isinstance(padding, str) else _pairs(padding, dims)
    crops, more = [], []
    for k, s, d, pads in zip(kernel, stride, dilation, given, strict=True):
        reach = d * (k - 1)
        before, after = _transposed_padding(pads, reach, s)
        if before > reach:
            return Unknown("it pads more than its kernel reaches")
        crops.append((reach - before, max(reach - after, 0)))
        more.append(max(after - reach, 0))
    op = ops.ConvTranspose(
        site.shape(site.call.outputs[0])[-1],
        kernel,
        stride,
        tuple(crops),
        tuple(more),
        dilation,
        bias=site.weight("bias") is not None,
    )
    held = list(_held(site, bias=("bias", "O")))
    if site.attribute("transpose_kernel"):
        held += _held(site, kernel=("kernel", space + "OI"))
    else:
        # It walks over the kernel as it is; the adjoint of a convolution turns it.
        path = str(site.weight("kernel"))
        held.append(Weight(path, space + "IO", ("kernel",), flip=space))
    return Said((op,), (x,), (letters,), letters, {0: tuple(held)})


# --- Pooling --------------------------------------------------------------------------


def _pool(kind: Any) -> Reader:
    def read(site: Site) -> Any:
        x = site.value(0, "inputs")
        kernel = tuple(_given(site, 1, "window_shape"))
        dims = len(kernel)
        if site.rank(x) != dims + 2:
            return Unknown(f"it reads {site.rank(x)} axes")
        stride = _each(_given(site, 2, "strides"), dims)
        padding = _given(site, 3, "padding", default="VALID")
        pads = _window_padding(
            padding, site.shape(x)[1:-1], kernel, stride, (1,) * dims
        )
        op: Op = ops.MaxPool(kernel, stride, pads)
        if kind is ops.AvgPool:
            counts = _given(site, 4, "count_include_pad", default=True)
            padded = any(n for pair in pads for n in pair)
            counted = bool(counts and padded)
            op = ops.AvgPool(kernel, stride, pads, count_padding=counted)
        letters = site.image(x)
        return Said((op,), (x,), (letters,), letters)

    return read


def _reduce_window(kind: Any) -> Reader:
    """A pool that was written in ``jax.lax``."""

    def read(site: Site) -> Any:
        x, given = site.value(), site.call.keyword
        kernel, stride = given["window_dimensions"], given["window_strides"]
        pads = given["padding"]
        ones = [
            *(given.get("base_dilation") or []),
            *(given.get("window_dilation") or []),
        ]
        if any(n != 1 for n in ones):
            return Unknown("a dilated window")
        if kernel[0] != 1 or kernel[-1] != 1 or not 3 <= len(kernel) <= 5:
            return Unknown("a window over other axes than those of space")
        letters = site.image(x)
        inside = slice(1, len(kernel) - 1)
        window, by = tuple(kernel[inside]), tuple(stride[inside])
        around = _pairs(pads[inside], len(window))
        if kind is ops.MaxPool:
            return Said((ops.MaxPool(window, by, around),), (x,), (letters,), letters)
        padded = any(n for pair in around for n in pair)
        mean = ops.AvgPool(window, by, around, count_padding=padded)
        total = ops.Scale(float(math.prod(window)))
        return Said((mean, total), (x,), (letters,), letters)

    return read


# --- Normalisation, dropout, embedding ------------------------------------------------


def _affine(site: Site, letter: str) -> tuple[bool, bool, tuple[Weight, ...]]:
    held = _held(
        site,
        scale=("scale", letter),
        shift=("bias", letter),
        mean=("mean", letter),
        variance=("var", letter),
    )
    has = {name for weight in held for name in weight.sources}
    return "scale" in has, "shift" in has, held


def _masked(site: Site) -> bool:
    return len(site.values()) > 1


def _over_last(site: Site, name: str) -> bool:
    """Whether an attribute names the last axis alone."""
    return site.attribute(name, -1) in (-1, [-1], [])


def _batch_norm(site: Site) -> Any:
    x = _first(site)
    if _masked(site) or not _over_last(site, "axis"):
        return Unknown("a mask, or statistics of other axes")
    letters = "NF" if site.rank(x) == 2 else site.letters(x)
    if site.rank(x) in (4, 5):
        letters = letters or site.image(x)
    if letters is None:
        return Said((), (x,))
    if letters[-1] not in "CF":
        return Unknown(f"its last axis is {letters[-1]}")
    scale, shift, held = _affine(site, letters[-1])
    op = ops.BatchNorm(
        site.attribute("momentum"), site.attribute("epsilon"), scale, shift
    )
    return Said((op,), (x,), (letters,), letters, {0: held})


def _layer_norm(kind: Any) -> Reader:
    def read(site: Site) -> Any:
        x = _first(site)
        over = _over_last(site, "reduction_axes") and _over_last(site, "feature_axes")
        if _masked(site) or not over:
            return Unknown("a mask, or statistics of other axes")
        letters = _last(site, x)
        scale, shift, held = _affine(site, "F")
        more = {} if kind is ops.RMSNorm else {"shift": shift}
        op = kind(site.attribute("epsilon"), scale, **more)
        return Said((op,), (x,), (letters,), letters, {0: held})

    return read


def _group_norm(site: Site) -> Any:
    x = _first(site)
    if _masked(site) or site.attribute("reduction_axes") is not None:
        return Unknown("a mask, or statistics of other axes")
    channels = site.shape(x)[-1]
    groups = site.attribute("num_groups")
    if site.attribute("group_size"):
        groups = channels // site.attribute("group_size")
    if site.call.kind.endswith("InstanceNorm"):
        groups = channels
    letters = site.image(x)
    scale, shift, held = _affine(site, "C")
    op = ops.GroupNorm(groups, site.attribute("epsilon"), scale, shift)
    return Said((op,), (x,), (letters,), letters, {0: held})


def _dropout(site: Site) -> Any:
    if site.attribute("broadcast_dims"):
        return Unknown("it drops whole axes (broadcast_dims)")
    return Said((ops.Dropout(site.attribute("rate")),), (_first(site),))


def _embedding(site: Site) -> Any:
    x = _first(site)
    if site.rank(x) != 2:
        return Unknown(f"indices of {site.rank(x)} axes")
    op = ops.Embedding(site.attribute("num_embeddings"), site.attribute("features"))
    held = _held(site, table=("embedding", "VF"))
    return Said((op,), (x,), ("NT",), "NTF", {0: held})


# --- Recurrent layers -----------------------------------------------------------------

CELLS: Mapping[str, Any] = {
    "SimpleCell": ops.SimpleRNN,
    "LSTMCell": ops.LSTM,
    "OptimizedLSTMCell": ops.LSTM,
    "GRUCell": ops.GRU,
}
#: Products of one gate each: of the input, of the state.
_GATES = {
    "LSTMCell": {g: (f"i{g}", f"h{g}") for g in "ifgo"},
    "OptimizedLSTMCell": {g: (f"i{g}", f"h{g}") for g in "ifgo"},
    "GRUCell": {g: (f"i{g}", f"h{g}") for g in "rzn"},
    "SimpleCell": {"": ("i", "h")},
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """A recurrent cell: the operation's class, its settings, its weights."""

    kind: Any
    settings: Mapping[str, Any]
    weights: tuple[Weight, ...]


def _function(item: Any) -> str:
    return item["function"].rpartition(".")[2] if isinstance(item, dict) else ""


def _cell(site: Site, prefix: str, layer: Mapping[str, Any], end: str) -> Cell:
    """A cell at ``prefix`` of the layer's own names; raises ``ValueError``."""
    name = layer["layer"].rpartition(".")[2]
    kind, attributes = CELLS[name], layer["attributes"]
    activation = _function(attributes.get("activation_fn"))
    gate = attributes.get("gate_fn")
    if attributes.get("residual"):
        raise ValueError("a residual cell")
    if activation not in ("tanh", "relu", "sigmoid"):
        raise ValueError(f"the activation {activation}")
    if gate is not None and _function(gate) != "sigmoid":
        raise ValueError(f"gates of {_function(gate)}")
    dense = site.weight(f"{prefix}dense_i.kernel") is not None
    parts = {"": ("dense_i", "dense_h")} if dense else _GATES[name]
    rows = (
        ("kernel", 0, "kernel", "IG"),
        ("recurrent", 1, "kernel", "HG"),
        ("bias", 0, "bias", "G"),
        ("recurrent_bias", 1, "bias", "G"),
    )
    found: dict[str, list[Weight]] = {}
    for source, side, own, letters in rows:
        for gates, names in parts.items():
            for spelled in (names[side], names[side] + "_"):  # ``if`` is a word.
                path = site.weight(f"{prefix}{spelled}.{own}")
                if path is not None:
                    weight = Weight(path, letters, (source + end,), gates)
                    found.setdefault(source, []).append(weight)
    bias, second = len(found.get("bias", ())), len(found.get("recurrent_bias", ()))
    if bias and second:
        form = "two" if second == bias else "candidate"
    else:
        form = "one" if bias or second else "none"
    if second and not bias:
        # The one bias stands beside the other product.
        found["bias"] = [
            dataclasses.replace(w, sources=("bias" + end,))
            for w in found.pop("recurrent_bias")
        ]
    if form == "candidate":
        found["recurrent_bias"] = [
            dataclasses.replace(w, gates="") for w in found["recurrent_bias"]
        ]
    units = attributes.get("hidden_features") or attributes.get("features")
    settings = {"units": units, "activation": activation, "bias": form}
    if kind is ops.GRU:
        settings["reset"] = "after"
    return Cell(kind, settings, tuple(w for one in found.values() for w in one))


def _recurrent_setting(site: Site, name: str) -> bool:
    given = site.call.keyword.get(name)
    return bool(site.attribute(name) if given is None else given)


def _states(site: Site, cells: list[Cell]) -> list[Said]:
    """The last states among the outputs: of an LSTM c, then h."""
    x, said = _first(site), []
    each = 2 if cells[0].kind is ops.LSTM else 1
    for number, cell in enumerate(cells):
        direction = ("forward", "backward")[number]
        place = each * number + each - 1
        if len(cells) == 1 and _recurrent_setting(site, "reverse"):
            direction = "backward"
        op = cell.kind(**cell.settings, direction=direction, returns="last")
        said.append(Said((op,), (x,), ("NTF",), "NF", {0: cell.weights}, place))
    return said


def _recurrent(site: Site) -> Any:
    x = _first(site)
    if _masked(site):
        return Unknown("an initial state, or lengths of sequences")
    if _recurrent_setting(site, "time_major"):
        return Unknown("time comes before the batch (time_major)")
    place = len(site.call.outputs) - 1
    if site.call.kind.endswith("Bidirectional"):
        if _function(site.attribute("merge_fn")) != "_concatenate":
            return Unknown("it merges its directions in its own way")
        rows = (("forward_rnn", ""), ("backward_rnn", "_back"))
        cells = []
        for name, end in rows:
            inner = site.attribute(name)["attributes"]["cell"]
            cells.append(_cell(site, f"{name}.cell.", inner, end))
        if cells[0].settings != cells[1].settings or cells[0].kind is not cells[1].kind:
            return Unknown("its directions differ")
        direction = "both"
    else:
        backward = _recurrent_setting(site, "reverse")
        end = "_back" if backward else ""
        cells = [_cell(site, "cell.", site.attribute("cell"), end)]
        direction = "backward" if backward else "forward"
    settings = dict(cells[0].settings, direction=direction)
    chain: tuple[Op, ...] = (cells[0].kind(**settings, returns="sequence"),)
    if direction == "backward" and not _recurrent_setting(site, "keep_order"):
        # Its output for the last step comes first.
        chain = (*chain, ops.Slice("T", -1, None, -1))
    held = tuple(w for cell in cells for w in cell.weights)
    said = [Said(chain, (x,), ("NTF",), "NTF", {0: held}, place)]
    if place:
        said += _states(site, cells)
        for number, output in enumerate(site.call.outputs[:-1]):
            if number not in {one.output for one in said}:
                # What an LSTM has kept beside its output.
                site.state.learn(output, "NF")
    return tuple(said)


# --- Attention ------------------------------------------------------------------------


def _mask(site: Site, value: str) -> bool:
    """Whether a mask is causal; raises ``ValueError`` for any but that."""
    array = site.state.recording.array(value).astype(bool)
    if np.array_equal(
        array, np.broadcast_to(np.tri(*array.shape[-2:]) > 0, array.shape)
    ):
        return True
    if array.all():
        return False
    raise ValueError("a mask of its own")


def _attention(site: Site) -> Any:
    get = site.attribute
    names = ("inputs_q", "inputs_k", "inputs_v")
    values = [
        found
        for i, name in enumerate(names)
        if (found := _value(_given(site, i, name))) is not None
    ]
    both = _value(site.call.keyword.get("inputs_kv"))
    values += [both] if both else []
    width, heads = site.shape(values[0])[-1], get("num_heads")
    out = site.shape(site.call.outputs[0])[-1]
    if get("qkv_features") not in (None, width) or out != width:
        return Unknown("its inside or its output is of another width")
    if get("normalize_qk") or get("decode") or _given(site, 9, "decode"):
        return Unknown("normalised queries, or a cache")
    if get("num_kv_heads") not in (None, heads):
        return Unknown("fewer heads of keys than of queries")
    causal = bool(site.call.keyword.get("is_causal", False))
    mask = site.call.keyword.get("mask")
    if mask is not None:
        name = _value(mask)
        causal = causal or (name is not None and _mask(site, name))
        if name is None:
            return Unknown("a mask of its own")
    bias = site.weight("query.bias") is not None
    cut = (("A", heads), ("K", width // heads))
    held = []
    for name in ("query", "key", "value"):
        path = str(site.weight(f"{name}.kernel"))
        held.append(Weight(path, "IAK", (f"{name}_kernel",), split={"O": cut}))
        if bias:
            path = str(site.weight(f"{name}.bias"))
            held.append(Weight(path, "AK", (f"{name}_bias",), split={"O": cut}))
    path = str(site.weight("out.kernel"))
    held.append(Weight(path, "AKO", ("output_kernel",), split={"I": cut}))
    if bias:
        held.append(Weight(str(site.weight("out.bias")), "O", ("output_bias",)))
    if len(set(values)) == 1:
        values = values[:1]
    elif len(values) == 3 and values[1] == values[2]:
        values = values[:2]
    op = ops.MultiHeadAttention(heads, causal, bias)
    letters = ("NTF",) * len(values)
    return Said((op,), tuple(values), letters, "NTF", {0: tuple(held)})


# --- Equations ------------------------------------------------------------------------


def _plain(make: Callable[[Site], Op]) -> Reader:
    """An elementwise function of one value."""
    return lambda site: Said((make(site),), (site.value(0, "x"),))


def _constant(site: Site, position: int, name: str, default: float) -> float:
    given = _number(_given(site, position, name, default=default))
    if given is None:
        raise ValueError(f"{name} is no number")
    return given


def _softmax(kind: Any) -> Reader:
    def read(site: Site) -> Any:
        x, axis = site.value(0, "x"), _given(site, 1, "axis", default=-1)
        if site.call.keyword.get("where") is not None or not isinstance(axis, int):
            return Unknown("a softmax of some of the values, or over several axes")
        letter = site.letter(x, axis)
        return Said((kind(letter),), (x,)) if letter else Said((), (x,))

    return read


def _binary(kind: type[Op]) -> Reader:
    """Arithmetic of two values, or of a value and a number."""

    def read(site: Site) -> Any:
        a, b = site.call.positional
        x, y = _value(a), _value(b)
        if x and y:
            if site.rank(x) != site.rank(y):
                return Unknown(f"shapes {site.shape(x)} and {site.shape(y)}")
            if site.shape(x) != site.shape(site.call.outputs[0]):
                if kind not in (ops.Add, ops.Multiply, ops.Maximum, ops.Minimum):
                    return Unknown("its first value is spread")
                x, y = y, x
            return Said((kind(),), (x, y))
        number = _number(b if x else a)
        value = x or y
        if value is None or number is None:
            return Unknown("arithmetic with a weight")
        op = _with_number(kind, number, x is None)
        return Said((op,), (value,)) if op else Unknown("a number over a value")

    return read


def _with_number(kind: type[Op], number: float, first: bool) -> Op | None:
    """``first``: whether the number is what stands first."""
    if kind is ops.Maximum and number == 0:
        return ops.Relu()
    known: Mapping[type[Op], Op] = {
        ops.Add: ops.Scale(1.0, number),
        ops.Multiply: ops.Scale(number, 0.0),
        ops.Subtract: ops.Scale(-1.0, number) if first else ops.Scale(1.0, -number),
        ops.Maximum: ops.Clip(number, math.inf),
        ops.Minimum: ops.Clip(-math.inf, number),
    }
    if kind is ops.Divide and not first and number:
        return ops.Scale(1 / number, 0.0)
    return known.get(kind)


def _power(site: Site) -> Any:
    power = site.call.keyword.get("y")
    if power is None:
        power = _number(site.call.positional[1])
    if power == 2:
        return Said((ops.Square(),), (site.value(),))
    if power == 0.5:
        return Said((ops.Sqrt(),), (site.value(),))
    return Unknown(f"the power {power}")


def _shaped(site: Site) -> Any:
    return reshape(site, site.value())


def _broadcast(site: Site) -> Any:
    """Axes of size 1 that are added; nothing is repeated."""
    x, out = site.value(), site.call.outputs[0]
    if math.prod(site.shape(x)) != math.prod(site.shape(out)):
        return Unknown("it repeats values")
    letters, places = site.letters(x), site.call.keyword.get("broadcast_dimensions")
    more = site.rank(out) - site.rank(x)
    known = site.letters(out)
    # (N, C) as an image of one pixel: what a channel is multiplied by.
    if letters == "NF" and more and places == [0, site.rank(out) - 1]:
        target = known or (
            "N1F"
            if more == 1
            else site.state.frontend.storage("NC" + axes.SPATIAL[more])
        )
        if "1" not in target:
            canonical = "".join(sorted(target, key="NPQRSCDHWTF".index))
            sizes = dict(zip(target, site.shape(out), strict=True))
            op = ops.Reshape(canonical[1:], tuple(sizes[a] for a in canonical[1:]))
            return Said((op,), (x,), (), target)
    return reshape(site, x)


def _transpose(site: Site) -> Any:
    return Layout(site.value(), tuple(site.call.keyword["permutation"]))


def _same(site: Site) -> Any:
    return Layout(site.value(0, "x"))


def _getitem(site: Site) -> Any:
    item = site.call.keyword["index"]
    positional = (site.call.positional[0], item)
    return index(
        Site(dataclasses.replace(site.call, positional=positional), site.state)
    )


def _split(site: Site) -> Any:
    x, axis = site.value(), site.call.keyword["axis"]
    letter = site.letter(x, axis)
    if not letter:
        return Said((), (x,))
    said, start = [], 0
    for number, size in enumerate(site.call.keyword["sizes"]):
        part = ops.Slice(letter, start, start + size)
        said.append(Said((part,), (x,), output=number))
        start += size
    return tuple(said)


def _reversed(site: Site) -> Any:
    x = site.value()
    letters = [site.letter(x, axis) for axis in site.call.keyword["dimensions"]]
    if None in letters:
        return Said((), (x,))
    chain = tuple(ops.Slice(str(letter), -1, None, -1) for letter in letters)
    return Said(chain, (x,))


def _reduce(kind: Any) -> Reader:
    def read(site: Site) -> Any:
        x, over = site.value(), site.call.keyword["axes"]
        keep = bool(site.call.keyword.get("keepdims", False))
        letters = site.letters(x)
        if not letters:
            return Said((), (x,))
        gone = "".join(letters[n] for n in over)
        if "N" in gone:
            return Unknown("a reduction over the observations")
        out = letters if keep else "".join(a for a in letters if a not in gone)
        if not keep and out == "NC":
            # What is left of an image is a vector of features.
            known = {
                ops.ReduceMean: (ops.GlobalAvgPool(),),
                ops.ReduceMax: (ops.GlobalMaxPool(),),
                ops.ReduceSum: (
                    ops.GlobalAvgPool(),
                    ops.Scale(float(math.prod(site.shape(x)[n] for n in over))),
                ),
            }
            return Said(known[kind], (x,), (), "NF")
        return Said((kind(gone, keep),), (x,), (), out)

    return read


def _concat(site: Site) -> Any:
    parts = site.values()
    if len(parts) != len(site.call.positional):
        return Unknown("it joins constants or weights")
    axis = site.call.keyword["dimension"]
    letter = next((found for v in parts if (found := site.letter(v, axis))), None)
    if letter is None:
        return Said((), tuple(parts))
    return Said((ops.Concat(letter),), tuple(parts))


def _pad(site: Site) -> Any:
    x, value = site.value(), _number(site.call.positional[1])
    rows = site.call.keyword["padding_config"]
    if value is None or any(row[2] or min(row[:2]) < 0 for row in rows):
        return Unknown("it pads between values, or by a value")
    if any(rows[0]) or any(rows[-1]) or not 3 <= len(rows) <= 5:
        return Unknown("it pads other axes than height and width")
    letters = site.image(x)
    pads = tuple((row[0], row[1]) for row in rows[1:-1])
    return Said((ops.Pad(pads, value),), (x,), (letters,), letters)


def _view(item: Any) -> tuple[str, list[int | None]]:
    """A weight among the arguments: its path, and the weight's axis at each place."""
    if not isinstance(item, dict) or "weight" not in item:
        raise ValueError("it reads no weight of the model")
    return item["weight"], item["axes"]


def _own_order(view: list[int | None], letters: str) -> str:
    """Letters of a weight in its own order, from those of its axes as they are read."""
    placed = {a: letter for a, letter in zip(view, letters, strict=True)}
    return "".join(placed[a] for a in sorted(a for a in placed if a is not None))


def _bias(site: Site) -> list[Weight]:
    found = site.call.keyword.get("bias")
    return [] if found is None else [Weight(found["weight"], "O", ("bias",))]


def _dot(site: Site) -> Any:
    x = _value(site.call.positional[0])
    ((left, right), (left_batch, right_batch)) = site.call.keyword["dimension_numbers"]
    if x is None:
        return Unknown("a product with a weight on its left")
    if _value(site.call.positional[1]):
        return _matmul(site, left, right, left_batch, right_batch)
    path, view = _view(site.call.positional[1])
    if left != [site.rank(x) - 1] or left_batch or len(view) != 2:
        return Unknown("a product over other axes than the last")
    kernel = _own_order(view, "IO" if right == [0] else "OI")
    letters = _last(site, x)
    bias = _bias(site)
    op = ops.Dense(site.shape(site.call.outputs[0])[-1], bool(bias))
    held = (Weight(path, kernel, ("kernel",)), *bias)
    return Said((op,), (x,), (letters,), letters, {0: held})


def _matmul(
    site: Site, left: Any, right: Any, left_batch: Any, right_batch: Any
) -> Any:
    """A product of two values over their last axes, one matrix per batch."""
    a, b = site.values()
    rank = site.rank(a)
    batch = list(range(rank - 2))
    if left_batch != batch or right_batch != batch or left != [rank - 1]:
        return Unknown("a product of two values over other axes than the last two")
    return product(site, a, b, right == [rank - 1])


def _conv_equation(site: Site) -> Any:
    """A convolution that was written in ``jax.lax``."""
    x, given = site.value(), site.call.keyword
    path, view = _view(site.call.positional[1])
    spec, kernel_spec, out_spec = given["dimension_numbers"]
    dims = site.rank(x) - 2
    space = axes.SPATIAL[dims]
    if given.get("batch_group_count", 1) != 1 or any(
        n != 1 for n in given["lhs_dilation"]
    ):
        return Unknown("a dilated input, or groups of the batch")
    letters = _placed(spec, "NC" + space)
    out = _placed(out_spec, "NC" + space)
    read = _placed(kernel_spec, "OI" + space)
    shape = site.state.weight_shapes[path]
    kernel = tuple(shape[a] for i in kernel_spec[2:] if (a := view[i]) is not None)
    bias = _bias(site)
    op = ops.Conv(
        site.shape(site.call.outputs[0])[out_spec[1]],
        kernel,
        tuple(given["window_strides"]),
        _pairs(given["padding"], dims),
        tuple(given["rhs_dilation"]),
        given.get("feature_group_count", 1),
        bool(bias),
    )
    held = (Weight(path, _own_order(view, read), ("kernel",)), *bias)
    return Said((op,), (x,), (letters,), out, {0: held})


def _placed(spec: Any, letters: str) -> str:
    """``spec`` says at which axis each letter is."""
    found = dict(zip(spec, letters, strict=True))
    return "".join(found[i] for i in range(len(spec)))


def _resize(site: Site) -> Any:
    x, method = site.value(0, "image"), _given(site, 2, "method")
    mode = {"nearest": "nearest"}.get(method)
    if method in ("linear", "bilinear", "trilinear", "triangle"):
        mode = "bilinear"
    before, after = site.shape(x), site.shape(site.call.outputs[0])
    outer = (before[0], before[-1]) == (after[0], after[-1])
    pairs = list(zip(after[1:-1], before[1:-1], strict=True))
    if mode is None or not outer or any(n % m for n, m in pairs):
        return Unknown(f"{method} by a fraction, or along other axes")
    letters = site.image(x)
    op = ops.Upsample(tuple(n // m for n, m in pairs), mode)
    return Said((op,), (x,), (letters,), letters)


def _layers() -> dict[str, Reader]:
    found: dict[str, Reader] = {
        "Conv": _conv,
        "ConvTranspose": _conv_transpose,
        "BatchNorm": _batch_norm,
        "LayerNorm": _layer_norm(ops.LayerNorm),
        "RMSNorm": _layer_norm(ops.RMSNorm),
        "GroupNorm": _group_norm,
        "InstanceNorm": _group_norm,
        "Dropout": _dropout,
        "Embed": _embedding,
        "RNN": _recurrent,
        "Bidirectional": _recurrent,
        "MultiHeadAttention": _attention,
    }
    result = {f"flax.{p}.{n}": r for n, r in found.items() for p in ("nnx", "linen")}
    result |= {
        "flax.nnx.Linear": _dense,
        "flax.linen.Dense": _dense,
        "flax.linen.MultiHeadDotProductAttention": _attention,
        "flax.linen.SelfAttention": _attention,
    }
    return result


def _functions() -> dict[str, Reader]:
    """Functions of ``jax.nn``, and pools."""
    found: dict[str, Reader] = {
        "relu": _plain(lambda s: ops.Relu()),
        "relu6": _plain(lambda s: ops.Clip(0.0, 6.0)),
        "hard_tanh": _plain(lambda s: ops.Clip(-1.0, 1.0)),
        "silu": _plain(lambda s: ops.Silu()),
        "selu": _plain(lambda s: ops.Selu()),
        "sigmoid": _plain(lambda s: ops.Sigmoid()),
        "softplus": _plain(lambda s: ops.Softplus()),
        "elu": _plain(lambda s: ops.Elu(_constant(s, 1, "alpha", 1.0))),
        "leaky_relu": _plain(
            lambda s: ops.LeakyRelu(_constant(s, 1, "negative_slope", 0.01))
        ),
        "gelu": _plain(
            lambda s: ops.Gelu(bool(_given(s, 1, "approximate", default=True)))
        ),
        "softmax": _softmax(ops.Softmax),
        "log_softmax": _softmax(ops.LogSoftmax),
    }
    return {f"jax.nn.{name}": read for name, read in found.items()} | {
        "flax.max_pool": _pool(ops.MaxPool),
        "flax.avg_pool": _pool(ops.AvgPool),
        "jax.image.resize": _resize,
    }


def _equations() -> dict[str, Reader]:
    plain: Mapping[str, Callable[[], Op]] = {
        "logistic": ops.Sigmoid,
        "tanh": ops.Tanh,
        "exp": ops.Exp,
        "log": ops.Log,
        "sqrt": ops.Sqrt,
        "abs": ops.Abs,
        "square": ops.Square,
        "neg": ops.Negative,
    }
    found: dict[str, Reader] = {
        name: _plain(lambda site, kind=kind: kind())  # type: ignore[misc]
        for name, kind in plain.items()
    }
    binary = {
        "add": ops.Add,
        "sub": ops.Subtract,
        "mul": ops.Multiply,
        "div": ops.Divide,
        "max": ops.Maximum,
        "min": ops.Minimum,
    }
    found |= {name: _binary(kind) for name, kind in binary.items()}
    found |= {
        "integer_pow": _power,
        "pow": _power,
        "reshape": _shaped,
        "squeeze": _shaped,
        "expand_dims": _shaped,
        "broadcast_in_dim": _broadcast,
        "transpose": _transpose,
        "convert_element_type": _same,
        "reduce_precision": _same,
        "getitem": _getitem,
        "split": _split,
        "rev": _reversed,
        "mean": _reduce(ops.ReduceMean),
        "reduce_sum": _reduce(ops.ReduceSum),
        "reduce_max": _reduce(ops.ReduceMax),
        "concatenate": _concat,
        "pad": _pad,
        "dot_general": _dot,
        "conv_general_dilated": _conv_equation,
        "reduce_window_max": _reduce_window(ops.MaxPool),
        "reduce_window_sum": _reduce_window(ops.AvgPool),
    }
    return {f"jax.{name}": read for name, read in found.items()}


frontend = Frontend(
    "flax", "Flax", _layers() | _functions() | _equations(), axes.channels_last
)

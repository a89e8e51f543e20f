"""Layers and functions of Keras as operations, on whichever engine."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from netglot import axes, ops
from netglot.backend import Weight
from netglot.frontends.reading import Frontend, Layout, Reader, Said, Site, Unknown
from netglot.frontends.shaping import index, product, reshape
from netglot.ops import Op


def _each(value: Any, count: int) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,) * count


def _setting(site: Site, name: str, default: Any = None) -> Any:
    """The setting of a layer, or the argument of a function by name."""
    if name in site.call.attributes:
        return site.call.attributes[name]
    return site.call.keyword.get(name, default)


def _held(site: Site, **names: tuple[str, str]) -> tuple[Weight, ...]:
    """``kernel=("kernel", "IO")``: weights that the layer has, by the operation's."""
    return tuple(
        Weight(path, letters, (source,))
        for source, (own, letters) in names.items()
        if (path := site.weight(own)) is not None
    )


def _last(site: Site, value: str) -> str:
    """Letters of a value whose last axis is features."""
    rank = site.rank(value)
    known = {2: "NF", 3: "NTF", 4: "NHWF", 5: "NDHWF"}
    if rank not in known:
        raise ValueError(f"it reads the last of {rank} axes")
    return known[rank]


def _space(site: Site, value: str, dims: int | None = None) -> str:
    """Letters of an image, by the layer's ``data_format``."""
    dims = site.rank(value) - 2 if dims is None else dims
    if dims not in axes.SPATIAL or site.rank(value) != dims + 2:
        raise ValueError(f"it reads {site.rank(value)} axes")
    if _setting(site, "data_format") == "channels_first":
        return "NC" + axes.SPATIAL[dims]
    return "N" + axes.SPATIAL[dims] + "C"


def _sizes(site: Site, value: str, letters: str) -> dict[str, int]:
    return dict(zip(letters, site.shape(value), strict=True))


def _masked(site: Site) -> bool:
    """Whether the call got a mask."""
    return any(
        isinstance(item, dict) and "value" in item
        for name, item in site.call.keyword.items()
        if name.endswith("mask")
    )


# --- Activations ----------------------------------------------------------------------

#: By the names that Keras gives them; each is a chain of operations.
ACTIVATIONS: Mapping[str, tuple[Op, ...]] = {
    "linear": (),
    "relu": (ops.Relu(),),
    "relu6": (ops.Clip(0.0, 6.0),),
    "leaky_relu": (ops.LeakyRelu(0.2),),
    "elu": (ops.Elu(1.0),),
    "selu": (ops.Selu(),),
    "gelu": (ops.Gelu(False),),
    "silu": (ops.Silu(),),
    "swish": (ops.Silu(),),
    "sigmoid": (ops.Sigmoid(),),
    "tanh": (ops.Tanh(),),
    "softplus": (ops.Softplus(),),
    "exponential": (ops.Exp(),),
    "hard_sigmoid": (ops.Scale(1 / 6, 0.5), ops.Clip(0.0, 1.0)),
}


def _activation(site: Site, last: str) -> tuple[Op, ...]:
    """What a layer does with its result, whose last axis is ``last``."""
    name = site.attribute("activation")
    if name is None:
        return ()
    if isinstance(name, str):
        if name == "softmax":
            return (ops.Softmax(last),)
        if name == "log_softmax":
            return (ops.LogSoftmax(last),)
        if name in ACTIVATIONS:
            return ACTIVATIONS[name]
    if isinstance(name, dict):
        found = _shaped_activation(name["kind"], name.get("settings", {}).get, last)
        if found is not None:
            return (found,)
        name = name["kind"]
    raise ValueError(f"its activation {name} is none of the operations")


def _shaped_activation(kind: str, get: Callable[..., Any], last: str) -> Op | None:
    """An activation with settings, as a layer of its own has them."""
    if kind == "LeakyReLU":
        return ops.LeakyRelu(get("negative_slope", 0.3))
    if kind == "ELU":
        return ops.Elu(get("alpha", 1.0))
    if kind == "ReLU":
        slope, top = get("negative_slope") or 0.0, get("max_value")
        if get("threshold"):
            return None
        if top is not None:
            return None if slope else ops.Clip(0.0, float(top))
        return ops.LeakyRelu(slope) if slope else ops.Relu()
    return None


def _activation_layer(site: Site) -> Any:
    x = site.value()
    letter = site.letter(x, -1)
    if letter is None:
        return Said((), (x,))
    chain = _activation(site, letter)
    return Said(chain, (x,)) if chain else Layout(x)


def _with_settings(kind: str) -> Reader:
    def read(site: Site) -> Any:
        op = _shaped_activation(
            kind, lambda name, default=None: _setting(site, name, default), ""
        )
        return (
            Said((op,), (site.value(),)) if op else Unknown(f"a {kind} of its own form")
        )

    return read


def _softmax(kind: Any) -> Reader:
    def read(site: Site) -> Any:
        x, axis = site.value(), _setting(site, "axis", -1)
        if _masked(site):
            return Unknown("a mask")
        if not isinstance(axis, int):
            return Unknown("a softmax over several axes")
        letter = site.letter(x, axis)
        return Said((kind(letter),), (x,)) if letter else Said((), (x,))

    return read


def _gelu(site: Site) -> Any:
    approximate = bool(_setting(site, "approximate", True))
    return Said((ops.Gelu(approximate),), (site.value(),))


def _plain(*chain: Op) -> Reader:
    return lambda site: Said(chain, (site.value(),))


# --- Layers ---------------------------------------------------------------------------


def _dense(site: Site) -> Any:
    x = site.value()
    letters = _last(site, x)
    op = ops.Dense(site.attribute("units"), site.weight("bias") is not None)
    held = _held(site, kernel=("kernel", "IO"), bias=("bias", "O"))
    chain = (op, *_activation(site, "F"))
    return Said(chain, (x,), (letters,), letters, {0: held})


def _windows(
    site: Site, sizes: Sequence[int], kernel: Any, stride: Any, dilation: Any
) -> ops.Pads:
    """The zeros before and after each axis; those of ``same`` follow the sizes."""
    padding = _setting(site, "padding", "valid")
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding == "causal":
        return tuple((r, 0) for r in reach)
    if padding != "same":
        raise ValueError(f"padding {padding}")
    result = []
    for size, r, step in zip(sizes, reach, stride, strict=True):
        total = max((-(-size // step) - 1) * step + r + 1 - size, 0)
        result.append((total // 2, total - total // 2))
    return tuple(result)


def _geometry(site: Site, x: str, dims: int) -> tuple[str, Any, Any, Any, ops.Pads]:
    letters = _space(site, x, dims)
    found = _sizes(site, x, letters)
    kernel = _each(site.attribute("kernel_size"), dims)
    stride = _each(site.attribute("strides", 1), dims)
    dilation = _each(site.attribute("dilation_rate", 1), dims)
    sizes = [found[a] for a in axes.SPATIAL[dims]]
    pads = _windows(site, sizes, kernel, stride, dilation)
    return letters, kernel, stride, dilation, pads


def _convolution(dims: int) -> Reader:
    def read(site: Site) -> Any:
        x = site.value()
        letters, kernel, stride, dilation, pads = _geometry(site, x, dims)
        op = ops.Conv(
            site.attribute("filters"),
            kernel,
            stride,
            pads,
            dilation,
            site.attribute("groups", 1),
            site.weight("bias") is not None,
        )
        own = axes.SPATIAL[dims] + "IO"
        held = _held(site, kernel=("kernel", own), bias=("bias", "O"))
        chain = (op, *_activation(site, letters[-1]))
        return Said(chain, (x,), (letters,), letters, {0: held})

    return read


def _depthwise(path: str, space: str, channels: int, times: int) -> Weight:
    """A kernel per channel, several of them one after the other."""
    cut = {"O": (("C", channels), ("M", times)), "I": ()}
    return Weight(path, space + "CM", ("kernel",), split=cut)


def _depthwise_convolution(dims: int, separable: bool) -> Reader:
    def read(site: Site) -> Any:
        x, space = site.value(), axes.SPATIAL[dims]
        letters, kernel, stride, dilation, pads = _geometry(site, x, dims)
        channels = _sizes(site, x, letters)["C"]
        times = site.attribute("depth_multiplier", 1)
        bias = site.weight("bias") is not None
        own = site.weight("depthwise_kernel" if separable else "kernel")
        held: dict[int, tuple[Weight, ...]] = {}
        held[0] = (_depthwise(str(own), space, channels, times),)
        one = ops.Conv(
            channels * times,
            kernel,
            stride,
            pads,
            dilation,
            channels,
            bias and not separable,
        )
        chain: tuple[Op, ...] = (one,)
        if separable:
            filters = site.attribute("filters")
            chain = (one, ops.Conv(filters, (1,) * dims, bias=bias))
            pointwise = {"kernel": ("pointwise_kernel", space + "IO")}
            held[1] = _held(site, **pointwise, bias=("bias", "O"))
        elif bias:
            held[0] += _held(site, bias=("bias", "O"))
        chain += _activation(site, letters[-1])
        return Said(chain, (x,), (letters,), letters, held)

    return read


def _transposed(dims: int) -> Reader:
    def read(site: Site) -> Any:
        x = site.value()
        letters, kernel, stride, dilation, _ = _geometry(site, x, dims)
        more = _each(site.attribute("output_padding"), dims)
        padding, rest = [], []
        for k, step, d, extra in zip(kernel, stride, dilation, more, strict=True):
            reach = d * (k - 1) + 1
            before, after = _filled(reach, step, site.attribute("padding"), extra)
            padding.append((reach - 1 - before, max(reach - 1 - after, 0)))
            rest.append(max(after - reach + 1, 0))
        op = ops.ConvTranspose(
            site.attribute("filters"),
            kernel,
            stride,
            tuple(padding),
            tuple(rest),
            dilation,
            1,
            site.weight("bias") is not None,
        )
        own = axes.SPATIAL[dims] + "OI"
        held = _held(site, kernel=("kernel", own), bias=("bias", "O"))
        chain = (op, *_activation(site, letters[-1]))
        return Said(chain, (x,), (letters,), letters, {0: held})

    return read


def _filled(reach: int, step: int, padding: str, extra: int | None) -> tuple[int, int]:
    """What a transposed convolution adds around its spread-out input.

    ``keras/src/backend/common/backend_utils.py``: without an ``output_padding`` the
    result has a multiple of the stride, or all that the kernel reaches.
    """
    if padding == "valid":
        more = max(reach, step) - reach if extra is None else extra
        return reach - 1, reach - 1 + more
    total = step + reach - 2 if extra is None else reach + reach % 2 - 2 + extra
    before = min(total // 2 + total % 2, reach - 1)
    return before, total - before


def _pool(kind: Any, dims: int) -> Reader:
    def read(site: Site) -> Any:
        x = site.value()
        letters = _space(site, x, dims)
        found = _sizes(site, x, letters)
        sizes = [found[a] for a in axes.SPATIAL[dims]]
        kernel = _each(_setting(site, "pool_size"), dims)
        given = _setting(site, "strides")
        stride = kernel if given is None else _each(given, dims)
        pads = _windows(site, sizes, kernel, stride, (1,) * dims)
        uneven = any(before != after for before, after in pads)
        torch = site.state.recording.version.endswith("on torch")
        if kind is ops.AvgPool and uneven and torch:
            return Unknown("on PyTorch it repeats the border, and counts it")
        return Said((kind(kernel, stride, pads),), (x,), (letters,), letters)

    return read


def _global(kind: Any, kept: Any, dims: int) -> Reader:
    def read(site: Site) -> Any:
        x = site.value()
        if _masked(site):
            return Unknown("a mask")
        if dims == 1 and site.letters(x) == "NTF":
            keep = bool(site.attribute("keepdims"))
            out = "NTF" if keep else "NF"
            return Said((kept("T", keep),), (x,), ("NTF",), out)
        letters = _space(site, x, dims)
        if site.attribute("keepdims"):
            return Said((kept(axes.SPATIAL[dims], True),), (x,), (letters,), letters)
        return Said((kind(),), (x,), (letters,), "NF")

    return read


def _channels(site: Site, x: str, axis: Any) -> str:
    """Letters of a value whose channels are on an axis."""
    rank = site.rank(x)
    place = _each(axis, 1)
    if len(place) != 1:
        raise ValueError("it keeps several axes")
    last = place[0] in (-1, rank - 1)
    if rank == 2:
        return "NF"
    if last:
        known = site.letters(x)
        if known and known.endswith("F"):
            return known
        return "NTF" if rank == 3 else "N" + axes.SPATIAL[rank - 2] + "C"
    if place[0] % rank != 1:
        raise ValueError(f"its channels are on axis {axis}")
    return "NC" + axes.SPATIAL[rank - 2]


def _batch_norm(site: Site) -> Any:
    x = site.value()
    if _masked(site):
        return Unknown("a mask")
    if site.attribute("renorm"):
        return Unknown("batch renormalization")
    letters = _channels(site, x, site.attribute("axis", -1))
    letter = "C" if "C" in letters else "F"
    op = ops.BatchNorm(
        site.attribute("momentum"),
        site.attribute("epsilon"),
        site.weight("gamma") is not None,
        site.weight("beta") is not None,
    )
    held = _held(
        site,
        scale=("gamma", letter),
        shift=("beta", letter),
        mean=("moving_mean", letter),
        variance=("moving_variance", letter),
    )
    return Said((op,), (x,), (letters,), letters, {0: held})


def _layer_norm(site: Site) -> Any:
    x = site.value()
    axis = _each(site.attribute("axis", -1), 1)
    if len(axis) != 1 or axis[0] not in (-1, site.rank(x) - 1):
        return Unknown("it normalises other axes than the last")
    letters = _last(site, x)
    held = _held(site, scale=("gamma", "F"), shift=("beta", "F"))
    if site.attribute("rms_scaling"):
        return Unknown("it divides by the variance alone (rms_scaling)")
    op = ops.LayerNorm(site.attribute("epsilon"), *_affine(site))
    return Said((op,), (x,), (letters,), letters, {0: held})


def _affine(site: Site) -> tuple[bool, bool]:
    return site.weight("gamma") is not None, site.weight("beta") is not None


def _rms_norm(site: Site) -> Any:
    x = site.value()
    axis = _each(site.attribute("axis", -1), 1)
    if len(axis) != 1 or axis[0] not in (-1, site.rank(x) - 1):
        return Unknown("it normalises other axes than the last")
    letters = _last(site, x)
    op = ops.RMSNorm(site.attribute("epsilon"), site.weight("scale") is not None)
    return Said(
        (op,), (x,), (letters,), letters, {0: _held(site, scale=("scale", "F"))}
    )


def _group_norm(site: Site) -> Any:
    x, axis = site.value(), site.attribute("axis", -1)
    rank = site.rank(x)
    if rank - 2 not in axes.SPATIAL:
        return Unknown(f"it reads {rank} axes")
    space = axes.SPATIAL[rank - 2]
    letters = "N" + space + "C" if axis in (-1, rank - 1) else "NC" + space
    groups = site.attribute("groups")
    if groups == -1:
        groups = _sizes(site, x, letters)["C"]
    op = ops.GroupNorm(groups, site.attribute("epsilon"), *_affine(site))
    held = _held(site, scale=("gamma", "C"), shift=("beta", "C"))
    return Said((op,), (x,), (letters,), letters, {0: held})


def _dropout(site: Site) -> Any:
    if site.attribute("noise_shape") is not None:
        return Unknown("it drops whole parts (noise_shape)")
    return Said((ops.Dropout(site.attribute("rate")),), (site.value(),))


def _dropout_function(site: Site) -> Any:
    if site.argument(2, "noise_shape") is not None:
        return Unknown("it drops whole parts (noise_shape)")
    return Said((ops.Dropout(site.argument(1, "rate")),), (site.value(),))


def _embedding(site: Site) -> Any:
    op = ops.Embedding(site.attribute("input_dim"), site.attribute("output_dim"))
    held = _held(site, table=("embeddings", "VF"))
    return Said((op,), (site.value(),), ("NT",), "NTF", {0: held})


RECURRENT = {"SimpleRNN": ops.SimpleRNN, "LSTM": ops.LSTM, "GRU": ops.GRU}


def _recurrent_op(kind: str, get: Callable[..., Any], direction: str) -> Any:
    """The operation, by the settings of a layer; raises ``ValueError``."""
    if get("stateful"):
        raise ValueError("it goes on from the state of the batch before (stateful)")
    more: dict[str, Any] = {}
    bias = "one" if get("use_bias", True) else "none"
    if kind != "SimpleRNN" and get("recurrent_activation") != "sigmoid":
        raise ValueError(f"its gates are by {get('recurrent_activation')}")
    if kind == "GRU":
        after = get("reset_after", True)
        more["reset"] = "after" if after else "before"
        bias = "two" if after and bias == "one" else bias
    if kind == "LSTM":
        more["forget_bias"] = 1.0 if get("unit_forget_bias", True) else 0.0
    if get("activation") not in ("tanh", "relu", "sigmoid"):
        raise ValueError(f"its activation is {get('activation')}")
    return RECURRENT[kind](
        get("units"),
        activation=get("activation"),
        bias=bias,
        direction=direction,
        returns="sequence" if get("return_sequences") else "last",
        **more,
    )


def _recurrent_weights(site: Site, op: Any, place: str, back: str) -> list[Weight]:
    """Weights of one direction; ``place`` is what its names begin with."""
    gates = "zrn" if isinstance(op, ops.GRU) else ""
    found: dict[str, str] = {}
    for own in site.call.weights:
        head, _, name = own.rpartition("/")
        if head.startswith(place):
            found[name] = site.call.weights[own]
    held = [
        Weight(found["kernel"], "IG", ("kernel" + back,), gates),
        Weight(found["recurrent_kernel"], "HG", ("recurrent" + back,), gates),
    ]
    if op.bias == "two":
        pair = ("bias" + back, "recurrent_bias" + back)
        held.append(Weight(found["bias"], "SG", pair, gates))
    elif op.bias == "one":
        held.append(Weight(found["bias"], "G", ("bias" + back,), gates))
    return held


def _recurrent(site: Site) -> Any:
    x = site.value()
    if len(site.values()) > 1:
        return Unknown("a mask" if _masked(site) else "an initial state")
    backward = bool(site.attribute("go_backwards"))
    kind = site.call.kind.rpartition(".")[2]
    op = _recurrent_op(kind, site.attribute, "backward" if backward else "forward")
    back = "_back" if backward else ""
    held = {0: tuple(_recurrent_weights(site, op, "", back))}
    chain: tuple[Op, ...] = (op,)
    if op.returns == "sequence" and backward:
        # Its results come in the order in which they are computed.
        chain += (ops.Slice("T", -1, None, -1),)
    out = "NTF" if op.returns == "sequence" else "NF"
    said = Said(chain, (x,), ("NTF",), out, held)
    if len(site.call.outputs) == 1:
        return said
    settings = dict(site.call.attributes) | {"return_sequences": False}
    last = _recurrent_op(kind, settings.get, op.direction)
    return said, Said((last,), (x,), ("NTF",), "NF", held, output=1)


def _bidirectional(site: Site) -> Any:
    x = site.value()
    if len(site.values()) > 1:
        return Unknown("a mask" if _masked(site) else "an initial state")
    if len(site.call.outputs) > 1:
        return Unknown("it gives its states")
    if site.attribute("merge_mode") != "concat":
        return Unknown(f"its directions are merged by {site.attribute('merge_mode')}")
    layer = site.attribute("layer")
    kind, settings = layer["kind"], layer.get("settings", {})
    if kind not in RECURRENT:
        return Unknown(f"two directions of {kind}")
    other = site.attribute("backward_layer")
    apart = ("name", "go_backwards")
    if other and any(
        other["settings"].get(n) != v for n, v in settings.items() if n not in apart
    ):
        return Unknown("its directions differ")
    if settings.get("go_backwards"):
        return Unknown("its first direction is backwards")
    op = _recurrent_op(kind, settings.get, "both")
    held = _recurrent_weights(site, op, "forward_", "")
    held += _recurrent_weights(site, op, "backward_", "_back")
    out = "NTF" if op.returns == "sequence" else "NF"
    return Said((op,), (x,), ("NTF",), out, {0: tuple(held)})


def _at_each_step(site: Site) -> Any:
    """A layer that is applied to every step of a series: a Dense is one anyway."""
    layer = site.attribute("layer")
    if layer["kind"] != "Dense" or _masked(site) or site.rank(site.value()) != 3:
        return Unknown(f"{layer['kind']} at every step")
    settings, own = layer["settings"], site.call.weights
    weights = {name.rpartition("/")[2]: path for name, path in own.items()}
    call = dataclasses.replace(site.call, attributes=settings, weights=weights)
    return _dense(Site(call, site.state))


def _attention(site: Site) -> Any:
    arguments = dict(enumerate(site.call.positional))
    names = ("query", "value", "key")
    given = {
        name: item["value"]
        for place, name in enumerate(names)
        if isinstance(item := arguments.get(place, site.call.keyword.get(name)), dict)
    }
    if _masked(site) or len(site.call.positional) > 3:
        return Unknown("a mask")
    if site.argument(7, "return_attention_scores"):
        return Unknown("it gives its scores")
    heads, width = site.attribute("num_heads"), site.attribute("key_dim")
    query, value = given["query"], given["value"]
    key = given.get("key", value)
    if site.attribute("value_dim", width) not in (None, width):
        return Unknown("its values are wider than its keys")
    if site.attribute("output_shape") is not None:
        return Unknown("it gives another shape than it is given")
    if site.rank(query) != 3 or heads * width != site.shape(query)[-1]:
        return Unknown("its heads are not the query cut in parts")
    if site.attribute("use_gate") or site.attribute("sliding_window"):
        return Unknown("it has a gate or a window")
    bias = bool(site.attribute("use_bias", True))
    causal = bool(site.call.keyword.get("use_causal_mask", False))
    cut = (("A", heads), ("K", width))
    held = []
    for name in ("query", "key", "value"):
        path = str(site.weight(f"{name}/kernel"))
        held.append(Weight(path, "IAK", (f"{name}_kernel",), split={"O": cut}))
        if bias:
            path = str(site.weight(f"{name}/bias"))
            held.append(Weight(path, "AK", (f"{name}_bias",), split={"O": cut}))
    path = str(site.weight("attention_output/kernel"))
    held.append(Weight(path, "AKO", ("output_kernel",), split={"I": cut}))
    if bias:
        path = str(site.weight("attention_output/bias"))
        held.append(Weight(path, "O", ("output_bias",)))
    op = ops.MultiHeadAttention(heads, causal, bias)
    inputs = (query, key, value)
    if len(set(inputs)) == 1:
        inputs = inputs[:1]  # type: ignore[assignment]
    elif key == value:
        inputs = (query, value)  # type: ignore[assignment]
    letters = ("NTF",) * len(inputs)
    return Said((op,), inputs, letters, "NTF", {0: tuple(held)})


def _rescaling(site: Site) -> Any:
    factor, offset = site.attribute("scale"), site.attribute("offset", 0.0)
    if not all(isinstance(n, int | float) for n in (factor, offset)):
        return Unknown("a scale for each channel")
    return Said((ops.Scale(float(factor), float(offset)),), (site.value(),))


def _pairs(value: Any, dims: int) -> tuple[tuple[int, int], ...]:
    """``((1, 0), (2, 1))``; a series has one pair alone."""
    if dims == 1 and isinstance(value, list | tuple) and isinstance(value[0], int):
        return (tuple(value),)  # type: ignore[return-value]
    return tuple((n, n) if isinstance(n, int) else tuple(n) for n in _each(value, dims))


def _zero_padding(dims: int) -> Reader:
    def read(site: Site) -> Any:
        x = site.value()
        letters = _space(site, x, dims)
        pads = _pairs(site.attribute("padding"), dims)
        return Said((ops.Pad(pads),), (x,), (letters,), letters)

    return read


def _cropping(dims: int) -> Reader:
    def read(site: Site) -> Any:
        x = site.value()
        letters = _space(site, x, dims)
        pairs = _pairs(site.attribute("cropping"), dims)
        chain = tuple(
            ops.Slice(letter, before, -after or None)
            for letter, (before, after) in zip(axes.SPATIAL[dims], pairs, strict=True)
            if before or after
        )
        return Said(chain, (x,), (letters,), letters) if chain else Layout(x)

    return read


def _upsampling(dims: int) -> Reader:
    def read(site: Site) -> Any:
        x, mode = site.value(), site.attribute("interpolation", "nearest")
        if mode not in ("nearest", "bilinear"):
            return Unknown(f"it enlarges by {mode}")
        letters = _space(site, x, dims)
        op = ops.Upsample(_each(site.attribute("size"), dims), mode)
        return Said((op,), (x,), (letters,), letters)

    return read


def _merge(kind: type[Op]) -> Reader:
    """Two values or more, one after the other."""

    def read(site: Site) -> Any:
        first, *rest = site.values()
        if any(site.rank(v) != site.rank(first) for v in rest):
            return Unknown("values of different ranks")
        more = {number: (value,) for number, value in enumerate(rest[1:], 1)}
        chain: tuple[Op, ...] = (kind(),) * len(rest)
        if site.call.kind.endswith(".Average"):
            chain += (ops.Scale(1 / (1 + len(rest)), 0.0),)
        return Said(chain, (first, *rest[:1]), more=more) if rest else Layout(first)

    return read


def _concat(site: Site) -> Any:
    parts, axis = site.values(), _setting(site, "axis", -1)
    letter = next((found for v in parts if (found := site.letter(v, axis))), None)
    return Said((ops.Concat(letter),) if letter else (), tuple(parts))


# --- Shapes ---------------------------------------------------------------------------


def _flatten(site: Site) -> Any:
    x = site.value()
    if site.rank(x) < 3:
        return reshape(site, x)
    merged = ""
    if site.attribute("data_format") == "channels_first":
        # It puts the channels last before.
        letters = site.letters(x)
        if letters is None:
            return Said((), (x,))
        merged = letters[2:] + letters[1]
    return Said((ops.Flatten(),), (x,), (), "NF", merged=merged)


def _shaped(site: Site) -> Any:
    return reshape(site, site.value())


def _permute(site: Site) -> Any:
    x = site.value()
    rank = site.rank(x)
    given = _setting(site, "dims")
    if given is not None:
        return Layout(x, (0, *given))
    order = _setting(site, "axes")
    order = range(rank)[::-1] if order is None else order
    return Layout(x, tuple(n % rank for n in order))


def _swap(site: Site) -> Any:
    x = site.value()
    rank = site.rank(x)
    order = list(range(rank))
    a, b = _setting(site, "axis1") % rank, _setting(site, "axis2") % rank
    order[a], order[b] = order[b], order[a]
    return Layout(x, tuple(order))


def _same(site: Site) -> Any:
    return Layout(site.value())


def _split(site: Site) -> Any:
    x, axis = site.value(), _setting(site, "axis", 0)
    letter = site.letter(x, axis)
    if letter is None:
        return Said((), (x,))
    result, start = [], 0
    for number, output in enumerate(site.call.outputs):
        stop = start + site.shape(output)[axis]
        result.append(Said((ops.Slice(letter, start, stop),), (x,), output=number))
        start = stop
    return tuple(result)


def _pad(site: Site) -> Any:
    x, given = site.value(), _setting(site, "pad_width")
    if _setting(site, "mode", "constant") != "constant":
        return Unknown(f"padding by {_setting(site, 'mode')}")
    pairs = dict(zip(range(site.rank(x)), _pairs(given, site.rank(x)), strict=True))
    letters = site.letters(x) or ""
    if "C" not in letters:
        letters = site.image(x)
    space = letters.replace("N", "").replace("C", "")
    pads = tuple(pairs[letters.index(a)] for a in space)
    if any(map(any, (p for i, p in pairs.items() if letters[i] not in space))):
        return Unknown("it pads channels")
    value = float(_setting(site, "constant_values") or 0.0)
    return Said((ops.Pad(pads, value),), (x,), (letters,), letters)


# --- Arithmetic -----------------------------------------------------------------------


def _binary(kind: type[Op]) -> Reader:
    """Arithmetic of two values, or of a value and a number."""

    def read(site: Site) -> Any:
        values = site.values()
        if len(values) == 2:
            if site.rank(values[0]) != site.rank(values[1]):
                return Unknown("values of different ranks")
            return Said((kind(),), tuple(values))
        numbers = [
            (place, n)
            for place, n in enumerate(site.call.positional)
            if isinstance(n, int | float) and not isinstance(n, bool)
        ]
        if len(values) != 1 or len(numbers) != 1:
            return Unknown("arithmetic with something that is no value")
        place, number = numbers[0]
        return _with_number(kind, values[0], float(number), place == 0)

    return read


def _with_number(kind: type[Op], x: str, number: float, first: bool) -> Any:
    if kind is ops.Add:
        op: Op = ops.Scale(1.0, number)
    elif kind is ops.Multiply:
        op = ops.Scale(number, 0.0)
    elif kind is ops.Subtract:
        op = ops.Scale(-1.0, number) if first else ops.Scale(1.0, -number)
    elif kind is ops.Divide and number and not first:
        op = ops.Scale(1 / number, 0.0)
    elif kind is ops.Maximum:
        op = ops.Clip(number, math.inf)
    elif kind is ops.Minimum:
        op = ops.Clip(-math.inf, number)
    else:
        return Unknown(f"{kind.__name__} with a number")
    return Said((op,), (x,))


def _power(site: Site) -> Any:
    exponent = site.argument(1, "x2")
    chain = {2: ops.Square(), 0.5: ops.Sqrt()}
    if isinstance(exponent, dict) or exponent not in chain:
        return Unknown("a power other than 2")
    return Said((chain[exponent],), (site.value(),))


def _clip(site: Site) -> Any:
    low, high = _setting(site, "x_min"), _setting(site, "x_max")
    if not all(isinstance(n, int | float) for n in (low, high)):
        return Unknown("bounds that are values")
    return Said((ops.Clip(float(low), float(high)),), (site.value(),))


def _reduce(kind: Any) -> Reader:
    def read(site: Site) -> Any:
        x, given = site.value(), _setting(site, "axis")
        keep = bool(_setting(site, "keepdims", False))
        letters = site.letters(x)
        if given is None:
            return Unknown("a reduction over everything")
        if not letters:
            return Said((), (x,))
        over = [letters[n] for n in _each(given, 1)]
        if "N" in over:
            return Unknown("a reduction over the observations")
        out = letters if keep else "".join(a for a in letters if a not in over)
        if not keep and out == "NC":
            # What is left of an image is a vector of features.
            whole = {
                ops.ReduceMean: ops.GlobalAvgPool,
                ops.ReduceMax: ops.GlobalMaxPool,
            }
            if kind in whole:
                return Said((whole[kind](),), (x,), (), "NF")
        return Said((kind("".join(over), keep),), (x,), (), out)

    return read


def _matmul(site: Site) -> Any:
    given = site.argument(1, "x2")
    values = site.values()
    if len(values) == 2:
        return product(site, values[0], values[1])
    if not isinstance(given, dict) or "weight" not in given:
        return Unknown("a product of two values")
    x = site.value()
    letters = _last(site, x)
    if len(site.state.weight_shapes[given["weight"]]) != 2:
        return Unknown("a product with a weight of other than two axes")
    op = ops.Dense(site.shape(site.call.outputs[0])[-1], False)
    held = (Weight(given["weight"], "IO", ("kernel",)),)
    return Said((op,), (x,), (letters,), letters, {0: held})


def _take(site: Site) -> Any:
    """Rows of a weight: an embedding."""
    table, x = site.argument(0, "x"), site.value(1, "indices")
    if not isinstance(table, dict) or "weight" not in table:
        return Unknown("values taken out of a value")
    shape = site.state.weight_shapes[table["weight"]]
    if _setting(site, "axis") not in (0, -2) or len(shape) != 2:
        return Unknown("values taken along another axis than the first")
    held = (Weight(table["weight"], "VF", ("table",)),)
    return Said((ops.Embedding(*shape),), (x,), ("NT",), "NTF", {0: held})


def _layers() -> dict[str, Reader]:
    found: dict[str, Reader] = {
        "Dense": _dense,
        "BatchNormalization": _batch_norm,
        "LayerNormalization": _layer_norm,
        "RMSNormalization": _rms_norm,
        "GroupNormalization": _group_norm,
        "Dropout": _dropout,
        "Embedding": _embedding,
        "Bidirectional": _bidirectional,
        "TimeDistributed": _at_each_step,
        "MultiHeadAttention": _attention,
        "Activation": _activation_layer,
        "ReLU": _with_settings("ReLU"),
        "LeakyReLU": _with_settings("LeakyReLU"),
        "ELU": _with_settings("ELU"),
        "Softmax": _softmax(ops.Softmax),
        "Rescaling": _rescaling,
        "Flatten": _flatten,
        "Reshape": _shaped,
        "Permute": _permute,
        "Identity": _same,
        "ActivityRegularization": _same,
        "Concatenate": _concat,
        "Average": _merge(ops.Add),
        **{kind: _recurrent for kind in RECURRENT},
    }
    for kind in (ops.Add, ops.Subtract, ops.Multiply, ops.Maximum, ops.Minimum):
        found[kind.__name__] = _merge(kind)
    for dims in (1, 2, 3):
        mean = _global(ops.GlobalAvgPool, ops.ReduceMean, dims)
        most = _global(ops.GlobalMaxPool, ops.ReduceMax, dims)
        found |= {
            f"Conv{dims}D": _convolution(dims),
            f"Conv{dims}DTranspose": _transposed(dims),
            f"DepthwiseConv{dims}D": _depthwise_convolution(dims, False),
            f"SeparableConv{dims}D": _depthwise_convolution(dims, True),
            f"MaxPooling{dims}D": _pool(ops.MaxPool, dims),
            f"AveragePooling{dims}D": _pool(ops.AvgPool, dims),
            f"GlobalAveragePooling{dims}D": mean,
            f"GlobalMaxPooling{dims}D": most,
            f"ZeroPadding{dims}D": _zero_padding(dims),
            f"Cropping{dims}D": _cropping(dims),
            f"UpSampling{dims}D": _upsampling(dims),
        }
    for dims in (1, 2, 3):
        found[f"SpatialDropout{dims}D"] = lambda site: Unknown(
            "it drops whole channels at once"
        )
    return {f"keras.layers.{name}": read for name, read in found.items()}


def _functions() -> dict[str, Reader]:
    found: dict[str, Reader] = {
        name: _plain(*chain) for name, chain in ACTIVATIONS.items() if chain
    }
    found |= {
        "re_lu": _with_settings("ReLU"),
        "leaky_relu": _with_settings("LeakyReLU"),
        "elu": _with_settings("ELU"),
        "gelu": _gelu,
        "softmax": _softmax(ops.Softmax),
        "log_softmax": _softmax(ops.LogSoftmax),
        "negative": _plain(ops.Negative()),
        "exp": _plain(ops.Exp()),
        "log": _plain(ops.Log()),
        "sqrt": _plain(ops.Sqrt()),
        "abs": _plain(ops.Abs()),
        "absolute": _plain(ops.Abs()),
        "square": _plain(ops.Square()),
        "power": _power,
        "clip": _clip,
        "reshape": _shaped,
        "expand_dims": _shaped,
        "squeeze": _shaped,
        "transpose": _permute,
        "swapaxes": _swap,
        "concatenate": _concat,
        "split": _split,
        "get_item": index,
        "pad": _pad,
        "mean": _reduce(ops.ReduceMean),
        "sum": _reduce(ops.ReduceSum),
        "max": _reduce(ops.ReduceMax),
        "amax": _reduce(ops.ReduceMax),
        "matmul": _matmul,
        "dot": _matmul,
        "take": _take,
        "cast": _same,
        "convert_to_tensor": _same,
        "copy": _same,
        "identity": _same,
        "stop_gradient": _same,
        "max_pool": lambda site: _pool(ops.MaxPool, site.rank(site.value()) - 2)(site),
        "average_pool": lambda site: _pool(ops.AvgPool, site.rank(site.value()) - 2)(
            site
        ),
    }
    arithmetic = {
        "add": ops.Add,
        "subtract": ops.Subtract,
        "multiply": ops.Multiply,
        "divide": ops.Divide,
        "true_divide": ops.Divide,
        "maximum": ops.Maximum,
        "minimum": ops.Minimum,
    }
    found |= {name: _binary(kind) for name, kind in arithmetic.items()}
    named = {f"keras.ops.{name}": read for name, read in found.items()}
    return {**named, "keras.random.dropout": _dropout_function}


frontend = Frontend("keras", "Keras", _layers() | _functions(), axes.channels_last)

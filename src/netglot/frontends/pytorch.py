"""Layers and functions of PyTorch as operations."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from netglot import axes, ops
from netglot.backend import Weight
from netglot.frontends.reading import Frontend, Layout, Reader, Said, Site, Unknown
from netglot.frontends.shaping import index, product, reshape
from netglot.ops import Op


def _each(value: Any, count: int) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,) * count


def _even(value: Any, count: int) -> tuple[tuple[int, int], ...]:
    return tuple((n, n) for n in _each(value, count))


def _held(site: Site, **names: tuple[str, str]) -> tuple[Weight, ...]:
    """``kernel=("weight", "OI")``: weights that the layer has, by the operation's."""
    return tuple(
        Weight(path, letters, (source,))
        for source, (own, letters) in names.items()
        if (path := site.weight(own)) is not None
    )


def _last(site: Site, value: str) -> str:
    """Letters of a value whose last axis is features."""
    return {2: "NF", 3: "NTF"}.get(site.rank(value)) or _letters_of(site, value)


def _letters_of(site: Site, value: str) -> str:
    found = site.letters(value)
    if not found or not found.endswith("F"):
        raise ValueError(f"it reads the last of {site.rank(value)} axes")
    return found


# --- Layers ---------------------------------------------------------------------------


def _linear(site: Site) -> Any:
    x = site.value()
    letters = _last(site, x)
    op = ops.Dense(site.attribute("out_features"), site.weight("bias") is not None)
    held = _held(site, kernel=("weight", "OI"), bias=("bias", "O"))
    return Said((op,), (x,), (letters,), letters, {0: held})


def _linear_function(site: Site) -> Any:
    x, kernel, bias = site.value(), site.argument(1, "weight"), site.argument(2, "bias")
    letters = _last(site, x)
    held = [Weight(kernel["weight"], "OI", ("kernel",))]
    if bias is not None:
        held.append(Weight(bias["weight"], "O", ("bias",)))
    features = site.shape(site.call.outputs[0])[-1]
    op = ops.Dense(features, bias is not None)
    return Said((op,), (x,), (letters,), letters, {0: tuple(held)})


def _padding(site: Site, kernel: Any, dilation: Any, stride: Any) -> Any:
    given = site.attribute("padding")
    if given == "valid":
        return ((0, 0),) * len(kernel)
    if given == "same":
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple((t // 2, t - t // 2) for t in totals)
    return _even(given, len(kernel))


def _conv(site: Site) -> Any:
    x, kernel = site.value(), tuple(site.attribute("kernel_size"))
    if site.attribute("padding_mode") != "zeros":
        return Unknown(f"padding_mode {site.attribute('padding_mode')}")
    letters = "NC" + axes.SPATIAL[len(kernel)]
    stride, dilation = site.attribute("stride"), site.attribute("dilation")
    op = ops.Conv(
        site.attribute("out_channels"),
        kernel,
        tuple(stride),
        _padding(site, kernel, dilation, stride),
        tuple(dilation),
        site.attribute("groups"),
        site.weight("bias") is not None,
    )
    space = axes.SPATIAL[len(kernel)]
    held = _held(site, kernel=("weight", "OI" + space), bias=("bias", "O"))
    return Said((op,), (x,), (letters,), letters, {0: held})


def _conv_function(site: Site) -> Any:
    x, kernel, bias = site.value(), site.argument(1, "weight"), site.argument(2, "bias")
    out = site.call.outputs[0]
    dims = site.rank(x) - 2
    letters = "NC" + axes.SPATIAL[dims]
    shape = site.state.weight_shapes[kernel["weight"]]
    stride = _each(site.argument(3, "stride", 1), dims)
    dilation = _each(site.argument(5, "dilation", 1), dims)
    padding = site.argument(4, "padding", 0)
    if isinstance(padding, str):
        totals = [d * (k - 1) for k, d in zip(shape[2:], dilation, strict=True)]
        same = padding == "same"
        pads = tuple((t // 2, t - t // 2) if same else (0, 0) for t in totals)
    else:
        pads = _even(padding, dims)
    groups = site.argument(6, "groups", 1)
    op = ops.Conv(
        site.shape(out)[1], shape[2:], stride, pads, dilation, groups, bias is not None
    )
    held = [Weight(kernel["weight"], "OI" + axes.SPATIAL[dims], ("kernel",))]
    if bias is not None:
        held.append(Weight(bias["weight"], "O", ("bias",)))
    return Said((op,), (x,), (letters,), letters, {0: tuple(held)})


def _conv_transpose(site: Site) -> Any:
    x, kernel = site.value(), tuple(site.attribute("kernel_size"))
    space = axes.SPATIAL[len(kernel)]
    op = ops.ConvTranspose(
        site.attribute("out_channels"),
        kernel,
        tuple(site.attribute("stride")),
        _even(site.attribute("padding"), len(kernel)),
        tuple(site.attribute("output_padding")),
        tuple(site.attribute("dilation")),
        site.attribute("groups"),
        site.weight("bias") is not None,
    )
    held = _held(site, kernel=("weight", "IO" + space), bias=("bias", "O"))
    return Said((op,), (x,), ("NC" + space,), "NC" + space, {0: held})


def _pool(kind: Any, dims: int, layer: bool) -> Reader:
    def read(site: Site) -> Any:
        def setting(index: int, name: str, default: Any) -> Any:
            if layer:
                return site.attribute(name, default)
            return site.argument(index, name, default)

        kernel = _each(setting(1, "kernel_size", None), dims)
        stride = setting(2, "stride", None)
        stride = kernel if stride in (None, []) else _each(stride, dims)
        padding = _even(setting(3, "padding", 0), dims)
        if kind is ops.MaxPool:
            if any(n != 1 for n in _each(setting(4, "dilation", 1), dims)):
                return Unknown("a dilated pool")
            ceil = setting(5, "ceil_mode", False)
            op: Op = ops.MaxPool(kernel, stride, padding, ceil)
        else:
            ceil = setting(4, "ceil_mode", False)
            count = setting(5, "count_include_pad", True)
            # Without padding there is nothing to count.
            padded = any(before for before, _ in padding)
            counts = bool(count and padded)
            op = ops.AvgPool(kernel, stride, padding, ceil, count_padding=counts)
        letters = "NC" + axes.SPATIAL[dims]
        return Said((op,), (site.value(),), (letters,), letters)

    return read


def _adaptive(kind: Any, layer: bool) -> Reader:
    def read(site: Site) -> Any:
        x = site.value()
        size = (
            site.attribute("output_size") if layer else site.argument(1, "output_size")
        )
        dims = site.rank(x) - 2
        letters = site.image(x)
        wanted, given = _each(size, dims), site.shape(x)[2:]
        if all(n == 1 for n in wanted):
            kept = ops.ReduceMean if kind is ops.AvgPool else ops.ReduceMax
            space = axes.SPATIAL[dims]
            return Said((kept(space, True),), (x,), (letters,), letters)
        wanted = tuple(
            g if w is None else w for w, g in zip(wanted, given, strict=True)
        )
        if any(g % w for g, w in zip(given, wanted, strict=True)):
            return Unknown(f"windows of unequal size ({given} into {wanted})")
        kernel = tuple(g // w for g, w in zip(given, wanted, strict=True))
        return Said((kind(kernel, kernel),), (x,), (letters,), letters)

    return read


def _batch_norm(site: Site) -> Any:
    x = site.value()
    letters = "NF" if site.rank(x) == 2 else site.image(x)
    letter = letters[1]
    affine = site.weight("weight") is not None
    momentum = site.attribute("momentum")
    if momentum is None:
        return Unknown("a running mean over all batches (momentum=None)")
    if not site.attribute("track_running_stats", True):
        return Unknown("no running statistics (track_running_stats=False)")
    op = ops.BatchNorm(
        round(1 - momentum, 10), site.attribute("eps"), affine, affine, unbiased=True
    )
    held = _held(
        site,
        scale=("weight", letter),
        shift=("bias", letter),
        mean=("running_mean", letter),
        variance=("running_var", letter),
    )
    return Said((op,), (x,), (letters,), letters, {0: held})


def _layer_norm(site: Site) -> Any:
    x = site.value()
    if len(_each(site.attribute("normalized_shape"), 1)) != 1:
        return Unknown("it normalises several axes")
    letters = _last(site, x)
    op = ops.LayerNorm(
        site.attribute("eps"),
        site.weight("weight") is not None,
        site.weight("bias") is not None,
    )
    held = _held(site, scale=("weight", "F"), shift=("bias", "F"))
    return Said((op,), (x,), (letters,), letters, {0: held})


def _rms_norm(site: Site) -> Any:
    x = site.value()
    letters = _last(site, x)
    epsilon = site.attribute("eps")
    if epsilon is None:
        # Its default is the smallest step of the element type.
        epsilon = 2.0**-52 if site.state.recording.dtype(x) == "float64" else 2.0**-23
    op = ops.RMSNorm(epsilon, site.weight("weight") is not None)
    held = _held(site, scale=("weight", "F"))
    return Said((op,), (x,), (letters,), letters, {0: held})


def _group_norm(site: Site) -> Any:
    x = site.value()
    letters = site.image(x)
    affine = site.weight("weight") is not None
    groups = site.attribute("num_groups")
    op = ops.GroupNorm(groups, site.attribute("eps"), affine, affine)
    held = _held(site, scale=("weight", "C"), shift=("bias", "C"))
    return Said((op,), (x,), (letters,), letters, {0: held})


def _instance_norm(site: Site) -> Any:
    x = site.value()
    letters = site.image(x)
    if site.attribute("track_running_stats"):
        return Unknown("running statistics (track_running_stats=True)")
    affine = site.weight("weight") is not None
    channels = site.shape(x)[1]
    op = ops.GroupNorm(channels, site.attribute("eps"), affine, affine)
    held = _held(site, scale=("weight", "C"), shift=("bias", "C"))
    return Said((op,), (x,), (letters,), letters, {0: held})


def _dropout(site: Site) -> Any:
    return Said((ops.Dropout(site.attribute("p")),), (site.value(),))


def _dropout_function(site: Site) -> Any:
    return Said((ops.Dropout(site.argument(1, "p", 0.5)),), (site.value(),))


def _embedding(site: Site) -> Any:
    x = site.value()
    if site.attribute("max_norm") is not None:
        return Unknown("an embedding with a largest norm")
    op = ops.Embedding(
        site.attribute("num_embeddings"), site.attribute("embedding_dim")
    )
    held = _held(site, table=("weight", "VF"))
    return Said((op,), (x,), ("NT",), "NTF", {0: held})


RECURRENT = {"RNN": ops.SimpleRNN, "LSTM": ops.LSTM, "GRU": ops.GRU}


def _recurrent(site: Site) -> Any:
    """All steps; the states are letters ``P`` (layers), N, F, see ``_final``."""
    if len(site.values()) > 1:
        return Unknown("an initial state")
    if not site.attribute("batch_first"):
        return Unknown("time comes before the batch (batch_first=False)")
    if site.attribute("proj_size"):
        return Unknown("a projected state")
    levels = site.attribute("num_layers")
    if levels > 1 and site.attribute("dropout"):
        return Unknown("dropout between its layers")
    kind = RECURRENT[site.call.kind.rpartition(".")[2]]
    both = bool(site.attribute("bidirectional"))
    bias = "two" if site.attribute("bias") else "none"
    more: dict[str, Any] = {"reset": "after"} if kind is ops.GRU else {}
    if kind is ops.SimpleRNN:
        more["activation"] = site.attribute("nonlinearity", "tanh")
    op = kind(
        site.attribute("hidden_size"),
        bias=bias,
        direction="both" if both else "forward",
        returns="sequence",
        **more,
    )
    pairs = [("kernel", "weight_ih", "GI"), ("recurrent", "weight_hh", "GH")]
    if bias == "two":
        pairs += [("bias", "bias_ih", "G"), ("recurrent_bias", "bias_hh", "G")]
    held = {
        level: tuple(
            Weight(str(site.weight(f"{own}_l{level}{end}")), letters, (source + back,))
            for end, back in (("", ""), ("_reverse", "_back"))[: 1 + both]
            for source, own, letters in pairs
        )
        for level in range(levels)
    }
    for state in site.call.outputs[1:]:
        site.state.learn(state, "PNF")
    return Said((op,) * levels, (site.value(),), ("NTF",), "NTF", held)


def _final(site: Site) -> Any:
    """The last state of the last layer."""
    said = _recurrent(site)
    if not isinstance(said, Said):
        return said
    *before, last = said.ops
    if last.direction == "both":  # type: ignore[attr-defined]
        return Unknown("the state of one of two directions")
    last = dataclasses.replace(last, returns="last")  # type: ignore[call-arg]
    return dataclasses.replace(said, ops=(*before, last), out="NF")


def _attention(site: Site) -> Any:
    values = site.values()[:3]
    if not site.attribute("batch_first"):
        return Unknown("time comes before the batch (batch_first=False)")
    if site.weight("in_proj_weight") is None or site.weight("bias_k"):
        return Unknown("maps of unequal width")
    causal = bool(site.argument(7, "is_causal", False))
    mask = site.argument(5, "attn_mask")
    if site.argument(3, "key_padding_mask") is not None or (mask and not causal):
        return Unknown("a mask of its own")
    bias = site.weight("in_proj_bias") is not None
    op = ops.MultiHeadAttention(site.attribute("num_heads"), causal, bias)
    names = ("query", "key", "value")
    held = [
        Weight(
            str(site.weight("in_proj_weight")),
            "SOI",
            tuple(f"{name}_kernel" for name in names),
            join=True,
        ),
        Weight(str(site.weight("out_proj.weight")), "OI", ("output_kernel",)),
    ]
    if bias:
        held += [
            Weight(
                str(site.weight("in_proj_bias")),
                "SO",
                tuple(f"{name}_bias" for name in names),
                join=True,
            ),
        ]
        if site.weight("out_proj.bias") is not None:
            held.append(
                Weight(str(site.weight("out_proj.bias")), "O", ("output_bias",))
            )
    if len(set(values)) == 1:
        values = values[:1]
    return Said((op,), tuple(values), ("NTF",) * len(values), "NTF", {0: tuple(held)})


# --- Functions ------------------------------------------------------------------------


def _plain(make: Callable[[Site], Op]) -> Reader:
    """An elementwise function of one value."""
    return lambda site: Said((make(site),), (site.value(),))


def _softmax(kind: Any, layer: bool) -> Reader:
    def read(site: Site) -> Any:
        x = site.value()
        axis = site.attribute("dim") if layer else site.argument(1, "dim")
        if axis is None:
            return Unknown("a softmax over an axis that is not named")
        letter = site.letter(x, axis)
        return Said((kind(letter),), (x,)) if letter else Said((), (x,))

    return read


def _binary(kind: type[Op]) -> Reader:
    """Arithmetic of two values of one shape, or of a value and a number."""

    def read(site: Site) -> Any:
        values = site.values()
        numbers = [
            n
            for n in site.call.positional
            if isinstance(n, int | float) and n is not True
        ]
        if len(values) == 2:
            a, b = values
            if site.shape(a) != site.shape(b):
                return Unknown(f"shapes {site.shape(a)} and {site.shape(b)} are spread")
            return Said((kind(),), (a, b))
        if len(values) != 1 or len(numbers) != 1:
            return Unknown("arithmetic with something that is no value")
        return _with_number(kind, site, values[0], float(numbers[0]))

    return read


def _with_number(kind: type[Op], site: Site, x: str, number: float) -> Any:
    first = isinstance(site.call.positional[0], dict)
    reverse = not first or site.call.kind.endswith(("__rsub__", "__rtruediv__", "rsub"))
    if kind is ops.Add:
        op: Op = ops.Scale(1.0, number)
    elif kind is ops.Multiply:
        op = ops.Scale(number, 0.0)
    elif kind is ops.Subtract:
        op = ops.Scale(-1.0, number) if reverse else ops.Scale(1.0, -number)
    elif kind is ops.Divide and number and not reverse:
        op = ops.Scale(1 / number, 0.0)
    else:
        return Unknown(f"{kind.__name__} with a number")
    return Said((op,), (x,))


def _power(site: Site) -> Any:
    if site.argument(1, "exponent") == 2:
        return Said((ops.Square(),), (site.value(),))
    if site.argument(1, "exponent") == 0.5:
        return Said((ops.Sqrt(),), (site.value(),))
    return Unknown("a power other than 2")


def _flatten(site: Site) -> Any:
    x = site.value()
    layer = bool(site.call.attributes)
    get = (lambda i, n, d: site.attribute(n, d)) if layer else site.argument
    start, end = get(1, "start_dim", 1 if layer else 0), get(2, "end_dim", -1)
    if start == 1 and end in (-1, site.rank(x) - 1):
        return Said((ops.Flatten(),), (x,), (), "NF")
    return reshape(site, x)


def _shaped(site: Site) -> Any:
    return reshape(site, site.value())


def _permute(site: Site) -> Any:
    given = list(site.call.positional[1:]) or site.argument(1, "dims")
    order = given[0] if given and isinstance(given[0], list) else given
    rank = site.rank(site.value())
    return Layout(site.value(), tuple(n % rank for n in order))


def _transpose(site: Site) -> Any:
    x = site.value()
    rank = site.rank(x)
    order = list(range(rank))
    a, b = site.argument(1, "dim0") % rank, site.argument(2, "dim1") % rank
    order[a], order[b] = order[b], order[a]
    return Layout(x, tuple(order))


def _turned(site: Site) -> Any:
    """``x.mT``, and ``x.T`` of a matrix."""
    x = site.value()
    *order, a, b = range(site.rank(x))
    return Layout(x, (*order, b, a))


def _same(site: Site) -> Any:
    return Layout(site.value())


def _reduce(kind: Any) -> Reader:
    def read(site: Site) -> Any:
        x = site.value()
        given, keep = site.argument(1, "dim"), bool(site.argument(2, "keepdim", False))
        if given is None or (kind is ops.ReduceMax and len(site.call.outputs) > 1):
            return Unknown("a reduction over everything")
        letters = site.letters(x)
        if not letters:
            return Said((), (x,))
        over = [letters[n] for n in _each(given, 1)]
        out = letters if keep else "".join(a for a in letters if a not in over)
        # What is left of an image is a vector of features.
        if not keep and out == "NC":
            known = {
                ops.ReduceMean: ops.GlobalAvgPool,
                ops.ReduceMax: ops.GlobalMaxPool,
            }
            if kind in known:
                return Said((known[kind](),), (x,), (), "NF")
        return Said((kind("".join(over), keep),), (x,), (), out)

    return read


def _concat(site: Site) -> Any:
    parts = site.values()
    axis = site.argument(1, "dim", site.call.keyword.get("axis", 0))
    letter = next((found for v in parts if (found := site.letter(v, axis))), None)
    if letter is None:
        return Said((), tuple(parts))
    return Said((ops.Concat(letter),), tuple(parts))


def _matmul(site: Site) -> Any:
    values = site.values()
    if len(values) != 2:
        weight = site.argument(1, "other")
        if isinstance(weight, dict) and "weight" in weight:
            x = site.value()
            op = ops.Dense(site.shape(site.call.outputs[0])[-1], False)
            held = (Weight(weight["weight"], "IO", ("kernel",)),)
            letters = _last(site, x)
            return Said((op,), (x,), (letters,), letters, {0: held})
        return Unknown("a product of two values")
    return product(site, values[0], values[1])


def _flip(site: Site) -> Any:
    x, letters = site.value(), site.letters(site.value())
    given = list(site.call.positional[1:]) or site.argument(1, "dims")
    dims = given[0] if given and isinstance(given[0], list) else _each(given, 1)
    if not letters:
        return Said((), (x,))
    return Said(tuple(ops.Slice(letters[n], -1, None, -1) for n in dims), (x,))


def _pad(site: Site) -> Any:
    x, given = site.value(), site.argument(1, "pad")
    if site.argument(2, "mode", "constant") != "constant":
        return Unknown(f"padding by {site.argument(2, 'mode')}")
    pairs = [tuple(given[i : i + 2]) for i in range(0, len(given), 2)][::-1]
    dims = site.rank(x) - 2
    if len(pairs) != dims:
        return Unknown("it pads other axes than height and width")
    value = float(site.argument(3, "value") or 0.0)
    letters = site.image(x)
    return Said((ops.Pad(tuple(pairs), value),), (x,), (letters,), letters)


def _upsample(site: Site) -> Any:
    x = site.value()
    layer = bool(site.call.attributes)
    get: Any = (lambda i, n, d=None: site.attribute(n, d)) if layer else site.argument
    dims = site.rank(x) - 2
    mode, corners = get(3, "mode", "nearest"), get(4, "align_corners", None)
    if mode not in ("nearest", "linear", "bilinear", "trilinear") or corners:
        return Unknown(f"mode {mode} with align_corners={corners}")
    out = site.shape(site.call.outputs[0])
    pairs = list(zip(out[2:], site.shape(x)[2:], strict=True))
    if any(after % before for after, before in pairs):
        return Unknown("it enlarges by a fraction")
    scale = tuple(after // before for after, before in pairs)
    mode = "nearest" if mode == "nearest" else "bilinear"
    letters = "NC" + axes.SPATIAL[dims]
    return Said((ops.Upsample(scale, mode),), (x,), (letters,), letters)


def _clip(site: Site) -> Any:
    low, high = site.argument(1, "min"), site.argument(2, "max")
    low = -math.inf if low is None else low
    high = math.inf if high is None else high
    return Said((ops.Clip(float(low), float(high)),), (site.value(),))


def _elementwise() -> dict[str, Reader]:
    """Activations, each as a layer, a function and a method."""

    def approximate(layer: bool) -> Reader:
        def read(site: Site) -> Any:
            given = (
                site.attribute("approximate")
                if layer
                else site.argument(1, "approximate", "none")
            )
            return Said((ops.Gelu(given == "tanh"),), (site.value(),))

        return read

    plain: Mapping[str, tuple[str, Callable[[], Op]]] = {
        "relu": ("ReLU", ops.Relu),
        "silu": ("SiLU", ops.Silu),
        "selu": ("SELU", ops.Selu),
        "sigmoid": ("Sigmoid", ops.Sigmoid),
        "tanh": ("Tanh", ops.Tanh),
        "relu6": ("ReLU6", ops.Clip),
        "exp": ("", ops.Exp),
        "log": ("", ops.Log),
        "sqrt": ("", ops.Sqrt),
        "abs": ("", ops.Abs),
        "square": ("", ops.Square),
        "neg": ("", ops.Negative),
    }
    result: dict[str, Reader] = {}
    for name, (layer, kind) in plain.items():
        read = _plain(lambda site, kind=kind: kind())  # type: ignore[misc]
        for place in ("torch.", "torch.nn.functional.", "torch.Tensor."):
            result[f"{place}{name}"] = result[f"{place}{name}_"] = read
        if layer:
            result[f"torch.nn.modules.activation.{layer}"] = read
    result["torch.Tensor.__neg__"] = result["torch.neg"]
    activation = "torch.nn.modules.activation."
    function = "torch.nn.functional."
    result |= {
        activation + "GELU": approximate(True),
        function + "gelu": approximate(False),
        activation + "LeakyReLU": _plain(
            lambda s: ops.LeakyRelu(s.attribute("negative_slope"))
        ),
        function + "leaky_relu": _plain(
            lambda s: ops.LeakyRelu(s.argument(1, "negative_slope", 0.01))
        ),
        activation + "ELU": _plain(lambda s: ops.Elu(s.attribute("alpha"))),
        function + "elu": _plain(lambda s: ops.Elu(s.argument(1, "alpha", 1.0))),
        activation + "Softplus": _plain(lambda s: ops.Softplus()),
        function + "softplus": _plain(lambda s: ops.Softplus()),
    }
    for kind, name in ((ops.Softmax, "Softmax"), (ops.LogSoftmax, "LogSoftmax")):
        short = {"Softmax": "softmax", "LogSoftmax": "log_softmax"}[name]
        result[activation + name] = _softmax(kind, True)
        for place in ("torch.", function, "torch.Tensor."):
            result[place + short] = _softmax(kind, False)
    return result


def _arithmetic() -> dict[str, Reader]:
    names: Mapping[type[Op], tuple[str, ...]] = {
        ops.Add: ("add", "__add__", "__radd__", "__iadd__", "add_"),
        ops.Subtract: ("sub", "subtract", "__sub__", "__rsub__", "rsub", "__isub__"),
        ops.Multiply: ("mul", "multiply", "__mul__", "__rmul__", "mul_", "__imul__"),
        ops.Divide: (
            "div",
            "divide",
            "true_divide",
            "__truediv__",
            "__rtruediv__",
            "__div__",
        ),
        ops.Maximum: ("maximum",),
        ops.Minimum: ("minimum",),
    }
    return {
        f"{place}.{name}": _binary(kind)
        for kind, found in names.items()
        for name in found
        for place in ("torch", "torch.Tensor", "torch._tensor.Tensor")
    }


def _methods() -> dict[str, Reader]:
    """Functions that are methods as well."""
    found: dict[str, Reader] = {
        "flatten": _flatten,
        "reshape": _shaped,
        "view": _shaped,
        "squeeze": _shaped,
        "unsqueeze": _shaped,
        "permute": _permute,
        "transpose": _transpose,
        "swapaxes": _transpose,
        "contiguous": _same,
        "clone": _same,
        "detach": _same,
        "mean": _reduce(ops.ReduceMean),
        "sum": _reduce(ops.ReduceSum),
        "amax": _reduce(ops.ReduceMax),
        "matmul": _matmul,
        "__matmul__": _matmul,
        "bmm": _matmul,
        "flip": _flip,
        "mT.__get__": _turned,
        "T.__get__": _turned,
        "clamp": _clip,
        "clip": _clip,
        "pow": _power,
        "__pow__": _power,
        "__getitem__": index,
    }
    places = ("torch", "torch.Tensor", "torch._tensor.Tensor")
    return {f"{place}.{name}": read for name, read in found.items() for place in places}


def _layers() -> dict[str, Reader]:
    nn = "torch.nn.modules."
    found: dict[str, Reader] = {
        nn + "linear.Linear": _linear,
        nn + "linear.Identity": _same,
        nn + "normalization.LayerNorm": _layer_norm,
        nn + "normalization.RMSNorm": _rms_norm,
        nn + "normalization.GroupNorm": _group_norm,
        nn + "sparse.Embedding": _embedding,
        nn + "rnn.RNN": _recurrent,
        nn + "rnn.LSTM": _recurrent,
        nn + "rnn.GRU": _recurrent,
        nn + "activation.MultiheadAttention": _attention,
        nn + "flatten.Flatten": _flatten,
        nn + "flatten.Unflatten": _shaped,
        nn + "upsampling.Upsample": _upsample,
        nn + "dropout.Dropout": _dropout,
    }
    for dims in (1, 2, 3):
        found |= {
            f"{nn}conv.Conv{dims}d": _conv,
            f"{nn}conv.ConvTranspose{dims}d": _conv_transpose,
            f"{nn}batchnorm.BatchNorm{dims}d": _batch_norm,
            f"{nn}instancenorm.InstanceNorm{dims}d": _instance_norm,
            f"{nn}pooling.MaxPool{dims}d": _pool(ops.MaxPool, dims, True),
            f"{nn}pooling.AvgPool{dims}d": _pool(ops.AvgPool, dims, True),
            f"{nn}pooling.AdaptiveAvgPool{dims}d": _adaptive(ops.AvgPool, True),
            f"{nn}pooling.AdaptiveMaxPool{dims}d": _adaptive(ops.MaxPool, True),
        }
    return found


def _functions() -> dict[str, Reader]:
    places = ("torch.nn.functional.", "torch.")
    found: dict[str, Reader] = {
        "linear": _linear_function,
        "dropout": _dropout_function,
        "pad": _pad,
        "interpolate": _upsample,
        "cat": _concat,
        "concat": _concat,
        "concatenate": _concat,
    }
    for dims in (1, 2, 3):
        found |= {
            f"conv{dims}d": _conv_function,
            f"max_pool{dims}d": _pool(ops.MaxPool, dims, False),
            # What F.max_pool2d calls itself.
            f"boolean_dispatch.<locals>.fn{dims}": _pool(ops.MaxPool, dims, False),
            f"avg_pool{dims}d": _pool(ops.AvgPool, dims, False),
            f"adaptive_avg_pool{dims}d": _adaptive(ops.AvgPool, False),
        }
    return {place + name: read for name, read in found.items() for place in places}


frontend = Frontend(
    "pytorch",
    "PyTorch",
    _layers() | _functions() | _methods() | _elementwise() | _arithmetic(),
    axes.channels_first,
    _final,
)

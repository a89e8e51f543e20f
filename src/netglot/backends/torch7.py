"""Torch7: Lua, containers of ``nn``, criteria, closures that ``optim`` calls.

A rule gives the modules of a node, one on a line; ``_Containers`` adds them to a
``Sequential``, and makes a table of branches where a value is read by several.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

from netglot import axes, lower, ops, recipe
from netglot.backend import (
    Backend,
    Env,
    Gap,
    Parts,
    Rule,
    Section,
    Shim,
    Site,
    Weight,
)
from netglot.backends import common
from netglot.emit import function_name
from netglot.graph import Block, Node, Repeat
from netglot.graph import Call as BlockCall
from netglot.script import LUA
from netglot.source import WIDTH, Line, Statements, inline, squeeze

# --- Facts ----------------------------------------------------------------------------

ENV = Env(
    python=("3.11",),
    requirements=("torch==2.13.0", "lupa==2.8", "numpy==2.4.6"),
    imports=("torch7",),
    threads=("OMP_NUM_THREADS", "MKL_NUM_THREADS"),
    lock="torch7",
    shims=(
        Shim(
            "torch7",
            "Torch7 has no packages: LuaJIT runs the program, and the modules that it "
            "makes are computed by PyTorch",
            "package",
        ),
    ),
    forward_only=(
        "PyTorch stands in for Torch7's modules, forward; only Torch7 itself (th) "
        "trains them"
    ),
    untimed="what is computed here is PyTorch's: its time would not be Torch7's",
)

# --- Rules ----------------------------------------------------------------------------


def _modules(s: Site, *texts: str) -> Statements:
    """The modules of a node, one after the other."""
    return Statements(texts, s.target)


def _module(name: str, *arguments: Any) -> str:
    """``nn.Linear(784, 10)``; trailing arguments that are ``None`` are left out."""
    given = list(arguments)
    while given and given[-1] is None:
        given.pop()
    return f"nn.{name}({', '.join(_lua(a) for a in given)})"


def _lua(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "nil", True: "true", False: "false"}[value]
    return inline(value)


def _plain(name: str, *fixed: Any) -> Rule:
    """A module without weights or attributes."""
    return Rule(lambda s: _modules(s, _module(name, *fixed)))


def _axis(s: Site, letter: str) -> int:
    """Torch7 counts from 1."""
    return s.axis(letter) + 1


def _size(s: Site, letter: str) -> Any:
    size = s.inputs[0].size(letter)
    if size is None:
        raise Gap(f"its modules are told the size {letter}, which is not known here")
    return size


def _dense(s: Site) -> Any:
    if not s.inputs[0].axes.endswith("F"):
        raise Gap("its Linear reads the last axis")
    bias = None if s.op.bias else False
    layer = _module("Linear", _size(s, "F"), s.op.features, bias)
    return _modules(s, layer if len(s.inputs[0].axes) == 2 else f"nn.Bottle({layer})")


#: Prefix of a module by the number of axes that it moves along.
_KINDS = {2: "Spatial", 3: "Volumetric"}


def _kind(s: Site) -> str:
    rank = len(s.inputs[0].axes) - 2
    if rank not in _KINDS:
        raise Gap("its modules for sequences read channels last (N x T x C)")
    return _KINDS[rank]


def _turned(values: Sequence[Any]) -> tuple[Any, ...]:
    """Of an image first the width; of a volume time, width, height."""
    return (*values[:-2], values[-1], values[-2])


def _window(s: Site) -> list[Any]:
    """Kernel, stride and padding; what is left out at the end is 1 and 0."""
    if any(before != after for before, after in s.op.padding):
        raise Gap("it pads both sides alike")
    pads = tuple(before for before, _ in s.op.padding)
    result = list(_turned(s.op.kernel))
    plain = squeeze(pads) == 0
    if not plain or squeeze(s.op.stride) != 1:
        result += _turned(s.op.stride)
    return result if plain else [*result, *_turned(pads)]


def _biased(s: Site, layer: str) -> str:
    return layer if s.op.bias else f"{layer}:noBias()"


def _convolution(s: Site) -> Any:
    kind, given = _kind(s), [_size(s, "C"), s.op.channels, *_window(s)]
    if s.op.groups != 1:
        raise Gap("its convolutions have no groups on a processor")
    if kind == "Volumetric" and not s.op.bias:
        raise Gap("its VolumetricConvolution always has a bias")
    dilation = _turned(s.op.dilation)
    if squeeze(dilation) == 1:
        return _modules(s, _biased(s, _module(f"{kind}Convolution", *given)))
    rank = len(dilation)
    whole = [*given, *(1,) * rank][: 2 + 2 * rank]
    pads = given[2 + 2 * rank :] or (0,) * rank
    layer = _module(f"{kind}DilatedConvolution", *whole, *pads, *dilation)
    return _modules(s, _biased(s, layer))


def _transposed(s: Site) -> Any:
    kind, rank = _kind(s), len(s.op.kernel)
    if squeeze(s.op.dilation) != 1 or s.op.groups != 1:
        raise Gap(f"its {kind}FullConvolution has no dilation and no groups")
    if kind == "Volumetric" and not s.op.bias:
        raise Gap("its VolumetricFullConvolution always has a bias")
    given = [_size(s, "C"), s.op.channels, *_window(s)]
    if squeeze(s.op.output_padding) != 0:
        # Stride and padding stand before it.
        missing = 2 + 3 * rank - len(given)
        given += [1, 1, 1][:rank] * (missing > rank) + [0, 0, 0][:rank] * (missing > 0)
        given += _turned(s.op.output_padding)
    return _modules(s, _biased(s, _module(f"{kind}FullConvolution", *given)))


def _pool(name: str) -> Any:
    def write(s: Site) -> Any:
        kind = _kind(s)
        if name == "Max" and s.op.ties != "first":
            raise Gap("of equal values the first has the gradient (form ties='first')")
        padded = any(before for before, _ in s.op.padding)
        if any(2 * b > k for k, (b, _) in zip(s.op.kernel, s.op.padding, strict=True)):
            raise Gap("it pads by at most half a window")
        if kind == "Volumetric" and name == "Average" and (padded or s.op.ceil):
            raise Gap("its VolumetricAveragePooling neither pads nor rounds up")
        given = _window(s)
        # Left out, the stride is that of the window.
        if squeeze(s.op.stride) == 1 and not padded and squeeze(s.op.kernel) != 1:
            given += s.op.stride
        elif s.op.stride == s.op.kernel and not padded:
            given = given[: len(s.op.kernel)]
        layer = _module(f"{kind}{name}Pooling", *given)
        if s.op.ceil:
            layer += ":ceil()"
        # Left alone, the zeros of the padding count in a mean.
        if name == "Average" and not s.op.count_padding and padded:
            layer += ":setCountExcludePad()"
        return _modules(s, layer)

    return write


def _global(name: str, reduction: str) -> Rule:
    def write(s: Site) -> Any:
        x = s.inputs[0]
        sizes = [x.size(letter) for letter in x.axes[2:]]
        if len(sizes) == 2 and all(isinstance(size, int) for size in sizes):
            pool = _module(f"Spatial{name}Pooling", *_turned(sizes))
            return _modules(s, pool, f"nn.View({_size(s, 'C')}):setNumInputDims(3)")
        dims = range(len(x.axes), 2, -1)
        return _modules(s, *(_module(reduction, dim) for dim in dims))

    return Rule(write)


def _batch_norm(s: Site) -> Any:
    names = {2: "", 4: "Spatial", 5: "Volumetric"}
    x = s.inputs[0]
    if len(x.axes) not in names:
        raise Gap("it normalises values of 2, 4 or 5 axes")
    if s.recipe and not s.op.unbiased:
        raise Gap("its running variance is the unbiased one (form unbiased=True)")
    if s.op.scale != s.op.shift:
        raise Gap("it has scales and shifts, or neither")
    _ = s.op.unbiased
    # Its momentum is the share of the new value.
    share = round(1 - s.op.momentum, 12)
    given = [
        None if s.op.epsilon == 1e-5 else s.op.epsilon,
        None if share == 0.1 else share,
        None if s.op.scale else False,
    ]
    if given[1:] != [None, None]:
        given[0] = s.op.epsilon
    if given[2] is not None:
        given[1] = share
    size = _size(s, "C" if "C" in x.axes else "F")
    return _modules(s, _module(f"{names[len(x.axes)]}BatchNormalization", size, *given))


def _statistics(s: Site) -> tuple[Weight, ...]:
    letter = "C" if "C" in s.inputs[0].axes else "F"
    learned = (Weight("weight", letter, ("scale",)), Weight("bias", letter, ("shift",)))
    return (
        *(learned if s.op.scale else ()),
        Weight("running_mean", letter, ("mean",)),
        Weight("running_var", letter, ("variance",)),
    )


def _recurrent(name: str) -> Any:
    def write(s: Site) -> Any:
        if s.op.direction != "forward" or s.op.activation != "tanh":
            raise Gap(f"rnn's {name} reads forward, with tanh")
        if s.op.bias != "one" or getattr(s.op, "reset", "before") != "before":
            raise Gap(f"rnn's {name} has one bias; a GRU resets before its product")
        if getattr(s.op, "forget_bias", 1.0) != 1.0:
            raise Gap("the bias of its forget gate starts at 1")
        last = "nn.Select(1, -1)" if s.op.returns == "last" else "nn.Transpose({1, 2})"
        layer = _module(name, _size(s, "F"), s.op.units)
        # It reads steps x batch x features.
        return _modules(s, "nn.Transpose({1, 2})", layer, last)

    return write


def _both(gates: str) -> tuple[Weight, ...]:
    """The two kernels above each other, one bias."""
    both = Weight("weight", "SIG", ("kernel", "recurrent"), gates=gates, join=True)
    return (both, Weight("bias", "G", ("bias",), gates=gates))


def _softmax(name: str) -> Rule:
    def write(s: Site) -> Any:
        rank, axis = len(s.inputs[0].axes), _axis(s, s.op.axis)
        if rank > 2 and axis == rank:
            return _modules(s, f"nn.Bottle(nn.{name}())")
        # Of two axes it takes the last, of four the second.
        if (rank, axis) not in ((2, 2), (4, 2)):
            raise Gap(f"its {name} is over the last axis, or the channels of images")
        return _modules(s, _module(name))

    return Rule(write)


def _scale(s: Site) -> Any:
    texts = []
    if s.op.factor != 1:
        texts.append(_module("MulConstant", s.op.factor))
    if s.op.offset:
        texts.append(_module("AddConstant", s.op.offset))
    return _modules(s, *(texts or ["nn.Identity()"]))


def _table(name: str) -> Rule:
    """A module that reads a table of values of one shape."""

    def write(s: Site) -> Any:
        if len({x.shape[1:] for x in s.inputs}) > 1 or len(s.inputs) < 2:
            raise Gap(f"its {name} reads values of one shape, and repeats no axes")
        return _modules(s, _module(name))

    return Rule(write)


def _matmul(s: Site) -> Any:
    if {len(x.axes) for x in s.inputs} != {3}:
        raise Gap("its MM multiplies batches of matrices")
    return _modules(s, _module("MM", False, True) if s.op.transpose_b else "nn.MM()")


def _split(s: Site) -> Any:
    starts = itertools.accumulate((1, *s.op.sizes[:-1]))
    axis = _axis(s, s.op.axis)
    texts = [
        _module("Narrow", axis, start, size)
        for start, size in zip(starts, s.op.sizes, strict=True)
    ]
    # A line for each of the values.
    return Statements(tuple(texts), s.target)


def _slice(s: Site) -> Any:
    size = s.inputs[0].size(s.op.axis)
    if s.op.step != 1 or not isinstance(size, int):
        raise Gap("its Narrow takes neighbours, from a size that is known")
    start, stop, _ = slice(s.op.start, s.op.stop).indices(size)
    return _modules(s, _module("Narrow", _axis(s, s.op.axis), start + 1, stop - start))


#: What gives values that lie in memory as they are counted.
_WHOLE = (ops.Conv, ops.MaxPool, ops.BatchNorm, ops.Elementwise, ops.Dropout)


def _shaped(s: Site, sizes: Sequence[Any]) -> str:
    if any(not isinstance(size, int) for size in sizes):
        raise Gap("its View and Reshape are told numbers")
    rank = len(s.inputs[0].axes) - 1
    if isinstance(s.before, _WHOLE):
        return f"{_module('View', *sizes)}:setNumInputDims({rank})"
    # It copies what lies otherwise in memory, which a View refuses.
    return _module("Reshape", *sizes, True)


def _flatten(s: Site) -> Any:
    sizes: Any = s.inputs[0].shape[1:]
    if any(not isinstance(size, int) for size in sizes):
        raise Gap("its View is told numbers")
    return _modules(s, _shaped(s, [math.prod(sizes)]))


def _reshape(s: Site) -> Any:
    _ = s.op.axes, s.op.shape
    return _modules(s, _shaped(s, s.outputs[0].shape[1:]))


def _transpose(s: Site) -> Any:
    """As swaps of two axes, one after the other."""
    _ = s.op.axes
    order, wanted, swaps = list(range(len(s.order()))), list(s.order()), []
    for place, axis in enumerate(wanted):
        where = order.index(axis)
        if where != place:
            swaps.append(f"{{{place + 1}, {where + 1}}}")
            order[place], order[where] = order[where], order[place]
    return _modules(s, _module("Transpose", *swaps) if swaps else "nn.Identity()")


def _pad(s: Site) -> Any:
    texts = []
    dims = [d for d, a in enumerate(s.storage(), start=1) if a not in "NCF"]
    pads = s.op.padding
    if len(dims) == 2 and s.op.value == 0:
        (top, bottom), (left, right) = pads
        return _modules(s, _module("SpatialZeroPadding", left, right, top, bottom))
    value = (None, s.op.value) if s.op.value else ()
    for dim, (before, after) in zip(dims, pads, strict=True):
        # A negative number of rows is added in front.
        texts += [_module("Padding", dim, -before, *value)] if before else []
        texts += [_module("Padding", dim, after, *value)] if after else []
    return _modules(s, *(texts or ["nn.Identity()"]))


def _reduce(name: str) -> Rule:
    def write(s: Site) -> Any:
        dims = sorted((_axis(s, letter) for letter in s.op.over), reverse=True)
        texts = [_module(name, dim) for dim in dims]
        if s.op.keep:
            texts.append(_module("Reshape", *s.outputs[0].shape[1:], True))
            if None in s.outputs[0].shape[1:]:
                raise Gap("its Reshape is told numbers")
        return _modules(s, *texts)

    return Rule(write)


def _upsample(s: Site) -> Any:
    scale = squeeze(s.op.scale)
    if s.op.mode != "nearest" or isinstance(scale, tuple) or len(s.op.scale) != 2:
        raise Gap("it repeats pixels of images, as often in height as in width")
    return _modules(s, _module("SpatialUpSamplingNearest", scale))


_LOOP = re.compile(r"(\d+) x (.*)")


def _block(s: Site) -> Any:
    """``bottleneck(64)``; what is used several times is said so for ``_Containers``."""
    sizes = ", ".join(inline(size) for _, size in s.op.arguments)
    use = f"{function_name(s.op.block.name)}({sizes})"
    times = getattr(s.op, "times", None)
    return _modules(s, use if times is None else f"{times} x {use}")


def _kernel(order: str) -> Any:
    def weights(s: Site) -> tuple[Weight, ...]:
        kernel = Weight("weight", order + s.inputs[0].axes[2:], ("kernel",))
        return (kernel, Weight("bias", "O", ("bias",))) if s.op.bias else (kernel,)

    return weights


def _attribute(name: str, attribute: str, default: Any = None) -> Rule:
    def write(s: Site) -> Any:
        value = getattr(s.op, attribute)
        return _modules(s, _module(name, None if value == default else value))

    return Rule(write)


RULES: dict[type[ops.Op], Rule] = {
    ops.Dense: Rule(
        _dense,
        weights=(Weight("weight", "OI", ("kernel",)), Weight("bias", "O", ("bias",))),
    ),
    ops.Conv: Rule(_convolution, weights=_kernel("OI")),
    ops.ConvTranspose: Rule(_transposed, weights=_kernel("IO")),
    ops.MaxPool: Rule(_pool("Max")),
    ops.AvgPool: Rule(_pool("Average")),
    ops.GlobalAvgPool: _global("Average", "Mean"),
    ops.GlobalMaxPool: _global("Max", "Max"),
    ops.BatchNorm: Rule(_batch_norm, weights=_statistics),
    ops.Dropout: _attribute("Dropout", "rate"),
    ops.Embedding: Rule(
        lambda s: _modules(s, _module("LookupTable", s.op.vocabulary, s.op.features)),
        weights=(Weight("weight", "VF", ("table",)),),
    ),
    ops.LSTM: Rule(_recurrent("SeqLSTM"), weights=_both("ifog")),
    ops.GRU: Rule(_recurrent("SeqGRU"), weights=_both("rzn")),
    ops.Relu: _plain("ReLU"),
    ops.LeakyRelu: _attribute("LeakyReLU", "slope", 0.01),
    ops.Elu: _attribute("ELU", "alpha", 1.0),
    ops.Selu: Rule(
        lambda s: _modules(
            s, "nn.ELU(1.6732632423543772)", "nn.MulConstant(1.0507009873554805)"
        )
    ),
    ops.Silu: Rule(
        lambda s: _modules(
            s,
            "nn.ConcatTable():add(nn.Identity()):add(nn.Sigmoid())",
            "nn.CMulTable()",
        )
    ),
    ops.Sigmoid: _plain("Sigmoid"),
    ops.Tanh: _plain("Tanh"),
    ops.Softplus: _plain("SoftPlus"),
    ops.Softmax: _softmax("SoftMax"),
    ops.LogSoftmax: _softmax("LogSoftMax"),
    ops.Negative: _plain("MulConstant", -1),
    ops.Exp: _plain("Exp"),
    ops.Log: _plain("Log"),
    ops.Sqrt: _plain("Sqrt"),
    ops.Square: _plain("Square"),
    ops.Abs: _plain("Abs"),
    ops.Clip: Rule(lambda s: _modules(s, _module("Clamp", s.op.low, s.op.high))),
    ops.Scale: Rule(_scale),
    ops.Add: _table("CAddTable"),
    ops.Subtract: _table("CSubTable"),
    ops.Multiply: _table("CMulTable"),
    ops.Divide: _table("CDivTable"),
    ops.Maximum: _table("CMaxTable"),
    ops.Minimum: _table("CMinTable"),
    ops.MatMul: Rule(_matmul),
    ops.Concat: Rule(lambda s: _modules(s, _module("JoinTable", _axis(s, s.op.axis)))),
    ops.Split: Rule(_split),
    ops.Slice: Rule(_slice),
    ops.Reshape: Rule(_reshape),
    ops.Flatten: Rule(_flatten),
    ops.Transpose: Rule(_transpose),
    ops.Pad: Rule(_pad),
    ops.ReduceMean: _reduce("Mean"),
    ops.ReduceSum: _reduce("Sum"),
    ops.ReduceMax: _reduce("Max"),
    ops.Upsample: Rule(_upsample),
    BlockCall: Rule(_block),
    Repeat: Rule(_block),
}

LOSSES: dict[type[recipe.Loss], str] = {
    recipe.SoftmaxCrossEntropy: "nn.CrossEntropyCriterion()",
    recipe.MeanSquaredError: "nn.MSECriterion()",
}


def _sgd(o: recipe.SGD) -> dict[str, Any]:
    if o.nesterov and not o.momentum:
        raise Gap("its Nesterov has momentum")
    settings: dict[str, Any] = {"learningRate": o.rate}
    if o.momentum:
        # Left out, the gradient would be damped by as much as the momentum.
        settings |= {"momentum": o.momentum, "dampening": 0}
    if o.nesterov:
        settings["nesterov"] = True
    if o.weight_decay:
        settings["weightDecay"] = o.weight_decay
    return settings


def _adam(o: recipe.Adam) -> dict[str, Any]:
    if o.weight_decay:
        raise Gap("its Adam adds the decay to the gradient")
    if o.epsilon_form != "before":
        raise Gap("its Adam corrects the rate alone (form epsilon_form='before')")
    settings = {"learningRate": o.rate}
    defaults = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}
    return settings | {
        name: getattr(o, name)
        for name, default in defaults.items()
        if getattr(o, name) != default
    }


OPTIMIZERS: dict[type[recipe.Optimizer], Any] = {recipe.SGD: _sgd, recipe.Adam: _adam}
_STEPS = {recipe.SGD: "optim.sgd", recipe.Adam: "optim.adam"}

#: How the tensor ``$`` is filled.
INITIALIZERS: dict[type[recipe.Initializer], Any] = {
    recipe.GlorotUniform: lambda i: "glorot($)",
    recipe.Zeros: lambda i: "$:zero()",
    recipe.Ones: lambda i: "$:fill(1)",
    recipe.Uniform: lambda i: f"$:uniform(-{i.limit}, {i.limit})",
}

# --- Missing --------------------------------------------------------------------------

MISSING: dict[type[ops.Op], str] = {
    ops.LayerNorm: "Torch7's nn has no layer normalisation",
    ops.RMSNorm: "Torch7's nn has no RMS normalisation",
    ops.GroupNorm: "Torch7's nn has no group normalisation",
    ops.SimpleRNN: "the package rnn has no plain recurrent layer for whole sequences",
    ops.MultiHeadAttention: "Torch7's nn has no attention",
    ops.Gelu: "Torch7's nn has no GELU",
}

# --- Containers -----------------------------------------------------------------------


class _Shared(Exception):
    """Branches that share layers, or that do not meet again."""


class _Containers:
    """Writes a graph as containers: chains, and branches that meet again."""

    def __init__(self, nodes: Sequence[Node], body: Sequence[Line]) -> None:
        self.nodes = nodes
        #: Names of the nodes, in the order in which the containers hold them.
        self.order: list[str] = []
        self._branches = 0
        self._texts: dict[str, list[str]] = {}
        for line in body:
            self._texts.setdefault(line.node, []).append(line.text)

    def sequence(
        self, name: str, value: str, end: str, nodes: Sequence[Node]
    ) -> list[Line]:
        """A ``Sequential`` that leads through some nodes from one value to another."""
        lines: list[Line] = []
        while value != end:
            readers = [node for node in nodes if value in node.inputs]
            if not readers:
                raise Gap("its containers compute no value that nothing reads")
            node, texts = readers[0], self._texts[readers[0].name]
            live = [o for o in node.outputs if o == end or _readers(o, nodes)]
            if len(readers) == len(node.inputs) == len(live) == 1:
                if len(node.outputs) > 1:
                    texts = [texts[node.outputs.index(live[0])]]
                value = live[0]
            else:
                node = self._meeting(value, end, nodes)
                table = self._table(value, node, nodes, lines)
                texts, value = [table, *self._texts[node.name]], node.outputs[0]
            self.order.append(node.name)
            for text in texts:
                loop = _LOOP.fullmatch(text)
                rows = [f"{name}:add({text})"]
                if len(rows[0]) > WIDTH - 4:
                    rows = [f"{name}:add(", f"    {text}", ")"]
                if loop:
                    add = f"    {name}:add({loop[2]})"
                    rows = [f"for _ = 1, {loop[1]} do", add, "end"]
                lines += [Line(row, node.name) for row in rows]
        return lines

    def side_by_side(
        self, name: str, value: str, end: str, nodes: Sequence[Node]
    ) -> list[Line]:
        """A ``Sequential`` along which a table holds every value that is still read.

        For branches that share layers.
        """
        lines: list[Line] = []
        live, declared = [value], set[str]()

        def made(variable: str, container: str, added: Sequence[str]) -> list[str]:
            # Lua has no more than 200 local variables in a function.
            word = "" if variable in declared else "local "
            declared.add(variable)
            rows = (f"{variable}:add({text})" for text in added)
            return [f"{word}{variable} = nn.{container}()", *rows]

        for i, node in enumerate(nodes):
            later = {v for n in nodes[i + 1 :] for v in n.inputs} | {end}
            kept = [v for v in live if v in later]
            new = [v for v in node.outputs if v in later]
            if not new:
                raise Gap("its containers compute no value that nothing reads")
            self.order.append(node.name)
            table, rows = [_pick(live, v) for v in kept], list[str]()
            for number, output in enumerate(new, start=1):
                step = [_pick(live, v) for v in node.inputs]
                if len(step) > 1:
                    step = [f"nn.ConcatTable():add({'):add('.join(step)})"]
                texts = self._texts[node.name]
                if len(node.outputs) > 1:
                    texts = [texts[node.outputs.index(output)]]
                if any(map(_LOOP.fullmatch, texts)):
                    raise Gap("beside other values it repeats no block")
                step = [text for text in (*step, *texts) if text != "nn.Identity()"]
                if not kept and len(new) == 1:
                    rows += [f"{name}:add({text})" for text in step]
                elif len(step) > 1:
                    branch = f"branch{number}"
                    rows += made(branch, "Sequential", step)
                    table.append(branch)
                else:
                    table += step or ["nn.Identity()"]
            if table:
                rows += [*made("values", "ConcatTable", table), f"{name}:add(values)"]
            lines += [Line(row, node.name) for row in rows]
            live = [*kept, *new]
        return lines

    def _meeting(self, value: str, end: str, nodes: Sequence[Node]) -> Node:
        """The first node that everything which reads a value leads to."""
        for node in nodes:
            before = _ahead(value, nodes, node)
            if (
                len(node.inputs) > 1
                and node in before
                and all(end not in n.outputs for n in before if n is not node)
            ):
                return node
        raise _Shared

    def _table(
        self, value: str, node: Node, nodes: Sequence[Node], lines: list[Line]
    ) -> str:
        """A table of the branches from a value to the inputs of a node."""
        table, seen = "nn.ConcatTable()", set[str]()
        for target in node.inputs:
            if target == value:
                table += ":add(nn.Identity())"
                continue
            inside = [n for n in _ahead(value, nodes) if _behind(n, target, nodes)]
            if seen & {n.name for n in inside if len(n.outputs) == 1}:
                raise _Shared
            seen |= {n.name for n in inside}
            self._branches += 1
            name = f"branch{self._branches}"
            own = self.sequence(name, value, target, inside)
            if len(own) == 1 and own[0].text.startswith(f"{name}:add("):
                self._branches -= 1
                only = own[0].text.removeprefix(f"{name}:add(").removesuffix(")")
                table += f":add({only})"
            else:
                lines += [Line(f"local {name} = nn.Sequential()", own[0].node), *own]
                table += f":add({name})"
        return table


def _pick(live: Sequence[str], value: str) -> str:
    """A value out of the table of those that are held; one alone is no table."""
    single = len(live) == 1
    return "nn.Identity()" if single else f"nn.SelectTable({live.index(value) + 1})"


def _readers(value: str, nodes: Sequence[Node]) -> bool:
    return any(value in node.inputs for node in nodes)


def _ahead(value: str, nodes: Sequence[Node], stop: Node | None = None) -> list[Node]:
    """What depends on a value, in order; of ``stop`` itself nothing."""
    values, found = {value}, []
    for node in nodes:
        if values & set(node.inputs):
            found.append(node)
            if node is not stop:
                values |= set(node.outputs)
    return found


def _behind(node: Node, target: str, nodes: Sequence[Node]) -> bool:
    """Whether a value depends on a node."""
    return target in node.outputs or any(
        target in n.outputs for o in node.outputs for n in _ahead(o, nodes)
    )


def _function(
    name: str, parameters: Sequence[str], owner: Any, body: Sequence[Line]
) -> list[str | Line]:
    """A function that makes the network, or a block of it."""
    if len(owner.inputs) != 1 or len(owner.outputs) != 1:
        raise Gap("a chain of nn's containers reads one value and gives one")
    variable = "block" if isinstance(owner, Block) else "model"
    (value, _), (end,) = owner.inputs[0], owner.outputs
    containers = _Containers(owner.nodes, body)
    try:
        lines = containers.sequence(variable, value, end, owner.nodes)
    except _Shared:
        containers = _Containers(owner.nodes, body)
        lines = containers.side_by_side(variable, value, end, owner.nodes)
    held = set(containers.order)
    if held != {node.name for node in owner.nodes}:
        raise Gap("its containers compute no value that nothing reads")
    # The file of weights has them in this order.
    heavy = [n.name for n in owner.nodes if RULES[type(n.op)].weights or _is_call(n)]
    if heavy != [name for name in containers.order if name in heavy]:
        raise Gap(
            "the layers of its branches stand in another order than the network's"
        )
    return [
        f"function {name}({', '.join(parameters)})",
        f"    local {variable} = nn.Sequential()",
        *(Line(f"    {line.text}", line.node) for line in lines),
        f"    return {variable}",
        "end",
    ]


def _is_call(node: Node) -> bool:
    return isinstance(node.op, BlockCall)


# --- The frame ------------------------------------------------------------------------

HEAD = """
--[[
$title.

th $file.lua -data $data.t7
]]

$requires

torch.setdefaulttensortype('torch.$kind')

$constants
"""

DATA = """
-- 1. Load the data
-- $about
function load_data(path)
    local data = torch.load(path)
    $lines
    return $result
end
"""

GLOROT = """
-- Uniform weights, by Glorot and Bengio (2010).
function glorot(weight)
    local fan_in = weight:nElement() / weight:size($out)
    local fan_out = weight:nElement() / weight:size($in)
    local limit = math.sqrt(6 / (fan_in + fan_out))
    weight:uniform(-limit, limit)
end
"""

SETUP = """
-- $number. $what
$glorot
-- Set the initial weights of a layer.
function initialize(layer)
    $initial
end


-- Create the network$and.
function build(seed)
    torch.manualSeed(seed or 0)
    local model = $function()
    model:apply(initialize)
    $trainer
end


-- The tensors of each layer: weight, bias$statistics.
function tensors(model)
    $tensors
end


-- Set the weights to the tensors of a file.
function load_weights(model, path)
    local saved = torch.load(path)
    for i, tensor in ipairs(tensors(model)) do
        tensor:copy(saved[i])
    end
end


-- Write the weights as tensors.
function save_weights(model, path)
    torch.save(path, tensors(model))
end
"""

STATISTICS = """
local found = {}
for _, layer in ipairs(model:listModules()) do
    for _, name in ipairs({'weight', 'bias', 'running_mean', 'running_var'}) do
        if layer[name] then
            table.insert(found, layer[name])
        end
    end
end
return found
"""

TRAIN = """
-- 4. Train
-- Make one optimizer step on a batch; return its loss.
function train_step(model, trainer, x, y)
    local function feval()
        trainer.gradients:zero()
        local loss = trainer.criterion:forward(model:forward(x), y)
        model:backward(x, trainer.criterion:backward(model.output, y))
        return loss, trainer.gradients
    end
    model:training()
    local _, losses = $step(feval, trainer.parameters, trainer.config)
    return losses[1]
end


-- Train for some epochs; print the mean loss of each.
function train(model, trainer, x, y, epochs, seed, validation, on_step)
    torch.manualSeed(seed or 0)
    for epoch = 1, epochs or EPOCHS do
        local order = torch.randperm(x:size(1)):long()
        local total, steps = 0, 0
        for start = 1, x:size(1) - BATCH_SIZE + 1, BATCH_SIZE do
            local rows = order:narrow(1, start, BATCH_SIZE)
            local loss = train_step(model, trainer, x:index(1, rows), y:index(1, rows))
            total, steps = total + loss, steps + 1
            if on_step then
                on_step(loss)
            end
        end
        local report = string.format('epoch %d: loss %.4f', epoch, total / steps)
        if validation then
            local score = evaluate(model, unpack(validation))
            report = report .. string.format(', $metric %.4f', score)
        end
        print(report)
    end
end
"""

PREDICT = """
-- $number. Predict
-- Scores of a batch.
function predict(model, x)
    model:evaluate()
    return model:forward(x)
end
"""

ACCURACY = """
-- 6. Evaluate
-- Share of observations whose highest score is that of their label.
function evaluate(model, x, y)
    local correct = 0
    for start = 1, x:size(1), BATCH_SIZE do
        local size = math.min(BATCH_SIZE, x:size(1) - start + 1)
        local _, classes = torch.max(predict(model, x:narrow(1, start, size)), 2)
        correct = correct + classes:view(-1):eq(y:narrow(1, start, size)):sum()
    end
    return correct / x:size(1)
end
"""

ERROR = """
-- 6. Evaluate
-- Mean squared error.
function evaluate(model, x, y)
    local total = 0
    for start = 1, x:size(1), BATCH_SIZE do
        local size = math.min(BATCH_SIZE, x:size(1) - start + 1)
        local scores = predict(model, x:narrow(1, start, size))
        total = total + torch.dist(scores, y:narrow(1, start, size)) ^ 2
    end
    return total / y:nElement()
end
"""

EXTRACT = """
-- 5. All observations
-- Features of all observations, batch by batch.
function extract(model, x)
    local features = {}
    for start = 1, x:size(1), BATCH_SIZE do
        local size = math.min(BATCH_SIZE, x:size(1) - start + 1)
        table.insert(features, predict(model, x:narrow(1, start, size)):clone())
    end
    return torch.cat(features, 1)
end
"""

MAIN = """
function main()
    local cmd = torch.CmdLine()
    cmd:option('-data', '$data.t7', 'the prepared data')
    cmd:option('-epochs', EPOCHS, 'how often all observations are seen')
    cmd:option('-seed', 0, 'of the weights and of the order of observations')
    cmd:option('-weights', '', 'initial weights (.t7)')
    cmd:option('-save', '', 'where to write the trained weights (.t7)')
    local opt = cmd:parse(arg)

    local x_train, y_train, x_test, y_test = load_data(opt.data)
    local model, trainer = build(opt.seed)
    if opt.weights ~= '' then
        load_weights(model, opt.weights)
    end
    train(model, trainer, x_train, y_train, opt.epochs, opt.seed, {x_test, y_test})
    if opt.save ~= '' then
        save_weights(model, opt.save)
    end
end


if arg then
    main()
end
"""

FEATURES = """
function main()
    local cmd = torch.CmdLine()
    cmd:option('-data', '$data.t7', 'the prepared data')
    cmd:option('-weights', '', 'weights (.t7)')
    cmd:option('-save', 'features.t7', 'where to write the features')
    local opt = cmd:parse(arg)

    local x = load_data(opt.data)
    local model = build()
    if opt.weights ~= '' then
        load_weights(model, opt.weights)
    end
    local timer = torch.Timer()
    local features = extract(model, x)
    local seconds = timer:time().real
    print(string.format('%d observations in %.2f seconds', x:size(1), seconds))
    torch.save(opt.save, features)
end


if arg then
    main()
end
"""


def _load_data(parts: Parts) -> Section:
    workload = parts.workload
    name, type_ = parts.graph.inputs[0]
    kind, sizes = workload.data.kind, type_.shape[1:]
    number = "float" if parts.dtype == "float32" else "double"
    change = f":{number}()" + (":div(255)" if kind == "images" else "")
    if sizes != workload.data.shape and workload.recipe:
        change += f":view(-1, {', '.join(map(str, sizes))})"
    what = f"{name}s" if not name.endswith("s") else name
    told = " x ".join(str(size) for size in ("N", *sizes))
    if kind == "tokens":
        # Words and classes are counted from 1.
        change, about = ":add(1)", f"{what.capitalize()} ({told} indices) and labels"
    else:
        values = ", values from 0 to 1" if kind == "images" else ""
        about = f"{what.capitalize()} ({told}{values}) and labels"
    if workload.recipe is None:
        times = [n // m for _, n, m in common._sizes(parts) if n != m]
        lines = [
            f"local count = math.min({common.FORWARD}, data.x_test:size(1))",
            f"local x = data.x_test:narrow(1, 1, count){change}",
        ]
        if times:
            lines += [
                f"local enlarge = nn.SpatialUpSamplingNearest({times[0]})",
                "return enlarge:forward(x)",
            ]
        slots = {"about": about.replace(" and labels", "."), "lines": lines}
        text = DATA if not times else DATA.replace("    return $result\n", "")
        return Section("data", text, {**slots, "result": "x"})
    lines = [f"local {n} = data.{n}{change}" for n in ("x_train", "x_test")]
    result = "x_train, data.y_train:add(1), x_test, data.y_test:add(1)"
    about += ", counted from 1."
    if workload.target == "input":
        about = about.replace(
            " and labels, counted from 1", "; the target is the image itself"
        )
        result = "x_train, x_train, x_test, x_test"
    elif workload.metric != "accuracy":
        result, about = result.replace(":add(1)", ""), about[: about.index(",")] + "."
    return Section("data", DATA, {"about": about, "lines": lines, "result": result})


def _initial(parts: Parts) -> list[str]:
    """The body of ``initialize``: what is set where, by the layers that there are."""
    initializers = parts.initializers or recipe.Initializers()

    def fill(role: str, tensor: str) -> str:
        made: str = INITIALIZERS[type(initializers.of(role))](initializers.of(role))
        return made.replace("$", tensor)

    weight, bias = fill("kernel", "layer.weight"), fill("bias", "layer.bias")
    cases: list[tuple[str, list[str]]] = []
    if ops.Embedding in parts.operations:
        cases.append(("nn.LookupTable", [fill("embedding", "layer.weight")]))
    for kind, name in ((ops.LSTM, "SeqLSTM"), (ops.GRU, "SeqGRU")):
        if kind in parts.operations:
            rows = [
                f"local outputs = layer.bias:size(1) / {len(kind.gates)}",
                "local inputs = layer.weight:size(1) - outputs",
                fill("kernel", "layer.weight:narrow(1, 1, inputs)"),
                fill("recurrent", "layer.weight:narrow(1, inputs + 1, outputs)"),
                fill("bias", "layer.bias"),
            ]
            if kind is ops.LSTM:
                rows.append("-- The forget gate.")
                rows.append("layer.bias:narrow(1, outputs + 1, outputs):fill(1)")
            cases.append((f"nn.{name}", rows))
    if ops.BatchNorm in parts.operations:
        rows = ["layer.weight:fill(1)", "layer.bias:zero()"]
        cases.append(("BatchNormalization", rows))
    lines: list[str] = []
    for i, (name, rows) in enumerate(cases):
        test = f"torch.type(layer) == '{name}'"
        if "." not in name:
            test = f"torch.type(layer):find('{name}') and layer.weight"
        lines += [f"{'elseif' if i else 'if'} {test} then", *(f"    {r}" for r in rows)]
    lines.append(f"{'elseif' if cases else 'if'} layer.weight then")
    lines.append(f"    {weight}")
    rows = [f"    {bias}"]
    if any(
        getattr(node.op, "bias", True) is False for node in parts.graph.flat().nodes
    ):
        rows = ["    if layer.bias then", f"        {bias}", "    end"]
    return [*lines, *rows, "end"]


def _trainer(parts: Parts) -> list[str]:
    if parts.recipe is None:
        return ["return model"]
    settings = OPTIMIZERS[type(parts.recipe.optimizer)](parts.recipe.optimizer)
    told = ", ".join(f"{name} = {_lua(value)}" for name, value in settings.items())
    return [
        f"local trainer = {{criterion = {LOSSES[type(parts.recipe.loss)]}}}",
        f"trainer.config = {{{told}}}",
        "trainer.parameters, trainer.gradients = model:getParameters()",
        "return model, trainer",
    ]


def frame(parts: Parts) -> list[Section]:
    """The program around the network."""
    workload, trained = parts.workload, parts.recipe is not None
    owners = {block.name: block for block in parts.graph.blocks()}
    lines: list[str | Line] = []
    for scope in parts.blocks:
        owner = owners[scope.name]
        lines += _function(scope.function, scope.parameters, owner, scope.body)
        lines += ["", ""]
    lines += _function(parts.network.function, (), parts.graph, parts.network.body)
    recurrent = bool({ops.LSTM, ops.GRU} & parts.operations)
    requires = ["torch", "nn", *(["rnn"] if recurrent else [])]
    requires += ["optim"] if trained else []
    constants = [f"local BATCH_SIZE = {workload.batch}"]
    if parts.recipe:
        constants.append(f"local EPOCHS = {parts.recipe.epochs}")
    head = Section(
        "head",
        HEAD,
        {
            "title": f"{workload.title}, in {parts.backend.title}",
            "file": f"{workload.name}_{parts.backend.name}".replace("-", "_"),
            "data": workload.data.name,
            "requires": [f"require '{name}'" for name in requires],
            "kind": "FloatTensor" if parts.dtype == "float32" else "DoubleTensor",
            "constants": constants,
        },
    )
    statistics = ops.BatchNorm in parts.operations
    initial = _initial(parts)
    glorot = any("glorot(" in row for row in initial)
    setup: dict[str, Any] = {
        "number": "3",
        "what": "Loss, optimizer, initial weights" if trained else "Initial weights",
        "and": " and what trains it" if trained else "",
        "function": parts.network.function,
        "glorot": [
            *GLOROT.replace("$out", "1").replace("$in", "2").strip().split("\n"),
            "",
            "",
        ]
        if glorot
        else [],
        "initial": initial,
        "trainer": _trainer(parts),
        "statistics": ", running statistics" if statistics else "",
        "tensors": STATISTICS.strip().split("\n")
        if statistics
        else ["return (model:parameters())"],
    }
    common_sections = [
        head,
        _load_data(parts),
        Section("network", "-- 2. The network\n$functions", {"functions": lines}),
        Section("setup", SETUP, setup),
    ]
    data = {"data": workload.data.name}
    if parts.recipe is None:
        return [
            *common_sections,
            Section("predict", PREDICT, {"number": "4"}),
            Section("evaluate", EXTRACT),
            Section("main", FEATURES, data),
        ]
    step = {
        "step": _STEPS[type(parts.recipe.optimizer)],
        "metric": workload.metric,
    }
    accuracy = workload.metric == "accuracy"
    return [
        *common_sections,
        Section("train", TRAIN, step),
        Section("predict", PREDICT, {"number": "5"}),
        Section("evaluate", ACCURACY if accuracy else ERROR),
        Section("main", MAIN, data),
    ]


backend = Backend(
    name="torch7",
    title="Torch7",
    home="http://torch.ch",
    since="2011 to 2017",
    licence="BSD-3-Clause",
    language="C and Lua",
    style="modules in containers, in Lua",
    storage=axes.channels_first,
    env=ENV,
    barrier="lambda: model.checksum()",
    rules=RULES,
    losses=LOSSES,
    optimizers=OPTIMIZERS,
    initializers=INITIALIZERS,
    frame=frame,
    rewrites={
        ops.Conv: lower.pad_first_if_uneven,
    },
    missing=MISSING,
    forms={
        ops.BatchNorm: ({"unbiased": True},),
        ops.LSTM: ({"bias": "one"},),
        ops.GRU: ({"reset": "before", "bias": "one"},),
        recipe.Adam: ({"epsilon_form": "before"},),
    },
    margin=4,
    script=LUA,
)

"""Lasagne: layers on Theano, each made from the one before it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

from netglot import axes, ops, recipe
from netglot.backend import Backend, Gap, Parts, Rule, Section, Site, Weight
from netglot.backends import common, theano
from netglot.emit import function_name
from netglot.graph import Call as BlockCall
from netglot.graph import Repeat
from netglot.lower import pad_first_if_uneven
from netglot.source import Line, Statements, call, inline, layout, quoted, unless

# --- Facts ----------------------------------------------------------------------------

first, *others = theano.ENV.requirements
ENV = dataclasses.replace(
    theano.ENV,
    requirements=(others[0], first, *others[1:]),
    imports=("theano", "lasagne"),
)

MARGIN = 4

# --- Rules: layers --------------------------------------------------------------------


def _name(s: Site, end: str = "") -> str:
    """The name of a layer, by which its weights are kept."""
    if s.in_block:
        return f'f"{{name}}.{s.name}{end}"'
    return quoted(s.name + end)


def _dims(s: Site) -> int:
    return len(s.inputs[0].axes) - 2


def _kernel(s: Site) -> Any:
    """The initializer of the kernel, where it is not the layers' own."""
    return unless("GlorotUniform()", inline(s.initial("kernel")))


def _bias(s: Site) -> Any:
    if not s.op.bias:
        return "None"
    return unless("Constant(0.0)", inline(s.initial("bias")))


def _dense(s: Site) -> Any:
    def write(x: Any) -> Any:
        return call(
            "DenseLayer",
            x,
            num_units=s.op.features,
            W=_kernel(s),
            b=_bias(s),
            nonlinearity=s.activation or "None",
            name=_name(s),
        )

    if len(s.inputs[0].axes) == 2:
        return write(s.x)
    # It would flatten all axes but the first.
    shape = s.inputs[0].shape[1:]
    rows = _rows(s, call("ReshapeLayer", s.x, (-1, shape[-1])))
    rows += _rows(s, write(s.target))
    return Statements(
        tuple(rows),
        call("ReshapeLayer", s.target, (-1, *shape[:-1], s.op.features)),
    )


def _rows(s: Site, expression: Any) -> list[str]:
    rows = layout(" " * MARGIN + f"{s.target} = ", expression)
    return [row[MARGIN:] for row in rows]


def _one(values: tuple[Any, ...]) -> Any:
    """One number where all are equal."""
    return values[0] if all(value == values[0] for value in values) else values


def _convolution(s: Site) -> Any:
    if _dims(s) == 3:
        raise Gap("Lasagne 0.1 has no convolution in three dimensions")
    if _one(s.op.dilation) != 1:
        raise Gap("Lasagne 0.1 has no dilated convolution")
    if s.op.groups != 1:
        raise Gap("Lasagne 0.1 has no convolution with groups")
    return call(
        f"Conv{_dims(s)}DLayer",
        s.x,
        num_filters=s.op.channels,
        filter_size=_one(s.op.kernel),
        stride=unless(1, _one(s.op.stride)),
        pad=unless(0, _one(tuple(before for before, _ in s.op.padding))),
        W=_kernel(s),
        b=_bias(s),
        nonlinearity=s.activation or "None",
        name=_name(s),
    )


def _pool(s: Site) -> Any:
    if _dims(s) == 3:
        raise Gap("Lasagne 0.1 has no pool in three dimensions")
    padded = any(map(any, s.op.padding))
    pads = tuple(before for before, _ in s.op.padding)
    if any(
        a != b or a >= k for (a, b), k in zip(s.op.padding, s.op.kernel, strict=True)
    ):
        raise Gap("its pools add the same on both sides, and less than a window")
    if padded and s.op.ceil:
        raise Gap("its pools cannot both pad and keep a last window that hangs over")
    mean = hasattr(s.op, "count_padding")
    if not mean:
        theano.one_tie(s.op)
    if mean and _dims(s) == 1:
        raise Gap("Lasagne 0.1 has no mean over windows of a line")
    if padded and mean and not s.op.count_padding:
        raise Gap("the padding of its pools counts in a mean")
    counted = "inc" if padded else "exc"
    return call(
        "Pool2DLayer" if mean else f"MaxPool{_dims(s)}DLayer",
        s.x,
        pool_size=_one(s.op.kernel),
        stride=unless(s.op.kernel, s.op.stride) and _one(s.op.stride),
        pad=unless(0, _one(pads)),
        ignore_border=unless(True, not s.op.ceil),
        mode=quoted(f"average_{counted}_pad") if mean else None,
    )


def _norm(s: Site) -> Any:
    return call(
        "BatchNormLayer",
        s.x,
        momentum=unless(0.9, s.op.momentum) if s.recipe else None,
        epsilon=unless(1e-5, s.op.epsilon),
        unbiased=unless(False, s.op.unbiased) if s.recipe else None,
        gamma="None" if not s.op.scale else None,
        beta="None" if not s.op.shift else None,
        name=_name(s),
    )


def _trained_alone(s: Site) -> Any:
    if not s.recipe:
        # Only training looks at these.
        _ = s.op.momentum, s.op.unbiased
    return _norm(s)


def _embedding(s: Site) -> Any:
    return call(
        "EmbeddingLayer",
        s.x,
        input_size=s.op.vocabulary,
        output_size=s.op.features,
        W=s.initial("table"),
        name=_name(s),
    )


#: Gate -> the argument of the layer, and how its weights end.
GATES = {
    "i": ("ingate", "ingate"),
    "f": ("forgetgate", "forgetgate"),
    "g": ("cell", "cell"),
    "o": ("outgate", "outgate"),
    "r": ("resetgate", "resetgate"),
    "z": ("updategate", "updategate"),
    "n": ("hidden_update", "hidden_update"),
}


def _gated(s: Site, end: str) -> Any:
    """An LSTM or a GRU: a gate for each of its matrices."""
    lstm = s.op.gates == "ifgo"
    if s.op.activation != "tanh":
        raise Gap("its gated layers are written with tanh")
    if s.op.bias != "one":
        raise Gap("every gate has one bias (form bias='one')")
    if not lstm and s.op.reset != "after":
        raise Gap("its reset gate acts after the product (form reset='after')")
    inputs, count = s.inputs[0].size("F"), len(s.op.gates)
    gates = {}
    for letter in s.op.gates:
        start = None
        if letter == "f" and s.op.forget_bias:
            start = call("Constant", s.op.forget_bias)
        squash = "tanh" if letter in "gn" else None
        gates[GATES[letter][0]] = call(
            "gate", inputs, s.op.units, count, b=start, nonlinearity=squash
        )
    return call(
        "LSTMLayer" if lstm else "GRULayer",
        "{x}",
        num_units=s.op.units,
        **gates,
        learn_init=None if lstm else False,
        peepholes=False if lstm else None,
        backwards=True if end else None,
        name=_name(s, end),
    )


def _simple(s: Site, end: str) -> Any:
    """Of two dense layers, because RecurrentLayer gives both of its W one name."""
    names = {"tanh": "tanh", "relu": "rectify", "sigmoid": "sigmoid"}
    layers = {}
    for name, size, weight, bias in (
        ("input_to_hidden", s.inputs[0].size("F"), "kernel", s.op.bias != "none"),
        ("hidden_to_hidden", s.op.units, "recurrent", s.op.bias == "two"),
    ):
        layers[name] = call(
            "DenseLayer",
            call("InputLayer", ("None", size)),
            num_units=s.op.units,
            W=unless(
                "GlorotUniform()", inline(s.initial(weight + end.replace(".", "_")))
            ),
            b=None if bias else "None",
            nonlinearity="None",
            name=_name(s, f"{end}.{name}"),
        )
    return call(
        "CustomRecurrentLayer",
        "{x}",
        **layers,
        nonlinearity=names[s.op.activation],
        backwards=True if end else None,
        name=_name(s, end),
    )


def _recurrent(make: Callable[[Site, str], Any]) -> Callable[[Site], Any]:
    def write(s: Site) -> Any:
        _ = s.op.units, s.op.direction, s.op.returns
        wanted = {"forward": [""], "backward": [".back"], "both": ["", ".back"]}
        found: dict[str, Any] = {}
        for end in wanted[s.op.direction]:
            made = make(s, end)
            made = dataclasses.replace(made, arguments=(s.x, *made.arguments[1:]))
            if s.op.returns == "last":
                # Backwards, the first step is the last that was read.
                found[end] = (made, call("SliceLayer", "{x}", 0 if end else -1, axis=1))
            else:
                found[end] = (made, None)
        if len(found) == 1:
            made, cut = found.popitem()[1]
            if cut is None:
                return made
            value = call("SliceLayer", s.target, *cut.arguments[1:], axis=1)
            return Statements(tuple(_rows(s, made)), value)
        lines: list[str] = []
        for name, (made, cut) in zip(
            ("forward", "backward"), found.values(), strict=True
        ):
            rows = layout(" " * MARGIN + f"{name} = ", made)
            lines += [row[MARGIN:] for row in rows]
            if cut is not None:
                sliced = call("SliceLayer", name, *cut.arguments[1:], axis=1)
                lines.append(f"{name} = {inline(sliced)}")
        axis = len(s.outputs[0].axes) - 1
        return Statements(
            tuple(lines), call("ConcatLayer", "[forward, backward]", axis=axis)
        )

    return write


def _gated_weights(s: Site) -> tuple[Weight, ...]:
    result = []
    for end, way in (("", "forward"), ("_back", "backward")):
        if s.op.direction not in (way, "both"):
            continue
        inside = "back." if end else ""
        for letter in s.op.gates:
            gate = GATES[letter][1]
            for name, letters, source in (
                ("W_in_to_", "IG", "kernel"),
                ("W_hid_to_", "HG", "recurrent"),
                ("b_", "G", "bias"),
            ):
                # Its update gate says how much is new, that of the definition how much
                # is kept: a sigmoid of minus the other.
                result.append(
                    Weight(
                        f"{inside}{name}{gate}",
                        letters,
                        (source + end,),
                        gates=letter,
                        negative=letter == "z",
                    )
                )
    return tuple(result)


def _simple_weights(s: Site) -> tuple[Weight, ...]:
    result = []
    for end, way in (("", "forward"), ("_back", "backward")):
        if s.op.direction not in (way, "both"):
            continue
        inside = "back." if end else ""
        result += [
            Weight(f"{inside}input_to_hidden.W", "IG", ("kernel" + end,)),
            Weight(f"{inside}hidden_to_hidden.W", "HG", ("recurrent" + end,)),
        ]
        if s.op.bias != "none":
            result.append(Weight(f"{inside}input_to_hidden.b", "G", ("bias" + end,)))
        if s.op.bias == "two":
            bias = ("recurrent_bias" + end,)
            result.append(Weight(f"{inside}hidden_to_hidden.b", "G", bias))
    return tuple(result)


# --- Rules: arithmetic, shape ---------------------------------------------------------


def _rule(apply: Callable[[Site], Any], weights: Any = ()) -> Rule:
    """A layer on a line of its own."""
    return Rule(apply, lambda s: Statements((), ""), weights)


def _nonlinearity(text: Callable[[Site], Any] | str) -> Rule:
    def write(s: Site) -> Any:
        function = text if isinstance(text, str) else text(s)
        return call("NonlinearityLayer", s.x, nonlinearity=function)

    return _rule(write)


def _merged(function: str) -> Rule:
    def write(s: Site) -> Any:
        if s.inputs[0].shape[1:] != s.inputs[1].shape[1:]:
            raise Gap("it merges layers of one shape only")
        pair = f"[{inline(s.x)}, {inline(s.arguments[1])}]"
        if function == "T.add":
            return call("ElemwiseSumLayer", pair)
        return call("ElemwiseMergeLayer", pair, merge_function=function)

    return _rule(write)


def _rows_alone(name: str) -> Callable[[Site], str]:
    def write(s: Site) -> str:
        if len(s.inputs[0].axes) != 2 or s.axis(s.op.axis) != 1:
            raise Gap(f"its {name} is that of the rows of a matrix")
        return name

    return write


def _concat(s: Site) -> Any:
    pieces = f"[{', '.join(map(inline, s.arguments))}]"
    return call("ConcatLayer", pieces, axis=unless(1, s.axis(s.op.axis)))


def _slice(s: Site) -> Any:
    op = s.op
    start = "None" if op.start == 0 and op.step > 0 else op.start
    cut = call("slice", start, "None" if op.stop is None else op.stop)
    if op.step != 1:
        if op.step < 0:
            raise Gap("its SliceLayer does not step backwards")
        cut = dataclasses.replace(cut, arguments=(*cut.arguments, op.step))
    return call("SliceLayer", s.x, cut, axis=s.axis(op.axis))


def _split(s: Site) -> Any:
    lines, begin, axis = [], 0, s.axis(s.op.axis)
    for name, size in zip(s.target.split(", "), s.op.sizes, strict=True):
        piece = call("slice", begin, begin + size)
        lines.append(f"{name} = {inline(call('SliceLayer', s.x, piece, axis=axis))}")
        begin += size
    return Statements(tuple(lines), s.target)


def _reshape(s: Site) -> Any:
    _ = s.op.axes
    return call("ReshapeLayer", s.x, ("[0]", *s.op.shape))


def _permute(s: Site) -> Any:
    getattr(s.op, "axes", None)
    return call("DimshuffleLayer", s.x, s.order())


def _pad(s: Site) -> Any:
    width = f"[{', '.join(map(inline, s.op.padding))}]"
    return call("PadLayer", s.x, width=width, val=theano.border(s.op), batch_ndim=2)


def _global(function: str) -> Rule:
    pool = unless("T.mean", function)
    return _rule(lambda s: call("GlobalPoolLayer", s.x, pool_function=pool))


# --- Rules: blocks --------------------------------------------------------------------


def _block(s: Site) -> Any:
    name = f'f"{{name}}.{s.name}"' if s.in_block else quoted(s.name)
    return call(_function(s), *s.arguments, **dict(s.op.arguments), name=name)


def _function(s: Site) -> str:
    return function_name(s.op.block.name)


def _repeat(s: Site) -> Any:
    inner = f"{{name}}.{s.name}" if s.in_block else s.name
    name = f'f"{inner}.{{i}}"'
    used = call(_function(s), s.target, **dict(s.op.arguments), name=name)
    first = [] if s.target == s.x else [f"{s.target} = {inline(s.x)}"]
    rows = layout(" " * (MARGIN + 4) + f"{s.target} = ", used)
    rows = ["    " + row[MARGIN + 4 :] for row in rows]
    return Statements((*first, f"for i in range({s.op.times}):", *rows), s.target)


# --- Rules: the table -----------------------------------------------------------------

DENSE = (Weight("W", "IO", ("kernel",)), Weight("b", "O", ("bias",)))


def _filters(s: Site) -> tuple[Weight, ...]:
    """Its convolution turns the filters round, so they are kept turned."""
    space = axes.SPATIAL[_dims(s)]
    kernel = Weight("W", "OI" + space, ("kernel",), flip=space)
    return (kernel, Weight("b", "O", ("bias",))) if s.op.bias else (kernel,)


def _statistics(s: Site) -> tuple[Weight, ...]:
    pairs = [("scale", "gamma"), ("shift", "beta"), ("mean", "mean")]
    pairs.append(("variance", "var"))
    letter = "C" if "C" in s.inputs[0].axes else "F"
    return tuple(
        Weight(name, letter, (source,))
        for source, name in pairs
        if getattr(s.op, source, True)
    )


RULES: dict[type[ops.Op], Rule] = {
    ops.Dense: _rule(_dense, DENSE),
    ops.Conv: _rule(_convolution, _filters),
    ops.MaxPool: _rule(_pool),
    ops.AvgPool: _rule(_pool),
    ops.GlobalAvgPool: _global("T.mean"),
    ops.GlobalMaxPool: _global("T.max"),
    ops.BatchNorm: _rule(_trained_alone, _statistics),
    ops.Dropout: _rule(lambda s: call("DropoutLayer", s.x, p=s.op.rate)),
    ops.Embedding: _rule(_embedding, (Weight("W", "VF", ("table",)),)),
    ops.SimpleRNN: _rule(_recurrent(_simple), _simple_weights),
    ops.LSTM: _rule(_recurrent(_gated), _gated_weights),
    ops.GRU: _rule(_recurrent(_gated), _gated_weights),
    ops.Relu: _nonlinearity("rectify"),
    ops.Sigmoid: _nonlinearity("sigmoid"),
    ops.Tanh: _nonlinearity("tanh"),
    ops.Softplus: _nonlinearity("T.nnet.softplus"),
    ops.Softmax: _nonlinearity(_rows_alone("softmax")),
    ops.LogSoftmax: _nonlinearity(_rows_alone("T.nnet.logsoftmax")),
    ops.Elu: _nonlinearity(
        lambda s: (
            "T.nnet.elu"
            if s.op.alpha == 1
            else f"lambda x: T.nnet.elu(x, {inline(s.op.alpha)})"
        )
    ),
    ops.Selu: _nonlinearity("T.nnet.selu"),
    ops.LeakyRelu: _nonlinearity(
        lambda s: f"lambda x: T.switch(x > 0, x, {inline(s.op.slope)} * x)"
    ),
    ops.Silu: _nonlinearity("lambda x: x * sigmoid(x)"),
    ops.Negative: _nonlinearity("T.neg"),
    ops.Exp: _nonlinearity("T.exp"),
    ops.Log: _nonlinearity("T.log"),
    ops.Sqrt: _nonlinearity("T.sqrt"),
    ops.Abs: _nonlinearity("T.abs_"),
    ops.Square: _nonlinearity("T.sqr"),
    ops.Clip: _nonlinearity(
        lambda s: f"lambda x: T.clip(x, {inline(s.op.low)}, {inline(s.op.high)})"
    ),
    ops.Scale: _nonlinearity(
        lambda s: f"lambda x: {inline(s.op.factor)} * x + {inline(s.op.offset)}"
    ),
    ops.Add: _merged("T.add"),
    ops.Subtract: _merged("T.sub"),
    ops.Multiply: _merged("T.mul"),
    ops.Divide: _merged("T.true_div"),
    ops.Concat: _rule(_concat),
    ops.Split: _rule(_split),
    ops.Slice: _rule(_slice),
    ops.Reshape: _rule(_reshape),
    ops.Flatten: _rule(lambda s: call("FlattenLayer", s.x)),
    ops.Transpose: _rule(_permute),
    ops.Pad: _rule(_pad),
    BlockCall: _rule(_block),
    Repeat: _rule(_repeat),
}

LOSSES: dict[type[recipe.Loss], str] = {
    recipe.SoftmaxCrossEntropy: "categorical_crossentropy(softmax(scores), y).mean()",
    recipe.MeanSquaredError: "squared_error(scores, y).mean()",
}

INITIALIZERS: dict[type[recipe.Initializer], Any] = {
    recipe.GlorotUniform: lambda i: call("GlorotUniform"),
    recipe.Zeros: lambda i: call("Constant", 0.0),
    recipe.Ones: lambda i: call("Constant", 1.0),
    recipe.Uniform: lambda i: call("Uniform", i.limit),
}


def _sgd(o: recipe.SGD) -> Any:
    name = "nesterov_momentum" if o.nesterov else "momentum"
    loss = "loss"
    if o.weight_decay:
        loss = f"loss + {inline(o.weight_decay / 2)} * apply_penalty(parameters, l2)"
    if not o.momentum:
        return call("sgd", loss, "parameters", learning_rate=o.rate)
    given = unless(0.9, o.momentum)
    return call(name, loss, "parameters", learning_rate=o.rate, momentum=given)


def _adam(o: recipe.Adam) -> Any:
    if o.weight_decay:
        raise Gap("its Adam has no weight decay of its own (AdamW)")
    return call(
        "adam",
        "loss",
        "parameters",
        learning_rate=o.rate,
        beta1=unless(0.9, o.beta1),
        beta2=unless(0.999, o.beta2),
        epsilon=unless(1e-8, o.epsilon),
    )


OPTIMIZERS: dict[type[recipe.Optimizer], Any] = {recipe.SGD: _sgd, recipe.Adam: _adam}

# --- Rewrites -------------------------------------------------------------------------


REWRITES: dict[type[ops.Op], Any] = {
    ops.Conv: pad_first_if_uneven,
    ops.MaxPool: theano.REWRITES[ops.MaxPool],
}

# --- Missing --------------------------------------------------------------------------

MISSING: dict[type[ops.Op], str] = {
    op: "Lasagne 0.1 has no layer for it"
    for op in (
        ops.ConvTranspose,
        ops.LayerNorm,
        ops.GroupNorm,
        ops.RMSNorm,
        ops.MultiHeadAttention,
        ops.Gelu,
        ops.Maximum,
        ops.Minimum,
        ops.MatMul,
        ops.ReduceMean,
        ops.ReduceSum,
        ops.ReduceMax,
        ops.Upsample,
    )
}

# --- The frame ------------------------------------------------------------------------

HELPERS = {
    "rectify": '''
def rectify(x):
    """The slope at 0 is 0; that of Lasagne's own is 0.5."""
    return T.maximum(0, x)
''',
    "gate": '''
def gate(inputs, units, count, **options):
    """One of some gates that start as one matrix: the fans count them all."""
    W_in = Uniform(np.sqrt(6 / (inputs + count * units)))
    W_hid = Uniform(np.sqrt(6 / (units + count * units)))
    return Gate(W_in, W_hid, W_cell=None, **options)
''',
    "BatchNormLayer": '''
class BatchNormLayer(Layer):
    """Normalises channels, in training by the batch."""

    def __init__(
        self,
        incoming,
        momentum=0.9,
        epsilon=1e-5,
        unbiased=False,
        gamma=1,
        beta=0,
        **kwargs
    ):
        super().__init__(incoming, **kwargs)
        self.momentum, self.epsilon, self.unbiased = momentum, epsilon, unbiased
        self.updates = []
        self.gamma = self.parameter(gamma, "gamma")
        self.beta = self.parameter(beta, "beta")
        self.mean = self.parameter(0, "mean", trainable=False)
        self.var = self.parameter(1, "var", trainable=False)

    def parameter(self, value, name, **tags):
        if value is not None:
            size = self.input_shape[1:2]
            value = self.add_param(Constant(value), size, name, **tags)
        return value

    def get_output_for(self, input, deterministic=False, **kwargs):
        def channels(v):
            return v.dimshuffle("x", 0, *["x"] * (input.ndim - 2))

        mean, var = self.mean, self.var
        if not deterministic:
            axes = [0] + list(range(2, input.ndim))
            mean, var = input.mean(axes), input.var(axes)
            count = T.cast(input.size // input.shape[1], input.dtype)
            new_var = var * count / (count - 1) if self.unbiased else var
            self.updates = [
                (old, self.momentum * old + (1 - self.momentum) * new)
                for old, new in ((self.mean, mean), (self.var, new_var))
            ]
        y = (input - channels(mean)) / channels(T.sqrt(var + self.epsilon))
        if self.gamma is not None:
            y = y * channels(self.gamma)
        return y if self.beta is None else y + channels(self.beta)
''',
}

EVALUATED = {
    "BatchNormLayer": '''
class BatchNormLayer(Layer):
    """Normalises channels by their running mean and variance."""

    def __init__(self, incoming, epsilon=1e-5, gamma=1, beta=0, **kwargs):
        super().__init__(incoming, **kwargs)
        self.epsilon = epsilon
        self.gamma = self.parameter(gamma, "gamma")
        self.beta = self.parameter(beta, "beta")
        self.mean = self.parameter(0, "mean")
        self.var = self.parameter(1, "var")

    def parameter(self, value, name):
        if value is not None:
            value = self.add_param(Constant(value), self.input_shape[1:2], name)
        return value

    def get_output_for(self, input, **kwargs):
        def channels(v):
            return v.dimshuffle("x", 0, *["x"] * (input.ndim - 2))

        y = (input - channels(self.mean)) / channels(T.sqrt(self.var + self.epsilon))
        if self.gamma is not None:
            y = y * channels(self.gamma)
        return y if self.beta is None else y + channels(self.beta)
''',
}

NETWORK = '''
def $function($inputs$parameters, name):
    """$about"""
    $apply
'''

BUILD = '''
def build(seed=0):
    """Create the network, and compile $what."""
    lasagne.random.set_rng(np.random.RandomState(seed))
    model = network()
    $body


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    for parameter in get_all_params(model$trainable):
        parameter.set_value(arrays[parameter.name])


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    parameters = get_all_params(model$trainable)
    np.savez(path, **{p.name: p.get_value() for p in parameters})
'''

#: Module -> what of it a program may use.
MODULES = {
    "lasagne.init": ("Constant", "GlorotUniform", "Uniform"),
    "lasagne.layers": (
        "ConcatLayer",
        "Conv1DLayer",
        "Conv2DLayer",
        "CustomRecurrentLayer",
        "DenseLayer",
        "DimshuffleLayer",
        "DropoutLayer",
        "ElemwiseMergeLayer",
        "ElemwiseSumLayer",
        "EmbeddingLayer",
        "FlattenLayer",
        "Gate",
        "GlobalPoolLayer",
        "GRULayer",
        "InputLayer",
        "Layer",
        "LSTMLayer",
        "MaxPool1DLayer",
        "MaxPool2DLayer",
        "NonlinearityLayer",
        "PadLayer",
        "Pool2DLayer",
        "ReshapeLayer",
        "SliceLayer",
        "get_all_layers",
        "get_all_params",
        "get_output",
    ),
    "lasagne.nonlinearities": ("sigmoid", "softmax", "tanh"),
    "lasagne.objectives": ("categorical_crossentropy", "squared_error"),
    "lasagne.regularization": ("apply_penalty", "l2"),
    "lasagne.updates": ("adam", "momentum", "nesterov_momentum", "sgd"),
}


def _imports(text: str) -> list[str]:
    """The imports of the names that a text uses, as a formatter writes them."""
    lines = []
    for module, names in MODULES.items():
        # An argument or a variable may be called as an update rule is.
        end = r"\(" if module == "lasagne.updates" else r"\b(?!=)"
        used = [n for n in names if re.search(rf"(?<![\w.\"]){n}{end}", text)]
        if not used:
            continue
        # Constants, classes, functions: the order of isort.
        used.sort(key=lambda n: (not n.isupper(), not n[0].isupper(), n.lower()))
        line = f"from {module} import {', '.join(used)}"
        if len(line) > 88:
            rows = [f"    {name}," for name in used]
            lines += [f"from {module} import (", *rows, ")"]
        else:
            lines.append(line)
    return lines


def _build(parts: Parts, trainable: str) -> list[str]:
    graph = parts.graph
    x = theano.variable(graph.inputs[0][1], "x")
    scores = "theano.function([x], get_output(model, x, deterministic=True))"
    if parts.recipe is None:
        return [f"x = {x}", f"model.scores = {scores}", "return model"]
    optimizer = OPTIMIZERS[type(parts.recipe.optimizer)](parts.recipe.optimizer)
    norms = ops.BatchNorm in parts.operations
    lines = [
        f"x, y = {x}, {theano.target(parts)}",
        f"model.scores = {scores}",
        "scores = get_output(model, x)",
        f"loss = {LOSSES[type(parts.recipe.loss)]}",
        "parameters = get_all_params(model, trainable=True)",
        *(row[4:] for row in layout("    updates = ", optimizer)),
    ]
    if norms:
        lines += [
            "for layer in get_all_layers(model):",
            '    updates.update(getattr(layer, "updates", []))',
        ]
    lines.append("step = theano.function([x, y], loss, updates=updates)")
    return [*lines, "return model, step"]


def _network(parts: Parts) -> list[str | Line]:
    lines: list[str | Line] = []
    for scope in parts.blocks:
        about = f"Block {scope.name}; the names of its layers begin with name."
        template = NETWORK.replace("$about", about)
        lines += [*common.class_lines(scope, template), "", ""]
    shape = tuple("None" if n is None else n for n in parts.graph.inputs[0][1].shape)
    template = f'''
def network():
    """The last layer of the network, which knows those before it."""
    x = InputLayer({inline(shape)})
    $apply
'''
    return [*lines, *common.class_lines(parts.network, template)]


def frame(parts: Parts) -> list[Section]:
    """The program around the network."""
    trained = parts.recipe is not None
    network = _network(parts)
    text = "\n".join(x.text if isinstance(x, Line) else x for x in network)
    helpers = [
        body.strip()
        for name, body in (HELPERS if trained else HELPERS | EVALUATED).items()
        if re.search(rf"(?<![\w.\"]){name}\b", text)
    ]
    trainable = "" if ops.BatchNorm in parts.operations else ", trainable=True"
    body = _build(parts, trainable)
    used = "\n".join([text, *helpers, *body, "get_all_params"])
    imports = [
        "import lasagne",
        "import theano",
        "import theano.tensor as T",
        *_imports(used),
    ]
    top = ["import argparse", *([] if trained else ["import time"]), ""]
    spaced = [row for piece in helpers for row in (*piece.split("\n"), "", "")]
    about = "Loss, optimizer, compiled functions" if trained else "Compiled functions"
    sections = [
        common.head(
            parts,
            ["import lasagne", "import numpy as np", *imports[1:]],
            [f'theano.config.floatX = "{parts.dtype}"'],
            top,
        ),
        common.load_data(parts),
        Section(
            "network",
            "# 2. The network\n$helpers\n$network",
            {"helpers": spaced, "network": network},
        ),
        Section(
            "setup",
            f"# 3. {about}\n" + BUILD.strip("\n"),
            {
                "what": "what runs and trains it" if trained else "what runs it",
                "body": body,
                "trainable": trainable,
            },
        ),
    ]
    return theano.whole(parts, sections)


backend = Backend(
    name="lasagne",
    title="Lasagne",
    home="https://github.com/Lasagne/Lasagne",
    since="2014",
    licence="MIT",
    language="Python, on Theano",
    style="layer functions",
    storage=axes.channels_first,
    env=ENV,
    barrier="lambda: sum(p.get_value().sum() for p in get_all_params(model))",
    rules=RULES,
    losses=LOSSES,
    optimizers=OPTIMIZERS,
    initializers=INITIALIZERS,
    frame=frame,
    rewrites=REWRITES,
    missing=MISSING,
    forms={
        ops.MaxPool: ({"ties": "all"},),
        ops.LSTM: ({"bias": "one"},),
        ops.GRU: ({"reset": "after", "bias": "one"},),
        recipe.Adam: ({"epsilon_form": "before"},),
    },
    fuses=frozenset((ops.Dense, ops.Conv)),
    activations={ops.Relu: "rectify", ops.Sigmoid: "sigmoid", ops.Tanh: "tanh"},
    helpers=dict.fromkeys((*HELPERS, *(n for m in MODULES.values() for n in m)), ""),
    object="{name}",
    margin=MARGIN,
    engine="Theano has no engine of its own (Platoon was a project beside it)",
)

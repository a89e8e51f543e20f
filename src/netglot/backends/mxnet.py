"""MXNet's symbols: a network composed by name, bound and trained by a Module."""

from __future__ import annotations

import re
from typing import Any

from netglot import axes, ops, recipe
from netglot.backend import Backend, Gap, Parts, Rule, Section, Site, Weight
from netglot.backends import common, gluon, keras
from netglot.backends.gluon import ENV, extra, initial, kernels, last, sides
from netglot.graph import Call as BlockCall
from netglot.graph import Repeat
from netglot.source import Line, Statements, call, inline, layout, quoted, unless

# --- Rules ----------------------------------------------------------------------------


def _name(s: Site, ending: str = "") -> str:
    """The name of a layer or of a weight of it, by which it is found."""
    prefix, f = ("{name}_", "f") if s.in_block else ("", "")
    return f + quoted(f"{prefix}{s.name}{ending}")


def _layer(kind: str, s: Site, *arguments: Any, **keywords: Any) -> Any:
    return call(f"mx.sym.{kind}", s.x, *arguments, **keywords, name=_name(s))


def _variable(s: Site, weight: str, role: str, default: str) -> Any:
    """The weight, where it does not start as its name or the network's rest says."""
    start = initial(s, role, default)
    if start is None:
        return None
    return call("mx.sym.Variable", _name(s, f"_{weight}"), init=start)


def _weighed(s: Site) -> dict[str, Any]:
    bias = _variable(s, "bias", "bias", "mx.init.Zero()") if s.op.bias else None
    return {"bias": bias, "no_bias": unless(False, not s.op.bias)}


def _dense(s: Site) -> Any:
    # It flattens all axes but the first, unless told otherwise.
    flatten = None if s.inputs[0].axes == "NF" else False
    width = s.op.features
    return _layer("FullyConnected", s, num_hidden=width, flatten=flatten, **_weighed(s))


def _convolution(s: Site) -> Any:
    count = len(s.op.kernel)
    return _layer(
        "Convolution",
        s,
        num_filter=s.op.channels,
        kernel=s.op.kernel,
        stride=unless((1,) * count, s.op.stride),
        pad=unless((0,) * count, sides(s.op)),
        dilate=unless((1,) * count, s.op.dilation),
        num_group=unless(1, s.op.groups),
        **_weighed(s),
    )


def _transposed(s: Site) -> Any:
    count = len(s.op.kernel)
    return _layer(
        "Deconvolution",
        s,
        num_filter=s.op.channels,
        kernel=s.op.kernel,
        stride=unless((1,) * count, s.op.stride),
        pad=unless((0,) * count, sides(s.op)),
        adj=unless((0,) * count, extra(s.op)),
        dilate=unless((1,) * count, s.op.dilation),
        num_group=unless(1, s.op.groups),
        # Unlike other layers it has no bias unless told so.
        **{**_weighed(s), "no_bias": unless(True, not s.op.bias)},
    )


def _kernel(letters: str) -> Any:
    def weights(s: Site) -> tuple[Weight, ...]:
        space = axes.SPATIAL.get(len(s.inputs[0].axes) - 2, "") if letters else ""
        kernel = Weight("weight", (letters or "OI") + space, ("kernel",))
        return (kernel, Weight("bias", "O", ("bias",))) if s.op.bias else (kernel,)

    return weights


def _pool(kind: str) -> Rule:
    def write(s: Site) -> Any:
        gluon.check_windows(s)
        counts = getattr(s.op, "count_padding", True) or not any(sides(s.op))
        count = len(s.op.kernel)
        return call(
            "mx.sym.Pooling",
            s.x,
            pool_type=quoted(kind),
            kernel=s.op.kernel,
            stride=unless((1,) * count, s.op.stride),
            pad=unless((0,) * count, sides(s.op)),
            pooling_convention=quoted("full") if s.op.ceil else None,
            count_include_pad=unless(True, counts),
        )

    return Rule(write)


def _global(kind: str) -> Rule:
    def write(s: Site) -> Any:
        given = {"pool_type": quoted(kind), "global_pool": True}
        return call("mx.sym.Flatten", call("mx.sym.Pooling", s.x, **given))

    return Rule(write)


def _fixed(s: Site, letter: str) -> dict[str, Any]:
    """Scale and shift that are not learned, in the place of variables."""
    size = s.inputs[0].size(letter)
    missing = [name for name in ("scale", "shift") if not getattr(s.op, name)]
    if missing and size is None:
        raise Gap("it learns a scale and a shift where a size is not known")
    shape = f"({inline(size)},)" if missing else ""
    return {
        "gamma": None if s.op.scale else f"mx.sym.ones({shape})",
        "beta": None if s.op.shift else f"mx.sym.zeros({shape})",
    }


def _batch_norm(s: Site) -> Any:
    if s.op.unbiased:
        raise Gap("its running variance is the biased one (form unbiased=False)")
    return _layer(
        "BatchNorm",
        s,
        **_fixed(s, "C" if "C" in s.inputs[0].axes else "F"),
        # Left out, the scale stays 1.
        fix_gamma=False,
        eps=unless(1e-3, s.op.epsilon),
        momentum=unless(0.9, s.op.momentum),
    )


def _layer_norm(s: Site) -> Any:
    return _layer("LayerNorm", s, **_fixed(s, "F"), eps=unless(1e-5, s.op.epsilon))


def _norm_weights(s: Site) -> tuple[Weight, ...]:
    moving = {"running_mean": "moving_mean", "running_var": "moving_var"}
    return tuple(
        Weight(moving.get(w.path, w.path), w.axes, w.sources) for w in gluon.affine(s)
    )


def _group_norm(s: Site) -> Any:
    sizes = gluon.known(s, "C"), s.op.groups
    epsilon = unless(1e-5, s.op.epsilon)
    learned = {"center": unless(True, s.op.shift), "scale": unless(True, s.op.scale)}
    return call("group_norm", s.x, *sizes, epsilon=epsilon, **learned, name=_name(s))


def _rms_norm(s: Site) -> Any:
    epsilon, scale = unless(1e-6, s.op.epsilon), unless(True, s.op.scale)
    size = gluon.known(s, "F")
    return call("rms_norm", s.x, size, epsilon=epsilon, scale=scale, name=_name(s))


def _embedding(s: Site) -> Any:
    return _layer(
        "Embedding",
        s,
        input_dim=s.op.vocabulary,
        output_dim=s.op.features,
        weight=_variable(s, "weight", "embedding", kernels(s.initializers)),
    )


def _recurrent(kind: str) -> Rule:
    def write(s: Site) -> Any:
        known = ("tanh", "relu") if kind == "rnn" else ("tanh",)
        gluon.check_recurrent(s, known)
        if initial(s, "bias", "mx.init.Zero()"):
            raise Gap("the biases of its recurrent layers start at 0")
        if initial(s, "recurrent", kernels(s.initializers)):
            raise Gap("both kernels of its recurrent layers start alike")
        forget = getattr(s.op, "forget_bias", None)
        sizes = gluon.known(s, "F"), s.op.units
        given = {
            "mode": quoted("rnn_relu") if s.op.activation == "relu" else None,
            "forget_bias": unless(1.0, forget) if s.op.bias != "none" else None,
        }
        function = kind + BIASES[s.op.bias]

        def run(x: Any, name: str) -> Any:
            return call(function, x, *sizes, **given, name=name)

        x, end = s.x, s.op.returns == "last"
        if s.op.direction == "forward":
            outputs = run(x, _name(s))
            if not end:
                return outputs
            lines = layout(" " * s.backend.margin + f"{s.target} = ", outputs)
            rows = [row[s.backend.margin :] for row in lines]
            return Statements((*rows, f"{s.target} = {last(s.target)}"), s.target)
        flipped = f"{inline(x)}.flip(axis=1)"
        back = inline(run(flipped, _name(s, "_r" * (s.op.direction == "both"))))
        back = last(back) if end else f"{back}.flip(axis=1)"
        if s.op.direction == "backward":
            return back
        ahead = inline(run(x, _name(s, "_l")))
        lines = [
            f"forward = {last(ahead) if end else ahead}",
            f"backward = {back}",
            f"{s.target} = mx.sym.concat(forward, backward, dim={1 if end else 2})",
        ]
        return Statements(tuple(lines), s.target)

    needs = tuple(kind + ending for ending in BIASES.values())
    return Rule(write, weights=_recurrent_weights, needs=needs)


BIASES = {"two": "", "one": "_one_bias", "none": "_no_bias"}


def _recurrent_weights(s: Site) -> tuple[Weight, ...]:
    result = []
    for weight in gluon.RULES[type(s.op)].weights(s):  # type: ignore[operator]
        *place, name = weight.path.split(".")
        side = f"{place[-1][0]}_" if s.op.direction == "both" else ""
        result.append(Weight(side + name, weight.axes, weight.sources))
    return tuple(result)


def _attention(s: Site) -> Any:
    given = {
        "causal": unless(False, s.op.causal),
        "no_bias": unless(False, not s.op.bias),
    }
    sizes = gluon.known(s, "F"), s.op.heads
    three = s.x, s.arguments[:2][-1], s.arguments[-1]
    return call("attention", *three, *sizes, **given, name=_name(s))


def _attention_weights(s: Site) -> tuple[Weight, ...]:
    listed = gluon.RULES[type(s.op)].weights(s)  # type: ignore[operator]
    return tuple(Weight(w.path.replace(".", "_"), w.axes, w.sources) for w in listed)


def _activation(kind: str) -> Rule:
    return Rule(lambda s: call("mx.sym.Activation", s.x, act_type=quoted(kind)))


RULES: dict[type[ops.Op], Rule] = {
    **gluon.functions("mx.sym"),
    ops.Dense: Rule(_dense, weights=_kernel("")),
    ops.Conv: Rule(_convolution, weights=_kernel("OI")),
    ops.ConvTranspose: Rule(_transposed, weights=_kernel("IO")),
    ops.MaxPool: _pool("max"),
    ops.AvgPool: _pool("avg"),
    ops.GlobalAvgPool: _global("avg"),
    ops.GlobalMaxPool: _global("max"),
    ops.BatchNorm: Rule(_batch_norm, weights=_norm_weights),
    ops.LayerNorm: Rule(_layer_norm, weights=_norm_weights),
    ops.GroupNorm: Rule(_group_norm, weights=_norm_weights, needs=("group_norm",)),
    ops.RMSNorm: Rule(_rms_norm, weights=_norm_weights, needs=("rms_norm",)),
    ops.Dropout: Rule(lambda s: call("mx.sym.Dropout", s.x, p=s.op.rate)),
    ops.Embedding: Rule(_embedding, weights=(Weight("weight", "VF", ("table",)),)),
    ops.SimpleRNN: _recurrent("rnn"),
    ops.LSTM: _recurrent("lstm"),
    ops.GRU: _recurrent("gru"),
    ops.MultiHeadAttention: Rule(
        _attention, weights=_attention_weights, needs=("attention",)
    ),
    ops.Relu: _activation("relu"),
    ops.Sigmoid: _activation("sigmoid"),
    ops.Tanh: _activation("tanh"),
    ops.Softplus: _activation("softrelu"),
    ops.Flatten: common.function("mx.sym.Flatten"),
    BlockCall: keras.RULES[BlockCall],
    Repeat: keras.RULES[Repeat],
}

#: The outputs of a network that is trained, one of which stands for the loss.
LOSSES = {
    recipe.SoftmaxCrossEntropy: (
        'softmax = mx.sym.SoftmaxOutput(scores, normalization="batch", name="softmax")',
        "outputs = mx.sym.Group([softmax, mx.sym.BlockGrad(scores)])",
    ),
    recipe.MeanSquaredError: (
        'error = mx.sym.square(scores - mx.sym.Variable("target")).mean()',
        "outputs = mx.sym.Group([mx.sym.MakeLoss(error), mx.sym.BlockGrad(scores)])",
    ),
}
#: The loss as a number of its own: the next batch overwrites the outputs.
NUMBERS = {
    recipe.SoftmaxCrossEntropy: (
        "probabilities, _ = model.get_outputs()",
        "return -nd.pick(probabilities, y).log().mean()",
    ),
    recipe.MeanSquaredError: (
        "error, _ = model.get_outputs()",
        "return error.copy()  # the next batch overwrites it",
    ),
}

RECURRENT = '''
def $function(x, features, units, name$given):
    """Outputs of $what: N x T x features -> N x T x units."""
    parameters = [
        mx.sym.Variable(f"{name}_i2h_weight", shape=($size, features)),
        mx.sym.Variable(f"{name}_h2h_weight", shape=($size, units)),
        $input,
        $recurrent,
    ]
    outputs = mx.sym.RNN(
        x.swapaxes(0, 1),
        # All weights are one vector to the operator.
        mx.sym.concat(*(p.reshape(-1) for p in parameters), dim=0),
        $states,
        mode=$mode,
        state_size=units,
        num_layers=1,
    )
    return outputs.swapaxes(0, 1)
'''


def _helper(kind: str, bias: str) -> str:
    """The text of a recurrent layer around the fused operator."""
    gates, what = {"rnn": (1, "an RNN"), "lstm": (4, "an LSTM"), "gru": (3, "a GRU")}[
        kind
    ]
    size = f"{gates} * units" if gates > 1 else "units"
    none = f"mx.sym.zeros(({size},))"
    both = [
        f'mx.sym.Variable(f"{{name}}_{p}_bias", shape=({size},))'
        for p in ("i2h", "h2h")
    ]
    if kind == "lstm":
        # The bias of the forget gate.
        starts = (
            'f"{name}_i2h_bias", shape=(4 * units,), init=mx.init.LSTMBias(forget_bias)'
        )
        both[0] = f"mx.sym.Variable(\n            {starts}\n        )"
    if bias != "two":
        both[1] = none
    if bias == "none":
        both[0] = none
    given = {"rnn": 'mode="rnn_tanh"', "lstm": "forget_bias=1.0", "gru": ""}[kind]
    if bias == "none" and kind == "lstm":
        given = ""
    state = "mx.sym.zeros((1, 0, units))"
    slots = {
        "function": kind + BIASES[bias],
        "given": f", {given}" if given else "",
        "what": what,
        "size": size,
        "input": both[0],
        "recurrent": both[1],
        "states": f"{state},\n        {state}" if kind == "lstm" else state,
        "mode": "mode" if kind == "rnn" else quoted(kind),
    }
    text = RECURRENT
    for name, value in slots.items():
        text = text.replace(f"${name}", value)
    return text


HELPERS = {
    **{
        kind + BIASES[b]: _helper(kind, b)
        for kind in ("rnn", "lstm", "gru")
        for b in BIASES
    },
    "group_norm": '''
def group_norm(x, channels, groups, epsilon=1e-5, center=True, scale=True, *, name):
    """Group normalization; MXNet's own has a scale per group, not per channel."""
    y = x.reshape((0, groups, -1))
    y = mx.sym.broadcast_sub(y, y.mean(axis=2, keepdims=True))
    variance = mx.sym.square(y).mean(axis=2, keepdims=True)
    y = mx.sym.broadcast_div(y, mx.sym.sqrt(variance + epsilon))
    y = y.reshape((0, channels, -1))
    if scale:
        gamma = mx.sym.Variable(f"{name}_gamma", shape=(channels,))
        y = mx.sym.broadcast_mul(y, gamma.reshape((1, -1, 1)))
    if center:
        beta = mx.sym.Variable(f"{name}_beta", shape=(channels,))
        y = mx.sym.broadcast_add(y, beta.reshape((1, -1, 1)))
    return y.reshape_like(x)
''',
    "rms_norm": '''
def rms_norm(x, features, epsilon=1e-6, scale=True, *, name):
    """Features divided by the root of their mean square."""
    square = mx.sym.square(x).mean(axis=-1, keepdims=True)
    x = mx.sym.broadcast_div(x, mx.sym.sqrt(square + epsilon))
    if not scale:
        return x
    gamma = mx.sym.Variable(f"{name}_gamma", shape=(features,))
    return mx.sym.broadcast_mul(x, gamma)
''',
    "attention": '''
def attention(query, key, value, units, heads, causal=False, no_bias=False, *, name):
    """Scaled dot-product attention; where causal, no step sees a later one."""

    def linear(x, role):
        return mx.sym.FullyConnected(
            x, num_hidden=units, flatten=False, no_bias=no_bias, name=f"{name}_{role}"
        )

    def split_heads(x):
        x = x.reshape((0, 0, heads, -1)).transpose((0, 2, 1, 3))
        return x.reshape((-3, 0, 0))

    query = split_heads(linear(query, "query"))
    key = split_heads(linear(key, "key"))
    value = split_heads(linear(value, "value"))
    scores = mx.sym.batch_dot(query, key, transpose_b=True) / (units // heads) ** 0.5
    if causal:
        row = mx.sym.contrib.arange_like(scores, axis=1).reshape((-1, 1))
        column = mx.sym.contrib.arange_like(scores, axis=2).reshape((1, -1))
        later = mx.sym.broadcast_lesser(row, column).expand_dims(axis=0)
        scores = mx.sym.broadcast_sub(scores, 1e9 * later)
    x = mx.sym.batch_dot(mx.sym.softmax(scores), value)
    x = x.reshape((-4, -1, heads, 0, 0)).transpose((0, 2, 1, 3)).reshape((0, 0, -3))
    return linear(x, "output")
''',
}

# --- The frame ------------------------------------------------------------------------

BLOCK = """
def $function($inputs$parameters, name):
    $apply
"""

SETUP = '''
# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network$and_optimizer."""
    mx.random.seed(seed)
    $build


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = {name: nd.array(array) for name, array in np.load(path).items()}
    model.set_params(arrays, arrays, allow_extra=True)


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    weights, statistics = model.get_params()
    arrays = {**weights, **statistics}
    np.savez(path, **{name: array.asnumpy() for name, array in arrays.items()})
'''

STEP = '''
def train_step(model, x, y):
    """Make one optimizer step on $batch; return its loss."""
    x, y = nd.array(x), nd.array(y)
    model.forward_backward(mx.io.DataBatch([x], [y]))
    model.update()
    $loss
'''

PREDICT = '''
# 5. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    labels = nd.zeros($label)  # asked for, though they play no part
    model.forward(mx.io.DataBatch([nd.array(x)], [labels]), is_train=False)
    _, scores = model.get_outputs()
    return scores.asnumpy()
'''

PREDICT_ONLY = '''
# 4. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    model.forward(mx.io.DataBatch([nd.array(x)]))
    (scores,) = model.get_outputs()
    return scores.asnumpy()
'''


#: Weights that are loaded later would not reach those of the servers.
JOINED = (
    "# The servers add up gradients; each process makes the step itself.",
    'os.environ["MXNET_UPDATE_ON_KVSTORE"] = "0"',
    *gluon.JOINED,
)


def _network(parts: Parts) -> list[str | Line]:
    """Blocks and network as functions; helpers before them."""
    scope = parts.network
    lines: list[str | Line] = []
    for block in parts.blocks:
        lines += [*common.class_lines(block, BLOCK), "", ""]
    lines += [
        f"def {scope.function}():",
        *(f"    {name} = mx.sym.Variable({quoted(name)})" for name in scope.inputs),
        *(Line(f"    {line.text}", line.node) for line in scope.apply),
    ]
    text = "\n".join(line.text if isinstance(line, Line) else line for line in lines)
    for name, helper in reversed(list(parts.backend.helpers.items())):
        if helper in parts.helpers and re.search(rf"(?<![\w.]){name}\(", text):
            lines = [*helper.strip("\n").split("\n"), "", "", *lines]
    return lines


def _label(parts: Parts, count: Any) -> Any:
    """The shape of a batch of targets."""
    if parts.recipe and isinstance(parts.recipe.loss, recipe.SoftmaxCrossEntropy):
        return (count,)
    types = parts.graph.types()
    return (count, *types[parts.graph.outputs[0]].shape[1:])


def _build(parts: Parts) -> list[str]:
    made = f"{parts.network.function}()"
    type_ = parts.graph.inputs[0][1]
    size = "BATCH_SIZE // WORKERS" if parts.parallel else "BATCH_SIZE"
    data = f'[("data", {inline((size, *type_.shape[1:]))})]'
    start = kernels(parts.initializers)
    if parts.recipe is None:
        return [
            f"model = mx.mod.Module({made}, label_names=None, context=CTX)",
            f"model.bind({data}, for_training=False)",
            f"model.init_params({start})",
            "return model",
        ]
    name, given = gluon.optimizer(parts.recipe.optimizer)
    classes = isinstance(parts.recipe.loss, recipe.SoftmaxCrossEntropy)
    label = "softmax_label" if classes else "target"
    shape = f'[("{label}", {inline(_label(parts, size))})]'
    names = None if classes else f'["{label}"]'
    module = call("mx.mod.Module", "outputs", label_names=names, context="CTX")
    about = (
        "# The loss is a mean: its gradient is not to be divided by the batch's size."
    )
    scale: Any = 1
    if parts.parallel:
        about = "# The loss is a mean; the gradients of all processes are added up."
        scale = "1 / WORKERS"
    params = gluon.arguments({**given, "rescale_grad": scale})
    named: Any = {"optimizer": quoted(name), "optimizer_params": params}
    lines = []
    if parts.parallel:
        lines = [f"params = {params}"]
        named["optimizer_params"] = "params"
    if "wd" in given:
        about = "# An optimizer that is given by its name lets biases have no decay."
        lines, shared = [], {"rescale_grad": scale} if parts.parallel else {}
        named = {"optimizer": call("mx.optimizer.SGD", **given, **shared)}
    if parts.parallel:
        named = {"kvstore": "KV", **named}
    optimizer = call("model.init_optimizer", **named)
    return [
        f"scores = {made}",
        *LOSSES[type(parts.recipe.loss)],
        f"model = {inline(module)}",
        *(row[4:] for row in layout("    ", call("model.bind", data, shape))),
        f"model.init_params({start})",
        *gluon.DROPPING * parts.parallel,
        about,
        *lines,
        *(row[4:] for row in layout("    ", optimizer)),
        "return model",
    ]


def frame(parts: Parts) -> list[Section]:
    """The program around the network."""
    trained = parts.recipe is not None
    imports = ["import mxnet as mx", "import numpy as np", "from mxnet import nd"]
    standard = ["import argparse", *([] if trained else ["import time"]), ""]
    context = ["CTX = mx.gpu() if mx.context.num_gpus() else mx.cpu()"]
    if parts.parallel:
        standard = ["import argparse", "import os", ""]
        context += ["", *JOINED]
    about = " and its optimizer" if trained else ""
    sections = [
        common.head(parts, imports, context, standard),
        common.load_data(parts),
        Section("network", "# 2. The network\n$lines", {"lines": _network(parts)}),
        Section("setup", SETUP, {"and_optimizer": about, "build": _build(parts)}),
    ]
    if not parts.recipe:
        return [
            *sections,
            Section("predict", PREDICT_ONLY),
            common.extract(),
            common.main(parts, "model"),
        ]
    label = inline(_label(parts, "len(x)")) if len(_label(parts, 1)) > 1 else "len(x)"
    return [
        *sections,
        common.batches(parts.parallel),
        Section(
            "train",
            STEP,
            {
                "loss": NUMBERS[type(parts.recipe.loss)],
                "batch": "this process's share of a batch"
                if parts.parallel
                else "a batch",
            },
        ),
        common.train(
            parts,
            "sum(losses).asscalar() / len(losses)",
            "model",
            summary=gluon.OWN_LOSS * parts.parallel,
        ),
        Section("predict", PREDICT, {"label": label}),
        common.evaluate(parts),
        common.main(parts, "model"),
    ]


backend = Backend(
    name="mxnet",
    title="MXNet",
    home="https://mxnet.apache.org",
    since="2015",
    licence="Apache-2.0",
    language="C++, CUDA and Python",
    style="layer functions",
    storage=axes.channels_first,
    env=ENV,
    # Those of the module itself are a copy that is brought up to date when asked for.
    barrier="lambda: sum(w[0].sum() for w in model._exec_group.param_arrays)",
    rules=RULES,
    losses=LOSSES,
    optimizers=gluon.backend.optimizers,
    initializers=gluon.INITIALIZERS,
    frame=frame,
    rewrites=gluon.REWRITES,
    forms=gluon.backend.forms,
    helpers=HELPERS,
    separator="_",
    repeated="{name}_{index}",
    dtypes=gluon.backend.dtypes,
    infers_sizes=True,
    in_place=True,
    input="data",
    margin=4,
    engine=gluon.ENGINE,
)

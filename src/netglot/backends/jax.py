"""JAX by itself: parameters in a tree, pure functions of them, optax."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import Any

from netglot import axes, ops, recipe
from netglot.backend import Backend, Parts, Rule, Section, Site, Weight
from netglot.backends import common, flax, jax_layers
from netglot.backends.jax_layers import CONVOLUTIONS, LAYERS
from netglot.backends.numpy import SIZES
from netglot.backends.numpy import _read as sizes_read
from netglot.backends.numpy_layers import CELLS
from netglot.emit import function_name
from netglot.graph import Call as BlockCall
from netglot.graph import Graph, Repeat
from netglot.lower import pad_average
from netglot.source import (
    Call,
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

#: The environment of Flax, which comes with all that JAX itself needs.
ENV = dataclasses.replace(
    flax.ENV,
    requirements=("jax==0.10.2", "optax==0.2.8", "flax==0.12.8", "numpy==2.4.6"),
    imports=("jax", "optax"),
)

MARGIN = 4

# --- Rules: weights -------------------------------------------------------------------


def _stored(letters: str) -> str:
    """A kernel as its use multiplies by it: ``OIHW -> HWIO``, ``GH -> HG``."""
    return letters if letters == "VF" else letters[2:] + letters[1::-1]


def _path(op: Any, name: str) -> tuple[str, ...]:
    """Where a weight is in the tree of its layer, which may have parts."""
    if getattr(op, "direction", "") == "both":
        back = name.endswith("_back")
        return ("backward" if back else "forward", name.removesuffix("_back"))
    if hasattr(op, "heads"):
        return tuple(name.split("_"))
    return (name.removesuffix("_back"),)


def _weights(s: Site) -> tuple[Weight, ...]:
    return tuple(
        Weight(".".join(_path(s.op, name)), _stored(weight.axes), (name,))
        for name, weight in s.op.weights(*s.inputs).items()
    )


def _initial(s: Site) -> Statements:
    """``"fc1": init_layer(next(keys), 784, 512),`` in the tree of all parameters."""
    for name in (*SIZES, "kernel"):
        getattr(s.op, name, None)
    weights = s.op.weights(*s.inputs)
    if {"scale", "shift", "mean"} <= set(weights):
        made = call("init_norm", weights["mean"].shape[0])
        return Statements(tuple(_entry(s.name, made)), "")
    tree: dict[str, Any] = {}
    for name, weight in weights.items():
        sizes = dict(zip(weight.axes, weight.shape, strict=True))
        shape = tuple(sizes[letter] for letter in _stored(weight.axes))
        value = s.initial(name)(shape[0] if len(shape) == 1 else shape)
        forget = getattr(s.op, "forget_bias", 0.0)
        if name in ("bias", "bias_back") and forget:
            gate = f"{s.op.units}:{2 * s.op.units}"
            value = call(f"{inline(value)}.at[{gate}].set", float(forget))
        *parents, leaf = _path(s.op, name)
        part = tree
        for parent in parents:
            part = part.setdefault(parent, {})
        part[leaf] = (shape, value)
    rows = _entry(s.name, _shortened(tree))
    # Of the gates of an LSTM the second starts open.
    rows = [f"{row}  # the forget gate" if "].set(" in row else row for row in rows]
    return Statements(tuple(rows), "")


def _shortened(tree: Any) -> Any:
    """``init_layer`` where that says it: the bias is one of the kernel's last axis."""
    if isinstance(tree, tuple):
        return tree[1]
    if list(tree) == ["kernel", "bias"]:
        (kernel, _), (bias, value) = tree.values()
        if kernel[-1:] == bias and "keys" not in inline(value):
            return call("init_layer", "next(keys)", *kernel)
    return {name: _shortened(part) for name, part in tree.items()}


def _entry(name: str, value: Any, depth: int = 2) -> list[str]:
    """``"name": value,`` of a dictionary, in the lines that a formatter gives it."""
    margin = " " * MARGIN * depth
    if isinstance(value, dict):
        if len(margin + (one := f"{quoted(name)}: {_braces(value)},")) <= 88:
            return [one]
        inside = [
            f"    {row}" for k, v in value.items() for row in _entry(k, v, depth + 1)
        ]
        return [f"{quoted(name)}: {{", *inside, "},"]
    rows = layout(f"{margin}{quoted(name)}: ", value, ",")
    return [row[len(margin) :] for row in rows]


def _braces(value: Any) -> str:
    if not isinstance(value, dict):
        return inline(value)
    return f"{{{', '.join(f'{quoted(k)}: {_braces(v)}' for k, v in value.items())}}}"


# --- Rules: layers --------------------------------------------------------------------


def _layer(name: str, *attributes: str, **defaults: Any) -> Any:
    """A layer of the program, with attributes in their places and by name."""

    def write(s: Site) -> Any:
        values = (getattr(s.op, attribute) for attribute in attributes)
        options = {
            attribute: unless(default, getattr(s.op, attribute))
            for attribute, default in defaults.items()
            if hasattr(s.op, attribute)
        }
        for array in ("bias", "scale", "shift"):
            getattr(s.op, array, None)  # The parameters say whether it has them.
        return call(name, s.object, *s.arguments, *values, **options)

    return write


def _convolution(s: Site) -> Any:
    _ = s.op.bias
    padding = flax.padding(s.op)
    return call(
        CONVOLUTIONS[len(s.op.kernel)],
        s.object,
        s.x,
        strides=None if squeeze(s.op.stride) == 1 else s.op.stride,
        padding=s.op.padding if isinstance(padding, int) else padding,
        rhs_dilation=None if squeeze(s.op.dilation) == 1 else s.op.dilation,
        feature_group_count=unless(1, s.op.groups),
    )


def _transposed(s: Site) -> Any:
    _ = s.op.bias
    grouped = s.op.groups != 1
    return call(
        "grouped_conv_transpose" if grouped else "conv_transpose",
        s.object,
        s.x,
        s.op.groups if grouped else None,
        s.op.stride,
        padding=unless(quoted("VALID"), flax.spread_padding(s.op)),
        rhs_dilation=None if squeeze(s.op.dilation) == 1 else s.op.dilation,
    )


def _pool(name: str) -> Any:
    def write(s: Site) -> Any:
        # What counts was padded beforehand: see the rewrites.
        getattr(s.op, "count_padding", None)
        pads = flax.windows(s)
        padded = any(map(any, pads))
        own = "avg_pool_inside" if padded and name == "avg_pool" else name
        around = ((0, 0), *pads, (0, 0)) if padded else None
        return call(own, s.x, s.op.kernel, s.op.stride, padding=around)

    return write


def _batch_norm(s: Site) -> Any:
    _ = s.op.scale, s.op.shift
    momentum, unbiased = unless(0.9, s.op.momentum), unless(False, s.op.unbiased)
    epsilon = unless(1e-5, s.op.epsilon)
    if not s.recipe:
        return call("batch_norm", s.object, s.x, epsilon=epsilon)
    options = {"momentum": momentum, "epsilon": epsilon, "unbiased": unbiased}
    made = call("batch_norm", s.object, s.x, "training", **options)
    rows = _fitted(f'{s.target}, new["{s.name}"] = ', made)
    return Statements(tuple(rows), s.target)


def _fitted(prefix: str, expression: Any, depth: int = 1) -> list[str]:
    """Lines of a function's body, without its indentation."""
    rows = layout(" " * depth * MARGIN + prefix, expression)
    return [row[MARGIN:] for row in rows]


def _dropout(s: Site) -> Any:
    rate = s.op.rate
    if not s.recipe:
        return Statements((), s.x)
    return call("dropout", s.x, rate, KEY)


def _recurrent(s: Site) -> Any:
    """The state after the last step, or those after every step."""
    _ = getattr(s.op, "forget_bias", 0)
    form = (s.op.gates, getattr(s.op, "reset", ""), s.op.bias, s.op.activation)
    last = s.op.returns == "last"
    results = []
    for direction in ("forward", "backward"):
        if s.op.direction not in (direction, "both"):
            continue
        part = f'["{direction}"]' * (s.op.direction == "both")
        turn = "[:, ::-1]" * (direction == "backward")
        states = f"{CELLS[form]}({s.object}{part}, {s.x}{turn})"
        results.append(f"{states}[:, -1]" if last else f"{states}{turn}")
    if len(results) == 1:
        return results[0]
    lines = [f"forward = {results[0]}", f"backward = {results[1]}"]
    joined = inline(call("jnp.concatenate", ("forward", "backward"), axis=-1))
    return Statements((*lines, f"{s.target} = {joined}"), s.target)


def _attention(s: Site) -> Any:
    _ = s.op.bias
    query, key, value = s.arguments[0], s.arguments[:2][-1], s.arguments[-1]
    causal = unless(False, s.op.causal)
    heads = s.op.heads
    return call("attention", s.object, query, key, value, heads, is_causal=causal)


# --- Rules: blocks --------------------------------------------------------------------


def _function_of(name: str) -> str:
    function = function_name(name)
    return f"{function}_block" if function in RESERVED else function


def _flags(nodes: Iterable[Any], trained: bool) -> tuple[str, ...]:
    """What a network or block is told in training: that it is, and a random key."""
    kinds = set()
    for node in nodes:
        if isinstance(node.op, BlockCall):
            kinds |= set(_flags(node.op.block.nodes, trained))
        elif isinstance(node.op, ops.BatchNorm) and trained:
            kinds.add("training")
        elif isinstance(node.op, ops.Dropout) and trained:
            kinds.add("key")
    return tuple(flag for flag in ("training", "key") if flag in kinds)


def _init_block(s: Site) -> Statements:
    read = sizes_read(s.op.block, made=True)
    sizes = {name: size for name, size in s.op.arguments if name in read}
    name = f"init_{_function_of(s.op.block.name)}"
    if not hasattr(s.op, "times"):
        return Statements(tuple(_entry(s.name, call(name, "next(keys)", **sizes))), "")
    made = inline(call(name, "key", **sizes))
    each = f"for key in jax.random.split(next(keys), {s.op.times})"
    one = f"{quoted(s.name)}: [{made} {each}],"
    if len(one) + 2 * MARGIN <= 88:
        return Statements((one,), "")
    inside = [f"{made} {each}"] if len(made + each) + 13 <= 88 else [made, each]
    rows = (f"{quoted(s.name)}: [", *(f"    {row}" for row in inside), "],")
    return Statements(rows, "")


def _use(s: Site, params: str, arguments: Sequence[Any], key: str) -> Call:
    read = sizes_read(s.op.block, made=False)
    sizes = {name: size for name, size in s.op.arguments if name in read}
    flags = _flags(s.op.block.nodes, s.recipe is not None)
    said = [key if flag == "key" else flag for flag in flags]
    return call(_function_of(s.op.block.name), params, *arguments, *said, **sizes)


def _moves(s: Site) -> bool:
    return "training" in _flags(s.op.block.nodes, s.recipe is not None)


def _block(s: Site) -> Any:
    use = _use(s, s.object, s.arguments, KEY)
    if not _moves(s):
        return use
    rows = _fitted(f'{s.target}, new["{s.name}"] = ', use)
    return Statements(tuple(rows), s.target)


def _repeat(s: Site) -> Any:
    rows = [] if inline(s.x) == s.target else [f"{s.target} = {inline(s.x)}"]
    use = _use(s, "block", (s.target,), "block_key")
    each = f"for block in {s.object}:"
    if "key" in _flags(s.op.block.nodes, s.recipe is not None):
        keys = f"split_key({KEY}, {s.op.times})"
        each = f"for block, block_key in zip({s.object}, {keys}):"
    if not _moves(s):
        return Statements(
            (*rows, each, *_fitted(f"{s.target} = ", use, depth=2)), s.target
        )
    all_blocks = f'new["{s.name}"]'
    inside = [
        *_fitted(f"{s.target}, block = ", use, depth=2),
        f"    {all_blocks}.append(block)",
    ]
    return Statements((*rows, f"{all_blocks} = []", each, *inside), s.target)


# --- Rules: the table -----------------------------------------------------------------

#: Stands in the text of a network for the random key of one of its parts.
KEY = "keyN"


def _plain(rule: Rule) -> Rule:
    """A function that Flax passes on, by the name that it has in JAX."""

    def write(s: Site) -> Any:
        made = rule.apply(s) if rule.apply else None
        assert isinstance(made, Call)
        name = inline(made.function).replace("nnx.", "jax.nn.")
        return dataclasses.replace(made, function=name)

    return Rule(write)


ACTIVATIONS: tuple[type[ops.Op], ...] = (
    ops.Relu,
    ops.LeakyRelu,
    ops.Elu,
    ops.Selu,
    ops.Gelu,
    ops.Silu,
    ops.Sigmoid,
    ops.Tanh,
    ops.Softplus,
    ops.Softmax,
    ops.LogSoftmax,
)

WEIGHTED: dict[type[ops.Op], Any] = {
    ops.Dense: _layer("dense"),
    ops.Conv: _convolution,
    ops.ConvTranspose: _transposed,
    ops.BatchNorm: _batch_norm,
    ops.LayerNorm: _layer("layer_norm", epsilon=1e-5),
    ops.RMSNorm: _layer("rms_norm", epsilon=1e-6),
    ops.GroupNorm: _layer("group_norm", "groups", epsilon=1e-5),
    ops.Embedding: lambda s: f'{s.object}["table"][{inline(s.x)}]',
    ops.SimpleRNN: _recurrent,
    ops.LSTM: _recurrent,
    ops.GRU: _recurrent,
    ops.MultiHeadAttention: _attention,
}

RULES: dict[type[ops.Op], Rule] = {
    **flax.RULES,
    **{op: _plain(flax.RULES[op]) for op in ACTIVATIONS},
    ops.Tanh: common.function("jnp.tanh"),
    **{op: Rule(apply, _initial, _weights) for op, apply in WEIGHTED.items()},
    ops.MaxPool: Rule(_pool("max_pool")),
    ops.AvgPool: Rule(_pool("avg_pool")),
    # It makes nothing, and so stands on a line of its own.
    ops.Dropout: Rule(_dropout, make=lambda s: Statements((), "")),
    BlockCall: Rule(_block, _init_block),
    Repeat: Rule(_repeat, _init_block),
}

#: Shape -> the array that a weight starts as.
INITIALIZERS = {
    recipe.GlorotUniform: lambda i: lambda shape: call("glorot", "next(keys)", shape),
    recipe.Zeros: lambda i: lambda shape: call("jnp.zeros", shape),
    recipe.Ones: lambda i: lambda shape: call("jnp.ones", shape),
    recipe.Uniform: lambda i: (
        lambda shape: call(
            "jax.random.uniform", "next(keys)", shape, minval=-i.limit, maxval=i.limit
        )
    ),
}

# --- Rewrites -------------------------------------------------------------------------

REWRITES: dict[type[ops.Op], Any] = {
    ops.AvgPool: lambda op: pad_average(op) if op.count_padding else (op,)
}

# --- The frame ------------------------------------------------------------------------

SETUP = '''
# 3. $about
$definitions


def init(key):
    """Initial parameters, by layer."""
    $init


def build(seed=0):
    """Create the parameters$and_state."""
    $build


def dotted(path):
    """A place in the tree of parameters as a name: its keys, joined with dots."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def load_weights(model, path):
    """The parameters with the named arrays of an .npz file as their values."""
    arrays = np.load(path)
    return jax.tree.map_with_path(lambda p, _: jnp.asarray(arrays[dotted(p)]), model)


def save_weights(model, path):
    """Write the parameters as named arrays of an .npz file."""
    np.savez(path, **{dotted(p): w for p, w in jax.tree.leaves_with_path(model)})
'''

LOSS = '''
def loss_fn(params, x, y$key):
    """Mean loss of a batch$more."""
    scores$rest = $network
    return $loss(scores, y).mean()$rest
'''

STEP = '''
@jax.jit
def $step($state, x, y):
    """Make one optimizer step on a batch; return the new state and the loss."""
    $split
    $gradients
    updates, opt_state = optimizer.update(grads, opt_state, model)
    return $result
$joint
'''

PREDICT = '''
# $number. Predict
def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    $predict
'''

#: Which parameters decay, where some are not trained.
DECAYS = '''
def decays(params):
    """Marks what decays: running statistics do not."""
    statistics = ("mean", "variance")
    return jax.tree.map_with_path(lambda p, _: p[-1].key not in statistics, params)
'''

IMPORTS = (
    ("import math", "math"),
    ("import jax.numpy as jnp", "jnp"),
    ("import optax", "optax"),
    ("from jax import lax", "lax"),
)

#: What a variable or the function of a block cannot be called.
RESERVED = dict.fromkeys(
    [
        *LAYERS,
        *("exact_attention", "glorot", "optimizer", "decays", "loss_fn", "dotted"),
        *("network", "init", "build", "train", "train_step", "predict", "evaluate"),
        *("params", "new", "key", "block", "block_key", "training", "batches", "main"),
        *("jax", "jnp", "np", "lax", "optax", "math"),
    ],
    "",
)


def _uses(graph: Graph) -> dict[str, list[Any]]:
    """The operations that each layer stands for, by its name in the program."""
    uses: dict[str, list[Any]] = {}
    for nodes in (graph.nodes, *(block.nodes for block in graph.blocks())):
        for op in (node.op for node in nodes):
            name = function_name(type(op).__name__)
            if isinstance(op, ops.Conv):
                name = CONVOLUTIONS[len(op.kernel)]
            elif isinstance(op, ops.ConvTranspose) and op.groups != 1:
                name = "grouped_conv_transpose"
            elif isinstance(op, ops.MultiHeadAttention):
                name = "attention"
                uses.setdefault("dense", []).append(op)
            elif isinstance(op, ops.RMSNorm):
                name = "rms_norm"
            uses.setdefault(name, []).append(op)
    return uses


def _layers(parts: Parts, text: str) -> list[str]:
    """The layers that a text calls, and those that these call."""
    uses, trained = _uses(parts.graph), parts.recipe is not None
    found: dict[str, str] = {}
    waiting = sorted(jax_layers.called(text))
    while waiting:
        name = waiting.pop()
        if name not in found:
            own = uses.get(name, ())
            found[name] = jax_layers.layer(name, own, trained, parts.dtype)
            waiting += sorted(jax_layers.called(found[name]))
    texts = [found[name] for name in LAYERS if name in found]
    if "exact_attention(" in "".join(texts):
        exact = flax.HELPERS["exact_attention"].strip().replace("nnx.", "jax.nn.")
        texts.insert(0, exact)
    return [row for written in texts for row in (*written.split("\n"), "", "")]


def keyed(lines: Sequence[Line], split: str = "split_key") -> list[Line]:
    """The body of a function, its random parts given keys of their own."""
    count = sum(line.text.count(KEY) for line in lines)
    many = count > 8
    names = [f"keys[{i}]" if many else f"key{i + 1}" for i in range(count)]
    first = [Line(f"{'keys' if many else ', '.join(names)} = {split}(key, {count})")]
    if count == 2 and split == "jax.random.split":
        first = [Line("key1, key2 = jax.random.split(key)")]  # 2 is its default
    if count < 2:
        first, names = [], ["key"]
    left = iter(names)
    return first + [
        Line(re.sub(KEY, lambda m: next(left), line.text), line.node) for line in lines
    ]


def _function(head: Call, about: str, body: Iterable[str | Line]) -> list[str | Line]:
    """A function of the program, with two empty lines after it."""
    margin = " " * MARGIN
    rows = [Line(row) if isinstance(row, str) else row for row in body]
    return [
        *layout("def ", head, ":"),
        f'{margin}"""{about}"""',
        *(Line(margin + row.text, row.node) for row in rows),
        "",
        "",
    ]


def _body(scope: Any, flags: tuple[str, ...]) -> list[Line]:
    if "training" not in flags:
        return keyed(scope.apply)
    result = Line(f"return {scope.value}, new")
    return [Line("new = dict(params)"), *keyed(scope.body), result]


def _network(parts: Parts) -> list[str | Line]:
    """The functions of the blocks and of the network."""
    lines: list[str | Line] = []
    trained = parts.recipe is not None
    for scope, block in zip(parts.blocks, parts.graph.blocks(), strict=True):
        flags = _flags(block.nodes, trained)
        read = sizes_read(block, made=False)
        head = call(_function_of(scope.name), "params", *scope.inputs, *flags, *read)
        about = f"Block {scope.name}, by its own parameters."
        lines += _function(head, about, _body(scope, flags))
    flags = _flags(parts.graph.nodes, trained)
    static = '(static_argnames="training")' if "training" in flags else ""
    defaults = {"training": "False", "key": "None"}
    head = call(
        "network",
        "params",
        *parts.network.inputs,
        **{flag: defaults[flag] for flag in flags},
    )
    about = "Scores of a batch"
    about += ", and the parameters with new statistics" if static else ""
    about += "; the key draws what is dropped in training." if "key" in flags else "."
    network = _function(head, about, _body(parts.network, flags))
    return [*lines, f"@jax.jit{static}", *network]


def _tree(make: Sequence[Line]) -> list[Line]:
    """The body of a function that returns the parameters that some layers have."""
    count = sum(line.text.count("next(keys)") for line in make)
    first = [Line(f"keys = iter(jax.random.split(key, {count}))")]
    if count < 2:
        first = []
        make = [Line(re.sub(r"next\(keys\)", "key", m.text), m.node) for m in make]
    entries = [Line("    " + line.text, line.node) for line in make]
    return [*first, Line("return {"), *entries, Line("}")]


def _optimizer(parts: Parts) -> list[str]:
    optimizer: Any = parts.recipe.optimizer if parts.recipe else None
    made = flax.OPTIMIZERS[type(optimizer)](optimizer)
    rows = []
    if optimizer.weight_decay and ops.BatchNorm in parts.operations:
        rows = [*DECAYS.strip().split("\n"), "", ""]
        mask = ("mask", "decays")
        if isinstance(optimizer, recipe.Adam):
            made = dataclasses.replace(made, keywords=(*made.keywords, mask))
        else:
            decay, step = made.arguments
            decay = dataclasses.replace(decay, keywords=(mask,))
            made = dataclasses.replace(made, arguments=(decay, step))
    return [*rows, *layout("optimizer = ", made)]


def _setup(parts: Parts, flags: tuple[str, ...]) -> Section:
    """Loss, optimizer, and what makes the parameters."""
    makers: list[str | Line] = []
    for scope, block in zip(parts.blocks, parts.graph.blocks(), strict=True):
        name = f"init_{_function_of(scope.name)}"
        head = call(name, "key", *sizes_read(block, made=True))
        makers += _function(
            head, f"Initial parameters of {scope.name}.", _tree(scope.make)
        )
    init = _tree(parts.network.make)
    made = [*makers, *init]
    text = "\n".join(row.text if isinstance(row, Line) else row for row in made)
    inits = parts.initializers or recipe.Initializers()
    weights = {
        "kernel": INITIALIZERS[type(inits.kernel)](inits.kernel)("shape"),
        "bias": INITIALIZERS[type(inits.bias)](inits.bias)("shape[-1]"),
    }
    written = "\n".join(_entry("", weights, depth=1)).replace("next(keys)", "key")
    written = written.removeprefix('"": ').removesuffix(",").replace("\n", "\n    ")
    helpers = [
        line
        for row in _layers(parts, text)
        for line in row.replace("$weights", written).split("\n")
    ]
    rows: list[str | Line] = []
    if parts.recipe:
        rows += _optimizer(parts)
    if "glorot(" in "\n".join((*helpers, text)):
        rows.append("glorot = jax.nn.initializers.glorot_uniform()")
    rows += ["", ""] if rows else []
    if parts.recipe:
        rows += _loss(parts, flags)
    rows += [*helpers, *makers]
    while rows and rows[-1] == "":
        rows.pop()
    build = ["return init(jax.random.key(seed))"]
    if parts.recipe:
        build = [
            "model = init(jax.random.key(seed))",
            "return model, optimizer.init(model)",
        ]
    if "key" in flags:
        build = [
            "init_key, key = jax.random.split(jax.random.key(seed))",
            "model = init(init_key)",
            "return model, optimizer.init(model), key",
        ]
    state = ", the state of their optimizer and a random key"
    if "key" not in flags:
        state = " and the state of their optimizer"
    return Section(
        "setup",
        SETUP,
        {
            "about": "Loss, optimizer, initial weights"
            if parts.recipe
            else "Initial weights",
            "definitions": rows,
            "init": init,
            "build": build,
            "and_state": state if parts.recipe else "",
        },
    )


def _loss(parts: Parts, flags: tuple[str, ...]) -> list[str]:
    assert parts.recipe is not None
    options = {"training": "True", "key": "key"}
    network = call("network", "params", "x", **{flag: options[flag] for flag in flags})
    moves = "training" in flags
    slots = {
        "key": ", key" if "key" in flags else "",
        "more": ", and the parameters with new statistics" if moves else "",
        "rest": ", params" if moves else "",
        "network": inline(network),
        "loss": flax.LOSSES[type(parts.recipe.loss)],
    }
    text = re.sub(r"\$([a-z]+)", lambda m: slots[m[1]], LOSS.strip())
    return [*text.split("\n"), "", ""]


def frame(parts: Parts) -> list[Section]:
    """The program around the network."""
    flags = _flags(parts.graph.nodes, parts.recipe is not None)
    network = _network(parts)
    written = "\n".join(r.text if isinstance(r, Line) else r for r in network)
    first = [
        "import argparse",
        "import math",
        *([] if parts.recipe else ["import time"]),
    ]
    imports: tuple[str, ...] = (
        "",
        "import jax",
        "import jax.numpy as jnp",
        "import numpy as np",
        "import optax",
        "from jax import lax",
    )
    constants = ['jax.config.update("jax_enable_x64", True)']
    if parts.dtype != "float64":
        constants = []
    if parts.parallel:
        imports, constants = (*imports, flax.SHARDING), [*constants, *flax.JOINED]
    moves, random = "training" in flags, "key" in flags
    predict = {
        "number": "5" if parts.recipe else "4",
        "predict": ["scores, _ = network(model, x)", "return np.asarray(scores)"]
        if moves
        else ["return np.asarray(network(model, x))"],
    }
    sections = [
        common.head(parts, imports, constants, first),
        common.load_data(parts),
        Section(
            "network",
            "# 2. The network\n$functions",
            {"functions": [*_layers(parts, written), *network][:-2]},
        ),
        _setup(parts, flags),
    ]
    if parts.recipe is None:
        return [
            *sections,
            Section("predict", PREDICT, predict),
            common.extract(),
            common.main(parts, functional=True),
        ]
    state = "model, opt_state, key" if random else "model, opt_state"
    new = "new" if moves else "model"
    has_aux = ", has_aux=True" if moves else ""
    gradients = call(
        f"jax.value_and_grad(loss_fn{has_aux})",
        *("model", "x", "y"),
        "dropout_key" if random else None,
    )
    loss = "(loss, new)" if moves else "loss"
    prefix = f"    {loss}, grads = "
    result = f"optax.apply_updates({new}, updates), opt_state"
    step = {
        "state": state,
        "step": "update" if parts.parallel else "train_step",
        "joint": ["", "", *flax.joint_step(state)] if parts.parallel else [],
        "split": ["key, dropout_key = jax.random.split(key)"] if random else [],
        "gradients": [row[4:] for row in layout(prefix, gradients)],
        "result": f"{result}, key, loss" if random else f"{result}, loss",
    }
    return [
        *sections,
        common.batches(parts.parallel),
        Section("train", STEP, step),
        common.train(parts, state=state, functional=True),
        Section("predict", PREDICT, predict),
        common.evaluate(parts),
        common.main(parts, state, functional=True),
    ]


backend = Backend(
    name="jax",
    title="JAX",
    home="https://docs.jax.dev",
    since="2018",
    licence="Apache-2.0",
    language="Python; C++ (XLA)",
    style="bare functions",
    storage=axes.channels_last,
    env=ENV,
    barrier="lambda: sum(w.sum() for w in jax.tree.leaves(model))",
    rules=RULES,
    losses=flax.LOSSES,
    optimizers=flax.OPTIMIZERS,
    initializers=INITIALIZERS,
    frame=frame,
    rewrites=REWRITES,
    # Recurrent layers and batch norm are written by hand, in any form.
    forms={recipe.Adam: ({"epsilon_form": "after"},)},
    helpers=RESERVED,
    imports=IMPORTS,
    engine=flax.ENGINE,
    object='params["{name}"]',
    margin=MARGIN,
)

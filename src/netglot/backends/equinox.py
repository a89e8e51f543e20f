"""Equinox on JAX: modules for one observation, vmapped over a batch; optax."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import Any

from netglot import axes, ops, recipe
from netglot.backend import (
    Backend,
    Env,
    Gap,
    Parts,
    Rule,
    Scope,
    Section,
    Site,
    Weight,
)
from netglot.backends import common, flax
from netglot.backends import jax as bare
from netglot.backends.equinox_layers import (
    CLASS,
    HELPERS,
    INITIALIZE,
    LOAD,
    LOAD_STATE,
    PREDICT,
    SETUP,
    STATEFUL,
    STEP,
    YOUNG,
)
from netglot.backends.jax import keyed
from netglot.graph import Call as BlockCall
from netglot.graph import Repeat
from netglot.lower import Arrange, Restore, pad_average
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

ENV = Env(
    python=("3.11",),
    requirements=("equinox==0.13.8", "jax==0.10.2", "optax==0.2.8", "numpy==2.4.6"),
    imports=("equinox", "jax", "optax"),
    threads=flax.ENV.threads,
    cpu=flax.ENV.cpu,
    accelerator=flax.ENV.accelerator,
    judged=flax.ENV.judged,
    hurry=flax.ENV.hurry,
    lock="equinox",
)

# --- Rules: layers --------------------------------------------------------------------

#: Stands in the text of a module for the random key of one of its parts.
KEY = bare.KEY


def _dims(s: Site) -> int:
    return len(s.inputs[0].axes) - 2


def _pads(pads: Sequence[tuple[int, int]]) -> Any:
    """One number where all are equal, one per axis where both sides are."""
    if all(before == after for before, after in pads):
        return squeeze(tuple(before for before, _ in pads))
    return tuple(pads)


def _convolution(s: Site) -> Any:
    return call(
        f"eqx.nn.Conv{_dims(s)}d",
        s.inputs[0].size("C"),
        s.op.channels,
        squeeze(s.op.kernel),
        stride=unless(1, squeeze(s.op.stride)),
        padding=unless(0, _pads(s.op.padding)),
        dilation=unless(1, squeeze(s.op.dilation)),
        groups=unless(1, s.op.groups),
        use_bias=unless(True, s.op.bias),
        key=KEY,
    )


def _transposed(s: Site) -> Any:
    if s.op.groups != 1:
        raise Gap("it stores the kernels of a grouped transposed convolution otherwise")
    # What is cropped after may be less than nothing; output padding has a limit.
    rows = zip(s.op.padding, s.op.output_padding, s.op.stride, strict=True)
    more = tuple(n if n < step else 0 for _, n, step in rows)
    rows = zip(s.op.padding, s.op.output_padding, more, strict=True)
    padding = tuple((a, b - n + m) for (a, b), n, m in rows)
    return call(
        f"eqx.nn.ConvTranspose{_dims(s)}d",
        s.inputs[0].size("C"),
        s.op.channels,
        squeeze(s.op.kernel),
        stride=unless(1, squeeze(s.op.stride)),
        padding=unless(0, _pads(padding)),
        output_padding=unless(0, squeeze(more)),
        dilation=unless(1, squeeze(s.op.dilation)),
        use_bias=unless(True, s.op.bias),
        key=KEY,
    )


def _kernel(s: Site) -> tuple[Weight, ...]:
    space = axes.SPATIAL[_dims(s)]
    # Its transposed convolution is one of the image spread out: a kernel turned round.
    flip = space if hasattr(s.op, "output_padding") else ""
    kernel = Weight("weight", f"OI{space}", ("kernel",), flip=flip)
    if not s.op.bias:
        return (kernel,)
    ones = tuple((letter, 1) for letter in space)
    cut = {"O": (("O", s.op.channels), *ones)}
    return (kernel, Weight("bias", f"O{space}", ("bias",), split=cut))


def _pool(name: str) -> Any:
    def write(s: Site) -> Any:
        return call(
            f"eqx.nn.{name}Pool{_dims(s)}d",
            squeeze(s.op.kernel),
            # Its default is 1, not the size of the window.
            stride=squeeze(s.op.stride),
            padding=unless(0, _pads(flax.windows(s))),
        )

    return write


def _mean(s: Site) -> Any:
    _ = s.op.count_padding
    pool = call(s.object, s.x)
    if any(map(any, flax.windows(s))):
        # The layer counts what is padded; a mean of ones says how much of a window is.
        return f"{inline(pool)} / {s.object}(jnp.ones_like({s.x}))"
    return pool


def _average(op: ops.AvgPool) -> Sequence[ops.Op]:
    """Padding that counts comes first, so that all that the layer pads does not."""
    return pad_average(op) if op.count_padding else (op,)


def _both(s: Site) -> bool | None:
    if s.op.scale != s.op.shift:
        raise Gap("it learns scale and shift both or neither")
    return unless(True, s.op.scale)


def _norm(s: Site) -> Any:
    if s.op.unbiased:
        raise Gap("its running variance is the biased one (form unbiased=False)")
    return call(
        "eqx.nn.BatchNorm",
        s.inputs[0].size("C" if "C" in s.inputs[0].axes else "F"),
        quoted("batch"),
        eps=unless(1e-5, s.op.epsilon),
        channelwise_affine=_both(s),
        momentum=unless(0.99, s.op.momentum),
        mode=quoted("batch"),
    )


def _normalize(s: Site) -> Any:
    lines = (f"{s.target}, state = {s.object}({s.x}, state)",)
    return Statements(lines, s.target)


def _group_norm(s: Site) -> Any:
    return call(
        "eqx.nn.GroupNorm",
        s.op.groups,
        s.inputs[0].size("C"),
        eps=unless(1e-5, s.op.epsilon),
        channelwise_affine=_both(s),
    )


def _row_norm(name: str) -> Any:
    def write(s: Site) -> Any:
        # RMS norm has no shift, for which its layer has a place.
        shift = getattr(s.op, "shift", False)
        return call(
            f"eqx.nn.{name}",
            s.inputs[0].size("F"),
            eps=unless(1e-5, s.op.epsilon),
            use_weight=unless(True, s.op.scale),
            use_bias=unless(True, shift),
        )

    return write


def _affine(s: Site) -> tuple[Weight, ...]:
    letter = "C" if "C" in s.inputs[0].axes else "F"
    names = {"scale": "weight", "shift": "bias"}
    found = [(role, name) for role, name in names.items() if getattr(s.op, role, False)]
    if hasattr(s.op, "momentum"):
        found += [("mean", "mean"), ("variance", "variance")]
    return tuple(Weight(name, letter, (role,)) for role, name in found)


def _each(layer: str, depth: int) -> str:
    """The layer, mapped over so many axes before the one that it reads."""
    return layer if depth == 0 else f"jax.vmap({_each(layer, depth - 1)})"


def _along_steps(s: Site) -> str:
    return f"{_each(s.object, len(s.inputs[0].axes) - 2)}({inline(s.x)})"


def _cell(name: str, bias: str) -> Any:
    def write(s: Site) -> Any:
        if s.op.bias not in (bias, "none"):
            raise Gap(f"its {name[:-4]} has the biases of form bias='{bias}', or none")
        if getattr(s.op, "reset", "after") != "after":
            raise Gap("the reset gate of its GRU acts after the product")
        if s.op.activation != "tanh":
            raise Gap(f"its {name[:-4]} has tanh as its activation")
        # Where the bias starts is said in ``initialize``.
        getattr(s.op, "forget_bias", None)
        use_bias = unless(True, s.op.bias != "none")
        sizes = (s.inputs[0].size("F"), s.op.units)
        made = call(f"eqx.nn.{name}", *sizes, use_bias=use_bias, key=KEY)
        if s.op.direction != "both":
            return made
        return _both_ways(s, made)

    return write


def _both_ways(s: Site, made: Call) -> Statements:
    """A cell that reads forward, and one that reads backward."""
    cells = [row[8:] for row in (*layout(" " * 12, made, ","),) * 2]
    return Statements((f"{s.object} = [", *cells, "]"), "")


def _plain_cell(s: Site) -> Any:
    biases = (s.op.bias != "none", s.op.bias == "two")
    activation = (
        "jnp.tanh" if s.op.activation == "tanh" else f"jax.nn.{s.op.activation}"
    )
    made = call(
        "RNNCell",
        s.inputs[0].size("F"),
        s.op.units,
        biases=unless((True, False), biases),
        activation=unless("jnp.tanh", activation),
        key=KEY,
    )
    return _both_ways(s, made) if s.op.direction == "both" else made


def _run(s: Site) -> Any:
    """The state after the last step, or those after every step."""
    run = "scan_lstm" if s.op.gates == "ifgo" else "scan_cell"
    results = []
    for direction in ("forward", "backward"):
        if s.op.direction not in (direction, "both"):
            continue
        cell = direction if s.op.direction == "both" else s.object
        turn = "[::-1]" * (direction == "backward")
        states = f"{run}({cell}, {s.x}{turn})"
        results.append(states + ("[-1]" if s.op.returns == "last" else turn))
    if len(results) == 1:
        return results[0]
    lines = [
        f"forward, backward = {s.object}",
        f"forward = {results[0]}",
        f"backward = {results[1]}",
    ]
    joined = inline(call("jnp.concatenate", ("forward", "backward"), axis=-1))
    return Statements((*lines, f"{s.target} = {joined}"), s.target)


def _cell_weights(s: Site) -> tuple[Weight, ...]:
    pairs = {"weight_ih": ("kernel", "GI"), "weight_hh": ("recurrent", "GH")}
    if s.op.bias != "none":
        pairs["bias"] = ("bias", "G")
    if s.op.bias == "candidate":
        pairs["bias_n"] = ("recurrent_bias", "G")
    return _directions(s, pairs)


def _plain_weights(s: Site) -> tuple[Weight, ...]:
    pairs = {"input.weight": ("kernel", "GI"), "hidden.weight": ("recurrent", "GH")}
    if s.op.bias != "none":
        pairs["input.bias"] = ("bias", "G")
    if s.op.bias == "two":
        pairs["hidden.bias"] = ("recurrent_bias", "G")
    return _directions(s, pairs)


def _directions(s: Site, pairs: dict[str, tuple[str, str]]) -> tuple[Weight, ...]:
    result = []
    for i, (direction, end) in enumerate((("forward", ""), ("backward", "_back"))):
        if s.op.direction in (direction, "both"):
            own = f"{i}." if s.op.direction == "both" else ""
            result += [
                Weight(own + name, letters, (source + end,))
                for name, (source, letters) in pairs.items()
            ]
    return tuple(result)


def _attention(s: Site) -> Any:
    width, bias = s.inputs[0].size("F"), True if s.op.bias else None
    return call(
        "eqx.nn.MultiheadAttention",
        s.op.heads,
        width,
        unless(width, s.inputs[:2][-1].size("F")),
        value_size=unless(width, s.inputs[-1].size("F")),
        use_query_bias=bias,
        use_key_bias=bias,
        use_value_bias=bias,
        use_output_bias=bias,
        key=KEY,
    )


def _attend(s: Site) -> Any:
    query, key, value = s.arguments[0], s.arguments[:2][-1], s.arguments[-1]
    seen = f"jnp.tri(len({inline(query)}), len({inline(key)}), dtype=bool)"
    return call(s.object, query, key, value, mask=seen if s.op.causal else None)


def _attention_weights(s: Site) -> tuple[Weight, ...]:
    result = []
    for name in ("query", "key", "value", "output"):
        result.append(Weight(f"{name}_proj.weight", "OI", (f"{name}_kernel",)))
        if s.op.bias:
            result.append(Weight(f"{name}_proj.bias", "O", (f"{name}_bias",)))
    return tuple(result)


def _dropout(s: Site) -> Any:
    return call(s.object, s.x, key=KEY if s.recipe else None)


# --- Rules: shapes of one observation -------------------------------------------------


def _observation(type_: ops.Type) -> ops.Type:
    """What a module sees of a value: no axis of the batch."""
    pairs = [p for p in zip(type_.axes, type_.shape, strict=True) if p[0] != "N"]
    letters = "".join(letter for letter, _ in pairs)
    return ops.Type(letters, tuple(size for _, size in pairs), type_.dtype)


def _alone(rule: Rule) -> Rule:
    """A rule that counts axes, for one observation."""

    def write(s: Site) -> Any:
        inputs, outputs = map(_observation, s.inputs), map(_observation, s.outputs)
        assert rule.apply is not None
        return rule.apply(
            dataclasses.replace(s, inputs=tuple(inputs), outputs=tuple(outputs))
        )

    return Rule(write)


def _reshape(s: Site) -> Any:
    _ = s.op.axes
    return call(f"{s.x}.reshape", *s.op.shape)


def _pad(s: Site) -> Any:
    made = flax.RULES[ops.Pad].apply(s)  # type: ignore[misc]
    name, x, amounts = made.function, made.arguments[0], s.op.padding
    return call(name, x, ((0, 0), *amounts), **dict(made.keywords))


def _global(method: str) -> Rule:
    def write(s: Site) -> Any:
        space = tuple(range(1, len(s.inputs[0].axes) - 1))
        return call(f"{s.x}.{method}", axis=space[0] if len(space) == 1 else space)

    return Rule(write)


def _upsample(s: Site) -> Any:
    if s.op.mode == "nearest":
        text = s.x
        for i, times in enumerate(s.op.scale, start=1):
            text = f"{text}.repeat({times}, axis={i})" if times != 1 else text
        return text
    # Channels keep their number, whatever it is.
    shape: list[Any] = [f"{s.x}.shape[0]"]
    for i, (letter, times) in enumerate(zip(s.storage()[2:], s.op.scale, strict=True)):
        size = s.outputs[0].size(letter)
        shape.append(f"{times} * {s.x}.shape[{i + 1}]" if size is None else size)
    return call("jax.image.resize", s.x, tuple(shape), quoted(s.op.mode))


# --- Rules: blocks --------------------------------------------------------------------


def _block(s: Site) -> Any:
    return call(s.op.block.name, **dict(s.op.arguments), key=KEY)


def _repeat(s: Site) -> Any:
    made = inline(call(s.op.block.name, **dict(s.op.arguments), key="key"))
    each = f"for key in jax.random.split({KEY}, {s.op.times})"
    if len(f"        {s.object} = [{made} {each}]") <= 88:
        return f"[{made} {each}]"
    inside = [f"{made} {each}"] if len(made + each) + 13 <= 88 else [made, each]
    rows = (f"{s.object} = [", *(f"    {row}" for row in inside), "]")
    return Statements(rows, "")


def _flags(nodes: Iterable[Any], trained: bool) -> tuple[str, ...]:
    """What a module is given beside values: the state of its norms, a random key."""
    kinds = set()
    for node in nodes:
        if isinstance(node.op, BlockCall):
            kinds |= set(_flags(node.op.block.nodes, trained))
        elif isinstance(node.op, ops.BatchNorm):
            kinds.add("state")
        elif isinstance(node.op, ops.Dropout) and trained:
            kinds.add("key")
    return tuple(flag for flag in ("state", "key") if flag in kinds)


def _used(s: Site, block: str, arguments: Sequence[Any], key: str) -> tuple[str, str]:
    """What a block gives, and the use of it."""
    flags = _flags(s.op.block.nodes, s.recipe is not None)
    given = [key if flag == "key" else flag for flag in flags]
    results = f"{s.target}, state" if "state" in flags else s.target
    return results, inline(call(block, *arguments, *given))


def _call_block(s: Site) -> Any:
    results, used = _used(s, s.object, s.arguments, KEY)
    if results == s.target:
        return used
    return Statements((f"{results} = {used}",), s.target)


def _call_blocks(s: Site) -> Any:
    _ = s.op.times  # As often as there are blocks in the list.
    rows = [] if inline(s.x) == s.target else [f"{s.target} = {inline(s.x)}"]
    results, used = _used(s, "block", (s.target,), "block_key")
    each = f"for block in {s.object}:"
    if "block_key" in used:
        keys = f"split_key({KEY}, {s.op.times})"
        each = f"for block, block_key in zip({s.object}, {keys}):"
    return Statements((*rows, each, f"    {results} = {used}"), s.target)


# --- Rules: the table -----------------------------------------------------------------

DENSE = (Weight("weight", "OI", ("kernel",)), Weight("bias", "O", ("bias",)))

#: Operations along axes by number, which one observation counts from 0.
BY_AXIS: tuple[type[ops.Op], ...] = (
    ops.Softmax,
    ops.LogSoftmax,
    ops.Concat,
    ops.Split,
    ops.Slice,
    ops.Transpose,
    Restore,
    Arrange,
    ops.ReduceMean,
    ops.ReduceSum,
    ops.ReduceMax,
)

RULES: dict[type[ops.Op], Rule] = {
    **{op: rule for op, rule in bare.RULES.items() if rule.make is None},
    **{op: _alone(bare.RULES[op]) for op in BY_AXIS},
    ops.Dense: Rule(
        _along_steps,
        lambda s: call(
            "eqx.nn.Linear",
            s.inputs[0].size("F"),
            s.op.features,
            use_bias=unless(True, s.op.bias),
            key=KEY,
        ),
        DENSE,
    ),
    ops.Conv: Rule(make=_convolution, weights=_kernel),
    ops.ConvTranspose: Rule(make=_transposed, weights=_kernel),
    ops.MaxPool: Rule(make=_pool("Max")),
    ops.AvgPool: Rule(_mean, _pool("Avg")),
    ops.GlobalAvgPool: _global("mean"),
    ops.GlobalMaxPool: _global("max"),
    ops.BatchNorm: Rule(_normalize, _norm, _affine),
    ops.LayerNorm: Rule(_along_steps, _row_norm("LayerNorm"), _affine),
    ops.RMSNorm: Rule(_along_steps, _row_norm("RMSNorm"), _affine),
    ops.GroupNorm: Rule(make=_group_norm, weights=_affine),
    ops.Dropout: Rule(_dropout, lambda s: call("eqx.nn.Dropout", s.op.rate)),
    ops.Embedding: Rule(
        lambda s: f"jax.vmap({s.object})({inline(s.x)})",
        lambda s: call("eqx.nn.Embedding", s.op.vocabulary, s.op.features, key=KEY),
        (Weight("weight", "VF", ("table",)),),
    ),
    ops.SimpleRNN: Rule(_run, _plain_cell, _plain_weights),
    ops.LSTM: Rule(_run, _cell("LSTMCell", "one"), _cell_weights),
    ops.GRU: Rule(_run, _cell("GRUCell", "candidate"), _cell_weights),
    ops.MultiHeadAttention: Rule(_attend, _attention, _attention_weights),
    ops.Reshape: Rule(_reshape),
    ops.Flatten: common.function("jnp.ravel"),
    ops.Pad: Rule(_pad),
    ops.Upsample: Rule(_upsample),
    BlockCall: Rule(_call_block, _block),
    Repeat: Rule(_call_blocks, _repeat),
}

#: Key, shape -> the array that a weight starts as.
INITIALIZERS: dict[type[recipe.Initializer], Any] = {
    recipe.GlorotUniform: lambda i: f"glorot({DRAW})",
    recipe.Zeros: lambda i: "jnp.zeros(array.shape)",
    recipe.Ones: lambda i: "jnp.ones(array.shape)",
    recipe.Uniform: lambda i: (
        f"jax.random.uniform({DRAW}, minval=-{i.limit}, maxval={i.limit})"
    ),
}
DRAW = "next(keys), array.shape"

# --- Rewrites -------------------------------------------------------------------------

REWRITES: dict[type[ops.Op], Any] = {ops.AvgPool: _average}

# --- The frame ------------------------------------------------------------------------

IMPORTS = (
    ("import jax.numpy as jnp", "jnp"),
    ("import optax", "optax"),
)


def _fields(scope: Scope) -> list[str]:
    """The fields of a module, by what ``__init__`` sets them to."""
    fields = []
    for line in scope.make:
        match = re.match(r"self\.(\w+) = (\[|[\w.]+)", line.text)
        if match:
            kind = "list" if match[2] == "[" else match[2]
            fields.append(f"{match[1]}: {kind}")
    return fields


def _class(scope: Scope, flags: tuple[str, ...], block: bool) -> list[str | Line]:
    defaults = {"state": "state", "key": "key" if block else "key=None"}
    inputs = (*scope.inputs, *(defaults[flag] for flag in flags))
    make, apply = keyed(scope.make, "jax.random.split"), keyed(scope.apply)
    if "state" in flags:
        apply = [*keyed(scope.body), Line(f"return {scope.value}, state")]
    template = CLASS
    if block:
        template = template.replace("$parameters, key", "$parameters, *, key")
    if not make:
        template = template.replace("    $fields\n\n", "").replace("$make", "pass")
    scope = dataclasses.replace(
        scope, inputs=inputs, make=tuple(make), apply=tuple(apply)
    )
    lines = common.class_lines(scope, template)
    at = next((i for i, row in enumerate(lines) if str(row).strip() == "$fields"), None)
    if at is not None:
        lines[at : at + 1] = [f"    {field}" for field in _fields(scope)]
    return [*lines, "", ""]


def _initial(parts: Parts) -> list[str]:
    """The function that draws the initial weights."""
    assert parts.recipe is not None
    inits, flat = parts.recipe.initializers, parts.graph.flat()

    def said(role: str) -> str:
        initializer = inits.of(role)
        return str(INITIALIZERS[type(initializer)](initializer))

    def when(condition: str, value: str) -> list[str]:
        return [f"if {condition}:", *(f"    {row}" for row in returned(value, 12))]

    def returned(value: str, margin: int) -> list[str]:
        rows = layout(" " * margin + "return ", _call(value))
        return [row[margin:] for row in rows]

    clauses, norms = [], False
    tables = [n.name for n in flat.nodes if isinstance(n.op, ops.Embedding)]
    if tables:
        names = [quoted(f"{name}.weight") for name in tables]
        which = f"== {names[0]}" if len(names) == 1 else f"in ({', '.join(names)})"
        clauses += when(f"name {which}", said("embedding"))
    for node in flat.nodes:
        op: Any = node.op
        norms = norms or isinstance(
            op, ops.BatchNorm | ops.LayerNorm | ops.RMSNorm | ops.GroupNorm
        )
        if isinstance(op, ops.LSTM) and op.forget_bias and op.bias != "none":
            which = f"name == {quoted(f'{node.name}.bias')}"
            if op.direction == "both":
                names = [quoted(f"{node.name}.{i}.bias") for i in (0, 1)]
                which = f"name in ({', '.join(names)})"
            forget = f"at[{op.units}:{2 * op.units}].set({float(op.forget_bias)})"
            clauses += [
                f"if {which}:  # its gates lie in the order i, f, g, o",
                f"    return {said('bias')}.{forget}",
            ]
    biased = any(
        getattr(node.op, "bias", False) not in (False, "none") for node in flat.nodes
    )
    if biased or norms:
        # A GRU has a second one, ``bias_n``.
        gru = any(isinstance(node.op, ops.GRU) for node in flat.nodes)
        named = '.startswith("bias")' if gru else ' == "bias"'
        clauses += when(f"path[-1].name{named}", said("bias"))
    if norms:
        clauses += ["if array.ndim == 1:", "    return array  # the scale of a norm"]
    clauses += returned(said("kernel"), 8)
    text = "\n".join(clauses)
    slots = {
        "keys": ["keys = iter(jax.random.split(key, len(jax.tree.leaves(arrays))))"]
        if "keys" in text
        else [],
        "name": ["name = dotted(path)"] if "if name" in text else [],
        "clauses": clauses,
    }
    rows: list[str] = []
    for row in INITIALIZE.strip().split("\n"):
        slot = row.strip().removeprefix("$")
        if row.strip().startswith("$"):
            margin = row[: len(row) - len(row.lstrip())]
            rows += [margin + line for line in slots[slot]]
        else:
            rows.append(row)
    return rows


def _setup(parts: Parts, flags: tuple[str, ...]) -> Section:
    stateful = "state" in flags
    name = parts.network.name
    functions = [*(LOAD_STATE if stateful else LOAD).strip().split("\n")]
    definitions: list[str] = []
    made = f"eqx.nn.make_with_state({name})" if stateful else name
    if parts.recipe is None:
        about, and_state = "Initial weights", ""
        build = [f"return {made}(jax.random.key(seed))"]
        if stateful:
            build = [f"return Stateful(*{made}(jax.random.key(seed)))"]
    else:
        about = "Loss, optimizer, initial weights"
        and_state = " and the state of its optimizer"
        optimizer = flax.OPTIMIZERS[type(parts.recipe.optimizer)]
        initial = _initial(parts)
        definitions = layout("optimizer = ", optimizer(parts.recipe.optimizer))
        if "glorot(" in "\n".join(initial):
            value = call("jax.nn.initializers.glorot_uniform", in_axis=1, out_axis=0)
            definitions += layout("glorot = ", value)
        definitions += ["", "", *_loss(parts, flags)]
        functions = [*initial, "", "", *functions]
        keys = "model_key, weights_key"
        if "key" in flags:
            and_state = ", the state of its optimizer and a random key"
            split = f"{keys}, key = jax.random.split(jax.random.key(seed), 3)"
        else:
            split = f"{keys} = jax.random.split(jax.random.key(seed))"
        network = "model.network" if stateful else "model"
        build = [split, f"model = initialize({made}(model_key), weights_key)"]
        if stateful:
            build[1:] = [
                f"network, state = {made}(model_key)",
                "model = Stateful(initialize(network, weights_key), state)",
            ]
        state = f"optimizer.init(eqx.filter({network}, eqx.is_array))"
        build.append(f"return model, {state}" + ", key" * ("key" in flags))
    text = SETUP if definitions else SETUP.replace("$definitions\n\n\n", "")
    slots = {
        "about": about,
        "definitions": definitions,
        "functions": functions,
        "and_state": and_state,
        "build": build,
    }
    return Section("setup", text, slots)


def _vmapped(network: str, flags: tuple[str, ...], with_key: bool) -> str:
    """The network over a batch."""
    if "state" not in flags:
        return f"jax.vmap({network})"
    ways = (0, "None", 0) if with_key else (0, "None")
    return inline(
        call(
            "jax.vmap",
            network,
            axis_name=quoted("batch"),
            in_axes=ways,
            out_axes=(0, "None"),
        )
    )


def _loss(parts: Parts, flags: tuple[str, ...]) -> list[str]:
    assert parts.recipe is not None
    stateful, random = "state" in flags, "key" in flags
    given = ["x", *["state"] * stateful, *["keys"] * random]
    signature = ["model", *["state"] * stateful, "x", "y", *["key"] * random]
    rows = [
        f"def loss_fn({', '.join(signature)}):",
        '    """Mean loss of a batch'
        + ", and the new state of its norms" * stateful
        + '."""',
    ]
    if random:
        rows.append("    keys = jax.random.split(key, len(x))")
    network = _vmapped("model", flags, random)
    if stateful:
        rows += layout("    batched = ", _call(network))
        network = "batched"
    result = "scores, state" if stateful else "scores"
    rows.append(f"    {result} = {network}({', '.join(given)})")
    loss = f"{flax.LOSSES[type(parts.recipe.loss)]}(scores, y).mean()"
    return [*rows, f"    return {loss}" + ", state" * stateful]


def _call(text: str) -> Call:
    """A call again, whose lines can be broken."""
    name, _, arguments = text.removesuffix(")").partition("(")
    return call(name, arguments)


def frame(parts: Parts) -> list[Section]:
    """The program around the network."""
    trained = parts.recipe is not None
    flags = _flags(parts.graph.nodes, trained)
    classes: list[str | Line] = []
    for scope, block in zip(parts.blocks, parts.graph.blocks(), strict=True):
        classes += _class(scope, _flags(block.nodes, trained), block=True)
    classes += _class(parts.network, flags, block=False)
    if "state" in flags:
        classes += [*STATEFUL.strip().split("\n"), "", ""]
    written = "\n".join(c.text if isinstance(c, Line) else c for c in classes)
    helpers: list[str] = []
    for name, text in HELPERS.items():
        if re.search(rf"\b{name}\(", written):
            helpers += [*text.strip().split("\n"), "", ""]
    first = ["import argparse", *([] if trained else ["import time"])]
    imports: tuple[str, ...] = (
        "",
        "import equinox as eqx",
        "import jax",
        "import jax.numpy as jnp",
        "import numpy as np",
        "import optax",
    )
    constants = ['jax.config.update("jax_enable_x64", True)']
    if parts.dtype != "float64":
        constants = []
    if parts.parallel:
        imports, constants = (*imports, flax.SHARDING), [*constants, *flax.JOINED]
    stateful, random = "state" in flags, "key" in flags
    network = "eqx.nn.inference_mode(model)"
    forward = [f"return jax.vmap({network})(x)"]
    if not {ops.Dropout, ops.BatchNorm} & parts.operations:
        forward = ["return jax.vmap(model)(x)"]
    if stateful:
        batched = _vmapped("network", flags, False)
        forward = [
            "network = eqx.nn.inference_mode(model.network)",
            *(row[4:] for row in layout("    batched = ", _call(batched))),
            "scores, _ = batched(x, model.state)",
            "return scores",
        ]
    predict = {"number": "5" if trained else "4", "forward": forward}
    sections = [
        common.head(parts, imports, constants, first),
        common.load_data(parts),
        Section(
            "network",
            "# 2. The network\n$classes",
            {"classes": [*helpers, *classes][:-2]},
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
    own = "model.network" if stateful else "model"
    value_and_grad = f"eqx.filter_value_and_grad(loss_fn{', has_aux=True' * stateful})"
    gradients = call(
        value_and_grad,
        own,
        "model.state" if stateful else None,
        *("x", "y"),
        "dropout_key" if random else None,
    )
    loss = "(loss, state)" if stateful else "loss"
    moved = [f"model = eqx.apply_updates({own}, updates)"]
    if stateful:
        moved = [
            f"network = eqx.apply_updates({own}, updates)",
            "model = Stateful(network, state)",
        ]
    step = {
        "state": state,
        "step": "update" if parts.parallel else "train_step",
        "joint": ["", "", *flax.joint_step(state)] if parts.parallel else [],
        "split": ["key, dropout_key = jax.random.split(key)"] if random else [],
        "gradients": [row[4:] for row in layout(f"    {loss}, grads = ", gradients)],
        "young": YOUNG if stateful else [],
        "params": f"eqx.filter({own}, eqx.is_array)",
        "moved": moved,
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
    name="equinox",
    title="Equinox",
    home="https://docs.kidger.site/equinox",
    since="2021",
    licence="Apache-2.0",
    language="Python; C++ (XLA)",
    style="module classes",
    storage=axes.channels_first,
    env=ENV,
    barrier="lambda: sum(w.sum() for w in jax.tree.leaves("
    "eqx.filter(model, eqx.is_inexact_array)))",
    rules=RULES,
    losses=flax.LOSSES,
    optimizers=flax.OPTIMIZERS,
    initializers=INITIALIZERS,
    frame=frame,
    rewrites=REWRITES,
    forms={
        ops.LSTM: ({"bias": "one"}, {"bias": "none"}),
        ops.GRU: (
            {"reset": "after", "bias": "candidate"},
            {"reset": "after", "bias": "none"},
        ),
        ops.BatchNorm: ({"unbiased": False},),
        recipe.Adam: ({"epsilon_form": "after"},),
    },
    helpers={**bare.RESERVED, **dict.fromkeys((*HELPERS, "state", "Stateful"), "")},
    imports=IMPORTS,
    engine=flax.ENGINE,
)

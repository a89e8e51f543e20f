"""Flax NNX on JAX: module classes that hold their weights, compiled steps, optax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from netglot import axes, ops, recipe
from netglot.backend import (
    Backend,
    Engine,
    Env,
    Gap,
    Parts,
    Rule,
    Section,
    Site,
    Weight,
)
from netglot.backends import common
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
    requirements=("flax==0.12.8", "jax==0.10.2", "optax==0.2.8", "numpy==2.4.6"),
    imports=("flax", "jax", "optax"),
    # XLA's own flags do not limit its threads; it asks for the number of processors.
    threads=("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    cpu={"JAX_PLATFORMS": "cpu"},
    accelerator=common.JAX_ON_GPU,
    judged=common.JAX_JUDGED,
    hurry=common.JAX_IN_A_HURRY,
    lock="flax",
)
#: It finds its place among the processes as it does below Open MPI's launcher.
ENGINE = Engine(
    name="jax.distributed, a mesh of all devices",
    command="mpirun -n 2 python {file}",
    variables={
        "JAX_COORDINATOR_ADDRESS": "{first}",
        "OMPI_MCA_orte_hnp_uri": "0.0;tcp://{first}",
        "OMPI_COMM_WORLD_SIZE": "{workers}",
        "OMPI_COMM_WORLD_RANK": "{rank}",
        "OMPI_COMM_WORLD_LOCAL_RANK": "{local}",
    },
)
#: What a process knows once it has joined the others, and what that imports.
JOINED = (
    "",
    "jax.distributed.initialize()",
    "RANK, WORKERS = jax.process_index(), jax.process_count()",
    'MESH = Mesh(jax.devices(), "rows")',
    "# Every device holds all weights, and its share of the rows of a batch.",
    "jax.set_mesh(MESH)",
    'ROWS = NamedSharding(MESH, PartitionSpec("rows"))',
)
SHARDING = "from jax.sharding import Mesh, NamedSharding, PartitionSpec"


def joint_step(state: str) -> list[str]:
    """A step on the share of a process: ``update`` on what all have together."""
    given = [*state.split(", "), "x", "y"]
    return [
        *layout("def ", call("train_step", *given), ":"),
        '    """Make one optimizer step; x and y are this process\'s share."""',
        "    x = jax.make_array_from_process_local_data(ROWS, x)",
        "    y = jax.make_array_from_process_local_data(ROWS, y)",
        *layout("    return ", call("update", *given)),
    ]


# --- Rules ----------------------------------------------------------------------------


def _dims(s: Site) -> int:
    return len(s.inputs[0].axes) - 2


def _axis(s: Site, letter: str) -> int:
    position = s.axis(letter)
    return -1 if position == len(s.storage()) - 1 else position


def _initial(s: Site, role: str, default: str = "") -> Any:
    """The recipe's initializer, where there is one and it is not that of the layer."""
    if s.initializers is None:
        return None
    initializer = s.initializers.of(role)
    return unless(default, INITIALIZERS[type(initializer)](initializer))


def _layer(s: Site, kind: str, *arguments: Any, **keywords: Any) -> Call:
    """A layer of Flax: its parameters are float32 unless it is told otherwise."""
    dtype = unless("jnp.float32", f"jnp.{s.dtype}")
    return call(f"nnx.{kind}", *arguments, **keywords, param_dtype=dtype, rngs="rngs")


def _initials(s: Site) -> dict[str, Any]:
    bias = _initial(s, "bias", "zeros") if s.op.bias else None
    return {"kernel_init": _initial(s, "kernel"), "bias_init": bias}


def _dense(s: Site) -> Any:
    return _layer(
        s,
        "Linear",
        s.inputs[0].size("F"),
        s.op.features,
        use_bias=unless(True, s.op.bias),
        **_initials(s),
    )


def padding(op: Any) -> Any:
    """``None``, which is "SAME", where that says it whatever the size of the image."""
    if all(pair == (0, 0) for pair in op.padding):
        return None if all(k == 1 for k in op.kernel) else quoted("VALID")
    if all(isinstance(k, int) for k in op.kernel) and squeeze(op.stride) == 1:
        totals = [d * (k - 1) for k, d in zip(op.kernel, op.dilation, strict=True)]
        if op.padding == tuple((n // 2, n - n // 2) for n in totals):
            return None
    flat = {n for pair in op.padding for n in pair}
    return flat.pop() if len(flat) == 1 else op.padding


def _convolution(s: Site) -> Any:
    return _layer(
        s,
        "Conv",
        s.inputs[0].size("C"),
        s.op.channels,
        s.op.kernel,
        strides=unless(1, squeeze(s.op.stride)),
        padding=padding(s.op),
        kernel_dilation=unless(1, squeeze(s.op.dilation)),
        feature_group_count=unless(1, s.op.groups),
        use_bias=unless(True, s.op.bias),
        **_initials(s),
    )


def spread_padding(op: Any) -> Any:
    """What is added around an image that a stride has spread; "VALID" may say it."""
    reach = [d * (k - 1) for k, d in zip(op.kernel, op.dilation, strict=True)]
    rows = zip(reach, op.padding, op.output_padding, strict=True)
    added = tuple((n - before, n - after + more) for n, (before, after), more in rows)
    covers = all(n >= step - 1 for n, step in zip(reach, op.stride, strict=True))
    whole = covers and added == tuple((n, n) for n in reach)
    return quoted("VALID") if whole else added


def _transposed(s: Site) -> Any:
    if s.op.groups != 1:
        raise Gap("its transposed convolution has no groups")
    return _layer(
        s,
        "ConvTranspose",
        s.inputs[0].size("C"),
        s.op.channels,
        s.op.kernel,
        strides=unless(1, squeeze(s.op.stride)),
        padding=spread_padding(s.op),
        kernel_dilation=unless(1, squeeze(s.op.dilation)),
        use_bias=unless(True, s.op.bias),
        **_initials(s),
        # The adjoint of a convolution with this kernel, which is not flipped.
        transpose_kernel=True,
    )


def _kernel(letters: str) -> Any:
    def weights(s: Site) -> tuple[Weight, ...]:
        kernel = Weight("kernel", axes.SPATIAL[_dims(s)] + letters, ("kernel",))
        return (kernel, Weight("bias", "O", ("bias",))) if s.op.bias else (kernel,)

    return weights


def windows(s: Site) -> tuple[tuple[int, int], ...]:
    """The padding, with what the last window needs under ``ceil``."""
    result = []
    letters = axes.SPATIAL[_dims(s)]
    rows = zip(letters, s.op.kernel, s.op.stride, s.op.padding, strict=True)
    for letter, kernel, step, (before, after) in rows:
        if s.op.ceil:
            size, count = s.inputs[0].size(letter), s.outputs[0].size(letter)
            if size is None or count is None:
                raise Gap("ceil asks for a known size")
            after = max(after, (count - 1) * step + kernel - size - before)
        result.append((before, after))
    return tuple(result)


def _max_pool(s: Site) -> Any:
    padding = unless(((0, 0),) * _dims(s), windows(s))
    return call("nnx.max_pool", s.x, s.op.kernel, strides=s.op.stride, padding=padding)


def _avg_pool(s: Site) -> Any:
    padding = unless(((0, 0),) * _dims(s), windows(s))
    # Where the overhang of ceil must not count, the rewrite has padded beforehand.
    counts = s.op.count_padding and not s.op.ceil
    return call(
        "nnx.avg_pool",
        s.x,
        s.op.kernel,
        strides=s.op.stride,
        padding=padding,
        count_include_pad=False if padding and not counts else None,
    )


def _batch_norm(s: Site) -> Any:
    if s.op.unbiased:
        raise Gap("its running variance is the biased one (form unbiased=False)")
    momentum = unless(0.99, s.op.momentum)
    return _norm(s, "BatchNorm", momentum=momentum, epsilon=unless(1e-5, s.op.epsilon))


def _norm(s: Site, kind: str, *arguments: Any, **keywords: Any) -> Any:
    return _layer(
        s,
        kind,
        s.inputs[0].size("C" if "C" in s.inputs[0].axes else "F"),
        *arguments,
        **keywords,
        use_bias=unless(True, getattr(s.op, "shift", True)),
        use_scale=unless(True, s.op.scale),
    )


def _observation_norm(kind: str) -> Any:
    def write(s: Site) -> Any:
        groups = unless(32, s.op.groups) if kind == "GroupNorm" else None
        return _norm(s, kind, num_groups=groups, epsilon=unless(1e-6, s.op.epsilon))

    return write


def _affine(s: Site) -> tuple[Weight, ...]:
    letter = "C" if "C" in s.inputs[0].axes else "F"
    names = {"scale": "scale", "shift": "bias"}
    found = [(role, name) for role, name in names.items() if getattr(s.op, role, False)]
    if hasattr(s.op, "momentum"):
        found += [("mean", "mean"), ("variance", "var")]
    return tuple(Weight(name, letter, (role,)) for role, name in found)


def _embedding(s: Site) -> Any:
    initial = _initial(s, "embedding")
    return _layer(s, "Embed", s.op.vocabulary, s.op.features, embedding_init=initial)


def _cell(s: Site, kind: str) -> Any:
    """The cell that is run over the steps."""
    if s.op.bias not in ("one", "two"):
        raise Gap("its recurrent cells have one bias vector, or one per product")
    if getattr(s.op, "reset", "after") != "after":
        raise Gap("the reset gate of its GRU acts after the product")
    bias = _initial(s, "bias", "zeros")
    forget = getattr(s.op, "forget_bias", 0)
    if bias and (forget or s.op.bias == "two"):
        raise Gap("such biases start at 0, but for that of a forget gate")
    if forget:
        bias = "lstm_bias" if forget == 1 else f"partial(lstm_bias, forget={forget})"
    # Every other cell computes in the type of its input and parameters.
    fixed = kind == "SimpleCell" and s.dtype != "float32"
    cell = _layer(
        s,
        kind,
        s.inputs[0].size("F"),
        s.op.units,
        dtype=f"jnp.{s.dtype}" if fixed else None,
        activation_fn=unless("nnx.tanh", f"nnx.{s.op.activation}"),
        kernel_init=_initial(s, "kernel"),
        recurrent_kernel_init=_initial(s, "recurrent"),
        bias_init=bias,
    )
    return call("two_biases", cell) if s.op.bias == "two" else cell


def _recurrent(kind: str) -> Rule:
    def make(s: Site) -> Any:
        cell = _cell(s, kind)
        if s.op.direction == "both":
            return call(
                "nnx.Bidirectional", call("nnx.RNN", cell), call("nnx.RNN", cell)
            )
        backward = s.op.direction == "backward"
        keep = backward and s.op.returns == "sequence"
        return call(
            "nnx.RNN",
            cell,
            reverse=unless(False, backward),
            keep_order=unless(False, keep),
        )

    def apply(s: Site) -> Any:
        if s.op.returns == "sequence":
            return f"{s.object}({s.x})"
        if s.op.direction != "both":
            return f"{s.object}({s.x})[:, -1]"
        states = "(_, forward), (_, backward)" if lstm else "forward, backward"
        line = f"({states}), _ = {s.object}({s.x}, return_carry=True)"
        value = call("jnp.concatenate", ("forward", "backward"), axis=-1)
        return Statements((line,), value)

    def weights(s: Site) -> tuple[Weight, ...]:
        # An LSTM has its one bias beside the recurrent product.
        bias, other = ("dense_h", "dense_i") if lstm else ("dense_i", "dense_h")
        result = []
        for direction, end in (("forward", ""), ("backward", "_back")):
            if s.op.direction not in (direction, "both"):
                continue
            both = f"{direction}_rnn." if s.op.direction == "both" else ""
            cell = f"{both}cell."
            result += [
                Weight(f"{cell}dense_i.kernel", "IG", (f"kernel{end}",)),
                Weight(f"{cell}dense_h.kernel", "HG", (f"recurrent{end}",)),
            ]
            if s.op.bias != "none":
                result.append(Weight(f"{cell}{bias}.bias", "G", (f"bias{end}",)))
            if s.op.bias == "two":
                second = (f"recurrent_bias{end}",)
                result.append(Weight(f"{cell}{other}.bias", "G", second))
        return tuple(result)

    lstm = kind == "OptimizedLSTMCell"
    return Rule(apply, make, weights, needs=("lstm_bias", "two_biases"))


def _attention(s: Site) -> Any:
    width, other = s.inputs[0].size("F"), s.inputs[-1].size("F")
    if s.inputs[:2][-1].size("F") != other:
        raise Gap("key and value have one width")
    return _layer(
        s,
        "MultiHeadAttention",
        s.op.heads,
        width,
        in_kv_features=unless(width, other),
        use_bias=unless(True, s.op.bias),
        # Its softmax is one of float32, whatever the type of its input.
        attention_fn="exact_attention" if s.dtype == "float64" else None,
        decode=False,
        **_initials(s),
    )


def _attend(s: Site) -> Any:
    return call(s.object, *s.arguments, is_causal=unless(False, s.op.causal))


def _attention_weights(s: Site) -> tuple[Weight, ...]:
    heads = (("A", s.op.heads), ("K", s.inputs[0].size("F") // s.op.heads))
    result = []
    for name in ("query", "key", "value"):
        kernel, bias = (f"{name}_kernel",), (f"{name}_bias",)
        result.append(Weight(f"{name}.kernel", "IAK", kernel, split={"O": heads}))
        if s.op.bias:
            result.append(Weight(f"{name}.bias", "AK", bias, split={"O": heads}))
    result.append(Weight("out.kernel", "AKO", ("output_kernel",), split={"I": heads}))
    if s.op.bias:
        result.append(Weight("out.bias", "O", ("output_bias",)))
    return tuple(result)


def _along(name: str) -> Rule:
    """A function along one axis, which is the last unless it is told."""
    return Rule(lambda s: call(name, s.x, axis=unless(-1, _axis(s, s.op.axis))))


def _split(s: Site) -> Any:
    ends = tuple(sum(s.op.sizes[: i + 1]) for i in range(len(s.op.sizes) - 1))
    pieces = call("jnp.split", s.x, ends, axis=_axis(s, s.op.axis))
    return Statements((f"{s.target} = {inline(pieces)}",), s.target)


def _reshape(s: Site) -> Any:
    # The letters may stand in another order where all but one size is 1.
    sizes = dict(zip("N" + s.op.axes.lstrip("N"), (-1, *s.op.shape), strict=True))
    stored = s.backend.storage("".join(sizes))
    return call(f"{s.x}.reshape", *(sizes[letter] for letter in stored))


def _permute(s: Site) -> Any:
    getattr(s.op, "axes", None)
    return call(f"{s.x}.transpose", *s.order())


def _pad(s: Site) -> Any:
    value = f'float("{s.op.value}")' if abs(s.op.value) == float("inf") else s.op.value
    amounts = ((0, 0), *s.op.padding, (0, 0))
    return call("jnp.pad", s.x, amounts, constant_values=unless(0.0, value))


def _reduce(method: str) -> Rule:
    def write(s: Site) -> Any:
        over = tuple(_axis(s, letter) for letter in s.op.over)
        keep = unless(False, s.op.keep)
        return call(f"{s.x}.{method}", axis=squeeze(over), keepdims=keep)

    return Rule(write)


def _global(method: str) -> Rule:
    def write(s: Site) -> Any:
        space = tuple(range(1, len(s.inputs[0].axes) - 1))
        return call(
            f"{s.x}.{method}", axis=squeeze(space) if len(space) == 1 else space
        )

    return Rule(write)


def _upsample(s: Site) -> Any:
    if s.op.mode == "nearest":
        text = s.x
        for i, times in enumerate(s.op.scale):
            text = f"{text}.repeat({times}, axis={i + 1})" if times != 1 else text
        return text
    sizes = [s.outputs[0].size(letter) for letter in s.storage()[1:]]
    shape = [f"{s.x}.shape[0]"]
    for i, (size, times) in enumerate(zip(sizes, (*s.op.scale, 1), strict=True), 1):
        own = f"{s.x}.shape[{i}]"
        unknown = own if times == 1 else f"{times} * {own}"
        shape.append(unknown if size is None else size)
    return call("jax.image.resize", s.x, tuple(shape), quoted(s.op.mode))


def _block(s: Site) -> Any:
    return call(s.op.block.name, **dict(s.op.arguments), rngs="rngs")


def _repeat(s: Site) -> Any:
    blocks = f"*({inline(_block(s))} for _ in range({s.op.times}))"
    return call("nnx.Sequential", blocks)


HELPERS = {
    "lstm_bias": '''
def lstm_bias(key, shape, dtype, forget=1.0):
    """Zeros, but for the forget gate; the gates lie in the order i, f, g, o."""
    return jnp.repeat(jnp.array([0.0, forget, 0.0, 0.0], dtype), shape[0] // 4)
''',
    "two_biases": '''
def two_biases(cell):
    """Give the cell a bias beside each of its products, not beside one alone."""
    for dense in (cell.dense_i, cell.dense_h):
        if dense.bias is None:
            dense.use_bias = True
            dense.bias = nnx.Param(jnp.zeros(dense.out_features, dense.param_dtype))
    return cell
''',
    "exact_attention": '''
def exact_attention(query, key, value, is_causal=False, **others):
    """Attention in the type of its input; JAX's own takes the softmax in float32."""
    scores = jnp.einsum("nqhd,nkhd->nhqk", query, key) / query.shape[-1] ** 0.5
    if is_causal:
        past = jnp.tri(*scores.shape[-2:], dtype=bool)
        scores = jnp.where(past, scores, -jnp.inf)
    return jnp.einsum("nhqk,nkhd->nqhd", nnx.softmax(scores), value)
''',
}

DENSE = (Weight("kernel", "IO", ("kernel",)), Weight("bias", "O", ("bias",)))

RULES: dict[type[ops.Op], Rule] = {
    ops.Dense: Rule(make=_dense, weights=DENSE),
    ops.Conv: Rule(make=_convolution, weights=_kernel("IO")),
    ops.ConvTranspose: Rule(make=_transposed, weights=_kernel("OI")),
    ops.MaxPool: Rule(_max_pool),
    ops.AvgPool: Rule(_avg_pool),
    ops.GlobalAvgPool: _global("mean"),
    ops.GlobalMaxPool: _global("max"),
    ops.BatchNorm: Rule(make=_batch_norm, weights=_affine),
    ops.LayerNorm: Rule(make=_observation_norm("LayerNorm"), weights=_affine),
    ops.GroupNorm: Rule(make=_observation_norm("GroupNorm"), weights=_affine),
    ops.RMSNorm: Rule(make=_observation_norm("RMSNorm"), weights=_affine),
    ops.Dropout: Rule(make=lambda s: call("nnx.Dropout", s.op.rate, rngs="rngs")),
    ops.Embedding: Rule(
        make=_embedding, weights=(Weight("embedding", "VF", ("table",)),)
    ),
    ops.SimpleRNN: _recurrent("SimpleCell"),
    ops.LSTM: _recurrent("OptimizedLSTMCell"),
    ops.GRU: _recurrent("GRUCell"),
    ops.MultiHeadAttention: Rule(
        _attend, _attention, _attention_weights, needs=("exact_attention",)
    ),
    ops.Relu: common.function("nnx.relu"),
    ops.LeakyRelu: Rule(
        lambda s: call("nnx.leaky_relu", s.x, unless(0.01, s.op.slope))
    ),
    ops.Elu: Rule(lambda s: call("nnx.elu", s.x, unless(1.0, s.op.alpha))),
    ops.Selu: common.function("nnx.selu"),
    ops.Gelu: Rule(
        lambda s: call("nnx.gelu", s.x, approximate=unless(True, s.op.approximate))
    ),
    ops.Silu: common.function("nnx.silu"),
    ops.Sigmoid: common.function("nnx.sigmoid"),
    ops.Tanh: common.function("nnx.tanh"),
    ops.Softplus: common.function("nnx.softplus"),
    ops.Softmax: _along("nnx.softmax"),
    ops.LogSoftmax: _along("nnx.log_softmax"),
    ops.Negative: Rule(lambda s: f"-{common.operand(s.x)}"),
    ops.Exp: common.function("jnp.exp"),
    ops.Log: common.function("jnp.log"),
    ops.Sqrt: common.function("jnp.sqrt"),
    ops.Abs: common.function("jnp.abs"),
    ops.Square: common.function("jnp.square"),
    ops.Clip: Rule(lambda s: call("jnp.clip", s.x, s.op.low, s.op.high)),
    ops.Scale: Rule(common.scale),
    ops.Add: common.binary("+"),
    ops.Subtract: common.binary("-"),
    ops.Multiply: common.binary("*"),
    ops.Divide: common.binary("/"),
    ops.Maximum: common.function("jnp.maximum"),
    ops.Minimum: common.function("jnp.minimum"),
    ops.MatMul: Rule(
        lambda s: f"{s.x} @ {s.arguments[1]}{'.mT' if s.op.transpose_b else ''}"
    ),
    ops.Concat: Rule(
        lambda s: call("jnp.concatenate", s.arguments, axis=_axis(s, s.op.axis))
    ),
    ops.Split: Rule(_split),
    ops.Slice: Rule(common.sliced),
    ops.Reshape: Rule(_reshape),
    ops.Flatten: Rule(lambda s: f"{s.x}.reshape({s.x}.shape[0], -1)"),
    ops.Transpose: Rule(_permute),
    Restore: Rule(_permute),
    Arrange: Rule(_permute),
    ops.Pad: Rule(_pad),
    ops.ReduceMean: _reduce("mean"),
    ops.ReduceSum: _reduce("sum"),
    ops.ReduceMax: _reduce("max"),
    ops.Upsample: Rule(_upsample),
    BlockCall: Rule(make=_block),
    Repeat: Rule(make=_repeat),
}

LOSSES = {
    recipe.SoftmaxCrossEntropy: "optax.softmax_cross_entropy_with_integer_labels",
    recipe.MeanSquaredError: "optax.squared_error",
}


def _sgd(o: recipe.SGD) -> Any:
    momentum = unless(0.0, o.momentum)
    step = call(
        "optax.sgd", o.rate, momentum=momentum, nesterov=unless(False, o.nesterov)
    )
    if not o.weight_decay:
        return step
    decay = call("optax.add_decayed_weights", o.weight_decay)
    return call("optax.chain", decay, step)


def _adam(o: recipe.Adam) -> Any:
    if o.epsilon_form != "after":
        raise Gap("its Adam adds epsilon after the correction")
    return call(
        "optax.adamw" if o.weight_decay else "optax.adam",
        o.rate,
        b1=unless(0.9, o.beta1),
        b2=unless(0.999, o.beta2),
        eps=unless(1e-8, o.epsilon),
        weight_decay=unless(0.0, o.weight_decay),
    )


OPTIMIZERS: dict[type[recipe.Optimizer], Any] = {recipe.SGD: _sgd, recipe.Adam: _adam}

#: The names of ``_definitions``.
INITIALIZERS: dict[type[recipe.Initializer], Any] = {
    recipe.GlorotUniform: lambda i: "glorot",
    recipe.Zeros: lambda i: "zeros",
    recipe.Ones: lambda i: "ones",
    recipe.Uniform: lambda i: "uniform",
}

# --- Rewrites -------------------------------------------------------------------------


def _average(op: ops.AvgPool) -> Sequence[ops.Op]:
    """Padding that counts comes first where the overhang of ceil does not."""
    return pad_average(op) if op.ceil and op.count_padding else (op,)


REWRITES: dict[type[ops.Op], Any] = {ops.AvgPool: _average}

# --- The frame ------------------------------------------------------------------------

CLASS = """
class $name(nnx.Module):
    def __init__(self$parameters, *, rngs):
        $make

    def __call__(self, $inputs):
        $apply
"""

SETUP = '''
# 3. Loss, optimizer, initial weights
def build(seed=0):
    """Create the network$and_optimizer."""
    $build


def named_weights(model):
    """Every weight by its path, joined with dots."""
    weights = nnx.to_flat_state(nnx.state(model, $kinds))
    return {".".join(map(str, path)): weight for path, weight in weights}


def load_weights(model, path):
    """Set the weights to the named arrays of an .npz file."""
    arrays = np.load(path)
    for name, weight in named_weights(model).items():
        weight[...] = arrays[name]


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    np.savez(path, **{name: w[...] for name, w in named_weights(model).items()})
'''

STEP = '''
@nnx.jit
def $step(model, optimizer, x, y):
    """Make one optimizer step on a batch; return its loss."""

    def loss_fn(model):
        $scores
        return $loss($value, y).mean()

    loss, grads = nnx.value_and_grad(loss_fn)(model)
    optimizer.update(model, grads)
    return loss
$joint
'''

PREDICT = '''
# $number. Predict
@nnx.jit
def forward(model, x):
    """Scores of a batch, in evaluation mode."""
    return $value


def predict(model, x):
    """Scores of a batch, as a NumPy array."""
    return np.asarray(forward(model, x))
'''

IMPORTS = (
    ("from functools import partial", "partial"),
    ("import jax", "jax"),
    ("import jax.numpy as jnp", "jnp"),
    ("import optax", "optax"),
)


def _definitions(parts: Parts, text: str) -> list[str]:
    """The initializers that the layers name."""
    if parts.initializers is None:
        return []
    inits = parts.initializers
    roles = (inits.kernel, inits.recurrent, inits.bias, inits.embedding)
    limits = {i.limit for i in roles if isinstance(i, recipe.Uniform)}
    if len(limits) > 1:
        raise Gap("initial weights are drawn from one uniform distribution")
    values = {
        "glorot": "nnx.initializers.glorot_uniform()",
        "zeros": "nnx.initializers.zeros_init()",
        "ones": "nnx.initializers.ones_init()",
    }
    for limit in limits:
        values["uniform"] = (
            f"partial(jax.random.uniform, minval=-{limit}, maxval={limit})"
        )
    return [f"{n} = {value}" for n, value in values.items() if f"_init={n}" in text]


def _view(parts: Parts, training: bool) -> Any:
    """The network with its layers told whether it is training, where any asks."""
    kinds = {"deterministic": ops.Dropout, "use_running_average": ops.BatchNorm}
    modes = {
        mode: not training for mode, kind in kinds.items() if kind in parts.operations
    }
    return call("nnx.view", "model", **modes) if modes else "model"


def _build(parts: Parts) -> list[str]:
    made = f"{parts.network.name}(rngs=nnx.Rngs(seed))"
    lines = [f"model = {made}"]
    if parts.dtype != "float32" and ops.BatchNorm in parts.operations:
        lines += [
            "# The running statistics of a batch norm are always made in float32.",
            "for _, statistic in nnx.to_flat_state(nnx.state(model, nnx.BatchStat)):",
            f"    statistic.set_value(statistic[...].astype(jnp.{parts.dtype}))",
        ]
    if parts.recipe is None:
        return [*lines, "return model"] if len(lines) > 1 else [f"return {made}"]
    step = OPTIMIZERS[type(parts.recipe.optimizer)](parts.recipe.optimizer)
    optimizer = call("nnx.Optimizer", "model", step, wrt="nnx.Param")
    written = [line[4:] for line in layout("    optimizer = ", optimizer)]
    return [*lines, *written, "return model, optimizer"]


def frame(parts: Parts) -> list[Section]:
    """The program around the network."""
    classes: list[str | Line] = []
    for scope in (*parts.blocks, parts.network):
        template = CLASS if scope.make else CLASS.replace("$make", "pass")
        classes += [*common.class_lines(scope, template), "", ""]
    written = "\n".join(c if isinstance(c, str) else c.text for c in classes)
    helpers = []
    for name, text in HELPERS.items():
        if text in parts.helpers and name in written:
            helpers += [*text.strip().split("\n"), "", ""]
    definitions = _definitions(parts, written)
    if definitions:
        definitions += ["", ""]
    standard = ["import argparse", *([] if parts.recipe else ["import time"])]
    imports: tuple[str, ...] = (
        "from functools import partial",
        "",
        "import jax",
        "import jax.numpy as jnp",
        "import numpy as np",
        "import optax",
        "from flax import nnx",
    )
    wide = ['jax.config.update("jax_enable_x64", True)']
    constants = wide if parts.dtype == "float64" else []
    if parts.parallel:
        imports, constants = (*imports, SHARDING), [*constants, *JOINED]
    network = Section(
        "network",
        "# 2. The network\n$classes",
        {"classes": [*definitions, *helpers, *classes[:-2]]},
    )
    statistics = ops.BatchNorm in parts.operations
    setup = Section(
        "setup",
        SETUP,
        {
            "and_optimizer": " and its optimizer" if parts.recipe else "",
            "build": _build(parts),
            "kinds": "(nnx.Param, nnx.BatchStat)" if statistics else "nnx.Param",
        },
    )
    value = inline(call(inline(_view(parts, training=False)), "x"))
    predict = {"number": "5" if parts.recipe else "4", "value": value}
    sections = [
        common.head(parts, imports, constants, first=standard),
        common.load_data(parts),
        network,
        setup,
    ]
    if parts.recipe is None:
        predict_section = Section("predict", PREDICT, predict)
        return [*sections, predict_section, common.extract(), common.main(parts)]
    view = inline(_view(parts, training=True))
    scores = [] if view == "model" else [f"scores = {view}(x)"]
    step = {
        "scores": scores,
        "loss": LOSSES[type(parts.recipe.loss)],
        "value": "scores" if scores else "model(x)",
        "step": "update" if parts.parallel else "train_step",
        "joint": ["", "", *joint_step("model, optimizer")] if parts.parallel else [],
    }
    return [
        *sections,
        common.batches(parts.parallel),
        Section("train", STEP, step),
        common.train(parts),
        Section("predict", PREDICT, predict),
        common.evaluate(parts),
        common.main(parts),
    ]


backend = Backend(
    name="flax",
    title="Flax NNX",
    home="https://flax.readthedocs.io",
    since="2020",
    licence="Apache-2.0",
    language="Python; C++ (XLA)",
    style="module classes",
    storage=axes.channels_last,
    env=ENV,
    barrier="lambda: sum(w[...].sum() for w in named_weights(model).values())",
    rules=RULES,
    losses=LOSSES,
    optimizers=OPTIMIZERS,
    initializers=INITIALIZERS,
    frame=frame,
    rewrites=REWRITES,
    forms={
        ops.SimpleRNN: ({"bias": "one"},),
        ops.LSTM: ({"bias": "one"},),
        ops.GRU: ({"reset": "after", "bias": "one"},),
        ops.BatchNorm: ({"unbiased": False},),
        recipe.Adam: ({"epsilon_form": "after"},),
    },
    helpers=HELPERS,
    imports=IMPORTS,
    engine=ENGINE,
    repeated="{name}.layers.{index}",
)

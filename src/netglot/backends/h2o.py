"""H2O's deep learning: an estimator of tables, its network a list of sizes.

A program starts H2O, which is a process of Java's, hands it tables, and lets it train.
What it computes forward is that of the network; how it trains is its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from netglot import ops, recipe
from netglot.axes import channels_first
from netglot.backend import (
    Backend,
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
from netglot.graph import Node
from netglot.source import Line

# --- Facts ----------------------------------------------------------------------------

ENV = Env(
    python=("3.11", "3.12", "3.10"),
    requirements=("h2o==3.46.0.12", "numpy==2.4.6", "pandas==2.3.3"),
    imports=("h2o",),
    variables={
        # It reports its use to its makers.
        "DO_NOT_TRACK": "1",
        # It asks for a second reader of tables, and for its newest version.
        "PYTHONWARNINGS": "ignore",
    },
    lock="h2o",
    shims=(
        Shim(
            "h2o_group",
            "H2O starts Java in a group of processes of its own, where it outlives a "
            "program that is ended",
            "start",
        ),
    ),
    needs=(
        Need("java", "H2O is a program of Java's", "apt install default-jre-headless"),
    ),
)

OWN_TRAINING = (
    "H2O trains in a way of its own: a step after each row, in an order of its own, "
    "with ADADELTA or plain descent, and no Adam"
)

# --- Rules ----------------------------------------------------------------------------


def _dense(s: Site) -> str:
    _ = s.op.features
    if not s.op.bias:
        raise Gap("each of its layers has a bias")
    return "x"


def _dropout(s: Site) -> str:
    _ = s.op.rate
    return "x"


def _log_softmax(s: Site) -> str:
    _ = s.op.axis
    return "x"


#: All of them are arguments of one estimator, which the frame writes.
RULES: dict[type[ops.Op], Rule] = {
    ops.Dense: Rule(
        _dense,
        weights=(Weight("kernel", "OI", ("kernel",)), Weight("bias", "O", ("bias",))),
    ),
    ops.Relu: Rule(lambda s: "x"),
    ops.Tanh: Rule(lambda s: "x"),
    ops.Dropout: Rule(_dropout),
    ops.LogSoftmax: Rule(_log_softmax),
}
ACTIVATIONS: dict[type[ops.Op], str] = {ops.Relu: "Rectifier", ops.Tanh: "Tanh"}


def _descent(o: recipe.SGD) -> dict[str, Any]:
    if o.nesterov:
        raise Gap("SGD: what it calls Nesterov's is plain momentum")
    if o.weight_decay:
        raise Gap("SGD: it has no weight decay that spares no bias")
    # It multiplies the rate by 1 - momentum.
    settings = {"adaptive_rate": False, "rate": round(o.rate / (1 - o.momentum), 12)}
    if o.momentum:
        settings |= {"momentum_start": o.momentum, "momentum_stable": o.momentum}
    return settings


#: Arguments of the estimator; without any it takes ADADELTA.
OPTIMIZERS: dict[type[recipe.Optimizer], Any] = {
    recipe.SGD: _descent,
    recipe.Adam: lambda o: {},
}

# --- Missing --------------------------------------------------------------------------

_DENSE = "H2O's networks are fully connected: dense layers, one after another"
MISSING = {op: _DENSE for op in ops.OPERATIONS.values() if op not in RULES}

# --- The frame ------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Network:
    """The layers by name, their sizes, and what follows each of the hidden ones."""

    layers: tuple[str, ...]
    sizes: tuple[int, ...]
    activation: str
    rates: tuple[float, ...]
    hidden: tuple[str, ...]


def _network(parts: Parts) -> _Network:
    """Reads a chain of dense layers; raises ``Gap`` for what is none."""
    nodes = [node for node in parts.graph.nodes if isinstance(node, Node)]
    value, type_ = parts.graph.inputs[0]
    if type_.axes != "NF" or len(parts.graph.inputs) > 1:
        raise Gap("its network reads one table, a row for each observation")
    layers: list[str] = []
    kinds: list[str] = []
    sizes, rates = [type_.size("F")], [0.0]
    for node in nodes:
        if node.inputs != (value,):
            raise Gap(f"{node.name}: its layers follow each other")
        value, op = node.outputs[0], node.op
        if isinstance(op, ops.Dense):
            if len(kinds) < len(layers):
                raise Gap(f"{layers[-1]}: each hidden layer has an activation")
            layers.append(node.name)
            sizes.append(op.features)
            rates.append(0.0)
        elif isinstance(op, ops.Dropout) and len(kinds) == len(layers):
            if op.rate and not layers:
                raise Gap("dropout of what it reads is not written for it")
            rates[-1] = op.rate
        elif type(op) in ACTIVATIONS and len(kinds) == len(layers) - 1:
            kinds.append(ACTIVATIONS[type(op)])
        elif not isinstance(op, ops.LogSoftmax):
            raise Gap(
                f"{node.name}: an activation follows each hidden layer, dropout it"
            )
    if len(kinds) != len(layers) - 1 or not kinds or parts.graph.outputs != (value,):
        raise Gap("its network ends with the scores of classes, after hidden layers")
    if len({*kinds}) > 1:
        raise Gap("its hidden layers share one activation")
    hidden = tuple(n.name for n in nodes if not isinstance(n.op, ops.LogSoftmax))
    return _Network(tuple(layers), tuple(sizes), kinds[0], tuple(rates[1:-1]), hidden)


NETWORK = '''
# 2. The network
LAYERS = $layers
SIZES = $sizes
$kept


def $function(kernels, biases, training, validation=None, epochs=0, seed=0):
    """Network with these weights, and trained for some epochs."""
    model = H2ODeepLearningEstimator(
        $network
        standardize=False,
        ignore_const_cols=False,
        initial_weights=$initial,
        initial_biases=[h2o.H2OFrame(bias[:, None]) for bias in biases],
        export_weights_and_biases=True,
        $optimizer
        train_samples_per_iteration=0,
        score_interval=0,
        score_duty_cycle=1,
        overwrite_with_best_model=False,
        stopping_rounds=0,
        epochs=epochs,
        seed=seed,
        reproducible=True,
    )
    model.train(y="label", training_frame=training, validation_frame=validation)
    return model


def table(x, y=None):
    """Table of H2O: a column for each feature, and the labels as categories."""
    frame = h2o.H2OFrame(x)
    if y is not None:
        # The categories are those of all classes, also where y has few of them.
        labels = np.append(np.arange(SIZES[-1]), y)[:, None]
        frame["label"] = h2o.H2OFrame(labels).asfactor()[SIZES[-1] :, :]
    return frame
'''

SETUP = '''
# 3. Initial weights
def build(seed=0):
    """Start H2O, and create the network."""
    h2o.init(nthreads=1, max_mem_size="2G", verbose=False)
    h2o.no_progress()
    rng = np.random.default_rng(seed)
    kernels, biases = [], []
    for inputs, outputs in pairwise(SIZES):
        limit = np.sqrt(6 / (inputs + outputs))
        kernels.append(rng.uniform(-limit, limit, (outputs, inputs)))
        biases.append(np.zeros(outputs))
    return $function(kernels, biases, example())


def example():
    """Table that tells H2O of the features and classes before there are data."""
    return table(np.zeros((SIZES[-1], SIZES[0])), np.arange(SIZES[-1]))


def weights(model):
    """Kernels and biases of all layers."""
    $kernels
    biases = [model.biases(i).as_data_frame().values[:, 0] for i in range(len(LAYERS))]
    return kernels, biases


def load_weights(model, path):
    """Return a network with the named arrays of an .npz file as weights."""
    arrays = np.load(path)
    kernels = [arrays[f"{name}.kernel"] for name in LAYERS]
    biases = [arrays[f"{name}.bias"] for name in LAYERS]
    return $function(kernels, biases, example())


def save_weights(model, path):
    """Write the weights as named arrays of an .npz file."""
    kernels, biases = weights(model)
    arrays = {f"{name}.kernel": kernel for name, kernel in zip(LAYERS, kernels)}
    arrays.update({f"{name}.bias": bias for name, bias in zip(LAYERS, biases)})
    np.savez(path, **arrays)
'''

TRAIN = '''
# 4. Train
def train_step(model, x, y):
    """Go through a batch once, with a step after each row; return the new model."""
    model = $function(*weights(model), table(x, y), epochs=1)
    return model, model.logloss()


def train(model, x, y, epochs=EPOCHS, seed=0, validation=None, on_step=None):
    """Train for some epochs; print the mean loss of each. Return the new model."""
    test = table(*validation) if validation else None
    model = $function(*weights(model), table(x, y), test, epochs, seed)
    for epoch in model.scoring_history()[1:].itertuples():
        report = f"epoch {epoch.epochs:.0f}: loss {epoch.training_logloss:.4f}"
        if validation:
            report += f", accuracy {1 - epoch.validation_classification_error:.4f}"
        print(report)
        if on_step:
            on_step(epoch.training_logloss)
    return model
'''

PREDICT = '''
# 5. Predict
def predict(model, x):
    """Logarithms of the probabilities of a batch, as a NumPy array."""
    probabilities = model.predict(table(x))[:, 1:]
    return np.log(probabilities.as_data_frame().values)
'''

EVALUATE = '''
# 6. Evaluate
def evaluate(model, x, y):
    """Share of observations whose highest score is that of their label."""
    return np.mean(predict(model, x).argmax(axis=1) == y)
'''


def frame(parts: Parts) -> list[Section]:
    """The program around the network."""
    if parts.recipe is None or not isinstance(
        parts.recipe.loss, recipe.SoftmaxCrossEntropy
    ):
        raise Gap("of each row it learns a class, or one number")
    if type(parts.recipe.initializers.of("kernel")) is not recipe.GlorotUniform:
        raise Gap("no other initial weights than Glorot's are written for it")
    net = _network(parts)
    settings = OPTIMIZERS[type(parts.recipe.optimizer)](parts.recipe.optimizer)
    # Its dropout scales what is left in evaluation, where others do it in training.
    kept = (1, *(round(1 - rate, 12) for rate in net.rates))
    drops = any(net.rates)
    network: list[str | Line] = []
    for text in _arguments(net):
        network.append(Line(f"{text},", " ".join(net.hidden)))
    optimizer = [f"{name}={value!r}," for name, value in settings.items()]
    if not settings:
        optimizer = ["# It has no Adam: this is ADADELTA, with a step after each row."]
        optimizer.append("adaptive_rate=True,")
    function = parts.network.function
    head = common.head(parts, IMPORTS, (), first=())
    # There are no batches.
    constants = [f"EPOCHS = {parts.recipe.epochs}"]
    head = dataclasses.replace(head, slots={**head.slots, "constants": constants})
    names = ", ".join(f'"{name}"' for name in net.layers)
    return [
        head,
        common.load_data(parts),
        Section(
            "network",
            NETWORK,
            {
                "layers": f"({names})",
                "sizes": str(net.sizes),
                "kept": [*KEPT_ABOUT, f"KEPT = {kept}"] if drops else [],
                "function": function,
                "initial": INITIAL_KEPT if drops else INITIAL,
                "network": network,
                "optimizer": optimizer,
            },
        ),
        Section(
            "setup",
            SETUP,
            {
                "function": function,
                "kernels": KERNELS_KEPT if drops else KERNELS,
            },
        ),
        Section("train", TRAIN, {"function": function}),
        Section("predict", PREDICT),
        Section("evaluate", EVALUATE),
        _main(parts),
    ]


IMPORTS = (
    "import argparse",
    "from itertools import pairwise",
    "",
    "import h2o",
    "import numpy as np",
    "from h2o.estimators import H2ODeepLearningEstimator",
)
KEPT_ABOUT = (
    "# In evaluation, H2O multiplies by the share that dropout leaves: the kernels",
    "# that it is given are larger by as much.",
)
INITIAL = "[h2o.H2OFrame(kernel) for kernel in kernels]"
INITIAL_KEPT = "[h2o.H2OFrame(w / share) for w, share in zip(kernels, KEPT)]"
_FRAMES = "[model.weights(i).as_data_frame().values for i in range(len(LAYERS))]"
KERNELS = (f"kernels = {_FRAMES}",)
KERNELS_KEPT = (
    f"frames = {_FRAMES.replace('.as_data_frame().values', '')}",
    "kernels = [w.as_data_frame().values * n for w, n in zip(frames, KEPT)]",
)


def _arguments(net: _Network) -> Sequence[str]:
    drops = any(net.rates)
    ending = "WithDropout" if drops else ""
    rows = [f"hidden={[*net.sizes[1:-1]]}", f'activation="{net.activation}{ending}"']
    if drops:
        rows.append(f"hidden_dropout_ratios={[*net.rates]}")
    return rows


def _main(parts: Parts) -> Section:
    section = common.main(parts, "model", functional=True)
    rows = [
        str(row).replace("model, *_ = ", "model = ") for row in section.slots["train"]
    ]
    return dataclasses.replace(section, slots={**section.slots, "train": rows})


backend = Backend(
    name="h2o",
    title="H2O",
    home="https://docs.h2o.ai",
    since="2014",
    licence="Apache-2.0",
    language="Java",
    style="one estimator with arguments",
    storage=channels_first,
    env=ENV,
    barrier="lambda: sum(w.sum() for arrays in weights(model) for w in arrays)",
    rules=RULES,
    losses={recipe.SoftmaxCrossEntropy: "CrossEntropy"},
    optimizers=OPTIMIZERS,
    initializers={},
    frame=frame,
    missing=MISSING,
    object="{name}",
    assign="{name} = ",
    dtypes=("float32",),
    imports=(("import h2o", "h2o"),),
    log_scores=True,
    own_training=OWN_TRAINING,
    engine="H2O's training is its own, on a cluster of its own",
)

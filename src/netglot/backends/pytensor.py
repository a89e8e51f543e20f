"""PyTensor, Theano's heir: the same expressions, without convolution and pools."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from netglot import ops, recipe
from netglot.backend import Env, Need, Parts, Rule, Section, Shim, Site
from netglot.backends import common, theano
from netglot.backends.theano_helpers import both, cells
from netglot.source import Line, call, unless

# --- Facts ----------------------------------------------------------------------------

FLAGS = (
    "linker=cvm,base_compiledir={folder}/compiled,"
    "blas__ldflags=-L{folder}/lib -lopenblas"
)

ENV = Env(
    python=("3.11",),
    requirements=(
        "pytensor==3.0.7",
        "numpy==2.2.6",
        # The last one whose BLAS goes by its usual names.
        "scipy==1.13.1",
    ),
    imports=("pytensor",),
    # Through numba, its own choice, these networks take minutes to compile.
    variables={"PYTENSOR_FLAGS": FLAGS},
    hurry={"PYTENSOR_FLAGS": FLAGS + theano.IN_PYTHON},
    lock="pytensor",
    shims=(
        Shim("openblas", "PyTensor's C code calls the BLAS that is in SciPy", "build"),
    ),
    needs=(Need("g++", "PyTensor compiles what it computes", "apt install g++"),),
)

# --- Rules ----------------------------------------------------------------------------


def _matmul(s: Site) -> str:
    first, second = map(common.operand, s.arguments)
    return f"{first} @ {second}{'.mT' if s.op.transpose_b else ''}"


RULES: dict[type[ops.Op], Rule] = {
    **theano.rules("pt"),
    ops.MatMul: Rule(_matmul),
    ops.Elu: Rule(lambda s: call("elu", s.x, alpha=unless(1.0, s.op.alpha))),
    ops.Selu: common.function("selu"),
    ops.Sigmoid: common.function("pt.sigmoid"),
    ops.Softplus: common.function("pt.softplus"),
    ops.Softmax: Rule(lambda s: call("softmax", s.x, axis=s.axis(s.op.axis))),
    ops.LogSoftmax: Rule(lambda s: call("log_softmax", s.x, axis=s.axis(s.op.axis))),
}

LOSSES: dict[type[recipe.Loss], str] = {
    recipe.SoftmaxCrossEntropy: (
        "-log_softmax(scores, axis=1)[pt.arange(y.shape[0]), y].mean()"
    ),
    recipe.MeanSquaredError: "pt.sqr(scores - y).mean()",
}

# --- Missing --------------------------------------------------------------------------

_NO_CONVOLUTION = "PyTensor has no convolution of channels: it left Theano's behind"
_NO_POOLS = "PyTensor has no pools: it left Theano's behind"

MISSING: dict[type[ops.Op], str] = {
    ops.Conv: _NO_CONVOLUTION,
    ops.ConvTranspose: _NO_CONVOLUTION,
    ops.MaxPool: _NO_POOLS,
    ops.AvgPool: _NO_POOLS,
}

# --- The frame ------------------------------------------------------------------------

#: What PyTensor calls by another name than Theano.
NAMES = (
    (r"\bsrng\b", "rngs"),
    (r"(T|pt)\.addbroadcast", "pt.specify_broadcastable"),
    (r"T\.batched_dot", "pt.matmul"),
    (r"T\.nnet\.", "pt."),
    (r"\btheano\b", "pytensor"),
    (r"\bT\.", "pt."),
    (r" as T$", " as pt"),
)


def _translated(text: str) -> str:
    for pattern, name in NAMES:
        text = re.sub(pattern, name, text)
    return text


def _slot(value: str | Sequence[str | Line]) -> Any:
    if isinstance(value, str):
        return _translated(value)
    return [
        dataclasses.replace(line, text=_translated(line.text))
        if isinstance(line, Line)
        else _translated(line)
        for line in value
    ]


HELPERS = {
    name: text
    for name, text in theano.HELPERS.items()
    if name not in ("softmax", "log_softmax", "matmul")
    and not name.startswith(("conv", "avg_pool"))
}
# It is about to give up the updates that its scan gives beside the states.
HELPERS.update(both(cells(updates=False).values()))
HELPERS["dropout"] = '''
def dropout(x, rate, rngs):
    """In training, drop a share of the values and scale the others up to make up.

    The last of the generators is used up, and the one after it added.
    """
    if rngs is None:
        return x
    rng, kept = rngs[-1].bernoulli(1 - rate, size=x.shape)
    rngs.append(rng)
    return pt.where(kept, x / (1 - rate), 0)
'''
HELPERS["elu"] = '''
def elu(x, alpha=1.0):
    """What is positive, and an exponential curve to -alpha of what is not."""
    return pt.switch(x > 0, x, alpha * pt.expm1(x))
'''
HELPERS["selu"] = '''
def selu(x):
    """A scaled ELU; Klambauer et al., 2017."""
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    return scale * pt.switch(x > 0, x, alpha * pt.expm1(x))
'''


def frame(parts: Parts) -> list[Section]:
    """The program that Theano's would be, in PyTensor's names."""
    sections = []
    for section in theano.frame(parts):
        slots = {name: _slot(value) for name, value in section.slots.items()}
        text = _translated(section.text)
        sections.append(dataclasses.replace(section, text=text, slots=slots))
    return sections


backend = dataclasses.replace(
    theano.backend,
    name="pytensor",
    title="PyTensor",
    home="https://pytensor.readthedocs.io",
    since="2022",
    language="Python, C and numba",
    env=ENV,
    rules=RULES,
    losses=LOSSES,
    rewrites={},
    missing=MISSING,
    frame=frame,
    helpers=HELPERS,
    imports=(
        ("from pytensor.tensor.special import log_softmax", "log_softmax"),
        ("from pytensor.tensor.special import softmax", "softmax"),
    ),
    engine="PyTensor knows one process",
)

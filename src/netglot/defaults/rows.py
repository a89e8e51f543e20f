"""Which facts are wanted: every operation with its attributes, what they mean, and how
the probes find them.

Attributes are named, and values meant, as in ``ops.py`` and ``recipe.py`` where those
have them. A probe that leaves a row out is a fault that stands in the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """An attribute: what its value means, and the experiment that finds it.

    ``bites``: whether a network that is copied by hand computes something else where it
    differs. How evaluation is switched on does not.
    """

    meaning: str
    how: str
    bites: bool = True


_INITIAL = (
    "drawn 100,000 times or more at three shapes: the family by its largest value over "
    "its deviation, the scale by the size that it follows"
)
_EPSILON = "inputs of 1e-5 and 3e-5, far under its root: solved from the output"
_BIAS = Row("whether there is a bias", "the layer is made and its weights looked at")
_SCALE = Row("whether there is a trained factor", "the weights of a fresh layer")
_SHIFT = Row("whether there is a trained summand", "the weights of a fresh layer")
_MODE = Row(
    "what a fresh layer does that is told neither training nor evaluation",
    "called, and its output looked at",
)
_WINDOW = {
    "kernel": Row("size of the window", "left out"),
    "stride": Row("steps of the window", "how often it fits into 9"),
    "padding": Row("0, or same: as many outputs as inputs", "how often it fits into 9"),
    "ceil": Row(
        "whether a last window that does not fit is kept", "windows of 3 over 8, apart"
    ),
}
_RECURRENT = {
    "bias": Row("one vector, or one on each product", "the weights of a fresh layer"),
    "returns": Row("all steps, or the last one", "the shape of the output"),
    "order": Row(
        "axes of the input: batch N, steps T, features F",
        "only read in this order do the states fit a formula",
    ),
    "kernel_init": Row("distribution of the kernel", _INITIAL),
    "recurrent_init": Row("distribution of the recurrent kernel", _INITIAL),
    "bias_init": Row("distribution of the bias, the forget gate's apart", _INITIAL),
}
_READS = Row("scores, or probabilities", "compared with both formulas on five rows")
_REDUCTION = Row("over the batch", "compared with every reduction on five rows")
_FACTOR = Row("of the square", "compared with 1 and 1/2")
_RATE = Row("the learning rate", "one step on a gradient of 1")
_DECAY = Row("share of the weight taken off", "a step on a gradient of 0 from 1")
_DECAY_FORM = Row(
    "coupled: added to the gradient; decoupled: off the weight, times the rate",
    "steps on a gradient of 0 from 1, told a decay of 0.1",
)
_ADAM = {
    "rate": _RATE,
    "beta1": Row("share of the old mean kept", "steps on 1, -1"),
    "beta2": Row("share of the old mean square kept", "a step on 1000, then 20 on 0"),
    "epsilon": Row("keeps the divisor from 0", "two steps on 1e-7 and on 4e-7"),
    "epsilon_form": Row(
        "added after the bias correction, before it, or inside the root",
        "two steps on 1e-7 and on 4e-7: how it changes with step and gradient",
    ),
    "weight_decay": _DECAY,
    "decay_form": _DECAY_FORM,
    "amsgrad": Row(
        "whether the largest mean square is kept", "a step on 100, then 30 on 1"
    ),
}
_INITIALIZER = {"distribution": Row("of a matrix, told no scale", _INITIAL)}

_OPERATIONS: Mapping[str, Mapping[str, Row]] = {
    "Dense": {
        "bias": _BIAS,
        "kernel_init": Row("distribution of the kernel", _INITIAL),
        "bias_init": Row("distribution of the bias", _INITIAL),
    },
    "Conv": {
        "layout": Row("axes of the input", "which axis of the output has the channels"),
        "stride": Row("steps of the kernel", "the size that 9 becomes"),
        "padding": Row(
            "0, or same: as many outputs as inputs", "the size that 9 becomes"
        ),
        "flipped": Row(
            "whether the kernel is turned round (a convolution in mathematics)",
            "one window, compared with both sums",
        ),
        "bias": _BIAS,
        "kernel_init": Row("distribution of the kernel", _INITIAL),
        "bias_init": Row("distribution of the bias", _INITIAL),
    },
    "ConvTranspose": {
        "stride": Row("steps between the inputs", "the size that 9 becomes"),
        "padding": Row(
            "what is cropped: 0, or same: as many outputs as inputs times stride",
            "the size that 5 becomes",
        ),
        "output_size": Row(
            "of 4 inputs, a kernel of 3 and a stride of 2", "the shape of the output"
        ),
        "flipped": Row(
            "whether the kernel is turned round, against the adjoint of Conv",
            "the picture of a single 1",
        ),
        "bias": _BIAS,
        "kernel_init": Row(
            "distribution of the kernel; fan_in counts the channels that are read",
            _INITIAL,
        ),
    },
    "MaxPool": {
        **_WINDOW,
        "padding_wins": Row(
            "whether padding beats negative values", "values under 0, padded"
        ),
    },
    "AvgPool": {
        **_WINDOW,
        "count_padding": Row("whether padding counts in the divisor", "ones, padded"),
    },
    "BatchNorm": {
        "epsilon": Row("added to the variance", _EPSILON),
        "momentum": Row("share of the OLD running value kept", "one batch, from 0"),
        "unbiased": Row(
            "whether the running variance divides by n - 1", "one batch of 16, from 1"
        ),
        "scale": _SCALE,
        "shift": _SHIFT,
        "mode": _MODE,
    },
    "LayerNorm": {
        "epsilon": Row("added to the variance", _EPSILON),
        "axes": Row("that are normalised", "of which the output has a mean of 0"),
        "scale": _SCALE,
        "shift": _SHIFT,
    },
    "GroupNorm": {
        "groups": Row("number of groups", "64 channels, compared with 8, 16, 32, 64"),
        "epsilon": Row("added to the variance", _EPSILON),
        "scale": _SCALE,
        "shift": _SHIFT,
    },
    "RMSNorm": {
        "epsilon": Row("added to the mean square, in single precision", _EPSILON),
        "axes": Row("that are normalised", "of which the output has a square of 1"),
        "scale": _SCALE,
    },
    "Dropout": {
        "rate": Row("share dropped", "left out: the zeros of 100,000 ones"),
        "scaling": Row("of what is kept", "of ones, at a rate of 0.75"),
        "mode": _MODE,
        "switch": Row("how it is switched off", "done, and ones stay ones", False),
    },
    "Embedding": {
        "table_init": Row("distribution of the table", _INITIAL),
        "padding_index": Row(
            "row that stands for nothing", "gradient of row 0, or the mask it makes"
        ),
        "out_of_range": Row("of index 7 in a table of 5", "looked up, on a processor"),
    },
    "SimpleRNN": {
        "activation": Row("of the state", "random weights and steps, by formula"),
        **_RECURRENT,
    },
    "LSTM": {
        "gates": Row(
            "order along the weights: input, forget, memory (g), output",
            "random weights and steps, all 24 orders by formula",
        ),
        "forget_bias": Row("what the forget gate begins with", "a fresh layer"),
        **_RECURRENT,
    },
    "GRU": {
        "gates": Row(
            "order along the weights: reset, update (z), candidate (n)",
            "random weights and steps, all 6 orders by formula",
        ),
        "reset": Row(
            "whether the reset gate acts after or before the recurrent product",
            "random weights and steps, by formula",
        ),
        "keeps": Row(
            "which share of the old state is kept", "random weights and steps"
        ),
        **_RECURRENT,
    },
    "MultiHeadAttention": {
        "bias": _BIAS,
        "scale": Row("of the scores", "random weights and steps, by formula"),
        "order": _RECURRENT["order"],
        "dropout": Row("share of the weights dropped", "trained twice: equal or not"),
        "kernel_init": Row("distribution of the kernel of the query", _INITIAL),
    },
    "Gelu": {
        "approximate": Row(
            "by tanh; else by the error function", "six points, both formulas"
        )
    },
    "LeakyRelu": {
        "slope": Row("under 0, of what is named above", "three points"),
        "function_slope": Row(
            "under 0, of the function beside the layer", "three points"
        ),
    },
    "Elu": {"alpha": Row("factor under 0", "three points")},
    "Softmax": {
        "axis": Row(
            "the last, or the axis by the number of axes", "sums of random numbers"
        )
    },
    "Flatten": {
        "order": Row("of a picture, slowest first", "120 numbers, all orders"),
        "keeps_batch": Row("whether the first axis stays", "the shape of the output"),
    },
    "Upsample": {
        "scale": Row("factor", "left out"),
        "mode": Row("how values are found", "a row of four, all forms"),
        "bilinear": Row(
            "where pixels lie when it is bilinear", "a row of four, all forms"
        ),
    },
}
_LOSSES: Mapping[str, Mapping[str, Row]] = {
    "SoftmaxCrossEntropy": {
        "reads": _READS,
        "reduction": _REDUCTION,
        "label_smoothing": Row("share spread over all classes", "compared with 0.1"),
    },
    "MeanSquaredError": {"reduction": _REDUCTION, "factor": _FACTOR},
    "L2Loss": {"reduction": _REDUCTION, "factor": _FACTOR},
    "BinaryCrossEntropy": {
        "reads": _READS,
        "reduction": _REDUCTION,
        "largest": Row(
            "the largest loss of one value", "probability 0, or score -10,000, for a 1"
        ),
    },
}
_OPTIMIZERS: Mapping[str, Mapping[str, Row]] = {
    "SGD": {
        "rate": _RATE,
        "momentum": Row("share of the velocity kept", "steps on 1, 0"),
        "dampening": Row(
            "share of the gradient kept from the velocity (0: no unit gain)",
            "steps on 0, 1 at a momentum of 0.9",
        ),
        "nesterov": Row("whether it looks ahead", "a step on 1 at a momentum of 0.9"),
        "nesterov_form": Row("of the step", "steps on 1, 0 at a momentum of 0.9"),
        "rate_enters": Row(
            "where the rate is multiplied: it matters once the rate changes",
            "steps on 1, 0 at rates of 0.25, 0.5 and a momentum of 0.9",
        ),
        "weight_decay": _DECAY,
        "decay_form": _DECAY_FORM,
    },
    "Adam": _ADAM,
    "AdamW": _ADAM,
    "RMSprop": {
        "rate": Row("the learning rate", "two steps on a gradient of 1"),
        "decay": Row("share of the old mean square kept", "two steps on 1"),
        "epsilon": Row("keeps the divisor from 0", "steps on 1e-7 to 1e-4"),
        "epsilon_form": Row("inside or outside the root", "steps on 1e-7 to 1e-4"),
        "momentum": Row("share of the velocity kept", "steps on 1, 0"),
        "centered": Row("whether the mean is taken off", "steps on 1, -2, 3"),
        "bias_correction": Row("of the mean square", "two steps on 1"),
    },
    "Adagrad": {
        "rate": Row("the learning rate", "two steps on a gradient of 1"),
        "accumulator": Row("what the sum of squares begins with", "two steps on 1"),
        "epsilon": Row(
            "keeps the divisor from 0", "steps on 1e-10 to 1e-3, told to begin with 0"
        ),
        "epsilon_form": Row(
            "inside or outside the root", "steps on 1e-10 to 1e-3, told to begin with 0"
        ),
    },
}
_INITIALIZERS: Mapping[str, Mapping[str, Row]] = {
    "Normal": _INITIALIZER,
    "Uniform": _INITIALIZER,
    "TruncatedNormal": {
        **_INITIALIZER,
        "cut": Row("where it is cut, told a deviation of 0.1", "four million values"),
    },
    "GlorotUniform": _INITIALIZER,
    "GlorotNormal": _INITIALIZER,
    "HeUniform": _INITIALIZER,
    "HeNormal": _INITIALIZER,
    "Orthogonal": _INITIALIZER,
}

#: What has a table, under the headings of the list.
KINDS: Mapping[str, Mapping[str, Mapping[str, Row]]] = {
    "operations": _OPERATIONS,
    "losses": _LOSSES,
    "optimizers": _OPTIMIZERS,
    "initializers": _INITIALIZERS,
}

#: Operation -> attribute -> what is asked.
ROWS: Mapping[str, Mapping[str, Row]] = {
    name: rows for kind in KINDS.values() for name, rows in kind.items()
}

"""The mistakes of the exam: what is changed in which file, and what must be said.

Every entry is one mistake that people make when they carry a network from one framework
to another, planted in every framework that can make it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

#: Old text and new text, one pair or several.
Edits = tuple[str, str] | tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Base:
    """A network that is written in several frameworks, and what it is given.

    ``shape`` is that of its input in canonical order (N, C, H, W); indices are drawn
    under ``vocabulary``. ``shapes`` are further ones that correct pairs are given.
    ``build`` names what makes it, where that is not ``Net`` or ``build``.
    """

    name: str
    shape: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...] = ()
    vocabulary: int = 0
    frameworks: tuple[str, ...] = ("pytorch", "flax", "keras")
    file: str = ""
    build: str = ""
    keep: bool = False
    steps: int = 0


BASES = {
    base.name: base
    for base in (
        Base(
            "images",
            (3, 3, 20, 27),
            ((2, 3, 20, 27), (5, 3, 20, 27)),
            frameworks=("pytorch", "flax", "keras", "linen"),
        ),
        Base("residual", (2, 3, 25, 34), ((3, 3, 17, 22), (2, 3, 21, 30))),
        Base("text", (4, 9), ((3, 7), (5, 6)), vocabulary=49),
        Base(
            "gates",
            (4, 7),
            ((3, 6), (5, 9)),
            vocabulary=40,
            frameworks=("pytorch", "keras"),
        ),
        Base("attention", (3, 7), ((2, 8), (4, 5)), vocabulary=45),
        Base("scores", (3, 6, 10), ((2, 7, 10), (4, 5, 10))),
        Base("autoencoder", (2, 2, 12, 20), ((3, 2, 12, 20), (1, 2, 12, 20))),
        *(
            Base(name, (8, 11), ((5, 11), (9, 11)), file="mlp", build=name, steps=3)
            for name in ("adam", "adamw", "sgd", "regression")
        ),
        Base(
            "rmsprop",
            (8, 11),
            ((5, 11), (9, 11)),
            frameworks=("pytorch", "flax"),
            file="mlp",
            build="rmsprop",
            steps=3,
        ),
        Base(
            "ported images",
            (3, 2, 6, 8),
            ((2, 2, 6, 8), (5, 2, 6, 8)),
            file="ported",
            build="images",
            keep=True,
        ),
        Base(
            "ported lstm",
            (4, 7),
            ((3, 6), (5, 8)),
            vocabulary=30,
            file="ported",
            build="memory",
            keep=True,
        ),
        Base(
            "ported gru",
            (4, 7),
            ((3, 6), (5, 8)),
            vocabulary=30,
            frameworks=("pytorch", "keras"),
            file="ported",
            build="gates",
            keep=True,
        ),
    )
}


@dataclass(frozen=True)
class Mistake:
    """One mistake in the files of one network.

    ``layer`` is a pattern of the name of the layer that has it, in either framework;
    ``cause`` one of the words that explain it. ``edits`` are by framework; without old
    text it is the framework itself that does otherwise. ``lefts`` are the frameworks
    that the correct side may be of (none: any); ``steps`` are taken in training.
    """

    kind: str
    layer: str
    cause: str
    edits: Mapping[str, Edits] = field(default_factory=dict)
    base: str = ""
    lefts: tuple[str, ...] = ()
    steps: int = 0

    def changes(self, framework: str) -> tuple[tuple[str, str], ...]:
        """The edits of a framework's file."""
        given = self.edits[framework]
        if given and isinstance(given[0], str):
            return (given,)  # type: ignore[return-value]
        return given  # type: ignore[return-value]


def _m(
    kind: str,
    layer: str,
    cause: str,
    *,
    lefts: tuple[str, ...] = (),
    steps: int = 0,
    **edits: Edits,
) -> Mistake:
    return Mistake(kind, layer, cause, edits, "", lefts, steps)


def _in(base: str, *found: Mistake) -> Iterator[Mistake]:
    """Mistakes in a network; steps as many as its own at least."""
    steps = BASES[base].steps
    for mistake in found:
        yield replace(mistake, base=base, steps=max(mistake.steps, steps))


POOL = r".*pool.*"
RELU = r".*(re_?lu|max|activation).*"
DROPOUT = r".*dropout.*"


def mistakes() -> tuple[Mistake, ...]:
    """All of them, in a fixed order."""
    return (
        *_in("images", *IMAGES),
        *_in("residual", *RESIDUAL),
        *_in("text", *TEXT),
        *_in("gates", *GATES),
        *_in("attention", *ATTENTION),
        *_in("scores", *SCORES),
        *_in("autoencoder", *AUTOENCODER),
        *_in("adam", *ADAM),
        *_in("adamw", *ADAMW),
        *_in("sgd", *SGD),
        *_in("rmsprop", *RMSPROP),
        *_in("regression", *REGRESSION),
        *_in("ported images", *PORTED_IMAGES),
        *_in("ported lstm", *PORTED_LSTM),
        *_in("ported gru", *PORTED_GRU),
    )


IMAGES = (
    _m(
        "padding of stride 2 before, not after",
        "conv2|pad.*",
        "[Pp]ad",
        pytorch=("(1, 1, 0, 1)", "(1, 1, 1, 0)"),
        flax=("strides=2, rngs", "strides=2, padding=((1, 0), (1, 1)), rngs"),
        keras=(
            'x = layers.Conv2D(12, 3, strides=2, padding="same", name="conv2")(x)',
            "x = layers.ZeroPadding2D(((1, 0), (1, 1)))(x)\n"
            '    x = layers.Conv2D(12, 3, strides=2, name="conv2")(x)',
        ),
    ),
    _m(
        "padding of stride 2 on both sides",
        "conv2|pad.*",
        "[Pp]ad",
        pytorch=(
            ("8, 12, 3, stride=2", "8, 12, 3, stride=2, padding=1"),
            ("F.pad(x, (1, 1, 0, 1))", "x"),
        ),
        flax=("strides=2, rngs", "strides=2, padding=1, rngs"),
        keras=(
            'x = layers.Conv2D(12, 3, strides=2, padding="same", name="conv2")(x)',
            "x = layers.ZeroPadding2D(1)(x)\n"
            '    x = layers.Conv2D(12, 3, strides=2, name="conv2")(x)',
        ),
        linen=("strides=2, name", "strides=2, padding=1, name"),
    ),
    _m(
        "dilation forgotten",
        "conv3",
        "dilation",
        pytorch=(', padding="same", dilation=2', ', padding="same"'),
        flax=(", kernel_dilation=2", ""),
        keras=("dilation_rate=2, ", ""),
        linen=("kernel_dilation=2, ", ""),
    ),
    _m(
        "epsilon of batch norm",
        "bn1",
        "epsilon 0.001 on the right, 1e-05 on the left",
        pytorch=("BatchNorm2d(8)", "BatchNorm2d(8, eps=1e-3)"),
        flax=("BatchNorm(8, ", "BatchNorm(8, epsilon=1e-3, "),
        keras=('epsilon=1e-5, name="bn1"', 'name="bn1"'),
        linen=('name="bn1"', 'epsilon=1e-3, name="bn1"'),
    ),
    _m(
        "momentum of batch norm",
        "bn1",
        "momentum",
        steps=1,
        pytorch=("BatchNorm2d(8)", "BatchNorm2d(8, momentum=0.9)"),
        flax=("BatchNorm(8, momentum=0.9", "BatchNorm(8, momentum=0.1"),
        keras=('momentum=0.9, epsilon=1e-5, name="bn1"', 'epsilon=1e-5, name="bn1"'),
        linen=('momentum=0.9, name="bn1"', 'name="bn1"'),
    ),
    _m(
        "running variance biased or not",
        "bn1",
        "biased",
        steps=1,
        lefts=("pytorch",),
        flax=(),
        keras=(),
        linen=(),
    ),
    _m(
        "batch statistics in evaluation",
        "bn1",
        "statistics of the batch|in training",
        pytorch=("x = (x", "self.bn1.train()\n        x = (x"),
        flax=("self.bn1(self.conv1(x))", "self.bn1(self.conv1(x), False)"),
        linen=(
            'nn.BatchNorm(use_running_average=not train, momentum=0.9, name="bn1")',
            'nn.BatchNorm(use_running_average=False, momentum=0.9, name="bn1")',
        ),
    ),
    _m(
        "running statistics in training",
        "bn1",
        "running statistics|in evaluation",
        steps=1,
        pytorch=("x = (x", "self.bn1.eval()\n        x = (x"),
        flax=("self.bn1(self.conv1(x))", "self.bn1(self.conv1(x), True)"),
        linen=(
            'nn.BatchNorm(use_running_average=not train, momentum=0.9, name="bn1")',
            'nn.BatchNorm(use_running_average=True, momentum=0.9, name="bn1")',
        ),
    ),
    _m(
        "batch norm over the wrong axis",
        "bn1",
        "axis|axes",
        flax=("BatchNorm(8, ", "BatchNorm(20, axis=1, "),
        keras=('name="bn1"', 'axis=1, name="bn1"'),
    ),
    _m(
        "batch norm missing",
        "bn2",
        "missing",
        pytorch=("self.bn2(x)", "x"),
        flax=("self.bn2(self.conv2(x))", "self.conv2(x)"),
        keras=(
            "x = layers.BatchNormalization("
            'momentum=0.9, epsilon=1e-5, name="bn2")(x)\n',
            "\n",
        ),
    ),
    _m(
        "norm after the activation, not before",
        f"bn1|{RELU}",
        "[Rr]elu|order",
        pytorch=("F.relu(self.bn1(self.conv1(x)))", "self.bn1(F.relu(self.conv1(x)))"),
        flax=(
            "nnx.relu(self.bn1(self.conv1(x)))",
            "self.bn1(nnx.relu(self.conv1(x)))",
        ),
        keras=(
            ('padding="same", name="conv1"', 'padding="same", name="conv1"'),
            ('name="conv1")(x)\n', 'name="conv1")(x)\n    x = layers.ReLU()(x)\n'),
            ('name="bn1")(x)\n    x = layers.ReLU()(x)\n', 'name="bn1")(x)\n'),
        ),
    ),
    _m(
        "slope of leaky relu",
        "leaky_?re_?lu.*",
        "slope",
        pytorch=("leaky_relu(self.bn2(x), 0.2)", "leaky_relu(self.bn2(x))"),
        flax=(
            "nnx.leaky_relu(self.bn2(self.conv2(x)), 0.2)",
            "nnx.leaky_relu(self.bn2(self.conv2(x)))",
        ),
        keras=("LeakyReLU(negative_slope=0.2)", "LeakyReLU()"),
        linen=("nn.leaky_relu(x, 0.2)", "nn.leaky_relu(x)"),
    ),
    _m(
        "alpha of elu",
        "elu.*|conv3.*",
        "alpha",
        pytorch=("F.elu(self.conv3(x))", "F.elu(self.conv3(x), 0.5)"),
        flax=("nnx.elu(self.conv3(x))", "nnx.elu(self.conv3(x), 0.5)"),
        keras=('activation="elu"', "activation=layers.ELU(alpha=0.5)"),
    ),
    _m(
        "activation missing",
        RELU,
        "(Relu|relu).* missing|left out",
        pytorch=("F.relu(self.bn1(self.conv1(x)))", "self.bn1(self.conv1(x))"),
        flax=("nnx.relu(self.bn1(self.conv1(x)))", "self.bn1(self.conv1(x))"),
        keras=("    x = layers.ReLU()(x)\n", ""),
        linen=("        x = nn.relu(x)\n", ""),
    ),
    _m(
        "one activation too many",
        f"fc2|{RELU}",
        "[Rr]elu",
        pytorch=("return self.fc2(x)", "return F.relu(self.fc2(x))"),
        flax=("return self.fc2(x)", "return nnx.relu(self.fc2(x))"),
        keras=('5, name="fc2"', '5, activation="relu", name="fc2"'),
    ),
    _m(
        "relu6 for relu",
        f"{RELU}|fc1.*",
        "Clip|relu6",
        pytorch=("F.relu(self.fc1(x))", "F.relu6(self.fc1(x))"),
        flax=("nnx.relu(self.fc1(x))", "nnx.relu6(self.fc1(x))"),
        keras=('16, activation="relu"', '16, activation="relu6"'),
    ),
    _m(
        "average for maximum pooling",
        POOL,
        "AvgPool",
        pytorch=("F.max_pool2d(x, 2)", "F.avg_pool2d(x, 2)"),
        flax=("nnx.max_pool(x, (2, 2)", "nnx.avg_pool(x, (2, 2)"),
        keras=("MaxPooling2D(2)", "AveragePooling2D(2)"),
        linen=("nn.max_pool(x, (2, 2)", "nn.avg_pool(x, (2, 2)"),
    ),
    _m(
        "maximum for average pooling",
        POOL,
        "MaxPool",
        pytorch=(
            "F.avg_pool2d(x, 3, 2, padding=1, count_include_pad=False)",
            "F.max_pool2d(x, 3, 2, padding=1)",
        ),
        flax=(
            'nnx.avg_pool(\n            x, (3, 3), strides=(2, 2), padding="SAME", '
            "count_include_pad=False\n        )",
            'nnx.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")',
        ),
        keras=("AveragePooling2D", "MaxPooling2D"),
    ),
    _m(
        "padding counted in the mean",
        POOL,
        "count",
        pytorch=(", count_include_pad=False", ""),
        flax=(", count_include_pad=False", ""),
        linen=(", count_include_pad=False", ""),
        lefts=("pytorch", "flax", "keras"),
    ),
    _m(
        "window of the pooling",
        POOL,
        "kernel",
        pytorch=("max_pool2d(x, 2)", "max_pool2d(x, 3, 2, padding=1)"),
        flax=(
            "nnx.max_pool(x, (2, 2), strides=(2, 2))",
            'nnx.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")',
        ),
        keras=("MaxPooling2D(2)", 'MaxPooling2D(3, strides=2, padding="same")'),
    ),
    _m(
        "bias missing",
        "conv2",
        "bias",
        pytorch=("8, 12, 3, stride=2", "8, 12, 3, stride=2, bias=False"),
        flax=("strides=2, rngs", "strides=2, use_bias=False, rngs"),
        keras=('name="conv2"', 'use_bias=False, name="conv2"'),
        linen=('name="conv2"', 'use_bias=False, name="conv2"'),
    ),
    _m(
        "dropout active in evaluation",
        DROPOUT,
        "dropout is active",
        pytorch=(
            "self.dropout(F.relu(self.fc1(x)))",
            "F.dropout(F.relu(self.fc1(x)), 0.4)",
        ),
        flax=(
            "self.dropout(nnx.relu(self.fc1(x)))",
            "self.dropout(nnx.relu(self.fc1(x)), deterministic=False)",
        ),
    ),
    _m(
        "rate of dropout",
        DROPOUT,
        "rate",
        pytorch=("Dropout(0.4)", "Dropout(0.6)"),
        flax=("Dropout(0.4", "Dropout(0.6"),
        keras=("Dropout(0.4)", "Dropout(0.6)"),
        linen=("Dropout(0.4", "Dropout(0.6"),
    ),
    _m(
        "dropout missing",
        DROPOUT,
        "dropout",
        pytorch=("self.dropout(F.relu(self.fc1(x)))", "F.relu(self.fc1(x))"),
        flax=("self.dropout(nnx.relu(self.fc1(x)))", "nnx.relu(self.fc1(x))"),
        keras=("    x = layers.Dropout(0.4)(x)\n", ""),
        linen=("        x = nn.Dropout(0.4, deterministic=not train)(x)\n", ""),
    ),
    _m(
        "number of units",
        "fc1",
        "features 18",
        pytorch=(("120, 16", "120, 18"), ("Linear(16, 5)", "Linear(18, 5)")),
        flax=(("120, 16", "120, 18"), ("Linear(16, 5", "Linear(18, 5")),
        keras=("Dense(16", "Dense(18"),
        linen=("Dense(16", "Dense(18"),
    ),
    _m(
        "a layer that does not fit",
        "",
        r"raised after (fc1|re_?lu|dropout)",
        pytorch=("Linear(16, 5)", "Linear(15, 5)"),
        flax=("Linear(16, 5", "Linear(15, 5"),
    ),
    _m(
        "input not normalised",
        ".*(sub|div|mul|scale|rescaling).*|conv1",
        "Scale|factor",
        pytorch=("        x = (x - 0.45) / 0.22\n", ""),
        flax=("        x = (x - 0.45) / 0.22\n", ""),
        keras=(
            "    x = layers.Rescaling(1 / 0.22, offset=-0.45 / 0.22)(inputs)\n"
            '    x = layers.Conv2D(8, 5, padding="same", name="conv1")(x)\n',
            '    x = layers.Conv2D(8, 5, padding="same", name="conv1")(inputs)\n',
        ),
        linen=("        x = (x - 0.45) / 0.22\n", ""),
    ),
    _m(
        "mean of the input",
        ".*(sub|div|mul|scale|rescaling).*",
        "offset",
        pytorch=("x - 0.45", "x - 0.5"),
        flax=("x - 0.45", "x - 0.5"),
        keras=("-0.45", "-0.5"),
    ),
    _m(
        "deviation of the input multiplied",
        ".*(sub|div|mul|scale|rescaling).*",
        "factor|divides",
        pytorch=("(x - 0.45) / 0.22", "(x - 0.45) * 0.22"),
        flax=("(x - 0.45) / 0.22", "(x - 0.45) * 0.22"),
        keras=("1 / 0.22, offset=-0.45 / 0.22", "0.22, offset=-0.45 * 0.22"),
    ),
    _m(
        "channels reversed (RGB, BGR)",
        ".*(flip|rev|item|sub|rescaling|slice).*|conv1",
        "revers|Slice|step -1",
        pytorch=("x = (x - 0.45)", "x = (x.flip(1) - 0.45)"),
        flax=("x = (x - 0.45)", "x = (x[..., ::-1] - 0.45)"),
        keras=(
            "offset=-0.45 / 0.22)(inputs)",
            "offset=-0.45 / 0.22)(inputs[..., ::-1])",
        ),
    ),
    _m(
        "a layer in bfloat16",
        "fc1",
        "bfloat16",
        flax=(
            ("from flax import nnx", "from flax import nnx\nimport jax.numpy as jnp"),
            ("120, 16, rngs", "120, 16, dtype=jnp.bfloat16, rngs"),
            (
                "nnx.relu(self.fc1(x))",
                "nnx.relu(self.fc1(x).astype(x.dtype))",
            ),
        ),
        keras=(
            'activation="relu", name="fc1"',
            'activation="relu", dtype="bfloat16", name="fc1"',
        ),
    ),
    _m(
        "softmax before a loss of scores",
        "fc2|softmax.*",
        "[Ss]oftmax",
        pytorch=("return self.fc2(x)", "return F.softmax(self.fc2(x), dim=1)"),
        flax=("return self.fc2(x)", "return nnx.softmax(self.fc2(x))"),
        keras=('5, name="fc2"', '5, activation="softmax", name="fc2"'),
        linen=(
            'return nn.Dense(5, name="fc2")(x)',
            'return nn.softmax(nn.Dense(5, name="fc2")(x))',
        ),
    ),
    _m(
        "normalised twice",
        ".*(sub|div|mul|scale|rescaling).*|conv1",
        "twice|Scale|factor",
        pytorch=("(x - 0.45) / 0.22", "((x - 0.45) / 0.22 - 0.45) / 0.22"),
        flax=("(x - 0.45) / 0.22", "((x - 0.45) / 0.22 - 0.45) / 0.22"),
    ),
)

RESIDUAL = (
    _m(
        "batch statistics in evaluation",
        "norm",
        "statistics of the batch|in training",
        pytorch=("self.norm(self.pool2", "self.norm.train()(self.pool2"),
        flax=("self.norm(x)", "self.norm(x, use_running_average=False)"),
        keras=("training=training", "training=True"),
    ),
    _m(
        "running statistics in training",
        "norm",
        "running statistics|in evaluation",
        steps=1,
        pytorch=("self.norm(self.pool2", "self.norm.eval()(self.pool2"),
        flax=("self.norm(x)", "self.norm(x, use_running_average=True)"),
        keras=("training=training", "training=False"),
    ),
    _m(
        "dropout active in evaluation",
        f"head|{DROPOUT}|.*(cat|concat).*",
        "dropout is active",
        pytorch=("return self.head(x)", "return self.head(F.dropout(x, 0.3))"),
        keras=(
            (
                "        self.head = layers",
                "        self.drop = layers.Dropout(0.3)\n        self.head = layers",
            ),
            (
                "self.head(self.join([self.mean(x), self.most(x)]))",
                "self.head(\n            self.drop(self.join([self.mean(x), "
                "self.most(x)]), training=True)\n        )",
            ),
        ),
    ),
    _m(
        "dropout of a function in evaluation",
        f"head|{DROPOUT}|.*(cat|concat).*",
        "dropout is active",
        pytorch=("self.head(x)", "self.head(torch.dropout(x, 0.3, True))"),
        keras=(
            "self.head(self.join([self.mean(x), self.most(x)]))",
            "self.head(\n            keras.random.dropout("
            "self.join([self.mean(x), self.most(x)]), 0.3)\n        )",
        ),
    ),
    _m(
        "padding missing",
        "stem|pad.*|edge",
        "[Pp]ad",
        pytorch=("stride=2, padding=2", "stride=2"),
        flax=("strides=2, padding=2", 'strides=2, padding="VALID"'),
        keras=("self.stem(self.edge(x))", "self.stem(x)"),
    ),
    _m(
        "same for symmetric padding",
        "stem",
        "[Pp]ad",
        flax=("strides=2, padding=2", "strides=2"),
        keras=(
            ("self.stem(self.edge(x))", "self.stem(x)"),
            ("12, 5, strides=2", '12, 5, strides=2, padding="same"'),
        ),
    ),
    _m(
        "stride",
        "stem",
        "stride",
        pytorch=("5, stride=2, padding=2", "5, stride=1, padding=2"),
        flax=("strides=2, padding=2", "strides=1, padding=2"),
        keras=("12, 5, strides=2", "12, 5, strides=1"),
    ),
    _m(
        "size of the kernel",
        "stem",
        "kernel",
        pytorch=("3, 12, 5, stride=2, padding=2", "3, 12, 3, stride=2, padding=1"),
        flax=("(5, 5), strides=2, padding=2", "(3, 3), strides=2, padding=1"),
        keras=(("12, 5, strides=2", "12, 3, strides=2"), ("ding2D(2)", "ding2D(1)")),
    ),
    _m(
        "window and stride of a pooling swapped",
        POOL,
        "kernel|stride",
        pytorch=("MaxPool2d(3, stride=2, padding=1)", "MaxPool2d(2, stride=3)"),
        flax=(
            "(3, 3), strides=(2, 2), padding=((1, 1), (1, 1))",
            "(2, 2), strides=(3, 3)",
        ),
        keras=('MaxPooling2D(3, strides=2, padding="same")', "MaxPooling2D(2, 3)"),
    ),
    _m(
        "stride of a pooling left at its default",
        POOL,
        "stride",
        pytorch=("AvgPool2d(2)", "AvgPool2d(2, 1)"),
        flax=("(2, 2), strides=(2, 2))\n        x = nnx", "(2, 2))\n        x = nnx"),
        keras=("AveragePooling2D(2)", "AveragePooling2D(2, 1)"),
    ),
    _m(
        "ceil mode",
        POOL,
        "ceil|padding",
        pytorch=("AvgPool2d(2)", "AvgPool2d(2, ceil_mode=True)"),
        flax=(
            "nnx.avg_pool(self.wide(x), (2, 2), strides=(2, 2))",
            'nnx.avg_pool(self.wide(x), (2, 2), strides=(2, 2), padding="SAME")',
        ),
        keras=("AveragePooling2D(2)", 'AveragePooling2D(2, padding="same")'),
    ),
    _m(
        "groups of group norm",
        "block1.norm1",
        "groups",
        pytorch=("self.norm1 = nn.GroupNorm(4", "self.norm1 = nn.GroupNorm(6"),
        flax=(
            "norm1 = nnx.GroupNorm(width, num_groups=4",
            "norm1 = nnx.GroupNorm(width, num_groups=6",
        ),
        keras=(
            "norm1 = layers.GroupNormalization(4",
            "norm1 = layers.GroupNormalization(6",
        ),
    ),
    _m(
        "instance norm for group norm",
        "block1.norm2",
        "groups",
        pytorch=(
            "norm2 = nn.GroupNorm(4, width)",
            "norm2 = nn.InstanceNorm2d(width, affine=True)",
        ),
        flax=(
            "norm2 = nnx.GroupNorm(width, num_groups=4, ",
            "norm2 = nnx.InstanceNorm(width, ",
        ),
        keras=(
            "norm2 = layers.GroupNormalization(4",
            "norm2 = layers.GroupNormalization(-1",
        ),
    ),
    _m(
        "epsilon of group norm",
        "block1.norm1",
        "epsilon",
        pytorch=(
            "norm1 = nn.GroupNorm(4, width)",
            "norm1 = nn.GroupNorm(4, width, eps=1e-3)",
        ),
        flax=(
            "self.norm1 = nnx.GroupNorm(width, num_groups=4, epsilon=1e-5",
            "self.norm1 = nnx.GroupNorm(width, num_groups=4, epsilon=1e-6",
        ),
        keras=('4, epsilon=1e-5, name="norm1"', '4, name="norm1"'),
    ),
    _m(
        "layer norm for group norm",
        "block1.norm1",
        "LayerNorm|axes|axis|features|groups",
        flax=(
            "norm1 = nnx.GroupNorm(width, num_groups=4, ",
            "norm1 = nnx.LayerNorm(width, ",
        ),
        keras=(
            "norm1 = layers.GroupNormalization(4, ",
            "norm1 = layers.LayerNormalization(",
        ),
    ),
    _m(
        "batch norm for group norm",
        "block1.norm1",
        "BatchNorm",
        pytorch=("norm1 = nn.GroupNorm(4, width)", "norm1 = nn.BatchNorm2d(width)"),
        flax=(
            "norm1 = nnx.GroupNorm(width, num_groups=4, ",
            "norm1 = nnx.BatchNorm(width, ",
        ),
        keras=(
            "norm1 = layers.GroupNormalization(4, ",
            "norm1 = layers.BatchNormalization(",
        ),
    ),
    _m(
        "residual missing",
        "block1.*",
        "Add.* missing|first|second",
        pytorch=("return x + y", "return y"),
        flax=("return x + y", "return y"),
        keras=("return x + y", "return y"),
    ),
    _m(
        "residual after the norm",
        "block1.*",
        "norm1",
        pytorch=(
            "        y = self.conv1(F.silu(self.norm1(x)))",
            "        x = self.norm1(x)\n        y = self.conv1(F.silu(x))",
        ),
        flax=(
            "        y = self.conv1(nnx.silu(self.norm1(x)))",
            "        x = self.norm1(x)\n        y = self.conv1(nnx.silu(x))",
        ),
        keras=(
            "        y = self.conv1(keras.activations.silu(self.norm1(x)))",
            "        x = self.norm1(x)\n"
            "        y = self.conv1(keras.activations.silu(x))",
        ),
    ),
    _m(
        "relu for silu",
        r"block1.*silu.*|block1.*relu.*",
        "Relu|relu",
        pytorch=("F.silu(self.norm1(x))", "F.relu(self.norm1(x))"),
        flax=("nnx.silu(self.norm1(x))", "nnx.relu(self.norm1(x))"),
        keras=("silu(self.norm1(x))", "relu(self.norm1(x))"),
    ),
    _m(
        "groups of a convolution",
        "wide",
        "groups",
        pytorch=("padding=1, groups=3", "padding=1, groups=2"),
        flax=("feature_group_count=3", "feature_group_count=2"),
        keras=("groups=3", "groups=2"),
    ),
    _m(
        "order of a concatenation",
        ".*(cat|concat).*|head",
        "order|reads",
        pytorch=("x.mean((2, 3)), x.amax((2, 3))", "x.amax((2, 3)), x.mean((2, 3))"),
        flax=(
            "x.mean(axis=(1, 2)), x.max(axis=(1, 2))",
            "x.max(axis=(1, 2)), x.mean(axis=(1, 2))",
        ),
        keras=("self.mean(x), self.most(x)", "self.most(x), self.mean(x)"),
    ),
    _m(
        "global maximum for the mean",
        ".*(mean|global|pool|max).*",
        "GlobalMaxPool",
        pytorch=("x.mean((2, 3)), ", "x.amax((2, 3)), "),
        flax=("x.mean(axis=(1, 2)), ", "x.max(axis=(1, 2)), "),
        keras=("self.mean(x), ", "self.most(x), "),
    ),
    _m(
        "global sum for the mean",
        ".*(mean|global|pool|sum).*",
        "sum|Scale|factor",
        pytorch=("x.mean((2, 3)), ", "x.sum((2, 3)), "),
        flax=("x.mean(axis=(1, 2)), ", "x.sum(axis=(1, 2)), "),
        keras=("self.mean(x), ", "keras.ops.sum(x, axis=(1, 2)), "),
    ),
    _m(
        "a block missing",
        "block2.*",
        "missing",
        pytorch=("self.block2(self.block1(x))", "self.block1(x)"),
        flax=("self.block2(self.block1(x))", "self.block1(x)"),
        keras=("self.block2(self.block1(x))", "self.block1(x)"),
    ),
    _m(
        "one bias too many",
        "block1.conv1",
        "bias",
        pytorch=("padding=1, bias=False", "padding=1"),
        flax=("use_bias=False, ", ""),
        keras=("use_bias=False, ", ""),
    ),
    _m(
        "pooling after the norm, not before",
        "pool2|norm|.*(avg|average).*",
        "order|pool|Pool",
        pytorch=(
            "F.relu(self.norm(self.pool2(self.wide(x))))",
            "self.pool2(F.relu(self.norm(self.wide(x))))",
        ),
        keras=(
            (
                "x = self.norm(self.pool2(self.wide(x)), training=training)",
                "x = self.norm(self.wide(x), training=training)",
            ),
            (
                "x = keras.activations.relu(x)",
                "x = self.pool2(keras.activations.relu(x))",
            ),
        ),
    ),
)

TEXT = (
    _m(
        "first step for the last",
        ".*item.*|.*slice.*|.*reshape.*|.*squeeze.*",
        "first step|start 0",
        pytorch=("x[:, -1]", "x[:, 0]"),
        flax=("x[:, -1]", "x[:, 0]"),
        keras=("x[:, -1]", "x[:, 0]"),
    ),
    _m(
        "mean over time for the last step",
        ".*item.*|.*slice.*|.*reshape.*|.*squeeze.*|.*mean.*|fc",
        "[Mm]ean",
        pytorch=("x[:, -1]", "x.mean(1)"),
        flax=("x[:, -1]", "x.mean(1)"),
        keras=("x = x[:, -1]", "x = layers.GlobalAveragePooling1D()(x)"),
    ),
    _m(
        "direction of time",
        "rnn.*|.*flip.*",
        "backward|revers|step -1|Slice",
        pytorch=("self.rnn(x)", "self.rnn(x.flip(1))"),
        flax=(
            "SimpleCell(7, 6, rngs=rngs))",
            "SimpleCell(7, 6, rngs=rngs), reverse=True)",
        ),
        keras=(
            'return_sequences=True, name="rnn"',
            'return_sequences=True, go_backwards=True, name="rnn"',
        ),
    ),
    _m(
        "activation of a recurrent layer",
        "rnn",
        "activation",
        pytorch=(
            "nn.RNN(7, 6, batch_first=True)",
            'nn.RNN(7, 6, nonlinearity="relu", batch_first=True)',
        ),
        flax=("SimpleCell(7, 6, rngs", "SimpleCell(7, 6, activation_fn=nnx.relu, rngs"),
        keras=('name="rnn"', 'activation="relu", name="rnn"'),
    ),
    _m(
        "indices off by one",
        "embedding|.*add.*",
        "shifted by 1|offset",
        pytorch=("self.embedding(tokens)", "self.embedding(tokens + 1)"),
        flax=("self.embedding(tokens)", "self.embedding(tokens + 1)"),
        keras=('name="embedding")(tokens)', 'name="embedding")(tokens + 1)'),
    ),
    _m(
        "embedding scaled",
        "embedding.*|.*mul.*",
        "Scale|root",
        pytorch=("self.embedding(tokens)", "self.embedding(tokens) * 3.0"),
        flax=("self.embedding(tokens)", "self.embedding(tokens) * 3.0"),
        keras=('name="embedding")(tokens)', 'name="embedding")(tokens) * 3.0'),
    ),
    _m(
        "padding index gives zeros",
        "embedding.*|.*mul.*",
        "padding|index 0",
        pytorch=(
            "self.embedding(tokens)",
            "self.embedding(tokens) * (tokens != 0).unsqueeze(-1)",
        ),
        flax=(
            "self.embedding(tokens)",
            "self.embedding(tokens) * (tokens != 0)[..., None]",
        ),
    ),
    _m(
        "padding index gets no gradient",
        "embedding",
        "index 0|padding|row",
        steps=1,
        pytorch=("Embedding(50, 9)", "Embedding(50, 9, padding_idx=0)"),
    ),
    _m(
        "padding is masked",
        "lstm|embedding|rnn",
        "mask",
        keras=("50, 9, name", "50, 9, mask_zero=True, name"),
    ),
    _m(
        "batch and time swapped",
        "lstm",
        "time",
        pytorch=("LSTM(9, 7, batch_first=True)", "LSTM(9, 7)"),
        flax=(
            "OptimizedLSTMCell(9, 7, rngs=rngs))",
            "OptimizedLSTMCell(9, 7, rngs=rngs), time_major=True)",
        ),
    ),
    _m(
        "GRU for LSTM",
        "lstm",
        "GRU",
        pytorch=("nn.LSTM(", "nn.GRU("),
        flax=("nnx.OptimizedLSTMCell(", "nnx.GRUCell("),
        keras=("layers.LSTM(", "layers.GRU("),
    ),
    _m(
        "number of recurrent units",
        "lstm",
        "units",
        pytorch=(("9, 7, batch", "9, 8, batch"), ("RNN(7, 6", "RNN(8, 6")),
        flax=(("Cell(9, 7", "Cell(9, 8"), ("Cell(7, 6", "Cell(8, 6")),
        keras=("LSTM(7", "LSTM(8"),
    ),
    _m(
        "recurrent bias missing",
        "rnn",
        "bias",
        pytorch=("nn.RNN(7, 6, batch", "nn.RNN(7, 6, bias=False, batch"),
        keras=('name="rnn"', 'use_bias=False, name="rnn"'),
    ),
    _m(
        "forget bias",
        "lstm",
        "forget",
        keras=('name="lstm"', 'unit_forget_bias=False, name="lstm"'),
        lefts=("keras",),
    ),
    _m(
        "recurrent layers swapped",
        "lstm|rnn",
        "LSTM|SimpleRNN|RNN",
        pytorch=(
            ("nn.LSTM(9, 7", "nn.RNN(9, 7"),
            ("nn.RNN(7, 6", "nn.LSTM(7, 6"),
        ),
        keras=(
            (
                'layers.LSTM(7, return_sequences=True, name="lstm")',
                'layers.SimpleRNN(7, return_sequences=True, name="lstm")',
            ),
            (
                'layers.SimpleRNN(6, return_sequences=True, name="rnn")',
                'layers.LSTM(6, return_sequences=True, name="rnn")',
            ),
        ),
    ),
)

GATES = (
    _m(
        "reset gate before the product",
        "gru1",
        "reset",
        keras=('name="gru1"', 'reset_after=False, name="gru1"'),
    ),
    _m(
        "one bias for two",
        "gru1",
        "bias",
        flax=(),
        lefts=("pytorch", "keras"),
    ),
    _m(
        "softmax for log-softmax",
        ".*softmax.*",
        "Softmax",
        pytorch=("F.log_softmax", "F.softmax"),
        keras=("ops.log_softmax", "ops.softmax"),
    ),
    _m(
        "log-softmax missing",
        ".*softmax.*",
        "LogSoftmax.* missing|left out",
        pytorch=(
            "F.log_softmax(self.fc(x.mean(dim=1)), dim=-1)",
            "self.fc(x.mean(dim=1))",
        ),
        keras=(
            "ops.log_softmax(self.fc(ops.mean(x, axis=1)), axis=-1)",
            "self.fc(ops.mean(x, axis=1))",
        ),
    ),
    _m(
        "last step for the mean over time",
        ".*(mean|item|slice).*",
        "[Mm]ean|last|Slice",
        pytorch=("x.mean(dim=1)", "x[:, -1]"),
        keras=("ops.mean(x, axis=1)", "x[:, -1]"),
    ),
    _m(
        "maximum for the mean over time",
        ".*(mean|max).*",
        "ReduceMax",
        pytorch=("x.mean(dim=1)", "x.amax(dim=1)"),
        keras=("ops.mean(x, axis=1)", "ops.max(x, axis=1)"),
    ),
    _m(
        "activation of the candidate",
        "gru1",
        "activation",
        keras=('name="gru1"', 'activation="relu", name="gru1"'),
    ),
)

ATTENTION = (
    _m(
        "epsilon of layer norm",
        "block1.norm1",
        "epsilon",
        pytorch=(
            "norm1 = nn.LayerNorm(width)",
            "norm1 = nn.LayerNorm(width, eps=1e-3)",
        ),
        flax=(
            "norm1 = nnx.LayerNorm(width, epsilon=1e-5",
            "norm1 = nnx.LayerNorm(width",
        ),
        keras=(
            "norm1 = layers.LayerNormalization(epsilon=1e-5, ",
            "norm1 = layers.LayerNormalization(",
        ),
    ),
    _m(
        "RMS norm for layer norm",
        "block1.norm2",
        "RMSNorm",
        pytorch=("norm2 = nn.LayerNorm(width)", "norm2 = nn.RMSNorm(width, eps=1e-5)"),
        flax=("norm2 = nnx.LayerNorm(", "norm2 = nnx.RMSNorm("),
        keras=(
            "norm2 = layers.LayerNormalization(",
            "norm2 = layers.RMSNormalization(",
        ),
    ),
    _m(
        "layer norm over the wrong axes",
        "block1.norm1",
        "axis|axes|together",
        flax=(
            "norm1 = nnx.LayerNorm(width, ",
            "norm1 = nnx.LayerNorm(width, reduction_axes=(1, 2), ",
        ),
    ),
    _m(
        "scale and shift missing",
        "norm",
        "scale|shift",
        pytorch=(
            "        self.norm = nn.LayerNorm(12)",
            "        self.norm = nn.LayerNorm(12, elementwise_affine=False)",
        ),
        flax=(
            "        self.norm = nnx.LayerNorm(12, ",
            "        self.norm = nnx.LayerNorm(12, use_scale=False, use_bias=False, ",
        ),
        keras=('1e-5, name="norm")', '1e-5, center=False, scale=False, name="norm")'),
    ),
    _m(
        "causal mask missing",
        "block1.attention",
        "causal|mask",
        pytorch=("attn_mask=mask, is_causal=True, ", ""),
        flax=("self.attention(y, is_causal=True)", "self.attention(y)"),
        keras=(", use_causal_mask=True", ""),
    ),
    _m(
        "number of heads",
        "block1.attention",
        "heads",
        pytorch=("Block(12, 3)", "Block(12, 4)"),
        flax=("Block(12, 3, rngs)", "Block(12, 4, rngs)"),
        keras=("Block(12, 3, ", "Block(12, 4, "),
    ),
    _m(
        "biases of attention missing",
        "block1.attention",
        "bias",
        pytorch=("heads, batch_first=True", "heads, bias=False, batch_first=True"),
        flax=("heads, width, decode", "heads, width, use_bias=False, decode"),
        keras=('name="attention"', 'use_bias=False, name="attention"'),
    ),
    _m(
        "bias of the output projection missing",
        "block1.attention",
        "output.* bias|bias.* output",
        pytorch=(
            "heads, batch_first=True)",
            "heads, batch_first=True)\n        self.attention.out_proj = "
            "nn.modules.linear.NonDynamicallyQuantizableLinear(\n"
            "            width, width, bias=False\n        )",
        ),
    ),
    _m(
        "attention scores scaled by the whole width",
        "block1.attention",
        "whole width",
        flax=(
            "heads, width, decode",
            "heads, width, attention_fn=lambda q, k, v, **more: "
            "nnx.dot_product_attention(q / 3**0.5, k, v, **more), decode",
        ),
        lefts=("keras",),
    ),
    _m(
        "residual of attention missing",
        r"block1.*",
        "Add.* missing|second|first",
        pytorch=("        x = x + y\n", "        x = y\n"),
        flax=("        x = x + y\n", "        x = y\n"),
        keras=("        x = x + y\n", "        x = y\n"),
    ),
    _m(
        "norm after the residual, not before",
        "block1.*",
        "norm1",
        pytorch=(
            ("        y = self.norm1(x)\n", "        y = x\n"),
            ("        x = x + y\n", "        x = self.norm1(x + y)\n"),
        ),
        flax=(
            ("        y = self.norm1(x)\n", "        y = x\n"),
            ("        x = x + y\n", "        x = self.norm1(x + y)\n"),
        ),
        keras=(
            ("        y = self.norm1(x)\n", "        y = x\n"),
            ("        x = x + y\n", "        x = self.norm1(x + y)\n"),
        ),
    ),
    _m(
        "residual of the normalised value",
        "block1.*",
        "norm1",
        pytorch=(("        y = self.norm1(x)\n", "        x = y = self.norm1(x)\n"),),
        flax=(("        y = self.norm1(x)\n", "        x = y = self.norm1(x)\n"),),
        keras=(("        y = self.norm1(x)\n", "        x = y = self.norm1(x)\n"),),
    ),
    _m(
        "keys and values without the norm",
        "block1.attention",
        "embedding|mul|Scale|reads|input",
        pytorch=("            y, y, y, attn", "            y, x, x, attn"),
        flax=("self.attention(y, is_causal", "self.attention(y, x, is_causal"),
        keras=("self.attention(y, y, use", "self.attention(y, x, use"),
    ),
    _m(
        "GELU by tanh",
        "block1.(gelu|wide).*",
        "approximate|tanh",
        pytorch=(
            "F.gelu(self.wide(self.norm2(x)))",
            'F.gelu(self.wide(self.norm2(x)), approximate="tanh")',
        ),
        flax=(", approximate=False", ""),
        keras=(
            ('activation="gelu"', "activation=None"),
            ("self.wide(self.norm2(x))", "ops.gelu(self.wide(self.norm2(x)))"),
        ),
    ),
    _m(
        "SiLU for GELU",
        "block1.(gelu|wide|silu).*",
        "[Ss]ilu",
        pytorch=("F.gelu(", "F.silu("),
        flax=(
            "nnx.gelu(self.wide(self.norm2(x)), approximate=False)",
            "nnx.silu(self.wide(self.norm2(x)))",
        ),
        keras=('activation="gelu"', 'activation="silu"'),
    ),
    _m(
        "embedding not scaled",
        "embedding.*|.*mul.*",
        "Scale",
        pytorch=(" * 12**0.5", ""),
        flax=(" * 12**0.5", ""),
        keras=(" * 12**0.5", ""),
    ),
    _m(
        "softmax twice",
        ".*softmax.*",
        "Softmax|softmax.* twice",
        pytorch=(
            "F.softmax(self.fc(x), dim=-1)",
            "F.softmax(F.softmax(self.fc(x), dim=-1), dim=-1)",
        ),
        flax=(
            "nnx.softmax(self.fc(x), axis=-1)",
            "nnx.softmax(nnx.softmax(self.fc(x), axis=-1), axis=-1)",
        ),
        keras=('Dense(5, name="fc")', 'Dense(5, activation="softmax", name="fc")'),
    ),
    _m(
        "softmax over the wrong axis",
        ".*softmax.*",
        "axis",
        pytorch=("F.softmax(self.fc(x), dim=-1)", "F.softmax(self.fc(x), dim=0)"),
        flax=("nnx.softmax(self.fc(x), axis=-1)", "nnx.softmax(self.fc(x), axis=0)"),
        keras=("ops.softmax(self.fc(x), axis=-1)", "ops.softmax(self.fc(x), axis=0)"),
    ),
    _m(
        "softmax missing",
        ".*softmax.*",
        "Softmax.* missing|left out",
        pytorch=("F.softmax(self.fc(x), dim=-1)", "self.fc(x)"),
        flax=("nnx.softmax(self.fc(x), axis=-1)", "self.fc(x)"),
        keras=("ops.softmax(self.fc(x), axis=-1)", "self.fc(x)"),
    ),
    _m(
        "sigmoid for softmax",
        ".*(softmax|sigmoid).*",
        "[Ss]igmoid",
        pytorch=("F.softmax(self.fc(x), dim=-1)", "torch.sigmoid(self.fc(x))"),
        flax=("nnx.softmax(self.fc(x), axis=-1)", "nnx.sigmoid(self.fc(x))"),
        keras=("ops.softmax(self.fc(x), axis=-1)", "ops.sigmoid(self.fc(x))"),
    ),
    _m(
        "last norm missing",
        "norm",
        "missing",
        pytorch=("self.norm(x).mean(dim=1)", "x.mean(dim=1)"),
        flax=("self.norm(x).mean(axis=1)", "x.mean(axis=1)"),
        keras=("ops.mean(self.norm(x), axis=1)", "ops.mean(x, axis=1)"),
    ),
    _m(
        "first token for the mean",
        ".*(mean|item|slice).*",
        "[Mm]ean|Slice|first",
        pytorch=("self.norm(x).mean(dim=1)", "self.norm(x)[:, 0]"),
        flax=("self.norm(x).mean(axis=1)", "self.norm(x)[:, 0]"),
        keras=("ops.mean(self.norm(x), axis=1)", "self.norm(x)[:, 0]"),
    ),
)

SCORES = (
    _m(
        "scores not scaled",
        ".*(div|mul|scale|matmul|dot|einsum).*",
        "Scale|scaled",
        pytorch=(" / 8**0.5", ""),
        flax=(" / 8**0.5", ""),
        keras=(" / 8**0.5", ""),
    ),
    _m(
        "scores scaled by the wrong width",
        ".*(div|mul|scale).*",
        "factor",
        pytorch=(" / 8**0.5", " / 10**0.5"),
        flax=(" / 8**0.5", " / 10**0.5"),
        keras=(" / 8**0.5", " / 10**0.5"),
    ),
    _m(
        "softmax over the queries",
        ".*softmax.*",
        "axis",
        pytorch=("softmax(scores, dim=-1)", "softmax(scores, dim=1)"),
        flax=("softmax(scores, axis=-1)", "softmax(scores, axis=1)"),
        keras=("softmax(scores, axis=-1)", "softmax(scores, axis=1)"),
    ),
    _m(
        "queries and keys swapped",
        ".*(matmul|dot|einsum).*",
        "swapped|order|reads",
        pytorch=("q @ k.transpose(1, 2)", "k @ q.transpose(1, 2)"),
        flax=('"nqf,nkf->nqk", q, k', '"nqf,nkf->nqk", k, q'),
        keras=("ops.matmul(q, ops.transpose(k,", "ops.matmul(k, ops.transpose(q,"),
    ),
    _m(
        "epsilon of RMS norm",
        "norm",
        "epsilon",
        pytorch=("eps=1e-6", "eps=1e-3"),
        flax=("epsilon=1e-6", "epsilon=1e-3"),
        keras=("epsilon=1e-6", "epsilon=1e-3"),
    ),
    _m(
        "layer norm for RMS norm",
        "norm",
        "LayerNorm",
        pytorch=("nn.RMSNorm(10, eps=1e-6)", "nn.LayerNorm(10, eps=1e-6)"),
        flax=("nnx.RMSNorm(", "nnx.LayerNorm("),
        keras=("layers.RMSNormalization(", "layers.LayerNormalization("),
    ),
    _m(
        "residual multiplied",
        ".*(add|mul).*",
        "Multiply",
        pytorch=("x + self.output(y)", "x * self.output(y)"),
        flax=("x + self.output(y)", "x * self.output(y)"),
        keras=("x + self.out(y)", "x * self.out(y)"),
    ),
    _m(
        "values from the keys",
        ".*(matmul|dot).*|value",
        "key",
        pytorch=("dim=-1) @ v", "dim=-1) @ k"),
        flax=("axis=-1) @ v", "axis=-1) @ k"),
        keras=("axis=-1), v)", "axis=-1), k)"),
    ),
)

AUTOENCODER = (
    _m(
        "output padding missing",
        "up2.*|.*crop.*|.*item.*",
        "output_padding|[Pp]adding|Slice|Pad",
        pytorch=("padding=1, output_padding=1)", "padding=1)"),
        flax=("padding=((1, 2), (1, 2))", "padding=((1, 1), (1, 1))"),
        keras=("((1, 0), (1, 0))", "((1, 1), (1, 1))"),
    ),
    _m(
        "transposed padding on the other side",
        "up2.*|.*crop.*|.*item.*",
        "[Pp]adding|Slice|Pad",
        flax=("padding=((1, 2), (1, 2))", 'padding="SAME"'),
        keras=(
            (
                '6, 3, strides=2, name="up2"',
                '6, 3, strides=2, padding="same", name="up2"',
            ),
            ("    x = layers.Cropping2D(((1, 0), (1, 0)))(x)\n", ""),
        ),
    ),
    _m(
        "bilinear for nearest",
        ".*(interpolate|resize|up_sampling).*",
        "mode bilinear|align|corners",
        pytorch=('mode="nearest"', 'mode="bilinear"'),
        flax=('enlarge(x, "nearest")', 'enlarge(x, "bilinear")'),
        keras=(
            "UpSampling2D(2)(x)",
            'UpSampling2D(2, interpolation="bilinear")(x)',
        ),
    ),
    _m(
        "nearest for bilinear",
        ".*(interpolate|resize|up_sampling).*",
        "mode nearest",
        pytorch=('mode="bilinear", align_corners=False', 'mode="nearest"'),
        flax=('enlarge(x, "bilinear")', 'enlarge(x, "nearest")'),
        keras=(', interpolation="bilinear"', ""),
    ),
    _m(
        "corners aligned",
        ".*(interpolate|resize|up_sampling).*",
        "corners",
        pytorch=("align_corners=False", "align_corners=True"),
    ),
    _m(
        "batch norm for instance norm",
        "norm",
        "BatchNorm",
        pytorch=("nn.InstanceNorm2d(12, affine=True)", "nn.BatchNorm2d(12)"),
        flax=("nnx.InstanceNorm(", "nnx.BatchNorm("),
        keras=("GroupNormalization(-1, ", "BatchNormalization("),
    ),
    _m(
        "instance norm without scale and shift",
        "norm",
        "scale|shift",
        pytorch=("nn.InstanceNorm2d(12, affine=True)", "nn.InstanceNorm2d(12)"),
        flax=("12, epsilon=1e-5", "12, use_scale=False, use_bias=False, epsilon=1e-5"),
        keras=(
            "GroupNormalization(-1, ",
            "GroupNormalization(-1, center=False, scale=False, ",
        ),
    ),
    _m(
        "sigmoid missing",
        ".*(sigmoid|out|logistic).*",
        "Sigmoid.* missing|left out",
        pytorch=("torch.sigmoid(self.out(x))", "self.out(x)"),
        flax=("nnx.sigmoid(self.out(x))", "self.out(x)"),
        keras=(', activation="sigmoid"', ""),
    ),
    _m(
        "tanh for sigmoid",
        ".*(sigmoid|out|logistic|tanh).*",
        "[Tt]anh",
        pytorch=("torch.sigmoid(self.out(x))", "torch.tanh(self.out(x))"),
        flax=("nnx.sigmoid(self.out(x))", "nnx.tanh(self.out(x))"),
        keras=('activation="sigmoid"', 'activation="tanh"'),
    ),
    _m(
        "relu for relu6",
        ".*(relu|re_lu|clip|min|max).*",
        "Relu|relu",
        pytorch=("F.relu6(self.up1(x))", "F.relu(self.up1(x))"),
        flax=("nnx.relu6(self.up1(x))", "nnx.relu(self.up1(x))"),
        keras=("ReLU(max_value=6)", "ReLU()"),
    ),
    _m(
        "elu for selu",
        ".*(selu|smooth|elu).*",
        "[Ee]lu",
        pytorch=("F.selu(", "F.elu("),
        flax=("nnx.selu(", "nnx.elu("),
        keras=('activation="selu"', 'activation="elu"'),
    ),
    _m(
        "a sigmoid for softplus",
        ".*(softplus|down1|sigmoid).*",
        "[Ss]igmoid",
        pytorch=("F.softplus(", "F.sigmoid("),
        flax=("nnx.softplus(", "nnx.sigmoid("),
        keras=('activation="softplus"', 'activation="sigmoid"'),
    ),
)

ADAM = (
    _m(
        "loss summed over the batch",
        "loss",
        "sum over the batch",
        pytorch=("nn.CrossEntropyLoss()", 'nn.CrossEntropyLoss(reduction="sum")'),
        flax=("losses.mean()", "losses.sum()"),
    ),
    _m(
        "loss of scores on probabilities",
        "loss|fc3|.*softmax.*",
        "softmax twice|[Ss]oftmax",
        pytorch=(
            "loss = nn.CrossEntropyLoss()",
            "loss = lambda y, t: F.cross_entropy(F.softmax(y, dim=1), t)",
        ),
        flax=(
            "integer_labels(scores, labels)",
            "integer_labels(nnx.softmax(scores), labels)",
        ),
    ),
    _m(
        "loss of probabilities on scores",
        "loss",
        "probabilities|rows that are made",
        keras=("from_logits=True", "from_logits=False"),
    ),
    _m(
        "labels smoothed",
        "loss",
        "smoothed",
        pytorch=("nn.CrossEntropyLoss()", "nn.CrossEntropyLoss(label_smoothing=0.1)"),
        flax=(
            "optax.softmax_cross_entropy_with_integer_labels(scores, labels)",
            "optax.softmax_cross_entropy(\n"
            "        scores, "
            "optax.smooth_labels(jax.nn.one_hot(labels, 4), 0.1)\n    )",
        ),
    ),
    _m(
        "learning rate",
        "optimizer",
        "learning rate",
        pytorch=(
            "Adam(model.parameters(), lr=0.01)",
            "Adam(model.parameters(), lr=0.001)",
        ),
        flax=("optax.adam(0.01)", "optax.adam(0.001)"),
        keras=("Adam(0.01, ", "Adam(0.001, "),
    ),
    _m(
        "epsilon of Adam",
        "optimizer",
        "epsilon",
        pytorch=(
            "Adam(model.parameters(), lr=0.01)",
            "Adam(model.parameters(), lr=0.01, eps=1e-3)",
        ),
        flax=("optax.adam(0.01)", "optax.adam(0.01, eps=1e-3)"),
        keras=("Adam(0.01, epsilon=1e-8)", "Adam(0.01, epsilon=1e-3)"),
    ),
    _m(
        "beta2 of Adam",
        "optimizer",
        "beta2",
        pytorch=(
            "Adam(model.parameters(), lr=0.01)",
            "Adam(model.parameters(), lr=0.01, betas=(0.9, 0.99))",
        ),
        flax=("optax.adam(0.01)", "optax.adam(0.01, b2=0.99)"),
        keras=("Adam(0.01, ", "Adam(0.01, beta_2=0.99, "),
    ),
    _m(
        "beta1 of Adam",
        "optimizer",
        "beta1",
        pytorch=(
            "Adam(model.parameters(), lr=0.01)",
            "Adam(model.parameters(), lr=0.01, betas=(0.5, 0.999))",
        ),
        flax=("optax.adam(0.01)", "optax.adam(0.01, b1=0.5)"),
        keras=("Adam(0.01, ", "Adam(0.01, beta_1=0.5, "),
    ),
    _m(
        "AMSGrad",
        "optimizer",
        "AMSGrad",
        pytorch=(
            "Adam(model.parameters(), lr=0.01)",
            "Adam(model.parameters(), lr=0.01, amsgrad=True)",
        ),
        keras=("Adam(0.01, ", "Adam(0.01, amsgrad=True, "),
    ),
    _m(
        "SGD for Adam",
        "optimizer",
        "sgd",
        pytorch=("torch.optim.Adam(", "torch.optim.SGD("),
        flax=("optax.adam(0.01)", "optax.sgd(0.01)"),
        keras=("optimizers.Adam(0.01, epsilon=1e-8)", "optimizers.SGD(0.01)"),
    ),
    _m(
        "a frozen layer",
        "fc1",
        "frozen|stopped",
        pytorch=("nn.Linear(11, 16)", "nn.Linear(11, 16).requires_grad_(False)"),
        flax=("self.fc1(x), approx", "jax.lax.stop_gradient(self.fc1(x)), approx"),
        keras=('name="fc1"', 'trainable=False, name="fc1"'),
    ),
    _m(
        "a stopped gradient",
        "fc[12].*",
        "stopped",
        pytorch=("torch.tanh(self.fc2(x))", "torch.tanh(self.fc2(x.detach()))"),
        flax=("self.fc2(x)", "self.fc2(jax.lax.stop_gradient(x))"),
        keras=(
            'activation="tanh", name="fc2")(x)',
            'activation="tanh", name="fc2")(keras.ops.stop_gradient(x))',
        ),
    ),
    _m(
        "labels moved by one",
        "loss",
        "label",
        flax=(
            "integer_labels(scores, labels)",
            "integer_labels(scores, (labels + 1) % 4)",
        ),
        pytorch=(
            "loss = nn.CrossEntropyLoss()",
            "loss = lambda y, t: F.cross_entropy(y, (t + 1) % 4)",
        ),
    ),
)

ADAMW = (
    _m(
        "weight decay in the gradient (Adam)",
        "optimizer",
        "added to the gradient",
        pytorch=("torch.optim.AdamW(", "torch.optim.Adam("),
        flax=(
            "optax.adamw(0.01, weight_decay=0.1)",
            "optax.chain(optax.add_decayed_weights(0.1), optax.adam(0.01))",
        ),
    ),
    _m(
        "weight decay",
        "optimizer",
        "weight decay",
        pytorch=(", weight_decay=0.1", ""),
        flax=(", weight_decay=0.1", ""),
        keras=("weight_decay=0.1, ", ""),
    ),
    _m(
        "weight decay missing",
        "optimizer",
        "weight decay",
        pytorch=("weight_decay=0.1", "weight_decay=0"),
        flax=("optax.adamw(0.01, weight_decay=0.1)", "optax.adam(0.01)"),
        keras=("optimizers.AdamW(0.01, weight_decay=0.1, ", "optimizers.Adam(0.01, "),
    ),
    _m(
        "weight decay not of biases",
        "optimizer",
        "kernels alone",
        pytorch=(
            "torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1)",
            "torch.optim.AdamW(\n        [\n"
            '            {"params": [p for p in model.parameters() if p.ndim > 1]},\n'
            '            {"params": [p for p in model.parameters() if p.ndim < 2],\n'
            '             "weight_decay": 0.0},\n'
            "        ],\n        lr=0.01,\n        weight_decay=0.1,\n    )",
        ),
        flax=(
            "optax.adamw(0.01, weight_decay=0.1)",
            "optax.adamw(\n        0.01,\n        weight_decay=0.1,\n"
            "        mask=lambda params: jax.tree.map(lambda x: x.ndim > 1, params),\n"
            "    )",
        ),
        keras=(
            "    return build(), optimizer, loss",
            '    optimizer.exclude_from_weight_decay(var_names=["bias"])\n'
            "    return build(), optimizer, loss",
        ),
    ),
)

SGD = (
    _m(
        "Nesterov momentum",
        "optimizer",
        "Nesterov",
        pytorch=("momentum=0.9", "momentum=0.9, nesterov=True"),
        flax=("momentum=0.9", "momentum=0.9, nesterov=True"),
        keras=("momentum=0.9", "momentum=0.9, nesterov=True"),
    ),
    _m(
        "momentum missing",
        "optimizer",
        "momentum",
        pytorch=(", momentum=0.9", ""),
        flax=(", momentum=0.9", ""),
        keras=(", momentum=0.9", ""),
    ),
    _m(
        "momentum with unit gain",
        "optimizer",
        "unit gain|learning rate 0.005",
        pytorch=("momentum=0.9", "momentum=0.9, dampening=0.9"),
        flax=(
            "optax.sgd(0.05, momentum=0.9)",
            "optax.chain(optax.ema(0.9, debias=False), optax.scale(-0.05))",
        ),
    ),
    _m(
        "gradients clipped by their norm",
        "optimizer",
        "clipped norm",
        flax=(
            "optax.sgd(0.05, momentum=0.9)",
            "optax.chain(\n        optax.clip_by_global_norm(0.1), "
            "optax.sgd(0.05, momentum=0.9)\n    )",
        ),
        keras=("momentum=0.9)", "momentum=0.9, global_clipnorm=0.1)"),
    ),
    _m(
        "gradients clipped one by one",
        "optimizer",
        "clipped value",
        flax=(
            "optax.sgd(0.05, momentum=0.9)",
            "optax.chain(optax.clip(0.01), optax.sgd(0.05, momentum=0.9))",
        ),
        keras=("momentum=0.9)", "momentum=0.9, clipvalue=0.01)"),
    ),
    _m(
        "weight decay in SGD",
        "optimizer",
        "weight decay",
        pytorch=("momentum=0.9", "momentum=0.9, weight_decay=0.01"),
        flax=(
            "optax.sgd(0.05, momentum=0.9)",
            "optax.chain(\n        optax.add_decayed_weights(0.01), "
            "optax.sgd(0.05, momentum=0.9)\n    )",
        ),
        keras=("momentum=0.9", "momentum=0.9, weight_decay=0.01"),
    ),
)

RMSPROP = (
    _m(
        "decay of the mean square",
        "optimizer",
        "beta2",
        pytorch=(", alpha=0.9", ""),
        flax=("decay=0.9", "decay=0.99"),
        keras=("rho=0.9", "rho=0.99"),
        lefts=("pytorch",),
    ),
    _m(
        "centred squares",
        "optimizer",
        "centred",
        pytorch=("alpha=0.9", "alpha=0.9, centered=True"),
        flax=("decay=0.9", "decay=0.9, centered=True"),
        keras=("rho=0.9", "rho=0.9, centered=True"),
        lefts=("pytorch",),
    ),
    _m(
        "epsilon inside the root",
        "optimizer",
        "inside the root",
        flax=("eps_in_sqrt=False", "eps_in_sqrt=True"),
        lefts=("pytorch", "flax"),
    ),
)

REGRESSION = (
    _m(
        "squares summed",
        "loss",
        "sum over everything",
        pytorch=("nn.MSELoss()", 'nn.MSELoss(reduction="sum")'),
        flax=("jnp.mean(jnp.square(", "jnp.sum(jnp.square("),
    ),
    _m(
        "half of the squares",
        "loss",
        "half",
        pytorch=("loss = nn.MSELoss()", "loss = lambda y, t: F.mse_loss(y, t) / 2"),
        flax=("jnp.mean(jnp.square(", "0.5 * jnp.mean(jnp.square("),
    ),
    _m(
        "absolute for squared error",
        "loss",
        "absolute",
        pytorch=("nn.MSELoss()", "nn.L1Loss()"),
        flax=("jnp.square(", "jnp.abs("),
        keras=("MeanSquaredError()", "MeanAbsoluteError()"),
    ),
    _m(
        "squares averaged over the batch alone",
        "loss",
        "sum over features",
        flax=(
            "jnp.mean(jnp.square(outputs - targets))",
            "jnp.mean(jnp.sum(jnp.square(outputs - targets), -1))",
        ),
        pytorch=(
            "loss = nn.MSELoss()",
            "loss = lambda y, t: ((y - t) ** 2).sum(-1).mean()",
        ),
    ),
    _m(
        "outputs and targets spread over each other",
        "loss",
        "spread|pairs",
        flax=(
            "jnp.square(outputs - targets)",
            "jnp.square(outputs[:, None] - targets)",
        ),
        pytorch=(
            "loss = nn.MSELoss()",
            "loss = lambda y, t: ((y[:, None] - t) ** 2).mean()",
        ),
    ),
)

PORTED_IMAGES = (
    _m(
        "square kernel not transposed",
        "fc2",
        "transposed",
        pytorch=(
            "    model.load_state_dict",
            '    if "fc2.weight" in state:\n'
            '        state["fc2.weight"] = state["fc2.weight"].T\n'
            "    model.load_state_dict",
        ),
        flax=('state["fc2.weight"].T', 'state["fc2.weight"]'),
        keras=('state["fc2.weight"].T', 'state["fc2.weight"]'),
    ),
    _m(
        "kernel flipped",
        "conv",
        "flipped",
        pytorch=(
            "    model.load_state_dict",
            '    if "conv.weight" in state:\n'
            '        state["conv.weight"] = state["conv.weight"].flip(2, 3)\n'
            "    model.load_state_dict",
        ),
        flax=(
            'state["conv.weight"].transpose',
            'state["conv.weight"][:, :, ::-1, ::-1].transpose',
        ),
        keras=(
            'state["conv.weight"].transpose',
            'state["conv.weight"][:, :, ::-1, ::-1].transpose',
        ),
    ),
    _m(
        "height and width of a kernel swapped",
        "conv",
        "swapped",
        flax=(
            '["conv.weight"].transpose(2, 3, 1, 0)',
            '["conv.weight"].transpose(3, 2, 1, 0)',
        ),
        keras=(
            '["conv.weight"].transpose(2, 3, 1, 0)',
            '["conv.weight"].transpose(3, 2, 1, 0)',
        ),
    ),
    _m(
        "kernel in the other order of flattening",
        "fc1",
        "order",
        flax=("kernel.transpose(2, 3, 1, 0).reshape(60, 9)", "kernel.reshape(9, 60).T"),
        keras=(
            "kernel.transpose(2, 3, 1, 0).reshape(60, 9)",
            "kernel.reshape(9, 60).T",
        ),
    ),
    _m(
        "scale and shift of a norm swapped",
        "norm",
        "scale|shift",
        flax=(
            (
                'scale[...] = state["norm.weight"]',
                'scale[...] = state["norm.bias"]',
            ),
            (
                'norm.bias[...] = state["norm.bias"]',
                'norm.bias[...] = state["norm.weight"]',
            ),
        ),
        keras=('("weight", "bias", "running', '("bias", "weight", "running'),
    ),
    _m(
        "running statistics not carried",
        "norm",
        "mean|variance",
        pytorch=(
            "    model.load_state_dict",
            '    state.pop("norm.running_mean", None)\n'
            '    state.pop("norm.running_var", None)\n'
            "    model.load_state_dict",
        ),
        flax=(
            ('    model.norm.mean[...] = state["norm.running_mean"]\n', ""),
            ('    model.norm.var[...] = state["norm.running_var"]\n', ""),
        ),
    ),
    _m(
        "bias not carried",
        "fc1",
        "bias",
        flax=('    model.fc1.bias[...] = state["fc1.bias"]\n', ""),
        keras=(
            '[kernel, state["fc1.bias"]]',
            '[kernel, 0 * state["fc1.bias"]]',
        ),
    ),
)

PORTED_LSTM = (
    _m(
        "order of the gates of an LSTM",
        "lstm",
        "order",
        flax=(
            "    cell = model.lstm.cell",
            "    order = [*range(12), *range(18, 24), *range(12, 18)]\n"
            '    state = {k: v[order] if "lstm" in k else v '
            "for k, v in state.items()}\n"
            "    cell = model.lstm.cell",
        ),
        keras=(
            "    state = MEMORY\n",
            "    order = [*range(12), *range(18, 24), *range(12, 18)]\n"
            '    state = {k: v[order] if "lstm" in k else v '
            "for k, v in MEMORY.items()}\n",
        ),
        pytorch=(
            "    model.load_state_dict",
            "    order = [*range(12), *range(18, 24), *range(12, 18)]\n"
            '    state = {k: v[order] if "lstm" in k else v '
            "for k, v in state.items()}\n"
            "    model.load_state_dict",
        ),
    ),
    _m(
        "one of two biases not carried",
        "lstm",
        "bias",
        flax=(' + state["lstm.bias_hh_l0"]', ""),
        keras=(' + state["lstm.bias_hh_l0"]', ""),
    ),
    _m(
        "kernel and recurrent kernel swapped",
        "lstm",
        "kernel|recurrent",
        flax=(
            (
                'kernel[...] = state["lstm.weight_ih',
                'kernel[...] = state["lstm.weight_xx',
            ),
            (
                'kernel[...] = state["lstm.weight_hh',
                'kernel[...] = state["lstm.weight_ih',
            ),
            (
                'kernel[...] = state["lstm.weight_xx',
                'kernel[...] = state["lstm.weight_hh',
            ),
        ),
        keras=("[kernel, recurrent, bias]", "[recurrent, kernel, bias]"),
    ),
    _m(
        "forget bias added once more",
        "lstm",
        "forget",
        flax=(
            'state["lstm.bias_ih_l0"] + state["lstm.bias_hh_l0"]',
            'state["lstm.bias_ih_l0"] + state["lstm.bias_hh_l0"] '
            "+ (jnp.arange(24) // 6 == 1)",
        ),
        keras=(
            'state["lstm.bias_ih_l0"] + state["lstm.bias_hh_l0"]',
            'state["lstm.bias_ih_l0"] + state["lstm.bias_hh_l0"] '
            "+ (np.arange(24) // 6 == 1)",
        ),
    ),
    _m(
        "rows of an embedding moved by one",
        "embedding",
        "table|shifted",
        pytorch=(
            "    model.load_state_dict",
            '    state["embedding.weight"] = state["embedding.weight"].roll(1, 0)\n'
            "    model.load_state_dict",
        ),
        flax=(
            '= state["embedding.weight"]',
            '= jnp.roll(state["embedding.weight"], 1, 0)',
        ),
        keras=(
            '    state = MEMORY\n    model.get_layer("embedding")'
            '.set_weights([state["embedding.weight"]])',
            '    state = MEMORY\n    model.get_layer("embedding")'
            '.set_weights([np.roll(state["embedding.weight"], 1, 0)])',
        ),
    ),
)

PORTED_GRU = (
    _m(
        "order of the gates of a GRU",
        "gru",
        "order",
        pytorch=(
            "    model.load_state_dict",
            "    order = [*range(5, 10), *range(5), *range(10, 15)]\n"
            '    state = {k: v[order] if "gru" in k else v for k, v in state.items()}\n'
            "    model.load_state_dict",
        ),
        keras=("np.concatenate([z, r, n])", "np.concatenate([r, z, n])"),
    ),
    _m(
        "the two biases of a GRU swapped",
        "gru",
        "bias",
        keras=("np.stack(bias)", "np.stack(bias[::-1])"),
    ),
)

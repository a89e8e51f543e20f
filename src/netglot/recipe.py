"""How a network is trained: loss, optimizer, initial weights, batches, epochs."""

from __future__ import annotations

from dataclasses import dataclass, field

from netglot.errors import unknown


@dataclass(frozen=True)
class Loss:
    """What training makes small; a mean over the batch."""


@dataclass(frozen=True)
class SoftmaxCrossEntropy(Loss):
    """``-log softmax(scores)[label]``: scores ``NF`` without softmax, labels ``N``."""


@dataclass(frozen=True)
class MeanSquaredError(Loss):
    """Mean over batch and features of the squared difference to the target."""


@dataclass(frozen=True)
class Optimizer:
    """How a gradient moves a weight; ``rate`` is the learning rate."""

    rate: float


@dataclass(frozen=True)
class SGD(Optimizer):
    """``v = momentum v + g``; ``w -= rate v``, or ``rate (g + momentum v)``: Nesterov.

    ``g`` is the gradient plus ``weight_decay`` times the weight (coupled), of every
    trained weight. No unit gain: the gradient enters the velocity whole. The velocity
    starts at 0.
    """

    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Adam(Optimizer):
    """Kingma and Ba, 2015, with bias correction; the moments start at 0.

    ``epsilon_form``: ``after`` the correction, ``w -= rate m' / (sqrt(v') + epsilon)``
    with corrected m' and v' (the paper's algorithm); ``before``, ``w -= rate sqrt(1 -
    beta2^t) / (1 - beta1^t) m / (sqrt(v) + epsilon)`` ("epsilon hat", the paper's
    section 2, and what Keras and TensorFlow have). ``weight_decay`` is decoupled
    (AdamW): ``w -= rate weight_decay w``, of every trained weight. ``factors``: the
    ``1 - beta`` of both moments is ``exact``, or counted in ``float32``, which makes
    every step 6e-6 larger where beta2 is 0.999.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    epsilon_form: str = "after"
    weight_decay: float = 0.0
    factors: str = "exact"

    def __post_init__(self) -> None:
        """Reject forms that there are not."""
        if self.factors not in ("exact", "float32"):
            raise unknown("factors of Adam", self.factors, ("exact", "float32"))
        if self.epsilon_form not in ("after", "before"):
            raise unknown(
                "epsilon form of Adam", self.epsilon_form, ("after", "before")
            )


@dataclass(frozen=True)
class Initializer:
    """A distribution of initial weights."""


@dataclass(frozen=True)
class Zeros(Initializer):
    """All 0."""


@dataclass(frozen=True)
class Ones(Initializer):
    """All 1."""


@dataclass(frozen=True)
class GlorotUniform(Initializer):
    """Uniform within ``sqrt(6 / (fan_in + fan_out))``, fans of the whole stored matrix.

    A fan is the product of the kernel's spatial sizes with the input (output) size;
    all gates of a recurrent layer count as outputs. Glorot and Bengio, 2010.
    """


@dataclass(frozen=True)
class Uniform(Initializer):
    """Uniform within ``limit`` of 0."""

    limit: float


@dataclass(frozen=True)
class Initializers:
    """Initial weights by the role of a weight (``ops.WeightType.role``).

    Scales and running variances start at 1, shifts and running means at 0; the forget
    gate of an LSTM as the operation says.
    """

    kernel: Initializer = field(default_factory=GlorotUniform)
    recurrent: Initializer = field(default_factory=GlorotUniform)
    bias: Initializer = field(default_factory=Zeros)
    embedding: Initializer = field(default_factory=lambda: Uniform(0.05))

    def of(self, role: str) -> Initializer:
        """The initializer of a role."""
        if role in ("scale", "variance"):
            return Ones()
        if role in ("shift", "mean"):
            return Zeros()
        initializer: Initializer = getattr(self, role)
        return initializer


@dataclass(frozen=True)
class Recipe:
    """How it is trained.

    Every epoch walks through a fresh seeded permutation in complete batches of
    ``batch_size``; the rest is dropped in training and kept in evaluation.
    """

    loss: Loss
    optimizer: Optimizer
    batch_size: int
    epochs: int
    initializers: Initializers = field(default_factory=Initializers)

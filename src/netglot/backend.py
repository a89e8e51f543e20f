"""What a framework is to netglot: its environment, its rules, its programs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from netglot import axes
from netglot.graph import Graph
from netglot.ops import Op, Type
from netglot.recipe import Initializer, Initializers, Loss, Optimizer, Recipe
from netglot.script import PYTHON, Script
from netglot.source import Expression, Line
from netglot.workloads import Workload


@dataclass(frozen=True)
class Shim:
    """What an environment has beside its packages, so that programs run unchanged.

    ``name`` is that of a file in ``runtime/shims/``, ``reason`` says what it is for. A
    shim of the ``build`` is run once, when everything is installed, with the folder of
    the environment as its argument; one of the ``start`` is imported whenever the
    environment's Python starts; a ``package`` is a folder of that name, for programs to
    import.
    """

    name: str
    reason: str
    when: Literal["build", "start", "package"] = "start"


@dataclass(frozen=True)
class Need:
    """A command of the system that an environment cannot do without.

    ``why`` says what for, ``get`` how to have it (``apt install g++``).
    """

    command: str
    why: str
    get: str


@dataclass(frozen=True)
class Env:
    """The interpreter and the packages that a framework's programs run in.

    ``python`` lists the versions that work, best first. ``requirements`` are pinned
    (``torch==2.13.0``); the first is the framework itself, and the one that
    ``--on name==version`` replaces. ``imports`` are the modules whose import proves the
    environment. ``variables`` are always set, ``{folder}`` in them is the environment's
    own folder (an interpreter of the user's has none: they are left out there); each
    name in ``threads`` is set to the number of threads; ``cpu`` is set where a run must
    not see an accelerator, and ``accelerator`` where it is to use one. ``shims`` are
    installed after the packages; ``needs`` must be there before.
    ``judged`` is set where a program is judged: it is given its weights and drops
    nothing, so any generator of random numbers will do, and nothing is timed, so that
    what was compiled may be kept. ``hurry`` makes programs start
    sooner and run slower: for small networks that are run once. ``forget`` names a
    function (``module:function``) that has to be called between two programs in one
    process.
    ``forward_only`` says why nothing is trained in it, where that is so: programs are
    written whole, and only what they compute forward is judged there. ``untimed`` says
    why the time that a program takes in it is not the framework's: it is not raced.
    ``lock`` names the list of all pins in ``runtime/locks/`` (``pytorch`` for
    ``pytorch.txt``) that pip is held to; backends that share an environment name the
    same list.
    """

    python: tuple[str, ...]
    requirements: tuple[str, ...]
    imports: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    threads: tuple[str, ...] = (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
    )
    cpu: Mapping[str, str] = field(
        default_factory=lambda: {"CUDA_VISIBLE_DEVICES": "-1"}
    )
    accelerator: Mapping[str, str] = field(default_factory=dict)
    judged: Mapping[str, str] = field(default_factory=dict)
    hurry: Mapping[str, str] = field(default_factory=dict)
    forget: str = ""
    forward_only: str = ""
    untimed: str = ""
    pip_arguments: tuple[str, ...] = ()
    lock: str = ""
    shims: tuple[Shim, ...] = ()
    needs: tuple[Need, ...] = ()


@dataclass(frozen=True)
class Engine:
    """A framework's own way of training on several processes.

    ``name`` is for people. ``command`` starts a program by hand (``{file}`` is the
    program): with a launcher, or once per process. ``variables`` are set in each
    process beside those of every launcher (``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``,
    ``MASTER_ADDR``, ``MASTER_PORT``): ``{rank}``, ``{local}`` (its rank on its host),
    ``{workers}``, ``{first}`` (the
    address of the first, ``host:port``), ``{addresses}`` (of all, as JSON), ``{port}``
    (a free one of its own, higher than those of lower ranks) and ``{server}`` (that of
    the first process beside) in them are filled in. ``beside`` are the variables of
    further processes, a set for each, that serve the others as soon as they import the
    framework. ``launcher`` is the command of MPI that has to introduce the
    processes to each other (``mpiexec``), beside the environment's Python or in the
    path. ``missing``: operations that it would compute otherwise than one process, with
    the reason.
    """

    name: str
    command: str
    variables: Mapping[str, str] = field(default_factory=dict)
    beside: tuple[Mapping[str, str], ...] = ()
    launcher: str = ""
    missing: Mapping[type[Op], str] = field(default_factory=dict)

    @property
    def alone(self) -> str:
        """Why it trains on one host alone, and in no job; "" where it need not."""
        if self.launcher:
            return f"netglot starts {self.launcher.split()[0]} on its own host alone"
        if self.beside:
            return "netglot starts the processes beside on its own host alone"
        return ""


class Gap(Exception):
    """A rule cannot say an operation with these attributes; the text is the reason."""


@dataclass(frozen=True)
class Weight:
    """One array of a program, and the weights of the operation that it holds.

    ``path`` follows the path of the node in the program's names. ``axes`` are the
    letters in the program's order. Several ``sources`` are stacked along a new first
    axis. ``gates`` is the order of the gates along ``G``, where it is not the
    operation's own. With ``join`` the sources follow each other along the axis after
    ``S`` instead of being stacked. ``split`` says into which letters (with sizes,
    slowest first) the program cuts a letter of the operation's; none: an axis of size 1
    that the program does not have. ``gates`` may be some of them alone: then the array
    holds that part. Along the letters of ``flip`` it is stored back to front. What the
    program adds to a gate by itself, ``offset`` says: the array holds that much less.
    An empty ``path`` stands for the node's own; one that ``continues`` it follows
    without a separator. With ``negative`` the array holds minus the weight.
    """

    path: str
    axes: str
    sources: tuple[str, ...]
    gates: str = ""
    join: bool = False
    split: Mapping[str, tuple[tuple[str, int], ...]] = field(default_factory=dict)
    flip: str = ""
    offset: Mapping[str, float] = field(default_factory=dict)
    negative: bool = False
    continues: bool = False


@dataclass(frozen=True)
class Site:
    """One node at the place where a rule writes it.

    ``op`` is the operation; ``emit`` notices which attributes are read. ``inputs`` are
    the canonical types (sizes may be ``Symbol`` inside a block, ``None`` where
    unknown); ``arguments`` the source text of the inputs; ``target`` the variable that
    will hold the result. ``object`` is the text by which the layer object or the
    weights of this node are reached. ``activation`` is the text of a fused activation,
    or ``None``. ``in_block``: whether the node stands in a block, which may be used
    many times. ``before`` is the operation that makes the one input, where nothing else
    reads that; ``readers`` are those that read the outputs. ``initializers`` say how
    the weights are drawn; ``None`` leaves that to the framework.
    """

    op: Any
    name: str
    object: str
    inputs: tuple[Type, ...]
    outputs: tuple[Type, ...]
    arguments: tuple[Expression, ...]
    target: str
    activation: str | None
    backend: Backend
    recipe: Recipe | None
    dtype: str = "float32"
    in_block: bool = False
    before: Op | None = None
    readers: tuple[Op, ...] = ()
    initializers: Initializers | None = None

    @property
    def x(self) -> Expression:
        """The text of the first input."""
        return self.arguments[0]

    def storage(self, index: int = 0) -> str:
        """Axis letters of an input in the framework's order."""
        return self.backend.storage(self.inputs[index].axes)

    def axis(self, letter: str, index: int = 0) -> int:
        """Position of a letter of an input in the framework's order."""
        return self.storage(index).index(letter)

    def order(self) -> tuple[int, ...]:
        """Permutation from the storage of the first input to that of the output."""
        source, target = self.inputs[0].axes, self.outputs[0].axes
        if sorted(source) != sorted(target):
            # Letters were renamed in place (see ``lower.Restore`` and ``Arrange``).
            names = dict(zip(target, source, strict=True))
            stored = self.backend.storage(target)
            letters = "".join(names[letter] for letter in stored)
            return axes.permutation(self.storage(), letters)
        return axes.permutation(self.storage(), self.backend.storage(target))

    def initial(self, weight: str) -> Any:
        """The recipe's initializer of a weight, as the backend writes it."""
        role = self.op.weights(*self.inputs)[weight].role
        initializer = (self.initializers or Initializers()).of(role)
        return self.backend.initializers[type(initializer)](initializer)


Text = Callable[[Site], Any]


@dataclass(frozen=True)
class Rule:
    """How a framework says an operation.

    ``make`` writes the layer object (or its weights), ``apply`` its use; a rule without
    ``apply`` calls the object, one without ``make`` has none. ``weights`` are the
    program's arrays of it. ``needs`` names pieces of ``Backend.helpers``.
    """

    apply: Text | None = None
    make: Text | None = None
    weights: tuple[Weight, ...] | Callable[[Site], tuple[Weight, ...]] = ()
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scope:
    """The network, or a block of it, written: what makes it and what it computes.

    ``apply`` ends with a ``return`` statement; ``body`` is the same without it, after
    which ``value`` is the result. ``parameters`` are those that the text uses.
    """

    name: str
    function: str
    parameters: tuple[str, ...]
    inputs: tuple[str, ...]
    make: tuple[Line, ...]
    apply: tuple[Line, ...]
    result: str
    body: tuple[Line, ...] = ()
    value: str = ""


@dataclass(frozen=True)
class Parts:
    """What a frame is filled with."""

    workload: Workload
    graph: Graph
    backend: Backend
    recipe: Recipe | None
    dtype: str
    network: Scope
    blocks: tuple[Scope, ...]
    operations: frozenset[type]
    helpers: tuple[str, ...]
    engine: Engine | None = None

    @property
    def initializers(self) -> Initializers | None:
        """How the weights are drawn; ``None`` leaves that to the framework."""
        return self.workload.initial

    @property
    def parallel(self) -> bool:
        """Whether the program is one of several processes that train together."""
        return self.engine is not None

    @property
    def file(self) -> str:
        """The name of the program's file without its suffix."""
        stem = f"{self.workload.name}_{self.backend.name}".replace("-", "_")
        return stem + "_parallel" * self.parallel


@dataclass(frozen=True)
class Section:
    """A piece of a frame: the step that it belongs to, and its text with slots.

    A slot ``$name`` that stands alone on a line takes lines, each indented as the slot;
    elsewhere it takes text. An empty list of lines removes the slot's line.
    """

    step: str
    text: str
    slots: Mapping[str, str | Sequence[str | Line]] = field(default_factory=dict)


#: The steps of every program, in order.
STEPS = ("head", "data", "network", "setup", "train", "predict", "evaluate", "main")


@dataclass(frozen=True)
class Backend:
    """A framework: facts, rules, rewrites, what it misses, and its frame.

    ``storage`` orders the canonical axes of a value (``axes.channels_last``).
    ``forms`` lists, for operations and optimizers that come in several forms, the
    attributes of those the framework has. ``fuses`` are the operations that take an
    activation as an argument, written as in ``activations``. ``object`` and
    ``separator`` say how a node is reached in the source (``self.{name}``) and
    named in a file of weights; ``repeated`` how the uses of a repeated block are
    named. ``barrier`` is an expression for a function: the sum of all parameters of
    ``model`` as a number. ``infers_sizes``: its layers find out the sizes of what
    they read. ``reports`` says what ``on_step`` is given: the loss of the ``step``,
    or the ``mean`` of the epoch so far. ``in_place``: a layer is made where it is
    used, ``Dense(10)(x)``, one on a line. ``input`` is the variable of a network's
    one input; where it is not ``x`` it keeps its value to the end. ``margin`` is
    the indentation of a network's lines, ``make_margin`` that of the lines that make
    its layers, where it is another. ``inside`` takes the place of ``separator`` after
    the name of a block. ``variable`` makes of the name of a node outside of blocks the
    variable that holds its value, where each has one of its own.
    With ``log_scores`` its classifiers give probabilities alone, and the scores of a
    program are their logarithms. ``own_training`` says why its training is no recipe's
    but its own: then what a program computes forward is judged, and it is not raced.
    ``engine`` trains on several processes, or is the reason why none does.
    ``script`` is the language of its programs.
    """

    # facts
    name: str
    title: str
    home: str
    since: str
    licence: str
    language: str
    style: str
    storage: Callable[[str], str]
    env: Env
    barrier: str
    # rules
    rules: Mapping[type[Op], Rule]
    losses: Mapping[type[Loss], Any]
    optimizers: Mapping[type[Optimizer], Any]
    initializers: Mapping[type[Initializer], Any]
    # rewrites and what is missing
    frame: Callable[[Parts], Sequence[Section]]
    rewrites: Mapping[type[Op], Callable[[Any], Sequence[Op]]] = field(
        default_factory=dict
    )
    missing: Mapping[type[Op], str] = field(default_factory=dict)
    forms: Mapping[type, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    helpers: Mapping[str, str] = field(default_factory=dict)
    imports: tuple[tuple[str, str], ...] = ()
    fuses: frozenset[type[Op]] = frozenset()
    activations: Mapping[type[Op], str] = field(default_factory=dict)
    object: str = "self.{name}"
    assign: str = "self.{name} = "
    separator: str = "."
    repeated: str = "{name}.{index}"
    reports: str = "step"
    dtypes: tuple[str, ...] = ("float32", "float64")
    infers_sizes: bool = False
    in_place: bool = False
    input: str = "x"
    margin: int = 8
    make_margin: int = 0
    inside: str = ""
    variable: Callable[[str], str] | None = None
    log_scores: bool = False
    own_training: str = ""
    engine: Engine | str = "netglot does not write its engine for that yet"
    script: Script = PYTHON


@dataclass(frozen=True)
class ProgramWeight:
    """One array of a program: its name, layout, and the graph's weights in it.

    ``axes`` and ``shape`` are the program's; ``source_axes`` and ``gates`` those of the
    graph's weights named in ``sources``. ``merged`` maps a letter to its parts in the
    graph's order and in the program's, ``split`` a letter to those that the program
    cuts it into, ``flip`` names those that it stores back to front. ``parts`` are the
    sizes of sources that are joined, ``offset`` what the program adds to a gate itself;
    ``negative``: the array holds minus the weights.
    """

    path: str
    axes: str
    shape: tuple[int, ...]
    sources: tuple[str, ...]
    source_axes: str
    trained: bool = True
    gates: tuple[str, str] = ("", "")
    join: bool = False
    merged: Mapping[str, tuple[tuple[tuple[str, int], ...], str]] = field(
        default_factory=dict
    )
    split: Mapping[str, tuple[tuple[str, int], ...]] = field(default_factory=dict)
    flip: str = ""
    parts: tuple[int, ...] = ()
    offset: Mapping[str, float] = field(default_factory=dict)
    negative: bool = False


@dataclass(frozen=True)
class Program:
    """The source of a network in one framework, and what is where in it.

    ``graph`` is the network in the forms that the framework has, before it was
    rewritten for it: what the program must be equal to. ``nodes`` maps the name of a
    node to its (first, last) lines in the network's body; ``steps`` maps a step to its
    lines; both count from 1 and include the last. ``labels`` says of every line which
    step it belongs to and which nodes it writes: a layer that is made in one place and
    applied in another has lines in both. ``parallel``: it is one of several processes
    that train together, each on its share of every batch.
    """

    name: str
    workload: str
    backend: str
    source: str
    nodes: Mapping[str, tuple[int, int]]
    steps: Mapping[str, tuple[int, int]]
    weights: tuple[ProgramWeight, ...]
    graph: Graph
    recipe: Recipe | None
    forms: Mapping[str, str] = field(default_factory=dict)
    dtype: str = "float32"
    parallel: bool = False
    labels: tuple[tuple[str, tuple[str, ...]], ...] = ()
    script: Script = PYTHON

    @property
    def digest(self) -> str:
        """SHA-256 of the source."""
        return hashlib.sha256(self.source.encode()).hexdigest()

    @property
    def lines(self) -> int:
        """Number of lines of the source."""
        return self.source.count("\n")

    @property
    def code_lines(self) -> int:
        """Number of lines that are neither blank, nor comment, nor docstring."""
        return self.script.code_lines(self.source)

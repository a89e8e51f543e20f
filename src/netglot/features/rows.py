"""The rows of the table, in order, and which variant of a probe a framework runs."""

from __future__ import annotations

import ast
import functools
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from netglot import backends
from netglot.errors import unknown

FOLDER = Path(__file__).parent / "probes"

#: Seconds that a probe may take where its file says nothing (``TIMEOUT``).
TIMEOUT = 120.0

Kind = Literal["probe", "own", "declared"]


@dataclass(frozen=True)
class Row:
    """One question.

    A ``probe`` runs in the framework's interpreter, its file in ``probes/`` has the
    name; ``own`` ones are answered by netglot's own verbs (``own.py``), ``declared``
    ones by what others say (``declared.json``).
    """

    name: str
    title: str
    kind: Kind = "probe"

    @property
    def path(self) -> Path:
        """The file of its probe."""
        return FOLDER / (self.name.replace("-", "_") + ".py")


_ANCESTORS = (
    Row("creator", "Creator", "declared"),
    Row("licence", "Licence", "declared"),
    Row("platforms", "Platforms", "declared"),
    Row("written-in", "Written in", "declared"),
    Row("interfaces", "Interfaces and other languages", "declared"),
    Row("cuda", "Computes on a GPU (CUDA)"),
    Row("autodiff", "Automatic differentiation"),
    Row("pretrained", "Formats of weights that it loads"),
    Row("recurrent", "Recurrent networks"),
    Row("convolution", "Convolutional networks"),
    Row("rbm", "Restricted Boltzmann machines"),
    Row("imperative", "Symbolic or imperative"),
    Row("graph-optimization", "Optimizes the graph by itself"),
    Row("memory-reuse", "Reuses memory"),
    Row("custom-op-python", "A new operation in Python"),
    Row("custom-op-c", "A new operation in C or C++"),
    Row("tensor-operators", "Low-level tensor operators"),
    Row("control-flow", "Control flow that depends on data"),
    Row("high-level", "High-level support"),
    Row("performance", "Speed and memory on one device", "own"),
    Row("compile-time", "Time to compile the graph", "own"),
    Row("data-parallel", "Several devices, distributed"),
    Row("fine-tuning", "Transfer learning and fine-tuning"),
)
_TODAY = (
    Row("execution", "Eager, lazy or asynchronous"),
    Row("dynamic-shapes", "Dynamic shapes"),
    Row("variable-length", "Sequences of different lengths"),
    Row("forward-mode", "Forward-mode differentiation"),
    Row("second-order", "Second derivatives"),
    Row("vmap", "Vectorizing map"),
    Row("per-sample-gradients", "Gradients per observation"),
    Row("custom-gradient", "A gradient of one's own"),
    Row("checkpointing", "Recomputation instead of memory"),
    Row("dtypes", "Number formats"),
    Row("mixed-precision", "Mixed precision with loss scaling"),
    Row("float32-mantissa", "What float32 is multiplied in"),
    Row("determinism", "The same numbers in every process"),
    Row("random-state", "Random state saved and resumed"),
    Row("compiled-step", "The whole training step compiled"),
    Row("compile-cache", "Compiled code kept for the next process"),
    Row("layouts", "Channels first and last"),
    Row("padding", "Same padding at stride 2, ceil pooling"),
    Row("fused-rnn", "Recurrent layer as one operation"),
    Row("attention", "Attention: fused, causal, grouped"),
    Row("normalizations", "Normalizations"),
    Row("losses", "Losses: label smoothing, CTC"),
    Row("optimizers", "Optimizers"),
    Row("schedules", "Learning-rate schedules"),
    Row("sparse-gradients", "Sparse gradients of embeddings"),
    Row("linear-algebra", "Linear algebra with gradients"),
    Row("device-kernel", "A kernel of one's own for the device"),
    Row("dlpack", "Arrays exchanged without copying (DLPack)"),
    Row("data-pipeline", "Native data pipeline"),
    Row("checkpoint", "Checkpoint loaded in another process"),
    Row("safetensors", "safetensors"),
    Row("onnx-out", "ONNX written"),
    Row("onnx-in", "ONNX read"),
    Row("export", "Export that runs without the model's source"),
    Row("quantization", "int8 quantization"),
    Row("without-python", "Runs without Python"),
    Row("devices", "Devices found"),
    Row("sharding", "Tensor, pipeline and FSDP sharding"),
    Row("gradient-accumulation", "Gradient accumulation"),
    Row("all-reduce", "All-reduce between processes"),
    Row("distributed-checkpoint", "Distributed checkpoint, two to one"),
    Row("shape-error", "A shape error names the layer"),
    Row("nan-trap", "Finds the operation that makes a NaN"),
    Row("profiler", "Profiler"),
    Row("memory-introspection", "Says what memory it uses"),
    Row("thread-limits", "Obeys a limit of threads"),
    Row("thread-safety", "Several threads of Python"),
    Row("fork-safety", "Works after a fork"),
    Row("summary", "Summary of the graph, FLOP count"),
    Row("python-versions", "Versions of Python", "own"),
    Row("install-size", "Size and seconds of the installation", "own"),
    Row("import-time", "Milliseconds of the import", "own"),
    Row("type-stubs", "Types: a checker over the program", "own"),
    Row("program-lines", "Lines of the program", "own"),
)

#: What the tables of 2016 and 2017 asked, and what is asked today.
GROUPS: Mapping[str, tuple[Row, ...]] = {"ancestors": _ANCESTORS, "today": _TODAY}
ROWS: Mapping[str, Row] = {row.name: row for rows in GROUPS.values() for row in rows}

#: A framework whose probes are those of the library below it, where it has no variant
#: of its own. A name without an entry has only its own.
_FAMILIES: Mapping[str, tuple[str, ...]] = {
    "flax": ("jax",),
    "equinox": ("jax",),
    "keras-tensorflow": ("keras",),
    "keras-jax": ("keras",),
    "keras-torch": ("keras",),
    "gluon": ("mxnet",),
    "keras2-tensorflow": ("keras2",),
    "keras2-theano": ("keras2",),
    "keras2-cntk": ("keras2",),
    "lasagne": ("theano",),
}


def get(name: str) -> Row:
    """A row by name; raises ``UserError`` with the nearest names for an unknown one."""
    if name not in ROWS:
        raise unknown("row", name, ROWS)
    return ROWS[name]


def variants(framework: str) -> tuple[str, ...]:
    """The functions of a probe that would do for a framework, best first."""
    backends.get(framework)
    return (framework.replace("-", "_"), *_FAMILIES.get(framework, ()))


@dataclass(frozen=True)
class Probe:
    """What a file of a probe says without being run.

    ``sources`` has for each variant the file without the other variants, and what it
    uses of files that probes share. ``alone``: it changes what other probes would see,
    and gets a process of its own. ``variables`` are set in that process.
    """

    sources: Mapping[str, str]
    timeout: float
    alone: bool
    variables: Mapping[str, str]


@functools.cache
def probe(path: Path) -> Probe:
    """Reads the file of a probe; raises ``SyntaxError`` where it is none."""
    text = path.read_text()
    tree = ast.parse(text)
    said: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in ("TIMEOUT", "ALONE", "VARIABLES"):
                said[name] = ast.literal_eval(node.value)
    variables = dict(said.get("VARIABLES", {}))
    variants, beside = _variants(tree), list(_beside(path, tree))
    return Probe(
        {
            name: _without(text, variants, name)
            + "".join(_of_file(other, variants, name) for other in beside)
            for name in variants
        },
        float(said.get("TIMEOUT", TIMEOUT)),
        bool(said.get("ALONE") or variables),
        variables,
    )


def _variants(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    """The functions that answer for a framework: those that are handed a ``check``."""
    return {
        node.name: node
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and [argument.arg for argument in node.args.args] == ["check"]
        and not node.name.startswith("_")
    }


def _beside(path: Path, tree: ast.Module) -> Iterator[Path]:
    """The files that several probes share and this one imports: ``_name.py``."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("_"):
                    yield path.with_name(f"{alias.name}.py")


def _of_file(path: Path, variants: Container[str], kept: str) -> str:
    """A shared file under its name, without what it has for other variants."""
    text = path.read_text()
    functions = {
        node.name: node
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef) and node.name in variants
    }
    return f"\n\n# {path.name}\n{_without(text, functions, kept)}"


def _without(text: str, variants: Mapping[str, ast.FunctionDef], kept: str) -> str:
    """A file without its variants but one."""
    lines = text.splitlines()
    for name, node in variants.items():
        if name != kept:
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            for at in range(first - 1, node.end_lineno or first):
                lines[at] = "\0"
    found = "\n".join(line for line in lines if line != "\0")
    while "\n\n\n\n" in found:
        found = found.replace("\n\n\n\n", "\n\n\n")
    return found.rstrip() + "\n"


def variant(row: Row, framework: str) -> str | None:
    """The function that answers for a framework; None where nobody has written one."""
    if not row.path.exists():
        return None
    known = probe(row.path).sources
    return next((name for name in variants(framework) if name in known), None)

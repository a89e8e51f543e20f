"""The pieces of a program that are NumPy, and so the same in every framework."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from netglot.backend import Parts, Rule, Scope, Section, Site
from netglot.source import Line, call, inline, layout
from netglot.symbols import Symbol

IMPORTS = ("import argparse", "", "import numpy as np")
#: Observations that a network is run on which is not trained.
FORWARD = 1000
TIMED = ("import argparse", "import time", "", "import numpy as np")

#: What XLA has compiled once is kept: a program that is judged again, or one that is
#: nearly the same, starts in half the time.
JAX_COMPILED = {
    "JAX_COMPILATION_CACHE_DIR": "{folder}/compiled",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}
#: Threefry is unrolled, and takes XLA seconds for every shape of a weight.
JAX_JUDGED = {"JAX_DEFAULT_PRNG_IMPL": "rbg", **JAX_COMPILED}
#: XLA compiles in a third of the time what then runs more slowly.
JAX_IN_A_HURRY = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
#: Whole float32 products (XLA's own kernels heed no variable of the driver's), and no
#: memory taken before it is needed.
JAX_ON_GPU = {
    "JAX_DEFAULT_MATMUL_PRECISION": "highest",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}
TENSORFLOW_ON_GPU = {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}
#: Keras reads the user's ``~/.keras/keras.json``, whose layout, precision or epsilon
#: may be others, and writes one where there is none.
KERAS_AT_HOME = {"KERAS_HOME": "{folder}/keras"}


def head(
    parts: Parts,
    imports: Sequence[str],
    constants: Sequence[str],
    first: Sequence[str] | None = None,
) -> Section:
    """Docstring, imports, constants; ``first`` are the imports that all begin with."""
    workload = parts.workload
    python = parts.engine.command if parts.engine else "python {file}"
    if first is None:
        first = IMPORTS if parts.recipe else TIMED
    numbers = [f"BATCH_SIZE = {workload.batch}"]
    if parts.recipe:
        numbers.append(f"EPOCHS = {parts.recipe.epochs}")
    return Section(
        "head",
        '"""$title.\n\n$usage\n"""\n\n$imports\n\n$constants',
        {
            "title": f"{workload.title}, in {parts.backend.title}"
            + ", on several processes" * parts.parallel,
            "usage": python.format(file=f"{parts.file}.py")
            + f" --data {workload.data.name}.npz",
            "imports": [*first, *imports],
            "constants": [*numbers, *constants],
        },
    )


def load_data(parts: Parts) -> Section:
    """From the arrays of a prepared file to what the network reads."""
    workload = parts.workload
    name, type_ = parts.graph.inputs[0]
    stored = parts.backend.storage(type_.axes)
    shape = tuple(type_.size(letter) for letter in stored[1:])
    kind = workload.data.kind
    change = ""
    if kind == "images" and type_.axes == "NCHW":
        order = tuple("NCHW".index(letter) for letter in stored)
        if order != (0, 1, 2, 3):
            change = f".transpose{order}"
            if type_.size("C") == 1:
                change = f".reshape{(-1, *shape)}"
    elif shape != workload.data.shape:
        # Numbers without axes of their own are in canonical order.
        canonical = tuple(type_.size(letter) for letter in type_.axes[1:])
        change = f".reshape{(-1, *canonical)}"
        if stored != type_.axes:
            order = tuple(type_.axes.index(letter) for letter in stored)
            change += f".transpose{order}"
    convert = f".astype(np.{parts.dtype})"
    if ".transpose" in change:
        convert = f'.astype(np.{parts.dtype}, order="C")'
    scale = " / 255" if kind == "images" else ""
    sizes = " x ".join(str(size) for size in ("N", *shape))
    what = f"{name}s" if not name.endswith("s") else name
    if kind == "tokens":
        arrays = {n: f'data["{n}"]' for n in ("x_train", "x_test")}
        about = f"Read {what} ({sizes} indices) and labels."
    else:
        arrays = {
            n: f'data["{n}"]{change}{convert}{scale}' for n in ("x_train", "x_test")
        }
        values = ", values from 0 to 1" if kind == "images" else ""
        about = f"Read {what} ({sizes}{values}) and labels."
    lines = []
    if workload.recipe is None:
        about = about.replace(" and labels", "")
        times = {a: n // m for a, n, m in _sizes(parts) if n != m}
        enlarge = "".join(
            f".repeat({n}, axis={'NCHW'.index(a)})" for a, n in times.items()
        )
        lines = [f'x = data["x_test"][:{FORWARD}]{enlarge}']
        result = f"x{change}{convert}{scale}"
    elif kind == "tokens":
        result = (
            f'{arrays["x_train"]}, data["y_train"], {arrays["x_test"]}, data["y_test"]'
        )
    else:
        lines = [f"{n} = {text}" for n, text in arrays.items()]
        result = 'x_train, data["y_train"], x_test, data["y_test"]'
        if workload.target == "input":
            about = about.replace(" and labels.", "; the target is the image itself.")
            result = "x_train, x_train, x_test, x_test"
    return Section(
        "data",
        '# 1. Load the data\ndef load_data(path):\n    """$about"""\n'
        "    data = np.load(path)\n    $lines\n    return $result",
        {"about": about, "lines": lines, "result": result},
    )


def _sizes(parts: Parts) -> list[tuple[str, int, int]]:
    """Letter, size the network reads, size in the file, for each axis of an image."""
    type_ = parts.graph.inputs[0][1]
    stored = parts.workload.data.shape
    if type_.axes != "NCHW" or parts.workload.data.kind != "images":
        return []
    pairs = zip("CHW", stored, strict=True)
    return [(letter, type_.size(letter), size) for letter, size in pairs]


def seeds(function: str, parallel: bool = False) -> list[str]:
    """Seeds random numbers; ``parallel``: those of one process of several."""
    if not parallel:
        return [f"{function}(seed)"]
    return [
        "# Each drops other values; the initial weights are those of the first.",
        f"{function}(seed + RANK)",
    ]


def batches(parallel: bool = False) -> Section:
    """Complete batches in a seeded random order; ``parallel``: a process's share."""
    rows, whose = "start : start + BATCH_SIZE", "the rows"
    if parallel:
        rows = "start + RANK : start + BATCH_SIZE : WORKERS"
        whose = "this process's rows"
    return Section(
        "train",
        '''
# 4. Train
def batches(count, rng):
    """Yield $whose of each complete batch, in a new random order."""
    order = rng.permutation(count)
    for start in range(0, count - BATCH_SIZE + 1, BATCH_SIZE):
        yield order[$rows]
''',
        {"whose": whose, "rows": rows},
    )


def train(
    parts: Parts,
    mean: str = "np.mean(losses)",
    state: str = "model, optimizer",
    functional: bool = False,
    summary: Sequence[str] = (),
) -> Section:
    """The loop over epochs and batches; ``mean`` is a number made of ``losses``.

    ``functional``: a step changes nothing, and returns the new state with its loss.
    ``summary`` are lines between the last step of an epoch and its report.
    """
    step = [f"losses.append(train_step({state}, x[rows], y[rows]))"]
    if functional:
        made = call("train_step", *state.split(", "), "x[rows]", "y[rows]")
        rows = layout(" " * 12 + f"{state}, loss = ", made)
        step = [*(row[12:] for row in rows), "losses.append(loss)"]
    signature = call(
        "train",
        *state.split(", "),
        "x",
        "y",
        epochs="EPOCHS",
        seed=0,
        validation="None",
        on_step="None",
    )
    return Section(
        "train",
        '''
$signature
    """Train for some epochs; print the mean loss of each."""
    rng = np.random.default_rng(seed)
    for epoch in range(epochs):
        losses = []
        for rows in batches(len(x), rng):
            $step
            if on_step:
                on_step(losses[-1])
        $summary
        report = f"epoch {epoch + 1}: loss {$mean:.4f}"
        if validation:
            report += f", $metric {evaluate(model, *validation):.4f}"
        $print
    $result
''',
        {
            "signature": layout("def ", signature, ":"),
            "step": step,
            "result": [f"return {state}"] if functional else [],
            "mean": mean,
            "summary": summary,
            "print": ["if RANK == 0:", "    print(report)"]
            if parts.parallel
            else ["print(report)"],
            "metric": parts.workload.metric,
        },
    )


def evaluate(parts: Parts) -> Section:
    """Accuracy, or mean squared error, over all observations."""
    if parts.workload.metric == "accuracy":
        about, total, value = (
            "Share of observations whose highest score is that of their label.",
            "correct",
            "np.sum(predict(model, x[rows]).argmax(axis=1) == y[rows])",
        )
        result = "correct / len(x)"
    else:
        about, total, value = (
            "Mean squared error.",
            "total",
            "np.sum((predict(model, x[rows]) - y[rows]) ** 2)",
        )
        result = "total / y.size"
    return Section(
        "evaluate",
        '''
# 6. Evaluate
def evaluate(model, x, y):
    """$about"""
    $total = 0
    for start in range(0, len(x), BATCH_SIZE):
        rows = slice(start, start + BATCH_SIZE)
        $total += $value
    return $result
''',
        {"about": about, "total": total, "value": value, "result": result},
    )


def extract() -> Section:
    """All observations through a network that is only run forward."""
    return Section(
        "evaluate",
        '''
# 5. All observations
def extract(model, x):
    """Features of all observations, batch by batch."""
    starts = range(0, len(x), BATCH_SIZE)
    return np.concatenate([predict(model, x[i : i + BATCH_SIZE]) for i in starts])
''',
    )


def main(
    parts: Parts,
    state: str = "model, optimizer",
    functional: bool = False,
    end: Sequence[str] = (),
) -> Section:
    """The command line; ``functional`` as of ``train``; ``end`` are its last lines."""
    file = f"{parts.workload.data.name}.npz"
    load = "model = " * functional + "load_weights(model, args.weights)"
    if parts.recipe is None:
        return Section("main", _FEATURES, {"file": file, "load": load})
    given = ("x_train", "y_train", "args.epochs", "args.seed")
    train = call("train", *state.split(", "), *given, validation="test")
    prefix = "    " + "model, *_ = " * functional
    rows = [row[4:] for row in layout(prefix, train)]
    slots: dict[str, Any] = {
        "file": file,
        "state": state,
        "load": load,
        "train": rows,
        "first": " and RANK == 0" * parts.parallel,
        "end": end,
    }
    return Section("main", _MAIN, slots)


_MAIN = """
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="$file")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", help="initial weights (.npz)")
    parser.add_argument("--save", help="where to write the trained weights (.npz)")
    args = parser.parse_args()

    x_train, y_train, *test = load_data(args.data)
    $state = build(args.seed)
    if args.weights:
        $load
    $train
    if args.save$first:
        save_weights(model, args.save)
    $end


if __name__ == "__main__":
    main()
"""

_FEATURES = """
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="$file")
    parser.add_argument("--weights", help="weights (.npz)")
    parser.add_argument("--save", default="features.npy")
    args = parser.parse_args()

    x = load_data(args.data)
    model = build()
    if args.weights:
        $load
    start = time.perf_counter()
    features = extract(model, x)
    print(f"{len(x)} observations in {time.perf_counter() - start:.2f} seconds")
    np.save(args.save, features)


if __name__ == "__main__":
    main()
"""


# --- Rules that Python itself gives ---------------------------------------------------


def operand(expression: Any) -> str:
    """In brackets where an operator beside it would bind more tightly."""
    text = inline(expression)
    plain = text
    while (bare := re.sub(r"\([^()]*\)", "", plain)) != plain:
        plain = bare
    return f"({text})" if " " in plain else text


def binary(symbol: str) -> Rule:
    """``x + y``."""
    return Rule(lambda s: f"{operand(s.x)} {symbol} {operand(s.arguments[1])}")


def function(name: str) -> Rule:
    """A function of the inputs, without attributes."""
    return Rule(lambda s: call(name, *s.arguments))


def scale(s: Site) -> str:
    """``2.0 * x + 0.5``."""
    text = operand(s.x)
    if s.op.factor != 1:
        text = f"{s.op.factor} * {text}"
    return f"{text} + {s.op.offset}" if s.op.offset else text


def sliced(s: Site) -> str:
    """``x[:, 1:3]``."""
    # Left out, the start of a slice that steps backwards is the end.
    start = "" if s.op.start == 0 and s.op.step > 0 else s.op.start
    stop = "" if s.op.stop is None else s.op.stop
    step = "" if s.op.step == 1 else f":{s.op.step}"
    return f"{s.x}[{':, ' * s.axis(s.op.axis)}{start}:{stop}{step}]"


def write_call(site_call: str, arguments: Sequence[tuple[str, int | Symbol]]) -> str:
    """``Bottleneck(channels=64)``: the use of a block with its sizes by name."""
    return "".join(layout("", call(site_call, **dict(arguments))))


def class_lines(scope: Scope, template: str) -> list[str | Line]:
    """A class or function of the program; slots as in ``Section``, plus the scope's."""
    lines: list[str | Line] = []
    for row in template.strip("\n").split("\n"):
        margin = row[: len(row) - len(row.lstrip())]
        if row.strip() == "$make":
            lines += [Line(margin + line.text, line.node) for line in scope.make]
        elif row.strip() == "$apply":
            lines += [Line(margin + line.text, line.node) for line in scope.apply]
        else:
            parameters = "".join(f", {name}" for name in scope.parameters)
            text = row.replace("$name", scope.name).replace("$function", scope.function)
            text = text.replace("$inputs", ", ".join(scope.inputs))
            lines.append(text.replace("$parameters", parameters))
    return lines

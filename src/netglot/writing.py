"""Programs as files of their own: source, initial weights, how to make the data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from netglot import backends, reference
from netglot.emit import Settings, emit
from netglot.errors import UserError
from netglot.recipe import Initializers
from netglot.weights import to_program
from netglot.workloads import Workload


def write(
    workload: Workload,
    names: Sequence[str],
    folder: Path,
    seed: int = 0,
    dtype: str = "float32",
    exact_form: bool = False,
) -> list[Path]:
    """Write the programs of a workload into a folder; the paths, in order.

    All start from the same weights, drawn from ``seed``. Raises ``GapError`` where a
    framework cannot say the network, ``UserError`` where the folder cannot be written.
    """
    settings = Settings(dtype=dtype, exact_form=exact_form)
    programs = [emit(workload, backends.get(name), settings) for name in names]
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for program in programs:
            path = folder / program.name
            path.write_text(program.source)
            initializers = (
                program.recipe.initializers if program.recipe else Initializers()
            )
            weights = reference.initial_weights(program.graph, initializers, seed)
            arrays = to_program(program, weights)
            weights_path = path.with_name(f"{path.stem}_weights.npz")
            np.savez(weights_path, **arrays)  # type: ignore[arg-type]
            written += [path, weights_path]
        path = folder / "README.md"
        path.write_text(_readme(workload, [p.name for p in programs]))
        written.append(path)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}.") from error
    return written


def _readme(workload: Workload, files: Sequence[str]) -> str:
    data = workload.data
    lines = [
        f"# {workload.title}",
        "",
        "The data, once (see docs/data.md of netglot for the forms that are read):",
        "",
        f"    netglot data prepare {data.name} --from FOLDER -o {data.name}.npz",
        "",
        "Then each program runs by itself; it needs its framework and NumPy:",
        "",
    ]
    for name in files:
        stem = name.removesuffix(".py")
        lines.append(
            f"    python {name} --data {data.name}.npz --weights {stem}_weights.npz"
        )
    lines += [
        "",
        "Without `--weights` a program draws its own initial weights. The files of",
        "weights hold the same numbers for every framework, each in its own layout.",
        "",
    ]
    return "\n".join(lines)

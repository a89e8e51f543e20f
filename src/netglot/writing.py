"""Programs as files of their own: source, initial weights, how to make the data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from netglot import backends, reference
from netglot.backend import Program
from netglot.data import t7
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
            suffix = program.script.arrays
            weights_path = path.with_name(f"{path.stem}_weights{suffix}")
            if suffix == ".t7":
                with open(weights_path, "wb") as file:
                    t7.write(file, list(arrays.values()))
            else:
                np.savez(weights_path, **arrays)  # type: ignore[arg-type]
            written += [path, weights_path]
        path = folder / "README.md"
        path.write_text(_readme(workload, programs))
        written.append(path)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}.") from error
    return written


def _readme(workload: Workload, programs: Sequence[Program]) -> str:
    data = workload.data
    kinds = list(dict.fromkeys(program.script.arrays for program in programs))
    python = kinds == [".npz"]
    lines = [
        f"# {workload.title}",
        "",
        "The data, once (see docs/data.md of netglot for the forms that are read):",
        "",
        *(
            f"    netglot data prepare {data.name} --from FOLDER -o {data.name}{kind}"
            for kind in kinds
        ),
        "",
        "Then each program runs by itself; it needs its framework"
        + (" and NumPy:" if python else ":"),
        "",
    ]
    for program in programs:
        script = program.script
        stem = program.name.removesuffix(script.suffix)
        dash, arrays = script.dash, script.arrays
        lines.append(
            f"    {script.command} {program.name} {dash}data {data.name}{arrays}"
            f" {dash}weights {stem}_weights{arrays}"
        )
    lines += [
        "",
        f"Without `{programs[0].script.dash}weights` a program draws its own initial "
        "weights. The files of",
        "weights hold the same numbers for every framework, each in its own layout.",
        "",
    ]
    return "\n".join(lines)

"""Is every program equal to its definition? Workloads x frameworks, as a table.

    python benchmarks/parity.py [--on ...] [--workloads ...] [--data DIR]
                                [--steps 10] [--size 32]

The gate of the race in full: the float64 twin and float32, scores and optimizer
steps, on real observations where ``--data`` names them (else the embedded digits, and
no text). Printed: the largest relative difference of all weights together after all
steps, in float32 and in float64 (of the scores, for a network that is not trained).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from netglot import backends, data, workloads
from netglot.check.gatekeeper import SIZE, STEPS, Exam, Gatekeeper
from netglot.check.settings import Settings, entries
from netglot.errors import UserError
from netglot.runtime import envs


def cell(keeper: Gatekeeper, name: str, folder: Path) -> str:
    """What the table says of one framework and workload."""
    (entry,) = entries((name,))
    try:
        verdict = keeper.judge(entry, envs.prepare(entry.env, name), folder)
    except UserError as error:
        return str(error)
    if verdict.error:
        return verdict.error.splitlines()[0]
    sizes = {"float32": 0.0, "float64": 0.0}
    for difference in verdict.differences:
        if difference.what.startswith(("all weights", "scores")):
            dtype = "float64" if "(float64)" in difference.what else "float32"
            sizes[dtype] = max(sizes[dtype], difference.size)
    forms = "; ".join(f"{k}: {v}" for k, v in (verdict.forms or {}).items())
    text = f"{sizes['float32']:.0e} {sizes['float64']:.0e}"
    if not verdict.equal:
        text = f"NOT EQUAL {verdict}"
    return f"{text}\n{forms}" if forms else text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--on", default=",".join(backends.names()))
    parser.add_argument("--workloads", default=",".join(workloads.names()))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--size", type=int, default=SIZE, help="of a batch")
    args = parser.parse_args()
    names = args.on.split(",")
    table = Table("workload", *names, title="float32, float64")
    for task in args.workloads.split(","):
        workload = workloads.get(task)
        try:
            prepared = data.prepare(workload.data, args.data)
        except UserError as error:
            print(f"{task}: {error}")
            continue
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(task, tuple(names), Path(folder))
            exam = Exam(workload, args.steps, args.size)
            keeper = Gatekeeper(prepared, settings, [exam])
            table.add_row(task, *(cell(keeper, n, Path(folder)) for n in names))
        print(task, "done", flush=True)
    Console(width=40 + 22 * len(names)).print(table)


if __name__ == "__main__":
    main()

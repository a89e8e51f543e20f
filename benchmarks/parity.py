"""Is every program equal to its definition? Frameworks x workloads, as a table.

    python benchmarks/parity.py [--on ...] [--workloads ...] [--data DIR]
                                [--steps 10] [--size 32]

The gate of the race in full: the float64 twin and float32, scores and optimizer
steps, on real observations where ``--data`` names them (else the embedded digits, and
no text). Printed, at the end as GitHub's Markdown: the largest relative difference of
all weights together after all steps, in float32 and in float64 (of the scores, for what
is only run forward), and below the table the forms in which a network was compared and
why others were not.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from netglot import backends, data, workloads
from netglot.check.gate import Verdict
from netglot.check.gatekeeper import SIZE, STEPS, Exam, Gatekeeper
from netglot.check.settings import Settings, entries
from netglot.emit import GapError
from netglot.errors import UserError
from netglot.report import words
from netglot.runtime import envs


def judged(keeper: Gatekeeper, name: str, folder: Path) -> tuple[str, str]:
    """What the table says of one framework and workload, and what stands below it."""
    (entry,) = entries((name,))
    try:
        verdict = keeper.judge(entry, envs.prepare(entry.env, name), folder)
    except GapError as gap:
        return "gap", str(gap)
    except UserError as error:
        return "not here", str(error)
    if verdict.error:
        return "error", verdict.error.splitlines()[0]
    forms = "; ".join(f"{k}: {v}" for k, v in (verdict.forms or {}).items())
    notes = "; ".join(note for note in (verdict.not_here, forms) if note)
    if not verdict.equal:
        return "NOT EQUAL", "; ".join(note for note in (str(verdict), notes) if note)
    return _sizes(verdict), notes


def _sizes(verdict: Verdict) -> str:
    """The largest differences; a dash for a precision that the framework has not."""
    sizes: dict[str, float] = {}
    for difference in verdict.differences:
        if difference.what.startswith(("all weights", "scores")):
            dtype = "float64" if "(float64)" in difference.what else "float32"
            sizes[dtype] = max(sizes.get(dtype, 0.0), difference.size)
    return ", ".join(
        f"{sizes[dtype]:.0e}" if dtype in sizes else words.NOTHING
        for dtype in ("float32", "float64")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--on", default=",".join(backends.names()))
    parser.add_argument("--workloads", default=",".join(workloads.names()))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--size", type=int, default=SIZE, help="of a batch")
    args = parser.parse_args()
    names, tasks = args.on.split(","), args.workloads.split(",")
    table: dict[str, dict[str, str]] = {name: {} for name in names}
    below = []
    for task in tasks:
        try:
            prepared = data.prepare(workloads.get(task).data, args.data)
        except UserError as error:
            below.append(f"{task}: {error}")
            continue
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(task, tuple(names), Path(folder))
            exam = Exam(workloads.get(task), args.steps, args.size)
            keeper = Gatekeeper(prepared, settings, [exam])
            for name in names:
                told, note = judged(keeper, name, Path(folder))
                table[name][task] = told
                print(f"{task:18} {name:18} {told:16} {note}", flush=True)
                if note:
                    below.append(f"{backends.get(name).title}, {task}: {note}")
    print("\n" + words.row(["float32, float64", *tasks]))
    print(words.row([":--", *["--:"] * len(tasks)]))
    for name in names:
        cells = [table[name].get(task, words.NOTHING) for task in tasks]
        print(words.row([backends.get(name).title, *cells]))
    print("\n" + "\n".join(f"- {note}" for note in below))


if __name__ == "__main__":
    main()

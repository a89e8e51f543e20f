"""Can the clock be believed? The proofs of docs/method.md, for every framework.

    python benchmarks/clock.py [--on ...] [--workload cifar-vgg] [--steps 10]
                               [--data DIR]

Twice the steps take twice the time (ratio 2 within 5 %); a second barrier right after
the first costs under 1 % of a step; and how far a clock without a barrier would have
been off. Run with nothing else on the machine.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from netglot import backends, data, workloads
from netglot.check.gatekeeper import initial
from netglot.emit import emit
from netglot.runtime import envs
from netglot.runtime.jobs import Worker
from netglot.weights import to_program


def prove(
    name: str, task: str, steps: int, threads: int | None, source: Path | None
) -> dict[str, float]:
    """The answers of the worker's ``proofs``."""
    workload, backend = workloads.get(task), backends.get(name)
    program = emit(workload, backend)
    prepared = data.prepare(workload.data, source)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / program.name).write_text(program.source)
        weights = to_program(program, initial(program, 0))
        np.savez(folder / "weights.npz", **weights)  # type: ignore[arg-type]
        with Worker.start_for(
            backend.env,
            envs.prepare(backend.env, name),
            log=folder / "log",
            threads=threads,
            timed=True,
            name=name,
        ) as worker:
            for verb, arguments in (
                (
                    "import",
                    {
                        "program": folder / program.name,
                        "imports": list(backend.env.imports),
                    },
                ),
                ("build", {"weights": folder / "weights.npz"}),
                (
                    "proofs",
                    {
                        "data": prepared.path,
                        "limit": steps * workload.batch,
                        "epochs": 1,
                        "barrier": backend.barrier,
                    },
                ),
            ):
                result = worker.ask(verb, **arguments)
                if not result.ok:
                    raise SystemExit(f"{name}: {result.error}")
    return dict(result.answer)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--on", default=",".join(backends.names()))
    parser.add_argument("--workload", default="cifar-vgg")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--json", type=Path, help="where to write all answers")
    args = parser.parse_args()
    found = {}
    print("framework          step ms  2N/N  second barrier  unsynchronised")
    for name in args.on.split(","):
        answer = prove(name, args.workload, args.steps, args.threads, args.data)
        found[name] = answer
        print(
            f"{name:17} {1000 * answer['step_seconds']:8.1f} {answer['ratio']:5.2f}"
            f" {100 * answer['second_barrier_share']:7.2f} % of a step"
            f" {100 * answer['unsynchronised']['share']:7.1f} % of the true time",
            flush=True,
        )
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""A run in a race against ``python program.py`` alone: the same file, one epoch each.

    python benchmarks/alone.py [--on ...] [--limit 10000] [--rounds 5] [--data DIR]

In turn (A B A B ...): a race of one run (its verdict is already known), and the
program that the race has written, started by hand with the same weights, data and
threads. Whole processes are compared: start, import, data, build, one epoch,
evaluation, end; without the two phases of its records that a program does not have:
the confusion matrix, and ``settle``, in which the checksum of the clock is compiled
(and what a build has left running is waited for). The ratio of the wall times, pair by
pair, and its median; then that of the fastest of each, which is what counts where a
framework now and then trains on one core of two (TensorFlow does, in the race as alone:
every fourth time or so on two cores, twice as slow). 1.03 is what is allowed. In
brackets at the end the median with ``settle``. Run with nothing else on the machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from netglot import backends, data, workloads
from netglot.race.engine import race
from netglot.race.settings import Settings
from netglot.runtime.jobs import variables_for

WORKLOAD = "mnist-cnn"


def silent(*_: object, **__: object) -> None:
    """Watches nothing."""


def limited(source: Path | None, limit: int, folder: Path) -> Path:
    """A data file of the first ``limit`` training observations: a program reads all."""
    prepared = data.prepare(workloads.get(WORKLOAD).data, source)
    with np.load(prepared.path) as arrays:
        rows = {
            name: array[:limit] if name.endswith("_train") else array
            for name, array in arrays.items()
        }
    path = folder / "mnist.npz"
    np.savez(path, **rows)
    return path


def pairs(
    name: str, path: Path, rounds: int, threads: int | None, folder: Path
) -> Iterator[tuple[float, float, float]]:
    """Seconds in the race, of its clock, alone; not the first, which fills caches."""
    for number in range(rounds + 1):
        out = folder / f"{name}-{number}"
        settings = Settings(
            WORKLOAD, (name,), out, data=path, epochs=1, threads=threads
        )
        race(settings, silent)
        (file,) = (out / "records").glob("*.json")
        record = json.loads(file.read_text())
        if record["status"] != "done":
            raise SystemExit(f"{name}: {record['error']}")
        command = [
            record["environment"]["interpreter"],
            str(out / "programs" / record["program"]["name"]),
            *("--data", str(path), "--epochs", "1", "--seed", str(settings.seed)),
            *("--weights", str(out / "weights" / f"{name}.npz")),
        ]
        begin = time.perf_counter()
        subprocess.run(
            command,
            check=True,
            env=variables_for(backends.get(name).env, Path(command[0]), threads),
            capture_output=True,
        )
        alone = time.perf_counter() - begin
        if number:
            phases = record["phases"]
            raced = record["wall_seconds"] - phases["confusion"] - phases["settle"]
            yield raced, phases["settle"], alone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--on", default=",".join(backends.names()))
    parser.add_argument("--limit", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--data", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        path = limited(args.data, args.limit, folder)
        for name in args.on.split(","):
            found = list(pairs(name, path, args.rounds, args.threads, folder))
            ratios = [raced / alone for raced, _, alone in found]
            whole = [(raced + settle) / alone for raced, settle, alone in found]
            fastest = min(r for r, _, _ in found) / min(a for _, _, a in found)
            raced, _, alone = map(statistics.median, zip(*found, strict=True))
            print(
                f"{name:18} {raced:6.2f} s in the race, {alone:6.2f} s alone, ratio "
                f"{statistics.median(ratios):.3f} "
                f"({min(ratios):.3f} to {max(ratios):.3f}, {len(ratios)} pairs), "
                f"of the fastest {fastest:.3f} "
                f"[{statistics.median(whole):.3f}]",
                flush=True,
            )


if __name__ == "__main__":
    main()

"""A step of the raced program against a minimal loop written by hand, in one process.

    python benchmarks/step.py [--on pytorch,flax] [--steps 30] [--rounds 7]

Blocks of steps of both in turn (A B A B ...), so that a machine that slows down slows
both; the ratio of the block times, pair by pair, and its median. The program is the one
that is raced, in `train` with `on_step`, as the race calls it. Below 1.03 is what is
asked. Run with nothing else on the machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
from pathlib import Path

from netglot import backends, workloads
from netglot.emit import emit
from netglot.runtime import envs
from netglot.runtime.jobs import variables_for

HERE = Path(__file__).parent / "minimal"

DRIVER = """
import importlib, json, sys, time
sys.path[:0] = [{programs!r}, {minimal!r}]
import numpy as np
program = importlib.import_module({program!r})
minimal = importlib.import_module({minimal_name!r})
steps, rounds = {steps}, {rounds}
size = program.BATCH_SIZE
rng = np.random.default_rng(0)
raw = rng.random((steps * size, 1, 28, 28), dtype=np.float32)
y = rng.integers(0, 10, len(raw))
x = raw if {first} else np.ascontiguousarray(raw.transpose(0, 2, 3, 1))
state = program.build()
state = state if isinstance(state, tuple) else (state,)
keras = hasattr(minimal, "fit")
model = minimal.make() if keras else None


def batches():
    # Drawn like the program draws them: a permutation, a copy per batch.
    order = np.random.default_rng(0).permutation(len(raw))
    for i in range(steps):
        rows = order[i * size : (i + 1) * size]
        yield raw[rows], y[rows]


if keras:
    drawn = list(batches())
else:
    # One generator, one network: the batches of all blocks in a row.
    def endless():
        while True:
            yield from batches()

    losses = minimal.run(endless())


def by_hand():
    begin = time.perf_counter()
    if keras:
        minimal.fit(model, drawn)
    else:
        for _ in range(steps):
            loss = next(losses)
        float(loss)
    return time.perf_counter() - begin


def raced():
    kept = []
    begin = time.perf_counter()
    program.train(*state, x, y, epochs=1, on_step=kept.append)
    float(kept[-1])
    return time.perf_counter() - begin


by_hand(), raced(), by_hand(), raced()
pairs = [(by_hand(), raced()) for _ in range(rounds)]
print(json.dumps(pairs))
"""


def measure(name: str, steps: int, rounds: int, threads: int | None) -> list[float]:
    """Ratio raced / by hand of every pair of blocks."""
    backend = backends.get(name)
    environment = envs.prepare(backend.env, name)
    program = emit(workloads.get("mnist-cnn"), backend)
    minimal = "keras" if name.startswith("keras") else name
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, program.name).write_text(program.source)
        code = DRIVER.format(
            programs=folder,
            minimal=str(HERE),
            program=Path(program.name).stem,
            minimal_name=f"by_hand_{minimal}",
            steps=steps,
            rounds=rounds,
            first=backend.storage("NCHW") == "NCHW",
        )
        done = subprocess.run(
            [str(environment.interpreter), "-c", code],
            capture_output=True,
            text=True,
            env=variables_for(backend.env, environment.interpreter, threads)
            | ({"KERAS_BACKEND": name.split("-")[1]} if minimal == "keras" else {}),
        )
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr[-2000:]}")
    pairs = json.loads(done.stdout.splitlines()[-1])
    by_hand, raced = (
        1000 * statistics.median(column) / steps for column in zip(*pairs, strict=True)
    )
    print(f"{name:18} {raced:8.2f} ms a step, by hand {by_hand:8.2f}", end="  ")
    return [raced / by_hand for by_hand, raced in pairs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--on", default=",".join(backends.names()))
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    for name in args.on.split(","):
        steps = max(2, args.steps // 6) if name == "numpy" else args.steps
        ratios = measure(name, steps, args.rounds, args.threads)
        print(
            f"ratio {statistics.median(ratios):.3f} "
            f"({min(ratios):.3f} to {max(ratios):.3f}, {len(ratios)} pairs)",
            flush=True,
        )


if __name__ == "__main__":
    main()

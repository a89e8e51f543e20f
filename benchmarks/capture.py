"""What it costs to look at a model: recording and comparing, in time and memory.

    python benchmarks/capture.py [--on pytorch,flax] [--deep 1000] [--threads 1]

Per framework two networks: a convolutional one, and a deep one of ``--deep`` layers,
whose activations take 1 GB. First the model's own forward and backward pass (the first,
with what is compiled for it, and the median of three more), then ``record`` in
evaluation and in training, and the comparison of the model with itself. A model is
recorded once in training, so what is compiled for that is part of it: ``× own`` is that
against the model's own first pass, ``× warm`` against the others. Peak memory is that
of the processes: the model's own, the worker that watches it, and netglot's.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from netglot import backends
from netglot.check.layers import compare
from netglot.check.sides import Side, open_file
from netglot.runtime import envs
from netglot.runtime.jobs import variables_for

#: Width and batch of the deep network: a thousand times 512 x 512 numbers are 1 GB.
WIDTH, BATCH = 512, 512
IMAGES = (16, 32, 32, 3)

PYTORCH = """
import torch
from torch import nn


class Deep(nn.Module):
    def __init__(self):
        super().__init__()
        layers = []
        for _ in range({half}):
            layers += [nn.Linear({width}, {width}), nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x)


class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 128, 3, padding=1), nn.BatchNorm2d(128), nn.ReLU(),
            nn.Conv2d(128, 128, 3, padding=1), nn.BatchNorm2d(128), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8192, 10),
        )

    def forward(self, x):
        return self.layers(x)


def own(model, x):
    x = torch.from_numpy(x)
    model(x).square().sum().backward()
"""

FLAX = """
import jax
from flax import nnx


class Deep(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.layers = nnx.List(
            [nnx.Linear({width}, {width}, rngs=rngs) for _ in range({half})]
        )

    def __call__(self, x):
        for layer in self.layers:
            x = nnx.tanh(layer(x))
        return x


class Wide(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        sizes = [(3, 64), (64, 64), (64, 128), (128, 128)]
        self.convs = nnx.List([nnx.Conv(a, b, (3, 3), rngs=rngs) for a, b in sizes])
        self.norms = nnx.List([nnx.BatchNorm(b, rngs=rngs) for _, b in sizes])
        self.head = nnx.Linear(8192, 10, rngs=rngs)

    def __call__(self, x):
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms)):
            x = nnx.relu(norm(conv(x)))
            if i % 2:
                x = nnx.max_pool(x, (2, 2), strides=(2, 2))
        return self.head(x.reshape(len(x), -1))


@nnx.jit
def passed(model, x):
    return nnx.value_and_grad(lambda model: (model(x) ** 2).sum())(model)


def own(model, x):
    jax.block_until_ready(passed(model, x))
"""

SOURCES = {"pytorch": PYTORCH, "flax": FLAX}

OWN = """
import resource, statistics, sys, time
sys.path.insert(0, {folder!r})
import numpy as np
import {module} as file

model = file.{name}()
x = np.load({inputs!r})
seconds = []
for _ in range(4):
    begin = time.perf_counter()
    file.own(model, x)
    seconds.append(time.perf_counter() - begin)
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(seconds[0], statistics.median(seconds[1:]), memory)
"""


@contextmanager
def opened(text: str, folder: Path, threads: int) -> Iterator[tuple[Side, int]]:
    """A model in a worker, and the process id of that."""
    side, worker = open_file("left", text, folder, threads=threads)
    with worker:
        yield side, int(worker.hello["pid"])


def peak(pid: int) -> float:
    """Peak memory of a process in GB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1e6
    return float("nan")


def measured(name: str, network: str, deep: int, threads: int, folder: Path) -> str:
    """A line of the table."""
    backend = backends.get(name)
    path = folder / f"{network.lower()}_{name}.py"
    text = SOURCES[name].replace("{half}", str(deep // 2))
    path.write_text(text.replace("{width}", str(WIDTH)))
    shape = (BATCH, WIDTH) if network == "Deep" else IMAGES
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    if network == "Wide" and name == "pytorch":
        x = x.transpose(0, 3, 1, 2).copy()
    np.save(folder / "x.npy", x)
    program = folder / "own.py"
    program.write_text(
        OWN.format(
            folder=str(folder),
            module=path.stem,
            name=network,
            inputs=str(folder / "x.npy"),
        )
    )
    environment = envs.prepare(backend.env, name)
    answer = subprocess.run(
        [environment.interpreter, program],
        check=True,
        capture_output=True,
        text=True,
        env=variables_for(backend.env, environment.interpreter, threads),
    )
    own, warm, memory = map(float, answer.stdout.split())
    with opened(f"{path}:{network}", folder, threads) as (side, pid):
        side.record([x])
        begin = time.perf_counter()
        first = side.record([x])
        evaluation = time.perf_counter() - begin
        begin = time.perf_counter()
        side.record([x], training=True)
        training = time.perf_counter() - begin
        watched = peak(pid)
        begin = time.perf_counter()
        found = compare(first, first)
        compared = time.perf_counter() - begin
        assert found.same, found.findings
    netglot = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return (
        f"{name:10} {network:5} {own:7.2f} {warm:7.2f} {evaluation:9.2f} "
        f"{training:9.2f} {compared:9.2f} {training / own:7.1f} {training / warm:7.1f} "
        f"{memory / 1e6:9.2f} {watched:8.2f} {netglot:8.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--on", default=",".join(SOURCES))
    parser.add_argument("--networks", default="Wide,Deep")
    parser.add_argument("--deep", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    print(f"{'seconds of':>32} {'GB of memory':>61}")
    print(
        "                     own    warm    record  training  compared   × own  "
        "× warm       own  watched  netglot"
    )
    for network in args.networks.split(","):
        for name in args.on.split(","):
            with tempfile.TemporaryDirectory() as folder:
                print(
                    measured(name, network, args.deep, args.threads, Path(folder)),
                    flush=True,
                )


if __name__ == "__main__":
    main()

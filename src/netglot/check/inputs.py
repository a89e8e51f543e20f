"""Batches of a prepared data set in the canonical axes of a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from netglot.workloads import Workload


def observations(
    workload: Workload, path: Path | str, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The first ``count`` training observations as the network reads them, and targets.

    What every program's ``load_data`` does, in the reference's axes: images from 0 to 1
    in the shape of the network's input, enlarged by whole factors where it is larger.
    """
    type_ = workload.graph.inputs[0][1]
    with np.load(path) as data:
        x, y = data["x_train"][:count], data["y_train"][:count]
    if workload.data.kind == "images":
        if type_.axes == "NCHW":
            for axis in (2, 3):
                x = x.repeat(type_.shape[axis] // x.shape[axis], axis)  # type: ignore
        x = x.astype(np.float32) / 255
    if not type_.dtype.startswith("int"):
        x = x.astype(np.float32)
    x = x.reshape(len(x), *type_.shape[1:])  # type: ignore[arg-type]
    return x, x if workload.target == "input" else y


def batches(
    workload: Workload, path: Path | str, count: int, size: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """``count`` batches of ``size`` observations, fewer where the set is too small."""
    x, y = observations(workload, path, count * size)
    size = min(size, len(x))
    starts = range(0, len(x) - size + 1, size)
    return [(x[at : at + size], y[at : at + size]) for at in starts]

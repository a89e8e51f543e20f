"""A made-up race with everything that can happen in one, for the tests of reports."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

FRAMEWORKS = {
    # label: title, version, seconds of training, import, first step, MB, spread
    "pytorch": ("PyTorch", "2.13.0", 8.0, 1.6, 0.09, 310, 0.02),
    "flax": ("Flax", "0.12.8", 8.1, 1.1, 1.35, 420, 0.02),
    "tensorflow": ("TensorFlow", "2.21.0", 11.0, 4.2, 1.9, 650, 0.01),
    "keras-jax": ("Keras on JAX", "3.15.1", 12.5, 2.4, 2.2, 510, 0.01),
    "numpy": ("NumPy and autograd", "2.4.6", 61.0, 0.3, 0.8, 190, 0.01),
}
DATA = {
    "name": "digits",
    "kind": "images",
    "path": "/data/digits.npz",
    "shape": [1, 28, 28],
    "train": 1500,
    "test": 297,
    "classes": list("0123456789"),
    "sha256": "0" * 64,
    "source": "embedded: 1,797 digits of 8x8 pixels (UCI, from scikit-learn)",
}
MACHINE = {
    "cpu": "AMD EPYC 9534 64-Core Processor",
    "cores": 1,
    "cpus": 2,
    "allowed": [0, 1],
    "memory_bytes": 8_400_000_000,
    "system": "Debian GNU/Linux 12 (bookworm)",
    "gpus": [],
}
STEPS = 55


def make_race(**changes: Any) -> dict[str, Any]:
    """What was asked for."""
    return {
        "schema": 1,
        "workload": "mnist-cnn",
        "title": "Convolutional network on MNIST",
        "labels": [*FRAMEWORKS, "mxnet", "cntk"],
        "repeats": 5,
        "epochs": 5,
        "limit": None,
        "threads": 2,
        "device": "cpu",
        "seed": 0,
        "start": "same",
        "timeout": 600,
        "data": DATA,
        "netglot": "0.1.0",
        "date": "2026-11-20T19:00:00.000+00:00",
        "machine": MACHINE,
        "expected": [
            {"measure": "accuracy", "value": "99.0", "source": "the polyglot, Keras"}
        ],
        **changes,
    }


def make_record(label: str, repeat: int, /, **changes: Any) -> dict[str, Any]:
    """A run that was done and is equal, as the race writes it."""
    title, version, seconds, imported, first, megabytes, spread = FRAMEWORKS[label]
    rng = random.Random(f"{label}-{repeat}")
    seconds *= 1 + rng.uniform(-spread, spread)
    later = seconds - first
    losses = [
        2.3 * 0.93**step + 0.08 + rng.uniform(-0.05, 0.05) for step in range(STEPS)
    ]
    confusion = [[29 if i == j else 0 for j in range(10)] for i in range(10)]
    confusion[3][8] = 4
    return {
        "schema": 1,
        "netglot": "0.1.0",
        "workload": "mnist-cnn",
        "title": "Convolutional network on MNIST",
        "label": label,
        "backend": label.split("==")[0],
        "backend_title": title,
        "version": version,
        "repeat": repeat,
        "status": "done",
        "error": "",
        "equal": {
            "equal": True,
            "summary": "equal: 91 values compared; scores differ most, by 4.9e-07",
            "worst": "scores",
            "size": 4.9e-07,
            "allowed": 1e-05,
            "compared": 91,
        },
        "metric": "accuracy",
        "score": 0.9832 + 0.0034 * rng.choice([-1, 0, 1]),
        "confusion": confusion,
        "data": DATA,
        "limit": None,
        "epochs": 5,
        "batch_size": 128,
        "seed": 0,
        "start": "same",
        "threads": 2,
        "device": "cpu",
        "program": {
            "name": f"mnist_cnn_{label.replace('-', '_')}.py",
            "sha256": "1" * 64,
            "lines": 147,
            "code_lines": 101,
        },
        "forms": {"Adam": "epsilon hat"} if "tensorflow" in label else {},
        "environment": {
            "key": f"{label}-abc",
            "provider": "venv",
            "python": "3.11.2",
            "interpreter": f"/envs/{label}/bin/python",
            "versions": {label.split("-")[0]: version, "numpy": "2.4.6"},
        },
        "machine": MACHINE,
        "date": f"2026-11-20T19:0{repeat}:10.000+00:00",
        "phases": {
            "start": 0.05,
            "import_framework": imported,
            "import_program": 0.1,
            "load_data": 0.04,
            "build": 0.2,
            "load_weights": 0.02,
            "settle": 0.01,
            "first_step": first,
            "steps": later * 0.98,
            "barrier": later * 0.02,
            "evaluate": seconds * 0.03,
        },
        "train_seconds": seconds,
        "first_step_seconds": first,
        "step_ms": 1000 * later / (STEPS - 1),
        "steps": STEPS,
        "losses": losses,
        "wall_seconds": seconds + imported + 1,
        "peak_memory_bytes": int(megabytes * 1e6),
        "threads_used": 1.9,
        "checksum": 12.5,
        "log": f"logs/{label}-{repeat}.log",
        "command": f"netglot race mnist-cnn --on {label} --threads 2 --seed 0",
        **changes,
    }


def make_records() -> list[dict[str, Any]]:
    """Five frameworks, five runs of each but one, and what can go wrong."""
    records = [make_record(label, n) for label in FRAMEWORKS for n in range(5)]
    records = [r for r in records if not (r["label"] == "numpy" and r["repeat"])]
    for record in records:
        run = record["label"], record["repeat"]
        if record["label"] == "keras-jax":
            record["equal"] = {
                **record["equal"],
                "equal": False,
                "summary": "not equal: gradient of fc1.kernel differs by 2.1e-02",
            }
        if run == ("flax", 4):
            lose(record, "timeout", "600 s were over in step 12 of 55.")
    failed = make_record("pytorch", 0, label="mxnet", backend_title="MXNet", version="")
    lose(failed, "failed", "ImportError: libgfortran.so.3 is not there.\n\nMore.")
    failed["program"] = {**failed["program"], "name": "mnist_cnn_mxnet.py"}
    gap = make_record("pytorch", 0, label="cntk", backend_title="CNTK", version="")
    lose(gap, "gap", "cntk cannot write Upsample (node up1): there is no such layer.")
    for name in ("program", "environment", "forms", "equal", "log", "command"):
        del gap[name]
    return [*records, failed, gap]


def lose(record: dict[str, Any], status: str, error: str) -> None:
    """Make a record one of a run that was not done."""
    record.update(status=status, error=error)
    for name in ("score", "confusion", "train_seconds", "step_ms", "losses", "phases"):
        record.pop(name, None)
    for name in ("first_step_seconds", "peak_memory_bytes", "steps"):
        record.pop(name, None)


def make_folder(folder: Path) -> Path:
    """A race's folder with all that, and a damaged record."""
    (folder / "records").mkdir(parents=True)
    (folder / "programs").mkdir()
    (folder / "race.json").write_text(json.dumps(make_race()))
    for record in make_records():
        name = f"{record['label']}-{record['repeat']}.json"
        (folder / "records" / name).write_text(json.dumps(record))
        if "program" not in record:
            continue
        program = f'"""{record["label"]} < & >"""\n\nx = 1\n'
        (folder / "programs" / record["program"]["name"]).write_text(program)
    (folder / "records" / "flax-9.json").write_text('{"schema": 1, "lab')
    return folder

"""Two models named on the command line: opened in their interpreters, and compared."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from netglot import backends, data, workloads
from netglot.check.inputs import batches
from netglot.check.models import ModelReport, check_models, same_inputs, turned
from netglot.check.precision import Setting
from netglot.check.sides import Side, SideError, framework_for, open_file, split_name
from netglot.emit import emit
from netglot.errors import UserError

#: Observations of a definition's data that are compared.
SIZE = 8


@dataclass(frozen=True)
class Asked:
    """Two models, and how they are compared.

    ``left`` and ``right`` are ``FILE.py:NAME``; ``against`` names a workload whose
    program, in the framework of ``right``, is the left side. ``inputs`` is an ``.npz``
    with the arrays of one call; ``shape`` draws a random one instead, of indices where
    a ``vocabulary`` is given.
    """

    left: str
    right: str
    against: str = ""
    inputs: Path | None = None
    shape: tuple[int, ...] = ()
    vocabulary: int = 0
    keep: bool = False
    steps: int = 0
    left_python: Path | None = None
    right_python: Path | None = None
    data: Path | None = None
    threads: int | None = None
    seed: int = 0
    timeout: float | None = None
    dtype: str = ""


def check_pair(asked: Asked) -> ModelReport:
    """Open both, in float64 where they can be run so, and compare.

    Raises ``UserError`` (``SideError``) for what makes that impossible.
    """
    arrays, target = _inputs(asked)
    exact: ModelReport | None = None
    kinds = [asked.dtype] if asked.dtype else ["float64", "float32"]
    for number, dtype in enumerate(kinds):
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            try:
                left, right = _open(asked, dtype, folder, stack)
                given = arrays
                if asked.against and not asked.inputs:
                    given = [turned(x, "pytorch", left.framework) for x in arrays]
                report = check_models(
                    left,
                    right,
                    given,
                    keep=asked.keep,
                    steps=asked.steps,
                    target=target,
                )
            except SideError:
                if exact is not None:
                    return exact
                if number == len(kinds) - 1:
                    raise
                continue
            hides = any(_hidden(s) for side in report.settings for s in side)
            if dtype == "float64" and not asked.dtype and report.same and hides:
                # Some settings leave float64 alone: what they do shows in float32.
                exact = report
                continue
            if exact is not None:
                notes = (*report.notes, "in float64 both are the same; this is float32")
                report = dataclasses.replace(report, notes=notes)
            return report
    raise AssertionError("one precision is always tried")


def _hidden(setting: Setting) -> bool:
    """Whether a setting acts, and float64 does not show it."""
    return setting.active and setting.single


def _inputs(asked: Asked) -> tuple[list[np.ndarray], np.ndarray | None]:
    """What the models are called with, and the target of their losses, if known."""
    if asked.inputs:
        try:
            with np.load(asked.inputs) as file:
                return same_inputs(dict(file)), dict(file).get("y")
        except (OSError, ValueError) as error:
            raise UserError(f"{asked.inputs} is no .npz file: {error}.") from error
    if asked.against and not asked.shape:
        workload = workloads.get(asked.against)
        prepared = data.prepare(workload.data, asked.data)
        x, y = batches(workload, prepared.path, 1, SIZE)[0]
        return [x], y
    if not asked.shape:
        raise UserError(
            "Give what the models are called with: --input batch.npz, or --shape "
            "4,3,32,32 for random numbers (with the batch; 4,80:1000 for indices under "
            "1000)."
        )
    random = np.random.default_rng(asked.seed)
    if asked.vocabulary:
        return [random.integers(0, asked.vocabulary, asked.shape)], None
    return [random.standard_normal(asked.shape).astype(np.float32)], None


def _open(
    asked: Asked, dtype: str, folder: Path, stack: contextlib.ExitStack
) -> tuple[Side, Side]:
    def opened(side: str, text: str, python: Path | None) -> Side:
        found, worker = open_file(
            side,
            text,
            folder,
            python=python,
            dtype=dtype,
            seed=asked.seed,
            threads=asked.threads,
            timeout=asked.timeout,
        )
        stack.enter_context(worker)
        return found

    left = asked.left
    if asked.against:
        path, _ = split_name(asked.right)
        backend = backends.get(framework_for(path))
        program = emit(workloads.get(asked.against), backend)
        (folder / program.name).write_text(program.source)
        left = f"{folder / program.name}:build"
    return (
        opened("left", left, asked.left_python or asked.right_python),
        opened("right", asked.right, asked.right_python),
    )


def shape(text: str) -> tuple[tuple[int, ...], int]:
    """Shape and vocabulary of ``4,3,32,32`` or ``4,80:1000``; raises ``UserError``."""
    sizes, _, words = text.partition(":")
    try:
        found = tuple(int(part) for part in sizes.split(","))
        vocabulary = int(words or 0)
    except ValueError:
        raise UserError(
            f"--shape {text}: numbers by commas, as in 4,3,32,32, or 4,80:1000 for "
            "indices under 1000."
        ) from None
    if min(found) < 1 or vocabulary < 0:
        raise UserError(f"--shape {text}: every size is at least 1.")
    return found, vocabulary

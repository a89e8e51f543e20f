"""By which formula a loss was computed: what people write, on purpose or by mistake.

A loss is one number. Which formula gave it is found by computing them all, from the
outputs that the model really gave and the targets.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from scipy.special import log_softmax, softmax

#: Relative difference within which a formula is what was computed.
LIMITS = {True: 1e-7, False: 1e-4}


def named(value: float, outputs: np.ndarray, targets: np.ndarray, exact: bool) -> str:
    """The formula that gives ``value``; empty where none of the known ones does.

    ``outputs`` are ``(N, ...)``, ``targets`` labels ``(N,)``, one-hot rows or numbers.
    """
    for words, found in formulas(outputs.astype(np.float64), targets):
        if np.isfinite(found) and abs(found - value) <= LIMITS[exact] * abs(found):
            return words
    return ""


def formulas(y: np.ndarray, target: np.ndarray) -> Iterator[tuple[str, float]]:
    """Every formula that fits the shapes, in words, and its value."""
    classes = y.shape[-1] if y.ndim > 1 else 1
    labels = None
    if np.issubdtype(target.dtype, np.integer) and y.ndim > 1 and classes > 1:
        labels = target.reshape(-1) if target.size == y.size // classes else None
    elif target.shape == y.shape and classes > 1 and np.all(target.sum(-1) == 1):
        labels = target.argmax(-1).reshape(-1)
    if (
        labels is not None
        and labels.size
        and 0 <= labels.min() <= labels.max() < classes
    ):
        yield from _of_labels(y.reshape(-1, classes), labels)
    plain = target.astype(np.float64)
    if plain.size == y.size:
        yield from _of_numbers(y, plain.reshape(y.shape))


def _of_labels(y: np.ndarray, labels: np.ndarray) -> Iterator[tuple[str, float]]:
    rows = np.arange(len(y))
    with np.errstate(all="ignore"):
        logs = {
            "cross entropy of scores (with softmax)": log_softmax(y, -1),
            "negative log likelihood of log-probabilities": y,
            "cross entropy of probabilities (without softmax)": np.log(y),
            "cross entropy of probabilities clipped to 1e-7": np.log(
                np.clip(y, 1e-7, 1 - 1e-7)
            ),
            "cross entropy of rows that are made to sum to 1": np.log(
                np.clip(y / y.sum(-1, keepdims=True), 1e-7, 1 - 1e-7)
            ),
            "cross entropy of probabilities, clipped and made to sum to 1": log_softmax(
                np.log(np.clip(y, 1e-7, 1 - 1e-7)), -1
            ),
            "cross entropy of scores after softmax twice": log_softmax(
                softmax(y, -1), -1
            ),
        }
        for words, log in logs.items():
            picked = -log[rows, labels]
            yield from _reduced(words, picked, len(y))
            if words.endswith("(with softmax)"):
                for shift in (1, -1):
                    moved = -log[rows, (labels + shift) % y.shape[-1]]
                    yield from _reduced(f"{words}, labels {shift:+d}", moved, len(y))
                for share in (0.1, 0.05, 0.2):
                    smooth = (1 - share) * picked - share * log.mean(-1)
                    yield from _reduced(
                        f"{words}, labels smoothed {share}", smooth, len(y)
                    )
    one_hot = np.eye(y.shape[-1])[labels]
    yield from _of_numbers(y, one_hot)


def _of_numbers(y: np.ndarray, target: np.ndarray) -> Iterator[tuple[str, float]]:
    off = y - target
    with np.errstate(all="ignore"):
        each = {
            "squared error": off**2,
            "half the squared error": off**2 / 2,
            "absolute error": np.abs(off),
            "Huber loss": np.where(np.abs(off) < 1, off**2 / 2, np.abs(off) - 0.5),
            "binary cross entropy of scores": np.logaddexp(0, y) - target * y,
            "binary cross entropy of probabilities": -(
                target * np.log(y) + (1 - target) * np.log1p(-y)
            ),
        }
    for words, found in each.items():
        yield f"{words}, mean over everything", float(found.mean())
        yield (
            f"{words}, sum over features, mean over the batch",
            float(found.sum() / len(y)),
        )
        yield f"{words}, sum over everything", float(found.sum())
    spread = (y[:, None] - target[None]) ** 2
    yield "squared error of all pairs, mean over everything", float(spread.mean())
    yield "root of the mean squared error", math.sqrt(float((off**2).mean()))


def _reduced(words: str, each: np.ndarray, batch: int) -> Iterator[tuple[str, float]]:
    yield f"{words}, mean over the batch", float(each.mean())
    yield f"{words}, sum over the batch", float(each.sum())
    yield f"{words}, mean over the batch, in bits", float(each.mean() / math.log(2))

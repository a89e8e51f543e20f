"""Divides observations that come in one piece into training and test set."""

import numpy as np

from netglot.data.types import DataSpec
from netglot.errors import UserError


def split(labels: np.ndarray, spec: DataSpec, where: str) -> tuple[np.ndarray, ...]:
    """Positions for training and for testing: every fifth of each class is a test.

    The same file gives the same split, whatever the order of its classes, and each
    class keeps its share. UserError where nothing would be left for a test.
    """
    rank = np.zeros(len(labels), np.int64)
    groups = labels if spec.classes is not None else np.zeros_like(labels)
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        rank[members] = np.arange(len(members))
    test = rank % 5 == 4
    if not test.any():
        raise UserError(
            f"{where} has {len(labels)} observations and no test set beside it; a "
            "fifth of each class is taken for testing, so a class needs at least 5."
        )
    return np.flatnonzero(~test), np.flatnonzero(test)

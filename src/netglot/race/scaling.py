"""Races on several numbers of processes: how a training scales."""

from __future__ import annotations

from collections.abc import Sequence

from netglot.errors import UserError
from netglot.race.series import Table


def numbers(text: str) -> list[int]:
    """``1,2,4``, in order; raises ``UserError`` for what is no number of processes."""
    try:
        found = sorted({int(number) for number in text.split(",")})
    except ValueError:
        raise UserError(
            f"--workers {text}: whole numbers by commas are wanted."
        ) from None
    if found[0] < 1:
        raise UserError(f"--workers {text}: at least 1 is needed.")
    return found


def tables(
    workload: str, labels: tuple[str, ...], workers: Sequence[int]
) -> list[Table]:
    """A race per number of processes."""
    return [Table(workload, labels, f"workers-{n}", n) for n in workers]

"""Which tests of a framework are the usual ones."""

from __future__ import annotations

import pytest

from netglot import backends


def of(name: str, *, usual: bool = False) -> list[pytest.MarkDecorator]:
    """The marks of a test of one framework; those of one run in one process.

    Frameworks that are not raced by default have only their ``usual`` tests among the
    usual ones, and all others in a thorough run.
    """
    marks = [pytest.mark.xdist_group(name)]
    if not (usual or name in backends.GROUPS["main"]):
        marks.append(pytest.mark.thorough)
    return marks

"""For a project's own tests: two models are the same, or the test fails with why."""

from __future__ import annotations

from typing import Any

from netglot.check.models import ModelReport, check
from netglot.report.findings import lines


def assert_same(
    left: Any,
    right: Any,
    inputs: Any,
    *,
    weights: str = "carry",
    train_steps: int = 0,
    target: Any = None,
) -> ModelReport:
    """Assert that two live models compute the same; arguments as of ``netglot.check``.

    Raises ``AssertionError`` with each difference, its cause and what to do.
    """
    report = check(
        left, right, inputs, weights=weights, train_steps=train_steps, target=target
    )
    assert report.same, "\n".join(["the models differ", *lines(report)])
    return report

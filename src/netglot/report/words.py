"""How reports say numbers: seconds, shares, sizes, intervals, in few characters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from netglot.race.statistics import Estimate

NOTHING = "–"


def number(value: float | None, digits: int = 3) -> str:
    """Three significant digits, never in powers of ten; "–" for None."""
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "∞"
    if value == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(places, 6)}f}"


def seconds(value: float | None) -> str:
    """``12.3 s``."""
    return number(value) if value is None else f"{number(value)} s"


def size(value: float | None) -> str:
    """Bytes as ``312 MB`` or ``1.25 GB`` (powers of 1000)."""
    if value is None:
        return NOTHING
    if abs(value) >= 1e9:
        return f"{value / 1e9:.2f} GB"
    return f"{value / 1e6:.0f} MB" if abs(value) >= 1e7 else f"{value / 1e6:.1f} MB"


def score(value: float | None, metric: str) -> str:
    """Accuracy in percent (``98.65 %``), an error as a number (``0.0123``)."""
    if value is None or math.isnan(value):
        return NOTHING
    if metric == "accuracy":
        return f"{100 * value:.2f} %"
    return f"{value:.5f}"


def share(value: float) -> str:
    """``1.8 %``."""
    return f"{100 * value:.2g} %" if value < 0.1 else f"{100 * value:.0f} %"


def interval(estimate: Estimate | None, write: Callable[[float], str] = number) -> str:
    """``10.1–10.9``; "" where there is none."""
    if estimate is None or estimate.interval is None:
        return ""
    low, high = estimate.interval
    return f"{write(low)}–{write(high)}"


def listing(items: Iterable[str]) -> str:
    """``a, b and c``."""
    names = list(items)
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def count(amount: int, singular: str, plural: str = "") -> str:
    """``1 run``, ``5 runs``."""
    return f"{amount:,} {singular if amount == 1 else plural or singular + 's'}"


def row(items: Iterable[str]) -> str:
    """A row of a table in GitHub's Markdown; a bar inside a cell is escaped."""
    return "| " + " | ".join(item.replace("|", "\\|") for item in items) + " |"

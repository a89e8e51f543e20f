"""What is found where two models differ: layers, and the causes of each difference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from netglot.check.matching import Match
from netglot.frontends.reading import Layer
from netglot.ops import Op, Type


@dataclass(frozen=True)
class Cause:
    """One change that turns the left side's layer into the right side's.

    ``what`` says it in words; ``attribute`` with its values on both sides where it is
    one. ``wanted`` is the operation that the right side would have to have, and what it
    reads; ``layer`` the left side's layer that is meant, ``other`` the right side's.
    ``change`` is what the right side would change where that is no operation.
    """

    what: str
    attribute: str = ""
    left: Any = None
    right: Any = None
    wanted: Op | None = None
    inputs: tuple[Type, ...] = ()
    layer: Layer | None = None
    other: Layer | None = None
    change: str = ""


@dataclass(frozen=True)
class Finding:
    """A layer that differs.

    ``size`` is the difference of its outputs for equal inputs, ``allowed`` what
    rounding may do there, ``left_over`` what remains when the causes are taken into
    account. Without ``causes`` nothing that is known reproduces it.
    """

    left: Layer | None
    right: Layer | None
    number: int
    of: int
    size: float
    allowed: float
    causes: tuple[Cause, ...] = ()
    left_over: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Judged:
    """One layer of a comparison: its names, how far it is off, and how far it may be.

    A layer that only one side has has one name. ``why`` it could not be judged by
    itself, where that is so; ``size`` is NaN then.
    """

    left: str
    right: str
    size: float = math.nan
    allowed: float = math.nan
    why: str = ""


@dataclass(frozen=True)
class Compared:
    """All that was found of two recordings of the same weights and inputs.

    ``findings`` are layers that differ, in order; ``hidden`` are differences that this
    run does not show; ``layers`` are all, in order, with each one's difference and what
    is allowed. ``unread`` are layers that are none of our operations.
    """

    findings: tuple[Finding, ...]
    hidden: tuple[tuple[Layer, Layer | None, Cause], ...]
    layers: tuple[Judged, ...]
    unread: tuple[tuple[str, Layer], ...]
    match: Match
    whole: float

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not self.findings

    @property
    def judged(self) -> tuple[Judged, ...]:
        """The layers that were judged by themselves."""
        return tuple(layer for layer in self.layers if not layer.why)

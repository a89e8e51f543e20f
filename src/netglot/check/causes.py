"""What is found where two models differ: layers, and the causes of each difference."""

from __future__ import annotations

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
    """

    what: str
    attribute: str = ""
    left: Any = None
    right: Any = None
    wanted: Op | None = None
    inputs: tuple[Type, ...] = ()
    layer: Layer | None = None
    other: Layer | None = None


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
class Compared:
    """All that was found of two recordings of the same weights and inputs.

    ``findings`` are layers that differ, in order; ``hidden`` are differences that this
    run does not show; ``checked`` is how many layers were compared; ``layers`` has each
    one's difference and what is allowed. ``unread`` are layers that are none of our
    operations.
    """

    findings: tuple[Finding, ...]
    hidden: tuple[tuple[Layer, Layer | None, Cause], ...]
    layers: tuple[tuple[str, str, float, float], ...]
    unread: tuple[tuple[str, Layer], ...]
    match: Match
    whole: float

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not self.findings

"""What a report says, in the order in which people read it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from netglot.check.models import ModelReport
from netglot.check.sides import SideError

#: What belongs to the frameworks, cannot be chosen, and is rightly said of correct
#: pairs as well: who updates running statistics with the unbiased variance, who has
#: two biases in a recurrent layer, and what the bias of a forget gate begins with.
FORMS = (
    r"^unbiased (True|False) on the right",
    r"^the variance is (un)?biased on the right$",
    r"^bias (one|two|candidate) on the right, (one|two|candidate) on the left$",
    r"^forget_bias ",
)


@dataclass(frozen=True)
class Answer:
    """One difference: the names of the layer on both sides, and the first cause."""

    names: tuple[str, ...]
    cause: str

    def at(self, pattern: str) -> bool:
        """Whether it is about a layer."""
        return any(re.fullmatch(pattern, name) for name in self.names)

    def says(self, pattern: str) -> bool:
        """Whether the cause is in words that fit."""
        return re.search(pattern, self.cause) is not None

    @property
    def a_form(self) -> bool:
        """Whether it is about what a framework does and nobody can choose."""
        return any(self.says(form) for form in FORMS)


def answers(report: ModelReport | SideError) -> Iterator[Answer]:
    """All differences, as ``report/findings.py`` writes them down."""
    if isinstance(report, SideError):
        yield Answer(("",), str(report))
        return
    for line in (*report.unstable, *report.broken):
        found = re.search(r"(?:first at|: ) ?(\S+) \(", line)
        yield Answer((found[1] if found else "",), line)
    for finding in report.findings:
        sides = [layer.name for layer in (finding.left, finding.right) if layer]
        cause = finding.causes[0].what if finding.causes else ""
        yield Answer(tuple(sides), cause)
    for moved in report.moved:
        names = (moved.left.name, moved.right.name)
        yield Answer(names, moved.cause or f"{moved.what} differs")
    learned = report.learned
    if learned is not None and not learned.alike:
        ours, theirs = learned.formulas
        yield Answer(("loss",), f"{theirs} on the right, {ours} on the left")
    if learned is not None and not learned.ruled.same:
        causes = learned.ruled.causes or (learned.ruled.unknown,)
        yield Answer(("optimizer",), causes[0])
    if learned is not None and learned.unexplained:
        yield Answer(("weights",), f"the weights differ by {learned.size:.1e}")
    for layer, other, cause in report.evaluated.hidden:
        names = (layer.name, other.name if other else layer.name)
        yield Answer(names, cause.what)


def alarms(report: ModelReport | SideError) -> list[str]:
    """What is said of a correct pair and should not be."""
    return [
        f"{'/'.join(answer.names)}: {answer.cause[-600:]}"
        for answer in answers(report)
        if not answer.a_form
    ]

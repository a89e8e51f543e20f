"""Two models layer by layer: which layers differ, and what is the cause of each.

Every layer is judged by itself: the left side's operation is computed, in float64, on
what the *right* side's layer was really given, and compared with what that gave.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from netglot.check.both import UNREAD, Both
from netglot.check.causes import Cause, Compared, Finding, Judged
from netglot.check.explain import coarse, explain, given_otherwise
from netglot.check.hidden import hidden
from netglot.check.segment import LEAST, ROUNDING, Segment
from netglot.frontends.reading import Reading, Relabel

#: Seconds that the cause of one difference is looked for.
PATIENCE = 6.0
#: So many layers may be one on the other side.
GROUPED = 4
#: Why a layer was not judged by itself.
ALONE = "only on the {}; what lies between values of both sides is judged as a whole"
INSIDE = "its value is on one side only; it is judged with the layer that follows"
FOLLOWS = "none of netglot's operations, and already given something else"
SPOILT = "it is given what is no number"
TOGETHER = "the same in other pieces: it agrees together with the layers that follow"


def compare(
    left: Reading,
    right: Reading,
    *,
    weights: Mapping[str, np.ndarray] | None = None,
) -> Compared:
    """Compare two readings of models that were given the same.

    ``weights`` are the left side's, canonical (default: those that it was recorded
    with). Raises nothing for models that differ, however much.
    """
    return _Comparison(Both(left, right, weights or left.weights())).compared()


class _Comparison:
    """The work of ``compare``: each layer in turn."""

    def __init__(self, both: Both) -> None:
        self.both = both
        #: Attributes that are causes already, with the place of their layer.
        self.used: set[tuple[int, str]] = set()
        #: Layers that give the same, by their place on the left.
        self.agreed: set[int] = set()

    def compared(self) -> Compared:
        """All layers that both sides have, in the order of the left one."""
        both, findings = self.both, []
        layers: dict[int, list[Judged]] = {}
        order = sorted(
            (both.made[a], a, b)
            for a, b in (*both.values.items(), *both.ends)
            if a in both.made
        )
        order = [
            (i, a, b)
            for i, a, b in order
            if both.right.recording.seen(b) and self.compared_at_all(i)
        ]
        for number, (i, a, b) in enumerate(order, start=1):
            if both.values.get(a) is None and (a, b) not in both.ends:
                continue
            later = [
                one
                for one in order[number : number + GROUPED]
                if self.computable(one[0])
            ]
            if self.computable(i):
                finding, judged = self.judge(i, a, b, number, len(order), later)
            else:
                finding, judged = self.valued(i, a, b, number, len(order))
            layers.setdefault(i, []).append(judged)
            if finding:
                findings.append(finding)
        unread = [("left", a) for a in both.left.layers if a.op is None]
        unread += [("right", b) for b in both.right.layers if b.op is None]
        return Compared(
            tuple(findings),
            tuple(hidden(both, self.agreed, self.used)),
            tuple(self.listed(layers)),
            tuple(unread),
            both.match,
            both.whole(),
        )

    def named(self, i: int, b: str) -> tuple[str, str]:
        """The names of a layer of the left side and of what gives a value there."""
        j = self.both.made_right.get(b)
        theirs = self.both.right.layers[j].name if j is not None else b
        return self.both.left.layers[i].name, theirs

    def listed(self, judged: Mapping[int, Sequence[Judged]]) -> Iterator[Judged]:
        """What was judged, in order, and between that the layers that were not."""
        left, right = self.both.left.layers, self.both.right.layers
        only = [
            j for j in self.both.match.right if not isinstance(right[j].op, Relabel)
        ]
        for i, layer in enumerate(left):
            j = self.both.partner.get(i)
            while only and j is not None and only[0] < j:
                yield Judged("", right[only.pop(0)].name, why=ALONE.format("right"))
            if i in judged:
                yield from judged[i]
            elif isinstance(layer.op, Relabel):
                continue
            elif j is None:
                yield Judged(layer.name, "", why=ALONE.format("left"))
            else:
                yield Judged(layer.name, right[j].name, why=INSIDE)
        for j in only:
            yield Judged("", right[j].name, why=ALONE.format("right"))

    def computable(self, i: int) -> bool:
        """Whether a layer of the left side can be computed."""
        return self.both.left.layers[i].op is not None

    def compared_at_all(self, i: int) -> bool:
        """Whether a layer of the left side is compared, be it by its values alone.

        One that only names axes is, where what it names was not seen by itself.
        """
        layer = self.both.left.layers[i]
        if not isinstance(layer.op, Relabel):
            return True
        (value,) = layer.inputs
        made = self.both.made.get(value)
        if made is None or self.both.left.layers[made].op is None:
            return False
        other = self.both.values.get(value)
        return other is None or not self.both.right.recording.seen(other)

    def valued(
        self, i: int, a: str, b: str, number: int, total: int
    ) -> tuple[Finding | None, Judged]:
        """A layer that is none of our operations, where both were given the same."""
        layer, names = self.both.left.layers[i], self.named(i, b)
        j = self.both.made_right.get(b)
        pairs = [(v, self.both.values.get(v)) for v in layer.inputs]
        limit = UNREAD if self.both.exact else ROUNDING**2 * LEAST
        if not all(w and self.both.apart(v, w) <= limit for v, w in pairs):
            return None, Judged(*names, why=FOLLOWS)
        size = self.both.apart(a, b)
        if size <= limit:
            return None, Judged(*names, size, limit)
        note = f"it is none of netglot's operations ({layer.why})"
        theirs = self.both.right.layers[j] if j is not None else None
        found = Finding(layer, theirs, number, total, size, limit, note=note)
        return found, Judged(*names, size, limit)

    def grouped(self, a: str, later: Sequence[tuple[int, str, str]]) -> bool:
        """Whether both sides do the same in other pieces, as ``x / 2`` and ``x * 0.5``.

        Then the layers up to some later value agree as a whole, and the pieces between
        are no pairs.
        """
        taken = {a: self.both.values[a]}
        for _, next_a, next_b in later:
            for name in taken:
                self.both.values.pop(name, None)
            segment = Segment(self.both, next_a, next_b)
            inside = {v for layer in segment.chain for v in layer.outputs}
            target = self.both.right.value(next_b)
            if a in inside and target is not None:
                size, allowed = segment.difference(segment.plain, target)
                if size <= allowed:
                    return True
            if (
                self.both.left.layers[self.both.made[next_a]].weights
                or next_a not in self.both.values
            ):
                break
            taken[next_a] = next_b
        self.both.values |= taken
        return False

    def judge(
        self,
        i: int,
        a: str,
        b: str,
        number: int,
        total: int,
        later: Sequence[tuple[int, str, str]],
    ) -> tuple[Finding | None, Judged]:
        """The difference of a layer that can be computed, what is allowed, and why.

        ``a`` and ``b`` are its value on both sides; ``later`` are the next ones, with
        which it may agree as a whole.
        """
        layer, names = self.both.left.layers[i], self.named(i, b)
        j = self.both.made_right.get(b)
        theirs = self.both.right.layers[j] if j is not None else None
        target = self.both.right.value(b)
        assert target is not None
        segment = Segment(self.both, a, b)
        if segment.spoilt(target):
            # What makes a number of none is a finding; what is given none is not.
            return None, Judged(*names, why=SPOILT)
        size, allowed = segment.difference(segment.plain, target)
        if size <= allowed:
            self.agreed |= segment.only_map()
            return None, Judged(*names, size, allowed)
        resized = (
            j is not None
            and self.both.left.types[a].shape != self.both.right.types[b].shape
        )
        loose = not layer.weights or resized
        if loose and a in self.both.values and self.grouped(a, later):
            return None, Judged(*names, why=TOGETHER)
        named = (c for c in reversed(segment.chain) if not isinstance(c.op, Relabel))
        layer = next(named, layer)
        finding = Finding(layer, theirs, number, total, size, allowed)
        finding = self.explained(finding, i, segment, target)
        return finding, Judged(*names, size, allowed)

    def explained(
        self, finding: Finding, i: int, segment: Segment, target: np.ndarray
    ) -> Finding:
        """A finding with its causes; ``i`` is the place of its layer."""
        until = time.monotonic() + PATIENCE
        found = explain(segment, target, finding.allowed, until)
        if found is None and segment.chain:
            # What stands there may belong to the layer before.
            given = segment.chain[0].inputs
            before = Segment(self.both, segment.ours, segment.theirs, given)
            if len(before.chain) > len(segment.chain):
                found = explain(before, target, finding.allowed, until)
        if found is None:
            found = given_otherwise(segment, target, finding.allowed)
        if found is None:
            return self.unexplained(finding, segment, target, until)
        causes, left_over = found
        self.used |= {(i, cause.attribute) for cause in causes if cause.attribute}
        finding = self.at(finding, causes[0])
        return dataclasses.replace(finding, causes=causes, left_over=left_over)

    def unexplained(
        self, finding: Finding, segment: Segment, target: np.ndarray, until: float
    ) -> Finding:
        """What can be said of a finding that nothing reproduces; not verified."""
        cause, theirs = coarse(segment, target), finding.right
        if cause:
            finding = self.at(finding, cause)
        elif theirs is not None and theirs.op is None and theirs.why:
            # What is none of our operations says so.
            cause = Cause(f"{theirs}: {theirs.why}", layer=finding.left)
        note = segment.example(target)
        if time.monotonic() > until:
            note += f"; the search for a cause was ended after {PATIENCE:g} s"
        causes = (cause,) if cause else ()
        return dataclasses.replace(finding, causes=causes, note=note)

    def at(self, finding: Finding, cause: Cause) -> Finding:
        """A finding at the layers that a cause is about."""
        left = cause.layer or finding.left
        assert left is not None
        k = self.both.partner.get(self.both.left.layers.index(left))
        theirs = finding.right if k is None else self.both.right.layers[k]
        return dataclasses.replace(finding, left=left, right=cause.other or theirs)

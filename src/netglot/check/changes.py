"""What could make two models differ: every change that may explain a difference.

First what can be read off the two sides' layers, then the known variants of every
operation.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from netglot import ops
from netglot.check.causes import Cause
from netglot.check.compare import relative
from netglot.check.edits import Edit
from netglot.check.evaluate import Known, Step, compute, step_of
from netglot.check.segment import Segment
from netglot.check.variants import Variant, variants
from netglot.check.wording import (
    attributes,
    counts,
    forgotten,
    numbers,
    relation,
    title,
)
from netglot.frontends.reading import Layer, Relabel
from netglot.ops import Op


def read_off(segment: Segment) -> Iterator[Edit]:
    """Differences that can be read off the two sides' layers."""
    yield from _wired(segment)
    yield from _scaled(segment)
    partner = {
        i: j
        for i, a in enumerate(segment.chain)
        for j, b in enumerate(segment.other)
        if segment.paired(a, b)
    }
    ending = _ending(segment, partner)
    end, last = len(segment.chain) - 1, len(segment.other) - 1
    loose = end not in partner and last not in partner.values()
    if segment.chain and segment.other and loose:
        partner[end] = last
    yield from _replaced(segment, partner)
    for i, a in enumerate(segment.chain):
        if i not in partner:
            if not isinstance(a.op, ops.Dropout | Relabel) and a not in ending:
                cause = segment.at(i, Cause(f"{title(a)} is missing on the right"))
                reads = segment.read_there() if len(a.inputs) > 1 else ()
                yield Edit(cause, (i,), (), reads=reads if all(reads) else ())
            continue
        yield from _of_pair(segment, i, a, segment.other[partner[i]], ending)
    inverse = {j: i for i, j in partner.items()}
    for j, b in enumerate(segment.other):
        if j in inverse or b.op is None or isinstance(b.op, ops.Dropout | Relabel):
            continue
        if b in ending:
            continue
        later = [inverse[k] for k in range(j + 1, len(segment.other)) if k in inverse]
        place = later[0] if later else len(segment.chain)
        cause = Cause(f"{title(b)}{numbers(b.op)} on the right only", other=b)
        yield Edit(cause, (place,), None, (step_of(b, segment.both.theirs),))


def _of_pair(
    segment: Segment, i: int, a: Layer, b: Layer, ending: Sequence[Layer]
) -> Iterator[Edit]:
    """What differs between a layer, at its place on the left, and its partner."""
    if a.op is None or b.op is None:
        return
    if type(a.op) is type(b.op):
        theirs_held = step_of(b, segment.both.theirs)
        resized = segment.plain[i].shapes != theirs_held.shapes
        for cause, op in attributes(segment.plain[i].op, b.op):
            if cause.attribute == "returns" and ending:
                continue
            if cause.attribute == "bias" and isinstance(b.op, ops.SimpleRNN):
                yield _biased(segment, i, b, cause, op)
                continue
            # Weights of another size cannot have been carried over.
            held = theirs_held if resized else segment.plain[i]
            step = dataclasses.replace(held, op=op)
            yield Edit(segment.at(i, cause), (i,), (step,))
        if a.training != b.training:
            yield _trains(segment, i, a, b)
        if len(segment.chain) == 1 and isinstance(segment.other[0].op, Relabel):
            yield from _turned(segment, a, segment.other[0].op)
    else:
        words = f"{title(b)} on the right, {title(a)} on the left"
        step = step_of(b, segment.both.theirs)
        cause = Cause(words, "", type(a.op).__name__, type(b.op).__name__)
        yield Edit(segment.at(i, cause), (i,), (step,))
        if len(segment.chain) == 1 < len(segment.other):
            # Its axes have other letters.
            steps = tuple(step_of(c, segment.both.theirs) for c in segment.other)
            if sum(not isinstance(one.op, Relabel) for one in steps) == 1:
                yield Edit(segment.at(i, cause), (i,), steps)
    yield from _held(segment, i, a, b)


def _turned(segment: Segment, a: Layer, relabel: Relabel) -> Iterator[Edit]:
    """Other axes that a layer acts on, as a norm of rows in place of channels."""
    given = segment.both.left.types[a.inputs[0]].axes
    if len(given) != len(relabel.axes):
        return
    others = {
        letter: given[place]
        for letter, place in zip(relabel.axes, relabel.order, strict=True)
        if letter != given[place]
    }
    if not others:
        return
    theirs, ours = ", ".join(others.values()), ", ".join(others)
    words = f"it takes the axes {theirs} on the right for {ours}"
    steps = tuple(step_of(c, segment.both.theirs) for c in segment.other)
    cause = segment.at(0, Cause(words, "", ours, theirs))
    yield Edit(cause, (0,), None, instead=steps)


def _biased(segment: Segment, i: int, b: Layer, cause: Cause, op: Op) -> Edit:
    """The biases that a recurrent layer has on the right; its kernels stay."""
    theirs = step_of(b, segment.both.theirs).weights
    held = {n: w for n, w in segment.plain[i].weights.items() if "bias" not in n}
    held |= {n: w for n, w in theirs.items() if "bias" in n}
    step = dataclasses.replace(segment.plain[i], op=op, weights=held)
    return Edit(dataclasses.replace(segment.at(i, cause), attribute=""), (i,), (step,))


def _ending(segment: Segment, partner: Mapping[int, int]) -> list[Layer]:
    """What takes the last step of a recurrent layer that itself gives the last one
    on the other side: no difference.
    """
    for i, j in partner.items():
        returns = [
            getattr(layer.op, "returns", "")
            for layer in (segment.chain[i], segment.other[j])
        ]
        if sorted(returns) != ["last", "sequence"]:
            continue
        longer = segment.chain[i:] if returns[0] == "sequence" else segment.other[j:]
        after = [c for c in longer[1:3] if not isinstance(c.op, Relabel)]
        if after and after[0].op == ops.Slice("T", -1, None):
            return after[:2]
    return []


def _wired(segment: Segment) -> Iterator[Edit]:
    """Other values that the first layer reads on the right."""
    if not segment.chain or not segment.other:
        return
    a, b = segment.chain[0], segment.other[0]
    reads = segment.read_there()
    if type(a.op) is not type(b.op) or reads == a.inputs or not all(reads):
        return
    ours, theirs = (segment.both.givers(names) for names in (a.inputs, reads))
    words = f"it reads {theirs} on the right, {ours} on the left"
    cause = Cause(words, "", ours, theirs, layer=a)
    yield Edit(cause, (0,), None, reads=reads)


def _replaced(segment: Segment, partner: Mapping[int, int]) -> Iterator[Edit]:
    """Layers that stand in the place of others, as a mean in that of a slice."""
    pairs = [(-1, -1), *sorted(partner.items())]
    pairs.append((len(segment.chain), len(segment.other)))
    for (i, j), (next_i, next_j) in itertools.pairwise(pairs):
        ours, theirs = segment.chain[i + 1 : next_i], segment.other[j + 1 : next_j]
        names = [
            " and ".join(title(layer) for layer in layers if counts(layer))
            for layers in (ours, theirs)
        ]
        if not all(names) or any(layer.op is None for layer in theirs):
            continue
        cause = Cause(f"{names[1]} on the right, {names[0]} on the left")
        place = next(k for k, a in enumerate(ours, i + 1) if counts(a))
        yield Edit(
            segment.at(place, cause),
            (i + 1,),
            tuple(step_of(layer, segment.both.theirs) for layer in theirs),
            gone=tuple(range(i + 2, next_i)),
        )


def _scaled(segment: Segment) -> Iterator[Edit]:
    """Multiplications and additions of numbers, in other pieces: as one."""
    both = [layer.op for layer in (*segment.chain, *segment.other)]
    if not all(isinstance(op, ops.Scale) for op in both):
        return
    if (
        len(segment.chain) == len(segment.other)
        or not segment.chain
        or not segment.other
    ):
        return
    ours, theirs = _scale(segment.chain), _scale(segment.other)
    words = (
        f"factor {theirs.factor:g} and offset {theirs.offset:g} on the right, "
        f"{ours.factor:g} and {ours.offset:g} on the left"
    )
    cause = segment.at(len(segment.chain) - 1, Cause(words, "", ours, theirs))
    yield Edit(cause, (), None, instead=(Step(theirs),))


def _trains(segment: Segment, i: int, a: Layer, b: Layer) -> Edit:
    """It works as in training on one side alone."""
    state = {True: "in training", False: "in evaluation"}
    words = f"it is {state[b.training]} on the right, {state[a.training]} on the left"
    step = segment.plain[i]
    if not b.training:
        # A pass in training has moved the left side's running statistics.
        theirs = step_of(b, segment.both.theirs).weights
        moved = {n: theirs[n] for n in ("mean", "variance") if n in theirs}
        step = dataclasses.replace(step, weights={**step.weights, **moved})
    return Edit(
        dataclasses.replace(
            segment.at(i, Cause(words, "", a.training, b.training)), wanted=None
        ),
        (i,),
        (dataclasses.replace(step, training=b.training),),
    )


def _held(segment: Segment, i: int, a: Layer, b: Layer) -> Iterator[Edit]:
    """The right side's weights, where they are others."""
    ours, theirs = segment.plain[i].weights, step_of(b, segment.both.theirs).weights
    if type(a.op) is not type(b.op):
        return
    for name in sorted(set(ours) & set(theirs)):
        if ours[name].shape != theirs[name].shape:
            continue
        # Both were in one precision or the other.
        if relative(theirs[name], ours[name]) > 1e-6:
            how = relation(ours[name], theirs[name])
            if isinstance(a.op, ops.LSTM) and name == "bias":
                how = forgotten(a.op, ours[name], theirs[name])
            cause = Cause(
                f"the {name} is another one on the right{how}", layer=segment.chain[i]
            )
            yield Edit(cause, (i,), None, weights={name: theirs[name]})


def known_variants(segment: Segment) -> Iterator[Edit]:
    """The known variants of every operation of the segment."""
    inputs: tuple[Known, ...]
    try:
        inputs = segment.inputs()
    except ValueError:
        return
    for i, step in enumerate(segment.plain):
        types = tuple(type_ for type_, _ in inputs)
        for variant in variants(step, *types):
            cause = segment.at(i, _cause(step, variant))
            yield Edit(cause, (i,), variant.steps)
        try:
            inputs = (compute(step, *inputs),)
        except (ValueError, KeyError):
            return


def _cause(step: Step, variant: Variant) -> Cause:
    """A variant as a cause; by its attribute where it differs in one alone."""
    if len(variant.steps) == 1 and type(variant.steps[0].op) is type(step.op):
        found = [c for c, _ in attributes(step.op, variant.steps[0].op)]
        if len(found) == 1:
            return dataclasses.replace(found[0], attribute="")
    return Cause(f"{variant.what} on the right")


def _scale(layers: Sequence[Layer]) -> ops.Scale:
    """Scales one after the other, as one."""
    factor, offset = 1.0, 0.0
    for layer in layers:
        op: Any = layer.op
        factor, offset = factor * op.factor, offset * op.factor + op.offset
    return ops.Scale(factor, offset)

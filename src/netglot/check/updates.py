"""Optimizer steps of two models: by which rule each goes, and where the rules differ.

A rule is judged on what its own side has seen: the gradients and weights that a model
really had give the steps that the rule would have made, which are compared with those
that it made. So a difference of the gradients is none of the rule, and no error grows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from netglot.frontends.optimizers import Rule, differences

#: Relative difference of steps that counts as the same, in float64 and in float32.
LIMITS = {True: 1e-8, False: 2e-3}

#: Numbers of float32 in a rule change its steps by less.
SINGLE = 1e-3

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Trajectory:
    """What optimizer steps did: weights before the first and after every one.

    ``gradients`` has one entry less; ``losses`` are those before every step. ``rule``
    is what was read of the optimizer, which ``named`` says in its own words. Canonical
    layouts throughout.
    """

    weights: Sequence[Arrays]
    gradients: Sequence[Arrays]
    losses: Sequence[float]
    rule: Rule | None
    named: str
    framework: str = ""


@dataclass(frozen=True)
class Ruled:
    """The two rules compared.

    ``causes`` are differences that change the training, ``forms`` such as belong to the
    frameworks and cannot be chosen; ``left_over`` is what remains between the right
    side's steps and the left side's rule with all of them. ``size`` is the difference
    without. ``unknown`` says which side's rule reproduces nothing.
    """

    size: float
    allowed: float
    causes: tuple[str, ...] = ()
    forms: tuple[str, ...] = ()
    left_over: float | None = None
    unknown: str = ""

    @property
    def same(self) -> bool:
        """Whether both would make the same steps, but for the frameworks' forms."""
        return not self.causes and not self.unknown


def moves(rule: Rule, seen: Trajectory) -> Iterator[dict[str, np.ndarray]]:
    """The steps that a rule makes of the gradients and weights that were there."""
    if rule.single:
        decay, momentum = _float32(rule.weight_decay), _float32(rule.momentum)
        rule = replace(rule, weight_decay=decay, momentum=momentum)
    memory: dict[str, dict[str, Any]] = {}
    for number, slopes in enumerate(seen.gradients, start=1):
        held = seen.weights[number - 1]
        yield {
            path: _move(rule, number, memory.setdefault(path, {}), held[path], g)
            for path, g in _clipped(rule, slopes).items()
        }


def _float32(number: float) -> float:
    return float(np.float32(number))


def _clipped(rule: Rule, slopes: Arrays) -> dict[str, np.ndarray]:
    found = {path: np.asarray(g, np.float64) for path, g in slopes.items()}
    if rule.limit:
        found = {p: np.clip(g, -rule.limit, rule.limit) for p, g in found.items()}
    if rule.norm:
        norm = math.sqrt(sum(float((g * g).sum()) for g in found.values()))
        if norm > rule.norm:
            found = {p: g * (rule.norm / norm) for p, g in found.items()}
    return found


def _move(
    rule: Rule, step: int, memory: dict[str, Any], weight: np.ndarray, g: np.ndarray
) -> np.ndarray:
    """The change of one weight; ``memory`` is what is remembered of it."""
    weight = np.asarray(weight, np.float64)
    decay = rule.weight_decay
    if rule.decays == "kernels alone" and weight.ndim < 2:
        decay = 0.0
    if decay and not rule.decoupled:
        g = g + decay * weight
    if rule.kind == "sgd":
        move = _with_momentum(rule, step, memory, g)
    elif rule.kind == "adam":
        move = _adam(rule, step, memory, g)
    else:
        if rule.kind == "rmsprop":
            square = memory.get("square", 0.0)
            square = memory["square"] = rule.beta2 * square + (1 - rule.beta2) * g * g
            if rule.centered:
                mean = rule.beta2 * memory.get("mean", 0.0) + (1 - rule.beta2) * g
                memory["mean"] = mean
                square = square - mean * mean
        else:
            square = memory.get("square", rule.accumulated) + g * g
            memory["square"] = square
        move = _with_momentum(rule, step, memory, g / _root(rule, square))
    change = -rule.rate * move
    return change - rule.rate * decay * weight if rule.decoupled else change


def _root(rule: Rule, square: Any) -> Any:
    if rule.epsilon_form == "inside":
        return np.sqrt(square + rule.epsilon)
    return np.sqrt(square) + rule.epsilon


def _with_momentum(
    rule: Rule, step: int, memory: dict[str, Any], g: np.ndarray
) -> np.ndarray:
    if not rule.momentum:
        return g
    # PyTorch's first velocity is the whole gradient, whatever the dampening.
    share = 1 - rule.damping if step > 1 or rule.damps_first else 1.0
    velocity = rule.momentum * memory.get("velocity", 0.0) + share * g
    memory["velocity"] = velocity
    return g + rule.momentum * velocity if rule.nesterov else velocity


def _adam(rule: Rule, step: int, memory: dict[str, Any], g: np.ndarray) -> np.ndarray:
    first = rule.beta1 * memory.get("first", 0.0) + (1 - rule.beta1) * g
    second = rule.beta2 * memory.get("second", 0.0) + (1 - rule.beta2) * g * g
    memory["first"], memory["second"] = first, second
    if rule.amsgrad:
        second = memory["most"] = np.maximum(memory.get("most", 0.0), second)
    share1, share2 = 1.0, 1.0
    if rule.correction:
        share1, share2 = 1 - rule.beta1**step, 1 - rule.beta2**step
        if rule.single:
            share1 = 1 - _float32(rule.beta1) ** step
            share2 = 1 - _float32(rule.beta2) ** step
    if rule.epsilon_form == "before":
        root = np.sqrt(second) + rule.epsilon
        return math.sqrt(share2) / share1 * first / root
    return first / share1 / _root(rule, second / share2)


def distance(rule: Rule, seen: Trajectory) -> float:
    """How far a rule's steps are from those that were made, relative to these.

    Some of its numbers may be of float32 even where the weights are of float64.
    """
    size = _distance(rule, seen)
    if not LIMITS[True] < size < SINGLE:
        return size
    return min(size, _distance(replace(rule, single=True), seen))


def _distance(rule: Rule, seen: Trajectory) -> float:
    worst = 0.0
    for number, made in enumerate(moves(rule, seen), start=1):
        before, after = seen.weights[number - 1], seen.weights[number]
        off = total = 0.0
        for path, move in made.items():
            actual = np.asarray(after[path], np.float64) - before[path]
            off += float(((move - actual) ** 2).sum())
            total += float((actual**2).sum())
        if not total:
            return 0.0 if not off else float("inf")
        size = math.sqrt(off / total)
        if not size <= worst:
            worst = size
    return worst


def compare_rules(left: Trajectory, right: Trajectory, exact: bool) -> Ruled:
    """By which rule the right side goes, against that of the left."""
    allowed = LIMITS[exact]
    mine = _confirmed(left, allowed)
    if mine is None:
        return Ruled(
            float("inf"),
            allowed,
            unknown=f"left: {left.named} is not one that is known",
        )
    size = distance(mine, right)
    if size <= allowed:
        return Ruled(size, allowed, forms=tuple(_singles(mine, left, right, allowed)))
    for rule in _candidates(mine, right.rule):
        rest = distance(rule, right)
        if rest <= allowed:
            names = [n for n in differences(mine, rule) if _is_told(n, mine, rule)]
            framework = [n for n in names if _is_form(n, left, right)]
            words = {n: _words(n, mine, rule) for n in names}
            return Ruled(
                size,
                allowed,
                tuple(words[n] for n in names if n not in framework),
                tuple(words[n] for n in framework),
                rest,
            )
    return Ruled(
        size,
        allowed,
        unknown=f"right: nothing that is known gives the steps of {right.named}",
    )


def _singles(
    mine: Rule, left: Trajectory, right: Trajectory, allowed: float
) -> Iterator[str]:
    """On which side alone the numbers of a rule are those of float32."""
    found = [_distance(mine, seen) > allowed for seen in (left, right)]
    if found[0] != found[1]:
        side = "left" if found[0] else "right"
        yield f"the optimizer's own numbers are those of float32 on the {side}"


def _confirmed(seen: Trajectory, allowed: float) -> Rule | None:
    """The rule that a side really goes by: as read, or a variant of that."""
    if seen.rule is None:
        return None
    found = (seen.rule, *itertools.chain.from_iterable(_variants(seen.rule)))
    return next((rule for rule in found if distance(rule, seen) <= allowed), None)


def _is_told(name: str, left: Rule, right: Rule) -> bool:
    """How weights decay is told where they decay on both sides."""
    both = left.weight_decay and right.weight_decay
    return bool(both) or name not in ("decoupled", "decays")


def _is_form(name: str, left: Trajectory, right: Trajectory) -> bool:
    """Whether a difference is one of the frameworks, and as they say it themselves."""
    if name != "epsilon_form" or left.rule is None or right.rule is None:
        return False
    if left.rule.kind == "rmsprop" and "flax" in (left.framework, right.framework):
        # optax can have it both ways (eps_in_sqrt).
        return False
    return left.rule.epsilon_form != right.rule.epsilon_form


def _candidates(mine: Rule, read: Rule | None) -> Iterator[Rule]:
    """What the right side may go by, likeliest first.

    The left side's rule with some of the attributes that were read on the right; that
    with one variant; then the left side's with one variant and with two.
    """
    if read is not None:
        names = list(differences(mine, read))
        for count in range(1, len(names) + 1):
            for chosen in itertools.combinations(names, count):
                yield replace(mine, **{n: getattr(read, n) for n in chosen})
        yield from itertools.chain.from_iterable(_variants(read))
    tables = list(_variants(mine))
    yield from itertools.chain.from_iterable(tables)
    for one, two in itertools.combinations(tables, 2):
        for a, b in itertools.product(one, two):
            changes = {n: getattr(a, n) for n in differences(mine, a)}
            changes |= {n: getattr(b, n) for n in differences(mine, b)}
            yield replace(mine, **changes)


def _variants(rule: Rule) -> Iterator[list[Rule]]:
    """Other forms of a rule, by what is changed."""

    def each(name: str, *values: Any) -> list[Rule]:
        own = getattr(rule, name)
        return [replace(rule, **{name: value}) for value in values if value != own]

    rates = [rule.rate * factor for factor in (10, 0.1, 2, 0.5)]
    yield each("rate", 0.1, 0.01, 0.001, 1e-4, *rates)
    yield each("decays", "kernels alone", "all weights")
    yield each(
        "weight_decay", 0.0, 0.01, 1e-4, 5e-4, 0.004, rule.weight_decay * rule.rate
    )
    yield each("decoupled", not rule.decoupled)
    yield each("norm", 1.0, 5.0, 0.0)
    if rule.kind == "adam":
        yield each("epsilon", 1e-8, 1e-7, 1e-6, 1e-3, 1e-10)
        yield each("epsilon_form", "before", "after", "inside")
        yield each("beta2", 0.999, 0.99, 0.95, 0.9)
        yield each("beta1", 0.9, 0.5, 0.0)
        yield each("correction", not rule.correction)
        yield each("amsgrad", not rule.amsgrad)
        return
    yield each("momentum", 0.0, 0.9, 0.99, 0.5)
    if rule.momentum:
        yield each("nesterov", not rule.nesterov)
        yield each("damping", rule.momentum, 0.0)
        yield [replace(rule, damping=rule.momentum, damps_first=True)]
    if rule.kind == "sgd":
        adam = [
            replace(rule, kind="adam", epsilon=e, momentum=0.0) for e in (1e-8, 1e-7)
        ]
        yield adam
    if rule.kind == "rmsprop":
        yield each("beta2", 0.99, 0.9)
        yield each("centered", not rule.centered)
    if rule.kind in ("rmsprop", "adagrad"):
        yield each("epsilon", 1e-8, 1e-7, 1e-10, 1e-3)
        yield each("epsilon_form", "after", "inside")
    if rule.kind == "adagrad":
        yield each("accumulated", 0.0, 0.1)


def _words(name: str, left: Rule, right: Rule) -> str:
    ours, theirs = getattr(left, name), getattr(right, name)
    if name == "decoupled":
        how = {True: "decoupled (AdamW)", False: "added to the gradient"}
        return f"weight decay is {how[theirs]} on the right, {how[ours]} on the left"
    if name == "decays":
        return f"{theirs} decay on the right, {ours} on the left"
    if name == "damping" and theirs == right.momentum:
        return "the velocity has unit gain on the right (1 - momentum of each gradient)"
    if name == "damps_first":
        return "the first velocity too" if theirs else "the first velocity is not"
    if name == "epsilon_form":
        where = {
            "after": "after the bias correction",
            "before": "before the bias correction",
            "inside": "inside the root",
        }
        return (
            f"epsilon is added {where[theirs]} on the right, {where[ours]} on the left"
        )
    title = {
        "rate": "learning rate",
        "kind": "rule",
        "norm": "clipped norm (0: none)",
        "limit": "clipped value (0: none)",
        "correction": "bias correction",
        "weight_decay": "weight decay",
        "nesterov": "Nesterov momentum",
        "amsgrad": "AMSGrad",
        "centered": "centred squares",
    }.get(name, name)

    def word(value: Any) -> str:
        return f"{value:g}" if isinstance(value, float) else str(value)

    if isinstance(theirs, bool):
        return f"{title} on the {'right' if theirs else 'left'} only"
    if name == "weight_decay" and theirs and not ours:
        manner = "decoupled" if right.decoupled else "added to the gradient"
        return f"{title} {word(theirs)} ({manner}) on the right, none on the left"
    return f"{title} {word(theirs)} on the right, {word(ours)} on the left"

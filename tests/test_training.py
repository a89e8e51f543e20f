"""By which rule, loss and distribution: what is told apart, without any framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from netglot import recipe, reference
from netglot.check import initial, losses
from netglot.check.updates import Trajectory, compare_rules, distance, moves
from netglot.frontends.optimizers import Rule, read
from netglot.ops import WeightType

pytestmark = pytest.mark.text

SGD = Rule("sgd", 0.1, momentum=0.9, weight_decay=1e-3)
ADAM = Rule("adam", 1e-3, weight_decay=0.01, epsilon=1e-8)
RMSPROP = Rule("rmsprop", 1e-3, beta2=0.9, epsilon=1e-7, epsilon_form="inside")
ADAGRAD = Rule("adagrad", 1e-2, epsilon=1e-7, accumulated=0.1)


def went(rule: Rule, said: Rule | None = None, steps: int = 5) -> Trajectory:
    """What a model would have seen whose optimizer goes by ``rule``."""
    random = np.random.default_rng(5)
    held: dict[str, np.ndarray] = {
        "fc.kernel": random.standard_normal((7, 5)),
        "fc.bias": random.standard_normal(7),
    }
    weights: list[Mapping[str, np.ndarray]] = [held]
    gradients: list[Mapping[str, np.ndarray]] = []
    for _ in range(steps):
        slopes = {p: 3 * random.standard_normal(w.shape) for p, w in held.items()}
        gradients.append(slopes)
        seen = Trajectory(weights, gradients, [], rule, "")
        *_, last = moves(rule, seen)
        held = {path: held[path] + last[path] for path in held}
        weights = [*weights, held]
    return Trajectory(weights, gradients, [0.0] * steps, said or rule, "Optimizer")


@pytest.mark.parametrize(
    "rule, its",
    [
        (replace(SGD, nesterov=True), recipe.SGD(0.1, 0.9, True, 1e-3)),
        (SGD, recipe.SGD(0.1, 0.9, False, 1e-3)),
        (replace(ADAM, decoupled=True), recipe.Adam(1e-3, weight_decay=0.01)),
        (
            replace(ADAM, weight_decay=0.0, epsilon_form="before"),
            recipe.Adam(1e-3, epsilon_form="before"),
        ),
    ],
)
def test_rules_are_those_of_the_reference(rule: Rule, its: recipe.Optimizer) -> None:
    seen = went(rule)
    state = reference.OptimizerState()
    for number, slopes in enumerate(seen.gradients):
        state, new = reference.optimizer_step(its, state, seen.weights[number], slopes)
        for path, array in new.items():
            np.testing.assert_allclose(
                array, seen.weights[number + 1][path], rtol=1e-12, atol=1e-14
            )


@pytest.mark.parametrize(
    "left, change, words",
    [
        (SGD, {"momentum": 0.99}, "momentum 0.99 on the right, 0.9 on the left"),
        (SGD, {"nesterov": True}, "Nesterov momentum on the right only"),
        (SGD, {"damping": 0.9}, "unit gain"),
        (SGD, {"weight_decay": 0.0}, "weight decay 0 on the right, 0.001 on the left"),
        (SGD, {"decoupled": True}, "decoupled (AdamW) on the right"),
        (SGD, {"decays": "kernels alone"}, "kernels alone decay on the right"),
        (SGD, {"rate": 0.01}, "learning rate 0.01 on the right, 0.1 on the left"),
        (SGD, {"norm": 1.0}, "clipped norm (0: none) 1 on the right"),
        (ADAM, {"epsilon": 1e-3}, "epsilon 0.001 on the right, 1e-08 on the left"),
        (ADAM, {"beta2": 0.99}, "beta2 0.99 on the right, 0.999 on the left"),
        (ADAM, {"correction": False}, "bias correction on the left only"),
        (ADAM, {"amsgrad": True}, "AMSGrad on the right only"),
        (ADAM, {"decoupled": True}, "decoupled (AdamW) on the right"),
        (RMSPROP, {"epsilon_form": "after", "epsilon": 1e-3}, "epsilon"),
        (RMSPROP, {"centered": True}, "centred squares on the right only"),
        (ADAGRAD, {"accumulated": 0.0}, "accumulated 0 on the right, 0.1 on the left"),
    ],
)
def test_a_rule_that_says_otherwise_than_it_does(
    left: Rule, change: Mapping[str, object], words: str
) -> None:
    """The right side is taken for the left one, and goes by another rule."""
    right = went(replace(left, **change), said=left)  # type: ignore[arg-type]
    found = compare_rules(went(left), right, exact=True)
    assert not found.same
    assert words in "; ".join(found.causes)
    assert found.left_over is not None and found.left_over < 1e-12
    assert len(found.causes) == len(change)


def test_the_same_rule() -> None:
    for rule in (SGD, ADAM, RMSPROP, ADAGRAD):
        assert compare_rules(went(rule), went(rule), exact=True).same
        assert distance(rule, went(rule)) < 1e-13


def test_a_form_of_the_framework_is_no_difference() -> None:
    before = replace(ADAM, epsilon_form="before", epsilon=1e-3)
    found = compare_rules(went(replace(ADAM, epsilon=1e-3)), went(before), exact=True)
    assert found.same
    assert found.forms == (
        "epsilon is added before the bias correction on the right, "
        "after the bias correction on the left",
    )


def test_an_optimizer_that_nobody_knows() -> None:
    lion = went(SGD)
    signed = [{p: np.sign(w) for p, w in step.items()} for step in lion.weights]
    other = replace(lion, weights=signed)
    assert "right: nothing" in compare_rules(lion, other, exact=True).unknown
    assert "left: Optimizer" in compare_rules(other, lion, exact=True).unknown


def test_optimizers_as_their_frameworks_say_it() -> None:
    torch = {
        "kind": "torch.optim.adamw.AdamW",
        "attributes": {
            "lr": 1e-3,
            "betas": [0.9, 0.999],
            "eps": 1e-8,
            "weight_decay": 0.01,
            "amsgrad": False,
        },
    }
    keras = {
        "kind": "keras.optimizers.AdamW",
        "attributes": {
            "learning_rate": 1e-3,
            "weight_decay": 0.01,
            "beta_1": 0.9,
            "beta_2": 0.999,
            "epsilon": 1e-8,
            "amsgrad": False,
        },
    }
    optax = {
        "kind": "optax.GradientTransformation",
        "attributes": {},
        "parts": [
            {
                "kind": "optax.scale_by_adam",
                "attributes": {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "eps_root": 0.0},
            },
            {
                "kind": "optax.add_decayed_weights",
                "attributes": {"weight_decay": 0.01},
            },
            {"kind": "optax.scale", "attributes": {"step_size": -1e-3}},
        ],
    }
    wanted = replace(ADAM, decoupled=True)
    assert read(torch) == read(optax) == wanted
    assert read(keras) == replace(wanted, epsilon_form="before")
    assert read({"kind": "torch.optim.lion.Lion", "attributes": {}}) is None


def test_losses_are_named() -> None:
    random = np.random.default_rng(1)
    scores = random.standard_normal((6, 4))
    labels = random.integers(0, 4, 6)
    logs = log_softmax(scores, -1)[np.arange(6), labels]
    twice = log_softmax(softmax(scores, -1), -1)[np.arange(6), labels]

    def said(value: float) -> str:
        return losses.named(value, scores, labels, exact=True)

    assert said(-logs.mean()).startswith("cross entropy of scores (with softmax), mean")
    assert said(-logs.sum()).endswith("sum over the batch")
    assert "twice" in said(-twice.mean())
    assert said(1.2345) == ""
    numbers = random.standard_normal((6, 4))
    half = float(((scores - numbers) ** 2).mean() / 2)
    assert losses.named(half, scores, numbers, exact=True).startswith("half")


@pytest.mark.parametrize(
    "name, draw",
    [
        ("Glorot uniform", lambda r: r.uniform(-1, 1, (80, 50)) * (6 / 130) ** 0.5),
        ("He normal", lambda r: r.standard_normal((80, 50)) * (2 / 50) ** 0.5),
        ("1 / sqrt(fan in) uniform", lambda r: r.uniform(-1, 1, (80, 50)) / 50**0.5),
        ("normal, deviation 1", lambda r: r.standard_normal((80, 50))),
        ("all 0", lambda r: np.zeros((80, 50))),
        ("none that is known", lambda r: r.exponential(1, (80, 50))),
    ],
)
def test_distributions_are_named(name: str, draw) -> None:
    weight = WeightType("OI", (80, 50), "kernel")
    array = draw(np.random.default_rng(3))
    assert str(initial.named(array, weight)).startswith(name)
    again = draw(np.random.default_rng(4))
    assert not list(initial.compare_initial({"w": (array, again, weight)}))
    other = np.random.default_rng(5).uniform(-0.3, 0.3, (80, 50))
    assert list(initial.compare_initial({"w": (array, other, weight)}))

"""Optimizers that people have, read as one rule in the terms that all of them share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True)
class Rule:
    """How an optimizer turns gradients into steps.

    ``kind``: ``sgd``, ``adam``, ``rmsprop`` or ``adagrad``. ``damping`` is the share of
    a gradient that does *not* enter the velocity (``dampening``; equal to the momentum:
    unit gain), of the first gradient too where ``damps_first``. ``decoupled`` says that
    weight decay acts on the weight itself, not on the gradient. ``decays``: which
    weights decay. ``epsilon_form``: ``after`` or ``before`` the bias correction (of
    Adam), or ``inside`` the root. ``accumulated`` is what squares start from. ``norm``
    and ``limit`` clip the gradient of all weights together, and each number of it (0:
    neither). ``single``: numbers that Keras makes tensors of on TensorFlow (momentum,
    decay, the betas' powers) are those of float32, whatever the weights are.
    """

    kind: str
    rate: float
    momentum: float = 0.0
    nesterov: bool = False
    damping: float = 0.0
    damps_first: bool = False
    weight_decay: float = 0.0
    decoupled: bool = False
    decays: str = "all weights"
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 0.0
    epsilon_form: str = "after"
    correction: bool = True
    amsgrad: bool = False
    centered: bool = False
    accumulated: float = 0.0
    norm: float = 0.0
    limit: float = 0.0
    single: bool = False


def differences(left: Rule, right: Rule) -> Iterator[str]:
    """The attributes in which two rules differ, as far as they have any effect."""
    for name in (f.name for f in fields(Rule)):
        if name == "single":
            continue
        if getattr(left, name) != getattr(right, name) and (
            _matters(left, name) or _matters(right, name)
        ):
            yield name


def _matters(rule: Rule, name: str) -> bool:
    if name in ("nesterov", "damping"):
        return bool(rule.momentum)
    if name == "damps_first":
        return bool(rule.momentum and rule.damping)
    if name in ("decoupled", "decays"):
        return bool(rule.weight_decay)
    if name in ("beta1", "correction", "amsgrad"):
        return rule.kind == "adam"
    if name == "beta2":
        return rule.kind in ("adam", "rmsprop")
    if name == "centered":
        return rule.kind == "rmsprop"
    if name == "accumulated":
        return rule.kind == "adagrad"
    if name in ("epsilon", "epsilon_form"):
        return rule.kind != "sgd"
    return True


def read(described: Mapping[str, Any]) -> Rule | None:
    """The rule of an optimizer that was described; None for one that is not known."""
    kind = str(described["kind"])
    package, _, name = kind.partition(".")
    attributes = described["attributes"]
    known = {"torch": _TORCH, "keras": _KERAS}.get(package, {})
    reader = known.get(name.rpartition(".")[2])
    try:
        if "parts" in described:
            return _chained(described["parts"])
        return reader(attributes) if reader else None
    except (KeyError, TypeError):
        return None


# --- PyTorch --------------------------------------------------------------------------


def _torch_decay(a: Mapping[str, Any], decoupled: bool = False) -> dict[str, Any]:
    decoupled = bool(a.get("decoupled_weight_decay", decoupled))
    return {"rate": a["lr"], "weight_decay": a["weight_decay"], "decoupled": decoupled}


def _torch_adam(a: Mapping[str, Any], decoupled: bool = False) -> Rule:
    beta1, beta2 = a["betas"]
    return Rule(
        "adam",
        beta1=beta1,
        beta2=beta2,
        epsilon=a["eps"],
        amsgrad=a["amsgrad"],
        **_torch_decay(a, decoupled),
    )


_TORCH: Mapping[str, Callable[[Any], Rule]] = {
    "SGD": lambda a: Rule(
        "sgd",
        momentum=a["momentum"],
        nesterov=a["nesterov"],
        damping=a["dampening"],
        **_torch_decay(a),
    ),
    "Adam": _torch_adam,
    "AdamW": lambda a: _torch_adam(a, True),
    "RMSprop": lambda a: Rule(
        "rmsprop",
        momentum=a["momentum"],
        beta2=a["alpha"],
        epsilon=a["eps"],
        centered=a["centered"],
        **_torch_decay(a),
    ),
    "Adagrad": lambda a: Rule(
        "adagrad",
        epsilon=a["eps"],
        accumulated=a["initial_accumulator_value"],
        **_torch_decay(a),
    ),
}


# --- Keras ----------------------------------------------------------------------------


def _keras_common(a: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "rate": a["learning_rate"],
        "weight_decay": a.get("weight_decay") or 0.0,
        "decoupled": True,
        "limit": a.get("clipvalue") or 0.0,
        "norm": a.get("global_clipnorm") or 0.0,
    }


def _keras_adam(a: Mapping[str, Any]) -> Rule:
    return Rule(
        "adam",
        beta1=a["beta_1"],
        beta2=a["beta_2"],
        epsilon=a["epsilon"],
        epsilon_form="before",
        amsgrad=a["amsgrad"],
        **_keras_common(a),
    )


_KERAS: Mapping[str, Callable[[Any], Rule]] = {
    "SGD": lambda a: Rule(
        "sgd", momentum=a["momentum"], nesterov=a["nesterov"], **_keras_common(a)
    ),
    "Adam": _keras_adam,
    "AdamW": _keras_adam,
    "RMSprop": lambda a: Rule(
        "rmsprop",
        momentum=a["momentum"],
        beta2=a["rho"],
        epsilon=a["epsilon"],
        epsilon_form="inside",
        centered=a["centered"],
        **_keras_common(a),
    ),
    "Adagrad": lambda a: Rule(
        "adagrad",
        epsilon=a["epsilon"],
        epsilon_form="inside",
        accumulated=a["initial_accumulator_value"],
        **_keras_common(a),
    ),
}


# --- optax ----------------------------------------------------------------------------


def _chained(parts: list[dict[str, Any]]) -> Rule | None:
    """One rule of the transformations that follow each other."""
    rule, scaled = Rule("sgd", 1.0), 1.0
    moved = False
    for part in parts:
        a = part["attributes"]
        match part["kind"].rpartition(".")[2]:
            case "trace":
                rule = replace(
                    rule, momentum=a["decay"], nesterov=bool(a.get("nesterov"))
                )
            case "scale_by_adam" if not (a.get("eps_root") or a.get("nesterov")):
                rule = replace(
                    rule,
                    kind="adam",
                    beta1=a["b1"],
                    beta2=a["b2"],
                    epsilon=a["eps"],
                )
            case "scale_by_amsgrad" if not a.get("eps_root"):
                rule = replace(
                    rule,
                    kind="adam",
                    beta1=a["b1"],
                    beta2=a["b2"],
                    epsilon=a["eps"],
                    amsgrad=True,
                )
            case "scale_by_rms" | "scale_by_stddev" as kind:
                inside = a.get("eps_in_sqrt", True)
                rule = replace(
                    rule,
                    kind="rmsprop",
                    beta2=a["decay"],
                    epsilon=a["eps"],
                    epsilon_form="inside" if inside else "after",
                    centered=kind == "scale_by_stddev",
                )
            case "scale_by_rss":
                rule = replace(
                    rule,
                    kind="adagrad",
                    epsilon=a["eps"],
                    epsilon_form="inside",
                    accumulated=a["initial_accumulator_value"],
                )
            case "add_decayed_weights":
                rule = replace(rule, weight_decay=a["weight_decay"], decoupled=moved)
                continue
            case "clip_by_global_norm" if not moved:
                rule = replace(rule, norm=a["max_norm"])
                continue
            case "clip" if not moved:
                rule = replace(rule, limit=a["max_delta"])
                continue
            case "scale":
                scaled *= a["step_size"]
            case "identity" | "masked":
                continue
            case _:
                return None
        moved = True
    return replace(rule, rate=-scaled)

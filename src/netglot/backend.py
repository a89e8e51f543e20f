"""What a framework is to netglot: its environment, its rules, its programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Env:
    """The interpreter and the packages that a framework's programs run in.

    ``python`` lists the versions that work, best first. ``requirements`` are pinned
    (``torch==2.13.0``); the first is the framework itself, and the one that
    ``--on name==version`` replaces. ``imports`` are the modules whose import proves the
    environment. ``variables`` are always set; each name in ``threads`` is set to the
    number of threads; ``cpu`` is set where a run must not see an accelerator.
    ``lock`` names the list of all pins in ``runtime/locks/`` (``pytorch`` for
    ``pytorch.txt``) that pip is held to; backends that share an environment name the
    same list.
    """

    python: tuple[str, ...]
    requirements: tuple[str, ...]
    imports: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    threads: tuple[str, ...] = (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
    )
    cpu: Mapping[str, str] = field(
        default_factory=lambda: {"CUDA_VISIBLE_DEVICES": "-1"}
    )
    pip_arguments: tuple[str, ...] = ()
    lock: str = ""

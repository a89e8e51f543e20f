"""One network, every deep-learning framework.

The public verbs and types are loaded when they are first used, so that importing
netglot costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

#: Public name -> the module that has it.
_PUBLIC = {
    "Builder": "netglot.graph",
    "Graph": "netglot.graph",
    "Block": "netglot.graph",
    "Recipe": "netglot.recipe",
    "SGD": "netglot.recipe",
    "Adam": "netglot.recipe",
    "SoftmaxCrossEntropy": "netglot.recipe",
    "MeanSquaredError": "netglot.recipe",
    "Workload": "netglot.workloads",
    "DataSpec": "netglot.data",
    "UserError": "netglot.errors",
    "emit": "netglot.emit",
    "race": "netglot.race.engine",
    "check": "netglot.check.models",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'netglot' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)

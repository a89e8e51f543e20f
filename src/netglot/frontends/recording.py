"""What was seen of a live model, as ``watch/recorder.py`` wrote it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Call:
    """One use of a layer or function, in the framework's words.

    ``positional`` and ``keyword`` are as ``recorder.encode`` wrote them: ``{"value":
    name}``, ``{"weight": path}``, lists, plain values. ``weights`` are paths in the
    model by the layer's own names. ``source`` is the line that called it, ``made`` the
    line that made the layer, where known.
    """

    kind: str
    path: str
    positional: tuple[Any, ...]
    keyword: Mapping[str, Any]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    training: bool = False
    source: str = ""
    made: str = ""


@dataclass(frozen=True)
class Recording:
    """One run of a model: every call, every value (on disk), all weights.

    ``settings`` are those that have float32 computed with a shorter type.
    """

    folder: Path
    framework: str
    version: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    values: Mapping[str, Mapping[str, Any]]
    calls: tuple[Call, ...]
    settings: tuple[Mapping[str, Any], ...] = ()

    @staticmethod
    def load(folder: Path) -> Recording:
        """What a run left in a folder."""
        content = json.loads((folder / "recording.json").read_text())
        calls = tuple(
            Call(
                entry["kind"],
                entry["path"],
                tuple(entry["arguments"][0]),
                entry["arguments"][1],
                tuple(entry["outputs"]),
                entry["attributes"],
                entry["weights"],
                entry["training"],
                entry["source"],
                entry["made"],
            )
            for entry in content["calls"]
        )
        return Recording(
            folder,
            content["framework"],
            content["version"],
            tuple(content["inputs"]),
            tuple(content["outputs"]),
            content["values"],
            calls,
            tuple(content.get("settings", ())),
        )

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a value, in the framework's order of axes."""
        return tuple(self.values[name]["shape"])

    def dtype(self, name: str) -> str:
        """The element type of a value."""
        return str(self.values[name]["dtype"])

    def seen(self, name: str) -> bool:
        """Whether the value was kept."""
        return name in self.values and not self.values[name].get("unseen")

    def array(self, name: str) -> np.ndarray:
        """A value, read from disk."""
        found: np.ndarray = np.load(self.folder / "values" / f"{name}.npy")
        return found

    def weights(self) -> dict[str, np.ndarray]:
        """All weights by the model's own paths."""
        with np.load(self.folder / "weights.npz") as file:
            return dict(file)

    def gradients(self) -> dict[str, np.ndarray]:
        """Gradients by the model's own paths, of a run in training; none of another."""
        path = self.folder / "gradients.npz"
        if not path.exists():
            return {}
        with np.load(path) as file:
            return dict(file)

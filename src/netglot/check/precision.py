"""Shorter types than float32: which setting of which side brought them in.

What is rounded is seen in the numbers (``explain``); here it is said which setting of
the framework does that, and the side is run again without it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from netglot.check.causes import Cause, Compared, Finding
from netglot.frontends.reading import Reading

#: In which words a rounded type is said, by those of the settings.
SAID = {"bfloat16": "bfloat16", "TF32": "TF32 or float16", "float16": "TF32 or float16"}
ROUNDED = "rounded to "


@dataclass(frozen=True)
class Setting:
    """A setting of a framework that has float32 computed with a shorter type.

    ``where`` is the layer that it is about (empty: all); ``single`` says that it leaves
    float64 alone, ``active`` that it acts on the device of the run; ``change`` is how
    to have full float32. See ``frontends/watch/precision.py``.
    """

    name: str
    value: str
    type: str
    change: str
    where: str = ""
    single: bool = True
    active: bool = True

    @classmethod
    def read(cls, found: Sequence[Mapping[str, Any]]) -> tuple[Setting, ...]:
        """Of what a recording or a worker says."""
        return tuple(cls(**item) for item in found)

    def __str__(self) -> str:
        """As in ``torch.backends.cuda.matmul.fp32_precision is tf32``."""
        return f"{self.name} is {self.value}"


def settings_of(reading: Reading) -> tuple[Setting, ...]:
    """The settings of a run."""
    return Setting.read(reading.recording.settings)


def in_words(settings: Sequence[Setting]) -> Iterator[str]:
    """Those that act, a line for each, with the layers that one is about."""
    places: dict[Setting, list[str]] = {}
    for setting in settings:
        if setting.active:
            plain = dataclasses.replace(setting, where="")
            places.setdefault(plain, []).append(setting.where)
    for setting, layers in places.items():
        named = ", ".join(dict.fromkeys(layer for layer in layers if layer))
        where = f" ({named})" if named else ""
        yield f"{setting}{where}; full precision by {setting.change}"


def responsible(cause: Cause, finding: Finding, found: Sequence[Setting]) -> Setting:
    """The setting that rounds what a layer gives; raises ``LookupError`` for none."""
    layers = {layer.name for layer in (finding.right, cause.other) if layer}
    fits = [
        setting
        for setting in found
        if setting.active
        and cause.what.partition(ROUNDED)[2].startswith(SAID.get(setting.type, "-"))
        and (not setting.where or _about(setting.where, layers))
    ]
    if not fits:
        raise LookupError(cause.what)
    # What is about this layer, before what is about all.
    return max(fits, key=lambda setting: len(setting.where))


def _about(where: str, layers: set[str]) -> bool:
    """Whether a place in a model is, or holds, one of these layers."""
    plain = where.replace("/", ".")
    return any(name == plain or name.startswith(plain + ".") for name in layers)


def named(
    compared: Compared, found: Sequence[Setting], again: Callable[[], Compared | None]
) -> Compared:
    """The same, with the setting named where a layer's numbers are rounded.

    ``again`` compares with the right side in full float32, where it can be run so: then
    what is left of the difference is that of this run.
    """
    rest: Compared | None = None
    asked = False
    findings = []
    for finding in compared.findings:
        causes = []
        for cause in finding.causes:
            try:
                setting = responsible(cause, finding, found)
            except LookupError:
                causes.append(cause)
                continue
            if not asked:
                rest, asked = again(), True
            words = f"{cause.what}: {setting}"
            causes.append(dataclasses.replace(cause, what=words, change=setting.change))
            left_over = _left_over(rest, finding)
            if left_over is not None:
                finding = dataclasses.replace(finding, left_over=left_over)
        findings.append(dataclasses.replace(finding, causes=tuple(causes)))
    return dataclasses.replace(compared, findings=tuple(findings))


def _left_over(rest: Compared | None, finding: Finding) -> float | None:
    """What is left where a layer agrees in another comparison."""
    if rest is None or finding.left is None:
        return None
    layers = [item.left for item in rest.layers]
    if finding.left.name not in layers:
        return None
    # What one side has in one with the layer that follows is judged with that.
    later = rest.layers[layers.index(finding.left.name) :]
    judged = next((item for item in later if not item.why), None)
    if judged is None or not judged.size <= judged.allowed:
        return None
    return judged.size

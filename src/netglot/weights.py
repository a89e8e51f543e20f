"""Weights between the graph's layouts and a program's: permutations, gates, stacks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from netglot import axes
from netglot.backend import Program, ProgramWeight


def to_program(
    program: Program, weights: Mapping[str, np.ndarray], dtype: str = ""
) -> dict[str, np.ndarray]:
    """The graph's weights (by path) as the program names and stores them."""
    dtype = dtype or program.dtype
    arrays = lay_out(program.weights, weights)
    return {
        path: np.ascontiguousarray(array, dtype=dtype) for path, array in arrays.items()
    }


def from_program(
    program: Program, arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """What a program saved, as the graph's weights; raises ``KeyError`` for a lack."""
    return take_in(program.weights, arrays)


def lay_out(
    held: Iterable[ProgramWeight], weights: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Canonical weights by source, as arrays by path in the layouts of ``held``."""
    result = {}
    for weight in held:
        arrays = [
            _lay_out(weight, _shifted(weight, weights[source], -1))
            for source in weight.sources
        ]
        if weight.join:
            array = np.concatenate(arrays)
        else:
            array = arrays[0] if len(arrays) == 1 else np.stack(arrays)
        result[weight.path] = -array if weight.negative else array
    return result


def take_in(
    held: Iterable[ProgramWeight], arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Arrays by path as canonical weights by source; raises ``KeyError`` for a lack."""
    result = {}
    #: Sources whose gates lie in arrays of their own.
    parts: dict[str, dict[str, np.ndarray]] = {}
    for weight in held:
        array = -arrays[weight.path] if weight.negative else arrays[weight.path]
        pieces = [array] if len(weight.sources) == 1 else list(array)
        if weight.join:
            count = len(weight.sources)
            parts_of = weight.parts or (len(array) // count,) * count
            pieces = np.split(array, np.cumsum(parts_of)[:-1])
        for source, piece in zip(weight.sources, pieces, strict=True):
            whole, own = weight.gates
            if len(own) == len(whole):
                result[source] = _shifted(weight, _take_in(weight, piece), 1)
                continue
            held_gates = parts.setdefault(source, {})
            pieces_of = np.split(_take_in(weight, piece), len(own), _gate_axis(weight))
            held_gates |= dict(zip(own, pieces_of, strict=True))
            if len(held_gates) == len(whole):
                ordered = [held_gates[gate] for gate in whole]
                result[source] = np.concatenate(ordered, _gate_axis(weight))
    return result


def _shifted(weight: ProgramWeight, array: np.ndarray, sign: int) -> np.ndarray:
    """A bias with or without what the program adds to some gates itself."""
    if not weight.offset:
        return array
    gates = weight.gates[0]
    offsets = [sign * weight.offset.get(gate, 0.0) for gate in gates]
    return array + np.repeat(offsets, len(array) // len(gates))


def _gate_axis(weight: ProgramWeight) -> int:
    return weight.source_axes.index("G")


def _letters(weight: ProgramWeight) -> str:
    """Axes of one source in the program's order."""
    return weight.axes if len(weight.sources) == 1 else weight.axes[1:]


def _lay_out(weight: ProgramWeight, array: np.ndarray) -> np.ndarray:
    array = _gates(weight, array, *weight.gates)
    for letter, (parts, order) in weight.merged.items():
        array = unmerge(array, weight.source_axes.index(letter), parts, order)
    flipped = [weight.source_axes.index(letter) for letter in weight.flip]
    array = np.flip(array, tuple(flipped)) if flipped else array
    cuts = _cuts(weight, dict(zip(weight.source_axes, array.shape, strict=True)))
    array = array.reshape([size for cut in cuts for _, size in cut])
    letters = "".join(letter for cut in cuts for letter, _ in cut)
    return axes.transpose(array, letters, _letters(weight))


def _cuts(
    weight: ProgramWeight, sizes: Mapping[str, int]
) -> list[tuple[tuple[str, int], ...]]:
    """Each axis of a source as the letters and sizes that the program cuts it into."""
    whole = {a: ((a, sizes.get(a, 1)),) for a in weight.source_axes}
    return [weight.split.get(a, whole[a]) for a in weight.source_axes]


def _take_in(weight: ProgramWeight, array: np.ndarray) -> np.ndarray:
    cuts = _cuts(weight, dict(zip(_letters(weight), array.shape, strict=True)))
    letters = "".join(letter for cut in cuts for letter, _ in cut)
    array = axes.transpose(array, _letters(weight), letters)
    array = array.reshape([math.prod(size for _, size in cut) for cut in cuts])
    for letter, (parts, order) in weight.merged.items():
        sizes = dict(parts)
        given = tuple((a, sizes[a]) for a in order)
        original = "".join(a for a, _ in parts)
        array = unmerge(array, weight.source_axes.index(letter), given, original)
    if weight.flip:
        flipped = [weight.source_axes.index(letter) for letter in weight.flip]
        array = np.ascontiguousarray(np.flip(array, tuple(flipped)))
    source, target = weight.gates
    return (
        _gates(weight, array, target, source) if len(target) == len(source) else array
    )


def _gates(
    weight: ProgramWeight, array: np.ndarray, source: str, target: str
) -> np.ndarray:
    if source == target:
        return array
    axis = _gate_axis(weight)
    pieces = dict(zip(source, np.split(array, len(source), axis), strict=True))
    return np.concatenate([pieces[gate] for gate in target], axis)


def unmerge(
    array: np.ndarray, axis: int, parts: tuple[tuple[str, int], ...], order: str
) -> np.ndarray:
    """Reorders the elements along an axis that several letters were flattened into."""
    letters = "".join(a for a, _ in parts)
    before, after = array.shape[:axis], array.shape[axis + 1 :]
    spread = array.reshape(*before, *(size for _, size in parts), *after)
    inner = [axis + i for i in axes.permutation(letters, order)]
    outer = list(range(axis))
    rest = list(range(axis + len(parts), spread.ndim))
    return spread.transpose(outer + inner + rest).reshape(array.shape)

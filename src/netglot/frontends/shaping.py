"""Calls that reshape or take parts, as operations: the same in every framework."""

from __future__ import annotations

from typing import Any

from netglot import ops
from netglot.frontends.reading import Layout, Relabel, Said, Site, Unknown
from netglot.ops import Op


def reshape(site: Site, x: str) -> Any:
    """A call whose output holds the numbers of ``x`` in the same order."""
    letters = site.letters(x)
    before, after = site.shape(x), site.shape(site.call.outputs[0])
    if before == after:
        return Layout(x)
    if letters == "PNF" and before[1:] == after:
        return site.final(x)
    if not letters:
        return Said((), (x,))
    if len(after) == 2 and before[0] == after[0]:
        return Said((ops.Flatten(),), (x,), (), "NF")
    if before[0] != after[0]:
        return Unknown("it reshapes the axis of the batch")
    # An axis of size 1 more or less, or features cut into an image.
    rank = len(after)
    target = {
        3: "NTF",
        4: site.state.frontend.storage("NCHW"),
        5: site.state.frontend.storage("NCDHW"),
    }
    known = site.letters(site.call.outputs[0]) or target.get(rank)
    if known is None:
        return Unknown(f"it reshapes {before} to {after}")
    canonical = "".join(sorted(known, key=ops_order))
    if canonical != known and not _harmless(known, after, canonical):
        return Unknown(f"it reshapes {before} to {after}")
    plain = "".join(sorted(letters, key=ops_order))
    if plain != letters and not _harmless(letters, before, plain):
        return Unknown(f"it reshapes {before} to {after}")
    sizes = dict(zip(known, after, strict=True))
    shape = tuple(sizes[a] for a in canonical[1:])
    return Said((ops.Reshape(canonical[1:], shape),), (x,), (), known)


def product(site: Site, a: str, b: str, turned: bool = False) -> Any:
    """A product of two values over their last axes, one matrix for each of the rest.

    ``turned``: of the second its last axis is summed over, not the one before.
    """
    if site.rank(a) != site.rank(b) or site.rank(a) < 3:
        return Unknown("a product of values of different ranks")
    known, other = site.letters(a), site.letters(b)
    if known is None or other is None:
        return Said((), (a, b))
    kept, summed = (other[-2], other[-1]) if turned else (other[-1], other[-2])
    plain = _sorted(other)
    if _sorted(known) != known or plain[:-2] != other[:-2]:
        return Unknown("a product over other axes than the last two")
    chain: tuple[Op, ...] = (ops.MatMul(plain[-1] == summed),)
    out = known[:-1] + ("S" if kept in known[:-1] else kept)
    if _sorted(out) != out:
        # A step for each step: scores of attention.
        out = known[:-1] + "F"
        chain = (*chain, Relabel(tuple(range(len(out))), out))
    return Said(chain, (a, b), (known, other), out)


def _sorted(letters: str) -> str:
    return "".join(sorted(letters, key=ops_order))


def ops_order(letter: str) -> int:
    """Place of a letter in canonical order."""
    return "NPQRSCDHWTF".index(letter)


def _harmless(letters: str, shape: tuple[int, ...], canonical: str) -> bool:
    """Whether another order of the axes leaves the numbers where they are."""
    sizes = dict(zip(letters, shape, strict=True))
    large = [a for a in letters if sizes[a] != 1]
    return large == [a for a in canonical if sizes[a] != 1]


def index(site: Site) -> Any:
    """``x[:, -1]``, ``x[..., :4]``: slices, and axes that are taken away."""
    x, letters = site.value(), site.letters(site.value())
    given = site.call.positional[1]
    parts = given if isinstance(given, list) else [given]
    if not letters:
        return Said((), (x,))
    if any(isinstance(p, dict) and "ellipsis" in p for p in parts):
        place = next(
            i for i, p in enumerate(parts) if isinstance(p, dict) and "ellipsis" in p
        )
        gap = [{"slice": [None, None, None]}] * (len(letters) - len(parts) + 1)
        parts = [*parts[:place], *gap, *parts[place + 1 :]]
    if letters == "PNF" and len(parts) == 1 and parts[0] in (0, -1):
        # The state of a recurrent layer: (layers, N, units).
        return site.final(x)
    chain: list[Op] = []
    left = letters
    for letter, part in zip(letters, parts, strict=False):
        if isinstance(part, int) and not isinstance(part, bool):
            if letter == "N":
                return Unknown("it takes one observation")
            stop = None if part == -1 else part + 1
            chain.append(ops.Slice(letter, part, stop))
            left = left.replace(letter, "")
        elif isinstance(part, dict) and "slice" in part:
            start, stop, step = part["slice"]
            if (start, stop, step) == (None, None, None):
                continue
            if letter == "N":
                return Unknown("it takes some of the observations")
            first = -1 if (step or 1) < 0 else 0
            start = first if start is None else start
            chain.append(ops.Slice(letter, start, stop, step or 1))
        else:
            return Unknown(f"an index {part!r}")
    if not chain:
        return Layout(x)
    if left != letters:
        canonical = "".join(sorted(left, key=ops_order))
        sizes = dict(zip(left, site.shape(site.call.outputs[0]), strict=True))
        shape = tuple(sizes[a] for a in canonical[1:])
        chain.append(ops.Reshape(canonical[1:], shape))
        if canonical == "NC":
            chain, left = [*chain[:-1], ops.Reshape("F", shape)], "NF"
    return Said(tuple(chain), (x,), (), left)

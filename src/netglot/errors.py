"""Errors that are the user's to mend, told in one clear paragraph."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake of the user's: who, what, where, why and what next, in one message."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that does not exist, with the nearest that do."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, 3, 0.5)
    hint = (
        f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(names)}."
    )
    return UserError(f"There is no {kind} {name!r}. {hint}")

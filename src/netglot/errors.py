"""What the user is told when a mistake is the user's: one clear paragraph."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake of the user's: who, what, where, why and what next (exit status 2)."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not one of `known`, with "did you mean".

    `kind` says in words what was named, for example "data set".
    """
    names = sorted(known)
    lower = {each.lower(): each for each in names}
    close = difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.5)
    message = f"There is no {kind} named {name!r}."
    if close:
        message += f" Did you mean {' or '.join(lower[each] for each in close)}?"
    if names:
        message += f" Known: {', '.join(names)}."
    return UserError(message)

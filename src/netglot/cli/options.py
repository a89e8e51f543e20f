"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


def frameworks(value: str | None) -> tuple[str, ...]:
    """``pytorch,flax`` as a tuple; ``all`` or nothing: every backend."""
    from netglot import backends

    if value is None or value == "all":
        return tuple(backends.names())
    return tuple(name.strip() for name in value.split(",") if name.strip())


def interpreter(value: str | None) -> Path | None:
    """The path of ``--python``; raises ``UserError`` where there is no such program."""
    import shutil

    from netglot.errors import UserError

    if value is None:
        return None
    found = shutil.which(value)
    if found is None:
        raise UserError(f"--python {value}: there is no such program.")
    return Path(found).absolute()


exact_form: Any = click.option(
    "--exact-form",
    is_flag=True,
    help="Insist on the workload's first form of each operation.",
)

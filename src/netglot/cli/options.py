"""Options that several verbs share."""

from __future__ import annotations

from typing import Any

import click


def frameworks(value: str | None) -> tuple[str, ...]:
    """``pytorch,flax`` as a tuple; ``all`` or nothing: every backend."""
    from netglot import backends

    if value is None or value == "all":
        return tuple(backends.names())
    return tuple(name.strip() for name in value.split(",") if name.strip())


exact_form: Any = click.option(
    "--exact-form",
    is_flag=True,
    help="Insist on the workload's first form of each operation.",
)

"""Options that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def frameworks(value: str | None) -> tuple[str, ...]:
    """``pytorch,flax`` as a tuple, a group as its members; nothing is ``main``.

    ``ready`` are those whose environment is.
    """
    from netglot import backends

    found: list[str] = []
    for name in ("main" if value is None else value).split(","):
        if name.strip() == "ready":
            found += _ready()
        elif name.strip():
            found += backends.group(name.strip())
    return tuple(found)


def _ready() -> list[str]:
    from netglot import backends
    from netglot.runtime import envs

    return [n for n in backends.names() if envs.ready(backends.get(n).env) is not None]


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

#: The options of verbs that run programs; ``programs_settings`` reads them.
_PROGRAMS: tuple[Any, ...] = (
    click.option(
        "--on",
        "labels",
        help="Frameworks by commas: NAME, NAME==VERSION, or a group: main, ancestors, "
        "ready, all. [main]",
    ),
    click.option(
        "--data",
        type=click.Path(path_type=Path),
        help="Folder or file. [embedded digits]",
    ),
    click.option("--threads", type=int, help="CPU threads. [all]"),
    click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu"),
    click.option("--seed", type=int, default=0),
    click.option("--timeout", type=float, help="Seconds for one program."),
    click.option(
        "--python", help="An interpreter to use with all that is installed in it."
    ),
    exact_form,
)


#: The names under which they arrive.
PROGRAMS = (
    *("labels", "data", "threads", "device", "seed", "timeout", "python"),
    "exact_form",
)


def runs_programs(command: Command) -> Command:
    """The verb with the options that say which programs are run, on what and how."""
    for option in reversed(_PROGRAMS):
        command = option(command)
    return command


def programs_settings(given: dict[str, Any]) -> dict[str, Any]:
    """The values of these options as ``check.settings.Settings`` has them."""
    return given | {
        "labels": frameworks(given["labels"]),
        "python": interpreter(given["python"]),
    }

"""``netglot env``: the environments of the frameworks."""

from __future__ import annotations

import click


@click.group()
def command() -> None:
    """List, build and remove the environments of the frameworks."""


@command.command("list")
def show() -> None:
    """Which are ready, which can be built, and what the others lack."""
    from rich.console import Console
    from rich.table import Table

    from netglot import backends
    from netglot.runtime import envs

    table = Table(box=None, pad_edge=False)
    for title in ("framework", "pinned", "state", "detail"):
        table.add_column(title, overflow="fold")
    for name in backends.names():
        env = backends.get(name).env
        state = envs.state(env)
        table.add_row(name, " ".join(env.requirements), state.state, state.detail)
    Console().print(table)


@command.command("show")
@click.argument("name")
def detail(name: str) -> None:
    """What is in an environment, and why."""
    from rich.console import Console
    from rich.table import Table

    from netglot import backends
    from netglot.runtime import envs

    env = backends.get(name).env
    state = envs.state(env)
    rows = [
        ("state", f"{state.state}: {state.detail}"),
        ("python", " or ".join(env.python)),
        *(("package", requirement) for requirement in env.requirements),
        *(("command", f"{need.command}: {need.why}") for need in env.needs),
        *(("shim", f"{shim.name}: {shim.reason}") for shim in env.shims),
        *(("variable", f"{key}={value}") for key, value in env.variables.items()),
        *(("threads", variable) for variable in env.threads),
    ]
    if state.environment:
        rows.append(("folder", str(state.environment.interpreter.parent.parent)))
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    last = ""
    for kind, text in rows:
        table.add_row("" if kind == last else kind, text)
        last = kind
    Console().print(table)


@command.command()
@click.argument("names", nargs=-1, required=True)
def add(names: tuple[str, ...]) -> None:
    """Build environments: NAME, NAME==VERSION, or all."""
    from netglot.check.settings import entries
    from netglot.cli.live import building
    from netglot.cli.options import frameworks
    from netglot.errors import UserError
    from netglot.runtime import envs

    labels = tuple(label for name in names for label in frameworks(name))
    chosen = {entry.label: entry.env for entry in entries(labels)}
    with building() as progress:
        found = envs.prepare_all(chosen, progress=progress)
    failed = [str(e) for e in found.values() if isinstance(e, envs.EnvError)]
    for label, environment in found.items():
        if not isinstance(environment, envs.EnvError):
            click.echo(f"{label}: {environment.interpreter}")
    if failed:
        raise UserError("\n".join(dict.fromkeys(failed)))


@command.command()
@click.argument("names", nargs=-1, required=True)
def remove(names: tuple[str, ...]) -> None:
    """Remove environments: NAME, NAME==VERSION, or all."""
    from netglot.check.settings import entries
    from netglot.cli.options import frameworks
    from netglot.runtime import envs

    labels = tuple(label for name in names for label in frameworks(name))
    for entry in entries(labels):
        done = envs.remove(entry.env)
        click.echo(f"{entry.label}: {'removed' if done else 'there was none'}")

"""``netglot features``: what each framework can do, found by running it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

_ON: Any = click.option(
    "--on", "labels", help="Frameworks by commas, or a group: main, ready, all. [ready]"
)


@click.group(invoke_without_command=True)
@_ON
@click.option("--rows", "chosen", help="Rows by commas. [all]")
@click.option("--again", is_flag=True, help="Run what was run before as well.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for a page and files.",
)
@click.pass_context
def command(
    context: click.Context,
    labels: str | None,
    chosen: str | None,
    again: bool,
    as_json: bool,
    out: Path | None,
) -> int | None:
    """The table of what each framework can do, each cell by running something.

    What was found before on this machine is shown again; --again runs it.
    """
    if context.invoked_subcommand is not None:
        return None
    from netglot.features import rows
    from netglot.report import features as report

    wanted = _rows(chosen) if chosen else list(rows.ROWS.values())
    cells = _fill(_names(labels), wanted, again)
    if as_json:
        click.echo(report.as_json(cells))
    else:
        report.show(cells)
    if out is not None:
        for path in report.write(cells, out):
            click.echo(path, err=True)
    return _status(cells)


@command.command()
@click.argument("framework")
@click.argument("row")
def why(framework: str, row: str) -> int:
    """The probe behind a cell, what it answered, when and where."""
    from netglot.report import features as report

    cells = _fill([framework], _rows(row), again=False)
    for cell in cells.values():
        report.show_cell(cell)
    return _status(cells)


@command.command()
@click.argument("row")
@_ON
def run(row: str, labels: str | None) -> int:
    """One row, run now, with its output."""
    from netglot.report import features as report

    cells = _fill(_names(labels), _rows(row), again=True)
    for cell in cells.values():
        report.show_cell(cell)
    return _status(cells)


@command.command("list")
def listing() -> None:
    """The rows, and for how many frameworks each has a probe."""
    from netglot import backends
    from netglot.features import rows

    for row in rows.ROWS.values():
        names = backends.names()
        probed = sum(rows.variant(row, name) is not None for name in names)
        text = f"{probed} of {len(names)}" if row.kind == "probe" else row.kind
        click.echo(f"{row.name:<24}{row.title:<46}{text}")


def _rows(text: str) -> list[Any]:
    from netglot.features import rows

    return [rows.get(name.strip()) for name in text.split(",") if name.strip()]


def _names(labels: str | None) -> list[str]:
    from netglot import backends
    from netglot.cli.options import frameworks

    names = list(dict.fromkeys(frameworks(labels or "ready")))
    for name in names:
        backends.get(name)
    return names


def _fill(names: list[str], wanted: list[Any], again: bool) -> Any:
    from netglot import backends
    from netglot.cli.live import building, filling
    from netglot.errors import UserError
    from netglot.features import run
    from netglot.runtime import envs

    if not names:
        raise UserError(
            "No framework is here yet. `netglot env add pytorch` builds one, "
            "`netglot env list` says which can be built; or name them with --on."
        )
    with building() as progress:
        environments = envs.prepare_all(
            {name: backends.get(name).env for name in names}, progress=progress
        )
    with filling(len(wanted)) as watch:
        return run.fill(
            names, wanted, environments=environments, again=again, watch=watch
        )


def _status(cells: Any) -> int:
    return int(any(cell.state in ("error", "timeout") for cell in cells.values()))

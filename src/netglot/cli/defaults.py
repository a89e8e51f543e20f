"""``netglot defaults``: what frameworks do when told nothing."""

from __future__ import annotations

import json

import click


@click.command()
@click.argument("operation", required=False)
@click.option(
    "--diff", "pair", nargs=2, metavar="A B", help="Where two frameworks differ."
)
@click.option("--run", "again", is_flag=True, help="Read them from the frameworks.")
@click.option("--on", "labels", help="Frameworks to read, by commas. [all]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    operation: str | None,
    pair: tuple[str, str] | None,
    again: bool,
    labels: str | None,
    as_json: bool,
) -> int:
    """What each framework does when told nothing, of one operation or of all.

    Found by running the frameworks and stored with their versions; --run finds it
    again.
    """
    from netglot.defaults import run, table
    from netglot.errors import UserError
    from netglot.report import defaults as report

    if sum(map(bool, (operation, pair, again))) > 1 or (labels and not again):
        raise UserError("OPERATION, --diff and --run [--on] are asked for one by one.")
    if again:
        from netglot.cli.live import building
        from netglot.cli.options import frameworks

        names = run.chosen(frameworks(labels) if labels else tuple(run.PROBES))
        with building() as progress:
            reading = run.read(names, progress)
        table.update(reading.tables)
        report.show_reading(reading)
        return 1 if reading.failures else 0
    tables = table.load()
    if pair:
        first, second = (table.framework(name, tables) for name in pair)
        found = table.differences(first, second)
        if as_json:
            click.echo(json.dumps(table.differences_to_json(first, second), indent=1))
        else:
            report.show_differences(first, second, found)
        return 0
    if operation is None:
        if as_json:
            click.echo(json.dumps(table.contents(), indent=1))
        else:
            report.show_list(tables)
        return 0
    name = table.operation(operation)
    if as_json:
        click.echo(json.dumps(table.to_json(name, tables), indent=1))
    else:
        report.show_operation(name, tables)
    return 0

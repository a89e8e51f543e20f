"""``netglot report``: the tables, plots and pages of a race, made again."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def command(folder: Path) -> None:
    """Make the report of a race again from its records."""
    from netglot.report.files import write_report
    from netglot.report.terminal import show_race

    show_race(write_report(folder))
    click.echo(f"Wrote {folder}/report.html, .md, .csv, .json")

"""``netglot data``: what data sets are known, and one prepared file of them."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def command() -> None:
    """List, prepare and fetch data sets."""


@command.command("list")
def show() -> None:
    """The data sets, the forms in which they are read, and what is prepared."""
    from rich.console import Console
    from rich.table import Table

    from netglot import data
    from netglot.report import words

    table = Table(box=None, pad_edge=False)
    for title in ("data set", "what", "read from", "prepared"):
        table.add_column(title, overflow="fold")
    for description in data.describe():
        known = description.known
        files = words.count(len(description.prepared), "file")
        prepared = f"{files}, {description.bytes / 1e6:.0f} MB"
        table.add_row(
            known.name,
            known.title,
            "; ".join(known.forms),
            prepared if description.prepared else "",
        )
    Console().print(table)


@command.command()
@click.argument("name")
@click.option("--from", "source", type=click.Path(path_type=Path), default=None)
@click.option("-o", "--output", type=click.Path(path_type=Path), default=None)
def prepare(name: str, source: Path | None, output: Path | None) -> None:
    """Write one .npz of a data set, or of the data of a workload.

    NAME is a data set or a workload. Without --from the embedded digits are taken.
    """
    from netglot import data, workloads
    from netglot.errors import unknown

    specs = {}
    for workload in map(workloads.get, workloads.names()):
        specs[workload.name] = workload.data
        specs.setdefault(workload.data.name, workload.data)
    if ".py" in name:
        specs[name] = workloads.get(name).data
    if name not in specs:
        raise unknown("data set or workload", name, specs)
    made = data.prepare(specs[name], source, output)
    click.echo(
        f"Wrote {made.path}: {made.name}, {made.train:,} + {made.test:,} observations "
        f"({made.source})"
    )


@command.command()
@click.argument("name")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("."))
def fetch(name: str, output: Path) -> None:
    """Fetch a data set from its public home, with its checksum."""
    from netglot import data

    for path in data.fetch(name, output):
        click.echo(f"Wrote {path}")

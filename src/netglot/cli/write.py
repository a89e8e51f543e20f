"""``netglot write``: a program, its initial weights and the recipe of its data."""

from __future__ import annotations

from pathlib import Path

import click

from netglot.cli.options import exact_form


@click.command()
@click.argument("workload")
@click.option(
    "--for", "names", default=None, help="Frameworks or a group, by commas. [main]"
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("."),
    help="A folder.",
)
@click.option("--seed", type=int, default=0, help="Of the initial weights. [0]")
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32")
@exact_form
def command(
    workload: str,
    names: str | None,
    output: Path,
    seed: int,
    dtype: str,
    exact_form: bool,
) -> None:
    """Write programs that run without netglot.

    For each framework: the program, initial weights as it names and stores them (the
    same numbers for every framework), and a line that says how to make its data.
    """
    from netglot import workloads
    from netglot.cli.options import frameworks
    from netglot.writing import write

    paths = write(
        workloads.get(workload), frameworks(names), output, seed, dtype, exact_form
    )
    for path in paths:
        click.echo(f"Wrote {path}")

"""``netglot show``: programs in the terminal, side by side, or as files to read."""

from __future__ import annotations

from pathlib import Path

import click

from netglot.cli.options import exact_form

#: Name on the command line -> name in the report room.
FORMATS = {
    "text": "text",
    "md": "markdown",
    "html": "html",
    "ipynb": "ipynb",
    "py": "py",
}


@click.command()
@click.argument("workload")
@click.option(
    "--in", "names", default=None, help="Frameworks or a group, by commas. [main]"
)
@click.option("--format", "form", default="text", help="  ".join(FORMATS))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A file.")
@click.option("--dtype", type=click.Choice(["float32", "float64"]), default="float32")
@click.option(
    "--parallel", is_flag=True, help="Programs for several processes (race --workers)."
)
@exact_form
def command(
    workload: str,
    names: str | None,
    form: str,
    output: Path | None,
    dtype: str,
    parallel: bool,
    exact_form: bool,
) -> None:
    """Show the programs of a workload, line beside line per layer.

    WORKLOAD is a name from `netglot workloads`, or a Python file of your own.
    """
    from rich.console import Console

    from netglot import backends, workloads
    from netglot.cli.options import frameworks
    from netglot.emit import Settings, emit
    from netglot.errors import UserError, unknown
    from netglot.report import side_by_side

    if form not in FORMATS:
        raise unknown("format", form, FORMATS)
    task = workloads.get(workload)
    settings = Settings(dtype=dtype, exact_form=exact_form, parallel=parallel)
    programs = [emit(task, backends.get(name), settings) for name in frameworks(names)]
    if form in ("ipynb", "py") and len(programs) != 1:
        raise UserError(
            f"--format {form} holds one program: name one framework with --in."
        )
    if form == "py":
        text = programs[0].source
    elif form == "ipynb":
        text = side_by_side.notebook(programs[0])
    else:
        console = Console()
        terminal = console.is_terminal and output is None
        width = console.width if output is None else 200
        text = side_by_side.show(programs, FORMATS[form], width, colour=terminal)
    if output is None:
        click.echo(text)
    else:
        try:
            output.write_text(text)
        except OSError as error:
            raise UserError(f"{output} cannot be written: {error.strerror}.") from error
        click.echo(f"Wrote {output}")

"""``netglot frameworks``: what programs can be written for."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("names", nargs=-1)
@click.option(
    "--write", "folder", type=click.Path(path_type=Path), help="Pages into a folder."
)
def command(names: tuple[str, ...], folder: Path | None) -> None:
    """List the frameworks, or tell all of some: NAME, or a group.

    Facts, how it is installed, a program, what it cannot say, its quirks and its
    defaults.
    """
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.table import Table

    from netglot import backends, places
    from netglot.cli.options import frameworks
    from netglot.defaults import table as defaults
    from netglot.report import frameworks as report

    chosen = [name for word in names for name in frameworks(word)]
    every = [backends.get(name) for name in chosen or backends.names()]
    if folder:
        stored = defaults.load()
        for backend in every:
            text = report.page(backend, stored)
            places.write_text(folder / f"{backend.name}.md", text)
        places.write_text(folder / "README.md", report.index(every))
        click.echo(f"{len(every)} pages in {folder}")
        return
    if chosen:
        stored = defaults.load()
        for backend in every:
            Console().print(Markdown(report.page(backend, stored)))
        return
    table = Table(box=None, pad_edge=False)
    for title in ("framework", "title", "since", "style", "layout", "licence"):
        table.add_column(title, overflow="fold", no_wrap=title == "framework")
    for backend in every:
        found = report.facts(backend)
        table.add_row(
            backend.name,
            backend.title,
            backend.since,
            backend.style,
            found["layout of images"],
            backend.licence,
        )
    Console().print(table)

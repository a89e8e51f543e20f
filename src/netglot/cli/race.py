"""``netglot race``: the same job in every framework, timed."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from netglot.cli.options import runs_programs

if TYPE_CHECKING:
    from netglot.race.settings import Settings


@click.command()
@click.argument("workload", required=False)
@runs_programs
@click.option("--repeats", type=int, default=1, help="Runs per framework. [1]")
@click.option(
    "--until",
    type=float,
    metavar="PERCENT",
    help="More runs until each 95 % interval is this narrow to either side.",
)
@click.option("--at-most", type=int, default=20, help="Runs with --until. [20]")
@click.option("--epochs", type=int, help="[the recipe's]")
@click.option("--limit", type=int, help="Observations. [all]")
@click.option(
    "--same-start/--native-init",
    "same",
    default=True,
    help="The same initial weights for all, or each framework's own. [same]",
)
@click.option("--out", type=click.Path(path_type=Path), help="The race's folder.")
@click.option("--resume", type=click.Path(path_type=Path), help="Go on with a race.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    workload: str | None,
    repeats: int,
    until: float | None,
    at_most: int,
    epochs: int | None,
    limit: int | None,
    same: bool,
    out: Path | None,
    resume: Path | None,
    as_json: bool,
    **given: Any,
) -> int:
    """Race the programs of a workload.

    Each program is first compared with the reference (scores, loss, ten optimizer
    steps); then every run has a process of its own. Writes records, tables and plots.
    `netglot race ancestors` races the tables of earlier projects, in the frameworks
    that those named, and shows theirs beside ours.
    """
    from netglot.cli.live import watching
    from netglot.cli.options import programs_settings
    from netglot.errors import UserError
    from netglot.race import ancestors
    from netglot.race.engine import race, settings_of
    from netglot.race.settings import Settings
    from netglot.report.files import write_report
    from netglot.report.terminal import show_race

    labels = None
    if resume and (asked := ancestors.begun(resume)):
        workload, labels = ancestors.NAME, asked["labels"]
        settings = ancestors.settings_from(asked, resume)
    elif resume:
        settings = settings_of(resume)
    elif workload is None:
        raise UserError("Name a workload to race; `netglot workloads` lists them.")
    else:
        stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        stem = Path(workload.partition(":")[0]).stem if ".py" in workload else workload
        settings = Settings(
            workload=workload,
            out=out or Path("races") / f"{stem}-{stamp}",
            repeats=repeats,
            epochs=epochs,
            limit=limit,
            start="same" if same else "native",
            until=until,
            at_most=at_most,
            **programs_settings(given),
        )
        if workload == ancestors.NAME and given["labels"]:
            labels = settings.labels
        if out and ((out / "race.json").exists() or ancestors.begun(out)):
            raise UserError(
                f"{out} holds a race already: go on with it by --resume {out}, or name "
                "another folder."
            )
    if workload == ancestors.NAME:
        if not resume:
            ancestors.begin(settings, labels)
        return _ancestors(settings, labels, as_json)
    runs = f"at most {settings.at_most}" if settings.until else str(settings.repeats)
    try:
        with watching(quiet=as_json, runs=runs) as watch:
            outcome = race(settings, watch, resume=resume is not None)
    except KeyboardInterrupt:
        click.echo(
            f"netglot: stopped. What is finished stays in {settings.out}; go on with\n"
            f"    netglot race --resume {settings.out}",
            err=True,
        )
        return 130
    summary = write_report(settings.out)
    if as_json:
        click.echo((settings.out / "report.json").read_text())
    else:
        show_race(summary)
        click.echo(f"Records, plots and pages: {settings.out} (report.html)")
    return 0 if outcome.clean else 1


def _ancestors(
    settings: Settings, labels: tuple[str, ...] | None, as_json: bool
) -> int:
    """Table after table; one that cannot be raced does not stop the others."""
    import json

    from rich.console import Console

    from netglot import places
    from netglot.cli.live import watching
    from netglot.errors import UserError
    from netglot.race import ancestors
    from netglot.report import ancestors as report
    from netglot.report.files import write_report

    summaries, failed, clean = [], {}, True
    for table in ancestors.tables(labels):
        if not as_json:
            click.echo(f"{table.workload}: {', '.join(table.labels)}", err=True)
        try:
            with watching(quiet=as_json, runs=str(settings.repeats)) as watch:
                clean &= ancestors.race_one(settings, table, watch).clean
        except UserError as error:
            failed[table.workload], clean = str(error), False
            continue
        except KeyboardInterrupt:
            click.echo(
                f"netglot: stopped. What is finished stays in {settings.out}; go on "
                f"with\n    netglot race --resume {settings.out}",
                err=True,
            )
            return 130
        summaries.append(write_report(settings.out / table.workload))
    places.write_text(settings.out / "report.md", report.markdown(summaries, failed))
    if as_json:
        click.echo(json.dumps(report.as_json(summaries, failed), indent=1))
        return 0 if clean else 1
    for summary in summaries:
        Console().print(report.table(summary))
    for task, why in failed.items():
        click.echo(f"{task}: {why}", err=True)
    click.echo(f"Records, plots and pages: {settings.out} (report.md)")
    return 0 if clean else 1

"""``netglot race``: the same job in every framework, timed."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from netglot.cli.options import runs_programs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from netglot.race import series
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
@click.option(
    "--grow",
    type=click.Choice(["depth", "width"]),
    help="Instead of a workload: networks that grow, and how time and memory follow.",
)
@click.option("--sizes", help="With --grow: by commas. [2,8,32,128; 64,...,2048]")
@click.option(
    "--workers",
    help="Processes that train together, by the framework's own engine; 1,2,4 races "
    "each number, and shows how it scales. [1; one per host]",
)
@click.option(
    "--hosts",
    help="Where they run, by commas, as ssh knows them: neighbours together, as evenly "
    "as it goes. [here]",
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
    grow: str | None,
    sizes: str | None,
    workers: str | None,
    hosts: str | None,
    out: Path | None,
    resume: Path | None,
    as_json: bool,
    **given: Any,
) -> int:
    """Race the programs of a workload.

    Each program is first compared with the reference (scores, loss, ten optimizer
    steps); then every run has a process of its own. Writes records, tables and plots.
    `netglot race ancestors` races the tables of earlier projects, in the frameworks
    that those named, and shows theirs beside ours. `netglot race --grow depth` races
    networks of 2 to 128 layers, `--workers 1,2,4` one network on so many processes.

    Started by torchrun, mpirun or srun, the processes of that job are the workers, and
    the first alone prints and writes.
    """
    from netglot.cli.live import watching
    from netglot.cli.options import programs_settings
    from netglot.errors import UserError
    from netglot.race import ancestors, growth, scaling, series
    from netglot.race.engine import race, settings_of
    from netglot.race.settings import Settings
    from netglot.report.files import write_report
    from netglot.report.terminal import show_race
    from netglot.runtime import launchers, meeting
    from netglot.runtime.hosts import dealt
    from netglot.runtime.seats import Seat

    seats: list[Seat] = []
    job = launchers.job()
    if job and job.rank:
        return meeting.join(job)
    if job:
        # Before all else: what stops this process ends the others as well.
        seats = click.get_current_context().with_resource(meeting.gathered(job))
    tables: Sequence[series.Table] = ()
    named = tuple(name.strip() for name in hosts.split(",")) if hosts else ()
    workers = workers or str(job.size if job else len(named) or 1)
    if job and (named or workers != str(job.size)):
        raise UserError(
            f"{job.launcher} has started {job.size} processes, and they are the "
            "workers: leave out --workers and --hosts, which start others."
        )
    if workers != "1" and (grow or workload == ancestors.NAME):
        raise UserError("--workers is for a race of one workload.")
    if named and (grow or workload == ancestors.NAME):
        raise UserError("--hosts is for a race of one workload.")
    if named:
        dealt(named, scaling.numbers(workers)[0])
    if sizes and not grow:
        raise UserError("--sizes is for --grow depth or --grow width.")
    if resume and (asked := series.begun(resume)):
        settings, tables = series.settings_from(asked, resume)
    elif resume:
        settings = settings_of(resume)
    elif (workload is None) == (grow is None):
        raise UserError(
            "Name a workload to race, or --grow depth; `netglot workloads` lists them."
        )
    else:
        workload = growth.name_of(grow) if grow else str(workload)
        if grow:
            epochs, limit = epochs or 1, limit or growth.LIMIT
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
            workers=scaling.numbers(workers)[0],
            hosts=named,
            **programs_settings(given),
        )
        if out and ((out / "race.json").exists() or series.begun(out)):
            raise UserError(
                f"{out} holds a race already: go on with it by --resume {out}, or name "
                "another folder."
            )
        if workload == ancestors.NAME:
            tables = ancestors.tables(settings.labels if given["labels"] else None)
        elif grow:
            tables = growth.tables(grow, settings.labels, _sizes(sizes))
        elif "," in workers:
            numbers = scaling.numbers(workers)
            tables = scaling.tables(workload, settings.labels, numbers)
        if tables:
            series.begin(settings, tables)
    if job and (tables or settings.hosts or settings.workers != job.size):
        raise UserError(
            f"The race in {settings.out} is not one of the {job.size} processes that "
            f"{job.launcher} has started: go on with it by netglot alone."
        )
    if tables:
        return _series(settings, tables, as_json)
    runs = f"at most {settings.at_most}" if settings.until else str(settings.repeats)
    try:
        with watching(quiet=as_json, runs=runs) as watch:
            outcome = race(settings, watch, resume=resume is not None, seats=seats)
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


def _sizes(text: str | None) -> list[int]:
    from netglot.errors import UserError

    try:
        return sorted({int(size) for size in text.split(",")}) if text else []
    except ValueError:
        raise UserError(
            f"--sizes {text}: whole numbers by commas are wanted."
        ) from None


def _series(settings: Settings, tables: Sequence[series.Table], as_json: bool) -> int:
    """Race after race; one that cannot be raced does not stop the others."""
    from rich.console import Console

    from netglot.cli.live import watching
    from netglot.errors import UserError
    from netglot.race import series
    from netglot.report import several
    from netglot.report.files import write_report

    summaries, failed, clean = [], {}, True
    for table in tables:
        if not as_json:
            click.echo(f"{table.name}: {', '.join(table.labels)}", err=True)
        try:
            with watching(quiet=as_json, runs=str(settings.repeats)) as watch:
                clean &= series.race_one(settings, table, watch).clean
        except UserError as error:
            failed[table.name], clean = str(error), False
            continue
        except KeyboardInterrupt:
            click.echo(
                f"netglot: stopped. What is finished stays in {settings.out}; go on "
                f"with\n    netglot race --resume {settings.out}",
                err=True,
            )
            return 130
        summaries.append(write_report(settings.out / table.name))
    report = several.told(settings.workload, tables, summaries, failed)
    report.write(settings.out)
    if as_json:
        click.echo((settings.out / "report.json").read_text())
        return 0 if clean else 1
    Console().print(report.shown)
    for name, why in failed.items():
        click.echo(f"{name}: {why}", err=True)
    click.echo(f"Records, plots and pages: {settings.out} (report.md)")
    return 0 if clean else 1

"""``netglot check``: whether programs compute what their definition says."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import click

from netglot.cli.options import exact_form


@click.command()
@click.argument("workload")
@click.option(
    "--on",
    "labels",
    default=None,
    help="Frameworks by commas, each NAME or NAME==VERSION. [all]",
)
@click.option(
    "--data", type=click.Path(path_type=Path), help="Folder or file. [embedded digits]"
)
@click.option("--train", "steps", type=int, default=10, help="Optimizer steps. [10]")
@click.option("--size", type=int, default=32, help="Observations of a step. [32]")
@click.option("--threads", type=int, help="CPU threads. [all]")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu")
@click.option("--seed", type=int, default=0)
@click.option("--timeout", type=float, help="Seconds per question to a program.")
@click.option(
    "--python", help="An interpreter to use with all that is installed in it."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@exact_form
def command(
    workload: str,
    labels: str | None,
    data: Path | None,
    steps: int,
    size: int,
    threads: int | None,
    device: str,
    seed: int,
    timeout: float | None,
    python: str | None,
    as_json: bool,
    exact_form: bool,
) -> int:
    """Compare the programs of a workload with the reference.

    Every value of the forward pass, the loss, the gradient of every parameter, and
    every weight after each optimizer step; in float32 and, where the framework has it,
    in float64.
    """
    from netglot.check.programs import check_programs
    from netglot.check.settings import Settings
    from netglot.cli.live import watching
    from netglot.cli.options import frameworks, interpreter
    from netglot.errors import UserError
    from netglot.report.verdicts import show_report

    for name, value in (("train", steps), ("size", size)):
        if value < 1:
            raise UserError(f"--{name} {value}: at least 1 is needed.")
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            workload=workload,
            labels=frameworks(labels),
            out=Path(folder),
            data=data,
            threads=threads,
            device=device,
            seed=seed,
            timeout=timeout,
            python=interpreter(python),
            exact_form=exact_form,
        )
        with watching(quiet=as_json) as watch:
            report = check_programs(settings, watch, steps=steps, size=size)
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=1))
    else:
        show_report(report)
    return 0 if report.equal else 1

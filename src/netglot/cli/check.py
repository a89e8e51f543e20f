"""``netglot check``: whether programs compute what their definition says."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import click

from netglot.cli.options import runs_programs


@click.command()
@click.argument("workload")
@runs_programs
@click.option("--train", "steps", type=int, default=10, help="Optimizer steps. [10]")
@click.option("--size", type=int, default=32, help="Observations of a step. [32]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(workload: str, steps: int, size: int, as_json: bool, **given: Any) -> int:
    """Compare the programs of a workload with the reference.

    Every value of the forward pass, the loss, the gradient of every parameter, and
    every weight after each optimizer step; in float32 and, where the framework has it,
    in float64.
    """
    from netglot.check.programs import check_programs
    from netglot.check.settings import Settings
    from netglot.cli.live import watching
    from netglot.cli.options import programs_settings
    from netglot.errors import UserError
    from netglot.report.verdicts import show_report

    for name, value in (("train", steps), ("size", size)):
        if value < 1:
            raise UserError(f"--{name} {value}: at least 1 is needed.")
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            workload=workload, out=Path(folder), **programs_settings(given)
        )
        with watching(quiet=as_json) as watch:
            report = check_programs(settings, watch, steps=steps, size=size)
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=1))
    else:
        show_report(report)
    return 0 if report.equal else 1

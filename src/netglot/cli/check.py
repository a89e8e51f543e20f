"""``netglot check``: whether programs or models compute the same."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import click

from netglot.cli.options import runs_programs


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="WORKLOAD | LEFT RIGHT")
@runs_programs
@click.option(
    "--train", type=int, help="Optimizer steps. [10 of a workload, none of models]"
)
@click.option("--size", type=int, help="Observations of a step. [4]")
@click.option(
    "--workers", type=int, default=1, help="Processes that train together. [1]"
)
@click.option("--against", help="A workload that MODEL is compared with.")
@click.option(
    "--input",
    "inputs",
    type=click.Path(path_type=Path),
    help="An .npz with the arrays that the models are called with.",
)
@click.option("--shape", help="Random input: 4,3,32,32, or 4,80:1000 for indices.")
@click.option(
    "--weights",
    type=click.Choice(["carry", "keep"]),
    default="carry",
    help="Carry the left model's weights to the right, or keep both's own. [carry]",
)
@click.option("--left-python", help="The interpreter of the left model.")
@click.option("--right-python", help="The interpreter of the right model.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="A folder for a page, a heat map (layers, coloured) and all numbers.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(models: tuple[str, ...], against: str | None, **given: Any) -> int:
    """Compare programs with their definition, or two models with each other.

    \b
    netglot check cifar-vgg --on all
    netglot check mine.py:build_torch theirs.py:build_flax --input batch.npz
    netglot check mine.py:Net --against cifar-vgg

    A workload's programs are compared with the reference: every value of the forward
    pass, the loss, every gradient, every weight after each optimizer step. Of two
    models (a function or class of a file that makes one) every layer is compared, and
    what differs is explained; --train 10 compares a pass in training as well, and ten
    steps of the models' own optimizers where a model comes with its optimizer and loss.
    """
    from netglot.errors import UserError

    if len(models) > 2 or (len(models) == 2 and against):
        raise UserError("Name one workload, two models, or one model and --against.")
    if len(models) == 2 or against:
        return _models(models, against or "", given)
    return _programs(models[0], given)


def _models(names: tuple[str, ...], against: str, given: dict[str, Any]) -> int:
    from netglot.check.pairs import Asked, check_pair, shape
    from netglot.cli.options import interpreter
    from netglot.report.findings import show_findings, to_json

    sizes, vocabulary = shape(given["shape"]) if given["shape"] else ((), 0)
    python = given["python"]
    report = check_pair(
        Asked(
            left=names[0],
            right=names[-1],
            against=against,
            inputs=given["inputs"],
            shape=sizes,
            vocabulary=vocabulary,
            keep=given["weights"] == "keep",
            steps=_steps(given["train"], 0),
            left_python=interpreter(given["left_python"] or python),
            right_python=interpreter(given["right_python"] or python),
            data=given["data"],
            threads=given["threads"],
            seed=given["seed"],
            timeout=given["timeout"],
        )
    )
    if given["as_json"]:
        click.echo(json.dumps(to_json(report), indent=1))
    else:
        show_findings(report)
    _write(report, given)
    return 0 if report.same else 1


def _steps(asked: int | None, usual: int) -> int:
    from netglot.errors import UserError

    if asked is not None and asked < 1:
        raise UserError(f"--train {asked}: at least 1 is needed.")
    return usual if asked is None else asked


def _programs(workload: str, given: dict[str, Any]) -> int:
    from netglot.check.programs import FEW, check_programs
    from netglot.check.settings import Settings
    from netglot.cli.live import watching
    from netglot.cli.options import PROGRAMS, programs_settings
    from netglot.errors import UserError
    from netglot.report.verdicts import show_report

    steps = _steps(given["train"], 10)
    size = FEW if given["size"] is None else given["size"]
    if size < 1:
        raise UserError(f"--size {size}: at least 1 is needed.")
    asked = {name: given[name] for name in PROGRAMS}
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            workload=workload,
            out=Path(folder),
            workers=given["workers"],
            **programs_settings(asked),
        )
        with watching(quiet=given["as_json"]) as watch:
            report = check_programs(
                settings,
                watch,
                steps=steps,
                size=size,
                measured=given["out"] is not None,
            )
    if given["as_json"]:
        click.echo(json.dumps(report.to_json(), indent=1))
    else:
        show_report(report)
    _write(report, given)
    return 0 if report.equal else 1


def _write(report: Any, given: dict[str, Any]) -> None:
    """Into the folder of ``--out``, where there is one."""
    if given["out"]:
        from netglot.report import heat

        page = heat.write(report, given["out"])
        click.echo(f"report: {page}", err=given["as_json"])

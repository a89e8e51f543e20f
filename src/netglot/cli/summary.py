"""``netglot summary``: layers, shapes, parameters, FLOPs and memory of a network."""

from __future__ import annotations

import click


@click.command()
@click.argument("workload")
@click.option("--batch", type=int, default=None, help="Observations. [the recipe's]")
def command(workload: str, batch: int | None) -> None:
    """Print the layers of a network and what they cost."""
    from netglot import workloads
    from netglot.cost import summarize
    from netglot.report.terminal import print_costs

    task = workloads.get(workload)
    print_costs(task, summarize(task.graph, batch or task.batch))

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
    from netglot.errors import UserError
    from netglot.report.costs import show_costs

    task = workloads.get(workload)
    if batch is not None and batch < 1:
        raise UserError(f"--batch {batch}: at least 1 is needed.")
    optimizer = task.recipe.optimizer if task.recipe else None
    show_costs(task, summarize(task.graph, batch or task.batch, optimizer))

"""``netglot workloads``: what can be shown, written and raced."""

from __future__ import annotations

import click


@click.command()
def command() -> None:
    """List the workloads."""
    from rich.console import Console
    from rich.table import Table

    from netglot import workloads

    table = Table(box=None, pad_edge=False)
    for title in ("workload", "what", "data", "parameters", "optimizer", "reported"):
        whole = title in ("workload", "data", "parameters")
        least = len("Convolutional") if title == "what" else None
        table.add_column(title, overflow="fold", no_wrap=whole, min_width=least)
    for name in workloads.names():
        workload = workloads.get(name)
        weights = workload.graph.weights().values()
        count = sum(weight.size for weight in weights if weight.trained)
        recipe = workload.recipe
        how = "forward only"
        if recipe:
            kind = type(recipe.optimizer).__name__
            how = f"{kind} {recipe.optimizer.rate:g}, {recipe.epochs} epochs"
        accuracies = [e.value for e in workload.expected if e.measure == "accuracy"]
        # From the lowest to the highest.
        ends = sorted(accuracies)[:1] + sorted(accuracies)[-1:]
        reported = " to ".join(dict.fromkeys(ends))
        table.add_row(
            name, workload.title, workload.data.name, f"{count:,}", how, reported
        )
    Console().print(table)

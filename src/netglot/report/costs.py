"""A network's layers and what they cost, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netglot.cost import Summary
from netglot.workloads import Workload

if TYPE_CHECKING:
    from rich.console import Console


def show_costs(
    workload: Workload, summary: Summary, console: Console | None = None
) -> None:
    """Print a row per layer, blocks indented, then totals and memory."""
    from rich.console import Console
    from rich.table import Table

    console = console or Console()
    table = Table(box=None, pad_edge=False, title=workload.title, title_justify="left")
    table.add_column("layer", no_wrap=True)
    table.add_column("operation", no_wrap=True)
    table.add_column("output")
    for title in ("parameters", "MFLOP", "MB out"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in summary.rows:
        table.add_row(
            "  " * row.level + row.name.rpartition(".")[2],
            row.operation,
            "; ".join(str(type_) for type_ in row.outputs),
            f"{row.parameters:,}" if row.parameters else "",
            f"{row.flops / 1e6:,.1f}",
            f"{row.bytes_written / 1e6:,.2f}",
        )
    table.add_section()
    table.add_row(
        f"batch of {summary.batch}",
        "",
        "",
        f"{summary.parameters:,}",
        f"{summary.flops / 1e6:,.1f}",
        f"{summary.bytes_written / 1e6:,.2f}",
    )
    console.print(table)
    memory = summary.memory
    console.print(
        f"A multiply-add counts as two. A training step takes "
        f"{summary.training_flops / 1e9:,.1f} GFLOP, forward and backward.\n"
        f"Live memory: {memory.inference / 1e6:,.1f} MB at the peak of a forward pass, "
        f"{memory.training / 1e6:,.1f} MB in training (weights "
        f"{memory.weights / 1e6:,.1f}, gradients {memory.gradients / 1e6:,.1f}, "
        f"optimizer {memory.optimizer / 1e6:,.1f}, "
        f"values {memory.training_values / 1e6:,.1f})."
    )

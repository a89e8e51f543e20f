"""Lines of the programs: workloads x frameworks, as a table.

    python benchmarks/programs.py

Lines of code (no blank lines, comments and docstrings), then all lines.
"""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from netglot import backends, workloads
from netglot.emit import emit


def main() -> None:
    names = backends.names()
    table = Table("workload", *names, title="lines of code (all lines)")
    for task in workloads.names():
        programs = [emit(workloads.get(task), backends.get(name)) for name in names]
        table.add_row(task, *(f"{p.code_lines} ({p.lines})" for p in programs))
    Console(width=130).print(table)


if __name__ == "__main__":
    main()

"""Defaults in the terminal: what has a table, one table, and where two differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from netglot.defaults.rows import KINDS, ROWS
from netglot.defaults.run import Reading
from netglot.defaults.table import Fact, Pair, Table, Value, comparable
from netglot.report import words

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

#: How facts that are only declared are marked.
DECLARED = "†"


def value(given: Value) -> str:
    """``yes``, ``1e-05``, ``0.9``, or the words; "–" for None."""
    if given is None:
        return words.NOTHING
    if isinstance(given, bool):
        return "yes" if given else "no"
    return f"{given:g}" if isinstance(given, float) else str(given)


def show_list(tables: Mapping[str, Table], console: Console | None = None) -> None:
    """Print what has a table, by kind, and what was read when."""
    from rich.console import Console
    from rich.table import Table as Grid

    console = console or Console()
    grid = Grid(box=None, pad_edge=False)
    grid.add_column("", no_wrap=True)
    grid.add_column("netglot defaults ...")
    for kind, names in KINDS.items():
        grid.add_row(kind, ", ".join(names))
    console.print(grid, highlight=False)
    console.print()
    for table in tables.values():
        facts = [fact for by in table.facts.values() for fact in by.values()]
        known = [fact for fact in facts if fact.value is not None]
        ran = sum(fact.source == "executed" for fact in known)
        text = f"{table.framework:<17} {words.count(len(known), 'fact')}, {ran} by "
        text += f"execution, {table.date} ({table.version})"
        console.print(text, highlight=False, soft_wrap=True)


def show_operation(
    name: str, tables: Mapping[str, Table], console: Console | None = None
) -> None:
    """Print attribute by framework; frameworks that do the same share a column."""
    from rich.console import Console
    from rich.text import Text

    console = console or Console()
    columns = _columns(name, tables)
    console.print(Text(name, "bold"))
    console.print(_operation(name, columns))
    for text in _gaps(name, columns):
        console.print(text, style="dim", markup=False, highlight=False)


def show_differences(
    first: Table,
    second: Table,
    found: Sequence[Pair],
    console: Console | None = None,
) -> None:
    """Print the differences of two frameworks, operation by operation."""
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    console = console or Console()
    grid = Grid(box=None, pad_edge=False)
    for title in ("operation", "attribute", first.framework, second.framework):
        grid.add_column(title, overflow="fold")
    last = ""
    for difference in found:
        name = difference.operation
        grid.add_row(
            Text("" if name == last else name, "bold"),
            difference.attribute,
            Text(_cell(difference.first), "yellow"),
            Text(_cell(difference.second), "cyan"),
        )
        last = name
    console.print(grid)
    count = f"{len(found)} of {comparable(first, second)} defaults"
    console.print(
        f"{count} that both have differ ({first.version}; {second.version}).",
        highlight=False,
    )


def show_reading(reading: Reading, console: Console | None = None) -> None:
    """Print what was read, and every fact whose probe failed."""
    from rich.console import Console

    console = console or Console()
    for table in reading.tables.values():
        facts = [
            (f"{name}.{key}", fact)
            for name, by in table.facts.items()
            for key, fact in by.items()
        ]
        known = sum(fact.value is not None for _, fact in facts)
        line = f"{table.framework}: {words.count(known, 'fact')} of {len(facts)} rows"
        console.print(f"{line} ({table.version})", highlight=False)
        for name, fact in facts:
            if "probe" in fact.reason:
                console.print(f"    {name}: {fact.reason}", style="red", markup=False)
    for name, why in reading.failures.items():
        console.print(f"{name}: {why}", style="red", markup=False)


def _columns(name: str, tables: Mapping[str, Table]) -> list[list[Table]]:
    """The frameworks, those beside each other that do the same."""
    columns: list[list[Table]] = []
    for table in tables.values():
        for column in columns:
            other = column[0]
            if (other.facts[name], other.called.get(name)) == (
                table.facts[name],
                table.called.get(name),
            ):
                column.append(table)
                break
        else:
            columns.append([table])
    return columns


def _operation(name: str, columns: Sequence[Sequence[Table]]) -> RenderableType:
    from rich.table import Table as Grid
    from rich.text import Text

    shown = [column for column in columns if _has(column[0], name)]
    grid = Grid(box=None, pad_edge=False)
    grid.add_column("attribute", no_wrap=True)
    for column in shown:
        grid.add_column("\n".join(t.framework for t in column), overflow="fold")
    called = (Text(column[0].called.get(name, ""), "dim") for column in shown)
    grid.add_row("", *called)
    for key in ROWS[name]:
        # Every framework has a voice, though several may share a column.
        voices = Counter(
            value(column[0].facts[name][key].value)
            for column in shown
            for table in column
            if table.facts[name][key].value is not None
        )
        usual = voices.most_common(1)[0][0] if voices else ""
        cells = [_marked(column[0].facts[name][key], usual) for column in shown]
        grid.add_row(key, *cells)
    return grid


def _has(table: Table, name: str) -> bool:
    return any(fact.value is not None for fact in table.facts[name].values())


def _marked(fact: Fact, usual: str) -> Text:
    """What is not the usual value stands out."""
    from rich.text import Text

    text = _cell(fact)
    odd = fact.value is not None and value(fact.value) != usual
    return Text(text, "bold yellow" if odd else "")


def _cell(fact: Fact) -> str:
    return value(fact.value) + (DECLARED if fact.source == "signature" else "")


def _gaps(name: str, columns: Sequence[Sequence[Table]]) -> list[str]:
    """Why there is no value, a line for each reason; what the mark means."""
    lines = []
    for column in columns:
        who = words.listing(table.framework for table in column)
        reasons: dict[str, list[str]] = {}
        for key, fact in column[0].facts[name].items():
            if fact.value is None:
                reasons.setdefault(fact.reason, []).append(key)
        for reason, keys in reasons.items():
            what = "" if not _has(column[0], name) else f" {', '.join(keys)}:"
            lines.append(f"{who}:{what} {reason}")
    facts = [f for column in columns for f in column[0].facts[name].values()]
    if any(fact.source == "signature" for fact in facts):
        lines.append(f"{DECLARED} declared by the framework, not found by running it")
    return lines

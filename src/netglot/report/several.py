"""The files of races that belong together, and what the terminal shows of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netglot import places
from netglot.race import ancestors as asked
from netglot.race.series import Table
from netglot.report import ancestors, growth, scaling
from netglot.report.summary import Summary

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class Several:
    """What is told of them: as Markdown, as JSON, in the terminal, as a picture (PNG).

    ``picture`` has no name where there is none.
    """

    markdown: str
    content: Mapping[str, Any]
    shown: RenderableType
    picture: tuple[str, bytes] = ("", b"")

    def write(self, folder: Path) -> None:
        """``report.md``, ``report.json`` and the picture, into the folder."""
        places.write_text(folder / "report.md", self.markdown)
        places.write_json(folder / "report.json", self.content)
        name, picture = self.picture
        if name:
            places.write_bytes(folder / name, picture)


def told(
    task: str,
    tables: Sequence[Table],
    summaries: Sequence[Summary],
    failed: Mapping[str, str],
) -> Several:
    """Of the ``tables`` of a task or series; ``failed`` says why one has no race."""
    from rich.console import Group

    if task == asked.NAME:
        return Several(
            ancestors.markdown(summaries, failed),
            ancestors.as_json(summaries, failed),
            Group(*map(ancestors.table, summaries)),
        )
    if any(table.folder for table in tables):
        return Several(
            scaling.markdown(task, summaries, failed),
            scaling.as_json(task, summaries, failed),
            scaling.tables(summaries),
            ("scaling.png", scaling.picture(summaries)),
        )
    what = task.rpartition("-")[2]
    return Several(
        growth.markdown(what, summaries, failed),
        growth.as_json(what, summaries, failed),
        growth.tables(what, summaries),
        ("growth.png", growth.picture(what, summaries)),
    )

"""Pictures of a race: the loss over time, and where the time of a run went."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from netglot.report import figures, words
from netglot.report.summary import PHASES, Row, Summary

#: The palette of Okabe and Ito ("Color Universal Design", 2008), which colour-blind
#: people can tell apart, without its yellow (too light for lines on white) and black.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STYLES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)))
#: Colours of the phases: what is paid once in one family, the steps in blue.
PHASE_COLOURS = ("#B8B8B8", "#E69F00", "#CC79A7", "#D55E00", "#0072B2", "#009E73")
#: From this ratio of the slowest to the fastest on, the time is drawn in logarithms.
WIDE = 5.0


def curve(
    losses: Sequence[float], first: float, steps: float
) -> tuple[list[float], list[float]]:
    """Times in seconds and smoothed losses of a run.

    Only the first step and the sum of all others are measured (anything more would slow
    asynchronous frameworks down), so the first point stands at ``first`` and the others
    share ``steps`` seconds equally. A loss is the mean of those around it, of about a
    15th of all.
    """
    values = [value if value is not None else math.nan for value in losses]
    share = steps / max(1, len(values) - 1)
    times = [first + share * i for i in range(len(values))]
    reach = len(values) // 30
    smooth = []
    for i in range(len(values)):
        # Shorter at the start, where the loss falls fast: it is not pulled down there.
        near = min(reach, i)
        window = values[i - near : i + near + 1]
        smooth.append(sum(window) / len(window))
    return times, smooth


def loss(summary: Summary, look: figures.Look = figures.LIGHT) -> bytes | None:
    """A PNG of the loss over time, a line per framework; None without any loss."""
    drawn = []
    for row in summary.rows:
        record = row.typical.record if row.typical else {}
        if not record.get("losses"):
            continue
        first = record.get("first_step_seconds") or 0.0
        total = record.get("train_seconds") or 0.0
        times, values = curve(record["losses"], first, max(0.0, total - first))
        drawn.append((row, times, values))
    if not drawn:
        return None
    figure, axes = figures.figure(9.6, 4.8, look)
    looks = list(itertools.product(STYLES, COLOURS))
    for (row, times, values), (style, colour) in zip(drawn, itertools.cycle(looks)):
        mark = "" if row.rank else f" ({row.unranked})"
        (line,) = axes.plot(
            times,
            values,
            color=colour,
            linestyle=style,
            linewidth=1.8,
            alpha=0.95 if row.rank else 0.6,
            label=f"{row.place}  {row.name}{mark}".replace("–  ", ""),
            solid_capstyle="round",
        )
        axes.plot(times[-1:], values[-1:], "o", color=line.get_color(), markersize=5)
        axes.plot(times[:1], values[:1], "|", color=line.get_color(), markersize=9)
    ends = [times[-1] for _, times, _ in drawn if times[-1] > 0]
    if ends and max(ends) / min(ends) > WIDE:
        axes.set_xscale("log")
        plain_numbers(axes.xaxis)
    else:
        axes.set_xlim(left=0)
    finite = [v for _, _, values in drawn for v in values if math.isfinite(v) and v > 0]
    if finite and max(finite) / min(finite) > WIDE:
        axes.set_yscale("log")
        plain_numbers(axes.yaxis)
    axes.set_xlabel("seconds of training, compilation included")
    axes.set_ylabel("training loss, smoothed")
    axes.grid(True, color=look.faint, linewidth=0.6)
    figures.title(figure, f"Loss over time: {summary.heading}", look)
    legend = axes.legend(
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        frameon=False,
        fontsize=9,
        labelcolor=look.ink,
        borderaxespad=0,
        handlelength=2.6,
    )
    legend.set_title("rank, framework", prop={"size": 9})
    legend.get_title().set_color(look.ink)
    figures.footnote(
        figure,
        "Run nearest to the median. The bar marks the end of the first step, the dot "
        "the end of training;\nthe steps in between share the measured time equally.",
        look,
    )
    return figures.png(figure)


def phases(summary: Summary, look: figures.Look = figures.LIGHT) -> bytes | None:
    """A PNG of the phases as stacked bars, a bar per framework; None without runs."""
    rows = [row for row in summary.rows if row.phases]
    if not rows:
        return None
    figure, axes = figures.figure(9.6, 1.9 + 0.42 * len(rows), look)
    totals = [sum(row.phases.values()) for row in rows]
    # One far slower framework would press all others into the margin.
    ordered = sorted(totals)
    if not ordered[-1]:
        return None
    cut = ordered[-1] if len(ordered) < 2 else _cut(ordered)
    for title, colour in zip((t for t, _ in PHASES), PHASE_COLOURS, strict=True):
        starts = [_before(row, title) for row in rows]
        widths = [row.phases.get(title, 0.0) for row in rows]
        axes.barh(
            range(len(rows)),
            widths,
            left=starts,
            color=colour,
            label=title,
            height=0.68,
            edgecolor=look.paper,
            linewidth=0.6,
        )
    for i, total in enumerate(totals):
        beyond = total > cut
        axes.text(
            cut * 1.005 if beyond else total + cut * 0.008,
            i,
            f"{'→ ' if beyond else ''}{words.number(total)} s",
            va="center",
            fontsize=9,
            color=look.ink,
        )
    axes.set_xlim(0, cut if cut < ordered[-1] else cut * 1.09)
    names = [row.name if row.rank else f"{row.name}\n({row.unranked})" for row in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_xlabel("seconds, the median of each phase")
    axes.grid(True, axis="x", color=look.faint, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.legend(
        ncols=len(PHASES),
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        frameon=False,
        fontsize=9,
        labelcolor=look.ink,
        handlelength=1.1,
        columnspacing=1.4,
        borderaxespad=0.2,
    )
    figures.title(figure, f"Where the time goes: {summary.heading}", look)
    if cut < ordered[-1]:
        figures.footnote(figure, "A bar with an arrow is cut at the margin.", look)
    return figures.png(figure)


def _cut(ordered: Sequence[float]) -> float:
    """Where bars are cut: never, or after the last one before a jump of three times."""
    for before, after in itertools.pairwise(ordered):
        if after > 3 * before and before > 0 and ordered.index(after) >= 2:
            return before * 1.25
    return ordered[-1]


def _before(row: Row, title: str) -> float:
    """Seconds of the phases before this one."""
    earlier = itertools.takewhile(lambda t: t != title, (t for t, _ in PHASES))
    return sum(row.phases.get(t, 0.0) for t in earlier)


def plain_numbers(axis: Any) -> None:
    """0.1, 2 and 50 instead of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())

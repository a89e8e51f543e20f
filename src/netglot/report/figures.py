"""Figures without a window: colours for light and dark paper, axes, PNG."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Look:
    """Colours of paper and ink."""

    paper: str
    ink: str
    faint: str


LIGHT = Look("#ffffff", "#1c1c1c", "#d9d9d9")
DARK = Look("#16181d", "#e6e6e6", "#3a3f49")


def figure(width: float, height: float, look: Look) -> tuple[Any, Any]:
    """A figure and its axes, without a window and without pyplot's global state."""
    figure, (axes,) = panels(width, height, 1, look)
    return figure, axes


def panels(width: float, height: float, count: int, look: Look) -> tuple[Any, Any]:
    """A figure and the axes of so many panels side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor=look.paper)
    FigureCanvasAgg(figure)
    found = []
    for index in range(count):
        axes = figure.add_subplot(1, count, index + 1, facecolor=look.paper)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axes.spines[side].set_color(look.faint)
        axes.tick_params(colors=look.ink, labelsize=9)
        axes.xaxis.label.set(color=look.ink, size=10)
        axes.yaxis.label.set(color=look.ink, size=10)
        found.append(axes)
    return figure, found


def title(figure: Any, text: str, look: Look) -> None:
    """A line above everything."""
    figure.suptitle(text, x=0.01, ha="left", fontsize=11, color=look.ink)


def footnote(figure: Any, text: str, look: Look) -> None:
    """A line or two below everything."""
    figure.supxlabel(text, x=0.01, ha="left", fontsize=8, color=look.ink, alpha=0.75)


def png(figure: Any) -> bytes:
    """The picture; the same figure gives the same bytes."""
    file = io.BytesIO()
    # No date inside.
    figure.savefig(
        file, dpi=140, facecolor=figure.get_facecolor(), metadata={"Software": None}
    )
    return file.getvalue()


def uri(picture: bytes) -> str:
    """A PNG as an address that a page can have inside."""
    return "data:image/png;base64," + base64.b64encode(picture).decode()

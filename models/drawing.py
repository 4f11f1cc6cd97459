"""Plots as SVG that stand in a page by themselves; the same figures give the same text."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, GREY = "#2457a6", "#c8641b", "#8a8f98"
_PROLOGUE = re.compile(r"^.*?(?=<svg)", re.DOTALL)


def bars_plot(names: Sequence[str], values: Sequence[float], title: str, axis: str) -> str:
    """Horizontal bars, the first at the top; negative ones in another colour."""

    def draw(axes: Axes) -> None:
        places = np.arange(len(names))[::-1]
        axes.barh(places, values, color=[BLUE if value >= 0 else ORANGE for value in values])
        axes.set_yticks(places, names)
        axes.axvline(0, color=GREY, linewidth=1)
        axes.set(xlabel=axis, title=title)

    return svg_plot(draw, title, height=0.9 + 0.26 * len(names), width=7.6)


def svg_plot(
    draw: Callable[[Axes], None], told: str, *, width: float = 4.6, height: float = 3.4
) -> str:
    """`draw` as SVG; `told` is read to whoever does not see it. The same figures give the same text."""
    # Not pyplot: it keeps every figure, and asks for a screen.
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.hashsalt": told,
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
    }
    with rc_context(settings):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.add_subplot())
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None})
    svg = _PROLOGUE.sub("", written.getvalue())
    return svg.replace("<svg ", f'<svg role="img" aria-label="{told}" ', 1)

"""Plots of a lead model as SVG that stands in a page by itself; the figures in them are metrics.py's."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from models.scoring.metrics import Floats, calibration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, GREY = "#2457a6", "#c8641b", "#8a8f98"
_PROLOGUE = re.compile(r"^.*?(?=<svg)", re.DOTALL)


def roc_plot(label: Floats, probability: Floats, area: float) -> str:
    """Share of the successes found against share of the failures taken with them."""
    from sklearn.metrics import roc_curve

    false, true, _ = roc_curve(label, probability)

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
        axes.plot(false, true, color=BLUE)
        axes.set(
            xlabel="share of failures taken",
            ylabel="share of successes found",
            title=f"Telling them apart: AUC {area:.3f}",
            xlim=(0, 1),
            ylim=(0, 1),
        )

    return _svg(draw, f"ROC curve, area {area:.3f}")


def calibration_plot(label: Floats, probability: Floats) -> str:
    """What was predicted against what happened, in ten groups, with bounds of 95 %."""
    groups = calibration(label, probability)
    predicted = np.asarray([group.predicted for group in groups])
    actual = np.asarray([group.actual for group in groups])
    bounds = np.asarray(
        [[group.actual - group.low, group.high - group.actual] for group in groups]
    ).T
    most = max(float(predicted.max()), max(group.high for group in groups)) * 1.05

    def draw(axes: Axes) -> None:
        axes.plot([0, most], [0, most], color=GREY, linewidth=1, linestyle=":")
        axes.errorbar(predicted, actual, yerr=bounds, fmt="o", color=BLUE, capsize=3, markersize=4)
        axes.set(
            xlabel="predicted probability",
            ylabel="share that succeeded",
            title="Meaning what it says: calibration",
            xlim=(0, most),
            ylim=(0, most),
        )

    return _svg(draw, "Calibration: share that succeeded by predicted probability")


def gains_plot(label: Floats, probability: Floats) -> str:
    """Share of all successes among the best so many."""
    order = np.argsort(-probability, kind="stable")
    found = np.concatenate([[0.0], np.cumsum(label[order]) / label.sum()])
    called = np.linspace(0, 1, len(found))

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
        axes.plot(called, found, color=BLUE)
        axes.set(
            xlabel="share of leads called, best first",
            ylabel="share of successes among them",
            title="Whom to call first: gains",
            xlim=(0, 1),
            ylim=(0, 1),
        )

    return _svg(draw, "Gains: share of successes by share of leads called")


def spread_plot(label: Floats, probability: Floats) -> str:
    """How probabilities are spread over successes and failures."""
    edges = np.linspace(0, float(probability.max()) or 1.0, 31)

    def draw(axes: Axes) -> None:
        for value, name, colour in ((0, "failures", GREY), (1, "successes", ORANGE)):
            told = probability[label == value]
            weights = np.full(len(told), 1 / len(told))
            axes.hist(told, bins=list(edges), weights=weights, alpha=0.6, color=colour, label=name)
        axes.set(
            xlabel="predicted probability",
            ylabel="share of each",
            title="Who gets which probability",
        )
        axes.legend(frameon=False)

    return _svg(draw, "Predicted probabilities of successes and of failures")


def bars_plot(names: Sequence[str], values: Sequence[float], title: str, axis: str) -> str:
    """Horizontal bars, the first at the top; negative ones in another colour."""

    def draw(axes: Axes) -> None:
        places = np.arange(len(names))[::-1]
        axes.barh(places, values, color=[BLUE if value >= 0 else ORANGE for value in values])
        axes.set_yticks(places, names)
        axes.axvline(0, color=GREY, linewidth=1)
        axes.set(xlabel=axis, title=title)

    return _svg(draw, title, height=0.9 + 0.26 * len(names), width=7.6)


def _svg(
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

"""Plots of a lead model as SVG that stands in a page by itself; the figures in them are metrics.py's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.drawing import BLUE, GREY, ORANGE, svg_plot
from models.scoring.metrics import Floats, calibration

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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

    return svg_plot(draw, f"ROC curve, area {area:.3f}")


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

    return svg_plot(draw, "Calibration: share that succeeded by predicted probability")


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

    return svg_plot(draw, "Gains: share of successes by share of leads called")


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

    return svg_plot(draw, "Predicted probabilities of successes and of failures")

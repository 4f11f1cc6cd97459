"""A replay as a page: what would have been different, by cause, by week and by owner."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ingestion.durable_file import write_whole
from models.drawing import BLUE, GREY, ORANGE, svg_plot
from models.pages import page, table
from orchestration.policy_replay import MEASURES, Change, Replay, State

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES = {
    "mqls": "MQLs",
    "succeeded": "of them taken up by sales",
    "failed": "not taken up in time",
    "undecided": "still open",
    "assigned": "with an owner",
    "sla_breaches": "first touch too late",
    "pushes": "operations for the CRM now",
}
_MOST_ROWS = 100
_MOST_OWNERS = 30


def write_page(path: Path, told: Replay) -> None:
    """Write the page to `path`; it needs no network and no script, and names people by their id alone."""
    write_whole(path, replay_page(told))


def replay_page(told: Replay) -> str:
    """The page as HTML."""
    changed = ", ".join(f"{cause.kind} {cause.former} → {cause.version}" for cause in told.causes)
    plots = [_waterfall(told), _weeks(told)]
    if told.workload:
        plots.append(_owners(told))
    body = f"""<h1>Replay: {escape(changed)}</h1>
<p class="soft">Leads since {told.since:%Y-%m-%d %H:%M} UTC, as of {told.as_of:%Y-%m-%d %H:%M}. History was rebuilt from the log as it would have been, point in time;
nothing was changed.</p>

<h2>What is different, and why</h2>
{_measures(told)}
<p class="soft">Causes are told in the order in which policies build on each other, each given those before it: the parts sum up to the whole.</p>
<div class="plots">{"".join(plots)}</div>

<h2>Was it right?</h2>
{_precision(told)}

<h2>Whom it concerns</h2>
{_changes(told)}"""
    return page(f"Replay: {changed}", body)


def precision(state: State) -> tuple[int, int]:
    """Leads taken up by sales, and leads whose time is over or that were taken up."""
    succeeded = state.measure("succeeded")
    return succeeded, succeeded + state.measure("failed")


def _measures(told: Replay) -> str:
    heads = ["", "before", *(f"{cause.kind} {cause.version}" for cause in told.causes), "after"]
    rows = [
        [
            NAMES[name],
            f"{told.before.measure(name):,}",
            *(f"{cause.differences[name]:+,}" for cause in told.causes),
            f"{told.after.measure(name):,}",
        ]
        for name in MEASURES
    ]
    for kind in ("gained", "lost", "moved"):
        by_cause = [f"{getattr(cause, kind):,}" for cause in told.causes]
        rows.append(
            [f"{kind} (by cause, and in all)", "", *by_cause, f"{len(told.of_kind(kind)):,}"]
        )
    return table(heads, rows, figures=range(1, len(heads)))


def _precision(told: Replay) -> str:
    rows = []
    for name, state in (("before", told.before), ("after", told.after)):
        succeeded, known = precision(state)
        share = f"{succeeded / known:.1%}" if known else "nothing known yet"
        rows.append([name, f"{succeeded:,}", f"{known:,}", share])
    for kind in ("gained", "lost"):
        outcomes = Counter(change.outcome for change in told.of_kind(kind))
        known = outcomes["succeeded"] + outcomes["failed"]
        share = f"{outcomes['succeeded'] / known:.1%}" if known else "nothing known yet"
        rows.append([kind, f"{outcomes['succeeded']:,}", f"{known:,}", share])
    return (
        table(["", "taken up by sales", "of those decided", "share"], rows, figures=range(1, 4))
        + "<p class='soft'>Outcomes are what happened. Whoever would have been gained was not handed to sales then, so of them it says the least that "
        "would have come of it.</p>"
    )


def _changes(told: Replay) -> str:
    if not told.changes:
        return "<p>Nobody: the same people reach the threshold at the same instants.</p>"
    order = {"lost": 0, "gained": 1, "moved": 2}
    shown = sorted(told.changes, key=lambda change: (order[change.kind], change.person_id))
    rows = [_row(change) for change in shown[:_MOST_ROWS]]
    more = (
        f"<p class='soft'>And {len(shown) - _MOST_ROWS:,} more; <code>--json</code> has all.</p>"
        if len(shown) > _MOST_ROWS
        else ""
    )
    return table(["", "person", "before", "after", "score", "outcome"], rows) + more


def _row(change: Change) -> list[str]:
    scores = " → ".join(
        "none" if score is None else f"{score:.1f}"
        for score in (change.score_before, change.score_after)
    )
    instants = [
        "" if instant is None else f"{instant:%Y-%m-%d %H:%M}"
        for instant in (change.before, change.after)
    ]
    return [change.kind, change.person_id, *instants, scores, change.outcome]


def _waterfall(told: Replay) -> str:
    """MQLs before, what each cause adds or takes, MQLs after."""
    before, after = told.before.measure("mqls"), told.after.measure("mqls")
    steps = [cause.differences["mqls"] for cause in told.causes]
    starts = [0, *(before + sum(steps[:place]) for place in range(len(steps))), 0]
    heights = [before, *steps, after]
    names = ["before", *(f"{cause.kind}\n{cause.former} → {cause.version}" for cause in told.causes), "after"]  # fmt: skip

    def draw(axes: Axes) -> None:
        colours = [GREY, *(BLUE if step >= 0 else ORANGE for step in steps), GREY]
        bars = axes.bar(np.arange(len(names)), heights, bottom=starts, color=colours)
        labels = [f"{before:,}", *(f"{step:+,}" for step in steps), f"{after:,}"]
        axes.bar_label(bars, labels=labels, label_type="center", color="white")
        axes.set_xticks(np.arange(len(names)), names)
        axes.set(ylabel="MQLs", title="MQLs by cause")

    return svg_plot(draw, "MQLs before, by cause, and after", width=1.6 + 1.1 * len(names))


def _weeks(told: Replay) -> str:
    """MQLs by week, before and after."""
    first = told.since
    count = max(1, -(-(told.as_of - first) // timedelta(days=7)))
    places = np.arange(count)

    def counted(state: State) -> list[int]:
        weeks = Counter(
            int((lead["reached_at"] - first) // timedelta(days=7)) for lead in state.recent
        )
        return [weeks[place] for place in range(count)]

    def draw(axes: Axes) -> None:
        axes.step(places, counted(told.before), where="mid", color=GREY, label="before")
        axes.step(places, counted(told.after), where="mid", color=BLUE, label="after")
        axes.set(xlabel="weeks since then", ylabel="MQLs", title="MQLs by week")
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False)

    return svg_plot(draw, "MQLs by week, before and after")


def _owners(told: Replay) -> str:
    shown = told.workload[:_MOST_OWNERS]
    places = np.arange(len(shown))[::-1]

    def draw(axes: Axes) -> None:
        axes.barh(places + 0.2, [row[1] for row in shown], height=0.4, color=GREY, label="before")
        axes.barh(places - 0.2, [row[2] for row in shown], height=0.4, color=BLUE, label="after")
        axes.set_yticks(places, [row[0] for row in shown])
        axes.set(xlabel="leads", title="Leads by owner")
        axes.legend(frameon=False)

    return svg_plot(
        draw, "Leads by owner, before and after", height=1.2 + 0.4 * len(shown), width=7.6
    )

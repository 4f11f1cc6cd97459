"""How leads are spread and answered, as a page with charts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ingestion.durable_file import write_whole
from models.drawing import bars_plot
from models.pages import page, table
from orchestration.routing_figures import RoutingFigures

# With fewer deadlines a share says nothing.
FEW = 5


def write_page(path: Path, figures: RoutingFigures) -> None:
    """Write the page to `path`: load, fairness, deadlines and first touches, rep by rep, and who waits."""
    with_leads = [row for row in figures.reps if row["leads"]]
    load = bars_plot(
        [row["name"] for row in with_leads],
        [row["leads"] for row in with_leads],
        "Leads given to each rep",
        "leads",
    )
    off = bars_plot(
        [f"{row['name']}, {row['pool']}" for row in figures.shares],
        [row["turns_ahead"] for row in figures.shares],
        "Turns ahead of what each was entitled to (behind: below 0)",
        "turns",
    )
    touches = [row for row in with_leads if row["first_touch_minutes"] is not None]
    touched = bars_plot(
        [row["name"] for row in touches],
        [row["first_touch_minutes"] / 60 for row in touches],
        "Hours to the first touch, by the clock on the wall (median)",
        "hours",
    )
    body = f"""<h1>Routing since {figures.since:%Y-%m-%d}</h1>
<p>{_verdict(figures)}</p>
<h2>Load, deadlines, first touch</h2>
{table(_HEADS, [_rep(row) for row in figures.reps], figures=range(1, 10), marked=["off" if _is_late(row) else "" for row in figures.reps])}
<div class="plots">{load}{touched if touches else ""}</div>
<h2>Fairness</h2>
<p class="soft">A turn counts once, claims of owners do not. While the same reps may take turns, nobody is ever a lead off; a lead that did not come to its
meeting is given back, and one somebody gave away in the CRM counts for whoever got it.</p>
{table(("pool", "rep", "had", "entitled to", "ahead"), [_share(row) for row in figures.shares], figures=(2, 3, 4))}
{off if figures.shares else ""}
<h2>Nobody has these</h2>
{_waiting(figures)}"""
    write_whole(path, page("Routing", body))


_HEADS = (
    "rep", "leads", "by claim", "dealt", "taken over", "unanswered", "today", "in time", "missed", "first touch", "",
)  # fmt: skip


def _verdict(figures: RoutingFigures) -> str:
    due = sum(row["due"] for row in figures.reps)
    met = sum(row["met"] for row in figures.reps)
    answered = f"{met} of {due} deadlines met" if due else "no deadline has passed yet"
    return (
        f"{sum(row['leads'] for row in figures.reps)} leads with {sum(row['leads'] > 0 for row in figures.reps)} reps, {answered}; "
        f"nobody is more than {figures.furthest_off:.2f} turns off their share; {len(figures.waiting)} leads wait."
    )


def _is_late(row: dict[str, Any]) -> bool:
    return bool(row["due"] >= FEW and row["met"] < row["due"] / 2)


def _rep(row: dict[str, Any]) -> tuple[str, ...]:
    minutes = row["first_touch_minutes"]
    full = "" if row["capacity"] is None else f" of {row['capacity']}"
    away = row["away_until"]
    return (
        row["name"],
        f"{row['leads']}",
        f"{row['claimed']}",
        f"{row['dealt']}",
        f"{row['taken_over']}",
        f"{row['open_leads']}",
        f"{row['leads_today']}{full}",
        f"{row['met']} of {row['due']}" if row["due"] else "",
        f"{row['missed']}" if row["due"] else "",
        "" if minutes is None else f"{minutes / 60:.1f} h" if minutes >= 120 else f"{minutes:.0f} min",
        "not active" if not row["is_active"] else f"away until {away:%Y-%m-%d %H:%MZ}" if away else "",
    )  # fmt: skip


def _share(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["pool"],
        row["name"],
        f"{row['had_turns']:g}",
        f"{row['entitled_turns']:.2f}",
        f"{row['turns_ahead']:+.2f}",
    )


def _waiting(figures: RoutingFigures) -> str:
    if not figures.waiting:
        return '<p class="soft">Every lead is with somebody.</p>'
    rows = [
        (
            row["person_id"],
            row["territory"] or "none",
            f"{row['assigned_at']:%Y-%m-%d %H:%MZ}",
            json.loads(row["reason_path"])[-1],
        )
        for row in figures.waiting
    ]
    return table(("person", "territory", "since", "why"), rows)

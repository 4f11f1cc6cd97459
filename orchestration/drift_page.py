"""What drift was found as sentences, and as a page with charts."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from ingestion.durable_file import write_whole
from models.drawing import bars_plot
from models.drift.distributions import Shift
from models.pages import page, table
from orchestration.drift import WORTH_A_LOOK, Drift
from orchestration.drift_windows import HORIZON_DAYS


def write_page(path: Path, drift: Drift) -> None:
    """Write the page to `path`: the parts as bars, and what speaks for each."""
    told = drift.diagnosis
    plot = bars_plot(
        [part.cause for part in told.parts],
        [part.mqls for part in told.parts],
        "MQLs more or fewer, by cause",
        "MQLs",
    )
    rows = [
        (
            part.cause,
            f"{part.mqls:+.1f}",
            "" if part.p_value is None else f"{part.p_value:.2g}",
            "more than chance" if part.is_significant else "",
            part.evidence,
        )
        for part in told.parts
    ]
    marked = ["chosen" if part.cause == told.first else "" for part in told.parts]
    body = f"""<h1>{told.before:,} MQLs before, {told.now:,} now</h1>
<p class="soft">New people from {drift.since:%Y-%m-%d} to {drift.until:%Y-%m-%d} against the {drift.days} days before; each had {HORIZON_DAYS} days.</p>
<p>{escape(verdict(drift))}</p>{plot}
{table(("cause", "MQLs", "p", "", "what speaks for it"), rows, figures=(1, 2), marked=marked)}
<p class="soft">The parts sum up to the difference. p: how often chance alone would do as much, by exact tests; of all six together an alarm comes by chance in
{told.alarm_rate:.0%} of comparisons.</p>
<h2>What people did and scored</h2>
<p class="soft">The same people, each {HORIZON_DAYS} days after they were first seen.</p>
{_shifts(drift.people)}
<h2>Whom the lead model sees</h2>
{_shifts(drift.model) if drift.model else '<p class="soft">No lead model that was learned from MQLs is in use.</p>'}
<p class="soft">PSI: population stability index; Wasserstein: how far the numbers moved, in standard deviations. By chance: what samples of these sizes
differ by without a cause. What moved by more than chance, and by more than {WORTH_A_LOOK:g} beyond it, is marked.</p>"""
    write_whole(path, page("Drift of MQLs", body))


def verdict(drift: Drift) -> str:
    """One sentence."""
    told = drift.diagnosis
    if told.too_few:
        return f"Too few to tell: {told.too_few}."
    if told.first is None:
        return "Nothing is more than chance."
    others = [cause for cause in told.significant if cause != told.first]
    also = f"; also {', '.join(others)}" if others else ""
    part = next(part for part in told.parts if part.cause == told.first)
    return f"{told.first}: {part.evidence}{also}."


def moved(drift: Drift) -> str:
    """What people do, score or are like otherwise than before; empty where nothing has moved."""
    return "; ".join(f"{shift.subject} ({shift.evidence})" for shift in drift.moved)


def _shifts(shifts: Sequence[Shift]) -> str:
    heads = ("", "measure", "size", "by chance", "p", "before", "now", "")
    rows = [
        (
            shift.subject,
            shift.measure,
            f"{shift.size:.3f}",
            f"{shift.by_chance:.3f}",
            "" if shift.p_value is None else f"{shift.p_value:.2g}",
            f"{shift.before:,}",
            f"{shift.now:,}",
            shift.evidence,
        )
        for shift in shifts
    ]
    marked = ["chosen" if shift.beyond_chance > WORTH_A_LOOK else "" for shift in shifts]
    plot = bars_plot(
        [shift.subject for shift in shifts],
        [max(0.0, shift.size - shift.by_chance) for shift in shifts],
        "How far each has moved, beyond what chance does",
        "PSI, or standard deviations",
    )
    return plot + table(heads, rows, figures=range(2, 7), marked=marked)

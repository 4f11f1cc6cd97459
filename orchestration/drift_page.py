"""What drift was found as a sentence, and as a page with a chart."""

from __future__ import annotations

from html import escape
from pathlib import Path

from ingestion.durable_file import write_whole
from models.drawing import bars_plot
from models.pages import page, table
from orchestration.drift import HORIZON_DAYS, Drift


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
{told.alarm_rate:.0%} of comparisons.</p>"""
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

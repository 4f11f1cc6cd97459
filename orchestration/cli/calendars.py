"""The verb of `handoff calendars`: when reps are taken; nothing is stored or booked here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from ingestion import time_zones
from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings
from orchestration.cli.output import AsJson, instant_of, print_json

app = typer.Typer(
    name="calendars",
    help="Calendars of the reps, asked directly: Google and CalDAV.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def _group() -> None:
    # With one verb typer would make the group that verb.
    ...


@app.command()
def busy(
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="INSTANT", help="From when on; default: now."),
    ] = None,
    end: Annotated[
        str | None,
        typer.Option("--to", metavar="INSTANT", help="Until when; default: a week later."),
    ] = None,
    calendar: Annotated[
        list[str] | None,
        typer.Option("--calendar", metavar="ADDRESS", help="Whose; once for each, default: all."),
    ] = None,
    zone: Annotated[
        str, typer.Option("--zone", metavar="ZONE", help="IANA zone in which times are shown.")
    ] = "UTC",
    as_json: AsJson = False,
) -> None:
    """Show when reps are taken, whole days and tentative events included.

    Instants without a zone are read in UTC. Every configured calendar system is asked; one that does not answer is an error, as nothing said
    is not the same as free.
    """
    from ingestion.connectors import catalog
    from ingestion.connectors.busy import Interval
    from orchestration.cli.screens import print_rows

    try:
        shown_in = time_zones.zone(zone)
    except ValueError as error:
        raise HandoffError("BAD_REQUEST", str(error), remedy="Give --zone Europe/Berlin.") from None
    first = instant_of(start, "--from") or datetime.now(UTC).replace(microsecond=0)
    last = instant_of(end, "--to") or first + timedelta(days=7)
    if last <= first:
        raise HandoffError(
            "BAD_REQUEST", f"{last.isoformat()} is not after {first.isoformat()}",
            remedy="Give --from and --to in order.",
        )  # fmt: skip
    settings = Settings()
    asked = [name for name in catalog.systems("busy") if catalog.busy(name).configured(settings)]
    if not asked:
        raise HandoffError(
            "SYSTEM_NOT_CONFIGURED",
            "no calendar is configured",
            remedy="Set HANDOFF_CALENDAR_URL or HANDOFF_CALDAV_URL and their credentials.",
        )
    found: list[tuple[str, Interval]] = [
        (name, interval)
        for name in asked
        for interval in catalog.busy(name).busy(settings, calendar or [], first, last)
    ]
    found.sort(key=lambda one: (one[1].calendar, one[1].start))
    if as_json:
        print_json(
            [
                {
                    "system": name,
                    "calendar": one.calendar,
                    "start": one.start,
                    "end": one.end,
                    "is_tentative": one.is_tentative,
                }
                for name, one in found
            ]
        )
        return
    if not found:
        print(f"Nobody is taken between {first.isoformat()} and {last.isoformat()}.")
        return
    print_rows(
        ["calendar", "from", "to", "zone", "", "system"],
        [
            (
                one.calendar,
                f"{one.start.astimezone(shown_in):%a %Y-%m-%d %H:%M}",
                f"{one.end.astimezone(shown_in):%a %Y-%m-%d %H:%M}",
                f"{one.start.astimezone(shown_in):%Z}",
                "tentative" if one.is_tentative else "",
                name,
            )
            for name, one in found
        ],
        "table",
    )

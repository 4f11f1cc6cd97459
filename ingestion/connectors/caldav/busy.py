"""When reps are taken, of CalDAV calendars: by their events, and where those may not be read, by what
the server says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from ingestion.connectors.busy import Interval, merged
from ingestion.connectors.caldav.client import Calendar, Client, connected
from ingestion.connectors.caldav.occurrences import expand
from ingestion.connectors.polling import UpstreamRefusal
from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings

_NOT_OFFERED = (400, 403, 404, 405, 409, 415, 422, 501)


def configured(settings: Settings) -> bool:
    """Whether HANDOFF_CALDAV_URL is set."""
    return bool(settings.caldav_url)


def busy(
    settings: Settings, calendars: Sequence[str], start: datetime, end: datetime
) -> list[Interval]:
    """Taken times of the reps' calendars, each called by its owner's address, or its path without one.

    An event is taken unless TRANSP is TRANSPARENT, STATUS is CANCELLED, or the owner declined it; a
    tentative one is taken tentatively. Whole days count from midnight to midnight in the calendar's
    zone, unless they are transparent, as most clients make them.

    Source: RFC 4791, 7.10 (free-busy-query); RFC 5545, 3.8.2.7 (TRANSP), 3.2.9 (FBTYPE).
    """
    wanted = {name.lower() for name in calendars}
    found: list[Interval] = []
    seen: set[str] = set()
    with connected(settings) as client:
        for calendar in client.calendars(settings):
            name = calendar.owner or calendar.path
            if wanted and name.lower() not in wanted:
                continue
            seen.add(name.lower())
            found += _of(client, calendar, name, start, end)
    if missing := sorted(wanted - seen):
        raise HandoffError("UPSTREAM_REJECTED", f"caldav has no calendar of {', '.join(missing)}")
    return merged(found, start, end)


def _of(
    client: Client, calendar: Calendar, name: str, start: datetime, end: datetime
) -> Iterator[Interval]:
    # A server's own free-busy counts whole days, floating times and what is tentative as it likes (RFC
    # 4791, 7.10): where events may be read, they are counted as it says above.
    try:
        texts = client.within(calendar, start - timedelta(days=1), end + timedelta(days=1))
    except UpstreamRefusal as error:
        if error.status not in _NOT_OFFERED:
            raise
        # The right to see when somebody is taken, and not by what (read-free-busy).
        return _reported(client.free_busy(calendar, start, end), name)
    return _by_events(texts, calendar, name, start, end)


def _reported(text: str, name: str) -> Iterator[Interval]:
    import icalendar

    for answer in icalendar.Calendar.from_ical(text).walk("VFREEBUSY"):
        value = answer.get("FREEBUSY", [])
        for period in value if isinstance(value, list) else [value]:
            kind = str(period.params.get("FBTYPE", "BUSY")).upper()
            if kind != "FREE":
                for first, last in _periods(period):
                    yield Interval(name, first, last, kind == "BUSY-TENTATIVE")


def _periods(value: Any) -> Iterator[tuple[datetime, datetime]]:
    for one in getattr(value, "dts", [value]):
        first, last = (
            one.dt if hasattr(one, "dt") and isinstance(one.dt, tuple) else (one.start, one.end)
        )
        yield (
            first.astimezone(UTC),
            (first + last if isinstance(last, timedelta) else last).astimezone(UTC),
        )


def _by_events(
    texts: list[str], calendar: Calendar, name: str, start: datetime, end: datetime
) -> Iterator[Interval]:
    for text in texts:
        _, occurrences = expand(text, calendar.time_zone, (start, end))
        for one in occurrences:
            answers = {attendee["email"]: attendee["partstat"] for attendee in one["attendees"]}
            own = answers.get(calendar.owner, "")
            if (
                one["transparency"] == "TRANSPARENT"
                or one["status"] == "CANCELLED"
                or own == "DECLINED"
            ):
                continue
            yield Interval(
                name,
                datetime.fromisoformat(one["start"]),
                datetime.fromisoformat(one["end"]),
                one["status"] == "TENTATIVE" or own in ("TENTATIVE", "NEEDS-ACTION"),
            )

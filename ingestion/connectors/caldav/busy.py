"""When reps are taken, of CalDAV calendars: by their events, and where those may not be read, by what
the server says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ingestion.connectors.appointments import DOMAIN
from ingestion.connectors.busy import Interval, is_marked, merged
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
    settings: Settings,
    calendars: Sequence[str],
    start: datetime,
    end: datetime,
    *,
    markers: Sequence[str] = (),
    leaving_out: str | None = None,
) -> list[Interval]:
    """Taken times of the reps' calendars, each called as it was asked for: by its owner's address or
    its path; of all by the owner's address, or the path without one.

    An event is taken unless TRANSP is TRANSPARENT, STATUS is CANCELLED, or the owner declined it; a
    tentative one is taken tentatively. Whole days count from midnight to midnight in the calendar's
    zone, unless they are transparent, as most clients make them, and have none of `markers`. Where
    events may not be read, neither markers nor what is left out can be told.

    Source: RFC 4791, 7.10 (free-busy-query); RFC 5545, 3.8.2.7 (TRANSP), 3.2.9 (FBTYPE).
    """
    found: list[Interval] = []
    seen: set[str] = set()
    counted = _Counted(tuple(markers), leaving_out)
    with connected(settings) as client:
        for calendar in client.calendars(settings):
            own = [calendar.owner or calendar.path]
            names = [name for name in calendars if calendar.is_called(name)] if calendars else own
            seen.update(names)
            if names:
                taken = list(_of(client, calendar, names[0], start, end, counted))
                found += (replace(one, calendar=name) for name in names for one in taken)
    if missing := sorted(set(calendars) - seen):
        raise HandoffError("UPSTREAM_REJECTED", f"caldav has no calendar of {', '.join(missing)}")
    return merged(found, start, end)


@dataclass(frozen=True, slots=True)
class _Counted:
    """What makes a day shown as free a taken one, and whose event does not count."""

    markers: tuple[str, ...]
    leaving_out: str | None

    def is_free(self, uid: str | None, occurrence: dict[str, Any]) -> bool:
        if self.leaving_out is not None and uid == f"{self.leaving_out}@{DOMAIN}":
            return True
        if occurrence["transparency"] != "TRANSPARENT":
            return False
        texts = [occurrence["summary"], *occurrence["categories"]]
        return not (occurrence["is_all_day"] and is_marked(texts, self.markers))


def _of(
    client: Client,
    calendar: Calendar,
    name: str,
    start: datetime,
    end: datetime,
    counted: _Counted,
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
    return _by_events(texts, calendar, name, start, end, counted)


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
    texts: list[str],
    calendar: Calendar,
    name: str,
    start: datetime,
    end: datetime,
    counted: _Counted,
) -> Iterator[Interval]:
    for text in texts:
        uid, occurrences = expand(text, calendar.time_zone, (start, end))
        for one in occurrences:
            answers = {attendee["email"]: attendee["partstat"] for attendee in one["attendees"]}
            own = answers.get(calendar.owner, "")
            if counted.is_free(uid, one) or one["status"] == "CANCELLED" or own == "DECLINED":
                continue
            yield Interval(
                name,
                datetime.fromisoformat(one["start"]),
                datetime.fromisoformat(one["end"]),
                one["status"] == "TENTATIVE" or own in ("TENTATIVE", "NEEDS-ACTION"),
            )

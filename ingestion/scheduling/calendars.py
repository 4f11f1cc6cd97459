"""What the hosts' calendars say: asked through the connectors, believed for a short while, and told of bookings."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from ingestion.connectors import catalog
from ingestion.connectors.appointments import Appointment
from ingestion.connectors.busy import Interval
from ingestion.errors.catalog import HandoffError
from ingestion.scheduling.availability import Span, joined
from ingestion.scheduling.hosts import CalendarName, CalendarSystem, Host, Rules
from ingestion.settings import Settings

# Answers kept; more than a few hundred reps have calendars.
REMEMBERED = 2_048
_DAY = timedelta(days=1)

logger = structlog.get_logger("handoff.scheduling")


@dataclass(frozen=True, slots=True)
class _Remembered:
    until: float
    spans: tuple[Span, ...]


class Calendars:
    """The calendars of these settings."""

    def __init__(self, settings: Settings, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Connects to nothing yet; `monotonic` is what answers age by, in seconds."""
        self._settings = settings
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._remembered: dict[tuple[CalendarName, datetime, datetime, _Kind], _Remembered] = {}

    def taken(
        self, hosts: Sequence[Host], start: datetime, end: datetime, rules: Rules
    ) -> dict[str, list[Span]]:
        """When each host is taken within [start, end), by `rep_id`, as they said lately.

        A host of whom a calendar does not answer is left out, as nothing said is not the same as
        free; when that leaves nobody, its error is raised.
        """
        first, last = _whole_days(start, end)
        return self._by_host(hosts, first, last, rules, is_fresh=False, leaving_out=None)

    def taken_now(
        self,
        hosts: Sequence[Host],
        start: datetime,
        end: datetime,
        rules: Rules,
        leaving_out: str | None = None,
    ) -> dict[str, list[Span]]:
        """`taken`, asked anew; the event of the booking `leaving_out` does not count."""
        return self._by_host(hosts, start, end, rules, is_fresh=True, leaving_out=leaving_out)

    def forget(self, calendar: CalendarName) -> None:
        """Ask this calendar anew next time: we have written to it."""
        with self._lock:
            for key in [key for key in self._remembered if key[0] == calendar]:
                del self._remembered[key]

    def write(
        self, calendar: CalendarName, appointment: Appointment, etag: str | None
    ) -> str | None:
        """Have the calendar hold an appointment; the version it has now."""
        book = catalog.appointments(calendar.system)
        try:
            return book.write(self._settings, calendar.id, appointment, etag)
        finally:
            self.forget(calendar)

    def remove(self, calendar: CalendarName, booking_id: str, etag: str | None) -> None:
        """Have the calendar hold a booking no more."""
        try:
            catalog.appointments(calendar.system).remove(
                self._settings, calendar.id, booking_id, etag
            )
        finally:
            self.forget(calendar)

    def _by_host(
        self,
        hosts: Sequence[Host],
        start: datetime,
        end: datetime,
        rules: Rules,
        *,
        is_fresh: bool,
        leaving_out: str | None,
    ) -> dict[str, list[Span]]:
        wanted = list(dict.fromkeys(name for host in hosts for name in host.calendars))
        said: dict[CalendarName, tuple[Span, ...]] = {}
        kind = (rules.tentative_blocks, rules.travel_markers)
        now = self._monotonic()
        if not is_fresh:
            with self._lock:
                for name in wanted:
                    known = self._remembered.get((name, start, end, kind))
                    if known is not None and now < known.until:
                        said[name] = known.spans
        refusal: HandoffError | None = None
        for system in dict.fromkeys(name.system for name in wanted if name not in said):
            asked = [name for name in wanted if name.system == system and name not in said]
            found, error = self._ask(system, asked, start, end, rules, leaving_out)
            refusal = error or refusal
            said |= found
            if not is_fresh:
                self._remember(found, start, end, kind, now)
        answered = {
            host.rep_id: joined(span for name in host.calendars for span in said[name])
            for host in hosts
            if all(name in said for name in host.calendars)
        }
        if hosts and not answered and refusal is not None:
            raise refusal
        return answered

    def _ask(
        self,
        system: CalendarSystem,
        asked: Sequence[CalendarName],
        start: datetime,
        end: datetime,
        rules: Rules,
        leaving_out: str | None,
    ) -> tuple[dict[CalendarName, tuple[Span, ...]], HandoffError | None]:
        """What the calendars say, all in one question where that is answered, else each in its own."""
        try:
            intervals = catalog.busy(system).busy(
                self._settings,
                [name.id for name in asked],
                start,
                end,
                markers=rules.travel_markers,
                leaving_out=leaving_out,
            )
        except HandoffError as error:
            if len(asked) == 1:
                logger.warning("a calendar does not answer", system=system, code=error.code)
                return {}, error
            found: dict[CalendarName, tuple[Span, ...]] = {}
            refusal: HandoffError | None = None
            for name in asked:
                one, refused = self._ask(system, [name], start, end, rules, leaving_out)
                found |= one
                refusal = refused or refusal
            return found, refusal
        return {name: _spans(intervals, name, rules) for name in asked}, None

    def _remember(
        self,
        found: dict[CalendarName, tuple[Span, ...]],
        start: datetime,
        end: datetime,
        kind: _Kind,
        now: float,
    ) -> None:
        until = now + self._settings.scheduling_busy_seconds
        with self._lock:
            if len(self._remembered) >= REMEMBERED:
                self._remembered.clear()
            for name, spans in found.items():
                self._remembered[name, start, end, kind] = _Remembered(until, spans)


# What of the rules changes an answer: whether tentative times count, and the markers.
_Kind = tuple[bool, tuple[str, ...]]


def default_calendar(settings: Settings, email: str) -> tuple[CalendarName, ...]:
    """The calendar of a rep for whom the policy names none: of their address, in Google where that is
    configured, else on the CalDAV server; none where neither is."""
    for system in ("calendar", "caldav"):
        if catalog.busy(system).configured(settings):
            return (CalendarName("calendar" if system == "calendar" else "caldav", email),)
    return ()


def _spans(intervals: Sequence[Interval], name: CalendarName, rules: Rules) -> tuple[Span, ...]:
    return tuple(
        (one.start, one.end)
        for one in intervals
        if one.calendar.lower() == name.id.lower()
        and (rules.tentative_blocks or not one.is_tentative)
    )


def _whole_days(start: datetime, end: datetime) -> Span:
    """The days of UTC around a time: whoever asks a minute later asks the same."""
    first = start.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    last = end.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return first, last + _DAY

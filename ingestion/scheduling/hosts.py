"""Who can be met and for what: the rules of meetings, hosts, invitees, and the port through which whoever knows them answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

CalendarSystem = Literal["calendar", "caldav"]


@dataclass(frozen=True, slots=True)
class MeetingType:
    """What can be booked; times are lengths, `step` divides a day, `daily_cap` counts one host's on
    one day of the host's zone (None: any number)."""

    name: str
    label: str
    duration: timedelta
    step: timedelta
    buffer_before: timedelta
    buffer_after: timedelta
    notice: timedelta
    horizon: timedelta
    daily_cap: int | None
    hold: timedelta
    title: str
    description: str | None = None
    location: str | None = None
    reminders: tuple[timedelta, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkingTime:
    """Hours of one ISO weekday in minutes since local midnight: `start` belongs to it, `end` (up to
    1,440) does not."""

    weekday: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class HolidayCalendar:
    """Public holidays of a country (ISO 3166-1) or of one subdivision, by the library `holidays`."""

    country: str
    subdivision: str | None = None


@dataclass(frozen=True, slots=True)
class CalendarName:
    """A calendar of a host: Google's id, or the owner's address or the path of a CalDAV calendar."""

    system: CalendarSystem
    id: str


@dataclass(frozen=True, slots=True)
class Host:
    """A rep who can be met: working hours by the clock of `time_zone` (IANA); bookings are written to
    the first of `calendars`, all of which must be free. `absences` are [start, end) in UTC."""

    rep_id: str
    email: str
    name: str
    time_zone: str
    working_hours: tuple[WorkingTime, ...]
    holidays: HolidayCalendar | None = None
    calendars: tuple[CalendarName, ...] = ()
    absences: tuple[tuple[datetime, datetime], ...] = ()

    @property
    def working_days(self) -> frozenset[int]:
        """ISO weekdays on which the host works at all."""
        return frozenset(one.weekday for one in self.working_hours)


@dataclass(frozen=True, slots=True)
class Invitee:
    """Who asks for a meeting; `person_id` is None for somebody not known yet."""

    email: str
    name: str | None = None
    person_id: str | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """What the active scheduling policy says: its version, meeting types by name, and how calendars
    are read."""

    version: str
    meeting_types: dict[str, MeetingType]
    tentative_blocks: bool = True
    travel_markers: tuple[str, ...] = ()
    link_life: timedelta = timedelta(days=14)


class Hosts(Protocol):
    """Answers from what was published last and from the active policy; called from threads."""

    def rules(self) -> Rules:
        """The rules in force; HandoffError POLICY_INVALID when they cannot be read."""
        ...

    def hosts_for(self, person_id: str | None) -> Sequence[Host]:
        """Whom the person should meet, in the order of who should get the meeting: the owner, else
        the reps of the territory by fewest meetings. SERVING_MISSING before anything was published.
        """
        ...

    def host(self, rep_id: str) -> Host | None:
        """One rep, None for somebody who cannot be met any more."""
        ...

    def invitee(self, email: str) -> Invitee:
        """The person with this address; without `person_id` when nobody has it."""
        ...

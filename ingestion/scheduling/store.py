"""What a store of bookings must do: it decides who has a slot, in one transaction each; engines stand in their own modules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from ingestion.scheduling.hosts import CalendarName

# A hold becomes a booking or is released; what was booked is moved, called off, or has an outcome.
State = Literal["hold", "released", "booked", "rescheduled", "cancelled", "held", "no_show"]
STATES: tuple[State, ...] = (
    "hold",
    "released",
    "booked",
    "rescheduled",
    "cancelled",
    "held",
    "no_show",
)
# States in which the host's time is taken, those that can still change, and how a meeting may end.
ACTIVE: tuple[State, ...] = ("hold", "booked", "rescheduled", "held", "no_show")
OPEN: tuple[State, ...] = ("booked", "rescheduled")
Outcome = Literal["held", "no_show"]


class SlotTaken(Exception):
    """Somebody else has the host's time, or the host's day is full."""


class LinkUsed(Exception):
    """The link has a booking that is open; it has one at a time."""


@dataclass(frozen=True, slots=True)
class Key:
    """What makes a call the same call: who asks, the key they chose, and SHA-256 (hex) of what they
    asked for."""

    client: str
    key: str
    body_hash: str


@dataclass(frozen=True, slots=True)
class NewBooking:
    """A booking, or a hold, about to be decided. `busy_from` to `busy_to` is its time with buffers,
    `host_day` its date by the host's clock (ISO 8601), which `daily_cap` counts by."""

    booking_id: str
    host_id: str
    host_email: str
    host_name: str
    host_time_zone: str
    meeting_type: str
    starts_at: datetime
    ends_at: datetime
    busy_from: datetime
    busy_to: datetime
    host_day: str
    daily_cap: int | None
    time_zone: str
    title: str
    description: str | None = None
    location: str | None = None
    person_id: str | None = None
    email: str | None = None
    name: str | None = None
    calendar: CalendarName | None = None
    link_id: str | None = None


@dataclass(frozen=True, slots=True)
class NewTime:
    """Where a booking is moved to, as in NewBooking."""

    starts_at: datetime
    ends_at: datetime
    busy_from: datetime
    busy_to: datetime
    host_day: str
    daily_cap: int | None
    time_zone: str


@dataclass(frozen=True, slots=True)
class Booking:
    """One booking as it is now; `revision` grows by one with each change.

    `logged_revision` and `calendar_revision` are the newest revisions that the event log and the
    calendar are known to have; `has_conflict` says that something else stood in the calendar at its
    time (None: nobody could tell). `expires_at` is the end of a hold.
    """

    booking_id: str
    host_id: str
    host_email: str
    host_name: str
    host_time_zone: str
    meeting_type: str
    person_id: str | None
    email: str | None
    name: str | None
    time_zone: str
    starts_at: datetime
    ends_at: datetime
    busy_from: datetime
    busy_to: datetime
    state: State
    revision: int
    expires_at: datetime | None
    title: str
    description: str | None
    location: str | None
    calendar: CalendarName | None
    calendar_etag: str | None
    calendar_revision: int
    has_conflict: bool | None
    logged_revision: int
    link_id: str | None
    created_at: datetime
    booked_at: datetime | None
    changed_at: datetime
    reason: str | None

    @property
    def is_open(self) -> bool:
        """Whether it can still be moved or called off."""
        return self.state in OPEN

    @property
    def calendar_status(self) -> Literal["none", "pending", "written"]:
        """What is known of the calendar: there is none, it is behind, or it has this revision."""
        if self.calendar is None or self.state in ("hold", "released"):
            return "none"
        return "written" if self.calendar_revision >= self.revision else "pending"


@dataclass(frozen=True, slots=True)
class Change:
    """One revision of a booking, never changed once written; `changed_by` is the caller's name."""

    booking_id: str
    revision: int
    state: State
    changed_at: datetime
    starts_at: datetime
    ends_at: datetime
    time_zone: str
    changed_by: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided: the booking now, the change this call made, and whether an earlier call with
    the same key had made it."""

    booking: Booking
    change: Change
    is_repeated: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """A host's time that a hold or booking takes: with buffers, and when the meeting itself begins."""

    booking_id: str
    host_id: str
    meeting_type: str
    starts_at: datetime
    busy_from: datetime
    busy_to: datetime


class BookingStore(Protocol):
    """Decides, and remembers what was decided; callable from any thread.

    Whatever decides raises SlotTaken when the time is not the host's to give any more; HandoffError
    IDEMPOTENCY_CONFLICT for a known key with another body, NOT_FOUND, BOOKING_OVER, HOLD_EXPIRED,
    BOOKINGS_UNAVAILABLE. `now` is what holds expire against.
    """

    def hold(self, new: NewBooking, expires_at: datetime, now: datetime, by: str) -> Decision:
        """Keep a slot for a while."""
        ...

    def book(self, new: NewBooking, key: Key, now: datetime, by: str) -> Decision:
        """Book a slot nobody holds; LinkUsed when its link has an open booking."""
        ...

    def book_hold(
        self, hold_id: str, who: dict[str, Any], key: Key, now: datetime, by: str
    ) -> Decision:
        """Make a hold a booking; `who` are the members of Booking that the hold did not know."""
        ...

    def reschedule(
        self, booking_id: str, to: NewTime, now: datetime, by: str, key: Key | None = None
    ) -> Decision:
        """Move an open booking, or leave it where it is; to its own time nothing changes."""
        ...

    def cancel(
        self, booking_id: str, now: datetime, by: str, reason: str | None, key: Key | None = None
    ) -> Decision:
        """Call an open booking off, or release a hold; a second time nothing changes."""
        ...

    def record_outcome(
        self, booking_id: str, outcome: Outcome, now: datetime, by: str, key: Key | None = None
    ) -> Decision:
        """How a meeting ended; a later word replaces an earlier one."""
        ...

    def repeated(self, key: Key) -> Decision | None:
        """What was decided for this key before, if anything."""
        ...

    def find(self, booking_id: str) -> Booking | None:
        """The booking as it is now."""
        ...

    def open_of_link(self, link_id: str) -> Booking | None:
        """The open booking made with a link."""
        ...

    def newest_of_link(self, link_id: str) -> Booking | None:
        """The booking made with a link last, whatever became of it."""
        ...

    def changes(self, booking_id: str) -> list[Change]:
        """Every revision, oldest first."""
        ...

    def taken(
        self, host_ids: Sequence[str], start: datetime, end: datetime, now: datetime
    ) -> list[Taken]:
        """What takes the time of these hosts within [start, end); holds that are over do not."""
        ...

    def bookings(
        self, *, start: datetime | None = None, host_email: str | None = None, limit: int = 100
    ) -> list[Booking]:
        """Bookings and holds by when they begin, from `start` on."""
        ...

    def unconfirmed(self, before: datetime, limit: int = 100) -> list[Booking]:
        """Those last changed before an instant whose log or calendar is behind, oldest change first."""
        ...

    def confirm_logged(self, booking_id: str, revision: int) -> None:
        """The log has every change up to `revision`."""
        ...

    def confirm_calendar(
        self, booking_id: str, revision: int, etag: str | None, has_conflict: bool | None
    ) -> None:
        """The calendar has `revision`, as the version `etag`."""
        ...

    def forget(self, emails: Sequence[str], person_ids: Sequence[str] = ()) -> int:
        """Take these people out of every booking, which stays with its times, from the disk too; how
        many there were."""
        ...

    def close(self) -> None:
        """Give back files and connections; may be called twice."""
        ...

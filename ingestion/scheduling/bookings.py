"""Slots, holds and bookings: the store decides, then the event log and the calendar are told; what a crash left untold is told by `repair`."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillRunning
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from ingestion.connectors.appointments import Appointment
from ingestion.errors.catalog import HandoffError
from ingestion.log.interface import EventLog
from ingestion.scheduling.availability import Span, free_slots, local_date, without_full_days
from ingestion.scheduling.calendars import Calendars
from ingestion.scheduling.events import events_of
from ingestion.scheduling.hosts import Host, Hosts, Invitee, MeetingType, Rules
from ingestion.scheduling.store import (
    Booking,
    BookingStore,
    Decision,
    Key,
    NewBooking,
    NewTime,
    Outcome,
    SlotTaken,
)

# What a refusal offers instead, and how far it looks for it.
OFFERED, LOOKED_AHEAD = 5, timedelta(days=14)
# How long an answer waits for the calendar; what takes longer is told as pending and goes on.
CALENDAR_SECONDS = 3.0
CALENDAR_THREADS = 4
# What was decided so lately is still being told by whoever decided it.
GRACE = timedelta(seconds=30)
REPAIRED_AT_ONCE = 1_000

logger = structlog.get_logger("handoff.scheduling")


@dataclass(frozen=True, slots=True)
class Slot:
    """A time at which somebody can be met, and who, in the order of who should be."""

    starts_at: datetime
    ends_at: datetime
    host_ids: tuple[str, ...]


class SlotRefused(HandoffError):
    """SLOT_TAKEN or SLOT_NOT_OFFERED, with the next free slots."""

    def __init__(self, code: str, message: str, slots: Sequence[Slot]) -> None:
        """Keep what is offered instead."""
        super().__init__(code, message)
        self.slots = tuple(slots)


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to book: `starts_at` in UTC, `time_zone` (IANA) their own; `person_id` is
    for a hold of which it is not said yet under which address."""

    meeting_type: str
    starts_at: datetime
    time_zone: str
    invitee: Invitee | None
    person_id: str | None = None
    link_id: str | None = None

    @property
    def whose(self) -> str | None:
        """The person whose hosts are asked."""
        return self.person_id if self.invitee is None else self.invitee.person_id


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair did: bookings it told the log or a calendar of, and those that still wait."""

    told: int
    waiting: int


class Bookings:
    """The booking desk; its methods may be called from any thread and wait for databases and calendars."""

    def __init__(
        self,
        store: BookingStore,
        log: EventLog,
        hosts: Hosts,
        calendars: Calendars,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`store` and `log` stay the caller's to close; `clock` is what notice and holds go by."""
        self.store = store
        self.hosts = hosts
        self._log = log
        self._calendars = calendars
        self._clock = clock
        self._pool = ThreadPoolExecutor(CALENDAR_THREADS, thread_name_prefix="handoff-calendars")
        # Of one booking one telling at a time; which share a lock does not matter.
        self._telling = tuple(threading.Lock() for _ in range(64))

    def close(self) -> None:
        """Finish what is being told to calendars."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def now(self) -> datetime:
        """The clock's instant."""
        return self._clock()

    def meeting_type(self, name: str) -> MeetingType:
        """The meeting type of that name; BAD_REQUEST names the known ones."""
        known = self.hosts.rules().meeting_types
        if name not in known:
            raise HandoffError(
                "BAD_REQUEST",
                f"unknown meeting type {name!r:.80}; known: {', '.join(known)}",
                remedy="Name a meeting type of the scheduling policy.",
                path="/meeting_type",
            )
        return known[name]

    def slots(
        self,
        meeting: MeetingType,
        person_id: str | None,
        start: datetime,
        end: datetime,
        limit: int | None = None,
    ) -> list[Slot]:
        """Free slots of a person's hosts that begin in [start, end), in order."""
        return self._slots(meeting, self._hosts_for(person_id), start, end, limit)

    def slots_to_move(
        self, booking: Booking, start: datetime, end: datetime, limit: int | None = None
    ) -> list[Slot]:
        """Free slots a booking can be moved to, with the same host."""
        meeting = self.meeting_type(booking.meeting_type)
        return self._slots(meeting, [self._host_of(booking)], start, end, limit, booking)

    def hold(self, wish: Wish, by: str) -> Decision:
        """Keep a slot for as long as its meeting type says; SLOT_TAKEN or SLOT_NOT_OFFERED with the
        next free slots."""

        def decide(new: NewBooking, meeting: MeetingType, now: datetime) -> Decision:
            return self.store.hold(new, now + meeting.hold, now, by)

        return self._decide(wish, decide)

    def book(self, wish: Wish, key: Key, by: str) -> Decision:
        """Book a slot, then tell the log and the calendar of it.

        Repeated with its key the answer is the first one. A calendar that does not answer in time,
        or at all, is told later: the booking stands.
        """
        known = self.store.repeated(key)
        if known is None:
            known = self._decide(wish, lambda new, meeting, now: self.store.book(new, key, now, by))
        return self._told(known)

    def book_hold(self, hold_id: str, invitee: Invitee, key: Key, by: str) -> Decision:
        """Make a hold a booking; HOLD_EXPIRED when it is over."""
        known = self.store.repeated(key)
        if known is None:
            held = self.required(hold_id)
            meeting = self.meeting_type(held.meeting_type)
            who = {
                "email": invitee.email,
                "name": invitee.name,
                "person_id": invitee.person_id or held.person_id,
                "title": _title(meeting, held.host_name, invitee),
            }
            known = self.store.book_hold(hold_id, who, key, self._clock(), by)
        return self._told(known)

    def reschedule(
        self, booking_id: str, starts_at: datetime, time_zone: str | None, by: str, key: Key | None = None
    ) -> Decision:  # fmt: skip
        """Move a booking to another slot of its host, or leave it as it is."""
        if key is not None and (known := self.store.repeated(key)) is not None:
            return self._told(known)
        booking = self.required(booking_id)
        if booking.is_open and booking.starts_at != starts_at:
            meeting, host, now = self.meeting_type(booking.meeting_type), self._host_of(booking), self._clock()  # fmt: skip
            rules = self.hosts.rules()
            self._require_offered(meeting, [host], starts_at, booking.person_id, booking)
            span = _span(meeting, starts_at)
            busy = self._calendars.taken_now([host], *span, rules, leaving_out=booking_id)
            if _meets(busy.get(host.rep_id, [span]), span):
                raise self._taken(meeting, starts_at, booking.person_id, booking)
        else:
            # The store says what is wrong with it, or that it is there already.
            meeting, now = _as_booked(booking), self._clock()
        to = NewTime(
            starts_at,
            starts_at + meeting.duration,
            *_span(meeting, starts_at),
            local_date(starts_at, booking.host_time_zone).isoformat(),
            meeting.daily_cap,
            time_zone or booking.time_zone,
        )
        try:
            return self._told(self.store.reschedule(booking_id, to, now, by, key))
        except SlotTaken:
            raise self._taken(meeting, starts_at, booking.person_id, booking) from None

    def cancel(
        self, booking_id: str, by: str, reason: str | None = None, key: Key | None = None
    ) -> Decision:
        """Call a booking off, or let go of a hold."""
        return self._told(self.store.cancel(booking_id, self._clock(), by, reason, key))

    def record_outcome(
        self, booking_id: str, outcome: Outcome, by: str, key: Key | None = None
    ) -> Decision:
        """Say how a meeting ended."""
        return self._told(self.store.record_outcome(booking_id, outcome, self._clock(), by, key))

    def required(self, booking_id: str) -> Booking:
        """The booking as it is now; NOT_FOUND when there is none."""
        found = self.store.find(booking_id)
        if found is None:
            raise HandoffError(
                "NOT_FOUND",
                f"there is no booking {booking_id!r:.80}",
                remedy="Give the booking_id of an answer of POST /v1/scheduling/bookings.",
            )
        return found

    def appointment(self, booking: Booking) -> Appointment:
        """The booking as calendars are told of it."""
        known = self.hosts.rules().meeting_types.get(booking.meeting_type)
        return Appointment(
            booking_id=booking.booking_id,
            revision=booking.revision,
            starts_at=booking.starts_at,
            ends_at=booking.ends_at,
            time_zone=booking.host_time_zone,
            title=booking.title,
            organizer_email=booking.host_email,
            organizer_name=booking.host_name,
            attendee_email=booking.email,
            attendee_name=booking.name,
            booked_at=booking.booked_at or booking.created_at,
            changed_at=booking.changed_at,
            description=booking.description,
            location=booking.location,
            reminders=known.reminders if known else (),
        )

    def repair(self, grace: timedelta = GRACE) -> Repaired:
        """Tell log and calendars of what was decided longer than `grace` ago and not confirmed since.

        Nothing is told twice in effect: events have ids of their revision, calendars are written
        under ids and conditions.
        """
        told = waiting = 0
        for booking in self.store.unconfirmed(self._clock() - grace, REPAIRED_AT_ONCE):
            try:
                self._tell(booking.booking_id)
                told += 1
            except HandoffError as error:
                waiting += 1
                logger.warning(
                    "a booking is not told yet",
                    booking_id=booking.booking_id,
                    code=error.code,
                    detail=error.message,
                )
        return Repaired(told, waiting)

    # -- deciding ------------------------------------------------------------------------------

    def _decide(
        self, wish: Wish, decide: Callable[[NewBooking, MeetingType, datetime], Decision]
    ) -> Decision:
        meeting = self.meeting_type(wish.meeting_type)
        person_id = wish.whose
        hosts = self._require_offered(
            meeting, self._hosts_for(person_id), wish.starts_at, person_id
        )
        now, rules = self._clock(), self.hosts.rules()
        span = _span(meeting, wish.starts_at)
        # Our own bookings first: they cost no question to a calendar.
        taken = {
            one.host_id for one in self.store.taken([host.rep_id for host in hosts], *span, now)
        }
        hosts = [host for host in hosts if host.rep_id not in taken]
        busy = self._calendars.taken_now(hosts, *span, rules)
        for host in hosts:
            if host.rep_id not in busy or _meets(busy[host.rep_id], span):
                continue
            try:
                return decide(_new(wish, meeting, host), meeting, now)
            except SlotTaken:
                continue
        raise self._taken(meeting, wish.starts_at, person_id)

    def _require_offered(
        self,
        meeting: MeetingType,
        hosts: Sequence[Host],
        at: datetime,
        person_id: str | None,
        booking: Booking | None = None,
    ) -> list[Host]:
        """The hosts who would take the slot if they were free."""
        now = self._clock()
        offering = [
            host
            for host in hosts
            if free_slots(host, meeting, [], now, at, at + timedelta.resolution)
        ]
        if not offering:
            slots = self._next(meeting, at, person_id, booking)
            raise SlotRefused(
                "SLOT_NOT_OFFERED",
                f"nobody offers {meeting.name} at {at.isoformat()}",
                slots,
            )
        return offering

    def _taken(
        self,
        meeting: MeetingType,
        at: datetime,
        person_id: str | None,
        booking: Booking | None = None,
    ) -> SlotRefused:
        return SlotRefused(
            "SLOT_TAKEN",
            f"{at.isoformat()} is not free any more",
            self._next(meeting, at, person_id, booking),
        )

    def _next(
        self, meeting: MeetingType, at: datetime, person_id: str | None, booking: Booking | None
    ) -> list[Slot]:
        """The next free slots from a time on, or from now when it is past or beyond the horizon."""
        now = self._clock()
        start = at if now < at < now + meeting.horizon else now
        hosts = self._hosts_for(person_id) if booking is None else [self._host_of(booking)]
        try:
            return self._slots(meeting, hosts, start, start + LOOKED_AHEAD, OFFERED, booking)
        except HandoffError as error:
            # A refusal without alternatives is still the answer.
            logger.warning("no slots can be offered", code=error.code)
            return []

    def _slots(
        self,
        meeting: MeetingType,
        hosts: Sequence[Host],
        start: datetime,
        end: datetime,
        limit: int | None = None,
        booking: Booking | None = None,
    ) -> list[Slot]:
        now, rules = self._clock(), self.hosts.rules()
        first, last = max(start, now), min(end, now + meeting.horizon)
        if first >= last:
            return []
        around = (first - timedelta(days=2), last + timedelta(days=2))
        own = self.store.taken([host.rep_id for host in hosts], *around, now)
        busy = self._busy(hosts, first, last, rules, booking)
        found: dict[datetime, list[str]] = {}
        for host in hosts:
            if host.rep_id not in busy:
                continue
            mine = [
                one
                for one in own
                if one.host_id == host.rep_id
                and (booking is None or one.booking_id != booking.booking_id)
            ]
            taken = [*busy[host.rep_id], *((one.busy_from, one.busy_to) for one in mine)]
            free = free_slots(host, meeting, taken, now, first, last)
            booked = [one.starts_at for one in mine if one.meeting_type == meeting.name]
            for at in without_full_days(free, host, meeting, booked):
                found.setdefault(at, []).append(host.rep_id)
        return [Slot(at, at + meeting.duration, tuple(found[at])) for at in sorted(found)[:limit]]

    def _busy(
        self,
        hosts: Sequence[Host],
        start: datetime,
        end: datetime,
        rules: Rules,
        booking: Booking | None,
    ) -> dict[str, list[Span]]:
        if booking is None:
            return self._calendars.taken(hosts, start, end, rules)
        return self._calendars.taken_now(hosts, start, end, rules, leaving_out=booking.booking_id)

    def _hosts_for(self, person_id: str | None) -> Sequence[Host]:
        hosts = self.hosts.hosts_for(person_id)
        if not hosts:
            raise HandoffError(
                "NOT_FOUND",
                "there is nobody who could be met: no owner, and no active rep serves the territory",
                remedy="Give a rep the territory in the CRM, or assign the lead.",
            )
        return hosts

    def _host_of(self, booking: Booking) -> Host:
        host = self.hosts.host(booking.host_id)
        if host is None:
            raise HandoffError(
                "BOOKING_OVER",
                f"the host of booking {booking.booking_id!r} cannot be met any more",
                remedy="Cancel the booking, and book anew with somebody else.",
            )
        return host

    # -- telling -------------------------------------------------------------------------------

    def _told(self, decision: Decision) -> Decision:
        """The decision with the booking as it is once log and calendar were told, or are being told."""
        booking_id = decision.booking.booking_id
        try:
            self._tell_log(booking_id)
        except HandoffError as error:
            logger.warning("the log is told later", booking_id=booking_id, code=error.code)
        if decision.booking.calendar_status == "pending":
            # In a thread: a calendar that hangs must not hold up who books.
            telling = self._pool.submit(self._tell, booking_id)
            telling.add_done_callback(_note_failure)
            try:
                telling.result(CALENDAR_SECONDS)
            except (HandoffError, StillRunning) as error:
                logger.warning(
                    "the calendar is told later", booking_id=booking_id, error=repr(error)
                )
        return Decision(self.required(booking_id), decision.change, decision.is_repeated)

    def _tell(self, booking_id: str) -> None:
        self._tell_log(booking_id)
        with self._telling[hash(booking_id) % len(self._telling)]:
            self._tell_calendar(booking_id)

    def _tell_log(self, booking_id: str) -> None:
        booking = self.required(booking_id)
        if booking.logged_revision >= booking.revision:
            return
        untold = [
            change
            for change in self.store.changes(booking_id)
            if booking.logged_revision < change.revision <= booking.revision
        ]
        if events := events_of(booking, untold):
            self._log.append(events)
        self.store.confirm_logged(booking_id, booking.revision)

    def _tell_calendar(self, booking_id: str) -> None:
        """Until the calendar has the newest revision: a slow write must not bring back what was
        cancelled while it was under way."""
        while True:
            booking = self.required(booking_id)
            calendar = booking.calendar
            if calendar is None or booking.calendar_revision >= booking.revision:
                return
            etag, has_conflict = booking.calendar_etag, booking.has_conflict
            if booking.state == "cancelled":
                self._calendars.remove(calendar, booking_id, etag)
                etag = None
            elif booking.is_open:
                has_conflict = self._has_conflict(booking)
                etag = self._calendars.write(calendar, self.appointment(booking), etag)
            self.store.confirm_calendar(booking_id, booking.revision, etag, has_conflict)

    def _has_conflict(self, booking: Booking) -> bool | None:
        """Whether something else stands in the calendar at that time by now; None when it does not
        say."""
        host = self.hosts.host(booking.host_id)
        if host is None:
            return None
        span = (booking.starts_at, booking.ends_at)
        try:
            busy = self._calendars.taken_now(
                [host], *span, self.hosts.rules(), leaving_out=booking.booking_id
            )
        except HandoffError:
            return None
        return _meets(busy[host.rep_id], span) if host.rep_id in busy else None


def _new(wish: Wish, meeting: MeetingType, host: Host) -> NewBooking:
    invitee = wish.invitee
    busy_from, busy_to = _span(meeting, wish.starts_at)
    return NewBooking(
        # Google takes such an id for an event's, which makes a repeated write the same one.
        booking_id=secrets.token_hex(16),
        host_id=host.rep_id,
        host_email=host.email,
        host_name=host.name,
        host_time_zone=host.time_zone,
        meeting_type=meeting.name,
        starts_at=wish.starts_at,
        ends_at=wish.starts_at + meeting.duration,
        busy_from=busy_from,
        busy_to=busy_to,
        host_day=local_date(wish.starts_at, host.time_zone).isoformat(),
        daily_cap=meeting.daily_cap,
        time_zone=wish.time_zone,
        title=_title(meeting, host.name, invitee),
        description=meeting.description,
        location=meeting.location,
        person_id=wish.whose,
        email=None if invitee is None else invitee.email,
        name=None if invitee is None else invitee.name,
        calendar=host.calendars[0] if host.calendars else None,
        link_id=wish.link_id,
    )


def _title(meeting: MeetingType, host_name: str, invitee: Invitee | None) -> str:
    who = "…" if invitee is None else invitee.name or invitee.email
    return meeting.title.format(meeting=meeting.label, host=host_name, invitee=who)


def _span(meeting: MeetingType, at: datetime) -> Span:
    """A meeting's time with its buffers."""
    return at - meeting.buffer_before, at + meeting.duration + meeting.buffer_after


def _meets(busy: Sequence[Span], span: Span) -> bool:
    return any(start < span[1] and span[0] < end for start, end in busy)


def _as_booked(booking: Booking) -> MeetingType:
    """A meeting type of the lengths the booking has."""
    nothing = timedelta(0)
    return MeetingType(
        booking.meeting_type,
        booking.title,
        booking.ends_at - booking.starts_at,
        timedelta(minutes=1),
        booking.starts_at - booking.busy_from,
        booking.busy_to - booking.ends_at,
        nothing,
        nothing,
        None,
        nothing,
        booking.title,
    )


def _note_failure(telling: Future[Any]) -> None:
    if not telling.cancelled() and (error := telling.exception()) is not None:
        logger.warning("the calendar is told later", error=repr(error))

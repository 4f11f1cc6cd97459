"""A booking desk with two hosts, for tests and for processes that are killed: rules and hosts fixed, everything else real."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ingestion.log.owner import open_log
from ingestion.scheduling.bookings import Bookings, Wish
from ingestion.scheduling.calendars import Calendars
from ingestion.scheduling.databases import open_store
from ingestion.scheduling.hosts import (
    CalendarName,
    Host,
    Invitee,
    MeetingType,
    Rules,
    WorkingTime,
)
from ingestion.scheduling.store import Key
from ingestion.settings import Settings

MINUTE = timedelta(minutes=1)
INTRO = MeetingType(
    name="intro",
    label="Intro call",
    duration=30 * MINUTE,
    step=30 * MINUTE,
    buffer_before=timedelta(0),
    buffer_after=15 * MINUTE,
    notice=60 * MINUTE,
    horizon=timedelta(days=30),
    daily_cap=8,
    hold=10 * MINUTE,
    title="{meeting}: {invitee} and {host}",
    description="A first conversation.",
    reminders=(10 * MINUTE,),
)
WEEK = tuple(WorkingTime(day, 540, 1_020) for day in range(1, 6))
ADA = Host("rep-ada", "ada@ours.example", "Ada Host", "Europe/Berlin", WEEK)
BOB = Host("rep-bob", "bob@ours.example", "Bob Host", "America/New_York", WEEK)
GUEST = Invitee("guest@theirs.example", "Gus Guest", "person-1")
# A Monday, ten in the morning in Berlin: of weeks that are ahead, as calendars look at their own clock.
_NEXT = datetime.now(UTC) + timedelta(days=14)
NOW = (_NEXT - timedelta(days=_NEXT.weekday())).replace(hour=8, minute=0, second=0, microsecond=0)
TOMORROW = NOW + timedelta(days=1)


@dataclass
class Directory:
    """Who can be met, as the tests have it."""

    hosts: list[Host] = field(default_factory=lambda: [ADA, BOB])
    in_force: Rules = field(default_factory=lambda: Rules("v1", {"intro": INTRO}))

    def rules(self) -> Rules:
        return self.in_force

    def hosts_for(self, person_id: str | None) -> Sequence[Host]:
        return self.hosts

    def host(self, rep_id: str) -> Host | None:
        return next((host for host in self.hosts if host.rep_id == rep_id), None)

    def invitee(self, email: str) -> Invitee:
        return replace(GUEST, email=email, person_id="person-1" if email == GUEST.email else None)


def in_calendars(system: str) -> Directory:
    return Directory([
        replace(host, calendars=(CalendarName(system, host.email),))  # type: ignore[arg-type]
        for host in (ADA, BOB)
    ])  # fmt: skip


@dataclass
class Clock:
    at: datetime = NOW

    def __call__(self) -> datetime:
        return self.at


@contextmanager
def desk(
    settings: Settings, directory: Directory, clock: Callable[[], datetime] | None = None
) -> Iterator[Bookings]:
    store, log = open_store(settings), open_log(settings)
    bookings = Bookings(store, log, directory, Calendars(settings), clock or Clock())
    try:
        yield bookings
    finally:
        bookings.close()
        log.close()
        store.close()


def wish(at: datetime = TOMORROW, **more: Any) -> Wish:
    return Wish(**{"meeting_type": "intro", "starts_at": at, "time_zone": "Europe/London", "invitee": GUEST} | more)  # type: ignore[arg-type]  # fmt: skip


def key(text: str) -> Key:
    return Key("test", text, "body")


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dies_after(call: Callable[..., Any]) -> Callable[..., Any]:
    def called(*values: Any, **named: Any) -> None:
        call(*values, **named)
        die()

    return called


def main(point: str, system: str) -> None:
    """Book, and be killed at a point."""
    with desk(Settings(), in_calendars(system)) as bookings:
        log, calendars = bookings._log, bookings._calendars
        if point == "decided":
            log.append = die  # type: ignore[method-assign]
        elif point == "in the log":
            log.append = dies_after(log.append)  # type: ignore[method-assign]
        elif point == "log confirmed":
            calendars.write = die  # type: ignore[assignment, method-assign]
        elif point == "in the calendar":
            calendars.write = dies_after(calendars.write)  # type: ignore[method-assign]
        bookings.book(wish(), key("a"), "test")


if __name__ == "__main__":
    main(*sys.argv[1:])

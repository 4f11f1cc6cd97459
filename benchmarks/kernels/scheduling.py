"""Free slots of a team over a month, against a plain loop over UTC; bookings on SQLite, against bare inserts that are on disk one by one."""

from __future__ import annotations

import random
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.measure import Kernel, Measurement, compare, seconds_of, watch_memory

DAYS, BUSY_PER_DAY, ROUNDS = 30, 4, 3
BOOKINGS_PER_REP = 20
ZONES = (
    "Europe/Berlin", "Europe/London", "America/New_York", "America/Los_Angeles", "Asia/Kolkata",
    "Asia/Kathmandu", "Asia/Tokyo", "Australia/Lord_Howe", "Pacific/Auckland", "America/Santiago",
)  # fmt: skip
# Both hemispheres change their clocks within the month.
START = datetime(2026, 3, 15, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class _Rep:
    host: Any
    taken: list[tuple[datetime, datetime]]


def run(size: int, folder: Path) -> list[Measurement]:
    """`size` reps in ten zones with four appointments a day."""
    reps = _reps(size)
    return [_slots(reps), _bookings(reps, folder)]


def _meeting() -> Any:
    from ingestion.scheduling.hosts import MeetingType

    nothing = timedelta(0)
    return MeetingType(
        "intro", "Intro", 30 * MINUTE, 30 * MINUTE, nothing, 15 * MINUTE, nothing,
        timedelta(days=DAYS), None, 10 * MINUTE, "Intro",
    )  # fmt: skip


def _reps(size: int) -> list[_Rep]:
    from ingestion.scheduling.hosts import HolidayCalendar, Host, WorkingTime

    rng = random.Random(7)
    week = tuple(WorkingTime(day, 540, 1_020) for day in range(1, 6))
    reps = []
    for number in range(size):
        zone = ZONES[number % len(ZONES)]
        host = Host(
            f"r{number}", f"r{number}@example.com", "Rep", zone, week, HolidayCalendar("DE")
        )
        taken = []
        for _ in range(DAYS * BUSY_PER_DAY):
            at = START + timedelta(minutes=15 * rng.randrange(DAYS * 96))
            taken.append((at, at + 15 * MINUTE * rng.randint(1, 4)))
        reps.append(_Rep(host, taken))
    return reps


def _slots(reps: list[_Rep]) -> Measurement:
    from ingestion.scheduling.availability import free_slots

    kind, end = _meeting(), START + timedelta(days=DAYS)

    def ours() -> int:
        return sum(len(free_slots(rep.host, kind, rep.taken, START, START, end)) for rep in reps)

    def floor() -> int:
        # Half hours of a month and whether something is taken then: no zone, no hours, no holidays.
        found = 0
        for rep in reps:
            taken, place, at = sorted(rep.taken), 0, START
            while at < end:
                while place < len(taken) and taken[place][1] <= at:
                    place += 1
                found += place == len(taken) or taken[place][0] >= at + 45 * MINUTE
                at += 30 * MINUTE
        return found

    count = ours()
    with watch_memory() as peak:
        pairs = [(seconds_of(ours), seconds_of(floor)) for _ in range(ROUNDS)]
    mine, least = zip(*pairs, strict=True)
    return compare(
        f"free slots of {len(reps)} reps over {DAYS} days", count, "slots", mine, least, peak.mb,
        seconds=f"{sorted(mine)[1]:.3f}",
    )  # fmt: skip


def _bookings(reps: list[_Rep], folder: Path) -> Measurement:
    import apsw

    from ingestion.scheduling.sqlite import open_sqlite
    from ingestion.scheduling.store import Key, NewBooking

    count = len(reps) * BOOKINGS_PER_REP
    made = [
        NewBooking(
            f"{number:032x}", rep.host.rep_id, rep.host.email, "Rep", rep.host.time_zone, "intro",
            at, at + 30 * MINUTE, at, at + 45 * MINUTE, f"{at:%Y-%m-%d}", 8, "UTC", "Intro", email="a@example.com",
        )
        for number, (rep, at) in enumerate(
            (rep, START + timedelta(days=day, hours=9)) for day in range(BOOKINGS_PER_REP) for rep in reps
        )
    ]  # fmt: skip
    pairs = []
    with watch_memory() as peak:
        for number in range(ROUNDS):
            with closing(open_sqlite(folder / f"ours-{number}.sqlite")) as store:

                def ours(store: Any = store) -> None:
                    for one in made:
                        store.book(one, Key("bench", one.booking_id, "b"), START, "bench")

                mine = seconds_of(ours)
            with closing(apsw.Connection(str(folder / f"floor-{number}.sqlite"))) as plain:
                plain.execute("pragma journal_mode = wal; pragma synchronous = full")
                plain.execute("create table t (id text primary key, host text, a int, b int)")

                def floor(plain: Any = plain) -> None:
                    for one in made:
                        plain.execute(
                            "insert into t values (?, ?, 1, 2)", (one.booking_id, one.host_id)
                        )

                pairs.append((mine, seconds_of(floor)))
    mine_all, least = zip(*pairs, strict=True)
    return compare("bookings on SQLite, one caller", count, "bookings", mine_all, least, peak.mb)


KERNEL = Kernel(
    name="scheduling",
    measures="Free slots by working hours, holidays, appointments and buffers, in ten zones through their"
    " changes of clocks; bookings decided one by one, each on disk with its history and its key.",
    floor="A loop over the half hours of a month in UTC and what is taken, without zones, hours or holidays;"
    " a bare insert on disk one by one, without check, history or key.",
    size_unit="reps",
    default_size=50,
    run=run,
)

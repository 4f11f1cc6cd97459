"""When one rep works: local hours and days as instants, exact over changes of the clocks; absences are given from outside."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from ingestion import time_zones

MINUTE, DAY = 60_000_000, 86_400_000_000
ALWAYS, NEVER = -(2**62), 2**62
WORKDAYS = (1, 2, 3, 4, 5)
# Nobody looks further ahead for somebody's next working minute.
MOST_DAYS = 400


@dataclass(frozen=True, slots=True)
class Absence:
    """[starts, ends) in which somebody is away, and [known_from, known_to) in which that is known; microseconds since 1970, UTC."""

    starts: int
    ends: int
    known_from: int
    known_to: int

    def is_known(self, at: int) -> bool:
        """Whether it was known at an instant."""
        return self.known_from <= at < self.known_to


def away_until(absences: Sequence[Absence], at: int, known_at: int | None = None) -> int | None:
    """When somebody is back who is away at an instant, by what is known then (or at `known_at`); None for who is not away."""
    known = [one for one in absences if one.is_known(at if known_at is None else known_at)]
    until, moved = at, True
    while moved:
        moved = False
        for one in known:
            if one.starts <= until < one.ends:
                until, moved = one.ends, True
    return until if until > at else None


class WorkingTime:
    """Working hours of one rep. All instants are microseconds since 1970, UTC.

    A local time that is left out when the clocks change is read with the offset before, of one that comes twice the first is meant (PEP 495
    with fold=0; RFC 5545, 3.3.5).
    """

    def __init__(
        self, time_zone: str | None, hours: str | None, days: Collection[int] = WORKDAYS
    ) -> None:
        """`hours` as HH:MM-HH:MM of the zone, past midnight when they end before they begin; none: around the clock, every day. `days`
        are ISO weekdays. A zone nobody knows is UTC."""
        known = time_zone if time_zone in time_zones.names() else None
        self.zone = time_zones.zone(known or "UTC")
        self.hours = None if hours is None else _minutes(hours)
        self.days = frozenset(days)
        self._worked: dict[int, tuple[int, int] | None] = {}
        self._day: tuple[int, int] = (0, 0)

    def is_working(self, at: int) -> bool:
        """Whether it is working time."""
        return self.next_working(at) == at

    def next_working(self, at: int) -> int | None:
        """The first instant of working time from `at` on; None when there is none for a year."""
        if self.hours is None:
            return at
        first = self._ordinal(at) - 1
        for ordinal in range(first, first + MOST_DAYS):
            worked = self._of_day(ordinal)
            if worked is not None and worked[1] > at:
                return max(worked[0], at)
        return None

    def after(self, at: int, minutes: int, absences: Sequence[Absence] = ()) -> int:
        """When so many minutes of working time have passed since `at`, without the absences known at `at`.

        Whoever never works in a year has what the clock on the wall says.
        """
        left = minutes * MINUTE
        away = sorted((one.starts, one.ends) for one in absences if one.is_known(at))
        if self.hours is None and not away:
            return at + left
        first = self._ordinal(at) - 1
        for ordinal in range(first, first + MOST_DAYS):
            worked = self._of_day(ordinal)
            if worked is None:
                continue
            for starts, ends in _without((max(worked[0], at), worked[1]), away):
                if left <= ends - starts:
                    return starts + left
                left -= ends - starts
        return at + minutes * MINUTE

    def day(self, at: int) -> tuple[int, int]:
        """[begin, end) of the local day."""
        if not self._day[0] <= at < self._day[1]:
            ordinal = self._ordinal(at)
            self._day = (self._instant(ordinal, 0), self._instant(ordinal + 1, 0))
        return self._day

    def _of_day(self, ordinal: int) -> tuple[int, int] | None:
        if ordinal not in self._worked:
            self._worked[ordinal] = self._hours_on(ordinal)
        return self._worked[ordinal]

    def _hours_on(self, ordinal: int) -> tuple[int, int] | None:
        if self.hours is None:
            return self._instant(ordinal, 0), self._instant(ordinal + 1, 0)
        if date.fromordinal(ordinal).isoweekday() not in self.days:
            return None
        starts, ends = self.hours
        found = self._instant(ordinal, starts), self._instant(ordinal, ends)
        return found if found[0] < found[1] else None

    def _ordinal(self, at: int) -> int:
        return datetime.fromtimestamp(at // 1_000_000, self.zone).toordinal()

    def _instant(self, ordinal: int, minutes: int) -> int:
        days, minute = divmod(minutes, 24 * 60)
        midnight = datetime.fromordinal(ordinal + days)
        wall = midnight + timedelta(minutes=minute)
        local = wall.replace(tzinfo=self.zone, fold=0).astimezone(UTC)
        return int(local.timestamp()) * 1_000_000


def _minutes(hours: str) -> tuple[int, int]:
    starts, _, ends = hours.partition("-")
    first, last = (int(text[:2]) * 60 + int(text[3:5]) for text in (starts.strip(), ends.strip()))
    return first, last if last > first else last + 24 * 60


def _without(worked: tuple[int, int], away: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    parts = []
    starts, ends = worked
    for first, last in away:
        if last <= starts:
            continue
        if first >= ends:
            break
        if first > starts:
            parts.append((starts, first))
        starts = max(starts, last)
    if starts < ends:
        parts.append((starts, ends))
    return parts

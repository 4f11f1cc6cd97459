"""Free slots from working hours, holidays and taken times: a pure function of its arguments; who says what is taken is elsewhere.

Working hours are what a clock on the wall shows: an instant belongs to 09:00-17:00 when the host's clock shows a time of
it. So a time that is left out when clocks go forward is no working time and hours that begin in it begin when it is
over, and a time that comes twice when they go back is worked both times, each with instants of its own. RFC 5545
(3.3.5) and PEP 495 (fold) say which instant one written time means, not which instants a span of them covers; slots are
instants and shown with their offset, so neither of the two hours can be mistaken for the other.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache

from ingestion import time_zones
from ingestion.scheduling.hosts import HolidayCalendar, Host, MeetingType, WorkingTime

# Half-open times in UTC.
Span = tuple[datetime, datetime]
_DAY = timedelta(days=1)


def working_times(
    hours: Sequence[WorkingTime],
    time_zone: str,
    days_off: Collection[date],
    start: datetime,
    end: datetime,
) -> list[Span]:
    """The instants of [start, end) at which a clock of `time_zone` shows a time of `hours` on a day
    that is none of `days_off` (local dates), as few spans as possible, in order; ValueError for an
    unknown zone."""
    found = [
        (max(first, start), min(last, end))
        for since, until, offset in _offsets_within(time_zone, start, end)
        for first, last in _hours_at(hours, offset, days_off, since, until)
    ]
    return joined(found)


def free_slots(
    host: Host,
    meeting: MeetingType,
    taken: Iterable[Span],
    now: datetime,
    start: datetime,
    end: datetime,
) -> list[datetime]:
    """Beginnings, in order, of the meetings of a type that `host` can take in [start, end).

    A slot lies in working hours with its whole length; with its buffers it meets nothing of `taken`
    (spans in UTC) and no absence of the host; it begins `notice` after `now` at the earliest and before `horizon` is over, where
    the host's clock shows minutes since midnight that `step` divides. Daily caps are not looked at:
    see `without_full_days`.
    """
    first = max(start, now + meeting.notice)
    last = min(end, now + meeting.horizon)
    if first >= last:
        return []
    busy = joined((*taken, *host.absences))
    starts = [since for since, _ in busy]
    found: list[datetime] = []
    days_off = holidays_of(host.holidays, first, last + meeting.duration)
    for since, until in working_times(
        host.working_hours, host.time_zone, days_off, first, last + meeting.duration
    ):
        for at in _aligned(host.time_zone, since, until - meeting.duration, meeting.step):
            if at >= last:
                break
            place = bisect_right(starts, at - meeting.buffer_before) - 1
            until_free = busy[place][1] if place >= 0 else None
            if until_free is not None and until_free > at - meeting.buffer_before:
                continue
            ends_at = at + meeting.duration + meeting.buffer_after
            if place + 1 < len(busy) and busy[place + 1][0] < ends_at:
                continue
            found.append(at)
    return found


def without_full_days(
    slots: Sequence[datetime], host: Host, meeting: MeetingType, booked: Iterable[datetime]
) -> list[datetime]:
    """`slots` of the days on which the host has not had `daily_cap` meetings of the type; `booked`
    are the beginnings of those there are."""
    if meeting.daily_cap is None:
        return list(slots)
    counts: dict[date, int] = {}
    for at in booked:
        day = local_date(at, host.time_zone)
        counts[day] = counts.get(day, 0) + 1
    return [at for at in slots if counts.get(local_date(at, host.time_zone), 0) < meeting.daily_cap]


def local_date(at: datetime, time_zone: str) -> date:
    """The day a clock of the zone shows."""
    return at.astimezone(time_zones.zone(time_zone)).date()


def joined(spans: Iterable[Span]) -> list[Span]:
    """The same instants as few spans, in order; empty ones are dropped."""
    found: list[Span] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def holidays_of(
    calendar: HolidayCalendar | None, start: datetime, end: datetime
) -> Collection[date]:
    """Public holidays around [start, end)."""
    if calendar is None:
        return ()
    return frozenset().union(
        *(_holidays(calendar, year) for year in range((start - _DAY).year, (end + _DAY).year + 1))
    )


@cache
def _holidays(calendar: HolidayCalendar, year: int) -> frozenset[date]:
    import holidays

    return frozenset(
        holidays.country_holidays(calendar.country, subdiv=calendar.subdivision, years=year)
    )


@cache
def _offsets(time_zone: str) -> tuple[tuple[datetime, ...], tuple[timedelta, ...]]:
    """Since when which offset east of UTC is in force."""
    found = time_zones.offsets(time_zone)
    return (
        tuple(one.valid_from for one in found),
        tuple(timedelta(seconds=one.seconds) for one in found),
    )


def _offsets_within(
    time_zone: str, start: datetime, end: datetime
) -> Iterator[tuple[datetime, datetime, timedelta]]:
    """Parts of [start, end) with one offset each."""
    since, offsets = _offsets(time_zone)
    place = max(bisect_right(since, start) - 1, 0)
    while start < end:
        until = min(since[place + 1], end) if place + 1 < len(since) else end
        yield start, until, offsets[place]
        start, place = until, place + 1


def _hours_at(
    hours: Sequence[WorkingTime],
    offset: timedelta,
    days_off: Collection[date],
    since: datetime,
    until: datetime,
) -> Iterator[Span]:
    """Working times within [since, until), where clocks are `offset` ahead of UTC."""
    day = (since + offset).date()
    last = (until + offset).date()
    while day <= last:
        if day not in days_off:
            midnight = datetime(day.year, day.month, day.day, tzinfo=UTC) - offset
            for one in hours:
                if one.weekday == day.isoweekday():
                    first = max(midnight + timedelta(minutes=one.start), since)
                    end = min(midnight + timedelta(minutes=one.end), until)
                    if first < end:
                        yield first, end
        day += _DAY


def _aligned(
    time_zone: str, first: datetime, last: datetime, step: timedelta
) -> Iterator[datetime]:
    """Instants of [first, last] at which the local minutes since midnight are a multiple of `step`."""
    for since, until, offset in _offsets_within(time_zone, first, last + timedelta.resolution):
        wall = since + offset
        midnight = wall.replace(hour=0, minute=0, second=0, microsecond=0)
        # A step divides a day, so the grid goes on over midnight.
        at = midnight + -((midnight - wall) // step) * step - offset
        while at < until:
            yield at
            at += step

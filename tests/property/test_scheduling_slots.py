"""Slots against a clock on the wall that is looked at every minute: all zones, through every change of clocks from 2024 to 2028."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion import time_zones
from ingestion.scheduling.availability import Span, free_slots, holidays_of, working_times
from ingestion.scheduling.hosts import HolidayCalendar, Host, MeetingType, WorkingTime

FIRST, LAST = datetime(2024, 1, 1, tzinfo=UTC), datetime(2029, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
# The night of a change, hours of the day around it, a day without a break, and hours that begin and end within what is left out or comes twice.
PATTERNS = (
    ((0, 1_440),),
    ((540, 1_020),),
    ((0, 95), (125, 185), (1_410, 1_440)),
    ((145, 170), (1_385, 1_440)),
)


def meeting(minutes: int, step: int, before: int = 0, after: int = 0) -> MeetingType:
    lengths = [timedelta(minutes=each) for each in (minutes, step, before, after)]
    return MeetingType(
        "intro",
        "Intro",
        *lengths,
        timedelta(0),
        timedelta(days=366),
        None,
        timedelta(minutes=10),
        "Intro",
    )


def host(zone: str, pattern: tuple[tuple[int, int], ...], **more: HolidayCalendar) -> Host:
    hours = tuple(WorkingTime(day, *each) for day in range(1, 8) for each in pattern)
    return Host("rep", "rep@example.com", "Rep", zone, hours, **more)


class Wall:
    """A clock of `zone`, read at every minute of [start, end): it knows zoneinfo and nothing of ours."""

    def __init__(self, zone: str, start: datetime, end: datetime) -> None:
        place = ZoneInfo(zone)
        count = (end - start) // MINUTE
        self.at = [start + minute * MINUTE for minute in range(count)]
        self.shows = [at.astimezone(place) for at in self.at]

    def working(self, pattern: tuple[tuple[int, int], ...], days_off: set[date]) -> list[bool]:
        return [
            local.date() not in days_off
            and any(first <= local.hour * 60 + local.minute < last for first, last in pattern)
            for local in self.shows
        ]

    def slots(
        self, pattern: tuple[tuple[int, int], ...], kind: MeetingType, taken: list[Span], days_off: set[date],
    ) -> list[datetime]:  # fmt: skip
        works = self.working(pattern, days_off)
        length, step = kind.duration // MINUTE, kind.step // MINUTE
        found = []
        for minute, (at, local) in enumerate(zip(self.at, self.shows, strict=True)):
            if (local.hour * 60 + local.minute) % step or minute + length > len(works):
                continue
            span = (at - kind.buffer_before, at + kind.duration + kind.buffer_after)
            if all(works[minute : minute + length]) and not any(
                first < span[1] and span[0] < last for first, last in taken
            ):
                found.append(at)
        return found


def changes(zone: str) -> Iterator[datetime]:
    for one in time_zones.offsets(zone):
        if FIRST < one.valid_from < LAST:
            yield one.valid_from


def require_the_same(zone: str, at: datetime, kinds: list[MeetingType]) -> None:
    start, end = at - timedelta(hours=26), at + timedelta(hours=26)
    wall = Wall(zone, start, end)
    for pattern in PATTERNS:
        worked = working_times(host(zone, pattern).working_hours, zone, (), start, end)
        walked = wall.working(pattern, set())
        inside = [any(first <= minute < last for first, last in worked) for minute in wall.at]
        assert inside == walked, (zone, at, pattern)
        for kind in kinds:
            # A slot may end after the window: what begins before its last length is compared.
            until = end - kind.duration
            ours = free_slots(host(zone, pattern), kind, [], start, start, until)
            theirs = [one for one in wall.slots(pattern, kind, [], set()) if one < until]
            assert ours == theirs, (zone, at, pattern, kind.duration)


def test_slots_are_those_of_the_clock_through_each_published_change(shared_data: Path) -> None:
    published = json.loads((shared_data / "calendar" / "tz_transitions.json").read_bytes())
    assert len(published) == 148
    for one in published:
        require_the_same(one["zone"], datetime.fromisoformat(one["utc"]), [meeting(30, 15)])


@pytest.mark.prove
def test_slots_are_those_of_the_clock_in_every_zone_through_every_change() -> None:
    counted = 0
    for zone in sorted(time_zones.names()):
        for at in changes(zone):
            require_the_same(zone, at, [meeting(30, 15), meeting(60, 60), meeting(45, 20)])
            counted += 1
    assert counted > 1_500


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_slots_keep_out_of_taken_times_by_their_buffers_and_off_holidays(
    data: st.DataObject,
) -> None:
    zone = data.draw(st.sampled_from(sorted(time_zones.names())))
    start = data.draw(st.datetimes(datetime(2024, 1, 1), datetime(2028, 12, 1))).replace(
        second=0, microsecond=0, tzinfo=UTC
    )
    end = start + timedelta(days=3)
    minutes = st.integers(1, 90)
    kind = meeting(
        data.draw(minutes),
        data.draw(st.sampled_from([5, 10, 15, 20, 30, 60, 90])),
        data.draw(st.integers(0, 40)),
        data.draw(st.integers(0, 40)),
    )
    taken = [
        (start + MINUTE * at, start + MINUTE * (at + data.draw(minutes)))
        for at in data.draw(st.lists(st.integers(-60, 4_300), max_size=8))
    ]
    pattern = data.draw(st.sampled_from(PATTERNS))
    calendar = data.draw(
        st.sampled_from([None, HolidayCalendar("US"), HolidayCalendar("DE", "BY")])
    )
    days_off = set(holidays_of(calendar, start, end))
    of = host(zone, pattern) if calendar is None else host(zone, pattern, holidays=calendar)
    until = end - kind.duration
    ours = free_slots(of, kind, taken, start, start, until)
    wall = Wall(zone, start, end)
    assert ours == [one for one in wall.slots(pattern, kind, taken, days_off) if one < until]

"""When a host can be met: notice, horizon, caps, holidays, and what becomes of hours that are left out or come twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ingestion import time_zones
from ingestion.scheduling.availability import free_slots, without_full_days, working_times
from ingestion.scheduling.hosts import HolidayCalendar, Host, MeetingType, WorkingTime

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
INTRO = MeetingType(
    "intro", "Intro", 30 * MINUTE, 30 * MINUTE, timedelta(0), timedelta(0), timedelta(0),
    timedelta(days=60), None, 10 * MINUTE, "Intro",
)  # fmt: skip
# A Monday.
MONDAY = datetime(2026, 6, 1, tzinfo=UTC)


def working(zone: str, *hours: tuple[int, int], days: range = range(1, 8)) -> Host:
    times = tuple(WorkingTime(day, *each) for day in days for each in hours)
    return Host("rep", "rep@example.com", "Rep", zone, times)


def shown(host: Host, start: datetime, end: datetime, kind: MeetingType = INTRO) -> list[str]:
    zone = time_zones.zone(host.time_zone)
    found = free_slots(host, kind, [], start, start, end)
    return [f"{at.astimezone(zone):%d %H:%M%z}" for at in found]


def test_hours_that_begin_in_what_is_left_out_begin_when_it_is_over() -> None:
    # New York, 8 March 2026: 02:00 to 03:00 does not come.
    host = working("America/New_York", (150, 240))
    start = datetime(2026, 3, 8, 5, tzinfo=UTC)
    assert shown(host, start, start + 6 * HOUR) == ["08 03:00-0400", "08 03:30-0400"]


def test_hours_that_come_twice_are_worked_twice_and_each_slot_says_which() -> None:
    host = working("America/New_York", (60, 120))
    start = datetime(2026, 11, 1, 4, tzinfo=UTC)
    assert shown(host, start, start + 6 * HOUR) == [
        "01 01:00-0400", "01 01:30-0400", "01 01:00-0500", "01 01:30-0500",
    ]  # fmt: skip


def test_a_meeting_goes_over_the_hour_that_comes_twice_without_a_break() -> None:
    host = working("America/New_York", (60, 120))
    long = replace(INTRO, duration=2 * HOUR)
    start = datetime(2026, 11, 1, 4, tzinfo=UTC)
    assert shown(host, start, start + 6 * HOUR, long) == ["01 01:00-0400"]


def test_hours_that_end_within_what_comes_twice_are_two_pieces() -> None:
    found = working_times(
        [WorkingTime(7, 0, 90)], "America/New_York", (),
        datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 2, tzinfo=UTC),
    )  # fmt: skip
    assert [(f"{a:%H:%M}", f"{b:%H:%M}") for a, b in found] == [
        ("04:00", "05:30"),
        ("06:00", "06:30"),
    ]


def test_slots_begin_on_the_clock_of_zones_that_are_half_an_hour_off() -> None:
    host = working("Asia/Kathmandu", (540, 600))
    assert shown(host, MONDAY, MONDAY + 24 * HOUR) == ["01 09:00+0545", "01 09:30+0545"]


def test_days_join_at_midnight() -> None:
    host = working("Europe/Berlin", (1_380, 1_440), (0, 60))
    found = shown(host, MONDAY + 12 * HOUR, MONDAY + 36 * HOUR, replace(INTRO, duration=2 * HOUR))
    assert found == ["01 23:00+0200"]


def test_nothing_begins_within_the_notice_nor_beyond_the_horizon() -> None:
    host = working("UTC", (0, 1_440))
    kind = replace(INTRO, notice=2 * HOUR, horizon=4 * HOUR)
    now = MONDAY + 10 * MINUTE
    found = free_slots(host, kind, [], now, MONDAY, MONDAY + timedelta(days=2))
    assert found[0] == MONDAY + 2.5 * HOUR
    assert found[-1] == MONDAY + 4 * HOUR


def test_a_buffer_may_touch_what_is_taken_and_not_reach_into_it() -> None:
    host = working("UTC", (540, 720))
    kind = replace(INTRO, buffer_before=15 * MINUTE, buffer_after=30 * MINUTE)
    taken = [(MONDAY + 10.5 * HOUR, MONDAY + 10.75 * HOUR)]
    found = free_slots(host, kind, taken, MONDAY, MONDAY, MONDAY + 24 * HOUR)
    assert [f"{at:%H:%M}" for at in found] == ["09:00", "09:30", "11:00", "11:30"]


def test_a_long_meeting_that_began_before_still_takes_the_time() -> None:
    host = working("UTC", (540, 600))
    taken = [(MONDAY - 24 * HOUR, MONDAY + 48 * HOUR), (MONDAY + HOUR, MONDAY + 2 * HOUR)]
    assert free_slots(host, INTRO, taken, MONDAY, MONDAY, MONDAY + 24 * HOUR) == []


def test_holidays_are_those_of_the_subdivision() -> None:
    # Epiphany, a Tuesday: a holiday of Bavaria and not of Berlin.
    day = datetime(2026, 1, 6, tzinfo=UTC)
    bavarian = replace(working("UTC", (540, 600)), holidays=HolidayCalendar("DE", "BY"))
    prussian = replace(bavarian, holidays=HolidayCalendar("DE", "BE"))
    assert shown(bavarian, day, day + 24 * HOUR) == []
    assert len(shown(prussian, day, day + 24 * HOUR)) == 2


def test_a_full_day_of_the_hosts_own_zone_takes_no_more() -> None:
    host = working("Pacific/Auckland", (0, 1_440))
    kind = replace(INTRO, daily_cap=1)
    slots = free_slots(host, kind, [], MONDAY, MONDAY, MONDAY + 48 * HOUR)
    # 11:30 UTC is half past eleven at night there: the day has half an hour left.
    left = without_full_days(slots, host, kind, [MONDAY + 11.5 * HOUR])
    assert left[0] == MONDAY + 12 * HOUR
    assert without_full_days(slots, host, replace(kind, daily_cap=2), [MONDAY]) == slots


def test_an_unknown_zone_is_named() -> None:
    with pytest.raises(ValueError, match="Mars/Olympus"):
        working_times([WorkingTime(1, 0, 60)], "Mars/Olympus", (), MONDAY, MONDAY + HOUR)

"""What an iCalendar object says takes place: rules, exceptions, zones."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion import time_zones
from ingestion.connectors.busy import Interval, merged
from ingestion.connectors.caldav.busy import _reported
from ingestion.connectors.caldav.occurrences import expand, iana_name

ALWAYS = (datetime(1990, 1, 1, tzinfo=UTC), datetime(2250, 1, 1, tzinfo=UTC))
YEAR = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))


def calendar(*components: str) -> str:
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//test//EN",
        *components,
        "END:VCALENDAR",
        "",
    ]
    return "\n".join(lines).replace("\n", "\r\n")


def event(*lines: str) -> str:
    return "\n".join(["BEGIN:VEVENT", "UID:u@x", "DTSTAMP:20260101T000000Z", *lines, "END:VEVENT"])


def shown(*components: str, zone: str = "Europe/Berlin", window: Any = YEAR) -> list[str]:
    _, found = expand(calendar(*components), zone, window)
    return [f"{one['start']} {one['end']} {one['status']}" for one in found]


def test_the_published_rules_give_their_dates(shared_data: Path) -> None:
    """dateutil's own suite, each as an event of New York: the clock goes on through its changes."""
    vectors = json.loads((shared_data / "calendar" / "rrules.json").read_bytes())
    assert len(vectors) == 117
    zone = time_zones.zone("America/New_York")
    wrong = []
    for vector in vectors:
        text = "\n".join(vector["text"].split())
        if vector["kw"]:
            text = f"DTSTART:{datetime.fromisoformat(vector['kw']['dtstart']):%Y%m%dT%H%M%S}\nRRULE:{text}"
        _, found = expand(calendar(event(text)), "America/New_York", ALWAYS)
        told = [
            datetime.fromisoformat(one["start"]).astimezone(zone).replace(tzinfo=None).isoformat()
            for one in found
        ]
        if told != vector["expected"]:
            wrong.append((vector["test"], told))
    assert wrong == []


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param(
            ["DTSTART;TZID=Europe/Berlin:20260325T090000", "DURATION:PT1H", "RRULE:FREQ=WEEKLY;COUNT=2"],
            ["2026-03-25T08:00:00Z 2026-03-25T09:00:00Z", "2026-04-01T07:00:00Z 2026-04-01T08:00:00Z"],
            id="nine o'clock stays nine o'clock",
        ),
        pytest.param(
            ["DTSTART;TZID=Europe/Berlin:20260329T023000", "DURATION:PT1H"],
            ["2026-03-29T01:30:00Z 2026-03-29T02:30:00Z"],
            id="a time that is left out is read with the offset before",
        ),
        pytest.param(
            ["DTSTART;TZID=Europe/Berlin:20261025T023000", "DTEND;TZID=Europe/Berlin:20261025T033000"],
            ["2026-10-25T00:30:00Z 2026-10-25T02:30:00Z"],
            id="of a time that comes twice the first is meant",
        ),
        pytest.param(
            ["DTSTART;VALUE=DATE:20260329", "DTEND;VALUE=DATE:20260330"],
            ["2026-03-28T23:00:00Z 2026-03-29T22:00:00Z"],
            id="a day of 23 hours",
        ),
        pytest.param(
            ["DTSTART;VALUE=DATE:20260401"], ["2026-03-31T22:00:00Z 2026-04-01T22:00:00Z"], id="a day without end"
        ),
        pytest.param(
            ["DTSTART:20260401T090000", "DURATION:P1D"],
            ["2026-04-01T07:00:00Z 2026-04-02T07:00:00Z"],
            id="a floating time is the calendar's",
        ),
        pytest.param(
            ["DTSTART;TZID=Europe/Berlin:20260401T090000", "RRULE:FREQ=DAILY;UNTIL=20260403T070000Z"],
            [f"2026-04-0{day}T07:00:00Z 2026-04-0{day}T07:00:00Z" for day in (1, 2, 3)],
            id="UNTIL is in UTC, and included",
        ),
        pytest.param(
            ["DTSTART;TZID=Europe/Berlin:20260401T090000", "RRULE:FREQ=DAILY;COUNT=3", "EXDATE:20260402T070000Z"],
            [f"2026-04-0{day}T07:00:00Z 2026-04-0{day}T07:00:00Z" for day in (1, 3)],
            id="EXDATE in another zone",
        ),
        pytest.param(
            ["DTSTART;TZID=Europe/Berlin:20260401T090000", "RRULE:FREQ=DAILY;COUNT=3", "EXDATE;VALUE=DATE:20260402"],
            [f"2026-04-0{day}T07:00:00Z 2026-04-0{day}T07:00:00Z" for day in (1, 3)],
            id="EXDATE as a day, as Outlook writes it",
        ),
        pytest.param(
            ["DTSTART;TZID=W. Europe Standard Time:20260401T090000"],
            ["2026-04-01T07:00:00Z 2026-04-01T07:00:00Z"],
            id="Windows' name of a zone",
        ),
        pytest.param(
            ["DTSTART:20260401T090000Z", "RDATE;VALUE=PERIOD:20260405T100000Z/PT1H", "DURATION:PT30M"],
            ["2026-04-01T09:00:00Z 2026-04-01T09:30:00Z", "2026-04-05T10:00:00Z 2026-04-05T10:30:00Z"],
            id="RDATE adds",
        ),
    ],
)  # fmt: skip
def test_an_event_takes_place_when_its_text_says(lines: list[str], expected: list[str]) -> None:
    assert shown(event(*lines)) == [f"{one} CONFIRMED" for one in expected]


def test_overrides_move_and_call_off_occurrences_and_may_last() -> None:
    rule = [
        "DTSTART;TZID=Europe/Berlin:20260401T090000",
        "DURATION:PT1H",
        "RRULE:FREQ=WEEKLY;COUNT=5",
    ]
    moved = [
        "RECURRENCE-ID;TZID=Europe/Berlin:20260408T090000",
        "DTSTART;TZID=Europe/Berlin:20260409T100000",
        "DURATION:PT1H",
    ]
    off = [
        "RECURRENCE-ID:20260415T070000Z",
        "DTSTART;TZID=Europe/Berlin:20260415T090000",
        "STATUS:CANCELLED",
        "DURATION:PT1H",
    ]
    lasting = [
        "RECURRENCE-ID;RANGE=THISANDFUTURE:20260422T070000Z",
        "DTSTART;TZID=Europe/Berlin:20260422T140000",
        "DURATION:PT2H",
    ]
    _, found = expand(
        calendar(event(*rule), event(*moved), event(*off), event(*lasting)), "UTC", YEAR
    )
    assert [(one["recurrence_id"], one["start"], one["end"][11:16], one["status"]) for one in found] == [
        ("20260401T070000Z", "2026-04-01T07:00:00Z", "08:00", "CONFIRMED"),
        ("20260408T070000Z", "2026-04-09T08:00:00Z", "09:00", "CONFIRMED"),
        ("20260415T070000Z", "2026-04-15T07:00:00Z", "08:00", "CANCELLED"),
        ("20260422T070000Z", "2026-04-22T12:00:00Z", "14:00", "CONFIRMED"),
        ("20260429T070000Z", "2026-04-29T12:00:00Z", "14:00", "CONFIRMED"),
    ]  # fmt: skip


def test_an_invitation_to_one_occurrence_stands_without_the_series() -> None:
    only = ["RECURRENCE-ID:20260415T070000Z", "DTSTART:20260415T080000Z", "DURATION:PT1H"]
    uid, [found] = expand(calendar(event(*only)), "UTC", YEAR)
    assert (uid, found["recurrence_id"], found["start"]) == (
        "u@x",
        "20260415T070000Z",
        "2026-04-15T08:00:00Z",
    )


OWN_ZONE = """BEGIN:VTIMEZONE
TZID:Our office
BEGIN:STANDARD
DTSTART:20001029T030000
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
END:STANDARD
BEGIN:DAYLIGHT
DTSTART:20000326T020000
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
END:DAYLIGHT
END:VTIMEZONE"""


def test_a_zone_of_the_object_s_own_making_is_the_one_it_is_like() -> None:
    lines = ["DTSTART;TZID=Our office:20260701T090000", "DURATION:PT1H"]
    _, [found] = expand(calendar(OWN_ZONE, event(*lines)), "Europe/Vienna", YEAR)
    assert (found["start"], found["time_zone"]) == ("2026-07-01T07:00:00Z", "Europe/Vienna")
    odd = OWN_ZONE.replace("+0200", "+0217")
    _, [found] = expand(calendar(odd, event(*lines)), "Europe/Vienna", YEAR)
    assert (found["start"], found["time_zone"]) == ("2026-07-01T06:43:00Z", None)


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("Europe/Berlin", "Europe/Berlin"),
        ("US/Pacific", "US/Pacific"),
        ("/freeassociation.sourceforge.net/Europe/Berlin", "Europe/Berlin"),
        ("/citadel.org/20260101_1/America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"),
        ("Eastern Standard Time", "America/New_York"),
        ("Mars/Phobos", None),
        ("", None),
    ],
)  # fmt: skip
def test_a_zone_s_name_is_found_behind_what_vendors_write(told: str, name: str | None) -> None:
    assert iana_name(told) == name


def test_attendees_and_organiser_are_told_with_their_answers() -> None:
    lines = [
        "DTSTART:20260401T090000Z", "TRANSP:TRANSPARENT", "ORGANIZER;CN=Ada:mailto:Ada@Ours.example",
        "ATTENDEE;PARTSTAT=TENTATIVE;CUTYPE=INDIVIDUAL:mailto:guest@theirs.example",
        "ATTENDEE;CUTYPE=ROOM;EMAIL=room@ours.example:urn:uuid:1",
    ]  # fmt: skip
    _, [found] = expand(calendar(event(*lines)), "UTC", YEAR)
    assert found["organizer"] == "ada@ours.example"
    assert found["transparency"] == "TRANSPARENT"
    assert found["attendees"] == [
        {"email": "guest@theirs.example", "partstat": "TENTATIVE", "cutype": "INDIVIDUAL"},
        {"email": "room@ours.example", "partstat": "NEEDS-ACTION", "cutype": "ROOM"},
    ]


@given(
    zone=st.sampled_from(sorted(time_zones.names())),
    day=st.dates(date(2024, 1, 1), date(2030, 1, 1)),
    hour=st.integers(0, 23),
    count=st.integers(1, 60),
)
def test_a_daily_event_is_at_the_same_clock_time_in_any_zone(
    zone: str, day: date, hour: int, count: int
) -> None:
    text = calendar(
        event(f"DTSTART;TZID={zone}:{day:%Y%m%d}T{hour:02}0000", f"RRULE:FREQ=DAILY;COUNT={count}")
    )
    _, found = expand(text, "UTC", ALWAYS)
    first = datetime.combine(day, datetime.min.time()) + timedelta(hours=hour)
    walls = [first + timedelta(days=number) for number in range(count)]
    assert [one["start"] for one in found] == sorted(
        wall.replace(tzinfo=time_zones.zone(zone))
        .astimezone(UTC)
        .isoformat()
        .replace("+00:00", "Z")
        for wall in walls
    )


def test_what_a_server_reports_as_free_or_tentative_is_that() -> None:
    text = calendar(
        "BEGIN:VFREEBUSY", "DTSTAMP:20260401T000000Z",
        "FREEBUSY:20260401T090000Z/PT1H,20260401T120000Z/20260401T123000Z",
        "FREEBUSY;FBTYPE=BUSY-TENTATIVE:20260401T093000Z/20260401T110000Z",
        "FREEBUSY;FBTYPE=FREE:20260401T140000Z/PT1H", "END:VFREEBUSY",
    )  # fmt: skip
    start = datetime(2026, 4, 1, tzinfo=UTC)
    found = merged(_reported(text, "ada"), start, start + timedelta(days=1))
    assert [(f"{one.start:%H:%M}", f"{one.end:%H:%M}", one.is_tentative) for one in found] == [
        ("09:00", "10:00", False), ("10:00", "11:00", True), ("12:00", "12:30", False),
    ]  # fmt: skip


MINUTES = st.integers(0, 300)


@given(st.lists(st.tuples(MINUTES, MINUTES, st.booleans()), max_size=12))
def test_merged_intervals_say_of_each_minute_what_the_given_ones_say(
    given_ones: list[tuple[int, int, bool]],
) -> None:
    start = datetime(2026, 4, 1, tzinfo=UTC)
    intervals = [
        Interval("ada", start + timedelta(minutes=one), start + timedelta(minutes=other), tentative)
        for one, other, tentative in given_ones
    ]
    bounds = (start + timedelta(minutes=20), start + timedelta(minutes=280))
    found = merged(intervals, *bounds)
    assert all(one.end <= other.start for one, other in pairwise(found))
    for minute in range(300):
        at = start + timedelta(minutes=minute)
        told = {one.is_tentative for one in intervals if one.start <= at < one.end}
        inside = bounds[0] <= at < bounds[1]
        expected = None if not told or not inside else min(told)
        answers = [one.is_tentative for one in found if one.start <= at < one.end]
        assert answers == ([] if expected is None else [expected]), minute

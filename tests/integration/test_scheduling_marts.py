"""Bookings in the warehouse: one meeting each, though the rep's calendar is polled as well."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ingestion.landing.polls import poll
from tests.integration.scheduling_desk import (
    GUEST,
    MINUTE,
    TOMORROW,
    desk,
    in_calendars,
    key,
    wish,
)
from tests.radicale_server import WRITING_RIGHTS, radicale

MEETINGS = """
    select meetings.system, meetings.status, people.email, reps.email, meetings.starts_at
    from marts.fct_meetings as meetings
    left join marts.dim_people as people using (person_id) left join marts.dim_reps as reps using (rep_id)
    order by meetings.starts_at
"""


def test_a_booking_is_one_meeting_with_its_person_and_rep_and_a_rep_can_call_it_off_in_the_calendar(
    open_warehouse: Callable[..., Any], tmp_path: Path
) -> None:
    with radicale(tmp_path / "radicale", WRITING_RIGHTS) as server:
        home = open_warehouse()
        settings = server.settings(home.settings.home)
        house = type(home)(settings)
        with desk(settings, in_calendars("caldav"), lambda: datetime.now(UTC)) as bookings:
            first = bookings.book(wish(), key("a"), "test").booking
            bookings.book(wish(TOMORROW + 60 * MINUTE), key("b"), "test")
            bookings.reschedule(first.booking_id, TOMORROW + 3 * 60 * MINUTE, None, "test")
        poll(settings, "caldav")
        house.transform(datetime.now(UTC) + timedelta(minutes=1))
        guest, rep = GUEST.email, "ada@ours.example"
        assert house.rows(MEETINGS) == [
            ("handoff", "booked", guest, rep, TOMORROW + 60 * MINUTE),
            ("handoff", "rescheduled", guest, rep, TOMORROW + 3 * 60 * MINUTE),
        ]
        booked = "select count(*) from marts.fct_activities where activity_type = 'meeting_booked' and system = 'handoff'"
        assert house.rows(booked) == [(2,)]
        server.delete("ada", f"meetings/{first.booking_id}-handoff.ics")
        poll(settings, "caldav")
        house.transform(datetime.now(UTC) + timedelta(minutes=2))
        assert [row[1] for row in house.rows(MEETINGS)] == ["booked", "cancelled"]

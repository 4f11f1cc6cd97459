"""Polled bookings and ad spend in the warehouse: told by webhook too they count once, and batch by
batch they come to what a rebuild makes of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from ingestion.connectors import catalog
from ingestion.landing.polls import poll
from ingestion.sandbox.app import create_app
from ingestion.sandbox.credentials import environment
from tests.conftest import Warehouse
from tests.serving import served

ANCHOR = datetime(2026, 4, 1, tzinfo=UTC)
SYSTEMS = ("calendly", "calcom", "ad_spend")
MEETINGS = """
select system, system_meeting_id, status, starts_at, ends_at, time_zone, person_id is not null, booked_at
from marts.fct_meetings order by all
"""
BOOKED = "select system, activity_type, occurred_at from marts.fct_activities order by all"
COSTS = "select sum(cost_usd) from marts.dim_campaigns"


def webhooks_of(world: Any) -> list[dict[str, Any]]:
    """What both tools would have sent of all that stands in them."""
    events: list[dict[str, Any]] = []

    def send(system: str, body: dict[str, Any]) -> None:
        events.extend(catalog.webhook(system).to_events(orjson.dumps(body), ANCHOR))

    for invitee in world.calendly["invitees"]:
        send("calendly", {"event": "invitee.created", "payload": invitee})
        if invitee["status"] == "canceled":
            send("calendly", {"event": "invitee.canceled", "payload": invitee})
        elif invitee["no_show"]:
            send("calendly", {"event": "invitee_no_show.created", "payload": invitee})
    for booking in world.calcom["bookings"]:
        payload = {
            "uid": booking["uid"],
            "startTime": booking["start"],
            "endTime": booking["end"],
            "organizer": booking["hosts"][0],
            "attendees": [
                {**one, "noShow": one["absent"]} for one in booking["attendees"]
            ],
        }  # fmt: skip
        moved_from = booking.get("rescheduledFromUid")
        if moved_from:
            payload["rescheduleUid"] = moved_from
        first = "BOOKING_RESCHEDULED" if moved_from else "BOOKING_CREATED"
        status = booking["status"]
        triggers = {"pending": ["BOOKING_REQUESTED"], "rejected": ["BOOKING_REJECTED"]}.get(
            status, [first]
        )
        if status == "cancelled":
            triggers.append("BOOKING_CANCELLED")
        if status == "accepted" and datetime.fromisoformat(booking["end"]) <= ANCHOR:
            triggers.append("MEETING_ENDED")
            if booking["attendees"][0]["absent"]:
                triggers.append("BOOKING_NO_SHOW_UPDATED")
        times = {
            "BOOKING_CANCELLED": booking["updatedAt"],
            "BOOKING_REJECTED": booking["updatedAt"],
            "BOOKING_NO_SHOW_UPDATED": booking["end"],
            "MEETING_ENDED": booking["end"],
        }
        for trigger in triggers:
            at = times.get(trigger, booking["createdAt"])
            send("calcom", {"triggerEvent": trigger, "createdAt": at, "payload": payload})
    return events


def pointed_at(url: str) -> dict[str, str]:
    """Settings for the three systems of a sandbox."""
    names = {
        name.removeprefix("HANDOFF_").lower(): value for name, value in environment(url).items()
    }
    return {name: value for name, value in names.items() if name.startswith(SYSTEMS)}


def test_a_booking_told_by_poll_and_webhook_counts_once(
    open_warehouse: Callable[..., Warehouse],
) -> None:
    app = create_app(7, ANCHOR)
    with served(app) as url:
        warehouse = open_warehouse(**pointed_at(url))
        for system in SYSTEMS:
            poll(warehouse.settings, system)
    warehouse.transform(ANCHOR)
    meetings, booked = warehouse.rows(MEETINGS), warehouse.rows(BOOKED)
    statuses = {(row[0], row[2]) for row in meetings}
    assert statuses >= {
        ("calendly", "booked"), ("calendly", "no_show"), ("calendly", "cancelled"),
        ("calendly", "rescheduled"), ("calcom", "held"), ("calcom", "no_show"),
        ("calcom", "cancelled"), ("calcom", "booked"),
    }  # fmt: skip
    assert all(row[6] for row in meetings)
    assert warehouse.rows("select count(*) from marts.fct_meetings where rep_id is null") == [(0,)]
    warehouse.append(webhooks_of(app.state.world))
    warehouse.transform(ANCHOR + timedelta(minutes=1))
    assert warehouse.rows(MEETINGS) == meetings
    assert warehouse.rows(BOOKED) == booked


@pytest.mark.prove
def test_polls_batch_by_batch_come_to_a_rebuild_and_to_what_webhooks_alone_say(
    open_warehouse: Callable[..., Warehouse],
) -> None:
    app = create_app(7, ANCHOR)
    world = app.state.world
    with served(app) as url:
        warehouse = open_warehouse(**pointed_at(url))
        for system in SYSTEMS:
            poll(warehouse.settings, system)
        warehouse.transform(ANCHOR)
        meetings, booked = warehouse.rows(MEETINGS), warehouse.rows(BOOKED)
        [(spent,)] = warehouse.rows(COSTS)

        told = open_warehouse()
        told.append(webhooks_of(world))
        told.transform(ANCHOR)
        assert told.rows(MEETINGS) == meetings
        assert told.rows(BOOKED) == booked

        # What comes later: a mark of absence, a cost corrected, a campaign gone from its day.
        booking = next(row for row in world.calcom["bookings"] if row["status"] == "accepted")
        booking["attendees"][0]["absent"] = True
        booking["updatedAt"] = (ANCHOR + timedelta(hours=1)).isoformat()
        corrected, gone = world.ad_spend[3], world.ad_spend[4]
        corrected["cost"] += 5
        world.ad_spend.remove(gone)
        for system in SYSTEMS:
            poll(warehouse.settings, system)
    later = ANCHOR + timedelta(hours=2)
    warehouse.transform(later)
    [(status,)] = warehouse.rows(
        "select status from marts.fct_meetings where system_meeting_id = ?", [booking["uid"]]
    )
    assert status == "no_show"
    [(now_spent,)] = warehouse.rows(COSTS)
    assert round(float(now_spent - spent), 2) == round(5 - gone["cost"], 2)
    batches = warehouse.snapshot("marts")
    warehouse.transform(later, full_refresh=True)
    assert warehouse.snapshot("marts") == batches

"""Bookings as canonical events: what the log, and so the warehouse, is told of them; the same change always makes the same event."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ingestion.connectors.delivered import canonical_event, names_of, person_id
from ingestion.scheduling.store import Booking, Change

SYSTEM = "handoff"
SOURCE = "urn:handoff:scheduling"


def events_of(booking: Booking, changes: Sequence[Change]) -> list[dict[str, Any]]:
    """CloudEvents of some changes of a booking: of each the meeting, of the first that booked it the
    contact, the rep and the activity `meeting_booked` as well; of holds nothing.

    Ids are made of the booking and its revision, so that the log takes a repeated one for what it is.
    """
    found: list[dict[str, Any]] = []
    for change in changes:
        if change.state in ("hold", "released"):
            continue
        made = [("meeting", _meeting(booking, change))]
        # Moving a meeting is not asking for a second one.
        if change.state == "booked":
            made = [("rep", _rep(booking)), *made]
            if booking.email is not None:
                made = [("contact", _contact(booking, booking.email)), *made]
                made.append(("activity", _activity(booking, booking.email)))
        found += (
            canonical_event(
                record,
                data,
                event_id=f"{booking.booking_id}:{change.revision}:{record}",
                source=SOURCE,
                time=_rfc3339(change.changed_at),
            )
            for record, data in made
        )
    return found


def _meeting(booking: Booking, change: Change) -> dict[str, Any]:
    return {
        "system": SYSTEM,
        "meeting_id": booking.booking_id,
        "contact_id": None if booking.email is None else person_id(booking.email),
        "rep_id": booking.host_id,
        "starts_at": _rfc3339(change.starts_at),
        "ends_at": _rfc3339(change.ends_at),
        "time_zone": change.time_zone,
        "status": change.state,
    }


def _contact(booking: Booking, email: str) -> dict[str, Any]:
    return {"system": SYSTEM, "record_id": person_id(email), "email": email} | names_of(
        booking.name
    )


def _rep(booking: Booking) -> dict[str, Any]:
    return {
        "system": SYSTEM,
        "record_id": booking.host_id,
        "email": booking.host_email,
        "name": booking.host_name,
    }


def _activity(booking: Booking, email: str) -> dict[str, Any]:
    return {
        "system": SYSTEM,
        "activity_id": booking.booking_id,
        "activity_type": "meeting_booked",
        "contact_id": person_id(email),
        "email": email,
        "custom": {"meeting_type": booking.meeting_type},
    }


def _rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")

"""Calendly's webhooks: its signature and what an invitee's booking means in our records.

Source: https://developer.calendly.com/docs/webhooks/overview
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ingestion.connectors.calendly.records import (
    SYSTEM,
    contact_of,
    last_segment,
    meeting_id,
    rep_of,
)
from ingestion.connectors.delivered import (
    Delivered,
    canonical_event,
    digest_of,
    read_object,
    utm_of,
)
from ingestion.connectors.signature_schemes import TimestampedHeader

SOURCE = "https://api.calendly.com"
# What Calendly's own documentation tolerates.
verify = TimestampedHeader(header="calendly-webhook-signature", window_seconds=180).verify
CREATED, CANCELED = "invitee.created", "invitee.canceled"
NO_SHOW, NO_SHOW_TAKEN_BACK = "invitee_no_show.created", "invitee_no_show.deleted"
EVENTS = (CREATED, CANCELED, NO_SHOW, NO_SHOW_TAKEN_BACK)


def to_events(body: bytes, received_at: datetime) -> list[dict[str, Any]]:
    """CloudEvents of one delivery: of a booking the contact, the rep, the meeting and the activity,
    of any later change the meeting.

    Equal for two subscriptions to one change: who subscribed and when it was sent stay out. A
    HandoffError names what cannot be read by its path in the delivery.
    """
    delivery = read_object(body)
    kind = delivery.chosen("event", EVENTS)
    invitee = delivery.inside("payload")
    scheduled = invitee.inside("scheduled_event")
    contact = contact_of(invitee)
    name = f"{last_segment(invitee.required_text('uri'))}:{kind}:{digest_of(invitee.value)}"
    contact_id, time = contact["record_id"], _time(kind, invitee)
    rep = rep_of(scheduled)
    meeting: dict[str, Any] = {
        "system": SYSTEM,
        "meeting_id": meeting_id(invitee, scheduled),
        "contact_id": contact_id,
        "rep_id": None if rep is None else rep["record_id"],
        "starts_at": scheduled.instant("start_time"),
        "ends_at": scheduled.instant("end_time"),
        "time_zone": invitee.text("timezone"),
        "status": _status(kind, invitee),
    }
    made: list[tuple[str, dict[str, Any]]] = []
    if kind == CREATED:
        made.append(("contact", contact))
    if kind == CREATED and rep is not None:
        made.append(("rep", rep))
    made.append(("meeting", meeting))
    # Moving a meeting is not asking for a second one.
    if kind == CREATED and invitee.text("old_invitee") is None:
        made.append(
            ("activity", _activity(meeting["meeting_id"], contact_id, contact["email"], invitee))
        )
    return [
        canonical_event(record, data, event_id=f"{name}:{record}", source=SOURCE, time=time)
        for record, data in made
    ]


def _time(kind: str, invitee: Delivered) -> str:
    """When it happened by the invitee's own record, as each subscription's delivery has a time of
    its own.
    """
    if kind == CREATED:
        return invitee.instant("created_at")
    if kind == CANCELED and invitee.inside_or_empty("cancellation").text("created_at"):
        return invitee.inside("cancellation").instant("created_at")
    if kind == NO_SHOW and invitee.inside_or_empty("no_show").text("created_at"):
        return invitee.inside("no_show").instant("created_at")
    return invitee.instant("updated_at")


def _status(kind: str, invitee: Delivered) -> str:
    # A reschedule cancels the old invitee and creates a new one, each with a meeting of its own.
    if kind == CREATED:
        return "booked" if invitee.text("old_invitee") is None else "rescheduled"
    # That somebody came after all is more than taking the mark back says.
    return {CANCELED: "cancelled", NO_SHOW: "no_show"}.get(kind, "booked")


def _activity(meeting_id: str, contact_id: str, email: str, invitee: Delivered) -> dict[str, Any]:
    data: dict[str, Any] = {
        "system": SYSTEM,
        "activity_id": meeting_id,
        "activity_type": "meeting_booked",
        "contact_id": contact_id,
        "email": email,
    }
    data |= utm_of(invitee.inside_or_empty("tracking"))
    answers = {
        question: asked.value.get("answer")
        for asked in invitee.objects("questions_and_answers")
        if (question := asked.text("question"))
    }
    return data | ({"custom": answers} if answers else {})

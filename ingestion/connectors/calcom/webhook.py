"""Cal.com's webhooks: its signature and what a booking means in our records.

Source: https://cal.com/docs/developing/guides/automation/webhooks
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ingestion.connectors.calcom.records import SYSTEM, contact_of, rep_of
from ingestion.connectors.delivered import (
    Delivered,
    canonical_event,
    digest_of,
    person_id,
    read_object,
)
from ingestion.connectors.signature_schemes import HeaderHmac

SOURCE = "https://api.cal.com"
# No timestamp is signed: what keeps a recorded delivery harmless is that an event is counted once.
verify = HeaderHmac(
    header="x-cal-signature-256", encoding="hex", never=("no-secret-provided",)
).verify
PING = "PING"
NO_SHOW_UPDATED = "BOOKING_NO_SHOW_UPDATED"
GUEST_ABSENT = "AFTER_GUESTS_CAL_VIDEO_NO_SHOW"
RESCHEDULED = "BOOKING_RESCHEDULED"
ENDED = "MEETING_ENDED"
# What is agreed, called off or over; a request is none of these yet.
STATUSES = {
    "BOOKING_CREATED": "booked",
    RESCHEDULED: "rescheduled",
    "BOOKING_CANCELLED": "cancelled",
    "BOOKING_REJECTED": "cancelled",
    ENDED: "held",
}
TRIGGERS = (PING, *STATUSES, "BOOKING_REQUESTED", NO_SHOW_UPDATED, GUEST_ABSENT)


def to_events(body: bytes, received_at: datetime) -> list[dict[str, Any]]:
    """CloudEvents of one delivery: of a booking the contact, the rep, the meeting and the activity;
    none of the PING that tests a subscription.

    Equal for equal deliveries. A HandoffError names what cannot be read by its path in the
    delivery.
    """
    delivery = read_object(body)
    trigger = delivery.chosen("triggerEvent", TRIGGERS)
    if trigger == PING:
        return []
    # MEETING_ENDED lays the booking itself at the top.
    booking = delivery.inside("payload") if "payload" in delivery.value else delivery
    if trigger in (NO_SHOW_UPDATED, GUEST_ABSENT):
        made = [("meeting", _absence(trigger, booking), delivery.instant("createdAt"))]
    else:
        made = _booking(trigger, delivery, booking)
    name = f"{trigger}:{digest_of(delivery.value)}"
    return [
        canonical_event(record, data, event_id=f"{name}:{record}:{at}", source=SOURCE, time=time)
        for at, (record, data, time) in enumerate(made)
    ]


_Made = tuple[str, dict[str, Any], str]


def _booking(trigger: str, delivery: Delivered, booking: Delivered) -> list[_Made]:
    attendee, rep = _attendee(booking), _rep(booking)
    contact = contact_of(attendee)
    email = contact["email"]
    # A rep marks a no-show while the meeting still runs: what the clock says of its end must not
    # come after that, so it counts from its beginning.
    time = booking.instant("startTime") if trigger == ENDED else delivery.instant("createdAt")
    made: list[_Made] = []
    if trigger in ("BOOKING_CREATED", RESCHEDULED, "BOOKING_REQUESTED"):
        made.append(("contact", contact, time))
    if trigger not in STATUSES:
        return made
    if rep is not None and trigger in ("BOOKING_CREATED", RESCHEDULED):
        made.append(("rep", rep, time))
    meeting: dict[str, Any] = {
        "system": SYSTEM,
        "meeting_id": booking.identifier("uid"),
        "contact_id": contact["record_id"],
        "rep_id": None if rep is None else rep["record_id"],
        "starts_at": booking.instant("startTime"),
        "ends_at": booking.instant("endTime"),
        "time_zone": attendee.text("timeZone"),
        "status": STATUSES[trigger],
    }
    if trigger == ENDED and attendee.value.get("noShow") is True:
        meeting["status"] = "no_show"
    made.append(("meeting", meeting, time))
    moved_from = booking.text("rescheduleUid") if trigger == RESCHEDULED else None
    if moved_from is not None and moved_from != meeting["meeting_id"]:
        # The new time is a booking of its own; the old one takes place no more.
        old = {"system": SYSTEM, "meeting_id": moved_from, "contact_id": contact["record_id"]}
        made.append(("meeting", old | _old_times(booking) | {"status": "cancelled"}, time))
    if trigger == "BOOKING_CREATED":
        made.append(("activity", _activity(meeting, email), time))
    return made


def _absence(trigger: str, booking: Delivered) -> dict[str, Any]:
    """Who came is said of attendees by address; the meeting counts as missed when one did not come."""
    attendees = booking.objects("attendees")
    missed = trigger == GUEST_ABSENT or any(
        attendee.value.get("noShow") is True for attendee in attendees
    )
    uid = "bookingUid" if "bookingUid" in booking.value else "uid"
    data: dict[str, Any] = {
        "system": SYSTEM,
        "meeting_id": booking.identifier(uid),
        "status": "no_show" if missed else "booked",
    }
    emails = [email for attendee in attendees if (email := attendee.text("email"))]
    return data | ({"contact_id": person_id(emails[0])} if emails else {})


def _attendee(booking: Delivered) -> Delivered:
    attendees = booking.objects("attendees")
    if not attendees:
        raise booking.error("attendees", "a booking needs an attendee")
    return attendees[0]


def _rep(booking: Delivered) -> dict[str, Any] | None:
    """The organizer, `user` where MEETING_ENDED lays the booking itself at the top."""
    return rep_of(booking.inside_or_empty("organizer" if "organizer" in booking.value else "user"))


def _old_times(booking: Delivered) -> dict[str, str]:
    times = {"starts_at": "rescheduleStartTime", "ends_at": "rescheduleEndTime"}
    return {field: booking.instant(name) for field, name in times.items() if booking.text(name)}


def _activity(meeting: dict[str, Any], email: str) -> dict[str, Any]:
    return {
        "system": SYSTEM,
        "activity_id": meeting["meeting_id"],
        "activity_type": "meeting_booked",
        "contact_id": meeting["contact_id"],
        "email": email,
    }

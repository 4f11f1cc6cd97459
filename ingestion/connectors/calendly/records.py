"""What a Calendly invitee is in our records, the same whether a webhook or a poll tells of it."""

from __future__ import annotations

from typing import Any

from ingestion.connectors.delivered import Delivered, names_of, person_id, utm_of

SYSTEM = "calendly"


def last_segment(uri: str) -> str:
    """The id at the end of a resource's address."""
    return uri.rstrip("/").rpartition("/")[2] or uri


def meeting_id(invitee: Delivered, scheduled: Delivered) -> str:
    """The scheduled event; of an event for a group one meeting for each invitee, as each can
    cancel.
    """
    event = last_segment(scheduled.required_text("uri"))
    limit = scheduled.inside_or_empty("invitees_counter").value.get("limit")
    if isinstance(limit, int) and limit > 1:
        return f"{event}/{last_segment(invitee.required_text('uri'))}"
    return event


def rep_of(scheduled: Delivered) -> dict[str, Any] | None:
    """The first host of a scheduled event as a rep; None when nobody hosts it."""
    members = scheduled.objects("event_memberships")
    if not members or members[0].text("user") is None:
        return None
    first = members[0]
    rep: dict[str, Any] = {"system": SYSTEM, "record_id": last_segment(first.required_text("user"))}
    found = {"email": first.text("user_email"), "name": first.text("user_name")}
    return rep | {name: value for name, value in found.items() if value is not None}


def contact_of(invitee: Delivered) -> dict[str, Any]:
    """The invitee as a contact; Calendly has no id of a person, so the address makes one."""
    email = invitee.required_text("email")
    data: dict[str, Any] = {"system": SYSTEM, "record_id": person_id(email), "email": email}
    first, last = invitee.text("first_name"), invitee.text("last_name")
    if first or last:
        data |= {
            name: value for name, value in (("first_name", first), ("last_name", last)) if value
        }
    else:
        data |= names_of(invitee.text("name"))
    if phone := invitee.text("text_reminder_number"):
        data["phone"] = phone
    return data | utm_of(invitee.inside_or_empty("tracking"))

"""What the people of a Cal.com booking are in our records, the same whether a webhook or a poll
tells of it."""

from __future__ import annotations

from typing import Any

from ingestion.connectors.delivered import Delivered, names_of, person_id

SYSTEM = "calcom"
# What the API writes for a host whose account is gone.
NOBODY = "unknown"


def contact_of(attendee: Delivered) -> dict[str, Any]:
    """An attendee as a contact; Cal.com has no id of a person, so the address makes one."""
    email = attendee.required_text("email")
    contact: dict[str, Any] = {"system": SYSTEM, "record_id": person_id(email), "email": email}
    contact |= names_of(attendee.text("name"))
    if phone := attendee.text("phoneNumber"):
        contact["phone"] = phone
    return contact


def rep_of(host: Delivered) -> dict[str, Any] | None:
    """Who gives the meeting as a rep; None without an address."""
    email = host.text("email")
    if email is None or email == NOBODY:
        return None
    known = host.value.get("id") not in (None, NOBODY)
    rep: dict[str, Any] = {
        "system": SYSTEM,
        "record_id": host.identifier("id") if known else person_id(email),
        "email": email,
    }
    name = host.text("name")
    return rep | ({"name": name} if name else {})

"""Marketo's webhooks: a shared secret, as Marketo cannot sign, and what the body template of our
README means in our records.

Source: https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/webhooks/webhooks
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ingestion import time_zones
from ingestion.connectors.delivered import (
    COUNTRY_CODE,
    Delivered,
    canonical_event,
    digest_of,
    read_object,
)
from ingestion.connectors.signature_schemes import SharedSecret
from ingestion.contracts.instants import is_instant
from ingestion.contracts.registry import enum_document, system_value

SYSTEM = "marketo"
verify = SharedSecret(header="x-handoff-secret").verify
CREATED, UPDATED, DELETED, ACTIVITY = "lead.created", "lead.updated", "lead.deleted", "activity"
EVENTS = (CREATED, UPDATED, DELETED, ACTIVITY)
# Marketo's REST names of the fields that are ours; any other field of `lead` is kept under custom.
FIELDS = {
    "email": "email",
    "firstName": "first_name",
    "lastName": "last_name",
    "phone": "phone",
    "company": "company",
    "title": "job_title",
    "address": "street_address",
    "city": "city",
    "state": "region",
    "postalCode": "postal_code",
    "country": "country",
    "leadSource": "original_source",
    "leadStatus": "lifecycle_stage",
}
# Of the lead, said otherwise.
APART = ("id", "unsubscribed")
ACTIVITY_FIELDS = ("url", "referrer", "campaign_id", "form_id")
YES, NO = ("1", "true", "yes"), ("0", "false", "no", "")


def to_events(body: bytes, received_at: datetime) -> list[dict[str, Any]]:
    """CloudEvents of one delivery: the lead as a contact with a withdrawn consent when it has
    unsubscribed, or an activity of it.

    Equal for equal deliveries. A HandoffError names what cannot be read by its path in the
    delivery.
    """
    delivery = read_object(body)
    kind = delivery.chosen("event", EVENTS)
    source = f"urn:marketo:{delivery.required_text('munchkin_id')}"
    lead = delivery.inside("lead")
    lead_id, time = lead.identifier("id"), _time(delivery)
    name = f"{kind}:{digest_of(delivery.value)}"
    made: list[tuple[str, dict[str, Any], str]] = []
    if kind == ACTIVITY:
        made.append(("activity", _activity(delivery, lead, lead_id, name), ""))
    elif kind == DELETED:
        made.append(("contact", {"system": SYSTEM, "record_id": lead_id, "is_deleted": True}, ""))
    else:
        made.append(("contact", _contact(lead, lead_id), ""))
        if _unsubscribed(lead):
            made.append(("consent", _withdrawn(lead, lead_id, time), f"{lead_id}/email"))
    return [
        canonical_event(
            record, data, event_id=f"{name}:{record}", source=source, time=time, subject=subject
        )
        for record, data, subject in made
    ]


def _time(delivery: Delivered) -> str:
    """Marketo's tokens write an instant without its zone, so the template says which it is."""
    stamp = delivery.required_text("occurred_at")
    if is_instant(stamp):
        return stamp
    zone = delivery.text("time_zone")
    if zone is None:
        raise delivery.error(
            "time_zone", "occurred_at has no zone, so time_zone must name the subscription's"
        )
    try:
        moment = datetime.fromisoformat(stamp)
        local = moment.replace(tzinfo=time_zones.zone(zone))
        if moment.tzinfo is None and len(stamp) >= len("2026-04-01 12:00:00"):
            return local.isoformat()
    except (ValueError, OverflowError):
        pass
    raise delivery.error(
        "occurred_at",
        f"{stamp!r:.80} in {zone!r:.80} is no instant; expected 2026-04-01 12:00:00 and an IANA"
        " zone, or RFC 3339",
        "FIELD_MISMATCH",
    )


def _contact(lead: Delivered, lead_id: str) -> dict[str, Any]:
    data: dict[str, Any] = {"system": SYSTEM, "record_id": lead_id}
    custom: dict[str, Any] = {}
    for name, value in lead.value.items():
        if name in APART:
            continue
        # A token of an empty field is written as empty text.
        text = value.strip() if isinstance(value, str) else value
        text = None if text == "" else text
        field = FIELDS.get(name)
        if field is None:
            custom[name] = text
        elif field == "country" and isinstance(text, str):
            if COUNTRY_CODE.fullmatch(text):
                data[field] = text.upper()
            else:
                custom[name] = text
        elif field == "lifecycle_stage" and isinstance(text, str):
            stage = system_value("lifecycle_stage", SYSTEM, text)
            if stage is None:
                custom[name] = text
            else:
                data[field] = stage
        else:
            data[field] = text
    return data | ({"custom": custom} if custom else {})


def _unsubscribed(lead: Delivered) -> bool:
    value = str(lead.value.get("unsubscribed", "")).strip().lower()
    if value not in (*YES, *NO):
        expected = ", ".join((*YES, *NO[:-1]))
        raise lead.error(
            "unsubscribed",
            f"'unsubscribed' is {value!r:.40}; expected {expected}",
            "FIELD_MISMATCH",
        )
    # A no is the state nobody has changed: it says nothing of a consent.
    return value in YES


def _withdrawn(lead: Delivered, lead_id: str, time: str) -> dict[str, Any]:
    data = {
        "system": SYSTEM,
        "contact_id": lead_id,
        "channel": "email",
        "lawful_basis": "consent",
        "status": "withdrawn",
        "consent_timestamp": time,
        "source": "unsubscribed in Marketo",
    }
    email = lead.text("email")
    return data | ({"email": email} if email else {})


def _activity(delivery: Delivered, lead: Delivered, lead_id: str, name: str) -> dict[str, Any]:
    given = delivery.required_text("activity_type")
    known = enum_document("activity_type")["systems"][SYSTEM]
    if given not in known:
        raise delivery.error(
            "activity_type",
            f"unknown activity_type {given!r:.80}; known: {', '.join(known)}",
            "ENUM_UNKNOWN",
        )
    named = delivery.value.get("activity_id") not in (None, "")
    data: dict[str, Any] = {
        "system": SYSTEM,
        "activity_id": delivery.identifier("activity_id") if named else name,
        "activity_type": known[given],
        "contact_id": lead_id,
    }
    found = {"email": lead.text("email")} | {
        field: delivery.text(field) for field in ACTIVITY_FIELDS
    }
    return data | {field: value for field, value in found.items() if value is not None}

"""Typeform's webhooks: its signature and what a submitted form means in our records.

Source: https://www.typeform.com/developers/webhooks/
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ingestion.connectors.delivered import (
    COUNTRY_CODE,
    Delivered,
    canonical_event,
    digest_of,
    person_id,
    read_object,
    utm_of,
)
from ingestion.connectors.signature_schemes import HeaderHmac
from ingestion.contracts.registry import enum_values

SYSTEM = "typeform"
SOURCE = "https://api.typeform.com"
verify = HeaderHmac(header="typeform-signature", encoding="base64", prefix="sha256=").verify
EVENT_TYPES = ("form_response",)
# A question is one of ours when its reference, or its part of a contact-info block, says so.
CONTACT_FIELDS = ("email", "phone", "first_name", "last_name", "company", "job_title", "country")
PARTS = {"phone_number": "phone"}
# What an answer's type says without a reference: there is one address and one number of a person.
TYPED = {"email": "email", "phone_number": "phone"}
CONSENT = "consent_"


def to_events(body: bytes, received_at: datetime) -> list[dict[str, Any]]:
    """CloudEvents of one response: contact (when an address is given), activity, consents.

    Equal for two webhooks of one form: the delivery's own id stays out. A HandoffError names what
    cannot be read by its path in the delivery.
    """
    delivery = read_object(body)
    delivery.chosen("event_type", EVENT_TYPES)
    response = delivery.inside("form_response")
    token, time = response.identifier("token"), response.instant("submitted_at")
    form_id = response.identifier("form_id")
    fields, consents, others = _answers(response)
    hidden = response.inside_or_empty("hidden")
    for name in CONTACT_FIELDS:
        if name not in fields and (value := hidden.text(name)):
            fields[name] = value
    email = fields.get("email")
    contact_id = None if email is None else person_id(email)
    tags = utm_of(hidden)
    activity: dict[str, Any] = {
        "system": SYSTEM,
        "activity_id": token,
        "activity_type": "form_submit",
        "form_id": form_id,
        **tags,
    }
    made: list[tuple[str, dict[str, Any], str]] = []
    if contact_id is not None:
        made.append(("contact", _contact(contact_id, fields) | tags, ""))
        activity |= {"contact_id": contact_id, "email": email}
    elif consents:
        raise response.error("answers", "a consent needs the address of who gives it")
    if anonymous := hidden.text("anonymous_id"):
        activity["anonymous_id"] = anonymous
    made.append(("activity", activity | ({"custom": others} if others else {}), ""))
    for channel, granted in consents.items():
        consent = {
            "system": SYSTEM,
            "contact_id": contact_id,
            "email": email,
            "channel": channel,
            "lawful_basis": "consent",
            "status": "granted" if granted else "denied",
            "consent_timestamp": time,
            "source": f"form {form_id}",
        }
        made.append(("consent", consent, f"{contact_id}/{channel}"))
    name = f"{token}:{digest_of(response.value)}"
    return [
        canonical_event(
            record, data, event_id=f"{name}:{at}", source=SOURCE, time=time, subject=subject
        )
        for at, (record, data, subject) in enumerate(made)
    ]


def _answers(response: Delivered) -> tuple[dict[str, str], dict[str, bool], dict[str, Any]]:
    """Answers that are fields of a contact, that are consents by channel, and all others by
    reference.
    """
    parts = _parts(response.inside_or_empty("definition"))
    fields: dict[str, str] = {}
    consents: dict[str, bool] = {}
    others: dict[str, Any] = {}
    for answer in response.objects("answers"):
        question = answer.inside("field")
        field_id = question.identifier("id")
        kind = answer.required_text("type")
        reference = question.text("ref") or field_id
        value = _value(answer, kind)
        name = parts.get(field_id, reference)
        if name not in CONTACT_FIELDS and TYPED.get(kind, name) not in fields:
            name = TYPED.get(kind, name)
        if name in CONTACT_FIELDS and isinstance(value, str):
            if value.strip():
                fields[name] = value.strip()
        elif reference.startswith(CONSENT) and isinstance(value, bool):
            # A legal question that names no channel is a yes to its own text, not to being written
            # to.
            channel = reference.removeprefix(CONSENT)
            if channel not in enum_values("consent_channel"):
                known = ", ".join(CONSENT + each for each in enum_values("consent_channel"))
                raise question.error(
                    "ref", f"unknown consent {reference!r:.80}; known: {known}", "ENUM_UNKNOWN"
                )
            consents[channel] = value
        else:
            others[reference] = value
    return fields, consents, others


def _parts(definition: Delivered) -> dict[str, str]:
    """Which field of a contact each question of a contact-info block asks for, by its id."""
    found: dict[str, str] = {}
    for field in definition.objects("fields"):
        for part in field.inside_or_empty("properties").objects("fields"):
            if key := part.text("subfield_key"):
                found[part.identifier("id")] = PARTS.get(key, key)
    return found


def _value(answer: Delivered, kind: str) -> Any:
    """What was answered; choices by their labels."""
    value = answer.value.get(kind)
    if kind in ("choice", "choices") and isinstance(value, dict):
        return value.get("label" if kind == "choice" else "labels") or value.get("other")
    return value


def _contact(contact_id: str, fields: dict[str, str]) -> dict[str, Any]:
    data: dict[str, Any] = {"system": SYSTEM, "record_id": contact_id, **fields}
    country = fields.get("country")
    if country is not None:
        if COUNTRY_CODE.fullmatch(country):
            data["country"] = country.upper()
        else:
            # Free text from a form is no country code; kept where it claims nothing.
            del data["country"]
            data["custom"] = {"country": country}
    return data

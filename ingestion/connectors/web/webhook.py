"""The web site's webhooks: Standard Webhooks signatures and what a submitted form means in our
records.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson

from ingestion.connectors.delivered import COUNTRY_CODE, UTM_FIELDS, person_id
from ingestion.connectors.signature_schemes import StandardWebhooks, standard_key
from ingestion.errors.catalog import HandoffError

SYSTEM = "web"
SOURCE = "urn:handoff:web:forms"
SUBMITTED = "form.submitted"
CONTACT_FIELDS = ("email", "first_name", "last_name", "company", "phone", "country", "job_title")
ACTIVITY_FIELDS = ("form_id", "url", "referrer", "anonymous_id", "campaign_id")
CHANNELS = ("email", "phone", "sms", "post", "crm", "all")
CONSENT_DETAILS = ("notice_version", "purpose", "gpc")
NOT_CUSTOM = {*CONTACT_FIELDS, *UTM_FIELDS, *ACTIVITY_FIELDS, "consent", "submission_id"}


verify = StandardWebhooks().verify


def require_usable(secrets: Sequence[str]) -> None:
    """SYSTEM_NOT_CONFIGURED when a secret is no base64 text; the edge asks at start-up."""
    for position, secret in enumerate(secrets, start=1):
        if standard_key(secret) is None:
            raise HandoffError(
                "SYSTEM_NOT_CONFIGURED",
                f"secret {position} of HANDOFF_WEBHOOK_SECRETS_WEB is not base64",
                remedy="Copy the whole secret, `whsec_` and all, as the sender shows it.",
            )


def to_events(body: bytes, received_at: datetime) -> list[dict[str, Any]]:
    """CloudEvents of one submitted form: contact (when an e-mail is given), activity, consents.

    Equal for equal bodies, however they are spelled. A HandoffError (SCHEMA_INVALID,
    SCHEMA_UNKNOWN, FIELD_MISMATCH) names what cannot be read by its path in the body.
    """
    form = orjson.loads(body)
    if not isinstance(form, dict):
        raise HandoffError("SCHEMA_INVALID", "the body must be a JSON object", path="")
    if form.get("type") != SUBMITTED:
        raise HandoffError(
            "SCHEMA_UNKNOWN",
            f"unknown type {form.get('type')!r:.200}; known: {SUBMITTED}",
            path="/type",
        )
    if not isinstance(form.get("timestamp"), str) or not form["timestamp"]:
        raise HandoffError(
            "SCHEMA_INVALID", "required field 'timestamp' is missing", path="/timestamp"
        )
    data = form.get("data")
    if not isinstance(data, dict):
        raise HandoffError("SCHEMA_INVALID", "required field 'data' is missing", path="/data")
    fields = {name: value for name, value in map(_trimmed, data.items()) if value != ""}
    email = fields.get("email")
    if not isinstance(email, str | None):
        raise HandoffError("FIELD_MISMATCH", "'email' must be text", path="/data/email")
    if email is None and not fields.get("anonymous_id"):
        raise HandoffError(
            "SCHEMA_INVALID",
            "the form names nobody: give email or anonymous_id",
            path="/data/email",
        )
    contact_id = None if email is None else person_id(email)
    submission = _submission_id(form, fields)
    made = [
        *_contact(contact_id, fields),
        _activity(submission, contact_id, fields),
        *_consents(contact_id, fields, form["timestamp"]),
    ]
    return [
        {
            "specversion": "1.0",
            "id": f"{submission}:{name}",
            "source": SOURCE,
            "type": f"com.handoff.{record}",
            "subject": f"{record}/{SYSTEM}/{subject or submission}",
            "time": form["timestamp"],
            "data": record_data,
        }
        for name, record, subject, record_data in made
    ]


_Made = tuple[str, str, str | None, dict[str, Any]]


def _trimmed(item: tuple[str, Any]) -> tuple[str, Any]:
    name, value = item
    return name, value.strip() if isinstance(value, str) else value


def _submission_id(form: dict[str, Any], fields: dict[str, Any]) -> str:
    given = fields.get("submission_id")
    if isinstance(given, str):
        return given
    try:
        canonical = orjson.dumps(form, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        raise HandoffError("SCHEMA_INVALID", f"the form is not JSON: {error}", path="") from error
    return hashlib.sha256(canonical).hexdigest()[:32]


def _contact(contact_id: str | None, fields: dict[str, Any]) -> list[_Made]:
    if contact_id is None:
        return []
    data: dict[str, Any] = {"system": SYSTEM, "record_id": contact_id}
    data |= {name: fields[name] for name in (*CONTACT_FIELDS, *UTM_FIELDS) if name in fields}
    country = data.get("country")
    if isinstance(country, str):
        if COUNTRY_CODE.fullmatch(country):
            data["country"] = country.upper()
        else:
            # Free text from a form is no country code; kept where it claims nothing.
            del data["country"]
            data["custom"] = {"country": country}
    return [("contact", "contact", contact_id, data)]


def _activity(submission: str, contact_id: str | None, fields: dict[str, Any]) -> _Made:
    data: dict[str, Any] = {
        "system": SYSTEM,
        "activity_id": submission,
        "activity_type": "form_submit",
    }
    if contact_id is not None:
        data |= {"contact_id": contact_id, "email": fields["email"]}
    data |= {name: fields[name] for name in (*ACTIVITY_FIELDS, *UTM_FIELDS) if name in fields}
    custom = {name: value for name, value in fields.items() if name not in NOT_CUSTOM}
    if custom:
        data["custom"] = custom
    return ("form_submit", "activity", submission, data)


def _consents(contact_id: str | None, fields: dict[str, Any], timestamp: str) -> list[_Made]:
    """One record for each channel the form asked about; a box left empty is a no."""
    consent = fields.get("consent")
    if consent is None:
        return []
    if not isinstance(consent, dict):
        raise HandoffError("FIELD_MISMATCH", "'consent' must be an object", path="/data/consent")
    if contact_id is None:
        raise HandoffError(
            "SCHEMA_INVALID", "a consent needs the email of who gives it", path="/data/email"
        )
    made: list[_Made] = []
    for channel, answer in consent.items():
        if channel in CONSENT_DETAILS:
            continue
        path = f"/data/consent/{channel}"
        if channel not in CHANNELS:
            known = ", ".join((*CHANNELS, *CONSENT_DETAILS))
            raise HandoffError(
                "ENUM_UNKNOWN", f"unknown channel {channel!r}; known: {known}", path=path
            )
        if not isinstance(answer, bool):
            raise HandoffError("FIELD_MISMATCH", f"{channel!r} must be true or false", path=path)
        data: dict[str, Any] = {
            "system": SYSTEM,
            "contact_id": contact_id,
            "email": fields["email"],
            "channel": channel,
            "lawful_basis": "consent",
            "status": "granted" if answer else "denied",
            "consent_timestamp": timestamp,
            "source": "form",
        }
        data |= {name: consent[name] for name in CONSENT_DETAILS if name in consent}
        made.append((f"consent:{channel}", "consent", f"{contact_id}/{channel}", data))
    if consent.get("gpc") is True and not made:
        # The form asked nothing, and the browser answered all the same.
        signal: dict[str, Any] = {
            "system": SYSTEM,
            "contact_id": contact_id,
            "email": fields["email"],
            "channel": "all",
            "purpose": "sale_sharing",
            "lawful_basis": "not_applicable",
            "status": "denied",
            "consent_timestamp": timestamp,
            "source": "global_privacy_control",
            "gpc": True,
        }
        made.append(("consent:gpc", "consent", f"{contact_id}/gpc", signal))
    return made

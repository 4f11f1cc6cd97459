"""HubSpot's webhooks: its signature schemes and what its notifications mean in our records.

Schemes v1 and v2 sign no time, so a recorded delivery could be sent again for ever; they are taken
only where HANDOFF_HUBSPOT_UNDATED_SIGNATURES says so. Source:
https://developers.hubspot.com/docs/apps/legacy-apps/authentication/validating-requests
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from ingestion.connectors.delivered import COUNTRY_CODE, digest_of, from_milliseconds
from ingestion.connectors.signature_schemes import HeaderHmac, SecretBeforeDigest, Verify
from ingestion.connectors.signed_request import SignedRequest
from ingestion.contracts.instants import is_instant
from ingestion.contracts.registry import system_value
from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings

SYSTEM = "hubspot"
PROPERTIES = {
    "email": "email",
    "phone": "phone",
    "firstname": "first_name",
    "lastname": "last_name",
    "company": "company",
    "jobtitle": "job_title",
    "address": "street_address",
    "city": "city",
    "state": "region",
    "zip": "postal_code",
    "country": "country",
    "lifecyclestage": "lifecycle_stage",
    "hubspot_owner_id": "owner_id",
    "hs_analytics_source": "original_source",
    "hs_latest_source": "latest_source",
}
COMPANY_PROPERTIES = {
    "name": "name",
    "domain": "domain",
    "industry": "industry",
    "numberofemployees": "employee_count",
    "annualrevenue": "annual_revenue_usd",
    "country": "country",
    "state": "region",
    "hubspot_owner_id": "owner_id",
    "hs_parent_company_id": "parent_id",
}
# Whether and when a deal was closed takes several properties at once: the poll says it.
DEAL_PROPERTIES = {
    "dealstage": "stage",
    "amount": "amount_usd",
    "createdate": "created_at",
    "hubspot_owner_id": "owner_id",
}
RECORDS = {
    "contact": ("contact", PROPERTIES),
    "company": ("account", COMPANY_PROPERTIES),
    "deal": ("opportunity", DEAL_PROPERTIES),
}
CHANGES = ("creation", "propertyChange", "deletion", "restore")
MERGE = "contact.merge"
TYPES = (*(f"{name}.{change}" for name in RECORDS for change in CHANGES), MERGE)
# Apps of the newer platform subscribe to `object.*` and are told which object by its type's id.
OBJECT_TYPES = {"0-1": "contact", "0-2": "company", "0-3": "deal"}
# What differs when HubSpot sends one notification again, or to a second subscription.
DELIVERY_FIELDS = ("attemptNumber", "subscriptionId")
# HubSpot signs the URI with these characters decoded, and only these.
DECODED = re.compile("%(3A|2F|3F|40|21|24|27|28|29|2A|2C|3B)", re.IGNORECASE)


def _address(request: SignedRequest) -> bytes:
    uri = DECODED.sub(lambda found: chr(int(found.group(1), 16)), request.url)
    return request.method.encode() + uri.encode("utf-8", "replace")


V1 = SecretBeforeDigest(header="x-hubspot-signature")
V2 = SecretBeforeDigest(
    header="x-hubspot-signature",
    signed=lambda request, stamp: (
        request.method.encode() + request.url.encode("utf-8", "replace") + request.body
    ),
)
V3 = HeaderHmac(
    header="x-hubspot-signature-v3",
    encoding="base64",
    stamp_header="x-hubspot-request-timestamp",
    stamps_per_second=1_000,
    signed=lambda request, stamp: _address(request) + request.body + stamp.encode(),
)
verify = V3.verify


def verifier(settings: Settings) -> Verify:
    """Version 3 alone; with HANDOFF_HUBSPOT_UNDATED_SIGNATURES the older ones where no 3 is sent."""
    return verify_any_version if settings.hubspot_undated_signatures else V3.verify


def verify_any_version(
    request: SignedRequest, secrets: Sequence[str], now: datetime
) -> datetime | None:
    """The newest version sent decides alone: leaving v3 in place and adding a v1 gains nothing."""
    if V3.header in request.headers or V1.header not in request.headers:
        return V3.verify(request, secrets, now)
    version = request.headers.get("x-hubspot-signature-version", "v1")
    if version not in ("v1", "v2"):
        raise HandoffError(
            "SIGNATURE_INVALID", f"unknown x-hubspot-signature-version {version!r:.40}"
        )
    return (V1 if version == "v1" else V2).verify(request, secrets, now)


def to_events(body: bytes, received_at: datetime) -> list[dict[str, Any]]:
    """CloudEvents of one notification or an array of them, in order; equal for equal notifications.

    A HandoffError (SCHEMA_INVALID, SCHEMA_UNKNOWN) names what cannot be read by its path in the
    notification.
    """
    notifications = orjson.loads(body)
    if not isinstance(notifications, list):
        notifications = [notifications]
    return [_to_event(notification) for notification in notifications]


def _to_event(notification: Any) -> dict[str, Any]:
    if not isinstance(notification, dict):
        raise HandoffError("SCHEMA_INVALID", "a notification must be a JSON object", path="")
    kind = _kind(notification)
    if kind == MERGE:
        record, subject, data = "merge", "surviving_id", _merge(notification)
    else:
        name, _, change = kind.partition(".")
        record, properties = RECORDS[name]
        subject, data = "record_id", _record(change, properties, notification)
    portal = _identifier(notification, "portalId")
    return {
        "specversion": "1.0",
        "id": _event_id(notification),
        "source": f"https://api.hubapi.com/portals/{portal}",
        "type": f"com.handoff.{record}",
        "subject": f"{record}/{SYSTEM}/{data[subject]}",
        "time": _instant(notification),
        "data": data,
    }


def _kind(notification: dict[str, Any]) -> str:
    """The subscription type in the words of one object, such as contact.creation."""
    kind = notification.get("subscriptionType")
    path, given = "/subscriptionType", kind
    if isinstance(kind, str) and kind.startswith("object."):
        path, given = "/objectTypeId", notification.get("objectTypeId")
        named = OBJECT_TYPES.get(given) if isinstance(given, str) else None
        kind = f"{named}.{kind.partition('.')[2]}"
    if not isinstance(kind, str) or kind not in TYPES:
        known = ", ".join((*TYPES, *(f"{each} {name}" for each, name in OBJECT_TYPES.items())))
        raise HandoffError(
            "SCHEMA_UNKNOWN", f"unknown {path[1:]} {given!r:.200}; known: {known}", path=path
        )
    return kind


def _event_id(notification: dict[str, Any]) -> str:
    # HubSpot does not promise that eventId is unique, so the content belongs to the identity.
    content = {key: value for key, value in notification.items() if key not in DELIVERY_FIELDS}
    return f"{_identifier(notification, 'eventId')}-{digest_of(content)}"


def _record(
    change: str, properties: Mapping[str, str], notification: dict[str, Any]
) -> dict[str, Any]:
    data: dict[str, Any] = {
        "system": SYSTEM,
        "record_id": _identifier(notification, "objectId"),
    }
    if change == "propertyChange":
        data.update(_property(properties, notification))
    elif change in ("deletion", "restore"):
        data["is_deleted"] = change == "deletion"
    return data


def _property(properties: Mapping[str, str], notification: dict[str, Any]) -> dict[str, Any]:
    name = notification.get("propertyName")
    if not isinstance(name, str) or not name:
        raise HandoffError(
            "SCHEMA_INVALID", "required field 'propertyName' is missing", path="/propertyName"
        )
    if "propertyValue" not in notification:
        raise HandoffError(
            "SCHEMA_INVALID", "required field 'propertyValue' is missing", path="/propertyValue"
        )
    value = notification["propertyValue"]
    # HubSpot empties a property by setting it to empty text.
    value = None if value == "" else value
    field = properties.get(name)
    if field is None:
        return {"custom": {name: value}}
    if value is None:
        return {field: None}
    ours = _ours(field, value)
    return {"custom": {name: value}} if ours is None else {field: ours}


def _ours(field: str, value: Any) -> Any:
    """The value as our contract has it; None when it cannot be that and only custom may keep it."""
    if field in ("employee_count", "annual_revenue_usd", "amount_usd"):
        return _number(field, value)
    if field == "created_at":
        return _moment(value)
    if field == "country" and isinstance(value, str):
        # In HubSpot a country is free text; only a code may become ours.
        return value.upper() if COUNTRY_CODE.fullmatch(value) else None
    if field == "lifecycle_stage" and isinstance(value, str):
        return system_value("lifecycle_stage", SYSTEM, value) or value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value


def _number(field: str, value: Any) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    if not abs(number) < 1e15:
        return None
    if field == "employee_count":
        return int(number) if number.is_integer() else None
    return number


def _moment(value: Any) -> str | None:
    """HubSpot writes instants as milliseconds in text."""
    text = str(value)
    if text.isascii() and text.isdigit() and 0 < int(text[:20]) < 10**14:
        return from_milliseconds(int(text))
    return text if is_instant(text) else None


def _merge(notification: dict[str, Any]) -> dict[str, Any]:
    """Since 2025 a merge makes a third, new id; before, the primary's id survived."""
    primary = _identifier(notification, "primaryObjectId")
    merged = notification.get("mergedObjectIds")
    if not isinstance(merged, list) or not merged:
        raise HandoffError(
            "SCHEMA_INVALID", "required field 'mergedObjectIds' is missing", path="/mergedObjectIds"
        )
    ids = [_as_identifier(value, f"/mergedObjectIds/{at}") for at, value in enumerate(merged)]
    surviving = (
        primary
        if notification.get("newObjectId") is None
        else _identifier(notification, "newObjectId")
    )
    joined = dict.fromkeys(name for name in (primary, *ids) if name != surviving)
    return {"system": SYSTEM, "surviving_id": surviving, "merged_ids": list(joined)}


def _instant(notification: dict[str, Any]) -> str:
    value = notification.get("occurredAt")
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 10**14:
        raise HandoffError(
            "SCHEMA_INVALID",
            f"occurredAt must be milliseconds since 1970, not {value!r:.80}",
            path="/occurredAt",
        )
    return from_milliseconds(value)


def _identifier(notification: dict[str, Any], name: str) -> str:
    return _as_identifier(notification.get(name), f"/{name}")


def _as_identifier(value: Any, path: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value:
        return value
    raise HandoffError(
        "SCHEMA_INVALID", f"{path[1:]!r} must be an id, not {value!r:.80}", path=path
    )

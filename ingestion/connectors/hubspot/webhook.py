"""HubSpot's webhooks: its signature schemes and what its notifications mean in our records.

Schemes v1 and v2 sign no time, so a recorded delivery could be sent again for ever; they are taken
only where HANDOFF_HUBSPOT_UNDATED_SIGNATURES says so. Source:
https://developers.hubspot.com/docs/apps/legacy-apps/authentication/validating-requests
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from ingestion.connectors.signature_schemes import HeaderHmac, SecretBeforeDigest, Verify
from ingestion.connectors.signed_request import SignedRequest
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
CONTACT_CHANGES = ("contact.creation", "contact.propertyChange", "contact.deletion")
TYPES = (*CONTACT_CHANGES, "contact.restore", "contact.merge")
# What differs when HubSpot sends one notification again, or to a second subscription.
DELIVERY_FIELDS = ("attemptNumber", "subscriptionId")
# HubSpot signs the URI with these characters decoded, and only these.
DECODED = re.compile("%(3A|2F|3F|40|21|24|27|28|29|2A|2C|3B)", re.IGNORECASE)
COUNTRY_CODE = re.compile(r"[A-Za-z]{2}", re.ASCII)


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
    kind = notification.get("subscriptionType")
    if kind not in TYPES:
        raise HandoffError(
            "SCHEMA_UNKNOWN",
            f"unknown subscriptionType {kind!r:.200}; known: {', '.join(TYPES)}",
            path="/subscriptionType",
        )
    if kind == "contact.merge":
        record, subject, data = "merge", "surviving_id", _merge(notification)
    else:
        record, subject, data = "contact", "record_id", _contact(kind, notification)
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


def _event_id(notification: dict[str, Any]) -> str:
    # HubSpot does not promise that eventId is unique, so the content belongs to the identity.
    content = {key: value for key, value in notification.items() if key not in DELIVERY_FIELDS}
    try:
        canonical = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        raise HandoffError("SCHEMA_INVALID", f"the notification is not JSON: {error}") from error
    digest = hashlib.sha256(canonical).hexdigest()
    return f"{_identifier(notification, 'eventId')}-{digest[:24]}"


def _contact(kind: str, notification: dict[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = {
        "system": SYSTEM,
        "record_id": _identifier(notification, "objectId"),
    }
    if kind == "contact.propertyChange":
        data.update(_property(notification))
    elif kind == "contact.deletion":
        data["is_deleted"] = True
    elif kind == "contact.restore":
        data["is_deleted"] = False
    return data


def _property(notification: dict[str, Any]) -> dict[str, Any]:
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
    field = PROPERTIES.get(name)
    if field == "country" and isinstance(value, str):
        # In HubSpot a country is free text; only a code may become ours.
        if COUNTRY_CODE.fullmatch(value) is None:
            return {"custom": {name: value}}
        return {field: value.upper()}
    if field is None:
        return {"custom": {name: value}}
    if field == "lifecycle_stage" and isinstance(value, str):
        return {field: system_value("lifecycle_stage", SYSTEM, value) or value}
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {field: str(value)}
    return {field: value}


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
    moment = datetime.fromtimestamp(value // 1_000, UTC).replace(microsecond=value % 1_000 * 1_000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


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

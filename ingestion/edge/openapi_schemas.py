"""The shapes the OpenAPI document names: events as their contracts have them, and answers."""

from __future__ import annotations

from functools import cache
from typing import Any, get_args

from ingestion.contracts import registry
from ingestion.log.interface import OutcomeKind
from ingestion.quarantine import STATUSES
from ingestion.scheduling.store import STATES

TEXT = {"type": "string"}
WHOLE = {"type": "integer"}
INSTANT = {"type": "string", "format": "date-time"}
KEY = {"type": "string", "pattern": "^[!-~]{1,255}$"}

_RATE = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
_SLOT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "starts_at": INSTANT,
        "ends_at": INSTANT,
        "local_starts_at": INSTANT,
        "host_count": WHOLE,
    },
    "required": ["starts_at", "ends_at", "local_starts_at", "host_count"],
}
_COUNT = {"type": "integer", "minimum": 0}
_PERIOD: dict[str, Any] = {
    "type": "object",
    "description": "accepted: all of the delivery is on disk; partial: some of it is in quarantine;"
    " refused: nothing was accepted. `codes` counts why.",
    "properties": {
        "deliveries": _COUNT,
        "accepted": _COUNT,
        "partial": _COUNT,
        "refused": _COUNT,
        "success_rate": _RATE,
        "codes": {"type": "object", "additionalProperties": _COUNT},
    },
}
_HEALTH: dict[str, Any] = {
    "type": "object",
    "properties": {
        "system": {"type": "string"},
        "last_delivery": {
            "type": ["object", "null"],
            "properties": {
                "at": {"type": "string", "format": "date-time"},
                "outcome": {"enum": ["accepted", "partial", "refused"]},
                "code": {"type": ["string", "null"]},
            },
        },
        "last_accepted_at": {"type": ["string", "null"], "format": "date-time"},
        "last_hour": _PERIOD,
        "last_day": _PERIOD,
        "lag_seconds": {
            "type": "object",
            "description": "Received less signed, or less occurred where no time is signed, of the"
            " newest 1,024 deliveries of the last hour.",
            "properties": {
                "samples": _COUNT,
                "p50": {"type": ["number", "null"]},
                "max": {"type": ["number", "null"]},
            },
        },
        "quarantined": _COUNT,
        "active_secrets": _COUNT,
        "as_of": {"type": "string", "format": "date-time"},
    },
}


@cache
def schemas() -> dict[str, Any]:
    """The events by type, as their contracts have them, and the answers."""
    found: dict[str, Any] = {}
    mapping: dict[str, str] = {}
    for record in registry.RECORD_TABLES:
        name = "".join(part.capitalize() for part in record.split("_"))
        document = registry.event_schema(record, registry.newest_version(record))
        found[name] = document
        mapping[registry.event_type(record)] = f"#/components/schemas/{name}"
    violation = {"code": TEXT, "path": TEXT, "detail": TEXT}
    accepted = {
        "status": {"enum": ["accepted", "duplicate"]},
        "source": TEXT,
        "id": TEXT,
        "seq": WHOLE,
        "received_at": INSTANT,
        "correlation_id": TEXT,
    }
    result = {
        "index": WHOLE,
        "status": {"enum": ["accepted", "duplicate", "conflict", "rejected"]},
        "source": {"type": ["string", "null"]},
        "id": {"type": ["string", "null"]},
        "seq": WHOLE,
        "received_at": INSTANT,
        "code": TEXT,
        "path": {"type": ["string", "null"]},
        "detail": TEXT,
        "remedy": TEXT,
        "http_status": WHOLE,
        "quarantine_id": WHOLE,
        "errors": {"type": "array", "items": _object(violation)},
    }
    refusal = {
        "quarantine_id": WHOLE,
        "received_at": INSTANT,
        "status": {"enum": list(STATUSES)},
        "door": TEXT,
        "code": TEXT,
        "path": TEXT,
        "message": TEXT,
        "source": {"type": ["string", "null"]},
        "id": {"type": ["string", "null"]},
        "type": {"type": ["string", "null"]},
        "contract_version": {"type": ["string", "null"]},
        "correlation_id": TEXT,
        "replay": _object(
            {
                "replayed_at": INSTANT,
                "outcome": {"enum": list(get_args(OutcomeKind))},
                "seq": {"type": ["integer", "null"]},
                "code": {"type": ["string", "null"]},
                "path": {"type": ["string", "null"]},
                "message": {"type": ["string", "null"]},
            },
            "replayed_at",
            "outcome",
        ),
    }
    found |= {
        "Event": {
            "oneOf": [{"$ref": reference} for reference in mapping.values()],
            "discriminator": {"propertyName": "type", "mapping": mapping},
        },
        "Accepted": _object(accepted, *accepted),
        "Results": _object(
            {
                "results": {"type": "array", "items": _object(result, "index", "status")},
                "correlation_id": TEXT,
            },
            "results",
            "correlation_id",
        ),
        "Status": _object(
            {
                "source": TEXT,
                "id": TEXT,
                "status": {"enum": ["accepted", "landed", "decided", "pushed", "quarantined"]},
                "seq": WHOLE,
                "received_at": INSTANT,
                "pushes": {"type": "array", "items": {"type": "object"}},
                "rejections": {"type": "array", "items": {"type": "object"}},
                "correlation_id": TEXT,
            },
            "source",
            "id",
            "status",
            "correlation_id",
        ),
        "Person": _object(
            {
                "person": {"type": "object"},
                "as_of": INSTANT,
                "score": {"type": "number"},
                **{
                    rows: {"type": "array", "items": {"type": "object"}}
                    for rows in (
                        "records",
                        "contributions",
                        "mqls",
                        "assignments",
                        "consents",
                        "pushes",
                    )
                },
                "is_masked": {"type": "boolean"},
                "correlation_id": TEXT,
            },
            "is_masked",
            "correlation_id",
        ),
        "Refusal": _object(refusal | {"payload": {}}, "quarantine_id", "code", "payload"),
        "Replayed": _object(refusal, "quarantine_id", "status", "correlation_id"),
        "QuarantinePage": _object(
            {
                "entries": {"type": "array", "items": _object(refusal, "quarantine_id", "code")},
                "next_after": WHOLE,
            },
            "entries",
        ),
        "TokenRequest": _object(
            {
                "grant_type": {"const": "client_credentials"},
                "scope": TEXT,
                "client_id": TEXT,
                "client_secret": TEXT,
            },
            "grant_type",
        ),
        "Token": _object(
            {
                "access_token": TEXT,
                "token_type": {"const": "Bearer"},
                "expires_in": WHOLE,
                "scope": TEXT,
            },
            "access_token",
            "token_type",
            "expires_in",
        ),
        "TokenError": _object({"error": TEXT, "error_description": TEXT}, "error"),
        "WebhookHealth": _HEALTH,
        **_scheduling(),
        "Problem": _object(
            {
                "type": TEXT,
                "title": TEXT,
                "status": WHOLE,
                "detail": TEXT,
                "code": TEXT,
                "remedy": TEXT,
                "retryable": {"type": "boolean"},
                "runbook": TEXT,
                "correlation_id": TEXT,
                "path": TEXT,
                "quarantine_id": WHOLE,
                "errors": {"type": "array", "items": _object(violation)},
                "slots": {"type": "array", "items": _SLOT},
            },
            "type",
            "title",
            "status",
            "detail",
            "code",
            "correlation_id",
        ),
    }
    return found


def _scheduling() -> dict[str, Any]:
    maybe = {"type": ["string", "null"]}
    booking = {
        "booking_id": TEXT,
        "state": {"enum": list(STATES)},
        "revision": WHOLE,
        "meeting_type": TEXT,
        "starts_at": INSTANT,
        "ends_at": INSTANT,
        "time_zone": TEXT,
        "local_starts_at": INSTANT,
        "host": {"type": "object"},
        "invitee": {"type": "object"},
        "location": maybe,
        "expires_at": {"type": ["string", "null"], "format": "date-time"},
        "changed_at": INSTANT,
        "calendar": _object(
            {
                "system": maybe,
                "status": {"enum": ["none", "pending", "written"]},
                "has_conflict": {
                    "type": ["boolean", "null"],
                    "description": "whether something else stood in the calendar at that time by then",
                },
            },
            "status",
        ),
        "changes": {"type": "array", "items": {"type": "object"}},
        "is_masked": {"type": "boolean"},
        "correlation_id": TEXT,
    }
    short = {"type": "string", "maxLength": 255}
    wish = {"meeting_type": TEXT, "starts_at": INSTANT, "time_zone": TEXT, "email": short}
    closed = {"additionalProperties": False}
    return {
        "Slots": _object(
            {
                "meeting_type": TEXT,
                "time_zone": TEXT,
                "slots": {"type": "array", "items": _SLOT},
                "correlation_id": TEXT,
            },
            "slots",
            "correlation_id",
        ),
        "Booking": _object(
            booking,
            *(name for name in booking if name not in ("changes", "expires_at", "location")),
        ),
        "HoldRequest": _object(wish | {"person_id": short}, "meeting_type", "starts_at") | closed,
        "BookingRequest": _object(wish | {"name": short, "hold_id": TEXT}, "email") | closed,
        "RescheduleRequest": _object({"starts_at": INSTANT, "time_zone": TEXT}, "starts_at")
        | closed,
        "CancelRequest": _object({"reason": short}) | closed,
        "OutcomeRequest": _object({"outcome": {"enum": ["held", "no_show"]}}, "outcome") | closed,
        "BookingForm": _object(
            {name: TEXT for name in ("at", "zone", "name", "key")}
            | {"action": {"enum": ["book", "reschedule", "cancel"]}},
            "action",
        ),
    }


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def ref(name: str) -> dict[str, Any]:
    """A reference to a schema of `schemas`."""
    return {"$ref": f"#/components/schemas/{name}"}


def any_of(*names: str) -> dict[str, Any]:
    """One of several schemas of `schemas`."""
    return {"anyOf": [ref(name) for name in names]}

"""Describes the plain routes, which FastAPI cannot describe by itself."""

from __future__ import annotations

from typing import Any

from ingestion.edge.bodies import BATCH, EVENT, JSON
from ingestion.settings import Settings

_ANSWERS: dict[str, Any] = {
    "202": {"description": "All of it is on disk."},
    "207": {"description": "Some of it is on disk; `results` says for each item."},
    "4XX": {"description": "Refused.", "content": {"application/problem+json": {}}},
    "503": {"description": "Nothing was accepted; see Retry-After."},
}
_HANDSHAKE: dict[str, Any] = {
    "summary": "CloudEvents' handshake: whether an origin may send here",
    "responses": {
        "200": {
            "description": "It may.",
            "headers": {
                "WebHook-Allowed-Origin": {"schema": {"type": "string"}},
                "WebHook-Allowed-Rate": {"schema": {"type": "string"}},
            },
        },
        "4XX": _ANSWERS["4XX"],
    },
}
_RATE = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
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


def described_routes(settings: Settings) -> dict[str, Any]:
    """Paths of the plain routes, as OpenAPI has them."""
    limits = (
        f"At most {settings.max_body_bytes} bytes (HANDOFF_MAX_BODY_BYTES) and "
        f"{settings.max_batch_items} items (HANDOFF_MAX_BATCH_ITEMS), else 413."
    )
    system = {"name": "system", "in": "path", "required": True, "schema": {"type": "string"}}
    batch = {"type": "array", "items": {"type": "object"}, "maxItems": settings.max_batch_items}
    return {
        "/v1/events": {
            "post": {
                "summary": "Append one CloudEvent or a batch",
                "requestBody": {
                    "description": limits,
                    "required": True,
                    "content": {
                        EVENT: {"schema": {"type": "object"}},
                        BATCH: {"schema": batch},
                        JSON: {"schema": {"anyOf": [{"type": "object"}, batch]}},
                    },
                },
                "responses": _ANSWERS,
            },
            "options": _HANDSHAKE,
        },
        "/webhooks/{system}": {
            "post": {
                "summary": "Take one signed delivery of a system",
                "description": "Signed as the system signs; Salesforce also sends text/xml.",
                "parameters": [system],
                "requestBody": {
                    "description": limits,
                    "required": True,
                    "content": {JSON: {}, "text/xml": {}},
                },
                "responses": _ANSWERS
                | {"200": {"description": "Taken, in the words the sender must hear."}},
            },
            "options": _HANDSHAKE | {"parameters": [system]},
        },
        "/webhooks/{system}/health": {
            "get": {
                "summary": "What has become of a system's deliveries lately",
                "parameters": [system],
                "responses": {
                    "200": {"description": "Counts.", "content": {JSON: {"schema": _HEALTH}}},
                    "4XX": _ANSWERS["4XX"],
                    "503": {"description": "The quarantine cannot be counted now."},
                },
            }
        },
    }

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


def described_routes(settings: Settings) -> dict[str, Any]:
    """Paths of the plain routes, as OpenAPI has them."""
    limits = (
        f"At most {settings.max_body_bytes} bytes (HANDOFF_MAX_BODY_BYTES) and "
        f"{settings.max_batch_items} items (HANDOFF_MAX_BATCH_ITEMS), else 413."
    )
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
            }
        },
        "/webhooks/{system}": {
            "post": {
                "summary": "Take one signed delivery of a system",
                "parameters": [
                    {"name": "system", "in": "path", "required": True, "schema": {"type": "string"}}
                ],
                "requestBody": {"description": limits, "required": True, "content": {JSON: {}}},
                "responses": _ANSWERS,
            }
        },
    }

"""Pages of HubSpot's listings, and their records; no resource is known here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ingestion.connectors.extracted import Extracted
from ingestion.connectors.polling import Session, parse_time


def listed(http: Session, path: str, params: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every result of a listing, following `paging.next.after`."""
    asked = dict(params)
    while True:
        answer = http.get(path, asked)
        yield from answer["results"]
        following = answer.get("paging", {}).get("next", {}).get("after")
        if following is None:
            return
        asked["after"] = following


def as_extracted(record: dict[str, Any]) -> Extracted:
    """A record that carries `id`, `createdAt`, `updatedAt`, and `archivedAt` once it is archived."""
    archived = bool(record.get("archived", False))
    changed = record.get("archivedAt") if archived else None
    return Extracted(
        record_id=str(record["id"]),
        updated_at=parse_time(changed or record.get("updatedAt") or record["createdAt"]),
        is_deleted=archived,
        payload=record,
    )

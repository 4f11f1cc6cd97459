"""The `com.handoff.erasure` events that say what went, in words that say nothing of whom."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Literal

import orjson

from ingestion.log.encoding import from_microseconds
from ingestion.log.interface import ERASURE_SOURCE, ERASURE_TYPE, StoredEvent
from ingestion.outbound.receipts import instant

Cause = Literal["asked", "late"]
ASKED: Cause = "asked"
LATE: Cause = "late"
CONTRACT = "urn:handoff:contract:erasure:1.1.0"
# What one event lists; contracts end an array at 10,000 entries.
LISTED = 5_000


def evidence_of(
    events: Sequence[tuple[StoredEvent, bytes]],
    cause: Cause,
    *,
    rows: Mapping[tuple[str, str], int] | None = None,
    turns: Sequence[Mapping[str, Any]] = (),
    erasure_id: str | None = None,
) -> Iterator[dict[str, Any]]:
    """Events that name every event of `events` (as it was, and what is left of it), the rows of the archive by system and resource, and the
    turns the person had; at least one."""
    erasure_id = erasure_id or str(uuid.uuid4())
    lists: list[tuple[str, list[Any]]] = [
        ("events", [_listed(row, left) for row, left in events]),
        (
            "rows",
            [
                {"system": system, "resource": resource, "row_count": count}
                for (system, resource), count in sorted((rows or {}).items())
            ],
        ),
        ("turns", [dict(turn) for turn in turns]),
    ]
    told = 0
    for name, entries in lists:
        for start in range(0, len(entries), LISTED):
            yield _event(erasure_id, told, cause, {name: entries[start : start + LISTED]})
            told += 1
    if not told:
        yield _event(erasure_id, 0, cause, {})


def first_id(erasure_id: str) -> str:
    """Event id of the first event of an erasure: once the log has it, it has all of them."""
    return f"{erasure_id}:0"


def _listed(row: StoredEvent, left: bytes) -> dict[str, Any]:
    event = orjson.loads(row.payload)
    listed = {
        "seq": row.seq,
        "type": event["type"],
        "is_kept": bool(left),
        **({"left_hash": sha256(left).hexdigest()} if left else {}),
        "received_at": instant(from_microseconds(row.received_us)),
    }
    if isinstance(happened := event.get("time"), str):
        listed["occurred_at"] = happened
    return listed


def _event(erasure_id: str, number: int, cause: Cause, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": f"{erasure_id}:{number}",
        "source": ERASURE_SOURCE,
        "type": ERASURE_TYPE,
        "subject": f"erasure/handoff/{erasure_id}",
        "time": instant(datetime.now(UTC)),
        "datacontenttype": "application/json",
        "dataschema": CONTRACT,
        "data": {"erasure_id": erasure_id, "cause": cause, **data},
    }

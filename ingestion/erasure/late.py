"""Takes out what comes in about somebody who was erased before: of the log as it lands, of a poll before it is archived."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from ingestion.contracts import registry
from ingestion.contracts.instants import parse_instant
from ingestion.erasure.evidence import LATE, evidence_of
from ingestion.erasure.keys import ErasedKeys
from ingestion.erasure.named import RECORDS, Named, what_is_left
from ingestion.errors.catalog import HandoffError
from ingestion.log.interface import Erasure, StoredEvent
from ingestion.log.owner import open_log, open_reader
from ingestion.settings import Settings

if TYPE_CHECKING:
    from ingestion.connectors.extracted import Extracted


def erased_keys(settings: Settings) -> ErasedKeys | None:
    """Whom the log was told to forget, None when nobody."""
    with contextlib.closing(open_reader(settings)) as reader:
        whom = reader.erased()
    return None if whom is None else ErasedKeys(whom)


def without_erased(
    settings: Settings, keys: ErasedKeys | None, stored: Sequence[StoredEvent]
) -> list[StoredEvent]:
    """The events without those about somebody erased, which are taken out of the log first: nothing else would look at them again."""
    if keys is None:
        return list(stored)
    changed = {
        row.seq: left
        for row in stored
        if (left := event_left(row.payload, keys)) is not None and left != row.payload
    }
    if not changed:
        return list(stored)
    gone = [(row, changed[row.seq]) for row in stored if row.seq in changed]
    with contextlib.closing(open_log(settings)) as log:
        log.erase(Erasure(list(evidence_of(gone, LATE)), changed))
    kept = [row._replace(payload=changed.get(row.seq, row.payload)) for row in stored]
    return [row for row in kept if row.payload]


def event_left(payload: bytes, keys: ErasedKeys) -> bytes | None:
    """The event without whom `keys` name: empty where it goes, None where it is of no record with people."""
    event = orjson.loads(payload)
    named = named_by(event)
    if named is None:
        return None
    data = event["data"]
    happened = event.get("time")
    at = parse_instant(happened) if isinstance(happened, str) else None
    left = what_is_left(data, named, keys.asking(system_of(event), at))
    if left is data:
        return payload
    return b"" if left is None else orjson.dumps({**event, "data": left})


def named_by(event: dict[str, Any]) -> Named | None:
    """Where an event names people; None for a record without any, or that this version does not know."""
    try:
        named = RECORDS.get(registry.record_of(event["type"]))
    except HandoffError:
        return None
    return named if named is not None and named.places and isinstance(event["data"], dict) else None


def system_of(event: dict[str, Any]) -> str | None:
    """The system of the ids in an event: the record's own, or that of its subject."""
    told = event["data"].get("system")
    if told is not None:
        return str(told)
    parts = str(event.get("subject") or "").split("/")
    return parts[1] if len(parts) > 2 else None


def rows_left(
    system: str, named: Named, keys: ErasedKeys | None, rows: Sequence[Extracted]
) -> list[Extracted]:
    """Polled rows without those about somebody erased."""
    if keys is None or not named.places:
        return list(rows)
    return list(_rows_left(system, named, keys, rows))


def _rows_left(
    system: str, named: Named, keys: ErasedKeys, rows: Sequence[Extracted]
) -> Iterator[Extracted]:
    for row in rows:
        asking = keys.asking(system, row.updated_at)
        left = what_is_left(row.payload, named, asking, row.record_id)
        if left is row.payload:
            yield row
        elif left is not None:
            yield replace(row, payload=left)

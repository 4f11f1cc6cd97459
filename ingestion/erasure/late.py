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
from ingestion.erasure.named import OF_COLLEAGUES, RECORDS, Named, what_is_left, without_addresses
from ingestion.errors.catalog import HandoffError
from ingestion.log.interface import Erasure, LogReader, QuarantineEntry, Rejection, StoredEvent
from ingestion.log.owner import open_log, open_reader
from ingestion.settings import Settings

if TYPE_CHECKING:
    from ingestion.connectors.extracted import Extracted


def erased_keys(settings: Settings) -> ErasedKeys | None:
    """Whom the log was told to forget, None when nobody."""
    with contextlib.closing(open_reader(settings)) as reader:
        return keys_in(reader)


def keys_in(reader: LogReader) -> ErasedKeys | None:
    """The same of a log that is open."""
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
    """The event without whom `keys` name: empty where it goes, None where this version does not know what it is."""
    event = orjson.loads(payload)
    record = record_of(event)
    if record is None:
        return None
    happened = event.get("time")
    at = parse_instant(happened) if isinstance(happened, str) else None
    asking = keys.asking(system_of(event), at)
    left = what_is_left(event["data"], RECORDS[record], asking)
    if left is None:
        return b""
    whole = event if left is event["data"] else {**event, "data": left}
    if b"@" in payload and record not in OF_COLLEAGUES and not keys.is_after_all(at):
        whole = without_addresses(whole, asking)
    return payload if whole == event else orjson.dumps(whole)


def record_of(event: dict[str, Any]) -> str | None:
    """The record an event carries, None for one that this version does not know."""
    try:
        record = registry.record_of(event["type"])
    except HandoffError:
        return None
    return record if record in RECORDS and isinstance(event["data"], dict) else None


def system_of(event: dict[str, Any]) -> str | None:
    """The system of the ids in an event: the record's own, or that of its subject."""
    told = event["data"].get("system")
    if told is not None:
        return str(told)
    parts = str(event.get("subject") or "").split("/")
    return parts[1] if len(parts) > 2 else None


def rows_left(
    system: str,
    resource: str,
    named: Named,
    keys: ErasedKeys | None,
    rows: Sequence[Extracted],
) -> list[Extracted]:
    """Polled rows without those about somebody erased, and without their addresses in others."""
    if keys is None or resource in OF_COLLEAGUES:
        return list(rows)
    return list(_rows_left(system, named, keys, rows))


def _rows_left(
    system: str, named: Named, keys: ErasedKeys, rows: Sequence[Extracted]
) -> Iterator[Extracted]:
    for row in rows:
        asking = keys.asking(system, row.updated_at)
        left = what_is_left(row.payload, named, asking, row.record_id)
        if left is not None:
            if not keys.is_after_all(row.updated_at):
                left = without_addresses(left, asking)
            yield row if left == row.payload else replace(row, payload=left)


def refused_left(
    settings: Settings, keys: ErasedKeys | None, entries: Sequence[QuarantineEntry]
) -> list[QuarantineEntry]:
    """Kept rejections, those of events about somebody erased without what came, in the log too."""
    if keys is None:
        return list(entries)
    gone = {entry.quarantine_id for entry in entries if _is_about_erased(entry, keys)}
    if not gone:
        return list(entries)
    with contextlib.closing(open_log(settings)) as log:
        log.erase(Erasure(list(evidence_of([], LATE)), {}, sorted(gone)))
    return [
        replace(entry, rejection=emptied(entry.rejection)) if entry.quarantine_id in gone else entry
        for entry in entries
    ]


def emptied(rejection: Rejection) -> Rejection:
    """A rejection as the log has it once it was erased."""
    return replace(
        rejection, payload=b"", message="", context=None, event_source=None, event_id=None
    )


def _is_about_erased(entry: QuarantineEntry, keys: ErasedKeys) -> bool:
    try:
        event = orjson.loads(entry.rejection.payload)
        return isinstance(event, dict) and event_left(entry.rejection.payload, keys) not in (
            None,
            entry.rejection.payload,
        )
    except (ValueError, KeyError, TypeError, AttributeError, HandoffError):
        # It was refused for a reason: nothing in it need be what it should be.
        return False

"""Receipts of outgoing writes as events, and which of those in the log are still without an end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ingestion.durable_file import write_atomically
from ingestion.log.interface import LogReader
from ingestion.outbound.plan import Operation

SOURCE = "handoff/outbound"
TYPE = "com.handoff.receipt"
CONTRACT = "urn:handoff:contract:receipt:1.0.0"
READ_LIMIT = 5_000


@dataclass(frozen=True, slots=True)
class OpenSend:
    """An operation whose `sent` receipt has no final one: its run died, or could not learn the
    outcome.

    `data` is that of the receipt: the fields as sent stand under "written".
    """

    data: dict[str, Any]
    trace_parent: str | None

    @property
    def operation_id(self) -> str:
        """Key of the operation."""
        return str(self.data["operation_id"])

    @property
    def attempt(self) -> int:
        """The attempt that has no end yet, from 1."""
        return int(self.data["attempt"])


def sent_id(operation_id: str, attempt: int) -> str:
    """Event id of the claim that `operation_id` goes out for the `attempt`-th time (from 1)."""
    return f"{operation_id}:{attempt}:sent"


def final_id(operation_id: str, attempt: int, status: str, unsent_code: str | None = None) -> str:
    """Event id of the end of an attempt.

    It follows from the content, so the log keeps one receipt however often the end is reached: by a
    run, by the run after a crash, or by two runs at once. A row that was not sent ends once per
    attempt and code.
    """
    return ":".join([operation_id, str(attempt), status, *([unsent_code] if unsent_code else [])])


def receipt(
    operation: Operation,
    *,
    system: str,
    plan_id: str,
    planned_at: datetime | str,
    event_id: str,
    status: str,
    at: datetime,
    attempt: int | None,
    **fields: Any,
) -> dict[str, Any]:
    """The CloudEvent of one receipt; fields that are None are left out, datetimes become ISO 8601
    in UTC.

    `fields`: record_id, code, message, sent_at, answered_at, confirmed_at, written.
    """
    data: dict[str, Any] = {
        "plan_id": plan_id,
        "operation_id": operation.operation_id,
        "status": status,
        "system": system,
        "object": operation.object,
        "action": operation.action,
        "external_id": operation.external_id,
        "person_id": operation.person_id,
        "attempt": attempt,
        "planned_at": planned_at,
        "reasons": list(operation.reasons) or None,
        **fields,
    }
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": event_id,
        "source": SOURCE,
        "type": TYPE,
        "subject": f"receipt/{system}/{operation.operation_id}",
        "time": instant(at),
        "datacontenttype": "application/json",
        "dataschema": CONTRACT,
        "data": {
            name: instant(value) if isinstance(value, datetime) else value
            for name, value in data.items()
            if value is not None
        },
    }
    if operation.trace_parent:
        event["traceparent"] = operation.trace_parent
    return event


def instant(value: datetime) -> str:
    """ISO 8601 in UTC with microseconds and Z; a naive datetime is a programming error."""
    if value.tzinfo is None:
        raise ValueError(f"clock gave a datetime without zone: {value}")
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def last_attempt(log: LogReader, operation_id: str) -> int:
    """How often the operation was sent before, 0 for never; O(log n) lookups in the log's index."""
    if not log.contains(SOURCE, sent_id(operation_id, 1)):
        return 0
    sent, unsent = 1, 2
    while log.contains(SOURCE, sent_id(operation_id, unsent)):
        sent, unsent = unsent, unsent * 2
    while unsent - sent > 1:
        middle = (sent + unsent) // 2
        if log.contains(SOURCE, sent_id(operation_id, middle)):
            sent = middle
        else:
            unsent = middle
    return sent


def open_sends(log: LogReader, system: str, plans_dir: Path | None) -> dict[str, OpenSend]:
    """Operations of `system` that were sent and have no final receipt, by operation_id.

    Reads what the log gained since the last call; how far that was stands in
    `<plans_dir>/.in_flight-<system>.json`, which may be deleted at any time: the log is then read
    from its start.
    """
    path = plans_dir / f".in_flight-{system}.json" if plans_dir is not None else None
    cursor, marker, found = _remembered(log, path)
    start = cursor
    prefix = f"receipt/{system}/"
    while entries := log.read(cursor, READ_LIMIT):
        for entry in entries:
            event = entry.event
            if event.get("source") == SOURCE and str(event.get("subject", "")).startswith(prefix):
                _take(found, event)
        cursor, marker = entries[-1].seq, _name(entries[-1].event)
    if path is not None and cursor != start:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = {
            "cursor": cursor,
            "marker": marker,
            "open": [asdict(send) for send in found.values()],
        }
        write_atomically(path, json.dumps(held))
    return found


def _remembered(log: LogReader, path: Path | None) -> tuple[int, str | None, dict[str, OpenSend]]:
    if path is None or not path.is_file():
        return 0, None, {}
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        cursor, marker = int(held["cursor"]), held["marker"]
        sends = [OpenSend(**send) for send in held["open"]]
        found = {send.operation_id: send for send in sends}
    except (ValueError, KeyError, TypeError):
        return 0, None, {}
    # The same position in another log (restored, or begun anew) would hide what is open there.
    entries = log.read(cursor - 1, 1) if cursor > 0 else []
    if not entries or entries[0].seq != cursor or _name(entries[0].event) != marker:
        return 0, None, {}
    return cursor, marker, found


def _take(found: dict[str, OpenSend], event: Mapping[str, Any]) -> None:
    data = event["data"]
    if data["status"] != "sent":
        found.pop(data["operation_id"], None)
        return
    found[data["operation_id"]] = OpenSend(dict(data), event.get("traceparent"))


def _name(event: Mapping[str, Any]) -> str:
    return f"{event.get('source')} {event.get('id')}"

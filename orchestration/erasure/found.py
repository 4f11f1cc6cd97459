"""What there is about a person in the log and the archive, found by way of the warehouse, which holds a row of each; changes nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from ingestion.connectors import catalog
from ingestion.contracts import registry
from ingestion.erasure.late import record_of, system_of
from ingestion.erasure.named import OF_COLLEAGUES, RECORDS, Named, any_of, redacted, what_is_left
from ingestion.landing.archive import hash_of
from ingestion.landing.warehouse import has_table
from ingestion.log.interface import LogReader, QuarantineEntry, Rejection, StoredEvent
from orchestration.erasure.person import Person

if TYPE_CHECKING:
    import duckdb

_QUARANTINE_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of a row of the archive: its payload without the person, and the hash it has then."""

    payload: str
    row_hash: int


@dataclass(slots=True)
class Found:
    """What goes: of the log by seq what is left (empty: nothing), kept rejections, and rows of the archive by (system, resource, segment) and
    row_hash. `done` and `emptied` are events and rejections that have gone from the log, and may not have from the warehouse."""

    events: dict[int, tuple[StoredEvent, bytes]] = field(default_factory=dict)
    done: dict[int, StoredEvent] = field(default_factory=dict)
    quarantine_ids: list[int] = field(default_factory=list)
    emptied: list[QuarantineEntry] = field(default_factory=list)
    rows: dict[tuple[str, str, int], dict[int, Left | None]] = field(default_factory=dict)

    @property
    def is_nothing(self) -> bool:
        """Whether there is nothing to be taken from log and archive."""
        return not (self.events or self.quarantine_ids or self.rows)

    @property
    def row_counts(self) -> dict[tuple[str, str], int]:
        """Rows of the archive by system and resource."""
        counts: dict[tuple[str, str], int] = {}
        for (system, resource, _), changed in self.rows.items():
            counts[system, resource] = counts.get((system, resource), 0) + len(changed)
        return counts

    @property
    def event_counts(self) -> dict[str, int]:
        """Events of the log by record."""
        counts: dict[str, int] = {}
        for row, _ in self.events.values():
            record = registry.record_of(orjson.loads(row.payload)["type"])
            counts[record] = counts.get(record, 0) + 1
        return dict(sorted(counts.items()))


def find_all(connection: duckdb.DuckDBPyConnection, reader: LogReader, person: Person) -> Found:
    """Everything about `person` in what has landed in the warehouse, and in the quarantine of the log."""
    found = Found()
    addresses = any_of(set(person.spellings)) if person.addresses else None
    for record, named in RECORDS.items():
        if not has_table(connection, "raw_events", registry.RECORD_TABLES[record]):
            continue
        candidates = _candidates_in_events(connection, record, named, person)
        erased = reader.erased_seqs(candidates)
        for seq in candidates:
            [row] = reader.read_stored(seq, seq, 1)
            left = _event_left(row, record, named, person, addresses)
            if left is not None:
                found.events[seq] = (row, left)
            elif seq in erased:
                found.done[seq] = row
    for system in catalog.systems("source"):
        for resource, named in catalog.source(system).NAMED.items():
            for segment, row_hash, row_left in _rows_left(
                connection, system, resource, named, person, addresses
            ):
                found.rows.setdefault((system, resource, segment), {})[row_hash] = row_left
    _find_refused(reader, person, found)
    return found


def _event_left(
    row: StoredEvent,
    record: str,
    named: Named,
    person: Person,
    addresses: re.Pattern[str] | None,
) -> bytes | None:
    """What is left of an event, None when it stays as it is."""
    if not row.payload:
        return None
    event = orjson.loads(row.payload)
    data = what_is_left(event["data"], named, person.asking(system_of(event)))
    if data is None:
        return b""
    left: Any = event if data is event["data"] else {**event, "data": data}
    if addresses is not None and record not in OF_COLLEAGUES:
        left = redacted(left, addresses)
    return None if left == event else orjson.dumps(left)


def _candidates_in_events(
    connection: duckdb.DuckDBPyConnection, record: str, named: Named, person: Person
) -> list[int]:
    """Events of a record that may name the person: by the columns that name people, or by an address in any of its texts."""
    ids = {kind: _values(person, kind) for kind in ("record", "address", "visitor", "person")}
    ids["stated"] = ids["record"]
    ids["mailbox"] = sorted({*ids["address"], *_values(person, "mailbox")})
    conditions: list[str] = []
    values: list[Any] = []
    for kind, place in named.places:
        column = place.removesuffix("[]")
        if place.endswith("[]"):
            conditions.append(f"regexp_matches({column}::varchar, ?)")
            values.append(_within_json(ids[kind]))
        else:
            conditions.append(f"lower(trim({column})) in (select unnest(?::varchar[]))")
            values.append([each.lower() for each in ids[kind]])
        if record == "merge":
            # A person's word names records as system:id.
            conditions.append(f"regexp_matches({column}::varchar, ?)")
            values.append(_within_json(ids[kind]))
    if person.addresses and record not in OF_COLLEAGUES:
        # As JSON: a row as text puts a backslash before each apostrophe.
        conditions.append("regexp_matches(lower(to_json(events)::varchar), ?)")
        values.append("|".join(re.escape(each) for each in person.spellings))
    if not conditions:
        return []
    table = registry.RECORD_TABLES[record]
    rows = connection.execute(
        f"select seq from raw_events.{table} as events where {' or '.join(conditions)} order by seq",
        values,
    ).fetchall()
    return [seq for (seq,) in rows]


def _rows_left(
    connection: duckdb.DuckDBPyConnection,
    system: str,
    resource: str,
    named: Named,
    person: Person,
    addresses: re.Pattern[str] | None,
) -> Iterator[tuple[int, int, Left | None]]:
    """Segment, row_hash and what is left of each row that names the person."""
    ids = [key.value for key in person.keys if key.kind == "record" and key.system == system]
    looked_for = _within_json(ids) if ids and named.places else None
    mailboxes = {key.value for key in person.keys if key.kind == "mailbox" and key.system == system}
    address = "|".join(re.escape(each) for each in sorted({*person.spellings, *mailboxes}))
    conditions: list[str] = []
    values: list[Any] = []
    if looked_for is not None:
        conditions.append(
            "record_id in (select unnest(?::varchar[])) or regexp_matches(payload::varchar, ?)"
        )
        values += [ids, looked_for]
    if address and resource not in OF_COLLEAGUES:
        conditions.append("regexp_matches(lower(payload::varchar), ?)")
        values.append(address)
    if not conditions:
        return
    cursor = connection.cursor()
    cursor.execute(
        f"select segment, row_hash, record_id, is_deleted, payload::varchar from raw_{system}.{resource} where {' or '.join(conditions)}",
        values,
    )
    asking = person.asking(system)
    while rows := cursor.fetchmany(1_000):
        for segment, row_hash, record_id, is_deleted, payload in rows:
            row = orjson.loads(payload)
            left: Any = what_is_left(row, named, asking, record_id)
            if left is not None and addresses is not None and resource not in OF_COLLEAGUES:
                left = redacted(left, addresses)
            if left is None:
                yield segment, row_hash, None
            elif left != row:
                text = orjson.dumps(left, option=orjson.OPT_SORT_KEYS)
                yield segment, row_hash, Left(text.decode(), hash_of(record_id, is_deleted, text))


def _find_refused(reader: LogReader, person: Person, found: Found) -> None:
    """Kept rejections that hold any of the person's texts, or are of an event that names them; and those that are empty already."""
    texts = any_of(set(person.texts)) if person.texts else None
    after = 0
    while entries := reader.read_quarantine(after, _QUARANTINE_PAGE):
        after = entries[-1].quarantine_id
        for entry in entries:
            if not entry.rejection.payload:
                found.emptied.append(entry)
            elif _is_of(entry.rejection, person, texts):
                found.quarantine_ids.append(entry.quarantine_id)


def _is_of(kept: Rejection, person: Person, texts: re.Pattern[str] | None) -> bool:
    told = [kept.payload.decode("utf-8", "replace"), kept.message, kept.context, kept.event_id, kept.event_source]  # fmt: skip
    try:
        event = orjson.loads(kept.payload)
        # Without escapes.
        told.append(orjson.dumps(event).decode())
        if isinstance(event, dict) and (record := record_of(event)) is not None:
            asking = person.asking(system_of(event))
            if what_is_left(event["data"], RECORDS[record], asking) != event["data"]:
                return True
    except (ValueError, KeyError, TypeError, AttributeError):
        # It was refused for a reason: nothing in it need be what it should be.
        pass
    return texts is not None and any(texts.search(text) for text in told if text)


def _values(person: Person, kind: str) -> list[str]:
    return sorted({key.value for key in person.keys if key.kind == kind})


def _within_json(ids: Sequence[str]) -> str:
    """RE2 that finds any of `ids` as a whole value in JSON, or behind a system's name."""
    if not ids:
        return "[^\\s\\S]"
    return rf'(?:^|[":\[,\s])(?:{"|".join(map(re.escape, ids))})(?:$|[",\]}}\s])'

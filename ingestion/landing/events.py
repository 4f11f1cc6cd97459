"""Lands the event log in raw_events: accepted events by record, refused ones in rejections;
decides nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING, Any

import orjson

from ingestion.contracts import registry
from ingestion.contracts.columns import ENVELOPE_COLUMNS, Column, Kind, record_columns
from ingestion.contracts.instants import parse_instant
from ingestion.errors.catalog import HandoffError
from ingestion.landing.landed import Landed, Progress
from ingestion.landing.raw_tables import EVENTS, REJECTIONS, create_system_tables, event_tables
from ingestion.landing.warehouse import RawSchema, open_raw
from ingestion.log.interface import LogEntry, LogReader, QuarantineEntry
from ingestion.log.owner import open_reader
from ingestion.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

# One load package; parsed in smaller pieces, as parsed JSON takes several times the memory of
# Arrow.
LOAD_EVENTS = 200_000
PARSE_EVENTS = 20_000
# A broken sender must not fill the report; the count of rows says the rest.
_SHOWN_VALUES = 100
_CENT = Decimal("0.01")

_PYTHON_VALUES: dict[Kind, Callable[[Any], Any]] = {
    "text": str,
    "instant": parse_instant,
    "date": date.fromisoformat,
    "integer": int,
    "number": float,
    "money": lambda value: Decimal(str(value)).quantize(_CENT, ROUND_HALF_EVEN),
    "boolean": bool,
    "json": lambda value: orjson.dumps(value).decode(),
}
# Arrow takes these as JSON gives them; only when it refuses a value is each looked at on its own.
_TAKEN_AS_THEY_ARE: frozenset[Kind] = frozenset({"text", "integer", "number", "boolean"})


def land_events(settings: Settings, progress: Progress | None = None) -> Landed:
    """Append to raw_events what the log has beyond it when this is called; afterwards every raw
    table exists, if need be empty.

    The cursor is the greatest `seq` of finished loads, so a landing that died is repeated from
    where it began. Raises WAREHOUSE_LOCKED or WAREHOUSE_CORRUPT.
    """
    started = time.perf_counter()
    schemas, hints = event_tables()
    rows: dict[str, int] = {}
    unrepresentable: list[str] = []
    with open_raw(settings, EVENTS, schemas, hints) as raw:
        create_system_tables(settings, raw.connection)
        reader = open_reader(settings)
        try:
            records = [table for table in schemas if table != REJECTIONS]
            cursor = first = raw.greatest("seq", records)
            refused = raw.greatest("seq", [REJECTIONS])
            # Up to where the log ends now: under steady traffic it never ends.
            end, refused_end = reader.last_seq(), reader.last_quarantine_id()
            while cursor < end or refused < refused_end:
                pieces, last = _read_events(reader, cursor, unrepresentable)
                rejected, last_refused = _read_rejections(reader, refused, schemas[REJECTIONS])
                pieces += rejected
                if last == cursor and last_refused == refused:
                    break
                _append(raw, pieces, rows, progress)
                cursor, refused = last, last_refused
        finally:
            reader.close()
        removed = dict(raw.removed)
    return Landed(
        rows,
        first + 1 if cursor > first else None,
        cursor if cursor > first else None,
        time.perf_counter() - started,
        removed,
        tuple(unrepresentable[:_SHOWN_VALUES]),
    )


def _append(
    raw: RawSchema,
    pieces: list[tuple[str, pa.Table]],
    rows: dict[str, int],
    progress: Progress | None,
) -> None:
    import pyarrow as pa

    grouped: dict[str, list[pa.Table]] = {}
    for table, piece in pieces:
        grouped.setdefault(table, []).append(piece)
    report = raw.append({table: pa.concat_tables(found) for table, found in grouped.items()})
    for table, count in report.rows.items():
        rows[table] = rows.get(table, 0) + count
    if progress:
        progress(EVENTS, sum(rows.values()))


def _read_events(
    reader: LogReader, after: int, unrepresentable: list[str]
) -> tuple[list[tuple[str, pa.Table]], int]:
    """Up to LOAD_EVENTS events as Arrow, with the last `seq` read."""
    pieces: list[tuple[str, pa.Table]] = []
    last, count = after, 0
    while count < LOAD_EVENTS:
        entries = reader.read(last, min(PARSE_EVENTS, LOAD_EVENTS - count))
        if not entries:
            break
        by_record: dict[str, list[LogEntry]] = {}
        for entry in entries:
            try:
                record = registry.record_of(entry.event["type"])
            except HandoffError as error:
                # Accepted under a contract this version no longer has: it stays in the log, and is
                # said.
                unrepresentable.append(f"event of seq {entry.seq}: {error.message}")
                continue
            by_record.setdefault(record, []).append(entry)
        for record, found in by_record.items():
            pieces.append(
                (registry.RECORD_TABLES[record], to_table(record, found, unrepresentable))
            )
        last = entries[-1].seq
        count += len(entries)
    return pieces, last


def _read_rejections(
    reader: LogReader, after: int, schema: pa.Schema
) -> tuple[list[tuple[str, pa.Table]], int]:
    pieces: list[tuple[str, pa.Table]] = []
    last, count = after, 0
    while count < LOAD_EVENTS:
        entries = reader.read_quarantine(last, min(PARSE_EVENTS, LOAD_EVENTS - count))
        if not entries:
            break
        pieces.append((REJECTIONS, rejections_table(entries, schema)))
        last = entries[-1].quarantine_id
        count += len(entries)
    return pieces, last


def to_table(record: str, entries: Sequence[LogEntry], unrepresentable: list[str]) -> pa.Table:
    """Events of one record as its raw table; values no column can hold become null and are named
    in the list."""
    import pyarrow as pa

    from ingestion.contracts.columns import arrow_schema

    schema = arrow_schema(record)
    events = [entry.event for entry in entries]
    data: list[dict[str, Any]] = [event["data"] for event in events]
    present = set().union(*data)
    made: dict[str, Any] = {
        "seq": [entry.seq for entry in entries],
        "received_at": [entry.received_at for entry in entries],
        "contract_version": [registry.contract_of(event).version for event in events],
        "null_fields": [_null_fields(fields) for fields in data],
    }
    arrays = []
    for column in ENVELOPE_COLUMNS:
        kind = schema.field(column.name).type
        if column.name in made:
            arrays.append(pa.array(made[column.name], kind))
            continue
        values = [event.get(column.field) for event in events]
        arrays.append(_array(column, values, kind, entries, record, unrepresentable))
    for column in record_columns(record):
        kind = schema.field(column.name).type
        if column.field not in present:
            arrays.append(pa.nulls(len(data), kind))
            continue
        values = [fields.get(column.field) for fields in data]
        arrays.append(_array(column, values, kind, entries, record, unrepresentable))
    return pa.Table.from_arrays(arrays, schema=schema)


def rejections_table(entries: Sequence[QuarantineEntry], schema: pa.Schema) -> pa.Table:
    """Refused payloads as the rejections table; bytes that are no UTF-8 show as U+FFFD, the log
    has them as sent."""
    import pyarrow as pa

    columns: dict[str, list[Any]] = {
        name: [getattr(entry.rejection, name, None) for entry in entries] for name in schema.names
    }
    columns["seq"] = [entry.quarantine_id for entry in entries]
    columns["received_at"] = [entry.received_at for entry in entries]
    columns["payload"] = [
        entry.rejection.payload.decode("utf-8", errors="replace") for entry in entries
    ]
    return pa.table(columns, schema=schema)


def _null_fields(fields: dict[str, Any]) -> str:
    if None not in fields.values():
        return "[]"
    return orjson.dumps([name for name, value in fields.items() if value is None]).decode()


def _array(
    column: Column,
    values: list[Any],
    kind: pa.DataType,
    entries: Sequence[LogEntry],
    record: str,
    unrepresentable: list[str],
) -> pa.Array:
    import pyarrow as pa

    convert = _PYTHON_VALUES[column.kind]
    try:
        if column.kind not in _TAKEN_AS_THEY_ARE:
            values = [None if value is None else convert(value) for value in values]
        return pa.array(values, kind)
    except (pa.ArrowException, ValueError, ArithmeticError, TypeError, OverflowError):
        pass
    held: list[Any] = []
    for value, entry in zip(values, entries, strict=True):
        try:
            fitting = None if value is None else pa.scalar(convert(value), kind)
        except (pa.ArrowException, ValueError, ArithmeticError, TypeError, OverflowError):
            place = f"{registry.RECORD_TABLES[record]}.{column.name} of seq {entry.seq}"
            unrepresentable.append(f"{place}: {value!r:.200}")
            fitting = None
        held.append(None if fitting is None else fitting.as_py())
    return pa.array(held, kind)

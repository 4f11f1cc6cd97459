"""Lands the event log in raw_events: accepted events by record, refused ones in rejections;
decides nothing."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import orjson

from ingestion.contracts import registry
from ingestion.contracts.columns import ENVELOPE_COLUMNS, Column, Kind, record_columns
from ingestion.contracts.instants import parse_instant
from ingestion.contracts.upcasts import outdated, upcast
from ingestion.erasure.late import keys_in, refused_left, without_erased
from ingestion.errors.catalog import HandoffError
from ingestion.landing import columnar
from ingestion.landing.bulk_order import keep_bulk_order, read_bulk_order
from ingestion.landing.landed import Landed, Progress
from ingestion.landing.marks import write_mark
from ingestion.landing.raw_tables import (
    EVENTS,
    LANDINGS,
    OUTCOMES,
    REJECTIONS,
    create_system_tables,
    event_tables,
    landed_through,
)
from ingestion.landing.raw_values import json_text, money, null_fields
from ingestion.landing.upcasting import brought_up, with_provenance
from ingestion.landing.warehouse import RawSchema, open_raw
from ingestion.log.encoding import from_microseconds
from ingestion.log.interface import (
    LANES,
    Lane,
    LogEntry,
    LogReader,
    OutcomeEntry,
    QuarantineEntry,
    StoredEvent,
)
from ingestion.log.owner import open_reader
from ingestion.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

# One load package; parsed in smaller pieces, as parsed JSON takes several times the memory of
# Arrow. Parsing the next load while one is written was measured to gain nothing: both use each core.
LOAD_EVENTS = 200_000
PARSE_EVENTS = 20_000
# A broken sender must not fill the report; the count of rows says the rest.
_SHOWN_VALUES = 100

_PYTHON_VALUES: dict[Kind, Callable[[Any], Any]] = {
    "text": str,
    "instant": parse_instant,
    "date": date.fromisoformat,
    "integer": int,
    "number": float,
    "money": money,
    "boolean": bool,
    "json": json_text,
}
# Arrow takes these as JSON gives them; only when it refuses a value is each looked at on its own.
_TAKEN_AS_THEY_ARE: frozenset[Kind] = frozenset({"text", "integer", "number", "boolean"})


def land_events(
    settings: Settings, progress: Progress | None = None, *, bulk_limit: int | None = None
) -> Landed:
    """Append to raw_events what the log has beyond it when this is called: everything live, then
    everything bulk or `bulk_limit` events of it. Afterwards every raw table exists, if need be
    empty.

    The cursors of the lanes are in the same load as the events, so a landing that died is repeated
    from where it began. Raises WAREHOUSE_LOCKED or WAREHOUSE_CORRUPT.
    """
    started = time.perf_counter()
    schemas, hints = event_tables()
    rows: dict[str, int] = {}
    unrepresentable: list[str] = []
    with open_raw(settings, EVENTS, schemas, hints) as raw:
        create_system_tables(settings, raw.connection)
        reader = open_reader(settings)
        try:
            keys = keys_in(reader)
            beside = _Beside(
                reader,
                raw.greatest("seq", [REJECTIONS]),
                raw.greatest("seq", [OUTCOMES]),
                schemas,
                lambda entries: refused_left(settings, keys, entries),
            )
            # Up to where the log ends now: under steady traffic it never ends.
            end = reader.last_seq()
            through = landed_through(raw.connection)
            stretches, waiting = _stretches(settings, reader, through, end, bulk_limit)
            events = _Events(reader, through, end, stretches, bulk_is_whole=not waiting)
            loads = _Loads(
                events,
                beside,
                schemas,
                unrepresentable,
                lambda stored: without_erased(settings, keys, stored),
            )
            while pieces := loads.read():
                _append(raw, pieces, rows, progress)
        finally:
            reader.close()
        write_mark(settings, "landed", events.landed)
        removed = {table: count for table, count in raw.removed.items() if table != LANDINGS}
    return Landed(
        rows,
        events.first,
        events.last,
        time.perf_counter() - started,
        removed,
        tuple(unrepresentable[:_SHOWN_VALUES]),
        events.taken["live"],
        events.taken["bulk"],
        waiting,
    )


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Events `first` to `last` of one lane, to be landed as received no earlier than `floor_us`."""

    lane: Lane
    first: int
    last: int
    floor_us: int = 0


def _stretches(
    settings: Settings, reader: LogReader, through: dict[Lane, int], end: int, limit: int | None
) -> tuple[list[_Stretch], int]:
    """What is to be landed, live before bulk, and how many bulk events have to wait; what is taken
    up of the bulk lane is remembered beside the log."""
    live = [_Stretch("live", *span) for span in reader.spans("live", through["live"], end)]
    spans = reader.spans("bulk", through["bulk"], end)
    if not spans:
        return live, 0
    order = read_bulk_order(settings)
    # What was taken up before is no backlog: it is a landing that died, or a warehouse rebuilt.
    known = _count(spans, order.taken_through)
    total = _count(spans, end)
    budget = total if limit is None else min(max(limit, known), total)
    taken = list(_first(spans, budget))
    if taken and taken[-1][1] > order.taken_through:
        decided = reader.spans("live", 0, through["live"])
        fresh = next(max(first, order.taken_through + 1) for first, last in taken if last > order.taken_through)  # fmt: skip
        order = order.with_slice(fresh, taken[-1][1], decided[-1][1] if decided else 0)
        keep_bulk_order(settings, order)
    bulk = [
        _Stretch("bulk", first, last, _received_us(reader, after))
        for first, last, after in order.parts(taken)
    ]
    return live + bulk, total - budget


def _count(spans: Sequence[tuple[int, int]], through: int) -> int:
    return sum(max(min(last, through) - first + 1, 0) for first, last in spans)


def _first(spans: Sequence[tuple[int, int]], count: int) -> Iterator[tuple[int, int]]:
    """The spans of the first `count` positions in `spans`."""
    for first, last in spans:
        if count <= 0:
            return
        yield first, min(last, first + count - 1)
        count -= last - first + 1


def _received_us(reader: LogReader, seq: int) -> int:
    found = reader.read_stored(seq, seq, 1) if seq else []
    return found[0].received_us if found else 0


class _Events:
    """Reads stretches one after the other, and knows how far each lane has come by that."""

    def __init__(
        self,
        reader: LogReader,
        through: dict[Lane, int],
        end: int,
        stretches: Sequence[_Stretch],
        *,
        bulk_is_whole: bool,
    ) -> None:
        self._reader = reader
        self._end = end
        self._stretches = deque(stretches)
        self._is_whole = {"live": True, "bulk": bulk_is_whole}
        self._at = stretches[0].first if stretches else 0
        self._through = dict(through)
        self._marked = dict(through)
        self._unmarked: dict[Lane, int] = dict.fromkeys(LANES, 0)
        self.taken: dict[Lane, int] = dict.fromkeys(LANES, 0)
        self.first: int | None = None
        self.last: int | None = None

    def read(self, limit: int) -> list[StoredEvent]:
        """Up to `limit` further events."""
        found: list[StoredEvent] = []
        while self._stretches and len(found) < limit:
            stretch = self._stretches[0]
            rows = self._reader.read_stored(self._at, stretch.last, limit - len(found))
            if rows:
                self._note(stretch.lane, rows)
                # Of what was erased there is nothing to land.
                found += [
                    row._replace(received_us=max(row.received_us, stretch.floor_us))
                    if stretch.floor_us
                    else row
                    for row in rows
                    if row.payload
                ]
            if not rows or rows[-1].seq == stretch.last:
                self._through[stretch.lane] = stretch.last
                self._stretches.popleft()
                self._at = self._stretches[0].first if self._stretches else 0
            else:
                self._at = rows[-1].seq + 1
        return found

    def _note(self, lane: Lane, rows: list[StoredEvent]) -> None:
        first, last = rows[0].seq, rows[-1].seq
        self.first = first if self.first is None else min(self.first, first)
        self.last = last if self.last is None else max(self.last, last)
        self.taken[lane] += len(rows)
        self._unmarked[lane] += len(rows)
        self._through[lane] = last

    @property
    def landed(self) -> dict[Lane, int]:
        """How far each lane has come by the rows of `landings` made so far."""
        return dict(self._marked)

    def mark(self) -> dict[str, int] | None:
        """The row of `landings` for what was read since the last; None when nothing was."""
        if not any(self._unmarked.values()):
            return None
        left = {stretch.lane for stretch in self._stretches}
        row: dict[str, int] = {}
        for lane in LANES:
            # A lane read to its end needs nothing of the other lane behind that end either.
            if lane not in left and self._is_whole[lane]:
                self._through[lane] = self._end
            row[f"{lane}_after_seq"] = self._marked[lane]
            row[f"{lane}_through_seq"] = self._through[lane]
            row[f"{lane}_events"] = self._unmarked[lane]
        self._marked = dict(self._through)
        self._unmarked = dict.fromkeys(LANES, 0)
        return row


@dataclass(slots=True)
class _Loads:
    """Reads one load after the other: events, how far they bring each lane, and what was refused."""

    events: _Events
    beside: _Beside
    schemas: dict[str, pa.Schema]
    unrepresentable: list[str]
    # What came in about somebody who had been erased goes before it lands.
    screened: Callable[[list[StoredEvent]], list[StoredEvent]]

    def read(self) -> list[tuple[str, pa.Table]]:
        """The next load's pieces by table; none at the end."""
        pieces = _read_events(self.events, self.unrepresentable, self.screened)
        if marks := self.events.mark():
            pieces.append((LANDINGS, _row(marks, self.schemas[LANDINGS])))
        return pieces + self.beside.read()


class _Beside:
    """Reads what was refused, and what became of it when it was taken again, up to where both end now."""

    def __init__(
        self,
        reader: LogReader,
        refused: int,
        outcomes: int,
        schemas: dict[str, pa.Schema],
        screened: Callable[[list[QuarantineEntry]], list[QuarantineEntry]],
    ) -> None:
        self._reader = reader
        self._screened = screened
        self._refused, self._refused_end = refused, reader.last_quarantine_id()
        self._outcomes, self._outcomes_end = outcomes, reader.last_outcome_id()
        self._schemas = schemas

    def read(self) -> list[tuple[str, pa.Table]]:
        """The next load's pieces by table; none at the end."""
        pieces: list[tuple[str, pa.Table]] = []
        if self._refused < self._refused_end:
            pieces, self._refused = _read_rejections(
                self._reader, self._refused, self._schemas[REJECTIONS], self._screened
            )
        while self._outcomes < self._outcomes_end:
            entries = self._reader.read_outcomes(self._outcomes, PARSE_EVENTS)
            pieces.append((OUTCOMES, outcomes_table(entries, self._schemas[OUTCOMES])))
            self._outcomes = entries[-1].outcome_id
        return pieces


def _row(values: dict[str, int], schema: pa.Schema) -> pa.Table:
    """One row as a table."""
    import pyarrow as pa

    return pa.Table.from_pylist([values], schema=schema)


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
        if table == LANDINGS:
            continue
        rows[table] = rows.get(table, 0) + count
    if progress:
        progress(EVENTS, sum(rows.values()))


def _read_events(
    events: _Events,
    unrepresentable: list[str],
    screened: Callable[[list[StoredEvent]], list[StoredEvent]],
) -> list[tuple[str, pa.Table]]:
    """Up to LOAD_EVENTS events as Arrow."""
    pieces: list[tuple[str, pa.Table]] = []
    count = 0
    while count < LOAD_EVENTS:
        stored = events.read(min(PARSE_EVENTS, LOAD_EVENTS - count))
        if not stored:
            break
        pieces += to_tables(screened(stored), unrepresentable)
        count += len(stored)
    return pieces


def to_tables(
    stored: Sequence[StoredEvent], unrepresentable: list[str]
) -> list[tuple[str, pa.Table]]:
    """Events as rows of their raw tables, in the order they are given in within each."""
    by_record: dict[str, list[StoredEvent]] = {}
    for row in stored:
        by_record.setdefault(columnar.record_guess(row.payload), []).append(row)
    tables: list[tuple[str, pa.Table]] = []
    for guess, rows in by_record.items():
        table = _in_columns(guess, rows) if guess in registry.RECORD_TABLES else None
        if table is None:
            tables += _one_by_one(rows, unrepresentable)
        else:
            tables.append((registry.RECORD_TABLES[guess], table))
    return tables


def _in_columns(record: str, rows: Sequence[StoredEvent]) -> pa.Table | None:
    if not outdated(record):
        return columnar.parse(record, rows)
    brought, sent = brought_up(record, rows)
    table = columnar.parse(record, brought)
    return table if table is None or not sent else with_provenance(table, record, sent)


def _one_by_one(
    stored: Sequence[StoredEvent], unrepresentable: list[str]
) -> list[tuple[str, pa.Table]]:
    """The same by parsing each event: what `columnar` is held to, and the way of what it refuses."""
    by_record: dict[str, list[LogEntry]] = {}
    for row in stored:
        entry = parse_entry(row)
        try:
            record = registry.record_of(entry.event["type"])
        except HandoffError as error:
            # Accepted under a contract this version no longer has: it stays in the log, and is
            # said.
            unrepresentable.append(f"event of seq {entry.seq}: {error.message}")
            continue
        by_record.setdefault(record, []).append(entry)
    return [
        (registry.RECORD_TABLES[record], to_table(record, found, unrepresentable))
        for record, found in by_record.items()
    ]


def parse_entry(row: StoredEvent) -> LogEntry:
    """The event of a row; LOG_CORRUPT when it is not JSON."""
    try:
        return LogEntry(row.seq, from_microseconds(row.received_us), orjson.loads(row.payload))
    except (ValueError, OverflowError) as error:
        raise HandoffError(
            "LOG_CORRUPT", f"event {row.seq} in the log is not what was appended: {error}"
        ) from error


def _read_rejections(
    reader: LogReader,
    after: int,
    schema: pa.Schema,
    screened: Callable[[list[QuarantineEntry]], list[QuarantineEntry]],
) -> tuple[list[tuple[str, pa.Table]], int]:
    pieces: list[tuple[str, pa.Table]] = []
    last, count = after, 0
    while count < LOAD_EVENTS:
        entries = reader.read_quarantine(last, min(PARSE_EVENTS, LOAD_EVENTS - count))
        if not entries:
            break
        pieces.append((REJECTIONS, rejections_table(screened(entries), schema)))
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
    contracts = [registry.contract_of(event) for event in events]
    old = outdated(record)
    data: list[dict[str, Any]] = [
        upcast(event["data"], contract) if contract.version in old else event["data"]
        for event, contract in zip(events, contracts, strict=True)
    ]
    present = set().union(*data)
    target = registry.table_version(record)
    made: dict[str, Any] = {
        "seq": [entry.seq for entry in entries],
        "received_at": [entry.received_at for entry in entries],
        "contract_version": [contract.version for contract in contracts],
        "upcast_to": [target if contract.version in old else None for contract in contracts],
        "null_fields": [null_fields(fields) for fields in data],
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


def outcomes_table(entries: Sequence[OutcomeEntry], schema: pa.Schema) -> pa.Table:
    """What became of refused payloads as the table of outcomes."""
    import pyarrow as pa

    columns: dict[str, list[Any]] = {
        name: [getattr(entry.outcome, name, None) for entry in entries] for name in schema.names
    }
    columns["seq"] = [entry.outcome_id for entry in entries]
    columns["received_at"] = [entry.recorded_at for entry in entries]
    columns["event_seq"] = [entry.outcome.seq for entry in entries]
    return pa.table(columns, schema=schema)


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

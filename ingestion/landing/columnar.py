"""Stored events of one record as a table, parsed column by column in C++; gives up whenever that might differ from `events.to_table`.

Parsing each event in Python was most of what landing took. Arrow's JSON reader takes the fields a contract names and no others, as the
type it gives; what that reader cannot tell (a null from an absent field, a nested value's own text) is read in Python for the rows that
have it. Strings, 64-bit integers and doubles come out the same, as the log's JSON is orjson's own; everything else is refused here.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from datetime import date
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import orjson

from ingestion.contracts import registry
from ingestion.contracts.columns import ENVELOPE_COLUMNS, arrow_schema, record_columns
from ingestion.contracts.instants import parse_instant
from ingestion.contracts.upcasts import outdated
from ingestion.errors.catalog import HandoffError
from ingestion.landing.raw_values import json_text, money, null_fields
from ingestion.log.interface import StoredEvent

if TYPE_CHECKING:
    import pyarrow as pa

_TYPE = b'"type":"com.handoff.'
# A block is parsed on one thread, and no event may straddle two: one that is larger goes the other way.
_BLOCK_BYTES = 2 * 1024 * 1024
# Above this a double no longer tells every integer, and money is exact.
_EXACT = 2.0**53
_RFC_3339 = (
    r"^\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?"
    r"(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)$"
)
_DAY = r"^\d{4}-\d\d-\d\d$"


def record_guess(payload: bytes) -> str:
    """The record a payload's first `type` names; `parse` finds out when it was another."""
    start = payload.find(_TYPE) + len(_TYPE)
    return payload[start : payload.find(b'"', start)].decode("ascii", "replace")


def parse(record: str, rows: Sequence[StoredEvent]) -> pa.Table | None:
    """`rows` as the raw table of `record`; None when any of them has to be looked at on its own."""
    import pyarrow as pa
    import pyarrow.compute as pc

    shape, json_fields = _shape(record)
    lines = b"\n".join([row.payload for row in rows])
    try:
        parsed = _read(lines, shape)
    except pa.ArrowException:
        return None
    if parsed.num_rows != len(rows) or not _is_all(parsed["type"], f"com.handoff.{record}"):
        return None
    data = parsed["data"].combine_chunks()
    if data.null_count or parsed["id"].null_count:
        return None
    looked_at = _looked_at(rows, [mark for mark in (b":null", *json_fields) if mark in lines])
    try:
        columns: dict[str, Any] = {
            "seq": pa.array([row.seq for row in rows], pa.int64()),
            "received_at": pa.array([row.received_us for row in rows], pa.int64()).cast(
                pa.timestamp("us", "UTC")
            ),
            "contract_version": _versions(record, parsed["dataschema"].combine_chunks()),
            "upcast_to": pa.nulls(len(rows), pa.string()),
            "null_fields": _texts(len(rows), looked_at, null_fields, "[]"),
        }
        schema = arrow_schema(record)
        for column in ENVELOPE_COLUMNS:
            if column.name not in columns:
                found = parsed[column.field].combine_chunks()
                columns[column.name] = _convert(column.kind, found)
        for column in record_columns(record):
            if column.kind == "json":
                columns[column.name] = _texts(
                    len(rows),
                    looked_at,
                    partial(_json, column.field),
                    None,
                )
            else:
                columns[column.name] = _convert(column.kind, pc.struct_field(data, column.field))
        return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)
    except (pa.ArrowException, HandoffError, ValueError, ArithmeticError, TypeError):
        return None


@cache
def _shape(record: str) -> tuple[pa.Schema, tuple[bytes, ...]]:
    """What the reader looks for, and how the fields begin whose values are kept as JSON text."""
    import pyarrow as pa

    types = {"integer": pa.int64(), "number": pa.float64(), "money": pa.float64(), "boolean": pa.bool_()}  # fmt: skip
    columns = record_columns(record)
    fields = [
        pa.field(column.field, types.get(column.kind, pa.string()))
        for column in columns
        if column.kind != "json"
    ]
    names = [column.field for column in ENVELOPE_COLUMNS if column.field]
    envelope = [pa.field(name, pa.string()) for name in (*names, "type", "dataschema")]
    nested = tuple(b'"%s":' % column.field.encode() for column in columns if column.kind == "json")
    return pa.schema([*envelope, pa.field("data", pa.struct(fields))]), nested


def _read(lines: bytes, shape: pa.Schema) -> pa.Table:
    import pyarrow.json as reading

    return reading.read_json(
        io.BytesIO(lines),
        read_options=reading.ReadOptions(block_size=_BLOCK_BYTES),
        parse_options=reading.ParseOptions(
            explicit_schema=shape, unexpected_field_behavior="ignore"
        ),
    )


def _is_all(values: pa.ChunkedArray, value: str) -> bool:
    import pyarrow.compute as pc

    return values.null_count == 0 and bool(pc.all(pc.equal(values, value)).as_py())


def _looked_at(
    rows: Sequence[StoredEvent], marks: Sequence[bytes]
) -> list[tuple[int, dict[str, Any]]]:
    """`data` of the rows that may state a null or a nested value, with their positions."""
    positions: set[int] = set()
    for mark in marks:
        positions.update(at for at, row in enumerate(rows) if mark in row.payload)
    return [(at, orjson.loads(rows[at].payload)["data"]) for at in sorted(positions)]


def _texts(
    count: int,
    looked_at: Sequence[tuple[int, dict[str, Any]]],
    text: Callable[[dict[str, Any]], str | None],
    otherwise: str | None,
) -> pa.Array:
    import pyarrow as pa

    values = [otherwise] * count
    for position, fields in looked_at:
        values[position] = text(fields)
    return pa.array(values, pa.string())


def _json(name: str, fields: dict[str, Any]) -> str | None:
    value = fields.get(name)
    return None if value is None else json_text(value)


def _versions(record: str, contracts: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    named = contracts.dictionary_encode(null_encoding="encode")
    versions = [
        registry.contract_of({"type": f"com.handoff.{record}", "dataschema": name}).version
        for name in named.dictionary.to_pylist()
    ]
    if not outdated(record).isdisjoint(versions):
        raise ValueError("an event of an older contract that is to be brought up first")
    return pc.take(pa.array(versions, pa.string()), named.indices)


def _convert(kind: str, values: pa.Array) -> pa.Array:
    """Values as the reader gives them, as their column holds them; raises where one of them is out of the ordinary."""
    import pyarrow as pa

    if kind == "instant":
        return _matching(values, _RFC_3339, pa.timestamp("us", "UTC"), parse_instant)
    if kind == "date":
        return _matching(values, _DAY, pa.date32(), date.fromisoformat)
    if kind == "money":
        amounts = values.to_pylist() if values.null_count < len(values) else []
        if any(amount is not None and abs(amount) >= _EXACT for amount in amounts):
            raise ValueError("an amount a double may not hold")
        exact = [None if amount is None else money(amount) for amount in amounts]
        return pa.array(exact or [None] * len(values), pa.decimal128(18, 2))
    return values


def _matching(
    values: pa.Array, pattern: str, kind: pa.DataType, parse: Callable[[str], Any]
) -> pa.Array:
    """Text of the usual form cast as it is; the whole column value by value where one has another."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if values.null_count == len(values):
        return pa.nulls(len(values), kind)
    usual = pc.all(pc.match_substring_regex(values, pattern)).as_py()
    # Arrow goes on before year 1 and after 9999, where Python and the warehouse end.
    edges = pc.any(pc.match_substring_regex(values, r"^(0000|0001-01-01|9999-12-31)")).as_py()
    if usual and not edges:
        return values.cast(kind)
    return pa.array([None if text is None else parse(text) for text in values.to_pylist()], kind)

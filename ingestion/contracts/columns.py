"""Contracts as columns of raw_events: names, kinds, Arrow schemas, dlt hints; it writes no file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from ingestion.contracts.registry import RECORD_TABLES, enum_of, newest_version, schema

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped,unused-ignore]

Kind = Literal["text", "instant", "date", "integer", "number", "money", "boolean", "json"]
Pii = Literal["direct", "indirect", "none"]

# Stands beside the records where a table is asked for: it has columns, but no contract.
REJECTIONS = "rejections"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a raw table.

    `field` is the key in `data` (for envelope columns the CloudEvents attribute, or "" where we
    make the value); `pii` is direct (names a person), indirect (points at one) or none.
    """

    name: str
    field: str
    kind: Kind
    nullable: bool
    description: str
    pii: Pii = "none"
    enum: str | None = None


ENVELOPE_COLUMNS: tuple[Column, ...] = (
    Column("seq", "", "integer", False, "Position in our event log; ascending, never reused."),
    Column(
        "event_id", "id", "text", False, "CloudEvents id: unique within event_source.", "indirect"
    ),
    Column("event_source", "source", "text", False, "CloudEvents source: who sent it."),
    Column(
        "event_subject",
        "subject",
        "text",
        False,
        "CloudEvents subject, <record>/<system>/<id>: the key that events are kept in order by.",
        "indirect",
    ),
    Column("contract_version", "", "text", False, "Version of the contract it was held to, x.y.z."),
    Column("occurred_at", "time", "instant", False, "When it happened at the sender, in UTC."),
    Column(
        "received_at",
        "",
        "instant",
        False,
        "When our log took it, in UTC; what came in bulk and was overtaken, no earlier than what was"
        " decided before it.",
    ),
    Column("trace_parent", "traceparent", "text", True, "W3C trace context it is correlated with."),
    Column(
        "null_fields",
        "",
        "json",
        False,
        "Array of the fields of data sent as null: null empties a field, absence leaves it.",
    ),
)

REJECTION_COLUMNS: tuple[Column, ...] = (
    Column("seq", "", "integer", False, "The quarantine id; ascending, never reused."),
    Column("received_at", "", "instant", False, "When it was put into quarantine, in UTC."),
    Column("door", "", "text", False, "Where it came in, for example events, webhook or file."),
    Column("event_source", "", "text", True, "CloudEvents source, as far as it could be read."),
    Column("event_id", "", "text", True, "CloudEvents id, as far as it could be read.", "indirect"),
    Column("event_type", "", "text", True, "CloudEvents type, as far as it could be read."),
    Column("contract_version", "", "text", True, "Version of the contract it was held to, x.y.z."),
    Column("code", "", "text", False, "Code from the error catalog."),
    Column("path", "", "text", True, "JSON pointer to the place that is wrong."),
    Column("message", "", "text", False, "What is wrong, for people to read.", "indirect"),
    Column("correlation_id", "", "text", True, "Correlation id of the call it came with."),
    Column("payload", "", "text", False, "What was sent, as it was sent.", "direct"),
)

_DLT_TYPES: dict[Kind, dict[str, Any]] = {
    "text": {"data_type": "text"},
    "instant": {"data_type": "timestamp", "timezone": True, "precision": 6},
    "date": {"data_type": "date"},
    "integer": {"data_type": "bigint"},
    "number": {"data_type": "double"},
    "money": {"data_type": "decimal", "precision": 18, "scale": 2},
    "boolean": {"data_type": "bool"},
    "json": {"data_type": "json"},
}


@cache
def record_columns(record: str) -> tuple[Column, ...]:
    """Columns of a record's `data`, in the order of its newest contract."""
    contract = schema(record, newest_version(record))
    required = contract["required"]
    return tuple(
        Column(
            name=field.get("x-column", key),
            field=key,
            kind=column_kind(key, field),
            nullable=key not in required or _takes_null(field),
            description=field["description"],
            pii=field["x-pii"],
            enum=enum_of(field),
        )
        for key, field in contract["properties"].items()
    )


def table_columns(record: str) -> tuple[Column, ...]:
    """Every column of a record's raw table, envelope first; also for "rejections"."""
    if record == REJECTIONS:
        return REJECTION_COLUMNS
    return ENVELOPE_COLUMNS + record_columns(record)


def raw_tables() -> dict[str, str]:
    """Record (and "rejections") → table in raw_events."""
    return RECORD_TABLES | {REJECTIONS: "rejections"}


def arrow_schema(record: str) -> pa.Schema:
    """Arrow schema of a record's raw table; also for "rejections".

    Instants are timestamp[us, UTC], money decimal128(18, 2) in US dollars, json its text.
    """
    import pyarrow as pa

    types: dict[Kind, pa.DataType] = {
        "text": pa.string(),
        "instant": pa.timestamp("us", tz="UTC"),
        "date": pa.date32(),
        "integer": pa.int64(),
        "number": pa.float64(),
        "money": pa.decimal128(18, 2),
        "boolean": pa.bool_(),
        "json": pa.string(),
    }
    return pa.schema(
        pa.field(column.name, types[column.kind], nullable=column.nullable)
        for column in table_columns(record)
    )


def dlt_columns(record: str) -> dict[str, dict[str, Any]]:
    """dlt column hints of a record's raw table by column name; also for "rejections"."""
    return {
        column.name: {
            "name": column.name,
            **_DLT_TYPES[column.kind],
            "nullable": column.nullable,
            "description": column.description,
        }
        for column in table_columns(record)
    }


def column_kind(key: str, field: Mapping[str, Any]) -> Kind:
    """Kind of the column of a contract's property `key`; KeyError or ValueError when it can have none."""
    if enum_of(field):
        return "text"
    declared = field["type"]
    [name] = [declared] if isinstance(declared, str) else [t for t in declared if t != "null"]
    by_format: dict[str, Kind] = {"date-time": "instant", "date": "date"}
    by_type: dict[str, Kind] = {
        "string": by_format.get(field.get("format", ""), "text"),
        "integer": "integer",
        "number": "money" if key.endswith("_usd") else "number",
        "boolean": "boolean",
        "object": "json",
        "array": "json",
    }
    return by_type[name]


def _takes_null(field: Mapping[str, Any]) -> bool:
    return "null" in field.get("type", ()) or {"type": "null"} in field.get("anyOf", ())

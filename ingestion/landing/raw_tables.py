"""Names and shapes of every raw table, from the contracts and the connectors; rows are appended
elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ingestion.connectors import catalog
from ingestion.landing.archive import segment_schema
from ingestion.landing.warehouse import Hints, RawSchema
from ingestion.settings import Settings

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

EVENTS = "raw_events"
REJECTIONS = "rejections"


def event_tables() -> tuple[dict[str, pa.Schema], Hints]:
    """Arrow schema and dlt hints of each table of `raw_events`, rejections included."""
    from ingestion.contracts import columns, registry

    records = {table: record for record, table in registry.RECORD_TABLES.items()}
    schemas = {table: columns.arrow_schema(record) for table, record in records.items()}
    hints: dict[str, dict[str, Any]] = {
        table: columns.dlt_columns(record) for table, record in records.items()
    }
    schemas[REJECTIONS] = columns.arrow_schema(REJECTIONS)
    hints[REJECTIONS] = columns.dlt_columns(REJECTIONS)
    return schemas, hints


def system_tables(system: str) -> tuple[dict[str, pa.Schema], Hints]:
    """Arrow schema and dlt hints of each `raw_<system>.<resource>` table."""
    resources = catalog.source(system).RESOURCES
    schema = segment_schema()
    return (
        {resource: schema for resource in resources},
        {resource: {"payload": {"data_type": "json"}} for resource in resources},
    )


def create_system_tables(settings: Settings, connection: duckdb.DuckDBPyConnection) -> None:
    """Create the tables of every system, configured or not, so that their staging models always
    run."""
    for system in catalog.systems("source"):
        schemas, hints = system_tables(system)
        RawSchema(settings, connection, f"raw_{system}", schemas, hints).create_tables()

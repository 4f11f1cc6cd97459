"""Names and shapes of every raw table, from the contracts and the connectors; rows are appended
elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ingestion.connectors import catalog
from ingestion.enrichment import answers
from ingestion.landing.archive import segment_schema
from ingestion.landing.warehouse import Hints, RawSchema
from ingestion.log.interface import LANES, Lane
from ingestion.settings import Settings

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

EVENTS = "raw_events"
REJECTIONS = "rejections"
OUTCOMES = "rejection_outcomes"
# One row per load: how far it brought each lane of the log. Landing's own, no model reads it.
LANDINGS = "landings"
LANDINGS_COLUMNS = tuple(
    f"{lane}_{what}" for lane in LANES for what in ("after_seq", "through_seq", "events")
)


def event_tables() -> tuple[dict[str, pa.Schema], Hints]:
    """Arrow schema and dlt hints of each table of `raw_events`, rejections and landings included."""
    import pyarrow as pa

    from ingestion.contracts import columns, registry

    records = {table: record for record, table in registry.RECORD_TABLES.items()}
    schemas = {table: columns.arrow_schema(record) for table, record in records.items()}
    hints: dict[str, dict[str, Any]] = {
        table: columns.dlt_columns(record) for table, record in records.items()
    }
    for table in (REJECTIONS, OUTCOMES):
        schemas[table] = columns.arrow_schema(table)
        hints[table] = columns.dlt_columns(table)
    schemas[LANDINGS] = pa.schema(
        [pa.field(name, pa.int64(), nullable=False) for name in LANDINGS_COLUMNS]
    )
    hints[LANDINGS] = {}
    return schemas, hints


def system_tables(system: str) -> tuple[dict[str, pa.Schema], Hints]:
    """Arrow schema and dlt hints of each `raw_<system>.<resource>` table; what providers of firmographics answered counts as a system."""
    resources = answers.RESOURCES if system == answers.SYSTEM else catalog.source(system).RESOURCES
    schema = segment_schema()
    return (
        {resource: schema for resource in resources},
        {resource: {"payload": {"data_type": "json"}} for resource in resources},
    )


def create_system_tables(settings: Settings, connection: duckdb.DuckDBPyConnection) -> None:
    """Create the tables of every system, configured or not, so that their staging models always
    run."""
    for system in (*catalog.systems("source"), answers.SYSTEM):
        schemas, hints = system_tables(system)
        RawSchema(settings, connection, f"raw_{system}", schemas, hints).create_tables()


def landed_through(connection: duckdb.DuckDBPyConnection) -> dict[Lane, int]:
    """How far each lane of the log is in the warehouse: every event of it up to this `seq` is there; needs the tables.

    A warehouse without a row of `landings` was filled before there were lanes, in the order of the log.
    """
    from ingestion.contracts import registry

    # Rows of a load that died come after the newest finished one, and do not count.
    finished = f"_dlt_load_id <= (select max(load_id) from {EVENTS}._dlt_loads where status = 0)"
    row = connection.execute(
        f"select {', '.join(f'max({lane}_through_seq)' for lane in LANES)}"
        f" from {EVENTS}.{LANDINGS} where {finished}"
    ).fetchone()
    if row is not None and row[0] is not None:
        return dict(zip(LANES, map(int, row), strict=True))
    parts = " union all ".join(
        f"select max(seq) as seq from {EVENTS}.{table} where {finished}"
        for table in registry.RECORD_TABLES.values()
    )
    row = connection.execute(f"select coalesce(max(seq), 0) from ({parts})").fetchone()
    return dict.fromkeys(LANES, int(row[0]) if row else 0)

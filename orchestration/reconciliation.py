"""Counts what was received against what is in the warehouse, in quarantine, or on its way; changes nothing."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime

from ingestion.landing.archive import Archive
from ingestion.landing.ingest_report import IngestReport
from ingestion.landing.warehouse import connect
from ingestion.settings import Settings


@dataclass(frozen=True, slots=True)
class Count:
    """One thing that was received: `received` = `in_warehouse` + `in_quarantine` + `in_flight`, or something is missing."""

    what: str
    received: int
    in_warehouse: int
    in_quarantine: int
    in_flight: int

    @property
    def missing(self) -> int:
        """Rows that are nowhere."""
        return self.received - self.in_warehouse - self.in_quarantine - self.in_flight


@dataclass(frozen=True, slots=True)
class IngestedFile:
    """One file as `handoff ingest` read it; `rows` = accepted + duplicate + conflict + quarantined."""

    path: str
    ingested_at: datetime
    rows: int
    accepted: int
    duplicate: int
    conflict: int
    quarantined: int


def keep_ingest(settings: Settings, report: IngestReport) -> None:
    """Keep the counts of each file, so that they can be reconciled later."""
    folder = settings.artifacts_dir / "ingests"
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    rows = [
        {
            "path": file.path.name,
            "ingested_at": now.isoformat(),
            "rows": file.rows,
            "accepted": file.accepted,
            "duplicate": file.duplicate,
            "conflict": file.conflict,
            "quarantined": file.quarantined,
        }
        for file in report.files
        if file.refused is None or file.rows
    ]
    if rows:
        name = now.strftime("%Y%m%dT%H%M%S%f.json")
        (folder / name).write_text(json.dumps(rows), encoding="utf-8")


def ingested_files(settings: Settings) -> list[IngestedFile]:
    """Every file read so far, oldest first."""
    found: list[IngestedFile] = []
    for file in sorted((settings.artifacts_dir / "ingests").glob("*.json")):
        for row in json.loads(file.read_text(encoding="utf-8")):
            found.append(
                IngestedFile(**{**row, "ingested_at": datetime.fromisoformat(row["ingested_at"])})
            )
    return found


def reconcile(settings: Settings) -> list[Count]:
    """Log and archive against the warehouse, to the row."""
    from ingestion.connectors import catalog
    from ingestion.contracts.registry import RECORD_TABLES
    from ingestion.landing.raw_tables import landed_through
    from ingestion.log.interface import LANES
    from ingestion.log.owner import open_reader

    counts: list[Count] = []
    with contextlib.closing(connect(settings)) as warehouse:
        tables = {
            (schema, table)
            for schema, table in warehouse.execute(
                "select schema_name, table_name from duckdb_tables()"
            ).fetchall()
        }

        def landed(schema: str, table: str, column: str = "count(*)") -> int:
            if (schema, table) not in tables:
                return 0
            row = warehouse.execute(
                f"select coalesce({column}, 0) from {schema}.{table} where _dlt_load_id in "
                f"(select load_id from {schema}._dlt_loads where status = 0)"
            ).fetchone()
            return int(row[0]) if row else 0

        if settings.log_path.exists():
            with contextlib.closing(open_reader(settings)) as log:
                last = log.last_seq()
                reached = (
                    landed_through(warehouse)
                    if ("raw_events", "landings") in tables
                    else dict.fromkeys(LANES, 0)
                )
                waiting = {
                    lane: sum(end - start + 1 for start, end in log.spans(lane, after, last))
                    for lane, after in reached.items()
                }
                refused = 0
                while batch := log.read_quarantine(after=refused, limit=10_000):
                    refused = batch[-1].quarantine_id
            in_warehouse = sum(landed("raw_events", table) for table in RECORD_TABLES.values())
            counts.append(
                # What was erased is nowhere, and is not missing.
                Count(
                    "events accepted by the log",
                    last - log.count_emptied(),
                    in_warehouse,
                    0,
                    sum(waiting.values()),
                )
            )
            rejected = landed("raw_events", "rejections")
            counts.append(Count("events refused", refused, 0, rejected, refused - rejected))
        archive = Archive(settings.archive_dir)
        for system in catalog.systems("source"):
            for resource in catalog.source(system).RESOURCES:
                segments = archive.segments(system, resource)
                if not segments:
                    continue
                received = sum(segment.rows for segment in segments)
                newest = landed(f"raw_{system}", resource, "max(segment)")
                behind = sum(segment.rows for segment in segments if segment.seq > newest)
                counts.append(
                    Count(
                        f"polled from {system}.{resource}",
                        received,
                        landed(f"raw_{system}", resource),
                        0,
                        behind,
                    )
                )
    return counts

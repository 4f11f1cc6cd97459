"""Landing the event log in the warehouse, against DuckDB loading the same rows from Parquet."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.measure import Kernel, Measurement, compare, seconds_of, watch_memory
from benchmarks.records import page_views

ROUNDS = 3
APPEND = 5_000


def run(size: int, folder: Path) -> list[Measurement]:
    """`size` activities, one load package for each 200,000."""
    import duckdb

    from ingestion.landing.events import land_events
    from ingestion.landing.warehouse import connect
    from ingestion.log.owner import open_log
    from ingestion.settings import Settings

    filled = Settings(home=folder / "filled")
    events = list(page_views(size, max(size // 10, 1)))
    log = open_log(filled)
    try:
        for start in range(0, size, APPEND):
            log.append(events[start : start + APPEND])
    finally:
        log.close()
    del events

    rows = folder / "rows.parquet"
    ours: list[float] = []
    floor: list[float] = []
    for number in range(ROUNDS):
        settings = Settings(home=folder / f"home-{number}")
        shutil.copytree(filled.log_dir, settings.log_dir)
        if number == 0:
            # dlt and its imports are paid once in a process, not per landing.
            empty = Settings(home=folder / "empty")
            land_events(empty)
        with watch_memory() as peak:
            ours.append(seconds_of(lambda home=settings: land_events(home)))  # type: ignore[misc]
        with connect(settings) as connection:
            found = connection.execute("select count(*) from raw_events.activities").fetchone()
            if found != (size,):
                raise AssertionError(f"{found} activities landed, {size} were appended")
            if not rows.exists():
                connection.execute(f"copy raw_events.activities to '{rows}' (format parquet)")
        with duckdb.connect(
            str(folder / f"floor-{number}.duckdb"),
            config={
                "memory_limit": settings.duckdb_memory_limit,
                "threads": settings.duckdb_threads,
            },
        ) as plain:
            floor.append(
                seconds_of(
                    lambda plain=plain: plain.execute(  # type: ignore[misc]
                        f"create table activities as from read_parquet('{rows}')"
                    )
                )
            )
    return [compare("activities, log to raw_events", size, "rows", ours, floor, peak.mb)]


KERNEL = Kernel(
    name="landing",
    measures="Rows of raw_events from the event log: read, parsed to Arrow by contract, loaded by"
    " dlt exactly once.",
    floor="DuckDB creating the table from a Parquet file of the same rows: no log, no JSON, no"
    " exactly-once.",
    size_unit="activities",
    default_size=100_000,
    run=run,
)

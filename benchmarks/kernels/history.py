"""The same batch in a small warehouse and in one of ten times the history: what it costs is to grow with the batch."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import worlds
from benchmarks.measure import Kernel, Measurement, compare, watch_memory
from benchmarks.rebuilding import rebuild
from benchmarks.records import form_submit

ROUNDS = 5
PARTS = 10
BATCHES = (1, 1_000)


def run(size: int, folder: Path) -> list[Measurement]:
    """Worlds of `size` events and a tenth of it; batches into both in turn, so that what else the machine does slows both."""
    rebuilt = {}
    for events in (size, size // PARTS):
        place = folder / str(events)
        place.mkdir()
        rebuilt[events] = _Warehouse(rebuild(worlds.world_of(events), place).settings)
    measured = []
    for count in BATCHES:
        seconds: dict[int, list[float]] = {events: [] for events in rebuilt}
        read: dict[int, int] = {}
        with watch_memory() as peak:
            # The first, which warms caches up, is not counted; the second is profiled and is not either.
            for number in range(ROUNDS + 2):
                for events, warehouse in rebuilt.items():
                    if number == 1:
                        read[events] = warehouse.rows_read(count)
                        continue
                    taken = warehouse.batch(count)
                    if number:
                        seconds[events].append(taken)
        large, small = seconds.values()
        measured.append(
            compare(
                f"{count:,} form submits into {size:,} events",
                1,
                "batch",
                large,
                small,
                peak.mb,
                seconds=f"{median(large):.2f} against {median(small):.2f} in {size // PARTS:,}",
                rows_read=f"{read[size]:,} against {read[size // PARTS]:,}",
            )
        )
    return measured


class _Warehouse:
    """A rebuilt world that form submits of its own people come into, landed and decided as the worker does, with the file held open."""

    def __init__(self, settings: Any) -> None:
        from ingestion.landing.warehouse import connect
        from orchestration.warm_warehouse import WarmWarehouse

        self._settings = settings
        self._warm = WarmWarehouse(settings)
        self._now: datetime = worlds.AS_OF
        self._submits = 0
        with connect(settings) as connection:
            [(self._seq,)] = connection.execute(
                "select max(seq) from raw_events.activities"
            ).fetchall()
            self._people: list[str] = [
                person
                for (person,) in connection.execute(
                    "select distinct record_id from raw_events.contacts where system = 'web'"
                    " order by hash(record_id) limit 100000"
                ).fetchall()
            ]

    def batch(self, count: int) -> float:
        """Seconds to land `count` form submits and bring the decisions up to them."""
        from ingestion.landing.raw_tables import EVENTS, event_tables
        from ingestion.landing.warehouse import open_raw
        from orchestration.transform import transform

        table = self._submitted(count)
        schemas, hints = event_tables()
        started = time.perf_counter()
        self._warm.take()
        with open_raw(self._settings, EVENTS, schemas, hints) as raw:
            raw.append({"activities": table})
        done = transform(self._settings, as_of=self._now, scope="decisions")
        seconds = time.perf_counter() - started
        if done.scope != "decisions":
            raise AssertionError(f"a batch became more than that: {done.reason}")
        return seconds

    def rows_read(self, count: int) -> int:
        """Rows that scans without an index looked at, over every statement of such a batch."""
        from benchmarks.query_profiles import recorded_queries

        with recorded_queries() as queries:
            self.batch(count)
        return sum(scan.rows for query in queries for scan in query.scans if not scan.by_index)

    def _submitted(self, count: int) -> Any:
        """Form submits of as many people, as the raw table has them; the numbers go on from batch to batch."""
        from ingestion.landing.events import to_table
        from ingestion.log.interface import LogEntry

        self._now += timedelta(minutes=1)
        entries = []
        for _ in range(count):
            self._seq += 1
            self._submits += 1
            event = form_submit(10**9 + self._submits, 0, "contact_sales", self._now)
            event["data"]["contact_id"] = self._people[self._submits % len(self._people)]
            del event["data"]["email"]
            entries.append(LogEntry(self._seq, self._now, event))
        unfit: list[str] = []
        table = to_table("activity", entries, unfit)
        if unfit:
            raise AssertionError(f"not as the contract has it: {unfit}")
        return table


KERNEL = Kernel(
    name="history",
    measures="Seconds of a batch of form submits, landed and decided, in a warehouse of so many events.",
    floor="The same batch in a warehouse of a tenth of the events.",
    size_unit="events",
    default_size=1_000_000,
    run=run,
)

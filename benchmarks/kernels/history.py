"""The same batch in a small warehouse and in one of ten times the history: what it costs is to grow with the batch."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from benchmarks import worlds
from benchmarks.arriving import Arriving
from benchmarks.measure import Kernel, Measurement, compare, watch_memory
from benchmarks.rebuilding import rebuild

ROUNDS = 5
PARTS = 10
BATCHES = (1, 1_000)


def run(size: int, folder: Path) -> list[Measurement]:
    """Worlds of `size` events and a tenth of it; batches into both in turn, so that what else the machine does slows both."""
    rebuilt = {}
    for events in (size, size // PARTS):
        place = folder / str(events)
        place.mkdir()
        rebuilt[events] = Arriving(rebuild(worlds.world_of(events), place).settings)
    measured = []
    for count in BATCHES:
        seconds: dict[int, list[float]] = {events: [] for events in rebuilt}
        read: dict[int, int] = {}
        with watch_memory() as peak:
            # The first, which warms caches up, is not counted; the second is profiled and is not either.
            for number in range(ROUNDS + 2):
                for events, warehouse in rebuilt.items():
                    if number == 1:
                        read[events] = _rows_read(warehouse, count)
                        continue
                    taken, _ = warehouse.batch(count)
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


def _rows_read(warehouse: Arriving, count: int) -> int:
    """Rows that scans without an index looked at, over every statement of such a batch."""
    from benchmarks.query_profiles import recorded_queries

    with recorded_queries() as queries:
        warehouse.batch(count)
    return sum(scan.rows for query in queries for scan in query.scans if not scan.by_index)


KERNEL = Kernel(
    name="history",
    measures="Seconds of a batch of form submits, landed and decided, in a warehouse of so many events.",
    floor="The same batch in a warehouse of a tenth of the events.",
    size_unit="events",
    default_size=1_000_000,
    run=run,
)

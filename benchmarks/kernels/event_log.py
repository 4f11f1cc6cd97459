"""The event log at 1 and 64 callers and in batches, against SQLite inserting the same bytes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import Kernel, Measurement, compare, seconds_of, watch_memory
from benchmarks.records import page_views

CALLERS = 64
BATCH = 100
ROUNDS = 3


def run(size: int, folder: Path) -> list[Measurement]:
    """`size` events per round at 64 callers and in batches; a twentieth of it at one caller, who
    waits for the disk each time."""
    from ingestion.edge.server import SWITCH_SECONDS

    # As the edge sets it: two threads share the interpreter, the callers' and the log's writer.
    sys.setswitchinterval(SWITCH_SECONDS)
    return [
        _case("1 caller, one event each", folder, max(size // 20, 1), callers=1, batch=1),
        _case("64 callers, one event each", folder, size, callers=CALLERS, batch=1),
        _case("1 caller, batches of 100", folder, size, callers=1, batch=BATCH),
        _case("64 callers, batches of 100", folder, size * 2, callers=CALLERS, batch=BATCH),
    ]


def _case(case: str, folder: Path, size: int, *, callers: int, batch: int) -> Measurement:
    from ingestion.log.encoding import encode_event
    from ingestion.log.owner import open_log
    from ingestion.settings import Settings

    home = folder / case.replace(" ", "-")
    events = list(page_views(size, max(size // 10, 1)))
    payloads = [encode_event(event).payload for event in events]
    ours: list[float] = []
    floor: list[float] = []
    log = open_log(Settings(home=home))
    plain = _PlainTable(home / "plain.sqlite")
    try:
        with watch_memory() as peak:
            # One round more than counts: a WAL that still grows is slower to sync than one that
            # is written over.
            for number in range(ROUNDS + 1):
                fresh = [{**event, "id": f"{number}-{event['id']}"} for event in events]
                ours.append(_append(log, fresh, callers, batch))
                # At best every caller waits for the same commit, so the floor commits as many
                # events at once.
                floor.append(plain.insert(payloads, callers * batch))
        written = log.last_seq()
    finally:
        plain.close()
        log.close()
    if written != size * (ROUNDS + 1):
        raise AssertionError(f"{written} events in the log, {size * (ROUNDS + 1)} were appended")
    return compare(case, size, "events", ours[1:], floor[1:], peak.mb)


def _append(log: Any, events: Sequence[dict[str, Any]], callers: int, batch: int) -> float:
    """Seconds until all is on disk; each caller waits for its answer before it sends again, as the
    edge's requests do."""
    waiting = _parts(events, batch)

    async def caller() -> None:
        for part in waiting:
            await asyncio.wrap_future(log.append_future(part))

    async def everybody() -> None:
        await asyncio.gather(*(caller() for _ in range(callers)))

    return seconds_of(lambda: asyncio.run(everybody()))


class _PlainTable:
    """SQLite as durable as the log, WAL and synchronous=FULL, and nothing else: no key, no hash."""

    def __init__(self, path: Path) -> None:
        import apsw

        self._connection = apsw.Connection(str(path))
        self._connection.execute("pragma journal_mode = wal")
        self._connection.execute("pragma synchronous = full")
        self._connection.execute(
            "create table events (seq integer primary key, payload blob) strict"
        )

    def insert(self, payloads: Sequence[bytes], group: int) -> float:
        """Seconds to insert the payloads, `group` in a transaction."""

        def insert() -> None:
            for part in _parts(payloads, group):
                self._connection.execute("begin immediate")
                self._connection.executemany(
                    "insert into events (payload) values (?)", [(payload,) for payload in part]
                )
                self._connection.execute("commit")

        return seconds_of(insert)

    def close(self) -> None:
        self._connection.close()


def _parts(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


KERNEL = Kernel(
    name="event_log",
    measures="Events acknowledged as on disk: deduplicated for ever, hash-chained, in total order.",
    floor="SQLite inserting the same bytes, WAL and synchronous=FULL, as many in a transaction as"
    " callers wait for, without key, deduplication or hash chain.",
    size_unit="events",
    default_size=20_000,
    run=run,
)

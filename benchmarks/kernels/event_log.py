"""The event log at 1 and 64 callers and in batches, against SQLite inserting the same bytes."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.measure import Kernel, Measurement, compare, seconds_of, watch_memory
from benchmarks.records import page_views

CALLERS = 64
BATCH = 100
ROUNDS = 3
_NUMBERS = count()


def run(size: int, folder: Path) -> list[Measurement]:
    """`size` events per round at 64 callers and in batches; a twentieth of it at one caller, who
    waits for the disk each time."""
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

    events = list(page_views(size, max(size // 10, 1)))
    payloads = [encode_event(event).payload for event in events]
    ours: list[float] = []
    floor: list[float] = []
    log = open_log(Settings(home=folder / f"home-{next(_NUMBERS)}"))
    try:
        with watch_memory() as peak:
            for number in range(ROUNDS):
                fresh = [{**event, "id": f"{number}-{event['id']}"} for event in events]
                ours.append(
                    seconds_of(lambda fresh=fresh: _append(log, fresh, callers, batch))  # type: ignore[misc]
                )
                # At best every caller waits for the same commit, so the floor commits as many
                # events at once.
                floor.append(_raw_insert(folder, payloads, callers * batch))
        written = log.last_seq()
    finally:
        log.close()
    if written != size * ROUNDS:
        raise AssertionError(f"{written} events in the log, {size * ROUNDS} were appended")
    return compare(case, size, "events", ours, floor, peak.mb)


def _append(log: Any, events: Sequence[dict[str, Any]], callers: int, batch: int) -> None:
    parts = iter(_parts(events, batch))
    turn = threading.Lock()

    def caller() -> None:
        while True:
            with turn:
                part = next(parts, None)
            if part is None:
                return
            log.append(part)

    threads = [threading.Thread(target=caller) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _raw_insert(folder: Path, payloads: Sequence[bytes], group: int) -> float:
    """Seconds to insert the payloads, `group` in a transaction: WAL, synchronous=FULL, no key, no
    hash."""
    import apsw

    connection = apsw.Connection(str(folder / f"floor-{next(_NUMBERS)}.sqlite"))
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = full")
    connection.execute("create table events (seq integer primary key, payload blob) strict")

    def insert() -> None:
        for part in _parts(payloads, group):
            with connection:
                connection.executemany(
                    "insert into events (payload) values (?)", [(payload,) for payload in part]
                )

    seconds = seconds_of(insert)
    connection.close()
    return seconds


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

"""Two lanes of one log: what is live lands before what is bulk, all of it once, and in an order that a rebuild repeats."""

from __future__ import annotations

import random
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ingestion.landing import events as landing
from ingestion.landing import warehouse
from ingestion.landing.events import land_events
from ingestion.landing.files import ingest
from ingestion.log.interface import Lane
from ingestion.log.owner import open_log, open_reader
from ingestion.log.sqlite import SqliteLog, SqliteReader
from ingestion.settings import Settings
from orchestration.reconciliation import reconcile

ROWS = "select seq, received_at from raw_events.contacts order by seq"


def event(number: int) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": f"e{number}",
        "source": "urn:test",
        "type": "com.handoff.contact",
        "subject": f"contact/web/{number}",
        "time": "2026-04-01T10:30:00Z",
        "data": {"record_id": str(number), "system": "web"},
    }


def append(settings: Settings, lane: Lane, *numbers: int) -> None:
    log = open_log(settings)
    log.append([event(number) for number in numbers], lane=lane)
    log.close()


def rows(settings: Settings, sql: str = ROWS) -> list[tuple[Any, ...]]:
    connection = warehouse.connect(settings)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def landed(settings: Settings) -> list[int]:
    return [seq for seq, _ in rows(settings)]


def test_lanes_of_a_log_are_what_was_said_at_each_append(tmp_path: Path) -> None:
    """Against a list kept beside it, with duplicates, groups of both lanes and the file opened anew."""
    chance = random.Random(3)
    lanes: list[Lane] = []
    sent = 0
    for _ in range(6):
        log = SqliteLog(tmp_path / "log.sqlite")
        futures = []
        for _ in range(25):
            lane: Lane = chance.choice(["live", "bulk"])
            count = chance.randrange(4)
            again = [event(chance.randrange(sent))] if sent else []
            futures.append(
                log.append_future([*again, *(event(sent + n) for n in range(count))], lane=lane)
            )
            lanes += [lane] * count
            sent += count
        for future in futures:
            future.result()
        log.close()
    reader = SqliteReader(tmp_path / "log.sqlite")
    assert reader.last_seq() == sent
    for lane in ("live", "bulk"):
        assert reader.last_seq(lane) == max(n + 1 for n, name in enumerate(lanes) if name == lane)
        for _ in range(200):
            after, through = sorted(chance.choices(range(sent + 1), k=2))
            spans = reader.spans(lane, after, through)
            assert [seq for first, last in spans for seq in range(first, last + 1)] == [
                n + 1 for n, name in enumerate(lanes) if name == lane and after <= n < through
            ]
            assert all(end + 1 < start for (_, end), (start, _) in pairwise(spans))
    assert reader.verify().broken_seq is None
    reader.close()


def test_a_log_from_before_there_were_lanes_is_all_live(settings: Settings) -> None:
    append(settings, "live", 1, 2)
    reader = SqliteReader(settings.log_path)
    writer = SqliteLog(settings.log_path)
    writer._connection.execute("drop table bulk_ranges")
    assert (reader.last_seq("live"), reader.last_seq("bulk")) == (2, 0)
    assert (reader.spans("live", 0, 2), reader.spans("bulk", 0, 2)) == ([(1, 2)], [])
    writer.close()
    reader.close()
    append(settings, "bulk", 3)
    assert land_events(settings, bulk_limit=0).bulk_waiting == 1


def test_a_process_that_hands_events_to_the_owner_says_the_lane(settings: Settings) -> None:
    owner, client = open_log(settings), open_log(settings)
    client.append([event(1), event(2)], lane="bulk")
    owner.append([event(3)])
    assert client.spans("bulk", 0, 3) == [(1, 2)]
    client.close()
    owner.close()


def test_what_is_live_lands_first_and_bulk_comes_in_slices(settings: Settings) -> None:
    append(settings, "bulk", *range(10))
    append(settings, "live", 10, 11)
    append(settings, "bulk", *range(12, 15))
    first = land_events(settings, bulk_limit=4)
    assert (first.live_events, first.bulk_events, first.bulk_waiting) == (2, 4, 9)
    assert landed(settings) == [1, 2, 3, 4, 11, 12]
    append(settings, "live", 15)
    assert land_events(settings, bulk_limit=0).rows == {"contacts": 1}
    assert land_events(settings, bulk_limit=0).rows == {}
    [log, *_] = reconcile(settings)
    assert (log.in_warehouse, log.in_flight, log.missing) == (7, 9, 0)
    last = land_events(settings)
    assert (last.bulk_events, last.bulk_waiting) == (9, 0)
    assert landed(settings) == list(range(1, 17))
    assert land_events(settings).rows == {}


def test_loads_smaller_than_a_lane_land_every_event_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landing, "LOAD_EVENTS", 7)
    monkeypatch.setattr(landing, "PARSE_EVENTS", 3)
    chance = random.Random(5)
    number = 0
    for _ in range(12):
        count = chance.randrange(1, 9)
        append(settings, chance.choice(["live", "bulk"]), *range(number, number + count))
        number += count
        if chance.random() < 0.5:
            land_events(settings, bulk_limit=chance.randrange(6))
    assert land_events(settings).bulk_waiting == 0
    assert landed(settings) == list(range(1, number + 1))


def test_a_warehouse_from_before_there_were_lanes_goes_on_from_its_greatest_seq(
    settings: Settings,
) -> None:
    append(settings, "live", 1, 2)
    append(settings, "bulk", 3)
    land_events(settings)
    connection = warehouse.connect(settings)
    connection.execute("drop table raw_events.landings")
    connection.close()
    append(settings, "bulk", 4)
    append(settings, "live", 5)
    assert land_events(settings, bulk_limit=0).rows == {"contacts": 1}
    assert land_events(settings).rows == {"contacts": 1}
    assert landed(settings) == [1, 2, 3, 4, 5]


def test_what_was_overtaken_counts_as_received_after_it_also_in_a_rebuilt_warehouse(
    settings: Settings,
) -> None:
    """Otherwise a late slice would re-deal leads and rename people that were decided before it."""
    append(settings, "bulk", 1, 2, 3, 4)
    time.sleep(0.01)
    append(settings, "live", 5)
    land_events(settings, bulk_limit=1)
    time.sleep(0.01)
    append(settings, "live", 6)
    land_events(settings, bulk_limit=1)
    land_events(settings)
    by_seq = dict(rows(settings))
    assert by_seq[1] < by_seq[5], "decided together: the log's order stands"
    assert by_seq[2] == by_seq[5] < by_seq[6]
    assert by_seq[3] == by_seq[4] == by_seq[6]
    settings.warehouse_path.unlink()
    # Also by a landing with a limit: what was taken up once is no backlog.
    assert land_events(settings, bulk_limit=0).bulk_waiting == 0
    assert dict(rows(settings)) == by_seq


def test_without_anything_overtaken_nothing_is_changed(settings: Settings) -> None:
    append(settings, "live", 1)
    for number in range(2, 12, 2):
        append(settings, "bulk", number, number + 1)
        land_events(settings, bulk_limit=1)
    land_events(settings)
    reader = open_reader(settings)
    assert rows(settings) == [(row.seq, row.received_at) for row in reader.read()]
    reader.close()


def test_files_come_by_the_bulk_lane_but_a_no_does_not_wait(
    settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "consents.csv"
    path.write_text(
        "system,contact_id,channel,lawful_basis,status,occurred_at\n"
        + "".join(
            f"web,c{number},email,consent,{status},2026-04-01T10:30:00Z\n"
            for number, status in enumerate(["granted", "withdrawn", "granted", "denied"])
        )
    )
    assert ingest(settings, [path], record_type="consent").exit_code == 0
    reader = open_reader(settings)
    assert (reader.spans("bulk", 0, 4), reader.spans("live", 0, 4)) == ([(1, 2)], [(3, 4)])
    assert {row.event["data"]["status"] for row in reader.read(2)} == {"withdrawn", "denied"}
    reader.close()

"""The worlds that benchmarks are run on are what they say they are; no speed is asked for here."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from benchmarks import worlds
from benchmarks.measure import kernel_names, load_kernel
from benchmarks.worlds import World
from ingestion.contracts.columns import record_columns
from ingestion.contracts.registry import RECORD_TABLES, validate_event
from ingestion.landing.raw_tables import event_tables

WORLD = World(30_000)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worlds, "PIECE", 8_000)


def _rows(world: World) -> dict[str, pa.Table]:
    found: dict[str, list[pa.Table]] = {}
    for tables in worlds.pieces(world):
        assert sum(table.num_rows for table in tables.values()) <= worlds.PIECE
        for name, table in tables.items():
            found.setdefault(name, []).append(table)
    return {name: pa.concat_tables(parts) for name, parts in found.items()}


def test_one_seed_gives_one_world_and_another_seed_another() -> None:
    first, again, other = _rows(WORLD), _rows(WORLD), _rows(replace(WORLD, seed=8))
    assert first.keys() == again.keys()
    assert all(first[name].equals(again[name]) for name in first)
    assert not first["activities"].equals(other["activities"])


def test_a_world_has_as_many_rows_as_it_says_in_the_order_they_came_in() -> None:
    rows = _rows(WORLD)
    schemas, _ = event_tables()
    assert all(table.schema.equals(schemas[name]) for name, table in rows.items())
    seqs = sorted(seq for table in rows.values() for seq in table["seq"].to_pylist())
    assert seqs == list(range(1, WORLD.events + 1))
    by_seq = sorted(
        pair
        for table in rows.values()
        for pair in zip(table["seq"].to_pylist(), table["received_at"].to_pylist(), strict=True)
    )
    received = [at for _, at in by_seq]
    assert received == sorted(received)
    assert received[-1] <= worlds.ENDS_AT


def test_every_stage_has_something_to_do() -> None:
    assert set(_rows(WORLD)) == set(RECORD_TABLES.values()) - {"receipts", "erasures"}


def test_the_shares_a_world_states_are_those_it_has() -> None:
    world = replace(WORLD, shared_mailboxes=0.1, late_events=0.1, duplicate_sends=0.1)
    rows = _rows(world)
    activities = rows["activities"]
    count = activities.num_rows
    once = len(set(activities["activity_id"].to_pylist()))
    assert 1 - once / count == pytest.approx(0.1, abs=0.001)
    assert len(set(activities["event_id"].to_pylist())) == count
    delay = pc.seconds_between(activities["occurred_at"], activities["received_at"])
    late = pc.sum(pc.greater_equal(delay, 86_400)).as_py() / count
    assert late == pytest.approx(0.1, abs=0.02)

    contacts = rows["contacts"].to_pylist()
    primary = [row for row in contacts if row["event_id"].endswith("-0")]
    assert len(primary) == world.people
    shared = sum(row["email"].startswith("info@") for row in primary) / len(primary)
    assert shared == pytest.approx(0.1, abs=0.02)
    second = sum(row["system"] == "web" for row in contacts) / len(primary)
    assert second == pytest.approx(world.second_records, abs=0.03)


def test_more_skew_gives_the_busiest_more_to_do() -> None:
    def share_of_the_busiest(world: World) -> float:
        named = pc.drop_null(_rows(world)["activities"]["anonymous_id"])
        counts = sorted(pc.value_counts(named).field("counts").to_pylist(), reverse=True)
        return float(sum(counts[: world.people // 100]) / sum(counts))

    even, usual, heavy = (
        share_of_the_busiest(replace(WORLD, activity_skew=skew)) for skew in (0.0, 1.2, 2.2)
    )
    assert even < usual < heavy


def test_a_world_is_what_its_contracts_allow() -> None:
    records = {table: record for record, table in RECORD_TABLES.items()}
    for table, rows in _rows(World(3_000)).items():
        for row in rows.slice(0, 150).to_pylist():
            made = _event(records[table], row)
            assert validate_event(made, ("web", "hubspot")) == [], made


def test_a_world_is_made_once_and_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(worlds.FOLDER_VARIABLE, str(tmp_path / "worlds"))
    small = World(3_000)
    kept = worlds.keep(small, tmp_path / "unused")
    assert kept.parent == tmp_path / "worlds"
    written = kept / "activities" / "00000.parquet"
    before = written.stat().st_mtime_ns
    assert worlds.keep(small, tmp_path / "unused") == kept
    assert written.stat().st_mtime_ns == before
    [piece] = worlds.kept_pieces(kept)
    assert piece["activities"].equals(_rows(small)["activities"])
    assert worlds.keep(replace(small, seed=8), tmp_path) != kept


@pytest.mark.parametrize("shape", worlds.SHAPES)
def test_every_shape_is_a_world(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(worlds.SHAPE_VARIABLE, shape)
    assert sum(table.num_rows for table in _rows(worlds.world_of(5_000)).values()) == 5_000


def test_every_kernel_is_named_after_its_file_and_says_what_it_is_compared_with() -> None:
    for name in kernel_names():
        kernel = load_kernel(name)
        assert kernel.name == name
        assert kernel.measures.endswith(".")
        assert kernel.floor.endswith(".")
        assert kernel.default_size > 0


def _event(record: str, row: dict[str, Any]) -> dict[str, Any]:
    data = {}
    for column in record_columns(record):
        value = row[column.name]
        if value is None:
            continue
        if column.kind == "json":
            value = json.loads(value)
        elif isinstance(value, datetime | date):
            value = value.isoformat()
        elif isinstance(value, Decimal):
            value = float(value)
        data[column.field] = value
    return {
        "specversion": "1.0",
        "id": row["event_id"],
        "source": row["event_source"],
        "type": f"com.handoff.{record}",
        "subject": row["event_subject"],
        "time": row["occurred_at"].isoformat(),
        "data": data | ({"from": None} if record == "stage_change" and "from" not in data else {}),
    }

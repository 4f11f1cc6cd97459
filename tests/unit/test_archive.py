"""The landing archive: append-only segments, nothing twice, nothing half written."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ingestion.connectors.extracted import Extracted
from ingestion.errors.catalog import HandoffError
from ingestion.landing.archive import Archive, segment_schema

NOON = datetime(2026, 4, 1, 12, tzinfo=UTC)


def record(record_id: str, minutes: int = 0, **payload: object) -> Extracted:
    return Extracted(record_id, NOON + timedelta(minutes=minutes), False, dict(payload))


def contents(archive: Archive) -> list[tuple[str, str]]:
    segments = archive.segments("crm", "leads")
    rows = [row for segment in segments for row in archive.read(segment).to_pylist()]
    return [(row["record_id"], row["payload"]) for row in rows]


def test_a_repoll_without_news_writes_no_segment(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    rows = [record("a", name="Ada"), record("b", 1, name="Bo")]
    first = archive.append("crm", "leads", rows, NOON)
    assert first is not None and (first.seq, first.rows) == (1, 2)
    assert archive.append("crm", "leads", rows, NOON + timedelta(hours=1)) is None
    assert len(archive.paths("crm", "leads")) == 1


def test_a_tie_at_the_cursor_with_new_content_is_kept(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.append("crm", "leads", [record("a", 5, name="Ada")], NOON)
    archive.append("crm", "leads", [record("a", 5, name="Ada"), record("b", 5, name="Bo")], NOON)
    assert contents(archive) == [("a", '{"name":"Ada"}'), ("b", '{"name":"Bo"}')]


def test_a_snapshot_that_comes_back_to_what_it_was_is_news(tmp_path: Path) -> None:
    archive = Archive(tmp_path)

    def poll(*marks: bool, is_snapshot: bool = True) -> object:
        rows = [
            Extracted(f"r{at}", NOON, False, {"absent": mark}, is_snapshot=is_snapshot)
            for at, mark in enumerate(marks)
        ]
        segment = archive.append("crm", "leads", rows, NOON)
        return None if segment is None else segment.rows

    assert poll(False, False) == 2
    assert poll(True, False) == 1
    assert poll(True, False) is None
    assert poll(False, False) == 1
    assert poll(False, False) is None
    # What is no snapshot was known from the first.
    assert poll(True, True, is_snapshot=False) == 1
    assert poll(False, False, is_snapshot=False) is None


def test_a_late_row_is_kept_and_does_not_move_the_cursor_back(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.append("crm", "leads", [record("a", 60)], NOON)
    archive.append("crm", "leads", [record("late", 10)], NOON)
    assert archive.cursor("crm", "leads") == NOON + timedelta(minutes=60)
    assert [record_id for record_id, _ in contents(archive)] == ["a", "late"]
    assert archive.append("crm", "leads", [record("late", 10)], NOON) is None


def test_a_deletion_at_the_same_instant_is_news(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.append("crm", "leads", [record("a")], NOON)
    deleted = Extracted("a", NOON, True, {})
    segment = archive.append("crm", "leads", [deleted], NOON)
    assert segment is not None and archive.read(segment)["is_deleted"].to_pylist() == [True]


def test_the_order_of_keys_in_a_payload_is_no_news(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    archive.append("crm", "leads", [Extracted("a", NOON, False, {"x": 1, "y": 2})], NOON)
    assert (
        archive.append("crm", "leads", [Extracted("a", NOON, False, {"y": 2, "x": 1})], NOON)
        is None
    )


@pytest.mark.parametrize("step", ["fsync", "link"])
def test_a_segment_that_dies_while_written_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    archive = Archive(tmp_path)
    archive.append("crm", "leads", [record("a")], NOON)

    def die(*arguments: object) -> None:
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(os, step, die)
        with pytest.raises(OSError, match="power cut"):
            archive.append("crm", "leads", [record("b", 1)], NOON)
    assert [record_id for record_id, _ in contents(archive)] == ["a"]
    archive.append("crm", "leads", [record("b", 1)], NOON)
    assert [record_id for record_id, _ in contents(archive)] == ["a", "b"]


def test_a_segment_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(tmp_path)
    archive.append("crm", "leads", [record("a")], NOON)
    # As another poller would see the folder that listed it before our segment was there.
    monkeypatch.setattr(Archive, "paths", lambda self, system, resource: [])
    with pytest.raises(FileExistsError):
        archive.append("crm", "leads", [record("b", 1)], NOON)


def test_a_damaged_segment_is_named_with_the_remedy(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    segment = archive.append("crm", "leads", [record("a")], NOON)
    assert segment is not None
    segment.path.write_bytes(b"PAR1 nonsense")
    with pytest.raises(HandoffError) as caught:
        archive.cursor("crm", "leads")
    assert caught.value.code == "FILE_UNREADABLE"
    assert "00000001.parquet" in caught.value.message
    assert "backup" in caught.value.remedy


def test_segments_have_exactly_the_columns_of_the_raw_tables(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    segment = archive.append("crm", "leads", [record("a")], NOON)
    assert segment is not None
    assert archive.read(segment).schema.equals(segment_schema())
    assert segment_schema().names == [
        "record_id", "updated_at", "is_deleted", "payload", "received_at", "segment", "row_hash",
    ]  # fmt: skip


def test_the_newest_version_of_each_record_is_found_and_segments_that_were_put_back_are_read(
    tmp_path: Path,
) -> None:
    archive = Archive(tmp_path)
    archive.append("crm", "leads", [record("a", name="Ada"), record("b", 1, name="Bo")], NOON)
    archive.append("crm", "leads", [record("a", 2, name="Adah"), record("c", 2)], NOON)
    known = archive.known("crm", "leads")
    assert known.newest("") == {"a": {"name": "Adah"}, "b": {"name": "Bo"}, "c": {}}
    assert known.newest("b") == {"b": {"name": "Bo"}}
    assert (known.one("a"), known.one("b"), known.one("d")) == (
        {"name": "Adah"},
        {"name": "Bo"},
        None,
    )
    for _, path in archive.paths("crm", "leads"):
        path.unlink()
    archive.append("crm", "leads", [record("d", 3, name="Di")], NOON)
    assert archive.known("crm", "leads").newest("") == {"d": {"name": "Di"}}
    assert archive.known("crm", "leads").one("a") is None

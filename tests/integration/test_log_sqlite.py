"""What the embedded log promises while one process uses it."""

from __future__ import annotations

import stat
import threading
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import pytest

from ingestion.errors.catalog import HandoffError
from ingestion.log.interface import Rejection
from ingestion.log.sqlite import SqliteLog, SqliteReader


def event(name: object, subject: str = "contact/web/1", /, **data: Any) -> dict[str, Any]:
    return {"id": str(name), "source": "urn:test", "subject": subject, "data": data}


def rejection(payload: bytes = b"{}", **fields: Any) -> Rejection:
    values: dict[str, Any] = {
        "door": "events",
        "code": "SCHEMA_INVALID",
        "path": "/id",
        "message": "m",
        "payload": payload,
        "correlation_id": "c",
    }
    return Rejection(**(values | fields))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log" / "events.sqlite"


@pytest.fixture
def log(path: Path) -> Iterator[SqliteLog]:
    opened = SqliteLog(path)
    yield opened
    opened.close()


def test_an_event_sent_again_is_a_duplicate_for_ever(path: Path) -> None:
    for restart in range(3):
        log = SqliteLog(path)
        (answer,) = log.append([event(1)])
        assert answer.status == ("duplicate" if restart else "accepted")
        assert answer.seq == 1
        assert [entry.seq for entry in log.read()] == [1]
        log.close()


def test_a_duplicate_is_answered_with_the_first_time_of_receipt(path: Path) -> None:
    times = iter([datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)])
    log = SqliteLog(path, clock=lambda: next(times))
    (first,) = log.append([event(1)])
    (again,) = log.append([event(1)])
    assert first.received_at == again.received_at == datetime(2026, 1, 1, tzinfo=UTC)
    log.close()


def test_the_same_id_with_another_body_is_a_conflict_and_changes_nothing(log: SqliteLog) -> None:
    log.append([event(1, colour="red")])
    (answer,) = log.append([event(1, colour="blue")])
    assert (answer.status, answer.seq) == ("conflict", 1)
    assert [entry.event["data"] for entry in log.read()] == [{"colour": "red"}]


def test_another_trace_or_order_of_keys_is_no_other_body(log: SqliteLog) -> None:
    first = event(1, a=1, b=2) | {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"}
    again = {"data": {"b": 2, "a": 1}, **event(1, a=1, b=2), "tracestate": "x=1"}
    assert [answer.status for answer in log.append([first])] == ["accepted"]
    assert [answer.status for answer in log.append([again])] == ["duplicate"]
    assert log.read()[0].event == first


def test_source_and_id_are_told_apart(log: SqliteLog) -> None:
    one = {"source": "ab", "id": "c", "data": {}}
    other = {"source": "a", "id": "bc", "data": {}}
    assert [answer.status for answer in log.append([one, other])] == ["accepted", "accepted"]


def test_duplicates_and_conflicts_within_one_batch_are_found(log: SqliteLog) -> None:
    answers = log.append([event(1, a=1), event(1, a=1), event(1, a=2), event(2)])
    assert [answer.status for answer in answers] == [
        "accepted",
        "duplicate",
        "conflict",
        "accepted",
    ]
    assert [answer.seq for answer in answers] == [1, 1, 1, 2]


def test_each_subject_keeps_its_order_under_many_writers_and_few_commits(path: Path) -> None:
    class CountingLog(SqliteLog):
        commits = 0

        def _transact(self, group: Any) -> Any:
            self.commits += 1
            return super()._transact(group)

    log = CountingLog(path)
    writers, each = 32, 40

    def write(writer: int) -> None:
        for number in range(each):
            log.append([event(f"{writer}-{number}", f"contact/web/{writer}", number=number)])

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = log.read(limit=10_000)
    assert [entry.seq for entry in entries] == list(range(1, writers * each + 1))
    seen: dict[str, list[int]] = defaultdict(list)
    for entry in entries:
        seen[entry.event["subject"]].append(entry.event["data"]["number"])
    assert all(numbers == list(range(each)) for numbers in seen.values())
    assert len(seen) == writers
    assert 0 < log.commits < writers * each / 2
    assert log.verify().broken_seq is None
    log.close()


def test_events_queued_without_waiting_keep_their_order(log: SqliteLog) -> None:
    futures = [log.append_future([event(number, number=number)]) for number in range(500)]
    assert [future.result()[0].seq for future in futures] == list(range(1, 501))


def test_a_full_queue_refuses_at_once_and_takes_again_when_there_is_room(path: Path) -> None:
    release, busy = threading.Event(), threading.Event()

    def clock() -> datetime:
        busy.set()
        release.wait(10)
        return datetime.now(UTC)

    log = SqliteLog(path, clock=clock, max_pending=4)
    futures = [log.append_future([event(0)])]
    assert busy.wait(10)
    futures += [log.append_future([event(number)]) for number in range(1, 4)]
    with pytest.raises(HandoffError) as raised:
        log.append_future([event(9)])
    assert raised.value.code == "LOG_UNAVAILABLE"
    assert raised.value.entry.status == 503
    with pytest.raises(HandoffError):
        log.check()
    waiting: list[Any] = []
    patient = threading.Thread(target=lambda: waiting.extend(log.append([event(9)])))
    patient.start()
    release.set()
    patient.join(10)
    assert [future.result()[0].status for future in futures] == ["accepted"] * 4
    assert [answer.status for answer in waiting] == ["accepted"]
    log.close()


def test_closing_commits_what_is_queued_and_then_refuses(path: Path) -> None:
    log = SqliteLog(path)
    futures = [log.append_future([event(number)]) for number in range(200)]
    log.close()
    assert {future.result()[0].status for future in futures} == {"accepted"}
    with pytest.raises(HandoffError) as raised:
        log.append([event(999)])
    assert raised.value.code == "LOG_UNAVAILABLE"
    assert SqliteReader(path).last_seq() == 200


def test_a_cursor_reads_everything_once_in_order(log: SqliteLog) -> None:
    log.append([event(number) for number in range(25)])
    seen: list[int] = []
    while page := log.read(after=seen[-1] if seen else 0, limit=10):
        seen += [entry.seq for entry in page]
    assert seen == list(range(1, 26))


def test_contains_answers_for_accepted_events_only(log: SqliteLog) -> None:
    log.append([event(1)])
    log.quarantine([rejection(event_source="urn:test", event_id="2")])
    assert log.contains("urn:test", "1")
    assert not log.contains("urn:test", "2")


def test_a_log_that_does_not_exist_yet_reads_as_empty(path: Path) -> None:
    reader = SqliteReader(path)
    assert (reader.read(), reader.read_quarantine(), reader.last_seq()) == ([], [], 0)
    log = SqliteLog(path)
    log.append([event(1)])
    assert reader.last_seq() == 1
    reader.close()
    log.close()


def test_a_rejection_is_kept_byte_for_byte_and_once(path: Path) -> None:
    log = SqliteLog(path)
    first = rejection(b'\xff{"a":', event_id="7")
    assert log.quarantine([first, rejection(b"other")]) == [1, 2]
    log.close()
    log = SqliteLog(path)
    assert log.quarantine([rejection(b'\xff{"a":', correlation_id="another")]) == [1]
    assert [entry.rejection for entry in log.read_quarantine()] == [first, rejection(b"other")]
    assert [entry.quarantine_id for entry in log.read_quarantine(after=1)] == [2]
    log.close()


@pytest.mark.parametrize(
    "tampering",
    [
        "update events set payload = replace(payload, 'red', 'RED') where seq = 3",
        "update events set received_us = received_us + 1 where seq = 3",
        "update events set key = zeroblob(16) where seq = 3",
        "update events set digest = zeroblob(32) where seq = 3",
        "update events set chain = zeroblob(32) where seq = 3",
        "delete from events where seq = 3",
    ],
)
def test_a_tampered_event_is_found_by_the_hash_chain(path: Path, tampering: str) -> None:
    log = SqliteLog(path)
    log.append([event(number, colour="red") for number in range(6)])
    assert log.verify().checked == 6
    log.close()
    connection = apsw.Connection(str(path))
    connection.execute(tampering.replace("replace(payload, 'red', 'RED')", REPLACED))
    assert connection.changes() == 1
    connection.close()
    report = SqliteReader(path).verify()
    assert report.broken_seq == 3
    assert report.reason


def test_the_newest_events_are_verified_without_reading_the_others(
    log: SqliteLog, path: Path
) -> None:
    log.append([event(number) for number in range(25)])
    said: list[tuple[int, int]] = []
    report = log.verify(10, lambda done, total: said.append((done, total)))
    assert (report.checked, report.last_seq, report.broken_seq) == (10, 25, None)
    assert report.head == log.verify().head
    assert said == [(10, 10)]
    assert log.verify(100).checked == 25
    for seq, among_the_newest, among_all in ((3, None, 3), (20, 20, 3)):
        connection = apsw.Connection(str(path))
        connection.execute("update events set chain = zeroblob(32) where seq = ?", (seq,))
        connection.close()
        assert log.verify(10).broken_seq == among_the_newest
        assert log.verify().broken_seq == among_all


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda size: (0, b"this is no database"), id="header"),
        pytest.param(lambda size: (4_096, b"\xff" * (size - 4_096)), id="pages"),
    ],
)
def test_a_damaged_file_is_named_as_such_to_whoever_reads_or_writes(
    path: Path, damage: Any
) -> None:
    log = SqliteLog(path)
    log.append([event(number, colour="red" * 500) for number in range(50)])
    log.close()
    start, replacement = damage(path.stat().st_size)
    with path.open("r+b") as file:
        file.seek(start)
        file.write(replacement)
    reader = SqliteReader(path)

    def appended() -> object:
        return SqliteLog(path).append([event(1)])

    for use in (reader.read, reader.read_quarantine, reader.verify, appended):
        with pytest.raises(HandoffError, match=path.name) as raised:
            use()
        assert raised.value.code == "LOG_CORRUPT"
        assert raised.value.entry.exit_code == 4
    reader.close()


def test_an_event_that_is_no_json_any_more_is_named(path: Path) -> None:
    log = SqliteLog(path)
    log.append([event(number) for number in range(3)])
    log.close()
    connection = apsw.Connection(str(path))
    connection.execute("update events set payload = x'7b' where seq = 2")
    connection.close()
    with pytest.raises(HandoffError, match="event 2 ") as raised:
        SqliteReader(path).read()
    assert raised.value.code == "LOG_CORRUPT"


REPLACED = "cast(replace(cast(payload as text), 'red', 'RED') as blob)"


@pytest.mark.parametrize(
    "broken",
    [
        {"source": "urn:test"},
        {"source": "", "id": "1"},
        {"source": "urn:test", "id": 1},
        {"source": "urn:test", "id": "1", "data": {"n": 2**70}},
        {"source": "urn:test", "id": "1", "data": {"n": float("nan")}},
        {"source": "urn:test", "id": "1", "data": {"n": "\ud800"}},
        {"source": "\ud800", "id": "1"},
    ],
)
def test_what_json_cannot_carry_unchanged_is_refused(log: SqliteLog, broken: Any) -> None:
    with pytest.raises(HandoffError) as raised:
        log.append([broken])
    assert raised.value.code in ("SCHEMA_INVALID", "FIELD_MISMATCH")
    assert log.last_seq() == 0


def test_only_the_user_who_runs_it_can_read_the_log(log: SqliteLog, path: Path) -> None:
    log.append([event(1)])
    files = [path, *path.parent.glob("events.sqlite-*")]
    assert len(files) == 3
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}

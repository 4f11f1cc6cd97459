"""An acknowledgement comes after the disk has it: shown by recording what SQLite asks of the file
system.

Killing a process proves nothing here: the page cache survives it, so a log that never syncs passes
every kill.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import apsw
import pytest

from ingestion.errors.catalog import HandoffError
from ingestion.log.sqlite import SqliteLog

NAMES = itertools.count()


def event(number: int) -> dict[str, Any]:
    return {"id": str(number), "source": "urn:test", "data": {"number": number}}


class RecordingFile(apsw.VFSFile):
    def __init__(self, vfs: RecordingVfs, name: Any, flags: list[int]) -> None:
        self._recorder = vfs
        self._kind = (
            "wal" if str(getattr(name, "filename", lambda: name)()).endswith("-wal") else ""
        )
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        self._recorder.may_fail("write")
        if self._kind == "wal":
            self._recorder.note("write")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        self._recorder.may_fail("sync")
        super().xSync(flags)
        if self._kind == "wal":
            self._recorder.note("sync")


class RecordingVfs(apsw.VFS):
    """The real file system, noting writes to and syncs of the WAL; fails with `failure` when told
    to.
    """

    def __init__(self) -> None:
        self.name = f"recording-{next(NAMES)}"
        self.journal: list[str] = []
        self.failure: tuple[str, type[apsw.Error]] | None = None
        self._lock = threading.Lock()
        super().__init__(self.name, base="")

    def note(self, entry: str) -> None:
        with self._lock:
            self.journal.append(entry)

    def may_fail(self, operation: str) -> None:
        if self.failure is not None and self.failure[0] == operation:
            raise self.failure[1](f"made to fail at {operation}")

    def xOpen(self, name: Any, flags: list[int]) -> RecordingFile:
        return RecordingFile(self, name, flags)


@pytest.fixture
def vfs() -> Iterator[RecordingVfs]:
    recording = RecordingVfs()
    yield recording
    recording.unregister()


class EagerLog(SqliteLog):
    """What this test must catch: it answers as soon as an event is queued."""

    def append_future(self, events: Any, room_seconds: float = 0.0, **options: Any) -> Future[Any]:
        super().append_future(events, room_seconds, **options)
        answered: Future[Any] = Future()
        answered.set_result([])
        return answered


def unsynced_acknowledgements(log: SqliteLog, vfs: RecordingVfs, count: int = 20) -> int:
    """How many of `count` events were acknowledged without a WAL write and a sync after it."""
    vfs.journal.clear()
    for number in range(count):
        vfs.note(f"submit {number}")
        future = log.append_future([event(number)])
        future.add_done_callback(lambda _, number=number: vfs.note(f"ack {number}"))
        future.result()
    unsynced = 0
    for number in range(count):
        start, end = vfs.journal.index(f"submit {number}"), vfs.journal.index(f"ack {number}")
        # What stands last decides: a sync with no write after it.
        between = [entry for entry in vfs.journal[start:end] if entry in ("write", "sync")]
        unsynced += "write" not in between or between[-1] != "sync"
    return unsynced


def test_every_acknowledgement_comes_after_the_sync_of_its_write(
    tmp_path: Path, vfs: RecordingVfs
) -> None:
    log = SqliteLog(tmp_path / "log/events.sqlite", vfs=vfs.name)
    assert unsynced_acknowledgements(log, vfs) == 0
    log.close()


def test_a_log_that_does_not_sync_is_caught(tmp_path: Path, vfs: RecordingVfs) -> None:
    log = SqliteLog(tmp_path / "log/events.sqlite", vfs=vfs.name, synchronous="OFF")
    assert unsynced_acknowledgements(log, vfs) == 20
    log.close()


def test_a_log_that_syncs_only_at_checkpoints_is_caught(tmp_path: Path, vfs: RecordingVfs) -> None:
    log = SqliteLog(tmp_path / "log/events.sqlite", vfs=vfs.name, synchronous="NORMAL")
    assert unsynced_acknowledgements(log, vfs) >= 19
    log.close()


def test_a_log_that_acknowledges_before_it_commits_is_caught(
    tmp_path: Path, vfs: RecordingVfs
) -> None:
    log = EagerLog(tmp_path / "log/events.sqlite", vfs=vfs.name)
    assert unsynced_acknowledgements(log, vfs) > 0
    log.close()


@pytest.mark.parametrize(
    "failure",
    [("write", apsw.FullError), ("write", apsw.IOError), ("sync", apsw.IOError)],
    ids=["disk full", "write fails", "sync fails"],
)
def test_a_failing_disk_refuses_events_and_a_mended_one_takes_them(
    tmp_path: Path, vfs: RecordingVfs, failure: tuple[str, type[apsw.Error]]
) -> None:
    log = SqliteLog(tmp_path / "log/events.sqlite", vfs=vfs.name)
    log.append([event(1)])
    vfs.failure = failure
    for number in (2, 3):
        with pytest.raises(HandoffError) as raised:
            log.append([event(number)])
        assert raised.value.code == "LOG_UNAVAILABLE"
    with pytest.raises(HandoffError):
        log.check()
    vfs.failure = None
    answers = [log.append([event(number)])[0] for number in (2, 3, 1)]
    assert [answer.seq for answer in answers] == [2, 3, 1]
    log.check()
    log.close()
    again = SqliteLog(tmp_path / "log/events.sqlite")
    assert [entry.event["id"] for entry in again.read()] == ["1", "2", "3"]
    assert again.verify().broken_seq is None
    again.close()

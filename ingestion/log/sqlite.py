"""The embedded engine of the event log: one SQLite file in WAL mode, written by one thread of one
process.

`synchronous=FULL` makes every commit wait for the disk; NORMAL was measured to lose acknowledged
events in a power cut.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import apsw
import orjson

from ingestion.durable_file import sync_to_disk
from ingestion.errors.catalog import HandoffError
from ingestion.log.encoding import (
    GENESIS,
    EncodedEvent,
    chain_link,
    encode_event,
    event_key,
    from_microseconds,
    rejection_key,
    to_microseconds,
)
from ingestion.log.group_commit import GroupCommit
from ingestion.log.interface import (
    ERASURE_SOURCE,
    ERASURE_TYPE,
    Appended,
    AppendStatus,
    ChainReport,
    ErasedWhom,
    Erasure,
    Event,
    Lane,
    LogEntry,
    OutcomeEntry,
    QuarantineEntry,
    QuarantineOutcome,
    Rejection,
    StoredEvent,
)

# SQLite before this loses data when a checkpoint resets the WAL while another connection writes.
MINIMUM_SQLITE = 3_051_003
CHECKPOINT_PAGES = 4_000
# A bulk load that waits for its answer anyway also waits for room; the edge answers 503 at once.
ROOM_SECONDS = 30.0
LATER_TABLES = (
    "bulk_ranges",
    "quarantine_outcomes",
    "erased_events",
    "erased_keys",
    "erasure_salt",
)
SCHEMA = """
create table if not exists events (
    seq integer primary key,
    key blob not null unique,
    digest blob not null,
    received_us integer not null,
    payload blob not null,
    payload_hash blob not null,
    chain blob not null
) strict;
create table if not exists quarantine (
    quarantine_id integer primary key,
    key blob not null unique,
    received_us integer not null,
    door text not null,
    code text not null,
    path text not null,
    message text not null,
    payload blob not null,
    correlation_id text not null,
    event_source text,
    event_id text,
    event_type text,
    contract_version text,
    context text
) strict;
create table if not exists quarantine_outcomes (
    outcome_id integer primary key,
    quarantine_id integer not null,
    recorded_us integer not null,
    outcome text not null,
    seq integer,
    code text,
    path text,
    message text
) strict;
create index if not exists outcomes_by_entry on quarantine_outcomes (quarantine_id);
create index if not exists quarantine_by_door on quarantine (door);
create table if not exists bulk_ranges (
    first_seq integer primary key,
    last_seq integer not null
) strict;
create index if not exists quarantine_events on quarantine (event_source, event_id);
create table if not exists erased_events (seq integer primary key) strict;
create table if not exists erased_keys (key blob primary key, erased_us integer not null) strict;
create table if not exists erasure_salt (salt blob not null) strict;
"""


@dataclass(frozen=True, slots=True)
class _Submission:
    """What one caller handed in: events of one lane, or rejections, or outcomes, never two of them."""

    events: list[EncodedEvent]
    rejections: list[Rejection]
    lane: Lane = "live"
    outcomes: Sequence[QuarantineOutcome] = ()
    # Its evidence is `events`.
    erasure: Erasure | None = None


def _placeholders(rows: int, columns: int) -> str:
    row = "(" + ",".join("?" * columns) + ")"
    return ",".join([row] * rows)


def _slices(total: int, largest: int) -> Iterable[tuple[int, int]]:
    # Powers of two: a handful of statements in SQLite's cache serve every group size.
    start, step = 0, largest
    while start < total:
        while step > total - start:
            step //= 2
        yield start, start + step
        start += step


def _outcome(row: tuple[Any, ...]) -> OutcomeEntry:
    return OutcomeEntry(row[0], from_microseconds(row[1]), QuarantineOutcome(*row[2:]))


class SqliteReader:
    """Read-only access to a log file, from any process and thread; a file that does not exist yet
    is an empty log.
    """

    def __init__(self, path: Path) -> None:
        """Open nothing yet; the first read does."""
        self._path = path
        self._lock = threading.Lock()
        self._connection: apsw.Connection | None = None

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return self._fetch(sql, tuple(values))
            except apsw.Error as error:
                raise _fault("read", self._path, error) from error

    def _fetch(self, sql: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        if self._connection is None:
            if not self._path.exists():
                return []
            self._connection = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READONLY)
            self._connection.set_busy_timeout(5_000)
        try:
            return self._connection.execute(sql, values).fetchall()
        except apsw.SQLError as error:
            # No owner that knows lanes, or outcomes, has opened this log yet: all of it is live and
            # nothing was replayed.
            if any(f"no such table: {table}" in str(error) for table in LATER_TABLES):
                return []
            # The owner has created the file but not yet its tables.
            tables = self._connection.execute("select count(*) from sqlite_schema").get
            if tables == 0:
                return []
            raise

    def read(self, after: int = 0, limit: int = 1000) -> list[LogEntry]:
        """Up to `limit` events with `seq > after`, in order of `seq`; erased ones are left out."""
        rows = self._rows(
            "select seq, received_us, payload from events where seq > ? and length(payload) > 0 order by seq limit ?",
            (after, limit),
        )
        entries: list[LogEntry] = []
        seq = after
        try:
            for seq, received, payload in rows:
                entries.append(LogEntry(seq, from_microseconds(received), orjson.loads(payload)))
            return entries
        except (ValueError, OverflowError) as error:
            raise HandoffError(
                "LOG_CORRUPT", f"event {seq} in {self._path} is not what was appended: {error}"
            ) from error

    def read_stored(self, first: int, last: int, limit: int) -> list[StoredEvent]:
        """Up to `limit` events with `first <= seq <= last`, in order and unparsed."""
        rows = self._rows(
            "select seq, received_us, payload from events where seq between ? and ?"
            " order by seq limit ?",
            (first, last, limit),
        )
        return list(map(StoredEvent._make, rows))

    def read_quarantine(self, after: int = 0, limit: int = 1000) -> list[QuarantineEntry]:
        """Up to `limit` rejections with `quarantine_id > after`, in order."""
        return self._rejections(
            "where quarantine_id > ? order by quarantine_id limit ?", (after, limit)
        )

    def last_seq(self, lane: Lane | None = None) -> int:
        """The newest `seq`, of one lane or of both; 0 when there is none."""
        rows = self._rows("select max(seq) from events")
        newest: int = (rows[0][0] or 0) if rows else 0
        if lane is None or newest == 0:
            return newest
        # Ranges that touch are one, so what stands before a range is live.
        found = self._rows(
            "select first_seq, last_seq from bulk_ranges where first_seq <= ?"
            " order by first_seq desc limit 1",
            (newest,),
        )
        first, last = found[0] if found else (newest + 1, 0)
        if lane == "bulk":
            return int(min(last, newest))
        return newest if last < newest else int(first) - 1

    def spans(self, lane: Lane, after: int, through: int) -> list[tuple[int, int]]:
        """Where `lane` has events with `after < seq <= through`, as first and last `seq`."""
        if through <= after:
            return []
        # From the range that `after` lies in or behind: a log of years has many before it.
        rows = self._rows(
            "select first_seq, last_seq from bulk_ranges where first_seq <= ? and first_seq >="
            " coalesce((select max(first_seq) from bulk_ranges where first_seq <= ?), 0)"
            " order by first_seq",
            (through, after + 1),
        )
        bulk = [(max(first, after + 1), min(last, through)) for first, last in rows if last > after]
        if lane == "bulk":
            return bulk
        starts = [after + 1, *(last + 1 for _, last in bulk)]
        ends = [*(first - 1 for first, _ in bulk), through]
        return [(first, last) for first, last in zip(starts, ends, strict=True) if first <= last]

    def last_quarantine_id(self) -> int:
        """The newest `quarantine_id`; 0 when nothing was refused."""
        rows = self._rows("select max(quarantine_id) from quarantine")
        return (rows[0][0] or 0) if rows else 0

    def read_outcomes(self, after: int = 0, limit: int = 1000) -> list[OutcomeEntry]:
        """Up to `limit` outcomes of quarantined entries with `outcome_id > after`, in order."""
        rows = self._rows(
            "select outcome_id, recorded_us, quarantine_id, outcome, seq, code, path, message"
            " from quarantine_outcomes where outcome_id > ? order by outcome_id limit ?",
            (after, limit),
        )
        return [_outcome(row) for row in rows]

    def newest_outcomes(self, quarantine_ids: Sequence[int]) -> dict[int, OutcomeEntry]:
        """The newest outcome of each of these entries that was taken again, by `quarantine_id`."""
        rows = self._rows(
            "select outcome_id, recorded_us, quarantine_id, outcome, seq, code, path, message"
            " from quarantine_outcomes where outcome_id in (select max(outcome_id) from quarantine_outcomes"
            f" where quarantine_id in ({','.join('?' * len(quarantine_ids))}) group by quarantine_id)",
            quarantine_ids,
        )
        return {entry.outcome.quarantine_id: entry for entry in map(_outcome, rows)}

    def last_outcome_id(self) -> int:
        """The newest `outcome_id`; 0 when nothing was taken again."""
        rows = self._rows("select max(outcome_id) from quarantine_outcomes")
        return (rows[0][0] or 0) if rows else 0

    def count_quarantine(self, door: str) -> int:
        """How many rejections came in at `door`."""
        rows = self._rows("select count(*) from quarantine where door = ?", (door,))
        return int(rows[0][0]) if rows else 0

    def contains(self, source: str, event_id: str) -> bool:
        """Whether an event with this source and id was ever accepted."""
        key = event_key(source, event_id)
        return bool(self._rows("select 1 from events where key = ?", (key,)))

    def find(self, source: str, event_id: str) -> tuple[int, datetime] | None:
        """`seq` and `received_at` of the event with this source and id."""
        rows = self._rows(
            "select seq, received_us from events where key = ?", (event_key(source, event_id),)
        )
        return (rows[0][0], from_microseconds(rows[0][1])) if rows else None

    def find_rejections(self, source: str, event_id: str) -> list[QuarantineEntry]:
        """The newest ten rejections of an event that named this source and id, newest first."""
        return self._rejections(
            "where event_source = ? and event_id = ? order by quarantine_id desc limit 10",
            (source, event_id),
        )

    def _rejections(self, which: str, values: Sequence[Any]) -> list[QuarantineEntry]:
        # Until an owner that knows contexts has opened the log, none has one.
        has_context = self._rows(
            "select 1 from pragma_table_info('quarantine') where name = 'context'"
        )
        rows = self._rows(
            "select quarantine_id, received_us, door, code, path, message, payload, correlation_id,"
            f" event_source, event_id, event_type, contract_version, {'context' if has_context else 'null'}"
            f" from quarantine {which}",
            values,
        )
        return [
            QuarantineEntry(row[0], from_microseconds(row[1]), Rejection(*row[2:])) for row in rows
        ]

    def erased(self) -> ErasedWhom | None:
        """Whom this log was told to forget, None when nobody."""
        salts = self._rows("select salt from erasure_salt")
        keys = self._rows("select key, erased_us from erased_keys") if salts else []
        return ErasedWhom(salts[0][0], dict(keys)) if keys else None

    def erased_seqs(self, seqs: Sequence[int]) -> set[int]:
        """Which of these events are changed or empty because a person was erased."""
        found: set[int] = set()
        for start in range(0, len(seqs), 10_000):
            piece = seqs[start : start + 10_000]
            found.update(
                seq
                for (seq,) in self._rows(
                    f"select seq from erased_events where seq in ({','.join('?' * len(piece))})",
                    piece,
                )
            )
        return found

    def count_emptied(self) -> int:
        """How many events have nothing left because a person was erased."""
        rows = self._rows(
            "select count(*) from erased_events join events using (seq) where length(payload) = 0"
        )
        return int(rows[0][0]) if rows else 0

    def find_damage(self) -> str | None:
        """What is wrong with the file itself, None when nothing is; reads all of it once."""
        rows = self._rows("pragma quick_check(1)")
        return None if not rows or rows[0][0] == "ok" else str(rows[0][0])

    def verify(
        self,
        newest: int | None = None,
        progress: Callable[[int, int], None] | None = None,
        *,
        chunk: int = 10_000,
    ) -> ChainReport:
        """Recompute the hash of every event, or of the `newest`; about a second per 100,000."""
        last = self.last_seq()
        start = 0 if newest is None else max(last - newest, 0)
        previous = GENESIS
        if start:
            found = self._rows("select chain from events where seq = ?", (start,))
            if not found:
                return ChainReport(0, start - 1, "", start, f"event {start} is missing")
            previous = found[0][0]
        expected = start
        changed: dict[int, str] = {}
        named: dict[int, str] = {}
        of_an_erasure = ERASURE_TYPE.encode()
        while True:
            rows = self._rows(
                "select seq, key, digest, received_us, payload, payload_hash, chain from events"
                " where seq > ? order by seq limit ?",
                (expected, chunk),
            )
            if not rows:
                # Whoever can write the file could say that anything was erased: only what the chain says was.
                unnamed = [at for at, found in changed.items() if named.get(at) != found]
                if unnamed:
                    first = min(unnamed)
                    return ChainReport(
                        first - 1 - start,
                        first - 1,
                        previous.hex(),
                        first,
                        "the payload is not what was appended, and no erasure in the log names it",
                    )
                return ChainReport(
                    expected - start, expected, previous.hex(), None, None, len(changed)
                )
            erased = self.erased_seqs([row[0] for row in rows])
            for seq, key, digest, received, payload, payload_hash, chain in rows:
                expected += 1
                reason: str | None = None
                is_intact = sha256(payload).digest() == payload_hash
                if seq != expected:
                    reason = f"event {expected} is missing"
                elif not is_intact and seq in erased:
                    changed[seq] = sha256(payload).hexdigest() if payload else ""
                    if chain_link(previous, seq, received, key, payload_hash) != chain:
                        reason = "the hash chain is broken here"
                elif not is_intact:
                    reason = "the payload is not what was appended"
                elif not _matches(payload, key, digest):
                    reason = "the key or digest does not belong to the payload"
                elif chain_link(previous, seq, received, key, payload_hash) != chain:
                    reason = "the hash chain is broken here"
                if reason is not None:
                    good = expected - 1
                    return ChainReport(good - start, good, previous.hex(), expected, reason)
                previous = chain
                if is_intact and of_an_erasure in payload:
                    named |= _left_by(payload)
            if progress is not None:
                progress(expected - start, max(last, expected) - start)

    def close(self) -> None:
        """Close the file; a later read opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


def _fault(did: str, path: Path, error: Exception) -> HandoffError:
    """The catalog's word for what SQLite or the system said: damage stays, anything else may pass."""
    damaged = isinstance(error, apsw.NotADBError | apsw.CorruptError | apsw.SQLError)
    code = "LOG_CORRUPT" if damaged else "LOG_UNAVAILABLE"
    return HandoffError(code, f"the event log cannot {did} {path}: {error}")


def _left_by(payload: bytes) -> dict[int, str]:
    """What an erasure says is left of the events it names: a hash, or nothing."""
    event = orjson.loads(payload)
    if (event.get("type"), event.get("source")) != (ERASURE_TYPE, ERASURE_SOURCE):
        return {}
    return {each["seq"]: each.get("left_hash") or "" for each in event["data"].get("events") or ()}


def _matches(payload: bytes, key: bytes, digest: bytes) -> bool:
    try:
        encoded = encode_event(orjson.loads(payload))
    except (ValueError, HandoffError):
        return False
    return (encoded.key, encoded.digest) == (key, digest)


class SqliteLog:
    """The one writer of a log file; `open_log` in `owner.py` makes sure that there is only one.

    `synchronous` and `vfs` exist so that a test can show that a log which does not wait for the
    disk is caught.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        synchronous: str = "FULL",
        vfs: str | None = None,
        max_pending: int = 20_000,
        max_pending_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        """Open or create the file and start the writer; LOG_UNAVAILABLE when the disk refuses,
        LOG_CORRUPT when the file is damaged.
        """
        if apsw.SQLITE_VERSION_NUMBER < MINIMUM_SQLITE:
            raise RuntimeError(
                f"SQLite {apsw.sqlite_lib_version()} can corrupt a WAL; install apsw >= 3.51.3"
            )
        self._path = path
        self._clock = clock
        self._synchronous = synchronous
        self._vfs = vfs
        self._wal_pages = 0
        self._checkpoint_at = CHECKPOINT_PAGES
        self._suspect = False
        self._last_seq = 0
        self._head = GENESIS
        self._newest_range: tuple[int, int] | None = None
        try:
            _create_private(path)
            self._connection = self._open()
        except (apsw.Error, OSError) as error:
            raise _fault("open", path, error) from error
        self._reader = SqliteReader(path)
        self._group: GroupCommit[_Submission, list[Appended] | list[int]] = GroupCommit(
            self._commit,
            name="handoff-log-writer",
            max_pending=max_pending,
            max_pending_bytes=max_pending_bytes,
        )
        self._closed = False

    # -- appending ---------------------------------------------------------------------------

    def append(self, events: Sequence[Event], *, lane: Lane = "live") -> list[Appended]:
        """Append all events in one transaction and wait until they are on disk."""
        return self.append_future(events, ROOM_SECONDS, lane=lane).result()

    def append_future(
        self, events: Sequence[Event], room_seconds: float = 0.0, *, lane: Lane = "live"
    ) -> Future[list[Appended]]:
        """`append` without waiting for the disk; waits `room_seconds` for room in a full queue.

        Encoding errors are raised here, before anything is queued.
        """
        encoded = [encode_event(event) for event in events]
        size = sum(len(event.payload) for event in encoded)
        return self._submit(_Submission(encoded, [], lane), len(encoded), size, room_seconds)

    def quarantine(self, rejections: Sequence[Rejection]) -> list[int]:
        """Keep rejections and wait until they are on disk."""
        return self.quarantine_future(rejections, ROOM_SECONDS).result()

    def quarantine_future(
        self, rejections: Sequence[Rejection], room_seconds: float = 0.0
    ) -> Future[list[int]]:
        """`quarantine` without waiting for the disk."""
        kept = list(rejections)
        size = sum(len(rejection.payload) for rejection in kept)
        return self._submit(_Submission([], kept), len(kept), size, room_seconds)

    def record_outcomes(self, outcomes: Sequence[QuarantineOutcome]) -> list[int]:
        """Note what became of quarantined entries and wait until it is on disk."""
        return self.record_outcomes_future(outcomes, ROOM_SECONDS).result()

    def record_outcomes_future(
        self, outcomes: Sequence[QuarantineOutcome], room_seconds: float = 0.0
    ) -> Future[list[int]]:
        """`record_outcomes` without waiting for the disk."""
        submission = _Submission([], [], outcomes=list(outcomes))
        return self._submit(submission, len(outcomes), 256 * len(outcomes), room_seconds)

    def erase(self, erasure: Erasure) -> list[Appended]:
        """Take what `erasure` names from the disk and answer for its evidence."""
        return self.erase_future(erasure, ROOM_SECONDS).result()

    def erase_future(self, erasure: Erasure, room_seconds: float = 0.0) -> Future[list[Appended]]:
        """`erase` without waiting."""
        evidence = [encode_event(event) for event in erasure.evidence]
        size = sum(len(event.payload) for event in evidence)
        submission = _Submission(evidence, [], erasure=erasure)
        return self._submit(submission, max(len(evidence), 1), size, room_seconds)

    def _submit(
        self, submission: _Submission, count: int, size: int, room_seconds: float
    ) -> Future[Any]:
        return self._group.submit(submission, count, size, room_seconds)

    def check(self) -> None:
        """Raise LOG_UNAVAILABLE when an append would be refused now, or the last commit failed on
        the disk.
        """
        self._group.check()
        if self._suspect:
            raise HandoffError("LOG_UNAVAILABLE", "the event log's last write failed on the disk")

    def waiting(self) -> tuple[int, int]:
        """Events and bytes queued for the disk."""
        return self._group.waiting()

    # -- reading -----------------------------------------------------------------------------

    def read(self, after: int = 0, limit: int = 1000) -> list[LogEntry]:
        """Up to `limit` events with `seq > after`, in order of `seq`."""
        return self._reader.read(after, limit)

    def read_quarantine(self, after: int = 0, limit: int = 1000) -> list[QuarantineEntry]:
        """Up to `limit` rejections with `quarantine_id > after`, in order."""
        return self._reader.read_quarantine(after, limit)

    def read_stored(self, first: int, last: int, limit: int) -> list[StoredEvent]:
        """Up to `limit` events with `first <= seq <= last`, in order and unparsed."""
        return self._reader.read_stored(first, last, limit)

    def read_outcomes(self, after: int = 0, limit: int = 1000) -> list[OutcomeEntry]:
        """Up to `limit` outcomes of quarantined entries with `outcome_id > after`, in order."""
        return self._reader.read_outcomes(after, limit)

    def newest_outcomes(self, quarantine_ids: Sequence[int]) -> dict[int, OutcomeEntry]:
        """The newest outcome of each of these entries that was taken again, by `quarantine_id`."""
        return self._reader.newest_outcomes(quarantine_ids)

    def last_outcome_id(self) -> int:
        """The newest `outcome_id`; 0 when nothing was taken again."""
        return self._reader.last_outcome_id()

    def last_seq(self, lane: Lane | None = None) -> int:
        """The newest `seq`, of one lane or of both; 0 when there is none."""
        return self._reader.last_seq(lane)

    def spans(self, lane: Lane, after: int, through: int) -> list[tuple[int, int]]:
        """Where `lane` has events with `after < seq <= through`, as first and last `seq`."""
        return self._reader.spans(lane, after, through)

    def last_quarantine_id(self) -> int:
        """The newest `quarantine_id`; 0 when nothing was refused."""
        return self._reader.last_quarantine_id()

    def count_quarantine(self, door: str) -> int:
        """How many rejections came in at `door`."""
        return self._reader.count_quarantine(door)

    def contains(self, source: str, event_id: str) -> bool:
        """Whether an event with this source and id was ever accepted."""
        return self._reader.contains(source, event_id)

    def find(self, source: str, event_id: str) -> tuple[int, datetime] | None:
        """`seq` and `received_at` of the event with this source and id."""
        return self._reader.find(source, event_id)

    def find_rejections(self, source: str, event_id: str) -> list[QuarantineEntry]:
        """The newest ten rejections of an event that named this source and id, newest first."""
        return self._reader.find_rejections(source, event_id)

    def erased(self) -> ErasedWhom | None:
        """Whom this log was told to forget, None when nobody."""
        return self._reader.erased()

    def erased_seqs(self, seqs: Sequence[int]) -> set[int]:
        """Which of these events are changed or empty because a person was erased."""
        return self._reader.erased_seqs(seqs)

    def count_emptied(self) -> int:
        """How many events have nothing left because a person was erased."""
        return self._reader.count_emptied()

    def find_damage(self) -> str | None:
        """What is wrong with the file itself, None when nothing is."""
        return self._reader.find_damage()

    def verify(
        self, newest: int | None = None, progress: Callable[[int, int], None] | None = None
    ) -> ChainReport:
        """Recompute the hash chain."""
        return self._reader.verify(newest, progress)

    def close(self) -> None:
        """Commit what is queued, fold the WAL into the file and close it."""
        if self._closed:
            return
        self._closed = True
        self._group.close()
        self._reader.close()
        with suppress(apsw.Error):
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        self._connection.close()

    # -- the writer thread -------------------------------------------------------------------

    def _open(self) -> apsw.Connection:
        connection = apsw.Connection(str(self._path), vfs=self._vfs)
        try:
            connection.set_busy_timeout(5_000)
            mode = connection.execute("pragma journal_mode = wal").get
            if mode != "wal":
                raise HandoffError(
                    "LOG_UNAVAILABLE", f"{self._path} cannot use a WAL, SQLite answers {mode!r}"
                )
            connection.execute(f"pragma synchronous = {self._synchronous}")
            # What is erased is overwritten; nothing else is ever deleted here.
            connection.execute("pragma secure_delete = on")
            connection.execute(SCHEMA)
            if not connection.execute(
                "select 1 from pragma_table_info('quarantine') where name = 'context'"
            ).fetchall():
                connection.execute("alter table quarantine add column context text")
            # Frames of a failed commit can come back from the page cache without being on disk;
            # folding the WAL into the file writes and syncs them anew before anything is answered
            # from them.
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            # Also turns automatic checkpoints off: they would run inside a commit somebody waits
            # for.
            connection.set_wal_hook(self._count_wal_pages)
            newest = connection.execute(
                "select seq, chain from events order by seq desc limit 1"
            ).fetchall()
            ranges = connection.execute(
                "select first_seq, last_seq from bulk_ranges order by first_seq desc limit 1"
            ).fetchall()
        except Exception:
            connection.close()
            raise
        self._last_seq, self._head = (0, GENESIS)
        for seq, chain in newest:
            self._last_seq, self._head = cast(int, seq), cast(bytes, chain)
        self._newest_range = cast("tuple[int, int]", ranges[0]) if ranges else None
        return connection

    def _count_wal_pages(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _commit(self, group: list[_Submission]) -> Sequence[list[Appended] | list[int]]:
        try:
            if self._suspect:
                with suppress(apsw.Error):
                    self._connection.close()
                self._connection = self._open()
                self._suspect = False
            if self._wal_pages >= self._checkpoint_at:
                self._checkpoint()
            return self._transact(group)
        except apsw.Error as error:
            # apsw errors are no OSErrors. After a failed write the connection is opened anew before
            # it is trusted.
            self._suspect = True
            raise _fault("write", self._path, error) from error

    def _checkpoint(self) -> None:
        # Passive waits for no reader; when one holds it back, the next try comes after as many
        # pages again.
        pages, folded = self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        self._checkpoint_at = CHECKPOINT_PAGES + (pages if folded < pages else 0)
        self._wal_pages = 0

    def _transact(self, group: list[_Submission]) -> Sequence[list[Appended] | list[int]]:
        received_us = to_microseconds(self._clock())
        connection = self._connection
        connection.execute("begin immediate")
        try:
            appended, seq, head = self._insert_events(
                [event for submission in group for event in submission.events], received_us
            )
            newest_range = self._insert_ranges(group, appended)
            kept = self._insert_rejections(
                [item for submission in group for item in submission.rejections], received_us
            )
            noted = self._insert_outcomes(
                [item for submission in group for item in submission.outcomes], received_us
            )
            erasures = [item.erasure for item in group if item.erasure is not None]
            for erasure in erasures:
                self._erase(erasure)
            connection.execute("commit")
        except BaseException:
            if connection.in_transaction:
                with suppress(apsw.Error):
                    connection.execute("rollback")
            raise
        self._last_seq, self._head, self._newest_range = seq, head, newest_range
        if erasures:
            # The pages as they were before are in the write-ahead log, and in the file until it is folded in.
            with suppress(apsw.BusyError):
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        answers: list[list[Appended] | list[int]] = []
        next_event = next_rejection = next_outcome = 0
        for submission in group:
            if submission.outcomes:
                end = next_outcome + len(submission.outcomes)
                answers.append(noted[next_outcome:end])
                next_outcome = end
            elif submission.rejections:
                end = next_rejection + len(submission.rejections)
                answers.append(kept[next_rejection:end])
                next_rejection = end
            else:
                end = next_event + len(submission.events)
                answers.append(appended[next_event:end])
                next_event = end
        return answers

    def _insert_events(
        self, events: list[EncodedEvent], received_us: int
    ) -> tuple[list[Appended], int, bytes]:
        connection = self._connection
        seq, head = self._last_seq, self._head
        known: dict[bytes, tuple[int, bytes, datetime]] = {}
        # Few statements per group, each of many rows: every one gives up the interpreter lock and
        # must win it back.
        for start, end in _slices(len(events), 256):
            for key, found_seq, digest, found_us in connection.execute(
                "select key, seq, digest, received_us from events where key in "
                f"({','.join('?' * (end - start))})",
                [event.key for event in events[start:end]],
            ):
                known[key] = (found_seq, digest, from_microseconds(found_us))
        received_at = from_microseconds(received_us)
        answers: list[Appended] = []
        rows: list[tuple[Any, ...]] = []
        for event in events:
            earlier = known.get(event.key)
            if earlier is not None:
                status: AppendStatus = "duplicate" if earlier[1] == event.digest else "conflict"
                answers.append(Appended(status, earlier[0], earlier[2]))
                continue
            seq += 1
            head = chain_link(head, seq, received_us, event.key, event.payload_hash)
            rows.append(
                (seq, event.key, event.digest, received_us, event.payload, event.payload_hash, head)
            )
            known[event.key] = (seq, event.digest, received_at)
            answers.append(Appended("accepted", seq, received_at))
        for start, end in _slices(len(rows), 128):
            connection.execute(
                "insert into events (seq, key, digest, received_us, payload, payload_hash, chain)"
                f" values {_placeholders(end - start, 7)}",
                [value for row in rows[start:end] for value in row],
            )
        return answers, seq, head

    def _insert_ranges(
        self, group: list[_Submission], appended: list[Appended]
    ) -> tuple[int, int] | None:
        """Note which of the group's new events are bulk; answers the newest range of all."""
        newest, start = self._newest_range, 0
        for submission in group:
            answers = appended[start : start + len(submission.events)]
            start += len(submission.events)
            # New events of one submission follow each other: nothing else appends in between.
            new = [answer.seq for answer in answers if answer.status == "accepted"]
            if submission.lane == "live" or not new:
                continue
            if newest is not None and newest[1] == new[0] - 1:
                newest = (newest[0], new[-1])
                sql = "update bulk_ranges set last_seq = ?2 where first_seq = ?1"
            else:
                newest = (new[0], new[-1])
                sql = "insert into bulk_ranges (first_seq, last_seq) values (?1, ?2)"
            self._connection.execute(sql, newest)
        return newest

    def _insert_rejections(self, rejections: list[Rejection], received_us: int) -> list[int]:
        answers: list[int] = []
        for rejection in rejections:
            key = rejection_key(rejection)
            # An equal rejection keeps its row: a sender that retries for three days must not fill
            # the disk.
            self._connection.execute(
                "insert into quarantine (key, received_us, door, code, path, message, payload,"
                " correlation_id, event_source, event_id, event_type, contract_version, context)"
                f" values {_placeholders(1, 13)} on conflict (key) do nothing",
                (
                    key,
                    received_us,
                    rejection.door,
                    rejection.code,
                    rejection.path,
                    rejection.message,
                    rejection.payload,
                    rejection.correlation_id,
                    rejection.event_source,
                    rejection.event_id,
                    rejection.event_type,
                    rejection.contract_version,
                    rejection.context,
                ),
            )
            answers.append(
                self._connection.execute(
                    "select quarantine_id from quarantine where key = ?", (key,)
                ).get
            )
        return answers

    def _erase(self, erasure: Erasure) -> None:
        connection = self._connection
        for seq, payload in erasure.payloads.items():
            connection.execute("insert or ignore into erased_events (seq) values (?)", (seq,))
            connection.execute("update events set payload = ? where seq = ?", (payload, seq))
        for quarantine_id in erasure.quarantine_ids:
            connection.execute(
                "update quarantine set payload = x'', message = '', context = null, event_source = null, event_id = null"
                " where quarantine_id = ?",
                (quarantine_id,),
            )
            connection.execute(
                "update quarantine_outcomes set message = null where quarantine_id = ?",
                (quarantine_id,),
            )
        if erasure.quarantine_ids:
            # Entries that moved between its pages are in none of them any more, and still on the disk.
            connection.execute("reindex quarantine_events")
        if erasure.whom is None:
            return
        connection.execute(
            "insert into erasure_salt select ? where not exists (select 1 from erasure_salt)",
            (erasure.whom.salt,),
        )
        for key, erased_us in erasure.whom.keys.items():
            connection.execute(
                "insert into erased_keys values (?, ?) on conflict (key) do update set erased_us = max(erased_us, excluded.erased_us)",
                (key, erased_us),
            )

    def _insert_outcomes(self, outcomes: list[QuarantineOutcome], recorded_us: int) -> list[int]:
        return [
            cast(
                int,
                self._connection.execute(
                    "insert into quarantine_outcomes"
                    " (quarantine_id, recorded_us, outcome, seq, code, path, message)"
                    f" values {_placeholders(1, 7)} returning outcome_id",
                    (
                        item.quarantine_id,
                        recorded_us,
                        item.outcome,
                        item.seq,
                        item.code,
                        item.path,
                        item.message,
                    ),
                ).get,
            )
            for item in outcomes
        ]


def _create_private(path: Path) -> None:
    """Make the folder and an empty file only their owner can read, and have both on disk before
    anything relies on them.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    for folder in (path.parent, path.parent.parent):
        sync_to_disk(folder)

"""Who owns the log: the first process writes it, every other hands its events to that one and takes
over when it is gone.

Two processes writing one SQLite file were measured to wait a second for each other; one owner keeps
answers fast.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any, cast

import orjson

from ingestion.errors.catalog import HandoffError
from ingestion.home import require_home
from ingestion.log.encoding import (
    encode_event,
    erasure_from_json,
    erasure_to_json,
    from_microseconds,
    rejection_from_json,
    rejection_to_json,
    to_microseconds,
)
from ingestion.log.group_commit import GroupCommit
from ingestion.log.interface import (
    LANES,
    Appended,
    ChainReport,
    ErasedWhom,
    Erasure,
    Event,
    EventLog,
    Lane,
    LogEntry,
    LogReader,
    OutcomeEntry,
    QuarantineEntry,
    QuarantineOutcome,
    Rejection,
    StoredEvent,
)
from ingestion.log.sqlite import ROOM_SECONDS, SqliteLog, SqliteReader
from ingestion.settings import Settings

LOCK_FILE = "owner.lock"
SOCKET_FILE = "owner.sock"
SOCKET_PATH_BYTES = 100
LARGEST_FRAME = 512 * 1024 * 1024
HANDOVER_SECONDS = 15.0
ANSWER_SECONDS = 60.0
POLL_SECONDS = 0.1


def open_log(settings: Settings) -> EventLog:
    """The log for appending: this process becomes its owner, or hands events to the process that
    is.

    Either way an answer means on disk. Close it: an owner that stops hands the log over without
    waiting.
    """
    lock = _try_lock(settings)
    if lock is None:
        return ClientLog(settings)
    return OwnerLog(settings, lock)


def open_reader(settings: Settings) -> LogReader:
    """The log for reading only; works while any process owns it, and before it exists."""
    return SqliteReader(settings.log_path)


def _try_lock(settings: Settings) -> int | None:
    """A descriptor that holds the owner's lock, or None when another holds it. The kernel frees it
    when its holder dies.
    """
    require_home(settings)
    folder = settings.log_dir
    flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK_FILE, flags, 0o600)
    except OSError as error:
        raise HandoffError(
            "LOG_UNAVAILABLE", f"the event log cannot use {folder}: {error.strerror}"
        ) from error
    try:
        # flock, not lockf: a POSIX lock would let the same process become owner twice.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return None
        raise
    return descriptor


@contextmanager
def _socket_address(folder: Path) -> Iterator[str]:
    """An address for the socket that fits the 108 bytes a socket address has, however deep the
    folder lies.
    """
    direct = str(folder / SOCKET_FILE)
    if len(os.fsencode(direct)) <= SOCKET_PATH_BYTES:
        yield direct
        return
    if not Path("/proc/self/fd").is_dir():
        raise HandoffError(
            "LOG_UNAVAILABLE",
            f"the path {direct} is too long for a socket",
            remedy="Set HANDOFF_HOME to a path of fewer than 80 characters.",
        )
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET_FILE}"
    finally:
        os.close(descriptor)


class OwnerLog:
    """The owner: writes the file itself and serves the processes that hand events over."""

    def __init__(self, settings: Settings, lock: int) -> None:
        """Take the log over with `lock`, a descriptor that holds the owner's lock."""
        self._settings = settings
        self._lock = lock
        self._stopping = threading.Event()
        self._handlers: set[threading.Thread] = set()
        self._closing = threading.Lock()
        self._closed = False
        try:
            self._log = SqliteLog(settings.log_path)
        except BaseException:
            os.close(lock)
            raise
        try:
            self._listener = self._listen()
        except BaseException:
            self._log.close()
            os.close(lock)
            raise
        self._acceptor = threading.Thread(
            target=self._accept, name="handoff-log-acceptor", daemon=True
        )
        self._acceptor.start()

    def append(self, events: Sequence[Event], *, lane: Lane = "live") -> list[Appended]:
        """Append all events in one transaction and wait until they are on disk."""
        return self._log.append(events, lane=lane)

    def append_future(
        self, events: Sequence[Event], *, lane: Lane = "live"
    ) -> Future[list[Appended]]:
        """`append` without waiting."""
        return self._log.append_future(events, lane=lane)

    def quarantine(self, rejections: Sequence[Rejection]) -> list[int]:
        """Keep rejections and wait until they are on disk."""
        return self._log.quarantine(rejections)

    def quarantine_future(self, rejections: Sequence[Rejection]) -> Future[list[int]]:
        """`quarantine` without waiting."""
        return self._log.quarantine_future(rejections)

    def record_outcomes(self, outcomes: Sequence[QuarantineOutcome]) -> list[int]:
        """Note what became of quarantined entries and wait until it is on disk."""
        return self._log.record_outcomes(outcomes)

    def erase(self, erasure: Erasure) -> list[Appended]:
        """Take what `erasure` names from the disk and answer for its evidence."""
        return self._log.erase(erasure)

    def check(self) -> None:
        """Raise LOG_UNAVAILABLE when an append would be refused now."""
        self._log.check()

    def waiting(self) -> tuple[int, int]:
        """Events and bytes queued for the disk."""
        return self._log.waiting()

    def read(self, after: int = 0, limit: int = 1000) -> list[LogEntry]:
        """Up to `limit` events with `seq > after`, in order of `seq`."""
        return self._log.read(after, limit)

    def read_quarantine(self, after: int = 0, limit: int = 1000) -> list[QuarantineEntry]:
        """Up to `limit` rejections with `quarantine_id > after`, in order."""
        return self._log.read_quarantine(after, limit)

    def read_stored(self, first: int, last: int, limit: int) -> list[StoredEvent]:
        """Up to `limit` events with `first <= seq <= last`, in order and unparsed."""
        return self._log.read_stored(first, last, limit)

    def read_outcomes(self, after: int = 0, limit: int = 1000) -> list[OutcomeEntry]:
        """Up to `limit` outcomes of quarantined entries with `outcome_id > after`, in order."""
        return self._log.read_outcomes(after, limit)

    def newest_outcomes(self, quarantine_ids: Sequence[int]) -> dict[int, OutcomeEntry]:
        """The newest outcome of each of these entries that was taken again, by `quarantine_id`."""
        return self._log.newest_outcomes(quarantine_ids)

    def last_outcome_id(self) -> int:
        """The newest `outcome_id`; 0 when nothing was taken again."""
        return self._log.last_outcome_id()

    def last_seq(self, lane: Lane | None = None) -> int:
        """The newest `seq`, of one lane or of both; 0 when there is none."""
        return self._log.last_seq(lane)

    def spans(self, lane: Lane, after: int, through: int) -> list[tuple[int, int]]:
        """Where `lane` has events with `after < seq <= through`, as first and last `seq`."""
        return self._log.spans(lane, after, through)

    def last_quarantine_id(self) -> int:
        """The newest `quarantine_id`; 0 when nothing was refused."""
        return self._log.last_quarantine_id()

    def count_quarantine(self, door: str) -> int:
        """How many rejections came in at `door`."""
        return self._log.count_quarantine(door)

    def contains(self, source: str, event_id: str) -> bool:
        """Whether an event with this source and id was ever accepted."""
        return self._log.contains(source, event_id)

    def find(self, source: str, event_id: str) -> tuple[int, datetime] | None:
        """`seq` and `received_at` of the event with this source and id."""
        return self._log.find(source, event_id)

    def find_rejections(self, source: str, event_id: str) -> list[QuarantineEntry]:
        """The newest ten rejections of an event that named this source and id, newest first."""
        return self._log.find_rejections(source, event_id)

    def erased(self) -> ErasedWhom | None:
        """Whom this log was told to forget, None when nobody."""
        return self._log.erased()

    def erased_seqs(self, seqs: Sequence[int]) -> set[int]:
        """Which of these events are changed or empty because a person was erased."""
        return self._log.erased_seqs(seqs)

    def count_emptied(self) -> int:
        """How many events have nothing left because a person was erased."""
        return self._log.count_emptied()

    def find_damage(self) -> str | None:
        """What is wrong with the file itself, None when nothing is."""
        return self._log.find_damage()

    def verify(
        self, newest: int | None = None, progress: Callable[[int, int], None] | None = None
    ) -> ChainReport:
        """Recompute the hash chain."""
        return self._log.verify(newest, progress)

    def close(self) -> None:
        """Answer the clients being served, commit what is queued, then give up the lock."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._stopping.set()
            # accept() does not notice a closed socket; one last connection wakes it.
            with suppress(OSError), _socket_address(self._settings.log_dir) as address:
                Client(address, family="AF_UNIX").close()
            self._acceptor.join()
            for handler in list(self._handlers):
                handler.join()
            self._log.close()
            with suppress(OSError):
                self._listener.close()
            with suppress(FileNotFoundError):
                (self._settings.log_dir / SOCKET_FILE).unlink()
            os.close(self._lock)

    def _listen(self) -> Listener:
        folder = self._settings.log_dir
        path = folder / SOCKET_FILE
        # Whoever left this socket is dead: we hold the lock.
        with suppress(FileNotFoundError):
            path.unlink()
        # The folder is the boundary until the socket has its mode; other users must not reach in.
        if stat.S_IMODE(folder.stat().st_mode) & 0o077 and folder.stat().st_uid == os.getuid():
            folder.chmod(0o700)
        with _socket_address(folder) as address:
            listener = Listener(address, family="AF_UNIX", backlog=64)
        path.chmod(0o600)
        return listener

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection = self._listener.accept()
            except OSError:
                # Out of descriptors, or the listener is gone; the first passes, the second ends
                # with `stopping`.
                self._stopping.wait(POLL_SECONDS)
                continue
            if self._stopping.is_set():
                connection.close()
                return
            handler = threading.Thread(
                target=self._serve, args=(connection,), name="handoff-log-handler", daemon=True
            )
            self._handlers.add(handler)
            handler.start()

    def _serve(self, connection: Connection[bytes, bytes]) -> None:
        try:
            with connection:
                while not self._stopping.is_set():
                    if connection.poll(POLL_SECONDS):
                        frame = connection.recv_bytes(LARGEST_FRAME)
                        connection.send_bytes(orjson.dumps(self._answer(frame)))
        except (OSError, EOFError):
            # The client is gone; what it sent and we committed stays, and it finds that out by
            # sending again.
            pass
        finally:
            self._handlers.discard(threading.current_thread())

    def _answer(self, frame: bytes) -> dict[str, Any]:
        try:
            request = orjson.loads(frame)
            # All are queued before one is awaited, so that they share a commit.
            waiting = [self._queued(item) for item in request]
            return {"answers": [_answer_to_json(future.result()) for future in waiting]}
        except HandoffError as error:
            return {"error": error.code, "message": error.message}
        except Exception as error:
            return {"error": "INTERNAL", "message": f"{type(error).__name__} in the log's owner"}

    def _queued(self, item: dict[str, Any]) -> Future[Any]:
        if "events" in item:
            return self._log.append_future(item["events"], ROOM_SECONDS, lane=_lane_of(item))
        if "outcomes" in item:
            outcomes = [QuarantineOutcome(**value) for value in item["outcomes"]]
            return self._log.record_outcomes_future(outcomes, ROOM_SECONDS)
        if "erasure" in item:
            return self._log.erase_future(erasure_from_json(item["erasure"]), ROOM_SECONDS)
        rejections = [rejection_from_json(value) for value in item["rejections"]]
        return self._log.quarantine_future(rejections, ROOM_SECONDS)


def _lane_of(item: dict[str, Any]) -> Lane:
    lane = item.get("lane", "live")
    if lane not in LANES:
        raise ValueError(f"unknown lane {lane!r}; known: {', '.join(LANES)}")
    return cast(Lane, lane)


def _answer_to_json(answer: Sequence[Any]) -> list[Any]:
    return [
        [item.status, item.seq, to_microseconds(item.received_at)]
        if isinstance(item, Appended)
        else item
        for item in answer
    ]


def _answer_from_json(answer: Sequence[Any]) -> list[Any]:
    return [
        Appended(item[0], item[1], from_microseconds(item[2])) if isinstance(item, list) else item
        for item in answer
    ]


class ClientLog:
    """Hands events to the owner, in groups over its socket; becomes the owner itself when that one
    is gone.

    Events whose answer was lost with the owner are sent again and may then be answered `duplicate`.
    """

    def __init__(self, settings: Settings) -> None:
        """Connect to nothing yet; the first append does."""
        self._settings = settings
        self._connection: Connection[bytes, bytes] | None = None
        self._owned: OwnerLog | None = None
        self._reader = SqliteReader(settings.log_path)
        self._group: GroupCommit[dict[str, Any], list[Any]] = GroupCommit(
            self._hand_over, name="handoff-log-client"
        )
        self._closed = False

    def append(self, events: Sequence[Event], *, lane: Lane = "live") -> list[Appended]:
        """Hand over all events and wait until the owner has them on disk."""
        return self.append_future(events, ROOM_SECONDS, lane=lane).result()

    def append_future(
        self, events: Sequence[Event], room_seconds: float = 0.0, *, lane: Lane = "live"
    ) -> Future[list[Appended]]:
        """`append` without waiting; encoding errors are raised here."""
        payloads = [encode_event(event).payload for event in events]
        item: dict[str, Any] = {"events": [orjson.Fragment(payload) for payload in payloads]}
        # Unsaid when live: an owner that was started before there were lanes takes that too.
        if lane != "live":
            item["lane"] = lane
        return self._submit(item, len(payloads), sum(map(len, payloads)), room_seconds)

    def quarantine(self, rejections: Sequence[Rejection]) -> list[int]:
        """Hand over rejections and wait until the owner has them on disk."""
        return self.quarantine_future(rejections, ROOM_SECONDS).result()

    def quarantine_future(
        self, rejections: Sequence[Rejection], room_seconds: float = 0.0
    ) -> Future[list[int]]:
        """`quarantine` without waiting."""
        item = {"rejections": [rejection_to_json(rejection) for rejection in rejections]}
        size = sum(len(rejection.payload) for rejection in rejections)
        return self._submit(item, len(rejections), size, room_seconds)

    def record_outcomes(self, outcomes: Sequence[QuarantineOutcome]) -> list[int]:
        """Hand over what became of quarantined entries and wait until the owner has it on disk."""
        item = {"outcomes": [asdict(outcome) for outcome in outcomes]}
        done = self._submit(item, len(outcomes), 256 * len(outcomes), ROOM_SECONDS)
        return cast("list[int]", done.result())

    def erase(self, erasure: Erasure) -> list[Appended]:
        """Hand over what is to go and wait until it has gone from the owner's disk."""
        item = {"erasure": erasure_to_json(erasure)}
        size = sum(map(len, erasure.payloads.values()))
        done = self._submit(item, max(len(erasure.evidence), 1), size, ROOM_SECONDS)
        return cast("list[Appended]", done.result())

    def _submit(
        self, item: dict[str, Any], count: int, size: int, room_seconds: float
    ) -> Future[Any]:
        return self._group.submit(item, count, size, room_seconds)

    def check(self) -> None:
        """Raise LOG_UNAVAILABLE when an append would be refused, as far as this process knows."""
        self._group.check()
        if self._owned is not None:
            self._owned.check()

    def waiting(self) -> tuple[int, int]:
        """Events and bytes that wait for the owner."""
        return self._group.waiting()

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
        """Hand over what is queued, then give back the connection, or the log if it became ours."""
        if self._closed:
            return
        self._closed = True
        self._group.close()
        self._reader.close()
        self._disconnect()
        if self._owned is not None:
            self._owned.close()

    # -- the client's thread -----------------------------------------------------------------

    def _hand_over(self, group: list[dict[str, Any]]) -> Sequence[list[Any]]:
        frame = orjson.dumps(group)
        deadline = time.monotonic() + HANDOVER_SECONDS
        while True:
            try:
                return self._exchange(frame)
            except (OSError, EOFError) as error:
                self._disconnect()
                if time.monotonic() >= deadline:
                    raise HandoffError(
                        "LOG_UNAVAILABLE",
                        f"no owner of the event log answers on {self._settings.log_dir}: {error!r}",
                    ) from error
                time.sleep(0.02)

    def _exchange(self, frame: bytes) -> Sequence[list[Any]]:
        if self._connection is None and self._owned is None:
            lock = _try_lock(self._settings)
            if lock is not None:
                self._owned = OwnerLog(self._settings, lock)
            else:
                with _socket_address(self._settings.log_dir) as address:
                    self._connection = Client(address, family="AF_UNIX")
        if self._owned is not None:
            answer = self._owned._answer(frame)
        else:
            assert self._connection is not None
            self._connection.send_bytes(frame)
            if not self._connection.poll(ANSWER_SECONDS):
                self._disconnect()
                raise HandoffError(
                    "LOG_UNAVAILABLE", f"the log's owner gave no answer for {ANSWER_SECONDS:.0f} s"
                )
            answer = orjson.loads(self._connection.recv_bytes(LARGEST_FRAME))
        if "error" in answer:
            raise HandoffError(answer["error"], answer["message"])
        answers: list[list[Any]] = [_answer_from_json(item) for item in answer["answers"]]
        return answers

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(OSError):
                self._connection.close()
            self._connection = None

"""What any engine of the event log must do; engines stand in their own modules, callers import only
this one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple, Protocol

Event = dict[str, Any]
AppendStatus = Literal["accepted", "duplicate", "conflict"]
OutcomeKind = Literal["accepted", "duplicate", "refused"]
# `live` is what somebody waits for, `bulk` what may wait its turn: imports of files. The order, the
# hash chain and the deduplication are one for both; a log written before lanes is all live.
Lane = Literal["live", "bulk"]
LANES: tuple[Lane, ...] = ("live", "bulk")
# The events that say what was erased, and who alone may say so.
ERASURE_TYPE = "com.handoff.erasure"
ERASURE_SOURCE = "handoff/erasure"


@dataclass(frozen=True, slots=True)
class Appended:
    """The log's answer for one event; `seq` and `received_at` are those of the first event with its
    source and id.

    `conflict` means the id is taken by other content: the new content is not in the log.
    """

    status: AppendStatus
    seq: int
    received_at: datetime


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One event as it was received; `seq` starts at 1, has no gaps and is the order of append."""

    seq: int
    received_at: datetime
    event: Event


class StoredEvent(NamedTuple):
    """One event as it stands in the log: `received_us` in microseconds since 1970, `payload` the
    JSON that `encode_event` wrote, or empty where the event was erased.
    """

    seq: int
    received_us: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Rejection:
    """Something that came in and could not be accepted: `payload` is what came, byte for byte.

    `door` says where it came in (`events`, `webhook:hubspot`, `file`), `path` is a JSON pointer
    into the event.
    """

    door: str
    code: str
    path: str
    message: str
    payload: bytes
    correlation_id: str
    event_source: str | None = None
    event_id: str | None = None
    event_type: str | None = None
    contract_version: str | None = None
    # JSON: what the door needs beside the payload to take it again, such as the name of a mapping.
    context: str | None = None


@dataclass(frozen=True, slots=True)
class QuarantineEntry:
    """One kept rejection; `quarantine_id` starts at 1 and is the order of keeping."""

    quarantine_id: int
    received_at: datetime
    rejection: Rejection


@dataclass(frozen=True, slots=True)
class QuarantineOutcome:
    """What became of a kept rejection when it was taken again; `seq` is the event it is now, or was.

    A refusal has the `code`, `path` and `message` of why; they may be others than at first.
    """

    quarantine_id: int
    outcome: OutcomeKind
    seq: int | None = None
    code: str | None = None
    path: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class OutcomeEntry:
    """One outcome as it was recorded; `outcome_id` starts at 1. The newest of an entry counts."""

    outcome_id: int
    recorded_at: datetime
    outcome: QuarantineOutcome


@dataclass(frozen=True, slots=True)
class ErasedWhom:
    """Whom the log was told to forget: a salt of this log, and when each salted key was erased (microseconds since 1970)."""

    salt: bytes
    keys: Mapping[bytes, int]


@dataclass(frozen=True, slots=True)
class Erasure:
    """What is to go from the log, in one transaction with the events that say so.

    `payloads` is what is left of each event by `seq`: nothing (empty), or its JSON without the person. `quarantine_ids` are kept rejections to be
    emptied. `whom` is added to what `erased` answers; its salt is the log's own once there is one. `evidence` are the `com.handoff.erasure`
    events that name every `seq`: without them a changed payload counts as damage.
    """

    evidence: Sequence[Event]
    payloads: Mapping[int, bytes]
    quarantine_ids: Sequence[int] = ()
    whom: ErasedWhom | None = None


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What checking the hash chain found.

    `checked` events up to `last_seq` are what was appended, or among the `erased` ones, which an erasure in the log names; `broken_seq` is
    the first that is neither, `head` the last good hash in hex.
    """

    checked: int
    last_seq: int
    head: str
    broken_seq: int | None
    reason: str | None
    erased: int = 0


class LogReader(Protocol):
    """Reading; works while another process appends, and sees only what is on disk.

    Every method raises `HandoffError` LOG_CORRUPT when what is on disk is damaged, LOG_UNAVAILABLE
    when it cannot be read now.
    """

    def read(self, after: int = 0, limit: int = 1000) -> list[LogEntry]:
        """Up to `limit` events with `seq > after`, in order of `seq`; erased ones are left out."""
        ...

    def read_stored(self, first: int, last: int, limit: int) -> list[StoredEvent]:
        """Up to `limit` events with `first <= seq <= last`, in order and unparsed."""
        ...

    def read_quarantine(self, after: int = 0, limit: int = 1000) -> list[QuarantineEntry]:
        """Up to `limit` rejections with `quarantine_id > after`, in order."""
        ...

    def read_outcomes(self, after: int = 0, limit: int = 1000) -> list[OutcomeEntry]:
        """Up to `limit` outcomes of quarantined entries with `outcome_id > after`, in order."""
        ...

    def newest_outcomes(self, quarantine_ids: Sequence[int]) -> dict[int, OutcomeEntry]:
        """The newest outcome of each of these entries that was taken again, by `quarantine_id`."""
        ...

    def last_outcome_id(self) -> int:
        """The newest `outcome_id`; 0 when nothing was taken again."""
        ...

    def last_seq(self, lane: Lane | None = None) -> int:
        """The newest `seq`, of one lane or of both; 0 when there is none."""
        ...

    def spans(self, lane: Lane, after: int, through: int) -> list[tuple[int, int]]:
        """Where `lane` has events with `after < seq <= through`: the first and last `seq` of each
        stretch without another lane's, in order.

        `through` may not lie beyond a `last_seq()` asked before; then the answer never changes.
        """
        ...

    def last_quarantine_id(self) -> int:
        """The newest `quarantine_id`; 0 when nothing was refused."""
        ...

    def count_quarantine(self, door: str) -> int:
        """How many rejections came in at `door`."""
        ...

    def contains(self, source: str, event_id: str) -> bool:
        """Whether an event with this source and id was ever accepted."""
        ...

    def find(self, source: str, event_id: str) -> tuple[int, datetime] | None:
        """`seq` and `received_at` of the event with this source and id, None when it was never
        accepted.
        """
        ...

    def find_rejections(self, source: str, event_id: str) -> list[QuarantineEntry]:
        """The newest ten rejections of an event that named this source and id, newest first."""
        ...

    def erased(self) -> ErasedWhom | None:
        """Whom this log was told to forget, None when nobody."""
        ...

    def erased_seqs(self, seqs: Sequence[int]) -> set[int]:
        """Which of these events are changed or empty because a person was erased."""
        ...

    def count_emptied(self) -> int:
        """How many events have nothing left because a person was erased."""
        ...

    def find_damage(self) -> str | None:
        """What is wrong with the file itself, None when nothing is; reads all of it once."""
        ...

    def verify(
        self, newest: int | None = None, progress: Callable[[int, int], None] | None = None
    ) -> ChainReport:
        """Recompute the hash of every event, or of the `newest`; about a second per 100,000.

        `progress` hears how many are done of how many.
        """
        ...

    def close(self) -> None:
        """Give back files and locks; an `EventLog` first commits what it has taken. May be called
        twice.
        """
        ...


class EventLog(LogReader, Protocol):
    """Appending; an answer means that the events are on disk and survive a power cut.

    Every method raises `HandoffError` LOG_UNAVAILABLE when the log cannot take more now, and
    LOG_CORRUPT when its file is damaged; nothing was accepted then, or it is found as `duplicate`
    when it is sent again.
    """

    def append(self, events: Sequence[Event], *, lane: Lane = "live") -> list[Appended]:
        """Append all events in this order in one transaction; one answer per event, in order.

        An event that is there already stays in the lane it came by first.
        """
        ...

    def append_future(
        self, events: Sequence[Event], *, lane: Lane = "live"
    ) -> Future[list[Appended]]:
        """`append` without waiting: the future is done once the events are on disk."""
        ...

    def quarantine(self, rejections: Sequence[Rejection]) -> list[int]:
        """Keep rejections, answering their quarantine ids; an equal one (door, code, path, payload)
        is kept once.
        """
        ...

    def record_outcomes(self, outcomes: Sequence[QuarantineOutcome]) -> list[int]:
        """Note what became of quarantined entries, answering the outcomes' ids; nothing is overwritten."""
        ...

    def quarantine_future(self, rejections: Sequence[Rejection]) -> Future[list[int]]:
        """`quarantine` without waiting."""
        ...

    def erase(self, erasure: Erasure) -> list[Appended]:
        """Take what `erasure` names from the disk, all of it or nothing, and answer for its evidence; position, key and hashes stay.

        What other processes are reading just then is in the write-ahead log until they are done.
        """
        ...

    def check(self) -> None:
        """Raise LOG_UNAVAILABLE when an append would be refused now."""
        ...

    def waiting(self) -> tuple[int, int]:
        """Events and bytes handed in here that are not on disk yet."""
        ...

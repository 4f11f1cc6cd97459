"""Takes what is in quarantine through its door again, and notes what became of it; lands nothing.

What is accepted goes by the live lane: it has waited already. The log refuses a second copy of an event, and every entry is noted once
it is in, so that any number of replays, or one that died half way, leaves the same events.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from ingestion.connectors import catalog
from ingestion.contracts.registry import validate_event
from ingestion.contracts.violations import Violation
from ingestion.edge.intake import shown
from ingestion.edge.strict_json import read_items
from ingestion.edge.trace import parse
from ingestion.edge.webhooks import translate
from ingestion.errors.catalog import HandoffError
from ingestion.landing import files
from ingestion.log.interface import (
    Appended,
    Event,
    EventLog,
    LogReader,
    OutcomeEntry,
    QuarantineEntry,
    QuarantineOutcome,
)
from ingestion.log.owner import open_log, open_reader
from ingestion.settings import Settings

Status = Literal["open", "refused", "replayed"]
STATUSES: tuple[Status, ...] = ("open", "refused", "replayed")
_CHUNK = 500
_PAGE = 5_000


@dataclass(frozen=True, slots=True)
class Kept:
    """One entry of the quarantine and what became of it when it was taken again, if it was."""

    entry: QuarantineEntry
    last: OutcomeEntry | None

    @property
    def status(self) -> Status:
        """`open` until it is replayed; then `replayed`, or `refused` when it still cannot be accepted."""
        if self.last is None:
            return "open"
        return "refused" if self.last.outcome.outcome == "refused" else "replayed"

    def as_dict(self) -> dict[str, Any]:
        """All but the payload, which may hold personal data."""
        rejection = self.entry.rejection
        row = {key: value for key, value in asdict(rejection).items() if key != "payload"}
        outcome = None if self.last is None else asdict(self.last.outcome)
        return {
            "quarantine_id": self.entry.quarantine_id,
            "received_at": self.entry.received_at,
            "status": self.status,
            **row,
            "bytes": len(rejection.payload),
            "outcome": outcome and {**outcome, "recorded_at": self.last and self.last.recorded_at},
        }


@dataclass(frozen=True, slots=True)
class Selection:
    """Which entries are meant; a field that is empty leaves nothing out."""

    ids: tuple[int, ...] = ()
    code: str | None = None
    door: str | None = None
    since: datetime | None = None
    statuses: tuple[Status, ...] = STATUSES

    def takes(self, kept: Kept) -> bool:
        """Whether an entry is among them; a code may be the first or the one it is refused with now."""
        rejection, last = kept.entry.rejection, kept.last
        codes = {rejection.code, last.outcome.code if last else None}
        door = rejection.door
        return (
            (not self.ids or kept.entry.quarantine_id in self.ids)
            and (self.code is None or self.code in codes)
            and (self.door is None or self.door in (door, door.partition(":")[0]))
            and (self.since is None or kept.entry.received_at >= self.since)
            and kept.status in self.statuses
        )


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of one entry: `events` is how many it holds, `seq` where its event is in the log."""

    quarantine_id: int
    outcome: Literal["accepted", "duplicate", "refused"]
    events: int
    seq: int | None = None
    code: str | None = None
    path: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What a replay did, entry by entry; in a dry run what it would do, without knowing of duplicates."""

    entries: tuple[Replayed, ...]
    already_replayed: int
    is_dry_run: bool

    def count(self, outcome: str) -> int:
        """How many entries ended so."""
        return sum(entry.outcome == outcome for entry in self.entries)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "dry_run": self.is_dry_run,
            "accepted": self.count("accepted"),
            "duplicate": self.count("duplicate"),
            "refused": self.count("refused"),
            "already_replayed": self.already_replayed,
            "entries": [asdict(entry) for entry in self.entries],
        }


def list_kept(settings: Settings, selection: Selection) -> list[Kept]:
    """Entries of the quarantine that are meant, oldest first."""
    with closing(open_reader(settings)) as reader:
        return [kept for kept in _all_kept(reader) if selection.takes(kept)]


def find_kept(settings: Settings, quarantine_id: int) -> Kept:
    """One entry; NOT_FOUND when there is none."""
    found = list_kept(settings, Selection(ids=(quarantine_id,)))
    if not found:
        raise _unknown([quarantine_id])
    return found[0]


def replay(settings: Settings, selection: Selection, *, dry_run: bool = False) -> ReplayReport:
    """Take the entries that are meant through their doors again; those replayed before are left alone.

    NOT_FOUND names ids that are none. A contract past its sunset is accepted here: that is how what came too late is put right.
    """
    with closing(open_reader(settings)) as reader:
        meant = [kept for kept in _all_kept(reader) if selection.takes(kept)]
    if missing := sorted(set(selection.ids) - {kept.entry.quarantine_id for kept in meant}):
        raise _unknown(missing)
    waiting = [kept for kept in meant if kept.status != "replayed"]
    known = frozenset(catalog.known_systems(settings))
    done: list[Replayed] = []
    log = None if dry_run or not waiting else open_log(settings)
    try:
        for start in range(0, len(waiting), _CHUNK):
            chunk = waiting[start : start + _CHUNK]
            judged = [_judge(settings, kept.entry, known) for kept in chunk]
            if log is None:
                done += [_undone(*pair) for pair in zip(chunk, judged, strict=True)]
                continue
            found = _append(log, chunk, judged)
            _note(log, chunk, found)
            done += found
    finally:
        if log is not None:
            log.close()
    return ReplayReport(tuple(done), len(meant) - len(waiting), dry_run)


def _all_kept(reader: LogReader) -> Iterator[Kept]:
    newest: dict[int, OutcomeEntry] = {}
    last = 0
    while outcomes := reader.read_outcomes(last, _PAGE):
        newest.update({entry.outcome.quarantine_id: entry for entry in outcomes})
        last = outcomes[-1].outcome_id
    last = 0
    while entries := reader.read_quarantine(last, _PAGE):
        yield from (Kept(entry, newest.get(entry.quarantine_id)) for entry in entries)
        last = entries[-1].quarantine_id


# What an entry is now: the events it holds, or the first reason why it holds none.
_Judged = list[Event] | Violation


def _judge(settings: Settings, entry: QuarantineEntry, known: Collection[str]) -> _Judged:
    rejection = entry.rejection
    kind, _, system = rejection.door.partition(":")
    try:
        if kind == "file":
            candidate = files.retake(settings, rejection.payload, rejection.context)
            if candidate.code or candidate.event is None:
                return Violation(candidate.code, candidate.path, candidate.message)
            events = [candidate.event]
        elif kind in ("events", "webhook"):
            found = _from_edge(settings, entry, system)
            if isinstance(found, Violation):
                return found
            events = found
            for event in events:
                if violations := validate_event(event, known):
                    return violations[0]
        else:
            return Violation("NOT_FOUND", "", f"there is no door {rejection.door!r} any more")
    except HandoffError as error:
        return Violation(error.code, error.path or "", error.message)
    return [_traced(event, entry) for event in events]


def _from_edge(settings: Settings, entry: QuarantineEntry, system: str) -> _Judged:
    """Events of a body or an item that came over HTTP; its signature was right, or it would not have been kept."""
    rejection = entry.rejection
    module = catalog.webhook(system) if system else None
    events: list[Event] = []
    for item in read_items(rejection.payload, settings.max_batch_items)[0]:
        if item.violations:
            return item.violations[0]
        if module is None:
            events.append(item.value)
            continue
        for translated in translate(module, item.raw, (), entry.received_at):
            if translated.violations or translated.event is None:
                return translated.violations[0]
            events.append(translated.event)
    # One delivery can mean several events, of which this entry is one; the others have their own fate.
    own = [
        event
        for event in events
        if isinstance(event, dict)
        and (event.get("source"), event.get("id")) == (rejection.event_source, rejection.event_id)
    ]
    return own or events


def _traced(event: Event, entry: QuarantineEntry) -> Event:
    """The event with the trace of the call it first came with, unless it has its own."""
    own = event.get("traceparent")
    if isinstance(own, str) and parse(own) is not None:
        return event
    first = f"00-{entry.rejection.correlation_id}-{entry.quarantine_id:016x}-01"
    return event if parse(first) is None else {**event, "traceparent": first}


def _append(log: EventLog, chunk: Sequence[Kept], judged: Sequence[_Judged]) -> list[Replayed]:
    good = [events for events in judged if not isinstance(events, Violation)]
    answers = _answers(log, [event for events in good for event in events])
    found: list[Replayed] = []
    at = 0
    for kept, events in zip(chunk, judged, strict=True):
        number = kept.entry.quarantine_id
        if isinstance(events, Violation):
            found.append(_refused(number, events))
            continue
        own = answers[at : at + len(events)]
        at += len(events)
        found.append(_fate(number, events, own))
    return found


def _answers(log: EventLog, events: list[Event]) -> list[Appended | Violation]:
    """One answer for each event; one that cannot be stored must not take its neighbours along."""
    if not events:
        return []
    try:
        return list(log.append(events))
    except HandoffError as error:
        if error.entry.status >= 500:
            raise
        if len(events) == 1:
            return [Violation(error.code, error.path or "", error.message)]
    middle = len(events) // 2
    return [*_answers(log, events[:middle]), *_answers(log, events[middle:])]


def _fate(
    number: int, events: Sequence[Event], answers: Sequence[Appended | Violation]
) -> Replayed:
    stored: list[Appended] = []
    for event, answer in zip(events, answers, strict=True):
        if isinstance(answer, Violation):
            return _refused(number, answer)
        if answer.status == "conflict":
            message = f"the id {event['id']!r} of {event['source']!r} was accepted with other content, as event {answer.seq}"
            return _refused(number, Violation("IDEMPOTENCY_CONFLICT", "/id", message))
        stored.append(answer)
    if not stored:
        # A delivery of nothing is taken as it is at the door.
        return Replayed(number, "duplicate", 0)
    is_new = any(answer.status == "accepted" for answer in stored)
    return Replayed(number, "accepted" if is_new else "duplicate", len(stored), stored[0].seq)


def _refused(number: int, why: Violation) -> Replayed:
    return Replayed(number, "refused", 0, None, why.code, shown(why.path), shown(why.message))


def _undone(kept: Kept, judged: _Judged) -> Replayed:
    number = kept.entry.quarantine_id
    if isinstance(judged, Violation):
        return _refused(number, judged)
    return Replayed(number, "accepted", len(judged))


def _note(log: EventLog, chunk: Sequence[Kept], found: Sequence[Replayed]) -> None:
    """After the events are on disk; an entry that is refused as before says nothing new."""
    fresh: list[QuarantineOutcome] = []
    for kept, replayed in zip(chunk, found, strict=True):
        outcome = QuarantineOutcome(
            replayed.quarantine_id,
            replayed.outcome,
            replayed.seq,
            replayed.code,
            replayed.path,
            replayed.message,
        )
        if kept.last is None or kept.last.outcome != outcome:
            fresh.append(outcome)
    if fresh:
        log.record_outcomes(fresh)


def _unknown(ids: Sequence[int]) -> HandoffError:
    return HandoffError(
        "NOT_FOUND",
        f"no quarantined entry {', '.join(map(str, ids))} among those asked for",
        remedy="`handoff quarantine list` names what there is.",
    )


def counts(kept: Sequence[Kept]) -> Mapping[Status, int]:
    """How many entries have each status."""
    return {status: sum(row.status == status for row in kept) for status in STATUSES}

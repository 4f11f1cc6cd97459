"""Takes what is in quarantine through its door again, and notes what became of it; lands nothing.

What is accepted goes by the live lane: it has waited already. The log refuses a second copy of an event, and every entry is noted once
it is in, so that any number of replays, or one that died half way, leaves the same events.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

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
    QuarantineEntry,
    QuarantineOutcome,
)
from ingestion.log.owner import open_log, open_reader
from ingestion.quarantine import NOT_ALLOWED, Kept, Replayed, Selection, all_kept, unknown
from ingestion.settings import Settings

_CHUNK = 500


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What a replay did, entry by entry; in a dry run what it would do, without knowing of duplicates."""

    entries: tuple[Replayed, ...]
    already_replayed: int
    not_allowed: int
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
            "not_allowed": self.not_allowed,
            "entries": [asdict(entry) for entry in self.entries],
        }


def replay(settings: Settings, selection: Selection, *, dry_run: bool = False) -> ReplayReport:
    """Take the entries that are meant through their doors again; those replayed before are left alone.

    NOT_FOUND names ids that are none. A contract past its sunset is accepted here: that is how what came too late is put right. What its
    sender was not allowed to send is let in only when `selection` names it, by id or by the code SCOPE_DENIED.
    """
    with closing(open_reader(settings)) as reader:
        meant = [kept for kept in all_kept(reader) if selection.takes(kept)]
    if missing := sorted(set(selection.ids) - {kept.entry.quarantine_id for kept in meant}):
        raise unknown(missing)
    waiting = [kept for kept in meant if kept.status != "replayed"]
    is_named = bool(selection.ids) or selection.code == NOT_ALLOWED
    allowed = [kept for kept in waiting if is_named or not kept.was_not_allowed]
    done: list[Replayed] = []
    if dry_run:
        done = _rehearse(settings, allowed)
    elif allowed:
        with closing(open_log(settings)) as log:
            done = retake(settings, log, allowed)
    return ReplayReport(
        tuple(done), len(meant) - len(waiting), len(waiting) - len(allowed), dry_run
    )


def retake(settings: Settings, log: EventLog, waiting: Sequence[Kept]) -> list[Replayed]:
    """Take these entries through their doors again, whoever sent them, and note what became of each."""
    known = frozenset(catalog.known_systems(settings))
    done: list[Replayed] = []
    for start in range(0, len(waiting), _CHUNK):
        chunk = waiting[start : start + _CHUNK]
        judged = [_judge(settings, kept.entry, known) for kept in chunk]
        found = _append(log, chunk, judged)
        _note(log, chunk, found)
        done += found
    return done


def _rehearse(settings: Settings, waiting: Sequence[Kept]) -> list[Replayed]:
    known = frozenset(catalog.known_systems(settings))
    return [_undone(kept, _judge(settings, kept.entry, known)) for kept in waiting]


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

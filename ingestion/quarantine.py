"""What was refused and is kept, and what became of it when it was taken again; takes nothing itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from ingestion.errors.catalog import HandoffError
from ingestion.log.interface import LogReader, OutcomeEntry, QuarantineEntry
from ingestion.log.owner import open_reader
from ingestion.settings import Settings

Status = Literal["open", "refused", "replayed"]
STATUSES: tuple[Status, ...] = ("open", "refused", "replayed")
# The code of what its sender lacked the scope for: taking it again must not be the way around that.
NOT_ALLOWED = "SCOPE_DENIED"
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

    @property
    def was_not_allowed(self) -> bool:
        """Whether it was refused because its sender may not send such events."""
        return self.entry.rejection.code == NOT_ALLOWED

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


def list_kept(settings: Settings, selection: Selection) -> list[Kept]:
    """Entries of the quarantine that are meant, oldest first."""
    with closing(open_reader(settings)) as reader:
        return [kept for kept in all_kept(reader) if selection.takes(kept)]


def find_kept(settings: Settings, quarantine_id: int) -> Kept:
    """One entry; NOT_FOUND when there is none."""
    found = list_kept(settings, Selection(ids=(quarantine_id,)))
    if not found:
        raise unknown([quarantine_id])
    return found[0]


def all_kept(reader: LogReader) -> Iterator[Kept]:
    """Every entry with its newest outcome, oldest first."""
    newest: dict[int, OutcomeEntry] = {}
    last = 0
    while outcomes := reader.read_outcomes(last, _PAGE):
        newest.update({entry.outcome.quarantine_id: entry for entry in outcomes})
        last = outcomes[-1].outcome_id
    last = 0
    while entries := reader.read_quarantine(last, _PAGE):
        yield from (Kept(entry, newest.get(entry.quarantine_id)) for entry in entries)
        last = entries[-1].quarantine_id


def unknown(ids: Sequence[int]) -> HandoffError:
    """NOT_FOUND for entries that there are none of."""
    return HandoffError(
        "NOT_FOUND",
        f"no quarantined entry {', '.join(map(str, ids))} among those asked for",
        remedy="`handoff quarantine list` names what there is.",
    )


def counts(kept: Sequence[Kept]) -> Mapping[Status, int]:
    """How many entries have each status."""
    return {status: sum(row.status == status for row in kept) for status in STATUSES}

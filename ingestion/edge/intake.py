"""Takes parsed items to the log or to quarantine and says for each what became of it; knows no
HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from ingestion.contracts.lifecycle import Lifecycle, end_of, lifecycles, sunset
from ingestion.contracts.registry import validate_event
from ingestion.contracts.violations import Violation
from ingestion.edge.trace import Trace, parse
from ingestion.errors.catalog import HandoffError, catalog_entry
from ingestion.log.interface import Appended, Event, EventLog, Rejection

Answer = TypeVar("Answer")
LOG_SECONDS = 30.0
# So many events are judged before others get the event loop.
CHUNK = 32
_SHOWN_CHARACTERS = 1_024


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that came in: `raw` as sent, and the event it is or means, or why it is none."""

    raw: bytes
    event: Event | None
    violations: tuple[Violation, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an item; `quarantine_id` where it was kept when it was not accepted."""

    status: Literal["accepted", "duplicate", "conflict", "rejected"]
    source: str | None
    event_id: str | None
    seq: int | None = None
    received_at: datetime | None = None
    violations: tuple[Violation, ...] = ()
    quarantine_id: int | None = None
    # The end of the contract it names, from the day it is deprecated on.
    end: Lifecycle | None = None

    @property
    def is_kept(self) -> bool:
        """Whether the event is in the log, now or from before."""
        return self.status in ("accepted", "duplicate")

    def error(self) -> HandoffError:
        """The first violation as an error of the catalog."""
        first = self.violations[0]
        return HandoffError(first.code, first.message, path=first.path)


async def take(
    log: EventLog,
    items: Sequence[Item],
    *,
    door: str,
    trace: Trace,
    known_systems: Collection[str],
    now: datetime | None = None,
) -> list[Outcome]:
    """Validate every item alone, append the good ones in order, keep the others in quarantine.

    `now` is what the ends of contracts are judged against; the clock's when it is left out.

    Answers when all of it is on disk, one outcome per item; HandoffError LOG_UNAVAILABLE when it
    cannot be.
    """
    good: list[tuple[int, Event]] = []
    bad: list[tuple[int, tuple[Violation, ...]]] = []
    ends: dict[int, Lifecycle] = {}
    judged_at = (now or datetime.now(UTC)) if lifecycles() else None
    for position, item in enumerate(items):
        violations = item.violations
        if judged_at is not None and (end := end_of(item.event)) and judged_at >= end.deprecated_at:
            ends[position] = end
            if not violations and (ended := sunset(end, judged_at)):
                violations = (ended,)
        if not violations:
            violations = tuple(validate_event(item.event, known_systems))  # type: ignore[arg-type]
        if violations or item.event is None:
            bad.append((position, violations))
        else:
            good.append((position, _with_trace(item.event, trace)))
        if position % CHUNK == CHUNK - 1:
            await asyncio.sleep(0)

    # Both are queued before either is awaited, so that they share a commit.
    appending = log.append_future([event for _, event in good]) if good else None
    keeping = _keep(log, items, bad, door, trace) if bad else None
    outcomes: dict[int, Outcome] = {}
    conflicts: list[tuple[int, tuple[Violation, ...]]] = []
    appended: list[Appended] = await _on_disk(appending) if appending else []
    for (position, event), answer in zip(good, appended, strict=True):
        source, event_id = shown(event["source"]), shown(event["id"])
        if answer.status == "conflict":
            message = f"the id {event_id!r} of {source!r} was accepted before with other content"
            violation = Violation("IDEMPOTENCY_CONFLICT", "/id", message)
            conflicts.append((position, (violation,)))
        outcomes[position] = Outcome(
            answer.status, source, event_id, answer.seq, answer.received_at, end=ends.get(position)
        )
    keeping_conflicts = _keep(log, items, conflicts, door, trace) if conflicts else None
    kept = await _on_disk(keeping) if keeping else []
    kept += await _on_disk(keeping_conflicts) if keeping_conflicts else []
    for (position, violations), quarantine_id in zip([*bad, *conflicts], kept, strict=True):
        seen = outcomes.get(position)
        event_of = items[position].event
        outcomes[position] = Outcome(
            "conflict" if seen else "rejected",
            text_of(event_of, "source"),
            text_of(event_of, "id"),
            seen.seq if seen else None,
            seen.received_at if seen else None,
            tuple(Violation(v.code, shown(v.path), shown(v.message)) for v in violations),
            quarantine_id,
            ends.get(position),
        )
    return [outcomes[position] for position in range(len(items))]


async def reject(log: EventLog, raw: bytes, error: HandoffError, *, door: str, trace: Trace) -> int:
    """Keep a body that could not even be taken apart; answers its quarantine id once it is on disk.

    HandoffError LOG_UNAVAILABLE when it cannot be kept.
    """
    violation = Violation(error.code, error.path or "", error.message)
    (kept,) = await _on_disk(_keep(log, [Item(raw, None)], [(0, (violation,))], door, trace))
    return int(kept)


def shown(text: str) -> str:
    """`text` as storage and answers can carry it: no lone surrogates, not endless."""
    return text[:_SHOWN_CHARACTERS].encode("utf-8", "backslashreplace").decode("utf-8")


def text_of(event: object, name: str) -> str | None:
    """A text attribute of what may be no event at all."""
    value = event.get(name) if isinstance(event, dict) else None
    return shown(value) if isinstance(value, str) else None


def _with_trace(event: Event, trace: Trace) -> Event:
    own = event.get("traceparent")
    if isinstance(own, str) and parse(own) is not None:
        return event
    return event | {"traceparent": trace.traceparent}


def _keep(
    log: EventLog,
    items: Sequence[Item],
    positions: Sequence[tuple[int, tuple[Violation, ...]]],
    door: str,
    trace: Trace,
) -> Future[list[int]]:
    return log.quarantine_future(
        [_rejection(items[position], violations, door, trace) for position, violations in positions]
    )


def _rejection(item: Item, violations: tuple[Violation, ...], door: str, trace: Trace) -> Rejection:
    first = violations[0]
    more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
    contract = text_of(item.event, "dataschema")
    return Rejection(
        door=door,
        code=catalog_entry(first.code).code,
        path=shown(first.path),
        message=shown(first.message + more),
        payload=item.raw,
        correlation_id=trace.correlation_id,
        event_source=text_of(item.event, "source"),
        event_id=text_of(item.event, "id"),
        event_type=text_of(item.event, "type"),
        contract_version=contract.rpartition(":")[2] if contract else None,
    )


async def _on_disk(future: Future[Any]) -> Any:
    try:
        async with asyncio.timeout(LOG_SECONDS):
            return await asyncio.wrap_future(future)
    except TimeoutError as error:
        raise HandoffError(
            "LOG_UNAVAILABLE", f"the disk has not answered for {LOG_SECONDS:.0f} s"
        ) from error

"""Sends a plan so that every row ends in one receipt; what to send is decided elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from ingestion.errors.catalog import HandoffError
from ingestion.log.interface import EventLog
from ingestion.outbound.confirm import Standing, judge, moved_fields, standing
from ingestion.outbound.destination import (
    Answer,
    Destination,
    DestinationFault,
    FaultKind,
    RowOutcome,
    Usage,
)
from ingestion.outbound.in_flight import look_up
from ingestion.outbound.plan import Operation, Plan, seal
from ingestion.outbound.receipts import (
    OpenSend,
    final_id,
    last_attempt,
    open_sends,
    receipt,
    sent_id,
)
from ingestion.outbound.retry import RetryPolicy, TryAgain, call, retrying

# Codes that speak of one row; any other cause that outlasts the tries ends the run.
ROW_CODES = frozenset({"UPSTREAM_LOCKED", "SILENT_NOOP"})
MESSAGE_LENGTH = 2_000


@dataclass(frozen=True, slots=True)
class RowReport:
    """What became of one operation.

    `status`: confirmed, failed, superseded, refused (these four have a final receipt); unchanged
    (it was there and had its receipt before); in_flight (outcome not known yet, the next run looks
    it up); not_sent (Ctrl-C came before it); planned (dry run).
    """

    operation_id: str
    object: str
    external_id: str
    person_id: str | None
    status: str
    code: str | None
    message: str | None
    record_id: str | None
    is_created: bool


@dataclass(frozen=True, slots=True)
class ApplyReport:
    """What an apply did; `halted` is the catalog code that stopped it early, if one did."""

    plan_id: str
    system: str
    rows: tuple[RowReport, ...]
    resolved: dict[str, int]
    usage: Usage | None
    halted: str | None
    seconds: float
    is_dry_run: bool

    def counts(self) -> dict[str, int]:
        """Rows by status, and `created`: records that did not exist before."""
        found: dict[str, int] = {}
        for row in self.rows:
            found[row.status] = found.get(row.status, 0) + 1
        created = sum(row.is_created for row in self.rows)
        return {**dict(sorted(found.items())), "created": created}

    @property
    def is_clean(self) -> bool:
        """Nothing failed, nothing is left in flight and the run reached its end."""
        return self.halted is None and not any(
            row.status in ("failed", "in_flight") for row in self.rows
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, without field values."""
        return {
            "plan_id": self.plan_id,
            "system": self.system,
            "counts": self.counts(),
            "resolved": dict(self.resolved),
            "usage": None if self.usage is None else [self.usage.used, self.usage.total],
            "halted": self.halted,
            "seconds": round(self.seconds, 3),
            "is_dry_run": self.is_dry_run,
            "rows": [
                {name: getattr(row, name) for name in RowReport.__slots__} for row in self.rows
            ],
        }


class ApplyInterrupted(HandoffError):
    """Ctrl-C: what was finished is kept and reported; the next run looks up the rest."""

    def __init__(self, report: ApplyReport) -> None:
        """Keeps `report` for whoever catches it."""
        counts = ", ".join(f"{count} {name}" for name, count in report.counts().items() if count)
        super().__init__("OPERATION_INTERRUPTED", f"stopped in plan {report.plan_id}: {counts}")
        self.report = report


def apply_plan(
    plan: Plan,
    destination: Destination,
    log: EventLog,
    *,
    clock: Callable[[], datetime],
    consent_allows: Callable[[str], bool],
    plans_dir: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    dry_run: bool = False,
    retry: RetryPolicy | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> ApplyReport:
    """Writes what `plan` wants and appends a receipt for every row.

    Per batch: consent is asked again, the records are read, what is there already or was changed by
    somebody is left alone, the rest is written down as sent, sent, read back and ended. A run that
    dies anywhere is continued by applying the same or a newer plan: open operations are looked up
    before anything is sent again. Apply an empty plan too: it closes what a dead run left open and
    nobody wants any more.

    `consent_allows(person_id)` False, or raising, refuses the row. `progress(object, done, total)`
    is called after each batch. `plans_dir` keeps the sealed plan, without which a dead run's rows
    cannot be looked up. With `dry_run` nothing is written, there or in the log.

    Raises:
        ApplyInterrupted: on Ctrl-C, with the report so far.
        HandoffError: LOG_UNAVAILABLE when receipts cannot be kept; then nothing further is sent.
    """
    run = _Run(
        plan,
        destination,
        log,
        clock,
        consent_allows,
        plans_dir,
        progress,
        dry_run,
        retry or RetryPolicy(),
        sleep,
    )
    return run.execute()


@dataclass(slots=True)
class _Flight:
    """One operation on its way; `operation` gets its reference filled in before it is read."""

    operation: Operation
    open_send: OpenSend | None
    attempt: int = 0
    before: dict[str, Any] | None = None
    refusal: str | None = None
    is_sent: bool = False
    is_unknown: bool = False
    is_written: bool = False
    is_created: bool = False
    record_id: str | None = None
    sent_at: datetime | str | None = None
    answered_at: datetime | None = None
    status: str | None = None
    code: str | None = None
    message: str | None = None


class _Halt(Exception):
    """Nothing more will succeed in this run."""

    def __init__(self, code: str, message: str) -> None:
        """Carries the catalog code."""
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(slots=True)
class _Run:
    plan: Plan
    destination: Destination
    log: EventLog
    clock: Callable[[], datetime]
    consent_allows: Callable[[str], bool]
    plans_dir: Path | None
    progress: Callable[[str, int, int], None] | None
    dry_run: bool
    retry: RetryPolicy
    sleep: Callable[[float], None]
    opens: dict[str, OpenSend] = field(default_factory=dict)
    flights: list[_Flight] = field(default_factory=list)
    halt: _Halt | None = None
    resolved: dict[str, int] = field(default_factory=dict)
    record_ids: dict[tuple[str, str], str] = field(default_factory=dict)
    lost: dict[tuple[str, str], str] = field(default_factory=dict)
    receipts: list[tuple[_Flight, dict[str, Any]]] = field(default_factory=list)

    # -- the run -------------------------------------------------------------------------------

    def execute(self) -> ApplyReport:
        started = time.monotonic()
        batch: list[_Flight] = []
        try:
            self._begin()
            for batch in self._batches():
                self._run_batch(batch)
                if self.progress is not None:
                    done = sum(flight.status is not None for flight in self.flights)
                    self.progress(batch[0].operation.object, done, len(self.flights))
        except KeyboardInterrupt:
            self._settle(batch)
            raise ApplyInterrupted(self._report(started)) from None
        return self._report(started)

    def _begin(self) -> None:
        if not self.dry_run:
            if self.plans_dir is not None and not self._plan_path().is_file():
                seal(self.plan, self.plans_dir)
            self.opens = open_sends(self.log, self.plan.system, self.plans_dir)
        self.flights = [
            _Flight(operation, self.opens.get(operation.operation_id))
            for operation in self.plan.operations
        ]
        planned = {operation.operation_id for operation in self.plan.operations}
        unplanned = [send for name, send in self.opens.items() if name not in planned]
        try:
            self.resolved = look_up(
                unplanned,
                self.log,
                self.destination,
                clock=self.clock,
                plans_dir=self.plans_dir,
                retry=self.retry,
                sleep=self.sleep,
            )
        except DestinationFault as fault:
            self.halt = _Halt(fault.code, fault.message)

    def _plan_path(self) -> Path:
        assert self.plans_dir is not None
        return self.plans_dir / f"{self.plan.plan_id}.json"

    def _batches(self) -> Iterator[list[_Flight]]:
        """Runs of the plan's order that one request can carry: one object, action and key, no
        record twice.
        """
        batch: list[_Flight] = []
        kind: tuple[Any, ...] = ()
        keys: set[str] = set()
        for flight in self.flights:
            operation = flight.operation
            found = (
                operation.object,
                operation.action,
                operation.key_field,
                operation.depends_on_external_id is not None,
            )
            if batch and (
                found != kind or operation.key in keys or len(batch) >= self.destination.batch_size
            ):
                yield batch
                batch, keys = [], set()
            kind = found
            batch.append(flight)
            keys.add(operation.key)
        if batch:
            yield batch

    def _run_batch(self, batch: list[_Flight]) -> None:
        try:
            if self.halt is None:
                self._prepare(batch)
                self._read_before([f for f in batch if f.status is None])
                writing = [f for f in batch if f.status is None and self._is_due(f)]
                if self.dry_run:
                    for flight in writing:
                        flight.status = "planned"
                        flight.is_created = flight.before is None
                else:
                    self._write(self._claim(writing))
        except _Halt as halt:
            self.halt = halt
        if self.halt is not None:
            self._give_up(batch, self.halt)
        for flight in batch:
            self._remember(flight)
        self._flush()

    def _write(self, flights: list[_Flight]) -> None:
        try:
            self._send(flights)
        except _Halt as halt:
            # What was accepted before the system went away can often still be read back.
            self.halt = halt
        self._confirm([f for f in flights if f.is_written])

    # -- before sending ------------------------------------------------------------------------

    def _prepare(self, batch: list[_Flight]) -> None:
        for flight in batch:
            flight.refusal = self._consent_problem(flight.operation)
            if flight.open_send is not None:
                flight.is_sent = flight.is_unknown = True
                flight.attempt = flight.open_send.attempt
                flight.sent_at = flight.open_send.data.get("sent_at")
            elif flight.refusal is not None:
                self._end(flight, "refused", "CONSENT_MISSING", flight.refusal)
        self._fill_references([f for f in batch if f.status is None])

    def _consent_problem(self, operation: Operation) -> str | None:
        if not operation.is_consented:
            return "no consent was known when the plan was made"
        if operation.person_id is None:
            return "the row names no person whose consent could be asked"
        try:
            is_allowed = self.consent_allows(operation.person_id) is True
        except Exception as error:  # whatever hinders the answer, no answer is a no
            return f"consent could not be asked: {type(error).__name__}"
        return None if is_allowed else "consent is missing or was withdrawn since the plan"

    def _fill_references(self, flights: list[_Flight]) -> None:
        if not flights:
            return
        reference = self.destination.references.get(flights[0].operation.object)
        if reference is None:
            return
        waiting: list[_Flight] = []
        for flight in flights:
            wanted = flight.operation.depends_on_external_id
            if wanted is None:
                continue
            lost = self.lost.get((reference.object, wanted))
            if lost is not None:
                text = f"its {reference.object} was not written ({lost})"
                self._end(flight, "failed", "DEPENDENCY_FAILED", text)
            else:
                waiting.append(flight)
        unknown = {
            name
            for flight in waiting
            if (name := str(flight.operation.depends_on_external_id))
            and (reference.object, name) not in self.record_ids
            and not self._given_id(flight.operation)
        }
        if unknown:
            read = partial(
                self.destination.read,
                reference.object,
                ["Id"],
                reference.external_id_field,
                sorted(unknown),
            )
            try:
                for name, record in self._reading(read).items():
                    self.record_ids[reference.object, name] = str(record["Id"])
            except DestinationFault as fault:
                for flight in waiting:
                    self._end(flight, "failed", fault.code, fault.message)
                return
        for flight in waiting:
            operation = flight.operation
            name = str(operation.depends_on_external_id)
            found = self.record_ids.get((reference.object, name)) or self._given_id(operation)
            if found is not None:
                payload = {**operation.payload, reference.field: found}
                flight.operation = replace(operation, payload=payload)
            elif not self.dry_run:
                text = f"no {reference.object} with {reference.external_id_field} {name}"
                self._end(flight, "failed", "DEPENDENCY_FAILED", text)

    @staticmethod
    def _given_id(operation: Operation) -> str | None:
        """An upsert goes by external id, so a target_id beside it is the Id of the record it points
        to.
        """
        return operation.target_id if operation.action == "upsert" else None

    def _read_before(self, flights: list[_Flight]) -> None:
        """Fills `before`; rows whose fields the system does not know fail alone, not with their
        batch.
        """
        if not flights:
            return
        try:
            records = self._read_records(flights)
        except DestinationFault as fault:
            groups: dict[frozenset[str], list[_Flight]] = {}
            for flight in flights:
                groups.setdefault(frozenset(flight.operation.payload), []).append(flight)
            if len(groups) > 1:
                for group in groups.values():
                    self._read_before(group)
                return
            for flight in flights:
                self._end(flight, "failed", fault.code, fault.message)
            return
        for flight in flights:
            flight.before = records.get(flight.operation.key)

    def _is_due(self, flight: _Flight) -> bool:
        """Whether the row is still to be written, given the record as it is now; ends it if not."""
        operation, before = flight.operation, flight.before
        found = standing(operation.payload, operation.changes, before)
        if before is not None:
            flight.record_id = str(before.get("Id") or "") or None
        if found is Standing.AS_WANTED:
            self._end(flight, "confirmed", None, None, before)
        elif found is Standing.MOVED:
            names = ", ".join(moved_fields(operation.payload, operation.changes, before or {}))
            # A lookup after a send meets an edit after ours; else the plan saw an older world.
            code = None if flight.is_unknown else "PLAN_STALE"
            self._end(flight, "superseded", code, f"{names} was changed there; it was kept", before)
        elif found is Standing.PARTLY and flight.is_unknown:
            text = "written, then one of its fields was put back there; it was kept"
            self._end(flight, "superseded", None, text, before)
        elif found is Standing.ABSENT and operation.action == "update":
            text = f"no {operation.object} with Id {operation.target_id}"
            self._end(flight, "failed", "NOT_FOUND", text)
        elif flight.refusal is not None:
            self._end(flight, "refused", "CONSENT_MISSING", flight.refusal)
        else:
            flight.is_unknown = False
            return True
        return False

    def _claim(self, flights: list[_Flight]) -> list[_Flight]:
        """Writes the rows down as sent; from here a crash leaves them in flight, not forgotten."""
        fresh = [flight for flight in flights if not flight.is_sent]
        for flight in fresh:
            flight.attempt = last_attempt(self.log, flight.operation.operation_id) + 1
            flight.sent_at = self.clock()
        answers = self.log.append([self._event(f, "sent") for f in fresh]) if fresh else []
        for flight, answer in zip(fresh, answers, strict=True):
            if answer.status == "accepted":
                flight.is_sent = True
            else:
                flight.status = "in_flight"
                flight.message = "another run is sending it"
        return [flight for flight in flights if flight.is_sent]

    # -- sending -------------------------------------------------------------------------------

    def _send(self, flights: list[_Flight]) -> None:
        """Sends until each row is written, has failed, or the tries are used up."""
        pending = list(flights)

        def one_try() -> None:
            nonlocal pending
            pending = self._look_before_resending(pending)
            asked = self._send_once(pending)
            pending = [f for f in pending if f.status is None and not f.is_written]
            if pending:
                raise asked or TryAgain("UPSTREAM_LOCKED", "rows are locked", None)

        try:
            retrying(self.retry, self.sleep)(one_try)
        except TryAgain as last:
            with contextlib.suppress(DestinationFault):
                self._look(pending)
            if last.code not in ROW_CODES:
                raise _Halt(last.code, last.message) from last
            for flight in pending:
                if not flight.is_unknown and not flight.is_written:
                    code = flight.code or last.code
                    self._end(flight, "failed", code, flight.message or last.message)

    def _look(self, flights: Sequence[_Flight]) -> None:
        """Learns what became of the unknown ones among `flights`."""
        unknown = [flight for flight in flights if flight.is_unknown]
        records = self._read_once(unknown) if unknown else {}
        for flight in unknown:
            now = records.get(flight.operation.key)
            found = standing(flight.operation.payload, flight.operation.changes, now)
            if found in (Standing.ABSENT, Standing.AS_BEFORE):
                flight.is_unknown = False
            else:
                flight.is_unknown, flight.is_written = False, True
                flight.is_created = flight.before is None
                flight.record_id = str((now or {}).get("Id") or "") or None
                flight.answered_at = self.clock()

    def _look_before_resending(self, pending: list[_Flight]) -> list[_Flight]:
        try:
            self._look(pending)
        except DestinationFault as fault:
            if fault.kind is FaultKind.STOP:
                raise _Halt(fault.code, fault.message) from fault
            raise TryAgain(fault.code, fault.message, fault.retry_after_seconds) from fault
        due: list[_Flight] = []
        for flight in pending:
            if flight.is_written:
                continue
            # The wait between two tries is long enough for somebody to withdraw.
            refusal = self._consent_problem(flight.operation)
            if refusal is None:
                due.append(flight)
            else:
                self._end(flight, "refused", "CONSENT_MISSING", refusal)
        return due

    def _send_once(self, flights: Sequence[_Flight]) -> TryAgain | None:
        """One request, or several if it must be divided; returns why to try again, if anything is
        worth it.
        """
        if not flights:
            return None
        try:
            outcomes = self.destination.write([flight.operation for flight in flights])
        except DestinationFault as fault:
            return self._take_fault(flights, fault)
        except KeyboardInterrupt:
            for flight in flights:
                flight.is_unknown = True
            raise
        now = self.clock()
        # Answers come by position: with one missing, none can be told apart.
        if len(outcomes) != len(flights):
            for flight in flights:
                flight.is_unknown, flight.code, flight.message = True, "SILENT_NOOP", None
            return TryAgain("SILENT_NOOP", "fewer answers than rows", None)
        again: TryAgain | None = None
        for flight, outcome in zip(flights, outcomes, strict=True):
            self._take_outcome(flight, outcome, now)
            if flight.status is None and not flight.is_written:
                again = TryAgain("UPSTREAM_LOCKED", outcome.message or "locked", None)
        return again

    def _take_outcome(self, flight: _Flight, outcome: RowOutcome, now: datetime) -> None:
        flight.answered_at = now
        flight.code, flight.message = outcome.code, outcome.message
        if outcome.answer is Answer.WRITTEN:
            flight.is_written = True
            flight.code = flight.message = None
            flight.is_created = bool(outcome.created)
            flight.record_id = outcome.record_id or flight.record_id
        elif outcome.answer is Answer.REFUSED:
            code = outcome.code or "UPSTREAM_REJECTED"
            self._end(flight, "failed", code, outcome.message)
        else:
            flight.is_unknown = outcome.answer is Answer.UNKNOWN

    def _take_fault(self, flights: Sequence[_Flight], fault: DestinationFault) -> TryAgain | None:
        if fault.kind is FaultKind.STOP:
            raise _Halt(fault.code, fault.message) from fault
        if fault.kind is FaultKind.REJECTED:
            if len(flights) > 1 and fault.is_divisible:
                middle = len(flights) // 2
                halves = [self._send_once(flights[:middle]), self._send_once(flights[middle:])]
                return next((half for half in halves if half is not None), None)
            for flight in flights:
                flight.answered_at = self.clock()
                self._end(flight, "failed", fault.code, fault.message)
            return None
        for flight in flights:
            flight.is_unknown = fault.kind is FaultKind.UNKNOWN
            flight.code, flight.message = fault.code, fault.message
        return TryAgain(fault.code, fault.message, fault.retry_after_seconds)

    # -- after sending -------------------------------------------------------------------------

    def _confirm(self, flights: list[_Flight]) -> None:
        if not flights:
            return
        try:
            records = self._read_records(flights)
        except DestinationFault as fault:
            # Accepted but not read back is not known: the next run looks it up.
            raise _Halt(fault.code, fault.message) from fault
        for flight in flights:
            now = records.get(flight.operation.key)
            verdict = judge(flight.operation.payload, flight.before, now)
            flight.record_id = str((now or {}).get("Id") or flight.record_id or "") or None
            self._end(flight, verdict.status, verdict.code, verdict.message, now)

    def _give_up(self, batch: list[_Flight], halt: _Halt) -> None:
        """Ends the rows that certainly were not written; the others stay in flight."""
        for flight in batch:
            if flight.status is not None:
                continue
            if flight.is_written or flight.is_unknown or flight.open_send is not None:
                flight.status, flight.code = "in_flight", halt.code
                flight.message = f"outcome not known yet: {halt.message}"
            else:
                self._end(flight, "failed", halt.code, f"not written: {halt.message}")

    def _settle(self, batch: list[_Flight]) -> None:
        """After Ctrl-C: one look at the batch that was out; whatever that cannot tell stays in
        flight.
        """
        if self.dry_run:
            return
        out = [f for f in batch if f.status is None and f.is_sent]
        try:
            records = self._read_once(out) if out else {}
            for flight in out:
                now = records.get(flight.operation.key)
                found = standing(flight.operation.payload, flight.operation.changes, now)
                if found is Standing.AS_WANTED:
                    flight.is_created = flight.before is None
                    flight.record_id = str((now or {}).get("Id") or "") or None
                    self._end(flight, "confirmed", None, None, now)
        except DestinationFault:
            pass
        for flight in out:
            if flight.status is None:
                flight.status = "in_flight"
        self._flush()

    def _remember(self, flight: _Flight) -> None:
        """Keeps what rows that point to this record need to know."""
        operation = flight.operation
        name = (operation.object, operation.external_id)
        if flight.status in ("failed", "refused", "in_flight"):
            self.lost[name] = flight.code or flight.status
        elif flight.record_id is not None:
            self.record_ids[name] = flight.record_id

    # -- receipts ------------------------------------------------------------------------------

    def _end(
        self,
        flight: _Flight,
        status: str,
        code: str | None,
        message: str | None,
        current: dict[str, Any] | None = None,
    ) -> None:
        flight.status, flight.code = status, code
        flight.message = message[:MESSAGE_LENGTH] if message else None
        if self.dry_run:
            flight.status = "unchanged" if status == "confirmed" else status
            return
        operation = flight.operation
        if not flight.is_sent:
            flight.attempt = last_attempt(self.log, operation.operation_id)
        unsent = code if not flight.is_sent else None
        written = None
        if current is not None:
            written = {name: current.get(name) for name in operation.payload}
        elif flight.is_sent:
            written = dict(operation.payload)
        confirmed_at = self.clock() if current is not None else None
        event_id = final_id(operation.operation_id, flight.attempt, status, unsent)
        event = self._event(
            flight, status, event_id=event_id, written=written, confirmed_at=confirmed_at
        )
        self.receipts.append((flight, event))

    def _event(
        self,
        flight: _Flight,
        status: str,
        *,
        event_id: str | None = None,
        written: dict[str, Any] | None = None,
        confirmed_at: datetime | None = None,
    ) -> dict[str, Any]:
        operation = flight.operation
        is_sent = status == "sent"
        return receipt(
            operation,
            system=self.plan.system,
            plan_id=self.plan.plan_id,
            planned_at=self.plan.planned_at,
            event_id=event_id or sent_id(operation.operation_id, flight.attempt),
            status=status,
            at=self.clock(),
            attempt=flight.attempt or None,
            record_id=flight.record_id
            or (operation.target_id if operation.action == "update" else None),
            code=None if is_sent else flight.code,
            message=None if is_sent else flight.message,
            sent_at=flight.sent_at,
            answered_at=flight.answered_at,
            confirmed_at=confirmed_at,
            written=dict(operation.payload) if is_sent else written,
        )

    def _flush(self) -> None:
        """Appends the batch's final receipts; one that is in the log already was reached by an
        earlier run.
        """
        if not self.receipts:
            return
        answers = self.log.append([event for _, event in self.receipts])
        for (flight, _), answer in zip(self.receipts, answers, strict=True):
            if answer.status != "accepted" and flight.status == "confirmed":
                flight.status = "unchanged"
        self.receipts = []

    def _report(self, started: float) -> ApplyReport:
        rows = tuple(
            RowReport(
                operation_id=flight.operation.operation_id,
                object=flight.operation.object,
                external_id=flight.operation.external_id,
                person_id=flight.operation.person_id,
                status=flight.status or "not_sent",
                code=flight.code,
                message=flight.message,
                record_id=flight.record_id,
                is_created=flight.is_created and flight.status != "failed",
            )
            for flight in self.flights
        )
        return ApplyReport(
            plan_id=self.plan.plan_id,
            system=self.plan.system,
            rows=rows,
            resolved=self.resolved,
            usage=self.destination.usage,
            halted=self.halt.code if self.halt is not None else None,
            seconds=time.monotonic() - started,
            is_dry_run=self.dry_run,
        )

    # -- reading -------------------------------------------------------------------------------

    def _read_once(self, flights: Sequence[_Flight]) -> dict[str, dict[str, Any]]:
        first = flights[0].operation
        fields = sorted({name for flight in flights for name in flight.operation.payload})
        keys = [flight.operation.key for flight in flights]
        return self.destination.read(first.object, fields, first.key_field, keys)

    def _read_records(self, flights: Sequence[_Flight]) -> dict[str, dict[str, Any]]:
        """Reads with retries; raises DestinationFault only for a refused request, everything else
        halts the run.
        """
        return self._reading(partial(self._read_once, flights))

    def _reading(self, read: Callable[[], dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
        try:
            return call(self.retry, self.sleep, read)
        except DestinationFault as fault:
            if fault.kind is FaultKind.REJECTED:
                raise
            raise _Halt(fault.code, fault.message) from fault

"""POST /v1/events, and what became of an event since."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import quote

import orjson
from fastapi import Request
from starlette.responses import Response

from ingestion.contracts.violations import Violation
from ingestion.edge.answers import answer_batch, answer_one, answer_rejected_body
from ingestion.edge.bodies import JSON, media_type_of, read_body, require_shape
from ingestion.edge.callers import Caller
from ingestion.edge.decisions import Decisions
from ingestion.edge.gate import Gate
from ingestion.edge.intake import Item, take
from ingestion.edge.metrics import Metrics
from ingestion.edge.strict_json import Parsed, read_items
from ingestion.edge.trace import Trace
from ingestion.errors.catalog import HandoffError
from ingestion.log.interface import EventLog, Lane
from ingestion.settings import Settings

DOOR = "events"
# Consent is what everything else hangs on: sending activities does not include declaring it.
SCOPES_BY_TYPE = {"com.handoff.consent": "consent:write"}


class Events:
    """The events API."""

    def __init__(
        self,
        settings: Settings,
        log: EventLog,
        known_systems: frozenset[str],
        gate: Gate,
        metrics: Metrics,
        decisions: Decisions | None,
        clock: Callable[[], datetime],
    ) -> None:
        """Without `decisions` an event's status ends with being accepted."""
        self._settings = settings
        self._log = log
        self._known_systems = known_systems
        self._gate = gate
        self._metrics = metrics
        self._decisions = decisions
        self._clock = clock

    async def post(self, request: Request) -> Response:
        """One CloudEvent or a batch; 202 once it is on disk, per-item answers for a batch."""
        caller = self._gate.identify(request, "events:write")
        media_type = media_type_of(request)
        body = await read_body(request, self._settings.max_body_bytes)
        trace: Trace = request.state.trace
        try:
            parsed, is_batch = read_items(body, self._settings.max_batch_items)
            require_shape(media_type, is_batch)
        except HandoffError as error:
            allowance = await self._gate.spend(caller, DOOR)
            self._metrics.count_rejection(DOOR, error.code)
            answer = await answer_rejected_body(self._log, body, error, DOOR, trace)
            answer.headers.update(allowance.headers())
            return answer
        allowance = await self._gate.spend(caller, DOOR, len(parsed))
        items = [_item(found, caller) for found in parsed]
        outcomes = await take(
            self._log,
            items,
            door=DOOR,
            trace=trace,
            known_systems=self._known_systems,
            now=self._clock(),
        )
        self._metrics.count_outcomes(DOOR, items, outcomes)
        answer = answer_batch(outcomes, trace) if is_batch else answer_one(outcomes[0], trace)
        answer.headers.update(allowance.headers())
        if not is_batch and outcomes[0].is_kept:
            source, event_id = outcomes[0].source or "", outcomes[0].event_id or ""
            answer.headers["location"] = status_path(source, event_id)
        return answer

    async def get_status(self, request: Request) -> Response:
        """How far one event has come: accepted, landed, decided, pushed, or quarantined."""
        _, allowance = await self._gate.admit(request, "events:read", "reads")
        event_id: str = request.path_params["id"]
        source = request.query_params.get("source")
        if not source:
            raise HandoffError(
                "BAD_REQUEST",
                "the parameter source is missing",
                remedy="An id is the sender's: name its source too, as ?source=urn:example:shop.",
            )
        found = await self._status(source, event_id)
        content = found | {"correlation_id": request.state.trace.correlation_id}
        return Response(orjson.dumps(content), media_type=JSON, headers=allowance.headers())

    async def _status(self, source: str, event_id: str) -> dict[str, Any]:
        found, refused = await asyncio.gather(
            asyncio.to_thread(self._log.find, source, event_id),
            asyncio.to_thread(self._log.find_rejections, source, event_id),
        )
        rejections = [
            {
                "quarantine_id": entry.quarantine_id,
                "received_at": entry.received_at,
                "code": entry.rejection.code,
                "path": entry.rejection.path,
                "contract_version": entry.rejection.contract_version,
                "correlation_id": entry.rejection.correlation_id,
            }
            for entry in refused
        ]
        told: dict[str, Any] = {"source": source, "id": event_id}
        if found is None:
            if not rejections:
                raise HandoffError(
                    "NOT_FOUND",
                    f"no event {event_id!r:.200} of {source!r:.200} was ever received",
                    remedy="Send it; the id and source are compared letter by letter.",
                )
            return told | {"status": "quarantined", "rejections": rejections}
        seq, received_at = found
        return told | await self._progress(seq, received_at) | {"rejections": rejections}

    async def _progress(self, seq: int, received_at: datetime) -> dict[str, Any]:
        told: dict[str, Any] = {"seq": seq, "received_at": received_at, "status": "accepted"}
        if self._decisions is None:
            return told
        lane: Lane = (
            "bulk" if await asyncio.to_thread(self._log.spans, "bulk", seq - 1, seq) else "live"
        )
        told["status"] = self._decisions.progress(seq, lane)
        if told["status"] != "decided":
            return told
        entries = await asyncio.to_thread(self._log.read, seq - 1, 1)
        # Of an event that was erased nothing is known any more.
        is_there = bool(entries) and entries[0].seq == seq
        pushes = await self._decisions.pushes(entries[0].event, received_at) if is_there else []
        if any(push["status"] == "confirmed" for push in pushes):
            told["status"] = "pushed"
        return told | {"pushes": pushes}


def status_path(source: str, event_id: str) -> str:
    """Address of an event's status."""
    return f"/v1/events/{quote(event_id, safe='')}/status?source={quote(source, safe='')}"


def _item(parsed: Parsed, caller: Caller) -> Item:
    violations = parsed.violations
    kind = parsed.value.get("type") if isinstance(parsed.value, dict) else None
    scope = SCOPES_BY_TYPE.get(kind) if isinstance(kind, str) else None
    if scope is not None and not violations and not caller.may(scope):
        message = f"{caller.name!r} lacks the scope {scope}"
        violations = (Violation("SCOPE_DENIED", "/type", message),)
    return Item(parsed.raw, parsed.value, violations)

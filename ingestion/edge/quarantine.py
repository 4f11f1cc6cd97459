"""/v1/quarantine: what was refused and why, masked unless the caller may see personal values; and taking it once more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from fastapi import Request
from starlette.responses import Response

from ingestion.edge.bodies import JSON
from ingestion.edge.callers import Caller
from ingestion.edge.events import SCOPES_BY_TYPE
from ingestion.edge.gate import Gate
from ingestion.edge.masking import masked, masked_text
from ingestion.errors.catalog import HandoffError
from ingestion.log.interface import EventLog
from ingestion.quarantine import Kept, Replayed, unknown
from ingestion.settings import Settings

ROUTE = "quarantine"
PAGE = 100
# Takes entries through their doors again, into this log. Handed in, as files are read by what the edge does not import.
Retake = Callable[[Settings, EventLog, Sequence[Kept]], list[Replayed]]


class Quarantine:
    """The log's quarantine."""

    def __init__(
        self, settings: Settings, log: EventLog, gate: Gate, retake: Retake | None
    ) -> None:
        """Without `retake` nothing is taken again."""
        self._settings = settings
        self._log = log
        self._gate = gate
        self._retake = retake
        # Two calls for one entry are one after the other, so that the second finds it replayed.
        self._replaying = asyncio.Lock()

    async def get_page(self, request: Request) -> Response:
        """Entries after `?after=` in the order of their ids, at most 100, without their payloads."""
        caller, headers = await self._admit(request, "quarantine:read")
        after = _number(request.query_params.get("after", "0"), "after")
        limit = min(_number(request.query_params.get("limit", str(PAGE)), "limit"), PAGE)
        page = await asyncio.to_thread(self._read, after, limit)
        content: dict[str, Any] = {"entries": [_shown(kept, caller) for kept in page]}
        if len(page) == limit and page:
            content["next_after"] = page[-1].entry.quarantine_id
        return Response(orjson.dumps(content), media_type=JSON, headers=headers)

    async def get_one(self, request: Request) -> Response:
        """One entry, with what was sent."""
        caller, headers = await self._admit(request, "quarantine:read")
        kept = await self._find(request)
        content = _shown(kept, caller) | {"payload": _payload(kept, caller)}
        return Response(orjson.dumps(content), media_type=JSON, headers=headers)

    async def post_replay(self, request: Request) -> Response:
        """Take one entry through its door again; a second time answers as the first did and changes nothing."""
        caller, headers = await self._admit(request, "quarantine:replay")
        async with self._replaying:
            kept = await self._find(request)
            if kept.was_not_allowed:
                # Who sent it lacked this scope, and a replay must not lend it to them.
                caller.require(SCOPES_BY_TYPE.get(kept.entry.rejection.event_type or "", "admin:*"))
            if kept.status != "replayed":
                if self._retake is None:
                    raise HandoffError("NOT_FOUND", "this edge takes nothing again")
                await asyncio.to_thread(self._retake, self._settings, self._log, [kept])
                kept = await self._find(request)
        content = _shown(kept, caller) | {"correlation_id": request.state.trace.correlation_id}
        return Response(orjson.dumps(content), media_type=JSON, headers=headers)

    async def _admit(self, request: Request, scope: str) -> tuple[Caller, dict[str, str]]:
        caller, allowance = await self._gate.admit(request, scope, ROUTE)
        return caller, allowance.headers() | {"cache-control": "no-store"}

    async def _find(self, request: Request) -> Kept:
        wanted = _number(request.path_params["quarantine_id"], "quarantine_id")
        found = await asyncio.to_thread(self._read, wanted - 1, 1)
        if not found or found[0].entry.quarantine_id != wanted:
            raise unknown([wanted])
        return found[0]

    def _read(self, after: int, limit: int) -> list[Kept]:
        entries = self._log.read_quarantine(after, limit)
        newest = self._log.newest_outcomes([entry.quarantine_id for entry in entries])
        return [Kept(entry, newest.get(entry.quarantine_id)) for entry in entries]


def _shown(kept: Kept, caller: Caller) -> dict[str, Any]:
    refused = kept.entry.rejection
    clear = caller.may("pii:read")
    shown: dict[str, Any] = {
        "quarantine_id": kept.entry.quarantine_id,
        "received_at": kept.entry.received_at,
        "status": kept.status,
        "door": refused.door,
        "code": refused.code,
        "path": refused.path,
        # Messages quote the value that was wrong.
        "message": refused.message if clear else masked_text(refused.message),
        "source": refused.event_source,
        "id": refused.event_id
        if clear or refused.event_id is None
        else masked_text(refused.event_id),
        "type": refused.event_type,
        "contract_version": refused.contract_version,
        "correlation_id": refused.correlation_id,
    }
    if kept.last is not None:
        outcome = kept.last.outcome
        message = outcome.message
        shown["replay"] = {
            "replayed_at": kept.last.recorded_at,
            "outcome": outcome.outcome,
            "seq": outcome.seq,
            "code": outcome.code,
            "path": outcome.path,
            "message": message if clear or message is None else masked_text(message),
        }
    return shown


def _payload(kept: Kept, caller: Caller) -> Any:
    payload = kept.entry.rejection.payload
    text = payload.decode("utf-8", "replace")
    try:
        value = orjson.loads(payload)
    except ValueError:
        return text if caller.may("pii:read") else masked_text(text)
    return value if caller.may("pii:read") else masked(value)


def _number(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise HandoffError(
            "BAD_REQUEST", f"{name} must be a whole number, not {text!r:.80}", path=f"/{name}"
        )
    return int(text)

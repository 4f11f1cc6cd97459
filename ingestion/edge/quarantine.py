"""GET /v1/quarantine: what was refused and why, masked unless the caller may see personal values."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from fastapi import Request
from starlette.responses import Response

from ingestion.edge.bodies import JSON
from ingestion.edge.callers import Caller, Callers
from ingestion.edge.masking import masked, masked_text
from ingestion.edge.rate_limits import RateLimits
from ingestion.errors.catalog import HandoffError
from ingestion.log.interface import LogReader, QuarantineEntry

PAGE = 100


class Quarantine:
    """Reads the log's quarantine."""

    def __init__(self, log: LogReader, callers: Callers, limits: RateLimits) -> None:
        """`log` may be anybody's reader of it."""
        self._log = log
        self._callers = callers
        self._limits = limits

    async def get_page(self, request: Request) -> Response:
        """Entries after `?after=` in the order of their ids, at most 100, without their payloads."""
        caller, headers = await self._admit(request)
        after = _number(request.query_params.get("after", "0"), "after")
        limit = min(_number(request.query_params.get("limit", str(PAGE)), "limit"), PAGE)
        entries = await asyncio.to_thread(self._log.read_quarantine, after, limit)
        content: dict[str, Any] = {"entries": [_shown(entry, caller) for entry in entries]}
        if len(entries) == limit and entries:
            content["next_after"] = entries[-1].quarantine_id
        return Response(orjson.dumps(content), media_type=JSON, headers=headers)

    async def get_one(self, request: Request) -> Response:
        """One entry, with what was sent."""
        caller, headers = await self._admit(request)
        wanted = _number(request.path_params["quarantine_id"], "quarantine_id")
        entries = await asyncio.to_thread(self._log.read_quarantine, wanted - 1, 1)
        if not entries or entries[0].quarantine_id != wanted:
            raise HandoffError(
                "NOT_FOUND",
                f"nothing was kept under {wanted}",
                remedy="GET /v1/quarantine lists what was.",
            )
        content = _shown(entries[0], caller) | {"payload": _payload(entries[0], caller)}
        return Response(orjson.dumps(content), media_type=JSON, headers=headers)

    async def _admit(self, request: Request) -> tuple[Caller, dict[str, str]]:
        caller = self._callers.identify(request)
        request.state.caller = caller.name
        caller.require("quarantine:read")
        allowance = await self._limits.spend("quarantine", caller.name, 1, caller.rate_limits)
        return caller, allowance.headers() | {"cache-control": "no-store"}


def _shown(entry: QuarantineEntry, caller: Caller) -> dict[str, Any]:
    kept = entry.rejection
    clear = caller.may("pii:read")
    return {
        "quarantine_id": entry.quarantine_id,
        "received_at": entry.received_at,
        "door": kept.door,
        "code": kept.code,
        "path": kept.path,
        # Messages quote the value that was wrong.
        "message": kept.message if clear else masked_text(kept.message),
        "source": kept.event_source,
        "id": kept.event_id if clear or kept.event_id is None else masked_text(kept.event_id),
        "type": kept.event_type,
        "contract_version": kept.contract_version,
        "correlation_id": kept.correlation_id,
    }


def _payload(entry: QuarantineEntry, caller: Caller) -> Any:
    text = entry.rejection.payload.decode("utf-8", "replace")
    try:
        value = orjson.loads(entry.rejection.payload)
    except ValueError:
        return text if caller.may("pii:read") else masked_text(text)
    return value if caller.may("pii:read") else masked(value)


def _number(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise HandoffError(
            "BAD_REQUEST", f"{name} must be a whole number, not {text!r:.80}", path=f"/{name}"
        )
    return int(text)

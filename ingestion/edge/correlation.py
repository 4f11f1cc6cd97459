"""Gives every request a trace and a log line, and every failure a problem document."""

from __future__ import annotations

import time
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingestion.edge.problems import problem_response
from ingestion.edge.trace import trace_of
from ingestion.errors.catalog import HandoffError

logger = structlog.get_logger("handoff.edge")


class Correlation:
    """Gives every request a trace, every answer its traceparent header, and every failure a problem
    document.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; other scopes pass through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope).getlist("traceparent")
        trace = trace_of(headers[0] if len(headers) == 1 else None)
        state: dict[str, Any] = scope.setdefault("state", {})
        state["trace"] = trace
        status = 0
        started = time.perf_counter()

        async def send_traced(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["traceparent"] = trace.traceparent
            await send(message)

        try:
            await self._app(scope, receive, send_traced)
        except Exception as error:
            if structlog.is_configured():
                logger.exception("failed", correlation_id=trace.correlation_id)
            if status:
                raise
            # What went wrong inside stays inside: the caller gets the id to ask with.
            internal = HandoffError("INTERNAL", f"unexpected {type(error).__name__}")
            await problem_response(internal, trace.correlation_id)(scope, receive, send_traced)
        if structlog.is_configured():
            logger.info(
                "request",
                correlation_id=trace.correlation_id,
                method=scope["method"],
                path=scope["path"],
                status=status,
                milliseconds=round((time.perf_counter() - started) * 1_000, 2),
            )

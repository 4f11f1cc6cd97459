"""Gives every request a trace and a log line, and every failure a problem document."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingestion.edge.problems import problem_response
from ingestion.edge.trace import trace_of
from ingestion.errors.catalog import HandoffError
from ingestion.tracing import span

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from ingestion.edge.metrics import Metrics

logger = structlog.get_logger("handoff.edge")


class Correlation:
    """Gives every request a trace, every answer its traceparent header, and every failure a problem
    document.
    """

    def __init__(
        self, app: ASGIApp, metrics: Metrics | None = None, tracer: Tracer | None = None
    ) -> None:
        """Wrap `app`; `metrics` hears of every answer, `tracer` makes a span of every request."""
        self._app = app
        self._metrics = metrics
        self._tracer = tracer

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
            if self._tracer is None:
                await self._app(scope, receive, send_traced)
            else:
                await self._spanned(scope, receive, send_traced, trace.traceparent)
        except Exception as error:
            if structlog.is_configured():
                logger.exception("failed", correlation_id=trace.correlation_id)
            if status:
                raise
            # What went wrong inside stays inside: the caller gets the id to ask with.
            internal = HandoffError("INTERNAL", f"unexpected {type(error).__name__}")
            await problem_response(internal, trace.correlation_id)(scope, receive, send_traced)
        seconds = time.perf_counter() - started
        if self._metrics is not None:
            self._metrics.observe_request(route_of(scope), scope["method"], status, seconds)
        if structlog.is_configured():
            logger.info(
                "request",
                correlation_id=trace.correlation_id,
                caller=state.get("caller"),
                method=scope["method"],
                path=_shown(scope["path"]),
                status=status,
                milliseconds=round(seconds * 1_000, 2),
            )

    async def _spanned(self, scope: Scope, receive: Receive, send: Send, traceparent: str) -> None:
        status = 0

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with span(
            self._tracer, scope["method"], parent=traceparent, is_server=True
        ) as request_span:
            try:
                await self._app(scope, receive, send_noted)
            finally:
                if request_span is not None:
                    route = route_of(scope)
                    request_span.update_name(f"{scope['method']} {route}")
                    # https://opentelemetry.io/docs/specs/semconv/http/http-spans/
                    request_span.set_attributes(
                        {
                            "http.request.method": scope["method"],
                            "http.route": route,
                            "http.response.status_code": status,
                        }
                    )


def _shown(path: str) -> str:
    # Whoever has the address of a booking page may book: it does not stand in a log.
    return "/book/…" if path.startswith("/book/") else path


def route_of(scope: Scope) -> str:
    """The pattern of the route that answered; `other` when none did."""
    app = scope.get("app")
    paths: dict[Any, str] = getattr(app.state, "route_paths", {}) if app is not None else {}
    return paths.get(scope.get("endpoint"), "other")

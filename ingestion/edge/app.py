"""The edge as an ASGI application: events, webhooks, health; what each door does stands in its own module."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ingestion.connectors import catalog
from ingestion.edge.answers import answer_batch, answer_one, answer_rejected_body
from ingestion.edge.bodies import media_type_of, read_body, require_shape
from ingestion.edge.callers import require_caller
from ingestion.edge.correlation import Correlation
from ingestion.edge.handshakes import answer_handshake
from ingestion.edge.intake import Item, take
from ingestion.edge.openapi import described_routes
from ingestion.edge.problems import problem_response
from ingestion.edge.strict_json import read_items
from ingestion.edge.trace import Trace
from ingestion.edge.webhooks import Webhooks
from ingestion.errors.catalog import HandoffError
from ingestion.log.interface import EventLog
from ingestion.settings import Settings


def create_app(
    settings: Settings,
    log: EventLog,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> FastAPI:
    """The edge as an ASGI application that appends to `log`, which stays the caller's to close.

    `clock` is what signatures are judged against.
    """
    known_systems = frozenset(catalog.known_systems(settings))
    api_keys = [key.encode() for key in settings.secrets_of("api_keys")]
    webhooks = Webhooks(settings, log, clock, known_systems)

    app = FastAPI(
        title="Handoff edge",
        summary="Takes events and webhooks; 202 means on disk.",
        docs_url=None,
        redoc_url=None,
        # A redirect has no words; the other address is answered like any that is not served.
        redirect_slashes=False,
        lifespan=webhooks.running,
    )
    app.add_middleware(Correlation)
    app.add_exception_handler(HandoffError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_http_error)

    async def post_events(request: Request) -> Response:
        """One CloudEvent or a batch; 202 once it is on disk, per-item answers for a batch."""
        require_caller(request, api_keys)
        media_type = media_type_of(request)
        body = await read_body(request, settings.max_body_bytes)
        trace: Trace = request.state.trace
        try:
            parsed, is_batch = read_items(body, settings.max_batch_items)
            require_shape(media_type, is_batch)
        except HandoffError as error:
            return await answer_rejected_body(log, body, error, "events", trace)
        outcomes = await take(
            log,
            [Item(item.raw, item.value, item.violations) for item in parsed],
            door="events",
            trace=trace,
            known_systems=known_systems,
        )
        if is_batch:
            return answer_batch(outcomes, trace)
        return answer_one(outcomes[0], trace)

    async def handshake(request: Request) -> Response:
        """Whether an origin may send events, as CloudEvents asks it."""
        return answer_handshake(request, settings)

    async def webhook_health(request: Request) -> Response:
        """What has become of a system's deliveries lately; for callers alone."""
        require_caller(request, api_keys)
        return await webhooks.health(request)

    # Plain routes: FastAPI's dependency injection, unused here, took a quarter of our CPU time.
    app.add_route("/v1/events", post_events, methods=["POST"])
    app.add_route("/v1/events", handshake, methods=["OPTIONS"])
    app.add_route("/webhooks/{system}", webhooks.post, methods=["POST"])
    app.add_route("/webhooks/{system}", webhooks.options, methods=["OPTIONS"])
    app.add_route("/webhooks/{system}/health", webhook_health, methods=["GET"])
    described = app.openapi

    def openapi() -> dict[str, Any]:
        document = described()
        document["paths"] |= described_routes(settings)
        return document

    app.openapi = openapi  # type: ignore[method-assign]

    @app.get("/health/live")
    async def live() -> dict[str, str]:
        """The process answers."""
        return {"status": "live"}

    @app.get("/health/ready")
    async def ready() -> dict[str, Any]:
        """The log takes events; 503 when it does not."""
        log.check()
        return {"status": "ready", "last_seq": await asyncio.to_thread(log.last_seq)}

    return app


async def _answer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HandoffError)
    return problem_response(error, request.state.trace.correlation_id)


async def _answer_http_error(request: Request, error: Exception) -> Response:
    """The framework's own refusals, in our words."""
    assert isinstance(error, HTTPException)
    code = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}.get(error.status_code, "BAD_REQUEST")
    path = request.url.path[:200]
    known = (
        "POST /v1/events, POST /webhooks/{system}, GET /webhooks/{system}/health, GET /health/live,"
        " GET /health/ready"
    )
    answer = problem_response(
        HandoffError(
            code,
            f"{request.method} {path!r} is not served; known: {known}",
            remedy="Use one of the addresses listed.",
        ),
        request.state.trace.correlation_id,
    )
    for name, value in (error.headers or {}).items():
        answer.headers[name] = value
    return answer

"""The edge as an ASGI application: which door is where; what each does stands in its own module."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ingestion.connectors import catalog
from ingestion.contracts.registry import RECORD_TABLES, event_type
from ingestion.edge import metrics as prometheus
from ingestion.edge.admission import Admission, UnderWay
from ingestion.edge.booking_desk import BookingDesk
from ingestion.edge.booking_doors import BookingDoors
from ingestion.edge.booking_links import BookingLinks
from ingestion.edge.callers import Callers, is_local
from ingestion.edge.clients import ClientRegistry
from ingestion.edge.contacts import Contacts
from ingestion.edge.correlation import Correlation
from ingestion.edge.decisions import Decisions
from ingestion.edge.doors import Door, Doors, Endpoint
from ingestion.edge.events import Events
from ingestion.edge.gate import Gate
from ingestion.edge.handshakes import answer_handshake
from ingestion.edge.metrics import Metrics
from ingestion.edge.oauth import OAuth
from ingestion.edge.openapi import add_routes
from ingestion.edge.problems import problem_response
from ingestion.edge.quarantine import Quarantine, Retake
from ingestion.edge.rate_limits import RateLimits, parse_limits
from ingestion.edge.scheduling import Scheduling
from ingestion.edge.tokens import Tokens
from ingestion.edge.webhooks import Webhooks
from ingestion.errors.catalog import HandoffError
from ingestion.log.interface import EventLog
from ingestion.scheduling.hosts import Hosts
from ingestion.settings import Settings
from ingestion.tracing import tracer

# What senders call all day; the rest is asked now and then.
HOT_PATHS = ("/v1/events", "/webhooks/{system}")


class _Edge(FastAPI):
    """A framework's application behind middleware of ours: what ours answers costs nothing of the framework's."""

    def __init__(self, before: Callable[[ASGIApp], ASGIApp], **options: Any) -> None:
        super().__init__(**options)
        self._before = before

    def build_middleware_stack(self) -> ASGIApp:
        return self._before(super().build_middleware_stack())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Without the framework's own telemetry, which reads the environment for every request: Correlation makes the spans."""
        if scope["type"] == "http" and self.middleware_stack is not None:
            scope["app"] = self
            await self.middleware_stack(scope, receive, send)
            return
        await super().__call__(scope, receive, send)


def create_app(
    settings: Settings,
    log: EventLog,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    decisions: Decisions | None = None,
    retake: Retake | None = None,
    scheduling: Hosts | None = None,
) -> FastAPI:
    """The edge as an ASGI application that appends to `log`, which stays the caller's to close.

    `clock` is what signatures, tokens and the ends of contracts are judged against; `decisions` answers
    what became of events and people, `retake` takes what was refused once more, `scheduling` says whom
    a lead can meet.
    """
    known_systems = frozenset(catalog.known_systems(settings))
    under_way = UnderWay()
    metrics = Metrics(log, under_way, [event_type(record) for record in RECORD_TABLES])
    limits = RateLimits(
        parse_limits(settings.rate_limits, "HANDOFF_RATE_LIMITS"), settings.rate_limit_storage
    )
    registry = ClientRegistry(settings.edge_dir)
    tokens = Tokens(registry, clock)
    gate = Gate(Callers(settings.secrets_of("api_keys"), registry, tokens), limits)
    events = Events(settings, log, known_systems, gate, metrics, decisions, clock)
    webhooks = Webhooks(settings, log, clock, known_systems, limits, metrics)
    contacts = Contacts(gate, decisions)
    quarantine = Quarantine(settings, log, gate, retake)
    oauth = OAuth(settings, tokens, limits)
    desk = BookingDesk(settings, log, scheduling, clock)
    meetings = Scheduling(desk, gate)
    booking = BookingDoors(desk, BookingLinks(settings.edge_dir), limits)

    @asynccontextmanager
    async def running(started: object) -> AsyncIterator[None]:
        """Inner first: what is being booked is told to the log, which is still open."""
        async with webhooks.running(started), desk.running():
            yield

    doors: dict[str, Door] = {}

    def before(framework: ASGIApp) -> ASGIApp:
        admission = Admission(
            Doors(framework, doors),
            under_way=under_way,
            max_requests=settings.edge_max_requests,
            max_bytes=settings.edge_max_bytes,
            max_body_bytes=settings.max_body_bytes,
        )
        # Outermost: what is not let in has a trace and is counted as well.
        return Correlation(admission, metrics=metrics, tracer=tracer("handoff-edge"))

    app = _Edge(
        before,
        title="Handoff edge",
        summary="Takes events and webhooks; 202 means on disk.",
        docs_url=None,
        redoc_url=None,
        # A redirect has no words; the other address is answered like any that is not served.
        redirect_slashes=False,
        lifespan=running,
    )
    app.add_exception_handler(HandoffError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_http_error)

    async def get_metrics(request: Request) -> Response:
        """Prometheus' text format, for this machine or with the scope metrics:read."""
        if not is_local(request):
            gate.identify(request, "metrics:read")
        return Response(await asyncio.to_thread(metrics.text), media_type=prometheus.MEDIA_TYPE)

    async def handshake(request: Request) -> Response:
        """Whether an origin may send events, as CloudEvents asks it."""
        return answer_handshake(request, settings)

    async def get_webhook_health(request: Request) -> Response:
        """What has become of a system's deliveries lately."""
        gate.identify(request, "webhooks:read")
        return await webhooks.health(request)

    # Plain routes: FastAPI's dependency injection, unused here, took a quarter of our CPU time.
    routes: dict[str, dict[str, Endpoint]] = {
        "/v1/events": {"POST": events.post, "OPTIONS": handshake},
        "/v1/events/{id:path}/status": {"GET": events.get_status},
        "/webhooks/{system}": {"POST": webhooks.post, "OPTIONS": webhooks.options},
        "/webhooks/{system}/health": {"GET": get_webhook_health},
        "/v1/contacts": {"GET": contacts.get},
        "/v1/contacts/{person_id}": {"GET": contacts.get},
        "/v1/quarantine": {"GET": quarantine.get_page},
        "/v1/quarantine/{quarantine_id}": {"GET": quarantine.get_one},
        "/v1/quarantine/{quarantine_id}/replay": {"POST": quarantine.post_replay},
        "/v1/scheduling/slots": {"GET": meetings.get_slots},
        "/v1/scheduling/holds": {"POST": meetings.post_hold},
        "/v1/scheduling/bookings": {"POST": meetings.post_booking},
        "/v1/scheduling/bookings/{booking_id}": {"GET": meetings.get_booking},
        "/v1/scheduling/bookings/{booking_id}/reschedule": {"POST": meetings.post_reschedule},
        "/v1/scheduling/bookings/{booking_id}/cancel": {"POST": meetings.post_cancel},
        "/v1/scheduling/bookings/{booking_id}/outcome": {"POST": meetings.post_outcome},
        "/book/{token}": {"GET": booking.get, "POST": booking.post},
        "/book/{token}/meeting.ics": {"GET": booking.get_ics},
        "/oauth/token": {"POST": oauth.post_token},
        "/.well-known/oauth-authorization-server": {"GET": oauth.get_metadata},
        "/metrics": {"GET": get_metrics},
    }
    for path, endpoints in routes.items():
        route = _by_method(endpoints)
        app.add_route(path, route, methods=list(endpoints))
        if path in HOT_PATHS:
            base, _, parameter = path.partition("{")
            doors[base] = Door(route, endpoints["POST"], parameter.rstrip("}") or None)
    described = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = add_routes(described(), settings)
        return app.openapi_schema

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

    # Not the path asked for, which is whatever strangers make up: for labels, and names of spans.
    app.state.route_paths = {
        route.endpoint: route.path for route in app.routes if isinstance(route, Route)
    }
    return app


def _by_method(endpoints: Mapping[str, Endpoint]) -> Endpoint:
    """One route for an address: a method it does not take is then answered with all that it does."""

    async def answer(request: Request) -> Response:
        return await endpoints[request.method](request)

    return next(iter(endpoints.values())) if len(endpoints) == 1 else answer


async def _answer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HandoffError)
    return problem_response(error, request.state.trace.correlation_id)


async def _answer_http_error(request: Request, error: Exception) -> Response:
    """The framework's own refusals, in our words."""
    assert isinstance(error, HTTPException)
    code = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}.get(error.status_code, "BAD_REQUEST")
    path = request.url.path[:200]
    known = ", ".join(
        f"{method} {route.path}"
        for route in request.app.routes
        for method in sorted((route.methods or set()) - {"HEAD", "OPTIONS"})
        if route.path != "/openapi.json"
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

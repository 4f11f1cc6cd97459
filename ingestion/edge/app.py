"""The edge's HTTP surface: POST /v1/events, POST /webhooks/{system}, health, and the server that
runs it.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingestion.connectors import catalog
from ingestion.connectors.signed_request import SignedRequest
from ingestion.contracts.violations import Violation
from ingestion.edge.intake import Item, Outcome, reject, take
from ingestion.edge.problems import problem_response
from ingestion.edge.strict_json import read_items
from ingestion.edge.trace import Trace, trace_of
from ingestion.errors.catalog import HandoffError
from ingestion.listening import listen
from ingestion.log.interface import EventLog
from ingestion.log.owner import open_log
from ingestion.settings import Settings

EVENT = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
JSON = "application/json"
BODY_SECONDS = 30.0
STOP_SECONDS = 30
# Two threads share the interpreter here, the server and the log's writer; at the default of 5 ms
# the writer waits for the server longer than for the disk.
SWITCH_SECONDS = 0.0005
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1", "[::1]")

logger = structlog.get_logger("handoff.edge")


def create_app(
    settings: Settings,
    log: EventLog,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> FastAPI:
    """The edge as an ASGI application that appends to `log`, which stays the caller's to close.

    `clock` is what signatures are judged against.
    """
    modules = {system: catalog.webhook(system) for system in catalog.systems("webhook")}
    secrets = {system: settings.webhook_secrets(system) for system in modules}
    for system, module in modules.items():
        if hasattr(module, "require_usable"):
            module.require_usable(secrets[system])
    known_systems = frozenset(catalog.known_systems(settings))
    api_keys = [key.encode() for key in settings.secrets_of("api_keys")]

    app = FastAPI(
        title="Handoff edge",
        summary="Takes events and webhooks; 202 means on disk.",
        docs_url=None,
        redoc_url=None,
        # A redirect has no words; the other address is answered like any that is not served.
        redirect_slashes=False,
    )
    app.add_middleware(Correlation)
    app.add_exception_handler(HandoffError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_http_error)

    async def post_events(request: Request) -> Response:
        """One CloudEvent or a batch; 202 once it is on disk, per-item answers for a batch."""
        _require_caller(request, api_keys)
        media_type = _media_type(request)
        body = await _read_body(request, settings.max_body_bytes)
        trace: Trace = request.state.trace
        try:
            parsed, is_batch = read_items(body, settings.max_batch_items)
            _require_shape(media_type, is_batch)
        except HandoffError as error:
            return await _answer_rejected_body(log, body, error, "events", trace)
        outcomes = await take(
            log,
            [Item(item.raw, item.value, item.violations) for item in parsed],
            door="events",
            trace=trace,
            known_systems=known_systems,
        )
        if is_batch:
            return _answer_batch(outcomes, trace)
        return _answer_one(outcomes[0], trace)

    async def post_webhook(request: Request) -> Response:
        """One signed delivery; nothing of it is read before its signature is found right."""
        system: str = request.path_params["system"]
        module = modules.get(system)
        if module is None:
            raise HandoffError(
                "NOT_FOUND",
                f"no webhooks are taken from {system!r:.100}; known: {', '.join(modules)}",
                remedy="Send to /webhooks/ followed by one of the names listed.",
            )
        body = await _read_body(request, settings.max_body_bytes)
        now = clock()
        module.verify(_signed_request(request, body, settings), secrets[system], now)
        trace: Trace = request.state.trace
        door = f"webhook:{system}"
        try:
            parsed, _ = read_items(body, settings.max_batch_items)
        except HandoffError as error:
            return await _answer_rejected_body(log, body, error, door, trace)
        items: list[Item] = []
        for item in parsed:
            items += _translate(module, item.raw, item.violations, now)
        outcomes = await take(log, items, door=door, trace=trace, known_systems=known_systems)
        if outcomes and not any(outcome.is_kept for outcome in outcomes):
            return _answer_one(outcomes[0], trace)
        return _answer_batch(outcomes, trace)

    # Plain routes: FastAPI's dependency injection, unused here, took a quarter of our CPU time.
    app.add_route("/v1/events", post_events, methods=["POST"])
    app.add_route("/webhooks/{system}", post_webhook, methods=["POST"])
    described = app.openapi

    def openapi() -> dict[str, Any]:
        document = described()
        document["paths"] |= _described_routes(settings)
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


def serve(
    settings: Settings,
    host: str | None = None,
    port: int | None = None,
    *,
    announce: Callable[[str], None] | None = None,
) -> None:
    """Run the edge until SIGINT or SIGTERM; then answer what is under way, commit it and give the
    log up.

    `announce` hears the address once it is ours. ADDRESS_UNAVAILABLE when `host` and `port`
    (default: settings) cannot be listened on; what `open_log` raises when there is no log to write.
    """
    configure_logging()
    sys.setswitchinterval(SWITCH_SECONDS)
    host = settings.edge_host if host is None else host
    port = settings.edge_port if port is None else port
    # The log is opened here and not by the application's start: a server whose start failed ends
    # with a trace and the exit code of success.
    with (
        closing(listen(host, port, "HANDOFF_EDGE_PORT")) as listener,
        closing(open_log(settings)) as log,
    ):
        _run(settings, create_app(settings, log), listener, announce)
    logger.info("stopped")


def _run(
    settings: Settings,
    app: FastAPI,
    listener: socket.socket,
    announce: Callable[[str], None] | None,
) -> None:
    import uvicorn

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        # Forwarded addresses can be forged; who is a loopback caller is decided by the connection
        # alone.
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    address, bound_port = listener.getsockname()[:2]
    url = f"http://[{address}]:{bound_port}" if ":" in address else f"http://{address}:{bound_port}"
    if announce is not None:
        announce(url)
    logger.info("listening", url=url, home=str(settings.root))
    for system in catalog.systems("webhook"):
        if not settings.webhook_secrets(system):
            # Otherwise the first to know would be a sender whose deliveries are refused.
            logger.warning(
                "every delivery will be refused: no secret",
                path=f"/webhooks/{system}",
                setting=f"HANDOFF_WEBHOOK_SECRETS_{system.upper()}",
            )
    server = uvicorn.Server(config)
    if threading.current_thread() is threading.main_thread():
        # After a graceful stop uvicorn raises the signal once more; being stopped is no failure.
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, lambda *_: setattr(server, "should_exit", True))
    server.run(sockets=[listener])


def configure_logging() -> None:
    """One JSON object per line on standard error, for our own lines and the server's."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(_dump_line)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(_dump_line),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


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


_ANSWERS: dict[str, Any] = {
    "202": {"description": "All of it is on disk."},
    "207": {"description": "Some of it is on disk; `results` says for each item."},
    "4XX": {"description": "Refused.", "content": {"application/problem+json": {}}},
    "503": {"description": "Nothing was accepted; see Retry-After."},
}


def _described_routes(settings: Settings) -> dict[str, Any]:
    limits = (
        f"At most {settings.max_body_bytes} bytes (HANDOFF_MAX_BODY_BYTES) and "
        f"{settings.max_batch_items} items (HANDOFF_MAX_BATCH_ITEMS), else 413."
    )
    batch = {"type": "array", "items": {"type": "object"}, "maxItems": settings.max_batch_items}
    return {
        "/v1/events": {
            "post": {
                "summary": "Append one CloudEvent or a batch",
                "requestBody": {
                    "description": limits,
                    "required": True,
                    "content": {
                        EVENT: {"schema": {"type": "object"}},
                        BATCH: {"schema": batch},
                        JSON: {"schema": {"anyOf": [{"type": "object"}, batch]}},
                    },
                },
                "responses": _ANSWERS,
            }
        },
        "/webhooks/{system}": {
            "post": {
                "summary": "Take one signed delivery of a system",
                "parameters": [
                    {"name": "system", "in": "path", "required": True, "schema": {"type": "string"}}
                ],
                "requestBody": {"description": limits, "required": True, "content": {JSON: {}}},
                "responses": _ANSWERS,
            }
        },
    }


def _dump_line(value: Any, **_: Any) -> str:
    return orjson.dumps(value, default=repr).decode()


def _require_caller(request: Request, api_keys: Sequence[bytes]) -> None:
    """UNAUTHENTICATED unless a key is active, or none is configured and the caller sits on this
    machine.
    """
    if not api_keys:
        if _is_local(request):
            return
        raise HandoffError(
            "UNAUTHENTICATED",
            "no API keys are configured, so only callers on this machine may send",
        )
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    sent = given.strip().encode("utf-8", "backslashreplace")
    matches = False
    # Every key is compared, so the time taken tells nothing of which one fits.
    for key in api_keys:
        matches |= hmac.compare_digest(key, sent)
    if scheme.lower() != "bearer" or not matches:
        raise HandoffError("UNAUTHENTICATED", "the request carries no active bearer key")


def _is_local(request: Request) -> bool:
    """Behind a proxy every connection is local, and a rebound name turns a browser into a local
    caller.
    """
    if "forwarded" in request.headers or "x-forwarded-for" in request.headers:
        return False
    named = request.headers.get("host", "")
    name = named.rpartition(":")[0] if not named.endswith("]") and ":" in named else named
    if request.client is None or name.lower() not in LOCAL_NAMES:
        return False
    try:
        address = ipaddress.ip_address(request.client.host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _media_type(request: Request) -> str:
    given = request.headers.get("content-type", "")
    media_type, _, parameters = given.partition(";")
    media_type = media_type.strip().lower()
    charset = parameters.lower().replace(" ", "").replace('"', "").partition("charset=")[2]
    if media_type not in (EVENT, BATCH, JSON) or charset not in ("", "utf-8", "utf8"):
        raise HandoffError(
            "UNSUPPORTED_MEDIA_TYPE",
            f"content type {given!r:.200} is not taken; known: {EVENT}, {BATCH}, {JSON}",
        )
    return media_type


def _require_shape(media_type: str, is_batch: bool) -> None:
    if media_type == EVENT and is_batch:
        raise HandoffError("SCHEMA_INVALID", f"{EVENT} carries one event, not an array", path="")
    if media_type == BATCH and not is_batch:
        raise HandoffError("SCHEMA_INVALID", f"{BATCH} carries an array of events", path="")


async def _read_body(request: Request, limit: int) -> bytes:
    """The raw body; PAYLOAD_TOO_LARGE as soon as more than `limit` bytes are announced or have
    come.
    """
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise HandoffError(
            "UNSUPPORTED_MEDIA_TYPE", f"content encoding {encoding!r:.80} is not taken"
        )
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced[:20]) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise _too_large(limit)
    except TimeoutError as error:
        raise HandoffError(
            "BAD_REQUEST", f"the body did not arrive within {BODY_SECONDS:.0f} s"
        ) from error
    except ClientDisconnect as error:
        raise HandoffError("BAD_REQUEST", "the connection ended before the body did") from error
    return bytes(body)


def _too_large(limit: int) -> HandoffError:
    return HandoffError("PAYLOAD_TOO_LARGE", f"the body is larger than {limit} bytes")


def _signed_request(request: Request, body: bytes, settings: Settings) -> SignedRequest:
    scope = request.scope
    path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
    query = scope.get("query_string", b"").decode("latin-1")
    if settings.edge_public_url:
        base = settings.edge_public_url.rstrip("/")
    else:
        base = f"{scope['scheme']}://{request.headers.get('host', '')}"
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    url = base + path + (f"?{query}" if query else "")
    return SignedRequest(request.method, url, headers, body)


def _translate(
    module: ModuleType, raw: bytes, violations: tuple[Violation, ...], now: datetime
) -> list[Item]:
    if violations:
        return [Item(raw, None, violations)]
    try:
        events: list[dict[str, Any]] = module.to_events(raw, now)
    except HandoffError as error:
        return [Item(raw, None, (Violation(error.code, error.path or "", error.message),))]
    return [Item(raw, event) for event in events]


async def _answer_rejected_body(
    log: EventLog, body: bytes, error: HandoffError, door: str, trace: Trace
) -> Response:
    kept = await reject(log, body, error, door=door, trace=trace)
    return problem_response(error, trace.correlation_id, quarantine_id=kept)


def _answer_one(outcome: Outcome, trace: Trace) -> Response:
    if outcome.is_kept:
        content = _result(outcome) | {"correlation_id": trace.correlation_id}
        return Response(orjson.dumps(content), status_code=202, media_type=JSON)
    return problem_response(
        outcome.error(),
        trace.correlation_id,
        quarantine_id=outcome.quarantine_id,
        source=outcome.source,
        id=outcome.event_id,
        errors=[_violation(violation) for violation in outcome.violations],
    )


def _answer_batch(outcomes: Sequence[Outcome], trace: Trace) -> Response:
    """202 when every item is on disk, else 207 as in RFC 4918: the answer differs by item."""
    content = {
        "results": [{"index": index} | _result(outcome) for index, outcome in enumerate(outcomes)],
        "correlation_id": trace.correlation_id,
    }
    status = 202 if all(outcome.is_kept for outcome in outcomes) else 207
    return Response(orjson.dumps(content), status_code=status, media_type=JSON)


def _result(outcome: Outcome) -> dict[str, Any]:
    result: dict[str, Any] = {
        "status": outcome.status,
        "source": outcome.source,
        "id": outcome.event_id,
    }
    if outcome.seq is not None:
        result |= {"seq": outcome.seq, "received_at": outcome.received_at}
    if outcome.violations:
        error = outcome.error()
        result |= {
            "code": error.code,
            "path": error.path,
            "detail": error.message,
            "remedy": error.remedy,
            "http_status": error.entry.status,
            "quarantine_id": outcome.quarantine_id,
            "errors": [_violation(violation) for violation in outcome.violations],
        }
    return result


def _violation(violation: Violation) -> dict[str, str]:
    return {"code": violation.code, "path": violation.path, "detail": violation.message}


async def _answer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HandoffError)
    return problem_response(error, request.state.trace.correlation_id)


async def _answer_http_error(request: Request, error: Exception) -> Response:
    """The framework's own refusals, in our words."""
    assert isinstance(error, HTTPException)
    code = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}.get(error.status_code, "BAD_REQUEST")
    path = request.url.path[:200]
    known = "POST /v1/events, POST /webhooks/{system}, GET /health/live, GET /health/ready"
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

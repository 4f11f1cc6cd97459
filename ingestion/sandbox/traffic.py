"""The sandbox's request log and the faults of its endpoints, as one ASGI middleware; it knows no
vendor but for the words of a refusal."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingestion.sandbox.faults import Fault, FaultList
from ingestion.sandbox.partial_batch import is_batch, split_batch

REQUESTS_KEPT = 20_000
# The switchboard itself is neither logged nor broken.
OWN_PATHS = ("/sandbox", "/truth")


class Switchboard:
    """What happened and what shall go wrong next; shared by middleware and /sandbox routes."""

    def __init__(self, clock: Callable[[], datetime], seed: int = 0) -> None:
        """`clock` stamps the logged requests; `seed` decides what a fault's `rate` hits."""
        self.faults = FaultList(seed)
        self._clock = clock
        self._lock = threading.Lock()
        self._requests: deque[dict[str, Any]] = deque(maxlen=REQUESTS_KEPT)
        self._count = 0

    def clear(self) -> None:
        """Forgets faults and requests."""
        self.faults.clear()
        with self._lock:
            self._requests.clear()
            self._count = 0

    def note(
        self,
        method: str,
        path: str,
        query: str,
        status: int | None,
        rows: int | None,
        fault: str | None,
    ) -> None:
        """Adds a request to the log.

        `status` None: no answer was given. `rows` = records read or written, None where that has no
        meaning. `fault`: the kind of the fault it met.
        """
        with self._lock:
            self._count += 1
            self._requests.append(
                {
                    "number": self._count,
                    "at": self._clock().isoformat(),
                    "system": system_of(path),
                    "method": method,
                    "path": path,
                    "query": query,
                    "status": status,
                    "rows": rows,
                    "is_fault": fault is not None,
                    "fault": fault,
                }
            )

    def requests(self, path_prefix: str = "", after: int = 0) -> list[dict[str, Any]]:
        """Logged requests with a number above `after`, oldest first."""
        with self._lock:
            return [
                row
                for row in self._requests
                if row["number"] > after and str(row["path"]).startswith(path_prefix)
            ]


def system_of(path: str) -> str:
    """The simulated system an address belongs to."""
    first = path.split("/", 2)[1]
    # Salesforce's own links have no prefix: see where its router is mounted.
    return "salesforce" if first == "services" else first


class TrafficMiddleware:
    """Logs each vendor request and breaks those a fault is waiting for."""

    def __init__(self, app: ASGIApp, switchboard: Switchboard) -> None:
        """Wraps `app`; both outcomes go to `switchboard`."""
        self.app = app
        self.switchboard = switchboard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; other scopes pass through."""
        path = scope.get("path", "")
        if scope["type"] != "http" or path == "/" or path.startswith(OWN_PATHS):
            await self.app(scope, receive, send)
            return
        method = scope["method"]
        fault = self.switchboard.faults.for_request(method, path, is_batch(method, path))
        status: int | None = None
        scope["sandbox"] = {}

        async def passing(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if fault is None:
                status = 500
                await self.app(scope, receive, passing)
            else:
                await _break(self.app, fault, scope, receive, passing)
        finally:
            self.switchboard.note(
                method,
                path,
                scope.get("query_string", b"").decode("latin-1"),
                status,
                scope["sandbox"].get("rows"),
                fault.kind if fault else None,
            )


@dataclass
class _Kept:
    """An answer kept back instead of being sent."""

    status: int = 500
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    async def take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = list(message.get("headers", ()))
        else:
            self.body += message.get("body", b"")

    async def send_on(self, send: Send) -> None:
        headers = [(name, value) for name, value in self.headers if name != b"content-length"]
        if self.status != 204:
            headers.append((b"content-length", str(len(self.body)).encode()))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


async def _break(app: ASGIApp, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
    kept = _Kept()
    if fault.kind in ("status", "timeout", "reset"):
        if fault.after_commit:
            await app(scope, receive, kept.take)
        if fault.kind == "status":
            await _answer_fault(fault, scope["path"], send)
        else:
            await _hang_up(receive, fault.pause if fault.kind == "timeout" else 0.0, fault.kind)
        return
    if fault.kind == "partial":
        await _answer_in_part(app, fault, scope, receive, send)
        return
    await app(scope, receive, kept.take)
    if fault.kind == "slow":
        await asyncio.sleep(fault.pause)
    else:
        # Half of any JSON text but a lone number breaks off; one byte is none.
        kept.body = kept.body[: max(len(kept.body) // 2, 1)] or b"{"
        kept.status = 200 if kept.status == 204 else kept.status
    await kept.send_on(send)


async def _answer_in_part(
    app: ASGIApp, fault: Fault, scope: Scope, receive: Receive, send: Send
) -> None:
    body = await _read(receive)
    split = split_batch(scope["method"], scope["path"], body, fault.every, fault.error)
    if split is None:
        await app(scope, _replaying(body), send)
        return
    kept = _Kept(200, [(b"content-type", b"application/json;charset=UTF-8")])
    told: Any = None
    if split.kept is not None:
        headers = [(name, value) for name, value in scope["headers"] if name != b"content-length"]
        headers.append((b"content-length", str(len(split.kept)).encode()))
        await app({**scope, "headers": headers}, _replaying(split.kept), kept.take)
        try:
            told = orjson.loads(kept.body)
        except orjson.JSONDecodeError:
            await kept.send_on(send)
            return
    kept.status, answer = split.join(kept.status, told)
    kept.body = orjson.dumps(answer)
    await kept.send_on(send)


async def _read(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return bytes(body)
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)


def _replaying(body: bytes) -> Receive:
    messages = iter(({"type": "http.request", "body": body, "more_body": False},))

    async def receive() -> Message:
        return next(messages, {"type": "http.disconnect"})

    return receive


async def _hang_up(receive: Receive, seconds: float, kind: str) -> None:
    """Closes the connection without an answer, after `seconds` or when the caller gives up."""
    if seconds:
        gone = asyncio.ensure_future(_disconnected(receive))
        await asyncio.wait({gone}, timeout=seconds)
        gone.cancel()
    # Uvicorn's `receive` is a method of the request, which knows its connection; ASGI itself has no
    # way to end a request unanswered.
    cycle = getattr(receive, "__self__", None)
    transport = getattr(cycle, "transport", None)
    if transport is None:
        raise ConnectionAbortedError(f"injected by the sandbox: {kind}")
    if kind == "reset":
        # Lingering for zero seconds makes the kernel send RST instead of FIN.
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    # Uvicorn answers 500 for a request that returns unanswered, unless it has seen the end already.
    # A few turns of the loop, no more: the log must tell of this before the next request is served.
    for _ in range(100):
        if getattr(cycle, "disconnected", True):
            return
        await asyncio.sleep(0)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _answer_fault(fault: Fault, path: str, send: Send) -> None:
    """The failure in the words of the vendor that owns the path."""
    text = f"injected by the sandbox: {fault.status}"
    is_limit = fault.status == 429
    status = fault.status
    body: Any
    match system_of(path):
        case "hubspot":
            body = {
                "status": "error",
                "message": text,
                "category": fault.error or ("RATE_LIMITS" if is_limit else "INTERNAL_ERROR"),
                "policyName": "TEN_SECONDLY_ROLLING",
            }
        case "calendar":
            reason = fault.error or ("rateLimitExceeded" if is_limit else "backendError")
            body = {
                "error": {"code": fault.status, "message": text, "errors": [{"reason": reason}]}
            }
        case "calendly":
            body = {
                "title": fault.error or ("Too Many Requests" if is_limit else text),
                "message": text,
            }
        case "calcom":
            named = "TooManyRequestsException" if is_limit else "InternalServerErrorException"
            told = {"code": fault.error or named, "message": text, "details": {}}
            body = {"status": "error", "path": path, "error": told}
        case "marketo":
            # Marketo says no in an answer of 200; another status is a proxy's, before it.
            code = fault.error or {401: "601", 403: "603", 429: "606"}.get(fault.status)
            status = 200 if code else status
            body = {
                "requestId": "injected",
                "success": False,
                "errors": [{"code": code or "611", "message": text}],
            }
        case "salesforce":
            code = "REQUEST_LIMIT_EXCEEDED" if fault.status in (403, 429) else "SERVER_UNAVAILABLE"
            body = [{"message": text, "errorCode": fault.error or code}]
        case _:
            body = {"title": fault.error or "Injected fault", "message": text}
    content = orjson.dumps(body)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
    ]
    if fault.retry_after is not None:
        # Calendly has a header of its own for it.
        own = is_limit and system_of(path) == "calendly"
        name = b"x-ratelimit-reset" if own else b"retry-after"
        headers.append((name, f"{fault.retry_after:g}".encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})

"""The sandbox's request log and fault switch, as one ASGI middleware; it knows no vendor."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUESTS_KEPT = 20_000
# The switchboard itself is neither logged nor broken.
OWN_PATHS = ("/sandbox", "/truth")


class Fault(BaseModel):
    """A fault to inject: the next `times` requests under `path_prefix` (and `method`, if given)
    answer `status`.

    `retry_after` seconds become a Retry-After header. `after_commit` lets the request take effect
    first, as when a connection breaks between the write and its answer.
    """

    model_config = ConfigDict(extra="forbid")

    path_prefix: str = "/"
    method: str | None = None
    status: int = Field(503, ge=400, le=599)
    times: int = Field(1, ge=1)
    retry_after: float | None = Field(None, ge=0)
    after_commit: bool = False


class Switchboard:
    """What happened and what shall go wrong next; shared by middleware and /sandbox routes."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        """`clock` stamps the logged requests."""
        self._clock = clock
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._requests: deque[dict[str, Any]] = deque(maxlen=REQUESTS_KEPT)
        self._count = 0

    def add_fault(self, fault: Fault) -> None:
        """Faults are used up in the order they were added."""
        with self._lock:
            self._faults.append(fault)

    def faults(self) -> list[Fault]:
        """Faults not used up yet."""
        with self._lock:
            return list(self._faults)

    def clear(self) -> None:
        """Forgets faults and requests."""
        with self._lock:
            self._faults.clear()
            self._requests.clear()
            self._count = 0

    def next_fault(self, method: str, path: str) -> Fault | None:
        """The fault this request meets, counting it as used."""
        with self._lock:
            for number, fault in enumerate(self._faults):
                if path.startswith(fault.path_prefix) and fault.method in (None, method):
                    if fault.times == 1:
                        del self._faults[number]
                    else:
                        self._faults[number] = fault.model_copy(update={"times": fault.times - 1})
                    return fault
        return None

    def note(
        self, method: str, path: str, query: str, status: int, rows: int | None, fault: bool
    ) -> None:
        """Adds a request to the log; `rows` = records read or written, None where that has no
        meaning."""
        with self._lock:
            self._count += 1
            self._requests.append(
                {
                    "number": self._count,
                    "at": self._clock().isoformat(),
                    "method": method,
                    "path": path,
                    "query": query,
                    "status": status,
                    "rows": rows,
                    "is_fault": fault,
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
        fault = self.switchboard.next_fault(scope["method"], path)
        status = fault.status if fault else 500
        scope["sandbox"] = {}

        async def passing(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        async def swallowed(message: Message) -> None:
            return None

        try:
            if fault is None:
                await self.app(scope, receive, passing)
            else:
                if fault.after_commit:
                    await self.app(scope, receive, swallowed)
                await _answer_fault(fault, path, send)
        finally:
            self.switchboard.note(
                scope["method"],
                path,
                scope.get("query_string", b"").decode("latin-1"),
                status,
                scope["sandbox"].get("rows"),
                fault is not None,
            )


async def _answer_fault(fault: Fault, path: str, send: Send) -> None:
    """The failure in the words of the vendor that owns the path."""
    text = f"injected by the sandbox: {fault.status}"
    body: Any
    if path.startswith("/hubspot"):
        category = "RATE_LIMITS" if fault.status == 429 else "INTERNAL_ERROR"
        body = {
            "status": "error",
            "message": text,
            "category": category,
            "policyName": "TEN_SECONDLY_ROLLING",
        }
    elif path.startswith("/calendar"):
        reason = "rateLimitExceeded" if fault.status == 429 else "backendError"
        body = {"error": {"code": fault.status, "message": text, "errors": [{"reason": reason}]}}
    else:
        code = "REQUEST_LIMIT_EXCEEDED" if fault.status in (403, 429) else "SERVER_UNAVAILABLE"
        body = [{"message": text, "errorCode": code}]
    content = orjson.dumps(body)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
    ]
    if fault.retry_after is not None:
        headers.append((b"retry-after", f"{fault.retry_after:g}".encode()))
    await send({"type": "http.response.start", "status": fault.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})

"""Lets in only what memory holds: a bound on requests and on bytes of bodies under way, and 503 beyond it."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ingestion.edge.problems import problem_response
from ingestion.errors.catalog import HandoffError

# Asked while a load goes on, so they must answer in it.
ALWAYS = ("/health/live", "/health/ready", "/metrics")


@dataclass(slots=True)
class UnderWay:
    """What is being answered now."""

    requests: int = 0
    body_bytes: int = 0


class Admission:
    """Refuses before a body is read: what waits in the network costs this process nothing."""

    def __init__(
        self,
        app: ASGIApp,
        under_way: UnderWay,
        *,
        max_requests: int,
        max_bytes: int,
        max_body_bytes: int,
    ) -> None:
        """A body that does not say how long it is counts as `max_body_bytes`."""
        self._app = app
        self._now = under_way
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; other scopes pass through."""
        if scope["type"] != "http" or scope["path"] in ALWAYS:
            await self._app(scope, receive, send)
            return
        size = self._size(scope)
        now = self._now
        if now.requests >= self._max_requests or (
            now.requests and now.body_bytes + size > self._max_bytes
        ):
            error = HandoffError(
                "OVERLOADED",
                f"{now.requests} requests with {now.body_bytes} bytes are under way;"
                f" at most {self._max_requests} and {self._max_bytes} may be",
            )
            trace = scope["state"]["trace"]
            await problem_response(error, trace.correlation_id)(scope, receive, send)
            return
        now.requests += 1
        now.body_bytes += size
        try:
            await self._app(scope, receive, send)
        finally:
            now.requests -= 1
            now.body_bytes -= size

    def _size(self, scope: Scope) -> int:
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return 0
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isascii() and announced.isdigit():
            # More than the limit is refused without being read.
            return min(int(announced[:20]), self._max_body_bytes)
        return self._max_body_bytes

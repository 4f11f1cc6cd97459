"""One attempt: sign, send, and say what came of it; whether there is another is said elsewhere."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

from ingestion.errors.catalog import HandoffError
from ingestion.subscribers.addresses import resolve
from ingestion.subscribers.schedule import retry_after_seconds
from ingestion.subscribers.subscription import DeliveryPolicy, Subscriber

# What Standard Webhooks advises; receivers may refuse more.
LARGEST_BODY_BYTES = 20_000
KEPT_ANSWER_BYTES = 4_096
THROTTLES = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an attempt: `code` is None when it was taken, otherwise one of the error catalog; `body` the first 4 kB."""

    seconds: float
    code: str | None
    status: int | None = None
    body: bytes = b""
    detail: str = ""
    retry_after: float | None = None

    @property
    def is_delivered(self) -> bool:
        """Whether the receiver took it."""
        return self.code is None

    @property
    def asks_for_less(self) -> bool:
        """Whether everything for this subscriber should wait, and not this delivery alone."""
        return self.status in THROTTLES


def render(kind: str, happened_at: datetime, data: dict[str, Any]) -> bytes:
    """The body of a message, the same bytes in every attempt; raises PAYLOAD_TOO_LARGE."""
    body = orjson.dumps(
        {
            "type": kind,
            "timestamp": happened_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "data": data,
        }
    )
    if len(body) >= LARGEST_BODY_BYTES:
        raise HandoffError(
            "PAYLOAD_TOO_LARGE",
            f"the message is {len(body):,} bytes; receivers take {LARGEST_BODY_BYTES:,}",
            remedy="Ask for fewer personal fields, or shorten the labels of the scoring rules.",
        )
    return body


def signed_headers(
    secrets: tuple[str, ...], message_id: str, at: datetime, body: bytes
) -> dict[str, str]:
    """The three headers of Standard Webhooks 1.0, with a signature by each secret."""
    from standardwebhooks.webhooks import Webhook

    moment = at.astimezone(UTC)
    text = body.decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(
            Webhook(secret).sign(message_id, moment, text) for secret in secrets
        ),
    }


class Sender:
    """Connections to subscribers; one client for each, as a TLS connection belongs to one host name."""

    def __init__(self, policy: DeliveryPolicy, clock: Callable[[], float]) -> None:
        """Open nothing yet; `clock` gives Unix time and dates the signatures."""
        self._policy = policy
        self._clock = clock
        self._clients: dict[str, httpx.AsyncClient] = {}

    async def send(
        self,
        subscriber: Subscriber,
        message_id: str,
        body: bytes,
        trace_parent: str | None = None,
    ) -> Answer:
        """Post a body once; every failure is an answer, also one of ours (no secret, an address that is refused)."""
        started = time.monotonic()

        def failed(code: str, detail: str) -> Answer:
            return Answer(time.monotonic() - started, code, detail=detail)

        try:
            # The client's own limits are for each read: a receiver that sends a byte a second has none.
            async with asyncio.timeout(self._policy.timeout_seconds):
                return await self._post(subscriber, message_id, body, trace_parent, started)
        except HandoffError as error:
            return failed(error.code, error.message)
        except (TimeoutError, httpx.TimeoutException):
            return failed(
                "SUBSCRIBER_UNREACHABLE",
                f"no answer within {self._policy.timeout_seconds:g} seconds",
            )
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ssl.SSLError) as error:
            return failed("SUBSCRIBER_UNREACHABLE", f"{type(error).__name__}: {error}")

    async def close(self) -> None:
        """Give the connections back."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.aclose()

    async def _post(
        self,
        subscriber: Subscriber,
        message_id: str,
        body: bytes,
        trace_parent: str | None,
        started: float,
    ) -> Answer:
        secrets = subscriber.secrets()
        parts = urlsplit(subscriber.url)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        address = await resolve(host, port, allow_private=subscriber.allow_private_address)
        headers = {
            **signed_headers(secrets, message_id, datetime.fromtimestamp(self._clock(), UTC), body),
            "host": parts.netloc,
            "content-type": "application/json",
            # Nothing to unpack: a small answer may unpack to a large one.
            "accept-encoding": "identity",
            "user-agent": _user_agent(),
        }
        if trace_parent:
            headers["traceparent"] = trace_parent
        request = self._client(subscriber.name).build_request(
            "POST",
            httpx.URL(subscriber.url).copy_with(host=address),
            content=body,
            headers=headers,
            # The certificate is asked for by name, though the connection goes to the address that was checked.
            extensions={"sni_hostname": host},
        )
        response = await self._client(subscriber.name).send(request, stream=True)
        try:
            kept = b""
            async for chunk in response.aiter_raw():
                kept += chunk
                if len(kept) >= KEPT_ANSWER_BYTES:
                    break
        finally:
            await response.aclose()
        status = response.status_code
        code, detail = _judged(status, response.headers.get("location"))
        return Answer(
            seconds=time.monotonic() - started,
            code=code,
            status=status,
            body=kept[:KEPT_ANSWER_BYTES],
            detail=detail,
            retry_after=retry_after_seconds(response.headers.get("retry-after"), self._clock()),
        )

    def _client(self, name: str) -> httpx.AsyncClient:
        if name not in self._clients:
            # No proxy from the environment: it would resolve names anew, past the check of addresses.
            self._clients[name] = httpx.AsyncClient(
                timeout=self._policy.timeout_seconds,
                verify=_trusted(),
                follow_redirects=False,
                trust_env=False,
                limits=httpx.Limits(
                    max_connections=self._policy.concurrency + 1,
                    max_keepalive_connections=self._policy.concurrency,
                ),
            )
        return self._clients[name]


def _judged(status: int, location: str | None) -> tuple[str | None, str]:
    if 200 <= status < 300:
        return None, ""
    if status == 410:
        return "SUBSCRIBER_GONE", "it answered 410 Gone"
    if 300 <= status < 400:
        return (
            "SUBSCRIBER_REFUSED",
            f"it answered {status} to {location}; redirects are not followed",
        )
    if status in THROTTLES or status >= 500:
        return "SUBSCRIBER_UNREACHABLE", f"it answered {status}"
    return "SUBSCRIBER_REFUSED", f"it answered {status}"


@cache
def _trusted() -> ssl.SSLContext:
    """Public authorities, and those of this machine: a receiver in a private network has a private one (also by SSL_CERT_FILE)."""
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    return context


@cache
def _user_agent() -> str:
    return f"Handoff/{version('handoff')}"

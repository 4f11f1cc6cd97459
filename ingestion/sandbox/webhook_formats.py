"""How each system signs the webhooks it sends, by the vendor's documents and apart from the doors
that check them."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import orjson


@dataclass(frozen=True, slots=True)
class Message:
    """A delivery to be signed: `url` as the receiver is known to the sender, `attempt` from 1."""

    id: str
    url: str
    body: bytes
    attempt: int
    signed_at: datetime


@dataclass(frozen=True, slots=True)
class Format:
    """One system's way: `scheme` is its name for people; `sign` gives the headers, `body_of` what is
    sent at an attempt."""

    scheme: str
    sign: Callable[[Message, str], dict[str, str]]
    body_of: Callable[[bytes, int], bytes] = lambda body, attempt: body


def _sign_standard(message: Message, secret: str) -> dict[str, str]:
    """Standard Webhooks 1.0: HMAC-SHA256 over `id.timestamp.body`."""
    from standardwebhooks.webhooks import Webhook

    signature = Webhook(secret).sign(message.id, message.signed_at, message.body.decode())
    return {
        "webhook-id": message.id,
        "webhook-timestamp": str(int(message.signed_at.timestamp())),
        "webhook-signature": signature,
    }


def _sign_hubspot(message: Message, secret: str) -> dict[str, str]:
    """HubSpot v3: base64 of HMAC-SHA256 over method + URI + body + milliseconds.

    Source: developers.hubspot.com, "Validating requests from HubSpot".
    """
    stamp = str(int(message.signed_at.timestamp() * 1_000))
    signed = b"POST" + message.url.encode() + message.body + stamp.encode()
    digest = hmac.digest(secret.encode(), signed, hashlib.sha256)
    return {
        "x-hubspot-signature-v3": base64.b64encode(digest).decode("ascii"),
        "x-hubspot-request-timestamp": stamp,
    }


def _hubspot_body(body: bytes, attempt: int) -> bytes:
    """HubSpot counts its attempts inside the notifications, from 0."""
    notifications = [{**row, "attemptNumber": attempt - 1} for row in orjson.loads(body)]
    return orjson.dumps(notifications)


# By the name under which the edge takes them: POST /webhooks/<name>.
FORMATS: dict[str, Format] = {
    "web": Format("Standard Webhooks", _sign_standard),
    "hubspot": Format("HubSpot v3", _sign_hubspot, _hubspot_body),
}

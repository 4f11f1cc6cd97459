"""The ways senders prove that a delivery is theirs, parameterised; which system uses which stands
with the system.

Every scheme works in one order: headers, time window, raw body, every pair of active secret and
signature sent in constant time. Nothing of the body is parsed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol
from urllib.parse import parse_qsl, urlsplit

from ingestion.connectors.signed_request import (
    WINDOW_SECONDS,
    SignedRequest,
    header,
    require_match,
    require_recent,
)
from ingestion.errors.catalog import HandoffError

# What is signed, made of the request and the timestamp as sent ("" where the scheme has none).
Signed = Callable[[SignedRequest, str], bytes]
MOST_SIGNATURES = 16


class Verify(Protocol):
    """What the door asks: returns the instant that was signed, None where the scheme signs none."""

    def __call__(
        self, request: SignedRequest, secrets: Sequence[str], now: datetime
    ) -> datetime | None:
        """Raise SIGNATURE_INVALID or SIGNATURE_EXPIRED unless an active secret vouches for it."""
        ...


def body_alone(request: SignedRequest, stamp: str) -> bytes:
    """The raw body: what most senders sign."""
    return request.body


@dataclass(frozen=True, slots=True)
class StandardWebhooks:
    """Standard Webhooks 1.0, `v1`: base64 HMAC-SHA256 of `id.timestamp.body`, keys as `whsec_` and
    base64.

    `families` are the prefixes its three headers may have; Svix sends `svix-`. The first family
    whose signature is there is taken, never a mixture. Source:
    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """

    families: tuple[str, ...] = ("webhook", "svix")

    def verify(
        self, request: SignedRequest, secrets: Sequence[str], now: datetime
    ) -> datetime | None:
        """The signed instant; several signatures may be sent while the sender changes its key."""
        sent = [name for name in self.families if f"{name}-signature" in request.headers]
        family = sent[0] if sent else self.families[0]
        message_id = header(request, f"{family}-id")
        stamp = header(request, f"{family}-timestamp")
        signatures = _few(header(request, f"{family}-signature").split(" "))
        signed_at = require_recent(stamp, 1, now)
        signed = b".".join((message_id.encode("utf-8", "replace"), stamp.encode(), request.body))
        keys = [key for secret in secrets if (key := standard_key(secret))]
        require_match(["v1," + _encoded(_hmac(key, signed), "base64") for key in keys], signatures)
        return signed_at


def standard_key(secret: str) -> bytes | None:
    """The key in a Standard Webhooks secret; None when it is no base64."""
    try:
        return base64.b64decode(secret.removeprefix("whsec_") + "==", validate=True) or None
    except (binascii.Error, ValueError):
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class TimestampedHeader:
    """Stripe's way: `t=<unix>,v1=<hex>` in one header, hex HMAC-SHA256 of `t.body`.

    `v1` may occur several times while the sender changes its key; `t` only once. Keys of other
    versions are not ours to judge. Source: https://docs.stripe.com/webhooks#verify-manually
    """

    header: str
    version: str = "v1"
    window_seconds: int = WINDOW_SECONDS

    def verify(
        self, request: SignedRequest, secrets: Sequence[str], now: datetime
    ) -> datetime | None:
        """The signed instant."""
        given = _few(header(request, self.header).split(","))
        pairs = [part.strip().partition("=")[::2] for part in given]
        stamps = [value for name, value in pairs if name == "t"]
        signatures = [value for name, value in pairs if name == self.version]
        if len(stamps) != 1 or not signatures:
            raise HandoffError(
                "SIGNATURE_INVALID",
                f"the header {self.header} must carry one t= and at least one {self.version}=",
            )
        signed_at = require_recent(stamps[0], 1, now, self.window_seconds)
        signed = stamps[0].encode() + b"." + request.body
        require_match(
            [_encoded(_hmac(secret.encode(), signed), "hex") for secret in secrets], signatures
        )
        return signed_at


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderHmac:
    """HMAC-SHA256 in a header of its own, of the body or of what `signed` makes; the timestamp, if
    any, in another header.

    `never` are texts a sender puts there when it has no secret: no key could vouch for them.
    """

    header: str
    encoding: Literal["hex", "base64"]
    prefix: str = ""
    stamp_header: str | None = None
    stamps_per_second: int = 1
    signed: Signed = body_alone
    never: tuple[str, ...] = ()

    def verify(
        self, request: SignedRequest, secrets: Sequence[str], now: datetime
    ) -> datetime | None:
        """The signed instant, None without a timestamp header."""
        signature = header(request, self.header)
        if signature in self.never:
            raise HandoffError(
                "SIGNATURE_INVALID",
                f"the sender has no secret: the header {self.header} says {signature!r}",
                remedy="Give the webhook a secret at the sender, and the same one here.",
            )
        stamp, signed_at = "", None
        if self.stamp_header is not None:
            stamp = header(request, self.stamp_header)
            signed_at = require_recent(stamp, self.stamps_per_second, now)
        signed = self.signed(request, stamp)
        require_match(
            [
                self.prefix + _encoded(_hmac(secret.encode(), signed), self.encoding)
                for secret in secrets
            ],
            [signature],
        )
        return signed_at


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretBeforeDigest:
    """Hex SHA-256 of the secret followed by what is signed, and no timestamp: HubSpot v1 and v2.

    Not an HMAC, so whoever could choose the length of the body could extend it; the JSON after it
    would not parse. A recorded delivery stays good for ever.
    """

    header: str
    signed: Signed = body_alone

    def verify(
        self, request: SignedRequest, secrets: Sequence[str], now: datetime
    ) -> datetime | None:
        """None: no instant is signed."""
        signature = header(request, self.header)
        signed = self.signed(request, "")
        require_match(
            [hashlib.sha256(secret.encode() + signed).hexdigest() for secret in secrets],
            [signature],
        )
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedSecret:
    """The secret itself, for senders that cannot sign: in a header, in the address's query or as
    the password of HTTP basic authentication.

    It proves who sends, not what: the body is as safe as the connection, so only TLS will do.
    """

    header: str
    query: str | None = None
    takes_basic: bool = False

    def verify(
        self, request: SignedRequest, secrets: Sequence[str], now: datetime
    ) -> datetime | None:
        """None: no instant is signed."""
        given = [value for value in [request.headers.get(self.header)] if value]
        if self.query is not None:
            asked = parse_qsl(urlsplit(request.url).query, encoding="utf-8", errors="replace")
            given += [value for name, value in asked if name == self.query]
        if self.takes_basic:
            given += _basic_passwords(request.headers.get("authorization", ""))
        if not given:
            places = [f"the header {self.header}"]
            places += [f"?{self.query}= in the address"] if self.query else []
            places += ["a basic authentication's password"] if self.takes_basic else []
            raise HandoffError(
                "SIGNATURE_INVALID", f"no secret was sent; it may stand in {' or '.join(places)}"
            )
        # Digests are compared, so the time taken does not tell how long a secret is either.
        require_match([_digest(secret) for secret in secrets], [_digest(value) for value in given])
        return None


def _basic_passwords(authorization: str) -> list[str]:
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() != "basic":
        return []
    try:
        decoded = base64.b64decode(credentials.strip(), validate=True).decode("utf-8")
    except ValueError:
        return []
    return [decoded.partition(":")[2]] if ":" in decoded else []


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def _few(parts: list[str]) -> list[str]:
    """SIGNATURE_INVALID beyond 16 parts: each is compared with every secret."""
    if len(parts) > MOST_SIGNATURES:
        raise HandoffError(
            "SIGNATURE_INVALID",
            f"{len(parts)} signatures were sent; at most {MOST_SIGNATURES} are looked at",
        )
    return parts


def _hmac(key: bytes, signed: bytes) -> bytes:
    # `hmac.digest` gives the interpreter away even for a few bytes, and gets it back after half a millisecond while another thread works.
    return hmac.new(key, signed, hashlib.sha256).digest()


def _encoded(digest: bytes, encoding: Literal["hex", "base64"]) -> str:
    return digest.hex() if encoding == "hex" else base64.b64encode(digest).decode("ascii")


# Of senders without a connector of their own. Sources: "Validating webhook deliveries",
# docs.github.com; "Verifying requests from Slack", docs.slack.dev.
GITHUB = HeaderHmac(header="x-hub-signature-256", encoding="hex", prefix="sha256=")
SLACK = HeaderHmac(
    header="x-slack-signature",
    encoding="hex",
    prefix="v0=",
    stamp_header="x-slack-request-timestamp",
    signed=lambda request, stamp: b":".join((b"v0", stamp.encode(), request.body)),
)
STRIPE = TimestampedHeader(header="stripe-signature")

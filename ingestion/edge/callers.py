"""Who is calling and what they may do: a client's token, a fixed key, or somebody on this machine."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fastapi import Request

from ingestion.edge.clients import ClientRegistry
from ingestion.edge.scopes import allows
from ingestion.edge.tokens import Tokens
from ingestion.errors.catalog import HandoffError

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1", "[::1]")
# A fixed key is for senders that cannot ask for tokens: it sends, and reads nothing of anybody.
KEY_SCOPES = frozenset({"events:write", "events:read", "consent:write", "webhooks:read"})


@dataclass(frozen=True, slots=True)
class Caller:
    """Name (for limits and log lines), scopes, and limits of its own by route."""

    name: str
    scopes: frozenset[str]
    rate_limits: Mapping[str, str] = field(default_factory=dict)

    def may(self, scope: str) -> bool:
        """Whether the caller has `scope`."""
        return allows(self.scopes, scope)

    def require(self, scope: str) -> None:
        """SCOPE_DENIED unless the caller has `scope`."""
        if not self.may(scope):
            raise HandoffError(
                "SCOPE_DENIED",
                f"{self.name!r} lacks the scope {scope}; it has {', '.join(sorted(self.scopes)) or 'none'}",
                remedy=f"Ask for a token with the scope {scope}; whoever runs Handoff grants it"
                " with `handoff clients`.",
            )


LOOPBACK = Caller("loopback", frozenset({"admin:*"}))


class Callers:
    """Tells callers apart."""

    def __init__(self, api_keys: Sequence[str], registry: ClientRegistry, tokens: Tokens) -> None:
        """Fixed keys in clear, the clients, and who reads their tokens."""
        self._keys = [key.encode() for key in api_keys]
        self._registry = registry
        self._tokens = tokens

    def identify(self, request: Request) -> Caller:
        """Who sent `request`; UNAUTHENTICATED when nobody is known to have.

        Without clients and keys everybody on this machine may do everything, and nobody else anything.
        """
        authorization = request.headers.get("authorization")
        if authorization is None and not self._keys and not self._registry.keys():
            if is_local(request):
                return LOOPBACK
            raise HandoffError(
                "UNAUTHENTICATED",
                "no clients or keys are configured, so only callers on this machine may call",
            )
        scheme, _, given = (authorization or "").partition(" ")
        given = given.strip()
        if scheme.lower() != "bearer" or not given:
            raise HandoffError("UNAUTHENTICATED", "the request carries no bearer token or key")
        if self._is_key(given):
            return Caller("key", KEY_SCOPES)
        if given.count(".") != 2:
            raise HandoffError("UNAUTHENTICATED", "the bearer key is not an active one")
        verified = self._tokens.verify(given)
        return Caller(verified.client.client_id, verified.scopes, verified.client.rate_limits)

    def _is_key(self, given: str) -> bool:
        sent = given.encode("utf-8", "backslashreplace")
        matches = False
        # Every key is compared, so the time taken tells nothing of which one fits.
        for key in self._keys:
            matches |= hmac.compare_digest(key, sent)
        return matches


def is_local(request: Request) -> bool:
    """Whether the caller sits on this machine.

    Behind a proxy every connection is local, and a rebound name turns a browser into a local
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

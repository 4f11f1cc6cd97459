"""Who may call: a bearer key, or nobody but this machine."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Sequence

from fastapi import Request

from ingestion.errors.catalog import HandoffError

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1", "[::1]")


def require_caller(request: Request, api_keys: Sequence[bytes]) -> None:
    """UNAUTHENTICATED unless a key is active, or none is configured and the caller sits on this
    machine.
    """
    if not api_keys:
        if is_local(request):
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


def is_local(request: Request) -> bool:
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

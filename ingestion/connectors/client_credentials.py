"""Logging in as an application, OAuth 2.0 client credentials (RFC 6749, 4.4), and once more when the
token has run out; what is asked for with it is the connector's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ingestion.connectors.polling import Session
from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings

T = TypeVar("T")


def log_in(http: Session, settings: Settings, path: str) -> None:
    """Take a token from `path` for HANDOFF_<SYSTEM>_CLIENT_ID and _CLIENT_SECRET, and send it from now
    on. A form, as addresses end up in logs.

    SYSTEM_NOT_CONFIGURED without credentials, AUTH_EXPIRED when they are refused.
    """
    system, prefix = http.system, f"HANDOFF_{http.system.upper()}"
    client_id = getattr(settings, f"{system}_client_id")
    secret = getattr(settings, f"{system}_client_secret")
    if not client_id or secret is None:
        raise HandoffError(
            "SYSTEM_NOT_CONFIGURED",
            f"{system} is not configured: {prefix}_CLIENT_ID and {prefix}_CLIENT_SECRET are both needed",
        )
    form = {
        "grant_type": "client_credentials",
        "client_id": client_id,
        "client_secret": secret.get_secret_value(),
    }
    # The token that ran out must not go with it.
    http.client.headers.pop("authorization", None)
    try:
        answer = http.request("POST", path, data=form)
    except HandoffError as error:
        if error.code not in ("AUTH_EXPIRED", "UPSTREAM_REJECTED"):
            raise
        raise HandoffError(
            "AUTH_EXPIRED",
            error.message,
            remedy=f"Check {prefix}_CLIENT_ID and {prefix}_CLIENT_SECRET.",
        ) from error
    http.client.headers["authorization"] = f"Bearer {answer['access_token']}"


def renewed(send: Callable[[], T], log_in_anew: Callable[[], None]) -> T:
    """What `send` answers, with a new log-in once when the token has expired."""
    try:
        return send()
    except HandoffError as error:
        if error.code != "AUTH_EXPIRED":
            raise
    log_in_anew()
    return send()

"""What a caller may be allowed: the scopes, `resource:verb`, and what each lets do."""

from __future__ import annotations

from collections.abc import Collection

from ingestion.errors.catalog import HandoffError

SCOPES: dict[str, str] = {
    "events:write": "send events to POST /v1/events",
    "events:read": "ask what became of an event",
    "consent:write": "send consent events; events:write alone may not",
    "contacts:read": "read a person's records, score, owner and consents, personal values masked",
    "pii:read": "see personal values in clear, wherever another scope lets them be read",
    "quarantine:read": "read what was refused, personal values masked",
    "quarantine:replay": "let what was refused in once more",
    "scheduling:read": "read free slots and bookings, personal values masked",
    "scheduling:write": "hold, book, move and cancel meetings, and say how they went",
    "webhooks:read": "read how a system's webhooks fare",
    "metrics:read": "read /metrics from another machine",
    "admin:*": "all of it",
}


def require_known(scopes: Collection[str]) -> None:
    """CLIENT_INVALID when one of `scopes` is neither listed nor `<resource>:*` of a listed one."""
    resources = {scope.partition(":")[0] for scope in SCOPES}
    for scope in scopes:
        resource, _, verb = scope.partition(":")
        if scope not in SCOPES and not (verb == "*" and resource in resources):
            raise HandoffError(
                "CLIENT_INVALID", f"unknown scope {scope!r:.100}; known: {', '.join(SCOPES)}"
            )


def allows(granted: Collection[str], scope: str) -> bool:
    """Whether `granted` contains `scope`, its resource's `*`, or `admin:*`."""
    return scope in granted or "admin:*" in granted or f"{scope.partition(':')[0]}:*" in granted

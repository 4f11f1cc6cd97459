"""Turns errors of the catalog into RFC 9457 problem documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response

from ingestion.edge.intake import shown
from ingestion.errors.catalog import HandoffError

RETRY_AFTER_SECONDS = 5
MEDIA_TYPE = "application/problem+json"


class Refused(HandoffError):
    """A HandoffError whose answer carries headers of its own."""

    def __init__(
        self, code: str, message: str, *, headers: Mapping[str, str], remedy: str | None = None
    ) -> None:
        super().__init__(code, message, remedy=remedy)
        self.headers = headers


def problem(error: HandoffError, correlation_id: str, **extensions: Any) -> dict[str, Any]:
    """The document: RFC 9457 members, then our code, path, remedy, runbook and correlation id."""
    entry = error.entry
    document: dict[str, Any] = {
        "type": f"urn:handoff:error:{error.code}",
        "title": entry.title,
        "status": entry.status,
        "detail": shown(error.message),
        "code": error.code,
        "remedy": error.remedy,
        "retryable": entry.retryable,
        "runbook": entry.runbook,
        "correlation_id": correlation_id,
    }
    if error.path is not None:
        document["path"] = shown(error.path)
    return document | {name: value for name, value in extensions.items() if value is not None}


def problem_response(error: HandoffError, correlation_id: str, **extensions: Any) -> Response:
    """The document as an answer, with Retry-After when trying again can help."""
    headers: dict[str, str] = {}
    if error.entry.retryable:
        headers["retry-after"] = str(RETRY_AFTER_SECONDS)
    if error.code == "UNAUTHENTICATED":
        headers["www-authenticate"] = 'Bearer realm="handoff"'
    if isinstance(error, Refused):
        headers |= error.headers
    return Response(
        orjson.dumps(problem(error, correlation_id, **extensions)),
        status_code=error.entry.status,
        headers=headers,
        media_type=MEDIA_TYPE,
    )

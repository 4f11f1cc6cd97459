"""Answers a sender that asks, before it sends, whether it may: the abuse protection of CloudEvents.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/http-webhook.md#4-abuse-protection
"""

from __future__ import annotations

from fastapi import Request
from starlette.responses import Response

from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings


def answer_handshake(request: Request, settings: Settings) -> Response:
    """Permission for an origin of HANDOFF_WEBHOOK_ORIGINS; it authenticates nobody.

    BAD_REQUEST when no origin asks, SCOPE_DENIED for another origin.
    """
    asked = request.headers.getlist("webhook-request-origin")
    if len(asked) != 1 or not asked[0]:
        raise HandoffError(
            "BAD_REQUEST",
            "OPTIONS is the handshake of CloudEvents: it needs one header WebHook-Request-Origin",
            remedy="Send the header with the origin that will send, or POST the delivery.",
        )
    origin = asked[0].lower()
    if origin not in settings.allowed_webhook_origins:
        raise HandoffError(
            "SCOPE_DENIED",
            f"the origin {origin[:200]!r} may not send here",
            remedy="List it in HANDOFF_WEBHOOK_ORIGINS.",
        )
    headers = {"allow": "OPTIONS, POST", "webhook-allowed-origin": origin}
    if "webhook-request-rate" in request.headers:
        # No rate of our own is promised: whoever is too fast hears 429 or 503 with Retry-After.
        headers["webhook-allowed-rate"] = "*"
    return Response(status_code=200, headers=headers)

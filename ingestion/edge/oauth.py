"""POST /oauth/token and the metadata that says where it is; answers are OAuth's own, not problem documents."""

from __future__ import annotations

from urllib.parse import parse_qsl

import orjson
from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ingestion.edge.bodies import JSON, read_body
from ingestion.edge.rate_limits import RateLimits
from ingestion.edge.tokens import Tokens, metadata
from ingestion.settings import Settings

FORM = "application/x-www-form-urlencoded"
MAX_FORM_BYTES = 16_384


class OAuth:
    """The token endpoint."""

    def __init__(self, settings: Settings, tokens: Tokens, limits: RateLimits) -> None:
        """`limits` count attempts by the address they come from."""
        self._settings = settings
        self._tokens = tokens
        self._limits = limits

    async def post_token(self, request: Request) -> Response:
        """An access token for a client's id and secret (RFC 6749, 4.4)."""
        address = request.client.host if request.client else "unknown"
        allowance = await self._limits.spend("token", address)
        given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if given != FORM:
            return _invalid_request(f"the content type must be {FORM}, not {given!r:.200}")
        body = await read_body(request, MAX_FORM_BYTES)
        try:
            pairs = parse_qsl(
                body.decode("utf-8"), keep_blank_values=True, strict_parsing=bool(body)
            )
        except ValueError as error:
            return _invalid_request(f"the form cannot be read: {error}")
        form = dict(pairs)
        if len(form) != len(pairs):
            # RFC 6749, 3.2: parameters must not be included more than once.
            return _invalid_request("a parameter occurs twice")
        headers = {}
        if authorization := request.headers.get("authorization"):
            headers["Authorization"] = authorization
        found = await run_in_threadpool(self._tokens.issue, form, headers)
        return Response(
            orjson.dumps(found.body),
            found.status,
            headers=allowance.headers() | dict(found.headers),
            media_type=JSON,
        )

    async def get_metadata(self, request: Request) -> Response:
        """Where to ask for tokens, how, and for which scopes (RFC 8414)."""
        base = self._settings.edge_public_url or str(request.base_url)
        return Response(orjson.dumps(metadata(base.rstrip("/"))), media_type=JSON)


def _invalid_request(description: str) -> Response:
    """RFC 6749, 5.2: clients of OAuth read these two members and no others."""
    answer = {"error": "invalid_request", "error_description": description}
    return Response(orjson.dumps(answer), 400, media_type=JSON)

"""Reads a request's body within its limits and says which media types it may have."""

from __future__ import annotations

import asyncio

from fastapi import Request
from starlette.requests import ClientDisconnect

from ingestion.errors.catalog import HandoffError

EVENT = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
JSON = "application/json"
BODY_SECONDS = 30.0


async def read_body(request: Request, limit: int) -> bytes:
    """The raw body; PAYLOAD_TOO_LARGE as soon as more than `limit` bytes are announced or have
    come.
    """
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise HandoffError(
            "UNSUPPORTED_MEDIA_TYPE", f"content encoding {encoding!r:.80} is not taken"
        )
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced[:20]) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise _too_large(limit)
    except TimeoutError as error:
        raise HandoffError(
            "BAD_REQUEST", f"the body did not arrive within {BODY_SECONDS:.0f} s"
        ) from error
    except ClientDisconnect as error:
        raise HandoffError("BAD_REQUEST", "the connection ended before the body did") from error
    return bytes(body)


def _too_large(limit: int) -> HandoffError:
    return HandoffError("PAYLOAD_TOO_LARGE", f"the body is larger than {limit} bytes")


def media_type_of(request: Request) -> str:
    """The media type without parameters; UNSUPPORTED_MEDIA_TYPE when it or its charset is not taken."""
    given = request.headers.get("content-type", "")
    media_type, _, parameters = given.partition(";")
    media_type = media_type.strip().lower()
    charset = parameters.lower().replace(" ", "").replace('"', "").partition("charset=")[2]
    if media_type not in (EVENT, BATCH, JSON) or charset not in ("", "utf-8", "utf8"):
        raise HandoffError(
            "UNSUPPORTED_MEDIA_TYPE",
            f"content type {given!r:.200} is not taken; known: {EVENT}, {BATCH}, {JSON}",
        )
    return media_type


def require_shape(media_type: str, is_batch: bool) -> None:
    """SCHEMA_INVALID when the body is an array and the media type says one event, or the reverse."""
    if media_type == EVENT and is_batch:
        raise HandoffError("SCHEMA_INVALID", f"{EVENT} carries one event, not an array", path="")
    if media_type == BATCH and not is_batch:
        raise HandoffError("SCHEMA_INVALID", f"{BATCH} carries an array of events", path="")

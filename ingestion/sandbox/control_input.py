"""What a program or a form of the page sends to the sandbox's own routes, and whether it may."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import orjson
from fastapi import Request


class Refused(ValueError):
    """A request that cannot be served; the message names the value and the remedy."""

    def __init__(self, message: str, status: int = 422) -> None:
        """`status` is the HTTP status."""
        super().__init__(message)
        self.status = status


def require_own_page(request: Request) -> None:
    """A browser may change something here only from the sandbox's own page, and only from this
    machine: another site's page can send forms to a loopback address too."""
    host = request.url.hostname or ""
    caller = request.client.host if request.client else ""
    for place in (host, caller):
        if not _is_loopback(place):
            raise Refused(f"{place!r:.80} is not this machine; use http://127.0.0.1", 403)
    origin = request.headers.get("origin")
    if origin is not None and origin != f"{request.url.scheme}://{request.headers.get('host')}":
        raise Refused(
            f"a page of {origin!r:.80} may change nothing here; open the sandbox's own", 403
        )
    site = request.headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        raise Refused(f"Sec-Fetch-Site {site!r:.40} may change nothing here", 403)


def _is_loopback(place: str) -> bool:
    if place == "localhost":
        return True
    try:
        return ipaddress.ip_address(place).is_loopback
    except ValueError:
        return False


def wants_page(request: Request) -> bool:
    """Whether a person pressed a button; `curl -d` sends the content type of a form too."""
    return "text/html" in request.headers.get("accept", "")


async def fields_of(request: Request) -> dict[str, Any]:
    """The fields of a JSON object, or of a form whose empty fields count as not given."""
    raw = await request.body()
    kind = request.headers.get("content-type", "")
    if kind.startswith("application/x-www-form-urlencoded") and not raw.lstrip().startswith(b"{"):
        return {name: _typed(name, value) for name, value in parse_qsl(raw.decode()) if value}
    try:
        content = orjson.loads(raw or b"{}")
    except orjson.JSONDecodeError as error:
        raise Refused(f"the body is not JSON: {error}; send an object") from None
    if not isinstance(content, dict):
        raise Refused(f"the body is JSON but no object: {content!r:.80}; send an object")
    return content


def _typed(name: str, value: str) -> Any:
    """A form knows only text."""
    if name in ("times", "status", "every") and value.isdigit():
        return int(value)
    if name in ("seconds", "rate", "retry_after"):
        try:
            return float(value)
        except ValueError:
            return value
    if name == "after_commit":
        return value in ("on", "true", "yes")
    return value


def instant_of(name: str, value: Any) -> datetime | None:
    """The instant of a field, in UTC where it names no zone; None when it was left out."""
    if value in (None, ""):
        return None
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        raise Refused(
            f"{name} {value!r:.80} is no instant; give ISO 8601, such as 2026-11-20T12:00:00Z"
        ) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def minutes_of(text: str) -> int | None:
    """A whole number, None for anything else."""
    return int(text) if text.isdigit() else None

"""Speaks the Google Calendar API: whose calendars there are, pages of a list, and which refusals are
limits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import orjson

from ingestion.connectors.polling import Session, bearer, session
from ingestion.settings import Settings

if TYPE_CHECKING:
    import httpx

# A limit is told as 403 too, with the reason in the body ("Handle API errors").
LIMITS = frozenset(
    {"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded", "dailyLimitExceeded"}
)


@contextmanager
def opened(settings: Settings) -> Iterator[Session]:
    """A session at HANDOFF_CALENDAR_URL that takes limits for limits; SYSTEM_NOT_CONFIGURED without
    address or token."""
    with session(settings, "calendar", bearer(settings, "calendar")) as http:
        http.is_limit = is_limit
        yield http


def is_limit(response: httpx.Response) -> bool:
    """Whether a 403 says that too much was asked, and not that it may not be asked."""
    if response.status_code != 403:
        return False
    try:
        errors = orjson.loads(response.content)["error"]["errors"]
        return any(error.get("reason") in LIMITS for error in errors)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return False


def calendar_ids(http: Session, settings: Settings) -> list[str]:
    """Ids of HANDOFF_CALENDAR_IDS; none named: of every calendar the token sees.

    Source: "CalendarList: list".
    """
    named = [name.strip() for name in settings.calendar_ids.split(",") if name.strip()]
    return named or [
        str(item["id"])
        for page in pages(http, "users/me/calendarList", {})
        for item in page["items"]
    ]


def pages(http: Session, path: str, params: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every page of a list, each with `items`."""
    asked = dict(params)
    while True:
        answer = http.get(path, asked)
        yield {**answer, "items": answer.get("items", [])}
        if not answer.get("nextPageToken"):
            return
        asked["pageToken"] = answer["nextPageToken"]

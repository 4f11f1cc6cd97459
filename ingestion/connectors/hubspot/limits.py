"""What HubSpot allows an app: searches a second, requests an interval, requests a day.

Source: developers.hubspot.com, "API usage guidelines and limits" (headers, the 429 body with
`policyName`, status 477) and "Search the CRM" (five a second for an account; its answers carry no
limit headers).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import orjson

from ingestion.connectors.polling import LONGEST_WAIT_SECONDS, retry_after
from ingestion.errors.catalog import HandoffError

if TYPE_CHECKING:
    import httpx

SEARCHES_A_SECOND = 5
# HubSpot counts when requests arrive: one that is overtaken by a tenth of a second is still in time.
SECOND = 1.1
# Others call the same account: the interval is left to them before it is used up.
RESERVE = 2


class AccountLimits:
    """Pacing of one account, shared by all its polls in this process; safe between threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` counts seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._searches: deque[float] = deque(maxlen=SEARCHES_A_SECOND)
        self._pause_until = 0.0
        self._daily: tuple[str, str] | None = None

    def wait_seconds(self, path: str) -> float:
        """Until a second has passed since the fifth search before, and the interval is over when it
        was used up."""
        with self._lock:
            now = self._clock()
            at = max(now, self._pause_until)
            if path.endswith("/search"):
                if len(self._searches) == SEARCHES_A_SECOND:
                    at = max(at, self._searches[0] + SECOND)
                self._searches.append(at)
            return at - now

    def note(self, response: httpx.Response) -> None:
        """Read the limit headers; answers without any change nothing."""
        headers = response.headers
        remaining = _number(headers.get("x-hubspot-ratelimit-remaining"))
        interval = _number(headers.get("x-hubspot-ratelimit-interval-milliseconds"))
        with self._lock:
            if remaining is not None and interval is not None and remaining <= RESERVE:
                # Where in the interval we are is not told: a whole one is always enough.
                self._pause_until = self._clock() + interval / 1_000
            left = headers.get("x-hubspot-ratelimit-daily-remaining")
            if left is not None:
                self._daily = (left, headers.get("x-hubspot-ratelimit-daily", "?"))

    def final(self, response: httpx.Response) -> HandoffError | None:
        """QUOTA_EXHAUSTED for the day's requests, UPSTREAM_UNAVAILABLE for an account that is being
        moved for longer than we wait; None for what is worth repeating."""
        if response.status_code == 429:
            policy, said = _refusal(response)
            if policy != "DAILY":
                return None
            return HandoffError(
                "QUOTA_EXHAUSTED",
                f"hubspot: the account's requests for today are used up (policy DAILY{self._day()}): "
                f"{said}",
                remedy=(
                    "The limit starts anew at midnight in the account's time zone; the next poll after "
                    "that goes on where this one stopped. Settings > Integrations shows who used it."
                ),
            )
        wait = retry_after(response.headers.get("retry-after"))
        if response.status_code == 477 and wait is not None and wait > LONGEST_WAIT_SECONDS:
            return HandoffError(
                "UPSTREAM_UNAVAILABLE",
                f"hubspot: the account is being moved to another data centre (HTTP 477); it asks to "
                f"come back in {wait:.0f} s",
            )
        return None

    def _day(self) -> str:
        return f", {self._daily[0]} of {self._daily[1]} left" if self._daily else ""


@cache
def limits_of(account: str) -> AccountLimits:
    """The limits shared by everything that calls with the same address and token."""
    return AccountLimits()


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


def _refusal(response: httpx.Response) -> tuple[str, str]:
    """`policyName` and `message` of a 429 body."""
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return "", response.text[:300]
    if not isinstance(body, dict):
        return "", response.text[:300]
    return str(body.get("policyName", "")), str(body.get("message", ""))

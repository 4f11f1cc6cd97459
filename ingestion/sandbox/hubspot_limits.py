"""The limits of the simulated HubSpot account: what it counts, says in headers and refuses.

Source: developers.hubspot.com, "API usage guidelines and limits"; "Search the CRM" (five a second, no
limit headers).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

SEARCHES_A_SECOND = 5
INTERVAL_SECONDS, REQUESTS_AN_INTERVAL = 10.0, 250
REQUESTS_A_DAY = 1_000_000


class Limits:
    """Counts the requests of one account."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing was asked yet; `clock` counts seconds."""
        self._clock = clock
        self._searches: deque[float] = deque()
        self._requests: deque[float] = deque()
        self.today = 0

    def refusal(self, path: str) -> dict[str, Any] | None:
        """The body of a 429 when a request to `path` is one too many, None when it is let in."""
        now = self._clock()
        _forget(self._searches, now - 1.0)
        _forget(self._requests, now - INTERVAL_SECONDS)
        if self.today >= REQUESTS_A_DAY:
            return _body("You have reached your daily limit.", "DAILY")
        if len(self._requests) >= REQUESTS_AN_INTERVAL:
            return _body(
                "You have reached your ten_secondly_rolling limit.", "TEN_SECONDLY_ROLLING"
            )
        if path.endswith("/search"):
            if len(self._searches) >= SEARCHES_A_SECOND:
                return _body("You have reached your secondly limit.", "SECONDLY")
            self._searches.append(now)
        self._requests.append(now)
        self.today += 1
        return None

    def headers(self, path: str) -> dict[str, str]:
        """The X-HubSpot-RateLimit-* headers of an answer; searches have none."""
        if path.endswith("/search"):
            return {}
        return {
            "x-hubspot-ratelimit-daily": str(REQUESTS_A_DAY),
            "x-hubspot-ratelimit-daily-remaining": str(max(REQUESTS_A_DAY - self.today, 0)),
            "x-hubspot-ratelimit-interval-milliseconds": str(int(INTERVAL_SECONDS * 1_000)),
            "x-hubspot-ratelimit-max": str(REQUESTS_AN_INTERVAL),
            "x-hubspot-ratelimit-remaining": str(
                max(REQUESTS_AN_INTERVAL - len(self._requests), 0)
            ),
        }


def _forget(times: deque[float], until: float) -> None:
    while times and times[0] <= until:
        times.popleft()


def _body(message: str, policy: str) -> dict[str, Any]:
    return {
        "status": "error",
        "message": message,
        "errorType": "RATE_LIMIT",
        "category": "RATE_LIMITS",
        "policyName": policy,
    }

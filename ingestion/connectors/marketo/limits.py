"""What a subscription allows its callers: calls in 20 seconds and calls a day, for all integrations
together.

Source: experienceleague.adobe.com, Marketo Engage Developer, "Marketo Integration Best Practices" (100
calls in 20 seconds, 50,000 a day).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from ingestion.errors.catalog import HandoffError

if TYPE_CHECKING:
    import httpx

WINDOW_SECONDS = 20.0
DAY_SECONDS = 86_400.0
LOG_IN = "identity/oauth/token"


class SubscriptionLimits:
    """Pacing of one subscription, shared by all its polls in this process, attempts that are repeated
    included; safe between threads. A polling.Limits."""

    def __init__(self, most: int, daily: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`most` calls in 20 seconds and `daily` in 24 hours are ours; `clock` counts seconds."""
        self._most = most
        self._daily = daily
        self._clock = clock
        self._lock = threading.Lock()
        self._calls: deque[float] = deque()

    def wait_seconds(self, path: str) -> float:
        """Until 20 seconds have passed since the last call but `most`; QUOTA_EXHAUSTED once the day's
        share is used: the rest is the other integrations'. A log-in is no call."""
        if path == LOG_IN:
            return 0.0
        with self._lock:
            now = self._clock()
            while self._calls and now - self._calls[0] >= DAY_SECONDS:
                self._calls.popleft()
            if len(self._calls) >= self._daily:
                raise HandoffError(
                    "QUOTA_EXHAUSTED",
                    f"marketo: {len(self._calls)} calls in 24 hours are made, all that polls may make",
                    remedy="Polls go on as calls become a day old, each where it stopped. "
                    "HANDOFF_MARKETO_DAILY_CALLS allows more, HANDOFF_MARKETO_POLL_SECONDS polls less "
                    "often; Admin > Web Services shows who used the subscription's calls.",
                )
            at = now
            if len(self._calls) >= self._most:
                at = max(now, self._calls[-self._most] + WINDOW_SECONDS)
            self._calls.append(at)
            return at - now

    def note(self, response: httpx.Response) -> None:
        """Nothing: Marketo's answers do not tell what is left."""

    def final(self, response: httpx.Response) -> HandoffError | None:
        """None: what Marketo refuses for good it says in answers of 200."""
        return None


@cache
def limits_of(url: str, most: int, daily: int) -> SubscriptionLimits:
    """The limits shared by everything that calls the same address."""
    return SubscriptionLimits(most, daily)

"""How much each caller may send on each route, counted by the library `limits` in memory or in Redis."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from ingestion.edge.problems import Refused
from ingestion.errors.catalog import HandoffError

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.aio.strategies import SlidingWindowCounterRateLimiter

# Of events each one counts, of everything else each request. Generous: they keep one caller from
# taking everybody's turn, and are no price list.
DEFAULTS: dict[str, str] = {
    "events": "300000/minute",
    "webhooks": "60000/minute",
    "reads": "6000/minute",
    "quarantine": "600/minute",
    "scheduling": "1200/minute",
    # By the address a page is asked from, which colleagues may share.
    "booking": "300/minute",
    # Guessing secrets is what this one slows down.
    "token": "60/minute",
}

logger = structlog.get_logger("handoff.edge")


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left to a caller on a route, as answer headers."""

    route: str
    limit: int
    window_seconds: int
    remaining: int
    reset_seconds: int

    def headers(self) -> dict[str, str]:
        """RateLimit-* of draft-ietf-httpapi-ratelimit-headers: the fields of draft 7, and the policy."""
        return {
            "ratelimit-limit": str(self.limit),
            "ratelimit-remaining": str(self.remaining),
            "ratelimit-reset": str(self.reset_seconds),
            "ratelimit-policy": f'"{self.route}";q={self.limit};w={self.window_seconds}',
        }


def parse_limits(text: str, setting: str) -> dict[str, str]:
    """`route=amount/period` separated by semicolons; SETTING_INVALID names what cannot be read."""
    from limits import parse

    found: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        route, _, limit = (piece.strip() for piece in part.partition("="))
        try:
            if route not in DEFAULTS:
                raise ValueError(f"unknown route {route!r}; known: {', '.join(DEFAULTS)}")
            parse(limit)
        except ValueError as error:
            raise HandoffError(
                "SETTING_INVALID",
                f"{setting}: {part!r:.200} cannot be read: {error}",
                remedy="Write for example `events=1000/second;token=10/minute`.",
            ) from error
        found[route] = limit
    return found


class RateLimits:
    """Counts what callers send; shared by several edges when they share a Redis."""

    def __init__(self, limits: Mapping[str, str], storage: str) -> None:
        """`limits` by route, over the defaults; `storage` a URI of `limits`, `memory://` or `redis://…`."""
        from limits.aio.storage import MemoryStorage
        from limits.aio.strategies import SlidingWindowCounterRateLimiter
        from limits.errors import ConfigurationError
        from limits.storage import storage_from_string

        self._limits = DEFAULTS | dict(limits)
        self._items: dict[str, RateLimitItem] = {}
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._shared: SlidingWindowCounterRateLimiter | None = None
        self._complained_at = -math.inf
        if storage != "memory://":
            try:
                # redis-py, and not coredis, which `limits` would look for.
                found: Any = storage_from_string(f"async+{storage}", implementation="redispy")
                self._shared = SlidingWindowCounterRateLimiter(found)
            except (ConfigurationError, ValueError, ImportError) as error:
                raise HandoffError(
                    "SETTING_INVALID",
                    f"HANDOFF_RATE_LIMIT_STORAGE: {storage.partition('@')[2] or storage!r} cannot be used: {error}",
                    remedy="Use `memory://`, or `redis://host:6379/0` with `pip install handoff[redis]`.",
                ) from error

    async def spend(
        self, route: str, caller: str, cost: int = 1, own: Mapping[str, str] | None = None
    ) -> Allowance:
        """Count `cost` for `caller` on `route`; Refused RATE_LIMITED when that is more than is left.

        `own` are the caller's limits by route where they are not everybody's.
        """
        item = self._item((own or {}).get(route) or self._limits[route])
        taken, counted_by = await self._count(item, (route, caller), cost)
        allowance = await self._left(item, counted_by, route, caller)
        if not taken:
            raise _refused(item, allowance, caller, cost)
        return allowance

    async def count(self, route: str, caller: str) -> None:
        """`spend` one for senders that are not told what is left, which costs less."""
        item = self._item(self._limits[route])
        taken, counted_by = await self._count(item, (route, caller), 1)
        if not taken:
            allowance = await self._left(item, counted_by, route, caller)
            raise _refused(item, allowance, caller, 1)

    async def _left(
        self,
        item: RateLimitItem,
        counted_by: SlidingWindowCounterRateLimiter,
        route: str,
        caller: str,
    ) -> Allowance:
        try:
            stats = await counted_by.get_window_stats(item, route, caller)
        except Exception:
            # It went down between the two questions; what is left is then what this edge has counted.
            stats = await self._own.get_window_stats(item, route, caller)
        seconds = max(math.ceil(stats.reset_time - time.time()), 1)
        return Allowance(route, item.amount, item.get_expiry(), max(stats.remaining, 0), seconds)

    async def _count(
        self, item: RateLimitItem, names: tuple[str, str], cost: int
    ) -> tuple[bool, SlidingWindowCounterRateLimiter]:
        """Whether so much was left, and who has counted it."""
        if self._shared is not None:
            try:
                return await self._shared.hit(item, *names, cost=cost), self._shared
            except Exception as error:
                # A counter that is down must not keep events out: each edge counts for itself meanwhile.
                if time.monotonic() - self._complained_at > 60:
                    self._complained_at = time.monotonic()
                    logger.warning("rate limits are counted by this edge alone", reason=str(error))
        return await self._own.hit(item, *names, cost=cost), self._own

    def _item(self, text: str) -> RateLimitItem:
        found = self._items.get(text)
        if found is None:
            from limits import parse

            found = self._items[text] = parse(text)
        return found


def _refused(item: RateLimitItem, allowance: Allowance, caller: str, cost: int) -> Refused:
    if cost > item.amount:
        return Refused(
            "PAYLOAD_TOO_LARGE",
            f"{cost} events at once are more than the {item} that {caller!r} may send",
            headers=allowance.headers(),
            remedy="Send smaller batches.",
        )
    return Refused(
        "RATE_LIMITED",
        f"{caller!r} may send {item} on {allowance.route}; {allowance.remaining} are left",
        headers=allowance.headers() | {"retry-after": str(allowance.reset_seconds)},
        remedy="Wait for the time in Retry-After and send again; nothing of this was taken.",
    )

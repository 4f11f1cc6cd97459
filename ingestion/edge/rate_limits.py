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

# Of events each one counts, of everything else each request. Generous: they keep one caller from
# taking everybody's turn, and are no price list.
DEFAULTS: dict[str, str] = {
    "events": "300000/minute",
    "webhooks": "60000/minute",
    "reads": "6000/minute",
    "quarantine": "600/minute",
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
        names = (route, caller)
        taken, reset_at, remaining = await self._count(item, names, cost)
        allowance = Allowance(
            route,
            item.amount,
            item.get_expiry(),
            max(remaining, 0),
            max(math.ceil(reset_at - time.time()), 1),
        )
        if taken:
            return allowance
        if cost > item.amount:
            raise Refused(
                "PAYLOAD_TOO_LARGE",
                f"{cost} events at once are more than the {item} that {caller!r} may send",
                headers=allowance.headers(),
                remedy="Send smaller batches.",
            )
        raise Refused(
            "RATE_LIMITED",
            f"{caller!r} may send {item} on {route}; {allowance.remaining} are left",
            headers=allowance.headers() | {"retry-after": str(allowance.reset_seconds)},
            remedy="Wait for the time in Retry-After and send again; nothing of this was taken.",
        )

    async def _count(
        self, item: RateLimitItem, names: tuple[str, str], cost: int
    ) -> tuple[bool, float, int]:
        if self._shared is not None:
            try:
                taken = await self._shared.hit(item, *names, cost=cost)
                stats = await self._shared.get_window_stats(item, *names)
                return taken, stats.reset_time, stats.remaining
            except Exception as error:
                # A counter that is down must not keep events out: each edge counts for itself meanwhile.
                if time.monotonic() - self._complained_at > 60:
                    self._complained_at = time.monotonic()
                    logger.warning("rate limits are counted by this edge alone", reason=str(error))
        taken = await self._own.hit(item, *names, cost=cost)
        stats = await self._own.get_window_stats(item, *names)
        return taken, stats.reset_time, stats.remaining

    def _item(self, text: str) -> RateLimitItem:
        found = self._items.get(text)
        if found is None:
            from limits import parse

            found = self._items[text] = parse(text)
        return found

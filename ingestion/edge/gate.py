"""Lets a call in: who it is, whether it may, and what of its limit it uses up; routes say which."""

from __future__ import annotations

from fastapi import Request

from ingestion.edge.callers import Caller, Callers
from ingestion.edge.rate_limits import Allowance, RateLimits


class Gate:
    """Stands before every route that asks for a scope."""

    def __init__(self, callers: Callers, limits: RateLimits) -> None:
        """Who is known, and what they may send."""
        self._callers = callers
        self._limits = limits

    def identify(self, request: Request, scope: str) -> Caller:
        """Who calls, named in the log line; UNAUTHENTICATED, or SCOPE_DENIED without `scope`."""
        caller = self._callers.identify(request)
        request.state.caller = caller.name
        caller.require(scope)
        return caller

    async def spend(self, caller: Caller, route: str, cost: int = 1) -> Allowance:
        """Count `cost` against the caller's limit on `route`; RATE_LIMITED when that is too much."""
        return await self._limits.spend(route, caller.name, cost, caller.rate_limits)

    async def admit(self, request: Request, scope: str, route: str) -> tuple[Caller, Allowance]:
        """`identify`, then `spend` one."""
        caller = self.identify(request, scope)
        return caller, await self.spend(caller, route)

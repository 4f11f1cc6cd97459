"""The simulated Cal.com over HTTP: bookings of the API v2; read only.

Shapes follow cal.com/docs/api-reference/v2/bookings/get-all-bookings in version 2024-08-13: `take`
100, at most 250, and `skip`; answers are wrapped in `status`, `data` and `pagination`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from ingestion.sandbox.credentials import Tokens
from ingestion.sandbox.draft import Record
from ingestion.sandbox.world import World

VERSION = "2024-08-13"
DEFAULT_PAGE, LARGEST_PAGE = 100, 250
ORGANIZATION = "52"
STATUSES = ("upcoming", "recurring", "past", "cancelled", "unconfirmed")
# Parameter of a bound, the field it bounds, whether from below.
BOUNDS = (
    ("afterStart", "start", True),
    ("beforeEnd", "end", False),
    ("afterCreatedAt", "createdAt", True),
    ("beforeCreatedAt", "createdAt", False),
    ("afterUpdatedAt", "updatedAt", True),
    ("beforeUpdatedAt", "updatedAt", False),
)
SORTS = {
    "sortStart": "start",
    "sortEnd": "end",
    "sortCreated": "createdAt",
    "sortUpdatedAt": "updatedAt",
}


class CalcomApi:
    """Routes of the simulated API v2."""

    def __init__(self, world: World, tokens: Tokens) -> None:
        """Serves the bookings of `world` to holders of `tokens`."""
        self.world = world
        self.tokens = tokens

    def router(self) -> APIRouter:
        """All routes, without prefix."""
        router = APIRouter()
        router.add_api_route("/bookings", self.bookings, methods=["GET"])
        router.add_api_route(
            "/organizations/{organization_id}/bookings", self.of_organization, methods=["GET"]
        )
        return router

    async def of_organization(self, organization_id: str, request: Request) -> Response:
        """Bookings of everybody in the organization."""
        if organization_id != ORGANIZATION:
            return _error(
                request, 403, "ForbiddenException", "user is not part of the organization"
            )
        return await self.bookings(request)

    async def bookings(self, request: Request) -> Response:
        """Bookings the key's owner may see."""
        if request.headers.get("authorization") != f"Bearer {self.tokens.calcom_token}":
            message = "Invalid API Key"
            return _error(request, 401, "UnauthorizedException", message)
        if request.headers.get("cal-api-version") != VERSION:
            return _error(request, 404, "NotFoundException", "Cannot GET /v2/bookings")
        query = request.query_params
        try:
            found = [row for row in self.world.calcom["bookings"] if _is_asked_for(row, query)]
            take, skip = int(query.get("take", DEFAULT_PAGE)), int(query.get("skip", 0))
        except ValueError as error:
            return _error(request, 400, "BadRequestException", str(error))
        if not 1 <= take <= LARGEST_PAGE or skip < 0:
            message = f"take must not be greater than {LARGEST_PAGE}"
            return _error(request, 400, "BadRequestException", message)
        for name, field in SORTS.items():
            if query.get(name):
                # As Postgres does, those without a value come last.
                found.sort(key=lambda row, field=field: row["id"])  # type: ignore[misc]
                found.sort(
                    key=lambda row, field=field: (row[field] is None, row[field] or ""),  # type: ignore[misc]
                    reverse=query[name] == "desc",
                )
        page = found[skip : skip + take]
        request.scope.setdefault("sandbox", {})["rows"] = len(page)
        remaining = max(len(found) - skip - len(page), 0)
        pagination = {
            "returnedItems": len(page),
            "totalItems": len(found),
            "itemsPerPage": take,
            "remainingItems": remaining,
            "currentPage": skip // take + 1,
            "totalPages": -(-len(found) // take),
            "hasNextPage": remaining > 0,
            "hasPreviousPage": skip > 0,
        }
        return _json({"status": "success", "data": page, "pagination": pagination})


def _is_asked_for(row: Record, query: Any) -> bool:
    for name, field, is_lower in BOUNDS:
        if query.get(name):
            bound = _instant(name, query[name])
            if row[field] is None:
                return False
            at = datetime.fromisoformat(row[field])
            if (at < bound) if is_lower else (at > bound):
                return False
    wanted = [name for name in query.get("status", "").split(",") if name]
    unknown = [name for name in wanted if name not in STATUSES]
    if unknown:
        raise ValueError(f"Invalid status. Allowed are {', '.join(STATUSES)}")
    return not wanted or _status(row) in wanted


def _instant(name: str, text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"{name} must be a valid ISO 8601 date.")
    return at


def _status(row: Record) -> str:
    """The tab of Cal.com's own page a booking stands in."""
    if row["status"] in ("cancelled", "rejected"):
        return "cancelled"
    is_over = datetime.fromisoformat(row["end"]) <= datetime.now(UTC)
    if is_over:
        return "past"
    return "unconfirmed" if row["status"] == "pending" else "upcoming"


def _json(content: Any, status: int = 200) -> Response:
    limits = {
        "x-ratelimit-limit-default": "120",
        "x-ratelimit-remaining-default": "119",
        "x-ratelimit-reset-default": "60",
    }
    return Response(orjson.dumps(content), status, limits, media_type="application/json")


def _error(request: Request, status: int, code: str, message: str) -> Response:
    told = {"code": code, "message": message, "details": {"message": message, "statusCode": status}}
    return _json({"status": "error", "path": request.url.path, "error": told}, status)

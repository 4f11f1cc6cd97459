"""The simulated HubSpot over HTTP: objects, search, associations, owners, campaigns, event
occurrences, e-mail log and forms; read only.

Paths carry the dated version (developers.hubspot.com/docs/api-reference/2026-03). Shapes follow
"Search the CRM" (≤ 5 filter groups, ≤ 10 filters each, ≤ 200 a page, 10,000 results), "List
objects" (≤ 100 a page), "Retrieve event occurrences" and the error body {status, message,
correlationId, category}.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from ingestion.sandbox.credentials import Tokens
from ingestion.sandbox.hubspot_limits import Limits
from ingestion.sandbox.hubspot_properties import property_of
from ingestion.sandbox.world import World

Record = dict[str, Any]

VERSIONS = ("2026-03", "2026-09")
SEARCH_CAP = 10_000
BATCH_LIMIT, HISTORY_LIMIT, ASSOCIATIONS_LIMIT = 100, 50, 1_000
PAGE_LIMITS = {
    "email_events": 1_000,
    "submissions": 50,
    "forms": 50,
    "list": 100,
    "search": 200,
    "owners": 500,
    "campaigns": 100,
    "events": 1_000,
}
# What a call returns that names no properties.
DEFAULT_PROPERTIES = {
    "contacts": (
        "createdate",
        "email",
        "firstname",
        "hs_object_id",
        "lastmodifieddate",
        "lastname",
    ),
    "companies": ("createdate", "domain", "hs_lastmodifieddate", "hs_object_id", "name"),
    "deals": ("amount", "closedate", "createdate", "dealname", "dealstage", "pipeline"),
    **dict.fromkeys(
        ("calls", "emails", "meetings", "notes", "tasks"),
        ("hs_createdate", "hs_lastmodifieddate", "hs_object_id"),
    ),
}
OBJECT_TYPES = {
    "0-1": "contacts", "0-2": "companies", "0-3": "deals", "0-48": "calls", "0-49": "emails",
    "0-47": "meetings", "0-46": "notes", "0-27": "tasks", "contact": "contacts",
    "company": "companies", "deal": "deals",
}  # fmt: skip


class ApiError(Exception):
    """A refusal in HubSpot's terms; `category` is e.g. VALIDATION_ERROR, OBJECT_NOT_FOUND."""

    def __init__(self, status: int, category: str, message: str) -> None:
        """`status` is the HTTP status."""
        super().__init__(message)
        self.status = status
        self.category = category
        self.message = message


class HubSpotApi:
    """Routes of one simulated HubSpot portal."""

    def __init__(self, world: World, tokens: Tokens) -> None:
        """Serves the portal of `world` to holders of `tokens`."""
        self.world = world
        self.tokens = tokens
        self.limits = Limits()

    def router(self) -> APIRouter:
        """All routes, without prefix."""
        router = APIRouter()
        routes: tuple[tuple[str, str, Callable[..., tuple[Record, int]]], ...] = (
            ("/crm/objects/{version}/{kind}", "GET", self.list_objects),
            ("/crm/objects/{version}/{kind}/search", "POST", self.search),
            ("/crm/objects/{version}/{kind}/batch/read", "POST", self.read_batch),
            ("/crm/objects/{version}/{kind}/{object_id}", "GET", self.get_object),
            ("/crm/associations/{version}/{kind}/{other}/batch/read", "POST", self.associations),
            ("/crm/owners/{version}", "GET", self.owners),
            ("/marketing/campaigns/{version}", "GET", self.campaigns),
            ("/crm/properties/{version}/{kind}/{name}", "GET", self.property),
            ("/events/{version}/events", "GET", self.events),
            ("/events/event-occurrences/{version}", "GET", self.events),
            ("/email/public/v1/events", "GET", self.email_events),
            ("/marketing/forms/{version}", "GET", self.forms),
            ("/form-integrations/v1/submissions/forms/{form_id}", "GET", self.submissions),
        )
        for path, method, answer in routes:
            router.add_api_route(path, self._endpoint(answer), methods=[method])
            router.add_api_route(path + "/", self._endpoint(answer), methods=[method])
        router.add_api_route(
            "/{path:path}", self._nothing_there, methods=["GET", "POST", "PATCH", "DELETE"]
        )
        return router

    def _endpoint(self, answer: Callable[..., tuple[Record, int]]) -> Callable[..., Any]:
        async def endpoint(request: Request) -> Response:
            try:
                self._authorise(request)
                refused = self.limits.refusal(request.url.path)
                if refused is not None:
                    return _json({**refused, "correlationId": str(uuid.uuid4())}, 429)
                version = request.path_params.get("version", VERSIONS[0])
                if version not in VERSIONS:
                    raise ApiError(404, "OBJECT_NOT_FOUND", f"unknown API version {version!r}")
                content, rows = answer(request, await request.body())
            except ApiError as error:
                return _error(error)
            request.scope.setdefault("sandbox", {})["rows"] = rows
            response = _json(content, 207 if content.get("numErrors") else 200)
            response.headers.update(self.limits.headers(request.url.path))
            return response

        return endpoint

    async def _nothing_there(self, request: Request) -> Response:
        try:
            self._authorise(request)
        except ApiError as error:
            return _error(error)
        return _error(ApiError(404, "OBJECT_NOT_FOUND", "resource not found"))

    def _authorise(self, request: Request) -> None:
        if request.headers.get("authorization") != f"Bearer {self.tokens.hubspot_token}":
            raise ApiError(
                401,
                "INVALID_AUTHENTICATION",
                "Authentication credentials not found. This API supports OAuth 2.0 "
                "authentication and you "
                "can find more details at "
                "https://developers.hubspot.com/docs/methods/auth/oauth-overview",
            )

    def property(self, request: Request, body: bytes) -> tuple[Record, int]:
        """The definition of one property of one kind of object."""
        kind, name = request.path_params["kind"], request.path_params["name"]
        found = property_of(kind, name)
        if found is None:
            raise ApiError(404, "OBJECT_NOT_FOUND", f"{kind} has no property {name!r}")
        return found, 1

    # ---- objects ------------------------------------------------------------------------------

    def list_objects(self, request: Request, body: bytes) -> tuple[Record, int]:
        """A page in id order; `after` is the last id of the page before, so new records never shift
        pages."""
        kind = _kind(request)
        limit = _limit(request.query_params.get("limit"), 10, PAGE_LIMITS["list"])
        after = request.query_params.get("after") or "0"
        if not after.isdigit():
            raise ApiError(400, "VALIDATION_ERROR", f"invalid paging cursor {after!r}")
        archived = request.query_params.get("archived", "false") == "true"
        rows = [
            row for row in self.world.hubspot[kind] if int(row["id"]) > int(after) and not archived
        ]
        page = rows[:limit]
        names = _properties(kind, request.query_params.get("properties"))
        answer: Record = {"results": [_shown(row, names) for row in page]}
        if len(rows) > limit:
            answer["paging"] = _paging(request, str(page[-1]["id"]))
        return answer, len(page)

    def get_object(self, request: Request, body: bytes) -> tuple[Record, int]:
        """One object; the id of a merged contact answers with the contact that replaced it."""
        kind = _kind(request)
        object_id = request.path_params["object_id"]
        wanted = self.world.hubspot_merges.get(object_id, object_id)
        # Personas make new records while we serve: there is no index that could be stale.
        row = next((row for row in self.world.hubspot[kind] if row["id"] == wanted), None)
        if row is None:
            raise ApiError(404, "OBJECT_NOT_FOUND", "resource not found")
        return _shown(row, _properties(kind, request.query_params.get("properties"))), 1

    def search(self, request: Request, body: bytes) -> tuple[Record, int]:
        """Filter groups are joined by OR, their filters by AND; `after` is an offset into the
        result."""
        kind = _kind(request)
        asked = _object(body)
        limit = _limit(asked.get("limit"), 10, PAGE_LIMITS["search"])
        after = str(asked.get("after") or "0")
        if not after.isdigit():
            raise ApiError(400, "VALIDATION_ERROR", f"invalid paging cursor {after!r}")
        offset = int(after)
        if offset + limit > SEARCH_CAP:
            raise ApiError(
                400,
                "VALIDATION_ERROR",
                f"paging through more than {SEARCH_CAP:,} results is not supported",
            )
        groups = asked.get("filterGroups") or []
        if len(groups) > 5 or any(len(group.get("filters", ())) > 10 for group in groups):
            raise ApiError(400, "VALIDATION_ERROR", "at most 5 filterGroups with 10 filters each")
        tests = [[_filter(item) for item in group.get("filters", ())] for group in groups]
        found = [
            row
            for row in self.world.hubspot[kind]
            if not tests or any(all(test(row["properties"]) for test in group) for group in tests)
        ]
        sorts = asked.get("sorts") or []
        if len(sorts) > 1:
            raise ApiError(400, "VALIDATION_ERROR", "only one sort is supported")
        for item in sorts:
            name = item if isinstance(item, str) else str(item.get("propertyName"))
            descending = name.startswith("-") or (
                isinstance(item, dict) and str(item.get("direction", "")).upper() == "DESCENDING"
            )
            name = name.removeprefix("-")
            found.sort(
                key=lambda row: _comparable(row["properties"].get(name) or "", name),
                reverse=descending,
            )
        page = found[offset : offset + limit]
        names = asked.get("properties") or list(DEFAULT_PROPERTIES[kind])
        answer: Record = {"total": len(found), "results": [_shown(row, names) for row in page]}
        if offset + limit < len(found):
            answer["paging"] = {"next": {"after": str(offset + limit)}}
        return answer, len(page)

    def read_batch(self, request: Request, body: bytes) -> tuple[Record, int]:
        """Objects by id, or contacts by e-mail (`idProperty`); those not found are errors of a 207."""
        kind, asked = _kind(request), _object(body)
        history = asked.get("propertiesWithHistory") or []
        inputs = _inputs(asked, HISTORY_LIMIT if history else BATCH_LIMIT)
        key = asked.get("idProperty") or "hs_object_id"
        if key not in ("hs_object_id", "email"):
            raise ApiError(400, "VALIDATION_ERROR", f"{key!r} is no unique property of {kind}")
        merges = self.world.hubspot_merges if kind == "contacts" else {}
        wanted = dict.fromkeys(merges.get(each, each).lower() for each in inputs)
        rows = {
            str(row["properties"].get(key) or "").lower(): row for row in self.world.hubspot[kind]
        }
        names = asked.get("properties") or DEFAULT_PROPERTIES[kind]
        found: list[Record] = []
        missing = [each for each in wanted if each not in rows]
        for each in wanted:
            if each in rows:
                shown = _shown(rows[each], names)
                if history:
                    kept = rows[each].get("propertiesWithHistory", {})
                    shown["propertiesWithHistory"] = {name: kept.get(name, []) for name in history}
                found.append(shown)
        answer = {"status": "COMPLETE", "results": found, **_now()}
        if missing:
            answer |= _not_found("Could not get some objects", {"ids": missing})
        return answer, len(found)

    def associations(self, request: Request, body: bytes) -> tuple[Record, int]:
        """The records of another kind that go with each record; those with none are errors of a 207."""
        kind, inputs = _kind(request), _inputs(_object(body), ASSOCIATIONS_LIMIT)
        other = request.path_params["other"]
        other = OBJECT_TYPES.get(other, other)
        results: list[Record] = []
        alone: list[str] = []
        for record_id in inputs:
            ids = self.world.hubspot_associations.get((kind, record_id, other), [])
            to = [
                {
                    "toObjectId": int(each),
                    "associationTypes": [
                        {"category": "HUBSPOT_DEFINED", "typeId": 3, "label": None},
                        *(
                            [{"category": "HUBSPOT_DEFINED", "typeId": 5, "label": "Primary"}]
                            if number == 0 and other == "companies"
                            else []
                        ),
                    ],
                }
                for number, each in enumerate(ids)
            ]
            if to:
                results.append({"from": {"id": record_id}, "to": to})
            else:
                alone.append(record_id)
        answer = {"status": "COMPLETE", "results": results, **_now()}
        if alone:
            answer |= _not_found(
                f"No {other} is associated with {kind}", {"fromObjectId": alone},
                subCategory="crm.associations.NO_ASSOCIATIONS_FOUND",
            )  # fmt: skip
        return answer, len(results)

    # ---- owners, campaigns, events ------------------------------------------------------------

    def owners(self, request: Request, body: bytes) -> tuple[Record, int]:
        """Owners in id order."""
        return self._paged(request, self.world.hubspot["owners"], 100, PAGE_LIMITS["owners"])

    def campaigns(self, request: Request, body: bytes) -> tuple[Record, int]:
        """Campaigns with `spendItems` [{date, amount, currency}], one a day.

        HubSpot serves spend under …/campaigns/{guid}/spend; the sandbox puts it into the campaign.
        """
        answer, count = self._paged(
            request, self.world.hubspot["campaigns"], 50, PAGE_LIMITS["campaigns"]
        )
        return answer | {"total": len(self.world.hubspot["campaigns"])}, count

    def email_events(self, request: Request, body: bytes) -> tuple[Record, int]:
        """The e-mail log between two instants, both inclusive, newest first."""
        query = request.query_params
        start = int(query.get("startTimestamp") or 0)
        end = int(query.get("endTimestamp") or 10**14)
        kind, recipient = query.get("eventType"), query.get("recipient")
        rows = [
            row
            for row in reversed(self.world.hubspot["email_events"])
            if start <= row["created"] <= end
            and kind in (None, row["type"])
            and recipient in (None, row["recipient"])
        ]
        limit = _limit(query.get("limit"), 10, PAGE_LIMITS["email_events"])
        offset = query.get("offset") or "0"
        if not offset.isdigit():
            raise ApiError(400, "VALIDATION_ERROR", f"invalid offset {offset!r}")
        page = rows[int(offset) : int(offset) + limit]
        reached = int(offset) + len(page)
        return {"hasMore": reached < len(rows), "offset": str(reached), "events": page}, len(page)

    def forms(self, request: Request, body: bytes) -> tuple[Record, int]:
        """Forms in id order."""
        return self._paged(request, self.world.hubspot["forms"], 20, PAGE_LIMITS["forms"])

    def submissions(self, request: Request, body: bytes) -> tuple[Record, int]:
        """Submissions of one form, newest first."""
        form_id = request.path_params["form_id"]
        if form_id not in {form["id"] for form in self.world.hubspot["forms"]}:
            raise ApiError(404, "OBJECT_NOT_FOUND", f"no form {form_id!r}")
        rows = [
            {name: value for name, value in row.items() if name != "formId"}
            for row in reversed(self.world.hubspot["form_submissions"])
            if row["formId"] == form_id
        ]
        limit = _limit(request.query_params.get("limit"), 20, PAGE_LIMITS["submissions"])
        after = request.query_params.get("after") or "0"
        if not after.isdigit():
            raise ApiError(400, "VALIDATION_ERROR", f"invalid paging cursor {after!r}")
        page = rows[int(after) : int(after) + limit]
        answer: Record = {"results": page}
        if int(after) + limit < len(rows):
            answer["paging"] = _paging(request, str(int(after) + limit))
        return answer, len(page)

    def _paged(
        self, request: Request, rows: Sequence[Record], default: int, highest: int
    ) -> tuple[Record, int]:
        limit = _limit(request.query_params.get("limit"), default, highest)
        after = request.query_params.get("after")
        if request.query_params.get("archived", "false") == "true":
            rows = []
        ids = [str(row["id"]) for row in rows]
        if after and after not in ids:
            raise ApiError(400, "VALIDATION_ERROR", f"invalid paging cursor {after!r}")
        start = ids.index(after) + 1 if after else 0
        page = list(rows[start : start + limit])
        answer: Record = {"results": page}
        if start + limit < len(rows):
            answer["paging"] = _paging(request, str(page[-1]["id"]))
        return answer, len(page)

    def events(self, request: Request, body: bytes) -> tuple[Record, int]:
        """Event occurrences by time, oldest first (`sort=DESCENDING` or `-occurredAt` turns it
        round).

        `occurredAfter` is inclusive, `occurredBefore` exclusive; the cursor is (occurredAt, id), so
        equal times are neither skipped nor repeated.
        """
        query = request.query_params
        rows = self.world.hubspot["events"]
        kind = query.get("objectType", "contact").lower()
        if kind not in ("contact", "contacts", "0-1"):
            rows = []
        if query.get("objectId"):
            rows = [row for row in rows if row["objectId"] == query["objectId"]]
        if query.get("eventType"):
            rows = [row for row in rows if row["eventType"] == query["eventType"]]
        if query.get("occurredAfter"):
            first = _instant(query["occurredAfter"], "occurredAfter")
            rows = [row for row in rows if _instant(row["occurredAt"], "") >= first]
        if query.get("occurredBefore"):
            end = _instant(query["occurredBefore"], "occurredBefore")
            rows = [row for row in rows if _instant(row["occurredAt"], "") < end]
        descending = query.get("sort", "").upper() in ("DESCENDING", "-OCCURREDAT")
        if descending:
            rows = rows[::-1]
        if query.get("after"):
            rows = _beyond(rows, query["after"], descending)
        limit = _limit(query.get("limit"), 100, PAGE_LIMITS["events"])
        page = list(rows[:limit])
        answer: Record = {"results": page}
        if len(rows) > limit:
            place = f"{page[-1]['occurredAt']}|{page[-1]['id']}"
            answer["paging"] = _paging(request, base64.urlsafe_b64encode(place.encode()).decode())
        return answer, len(page)


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json;charset=utf-8")


def _error(error: ApiError) -> Response:
    return _json(
        {
            "status": "error",
            "message": error.message,
            "correlationId": str(uuid.uuid4()),
            "category": error.category,
        },
        error.status,
    )


def _kind(request: Request) -> str:
    kind: str = request.path_params["kind"]
    kind = OBJECT_TYPES.get(kind, kind)
    if kind not in DEFAULT_PROPERTIES:
        raise ApiError(400, "VALIDATION_ERROR", f"Unable to infer object type from: {kind}")
    return kind


def _object(body: bytes) -> Record:
    try:
        content = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise ApiError(400, "VALIDATION_ERROR", f"Invalid input JSON: {error}") from None
    if not isinstance(content, dict):
        raise ApiError(400, "VALIDATION_ERROR", "Invalid input JSON: an object is expected")
    return content


def _inputs(asked: Record, most: int) -> list[str]:
    inputs = asked.get("inputs")
    if not isinstance(inputs, list) or not inputs or len(inputs) > most:
        raise ApiError(400, "VALIDATION_ERROR", f"inputs must be a list of 1 to {most}")
    return [str(each["id"]) for each in inputs]


def _not_found(message: str, context: Record, **more: str) -> Record:
    error = {
        "status": "error",
        "category": "OBJECT_NOT_FOUND",
        "message": message,
        "context": context,
        **more,
    }
    return {"numErrors": 1, "errors": [error]}


def _now() -> Record:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"requestedAt": now, "startedAt": now, "completedAt": now}


def _limit(asked: Any, default: int, highest: int) -> int:
    if asked in (None, ""):
        return default
    if not str(asked).isdigit() or not 1 <= int(asked) <= highest:
        raise ApiError(
            400, "VALIDATION_ERROR", f"limit must be between 1 and {highest}, not {asked}"
        )
    return int(asked)


def _properties(kind: str, asked: str | None) -> Sequence[str]:
    if not asked:
        return DEFAULT_PROPERTIES[kind]
    return [name.strip() for name in asked.split(",") if name.strip()]


def _shown(row: Record, names: Sequence[str]) -> Record:
    """Properties nobody defined are left out in silence, as HubSpot does; hs_object_id always
    comes."""
    known: Mapping[str, Any] = row["properties"]
    wanted = {name: known[name] for name in (*names, "hs_object_id") if name in known}
    shown = {**row, "properties": wanted}
    # History comes only where it is asked for, by batch read or for one object.
    shown.pop("propertiesWithHistory", None)
    return shown


def _paging(request: Request, after: str) -> Record:
    return {"next": {"after": after, "link": str(request.url.include_query_params(after=after))}}


def _instant(value: Any, name: str) -> datetime:
    """Epoch milliseconds or ISO 8601, both accepted by HubSpot."""
    text = str(value)
    try:
        if text.isdigit():
            return datetime.fromtimestamp(int(text) / 1_000, tz=UTC)
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ApiError(400, "VALIDATION_ERROR", f"{name}: {text!r} is no timestamp") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _comparable(value: Any, name: str) -> Any:
    if name.endswith("date"):
        return _instant(value or "0", name)
    if name in ("hs_object_id", "numberofemployees", "annualrevenue"):
        return float(value or 0)
    return str(value).casefold()


def _filter(item: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], bool]:
    name, operator = str(item.get("propertyName", "")), str(item.get("operator", ""))
    if operator == "HAS_PROPERTY":
        return lambda row: row.get(name) not in (None, "")
    if operator == "NOT_HAS_PROPERTY":
        return lambda row: row.get(name) in (None, "")
    if operator in ("IN", "NOT_IN"):
        wanted = {_comparable(value, name) for value in item.get("values", ())}
        return lambda row: (
            row.get(name) is not None
            and (_comparable(row[name], name) in wanted) == (operator == "IN")
        )
    if operator == "CONTAINS_TOKEN":
        token = str(item.get("value", "")).strip("*").casefold()
        return lambda row: token in str(row.get(name) or "").casefold()
    if "value" not in item:
        raise ApiError(400, "VALIDATION_ERROR", f"filter on {name!r}: {operator} needs a value")
    bound = _comparable(item["value"], name)
    high = _comparable(item.get("highValue", item["value"]), name)
    tests: dict[str, Callable[[Any], bool]] = {
        "EQ": lambda value: bool(value == bound),
        "NEQ": lambda value: bool(value != bound),
        "LT": lambda value: bool(value < bound),
        "LTE": lambda value: bool(value <= bound),
        "GT": lambda value: bool(value > bound),
        "GTE": lambda value: bool(value >= bound),
        "BETWEEN": lambda value: bool(bound <= value <= high),
    }
    if operator not in tests:
        raise ApiError(
            400, "VALIDATION_ERROR", f"filter on {name!r}: unknown operator {operator!r}"
        )
    test = tests[operator]
    return lambda row: row.get(name) is not None and test(_comparable(row[name], name))


def _beyond(rows: Sequence[Record], after: str, descending: bool) -> list[Record]:
    try:
        occurred_at, _, event_id = base64.urlsafe_b64decode(after).decode().partition("|")
    except (binascii.Error, UnicodeDecodeError):
        raise ApiError(400, "VALIDATION_ERROR", f"invalid paging cursor {after!r}") from None
    place = (occurred_at, event_id)
    if descending:
        return [row for row in rows if (row["occurredAt"], row["id"]) < place]
    return [row for row in rows if (row["occurredAt"], row["id"]) > place]

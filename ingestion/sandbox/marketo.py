"""The simulated Marketo over HTTP: identity, the lead database, its activity log, bulk extract and
programs.

Paths and shapes follow experienceleague.adobe.com, "Marketo Engage Developer": "Authentication",
"Leads", "Activities", "Paging Tokens", "Bulk Lead Extract", "Programs", "Error Codes" (a refusal is
an answer of 200 with `success: false`).
"""

from __future__ import annotations

import csv
import hashlib
import io
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from ingestion.sandbox.credentials import Tokens
from ingestion.sandbox.marketo_records import (
    ACTIVITY_TYPES,
    CHANGE_DATA_VALUE,
    DELETE_LEAD,
    NEW_LEAD,
)
from ingestion.sandbox.marketo_store import MarketoStore, Skipped, place_of, token_at
from ingestion.sandbox.spelling import marketo_time

Record = dict[str, Any]

LARGEST_BATCH, LARGEST_URI, ASSET_PAGE, MOST_TYPES, MOST_RESULTS = 300, 8_192, 200, 10, 1_000
EXPORT_SPAN = timedelta(days=31)
DEFAULT_FIELDS = ("id", "email", "updatedAt", "createdAt", "firstName", "lastName")
# REST name -> label and type. A subscription with Salesforce behind it has more.
LEAD_FIELDS: dict[str, tuple[str, str]] = {
    "id": ("Id", "integer"),
    "createdAt": ("Created At", "datetime"),
    "updatedAt": ("Updated At", "datetime"),
    "email": ("Email Address", "email"),
    "firstName": ("First Name", "string"),
    "lastName": ("Last Name", "string"),
    "phone": ("Phone Number", "phone"),
    "mobilePhone": ("Mobile Phone Number", "phone"),
    "company": ("Company Name", "string"),
    "title": ("Job Title", "string"),
    "address": ("Address", "text"),
    "city": ("City", "string"),
    "state": ("State", "string"),
    "postalCode": ("Postal Code", "string"),
    "country": ("Country", "string"),
    "leadSource": ("Lead Source", "string"),
    "leadStatus": ("Lead Status", "string"),
    "leadScore": ("Lead Score", "score"),
    "unsubscribed": ("Unsubscribed", "boolean"),
    "unsubscribedReason": ("Unsubscribed Reason", "text"),
    "doNotCall": ("Do Not Call", "boolean"),
}
READ_ONLY = ("id", "createdAt", "updatedAt")
ACTIONS = ("createOrUpdate", "createOnly", "updateOnly", "createDuplicate")


class ApiError(Exception):
    """A refusal in Marketo's terms: a code and what it says."""

    def __init__(self, code: str, message: str) -> None:
        """`code` is Marketo's, such as 1003."""
        super().__init__(message)
        self.code = code
        self.message = message


class MarketoApi:
    """Routes of one simulated subscription."""

    def __init__(self, store: MarketoStore, tokens: Tokens, clock: Callable[[], datetime]) -> None:
        """Serves `store` to holders of a token; `clock` says when exports are made."""
        self.store = store
        self.tokens = tokens
        self.clock = clock
        self._requests = 0
        self._jobs: dict[str, Record] = {}

    def router(self) -> APIRouter:
        """All routes, without prefix."""
        router = APIRouter()
        router.add_api_route("/identity/oauth/token", self.token, methods=["GET", "POST"])
        router.add_api_route(
            "/bulk/v1/leads/export/{export_id}/file.json", self.export_file, methods=["GET"]
        )
        routes: tuple[tuple[str, str, Callable[[Request, bytes], Record]], ...] = (
            ("/rest/v1/leads/describe.json", "GET", self.describe),
            ("/rest/v1/leads.json", "GET", self.leads),
            ("/rest/v1/leads.json", "POST", self.sync_leads),
            ("/rest/v1/leads/delete.json", "POST", self.delete_leads),
            ("/rest/v1/leads/{lead_id}/merge.json", "POST", self.merge_leads),
            ("/rest/v1/lead/{lead_id}.json", "GET", self.lead),
            ("/rest/v1/activities/types.json", "GET", self.activity_types),
            ("/rest/v1/activities/pagingtoken.json", "GET", self.paging_token),
            ("/rest/v1/activities/leadchanges.json", "GET", self.lead_changes),
            ("/rest/v1/activities/deletedleads.json", "GET", self.deleted_leads),
            ("/rest/v1/activities.json", "GET", self.activities),
            ("/rest/v1/campaigns.json", "GET", self.campaigns),
            ("/bulk/v1/leads/export/create.json", "POST", self.create_export),
            ("/bulk/v1/leads/export/{export_id}/enqueue.json", "POST", self.enqueue_export),
            ("/bulk/v1/leads/export/{export_id}/status.json", "GET", self.export_status),
            ("/rest/asset/v1/programs.json", "GET", self.programs),
            ("/rest/asset/v1/program/{program_id}.json", "GET", self.program),
        )
        for path, method, answer in routes:
            router.add_api_route(path, self._endpoint(answer), methods=[method])
        router.add_api_route(
            "/{path:path}", self._endpoint(_nothing_there), methods=["GET", "POST", "DELETE"]
        )
        return router

    def reset(self) -> None:
        """No export was ever made."""
        self._jobs.clear()
        self._requests = 0

    def _endpoint(self, answer: Callable[[Request, bytes], Record]) -> Callable[..., Any]:
        async def endpoint(request: Request) -> Response:
            if len(request.url.path) + len(request.url.query) > LARGEST_URI:
                return PlainTextResponse("URI too long", 414)
            try:
                self._authorise(request)
                content = answer(request, await request.body())
            except ApiError as error:
                refused = {"errors": [{"code": error.code, "message": error.message}]}
                return _json({"requestId": self._request_id(), "success": False, **refused})
            result = content.get("result")
            if result is not None:
                request.scope.setdefault("sandbox", {})["rows"] = len(result)
            return _json({"requestId": self._request_id(), "success": True, **content})

        return endpoint

    def _request_id(self) -> str:
        self._requests += 1
        return f"{self._requests:x}#{hashlib.sha256(str(self._requests).encode()).hexdigest()[:11]}"

    def _authorise(self, request: Request) -> None:
        if request.headers.get("authorization") != f"Bearer {self.tokens.marketo_token}":
            raise ApiError("601", "Access token invalid")

    # ---- identity -------------------------------------------------------------------------------

    async def token(self, request: Request) -> Response:
        """The custom service's token; the same one until it runs out."""
        form = {name: value[0] for name, value in parse_qs((await request.body()).decode()).items()}
        asked = {**form, **request.query_params}
        if asked.get("grant_type") != "client_credentials":
            told = {
                "error": "unsupported_grant_type",
                "error_description": "Unsupported grant type",
            }
            return _json(told, 400)
        held = (self.tokens.marketo_client_id, self.tokens.marketo_client_secret)
        if (asked.get("client_id"), asked.get("client_secret")) != held:
            told = {"error": "invalid_client", "error_description": "Bad client credentials"}
            return _json(told, 401)
        return _json(
            {
                "access_token": self.tokens.marketo_token,
                "token_type": "bearer",
                "expires_in": 3_599,
                "scope": "handoff@lumenwerk-demoworld.com",
            }
        )

    # ---- leads ----------------------------------------------------------------------------------

    def describe(self, request: Request, body: bytes) -> Record:
        """Fields of a lead."""
        return {
            "result": [
                {
                    "id": number,
                    "displayName": label,
                    "dataType": kind,
                    "rest": {"name": name, "readOnly": name in READ_ONLY},
                }
                for number, (name, (label, kind)) in enumerate(LEAD_FIELDS.items(), 40)
            ]
        }

    def leads(self, request: Request, body: bytes) -> Record:
        """Leads one of whose fields is among 300 values."""
        query = request.query_params
        name = query.get("filterType")
        if not name:
            raise ApiError("1002", "Missing value for the required parameter 'filterType'")
        if name not in ("id", "email", "leadSource", "leadStatus"):
            raise ApiError("1011", f"Field '{name}' not supported")
        values = [value.strip() for value in query.get("filterValues", "").split(",")]
        if not any(values):
            raise ApiError("1002", "Missing value for the required parameter 'filterValues'")
        if len(values) > LARGEST_BATCH:
            raise ApiError("1003", f"Too many filterValues: {len(values)}, {LARGEST_BATCH} at most")
        wanted = {value.casefold() for value in values}
        rows = [
            row
            for row in sorted(self.store.leads.values(), key=lambda row: int(row["id"]))
            if str(row.get(name) or "").casefold() in wanted
        ]
        if len(rows) > MOST_RESULTS:
            raise ApiError("1003", "Too many results match the filter")
        size, start = _batch_size(query), _offset(query)
        fields = _fields(query)
        answer: Record = {"result": [_shown(row, fields) for row in rows[start : start + size]]}
        if start + size < len(rows):
            answer |= {"nextPageToken": token_at("offset", start + size), "moreResult": True}
        return answer

    def lead(self, request: Request, body: bytes) -> Record:
        """One lead."""
        row = self.store.leads.get(_number(request.path_params["lead_id"], "id"))
        if row is None:
            raise ApiError("1004", f"Lead '{request.path_params['lead_id']}' not found")
        return {"result": [_shown(row, _fields(request.query_params))]}

    def sync_leads(self, request: Request, body: bytes) -> Record:
        """Up to 300 leads made or changed, each with its own outcome."""
        asked = _object(body)
        action = asked.get("action", "createOrUpdate")
        if action not in ACTIONS:
            raise ApiError("1003", f"Invalid action {action!r}")
        lookup = asked.get("lookupField", "email")

        def save(row: Record) -> Record:
            unknown = next((name for name in row if name not in LEAD_FIELDS), None)
            if unknown is not None:
                raise Skipped("1006", f"Field '{unknown}' not found")
            lead_id, status = self.store.save(row, action, lookup)
            return {"id": lead_id, "status": status}

        return {"result": [_taken(save, row) for row in _input(asked)]}

    def delete_leads(self, request: Request, body: bytes) -> Record:
        """Up to 300 leads deleted."""

        def delete(row: Record) -> Record:
            lead_id = _number(row.get("id"), "id")
            self.store.delete(lead_id)
            return {"id": lead_id, "status": "deleted"}

        return {"result": [_taken(delete, row) for row in _input(_object(body))]}

    def merge_leads(self, request: Request, body: bytes) -> Record:
        """Leads merged into the one of the path."""
        query = request.query_params
        others = query.get("leadIds") or query.get("leadId") or ""
        if not others:
            raise ApiError("1002", "Missing value for the required parameter 'leadIds'")
        numbers = [_number(each, "leadIds") for each in others.split(",")]
        try:
            self.store.merge(_number(request.path_params["lead_id"], "leadId"), numbers)
        except Skipped as error:
            raise ApiError(error.code, error.message) from None
        return {}

    # ---- activities -----------------------------------------------------------------------------

    def activity_types(self, request: Request, body: bytes) -> Record:
        """What may be in the log."""
        return {
            "result": [
                {
                    "id": number,
                    "name": name,
                    "description": name,
                    "primaryAttribute": {"name": primary, "dataType": "string"},
                    "attributes": [{"name": each, "dataType": "string"} for each in attributes],
                }
                for number, (name, primary, attributes) in ACTIVITY_TYPES.items()
            ]
        }

    def paging_token(self, request: Request, body: bytes) -> Record:
        """A token that stands for an instant."""
        given = request.query_params.get("sinceDatetime", "")
        try:
            since = datetime.fromisoformat(given)
        except ValueError:
            raise ApiError("704", f"sinceDatetime: invalid date format {given!r}") from None
        since = since if since.tzinfo else since.replace(tzinfo=UTC)
        return {"nextPageToken": token_at(marketo_time(since))}

    def activities(self, request: Request, body: bytes) -> Record:
        """Activities of up to ten types."""
        given = request.query_params.getlist("activityTypeIds")
        kinds = [
            _number(each, "activityTypeIds") for part in given for each in part.split(",") if each
        ]
        if not kinds:
            raise ApiError("1002", "Missing value for the required parameter 'activityTypeIds'")
        if len(kinds) > MOST_TYPES:
            raise ApiError("1003", f"activityTypeIds: at most {MOST_TYPES} may be given")
        unknown = next((kind for kind in kinds if kind not in ACTIVITY_TYPES), None)
        if unknown is not None:
            raise ApiError("1003", f"Invalid activityTypeId '{unknown}'")
        return self._logged(request, kinds)

    def lead_changes(self, request: Request, body: bytes) -> Record:
        """New leads, and changes of the fields named."""
        if not request.query_params.get("fields"):
            raise ApiError("1002", "Missing value for the required parameter 'fields'")
        watched = set(_fields(request.query_params))
        answer = self._logged(request, (NEW_LEAD, CHANGE_DATA_VALUE))
        answer["result"] = [
            row
            for row in answer["result"]
            if row["activityTypeId"] == NEW_LEAD
            or any(change["name"] in watched for change in row["fields"])
        ]
        return answer

    def deleted_leads(self, request: Request, body: bytes) -> Record:
        """Leads that were deleted."""
        return self._logged(request, (DELETE_LEAD,))

    def _logged(self, request: Request, kinds: Any) -> Record:
        token = request.query_params.get("nextPageToken")
        if not token:
            raise ApiError("1002", "Missing value for the required parameter 'nextPageToken'")
        page = self.store.page(token, kinds, _batch_size(request.query_params))
        if page is None:
            raise ApiError("1003", "Invalid nextPageToken")
        rows, following, has_more = page
        return {"result": rows, "nextPageToken": following, "moreResult": has_more}

    def campaigns(self, request: Request, body: bytes) -> Record:
        """Smart campaigns."""
        size, start = _batch_size(request.query_params), _offset(request.query_params)
        answer: Record = {"result": self.store.campaigns[start : start + size]}
        if start + size < len(self.store.campaigns):
            answer |= {"nextPageToken": token_at("offset", start + size), "moreResult": True}
        return answer

    # ---- bulk extract ---------------------------------------------------------------------------

    def create_export(self, request: Request, body: bytes) -> Record:
        """A job for the leads made, or changed, in a span of at most 31 days."""
        asked = _object(body)
        if not asked.get("fields"):
            raise ApiError("1002", "Missing value for the required parameter 'fields'")
        unknown = next((name for name in asked["fields"] if name not in LEAD_FIELDS), None)
        if unknown is not None:
            raise ApiError("1006", f"Field '{unknown}' not found")
        filters = asked.get("filter") or {}
        if len(filters) != 1:
            raise ApiError("1003", "Exactly one filter is needed")
        [(name, span)] = filters.items()
        if name not in ("createdAt", "updatedAt"):
            raise ApiError("1035", f"Unsupported filter type for target subscription: {name}")
        try:
            start, end = (datetime.fromisoformat(span[each]) for each in ("startAt", "endAt"))
        except (KeyError, TypeError, ValueError):
            raise ApiError("1003", f"{name}: startAt and endAt must be dates") from None
        if not timedelta(0) <= end - start <= EXPORT_SPAN:
            raise ApiError(
                "1003", f"{name}: the date range must be {EXPORT_SPAN.days} days or less"
            )
        rows = [
            row for row in self.store.leads.values()
            if start <= datetime.fromisoformat(row[name]) <= end
        ]  # fmt: skip
        export_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"export|{len(self._jobs)}"))
        self._jobs[export_id] = {
            "exportId": export_id,
            "status": "Created",
            "format": "CSV",
            "createdAt": marketo_time(self.clock()),
            "file": _csv_of(rows, asked["fields"]),
            "rows": len(rows),
        }
        return {"result": [_told(self._jobs[export_id])]}

    def enqueue_export(self, request: Request, body: bytes) -> Record:
        """Starts a job; it is done by the time somebody looks."""
        job = self._job(request)
        if job["status"] != "Created":
            raise ApiError("1029", "Job already queued")
        job |= {"status": "Queued", "queuedAt": marketo_time(self.clock())}
        return {"result": [_told(job)]}

    def export_status(self, request: Request, body: bytes) -> Record:
        """How far a job is."""
        job = self._job(request)
        if job["status"] == "Queued":
            job |= {
                "status": "Completed",
                "startedAt": job["queuedAt"],
                "finishedAt": marketo_time(self.clock()),
                "numberOfRecords": job["rows"],
                "fileSize": len(job["file"]),
                "fileChecksum": "sha256:" + hashlib.sha256(job["file"]).hexdigest(),
            }
        return {"result": [_told(job)]}

    async def export_file(self, request: Request) -> Response:
        """The file of a job that is done; 404 and plain text otherwise."""
        job = self._jobs.get(request.path_params["export_id"])
        try:
            self._authorise(request)
        except ApiError as error:
            refused = {"errors": [{"code": error.code, "message": error.message}]}
            return _json({"requestId": self._request_id(), "success": False, **refused})
        if job is None or job["status"] != "Completed":
            return PlainTextResponse("Not Found", 404)
        request.scope.setdefault("sandbox", {})["rows"] = job["rows"]
        return Response(job["file"], media_type="text/csv")

    def _job(self, request: Request) -> Record:
        job = self._jobs.get(request.path_params["export_id"])
        if job is None:
            raise ApiError("1013", "Object not found")
        return job

    # ---- programs -------------------------------------------------------------------------------

    def programs(self, request: Request, body: bytes) -> Record:
        """Programs changed in a span, without tags and costs, which only the program itself tells."""
        query = request.query_params
        bounds = {}
        for name in ("earliestUpdatedAt", "latestUpdatedAt"):
            if query.get(name):
                try:
                    bounds[name] = datetime.fromisoformat(query[name])
                except ValueError:
                    raise ApiError("704", f"{name}: invalid date format") from None
        size = min(_number(query.get("maxReturn", "20"), "maxReturn"), ASSET_PAGE)
        start = _number(query.get("offset", "0"), "offset")
        found = []
        for row in self.store.programs:
            at = datetime.fromisoformat(row["updatedAt"].removesuffix("+0000"))
            if bounds.get("earliestUpdatedAt", at) <= at <= bounds.get("latestUpdatedAt", at):
                found.append({name: row[name] for name in row if name not in ("tags", "costs")})
        page = found[start : start + size]
        if not page:
            return {
                "errors": [],
                "warnings": ["No assets found for the given search criteria."],
            }
        return {"errors": [], "warnings": [], "result": page}

    def program(self, request: Request, body: bytes) -> Record:
        """One program, whole."""
        wanted = _number(request.path_params["program_id"], "id")
        found = [row for row in self.store.programs if row["id"] == wanted]
        if not found:
            raise ApiError("702", "Program not found")
        return {"errors": [], "warnings": [], "result": found}


def _nothing_there(request: Request, body: bytes) -> Record:
    raise ApiError("610", "Requested resource not found")


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json;charset=UTF-8")


def _object(body: bytes) -> Record:
    try:
        content = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError:
        content = None
    if not isinstance(content, dict):
        raise ApiError("609", "Invalid JSON")
    return content


def _input(asked: Mapping[str, Any]) -> list[Record]:
    rows = asked.get("input")
    if not isinstance(rows, list) or not rows:
        raise ApiError("1002", "Missing value for the required parameter 'input'")
    if len(rows) > LARGEST_BATCH:
        raise ApiError("1003", f"input: at most {LARGEST_BATCH} records may be given")
    return rows


def _taken(take: Callable[[Record], Record], row: Record) -> Record:
    try:
        return take(row)
    except Skipped as error:
        return {"status": "skipped", "reasons": [{"code": error.code, "message": error.message}]}


def _number(given: Any, name: str) -> int:
    if not str(given).strip().isdigit():
        raise ApiError("1001", f"Invalid value '{given}'. Required of type 'Integer': {name}")
    return int(given)


def _batch_size(query: Mapping[str, str]) -> int:
    size = _number(query.get("batchSize", str(LARGEST_BATCH)), "batchSize")
    if not 1 <= size <= LARGEST_BATCH:
        raise ApiError("1003", f"batchSize must be between 1 and {LARGEST_BATCH}")
    return size


def _offset(query: Mapping[str, str]) -> int:
    """Where a position-based token points."""
    token = query.get("nextPageToken")
    if not token:
        return 0
    place = place_of(token)
    if place is None or place[0] != "offset":
        raise ApiError("1003", "Invalid nextPageToken")
    return place[1]


def _fields(query: Mapping[str, str]) -> list[str]:
    given = query.get("fields")
    if not given:
        return list(DEFAULT_FIELDS)
    names = [name.strip() for name in given.split(",") if name.strip()]
    unknown = next((name for name in names if name not in LEAD_FIELDS), None)
    if unknown is not None:
        raise ApiError("1006", f"Field '{unknown}' not found")
    return names


def _shown(row: Record, fields: list[str]) -> Record:
    return {"id": row["id"], **{name: row.get(name) for name in fields}}


def _told(job: Record) -> Record:
    return {name: value for name, value in job.items() if name not in ("file", "rows")}


def _csv_of(rows: list[Record], fields: list[str]) -> bytes:
    target = io.StringIO(newline="")
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(fields)
    for row in rows:
        writer.writerow(_cell(row.get(name)) for name in fields)
    return target.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)

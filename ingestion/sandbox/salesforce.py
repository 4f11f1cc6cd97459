"""The simulated Salesforce over HTTP: OAuth, SOQL, sObject rows and collections, and the org's limit
of calls; its records are in salesforce_store.py, bulk queries in salesforce_bulk.py.

Shapes follow the Salesforce REST API Developer Guide: "Query", "sObject Rows by External ID",
"sObject Collections" (≤ 200 rows, results in request order, allOrNone), "Status Codes and Error
Responses".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from ingestion.sandbox.credentials import Tokens
from ingestion.sandbox.identifiers import KEY_PREFIXES
from ingestion.sandbox.salesforce_bulk import BulkAnswer, BulkJobs
from ingestion.sandbox.salesforce_refusals import STATUS, ApiError
from ingestion.sandbox.salesforce_schema import SCHEMA, describe, field_name, sobject_name
from ingestion.sandbox.salesforce_store import SalesforceStore, Written
from ingestion.sandbox.soql import Query, Row, SoqlError, parse

COLLECTION_LIMIT = 200
QUERY_BATCH_DEFAULT = 2_000
QUERY_BATCH_MINIMUM = 200
CURSORS_KEPT = 50
DAILY_CALLS = 100_000
OLDEST_VERSION, NEWEST_VERSION = 46, 68

_SOBJECT_OF_PREFIX = {prefix: name for name, prefix in KEY_PREFIXES.items()}


@dataclass(frozen=True, slots=True)
class _Cursor:
    query: Query
    rows: list[Row]
    batch: int


class SalesforceApi:
    """Routes of one simulated org; `calls` counts API calls as Sforce-Limit-Info reports them."""

    def __init__(
        self, store: SalesforceStore, tokens: Tokens, clock: Callable[[], datetime]
    ) -> None:
        """Serves the records of `store` to holders of `tokens`; `clock` dates bulk jobs."""
        self.store = store
        self.tokens = tokens
        self.calls = 0
        self.bulk = BulkJobs(store, clock)
        self._cursors: OrderedDict[str, _Cursor] = OrderedDict()
        self._cursor_count = 0

    def router(self) -> APIRouter:
        """All routes, to be mounted under any prefix."""
        router = APIRouter()
        router.add_api_route("/services/oauth2/token", self.token, methods=["POST"])
        router.add_api_route("/services/data", self.versions, methods=["GET"])
        router.add_api_route(
            "/services/data/{version}/{path:path}",
            self.dispatch,
            methods=["GET", "POST", "PATCH", "DELETE"],
        )
        return router

    async def token(self, request: Request) -> Response:
        """Client-credentials flow (Salesforce Help, "OAuth 2.0 Client Credentials Flow")."""
        from urllib.parse import parse_qs

        form = {
            name: values[0] for name, values in parse_qs((await request.body()).decode()).items()
        }
        if request.headers.get("authorization", "").startswith("Basic "):
            from base64 import b64decode

            pair = b64decode(request.headers["authorization"][6:]).decode()
            form["client_id"], _, form["client_secret"] = pair.partition(":")
        if form.get("grant_type") != "client_credentials":
            return _json(
                {
                    "error": "unsupported_grant_type",
                    "error_description": "grant type not supported",
                },
                400,
            )
        if form.get("client_id") != self.tokens.salesforce_client_id:
            return _json(
                {"error": "invalid_client_id", "error_description": "client identifier invalid"},
                400,
            )
        if form.get("client_secret") != self.tokens.salesforce_client_secret:
            return _json(
                {"error": "invalid_client", "error_description": "invalid client credentials"}, 400
            )
        instance = str(request.base_url).rstrip("/") + request.url.path.removesuffix(
            "/services/oauth2/token"
        )
        return _json(
            {
                "access_token": self.tokens.salesforce_token,
                "instance_url": instance,
                "id": f"{instance}/id/00D5g0000000001EAA/{self.store.integration_user}",
                "token_type": "Bearer",
                "scope": "api",
                "signature": "sandbox",
            }
        )

    async def versions(self, request: Request) -> Response:
        """The API versions on offer."""
        return _json(
            [
                {
                    "label": f"v{number}",
                    "url": f"/services/data/v{number}.0",
                    "version": f"{number}.0",
                }
                for number in range(OLDEST_VERSION, NEWEST_VERSION + 1)
            ]
        )

    async def dispatch(self, version: str, path: str, request: Request) -> Response:
        """Every versioned call: authorisation, limits header and error shape are shared."""
        self.calls += 1
        try:
            user = self._user(request)
            self._check_version(version)
            if self.calls > DAILY_CALLS:
                raise ApiError("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
            body = await request.body()
            response = self._answer(request, version, path.rstrip("/").split("/"), user, body)
        except ApiError as error:
            detail: Row = {"message": error.message, "errorCode": error.code}
            if error.fields:
                detail["fields"] = list(error.fields)
            response = _json([detail], error.status)
        except SoqlError as error:
            response = _json([{"message": error.message, "errorCode": error.code}], 400)
        used = min(self.calls, DAILY_CALLS)
        response.headers["Sforce-Limit-Info"] = f"api-usage={used}/{DAILY_CALLS}"
        return response

    # ---- routing ------------------------------------------------------------------------------

    def _user(self, request: Request) -> str:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme in ("Bearer", "OAuth"):
            if token == self.tokens.salesforce_token:
                return self.store.integration_user
            if token == self.tokens.salesforce_rep_token:
                return self.store.rep_user
        raise ApiError("INVALID_SESSION_ID", "Session expired or invalid")

    def _check_version(self, version: str) -> None:
        number = version.removeprefix("v").removesuffix(".0")
        if (
            version != f"v{number}.0"
            or not number.isdigit()
            or not OLDEST_VERSION <= int(number) <= NEWEST_VERSION
        ):
            raise ApiError("NOT_FOUND", "The requested resource does not exist")

    def _answer(
        self, request: Request, version: str, parts: list[str], user: str, body: bytes
    ) -> Response:
        method = request.method
        match method, parts:
            case "GET", ["query" | "queryAll"]:
                return self._query(request, version, parts[0])
            case "GET", ["query" | "queryAll", locator]:
                return self._page(request, version, parts[0], locator)
            case _, ["jobs", "query", *rest]:
                return self._bulk(request, version, rest, user, body)
            case "GET", ["limits"]:
                left = {"Max": DAILY_CALLS, "Remaining": DAILY_CALLS - self.calls}
                return _json({"DailyApiRequests": left})
            case "GET", ["sobjects"]:
                names = [{"name": name, "label": name, "queryable": True} for name in SCHEMA]
                return _json({"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": names})
            case "GET", ["sobjects", name, "describe"]:
                return _json(describe(_sobject(name)))
            case "POST", ["sobjects", name]:
                [result] = self._rows(
                    request, self.store.create(_sobject(name), [_object(body)], user)
                )
                return _single(result, created=201, updated=201)
            case _, ["sobjects", name, record_id]:
                return self._row(request, version, _sobject(name), record_id, user, body)
            case _, ["sobjects", name, field, value]:
                return self._external_row(
                    request, version, _sobject(name), field, value, user, body
                )
            case _, ["composite", "sobjects", *rest]:
                return self._collection(request, version, rest, user, body)
        raise ApiError("NOT_FOUND", "The requested resource does not exist")

    def _rows(self, request: Request, results: list[Written]) -> list[Written]:
        request.scope.setdefault("sandbox", {})["rows"] = len(results)
        return results

    # ---- query --------------------------------------------------------------------------------

    def _query(self, request: Request, version: str, verb: str) -> Response:
        text = request.query_params.get("q")
        if not text:
            raise ApiError("MALFORMED_QUERY", "q: a SOQL query is required")
        query = parse(text)
        rows = self.store.select(query, include_deleted=verb == "queryAll")
        if query.is_count:
            return _json({"totalSize": len(rows), "done": True, "records": []})
        batch = self._batch_size(request.headers)
        self._cursor_count += 1
        locator = f"01g9h{self._cursor_count:010d}IAA"
        cursor = _Cursor(query, rows, batch)
        if len(rows) > batch:
            self._cursors[locator] = cursor
            while len(self._cursors) > CURSORS_KEPT:
                self._cursors.popitem(last=False)
        return self._render(request, version, verb, locator, cursor, 0)

    def _batch_size(self, headers: Mapping[str, str]) -> int:
        for option in headers.get("sforce-query-options", "").split(","):
            name, _, value = option.strip().partition("=")
            if name.lower() == "batchsize" and value.isdigit():
                return min(max(int(value), QUERY_BATCH_MINIMUM), QUERY_BATCH_DEFAULT)
        return QUERY_BATCH_DEFAULT

    def _page(self, request: Request, version: str, verb: str, locator: str) -> Response:
        key, _, start = locator.partition("-")
        cursor = self._cursors.get(key)
        if cursor is None or not start.isdigit():
            raise ApiError("INVALID_QUERY_LOCATOR", "invalid query locator")
        return self._render(request, version, verb, key, cursor, int(start))

    def _render(
        self, request: Request, version: str, verb: str, locator: str, cursor: _Cursor, start: int
    ) -> Response:
        end = start + cursor.batch
        page = cursor.rows[start:end]
        request.scope.setdefault("sandbox", {})["rows"] = len(page)
        answer: Row = {
            "totalSize": len(cursor.rows),
            "done": end >= len(cursor.rows),
            "records": [
                _shown(version, cursor.query.sobject, row, cursor.query.fields) for row in page
            ],
        }
        if not answer["done"]:
            answer["nextRecordsUrl"] = f"/services/data/{version}/{verb}/{locator}-{end}"
        return _json(answer)

    def _bulk(
        self, request: Request, version: str, rest: list[str], user: str, body: bytes
    ) -> Response:
        given = _object(body) if request.method in ("POST", "PATCH") else {}
        answer = self.bulk.answer(request.method, version, rest, user, given, request.query_params)
        if isinstance(answer, BulkAnswer):
            return Response(
                answer.content, answer.status, answer.headers, "text/csv; charset=UTF-8"
            )
        if answer is None:
            return Response(status_code=204)
        return _json(answer)

    # ---- rows ---------------------------------------------------------------------------------

    def _row(
        self, request: Request, version: str, sobject: str, record_id: str, user: str, body: bytes
    ) -> Response:
        match request.method:
            case "GET":
                record = self.store.get(sobject, record_id)
                if record is None or record.get("IsDeleted"):
                    raise ApiError(
                        "ENTITY_IS_DELETED" if record else "NOT_FOUND",
                        "entity is deleted" if record else "The requested resource does not exist",
                    )
                return _json(_shown(version, sobject, record, _asked_fields(request, sobject)))
            case "PATCH":
                row = _object(body)
                if "Id" in row:
                    raise ApiError(
                        "INVALID_FIELD", "The Id field should not be specified in the sobject data."
                    )
                results = self.store.update([(sobject, record_id, row)], user)
            case "DELETE":
                results = self.store.delete([(sobject, record_id)], user)
            case _:
                raise ApiError(
                    "METHOD_NOT_ALLOWED", f"HTTP Method '{request.method}' not allowed", (), 405
                )
        [result] = self._rows(request, results)
        return _single(result, created=201, updated=204)

    def _external_row(
        self,
        request: Request,
        version: str,
        sobject: str,
        field: str,
        value: str,
        user: str,
        body: bytes,
    ) -> Response:
        name = _external_field(sobject, field)
        match request.method:
            case "GET":
                record = self.store.find(sobject, name, value)
                if record is None:
                    raise ApiError("NOT_FOUND", "The requested resource does not exist")
                return _json(_shown(version, sobject, record, _asked_fields(request, sobject)))
            case "PATCH":
                row = _object(body)
                if name in row or "Id" in row:
                    wrong = name if name in row else "Id"
                    raise ApiError(
                        "INVALID_FIELD",
                        f"The {wrong} field should not be specified in the sobject data.",
                    )
                only = request.query_params.get("updateOnly", "").lower() == "true"
                [result] = self._rows(
                    request,
                    self.store.upsert(
                        sobject, name, [{**row, name: value}], user, update_only=only
                    ),
                )
                if result.success:
                    return _json(
                        _row_result(result, with_created=True), 201 if result.created else 200
                    )
                return _single(result, created=201, updated=200)
            case "DELETE":
                record = self.store.find(sobject, name, value)
                if record is None:
                    raise ApiError("NOT_FOUND", "The requested resource does not exist")
                [result] = self._rows(
                    request, self.store.delete([(sobject, str(record["Id"]))], user)
                )
                return _single(result, created=201, updated=204)
        raise ApiError("METHOD_NOT_ALLOWED", f"HTTP Method '{request.method}' not allowed", (), 405)

    # ---- collections --------------------------------------------------------------------------

    def _collection(
        self, request: Request, version: str, rest: list[str], user: str, body: bytes
    ) -> Response:
        match request.method, rest:
            case "PATCH", [name, field]:
                sobject = _sobject(name)
                external = _external_field(sobject, field)
                rows, all_or_none = _records(body)
                wrong = [row for row in rows if _type_of(row) != sobject]
                if wrong:
                    raise ApiError(
                        "INVALID_FIELD", f"all records must be of type {sobject}, as the URI says"
                    )
                results = self.store.upsert(sobject, external, rows, user, all_or_none)
                return _json(
                    [_row_result(row, with_created=True) for row in self._rows(request, results)]
                )
            case "PATCH", []:
                rows, all_or_none = _records(body)
                results = self.store.update(
                    [
                        (_type_of(row), str(row.get("Id") or row.get("id") or ""), row)
                        for row in rows
                    ],
                    user,
                    all_or_none,
                )
            case "POST", []:
                rows, all_or_none = _records(body)
                results = []
                types = {_type_of(row) for row in rows}
                if len(types) == 1:
                    results = self.store.create(types.pop(), rows, user, all_or_none)
                else:
                    # Mixed types come in chunks, each inserted by itself.
                    for row in rows:
                        results += self.store.create(_type_of(row), [row], user)
            case "DELETE", []:
                ids = [part for part in request.query_params.get("ids", "").split(",") if part]
                _check_size(len(ids))
                targets = [
                    (_SOBJECT_OF_PREFIX.get(record_id[:3], "Lead"), record_id) for record_id in ids
                ]
                results = self.store.delete(targets, user)
            case "GET" | "POST", [name]:
                return self._retrieve(request, version, _sobject(name), body)
            case _:
                raise ApiError("NOT_FOUND", "The requested resource does not exist")
        return _json([_row_result(row, with_created=False) for row in self._rows(request, results)])

    def _retrieve(self, request: Request, version: str, sobject: str, body: bytes) -> Response:
        """Records by id, null where there is none ("Get Records Using sObject Collections"; ≤ 2000
        ids)."""
        if request.method == "POST":
            asked = _object(body)
            ids, fields = list(asked.get("ids", [])), list(asked.get("fields", []))
        else:
            ids = request.query_params.get("ids", "").split(",")
            fields = request.query_params.get("fields", "").split(",")
        if len(ids) > 2_000:
            raise ApiError(
                "EXCEEDED_ID_LIMIT", "record limit reached. cannot retrieve more than 2000 records"
            )
        names = []
        for field in fields:
            known = field_name(sobject, str(field))
            if known is None:
                raise ApiError(
                    "INVALID_FIELD", f"No such column '{field}' on sobject of type {sobject}"
                )
            names.append(known)
        found = [self.store.get(sobject, str(record_id)) for record_id in ids]
        request.scope.setdefault("sandbox", {})["rows"] = len(found)
        return _json(
            [
                None
                if row is None or row.get("IsDeleted")
                else _shown(version, sobject, row, names)
                for row in found
            ]
        )


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json;charset=UTF-8")


def _sobject(name: str) -> str:
    known = sobject_name(name)
    if known is None:
        raise ApiError("NOT_FOUND", "The requested resource does not exist")
    return known


def _external_field(sobject: str, field: str) -> str:
    name = field_name(sobject, field)
    if name is None or not SCHEMA[sobject][name].external_id:
        raise ApiError(
            "NOT_FOUND", f"Provided external ID field does not exist or is not accessible: {field}"
        )
    return name


def _asked_fields(request: Request, sobject: str) -> Sequence[str]:
    asked = request.query_params.get("fields")
    if not asked:
        return list(SCHEMA[sobject])
    names = []
    for field in asked.split(","):
        known = field_name(sobject, field.strip())
        if known is None:
            raise ApiError(
                "INVALID_FIELD", f"No such column '{field}' on sobject of type {sobject}"
            )
        names.append(known)
    return names


def _shown(version: str, sobject: str, row: Row, fields: Sequence[str]) -> Row:
    url = f"/services/data/{version}/sobjects/{sobject}/{row['Id']}"
    return {"attributes": {"type": sobject, "url": url}} | {name: row.get(name) for name in fields}


def _object(body: bytes) -> Row:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(
            "JSON_PARSER_ERROR", f"The HTTP entity body is not valid JSON: {error}"
        ) from None
    if not isinstance(content, dict):
        raise ApiError("JSON_PARSER_ERROR", "The HTTP entity body must be a JSON object")
    return content


def _records(body: bytes) -> tuple[list[Row], bool]:
    content = _object(body)
    rows = content.get("records")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ApiError("INVALID_INPUT", "the request needs a list `records` of sObjects")
    _check_size(len(rows))
    return rows, content.get("allOrNone") is True


def _check_size(count: int) -> None:
    if count > COLLECTION_LIMIT:
        raise ApiError(
            "EXCEEDED_ID_LIMIT",
            f"record limit reached. cannot submit more than {COLLECTION_LIMIT} records in "
            "this call",
        )


def _type_of(row: Row) -> str:
    attributes = row.get("attributes")
    name = attributes.get("type") if isinstance(attributes, dict) else None
    if not name:
        raise ApiError("INVALID_INPUT", "each record needs an attributes map with a value for type")
    return _sobject(str(name))


def _row_result(result: Written, with_created: bool) -> Row:
    """One SaveResult or UpsertResult; a refused row carries no id."""
    shown: Row = {
        "success": result.success,
        "errors": [
            {"statusCode": error.code, "message": error.message, "fields": list(error.fields)}
            for error in result.errors
        ],
    }
    if result.id is not None:
        shown["id"] = result.id
    if with_created:
        shown["created"] = result.created
    return shown


def _single(result: Written, created: int, updated: int) -> Response:
    if not result.success:
        first = result.errors[0]
        errors = [
            {"message": error.message, "errorCode": error.code, "fields": list(error.fields)}
            for error in result.errors
        ]
        return _json(errors, STATUS.get(first.code, 400))
    if updated == 204 and not result.created:
        return Response(status_code=204)
    shown: Row = {"id": result.id, "success": True, "errors": []}
    return _json(shown, created if result.created else updated)

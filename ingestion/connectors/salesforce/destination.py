"""Writes to Salesforce and reads back through simple-salesforce; outbound decides what and when."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

from ingestion.errors.catalog import HandoffError
from ingestion.outbound.destination import (
    Answer,
    DestinationFault,
    FaultKind,
    Reference,
    RowOutcome,
    Usage,
)
from ingestion.outbound.plan import Operation
from ingestion.settings import Settings

if TYPE_CHECKING:
    import requests
    from simple_salesforce.api import Salesforce
    from simple_salesforce.exceptions import SalesforceError

T = TypeVar("T")

SYSTEM = "salesforce"
# sObject Collections take 200 records a request, answered in its order: REST API Developer Guide,
# "sObject Collections", https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest
BATCH_SIZE = 200
# Salesforce refuses addresses above 16,384 bytes, and a query travels in the address.
QUERY_BYTES = 8_000
CONNECT_SECONDS, ANSWER_SECONDS = 10.0, 60.0
LOOPBACK = ("127.0.0.1", "::1", "localhost")

ROW_CODES = {
    "UNABLE_TO_LOCK_ROW": "UPSTREAM_LOCKED",
    "SERVER_UNAVAILABLE": "UPSTREAM_UNAVAILABLE",
    "NOT_FOUND": "NOT_FOUND",
    "ENTITY_IS_DELETED": "NOT_FOUND",
    "INVALID_CROSS_REFERENCE_KEY": "NOT_FOUND",
    "MALFORMED_ID": "NOT_FOUND",
    "DUPLICATES_DETECTED": "DUPLICATE_RECORD",
    "DUPLICATE_VALUE": "DUPLICATE_RECORD",
    "DUPLICATE_EXTERNAL_ID": "DUPLICATE_RECORD",
    "INSUFFICIENT_ACCESS": "SCOPE_DENIED",
    "INSUFFICIENT_ACCESS_OR_READONLY": "SCOPE_DENIED",
    "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY": "SCOPE_DENIED",
    "API_DISABLED_FOR_ORG": "SCOPE_DENIED",
    "API_CURRENTLY_DISABLED": "SCOPE_DENIED",
    "RESTRICTED_PICKLIST": "FIELD_MISMATCH",
    "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST": "FIELD_MISMATCH",
    "STRING_TOO_LONG": "FIELD_MISMATCH",
    "REQUIRED_FIELD_MISSING": "FIELD_MISMATCH",
    "INVALID_EMAIL_ADDRESS": "FIELD_MISMATCH",
    "NUMBER_OUTSIDE_VALID_RANGE": "FIELD_MISMATCH",
    "JSON_PARSER_ERROR": "FIELD_MISMATCH",
    "FIELD_INTEGRITY_EXCEPTION": "FIELD_MISMATCH",
    "EXCEEDED_ID_LIMIT": "PAYLOAD_TOO_LARGE",
}
"""Salesforce's status codes to ours; INVALID_FIELD* and INVALID_TYPE* are FIELD_MISMATCH and others
UPSTREAM_REJECTED. SOAP API Developer Guide, "Core Data Types Used in API Calls", StatusCode."""


def open_destination(settings: Settings) -> SalesforceDestination:
    """The destination of the settings; connects on first use.

    Raises:
        HandoffError: SYSTEM_NOT_CONFIGURED naming the missing variables, or that the address is not
            https.
    """
    missing = [
        f"HANDOFF_{name.upper()}"
        for name in ("salesforce_url", "salesforce_client_id", "salesforce_client_secret")
        if not getattr(settings, name)
    ]
    if missing:
        raise HandoffError("SYSTEM_NOT_CONFIGURED", f"salesforce needs {', '.join(missing)}")
    assert settings.salesforce_url and settings.salesforce_client_id
    assert settings.salesforce_client_secret
    return SalesforceDestination(
        url=settings.salesforce_url,
        client_id=settings.salesforce_client_id,
        client_secret=settings.salesforce_client_secret.get_secret_value(),
        api_version=settings.salesforce_api_version,
    )


class SalesforceDestination:
    """Leads and tasks by external id or Id, in sObject Collections of 200 with allOrNone false.

    Credentials are those of the OAuth 2.0 client-credentials flow. Plain http is taken for loopback
    only.
    """

    system = SYSTEM
    batch_size = BATCH_SIZE
    references: Mapping[str, Reference] = {
        "Task": Reference("WhoId", "Lead", "Handoff_Person_Id__c"),
    }

    def __init__(
        self,
        *,
        url: str,
        client_id: str,
        client_secret: str,
        api_version: str,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        """Keeps the parameters; `answer_seconds` is how long one request may take to answer."""
        self._url = _safe_url(url)
        self._client_id = client_id
        self._client_secret = client_secret
        self._api_version = api_version
        self._timeout = (min(CONNECT_SECONDS, answer_seconds), answer_seconds)
        self._client: Salesforce | None = None
        self._usage: Usage | None = None
        self._retry_after: float | None = None

    @property
    def usage(self) -> Usage | None:
        """Calls of the last 24 hours as Sforce-Limit-Info last said."""
        return self._usage

    def write(self, operations: Sequence[Operation]) -> list[RowOutcome]:
        """One sObject Collections call: upsert by external id, or update by Id; outcomes in order.

        A record carries its key and the payload, nothing else. Raises DestinationFault.
        """
        first = operations[0]
        records = [self._record(operation) for operation in operations]
        path = "composite/sobjects"
        if first.action == "upsert":
            path += f"/{quote(first.object, safe='')}/{quote(first.external_id_field, safe='')}"
        body = json.dumps({"allOrNone": False, "records": records})
        answer = self._call(
            lambda client: client.restful(
                path, method="PATCH", data=body, timeout=self._timeout, allow_redirects=False
            )
        )
        rows = answer if isinstance(answer, list) else []
        return [_outcome(row) for row in rows]

    def read(
        self, object_name: str, fields: Collection[str], by: str, keys: Collection[str]
    ) -> dict[str, dict[str, Any]]:
        """The records whose `by` is one of `keys`, by key, with SOQL IN lists short enough for an
        address.
        """
        from simple_salesforce.format import format_soql

        columns = ", ".join(_name(field) for field in sorted({*fields, "Id", by}))
        # External ids match without regard to case; the answer is filed under the key as it was
        # asked for.
        asked = {key.casefold(): key for key in keys}
        found: dict[str, dict[str, Any]] = {}
        for part in _parts(sorted(set(keys))):
            soql = format_soql(
                f"SELECT {columns} FROM {_name(object_name)} WHERE {_name(by)} IN {{}}", part
            )
            answer: Any = self._call(
                lambda client, soql=soql: client.query(  # type: ignore[misc]
                    soql, timeout=self._timeout, allow_redirects=False
                )
            )
            if not isinstance(answer, dict) or not isinstance(answer.get("records"), list):
                raise DestinationFault(
                    FaultKind.UNKNOWN,
                    "UPSTREAM_UNAVAILABLE",
                    "a query got no records",
                )
            # One page is all: a batch asks for 200 unique keys, and a page holds 2,000 records.
            for record in answer["records"]:
                key = asked.get(str(record[by]).casefold())
                if key is not None:
                    found[key] = {name: record[name] for name in record if name != "attributes"}
        return found

    def check(self) -> list[str]:
        """Whether credentials work and the external-id fields exist; a sentence per problem."""
        problems = []
        for object_name, field in (
            ("Lead", "Handoff_Person_Id__c"),
            ("Task", "Handoff_Task_Key__c"),
        ):
            try:
                self.read(object_name, [], field, ["handoff-check"])
            except DestinationFault as fault:
                if fault.kind is not FaultKind.REJECTED:
                    return [f"{self._url}: {fault.code}: {fault.message}"]
                problems.append(
                    f"{object_name}.{field} cannot be read ({fault.message});"
                    " add it as a unique external id, readable and writable for this user"
                )
        return problems

    # -- requests ------------------------------------------------------------------------------

    def _record(self, operation: Operation) -> dict[str, Any]:
        if "Id" in operation.payload:
            raise ValueError(f"{operation.operation_id}: payload may not contain Id")
        key = {operation.key_field: operation.key}
        if operation.action == "update":
            key = {"id": operation.key}
        return {"attributes": {"type": operation.object}, **operation.payload, **key}

    def _call(self, request: Callable[[Salesforce], T]) -> T:
        """Sends one request, with a new session once if the old one is refused; raises
        DestinationFault.
        """
        import requests
        from simple_salesforce.exceptions import SalesforceError, SalesforceExpiredSession

        for is_last in (False, True):
            self._retry_after = None
            try:
                if self._client is None:
                    self._client = self._connect()
                answer = request(self._client)
            except SalesforceExpiredSession as error:
                self._client = None
                if is_last:
                    raise DestinationFault(FaultKind.STOP, "AUTH_EXPIRED", _text(error)) from error
                continue
            except SalesforceError as error:
                raise self._fault(error) from error
            except requests.RequestException as error:
                raise _network_fault(error) from error
            usage = self._client.api_usage.get("api-usage")
            if usage is not None:
                self._usage = Usage(usage.used, usage.total)
            return answer
        raise AssertionError("unreachable")

    def _connect(self) -> Salesforce:
        import requests
        from simple_salesforce.api import Salesforce

        session = requests.Session()
        # A .netrc entry would replace the bearer token, and a proxy has no business with loopback.
        session.trust_env = urlsplit(self._url).hostname not in LOOPBACK
        session.hooks["response"].append(self._note)
        answer = session.post(
            f"{self._url}/services/oauth2/token",
            data={
                "grant_type": "client_credentials",
                "client_id": self._client_id,
                "client_secret": self._client_secret,
            },
            timeout=self._timeout,
            allow_redirects=False,
        )
        if answer.status_code >= 500 or answer.status_code == 429:
            raise DestinationFault(
                FaultKind.NOT_WRITTEN,
                "RATE_LIMITED" if answer.status_code == 429 else "UPSTREAM_UNAVAILABLE",
                f"token request answered {answer.status_code}",
                retry_after_seconds=self._retry_after,
            )
        token = answer.json().get("access_token") if answer.status_code == 200 else None
        if not token:
            # The body is left out: it may repeat what was sent.
            raise DestinationFault(
                FaultKind.STOP,
                "AUTH_EXPIRED",
                f"{self._url} refused the client credentials ({answer.status_code});"
                " check HANDOFF_SALESFORCE_CLIENT_ID and HANDOFF_SALESFORCE_CLIENT_SECRET",
            )
        client = Salesforce(
            session_id=token,
            instance_url=self._url,
            version=self._api_version,
            session=session,
            object_pairs_hook=None,
        )
        # simple-salesforce builds https addresses without a path; a sandbox has neither TLS nor the
        # root.
        client.base_url = f"{self._url}/services/data/v{self._api_version}/"
        return client

    def _note(self, answer: requests.Response, *_: Any, **__: Any) -> None:
        self._retry_after = _seconds(answer.headers.get("Retry-After"))

    def _fault(self, error: SalesforceError) -> DestinationFault:
        text = _text(error)
        name = _status_code(error)
        status = error.status
        asked = self._retry_after
        if status == 429 or (name == "REQUEST_LIMIT_EXCEEDED" and "concurrent" in text.lower()):
            return DestinationFault(
                FaultKind.NOT_WRITTEN, "RATE_LIMITED", text, retry_after_seconds=asked
            )
        if name == "REQUEST_LIMIT_EXCEEDED":
            return DestinationFault(FaultKind.STOP, "QUOTA_EXHAUSTED", text)
        if status >= 500:
            # A gateway may say 503 for a request that the system behind it still carries out.
            return DestinationFault(
                FaultKind.UNKNOWN, "UPSTREAM_UNAVAILABLE", text, retry_after_seconds=asked
            )
        if status == 403:
            return DestinationFault(FaultKind.STOP, "SCOPE_DENIED", text)
        if status == 300:
            return DestinationFault(FaultKind.REJECTED, "DUPLICATE_RECORD", text)
        if status == 413:
            return DestinationFault(FaultKind.REJECTED, "PAYLOAD_TOO_LARGE", text)
        if status == 404:
            code = "FIELD_MISMATCH" if name.startswith("INVALID") else "NOT_FOUND"
            return DestinationFault(FaultKind.REJECTED, code, text, is_divisible=False)
        return DestinationFault(FaultKind.REJECTED, _code(name), text)


def _outcome(row: Any) -> RowOutcome:
    if not isinstance(row, dict):
        return RowOutcome(Answer.UNKNOWN, code="SILENT_NOOP", message="no result for the row")
    if row.get("success"):
        return RowOutcome(Answer.WRITTEN, record_id=row.get("id"), created=row.get("created"))
    errors = row.get("errors") or [{}]
    name = str(errors[0].get("statusCode") or "")
    fields = ", ".join(errors[0].get("fields") or [])
    message = f"{name}: {errors[0].get('message') or 'no message'}" + (
        f" ({fields})" if fields else ""
    )
    code = _code(name)
    answer = Answer.REFUSED
    if code in ("UPSTREAM_LOCKED", "UPSTREAM_UNAVAILABLE"):
        answer = Answer.TRY_AGAIN
    elif name == "DUPLICATE_VALUE":
        # Two requests for one external id met, e.g. one that we had given up on: look what stands
        # there.
        answer = Answer.UNKNOWN
    return RowOutcome(answer, code=code, message=message)


def _code(name: str) -> str:
    if name.startswith(("INVALID_FIELD", "INVALID_TYPE")):
        return "FIELD_MISMATCH"
    return ROW_CODES.get(name, "UPSTREAM_REJECTED")


def _network_fault(error: requests.RequestException) -> DestinationFault:
    import requests
    from urllib3.exceptions import NewConnectionError

    cause = error.args[0] if error.args else None
    reason = getattr(cause, "reason", cause)
    if isinstance(error, requests.ConnectTimeout) or isinstance(reason, NewConnectionError):
        return DestinationFault(
            FaultKind.NOT_WRITTEN, "UPSTREAM_UNAVAILABLE", f"no connection: {type(error).__name__}"
        )
    return DestinationFault(
        FaultKind.UNKNOWN, "UNKNOWN_OUTCOME", f"connection broke: {type(error).__name__}"
    )


def _status_code(error: SalesforceError) -> str:
    content: Any = error.content
    if isinstance(content, list) and content and isinstance(content[0], dict):
        return str(content[0].get("errorCode") or "")
    return ""


def _text(error: SalesforceError) -> str:
    content: Any = error.content
    if isinstance(content, list) and content and isinstance(content[0], dict):
        return f"{content[0].get('errorCode')}: {content[0].get('message')}"
    return f"HTTP {error.status}"


def _safe_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return url.rstrip("/")
    if parts.scheme == "http" and parts.hostname in LOOPBACK:
        return url.rstrip("/")
    raise HandoffError(
        "SYSTEM_NOT_CONFIGURED",
        f"HANDOFF_SALESFORCE_URL is {url!r}: credentials go over https only, save to loopback",
        remedy="Give the org's https address, e.g. https://acme.my.salesforce.com.",
    )


def _seconds(value: str | None) -> float | None:
    """Retry-After as seconds: a number, or an HTTP date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def _name(name: str) -> str:
    if not name.replace("_", "").isalnum() or not name.isascii():
        raise ValueError(f"{name!r} is no Salesforce name")
    return name


def _parts(keys: Sequence[str]) -> Iterator[list[str]]:
    part: list[str] = []
    size = 0
    for key in keys:
        length = len(quote(key, safe="")) + len("%27%27%2C")
        if part and size + length > QUERY_BYTES:
            yield part
            part, size = [], 0
        part.append(key)
        size += length
    if part:
        yield part

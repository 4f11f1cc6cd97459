"""The Salesforce destination without a Salesforce: addresses, error map, queries."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from pydantic import SecretStr
from simple_salesforce.exceptions import SalesforceGeneralError, SalesforceMalformedRequest

from ingestion.connectors.salesforce.destination import (
    SalesforceDestination,
    _network_fault,
    _outcome,
    _parts,
    _seconds,
    open_destination,
)
from ingestion.errors.catalog import HandoffError, catalog
from ingestion.outbound.destination import Answer, DestinationFault, FaultKind
from ingestion.outbound.plan import Operation
from ingestion.settings import Settings


def destination(url: str = "http://127.0.0.1:9/salesforce") -> SalesforceDestination:
    return SalesforceDestination(
        url=url, client_id="id", client_secret="secret", api_version="62.0", answer_seconds=1
    )


@pytest.mark.parametrize(
    "url", ["http://acme.my.salesforce.com", "http://127.0.0.1.example.com", "ftp://127.0.0.1", ""]
)
def test_credentials_never_leave_the_machine_unencrypted(url: str) -> None:
    with pytest.raises(HandoffError) as caught:
        destination(url)
    assert caught.value.code == "SYSTEM_NOT_CONFIGURED"


@pytest.mark.parametrize(
    "url", ["https://acme.my.salesforce.com/", "http://127.0.0.1:8322/salesforce", "http://[::1]:1"]
)
def test_https_and_loopback_are_taken(url: str) -> None:
    assert destination(url).usage is None


def test_missing_settings_are_named() -> None:
    settings = Settings(salesforce_url="https://acme.my.salesforce.com", salesforce_client_id="x")
    with pytest.raises(HandoffError, match="HANDOFF_SALESFORCE_CLIENT_SECRET") as caught:
        open_destination(settings)
    assert caught.value.code == "SYSTEM_NOT_CONFIGURED"
    whole = settings.model_copy(update={"salesforce_client_secret": SecretStr("s")})
    assert open_destination(whole).batch_size == 200


@pytest.mark.parametrize(
    ("name", "code", "answer"),
    [
        ("UNABLE_TO_LOCK_ROW", "UPSTREAM_LOCKED", Answer.TRY_AGAIN),
        ("INVALID_EMAIL_ADDRESS", "FIELD_MISMATCH", Answer.REFUSED),
        ("INVALID_FIELD_FOR_INSERT_UPDATE", "FIELD_MISMATCH", Answer.REFUSED),
        ("INVALID_TYPE_ON_FIELD_IN_RECORD", "FIELD_MISMATCH", Answer.REFUSED),
        ("REQUIRED_FIELD_MISSING", "FIELD_MISMATCH", Answer.REFUSED),
        ("DUPLICATES_DETECTED", "DUPLICATE_RECORD", Answer.REFUSED),
        ("DUPLICATE_VALUE", "DUPLICATE_RECORD", Answer.UNKNOWN),
        ("ENTITY_IS_DELETED", "NOT_FOUND", Answer.REFUSED),
        ("INSUFFICIENT_ACCESS_OR_READONLY", "SCOPE_DENIED", Answer.REFUSED),
        ("CANNOT_UPDATE_CONVERTED_LEAD", "UPSTREAM_REJECTED", Answer.REFUSED),
        ("", "UPSTREAM_REJECTED", Answer.REFUSED),
    ],
)
def test_a_refused_row_gets_a_code_of_the_catalog(name: str, code: str, answer: Answer) -> None:
    error = {"statusCode": name, "message": "why", "fields": ["Email"]}
    found = _outcome({"success": False, "errors": [error]})
    assert (found.code, found.answer) == (code, answer)
    assert found.message == f"{name}: why (Email)"
    assert code in catalog()


@pytest.mark.parametrize("row", [None, [], "yes"])
def test_a_row_without_a_result_is_unknown(row: Any) -> None:
    assert _outcome(row).answer is Answer.UNKNOWN


@pytest.mark.parametrize(
    ("status", "name", "text", "kind", "code"),
    [
        (403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit", FaultKind.STOP, "QUOTA_EXHAUSTED"),
        (
            403,
            "REQUEST_LIMIT_EXCEEDED",
            "ConcurrentRequests (Concurrent API Requests) Limit exceeded.",
            FaultKind.NOT_WRITTEN,
            "RATE_LIMITED",
        ),
        (403, "API_DISABLED_FOR_ORG", "", FaultKind.STOP, "SCOPE_DENIED"),
        (429, "REQUEST_LIMIT_EXCEEDED", "", FaultKind.NOT_WRITTEN, "RATE_LIMITED"),
        (500, "UNKNOWN_EXCEPTION", "", FaultKind.UNKNOWN, "UPSTREAM_UNAVAILABLE"),
        (503, "SERVER_UNAVAILABLE", "", FaultKind.UNKNOWN, "UPSTREAM_UNAVAILABLE"),
        (413, "", "", FaultKind.REJECTED, "PAYLOAD_TOO_LARGE"),
        (400, "EXCEEDED_ID_LIMIT", "", FaultKind.REJECTED, "PAYLOAD_TOO_LARGE"),
        (400, "INVALID_FIELD", "", FaultKind.REJECTED, "FIELD_MISMATCH"),
        (404, "NOT_FOUND", "", FaultKind.REJECTED, "NOT_FOUND"),
        (300, "", "", FaultKind.REJECTED, "DUPLICATE_RECORD"),
    ],
)
def test_a_failed_request_gets_a_code_and_says_whether_it_may_have_been_carried_out(
    status: int, name: str, text: str, kind: FaultKind, code: str
) -> None:
    content: Any = [{"errorCode": name, "message": text}]
    fault = destination()._fault(SalesforceGeneralError("http://x", status, "", content))
    assert (fault.kind, fault.code) == (kind, code)
    assert code in catalog()


def test_an_answer_that_is_no_json_does_not_break_the_error_map() -> None:
    content: Any = "<html>bad gateway</html>"
    fault = destination()._fault(SalesforceMalformedRequest("http://x", 502, "", content))
    assert (fault.kind, fault.message) == (FaultKind.UNKNOWN, "HTTP 502")


def test_a_port_where_nobody_listens_means_that_nothing_was_written() -> None:
    operation = Operation(
        "o1", "Lead", "upsert", "Handoff_Person_Id__c", "p1", None, "p1", {"LastName": "x"}, {}
    )
    with pytest.raises(DestinationFault) as caught:
        destination().write([operation])
    assert caught.value.kind is FaultKind.NOT_WRITTEN
    assert caught.value.code == "UPSTREAM_UNAVAILABLE"
    assert (
        destination().check()[0].startswith("http://127.0.0.1:9/salesforce: UPSTREAM_UNAVAILABLE")
    )


@pytest.mark.parametrize(
    "error",
    [
        requests.ReadTimeout("slow"),
        requests.ConnectionError("aborted"),
        requests.exceptions.ChunkedEncodingError("cut"),
        requests.exceptions.InvalidJSONError("half"),
    ],
)
def test_a_connection_that_broke_leaves_the_outcome_unknown(
    error: requests.RequestException,
) -> None:
    fault = _network_fault(error)
    assert (fault.kind, fault.code) == (FaultKind.UNKNOWN, "UNKNOWN_OUTCOME")


def test_retry_after_is_read_as_seconds_or_as_a_date() -> None:
    assert _seconds("7") == 7.0
    assert _seconds("-1") == 0.0
    assert _seconds("Thu, 01 Jan 1970 00:00:00 GMT") == 0.0
    assert (_seconds("Fri, 31 Dec 2100 00:00:00 GMT") or 0) > 1e9
    assert _seconds(None) is None
    assert _seconds("soon") is None


def test_keys_are_split_so_that_a_query_fits_an_address() -> None:
    keys = [f"{number:036d}" for number in range(1_000)]
    parts = list(_parts(keys))
    assert [key for part in parts for key in part] == keys
    assert all(sum(len(key) + 9 for key in part) <= 8_000 for part in parts)
    assert len(parts) == 6


def test_names_that_could_break_out_of_a_query_are_refused() -> None:
    with pytest.raises(ValueError, match="no Salesforce name"):
        destination().read("Lead", ["Id FROM User--"], "Id", ["00Q"])

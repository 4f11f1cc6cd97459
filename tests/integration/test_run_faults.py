"""`handoff run` while the sandbox misbehaves: the CRM ends up as if nothing had happened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

UPSERT = "/salesforce/services/data/{version}/composite/sobjects/{object}/{field}"


def _leads(company: Any) -> set[tuple[str, ...]]:
    rows = company.soql(
        "SELECT Handoff_Person_Id__c, Email, OwnerId FROM Lead WHERE Handoff_Person_Id__c != null"
    )
    assert len({row["Handoff_Person_Id__c"] for row in rows}) == len(rows)
    return {(row["Handoff_Person_Id__c"], str(row["Email"]), row["OwnerId"]) for row in rows}


def _tasks(company: Any) -> list[str]:
    rows = company.soql("SELECT Handoff_Task_Key__c FROM Task WHERE Handoff_Task_Key__c != null")
    return sorted(row["Handoff_Task_Key__c"] for row in rows)


@pytest.mark.prove
def test_a_company_that_misbehaves_ends_as_the_one_that_does_not(
    ran: Any, start_company: Callable[[str], Any]
) -> None:
    company = start_company("misbehaving")
    faults: list[dict[str, Any]] = [
        {"kind": "partial", "path_prefix": UPSERT, "every": 3, "times": 1},
        {"kind": "timeout", "path_prefix": UPSERT, "seconds": 0.2, "after_commit": True},
        {"kind": "malformed", "path_prefix": "/hubspot/crm/objects/{version}/{kind}/search"},
        {"kind": "reset", "path_prefix": "/calendar"},
        {"kind": "slow", "path_prefix": "/hubspot/events", "seconds": 0.5},
        {"path_prefix": "/hubspot", "status": 429, "retry_after": 1, "times": 2},
        {"path_prefix": "/salesforce", "method": "GET", "rate": 0.1},
    ]
    for fault in faults:
        answer = httpx.post(f"{company.url}/sandbox/faults", json=fault)
        assert answer.status_code == 201, answer.text
    for _ in range(4):
        last = company.handoff(*ran.arguments)
        if last.code == 0 and not company.rows(
            "select 1 from marts.fct_pushes where not is_confirmed"
        ):
            break
    assert last.code == 0, last.err
    met = {row["fault"] for row in company.requests() if row["is_fault"]}
    assert met == {"partial", "timeout", "malformed", "reset", "slow", "status"}
    assert _leads(company) == _leads(ran.company)
    assert _tasks(company) == _tasks(ran.company)

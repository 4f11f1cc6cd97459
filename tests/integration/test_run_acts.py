"""What personas do reaches the warehouse and the CRM: by webhook through the edge, or by the next poll."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

NEWEST = "order by occurred_at desc limit 1"


@dataclass(frozen=True)
class After:
    """The company after everybody acted and Handoff ran; `people` by persona before they did."""

    company: Any
    people: dict[str, str]
    merged_into: str


def _person(company: Any, record_id: str) -> str:
    [(person,)] = company.rows(
        "select person_id from marts.entity_map where system = 'hubspot' and record_id = ? and is_current",
        record_id,
    )
    return str(person)


@pytest.fixture(scope="module")
def after(start_company: Callable[..., Any]) -> Iterator[After]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    company = start_company("acting", edge_url=f"http://127.0.0.1:{port}")
    edge = company.start("serve", "--port", str(port))
    try:
        assert company.handoff("run").code == 0
        told = httpx.get(f"{company.url}/sandbox/personas").json()["personas"]
        people = {row["name"]: _person(company, row["records"][0]["record_id"]) for row in told}

        def act(name: str, action: str, **option: str) -> dict[str, Any]:
            answer = httpx.post(
                f"{company.url}/sandbox/personas/{name}/act", json={"action": action, **option}
            )
            assert answer.status_code == 201, answer.text
            return dict(answer.json())

        act("competitor", "submit_form", form="demo_request")
        act("student", "visit", page="/pricing")
        act("opted_out", "give_consent")
        act("student", "change_job", job_title="Consultant")
        act("buyer", "book_meeting")
        act("buyer", "withdraw_consent")
        [change] = act("duplicate", "merge")["changes"]
        deadline = time.monotonic() + 30
        while {
            row["state"] for row in httpx.get(f"{company.url}/sandbox/webhooks").json()["webhooks"]
        } != {"delivered"}:
            assert time.monotonic() < deadline, "the webhooks were not delivered"
            time.sleep(0.1)
        again = company.handoff("run")
        assert again.code == 0, again.err
        yield After(company, people, change.split()[-1])
    finally:
        edge.send(15)


def _pushed(after: After, name: str) -> list[str]:
    rows = after.company.soql(
        f"SELECT Id FROM Lead WHERE Handoff_Person_Id__c = '{after.people[name]}'"
    )
    return [row["Id"] for row in rows]


def test_a_competitor_who_asks_has_a_score_and_is_nobodys_lead(after: After) -> None:
    person = after.people["competitor"]
    [(score, excluded_by)] = after.company.rows(
        "select total_score, excluded_by from marts.fct_scores where person_id = ?", person
    )
    assert score >= 60 and excluded_by == "competitor"
    assert after.company.rows("from marts.fct_mqls where person_id = ?", person) == []
    assert _pushed(after, "competitor") == []
    said = after.company.handoff("explain", person)
    assert "excluded, so no MQL: Works for a competitor (competitor@v1)" in said.out


def test_who_gives_consent_again_is_pushed(after: After) -> None:
    assert len(_pushed(after, "opted_out")) == 1
    holds = after.company.rows(
        "select 1 from ops.consent_holds where person_id = ?", after.people["opted_out"]
    )
    assert holds == []


def test_who_withdraws_consent_stays_a_lead_and_is_held_from_then_on(after: After) -> None:
    [(status,)] = after.company.rows(
        f"select status from marts.fct_consents where person_id = ? and channel = 'email' {NEWEST}",
        after.people["buyer"],
    )
    assert status in ("withdrawn", "denied")
    assert len(_pushed(after, "buyer")) == 1
    assert after.company.rows(
        "select 1 from ops.consent_holds where person_id = ?", after.people["buyer"]
    )


def test_a_merge_keeps_the_person_and_makes_no_second_lead(after: After) -> None:
    assert _person(after.company, after.merged_into) == after.people["duplicate"]
    assert len(_pushed(after, "duplicate")) == 1


def test_a_changed_job_a_visit_and_a_meeting_are_known(after: After) -> None:
    [(title,)] = after.company.rows(
        "select job_title from marts.dim_people where person_id = ?", after.people["student"]
    )
    assert title == "Consultant"
    [(visits,)] = after.company.rows(
        "select count(*) from marts.fct_activities where person_id = ? and url like '%/pricing'",
        after.people["student"],
    )
    assert visits == 1
    [(meetings,)] = after.company.rows(
        "select count(*) from marts.fct_meetings where person_id = ?", after.people["buyer"]
    )
    assert meetings == 1

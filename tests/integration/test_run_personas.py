"""`handoff run` on the simulated company: what must become of each named persona, and did."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from ingestion.sandbox.credentials import Tokens
from ingestion.sandbox.personas import PERSONAS, Persona


def _records(company: Any, each: Persona) -> list[tuple[str, str]]:
    truth = httpx.get(f"{company.url}/truth").json()["people"]
    [entry] = [row for row in truth if row.get("persona") == each.name]
    return [(row["system"], row["record_id"]) for row in entry["records"]]


def _events(company: Any, contact: str) -> list[dict[str, Any]]:
    answer = httpx.get(
        f"{company.url}/hubspot/events/2026-03/events",
        params={"objectType": "contact", "objectId": contact},
        headers={"authorization": f"Bearer {Tokens().hubspot_token}"},
    )
    return list(answer.json()["results"])


def _people(company: Any, each: Persona) -> set[str]:
    found = [
        company.rows(
            "select person_id from marts.entity_map where system = ? and record_id = ? and is_current",
            *record,
        )
        for record in _records(company, each)
    ]
    assert all(len(rows) == 1 for rows in found), (each.name, found)
    return {rows[0][0] for rows in found}


def _count(company: Any, table: str, people: set[str], more: str = "") -> int:
    marks = ", ".join("?" for _ in people)
    [(count,)] = company.rows(
        f"select count(distinct person_id) from {table} where person_id in ({marks}) {more}",
        *people,
    )
    return int(count)


@pytest.mark.parametrize("each", PERSONAS, ids=lambda each: each.name)
def test_a_persona_comes_to_what_is_expected_of_it(company: Any, each: Persona) -> None:
    people = _people(company, each)
    leads = company.soql(
        "SELECT Id, Handoff_Person_Id__c FROM Lead WHERE Handoff_Person_Id__c != null"
    )
    pushed = [row["Id"] for row in leads if row["Handoff_Person_Id__c"] in people]
    told = {
        "people": len(people),
        "is_mql": _count(company, "marts.fct_mqls", people) > 0,
        "is_assigned": _count(company, "marts.fct_assignments", people, "and rep_id is not null")
        > 0,
        "is_pushed": len(pushed) > 0,
    }
    assert told == {name: getattr(each.expected, name) for name in told}, each.expected.why
    assert len(pushed) <= 1


@pytest.mark.parametrize("each", PERSONAS, ids=lambda each: each.name)
def test_a_personas_consent_is_what_its_systems_say(company: Any, each: Persona) -> None:
    [hubspot] = {
        person
        for record in _records(company, each)
        if record[0] == "hubspot"
        for (person,) in company.rows(
            "select person_id from marts.entity_map where system = ? and record_id = ? and is_current",
            *record,
        )
    }
    stated = company.rows(
        "select status from marts.fct_consents where person_id = ? and channel = 'email' "
        "order by occurred_at desc limit 1",
        hubspot,
    )
    assert (stated[0][0] if stated else "unknown") == each.expected.consent


def test_who_is_held_back_for_want_of_consent_is_listed_with_the_reason(company: Any) -> None:
    for each in PERSONAS:
        held = _count(company, "ops.consent_holds", _people(company, each))
        assert bool(held) == (each.expected.is_assigned and not each.expected.is_pushed), each.name


def test_the_duplicate_is_scored_on_the_points_of_all_its_records(company: Any) -> None:
    [each] = [row for row in PERSONAS if row.name == "duplicate"]
    [person] = _people(company, each)
    points = dict(
        company.rows(
            "select activities.system_activity_id, sum(ledger.points) "
            "from marts.fct_score_ledger as ledger "
            "inner join marts.fct_activities as activities using (activity_id) "
            "where ledger.person_id = ? group by all",
            person,
        )
    )
    contacts = [record for system, record in _records(company, each) if system == "hubspot"]
    by_record = {
        contact: sum(points[event["id"]] for event in _events(company, contact))
        for contact in contacts
    }
    assert len(by_record) == 2
    [(score,)] = company.rows(
        "select score from marts.fct_mqls where person_id = ? order by reached_at limit 1", person
    )
    assert score >= 60 > max(by_record.values())


def test_the_lead_the_duplicate_already_has_is_used_and_no_second_one_made(company: Any) -> None:
    [each] = [row for row in PERSONAS if row.name == "duplicate"]
    [there] = [record for system, record in _records(company, each) if system == "salesforce"]
    [person] = _people(company, each)
    leads = company.soql(f"SELECT Id FROM Lead WHERE Handoff_Person_Id__c = '{person}'")
    assert [row["Id"] for row in leads] == [there]

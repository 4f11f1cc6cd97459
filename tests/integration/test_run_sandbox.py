"""`handoff run` on the simulated company: what the CRM holds afterwards, and that doing it again changes nothing."""

from __future__ import annotations

from collections import Counter
from typing import Any


def test_a_run_ends_well_and_says_where_it_is_published(ran: Any) -> None:
    assert ran.outcome.code == 0
    assert str(ran.company.settings.serving_path) in ran.outcome.out
    stages = [line for line in ran.outcome.err.splitlines() if line.startswith("… ")]
    for stage in ("polling hubspot", "transforming", "publishing the serving file"):
        assert f"… {stage}" in stages
    assert "Traceback" not in ran.outcome.err


def test_a_run_builds_the_pages_of_its_checks_and_says_where(ran: Any) -> None:
    pages = ran.company.settings.artifacts_dir / "data_docs" / "index.html"
    assert str(pages) in ran.outcome.out
    told = pages.read_text(encoding="utf-8")
    for table in ("raw_hubspot.contacts", "raw_salesforce.leads", "sync.sync_salesforce__leads"):
        assert table in told


def test_the_crm_holds_the_leads_of_the_assignments_that_consent_allows(company: Any) -> None:
    wanted = {
        person
        for (person,) in company.rows(
            "select distinct person_id from marts.fct_assignments where person_id not in "
            "(select person_id from ops.consent_holds where destination = 'salesforce')"
        )
    }
    assert len(wanted) > 10
    there = company.soql("SELECT Handoff_Person_Id__c FROM Lead WHERE Handoff_Person_Id__c != null")
    contacts = {
        person
        for (person,) in company.rows(
            "select person_id from marts.entity_map where system = 'salesforce' and record_type = 'contact' and is_current"
        )
    }
    leads = {row["Handoff_Person_Id__c"] for row in there}
    assert leads <= wanted
    # Who is a contact of the CRM already is not made a lead again.
    assert wanted - leads <= contacts


def test_nobody_without_consent_is_in_the_crm_by_our_doing(company: Any) -> None:
    held = {
        person
        for (person,) in company.rows(
            "select person_id from ops.consent_holds where destination = 'salesforce'"
        )
    }
    assert held
    there = company.soql("SELECT Handoff_Person_Id__c FROM Lead WHERE Handoff_Person_Id__c != null")
    assert held.isdisjoint(row["Handoff_Person_Id__c"] for row in there)


def test_every_person_is_one_lead_and_every_task_is_there_once(company: Any) -> None:
    leads = company.soql("SELECT Handoff_Person_Id__c FROM Lead WHERE Handoff_Person_Id__c != null")
    tasks = company.soql("SELECT Handoff_Task_Key__c FROM Task WHERE Handoff_Task_Key__c != null")
    for key, rows in (("Handoff_Person_Id__c", leads), ("Handoff_Task_Key__c", tasks)):
        assert len(rows) > 10
        assert set(Counter(row[key] for row in rows).values()) == {1}
    assert {row["Handoff_Task_Key__c"] for row in tasks} <= {
        key for (key,) in company.rows("select task_key from marts.fct_assignments")
    }


def test_every_write_was_read_back_and_recorded(company: Any) -> None:
    assert company.rows("select distinct status from marts.fct_pushes") == [("confirmed",)]
    leads = company.soql("SELECT Id FROM Lead WHERE Handoff_Person_Id__c != null")
    [(recorded,)] = company.rows(
        "select count(distinct record_id) from marts.fct_pushes where object = 'Lead' and is_confirmed"
    )
    assert recorded == len(leads)


def test_a_second_run_writes_nothing(ran: Any) -> None:
    company = ran.company
    before = company.marts()
    seen = max(row["number"] for row in company.requests())
    again = company.handoff(*ran.arguments, "--json")
    assert again.code == 0, again.err
    [batch] = again.json
    assert (batch["rows_landed"], batch["rows_pushed"], batch["failed_checks"]) == (0, 0, [])
    assert company.requests(seen)
    assert company.writes(seen) == []
    assert company.marts() == before


def test_a_plan_shows_nothing_when_the_crm_agrees(company: Any) -> None:
    planned = company.handoff("plan", "salesforce", "--json")
    assert planned.code == 0
    assert planned.json["operations"] == []
    applied = company.handoff("apply", planned.json["plan_id"], "--json")
    assert applied.code == 0
    assert applied.json["rows"] == []


def test_a_dry_run_of_a_plan_writes_nothing(company: Any) -> None:
    planned = company.handoff("plan", "salesforce", "--json").json
    seen = max(row["number"] for row in company.requests())
    assert company.handoff("apply", planned["plan_id"], "--dry-run", "--json").code == 0
    assert company.writes(seen) == []

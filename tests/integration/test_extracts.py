"""Real exports of HubSpot, Salesforce and Marketo through the shipped mappings into the warehouse: every row
is accounted for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ingestion.contracts.registry import RECORD_TABLES
from ingestion.landing.files import ingest
from ingestion.landing.ingest_report import FileReport

CONNECTORS = Path(__file__).parents[2] / "ingestion" / "connectors"
# How an export of the mapping's table is called.
FILES = {
    "hubspot": "{}_data.csv",
    "salesforce": "sf_{}_data.csv",
    "marketo": "marketo_{}_data.csv",
}
TABLES = {
    "hubspot/companies": "company", "hubspot/contact_merges": "contact_merge_audit",
    "hubspot/form_submissions": "contact_form_submission", "hubspot/email_opens": "email_event_open",
    "hubspot/email_clicks": "email_event_click", "salesforce/opportunities": "opportunity",
    "marketo/merge_leads": "activity_merge_leads", "marketo/delete_leads": "activity_delete_lead",
    "marketo/email_opens": "activity_open_email", "marketo/email_clicks": "activity_click_email",
    "marketo/email_sends": "activity_send_email",
    "marketo/email_unsubscribes": "activity_unsubscribe_email",
}  # fmt: skip


@dataclass(frozen=True)
class Extracts:
    """The warehouse after every export was ingested, landed and transformed."""

    warehouse: Any
    reports: dict[str, FileReport]
    lines: dict[str, int]


@pytest.fixture(scope="module")
def extracts(open_warehouse: Callable[..., Any], shared_data: Path) -> Extracts:
    import pandas as pd

    warehouse = open_warehouse()
    reports, lines = {}, {}
    for system, pattern in FILES.items():
        for mapping in sorted((CONNECTORS / system / "mappings").glob("*.yml")):
            name = f"{system}/{mapping.stem}"
            table = TABLES.get(name, mapping.stem.removesuffix("s"))
            path = shared_data / system / pattern.format(table)
            if not path.is_file():
                pytest.skip(f"the export {path} is not there")
            (reports[name],) = ingest(warehouse.settings, [path], mapping=name).files
            lines[name] = len(pd.read_csv(path, dtype=str, keep_default_na=False))
    warehouse.transform(datetime(2026, 1, 1, tzinfo=UTC))
    return Extracts(warehouse, reports, lines)


def test_every_row_of_every_export_is_accounted_for(extracts: Extracts) -> None:
    assert len(extracts.reports) == 29
    for name, report in extracts.reports.items():
        assert report.refused is None, name
        assert report.rows == extracts.lines[name] > 0, name
        found = (report.accepted, report.duplicate, report.conflict, report.quarantined)
        assert report.rows == sum(found), name


def test_what_was_accepted_is_in_the_raw_tables_and_what_was_not_in_rejections(
    extracts: Extracts,
) -> None:
    landed = {
        table: extracts.warehouse.rows(f"select count(*) from raw_events.{table}")[0][0]
        for table in (*RECORD_TABLES.values(), "rejections")
    }
    kept = sum(report.quarantined + report.conflict for report in extracts.reports.values())
    assert landed.pop("rejections") == kept > 0
    assert sum(landed.values()) == sum(report.accepted for report in extracts.reports.values())
    assert {table for table, count in landed.items() if count} >= {
        "contacts", "accounts", "opportunities", "activities", "reps", "meetings", "merges", "consents",
    }  # fmt: skip


def test_every_row_of_marketo_that_was_not_accepted_has_its_reason(extracts: Extracts) -> None:
    reports = {name: report for name, report in extracts.reports.items() if "marketo" in name}
    refused = {name: dict(report.reasons) for name, report in reports.items() if report.reasons}
    # Two e-mails were skipped, which is not sent; one merge does not say of whom.
    assert refused == {
        "marketo/email_sends": {"ENUM_UNKNOWN": 2},
        "marketo/merge_leads": {"SCHEMA_INVALID": 1},
    }
    assert extracts.warehouse.rows(
        "select count(*) from raw_events.rejections where message like '%skipped%'"
    ) == [(2,)]


def test_what_people_did_in_marketo_reaches_them(extracts: Extracts) -> None:
    counts = extracts.warehouse.rows(
        "select activity_type, count(*) from marts.fct_activities where system = 'marketo' group by all"
    )
    assert dict(counts) == {
        name: extracts.lines[f"marketo/{mapping}"] - refused
        for name, mapping, refused in (
            ("email_open", "email_opens", 0), ("email_click", "email_clicks", 0), ("email_sent", "email_sends", 2),
        )
    }  # fmt: skip
    gone = extracts.warehouse.rows(
        "select count(*) from marts.entity_map where system = 'marketo' and is_deleted and is_current"
    )
    assert gone == [(extracts.lines["marketo/delete_leads"],)]
    withdrawn = extracts.warehouse.rows(
        "select count(*) from marts.fct_consents where system = 'marketo' and status = 'withdrawn'"
    )
    assert withdrawn == [(extracts.lines["marketo/email_unsubscribes"],)]


def test_every_contact_of_the_exports_is_somebody(extracts: Extracts) -> None:
    missing = extracts.warehouse.rows(
        "select system, record_id from raw_events.contacts where (system, record_id) not in "
        "(select (system, record_id) from marts.entity_map where person_id is not null and is_current)"
    )
    assert missing == []
    people = extracts.warehouse.rows(
        "select count(distinct person_id), count(*) from marts.dim_people"
    )[0]
    assert people[0] == people[1] > 0


def test_an_engagement_of_the_export_reaches_its_contact(
    extracts: Extracts, shared_data: Path
) -> None:
    import pandas as pd

    named = pd.read_csv(shared_data / "hubspot" / "engagement_contact_data.csv", dtype=str)
    kinds = {"CALL": "call", "EMAIL": "email_sent", "NOTE": "note", "TASK": "task"}
    expected = {
        (row.contact_id, kinds[row.engagement_type])
        for row in named.itertuples()
        if row.engagement_type in kinds
    }
    found = extracts.warehouse.rows(
        "select records.record_id, activities.activity_type from marts.fct_activities as activities "
        "inner join marts.entity_map as records using (person_id) "
        "where activities.system = 'hubspot' and records.system = 'hubspot'"
    )
    assert set(found) >= expected > set()


def test_a_deal_keeps_all_the_contacts_its_rows_name(
    open_warehouse: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "deal_contact_data.csv"
    rows = ["contact_id,deal_id,_fivetran_synced,type_id,category"]
    rows += [f"{contact},7,2026-01-0{contact} 10:00:00,3,HUBSPOT_DEFINED" for contact in (3, 1, 2)]
    path.write_text("\n".join([*rows, "1,8,2026-01-01 10:00:00,3,HUBSPOT_DEFINED"]) + "\n")
    warehouse = open_warehouse()
    first, again = (
        ingest(warehouse.settings, [path], mapping="hubspot/deal_contacts").files[0] for _ in "12"
    )
    # Three rows are one record, hence one event.
    assert (first.rows, first.accepted, first.duplicate) == (4, 2, 2)
    assert (first.conflict, first.quarantined) == (0, 0)
    assert (again.accepted, again.duplicate) == (0, 4)
    warehouse.transform(datetime(2026, 2, 1, tzinfo=UTC))
    assert dict(
        warehouse.rows("select system_opportunity_id, person_count from marts.fct_opportunities")
    ) == {"7": 3, "8": 1}


def test_an_open_opportunity_of_the_export_is_not_closed(
    extracts: Extracts, shared_data: Path
) -> None:
    import pandas as pd

    rows = pd.read_csv(shared_data / "salesforce" / "sf_opportunity_data.csv", encoding="utf-8-sig")
    found = extracts.warehouse.rows(
        "select system_opportunity_id, is_closed, is_won from marts.fct_opportunities "
        "where system = 'salesforce'"
    )
    assert {row[0]: row[1:] for row in found} == {
        row.id: (bool(row.is_closed), bool(row.is_won)) for row in rows.itertuples()
    }
    assert not all(rows.is_closed)


def test_the_merges_of_the_export_join_their_contacts(extracts: Extracts) -> None:
    apart = extracts.warehouse.rows(
        "select merges.surviving_id, merged.value from raw_events.merges, "
        "unnest(from_json(merged_ids, '[\"VARCHAR\"]')) as merged (value) "
        "inner join marts.entity_map as one on one.record_id = merges.surviving_id and one.record_type <> 'account' "
        "inner join marts.entity_map as other on other.record_id = merged.value and other.record_type <> 'account' "
        "where one.person_id <> other.person_id and one.is_current and other.is_current"
    )
    assert apart == []

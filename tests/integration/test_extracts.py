"""Real exports of HubSpot and Salesforce through the shipped mappings into the warehouse: every row
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
FILES = {"hubspot": "{}_data.csv", "salesforce": "sf_{}_data.csv"}
TABLES = {
    "companies": "company", "contact_merges": "contact_merge_audit", "deal_contacts": "deal_contact",
    "form_submissions": "contact_form_submission", "email_opens": "email_event_open",
    "email_clicks": "email_event_click", "email_events": "email_event", "opportunities": "opportunity",
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
            table = TABLES.get(mapping.stem, mapping.stem.removesuffix("s"))
            path = shared_data / system / pattern.format(table)
            if not path.is_file():
                pytest.skip(f"the export {path} is not there")
            name = f"{system}/{mapping.stem}"
            (reports[name],) = ingest(warehouse.settings, [path], mapping=name).files
            lines[name] = len(pd.read_csv(path, dtype=str, keep_default_na=False))
    warehouse.transform(datetime(2026, 1, 1, tzinfo=UTC))
    return Extracts(warehouse, reports, lines)


def test_every_row_of_every_export_is_accounted_for(extracts: Extracts) -> None:
    assert len(extracts.reports) == 22
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
        "contacts", "accounts", "opportunities", "activities", "reps", "meetings", "merges",
    }  # fmt: skip


def test_every_contact_of_the_exports_is_somebody(extracts: Extracts) -> None:
    missing = extracts.warehouse.rows(
        "select system, record_id from raw_events.contacts where (system, record_id) not in "
        "(select (system, record_id) from marts.entity_map where person_id is not null)"
    )
    assert missing == []
    people = extracts.warehouse.rows(
        "select count(distinct person_id), count(*) from marts.dim_people"
    )[0]
    assert people[0] == people[1] > 0


def test_the_merges_of_the_export_join_their_contacts(extracts: Extracts) -> None:
    apart = extracts.warehouse.rows(
        "select merges.surviving_id, merged.value from raw_events.merges, "
        "unnest(from_json(merged_ids, '[\"VARCHAR\"]')) as merged (value) "
        "inner join marts.entity_map as one on one.record_id = merges.surviving_id and one.record_type <> 'account' "
        "inner join marts.entity_map as other on other.record_id = merged.value and other.record_type <> 'account' "
        "where one.person_id <> other.person_id"
    )
    assert apart == []

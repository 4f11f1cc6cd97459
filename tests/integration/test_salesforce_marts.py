"""What Salesforce's rows come to mean, batch by batch: merges and their undoing, objections, the hour
of an end, responses and meetings; and a rebuild says the same."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from ingestion.connectors.extracted import Extracted

USER, OTHER = "0055g000000000AAAA", "0055g000000000BAAA"
LEAD, DOUBLE = "00Q5g000000000AEAA", "00Q5g000000000BEAA"
CONTACT, ACCOUNT = "0035g000000000AAAA", "0015g000000000AAAA"
DEAL, CAMPAIGN, MEMBER, EVENT = (
    "0065g000000000AAAA", "7015g000000000AAAA", "00v5g000000000AAAA", "00U5g000000000AEAA",
)  # fmt: skip
FEBRUARY = "2026-02-{:02d}T{:02d}:00:00.000+0000"


def version(record_id: str, day: int, hour: int = 0, **fields: Any) -> Extracted:
    stamp = FEBRUARY.format(day, hour)
    payload = {"Id": record_id, "SystemModstamp": stamp, "CreatedDate": stamp, **fields}
    return Extracted(
        record_id, datetime.fromisoformat(stamp), bool(fields.get("IsDeleted")), payload
    )


def lead(record_id: str, email: str, day: int, **fields: Any) -> Extracted:
    named = {"LastName": "Weber", "Company": "Acme", "Email": email, "OwnerId": USER}
    return version(record_id, day, **named, **fields)


def history(number: int, stage: str, day: int, hour: int) -> Extracted:
    return version(f"0085g00000000{number:02d}AAA", day, hour, OpportunityId=DEAL, StageName=stage)


@pytest.mark.prove
def test_salesforce_is_understood_batch_by_batch_and_in_a_rebuild(
    open_warehouse: Callable[..., Any],
) -> None:
    warehouse = open_warehouse()

    def batch(day: int, **rows: list[Extracted]) -> None:
        at = datetime(2026, 2, day, 12, tzinfo=UTC)
        warehouse.poll("salesforce", rows, at)
        warehouse.transform(at)

    def people() -> int:
        found = warehouse.rows(
            "select count(distinct person_id) from marts.entity_map where record_type = 'lead' and is_current"
        )
        return int(found[0][0])

    def objections() -> list[tuple[Any, ...]]:
        return list(
            warehouse.rows(
                "select channel, status, source from marts.fct_consents where is_current order by 1"
            )
        )

    def merges() -> list[tuple[Any, ...]]:
        return list(
            warehouse.rows(
                "select system, surviving_id, merged_id, is_unmerge"
                " from intermediate.int_identity__merges_unioned order by is_unmerge"
            )
        )

    def corrections() -> float:
        return float(
            one(
                "select sum(numerator) from marts.fct_kpis_daily where kpi = 'merge_correction_rate'"
            )[0]
        )

    def one(sql: str) -> tuple[Any, ...]:
        (found,) = warehouse.rows(sql)
        return tuple(found)

    member = {"CampaignId": CAMPAIGN, "LeadId": LEAD, "Status": "Sent", "HasResponded": False}
    meeting = {
        "WhoId": LEAD, "OwnerId": USER, "StartDateTime": FEBRUARY.format(20, 9),
        "EndDateTime": FEBRUARY.format(20, 10),
    }  # fmt: skip
    deal = {
        "AccountId": ACCOUNT, "ContactId": CONTACT, "Amount": 1000.0, "OwnerId": USER,
        "CloseDate": "2026-03-31", "IsWon": False, "IsClosed": False,
    }  # fmt: skip
    batch(
        2,
        users=[version(USER, 1, Email="rep@us.example", Name="Rep", IsActive=True)],
        leads=[lead(LEAD, "ann@acme.example", 1), lead(DOUBLE, "a.weber@acme.example", 1)],
        contacts=[version(CONTACT, 1, LastName="Weber", Email="ann@acme.example")],
        accounts=[version(ACCOUNT, 1, Name="Acme", Website="https://acme.example")],
        opportunities=[version(DEAL, 1, StageName="Qualification", **deal)],
        opportunity_history=[history(1, "Qualification", 1, 0)],
        campaigns=[version(CAMPAIGN, 1, Name="Fair", Type="Trade Show", ActualCost=500.0)],
        campaign_members=[version(MEMBER, 1, **member)],
        events=[version(EVENT, 1, **meeting)],
    )
    assert people() == 2
    assert objections() == []
    assert one("select stage, closed_at from marts.fct_opportunities") == ("qualification", None)
    assert one("select name, channel, cost_usd from marts.dim_campaigns")[:2] == (
        "Fair", "trade_show",
    )  # fmt: skip
    assert warehouse.rows("select * from marts.fct_activities") == []
    assert one("select system, status from marts.fct_meetings") == ("salesforce", "booked")

    # Merged by hand; objected; won at three in the afternoon; came to the stand.
    closed = {**deal, "CloseDate": "2026-02-09", "IsWon": True, "IsClosed": True}
    responded = {**member, "HasResponded": True, "FirstRespondedDate": "2026-02-08"}
    batch(
        10,
        leads=[
            lead(DOUBLE, "a.weber@acme.example", 9, IsDeleted=True, MasterRecordId=LEAD),
            lead(LEAD, "ann@acme.example", 9, HasOptedOutOfEmail=True),
        ],
        opportunities=[version(DEAL, 9, 15, StageName="Closed Won", **closed)],
        opportunity_history=[
            history(2, "Proposal/Price Quote", 5, 8), history(3, "Closed Won", 9, 15),
        ],
        campaign_members=[version(MEMBER, 9, **responded)],
    )  # fmt: skip
    assert people() == 1
    assert merges() == [("salesforce", LEAD, DOUBLE, False)]
    assert corrections() == 1.0
    assert objections() == [("email", "withdrawn", "salesforce HasOptedOutOfEmail")]
    assert one("select stage, is_won, closed_at from marts.fct_opportunities") == (
        "closed_won", True, datetime(2026, 2, 9, 15, tzinfo=UTC),
    )  # fmt: skip
    assert [row[0] for row in warehouse.rows(
        "select stage from marts.fct_opportunity_stages order by stage_number"
    )] == ["qualification", "proposal", "closed_won"]  # fmt: skip
    assert one("select activity_type, campaign_id from marts.fct_activities") == (
        "campaign_response", CAMPAIGN,
    )  # fmt: skip
    assert one("select channel, touchpoint_type from marts.fct_touchpoints")[0] == "trade_show"

    # Taken out of the recycle bin; the box is empty again; entered by mistake; the event deleted.
    batch(
        13,
        leads=[
            lead(DOUBLE, "a.weber@acme.example", 12),
            lead(LEAD, "ann@acme.example", 12, HasOptedOutOfEmail=False),
        ],
        campaign_members=[version(MEMBER, 12, **member)],
        events=[version(EVENT, 12, IsDeleted=True, **meeting)],
    )
    assert people() == 2
    assert merges() == [("salesforce", LEAD, DOUBLE, False), ("salesforce", LEAD, DOUBLE, True)]
    assert corrections() == 2.0
    assert objections() == [("email", "withdrawn", "salesforce HasOptedOutOfEmail")]
    assert warehouse.rows("select * from marts.fct_activities") == []
    assert one("select system, status from marts.fct_meetings") == ("salesforce", "cancelled")

    before = warehouse.snapshot("marts")
    warehouse.transform(datetime(2026, 2, 13, 12, tzinfo=UTC), full_refresh=True)
    after = warehouse.snapshot("marts")
    assert before.keys() == after.keys()
    assert [table for table in before if before[table] != after[table]] == []

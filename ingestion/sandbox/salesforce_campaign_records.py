"""Campaigns the simulated company keeps in Salesforce, and which of its leads and contacts are
members of them."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

from ingestion.sandbox.draft import Draft, Record
from ingestion.sandbox.spelling import salesforce_time

# Name, type, days before the anchor, days it took, cost, statuses of members with their weights.
CAMPAIGNS: tuple[tuple[str, str, int, int, float, dict[str, int]], ...] = (
    ("Industry Fair, stand 4.2", "Trade Show", 58, 3, 18_500.0, {"Sent": 45, "Responded": 55}),
    ("RevOps Breakfast", "Conference", 37, 1, 4_200.0, {"Registered": 40, "Attended": 60}),
    ("Partner Referrals", "Partners", 21, 14, 0.0, {"Sent": 70, "Responded": 30}),
)
MEMBER_SHARE = 0.12


def campaign_records(
    draft: Draft, people: list[Record], owner_id: str
) -> tuple[list[Record], list[Record]]:
    """Campaigns, and members among `people`: leads and contacts that were there when it took
    place."""
    rng = draft.draw["salesforce_campaigns"]
    campaigns, members = [], []
    for name, kind, days_before, days, cost, statuses in CAMPAIGNS:
        start = draft.anchor - timedelta(days=days_before)
        end = start + timedelta(days=days)
        changed = salesforce_time(end)
        campaign: Record = {
            "Id": draft.new_id("Campaign"),
            "Name": name,
            "Type": kind,
            "Status": "Completed",
            "StartDate": start.date().isoformat(),
            "EndDate": end.date().isoformat(),
            "BudgetedCost": cost,
            "ActualCost": cost,
            "IsActive": False,
            "OwnerId": owner_id,
            "IsDeleted": False,
            "CreatedDate": salesforce_time(start - timedelta(days=20)),
            "LastModifiedDate": changed,
            "SystemModstamp": changed,
        }
        campaigns.append(campaign)
        for person in people:
            joins = rng.random() < MEMBER_SHARE
            status = rng.choices(list(statuses), list(statuses.values()))[0]
            known_since = datetime.fromisoformat(str(person["CreatedDate"]))
            if joins and known_since < start and not person["IsDeleted"]:
                members.append(_member(draft, rng, campaign, person, status, start, end))
    return campaigns, members


def _member(
    draft: Draft,
    rng: Random,
    campaign: Record,
    person: Record,
    status: str,
    start: datetime,
    end: datetime,
) -> Record:
    answered = start + (end - start) * rng.random()
    has_responded = status in ("Responded", "Attended")
    changed = answered if has_responded else start - timedelta(days=10)
    is_lead = str(person["Id"]).startswith("00Q")
    return {
        "Id": draft.new_id("CampaignMember"),
        "CampaignId": campaign["Id"],
        "LeadId": person["Id"] if is_lead else None,
        "ContactId": None if is_lead else person["Id"],
        "Status": status,
        "HasResponded": has_responded,
        "FirstRespondedDate": answered.date().isoformat() if has_responded else None,
        "IsDeleted": False,
        "CreatedDate": salesforce_time(start - timedelta(days=10)),
        "LastModifiedDate": salesforce_time(changed),
        "SystemModstamp": salesforce_time(changed),
    }

"""Polls a Salesforce-shaped CRM with SOQL; what its records mean is staging's business."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ingestion.connectors.extracted import Extracted
from ingestion.connectors.polling import UpstreamRefusal, parse_time, time_text
from ingestion.connectors.salesforce import bulk
from ingestion.connectors.salesforce.client import Client, connected
from ingestion.erasure.named import NOBODY, Named, itself
from ingestion.errors.catalog import HandoffError
from ingestion.settings import Settings

_AUDIT = ("Id", "IsDeleted", "CreatedDate", "LastModifiedDate", "SystemModstamp")
_HANDOFF = (
    "Handoff_Person_Id__c", "Handoff_Score__c", "Handoff_Grade__c", "Handoff_Mql_At__c",
    "Handoff_Reasons__c", "Handoff_Sla_Due_At__c",
)  # fmt: skip
# Resource -> sObject and the fields asked for; those an org does not have are left out (see
# `_fields`).
OBJECTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "leads": ("Lead", (
        *_AUDIT, "MasterRecordId", "Name", "FirstName", "LastName", "Salutation", "Company",
        "Title", "Email", "Phone", "MobilePhone", "Website", "Industry", "NumberOfEmployees",
        "AnnualRevenue", "Street", "City", "State", "PostalCode", "Country", "CountryCode",
        "LeadSource", "Status",
        "Rating", "DoNotCall", "HasOptedOutOfEmail", "OwnerId", "IsConverted", "ConvertedContactId",
        "ConvertedAccountId", "ConvertedOpportunityId", "ConvertedDate", *_HANDOFF,
        "Handoff_Rejection_Reason__c", "LastModifiedById",
    )),
    "contacts": ("Contact", (
        *_AUDIT, "MasterRecordId", "AccountId", "Name", "FirstName", "LastName", "Title", "Email",
        "Phone", "MobilePhone", "MailingStreet", "MailingCity", "MailingState", "MailingPostalCode",
        "MailingCountry", "MailingCountryCode", "LeadSource", "DoNotCall", "HasOptedOutOfEmail",
        "OwnerId", *_HANDOFF, "LastModifiedById",
    )),
    "accounts": ("Account", (
        *_AUDIT, "MasterRecordId", "Name", "Website", "Phone", "Industry", "Type",
        "NumberOfEmployees", "AnnualRevenue", "BillingCity", "BillingState", "BillingPostalCode",
        "BillingCountry", "BillingCountryCode", "OwnerId", "ParentId", "LastModifiedById",
    )),
    "opportunities": ("Opportunity", (
        *_AUDIT, "AccountId", "ContactId", "Name", "Amount", "StageName", "Type", "Product_Line__c",
        "CloseDate", "IsWon", "IsClosed", "OwnerId", "LeadSource", "CampaignId", "LastModifiedById",
    )),
    "users": ("User", (
        "Id", "CreatedDate", "LastModifiedDate", "SystemModstamp", "Username", "Email", "Name",
        "FirstName", "LastName", "IsActive", "UserType", "TimeZoneSidKey", "Handoff_Territories__c",
        "Handoff_Weight__c", "Handoff_Capacity__c", "Handoff_Working_Hours__c",
    )),
    "tasks": ("Task", (
        *_AUDIT, "WhoId", "WhatId", "OwnerId", "Subject", "TaskSubtype", "Status", "Priority",
        "ActivityDate", "IsReminderSet", "ReminderDateTime", "Description", "IsClosed",
        "CompletedDateTime", "Handoff_Task_Key__c", "LastModifiedById",
    )),
    "opportunity_contact_roles": ("OpportunityContactRole", (
        *_AUDIT, "OpportunityId", "ContactId", "Role", "IsPrimary",
    )),
    "opportunity_history": ("OpportunityHistory", (
        "Id", "IsDeleted", "CreatedDate", "SystemModstamp", "CreatedById", "OpportunityId",
        "StageName", "Amount", "ExpectedRevenue", "CloseDate", "Probability", "ForecastCategory",
        "PrevAmount", "PrevCloseDate",
    )),
    "events": ("Event", (
        *_AUDIT, "WhoId", "WhatId", "OwnerId", "Subject", "Location", "EventSubtype",
        "IsAllDayEvent", "StartDateTime", "EndDateTime", "DurationInMinutes", "ShowAs", "IsChild",
        "IsGroupEvent", "IsRecurrence", "LastModifiedById",
    )),
    "campaigns": ("Campaign", (
        *_AUDIT, "Name", "Type", "Status", "StartDate", "EndDate", "BudgetedCost", "ActualCost",
        "IsActive", "ParentId", "OwnerId",
    )),
    "campaign_members": ("CampaignMember", (
        *_AUDIT, "CampaignId", "LeadId", "ContactId", "Status", "HasResponded",
        "FirstRespondedDate",
    )),
}  # fmt: skip
RESOURCES: tuple[str, ...] = tuple(OBJECTS)
NAMED: Mapping[str, Named] = {
    "leads": itself("Email"),
    "contacts": itself("Email"),
    **dict.fromkeys(("accounts", "opportunity_history", "users", "campaigns"), NOBODY),
    "opportunities": Named((("record", "ContactId"),), is_about=False),
    "opportunity_contact_roles": Named((("record", "ContactId"),)),
    "tasks": Named((("record", "WhoId"),)),
    "events": Named((("record", "WhoId"),)),
    "campaign_members": Named((("record", "ContactId"), ("record", "LeadId"))),
}


def configured(settings: Settings) -> bool:
    """Whether HANDOFF_SALESFORCE_URL is set."""
    return bool(settings.salesforce_url)


def extract(resource: str, since: str | None, settings: Settings) -> Iterator[list[Extracted]]:
    """Pages of `resource` in order of its last change, deleted records included (queryAll).

    Args:
        resource: One of RESOURCES.
        since: ISO 8601; records changed at or after it, None for all.
        settings: Address, OAuth client credentials, and from how many rows on a query is a job.

    Source: REST API Developer Guide, "QueryAll"; SOQL, "Date Formats and Date Literals".
    """
    sobject, wanted = OBJECTS[resource]
    with connected(settings) as client:
        kinds = _kinds(client, sobject, wanted)
        # History is written once: some of its objects have no SystemModstamp.
        stamp = "SystemModstamp" if "SystemModstamp" in kinds else "CreatedDate"
        source = sobject if since is None else f"{sobject} WHERE {stamp} >= {_literal(since)}"
        soql = f"SELECT {', '.join(kinds)} FROM {source} ORDER BY {stamp}, Id"
        for records in _records(client, settings, source, soql, kinds, since is None):
            yield [_extracted(record, stamp) for record in records]


def _records(
    client: Client,
    settings: Settings,
    source: str,
    soql: str,
    kinds: dict[str, str],
    is_first: bool,
) -> Iterator[list[dict[str, Any]]]:
    """Pages by the REST API or, when there are many rows, by a job. A first load counts before it
    asks: over a large object the REST query alone may take too long.
    """
    many = settings.salesforce_bulk_rows
    if is_first and many and client.count(f"SELECT COUNT() FROM {source}") >= many:
        yield from bulk.query(client, soql, kinds)
        return
    for page in client.query(soql):
        if not is_first and many and page["totalSize"] >= many:
            yield from bulk.query(client, soql, kinds)
            return
        if page["records"]:
            yield page["records"]


def _kinds(client: Client, sobject: str, wanted: tuple[str, ...]) -> dict[str, str]:
    """Type by name of the wanted fields this org has: custom fields may not be set up yet, and one
    unknown name refuses the query."""
    try:
        described = client.get(f"sobjects/{sobject}/describe")
    except UpstreamRefusal as error:
        if error.status != 404:
            raise
        raise HandoffError(
            "SCOPE_DENIED",
            f"salesforce: the run-as user sees no object {sobject}",
            remedy=f"Give its permission set read on {sobject}, with View All.",
        ) from error
    types = {field["name"]: str(field["type"]) for field in described["fields"]}
    return {name: types[name] for name in wanted if name in types}


def _extracted(record: dict[str, Any], stamp: str) -> Extracted:
    payload = {name: value for name, value in record.items() if name != "attributes"}
    return Extracted(
        record_id=str(payload["Id"]),
        updated_at=parse_time(payload[stamp]),
        is_deleted=bool(payload.get("IsDeleted", False)),
        payload=payload,
    )


def _literal(since: str) -> str:
    """A SOQL dateTime literal: milliseconds, UTC; cut, as the bound is inclusive."""
    return time_text(parse_time(since))

"""Polls a Salesforce-shaped CRM with SOQL; what its records mean is staging's business."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ingestion.connectors.extracted import Extracted
from ingestion.connectors.polling import Session, parse_time, session
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
}  # fmt: skip
RESOURCES: tuple[str, ...] = tuple(OBJECTS)


def configured(settings: Settings) -> bool:
    """Whether HANDOFF_SALESFORCE_URL is set."""
    return bool(settings.salesforce_url)


def extract(resource: str, since: str | None, settings: Settings) -> Iterator[list[Extracted]]:
    """Pages of `resource` in order of SystemModstamp, deleted records included (queryAll).

    Args:
        resource: One of RESOURCES.
        since: ISO 8601; records changed at or after it, None for all.
        settings: Address and OAuth client credentials.

    Source: REST API Developer Guide, "QueryAll"; SOQL, "Date Formats and Date Literals".
    """
    sobject, wanted = OBJECTS[resource]
    with session(settings, "salesforce") as http:
        _log_in(http, settings)
        version = f"services/data/v{settings.salesforce_api_version}"
        fields = _fields(http, settings, version, sobject, wanted)
        where = "" if since is None else f" WHERE SystemModstamp >= {_literal(since)}"
        query = f"SELECT {', '.join(fields)} FROM {sobject}{where} ORDER BY SystemModstamp, Id"
        path, params = f"{version}/queryAll", {"q": query}
        while True:
            answer = _get(http, settings, path, params)
            page = [_extracted(record) for record in answer["records"]]
            if page:
                yield page
            if answer["done"]:
                return
            # The address of the next page is absolute on the host, our base may lie below a prefix.
            path = "services/data/" + answer["nextRecordsUrl"].partition("/services/data/")[2]
            params = {}


def _log_in(http: Session, settings: Settings) -> None:
    """OAuth 2.0 client-credentials flow (Salesforce Help, "OAuth 2.0 Client Credentials Flow")."""
    if not settings.salesforce_client_id or settings.salesforce_client_secret is None:
        raise HandoffError(
            "SYSTEM_NOT_CONFIGURED",
            "salesforce is not configured: HANDOFF_SALESFORCE_CLIENT_ID and "
            "HANDOFF_SALESFORCE_CLIENT_SECRET are both needed",
        )
    form = {
        "grant_type": "client_credentials",
        "client_id": settings.salesforce_client_id,
        "client_secret": settings.salesforce_client_secret.get_secret_value(),
    }
    try:
        answer = http.request("POST", "services/oauth2/token", data=form)
    except HandoffError as error:
        if error.code != "UPSTREAM_REJECTED":
            raise
        raise HandoffError(
            "AUTH_EXPIRED",
            error.message,
            remedy="Check HANDOFF_SALESFORCE_CLIENT_ID and HANDOFF_SALESFORCE_CLIENT_SECRET.",
        ) from error
    http.client.headers["authorization"] = f"Bearer {answer['access_token']}"


def _get(http: Session, settings: Settings, path: str, params: dict[str, Any]) -> Any:
    """A GET that logs in anew once when the session has expired."""
    try:
        return http.get(path, params)
    except HandoffError as error:
        if error.code != "AUTH_EXPIRED":
            raise
    _log_in(http, settings)
    return http.get(path, params)


def _fields(
    http: Session, settings: Settings, version: str, sobject: str, wanted: tuple[str, ...]
) -> list[str]:
    """The wanted fields this org has: custom fields may not be set up yet, and one unknown name
    refuses the query."""
    described = _get(http, settings, f"{version}/sobjects/{sobject}/describe", {})
    present = {field["name"] for field in described["fields"]}
    return [name for name in wanted if name in present]


def _extracted(record: dict[str, Any]) -> Extracted:
    payload = {name: value for name, value in record.items() if name != "attributes"}
    return Extracted(
        record_id=str(payload["Id"]),
        updated_at=parse_time(payload["SystemModstamp"]),
        is_deleted=bool(payload.get("IsDeleted", False)),
        payload=payload,
    )


def _literal(since: str) -> str:
    """A SOQL dateTime literal: milliseconds, UTC; cut, as the bound is inclusive."""
    return parse_time(since).isoformat(timespec="milliseconds").replace("+00:00", "Z")

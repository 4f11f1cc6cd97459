"""Which sObjects and fields the simulated Salesforce has, with their types and rules; behaviour is
elsewhere.

Types, lengths and required fields follow the Object Reference for the Salesforce Platform (Lead,
Contact, Account, Opportunity, OpportunityHistory, Task, Event, User, OpportunityContactRole,
Campaign, CampaignMember); `Handoff_*__c` are the custom fields an administrator adds when connecting
Handoff.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `kind` is the describe type; `references` the sObjects an id may point to.

    `writable` false marks what the platform sets itself; `unique` external ids are
    case-insensitive.
    """

    name: str
    kind: str = "string"
    length: int = 0
    writable: bool = True
    required: bool = False
    external_id: bool = False
    references: tuple[str, ...] = ()
    values: tuple[str, ...] = ()

    @property
    def is_custom(self) -> bool:
        """Whether an administrator added the field."""
        return self.name.endswith("__c")


def _audit() -> tuple[Field, ...]:
    return (
        Field("Id", "id", 18, writable=False),
        Field("IsDeleted", "boolean", writable=False),
        Field("CreatedDate", "datetime", writable=False),
        Field("CreatedById", "reference", 18, writable=False, references=("User",)),
        Field("LastModifiedDate", "datetime", writable=False),
        Field("LastModifiedById", "reference", 18, writable=False, references=("User",)),
        Field("SystemModstamp", "datetime", writable=False),
    )


def _handoff() -> tuple[Field, ...]:
    return (
        Field("Handoff_Person_Id__c", "string", 64, external_id=True),
        Field("Handoff_Score__c", "double"),
        Field("Handoff_Grade__c", "string", 10),
        Field("Handoff_Mql_At__c", "datetime"),
        Field("Handoff_Reasons__c", "textarea", 32_768),
        Field("Handoff_Sla_Due_At__c", "datetime"),
    )


_OWNER = Field("OwnerId", "reference", 18, references=("User",))
_LEAD_STATUS = (
    "Open - Not Contacted",
    "Working - Contacted",
    "Nurture",
    "Qualified",
    "Unqualified",
)
_SOURCES = ("Web", "Phone Inquiry", "Partner Referral", "Purchased List", "Trade Show", "Other")
_STAGES = (
    "Prospecting", "Qualification", "Proposal/Price Quote", "Negotiation/Review", "Closed Won",
    "Closed Lost",
)  # fmt: skip
# Stages with the probability and the forecast category an org comes with (OpportunityStage).
STAGES: dict[str, tuple[int, str]] = {
    "Prospecting": (10, "Pipeline"),
    "Qualification": (10, "Pipeline"),
    "Proposal/Price Quote": (75, "Pipeline"),
    "Negotiation/Review": (90, "Pipeline"),
    "Closed Won": (100, "Closed"),
    "Closed Lost": (0, "Omitted"),
}
READ_ONLY = ("User", "OpportunityHistory")
# Member statuses that count as responded (CampaignMemberStatus.HasResponded).
RESPONDED = ("Responded", "Attended")

_OBJECTS: dict[str, tuple[Field, ...]] = {
    "Lead": (
        *_audit(),
        Field("MasterRecordId", "reference", 18, writable=False, references=("Lead",)),
        Field("Name", "string", 121, writable=False),
        Field("FirstName", "string", 40),
        Field("LastName", "string", 80, required=True),
        Field("Salutation", "picklist", 40),
        Field("Company", "string", 255, required=True),
        Field("Title", "string", 128),
        Field("Email", "email", 80),
        Field("Phone", "phone", 40),
        Field("MobilePhone", "phone", 40),
        Field("Website", "url", 255),
        Field("Industry", "picklist", 255),
        Field("NumberOfEmployees", "int"),
        Field("AnnualRevenue", "currency"),
        Field("Street", "textarea", 255),
        Field("City", "string", 40),
        Field("State", "string", 80),
        Field("PostalCode", "string", 20),
        Field("Country", "string", 80),
        Field("CountryCode", "picklist", 10),
        Field("LeadSource", "picklist", 255, values=_SOURCES),
        Field("Status", "picklist", 255, values=_LEAD_STATUS),
        Field("Rating", "picklist", 255, values=("Hot", "Warm", "Cold")),
        Field("Description", "textarea", 32_000),
        Field("DoNotCall", "boolean"),
        Field("HasOptedOutOfEmail", "boolean"),
        _OWNER,
        Field("IsConverted", "boolean", writable=False),
        Field("ConvertedContactId", "reference", 18, writable=False, references=("Contact",)),
        Field("ConvertedAccountId", "reference", 18, writable=False, references=("Account",)),
        Field("ConvertedOpportunityId", "reference", 18, writable=False,
        references=("Opportunity",)),
        Field("ConvertedDate", "date", writable=False),
        *_handoff(),
        Field("Handoff_Rejection_Reason__c", "string", 255),
    ),
    "Contact": (
        *_audit(),
        Field("MasterRecordId", "reference", 18, writable=False, references=("Contact",)),
        Field("Name", "string", 121, writable=False),
        Field("AccountId", "reference", 18, references=("Account",)),
        Field("FirstName", "string", 40),
        Field("LastName", "string", 80, required=True),
        Field("Title", "string", 128),
        Field("Email", "email", 80),
        Field("Phone", "phone", 40),
        Field("MobilePhone", "phone", 40),
        Field("MailingCity", "string", 40),
        Field("MailingCountry", "string", 80),
        Field("MailingCountryCode", "picklist", 10),
        Field("LeadSource", "picklist", 255, values=_SOURCES),
        Field("Description", "textarea", 32_000),
        Field("DoNotCall", "boolean"),
        Field("HasOptedOutOfEmail", "boolean"),
        _OWNER,
        *_handoff(),
    ),
    "Account": (
        *_audit(),
        Field("MasterRecordId", "reference", 18, writable=False, references=("Account",)),
        Field("Name", "string", 255, required=True),
        Field("Website", "url", 255),
        Field("Phone", "phone", 40),
        Field("Industry", "picklist", 255),
        Field("Type", "picklist", 255),
        Field("NumberOfEmployees", "int"),
        Field("AnnualRevenue", "currency"),
        Field("BillingCity", "string", 40),
        Field("BillingState", "string", 80),
        Field("BillingCountry", "string", 80),
        Field("BillingCountryCode", "picklist", 10),
        Field("ParentId", "reference", 18, references=("Account",)),
        _OWNER,
    ),
    "Opportunity": (
        *_audit(),
        Field("AccountId", "reference", 18, references=("Account",)),
        Field("ContactId", "reference", 18, writable=False, references=("Contact",)),
        Field("Name", "string", 120, required=True),
        Field("Amount", "currency"),
        Field("StageName", "picklist", 255, required=True, values=tuple(STAGES)),
        Field("Type", "picklist", 255),
        Field("Product_Line__c", "string", 80),
        Field("CloseDate", "date", required=True),
        Field("IsWon", "boolean", writable=False),
        Field("IsClosed", "boolean", writable=False),
        Field("LeadSource", "picklist", 255, values=_SOURCES),
        Field("CampaignId", "reference", 18, references=("Campaign",)),
        _OWNER,
    ),
    # Written by the platform alone, and never changed: it has no LastModifiedDate.
    "OpportunityHistory": (
        Field("Id", "id", 18, writable=False),
        Field("IsDeleted", "boolean", writable=False),
        Field("OpportunityId", "reference", 18, writable=False, references=("Opportunity",)),
        Field("StageName", "picklist", 255, writable=False, values=tuple(STAGES)),
        Field("Amount", "currency", writable=False),
        Field("ExpectedRevenue", "currency", writable=False),
        Field("CloseDate", "date", writable=False),
        Field("Probability", "percent", writable=False),
        Field("ForecastCategory", "picklist", 40, writable=False),
        Field("PrevAmount", "currency", writable=False),
        Field("PrevCloseDate", "date", writable=False),
        Field("CreatedDate", "datetime", writable=False),
        Field("CreatedById", "reference", 18, writable=False, references=("User",)),
        Field("SystemModstamp", "datetime", writable=False),
    ),
    "User": (
        *(field for field in _audit() if field.name != "IsDeleted"),
        Field("Username", "string", 80, writable=False),
        Field("Email", "email", 128, writable=False),
        Field("Name", "string", 121, writable=False),
        Field("FirstName", "string", 40, writable=False),
        Field("LastName", "string", 80, writable=False),
        Field("IsActive", "boolean"),
        Field("UserType", "picklist", 40, writable=False),
        Field("TimeZoneSidKey", "picklist", 40),
        Field("Handoff_Territories__c", "string", 255),
        Field("Handoff_Weight__c", "double"),
        Field("Handoff_Capacity__c", "double"),
        Field("Handoff_Working_Hours__c", "string", 40),
    ),
    "Task": (
        *_audit(),
        Field("WhoId", "reference", 18, references=("Lead", "Contact")),
        Field("WhatId", "reference", 18, references=("Account", "Opportunity")),
        _OWNER,
        Field("Subject", "string", 255),
        Field("TaskSubtype", "picklist", 40, values=("Task", "Email", "Call")),
        Field("Status", "picklist", 255,
              values=("Not Started", "In Progress", "Completed", "Waiting on someone else",
              "Deferred")),
        Field("Priority", "picklist", 255, values=("High", "Normal", "Low")),
        Field("ActivityDate", "date"),
        Field("IsReminderSet", "boolean"),
        Field("ReminderDateTime", "datetime"),
        Field("Description", "textarea", 32_000),
        Field("IsClosed", "boolean", writable=False),
        Field("CompletedDateTime", "datetime", writable=False),
        Field("Handoff_Task_Key__c", "string", 128, external_id=True),
    ),
    "Event": (
        *_audit(),
        Field("WhoId", "reference", 18, references=("Lead", "Contact")),
        Field("WhatId", "reference", 18, references=("Account", "Opportunity")),
        _OWNER,
        Field("Subject", "string", 255),
        Field("Location", "string", 255),
        Field("EventSubtype", "picklist", 40, writable=False),
        Field("IsAllDayEvent", "boolean"),
        Field("StartDateTime", "datetime", required=True),
        Field("EndDateTime", "datetime", required=True),
        Field("DurationInMinutes", "int"),
        Field("ShowAs", "picklist", 40, values=("Busy", "OutOfOffice", "Free")),
        Field("IsChild", "boolean", writable=False),
        Field("IsGroupEvent", "boolean", writable=False),
        Field("IsRecurrence", "boolean", writable=False),
        Field("Description", "textarea", 32_000),
    ),
    "Campaign": (
        *_audit(),
        Field("Name", "string", 80, required=True),
        Field("Type", "picklist", 255,
              values=("Conference", "Webinar", "Trade Show", "Partners", "Advertisement", "Email",
              "Other")),
        Field("Status", "picklist", 255, values=("Planned", "In Progress", "Completed", "Aborted")),
        Field("StartDate", "date"),
        Field("EndDate", "date"),
        Field("BudgetedCost", "currency"),
        Field("ActualCost", "currency"),
        Field("IsActive", "boolean"),
        Field("ParentId", "reference", 18, references=("Campaign",)),
        _OWNER,
    ),
    "CampaignMember": (
        *_audit(),
        Field("CampaignId", "reference", 18, required=True, references=("Campaign",)),
        Field("LeadId", "reference", 18, references=("Lead",)),
        Field("ContactId", "reference", 18, references=("Contact",)),
        Field("Status", "picklist", 765,
              values=("Sent", "Registered", "Attended", "Responded")),
        Field("HasResponded", "boolean", writable=False),
        Field("FirstRespondedDate", "date", writable=False),
    ),
    "OpportunityContactRole": (
        *_audit(),
        Field("OpportunityId", "reference", 18, required=True, references=("Opportunity",)),
        Field("ContactId", "reference", 18, required=True, references=("Contact",)),
        Field("Role", "picklist", 255),
        Field("IsPrimary", "boolean"),
    ),
}  # fmt: skip

# sObject name -> field name -> field. Names are case-insensitive in the API; see `sobject_name`.
SCHEMA: dict[str, dict[str, Field]] = {
    name: {field.name: field for field in fields} for name, fields in _OBJECTS.items()
}
_FOLDED_OBJECTS = {name.lower(): name for name in SCHEMA}
_FOLDED_FIELDS = {
    name: {field.lower(): field for field in fields} for name, fields in SCHEMA.items()
}


def sobject_name(text: str) -> str | None:
    """The sObject named `text` in its own spelling; None when there is none."""
    return _FOLDED_OBJECTS.get(text.lower())


def field_name(sobject: str, text: str) -> str | None:
    """The field of `sobject` named `text` in its own spelling; None when there is none."""
    return _FOLDED_FIELDS[sobject].get(text.lower())


def describe(sobject: str) -> dict[str, object]:
    """The `describe` document of one sObject (REST API Developer Guide, sObject Describe), the
    parts used."""
    return {
        "name": sobject,
        "label": sobject,
        "custom": False,
        "createable": sobject not in READ_ONLY,
        "updateable": sobject != "OpportunityHistory",
        "deletable": sobject not in READ_ONLY,
        "queryable": True,
        "fields": [
            {
                "name": field.name,
                "label": field.name.removesuffix("__c").replace("_", " "),
                "type": field.kind,
                "length": field.length,
                "custom": field.is_custom,
                "createable": field.writable,
                "updateable": field.writable,
                "nillable": not field.required and field.kind not in ("boolean", "id"),
                "externalId": field.external_id,
                "unique": field.external_id,
                "idLookup": field.external_id or field.kind in ("id", "email"),
                "defaultedOnCreate": field.kind == "boolean" or field.name in ("OwnerId", "Status"),
                "referenceTo": list(field.references),
                "restrictedPicklist": False,
                "picklistValues": [
                    {"value": value, "label": value, "active": True} for value in field.values
                ],
            }
            for field in SCHEMA[sobject].values()
        ],
    }

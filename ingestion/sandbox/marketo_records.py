"""What the Marketo of an acquired brand recorded of the people: leads with merges and deletions, the
activity log, programs.

Nordlicht Analytics was bought; its newsletter and its webinar still run in Marketo. Who reads it is
known elsewhere as well: nobody exists in Marketo alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from ingestion.sandbox.cast import SITE, Person
from ingestion.sandbox.draft import Draft, Record
from ingestion.sandbox.spelling import marketo_asset_time, marketo_time, other_case

BRAND = "Nordlicht"
# How many of a segment read the brand's newsletter.
READERS = {"newsletter": 28, "engaged": 10, "sales_sourced": 6}
MERGED, DELETED, ATTENDED = 3, 2, 5
# Source: experienceleague.adobe.com, Marketo Engage Developer, "Activities"; names and attributes as
# Get Activity Types lists them.
ACTIVITY_TYPES: dict[int, tuple[str, str, tuple[str, ...]]] = {
    1: ("Visit Webpage", "Webpage ID", (
        "Client IP Address", "Query Parameters", "Referrer URL", "User Agent", "Webpage URL",
    )),
    2: ("Fill Out Form", "Webform ID", (
        "Client IP Address", "Form Fields", "Query Parameters", "Referrer URL", "User Agent",
        "Webpage ID",
    )),
    6: ("Send Email", "Mailing ID", ("Campaign Run ID", "Choice Number", "Step ID")),
    7: ("Email Delivered", "Mailing ID", ("Campaign Run ID", "Choice Number", "Step ID")),
    8: ("Email Bounced", "Mailing ID", ("Category", "Details", "Email", "Subcategory")),
    9: ("Unsubscribe Email", "Mailing ID", (
        "Client IP Address", "Form Fields", "Query Parameters", "Referrer URL", "User Agent",
    )),
    10: ("Open Email", "Mailing ID", ("Device", "Is Mobile Device", "Platform", "User Agent")),
    11: ("Click Email", "Mailing ID", (
        "Device", "Is Mobile Device", "Link", "Platform", "User Agent",
    )),
    12: ("New Lead", "Source Type", ("Created Date", "Source Type")),
    13: ("Change Data Value", "Attribute Name", ("New Value", "Old Value", "Reason", "Source")),
    32: ("Merge Leads", "Lead ID", (
        "Master Updated", "Merge IDs", "Merge Source", "Merged in Sales",
    )),
    37: ("Delete Lead", "Lead ID", ("Campaign", "Deleted by")),
    46: ("Interesting Moment", "Milestone Type", ("Date", "Description", "Source")),
    104: ("Change Status in Progression", "Program", (
        "New Status", "New Status ID", "Old Status", "Old Status ID", "Reason", "Success",
    )),
}  # fmt: skip
NEW_LEAD, CHANGE_DATA_VALUE, MERGE_LEADS, DELETE_LEAD = 12, 13, 32, 37
# What is told by the leads themselves.
LEAD_LOG = (NEW_LEAD, CHANGE_DATA_VALUE, DELETE_LEAD)
NEWSLETTER, WEBINAR = 1_101, 1_102
NEWSLETTER_MAIL, INVITATION = 2_201, 2_202


class MarketoRecords:
    """Collects `leads` and `log`, which holds every activity; both are complete after `fill`."""

    def __init__(self, draft: Draft) -> None:
        """Starts empty; lead ids count up from 1,200,000, activity ids from 58,000,000."""
        self.draft = draft
        self.leads: list[Record] = []
        self.log: list[Record] = []
        self._lead_id = 1_200_000
        self._activity_id = 58_000_000

    def fill(self, people: Sequence[Person]) -> None:
        """The brand's readers among `people`, and what they did."""
        rng = self.draft.draw["marketo"]
        readers: list[Person] = []
        for segment, count in READERS.items():
            pool = [each for each in people if each.segment == segment]
            # Smaller companies than ours are made for tests.
            readers += rng.sample(pool, min(count, len(pool)))
        for number, person in enumerate(readers):
            lead = self._lead(person, person.email, number)
            self._activities(person, lead, number)
            if number < MERGED:
                self._merged(person, lead)
        for _ in range(DELETED):
            self._deleted(rng.choice(people))
        # Ids are given in the order things happened, as by the real one.
        self.log.sort(key=lambda row: (row["activityDate"], row["leadId"], row["activityTypeId"]))
        for row in self.log:
            self._activity_id += rng.randrange(1, 900)
            row["id"], row["marketoGUID"] = self._activity_id, str(self._activity_id)
        self.leads.sort(key=lambda row: int(row["id"]))

    def _lead(self, person: Person, email: str, number: int) -> Record:
        rng = self.draft.draw["marketo"]
        country = person.company.country
        created = self.draft.moment(rng, 110, 60, country)
        changed = self.draft.moment(rng, 40, 2, country)
        opted_out = "opted_out" in person.traits
        lead: Record = {
            "id": self._next_lead(),
            "createdAt": marketo_time(created),
            "updatedAt": marketo_time(changed),
            "email": other_case(email, rng) if number % 4 == 3 else email,
            "firstName": person.first_name,
            "lastName": person.last_name,
            "phone": self.draft.phone(person, number) if number % 3 else None,
            "mobilePhone": None,
            "company": person.company.name,
            "title": person.title,
            "address": None,
            "city": person.company.city[0],
            "state": person.company.city[1] or None,
            "postalCode": person.company.city[2],
            "country": country.code,
            "leadSource": f"{BRAND} newsletter",
            "leadStatus": "Engaged" if person.segment == "engaged" else "Known",
            "leadScore": rng.randrange(0, 40),
            "unsubscribed": opted_out,
            "unsubscribedReason": "unsubscribed from an e-mail" if opted_out else None,
            "doNotCall": False,
        }
        self.leads.append(lead)
        self.draft.records[person.key].append(("marketo", "contact", str(lead["id"])))
        self._note(NEW_LEAD, lead["id"], created, {"Source Type": "List import"}, primary="List")
        self._change(lead["id"], changed, "leadScore", "0", str(lead["leadScore"]))
        return lead

    def _activities(self, person: Person, lead: Record, number: int) -> None:
        rng = self.draft.draw["marketo"]
        country = person.company.country
        mail: Record = {
            "campaign": 3_301,
            "primary": BRAND + " Monthly",
            "primary_id": NEWSLETTER_MAIL,
        }
        for issue in range(rng.randrange(2, 5)):
            sent = self.draft.moment(rng, 58 - issue * 14, 56 - issue * 14, country)
            self._note(6, lead["id"], sent, {"Choice Number": "0"}, **mail)
            self._note(7, lead["id"], sent + timedelta(seconds=40), {"Choice Number": "0"}, **mail)
            if rng.random() < 0.45:
                opened = sent + timedelta(minutes=rng.randrange(3, 600))
                self._note(10, lead["id"], opened, {"Is Mobile Device": False}, **mail)
                if person.segment == "newsletter" and rng.random() < 0.3:
                    link = {"Link": f"{SITE}/blog", "Is Mobile Device": False}
                    self._note(11, lead["id"], opened + timedelta(seconds=25), link, **mail)
        if number % 9 == 2:
            asked = self.draft.moment(rng, 59, 58, country)
            page = {
                "Referrer URL": person.source[1],
                "Form Fields": "Email",
                "Query Parameters": "",
            }
            form: Record = {"primary": "nordlicht_newsletter", "primary_id": 1_017}
            self._note(2, lead["id"], asked, page, **form)
            seen = {"Referrer URL": person.source[1], "Webpage URL": "/blog/nordlicht"}
            read: Record = {"primary": "www.lumenwerk-demoworld.com/blog/nordlicht"}
            self._note(1, lead["id"], asked + timedelta(minutes=2), seen, primary_id=71, **read)
        if number % 11 == 5:
            details = {"Category": "3", "Details": "452 4.2.2 mailbox full", "Email": lead["email"]}
            self._note(8, lead["id"], self.draft.moment(rng, 9, 8, country), details, **mail)
        if lead["unsubscribed"]:
            left = datetime.fromisoformat(str(lead["updatedAt"]))
            page = {"Referrer URL": f"{SITE}/unsubscribe", "Form Fields": "unsubscribed"}
            self._note(9, lead["id"], left, page, **mail)
            self._change(lead["id"], left, "unsubscribed", "false", "true")
        if person.segment == "newsletter" and number < ATTENDED * 2:
            self._webinar(lead["id"], self.draft.moment(rng, 34, 30, country), number < ATTENDED)

    def _webinar(self, lead_id: int, at: datetime, came: bool) -> None:
        program: Record = {"campaign": 3_302, "primary": f"{BRAND} webinar", "primary_id": WEBINAR}
        registered = {"New Status": "Registered", "Old Status": "Invited", "Success": False}
        self._note(104, lead_id, at - timedelta(days=5), registered, **program)
        ended = "Attended" if came else "No Show"
        status = {"New Status": ended, "Old Status": "Registered", "Success": came}
        self._note(104, lead_id, at, status, **program)

    def _merged(self, person: Person, lead: Record) -> None:
        """A second lead of the person, merged into the first: only the log still tells of it."""
        rng = self.draft.draw["marketo"]
        other = self._next_lead()
        made = self.draft.moment(rng, 50, 45, person.company.country)
        merged = self.draft.moment(rng, 12, 6, person.company.country)
        self._note(NEW_LEAD, other, made, {"Source Type": "Web form fillout"}, primary="Form")
        details = {"Master Updated": True, "Merge IDs": [other], "Merge Source": "leaddb"}
        self._note(MERGE_LEADS, lead["id"], merged, details, primary_id=lead["id"])
        self.draft.records[person.key].append(("marketo", "contact", str(other)))
        self.draft.traits[person.key].append("marketo_merged")

    def _deleted(self, person: Person) -> None:
        """A lead that is gone, and was never seen by whoever reads Marketo from now on."""
        rng = self.draft.draw["marketo"]
        lead_id = self._next_lead()
        name = f"{person.first_name} {person.last_name}"
        country = person.company.country
        self._note(NEW_LEAD, lead_id, self.draft.moment(rng, 80, 70, country), {}, primary="List")
        gone = self.draft.moment(rng, 20, 10, country)
        self._note(DELETE_LEAD, lead_id, gone, {}, primary=name, primary_id=lead_id)

    def _change(self, lead_id: int, at: datetime, field: str, before: str, after: str) -> None:
        self.log.append(changed_value(lead_id, at, field, before, after, "Flow step"))

    def _note(
        self,
        kind: int,
        lead_id: int,
        at: datetime,
        attributes: Record,
        *,
        campaign: int | None = None,
        primary: str | None = None,
        primary_id: int | None = None,
    ) -> None:
        self.log.append(activity(kind, lead_id, at, attributes, campaign, primary, primary_id))

    def _next_lead(self) -> int:
        self._lead_id += self.draft.draw["marketo"].randrange(1, 40)
        return self._lead_id

    def programs(self) -> list[Record]:
        """The brand's programs; the newsletter costs the same every month."""
        begun = self.draft.anchor - timedelta(days=115)
        monthly = [
            {"startDate": (begun + timedelta(days=30 * month)).date().isoformat(), "cost": 400.0}
            for month in range(4)
        ]
        return [
            self._program(NEWSLETTER, f"{BRAND} Newsletter", "Email", "Newsletter", begun, monthly),
            self._program(
                WEBINAR, f"{BRAND} Webinar: Clean Data", "Event with Webinar", "Webinar",
                begun + timedelta(days=50), [],
            ),
        ]  # fmt: skip

    def _program(
        self, number: int, name: str, kind: str, channel: str, at: datetime, costs: list[Record]
    ) -> Record:
        return {
            "id": number,
            "name": name,
            "description": "",
            "createdAt": marketo_asset_time(at),
            "updatedAt": marketo_asset_time(at + timedelta(days=60)),
            "url": f"https://app-demoworld.marketo.com/#PG{number}A1",
            "type": kind,
            "channel": channel,
            "folder": {"type": "Folder", "value": 21, "folderName": BRAND},
            "status": "",
            "workspace": "Default",
            "headStart": False,
            "tags": [],
            "costs": costs,
        }

    def campaigns(self) -> list[Record]:
        """Smart campaigns, each of one program."""
        made = marketo_time(self.draft.anchor - timedelta(days=115))
        return [
            {
                "id": number,
                "name": name,
                "type": kind,
                "programId": program,
                "programName": program_name,
                "workspaceName": "Default",
                "active": kind == "trigger",
                "createdAt": made,
                "updatedAt": made,
            }
            for number, name, kind, program, program_name in (
                (3_301, "01 - Send", "batch", NEWSLETTER, f"{BRAND} Newsletter"),
                (3_302, "02 - Statuses", "trigger", WEBINAR, f"{BRAND} Webinar: Clean Data"),
            )
        ]


def activity(
    kind: int,
    lead_id: int,
    at: datetime,
    attributes: Record,
    campaign: int | None = None,
    primary: str | None = None,
    primary_id: int | None = None,
) -> Record:
    """One entry of the log, without an id; what is empty is left out."""
    row: Record = {
        "leadId": lead_id,
        "activityDate": marketo_time(at),
        "activityTypeId": kind,
        "campaignId": campaign,
        "primaryAttributeValueId": primary_id,
        "primaryAttributeValue": primary,
    }
    return {
        **{name: value for name, value in row.items() if value is not None},
        "attributes": [{"name": name, "value": value} for name, value in attributes.items()],
    }


def changed_value(
    lead_id: int, at: datetime, field: str, before: str | None, after: str | None, reason: str
) -> Record:
    """A data value change as Get Lead Changes tells it, without an id."""
    changed = {"name": field, "newValue": after, "oldValue": before}
    told = {"Reason": reason, "Source": reason}
    return {**activity(CHANGE_DATA_VALUE, lead_id, at, told), "fields": [changed]}

"""Builds the simulated company from one seed: what each system holds of it, and the truth behind
them.

Pure: no clock, no network, no set-iteration order. Serving the world over HTTP is the vendor
modules' part.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from ingestion.sandbox.ad_spend_records import ad_spend_rows
from ingestion.sandbox.behaviour import steps_of
from ingestion.sandbox.booking_records import BookingRecords
from ingestion.sandbox.calendar_records import CalendarRecords
from ingestion.sandbox.cast import Person, Rep, draw_cast
from ingestion.sandbox.draft import Draft, Record
from ingestion.sandbox.hubspot_marketing_records import bounce, forms, status_change, told_again
from ingestion.sandbox.hubspot_records import HubSpotRecords
from ingestion.sandbox.hubspot_sales_records import HubSpotSalesRecords
from ingestion.sandbox.marketo_records import DELETE_LEAD, LEAD_LOG, MarketoRecords
from ingestion.sandbox.persona_records import record_personas
from ingestion.sandbox.personas import COMPANIES, PERSONAS
from ingestion.sandbox.salesforce_records import SalesforceRecords
from ingestion.sandbox.spelling import hubspot_time, phone_text


@dataclass(frozen=True)
class World:
    """What the systems hold, in their own shapes, and the truth behind it.

    `hubspot`: contacts, companies, deals, engagements by kind, owners, campaigns, events, e-mail log,
    forms and their submissions. `hubspot_merges`: old contact id → the id that replaced it.
    `hubspot_associations`: (kind, id, other kind) → ids, the primary one first. `salesforce`: records by sObject. `calendar`: events by rep e-mail.
    `marketo`: leads, log (every activity), programs, campaigns (smart campaigns).
    `calendly`: organization_memberships, and invitees with their event inside. `calcom`: bookings.
    `ad_spend`: a row for each day of an ad campaign.
    `truth`: one entry per person, the named personas last. `personas`: people about to ask for a
    demo, for live traffic; the named ones stand in personas.py.
    """

    seed: int
    anchor: datetime
    reps: tuple[Rep, ...]
    hubspot: dict[str, list[Record]]
    hubspot_merges: dict[str, str]
    hubspot_associations: dict[tuple[str, str, str], list[str]]
    salesforce: dict[str, list[Record]]
    calendar: dict[str, list[Record]]
    marketo: dict[str, list[Record]]
    calendly: dict[str, list[Record]]
    calcom: dict[str, list[Record]]
    ad_spend: list[Record]
    truth: list[Record]
    personas: list[Record]

    def to_json(self) -> bytes:
        """The whole world as JSON; equal bytes mean equal worlds."""
        import orjson

        return orjson.dumps(
            {
                "seed": self.seed,
                "anchor": self.anchor.isoformat(),
                "hubspot": self.hubspot,
                "hubspot_merges": self.hubspot_merges,
                "hubspot_associations": [
                    [*key, ids] for key, ids in self.hubspot_associations.items()
                ],
                "salesforce": self.salesforce,
                "calendar": self.calendar,
                "marketo": self.marketo,
                "calendly": self.calendly,
                "calcom": self.calcom,
                "ad_spend": self.ad_spend,
                "truth": self.truth,
                "personas": self.personas,
            }
        )

    def counts(self) -> dict[str, int]:
        """Number of records by `system.resource`."""
        found = {f"hubspot.{name}": len(rows) for name, rows in self.hubspot.items()}
        found |= {f"salesforce.{name}": len(rows) for name, rows in self.salesforce.items()}
        found["calendar.events"] = sum(len(rows) for rows in self.calendar.values())
        log = self.marketo["log"]
        deleted = sum(row["activityTypeId"] == DELETE_LEAD for row in log)
        found |= {
            "marketo.leads": len(self.marketo["leads"]),
            "marketo.deleted_leads": deleted,
            # A lead's making and its changes are told by the lead.
            "marketo.activities": sum(row["activityTypeId"] not in LEAD_LOG for row in log),
            "marketo.programs": len(self.marketo["programs"]),
        }
        found |= {f"calendly.{name}": len(rows) for name, rows in self.calendly.items()}
        found |= {f"calcom.{name}": len(rows) for name, rows in self.calcom.items()}
        found["ad_spend.days"] = len({(row["platform"], row["date"]) for row in self.ad_spend})
        found["people"] = len(self.truth)
        return found


def build_world(seed: int, anchor: datetime, people: int = 400) -> World:
    """The world of `seed` over the 120 days before `anchor` (aware; cut to whole seconds).

    `people` are drawn; the named personas come on top. The people, companies and ids depend on the seed alone; `anchor` only shifts their history in
    time.
    """
    if anchor.tzinfo is None:
        raise ValueError(f"anchor {anchor!r} has no time zone; pass an aware datetime")
    until = anchor.astimezone(UTC).replace(microsecond=0)
    drawn = draw_cast(seed, people)
    cast = replace(drawn, outsiders=(*drawn.outsiders, *COMPANIES))
    draft = Draft(seed, until, cast)
    calendar = CalendarRecords(draft)
    salesforce = SalesforceRecords(draft, calendar)
    hubspot = HubSpotRecords(draft)
    for person in cast.people:
        draft.records[person.key] = []
        draft.traits[person.key] = list(person.traits)
        steps = steps_of(draft, person)
        if person.segment != "sales_sourced" and not draft.is_typed_into_crm(person):
            hubspot.record(person, steps)
        salesforce.record(person, steps)
    marketo = MarketoRecords(draft)
    marketo.fill(cast.people)
    # Before the personas, whose stories are told in full elsewhere.
    salesforce.record_campaigns()
    record_personas(draft, hubspot, salesforce)
    calendar.fill()
    sales = HubSpotSalesRecords(draft, hubspot)
    for person in cast.people:
        sales.record(person, calendar.events)
    email_events, submissions = _marketing(hubspot, until)
    bookings = BookingRecords(draft)
    bookings.record()
    for rows in calendar.events.values():
        rows.sort(key=lambda row: (str(row["updated"]), str(row["id"])))
    for rows in salesforce.records.values():
        rows.sort(key=lambda row: str(row["Id"]))
    return World(
        seed=seed,
        anchor=until,
        reps=cast.reps,
        hubspot={
            "contacts": sorted(hubspot.contacts, key=lambda row: int(row["id"])),
            "companies": hubspot.companies(),
            "owners": hubspot.owners(),
            "campaigns": hubspot.campaigns(),
            "events": sorted(hubspot.events, key=lambda row: (row["occurredAt"], row["id"])),
            **sales.records,
            "email_events": email_events,
            "forms": forms(hubspot_time(until - timedelta(days=400))),
            "form_submissions": submissions,
        },
        hubspot_merges=hubspot.merges,
        hubspot_associations=sales.associations,
        salesforce=salesforce.records,
        calendar=calendar.events,
        marketo={
            "leads": marketo.leads,
            "log": marketo.log,
            "programs": marketo.programs(),
            "campaigns": marketo.campaigns(),
        },
        calendly=bookings.calendly,
        calcom=bookings.calcom,
        ad_spend=ad_spend_rows(draft),
        truth=[
            *(_truth(draft, person) for person in cast.people),
            *({**_truth(draft, each.person), "persona": each.name} for each in PERSONAS),
        ],
        personas=[_persona(draft, p) for p in cast.people if p.segment == "persona"],
    )


def _marketing(hubspot: HubSpotRecords, until: datetime) -> tuple[list[Record], list[Record]]:
    """The e-mail log and the submissions, oldest first."""
    contacts = {str(row["id"]): row for row in hubspot.contacts}
    # HubSpot keeps an address at one contact: of others that have it, the log cannot tell.
    holders = {str(row["properties"]["email"]).lower(): row for row in hubspot.contacts}
    log: list[Record] = []
    submissions: list[Record] = []
    for event in hubspot.events:
        contact_id = str(event["objectId"])
        contact = contacts[hubspot.merges.get(contact_id, contact_id)]
        if holders[str(contact["properties"]["email"]).lower()] is not contact:
            continue
        entries, submission = told_again(event, contact)
        log += entries
        submissions += [submission] if submission else []
    for contact in hubspot.contacts:
        changed = datetime.fromisoformat(contact["updatedAt"])
        if contact["properties"]["hs_email_optout"] == "true":
            log.append(status_change(contact, changed, is_subscribed=False))
        if int(contact["id"]) % 50 == 0:
            log.append(bounce(contact, min(changed, until - timedelta(hours=1))))
    log.sort(key=lambda row: (row["created"], row["id"]))
    submissions.sort(key=lambda row: (row["submittedAt"], row["conversionId"]))
    return log, submissions


def _truth(draft: Draft, person: Person) -> Record:
    emails = [person.email]
    if "hubspot_duplicate" in draft.traits[person.key]:
        emails.append(person.alias)
    phone = phone_text(person.company.country, person.phone, 0) if person.phone else None
    return {
        "person": person.key,
        "name": f"{person.first_name} {person.last_name}",
        "emails": emails,
        "phone": phone,
        "company_domain": person.company.domain,
        "country": person.company.country.code,
        "segment": person.segment,
        "traits": draft.traits[person.key],
        "records": [
            {"system": system, "record_type": record_type, "record_id": record_id}
            for system, record_type, record_id in draft.records[person.key]
        ],
    }


def _persona(draft: Draft, person: Person) -> Record:
    return {
        "person": person.key,
        "email": person.email,
        "first_name": person.first_name,
        "last_name": person.last_name,
        "company": person.company.name,
        "phone": draft.phone(person, 1),
        "country": person.company.country.code,
        "job_title": person.title,
    }

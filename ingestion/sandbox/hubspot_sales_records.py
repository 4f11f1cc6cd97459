"""What sales recorded in the simulated HubSpot: deals with the stages they went through, calls,
e-mails, meetings, notes and tasks.

Deals of the self-service plan, which inside sales closes in HubSpot: the CRM's opportunities are not
among them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

from ingestion.sandbox.cast import Person, Rep
from ingestion.sandbox.draft import Draft, Record
from ingestion.sandbox.hubspot_records import HubSpotRecords
from ingestion.sandbox.spelling import hubspot_time

KINDS = ("deals", "calls", "emails", "meetings", "notes", "tasks")
STAGES = ("appointmentscheduled", "qualifiedtobuy", "decisionmakerboughtin", "contractsent")
OUTCOMES = {"held": "COMPLETED", "no_show": "NO_SHOW", "cancelled": "CANCELED", "": "SCHEDULED"}
# Dispositions of a new portal: developers.hubspot.com, "Calls".
CONNECTED = "f240bbac-87c9-4f6e-bf70-924b57d47db7"


class HubSpotSalesRecords:
    """Collects `records` by kind of object; `associations` by (kind, id, other kind): ids, the
    primary one first."""

    def __init__(self, draft: Draft, hubspot: HubSpotRecords) -> None:
        """Starts empty; comes after everybody's contacts, from a stream of its own."""
        self.draft = draft
        self.records: dict[str, list[Record]] = {kind: [] for kind in KINDS}
        self.associations: dict[tuple[str, str, str], list[str]] = {}
        self._rng = Random(f"{draft.cast.reps[0].owner_id}|{len(draft.cast.people)}|hubspot sales")
        self._merges = hubspot.merges
        self._contacts = {str(row["id"]): row for row in hubspot.contacts}
        self._numbers = dict.fromkeys(("deals", "engagements"), 0)

    def record(self, person: Person, calendar: dict[str, list[Record]]) -> None:
        """What sales did about the person, if they are in HubSpot and worth it."""
        contact = self._contact_of(person)
        if contact is None or person.segment not in ("hot", "engaged"):
            return
        rng = self._rng
        pool = [
            rep
            for rep in self.draft.cast.reps
            if person.company.country.territory in rep.territories
        ]
        rep = rng.choice(pool)
        known = datetime.fromisoformat(str(contact["createdAt"]))
        for owner in self.draft.cast.reps:
            for event in calendar[owner.email]:
                invited = {each["email"] for each in event["attendees"]}
                if person.email in invited and rng.random() < 0.7:
                    self._meeting(owner, contact, event)
        if rng.random() < 0.12:
            self._logged_meeting(rep, contact, self._later(known))
        for _ in range(rng.randrange(3) if person.segment == "hot" else rng.randrange(2)):
            self._call(rep, contact, self._later(known))
        if rng.random() < 0.4:
            self._email(rep, contact, self._later(known))
        if rng.random() < 0.2:
            self._plain("notes", rep, contact, self._later(known), {})
        if rng.random() < 0.25:
            done = rng.random() < 0.7
            at = self._later(known)
            self._plain(
                "tasks", rep, contact, at,
                {
                    "hs_task_subject": f"Follow up with {person.first_name}",
                    "hs_task_type": "TODO",
                    "hs_task_status": "COMPLETED" if done else "NOT_STARTED",
                    "hs_task_completion_date": hubspot_time(at) if done else None,
                },
            )  # fmt: skip
        in_crm = any(system == "salesforce" for system, _, _ in self.draft.records[person.key])
        if person.segment == "engaged" and not in_crm and rng.random() < 0.25:
            self._deal(person, rep, contact, self._later(known))

    def _contact_of(self, person: Person) -> Record | None:
        for system, _, record_id in self.draft.records[person.key]:
            if system == "hubspot":
                return self._contacts.get(self._merges.get(record_id, record_id))
        return None

    def _later(self, first: datetime) -> datetime:
        last = self.draft.anchor - timedelta(hours=2)
        return first + (last - first) * self._rng.random() if first < last else last

    def _new(
        self, kind: str, contact: Record, properties: Record, created: datetime, changed: datetime
    ) -> Record:
        counter = "deals" if kind == "deals" else "engagements"
        self._numbers[counter] += self._rng.randrange(1, 9)
        base = 9_000_000_000 if kind == "deals" else 41_000_000_000
        record_id = str(base + self._numbers[counter])
        changed = min(max(changed, created), self.draft.anchor)
        made = "createdate" if kind == "deals" else "hs_createdate"
        row: Record = {
            "id": record_id,
            "properties": {
                "hs_object_id": record_id,
                made: hubspot_time(created),
                "hs_lastmodifieddate": hubspot_time(changed),
                **properties,
            },
            "createdAt": hubspot_time(created),
            "updatedAt": hubspot_time(changed),
            "archived": False,
        }
        self.records[kind].append(row)
        self.associations[kind, record_id, "contacts"] = [str(contact["id"])]
        return row

    def _plain(
        self, kind: str, rep: Rep, contact: Record, at: datetime, properties: Record
    ) -> Record:
        stamped = {"hs_timestamp": hubspot_time(at), "hubspot_owner_id": rep.owner_id, **properties}
        return self._new(kind, contact, stamped, at, at + timedelta(minutes=2))

    def _call(self, rep: Rep, contact: Record, at: datetime) -> None:
        reached = self._rng.random() < 0.6
        self._plain(
            "calls", rep, contact, at,
            {
                "hs_call_title": f"Call with {contact['properties']['firstname']}",
                "hs_call_direction": "OUTBOUND",
                "hs_call_status": "COMPLETED" if reached else "NO_ANSWER",
                "hs_call_disposition": CONNECTED if reached else None,
                "hs_call_duration": str(self._rng.randrange(60_000, 900_000)) if reached else "0",
            },
        )  # fmt: skip

    def _email(self, rep: Rep, contact: Record, at: datetime) -> None:
        subject = f"Your questions about Handoff, {contact['properties']['firstname']}"
        sent = {"hs_email_subject": subject, "hs_email_direction": "EMAIL"}
        self._plain("emails", rep, contact, at, {**sent, "hs_email_status": "SENT"})
        if self._rng.random() < 0.35:
            answered = min(
                at + timedelta(hours=self._rng.uniform(0.5, 30)),
                self.draft.anchor - timedelta(minutes=10),
            )
            reply = {"hs_email_subject": f"Re: {subject}", "hs_email_direction": "INCOMING_EMAIL"}
            self._plain("emails", rep, contact, answered, reply)

    def _meeting(self, rep: Rep, contact: Record, event: Record) -> None:
        """The calendar's meeting as HubSpot has it: synchronised, under the calendar's id, or logged
        by hand, under none."""
        starts, ends = (
            datetime.fromisoformat(event[name]["dateTime"]) for name in ("start", "end")
        )
        private = event["extendedProperties"].get("private", {})
        outcome = "cancelled" if event["status"] == "cancelled" else private.get("outcome", "")
        by_hand = self._rng.random() < 0.4
        created = datetime.fromisoformat(event["created"]) + timedelta(minutes=1)
        changed = datetime.fromisoformat(event["updated"]) + timedelta(minutes=1)
        self._new(
            "meetings",
            contact,
            {
                "hs_timestamp": hubspot_time(starts),
                "hubspot_owner_id": rep.owner_id,
                "hs_meeting_title": event["summary"],
                "hs_meeting_start_time": hubspot_time(starts),
                "hs_meeting_end_time": hubspot_time(ends),
                "hs_meeting_outcome": OUTCOMES[outcome],
                "hs_engagement_source": "CRM_UI" if by_hand else "MEETINGS",
                "hs_engagement_source_id": None if by_hand else event["id"],
            },
            created,
            changed,
        )

    def _logged_meeting(self, rep: Rep, contact: Record, at: datetime) -> None:
        """A meeting that stands in no calendar we read: a rep wrote it down afterwards."""
        starts = at.replace(minute=0, second=0, microsecond=0)
        self._new(
            "meetings",
            contact,
            {
                "hs_timestamp": hubspot_time(starts),
                "hubspot_owner_id": rep.owner_id,
                "hs_meeting_title": "Talk at the trade fair",
                "hs_meeting_start_time": hubspot_time(starts),
                "hs_meeting_end_time": hubspot_time(starts + timedelta(minutes=20)),
                "hs_meeting_outcome": "COMPLETED",
                "hs_engagement_source": "CRM_UI",
                "hs_engagement_source_id": None,
            },
            at + timedelta(hours=1),
            at + timedelta(hours=1),
        )

    def _deal(self, person: Person, rep: Rep, contact: Record, opened: datetime) -> None:
        rng = self._rng
        age = (self.draft.anchor - opened) / (len(STAGES) + 1)
        reached = rng.randrange(1, len(STAGES) + 1)
        history = [
            (STAGES[number], opened + age * number * rng.uniform(0.6, 0.9))
            for number in range(reached)
        ]
        history[0] = (STAGES[0], opened)
        closed = rng.choice(("closedwon", "closedlost")) if rng.random() < 0.5 else None
        if closed:
            history.append((closed, history[-1][1] + age * 0.5))
        stage, entered = history[-1]
        expected = entered if closed else self.draft.anchor + timedelta(days=rng.randrange(5, 60))
        deal = self._new(
            "deals",
            contact,
            {
                "dealname": f"{person.company.name} – self-service plan",
                "dealstage": stage,
                "pipeline": "default",
                "amount": f"{rng.randrange(900, 6_000)}",
                "closedate": hubspot_time(expected),
                "dealtype": "newbusiness",
                "hs_is_closed": "true" if closed else "false",
                "hs_is_closed_won": "true" if closed == "closedwon" else "false",
                "hubspot_owner_id": rep.owner_id,
                "hs_merged_object_ids": None,
                "num_associated_contacts": "1",
            },
            opened,
            entered + timedelta(seconds=3),
        )
        # Newest first, as HubSpot tells it.
        deal["propertiesWithHistory"] = {
            "dealstage": [
                {
                    "value": name,
                    "timestamp": hubspot_time(at),
                    "sourceType": "CRM_UI",
                    "sourceId": f"userId:{int(rep.owner_id) + 40_000}",
                }
                for name, at in reversed(history)
            ]
        }
        company = contact["properties"].get("associatedcompanyid")
        if company:
            self.associations["deals", str(deal["id"]), "companies"] = [str(company)]

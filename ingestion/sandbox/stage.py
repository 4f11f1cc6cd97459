"""The world's records where personas may change them: HubSpot's contacts and events, the reps'
calendars; what is done to them and why is acts.py's."""

from __future__ import annotations

import uuid
from copy import deepcopy
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from ingestion import time_zones
from ingestion.sandbox.calendar_records import calendar_event
from ingestion.sandbox.cast import SITE, Person, Rep
from ingestion.sandbox.hubspot_marketing_records import status_change, told_again
from ingestion.sandbox.hubspot_records import EVENT_TYPES, merge_audit
from ingestion.sandbox.spelling import hubspot_time
from ingestion.sandbox.world import World

Record = dict[str, Any]


class Stage:
    """`world` is a copy whose records may change, in place: the vendors' APIs serve it as it is."""

    def __init__(self, built: World) -> None:
        """`built` itself is never touched."""
        self._built = built
        self.world = replace(
            built,
            hubspot={name: list(rows) for name, rows in built.hubspot.items()},
            hubspot_merges=dict(built.hubspot_merges),
            hubspot_associations={
                key: list(ids) for key, ids in built.hubspot_associations.items()
            },
            calendar={email: list(rows) for email, rows in built.calendar.items()},
            calendly=deepcopy(built.calendly),
            calcom=deepcopy(built.calcom),
            ad_spend=deepcopy(built.ad_spend),
        )

    def restore(self) -> None:
        """All as it was built."""
        for name, rows in self._built.hubspot.items():
            self.world.hubspot[name][:] = rows
        for email, rows in self._built.calendar.items():
            self.world.calendar[email][:] = rows
        for kind, kept in deepcopy(self._built.calendly).items():
            self.world.calendly[kind][:] = kept
        self.world.calcom["bookings"][:] = deepcopy(self._built.calcom["bookings"])
        self.world.ad_spend[:] = deepcopy(self._built.ad_spend)
        self.world.hubspot_merges.clear()
        self.world.hubspot_merges.update(self._built.hubspot_merges)
        self.world.hubspot_associations.update(
            {key: list(ids) for key, ids in self._built.hubspot_associations.items()}
        )

    def contacts_of(self, person: Person) -> list[Record]:
        """The person's contacts in HubSpot, merged ones as what they became, oldest first."""
        entry = next(row for row in self.world.truth if row["person"] == person.key)
        ids = [
            self.world.hubspot_merges.get(row["record_id"], row["record_id"])
            for row in entry["records"]
            if row["system"] == "hubspot"
        ]
        rows = {row["id"]: row for row in self.world.hubspot["contacts"]}
        return [rows[record_id] for record_id in dict.fromkeys(ids) if record_id in rows]

    def add_event(self, contact: Record, kind: str, detail: str, at: datetime, key: str) -> str:
        """An event occurrence of a contact, its id made from `key`; kinds are behaviour.Step's."""
        event_id = str(uuid.uuid5(uuid.NAMESPACE_URL, key))
        event = {
            "id": event_id,
            "objectType": "CONTACT",
            "objectId": contact["id"],
            "eventType": EVENT_TYPES[kind],
            "occurredAt": hubspot_time(at),
            "properties": {"hs_url": SITE + detail} if detail.startswith("/") else {},
        }
        self.world.hubspot["events"].append(event)
        # Readers page by time: a clock set back must not leave an event behind them unsorted.
        self.world.hubspot["events"].sort(key=lambda row: (row["occurredAt"], row["id"]))
        self._log(*told_again(event, contact)[0])
        return event_id

    def change_contact(self, contact: Record, properties: Record, at: datetime) -> None:
        """New values of some properties."""
        now = hubspot_time(at)
        changed = {
            **contact,
            "properties": {**contact["properties"], **properties, "lastmodifieddate": now},
            "updatedAt": now,
        }
        rows = self.world.hubspot["contacts"]
        rows[[row["id"] for row in rows].index(contact["id"])] = changed
        optout = properties.get("hs_email_optout")
        if optout not in (None, contact["properties"]["hs_email_optout"]):
            self._log(status_change(contact, at, is_subscribed=optout == "false"))

    def _log(self, *entries: Record) -> None:
        """Adds to the e-mail log."""
        log = self.world.hubspot["email_events"]
        log.extend(entries)
        log.sort(key=lambda row: (row["created"], row["id"]))

    def merge_contacts(self, primary: Record, other: Record, at: datetime) -> str:
        """HubSpot's merge: a third id takes over, the primary's values win; the new id."""
        rows = self.world.hubspot["contacts"]
        new_id = str(max(int(row["id"]) for row in rows) + 11)
        now = hubspot_time(at)
        joined = {
            **primary,
            "id": new_id,
            "properties": {
                **primary["properties"],
                "hs_object_id": new_id,
                "lastmodifieddate": now,
                **merge_audit((primary, other), at),
            },
            "updatedAt": now,
        }
        gone = {primary["id"], other["id"]}
        rows[:] = [*(row for row in rows if row["id"] not in gone), joined]
        for old, new in list(self.world.hubspot_merges.items()):
            if new in gone:
                self.world.hubspot_merges[old] = new_id
        self.world.hubspot_merges.update(dict.fromkeys(gone, new_id))
        # Deals and engagements go with the contact that others became.
        for (_, _, other_kind), ids in self.world.hubspot_associations.items():
            if other_kind == "contacts":
                ids[:] = dict.fromkeys(new_id if each in gone else each for each in ids)
        return new_id

    def rep_for(self, person: Person) -> Rep:
        """The first full-time rep of the person's territory."""
        territory = person.company.country.territory
        pool = [rep for rep in self.world.reps if territory in rep.territories]
        return max(pool, key=lambda rep: (rep.weight >= 1, -self.world.reps.index(rep)))

    def book(self, person: Person, email: str, at: datetime, key: str) -> tuple[Rep, datetime]:
        """A meeting of half an hour in the rep's calendar, at ten on a working day in two days or
        after; whom with, and when."""
        rep = self.rep_for(person)
        local = (at + timedelta(days=2)).astimezone(time_zones.zone(rep.time_zone))
        while local.weekday() >= 5:
            local += timedelta(days=1)
        starts_at = local.replace(hour=10, minute=0, second=0, microsecond=0)
        rows = self.world.calendar[rep.email]
        taken = {row["start"]["dateTime"] for row in rows if row["status"] != "cancelled"}
        while starts_at.isoformat(timespec="seconds") in taken:
            starts_at += timedelta(minutes=30)
        rows.append(
            calendar_event(
                uuid.uuid5(uuid.NAMESPACE_URL, key).hex[:26],
                rep,
                f"Intro call: {person.company.name}",
                starts_at,
                30,
                at,
                at,
                attendee=email,
            )
        )
        rows.sort(key=lambda row: (str(row["updated"]), str(row["id"])))
        return rep, starts_at

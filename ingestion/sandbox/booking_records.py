"""What stands in the simulated company's booking tools: meetings that people booked with reps by
themselves, by Calendly in Europe and by Cal.com in the Americas."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice

from ingestion import time_zones
from ingestion.sandbox.cast import SITE, Person, Rep
from ingestion.sandbox.draft import Draft, Record
from ingestion.sandbox.identifiers import google_event_id
from ingestion.sandbox.spelling import hubspot_time

CALENDLY = "https://api.calendly.com"
# Days from the anchor to the meeting, and what became of it; `moved` ends in a second booking.
CALENDLY_STORIES: tuple[tuple[int, str], ...] = (
    (-38, "held"), (-26, "no_show"), (-19, "cancelled"), (-9, "held"), (-4, "moved"), (3, "booked"),
)  # fmt: skip
CALCOM_STORIES: tuple[tuple[int, str], ...] = (
    (-33, "held"), (-21, "moved"), (-12, "no_show"), (-6, "rejected"), (2, "cancelled"),
    (4, "booked"), (6, "pending"),
)  # fmt: skip
GROUP_DAY = 5
TIME_ZONES = {
    "DE": "Europe/Berlin", "AT": "Europe/Vienna", "CH": "Europe/Zurich", "GB": "Europe/London",
    "FR": "Europe/Paris", "NL": "Europe/Amsterdam", "ES": "Europe/Madrid", "IT": "Europe/Rome",
    "SE": "Europe/Stockholm", "PL": "Europe/Warsaw", "US": "America/Chicago",
    "CA": "America/Toronto", "BR": "America/Sao_Paulo", "MX": "America/Mexico_City",
}  # fmt: skip


class BookingRecords:
    """Collects `calendly` and `calcom` by resource; the people are drawn once, in order."""

    def __init__(self, draft: Draft) -> None:
        """Starts with the members of Calendly's organization and no booking."""
        self.draft = draft
        self.rng = draft.draw["bookings"]
        self.in_europe = [rep for rep in draft.cast.reps if "emea" in rep.territories]
        self.in_america = [rep for rep in draft.cast.reps if "americas" in rep.territories]
        self.calendly: dict[str, list[Record]] = {
            "organization_memberships": [self._membership(rep) for rep in draft.cast.reps],
            "invitees": [],
        }
        self.calcom: dict[str, list[Record]] = {"bookings": []}

    def record(self) -> None:
        """All bookings; the same people and ids for every anchor, as many as there are people."""
        europeans = self._people("emea", "dach")
        # The people stand second: a zip that ends for want of stories takes nobody out.
        for number, ((day, outcome), person) in enumerate(
            zip(CALENDLY_STORIES, europeans, strict=False)
        ):
            rep = self.in_europe[number % len(self.in_europe)]
            self._calendly(person, rep, day, outcome)
        group = list(islice(europeans, 2))
        if len(group) == 2:
            self._group(group[0], group[1], self.in_europe[0])
        americans = self._people("americas")
        for number, ((day, outcome), person) in enumerate(
            zip(CALCOM_STORIES, americans, strict=False)
        ):
            rep = self.in_america[number % len(self.in_america)]
            self._calcom(person, rep, day, outcome)

    def _people(self, *territories: str) -> Iterator[Person]:
        """People whom a booking may name: with a mailbox of their own that the MAP knows."""
        for person in self.draft.cast.people:
            known = [row for row in self.draft.records[person.key] if row[0] == "hubspot"]
            traits = self.draft.traits[person.key]
            if (
                person.segment == "engaged"
                and person.company.country.territory in territories
                and known
                and not {"shared_mailbox", "opted_out"} & set(traits)
            ):
                yield person

    # ---- Calendly -------------------------------------------------------------------------------

    def _membership(self, rep: Rep) -> Record:
        since = hubspot_time(self.draft.anchor - timedelta(days=380))
        user = f"{CALENDLY}/users/{_uuid('user', rep.email)}"
        return {
            "uri": f"{CALENDLY}/organization_memberships/{_uuid('membership', rep.email)}",
            "role": "user",
            "user": {
                "uri": user,
                "name": rep.name,
                "slug": rep.email.partition("@")[0],
                "email": rep.email,
                "scheduling_url": f"https://calendly.com/{rep.email.partition('@')[0]}",
                "timezone": rep.time_zone,
                "avatar_url": None,
                "created_at": since,
                "updated_at": since,
            },
            "organization": f"{CALENDLY}/organizations/{_uuid('organization', 'own')}",
            "created_at": since,
            "updated_at": since,
        }

    def _calendly(self, person: Person, rep: Rep, day: int, outcome: str) -> None:
        starts_at, booked_at = self._times(rep, day)
        event = self._event(person.key, rep, starts_at, booked_at, limit=1)
        invitee = self._invitee(person, event, booked_at)
        if outcome == "no_show":
            marked = hubspot_time(starts_at + timedelta(minutes=20))
            uri = f"{CALENDLY}/invitee_no_shows/{_uuid('no-show', person.key)}"
            invitee["no_show"] = {"uri": uri, "created_at": marked}
        elif outcome in ("cancelled", "moved"):
            changed = booked_at + timedelta(hours=5)
            self._cancel(invitee, person, changed)
            if outcome == "moved":
                later, _ = self._times(rep, day + 6)
                again = self._event(person.key + "+", rep, later, changed, limit=1)
                new = self._invitee(person, again, changed, key=person.key + "+")
                new["old_invitee"] = invitee["uri"]
                invitee |= {"new_invitee": new["uri"], "rescheduled": True}

    def _group(self, stays: Person, leaves: Person, rep: Rep) -> None:
        """An event for a group: one of two invitees cancels, the event takes place."""
        starts_at, booked_at = self._times(rep, GROUP_DAY)
        event = self._event(stays.key, rep, starts_at, booked_at, limit=20)
        self._invitee(stays, event, booked_at)
        left = self._invitee(leaves, event, booked_at + timedelta(minutes=7))
        self._cancel(left, leaves, booked_at + timedelta(hours=3), event_goes_on=True)
        event["invitees_counter"] = {"total": 2, "active": 1, "limit": 20}

    def _event(
        self, key: str, rep: Rep, starts_at: datetime, booked_at: datetime, limit: int
    ) -> Record:
        made = hubspot_time(booked_at)
        return {
            "uri": f"{CALENDLY}/scheduled_events/{_uuid('event', key)}",
            "name": "Intro call" if limit == 1 else "Product tour",
            "status": "active",
            "start_time": hubspot_time(starts_at),
            "end_time": hubspot_time(starts_at + timedelta(minutes=30)),
            "event_type": f"{CALENDLY}/event_types/{_uuid('event type', str(limit))}",
            "location": {"type": "google_conference", "status": "pushed", "join_url": None},
            "invitees_counter": {"total": 1, "active": 1, "limit": limit},
            "created_at": made,
            "updated_at": made,
            "event_memberships": [
                {
                    "user": f"{CALENDLY}/users/{_uuid('user', rep.email)}",
                    "user_email": rep.email,
                    "user_name": rep.name,
                }
            ],
            "event_guests": [],
            "calendar_event": {"kind": "google", "external_id": google_event_id(self.rng)},
        }

    def _invitee(
        self, person: Person, event: Record, booked_at: datetime, key: str | None = None
    ) -> Record:
        made = hubspot_time(booked_at)
        invitee: Record = {
            "uri": f"{event['uri']}/invitees/{_uuid('invitee', key or person.key)}",
            "email": person.email,
            "first_name": person.first_name,
            "last_name": person.last_name,
            "name": f"{person.first_name} {person.last_name}",
            "status": "active",
            "timezone": TIME_ZONES[person.company.country.code],
            "event": event["uri"],
            "questions_and_answers": [],
            "tracking": {
                "utm_source": "linkedin",
                "utm_medium": "paid_social",
                "utm_campaign": "linkedin-demand",
                "utm_content": None,
                "utm_term": None,
                "salesforce_uuid": None,
            },
            "text_reminder_number": None,
            "rescheduled": False,
            "old_invitee": None,
            "new_invitee": None,
            "no_show": None,
            "reconfirmation": None,
            "routing_form_submission": None,
            "payment": None,
            "created_at": made,
            "updated_at": made,
            "scheduled_event": event,
        }
        self.calendly["invitees"].append(invitee)
        self._known("calendly", person)
        return invitee

    def _cancel(
        self, invitee: Record, person: Person, at: datetime, event_goes_on: bool = False
    ) -> None:
        told = {
            "canceled_by": f"{person.first_name} {person.last_name}",
            "reason": "Something came up",
            "canceler_type": "invitee",
            "created_at": hubspot_time(at),
        }
        invitee |= {"status": "canceled", "cancellation": told, "updated_at": hubspot_time(at)}
        event = invitee["scheduled_event"]
        if not event_goes_on:
            counter = {"total": 1, "active": 0, "limit": 1}
            event |= {"status": "canceled", "cancellation": told, "invitees_counter": counter}
        event["updated_at"] = hubspot_time(at)

    # ---- Cal.com --------------------------------------------------------------------------------

    def _calcom(self, person: Person, rep: Rep, day: int, outcome: str) -> None:
        starts_at, booked_at = self._times(rep, day)
        booking = self._booking(person, rep, starts_at, booked_at)
        if outcome in ("rejected", "pending"):
            booking["status"] = outcome
        elif outcome == "no_show":
            # The mark stands with the attendee: the booking's own `updatedAt` stays.
            booking["attendees"][0]["absent"] = True
        elif outcome in ("cancelled", "moved"):
            changed = booked_at + timedelta(hours=5)
            booking |= {
                "status": "cancelled",
                "cancellationReason": "Something came up",
                "updatedAt": hubspot_time(changed),
            }
            if outcome == "moved":
                later, _ = self._times(rep, day + 6)
                again = self._booking(person, rep, later, changed, key=person.key + "+")
                again["rescheduledFromUid"] = booking["uid"]
                booking["rescheduledToUid"] = again["uid"]

    def _booking(
        self,
        person: Person,
        rep: Rep,
        starts_at: datetime,
        booked_at: datetime,
        key: str | None = None,
    ) -> Record:
        name = f"{person.first_name} {person.last_name}"
        uid = hashlib.sha256(f"booking|{key or person.key}".encode()).hexdigest()[:22]
        slug = rep.email.partition("@")[0]
        booking: Record = {
            "id": 4_000 + len(self.calcom["bookings"]),
            "uid": uid,
            "title": f"Demo between {rep.name} and {name}",
            "description": "",
            "hosts": [
                {
                    "id": 800 + self.draft.cast.reps.index(rep),
                    "name": rep.name,
                    "email": rep.email,
                    "displayEmail": rep.email,
                    "username": slug,
                    "timeZone": rep.time_zone,
                }
            ],
            "status": "accepted",
            "start": hubspot_time(starts_at),
            "end": hubspot_time(starts_at + timedelta(minutes=30)),
            "duration": 30,
            "eventTypeId": 61,
            "eventType": {"id": 61, "slug": "demo"},
            "location": f"{SITE}/demo/{slug}",
            "absentHost": False,
            "createdAt": hubspot_time(booked_at),
            "updatedAt": hubspot_time(booked_at),
            "attendees": [
                {
                    "name": name,
                    "email": person.email,
                    "displayEmail": person.email,
                    "timeZone": TIME_ZONES[person.company.country.code],
                    "language": "en",
                    "absent": False,
                }
            ],
            "guests": [],
            "bookingFieldsResponses": {"name": name, "email": person.email},
            "metadata": {},
            "icsUid": f"{uid}@Cal.com",
        }
        self.calcom["bookings"].append(booking)
        self._known("calcom", person)
        return booking

    # ---- both -----------------------------------------------------------------------------------

    def _known(self, system: str, person: Person) -> None:
        """Neither tool has an id of a person: who they are, their address says."""
        digest = hashlib.sha256(person.email.lower().encode()).hexdigest()[:32]
        entry = (system, "contact", digest)
        if entry not in self.draft.records[person.key]:
            self.draft.records[person.key].append(entry)

    def _times(self, rep: Rep, day: int) -> tuple[datetime, datetime]:
        """A half hour of a working day of the rep's some `day`s from the anchor, and an instant some
        days before it and before the anchor at which it was booked."""
        zone = time_zones.zone(rep.time_zone)
        local = (self.draft.anchor + timedelta(days=day)).astimezone(zone)
        while local.weekday() >= 5:
            local += timedelta(days=1)
        hour = self.rng.randrange(10, 16)
        starts_at = local.replace(hour=hour, minute=0, second=0, microsecond=0)
        before = min(starts_at.astimezone(self.draft.anchor.tzinfo), self.draft.anchor)
        booked_at = before - timedelta(days=3, minutes=self.rng.randrange(1, 600))
        return starts_at, booked_at.replace(second=0, microsecond=0)


def _uuid(kind: str, key: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"handoff-sandbox|{kind}|{key}"))

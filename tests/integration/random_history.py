"""A random history of one company: events and polled versions, batch by batch, from a seed."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ingestion.connectors.extracted import Extracted

START = datetime(2026, 1, 1, tzinfo=UTC)
STEP = timedelta(days=20)

EMAILS = [f"person{number}@{domain}" for number in range(25) for domain in ("acme.de", "globex.com")] + [
    "free1@gmail.com", "free2@gmail.com", "info@acme.de", "Sales@globex.com", "test@acme.de",
    "person1@ACME.de", " person2@acme.de", "no address",
]  # fmt: skip
PHONES = [f"+4930227100{number}" for number in range(4)] + ["030 2271000", "+493022710099", "123"]
DOMAINS = ["acme.de", "globex.com", "initech.com", "gmail.com"]
FORMS = ["contact_sales", "demo_request", "ebook_download", "newsletter"]
SYSTEMS = ["web", "hubspot", "marketo", "salesforce"]


def instant(batch: int) -> datetime:
    """`as_of` of a batch."""
    return START + STEP * (batch + 1)


@dataclass
class History:
    """Makes one batch after the other; equal seeds make equal histories."""

    seed: int
    rng: random.Random = field(init=False)
    sent: list[dict[str, Any]] = field(default_factory=list)
    activities: list[str] = field(default_factory=list)
    merged: list[tuple[str, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def record(self, system: str | None = None) -> tuple[str, str]:
        """A person's record: ids come back, so most events are about somebody known."""
        system = system or self.rng.choice(SYSTEMS)
        number = self.rng.randrange(20)
        if system == "salesforce":
            return system, f"{self.rng.choice(['00Q', '003'])}0000000000{number:02}AAA"
        return system, str(number)

    def when(self, batch: int) -> datetime:
        """Any time since the start: late, of the day, or still ahead of this batch's `as_of`."""
        span = (instant(batch + 1) - START).total_seconds()
        return START + timedelta(microseconds=self.rng.randrange(int(span * 1e6)))

    def events(
        self, make: Callable[..., dict[str, Any]], batch: int, count: int
    ) -> list[dict[str, Any]]:
        """The batch's events, some of them sent before."""
        kinds = {
            self.contact: 30, self.activity: 60, self.consent: 16, self.merge: 6, self.stage_change: 4,
            self.opportunity: 8, self.meeting: 6, self.rep: 3, self.account: 6, self.campaign: 3,
        }  # fmt: skip
        made: list[dict[str, Any]] = []
        for _ in range(count):
            kind = self.rng.choices(list(kinds), list(kinds.values()))[0]
            record, data = kind()
            time, number = self.when(batch), f"{self.seed}-{len(self.sent) + len(made)}"
            made.append(make(record, data, time, event_id=number))
        for record, data in self.buyers(batch):
            number = f"{self.seed}-{len(self.sent) + len(made)}"
            made.append(make(record, data, instant(batch) - STEP / 2, event_id=number))
        again = self.rng.sample(self.sent, min(len(self.sent), count // 10))
        self.sent += made
        return made + again

    def some(self, **choices: list[Any]) -> dict[str, Any]:
        """Some of the fields: left out is unchanged, None empties."""
        return {
            name: self.rng.choice(values)
            for name, values in choices.items()
            if self.rng.random() < 0.5
        }

    def buyers(self, batch: int) -> Iterator[tuple[str, dict[str, Any]]]:
        """Four who agree and ask for a demo; a batch later one says no, another's mailbox does,
        and two turn out to be one."""
        for number in range(4):
            who = {"system": "web", "contact_id": f"b{batch}{number}"}
            form = {"activity_type": "form_submit", "form_id": "contact_sales"}
            yield (
                "contact",
                {
                    "system": "web",
                    "record_id": f"b{batch}{number}",
                    "email": f"info@initech{batch}.com"
                    if number == 3
                    else f"buyer{batch}{number}@initech.com",
                    "country": "DE",
                    "job_title": "Head of IT",
                },
            )
            yield "activity", {"system": "web", "activity_id": f"ab{batch}{number}", **form, **who}
            yield (
                "consent",
                {**who, "channel": "email", "lawful_basis": "consent", "status": "granted"},
            )
            if number == 0 and batch:
                no = {**who, "contact_id": f"b{batch - 1}0", "lawful_basis": "consent"}
                yield "consent", {**no, "channel": "email", "status": "withdrawn"}
                mailbox = {"system": "web", "email": f"info@initech{batch - 1}.com"}
                no = {**mailbox, "channel": "email", "lawful_basis": "consent"}
                yield "consent", {**no, "status": "withdrawn"}
                yield (
                    "merge",
                    {
                        "system": "web",
                        "surviving_id": f"b{batch - 1}1",
                        "merged_ids": [f"b{batch - 1}2"],
                    },
                )

    def contact(self) -> tuple[str, dict[str, Any]]:
        system, record_id = self.record()
        data = self.some(
            email=[*EMAILS, None],
            phone=[*PHONES, None],
            country=["DE", "GB", "US", "BR", "SG", None],
            company=["Acme", "Globex", None],
            job_title=["Head of IT", "Student", "Manager", None],
            first_name=["Ada", "Grace", None],
            last_name=["Keller", "Hopper"],
            original_source=["Paid Search", "referral", None],
            latest_source=["event", "webinar"],
            is_deleted=[False, False, False, True],
            campaign_id=["c1", "c2"],
        )
        if self.rng.random() < 0.15:
            other_system, other_id = self.record()
            data["external_ids"] = [{"system": other_system, "record_id": other_id}]
        return "contact", {"system": system, "record_id": record_id, **data}

    def activity(self) -> tuple[str, dict[str, Any]]:
        if self.activities and self.rng.random() < 0.15:
            system, activity_id = self.rng.choice(self.activities).split("/")
        else:
            system, activity_id = self.rng.choice(SYSTEMS), f"a{self.seed}-{len(self.activities)}"
            self.activities.append(f"{system}/{activity_id}")
        kind = self.rng.choice(
            ["form_submit"] * 4
            + ["webinar_attend", "page_view", "meeting_booked", "email_click", "email_open"]
        )
        data = {"system": system, "activity_id": activity_id, "activity_type": kind}
        if self.rng.random() < 0.75:
            data["contact_id"] = self.record(system)[1]
        elif self.rng.random() < 0.8:
            data["email"] = self.rng.choice(EMAILS)
        if system == "web":
            data["anonymous_id"] = f"v{int(activity_id.rpartition('-')[2]) % 60}"
        if kind == "form_submit":
            data["form_id"] = self.rng.choice(FORMS)
        if kind == "page_view":
            data["url"] = self.rng.choice(["https://x.example/pricing", "/blog/one", "/demo?x=1"])
        data |= self.some(campaign_id=["c1", "c2", "c3"], utm_medium=["cpc", "email", "social"])
        return "activity", data

    def consent(self) -> tuple[str, dict[str, Any]]:
        system, record_id = self.record()
        who = (
            {"contact_id": record_id}
            if self.rng.random() < 0.6
            else {"email": self.rng.choice(EMAILS)}
        )
        return "consent", {
            "system": system,
            **who,
            "channel": self.rng.choice(["email"] * 4 + ["crm", "all", "phone"]),
            "lawful_basis": self.rng.choice(["consent", "legitimate_interest"]),
            "status": self.rng.choice(["granted"] * 7 + ["denied", "withdrawn", "pending"]),
            **self.some(
                purpose=["marketing", "product_news", "events", "profiling", "tracking"],
                gpc=[True, False, False],
            ),
        }

    def merge(self) -> tuple[str, dict[str, Any]]:
        if self.merged and self.rng.random() < 0.4:
            system, surviving, former = self.rng.choice(self.merged)
            undo = True
        else:
            system, surviving = self.record()
            former = self.record(system)[1]
            self.merged.append((system, surviving, former))
            undo = False
        return "merge", {
            "system": system,
            "surviving_id": surviving,
            "merged_ids": [former],
            "unmerge": undo,
        }

    def stage_change(self) -> tuple[str, dict[str, Any]]:
        system, record_id = self.record()
        to = self.rng.choice(["accepted", "rejected", "sql", "recycled"])
        return "stage_change", {"system": system, "contact_id": record_id, "from": "mql", "to": to}

    def opportunity(self) -> tuple[str, dict[str, Any]]:
        system = self.rng.choice(["salesforce", "hubspot"])
        data = self.some(
            contact_ids=[[self.record(system)[1] for _ in range(self.rng.randrange(1, 4))]],
            amount_usd=[1000, 999.99, 0.05, None],
            account_id=["acc1", "acc2", None],
            created_at=[self.when(0).isoformat()],
            closed_at=[self.when(2).isoformat(), None],
            is_won=[True, True, False],
            owner_id=["r1", "r2", "r9"],
            is_deleted=[False, False, True],
        )
        return "opportunity", {"system": system, "record_id": f"o{self.rng.randrange(8)}", **data}

    def meeting(self) -> tuple[str, dict[str, Any]]:
        system, record_id = self.record()
        data = {
            "contact_id": record_id,
            "rep_id": self.rng.choice(["r1", "r2"]),
            "starts_at": self.when(0).isoformat(),
            "status": self.rng.choice(["booked", "rescheduled", "held", "no_show", "cancelled"]),
        }
        return "meeting", {"system": system, "meeting_id": f"m{self.rng.randrange(8)}", **data}

    def rep(self) -> tuple[str, dict[str, Any]]:
        number = self.rng.randrange(1, 5)
        return "rep", {
            "system": self.rng.choice(["salesforce", "hubspot"]),
            "record_id": f"r{number}",
            "email": f"rep{number}@handoff.example.org",
            "name": f"Rep {number}",
            "territories": self.rng.sample(["dach", "emea", "americas", "apac"], 3),
            "weight": self.rng.choice([0.5, 1.0, 2.0]),
        }

    def account(self) -> tuple[str, dict[str, Any]]:
        data = self.some(
            domain=[*DOMAINS, None],
            name=["Acme", "Globex", "Initech"],
            industry=["Technology", "Retail", None],
            employee_count=[20, 500, None],
            is_deleted=[False, True],
        )
        system = self.rng.choice(["salesforce", "hubspot"])
        return "account", {"system": system, "record_id": f"acc{self.rng.randrange(4)}", **data}

    def campaign(self) -> tuple[str, dict[str, Any]]:
        costs = [{"date": "2026-01-05", "cost_usd": self.rng.randrange(1000) / 10}]
        return "campaign", {
            "system": self.rng.choice(["web", "hubspot"]),
            "record_id": self.rng.choice(["c1", "c2", "c3"]),
            **self.some(channel=["paid_search", "event", "webinar"], costs=[costs]),
        }

    def polled(self, batch: int) -> dict[str, dict[str, list[Extracted]]]:
        """Versions of polled records; what a poll brings is never older than what it brought."""
        rng = self.rng
        found: dict[str, dict[str, list[Extracted]]] = defaultdict(lambda: defaultdict(list))

        def put(system: str, resource: str, record_id: str, **payload: Any) -> None:
            updated = (
                START
                + STEP * batch
                + timedelta(microseconds=rng.randrange(int(STEP.total_seconds() * 1e6)))
            )
            found[system][resource].append(
                Extracted(record_id, updated, rng.random() < 0.05, {"Id": record_id, **payload})
            )

        for _ in range(3 if batch else 8):
            properties = {
                "email": rng.choice([*EMAILS, None]),
                "phone": rng.choice([*PHONES, None]),
                "country": rng.choice(["DE", "US", None]),
                "hs_legal_basis": rng.choice(["Freely given consent from contact", "Legitimate interest – prospect", None]),
                "hs_email_optout": rng.choice(["true", "false", None]),
                "hs_merged_object_ids": rng.choice([None, None, None, "3;5"]),
            }  # fmt: skip
            put("hubspot", "contacts", str(rng.randrange(20)), properties=properties)
            put("hubspot", "companies", f"acc{rng.randrange(4)}", properties={
                "domain": rng.choice(DOMAINS), "industry": rng.choice(["COMPUTER_SOFTWARE", "RETAIL"]),
            })  # fmt: skip
            put("hubspot", "events", f"e{batch}-{rng.randrange(100)}", objectId=str(rng.randrange(8)),
                eventType="e_submitted_form_v2", properties={"hs_form_id": rng.choice(FORMS)})  # fmt: skip
            put("salesforce", "leads", self.record("salesforce")[1].replace("003", "00Q"), Email=rng.choice(EMAILS),
                Phone=rng.choice(PHONES), CountryCode="DE", IsConverted=rng.random() < 0.2,
                ConvertedContactId=rng.choice([None, "003000000000001AAA"]))  # fmt: skip
            put("salesforce", "contacts", self.record("salesforce")[1].replace("00Q", "003"),
                Email=rng.choice(EMAILS), AccountId=rng.choice(["acc0", "acc1", "acc2", None]))  # fmt: skip
            put("salesforce", "accounts", f"acc{rng.randrange(4)}", Name="Acme", NumberOfEmployees=rng.choice([10, 900]),
                Website=rng.choice(["https://www.acme.de/", "globex.com", None]))  # fmt: skip
            put("salesforce", "tasks", f"t{rng.randrange(9)}", WhoId=self.record("salesforce")[1], Subject="Call her",
                CompletedDateTime=rng.choice([None, self.when(0).isoformat()]))  # fmt: skip
            put("salesforce", "opportunity_contact_roles", f"ocr{rng.randrange(5)}", OpportunityId=f"o{rng.randrange(8)}",
                ContactId=self.record("salesforce")[1], IsPrimary=rng.random() < 0.5)  # fmt: skip
        for resource, rows in self.polled_of_sales(batch).items():
            found["hubspot"][resource] += rows
        found["marketo"] = self.polled_from_marketo(batch)
        for resource, rows in self.polled_of_crm(batch).items():
            found["salesforce"][resource] += rows
        return found

    def polled_of_crm(self, batch: int) -> dict[str, list[Extracted]]:
        """Salesforce's stage history, events, campaigns, members, merges and objections, drawn apart
        from all the rest."""
        rng = random.Random(f"{self.seed}|{batch}|crm")
        found: dict[str, list[Extracted]] = defaultdict(list)

        def put(resource: str, record_id: str, at: datetime, **payload: Any) -> None:
            found[resource].append(Extracted(record_id, at, rng.random() < 0.1, payload))

        def who() -> str:
            return f"{rng.choice(['00Q', '003'])}0000000000{rng.randrange(20):02}AAA"

        for number in range(3 if batch else 8):
            at = START + STEP * batch + STEP * rng.random() / 2
            at = at.replace(microsecond=at.microsecond // 1000 * 1000)
            deal, stage = (
                f"o{rng.randrange(8)}",
                rng.choice(["Qualification", "Closed Won", "Ours"]),
            )
            put("opportunities", deal, at, StageName=stage, Amount=rng.randrange(900), IsClosed=rng.random() < 0.5,
                CloseDate=at.date().isoformat(), IsWon=rng.random() < 0.5, ContactId=rng.choice([None, who()]))  # fmt: skip
            put("opportunity_history", f"h{batch}-{number}", at, OpportunityId=deal, StageName=stage,
                CreatedDate=at.isoformat())  # fmt: skip
            starts = START + timedelta(days=rng.randrange(3), hours=9)
            put("events", f"v{rng.randrange(6)}", at, WhoId=rng.choice([None, who()]), OwnerId=f"r{rng.randrange(1, 3)}",
                StartDateTime=starts.isoformat(), IsChild=rng.random() < 0.1)  # fmt: skip
            put("campaigns", f"sc{rng.randrange(3)}", at, Type=rng.choice(["Trade Show", "Webinar", None]),
                ActualCost=rng.choice([None, 10.5]), StartDate="2026-01-05")  # fmt: skip
            put("campaign_members", f"cm{rng.randrange(6)}", at, CampaignId=f"sc{rng.randrange(3)}", LeadId=who(),
                HasResponded=rng.random() < 0.6, FirstRespondedDate=rng.choice([None, at.date().isoformat()]))  # fmt: skip
            put("leads", who().replace("003", "00Q"), at, Email=rng.choice(EMAILS),
                HasOptedOutOfEmail=rng.random() < 0.4, DoNotCall=rng.random() < 0.2,
                MasterRecordId=rng.choice([None, None, who().replace("003", "00Q")]))  # fmt: skip
        return found

    def polled_of_sales(self, batch: int) -> dict[str, list[Extracted]]:
        """HubSpot's deals, engagements, e-mail log and submissions, drawn apart from all the rest."""
        rng = random.Random(f"{self.seed}|{batch}|sales")
        found: dict[str, list[Extracted]] = defaultdict(list)

        def put(resource: str, record_id: str, at: datetime, **payload: Any) -> None:
            found[resource].append(Extracted(record_id, at, rng.random() < 0.1, payload))

        def contacts(most: int = 2) -> dict[str, Any]:
            ids = rng.sample(range(20), rng.randint(0, most))
            return {"contacts": {"results": [{"id": str(each)} for each in ids]}}

        for number in range(3 if batch else 8):
            at = START + STEP * batch + STEP * rng.random() / 2
            at = at.replace(microsecond=at.microsecond // 1000 * 1000)
            stages = rng.sample(["qualifiedtobuy", "contractsent", "closedwon"], rng.randint(1, 3))
            put("deals", str(rng.randrange(5)), at, associations=contacts(), properties={
                "dealstage": stages[0], "amount": str(rng.randrange(900)), "createdate": START.isoformat(),
                "hs_is_closed": rng.choice(["true", "false"]), "closedate": at.isoformat(),
                "hs_is_closed_won": rng.choice(["true", "false"]),
            }, propertiesWithHistory={"dealstage": [
                {"value": stage, "timestamp": (START + timedelta(hours=place)).isoformat()}
                for place, stage in enumerate(stages)
            ]})  # fmt: skip
            put("calls", f"1{rng.randrange(6)}", at, associations=contacts(), properties={
                "hs_timestamp": (at + timedelta(days=rng.randrange(-3, 4))).isoformat(),
                "hs_call_status": rng.choice(["COMPLETED", "NO_ANSWER"]),
            })  # fmt: skip
            starts = START + timedelta(days=rng.randrange(3), hours=9)
            put("meetings", f"2{rng.randrange(6)}", at, associations=contacts(), properties={
                "hs_meeting_start_time": starts.isoformat(),
                "hs_meeting_outcome": rng.choice(["SCHEDULED", "COMPLETED", "NO_SHOW", None]),
                "hs_engagement_source_id": rng.choice([None, "cal0", "cal1"]),
            })  # fmt: skip
            put("email_events", f"l{batch}-{number}", at, contactId=rng.choice([None, str(rng.randrange(8))]),
                recipient=rng.choice(EMAILS), type=rng.choice(["OPEN", "CLICK", "STATUSCHANGE"]),
                portalSubscriptionStatus=rng.choice(["UNSUBSCRIBED", "SUBSCRIBED"]), source="SOURCE_RECIPIENT")  # fmt: skip
            form, who = rng.choice(FORMS), str(rng.randrange(8))
            put("form_submissions", f"s{batch}-{number}", at, formId=form, contactId=who)
            if rng.random() < 0.7:
                # The same submission as an event occurrence, now and then in a later batch.
                put("events", f"o{batch}-{number}", at, objectId=who, eventType="e_submitted_form_v2",
                    properties={"hs_form_id": form})  # fmt: skip
            put("contacts", str(rng.randrange(20)), at, properties={
                "email": rng.choice(EMAILS), "hs_merged_object_ids": rng.choice(["2;4", "6", "20"]),
                "hs_calculated_merged_vids": rng.choice([None, f"6:{int(START.timestamp() * 1000)}"]),
            })  # fmt: skip
        return found

    def polled_from_marketo(self, batch: int) -> dict[str, list[Extracted]]:
        """Leads, what they did, merges and deletions among them; programs share ids with campaigns."""
        rng = random.Random(f"{self.seed}|marketo|{batch}")
        found: dict[str, list[Extracted]] = defaultdict(list)

        def put(resource: str, record_id: str, **payload: Any) -> None:
            updated = (
                START + STEP * batch + timedelta(seconds=rng.randrange(int(STEP.total_seconds())))
            )
            gone = resource == "deleted_leads"
            found[resource].append(Extracted(record_id, updated, gone, payload))

        for _ in range(3 if batch else 8):
            put(
                "leads", str(rng.randrange(20)), email=rng.choice([*EMAILS, None]), country="de",
                unsubscribed=rng.random() < 0.4, doNotCall=rng.random() < 0.2,
                sfdcLeadId=rng.choice([None, None, "00Q000000000001AAA"]),
                # The lead was read later than the change that was told, or says nothing of it.
                updatedAt=rng.choice([None, (instant(batch) + timedelta(hours=1)).isoformat()]),
            )  # fmt: skip
            kind = rng.choice(
                ["Open Email", "Fill Out Form", "Merge Leads", "Unsubscribe Email", "Email Bounced"]
            )
            put(
                "activities", f"{batch}-{rng.randrange(100)}", leadId=rng.randrange(20), activityType=kind,
                programId=rng.choice(["c1", "c2", None]), primaryAttributeValue=rng.choice(FORMS),
                attributes=[{"name": "Merge IDs", "value": [rng.randrange(20), rng.randrange(20)]}],
            )  # fmt: skip
            put(
                "programs",
                rng.choice(["c1", "c2"]),
                channel="Webinar",
                costs=[{"cost": rng.randrange(900)}],
            )
        if batch:
            put("deleted_leads", str(rng.randrange(20)))
        return found

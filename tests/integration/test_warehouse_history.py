"""A random history, landed in batches: it comes out as if rebuilt at once, and its decisions hold
against their oracles."""

from __future__ import annotations

import hashlib
import random
import shutil
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ingestion.connectors.extracted import Extracted
from ingestion.errors.catalog import HandoffError
from ingestion.landing.polls import land_archive
from orchestration import transform as transforming

POLICIES = Path(__file__).parents[2] / "models" / "policies"
START = datetime(2026, 1, 1, tzinfo=UTC)
STEP = timedelta(days=20)
BATCHES = 4

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


@pytest.fixture(scope="session")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped policies, with limits so low that a small history crosses them both ways."""
    folder = tmp_path_factory.mktemp("policies") / "policies"
    shutil.copytree(
        POLICIES, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__", "schemas")
    )
    identity = folder / "identity" / "v1.yml"
    text = identity.read_text()
    for kind, limit, lower in (("email", 50, 6), ("phone", 8, 4)):
        before = text
        text = text.replace(f"{{type: {kind}, priority: {2 if kind == 'email' else 3}, max_records: {limit}",
                            f"{{type: {kind}, priority: {2 if kind == 'email' else 3}, max_records: {lower}")  # fmt: skip
        assert text != before
    identity.write_text(text)
    scoring = folder / "scoring" / "v1.yml"
    text = scoring.read_text()
    for shipped, other in (
        ("groups: []", "groups: [{id: looking, cap: 12}]"),
        ("    cap: 30\n", "    cap: 30\n    group: looking\n    cooldown_hours: 200\n"),
        ("    cap: 16\n", "    cap: 16\n    group: looking\n"),
        ("after_days: 30", "after_days: 6"),
        ("value: [leadhopper-demoworld.com]", "value: [globex.com]"),
    ):
        assert shipped in text
        text = text.replace(shipped, other, 1)
    scoring.write_text(text)
    consent = folder / "consent" / "v1.yml"
    text = consent.read_text()
    for shipped, shorter in (
        ("days: 730", "days: 45"),
        ("double_opt_in: []", "double_opt_in: [{channel: phone, within_days: 30}]"),
    ):
        assert shipped in text
        text = text.replace(shipped, shorter)
    consent.write_text(text)
    return folder


def land_batch(warehouse: Any, history: History, batch: int, count: int = 30) -> None:
    """Bring the batch into the log and the archive; nothing is transformed."""
    # Much is known before little is new: what a batch fails to touch has to show.
    warehouse.append(history.events(warehouse.event, batch, count if batch else 350))
    for system, rows in history.polled(batch).items():
        warehouse.poll(system, rows, instant(batch))
    if batch:
        warehouse.append(receipts(warehouse, history, batch))


def receipts(warehouse: Any, history: History, batch: int) -> list[dict[str, Any]]:
    """Salesforce's answers to what is planned: leads come to exist there."""
    made = []
    for number, row in enumerate(
        warehouse.records("select * from sync.sync_salesforce__leads order by operation_id")
    ):
        if history.rng.random() < 0.8:
            data = {
                "plan_id": f"p{batch}", "operation_id": row["operation_id"], "status": "confirmed", "system": "salesforce",
                "object": "Lead", "action": row["action"], "external_id": row["external_id"], "person_id": row["person_id"],
                "record_id": row["target_id"] or f"00Q0000000{batch}{number:04}AAA", "confirmed_at": instant(batch).isoformat(),
                "written": {"Email": row["email"]}, "reasons": [],
            }  # fmt: skip
            made.append(
                warehouse.event(
                    "receipt", data, instant(batch), event_id=f"{history.seed}-r{batch}-{number}"
                )
            )
    return made


def differences(left: dict[str, list[Any]], right: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Rows of each table that only one of the two has, at most six."""
    assert left.keys() == right.keys()
    found = {}
    for table in left:
        ours, theirs = set(map(repr, left[table])), set(map(repr, right[table]))
        if left[table] != right[table]:
            found[table] = [
                *(f"only in batches: {row}" for row in sorted(ours - theirs)[:3]),
                *(f"only in rebuild: {row}" for row in sorted(theirs - ours)[:3]),
            ] or ["the same rows, another number of times"]
    return found


def taken(warehouse: Any) -> dict[str, list[Any]]:
    """Everything people and machines read, and who is whom."""
    snapshot: dict[str, list[Any]] = warehouse.snapshot("marts", "sync")
    snapshot["people"] = warehouse.rows(
        "select record_key, person_id from intermediate.int_identity__people order by all"
    )
    return snapshot


def run_in_batches(warehouse: Any, history: History, batches: int) -> list[dict[str, list[Any]]]:
    """Land and transform batch after batch; what was there after each."""
    after = []
    for batch in range(batches):
        land_batch(warehouse, history, batch)
        done = warehouse.transform(instant(batch))
        assert done.is_full_refresh == (batch == 0), done.reason
        after.append(taken(warehouse))
    return after


def in_full(warehouse: Any, as_of: datetime) -> dict[str, list[Any]]:
    """The tables after a rebuild."""
    assert warehouse.transform(as_of, full_refresh=True).is_full_refresh
    return taken(warehouse)


def assert_same_as_rebuilt(warehouse: Any, as_of: datetime) -> dict[str, list[Any]]:
    """Rebuild everything and compare; answers the tables."""
    from_batches = taken(warehouse)
    rebuilt = in_full(warehouse, as_of)
    assert differences(from_batches, rebuilt) == {}
    return rebuilt


def causes_set_up(warehouse: Any) -> None:
    """One person for each way in which something elsewhere changes what is said of them."""
    day = START + timedelta(days=1)
    ahead = instant(BATCHES) - timedelta(days=1)

    def contact(number: int, time: datetime = day, **data: Any) -> dict[str, Any]:
        person = {
            "system": "web",
            "record_id": f"x{number}",
            "email": f"x{number}@hooli{number}.com",
        }
        return dict(warehouse.event("contact", person | data, time))

    def activity(name: str, time: datetime = day, **data: Any) -> dict[str, Any]:
        form = {"activity_type": "form_submit", "form_id": "contact_sales"}
        return dict(
            warehouse.event(
                "activity", {"system": "web", "activity_id": name, **form, **data}, time
            )
        )

    consent = {"system": "web", "contact_id": "x4", "channel": "email", "lawful_basis": "consent"}
    merge = {"system": "web", "surviving_id": "x11", "merged_ids": ["x12"]}
    alone = {"record_id": "acc-alone", "system": "hubspot"}
    stated = {"record_id": "acc-stated", "system": "salesforce"}
    warehouse.append(
        [
            *(contact(number) for number in (1, 2, 3, 4, 6, 7, 8, 10, 11, 12)),
            activity("moves-away", contact_id="x1"),
            activity("stays", START + timedelta(days=5), contact_id="x3"),
            warehouse.event("consent", consent | {"status": "granted"}, day),
            warehouse.event("consent", consent | {"status": "withdrawn"}, ahead),
            contact(5, ahead, job_title="Head of IT"),
            # Said already, not true yet: a number that makes two of them one, a company, a channel.
            contact(17, phone="+442079460126"),
            contact(18),
            contact(18, ahead, phone="+442079460126", job_title="Head of IT"),
            contact(19),
            warehouse.event(
                "account",
                {"record_id": "acc-ahead", "system": "hubspot", "domain": "hooli19.com"},
                ahead,
            ),
            contact(26),
            activity("of-campaign-ahead", contact_id="x26", campaign_id="c8"),
            warehouse.event(
                "campaign", {"system": "web", "record_id": "c8", "channel": "event"}, ahead
            ),
            warehouse.event(
                "campaign", {"system": "web", "record_id": "c9", "channel": "event"}, day
            ),
            activity("of-campaign", contact_id="x6", campaign_id="c9"),
            warehouse.event(
                "account", alone | {"domain": "hooli7.com", "industry": "Technology"}, day
            ),
            activity("by-address", email="somebody@hooli9.com"),
            activity("ahead", ahead, contact_id="x10"),
            warehouse.event("merge", merge, day),
            contact(13, phone="+442079460123"),
            contact(14, phone="+442079460123"),
            # One more and one less than may share a number (the limit is four).
            *(contact(number, phone="+442079460124") for number in range(20, 25)),
            *(contact(number, phone="+442079460125") for number in range(30, 34)),
            warehouse.event("account", stated | {"domain": "hooli15.com"}, day),
        ]
    )
    people = [
        Extracted(
            "003000000000015AAA",
            day,
            False,
            {"Email": "x15@elsewhere.com", "AccountId": "acc-stated"},
        ),
        Extracted("003000000000016AAA", day, False, {"Email": "x16@hooli16.com"}),
    ]
    warehouse.poll("salesforce", {"contacts": people}, day)


def causes_come_about(warehouse: Any) -> None:
    """What happens to the people of `causes_set_up`; some of it only by the passing of time."""
    later = START + timedelta(days=9)
    form = {"system": "web", "activity_type": "form_submit", "form_id": "demo_request"}
    warehouse.append(
        [
            warehouse.event(
                "activity", form | {"activity_id": "moves-away", "contact_id": "x2"}, later
            ),
            warehouse.event(
                "activity",
                form | {"activity_id": "stays", "contact_id": "x3"},
                START + timedelta(days=2),
            ),
            warehouse.event(
                "campaign", {"system": "web", "record_id": "c9", "channel": "webinar"}, later
            ),
            warehouse.event(
                "account",
                {"system": "hubspot", "record_id": "acc-alone", "domain": "hooli8.com"},
                later,
            ),
            warehouse.event(
                "account",
                {"system": "hubspot", "record_id": "acc-new", "domain": "hooli9.com"},
                later,
            ),
            warehouse.event(
                "account",
                {"system": "salesforce", "record_id": "acc-stated", "employee_count": 900},
                later,
            ),
            warehouse.event(
                "merge",
                {"system": "web", "surviving_id": "x11", "merged_ids": ["x12"], "unmerge": True},
                later,
            ),
            warehouse.event("contact", {"system": "web", "record_id": "x14", "phone": None}, later),
            warehouse.event("contact", {"system": "web", "record_id": "x24", "phone": None}, later),
            warehouse.event(
                "contact", {"system": "web", "record_id": "x34", "phone": "+442079460125"}, later
            ),
        ]
    )
    task = {
        "WhoId": "003000000000016AAA",
        "Subject": "Call him",
        "CompletedDateTime": (START + STEP / 4).isoformat(),
    }
    warehouse.poll("salesforce", {"tasks": [Extracted("t-late", later, False, task)]}, later)


@dataclass(frozen=True)
class Run:
    """A history in batches, what was there after each, and what a rebuild of it all gave."""

    warehouse: Any
    history: History
    after: list[dict[str, list[Any]]]
    rebuilt: dict[str, list[Any]]

    def table(self, name: str, at: int | None = None) -> list[dict[str, Any]]:
        """Rows of a mart after a batch, or of the rebuild."""
        names, *rows = (self.rebuilt if at is None else self.after[at])[f"marts.{name}"]
        return [dict(zip(names, row, strict=True)) for row in rows]


@pytest.fixture(scope="module")
def run(open_warehouse: Callable[..., Any], policies: Path) -> Run:
    warehouse, history = open_warehouse(policies=policies), History(seed=1)
    causes_set_up(warehouse)
    after = run_in_batches(warehouse, history, BATCHES)
    assert warehouse.transform(instant(BATCHES - 1), full_refresh=True).is_full_refresh
    return Run(warehouse, history, after, taken(warehouse))


def copied(run: Run, tmp_path: Path) -> tuple[Any, History]:
    """The run's home as it stands, to go on from."""
    home = tmp_path / "copy"
    shutil.copytree(run.warehouse.settings.home, home)
    settings = run.warehouse.settings.model_copy(update={"home": home})
    return type(run.warehouse)(settings), continued(run.history)


def continued(history: History) -> History:
    """The history's continuation, apart from the one it goes on from."""
    other = History(history.seed)
    other.rng.setstate(history.rng.getstate())
    other.sent, other.activities, other.merged = (
        list(history.sent),
        list(history.activities),
        list(history.merged),
    )
    return other


def die_after(node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let transforms stop once `node` is made, as if the process had been killed there."""
    invoke = transforming._invoke

    def dying(settings: Any, arguments: Any, on_node: Any, parsed: Any) -> Any:
        with monkeypatch.context() as unlimited:
            unlimited.setattr(transforming, "_invoke", invoke)
            invoke(settings, [*arguments, "--select", f"+{node}"], on_node, parsed)
        raise HandoffError("TRANSFORM_FAILED", f"killed after {node}")

    monkeypatch.setattr(transforming, "_invoke", dying)


def test_batches_come_out_as_one_rebuild(run: Run) -> None:
    assert differences(run.after[-1], run.rebuilt) == {}


def test_the_history_holds_what_the_comparison_is_about(run: Run) -> None:
    """Merges and splits, several scores over the threshold, leads to write; otherwise nothing was
    compared."""
    people = [{row["person_id"] for row in run.table("dim_people", at)} for at in range(BATCHES)]
    assert people[0] - people[-1], "nobody was merged away"
    owners = [
        {
            row["record_key"]: row["person_id"]
            for row in run.table("entity_map", at)
            if row["is_current"] and row["record_type"] != "visitor"
        }
        for at in range(BATCHES)
    ]
    together = defaultdict(set)
    for record, person in owners[0].items():
        together[person].add(owners[-1][record])
    assert any(len(later) > 1 for person, later in together.items() if person), "nobody was split"
    browsers = [
        {row["record_id"] for row in run.table("entity_map", at) if row["record_type"] == "visitor"}
        for at in range(BATCHES)
    ]
    assert browsers[0] - browsers[-1], "no browser turned out to be shared"
    assert len(run.table("fct_mqls")) >= 3
    assert len(run.rebuilt["sync.sync_salesforce__leads"]) > 1
    # Received today, which lies after every instant the history speaks for.
    assert run.warehouse.rows("from staging.stg_events__receipts where status = 'confirmed'")
    limits = run.warehouse.rows(
        "select identifier_type from intermediate.int_identity__identifiers where is_linking "
        "group by identifier_type, identifier_value having count(*) > any_value(max_records)"
    )
    assert limits, "no identifier is over its limit"


def decision_tables(warehouse: Any) -> set[str]:
    """Tables of people and machines that a batch of decisions brings up to date."""
    parsed = transforming.manifest(warehouse.settings)
    nodes = [parsed.nodes[unique_id] for unique_id in transforming.decision_models(parsed)]
    return {f"{node.schema}.{node.name}" for node in nodes if node.schema in ("marts", "sync")}


def test_batches_of_decisions_decide_as_a_rebuild_does_and_the_rest_catches_up(
    run: Run, tmp_path: Path
) -> None:
    warehouse, history = copied(run, tmp_path)
    for batch in (BATCHES, BATCHES + 1):
        land_batch(warehouse, history, batch, 40)
        done = warehouse.transform(instant(batch), scope="decisions")
        assert (done.scope, done.is_full_refresh) == ("decisions", False)
    decided = taken(warehouse)
    last = warehouse.transform(instant(BATCHES + 1))
    assert last.scope == "everything"
    rebuilt = assert_same_as_rebuilt(warehouse, instant(BATCHES + 1))
    found = differences(decided, rebuilt)
    assert not found.keys() & (decision_tables(warehouse) | {"people"}), found
    assert found, "the control: what only people read had not followed yet"


def test_what_only_a_date_brings_is_decided_without_a_new_row(run: Run, tmp_path: Path) -> None:
    warehouse, _ = copied(run, tmp_path)
    assert warehouse.transform(instant(BATCHES), scope="decisions").scope == "decisions"
    decided = taken(warehouse)
    rebuilt = in_full(warehouse, instant(BATCHES))
    found = differences(decided, rebuilt)
    assert not found.keys() & (decision_tables(warehouse) | {"people"}), found
    # The control: dates had come, of a company among others.
    assert "marts.entity_map" in differences(taken(run.warehouse), rebuilt)


@pytest.mark.prove
def test_lanes_that_overtake_each_other_come_out_as_one_rebuild_also_of_a_lost_warehouse(
    run: Run, tmp_path: Path
) -> None:
    """What is decided on the way differs from one order of landing to another; where it ends does not."""
    warehouse, history = copied(run, tmp_path)
    chance = random.Random(4)
    for batch in (BATCHES, BATCHES + 1, BATCHES + 2):
        sent = history.events(warehouse.event, batch, 60)
        for start in range(0, len(sent), 8):
            warehouse.append(sent[start : start + 8], chance.choice(["live", "bulk"]))
            if start % 24 == 0:
                warehouse.transform(instant(batch), bulk_limit=chance.randrange(10))
        warehouse.append(receipts(warehouse, history, batch))
    [(overtaken,)] = warehouse.rows(
        "select count(*) from raw_events.landings where bulk_events > 0"
    )
    assert overtaken > 3
    warehouse.transform(instant(BATCHES + 2))
    rebuilt = assert_same_as_rebuilt(warehouse, instant(BATCHES + 2))
    warehouse.settings.warehouse_path.unlink()
    for system in ("hubspot", "marketo", "salesforce", "calendar"):
        land_archive(warehouse.settings, system)
    warehouse.transform(instant(BATCHES + 2), bulk_limit=0)
    found = differences(taken(warehouse), rebuilt)
    # When an activity was loaded is no fact of the log.
    assert found.keys() <= {"marts.fct_activities"}, found


@pytest.mark.parametrize("scope", ["everything", "decisions"])
def test_each_cause_reaches_the_people_it_concerns(
    scope: transforming.Scope, run: Run, tmp_path: Path
) -> None:
    """A change elsewhere, on its own, and nothing else that would have touched the person."""
    warehouse, _ = copied(run, tmp_path)
    causes_come_about(warehouse)
    before = {row["record_id"]: row for row in run.table("entity_map") if row["is_current"]}
    assert not warehouse.transform(instant(BATCHES), scope=scope).is_full_refresh
    if scope == "decisions":
        warehouse.transform(instant(BATCHES))
    rebuilt = assert_same_as_rebuilt(warehouse, instant(BATCHES))
    names, *rows = rebuilt["marts.entity_map"]
    after = {
        row["record_id"]: row
        for row in (dict(zip(names, values, strict=True)) for values in rows)
        if row["is_current"]
    }
    assert before["x11"]["person_id"] == before["x12"]["person_id"]
    assert after["x11"]["person_id"] != after["x12"]["person_id"]
    assert after["x13"]["person_id"] != after["x14"]["person_id"]

    def people(rows: dict[str, dict[str, Any]], numbers: range) -> int:
        return len({rows[f"x{number}"]["person_id"] for number in numbers})

    assert (people(before, range(17, 19)), people(after, range(17, 19))) == (2, 1)
    assert before["x19"]["account_id"] is None
    assert after["x19"]["account_id"]
    assert (people(before, range(20, 24)), people(after, range(20, 24))) == (4, 1)
    assert (people(before, range(30, 34)), people(after, range(30, 34))) == (1, 4)
    assert (before["x7"]["account_id"], after["x7"]["account_id"]) == (
        after["x8"]["account_id"],
        None,
    )
    assert before["somebody@hooli9.com"]["account_id"] is None
    assert after["somebody@hooli9.com"]["account_id"]


def test_an_instant_in_the_past_knows_nothing_of_what_came_after(run: Run, tmp_path: Path) -> None:
    """Later statements about what was known by then change nothing that is said of it."""
    warehouse, _ = copied(run, tmp_path)
    as_of = instant(1)
    warehouse.transform(as_of, full_refresh=True)
    before = taken(warehouse)

    def known(table: str, *columns: str) -> list[tuple[Any, ...]]:
        return list(warehouse.rows(f"select {', '.join(columns)} from marts.{table} order by all"))

    said: list[tuple[str, dict[str, Any]]] = []
    for record_type, system, record_id in known("entity_map", "record_type", "system", "record_id"):
        key = {"system": system, "record_id": record_id}
        if record_type in ("contact", "lead"):
            new = {"email": "later@acme.de", "job_title": "Head of IT", "is_deleted": True}
            said.append(("contact", key | new))
        elif record_type == "account":
            said.append(("account", key | {"domain": "later.com", "employee_count": 9000}))
    opportunities = known("fct_opportunities", "system", "system_opportunity_id")
    meetings = known("fct_meetings", "system", "system_meeting_id")
    campaigns = known("dim_campaigns", "system", "campaign_id")
    assert opportunities
    assert meetings
    assert campaigns
    for system, record_id in opportunities:
        key = {"system": system, "record_id": record_id}
        said.append(("opportunity", key | {"stage": "later", "amount_usd": 7, "is_won": True}))
    for system, meeting_id in meetings:
        key = {"system": system, "meeting_id": meeting_id}
        said.append(("meeting", key | {"status": "held", "starts_at": as_of.isoformat()}))
    for system, record_id in campaigns:
        said.append(("campaign", {"system": system, "record_id": record_id, "channel": "later"}))
    for number in range(1, 6):
        rep = {"system": "salesforce", "record_id": f"r{number}", "email": "later@acme.de"}
        said.append(("rep", rep | {"weight": 9.0, "territories": ["dach"]}))
    later = as_of + timedelta(seconds=1)
    warehouse.append(warehouse.event(record, data, later) for record, data in said)
    warehouse.transform(as_of, full_refresh=True)
    found = differences(before, taken(warehouse))
    # How the door fared is no matter of the instant the models speak for.
    assert found.keys() <= {"marts.fct_event_acceptance", "marts.fct_kpis_daily"}, found


@pytest.mark.parametrize(
    "deaths",
    [
        pytest.param(
            (("int_batch__changed_records", "int_identity__people"), ("entity_map", "fct_score_ledger")),
            marks=pytest.mark.prove,
        ),
        pytest.param(
            (("int_identity__identifiers", "int_batch__touched_people"), ("fct_activities", "fct_consents")),
            marks=pytest.mark.prove,
        ),
        pytest.param(
            (("int_contacts__current", "int_activities__unioned"), ("dim_people", "fct_mqls")),
            marks=pytest.mark.prove,
        ),
    ],
)  # fmt: skip
def test_a_batch_that_died_is_made_good_by_the_next_run(
    deaths: tuple[tuple[str, ...], ...],
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warehouse, history = copied(run, tmp_path)
    for batch, nodes in enumerate(deaths, start=BATCHES):
        for node in nodes:
            land_batch(warehouse, history, batch, 40)
            with monkeypatch.context() as dying:
                die_after(node, dying)
                with pytest.raises(HandoffError, match=f"killed after {node}"):
                    warehouse.transform(instant(batch))
        assert not warehouse.transform(instant(batch)).is_full_refresh
    assert_same_as_rebuilt(warehouse, instant(batch))


def test_after_a_rebuild_that_died_everything_is_rebuilt(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse, _ = copied(run, tmp_path)
    as_of = instant(BATCHES - 1)
    with monkeypatch.context() as dying:
        die_after("int_identity__people", dying)
        with pytest.raises(HandoffError, match="killed after"):
            warehouse.transform(as_of, full_refresh=True)
    assert warehouse.transform(as_of).reason == "the last rebuild died"
    assert differences(taken(warehouse), run.rebuilt) == {}


def test_tables_of_models_that_fail_keep_their_rows(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One with a contract, which is dropped first, and one without."""
    warehouse, _ = copied(run, tmp_path)
    parsed = transforming.manifest(warehouse.settings)
    tables = {"dim_reps": "marts.dim_reps", "int_accounts__keys": "intermediate.int_accounts__keys"}
    before = {name: warehouse.rows(f"from {table} order by all") for name, table in tables.items()}
    for name in tables:
        node = parsed.nodes[f"model.handoff.{name}"]
        failing = (
            f"select * from (\n{node.raw_code}\n) as told where error('injected' || told) is null"
        )
        monkeypatch.setattr(node, "raw_code", failing)
    nodes = transforming._invoke(warehouse.settings, ["run", "--select", *tables], None, parsed)
    assert {node.name: node.status for node in nodes} == dict.fromkeys(tables, "error")
    assert all("injected" in (node.message or "") for node in nodes)
    for name, table in tables.items():
        assert before[name], "nothing would be lost"
        assert warehouse.rows(f"from {table} order by all") == before[name]


def test_a_batch_that_is_overlooked_shows_in_the_comparison(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: with nothing counted as new, the comparison must fail."""
    warehouse, history = copied(run, tmp_path)
    land_batch(warehouse, history, BATCHES, 60)
    last_state = transforming._last_state
    with monkeypatch.context() as overlooking:
        overlooking.setattr(
            transforming,
            "_last_state",
            lambda *asked: replace(last_state(*asked), through="9"),  # type: ignore[type-var]
        )
        assert not warehouse.transform(instant(BATCHES)).is_full_refresh
    overlooked = taken(warehouse)
    warehouse.transform(instant(BATCHES), full_refresh=True)
    found = differences(overlooked, taken(warehouse))
    assert {
        "people",
        "marts.dim_people",
        "marts.fct_activities",
        "marts.fct_consents",
    } <= found.keys()


@pytest.mark.prove
@pytest.mark.parametrize("seed", range(2, 12))
def test_any_history_comes_out_as_one_rebuild(
    seed: int, open_warehouse: Callable[..., Any], policies: Path
) -> None:
    warehouse = open_warehouse(policies=policies)
    run_in_batches(warehouse, History(seed), 5)
    assert_same_as_rebuilt(warehouse, instant(4))


def guid(*parts: str) -> str:
    """The deterministic id of the parts, computed apart from the warehouse."""
    return str(uuid.UUID(hashlib.md5("|".join(parts).encode()).hexdigest()))


def test_a_person_is_named_by_the_record_received_first(run: Run) -> None:
    for at in [*range(BATCHES), None]:
        members = defaultdict(list)
        for row in run.table("entity_map", at):
            if row["person_id"] and row["is_current"] and row["record_type"] != "visitor":
                members[row["person_id"]].append(row)
        for person_id, rows in members.items():
            first = min(rows, key=lambda row: (row["first_received_at"], row["record_key"]))
            assert person_id == guid(first["system"], first["record_type"], first["record_id"])


def test_people_are_the_connected_components_of_records_and_identifiers(run: Run) -> None:
    carried = run.warehouse.rows(
        "select record_key, identifier_type || ':' || identifier_value, max_records "
        "from intermediate.int_identity__identifiers where is_linking"
    )
    owner = dict(
        run.warehouse.rows(
            "select record_key, component_key from intermediate.int_identity__people"
        )
    )
    records = {key: number for number, key in enumerate(sorted(owner))}
    holders: dict[str, list[int]] = defaultdict(list)
    limits = {}
    for key, identifier, limit in carried:
        holders[identifier].append(records[key])
        limits[identifier] = limit
    pairs = [
        (one, other)
        for identifier, held in holders.items()
        if len(held) <= limits[identifier]
        for one, other in pairwise(held)
    ]
    rows, columns = zip(*pairs, strict=True)
    graph = coo_array((np.ones(len(pairs)), (rows, columns)), shape=(len(records), len(records)))
    labels = connected_components(graph, directed=False)[1]
    expected = {
        frozenset(key for key, number in records.items() if labels[number] == label)
        for label in set(labels)
    }
    found: dict[int, set[int]] = defaultdict(set)
    for key, component in owner.items():
        found[component].add(key)
    assert {frozenset(keys) for keys in found.values()} == expected
    # Of a component several people are made only where one would have too many addresses or numbers.
    too_many = run.warehouse.rows(
        "with shared as (select identifier_key from intermediate.int_identity__identifiers where is_linking "
        "group by identifier_key having count(*) <= any_value(max_records)) "
        "select people.component_key, count(distinct people.person_id), count(distinct carried.identifier_key) "
        "from intermediate.int_identity__people as people "
        "left join intermediate.int_identity__identifiers as carried on carried.record_key = people.record_key "
        "and carried.is_linking and carried.identifier_type = 'email' and carried.identifier_key in (from shared) group by all"
    )
    assert all(people == 1 or addresses > 10 for _, people, addresses in too_many)
    assert any(people > 1 for _, people, _ in too_many)


def scores_at(run: Run, person_id: str, at: datetime) -> tuple[float, float]:
    """Engagement and fit of a person at an instant, from the ledger alone."""
    by_rule: dict[tuple[str, str], float] = defaultdict(float)
    caps = {}
    groups = {}
    for entry in run.table("fct_score_ledger"):
        withheld_at = entry["withheld_at"]
        if (
            entry["person_id"] == person_id
            and entry["entry_kind"] != "exclusion"
            and entry["occurred_at"] <= at
            and (withheld_at is None or withheld_at > at)
        ):
            age_days = (at - entry["occurred_at"]) / timedelta(days=1)
            half_life = entry["half_life_days"]
            share = 1.0 if half_life is None else 0.5 ** (age_days / half_life)
            by_rule[entry["entry_kind"], entry["rule_id"]] += entry["points"] * share
            rule = entry["entry_kind"], entry["rule_id"]
            caps[rule] = entry["cap"]
            groups[rule] = (entry["entry_kind"], entry["group_id"] or f"rule {entry['rule_id']}")
            caps[groups[rule]] = entry["group_cap"]

    def within(key: tuple[str, str], points: float) -> float:
        return points if caps[key] is None else max(-caps[key], min(caps[key], points))

    by_group: dict[tuple[str, str], float] = defaultdict(float)
    for rule, points in by_rule.items():
        by_group[groups[rule]] += within(rule, points)
    totals = {"engagement": 0.0, "fit": 0.0}
    for group, points in by_group.items():
        totals[group[0]] += within(group, points)
    return totals["engagement"], totals["fit"]


def test_the_ledger_adds_up_to_the_score_now_and_at_every_crossing(run: Run) -> None:
    scores = run.table("fct_scores")
    assert scores
    for row in scores:
        engagement, fit = scores_at(run, row["person_id"], instant(BATCHES - 1))
        assert row["engagement_score"] == pytest.approx(engagement, abs=1e-5)
        assert row["fit_score"] == pytest.approx(fit, abs=1e-5)
        assert row["total_score"] == pytest.approx(min(engagement + fit, 200), abs=1e-5)
    mqls = run.table("fct_mqls")
    for row in mqls:
        total = sum(scores_at(run, row["person_id"], row["reached_at"]))
        assert row["score"] == pytest.approx(min(total, 200), abs=1e-5)
        assert row["score"] >= 60


def test_each_crossing_of_the_threshold_counts_once(run: Run) -> None:
    """Armed below 40, or six days after sales sent the lead back, an MQL at 60: walked through entry
    by entry."""
    expected = set()
    ledger = run.table("fct_score_ledger")
    excluded = {row["person_id"] for row in ledger if row["entry_kind"] == "exclusion"}
    sent_back = defaultdict(list)
    for row in run.table("fct_stage_changes"):
        if row["to_stage"] == "recycled":
            sent_back[row["person_id"]].append(row["changed_at"])
    for person_id in {row["person_id"] for row in ledger} - excluded:
        instants = sorted(
            {
                row["occurred_at"]
                for row in run.table("fct_score_ledger")
                if row["person_id"] == person_id
                and (row["withheld_at"] is None or row["withheld_at"] > row["occurred_at"])
            }
        )
        is_armed = True
        reached_at: datetime | None = None
        for at in instants:
            just_before = at - timedelta(microseconds=1)
            is_armed = is_armed or min(sum(scores_at(run, person_id, just_before)), 200) < 40
            after = min(sum(scores_at(run, person_id, at)), 200)
            is_back = any(
                reached_at is not None and back >= reached_at and at >= back + timedelta(days=6)
                for back in sent_back[person_id]
            )
            if (is_armed or is_back) and after >= 60 - 1e-6:
                expected.add((person_id, at, is_back and not is_armed))
                is_armed, reached_at = False, at
            # Negative points can make a score fall at an entry.
            is_armed = is_armed or after < 40
    found = {
        (row["person_id"], row["reached_at"], row["recycled_at"] is not None)
        for row in run.table("fct_mqls")
    }
    assert found == expected
    assert excluded and any(is_back for _, _, is_back in expected)


def test_a_task_counts_as_an_activity_for_as_long_as_it_stands_completed(
    open_warehouse: Callable[..., Any],
) -> None:
    warehouse = open_warehouse()
    done = {"Subject": "Call her", "CompletedDateTime": START.isoformat()}
    ann, ben = {"WhoId": "003000000000001AAA"}, {"WhoId": "003000000000002AAA"}
    opened = {"Subject": "Call her", "CompletedDateTime": None}
    # What becomes of two tasks, day by day: (payload, is it deleted), and the activities there are then.
    days: list[tuple[dict[str, tuple[dict[str, Any], bool]], set[str]]] = [
        ({"kept": (done | ann, False), "undone": (done | ben, False)}, {"kept", "undone"}),
        # A deletion may come without whom it was about.
        ({"undone": (done, True)}, {"kept"}),
        ({"undone": (done | ben, False), "kept": (opened | ann, False)}, {"undone"}),
        ({"kept": (done | ann, False)}, {"kept", "undone"}),
    ]
    for number, (versions, expected) in enumerate(days):
        at = START + number * STEP
        tasks = [
            Extracted(record_id, at, is_deleted, payload)
            for record_id, (payload, is_deleted) in versions.items()
        ]
        warehouse.poll("salesforce", {"tasks": tasks}, at)
        assert warehouse.transform(at).is_full_refresh == (number == 0)
        standing = warehouse.rows("select system_activity_id from marts.fct_activities")
        assert {record_id for (record_id,) in standing} == expected
    assert_same_as_rebuilt(warehouse, START + (len(days) - 1) * STEP)


def test_a_late_event_re_deals_no_lead(run: Run, tmp_path: Path) -> None:
    """It may move the crossing; the lead keeps its turn, its rep and its deadline, and so do the
    others."""
    warehouse, _ = copied(run, tmp_path)
    dealt = "select mql_id, rep_id, territory, assigned_at from marts.fct_assignments order by all"
    before = warehouse.rows(dealt)
    crossings = dict(warehouse.rows("select mql_id, reached_at from marts.fct_mqls"))
    owner = {
        row["record_id"]: row["person_id"]
        for row in run.table("entity_map")
        if row["system"] == "web" and row["is_current"] and row["record_type"] != "visitor"
    }
    late = [row for row in run.table("fct_mqls") if row["crossing_number"] == 1]
    sent = []
    for number, row in enumerate(late):
        record_id = next((key for key, person in owner.items() if person == row["person_id"]), None)
        if record_id:
            view = {"system": "web", "activity_id": f"late{number}", "activity_type": "page_view"}
            view |= {"url": "/pricing", "contact_id": record_id}
            sent.append(warehouse.event("activity", view, row["reached_at"] - timedelta(hours=1)))
            form = view | {
                "activity_id": f"form{number}",
                "activity_type": "form_submit",
                "form_id": "demo_request",
            }
            sent.append(warehouse.event("activity", form, row["reached_at"] - timedelta(hours=1)))
    warehouse.append(sent)
    warehouse.transform(instant(BATCHES - 1))
    after = dict(warehouse.rows("select mql_id, reached_at from marts.fct_mqls"))
    assert {key for key in crossings if after[key] != crossings[key]}, "no crossing was moved"
    assert warehouse.rows(dealt) == before


def test_attribution_gives_each_opportunity_away_once_to_the_cent(run: Run) -> None:
    credits = run.table("fct_attribution")
    models = {row["attribution_model"] for row in credits}
    opportunities = [row for row in run.table("fct_opportunities") if not row["is_deleted"]]
    assert any(row["is_won"] and row["amount_usd"] for row in opportunities)
    for opportunity in opportunities:
        won = (opportunity["amount_usd"] or Decimal(0)) if opportunity["is_won"] else Decimal(0)
        for model in models:
            shares = [
                row
                for row in credits
                if row["opportunity_id"] == opportunity["opportunity_id"]
                and row["attribution_model"] == model
            ]
            assert sum(row["credit_weight"] for row in shares) == pytest.approx(1, abs=1e-6)
            assert sum(row["attributed_revenue_usd"] for row in shares) == won
            assert all(row["attributed_revenue_usd"] >= 0 for row in shares)


def test_nobody_whose_newest_consent_is_a_no_or_unknown_is_written(run: Run) -> None:
    as_of = instant(BATCHES - 1)
    newest: dict[tuple[str, str], dict[str, dict[str, Any]]] = defaultdict(dict)
    for row in run.table("fct_consents"):
        assert row["occurred_at"] <= as_of
        if row["purpose"] in ("tracking", "sale_sharing"):
            # No matter of whom sales may write to.
            continue
        by_purpose = newest[row["person_id"], row["channel"]]
        known = by_purpose.get(row["purpose"])
        if known is None or (row["occurred_at"], row["received_at"]) > (
            known["occurred_at"],
            known["received_at"],
        ):
            by_purpose[row["purpose"]] = row

    # A no stated for an address counts for everybody who has it; info@ and test@ link nobody.
    stated_for = {
        guid("consent", f"{event['source']}/{event['id']}"): event["data"]["email"].strip().lower()
        for event in run.history.sent
        if event["type"].endswith(".consent") and "email" in event["data"]
    }
    having = defaultdict(set)
    for address, person_id in run.warehouse.rows(
        "select identifier_value, person_id from intermediate.int_identity__identifiers "
        "inner join intermediate.int_identity__people using (record_key) where identifier_type = 'email'"
    ):
        having[address].add(person_id)
    heard = defaultdict(set)
    for (speaker, channel), rows in newest.items():
        for row in rows.values():
            if row["status"] != "granted" and row["consent_id"] in stated_for:
                for person_id in having[stated_for[row["consent_id"]]] - {speaker}:
                    heard[person_id, channel].add(row["status"])
    assert heard

    def said(person_id: str, channel: str) -> set[str]:
        own = {row["status"] for row in newest[person_id, channel].values()}
        return own | heard[person_id, channel]

    def may_be_written(person_id: str) -> bool:
        return said(person_id, "email") == {"granted"} and not any(
            said(person_id, channel) & {"denied", "withdrawn"} for channel in ("crm", "all")
        )

    assigned = {row["person_id"] for row in run.table("fct_assignments")}
    written = set()
    for table in ("sync.sync_salesforce__leads", "sync.sync_salesforce__tasks"):
        names, *rows = run.rebuilt[table]
        written |= {row[names.index("person_id")] for row in rows}
    assert written
    assert {person for person in written if not may_be_written(person)} == set()
    assert {person for person in assigned if not may_be_written(person)}, "nobody was held back"

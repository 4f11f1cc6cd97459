"""What the simulated Salesforce recorded of the people: leads, contacts, accounts, opportunities and
their history, tasks, events, users."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random

from ingestion.sandbox.behaviour import Step
from ingestion.sandbox.calendar_records import CalendarRecords
from ingestion.sandbox.cast import OWN_DOMAIN, Company, Person, Rep
from ingestion.sandbox.draft import Draft, Record
from ingestion.sandbox.salesforce_campaign_records import campaign_records
from ingestion.sandbox.salesforce_history import history_row
from ingestion.sandbox.spelling import other_case, salesforce_time


class SalesforceRecords:
    """Collects `records` by sObject, person by person; meetings go to `calendar`."""

    def __init__(self, draft: Draft, calendar: CalendarRecords) -> None:
        """Starts with the users only."""
        self.draft = draft
        self.calendar = calendar
        self._accounts: dict[int, str] = {}
        self.records: dict[str, list[Record]] = {
            "Lead": [],
            "Contact": [],
            "Account": [],
            "Opportunity": [],
            "OpportunityHistory": [],
            "User": self._users(),
            "Task": [],
            "Event": [],
            "OpportunityContactRole": [],
            "Campaign": [],
            "CampaignMember": [],
        }

    def _users(self) -> list[Record]:
        since = salesforce_time(self.draft.anchor - timedelta(days=400))
        rows = [
            {
                "Id": rep.user_id,
                "Username": f"{rep.email}.sandbox",
                "Email": rep.email,
                "Name": rep.name,
                "FirstName": rep.first_name,
                "LastName": rep.last_name,
                "IsActive": True,
                "UserType": "Standard",
                "TimeZoneSidKey": rep.time_zone,
                "Handoff_Territories__c": ";".join(rep.territories),
                "Handoff_Weight__c": rep.weight,
                "Handoff_Capacity__c": float(rep.capacity),
                "Handoff_Working_Hours__c": rep.working_hours,
            }
            for rep in self.draft.cast.reps
        ]
        for first, last, active in (("Handoff", "Integration", True), ("Oskar", "Feld", False)):
            rows.append(
                {
                    "Id": self.draft.new_id("User"),
                    "Username": f"{first}.{last}@{OWN_DOMAIN}.sandbox".lower(),
                    "Email": f"{first}.{last}@{OWN_DOMAIN}".lower(),
                    "Name": f"{first} {last}",
                    "FirstName": first,
                    "LastName": last,
                    "IsActive": active,
                    "UserType": "Standard",
                    "TimeZoneSidKey": "Europe/Berlin",
                    "Handoff_Territories__c": None,
                    "Handoff_Weight__c": None,
                    "Handoff_Capacity__c": None,
                    "Handoff_Working_Hours__c": None,
                }
            )
        for row in rows:
            row |= {"CreatedDate": since, "LastModifiedDate": since, "SystemModstamp": since}
        return rows

    def record(self, person: Person, steps: Sequence[Step]) -> None:
        """The person's lead or contact, if sales knows them, and what came of it."""
        rng = self.draft.draw["salesforce"]
        known_share = {
            "hot": 0.75, "engaged": 0.5, "persona": 0.25, "sales_sourced": 1.0, "student": 0.2,
            "competitor": 0.25,
        }.get(person.segment, 0.32)  # fmt: skip
        is_known = rng.random() < known_share or self.draft.is_typed_into_crm(person)
        asked = [step.at for step in steps if step.detail in ("demo_request", "contact_sales")]
        if not is_known:
            return
        created = (
            steps[len(steps) // 3].at
            if steps
            else self.draft.anchor - timedelta(days=rng.uniform(20, 110))
        )
        rep = self._rep_for(person, rng)
        if asked and person.segment == "hot" and asked[-1] < self.draft.anchor - timedelta(days=1):
            self._work_lead(person, rep, min(created, asked[-1]), asked[-1])
            return
        if person.segment == "engaged" and rng.random() < 0.3:
            self._sf_contact(person, rep, created, created)
            return
        lead = self.lead(person, rep, created)
        is_double = rng.random() < 0.07 and person.segment in ("engaged", "newsletter")
        if is_double and person.phone is not None:
            loser = self.lead(person, rep, created + timedelta(days=1))
            merged_at = min(created + timedelta(days=6), self.draft.anchor - timedelta(hours=1))
            loser |= {
                "IsDeleted": True,
                "MasterRecordId": lead["Id"],
                "SystemModstamp": salesforce_time(merged_at),
                "LastModifiedDate": salesforce_time(merged_at),
            }
            lead |= {
                "SystemModstamp": salesforce_time(merged_at),
                "LastModifiedDate": salesforce_time(merged_at),
            }
            self.draft.traits[person.key].append("salesforce_merged")

    def record_campaigns(self) -> None:
        """The campaigns kept in Salesforce, with members among those recorded so far."""
        people = [*self.records["Lead"], *self.records["Contact"]]
        owner = self.draft.cast.reps[0].user_id
        campaigns, members = campaign_records(self.draft, people, owner)
        self.records["Campaign"] += campaigns
        self.records["CampaignMember"] += members

    def _rep_for(self, person: Person, rng: Random) -> Rep:
        pool = [
            rep
            for rep in self.draft.cast.reps
            if person.company.country.territory in rep.territories
        ]
        return rng.choices(pool, [rep.weight for rep in pool])[0]

    def _spelled(self, person: Person, rng: Random) -> tuple[str | None, str | None]:
        """E-mail and phone as the CRM has them: usually both, sometimes one, respelled."""
        email: str | None = other_case(person.email, rng) if rng.random() < 0.25 else person.email
        phone = self.draft.phone(person, rng.randrange(5))
        if phone and rng.random() < 0.2 and "shared_mailbox" not in person.traits:
            email = None
        elif phone and rng.random() < 0.12:
            phone = None
        return email, phone

    def lead(self, person: Person, rep: Rep, created: datetime) -> Record:
        """A lead of the person, entered into the truth."""
        rng = self.draft.draw["salesforce"]
        email, phone = self._spelled(person, rng)
        company = person.company
        lead: Record = {
            "Id": self.draft.new_id("Lead"),
            "FirstName": person.first_name,
            "LastName": person.last_name,
            "Email": email,
            "Phone": phone,
            "Company": company.name,
            "Title": person.title,
            "Website": f"https://{company.domain}",
            "Industry": company.industry.salesforce,
            "NumberOfEmployees": company.employees,
            "Country": company.country.name,
            "CountryCode": company.country.code,
            "City": company.city[0],
            "LeadSource": {"PAID_SEARCH": "Web", "PAID_SOCIAL": "Web", "OFFLINE": "Trade Show"}.get(
                person.source[0], "Other"
            ),
            "Status": rng.choice(("Open - Not Contacted", "Working - Contacted", "Nurture")),
            "OwnerId": rep.user_id,
            "HasOptedOutOfEmail": "opted_out" in person.traits,
            "IsConverted": False,
            "IsDeleted": False,
            "CreatedDate": salesforce_time(created),
            "LastModifiedDate": salesforce_time(created),
            "SystemModstamp": salesforce_time(created),
        }
        self.records["Lead"].append(lead)
        self.draft.records[person.key].append(("salesforce", "lead", str(lead["Id"])))
        return lead

    def _account(self, company: Company, rep: Rep, created: datetime) -> str:
        account_id = self._accounts.get(company.number)
        if account_id:
            return account_id
        account_id = self.draft.new_id("Account")
        self._accounts[company.number] = account_id
        stamp = salesforce_time(created)
        self.records["Account"].append(
            {
                "Id": account_id,
                "Name": company.name,
                "Website": f"https://www.{company.domain}",
                "Industry": company.industry.salesforce,
                "NumberOfEmployees": company.employees,
                "AnnualRevenue": float(company.revenue_usd),
                "BillingCountryCode": company.country.code,
                "BillingCountry": company.country.name,
                "BillingState": company.city[1] or None,
                "BillingCity": company.city[0],
                "Type": "Prospect",
                "OwnerId": rep.user_id,
                "ParentId": None,
                "IsDeleted": False,
                "MasterRecordId": None,
                "CreatedDate": stamp,
                "LastModifiedDate": stamp,
                "SystemModstamp": stamp,
            }
        )
        return account_id

    def _sf_contact(
        self, person: Person, rep: Rep, created: datetime, modified: datetime
    ) -> Record:
        rng = self.draft.draw["salesforce"]
        email, phone = self._spelled(person, rng)
        account_created = min(created, self.draft.anchor - timedelta(days=1))
        contact: Record = {
            "Id": self.draft.new_id("Contact"),
            "AccountId": self._account(person.company, rep, account_created),
            "Email": email,
            "Phone": phone,
            "FirstName": person.first_name,
            "LastName": person.last_name,
            "Title": person.title,
            "MailingCountryCode": person.company.country.code,
            "MailingCountry": person.company.country.name,
            "LeadSource": "Web",
            "OwnerId": rep.user_id,
            "HasOptedOutOfEmail": "opted_out" in person.traits,
            "IsDeleted": False,
            "MasterRecordId": None,
            "CreatedDate": salesforce_time(created),
            "LastModifiedDate": salesforce_time(modified),
            "SystemModstamp": salesforce_time(modified),
        }
        self.records["Contact"].append(contact)
        self.draft.records[person.key].append(("salesforce", "contact", str(contact["Id"])))
        return contact

    def _work_lead(self, person: Person, rep: Rep, created: datetime, asked: datetime) -> None:
        """A lead sales picked up: first touch, perhaps a meeting, perhaps an opportunity."""
        rng = self.draft.draw["salesforce"]
        lead = self.lead(person, rep, created)
        modified = asked
        if rng.random() < 0.85:
            # Median first touch of about two hours; the slow tail is what an SLA report is for.
            modified = min(
                asked + timedelta(minutes=int(10 ** rng.uniform(0.7, 3.4))),
                self.draft.anchor - timedelta(minutes=30),
            )
            self._task(rep, str(lead["Id"]), person, asked, modified)
        outcome = self.calendar.meeting(person, rep, modified)
        event = self._logged_meeting(person, rep, lead) if outcome else None
        if outcome == "held" and rng.random() < 0.8:
            self._convert(person, rep, lead, modified + timedelta(days=rng.uniform(1, 5)), event)
            return
        if outcome is None and rng.random() < 0.4:
            lead["Status"] = "Unqualified"
            lead["Handoff_Rejection_Reason__c"] = rng.choice(
                ("no budget", "wrong contact", "not reachable", "competitor")
            )
        else:
            lead["Status"] = "Working - Contacted"
        lead |= {
            "LastModifiedDate": salesforce_time(modified),
            "SystemModstamp": salesforce_time(modified),
        }

    def _logged_meeting(self, person: Person, rep: Rep, lead: Record) -> Record | None:
        """Some reps enter the meeting of their calendar in Salesforce too, and few cancel it there."""
        rng = self.draft.draw["salesforce_activity"]
        if rng.random() > 0.5:
            return None
        booked = self.calendar.events[rep.email][-1]
        starts_at = datetime.fromisoformat(str(booked["start"]["dateTime"]))
        written = datetime.fromisoformat(str(booked["created"])) + timedelta(minutes=3)
        written = min(written, self.draft.anchor - timedelta(minutes=1))
        event = self._event(
            rep, str(lead["Id"]), None, str(booked["summary"]), starts_at, 30, written
        )
        if booked["status"] == "cancelled" and rng.random() < 0.3:
            changed = datetime.fromisoformat(str(booked["updated"]))
            stamp = salesforce_time(max(changed, written))
            event |= {"IsDeleted": True, "LastModifiedDate": stamp, "SystemModstamp": stamp}
        return event

    def _event(
        self,
        rep: Rep,
        who_id: str,
        what_id: str | None,
        subject: str,
        starts_at: datetime,
        minutes: int,
        written: datetime,
    ) -> Record:
        event: Record = {
            "Id": self.draft.new_id("Event"),
            "WhoId": who_id,
            "WhatId": what_id,
            "OwnerId": rep.user_id,
            "Subject": subject,
            "Location": "Video call",
            "EventSubtype": "Event",
            "IsAllDayEvent": False,
            "StartDateTime": salesforce_time(starts_at),
            "EndDateTime": salesforce_time(starts_at + timedelta(minutes=minutes)),
            "DurationInMinutes": minutes,
            "ShowAs": "Busy",
            "IsChild": False,
            "IsGroupEvent": False,
            "IsRecurrence": False,
            "IsDeleted": False,
            "CreatedDate": salesforce_time(written),
            "LastModifiedDate": salesforce_time(written),
            "SystemModstamp": salesforce_time(written),
        }
        self.records["Event"].append(event)
        return event

    def _task(self, rep: Rep, who_id: str, person: Person, asked: datetime, done: datetime) -> None:
        rng = self.draft.draw["salesforce"]
        kind = "Call" if person.phone and rng.random() < 0.6 else "Email"
        self.records["Task"].append(
            {
                "Id": self.draft.new_id("Task"),
                "WhoId": who_id,
                "WhatId": None,
                "OwnerId": rep.user_id,
                "Subject": f"{kind}: {person.first_name} {person.last_name}",
                "TaskSubtype": kind,
                "Status": "Completed",
                "Priority": "High",
                "ActivityDate": done.date().isoformat(),
                "Description": None,
                "IsClosed": True,
                "CompletedDateTime": salesforce_time(done),
                "IsDeleted": False,
                "CreatedDate": salesforce_time(asked),
                "LastModifiedDate": salesforce_time(done),
                "SystemModstamp": salesforce_time(done),
            }
        )

    def _convert(
        self, person: Person, rep: Rep, lead: Record, at: datetime, event: Record | None
    ) -> None:
        """Lead conversion: contact, account and opportunity; the lead stays, marked (Salesforce
        Help)."""
        rng = self.draft.draw["salesforce"]
        at = min(at, self.draft.anchor - timedelta(hours=3))
        contact = self._sf_contact(person, rep, at, at)
        account_id = str(contact["AccountId"])
        opportunity_id = self.draft.new_id("Opportunity")
        roll = rng.random()
        age_days = max((self.draft.anchor - at).days, 0)
        is_closed = roll < 0.62 and age_days > 4
        is_won = is_closed and roll < 0.33
        changed = at + timedelta(days=rng.uniform(3, max(age_days - 0.5, 3.1))) if is_closed else at
        changed = min(changed, self.draft.anchor - timedelta(hours=1))
        stages = ("Qualification", "Proposal/Price Quote", "Negotiation/Review")
        stage = ("Closed Won" if is_won else "Closed Lost") if is_closed else rng.choice(stages)
        close_on = (
            changed if is_closed else self.draft.anchor + timedelta(days=rng.randrange(10, 80))
        )
        amount = round(
            person.company.employees * rng.uniform(25, 60) + rng.randrange(4_000, 20_000), 2
        )
        stamp = salesforce_time(changed)
        self.records["Opportunity"].append(
            {
                "Id": opportunity_id,
                "AccountId": account_id,
                "ContactId": contact["Id"],
                "Name": f"{person.company.name} – Handoff rollout",
                "Amount": amount,
                "StageName": stage,
                "Type": "New Business",
                "Product_Line__c": rng.choice(("Core", "Core", "Analytics", "Scheduling")),
                "CloseDate": close_on.date().isoformat(),
                "IsWon": is_won,
                "IsClosed": is_closed,
                "OwnerId": rep.user_id,
                "LeadSource": lead["LeadSource"],
                "IsDeleted": False,
                "CreatedDate": salesforce_time(at),
                "LastModifiedDate": stamp,
                "SystemModstamp": stamp,
            }
        )
        self._history(self.records["Opportunity"][-1], at, changed)
        if event is not None:
            # Conversion hands a lead's activities to the contact.
            event["WhoId"] = contact["Id"]
            stamped = max(str(event["SystemModstamp"]), salesforce_time(at))
            event |= {"LastModifiedDate": stamped, "SystemModstamp": stamped}
        self._review(rep, contact, opportunity_id, at)
        self.records["OpportunityContactRole"].append(
            {
                "Id": self.draft.new_id("OpportunityContactRole"),
                "OpportunityId": opportunity_id,
                "ContactId": contact["Id"],
                "Role": "Decision Maker",
                "IsPrimary": True,
                "IsDeleted": False,
                "CreatedDate": salesforce_time(at),
                "LastModifiedDate": salesforce_time(at),
                "SystemModstamp": salesforce_time(at),
            }
        )
        colleagues = [
            row
            for row in self.records["Contact"]
            if row["AccountId"] == account_id and row["Id"] != contact["Id"]
        ]
        if colleagues:
            self.records["OpportunityContactRole"].append(
                {
                    "Id": self.draft.new_id("OpportunityContactRole"),
                    "OpportunityId": opportunity_id,
                    "ContactId": rng.choice(colleagues)["Id"],
                    "Role": "Influencer",
                    "IsPrimary": False,
                    "IsDeleted": False,
                    "CreatedDate": salesforce_time(at),
                    "LastModifiedDate": salesforce_time(at),
                    "SystemModstamp": salesforce_time(at),
                }
            )
        lead |= {
            "Status": "Qualified",
            "IsConverted": True,
            "ConvertedContactId": contact["Id"],
            "ConvertedAccountId": account_id,
            "ConvertedOpportunityId": opportunity_id,
            "ConvertedDate": at.date().isoformat(),
            "LastModifiedDate": salesforce_time(at),
            "SystemModstamp": salesforce_time(at),
        }

    def _history(self, opportunity: Record, at: datetime, changed: datetime) -> None:
        """The stages an opportunity went through to where it is, from `at` to `changed`."""
        rng = self.draft.draw["salesforce_activity"]
        final = str(opportunity["StageName"])
        stages = [final]
        if opportunity["IsClosed"]:
            ways = ("Qualification", "Proposal/Price Quote", "Negotiation/Review")
            passed = 3 if opportunity["IsWon"] else rng.randrange(1, 4)
            stages = [*ways[:passed], final]
        expected = (at + timedelta(days=45)).date().isoformat()
        before: Record | None = None
        for number, stage in enumerate(stages):
            entered = at + (changed - at) * number / max(len(stages) - 1, 1)
            version = {**opportunity, "StageName": stage}
            if number < len(stages) - 1:
                version["CloseDate"] = expected
            self.records["OpportunityHistory"].append(
                history_row(
                    self.draft.new_id("OpportunityHistory"),
                    version,
                    before,
                    salesforce_time(entered),
                    str(opportunity["OwnerId"]),
                )
            )
            before = version

    def _review(self, rep: Rep, contact: Record, opportunity_id: str, at: datetime) -> None:
        """A later meeting, on the telephone, that stands in Salesforce alone."""
        rng = self.draft.draw["salesforce_activity"]
        if rng.random() < 0.4:
            day = (at + timedelta(days=rng.randrange(2, 9))).replace(minute=0, second=0)
            self._event(
                rep, str(contact["Id"]), opportunity_id, "Proposal review",
                day.replace(hour=13, microsecond=0), 45, at,
            )  # fmt: skip

"""What the simulated HubSpot recorded of the people: contacts with duplicates and merges, events,
companies."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from ingestion.sandbox.behaviour import Step
from ingestion.sandbox.cast import SITE, Company, Person, random_uuid
from ingestion.sandbox.draft import HISTORY_DAYS, Draft, Record
from ingestion.sandbox.spelling import hubspot_time, other_case
from ingestion.sandbox.vocabulary import LEGAL_BASES

EVENT_TYPES = {
    "page_view": "e_visited_page",
    "email_open": "e_opened_email_v2",
    "email_click": "e_clicked_link_in_email_v2",
    "form_submit": "e_submitted_form_v2",
    "webinar_attend": "pe_webinar_attended",
}


def merge_audit(merged: Sequence[Record], at: datetime) -> dict[str, str]:
    """What the contact that others became says of them: every id, of earlier merges too, and the
    newest ones with their instant in milliseconds."""
    ids: list[str] = []
    pairs: list[str] = []
    for contact in merged:
        earlier = contact["properties"]
        ids += [*filter(None, str(earlier["hs_merged_object_ids"] or "").split(";"))]
        pairs += [*filter(None, str(earlier["hs_calculated_merged_vids"] or "").split(";"))]
        ids.append(str(contact["id"]))
        pairs.append(f"{contact['id']}:{round(at.timestamp() * 1_000)}")
    return {"hs_merged_object_ids": ";".join(ids), "hs_calculated_merged_vids": ";".join(pairs)}


class HubSpotRecords:
    """Collects `contacts`, `events` and `merges` (old contact id → new one) person by person."""

    def __init__(self, draft: Draft) -> None:
        """Starts empty; ids count up from 51000."""
        self.draft = draft
        self.contacts: list[Record] = []
        self.events: list[Record] = []
        self.merges: dict[str, str] = {}
        self._contact_number = 51_000

    def record(self, person: Person, steps: Sequence[Step]) -> None:
        """The person's contact, perhaps a duplicate or a merge, and the events of `steps`."""
        rng = self.draft.draw["hubspot"]
        spelling = rng.randrange(5)
        style = rng.randrange(5)
        is_duplicate = rng.random() < 0.125 and person.segment not in ("persona", "shared_mailbox")
        is_merged = is_duplicate and person.phone is not None and rng.random() < 0.14
        by_phone = person.phone is not None and rng.random() < 0.4
        seen_at = steps[0].at if steps else self.draft.anchor - timedelta(days=60)
        last_at = steps[-1].at if steps else seen_at
        legal_basis = (
            rng.choice(LEGAL_BASES) if person.segment == "persona" or rng.random() < 0.85 else ""
        )
        email = person.email
        if person.segment == "shared_mailbox" and int(person.key[-4:]) % 3 == 1:
            email = email.capitalize()
        first = self.contact(
            person, email, self.draft.phone(person, style), seen_at, last_at, legal_basis, spelling
        )
        ids = [str(first["id"])]
        if is_duplicate:
            joined = self.draft.moment(
                rng, max((self.draft.anchor - seen_at).days, 2), 1, person.company.country
            )
            joined = max(joined, seen_at + timedelta(minutes=20))
            other_email = person.alias if by_phone else other_case(person.email, rng)
            second = self.contact(
                person, other_email, self.draft.phone(person, style + 1), joined,
                max(joined, last_at),
                legal_basis, spelling + 1,
            )  # fmt: skip
            ids.append(str(second["id"]))
            self.draft.traits[person.key].append("hubspot_duplicate")
            if is_merged:
                self._merge_contacts(person, first, second)
            else:
                self.contacts.append(second)
        if not (is_duplicate and is_merged):
            self.contacts.append(first)
        for step in steps:
            at_second = len(ids) > 1 and rng.random() < 0.35
            self.event(person, ids[1] if at_second else ids[0], step)

    def contact(
        self,
        person: Person,
        email: str,
        phone: str | None,
        created: datetime,
        modified: datetime,
        legal_basis: str,
        spelling: int,
    ) -> Record:
        """A contact under a new id, entered into the truth; `contacts` is the caller's to extend."""
        rng = self.draft.draw["hubspot"]
        self._contact_number += rng.randrange(1, 40)
        contact_id = str(self._contact_number)
        modified += timedelta(seconds=rng.randrange(1, 90))
        company = person.company
        stage = {
            "hot": "marketingqualifiedlead",
            "engaged": "lead",
            "persona": "lead",
        }.get(person.segment, "subscriber")
        # Form fillers leave fields empty and write company names as they please.
        names = (company.name, company.name.upper(), f"{company.name} GmbH", company.name, "")
        if company.country.territory != "dach":
            names = (company.name, company.name.upper(), f"{company.name} Inc.", company.name, "")
        city, region, postal_code = company.city
        properties: Record = {
            "hs_object_id": contact_id,
            "email": email,
            "phone": phone,
            "firstname": person.first_name,
            "lastname": person.last_name,
            "company": names[spelling % 5] or None,
            "jobtitle": person.title,
            "country": company.country.code,
            "city": city if spelling % 3 else None,
            "state": (region or None) if spelling % 3 else None,
            "zip": postal_code if spelling % 3 else None,
            "lifecyclestage": stage,
            "hs_analytics_source": person.source[0],
            "hs_latest_source": "DIRECT_TRAFFIC" if rng.random() < 0.3 else person.source[0],
            "utm_source": person.campaign.utm_source if person.campaign else None,
            "utm_medium": person.campaign.utm_medium if person.campaign else None,
            "utm_campaign": person.campaign.utm_campaign if person.campaign else None,
            "hs_campaign_id": person.campaign.guid if person.campaign else None,
            "hubspot_owner_id": None,
            "associatedcompanyid": self._hubspot_company_id(company),
            "createdate": hubspot_time(created),
            "lastmodifieddate": hubspot_time(min(modified, self.draft.anchor)),
            "hs_merged_object_ids": None,
            "hs_calculated_merged_vids": None,
            "hs_legal_basis": legal_basis or None,
            "hs_email_optout": "true" if "opted_out" in person.traits else "false",
        }
        self.draft.records[person.key].append(("hubspot", "contact", contact_id))
        return {
            "id": contact_id,
            "properties": properties,
            "createdAt": properties["createdate"],
            "updatedAt": properties["lastmodifieddate"],
            "archived": False,
        }

    def _merge_contacts(self, person: Person, first: Record, second: Record) -> None:
        """HubSpot's merge: a third id takes over, the primary's values win, both old ids resolve to
        it."""
        last_modified = max(str(first["updatedAt"]), str(second["updatedAt"]))
        merged_at = datetime.fromisoformat(last_modified) + timedelta(hours=1)
        email = str(first["properties"]["email"])
        third = self.contact(
            person, email, first["properties"]["phone"], merged_at, merged_at, "", 0
        )
        kept = {
            name: value
            for name, value in first["properties"].items()
            if name not in ("hs_object_id", "lastmodifieddate")
        }
        third["properties"].update(kept, **merge_audit((first, second), merged_at))
        third["createdAt"] = first["createdAt"]
        self.contacts.append(third)
        self.merges |= {
            str(first["id"]): str(third["id"]),
            str(second["id"]): str(third["id"]),
        }
        self.draft.traits[person.key].append("hubspot_merged")

    def event(self, person: Person, contact_id: str, step: Step) -> None:
        """The event occurrence of one step, with its campaign."""
        rng = self.draft.draw["hubspot"]
        properties: Record = {}
        campaign = person.campaign
        match step.kind:
            case "page_view":
                properties = {"hs_url": SITE + step.detail, "hs_referrer": person.source[1]}
            case "form_submit":
                page = {"demo_request": "/demo", "contact_sales": "/contact"}.get(
                    step.detail, "/blog"
                )
                properties = {"hs_form_id": step.detail, "hs_url": SITE + page}
                if step.detail == "ebook_download":
                    campaign = self.draft.cast.campaigns[4]
            case "webinar_attend":
                campaign = self.draft.cast.campaigns[3]
            case _:
                campaign = self.draft.cast.campaigns[2]
                properties = {"hs_url": SITE + step.detail} if step.kind == "email_click" else {}
        carries_campaign = step.kind != "page_view" or rng.random() < 0.35
        if campaign is not None and carries_campaign:
            properties |= {
                "hs_campaign_id": campaign.guid,
                "utm_source": campaign.utm_source,
                "utm_medium": campaign.utm_medium,
                "utm_campaign": campaign.utm_campaign,
            }
        self.events.append(
            {
                "id": random_uuid(rng),
                "objectType": "CONTACT",
                "objectId": contact_id,
                "eventType": EVENT_TYPES[step.kind],
                "occurredAt": hubspot_time(step.at),
                "properties": properties,
            }
        )

    def _hubspot_company_id(self, company: Company) -> str:
        return str(880_001 + 7 * company.number)

    def companies(self) -> list[Record]:
        """Every company, known since before the history begins."""
        rows: list[Record] = []
        for company in (*self.draft.cast.companies, *self.draft.cast.outsiders):
            created = hubspot_time(
                self.draft.anchor - timedelta(days=HISTORY_DAYS, minutes=company.number * 3)
            )
            company_id = self._hubspot_company_id(company)
            rows.append(
                {
                    "id": company_id,
                    "properties": {
                        "hs_object_id": company_id,
                        "name": company.name,
                        "domain": company.domain,
                        "website": f"https://www.{company.domain}",
                        "industry": company.industry.hubspot,
                        "numberofemployees": str(company.employees),
                        "annualrevenue": str(company.revenue_usd),
                        "country": company.country.code,
                        "city": company.city[0],
                        "state": company.city[1] or None,
                        "hubspot_owner_id": None,
                        "createdate": created,
                        "lastmodifieddate": created,
                        "hs_lastmodifieddate": created,
                    },
                    "createdAt": created,
                    "updatedAt": created,
                    "archived": False,
                }
            )
        return sorted(rows, key=lambda row: int(row["id"]))

    def owners(self) -> list[Record]:
        """The reps as owners."""
        since = hubspot_time(self.draft.anchor - timedelta(days=400))
        return [
            {
                "id": rep.owner_id,
                "email": rep.email,
                "firstName": rep.first_name,
                "lastName": rep.last_name,
                "userId": int(rep.owner_id) + 40_000,
                "type": "PERSON",
                "createdAt": since,
                "updatedAt": since,
                "archived": False,
                "teams": [
                    {"id": str(300 + number), "name": name, "primary": number == 0}
                    for number, name in enumerate(rep.territories)
                ],
            }
            for rep in self.draft.cast.reps
        ]

    def campaigns(self) -> list[Record]:
        """Campaigns with one spend item a day."""
        rng = self.draft.draw["hubspot"]
        rows: list[Record] = []
        for campaign in self.draft.cast.campaigns:
            spend = []
            for day in range(campaign.first_day, campaign.last_day, -1):
                date = (self.draft.anchor - timedelta(days=day)).date()
                # Ads run at half speed at the weekend.
                share = 0.5 if date.weekday() >= 5 else 1.0
                amount = round(campaign.daily_usd * share * rng.uniform(0.85, 1.15), 2)
                spend.append({"date": date.isoformat(), "amount": amount, "currency": "USD"})
            created = hubspot_time(self.draft.anchor - timedelta(days=campaign.first_day, hours=6))
            updated = hubspot_time(self.draft.anchor - timedelta(days=campaign.last_day, hours=2))
            rows.append(
                {
                    "id": campaign.guid,
                    "properties": {
                        "hs_name": campaign.name,
                        "hs_campaign_status": "active" if campaign.last_day == 0 else "completed",
                        "hs_start_date": spend[0]["date"],
                        "hs_end_date": None if campaign.last_day == 0 else spend[-1]["date"],
                        "hs_utm": campaign.utm_campaign,
                        "utm_source": campaign.utm_source,
                        "utm_medium": campaign.utm_medium,
                        "channel": campaign.channel,
                        "hs_currency_code": "USD",
                        "hs_spend_items_sum_amount": str(
                            round(sum(float(str(item["amount"])) for item in spend), 2)
                        ),
                    },
                    "spendItems": spend,
                    "createdAt": created,
                    "updatedAt": updated,
                }
            )
        return rows

"""Who exists in the sandbox: reps, campaigns, companies and people; what they do stands in
behaviour.py."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from uuid import UUID

from ingestion.sandbox.identifiers import salesforce_id
from ingestion.sandbox.spelling import ascii_slug
from ingestion.sandbox.vocabulary import (
    COMPANY_SHARES,
    COMPANY_STEMS,
    COUNTRIES,
    FIRST_NAMES,
    INDUSTRIES,
    JUNIOR_TITLES,
    LAST_NAMES,
    MIDDLE_TITLES,
    SENIOR_TITLES,
    SOURCES,
    Country,
    Industry,
)

HISTORY_DAYS = 120
SITE = "https://www.lumenwerk-demoworld.com"
OWN_DOMAIN = "lumenwerk-demoworld.com"
COMPETITOR_DOMAIN = "leadhopper-demoworld.com"
STUDENT_DOMAIN = "campus-demoworld.edu"
FREE_MAIL_DOMAIN = "postbox-demoworld.com"
TARGET_INDUSTRIES = ("Technology", "Manufacturing", "Finance", "Healthcare")

# Draws before giving up on an unused name or number.
ATTEMPTS = 50

# Share of people per segment; the rest are newsletter readers, as in any real database.
SEGMENT_SHARES = {
    "hot": 0.17,
    "engaged": 0.27,
    "persona": 0.03,
    "student": 0.015,
    "competitor": 0.0125,
    "shared_mailbox": 0.03,
    "sales_sourced": 0.04,
}


@dataclass(frozen=True, slots=True)
class Rep:
    """One sales rep, the same human in all systems; `working_hours` is local `HH:MM-HH:MM`."""

    owner_id: str
    user_id: str
    email: str
    first_name: str
    last_name: str
    time_zone: str
    territories: tuple[str, ...]
    weight: float
    capacity: int
    working_hours: str

    @property
    def name(self) -> str:
        """First and last name."""
        return f"{self.first_name} {self.last_name}"


@dataclass(frozen=True, slots=True)
class Company:
    """One company people work for."""

    number: int
    name: str
    domain: str
    country: Country
    city: tuple[str, str, str]
    industry: Industry
    employees: int
    revenue_usd: int


@dataclass(frozen=True, slots=True)
class Campaign:
    """One marketing campaign; days are before the anchor, `daily_usd` is a day's mean spend."""

    guid: str
    name: str
    channel: str
    utm_source: str
    utm_medium: str
    utm_campaign: str
    first_day: int
    last_day: int
    daily_usd: float


@dataclass(frozen=True, slots=True)
class Person:
    """One human being: the truth the systems only hold fragments of. `phone` = (area, subscriber)
    or None."""

    key: str
    first_name: str
    last_name: str
    email: str
    alias: str
    company: Company
    title: str
    phone: tuple[str, str] | None
    segment: str
    traits: tuple[str, ...]
    source: tuple[str, str]
    campaign: Campaign | None


@dataclass(frozen=True, slots=True)
class Cast:
    """Everybody: the reps and campaigns of the vendor, the companies and people of the market.

    `outsiders` are the university, the competitor and the personas' companies, which HubSpot knows
    as companies too.
    """

    reps: tuple[Rep, ...]
    campaigns: tuple[Campaign, ...]
    companies: tuple[Company, ...]
    outsiders: tuple[Company, ...]
    people: tuple[Person, ...]


_REPS: tuple[tuple[str, str, str, tuple[str, ...], float, int, str], ...] = (
    ("Anna", "Köhler", "Europe/Berlin", ("dach",), 1.0, 30, "09:00-17:00"),
    ("Jonas", "Brandt", "Europe/Berlin", ("dach", "emea"), 0.5, 15, "09:00-17:00"),
    ("Imogen", "Hart", "Europe/London", ("emea",), 1.0, 30, "09:00-17:30"),
    ("Lucía", "Ferrer", "Europe/Madrid", ("emea",), 1.0, 25, "09:00-18:00"),
    ("Marcus", "Reed", "America/New_York", ("americas",), 1.5, 40, "08:30-17:00"),
    ("Priya", "Raman", "America/Chicago", ("americas",), 1.0, 30, "09:00-17:00"),
    ("Diego", "Salazar", "America/Los_Angeles", ("americas",), 1.0, 30, "08:00-16:00"),
    ("Wei Ling", "Tan", "Asia/Singapore", ("apac",), 1.0, 25, "09:00-18:00"),
    ("Haruka", "Mori", "Asia/Tokyo", ("apac",), 0.8, 20, "10:00-18:00"),
)

_CAMPAIGNS: tuple[tuple[str, str, str, str, str, int, int, float], ...] = (
    ("Search Brand", "paid_search", "google", "cpc", "search-brand", 120, 0, 85.0),
    ("LinkedIn Demand", "paid_social", "linkedin", "paid_social", "linkedin-demand", 110, 0, 140.0),
    ("Nurture Newsletter", "email", "newsletter", "email", "nurture", 120, 0, 12.0),
    ("Webinar Speed to Lead", "webinar", "webinar", "webinar", "speed-to-lead", 60, 8, 60.0),
    ("E-book Lead Scoring", "content_syndication", "syndication", "content", "ebook-scoring", 90,
    20, 45.0),
    ("Trade Fair Köln", "event", "trade-fair", "event", "fair-koeln", 75, 71, 1_250.0),
)  # fmt: skip


def draw_cast(seed: int, people: int) -> Cast:
    """The cast of `seed`; it does not depend on the anchor."""
    return _Casting(seed, people).cast()


def random_uuid(rng: Random) -> str:
    """A version 4 UUID from a seeded stream."""
    return str(UUID(int=rng.getrandbits(128), version=4))


class _Casting:
    def __init__(self, seed: int, people: int) -> None:
        self.people_wanted = people
        self.draw = {name: Random(f"{seed}|{name}") for name in ("reps", "companies", "people")}

    def cast(self) -> Cast:
        reps = self._reps()
        self.campaigns = self._campaigns()
        self.companies = self._companies()
        everybody = self._people()
        outsiders = tuple(
            self._company_of(self.draw["companies"], name) for name in ("student", "competitor")
        )
        return Cast(reps, self.campaigns, tuple(self.companies), outsiders, tuple(everybody))

    def _reps(self) -> tuple[Rep, ...]:
        return tuple(
            Rep(
                owner_id=str(7_100 + 13 * number),
                user_id=salesforce_id("User", 10 + 3 * number),
                email=f"{ascii_slug(first).replace('-', '')}.{ascii_slug(last)}@{OWN_DOMAIN}",
                first_name=first,
                last_name=last,
                time_zone=zone,
                territories=territories,
                weight=weight,
                capacity=capacity,
                working_hours=hours,
            )
            for number, (first, last, zone, territories, weight, capacity, hours) in enumerate(
                _REPS
            )
        )

    def _campaigns(self) -> tuple[Campaign, ...]:
        return tuple(Campaign(random_uuid(self.draw["reps"]), *row) for row in _CAMPAIGNS)

    def _companies(self) -> list[Company]:
        rng = self.draw["companies"]
        taken: set[str] = set()
        companies: list[Company] = []
        for code, share in COMPANY_SHARES.items():
            country = COUNTRIES[code]
            while share:
                # Two of three sell to the target industries: the world of a vendor that knows its
                # market.
                pool = [
                    row
                    for row in INDUSTRIES
                    if (row.salesforce in TARGET_INDUSTRIES) == (rng.random() < 0.66)
                ]
                industry = rng.choice(pool or list(INDUSTRIES))
                name = f"{rng.choice(COMPANY_STEMS[country.language])} {rng.choice(industry.words)}"
                domain = f"{ascii_slug(name)}-demoworld.{country.tld}"
                if domain in taken:
                    continue
                taken.add(domain)
                employees = round(10 ** rng.uniform(1.2, 3.7))
                companies.append(
                    Company(
                        number=len(companies),
                        name=name,
                        domain=domain,
                        country=country,
                        city=rng.choice(country.cities),
                        industry=industry,
                        employees=employees,
                        revenue_usd=employees * rng.randrange(60, 240) * 1_000,
                    )
                )
                share -= 1
        return companies

    def _people(self) -> list[Person]:
        rng = self.draw["people"]
        segments: list[str] = []
        for segment, portion in SEGMENT_SHARES.items():
            segments += [segment] * max(1, round(portion * self.people_wanted))
        segments += ["newsletter"] * (self.people_wanted - len(segments))
        rng.shuffle(segments)
        taken_emails: set[str] = set()
        taken_phones: set[tuple[str, str, str]] = set()
        mailboxes = 0
        people: list[Person] = []
        for number, segment in enumerate(segments):
            company = self._company_of(rng, segment)
            country = company.country
            for attempt in range(ATTEMPTS):
                first = rng.choice(FIRST_NAMES[country.language])
                last = rng.choice(LAST_NAMES[country.language])
                plain_first, plain_last = ascii_slug(first).replace("-", ""), ascii_slug(last)
                local, other = f"{plain_first}.{plain_last}", f"{plain_first[0]}{plain_last}"
                if attempt == ATTEMPTS - 1:
                    # Namesakes get a number, as mail administrators do it.
                    local += str(number)
                if (email := f"{local}@{company.domain}") not in taken_emails:
                    taken_emails |= {email}
                    break
            alias = f"{other}{number}@{FREE_MAIL_DOMAIN if rng.random() < 0.3 else company.domain}"
            traits: list[str] = []
            if segment == "shared_mailbox":
                # Three strangers of one company behind one address: the classic over-merge trap.
                company = self.companies[(mailboxes // 3 * 7) % len(self.companies)]
                country = company.country
                email = f"{('info', 'sales')[mailboxes // 3 % 2]}@{company.domain}"
                mailboxes += 1
                traits.append("shared_mailbox")
            phone: tuple[str, str] | None = None
            for _ in range(ATTEMPTS):
                area, template = rng.choice(country.phones)
                digits = "".join(str(rng.randrange(10)) if c == "#" else c for c in template)
                if (country.code, area, digits) not in taken_phones:
                    taken_phones.add((country.code, area, digits))
                    phone = (area, digits)
                    break
            has_phone = (
                segment in ("persona", "sales_sourced", "shared_mailbox") or rng.random() < 0.78
            )
            source = rng.choices([(a, b) for a, b, _ in SOURCES], [share for *_, share in SOURCES])[
                0
            ]
            if segment in ("student", "competitor"):
                traits.append(segment)
            opted_out = rng.random() < 0.05
            if opted_out and segment not in ("persona", "shared_mailbox"):
                traits.append("opted_out")
            people.append(
                Person(
                    key=f"person-{number + 1:04d}",
                    first_name=first,
                    last_name=last,
                    email=email,
                    alias=alias,
                    company=company,
                    title=self._title(rng, segment),
                    phone=phone if has_phone else None,
                    segment=segment,
                    traits=tuple(traits),
                    source=source,
                    campaign=self._campaign_of(rng, source[0]),
                )
            )
        return people

    def _company_of(self, rng: Random, segment: str) -> Company:
        plain = self.companies[rng.randrange(len(self.companies))]
        if segment == "student":
            return Company(
                900, "Campus University", STUDENT_DOMAIN, COUNTRIES["DE"],
                COUNTRIES["DE"].cities[0], INDUSTRIES[6], 4_000, 0,
            )  # fmt: skip
        if segment == "competitor":
            return Company(
                901, "Leadhopper", COMPETITOR_DOMAIN, COUNTRIES["US"], COUNTRIES["US"].cities[0],
                INDUSTRIES[0], 350, 42_000_000,
            )  # fmt: skip
        if segment == "persona":
            # In the target market but not large: near the threshold, not over it, until they ask.
            fitting = [
                company
                for company in self.companies
                if company.industry.salesforce in TARGET_INDUSTRIES
                and company.employees < 200
                and company.country.code in ("DE", "AT", "CH", "GB", "FR", "NL", "SE", "US", "CA")
            ]
            return rng.choice(fitting or [plain])
        return plain

    def _title(self, rng: Random, segment: str) -> str:
        if segment == "student":
            return rng.choice(("Student", "Working student", "Intern"))
        if segment == "persona":
            return rng.choice(MIDDLE_TITLES[:5])
        senior, middle = {"hot": (0.5, 0.4), "engaged": (0.25, 0.4)}.get(segment, (0.12, 0.33))
        roll = rng.random()
        if roll < senior:
            return rng.choice(SENIOR_TITLES)
        return rng.choice(MIDDLE_TITLES if roll < senior + middle else JUNIOR_TITLES)

    def _campaign_of(self, rng: Random, source: str) -> Campaign | None:
        by_source = {
            "PAID_SEARCH": (0,),
            "PAID_SOCIAL": (1, 4),
            "EMAIL_MARKETING": (2, 3),
            "OFFLINE": (5,),
        }
        numbers = by_source.get(source)
        return self.campaigns[rng.choice(numbers)] if numbers else None

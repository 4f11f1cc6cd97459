"""The sandbox's named people: who they are, what they have done so far, what must become of them.

Their stories are fixed, whatever the seed; how they are recorded stands in persona_records.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ingestion.sandbox.cast import (
    COMPETITOR_DOMAIN,
    FREE_MAIL_DOMAIN,
    STUDENT_DOMAIN,
    Company,
    Person,
)
from ingestion.sandbox.vocabulary import COUNTRIES, INDUSTRIES

# What the MAP has as the legal basis of those who agreed.
AGREED = "Freely given consent from contact"


@dataclass(frozen=True, slots=True)
class Card:
    """One record of a persona in one system, as it stood at the anchor.

    `days` before the anchor it was made; `steps` are (days before the anchor, kind, detail), the
    kinds of behaviour.Step, and happen at this record.
    """

    system: str
    email: str | None
    phone_style: int | None
    days: float
    steps: tuple[tuple[float, str, str], ...] = ()
    name: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """What the warehouse must say of a persona after a run, under the policies as shipped.

    `people`: distinct persons its records come to. `consent`: granted, withdrawn or unknown, for
    e-mail. `is_pushed`: a lead in the CRM carries the person's id.
    """

    people: int
    is_mql: bool
    is_assigned: bool
    is_pushed: bool
    consent: str
    why: str


@dataclass(frozen=True, slots=True)
class Persona:
    """Somebody whose story is told; `acts` names what they can be made to do on the page."""

    name: str
    title: str
    story: str
    person: Person
    cards: tuple[Card, ...]
    expected: Expected
    acts: tuple[str, ...]
    # None: the MAP knows of no consent.
    legal_basis: str | None = AGREED

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, without the records' ids, which depend on the world."""
        person, expected = self.person, self.expected
        return {
            "name": self.name,
            "title": self.title,
            "story": self.story,
            "person": person.key,
            "email": person.email,
            "full_name": f"{person.first_name} {person.last_name}",
            "job_title": person.title,
            "company": person.company.name,
            "country": person.company.country.code,
            "acts": list(self.acts),
            "expected": {
                "people": expected.people,
                "is_mql": expected.is_mql,
                "is_assigned": expected.is_assigned,
                "is_pushed": expected.is_pushed,
                "consent": expected.consent,
                "why": expected.why,
            },
        }


def persona(name: str) -> Persona:
    """The persona of that name; KeyError lists the known ones."""
    for each in PERSONAS:
        if each.name == name:
            return each
    known = ", ".join(each.name for each in PERSONAS)
    raise KeyError(f"unknown persona {name!r}; known: {known}")


def _company(number: int, name: str, domain: str, code: str, industry: int, size: int) -> Company:
    country = COUNTRIES[code]
    return Company(
        number, name, domain, country, country.cities[0], INDUSTRIES[industry], size, size * 150_000
    )


_SOLVANTE = _company(910, "Solvante Robotics", "solvante-demoworld.de", "DE", 1, 640)
_FENNIMORE = _company(911, "Fennimore Capital", "fennimore-demoworld.co.uk", "GB", 2, 120)
_VERANO = _company(912, "Verano Health", "verano-demoworld.com", "US", 3, 300)
_KLEINHOLZ = _company(913, "Kleinholz Logistik", "kleinholz-demoworld.de", "DE", 4, 60)
COMPANIES = (_SOLVANTE, _FENNIMORE, _VERANO, _KLEINHOLZ)
# As the cast has them; they are recorded with the cast.
_CAMPUS = _company(900, "Campus University", STUDENT_DOMAIN, "DE", 6, 4_000)
_LEADHOPPER = _company(901, "Leadhopper", COMPETITOR_DOMAIN, "US", 0, 350)


def _person(
    name: str,
    first: str,
    last: str,
    email: str,
    company: Company,
    title: str,
    phone: tuple[str, str] | None,
    segment: str,
    *traits: str,
    alias: str = "",
    source: tuple[str, str] = ("ORGANIC_SEARCH", "https://www.google.com/"),
) -> Person:
    return Person(
        f"persona-{name}", first, last, email, alias or email, company, title, phone, segment,
        traits, source, None,
    )  # fmt: skip


_EVERYDAY = ("visit", "open_email", "click_email", "attend_webinar", "submit_form")

PERSONAS: tuple[Persona, ...] = (
    Persona(
        name="buyer",
        title="The buyer",
        story=(
            "Reads an e-book, comes to the webinar, looks at the prices twice and asks for a demo. "
            "Senior, in a large company of the target market, and agreed to be written to."
        ),
        person=_person(
            "buyer", "Miriam", "Adler", "miriam.adler@solvante-demoworld.de", _SOLVANTE,
            "VP Operations", ("151", "24000001"), "hot",
        ),
        cards=(
            Card(
                "hubspot", "miriam.adler@solvante-demoworld.de", 1, 25,
                (
                    (25, "form_submit", "ebook_download"),
                    (18, "email_open", "nurture"),
                    (12, "webinar_attend", "speed-to-lead"),
                    (3.2, "page_view", "/pricing"),
                    (1.3, "page_view", "/pricing"),
                    (1.2, "form_submit", "demo_request"),
                ),
            ),
        ),
        expected=Expected(
            1, True, True, True, "granted",
            "Fit of grade A and a demo request carry the score over the threshold; consent is there.",
        ),
        acts=(*_EVERYDAY, "book_meeting", "change_job", "withdraw_consent"),
    ),
    Persona(
        name="competitor",
        title="The competitor",
        story=(
            "Comes back to the pages of prices and of the demo for months, downloads the e-book, "
            "never asks for a person and never agreed to anything."
        ),
        person=_person(
            "competitor", "Rex", "Tallow", f"rex.tallow@{COMPETITOR_DOMAIN}", _LEADHOPPER,
            "Market Researcher", None, "competitor", "competitor",
            source=("DIRECT_TRAFFIC", ""),
        ),
        cards=(
            Card(
                "hubspot", f"rex.tallow@{COMPETITOR_DOMAIN}", None, 80,
                (
                    (80, "form_submit", "ebook_download"),
                    (60, "page_view", "/pricing"),
                    (46, "page_view", "/demo"),
                    (31, "page_view", "/pricing"),
                    (16, "page_view", "/demo"),
                    (2, "page_view", "/pricing"),
                ),
            ),
        ),
        expected=Expected(
            1, False, False, False, "unknown",
            "Scoring v1 excludes the domain: whatever they do, and ask for, they are nobody's lead.",
        ),
        acts=_EVERYDAY,
        legal_basis=None,
    ),
    Persona(
        name="student",
        title="The student",
        story="Reads everything for a thesis, downloads the e-book and asks for a demo.",
        person=_person(
            "student", "Jannik", "Sommer", f"jannik.sommer@{STUDENT_DOMAIN}", _CAMPUS,
            "Working student", ("151", "24000002"), "student", "student",
        ),
        cards=(
            Card(
                "hubspot", f"jannik.sommer@{STUDENT_DOMAIN}", 2, 30,
                (
                    (30, "form_submit", "ebook_download"),
                    (20, "page_view", "/blog/lead-scoring-in-practice"),
                    (11, "page_view", "/blog/what-is-a-marketing-qualified-lead"),
                    (10.5, "page_view", "/blog/dsgvo-und-leads"),
                    (10, "form_submit", "demo_request"),
                ),
            ),
        ),
        expected=Expected(
            1, False, False, False, "granted",
            "The title takes 20 points: what a demo request brings does not reach the threshold.",
        ),
        acts=(*_EVERYDAY, "change_job"),
    ),
    Persona(
        name="shared_mailbox",
        title="The shared mailbox",
        story=(
            "Two strangers of one company behind info@: one filled in a form, the other was typed "
            "into the CRM by a rep."
        ),
        person=_person(
            "shared-mailbox", "Petra", "Lang", "info@kleinholz-demoworld.de", _KLEINHOLZ,
            "Office Coordinator", ("151", "24000003"), "shared_mailbox", "shared_mailbox",
        ),
        cards=(
            Card(
                "hubspot", "info@kleinholz-demoworld.de", 1, 40,
                ((40, "form_submit", "newsletter"), (21, "email_open", "nurture")),
            ),
            Card("salesforce", "info@kleinholz-demoworld.de", None, 35, (), ("Uwe", "Falk")),
        ),
        expected=Expected(
            2, False, False, False, "granted",
            "A mailbox that strangers share links nobody: two records stay two people.",
        ),
        acts=_EVERYDAY,
    ),
    Persona(
        name="duplicate",
        title="The duplicate",
        story=(
            "Twice in the MAP, by the work and by a private address, and once in the CRM, by phone "
            "alone. No record is hot by itself; together they are."
        ),
        person=_person(
            "duplicate", "Tamsin", "Okoro", "tamsin.okoro@fennimore-demoworld.co.uk", _FENNIMORE,
            "Analyst", ("7400", "300001"), "engaged", "hubspot_duplicate",
            alias=f"tokoro@{FREE_MAIL_DOMAIN}", source=("PAID_SEARCH", "https://www.google.com/"),
        ),
        cards=(
            Card(
                "hubspot", "tamsin.okoro@fennimore-demoworld.co.uk", 0, 20,
                ((20, "form_submit", "ebook_download"), (9, "webinar_attend", "speed-to-lead")),
            ),
            Card(
                "hubspot", f"tokoro@{FREE_MAIL_DOMAIN}", 2, 3,
                ((2.5, "page_view", "/pricing"), (2.4, "form_submit", "demo_request")),
            ),
            Card("salesforce", None, 3, 8),
        ),
        expected=Expected(
            1, True, True, True, "granted",
            "One phone number in three spellings joins the records; their points add up once, and "
            "the lead that is there already is used.",
        ),
        acts=(*_EVERYDAY, "book_meeting", "merge"),
    ),
    Persona(
        name="opted_out",
        title="The opted-out",
        story="A director who asked for a demo, then told the MAP to stop writing.",
        person=_person(
            "opted-out", "Grace", "Holloway", "grace.holloway@verano-demoworld.com", _VERANO,
            "VP Finance", ("212", "5560104"), "engaged", "opted_out",
        ),
        cards=(
            Card(
                "hubspot", "grace.holloway@verano-demoworld.com", 1, 24,
                (
                    (24, "form_submit", "ebook_download"),
                    (20.2, "page_view", "/pricing"),
                    (20, "form_submit", "demo_request"),
                ),
            ),
        ),
        expected=Expected(
            1, True, True, False, "withdrawn",
            "Qualified and routed, but consent is withdrawn: the lead is held back, and says why.",
        ),
        acts=(*_EVERYDAY, "give_consent", "withdraw_consent"),
    ),
)  # fmt: skip

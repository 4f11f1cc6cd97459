"""Valid events of made-up people, the same for one seed; no measuring and no storage."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

ANCHOR = datetime(2026, 6, 1, 12, tzinfo=UTC)
SOURCE = "urn:handoff:benchmark"
COUNTRIES = ("DE", "AT", "GB", "FR", "US", "CA", "JP", "AU")
TITLES = ("VP Marketing", "Head of Sales", "Marketing Manager", "Engineer", "Analyst", "Student")
PAGES = ("/pricing", "/demo", "/blog/one", "/blog/two", "/docs")


def event(record: str, event_id: str, time: datetime, data: dict[str, Any]) -> dict[str, Any]:
    """One CloudEvent around `data`; its subject is what `data` says it is about."""
    key = data.get("record_id") or data.get("activity_id") or event_id
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": SOURCE,
        "type": f"com.handoff.{record}",
        "subject": f"{record}/web/{key}",
        "time": time.isoformat(),
        "data": data,
    }


def page_view(number: int, person: int, time: datetime) -> dict[str, Any]:
    """A visit with a referrer and campaign parameters: about 600 bytes of JSON."""
    return event(
        "activity",
        f"activity-{number}",
        time,
        {
            "activity_id": f"activity-{number}",
            "system": "web",
            "activity_type": "page_view",
            "contact_id": f"person-{person}",
            "email": f"person.{person}@company-{person % 997}.example",
            "anonymous_id": f"visitor-{person}",
            "url": f"https://www.example.com{PAGES[number % len(PAGES)]}",
            "referrer": "https://www.google.com/",
            "utm_source": "google",
            "utm_medium": "cpc",
            "utm_campaign": f"campaign-{number % 20}",
        },
    )


def form_submit(number: int, person: int, form: str, time: datetime) -> dict[str, Any]:
    """A submitted form."""
    return event(
        "activity",
        f"form-{number}",
        time,
        {
            "activity_id": f"form-{number}",
            "system": "web",
            "activity_type": "form_submit",
            "contact_id": f"person-{person}",
            "email": f"person.{person}@company-{person % 997}.example",
            "form_id": form,
            "url": "https://www.example.com/demo",
        },
    )


def contact(person: int, time: datetime, **overrides: Any) -> dict[str, Any]:
    """Somebody's record; `overrides` are fields that shall be other than the number says."""
    return event(
        "contact",
        f"contact-{person}",
        time,
        {
            "record_id": f"person-{person}",
            "system": "web",
            "email": f"person.{person}@company-{person % 997}.example",
            "phone": f"+49301{person:07d}",
            "first_name": "Person",
            "last_name": f"Number {person}",
            "company": f"Company {person % 997}",
            "job_title": TITLES[person % len(TITLES)],
            "country": COUNTRIES[person % len(COUNTRIES)],
            **overrides,
        },
    )


def consent(person: int, time: datetime) -> dict[str, Any]:
    """Their yes to e-mail."""
    return event(
        "consent",
        f"consent-{person}",
        time,
        {
            "contact_id": f"person-{person}",
            "system": "web",
            "channel": "email",
            "lawful_basis": "consent",
            "status": "granted",
            "consent_timestamp": time.isoformat(),
        },
    )


def page_views(count: int, people: int) -> Iterator[dict[str, Any]]:
    """`count` visits of `people` people over the 90 days before ANCHOR."""
    rng = random.Random(7)
    for number in range(count):
        time = ANCHOR - timedelta(seconds=rng.randrange(90 * 86_400))
        yield page_view(number, rng.randrange(people), time)


def world(people: int) -> Iterator[dict[str, Any]]:
    """Reps, then per person a contact, a consent, eight visits and sometimes a form: enough for one
    in some to qualify."""
    rng = random.Random(11)
    for number, territory in enumerate(("dach", "emea", "americas", "apac")):
        yield event(
            "rep",
            f"rep-{number}",
            ANCHOR - timedelta(days=200),
            {
                "record_id": f"rep-{number}",
                "system": "web",
                "name": f"Rep {number}",
                "email": f"rep{number}@example.com",
                "territories": [territory],
                "time_zone": "UTC",
                "weight": 1.0,
            },
        )
    visit = 0
    for person in range(people):
        known = ANCHOR - timedelta(days=rng.randrange(10, 120), seconds=rng.randrange(86_400))
        yield contact(person, known)
        yield consent(person, known)
        for _ in range(8):
            yield page_view(visit, person, known + timedelta(hours=rng.randrange(1, 240)))
            visit += 1
        if rng.random() < 0.2:
            yield form_submit(person, person, "demo_request", known + timedelta(days=9))

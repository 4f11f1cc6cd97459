"""What the people of the sandbox do: visits, opens, clicks, forms and webinars; the funnel's shape
is decided here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from ingestion.sandbox.cast import Person
from ingestion.sandbox.draft import HISTORY_DAYS, Draft
from ingestion.sandbox.vocabulary import BLOG_PATHS


@dataclass(frozen=True, slots=True)
class Step:
    """One thing a person did: `kind` is page_view, email_open, email_click, form_submit or
    webinar_attend."""

    at: datetime
    kind: str
    detail: str


def steps_of(draft: Draft, person: Person) -> list[Step]:
    """What the person did, oldest first; the funnel's shape is decided here."""
    rng = draft.draw["events"]
    country = person.company.country
    steps: list[Step] = []

    def add(kind: str, detail: str, earliest: float, latest: float) -> datetime:
        at = draft.moment(rng, earliest, max(latest, 0.0), country)
        steps.append(Step(at, kind, detail))
        return at

    def mail(count: int, earliest: float, latest: float, click_rate: float) -> None:
        for _ in range(count):
            at = add("email_open", "nurture", earliest, latest)
            if rng.random() < click_rate:
                steps.append(
                    Step(at + timedelta(seconds=rng.randrange(10, 300)), "email_click", "/blog")
                )

    start = rng.uniform(25, HISTORY_DAYS - 1)
    match person.segment:
        case "sales_sourced":
            return []
        case "persona":
            add("form_submit", "newsletter", 45, 30)
            mail(rng.randrange(2, 4), 28, 10, 0.0)
            add("webinar_attend", "speed-to-lead", 17, 13)
            add("page_view", "/pricing", 6, 4)
            for _ in range(rng.randrange(1, 4)):
                add("page_view", rng.choice(BLOG_PATHS), 25, 2)
        case "hot":
            peak = rng.uniform(1, min(start, 90))
            add("form_submit", rng.choice(("newsletter", "ebook_download")), start, start - 2)
            for _ in range(rng.randrange(2, 6)):
                add("page_view", rng.choice(BLOG_PATHS), start, peak)
            mail(rng.randrange(1, 6), start, peak, 0.4)
            if rng.random() < 0.55:
                add("webinar_attend", "speed-to-lead", peak + 12, peak + 2)
            for _ in range(rng.randrange(1, 4)):
                add("page_view", "/pricing", peak + 6, peak + 0.5)
            if rng.random() < 0.5:
                add("page_view", "/demo", peak + 3, peak)
            ask = "contact_sales" if rng.random() < 0.35 else "demo_request"
            asked = draft.moment(rng, peak, max(peak - 0.5, 0.05), country)
            steps.append(Step(asked, "form_submit", ask))
            mail(rng.randrange(0, 3), peak, 0.1, 0.3)
        case "engaged":
            if rng.random() < 0.6:
                add("form_submit", "ebook_download", start, start - 4)
            else:
                add("form_submit", "newsletter", start, start - 4)
            for _ in range(rng.randrange(2, 7)):
                add("page_view", rng.choice(BLOG_PATHS), start, 1)
            mail(rng.randrange(2, 9), start, 0.5, 0.25)
            if rng.random() < 0.35:
                add("webinar_attend", "speed-to-lead", start, max(8, start - 30))
            if rng.random() < 0.35:
                add("page_view", "/pricing", start, 1)
        case "student":
            add("form_submit", "ebook_download", start, start - 3)
            for _ in range(rng.randrange(6, 14)):
                add("page_view", rng.choice(BLOG_PATHS), start, 1)
            if rng.random() < 0.5:
                add("form_submit", "demo_request", start, 1)
        case "competitor":
            for _ in range(rng.randrange(4, 9)):
                add("page_view", rng.choice(("/pricing", "/demo")), 60, 1)
            add("form_submit", "ebook_download", 60, 5)
        case "shared_mailbox":
            add("form_submit", "newsletter", start, start - 2)
            mail(rng.randrange(1, 4), start, 1, 0.1)
        case _:
            add("form_submit", "newsletter", start, start - 3)
            for _ in range(rng.randrange(0, 4)):
                add("page_view", rng.choice(BLOG_PATHS), start, 1)
            mail(rng.randrange(0, 7), start, 0.5, 0.06)
    return sorted(steps, key=lambda step: (step.at, step.kind, step.detail))

"""The shape of a lead model's policy: what it learns, of whom, and from what it may look at."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from models.policies.documents import Name, Part, Pattern, PolicyDocument, Positive, Text

PERSON_FIELDS = (
    "job_title",
    "company",
    "country",
    "region",
    "city",
    "postal_code",
    "email_domain",
    "original_source",
    "latest_source",
    "campaign_id",
)
"""Fields of a contact a model may look at; email_domain is the part after the @."""

ACCOUNT_FIELDS = ("industry", "employee_count", "annual_revenue_usd")
"""Fields of the company a model may look at."""

CUSTOM_FIELD = r'custom\.[A-Za-z][^"]*'
FeatureField = Annotated[
    str,
    StringConstraints(pattern=rf"^({'|'.join((*PERSON_FIELDS, *ACCOUNT_FIELDS))}|{CUSTOM_FIELD})$"),
]


class FieldFeature(Part):
    """What a person's records, or their company's, said by then; of several records the one told last."""

    id: Name = Field(description="Stable name: reasons and the card call it so.")
    label: Text | None = Field(None, description="What people read; absent: the id.")
    field: FeatureField = Field(description="A field, or custom.<name> for a custom one.")
    type: Literal["category", "number"] = Field("category", description="How it is read.")
    matches: Pattern | None = Field(
        None, description="Of a text whether it matches, rather than what it says. RE2."
    )
    trusted: bool = Field(
        False,
        description="true: it was known before the outcome, however well it tells it. Without this a "
        "feature that tells the outcome all alone is refused as a leak.",
    )


class ActivityFeature(Part):
    """What they had done by then."""

    id: Name = Field(description="Stable name: reasons and the card call it so.")
    label: Text | None = Field(None, description="What people read; absent: the id.")
    activity_type: Text | None = Field(
        None, description="A value of the activity_type registry; absent: any."
    )
    url_pattern: Pattern | None = Field(None, description="On the page's URL. RE2.")
    form_pattern: Pattern | None = Field(None, description="On the form's id. RE2.")
    measure: Literal["count", "days_since_last", "days_since_first", "distinct_days"] = "count"
    within_days: Positive | None = Field(
        None, description="Only of so many days before; absent: ever."
    )
    trusted: bool = Field(False, description="As for fields.")


CalendarFeature = Literal["weekday", "month", "hour"]


class Features(Part):
    """What the model may look at: as it was known at the instant it speaks for."""

    fields: tuple[FieldFeature, ...] = ()
    activities: tuple[ActivityFeature, ...] = ()
    calendar: tuple[CalendarFeature, ...] = Field((), description="Of the instant, in UTC.")


class ModelPolicy(PolicyDocument):
    """How likely a lead is to be taken up by sales, learned from what became of earlier ones; it holds once `handoff train` has written
    the model beside the version."""

    learn_from: Literal["mqls", "people"] = Field(
        "mqls",
        description="mqls: each MQL, as of when it was known; people: everybody, as of when they were first known.",
    )
    outcome: Literal["met", "accepted", "opportunity", "won"] = Field(
        description="What counts as success: a meeting with them takes place, sales accepts the lead (or goes further), "
        "opens an opportunity (or wins it), wins."
    )
    silence: Literal["failure", "unknown"] = Field(
        "failure",
        description="What a lead is of whom sales has said neither yes nor no when the days are over: a failure, or unknown, "
        "and then it teaches nothing. Rejected, disqualified or sent back is a failure in either case.",
    )
    within_days: Positive = Field(
        description="Days for it to happen. A lead that has had fewer teaches nothing yet, whatever became of it."
    )
    imported_before: Annotated[AwareDatetime, Field(strict=False)] | None = Field(
        None,
        description="What was received before this instant was history when it was imported: it counts from "
        "when it happened. Absent: everything counts from when it was received.",
    )
    least_positives: int = Field(
        50,
        ge=20,
        description="With fewer successes nothing is learned, and the rules decide alone.",
    )
    suspect_above: float = Field(
        0.8,
        gt=0.5,
        le=1,
        description="A feature that tells success and failure apart this well (AUC) on its own is taken for a leak.",
    )
    validation_share: float = Field(
        0.3, gt=0, lt=0.9, description="Share of the newest leads that the choice is tested on."
    )
    segments: tuple[Name, ...] = Field(
        (), description="Categories among the features by which the card compares people."
    )
    seed: int = Field(42, description="The same leads and seed give the same model.")
    features: Features

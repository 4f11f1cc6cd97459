"""The shape of a routing policy: who has a claim to a lead, which pool it belongs to otherwise, who of it gets it, and by when they must
have answered."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from models.policies.documents import (
    Country,
    Email,
    Finite,
    Grade,
    Name,
    Part,
    PolicyDocument,
    Text,
)

CustomField = Annotated[str, StringConstraints(pattern=r"^custom\.[A-Za-z][A-Za-z0-9_]*$")]
Language = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")]
PostalCodes = Annotated[
    str,
    StringConstraints(
        pattern=r"^[A-Za-z0-9]+([ -]?[A-Za-z0-9]+)*(\s*\.\.\s*[A-Za-z0-9]+([ -]?[A-Za-z0-9]+)*)?$"
    ),
]
WorkingHours = Annotated[
    str,
    StringConstraints(
        pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]-(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"
    ),
]

Claim = Literal["account_owner", "relationship"]


class Territory(Part):
    """Leads that one group of reps looks after: those that meet every criterion it names."""

    name: Name = Field(description="As it stands in the reps' own territories.")
    priority: int = Field(
        ge=0,
        description="Where a lead fits two territories, the lower number wins; of equal ones the "
        "territory that names more criteria.",
    )
    countries: tuple[Country, ...] = Field((), description="ISO 3166-1 alpha-2.")
    regions: tuple[Text, ...] = Field(
        (), description="State or province as the records have it, upper or lower case alike."
    )
    postal_codes: tuple[PostalCodes, ...] = Field(
        (),
        description="What codes begin with (SW1A), or a range of such beginnings of one length (70..72). Spaces and hyphens do not count.",
    )
    industries: tuple[Text, ...] = Field(
        (), description="Of the account, upper or lower case alike."
    )
    employees_at_least: int | None = Field(None, ge=0, description="Of the account.")
    employees_at_most: int | None = Field(None, ge=0, description="Of the account.")
    default: bool = Field(
        False,
        description="Takes every lead that fits no territory, and those of unknown countries.",
    )


class RepTerms(Part):
    """What holds for one rep beside, or instead of, what the directory says of them."""

    rep_email: Email
    territory: Name | None = Field(
        None, description="The weight counts in this territory alone; absent: in all of the rep's."
    )
    weight: Finite | None = Field(
        None,
        description="Share within the pool: 2 gets twice the leads of 1. Overrides the directory's. "
        "Above 0; to stop leads, mark the rep out of office.",
    )
    languages: tuple[Language, ...] | None = Field(None, description="ISO 639 codes they speak.")
    product_lines: tuple[Text, ...] | None = Field(
        None, description="What they sell, in place of what the directory says."
    )
    per_day: int | None = Field(
        None, ge=0, description="Most leads in one of their days, in place of the directory's."
    )
    open_leads: int | None = Field(
        None, ge=0, description="Most leads they may have that sales has not answered yet."
    )


class ProductLines(Part):
    """Who sells what the lead asks for."""

    field: CustomField = Field(
        description="Custom field of the contact that names the product line."
    )
    when_nobody: Literal["anyone", "fallback"] = Field(
        "anyone",
        description="Nobody in the territory sells it: anyone there gets the lead, or the fallback.",
    )


class Languages(Part):
    """Who speaks the lead's language."""

    field: CustomField | None = Field(
        None, description="Custom field of the contact with an ISO 639 code, such as de or de-AT."
    )
    by_country: dict[Country, Language] = Field(
        default_factory=dict, description="For leads whose field is empty."
    )
    when_nobody: Literal["anyone", "fallback"] = Field(
        "anyone", description="Nobody there speaks it: anyone gets the lead, or the fallback."
    )


class Capacity(Part):
    """How much is too much. Per day the rep's own record says (capacity); an account's owner gets their leads in any case."""

    when_full: Literal["overflow", "wait"] = Field(
        "overflow",
        description="Everybody is full: overflow deals among all of them, wait keeps the lead until somebody has room.",
    )
    open_leads: int | None = Field(
        None,
        ge=0,
        description="Most leads per rep that sales has not answered yet; absent: no limit.",
    )


class DefaultHours(Part):
    """When reps work of whom the directory does not say it."""

    hours: WorkingHours = Field(description="Local time, 09:00-17:00; past midnight: 22:00-06:00.")
    time_zone: Text = Field(
        "UTC", description="IANA name; where the directory names the rep's, that one."
    )


class Reassignment(Part):
    """Another rep for leads that nobody has answered in time."""

    grace_minutes: int = Field(0, ge=0, description="So long after the deadline.")
    most: int = Field(1, ge=1, le=9, description="So many times; the last one keeps the lead.")
    from_owners: bool = Field(
        False, description="Also of leads their account's owner, or an earlier rep, had a claim to."
    )


class RoutingPolicy(PolicyDocument):
    """Who gets the lead and by when they must have answered."""

    sla_minutes: int = Field(
        gt=0, description="Minutes to the first touch when the grade names none."
    )
    sla_minutes_by_grade: dict[Grade, Annotated[int, Field(gt=0)]] = Field(default_factory=dict)
    sla_clock: Literal["always", "business_hours"] = Field(
        "always",
        description="business_hours: the minutes pass while the rep is at work and not away.",
    )
    owners: tuple[Claim, ...] = Field(
        (),
        description="Who gets the lead before any territory is asked, in this order. account_owner: the account's owner in "
        "the CRM; relationship: whose the person is in the CRM or was when they last qualified.",
    )
    territories: tuple[Territory, ...]
    product_lines: ProductLines | None = None
    languages: Languages | None = None
    capacity: Capacity = Capacity()
    working_hours: Literal["ignore", "prefer", "require"] = Field(
        "ignore",
        description="prefer: those at work come first; require: the lead waits until somebody is; ignore: it waits in the "
        "rep's list, and the SLA clock with it (sla_clock).",
    )
    default_hours: DefaultHours | None = None
    nobody_available: Literal["wait", "fallback"] = Field(
        "wait",
        description="Everybody of the pool is away: the lead waits, or goes to the fallback.",
    )
    shares_over: Literal["available", "everybody"] = Field(
        "available",
        description="available: whoever is away, full or not at work forgoes the leads of that time; everybody: they are owed them.",
    )
    no_show_credit: bool = Field(
        False,
        description="A lead that does not come to the meeting does not count: the rep gets another.",
    )
    reassign: Reassignment | None = Field(
        None, description="Absent: an unanswered lead stays where it is, and shows as a breach."
    )
    fallback_rep_email: Email | None = Field(
        None,
        description="Gets the leads no rep may take; absent means they wait, visibly unassigned.",
    )
    seed: Text = Field(description="Settles ties between reps the same way on every rebuild.")
    reps: tuple[RepTerms, ...] = ()

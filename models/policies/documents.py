"""The shape of each policy file, as pydantic models; what a file may not say at once stands in
contradictions.py."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

COUNTRY_PATTERN = r"^[A-Z]{2}$"
DOMAIN_PATTERN = r"^([a-z0-9-]+\.)+[a-z0-9-]+$"
EMAIL_PATTERN = r"^[^@\s]+@[^@\s]+\.[^@\s]+$"
NAME_PATTERN = r"^[a-z][a-z0-9_]*$"
VERSION_PATTERN = r"^v[1-9][0-9]*$"

Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Pattern = Annotated[
    Text,
    Field(
        description="RE2 regular expression, found anywhere in the value unless anchored with ^ "
        "and $; "
        "upper and lower case differ unless it starts with (?i). No look-around, no "
        "back-references."
    ),
]
Country = Annotated[str, StringConstraints(pattern=COUNTRY_PATTERN)]
# Not pydantic's EmailStr: it refuses the reserved domains (.test) that sandboxes use.
Email = Annotated[str, StringConstraints(pattern=EMAIL_PATTERN)]
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]

FIT_ATTRIBUTES: dict[str, Literal["text", "number"]] = {
    "job_title": "text",
    "company": "text",
    "country": "text",
    "region": "text",
    "email_domain": "text",
    "original_source": "text",
    "latest_source": "text",
    "industry": "text",
    "employee_count": "number",
    "annual_revenue_usd": "number",
}
"""What a fit rule may look at: fields of the person and of their account; email_domain is the part
after the @."""

COMPARED_FIELDS = (
    "email",
    "phone",
    "first_name",
    "last_name",
    "birth_date",
    "street_address",
    "city",
    "region",
    "postal_code",
    "country",
    "company",
    "job_title",
)
"""Fields of a contact that matching may compare, beside its custom ones."""

Grade = Literal["A", "B", "C", "D"]
GRADES: tuple[Grade, ...] = ("A", "B", "C", "D")
LEVELS = ("1", "2", "3", "4")
Cell = Annotated[str, StringConstraints(pattern=r"^[A-D][1-4]$")]
ConsentChannel = Literal["email", "phone", "sms", "post", "crm", "all"]
ConsentStatus = Literal["granted", "denied", "withdrawn", "pending"]
LawfulBasis = Literal[
    "consent", "legitimate_interest", "contract", "legal_obligation", "not_applicable"
]
_ANY_CHANNEL = "Only consents on this channel; absent means any."
_ANY_PURPOSE = (
    "Only consents for this purpose; absent means any that is not among the processing_purposes."
)
IdentifierType = Literal["email", "phone", "external_id"]


class Part(BaseModel):
    """A piece of a policy file: strict types, no unknown fields, immutable."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class PolicyDocument(Part):
    """What every policy file opens with. `description` and `owner` are prose: they may change after
    use."""

    description: Text = Field(description="One sentence for people: what this version is for.")
    owner: Text = Field(description="Who to ask: a team or an e-mail address.")
    effective_at: Annotated[AwareDatetime, Field(strict=False)] = Field(
        description="Instant with a time zone from which the version is meant to hold."
    )


class Grades(Part):
    """Least fit points of each grade; less than `c` is grade D."""

    a: Finite
    b: Finite
    c: Finite


class EngagementRule(Part):
    """Points for something a person did. Every pattern given must match; none given matches every
    activity of the type."""

    id: Name = Field(
        description="Stable name; it appears in reasons, so keep it when you move the rule."
    )
    label: Text = Field(description="What sales reads as the reason.")
    activity_type: Text = Field(description="A value of the activity_type registry.")
    url_pattern: Pattern | None = Field(None, description="On the page's URL. RE2.")
    form_pattern: Pattern | None = Field(None, description="On the form's id. RE2.")
    campaign_pattern: Pattern | None = Field(None, description="On the campaign's id. RE2.")
    points: Finite = Field(description="Points per activity; negative takes away.")
    cap: Positive | None = Field(None, description="Most points this rule may give one person.")
    half_life_days: Positive | None = Field(
        None, description="Days after which the points are worth half; absent means they stay."
    )
    once: bool = Field(False, description="Count the person's first such activity only.")
    cooldown_hours: Positive | None = Field(
        None,
        description="An activity less than so many hours after the last one that counted does not "
        "count; absent means each does.",
    )
    group: Name | None = Field(None, description="One of `groups`, whose cap it shares.")


class Condition(Part):
    """What is true of a person or their account. Text is compared without regard to case."""

    id: Name = Field(description="Stable name; it appears in reasons.")
    label: Text = Field(description="What sales reads as the reason.")
    attribute: Text = Field(description="Field of the person or of their account.")
    operator: Literal["equals", "in", "matches", "at_least", "present"]
    value: str | float | tuple[Text, ...] | None = Field(
        None, description="Text; a list for `in`; a number for `at_least`; nothing for `present`."
    )


class FitRule(Condition):
    """Points for who a person is. Counts once; fit does not decay."""

    points: Finite = Field(description="Points, given once; negative takes away.")
    group: Name | None = Field(None, description="One of `groups`, whose cap it shares.")


class Exclusion(Condition):
    """Who is nobody's lead, whatever the score: it stays to be seen, and makes no MQL."""


class RuleGroup(Part):
    """Rules that may give only so many points together."""

    id: Name = Field(description="As the rules name it.")
    cap: Positive = Field(description="Most points its rules may give one person together.")


class Recycling(Part):
    """What follows when sales sends a lead back as not ready yet."""

    after_days: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        description="So many days later the person can become an MQL again by a new activity, "
        "without having fallen below `rearm_below`."
    )


class ScoringPolicy(PolicyDocument):
    """Who is ready for sales: score = engagement (decaying) + fit; an MQL is a crossing of the
    threshold."""

    mql_threshold: Positive = Field(description="Score at which a person becomes an MQL.")
    rearm_below: Finite = Field(
        description="The score must fall below this before the same person can become an MQL again."
    )
    total_cap: Positive | None = Field(None, description="Most points a person may have in total.")
    grades: Grades
    levels: tuple[Finite, ...] | None = Field(
        None,
        description="Least engagement points of levels 1, 2 and 3; less is level 4. With the grade "
        "it makes the cell of the grid: A1 is who fits best and does most.",
    )
    mql_cells: tuple[Cell, ...] | None = Field(
        None,
        description="Only people in these cells of the grid become MQLs; absent means in any.",
    )
    recycling: Recycling | None = Field(
        None, description="Absent: who was sent back has to fall below `rearm_below` first."
    )
    groups: tuple[RuleGroup, ...] = ()
    engagement: tuple[EngagementRule, ...] = ()
    fit: tuple[FitRule, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()


class Identifier(Part):
    """A kind of value that says two records are one person."""

    type: IdentifierType
    priority: int = Field(ge=1, description="Strongest evidence first: 1 before 2.")
    max_records: int = Field(description="A value found on more records than this links nobody.")
    max_per_person: int | None = Field(
        None,
        ge=1,
        description="Records are not brought together by identifiers where one person would then "
        "have more different values of this kind. Of email and phone only; absent: no limit.",
    )
    links: bool = Field(True, description="false: shown as evidence, but links nobody.")


class BlockedValue(Part):
    """Values that are placeholders, not identifiers."""

    type: IdentifierType
    pattern: Pattern = Field(
        description="On the normalised value: lower-case e-mail, +E.164 phone. RE2."
    )


Domain = Annotated[str, StringConstraints(pattern=DOMAIN_PATTERN)]


class EmailRule(Part):
    """Spellings of an address that come to one mailbox at a provider, as the provider itself says.
    They are one identifier; mail goes to the address as it was typed."""

    provider: Text = Field(description="Name for people.")
    domains: Annotated[tuple[Domain, ...], Field(min_length=1)] = Field(
        description="Domains of the provider, lower case."
    )
    is_one_domain: bool = Field(
        False, description="true: the same name at each domain is the same mailbox."
    )
    ignores_dots: bool = Field(False, description="true: a.da@ and ada@ are one mailbox.")
    tag_separator: Literal["+", "-", "="] | None = Field(
        None, description="Starts a tag: with +, ada+news@ and ada@ are one mailbox."
    )
    has_subdomains: bool = Field(
        False, description="true: anything@ada.<domain> comes to ada@<domain>."
    )
    source: Text = Field(description="Page on which the provider says so.")


ComparisonKind = Literal[
    "exact", "text", "full_name", "date", "email", "organisation", "street", "code", "phone"
]
ContactField = Annotated[
    str,
    StringConstraints(pattern=r"^(custom\.)?[A-Za-z][A-Za-z0-9_]*$"),
    Field(description="Field of the contact contract, or custom.<name> for a custom field."),
]
BlockingPart = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z][a-z0-9_]*(\|[a-z][a-z0-9_]*)*(:-?[1-9][0-9]*)?$"),
    Field(
        description="Compared column that has to agree: `last_name`; its first or last characters: "
        "`last_name:3`, `birth_date:-5`; either of two: `first_name|last_name`."
    ),
]
BlockingRule = Annotated[tuple[BlockingPart, ...], Field(min_length=1)]


class FieldComparison(Part):
    """One piece of evidence: how a field of two records is compared."""

    name: Name = Field(description="What the waterfall calls it.")
    kind: ComparisonKind = Field(
        description="exact; text: names and titles, by Jaro-Winkler; full_name: first and last name, "
        "also swapped; date: as YYYY-MM-DD or YYYYMMDD; email; organisation: by words; street: by house "
        "number and street; code: postal codes and other numbers, by typing errors; phone."
    )
    fields: Annotated[tuple[ContactField, ...], Field(min_length=1, max_length=2)]
    term_frequencies: bool = Field(
        False, description="Agreement on a rare value weighs more than on a common one."
    )


class MatchTraining(Part):
    """How `handoff identity train` learns what agreement and disagreement weigh."""

    certain: tuple[BlockingRule, ...] = Field(
        description="Pairs that agree on any of these are nearly all one person: they tell how many "
        "duplicates there are."
    )
    recall: float = Field(
        gt=0, le=1, description="Share of all true pairs that the rules above find, estimated."
    )
    passes: tuple[BlockingRule, ...] = Field(
        description="Each pass learns, from pairs that agree on this, the comparisons it leaves out; "
        "two that overlap little."
    )
    max_pairs: int = Field(1_000_000, ge=10_000, description="Random pairs looked at.")
    seed: int = Field(1, description="The same records and seed give the same parameters.")


class MatchThresholds(Part):
    """In match weights: log2 of the odds. 0 is even, 10 is a thousand to one."""

    link: Finite = Field(description="From here on a pair is linked, unless the guard refuses.")
    review: Finite = Field(description="From here on a person is asked: handoff identity review.")
    keep: Finite = Field(
        -5.0, description="Pairs below are forgotten; those between speak against a larger group."
    )


class MatchGuard(Part):
    """Stops chains of weak links: a group is one person only when its records agree on average."""

    max_records: int = Field(50, ge=2, description="No link makes a person of more records.")
    max_group: int = Field(
        2_000,
        ge=2,
        description="Records that links join before the guard looks; of a larger group every link "
        "goes to review.",
    )
    min_density: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Least share of the pairs between two groups that have a weight of `keep` or more.",
    )
    unscored_weight: Finite = Field(
        -8.0, description="What a pair below `keep` counts in the average of a group."
    )
    distinct: tuple[ContactField, ...] = Field(
        (),
        description="Fields, or columns of a comparison (street_address_number), that one person has one "
        "value of: different values are never linked.",
    )


class Matching(Part):
    """Links between records that share no identifier, by weight of evidence (Fellegi-Sunter)."""

    comparisons: Annotated[tuple[FieldComparison, ...], Field(min_length=2)]
    blocking: Annotated[tuple[BlockingRule, ...], Field(min_length=1)] = Field(
        description="Only pairs that agree on one of these are compared."
    )
    max_block: int = Field(
        200, ge=2, description="A value more records agree on tells nothing, and blocks nothing."
    )
    thresholds: MatchThresholds
    guard: MatchGuard = MatchGuard()
    training: MatchTraining


Criterion = Literal["verified", "system_priority", "recency"]
WonField = Literal[
    "email",
    "phone",
    "first_name",
    "last_name",
    "company",
    "job_title",
    "country",
    "region",
    "city",
    "postal_code",
    "lifecycle_stage",
    "latest_source",
    "campaign_id",
]
_CRITERIA = (
    "verified: an address or number that can be one person's; system_priority: the order of the "
    "systems; recency: the record that was told last. The first that tells two apart decides."
)


class Winners(Part):
    """Whose value counts where records of one person disagree."""

    default: tuple[Criterion, ...] = Field(min_length=1, description=_CRITERIA)
    fields: dict[WonField, Annotated[tuple[Criterion, ...], Field(min_length=1)]] = Field(
        default_factory=dict, description="Fields that go by others."
    )


class AnonymousIds(Part):
    """Whose the visits are of which only the browser is known."""

    expires_after_days: int = Field(
        gt=0,
        le=3650,
        description="A visit counts for the person who was seen with the anonymous id from so many "
        "days before the first time until so many after the last.",
    )


class IdentityPolicy(PolicyDocument):
    """When two records are the same person, and whose values win when they are."""

    identifiers: tuple[Identifier, ...]
    email_rules: tuple[EmailRule, ...] = ()
    blocked_values: tuple[BlockedValue, ...] = ()
    shared_mailboxes: tuple[Text, ...] = Field(
        (), description="Parts before the @ that belong to a team; they never link people."
    )
    anonymous_ids: AnonymousIds | None = Field(
        None, description="Absent: visits of unnamed visitors are nobody's for good."
    )
    matching: Matching | None = Field(
        None,
        description="Links by evidence; they hold once `handoff identity train` has written the "
        "parameters beside the version.",
    )
    system_priority: tuple[Name, ...] = Field(description="Whose values win, most trusted first.")
    winners: Winners = Field(
        Winners(default=("system_priority", "recency")),
        description="By what the value of a field wins; a deleted record always comes last.",
    )


class ConsentRule(Part):
    """One question asked before a person is written to a destination; every rule of it must
    pass."""

    destination: Name
    channel: ConsentChannel | None = Field(None, description=_ANY_CHANNEL)
    purpose: Text | None = Field(None, description=_ANY_PURPOSE)
    blocking_statuses: tuple[ConsentStatus, ...]
    when_unknown: Literal["allow", "deny"] = Field(
        description="What happens to people who never answered."
    )


class ConsentExpiry(Part):
    """How long a yes counts. Of several that fit, the shortest; afterwards nothing is known."""

    channel: ConsentChannel | None = Field(None, description="Absent means any channel.")
    purpose: Text | None = Field(None, description="Absent means any purpose.")
    lawful_basis: LawfulBasis | None = Field(None, description="Absent means any basis.")
    days: int = Field(gt=0, description="Days from the moment it was said.")


class DoubleOptIn(Part):
    """Which yes needs a second one: until then it counts as pending."""

    channel: ConsentChannel | None = Field(None, description="Absent means any channel.")
    purpose: Text | None = Field(None, description="Absent means any purpose.")
    lawful_basis: LawfulBasis | None = Field("consent", description="null means any basis.")
    within_days: int = Field(
        gt=0, description="A second yes that comes later is a first one once more."
    )


class GlobalPrivacyControl(Part):
    """What the signal of a browser (`Sec-GPC: 1`) is a no to, on every channel."""

    denies: tuple[Text, ...] = Field(min_length=1, description="Purposes the signal denies.")


class ScoreConsent(Part):
    """What may not be counted for somebody who said no."""

    id: Name
    channel: ConsentChannel | None = Field(None, description=_ANY_CHANNEL)
    purpose: Text | None = Field(None, description=_ANY_PURPOSE)
    activity_types: tuple[Name, ...] | None = Field(
        None, description="What they did, by type; absent means every type."
    )
    blocking_statuses: tuple[ConsentStatus, ...]
    when_unknown: Literal["allow", "deny"] = Field(
        description="What happens to activities of people who had said nothing by then."
    )
    covers: Literal["later", "everything"] = Field(
        description="later: what they did while the no stood; everything: whatever they ever did, "
        "and who they are, for as long as it stands."
    )


class ServingConsent(Part):
    """Who is not shown to the readers of the serving file."""

    id: Name
    channel: ConsentChannel | None = Field(None, description=_ANY_CHANNEL)
    purpose: Text | None = Field(None, description=_ANY_PURPOSE)
    blocking_statuses: tuple[ConsentStatus, ...]
    effect: Literal["mask", "leave_out"] = Field(
        description="mask: what names them is null, what they did still counts in figures; "
        "leave_out: no row that names them."
    )


class ConsentPolicy(PolicyDocument):
    """What people agreed to, and what may be written, shown and counted for them."""

    rules: tuple[ConsentRule, ...]
    processing_purposes: tuple[Text, ...] = Field(
        (), description="Purposes that are not about contacting anybody, such as profiling."
    )
    global_privacy_control: GlobalPrivacyControl | None = None
    double_opt_in: tuple[DoubleOptIn, ...] = ()
    expiry: tuple[ConsentExpiry, ...] = ()
    scores: tuple[ScoreConsent, ...] = ()
    serving: tuple[ServingConsent, ...] = ()


class Guard(Part):
    """How much one plan may change before it is refused for a person to look at."""

    max_creates: int = Field(ge=0)
    max_updates: int = Field(ge=0)
    max_update_share: float = Field(
        description="Largest share, 0..1, of the known records one plan may update."
    )
    share_floor: int = Field(
        20, ge=0, description="Plans of at most this many updates are not judged by their share."
    )


class SyncField(Part):
    """Who owns a field. A field the policy does not name is never written."""

    owner: Literal["warehouse", "crm"]
    mode: Literal["always", "follow", "fill_empty"] = Field(
        description="always: keep equal to the warehouse; follow: as long as what stands there is what we wrote, "
        "or nothing; fill_empty: write only where the CRM has nothing. What somebody there changed after us stays."
    )


class SyncObject(Part):
    """One kind of record in the destination."""

    guard: Guard
    fields: dict[Text, SyncField]


class SyncPolicy(PolicyDocument):
    """What may be written to outside systems: fields, and how many records at once."""

    destinations: dict[Name, dict[Text, SyncObject]]


class KpiPolicy(PolicyDocument):
    """How the KPIs are measured."""

    backfill_after_hours: Positive = Field(
        description="Records older than this on arrival are backfill: kept out of latency."
    )
    first_touch_activity_types: tuple[Name, ...] = Field(
        min_length=1, description="Types of activity by which sales touches a lead."
    )
    first_touch_hours: Positive = Field(
        description="A touch later than this does not answer the lead."
    )
    touchpoint_activity_types: tuple[Name, ...] = Field(
        min_length=1, description="Types of activity that marketing can take credit for."
    )
    acceptance_window_days: Positive = Field(
        description="Days an MQL has to become accepted or SQL; until then it is undecided."
    )
    drift_window_days: Positive = Field(
        description="Days before a change that its MQL rate is compared with."
    )
    minimum_sample: int = Field(ge=1, description="With fewer cases no figure is shown.")


JoinEvidence = Literal["system_id", "domain", "name_and_country"]
MatchEvidence = Literal["stated", "exact_domain", "registrable_domain", "name_and_country"]
TieBreak = Literal[
    "trusted_record",
    "newest_record",
    "open_opportunity",
    "customer",
    "owner",
    "recent_change",
    "contact_count",
    "oldest",
]
Firmographic = Literal["name", "industry", "employee_count", "annual_revenue_usd", "country"]


class EnrichmentPolicy(Part):
    """Who is asked about a company, when again, and how long they may take."""

    providers: tuple[Name, ...] = Field(
        (), description="Asked in this order until one knows the domain."
    )
    refresh_after_days: Positive = Field(description="Days an answer is good for.")
    retry_unknown_after_days: Positive = Field(
        description="Days after which a domain nobody knew is asked for again."
    )
    wanted: tuple[Firmographic, ...] = Field(
        description="A company is asked for while one of these is unknown of it."
    )
    max_domains: int = Field(gt=0, description="Most domains asked for at a time.")
    timeout_seconds: Positive = Field(description="Seconds one answer may take.")
    failure_threshold: int = Field(
        gt=0, description="Failures in a row after which a provider is left alone."
    )
    pause_seconds: Positive = Field(description="Seconds it is left alone for.")


class AccountsPolicy(PolicyDocument):
    """Which account records are one company, which company a person belongs to, and what others
    may add to it."""

    joins: tuple[JoinEvidence, ...] = Field(
        description="What makes account records of any systems one account."
    )
    blocked_domains: tuple[Text, ...] = Field(
        (),
        description="Registrable domains of no single company; those of free and disposable "
        "mailboxes never count anyway.",
    )
    match: tuple[MatchEvidence, ...] = Field(
        min_length=1, description="What gives a person an account, strongest first."
    )
    tie_breaks: tuple[TieBreak, ...] = Field(
        (), description="Among accounts found by the same kind of evidence, in this order."
    )
    source_priority: tuple[Name, ...] = Field(
        (), description="Whose values of an account count, most trusted first."
    )
    enrichment: EnrichmentPolicy


TrialKind = Literal["scoring", "routing"]
Chosen = Annotated[
    str,
    StringConstraints(
        pattern=r"^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[^@\s]*@[^@\s]+\.[^@\s]+)$",
        to_lower=True,
    ),
    Field(description="A person_id, an address, or @domain for everybody there."),
]


class Trial(Part):
    """A new version for some people, while the active one decides for all others. Which people is settled by a hash of the person, so that
    it stays, and a larger share takes in whoever a smaller one had."""

    version: Annotated[str, StringConstraints(pattern=VERSION_PATTERN)]
    share: float = Field(
        0.0, ge=0, le=100, description="Per cent of people it decides for; 0 takes it back."
    )
    allow: tuple[Chosen, ...] = Field((), description="It decides for these, whatever the share.")
    deny: tuple[Chosen, ...] = Field((), description="It never decides for these.")


class Rollout(Part):
    """Which version of each kind decides now."""

    active: dict[Name, Annotated[str, StringConstraints(pattern=VERSION_PATTERN)]]
    trials: dict[TrialKind, Trial] = Field(
        default_factory=dict,
        description="Of scoring and routing, which decide person by person. Who is whom and what people agreed to is settled for all alike.",
    )

"""What a well-formed policy may still not say: rules that contradict each other, or that could
never have an effect."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from ingestion.enrichment import catalog as providers
from models.matching.features import feature_expressions
from models.policies.documents import (
    COMPARED_FIELDS,
    AccountsPolicy,
    ConsentPolicy,
    IdentityPolicy,
    KpiPolicy,
    Matching,
    PolicyDocument,
    ScoringPolicy,
    SyncPolicy,
    Winners,
)
from models.policies.lead_routing import RoutingPolicy
from models.policies.problems import Fault, Location
from models.policies.routing_faults import routing_faults
from models.policies.scheduling import SchedulingPolicy
from models.policies.scheduling_faults import scheduling_faults
from models.policies.scoring_faults import scoring_faults
from models.policies.wording import PatternCheck, known, pattern_faults, repeated


def contradictions(
    document: PolicyDocument, activity_types: Sequence[str], pattern_fault: PatternCheck
) -> list[Fault]:
    """Every fault of one document; `pattern_fault` says what RE2 has against a pattern, None if
    nothing."""
    match document:
        case ScoringPolicy():
            return list(scoring_faults(document, activity_types, pattern_fault))
        case RoutingPolicy():
            return list(routing_faults(document))
        case IdentityPolicy():
            return list(_identity(document, pattern_fault))
        case ConsentPolicy():
            return list(_consent(document, activity_types))
        case SyncPolicy():
            return list(_sync(document))
        case KpiPolicy():
            return list(_kpi(document, activity_types))
        case AccountsPolicy():
            return list(_accounts(document))
        case SchedulingPolicy():
            return list(scheduling_faults(document))
        case _:
            return []


def disagreements(
    documents: Mapping[str, PolicyDocument], systems: Sequence[str]
) -> list[tuple[str, Fault]]:
    """Faults between the active documents, and against the `systems` records may name, as (kind of
    the file to correct, fault)."""
    faults: list[tuple[str, Fault]] = []
    # Of the active version only: an older one may name a system that has been given up.
    if isinstance(identity := documents.get("identity"), IdentityPolicy):
        faults += (
            (
                "identity",
                Fault(
                    ("system_priority", index),
                    f"unknown system '{system}'{known(system, systems)}",
                    "Correct the name, or name the system in HANDOFF_SYSTEMS.",
                ),
            )
            for index, system in enumerate(identity.system_priority)
            if system not in systems
        )
    if isinstance(accounts := documents.get("accounts"), AccountsPolicy):
        sources = (*systems, *accounts.enrichment.providers)
        faults += (
            (
                "accounts",
                Fault(
                    ("source_priority", index),
                    f"unknown system '{system}'{known(system, sources)}",
                    "Correct the name, or name the system in HANDOFF_SYSTEMS.",
                ),
            )
            for index, system in enumerate(accounts.source_priority)
            if system not in sources
        )
    sync, consent = documents.get("sync"), documents.get("consent")
    if isinstance(routing := documents.get("routing"), RoutingPolicy) and isinstance(
        sync, SyncPolicy
    ):
        faults += _unheard(routing, sync)
    if isinstance(sync, SyncPolicy) and isinstance(consent, ConsentPolicy):
        faults += _unruled(sync, consent)
    return faults


def _unheard(routing: RoutingPolicy, sync: SyncPolicy) -> list[tuple[str, Fault]]:
    """Reassignments a destination would never hear of."""
    return [
        (
            "sync",
            Fault(
                ("destinations", destination, "Lead", "fields", "OwnerId", "mode"),
                "a lead that is reassigned would keep its owner: mode fill_empty writes an owner once",
                "Use mode: follow, or take `reassign` out of the routing policy.",
            ),
        )
        for destination, objects in sync.destinations.items()
        if routing.reassign is not None
        and "Lead" in objects
        and (field := objects["Lead"].fields.get("OwnerId")) is not None
        and field.mode == "fill_empty"
    ]


def _unruled(sync: SyncPolicy, consent: ConsentPolicy) -> list[tuple[str, Fault]]:
    ruled = {rule.destination for rule in consent.rules}
    faults = [
        # A misspelt destination would otherwise leave the real one without any consent rule.
        (
            "consent",
            Fault(
                ("rules", index, "destination"),
                f"destination '{rule.destination}' is not in the active sync policy"
                f"{known(rule.destination, sync.destinations)}",
                "Correct the name, or add the destination to the sync policy.",
            ),
        )
        for index, rule in enumerate(consent.rules)
        if rule.destination not in sync.destinations
    ]
    faults += [
        (
            "sync",
            Fault(
                ("destinations", destination),
                f"destination '{destination}' has no rule in the active consent policy",
                "Add a consent rule for it: people are never written without one.",
            ),
        )
        for destination in sync.destinations
        if destination not in ruled
    ]
    return faults


def _winners(winners: Winners) -> Iterator[Fault]:
    told: list[tuple[tuple[str, ...], str, tuple[str, ...]]] = [
        (("winners", "default"), "default", winners.default),
        *((("winners", "fields", field), field, order) for field, order in winners.fields.items()),
    ]
    for place, field, criteria in told:
        for _, _, criterion in repeated(criteria):
            yield Fault(
                place,
                f"'{criterion}' occurs twice for '{field}'",
                "Keep the first: the second never decides.",
            )
        if "verified" in criteria and field not in ("email", "phone"):
            yield Fault(
                place,
                f"'{field}' cannot go by 'verified'",
                "Only email and phone are verified; use system_priority or recency.",
            )


def _identity(policy: IdentityPolicy, pattern_fault: PatternCheck) -> Iterator[Fault]:
    if policy.matching is not None:
        yield from _matching(policy.matching)
    if not any(identifier.links for identifier in policy.identifiers):
        yield Fault(
            ("identifiers",),
            "no identifier links anything",
            "Set `links: true` on at least one; every record would be a person of its own.",
        )
    for index, identifier in enumerate(policy.identifiers):
        if identifier.max_records < 2:
            yield Fault(
                ("identifiers", index, "max_records"),
                f"max_records {identifier.max_records} of '{identifier.type}' is below 2",
                "Use 2 or more, since linking takes two records; `links: false` turns an "
                "identifier off.",
            )
        if identifier.max_per_person is not None and identifier.type == "external_id":
            yield Fault(
                ("identifiers", index, "max_per_person"),
                "max_per_person counts addresses and numbers, not external ids",
                "Leave it out: a person may have any number of records.",
            )
    for index, _, identifier_type in repeated(identifier.type for identifier in policy.identifiers):
        yield Fault(
            ("identifiers", index, "type"),
            f"identifier '{identifier_type}' occurs twice",
            "Keep one entry per identifier.",
        )
    for index, first, priority in repeated(
        identifier.priority for identifier in policy.identifiers
    ):
        yield Fault(
            ("identifiers", index, "priority"),
            f"identifiers '{policy.identifiers[first].type}' and "
            f"'{policy.identifiers[index].type}' "
            f"both have priority {priority}",
            "Number them 1, 2, 3 by strength of evidence.",
        )
    yield from _winners(policy.winners)
    ruled = [
        (index, domain) for index, rule in enumerate(policy.email_rules) for domain in rule.domains
    ]
    for later, _, domain in repeated(domain for _, domain in ruled):
        yield Fault(
            ("email_rules", ruled[later][0], "domains"),
            f"domain '{domain}' occurs twice in email_rules",
            "Keep it under one provider: an address has one canonical form.",
        )
    for index, _, system in repeated(policy.system_priority):
        yield Fault(
            ("system_priority", index), f"system '{system}' occurs twice", "Name each system once."
        )
    for index, mailbox in enumerate(policy.shared_mailboxes):
        if "@" in mailbox or mailbox != mailbox.lower():
            yield Fault(
                ("shared_mailboxes", index),
                f"shared mailbox '{mailbox}' would never match",
                "Write only the part before the @, in lower case.",
            )
    yield from pattern_faults(
        (
            (("blocked_values", index, "pattern"), blocked.pattern)
            for index, blocked in enumerate(policy.blocked_values)
        ),
        pattern_fault,
    )


def _matching(matching: Matching) -> Iterator[Fault]:
    at: Location = ("matching",)
    thresholds = matching.thresholds
    if not thresholds.link >= thresholds.review >= thresholds.keep:
        yield Fault(
            (*at, "thresholds"),
            f"thresholds do not fall: link {thresholds.link:g}, review {thresholds.review:g}, "
            f"keep {thresholds.keep:g}",
            "Write link >= review >= keep.",
        )
    if matching.guard.unscored_weight > thresholds.keep:
        yield Fault(
            (*at, "guard", "unscored_weight"),
            f"unscored_weight {matching.guard.unscored_weight:g} is above keep {thresholds.keep:g}",
            "What was not even worth keeping cannot count more than what was: lower it.",
        )
    for index, _, name in repeated(comparison.name for comparison in matching.comparisons):
        yield Fault(
            (*at, "comparisons", index, "name"),
            f"comparison '{name}' occurs twice",
            "Give each comparison a name of its own.",
        )
    columns = feature_expressions(matching)
    fields = [
        ((*at, "comparisons", index, "fields", position), field)
        for index, comparison in enumerate(matching.comparisons)
        for position, field in enumerate(comparison.fields)
    ]
    compared = feature_expressions(
        matching.model_copy(update={"guard": matching.guard.model_copy(update={"distinct": ()})})
    )
    fields += [
        ((*at, "guard", "distinct", index), name)
        for index, name in enumerate(matching.guard.distinct)
        if name not in compared
    ]
    for place, field in fields:
        if not field.startswith("custom.") and field not in COMPARED_FIELDS:
            yield Fault(
                place,
                f"unknown field '{field}'{known(field, COMPARED_FIELDS)}",
                "Use a field of the contact contract, or custom.<name>.",
            )
    for index, comparison in enumerate(matching.comparisons):
        wanted = 2 if comparison.kind == "full_name" else 1
        if len(comparison.fields) != wanted:
            yield Fault(
                (*at, "comparisons", index, "fields"),
                f"kind {comparison.kind} compares {wanted} field(s), not {len(comparison.fields)}",
                "full_name takes the first and the last name; every other kind one field.",
            )
        if comparison.kind == "full_name" and comparison.term_frequencies:
            yield Fault(
                (*at, "comparisons", index, "term_frequencies"),
                "full_name has no term frequencies",
                "Remove the line, or compare the two names apart, as text.",
            )
    for section, rules in (
        ("blocking", matching.blocking),
        ("training", matching.training.certain),
        ("training", matching.training.passes),
    ):
        for index, rule in enumerate(rules):
            for part in rule:
                for column in part.partition(":")[0].split("|"):
                    if column not in columns:
                        yield Fault(
                            (*at, section, index),
                            f"unknown column '{column}'{known(column, columns)}",
                            "Block on what a comparison or guard.distinct names.",
                        )


def _consent(policy: ConsentPolicy, activity_types: Sequence[str]) -> Iterator[Fault]:
    blocking = [
        (section, index, rule.blocking_statuses)
        for section in ("rules", "scores", "serving")
        for index, rule in enumerate(getattr(policy, section))
    ]
    for section, index, statuses in blocking:
        at: Location = (section, index, "blocking_statuses")
        if "granted" in statuses:
            yield Fault(
                at,
                "'granted' blocks: exactly those who said yes would be refused",
                "Remove it from blocking_statuses.",
            )
        for status in ("denied", "withdrawn"):
            if status not in statuses:
                yield Fault(
                    at,
                    f"'{status}' does not block",
                    "Add it to blocking_statuses: a no that does not stop anything is no consent "
                    "rule.",
                )
    keys = ((rule.destination, rule.channel, rule.purpose) for rule in policy.rules)
    for index, first, (destination, channel, _) in repeated(keys):
        yield Fault(
            ("rules", index),
            f"destination '{destination}', channel '{channel or 'any'}' has a rule already (rule "
            f"{first + 1})",
            "Keep one rule per destination, channel and purpose.",
        )
    for section in ("scores", "serving"):
        for index, _, name in repeated(rule.id for rule in getattr(policy, section)):
            yield Fault(
                (section, index, "id"), f"'{name}' occurs twice", "Give each rule an id of its own."
            )
    for index, score in enumerate(policy.scores):
        if score.covers == "everything" and score.when_unknown == "deny":
            yield Fault(
                ("scores", index, "when_unknown"),
                f"'{score.id}' covers everything and denies what is unknown: nobody who was never "
                "asked would ever have a score",
                "Use `covers: later`, which asks of each activity, or `when_unknown: allow`.",
            )
        if score.covers == "everything" and score.activity_types is not None:
            yield Fault(
                ("scores", index, "activity_types"),
                f"'{score.id}' covers everything and names activity types",
                "Leave activity_types out, or use `covers: later`.",
            )
        for position, name in enumerate(score.activity_types or ()):
            if name not in activity_types:
                yield Fault(
                    ("scores", index, "activity_types", position),
                    f"unknown activity_type '{name}'{known(name, activity_types)}",
                    "Use one of the known types; the registry stands in the contracts.",
                )


def _sync(policy: SyncPolicy) -> Iterator[Fault]:
    for destination, objects in policy.destinations.items():
        for name, synced in objects.items():
            at: Location = ("destinations", destination, name)
            share = synced.guard.max_update_share
            if not 0 <= share <= 1:
                yield Fault(
                    (*at, "guard", "max_update_share"),
                    f"max_update_share {share:g} of {name} is outside 0..1",
                    "Write a share: 0.25 is a quarter of the records.",
                )
            for field, rule in synced.fields.items():
                if rule.owner == "crm" and rule.mode == "always":
                    yield Fault(
                        (*at, "fields", field),
                        f"field '{field}' of {name} belongs to the CRM and is always overwritten",
                        "Use `mode: fill_empty`, or `owner: warehouse`.",
                    )


def _kpi(policy: KpiPolicy, activity_types: Collection[str]) -> Iterator[Fault]:
    for section in ("first_touch_activity_types", "touchpoint_activity_types"):
        names: tuple[str, ...] = getattr(policy, section)
        for index, name in enumerate(names):
            if name not in activity_types:
                yield Fault(
                    (section, index),
                    f"unknown activity_type '{name}'{known(name, activity_types)}",
                    "Use one of the known types; the registry stands in the contracts.",
                )
        for index, _, name in repeated(names):
            yield Fault((section, index), f"'{name}' occurs twice", "Name each type once.")


def _accounts(policy: AccountsPolicy) -> Iterator[Fault]:
    lists: dict[Location, tuple[str, ...]] = {
        ("joins",): policy.joins,
        ("blocked_domains",): policy.blocked_domains,
        ("match",): policy.match,
        ("tie_breaks",): policy.tie_breaks,
        ("source_priority",): policy.source_priority,
        ("enrichment", "providers"): policy.enrichment.providers,
        ("enrichment", "wanted"): policy.enrichment.wanted,
    }
    for location, names in lists.items():
        for index, _, name in repeated(names):
            yield Fault((*location, index), f"'{name}' occurs twice", "Name each once.")
    there_are = providers.names()
    for index, name in enumerate(policy.enrichment.providers):
        if name not in there_are:
            yield Fault(
                ("enrichment", "providers", index),
                f"unknown provider '{name}'{known(name, there_are)}",
                "Correct the name, or add the module to ingestion/enrichment/providers.",
            )
    for index, domain in enumerate(policy.blocked_domains):
        if domain != domain.lower() or "@" in domain or "/" in domain or "." not in domain:
            yield Fault(
                ("blocked_domains", index),
                f"blocked domain '{domain}' would never match",
                "Write the registrable domain alone, in lower case: example.com.",
            )

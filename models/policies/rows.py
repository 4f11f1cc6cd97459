"""Policies as typed tables, so that SQL reads a threshold where it would otherwise have a
literal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ingestion.normalize.emails import EmailRule
from models.matching.features import blocking_keys, column_of, feature_expressions
from models.matching.parameters import MatchParameters, level_rows
from models.policies.documents import (
    AccountsPolicy,
    ConsentPolicy,
    Exclusion,
    FitRule,
    IdentityPolicy,
    KpiPolicy,
    ScoringPolicy,
    SyncPolicy,
)
from models.policies.lead_model import ModelPolicy
from models.policies.lead_routing import RoutingPolicy
from models.policies.load import PROSE, Policies, PolicyVersion, trials_hash
from models.routing.rules import attributes_of
from models.scoring.artefact import TrainedModel, expressions
from models.scoring.features import feature_columns

if TYPE_CHECKING:
    import pyarrow as pa

_KEY = {"version": "text", "is_active": "boolean"}

POLICY_COLUMNS: dict[str, dict[str, str]] = {
    "policy_versions": {
        "kind": "text",
        **_KEY,
        "content_hash": "text",
        "effective_at": "instant",
        "description": "text",
        "owner": "text",
    },
    "rollout_trials": {**_KEY, "kind": "text", "active_version": "text", "share": "number"},
    "rollout_people": {**_KEY, "kind": "text", "effect": "text", "who": "text"},
    "scoring_versions": {
        **_KEY,
        "mql_threshold": "number",
        "rearm_below": "number",
        "total_cap": "number?",
        "grade_a": "number",
        "grade_b": "number",
        "grade_c": "number",
        "level_1": "number?",
        "level_2": "number?",
        "level_3": "number?",
        "mql_cells": "text?",
        "recycle_after_days": "number?",
    },
    "scoring_rules": {
        **_KEY,
        "rule_id": "text",
        "kind": "text",
        "label": "text",
        "activity_type": "text?",
        "url_pattern": "text?",
        "form_pattern": "text?",
        "campaign_pattern": "text?",
        "attribute": "text?",
        "operator": "text?",
        "value": "text?",
        "points": "number",
        "cap": "number?",
        "half_life_days": "number?",
        "once": "boolean",
        "cooldown_hours": "number?",
        "group_id": "text?",
        "group_cap": "number?",
    },
    "model_versions": {
        **_KEY,
        "model_id": "text",
        "estimator": "text",
        "outcome": "text",
        "silence": "text",
        "within_days": "number",
        "imported_before": "text?",
        "cases": "integer",
        "positives": "integer",
        "auc": "number",
        "trained_as_of": "instant",
    },
    "model_features": {
        **_KEY,
        "position": "integer",
        "name": "text",
        "label": "text",
        "source": "text",
        "column_name": "text?",
        "expression": "text",
    },
    "model_expressions": {
        **_KEY,
        "position": "integer",
        "stage": "text",
        "name": "text",
        "expression": "text",
        "feature": "text?",
    },
    "model_distributions": {
        **_KEY,
        "feature": "text",
        "position": "integer",
        "value": "text?",
        "at_most": "number?",
        "share": "number",
    },
    "routing_versions": {
        **_KEY,
        "document": "text",
        "attributes": "text",
        "product_line_field": "text?",
        "language_field": "text?",
    },
    "identity_versions": {**_KEY},
    "identity_identifiers": {
        **_KEY,
        "identifier_type": "text",
        "priority": "integer",
        "max_records": "integer",
        "max_per_person": "integer?",
        "is_linking": "boolean",
    },
    "identity_email_rules": {
        **_KEY,
        "provider": "text",
        "domain": "text",
        "canonical_domain": "text",
        "ignores_dots": "boolean",
        "tag_separator": "text?",
        "has_subdomains": "boolean",
    },
    "identity_blocked_values": {**_KEY, "identifier_type": "text", "pattern": "text"},
    "identity_shared_mailboxes": {**_KEY, "local_part": "text"},
    "identity_anonymous_ids": {**_KEY, "expires_after_days": "integer"},
    "identity_winners": {**_KEY, "field": "text?", "position": "integer", "criterion": "text"},
    "identity_system_priority": {**_KEY, "system": "text", "priority": "integer"},
    "identity_matching": {
        **_KEY,
        "parameters_version": "text",
        "prior_weight": "number",
        "link_weight": "number",
        "review_weight": "number",
        "keep_weight": "number",
        "unscored_weight": "number",
        "max_block": "integer",
        "max_group": "integer",
        "max_records": "integer",
        "min_density": "number",
    },
    "identity_matching_columns": {
        **_KEY,
        "position": "integer",
        "column_name": "text",
        "expression": "text",
        "is_distinct": "boolean",
    },
    "identity_matching_keys": {**_KEY, "rule": "integer", "expression": "text"},
    "identity_matching_levels": {
        **_KEY,
        "comparison": "text",
        "comparison_position": "integer",
        "level_position": "integer",
        "label": "text",
        "condition": "text",
        "is_null_level": "boolean",
        "m_probability": "number?",
        "u_probability": "number?",
        "match_weight": "number",
        "term_frequency_column": "text?",
    },
    "identity_matching_frequencies": {
        **_KEY,
        "column_name": "text",
        "value": "text",
        "frequency": "number",
    },
    "consent_rules": {
        **_KEY,
        "destination": "text",
        "channel": "text?",
        "purpose": "text?",
        "blocking_statuses": "text",
        "when_unknown": "text",
    },
    "consent_purposes": {**_KEY, "role": "text", "purpose": "text"},
    "consent_periods": {
        **_KEY,
        "role": "text",
        "channel": "text?",
        "purpose": "text?",
        "lawful_basis": "text?",
        "days": "integer",
    },
    "consent_score_rules": {
        **_KEY,
        "rule_id": "text",
        "channel": "text?",
        "purpose": "text?",
        "activity_types": "text?",
        "blocking_statuses": "text",
        "when_unknown": "text",
        "covers": "text",
    },
    "consent_serving_rules": {
        **_KEY,
        "rule_id": "text",
        "channel": "text?",
        "purpose": "text?",
        "blocking_statuses": "text",
        "effect": "text",
    },
    "sync_guards": {
        **_KEY,
        "destination": "text",
        "object": "text",
        "max_creates": "integer",
        "max_updates": "integer",
        "max_update_share": "number",
        "share_floor": "integer",
    },
    "sync_fields": {
        **_KEY,
        "destination": "text",
        "object": "text",
        "field": "text",
        "owner": "text",
        "mode": "text",
    },
    "kpi_settings": {
        **_KEY,
        "backfill_after_hours": "number",
        "first_touch_hours": "number",
        "acceptance_window_days": "number",
        "drift_window_days": "number",
        "minimum_sample": "integer",
    },
    "kpi_activity_types": {**_KEY, "role": "text", "activity_type": "text"},
    "accounts_versions": {
        **_KEY,
        "refresh_after_days": "number",
        "retry_unknown_after_days": "number",
        "max_domains": "integer",
        "timeout_seconds": "number",
        "failure_threshold": "integer",
        "pause_seconds": "number",
    },
    "accounts_choices": {**_KEY, "choice": "text", "name": "text", "priority": "integer"},
}
"""Columns and kinds of every policy table; a kind that ends in ? may be null."""

Row = dict[str, Any]


def policy_schemas() -> dict[str, pa.Schema]:
    """Arrow schema of every policy table: text string, number double, integer int64, instant
    timestamp UTC."""
    import pyarrow as pa

    types = {
        "text": pa.string(),
        "number": pa.float64(),
        "integer": pa.int64(),
        "boolean": pa.bool_(),
        "instant": pa.timestamp("us", tz="UTC"),
    }
    return {
        table: pa.schema(
            [
                pa.field(name, types[kind.removesuffix("?")], nullable=kind.endswith("?"))
                for name, kind in columns.items()
            ]
        )
        for table, columns in POLICY_COLUMNS.items()
    }


def policy_tables(policies: Policies) -> dict[str, pa.Table]:
    """Every policy table with all versions; empty ones carry their full schema too."""
    import pyarrow as pa

    rows: dict[str, list[Row]] = {table: [] for table in POLICY_COLUMNS}
    for versions in policies.versions.values():
        for version in versions.values():
            is_active = policies.is_active(version)
            for table, row in _rows(version):
                rows[table].append({"version": version.version, "is_active": is_active, **row})
    if policies.trials:
        tried = [policies.versions[kind][trial.version] for kind, trial in policies.trials.items()]
        rows["policy_versions"].append(
            {
                "version": "trials",
                "is_active": True,
                "kind": "rollout",
                "content_hash": trials_hash(policies.trials),
                "effective_at": max(each.document.effective_at for each in tried),
                "description": "Who is decided for by versions that are tried beside the active ones.",
                "owner": tried[0].document.owner,
            }
        )
    for kind, trial in policies.trials.items():
        row = {"version": trial.version, "is_active": True, "kind": kind}
        rows["rollout_trials"].append(
            {**row, "active_version": policies.active[kind], "share": trial.share}
        )
        for effect, people in (("allow", trial.allow), ("deny", trial.deny)):
            rows["rollout_people"] += [{**row, "effect": effect, "who": who} for who in people]
    schemas = policy_schemas()
    return {table: pa.Table.from_pylist(rows[table], schema=schemas[table]) for table in rows}


def active_email_rules(policies: Policies) -> dict[str, EmailRule]:
    """What the active identity policy says of mail providers, by domain."""
    active = policies.versions["identity"][policies.active["identity"]]
    return {
        row["domain"]: EmailRule(
            row["canonical_domain"],
            row["ignores_dots"],
            row["tag_separator"],
            row["has_subdomains"],
        )
        for table, row in _rows(active)
        if table == "identity_email_rules"
    }


def _rows(version: PolicyVersion) -> Iterator[tuple[str, Row]]:
    document = version.document
    yield (
        "policy_versions",
        {
            "kind": version.kind,
            "content_hash": version.content_hash,
            "effective_at": document.effective_at,
            "description": document.description,
            "owner": document.owner,
        },
    )
    match document:
        case ScoringPolicy():
            yield from _scoring_rows(document)
        case ModelPolicy():
            yield from _model_rows(document, version.model)
        case RoutingPolicy():
            yield "routing_versions", _routing_row(document)
        case IdentityPolicy():
            yield from _identity_rows(document)
            yield from _matching_rows(document, version.parameters)
        case ConsentPolicy():
            yield from _consent_rows(document)
        case SyncPolicy():
            yield from _sync_rows(document)
        case AccountsPolicy():
            yield from _accounts_rows(document)
        case KpiPolicy():
            yield "kpi_settings", _without_heading(document.model_dump())
            for role, names in (
                ("first_touch", document.first_touch_activity_types),
                ("touchpoint", document.touchpoint_activity_types),
            ):
                for name in names:
                    yield "kpi_activity_types", {"role": role, "activity_type": name}


def _without_heading(content: Mapping[str, Any]) -> Row:
    return {
        name: value for name, value in content.items() if name in POLICY_COLUMNS["kpi_settings"]
    }


def _scoring_rows(document: ScoringPolicy) -> Iterator[tuple[str, Row]]:
    yield (
        "scoring_versions",
        {
            "mql_threshold": document.mql_threshold,
            "rearm_below": document.rearm_below,
            "total_cap": document.total_cap,
            "grade_a": document.grades.a,
            "grade_b": document.grades.b,
            "grade_c": document.grades.c,
            **{
                f"level_{number}": least
                for number, least in enumerate(document.levels or (), start=1)
            },
            "mql_cells": json.dumps(document.mql_cells) if document.mql_cells else None,
            "recycle_after_days": document.recycling.after_days if document.recycling else None,
        },
    )
    caps = {group.id: group.cap for group in document.groups}
    for rule in document.engagement:
        content = rule.model_dump()
        yield "scoring_rules", {"kind": "engagement", **_rule_row(content, caps)}
    conditions: list[tuple[str, FitRule | Exclusion]] = [
        *(("fit", rule) for rule in document.fit),
        *(("exclusion", rule) for rule in document.exclusions),
    ]
    for kind, condition in conditions:
        # These look at a state, not at events: they can only ever count once.
        fixed = {"kind": kind, "once": True, "value": _value_text(condition)}
        yield "scoring_rules", {"points": 0.0, **_rule_row(condition.model_dump(), caps), **fixed}


def _rule_row(content: Row, caps: Mapping[str, float]) -> Row:
    group = content.pop("group", None)
    return {
        "rule_id": content.pop("id"),
        **content,
        "group_id": group,
        "group_cap": None if group is None else caps[group],
    }


def _value_text(rule: FitRule | Exclusion) -> str | None:
    if isinstance(rule.value, tuple):
        return json.dumps(list(rule.value), ensure_ascii=False)
    if isinstance(rule.value, float):
        return f"{rule.value:.15g}"
    return rule.value


def _model_rows(document: ModelPolicy, model: TrainedModel | None) -> Iterator[tuple[str, Row]]:
    """None while nothing was trained: then nothing is predicted."""
    if model is None:
        return
    imported = document.imported_before
    chosen = model.validations[model.estimator].newest
    yield (
        "model_versions",
        {
            "model_id": model.model_id,
            "estimator": model.estimator,
            "outcome": document.outcome,
            "silence": document.silence,
            "within_days": document.within_days,
            "imported_before": imported.isoformat() if imported else None,
            "cases": model.snapshot.cases,
            "positives": model.snapshot.positives,
            "auc": chosen.auc,
            "trained_as_of": datetime.fromisoformat(model.snapshot.as_of),
        },
    )
    # Only what the model asks for: a feature that said the same of everybody is none of its terms.
    asked = {term.feature for term in model.terms}
    for position, column in enumerate(feature_columns(document), start=1):
        if column.name in asked:
            yield (
                "model_features",
                {
                    "position": position,
                    "name": column.name,
                    "label": column.label,
                    "source": column.source,
                    "column_name": column.column,
                    "expression": column.expression,
                },
            )
    for position, each in enumerate(expressions(model), start=1):
        row = {"stage": each.stage, "name": each.name, "expression": each.expression}
        yield "model_expressions", {"position": position, **row, "feature": each.feature}
    for told in model.distributions:
        # The last share has neither: no value that is named, or no number.
        bounds: list[Row] = (
            [{"at_most": edge} for edge in (*told.edges, float("inf"))]
            if told.edges
            else [{"value": value} for value in told.values]
        )
        for position, (bound, share) in enumerate(
            zip((*bounds, {}), told.shares, strict=True), start=1
        ):
            place: Row = {"feature": told.feature, "position": position, "share": share}
            yield "model_distributions", {**place, **bound}


def _routing_row(document: RoutingPolicy) -> Row:
    """The whole of it, as `models.routing` reads it; apart, what SQL has to look up for it."""
    lines, languages = document.product_lines, document.languages
    return {
        "document": document.model_dump_json(exclude=set(PROSE)),
        "attributes": ",".join(sorted(attributes_of(document))),
        "product_line_field": None if lines is None else lines.field.removeprefix("custom."),
        "language_field": None
        if languages is None or languages.field is None
        else languages.field.removeprefix("custom."),
    }


def _identity_rows(document: IdentityPolicy) -> Iterator[tuple[str, Row]]:
    yield "identity_versions", {}
    for identifier in document.identifiers:
        yield (
            "identity_identifiers",
            {
                "identifier_type": identifier.type,
                "priority": identifier.priority,
                "max_records": identifier.max_records,
                "max_per_person": identifier.max_per_person,
                "is_linking": identifier.links,
            },
        )
    for rule in document.email_rules:
        for domain in rule.domains:
            yield (
                "identity_email_rules",
                {
                    "provider": rule.provider,
                    "domain": domain,
                    "canonical_domain": rule.domains[0] if rule.is_one_domain else domain,
                    "ignores_dots": rule.ignores_dots,
                    "tag_separator": rule.tag_separator,
                    "has_subdomains": rule.has_subdomains,
                },
            )
    for blocked in document.blocked_values:
        row = {"identifier_type": blocked.type, "pattern": blocked.pattern}
        yield "identity_blocked_values", row
    for mailbox in document.shared_mailboxes:
        yield "identity_shared_mailboxes", {"local_part": mailbox}
    if document.anonymous_ids:
        yield "identity_anonymous_ids", document.anonymous_ids.model_dump()
    for priority, system in enumerate(document.system_priority, start=1):
        yield "identity_system_priority", {"system": system, "priority": priority}
    for field, criteria in ((None, document.winners.default), *document.winners.fields.items()):
        for position, criterion in enumerate(criteria, start=1):
            yield (
                "identity_winners",
                {"field": field, "position": position, "criterion": criterion},
            )


def _accounts_rows(document: AccountsPolicy) -> Iterator[tuple[str, Row]]:
    enrichment = document.enrichment
    columns = POLICY_COLUMNS["accounts_versions"]
    settings = enrichment.model_dump()
    yield "accounts_versions", {name: settings[name] for name in columns if name not in _KEY}
    choices: dict[str, tuple[str, ...]] = {
        "join": document.joins,
        "blocked_domain": tuple(domain.lower() for domain in document.blocked_domains),
        "match": document.match,
        "tie_break": document.tie_breaks,
        "source": document.source_priority,
        "provider": enrichment.providers,
        "wanted": enrichment.wanted,
    }
    for choice, names in choices.items():
        for priority, name in enumerate(names, start=1):
            yield "accounts_choices", {"choice": choice, "name": name, "priority": priority}


def _consent_rows(document: ConsentPolicy) -> Iterator[tuple[str, Row]]:
    for rule in document.rules:
        yield "consent_rules", _with_lists(rule.model_dump())
    signal = document.global_privacy_control
    for role, purposes in (
        ("processing", document.processing_purposes),
        ("denied_by_gpc", signal.denies if signal else ()),
    ):
        for purpose in purposes:
            yield "consent_purposes", {"role": role, "purpose": purpose}
    for expiry in document.expiry:
        yield "consent_periods", {"role": "expiry", **expiry.model_dump()}
    for opt_in in document.double_opt_in:
        content = opt_in.model_dump()
        row = {"role": "double_opt_in", "days": content.pop("within_days"), **content}
        yield "consent_periods", row
    for table, named in (
        ("consent_score_rules", document.scores),
        ("consent_serving_rules", document.serving),
    ):
        for each in named:
            content = each.model_dump()
            yield table, _with_lists({"rule_id": content.pop("id"), **content})


def _with_lists(content: Row) -> Row:
    return {
        name: json.dumps(list(value)) if isinstance(value, tuple) else value
        for name, value in content.items()
    }


def _matching_rows(
    document: IdentityPolicy, parameters: MatchParameters | None
) -> Iterator[tuple[str, Row]]:
    """None while nothing was trained: then nothing is matched."""
    matching = document.matching
    if matching is None or parameters is None:
        return
    thresholds, guard = matching.thresholds, matching.guard
    yield (
        "identity_matching",
        {
            "parameters_version": parameters.version,
            "prior_weight": parameters.prior_weight,
            "link_weight": thresholds.link,
            "review_weight": thresholds.review,
            "keep_weight": thresholds.keep,
            "max_block": matching.max_block,
            **guard.model_dump(exclude={"distinct"}),
        },
    )
    distinct = {column_of(field) for field in guard.distinct}
    expressions = feature_expressions(matching)
    for position, (name, expression) in enumerate(expressions.items(), start=1):
        yield (
            "identity_matching_columns",
            {
                "position": position,
                "column_name": name,
                "expression": expression,
                "is_distinct": name in distinct,
            },
        )
    for rule, expression in blocking_keys(matching):
        yield "identity_matching_keys", {"rule": rule, "expression": expression}
    for level in level_rows(parameters):
        yield "identity_matching_levels", {**level}
    for column, frequencies in parameters.term_frequencies.items():
        for value, frequency in frequencies.items():
            row = {"column_name": column, "value": value, "frequency": frequency}
            yield "identity_matching_frequencies", row


def _sync_rows(document: SyncPolicy) -> Iterator[tuple[str, Row]]:
    for destination, objects in document.destinations.items():
        for name, synced in objects.items():
            place = {"destination": destination, "object": name}
            yield "sync_guards", {**place, **synced.guard.model_dump()}
            for field, rule in synced.fields.items():
                yield "sync_fields", {**place, "field": field, **rule.model_dump()}

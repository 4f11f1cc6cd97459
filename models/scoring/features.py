"""What a lead model looks at, as SQL over what was known of a person at an instant; the relations it reads are put together by the dbt macro
`features_at`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from models.policies.lead_model import (
    ACCOUNT_FIELDS,
    ActivityFeature,
    FieldFeature,
    ModelPolicy,
)

FeatureSource = Literal["field", "account", "activity", "calendar"]

_CALENDAR = {"weekday": "dayname", "month": "monthname", "hour": "hour"}


@dataclass(frozen=True, slots=True)
class FeatureColumn:
    """One feature: `expression` is SQL over `state` (fields), `company` (account), `done` (an aggregate over activities) or `asked` (the
    instant); `column` the field that has to be looked up, if any. Categories are text and never null, numbers are doubles."""

    name: str
    label: str
    source: FeatureSource
    column: str | None
    expression: str
    is_number: bool
    is_trusted: bool


def feature_columns(policy: ModelPolicy) -> tuple[FeatureColumn, ...]:
    """Every feature of the policy, in its order: fields, activities, calendar."""
    features = policy.features
    return (
        *(_of_field(feature) for feature in features.fields),
        *(_of_activity(feature) for feature in features.activities),
        *(
            FeatureColumn(
                name=name,
                label=name,
                source="calendar",
                column=None,
                expression=f"lower(cast({_CALENDAR[name]}(asked.instant at time zone 'UTC') as varchar))",
                is_number=False,
                is_trusted=True,
            )
            for name in features.calendar
        ),
    )


def quoted(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def _of_field(feature: FieldFeature) -> FeatureColumn:
    source: FeatureSource = "account" if feature.field in ACCOUNT_FIELDS else "field"
    relation = "company" if source == "account" else "state"
    column = feature.field
    if column.startswith("custom."):
        path = quoted(f'$."{column.removeprefix("custom.")}"')
        column, value = "custom", f"json_extract_string(state.custom, {path})"
    elif column == "email_domain":
        column, value = "email", "nullif(split_part(lower(state.email), '@', 2), '')"
    else:
        value = f"cast({relation}.{column} as varchar)"
    if feature.matches is not None:
        told = f"regexp_matches({value}, {quoted(feature.matches)})"
        expression = f"case when {value} is null then '' when {told} then 'yes' else 'no' end"
    elif feature.type == "number":
        # What is no finite number says as little as nothing.
        number = f"try_cast({value} as double)"
        expression = f"case when isfinite({number}) then {number} end"
    else:
        expression = f"coalesce(lower(trim({value})), '')"
    return FeatureColumn(
        name=feature.id,
        label=feature.label or feature.id,
        source=source,
        column=column,
        expression=expression,
        is_number=feature.matches is None and feature.type == "number",
        is_trusted=feature.trusted,
    )


def _of_activity(feature: ActivityFeature) -> FeatureColumn:
    conditions = " and ".join(_conditions(feature)) or "true"
    days = "(epoch_us(done.instant) - epoch_us(done.occurred_at)) / 86400e6"
    match feature.measure:
        case "count":
            told = f"count(*) filter (where {conditions})"
        case "distinct_days":
            day = "cast(done.occurred_at at time zone 'UTC' as date)"
            told = f"count(distinct {day}) filter (where {conditions})"
        case "days_since_last":
            told = f"min({days}) filter (where {conditions})"
        case "days_since_first":
            told = f"max({days}) filter (where {conditions})"
    return FeatureColumn(
        name=feature.id,
        label=feature.label or feature.id,
        source="activity",
        column=None,
        expression=f"cast({told} as double)",
        is_number=True,
        is_trusted=feature.trusted,
    )


def _conditions(feature: ActivityFeature) -> Iterator[str]:
    if feature.activity_type is not None:
        yield f"done.activity_type = {quoted(feature.activity_type)}"
    if feature.url_pattern is not None:
        yield f"regexp_matches(coalesce(done.url, ''), {quoted(feature.url_pattern)})"
    if feature.form_pattern is not None:
        yield f"regexp_matches(coalesce(done.form_id, ''), {quoted(feature.form_pattern)})"
    if feature.within_days is not None:
        yield f"epoch_us(done.instant) - epoch_us(done.occurred_at) <= {feature.within_days!r} * 86400e6"

with ledger as (
    select * from {{ ref('fct_score_ledger') }}
    where occurred_at <= {{ as_of() }}
),

versions as (
    select * from {{ source('raw_policies', 'scoring_versions') }}
    where is_active
),

predictions as (
    select * from {{ ref('fct_lead_predictions') }}
    where is_champion
),

by_rule as (
    select
        person_id,
        scoring_version,
        rule_id,
        entry_kind,
        coalesce(
            sum(
                {{ decayed_points('points', 'half_life_days', 'occurred_at', as_of()) }}
            ) filter (where {{ counts_at('withheld_at', as_of()) }}),
            0
        ) as decayed_points,
        any_value(cap) as cap,
        any_value(group_id) as group_id,
        any_value(group_cap) as group_cap,
        max(occurred_at) filter (where {{ counts_at('withheld_at', as_of()) }}) as last_occurred_at,
    from ledger
    group by person_id, scoring_version, rule_id, entry_kind
),

-- Apart, as most rules are of no group.
by_group as (
    select
        person_id,
        scoring_version,
        entry_kind,
        rule_id,
        {{ capped('decayed_points', 'cap') }} as points,
        last_occurred_at,
    from by_rule
    where group_id is null
    union all
    select
        person_id,
        scoring_version,
        entry_kind,
        cast(null as varchar) as rule_id,
        {{ capped('sum(' ~ capped('decayed_points', 'cap') ~ ')', 'any_value(group_cap)') }} as points,
        max(last_occurred_at) as last_occurred_at,
    from by_rule
    where group_id is not null
    group by person_id, scoring_version, entry_kind, group_id
),

by_person as (
    select
        person_id,
        scoring_version,
        coalesce(sum(points) filter (where entry_kind = 'engagement'), 0) as engagement_score,
        coalesce(sum(points) filter (where entry_kind = 'fit'), 0) as fit_score,
        max(last_occurred_at) filter (where entry_kind = 'engagement') as last_engaged_at,
        min(rule_id) filter (where entry_kind = 'exclusion') as excluded_by,
    from by_group
    group by person_id, scoring_version
)

select
    by_person.person_id,
    by_person.scoring_version,
    {{ grade_of('by_person.fit_score', 'versions') }} as grade,
    {{ level_of('by_person.engagement_score', 'versions') }} as engagement_level,
    by_person.excluded_by,
    round(by_person.engagement_score, 6) as engagement_score,
    round(by_person.fit_score, 6) as fit_score,
    round(
        least(by_person.engagement_score + by_person.fit_score, coalesce(versions.total_cap, cast('infinity' as double))), 6
    ) as total_score,
    predictions.probability as conversion_probability,
    by_person.last_engaged_at,
    {{ as_of() }} as scored_at,
from by_person
inner join versions on by_person.scoring_version = versions.version
left join predictions on by_person.person_id = predictions.person_id

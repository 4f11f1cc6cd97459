with ledger as (
    select * from {{ ref('fct_score_ledger') }}
    where occurred_at <= {{ as_of() }}
),

versions as (
    select * from {{ source('raw_policies', 'scoring_versions') }}
    where is_active
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
        max(occurred_at) filter (where {{ counts_at('withheld_at', as_of()) }}) as last_occurred_at,
    from ledger
    group by person_id, scoring_version, rule_id, entry_kind
),

by_person as (
    select
        person_id,
        scoring_version,
        coalesce(sum({{ capped('decayed_points', 'cap') }}) filter (where entry_kind = 'engagement'), 0) as engagement_score,
        coalesce(sum({{ capped('decayed_points', 'cap') }}) filter (where entry_kind = 'fit'), 0) as fit_score,
        max(last_occurred_at) filter (where entry_kind = 'engagement') as last_engaged_at,
    from by_rule
    group by person_id, scoring_version
)

select
    by_person.person_id,
    by_person.scoring_version,
    {{ grade_of('by_person.fit_score', 'versions') }} as grade,
    round(by_person.engagement_score, 6) as engagement_score,
    round(by_person.fit_score, 6) as fit_score,
    round(
        least(by_person.engagement_score + by_person.fit_score, coalesce(versions.total_cap, cast('infinity' as double))), 6
    ) as total_score,
    cast(null as double) as conversion_probability,
    by_person.last_engaged_at,
    {{ as_of() }} as scored_at,
from by_person
inner join versions on by_person.scoring_version = versions.version

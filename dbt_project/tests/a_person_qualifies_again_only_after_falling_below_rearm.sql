-- The least score between two crossings is the one just before a ledger entry: points only fade in between.
with crossings as (
    select
        person_id,
        scoring_version,
        reached_at,
        lead(reached_at) over (
            partition by person_id, scoring_version
            order by reached_at
        ) as next_reached_at,
        lead(recycled_at) over (
            partition by person_id, scoring_version
            order by reached_at
        ) as next_recycled_at,
    from {{ ref('fct_mqls') }}
    -- Unless sales had sent them back.
    qualify next_reached_at is not null and next_recycled_at is null
),

instants as (
    select distinct
        crossings.person_id,
        crossings.scoring_version,
        crossings.next_reached_at,
        entries.occurred_at as evaluated_at,
    from crossings
    inner join {{ ref('fct_score_ledger') }} as entries
        on
            crossings.person_id = entries.person_id
            and crossings.scoring_version = entries.scoring_version
            and crossings.reached_at < entries.occurred_at
            and crossings.next_reached_at >= entries.occurred_at
            and coalesce(entries.withheld_at > entries.occurred_at, true)
),

by_rule as (
    select
        instants.person_id,
        instants.scoring_version,
        instants.next_reached_at,
        instants.evaluated_at,
        any_value(ledger.cap) as cap,
        any_value(ledger.group_cap) as group_cap,
        -- A rule of no group is a group of its own.
        coalesce(any_value(ledger.group_id), 'rule ' || ledger.rule_id) as group_id,
        sum(
            ledger.points
            * exp(
                -ln(2)
                * coalesce(date_diff('microsecond', ledger.occurred_at, instants.evaluated_at) / 86400e6 / ledger.half_life_days, 0)
            )
        ) as points,
    from instants
    inner join {{ ref('fct_score_ledger') }} as ledger
        on
            instants.person_id = ledger.person_id
            and instants.scoring_version = ledger.scoring_version
            and instants.evaluated_at > ledger.occurred_at
            and coalesce(ledger.withheld_at > instants.evaluated_at, true)
    group by
        instants.person_id, instants.scoring_version, instants.next_reached_at, instants.evaluated_at, ledger.entry_kind, ledger.rule_id
),

by_group as (
    select
        person_id,
        scoring_version,
        next_reached_at,
        evaluated_at,
        any_value(group_cap) as cap,
        sum(sign(points) * least(abs(points), coalesce(cap, abs(points)))) as points,
    from by_rule
    group by person_id, scoring_version, next_reached_at, evaluated_at, group_id
),

scored as (
    select
        person_id,
        scoring_version,
        next_reached_at,
        evaluated_at,
        sum(sign(points) * least(abs(points), coalesce(cap, abs(points)))) as score,
    from by_group
    group by person_id, scoring_version, next_reached_at, evaluated_at
)

select
    scored.person_id,
    scored.next_reached_at,
    min(scored.score) as least_score,
from scored
inner join {{ source('raw_policies', 'scoring_versions') }} as versions
    on scored.scoring_version = versions.version
group by scored.person_id, scored.scoring_version, scored.next_reached_at, versions.rearm_below
having min(scored.score) >= versions.rearm_below + 1e-5

-- Written out instead of calling the scoring macros: an oracle that shares their mistakes would find none.
with decayed as (
    select
        scores.person_id,
        scores.scoring_version,
        ledger.entry_kind,
        ledger.rule_id,
        any_value(ledger.cap) as cap,
        any_value(ledger.group_cap) as group_cap,
        any_value(ledger.total_cap) as total_cap,
        -- A rule of no group is a group of its own.
        coalesce(any_value(ledger.group_id), 'rule ' || ledger.rule_id) as group_id,
        sum(
            case when ledger.withheld_at <= scores.scored_at then 0 else ledger.points end
            * exp(-ln(2) * coalesce(date_diff('microsecond', ledger.occurred_at, scores.scored_at) / 86400e6 / ledger.half_life_days, 0))
        ) as points,
    from {{ ref('fct_scores') }} as scores
    inner join {{ ref('fct_score_ledger') }} as ledger
        on
            scores.person_id = ledger.person_id
            and scores.scoring_version = ledger.scoring_version
            and scores.scored_at >= ledger.occurred_at
    group by scores.person_id, scores.scoring_version, ledger.entry_kind, ledger.rule_id
),

by_group as (
    select
        person_id,
        scoring_version,
        entry_kind,
        any_value(group_cap) as cap,
        any_value(total_cap) as total_cap,
        sum(sign(points) * least(abs(points), coalesce(cap, abs(points)))) as points,
    from decayed
    group by person_id, scoring_version, entry_kind, group_id
),

summed as (
    select
        person_id,
        scoring_version,
        any_value(total_cap) as total_cap,
        coalesce(sum(sign(points) * least(abs(points), coalesce(cap, abs(points)))) filter (where entry_kind = 'engagement'), 0)
            as engagement_score,
        coalesce(sum(sign(points) * least(abs(points), coalesce(cap, abs(points)))) filter (where entry_kind = 'fit'), 0)
            as fit_score,
    from by_group
    group by person_id, scoring_version
)

select
    scores.person_id,
    scores.scoring_version,
    scores.engagement_score,
    summed.engagement_score as expected_engagement_score,
    scores.fit_score,
    summed.fit_score as expected_fit_score,
    scores.total_score,
from {{ ref('fct_scores') }} as scores
left join summed
    on scores.person_id = summed.person_id and scores.scoring_version = summed.scoring_version
where
    coalesce(abs(scores.engagement_score - summed.engagement_score), 1) > 1e-5
    or coalesce(abs(scores.fit_score - summed.fit_score), 1) > 1e-5
    or abs(
        scores.total_score
        - least(summed.engagement_score + summed.fit_score, coalesce(summed.total_cap, 1e18))
    ) > 1e-5

{{ config(
    materialized='incremental',
    incremental_strategy='replace_touched',
    unique_key='person_id',
    indexes=[{'columns': ['person_id']}],
) }}

-- depends_on: {{ ref('int_batch__touched_people') }}
with versions as (
    select * from {{ source('raw_policies', 'scoring_versions') }}
    where is_active
),

entries as (
    select * from {{ ref('fct_score_ledger') }}
    where {{ where_touched() }}
),

-- Points only decay: whoever stays below the threshold with every positive point undecayed never reaches it.
rule_maxima as (
    select
        person_id,
        scoring_version,
        rule_id,
        least(sum(greatest(points, 0)), coalesce(any_value(cap), cast('infinity' as double))) as most_points,
    from entries
    group by person_id, scoring_version, rule_id
),

within_reach as (
    select
        rule_maxima.person_id,
        rule_maxima.scoring_version,
    from rule_maxima
    inner join versions on rule_maxima.scoring_version = versions.version
    group by rule_maxima.person_id, rule_maxima.scoring_version, versions.mql_threshold
    -- Scores are rounded to six digits before they are compared.
    having sum(rule_maxima.most_points) >= versions.mql_threshold - 0.000001
),

ledger as (
    select entries.*
    from entries
    inner join within_reach
        on entries.person_id = within_reach.person_id and entries.scoring_version = within_reach.scoring_version
),

people as (
    select
        person_id,
        account_id,
    from {{ ref('dim_people') }}
    where {{ where_touched() }}
),

-- Positive points only decay, so a score can rise above the threshold at a ledger entry and nowhere between two.
instants as (
    select distinct
        person_id,
        scoring_version,
        occurred_at as evaluated_at,
    from ledger
),

contributions as (
    select
        instants.person_id,
        instants.scoring_version,
        instants.evaluated_at,
        ledger.rule_id,
        ledger.entry_kind,
        any_value(ledger.label) as label,
        any_value(ledger.cap) as cap,
        max(ledger.received_at) as received_at,
        arg_max(ledger.trace_parent, ledger.occurred_at) as trace_parent,
        max(ledger.occurred_at) filter (where ledger.trace_parent is not null) as traced_at,
        sum({{ decayed_points('ledger.points', 'ledger.half_life_days', 'ledger.occurred_at', 'instants.evaluated_at') }})
            as points_after,
        coalesce(
            sum({{ decayed_points('ledger.points', 'ledger.half_life_days', 'ledger.occurred_at', 'instants.evaluated_at') }}) filter (
                where ledger.occurred_at < instants.evaluated_at
            ),
            0
        ) as points_before,
    from instants
    inner join ledger
        on
            instants.person_id = ledger.person_id
            and instants.scoring_version = ledger.scoring_version
            and instants.evaluated_at >= ledger.occurred_at
    group by instants.person_id, instants.scoring_version, instants.evaluated_at, ledger.rule_id, ledger.entry_kind
),

scored as (
    select
        person_id,
        scoring_version,
        evaluated_at,
        round(sum({{ capped('points_after', 'cap') }}), 6) as score_after,
        round(sum({{ capped('points_before', 'cap') }}), 6) as score_before,
        coalesce(sum({{ capped('points_after', 'cap') }}) filter (where entry_kind = 'fit'), 0) as fit_score,
        max(received_at) as known_at,
        arg_max(trace_parent, traced_at) as trace_parent,
    from contributions
    group by person_id, scoring_version, evaluated_at
),

-- Once qualified, a person qualifies again only after the score has fallen below rearm_below.
fallen as (
    select
        scored.* exclude (score_after, score_before),
        least(scored.score_after, coalesce(versions.total_cap, scored.score_after)) as score_after,
        least(scored.score_before, coalesce(versions.total_cap, scored.score_before)) as score_before,
        versions.mql_threshold,
        {{ grade_of('scored.fit_score', 'versions') }} as grade,
        scored.score_before < versions.rearm_below
        or coalesce(
            lag(scored.score_after) over (
                partition by scored.person_id, scored.scoring_version
                order by scored.evaluated_at
            ) < versions.rearm_below,
            true
        ) as is_rearmed,
    from scored
    inner join versions on scored.scoring_version = versions.version
),

armed as (
    select
        *,
        count(*) filter (where is_rearmed) over (
            partition by person_id, scoring_version
            order by evaluated_at
        ) as arming,
    from fallen
),

crossings as (
    select *
    from armed
    where score_after >= mql_threshold
    qualify row_number() over (
        partition by person_id, scoring_version, arming
        order by evaluated_at
    ) = 1
),

numbered as (
    select
        *,
        row_number() over (
            partition by person_id, scoring_version
            order by evaluated_at
        ) as crossing_number,
        lead(evaluated_at) over (
            partition by person_id, scoring_version
            order by evaluated_at
        ) as next_evaluated_at,
    from crossings
),

-- For the crossings alone: of a hundred instants, a few are one.
reasons as (
    select
        contributions.person_id,
        contributions.scoring_version,
        contributions.evaluated_at,
        to_json(
            list(
                {
                    'rule_id': contributions.rule_id,
                    'label': contributions.label,
                    'points': round({{ capped('contributions.points_after', 'contributions.cap') }}, 1)
                }
                order by {{ capped('contributions.points_after', 'contributions.cap') }} desc, contributions.rule_id
            ) filter (where abs({{ capped('contributions.points_after', 'contributions.cap') }}) >= 0.05)
        ) as reasons,
    from contributions
    inner join numbered
        on
            contributions.person_id = numbered.person_id
            and contributions.scoring_version = numbered.scoring_version
            and contributions.evaluated_at = numbered.evaluated_at
    group by contributions.person_id, contributions.scoring_version, contributions.evaluated_at
),

-- An entry can show the crossing at its own instant or, when it comes late, where the crossing lies by now.
moments as (
    select distinct
        numbered.person_id,
        numbered.scoring_version,
        numbered.crossing_number,
        numbered.mql_threshold,
        greatest(ledger.occurred_at, numbered.evaluated_at) as evaluated_at,
        ledger.received_at,
    from numbered
    inner join ledger
        on
            numbered.person_id = ledger.person_id
            and numbered.scoring_version = ledger.scoring_version
            and ledger.occurred_at < coalesce(numbered.next_evaluated_at, cast('infinity' as timestamptz))
),

points_known as (
    select
        moments.person_id,
        moments.scoring_version,
        moments.crossing_number,
        moments.mql_threshold,
        moments.evaluated_at,
        moments.received_at,
        ledger.rule_id,
        any_value(ledger.cap) as cap,
        sum({{ decayed_points('ledger.points', 'ledger.half_life_days', 'ledger.occurred_at', 'moments.evaluated_at') }}) as points,
    from moments
    inner join ledger
        on
            moments.person_id = ledger.person_id
            and moments.scoring_version = ledger.scoring_version
            and moments.evaluated_at >= ledger.occurred_at
            and moments.received_at >= ledger.received_at
    group by all
),

scores_known as (
    select
        person_id,
        scoring_version,
        crossing_number,
        received_at,
    from points_known
    group by person_id, scoring_version, crossing_number, mql_threshold, evaluated_at, received_at
    having round(sum({{ capped('points', 'cap') }}), 6) >= mql_threshold
),

-- A late entry changes what is known of the past, not when it was known that somebody qualifies: routing deals leads in that order.
first_known as (
    select
        person_id,
        scoring_version,
        crossing_number,
        min(received_at) as known_at,
    from scores_known
    group by person_id, scoring_version, crossing_number
)

-- Named by its number, not its instant: a late event may move the instant, and must not make another MQL, owner and task of it.
select
    {{ guid(["'mql'", 'crossings.person_id', 'crossings.scoring_version', 'crossings.crossing_number']) }} as mql_id,
    crossings.person_id,
    people.account_id,
    crossings.scoring_version,
    crossings.grade,
    cast(reasons.reasons as varchar) as reasons,
    crossings.score_after as score,
    round(crossings.fit_score, 6) as fit_score,
    crossings.crossing_number,
    crossings.trace_parent,
    crossings.evaluated_at as reached_at,
    coalesce(first_known.known_at, crossings.known_at) as known_at,
from numbered as crossings
inner join people on crossings.person_id = people.person_id
inner join reasons
    on
        crossings.person_id = reasons.person_id
        and crossings.scoring_version = reasons.scoring_version
        and crossings.evaluated_at = reasons.evaluated_at
left join first_known
    on
        crossings.person_id = first_known.person_id
        and crossings.scoring_version = first_known.scoring_version
        and crossings.crossing_number = first_known.crossing_number

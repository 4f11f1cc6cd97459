{{ config(
    materialized='incremental',
    incremental_strategy='replace_touched',
    unique_key='person_id',
    indexes=[{'columns': ['person_id']}],
) }}

-- depends_on: {{ ref('int_batch__touched_people') }}
with recursive versions as (
    select * from {{ source('raw_policies', 'scoring_versions') }}
    where is_active
),

-- What counted when it happened: an objection to profiling undoes no call that was made before it.
entries as (
    select * from {{ ref('fct_score_ledger') }} as ledger
    where {{ where_touched() }} and {{ counts_at('ledger.withheld_at', 'ledger.occurred_at') }}
),

recycled as (
    {{ people_sent_back() }}
),

-- Whoever the policy takes for nobody's lead makes none, whatever the score.
excluded as (
    select distinct
        person_id,
        scoring_version,
    from {{ ref('fct_score_ledger') }}
    where {{ where_touched() }} and entry_kind = 'exclusion'
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
    anti join excluded on rule_maxima.person_id = excluded.person_id and rule_maxima.scoring_version = excluded.scoring_version
    group by rule_maxima.person_id, rule_maxima.scoring_version, versions.mql_threshold
    -- Scores are rounded to six digits before they are compared.
    having sum(rule_maxima.most_points) >= versions.mql_threshold - 0.000001
),

people as (
    select
        person_id,
        account_id,
    from {{ ref('dim_people') }}
    where {{ where_touched() }}
),

-- What follows pairs every entry of a person with every later one: by numbers, as grouping by names took most of the time.
-- Materialized, as a number must be the same wherever it is read.
tracks as materialized (
    select
        person_id,
        scoring_version,
        row_number() over () as track,
    from within_reach
),

rules as materialized (
    select
        scoring_version,
        rule_id,
        entry_kind,
        any_value(label) as label,
        any_value(cap) as cap,
        any_value(group_id) as group_id,
        any_value(group_cap) as group_cap,
        row_number() over () as rule_number,
    from entries
    group by scoring_version, rule_id, entry_kind
),

ledger as materialized (
    select
        tracks.track,
        rules.rule_number,
        entries.points,
        entries.half_life_days,
        entries.trace_parent,
        entries.occurred_at,
        entries.received_at,
    from entries
    inner join tracks on entries.person_id = tracks.person_id and entries.scoring_version = tracks.scoring_version
    inner join rules
        on
            entries.scoring_version = rules.scoring_version
            and entries.rule_id = rules.rule_id
            and entries.entry_kind = rules.entry_kind
),

-- Positive points only decay, so a score can rise above the threshold at a ledger entry and nowhere between two.
instants as materialized (
    select
        track,
        occurred_at as evaluated_at,
        max(received_at) as received_at,
        max(trace_parent) as trace_parent,
        row_number() over () as instant_number,
    from ledger
    group by track, occurred_at
),

told as (
    select
        track,
        instant_number,
        evaluated_at,
        received_at,
        max(received_at) over so_far as known_at,
        last_value(trace_parent ignore nulls) over so_far as trace_parent,
    from instants
    window so_far as (
        partition by track
        order by evaluated_at
        rows between unbounded preceding and current row
    )
),

contributions as (
    select
        instants.instant_number,
        ledger.rule_number,
        sum({{ decayed_points('ledger.points', 'ledger.half_life_days', 'ledger.occurred_at', 'instants.evaluated_at') }})
            as points_after,
        coalesce(
            sum({{ decayed_points('ledger.points', 'ledger.half_life_days', 'ledger.occurred_at', 'instants.evaluated_at') }}) filter (
                where ledger.occurred_at < instants.evaluated_at
            ),
            0
        ) as points_before,
    from instants
    inner join ledger on instants.track = ledger.track and instants.evaluated_at >= ledger.occurred_at
    group by instants.instant_number, ledger.rule_number
),

summands as (
    {{ points_within_caps('contributions', 'instant_number', ['points_after', 'points_before']) }}
),

sums as (
    select
        instant_number,
        round(sum(points_after), 6) as score_after,
        round(sum(points_before), 6) as score_before,
        coalesce(sum(points_after) filter (where entry_kind = 'fit'), 0) as fit_score,
        coalesce(sum(points_after) filter (where entry_kind = 'engagement'), 0) as engagement_score,
    from summands
    group by instant_number
),

scored as (
    select
        tracks.person_id,
        tracks.scoring_version,
        told.track,
        told.instant_number,
        told.evaluated_at,
        told.received_at,
        told.known_at,
        told.trace_parent,
        sums.score_after,
        sums.score_before,
        sums.fit_score,
        sums.engagement_score,
    from told
    inner join sums on told.instant_number = sums.instant_number
    inner join tracks on told.track = tracks.track
),

-- The first instant at which somebody sales has sent back may be handed over again.
returns as (
    select
        scored.track,
        recycled.recycled_at,
        any_value(recycled.received_at) as told_at,
        min(scored.evaluated_at) as evaluated_at,
    from scored
    inner join versions on scored.scoring_version = versions.version
    inner join recycled
        on
            scored.person_id = recycled.person_id
            and scored.evaluated_at >= recycled.recycled_at + to_seconds(86400 * versions.recycle_after_days)
            and scored.evaluated_at > recycled.recycled_at
    group by scored.track, recycled.recycled_at
),

returned as (
    select
        track,
        evaluated_at,
        max(recycled_at) as recycled_at,
        arg_max(told_at, recycled_at) as told_at,
    from returns
    group by track, evaluated_at
),

-- Once qualified, a person qualifies again only after the score has fallen below rearm_below, or after sales has sent them back.
fallen as (
    select
        scored.* exclude (score_after, score_before),
        least(scored.score_after, coalesce(versions.total_cap, scored.score_after)) as score_after,
        least(scored.score_before, coalesce(versions.total_cap, scored.score_before)) as score_before,
        versions.mql_threshold,
        {{ grade_of('scored.fit_score', 'versions') }} as grade,
        {{ level_of('scored.engagement_score', 'versions') }} as engagement_level,
        {{ may_qualify(grade_of('scored.fit_score', 'versions'), level_of('scored.engagement_score', 'versions'), 'versions') }}
            as may_qualify,
        returned.recycled_at,
        scored.score_before < versions.rearm_below
        or coalesce(
            lag(scored.score_after) over (
                partition by scored.track
                order by scored.evaluated_at
            ) < versions.rearm_below,
            true
        ) as is_rearmed,
    from scored
    inner join versions on scored.scoring_version = versions.version
    left join returned on scored.track = returned.track and scored.evaluated_at = returned.evaluated_at
),

armed as (
    select
        *,
        count(*) filter (where is_rearmed or recycled_at is not null) over so_far as arming,
        max(evaluated_at) filter (where is_rearmed) over so_far as rearmed_at,
        max(recycled_at) over so_far as newest_recycled_at,
    from fallen
    window so_far as (
        partition by track
        order by evaluated_at
    )
),

crossings_found as (
    select *
    from armed
    where score_after >= mql_threshold and may_qualify
    qualify row_number() over (
        partition by track, arming
        order by evaluated_at
    ) = 1
),

-- A lead that was made after sales had sent the person back is not the one that was sent back: one after the other, as each depends on the
-- one before.
crossings_listed as (
    select
        track,
        list(
            {
                'at': evaluated_at,
                'rearmed_at': rearmed_at,
                'recycled_at': newest_recycled_at
            }
            order by evaluated_at
        ) as found,
    from crossings_found
    group by track
),

crossings_kept as (
    select
        track,
        found,
        found[1] as kept,
    from crossings_listed
    union all
    select
        track,
        list_filter(
            found,
            lambda one: one['at'] > kept['at'] and (one['rearmed_at'] > kept['at'] or coalesce(one['recycled_at'] >= kept['at'], false))
        ) as following,
        following[1] as kept,
    from crossings_kept
    where found[-1]['at'] > kept['at']
),

crossings_followed as (
    select
        found.* exclude (recycled_at),
        lag(found.evaluated_at) over (
            partition by found.track
            order by found.evaluated_at
        ) >= found.rearmed_at as was_sent_back,
    from crossings_found as found
    inner join crossings_kept as kept on found.track = kept.track and found.evaluated_at = kept.kept['at']
),

crossings as (
    select
        followed.*,
        returned.recycled_at,
        returned.told_at,
    from crossings_followed as followed
    left join returned
        on followed.was_sent_back and followed.track = returned.track and followed.newest_recycled_at = returned.recycled_at
),

numbered as (
    select
        *,
        row_number() over (
            partition by track
            order by evaluated_at
        ) as crossing_number,
        lead(evaluated_at) over (
            partition by track
            order by evaluated_at
        ) as next_evaluated_at,
    from crossings
),

-- For the crossings alone: of a hundred instants, a few are one.
reasons as (
    select
        contributions.instant_number,
        to_json(
            list(
                {
                    'rule_id': rules.rule_id,
                    'label': rules.label,
                    'points': round({{ capped('contributions.points_after', 'rules.cap') }}, 1)
                }
                order by {{ capped('contributions.points_after', 'rules.cap') }} desc, rules.rule_id
            ) filter (where abs({{ capped('contributions.points_after', 'rules.cap') }}) >= 0.05)
        ) as reasons,
    from contributions
    inner join numbered on contributions.instant_number = numbered.instant_number
    inner join rules on contributions.rule_number = rules.rule_number
    group by contributions.instant_number
),

-- An entry can show the crossing at its own instant or, when it comes late, where the crossing lies by now.
moments as materialized (
    select
        numbered.track,
        numbered.crossing_number,
        numbered.mql_threshold,
        greatest(ledger.occurred_at, numbered.evaluated_at) as evaluated_at,
        ledger.received_at,
        row_number() over () as moment,
    from numbered
    inner join ledger
        on
            numbered.track = ledger.track
            and ledger.occurred_at < coalesce(numbered.next_evaluated_at, cast('infinity' as timestamptz))
    group by
        numbered.track,
        numbered.crossing_number,
        numbered.mql_threshold,
        greatest(ledger.occurred_at, numbered.evaluated_at),
        ledger.received_at
),

points_known as (
    select
        moments.moment,
        ledger.rule_number,
        sum({{ decayed_points('ledger.points', 'ledger.half_life_days', 'ledger.occurred_at', 'moments.evaluated_at') }}) as points,
    from moments
    inner join ledger
        on
            moments.track = ledger.track
            and moments.evaluated_at >= ledger.occurred_at
            and moments.received_at >= ledger.received_at
    group by moments.moment, ledger.rule_number
),

summands_known as (
    {{ points_within_caps('points_known', 'moment', ['points']) }}
),

scores_known as (
    select
        moment,
        round(sum(points), 6) as score,
        coalesce(sum(points) filter (where entry_kind = 'fit'), 0) as fit_score,
        coalesce(sum(points) filter (where entry_kind = 'engagement'), 0) as engagement_score,
    from summands_known
    group by moment
),

-- A late entry changes what is known of the past, not when it was known that somebody qualifies: routing deals leads in that order.
first_known as (
    select
        moments.track,
        moments.crossing_number,
        min(moments.received_at) as known_at,
    from moments
    inner join scores_known on moments.moment = scores_known.moment
    inner join tracks on moments.track = tracks.track
    inner join versions on tracks.scoring_version = versions.version
    where
        scores_known.score >= moments.mql_threshold
        and {{ may_qualify(
            grade_of('scores_known.fit_score', 'versions'), level_of('scores_known.engagement_score', 'versions'), 'versions'
        ) }}
    group by moments.track, moments.crossing_number
)

-- Named by its number, not its instant: a late event may move the instant, and must not make another MQL, owner and task of it.
select
    {{ guid(["'mql'", 'crossings.person_id', 'crossings.scoring_version', 'crossings.crossing_number']) }} as mql_id,
    crossings.person_id,
    people.account_id,
    crossings.scoring_version,
    crossings.grade,
    crossings.engagement_level,
    cast(reasons.reasons as varchar) as reasons,
    crossings.score_after as score,
    round(crossings.fit_score, 6) as fit_score,
    crossings.crossing_number,
    crossings.trace_parent,
    crossings.recycled_at,
    crossings.evaluated_at as reached_at,
    -- Nobody qualifies again for having been sent back before that is known.
    greatest(
        coalesce(first_known.known_at, crossings.known_at),
        crossings.told_at,
        case when crossings.was_sent_back then crossings.received_at end
    ) as known_at,
from numbered as crossings
inner join people on crossings.person_id = people.person_id
inner join reasons on crossings.instant_number = reasons.instant_number
left join first_known on crossings.track = first_known.track and crossings.crossing_number = first_known.crossing_number

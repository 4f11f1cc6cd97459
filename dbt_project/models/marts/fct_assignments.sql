{{ config(
    materialized='incremental',
    incremental_strategy='deal',
    unique_key='assignment_id',
    indexes=[{'columns': ['person_id']}, {'columns': ['task_key']}],
    post_hook="{% if should_full_refresh() %}{{ note_pools_dealt(this, false) }}{% endif %}",
) }}

-- depends_on: {{ ref('int_batch__touched_people') }}
-- Weighted fair share: each lead of a pool takes the pool's next turn, and the turns are dealt so that every rep has had its share of them
-- to less than one lead at any time. Leads come in the order in which they became known, so a late event takes the next turn.
{% set continues = continues_the_deal() %}

with leads_placed as (
    {{ leads_placed(of_touched=continues) }}
),

leads as (
    select * from leads_placed
    {% if continues %}
        where assignment_id not in (select assignment_id from {{ this }} where {{ where_touched() }})
    {% endif %}
),

seats as (
    {{ seats() }}
),

reps as (
    select
        rep_id,
        name as rep_name,
        email,
    from {{ ref('dim_reps') }}
    where is_active
),

leads_had as (
    {{ leads_had(continues) }}
),

pools_had as (
    select
        routing_version,
        territory,
        cast(sum(lead_count) as bigint) as lead_count,
    from leads_had
    group by routing_version, territory
),

ranked_leads as (
    select
        leads.*,
        coalesce(pools_had.lead_count, 0) + row_number() over (
            partition by leads.routing_version, leads.territory
            order by leads.known_at, leads.person_id, leads.reached_at
        ) as turn,
    from leads
    left join pools_had on leads.routing_version = pools_had.routing_version and leads.territory = pools_had.territory
),

pools as (
    select
        routing_version,
        territory,
        count(*) as lead_count,
        min(turn) as first_turn,
    from ranked_leads
    group by routing_version, territory
),

dealt as (
    select
        seats.routing_version,
        seats.territory,
        sum(seats.weight) as total_weight,
        count(*) as member_count,
        any_value(pools.first_turn) as first_turn,
        fair_turns(
            list(cast(seats.weight as double) order by seats.seat),
            any_value(pools.lead_count),
            list(coalesce(leads_had.lead_count, 0) order by seats.seat)
        ) as taken_seats,
    from seats
    inner join pools
        on seats.routing_version = pools.routing_version and seats.territory = pools.territory
    left join leads_had
        on
            seats.routing_version = leads_had.routing_version
            and seats.territory = leads_had.territory
            and seats.rep_id = leads_had.rep_id
    group by seats.routing_version, seats.territory
),

taken as (
    select
        routing_version,
        territory,
        total_weight,
        member_count,
        unnest(taken_seats) as seat,
        first_turn - 1 + generate_subscripts(taken_seats, 1) as turn,
    from dealt
),

turns as (
    select
        seats.rep_id,
        seats.rep_name,
        seats.routing_version,
        seats.territory,
        seats.weight,
        taken.total_weight,
        taken.member_count,
        taken.turn,
    from taken
    inner join seats
        on
            taken.routing_version = seats.routing_version
            and taken.territory = seats.territory
            and taken.seat = seats.seat
)

select
    leads.assignment_id,
    -- Whatever versions of the policies decided: a new version must not make every rep's old calls anew.
    {{ guid(["'task'", 'leads.person_id', 'leads.crossing_number']) }} as task_key,
    leads.mql_id,
    leads.person_id,
    leads.account_id,
    coalesce(turns.rep_id, fallbacks.rep_id) as rep_id,
    leads.routing_version,
    leads.territory,
    cast(to_json(
        list_filter(
            [
                leads.placement,
                case
                    when turns.rep_id is not null
                        then
                            'pool of ' || turns.member_count || ' by weight: turn ' || leads.turn || ' is ' || turns.rep_name
                            || ' (share ' || cast(round(100 * turns.weight / turns.total_weight) as bigint) || '%)'
                    when fallbacks.rep_id is not null
                        then 'nobody serves the territory: fallback ' || fallbacks.rep_name
                    else 'nobody serves the territory and no fallback is set: unassigned'
                end
            ],
            lambda step: step is not null
        )
    ) as varchar) as reason_path,
    leads.sla_minutes,
    leads.known_at as assigned_at,
    leads.known_at + to_minutes(leads.sla_minutes) as sla_due_at,
from ranked_leads as leads
left join turns
    on
        leads.routing_version = turns.routing_version
        and leads.territory = turns.territory
        and leads.turn = turns.turn
left join reps as fallbacks on lower(leads.fallback_rep_email) = fallbacks.email

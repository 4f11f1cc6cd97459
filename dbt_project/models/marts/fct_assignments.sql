{{ config(materialized='incremental', incremental_strategy='replace_changed_assignments', unique_key='assignment_id') }}

-- Weighted fair share: each lead of a pool takes the pool's next turn, and the turns are dealt so that every rep has had its share of them
-- to less than one lead at any time. Leads come in the order in which they became known, so a late event takes the next turn.
with mqls as (
    select
        mqls.*,
        people.country,
    from {{ ref('fct_mqls') }} as mqls
    inner join {{ ref('dim_people') }} as people on mqls.person_id = people.person_id
),

versions as (
    select * from {{ source('raw_policies', 'routing_versions') }}
    where is_active
),

slas as (
    select * from {{ source('raw_policies', 'routing_slas') }}
    where is_active
),

territories as (
    select * from {{ source('raw_policies', 'routing_territories') }}
    where is_active
),

weights as (
    select * from {{ source('raw_policies', 'routing_weights') }}
    where is_active
),

reps as (
    select * from {{ ref('dim_reps') }}
    where is_active
),

placed as (
    select
        mqls.mql_id,
        mqls.person_id,
        mqls.account_id,
        mqls.crossing_number,
        mqls.grade,
        mqls.country,
        mqls.reached_at,
        mqls.known_at,
        versions.version as routing_version,
        versions.sla_minutes as default_sla_minutes,
        versions.fallback_rep_email,
        versions.seed,
        territories.territory,
        territories.country is null as is_default_territory,
    from mqls
    cross join versions
    left join territories
        on
            versions.version = territories.version
            and (territories.country = upper(mqls.country) or territories.country is null)
    qualify row_number() over (
        partition by mqls.mql_id
        order by (territories.country is null), territories.priority, territories.territory
    ) = 1
),

members as (
    select
        reps.rep_id,
        reps.name as rep_name,
        versions.version as routing_version,
        versions.seed,
        pool.territory,
        coalesce(weights.weight, reps.weight) as weight,
    from reps
    cross join versions
    cross join unnest(from_json(reps.territories, '["VARCHAR"]')) as pool (territory)
    left join weights
        on
            versions.version = weights.version
            and reps.email = lower(weights.rep_email)
            and (weights.territory is null or pool.territory = weights.territory)
    -- A weight for the territory outranks one for all of them; without a share, a rep is not in the pool.
    qualify
        row_number() over (
            partition by reps.rep_id, versions.version, pool.territory
            order by (weights.territory is null)
        ) = 1
        and coalesce(weights.weight, reps.weight) > 0
),

ranked_leads as (
    select
        *,
        row_number() over (
            partition by routing_version, territory
            order by known_at, person_id, reached_at
        ) as turn,
        count(*) over (partition by routing_version, territory) as lead_count,
    from placed
),

pools as (
    select
        routing_version,
        territory,
        max(lead_count) as lead_count,
    from ranked_leads
    group by routing_version, territory
),

-- The seed settles who of the equally entitled comes first.
seated as (
    select
        *,
        row_number() over (
            partition by routing_version, territory
            order by md5(seed || territory || rep_id), rep_id
        ) as seat,
    from members
),

dealt as (
    select
        seated.routing_version,
        seated.territory,
        sum(seated.weight) as total_weight,
        count(*) as member_count,
        fair_turns(list(cast(seated.weight as double) order by seated.seat), any_value(pools.lead_count)) as seats,
    from seated
    inner join pools
        on seated.routing_version = pools.routing_version and seated.territory = pools.territory
    group by seated.routing_version, seated.territory
),

taken as (
    select
        routing_version,
        territory,
        total_weight,
        member_count,
        unnest(seats) as seat,
        generate_subscripts(seats, 1) as turn,
    from dealt
),

turns as (
    select
        seated.rep_id,
        seated.rep_name,
        seated.routing_version,
        seated.territory,
        seated.weight,
        taken.total_weight,
        taken.member_count,
        taken.turn,
    from taken
    inner join seated
        on
            taken.routing_version = seated.routing_version
            and taken.territory = seated.territory
            and taken.seat = seated.seat
),

fallbacks as (
    select
        rep_id,
        name as rep_name,
        email,
    from reps
)

select
    {{ guid(["'assignment'", 'leads.mql_id', 'leads.routing_version']) }} as assignment_id,
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
                case
                    when leads.is_default_territory
                        then
                            'country ' || coalesce(leads.country, 'unknown') || ' is in no territory: default territory '
                            || leads.territory
                    else 'country ' || leads.country || ' belongs to territory ' || leads.territory
                end,
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
    coalesce(slas.sla_minutes, leads.default_sla_minutes) as sla_minutes,
    leads.known_at as assigned_at,
    leads.known_at + to_minutes(coalesce(slas.sla_minutes, leads.default_sla_minutes)) as sla_due_at,
from ranked_leads as leads
left join turns
    on
        leads.routing_version = turns.routing_version
        and leads.territory = turns.territory
        and leads.turn = turns.turn
left join fallbacks on lower(leads.fallback_rep_email) = fallbacks.email
left join slas on leads.routing_version = slas.version and leads.grade = slas.grade

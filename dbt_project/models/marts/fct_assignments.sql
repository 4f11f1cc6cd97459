-- Weighted fair share without a loop: rep r's j-th turn in a pool comes at j / weight(r), so ordering all turns gives the sequence in which
-- "whoever is furthest behind their share is next" would have chosen (highest averages, D'Hondt). Leads take the turns in the order in which
-- they became known, so a late event takes the next turn and never re-deals the ones before.
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
            and (weights.territory is null or weights.territory = pool.territory)
    where coalesce(weights.weight, reps.weight) > 0
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

pool_weights as (
    select
        routing_version,
        territory,
        sum(weight) as total_weight,
        count(*) as member_count,
    from members
    group by routing_version, territory
),

turns as (
    select
        members.rep_id,
        members.rep_name,
        members.routing_version,
        members.territory,
        members.weight,
        pool_weights.total_weight,
        pool_weights.member_count,
        row_number() over (
            partition by members.routing_version, members.territory
            order by
                taken.ordinal / members.weight,
                md5(members.seed || members.territory || members.rep_id),
                members.rep_id
        ) as turn,
    from members
    inner join pools
        on members.routing_version = pools.routing_version and members.territory = pools.territory
    inner join pool_weights
        on members.routing_version = pool_weights.routing_version and members.territory = pool_weights.territory
    cross join
        unnest(range(1, cast(ceil(pools.lead_count * members.weight / pool_weights.total_weight) as bigint) + 2))
            as taken (ordinal)
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
                            || ' (share ' || round(100 * turns.weight / turns.total_weight) || '%)'
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

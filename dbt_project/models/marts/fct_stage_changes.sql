with stated as (
    select * from {{ ref('stg_events__stage_changes') }}
),

records as (
    select * from {{ ref('entity_map') }}
    where person_id is not null
),

mqls as (
    select * from {{ ref('fct_mqls') }}
),

leads as (
    select * from {{ ref('int_contacts__current') }}
    where is_converted
),

opportunities as (
    select * from {{ ref('fct_opportunities') }}
    where person_id is not null and not is_deleted
),

changes as (
    select
        'stated/' || stated.stage_change_record_id as change_key,
        records.person_id,
        stated.from_stage,
        stated.to_stage,
        stated.reason,
        false as is_inferred,
        stated.occurred_at as changed_at,
    from stated
    inner join records
        on
            {{ record_key('stated.system', record_type_of('stated.system', 'stated.contact_id'), 'stated.contact_id') }}
            = records.record_key
    union all
    select
        'mql/' || mql_id as change_key,
        person_id,
        cast(null as varchar) as from_stage,
        'mql' as to_stage,
        'score reached the threshold of ' || scoring_version as reason,
        false as is_inferred,
        reached_at as changed_at,
    from mqls
    -- What the CRM did implies a stage nobody stated: a converted lead was accepted, an opportunity is one, a won one is a customer.
    union all
    select
        'converted/' || leads.record_id as change_key,
        records.person_id,
        cast(null as varchar) as from_stage,
        'sql' as to_stage,
        'lead converted' as reason,
        true as is_inferred,
        coalesce(leads.converted_at, leads.occurred_at) as changed_at,
    from leads
    inner join records on leads.record_key = records.record_key
    union all
    select
        'opened/' || opportunity_id as change_key,
        person_id,
        cast(null as varchar) as from_stage,
        'opportunity' as to_stage,
        'opportunity created' as reason,
        true as is_inferred,
        created_at as changed_at,
    from opportunities
    union all
    select
        'won/' || opportunity_id as change_key,
        person_id,
        'opportunity' as from_stage,
        'customer' as to_stage,
        'opportunity won' as reason,
        true as is_inferred,
        closed_at as changed_at,
    from opportunities
    where is_won and closed_at is not null
)

select
    {{ guid(["'stage_change'", 'change_key']) }} as stage_change_id,
    person_id,
    from_stage,
    to_stage,
    reason,
    is_inferred,
    changed_at,
from changes
where changed_at <= {{ as_of() }}

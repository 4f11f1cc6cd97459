with stated as (
    select * from {{ ref('int_stage_changes__stated') }}
),

records as (
    select * from {{ ref('entity_map') }}
    where known_to is null and person_id is not null
),

mqls as (
    select * from {{ ref('fct_mqls') }}
),

leads as (
    select * from {{ ref('int_contacts__current') }}
    where is_converted
),

-- Sales says what it thinks of a lead by its status; each version that changes it is a stage change.
lead_statuses as (
    select
        record_key,
        record_id,
        lag(lifecycle_stage) over (
            partition by record_id
            order by occurred_at, received_at
        ) as former_stage,
        lifecycle_stage,
        occurred_at,
    from {{ ref('stg_salesforce__leads') }}
    where not is_converted
    qualify lifecycle_stage is distinct from former_stage
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
    inner join records on stated.record_key = records.record_key
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
    union all
    select
        'status/' || lead_statuses.record_id || '/' || epoch_us(lead_statuses.occurred_at) as change_key,
        records.person_id,
        lead_statuses.former_stage as from_stage,
        lead_statuses.lifecycle_stage as to_stage,
        'lead status in salesforce' as reason,
        lead_statuses.former_stage is null as is_inferred,
        lead_statuses.occurred_at as changed_at,
    from lead_statuses
    inner join records on lead_statuses.record_key = records.record_key
    where lead_statuses.lifecycle_stage in ('accepted', 'rejected', 'recycled', 'disqualified', 'sql')
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

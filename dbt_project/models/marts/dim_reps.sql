with stated as (
    {{ union_by_name([
        ref('stg_events__reps'),
        ref('stg_hubspot__owners'),
        ref('stg_salesforce__users'),
        ref('stg_calendly__reps'),
        ref('stg_calcom__reps'),
    ]) }}
),

newest as (
    select *
    from stated
    where occurred_at <= {{ as_of() }}
    qualify row_number() over (
        partition by system, record_id
        order by occurred_at desc, received_at desc, seq desc
    ) = 1
),

-- Owners are also named by records alone: whoever owned a deal is a rep, though no directory lists them.
owners as (
    select distinct
        system,
        owner_id as record_id,
    from {{ ref('int_opportunities__current') }}
    where owner_id is not null
),

all_reps as (
    select * from newest
    union all by name
    select *
    from owners
    where (system, record_id) not in (select (system, record_id) from newest)
),

keyed as (
    select
        *,
        coalesce(nullif(lower(trim(email)), ''), system || ':' || record_id) as rep_key,
    from all_reps
)

select
    {{ guid(["'rep'", 'rep_key']) }} as rep_id,
    max(lower(trim(email))) as email,
    coalesce(max(nullif(trim(name), '')), min(record_id)) as name,
    min(time_zone) as time_zone,
    min(working_hours) as working_hours,
    cast(coalesce(min(territories), '[]') as varchar) as territories,
    cast(to_json(list(system || ':' || record_id order by system, record_id)) as varchar) as source_records,
    min(record_id) filter (where system = 'salesforce') as salesforce_user_id,
    min(record_id) filter (where system = 'hubspot') as hubspot_owner_id,
    coalesce(max(capacity), 0) as capacity,
    coalesce(max(weight), 1.0) as weight,
    coalesce(bool_and(is_active), true) as is_active,
from keyed
group by rep_key

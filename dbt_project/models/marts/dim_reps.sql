with reps as (
    select * from {{ ref('int_reps__versions') }}
    where is_current
),

rep_records as (
    select unnest(from_json(source_records, '["VARCHAR"]')) as source_record from reps
),

-- Owners are also named by records alone: whoever owned a deal is a rep, though no directory lists them.
owners as (
    select distinct
        system,
        owner_id as record_id,
    from {{ ref('int_opportunities__current') }}
    where owner_id is not null and system || ':' || owner_id not in (select rep_records.source_record from rep_records)
),

known as (
    select * from reps
    union all by name
    select
        {{ guid(["'rep'", "system || ':' || record_id"]) }} as rep_id,
        record_id as name,
        '[]' as territories,
        '[]' as product_lines,
        cast(to_json([system || ':' || record_id]) as varchar) as source_records,
        case when system = 'salesforce' then record_id end as salesforce_user_id,
        case when system = 'hubspot' then record_id end as hubspot_owner_id,
        1.0 as weight,
        true as is_active,
    from owners
)

select
    rep_id,
    email,
    name,
    time_zone,
    working_hours,
    working_days,
    territories,
    product_lines,
    source_records,
    salesforce_user_id,
    hubspot_owner_id,
    capacity,
    cast(weight as double) as weight,
    is_active,
from known

{{ config(
    materialized='incremental',
    incremental_strategy='replace_touched',
    unique_key='person_id',
    indexes=[{'columns': ['person_id']}],
) }}

-- depends_on: {{ ref('int_batch__touched_people') }}
with records_ever as (
    select * from {{ ref('entity_map') }}
    where {{ where_touched() if is_incremental() else 'person_id is not null' }}
    {{ looked_up() }}
),

records as (
    select * from records_ever
    where known_to is null
),

activities as (
    select
        activities.*,
        records.person_id,
        records.account_id,
    from {{ ref('int_activities__unioned') }} as activities
    inner join records on activities.record_key = records.record_key
    -- A browser stands for a person for a time only.
    where
        records.record_type is distinct from 'visitor'
        or (activities.occurred_at >= records.valid_from and activities.occurred_at < records.valid_to)
    {{ looked_up() }}
),

told_once as (
    select * from activities
    {{ told_last('person_id') }}
)

select
    activity_id,
    person_id,
    account_id,
    system,
    system_activity_id,
    activity_type,
    campaign_id,
    form_id,
    url,
    referrer,
    utm_source,
    utm_medium,
    utm_campaign,
    trace_parent,
    occurred_at,
    received_at,
    to_timestamp(cast(load_id as double)) as loaded_at,
from told_once
where occurred_at <= {{ as_of() }} and not is_withdrawn

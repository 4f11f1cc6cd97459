{{ config(materialized='incremental', incremental_strategy='replace_touched', unique_key='person_id') }}

-- depends_on: {{ ref('int_batch__touched_people') }}
with activities as (
    select * from {{ ref('int_activities__unioned') }}
    where occurred_at <= {{ as_of() }} and not is_withdrawn
),

records as (
    select * from {{ ref('entity_map') }}
    where
        person_id is not null
        and {{ where_touched() }}
)

select
    activities.activity_id,
    records.person_id,
    records.account_id,
    activities.system,
    activities.system_activity_id,
    activities.activity_type,
    activities.campaign_id,
    activities.form_id,
    activities.url,
    activities.referrer,
    activities.utm_source,
    activities.utm_medium,
    activities.utm_campaign,
    activities.trace_parent,
    activities.occurred_at,
    activities.received_at,
    to_timestamp(cast(activities.load_id as double)) as loaded_at,
from activities
inner join records on activities.record_key = records.record_key

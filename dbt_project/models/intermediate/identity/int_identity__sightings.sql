{{ config(
    materialized='incremental',
    incremental_strategy='replace_sightings',
    unique_key='visitor_key',
    indexes=[{'columns': ['visitor_key']}, {'columns': ['record_key']}],
    pre_hook="{{ gather_visitors_seen() }}",
) }}

-- Withdrawn is what was taken back: it shows nobody with anything.
with visits as (
    select * from {{ ref('int_activities__unioned') }}
    {% if is_incremental() %}
        where visitor_key in ({{ visitors_seen_by_batch() }})
        {{ looked_up() }}
    {% endif %}
)

select
    visitor_key,
    record_key,
    any_value(system) as system,
    any_value(anonymous_id) as anonymous_id,
    min(occurred_at) as first_seen_at,
    max(occurred_at) as last_seen_at,
    min(received_at) as first_received_at,
from visits
where record_key <> visitor_key and not is_withdrawn and occurred_at <= {{ as_of() }}
group by visitor_key, record_key

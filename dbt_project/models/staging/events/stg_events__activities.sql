with activities as (
    select * from {{ source('raw_events', 'activities') }}
    where {{ is_complete('raw_events') }}
)

select
    system,
    activity_id,
    activity_type,
    contact_id,
    email,
    anonymous_id,
    url,
    referrer,
    utm_source,
    utm_medium,
    utm_campaign,
    campaign_id,
    form_id,
    trace_parent,
    seq,
    occurred_at,
    received_at,
    _dlt_load_id as load_id,
from activities

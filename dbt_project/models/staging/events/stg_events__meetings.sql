with meetings as (
    select * from {{ source('raw_events', 'meetings') }}
    where {{ is_complete('raw_events') }}
)

select
    system,
    meeting_id,
    contact_id,
    cast(null as varchar) as attendee_email,
    rep_id,
    cast(null as varchar) as rep_email,
    starts_at,
    ends_at,
    time_zone,
    status,
    occurred_at,
    received_at,
    seq,
    _dlt_load_id as load_id,
from meetings

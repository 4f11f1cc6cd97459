with reps as (
    select * from {{ source('raw_events', 'reps') }}
    where {{ is_complete('raw_events') }}
)

select
    system,
    record_id,
    email,
    name,
    time_zone,
    territories,
    capacity,
    weight,
    json_extract_string(working_hours, '$.start') || '-' || json_extract_string(working_hours, '$.end')
        as working_hours,
    true as is_active,
    occurred_at,
    received_at,
    seq,
    _dlt_load_id as load_id,
from reps

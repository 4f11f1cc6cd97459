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
    product_lines,
    capacity,
    weight,
    json_extract_string(working_hours, '$.start') || '-' || json_extract_string(working_hours, '$.end')
        as working_hours,
    cast(json_extract(working_hours, '$.days') as varchar) as working_days,
    from_json(out_of_office, '[{"starts_at": "TIMESTAMPTZ", "ends_at": "TIMESTAMPTZ"}]') as out_of_office,
    true as is_active,
    occurred_at,
    received_at,
    seq,
    _dlt_load_id as load_id,
from reps

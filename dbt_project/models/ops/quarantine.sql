-- What was not accepted, without the payload: that stays in the log, where replay reads it and erasure reaches it.
with rejections as (
    select * from {{ source('raw_events', 'rejections') }}
    where {{ is_complete('raw_events') }}
)

select
    seq as quarantine_id,
    door,
    event_source,
    event_id,
    event_type,
    contract_version,
    code,
    path,
    message,
    correlation_id,
    received_at,
from rejections

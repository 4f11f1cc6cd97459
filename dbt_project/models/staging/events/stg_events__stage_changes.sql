with stage_changes as (
    select * from {{ source('raw_events', 'stage_changes') }}
    where {{ is_complete('raw_events') }}
)

select
    event_source || '/' || event_id as stage_change_record_id,
    system,
    contact_id,
    from_stage,
    to_stage,
    reason,
    occurred_at,
    received_at,
    seq,
    _dlt_load_id as load_id,
from stage_changes

with receipts as (
    select * from {{ source('raw_events', 'receipts') }}
    where {{ is_complete('raw_events') }}
)

select
    plan_id,
    operation_id,
    status,
    system,
    object,
    action,
    external_id,
    record_id,
    person_id,
    code,
    message,
    written,
    reasons,
    trace_parent,
    planned_at,
    sent_at,
    answered_at,
    confirmed_at,
    occurred_at,
    received_at,
    seq,
    _dlt_load_id as load_id,
from receipts

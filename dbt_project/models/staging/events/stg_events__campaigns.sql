with campaigns as (
    select * from {{ source('raw_events', 'campaigns') }}
    where {{ is_complete('raw_events') }}
)

select
    system,
    record_id,
    name,
    channel,
    costs,
    occurred_at,
    received_at,
    seq,
    _dlt_load_id as load_id,
from campaigns

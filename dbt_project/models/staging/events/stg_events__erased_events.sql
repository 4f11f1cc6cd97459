with erasures as (
    select * from {{ source('raw_events', 'erasures') }}
    -- Nobody else's word takes a turn or counts as received.
    where {{ is_complete('raw_events') }} and event_source = 'handoff/erasure'
)

select
    told.erased['type'] as event_type,
    told.erased['seq'] as seq,
    coalesce(told.erased['is_kept'], false) as is_kept,
    cast(told.erased['occurred_at'] as timestamptz) as occurred_at,
    cast(told.erased['received_at'] as timestamptz) as received_at,
    to_timestamp(cast(erasures._dlt_load_id as double)) as loaded_at,
    erasures._dlt_load_id as load_id,
from erasures
cross join unnest(
    from_json(
        erasures.events,
        '[{"seq": "BIGINT", "type": "VARCHAR", "is_kept": "BOOLEAN", "occurred_at": "VARCHAR", "received_at": "VARCHAR"}]'
    )
) as told (erased)

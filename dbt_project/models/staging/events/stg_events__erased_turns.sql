with erasures as (
    select * from {{ source('raw_events', 'erasures') }}
    -- Nobody else's word takes a turn or counts as received.
    where {{ is_complete('raw_events') }} and event_source = 'handoff/erasure'
)

select
    told.erased['lead_id'] as lead_id,
    told.erased['country'] as country,
    cast(told.erased['reached_at'] as timestamptz) as reached_at,
    cast(told.erased['known_at'] as timestamptz) as known_at,
    erasures._dlt_load_id as load_id,
from erasures
cross join unnest(
    from_json(
        erasures.turns,
        '[{"lead_id": "VARCHAR", "country": "VARCHAR", "reached_at": "VARCHAR", "known_at": "VARCHAR"}]'
    )
) as told (erased)

with erasures as (
    select * from {{ source('raw_events', 'erasures') }}
    -- Nobody else's word takes a turn or counts as received.
    where {{ is_complete('raw_events') }} and event_source = 'handoff/erasure'
)

select
    told.erased['lead_id'] as lead_id,
    told.erased['country'] as country,
    told.erased['routing_version'] as routing_version,
    told.erased['pool'] as pool,
    told.erased['rep_id'] as rep_id,
    cast(told.erased['reached_at'] as timestamptz) as reached_at,
    cast(told.erased['known_at'] as timestamptz) as known_at,
    erasures._dlt_load_id as load_id,
from erasures
cross join unnest(
    from_json(
        erasures.turns,
        '[{"lead_id": "VARCHAR", "country": "VARCHAR", "routing_version": "VARCHAR", "pool": "VARCHAR", "rep_id": "VARCHAR",
           "reached_at": "VARCHAR", "known_at": "VARCHAR"}]'
    )
) as told (erased)

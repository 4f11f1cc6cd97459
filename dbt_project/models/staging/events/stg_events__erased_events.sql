with erasures as (
    select * from {{ source('raw_events', 'erasures') }}
    where {{ is_complete('raw_events') }}
),

listed as (
    select
        unnest(
            from_json(
                events,
                '[{"seq": "BIGINT", "type": "VARCHAR", "is_kept": "BOOLEAN", "occurred_at": "VARCHAR", "received_at": "VARCHAR"}]'
            )
        ) as erased,
        _dlt_load_id,
    from erasures
)

select
    erased.type as event_type,
    erased.seq as seq,
    coalesce(erased.is_kept, false) as is_kept,
    cast(erased.occurred_at as timestamptz) as occurred_at,
    cast(erased.received_at as timestamptz) as received_at,
    to_timestamp(cast(_dlt_load_id as double)) as loaded_at,
    _dlt_load_id as load_id,
from listed

with erasures as (
    select * from {{ source('raw_events', 'erasures') }}
    where {{ is_complete('raw_events') }}
),

listed as (
    select
        unnest(
            from_json(
                turns,
                '[{"lead_id": "VARCHAR", "country": "VARCHAR", "reached_at": "VARCHAR", "known_at": "VARCHAR"}]'
            )
        ) as turn,
        _dlt_load_id,
    from erasures
)

select
    turn.lead_id as lead_id,
    turn.country as country,
    cast(turn.reached_at as timestamptz) as reached_at,
    cast(turn.known_at as timestamptz) as known_at,
    _dlt_load_id as load_id,
from listed

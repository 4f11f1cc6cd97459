-- The pinned database as rows, so that SQL asks the same one as Python: DuckDB's own is inside its ICU, of another release.
-- It changes with the release alone, and that rebuilds the warehouse.
{{ config(tags=['made_by_rebuilds']) }}

with zones as (
    select unnest(time_zone_names()) as time_zone
),

-- Half of the names are links to the same file; each is asked by its own name.
offsets as (
    select
        time_zone,
        unnest(time_zone_offsets(time_zone)) as told,
    from zones
),

bounded as (
    select
        time_zone,
        told['seconds'] as offset_seconds,
        told['valid_from'] as valid_from,
        told['local_from'] as local_from,
        lead(told['valid_from'], 1, epoch(timestamp '2070-01-01')) over by_time as valid_to,
        lead(told['local_from'], 1, epoch(timestamp '2070-01-01') + told['seconds']) over by_time as local_to,
    from offsets
    window by_time as (partition by time_zone order by told['valid_from'])
)

select
    time_zone,
    offset_seconds,
    to_timestamp(valid_from) as valid_from_at,
    to_timestamp(valid_to) as valid_to_at,
    to_timestamp(local_from) at time zone 'UTC' as local_from,
    to_timestamp(local_to) at time zone 'UTC' as local_to,
from bounded

with directives as (
    select * from {{ source('raw_events', 'merges') }}
    where {{ is_complete('raw_events') }}
)

select
    system,
    surviving_id,
    {{ json_elements('merged_ids') }} as merged_id,
    coalesce(unmerge, false) as is_unmerge,
    occurred_at,
    received_at,
    seq,
    _dlt_load_id as load_id,
from directives

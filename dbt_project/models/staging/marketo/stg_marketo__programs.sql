with programs as (
    select * from {{ source('raw_marketo', 'programs') }}
    where {{ is_complete('raw_marketo') }}
)

select
    'marketo' as system,
    record_id,
    {{ json_text('payload', 'name') }} as name,
    {{ json_text('payload', 'channel') }} as channel,
    json_extract(payload, '$.costs') as costs,
    updated_at as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from programs

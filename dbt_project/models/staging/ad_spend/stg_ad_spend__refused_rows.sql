-- The newest reading of all files: what was corrected is gone from it.
with newest as (
    select * from {{ source('raw_ad_spend', 'files') }}
    where {{ is_complete('raw_ad_spend') }}
    qualify row_number() over (partition by record_id order by segment desc) = 1
),

files as (
    select
        unnest(from_json(json_extract(payload, '$.files'), '["JSON"]')) as file_read,
        received_at,
        _dlt_load_id as load_id,
    from newest
),

refused as (
    select
        *,
        unnest(from_json(json_extract(file_read, '$.refused'), '["JSON"]')) as refused_row,
    from files
)

select
    {{ json_text('file_read', 'file') }} as file,
    cast({{ json_text('refused_row', 'line') }} as bigint) as line,
    {{ json_text('refused_row', 'column') }} as column_name,
    {{ json_text('refused_row', 'value') }} as value,
    {{ json_text('refused_row', 'code') }} as code,
    {{ json_text('refused_row', 'message') }} as message,
    {{ json_text('refused_row', 'remedy') }} as remedy,
    received_at,
    load_id,
from refused

with campaigns as (
    select * from {{ source('raw_hubspot', 'campaigns') }}
    where {{ is_complete('raw_hubspot') }}
)

select
    'hubspot' as system,
    record_id,
    coalesce({{ json_text('payload', 'properties.hs_name') }}, {{ json_text('payload', 'name') }}) as name,
    coalesce({{ json_text('payload', 'properties.channel') }}, {{ json_text('payload', 'properties.utm_medium') }}) as channel,
    json_extract(payload, '$.spendItems') as costs,
    updated_at as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from campaigns

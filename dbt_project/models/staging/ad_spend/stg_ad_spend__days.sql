with days as (
    select * from {{ source('raw_ad_spend', 'days') }}
    where {{ is_complete('raw_ad_spend') }}
)

select
    {{ json_text('payload', 'platform') }} as system,
    coalesce({{ json_text('payload', 'account') }}, '') as account,
    cast({{ json_text('payload', 'date') }} as date) as cost_date,
    json_extract(payload, '$.campaigns') as campaigns,
    segment,
    updated_at as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from days

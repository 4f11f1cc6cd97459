-- The name and channel of a campaign as of each day it cost something.
with spent as (
    select
        {{ json_text('payload', 'platform') }} as system,
        unnest(from_json(json_extract(payload, '$.campaigns'), '["JSON"]')) as campaign,
        updated_at as occurred_at,
        received_at,
        _dlt_load_id as load_id,
    from {{ source('raw_ad_spend', 'days') }}
    where {{ is_complete('raw_ad_spend') }}
)

select
    system,
    {{ json_text('campaign', 'campaign_id') }} as record_id,
    {{ json_text('campaign', 'campaign') }} as name,
    {{ json_text('campaign', 'channel') }} as channel,
    cast(null as json) as costs,
    occurred_at,
    received_at,
    load_id,
from spent

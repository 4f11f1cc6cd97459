with campaigns as (
    select * from {{ source('raw_salesforce', 'campaigns') }}
    where {{ is_complete('raw_salesforce') }}
)

select
    'salesforce' as system,
    record_id,
    {{ json_text('payload', 'Name') }} as name,
    lower(replace({{ json_text('payload', 'Type') }}, ' ', '_')) as channel,
    -- One sum for the whole campaign; which days it was spent on is not known there.
    case
        when try_cast({{ json_text('payload', 'ActualCost') }} as decimal(18, 2)) is not null
            then
                to_json([{
                    'date': {{ json_text('payload', 'StartDate') }},
                    'cost_usd': try_cast({{ json_text('payload', 'ActualCost') }} as decimal(18, 2))
                }])
    end as costs,
    updated_at as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from campaigns

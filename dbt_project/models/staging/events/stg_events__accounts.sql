with accounts as (
    select * from {{ source('raw_events', 'accounts') }}
    where {{ is_complete('raw_events') }}
)

select
    system,
    record_id,
    name,
    domain,
    industry,
    employee_count,
    annual_revenue_usd,
    country,
    region,
    owner_id,
    parent_id,
    coalesce(is_deleted, false) as is_deleted,
    false as is_full_state,
    coalesce(from_json(null_fields, '["VARCHAR"]'), []) as null_fields,
    seq,
    occurred_at,
    received_at,
    _dlt_load_id as load_id,
from accounts

with opportunities as (
    select * from {{ source('raw_events', 'opportunities') }}
    where {{ is_complete('raw_events') }}
)

select
    system,
    record_id,
    account_id as account_record_id,
    contact_ids,
    stage,
    amount_usd,
    product_line,
    created_at,
    closed_at,
    is_won,
    owner_id,
    coalesce(is_deleted, false) as is_deleted,
    false as is_full_state,
    coalesce(from_json(null_fields, '["VARCHAR"]'), []) as null_fields,
    seq,
    occurred_at,
    received_at,
    _dlt_load_id as load_id,
from opportunities

-- A lead that was merged into another one is not there any more either.
with deleted as (
    select
        record_id,
        updated_at as occurred_at,
        received_at,
        _dlt_load_id as load_id,
    from {{ source('raw_marketo', 'deleted_leads') }}
    where {{ is_complete('raw_marketo') }}
),

merged as (
    select
        merged_id as record_id,
        occurred_at,
        received_at,
        load_id,
    from {{ ref('stg_marketo__merges') }}
),

gone as (
    select * from deleted
    union all
    select * from merged
)

select
    {{ record_key("'marketo'", "'contact'", 'record_id') }} as record_key,
    'marketo' as system,
    'contact' as record_type,
    record_id,
    true as is_deleted,
    false as is_full_state,
    cast([] as varchar[]) as null_fields,
    occurred_at,
    received_at,
    load_id,
from gone

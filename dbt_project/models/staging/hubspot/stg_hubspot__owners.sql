with owners as (
    select * from {{ source('raw_hubspot', 'owners') }}
    where {{ is_complete('raw_hubspot') }}
)

select
    'hubspot' as system,
    record_id,
    {{ json_text('payload', 'email') }} as email,
    concat_ws(' ', {{ json_text('payload', 'firstName') }}, {{ json_text('payload', 'lastName') }}) as name,
    not is_deleted as is_active,
    updated_at as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from owners

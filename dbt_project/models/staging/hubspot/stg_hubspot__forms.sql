with forms as (
    select * from {{ source('raw_hubspot', 'forms') }}
    where {{ is_complete('raw_hubspot') }}
)

select
    'hubspot' as system,
    record_id as form_id,
    {{ json_text('payload', 'name') }} as name,
    {{ json_text('payload', 'formType') }} as form_type,
    is_deleted,
    updated_at as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from forms

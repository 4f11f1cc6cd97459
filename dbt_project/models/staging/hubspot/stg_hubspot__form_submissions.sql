with submissions as (
    select * from {{ source('raw_hubspot', 'form_submissions') }}
    where {{ is_complete('raw_hubspot') }}
)

select
    'hubspot' as system,
    record_id as activity_id,
    'form_submit' as activity_type,
    {{ json_text('payload', 'contactId') }} as contact_id,
    {{ json_text('payload', 'email') }} as email,
    {{ json_text('payload', 'pageUrl') }} as url,
    {{ json_text('payload', 'formId') }} as form_id,
    {{ told_twice("'form_submit'", json_text('payload', 'formId'), 'updated_at') }} as occurrence_key,
    updated_at as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from submissions

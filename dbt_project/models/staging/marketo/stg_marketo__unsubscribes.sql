with activities as (
    select * from {{ source('raw_marketo', 'activities') }}
    where
        {{ is_complete('raw_marketo') }}
        and {{ json_text('payload', 'activityType') }} = 'Unsubscribe Email'
)

select
    -- Told again with another program it is another version.
    'marketo/' || record_id || '/' || row_hash as consent_record_id,
    'marketo' as system,
    {{ json_text('payload', 'leadId') }} as contact_id,
    'email' as channel,
    'marketing' as purpose,
    'consent' as lawful_basis,
    'withdrawn' as status,
    'unsubscribed from an e-mail of marketo' as source,
    updated_at as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from activities

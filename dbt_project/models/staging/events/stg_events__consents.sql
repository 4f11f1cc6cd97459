with consents as (
    select * from {{ source('raw_events', 'consents') }}
    where {{ is_complete('raw_events') }}
)

select
    event_source || '/' || event_id as consent_record_id,
    coalesce(system, split_part(event_subject, '/', 2)) as system,
    contact_id,
    email,
    channel,
    purpose,
    lawful_basis,
    status,
    source,
    notice_version,
    coalesce(gpc, false) as is_gpc,
    coalesce(consent_timestamp, occurred_at) as occurred_at,
    received_at,
    seq,
    _dlt_load_id as load_id,
from consents

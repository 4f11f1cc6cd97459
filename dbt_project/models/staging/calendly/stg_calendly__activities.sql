-- Moving a meeting is not asking for a second one.
with booked as (
    select
        *,
        json_extract(payload, '$.tracking') as tracking,
    from {{ source('raw_calendly', 'invitees') }}
    where
        {{ is_complete('raw_calendly') }}
        and {{ json_text('payload', 'old_invitee') }} is null
        and {{ json_text('payload', 'handoff.meeting_id') }} is not null
)

select
    'calendly' as system,
    {{ json_text('payload', 'handoff.meeting_id') }} as activity_id,
    'meeting_booked' as activity_type,
    {{ json_text('payload', 'handoff.contact.record_id') }} as contact_id,
    {{ json_text('payload', 'handoff.contact.email') }} as email,
    {{ json_text('tracking', 'utm_source') }} as utm_source,
    {{ json_text('tracking', 'utm_medium') }} as utm_medium,
    {{ json_text('tracking', 'utm_campaign') }} as utm_campaign,
    {{ instant_of(json_text('payload', 'created_at')) }} as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from booked

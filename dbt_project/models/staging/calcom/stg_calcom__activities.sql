-- A request that waits or was turned down booked nothing, and moving a meeting is not asking for a second one.
with booked as (
    select * from {{ source('raw_calcom', 'bookings') }}
    where
        {{ is_complete('raw_calcom') }}
        and {{ json_text('payload', 'status') }} in ('accepted', 'cancelled')
        and {{ json_text('payload', 'rescheduledFromUid') }} is null
        and {{ json_text('payload', 'handoff.contact.record_id') }} is not null
)

select
    'calcom' as system,
    record_id as activity_id,
    'meeting_booked' as activity_type,
    {{ json_text('payload', 'handoff.contact.record_id') }} as contact_id,
    {{ json_text('payload', 'handoff.contact.email') }} as email,
    {{ instant_of(json_text('payload', 'createdAt')) }} as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from booked

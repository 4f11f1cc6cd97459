with bookings as (
    select * from {{ source('raw_calcom', 'bookings') }}
    where {{ is_complete('raw_calcom') }}
)

select
    'calcom' as system,
    {{ json_text('payload', 'handoff.rep.record_id') }} as record_id,
    {{ json_text('payload', 'handoff.rep.email') }} as email,
    {{ json_text('payload', 'handoff.rep.name') }} as name,
    {{ json_text('payload', 'hosts[0].timeZone') }} as time_zone,
    true as is_active,
    {{ instant_of(json_text('payload', 'createdAt')) }} as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from bookings
where {{ json_text('payload', 'handoff.rep.record_id') }} is not null

with events as (
    select * from {{ source('raw_salesforce', 'events') }}
    where {{ is_complete('raw_salesforce') }}
)

select
    'salesforce' as system,
    record_id as meeting_id,
    {{ json_text('payload', 'WhoId') }} as contact_id,
    cast(null as varchar) as attendee_email,
    {{ json_text('payload', 'OwnerId') }} as rep_id,
    cast(null as varchar) as rep_email,
    {{ instant_of(json_text('payload', 'StartDateTime')) }} as starts_at,
    {{ instant_of(json_text('payload', 'EndDateTime')) }} as ends_at,
    -- An Event says that it is to take place, and nothing of how it went.
    case when is_deleted then 'cancelled' else 'booked' end as status,
    coalesce({{ instant_of(json_text('payload', 'CreatedDate')) }}, updated_at) as booked_at,
    updated_at as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from events
where
    -- The copies for each invitee, the pattern a series is made from, and whole days are no meetings of their own.
    not coalesce(try_cast({{ json_text('payload', 'IsChild') }} as boolean), false)
    and not coalesce(try_cast({{ json_text('payload', 'IsRecurrence') }} as boolean), false)
    and not coalesce(try_cast({{ json_text('payload', 'IsAllDayEvent') }} as boolean), false)

with events as (
    select * from {{ source('raw_calendar', 'events') }}
    where {{ is_complete('raw_calendar') }}
),

-- The organiser sits among the attendees too: the other one is the invitee.
invited as (
    select
        *,
        {{ json_text('payload', 'organizer.email') }} as organizer_email,
        list_filter(
            from_json(json_extract(payload, '$.attendees[*].email'), '["VARCHAR"]'),
            lambda address: lower(address) <> lower(coalesce({{ json_text('payload', 'organizer.email') }}, ''))
        ) as invitees,
    from events
)

select
    'calendar' as system,
    record_id as meeting_id,
    cast(null as varchar) as contact_id,
    invitees[1] as attendee_email,
    cast(null as varchar) as rep_id,
    organizer_email as rep_email,
    {{ instant_of(json_text('payload', 'start.dateTime')) }} as starts_at,
    {{ instant_of(json_text('payload', 'end.dateTime')) }} as ends_at,
    {{ json_text('payload', 'start.timeZone') }} as time_zone,
    case
        when is_deleted or {{ json_text('payload', 'status') }} = 'cancelled' then 'cancelled'
        when {{ json_text('payload', 'extendedProperties.private.outcome') }} = 'held' then 'held'
        when {{ json_text('payload', 'extendedProperties.private.outcome') }} = 'no_show' then 'no_show'
        else 'booked'
    end as status,
    split_part({{ json_text('payload', 'iCalUID') }}, '@', 1) as calendar_uid,
    coalesce({{ instant_of(json_text('payload', 'created')) }}, updated_at) as booked_at,
    updated_at as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from invited

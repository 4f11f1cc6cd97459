with events as (
    select * from {{ source('raw_calendar', 'events') }}
    where {{ is_complete('raw_calendar') }}
),

-- The organiser sits among the attendees too: the other one is the invitee.
invited as (
    select
        *,
        {{ json_text('payload', 'organizer.email') }} as organizer_email,
        {{ json_text('payload', 'calendarTimeZone') }} as calendar_time_zone,
        try_cast({{ json_text('payload', 'start.date') }} as timestamp) as first_day,
        try_cast({{ json_text('payload', 'end.date') }} as timestamp) as day_after,
        try_cast({{ json_text('payload', 'originalStartTime.date') }} as timestamp) as placed_day,
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
    split_part({{ json_text('payload', 'iCalUID') }}, '@', 1) || coalesce(
        '/' || strftime(
            coalesce(
                {{ instant_of(json_text('payload', 'originalStartTime.dateTime')) }},
                {{ instant_of_local_time('placed_day', 'calendar_time_zone') }}
            ) at time zone 'UTC',
            '%Y%m%dT%H%M%SZ'
        ),
        ''
    ) as calendar_uid,
    -- A whole day is that of the calendar's zone.
    coalesce(
        {{ instant_of(json_text('payload', 'start.dateTime')) }},
        {{ instant_of_local_time('first_day', 'calendar_time_zone') }}
    ) as starts_at,
    coalesce(
        {{ instant_of(json_text('payload', 'end.dateTime')) }},
        {{ instant_of_local_time('day_after', 'calendar_time_zone') }}
    ) as ends_at,
    coalesce({{ json_text('payload', 'start.timeZone') }}, calendar_time_zone) as time_zone,
    case
        when is_deleted or {{ json_text('payload', 'status') }} = 'cancelled' then 'cancelled'
        when {{ json_text('payload', 'extendedProperties.private.outcome') }} = 'held' then 'held'
        when {{ json_text('payload', 'extendedProperties.private.outcome') }} = 'no_show' then 'no_show'
        else 'booked'
    end as status,
    coalesce({{ instant_of(json_text('payload', 'created')) }}, updated_at) as booked_at,
    updated_at as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from invited

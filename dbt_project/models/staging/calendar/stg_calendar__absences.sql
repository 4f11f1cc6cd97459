-- What Google calls out of office, and a whole day that shows as busy and that nobody else is asked to.
with events as (
    select * from {{ source('raw_calendar', 'events') }}
    where {{ is_complete('raw_calendar') }}
),

read_events as (
    select
        *,
        {{ json_text('payload', 'calendarTimeZone') }} as calendar_time_zone,
        {{ instant_of(json_text('payload', 'start.dateTime')) }} as starts_at,
        {{ instant_of(json_text('payload', 'end.dateTime')) }} as ends_at,
        try_cast({{ json_text('payload', 'start.date') }} as timestamp) as first_day,
        try_cast({{ json_text('payload', 'end.date') }} as timestamp) as day_after,
        is_deleted or {{ json_text('payload', 'status') }} = 'cancelled' as is_cancelled,
        {{ json_text('payload', 'eventType') }} = 'outOfOffice' as is_out_of_office,
        {{ json_text('payload', 'transparency') }} = 'transparent' as is_transparent,
        len(
            list_filter(
                from_json(json_extract(payload, '$.attendees[*].email'), '["VARCHAR"]'),
                lambda address: lower(address) <> lower({{ json_text('payload', 'calendarId') }})
            )
        ) as guest_count,
    from events
)

select
    record_id as event_id,
    lower({{ json_text('payload', 'calendarId') }}) as rep_email,
    case
        when
            not coalesce(is_cancelled, false)
            and (
                coalesce(is_out_of_office, false)
                or (first_day is not null and not coalesce(is_transparent, false) and coalesce(guest_count, 0) = 0)
            )
            then [
                {
                    -- A whole day is that of the calendar's zone.
                    'starts_at': coalesce(starts_at, {{ instant_of_local_time('first_day', 'calendar_time_zone') }}),
                    'ends_at': coalesce(ends_at, {{ instant_of_local_time('day_after', 'calendar_time_zone') }})
                }
            ]
        else []
    end as absences,
    updated_at as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from read_events
where {{ json_text('payload', 'calendarId') }} is not null

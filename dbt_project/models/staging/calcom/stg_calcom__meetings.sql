-- The newest document alone: a mark of absence that was taken back is gone from it.
with newest as (
    select
        *,
        {{ json_text('payload', 'status') }} as booking_status,
        list_contains(json_extract_string(payload, '$.attendees[*].absent'), 'true') as is_absent,
        {{ instant_of(json_text('payload', 'start')) }} as starts_at,
        {{ instant_of(json_text('payload', 'end')) }} as ends_at,
        {{ instant_of(json_text('payload', 'createdAt')) }} as created_at,
    from {{ source('raw_calcom', 'bookings') }}
    where {{ is_complete('raw_calcom') }}
    qualify row_number() over (partition by record_id order by segment desc, updated_at desc) = 1
),

told as (
    -- A request is no meeting yet.
    select
        *,
        case when {{ json_text('payload', 'rescheduledFromUid') }} is null then 'booked' else 'rescheduled' end as status,
        created_at as occurred_at,
    from newest
    where booking_status in ('accepted', 'cancelled')
    union all
    select
        *,
        'cancelled' as status,
        updated_at as occurred_at,
    from newest
    where booking_status in ('cancelled', 'rejected')
    union all
    -- Nobody says when the mark was made; it comes after what the clock says of the meeting's course.
    select
        *,
        'no_show' as status,
        ends_at as occurred_at,
    from newest
    where booking_status = 'accepted' and is_absent
)

select
    'calcom' as system,
    record_id as meeting_id,
    {{ json_text('payload', 'handoff.contact.record_id') }} as contact_id,
    cast(null as varchar) as attendee_email,
    {{ json_text('payload', 'handoff.rep.record_id') }} as rep_id,
    {{ json_text('payload', 'handoff.rep.email') }} as rep_email,
    split_part({{ json_text('payload', 'icsUid') }}, '@', 1) as calendar_uid,
    starts_at,
    ends_at,
    {{ json_text('payload', 'attendees[0].timeZone') }} as time_zone,
    status,
    booking_status = 'accepted' as is_held_when_over,
    created_at as booked_at,
    occurred_at,
    received_at,
    _dlt_load_id as load_id,
from told

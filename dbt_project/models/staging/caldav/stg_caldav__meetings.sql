with objects as (
    select * from {{ source('raw_caldav', 'objects') }}
    where {{ is_complete('raw_caldav') }}
),

versions as (
    select
        *,
        lower({{ json_text('payload', 'owner') }}) as owner_email,
        {{ json_text('payload', 'uid') }} as uid,
    from objects
    where {{ json_text('payload', 'kind') }} in ('object', 'gone')
),

-- What takes place, and what the version before had and this one has no more.
told as (
    {% for part in ['occurrences', 'ended'] %}
    select
        * exclude (payload),
        {{ part == 'ended' }} as is_ended,
        unnest(from_json(
            json_extract(payload, '$.{{ part }}'),
            '[{"recurrence_id": "VARCHAR", "start": "VARCHAR", "end": "VARCHAR", "time_zone": "VARCHAR", "status": "VARCHAR",
               "organizer": "VARCHAR", "attendees": [{"email": "VARCHAR", "partstat": "VARCHAR", "cutype": "VARCHAR"}],
               "created": "VARCHAR"}]'
        )) as occurrence,
    from versions
    {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

-- Colleagues have a copy each; whose meeting it is says the organiser. Somebody else's invitation is the meeting of who was asked.
placed as (
    select
        *,
        coalesce(occurrence['organizer'], owner_email) as organizer_email,
        coalesce(
            split_part(occurrence['organizer'], '@', 2) <> split_part(owner_email, '@', 2), false
        ) as is_invitation,
        coalesce(occurrence['organizer'] <> owner_email, false) as is_copy,
    from told
),

attended as (
    select
        *,
        list_filter(
            occurrence['attendees'],
            lambda attendee: attendee['cutype'] = 'INDIVIDUAL'
            and attendee['email'] <> ''
            and split_part(attendee['email'], '@', 2) <> split_part(coalesce(owner_email, organizer_email), '@', 2)
        ) as guests,
        list_filter(occurrence['attendees'], lambda attendee: attendee['email'] = owner_email)[1]['partstat'] as own_answer,
    from placed
)

select
    'caldav' as system,
    uid || coalesce('/' || occurrence['recurrence_id'], '') as meeting_id,
    cast(null as varchar) as contact_id,
    case when is_invitation then organizer_email else guests[1]['email'] end as attendee_email,
    cast(null as varchar) as rep_id,
    case when is_invitation then owner_email else organizer_email end as rep_email,
    split_part(uid, '@', 1) || coalesce('/' || occurrence['recurrence_id'], '') as calendar_uid,
    {{ instant_of("occurrence['start']") }} as starts_at,
    {{ instant_of("occurrence['end']") }} as ends_at,
    occurrence['time_zone'] as time_zone,
    case
        when is_ended or occurrence['status'] = 'CANCELLED' then 'cancelled'
        when is_invitation and own_answer = 'DECLINED' then 'cancelled'
        when not is_invitation and guests[1]['partstat'] = 'DECLINED' then 'cancelled'
        else 'booked'
    end as status,
    {{ instant_of("occurrence['created']") }} as booked_at,
    updated_at as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from attended
where
    uid is not null
    -- A colleague's copy that goes says nothing of the meeting.
    and not (is_ended and is_copy and not is_invitation)

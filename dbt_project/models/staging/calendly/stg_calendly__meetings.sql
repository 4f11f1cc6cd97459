-- The newest document alone: it dates all it says, and a mark that was taken back is gone from it.
with newest as (
    select * from {{ source('raw_calendly', 'invitees') }}
    where {{ is_complete('raw_calendly') }}
    qualify row_number() over (partition by record_id order by segment desc, updated_at desc) = 1
),

invitees as (
    select
        *,
        {{ json_text('payload', 'status') }} = 'canceled'
        or {{ json_text('payload', 'scheduled_event.status') }} = 'canceled' as is_cancelled,
        coalesce(
            {{ instant_of(json_text('payload', 'cancellation.created_at')) }},
            {{ instant_of(json_text('payload', 'scheduled_event.cancellation.created_at')) }},
            updated_at
        ) as cancelled_at,
        {{ json_text('payload', 'no_show.uri') }} is not null as is_no_show,
        coalesce(
            {{ instant_of(json_text('payload', 'no_show.created_at')) }},
            {{ instant_of(json_text('payload', 'scheduled_event.start_time')) }}
        ) as missed_at,
    from newest
    where {{ json_text('payload', 'handoff.meeting_id') }} is not null
),

told as (
    select
        *,
        case when {{ json_text('payload', 'old_invitee') }} is null then 'booked' else 'rescheduled' end as status,
        {{ instant_of(json_text('payload', 'created_at')) }} as occurred_at,
    from invitees
    union all
    select
        *,
        case when is_cancelled then 'cancelled' else 'no_show' end as status,
        case when is_cancelled then cancelled_at else missed_at end as occurred_at,
    from invitees
    where is_cancelled or is_no_show
)

select
    'calendly' as system,
    {{ json_text('payload', 'handoff.meeting_id') }} as meeting_id,
    {{ json_text('payload', 'handoff.contact.record_id') }} as contact_id,
    cast(null as varchar) as attendee_email,
    {{ json_text('payload', 'handoff.rep_id') }} as rep_id,
    {{ json_text('payload', 'scheduled_event.event_memberships[0].user_email') }} as rep_email,
    {{ json_text('payload', 'scheduled_event.calendar_event.external_id') }} as calendar_uid,
    {{ instant_of(json_text('payload', 'scheduled_event.start_time')) }} as starts_at,
    {{ instant_of(json_text('payload', 'scheduled_event.end_time')) }} as ends_at,
    {{ json_text('payload', 'timezone') }} as time_zone,
    status,
    {{ instant_of(json_text('payload', 'created_at')) }} as booked_at,
    occurred_at,
    received_at,
    _dlt_load_id as load_id,
from told

{{ config(materialized='view') }}

-- News of a booking is its time, news of an outcome is the outcome: an edited description is neither.
with meetings as (
    select * from {{ ref('fct_meetings') }}
    where person_id is not null
),

booked as (
    select
        {{ guid(["'meeting.booked'", 'meeting_id', iso_instant('starts_at')]) }} as message_id,
        {{ guid(["'meeting.booked'", 'meeting_id']) }} as decision_id,
        'meeting.booked' as kind,
        meeting_id,
        person_id,
        rep_id,
        {{ meeting_payload() }} as payload,
        -- A meeting that was put off is told with its new time, also to whoever has subscribed since it was booked.
        case when status = 'rescheduled' then changed_at else booked_at end as happened_at,
    from meetings
    where starts_at is not null
),

ended as (
    select
        {{ guid(["'meeting.outcome'", 'meeting_id', 'status']) }} as message_id,
        {{ guid(["'meeting.outcome'", 'meeting_id']) }} as decision_id,
        'meeting.outcome' as kind,
        meeting_id,
        person_id,
        rep_id,
        {{ meeting_payload() }} as payload,
        changed_at as happened_at,
    from meetings
    where status in ('held', 'no_show', 'cancelled')
)

select * from booked
union all
select * from ended

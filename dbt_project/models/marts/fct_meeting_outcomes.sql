-- Meetings that took place or did not, with what a no-show may come from.
with meetings as (
    select * from {{ ref('fct_meetings') }}
    where status in ('held', 'no_show')
),

people as (
    select
        person_id,
        original_source,
    from {{ ref('dim_people') }}
)

select
    meetings.meeting_id,
    meetings.person_id,
    meetings.rep_id,
    meetings.system,
    coalesce(people.original_source, 'unknown') as original_source,
    case
        when meetings.booked_at is null or meetings.booked_at > meetings.starts_at then 'unknown'
        when {{ seconds_between('meetings.booked_at', 'meetings.starts_at') }} < 86400 then 'same day'
        when {{ seconds_between('meetings.booked_at', 'meetings.starts_at') }} < 3 * 86400 then '1-2 days'
        when {{ seconds_between('meetings.booked_at', 'meetings.starts_at') }} < 7 * 86400 then '3-6 days'
        else 'a week or more'
    end as lead_time,
    case
        when meetings.local_starts_at is null then 'unknown'
        when extract('hour' from meetings.local_starts_at) < 9 then 'before 9'
        when extract('hour' from meetings.local_starts_at) < 12 then 'morning'
        when extract('hour' from meetings.local_starts_at) < 14 then 'noon'
        when extract('hour' from meetings.local_starts_at) < 17 then 'afternoon'
        else 'from 17 on'
    end as slot,
    cast(extract('isodow' from meetings.local_starts_at) as bigint) as weekday,
    {{ seconds_between('meetings.booked_at', 'meetings.starts_at') }} / 3600 as lead_time_hours,
    meetings.status = 'no_show' as is_no_show,
    meetings.booked_at,
    meetings.starts_at,
from meetings
left join people on meetings.person_id = people.person_id

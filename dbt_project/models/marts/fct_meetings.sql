with meetings as (
    {{ union_by_name([
        ref('int_meetings__versions'),
        ref('stg_calendly__meetings'),
        ref('stg_calcom__meetings'),
    ]) }}
),

-- A change may say no more than itself, as a no-show does: what it leaves out is as it was.
told as (
    select
        system,
        meeting_id,
        last_value(contact_id ignore nulls) over so_far as contact_id,
        last_value(attendee_email ignore nulls) over so_far as attendee_email,
        last_value(rep_id ignore nulls) over so_far as rep_id,
        last_value(rep_email ignore nulls) over so_far as rep_email,
        last_value(time_zone ignore nulls) over so_far as time_zone,
        last_value(status ignore nulls) over so_far as status,
        last_value(calendar_uid ignore nulls) over so_far as calendar_uid,
        last_value(is_held_when_over ignore nulls) over so_far as is_held_when_over,
        last_value(starts_at ignore nulls) over so_far as starts_at,
        last_value(ends_at ignore nulls) over so_far as ends_at,
        booked_at,
        occurred_at,
        received_at,
        seq,
    from meetings
    -- A meeting that took place after the instant was merely booked at it.
    where occurred_at <= {{ as_of() }}
    window so_far as (
        partition by system, meeting_id
        order by occurred_at, received_at, seq
        rows between unbounded preceding and current row
    )
),

newest as (
    select
        *,
        coalesce(booked_at, min(occurred_at) over (partition by system, meeting_id)) as first_booked_at,
    from told
    qualify row_number() over (
        partition by system, meeting_id
        order by occurred_at desc, received_at desc, seq desc
    ) = 1
),

records as (
    select * from {{ ref('entity_map') }}
    where known_to is null and person_id is not null
),

reps as (
    select * from {{ ref('dim_reps') }}
),

rep_records as (
    select
        rep_id,
        unnest(from_json(source_records, '["VARCHAR"]')) as source_record,
    from reps
),

zones as (
    select distinct time_zone from {{ ref('time_zone_offsets') }}
),

keyed as (
    select
        * exclude (status),
        -- A tool that counts what is over as held sends no word when that comes.
        case
            when is_held_when_over and status in ('booked', 'rescheduled') and ends_at <= {{ as_of() }} then 'held'
            else status
        end as status,
        {{ record_key(
            'system',
            "case when contact_id is null then 'email' else " ~ record_type_of('system', 'contact_id') ~ " end",
            'coalesce(contact_id, lower(trim(attendee_email)))'
        ) }} as record_key,
    from newest
    where
        -- A rep's own appointments are nobody's handoff.
        (contact_id is not null or attendee_email is not null)
        -- A no-show can come before the booking it is of: it waits until somebody says when that was.
        and starts_at is not null
        and status is not null
),

resolved as (
    select
        keyed.*,
        {{ guid(["'meeting'", 'keyed.system', 'keyed.meeting_id']) }} as meeting_guid,
        records.person_id,
        records.account_id,
        coalesce(by_email.rep_id, by_record.rep_id) as our_rep_id,
    from keyed
    left join records on keyed.record_key = records.record_key
    left join reps as by_email on lower(keyed.rep_email) = by_email.email
    left join rep_records as by_record on keyed.system || ':' || keyed.rep_id = by_record.source_record
),

-- A merge hands the engagement to another contact: for whoever has both it is one meeting.
logged as (
    select * from resolved
    where system in ('hubspot', 'salesforce')
    qualify row_number() over (
        partition by system, coalesce(person_id, meeting_id), split_part(meeting_id, '/', 1)
        order by occurred_at desc, received_at desc, meeting_id asc
    ) = 1
),

in_calendars as (
    select
        *,
        coalesce(person_id, lower(trim(attendee_email))) as attendee,
    from resolved
    where system in ('calendar', 'caldav')
),

-- Who has the same appointments in Google and on a CalDAV server meets once: the same event by its UID, and where a tool that copies made
-- a UID of its own, the same people at the same time. Google's counts, which can say how it went, unless only the other still takes place.
copies as (
    select
        case
            when google.status = 'cancelled' and caldav.status <> 'cancelled' then google.meeting_guid
            else caldav.meeting_guid
        end as meeting_guid,
    from in_calendars as caldav
    inner join in_calendars as google
        on
            caldav.attendee = google.attendee
            and caldav.system = 'caldav'
            and google.system = 'calendar'
            and (
                caldav.calendar_uid = google.calendar_uid
                or (caldav.our_rep_id = google.our_rep_id and caldav.starts_at = google.starts_at)
            )
),

-- What we booked ourselves stands in the rep's calendar too, under the booking's own id.
written as (
    select
        in_calendars.meeting_guid as copy_guid,
        booked.meeting_guid,
        in_calendars.system,
        in_calendars.status,
        in_calendars.occurred_at,
    from in_calendars
    inner join resolved as booked
        on
            in_calendars.calendar_uid = booked.meeting_id
            and booked.system = 'handoff'
),

scheduled as (
    select * from resolved
    where
        system not in ('hubspot', 'salesforce')
        and meeting_guid not in (select copies.meeting_guid from copies)
        and meeting_guid not in (select written.copy_guid from written)
),

-- A CRM logs what stands in a calendar or was booked elsewhere: the same event, and where it keeps no id of it, the same people at the
-- same time.
mirrors as (
    select
        logged.meeting_guid as logged_guid,
        scheduled.meeting_guid,
        logged.system,
        logged.status,
        logged.occurred_at,
    from logged
    inner join scheduled
        on
            logged.person_id = scheduled.person_id
            and (
                logged.calendar_uid in (scheduled.calendar_uid, scheduled.meeting_id)
                or (
                    logged.our_rep_id = scheduled.our_rep_id
                    and logged.starts_at = scheduled.starts_at
                    and (logged.calendar_uid is null or scheduled.calendar_uid is null)
                )
            )
    qualify row_number() over (
        partition by logged.meeting_guid
        order by
            coalesce(logged.calendar_uid in (scheduled.calendar_uid, scheduled.meeting_id), false) desc,
            scheduled.status = 'cancelled' asc,
            scheduled.system asc,
            scheduled.meeting_id asc
    ) = 1
),

-- CRMs that are synchronised with each other log for each other: the first of them counts.
logged_alone as (
    select * from logged
    where meeting_guid not in (select logged_guid from mirrors)
    qualify
        person_id is null
        or our_rep_id is null
        or rank() over (
            partition by person_id, our_rep_id, starts_at
            order by system
        ) = 1
),

said as (
    select
        meeting_guid,
        logged_guid,
        system,
        status,
        occurred_at,
    from mirrors
    union all
    select
        meeting_guid,
        copy_guid as logged_guid,
        system,
        status,
        occurred_at,
    from written
),

outcomes as (
    select
        meeting_guid,
        arg_max(status, row(occurred_at, logged_guid)) as status,
        max(occurred_at) as occurred_at,
    from said
    where
        status in ('held', 'no_show')
        -- Of Salesforce we know that its entry was deleted, which many do with what stands in the calendar anyway.
        or (status = 'cancelled' and system <> 'salesforce')
    group by meeting_guid
),

counted as (
    select
        scheduled.* exclude (status, occurred_at),
        -- Reps record in the CRM how it went; of two outcomes the newer one counts.
        case
            when
                outcomes.status is not null
                and (
                    scheduled.status not in ('held', 'no_show', 'cancelled')
                    or outcomes.occurred_at > scheduled.occurred_at
                )
                then outcomes.status
            else scheduled.status
        end as status,
        greatest(scheduled.occurred_at, outcomes.occurred_at) as occurred_at,
    from scheduled
    left join outcomes on scheduled.meeting_guid = outcomes.meeting_guid
    union all by name
    select * from logged_alone
)

select
    counted.meeting_guid as meeting_id,
    counted.person_id,
    counted.account_id,
    counted.our_rep_id as rep_id,
    counted.system,
    counted.meeting_id as system_meeting_id,
    counted.status,
    -- Calendars name zones of their own making too; ops.unknown_time_zones lists them.
    zones.time_zone,
    counted.starts_at,
    counted.ends_at,
    {{ local_time('counted.starts_at', 'zones.time_zone') }} as local_starts_at,
    counted.first_booked_at as booked_at,
    counted.occurred_at as changed_at,
from counted
left join zones on counted.time_zone = zones.time_zone

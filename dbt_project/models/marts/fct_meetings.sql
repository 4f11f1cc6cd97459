with meetings as (
    {{ union_by_name([ref('stg_events__meetings'), ref('stg_calendar__meetings')]) }}
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
    where person_id is not null
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

keyed as (
    select
        *,
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
)

select
    {{ guid(["'meeting'", 'keyed.system', 'keyed.meeting_id']) }} as meeting_id,
    records.person_id,
    records.account_id,
    coalesce(by_email.rep_id, by_record.rep_id) as rep_id,
    keyed.system,
    keyed.meeting_id as system_meeting_id,
    keyed.status,
    keyed.time_zone,
    keyed.starts_at,
    keyed.ends_at,
    keyed.first_booked_at as booked_at,
    keyed.occurred_at as changed_at,
from keyed
left join records on keyed.record_key = records.record_key
left join reps as by_email on lower(keyed.rep_email) = by_email.email
left join rep_records as by_record on keyed.system || ':' || keyed.rep_id = by_record.source_record

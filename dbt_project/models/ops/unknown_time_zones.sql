-- Events with a zone that there is not are refused at the door; what is polled is kept as it is, and said here.
with meetings as (
    select * from {{ ref('int_meetings__versions') }}
),

reps as (
    {{ union_by_name([ref('stg_events__reps'), ref('stg_hubspot__owners'), ref('stg_salesforce__users')]) }}
),

named as (
    select
        system,
        'meeting' as record_type,
        meeting_id as record_id,
        time_zone,
        received_at,
    from meetings
    union all
    select
        system,
        'rep' as record_type,
        record_id,
        time_zone,
        received_at,
    from reps
),

zones as (
    select distinct time_zone from {{ ref('time_zone_offsets') }}
)

select
    system,
    record_type,
    record_id,
    time_zone,
    min(received_at) as received_at,
from named
where
    time_zone is not null
    and time_zone not in (select zones.time_zone from zones)
group by all

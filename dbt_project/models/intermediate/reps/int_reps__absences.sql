-- When reps are away, each with from when until when that is what was known.
with versions as (
    select
        *,
        {{ known_since() }} as known_from,
        lead({{ known_since() }}) over (
            partition by source_key
            order by occurred_at, received_at
        ) as known_to,
    from {{ ref('int_reps__absences_told') }}
    where occurred_at <= {{ as_of() }}
),

reps as (
    select
        rep_id,
        email,
        source_records,
    from {{ ref('int_reps__versions') }}
    where is_current
),

rep_records as (
    select
        rep_id,
        unnest(from_json(source_records, '["VARCHAR"]')) as source_record,
    from reps
),

told as (
    select
        * exclude (absences),
        unnest(absences) as absence,
    from versions
)

select distinct
    coalesce(by_email.rep_id, by_record.rep_id) as rep_id,
    split_part(told.source_key, '/', 1) as source,
    told.absence['starts_at'] as starts_at,
    told.absence['ends_at'] as ends_at,
    told.known_from,
    told.known_to,
from told
left join reps as by_email on told.rep_email = by_email.email
left join rep_records as by_record on told.source_record = by_record.source_record
where
    coalesce(by_email.rep_id, by_record.rep_id) is not null
    and told.absence['starts_at'] < told.absence['ends_at']
    and (told.known_to is null or told.known_from < told.known_to)

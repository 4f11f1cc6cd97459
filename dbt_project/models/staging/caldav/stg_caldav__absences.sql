-- Whole days of a rep's own calendar that show as busy and that nobody else is asked to.
with objects as (
    select * from {{ source('raw_caldav', 'objects') }}
    where {{ is_complete('raw_caldav') }}
),

versions as (
    select
        *,
        lower({{ json_text('payload', 'owner') }}) as owner_email,
        from_json(
            json_extract(payload, '$.occurrences'),
            '[{"start": "VARCHAR", "end": "VARCHAR", "is_all_day": "BOOLEAN", "status": "VARCHAR", "transparency": "VARCHAR",
               "attendees": [{"email": "VARCHAR"}]}]'
        ) as occurrences,
    from objects
    where {{ json_text('payload', 'kind') }} in ('object', 'gone')
)

select
    record_id as object_id,
    owner_email as rep_email,
    list_transform(
        list_filter(
            coalesce(occurrences, []),
            lambda one: one['is_all_day']
            and one['status'] <> 'CANCELLED'
            and one['transparency'] <> 'TRANSPARENT'
            and len(list_filter(one['attendees'], lambda guest: guest['email'] not in ('', owner_email))) = 0
        ),
        lambda one: { 'starts_at': {{ instant_of("one['start']") }}, 'ends_at': {{ instant_of("one['end']") }} }
    ) as absences,
    updated_at as occurred_at,
    received_at,
    _dlt_load_id as load_id,
from versions
where owner_email <> ''

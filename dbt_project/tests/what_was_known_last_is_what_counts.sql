-- The history of a record has no gap, begins when the record is first known, and ends with the person it belongs to.
with history as (
    select
        *,
        lag(known_to) over (
            partition by record_key
            order by known_from
        ) as former_known_to,
    from {{ ref('int_identity__history') }}
)

select
    people.record_key,
    people.person_id,
    history.person_id as known_person_id,
    history.known_from,
    history.known_to,
from {{ ref('int_identity__people') }} as people
left join history on people.record_key = history.record_key
where
    history.record_key is null
    or history.known_from is distinct from coalesce(history.former_known_to, people.first_received_at)
    or coalesce(history.known_to <= history.known_from, false)
    or (history.known_to is null and history.person_id <> people.person_id)

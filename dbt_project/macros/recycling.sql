{# Whom sales has sent back as not ready yet, of those a batch touched: person_id, recycled_at, received_at. Records are found by the person, and what
   was said of them by the record. #}
{% macro people_sent_back() %}
with mapped as (
    select
        record_key,
        person_id,
        known_to,
    from {{ ref('entity_map') }}
    where {{ where_touched() }}
    {{ looked_up() }}
),

records as (
    select distinct
        record_key,
        person_id,
    from mapped
    where known_to is null and person_id is not null
),

stages_stated as (
    select * from {{ ref('int_stage_changes__stated') }}
    where record_key in (select records.record_key from records)
    {{ looked_up() }}
),

versions_of_records as (
    select
        record_key,
        system,
        lifecycle_stage,
        version_order,
        occurred_at,
        received_at,
    from {{ ref('int_contacts__versions') }}
    where record_key in (select records.record_key from records)
    {{ looked_up() }}
),

-- Sales says what it thinks of a lead by its status: the version that turns to it counts, and none after.
statuses as (
    select
        record_key,
        lag(lifecycle_stage) over (
            partition by record_key
            order by version_order
        ) as former_stage,
        lifecycle_stage,
        occurred_at,
        received_at,
    from versions_of_records
    where system = 'salesforce' and lifecycle_stage is not null
),

sent_back as (
    select
        record_key,
        occurred_at,
        received_at,
    from stages_stated
    where to_stage = 'recycled'
    union all
    select
        record_key,
        occurred_at,
        received_at,
    from statuses
    where lifecycle_stage = 'recycled' and former_stage is distinct from 'recycled'
)

select
    records.person_id,
    sent_back.occurred_at as recycled_at,
    min(sent_back.received_at) as received_at,
from sent_back
inner join records on sent_back.record_key = records.record_key
group by records.person_id, sent_back.occurred_at
{% endmacro %}

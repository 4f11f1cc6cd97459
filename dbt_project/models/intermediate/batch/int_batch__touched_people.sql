{{ config(pre_hook="{{ gather_touched_records() }}", post_hook="{{ drop_touched_records() }}") }}

-- depends_on: {{ ref('stg_salesforce__tasks') }}
-- depends_on: {{ ref('int_campaigns__unioned') }}
-- depends_on: {{ ref('int_batch__changed_records') }}
-- depends_on: {{ ref('int_consents__versions') }}
-- depends_on: {{ ref('int_identity__identifiers') }}
-- depends_on: {{ ref('int_activities__unioned') }}
-- depends_on: {{ ref('int_meetings__no_shows') }}
-- depends_on: {{ ref('int_identity__sightings') }}
-- Whose rows have to be made again: everybody with a changed record, under the old id and the new one, everybody an activity was taken
-- from or a write was answered for, everybody who has an address a consent was stated for, and everybody with something whose date has come
-- since the last run. Rows of an attempt that died count again.
{% set former_map = adapter.get_relation(this.database, 'marts', 'entity_map') %}
{% set former_people = adapter.get_relation(this.database, 'marts', 'dim_people') %}
{% set former_assignments = adapter.get_relation(this.database, 'marts', 'fct_assignments') %}
{% set former = adapter.get_relation(this.database, this.schema, this.identifier) %}
{% set has_visitors = former_map and not flags.FULL_REFRESH and has_rows(visitors_seen_by_batch()) %}

with
{% if former_map and not flags.FULL_REFRESH %}
    mapped_ever as (
        select * from {{ former_map }}
        where record_key in ({{ records_resolved_by_batch() }})
        {{ looked_up() }}
    ),

    mapped as (
        select
            record_key,
            person_id,
        from mapped_ever
        where known_to is null
    ),

    resolved as (
        select
            record_key,
            person_id,
        from {{ ref('int_identity__people') }}
        where record_key in ({{ records_resolved_by_batch() }})
        {{ looked_up() }}
    ),
{% endif %}

{% if has_visitors %}
    sightings as (
        select * from {{ ref('int_identity__sightings') }}
        where visitor_key in ({{ visitors_seen_by_batch() }})
        {{ looked_up() }}
    ),

    -- Whose browser it was, and whose it may be now.
    visitors_people as (
        select person_id from {{ former_map }}
        where record_key in ({{ visitors_seen_by_batch() }})
        union
        select person_id from {{ ref('int_identity__people') }}
        where record_key in (select sightings.record_key from sightings)
    ),
{% endif %}

touched as (
    select person_id from {{ ref('int_identity__people') }}
    where record_key in (select record_key from {{ touched_records() }})
    {% if former_map and not flags.FULL_REFRESH %}
        union
        select person_id from {{ former_map }}
        where record_key in (select record_key from {{ left_records() }})
        union
        select unnest([mapped.person_id, resolved.person_id]) as person_id
        from mapped
        inner join resolved on mapped.record_key = resolved.record_key
        where mapped.person_id is distinct from resolved.person_id
    {% endif %}
    {% if has_visitors %}
        union
        select person_id from visitors_people
    {% endif %}
    union
    select person_id from {{ ref('stg_events__receipts') }}
    where {{ is_new() }}
    union
    -- Identity may have given the lead to somebody else since.
    select external_id as person_id from {{ ref('int_salesforce__leads_confirmed') }}
    where
        record_id in (
            select record_id from {{ ref('stg_salesforce__leads') }}
            where {{ is_new() }} or {{ has_come('occurred_at') }}
        )
    {% if former_assignments and not flags.FULL_REFRESH %}
        union
        select person_id from {{ former_assignments }}
        where task_key in (select handoff_task_key from {{ ref('stg_salesforce__tasks') }} where {{ is_new() }})
    {% endif %}
    {% if former_people and not flags.FULL_REFRESH %}
        union
        select person_id from {{ former_people }}
        where {{ has_come('first_seen_at') }}
    {% endif %}
    {% if former and not flags.FULL_REFRESH %}
        union
        select person_id from {{ former }}
        where since = '{{ var("since") }}'
    {% endif %}
),

-- The condition below is another one for every lookup above.
found as (
    select person_id from touched
    {{ looked_up() }}
)

select
    person_id,
    '{{ var("since") }}' as since,
from found
where person_id is not null

-- depends_on: {{ ref('int_activities__unioned') }}
-- Whose rows have to be made again: everybody with a changed record, under the old id and the new one, and everybody with an activity whose
-- date has come since the last run. Rows of an attempt that died count again.
{% set former_map = adapter.get_relation(this.database, 'marts', 'entity_map') %}
{% set former = adapter.get_relation(this.database, this.schema, this.identifier) %}

with people as (
    select * from {{ ref('int_identity__people') }}
),

changed as (
    select record_key from {{ ref('int_batch__changed_records') }}
    where is_changed
),

resolved as (
    select * from people
    where since = '{{ var("since") }}'
),

touched as (
    select person_id from people
    where record_key in (select record_key from changed)
    {% if former_map and not flags.FULL_REFRESH %}
        union
        select person_id from {{ former_map }}
        where record_key in (select record_key from changed)
        union
        select unnest([mapped.person_id, resolved.person_id]) as person_id
        from {{ former_map }} as mapped
        inner join resolved on mapped.record_key = resolved.record_key
        where mapped.person_id is distinct from resolved.person_id
    {% endif %}
    {% if var('since_as_of') %}
        union
        select people.person_id
        from {{ ref('int_activities__unioned') }} as activities
        inner join people on activities.record_key = people.record_key
        where
            activities.occurred_at > cast('{{ var("since_as_of") }}' as timestamptz)
            and activities.occurred_at <= {{ as_of() }}
    {% endif %}
    {% if former and not flags.FULL_REFRESH %}
        union
        select person_id from {{ former }}
        where since = '{{ var("since") }}'
    {% endif %}
)

select
    person_id,
    '{{ var("since") }}' as since,
from touched
where person_id is not null

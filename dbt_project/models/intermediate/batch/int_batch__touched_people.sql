-- depends_on: {{ ref('stg_salesforce__tasks') }}
-- Whose rows have to be made again: everybody with a changed record, under the old id and the new one, everybody an activity was taken
-- from or a write was answered for, everybody who has an address a consent was stated for, and everybody with something whose date has come
-- since the last run. Rows of an attempt that died count again.
{% set former_map = adapter.get_relation(this.database, 'marts', 'entity_map') %}
{% set former_people = adapter.get_relation(this.database, 'marts', 'dim_people') %}
{% set former_assignments = adapter.get_relation(this.database, 'marts', 'fct_assignments') %}
{% set former = adapter.get_relation(this.database, this.schema, this.identifier) %}

with people as (
    select * from {{ ref('int_identity__people') }}
),

changed as (
    select record_key from {{ ref('int_batch__changed_records') }}
    where is_changed
),

activities as (
    select * from {{ ref('int_activities__unioned') }}
),

campaigns_changed as (
    select record_id from {{ ref('stg_events__campaigns') }}
    where {{ is_new() }} or {{ has_come('occurred_at') }}
    union
    select record_id from {{ ref('stg_hubspot__campaigns') }}
    where {{ is_new() }} or {{ has_come('occurred_at') }}
),

-- A no that is stated for an address counts for everybody who has it, also where the address links nobody.
addresses as (
    select
        record_key,
        identifier_key,
    from {{ ref('int_identity__identifiers') }}
    where identifier_type = 'email'
),

addresses_stated as (
    select {{ record_key('system', "'email'", 'lower(trim(email))') }} as record_key
    from {{ ref('stg_events__consents') }}
    where
        contact_id is null
        and email is not null
        and ({{ is_new() }} or {{ has_come('occurred_at') }})
),

touched as (
    select person_id from people
    where record_key in (select record_key from changed)
    union
    select people.person_id
    from activities
    inner join people on activities.record_key = people.record_key
    where activities.campaign_id in (select record_id from campaigns_changed)
    {% if former_map and not flags.FULL_REFRESH %}
        union
        select person_id from {{ former_map }}
        where record_key in (select record_key from changed)
        union
        select unnest([mapped.person_id, resolved.person_id]) as person_id
        from {{ former_map }} as mapped
        inner join people as resolved on mapped.record_key = resolved.record_key
        where
            resolved.since = '{{ var("since") }}'
            and mapped.person_id is distinct from resolved.person_id
    {% endif %}
    {% if former_map and not flags.FULL_REFRESH %}
        union
        select person_id from {{ former_map }}
        where record_key in (
            select former_record_key from activities
            where {{ is_new() }} and former_record_key is not null
        )
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
    union
    select people.person_id
    from activities
    inner join people on activities.record_key = people.record_key
    where {{ has_come('activities.occurred_at') }}
    union
    select people.person_id
    from {{ ref('stg_events__consents') }} as consents
    inner join people
        on
            consents.system = people.system
            and coalesce(consents.contact_id, lower(trim(consents.email))) = people.record_id
    where {{ has_come('consents.occurred_at') }}
    union
    select sharing_people.person_id
    from addresses_stated
    inner join addresses as stated on addresses_stated.record_key = stated.record_key
    inner join addresses as sharing on stated.identifier_key = sharing.identifier_key
    inner join people as sharing_people on sharing.record_key = sharing_people.record_key
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
)

select
    person_id,
    '{{ var("since") }}' as since,
from touched
where person_id is not null

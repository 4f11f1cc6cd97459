{{ config(materialized='incremental', incremental_strategy='replace_touched_since_pass', unique_key='person_id') }}

-- depends_on: {{ ref('int_batch__touched_people') }}
-- What records state as an e-mail address or telephone number and nobody is recognised by: kept as it was typed, with the reason.
with people as (
    select
        record_key,
        person_id,
        system,
        record_type,
        record_id,
    from {{ ref('int_identity__people') }}
    where {{ where_touched() }}
    {{ looked_up() }}
),

contacts as (
    select
        record_key,
        email,
        phone,
        country,
    from {{ ref('int_contacts__current') }}
    where record_key in (select people.record_key from people)
    {{ looked_up() }}
),

spelled as (
    {{ spelled_identifiers('contacts', 'people') }}
),

normal_forms as (
    select * from {{ ref('int_identifiers__normalized') }}
    where raw_value in (select spelled.raw_value from spelled)
    {{ looked_up() }}
),

malformed as (
    select
        spelled.record_key,
        spelled.identifier_type,
        spelled.raw_value as stated_value,
        normal_forms.refusal as reason,
    from spelled
    inner join normal_forms
        on
            spelled.raw_value = normal_forms.raw_value
            and spelled.identifier_type = normal_forms.identifier_type
            and spelled.region = normal_forms.region
    where normal_forms.refusal <> 'empty'
),

carried as (
    select
        record_key,
        identifier_type,
        identifier_value as stated_value,
        refusal as reason,
    from {{ ref('int_identity__identifiers') }}
    where record_key in (select people.record_key from people)
    {{ looked_up() }}
),

-- A browser that was seen with more people than one is nobody's.
own_sightings as (
    select * from {{ ref('int_identity__sightings') }}
    where record_key in (select people.record_key from people)
    {{ looked_up() }}
),

sightings as (
    select * from {{ ref('int_identity__sightings') }}
    where visitor_key in (select own_sightings.visitor_key from own_sightings)
    {{ looked_up() }}
),

everybody_seen as (
    select
        record_key,
        person_id,
    from {{ ref('int_identity__people') }}
    where record_key in (select sightings.record_key from sightings)
    {{ looked_up() }}
),

devices_shared as (
    select sightings.visitor_key
    from sightings
    inner join everybody_seen on sightings.record_key = everybody_seen.record_key
    group by sightings.visitor_key
    having min(everybody_seen.person_id) < max(everybody_seen.person_id)
),

refused as (
    select * from malformed
    union
    select * from carried
    where reason is not null
)

select
    people.person_id,
    people.system,
    people.record_type,
    people.record_id,
    refused.identifier_type,
    refused.stated_value,
    refused.reason,
from refused
inner join people on refused.record_key = people.record_key
union all
select distinct
    people.person_id,
    own_sightings.system,
    'visitor' as record_type,
    own_sightings.anonymous_id as record_id,
    'anonymous_id' as identifier_type,
    own_sightings.anonymous_id as stated_value,
    'shared_device' as reason,
from own_sightings
inner join people on own_sightings.record_key = people.record_key
where own_sightings.visitor_key in (select devices_shared.visitor_key from devices_shared)

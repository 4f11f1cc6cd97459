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

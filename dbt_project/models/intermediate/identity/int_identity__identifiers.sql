{{ config(
    materialized='incremental',
    incremental_strategy='replace_changed_records',
    unique_key='record_key',
    indexes=[{'columns': ['record_key']}, {'columns': ['identifier_key']}],
) }}

-- depends_on: {{ ref('int_batch__changed_records') }}
-- depends_on: {{ source('raw_policies', 'identity_blocked_values') }}
-- depends_on: {{ source('raw_policies', 'identity_identifiers') }}
-- depends_on: {{ source('raw_policies', 'identity_shared_mailboxes') }}
with contacts as (
    select * from {{ ref('int_contacts__current') }}
    {{ of_changed_records() }}
),

records as (
    select * from {{ ref('int_identity__records') }}
    {{ of_changed_records() }}
),

spelled as (
    {{ spelled_identifiers('contacts', 'records') }}
),

normal_forms as (
    select * from {{ ref('int_identifiers__normalized') }}
    {% if is_incremental() %}
        where raw_value in (select spelled.raw_value from spelled)
    {% endif %}
    {{ looked_up() }}
),

normalized as (
    select
        spelled.record_key,
        spelled.identifier_type,
        normal_forms.linking_value as identifier_value,
    from spelled
    inner join normal_forms
        on
            spelled.raw_value = normal_forms.raw_value
            and spelled.identifier_type = normal_forms.identifier_type
            and spelled.region = normal_forms.region
),

directives as (
    {{ directives_in_force('select records.record_key from records' if is_incremental() else none) }}
),

own_ids as (
    select
        record_key,
        'external_id' as identifier_type,
        system || ':' || record_id as identifier_value,
    from records
    where record_type <> 'email'
),

stated_ids as (
    select
        record_key,
        'external_id' as identifier_type,
        json_extract_string(stated, '$.system') || ':' || json_extract_string(stated, '$.record_id') as identifier_value,
    from (
        select
            record_key,
            unnest(from_json(external_ids, '["JSON"]')) as stated,
        from contacts
        where external_ids is not null
    ) as contacts_stated
    union all
    select
        record_key,
        'external_id' as identifier_type,
        system || ':' || converted_contact_id as identifier_value,
    from contacts
    where converted_contact_id is not null
    union all
    select
        records.record_key,
        'external_id' as identifier_type,
        {{ named_system('directives.system', 'directives.merged_id') }}
        || ':' || {{ named_id('directives.system', 'directives.merged_id') }} as identifier_value,
    from directives
    inner join records on directives.surviving_key = records.record_key
    where directives.is_merged
),

carried as (
    select * from own_ids
    union
    select * from normalized
    union
    select * from stated_ids
),

{{ judged_identifiers('carried', 'normal_forms') }}

select
    record_key,
    identifier_type,
    identifier_value,
    {{ hash64(['identifier_type', 'identifier_value']) }} as identifier_key,
    max_records,
    refusal is null as is_linking,
    refusal,
from judged

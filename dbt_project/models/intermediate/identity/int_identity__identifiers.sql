{{ config(
    materialized='incremental',
    incremental_strategy='replace_changed_records',
    unique_key='record_key',
    indexes=[{'columns': ['record_key']}, {'columns': ['identifier_key']}],
) }}

-- depends_on: {{ ref('int_batch__changed_records') }}
-- depends_on: {{ source('raw_policies', 'identity_blocked_values') }}
with contacts as (
    select * from {{ ref('int_contacts__current') }}
    {% if is_incremental() %}
        where record_key in (select record_key from {{ ref('int_batch__changed_records') }} where is_changed)
        {{ looked_up() }}
    {% endif %}
),

records as (
    select * from {{ ref('int_identity__records') }}
    {% if is_incremental() %}
        where record_key in (select record_key from {{ ref('int_batch__changed_records') }} where is_changed)
        {{ looked_up() }}
    {% endif %}
),

spelled as (
    select
        record_key,
        'email' as identifier_type,
        email as raw_value,
        '' as region,
    from contacts
    union all
    select
        record_key,
        'email' as identifier_type,
        record_id as raw_value,
        '' as region,
    from records
    where record_type = 'email'
    union all
    select
        record_key,
        'phone' as identifier_type,
        phone as raw_value,
        coalesce(country, '') as region,
    from contacts
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
        normal_forms.normal_value as identifier_value,
    from spelled
    inner join normal_forms
        on
            spelled.raw_value = normal_forms.raw_value
            and spelled.identifier_type = normal_forms.identifier_type
            and spelled.region = normal_forms.region
),

-- The newest directive on a pair counts: an unmerge undoes the merge before it.
directives as (
    select
        system,
        surviving_id,
        merged_id,
    from {{ ref('int_identity__merges_unioned') }}
    qualify
        row_number() over (
            partition by system, surviving_id, merged_id
            order by occurred_at desc, received_at desc, seq desc
        ) = 1
        and not is_unmerge
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
        system || ':' || unnest([master_record_id, converted_contact_id]) as identifier_value,
    from contacts
    where master_record_id is not null or converted_contact_id is not null
    union all
    select
        records.record_key,
        'external_id' as identifier_type,
        {{ named_system('directives.system', 'directives.merged_id') }}
        || ':' || {{ named_id('directives.system', 'directives.merged_id') }} as identifier_value,
    from directives
    inner join records
        on
            records.system = {{ named_system('directives.system', 'directives.surviving_id') }}
            and records.record_id = {{ named_id('directives.system', 'directives.surviving_id') }}
),

carried as (
    select * from own_ids
    union
    select * from normalized
    union
    select * from stated_ids
),

shared_mailboxes as (
    select * from {{ source('raw_policies', 'identity_shared_mailboxes') }}
    where is_active
),

kinds as (
    select * from {{ source('raw_policies', 'identity_identifiers') }}
    where is_active
)

select
    carried.record_key,
    carried.identifier_type,
    carried.identifier_value,
    {{ hash64(['carried.identifier_type', 'carried.identifier_value']) }} as identifier_key,
    kinds.max_records,
    -- Shared mailboxes (info@, sales@) and blocked values link strangers: they may carry touchpoints, never identity.
    coalesce(kinds.is_linking, false)
    and not {{ is_blocked('carried.identifier_type', 'carried.identifier_value') }}
    and not (
        carried.identifier_type = 'email'
        and split_part(carried.identifier_value, '@', 1) in (select local_part from shared_mailboxes)
    ) as is_linking,
from carried
left join kinds on carried.identifier_type = kinds.identifier_type
where carried.identifier_value is not null

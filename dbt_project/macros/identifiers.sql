{# Every identifier a record states, as it was typed: rows of record_key, identifier_type, raw_value and region (the country a telephone
   number is read in). #}
{% macro spelled_identifiers(contacts, records) -%}
    select
        record_key,
        'email' as identifier_type,
        email as raw_value,
        '' as region,
    from {{ contacts }}
    union all
    select
        record_key,
        'email' as identifier_type,
        record_id as raw_value,
        '' as region,
    from {{ records }}
    where record_type = 'email'
    union all
    select
        record_key,
        'phone' as identifier_type,
        phone as raw_value,
        coalesce(country, '') as region,
    from {{ contacts }}
{%- endmacro %}

{# Of what records carry (`carried`: record_key, identifier_type, identifier_value and more), whether it may link anybody, as CTEs of which the
   last is `judged`. `normal_forms` are those of the values. #}
{% macro judged_identifiers(carried, normal_forms) -%}
shared_mailboxes as (
    select * from {{ source('raw_policies', 'identity_shared_mailboxes') }}
    where is_active
),

kinds as (
    select * from {{ source('raw_policies', 'identity_identifiers') }}
    where is_active
),

disposable as (
    select distinct linking_value from {{ normal_forms }}
    where domain_kind = 'disposable'
),

-- Shared mailboxes (info@, sales@), throwaway mailboxes and blocked values link strangers: they may carry touchpoints, never identity.
judged as (
    select
        carried.*,
        kinds.max_records,
        case
            when not coalesce(kinds.is_linking, false) then 'kind_not_linking'
            when {{ is_blocked('carried.identifier_type', 'carried.identifier_value') }} then 'blocked_value'
            when carried.identifier_type <> 'email' then null
            when split_part(split_part(carried.identifier_value, '@', 1), '+', 1) in (select local_part from shared_mailboxes)
                then 'shared_mailbox'
            when carried.identifier_value in (select linking_value from disposable) then 'disposable_domain'
        end as refusal,
    from {{ carried }} as carried
    left join kinds on carried.identifier_type = kinds.identifier_type
    where carried.identifier_value is not null
)
{%- endmacro %}

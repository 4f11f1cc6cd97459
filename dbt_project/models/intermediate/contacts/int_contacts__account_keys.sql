{{ config(
    materialized='incremental',
    incremental_strategy='replace_changed_records',
    unique_key='record_key',
    indexes=[{'columns': ['record_key']}, {'columns': ['key_hash']}],
) }}

-- depends_on: {{ ref('int_batch__changed_records') }}
-- depends_on: {{ source('raw_policies', 'accounts_choices') }}
-- What of a person's record may find an account. Kept, so that an account that changes finds the people it is about by a number.
with contacts as (
    select * from {{ ref('int_contacts__current') }}
    {{ of_changed_records() }}
),

records as (
    select * from {{ ref('int_identity__records') }}
    {{ of_changed_records() }}
),

told as (
    select
        record_key,
        system,
        is_deleted,
        occurred_at as stated_at,
        account_record_id,
        company,
        country,
        {{ host_of("split_part(email, '@', -1)") }} as host,
    from contacts
    union all
    select
        record_key,
        system,
        false as is_deleted,
        first_received_at as stated_at,
        cast(null as varchar) as account_record_id,
        cast(null as varchar) as company,
        cast(null as varchar) as country,
        {{ host_of("split_part(record_id, '@', -1)") }} as host,
    from records
    where record_type = 'email'
),

-- Each host and each name is asked about once, whoever has a mailbox there or works for it.
hosts as (
    select distinct host from told
    where host is not null
),

domains as materialized (
    select
        host,
        {{ company_domain('host') }} as company_domain,
    from hosts
),

companies as (
    select distinct
        company,
        country,
    from told
    where company is not null and country is not null
),

names as materialized (
    select
        company,
        country,
        {{ name_and_country('company', 'country') }} as name_key,
    from companies
),

keys as (
    select
        record_key,
        system,
        is_deleted,
        stated_at,
        'stated' as evidence,
        system || ':' || account_record_id as evidence_value,
    from told
    where account_record_id is not null
    union all
    select
        told.record_key,
        told.system,
        told.is_deleted,
        told.stated_at,
        unnest(['exact_domain', 'registrable_domain']) as evidence,
        unnest([told.host, domains.company_domain]) as evidence_value,
    from told
    inner join domains on told.host = domains.host
    where domains.company_domain is not null
    union all
    select
        told.record_key,
        told.system,
        told.is_deleted,
        told.stated_at,
        'name_and_country' as evidence,
        names.name_key as evidence_value,
    from told
    inner join names on told.company = names.company and told.country = names.country
    where names.name_key is not null
)

select
    record_key,
    evidence,
    evidence_value,
    {{ hash64(['evidence', 'evidence_value']) }} as key_hash,
    system,
    is_deleted,
    stated_at,
from keys

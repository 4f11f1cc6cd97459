{{ config(materialized='incremental', incremental_strategy='append', indexes=[{'columns': ['raw_value']}]) }}

-- depends_on: {{ ref('int_batch__changed_records') }}
-- depends_on: {{ source('raw_policies', 'identity_email_rules') }}
-- A value is normalised once, whatever number of records carries it.
-- depends_on: {{ ref('int_contacts__versions') }}
-- What a contact was named by once links it in its history.
{% set of_batch = 'select record_key from ' ~ ref('int_batch__changed_records') ~ ' where is_changed' %}

with contacts_now as (
    select * from {{ ref('int_contacts__current') }}
    {{ of_changed_records() }}
),

contacts as (
    select
        record_key,
        email,
        phone,
        country,
    from contacts_now
    union all
    select
        record_key,
        email,
        phone,
        country,
    from ({{ contacts_renamed(of_batch if is_incremental() else none) }}) as renamed
    where known_to is not null
),

records as (
    select * from {{ ref('int_identity__records') }}
    {{ of_changed_records() }}
),

spelled as (
    select distinct
        identifier_type,
        raw_value,
        region,
    from (
        {{ spelled_identifiers('contacts', 'records') }}
    ) as stated
),

unseen as (
    select * from spelled
    where raw_value is not null
    {% if is_incremental() %}
        and (identifier_type, raw_value, region) not in (
            select (identifier_type, raw_value, region) from {{ this }}
            where raw_value in (select spelled.raw_value from spelled)
        )
    {% endif %}
),

normalized as (
    select
        *,
        case identifier_type
            when 'email' then normalize_email(raw_value)
            else normalize_phone(raw_value, region)
        end as normal_value,
    from unseen
)

-- What is no identifier keeps its spelling and says why; without a linking value it links nobody.
select
    identifier_type,
    raw_value,
    region,
    normal_value,
    case identifier_type
        when 'email' then {{ canonical_address('normal_value') }}
        else normal_value
    end as linking_value,
    case when identifier_type = 'email' then domain_kind(normal_value) end as domain_kind,
    case
        when normal_value is not null then null
        when identifier_type = 'email' then email_refusal(raw_value)
        else phone_refusal(raw_value, region)
    end as refusal,
from normalized

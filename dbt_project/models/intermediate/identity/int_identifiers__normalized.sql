{{ config(materialized='incremental', incremental_strategy='append') }}

-- A value is normalised once, whatever number of records carries it.
with contacts as (
    select * from {{ ref('int_contacts__current') }}
),

records as (
    select * from {{ ref('int_identity__records') }}
),

spelled as (
    select
        'email' as identifier_type,
        email as raw_value,
        '' as region,
    from contacts
    union
    select
        'email' as identifier_type,
        record_id as raw_value,
        '' as region,
    from records
    where record_type = 'email'
    union
    select
        'phone' as identifier_type,
        phone as raw_value,
        coalesce(country, '') as region,
    from contacts
),

unseen as (
    select * from spelled
    where raw_value is not null
    {% if is_incremental() %}
        and (identifier_type, raw_value, region) not in (
            select (identifier_type, raw_value, region) from {{ this }}
        )
    {% endif %}
)

select
    identifier_type,
    raw_value,
    region,
    case identifier_type
        when 'email' then normalize_email(raw_value)
        else normalize_phone(raw_value, region)
    end as normal_value,
from unseen

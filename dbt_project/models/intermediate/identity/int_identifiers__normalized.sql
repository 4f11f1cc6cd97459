{{ config(materialized='incremental', incremental_strategy='append', indexes=[{'columns': ['raw_value']}]) }}

-- depends_on: {{ ref('int_batch__changed_records') }}
-- A value is normalised once, whatever number of records carries it.
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
            where raw_value in (select spelled.raw_value from spelled)
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

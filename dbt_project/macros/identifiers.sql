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

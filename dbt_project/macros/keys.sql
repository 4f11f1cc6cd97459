{# 64-bit key of the parts: joins on integers are several times faster than on strings. #}
{% macro hash64(parts) -%}
    {{ return(adapter.dispatch('hash64')(parts)) }}
{%- endmacro %}
{% macro default__hash64(parts) -%}
    md5_number_lower(concat_ws('|', {{ parts | join(', ') }}))
{%- endmacro %}

{# Deterministic GUID of the parts: the same record gets the same id in every rebuild. #}
{% macro guid(parts) -%}
    {{ return(adapter.dispatch('guid')(parts)) }}
{%- endmacro %}
{% macro default__guid(parts) -%}
    cast(cast(md5(concat_ws('|', {{ parts | join(', ') }})) as uuid) as varchar)
{%- endmacro %}

{% macro record_key(system, record_type, record_id) -%}
    {{ hash64([system, record_type, record_id]) }}
{%- endmacro %}

{# Salesforce keeps people in two objects; the first three characters of an id name the object. #}
{% macro record_type_of(system, record_id) -%}
    case when {{ system }} = 'salesforce' and {{ record_id }} like '00Q%' then 'lead' else 'contact' end
{%- endmacro %}

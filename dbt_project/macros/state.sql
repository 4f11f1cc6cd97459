{# Newest value of a column over the versions of a record: a polled document states every field, an event only those it carries
   (absent = unchanged, explicit null = emptied). #}
{% macro latest_value(column) -%}
    arg_max_null({{ column }}, version_order) filter (
        where is_full_state or {{ column }} is not null or list_contains(null_fields, '{{ column }}')
    ) as {{ column }}
{%- endmacro %}

{# Best value of a column over the records of a person; records come ranked by policy. #}
{% macro preferred_value(column, alias=none) -%}
    arg_min({{ column }}, preference) as {{ alias or column }}
{%- endmacro %}

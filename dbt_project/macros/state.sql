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

{# Records of the contacts a poll of HubSpot has brought versions of. #}
{% macro records_told_by_hubspot() -%}
    select record_key from {{ ref('stg_hubspot__contacts') }} where {{ is_new() }}
{%- endmacro %}

{# Whether a select gives any row, asked while the model is rendered: what it would cost to handle them is not even planned otherwise. #}
{% macro has_rows(select) -%}
    {{ return(execute and run_query('select exists (' ~ select ~ ')').columns[0].values()[0]) }}
{%- endmacro %}

{# For CTEs: in a batch the rows an index finds are gathered first and conditions come after, as a scan with a second condition reads the whole
   column; in a rebuild everything is read anyway. #}
{% macro looked_up() -%}
    {{ 'materialized' if is_incremental() else 'not materialized' }}
{%- endmacro %}

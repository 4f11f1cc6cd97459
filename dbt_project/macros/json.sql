{# Text of one member of a JSON document; null when it is absent, null or empty. #}
{% macro json_text(document, path) -%}
    {{ return(adapter.dispatch('json_text')(document, path)) }}
{%- endmacro %}
{% macro default__json_text(document, path) -%}
    nullif(json_extract_string({{ document }}, '$.{{ path }}'), '')
{%- endmacro %}

{# One row per element of a JSON array of texts. #}
{% macro json_elements(document) -%}
    {{ return(adapter.dispatch('json_elements')(document)) }}
{%- endmacro %}
{% macro default__json_elements(document) -%}
    unnest(from_json({{ document }}, '["VARCHAR"]'))
{%- endmacro %}

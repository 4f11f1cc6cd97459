{# The reasons of a score as a person reads them: "+30 Asked for a demo; +15 Senior job title", strongest first. #}
{% macro reasons_text(reasons, separator) -%}
    (
        select
            string_agg(
                printf('%+d', cast(round(cast(json_extract_string(reason, '$.points') as double)) as bigint)) || ' '
                || json_extract_string(reason, '$.label'),
                {{ separator }}
            )
        from unnest(from_json({{ reasons }}, '["JSON"]')) as listed (reason)
        where abs(cast(json_extract_string(reason, '$.points') as double)) >= 0.5
    )
{%- endmacro %}

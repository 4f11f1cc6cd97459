{# The models unioned by column name; a column a system lacks is null. #}
{% macro union_by_name(relations) -%}
    {{ return(adapter.dispatch('union_by_name')(relations)) }}
{%- endmacro %}
{% macro default__union_by_name(relations) -%}
    {% for relation in relations %}
    select * from {{ relation }}
    {% if not loop.last %}union all by name{% endif %}
    {% endfor %}
{%- endmacro %}

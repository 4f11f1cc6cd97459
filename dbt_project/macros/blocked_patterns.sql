{# One pattern for each type of identifier, of all that the policy blocks, ready to stand in SQL. Read while the model is rendered: a pattern
   that is a constant is compiled once, one that comes from a row at every use, which takes two hundred times as long. #}
{% macro blocked_patterns() %}
    {% set patterns = {} %}
    {% set policy = source('raw_policies', 'identity_blocked_values') %}
    {% if execute and load_relation(policy) %}
        {% set rows = run_query(
            "select identifier_type, string_agg('(?:' || pattern || ')', '|' order by pattern) from " ~ policy ~ " where is_active group by all"
        ) %}
        {% for row in rows %}
            {% do patterns.update({row[0]: row[1] | replace("'", "''")}) %}
        {% endfor %}
    {% endif %}
    {{ return(patterns) }}
{% endmacro %}

{# Whether the policy blocks a value. A placeholder stands where an external id would; the system before it always has a name. #}
{% macro is_blocked(identifier_type, value) -%}
    {% set patterns = blocked_patterns() %}
    case {{ identifier_type }}
        {% if not patterns %}
        when '' then false
        {% endif %}
        {% for blocked_type, pattern in patterns.items() %}
        when '{{ blocked_type }}'
            then regexp_matches(
                {{ "substr(" ~ value ~ ", strpos(" ~ value ~ ", ':') + 1)" if blocked_type == 'external_id' else value }}, '{{ pattern }}'
            )
        {% endfor %}
        else false
    end
{%- endmacro %}

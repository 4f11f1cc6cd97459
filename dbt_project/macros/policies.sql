{# Rows of a table of policies for which the condition holds, read while the model is rendered; none before there are any. #}
{% macro policy_rows(table, columns, condition, order_by) %}
    {% if not execute %}{{ return([]) }}{% endif %}
    {% set policy = source('raw_policies', table) %}
    {# In a unit test the policy is made of given rows, which have no schema. #}
    {% if not policy.schema or not load_relation(policy) %}{{ return([]) }}{% endif %}
    {{ return(run_query('select ' ~ columns ~ ' from ' ~ policy ~ ' where ' ~ condition ~ ' order by ' ~ order_by).rows) }}
{% endmacro %}

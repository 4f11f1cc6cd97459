{# An instant as Salesforce's REST API writes it. #}
{% macro salesforce_instant(instant) -%}
    strftime({{ instant }} at time zone 'UTC', '%Y-%m-%dT%H:%M:%S.000+0000')
{%- endmacro %}

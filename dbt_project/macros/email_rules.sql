{# The policy's rules of mail providers as a JSON text for canonical_email(): domain -> rule. Read while the model is rendered, as the patterns
   of blocked values are. #}
{% macro email_rules() %}
    {% set rules = {} %}
    {% set policy = source('raw_policies', 'identity_email_rules') %}
    {% if execute and load_relation(policy) %}
        {% set rows = run_query(
            'select domain, canonical_domain, ignores_dots, tag_separator, has_subdomains from ' ~ policy ~ ' where is_active order by domain'
        ) %}
        {% for row in rows %}
            {% do rules.update({row[0]: {
                'canonical_domain': row[1], 'ignores_dots': row[2], 'tag_separator': row[3], 'has_subdomains': row[4],
            }}) %}
        {% endfor %}
    {% endif %}
    {{ return(tojson(rules, sort_keys=true)) }}
{% endmacro %}

{# The linking form of an e-mail address in normal form: one spelling of all that come to its mailbox. #}
{% macro canonical_address(address) -%}
    canonical_email({{ address }}, '{{ email_rules() | replace("'", "''") }}')
{%- endmacro %}

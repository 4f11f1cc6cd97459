{# How much a status forbids: of several that stand the greatest counts. #}
{% macro restrictiveness(status) -%}
    case {{ status }} when 'withdrawn' then 4 when 'denied' then 3 when 'pending' then 2 else 1 end
{%- endmacro %}

{# Whether a rule of the consent policy hears a consent: no channel is any; no purpose is any that is about contacting somebody. #}
{% macro consent_is_heard(rule, consent) -%}
    coalesce({{ rule }}.channel = {{ consent }}.channel, true)
    and case when {{ rule }}.purpose is null then {{ consent }}.purpose_kind = 'contact' else {{ rule }}.purpose = {{ consent }}.purpose end
{%- endmacro %}

{% macro is_blocking(rule, status) -%}
    list_contains(from_json({{ rule }}.blocking_statuses, '["VARCHAR"]'), {{ status }})
{%- endmacro %}

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

{# Whether a refusal is of activities of this type. #}
{% macro is_of_refused_type(refusals, activities) -%}
    ({{ refusals }}.activity_types is null or list_contains(from_json({{ refusals }}.activity_types, '["VARCHAR"]'), {{ activities }}.activity_type))
{%- endmacro %}

{# Whether it was done while the no stood. #}
{% macro is_while_refused(refusals, activities) -%}
    (
        coalesce({{ refusals }}.from_at <= {{ activities }}.occurred_at, true)
        and coalesce({{ activities }}.occurred_at < {{ refusals }}.until_at, true)
    )
{%- endmacro %}
